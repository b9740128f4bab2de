"""Scores and offsets of frames as moments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from percepta.metrics.spotting import Moments
from percepta.nn.spotting import soft_nms
from percepta.systems.spotting import Config


def moments(scores: Float[np.ndarray, "t c"], offsets: Float[np.ndarray, "t c"], config: Config) -> Moments:
    """What the network says about a half.

    Args:
        scores: 0..1.
        offsets: frames until the action.
        config: frames a second, window and least score.
    """
    times: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    kept: list[np.ndarray] = []
    for c in range(scores.shape[1]):
        at = np.flatnonzero(scores[:, c] >= config.least_score)
        when = np.clip((at + offsets[at, c]) / config.fps, 0, (len(scores) - 1) / config.fps)
        time, score = soft_nms(when, scores[at, c], window=config.nms_s, least=config.least_score)
        times.append(time)
        labels.append(np.full(len(time), c))
        kept.append(score)
    return Moments(np.concatenate(times), np.concatenate(labels).astype(np.int64), np.concatenate(kept))


def targets(
    times_s: Sequence[float | int], labels: Sequence[int], frames: int, config: Config
) -> tuple[Float[np.ndarray, "t c"], Float[np.ndarray, "t c"], Float[np.ndarray, "t c"]]:
    """What the network should say: nearness 0..1, offset in frames, and the weight of the offset.

    Args:
        times_s: of the actions, from the first frame; those outside count where they are near enough.
        labels: their classes.
        frames: how many there are.
        config: frames a second, and how far near is.
    """
    shape = (frames, len(config.classes))
    near, ahead = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    distance = np.full(shape, np.inf, np.float32)
    at = np.arange(frames)
    for time, c in zip(times_s, labels, strict=True):
        away = time * config.fps - at
        closer = np.abs(away) < distance[:, c]
        distance[closer, c], ahead[closer, c] = np.abs(away)[closer], away[closer]
    near = np.exp(-0.5 * (distance / (config.near_frames / 2)) ** 2) * (distance <= config.near_frames)
    return near.astype(np.float32), ahead, (distance <= config.near_frames).astype(np.float32)
