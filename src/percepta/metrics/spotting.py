"""Average-mAP of action spotting and average-AP of replay grounding, as SoccerNet's evaluator counts them.

Spotting (SoccerNet 0.2.0, `Evaluation/ActionSpotting.py`): times become frames at 2 a second (rounded down), one
prediction a frame and class (the last one named). For a tolerance of d frames every action, earliest first, takes the
most confident prediction that is free and not further than d / 2 away. Precision and recall at 200 confidences from 0
to 1, 11-point AP, mean over the classes, trapezoid over the tolerances: loose 5, 10, .. 60 s, tight 1, 2, .. 5 s.
A prediction belongs to "visible" or "unshown" by the nearest action of its class and half; where there is none it is
"unshown", and so is one that comes before the middle of nothing. Unshown is multiplied by 17/13, since four of the 17
classes are never unshown in SoccerNet's test games.

Grounding (`Evaluation/ReplayGrounding.py`): every replay is a class-less video of its own with one action, the linked
one; before matching, proposals are thinned out by hard suppression of d frames. What the shipped evaluator does that
nobody means is a setting of `Grounding` here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from percepta.errors import InputError

LOOSE_S: tuple[float | int, ...] = tuple(float(s) for s in range(5, 61, 5))
TIGHT_S: tuple[float | int, ...] = (1.0, 2.0, 3.0, 4.0, 5.0)
TOLERANCES_S: Mapping[str, tuple[float | int, ...]] = {"loose": LOOSE_S, "tight": TIGHT_S}
THRESHOLDS = np.linspace(0, 1, 200)
RECALLS = np.arange(11) / 10
NEVER_UNSHOWN = 4  # classes of SoccerNet-v2 that are always shown
MAX_FRAME = 120 * 60 * 2 - 1  # of the official evaluator: what comes later counts as here


@dataclass(frozen=True)
class Moments:
    """Actions, or predictions of them, of one half.

    Attributes:
        times_s: from the start of the half.
        labels: the class of each.
        scores: of predictions, 0..1; for actions 1 where they are visible and -1 where they are not shown.
    """

    times_s: Float[np.ndarray, " n"]
    labels: Int[np.ndarray, " l"]
    scores: Float[np.ndarray, " s"]

    def __post_init__(self) -> None:
        if not len(self.times_s) == len(self.labels) == len(self.scores):
            raise InputError(
                f"moments need as many labels and scores as times, got {len(self.times_s)}, {len(self.labels)} and "
                f"{len(self.scores)}"
            )


@dataclass(frozen=True)
class AverageMap:
    """What the evaluator gives for one set of tolerances.

    Attributes:
        value: average-mAP of all actions, with `visible` and `unshown` (the latter already multiplied).
        classes, visible_classes, unshown_classes: average-AP of each class.
    """

    value: float | int
    visible: float | int
    unshown: float | int
    classes: Float[np.ndarray, " c"]
    visible_classes: Float[np.ndarray, " c"]
    unshown_classes: Float[np.ndarray, " c"]


def average_map(
    actions: Sequence[Moments],
    predictions: Sequence[Moments],
    *,
    classes: int,
    tolerances_s: Sequence[float | int] = LOOSE_S,
    fps: float | int = 2.0,
    max_frame: int | None = MAX_FRAME,
    never_unshown: int = NEVER_UNSHOWN,
) -> AverageMap:
    """Average-mAP of some halves.

    Args:
        actions: one `Moments` a half, `scores` above 0 for visible ones and below 0 for others.
        predictions: of the same halves, in the same order; scores 0..1.
        classes: how many.
        tolerances_s: seconds; at least one. With a single one the value is that of this tolerance.
        fps: frames a second of the grid.
        max_frame: what is later counts as in this frame, as officially; None: games may be as long as they like.
        never_unshown: classes by which the unshown value is corrected, where there are more classes than that.

    Raises:
        InputError: lists of different lengths, or a label outside the classes.
    """
    if len(actions) != len(predictions):
        raise InputError(f"as many halves of predictions as of actions are needed, got {len(predictions)} and "
                         f"{len(actions)}")  # fmt: skip
    for half in (*actions, *predictions):
        if len(half.labels) and not 0 <= half.labels.min() <= half.labels.max() < classes:
            raise InputError(f"labels are 0 to {classes - 1}, got {half.labels.min()} to {half.labels.max()}")
    grids = [(_grid(a, classes, fps, max_frame), _grid(p, classes, fps, max_frame))
             for a, p in zip(actions, predictions, strict=True)]  # fmt: skip
    parts = np.zeros((len(tolerances_s), 3, classes))
    for c in range(classes if grids else 0):
        one = _Class.of([(a[c], p[c]) for a, p in grids])
        for i, tolerance in enumerate(tolerances_s):
            parts[i, :, c] = one.ap(tolerance * fps)
    each = _trapezoid(parts)
    share = classes / (classes - never_unshown) if classes > never_unshown else 1.0
    value, visible, unshown = each.mean(1)
    return AverageMap(float(value), float(visible), float(unshown * share), *each)


def _trapezoid(values: np.ndarray) -> Any:
    return values[0] if len(values) == 1 else ((values[1:] + values[:-1]) / 2).mean(0)


_Column = tuple[np.ndarray, np.ndarray]  # frames in rising order, what is there


def _grid(moments: Moments, classes: int, fps: float | int, max_frame: int | None) -> list[_Column]:
    """For each class its frames and scores; of several in one frame the last counts."""
    frames = (fps * (np.round(moments.times_s * 1000) / 1000)).astype(np.int64)
    if max_frame is not None:
        frames = np.minimum(frames, max_frame)
    columns = []
    for c in range(classes):
        cells = dict(zip(frames[moments.labels == c].tolist(), moments.scores[moments.labels == c].tolist(),
                         strict=True))  # fmt: skip
        ordered = sorted(cells)
        columns.append((np.array(ordered, np.int64), np.array([cells[f] for f in ordered], float)))
    return columns


@dataclass(frozen=True)
class _Class:
    """One class of all halves on one line of time: each half begins long after the one before has ended."""

    frames: np.ndarray
    at: np.ndarray
    score: np.ndarray
    kinds: tuple[np.ndarray, np.ndarray, np.ndarray]
    counts: tuple[int, int, int]

    @classmethod
    def of(cls, halves: Sequence[tuple[_Column, _Column]]) -> _Class:
        last = max((int(c[0][-1]) for half in halves for c in half if len(c[0])), default=0)
        frames, shown, at, score, near = [], [], [], [], []
        for i, ((frame, visible), (time, confidence)) in enumerate(halves):
            start = i * (4 * last + 100_000)
            keep = confidence >= 0
            frames.append(frame + start)
            shown.append(visible)
            at.append(time[keep] + start)
            score.append(confidence[keep])
            near.append(_nearest(frame, visible, time[keep]))
        s, n = np.concatenate(shown), np.concatenate(near)
        return cls(np.concatenate(frames), np.concatenate(at), np.concatenate(score),
                   (np.ones(len(n), bool), n > 0.5, n < -0.5),
                   (len(s), int((s > 0).sum()), int((s < 0).sum())))  # fmt: skip

    def ap(self, tolerance: float | int) -> list[float]:
        """AP at one tolerance (frames): all, visible, unshown."""
        hit = matched(self.frames, self.at, self.score, tolerance)
        return [ap11(self.score[k], hit[k], n) for k, n in zip(self.kinds, self.counts, strict=True)]


def matched(
    frames: Int[np.ndarray, " n"], at: Int[np.ndarray, " m"], score: Float[np.ndarray, " m"], tolerance: float | int
) -> np.ndarray:
    """Which predictions are right: each action takes the most confident one within half the tolerance.

    Args:
        frames: of the actions, rising.
        at: of the predictions, rising.
        score: of the predictions.
        tolerance: frames.
    """
    hit = np.zeros(len(at), bool)
    first = np.searchsorted(at, frames - tolerance / 2, "left")
    last = np.searchsorted(at, frames + tolerance / 2, "right")
    some = last > first
    for low, high in zip(first[some].tolist(), last[some].tolist(), strict=True):
        free = np.where(hit[low:high], -1.0, score[low:high])
        best = int(free.argmax())
        if free[best] >= 0:
            hit[low + best] = True
    return hit


def _nearest(frames: np.ndarray, shown: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Whether the action nearest to each prediction is visible (1) or not (-1); -1 where there is none."""
    if not len(frames):
        return np.full(len(at), -1.0)
    middles = (frames[1:] + frames[:-1]) // 2
    return shown[np.searchsorted(middles, at, "right")]


