"""A baked person in the browser, with sliders for the joints (viser); it listens on this machine only."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from percepta.errors import MissingExtraError
from percepta.geometry.body import JOINTS, PARENTS, Motion
from percepta.systems.avatar.bake import Baked

SLIDERS = ("spine", "head", "left_upper_arm", "left_forearm", "right_upper_arm", "right_forearm", "left_thigh",
"left_shin",
           "right_thigh", "right_shin")  # fmt: skip


def from_sliders(baked: Baked, angles_deg: dict[str, tuple[float, float, float]]) -> Motion:
    """The pose that sliders say: turns of joints about x (forward), y (left) and z (up) against their parents.

    Args:
        baked: the person.
        angles_deg: of some joints.
    """
    rest = baked.template.rest()
    rotation = rest.rotation.copy()
    for joint, parent in enumerate(PARENTS):
        turn = Rotation.from_euler(
            "yxz", np.array(angles_deg.get(JOINTS[joint], (0.0, 0.0, 0.0)))[[1, 0, 2]], degrees=True
        )
        rotation[0, joint] = turn.as_matrix() if parent < 0 else rotation[0, parent] @ turn.as_matrix()
    return Motion(rest.root, rotation, baked.fps, "sliders")


class LiveView:
    """A page with the person, sliders, and a player where a motion is given.

    Attributes:
        address: of the page.
    """

    def __init__(self, baked: Baked, motion: Motion | None = None, port: int = 8080) -> None:
        try:
            import viser  # pyright: ignore[reportMissingImports]
        except ModuleNotFoundError:
            raise MissingExtraError("the live view needs viser: pip install 'percepta[viz]'") from None
        self.baked = baked
        self.server: Any = viser.ViserServer(host="127.0.0.1", port=port)
        self.server.scene.set_up_direction("+z")
        self.address = f"http://127.0.0.1:{port}"
        self.angles: dict[str, tuple[float, float, float]] = {}
        self.places = None if motion is None else baked.posed(motion)
        self.colours = None if motion is None else baked.coloured(motion)
        for name in SLIDERS:
            slider = self.server.gui.add_vector3(name, initial_value=(0.0, 0.0, 0.0), step=1.0)
            slider.on_update(lambda event, name=name: self._turn(name, tuple(event.target.value)))
        if self.places is not None and self.colours is not None:
            player = self.server.gui.add_slider("frame", min=0, max=len(self.places) - 1, step=1, initial_value=0)
            places, colours = self.places, self.colours
            player.on_update(lambda event: self.show(places[int(event.target.value)], colours[int(event.target.value)]))
        self._pose(baked.template.rest())

    def _turn(self, name: str, angles: tuple[float, float, float]) -> None:
        self.angles[name] = angles
        self._pose(from_sliders(self.baked, self.angles))

    def _pose(self, motion: Motion) -> None:
        self.show(self.baked.posed(motion)[0], self.baked.coloured(motion)[0])

    def show(self, vertices: Float[np.ndarray, "v 3"], colours: Float[np.ndarray, "v 3"]) -> None:
        """Draws the mesh anew: places in the world, metres, and RGB 0..1."""
        import trimesh  # pyright: ignore[reportMissingImports]

        shades = np.round(255 * colours).astype(np.uint8)
        mesh = trimesh.Trimesh(vertices, self.baked.faces, vertex_colors=shades, process=False)
        self.server.scene.add_mesh_trimesh("/person", mesh)
