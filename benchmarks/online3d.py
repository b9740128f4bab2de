"""Accuracy of a trained network on synthetic rooms never seen: scanned frame by frame, and at once.

    python benchmarks/online3d.py WEIGHTS [--rooms 12] [--frames 60] [--scans FOLDER [--turns 5]]

For each room a session in the mode `paper` and one in the mode `full` go through the same frames; at the end the map's
voxels are compared with the labels that were rendered. Goal: `paper` loses at most .5 points of mIoU. With `--scans`,
labelled scans are turned about the vertical and shifted at random before they are predicted, and mIoU is also taken
over the classes with at least 1 % of the points.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import percepta
from percepta.datasets import nyu40, rooms, scannet
from percepta.datasets.posed import RgbdFrame
from percepta.geometry import camera as cameras
from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics
from percepta.metrics import interval, scenes
from percepta.systems.online3d import data, task
from percepta.systems.online3d.online import Online

CAMERA = Intrinsics.field_of_view(160, 120, 58.0)


def room(model: Any, seed: int, frames: int, mode: Any, memory: float) -> tuple[np.ndarray, np.ndarray]:
    """(confusion over voxels, confusion of the whole network run once on the same map)."""
    world, rng = rooms.room(seed), np.random.default_rng(seed)
    online, seen = Online(model, mode=mode, memory=memory), []
    for pose in rooms.walk(world, 0, frames=frames, fps=frames / 40):
        view = rooms.measure(world, rooms.render(world, pose, CAMERA), rng)
        if online.step(RgbdFrame(view.colour, view.depth_m, pose, CAMERA, "")).taken:
            good = online._good(view.depth_m.astype(np.float64))
            xyz = poses.transform(pose, cameras.rays(CAMERA)[good] * view.depth_m[good].astype(np.float64)[:, None])
            seen.append((xyz, view.colour[good], nyu40.scannet20(view.label[good]), view.instance[good]))
    places, tones, labels, objects = (np.concatenate(column) for column in zip(*seen, strict=True))
    voxels = data.voxelise(places, tones, labels, objects, online.map.voxel_m)
    order = np.lexsort(online.map.coords.T[::-1])
    result = online.result()
    answers = nyu40.scannet20(result.label)[order], nyu40.scannet20(task.predict(model, result).label)[order]
    return scenes.confusion(voxels.label, answers[0], 20), scenes.confusion(voxels.label, answers[1], 20)


def turned(model: Any, path: Path, turns: int) -> None:
    """Prints mIoU of one labelled scan, turned and shifted at random."""
    scan, rng = scannet.read(path), np.random.default_rng(0)
    truth = nyu40.scannet20(scan.label)
    shares = np.bincount(truth[truth >= 0], minlength=20) / (truth >= 0).sum()
    for _ in range(turns):
        turn = poses.from_vector(np.array([0, 0, rng.uniform(-np.pi, np.pi)]))
        moved = (scan.xyz @ turn.T + rng.uniform(-5, 5, 3)).astype(np.float32)
        answer = nyu40.scannet20(task.predict(model, replace(scan, xyz=moved)).label)
        values = scenes.iou(scenes.confusion(truth, answer, 20))
        print(
            f"{path.stem}: mIoU {np.nanmean(values):.3f}, classes of 1 % and more {values[shares >= 0.01].mean():.3f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--rooms", type=int, default=12)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--memory", type=float, default=2.0)
    parser.add_argument("--scans", type=Path)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    model = percepta.load(options.weights, device="cpu").model
    tables: dict[str, list[np.ndarray]] = {"paper": [], "full": [], "at once": []}
    for seed in range(data.FIRST["test"], data.FIRST["test"] + options.rooms):
        for mode in ("paper", "full"):
            online, once = room(model, seed, options.frames, mode, options.memory)
            tables[mode].append(online)
        tables["at once"].append(once)
    for name, rows in tables.items():
        low, high = interval([scenes.miou(row) for row in rows])
        print(f"{name:8} mIoU {scenes.miou(np.sum(rows, 0)):.4f} (mean over rooms {low:.3f} to {high:.3f})")
    if options.scans:
        for path in data.scans_in(options.scans).values():
            turned(model, path, options.turns)


if __name__ == "__main__":
    main()