def ap11(score: Float[np.ndarray, " m"], hit: np.ndarray, count: int) -> float:
    """11-point AP over 200 confidences; 0 where there is no action.

    Args:
        score: of the predictions.
        hit: which of them are right.
        count: of actions.
    """
    if not count:
        return 0.0
    order = np.argsort(-score, kind="stable")
    rights = np.concatenate([[0], np.cumsum(hit[order])])
    taken = np.searchsorted(-score[order], -THRESHOLDS, "right")  # predictions at least as confident
    precision = rights[taken] / np.maximum(taken, 1)
    recall = rights[taken] / count
    return float(np.mean([precision[recall >= r].max(initial=0.0) for r in RECALLS]))


# ------------------------------------------------------------------------------------------------ replay grounding


@dataclass(frozen=True)
class Replay:
    """A replay with the action that it shows, and proposals for that action.

    Attributes:
        action_s: when the action was, from the start of the half; None: no link (it is then left out).
        times_s: of the proposals.
        scores: theirs, 0..1.
    """

    action_s: float | int | None
    times_s: Float[np.ndarray, " n"]
    scores: Float[np.ndarray, " n"]


@dataclass(frozen=True)
class Grounding:
    """How replays are scored. The defaults are what is meant; `OFFICIAL` is what the shipped evaluator does.

    Attributes:
        half_s: times from here on cannot be: the shipped evaluator has arrays of 3500 s and stops with an index
            error at later ones (and at any at all on NumPy from 1.24 on, for `np.float`). None: halves of any length.
        match_ends: the shipped evaluator only scores replays whose end, in whole seconds, is the annotation's, and
            leaves the others out, so that who predicts fewer replays scores higher. False: a replay that is missing
            counts as one without proposals. Used by whoever pairs predictions with labels.
    """

    half_s: float | int | None = None
    match_ends: bool = False


