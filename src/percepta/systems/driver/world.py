"""Two worlds. `toy`: a spot of light that leans and looks, drawn as greys, of which each view sees a part.

`drives`: a car with a driver, three cameras and all sixteen activities (`worlds/people/cabin.py`), whose pictures are
drawn and seen once and kept as a bank (`bank.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

from percepta.worlds.people.cabin import Drive, make_drive

FIRST = {"train": 0, "val": 1_000_000, "test": 2_000_000, "all": 0}  # seeds: no drive is in two splits
LENGTH = {"train": 32, "val": 8, "test": 12, "all": 32}
SHIFT = 3  # pixels that the spot moves


@dataclass(frozen=True)
class ToyDrive:
    """A drive of the toy world.

    Attributes:
        thumb: greys of each view.
        spans: (class, first moment, moment behind the last).
    """

    thumb: Float32[np.ndarray, "v t 12 16"]
    spans: tuple[tuple[int, int, int], ...]


def toy(seed: int, moments: int = 96) -> ToyDrive:
    """A drive with the classes of `tiny`: lean left, lean right, look up, look down; follows from the seed.

    The first view tells left from right, and up and down are nothing to it; the second tells up from down; the third
    sees that something happens, not what. So no view is enough.
    """
    rng = np.random.default_rng((seed, 38))
    kind, spans, at = np.zeros(moments, np.int64), [], int(rng.integers(4, 10))
    order = rng.permutation(4) + 1
    for label in order:
        length = int(rng.integers(8, 18))
        if at + length > moments - 2:
            break
        kind[at : at + length] = label
        spans.append((int(label), at, at + length))
        at += length + int(rng.integers(4, 10))
    y, x = np.mgrid[:12, :16]
    ground = rng.uniform(0.2, 0.5, 3)
    thumb = np.empty((3, moments, 12, 16), np.float32)
    for t, label in enumerate(kind):
        across, along = {1: (-SHIFT, 0), 2: (SHIFT, 0), 3: (0, -SHIFT), 4: (0, SHIFT)}.get(int(label), (0, 0))
        size = 6.0 if label else 4.0
        for view, (dx, dy, r) in enumerate(((across, 0, 4.0), (0, along, 4.0), (0, 0, size))):
            blob = np.exp(-((x - 8 - dx) ** 2 + (y - 6 - dy) ** 2) / r)
            thumb[view, t] = ground[view] + 0.4 * blob
    return ToyDrive((thumb + rng.normal(0, 0.06, thumb.shape)).clip(0, 1).astype(np.float32), tuple(spans))


def frames(
    drive: Drive, view: str, fps: float, width: int = 128, height: int = 96
) -> Iterator[UInt8[np.ndarray, "..."]]:
    """Pictures of one camera at `fps` a second.

    Args:
        drive: of `make_drive`.
        view: the camera.
        fps: of the pictures; at most those of the drive.
        width: of the pictures, in pixels.
        height: of the pictures.
    """
    for number in np.arange(0, len(drive) / drive.fps, 1 / fps) * drive.fps:
        yield drive.frame(view, min(round(float(number)), len(drive) - 1), width, height)


def drive(number: int, pace: float | int = 0.5) -> Drive:
    """The drive of a number: all activities once; in a third of the drives one is missing, in a sixth one comes twice.

    Args:
        number: everything follows from it.
        pace: multiplies all durations.
    """
    rng = np.random.default_rng((number, 22))
    order = [int(x) for x in rng.permutation(np.arange(1, 16))]
    which = rng.random()
    if which < 1 / 3:
        order = order[1:]
    elif which < 1 / 2:
        order.insert(int(rng.integers(3, 15)), order[0])
    return make_drive(number, fps=4.0, activities=order, pace=pace)
