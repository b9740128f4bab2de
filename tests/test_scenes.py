"""Metrics of labelled scenes against slow references written from the benchmark's definition, point by point."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from percepta.metrics.scenes import Instances, average_precision, confusion, iou, miou, overlaps, precisions

SEEDS = st.integers(0, 2**31 - 1)
CLASSES = (1, 2)  # class 0 has no instances


def scene(seed: int) -> tuple[np.ndarray, np.ndarray, Instances]:
    """True label and object of each point, and instances that partly agree with them."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(20, 60))
    truth = np.repeat(rng.integers(0, 5, size // 4 + 1), 4)[:size]
    label = np.array([-1, 0, 1, 2, 1])[truth] if rng.random() < 0.8 else rng.integers(-1, 3, size)
    found = np.where(rng.random(size) < rng.uniform(0, 0.6), rng.integers(0, 5, size), truth)
    return label, truth, Instances(found, rng.integers(0, 3, 5), rng.integers(1, 6, 5) / 5)


def slow(scenes: list[tuple[np.ndarray, np.ndarray, Instances]], label: int, threshold: float, least: int) -> float:
    """Average precision with sets of points, one rule after the other."""
    rows: list[tuple[float, bool]] = []
    missed, asked, answers = 0, 0, 0
    for number, (truth_label, truth_instance, found) in enumerate(scenes):
        del number
        points = range(len(truth_label))
        true = [
            {p for p in points if truth_instance[p] == i and truth_label[p] == label}
            for i in sorted(set(truth_instance.tolist()) - {0})
        ]
        true = [t for t in true if t]
        mine = []
        for k in range(len(found.label)):
            own = {p for p in points if found.instance[p] == k + 1}
            if len(own) >= least and found.label[k] == label:
                mine.append((own, float(found.score[k])))
        void = {p for p in points if truth_label[p] not in CLASSES}
        answers += len(mine)
        used: list[int] = []
        for t in true:
            if len(t) < least:
                continue
            asked += 1
            hits = []
            for k, (own, score) in enumerate(mine):
                if k not in used and len(own & t) / len(own | t) > threshold:
                    hits.append(score)
                    if len(hits) == 1:
                        used.append(k)
            if not hits:
                missed += 1
                continue
            rows.append((max(hits), True))
            best = hits[0]
            for score in hits[1:]:
                rows.append((min(best, score), False))
                best = max(best, score)
        for own, score in mine:
            if any(len(own & t) / len(own | t) > threshold for t in true):
                continue
            beside = len(own & void) + sum(len(own & t) for t in true if len(t) < least)
            if beside / len(own) <= threshold:
                rows.append((score, False))
    if not asked:
        return float("nan")
    if not answers:
        return 0.0
    curve = []
    for cut in sorted({score for score, _ in rows}):
        kept = [good for score, good in rows if score >= cut]
        lost = sum(good for score, good in rows if score < cut)
        curve.append((sum(kept) / len(kept), sum(kept) / max(sum(kept) + lost + missed, 1)))
    curve.append((1.0, 0.0))
    if not rows:
        return 0.0
    total = 0.0
    for i, (precision, recall) in enumerate(curve):
        before = curve[i - 1][1] if i else recall
        after = curve[i + 1][1] if i + 1 < len(curve) else 0.0
        total += precision * (before - after) / 2
    return total


@settings(max_examples=120, deadline=None)
@given(st.lists(SEEDS, min_size=1, max_size=3), st.sampled_from([0.25, 0.5, 0.75]), st.sampled_from([1, 4, 7]))
def test_average_precision_is_that_of_the_slow_reference(seeds: list[int], threshold: float, least: int) -> None:
    scenes = [scene(seed) for seed in seeds]
    counts = [overlaps(label, own, found, CLASSES, least) for label, own, found in scenes]
    fast = precisions(counts, CLASSES, threshold, least)
    assert fast == pytest.approx([slow(scenes, c, threshold, least) for c in CLASSES], nan_ok=True)


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_the_truth_itself_is_perfect(seed: int) -> None:
    label, own, _ = scene(seed)
    keys, of = np.unique(np.stack((label, own)), axis=1, return_inverse=True)
    numbers = np.where(own > 0, of.reshape(-1) + 1, 0)
    found = Instances(numbers, keys[0], np.ones(keys.shape[1]))
    values = average_precision([overlaps(label, own, found, CLASSES, 1)], CLASSES, 1)
    if np.isin(label[own > 0], CLASSES).any():
        assert values == pytest.approx({"AP": 1.0, "AP50": 1.0, "AP25": 1.0})
    else:
        assert all(np.isnan(v) for v in values.values())


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_iou_is_that_of_sets(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, answer = rng.integers(-1, 4, 50), rng.integers(0, 4, 50)
    values = iou(confusion(truth, answer, 5))
    expected = []
    for c in range(5):
        a = {i for i in range(50) if truth[i] == c}
        b = {i for i in range(50) if answer[i] == c and truth[i] >= 0}
        expected.append(len(a & b) / len(a | b) if a else float("nan"))
    assert values == pytest.approx(expected, nan_ok=True)
    assert miou(confusion(truth, answer, 5)) == pytest.approx(np.nanmean(expected))


def test_answers_of_another_length_or_class_are_refused() -> None:
    with pytest.raises(ValueError, match="one length"):
        confusion(np.zeros(3, int), np.zeros(4, int), 2)
    with pytest.raises(ValueError, match=r"0\.\.1"):
        confusion(np.zeros(3, int), np.full(3, 2), 2)
    with pytest.raises(ValueError, match="label and its score"):
        overlaps(np.ones(3, int), np.ones(3, int), Instances(np.full(3, 2), np.ones(1, int), np.ones(1)), CLASSES)
