"""Samples: features of a video (c t) with its spans in feature vectors.

A batch: {features: b c t, mask: b 1 t, spans: [n 2], labels: [n], seconds: (scale, shift) of each video with
time_s = scale · t + shift, duration_s, name, truth_s: [n 2]}. A folder is a bank of clips (`clips.py`: training joins a
new video each time, evaluation the same ones), videos with annotations, or features with annotations
(`datasets/untrimmed.py`). Vector t of published features stands for the middle of its window: (t · stride + window / 2)
/ fps; with `resize` every video is stretched to the same number of vectors, as published for ActivityNet.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from percepta.contract import Batch, Key
from percepta.datasets import layouts
from percepta.datasets.feature_files import Timing
from percepta.datasets.untrimmed import Recording, Untrimmed
from percepta.errors import InputError
from percepta.systems.actions import Config, world
from percepta.systems.actions.clips import NONE, Bank, is_bank, join, read_bank, rows_of
from percepta.systems.actions.features import Sample, assemble, look_at, timed
from percepta.systems.actions.levels import FrameClassifier, fitted
from percepta.systems.actions.model import build, padded_length

VIDEOS = {"train": 200, "val": 24, "test": 48, "all": 48}  # joined from a bank; training has new ones each epoch
SEEDS = {"train": 0, "val": 500_000_000, "test": 600_000_000, "all": 600_000_000}
JOINED = (120, 256)  # frames of a joined video
FITTED = 100  # training videos of the level
TRUNCATED = 0.5  # share of a span that has to stay where a long video is cut


def collate(samples: list[Sample], config: Config, *, fixed: bool) -> Batch:
    """A batch; `fixed`: as long as `max_length`, which training uses.

    Args:
        samples: of the data set.
        config: settings.
        fixed: whether longer ones have been cut.
    """
    lengths = [one.features.shape[1] for one in samples]
    whole = config.max_length if fixed else max(padded_length(n, config) for n in lengths)
    features = torch.stack(
        [functional.pad(one.features, (0, whole - n)) for one, n in zip(samples, lengths, strict=True)]
    )
    mask = torch.stack([torch.arange(whole) < n for n in lengths])[:, None]
    spans = [torch.from_numpy((one.spans_s - one.shift) / one.scale).float().reshape(-1, 2) for one in samples]
    return {
        "features": features, "mask": mask, "spans": spans,
        "labels": [torch.tensor(one.labels, dtype=torch.long) for one in samples],
        "seconds": [(one.scale, one.shift) for one in samples],
        "duration_s": [one.duration_s for one in samples], "name": [one.name for one in samples],
        "truth_s": [torch.from_numpy(one.spans_s) for one in samples],
    }  # fmt: skip


def cut(one: Sample, length: int, rng: np.random.Generator) -> Sample:
    """At most `length` vectors of a sample, with at least one span in it where it has any.

    Args:
        one: the sample.
        length: in feature vectors.
        rng: of the place.
    """
    n = one.features.shape[1]
    if n <= length:
        return one
    spans = (one.spans_s - one.shift) / one.scale
    for _ in range(100):
        start = int(rng.integers(n - length + 1))
        low, high = np.maximum(spans[:, 0], start), np.minimum(spans[:, 1], start + length)
        keep = (high - low) >= TRUNCATED * (spans[:, 1] - spans[:, 0])
        if keep.any() or not len(spans):
            break
    seen = np.stack([low[keep], high[keep]], 1) - start
    labels = tuple(label for label, k in zip(one.labels, keep, strict=True) if k)
    return replace(
        one, features=one.features[:, start : start + length], spans_s=seen * one.scale + one.shift, labels=labels
    )


@dataclass(frozen=True)
class _Base:
    config: Config
    split: str

    def __len__(self) -> int:
        raise NotImplementedError

    def __getitem__(self, key: Key) -> Sample:
        raise NotImplementedError

    def training(self) -> _Base | None:
        """The samples that levels are fitted on; None where there are none."""
        raise NotImplementedError

    @cached_property
    def level(self) -> FrameClassifier | None:
        """A classifier of single vectors, fitted on the training samples; None for proposals, which have no class."""
        there = self.training() if len(self.config.labels) > 1 else None
        if there is None:
            return None
        return fitted((there[(0, i)] for i in range(min(len(there), FITTED))), len(self.config.labels))

    def collate(self, samples: list[Any]) -> Batch:
        batch = collate(samples, self.config, fixed=self.split == "train")
        if self.split != "train" and self.level is not None:
            level = self.level
            batch["levels"] = {
                "classifier of single vectors": [level.segments(one) for one in samples],
                "class prior": [level.guesses(one.duration_s) for one in samples],
            }
        return batch

    def places(self, labels: tuple[str, ...], name: str, epoch: int) -> tuple[int, ...]:
        """Places of labels; without meaning where classes are shuffled on purpose."""
        config = self.config
        if len(config.labels) == 1:
            return (0,) * len(labels)
        found = [config.labels.index(label) for label in labels]
        if config.shuffled and self.split == "train":
            seed = int.from_bytes(f"{config.train.seed} {epoch} {name}".encode(), "little") % 2**63
            found = np.random.default_rng(seed).integers(len(config.labels), size=len(found)).tolist()
        return tuple(int(i) for i in found)


@dataclass(frozen=True)
class JoinedSet(_Base):
    """Videos joined from a bank."""

    bank: Bank
    whole: Bank | None = None
    """What levels are fitted on, where `bank` is a part of it."""

    def __len__(self) -> int:
        return VIDEOS[self.split]

    def training(self) -> JoinedSet | None:
        bank = self.whole or self.bank
        if not any(clip.split == "train" and clip.label != NONE for clip in bank.clips):
            return None
        return JoinedSet(replace(self.config, shuffled=False), "train", bank)

    def __getitem__(self, key: Key) -> Sample:
        epoch, index = key
        split = "test" if self.split == "all" else self.split
        seed = SEEDS[self.split] + (epoch * len(self) if self.split == "train" else 0) + index
        rng = np.random.default_rng(seed)
        length = int(rng.integers(*JOINED)) if self.split != "train" else self.config.max_length
        video = join(self.bank, split, seed, length, self.config.fps, self.config.labels)
        features = assemble(rows_of(self.bank, video))
        if self.split == "train":
            features = features * float(rng.uniform(0.9, 1.1))
        name = f"{split} {index}"
        places = self.places(video.labels, f"{name} {epoch}", epoch)
        return Sample(features, video.spans, places, 1 / video.fps, 0.0, len(video.place) / video.fps, name)


@dataclass(frozen=True)
class WorldSet(_Base):
    """Videos of the synthetic world, see `world.py`; features "grid"."""

    def __len__(self) -> int:
        return world.LENGTH[self.split]

    def training(self) -> WorldSet:
        return WorldSet(replace(self.config, shuffled=False), "train")

    def __getitem__(self, key: Key) -> Sample:
        epoch, index = key
        seed = world.FIRST[self.split] + (epoch * len(self) if self.split == "train" else 0) + index
        frames, spans = world.video(seed, self.config.max_length)
        features = assemble(look_at(_grid(self.config), frames))
        fps = self.config.fps
        table = np.array([(a / fps, b / fps) for a, b, _ in spans], np.float64).reshape(-1, 2)
        places = self.places(tuple(label for _, _, label in spans), str(seed), epoch)
        return Sample(features, table, places, 1 / fps, 0.0, len(frames) / fps, f"{self.split} {index}")


@cache
def _grid(config: Config) -> Any:
    return build(config).eval()


@dataclass(frozen=True)
class RecordingSet(_Base):
    """Videos whose features lie beside their annotations."""

    recordings: tuple[Recording, ...]
    timing: Timing
    learned_from: tuple[Recording, ...] = ()

    def __len__(self) -> int:
        return len(self.recordings)

    def training(self) -> RecordingSet | None:
        if not self.learned_from:
            return None
        return RecordingSet(replace(self.config, shuffled=False), "train", self.learned_from, self.timing)

    def __getitem__(self, key: Key) -> Sample:
        epoch, index = key
        one = self.recordings[index]
        timing = replace(self.timing, fps=self.timing.fps or one.fps)
        table = torch.from_numpy(one.read_features().T.copy())
        try:
            features, scale, shift = timed(table, timing, self.config)
        except InputError as error:
            raise InputError(f"{one.features}: {error}") from None
        duration = one.duration_s or table.shape[1] * timing.stride / (timing.fps or self.config.fps)
        sample = Sample(features, one.spans, self.places(one.labels, one.name, epoch), scale, shift, duration, one.name)
        if self.split == "train":
            sample = cut(sample, self.config.max_length, np.random.default_rng((self.config.train.seed, epoch, index)))
        return sample


def data(config: Config, split: str, root: Path | None = None) -> JoinedSet | WorldSet | RecordingSet:
    """Samples of a folder; without one, of the synthetic world (features "grid" only).

    Args:
        config: settings.
        split: "train", "val", "test" or "all".
        root: a bank of clips, or annotations with features beside them (`percepta actions features` makes both).

    Raises:
        MissingFileError, InputError: no such folder, no such split, unknown labels, or videos without features.
    """
    if split not in VIDEOS:
        raise InputError(f"split is train, val, test or all; got {split!r}")
    if root is None:
        if config.features != "grid":
            raise InputError(
                "the synthetic world is for the preset tiny; give --data, a bank of clips or features with annotations "
                "(percepta actions features makes both)"
            )
        return WorldSet(config, split)
    if is_bank(Path(root)):
        return JoinedSet(config, split, read_bank(Path(root)))
    found = _untrimmed(Path(root))
    chosen = chosen_split(found.recordings, split)
    if lacking := [one.name for one in chosen if one.features is None]:
        raise InputError(
            f"{root}: {len(lacking)} of {len(chosen)} videos have no features ({lacking[0]}, ...); make them once: "
            f"percepta actions features {root} --out FOLDER, then --data FOLDER"
        )
    if len(config.labels) > 1 and (odd := sorted({x for one in chosen for x in one.labels} - set(config.labels))):
        raise InputError(f"{root}: unknown classes {', '.join(odd[:5])}; the network knows {', '.join(config.labels)}")
    timing = found.timing or Timing(config.fps, config.stride, config.window)
    known = [one for one in found.recordings if one.features is not None and set(one.labels) <= set(config.labels)]
    try:
        learned_from = chosen_split(tuple(known), "train") if split in ("val", "test") else ()
    except InputError:  # no training videos: no level
        learned_from = ()
    return RecordingSet(config, split, chosen, timing, learned_from)


def _untrimmed(root: Path) -> Untrimmed:
    return layouts.find_one(root, Untrimmed).read(root)


def chosen_split(recordings: tuple[Recording, ...], split: str) -> tuple[Recording, ...]:
    """Those of a split; where the annotations say none, every fifth video by name is "val", and there is no "test".

    Raises:
        InputError: the split is empty.
    """
    if split == "all":
        return recordings
    said = any(one.split for one in recordings)
    if said:
        some = tuple(one for one in recordings if one.split == split)
        if not some and split == "val":
            some = tuple(one for one in recordings if one.split == "test")
    else:
        val = {one.name for one in sorted(recordings, key=lambda one: one.name)[::5]} if len(recordings) > 1 else set()
        some = tuple(one for one in recordings if (one.name in val) == (split != "train"))
    if not some:
        raise InputError(f"no videos of the split {split} among {len(recordings)}")
    return some


def fit_config(config: Config, root: Path | None) -> Config:
    """The settings with the classes, channels and timing of the data. Proposals (one class) stay proposals."""
    if root is None:
        return config
    if is_bank(Path(root)):
        labels = read_bank(Path(root)).labels()
        known = tuple(label for label in config.labels if label in labels)
        return replace(config, labels=known + tuple(label for label in labels if label not in known))
    found = _untrimmed(Path(root))
    labels = found.labels()
    if len(config.labels) > 1 and not set(labels) <= set(config.labels):
        config = replace(config, labels=labels)
    first = next((one for one in found.recordings if one.features is not None), None)
    if first is not None:
        config = replace(config, channels=first.read_features().shape[1])
    if found.timing is not None:
        timing = found.timing
        config = replace(config, fps=timing.fps or config.fps, stride=timing.stride, window=timing.window)
    return config
