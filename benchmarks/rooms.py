"""How fast synthetic rooms are made, drawn and scanned on one thread, and how they compare with real scans.

    OMP_NUM_THREADS=1 python benchmarks/rooms.py [DATA] [--rooms 12] [--sheet rooms.png]

Times are processor seconds, so that other programs on the machine do not count. DATA, else the folder that
PERCEPTA_DATA names, holds scannet/: then shares of classes and colours are printed beside those of its scans.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from record import record

from percepta.datasets import nyu40, scannet
from percepta.worlds import rooms


def seconds(action: Callable[..., Any], *args: Any) -> tuple[float, Any]:
    start = time.process_time()
    result = action(*args)
    return time.process_time() - start, result


def describe(name: str, label: np.ndarray, rgb: np.ndarray) -> None:
    mean, spread = rgb.astype(float).mean(0).round(), rgb.astype(float).std(0).round()
    share = np.bincount(label, minlength=len(nyu40.NAMES)) / len(label)
    top = np.argsort(-share)[:14]
    print(f"{name}: {len(label):,} points, colour {mean.tolist()} ± {spread.tolist()}")
    print("   " + ", ".join(f"{nyu40.NAMES[i]} {share[i]:.3f}" for i in top if share[i]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, nargs="?", default=os.environ.get("PERCEPTA_DATA"))
    parser.add_argument("--rooms", type=int, default=12)
    parser.add_argument("--sheet", type=Path, help="writes a sheet of pictures")
    args = parser.parse_args()
    made, drawn, scanned, labels, colours, rows = [], [], [], [], [], []
    for seed in range(1000, 1000 + args.rooms):
        took, world = seconds(rooms.room, seed)
        made.append((took, len(world.things), len(world.faces)))
        path = rooms.walk(world, 0, frames=60, fps=1.5)
        shots = [seconds(rooms.render, world, pose) for pose in path[::12]]
        drawn += [shot[0] for shot in shots]
        rows.append(np.hstack([shot[1].colour[::2, ::2] for shot in shots]))
        took, cloud = seconds(rooms.scan, world, path, 0.03)
        scanned.append(took)
        labels.append(cloud.label)
        colours.append(cloud.rgb)
    took, things, faces = np.median(np.array(made), 0)
    record(
        "rooms", "speed", {"s a room": took, "ms a picture": 1000 * np.median(drawn), "s a scan": np.median(scanned)}
    )
    print(f"a room: {took:.2f} s (median of {args.rooms}; {things:.0f} things, {faces:.0f} faces)")
    print(f"a picture of 320×240: {1000 * np.median(drawn):.1f} ms, {1 / np.median(drawn):.0f} a second (goal 15)")
    print(f"a scan of 60 frames at 160×120: {np.median(scanned):.2f} s (goal 4), {len(labels[0]):,} points at 3 cm")
    describe("synthetic", np.concatenate(labels), np.concatenate(colours))
    if args.data is not None and (args.data / "scannet").is_dir():
        for file in sorted((args.data / "scannet").glob("*.npz")):
            real = scannet.read(file)
            describe(real.name, real.label, real.rgb)
    if args.sheet:
        Image.fromarray(np.vstack(rows)).save(args.sheet)


if __name__ == "__main__":
    main()
