"""COCO instances: the official JSON beside a folder of pictures (Lin et al. 2014, annotations CC BY 4.0).

Layout: annotations/instances_val2017.json (images, annotations, categories) and val2017/*.jpg, or any JSON
of that form and any folder. A segmentation is a list of polygons, or run lengths (plain or compressed).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from percepta.datasets.problem import Problem, noting
from percepta.datasets.scene import MaskSource, Region, Scene
from percepta.errors import InputError, MissingFileError
from percepta.files import file_named, listed
from percepta.formats import field, kind_of, read_json, short
from percepta.metrics.masks import coco_rle_decode, polygons_to_mask

NAME = "COCO instances"
FILES = "instances*.json, here or in annotations/, with a folder of pictures; or one such JSON"
MAX_SIDE = 100_000  # pixels that a JSON may say a picture is wide or high
_TRIED = 50  # pictures by which the folder is found


@dataclass(frozen=True)
class CocoMask:
    """A COCO segmentation, filled when it is asked for.

    Attributes:
        segmentation: polygons [[x0, y0, x1, y1, ...], ...] or run lengths {"size", "counts"}.
        height, width: of the picture, in pixels, as the JSON says.
        where: file and annotation, for messages.
    """

    segmentation: Any
    height: int
    width: int
    where: str = "a segmentation"

    def read(self) -> Bool[np.ndarray, "h w"]:
        try:
            if isinstance(self.segmentation, dict):
                return coco_rle_decode(self.segmentation)
            return polygons_to_mask(self.segmentation, self.height, self.width)
        except InputError as error:
            raise InputError(f"{self.where}: {error}") from None


@dataclass(frozen=True)
class UnionMask:
    """Every pixel that lies in one of several masks of the same size."""

    parts: tuple[MaskSource, ...]

    def read(self) -> Bool[np.ndarray, "h w"]:
        return np.logical_or.reduce([part.read() for part in self.parts])


@dataclass(frozen=True)
class Picture:
    """An entry of "images"; its file need not be there."""

    id: Hashable
    file: str
    height: int
    width: int


@dataclass(frozen=True)
class Object:
    """An entry of "annotations".

    Attributes:
        id: its own.
        picture: id of the picture.
        name: of its category; "" where that is unknown.
        crowd: whether it is a patch of many objects that nobody counted.
        mask: None where it has none that can be read.
    """

    id: Hashable
    picture: Hashable
    name: str
    crowd: bool
    mask: CocoMask | None


@dataclass(frozen=True)
class Table:
    """A JSON of COCO's instances form: its pictures and their objects, in the order of the file."""

    pictures: dict[Hashable, Picture]
    objects: list[Object]
    names: dict[Hashable, str]


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
    `every` set. Where an object cannot be read, its class is not known to be absent from the picture, and the other
    objects of the class come without its name.

    Args:
        root: the JSON, or a folder that holds exactly one instances*.json (itself or in annotations/).
        problems, warnings: as `scene.py` says. With a list of problems all files of a folder are read.
        images: folder of the pictures; None looks beside the JSON (`find_images`).

    Raises:
        MissingFileError: no JSON, or no folder with the pictures.
        InputError: it is not COCO's instances form, or an annotation names an unknown picture or category.
    """
    if problems is None:
        return _read(find_json(root), images, None)
    paths = [root] if root.is_file() else _jsons(root)
    out: list[Scene] = []
    for path in paths:
        with noting(problems, path):
            part = path.name if len(paths) > 1 else ""
            out += [replace(scene, part=part) for scene in _read(path, images, problems)]
    if len(paths) > 1 and warnings is not None:
        names = ", ".join(path.name for path in paths)
        warnings.append(Problem(root, None, f"more than one instances JSON ({names}); name the one to train on"))
    return out


def _read(path: Path, images: Path | None, problems: list[Problem] | None) -> list[Scene]:
    table = load(path, problems)
    folder = images or find_images(path, [picture.file for picture in table.pictures.values()])
    objects: dict[Hashable, list[Object]] = {key: [] for key in table.pictures}
    for one in table.objects:
        objects[one.picture].append(one)
    vocabulary = frozenset(table.names.values())
    out = []
    for key, picture in table.pictures.items():
        with noting(problems, path):
            file = file_named(folder, picture.file)
            if file is None:
                raise MissingFileError(f"{folder / picture.file}: no such picture; {path.name} names it")
            lost = {one.name for one in objects[key] if one.mask is None}
            known = frozenset() if "" in lost else vocabulary - lost
            out.append(Scene(file, _regions(objects[key], lost), "coco", f"coco/{key}", known))
    return out


def _regions(objects: Sequence[Object], lost: set[str]) -> tuple[Region, ...]:
    """Regions of a picture; `lost` are the classes of which an object could not be read, "" any class."""
    sure = {one.name for one in objects if one.name not in lost and "" not in lost}
    seen = [(one.mask, one) for one in objects if one.mask is not None]
    crowded = {one.name for _, one in seen if one.crowd}
    single = [Region(mask, one.name if one.name in sure else "") for mask, one in seen if one.name not in crowded]
    together = [
        Region(UnionMask(tuple(mask for mask, other in seen if other.name == name)), name, every=name in sure)
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
        names = ", ".join(str(path.relative_to(where)) for path in found)
        raise InputError(f"{where}: more than one instances JSON ({names}); name the one to read")
    return found[0]


def _jsons(where: Path) -> list[Path]:
    folders = [folder for folder in (where, where / "annotations") if folder.is_dir()]
    return [path for folder in folders for path in listed(folder, endings={".json"}) if path.stem[:9] == "instances"]


def find_images(annotations: Path, names: list[str]) -> Path:
    """The folder that has most of the named pictures, looked for beside the JSON the way COCO is unpacked."""
    part = annotations.stem.removeprefix("instances").lstrip("_")  # instances_val2017: val2017
    here = annotations.parent
    roots = [here.parent, here] if here.name == "annotations" else [here, here.parent]
    inside = [part, f"images/{part}", "images", "", "train2014", "images/train2014"] if part else ["images", ""]
    folders = [root / name for root in roots for name in inside]
    tried = names[:: max(1, len(names) // _TRIED)]
    counts = [sum(file_named(folder, name) is not None for name in tried) for folder in folders]
    if max(counts) or not names:
        return folders[counts.index(max(counts))]
    looked = ", ".join(str(folder) for folder in folders)
    first = f"its first picture, {names[0]}," if len(names) == 1 else f"none of its pictures, such as {names[0]},"
    raise MissingFileError(f"{annotations}: {first} is in none of {looked}")


def load(path: Path, problems: list[Problem] | None = None) -> Table:
    """The JSON, checked for COCO's three tables and their keys.

    Args:
        path: the file.
        problems: gets the entries that are wrong, which are then left out; an object without a readable mask stays,
            without it. None: the first is raised.

    Raises:
        MissingFileError: no such file.
        InputError: it is no JSON of that form, which names the line or what is missing.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: not COCO's instances form: it is {kind_of(content)}, and has no list 'images'")
    for name in ("images", "annotations", "categories"):
        if not isinstance(content.get(name), list):
            raise InputError(f"{path}: not COCO's instances form: it has no list {name!r}")
    table = Table({}, [], {})
    for i, entry in enumerate(content["categories"]):
        with noting(problems, path):
            where = f"{path}: categories[{i}]"
            table.names[ident(entry, "id", where)] = str(field(entry, "name", str, where))
    for i, entry in enumerate(content["images"]):
        with noting(problems, path):
            picture = _picture(entry, f"{path}: images[{i}]")
            if picture.id in table.pictures:
                raise InputError(f"{path}: images[{i}] has the id {picture.id}, as one before it")
            table.pictures[picture.id] = picture
    for i, entry in enumerate(content["annotations"]):
        number = entry.get("id") if isinstance(entry, dict) else None
        where = f"{path}: annotation {short(number, 20)}" if number is not None else f"{path}: annotations[{i}]"
        with noting(problems, path):
            key = ident(entry, "image_id", where)
            if key not in table.pictures:
                raise InputError(f"{where} names picture {key}, which is not under images, or not as it has to be")
            found = None
            name = ""
            try:
                category = ident(entry, "category_id", where)
                if category not in table.names:
                    raise InputError(f"{where} names category {category}, which is not under categories")
                name = table.names[category]
                found = _mask(entry, table.pictures[key], where, problems)
            finally:
                own = number if isinstance(number, int | str) else None
                crowd = isinstance(entry, dict) and bool(entry.get("iscrowd"))
                table.objects.append(Object(own, key, name, crowd, found))
    return table


