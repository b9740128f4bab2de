"""Semantic segmentation: IoU of classes from one confusion matrix over all pictures, and calibration of confidence.

IoU as the Cityscapes server computes it (Cordts et al. 2016, section 4): true positives over the sum of true positives,
false positives and false negatives, counted over all pictures together; void pixels count nowhere. A class that is
neither in the truth nor predicted has no IoU (NaN) and is left out of the mean; one that is only predicted has 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Int64, Integer

from percepta.errors import InputError
from percepta.metrics import MIN_GROUPS, Metric

BINS = 15  # of confidence


def confusion(
    prediction: Integer[np.ndarray, "..."], truth: Integer[np.ndarray, "..."], classes: int
) -> Int64[np.ndarray, "k k"]:
    """How many pixels of each true class (row) were predicted as each class (column).

    Args:
        prediction: classes, 0 .. classes − 1.
        truth: classes; pixels outside 0 .. classes − 1 are void.
        classes: k.

    Raises:
        InputError: the sizes differ, or a prediction is no class.
    """
    if prediction.shape != truth.shape:
        raise InputError(f"two label maps of one size are compared, not {prediction.shape} with {truth.shape}")
    known = (truth >= 0) & (truth < classes)
    there, said = truth[known].astype(np.int64), prediction[known].astype(np.int64)
    if said.size and not 0 <= int(said.min()) <= int(said.max()) < classes:
        raise InputError(f"predictions are classes from 0 to {classes - 1}, not {said.min()} to {said.max()}")
    return np.bincount(there * classes + said, minlength=classes * classes).reshape(classes, classes)


def class_ious(matrix: Int[np.ndarray, "*n k k"]) -> Float[np.ndarray, "*n k"]:
    """IoU of each class; NaN for those that occur nowhere."""
    right = np.diagonal(matrix, axis1=-2, axis2=-1).astype(np.float64)
    union = matrix.sum(-1) + matrix.sum(-2) - right
    return np.where(union > 0, right / np.maximum(union, 1), np.nan)


def mean_class_iou(matrix: Int[np.ndarray, "*n k k"], least: int = 0) -> Float[np.ndarray, "*n"]:
    """The mean of the classes' IoU; NaN where there is none.

    Args:
        matrix: one confusion matrix, or several.
        least: leave out classes with fewer true pixels.
    """
    values = np.asarray(class_ious(matrix))
    there = ~np.isnan(values) & (matrix.sum(-1) >= least)
    return np.asarray(np.where(there, values, 0).sum(-1) / np.where(there.any(-1), there.sum(-1), np.nan))


def segmentation_metric(
    matrices: Sequence[Int64[np.ndarray, "k k"]], *, least: int = 0, draws: int = 1000, seed: int = 0
) -> Metric:
    """The mean IoU of the sum of the pictures' matrices, with a bootstrap interval over pictures.

    Args:
        matrices: one a picture.
        least: leave out classes with fewer true pixels in all pictures together.
        draws: how often is resampled.
        seed: of the draws.
    """
    stacked = np.stack(matrices)
    total = stacked.sum(0)
    kept = total.sum(1) >= least
    low = high = None
    if len(matrices) >= MIN_GROUPS:
        rng = np.random.default_rng(seed)
        counts = rng.multinomial(len(matrices), np.full(len(matrices), 1 / len(matrices)), draws)
        drawn = np.asarray(class_ious(np.einsum("dn,nij->dij", counts, stacked)))[:, kept]
        means = [float(np.nanmean(row)) for row in drawn if not np.isnan(row).all()]
        low, high = (float(end) for end in np.percentile(means, [2.5, 97.5]))
    value = float(mean_class_iou(total, least))
    if low is not None and high is not None:  # a draw may lack a rare class, so that all draws are to one side
        low, high = min(low, value), max(high, value)
    return Metric(value, low, high, len(matrices))


def calibration_bins(
    confidence: Float[np.ndarray, " n"], right: np.ndarray, bins: int = BINS
) -> Float[np.ndarray, "3 bins"]:
    """Of each bin of confidence: pixels, sum of confidence, right pixels; bins of several pictures may be added.

    Args:
        confidence: 0..1.
        right: whether each is right.
        bins: of equal width.
    """
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    weights = (np.ones_like(confidence, np.float64), confidence.astype(np.float64), right.astype(np.float64))
    return np.stack([np.bincount(place, weight, bins) for weight in weights])


def calibration_error(bins: Float[np.ndarray, "3 bins"]) -> float:
    """Expected calibration error (Guo et al. 2017): mean distance of confidence and accuracy, weighed by pixels."""
    count, sure, right = bins
    return float(np.abs(sure - right).sum() / max(count.sum(), 1))


def flicker(
    before: Integer[np.ndarray, "h w"], now: Integer[np.ndarray, "h w"], still: Bool[np.ndarray, "h w"]
) -> float:
    """The share of still pixels whose class changed from one frame to the next; 0 where nothing is still.

    Args:
        before: classes of the frame before.
        now: classes of this frame.
        still: pixels that show the same thing in both.
    """
    count = int(still.sum())
    return float(((before != now) & still).sum() / count) if count else 0.0
