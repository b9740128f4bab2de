"""J, F, recall and decay against a slow reading of their definition, laws, and the official evaluator's numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from percepta.metrics import masks, video_masks
from percepta.metrics.video_masks import boundary_accuracy, region_similarity, statistics

sizes = st.tuples(st.integers(1, 14), st.integers(1, 14))
pairs = sizes.flatmap(lambda size: st.tuples(arrays(bool, size), arrays(bool, size)))


def slow_outline(mask: np.ndarray) -> np.ndarray:
    """One pixel after the other: it differs from its neighbour to the right, below or across, where there is one."""
    h, w = mask.shape
    out = np.zeros((h, w), bool)
    for y in range(h):
        for x in range(w):
            neighbours = [(y, x + 1), (y + 1, x), (y + 1, x + 1)]
            out[y, x] = any(mask[y, x] != mask[b, a] for b, a in neighbours if b < h and a < w)
    return out


def slow_boundary(a: np.ndarray, b: np.ndarray, near: float) -> float:
    ours, theirs = np.argwhere(slow_outline(a)), np.argwhere(slow_outline(b))
    if not len(ours) or not len(theirs):
        return float(len(ours) == len(theirs))
    close = ((ours[:, None] - theirs) ** 2).sum(-1) <= near**2
    p, r = close.any(1).mean(), close.any(0).mean()
    return 2 * p * r / (p + r) if p + r else 0.0


@given(pairs, st.integers(1, 4).map(float))
@settings(deadline=None, max_examples=150)
def test_f_is_what_its_definition_says(pair: tuple[np.ndarray, np.ndarray], near: float) -> None:
    a, b = pair
    found = {tuple(point) for point in video_masks.outline(a)}
    assert found == {tuple(point) for point in np.argwhere(slow_outline(a))}
    assert boundary_accuracy(a, b, tolerance=near) == pytest.approx(slow_boundary(a, b, near))
    assert boundary_accuracy(a, b, tolerance=near) == pytest.approx(boundary_accuracy(b, a, tolerance=near))
    assert boundary_accuracy(a, a, tolerance=near) == 1


@given(pairs, st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_j_is_the_iou_of_the_pixels_that_count(pair: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    a, b = pair
    assert region_similarity(a, b) == masks.iou(a, b)
    void = np.random.default_rng(seed).random(a.shape) < 0.3
    assert region_similarity(a, b, void) == masks.iou(a & ~void, b & ~void)
    changed = a ^ void  # what a prediction says there changes nothing
    assert region_similarity(changed, b, void) == region_similarity(a, b, void)
    assert boundary_accuracy(changed, b, void, tolerance=2.0) == boundary_accuracy(a, b, void, tolerance=2.0)


def test_the_tolerance_is_a_share_of_the_diagonal_rounded_up() -> None:
    """480 × 854: 0.008 · 979.7 = 7.8, so 8 pixels."""
    a, b, c = (np.zeros((480, 854), bool) for _ in range(3))
    a[100:200, 100:300], b[100:200, 108:308], c[100:200, 109:309] = True, True, True
    assert boundary_accuracy(a, b) == 1 and boundary_accuracy(a, c) < 1


def test_masks_of_two_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3\) with \(3, 2\)"):
        region_similarity(np.zeros((2, 3), bool), np.zeros((3, 2), bool))
    with pytest.raises(ValueError, match="do not count"):
        boundary_accuracy(np.zeros((2, 3), bool), np.zeros((2, 3), bool), np.zeros((3, 2), bool))


def test_scores_take_each_object_apart() -> None:
    truth, prediction = np.zeros((20, 30), np.uint8), np.zeros((20, 30), np.uint8)
    truth[2:8, 2:8], truth[10:18, 12:20], truth[0] = 1, 4, 255
    prediction[2:8, 2:8], prediction[0, :] = 1, 1
    found = video_masks.scores(prediction, truth, (1, 4, 6))
    np.testing.assert_allclose(found, [[1, 1], [0, 0], [1, 1]])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
@settings(deadline=None)
def test_recall_and_decay(values: list[float]) -> None:
    found = statistics(values)
    assert found.mean == pytest.approx(sum(values) / len(values))
    assert found.recall == pytest.approx(sum(v > 0.5 for v in values) / len(values))
    backwards = statistics(values[::-1])
    if len(values) % 4 == 1:  # all quarters are equally long
        assert found.decay == pytest.approx(-backwards.decay, abs=1e-9)
    assert statistics([values[0]] * len(values)).decay == pytest.approx(0, abs=1e-9)


def test_decay_by_hand_and_beyond_256_frames() -> None:
    # Nine frames: quarters are frames 0-2, 2-4, 4-6, 6-8.
    assert statistics([1.0] * 3 + [0.0] * 3 + [0.2] * 3).decay == pytest.approx(0.8)
    long = np.linspace(1, 0, 801)
    assert statistics(long).decay == pytest.approx(0.75)
    assert np.isnan(statistics([]).mean)


def test_j_and_f_are_the_official_ones(golden: Path, shared_data: Path) -> None:
    """Every tenth frame of nine videos; the official numbers leave out the first and the last frame."""
    official = json.loads((golden / "vos" / "official-J-F.json").read_text())
    for video, expected in official.items():
        truths = sorted((shared_data / "davis16/Annotations/480p" / video).glob("*.png"))[1:-1]
        assert len(truths) == len(expected["J"])
        for number in range(0, len(truths), 10):
            truth = np.asarray(Image.open(truths[number])) > 0
            result = np.asarray(Image.open(golden / "vos" / "osvos" / video / truths[number].name)) > 0
            assert region_similarity(result, truth) == pytest.approx(expected["J"][number], abs=1e-6)
            assert boundary_accuracy(result, truth) == pytest.approx(expected["F"][number], abs=1e-6)