def ident(entry: Any, key: str, where: str) -> Hashable:
    """An id: a number or a text; errors as `formats.field`.

    Args:
        entry: an object of a JSON file.
        key: name of the id in it.
        where: the entry in words, for the message.
    """
    if isinstance(entry, dict) and isinstance(entry.get(key), int | str) and not isinstance(entry[key], bool):
        return entry[key]
    return field(entry, key, int, where)


def _picture(entry: Any, where: str) -> Picture:
    height, width = (field(entry, key, int, where) for key in ("height", "width"))
    if not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE):
        raise InputError(f"{where}: height and width are 1 to {MAX_SIDE} pixels, not {height} and {width}")
    return Picture(ident(entry, "id", where), field(entry, "file_name", str, where), height, width)


def _mask(entry: dict[str, Any], picture: Picture, where: str, problems: list[Problem] | None) -> CocoMask:
    """The segmentation of an annotation; polygons that are none are noted and left out."""
    given = entry.get("segmentation")
    if not given:
        raise InputError(f"{where} has no segmentation; boxes alone are not enough")
    if isinstance(given, dict):
        return CocoMask(given, picture.height, picture.width, where)
    if not isinstance(given, list):
        raise InputError(f"{where}: its segmentation is {kind_of(given)}; expected polygons or run lengths")
    good = [points for points in given if _is_polygon(points)]
    if len(good) < len(given):
        count = len(given) - len(good)
        text = f"{count} of its {len(given)} polygons are no [x0, y0, x1, y1, ...] with three or more points"
        with noting(problems if good else None, Path()):
            raise InputError(f"{where}: {text}")
    return CocoMask(good, picture.height, picture.width, where)


def _is_polygon(points: Any) -> bool:
    try:
        values = np.asarray(points, np.float64) if isinstance(points, list) else np.zeros(0)
    except (TypeError, ValueError, OverflowError):
        return False
    return values.ndim == 1 and values.size >= 6 and values.size % 2 == 0 and bool(np.isfinite(values).all())


READS = {Scene: read}
