"""How well one order agrees with another: Kendall's tau-b, Spearman, Pearson, regret, and their intervals.

Kendall, *The treatment of ties in ranking problems*, Biometrika 1945: tau-b is the number of pairs in the same order
less those in opposite order, over the geometric mean of the numbers of pairs that either side does not tie.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float
from scipy import stats

from percepta.errors import InputError

Numbers = Float[np.ndarray, " n"]
Statistic = Callable[[np.ndarray, np.ndarray], float]


def kendall(guess: Sequence[float] | np.ndarray, truth: Sequence[float] | np.ndarray) -> float:
    """Kendall's tau-b, −1..1, in n log n; nan where one side is all ties or there are fewer than two.

    Raises:
        InputError: different lengths, or a number that is not finite.
    """
    a, b = _pair(guess, truth)
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(stats.kendalltau(a, b).statistic)  # pyright: ignore[reportAttributeAccessIssue]


def kendall_slow(guess: Sequence[float] | np.ndarray, truth: Sequence[float] | np.ndarray) -> float:
    """The same by looking at every pair: what tests compare with."""
    a, b = _pair(guess, truth)
    x, y = np.sign(a[:, None] - a[None]), np.sign(b[:, None] - b[None])
    untied = float((x**2).sum() * (y**2).sum()) ** 0.5
    return float((x * y).sum() / untied) if untied else float("nan")


def spearman(
    guess: Sequence[float] | np.ndarray, truth: Sequence[float] | np.ndarray, *, constant: float = float("nan")
) -> float:
    """Pearson's correlation of the ranks, ties sharing their mean rank. Errors as in `kendall`.

    Args:
        guess: n numbers.
        truth: n numbers.
        constant: the value where the guesses are all the same, which order nothing.
    """
    a, b = _pair(guess, truth)
    if len(a) and np.ptp(a) == 0:
        return constant
    return pearson(stats.rankdata(a), stats.rankdata(b))


def pearson(guess: Sequence[float] | np.ndarray, truth: Sequence[float] | np.ndarray) -> float:
    """Pearson's correlation; nan where one side is constant. Errors as in `kendall`."""
    a, b = _pair(guess, truth)
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.clip(np.corrcoef(a, b)[0, 1], -1, 1))


def regret(guess: Sequence[float] | np.ndarray, truth: Sequence[float] | np.ndarray) -> float:
    """What is lost by taking the best guess: the best truth less the truth of the first place by `guess`, the mean of
    all that share it. 0 is best; in the unit of `truth`."""
    a, b = _pair(guess, truth)
    return float(b.max() - b[a == a.max()].mean())


def bootstrap(
    guess: Sequence[float] | np.ndarray,
    truth: Sequence[float] | np.ndarray,
    statistic: Statistic = kendall,
    *,
    draws: int = 400,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Interval of a correlation over networks drawn anew: basic bootstrap percentiles.

    A network that is drawn twice makes a tied pair on both sides, which tau-b leaves out.

    Args:
        guess: n numbers.
        truth: n numbers.
        statistic: function of (guess, truth).
        draws: how often is resampled.
        seed: of the draws.
        level: share of the draws inside the interval.
    """
    a, b = _pair(guess, truth)
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(draws):
        chosen = rng.integers(0, len(a), len(a))
        values.append(statistic(a[chosen], b[chosen]))
    tail = 100 * (1 - level) / 2
    low, high = np.nanpercentile(values, [tail, 100 - tail]) if np.isfinite(values).any() else (np.nan, np.nan)
    return float(low), float(high)


def _pair(guess: Sequence[float] | np.ndarray, truth: Sequence[float] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(guess, np.float64), np.asarray(truth, np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise InputError(f"two rows of the same length are compared, got shapes {a.shape} and {b.shape}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise InputError("a number is not finite: only finite scores have an order")
    return a, b
