"""Ranking metrics against loops and worked examples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from percepta.metrics import ranking


def case(seed: int, m: int, n: int, levels: int) -> tuple[np.ndarray, np.ndarray]:
    """Distances with many ties, and at least one right answer a query."""
    rng = np.random.default_rng(seed)
    relevant = rng.random((m, n)) < 0.3
    relevant[np.arange(m), rng.integers(n, size=m)] = True
    return rng.integers(levels, size=(m, n)), relevant


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 5), st.integers(1, 9), st.integers(1, 4))
def test_ranks_and_precision_are_the_loop_with_ties_by_number(seed: int, m: int, n: int, levels: int) -> None:
    distances, relevant = case(seed, m, n, levels)
    ranks, precisions = [], []
    for i in range(m):
        listed = sorted(range(n), key=lambda j: (distances[i, j], j))
        places = [place for place, j in enumerate(listed, start=1) if relevant[i, j]]
        ranks.append(places[0])
        precisions.append(sum(hit / place for hit, place in enumerate(places, start=1)) / len(places))
    np.testing.assert_array_equal(ranking.first_rank(distances, relevant), ranks)
    np.testing.assert_allclose(ranking.average_precision(distances, relevant), precisions, atol=1e-12)
    assert ranking.recall_at(np.array(ranks), (1, 2)) == {k: np.mean([r <= k for r in ranks]) for k in (1, 2)}
    assert ranking.median_rank(np.array(ranks)) == np.median(ranks)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(1, 4), st.integers(1, 70))
def test_hamming_counts_differing_bits(seed: int, m: int, k: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.random((m, n)) < 0.5, rng.random((k, n)) < 0.5
    expected = [[sum(x != y for x, y in zip(p, q, strict=True)) for q in b] for p in a]
    np.testing.assert_array_equal(ranking.hamming(a, b), expected)


def test_the_textbook_case() -> None:
    """Right answers at places 1, 3 and 6 of 6: (1 + 2/3 + 3/6) / 3."""
    distances = np.arange(6.0)[None]
    relevant = np.array([[True, False, True, False, False, True]])
    assert ranking.average_precision(distances, relevant)[0] == pytest.approx((1 + 2 / 3 + 0.5) / 3)


def test_what_cannot_be_ranked_is_refused() -> None:
    right = np.array([[True, False], [False, False]])
    with pytest.raises(ValueError, match="query 1 has no right answer"):
        ranking.first_rank(np.zeros((2, 2)), right)
    with pytest.raises(ValueError, match="NaN"):
        ranking.average_precision(np.array([[0.0, np.nan]]), right[:1])
