"""Flickr8k pictures with five captions each, what stands out in them, and pseudo-labels of the 20 VOC classes.

Layout: images/*.jpg, captions.csv (image, caption), and beside them, where somebody made them, foreground/<stem>.png
with quality.csv (stem, area, unsure) and voc21-pseudo/<stem>.png whose values index voc21.txt. OASIS has the same
layout with one caption a picture (`oasis.py`). Flickr8k: Hodosh et al. 2013, research use.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image

from percepta.datasets.captioned import Clip, picture_clips
from percepta.datasets.problem import Problem
from percepta.datasets.scene import PngMask, Region, Scene
from percepta.datasets.tables import note, read_table
from percepta.datasets.voc import NAMES

NAME = "Flickr8k"
FILES = "captions.csv (image,caption) with images/"

# A foreground mask is used when it is neither a speck nor doubtful (share of half-transparent pixels).
SMALLEST_AREA, MOST_UNSURE = 0.02, 0.15


def is_one(root: Path) -> bool:
    """Whether captions.csv has a column "image" and images/ is there."""
    if not ((root / "captions.csv").is_file() and (root / "images").is_dir()):
        return False
    with (root / "captions.csv").open(encoding="utf-8-sig", errors="replace") as file:
        return "image" in file.readline().lower()


def read(root: Path, problems: list[Problem] | None = None, warnings: list[Problem] | None = None) -> list[Scene]:
    """Every picture of `root` that has something marked. Raises MissingFileError naming what is missing.

    Args:
        root: folder of the set.
        problems: a list to add to; None: the first is raised.
        warnings: a list to add to; None: they are dropped.
    """
    captions: dict[str, list[str]] = defaultdict(list)
    with (root / "captions.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            captions[row["image"]].append(row["caption"].strip(" ."))
    return scenes(root, dict(captions), "flickr8k")


def scenes(root: Path, captions: dict[str, list[str]], source: str) -> list[Scene]:
    """Scenes from captions by file name, foreground masks and pseudo-labels.

    Args:
        root: folder with images/ and the folders of masks.
        captions: sentences by file name.
        source: short name of the data set.
    """
    trusted = _trusted(root / "foreground" / "quality.csv")
    out = []
    for name, sentences in captions.items():
        stem = Path(name).stem
        regions = []
        if stem in trusted:
            mask = PngMask(root / "foreground" / f"{stem}.png")
            regions.append(Region(mask, "", tuple(sentences), every=True))
        labels = root / "voc21-pseudo" / f"{stem}.png"
        if labels.exists():
            values = np.unique(np.asarray(Image.open(labels)))
            regions += [Region(PngMask(labels, (int(v),)), NAMES[v - 1], every=True) for v in values if v > 0]
        if regions:
            vocabulary = frozenset(NAMES) if labels.exists() else frozenset()
            out.append(Scene(root / "images" / name, tuple(regions), source, f"{source}/{stem}", vocabulary))
    return out


def _trusted(quality: Path) -> set[str]:
    if not quality.exists():
        return set()
    with quality.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {r["stem"] for r in rows if float(r["area"]) > SMALLEST_AREA and float(r["unsure"]) < MOST_UNSURE}


def clips(root: Path, problems: list[Problem] | None = None, warnings: list[Problem] | None = None) -> list[Clip]:
    """The pictures of captions.csv. `problems` gets what is wrong; without a list the first is raised.

    Args:
        root: folder of the set.
        problems: a list to add to; None: the first is raised.
        warnings: a list to add to; None: they are dropped.
    """
    table = root / "captions.csv"
    captions: dict[str, list[str]] = defaultdict(list)
    lines: dict[str, int] = {}
    for line, (image, caption) in read_table(table, ("image", "caption"), problems=problems):
        if not image or not caption:
            note(problems, table, line, f"the {'caption' if image else 'image'} is empty")
            continue
        captions[image].append(caption)
        lines.setdefault(image, line)
    return picture_clips(root, captions, "flickr8k", table, lines, problems)


READS = {Scene: read, Clip: clips}
