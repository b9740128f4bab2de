"""What the house asks of a system, for personal image aesthetics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from percepta.systems.aesthetics import Config, exports
from percepta.systems.aesthetics.album import Album, Result, open_album
from percepta.systems.aesthetics.data import People, people
from percepta.systems.aesthetics.measure import fairness, measure
from percepta.systems.aesthetics.model import Aesthetics

PRETRAINED = {"image": "efficientnet-lite0", "concepts": "concepts"}


def build(config: Config) -> nn.Module:
    """The network with random weights; the parts that PRETRAINED names are filled by `load` and `train`."""
    return Aesthetics(config).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def data(config: Config, split: str, root: Path | None = None) -> People:
    """Samples of a split ("train", "val", "all") of a rating study; without a folder, of the synthetic world."""
    return people(config, split, root)


def loss(model: nn.Module, batch: dict[str, Any], step: Any) -> dict[str, Tensor]:
    """The head's loss on a batch of people; see `taste.py` and `piaa.py`.

    At step 0 the pictures of the folder are looked at, once, and what has a closed form is taken.
    """
    assert isinstance(model, Aesthetics)
    features = model.see(batch["pictures"])
    if step.number == 0:
        if not model.settled:
            model.settle(features)
        model.head.settle(model.looks(features), batch["means"], batch["everybody"])
    return model.head.loss(model.looks(features), batch | {"attributes": model.judged(features)}, step)


def metrics(model: nn.Module, loader: Any) -> dict[str, Any]:
    """Rank correlation with held-out people on unseen pictures after 0, 10 and 100 ratings; see `measure.measure`."""
    assert isinstance(model, Aesthetics)
    return measure(model, loader)


def session(model: nn.Module, pictures: Any, **options: Any) -> Album:
    """An album, looked at once: rate, rank, ask, explain. See `album.open_album`."""
    return open_album(model, pictures, **options)


def predict(model: nn.Module, picture: Any, **options: Any) -> Result:
    """How much somebody will like one picture.

    Args:
        picture: a path, a PIL image, an array or a tensor, of any size.
        options: `profile`, `ratings` and `scale`, as for `album.open_album`; without them: the crowd's answer.

    Raises:
        MissingFileError, InputError: no picture; a profile or ratings that do not fit.
    """
    return open_album(model, [picture], **options).results()[0]


def page(model: nn.Module, dataset: People, metrics: Any = None) -> list[Any]:
    """For `report.Page.extend`: how errors and biases differ between groups of people; nothing without an
    evaluation."""
    return fairness(metrics or {})


EXPORTS = {"picture": exports.picture}
