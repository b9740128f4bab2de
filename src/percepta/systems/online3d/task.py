"""What the house asks of a system, for online 3-D segmentation."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from percepta.datasets import nyu40
from percepta.metrics import Metric, interval, scenes
from percepta.nn.sparse import SparseTensor
from percepta.systems.online3d import Config, check
from percepta.systems.online3d import data as scans
from percepta.systems.online3d.fusion import cluster
from percepta.systems.online3d.losses import class_weights, offsets, semantic
from percepta.systems.online3d.model import OnlineNet, Prediction
from percepta.systems.online3d.online import Online
from percepta.systems.online3d.shown import Result

PRETRAINED: dict[str, str] = {}
EXPORTS = {"network": "a sparse network follows the map's voxels from call to call; ONNX has no sparse convolution"}
CLASSES = len(nyu40.SCANNET20)


def build(config: Config) -> OnlineNet:
    """The network with random weights."""
    if config.embedding:
        raise ValueError("embedding: there is no loss for one here; set 0 and use the offsets")
    if config.classes != CLASSES:
        raise ValueError(f"classes has to be {CLASSES}, those of ScanNet's benchmark; got {config.classes}")
    return OnlineNet(config)


def data(config: Config, split: str, root: Path | None = None) -> Any:
    """Samples of a split ("train", "val", "test", "all").

    A folder's scans join the synthetic rooms in training (see `real`); to measure, they are taken alone, those of
    `held_out` for "val" and "test". Without a folder, or with nothing held out: synthetic rooms that are in no other
    split.

    Raises:
        ValueError: an unknown split; nothing to train on.
    """
    if split not in (*scans.FIRST, "all"):
        raise ValueError(f"split is train, val, test or all; got {split!r}")
    found = scans.real(config, split, root)
    if split == "train":
        if not found and not config.rooms:
            raise ValueError("rooms is 0 and there is no folder of scans (or all are held out): nothing to train on")
        return scans.Training(config, found)
    return scans.Whole(config, "val" if split == "all" else split, found)


def loss(model: nn.Module, batch: dict[str, Any], step: Any) -> dict[str, Tensor]:
    """Weighted cross-entropy and, with an instance head, the losses of the offsets; see `losses.py`."""
    config = cast(OnlineNet, model).config
    out = model(SparseTensor(batch["features"], batch["coords"]))
    weight = class_weights(batch["label"], config.classes, config.balance, step.memory)
    classes = semantic(out.logits.float(), batch["label"], weight)
    if out.offset_m is None:
        return {"loss": classes, "classes": classes.detach()}
    distance, direction = offsets(out.offset_m.float(), batch["offset"], batch["thing"])
    total = classes + config.offset_weight * (distance + 0.3 * direction)
    return {"loss": total, "classes": classes.detach(), "distance": distance.detach(), "direction": direction.detach()}


def instances(config: Config, coords: np.ndarray, out: Prediction) -> tuple[scenes.Instances, np.ndarray]:
    """Instances of a whole map (`out`: of all its voxels), and the label of each voxel after them.

    The score of an instance is the mean probability of its class.
    """
    probability = out.logits.float().softmax(1).cpu().numpy()
    label = probability.argmax(1)
    if out.offset_m is None:
        return scenes.Instances(np.zeros(len(label), np.int32), np.zeros(0, int), np.zeros(0)), label
    middle = (coords + 0.5) * config.voxel_m
    found = cluster(middle, out.offset_m.float().cpu().numpy(), label, config.cluster_m, config.least)
    return scored(found, label, probability), label


def scored(found: np.ndarray, label: np.ndarray, probability: Float[np.ndarray, "n c"]) -> scenes.Instances:
    """Class (all voxels of an instance have one) and score of instances."""
    count = int(found.max(initial=0))
    size = np.bincount(found, minlength=count + 1)
    first = np.zeros(count + 1, np.int64)
    first[found[::-1]] = label[::-1]
    score = np.bincount(found, probability[np.arange(len(label)), label], count + 1) / size.clip(1)
    return scenes.Instances(found, first[1:], score[1:])


@torch.no_grad()
def metrics(model: nn.Module, loader: Iterable[dict[str, Any]]) -> dict[str, Metric]:
    """ "mIoU" over ScanNet's 20 classes, "AP", "AP50", "AP25" over the 18 with instances, and "right points".

    On points, not voxels; intervals by drawing scans. Beside mIoU: the class that is always most frequent, and the
    most frequent class of a point's colour.
    """
    config = cast(OnlineNet, model).config
    device = next(model.parameters()).device
    tables: list[np.ndarray] = []
    guesses: list[np.ndarray] = []
    counts: list[scenes.Overlaps] = []
    for batch in loader:
        for number in range(int(batch["coords"][:, 0].max()) + 1):
            mine = batch["coords"][:, 0] == number
            points = batch["points_scan"].cpu().numpy() == number
            coords = batch["coords"][mine].clone()
            coords[:, 0] = 0
            out = model(SparseTensor(batch["features"][mine].to(device), coords.to(device)))
            found, label = instances(config, coords[:, 1:].cpu().numpy(), out)
            first = int(mine.nonzero()[0, 0])
            of = batch["points_of"].cpu().numpy()[points] - first
            truth = batch["points_label"].cpu().numpy()[points]
            tables.append(scenes.confusion(truth, label[of], config.classes))
            guesses.append(scenes.confusion(truth, batch["guess"][mine].cpu().numpy()[of], config.classes))
            at_points = scenes.Instances(found.instance[of], found.label, found.score)
            object_ = batch["points_instance"].cpu().numpy()[points]
            counts.append(scenes.overlaps(truth, object_, at_points, scans.THINGS))
    return numbers(np.stack(tables), np.stack(guesses), counts if config.instances else [])


def numbers(tables: np.ndarray, guesses: np.ndarray, counts: list[scenes.Overlaps], draws: int = 200) -> dict[str, Any]:
    """The metrics from what was counted in each scan."""
    n = len(tables)
    rng = np.random.default_rng(0)
    picks = rng.integers(0, n, (draws, n)) if n > 1 else np.zeros((0, n), int)

    def metric(value: float, drawn: list[float], baselines: dict[str, float] | None = None) -> Metric:
        good = [x for x in drawn if np.isfinite(x)]
        low, high = np.percentile(good, [2.5, 97.5]) if good else (None, None)
        ends = (None, None) if low is None else (min(float(low), value), max(float(high), value))  # type: ignore
        return Metric(value, *ends, n, baselines=baselines or {})

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
        drawn = [scenes.average_precision([counts[i] for i in p], scans.THINGS) for p in picks[:40]]
        for name, value in scenes.average_precision(counts, scans.THINGS).items():
            if np.isfinite(value):
                out[name] = metric(value, [row[name] for row in drawn])
    return out


def session(model: nn.Module, **options: Any) -> Online:
    """A scan that is going on: `step(frame)` takes an RGB-D frame with its pose. See `online.Online`."""
    return Online(cast(OnlineNet, model), **options)


@torch.no_grad()
def predict(model: nn.Module, source: Any, **options: Any) -> Result:
    """Labels and instances of a scan, or of a recording that is gone through frame by frame.

    Args:
        source: a scan (anything with `xyz` in metres, z up, and `rgb`), a .ply or .npz of one, a folder with one scan
            of ScanNet; or a recording (`datasets.posed.Recording`, or a folder in a layout that `check` knows).
        options: for a recording, those of `session`, and `every`: take every n-th frame.

    Raises:
        FileNotFoundError, ValueError: what cannot be read, or has no points.
    """
    net = cast(OnlineNet, model)
    scan = check.source(source)
    if not hasattr(scan, "xyz"):
        every = options.pop("every", 1)
        online = session(model, **options)
        for frame in cast(Any, scan).frames(every=every):
            online.step(frame)
        return online.result()
    scan = cast(Any, scan)
    xyz, rgb = np.asarray(scan.xyz), np.asarray(scan.rgb)
    if len(xyz) == 0 or not np.isfinite(xyz).all():
        raise ValueError(f"a scan has at least one point and finite places; this one has {len(xyz)} points")
    nothing = np.zeros(len(xyz), np.int64)
    voxels = scans.voxelise(xyz, rgb, nothing, nothing, net.config.voxel_m)
    device = next(model.parameters()).device
    coords = nn.functional.pad(torch.from_numpy(voxels.coords), (1, 0)).to(device)
    out = net(SparseTensor(torch.from_numpy(voxels.features).to(device), coords))
    found, label = instances(net.config, voxels.coords, out)
    sure = out.logits.float().softmax(1).amax(1).cpu().numpy()
    return Result(
        xyz.astype(np.float32), rgb.astype(np.uint8), np.array(nyu40.SCANNET20, np.uint8)[label][voxels.of],
        found.instance[voxels.of], sure[voxels.of],
    )  # fmt: skip
