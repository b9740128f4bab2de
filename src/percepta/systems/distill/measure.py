"""Numbers and pictures of an evaluation: accuracy, likelihood, calibration, and where the mistakes are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from percepta.errors import InputError
from percepta.metrics import Metric, interval
from percepta.systems.distill.data import unit

BINS = 15
_PAPER, _INK, _BLUE, _RED, _LINE = (250, 250, 250), (34, 36, 42), (36, 104, 201), (208, 86, 42), (206, 210, 216)


@torch.inference_mode()
def answers(
    model: nn.Module, loader: Iterable[dict[str, Any]]
) -> tuple[Float[np.ndarray, "n k"], Int64[np.ndarray, " n"]]:
    """Probabilities of every picture that a loader gives, and the labels.

    Raises:
        InputError: it gives none.
    """
    logits: list[Tensor] = []
    labels: list[Tensor] = []
    for batch in loader:
        logits.append(model(unit(batch["image"])).logits.double().cpu())
        labels.append(batch["label"].cpu())
    if not labels:
        raise InputError("no pictures to measure on (with held_out 0 nothing is kept for val); name another --split")
    return torch.cat(logits).softmax(1).numpy(), torch.cat(labels).numpy()


def measure(
    probabilities: Float[np.ndarray, "n k"], labels: Int64[np.ndarray, " n"], classes: tuple[str, ...]
) -> dict[str, Metric]:
    """ "accuracy" (share of right first answers), "NLL" (mean −log p of the label), "ECE" (calibration error, 15 bins),
    each with a bootstrap interval over pictures; for up to 20 classes the accuracy of each.

    Beside them: the answer that is always the most frequent class, and the share of every class as its probability.
    """
    right = probabilities.argmax(1) == labels
    surprise = -np.log(probabilities[np.arange(len(labels)), labels].clip(1e-12))
    shares = np.bincount(labels, minlength=len(classes)) / len(labels)
    entropy = float(-(shares[shares > 0] * np.log(shares[shares > 0])).sum())
    constant = {"most frequent class": float(shares.max())}
    out = {
        "accuracy": Metric(float(right.mean()), *interval(right), len(labels), baselines=constant),
        "NLL": Metric(float(surprise.mean()), *interval(surprise), len(labels), baselines={"class shares": entropy}),
        "ECE": Metric(
            calibration_error(probabilities.max(1), right),
            *_error_interval(probabilities.max(1), right),
            len(labels),
            baselines={"always sure": float(1 - right.mean())},
        ),
    }
    if len(classes) <= 20:
        for number, name in enumerate(classes):
            own = right[labels == number]
            if len(own):
                out[f"accuracy {name}"] = Metric(float(own.mean()), *interval(own), len(own))
    return out


def calibration_error(sure: Float[np.ndarray, " n"], right: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error (Guo et al. 2017, equation 3): Σ over bins of their share · |mean right − mean sure|.

    Args:
        sure: the probability of the first answer, 0..1; bins are of equal width, (0, 1/bins], (1/bins, 2/bins], ...
        right: whether it is right.
    """
    place = _bin(sure, bins)
    gaps = np.bincount(place, np.asarray(right, float) - sure, bins)
    return float(abs(gaps).sum() / len(sure))


def _bin(sure: Float[np.ndarray, " n"], bins: int) -> Int64[np.ndarray, " n"]:
    return (np.ceil(sure * bins) - 1).clip(0, bins - 1).astype(np.int64)


def _error_interval(sure: Float[np.ndarray, " n"], right: np.ndarray, draws: int = 500) -> tuple[float, float]:
    """95 % bootstrap interval of the calibration error; widened to hold the value, which resampling only raises."""
    place, gap = _bin(sure, BINS), np.asarray(right, float) - sure
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(draws):
        pick = rng.integers(0, len(sure), len(sure))
        errors.append(abs(np.bincount(place[pick], gap[pick], BINS)).sum() / len(sure))
    low, high = np.percentile(errors, [2.5, 97.5])
    value = calibration_error(sure, right)
    return float(min(low, value)), float(max(high, value))


def page(
    probabilities: Float[np.ndarray, "n k"],
    labels: Int64[np.ndarray, " n"],
    pixels: UInt8[Tensor, "n 3 s s"],
    classes: tuple[str, ...],
    worst: int = 16,
) -> list[Any]:
    """What a report shows, for `report.Page.extend`: confusions, reliability, the worst mistakes as pictures."""
    answer = probabilities.argmax(1)
    sure = probabilities.max(1)
    wrong = np.flatnonzero(answer != labels)
    order = wrong[np.argsort(-sure[wrong], kind="stable")][:worst]
    shown = []
    for i in order:
        picture = Image.fromarray(pixels[int(i)].permute(1, 2, 0).contiguous().numpy())
        text = f"{classes[answer[i]]} ({sure[i]:.0%}), labelled {classes[labels[i]]}"
        shown.append((picture.resize((192, 192), Image.Resampling.NEAREST), text))
    pairs = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(pairs, (labels, answer), 1)
    items: list[Any] = [
        ("heading", "Where it is wrong"),
        ("metrics", measure(probabilities, labels, classes)),
        (
            "pictures",
            [(confusion(pairs, classes), "rows: label; columns: answer"), reliability(sure, answer == labels)],
        ),
    ]
    common = sorted(((pairs[a, b], a, b) for a, b in np.argwhere(pairs) if a != b), key=lambda row: -row[0])[:10]
    if common:
        rows = [[classes[a], classes[b], int(n), f"{n / pairs[a].sum():.1%}"] for n, a, b in common]
        items.append(("table", ["label", "answer", "pictures", "of the class"], rows, "Most frequent mistakes"))
        items += ["The surest wrong answers: a mistake, or a wrong label?", ("pictures", shown)]
    return items


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


def reliability(sure: Float[np.ndarray, " n"], right: np.ndarray) -> tuple[Image.Image, str]:
    """The reliability plot and its caption: in every bin, how often answers of this confidence are right."""
    side, margin = 420, 34
    canvas = Image.new("RGB", (side + 2 * margin, side + 2 * margin), _PAPER)
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(12)
    place = _bin(sure, BINS)
    count = np.bincount(place, minlength=BINS)
    hit = np.bincount(place, np.asarray(right, float), BINS) / count.clip(1)
    mean = np.bincount(place, sure, BINS) / count.clip(1)
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
    return canvas, f"{text}; ECE {calibration_error(sure, right):.3f}"


def _blend(colour: tuple[int, int, int], share: float) -> tuple[int, int, int]:
    r, g, b = (round(paper + share * (own - paper)) for own, paper in zip(colour, _PAPER, strict=True))
    return r, g, b
