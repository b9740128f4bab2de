"""Accuracy and speed of SLAM on real and on rendered sequences, with ablations, in one table.

    python benchmarks/slam.py DATA [--only NAME ...] [--ablations] [--record [NAME]] [--vocabulary PATH]
    python benchmarks/slam.py DATA --more head=PATH:depth --more kitchen2=PATH:mono:500-650

DATA is the folder with `7scenes-redkitchen` and `kitti`; `--more NAME=PATH:SENSORS[:START-STOP]` adds sequences that
`percepta predict slam` reads and whose truth is known. ATE is the RMSE of camera centres after alignment over SE(3),
for one camera alone Sim(3), over all frames that were tracked; their share stands beside it. In the kitchen the depth
camera is scored: world_from_colour · colour_from_depth. Beside each row: a camera that stands still. The scale is that
of an alignment over Sim(3): where lengths are metres, 1 is right. Milliseconds are of the
clock, so run it on an idle machine. There are no real stereo and no inertial data here: these rows are rendered.

`--ablations` runs each sequence also without local adjustment, without closing loops, without surfaces (depth), with
the inertial sensor outside the adjustment, and without it; no times are told, so the machine need not be idle.
`--vocabulary` is ORB-SLAM3's file of 139 MB: with it and the package pyorbslam3 installed that peer runs on the same
frames with depth or one camera, in a process of its own, since a wrong setting ends it; without them its rows say that
it was left out.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from record import record

import percepta
from percepta.datasets.capture import Capture
from percepta.metrics import Metric, trajectory
from percepta.report import Table
from percepta.systems.slam import Config
from percepta.systems.slam.data import MODES, only, open_capture
from percepta.systems.slam.evaluate import Score, score
from percepta.systems.slam.predict import Slam
from percepta.systems.slam.world import Mode
from percepta.worlds.rooms.flat import FlatWalk

FLAT = 11  # seed of the rendered flat: not one of those that settings were looked at with
COLUMNS = ["sequence", "ATE, m", "stands still", "tracked", "RPE of 10 frames, m", "scale", "keyframes", "loops", "ms"]


@dataclass(frozen=True)
class Sequence:
    """What is run: a name, the sensors, and how the capture is opened."""

    name: str
    mode: Mode
    open: Callable[[], Capture]


def sequences(root: Path, more: list[str]) -> Iterator[Sequence]:
    """All rows of the table."""
    for mode in ("depth", "mono"):
        yield Sequence(f"kitchen 0-299, {mode}", mode, lambda: open_capture(root / "7scenes-redkitchen").part(0, 300))
    yield Sequence("KITTI clip, mono", "mono", lambda: open_capture(root / "kitti"))
    for text in more:
        name, _, rest = text.partition("=")
        path, mode, *span = rest.split(":")
        start, stop = (int(value) for value in span[0].split("-")) if span else (0, None)
        if mode not in MODES:
            raise SystemExit(f"--more {text}: sensors are {', '.join(MODES)}, not {mode!r}")
        yield Sequence(f"{name}, {mode}", mode, lambda p=path, a=start, b=stop: open_capture(p).part(a, b))
    for mode in ("depth", "stereo", "mono", "inertial"):
        yield Sequence(f"flat with a loop, {mode}", mode, lambda m=mode: FlatWalk(FLAT, m).capture())


def kept(sequence: Sequence) -> Capture:
    """A sequence whose frames are read or rendered once for all rows."""
    capture = only(sequence.open(), sequence.mode)
    return replace(capture, frames=list(capture), samples=None)


def run(system: Slam, whole: Capture, mode: Mode, config: Config) -> tuple[Score, np.ndarray]:
    """The errors of a sequence, and the milliseconds of its frames."""
    capture = only(whole, mode)
    session = replace(system, config=config).session_of(capture)
    milliseconds = []
    for shot in capture:
        start = time.perf_counter()
        session.step(shot.frame, shot.time_s, shot.depth_m, shot.right, shot.imu)
        milliseconds.append(1e3 * (time.perf_counter() - start))
    return score(session.walk(), capture, mode), np.array(milliseconds)


def variants(small: Config, mode: Mode, ablations: bool) -> dict[str, tuple[Mode, Config]]:
    """What is run of a sequence: {what its name ends with: (sensors, settings)}."""
    found: dict[str, tuple[Mode, Config]] = {"": (mode, small)}
    if ablations:
        found[", no local adjustment"] = mode, replace(small, iterations=0, adjust_all=False)
        found[", no loop closing"] = mode, replace(small, loops=False)
    if ablations and mode == "depth":
        found[", no surfaces"] = mode, replace(small, surface_weight=0.0)
    if ablations and mode == "inertial":
        found[", sensor outside the adjustment"] = mode, replace(small, coupled=False)
        found[", no inertial sensor"] = "mono", small
    return found


def memory_per_keyframe(system: Slam) -> float:
    """Megabytes that a thousand keyframes of a walk take, pictures that are still kept left out."""
    capture = only(FlatWalk(FLAT, "mono", 160).capture(), "mono")
    session = system.session_of(capture)
    tracemalloc.start()
    for shot in capture:
        session.step(shot.frame, shot.time_s)
    for keyframe in session.tracker.map.keyframes:
        keyframe.grey = None
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return size / 1e6 / len(session.tracker.map.keyframes) * 1000


def row(name: str, one: Score, milliseconds: np.ndarray) -> list[str]:
    loops = one.walk.states.count("loop closed")
    return [
        name,
        f"{one.ate_m:.4f}",
        f"{one.still_m:.2f}",
        f"{one.tracked:.1%}",
        f"{one.rpe_m:.4f}",
        f"{one.scale:.3f}",
        str(one.walk.keyframes),
        str(loops),
        f"{np.median(milliseconds):.0f} ({np.percentile(milliseconds, 95):.0f})",
    ]


# ------------------------------------------------------------------------------------------------------------- peer

SETTINGS = """%YAML:1.0
File.version: "1.0"
Camera.type: "PinHole"
Camera1.fx: {fx:.6f}
Camera1.fy: {fy:.6f}
Camera1.cx: {cx:.6f}
Camera1.cy: {cy:.6f}
Camera1.k1: {k1:.6f}
Camera1.k2: {k2:.6f}
Camera1.p1: {p1:.6f}
Camera1.p2: {p2:.6f}
Camera.width: {width}
Camera.height: {height}
Camera.fps: {fps}
Camera.RGB: 1
Stereo.ThDepth: 40.0
Stereo.b: 0.08
RGBD.DepthMapFactor: 1.0
ORBextractor.nFeatures: 1000
ORBextractor.scaleFactor: 1.2
ORBextractor.nLevels: 8
ORBextractor.iniThFAST: 20
ORBextractor.minThFAST: 7
"""

PEER = """
import sys
import numpy as np
import pyorbslam3
from pyorbslam3 import Sensor, Slam
vocabulary, settings, frames, out = sys.argv[1:]
data = np.load(frames)
depth = "depth" in data
slam = Slam(vocabulary, settings, Sensor.RGBD if depth else Sensor.MONOCULAR)
for i, t in enumerate(data["time_s"].tolist()):
    picture = np.ascontiguousarray(data["frames"][i])
    slam.track_rgbd(picture, data["depth"][i], t) if depth else slam.track_monocular(picture, t)
