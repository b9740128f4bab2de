"""Samples: one drive, or in training a piece of one.

A batch: {features: b v t c, present: b v t, label: b t (−1 behind the end), drives: [{name, duration_s, spans}]}.
A folder is a bank (`bank.py`); without one, the toy world (features "grid").
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from percepta.contract import Batch, Key
from percepta.errors import InputError
from percepta.nn.looks import Rows
from percepta.systems.driver import Config, bank, world
from percepta.systems.driver.decoder import Activity
from percepta.systems.driver.recording import Recording, assembled

SPLITS = ("train", "val", "test", "all")
PIECES = 4  # of each drive in an epoch
KEPT = 64  # drives that stay in memory


@dataclass(frozen=True)
class Sample:
    """A drive or a piece of one.

    Attributes:
        drive: features and which views are present.
        label: class of each moment.
        spans: the truth, seconds.
        name: of the drive.
    """

    drive: Recording
    label: np.ndarray
    spans: tuple[Activity, ...]
    name: str


def labels_of(spans: tuple[Activity, ...], moments: int, fps: float) -> np.ndarray:
    """Class of each moment.

    Args:
        spans: activities.
        moments: how many.
        fps: moments a second.
    """
    time, out = np.arange(moments) / fps, np.zeros(moments, np.int64)
    for one in spans:
        out[(time >= one.start_s) & (time < one.end_s)] = one.label
    return out


@dataclass(frozen=True)
class _Base:
    config: Config
    split: str

    def piece(self, sample: Sample, key: Key) -> Sample:
        """A piece of `max_length` moments; shorter drives stay whole."""
        length, rng = self.config.max_length, np.random.default_rng((self.config.train.seed, *key, 3))
        n = len(sample.drive)
        first = int(rng.integers(n - length + 1)) if n > length else 0
        cut = slice(first, first + length)
        drive = replace(sample.drive, features=sample.drive.features[:, cut], present=sample.drive.present[:, cut])
        return replace(sample, drive=drive, label=sample.label[cut])

    def collate(self, samples: list[Any]) -> Batch:
        config = self.config
        whole = config.max_length if self.split == "train" else max(len(one.drive) for one in samples)
        whole = max(whole, *(len(one.drive) for one in samples))
        b, v = len(samples), len(config.views)
        features = torch.zeros(b, v, whole, config.channels)
        present, label = torch.zeros(b, v, whole, dtype=torch.bool), torch.full((b, whole), -1)
        for i, one in enumerate(samples):
            n = len(one.drive)
            features[i, :, :n] = torch.from_numpy(one.drive.features)
            present[i, :, :n] = torch.from_numpy(one.drive.present)
            label[i, :n] = torch.from_numpy(one.label)
        drives = [{"name": x.name, "duration_s": x.drive.duration_s, "spans": x.spans} for x in samples]
        return {"features": features, "present": present, "label": label, "drives": drives}


@dataclass(frozen=True)
class ToySet(_Base):
    """Drives of the toy world."""

    def __len__(self) -> int:
        return world.LENGTH[self.split]

    def __getitem__(self, key: Key) -> Sample:
        epoch, index = key
        config = self.config
        seed = world.FIRST[self.split] + (epoch * len(self) if self.split == "train" else 0) + index
        made = world.toy(seed)
        n = made.thumb.shape[1]
        nothing = np.zeros((n, 0), np.float32)
        seen = {
            view: (Rows(nothing, thumb), n / config.fps) for view, thumb in zip(config.views, made.thumb, strict=True)
        }
        together = dict.fromkeys(config.views, 0.0)
        spans = tuple(Activity(k, a / config.fps, b / config.fps, 1.0) for k, a, b in made.spans)
        label = labels_of(spans, n, config.fps)
        sample = Sample(assembled(seen, config, offset_s=together), label, spans, f"{self.split} {index}")
        return self.piece(sample, key) if self.split == "train" else sample


@lru_cache(KEPT)
def _read(root: Path, entry: bank.Entry, config: Config) -> Recording:
    seen = {view: (bank.read_view(root, entry.name, view), entry.duration_s) for view in entry.views}
    return assembled(seen, config, offset_s=dict.fromkeys(entry.views, 0.0))


@dataclass(frozen=True)
class BankSet(_Base):
    """Drives of a bank."""

    root: Path
    entries: tuple[bank.Entry, ...]

    def __len__(self) -> int:
        return len(self.entries) * (PIECES if self.split == "train" else 1)

    def __getitem__(self, key: Key) -> Sample:
        entry = self.entries[key[1] % len(self.entries)]
        drive = _read(self.root, entry, self.config)
        if drive.features.shape[2] != self.config.channels:
            raise InputError(f"{self.root}: features of {drive.features.shape[2]} channels, not {self.config.channels}")
        spans = tuple(Activity(k, a, b, 1.0) for k, a, b in entry.spans)
        label = labels_of(spans, len(drive), self.config.fps)
        sample = Sample(drive, label, spans, entry.name)
        return self.piece(sample, key) if self.split == "train" else sample


def data(config: Config, split: str, root: Path | None = None) -> ToySet | BankSet:
    """Samples of a bank; without one, of the toy world (features "grid" only).

    Args:
        config: settings.
        split: "train", "val", "test" or "all".
        root: a bank (`percepta driver drives` and `percepta driver features` make them).

    Raises:
        InputError: no such split, no bank, or one of other classes.
    """
    if split not in SPLITS:
        raise InputError(f"split is train, val, test or all; got {split!r}")
    if root is None:
        if config.features != "grid":
            raise InputError(
                "the toy world is for the preset tiny; give --data, a bank: percepta driver drives --out BANK (the "
                "in-cabin world), or percepta driver features A1 --out BANK"
            )
        return ToySet(config, split)
    if not bank.is_bank(Path(root)):
        raise InputError(f"{root}: no bank of drives; make one: percepta driver features {root} --out BANK")
    labels, found = bank.read_index(Path(root))
    some = tuple(one for one in found if split == "all" or one.split == split)
    if not some:
        raise InputError(f"{root}: the bank has no drives of the split {split}")
    if len(labels) != len(config.labels):
        raise InputError(f"{root}: the bank has {len(labels)} classes, the network {len(config.labels)}")
    if odd := sorted({k for one in some for k, _, _ in one.spans if not 0 < k < len(config.labels)}):
        raise InputError(f"{root}: unknown classes {odd}; the network has 0 to {len(config.labels) - 1}")
    return BankSet(config, split, Path(root), some)


def fit_config(config: Config, root: Path | None) -> Config:
    """The settings with the classes of a bank, and how long activities last in its training drives."""
    if root is None or not bank.is_bank(Path(root)):
        return config
    labels, found = bank.read_index(Path(root))
    if len(labels) != len(config.labels):
        config = replace(config, labels=labels, length_s=(), length_deviation=())
    some = [one for one in found if one.split == "train"]
    if not some:
        return config
    middle, spread = bank.lengths(some, config)
    return replace(config, length_s=middle, length_deviation=spread)
