"""The synthetic world: a square on grey that moves right, moves left or blinks for a while, with pauses."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

LABELS = ("move right", "move left", "blink")
FIRST = {"train": 0, "val": 1_000_000, "test": 2_000_000, "all": 0}  # seeds: no video is in two splits
LENGTH = {"train": 24, "val": 8, "test": 8, "all": 24}


def video(seed: int, frames: int = 64) -> tuple[UInt8[np.ndarray, "t 48 64 3"], list[tuple[int, int, str]]]:
    """(frames, [(first frame, frame behind the last, label)]); follows from the seed alone."""
    rng = np.random.default_rng(seed)
    kinds = np.full(frames, -1)
    spans, at = [], int(rng.integers(2, 8))
    while at < frames - 6:
        end = min(at + int(rng.integers(6, 20)), frames)
        label = int(rng.integers(len(LABELS)))
        kinds[at:end] = label
        spans.append((at, end, LABELS[label]))
        at = end + int(rng.integers(3, 10))
    ground, colour = rng.integers(60, 130), rng.integers(160, 255, 3)
    out = np.full((frames, 48, 64, 3), ground, np.uint8)
    x, y = float(rng.integers(8, 44)), int(rng.integers(8, 28))
    for t, kind in enumerate(kinds):
        x = (x + (3 if kind == 0 else -3 if kind == 1 else 0)) % 52
        if kind != 2 or t % 2:
            out[t, y : y + 12, int(x) : int(x) + 12] = colour
    noise = rng.integers(-6, 7, out.shape)
    return np.clip(out + noise, 0, 255).astype(np.uint8), spans
