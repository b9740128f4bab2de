"""The synthetic world: traffic on a crossing whose lanes decide where everybody goes; see `worlds/street`."""

from __future__ import annotations

from functools import partial

from percepta.datasets.tracks import Recordings, Tracks
from percepta.worlds.street.traffic import traffic

FIRST = {"train": 0, "val": 1_000_000, "test": 2_000_000, "all": 0}  # seeds: no street is in two splits
LENGTH = {"train": 32, "val": 6, "test": 6, "all": 32}


def streets(split: str) -> Recordings:
    """The recordings of a split."""
    seeds = tuple(range(FIRST[split], FIRST[split] + LENGTH[split]))
    names = tuple(f"street {seed}" for seed in seeds)
    return Recordings(names, ("street",) * len(seeds), partial(_open, seeds))


def _open(seeds: tuple[int, ...], place: int) -> Tracks:
    return traffic(seeds[place], seconds=9.0, cars=6, people=1, most_ways=1)
