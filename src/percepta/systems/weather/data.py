"""Labelled pictures and target pictures of street scenes, and batches of them.

A training batch holds, for b samples:

    image      b 3 h w   labelled pictures, RGB 0..1, with light and weather painted in; none where there are no labels
    labels     b h w     class of each pixel in the label set of the picture, 255 void
    sets       b         place of that label set in SETS
    target     b 3 h w   target pictures (left out where there are none)
    weight     b h w     1 where the teacher's answer counts, 0 beyond the picture and in ignored rows
    reference  b 3 h w   the same view in fair weather; with `referenced` (b), whether there is one

A batch of an evaluation holds {image: list of 3 h w, labels: list of h w, sets: list, condition: list, name: list}.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from percepta.contract import Batch, Dataset, Key
from percepta.datasets import layouts
from percepta.datasets.problem import Problem, noting, tell
from percepta.datasets.street_pictures import LABEL_SETS, StreetPicture
from percepta.errors import InputError
from percepta.media import image
from percepta.systems.weather import Config
from percepta.systems.weather.augment import Cut, drawn_cut, lit
from percepta.systems.weather.world import Views

SPLITS = ("train", "val", "test", "all")
SETS = tuple(LABEL_SETS)
TRIES = 10  # crops that are tried for enough pixels of a rare class


def data(config: Config, split: str, root: Path | None = None) -> Dataset | None:
    """Training samples, or the pictures with labels of a split; without a folder, of synthetic streets.

    Target pictures are those of all splits whose condition is not among `labelled_conditions`; of them no label map is
    opened for training. Pictures of one's own without labels have no condition and so are target pictures. A folder
    without any label map has nothing to validate on: None for the split "val".

    Args:
        config: the settings.
        split: "train", "val", "test" or "all".
        root: a folder of street pictures, or with several such folders in it.

    Raises:
        MissingFileError, InputError: no set that is known; no such split, or nothing in it.
    """
    if split not in SPLITS:
        raise InputError(f"the splits are {', '.join(SPLITS)}, not {split!r}")
    if root is None:
        return Views(config, split)
    found = pictures(root)
    if split == "train":
        return Adapting.of(config, found, str(root))
    held = [one for one in found if one.labels is not None and (split == "all" or one.split in (split, ""))]
    if split == "val" and all(one.labels is None for one in found):
        return None
    if not held:
        raise InputError(f"{root}: no street picture with a label map in the split {split!r}")
    return Labelled(tuple(held))


def pictures(root: Path, problems: list[Problem] | None = None) -> list[StreetPicture]:
    """All street pictures of a folder, or of the sets in it.

    Args:
        root: the folder.
        problems: a list to add to; None: the first is raised.
    """
    return [one for found in layouts.find(root, StreetPicture) for one in found.read(found.root, problems)]


@dataclass(frozen=True)
class Labelled:
    """Pictures of an evaluation."""

    found: tuple[StreetPicture, ...]

    def __len__(self) -> int:
        return len(self.found)

    def __getitem__(self, key: Key) -> dict[str, Any]:
        one = self.found[key[1]]
        labels = one.read_labels()
        assert labels is not None  # `data` kept those with labels
        return {
            "image": image.read(one.image),
            "labels": torch.from_numpy(labels.astype(np.int64)),
            "sets": one.label_set,
            "condition": one.condition or "unknown",
            "name": one.name,
        }

    def collate(self, samples: list[dict[str, Any]]) -> Batch:
        return {name: [sample[name] for sample in samples] for name in samples[0]}


@dataclass(frozen=True)
class Adapting:
    """Training samples: a labelled picture and a target picture each.

    Attributes:
        config: the settings.
        labelled: pictures whose label maps are opened.
        counts: pixels of each class in each of them (of those of the config's own label set; others have none).
        targets: pictures without labels.
    """

    config: Config
    labelled: tuple[StreetPicture, ...]
    counts: Int64[np.ndarray, "n k"]
    targets: tuple[StreetPicture, ...]

    @classmethod
    def of(cls, config: Config, found: Sequence[StreetPicture], what: str) -> Adapting:
        """From all pictures of a folder.

        Args:
            config: the settings.
            found: the pictures.
            what: where they come from, for messages.

        Raises:
            InputError: nothing to train on.
        """
        wanted = [one for one in found if one.labels is not None and one.split in ("train", "")
                  and one.condition in config.labelled_conditions]  # fmt: skip
        own, problems = len(LABEL_SETS[config.label_set]), list[Problem]()
        labelled, counts = [], []
        for one in wanted:
            with noting(problems, one.image):
                labels = one.read_labels()
                assert labels is not None
                if labels.shape != image.size(one.image):
                    raise InputError(f"{one.labels}: {labels.shape[1]}×{labels.shape[0]} pixels, not as its picture")
                same = one.label_set == config.label_set
                counts.append(np.bincount(labels.ravel(), minlength=256)[:own] * same)
                labelled.append(one)
        tell(problems, f"{len(wanted)} labelled pictures of {what}", strict=config.train.strict)
        targets = targets_of(config, found)
        if not labelled and not targets:
            raise InputError(f"{what}: neither pictures with labels to train on nor target pictures to adapt to")
        if not labelled and not config.adaptation.self_training:
            raise InputError(f"{what}: no picture has labels, and adaptation.self_training is off: nothing to learn")
        return cls(config, tuple(labelled), np.array(counts, np.int64).reshape(-1, own), tuple(targets))

    def __len__(self) -> int:
        return max(len(self.labelled), len(self.targets))

    @cached_property
    def chances(self) -> Float[np.ndarray, " k"]:
        """How often each class is drawn: softmax((1 − frequency) / temperature), over classes that occur."""
        total = self.counts.sum(0)
        frequency = total / max(int(total.sum()), 1)
        score = (1 - frequency) / max(self.config.adaptation.rare_class_temperature, 1e-6)
        weight = np.where(total > 0, np.exp(score - score.max()), 0.0)
        return weight / weight.sum()

    def __getitem__(self, key: Key) -> dict[str, Any]:
        epoch, index = key
        rng = np.random.default_rng([self.config.train.seed, epoch, index, 37])
        sample: dict[str, Any] = {}
        if self.labelled:
            sample |= self._labelled(rng, index)
        if self.targets and self.config.adaptation.self_training:
            sample |= self._target(rng, index)
        return sample

    def _labelled(self, rng: np.random.Generator, index: int) -> dict[str, Any]:
        config = self.config
        wanted, least = None, config.adaptation.rare_class_pixels
        place = index % len(self.labelled) if len(self.labelled) == len(self) else int(rng.integers(len(self.labelled)))
        if config.adaptation.rare_class_temperature and self.counts.any():
            wanted = int(rng.choice(len(self.chances), p=self.chances))
            has = np.flatnonzero(self.counts[:, wanted] >= max(1, least))
            if not len(has):
                has = np.flatnonzero(self.counts[:, wanted])
            place = int(rng.choice(has))
            if self.counts.sum(1).min() == 0 and rng.random() < (self.counts.sum(1) == 0).mean():
                wanted, place = None, int(rng.choice(np.flatnonzero(self.counts.sum(1) == 0)))  # of another label set
        one = self.labelled[place]
        pixels, labels = self._read(one)
        size = (config.height, config.width)
        for _ in range(TRIES):
            cut = drawn_cut(rng, labels.shape, size, config.scales, self._whole(labels.shape))
            small = cut.labels(labels, size)
            if wanted is None or (small == wanted).sum() >= least:
                break
        classes = LABEL_SETS[one.label_set].classes
        picture = lit(cut.picture(pixels, size), small, rng, classes, (config.light, config.weather))
        return {
            "image": picture,
            "labels": torch.from_numpy(small.astype(np.int64)),
            "sets": SETS.index(one.label_set),
        }

    def _target(self, rng: np.random.Generator, index: int) -> dict[str, Any]:
        config, adaptation = self.config, self.config.adaptation
        one = self.targets[int(rng.integers(len(self.targets)))]
        pixels = self._pixels(one.image)
        size = (config.height, config.width)
        whole = self._whole(pixels.shape[:2])
        cut = drawn_cut(rng, pixels.shape[:2], size, config.scales, whole)
        rows = adaptation.ignored_top / whole, adaptation.ignored_bottom / whole
        sample = {"target": cut.picture(pixels, size), "weight": ignoring(cut, pixels.shape[:2], size, rows)}
        if adaptation.reference_weight:
            sample |= self._reference(one, cut, pixels.shape[:2], size, sample["target"])
        return sample

    def _reference(
        self, one: StreetPicture, cut: Cut, shape: tuple[int, int], size: tuple[int, int], target: Tensor
    ) -> dict[str, Any]:
        """The same part of the reference picture; the target itself where there is none."""
        if one.reference is None:
            return {"reference": target, "referenced": False}
        other = self._pixels(one.reference)
        if other.shape[:2] != shape:
            raise InputError(f"{one.reference}: {other.shape[1]}×{other.shape[0]} pixels, but {one.image} has "
                             f"{shape[1]}×{shape[0]}")  # fmt: skip
        return {"reference": cut.picture(other, size), "referenced": True}

    def _whole(self, shape: tuple[int, ...]) -> float:
        longest = self.config.longest
        return min(1.0, longest / max(shape[:2])) if longest else 1.0

    def _read(self, one: StreetPicture) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
        labels = one.read_labels()
        assert labels is not None
        return self._pixels(one.image), labels

    def _pixels(self, path: Path) -> UInt8[np.ndarray, "h w 3"]:
        return np.ascontiguousarray(image.to_bytes(image.read(path)).permute(1, 2, 0).numpy())

    def collate(self, samples: list[dict[str, Any]]) -> Batch:
        return joined(samples)


def joined(samples: list[dict[str, Any]]) -> Batch:
    """Samples of the same names as one batch of tensors."""
    return {name: torch.stack([torch.as_tensor(sample[name]) for sample in samples]) for name in samples[0]}


def targets_of(config: Config, found: Sequence[StreetPicture]) -> list[StreetPicture]:
    """The target pictures, between `target_first` and `target_last` by name; their label maps are taken off.

    Raises:
        InputError: a name is given that no target picture has.
    """
    out = [one for one in found if one.condition not in config.labelled_conditions]
    for name in (config.target_first, config.target_last):
        if name and name not in {one.name for one in out}:
            raise InputError(f"no target picture is called {name!r}; the first is {out[0].name if out else 'none'}")
    return [
        replace(one, labels=None)
        for one in out
        if config.target_first <= one.name and (not config.target_last or one.name <= config.target_last)
    ]


def ignoring(
    cut: Cut, shape: tuple[int, int], size: tuple[int, int], rows_ignored: tuple[float | int, float | int]
) -> Float[Tensor, "h w"]:
    """1 where the teacher's answer counts: inside the picture, and not in the ignored rows.

    Args:
        cut: what the crop is of.
        shape: height and width of the picture.
        size: height and width of the crop.
        rows_ignored: at the top and at the bottom of the picture.
    """
    rows = cut.top + (np.arange(size[0]) + 0.5) * cut.height / size[0]
    columns = cut.left + (np.arange(size[1]) + 0.5) * cut.width / size[1]
    columns = columns[::-1] if cut.mirrored else columns
    high = (rows >= rows_ignored[0]) & (rows < shape[0] - rows_ignored[1])
    wide = (columns >= 0) & (columns < shape[1])
    return torch.from_numpy((high[:, None] & wide).astype(np.float32))
