"""Retrieval: recall at k, median rank and mean average precision, from distances.

Whatever lies at the same distance comes in the order of its number: codes of few bits have many ties, and an order that
is left to the sort would make the numbers depend on it. Definitions: recall at k and median rank (ranks from 1) as in
video-text retrieval since JSFusion (Yu et al. 2018), where the best placed of several right answers counts; average
precision as in information retrieval (Manning et al. 2008, 8.4), over the whole list.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Num

from percepta.errors import InputError


def hamming(a: Bool[np.ndarray, "m n"], b: Bool[np.ndarray, "k n"]) -> Int[np.ndarray, "m k"]:
    """In how many bits each row of `a` differs from each row of `b`."""
    signs = [np.where(bits, 1, -1).astype(np.float32) for bits in (a, b)]
    return ((a.shape[1] - signs[0] @ signs[1].T) / 2).astype(np.int64)  # exact: sums of so few ones


def order(distances: Num[np.ndarray, "m n"]) -> Int[np.ndarray, "m n"]:
    """The numbers of the items by (distance, number), nearest first, for each query.

    Raises:
        InputError: a distance is not a number.
    """
    if np.isnan(distances).any():
        raise InputError("a distance is NaN: nothing can be ranked by it")
    return np.argsort(distances, axis=1, kind="stable")


def first_rank(distances: Num[np.ndarray, "m n"], relevant: Bool[np.ndarray, "m n"]) -> Int[np.ndarray, " m"]:
    """The rank, from 1, of the best placed right answer to each query.

    Raises:
        InputError: a query has no right answer; a distance is not a number.
    """
    return 1 + _in_order(distances, relevant).argmax(1)


def average_precision(distances: Num[np.ndarray, "m n"], relevant: Bool[np.ndarray, "m n"]) -> Float[np.ndarray, " m"]:
    """Of each query, the mean over its right answers of the share of right ones among all down to there.

    Raises:
        InputError: a query has no right answer; a distance is not a number.
    """
    right = _in_order(distances, relevant)
    precision = right.cumsum(1) / np.arange(1, right.shape[1] + 1)
    return (precision * right).sum(1) / right.sum(1)


def recall_at(ranks: Int[np.ndarray, " m"], at: Sequence[int] = (1, 5, 10)) -> dict[int, float]:
    """For each k, the share of queries with a right answer among the first k."""
    return {k: float((ranks <= k).mean()) for k in at}


def median_rank(ranks: Int[np.ndarray, " m"]) -> float:
    """MedR: the middle rank, from 1; between the two middle ones of an even number."""
    return float(np.median(ranks))


def _in_order(distances: Num[np.ndarray, "m n"], relevant: Bool[np.ndarray, "m n"]) -> Bool[np.ndarray, "m n"]:
    """Which places of each query's list hold a right answer."""
    if not relevant.any(1).all():
        raise InputError(f"query {int(np.flatnonzero(~relevant.any(1))[0])} has no right answer in the collection")
    return np.take_along_axis(relevant, order(distances), 1)
