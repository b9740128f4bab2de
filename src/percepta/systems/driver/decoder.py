"""From class probabilities a second to spans: the most probable sequence, by dynamic programming.

A recording is cut into spans; normal driving (class 0) may last as long as it likes, an activity has a length with a
log-normal prior, and the k-th span of the same activity costs `again` more than the first (a soft prior: in the
challenge's tables 97 % of activities occur once a view). Without that last term the best segmentation is found exactly:

    best[t] = max over class c and length d of best[t - d] + sum of log p(c) over t-d..t + log prior(d | c)

The term "once a video" couples spans that lie far apart. It is met by Lagrangian steps: classes that occur more than
once get a price, and the segmentation is found anew until nothing changes or the price is `again`; what occurs twice at
that price is kept, since the pictures speak for it by more than the prior against it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from percepta.systems.driver import Config

EPS = 1e-6


@dataclass(frozen=True)
class Lengths:
    """How long activities last.

    Attributes:
        mean: of the logarithm of seconds, a class; entry 0 is not used.
        deviation: of the same.
    """

    mean: Float[np.ndarray, " k"]
    deviation: Float[np.ndarray, " k"]

    @classmethod
    def of(cls, config: Config) -> Lengths:
        """What a network's settings say."""
        usual = cls.usual(len(config.labels))
        return cls(
            np.log(np.array(config.length_s)) if config.length_s else usual.mean,
            np.array(config.length_deviation) if config.length_deviation else usual.deviation,
        )

    @classmethod
    def usual(cls, classes: int, seconds: float = 12.0, deviation: float = 0.6) -> Lengths:
        """The same for every class.

        Args:
            classes: how many, normal driving among them.
            seconds: the usual length.
            deviation: of its logarithm.
        """
        return cls(np.full(classes, np.log(seconds)), np.full(classes, deviation))

    def log_prior(self, label: int, seconds: Float[np.ndarray, " d"]) -> Float[np.ndarray, " d"]:
        """Logarithm of the density at some lengths, up to a constant."""
        z = (np.log(seconds) - self.mean[label]) / self.deviation[label]
        return -0.5 * z**2 - np.log(self.deviation[label])


@dataclass(frozen=True)
class Found:
    """A span of one class.

    Attributes:
        label: the class.
        start, end: places in the sequence, `end` behind the last.
        score: mean probability of the class in it.
    """

    label: int
    start: int
    end: int
    score: float


@dataclass(frozen=True)
class Activity:
    """An activity of a drive.

    Attributes:
        label: place in the list of classes.
        start_s, end_s: seconds.
        score: mean probability of the class in it.
    """

    label: int
    start_s: float
    end_s: float
    score: float


def in_seconds(found: list[Found], fps: float | int, duration_s: float | int) -> list[Activity]:
    """Spans of places as seconds: a border lies midway between the last moment without and the first with.

    Args:
        found: spans of places.
        fps: places a second.
        duration_s: of the drive.
    """
    rows = []
    for x in found:
        start = max(0.0, (x.start - 0.5) / fps) if x.start else 0.0
        rows.append(Activity(x.label, start, min(float(duration_s), (x.end - 0.5) / fps), x.score))
    return rows


def activities(probability: Float[np.ndarray, "t k"], config: Config, duration_s: float | int) -> list[Activity]:
    """The activities of a drive, decoded as its settings say.

    Args:
        probability: of each class at each moment.
        config: settings.
        duration_s: of the drive.
    """
    how = config.decoding
    found = decoded(
        probability, Lengths.of(config), 1 / config.fps, enter=how.enter, again=how.again, longest_s=how.longest_s,
        weight=how.weight,
    )  # fmt: skip
    return in_seconds(found, config.fps, duration_s)


