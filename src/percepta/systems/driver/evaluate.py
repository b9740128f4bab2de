"""How well activities are found: by one view, by all, by all but a dead camera; beside the published recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image

from percepta.contract import Block, Evaluation, Loader
from percepta.metrics import Metric
from percepta.metrics import driver as dm
from percepta.report import Gallery, Table, Text
from percepta.systems.driver import Config
from percepta.systems.driver.decoder import Activity, activities, in_seconds, recipe
from percepta.systems.driver.model import DriverNetwork
from percepta.systems.driver.predict import timeline

DRAWS = 1000
MIN_DRIVES = 3


@torch.no_grad()
def evaluate(model: DriverNetwork, loader: Loader, *, examples: int = 0) -> Evaluation:
    """ "overlap score" (2023) and "F1" (2022) with all views; "overlap score, VIEW alone" and "..., VIEW dead"; and
    "right moments". Levels: the published recipe on the same probabilities, and normal driving throughout.

    Args:
        model: in eval mode.
        loader: batches; it is gone through once.
        examples: how many timelines are shown; 0: no blocks.
    """
    config = model.config
    conditions = _conditions(config)
    found: dict[str, list[list[Activity]]] = {name: [] for name in (*conditions, "recipe")}
    truth: list[list[Activity]] = []
    right: list[np.ndarray] = []
    normal: list[np.ndarray] = []
    shown: list[tuple[Image.Image, str]] = []
    for batch in loader:
        present = batch["present"]
        views = model.views(batch["features"], present)
        fused = {
            name: model.fuse(views, present & which(present)).softmax(-1).double().cpu().numpy()
            for name, which in conditions.items()
        }
        for i, drive in enumerate(batch["drives"]):
            label = batch["label"][i].cpu().numpy()
            n = int((label >= 0).sum())
            for name, p in fused.items():
                found[name].append(activities(p[i, :n], config, drive["duration_s"]))
            p = fused["all"][i, :n]
            short = tuple(k for k, word in enumerate(config.labels) if word.startswith("pick up"))
            simple = recipe(p, 1 / config.fps, short_classes=short)
            found["recipe"].append(in_seconds(simple, config.fps, drive["duration_s"]))
            truth.append(list(drive["spans"]))
            right.append(p.argmax(1) == label[:n])
            normal.append(label[:n] == 0)
            if len(shown) < examples:
                picture = timeline(found["all"][-1], config.labels, drive["duration_s"], truth=truth[-1])
                shown.append((picture, drive["name"]))
    metrics: dict[str, Metric] = {}
    level = _score(found["recipe"], truth, dm.overlap_parts)
    for name in conditions:
        title = "overlap score" if name == "all" else f"overlap score, {name}"
        metrics[title] = _metric(found[name], truth, dm.overlap_parts)
    metrics["overlap score"].baselines.update({"published recipe": level, "normal driving": 0.0})
    metrics["F1"] = _metric(found["all"], truth, dm.f1_parts)
    metrics["F1"].baselines["published recipe"] = _score(found["recipe"], truth, dm.f1_parts)
    moments = np.concatenate(right)
    driving = float(np.concatenate(normal).mean())
    metrics["right moments"] = Metric(float(moments.mean()), n=len(moments), baselines={"normal driving": driving})
    blocks: list[Block] = []
    if examples:
        blocks = [
            Text("Truth above, what was found by all views below."),
            Gallery(shown),
            Table(["activity", "spans", "overlap score"], _by_class(found["all"], truth, config)),
        ]
    return Evaluation(metrics, blocks)


def _conditions(config: Config) -> Mapping[str, Callable[[torch.Tensor], torch.Tensor]]:
    """{name: which views take part}."""

    def only(views: tuple[int, ...]) -> Callable[[torch.Tensor], torch.Tensor]:
        def which(present: torch.Tensor) -> torch.Tensor:
            out = torch.zeros_like(present)
            out[:, list(views)] = True
            return out

        return which

    every = tuple(range(len(config.views)))
    out = {"all": only(every)}
    if len(every) > 1:
        out |= {f"{view} alone": only((i,)) for i, view in enumerate(config.views)}
        out |= {f"{view} dead": only(tuple(k for k in every if k != i)) for i, view in enumerate(config.views)}
    return out


def _parts(found: list[list[Activity]], truth: list[list[Activity]], parts: Any) -> np.ndarray:
    """(sum of scores, count) of each drive."""

    def as_spans(some: list[Activity]) -> list[dm.Activity]:
        return [dm.Activity("", x.label, x.start_s, x.end_s) for x in some]

    return np.array([parts(as_spans(a), as_spans(b)) for a, b in zip(found, truth, strict=True)], np.float64)


def _score(found: list[list[Activity]], truth: list[list[Activity]], parts: Any) -> float:
    total, count = _parts(found, truth, parts).sum(0)
    return float(total / count) if count else 0.0


def _metric(found: list[list[Activity]], truth: list[list[Activity]], parts: Any) -> Metric:
    """The score with an interval over drives."""
    table = _parts(found, truth, parts)
    total, count = table.sum(0)
    value = float(total / count) if count else 0.0
    low = high = float("nan")
    if len(table) >= MIN_DRIVES:
        draws = table[np.random.default_rng(0).integers(len(table), size=(DRAWS, len(table)))].sum(1)
        low, high = np.percentile(draws[:, 0] / np.maximum(draws[:, 1], 1e-9), [2.5, 97.5])
    return Metric(value, float(min(low, value)), float(max(high, value)), len(table), baselines={})


def _by_class(found: list[list[Activity]], truth: list[list[Activity]], config: Config) -> list[list[Any]]:
    rows = []
    for k in range(1, len(config.labels)):
        some, real = ([[x for x in drive if x.label == k] for drive in side] for side in (found, truth))
        count = sum(map(len, real))
        if count:
            rows.append([config.labels[k], count, f"{_score(some, real, dm.overlap_parts):.2f}"])
    return rows
