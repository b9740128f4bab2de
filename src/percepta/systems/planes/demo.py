"""The demo of planes: a walk through a synthetic room, its planes picture by picture, and the scene that they make."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from PIL import Image

from percepta.contract import Block
from percepta.datasets.nyu40 import PLANEMVS_NAMES
from percepta.geometry import pose as poses
from percepta.geometry.camera import back_project
from percepta.report import Gallery, Table, Text
from percepta.systems.planes import PRESETS
from percepta.systems.planes.fusion import FusedScene, Fusion, glb
from percepta.systems.planes.predict import Planes, View, draw_depth, draw_planes
from percepta.systems.planes.world import Room, RoomView, camera_of, filmed_room

ROOM = 900_001  # no room of any split
FRAMES = 6


def demo(load: Callable[[str], Planes]) -> list[Block]:
    """The blocks of the demo's page.

    Args:
        load: `percepta.load`, or what stands in its place.
    """
    camera = camera_of(PRESETS["small"], "rooms")
    room, shots = filmed_room(ROOM, camera)
    try:
        system = load("planes")
    except (FileNotFoundError, ValueError) as error:
        return [
            Text(f"No weights of planes are installed ({error}); below is the truth of a rendered room."),
            *_truth(room, shots[::3][:FRAMES]),
        ]
    session = system.session()
    drawn, seconds = [], []
    for shot in shots:
        start = time.perf_counter()
        result = session.step(View(shot.colour, camera, shot.world_from_camera))
        if result is not None:
            seconds.append(time.perf_counter() - start)
            drawn.append((result, f"{len(result.label)} planes, {1000 * seconds[-1]:.0f} ms"))
    scene = session.scene(min_frames=2)
    return [
        Text(
            f"A furnished room that was not trained on, {len(shots)} pictures of a walk; each key frame is compared "
            "with earlier ones. Left the planes with their classes, right the depth."
        ),
        Gallery(drawn[:8]),
        Text("All key frames in one scene, seen from above: what was seen at least twice."),
        Gallery([(scene.draw(), f"{len(scene.surfaces)} surfaces")]),
        surface_table(scene, 12),
        Text(
            f"The mesh as binary glTF has {len(glb(*scene.mesh())) / 1000:.0f} kB: `session.scene().save('room.glb')`."
        ),
    ]


def surface_table(scene: FusedScene, rows: int | None = None) -> Table:
    """Class, area and number of key frames of the largest surfaces."""
    cells = [[s.label, round(s.area_m2, 2), s.frames] for s in scene.surfaces[:rows]]
    return Table(["class", "area m²" if scene.metric else "area in the poses' own unit", "key frames"], cells)


def _truth(room: Room, shots: list[RoomView]) -> list[Block]:
    """What perfect planes give: overlays, depth, and the scene."""
    fusion, drawn = Fusion(), []
    for shot in shots:
        used, index = np.unique(shot.plane, return_inverse=True)
        index = index.reshape(shot.plane.shape)
        large = np.argsort(-np.bincount(index.reshape(-1)), kind="stable")[:12]
        table = np.full(len(used), -1, np.int32)
        table[large] = np.arange(len(large))
        labels = room.planes.planemvs[used[large]]
        numbers = table[index]
        picture = Image.new("RGB", (2 * numbers.shape[1], numbers.shape[0]))
        picture.paste(draw_planes(shot.colour, numbers, [PLANEMVS_NAMES[k] for k in labels]), (0, 0))
        picture.paste(draw_depth(shot.depth_m), (numbers.shape[1], 0))
        drawn.append((picture, f"{len(large)} planes"))
        cloud = poses.transform(shot.world_from_camera, back_project(shot.depth_m, shot.intrinsics))
        points = [cloud[numbers == i].astype(np.float64) for i in range(len(large))]
        fusion.add(points, shot.world_from_camera[:3, 3], labels.tolist(), [1.0] * len(large))
    scene = fusion.scene()
    return [
        Gallery(drawn),
        Gallery([(scene.draw(), f"floor plan: {len(scene.surfaces)} surfaces")]),
        surface_table(scene, 12),
    ]
