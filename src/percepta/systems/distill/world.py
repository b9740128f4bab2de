"""The synthetic world of picture classification: eight dark signs on bright ground, in any colour, place and size.

Colours say nothing, so a network has to see the form. All signs are the same when they are mirrored.
"""

from __future__ import annotations

import functools
import zlib

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8

from percepta.datasets.classified import Classified, Part
from percepta.errors import InputError
from percepta.systems.distill import SIGNS

LENGTH = {"train": 1024, "val": 256, "test": 512}
GRAIN = 0.06  # deviation of the grain, of 0..1


def classified(size: int, seed: int = 0) -> Classified:
    """The world as a set of classified pictures, size × size pixels."""
    return Classified(SIGNS, tuple(LENGTH), functools.partial(_part, size, seed))


def _part(size: int, seed: int, split: str) -> Part:
    pixels, labels = signs(size, split, seed)
    return Part(
        labels, [f"{split} {i}" for i in range(len(labels))], lambda places, _: torch.from_numpy(pixels[places])
    )


def signs(size: int, split: str, seed: int = 0) -> tuple[UInt8[np.ndarray, "n 3 s s"], Int64[np.ndarray, " n"]]:
    """The pictures of a split, size × size pixels, and their labels: equally many of each of `SIGNS`.

    Args:
        size: side of the pictures, in pixels.
        split: "train", "val" or "test".
        seed: decides the pictures.

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
    """The pixels of a sign, at a random place and size; of patterns, with a random width and start.

    Args:
        sign: one of `SIGNS`.
        size: side of the picture, in pixels.
        rng: decides place, size, width.
    """
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
    radius, larger, smaller = np.hypot(x, y), np.maximum(abs(x), abs(y)), np.minimum(abs(x), abs(y))
    if sign == "disc":
        return radius <= 1
    if sign == "ring":
        return (radius <= 1) & (radius > 0.55)
    if sign == "frame":
        return (larger <= 0.9) & (larger > 0.5)
    if sign == "cross":
        return (larger <= 1) & (smaller <= 0.3)
    return (y <= 0.8) & (y >= -1 + 1.8 * abs(x))  # triangle
