"""The synthetic world of picture classification: eight dark signs on bright ground, in any colour, place and size.

Colours say nothing, so a network has to see the form. All signs are the same when they are mirrored.
"""

from __future__ import annotations

import zlib

import numpy as np
from jaxtyping import Bool, Float, Int64, UInt8

from percepta.errors import InputError
from percepta.systems.distill import SIGNS

LENGTH = {"train": 1024, "val": 256, "test": 512}
GRAIN = 0.06  # deviation of the grain, of 0..1


def signs(size: int, split: str, seed: int = 0) -> tuple[UInt8[np.ndarray, "n 3 s s"], Int64[np.ndarray, " n"]]:
    """The pictures of a split, size × size pixels, and their labels: equally many of each of `SIGNS`.

    Raises:
        InputError: no such split.
    """
    if split not in LENGTH:
        raise InputError(f"the synthetic world has the splits {', '.join(LENGTH)}, not {split!r}")
    rng = np.random.default_rng((seed, zlib.crc32(split.encode())))
    labels = rng.permutation(np.arange(LENGTH[split], dtype=np.int64) % len(SIGNS))
    pixels = np.stack([_picture(SIGNS[label], size, rng) for label in labels])
    return pixels, labels


def _picture(sign: str, size: int, rng: np.random.Generator) -> UInt8[np.ndarray, "3 s s"]:
    ground, ink = rng.uniform(0.55, 1, 3), rng.uniform(0, 0.45, 3)
    drawn = shape(sign, size, rng)
    colours = np.where(drawn, ink[:, None, None], ground[:, None, None])
    grain = rng.normal(0, GRAIN, (3, size, size))
    return ((colours + grain).clip(0, 1) * 255).astype(np.uint8)


def shape(sign: str, size: int, rng: np.random.Generator) -> Bool[np.ndarray, "s s"]:
    """The pixels of a sign, at a random place and size; of patterns, with a random width and start."""
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    if sign in ("rows", "columns", "checks"):
        width, down, across = rng.uniform(0.16, 0.26), *rng.random(2)
        rows, columns = np.sin(np.pi * (y / width + down)) > 0, np.sin(np.pi * (x / width + across)) > 0
        return {"rows": rows, "columns": columns, "checks": rows ^ columns}[sign]
    radius = rng.uniform(0.3, 0.42)
    x, y = (grid - rng.uniform(radius, 1 - radius) for grid in (x, y))
    return _figure(sign, x / radius, y / radius)


def _figure(sign: str, x: Float[np.ndarray, "s s"], y: Float[np.ndarray, "s s"]) -> Bool[np.ndarray, "s s"]:
    """A sign around (0, 0) that reaches to −1..1."""
    far, most, least = np.hypot(x, y), np.maximum(abs(x), abs(y)), np.minimum(abs(x), abs(y))
    if sign == "disc":
        return far <= 1
    if sign == "ring":
        return (far <= 1) & (far > 0.55)
    if sign == "frame":
        return (most <= 0.9) & (most > 0.5)
    if sign == "cross":
        return (most <= 1) & (least <= 0.3)
    return (y <= 0.8) & (y >= -1 + 1.8 * abs(x))  # triangle
