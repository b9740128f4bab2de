"""Metrics of labelled 3-D scenes: mean IoU over classes, and average precision of instances as ScanNet defines it.

The instance metric follows the benchmark's evaluation (Dai et al., CVPR 2017; the rules of its public script): an
instance of fewer than 100 points is neither asked for nor counted against, nor is what lies mostly on points without a
class; AP is the mean over the IoU thresholds .5, .55, ... .95, AP50 and AP25 are those at .5 and .25.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64, Integer

from percepta.errors import InputError

THRESHOLDS = (*(round(0.5 + 0.05 * i, 2) for i in range(9 + 1)),)


def confusion(
    truth: Integer[np.ndarray, " n"], answer: Integer[np.ndarray, " m"], classes: int
) -> Int64[np.ndarray, "classes classes"]:
    """How often class i (row) was called j. Points with a truth below 0 are left out.

    Args:
        truth: class of each point; below 0: not labelled.
        answer: predicted class of each point.
        classes: how many there are.

    Raises:
        InputError: numbers that are no class, or arrays of different length.
    """
    if truth.shape != answer.shape:
        raise InputError(f"truth and answer are of one length; got {truth.shape} and {answer.shape}")
    t, a = truth[truth >= 0].astype(np.int64), answer[truth >= 0].astype(np.int64)
    if len(t) and (t.max() >= classes or a.min() < 0 or a.max() >= classes):
        raise InputError(f"classes are 0..{classes - 1}; found {t.max()} as truth, {a.min()}..{a.max()} as answer")
    return np.bincount(t * classes + a, minlength=classes**2).reshape(classes, classes)


def iou(table: Int64[np.ndarray, "classes classes"]) -> Float[np.ndarray, " classes"]:
    """Intersection over union of each class; NaN for one that the truth does not have."""
    hit = np.diag(table).astype(np.float64)
    union = table.sum(0) + table.sum(1) - hit
    return np.where(table.sum(1) > 0, hit / np.maximum(union, 1), np.nan)


def miou(table: Int64[np.ndarray, "classes classes"]) -> float:
    """Mean of `iou` over the classes that the truth has; NaN without any."""
    values = iou(table)
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


@dataclass(frozen=True)
class Instances:
    """Instances of one scene.

    Attributes:
        instance: number of each point, 0 none.
        label: class of instance i at place i - 1.
        score: how certain it is, in any unit, at place i - 1.
    """

    instance: Integer[np.ndarray, " n"]
    label: Integer[np.ndarray, " k"]
    score: Float[np.ndarray, " k"]


@dataclass(frozen=True)
class Overlaps:
    """What average precision needs of one scene: sizes and overlaps of true and predicted instances.

    Attributes:
        shared: points of true instance i (row) and predicted j.
        true_size: points of each true instance.
        true_label: its class.
        size: points of each predicted instance.
        label: its class.
        score: how certain it is.
        ignored: its points without a class.
    """

    shared: Int64[np.ndarray, "t p"]
    true_size: Int64[np.ndarray, " t"]
    true_label: Int64[np.ndarray, " t"]
    size: Int64[np.ndarray, " p"]
    label: Int64[np.ndarray, " p"]
    score: Float[np.ndarray, " p"]
    ignored: Int64[np.ndarray, " p"]


def overlaps(
    truth_label: Integer[np.ndarray, " n"],
    truth_instance: Integer[np.ndarray, " n"],
    predicted: Instances,
    classes: Sequence[int],
    min_points: int = 100,
) -> Overlaps:
    """Counts of one scene.

    Args:
        truth_label: class of each point.
        truth_instance: its object, 0 none.
        predicted: instances.
        classes: those with instances; points of others are "without a class". A true instance is what has one
            object and one class.
        min_points: predicted instances with fewer points are left out.

    Raises:
        InputError: arrays that do not fit.
    """
    if not truth_label.shape == truth_instance.shape == predicted.instance.shape:
        raise InputError("truth and answer have one number a point")
    if len(predicted.label) != len(predicted.score) or int(predicted.instance.max(initial=0)) > len(predicted.label):
        raise InputError("every predicted instance needs its label and its score")
    counted = np.isin(truth_label, list(classes))
    here = counted & (truth_instance > 0)
    wide = int(truth_label.max(initial=0)) + 1
    keys, of = np.unique(truth_instance[here].astype(np.int64) * wide + truth_label[here], return_inverse=True)
    mine = predicted.instance.astype(np.int64)
    count = len(predicted.label) + 1
    shared = np.bincount(of * count + mine[here], minlength=len(keys) * count).reshape(len(keys), count)[:, 1:]
    size = np.bincount(mine, minlength=count)[1:]
    ignored = np.bincount(mine[~counted], minlength=count)[1:]
    label = np.asarray(predicted.label, np.int64)
    kept = np.flatnonzero((size >= min_points) & np.isin(label, list(classes)))
    return Overlaps(
        shared[:, kept], np.bincount(of, minlength=len(keys)), keys % wide,
        size[kept], label[kept], np.asarray(predicted.score, np.float64)[kept], ignored[kept],
    )  # fmt: skip


def precisions(
    scenes: Sequence[Overlaps], classes: Sequence[int], threshold: float, min_points: int = 100
) -> Float[np.ndarray, " classes"]:
    """Average precision of each class at one IoU; NaN for a class that has no true instance of enough points.

    Args:
        scenes: what `overlaps` counted in each.
        classes: those with instances.
        threshold: IoU from which on a predicted instance is right.
        min_points: smaller true instances are not asked for.
    """
    return np.array([_precision(scenes, c, threshold, min_points) for c in classes])


def average_precision(scenes: Sequence[Overlaps], classes: Sequence[int], min_points: int = 100) -> dict[str, float]:
    """{"AP", "AP50", "AP25"}: means over the classes that have true instances; NaN without any.

    Args:
        scenes: what `overlaps` counted in each.
        classes: those with instances.
        min_points: smaller true instances are not asked for.
    """
    table = {th: precisions(scenes, classes, th, min_points) for th in (0.25, *THRESHOLDS)}
    fine = np.stack([table[th] for th in THRESHOLDS]).mean(0)
    rows = {"AP": fine, "AP50": table[0.5], "AP25": table[0.25]}
    return {name: float(np.nanmean(v)) if np.isfinite(v).any() else float("nan") for name, v in rows.items()}


def _precision(scenes: Sequence[Overlaps], label: int, threshold: float, min_points: int) -> float:
    right: list[int] = []
    score: list[float] = []
    missed = asked = answered = 0
    for scene in scenes:
        true, mine = np.flatnonzero(scene.true_label == label), np.flatnonzero(scene.label == label)
        small = scene.true_size[true] < min_points
        shared = scene.shared[np.ix_(true, mine)]
        union = scene.true_size[true][:, None] + scene.size[mine] - shared
        over = shared / np.maximum(union, 1) > threshold
        asked, answered = asked + int((~small).sum()), answered + len(mine)
        taken: set[int] = set()
        for i in np.flatnonzero(~small):
            best = None  # of several answers to one object the one with the highest score is right, others wrong
            for j in np.flatnonzero(over[i]):
                if j in taken:
                    continue
                mark = float(scene.score[mine[j]])
                if best is None:
                    best = mark
                    taken.add(int(j))
                    continue
                right.append(0)
                score.append(min(best, mark))
                best = max(best, mark)
            if best is None:
                missed += 1
            else:
                right.append(1)
                score.append(best)
        # An answer that fits nothing is wrong, unless most of it lies on what is not judged.
        beside = scene.ignored[mine] + shared[small].sum(0)
        for j in np.flatnonzero(~over.any(0) & (beside / np.maximum(scene.size[mine], 1) <= threshold)):
            right.append(0)
            score.append(float(scene.score[mine[j]]))
    if not asked:
        return float("nan")
    return _area(np.array(right, np.int64), np.array(score), missed) if answered else 0.0


def _area(right: Int64[np.ndarray, " n"], score: Float[np.ndarray, " n"], missed: int) -> float:
    """Area under precision and recall by the benchmark's rule: precision at each recall, times half the way between
    the recalls before and after."""
    if not len(right):
        return 0.0
    order = np.argsort(score, kind="stable")
    hits = np.cumsum(right[order])
    starts = np.unique(score[order], return_index=True)[1]
    below = np.where(starts > 0, hits[starts - 1], 0)  # true ones that a cut at this score loses
    tp = hits[-1] - below
    answered = len(right) - starts
    precision = np.append(tp / answered, 1.0)
    recall = np.append(tp / max(hits[-1] + missed, 1), 0.0)
    padded = np.concatenate((recall[:1], recall, [0.0]))
    return float(precision @ ((padded[:-2] - padded[2:]) / 2))
