"""IoU of classes, calibration and flicker against slow and obvious references."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from percepta.errors import InputError
from percepta.metrics.segmentation import (
    calibration_bins,
    calibration_error,
    class_ious,
    confusion,
    flicker,
    mean_class_iou,
    segmentation_metric,
)

few = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**31 - 1)


@few
@given(seeds, st.integers(2, 6))
def test_iou_is_counted_over_all_pictures(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes + 1, (4, 5, 6))
    truth[truth == classes] = 255
    said = rng.integers(0, classes, (4, 5, 6))
    matrices = [confusion(a, b, classes) for a, b in zip(said, truth, strict=True)]
    total = np.sum(matrices, 0)
    known = truth != 255
    assert total.sum() == known.sum()
    ious = []
    for one in range(classes):
        right = ((said == one) & (truth == one) & known).sum()
        either = (((said == one) | (truth == one)) & known).sum()
        assert (
            np.isnan(class_ious(total)[one]) if not either else class_ious(total)[one] == pytest.approx(right / either)
        )
        ious += [right / either] if either else []
    assert mean_class_iou(total) == pytest.approx(np.mean(ious))
    metric = segmentation_metric(matrices)
    assert metric.value == pytest.approx(np.mean(ious)) and metric.n == 4
    assert metric.low is not None and metric.high is not None and metric.low <= metric.high


def test_classes_with_few_pixels_may_be_left_out() -> None:
    matrix = np.array([[90, 10, 0], [0, 50, 0], [3, 0, 1]])
    assert mean_class_iou(matrix, 10) == pytest.approx(np.mean([90 / 103, 50 / 60]))
    assert mean_class_iou(matrix) == pytest.approx(np.mean([90 / 103, 50 / 60, 1 / 4]))


def test_odd_input_is_refused() -> None:
    with pytest.raises(InputError, match="one size"):
        confusion(np.zeros((2, 3), int), np.zeros((3, 2), int), 4)
    with pytest.raises(InputError, match="classes from 0 to 3"):
        confusion(np.full((2, 2), 9), np.zeros((2, 2), int), 4)


@few
@given(seeds)
def test_calibration_by_hand(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sure, right = rng.random(200), rng.random(200) < 0.6
    error = 0.0
    for low in range(15):
        inside = (sure >= low / 15) & (sure < (low + 1) / 15)
        if inside.any():
            error += inside.mean() * abs(sure[inside].mean() - right[inside].mean())
    halves = [calibration_bins(sure[part], right[part]) for part in (slice(0, 90), slice(90, None))]
    assert calibration_error(halves[0] + halves[1]) == pytest.approx(error)


def test_flicker_counts_still_pixels_only() -> None:
    before, now = np.array([[0, 1], [2, 3]]), np.array([[0, 2], [2, 0]])
    assert flicker(before, now, np.array([[True, True], [True, False]])) == pytest.approx(1 / 3)
    assert flicker(before, now, np.zeros((2, 2), bool)) == 0.0
