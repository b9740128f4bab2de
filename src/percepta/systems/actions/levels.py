"""Levels that a localiser has to beat: a classifier of single vectors with a threshold, and the prior of classes.

The classifier is a ridge regression from a feature vector to its class or none, fitted on the samples of "train". Runs
of vectors whose class is above the threshold become segments, with gaps of at most a second closed; the score is the
mean.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from percepta.systems.actions.features import Sample
from percepta.systems.actions.suppress import Segments, joined

THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6)


@dataclass(frozen=True)
class FrameClassifier:
    """A ridge regression of single vectors.

    Attributes:
        weight: of channels, the constant last.
        mean, deviation: of the channels.
        prior: share of each class among the spans.
        length_s: mean length of a span of each class.
    """

    weight: Float[np.ndarray, "c1 k"]
    mean: Float[np.ndarray, " c"]
    deviation: Float[np.ndarray, " c"]
    prior: Float[np.ndarray, " k"]
    length_s: Float[np.ndarray, " k"]

    def scores(self, features: Float[np.ndarray, "t c"]) -> Float[np.ndarray, "t k"]:
        """Of each class at each vector, smoothed over five vectors."""
        x = (features - self.mean) / self.deviation
        raw = np.concatenate([x, np.ones((len(x), 1), x.dtype)], 1) @ self.weight
        kernel = np.ones(5) / 5
        return np.stack([np.convolve(np.pad(column, 2, mode="edge"), kernel, "valid") for column in raw.T], 1)

    def segments(self, sample: Sample) -> Segments:
        """Runs above each of some thresholds, so that a whole curve of precision and recall comes out."""
        score = self.scores(sample.features.numpy().T)
        parts = []
        gap = max(1, round(1.0 / sample.scale))
        for k in range(score.shape[1]):
            for least in THRESHOLDS:
                on = np.flatnonzero(score[:, k] >= least)
                for run in np.split(on, np.flatnonzero(np.diff(on) > gap) + 1) if len(on) else ():
                    span = np.array(
                        [[run[0] * sample.scale + sample.shift, (run[-1] + 1) * sample.scale + sample.shift]]
                    )
                    mean = np.array([score[run[0] : run[-1] + 1, k].mean()])
                    parts.append(Segments(span, mean, np.array([k], np.int64)))
        return joined(parts)

    def guesses(self, duration_s: float) -> Segments:
        """The class prior: spans of the usual length at even places, scored by how frequent their class is."""
        parts = []
        for k, (p, length) in enumerate(zip(self.prior, self.length_s, strict=True)):
            starts = np.arange(0, max(duration_s - length, 1e-3), max(length / 2, 0.5))
            span = np.stack([starts, starts + length], 1)
            parts.append(Segments(span, np.full(len(starts), p), np.full(len(starts), k, np.int64)))
        return joined(parts)


def fitted(samples: Iterable[Sample], classes: int, ridge: float = 100.0) -> FrameClassifier:
    """The classifier of some samples.

    Args:
        samples: of "train".
        classes: how many.
        ridge: weight of the penalty.
    """
    xs, ys, count, lengths = [], [], Counter(), Counter()
    for sample in samples:
        x = sample.features.numpy().T
        y = np.zeros((len(x), classes), np.float32)
        time = np.arange(len(x)) * sample.scale + sample.shift + sample.scale / 2
        for (start, end), label in zip(sample.spans_s, sample.labels, strict=True):
            y[(time >= start) & (time < end), label] = 1
            count[label] += 1
            lengths[label] += end - start
        xs.append(x[::2])
        ys.append(y[::2])
    x, y = np.concatenate(xs), np.concatenate(ys)
    mean, deviation = x.mean(0), x.std(0) + 1e-3
    x = np.concatenate([(x - mean) / deviation, np.ones((len(x), 1), x.dtype)], 1)
    weight = np.linalg.solve(x.T @ x + ridge * np.eye(x.shape[1], dtype=x.dtype), x.T @ y)
    total = max(1, sum(count.values()))
    prior = np.array([count[k] / total for k in range(classes)])
    length = np.array([lengths[k] / count[k] if count[k] else 5.0 for k in range(classes)])
    return FrameClassifier(weight, mean, deviation, prior, length)
