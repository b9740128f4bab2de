"""From candidates to segments: suppression of doubles and voting, in numpy.

As the published compiled code does it: lengths have 1e-6 added, and a segment is a double from overlap >= threshold on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64

from percepta.systems.actions import Suppression

EPS = 1e-6


@dataclass(frozen=True)
class Segments:
    """n scored spans of one video.

    Attributes:
        span: start and end, in whatever unit.
        score: 0..1.
        label: places in the list of classes.
    """

    span: Float[np.ndarray, "n 2"]
    score: Float[np.ndarray, " n"]
    label: Int64[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.score)

    def __getitem__(self, index: Int64[np.ndarray, " m"] | Bool[np.ndarray, " n"] | slice) -> Segments:
        return Segments(self.span[index], self.score[index], self.label[index])


def joined(parts: list[Segments]) -> Segments:
    """All of them, one after the other."""
    if not parts:
        return Segments(np.zeros((0, 2)), np.zeros(0), np.zeros(0, np.int64))
    return Segments(*(np.concatenate([getattr(p, f) for p in parts]) for f in ("span", "score", "label")))


def suppressed(found: Segments, how: Suppression) -> Segments:
    """The segments that stay, the best first.

    Args:
        found: candidates.
        how: settings.
    """
    groups = [found[found.label == k] for k in np.unique(found.label)] if how.each_class else [found]
    kept = joined([_one(group, how) for group in groups if len(group)])
    if not how.each_class and how.voting > 0 and len(kept):
        kept = Segments(voted(kept.span, found, how.voting), kept.score, kept.label)
    return kept[np.argsort(-kept.score, kind="stable")[: how.max_segments]]


def _one(found: Segments, how: Suppression) -> Segments:
    score = found.score.astype(np.float64).copy()
    start, end = found.span[:, 0], found.span[:, 1]
    length = end - start + EPS
    alive = np.ones(len(found), bool) if how.method == "soft" else score > how.min_score
    picked: list[int] = []
    while alive.any() and len(picked) < how.max_segments:
        best = int(np.where(alive, score, -np.inf).argmax())
        picked.append(best)
        alive[best] = False
        inside = np.clip(np.minimum(end, end[best]) - np.maximum(start, start[best]), 0, None)
        overlap = inside / (length + length[best] - inside)
        if how.method == "soft":
            score = np.where(alive, score * np.exp(-(overlap**2) / how.sigma), score)
            alive &= score >= how.min_score
        else:
            alive &= overlap < how.iou_threshold
    chosen = np.array(picked, np.int64)
    return Segments(found.span[chosen], score[chosen], found.label[chosen])


def overlaps(a: Float[np.ndarray, "n 2"], b: Float[np.ndarray, "m 2"]) -> Float[np.ndarray, "n m"]:
    """Intersection over union of every pair; 0 for two spans without length."""
    inside = np.clip(np.minimum(a[:, None, 1], b[None, :, 1]) - np.maximum(a[:, None, 0], b[None, :, 0]), 0, None)
    union = (a[:, 1] - a[:, 0])[:, None] + (b[:, 1] - b[:, 0])[None] - inside
    return inside / np.maximum(union, 1e-12)


def voted(span: Float[np.ndarray, "n 2"], found: Segments, threshold: float) -> Float[np.ndarray, "n 2"]:
    """Each span as the mean of the candidates that overlap it by the threshold, weighted by score x overlap.

    Args:
        span: what was kept.
        found: the candidates.
        threshold: least overlap.
    """
    overlap = overlaps(span, found.span)
    weight = (overlap >= threshold) * overlap * found.score[None]
    total = weight.sum(1, keepdims=True)
    return np.where(total > 0, weight @ found.span / np.maximum(total, 1e-12), span)


def fused(found: Segments, classes: Float[np.ndarray, " k"], *, segments: int = 200, top: int = 2) -> Segments:
    """Proposals with the classes of an external video classifier: score = sqrt(class score x segment score).

    Args:
        found: proposals of one video.
        classes: the classifier's scores of the whole video, 0..1.
        segments: how many of the best proposals take part.
        top: how many of the best classes.
    """
    best = np.argsort(-classes, kind="stable")[:top].astype(np.int64)
    some = found[np.argsort(-found.score, kind="stable")[:segments]]
    parts = [Segments(some.span, np.sqrt(classes[k] * some.score), np.full(len(some), k, np.int64)) for k in best]
    return joined(parts)
