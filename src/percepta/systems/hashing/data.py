"""Videos and pictures with sentences as places in a library, for training and for evaluation.

A training batch is {library, video: b, sentence: b}, a random sentence of each video; an evaluation batch is {library,
video: b}. The encoders are frozen, so nothing is read here: `library.py` encodes each library once.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from percepta.datasets import captioned, layouts
from percepta.datasets.captioned import Clip
from percepta.datasets.problem import Problem, noting, tell
from percepta.errors import InputError
from percepta.systems.hashing import Config, world
from percepta.systems.hashing.library import Library, make_library, open_clip

SPLITS = ("train", "val", "test", "all")
# Sets that lie side by side come in this order, then the others by name: places in a library decide between ties.
FIRST = ("flickr8k", "coco-small", "oasis")


def data(config: Config, split: str, root: Path | None = None) -> TrainPairs | Videos:
    """Samples of a split ("train", "val", "test", "all").

    Args:
        config: its `space`, `val_every` and `train.seed` count.
        split: which part.
        root: a folder in the layout of a set that can be read as `Clip`, or with several such folders in it; None: the
            synthetic world (`world.py`).

    Raises:
        MissingFileError, InputError: no such folder, layout or split; something wrong in the data (file, line).
    """
    found = library_of(config, split, root)
    return TrainPairs(found, config.train.seed) if split == "train" else Videos(found)


def library_of(config: Config, split: str, root: Path | None = None) -> Library:
    """The library of a split; arguments and errors as `data`.

    Args:
        config: settings.
        split: "train", "val", "test" or "all".
        root: a folder of data; None: the synthetic world.
    """
    if root is None:
        if split not in SPLITS:
            raise InputError(f"no split {split!r}; there are train, val, test and all")
        return make_library(*world.pictures(split, config.train.seed))
    if config.space == "synthetic":
        raise InputError("these settings encode synthetic pictures only; take --preset small or paper")
    problems: list[Problem] = []
    warnings: list[Problem] = []
    found = captioned.of_split(read_clips(root, problems, warnings), split, config.val_every)
    clips = [clip for clip in found if _good(clip, problems)]
    tell(problems, str(root), strict=config.train.strict)
    if any(clip.source == "didemo" for clip in clips):
        clips = captioned.joined(clips)
    if not clips:
        reason = f"; {warnings[0]}" if warnings else ""
        raise InputError(f"{root}: nothing in the split {split!r}{reason}")
    return make_library(clips, [clip.sentences for clip in clips])


def _good(clip: Clip, problems: list[Problem]) -> bool:
    """Whether a clip can be used; what is wrong is added to the problems."""
    with noting(problems, clip.first):
        length_s = open_clip(clip)
        if length_s and clip.start_s >= length_s:
            raise InputError(f"{clip.first}: no part from {clip.start_s:g} s on, the video ends at {length_s:.2f} s")
        return True
    return False


def read_clips(root: Path, problems: list[Problem] | None = None, warnings: list[Problem] | None = None) -> list[Clip]:
    """All clips of a folder, which may hold several sets.

    Args:
        root: see `data`.
        problems: a list to add to; None: the first problem is raised.
        warnings: a list to add to; None: they are dropped.

    Raises:
        MissingFileError: no such folder.
        InputError: none of the layouts; something wrong in a file, where `problems` is None.
    """
    found = layouts.find(root, Clip)
    found.sort(key=lambda one: FIRST.index(one.root.name) if one.root.name in FIRST else len(FIRST))
    return [clip for one in found for clip in one.read(one.root, problems, warnings)]


@dataclass(frozen=True)
class TrainPairs:
    """Samples for training: a video and one of its sentences, another one in every epoch."""

    library: Library
    seed: int

    def __len__(self) -> int:
        return len(self.library)

    def __getitem__(self, key: tuple[int, int]) -> tuple[int, int]:
        epoch, index = key
        own = self._sentences[index]
        draw = int.from_bytes(hashlib.blake2b(f"{self.seed}/{epoch}/{index}".encode(), digest_size=4).digest(), "big")
        return index, own[draw % len(own)]

    def collate(self, samples: list[tuple[int, int]]) -> dict[str, Any]:
        """A batch; see the top of this file."""
        video, sentence = zip(*samples, strict=True)
        return {"library": self.library, "video": torch.tensor(video), "sentence": torch.tensor(sentence)}

    @cached_property
    def _sentences(self) -> list[list[int]]:
        """The sentences of each video."""
        table: list[list[int]] = [[] for _ in range(len(self.library))]
        for number, owner in enumerate(self.library.owner.tolist()):
            table[owner].append(number)
        return table


@dataclass(frozen=True)
class Videos:
    """Samples for an evaluation: each video once."""

    library: Library

    def __len__(self) -> int:
        return len(self.library)

    def __getitem__(self, key: tuple[int, int]) -> int:
        return key[1]

    def collate(self, samples: list[int]) -> dict[str, Any]:
        """A batch; see the top of this file."""
        return {"library": self.library, "video": torch.tensor(samples)}
