"""ScanNet (Dai et al. 2017): scanned rooms with labels and instances. `scannet_frames.py` reads their RGB-D frames.

One scan, as it is published:

    <scene>_vh_clean_2.ply                       vertices with colours
    <scene>_vh_clean_2.labels.ply                the same vertices with `label`, a NYU-40 number
    <scene>.aggregation.json                     objects: label and segments
    <scene>_vh_clean_2.0.010000.segs.json        segment of every vertex
    scannetv2-labels.combined.tsv                raw label to NYU-40 (in this folder, above, or given)
    <scene>.txt                                  axisAlignment

or as one .npz with xyz, rgb, nyu40, instance.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from percepta.errors import InputError, MissingFileError
from percepta.geometry import ply
from percepta.geometry import pose as poses

NAME = "labelled scans"
FILES = "<scene>_vh_clean_2.ply with .labels.ply, or .npz with xyz, rgb, nyu40 and instance, in any sub-folder"


@dataclass(frozen=True)
class LabelledScan:
    """The vertices of one scan.

    Attributes:
        name: the scan's.
        xyz: places, metres, z up.
        rgb: colours, 0..255.
        label: NYU-40 class, 0 unlabelled.
        instance: number of the object, 1 and up, 0 for none.
    """

    name: str
    xyz: Float32[np.ndarray, "n 3"]
    rgb: UInt8[np.ndarray, "n 3"]
    label: UInt8[np.ndarray, " n"]
    instance: Int32[np.ndarray, " n"]


def is_one(root: Path) -> bool:
    """Whether there is a labelled scan: a file of one, or a folder with such files somewhere in it."""
    root = Path(root)
    if root.is_file():
        return root.suffix in (".npz", ".ply")
    return any(root.rglob("*.npz")) or any(root.rglob("*_vh_clean_2.ply"))


def files(root: Path) -> dict[str, Path]:
    """{name: file} of the labelled scans in a folder, by name; `read` reads one.

    Raises:
        MissingFileError: there is none.
    """
    root = Path(root)
    found = [root] if root.suffix in (".npz", ".ply") else [*root.rglob("*.npz"), *root.rglob("*_vh_clean_2.ply")]
    out = {path.name.removesuffix(".npz").removesuffix("_vh_clean_2.ply"): path for path in sorted(found)}
    if not out:
        raise MissingFileError(f"{root}: no labelled scan. Looked for {FILES}")
    return out


def read(path: Path, *, labels: Path | None = None, aligned: bool = False) -> LabelledScan:
    """One scan from its folder, its _vh_clean_2.ply or an .npz.

    Args:
        path: the folder of one scan, its _vh_clean_2.ply, or an .npz.
        labels: scannetv2-labels.combined.tsv, where it is not near the scan; needed only without .labels.ply.
        aligned: turn it so that walls lie along the axes (axisAlignment of <scene>.txt), if that file is there.

    Raises:
        MissingFileError: a file of the layout is missing.
        InputError: files that do not belong together, or are damaged.
    """
    path = Path(path)
    if path.suffix == ".npz":
        return _read_npz(path)
    mesh = path if path.is_file() else _only(path, "*_vh_clean_2.ply")
    name = mesh.name.removesuffix("_vh_clean_2.ply")
    cloud = ply.read(mesh)
    xyz = cloud.columns("x", "y", "z").astype(np.float32)
    rgb = cloud.columns("red", "green", "blue").astype(np.uint8)
    instance, from_objects = _instances(mesh, name, len(xyz), labels)
    painted = mesh.with_name(f"{name}_vh_clean_2.labels.ply")
    if painted.is_file():
        label = ply.read(painted).columns("label")[:, 0]
        if len(label) != len(xyz):
            raise InputError(f"{painted}: {len(label)} vertices, but {mesh.name} has {len(xyz)}")
        label = np.where(label <= 40, label, 0).astype(np.uint8)
    elif from_objects is not None:
        label = from_objects
    else:
        raise MissingFileError(f"{painted}: no such file, and no {name}.aggregation.json; the scan has no labels")
    if aligned and (matrix := _alignment(mesh.with_name(f"{name}.txt"))) is not None:
        xyz = poses.transform(matrix, xyz)
    return LabelledScan(name, xyz, rgb, label, instance)


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise MissingFileError(f"{folder}: expected one {pattern}, found {len(found)}")
    return found[0]


def _read_npz(path: Path) -> LabelledScan:
    with np.load(path, allow_pickle=False) as file:
        missing = {"xyz", "rgb", "nyu40", "instance"} - set(file.files)
        if missing:
            raise InputError(f"{path}: no array {', '.join(sorted(missing))}; it has {', '.join(file.files)}")
        arrays = [file[key] for key in ("xyz", "rgb", "nyu40", "instance")]
    if len({len(a) for a in arrays}) != 1:
        raise InputError(f"{path}: arrays of different length: {[len(a) for a in arrays]}")
    xyz, rgb, label, instance = arrays
    return LabelledScan(
        path.stem, xyz.astype(np.float32), rgb.astype(np.uint8), label.astype(np.uint8), instance.astype(np.int32)
    )


def _instances(
    mesh: Path, name: str, count: int, table: Path | None
) -> tuple[Int32[np.ndarray, " n"], UInt8[np.ndarray, " n"] | None]:
    """Instance of every vertex, and NYU-40 labels from the objects' names where the table of names is found."""
    # Not <scene>_vh_clean.aggregation.json, whose numbers are those of the fine mesh's segments.
    objects = mesh.with_name(f"{name}.aggregation.json")
    instance = np.zeros(count, np.int32)
    if not objects.is_file():
        return instance, None
    found = sorted(mesh.parent.glob(f"{name}_vh_clean_2*.segs.json"))
    if not found:
        raise MissingFileError(f"{mesh.parent}: {objects.name} needs {name}_vh_clean_2.0.010000.segs.json beside it")
    segments = np.asarray(_json(found[0], "segIndices"))
    if len(segments) != count:
        raise InputError(f"{found[0]}: {len(segments)} segments, but {mesh.name} has {count} vertices")
    groups = _json(objects, "segGroups")
    table = table or _table_near(mesh)
    names = label_map(table) if table else None
    label = np.zeros(count, np.uint8)
    for number, group in enumerate(groups, 1):
        if not {"segments", "label"} <= group.keys():
            raise InputError(f"{objects}: object {number} has no segments or no label; it has {', '.join(group)}")
        mine = np.isin(segments, group["segments"])
        instance[mine] = number
        label[mine] = (names or {}).get(group["label"], 0)
    return instance, None if names is None else label


