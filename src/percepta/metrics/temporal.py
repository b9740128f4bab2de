"""Scores of spans in time, by the official definitions of ActivityNet and THUMOS-14.

Predictions of a class are taken by falling score; each takes the segment of its video that it overlaps most and that
nothing took before, where the overlap reaches the threshold, and is wrong otherwise. Average precision is the area
under precision made monotone over recall (ActivityNet, and THUMOS-14 as papers report it), or the mean precision at
each right prediction (the evaluation kit of THUMOS-14). The mean is over the classes of the truth.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

Real = int | float
ACTIVITYNET = tuple(float(x) for x in np.linspace(0.5, 0.95, 10))
THUMOS = (0.3, 0.4, 0.5, 0.6, 0.7)


@dataclass(frozen=True)
class Spans:
    """n labelled spans of several videos.

    Attributes:
        video: names.
        span: start and end, seconds.
        label: names of classes.
        score: of predictions; 1 for a truth.
    """

    video: tuple[str, ...]
    span: Float[np.ndarray, "n 2"]
    label: tuple[str, ...]
    score: Float[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.video)

    def only(self, keep: Sequence[bool] | np.ndarray) -> Spans:
        """Those that are marked."""
        rows = np.flatnonzero(np.asarray(keep, bool))
        names = tuple(self.video[i] for i in rows)
        return Spans(names, self.span[rows], tuple(self.label[i] for i in rows), self.score[rows])

    def without(self, videos: Collection[str]) -> Spans:
        """All but those of some videos, such as those that are no longer to be had."""
        return self.only([name not in videos for name in self.video])


def spans(rows: Sequence[tuple[str, Real, Real, str, Real]]) -> Spans:
    """From rows (video, start_s, end_s, label, score)."""
    table = np.array([row[1:3] for row in rows], np.float64).reshape(-1, 2)
    scores = np.array([row[4] for row in rows], np.float64)
    return Spans(tuple(row[0] for row in rows), table, tuple(row[3] for row in rows), scores)


def overlap(one: Float[np.ndarray, " 2"], many: Float[np.ndarray, "m 2"]) -> Float[np.ndarray, " m"]:
    """Intersection over union of one span and each of many."""
    inside = np.clip(np.minimum(one[1], many[:, 1]) - np.maximum(one[0], many[:, 0]), 0, None)
    union = (many[:, 1] - many[:, 0]) + (one[1] - one[0]) - inside
    return np.divide(inside, union, out=np.zeros_like(inside), where=union > 0)


def average_precision(
    found: Spans, truth: Spans, thresholds: Sequence[float], *, interpolated: bool = True, ignored: Spans | None = None
) -> Float[np.ndarray, " t"]:
    """Average precision of one class at each threshold; labels are not looked at.

    Args:
        found: predictions.
        truth: what there is.
        thresholds: least overlaps.
        interpolated: area under monotone precision; False: mean precision at each right prediction.
        ignored: spans of which nothing is known: a wrong prediction that touches one does not count.
    """
    if not len(truth):
        return np.full(len(thresholds), np.nan)
    by_video: dict[str, list[int]] = {}
    for i, name in enumerate(truth.video):
        by_video.setdefault(name, []).append(i)
    unclear: dict[str, list[int]] = {}
    for i, name in enumerate(ignored.video if ignored is not None else ()):
        unclear.setdefault(name, []).append(i)
    order = np.argsort(found.score)[::-1]
    right = np.zeros((len(thresholds), len(order)), bool)
    counts = np.ones((len(thresholds), len(order)), bool)
    taken = np.zeros((len(thresholds), len(truth)), bool)
    for place, row in enumerate(order):
        mine = by_video.get(found.video[row], [])
        values = overlap(found.span[row], truth.span[mine]) if mine else np.zeros(0)
        best = np.argsort(values)[::-1]
        for t, least in enumerate(thresholds):
            hit = next((mine[j] for j in best if values[j] >= least and not taken[t, mine[j]]), None)
            if hit is not None:
                taken[t, hit] = right[t, place] = True
        near = unclear.get(found.video[row], [])
        if ignored is not None and near and overlap(found.span[row], ignored.span[near]).max() > 0:
            counts[:, place] = right[:, place]
    return np.array([_area(r[c], len(truth), interpolated) for r, c in zip(right, counts, strict=True)])


def _area(right: np.ndarray, positives: int, interpolated: bool) -> float:
    hits = np.cumsum(right)
    precision = hits / np.arange(1, len(right) + 1)
    if not interpolated:
        return float(precision[right].sum() / positives)
    recall = np.concatenate([[0.0], hits / positives, [1.0]])
    precision = np.concatenate([[0.0], precision, [0.0]])
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.flatnonzero(recall[1:] != recall[:-1]) + 1
    return float(((recall[steps] - recall[steps - 1]) * precision[steps]).sum())


def mean_average_precision(
    found: Spans,
    truth: Spans,
    thresholds: Sequence[float] = ACTIVITYNET,
    *,
    interpolated: bool = True,
    ambiguous: str = "Ambiguous",
) -> dict[str, Float[np.ndarray, " t"]]:
    """{class: average precision at each threshold}; their mean is the mAP. Predictions of other classes count nothing.

    Args:
        found: predictions.
        truth: what there is.
        thresholds: least overlaps.
        interpolated: see `average_precision`.
        ambiguous: the label of spans of which nothing is known, in the truth of THUMOS-14.
    """
    label, wanted = np.array(truth.label, object), np.array(found.label, object)
    unclear = truth.only(label == ambiguous) if len(truth) else truth
    return {
        name: average_precision(
            found.only(wanted == name), truth.only(label == name), thresholds, interpolated=interpolated,
            ignored=unclear if len(unclear) else None,
        )
        for name in sorted(set(truth.label) - {ambiguous})
    }  # fmt: skip


def average_recall(
    found: Spans, truth: Spans, most: int, thresholds: Sequence[float] = ACTIVITYNET
) -> Float[np.ndarray, " t"]:
    """Share of the truth that the `most` best proposals of its video reach, at each threshold; labels do not count.

    Args:
        found: proposals.
        truth: what there is.
        most: proposals of a video.
        thresholds: least overlaps.
    """
    if not len(truth):
        return np.full(len(thresholds), np.nan)
    rows: dict[str, list[int]] = {}
    for i in np.argsort(-found.score, kind="stable"):
        some = rows.setdefault(found.video[i], [])
        if len(some) < most:
            some.append(int(i))
    best = np.array(
        [
            overlap(s, found.span[rows[v]]).max() if rows.get(v) else 0.0
            for v, s in zip(truth.video, truth.span, strict=True)
        ]
    )
    return np.array([(best >= least).mean() for least in thresholds])


KINDS = ("right", "wrong label", "bad border", "both", "double", "background")


def kinds_of_error(found: Spans, truth: Spans, threshold: float = 0.5, near: float = 0.1) -> dict[str, int]:
    """How many predictions are right, and of what kind the others are (after Alwassel et al., ECCV 2018).

    Args:
        found: predictions, those that one would show.
        truth: what there is.
        threshold: overlap of a right one.
        near: overlap from which on it is about a segment at all.
    """
    count: dict[str, int] = dict.fromkeys(KINDS, 0)
    taken: set[int] = set()
    for row in np.argsort(-found.score, kind="stable"):
        mine = [i for i, name in enumerate(truth.video) if name == found.video[row]]
        values = overlap(found.span[row], truth.span[mine]) if mine else np.zeros(0)
        same = np.array([truth.label[i] == found.label[row] for i in mine], bool)
        free = np.array([i not in taken for i in mine], bool)
        if (values * same * free >= threshold).any():
            taken.add(mine[int((values * same * free).argmax())])
            count["right"] += 1
        elif (values * same >= threshold).any():
            count["double"] += 1
        elif (values >= threshold).any():
            count["wrong label"] += 1
        elif (values * same >= near).any():
            count["bad border"] += 1
        elif (values >= near).any():
            count["both"] += 1
        else:
            count["background"] += 1
    return count
