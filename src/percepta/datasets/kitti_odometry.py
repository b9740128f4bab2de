"""KITTI odometry (Geiger et al. 2012): drives of a car with a stereo pair, 10 frames a second, straightened pictures.

Layout: a sequence's folder with image_0/000000.png (left; JPEG in some copies), maybe image_1/ (right), calib.txt (a
3×4 projection matrix for each camera, with or without "P0:" before it), maybe times.txt, and poses.txt beside them or
poses/<sequence>.txt as the authors lay it: 3×4 rows, world_from_camera of the left camera, metres.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float64

from percepta.datasets.capture import Capture, RightCamera
from percepta.datasets.footage import Pictures
from percepta.datasets.posed import read_matrix
from percepta.datasets.tables import to_number
from percepta.errors import InputError, MissingFileError
from percepta.files import listed, read_lines
from percepta.formats import short
from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics
from percepta.geometry.lens import Lens
from percepta.media import image
from percepta.metrics import trajectory
from percepta.metrics.trajectory import Trajectory

NAME = "KITTI odometry"
FILES = "image_0/000000.png and calib.txt"


def is_one(root: Path) -> bool:
    """Whether a folder is a sequence of KITTI odometry."""
    return (Path(root) / "calib.txt").is_file() and (Path(root) / "image_0").is_dir()


def read(root: Path) -> Capture:
    """One sequence.

    Raises:
        MissingFileError: no pictures or no calib.txt.
        InputError: a calibration, times or poses that do not fit the pictures.
    """
    root = Path(root)
    left, right = (_pictures(root / name) for name in ("image_0", "image_1"))
    if not left:
        raise MissingFileError(f"{root / 'image_0'}: no pictures; this is not a sequence of KITTI odometry")
    if right and len(right) != len(left):
        raise InputError(f"{root}: {len(left)} pictures in image_0 but {len(right)} in image_1")
    projection = _calibration(root / "calib.txt")
    height, width = image.size(left[0], upright=False)
    camera = Intrinsics.of(projection[0][:, :3], width, height)
    times = root / "times.txt"
    time_s = read_matrix(times)[:, 0] if times.is_file() else np.arange(len(left)) / 10
    if len(time_s) < len(left):
        raise InputError(f"{times}: {len(time_s)} times for {len(left)} pictures")
    if not (np.isfinite(time_s).all() and (np.diff(time_s) > 0).all()):
        raise InputError(f"{times}: times are numbers, each later than the one before")
    time_s = time_s[: len(left)]
    pair = None
    if right and len(projection) > 1:
        shift = np.array([-projection[1][0, 3] / projection[1][0, 0], 0.0, 0.0])
        pair = RightCamera(camera, Lens(), poses.compose(np.eye(3), shift))
    frames = Pictures(left, time_s, rights=right if pair else (), grey=True)
    return Capture(root.name, frames, camera, "calib.txt", right=pair, truth=_truth(root, time_s))


def _truth(root: Path, time_s: Float64[np.ndarray, " n"]) -> Trajectory | None:
    for path in (root / "poses.txt", root.parent.parent / "poses" / f"{root.name}.txt"):
        if path.is_file():
            truth = trajectory.read(path, "kitti")
            if len(truth) < len(time_s):
                raise InputError(f"{path}: {len(truth)} poses for {len(time_s)} pictures")
            return Trajectory(time_s, truth.world_from_camera[: len(time_s)])
    return None


def _pictures(folder: Path) -> tuple[Path, ...]:
    return tuple(listed(folder, endings=(".png", ".jpg", ".jpeg"))) if folder.is_dir() else ()


def _calibration(path: Path) -> list[Float64[np.ndarray, "3 4"]]:
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file; it holds the projection matrices P0, P1, ...")
    out = []
    for number, line in enumerate(read_lines(path), 1):
        words = line.split()
        if words and words[0].endswith(":") and not words[0].startswith("P"):
            continue  # Tr:, the laser's place, stands in the official files
        words = [word for word in words if not word.endswith(":")]
        values = [value for value in map(to_number, words) if value is not None]
        if words and (len(values) != len(words) or len(values) != 12):
            raise InputError(f"{path}, line {number}: expected 12 numbers of a camera, found {short(line)}")
        out += [np.array(values).reshape(3, 4)] if words else []
    if not out or any(matrix[0, 0] <= 0 for matrix in out[:2]):
        raise InputError(f"{path}: no projection matrix of a camera, which begins with the focal length, in it")
    return out


READS = {Capture: read}
