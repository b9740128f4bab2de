"""Scores of a driver's activities: the F1 of AI City 2022 and the overlap score of 2023.

F1 of 2022: a prediction is right where a segment of the same video and class starts and ends within a second of it;
each segment counts once. Overlap score of 2023: a segment and a prediction of the same video and class whose starts and
ends are each less than ten seconds apart score intersection / hull; pairs are made one to one, so that a pair with a
higher score goes first, and the mean is over pairs and all that is left over on either side.

What the published text leaves open: which pairs are made where several fit (here: the best first), and whether left
over predictions count as zeros as left over segments do (here: yes, so that guessing more does not help).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

F1_TOLERANCE_S = 1.0
OVERLAP_TOLERANCE_S = 10.0
NORMAL = 0  # the class that is not reported


@dataclass(frozen=True)
class Activity:
    """One span of an activity.

    Attributes:
        video: which recording.
        label: number of the class.
        start_s, end_s: seconds.
    """

    video: str
    label: int
    start_s: float | int
    end_s: float | int


def reported(found: Sequence[Activity]) -> list[Activity]:
    """All but normal driving, which neither year counts."""
    return [one for one in found if one.label != NORMAL]


def f1(found: Sequence[Activity], truth: Sequence[Activity], tolerance_s: float | int = F1_TOLERANCE_S) -> float:
    """F1 of 2022; 0 where nothing is right.

    Args:
        found: predictions.
        truth: what there is.
        tolerance_s: largest distance of starts, and of ends.
    """
    total, count = f1_parts(found, truth, tolerance_s)
    return total / count if count else 0.0


def f1_parts(
    found: Sequence[Activity], truth: Sequence[Activity], tolerance_s: float | int = F1_TOLERANCE_S
) -> tuple[float, int]:
    """(twice the right ones, predictions and truth together): F1 is their ratio, over one or all videos.

    Args:
        found: predictions.
        truth: what there is.
        tolerance_s: largest distance of starts, and of ends.
    """
    found, truth = reported(found), reported(truth)
    pairs = [
        (abs(a.start_s - b.start_s) + abs(a.end_s - b.end_s), i, j)
        for i, a in enumerate(found)
        for j, b in enumerate(truth)
        if (a.video, a.label) == (b.video, b.label)
        and abs(a.start_s - b.start_s) <= tolerance_s
        and abs(a.end_s - b.end_s) <= tolerance_s
    ]
    return 2.0 * len(_one_to_one(sorted(pairs))), len(found) + len(truth)


def overlap_score(
    found: Sequence[Activity], truth: Sequence[Activity], tolerance_s: float | int = OVERLAP_TOLERANCE_S
) -> float:
    """Overlap score of 2023, 0..1.

    Args:
        found: predictions.
        truth: what there is.
        tolerance_s: starts, and ends, that are this far apart or farther make no pair.
    """
    total, count = overlap_parts(found, truth, tolerance_s)
    return total / count if count else 0.0


def overlap_parts(
    found: Sequence[Activity], truth: Sequence[Activity], tolerance_s: float | int = OVERLAP_TOLERANCE_S
) -> tuple[float, int]:
    """(sum of the pairs' scores, pairs and all that is left over): the overlap score is their ratio.

    Args:
        found: predictions.
        truth: what there is.
        tolerance_s: starts, and ends, that are this far apart or farther make no pair.
    """
    found, truth = reported(found), reported(truth)
    pairs = []
    for i, a in enumerate(found):
        for j, b in enumerate(truth):
            near = abs(a.start_s - b.start_s) < tolerance_s and abs(a.end_s - b.end_s) < tolerance_s
            if (a.video, a.label) == (b.video, b.label) and near:
                pairs.append((-overlap(a, b), i, j))
    chosen = _one_to_one(sorted(pairs))
    return sum((-score for score, _, _ in chosen), 0.0), len(found) + len(truth) - len(chosen)


def overlap(a: Activity, b: Activity) -> float:
    """Intersection / hull of two spans."""
    inside = max(0.0, min(a.end_s, b.end_s) - max(a.start_s, b.start_s))
    hull = max(a.end_s, b.end_s) - min(a.start_s, b.start_s)
    return inside / hull if hull > 0 else 0.0


def _one_to_one(pairs: Sequence[tuple[float, int, int]]) -> list[tuple[float, int, int]]:
    left: set[int] = set()
    right: set[int] = set()
    chosen = []
    for cost, i, j in pairs:
        if i not in left and j not in right:
            left.add(i)
            right.add(j)
            chosen.append((cost, i, j))
    return chosen


def agreement(values: Sequence[float]) -> float:
    """Median of the same border in several views, seconds."""
    return float(np.median(np.asarray(values, np.float64)))
