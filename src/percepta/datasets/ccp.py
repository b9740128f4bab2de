"""Clothing Co-Parsing: street photographs with every garment and body part marked (Yang, Luo & Lin 2014).

Layout: images/<id>.jpg, masks/<id>.png whose values index labels.txt (0 is "null").
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from percepta.datasets.problem import Problem, noting
from percepta.datasets.scene import PngMask, Region, Scene
from percepta.errors import InputError, MissingFileError
from percepta.files import file_named, listed, read_lines

NAME = "Clothing Co-Parsing"
FILES = "labels.txt with images/ and masks/"

# Words that annotators use for one another: a picture that has one has, for a reader, all of its row.
SAME = (
    ("bag", "purse", "wallet"),
    ("shoes", "heels", "pumps", "flats", "loafers", "wedges", "clogs"),
    ("shirt", "blouse", "top"),
    ("sweater", "jumper", "sweatshirt"),
    ("jacket", "blazer"),
    ("tights", "stockings", "leggings"),
    ("panties", "intimate"),
)

# Rows that are no words for one another, and yet a picture that has one cannot be said to lack the other.
NEAR = (
    ("shoes", "heels", "pumps", "flats", "loafers", "wedges", "clogs", "sneakers", "boots", "sandals"),
    ("shirt", "blouse", "top", "t-shirt"),
    ("sweater", "jumper", "sweatshirt", "hoodie", "cardigan"),
    ("jacket", "blazer", "coat", "suit"),
    ("pants", "jeans"),
    ("glasses", "sunglasses"),
)


def is_one(root: Path) -> bool:
    """Whether labels.txt, images/ and masks/ are there."""
    return (root / "labels.txt").is_file() and (root / "images").is_dir() and (root / "masks").is_dir()


def read(root: Path, problems: list[Problem] | None = None, warnings: list[Problem] | None = None) -> list[Scene]:
    """One scene a picture, one region for each word in it; words of one row of SAME share their union.

    Args:
        root: folder of the set.
        problems: a list to add to; None: the first is raised.
        warnings: a list to add to; None: they are dropped.
    """
    labels = [line.strip() for line in read_lines(root / "labels.txt")]
    number = {name: i for i, name in enumerate(labels) if name}
    group = {name: tuple(number[n] for n in row if n in number) for row in SAME for name in row}
    out = []
    for mask in listed(root / "masks", endings={".png"}):
        with noting(problems, mask):
            present = [int(v) for v in np.unique(PngMask(mask).load()) if v > 0]
            if unknown := [v for v in present if v >= len(labels) or not labels[v]]:
                raise InputError(f"{mask}: the value {unknown[0]} stands for no line of labels.txt")
            image = file_named(root / "images", f"{mask.stem}.jpg")
            if image is None:
                raise MissingFileError(f"{root / 'images' / mask.stem}.jpg: no such picture; {mask.name} is its mask")
            regions = tuple(Region(PngMask(mask, group.get(labels[v], (v,))), labels[v], every=True) for v in present)
            here = {labels[v] for v in present}
            near = {n for row in (*SAME, *NEAR) if here & set(row) for n in row}
            absent = {n for n in number if n != "null"} - here - near
            out.append(Scene(image, regions, "ccp", f"ccp/{mask.stem}", frozenset(absent | here)))
    return out


READS = {Scene: read}
