"""Trains a classifier on folders of pictures, one a class: python examples/distill.py FOLDER [PICTURE ...]."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import percepta
from percepta.report import Metrics, Page
from percepta.systems.distill import PRESETS, task
from percepta.train import train


def main(folder: Path, pictures: list[str], out: Path, preset: str = "small", steps: int = 400) -> None:
    config = task.fit_config(PRESETS[preset], folder)
    config = replace(config, train=replace(config.train, steps=steps))
    system = percepta.load(train("distill", config, root=folder, out=out), system="distill")
    found = system.evaluate(folder, batch_size=32, examples=16)
    Page(str(folder), [Metrics(found.metrics), *found.blocks]).write(out / "mistakes.html")
    for picture in pictures:
        result = system.predict(picture)
        print(f"{picture}: {result.label} ({result.score:.0%})")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), sys.argv[2:], Path("out/example-distill"))
