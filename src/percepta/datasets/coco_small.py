"""A small copy of COCO 2017: pictures, one object number a pixel, objects.json with classes, boxes and captions.

Layout: images/<id>.webp, instances/<id>.png, objects.json {id: {width, height, objects: [{id, category, iscrowd, ...}],
captions}}. Annotations CC BY 4.0 (Lin et al. 2014).
"""

from __future__ import annotations

import json
from pathlib import Path

from percepta.datasets.captioned import Clip, picture_clips
from percepta.datasets.problem import Problem
from percepta.datasets.scene import PngMask, Region, Scene

NAME = "COCO, small"
FILES = "objects.json with images/ and instances/"


def is_one(root: Path) -> bool:
    """Whether objects.json and images/ are there."""
    return (root / "objects.json").is_file() and (root / "images").is_dir()


def read(root: Path, problems: list[Problem] | None = None, warnings: list[Problem] | None = None) -> list[Scene]:
    """One scene a picture, one region an object; a class with a crowd in the picture is left out of it.

    A crowd's pixels are not marked, so "every person" of such a picture would be wrong, and so would "no person".

    Args:
        root: folder of the set.
        problems: a list to add to; None: the first is raised.
        warnings: a list to add to; None: they are dropped.
    """
    table = json.loads((root / "objects.json").read_text())
    names = frozenset(o["category"] for picture in table.values() for o in picture["objects"])
    out = []
    for key, picture in table.items():
        crowded = {o["category"] for o in picture["objects"] if o.get("iscrowd") or "id" not in o}
        mask = root / "instances" / f"{key}.png"
        regions = tuple(
            Region(PngMask(mask, (o["id"],)), o["category"]) for o in picture["objects"] if o["category"] not in crowded
        )
        out.append(Scene(root / "images" / f"{key}.webp", regions, "coco", f"coco/{key}", names - crowded))
    return out


def captions(root: Path) -> dict[str, list[str]]:
    """Human captions by picture file name, for the pictures that have them."""
    table = json.loads((root / "objects.json").read_text())
    return {f"{key}.webp": list(p["captions"]) for key, p in table.items() if p.get("captions")}


def clips(root: Path, problems: list[Problem] | None = None, warnings: list[Problem] | None = None) -> list[Clip]:
    """The pictures that have captions. `problems` gets what is wrong; without a list the first is raised.

    Args:
        root: folder of the set.
        problems: a list to add to; None: the first is raised.
        warnings: a list to add to; None: they are dropped.
    """
    return picture_clips(root, captions(root), "coco-small", root / "objects.json", {}, problems)


READS = {Scene: read, Clip: clips}
