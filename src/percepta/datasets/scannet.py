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

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from percepta.datasets.tables import read_table
from percepta.errors import InputError, MissingFileError
from percepta.files import listed, read_lines
from percepta.formats import checked, field, read_arrays, read_json, to_float
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
    return root.suffix in (".npz", ".ply") if root.is_file() else next(_inside(root), None) is not None


def _inside(root: Path) -> Iterator[Path]:
    """The files of scans in a folder and below it."""
    found = listed(root, recursive=True, endings=(".npz", ".ply")) if root.is_dir() else iter(())
    return (path for path in found if path.suffix == ".npz" or path.name.endswith("_vh_clean_2.ply"))


def files(root: Path) -> dict[str, Path]:
    """{name: file} of the labelled scans in a folder, by name; `read` reads one.

    Raises:
        MissingFileError: there is none.
    """
    root = Path(root)
    found = [root] if root.suffix in (".npz", ".ply") else [*_inside(root)]
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
    mesh = path if path.is_file() else _only(path, "_vh_clean_2.ply")
    name = mesh.name.removesuffix("_vh_clean_2.ply")
    cloud = ply.read(mesh)
    xyz = cloud.columns("x", "y", "z").astype(np.float32)
    rgb = cloud.colours()
    instance, from_objects = _instances(mesh, name, len(xyz), labels)
    painted = mesh.with_name(f"{name}_vh_clean_2.labels.ply")
    if painted.is_file():
        label = ply.read(painted).columns("label")[:, 0]
        if len(label) != len(xyz):
            raise InputError(f"{painted}: {len(label)} vertices, but {mesh.name} has {len(xyz)}")
        whole = np.where(label <= 40, label, 0)  # larger numbers are raw categories that have no class of NYU
        label = labels_of(whole, f"{painted}: label")
    elif from_objects is not None:
        label = from_objects
    else:
        raise MissingFileError(f"{painted}: no such file, and no {name}.aggregation.json; the scan has no labels")
    if aligned and (matrix := _alignment(mesh.with_name(f"{name}.txt"))) is not None:
        xyz = poses.transform(matrix, xyz)
    return LabelledScan(name, xyz, rgb, label, instance)


def _only(folder: Path, ending: str) -> Path:
    found = [path for path in listed(folder) if path.name.endswith(ending)] if folder.is_dir() else []
    if len(found) != 1:
        raise MissingFileError(f"{folder}: expected one file *{ending}, found {len(found)}")
    return found[0]


def _read_npz(path: Path) -> LabelledScan:
    arrays = read_arrays(path, {"xyz": "fiu", "rgb": "fiu", "nyu40": "fiu", "instance": "fiu"})
    xyz, rgb, label, instance = arrays.values()
    for name, array, rows in (("xyz", xyz, (3,)), ("rgb", rgb, (3,)), ("nyu40", label, ()), ("instance", instance, ())):
        if array.ndim != 1 + len(rows) or array.shape[1:] != rows or len(array) != len(xyz):
            wanted = " ".join(map(str, (len(xyz) if xyz.ndim else "n", *rows)))
            raise InputError(f"{path}: {name} has the shape {array.shape}, not {wanted}")
    if instance.size and not (
        instance.min() >= 0 and instance.max() < 1 << 31 and (instance == np.floor(instance)).all()
    ):
        raise InputError(f"{path}: instance goes from {instance.min()} to {instance.max()}; 0 is none, 1 the first")
    return LabelledScan(
        path.stem,
        xyz.astype(np.float32),
        ply.colour_bytes(rgb, f"{path}: rgb"),
        labels_of(label, f"{path}: nyu40"),
        instance.astype(np.int32),
    )


def labels_of(values: np.ndarray, what: str) -> UInt8[np.ndarray, " n"]:
    """Labels as bytes; InputError where one is negative, above 255 or no whole number. `what` names them."""
    if values.size and not (values.min() >= 0 and values.max() <= 255 and (values == np.floor(values)).all()):
        raise InputError(f"{what}: labels are numbers from 0 (unlabelled) to 40, not {values.min()} to {values.max()}")
    return values.astype(np.uint8)


def _instances(
    mesh: Path, name: str, count: int, table: Path | None
) -> tuple[Int32[np.ndarray, " n"], UInt8[np.ndarray, " n"] | None]:
    """Instance of every vertex, and NYU-40 labels from the objects' names where the table of names is found."""
    # Not <scene>_vh_clean.aggregation.json, whose numbers are those of the fine mesh's segments.
    objects = mesh.with_name(f"{name}.aggregation.json")
    instance = np.zeros(count, np.int32)
    if not objects.is_file():
        return instance, None
    ends = (f"{name}_vh_clean_2", ".segs.json")
    found = [path for path in listed(mesh.parent) if path.name.startswith(ends[0]) and path.name.endswith(ends[1])]
    if not found:
        raise MissingFileError(f"{mesh.parent}: {objects.name} needs {name}_vh_clean_2.0.010000.segs.json beside it")
    segments = _numbers(field(read_json(found[0]), "segIndices", list, str(found[0])), f"{found[0]}: 'segIndices'")
    if len(segments) != count:
        raise InputError(f"{found[0]}: {len(segments)} segments, but {mesh.name} has {count} vertices")
    groups = field(read_json(objects), "segGroups", list, str(objects))
    table = table or _table_near(mesh)
    names = label_map(table) if table else None
    label = np.zeros(count, np.uint8)
    for number, group in enumerate(groups, 1):
        where = f"{objects}: object {number}"
        own = _numbers(field(group, "segments", list, where), f"{where}: 'segments'")
        mine = np.isin(segments, own)
        instance[mine] = number
        label[mine] = (names or {}).get(field(group, "label", str, where), 0)
    return instance, None if names is None else label


def _numbers(values: list, what: str) -> np.ndarray:
    """A list that JSON gave as whole numbers."""
    if any(type(value) is not int or abs(value) >= 1 << 62 for value in values):
        values = [checked(value, int, what) for value in values]
    return np.array(values, np.int64)


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
    for line, (name, number) in read_table(path, ("raw_category", "nyu40id"), strip=False, ragged=True):
        if not (number.isascii() and number.isdecimal()) or int(number) > 40:
            raise InputError(f"{path}, line {line}: nyu40id is a number from 0 to 40, not {number!r}")
        out[name] = int(number)
    return out


def _alignment(path: Path) -> np.ndarray | None:
    if not path.is_file():
        return None
    for number, line in enumerate(read_lines(path), 1):
        key, _, value = line.partition("=")
        if key.strip() == "axisAlignment":
            try:
                return np.array([to_float(word) for word in value.split()]).reshape(4, 4)
            except ValueError:
                raise InputError(f"{path}, line {number}: axisAlignment is 16 numbers, not {value.strip()!r}") from None
    return None


READS = {LabelledScan: files}
