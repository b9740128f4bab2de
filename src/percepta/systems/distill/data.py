"""Labelled pictures into batches: the pictures stay in memory as bytes, and a batch is cut and mirrored in one go.

A training batch holds n pictures: {first, second: n 3 s s, uint8, two independent random views; label: n, as given;
index: n, place in the training set; count: its length}, and for CS-KD {partner: a view of another picture of the same
given label}. That mini-batches overlap by half, as DLB wants it, is not made here: a step takes `first` of its own
batch and `second` of the batch before, which `step.memory` keeps (`nn/selfdistill.py`). So all methods get the same
pictures, in the same views, in the same order. An evaluation's batch: {image, label, index, name}.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from percepta.contract import Batch, Key
from percepta.datasets.classes import open_set
from percepta.datasets.classified import Classified
from percepta.datasets.problem import Problem, tell
from percepta.errors import InputError
from percepta.media import image
from percepta.nn import selfdistill
from percepta.systems.distill import Config, world


@dataclass(frozen=True)
class Pool:
    """Pictures of one split, in memory.

    Attributes:
        pixels: RGB, all of one size.
        labels: as they are given, which may be wrong on purpose.
        truth: as they were before.
        names: of the files, or numbers.
    """

    pixels: UInt8[Tensor, "n 3 s s"]
    labels: Int64[np.ndarray, " n"]
    truth: Int64[np.ndarray, " n"]
    names: list[str]

    def __len__(self) -> int:
        return len(self.labels)


def data(config: Config, split: str, root: Path | None = None) -> TrainingSet | EvaluationSet:
    """Samples of CIFAR-10, CIFAR-100 or a folder of class folders; without a folder, of eight signs (`world.py`).

    Args:
        config: the settings; only "train" has wrong labels (`noise`).
        split: "train", "val", "test" or "all", see `pool`.
        root: the folder of data.

    Raises:
        MissingFileError, InputError: as `pool`.
    """
    found = pool(config, split, root)
    if split == "train":
        return TrainingSet(found, config.self_distill, config.train.seed)
    return EvaluationSet(found)


def fit_config(config: Config, root: Path | None) -> Config:
    """The settings with the classes of the data, which the network's last layer follows.

    A level below which answers are unsure belongs to the classes it was found for: it is dropped. The net "imagenet"
    becomes "lite0", which starts from the same weights and learns.
    """
    net = "lite0" if config.net == "imagenet" else config.net
    return replace(config, net=net, classes=classified(config, root).classes, unsure_below=0.0)


def classified(config: Config, root: Path | None) -> Classified:
    """The set of pictures in a folder; without one, the synthetic world.

    Raises:
        MissingFileError, InputError: no data, several sets, or what makes a set unusable as a whole.
    """
    if root is None:
        return world.classified(config.size, config.split_seed)
    return open_set(root, strict=config.train.strict)


def pool(config: Config, split: str, root: Path | None) -> Pool:
    """The pictures of a split, with the labels that training sees.

    Where the data have no "val" of their own it is a share of each class of their training pictures (`held_out`, with 0
    it is empty). A folder without any splits is "test" and "all" as a whole; otherwise "all" is the training part.

    Args:
        config: the settings.
        split: "train", "val", "test" or "all".
        root: the folder of data; None is the synthetic world.

    Raises:
        MissingFileError, InputError: no data, other classes than the network has, no such split, a bad picture.
    """
    found = classified(config, None if root is None else Path(root))
    official = found.official(split)
    if found.classes != config.classes:
        raise InputError(
            f"{root or 'the synthetic world'} has the classes {_listed(found.classes)}, the network "
            f"{_listed(config.classes)}; train one on these data, or give their names in order: "
            f"--classes {' '.join(found.classes)}"
        )
    part = found.part(official)
    places, labels = choose(config, split, part.labels, found.has_val)
    problems: list[Problem] = []
    pixels, places = part.read(places, config.size, problems)
    tell(problems, f"the {split} pictures of {root}", strict=config.train.strict)
    return Pool(pixels, labels[places], part.labels[places], [part.names[i] for i in places])


def choose(
    config: Config, split: str, labels: Int64[np.ndarray, " n"], has_val: bool
) -> tuple[Int64[np.ndarray, " m"], Int64[np.ndarray, " n"]]:
    """Which pictures of an official split are those of `split`, and the labels that are used.

    Args:
        config: the settings.
        split: "train", "val", "test" or "all".
        labels: of all pictures, as the data give them.
        has_val: whether validation has pictures of its own; otherwise it takes some of these.

    Returns:
        (places of the pictures, labels of all pictures, of which training gets some wrong ones).
    """
    everything = np.arange(len(labels))
    if split in ("test", "all") or (split == "val" and has_val):
        return everything, labels
    held = np.zeros(len(everything), bool) if has_val else kept_back(labels, config.held_out, config.split_seed)
    if split == "val":
        return everything[held], labels
    rest = everything[~held]
    if config.samples > len(rest):
        raise InputError(f"samples {config.samples}: there are only {len(rest)} pictures to train on")
    if config.samples:
        rest = np.sort(np.random.default_rng((config.split_seed, 1)).permutation(rest)[: config.samples])
    return rest, mislabel(labels, len(config.classes), config.noise, config.noise_kind, config.noise_seed)


def mislabel(
    labels: Int64[np.ndarray, " n"], count: int, share: float, kind: str, seed: int
) -> Int64[np.ndarray, " n"]:
    """Labels of which about a share is wrong: any other class with equal chance ("symmetric"), or the next ("pair").

    What becomes of picture i follows from (seed, i) and its label alone, not from the other pictures.

    Args:
        labels: the right ones.
        count: of classes.
        share: that becomes wrong, 0..1.
        kind: "symmetric" or "pair".
        seed: decides which, and how.
    """
    draws = np.random.default_rng(seed).random((len(labels), 2))
    step = 1 + (draws[:, 1] * (count - 1)).astype(np.int64) if kind == "symmetric" else 1
    return np.where(draws[:, 0] < share, (labels + step) % count, labels)


def kept_back(labels: Int64[np.ndarray, " n"], share: float, seed: int) -> np.ndarray:
    """Which pictures are kept for validation: of every class the share, at least one where it has two or more.

    Args:
        labels: of all pictures.
        share: that is kept, 0..1.
        seed: decides which.
    """
    rng = np.random.default_rng((seed, 0))
    out = np.zeros(len(labels), bool)
    for number in np.unique(labels):
        own = rng.permutation(np.flatnonzero(labels == number))
        count = 0 if len(own) < 2 or share == 0 else max(1, round(share * len(own)))
        out[own[: min(count, len(own) - 1)]] = True
    return out


@dataclass
class TrainingSet:
    """Training batches. A sample is no more than its key (epoch, index): `collate` makes all views of a batch at once.

    Attributes:
        pool: the pictures.
        method: of `nn.selfdistill`, which decides what a batch holds.
        seed: decides the views.
    """

    pool: Pool
    method: str
    seed: int = 0

    def __len__(self) -> int:
        return len(self.pool)

    def __getitem__(self, key: Key) -> Key:
        return key

    def collate(self, samples: list[Key]) -> Batch:
        index = [place for _, place in samples]
        draws = np.stack([self._draw(*key) for key in samples])
        batch: Batch = {
            "label": torch.from_numpy(self.pool.labels[index]),
            "index": torch.tensor(index),
            "count": len(self.pool),
            "first": image.crops(self.pool.pixels[index], draws[:, 0, :3]),
        }
        wanted = selfdistill.needs(self.method)
        if "second" in wanted:
            batch["second"] = image.crops(self.pool.pixels[index], draws[:, 1, :3])
        if "partner" in wanted:
            partners = [self._partner(place, draw[2, 3]) for place, draw in zip(index, draws, strict=True)]
            batch["partner"] = image.crops(self.pool.pixels[partners], draws[:, 2, :3])
        return batch

    def _draw(self, epoch: int, index: int) -> Float[np.ndarray, "3 4"]:
        """Numbers in 0..1: for the two views and the partner, each (row, column, mirrored, which partner)."""
        return np.random.default_rng((self.seed, epoch, index)).random((3, 4))

    def _partner(self, index: int, draw: float) -> int:
        """Another picture of the same given label; the picture itself where it is alone."""
        same = self._same[self.pool.labels[index]]
        if len(same) == 1:
            return index
        chosen = int(draw * (len(same) - 1))
        place = int(np.searchsorted(same, index))
        return int(same[chosen + (chosen >= place)])

    @cached_property
    def _same(self) -> dict[int, np.ndarray]:
        return {int(number): np.flatnonzero(self.pool.labels == number) for number in np.unique(self.pool.labels)}


@dataclass
class EvaluationSet:
    """Pictures as they are, for an evaluation."""

    pool: Pool

    def __len__(self) -> int:
        return len(self.pool)

    def __getitem__(self, key: Key) -> int:
        return key[1]

    def collate(self, samples: list[int]) -> Batch:
        return {
            "image": self.pool.pixels[samples].contiguous(memory_format=torch.channels_last),
            "label": torch.from_numpy(self.pool.labels[samples]),
            "index": torch.tensor(samples),
            "name": [self.pool.names[i] for i in samples],
        }


def unit(pixels: UInt8[Tensor, "b 3 s s"]) -> Float[Tensor, "b 3 s s"]:
    """Bytes as numbers in 0..1."""
    return pixels.float() / 255


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:6]) + (f", ... ({len(names)})" if len(names) > 6 else "")
