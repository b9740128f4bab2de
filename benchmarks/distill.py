"""What DLB costs over cross-entropy on the same two views, and how many pictures a second a process trains.

    python benchmarks/distill.py [--steps 12] [--preset resnet20]

Steps of all methods alternate in one process, on the same batches of the synthetic world at the preset's size. Prints
the ratio of the medians, and pictures a second (fresh ones: each goes through the network twice, with "none" once).
Goal: DLB costs less than 5 % more than the same two views without it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace
from typing import Any

import torch
from record import record

from percepta.nn import selfdistill
from percepta.systems.distill import PRESETS, SIGNS, task
from percepta.systems.distill.data import TrainingSet, pool, unit

METHODS = ("none", "views", "dlb", "recall")
BATCH = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--preset", default="resnet20", choices=tuple(PRESETS))
    args = parser.parse_args()
    torch.set_num_threads(1)
    config = replace(PRESETS[args.preset], self_distill="recall", classes=SIGNS)
    pictures, model = pool(config, "train", None), task.build(config).train()
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    memories: dict[str, dict[str, Any]] = {method: {} for method in METHODS}
    seconds: dict[str, list[float]] = {method: [] for method in METHODS}
    for step in range(args.steps + 2):
        keys = [(step, (step * BATCH + i) % len(pictures)) for i in range(BATCH)]
        for method in METHODS:
            began = time.perf_counter()
            batch = TrainingSet(pictures, method).collate(keys)
            values = selfdistill.objective(method, lambda pixels: model(unit(pixels)), batch, memories[method])
            optimizer.zero_grad()
            values["loss"].backward()
            optimizer.step()
            if step >= 2:  # the first has no second half, and both warm up
                seconds[method].append(time.perf_counter() - began)
    middle = {method: statistics.median(rows) for method, rows in seconds.items()}
    for method, value in middle.items():
        print(f"{method:8} {1000 * value:7.1f} ms a step   {BATCH / value:6.0f} pictures/s on one thread")
    for method in ("dlb", "recall"):
        print(f"{method} over views: {middle[method] / middle['views']:.3f}   goal: below 1.05")
    values = {f"pictures a second, {method}": BATCH / value for method, value in middle.items()}
    record("distill", "speed", values | {f"{m} over views": middle[m] / middle["views"] for m in ("dlb", "recall")})


if __name__ == "__main__":
    main()
