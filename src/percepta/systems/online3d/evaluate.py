"""Metrics of whole scans, beside trivial baselines."""

from __future__ import annotations

import numpy as np
import torch

from percepta.contract import Block, Evaluation, Loader
from percepta.datasets import nyu40
from percepta.metrics import Metric, interval, scenes
from percepta.report import Gallery, Table
from percepta.systems.online3d.model import OnlineNet
from percepta.systems.online3d.result import Result
from percepta.systems.online3d.whole_scan import ScanLabels, label_scan


@torch.no_grad()
def evaluate(model: OnlineNet, loader: Loader, *, examples: int = 0) -> Evaluation:
    """ "mIoU" over ScanNet's 20 classes, "AP", "AP50", "AP25" over the 18 with instances, and "right points".

    On points, not voxels; intervals by drawing scans. Beside mIoU: the class that is always most frequent, and the
    most frequent class of a point's colour.

    Args:
        model: the network.
        loader: batches of `data.WholeScans`.
        examples: how many labelled scans the blocks show; 0: no blocks.
    """
    config = model.config
    tables: list[np.ndarray] = []
    guesses: list[np.ndarray] = []
    counts: list[scenes.Overlaps] = []
    pictures: list[tuple[Result, str]] = []
    for batch in loader:
        host = {key: value.cpu().numpy() for key, value in batch.items() if key.startswith("points") or key == "guess"}
        for number in range(int(host["points_scan"].max()) + 1):
            mine = host["points_scan"] == number
            xyz, rgb, truth = (host[f"points_{name}"][mine] for name in ("xyz", "rgb", "label"))
            found = label_scan(model, xyz, rgb, config.views)
            tables.append(scenes.confusion(truth, found.label, config.classes))
            guesses.append(scenes.confusion(truth, host["guess"][host["points_of"][mine]], config.classes))
            instances = scenes.Instances(found.instance, found.instance_label, found.instance_score)
            counts.append(scenes.overlaps(truth, host["points_instance"][mine], instances, nyu40.THINGS))
            if len(pictures) < examples:
                right = tables[-1].trace() / max(tables[-1].sum(), 1)
                pictures.append((_result(xyz, rgb, found), f"scan {len(tables)}: {right:.0%} of the points right"))
    metrics = numbers(np.stack(tables), np.stack(guesses), counts if config.instances else [])
    return Evaluation(metrics, _blocks(np.sum(tables, 0), pictures) if examples else ())


def numbers(
    tables: np.ndarray, guesses: np.ndarray, counts: list[scenes.Overlaps], draws: int = 200
) -> dict[str, Metric]:
    """The metrics from what was counted in each scan.

    Args:
        tables: confusions `scans classes classes` of the network.
        guesses: those of the most frequent class of a point's colour.
        counts: overlaps of instances of each scan; empty without an instance head.
        draws: of scans, for the interval.
    """
    n = len(tables)
    rng = np.random.default_rng(0)
    picks = rng.integers(0, n, (draws, n)) if n > 1 else np.zeros((0, n), int)

    def metric(value: float, drawn: list[float], baselines: dict[str, float] | None = None) -> Metric:
        finite = [x for x in drawn if np.isfinite(x)]
        if not finite:
            return Metric(value, None, None, n, baselines=baselines or {})
        low, high = np.percentile(finite, [2.5, 97.5])
        return Metric(value, min(float(low), value), max(float(high), value), n, baselines=baselines or {})

    whole = tables.sum(0)
    constant = np.zeros_like(whole)
    constant[:, whole.sum(1).argmax()] = whole.sum(1)
    trivial = {"always one class": scenes.miou(constant), "class of the colour": scenes.miou(guesses.sum(0))}
    right = tables.trace(axis1=1, axis2=2) / tables.sum((1, 2)).clip(1)
    out = {
        "mIoU": metric(scenes.miou(whole), [scenes.miou(tables[p].sum(0)) for p in picks], trivial),
        "right points": Metric(float(right.mean()), *interval(right), n),
    }
    if counts:
        drawn = [scenes.average_precision([counts[i] for i in p], nyu40.THINGS) for p in picks[:40]]
        for name, value in scenes.average_precision(counts, nyu40.THINGS).items():
            if np.isfinite(value):
                out[name] = metric(value, [row[name] for row in drawn])
    return out


def _result(xyz: np.ndarray, rgb: np.ndarray, found: ScanLabels) -> Result:
    label = np.array(nyu40.SCANNET20, np.uint8)[found.label]
    return Result(xyz, rgb, label, found.instance.astype(np.int32), found.score.astype(np.float32))


def _blocks(table: np.ndarray, pictures: list[tuple[Result, str]]) -> list[Block]:
    values, share = scenes.iou(table), table.sum(1) / max(table.sum(), 1)
    rows = [
        [nyu40.SCANNET20_NAMES[i], float(share[i]), float(values[i])]
        for i in np.argsort(-share, kind="stable")
        if share[i] > 0
    ]
    return [Table(["class", "share of points", "IoU"], rows), Gallery(pictures)]
