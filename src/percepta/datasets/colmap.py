"""COLMAP sparse models (Schönberger & Frahm 2016), text and binary: the pictures of a phone video with their poses.

    sparse/0/ or sparse/ or the folder itself:   cameras.txt and images.txt, or cameras.bin and images.bin
    images/                                      the pictures (or beside them)

A reconstruction has no unit: give `scale` (metres of one unit), for example from a distance that you measured. COLMAP
puts the middle of the first pixel at (½, ½); here it is (0, 0).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from percepta.datasets.posed_folder import PosedPicture
from percepta.datasets.problem import Problem, noting
from percepta.datasets.tables import to_number
from percepta.errors import InputError, MissingFileError
from percepta.files import check_regular, file_named, read_lines
from percepta.formats import short
from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics

# Number, name and count of parameters of the models that a homography can follow once they are straightened.
_MODELS = {0: ("SIMPLE_PINHOLE", 3), 1: ("PINHOLE", 4), 2: ("SIMPLE_RADIAL", 4), 3: ("RADIAL", 5), 4: ("OPENCV", 8)}
_COUNTS = dict(_MODELS.values())


class Camera(NamedTuple):
    """One camera.

    Attributes:
        intrinsics: of its pictures without distortion.
        distortion: k1, k2, p1, p2 of OpenCV's model.
    """

    intrinsics: Intrinsics
    distortion: tuple[float, float, float, float]


NAME = "COLMAP model"
FILES = "cameras.bin and images.bin (or .txt), in the folder, in sparse/0 or in sparse; and images/"


def is_one(root: Path) -> bool:
    """Whether a folder holds a COLMAP model."""
    return _model(Path(root)) is not None


def _model(root: Path) -> Path | None:
    """The folder of the model below `root`; None where there is none."""
    for folder in (root, root / "sparse" / "0", root / "sparse"):
        if any(
            (folder / f"images{end}").is_file() and (folder / f"cameras{end}").is_file() for end in (".bin", ".txt")
        ):
            return folder
    return None


def views(root: Path, problems: list[Problem] | None = None, *, scale: float = 1.0) -> list[PosedPicture]:
    """The registered pictures, ordered by name.

    Args:
        root: the folder of the reconstruction.
        problems: gets what is wrong with single pictures, which are then left out; None: it is raised.
        scale: metres of one unit of it.

    Raises:
        MissingFileError: no model, or a picture that it names.
        InputError: a damaged file, or a camera model that is not straightened here: names it.
    """
    root = Path(root)
    folder = _model(root)
    if folder is None:
        raise MissingFileError(f"{root}: no cameras.bin and images.bin (or .txt), nor in sparse/0")
    binary = (folder / "images.bin").is_file()
    cameras = _cameras_bin(folder / "cameras.bin") if binary else _cameras_txt(folder / "cameras.txt")
    rows = _images_bin(folder / "images.bin") if binary else _images_txt(folder / "images.txt")
    out = []
    for name, camera, quaternion, shift in sorted(rows):
        with noting(problems, folder):
            places = (root / "images", root, folder, folder / "images")
            path = next((found for place in places if (found := file_named(place, name)) is not None), None)
            if path is None:
                raise MissingFileError(f"{root / 'images' / name}: no such picture; the model names it")
            if camera not in cameras:
                raise InputError(
                    f"{folder}: picture {name} was taken by camera {camera}, which the model does not have"
                )
            w, x, y, z = quaternion
            if not (abs(w * w + x * x + y * y + z * z - 1) <= 0.02 and np.isfinite(shift).all()):
                raise InputError(
                    f"{folder}: picture {name} has a rotation that is none (its quaternion is not of length 1), or "
                    "stands nowhere"
                )
            camera_from_world = poses.compose(poses.from_quaternion(np.array([x, y, z, w])), np.array(shift) * scale)
            world_from_camera = poses.inverse(camera_from_world)
            own = cameras[camera]
            out.append(PosedPicture(path, own.intrinsics, world_from_camera, own.distortion))
    return out


def _camera(where: str, model: str, width: int, height: int, values: list[float]) -> Camera:
    if model not in _COUNTS:
        raise InputError(
            f"{where}: camera model {model} is not read; run `colmap image_undistorter` and give its folder "
            f"(read are {', '.join(_COUNTS)})"
        )
    if len(values) != _COUNTS[model]:
        raise InputError(f"{where}: {model} has {_COUNTS[model]} parameters, found {len(values)}")
    two = model in ("PINHOLE", "OPENCV")
    fx, fy, cx, cy = values[:4] if two else (values[0], values[0], *values[1:3])
    rest = values[4:] if two else values[3:]
    k1, k2, p1, p2 = (*rest, 0.0, 0.0, 0.0, 0.0)[:4]
    if not np.isfinite(rest).all():
        raise InputError(f"{where}: the distortion is not finite: {rest}")
    try:
        return Camera(Intrinsics(fx, fy, cx - 0.5, cy - 0.5, width, height), (k1, k2, p1, p2))
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _rows(path: Path) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(read_lines(path), 1):
        if not line.startswith("#"):
            yield number, line


def _cameras_txt(path: Path) -> dict[int, Camera]:
    out = {}
    for number, line in _rows(path):
        words = line.split()
        if not words:
            continue
        values = [value for value in map(to_number, words[4:]) if value is not None]
        numbers = [_whole(words[i]) if i < len(words) else None for i in (0, 2, 3)]
        if len(values) != len(words[4:]) or None in numbers or len(words) < 4:
            text = "expected CAMERA_ID MODEL WIDTH HEIGHT PARAMS"
            raise InputError(f"{path}, line {number}: {text}, found {short(line)}")
        key, width, height = (value for value in numbers if value is not None)
        out[key] = _camera(f"{path}, line {number}", words[1], width, height, values)
    return out


def _whole(word: str) -> int | None:
    """A whole number, or None."""
    return int(word) if re.fullmatch(r"-?[0-9]{1,18}", word) else None


def _images_txt(path: Path) -> list[tuple[str, int, tuple, tuple]]:
    """Each picture has a line, and a second one of its points: maybe empty, and in some files not there at all."""
    out = []
    points = False  # whether the line may be that of the points of the picture before
    for number, line in _rows(path):
        if points and _is_points(line):
            points = False
            continue
        if not line.strip():
            continue
        words = line.split(maxsplit=9)
        values = [to_number(word) for word in words[1:8]]
        camera = _whole(words[8]) if len(words) == 10 else None
        if camera is None or None in values or _whole(words[0]) is None:
            text = "expected IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME"
            raise InputError(f"{path}, line {number}: {text}, found {short(line)}")
        out.append((words[9].strip(), camera, tuple(values[:4]), tuple(values[4:])))
        points = True
    return out


def _is_points(line: str) -> bool:
    """Whether a line is one of points: X Y POINT3D_ID, again and again, or nothing."""
    words = line.split()
    if len(words) % 3 or any(_whole(word) is None for word in words[2::3]):
        return False
    return all(to_number(word) is not None for word in words)


class _Bytes:
    def __init__(self, path: Path) -> None:
        self.path, self.data, self.at = path, check_regular(path).read_bytes(), 0

    def take(self, kinds: str) -> tuple:
        size = struct.calcsize("<" + kinds)
        if self.at + size > len(self.data):
            raise InputError(f"{self.path}: the file ends too early; it was cut off, copy it again")
        out = struct.unpack_from("<" + kinds, self.data, self.at)
        self.at += size
        return out

    def skip(self, count: int) -> None:
        if count > len(self.data) - self.at:
            raise InputError(f"{self.path}: the file ends too early; it was cut off, copy it again")
        self.at += count

    def text(self) -> str:
        end = self.data.find(b"\0", self.at)
        if end < 0:
            raise InputError(f"{self.path}: the file ends within a name; it was cut off, copy it again")
        out = self.data[self.at : end].decode("utf-8", "replace")
        self.at = end + 1
        return out


def _cameras_bin(path: Path) -> dict[int, Camera]:
    data = _Bytes(path)
    out = {}
    for _ in range(data.take("Q")[0]):
        key, model, width, height = data.take("iiQQ")
        name, count = _MODELS.get(model, (f"number {model}", 0))
        out[key] = _camera(str(path), name, width, height, list(data.take("d" * count)))
    return out


def _images_bin(path: Path) -> list[tuple[str, int, tuple, tuple]]:
    data = _Bytes(path)
    out = []
    for _ in range(data.take("Q")[0]):
        _, *values, camera = data.take("idddddddi")
        name = data.text()
        data.skip(24 * data.take("Q")[0])
        out.append((name, camera, tuple(values[:4]), tuple(values[4:])))
    return out


READS = {PosedPicture: views}
