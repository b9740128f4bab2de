"""What the house asks of a system, for online 3-D segmentation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int64
from scipy.special import softmax
from torch import Tensor, nn

from percepta.datasets import nyu40
from percepta.errors import InputError
from percepta.geometry import pose as poses
from percepta.metrics import Metric, interval, scenes
from percepta.nn.sparse import SparseTensor
from percepta.systems.online3d import Config, check
from percepta.systems.online3d import data as scans
from percepta.systems.online3d.fusion import cluster
from percepta.systems.online3d.losses import class_weights, offsets, semantic
from percepta.systems.online3d.model import OnlineNet
from percepta.systems.online3d.online import Online
from percepta.systems.online3d.shown import Result

PRETRAINED: dict[str, str] = {}
EXPORTS = {"network": "a sparse network follows the map's voxels from call to call; ONNX has no sparse convolution"}
CLASSES = len(nyu40.SCANNET20)


def build(config: Config) -> OnlineNet:
    """The network with random weights."""
    if config.embedding:
        raise InputError("embedding: there is no loss for one here; set 0 and use the offsets")
    if config.classes != CLASSES:
        raise InputError(f"classes has to be {CLASSES}, those of ScanNet's benchmark; got {config.classes}")
    return OnlineNet(config)


def data(config: Config, split: str, root: Path | None = None) -> Any:
    """Samples of a split ("train", "val", "test", "all").

    A folder's scans join the synthetic rooms in training (see `real`); to measure, they are taken alone, those of
    `held_out` for "val" and "test". Without a folder, or with nothing held out: synthetic rooms that are in no other
    split.

    Raises:
        InputError: an unknown split; nothing to train on.
    """
    if split not in (*scans.FIRST, "all"):
        raise InputError(f"split is train, val, test or all; got {split!r}")
    found = scans.real(config, split, root)
    if split == "train":
        if not found and not config.rooms:
            raise InputError("rooms is 0 and there is no folder of scans (or all are held out): nothing to train on")
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


@dataclass(frozen=True)
class Answer:
    """What is said of the points of a whole scan.

    Attributes:
        label: place in SCANNET20. sure: its probability.
        found: instances; the score of one is the mean probability of its class.
    """

    label: Int64[np.ndarray, " n"]
    sure: Float[np.ndarray, " n"]
    found: scenes.Instances


# Turn about the vertical in degrees, and shift along each axis in voxels, of the grids that a scan is looked at in.
# Walls and floors often lie along the axes and at 0, where voxels meet and noise splits them: in these grids few do.
GRIDS = ((45.0, 0.5), (70.0, 0.3), (30.0, 0.0), (135.0, 0.25))


@torch.no_grad()
def answer(net: OnlineNet, xyz: Float[np.ndarray, "n 3"], rgb: np.ndarray, views: int) -> Answer:
    """Labels and instances of a whole scan.

    Args:
        xyz: metres, z up. rgb: 0..255.
        views: how many grids it is looked at in; 1: that of a stream. Logits and centres of instances are averaged at
            the points, and instances are found among the voxels of the first grid.

    Raises:
        InputError: there are not so many grids.
    """
    if not 1 <= views <= len(GRIDS):
        raise InputError(f"views is 1 to {len(GRIDS)}, got {views}")
    config, device = net.config, next(net.parameters()).device
    xyz, nothing, size = np.asarray(xyz, np.float64), np.zeros(len(xyz), np.int64), config.voxel_m
    views_said, middle, of = list[np.ndarray](), np.zeros((0, 3)), nothing
    for number, (degrees, shift) in enumerate(GRIDS[:views] if views > 1 else ((0.0, 0.0),)):
        turn = poses.from_vector(np.array([0, 0, np.radians(degrees)]))
        voxels = scans.voxelise(xyz @ turn.T + shift * size, rgb, nothing, nothing, size)
        coords = nn.functional.pad(torch.from_numpy(voxels.coords), (1, 0)).to(device)
        out = net(SparseTensor(torch.from_numpy(voxels.features).to(device), coords))
        places = (voxels.coords + 0.5) * size
        columns = [out.logits.float().cpu().numpy()]
        if out.offset_m is not None:
            columns.append((places + out.offset_m.float().cpu().numpy() - shift * size) @ turn)
        views_said.append(np.concatenate(columns, 1)[voxels.of])
        if number == 0:
            middle, of = (places - shift * size) @ turn, voxels.of
    said = np.mean(views_said, 0)
    probability = softmax(said[:, : config.classes], 1)
    label = probability.argmax(1)
    sure = probability[np.arange(len(label)), label]
    return Answer(label, sure, _instances(config, said, label, sure, middle, of))


def _instances(
    config: Config, said: np.ndarray, label: np.ndarray, sure: np.ndarray, middle: np.ndarray, of: np.ndarray
) -> scenes.Instances:
    """Of points, from what is said of them, through the voxels that they are `of`."""
    if said.shape[1] == config.classes:
        return scenes.Instances(np.zeros(len(label), np.int32), np.zeros(0, int), np.zeros(0))
    number = np.bincount(of)
    mean = np.stack([np.bincount(of, column) / number for column in said.T], 1)
    kind = mean[:, : config.classes].argmax(1)
    found = cluster(middle, mean[:, config.classes :] - middle, kind, config.cluster_m, config.least)
    count = int(found.max(initial=0))
    class_of = np.full(count + 1, -1)
    class_of[found] = kind
    class_of[0] = -1
    own = found[of]
    own = np.where(class_of[own] == label, own, 0)  # what a point is comes first
    score = np.bincount(own, sure, count + 1) / np.bincount(own, minlength=count + 1).clip(1)
    return scenes.Instances(own, class_of[1:], score[1:])


@torch.no_grad()
def metrics(model: nn.Module, loader: Iterable[dict[str, Any]]) -> dict[str, Metric]:
    """ "mIoU" over ScanNet's 20 classes, "AP", "AP50", "AP25" over the 18 with instances, and "right points".

    On points, not voxels; intervals by drawing scans. Beside mIoU: the class that is always most frequent, and the
    most frequent class of a point's colour.
    """
    net = cast(OnlineNet, model)
    config = net.config
    tables: list[np.ndarray] = []
    guesses: list[np.ndarray] = []
    counts: list[scenes.Overlaps] = []
    for batch in loader:
        host = {key: value.cpu().numpy() for key, value in batch.items() if key.startswith("points") or key == "guess"}
        for number in range(int(host["points_scan"].max()) + 1):
            mine = host["points_scan"] == number
            said = answer(net, host["points_xyz"][mine], host["points_rgb"][mine], config.views)
            truth = host["points_label"][mine]
            tables.append(scenes.confusion(truth, said.label, config.classes))
            guesses.append(scenes.confusion(truth, host["guess"][host["points_of"][mine]], config.classes))
            counts.append(scenes.overlaps(truth, host["points_instance"][mine], said.found, scans.THINGS))
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
        options: for a recording, those of `session`, and `every`: take every n-th frame. For a scan, `views`: in how
            many grids it is looked at; left out, as configured.

    Raises:
        MissingFileError, InputError: what cannot be read, or has no points.
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
        raise InputError(f"a scan has at least one point and finite places; this one has {len(xyz)} points")
    said = answer(net, xyz, rgb, options.get("views", net.config.views))
    return Result(
        xyz.astype(np.float32), rgb.astype(np.uint8), np.array(nyu40.SCANNET20, np.uint8)[said.label],
        said.found.instance.astype(np.int32), said.sure.astype(np.float32),
    )  # fmt: skip
