"""When does what happen: levels on videos joined from kept-back clips, and speed.

    python benchmarks/actions.py --data BANK [--weights runs/mine] [--shuffled runs/shuffled] [--split test] [--record]
    python benchmarks/actions.py --speed [--weights runs/mine] [--record]

BANK is what `percepta actions bank DATA/ucf101-6 DATA/weizmann DATA/davis16-train DATA/motion --out BANK` makes. The
first command joins videos of all clips, of UCF-101's alone, of Weizmann's alone and of filmed bodies alone, and prints
the average mAP (overlaps .3 to .7) of the network beside a classifier of single vectors (fitted on the training clips
of all classes), the class prior, whole videos, and a network that was trained on shuffled classes (`percepta train
actions --shuffled`). The second measures how many seconds of video a second of computing answers: from features, and
from a video file of 320×240. Goals on 2 idle cores: 200 and 10 times real time.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import record

import percepta
from percepta.checkpoint import find_task
from percepta.media import video
from percepta.metrics import Metric
from percepta.systems.actions import BODY, EVERYDAY, GESTURES
from percepta.systems.actions.clips import NONE, Bank, Clip, read_bank
from percepta.systems.actions.data import JoinedSet
from percepta.systems.actions.decode import segments
from percepta.train import evaluate


def filmed(clip: Clip) -> bool:
    """Whether a clip shows a rendered body."""
    return clip.group.startswith("body ")


def parts(bank: Bank) -> dict[str, Bank]:
    """The bank and parts of it; spans without action go with the clips that they look like."""
    chosen = {
        "all": lambda clip: True,
        "UCF-101": lambda clip: not filmed(clip) and clip.label in (*EVERYDAY, NONE),
        "Weizmann": lambda clip: not filmed(clip) and clip.label in (*GESTURES, NONE),
        "bodies": lambda clip: filmed(clip) and clip.label in (*BODY, *GESTURES, NONE),
    }
    return {name: replace(bank, clips=tuple(filter(which, bank.clips))) for name, which in chosen.items()}


def levels(options: argparse.Namespace) -> tuple[Any, dict[str, Metric]]:
    """(the system, {"average mAP, PART": number with its levels})."""
    system = percepta.load(options.weights or "actions", system="actions")
    shuffled = percepta.load(options.shuffled, system="actions") if options.shuffled else None
    bank, task, values = read_bank(options.data), find_task("actions"), {}
    level = JoinedSet(system.config, options.split, bank).level
    for name, part in parts(bank).items():
        videos = JoinedSet(system.config, options.split, part, bank)
        videos.__dict__["level"] = level  # fitted once
        metric = evaluate(task, system.model, videos, 8).metrics["average mAP"]
        if shuffled is not None:
            other = JoinedSet(shuffled.config, options.split, part)
            other.__dict__["level"] = None
            metric.baselines["shuffled labels"] = evaluate(task, shuffled.model, other, 8).metrics["average mAP"].value
        values[f"average mAP, {name}"] = metric
        print(name, f"{metric.value:.3f}", {k: round(v, 3) for k, v in metric.baselines.items()}, flush=True)
    return system, values


def speed(options: argparse.Namespace) -> tuple[Any, dict[str, float]]:
    """(the system, seconds of video a second of computing)."""
    system = percepta.load(options.weights or "actions", system="actions")
    config, rng = system.config, np.random.default_rng(0)
    features = torch.randn(config.channels, 2400, generator=torch.Generator().manual_seed(0))
    best = {"features": 1e9, "video": 1e9}
    with tempfile.TemporaryDirectory() as folder:
        noise = rng.integers(0, 255, (15, 20, 3), np.uint8).repeat(16, 0).repeat(16, 1)
        file = video.write(Path(folder) / "film.mp4", (np.roll(noise, 3 * i, 1) for i in range(25 * 60)), 25)
        for _ in range(3):
            began = time.perf_counter()
            segments(system.model, features, 1 / config.fps, 0.0, 600.0)
            best["features"] = min(best["features"], time.perf_counter() - began)
            began = time.perf_counter()
            system.predict(file)
            best["video"] = min(best["video"], time.perf_counter() - began)
    values = {"real time, features": 600 / best["features"], "real time, video": 60 / best["video"]}
    print(values)
    return system, values


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--weights")
    parser.add_argument("--shuffled")
    parser.add_argument("--split", default="test")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    if (options.data is None) != options.speed:
        parser.error("give --data BANK, or --speed")
    system, values = speed(options) if options.speed else levels(options)
    if options.record:
        record("actions", "speed" if options.speed else "levels", values, model=system.model)


if __name__ == "__main__":
    main()