OFFICIAL = Grounding(half_s=3500.0, match_ends=True)


def average_ap(
    replays: Sequence[Replay],
    *,
    tolerances_s: Sequence[float | int] = LOOSE_S,
    fps: float | int = 2.0,
    rules: Grounding | None = None,
) -> float:
    """Average-AP of replay grounding.

    Args:
        replays: those without a link are left out.
        tolerances_s: seconds.
        fps: frames a second of the grid.
        rules: what is counted; None: what is meant.

    Raises:
        InputError: a time beyond `rules.half_s`, which says so instead of an index error.
    """
    rules = rules or Grounding()
    linked = [replay for replay in replays if replay.action_s is not None]
    for replay in linked:
        latest = max([replay.action_s or 0.0, *replay.times_s.tolist()])
        if rules.half_s is not None and latest >= rules.half_s:
            raise InputError(f"a time of {latest:.1f} s: the shipped evaluator's halves end after {rules.half_s:.0f} s "
                             "and it stops here; use the default rules")  # fmt: skip
    values = np.zeros(len(tolerances_s))
    for i, tolerance in enumerate(tolerances_s):
        scores, hits = [], []
        for replay in linked:
            zeros = np.zeros(len(replay.times_s), np.int64)
            at, score = _grid(Moments(replay.times_s, zeros, replay.scores), 1, fps, None)[0]
            at, score = suppressed(at, score, tolerance * fps)
            truth = np.array([int(fps * (replay.action_s or 0.0))])
            scores.append(score)
            hits.append(matched(truth, at, score, tolerance * fps))
        values[i] = ap11(np.concatenate(scores), np.concatenate(hits), len(linked)) if linked else 0.0
    return float(_trapezoid(values))


def suppressed(
    at: Int[np.ndarray, " n"], score: Float[np.ndarray, " n"], width: float | int
) -> tuple[Int[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """Hard suppression as the evaluator has it: from width / 2 before a peak to the frame before width / 2 after it.

    Args:
        at: frames, rising.
        score: of each; those below 0 are none.
        width: frames.
    """
    left, kept = score.copy(), []
    while len(left) and left.max() >= 0:
        best = int(left.argmax())
        kept.append(best)
        low = int(max(at[best] - width / 2, 0))
        left[(at >= low) & (at < max(at[best] + int(width / 2), at[best] + 1))] = -1
    kept.sort()
    return at[kept], score[kept]
