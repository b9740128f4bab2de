"""Labelled pictures into batches: the pictures stay in memory as bytes, and a batch is cut and mirrored in one go.

A training batch holds n pictures: {first, second: n 3 s s, uint8, two independent random views; label: n, as given;
index: n, place in the training set; count: its length}, and for CS-KD {partner: a view of another picture of the same
given label}. That mini-batches overlap by half, as DLB wants it, is not made here: a step takes `first` of its own
batch and `second` of the batch before, which `step.memory` keeps (`nn/selfdistill.py`). So all methods get the same
pictures, in the same views, in the same order. An evaluation's batch: {image, label, index}.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from percepta.datasets import cifar, class_folder
from percepta.errors import InputError
from percepta.media import image
from percepta.nn import selfdistill
from percepta.systems.distill import SIGNS, Config
from percepta.systems.distill.signs import signs

MOST_BYTES = 8e9  # of pictures in memory
Key = tuple[int, int]


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


@dataclass(frozen=True)
class Source:
    """Labelled pictures that are not yet read.

    Attributes:
        labels, names: of all pictures.
        load: numbers of pictures to their pixels.
        cut: whether "val" is cut from these.
    """

    labels: Int64[np.ndarray, " n"]
    names: list[str]
    load: Callable[[np.ndarray], UInt8[Tensor, "m 3 s s"]]
    cut: bool


def classes(root: Path | None) -> tuple[str, ...]:
    """The classes of a folder; of the synthetic world without one. Errors as the readers of `datasets` raise them."""
    if root is None:
        return SIGNS
    return cifar.classes(root) if cifar.find(root) else class_folder.read(root).classes


def pool(config: Config, split: str, root: Path | None) -> Pool:
    """The pictures of "train", "val", "test" or "all", with the labels that training sees.

    Where the data have no "val" of their own it is a share of each class of their training pictures (`held_out`, with 0
    it is empty). A folder without any splits is "test" and "all" as a whole; otherwise "all" is the training part.

    Raises:
        MissingFileError, InputError: no data, other classes than the network has, no such split, a bad picture.
    """
    if split not in ("train", "val", "test", "all"):
        raise InputError(f'the splits are "train", "val", "test" and "all", not {split!r}')
    if (found := classes(root)) != config.classes:
        raise InputError(
            f"{root or 'the synthetic world'} has the classes {_listed(found)}, the network {_listed(config.classes)}; "
            f"train one on these data, or give their names in order: --classes {' '.join(found)}"
        )
    if root is None:
        source = _world(config, split)
    else:
        source = _cifar(root, split) if cifar.find(root) else _folder(config, root, split)
    chosen, labels = choose(config, split, source)
    names = [source.names[i] for i in chosen]
    return Pool(source.load(chosen), labels[chosen], source.labels[chosen], names)


def choose(config: Config, split: str, source: Source) -> tuple[Int64[np.ndarray, " m"], Int64[np.ndarray, " n"]]:
    """The numbers of a split's pictures, and the labels of all pictures, of which training gets some wrong ones."""
    everything = np.arange(len(source.labels))
    if split in ("test", "all") or (split == "val" and not source.cut):
        return everything, source.labels
    held = np.zeros(len(everything), bool)
    if source.cut:
        held = kept_back(source.labels, config.held_out, config.split_seed)
    if split == "val":
        return everything[held], source.labels
    rest = everything[~held]
    if config.samples > len(rest):
        raise InputError(f"samples {config.samples}: there are only {len(rest)} pictures to train on")
    if config.samples:
        rest = np.sort(np.random.default_rng((config.split_seed, 1)).permutation(rest)[: config.samples])
    wrong = mislabel(source.labels, len(config.classes), config.noise, config.noise_kind, config.noise_seed)
    return rest, wrong


def mislabel(
    labels: Int64[np.ndarray, " n"], count: int, share: float, kind: str, seed: int
) -> Int64[np.ndarray, " n"]:
    """Labels of which about a share is wrong: any other class with equal chance ("symmetric"), or the next ("pair").

    What becomes of picture i follows from (seed, i) and its label alone, not from the other pictures.
    """
    draws = np.random.default_rng(seed).random((len(labels), 2))
    step = 1 + (draws[:, 1] * (count - 1)).astype(np.int64) if kind == "symmetric" else 1
    return np.where(draws[:, 0] < share, (labels + step) % count, labels)


