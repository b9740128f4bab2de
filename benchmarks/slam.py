"""Accuracy and speed of SLAM on real and on synthetic sequences, with ablations.

    python benchmarks/slam.py DATA [--only NAME] [--ablations] [--record]

DATA is the folder with `7scenes-redkitchen` and `kitti`. ATE is the RMSE of camera centres after alignment over SE(3),
for one camera Sim(3), over all frames that were tracked; their share stands beside it. In the kitchen the depth camera
is scored: world_from_colour · colour_from_depth. The synthetic room has a closed round trip. Milliseconds are of the
clock, so run it on an idle machine. There are no real stereo and no inertial data here.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from record import record

from percepta.datasets import kitti_odometry, seven_scenes
from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics
from percepta.metrics import trajectory
from percepta.metrics.trajectory import Trajectory
from percepta.systems.slam import PRESETS, Config
from percepta.systems.slam.predict import Session
from percepta.systems.slam.world import room, round_trip


@dataclass(frozen=True)
class Sequence:
    """Frames with their truth.

    Attributes:
        frames: (picture, time, depth, right) each.
        scored_from_camera: the camera whose pose is scored, in the coordinates of the one that is tracked.
    """

    camera: Intrinsics
    truth: Trajectory
    frames: list[tuple[Any, ...]]
    scored: np.ndarray
    distortion: tuple[float, ...] = ()
    rolling_shutter: float = 0.0
    baseline_m: float = 0.0


def kitchen(root: Path, mono: bool, count: int = 300) -> Sequence:
    recording = seven_scenes.read(root / "7scenes-redkitchen")
    frames = [recording.read(i) for i in range(min(count, len(recording)))]
    times = np.arange(len(frames)) / 30
    truth = trajectory.trajectory(times, np.stack([recording.pose(i) for i in range(len(frames))]))
    rows = [(f.colour, t, None if mono else f.depth_m) for f, t in zip(frames, times.tolist(), strict=True)]
    return Sequence(
        frames[0].intrinsics,
        truth,
        rows,
        np.array(seven_scenes.COLOUR_FROM_DEPTH),
        seven_scenes.COLOUR_DISTORTION,
        seven_scenes.ROLLING_SHUTTER,
    )


def kitti(root: Path) -> Sequence:
    drive = kitti_odometry.read(root / "kitti")
    assert drive.truth is not None
    return Sequence(drive.intrinsics, drive.truth, [(left, t) for left, _, t in drive.frames()], np.eye(4))


def synthetic(mode: str, count: int = 400) -> Sequence:
    camera, place = Intrinsics(400.0, 400.0, 319.5, 239.5, 640, 480), room(1, (8.0, 6.0, 3.0))
    true = round_trip(count, radius_m=1.5, turns=1.1)
    rows: list[tuple[Any, ...]] = []
    for i, pose in enumerate(true):
        grey, depth = place.render(camera, pose)
        right = None
        if mode == "stereo":
            right, _ = place.render(camera, pose @ poses.compose(np.eye(3), np.array([0.12, 0.0, 0.0])))
        rows.append((grey, i / 30, depth if mode == "depth" else None, right))
    truth = trajectory.trajectory(np.arange(count) / 30, true)
    return Sequence(camera, truth, rows, np.eye(4), baseline_m=0.12 if mode == "stereo" else 0.0)


def score(name: str, sequence: Sequence, config: Config, *, mono: bool) -> dict[str, float]:
    config = replace(config, rolling_shutter=sequence.rolling_shutter)
    session = Session(sequence.camera, config, sequence.distortion, sequence.baseline_m)
    milliseconds = []
    for frame in sequence.frames:
        start = time.perf_counter()
        session.step(*frame)
        milliseconds.append(1e3 * (time.perf_counter() - start))
    walk = session.walk()
    scored = trajectory.trajectory(walk.trajectory.time_s, walk.trajectory.world_from_camera @ sequence.scored)
    errors, alignment = trajectory.absolute(scored, sequence.truth, with_scale=mono, max_difference_s=1e-3)
    shift, turn = trajectory.relative(scored, sequence.truth, frames=10, scale=alignment.scale, max_difference_s=1e-3)
    first = int(walk.frames[0]) if len(walk.frames) else -1
    found = {
        "ate_m": errors.rmse,
        "tracked": len(walk.frames) / len(sequence.frames),
        "rpe_m": shift.rmse,
        "rpe_deg": turn.rmse,
        "median_ms": float(np.median(milliseconds)),
        "p95_ms": float(np.percentile(milliseconds, 95)),
        "keyframes": float(walk.keyframes),
    }
    loops = walk.states.count("loop closed")
    print(
        f"{name:36} ATE {errors.rmse:.4f} m of {sequence.truth.length_m:5.1f}, {found['tracked']:4.0%} tracked from "
        f"frame {first}, RPE(10) {shift.rmse:.4f} m {turn.rmse:.2f} deg, {walk.keyframes} keyframes, {loops} loops, "
        f"{found['median_ms']:.0f} ms (p95 {found['p95_ms']:.0f})",
        flush=True,
    )
    return found


def sequences(root: Path) -> Iterator[tuple[str, Any, bool]]:
    yield "kitchen-rgbd", lambda: kitchen(root, False), False
    yield "kitchen-mono", lambda: kitchen(root, True), True
    yield "kitti-mono", lambda: kitti(root), True
    yield "room-rgbd", lambda: synthetic("depth"), False
    yield "room-stereo", lambda: synthetic("stereo"), False
    yield "room-mono", lambda: synthetic("mono"), True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", help="sequences whose name holds this")
    parser.add_argument("--ablations", action="store_true", help="also without adjustment, surfaces and loops")
    parser.add_argument("--record", action="store_true", help="write benchmarks/results/slam-trajectories.json")
    options = parser.parse_args()
    small = PRESETS["small"]
    variants = {"": small}
    if options.ablations:
        variants |= {
            " without adjustment": replace(small, iterations=0),
            " without surfaces": replace(small, surface_weight=0.0),
            " without loops": replace(small, loops=False),
        }
    values: dict[str, float] = {}
    for name, make, mono in sequences(options.data):
        if options.only and options.only not in name:
            continue
        sequence = make()
        for label, config in variants.items():
            found = score(name + label, sequence, config, mono=mono)
            values |= {f"{name}{label.replace(' ', '-')}.{key}": value for key, value in found.items()}
    if options.record:
        record("slam", "trajectories", values)


if __name__ == "__main__":
    main()
