"""What online3d calls the voxels of a real room that it never saw: 7-Scenes' red kitchen, which has no true labels.

    python benchmarks/online3d_kitchen.py DATA [--frames 300]

DATA is the folder with `7scenes-redkitchen`. A kitchen is full of cabinets and things on counters; the share of "wall"
says how far what was learnt in rendered rooms and one ScanNet room carries.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from record import record

import percepta
from percepta.datasets import nyu40
from percepta.datasets.recordings import open_recording
from percepta.metrics import Metric


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--frames", type=int, default=300)
    options = parser.parse_args()
    system = percepta.load("online3d", system="online3d")
    recording = open_recording(options.data / "7scenes-redkitchen")
    session = system.session(up=recording.up)
    for number, frame in enumerate(recording.frames((320, 240))):
        if number == options.frames:
            break
        session.step(frame)
    labels = session.result().label
    shares = np.bincount(labels, minlength=len(nyu40.NAMES)) / len(labels)
    values = {nyu40.NAMES[i]: Metric(float(shares[i]), n=len(labels)) for i in np.argsort(-shares)[:6]}
    for name, value in values.items():
        print(f"{name}: {value.value:.3f}")
    record("online3d", "kitchen", values, model=system.model)


if __name__ == "__main__":
    main()
