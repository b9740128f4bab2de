"""Halves of games with their features, and which split a game belongs to."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from percepta.contract import Batch, Key
from percepta.datasets.problem import Problem, noting, tell
from percepta.datasets.soccer import ROUNDING_S, Action, Game, ReplaySpan, rate_of, read, read_features
from percepta.errors import InputError

SPLITS = ("train", "val", "test", "all")


@dataclass
class HalfFeatures:
    """One half.

    Attributes:
        game: its name.
        half: 1 or 2.
        fps: frames a second of the features.
        actions: of this half.
        replays: of this half.
        file: of the features; None where `given` holds them.
        given: features that are in memory.
        shots_s: where each camera shot begins, rising; empty where nobody has labelled them.
    """

    game: str
    half: int
    fps: float | int
    actions: tuple[Action, ...]
    replays: tuple[ReplaySpan, ...]
    file: Path | None = None
    given: Float32[np.ndarray, "t f"] | None = None
    shots_s: tuple[float | int, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.game}, half {self.half}"

    @cached_property
    def array(self) -> Any:
        """All features, in the file's own type, read where they are looked at."""
        if self.given is not None:
            return self.given
        assert self.file is not None, "one of the two"
        try:
            return np.load(self.file, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise InputError(f"{self.file}: not an array of features, or cut off ({error})") from None

    def __len__(self) -> int:
        return len(self.array)

    @property
    def seconds(self) -> float:
        return len(self) / self.fps

    def window(self, start: int, stop: int) -> Float32[np.ndarray, "t f"]:
        """Frames from `start` to before `stop`; those that are not there are zero."""
        low, high = max(0, start), min(len(self), stop)
        out = np.zeros((stop - start, self.array.shape[1]), np.float32)
        if high > low:
            out[low - start : high - start] = self.array[low:high]
        return out


def split_of(game: str) -> str:
    """Where a game belongs: by the folder train, val or test that it lies in, else by the checksum of its name."""
    first = game.split("/")[0]
    if first in SPLITS[:3]:
        return first
    place = zlib.crc32(game.encode()) % 10
    return "val" if place == 0 else "test" if place in (1, 2) else "train"


def names_of(games: Sequence[Game]) -> list[str]:
    """The names of features that all games have in both halves."""
    common: set[str] | None = None
    for game in games:
        here = {name for name, pair in game.features.items() if any(pair)}
        common = here if common is None else common & here
    return sorted(common or ())


def halves(root: Path, feature: str, split: str, *, strict: bool = False) -> list[HalfFeatures]:
    """The halves of a split with features of one name; what is wrong is left out and named.

    Args:
        root: a folder as `datasets.soccer` reads it.
        feature: name of the features.
        split: "train", "val", "test" or "all".
        strict: a game that is wrong is an error.

    Raises:
        MissingFileError, InputError: no game; no such split; none of its games has such features.
    """
    if split not in SPLITS:
        raise InputError(f"the splits are {', '.join(SPLITS)}, not {split!r}")
    problems: list[Problem] = []
    games = read(root, problems)
    found: list[HalfFeatures] = []
    for game in games:
        if split != "all" and split_of(game.name) != split:
            continue
        for half, path in enumerate(game.features.get(feature, (None, None)), 1):
            if path is None:
                continue
            with noting(problems, path):
                one = HalfFeatures(game.name, half, rate_of(feature), game.of(half),
                                   tuple(r for r in game.replays if r.half == half), path,
                                   shots_s=tuple(t for h, t in game.shots if h == half))  # fmt: skip
                check(one)
                found.append(one)
    tell(problems, str(root), strict=strict)
    if not found:
        there = names_of(games)
        hint = f"; the games have {', '.join(there)}: set --features" if there and feature not in there else ""
        raise InputError(f"{root}: no half with features {feature!r} in the split {split!r}{hint}")
    return found


def check(half: HalfFeatures) -> None:
    """That the features of a half are whole and as long as its labels.

    Raises:
        InputError: they are not; names the file.
    """
    if half.file is not None and half.array.ndim != 2:
        read_features(half.file)  # says what is wrong
    last = max((action.time_s for action in half.actions), default=0.0)
    if last > half.seconds + ROUNDING_S:
        raise InputError(
            f"{half.file}: {len(half)} frames are {half.seconds:.0f} s at {half.fps:g} a second, but a label of half "
            f"{half.half} lies at {last:.0f} s (cut off, another rate, or the halves are exchanged)"
        )


@dataclass(frozen=True)
class Whole:
    """Halves as they are, for an evaluation."""

    halves: list[HalfFeatures]

    def __len__(self) -> int:
        return len(self.halves)

    def __getitem__(self, key: Key) -> HalfFeatures:
        return self.halves[key[1]]

    def collate(self, samples: list[HalfFeatures]) -> Batch:
        return {"halves": samples}


def check_world(features: str) -> None:
    """Checks that the synthetic world has such features: the colours of a grid alone.

    Raises:
        InputError: others are asked for.
    """
    if features != "pixels":
        raise InputError(
            f"features {features!r} are read from a folder: `percepta spotting world DIR` renders games, "
            "then --data DIR"
        )
