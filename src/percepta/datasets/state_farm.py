"""Drivers seen from the passenger's side, doing one of ten things (State Farm's competition; research only).

    p035_c5.webp        one driver and class: pictures of 80 × 60, one above the other

Pictures of one driver are much alike, so a split by pictures leaks: `folds` keeps drivers apart.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8

from percepta.errors import InputError
from percepta.media.image import load

NAME = "State Farm"
FILES = "pNNN_cN.webp: strips of 80 × 60 pictures, one a driver and class"
LABELS = (
    "safe driving", "text with the right hand", "phone at the right ear", "text with the left hand",
    "phone at the left ear", "adjust the radio", "drink", "reach behind", "hair or makeup", "talk to a passenger",
)  # fmt: skip
HEIGHT, WIDTH = 60, 80
_STEM = re.compile(r"(p\d+)_c(\d)$")


@dataclass(frozen=True)
class Drivers:
    """Pictures of drivers.

    Attributes:
        pixels: RGB.
        label: places in LABELS.
        driver: names.
    """

    pixels: UInt8[np.ndarray, "n h w 3"]
    label: Int64[np.ndarray, " n"]
    driver: tuple[str, ...]


def is_one(root: Path) -> bool:
    """Whether a folder has such a strip."""
    return root.is_dir() and any(_STEM.match(path.stem) for path in sorted(root.glob("p*_c*.webp"))[:4])


def read(root: Path) -> Drivers:
    """All pictures, by driver and class.

    Raises:
        InputError: no such strip, or one of another size.
    """
    parts, labels, drivers = [], [], []
    for path in sorted(root.glob("p*_c*.webp")):
        if found := _STEM.match(path.stem):
            pixels = np.asarray(load(path).convert("RGB"))
            if pixels.shape[1] != WIDTH or pixels.shape[0] % HEIGHT:
                raise InputError(f"{path}: expected pictures of {WIDTH} × {HEIGHT}, one above the other")
            some = pixels.reshape(-1, HEIGHT, WIDTH, 3)
            parts.append(some)
            labels += [int(found[2])] * len(some)
            drivers += [found[1]] * len(some)
    if not parts:
        raise InputError(f"{root}: no strips of drivers; looked for {FILES}")
    return Drivers(np.concatenate(parts), np.array(labels, np.int64), tuple(drivers))


READS = {Drivers: read}


def folds(drivers: Sequence[str], count: int = 5) -> list[tuple[str, ...]]:
    """The drivers that each fold tests: every `count`-th by name."""
    names = sorted(set(drivers))
    return [tuple(names[i::count]) for i in range(count)]
