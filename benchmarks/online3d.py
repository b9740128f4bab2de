"""Accuracy of a trained network on synthetic rooms never seen: scanned frame by frame, and at once.

    python benchmarks/online3d.py WEIGHTS --calibrate OUT
    python benchmarks/online3d.py WEIGHTS [--rooms 12] [--frames 150] [--scans FOLDER [--turns 5]]

`--calibrate` writes the checkpoint again with biases of the semantic head that suit how frequent classes are: training
with `class_balance` makes rare ones too likely. How much of it is undone is chosen on 20 rooms of "val".

For each room a session in the mode `paper` and one in the mode `full` go through the same frames; half-way and at the
end the map's voxels are compared with the labels that were rendered. Goal: `paper` loses at most .5 points of mIoU.
With `--scans`, labelled scans are turned about the vertical and shifted at random before they are predicted; mIoU is
also taken over the classes with at least 1 % of the points in all scans, beside copying labels from one scan of a room
to another.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from record import record
from scipy.spatial import KDTree
from torch.nn import functional

import percepta
from percepta import checkpoint
from percepta.datasets import nyu40, scannet
from percepta.datasets.posed import RgbdFrame
from percepta.datasets.scannet import LabelledScan
from percepta.geometry import camera as cameras
from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics
from percepta.metrics import Metric, interval, scenes
from percepta.nn.sparse import SparseTensor
from percepta.systems.online3d import data, world
from percepta.systems.online3d.model import OnlineNet
from percepta.systems.online3d.online import Online
from percepta.systems.online3d.predict import Online3d
from percepta.systems.online3d.stream import Mode
from percepta.systems.online3d.voxels import voxelise
from percepta.worlds import rooms

CAMERA = Intrinsics.field_of_view(160, 120, 58.0)


def room(system: Online3d, seed: int, frames: int, mode: Mode, options: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """Confusions over voxels: half-way, at the end, and of the whole network run once on the last map."""
    place, rng = rooms.room(seed), np.random.default_rng(seed)
    online = system.session(mode=mode, cluster_every=frames, **options)
    seen, half = [], np.zeros((20, 20), np.int64)
    for number, pose in enumerate(rooms.walk(place, 0, frames=frames, fps=frames / 40), 1):
        view = rooms.measure(place, rooms.render(place, pose, CAMERA), rng)
        if online.step(RgbdFrame(view.colour, view.depth_m, pose, CAMERA, "")).taken:
            good = online._good(view.depth_m.astype(np.float64))
            xyz = poses.transform(pose, cameras.rays(CAMERA)[good] * view.depth_m[good].astype(np.float64)[:, None])
            seen.append((xyz, view.colour[good], nyu40.scannet20(view.label[good]), view.instance[good]))
        if number == frames // 2:
            half = compared(online, seen, online.result(update_instances=False).label)
    result = online.result(update_instances=False)
    once = system.predict(result, views=1)  # in the map's own grid, as the sessions
    return half, *(compared(online, seen, label) for label in (result.label, once.label))


def compared(online: Online, seen: Sequence[tuple[np.ndarray, ...]], label: np.ndarray) -> np.ndarray:
    """Confusion of the map's voxels, which have these NYU-40 labels, with what was rendered."""
    places, tones, labels, objects = (np.concatenate(column) for column in zip(*seen, strict=True))
    voxels = voxelise(places, tones, labels, objects, online.map.voxel_m)
    order = np.lexsort(online.map.coords.T[::-1])
    return scenes.confusion(voxels.label, nyu40.scannet20(label)[order], 20)


@torch.inference_mode()
def calibrate(path: Path, out: Path, count: int = 20) -> None:
    """Adds strength × log(share of the class) to the logits; the strength that gives the best mIoU on "val" is kept."""
    header, config, model = checkpoint.restore(path)
    net, answers = cast(OnlineNet, model), []
    for seed in range(world.FIRST["val"], world.FIRST["val"] + count):
        scan = world.room_scan(config, seed)
        truth = nyu40.scannet20(scan.label)
        voxels = voxelise(scan.xyz, scan.rgb, truth, scan.instance, config.voxel_m)
        coords = functional.pad(torch.from_numpy(voxels.coords), (1, 0))
        logits = net(SparseTensor(torch.from_numpy(voxels.features), coords)).logits.numpy()
        answers.append((logits[voxels.of], truth))
    known = np.concatenate([truth[truth >= 0] for _, truth in answers])
    # no class rarer than one in 5,000 points: too few to know its share
    shares = np.log(np.maximum(np.bincount(known, minlength=config.classes) / len(known), 2e-4))
    values = {}
    for strength in np.arange(0, 0.75, 0.1):
        tables = [scenes.confusion(t, (logits + strength * shares).argmax(1), 20) for logits, t in answers]
        values[float(strength)] = scenes.miou(np.sum(tables, 0))
        print(f"strength {strength:.1f}: mIoU {values[float(strength)]:.4f} in {count} rooms of val")
    best = max(values, key=lambda strength: values[strength])
    net.semantic.bias.add_(torch.from_numpy(best * (shares - shares.mean())).float())
    checkpoint.save(out, net, system=header.system, preset=header.preset, config=config, step=header.step)
    print(f"{out}: strength {best:.1f}")


def common(scans: Sequence[LabelledScan]) -> np.ndarray:
    """Which classes have at least 1 % of the labelled points in every scan."""
    truths = [nyu40.scannet20(scan.label) for scan in scans]
    return np.all([np.bincount(t[t >= 0], minlength=20) / (t >= 0).sum() >= 0.01 for t in truths], axis=0)


