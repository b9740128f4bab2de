"""The demo of action localisation: a made film in which a square moves and blinks, and a timeline of what is found."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from PIL import Image

from percepta.contract import Block
from percepta.report import Gallery, Table, Text
from percepta.systems.actions.predict import Actions
from percepta.systems.actions.world import video

SEED = 3_000_001  # of no split


def demo(load: Callable[[str], Actions]) -> list[Block]:
    """The blocks of the demo's page.

    Args:
        load: `percepta.load`, or what stands in its place.
    """
    system = load("actions")
    frames, spans = video(SEED, 160)
    began = time.perf_counter()
    result = system.predict(frames, fps=4.0)
    took = time.perf_counter() - began
    strip = np.concatenate(frames[::20], 1)
    rows = [[system.config.labels[k], f"{s:.1f}", f"{e:.1f}", f"{p:.2f}"] for (s, e), p, k in _rows(result)]
    return [
        Text(
            f"A made film of {result.duration_s:.0f} s, seen in {took:.1f} s. None of the actions that `small` knows "
            f"is in it, and {len(spans)} that it does not know: what it finds here, it finds by mistake."
        ),
        Gallery([(Image.fromarray(strip), "every twentieth frame"), (result.draw(), result.text)]),
        Table(["action", "start, s", "end, s", "score"], rows),
    ]


def _rows(result: object) -> list[tuple[np.ndarray, float, int]]:
    some = result.shown  # type: ignore[attr-defined]
    return list(zip(some.span, some.score, some.label, strict=True))
