"""Errors of predicted trajectories: minADE, minFDE, miss rate, brier-minFDE, joint errors, collisions, reliability.

Definitions of Argoverse 2 (Wilson et al. 2021, the av2 package): the best mode of an agent is the one whose *end* is
nearest to the true end, and minADE is the mean error of that mode, which need not be the smallest mean error of any
mode. Papers on people on foot (ETH/UCY) report the smallest mean error instead: that is `lowest_ade` here.

Truth may be unknown at some steps: these are NaN and count nowhere. The end is then the last known step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from percepta.errors import InputError

MISS_M = 2.0  # an end point farther off is a miss
COLLISION_M = 1.0  # centres nearer than this collide


@dataclass(frozen=True)
class Scores:
    """Errors of n agents, each predicted by its own modes.

    Attributes:
        best: mode whose end is nearest to the true end, among those that count.
        min_ade: mean error of that mode, metres.
        min_fde: error of its end, metres.
        missed: whether its end is off by more than the threshold.
        brier_min_fde: min_fde + (1 − p)², p its probability.
        lowest_ade: smallest mean error of any mode, metres.
    """

    best: Int[np.ndarray, " n"]
    min_ade: Float[np.ndarray, " n"]
    min_fde: Float[np.ndarray, " n"]
    missed: Bool[np.ndarray, " n"]
    brier_min_fde: Float[np.ndarray, " n"]
    lowest_ade: Float[np.ndarray, " n"]


@dataclass(frozen=True)
class JointScores:
    """Errors of a scene: mode k is one future of all of its agents together. Errors are means over the agents.

    Attributes:
        best: future with the smallest mean error of the ends.
        min_ade: mean error of that future, metres.
        min_fde: mean error of its ends, metres.
        miss_rate: share of the agents whose end is off by more than the threshold in it.
        lowest_ade: smallest mean error of any future, metres.
    """

    best: int
    min_ade: float
    min_fde: float
    miss_rate: float
    lowest_ade: float


# -------------------------------------------------------------------------------------------------- of single agents


def displacement(
    predicted: Float[np.ndarray, "n k t 2"], truth: Float[np.ndarray, "n t 2"]
) -> Float[np.ndarray, "n k t"]:
    """Distance from the truth at every step, metres; NaN where the truth is unknown.

    Raises:
        InputError: shapes that do not fit, or a prediction that is no finite number.
    """
    if predicted.ndim != 4 or predicted.shape[0] != len(truth) or predicted.shape[2:] != truth.shape[1:]:
        raise InputError(
            f"predictions are n × modes × steps × 2 and the truth n × steps × 2; got {predicted.shape}, {truth.shape}"
        )
    if not np.isfinite(predicted).all():
        raise InputError("a predicted position is no finite number")
    return np.linalg.norm(predicted.astype(np.float64) - truth[:, None].astype(np.float64), axis=-1)


def ade(predicted: Float[np.ndarray, "n k t 2"], truth: Float[np.ndarray, "n t 2"]) -> Float[np.ndarray, "n k"]:
    """Mean error of every mode over the known steps, metres; NaN where no step is known."""
    errors = displacement(predicted, truth)
    known = np.isfinite(errors)
    count = known.sum(-1)
    total = np.where(known, errors, 0.0).sum(-1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def fde(predicted: Float[np.ndarray, "n k t 2"], truth: Float[np.ndarray, "n t 2"]) -> Float[np.ndarray, "n k"]:
    """Error of every mode at the last known step, metres; NaN where no step is known."""
    errors = displacement(predicted, truth)
    last = last_known(truth)
    return np.where(last[:, None] >= 0, errors[np.arange(len(errors)), :, last], np.nan)


def last_known(truth: Float[np.ndarray, "n t 2"]) -> Int[np.ndarray, " n"]:
    """The last step at which each agent's position is known; −1 where there is none."""
    known = np.asarray(np.isfinite(truth).all(-1))
    last = truth.shape[1] - 1 - known[:, ::-1].argmax(-1)
    return np.where(known.any(-1), last, -1)


