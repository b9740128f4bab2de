"""Calibrations of several cameras that stand still, whatever program wrote them.

    Qualisys    a .qca.txt file (`qualisys.py`): metres, z up
    OpenCV      a folder of one .yml, .yaml or .json a camera, as cv2.FileStorage writes them, named as the cameras:
                K (or camera_matrix), dist (or distortion_coefficients), R (3×3) or rvec, T (or tvec), maybe
                image_width and image_height; x_camera = R·x_world + T
    COLMAP      a model (`colmap.py`) with one picture of each camera, named as the camera or in a folder of its name:
                it has no unit and no vertical, so both have to be given
    THUman4.0   calibration.json: {"cam00": {"K", "R", "T"}, ...}, no distortion

What comes out has metres and z up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64

from percepta.datasets import calibration, colmap, qualisys
from percepta.errors import InputError, MissingFileError
from percepta.files import read_text
from percepta.formats import named, read_json
from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics
from percepta.geometry.lens import Lens

Up = Literal["x", "-x", "y", "-y", "z", "-z", "cameras"]
FILES = "a .qca.txt of Qualisys, a folder of OpenCV's .yml or .json, a COLMAP model, or a calibration.json"
_KEYS = {
    "K": ("K", "camera_matrix", "cameraMatrix", "intrinsics", "mtx"),
    "dist": ("dist", "D", "distortion_coefficients", "dist_coeffs", "distCoeffs"),
    "R": ("R", "rvec", "rotation", "Rot"),
    "T": ("T", "t", "tvec", "translation"),
}
_AXES = {
    name: sign * np.eye(3)[axis] for axis, plain in enumerate("xyz") for name, sign in ((plain, 1), (f"-{plain}", -1))
}


@dataclass(frozen=True)
class FixedCamera:
    """A calibrated camera that stands still.

    Attributes:
        name: of its pictures or its video, without the ending.
        intrinsics: in pixels, with the size that was calibrated.
        lens: its distortion.
        world_from_camera: its pose, metres, z up.
    """

    name: str
    intrinsics: Intrinsics
    lens: Lens
    world_from_camera: Float64[np.ndarray, "4 4"]


def read(
    path: Path | str,
    *,
    sizes: Mapping[str, tuple[int, int]] | None = None,
    metres_per_unit: float | int | None = None,
    up: Up | None = None,
) -> tuple[FixedCamera, ...]:
    """The cameras of a file or folder, ordered by name.

    Args:
        path: one of FILES.
        sizes: width and height of each camera's pictures, for files that do not say.
        metres_per_unit: length of the file's unit; None: metres, but for COLMAP, which has no unit.
        up: axis of the file's world that points upwards, or "cameras": what is up in the pictures on average; None: z,
            but for COLMAP, which has no vertical.

    Raises:
        InputError: it is none of these, a number in it is wrong, or the unit or vertical of a COLMAP model is missing.
        MissingFileError: there is no such file.
    """
    path = Path(path)
    if not path.exists():
        raise MissingFileError(f"{path}: no such file or folder; a calibration is {FILES}")
    if metres_per_unit is not None and not 0 < metres_per_unit < np.inf:
        raise InputError(f"metres of one unit are above 0, not {metres_per_unit}")
    if path.is_dir() and colmap.is_one(path):
        if metres_per_unit is None or up is None:
            missing = " and ".join(
                text
                for text, value in (("its unit (metres per unit)", metres_per_unit), ("its axis that points up", up))
                if value is None
            )
            raise InputError(f"{path}: a COLMAP model has neither unit nor vertical: give {missing}")
        cameras = _colmap(path)
    elif path.is_dir():
        cameras = _folder(path, sizes or {})
    elif path.suffix == ".json":
        cameras = _json(path, sizes or {})
    elif path.suffix in (".yml", ".yaml"):
        cameras = [_opencv(path, calibration.read_yaml(path), sizes or {})]
    elif read_text(path, errors="replace").lstrip()[:1] == "<":
        cameras = [
            FixedCamera(c.name, c.intrinsics, _lens(c.distortion), c.world_from_camera) for c in qualisys.read(path)
        ]
    else:
        raise InputError(f"{path}: no calibration that is read; one is {FILES}")
    if len(cameras) < 2:
        raise InputError(f"{path}: {len(cameras)} camera; a person is captured by at least two")
    return tuple(sorted(_upright(cameras, metres_per_unit or 1.0, up or "z"), key=lambda camera: camera.name))


def find(root: Path) -> Path | None:
    """The calibration in a capture's folder; None where there is none."""
    for path in (*sorted(root.glob("*.qca.txt")), root / "calibration.json"):
        if path.is_file():
            return path
    if colmap.is_one(root):
        return root
    for folder in (root / "calibration", root / "calib", root):
        if folder.is_dir() and any(x.suffix in (".yml", ".yaml", ".json") for x in folder.iterdir()):
            return folder
    return None


