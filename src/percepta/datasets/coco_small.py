"""A small copy of COCO 2017: pictures, one object number a pixel, objects.json with classes, boxes and captions.

Layout: images/<id>.webp, instances/<id>.png, objects.json {id: {width, height, objects: [{id, category, iscrowd, ...}],
captions}}. Annotations CC BY 4.0 (Lin et al. 2014).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from percepta.datasets.captioned import Clip, picture_clips
from percepta.datasets.problem import Problem, noting
from percepta.datasets.scene import PngMask, Region, Scene
from percepta.errors import MissingFileError
from percepta.files import file_named
from percepta.formats import checked, field, read_json, short

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
    path = root / "objects.json"
    pictures: dict[str, list[tuple[str, int | None]]] = {}  # of each object its class, and its number but for crowds
    for key, entry in checked(read_json(path), dict, str(path)).items():
        with noting(problems, path):
            where = f"{path}: {short(key)}"
            objects = [
                _object(one, f"{where}: objects[{i}]") for i, one in enumerate(field(entry, "objects", list, where))
            ]
            pictures[key] = objects
    names = frozenset(name for objects in pictures.values() for name, _ in objects)
    out = []
    for key, objects in pictures.items():
        with noting(problems, path):
            image, mask = file_named(root / "images", f"{key}.webp"), file_named(root / "instances", f"{key}.png")
            if image is None or mask is None:
                gone = root / "images" / f"{key}.webp" if image is None else root / "instances" / f"{key}.png"
                raise MissingFileError(f"{gone}: no such file; objects.json names it")
            crowded = {name for name, number in objects if number is None}
            regions = tuple(
                Region(PngMask(mask, (number,)), name)
                for name, number in objects
                if number is not None and name not in crowded
            )
            out.append(Scene(image, regions, "coco", f"coco/{key}", names - crowded))
    return out


def _object(entry: Any, where: str) -> tuple[str, int | None]:
    """The class of an object, and its number in the mask; None for a crowd."""
    crowd = bool(field(entry, "iscrowd", int, where, 0)) or "id" not in entry
    return field(entry, "category", str, where), None if crowd else field(entry, "id", int, where)


def captions(root: Path, problems: list[Problem] | None = None) -> dict[str, list[str]]:
    """Human captions by picture file name, for the pictures that have them; `problems` as in `read`."""
    path, out = root / "objects.json", {}
    for key, entry in checked(read_json(path), dict, str(path)).items():
        with noting(problems, path):
            where = f"{path}: {short(key)}"
            texts = [checked(text, str, f"{where}: a caption") for text in field(entry, "captions", list, where, [])]
            if texts:
                out[f"{key}.webp"] = texts
    return out


def clips(root: Path, problems: list[Problem] | None = None, warnings: list[Problem] | None = None) -> list[Clip]:
    """The pictures that have captions. `problems` gets what is wrong; without a list the first is raised.

    Args:
        root: folder of the set.
        problems: a list to add to; None: the first is raised.
        warnings: a list to add to; None: they are dropped.
    """
    return picture_clips(root, captions(root, problems), "coco-small", root / "objects.json", {}, problems)


READS = {Scene: read, Clip: clips}
