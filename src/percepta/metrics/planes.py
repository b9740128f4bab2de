"""Metrics of plane reconstruction: plane AP, class mAP, the depth table, and how segmentations agree.

Plane AP and the segmentation scores follow PlaneRCNN (Liu et al., CVPR 2019), whose evaluation PlaneMVS uses; the depth
table is that of Eigen et al. 2014. Where the published code can be read in two ways both are offered, as arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from percepta.errors import InputError

THRESHOLDS_M = (0.2, 0.4, 0.6, 0.9, float("inf"))


@dataclass(frozen=True)
class PlaneMatches:
    """What AP needs of one picture; predictions are ordered, the surest first.

    Attributes:
        score: of each prediction. iou: prediction × truth. error_m: mean absolute difference of depth where both
            masks are, infinite where they do not meet. label, true_label: classes, −1 not known.
    """

    score: Float64[np.ndarray, " n"]
    iou: Float64[np.ndarray, "n m"]
    error_m: Float64[np.ndarray, "n m"]
    label: Int[np.ndarray, " n"]
    true_label: Int[np.ndarray, " m"]


def compare(
    score: Float[np.ndarray, " n"],
    masks: Bool[np.ndarray, "n h w"],
    depths_m: Float[np.ndarray, "n h w"],
    label: Int[np.ndarray, " n"],
    true_masks: Bool[np.ndarray, "m h w"],
    true_depth_m: Float[np.ndarray, "h w"],
    true_label: Int[np.ndarray, " m"],
) -> PlaneMatches:
    """Compares the predicted planes of a picture with the true ones.

    Args:
        score: of each prediction, 0..1.
        masks: of the predictions.
        label: class of each prediction.
        true_masks: of the true planes.
        true_label: class of each true plane.
        depths_m: depth of each predicted plane in every pixel.
        true_depth_m: 0 where it is not known; these pixels count for the masks but not for the depth.
    """
    order = np.argsort(-np.asarray(score, np.float64), kind="stable")
    n, m, size = len(masks), len(true_masks), true_depth_m.size
    own = np.asarray(masks, bool)[order].reshape(n, size)
    true = np.asarray(true_masks, bool).reshape(m, size)
    both = own.astype(np.float64) @ true.T.astype(np.float64)
    either = own.sum(1)[:, None] + true.sum(1)[None] - both
    known = true_depth_m.reshape(-1) > 0
    gap = np.abs(np.asarray(depths_m)[order].reshape(n, size) - true_depth_m.reshape(-1))
    weight = (own & known).astype(np.float64)
    # Planes may be infinitely far where their mask is not: 0 times infinity is no number.
    total = np.where(own & known, gap, 0).astype(np.float64) @ true.T.astype(np.float64)
    count = weight @ true.T.astype(np.float64)
    error = np.where(count > 0, total / np.maximum(count, 1), np.inf)
    iou = np.where(either > 0, both / np.maximum(either, 1), 0.0)
    return PlaneMatches(
        np.asarray(score, np.float64)[order], iou, error, np.asarray(label)[order], np.asarray(true_label)
    )


def average_precision(hits: Bool[np.ndarray, " n"], count: int) -> float:
    """Area under the interpolated precision-recall curve of ordered predictions.

    Args:
        hits: whether each prediction, the surest first, is right. count: how many true ones there are, at least one.
    """
    if count < 1:
        raise InputError("average precision is not defined without true instances")
    if not len(hits):
        return 0.0
    right = np.cumsum(hits)
    precision = np.maximum.accumulate((right / np.arange(1, len(hits) + 1))[::-1])[::-1]
    steps = np.diff(right / count, prepend=0.0)
    return float((precision * steps).sum())


def assign(fits: Bool[np.ndarray, "n m"], iou: Float64[np.ndarray, "n m"]) -> Bool[np.ndarray, " n"]:
    """Which predictions are right: each takes the best free true plane that fits; each true one counts once."""
    free = np.ones(fits.shape[1], bool)
    hits = np.zeros(len(fits), bool)
    for i, row in enumerate(fits):
        open_ones = np.flatnonzero(row & free)
        if len(open_ones):
            hits[i] = True
            free[open_ones[iou[i, open_ones].argmax()]] = False
    return hits


def plane_ap(
    pictures: Sequence[PlaneMatches], within_m: float = float("inf"), *, over: float = 0.5, pooled: bool = False
) -> float:
    """Plane AP: a prediction is right with IoU > `over` and a mean depth error < `within_m` (infinite: any).

    Args:
        pictures: what `compare` gave for each.
        within_m: mean depth error below which a prediction is right, metres.
        over: IoU above which a prediction is right, 0..1.
        pooled: the second reading: one curve over all pictures, as detection benchmarks have it. The published code
            averages over pictures; those without true planes are left out.

    Returns:
        NaN where no picture has a true plane.
    """
    rows, values = [], []
    for picture in pictures:
        count = picture.iou.shape[1]
        near = picture.error_m < within_m if np.isfinite(within_m) else np.ones_like(picture.iou, bool)
        hits = assign((picture.iou > over) & near, picture.iou)
        rows += list(zip(picture.score, hits, strict=True))
        if count:
            values.append(average_precision(hits, count))
    if not values:
        return float("nan")
    if not pooled:
        return float(np.mean(values))
    rows.sort(key=lambda row: -row[0])
    return average_precision(np.array([hit for _, hit in rows], bool), sum(p.iou.shape[1] for p in pictures))


def class_map(
    pictures: Sequence[PlaneMatches], classes: Sequence[int], *, over: float = 0.5, skip_missing: bool = True
) -> float:
    """Mean AP over pictures and classes, of masks alone.

    Args:
        pictures: what `compare` gave for each.
        classes: those that count.
        over: IoU above which a prediction is right, 0..1.
        skip_missing: as published: a class that a picture has but that was not predicted there, or was predicted
            without being there, is left out, which raises the number. False: it counts 0.

    Returns:
        NaN where nothing counts.
    """
    values = []
    for picture in pictures:
        for number in classes:
            own, true = picture.label == number, picture.true_label == number
            if not own.any() and not true.any():
                continue
            if own.any() and true.any():
                iou = picture.iou[own][:, true]
                values.append(average_precision(assign(iou > over, iou), int(true.sum())))
            elif not skip_missing:
                values.append(0.0)
    return float(np.mean(values)) if values else float("nan")


def depth_errors(estimate_m: Float[np.ndarray, "*any"], true_m: Float[np.ndarray, "*any"]) -> dict[str, float]:
    """The depth table of one picture, over the pixels whose true depth is above 0.

    Returns:
        AbsRel, SqRel (m), RMSE (m), logRMSE, log10, silog, δ1, δ2, δ3; NaN each where there is no such pixel.

    Raises:
        InputError: an estimate that is not above 0 where there is truth.
    """
    known = np.asarray(true_m) > 0
    names = ("AbsRel", "SqRel", "RMSE", "logRMSE", "log10", "silog", "δ1", "δ2", "δ3")
    if not known.any():
        return dict.fromkeys(names, float("nan"))
    d, t = np.asarray(estimate_m)[known].astype(np.float64), np.asarray(true_m)[known].astype(np.float64)
    if not (d > 0).all():
        raise InputError("an estimate of depth has to be above 0 wherever there is truth")
    gap, logs, ratio = d - t, np.log(d) - np.log(t), np.maximum(d / t, t / d)
    values = (
        (np.abs(gap) / t).mean(), (gap**2 / t).mean(), np.sqrt((gap**2).mean()), np.sqrt((logs**2).mean()),
        np.abs(logs).mean() / np.log(10), np.sqrt(max((logs**2).mean() - logs.mean() ** 2, 0.0)),
        *((ratio < 1.25**power).mean() for power in (1, 2, 3)),
    )  # fmt: skip
    return {name: float(value) for name, value in zip(names, values, strict=True)}


def agreement(
    segments: Int[np.ndarray, "h w"], truth: Int[np.ndarray, "h w"], *, rest_is_one: bool = False, base: float = 2.0
) -> dict[str, float]:
    """How two segmentations agree: VOI (less is better), RI and SC (more is better).

    VOI = H(S) + H(T) − 2 I(S, T); RI: share of the pairs of pixels that both put together or both apart; SC: mean of
    both directions of Σ area · best IoU / all (Arbeláez et al. 2011).

    Args:
        segments, truth: number of each pixel's segment, −1 none.
        rest_is_one: what truth has in no segment is a segment of its own; else these pixels are left out. What the
            estimate has in no segment is one segment either way.
        base: of VOI's logarithm: 2 as in the published code (bits); e for nats.

    Returns:
        NaN each where no pixel counts.
    """
    used = np.ones(truth.shape, bool) if rest_is_one else truth >= 0
    if not used.any():
        return dict.fromkeys(("VOI", "RI", "SC"), float("nan"))
    _, a = np.unique(segments[used], return_inverse=True)
    _, b = np.unique(truth[used], return_inverse=True)
    joint = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(joint, (a, b), 1)
    n = joint.sum()
    rows, columns = joint.sum(1), joint.sum(0)
    share = joint[joint > 0] / n

    def entropy(p: np.ndarray) -> float:
        return float(-(p * np.log(p)).sum() / np.log(base))

    voi = 2 * entropy(share) - entropy(rows / n) - entropy(columns / n)
    apart = ((rows**2).sum() + (columns**2).sum()) / 2 - (joint**2).sum()
    rand = 1 - apart / (n * (n - 1) / 2) if n > 1 else 1.0
    iou = joint / (rows[:, None] + columns[None] - joint)
    cover = ((iou.max(0) * columns).sum() + (iou.max(1) * rows).sum()) / (2 * n)
    return {"VOI": max(voi, 0.0), "RI": float(rand), "SC": float(cover)}
