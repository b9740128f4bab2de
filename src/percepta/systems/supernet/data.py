"""Labelled pictures in memory, at the size that the supernet sees; a batch is cut and mirrored in one go.

A training batch: {image: n 3 s s, uint8; label: n; index: n, place in the training set; count: its length}. An
evaluation's: {image, label, truth: path of NAS-Bench-Macro's table where it lies beside the pictures, else ""}.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor
from torch.nn import functional

from percepta.contract import Batch, Key
from percepta.datasets import nasbench
from percepta.datasets.classes import open_set
from percepta.datasets.classified import Classified
from percepta.datasets.problem import Problem, tell
from percepta.errors import InputError
from percepta.media import image
from percepta.systems.supernet import Config, world


@dataclass(frozen=True)
class Pool:
    """Pictures of one split, in memory.

    Attributes:
        pixels: RGB, at the side that the supernet sees.
        labels: numbers of the classes.
        truth: file of NAS-Bench-Macro's table; None where there is none.
    """

    pixels: UInt8[Tensor, "n 3 s s"]
    labels: Int64[Tensor, " n"]
    truth: Path | None = None

    def __len__(self) -> int:
        return len(self.labels)


def data(config: Config, split: str, root: Path | None = None) -> TrainingSet | EvaluationSet:
    """Samples of CIFAR or class folders; without a folder, of six patterns (`world.py`).

    Args:
        config: the settings.
        split: "train", "val", "test" or "all", see `pool`.
        root: the folder of data.

    Raises:
        MissingFileError, InputError: as `pool`.
    """
    found = pool(config, split, root)
    return TrainingSet(found, config.train.seed) if split == "train" else EvaluationSet(found)


def fit_config(config: Config, root: Path | None) -> Config:
    """The settings with the classes of the data, which the network's last layer follows."""
    return replace(config, classes=classified(config, root).classes)


def classified(config: Config, root: Path | None) -> Classified:
    """The set of pictures in a folder; without one, the synthetic world.

    Raises:
        MissingFileError, InputError: no data, several sets, or what makes a set unusable as a whole.
    """
    if root is None:
        return world.classified(config.side)
    return open_set(root, strict=config.train.strict)


def pool(config: Config, split: str, root: Path | None) -> Pool:
    """The pictures of a split.

    Where the data have no "val" of their own it is a share of their training pictures (`held_out`). A folder without
    any splits is "test" and "all" as a whole; otherwise "all" is the training part.

    Args:
        config: the settings.
        split: "train", "val", "test" or "all".
        root: the folder of data; None is the synthetic world.

    Raises:
        MissingFileError, InputError: no data, other classes than the network has, no such split, a bad picture.
    """
    root = None if root is None else Path(root)
    found = classified(config, root)
    official = found.official(split)
    if found.classes != config.classes:
        raise InputError(
            f"{root or 'the synthetic world'} has {len(found.classes)} classes ({', '.join(found.classes[:5])} ...), "
            f"the network {len(config.classes)} ({', '.join(config.classes[:5])} ...); train one on these data"
        )
    part = found.part(official)
    places = choose(config, split, len(part), found.has_val)
    problems: list[Problem] = []
    read, places = part.read(places, config.side, problems)
    tell(problems, f"the {split} pictures of {root}", strict=config.train.strict)
    pixels = smaller(read, config.side)
    return Pool(pixels, torch.from_numpy(part.labels[places]), None if root is None else nasbench.find(root))


def choose(config: Config, split: str, count: int, has_val: bool) -> Int64[np.ndarray, " m"]:
    """The places of a split's pictures; the same for every seed of training.

    Args:
        config: the settings.
        split: "train", "val", "test" or "all".
        count: of the pictures in the official split.
        has_val: whether validation has pictures of its own; otherwise it takes `held_out` of these.
    """
    if split in ("test", "all") or (split == "val" and has_val):
        return np.arange(count)
    order = np.random.default_rng(0).permutation(count)
    held = 0 if has_val else round(config.held_out * count)
    if split == "val":
        return np.sort(order[:held])
    if config.samples > count - held:
        raise InputError(f"samples {config.samples}: there are only {count - held} pictures to train on")
    return np.sort(order[held:][: config.samples or None])


def smaller(pixels: UInt8[Tensor, "n 3 h w"], side: int, at_once: int = 4096) -> UInt8[Tensor, "n 3 s s"]:
    """Square pictures brought to another side, with a filter against aliasing.

    Args:
        pixels: the pictures.
        side: the new one, in pixels.
        at_once: how many are scaled at a time.
    """
    if pixels.shape[-1] == side:
        return pixels.contiguous()
    options: Any = {"mode": "bilinear", "antialias": pixels.shape[-1] > side}
    parts = [functional.interpolate(p.float(), (side, side), **options) for p in pixels.split(at_once)]
    return torch.cat([part.round().clamp(0, 255).to(torch.uint8) for part in parts])


@dataclass
class TrainingSet:
    """Training batches. A sample is no more than its key (epoch, index): `collate` makes all views at once."""

    pool: Pool
    seed: int = 0

    def __len__(self) -> int:
        return len(self.pool)

    def __getitem__(self, key: Key) -> Key:
        return key

    def collate(self, samples: list[Key]) -> Batch:
        index = [place for _, place in samples]
        draws = np.stack([np.random.default_rng((self.seed, *key)).random(3) for key in samples])
        return {
            "image": image.crops(self.pool.pixels[index], draws),
            "label": self.pool.labels[index],
            "index": torch.tensor(index),
            "count": len(self.pool),
        }


@dataclass
class EvaluationSet:
    """Pictures as they are, for an evaluation."""

    pool: Pool

    def __len__(self) -> int:
        return len(self.pool)

    def __getitem__(self, key: Key) -> int:
        return key[1]

    def collate(self, samples: list[int]) -> Batch:
        truth = "" if self.pool.truth is None else str(self.pool.truth)
        return {"image": self.pool.pixels[samples], "label": self.pool.labels[samples], "truth": truth}
