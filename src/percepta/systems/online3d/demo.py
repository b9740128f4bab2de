"""The demo: a synthetic room that is scanned frame by frame, its labelled cloud, and what each frame cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from PIL import Image

from percepta.contract import Block
from percepta.errors import InputError
from percepta.geometry.camera import Intrinsics
from percepta.report import Gallery, Text
from percepta.systems.online3d import PRESETS, world
from percepta.systems.online3d.model import OnlineNet, build
from percepta.systems.online3d.online import Online
from percepta.systems.online3d.page import session_blocks
from percepta.systems.online3d.result import instance_colours, label_colours, slanted

FRAMES, SEED = 60, world.FIRST["test"] + 3
CAMERA = Intrinsics.field_of_view(120, 90, 58.0)


def demo(load: Callable[..., Any]) -> list[Block]:
    """Blocks of the demo's page."""
    try:
        model, note = cast(OnlineNet, load("online3d").model), "The weights that ship."
    except InputError:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = build(PRESETS["small"]).eval()
        note = "No weights ship in this installation: the network is untrained and its labels mean nothing."
    online, pictures = scan(model)
    text = (
        f"A room that no network was trained on, scanned in {FRAMES} frames at {100 * online.map.voxel_m:g} cm: "
        f"{online.map.count:,} voxels. {note}"
    )
    return [Text(text), Gallery(pictures), *session_blocks(online)]


def scan(model: OnlineNet, frames: int = FRAMES, seed: int = SEED) -> tuple[Online, list[tuple[Image.Image, str]]]:
    """A session after a walk through a synthetic room, and pictures of its map on the way.

    Args:
        model: the network.
        frames: length of the walk.
        seed: of room and walk.
    """
    online, pictures = Online(model), []
    for number, frame in enumerate(world.walk(seed, CAMERA, frames), 1):
        online.step(frame)
        if number in (frames // 6, frames // 2, frames):
            result = online.result(update_instances=False)
            last = number == frames
            tone = instance_colours(result.instance) if last else label_colours()[result.label]
            text = f"after {number} frames: {'instances' if last else 'classes'}"
            pictures.append((Image.fromarray(slanted(result.xyz, tone, (480, 360))), text))
    return online, pictures