def kept_back(labels: Int64[np.ndarray, " n"], share: float, seed: int) -> np.ndarray:
    """Which pictures are kept for validation: of every class the share, at least one where it has two or more."""
    rng = np.random.default_rng((seed, 0))
    out = np.zeros(len(labels), bool)
    for number in np.unique(labels):
        own = rng.permutation(np.flatnonzero(labels == number))
        most = 0 if len(own) < 2 or share == 0 else max(1, round(share * len(own)))
        out[own[: min(most, len(own) - 1)]] = True
    return out


def _world(config: Config, split: str) -> Source:
    part = "train" if split == "all" else split
    pixels, labels = signs(config.size, part, config.split_seed)
    return Source(labels, [f"{part} {i}" for i in range(len(labels))], lambda i: torch.from_numpy(pixels[i]), False)


def _cifar(root: Path, split: str) -> Source:
    found = cifar.read(root, "test" if split == "test" else "train")
    names = [f"{'test' if split == 'test' else 'train'} {i}" for i in range(len(found.labels))]
    return Source(found.labels, names, lambda i: torch.from_numpy(found.pixels[i]).permute(0, 3, 1, 2), True)


def _folder(config: Config, root: Path, split: str) -> Source:
    parts = class_folder.read(root).parts
    if "all" in parts:
        own = "all"
    elif split == "test":
        own = "test" if "test" in parts else "val"
    else:
        own = "val" if split == "val" and "val" in parts else "train"
    paths = [path for path, _ in parts[own]]
    labels = np.array([number for _, number in parts[own]], np.int64)
    return Source(
        labels,
        [str(path) for path in paths],
        lambda chosen: decode([paths[i] for i in chosen], config.size),
        "val" not in parts,
    )


def decode(paths: Sequence[Path], size: int) -> UInt8[Tensor, "n 3 s s"]:
    """Middle squares of pictures, in bytes.

    Raises:
        InputError: they would not fit into memory; or one cannot be read: names the file.
    """
    need = len(paths) * 3 * size * size
    if need > MOST_BYTES:
        raise InputError(f"{len(paths)} pictures of {size} pixels take {need / 1e9:.0f} GB of memory; lower --size")
    pixels = torch.empty(len(paths), 3, size, size, dtype=torch.uint8)
    for i, path in enumerate(paths):
        try:
            pixels[i] = image.to_bytes(image.crop_square(path, size))
        except (OSError, ValueError) as error:
            text = str(error).removeprefix(f"{path}: ")
            raise InputError(f"{path}: {text}; `percepta data distill check` lists all such files") from error
    return pixels


@dataclass
class Training:
    """Training batches. A sample is no more than its key (epoch, index): `collate` makes all views of a batch at once.

    Args:
        method: of `nn.selfdistill`, which decides what a batch holds.
    """

    pool: Pool
    method: str
    seed: int = 0

    def __len__(self) -> int:
        return len(self.pool)

    def __getitem__(self, key: Key) -> Key:
        return key

    def collate(self, samples: list[Key]) -> dict[str, Any]:
        index = [place for _, place in samples]
        draws = np.stack([self._draw(*key) for key in samples])
        batch: dict[str, Any] = {
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
class Whole:
    """Pictures as they are, for an evaluation."""

    pool: Pool

    def __len__(self) -> int:
        return len(self.pool)

    def __getitem__(self, key: Key) -> int:
        return key[1]

    def collate(self, samples: list[int]) -> dict[str, Any]:
        return {
            "image": self.pool.pixels[samples].contiguous(memory_format=torch.channels_last),
            "label": torch.from_numpy(self.pool.labels[samples]),
            "index": torch.tensor(samples),
        }


def unit(pixels: UInt8[Tensor, "b 3 s s"]) -> Float[Tensor, "b 3 s s"]:
    """Bytes as numbers in 0..1."""
    return pixels.float() / 255


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:6]) + (f", ... ({len(names)})" if len(names) > 6 else "")
