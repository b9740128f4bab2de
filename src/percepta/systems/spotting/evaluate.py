"""Average-mAP of a network on halves, beside the most frequent class said everywhere and the ceiling of the decoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from percepta.contract import Evaluation, Loader
from percepta.datasets.soccer_halves import HalfFeatures
from percepta.errors import InputError
from percepta.metrics import MIN_GROUPS, Metric
from percepta.metrics.spotting import TOLERANCES_S, Moments, average_map
from percepta.report import Table
from percepta.systems.spotting import Config
from percepta.systems.spotting.decode import moments, targets

EVERY_S = 30.0  # of the trivial answer
DRAWS = 60  # of the interval


def evaluate(model: nn.Module, loader: Loader, *, examples: int = 0) -> Evaluation:
    """Average-mAP loose and tight, of visible and of unshown actions.

    Baselines on the same halves: "every 30 s" says every class all the time; "shown actions, decoded" is the truth of
    the actions that are to be seen, through the decoder: what no network can beat but by guessing.

    Args:
        model: in eval mode.
        loader: whole halves.
        examples: above 0: a table of the classes.
    """
    halves: list[HalfFeatures] = []
    said: list[Moments] = []
    config: Config = model.config  # type: ignore[assignment]
    for batch in loader:
        for half in batch["halves"]:
            halves.append(half)
            said.append(answer(model, half))
    return scored(halves, said, config, table=examples > 0)


def answer(model: Any, half: HalfFeatures) -> Moments:
    """What a network says about a half."""
    weight = next(model.parameters())
    frames = torch.from_numpy(np.array(half.array, np.float32)).to(weight.device, weight.dtype)
    if frames.shape[1] != model.config.feature_width:
        raise InputError(f"{half.file or half.name}: {frames.shape[1]} numbers a frame, the network takes "
                         f"{model.config.feature_width}")  # fmt: skip
    scores, offsets = model.whole(frames)
    return moments(scores.cpu().numpy(), offsets.cpu().numpy(), model.config)


def truth(half: HalfFeatures, config: Config, shown: bool = False) -> Moments:
    """The actions of a half as the metric takes them.

    Args:
        half: with labels.
        config: classes.
        shown: only those that are to be seen.
    """
    number = {name: i for i, name in enumerate(config.classes)}
    rows = [a for a in half.actions if a.label in number and (a.shown or not shown)]
    return Moments(np.array([a.time_s for a in rows]), np.array([number[a.label] for a in rows], np.int64),
                   np.array([1.0 if a.shown else -1.0 for a in rows]))  # fmt: skip


def ceiling(half: HalfFeatures, config: Config) -> Moments:
    """What a network would say that knows every action that is to be seen."""
    shown = truth(half, config, True)
    near, ahead, weight = targets(shown.times_s.tolist(), shown.labels.tolist(), len(half), config)
    return moments(near * weight, ahead, config)


def every(half: HalfFeatures, config: Config) -> Moments:
    """All classes, every 30 s."""
    times = np.arange(0, half.seconds, EVERY_S)
    c = len(config.classes)
    return Moments(np.repeat(times, c), np.tile(np.arange(c), len(times)), np.full(c * len(times), 0.5))


def scored(halves: Sequence[HalfFeatures], said: Sequence[Moments], config: Config, *, table: bool) -> Evaluation:
    """The metrics of some answers.

    Args:
        halves: with labels.
        said: about each.
        config: classes.
        table: whether the classes are shown too.
    """
    actions = [truth(half, config) for half in halves]
    groups = [half.game for half in halves]
    others: dict[str, list[Moments]] = {
        "every 30 s": [every(half, config) for half in halves],
        "shown actions, decoded": [ceiling(half, config) for half in halves],
    }
    present = len({int(c) for one in actions for c in one.labels})
    metrics: dict[str, Metric] = {}
    rows: list[list[Any]] = []
    n = sum(len(one.labels) for one in actions)
    for name, tolerances in TOLERANCES_S.items():

        def number(which: Sequence[int], said: Sequence[Moments] = said, t: Any = tolerances) -> float:
            found = average_map([actions[i] for i in which], [said[i] for i in which], classes=len(config.classes),
                                tolerances_s=t, fps=2.0, max_frame=None, never_unshown=0)  # fmt: skip
            there = np.unique(np.concatenate([actions[i].labels for i in which]))
            return float(found.classes[there].mean()) if len(there) else 0.0

        low, high = bootstrapped(number, groups)
        everything = range(len(halves))
        value = number(everything)
        baselines = {key: number(everything, other) for key, other in others.items()}
        metrics[f"average-mAP {name}"] = Metric(value, low if low == low else None, high if high == high else None, n,
                                                baselines=baselines)  # fmt: skip
        found = average_map(actions, said, classes=len(config.classes), tolerances_s=tolerances, max_frame=None)
        metrics[f"average-mAP {name}, visible"] = Metric(found.visible * len(config.classes) / max(1, present), n=n)
        for c, label in enumerate(config.classes):
            if name == "loose":
                rows.append([label, sum(int((one.labels == c).sum()) for one in actions), float(found.classes[c])])
            else:
                rows[c].append(float(found.classes[c]))
    blocks = [Table(["class", "actions", "loose", "tight"], rows)] if table else []
    return Evaluation(metrics, blocks)


def bootstrapped(number: Callable[[Sequence[int]], float], groups: Sequence[str]) -> tuple[float | int, float | int]:
    """95 % interval of a number of some halves, drawing whole games; (nan, nan) for fewer than three.

    A draw may lack a rare class altogether, which moves its mean over the classes, mostly upwards. So the draws are
    moved until their mean is the number of all halves.
    """
    names = sorted(set(groups))
    if len(names) < MIN_GROUPS:
        return float("nan"), float("nan")
    rng = np.random.default_rng(0)
    places = {name: [i for i, group in enumerate(groups) if group == name] for name in names}
    values = []
    for _ in range(DRAWS):
        drawn = rng.choice(names, len(names))
        values.append(number([i for name in drawn for i in places[str(name)]]))
    low, high = np.percentile(values, [2.5, 97.5]) - np.mean(values) + number(range(len(groups)))
    return float(low), float(min(high, 1.0))
