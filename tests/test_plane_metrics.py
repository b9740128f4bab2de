"""Plane metrics against slow references that follow the definitions word by word."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from percepta.metrics import planes


def random_matches(seed: int, n: int, m: int) -> planes.PlaneMatches:
    rng = np.random.default_rng(seed)
    return planes.PlaneMatches(
        -np.sort(-rng.random(n)), rng.random((n, m)), rng.random((n, m)), rng.integers(0, 3, n), rng.integers(0, 3, m)
    )


def slow_ap(hits: list[bool], count: int) -> float:
    """For every true instance found, the best precision at this recall or a higher one."""
    total = 0.0
    for found in range(1, count + 1):
        best = 0.0
        for k in range(1, len(hits) + 1):
            if sum(hits[:k]) >= found:
                best = max(best, sum(hits[:k]) / k)
        total += best / count
    return total


def slow_hits(match: planes.PlaneMatches, within: float) -> list[bool]:
    taken: set[int] = set()
    out = []
    for i in range(len(match.score)):
        options = [
            (match.iou[i, j], -j)
            for j in range(match.iou.shape[1])
            if j not in taken and match.iou[i, j] > 0.5 and (math.isinf(within) or match.error_m[i, j] < within)
        ]
        out.append(bool(options))
        if options:
            taken.add(-max(options)[1])
    return out


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 9999), st.integers(0, 6), st.integers(1, 5), st.sampled_from([0.2, 0.6, math.inf]))
def test_plane_ap_is_what_its_words_say(seed: int, n: int, m: int, within: float) -> None:
    match = random_matches(seed, n, m)
    assert planes.plane_ap([match], within) == pytest.approx(slow_ap(slow_hits(match, within), m))


def test_pictures_are_averaged_or_pooled() -> None:
    right = planes.PlaneMatches(np.array([0.4]), np.ones((1, 1)), np.zeros((1, 1)), np.zeros(1, int), np.zeros(1, int))
    wrong = planes.PlaneMatches(np.array([0.9]), np.zeros((1, 1)), np.zeros((1, 1)), np.zeros(1, int), np.zeros(1, int))
    nothing = planes.PlaneMatches(
        np.array([0.95]), np.zeros((1, 0)), np.zeros((1, 0)), np.zeros(1, int), np.zeros(0, int)
    )
    assert planes.plane_ap([right, wrong]) == 0.5
    assert planes.plane_ap([right, wrong], pooled=True) == pytest.approx(0.25)  # precision 1/2 at recall 1/2
    assert planes.plane_ap([right, wrong, nothing]) == 0.5  # a picture without truth does not count
    assert planes.plane_ap([right, wrong, nothing], pooled=True) == pytest.approx(1 / 6)
    assert math.isnan(planes.plane_ap([nothing]))


def test_missing_classes_raise_the_published_reading_only() -> None:
    iou = np.array([[0.9, 0.0]])
    match = planes.PlaneMatches(np.array([0.8]), iou, np.zeros((1, 2)), np.array([1]), np.array([1, 2]))
    assert planes.class_map([match], (1, 2, 3)) == 1.0
    assert planes.class_map([match], (1, 2, 3), skip_missing=False) == 0.5
    assert math.isnan(planes.class_map([match], (3,)))


def test_half_an_overlap_is_no_match() -> None:
    half, more = (np.full((1, 1), iou) for iou in (0.5, np.nextafter(0.5, 1)))
    for iou, wanted in ((half, 0.0), (more, 1.0)):
        match = planes.PlaneMatches(np.array([0.8]), iou, np.zeros((1, 1)), np.array([1]), np.array([1]))
        assert planes.class_map([match], (1,)) == planes.plane_ap([match]) == wanted


def test_planes_are_compared_where_both_masks_are() -> None:
    depth = np.full((4, 6), 2.0)
    depth[0, 0] = 0  # not known: counts for the masks only
    true = np.zeros((1, 4, 6), bool)
    true[0, :, :3] = True
    own = np.zeros((2, 4, 6), bool)
    own[0, :, 3:], own[1, :, :2] = True, True
    depths = np.stack([np.full((4, 6), 2.0), np.full((4, 6), 2.3)])
    match = planes.compare(np.array([0.2, 0.7]), own, depths, np.array([5, 6]), true, depth, np.array([6]))
    assert match.score.tolist() == [0.7, 0.2] and match.label.tolist() == [6, 5]  # the surest first
    assert match.iou[:, 0].tolist() == pytest.approx([8 / 12, 0]) and match.error_m[0, 0] == pytest.approx(0.3)
    assert math.isinf(match.error_m[1, 0])
    assert planes.plane_ap([match], 0.2) == 0 and planes.plane_ap([match], 0.4) == 1


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 9999))
def test_depth_errors_follow_the_definitions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    d, t = rng.uniform(0.5, 4, 12), rng.uniform(0.5, 4, 12)
    t[rng.random(12) < 0.3] = 0
    t[0] = 1.5
    rows = [(a, b) for a, b in zip(d, t, strict=True) if b > 0]
    n = len(rows)
    got = planes.depth_errors(d, t)
    assert got["AbsRel"] == pytest.approx(sum(abs(a - b) / b for a, b in rows) / n)
    assert got["SqRel"] == pytest.approx(sum((a - b) ** 2 / b for a, b in rows) / n)
    assert got["RMSE"] == pytest.approx(math.sqrt(sum((a - b) ** 2 for a, b in rows) / n))
    logs = [math.log(a) - math.log(b) for a, b in rows]
    assert got["logRMSE"] == pytest.approx(math.sqrt(sum(x * x for x in logs) / n))
    assert got["log10"] == pytest.approx(sum(abs(math.log10(a) - math.log10(b)) for a, b in rows) / n)
    mean = sum(logs) / n
    assert got["silog"] == pytest.approx(math.sqrt(sum((x - mean) ** 2 for x in logs) / n), abs=1e-9)
    for k in (1, 2, 3):
        assert got[f"δ{k}"] == pytest.approx(sum(max(a / b, b / a) < 1.25**k for a, b in rows) / n)


def test_depth_errors_say_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="above 0"):
        planes.depth_errors(np.zeros(3), np.ones(3))
    assert math.isnan(planes.depth_errors(np.ones(3), np.zeros(3))["AbsRel"])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 9999), st.booleans())
def test_agreement_counts_pairs_of_pixels(seed: int, rest: bool) -> None:
    rng = np.random.default_rng(seed)
    s, t = rng.integers(-1, 3, (4, 5)), rng.integers(-1, 3, (4, 5))
    t[0, 0] = t[0, 1] = 1
    keep = np.ones(t.shape, bool) if rest else t >= 0
    a, b = s[keep].tolist(), t[keep].tolist()
    got = planes.agreement(s, t, rest_is_one=rest)
    pairs = list(itertools.combinations(range(len(a)), 2))
    assert got["RI"] == pytest.approx(sum((a[i] == a[j]) == (b[i] == b[j]) for i, j in pairs) / len(pairs))

    def entropy(values: list) -> float:
        return -sum(values.count(v) / len(values) * math.log2(values.count(v) / len(values)) for v in set(values))

    # VOI = H(S | T) + H(T | S)
    joint = entropy(list(zip(a, b, strict=True)))
    assert got["VOI"] == pytest.approx(2 * joint - entropy(a) - entropy(b), abs=1e-9)

    def cover(x: list, y: list) -> float:
        total = 0.0
        for v in set(x):
            mine = {i for i, w in enumerate(x) if w == v}
            others = [{i for i, w in enumerate(y) if w == u} for u in set(y)]
            total += len(mine) / len(x) * max(len(mine & o) / len(mine | o) for o in others)
        return total

    assert got["SC"] == pytest.approx((cover(a, b) + cover(b, a)) / 2)


def test_equal_segmentations_agree_whatever_their_numbers() -> None:
    t = np.arange(20).reshape(4, 5) // 7
    assert planes.agreement(7 - t, t) == pytest.approx({"VOI": 0.0, "RI": 1.0, "SC": 1.0}, abs=1e-12)
    bits = planes.agreement(np.zeros_like(t), t)["VOI"]
    assert planes.agreement(np.zeros_like(t), t, base=math.e)["VOI"] == pytest.approx(bits * math.log(2))
    assert math.isnan(planes.agreement(t, np.full_like(t, -1))["RI"])
