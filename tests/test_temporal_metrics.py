"""Scores of spans in time: the official numbers, a slow and obvious reference, and laws."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from percepta.metrics import temporal as tm


def test_the_official_activitynet_numbers(golden: Path) -> None:
    folder = golden / "activitynet"
    truth = json.loads(gzip.decompress((folder / "groundtruth.json.gz").read_bytes()))["database"]
    found = json.loads(gzip.decompress((folder / "predictions.json.gz").read_bytes()))["results"]
    official = json.loads((folder / "official-mAP.json").read_text())
    t = tm.spans([(v, *a["segment"], a["label"], 1.0) for v, e in truth.items() for a in e["annotations"]])
    p = tm.spans([(v, *a["segment"], a["label"], a["score"]) for v, some in found.items() for a in some])
    ours = np.mean(list(tm.mean_average_precision(p, t, tm.ACTIVITYNET).values()), axis=0)
    np.testing.assert_allclose(ours, official["mAP"], atol=1e-6)
    assert ours.mean() == pytest.approx(official["average_mAP"], abs=1e-6)


segment = st.tuples(st.integers(0, 2), st.integers(0, 20), st.integers(1, 10), st.sampled_from("ab"))


@settings(max_examples=60, deadline=None)
@given(st.lists(segment, min_size=1, max_size=8))
def test_the_truth_is_perfect_and_nothing_is_zero(rows: list[tuple[int, int, int, str]]) -> None:
    unique = {(v, a, n, k) for v, a, n, k in rows}
    truth = tm.spans([(f"v{v}", a, a + n, k, 1.0) for v, a, n, k in unique])
    for value in tm.mean_average_precision(truth, truth).values():
        np.testing.assert_allclose(value, 1.0)
    for value in tm.mean_average_precision(tm.spans([]), truth).values():
        np.testing.assert_allclose(value, 0.0)
    assert tm.kinds_of_error(truth, truth)["right"] == len(unique)


@settings(max_examples=60, deadline=None)
@given(st.lists(segment, min_size=1, max_size=6), st.lists(segment, min_size=1, max_size=8))
def test_precision_falls_with_the_threshold(
    truth: list[tuple[int, int, int, str]], found: list[tuple[int, int, int, str]]
) -> None:
    t = tm.spans([(f"v{v}", a, a + n, k, 1.0) for v, a, n, k in truth])
    p = tm.spans([(f"v{v}", a, a + n, k, 1.0 - i / 10) for i, (v, a, n, k) in enumerate(found)])
    recall = tm.average_recall(p, t, 5, (0.1, 0.3, 0.5, 0.9))
    assert (np.diff(recall) <= 0).all()
    for value in tm.mean_average_precision(p, t, (0.5,)).values():
        assert 0 <= value[0] <= 1
    assert sum(tm.kinds_of_error(p, t).values()) == len(p)


def test_a_double_counts_once_and_ambiguous_spans_do_not_count() -> None:
    truth = tm.spans([("v", 0, 10, "a", 1.0), ("v", 20, 30, "Ambiguous", 1.0)])
    found = tm.spans([("v", 0, 10, "a", 0.9), ("v", 0, 10, "a", 0.8), ("v", 21, 29, "a", 0.95)])
    value = tm.mean_average_precision(found, truth, (0.5,))
    assert list(value) == ["a"] and value["a"][0] == 1.0
    assert tm.average_precision(found, truth.only([True, False]), (0.5,))[0] == pytest.approx(0.5)
    assert tm.average_precision(found, truth.only([True, False]), (0.5,), interpolated=False)[0] == pytest.approx(0.5)


def test_each_kind_of_error_once() -> None:
    truth = tm.spans([("v", 0, 10, "a", 1.0), ("v", 20, 30, "b", 1.0)])
    rows = [
        ("v", 0, 10, "a", 0.9), ("v", 1, 10, "a", 0.8), ("v", 0, 10, "b", 0.7), ("v", 7, 20, "a", 0.6),
        ("v", 27, 40, "a", 0.5), ("v", 50, 60, "a", 0.4), ("w", 0, 10, "a", 0.3),
    ]  # fmt: skip
    assert tm.kinds_of_error(tm.spans(rows), truth) == {
        "right": 1, "double": 1, "wrong label": 1, "bad border": 1, "both": 1, "background": 2
    }  # fmt: skip
