"""The demo of planes: a walk through a synthetic room, its planes picture by picture, and the scene that they make."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from percepta.datasets.nyu40 import PLANEMVS_NAMES
from percepta.geometry import pose as poses
from percepta.geometry.camera import back_project
from percepta.systems.planes import PRESETS, data
from percepta.systems.planes.fusion import Fusion, glb
from percepta.systems.planes.task import View, overlay, shaded
from percepta.worlds import rooms

ROOM = 900_001  # no room of any split
FRAMES = 6


def demo(load: Callable[..., Any]) -> list[Any]:
    """Items of the demo's page."""
    world = rooms.room(ROOM)
    camera = data.camera_of(PRESETS["small"], "rooms")
    path = rooms.walk(world, 0, frames=14 * FRAMES, fps=5)[::2]
    shots = [rooms.render(world, pose, camera) for pose in path[: 5 * FRAMES : 2]]
    try:
        system = load("planes")
    except (FileNotFoundError, ValueError) as error:
        return [
            f"No weights of planes are installed ({error}); below is the truth of a rendered room.",
            *_truth(world, shots[::3][:FRAMES]),
        ]
    session = system.session()
    drawn, seconds = [], []
    for shot in shots:
        start = time.perf_counter()
        result = session.step(View(shot.colour, camera, shot.world_from_camera))
        if result is not None:
            seconds.append(time.perf_counter() - start)
            drawn.append((result.draw(), f"{len(result.label)} planes, {1000 * seconds[-1]:.0f} ms"))
    scene = session.scene(least_seen=2)
    return [
        f"A furnished room that was not trained on, {len(shots)} pictures of a walk; each key frame sees earlier "
        "ones. Left the planes with their classes, right the depth.",
        ("pictures", drawn[:8]),
        "All key frames in one scene, seen from above: what was seen at least twice.",
        ("pictures", [(scene.draw(), f"{len(scene.surfaces)} surfaces")]),
        (
            "table",
            ["class", "area m²", "seen in"],
            [[s.label, round(s.area_m2, 2), s.seen] for s in scene.surfaces[:12]],
        ),
        f"The mesh as binary glTF has {len(glb(*scene.mesh())) / 1000:.0f} kB: `session.scene().save('room.glb')`.",
    ]


def _truth(world: rooms.Room, shots: list[rooms.View]) -> list[Any]:
    """What perfect planes give: overlays, depth, and the scene."""
    fusion, drawn = Fusion(), []
    for shot in shots:
        used, index = np.unique(shot.plane, return_inverse=True)
        index = index.reshape(shot.plane.shape)
        large = np.argsort(-np.bincount(index.reshape(-1)), kind="stable")[:12]
        table = np.full(len(used), -1, np.int32)
        table[large] = np.arange(len(large))
        labels = world.planes.planemvs[used[large]]
        seen = table[index]
        picture = Image.new("RGB", (2 * seen.shape[1], seen.shape[0]))
        picture.paste(overlay(shot.colour, seen, [PLANEMVS_NAMES[k] for k in labels]), (0, 0))
        picture.paste(shaded(shot.depth_m), (seen.shape[1], 0))
        drawn.append((picture, f"{len(large)} planes"))
        cloud = poses.transform(shot.world_from_camera, back_project(shot.depth_m, shot.intrinsics))
        points = [cloud[seen == i].astype(np.float64) for i in range(len(large))]
        fusion.add(points, shot.world_from_camera[:3, 3], labels.tolist(), [1.0] * len(large))
    scene = fusion.scene()
    rows = [[s.label, round(s.area_m2, 2), s.seen] for s in scene.surfaces[:12]]
    return [
        ("pictures", drawn),
        ("pictures", [(scene.draw(), f"floor plan: {len(scene.surfaces)} surfaces")]),
        ("table", ["class", "area m²", "seen in"], rows),
    ]
