"""Map and camera in the browser while SLAM runs (viser); it listens on this machine only."""

from __future__ import annotations

from typing import Any

import numpy as np

from percepta.errors import MissingExtraError
from percepta.geometry import pose as poses
from percepta.systems.slam.predict import Result, Session


class LiveView:
    """A page that shows the points, the way and the camera; call `show` after every frame.

    Attributes:
        address: of the page.
    """

    def __init__(self, port: int = 8080) -> None:
        try:
            import viser  # pyright: ignore[reportMissingImports]
        except ModuleNotFoundError:
            raise MissingExtraError("the live view needs viser: pip install 'percepta[viz]'") from None
        self.server: Any = viser.ViserServer(host="127.0.0.1", port=port)
        self.server.scene.set_up_direction("-y")
        self.address = f"http://127.0.0.1:{port}"

    def show(self, session: Session, result: Result) -> None:
        """Moves the camera; draws points and way anew where a keyframe was adjusted."""
        if result.world_from_camera is not None:
            x, y, z, w = poses.to_quaternion(result.world_from_camera[:3, :3]).tolist()
            camera = session.straight
            self.server.scene.add_camera_frustum(
                "/camera",
                fov=float(2 * np.arctan(camera.height / 2 / camera.fy)),
                aspect=camera.width / camera.height,
                scale=0.1,
                wxyz=(w, x, y, z),
                position=tuple(result.world_from_camera[:3, 3].tolist()),
            )
        if session.tracker.settled:
            walk = session.walk()
            points, colours = walk.points.astype(np.float32), walk.colours
            self.server.scene.add_point_cloud("/points", points=points, colors=colours, point_size=0.01)
            if len(walk.frames) > 1:
                self.server.scene.add_spline_catmull_rom(
                    "/way", points=walk.trajectory.centres.astype(np.float32), color=(200, 60, 20)
                )
