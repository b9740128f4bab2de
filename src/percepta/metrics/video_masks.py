"""J and F of masks in videos, with recall and decay, as the official evaluator of DAVIS 2017 counts them.

J (region similarity) is the IoU of two masks, F (boundary accuracy) the F-measure of their outlines, where a pixel of
an outline is matched when the other outline passes nearby (Perazzi et al., CVPR 2016, section 4). The outlines of the
official code lie on the pixels left of and above a change. J&F is their mean. In the "semi-supervised" evaluation the
first and the last frame of a video do not count.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int64, Integer
from scipy.spatial import KDTree

from percepta.errors import InputError

TOLERANCE = 0.008  # how far two outlines may be apart, as a share of the picture's diagonal
BINS = 4  # parts of a video, of which decay compares the first and the last


@dataclass(frozen=True)
class Statistics:
    """What the official evaluator says of the values of one object's frames.

    Attributes:
        mean: of all frames.
        recall: share of the frames above 0.5.
        decay: mean of the first quarter minus that of the last quarter.
    """

    mean: float
    recall: float
    decay: float


def region_similarity(prediction: Any, truth: Any, void: Any = None) -> float:
    """J: intersection over union, 0..1; 1 where both are empty.

    Args:
        prediction: Boolean `h w`, other types count as "not 0".
        truth: the same.
        void: pixels that do not count; None: all count.

    Raises:
        InputError: the sizes differ.
    """
    a, b = _counted(prediction, truth, void)
    either = int(np.count_nonzero(a | b))
    return int(np.count_nonzero(a & b)) / either if either else 1.0


def boundary_accuracy(prediction: Any, truth: Any, void: Any = None, *, tolerance: float = TOLERANCE) -> float:
    """F: 2·P·R / (P + R) of the outlines, 0..1; 1 where neither has one, 0 where only one has.

    Args:
        prediction: Boolean `h w`, other types count as "not 0".
        truth: the same.
        void: pixels that belong to neither; None: none.
        tolerance: how far outlines may be apart, as a share of the diagonal, rounded up to pixels; from 1 on in pixels.

    Raises:
        InputError: the sizes differ.
    """
    a, b = _counted(prediction, truth, void)
    near = tolerance if tolerance >= 1 else float(np.ceil(tolerance * np.hypot(*a.shape)))
    ours, theirs = outline(a), outline(b)
    if not len(ours) or not len(theirs):
        return float(len(ours) == len(theirs))
    precision, recall = _share_near(ours, theirs, near), _share_near(theirs, ours, near)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def outline(mask: Bool[np.ndarray, "h w"]) -> Int64[np.ndarray, "n 2"]:
    """Row and column of the pixels that differ from the one to the right, below, or both (Martin et al. 2004)."""
    # What lies outside of this box, grown by a pixel, has no outline.
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return np.zeros((0, 2), np.int64)
    top, left = max(int(rows[0]) - 1, 0), max(int(columns[0]) - 1, 0)
    part = mask[top : rows[-1] + 2, left : columns[-1] + 2]
    # Behind the last row and column of the picture nothing changes.
    grown = np.pad(part, ((0, 1), (0, 1)), mode="edge")
    here, right, below, across = grown[:-1, :-1], grown[:-1, 1:], grown[1:, :-1], grown[1:, 1:]
    return np.argwhere((here != right) | (here != below) | (here != across)) + np.array([top, left])


def _share_near(points: Int64[np.ndarray, "n 2"], others: Int64[np.ndarray, "m 2"], near: float) -> float:
    """Share of the points with another outline's point at most `near` pixels away."""
    distance, _ = KDTree(others).query(points, distance_upper_bound=near + 0.5)
    return float(np.mean(distance <= near + 1e-6))


def _counted(prediction: Any, truth: Any, void: Any) -> tuple[Bool[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
    a, b = np.asarray(prediction).astype(bool, copy=False), np.asarray(truth).astype(bool, copy=False)
    if a.shape != b.shape or a.ndim != 2:
        raise InputError(f"two masks of one size h w are compared, not {a.shape} with {b.shape}")
    if void is None:
        return a, b
    counts = ~np.asarray(void).astype(bool, copy=False)
    if counts.shape != a.shape:
        raise InputError(f"the pixels that do not count have the masks' size {a.shape}, not {counts.shape}")
    return a & counts, b & counts


def scores(
    prediction: Integer[np.ndarray, "h w"], truth: Integer[np.ndarray, "h w"], ids: Iterable[int], void: int = 255
) -> Float[np.ndarray, "n 2"]:
    """J and F of each object of two label maps.

    Args:
        prediction: the object of each pixel.
        truth: the same.
        ids: of the objects.
        void: the label in the truth of pixels that do not count.
    """
    unknown = truth == void
    left_out = unknown if unknown.any() else None
    pairs = [(prediction == number, truth == number) for number in ids]
    rows = [(region_similarity(a, b, left_out), boundary_accuracy(a, b, left_out)) for a, b in pairs]
    return np.array(rows, np.float64).reshape(-1, 2)


def statistics(values: Sequence[float] | Float[np.ndarray, " t"]) -> Statistics:
    """Mean, recall and decay of the frames of one object; nan where there is none.

    The quarters share their border frames, as in the official evaluator. That one counts frames in 8 bits, so its decay
    is another one in videos of more than 256 frames; this one's is right there.
    """
    data = np.asarray(values, np.float64)
    if not len(data):
        return Statistics(float("nan"), float("nan"), float("nan"))
    ends = (np.round(np.linspace(1, len(data), BINS + 1) + 1e-10) - 1).astype(int)
    first, last = data[ends[0] : ends[1] + 1], data[ends[-2] : ends[-1] + 1]
    return Statistics(float(data.mean()), float((data > 0.5).mean()), float(first.mean() - last.mean()))
