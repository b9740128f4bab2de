"""Replays with their past for training, whole halves for an evaluation.

A training batch is {past: b t f, replay: b r f, there: b r, score: b t (1 inside the segment of the action), reach:
b t 2 (frames to its start and end), frames: b t f (a window anywhere), span: b t 3 (inside a replay, its first frames,
its last ones)}; one of an evaluation {halves: list of `datasets.soccer_halves.HalfFeatures`}.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from percepta.contract import Batch, Dataset, Key
from percepta.datasets.soccer import ReplaySpan
from percepta.datasets.soccer_halves import HalfFeatures, Whole, check_world, halves
from percepta.errors import InputError
from percepta.systems.replay import Config, world
from percepta.systems.replay.inputs import of_replay

WIPE_S = 1.0  # from an end of a replay, in which its wipe is
SHIFT_S = 10.0  # by which the past may end before the replay in training
TOGETHER_S = 0.6  # replays that are no further apart are one, between one pair of wipes


def data(config: Config, split: str, root: Path | None = None) -> Dataset:
    """Samples of a folder in SoccerNet's layout; without one, of a rendered broadcast.

    Args:
        config: the settings.
        split: "train", "val", "test" or "all".
        root: the folder.

    Raises:
        MissingFileError, InputError: no games, no such features, no such split, no replay with a link to learn from.
    """
    if root is None:
        check_world(config.features)
        found = world.halves(split)
    else:
        found = halves(Path(root), config.features, split, strict=config.train.strict)
    if split != "train":
        return Whole(found)
    pairs = linked(found)
    if not pairs:
        raise InputError(f"{root}: no replay has a link to its action (in Labels-cameras.json), so nothing is learned")
    return Pairs(config, found, pairs)


def fit_config(config: Config, root: Path | None) -> Config:
    """The settings with the width and the rate of the features of a folder."""
    if root is None:
        return config
    first = halves(Path(root), config.features, "all")[0]
    return replace(config, feature_width=int(first.array.shape[1]), fps=first.fps)


def linked(found: Sequence[HalfFeatures]) -> list[tuple[int, ReplaySpan]]:
    """(place of the half, replay) of the replays with a link to something before them."""
    return [(i, replay) for i, half in enumerate(found) for replay in half.replays
            if replay.action_s is not None and replay.action_s < replay.start_s]  # fmt: skip


def groups(replays: Sequence[ReplaySpan]) -> list[tuple[float | int, float | int]]:
    """Start and end of what lies between one pair of wipes: shots of replays that follow each other are one."""
    out: list[tuple[float | int, float | int]] = []
    for replay in sorted(replays, key=lambda r: r.start_s):
        if out and replay.start_s - out[-1][1] <= TOGETHER_S:
            out[-1] = (out[-1][0], max(out[-1][1], replay.end_s))
        else:
            out.append((replay.start_s, replay.end_s))
    return out


@dataclass(frozen=True)
class Pairs:
    """Replays with links, and for each a window of its half for the search for replays."""

    config: Config
    halves: list[HalfFeatures]
    pairs: list[tuple[int, ReplaySpan]]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, key: Key) -> dict[str, Tensor]:
        config = self.config
        rng = np.random.default_rng([config.train.seed, *key])
        which, replay = self.pairs[key[1]]
        half = self.halves[which]
        assert replay.action_s is not None, "`linked` looked"
        room = int(max(0.0, min(SHIFT_S, replay.start_s - replay.action_s - config.segment_s)) * config.fps)
        shift = int(rng.integers(0, room + 1)) if rng.random() < 0.5 else 0
        sample = of_replay(half, replay, config, shift)
        frames = np.arange(config.past_frames) - config.past_frames + round(replay.start_s * config.fps) - shift
        middle, reach = replay.action_s * config.fps, config.segment_s * config.fps / 2
        back, ahead = frames - (middle - reach), (middle + reach) - frames
        sample["score"] = torch.from_numpy(((back >= 0) & (ahead >= 0)).astype(np.float32))
        sample["reach"] = torch.from_numpy(np.stack([back, ahead], 1).astype(np.float32)).clamp_min(0)
        start = int(rng.integers(0, max(1, len(half) - config.past_frames)))
        sample["frames"] = torch.from_numpy(half.window(start, start + config.past_frames))
        sample["span"] = torch.from_numpy(_span_targets(half, start, config))
        return sample

    def collate(self, samples: list[dict[str, Tensor]]) -> Batch:
        return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}


def _span_targets(half: HalfFeatures, start: int, config: Config) -> np.ndarray:
    at = (np.arange(config.past_frames) + start) / config.fps
    out = np.zeros((config.past_frames, 3), np.float32)
    for first, last in groups(half.replays):
        out[(at >= first - 1e-6) & (at < last - 1e-6), 0] = 1
        out[np.abs(at - first) < 0.5 / config.fps + 1e-6, 1] = 1
        out[np.abs(at + 1 / config.fps - last) < 0.5 / config.fps + 1e-6, 2] = 1
    return out