def score(
    predicted: Float[np.ndarray, "n k t 2"],
    truth: Float[np.ndarray, "n t 2"],
    probability: Float[np.ndarray, "n k"] | None = None,
    *,
    modes: int | None = None,
    miss_m: float = MISS_M,
) -> Scores:
    """Errors of each agent's best mode.

    Args:
        predicted: positions of n agents, k modes, metres.
        truth: where they went; NaN where unknown, but at least one step of each agent is known.
        probability: of the modes; each row is divided by its sum. None: all modes alike.
        modes: only so many of the most probable modes count; None: all.
        miss_m: an end farther off is a miss, metres.

    Raises:
        InputError: an agent without any known step, or probabilities that are none.
    """
    n, k = predicted.shape[:2]
    p = np.full((n, k), 1 / k) if probability is None else np.asarray(probability, np.float64)
    if p.shape != (n, k) or not np.isfinite(p).all() or (p < 0).any() or (n and (p.sum(1) <= 0).any()):
        raise InputError(
            f"probabilities are n × modes, at least 0, with a sum above 0 in each row; got shape {p.shape}"
        )
    rank = np.argsort(-p, axis=1, kind="stable")[:, : k if modes is None else modes]
    chosen = np.sort(rank, axis=1)
    predicted, p = np.take_along_axis(predicted, chosen[:, :, None, None], 1), np.take_along_axis(p, chosen, 1)
    p = p / p.sum(1, keepdims=True)
    if (last_known(truth) < 0).any():
        raise InputError("an agent has no known position after the last observed step: leave it out")
    means, ends, rows = ade(predicted, truth), fde(predicted, truth), np.arange(n)
    best = ends.argmin(1)
    end = ends[rows, best]
    brier = end + (1 - p[rows, best]) ** 2
    return Scores(chosen[rows, best], means[rows, best], end, end > miss_m, brier, means.min(1))


def joined(parts: Sequence[Scores]) -> Scores:
    """The scores of several sets of agents, one after the other."""
    return Scores(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Scores)))


# ---------------------------------------------------------------------------------------------------- of whole scenes


def joint_ade(predicted: Float[np.ndarray, "n k t 2"], truth: Float[np.ndarray, "n t 2"]) -> Float[np.ndarray, " k"]:
    """Mean over the agents of each future's mean error, metres."""
    return ade(predicted, truth).mean(0)


def joint_fde(predicted: Float[np.ndarray, "n k t 2"], truth: Float[np.ndarray, "n t 2"]) -> Float[np.ndarray, " k"]:
    """Mean over the agents of each future's error at the end, metres."""
    return fde(predicted, truth).mean(0)


def joint_score(
    predicted: Float[np.ndarray, "n k t 2"], truth: Float[np.ndarray, "n t 2"], *, miss_m: float = MISS_M
) -> JointScores:
    """Errors of a scene's best future.

    Args:
        predicted: positions of n agents in k futures, metres.
        truth: where they went; NaN where unknown, but at least one step of each agent is known.
        miss_m: an end farther off is a miss, metres.

    Raises:
        InputError: no agent, or one without any known step.
    """
    if not len(truth) or (last_known(truth) < 0).any():
        raise InputError("a scene needs at least one agent, each with a known position after the last observed step")
    means, ends = ade(predicted, truth), fde(predicted, truth)
    best = int(ends.mean(0).argmin())
    missed = float((ends[:, best] > miss_m).mean())
    return JointScores(
        best, float(means[:, best].mean()), float(ends[:, best].mean()), missed, float(means.mean(0).min())
    )


def collides(predicted: Float[np.ndarray, "n k t 2"], distance_m: float = COLLISION_M) -> Bool[np.ndarray, "n k"]:
    """Whether an agent comes nearer than a distance to another agent of the same future, at the same step."""
    n, k, _, _ = predicted.shape
    out = np.zeros((n, k), bool)
    for i in range(n):  # one row at a time: n × n × k × t distances would not fit for crowds
        others = np.delete(predicted, i, 0)
        if len(others):
            gap = np.linalg.norm(others - predicted[i], axis=-1)
            out[i] = gap.min(axis=(0, 2)) < distance_m
    return out


