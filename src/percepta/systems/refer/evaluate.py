"""Numbers of an evaluation: mIoU, oIoU and Pr@50..90 by kind of sentence, beside answers that cost nothing.

CRIS and the work before it report the mean of the samples' IoUs ("IoU", here mIoU), LAVT and later work the overall one
(all intersections over all unions, oIoU, cIoU). The two cannot be compared, so both are printed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from torch import nn

from percepta.contract import Batch, Evaluation, Loader
from percepta.metrics import Metric, interval
from percepta.metrics.masks import intersection_union, iou, overall_iou, precision_at
from percepta.report import Block, Dots, Gallery, Heading
from percepta.systems.refer.model import config_of
from percepta.systems.refer.predict import Result, open_session

NEUTRAL = "the thing"  # a sentence that says nothing: what the network takes when it is not told
KEPT = 0.9  # share of the present things whose score the threshold for "not found" keeps


@dataclass(frozen=True)
class Row:
    """One question's outcome.

    Attributes:
        kind: of the sentence: data set and "class", "sentence", "absent", ...
        group: what belongs together when an interval is drawn: the picture or the video.
        present: whether the thing is in the picture.
        score: how sure the network is that it is.
        found: whether the network answers that it is.
        overlap: pixels in both masks.
        union: pixels in either.
        trivial: IoU of every trivial answer by its name.
        choice: whether the picture has two or more things to choose from.
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


def evaluate(model: nn.Module, loader: Loader, *, examples: int = 0) -> Evaluation:
    """Asks every question of every picture once, with the thresholds of the design.

    Args:
        model: a network of `model.build`.
        loader: batches of `data.Questions` or of the synthetic world.
        examples: how many answers the blocks show; 0: no blocks.

    Returns:
        The metrics of `summary`; where examples are asked for, a plot of the mIoU of each kind of sentence, and answers
        spread over the data.
    """
    rows, answers = collect(lambda picture: open_session(model, config_of(model), picture), loader, examples)
    metrics = summary(rows)
    kinds = {name: metric for name, metric in metrics.items() if name.startswith("mIoU ") and metric.baselines}
    blocks: list[Block] = []
    if examples and kinds:
        blocks.append(Dots("mIoU by kind of sentence, beside answers that cost nothing", kinds))
    if answers:
        blocks += [Heading("Answers"), Gallery(answers)]
    return Evaluation(metrics, blocks)


def collect(
    open_session: Callable[[Any], Any], loader: Collection[Batch] | Loader, examples: int = 0
) -> tuple[list[Row], list[tuple[Result, str]]]:
    """Asks every question.

    Args:
        open_session: picture -> an object with `predict(sentences)` and `activation_map(sentence)` as
            `predict.Session`.
        loader: batches {pictures, sentences, kinds, masks, groups} of lists with one entry a picture.
        examples: how many answers to keep.

    Returns:
        A row for every question; at most `examples` answers with a line of text, from batches spread over the data.
    """
    rows: list[Row] = []
    answers: list[tuple[Result, str]] = []
    chosen = {int(number) for number in np.linspace(0, len(loader) - 1, examples)} if len(loader) else set()
    other = "the wheel of a bicycle"  # another picture's sentence, for the first
    for number, batch in enumerate(loader):
        for i, picture in enumerate(batch["pictures"]):
            found, results = _picture(open_session(picture), batch, i, other)
            rows += found
            other = next((sentence for sentence in batch["sentences"][i] if sentence), other)
            if i == 0 and number in chosen and found:
                turn = len(answers) % len(found)  # not always the first question
                row, result = found[turn], results[turn]
                text = f"IoU {row.iou:.2f}" if row.present else "not in the picture"
                answers.append((result, f"{row.kind}: {text}"))
    return rows, answers


def _picture(session: Any, batch: Batch, i: int, other: str) -> tuple[list[Row], list[Any]]:
    """The rows of one picture, and its answers."""
    sentences, masks = batch["sentences"][i], batch["masks"][i]
    *answers, neutral, swapped = session.predict([*sentences, NEUTRAL, other])
    different = {mask.tobytes() for mask in masks if mask.any()}
    rows = []
    for sentence, kind, truth, answer in zip(sentences, batch["kinds"][i], masks, answers, strict=True):
        present = bool(truth.any())
        trivial: dict[str, float] = {}
        if present:
            trivial = {
                "ellipse": iou(ellipse(*truth.shape), truth),
                "the thing": iou(neutral.probability > 0.5, truth),
                "swapped": iou(swapped.mask, truth),
            }
            activation = session.activation_map(sentence)
            if activation is not None:
                trivial["activation map"] = iou(activation > (activation.max() + activation.min()) / 2, truth)
        overlap, union = intersection_union(answer.mask, truth)
        group, score = batch["groups"][i], float(answer.score)
        rows.append(Row(kind, group, present, score, answer.found, overlap, union, trivial, len(different) > 1))
    return rows, answers


def ellipse(height: int, width: int) -> Bool[np.ndarray, "h w"]:
    """The ellipse in the middle whose axes are half the picture's sides."""
    y, x = np.mgrid[:height, :width]
    return ((y + 0.5) / height * 4 - 2) ** 2 + ((x + 0.5) / width * 4 - 2) ** 2 <= 1


def summary(rows: list[Row]) -> dict[str, Metric]:
    """The metrics of some rows.

    Returns:
        "mIoU <kind>" with an interval over groups (pictures or videos) and, as baselines, the IoU of a centred ellipse,
        of the network asked for "the thing", of a class-activation map, and of the network given another picture's
        sentence ("swapped"; on pictures with two or more things to choose from it is also a row of its own: "mIoU lost
        when swapped"); "oIoU <kind>"; over all present things "mIoU", "oIoU" and "Pr@50" … "Pr@90"; "not found"
        (share of absent things answered so at the network's own threshold, with the share of present ones kept as its
        baseline) and "not found at 90 % kept".
    """
    out: dict[str, Metric] = {}
    present = [r for r in rows if r.present]
    if present:
        out["mIoU"] = _mean([r.iou for r in present], present, _trivial(present))
        out["oIoU"] = Metric(_overall(present), n=len(present))
        shares = precision_at([r.iou for r in present])
        out |= {f"Pr@{round(100 * at)}": Metric(value, n=len(present)) for at, value in shares.items()}
    kinds: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        kinds[row.kind].append(row)
    for kind, some in sorted(kinds.items()):
        here = [r for r in some if r.present]
        if here:
            out[f"mIoU {kind}"] = _mean([r.iou for r in here], here, _trivial(here))
            out[f"oIoU {kind}"] = Metric(_overall(here), n=len(here))
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


def _overall(rows: list[Row]) -> float:
    return overall_iou([r.overlap for r in rows], [r.union for r in rows])


def _trivial(rows: list[Row]) -> dict[str, float]:
    names = {name for r in rows for name in r.trivial}
    order = [n for n in ("ellipse", "the thing", "activation map", "swapped") if n in names]
    return {name: float(np.mean([r.trivial[name] for r in rows])) for name in order}


def _mean(values: list[float] | Float[np.ndarray, " n"], rows: list[Row], baselines: dict[str, float]) -> Metric:
    low, high = interval(values, [r.group for r in rows])
    return Metric(float(np.mean(values)), low, high, len(rows), baselines=baselines)
