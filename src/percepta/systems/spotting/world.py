"""The synthetic world: short halves of a rendered broadcast (`worlds/pitch`), with colours of a grid as features."""

from __future__ import annotations

from functools import lru_cache

from percepta.datasets.soccer_halves import HalfFeatures
from percepta.errors import InputError
from percepta.nn.spotting import of_pictures, pixel_features
from percepta.worlds.pitch import recording

SIZE = (32, 56)  # pixels: the mean colours of 8 x 14 cells are all that is kept
LENGTH_S = {"train": 240.0, "val": 40.0, "test": 40.0}
GAMES = {"train": 1, "val": 3, "test": 3}


def halves(split: str) -> list[HalfFeatures]:
    """First halves of some games."""
    if split not in LENGTH_S:
        raise InputError(f"the synthetic world has the splits train, val and test, not {split!r}")
    return [half(recording.FIRST[split] + i, LENGTH_S[split]) for i in range(GAMES[split])]


@lru_cache(maxsize=8)
def half(seed: int, seconds: float | int) -> HalfFeatures:
    """One of them."""
    return recording.half_of(seed, seconds, of_pictures(pixel_features), SIZE)
