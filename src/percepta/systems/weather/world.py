"""The synthetic world (`worlds/street`): streets by day with labels, and at night or in weather without."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from percepta.contract import Batch, Key
from percepta.datasets.street_pictures import LABEL_SETS, merging
from percepta.errors import InputError
from percepta.systems.weather import Config
from percepta.systems.weather.augment import lit
from percepta.worlds.street.scene import VIEWS, View, view

FIRST = {"train": 0, "val": 1_000_000, "test": 2_000_000, "all": 0}  # seeds: no street is in two splits
LENGTH = {"train": 12 * VIEWS, "val": 16, "test": 4 * VIEWS, "all": 12 * VIEWS}


@dataclass(frozen=True)
class Views:
    """Views of a split. In training each sample is a view by day and another one of the target condition, unlabelled.

    Otherwise every second picture is by day, the others are of the target condition.
    """

    config: Config
    split: str

    def __post_init__(self) -> None:
        if self.split not in FIRST:
            raise InputError(f"the synthetic world has the splits {', '.join(FIRST)}, not {self.split!r}")

    def __len__(self) -> int:
        return LENGTH[self.split]

    def __getitem__(self, key: Key) -> dict[str, Any]:
        epoch, index = key
        if self.split == "train":
            return self._pair(epoch, index)
        # spread over several streets
        seed = FIRST[self.split] + index // 2 * VIEWS // 2
        condition = self.config.world if index % 2 else "day"
        one = seen(seed, condition, self.config.height, self.config.width)
        return {
            "image": picture_of(one.picture),
            "labels": torch.from_numpy(own_labels(one, self.config)),
            "sets": self.config.label_set,
            "condition": condition,
            "name": f"street {seed}",
        }

    def _pair(self, epoch: int, index: int) -> dict[str, Any]:
        config = self.config
        rng = np.random.default_rng([config.train.seed, epoch, index, 37])
        labelled = seen(FIRST["train"] + index, "day", config.height, config.width)
        target = seen(FIRST["train"] + int(rng.integers(len(self))), config.world, config.height, config.width)
        classes, shares = LABEL_SETS["camvid"].classes, (config.light, config.weather)
        sample = {
            "image": lit(picture_of(labelled.picture), labelled.labels, rng, classes, shares),
            "labels": torch.from_numpy(own_labels(labelled, config)),
            "target": picture_of(target.picture),
            "weight": torch.ones(config.height, config.width),
            "reference": picture_of(target.reference),
        }
        for names in (("image", "labels"), ("target", "weight", "reference")):
            if rng.random() < 0.5:
                sample |= {name: sample[name].flip(-1) for name in names}
        place = tuple(LABEL_SETS).index(config.label_set)
        return {**sample, "sets": torch.tensor(place), "referenced": torch.tensor(True)}

    def collate(self, samples: list[dict[str, Any]]) -> Batch:
        if self.split == "train":
            return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}
        return {name: [sample[name] for sample in samples] for name in samples[0]}


@lru_cache(maxsize=256)
def seen(seed: int, condition: str, height: int, width: int) -> View:
    """A view, remembered while training goes round.

    Args:
        seed: of everything random.
        condition: one of `scene.CONDITIONS`.
        height: in pixels.
        width: in pixels.
    """
    return view(seed, condition, height, width)


def picture_of(pixels: Float[np.ndarray, "h w 3"]) -> Float[Tensor, "3 h w"]:
    """A rendered picture as a tensor."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def own_labels(one: View, config: Config) -> np.ndarray:
    """The labels of a view in the classes of the settings: the world's are CamVid's, others by the first that fits."""
    if config.label_set == "camvid":
        return one.labels.astype(np.int64)
    table = merging(LABEL_SETS["camvid"], LABEL_SETS[config.label_set])
    return table.argmax(0)[one.labels]