# -------------------------------------------------------------------------------------------------------- of the road


def inside(points: Float[np.ndarray, "n 2"], polygon: Float[np.ndarray, "m 2"]) -> Bool[np.ndarray, " n"]:
    """Whether points lie in a polygon (even-odd rule); it is closed by itself."""
    x, y = points[:, 0, None], points[:, 1, None]
    a, b = polygon, np.roll(polygon, -1, axis=0)
    crosses = (a[:, 1] > y) != (b[:, 1] > y)
    with np.errstate(divide="ignore", invalid="ignore"):  # flat edges cross nothing
        at = a[:, 0] + (y - a[:, 1]) * (b[:, 0] - a[:, 0]) / (b[:, 1] - a[:, 1])
    return (np.count_nonzero(crosses & (x < at), axis=1) % 2).astype(bool)


def off_road(points: Float[np.ndarray, "n 2"], areas: Sequence[Float[np.ndarray, "_ 2"]]) -> Bool[np.ndarray, " n"]:
    """Whether points lie outside all drivable areas.

    Args:
        points: positions, metres.
        areas: polygons of the map.
    """
    outside = np.ones(len(points), bool)
    for area in areas:
        near = outside & (points >= area.min(0)).all(1) & (points <= area.max(0)).all(1)
        outside[near] = ~inside(points[near], area)
    return outside


def off_road_share(
    prediction: Float[np.ndarray, "n k t 2"],
    areas: Sequence[Float[np.ndarray, "_ 2"]],
    probability: Float[np.ndarray, "n k"],
) -> Float64[np.ndarray, " n"]:
    """The share of each agent's predicted positions that lie off the road, modes weighted by their probability.

    Args:
        prediction: positions, metres; NaN counts nowhere.
        areas: polygons of the drivable road; none: nothing is known, and the shares are NaN.
        probability: of the modes, 0 or more.
    """
    if not len(areas):
        return np.full(len(prediction), np.nan)
    there = np.isfinite(prediction).all(-1)
    outside = np.zeros(there.shape, bool)
    outside[there] = off_road(prediction[there], areas)
    share = outside.sum(-1) / np.maximum(there.sum(-1), 1)
    return (share * probability).sum(1) / np.maximum(probability.sum(1), 1e-12)


# ------------------------------------------------------------------------------------------------- of probabilities


@dataclass(frozen=True)
class Reliability:
    """How often modes that are given a probability turn out to be the best ones.

    Attributes:
        probability: mean of each bin.
        frequency: share of the bin's modes that were the best of their agent.
        count: modes in the bin.
        error: mean distance of probability and frequency, weighted by count: the expected calibration error.
    """

    probability: Float[np.ndarray, " b"]
    frequency: Float[np.ndarray, " b"]
    count: Int[np.ndarray, " b"]
    error: float


def reliability(probability: Float[np.ndarray, "n k"], best: Int[np.ndarray, " n"], bins: int = 10) -> Reliability:
    """Reliability over all modes of all agents, in bins of equal width; empty bins are left out.

    Args:
        probability: of the modes, rows with the sum 1.
        best: the mode whose end was nearest, of each agent.
        bins: how many between 0 and 1.
    """
    hit = np.arange(probability.shape[1]) == best[:, None]
    p = np.asarray(probability, np.float64).ravel()
    place = np.minimum((p * bins).astype(int), bins - 1)
    count = np.bincount(place, minlength=bins)
    some = count > 0
    mean = np.bincount(place, p, bins)[some] / count[some]
    share = np.bincount(place, hit.ravel().astype(float), bins)[some] / count[some]
    error = float((np.abs(mean - share) * count[some]).sum() / max(p.size, 1))
    return Reliability(mean, share, count[some], error)
