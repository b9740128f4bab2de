"""Numbers of an evaluation: mIoU, oIoU and Pr@50..90 by kind of sentence, beside answers that cost nothing; how often
what is there and what is not there is found; how well scores are shares of right answers; how well things are counted.

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
from percepta.report import Block, Dots, Gallery, Heading, Table
from percepta.systems.refer.model import config_of
from percepta.systems.refer.predict import Result, open_session

FOUND = "found, "  # what the kinds of `data.promises` begin with
BINS = 10  # of scores, for the reliability
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
        fit: highest fit of the sentence with a place by the encoders alone; none for the paper's network.
        things: how many things fit; 0: not known.
        counted: how many things the network marks apart, where it was asked to.
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
    fit: float = float("nan")
    things: int = 0
    counted: int = 0

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
    if examples and (promised := [r for r in rows if r.kind.startswith(FOUND)]):
        blocks += [Heading("Scores and shares of right answers"), Table(RELIABILITY, reliability(promised))]
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
    none = [""] * len(sentences)
    things, bare = (batch[name][i] if name in batch else none for name in ("counts", "bare"))
    asked = list(dict.fromkeys([*sentences, *filter(None, bare), other]))
    # a few at a time: the network's memory grows with them
    answers = {a.sentence: a for at in range(0, len(asked), 8) for a in session.predict(asked[at : at + 8])}
    different = {mask.tobytes() for mask in masks if mask.any()}
    rows = []
    for j, (sentence, kind, truth) in enumerate(zip(sentences, batch["kinds"][i], masks, strict=True)):
        answer, present = answers[sentence], bool(truth.any())
        activation = session.activation_map(sentence)
        trivial: dict[str, float] = {}
        if present and not kind.startswith(FOUND):
            trivial = {"ellipse": iou(ellipse(*truth.shape), truth), "swapped": iou(answers[other].mask, truth)}
            if activation is not None:
                trivial["activation map"] = iou(activation > (activation.max() + activation.min()) / 2, truth)
            if bare[j]:
                trivial["without the side"] = iou(answers[bare[j]].mask, truth)
        overlap, union = intersection_union(answer.mask, truth)
        count = int(things[j] or 0)
        rows.append(
            Row(
                kind, batch["groups"][i], present, float(answer.score), answer.found, overlap, union, trivial,
                len(different) > 1, float("nan") if activation is None else float(activation.max()), count,
                len(session.predict(sentence, every=True)) if 2 <= count <= 5 else 0,
            )
        )  # fmt: skip
    return rows, [answers[sentence] for sentence in sentences]


def ellipse(height: int, width: int) -> Bool[np.ndarray, "h w"]:
    """The ellipse in the middle whose axes are half the picture's sides."""
    y, x = np.mgrid[:height, :width]
    return ((y + 0.5) / height * 4 - 2) ** 2 + ((x + 0.5) / width * 4 - 2) ** 2 <= 1


def summary(rows: list[Row]) -> dict[str, Metric]:
    """The metrics of some rows.

    Returns:
        "mIoU <kind>" with an interval over groups (pictures or videos) and, as baselines, the IoU of a centred ellipse,
        of a class-activation map, and of the network given another picture's sentence ("swapped"; on pictures with two
        or more things to choose from it is also a row of its own: "mIoU lost when swapped"), for sides also of the
        network that is not told the side; "oIoU <kind>"; over all present things "mIoU", "oIoU" and "Pr@50" … "Pr@90";
        "not found" (share of absent things answered so at the network's own threshold, with the share of present ones
        kept as its baseline) and "not found at 90 % kept"; and what `promised` gives.
    """
    out: dict[str, Metric] = {}
    plain = [r for r in rows if not r.kind.startswith(FOUND)]
    present = [r for r in plain if r.present]
    if present:
        out["mIoU"] = _mean([r.iou for r in present], present, _trivial(present))
        out["oIoU"] = Metric(_overall(present), n=len(present))
        shares = precision_at([r.iou for r in present])
        out |= {f"Pr@{round(100 * at)}": Metric(value, n=len(present)) for at, value in shares.items()}
    kinds: dict[str, list[Row]] = defaultdict(list)
    for row in plain:
        kinds[row.kind].append(row)
    for kind, some in sorted(kinds.items()):
        here = [r for r in some if r.present]
        if here:
            out[f"mIoU {kind}"] = _mean([r.iou for r in here], here, _trivial(here))
            out[f"oIoU {kind}"] = Metric(_overall(here), n=len(here))
    sides = [r for r in present if "without the side" in r.trivial]
    if sides:
        gain = [r.iou - r.trivial["without the side"] for r in sides]
        out["mIoU gained by the side"] = _mean(gain, sides, {})
    choice = [r for r in present if r.choice]
    if choice:
        lost = [r.iou - r.trivial["swapped"] for r in choice]
        out["mIoU lost when swapped"] = _mean(lost, choice, {})
    absent = [r for r in plain if not r.present]
    if absent and present:
        kept = float(np.mean([r.found for r in present]))
        out["not found"] = _mean([float(not r.found) for r in absent], absent, {"present kept": kept})
        limit = np.quantile([r.score for r in present], 1 - KEPT)
        out["not found at 90 % kept"] = _mean([float(r.score < limit) for r in absent], absent, {"chance": 1 - KEPT})
    return out | promised([r for r in rows if r.kind.startswith(FOUND)])


