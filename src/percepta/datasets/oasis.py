"""OASIS photographs with one caption each; masks beside them as in `flickr8k.py`. Kurdi et al. 2017."""

from __future__ import annotations

import csv
from pathlib import Path

from percepta.datasets import flickr8k
from percepta.datasets.scene import Scene


def read(root: Path) -> list[Scene]:
    """Every picture of `root` that has something marked; the caption's first sentence is its sentence."""
    with (root / "images.csv").open(newline="") as file:
        captions = {row["file"]: [row["caption"].split(".")[0].strip()] for row in csv.DictReader(file)}
    return flickr8k.scenes(root, captions, "oasis")