def decoded(
    probability: Float[np.ndarray, "t k"],
    lengths: Lengths,
    step_s: float | int = 1.0,
    *,
    enter: float | int = 3.0,
    again: float | int = 4.0,
    longest_s: float | int = 45.0,
    weight: float | int = 1.0,
) -> list[Found]:
    """The activities of a recording, in order; normal driving is left out.

    Args:
        probability: of each class at each step, rows with the sum 1; class 0 is normal driving.
        lengths: prior of lengths.
        step_s: seconds of a step.
        enter: cost of each activity, in units of log probability.
        again: highest additional cost of each where its class occurs more than once.
        longest_s: of an activity.
        weight: of the log probabilities, which neighbouring steps share.
    """
    t, k = probability.shape
    if not t:
        return []
    logs = weight * np.log(np.clip(probability, EPS, 1.0))
    gain = np.concatenate([np.zeros((1, k)), np.cumsum(logs - logs[:, :1], 0)])  # over normal driving
    most = max(1, min(t, round(longest_s / step_s)))
    seconds = np.arange(1, most + 1) * step_s
    prior = np.stack([lengths.log_prior(label, seconds) - enter for label in range(k)])
    price = np.zeros(k)
    best: list[Found] = []
    for _ in range(12):
        best = _segmented(gain, prior - price[:, None], probability)
        count = Counter(one.label for one in best)
        raised = [label for label, n in count.items() if n > 1 and price[label] < again]
        if not raised:
            break
        for label in raised:
            price[label] = min(again, price[label] + again / 4)
    return _without_needless_price(gain, prior, price, probability, best)


def _segmented(
    gain: Float[np.ndarray, "t1 k"], prior: Float[np.ndarray, "k d"], probability: Float[np.ndarray, "t k"]
) -> list[Found]:
    """The best segmentation of independent spans."""
    t, k, most = len(gain) - 1, gain.shape[1], prior.shape[1]
    value, back = np.zeros(t + 1), np.zeros((t + 1, 2), np.int64)
    for end in range(1, t + 1):
        value[end], back[end] = value[end - 1], (0, 1)
        d = min(most, end)
        before = end - 1 - np.arange(d)
        options = value[before][None] + (gain[end][:, None] - gain[before].T) + prior[:, :d]
        options[0] = -np.inf
        label, length = np.unravel_index(int(options.argmax()), options.shape)
        if k > 1 and options[label, length] > value[end]:
            value[end], back[end] = options[label, length], (label, length + 1)
    found, end = [], t
    while end > 0:
        label, length = (int(x) for x in back[end])
        if label:
            score = float(probability[end - length : end, label].mean())
            found.append(Found(label, end - length, end, score))
        end -= length
    return found[::-1]


def _without_needless_price(
    gain: Float[np.ndarray, "t1 k"],
    prior: Float[np.ndarray, "k d"],
    price: Float[np.ndarray, " k"],
    probability: Float[np.ndarray, "t k"],
    best: list[Found],
) -> list[Found]:
    """Classes whose price drove out their only span get one back: the price is meant for the second, not the first."""
    lost = [k for k in np.flatnonzero(price) if not any(one.label == k for one in best)]
    if not lost:
        return best
    relaxed = price.copy()
    relaxed[lost] = 0.0
    again = _segmented(gain, prior - relaxed[:, None], probability)
    kept = [one for one in again if one.label not in lost]
    for label in lost:
        some = [one for one in again if one.label == label]
        if some:
            kept.append(max(some, key=lambda one: gain[one.end, label] - gain[one.start, label]))
    return sorted(kept, key=lambda one: one.start)


def recipe(
    probability: Float[np.ndarray, "t k"],
    step_s: float = 1.0,
    *,
    score_threshold: float = 0.3,
    gap_s: float = 8.0,
    shortest_s: float = 2.0,
    short_classes: tuple[int, ...] = (9, 10),
) -> list[Found]:
    """The published recipe, a level to compare with: smooth, threshold, join, drop short ones, one span a class.

    Args:
        probability: of each class at each step.
        step_s: seconds of a step.
        score_threshold: least probability.
        gap_s: spans of a class that are no farther apart are joined.
        shortest_s: shorter spans are dropped, except of `short_classes`.
        short_classes: picking things up from the floor.
    """
    kernel = np.ones(3) / 3
    found = []
    for label in range(1, probability.shape[1]):
        smooth = np.convolve(np.pad(probability[:, label], 1, mode="edge"), kernel, "valid")
        on = np.flatnonzero((smooth >= score_threshold) & (smooth >= probability.max(1) - 1e-9 - 0.2))
        runs = np.split(on, np.flatnonzero(np.diff(on) * step_s > gap_s) + 1) if len(on) else []
        some = [Found(label, int(r[0]), int(r[-1]) + 1, float(smooth[r[0] : r[-1] + 1].mean())) for r in runs]
        some = [x for x in some if (x.end - x.start) * step_s > shortest_s or label in short_classes]
        if some:
            found.append(max(some, key=lambda x: x.score * (x.end - x.start)))
    return sorted(found, key=lambda one: one.start)