def promised(rows: list[Row]) -> dict[str, Metric]:
    """How often what is there, and what is not, is found, how far scores are from shares, and how far counts are off.

    Args:
        rows: of the kinds of `data.promises`.

    Returns:
        "<kind>", the share found, beside answers that find as often whatever is asked ("by chance") and the
        class-activation map with a threshold that finds as much of what is there; "calibration error" (mean distance
        of scores from shares of `reliability`); "count error"
        on pictures with two to five of a class, beside always answering one, and always two.
    """
    if not rows:
        return {}
    out: dict[str, Metric] = {}
    there = np.array([r.present for r in rows])
    found, fit = np.array([r.found for r in rows]), np.array([r.fit for r in rows])
    chance = float((found[there].mean() if there.any() else 0) + (found[~there].mean() if (~there).any() else 0)) / 2
    limit = np.quantile(fit[there], 1 - found[there].mean()) if there.any() else np.nan
    for kind in sorted({r.kind for r in rows}):
        some = [r for r in rows if r.kind == kind]
        baselines = {"by chance": chance}
        if np.isfinite(limit):
            baselines["activation map"] = float(np.mean([r.fit >= limit for r in some]))
        out[kind] = _mean([float(r.found) for r in some], some, baselines)
    if there.any() and not there.all():
        bins = reliability(rows)
        error = sum(weight * abs(score - share) for _, weight, score, share in bins)
        out["calibration error"] = Metric(float(error), n=len(rows))
    several = [r for r in rows if 2 <= r.things <= 5]
    if several:
        off = {n: float(np.mean([abs(r.things - n) for r in several])) for n in (1, 2)}
        values = [float(abs(r.counted - r.things)) for r in several]
        out["count error"] = _mean(values, several, {"always one": off[1], "always two": off[2]})
    return out


RELIABILITY = ["score", "share of the answers", "mean score", "share of right answers"]


def reliability(rows: list[Row]) -> list[tuple[str, float, float, float]]:
    """Of the answers with scores in each tenth: how many they are, their mean score, and how often the thing is there.

    What is there counts as much as what is not, as if half of all sentences were true.
    """
    there = np.array([r.present for r in rows])
    score = np.array([r.score for r in rows])
    weight = np.where(there, 0.5 / max(there.sum(), 1), 0.5 / max((~there).sum(), 1))
    place = np.minimum((score * BINS).astype(int), BINS - 1)
    out = []
    for i in range(BINS):
        here = place == i
        if here.any():
            total = float(weight[here].sum())
            mean, share = (float((weight[here] * x[here]).sum()) / total for x in (score, there))
            out.append((f"{i / BINS:.1f} to {(i + 1) / BINS:.1f}", total / float(weight.sum()), mean, share))
    return out


def _overall(rows: list[Row]) -> float:
    return overall_iou([r.overlap for r in rows], [r.union for r in rows])


def _trivial(rows: list[Row]) -> dict[str, float]:
    names = {name for r in rows for name in r.trivial}
    order = [n for n in ("ellipse", "activation map", "swapped", "without the side") if n in names]
    some = {name: [r.trivial[name] for r in rows if name in r.trivial] for name in order}
    return {name: float(np.mean(values)) for name, values in some.items() if len(values) == len(rows)}


def _mean(values: list[float] | Float[np.ndarray, " n"], rows: list[Row], baselines: dict[str, float]) -> Metric:
    low, high = interval(values, [r.group for r in rows])
    return Metric(float(np.mean(values)), low, high, len(rows), baselines=baselines)
