"""Speed and memory of street segmentation on a CPU, beside SegFormer-B0 of transformers with random weights.

    python benchmarks/weather.py [--weights runs/mine] [--peer PYTHON] [--record]
    python benchmarks/weather.py --drive DATA/camvid [--idd DATA/idd-lite] --runs "NAME=RUN" ... [--record]

The first measures the time of a picture of 480×360 from pixels to labels, of one of 2048×1024 in windows, and the
memory of the process; each in a process of its own. The peer runs in PYTHON, the interpreter of an environment that has
`torch` and `transformers` (python -m venv peer; peer/bin/pip install torch transformers); left out: this one; where
transformers is missing it is ours (preset segformer, the same network) that stands beside, and says so. Goals on 2 idle
cores: 10 pictures a second, twice as fast as the peer, below 800 MB.

The second evaluates runs (or checkpoints) beside each other: on CamVid's split test (its day drive, and the last 21
pictures at dusk), and on IDD-Lite's split val in its seven classes, whose probabilities are sums of ours.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import cell, record

from percepta import card
from percepta.report import Table

SMALL, LARGE = (360, 480), (1024, 2048)
PEER = """
import json, statistics, sys, time
import torch
from transformers import SegformerConfig, SegformerForSemanticSegmentation
torch.manual_seed(0)
torch.set_num_threads(int(sys.argv[1]))
model = SegformerForSemanticSegmentation(SegformerConfig(num_labels=11)).eval()
times = []
picture = torch.rand(1, 3, 360, 480)
with torch.inference_mode():
    for _ in range(12):
        start = time.perf_counter()
        logits = model(pixel_values=picture).logits
        torch.nn.functional.interpolate(logits, (360, 480), mode="bilinear").argmax(1)
        times.append(time.perf_counter() - start)
print(json.dumps({"seconds": statistics.median(times[2:]), "name": "transformers"}))
"""


def memory_mb() -> float:
    """The most that this process has held."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


def median_s(step: Callable[[], Any], times: int) -> float:
    """The median time of a call, after two that warm up."""
    found = []
    for _ in range(times + 2):
        start = time.perf_counter()
        step()
        found.append(time.perf_counter() - start)
    return statistics.median(found[2:])


def ours(weights: str | None, preset: str, size: tuple[int, int], times: int) -> dict[str, float]:
    """Seconds a picture and the most memory.

    Args:
        weights: a run or checkpoint; None: random ones of the preset, whose time is the same.
        preset: of the network.
        size: height and width of the picture.
        times: how often.
    """
    import percepta
    from percepta import train
    from percepta.media.source import answers
    from percepta.systems.weather import PRESETS
    from percepta.systems.weather.model import build
    from percepta.systems.weather.predict import Weather
    from percepta.weights import checkpoint_file

    if weights:
        system = percepta.load(checkpoint_file(weights, "weather"), system="weather")
    else:
        config = PRESETS[preset]
        network = build(config).eval()
        system = Weather(config, network, "", train.Evaluator("weather", config, network), answers)
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    seconds = median_s(lambda: system.predict(picture), times)
    return {"seconds": seconds, "memory_mb": memory_mb()}


def apart(words: list[str]) -> dict[str, Any]:
    """What this file prints in a process of its own."""
    done = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def peer(python: str, threads: int) -> dict[str, Any]:
    """The peer's time; our own SegFormer-B0 where transformers is not installed."""
    done = subprocess.run([python, "-c", PEER, str(threads)], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    return {**apart(["--one", "segformer", "--threads", str(threads)]), "name": "our SegFormer-B0"}


def speed(options: argparse.Namespace) -> dict[str, float]:
    """Times and memory, printed and returned."""
    given = ["--weights", options.weights] if options.weights else []
    threads = ["--threads", str(options.threads)]
    small = apart(["--one", "small", *given, *threads])
    large = apart(["--one", "large", *given, *threads])
    other = peer(options.peer, options.threads)
    values = {
        "ours, 480×360": 1000 * small["seconds"],
        "memory, 480×360, MB": small["memory_mb"],
        "ours, 2048×1024 in windows": 1000 * large["seconds"],
        "memory, 2048×1024, MB": large["memory_mb"],
        f"SegFormer-B0 ({other['name']}), 480×360": 1000 * other["seconds"],
        "times as fast": other["seconds"] / small["seconds"],
    }
    for name, value in values.items():
        print(f"{name:45} {value:9.1f}")
    print(f"{1 / small['seconds']:.1f} pictures a second on {options.threads} threads")
    return values


def compared(options: argparse.Namespace) -> tuple[dict[str, Any], Table]:
    """The numbers of several runs on CamVid's split test and on IDD-Lite's split val."""
    import percepta
    from percepta.weights import checkpoint_file

    values: dict[str, Any] = {}
    rows = []
    columns = {
        "miou/day": "day, mIoU", "miou_frequent/day": "frequent classes", "miou/dusk": "dusk, mIoU",
        "miou_frequent/dusk": "frequent classes at dusk",
    }  # fmt: skip
    if options.idd:
        columns["miou/idd-lite day"] = "IDD-Lite, mIoU"
    for word in options.runs:
        name, _, run = word.rpartition("=")
        loaded = percepta.load(checkpoint_file(run, "weather"), system="weather")
        found = dict(loaded.evaluate(options.drive, split="test").metrics)
        if options.idd:
            found |= loaded.evaluate(options.idd, split="val").metrics
        for key, metric in found.items():
            values[f"{name}, {key}"] = metric
            print(f"{name}, {key}: {metric.value:.4f}")
        rows.append([name, *(cell(f"{name}, {key}", ".3f") for key in columns)])
    trivial = [
        "" if "frequent" in key else f"{{{card.slug(f'{name}, {key}')}:likeliest-class-of-each-place .3f}}"
        for key in columns
    ]
    rows.append(["likeliest class of each place, told the truth", *trivial])
    return values, Table(["weights", *columns.values()], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights")
    parser.add_argument("--runs", nargs="+", metavar="NAME=RUN", help="runs or checkpoints to compare")
    parser.add_argument("--drive", type=Path, help="the folder of CamVid")
    parser.add_argument("--idd", type=Path, help="the folder of IDD-Lite")
    parser.add_argument("--peer", default=sys.executable)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--one", choices=["small", "large", "segformer"], help=argparse.SUPPRESS)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.one:
        size, times = (LARGE, 3) if options.one == "large" else (SMALL, 20)
        preset = "segformer" if options.one == "segformer" else "small"
        print(json.dumps(ours(options.weights, preset, size, times)))
    elif options.drive:
        values, table = compared(options)
        if options.record:
            record("weather", "runs", values, tables=[table])  # of runs that do not ship: no hash
    else:
        values = speed(options)
        if options.record:
            record("weather", "speed", values)


if __name__ == "__main__":
    main()
