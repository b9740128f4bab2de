"""The demo: a synthetic room that is scanned frame by frame, its labelled cloud, and what each frame cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image

from percepta.datasets.posed import RgbdFrame
from percepta.geometry.camera import Intrinsics
from percepta.systems.online3d import PRESETS, task
from percepta.systems.online3d.online import Online
from percepta.systems.online3d.shown import instance_colours, label_colours, slanted
from percepta.worlds import rooms

FRAMES, SEED = 60, 2_000_003
CAMERA = Intrinsics.field_of_view(120, 90, 58.0)


def demo(load: Callable[..., Any]) -> list[Any]:
    """Items of the demo's page."""
    try:
        model, note = load("online3d").model, "The weights that ship."
    except (FileNotFoundError, ValueError):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = task.build(PRESETS["small"]).eval()
        note = "No weights ship in this installation: the network is untrained and its labels mean nothing."
    online, shots = scan(model)
    return [
        f"A room that no network was trained on, scanned in {FRAMES} frames at "
        f"{100 * online.map.voxel_m:g} cm: {online.map.count:,} voxels. {note}",
        ("pictures", shots),
        *online.page(),
    ]


def scan(model: Any, frames: int = FRAMES, seed: int = SEED) -> tuple[Online, list[tuple[Image.Image, str]]]:
    """A session after a walk through a synthetic room, and how its map looked on the way."""
    world, rng = rooms.room(seed), np.random.default_rng(seed)
    online, shots = Online(model), []
    for i, pose in enumerate(rooms.walk(world, 0, frames=frames, fps=frames / 40)):
        view = rooms.measure(world, rooms.render(world, pose, CAMERA), rng)
        online.step(RgbdFrame(view.colour, view.depth_m, pose, CAMERA, str(i)))
        if i + 1 in (frames // 6, frames // 2, frames):
            result = online.result(look=False)
            tone = label_colours()[result.label] if i + 1 < frames else instance_colours(result.instance)
            what = "classes" if i + 1 < frames else "instances"
            shots.append((Image.fromarray(slanted(result.xyz, tone, (480, 360))), f"after {i + 1} frames: {what}"))
    return online, shots
