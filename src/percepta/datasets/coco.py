"""COCO instances: the official JSON beside a folder of pictures (Lin et al. 2014, annotations CC BY 4.0).

Layout: annotations/instances_val2017.json (images, annotations, categories) and val2017/*.jpg, or any JSON
of that form and any folder. A segmentation is a list of polygons, or run lengths (plain or compressed).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from percepta.datasets.problem import Problem, noting
from percepta.datasets.scene import MaskSource, Region, Scene
from percepta.errors import InputError, MissingFileError
from percepta.metrics.masks import coco_rle_decode, polygons_to_mask

NAME = "COCO instances"
FILES = "instances*.json, here or in annotations/, with a folder of pictures; or one such JSON"


@dataclass(frozen=True)
class CocoMask:
    """A COCO segmentation, filled when it is asked for.

    Attributes:
        segmentation: polygons [[x0, y0, x1, y1, ...], ...] or run lengths {"size", "counts"}.
        height, width: of the picture, in pixels, as the JSON says.
    """

    segmentation: Any
    height: int
    width: int

    def read(self) -> Bool[np.ndarray, "h w"]:
        if isinstance(self.segmentation, dict):
            return coco_rle_decode(self.segmentation)
        return polygons_to_mask(self.segmentation, self.height, self.width)


@dataclass(frozen=True)
class UnionMask:
    """Every pixel that lies in one of several masks of the same size."""

    parts: tuple[MaskSource, ...]

    def read(self) -> Bool[np.ndarray, "h w"]:
        return np.logical_or.reduce([part.read() for part in self.parts])


def is_one(root: Path) -> bool:
    """Whether it is a JSON file, or a folder with instances*.json in it or in annotations/."""
    return root.suffix.lower() == ".json" if root.is_file() else bool(_jsons(root))


def read(
    root: Path,
    problems: list[Problem] | None = None,
    warnings: list[Problem] | None = None,
    *,
    images: Path | None = None,
) -> list[Scene]:
    """One scene a picture, one region an object; pictures without objects stay: they show what is absent.

    A crowd is a patch of many objects that nobody counted. Where a class has one in a picture, its objects
    there cannot be told apart by a sentence ("the left person"): they and the crowd become one region with
    `every` set.

    Args:
        root: the JSON, or a folder that holds exactly one instances*.json (itself or in annotations/).
        problems, warnings: as `scene.py` says. With a list of problems all files of a folder are read.
        images: folder of the pictures; None looks beside the JSON (`find_images`).

    Raises:
        MissingFileError: no JSON, or no folder with the pictures.
        InputError: it is not COCO's instances form, or an annotation names an unknown picture or category.
    """
    if problems is None:
        return _read(find_json(root), images)
    paths = [root] if root.is_file() else _jsons(root)
    out: list[Scene] = []
    for path in paths:
        with noting(problems, path):
            part = path.name if len(paths) > 1 else ""
            out += [replace(scene, part=part) for scene in _read(path, images)]
    if len(paths) > 1 and warnings is not None:
        names = ", ".join(path.name for path in paths)
        warnings.append(Problem(root, None, f"more than one instances JSON ({names}); name the one to train on"))
    return out


def _read(path: Path, images: Path | None) -> list[Scene]:
    table = load(path)
    folder = images or find_images(path, [picture["file_name"] for picture in table["images"]])
    names = {category["id"]: str(category["name"]) for category in table["categories"]}
    objects: dict[Any, list[tuple[str, bool, CocoMask]]] = {picture["id"]: [] for picture in table["images"]}
    sizes = {picture["id"]: (int(picture["height"]), int(picture["width"])) for picture in table["images"]}
    for entry in table["annotations"]:
        where = f"{path}: annotation {entry.get('id')}"
        if entry.get("image_id") not in objects:
            raise InputError(f"{where} names picture {entry.get('image_id')}, which is not under images")
        if entry.get("category_id") not in names:
            raise InputError(f"{where} names category {entry.get('category_id')}, which is not under categories")
        if not entry.get("segmentation"):
            raise InputError(f"{where} has no segmentation; boxes alone are not enough")
        mask = CocoMask(entry["segmentation"], *sizes[entry["image_id"]])
        objects[entry["image_id"]].append((names[entry["category_id"]], bool(entry.get("iscrowd")), mask))
    vocabulary = frozenset(names.values())
    return [
        Scene(
            folder / picture["file_name"],
            _regions(objects[picture["id"]]),
            "coco",
            f"coco/{picture['id']}",
            vocabulary,
        )
        for picture in table["images"]
    ]


def _regions(objects: list[tuple[str, bool, CocoMask]]) -> tuple[Region, ...]:
    crowded = {name for name, crowd, _ in objects if crowd}
    single = [Region(mask, name) for name, _, mask in objects if name not in crowded]
    together = [
        Region(UnionMask(tuple(mask for other, _, mask in objects if other == name)), name, every=True)
        for name in sorted(crowded)
    ]
    return (*single, *together)


def find_json(where: Path) -> Path:
    """The instances JSON that a path means: itself, or the only one in a folder or its annotations/."""
    if where.is_file():
        return where
    found = _jsons(where)
    if not found:
        raise MissingFileError(f"{where}: no instances*.json here or in annotations/")
    if len(found) > 1:
        listed = ", ".join(str(path.relative_to(where)) for path in found)
        raise InputError(f"{where}: more than one instances JSON ({listed}); name the one to read")
    return found[0]


def _jsons(where: Path) -> list[Path]:
    return sorted([*where.glob("instances*.json"), *where.glob("annotations/instances*.json")])


def find_images(annotations: Path, names: list[str]) -> Path:
    """The folder with the first named picture, looked for beside the JSON the way COCO is unpacked."""
    part = annotations.stem.removeprefix("instances").lstrip("_")  # instances_val2017: val2017
    here = annotations.parent
    roots = [here.parent, here] if here.name == "annotations" else [here, here.parent]
    inside = [part, f"images/{part}", "images", "", "train2014", "images/train2014"] if part else ["images", ""]
    folders = [root / name for root in roots for name in inside]
    for folder in folders:
        if not names or (folder / names[0]).is_file():
            return folder
    looked = ", ".join(str(folder) for folder in folders)
    raise MissingFileError(f"{annotations}: its first picture, {names[0]}, is in none of {looked}")


def load(path: Path) -> dict[str, Any]:
    """The JSON, checked for COCO's three tables and their keys.

    Raises:
        InputError: naming what is missing and, for damaged JSON, the line.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {error.lineno}: not valid JSON ({error.msg})") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start})") from None
    keys = {
        "images": ("id", "file_name", "height", "width"),
        "annotations": ("image_id", "category_id"),
        "categories": ("id", "name"),
    }
    for name, needed in keys.items():
        if not isinstance(table, dict) or not isinstance(table.get(name), list):
            raise InputError(f"{path}: not COCO's instances form: it has no list {name!r}")
        for i, entry in enumerate(table[name]):
            missing = [key for key in needed if not isinstance(entry, dict) or key not in entry]
            if missing:
                raise InputError(f"{path}: {name}[{i}] has no {', '.join(missing)}")
    return table


READS = {Scene: read}