def turned(system: Online3d, scan: LabelledScan, turns: int, classes: np.ndarray) -> Metric:
    """mIoU of one labelled scan, turned about the vertical and shifted at random: least and most as low and high."""
    rng, truth, rows = np.random.default_rng(0), nyu40.scannet20(scan.label), []
    for _ in range(turns):
        turn = poses.from_vector(np.array([0, 0, rng.uniform(-np.pi, np.pi)]))
        moved = (scan.xyz @ turn.T + rng.uniform(-5, 5, 3)).astype(np.float32)
        answer = nyu40.scannet20(system.predict(replace(scan, xyz=moved)).label)
        values = scenes.iou(scenes.confusion(truth, answer, 20))
        rows.append((float(np.nanmean(values)), float(values[classes].mean())))
    every, most = np.mean(rows, 0)
    low, high = np.min(rows, 0)[1], np.max(rows, 0)[1]
    print(f"{scan.name}: mIoU {every:.3f}, classes of 1 % and more in all scans {most:.3f} ({low:.3f} to {high:.3f})")
    return Metric(float(most), float(low), float(high), turns)


def copied(source: LabelledScan, target: LabelledScan, classes: np.ndarray) -> float:
    """mIoU of giving each point of a scan the label of the nearest one of another scan of the same room."""
    labels = nyu40.scannet20(source.label)
    known = labels >= 0
    rotation, shift = aligned(target.xyz, source.xyz)
    _, nearest = KDTree(source.xyz[known]).query(target.xyz @ rotation.T + shift)
    table = scenes.confusion(nyu40.scannet20(target.label), labels[known][nearest], 20)
    return float(scenes.iou(table)[classes].mean())


def aligned(
    source: np.ndarray, target: np.ndarray, turns: int = 24, kept: float = 0.7
) -> tuple[np.ndarray, np.ndarray]:
    """Rotation and shift onto another scan with the same vertical: trimmed ICP from several first turns."""
    tree, rng = KDTree(target), np.random.default_rng(0)
    few, more = (source[rng.choice(len(source), min(len(source), n), replace=False)].astype(float) for n in (500, 4000))

    def refine(points: np.ndarray, rotation: np.ndarray, shift: np.ndarray, rounds: int) -> tuple[float, Any, Any]:
        error = np.inf
        for _ in range(rounds):
            away, nearest = tree.query(points @ rotation.T + shift)
            near = away <= np.quantile(away, kept)
            error = float(away[near].mean())
            x, y = points[near], target[np.asarray(nearest)[near]].astype(float)
            u, _, v = np.linalg.svd((x - x.mean(0)).T @ (y - y.mean(0)))
            rotation = v.T @ np.diag([1, 1, np.linalg.det(v.T @ u.T)]) @ u.T
            shift = y.mean(0) - rotation @ x.mean(0)
        return error, rotation, shift

    starts = []
    for yaw in np.arange(turns) * 2 * np.pi / turns:
        turn = poses.from_vector(np.array([0, 0, yaw]))
        starts.append(refine(few, turn, np.median(target, 0) - np.median(few @ turn.T, 0), 8))
    _, rotation, shift = min(starts, key=lambda start: start[0])
    _, rotation, shift = refine(more, rotation, shift, 30)
    return rotation, shift


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--rooms", type=int, default=12)
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--split", default="test", choices=tuple(world.FIRST))
    parser.add_argument("--options", default="{}", help='of the session, as JSON: {"growth": 0.2, "max_weight": 2}')
    parser.add_argument("--calibrate", type=Path, metavar="OUT", help="only this")
    parser.add_argument("--scans", type=Path)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    if options.calibrate:
        calibrate(options.weights, options.calibrate)
        return
    system = percepta.load(options.weights, system="online3d", device="cpu")
    tables: dict[str, list[np.ndarray]] = defaultdict(list)
    for seed in range(world.FIRST[options.split], world.FIRST[options.split] + options.rooms):
        for mode in ("paper", "full"):
            half, online, once = room(system, seed, options.frames, mode, json.loads(options.options))
            tables[f"{mode}, half-way"].append(half)
            tables[f"{mode}, at the end"].append(online)
        tables["at once"].append(once)
    values: dict[str, Metric] = {}
    for name, rows in tables.items():
        values[name] = Metric(scenes.miou(np.sum(rows, 0)), n=len(rows))
        low, high = interval([scenes.miou(row) for row in rows])
        print(f"{name:17} mIoU {scenes.miou(np.sum(rows, 0)):.4f} (mean over rooms {low:.3f} to {high:.3f})")
    for when in ("half-way", "at the end"):
        full, paper = ([scenes.miou(row) for row in tables[f"{mode}, {when}"]] for mode in ("full", "paper"))
        lost = np.subtract(full, paper).tolist()
        low, high = interval(lost)
        values[f"paper loses {when}, points"] = Metric(100 * float(np.mean(lost)), 100 * low, 100 * high, len(lost))
        print(f"paper loses {when}: {100 * np.mean(lost):.2f} points a room ({100 * low:.2f} to {100 * high:.2f})")
    record("online3d", "frames", values, model=system.model)
    if options.scans:
        scans = [scannet.read(path) for path in data.files_in(options.scans).values()]
        classes = common(scans)
        values = {scan.name: turned(system, scan, options.turns, classes) for scan in scans}
        for source, target in permutations(scans, 2):
            values[name := f"{target.name}, labels copied from {source.name}"] = Metric(copied(source, target, classes))
            print(f"{name}: {values[name].value:.3f}")
        record("online3d", "scans", values, model=system.model)


if __name__ == "__main__":
    main()
