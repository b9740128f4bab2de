"""Numbers: IoU of every class from one confusion matrix over all pictures, by condition, and calibration."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from percepta.contract import Evaluation, Loader
from percepta.datasets.street_pictures import LABEL_SETS, VOID, LabelSet, merging
from percepta.media.image import to_bytes
from percepta.media.labels import label_overlay
from percepta.metrics import Metric
from percepta.metrics.segmentation import (
    calibration_bins,
    calibration_error,
    class_ious,
    confusion,
    segmentation_metric,
)
from percepta.report import Gallery, Table
from percepta.systems.weather.model import Network
from percepta.systems.weather.windows import probabilities

FEW_PIXELS = 5000  # a class with fewer in a condition is left out of the second mean
PLACES = (12, 16)  # rows and columns of the trivial answer: the likeliest class of each place


class Sums:
    """What is added up over the pictures of one condition.

    Attributes:
        classes: of the truth.
        matrices: a confusion matrix a picture.
        bins: of confidence, see `metrics.segmentation`.
        places: pixels of each class in each place of a coarse grid.
    """

    def __init__(self, classes: LabelSet) -> None:
        self.classes = classes
        self.matrices: list[np.ndarray] = []
        self.bins: np.ndarray = np.zeros((3, 1))
        self.places = np.zeros((*PLACES, len(classes)), np.int64)

    def add(self, probability: Tensor, truth: np.ndarray) -> np.ndarray:
        """Takes a picture: probabilities k h w of the classes, and the truth; returns the predicted classes."""
        score, label = probability.max(0)
        said = label.cpu().numpy()
        self.matrices.append(confusion(said, truth, len(self.classes)))
        known = truth != VOID
        self.bins = self.bins + calibration_bins(score.cpu().numpy()[known], (said == truth)[known])
        rows, columns = (np.arange(size) * count // size for size, count in zip(truth.shape, PLACES, strict=True))
        cell = (rows[:, None] * PLACES[1] + columns)[known] * len(self.classes) + truth[known]
        self.places += np.bincount(cell, minlength=self.places.size).reshape(self.places.shape)
        return said

    @property
    def total(self) -> np.ndarray:
        """The confusion matrix of all pictures."""
        return np.sum(self.matrices, 0)

    def metrics(self, condition: str) -> dict[str, Metric]:
        """Every number of the condition."""
        count = len(self.matrices)
        likeliest = self.places.argmax(-1)
        trivial = np.zeros((len(self.classes), len(self.classes)), np.int64)
        for cell in np.ndindex(PLACES):
            trivial[:, likeliest[cell]] += self.places[cell]
        trivial_ious = class_ious(trivial)
        mean = segmentation_metric(self.matrices)
        baseline = {"likeliest class of each place": float(np.nanmean(trivial_ious))}
        out = {f"miou/{condition}": Metric(mean.value, mean.low, mean.high, count, baselines=baseline)}
        if ((few := self.total.sum(1)) < FEW_PIXELS).any() and (few >= FEW_PIXELS).any():
            out[f"miou_frequent/{condition}"] = segmentation_metric(self.matrices, least=FEW_PIXELS)
        for name, value in zip(self.classes.classes, class_ious(self.total), strict=True):
            if not np.isnan(value):
                out[f"iou/{condition}/{name}"] = Metric(float(value), n=count)
        out[f"calibration_error/{condition}"] = Metric(calibration_error(self.bins), n=count)
        return out


def evaluate(model: Network, loader: Loader, *, examples: int = 0) -> Evaluation:
    """ "miou/<condition>" with an interval over pictures, "iou/<condition>/<class>", "calibration_error/<condition>".

    "miou_frequent/<condition>" leaves out classes with fewer than FEW_PIXELS pixels, where there are any. Pictures of
    another label set are compared in its classes, whose probabilities are sums (see `street_pictures.MERGED`); their
    condition then has the set's name before it.

    Args:
        model: the network.
        loader: batches; it is gone through once.
        examples: how many pictures to show; 0 makes no blocks.
    """
    own = LABEL_SETS[model.config.label_set]
    sums: dict[str, Sums] = {}
    shown: dict[str, list[tuple[Image.Image, str]]] = defaultdict(list)
    for batch in loader:
        rows = zip(batch["image"], batch["labels"], batch["sets"], batch["condition"], batch["name"], strict=True)
        for picture, labels, number, condition, name in rows:
            other = LABEL_SETS[number]
            where = condition if other.name == own.name else f"{other.name} {condition}"
            probability = probabilities(model, picture)
            if other.name != own.name:
                table = torch.from_numpy(merging(own, other)).to(probability)
                probability = torch.einsum("ok,khw->ohw", table, probability).clamp(max=1)
            one = sums.setdefault(where, Sums(other))
            said = one.add(probability, labels.cpu().numpy().astype(np.int64))
            if len(shown[where]) < examples:
                shown[where].append(_example(picture, said, labels, other, f"{name}, {where}"))
    metrics = {key: value for where, one in sums.items() for key, value in one.metrics(where).items()}
    blocks: list[Any] = []
    if examples:
        blocks.append(class_table(sums))
        blocks += [Gallery(pictures) for pictures in shown.values()]
    return Evaluation(metrics, blocks)


def class_table(sums: dict[str, Sums]) -> Table:
    """IoU of each class in each condition."""
    names = list(dict.fromkeys(name for one in sums.values() for name in one.classes.classes))
    rows = []
    for name in names:
        cells: list[Any] = [name]
        for one in sums.values():
            values = dict(zip(one.classes.classes, class_ious(one.total), strict=True))
            cells.append(f"{values[name]:.2f}" if name in values and not np.isnan(values[name]) else "")
        rows.append(cells)
    return Table(["class", *sums], rows)


def _example(
    picture: Tensor, said: np.ndarray, labels: Tensor, classes: LabelSet, text: str
) -> tuple[Image.Image, str]:
    """The picture with what was said, and beside it the truth."""
    pixels = to_bytes(picture.permute(1, 2, 0)).cpu().numpy()
    both = [label_overlay(pixels, one.astype(np.uint8), classes.colours) for one in (said, labels.cpu().numpy())]
    return Image.fromarray(np.concatenate(both, 1)), f"{text}: predicted, and the truth"
