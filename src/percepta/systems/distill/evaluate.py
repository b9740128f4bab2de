"""How good the classifier is: accuracy, likelihood, calibration, and where the mistakes are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from percepta.contract import Batch, Block, Evaluation, Loader
from percepta.errors import InputError
from percepta.metrics import Metric, interval
from percepta.report import Gallery, Heading, Table, Text
from percepta.systems.distill.data import unit
from percepta.systems.distill.model import Classifier

BINS = 15
_PAPER, _INK, _BLUE, _RED, _LINE = (250, 250, 250), (34, 36, 42), (36, 104, 201), (208, 86, 42), (206, 210, 216)


def evaluate(model: Classifier, loader: Loader, *, examples: int = 0) -> Evaluation:
    """Accuracy, NLL and ECE with intervals, beside trivial answers; see `metrics`.

    Args:
        model: the network, in eval mode.
        loader: batches of {image, label}.
        examples: how many mistakes the blocks show, the most confident first; 0: no blocks.

    Raises:
        InputError: the loader gives no pictures.
    """
    found, classes = answers(model, loader, examples), model.config.classes
    numbers = metrics(found.probabilities, found.labels, classes)
    numbers |= when_sure(found.probabilities, found.labels, model.config.unsure_below)
    return Evaluation(numbers, blocks(found, classes, examples) if examples else ())


@dataclass(frozen=True)
class Mistake:
    """A wrong answer.

    Attributes:
        score: the probability of the answer, 0..1.
        place: of the picture in the data.
        answer, label: numbers of classes.
        pixels: the picture, RGB.
        name: of its file, or its number.
    """

    score: float
    place: int
    answer: int
    label: int
    pixels: UInt8[Tensor, "3 h w"]
    name: str = ""


@dataclass(frozen=True)
class Answers:
    """What a model answers to pictures.

    Attributes:
        probabilities: of every class.
        labels: numbers of the classes that the data give.
        mistakes: the wrong answers with the highest scores, the highest first.
    """

    probabilities: Float[np.ndarray, "n k"]
    labels: Int64[np.ndarray, " n"]
    mistakes: tuple[Mistake, ...] = ()


@torch.inference_mode()
def answers(model: Classifier, batches: Iterable[Batch], mistakes: int = 0) -> Answers:
    """What a model answers to every picture, and some of its mistakes.

    Args:
        model: the network, in eval mode.
        batches: of {image, label}.
        mistakes: how many of them are kept.

    Raises:
        InputError: there are no pictures.
    """
    probabilities: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    kept: list[Mistake] = []
    seen = 0
    for batch in batches:
        probability = model(unit(batch["image"])).logits.double().softmax(1).cpu().numpy()
        label, answer = batch["label"].cpu().numpy(), probability.argmax(1)
        for i in np.flatnonzero(answer != label) if mistakes else ():
            pixels = batch["image"][i].cpu()
            score, place = float(probability[i].max()), seen + int(i)
            name = batch["name"][i] if "name" in batch else str(place)
            kept.append(Mistake(score, place, int(answer[i]), int(label[i]), pixels, name))
        kept = sorted(kept, key=lambda mistake: (-mistake.score, mistake.place))[:mistakes]
        probabilities.append(probability)
        labels.append(label)
        seen += len(label)
    if not labels:
        raise InputError("no pictures to evaluate on (with held_out 0 nothing is kept for val); name another --split")
    return Answers(np.concatenate(probabilities), np.concatenate(labels), tuple(kept))


def metrics(
    probabilities: Float[np.ndarray, "n k"], labels: Int64[np.ndarray, " n"], classes: tuple[str, ...]
) -> dict[str, Metric]:
    """ "accuracy" (share of right first answers), "NLL" (mean −log p of the label), "ECE" (calibration error, 15 bins),
    each with a bootstrap interval over pictures; for up to 20 classes the accuracy of each.

    Baselines: the answer that is always the most frequent class, the share of every class as its probability, and
    answers with confidence 1.

    Args:
        probabilities: of every class, for every picture.
        labels: numbers of the right classes.
        classes: their names.
    """
    right, confidence = probabilities.argmax(1) == labels, probabilities.max(1)
    surprise = -np.log(probabilities[np.arange(len(labels)), labels].clip(1e-12))
    shares = np.bincount(labels, minlength=len(classes)) / len(labels)
    entropy = float(-(shares[shares > 0] * np.log(shares[shares > 0])).sum())
    constant = {"most frequent class": float(shares.max())}
    out = {
        "accuracy": Metric(float(right.mean()), *interval(right), len(labels), baselines=constant),
        "NLL": Metric(float(surprise.mean()), *interval(surprise), len(labels), baselines={"class shares": entropy}),
        "ECE": Metric(
            calibration_error(confidence, right),
            *_error_interval(confidence, right),
            len(labels),
            baselines={"confidence 1": float(1 - right.mean())},
        ),
    }
    if len(classes) <= 20:
        for number, name in enumerate(classes):
            own = right[labels == number]
            if len(own):
                out[f"accuracy {name}"] = Metric(float(own.mean()), *interval(own), len(own))
    return out


def when_sure(
    probabilities: Float[np.ndarray, "n k"], labels: Int64[np.ndarray, " n"], level: float
) -> dict[str, Metric]:
    """ "sure" (share of answers whose probability is at least the level) and "accuracy where sure"; none for level 0.

    Args:
        probabilities: of every class, for every picture.
        labels: numbers of the right classes.
        level: `config.unsure_below`.
    """
    if level == 0:
        return {}
    right, sure = probabilities.argmax(1) == labels, probabilities.max(1) >= level
    out = {"sure": Metric(float(sure.mean()), *interval(sure), len(sure))}
    own = right[sure]
    if len(own):
        out["accuracy where sure"] = Metric(
            float(own.mean()), *interval(own), len(own), baselines={"all answers": float(right.mean())}
        )
    return out


def calibration_error(confidence: Float[np.ndarray, " n"], right: Bool[np.ndarray, " n"], bins: int = BINS) -> float:
    """Expected calibration error (Guo et al. 2017, equation 3): over pictures, the mean of |mean right − mean
    confidence| in their bin.

    Args:
        confidence: the probability of the first answer, 0..1.
        right: whether it is right.
        bins: their number; they are of equal width, (0, 1/bins], (1/bins, 2/bins], ...
    """
    place = _bin(confidence, bins)
    gaps = np.bincount(place, np.asarray(right, float) - confidence, bins)
    return float(abs(gaps).sum() / len(confidence))


def _bin(confidence: Float[np.ndarray, " n"], bins: int) -> Int64[np.ndarray, " n"]:
    return (np.ceil(confidence * bins) - 1).clip(0, bins - 1).astype(np.int64)


def _error_interval(
    confidence: Float[np.ndarray, " n"], right: Bool[np.ndarray, " n"], draws: int = 500
) -> tuple[float, float]:
    """95 % bootstrap interval of the calibration error; widened to hold the value, which resampling only raises."""
    place, gap = _bin(confidence, BINS), np.asarray(right, float) - confidence
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(draws):
        pick = rng.integers(0, len(confidence), len(confidence))
        errors.append(abs(np.bincount(place[pick], gap[pick], BINS)).sum() / len(confidence))
    low, high = np.percentile(errors, [2.5, 97.5])
    value = calibration_error(confidence, right)
    return float(min(low, value)), float(max(high, value))


def blocks(found: Answers, classes: tuple[str, ...], examples: int) -> list[Block]:
    """What a page shows: confusions, reliability, the most frequent mistakes, and mistakes as pictures.

    Args:
        found: the answers.
        classes: names of the classes.
        examples: at most so many pictures in a gallery.
    """
    answer, confidence = found.probabilities.argmax(1), found.probabilities.max(1)
    pairs = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(pairs, (found.labels, answer), 1)
    plots = [
        (confusion(pairs, classes), "rows: label; columns: answer"),
        reliability(confidence, answer == found.labels),
    ]
    shown: list[Block] = [Heading("Where it is wrong"), Gallery(plots[:examples])]
    common = sorted(((pairs[a, b], a, b) for a, b in np.argwhere(pairs) if a != b), key=lambda row: -row[0])[:10]
    if common:
        rows = [[classes[a], classes[b], int(n), f"{n / pairs[a].sum():.1%}"] for n, a, b in common]
        shown.append(Table(["label", "answer", "pictures", "of the class"], rows, "Most frequent mistakes"))
        shown.append(Text("The wrong answers with the highest scores: a mistake, or a wrong label?"))
        shown.append(Gallery([(_picture(row), _caption(row, classes)) for row in found.mistakes]))
    return shown


def _picture(mistake: Mistake) -> Image.Image:
    picture = Image.fromarray(mistake.pixels.permute(1, 2, 0).contiguous().numpy())
    return picture.resize((192, 192), Image.Resampling.NEAREST)


def _caption(mistake: Mistake, classes: tuple[str, ...]) -> str:
    return f"{mistake.name}: {classes[mistake.answer]} ({mistake.score:.0%}), labelled {classes[mistake.label]}"


def confusion(pairs: Int64[np.ndarray, "k k"], classes: tuple[str, ...]) -> Image.Image:
    """The matrix as a picture: a row's cells add up to the class; names and counts where there is room for them."""
    count = len(classes)
    cell = max(4, min(54, 864 // count))
    font = ImageFont.load_default(12)
    written = cell >= 24
    left = 8 + (max(int(font.getlength(name)) for name in classes) if written else 0)
    canvas = Image.new("RGB", (left + count * cell + 8, count * cell + 34), _PAPER)
    pen = ImageDraw.Draw(canvas)
    share = pairs / pairs.sum(1, keepdims=True).clip(1)
    for row in range(count):
        for column in range(count):
            colour = _blend(_BLUE if row == column else _RED, float(share[row, column]) ** 0.5)
            x, y = left + column * cell, 8 + row * cell
            pen.rectangle((x, y, x + cell - 2, y + cell - 2), colour)
            if written and pairs[row, column]:
                ink = _PAPER if share[row, column] > 0.3 else _INK
                pen.text((x + cell / 2 - 1, y + cell / 2 - 1), str(pairs[row, column]), ink, font, anchor="mm")
        if written:
            pen.text((left - 6, 8 + (row + 0.5) * cell), classes[row], _INK, font, anchor="rm")
            name = classes[row]
            while name and font.getlength(name) > cell - 4:
                name = name[:-1]
            pen.text((left + (row + 0.5) * cell, 14 + count * cell), name, _INK, font, anchor="ma")
    return canvas


def reliability(confidence: Float[np.ndarray, " n"], right: Bool[np.ndarray, " n"]) -> tuple[Image.Image, str]:
    """The reliability plot and its caption: in every bin, how often answers of this confidence are right."""
    side, margin = 420, 34
    canvas = Image.new("RGB", (side + 2 * margin, side + 2 * margin), _PAPER)
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(12)
    place = _bin(confidence, BINS)
    count = np.bincount(place, minlength=BINS)
    hit = np.bincount(place, np.asarray(right, float), BINS) / count.clip(1)
    mean = np.bincount(place, confidence, BINS) / count.clip(1)
    bottom, width = margin + side, side / BINS
    for i in np.flatnonzero(count):
        x = margin + i * width
        pen.rectangle(
            (x + 1, bottom - hit[i] * side, x + width - 1, bottom), _blend(_BLUE, 0.25 + 0.75 * count[i] / count.max())
        )
        level = bottom - mean[i] * side
        pen.line((x + 1, level, x + width - 1, level), _RED, 2)
    pen.line((margin, bottom, margin + side, margin), _LINE, 1)
    pen.rectangle((margin, margin, margin + side, bottom), outline=_LINE)
    for value in (0.0, 0.5, 1.0):
        pen.text((margin + value * side, bottom + 6), f"{value:g}", _INK, font, anchor="mt")
        pen.text((margin - 6, bottom - value * side), f"{value:g}", _INK, font, anchor="rm")
    text = (
        "reliability: across, confidence of the answer; up, share that is right (red: where a calibrated one would be)"
    )
    return canvas, f"{text}; ECE {calibration_error(confidence, right):.3f}"


def _blend(colour: tuple[int, int, int], share: float) -> tuple[int, int, int]:
    r, g, b = (round(paper + share * (own - paper)) for own, paper in zip(colour, _PAPER, strict=True))
    return r, g, b
