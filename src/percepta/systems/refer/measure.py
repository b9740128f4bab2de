"""Numbers of an evaluation: mIoU, oIoU and Pr@50..90 by kind of sentence, beside answers that cost nothing.

CRIS and the work before it report the mean of the samples' IoUs ("IoU", here mIoU), LAVT and later work the overall one
(all intersections over all unions, oIoU, cIoU). The two cannot be compared, so both are printed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from percepta.metrics import Metric, interval
from percepta.metrics.masks import intersection_union, precision_at

NEUTRAL = "the thing"  # a sentence that says nothing: what the network takes when it is not told
KEPT = 0.9  # share of the present things whose score the threshold for "not found" keeps


@dataclass(frozen=True)
class Row:
    """One question's outcome.

    Attributes:
        overlap, union: pixels; trivial: IoU of every trivial answer by its name.
    """

    kind: str
    group: str
    present: bool
    score: float
    found: bool
    overlap: int
    union: int
    trivial: dict[str, float]
    choice: bool

    @property
    def iou(self) -> float:
        return self.overlap / self.union if self.union else 1.0


def measure(open_session: Callable[[Any], Any], loader: Iterable[dict[str, Any]]) -> dict[str, Metric]:
    """Asks every question of every batch of `data.Questions` and sums up.

    Args:
        open_session: picture -> object with `predict(sentences)` and `fit_map(sentence)` as `task.Session`.

    Returns:
        "mIoU <kind>" with an interval over groups (pictures or videos) and, as baselines, the IoU of a centred ellipse,
        of the network asked for "the thing", of a class-activation map, and of the network given another picture's
        sentence ("swapped"; on pictures with two or more things to choose from it is also a row of its own: "mIoU lost
        when swapped"); "oIoU <kind>"; over all present things "mIoU", "oIoU" and "Pr@50" … "Pr@90"; "not found"
        (share of absent things answered so at the network's own threshold, with the share of present ones kept as its
        baseline) and "not found at 90 % kept".
    """
    rows: list[Row] = []
    other = "the wheel of a bicycle"  # another picture's sentence, for the first
    for batch in loader:
        for i, picture in enumerate(batch["pictures"]):
            found = _picture(open_session(picture), batch, i, other)
            rows += found
            other = next((s for s in batch["sentences"][i] if s), other)
    return summary(rows)


def _picture(session: Any, batch: dict[str, Any], i: int, other: str) -> list[Row]:
    """The rows of one picture."""
    sentences, masks = batch["sentences"][i], batch["masks"][i]
    *answers, neutral, swapped = session.predict([*sentences, NEUTRAL, other])
    different = {m.tobytes() for m in masks if m.any()}
    out = []
    for sentence, kind, truth, answer in zip(sentences, batch["kinds"][i], masks, answers, strict=True):
        present = bool(truth.any())
        trivial: dict[str, float] = {}
        if present:
            trivial = {
                "ellipse": _iou(ellipse(*truth.shape), truth),
                "the thing": _iou(neutral.probability > 0.5, truth),
                "swapped": _iou(swapped.mask, truth),
            }
            activation = session.fit_map(sentence)
            if activation is not None:
                trivial["activation map"] = _iou(activation > (activation.max() + activation.min()) / 2, truth)
        overlap, union = intersection_union(answer.mask, truth)
        group, score = batch["groups"][i], float(answer.score)
        out.append(Row(kind, group, present, score, answer.found, overlap, union, trivial, len(different) > 1))
    return out


def _iou(mask: Bool[np.ndarray, "h w"], truth: Bool[np.ndarray, "h w"]) -> float:
    overlap, union = intersection_union(mask, truth)
    return overlap / union if union else 1.0


def ellipse(height: int, width: int) -> Bool[np.ndarray, "h w"]:
    """The ellipse in the middle whose axes are half the picture's sides."""
    y, x = np.mgrid[:height, :width]
    return ((y + 0.5) / height * 4 - 2) ** 2 + ((x + 0.5) / width * 4 - 2) ** 2 <= 1


def summary(rows: list[Row]) -> dict[str, Metric]:
    """The table of `measure` from its rows."""
    out: dict[str, Metric] = {}
    present = [r for r in rows if r.present]
    if present:
        out["mIoU"] = _mean([r.iou for r in present], present, _trivial(present))
        out["oIoU"] = Metric(overall(present), n=len(present))
        shares = precision_at([r.iou for r in present])
        out |= {f"Pr@{round(100 * at)}": Metric(value, n=len(present)) for at, value in shares.items()}
    kinds: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        kinds[row.kind].append(row)
    for kind, some in sorted(kinds.items()):
        here = [r for r in some if r.present]
        if here:
            out[f"mIoU {kind}"] = _mean([r.iou for r in here], here, _trivial(here))
            out[f"oIoU {kind}"] = Metric(overall(here), n=len(here))
    choice = [r for r in present if r.choice]
    if choice:
        lost = [r.iou - r.trivial["swapped"] for r in choice]
        out["mIoU lost when swapped"] = _mean(lost, choice, {})
    absent = [r for r in rows if not r.present]
    if absent and present:
        kept = float(np.mean([r.found for r in present]))
        out["not found"] = _mean([float(not r.found) for r in absent], absent, {"present kept": kept})
        limit = np.quantile([r.score for r in present], 1 - KEPT)
        out["not found at 90 % kept"] = _mean([float(r.score < limit) for r in absent], absent, {"chance": 1 - KEPT})
    return out


def overall(rows: list[Row]) -> float:
    """All intersections over all unions."""
    return sum(r.overlap for r in rows) / max(1, sum(r.union for r in rows))


def _trivial(rows: list[Row]) -> dict[str, float]:
    names = {name for r in rows for name in r.trivial}
    order = [n for n in ("ellipse", "the thing", "activation map", "swapped") if n in names]
    return {name: float(np.mean([r.trivial[name] for r in rows])) for name in order}


def _mean(values: list[float] | Float[np.ndarray, " n"], rows: list[Row], baselines: dict[str, float]) -> Metric:
    low, high = interval(values, [r.group for r in rows])
    return Metric(float(np.mean(values)), low, high, len(rows), baselines=baselines)
