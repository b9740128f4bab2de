"""Labelled pictures in memory, at the size that the supernet sees; a batch is cut and mirrored in one go.

A training batch: {image: n 3 s s, uint8; label: n; index: n, place in the training set; count: its length}. An
evaluation's: {image, label, truth: path of NAS-Bench-Macro's table where it lies beside the pictures, else ""}.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor
from torch.nn import functional

from percepta.datasets import cifar, class_folder
from percepta.errors import InputError
from percepta.media import image
from percepta.systems.supernet import STRIPES, Config

TABLE = "nas-bench-macro_cifar10.json"
PLACES = (".", "nas", "../nas")  # where the table may lie, from the folder of data
LENGTH = {"train": 960, "val": 240, "test": 240}  # of the synthetic world
MOST_BYTES = 8e9
Key = tuple[int, int]


@dataclass(frozen=True)
class Pool:
    """Pictures of one split, in memory.

    Attributes:
        pixels: RGB, at the side that the supernet sees.
        truth: NAS-Bench-Macro's table; None where there is none.
    """

    pixels: UInt8[Tensor, "n 3 s s"]
    labels: Int64[Tensor, " n"]
    truth: Path | None = None

    def __len__(self) -> int:
        return len(self.labels)


def pictures_in(root: Path) -> Path:
    """The folder of pictures: the one that is given, or `cifar10` inside it."""
    return root / "cifar10" if cifar.find(root) is None and cifar.find(root / "cifar10") is not None else root


def table_beside(root: Path) -> Path | None:
    """NAS-Bench-Macro's table in the folder of data, in its `nas`, or in a `nas` beside it."""
    return next((root / place / TABLE for place in PLACES if (root / place / TABLE).is_file()), None)


def classes(root: Path | None) -> tuple[str, ...]:
    """The classes of a folder; of the synthetic world without one. Errors as the readers of `datasets` raise them."""
    if root is None:
        return STRIPES
    folder = pictures_in(root)
    return cifar.classes(folder) if cifar.find(folder) else class_folder.read(folder).classes


def pool(config: Config, split: str, root: Path | None) -> Pool:
    """The pictures of "train", "val" (kept back from the training pictures), "test", or "all" (train and val).

    Raises:
        MissingFileError, InputError: no data, other classes than the network has, no such split, a bad picture.
    """
    if split not in ("train", "val", "test", "all"):
        raise InputError(f'the splits are "train", "val", "test" and "all", not {split!r}')
    found = classes(root)
    if found != config.classes:
        raise InputError(
            f"{root or 'the synthetic world'} has {len(found)} classes ({', '.join(found[:5])} ...), the network "
            f"{len(config.classes)} ({', '.join(config.classes[:5])} ...); train one on these data"
        )
    if root is None:
        pixels, labels = stripes(config.side, "train" if split == "all" else split)
        return Pool(torch.from_numpy(pixels), torch.from_numpy(labels))
    folder = pictures_in(root)
    if cifar.find(folder):
        whole = cifar.read(folder, "test" if split == "test" else "train")
        pixels, labels = torch.from_numpy(whole.pixels).permute(0, 3, 1, 2), whole.labels
        chosen = _chosen(config, split, labels)
        return Pool(smaller(pixels[chosen], config.side), torch.from_numpy(labels[chosen]), table_beside(root))
    return _folder(config, split, folder, table_beside(root))


def _folder(config: Config, split: str, folder: Path, table: Path | None) -> Pool:
    parts = class_folder.read(folder).parts
    name = split if split in parts else "train" if "train" in parts and split != "test" else next(iter(parts))
    labels = np.array([number for _, number in parts[name]], np.int64)
    chosen = np.arange(len(labels)) if split in ("test", "val") and split in parts else _chosen(config, split, labels)
    side = config.side
    if len(chosen) * 3 * side * side > MOST_BYTES:
        raise InputError(f"{len(chosen)} pictures of {side} pixels do not fit into memory; lower --side or --samples")
    pixels = torch.stack([image.to_bytes(image.crop_square(parts[name][i][0], side)) for i in chosen])
    return Pool(pixels, torch.from_numpy(labels[chosen]), table)


