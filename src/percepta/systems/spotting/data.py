"""Windows of halves for training, whole halves for an evaluation.

A training batch is {frames: b t f, near: b t c (0..1), ahead: b t c (frames until the action), weight: b t c (1 where
`ahead` counts)}; one of an evaluation {halves: list of `datasets.soccer_halves.HalfFeatures`}.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from percepta.contract import Batch, Dataset, Key
from percepta.datasets import soccer
from percepta.datasets.soccer_halves import HalfFeatures, Whole, check_world, halves, names_of
from percepta.systems.spotting import CLASSES, Config, world
from percepta.systems.spotting.decode import targets

WINDOWS = 12  # of a half and epoch


def data(config: Config, split: str, root: Path | None = None) -> Dataset:
    """Samples of a folder in SoccerNet's layout; without one, of a rendered broadcast.

    Args:
        config: the settings.
        split: "train", "val", "test" or "all".
        root: the folder.

    Raises:
        MissingFileError, InputError: no games, no such features (says which there are), no such split.
    """
    if root is None:
        check_world(config.features)
        found = world.halves(split)
    else:
        found = halves(Path(root), config.features, split, strict=config.train.strict)
    return Windows(config, found) if split == "train" else Whole(found)


def fit_config(config: Config, root: Path | None) -> Config:
    """The settings with width, rate and classes of the data: SoccerNet's seventeen, or those of one's own labels.

    Raises:
        InputError: the games have no such features.
    """
    if root is None:
        return config
    found = halves(Path(root), config.features, "all")
    games = soccer.read(Path(root), [])
    labels = {action.label for game in games for action in game.actions}
    classes = CLASSES if labels <= set(CLASSES) else tuple(sorted(labels))
    if config.features not in names_of(games):
        found = [half for half in found if len(half)]
    return replace(config, classes=classes, feature_width=int(found[0].array.shape[1]), fps=found[0].fps)


class Windows:
    """Windows around actions, all classes with equal chance, and a share of windows anywhere."""

    def __init__(self, config: Config, found: list[HalfFeatures]) -> None:
        self.config, self.halves = config, found
        number = {name: i for i, name in enumerate(config.classes)}
        self.actions: list[list[tuple[float | int, int]]] = [
            [(a.time_s, number[a.label]) for a in half.actions if a.label in number] for half in found
        ]
        self.places: dict[int, list[tuple[int, float | int]]] = {}
        for i, actions in enumerate(self.actions):
            for time_s, c in actions:
                self.places.setdefault(c, []).append((i, time_s))

    def __len__(self) -> int:
        return WINDOWS * len(self.halves)

    def __getitem__(self, key: Key) -> dict[str, Tensor]:
        config = self.config
        rng = np.random.default_rng([config.train.seed, *key])
        length = config.window_frames
        which = int(rng.integers(len(self.halves)))
        start = int(rng.integers(-length // 4, max(1, len(self.halves[which]) - 3 * length // 4)))
        if self.places and rng.random() < 0.5:
            places = self.places[int(rng.choice(sorted(self.places)))]
            which, time_s = places[int(rng.integers(len(places)))]
            start = int(time_s * config.fps) - int(rng.integers(8, max(9, length - 8)))
        half = self.halves[which]
        times = [(time_s - start / half.fps, c) for time_s, c in self.actions[which]]
        near, ahead, weight = targets([t for t, _ in times], [c for _, c in times], length, config)
        frames = torch.from_numpy(half.window(start, start + length))
        return {"frames": frames, "near": torch.from_numpy(near), "ahead": torch.from_numpy(ahead).clamp(-9, 9),
                "weight": torch.from_numpy(weight)}  # fmt: skip

    def collate(self, samples: list[dict[str, Tensor]]) -> Batch:
        return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}
