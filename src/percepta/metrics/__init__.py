"""Metrics from their official definitions, and the value-with-interval that every system reports."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

FEW = 30
"""A number that stands on fewer samples is marked where it is printed."""
MIN_GROUPS = 3
"""An interval needs as many groups of samples."""


@dataclass(frozen=True)
class Metric:
    """One reported number.

    Attributes:
        value: the number.
        low, high: ends of its 95 % interval; None where there is none, which NaN becomes too.
        n: how many samples it stands on.
        unit: "" for shares and scores, else "s", "ms", "m", "px", ...
        baselines: what trivial answers reach on the same samples, by name.
    """

    value: float
    low: float | None = None
    high: float | None = None
    n: int = 0
    unit: str = ""
    baselines: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            end = getattr(self, name)
            if end is not None and math.isnan(end):
                object.__setattr__(self, name, None)


def interval(
    values: Sequence[float] | np.ndarray,
    groups: Sequence[str] | None = None,
    *,
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Bootstrap percentile interval of a mean, resampling whole groups (pictures, videos, raters).

    Args:
        draws: how often is resampled.
        seed: of the draws.
        level: share of the draws inside the interval.
        values: n numbers.
        groups: n names; samples that share one are drawn together. Each sample is its own group when None.

    Returns:
        (low, high); (nan, nan) for fewer than MIN_GROUPS groups, which say nothing about others.
    """
    data = np.asarray(values, dtype=np.float64)
    keys = np.arange(data.size) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    if np.unique(keys).size < MIN_GROUPS:
        return float("nan"), float("nan")
    total = np.bincount(keys, weights=data)
    count = np.bincount(keys).astype(np.float64)
    rng = np.random.default_rng(seed)
    picks = rng.integers(0, total.size, size=(draws, total.size))
    means = total[picks].sum(1) / count[picks].sum(1)
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    return float(low), float(high)
