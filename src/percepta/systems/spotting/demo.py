"""The demo: some minutes of a rendered game."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image

from percepta.contract import Block
from percepta.report import Gallery, Text
from percepta.worlds.pitch import recording
from percepta.worlds.pitch.drawing import draw

SEED, SECONDS = recording.FIRST["test"] + 900, 240.0
SHOWN = 4  # pictures


def demo(load: Callable[[str], Any]) -> list[Block]:
    """The blocks of the demo's page.

    Args:
        load: `percepta.load`, or what stands in its place.
    """
    half = recording.halves(SEED, SECONDS)[0]
    system = load("spotting")
    encoded = [system.model.image.frames(torch.from_numpy(batch).permute(0, 3, 1, 2).float() / 255).numpy()
               for batch in recording.frames(half)]  # fmt: skip
    result = system.predict(np.concatenate(encoded))
    best = sorted(result.spots, key=lambda spot: -spot.score)[:SHOWN]
    moments = [(spot.time_s, f"{spot.time_s:.1f} s: {spot.label} {spot.score:.0%}") for spot in best]
    names = ", ".join(f"{e.label} at {e.time_s:.0f} s" for e in half.match.events)
    told = f"A rendered game, never seen in training; nothing here has seen football. The truth: {names}."
    return [Gallery([*_pictures(half, moments), (result.above(0.3).draw(), result.text)]), Text(told)]


def _pictures(half: Any, moments: list[tuple[float, str]]) -> list[tuple[Image.Image, str]]:
    return [(Image.fromarray(draw(half, min(t, SECONDS - 1), 256, 448)), text) for t, text in moments]
