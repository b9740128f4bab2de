"""Flickr8k pictures with five captions each, what stands out in them, and pseudo-labels of the 20 VOC classes.

Layout: images/*.jpg, captions.csv (image, caption), and beside them, where somebody made them, foreground/<stem>.png
with quality.csv (stem, area, unsure) and voc21-pseudo/<stem>.png whose values index voc21.txt. OASIS has the same
layout with one caption a picture (`oasis.py`). Flickr8k: Hodosh et al. 2013, research use.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np

from percepta.datasets.captioned import Clip, picture_clips
from percepta.datasets.problem import Problem, noting
from percepta.datasets.scene import PngMask, Region, Scene
from percepta.datasets.tables import has_column, note, read_table, to_number
from percepta.datasets.voc import NAMES
from percepta.errors import InputError, MissingFileError
from percepta.files import file_named

NAME = "Flickr8k"
FILES = "captions.csv (image,caption) with images/"

# A foreground mask is used when it is neither a speck nor doubtful (share of half-transparent pixels).
SMALLEST_AREA, MOST_UNSURE = 0.02, 0.15


def is_one(root: Path) -> bool:
    """Whether captions.csv has a column "image" and images/ is there."""
    if not ((root / "captions.csv").is_file() and (root / "images").is_dir()):
        return False
    return has_column(root / "captions.csv", "image")


def read(root: Path, problems: list[Problem] | None = None, warnings: list[Problem] | None = None) -> list[Scene]:
    """Every picture of `root` that has something marked. Raises MissingFileError naming what is missing.

    Args:
        root: folder of the set.
        problems: a list to add to; None: the first is raised.
        warnings: a list to add to; None: they are dropped.
    """
    captions = {name: [text.strip(" .") for text in texts] for name, texts in _captions(root, problems)[0].items()}
    return scenes(root, captions, "flickr8k", problems)


def scenes(
    root: Path, captions: dict[str, list[str]], source: str, problems: list[Problem] | None = None
) -> list[Scene]:
    """Scenes from captions by file name, foreground masks and pseudo-labels.

    Args:
        root: folder with images/ and the folders of masks.
        captions: sentences by file name.
        source: short name of the data set.
        problems: a list to add to; None: the first is raised.
    """
    trusted = _trusted(root / "foreground" / "quality.csv", problems)
    out = []
    for name, sentences in captions.items():
        stem = Path(name.replace("\\", "/")).stem
        with noting(problems, root / "images" / name):
            regions = []
            foreground = file_named(root / "foreground", f"{stem}.png") if stem in trusted else None
            if foreground is not None:
                regions.append(Region(PngMask(foreground), "", tuple(sentences), every=True))
            labels = file_named(root / "voc21-pseudo", f"{stem}.png")
            if labels is not None:
                values = [int(v) for v in np.unique(PngMask(labels).load()) if v > 0]
                if values and values[-1] > len(NAMES):
                    raise InputError(f"{labels}: the value {values[-1]} is none of the {len(NAMES)} classes of VOC")
                regions += [Region(PngMask(labels, (v,)), NAMES[v - 1], every=True) for v in values]
            image = file_named(root / "images", name)
            if regions and image is None:
                raise MissingFileError(f"{root / 'images' / name}: no such picture, though it has captions")
            if regions and image is not None:
                vocabulary = frozenset(NAMES) if labels is not None else frozenset()
                out.append(Scene(image, tuple(regions), source, f"{source}/{stem}", vocabulary))
    return out


def _trusted(quality: Path, problems: list[Problem] | None) -> set[str]:
    if not quality.exists():
        return set()
    out = set()
    for line, (stem, *cells) in read_table(quality, ("stem", "area", "unsure"), problems=problems):
        area, unsure = map(to_number, cells)
        if area is None or unsure is None:
            note(problems, quality, line, f"area and unsure are numbers, not {cells[0]!r} and {cells[1]!r}")
        elif area > SMALLEST_AREA and unsure < MOST_UNSURE:
            out.add(stem)
    return out


def _captions(root: Path, problems: list[Problem] | None) -> tuple[dict[str, list[str]], dict[str, int]]:
    """Captions by picture, and the line of each picture's first."""
    table = root / "captions.csv"
    captions: dict[str, list[str]] = defaultdict(list)
    lines: dict[str, int] = {}
    for line, (image, caption) in read_table(table, ("image", "caption"), problems=problems):
        if not image or not caption:
            note(problems, table, line, f"the {'caption' if image else 'image'} is empty")
            continue
        captions[image].append(caption)
        lines.setdefault(image, line)
    return captions, lines


def clips(root: Path, problems: list[Problem] | None = None, warnings: list[Problem] | None = None) -> list[Clip]:
    """The pictures of captions.csv. `problems` gets what is wrong; without a list the first is raised.

    Args:
        root: folder of the set.
        problems: a list to add to; None: the first is raised.
        warnings: a list to add to; None: they are dropped.
    """
    captions, lines = _captions(root, problems)
    return picture_clips(root, captions, "flickr8k", root / "captions.csv", lines, problems)


READS = {Scene: read, Clip: clips}
