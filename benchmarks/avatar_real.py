"""A real person: four calibrated videos to a capture, an avatar of three cameras, judged by the fourth.

    python benchmarks/avatar_real.py DATA/pose2sim --out RUNS [--steps 8000] [--record]

DATA/pose2sim is the demonstration of Pose2Sim (BSD-3): a man with a blue cap balances on a beam, 100 frames of four
cameras at 60 frames a second, calibrated by Qualisys. Every second frame is taken. Its three steps, each of which is
left out where RUNS holds its result, and a stopped training goes on where it stood:

    percepta avatar prepare DATA/pose2sim --out RUNS/capture --sentence "the man" --stride 2 --reach-m 0.08
    percepta train avatar --data RUNS/capture --out RUNS/run --sigma-m 0.06 --train.steps 8000
    percepta evaluate avatar --weights RUNS/run --data RUNS/capture --split test

Recorded are PSNR, SSIM, Lite0 distance and IoU of the masks of the held-out camera, on trained and on held-out frames,
beside the mean colour and the nearest picture (see `systems/avatar/evaluate.py`); and how well the fitted body covers
the masks of each camera, beside the rest pose in the middle of the hull. Masks are those that the rule of
`systems/avatar/hull.py` finds: nobody has drawn true ones, and the held-out camera's pictures helped to find masks and
poses, as in the published evaluations. The man wears tight shorts: masks end 8 cm from the body, and the fields
reach 15 cm from their nodes instead of 22.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from record import record

import percepta
from percepta.__main__ import main as command
from percepta.errors import InputError
from percepta.metrics import Metric
from percepta.systems.avatar.evaluate import NAMES

WORDS = {"psnr": "PSNR, dB", "ssim": "SSIM", "lite0_distance": "Lite0 distance", "iou": "IoU of masks"}


def run(*words: str) -> None:
    """A command of percepta.

    Raises:
        InputError: it failed.
    """
    if command(list(words)):
        raise InputError(f"percepta {' '.join(words)} failed")


def fitted(capture: Path) -> dict[str, Metric]:
    """How well the fitted body covers the masks, from what `prepare` has written."""
    cameras: dict[str, dict[str, Any]] = json.loads((capture / "prepare.json").read_text(encoding="utf-8"))["cameras"]
    out = {
        f"fitted body on the masks of {name}, IoU": Metric(
            row["body_iou"], baselines={"rest pose": row["rest_pose_iou"], "hull of all views": row["hull_iou"]}
        )
        for name, row in cameras.items()
    }
    means = {
        key: float(np.mean([row[key] for row in cameras.values()])) for key in ("body_iou", "rest_pose_iou", "hull_iou")
    }
    out["fitted body on the masks, IoU"] = Metric(
        means["body_iou"], baselines={"rest pose": means["rest_pose_iou"], "hull of all views": means["hull_iou"]}
    )
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    capture, trained = options.out / "capture", options.out / "run"
    if not (capture / "prepare.json").is_file():
        words = ("--sentence", "the man", "--stride", "2", "--reach-m", "0.08")
        run("avatar", "prepare", str(options.data), "--out", str(capture), *words)
    steps = ("--train.steps", str(options.steps))
    run("train", "avatar", "--data", str(capture), "--out", str(trained), "--sigma-m", "0.06", *steps)
    system = percepta.load(trained, system="avatar")
    found = system.evaluate(capture, split="test").metrics
    values: dict[str, Metric | float] = {}
    for kind in ("views", "poses"):
        for name, words in WORDS.items():
            if f"{kind}_{name}" in found:
                values[f"{NAMES[kind]}, {words}"] = found[f"{kind}_{name}"]
    values |= fitted(capture)
    for name, value in values.items():
        plain = value if isinstance(value, Metric) else Metric(value)
        others = ", ".join(f"{other} {number:.3f}" for other, number in plain.baselines.items())
        print(f"{plain.value:10.3f}  {name}{f'  ({others})' if others else ''}")
    if options.record:
        record("avatar", "real", values)  # the weights are of this training and do not ship


if __name__ == "__main__":
    main()
