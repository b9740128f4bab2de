"""Correlations against the slow look at every pair, and their laws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from percepta.metrics.correlation import bootstrap, kendall, kendall_slow, pearson, regret, spearman

rows = st.integers(2, 40).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(-5, 5).map(float), min_size=n, max_size=n) for _ in range(2)])
)


@given(rows)
def test_kendall_is_the_count_of_pairs(pair: tuple[list[float], list[float]]) -> None:
    a, b = pair
    assert np.isclose(kendall(a, b), kendall_slow(a, b), equal_nan=True)


@given(rows)
def test_orders_turn_the_sign(pair: tuple[list[float], list[float]]) -> None:
    a, b = map(np.array, pair)
    for statistic in (kendall, spearman, pearson):
        value = statistic(a, b)
        assert np.isclose(statistic(-a, b), -value, equal_nan=True) and np.isclose(
            statistic(b, a), value, equal_nan=True
        )
        if np.isfinite(value):
            assert -1 <= value <= 1 and np.isclose(statistic(b, b), 1)
    for statistic in (kendall, spearman):
        assert np.isclose(statistic(np.exp(a), b), statistic(a, b), equal_nan=True)


@given(rows)
def test_spearman_is_scipys(pair: tuple[list[float], list[float]]) -> None:
    a, b = pair
    if len(set(a)) > 1 and len(set(b)) > 1:
        assert np.isclose(spearman(a, b), stats.spearmanr(a, b)[0])


def test_regret_is_what_the_first_place_loses() -> None:
    assert regret([3.0, 1.0, 2.0], [90.0, 95.0, 80.0]) == 5
    assert regret([1.0, 3.0, 2.0], [90.0, 95.0, 80.0]) == 0
    assert regret([3.0, 3.0, 2.0], [90.0, 94.0, 80.0]) == 2, "ties share the place"


def test_the_interval_covers_and_shrinks() -> None:
    """Signal and noise of one size have a tau of 2/π · asin(1/√2) = 0.5."""
    rng = np.random.default_rng(0)
    covered, width = 0, {50: 0.0, 400: 0.0}
    for n in width:
        for _ in range(10):
            a = rng.normal(size=n)
            low, high = bootstrap(a, a + rng.normal(size=n), draws=60)
            covered += low < 0.5 < high
            width[n] += high - low
    assert covered >= 15 and width[400] < 0.6 * width[50]


def test_what_cannot_be_compared_is_said() -> None:
    with pytest.raises(ValueError, match="same length"):
        kendall([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="not finite"):
        pearson([1.0, float("nan")], [1.0, 2.0])
    assert np.isnan(kendall([1.0, 1.0], [1.0, 2.0]))