def _json(path: Path, key: str) -> list:
    """The list that a JSON file has under a key."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {error.lineno}: not JSON ({error.msg})") from None
    if not isinstance(content, dict) or not isinstance(content.get(key), list):
        raise InputError(f"{path}: expected an object with a list {key}")
    return content[key]


def _table_near(mesh: Path) -> Path | None:
    """The table of labels beside the scan or in one of the two folders above it."""
    places = [parent / "scannetv2-labels.combined.tsv" for parent in list(mesh.resolve().parents)[:3]]
    return next((place for place in places if place.is_file()), None)


def label_map(path: Path) -> dict[str, int]:
    """NYU-40 number by raw category, from scannetv2-labels.combined.tsv.

    Raises:
        InputError: another table, or a number that is none, naming the line.
    """
    out: dict[str, int] = {}
    with Path(path).open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t")
        if not {"raw_category", "nyu40id"} <= set(rows.fieldnames or ()):
            raise InputError(f"{path}, line 1: expected columns raw_category and nyu40id, found {rows.fieldnames}")
        for row in rows:
            number = row["nyu40id"] or ""
            if not number.isdecimal() or int(number) > 40:
                raise InputError(f"{path}, line {rows.line_num}: nyu40id is a number from 0 to 40, not {number!r}")
            out[row["raw_category"]] = int(number)
    return out


def _alignment(path: Path) -> np.ndarray | None:
    if not path.is_file():
        return None
    for number, line in enumerate(path.read_text().splitlines(), 1):
        key, _, value = line.partition("=")
        if key.strip() == "axisAlignment":
            try:
                return np.array([float(word) for word in value.split()]).reshape(4, 4)
            except ValueError:
                raise InputError(f"{path}, line {number}: axisAlignment is 16 numbers, not {value.strip()!r}") from None
    return None


READS = {LabelledScan: files}
