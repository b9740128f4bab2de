"""The synthetic world of supernets: six patterns in any two colours, width and place, under grain."""

from __future__ import annotations

import functools
import zlib

import numpy as np
import torch
from jaxtyping import Int64, UInt8

from percepta.datasets.classified import Classified, Part
from percepta.errors import InputError
from percepta.systems.supernet import STRIPES

LENGTH = {"train": 960, "val": 240, "test": 240}


def classified(side: int) -> Classified:
    """The world as a set of classified pictures, side × side pixels."""
    return Classified(STRIPES, tuple(LENGTH), functools.partial(_part, side))


def _part(side: int, split: str) -> Part:
    pixels, labels = stripes(side, split)
    return Part(
        labels, [f"{split} {i}" for i in range(len(labels))], lambda places, _: torch.from_numpy(pixels[places])
    )


def stripes(side: int, split: str) -> tuple[UInt8[np.ndarray, "n 3 s s"], Int64[np.ndarray, " n"]]:
    """The pictures of a split, side × side pixels, and their labels. Colours say nothing about the class.

    Raises:
        InputError: no such split.
    """
    if split not in LENGTH:
        raise InputError(f"the synthetic world has the splits {', '.join(LENGTH)}, not {split!r}")
    rng = np.random.default_rng(zlib.crc32(split.encode()))
    labels = rng.permutation(np.arange(LENGTH[split], dtype=np.int64) % len(STRIPES))
    return np.stack([_pattern(STRIPES[label], side, rng) for label in labels]), labels


def _pattern(name: str, side: int, rng: np.random.Generator) -> UInt8[np.ndarray, "3 s s"]:
    y, x = (np.mgrid[:side, :side] + rng.uniform(-side, side, (2, 1, 1))) / side
    width, phase = rng.uniform(0.22, 0.4), rng.random()
    wave = {
        "rows": y,
        "columns": x,
        "rising": (x + y) / 2**0.5,
        "falling": (x - y) / 2**0.5,
        "rings": np.hypot(x - x.mean(), y - y.mean()),
    }
    if name == "checks":
        drawn = (np.sin(2 * np.pi * x / width) > 0) ^ (np.sin(2 * np.pi * y / width) > 0)
    else:
        drawn = np.sin(2 * np.pi * (wave[name] / width + phase)) > 0
    colours = np.where(drawn, rng.uniform(0, 1, 3)[:, None, None], rng.uniform(0, 1, 3)[:, None, None])
    return ((colours + rng.normal(0, 0.15, (3, side, side))).clip(0, 1) * 255).astype(np.uint8)