slam.shutdown()
slam.save_trajectory_euroc(out)
"""


def peer(capture: Capture, mode: Mode, vocabulary: Path) -> tuple[str, str]:
    """ORB-SLAM3's ATE in metres and share of tracked frames, or why there are none, in words."""
    shots = list(capture)
    camera, lens = capture.camera, (*capture.lens.values, 0.0, 0.0, 0.0, 0.0)[:4]
    gaps = np.diff([shot.time_s for shot in shots])
    numbers = {name: float(getattr(camera, name)) for name in ("fx", "fy", "cx", "cy")}
    bends = dict(zip(("k1", "k2", "p1", "p2"), lens, strict=True))
    text = SETTINGS.format(**numbers, **bends, width=camera.width, height=camera.height, fps=round(1 / np.median(gaps)))
    assert capture.truth is not None
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder) / name) for name in ("settings.yaml", "frames.npz", "way.txt")]
        Path(paths[0]).write_text(text)
        arrays: dict[str, Any] = {
            "time_s": np.array([shot.time_s for shot in shots]),
            "frames": np.stack([shot.frame for shot in shots]),
        }
        if mode == "depth":
            arrays["depth"] = np.stack([shot.depth_m for shot in shots if shot.depth_m is not None])
        np.savez(paths[1], **arrays)
        done = subprocess.run([sys.executable, "-c", PEER, str(vocabulary), *paths], capture_output=True, text=True)
        if done.returncode or not Path(paths[2]).is_file():
            return f"it ended with {done.returncode}: {done.stderr.strip()[-80:]}", ""
        rows = np.loadtxt(paths[2], ndmin=2)
        Path(paths[2]).with_suffix(".csv").write_text(
            "\n".join(",".join(map(str, r[[0, 1, 2, 3, 7, 4, 5, 6]])) for r in rows)
        )
        found = trajectory.read(Path(paths[2]).with_suffix(".csv"), "euroc")
    scored = trajectory.Trajectory(found.time_s, found.world_from_camera @ capture.camera_from_scored)
    errors, _ = trajectory.absolute(scored, capture.truth, with_scale=mode == "mono", max_difference_s=0.01)
    return f"{errors.rmse:.4f}", f"{len(errors.values) / len(shots):.1%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", action="append", default=[], help="sequences whose name holds this; may be repeated")
    parser.add_argument("--more", action="append", default=[], metavar="NAME=PATH:SENSORS[:START-STOP]")
    parser.add_argument(
        "--ablations", action="store_true", help="also without adjustment, loops, surfaces, and the IMU"
    )
    parser.add_argument(
        "--record",
        nargs="?",
        const="trajectories",
        help="write benchmarks/results/slam-NAME.json; left out: trajectories",
    )
    parser.add_argument("--vocabulary", type=Path, help="ORB-SLAM3's vocabulary, for the peer")
    options = parser.parse_args()
    system = percepta.load("slam", device="cpu")
    small = system.config
    vocabulary: Path | None = options.vocabulary if find_spec("pyorbslam3") is not None else None
    rows: list[list[str]] = []
    values: dict[str, Metric] = {}
    for sequence in sequences(options.data, options.more):
        if options.only and not any(part in sequence.name for part in options.only):
            continue
        capture = kept(sequence)
        for label, (mode, config) in variants(small, sequence.mode, options.ablations).items():
            one, milliseconds = run(system, capture, mode, config)
            rows.append(row(sequence.name + label, one, milliseconds))
            print(" | ".join(rows[-1]), flush=True)
            name = sequence.name + label
            frames = len(one.walk.states)
            values[f"{name}: ATE"] = Metric(one.ate_m, n=frames, unit="m", baselines={"stands still": one.still_m})
            values[f"{name}: tracked"] = Metric(one.tracked, n=frames)
            values[f"{name}: scale"] = Metric(one.scale, n=frames)
            for what, share in () if options.ablations else (("median", 50), ("95 %", 95)):
                number = float(np.percentile(milliseconds, share))
                values[f"{name}: {what} ms"] = Metric(number, n=frames, unit="ms")
        if sequence.mode in ("depth", "mono") and not options.ablations:
            ate, tracked = ("left out", "") if vocabulary is None else peer(capture, sequence.mode, vocabulary)
            rows.append([f"{sequence.name}, ORB-SLAM3", ate, "", tracked, *[""] * (len(COLUMNS) - 4)])
            print(" | ".join(rows[-1]), flush=True)
    if options.ablations:
        if options.record:
            table = Table(COLUMNS[:-1], [one[:-1] for one in rows], "Each row leaves one part out.")
            record("slam", options.record, values, model=system.model, tables=[table])
        return
    megabytes = memory_per_keyframe(system)
    print(f"{megabytes:.0f} MB for a thousand keyframes of 320×240, pictures left out")
    if options.record:
        values["memory"] = Metric(megabytes, unit="MB")
        caption = f"{megabytes:.0f} MB for a thousand keyframes. Milliseconds a frame: median (95th percentile)."
        if vocabulary is None:
            caption += " ORB-SLAM3 was left out: it needs the package pyorbslam3 and `--vocabulary PATH`."
        record("slam", options.record, values, model=system.model, tables=[Table(COLUMNS, rows, caption)])


if __name__ == "__main__":
    main()