def _upright(cameras: Sequence[FixedCamera], metres: float | int, up: Up) -> list[FixedCamera]:
    """The cameras in metres, in a world whose z points up."""
    if up == "cameras":
        direction = -np.mean([camera.world_from_camera[:3, 1] for camera in cameras], 0)
        if np.linalg.norm(direction) < 0.2:
            raise InputError("the cameras do not agree on what is up; name the axis that points up")
        direction = direction / np.linalg.norm(direction)
    elif up in _AXES:
        direction = _AXES[up]
    else:
        raise InputError(f"up is one of {', '.join(_AXES)}, cameras; not {up!r}")
    # x stays as near to the file's x as can be (to its z where x points up)
    first = np.eye(3)[2 if abs(direction[0]) > 0.9 else 0]
    first = first - (first @ direction) * direction
    first /= np.linalg.norm(first)
    turn = np.eye(4)
    turn[:3, :3] = np.stack([first, np.cross(direction, first), direction])
    out = []
    for camera in cameras:
        pose = camera.world_from_camera.copy()
        pose[:3, 3] *= metres
        out.append(replace(camera, world_from_camera=turn @ pose))
    return out


def _lens(values: Sequence[float]) -> Lens:
    return Lens("radtan", tuple(float(x) for x in values)) if any(values) else Lens()


def _colmap(path: Path) -> list[FixedCamera]:
    """One camera for each folder of pictures, or each picture where they lie in one folder."""
    found: dict[str, FixedCamera] = {}
    pictures = colmap.views(path)
    parents = {picture.path.parent for picture in pictures}
    for picture in pictures:
        name = picture.path.stem if len(parents) == 1 else picture.path.parent.name
        camera = FixedCamera(name, picture.intrinsics, _lens(picture.distortion), picture.world_from_camera)
        found.setdefault(name, camera)  # of several pictures of one camera the first one counts
    return list(found.values())


def _folder(path: Path, sizes: Mapping[str, tuple[int, int]]) -> list[FixedCamera]:
    whole = find(path)
    if whole is not None and whole.is_file():
        return list(read(whole, sizes=sizes))
    files = sorted(x for x in path.iterdir() if x.suffix in (".yml", ".yaml", ".json") and x.name != "camera.json")
    if not files:
        raise InputError(f"{path}: no calibration in this folder; one is {FILES}")
    return [_opencv(x, read_json(x) if x.suffix == ".json" else calibration.read_yaml(x), sizes) for x in files]


def _json(path: Path, sizes: Mapping[str, tuple[int, int]]) -> list[FixedCamera]:
    table = read_json(path)
    if not isinstance(table, dict):
        raise InputError(f"{path}: a calibration is an object, of one camera or of several by their names")
    if any(key in table for key in _KEYS["K"]):
        return [_opencv(path, table, sizes)]
    return [_opencv(path, entry, sizes, str(name)) for name, entry in table.items() if isinstance(entry, dict)]


def _opencv(path: Path, table: Any, sizes: Mapping[str, tuple[int, int]], name: str = "") -> FixedCamera:
    """A camera as cv2.FileStorage writes it, or with plain lists in place of its matrices."""
    where, name = (f"{path}: {name}", name) if name else (str(path), path.stem)
    matrix, shift = _numbers(where, table, "K", (9,)).reshape(3, 3), _numbers(where, table, "T", (3,))
    turn = _numbers(where, table, "R", (9, 3))
    rotation = turn.reshape(3, 3) if turn.size == 9 else poses.from_vector(turn)
    bent = _numbers(where, table, "dist", None)
    if bent.size > 5 and np.any(bent[5:]):
        raise InputError(
            f"{where}: read are the distortions k1 k2 p1 p2 k3 of OpenCV, this one has {bent.size} numbers"
        )
    bent = np.concatenate([bent[:5], np.zeros(max(4 - bent.size, 0))])
    size = sizes.get(name)
    for width, height in (("image_width", "image_height"), ("width", "height")):
        if width in table and height in table:
            size = (int(float(table[width])), int(float(table[height])))
    if size is None:
        raise InputError(
            f"{where}: there is no image_width and image_height, and no pictures of {name} to take them from"
        )
    pose = poses.compose(rotation, shift)
    poses.check(pose, f"{where}: R and T")
    with named(path):
        return FixedCamera(name, Intrinsics.of(matrix, *size), _lens(bent.tolist()), poses.inverse(pose))


def _numbers(where: str, table: Any, key: str, sizes: tuple[int, ...] | None) -> Float64[np.ndarray, " n"]:
    """A matrix of a file as a flat array; `sizes` None: it may be missing."""
    given = next((table[k] for k in _KEYS[key] if isinstance(table, dict) and k in table), None)
    if given is None and sizes is None:
        return np.zeros(0)
    rows = given.get("data") if isinstance(given, dict) else given
    try:
        out = np.asarray(rows, np.float64).reshape(-1)
    except (TypeError, ValueError):
        out = np.full(1, np.nan)
    if not np.isfinite(out).all() or (sizes is not None and out.size not in sizes):
        wanted = " or ".join(map(str, sizes or ("some",)))
        raise InputError(f"{where}: {key} (or {', '.join(_KEYS[key][1:])}) has to have {wanted} finite numbers")
    return out