def _chosen(config: Config, split: str, labels: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " m"]:
    """The places of a split: `held_out` of the training pictures are "val", the same for every seed of training."""
    if split in ("test", "all"):
        return np.arange(len(labels))
    order = np.random.default_rng(0).permutation(len(labels))
    cut = round(config.held_out * len(labels))
    if split == "val":
        return np.sort(order[:cut])
    if config.samples > len(labels) - cut:
        raise InputError(f"samples {config.samples}: there are only {len(labels) - cut} pictures to train on")
    return np.sort(order[cut:][: config.samples or None])


def smaller(pixels: UInt8[Tensor, "n 3 h w"], side: int, at_once: int = 4096) -> UInt8[Tensor, "n 3 s s"]:
    """Square pictures brought to another side, with a filter against aliasing."""
    if pixels.shape[-1] == side:
        return pixels.contiguous()
    options: Any = {"mode": "bilinear", "antialias": pixels.shape[-1] > side}
    parts = [functional.interpolate(p.float(), (side, side), **options) for p in pixels.split(at_once)]
    return torch.cat([part.round().clamp(0, 255).to(torch.uint8) for part in parts])


def stripes(side: int, split: str) -> tuple[UInt8[np.ndarray, "n 3 s s"], Int64[np.ndarray, " n"]]:
    """The synthetic world: six patterns in any two colours, width and place, under grain. Colours say nothing.

    Raises:
        InputError: no such split.
    """
    if split not in LENGTH:
        raise InputError(f"the synthetic world has the splits {', '.join(LENGTH)}, not {split!r}")
    rng = np.random.default_rng(zlib.crc32(split.encode()))
    labels = rng.permutation(np.arange(LENGTH[split], dtype=np.int64) % len(STRIPES))
    return np.stack([_pattern(STRIPES[label], side, rng) for label in labels]), labels


def _pattern(name: str, side: int, rng: np.random.Generator) -> UInt8[np.ndarray, "3 s s"]:
    y, x = (np.mgrid[:side, :side] + rng.uniform(-side, side, (2, 1, 1))) / side
    width, phase = rng.uniform(0.22, 0.4), rng.random()
    wave = {
        "rows": y,
        "columns": x,
        "rising": (x + y) / 2**0.5,
        "falling": (x - y) / 2**0.5,
        "rings": np.hypot(x - x.mean(), y - y.mean()),
    }
    if name == "checks":
        drawn = (np.sin(2 * np.pi * x / width) > 0) ^ (np.sin(2 * np.pi * y / width) > 0)
    else:
        drawn = np.sin(2 * np.pi * (wave[name] / width + phase)) > 0
    colours = np.where(drawn, rng.uniform(0, 1, 3)[:, None, None], rng.uniform(0, 1, 3)[:, None, None])
    return ((colours + rng.normal(0, 0.15, (3, side, side))).clip(0, 1) * 255).astype(np.uint8)


@dataclass
class Training:
    """Training batches. A sample is no more than its key (epoch, index): `collate` makes all views at once."""

    pool: Pool
    seed: int = 0

    def __len__(self) -> int:
        return len(self.pool)

    def __getitem__(self, key: Key) -> Key:
        return key

    def collate(self, samples: list[Key]) -> dict[str, Any]:
        index = [place for _, place in samples]
        draws = np.stack([np.random.default_rng((self.seed, *key)).random(3) for key in samples])
        return {
            "image": image.crops(self.pool.pixels[index], draws),
            "label": self.pool.labels[index],
            "index": torch.tensor(index),
            "count": len(self.pool),
        }


@dataclass
class Whole:
    """Pictures as they are, for an evaluation."""

    pool: Pool

    def __len__(self) -> int:
        return len(self.pool)

    def __getitem__(self, key: Key) -> int:
        return key[1]

    def collate(self, samples: list[int]) -> dict[str, Any]:
        truth = "" if self.pool.truth is None else str(self.pool.truth)
        return {"image": self.pool.pixels[samples], "label": self.pool.labels[samples], "truth": truth}
