"""KITTI odometry (Geiger et al. 2012): drives of a car with a stereo pair, 10 frames a second, straightened pictures.

Layout: a sequence's folder with image_0/000000.png (left; JPEG in some copies), maybe image_1/ (right), calib.txt (a
3×4 projection matrix for each camera, with or without "P0:" before it), maybe times.txt, and poses.txt beside them or
poses/<sequence>.txt as the authors lay it: 3×4 rows, world_from_camera of the left camera, metres.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, UInt8

from percepta.datasets.posed import read_matrix
from percepta.datasets.tables import to_number
from percepta.errors import InputError, MissingFileError
from percepta.files import listed, read_lines
from percepta.formats import short
from percepta.geometry.camera import Intrinsics
from percepta.media import image
from percepta.metrics import trajectory
from percepta.metrics.trajectory import Trajectory

NAME = "KITTI odometry"
FILES = "image_0/000000.png and calib.txt"


@dataclass(frozen=True)
class Drive:
    """References to the frames of one sequence.

    Attributes:
        left, right: picture files; `right` is empty where only one camera is there.
        time_s: of each frame.
        intrinsics: of both cameras.
        baseline_m: distance of the cameras; 0 where it is not known.
        truth: world_from_camera of the left camera; None where it is not published.
    """

    left: tuple[Path, ...]
    right: tuple[Path, ...]
    time_s: Float64[np.ndarray, " n"]
    intrinsics: Intrinsics
    baseline_m: float
    truth: Trajectory | None

    def __len__(self) -> int:
        return len(self.left)

    def frames(self) -> Iterator[tuple[UInt8[np.ndarray, "h w"], UInt8[np.ndarray, "h w"] | None, float]]:
        """(left picture, right picture, time) one after the other, grey."""
        for i, path in enumerate(self.left):
            yield _grey(path), _grey(self.right[i]) if self.right else None, float(self.time_s[i])


def is_one(root: Path) -> bool:
    """Whether a folder is a sequence of KITTI odometry."""
    return (Path(root) / "calib.txt").is_file() and (Path(root) / "image_0").is_dir()


def read(root: Path) -> Drive:
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
    intrinsics = Intrinsics.of(projection[0][:, :3], width, height)
    baseline = -projection[1][0, 3] / projection[1][0, 0] if len(projection) > 1 else 0.0
    times = root / "times.txt"
    time_s = read_matrix(times)[:, 0] if times.is_file() else np.arange(len(left)) / 10
    if len(time_s) < len(left):
        raise InputError(f"{times}: {len(time_s)} times for {len(left)} pictures")
    if not (np.isfinite(time_s).all() and (np.diff(time_s) > 0).all()):
        raise InputError(f"{times}: times are numbers, each later than the one before")
    truth = None
    for path in (root / "poses.txt", root.parent.parent / "poses" / f"{root.name}.txt"):
        if path.is_file():
            truth = trajectory.read(path, "kitti")
            if len(truth) < len(left):
                raise InputError(f"{path}: {len(truth)} poses for {len(left)} pictures")
            truth = Trajectory(time_s[: len(left)], truth.world_from_camera[: len(left)])
            break
    return Drive(left, right, time_s[: len(left)], intrinsics, float(baseline), truth)


def _pictures(folder: Path) -> tuple[Path, ...]:
    return tuple(listed(folder, endings=(".png", ".jpg", ".jpeg"))) if folder.is_dir() else ()


def _grey(path: Path) -> UInt8[np.ndarray, "h w"]:
    return np.asarray(image.load(path).convert("L"))


def _calibration(path: Path) -> list[Float64[np.ndarray, "3 4"]]:
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file; it holds the projection matrices P0, P1, ...")
    out = []
    for number, line in enumerate(read_lines(path), 1):
        words = [word for word in line.split() if not word.endswith(":")]
        values = [value for value in map(to_number, words) if value is not None]
        if words and (len(values) != len(words) or len(values) != 12):
            raise InputError(f"{path}, line {number}: expected 12 numbers of a camera, found {short(line)}")
        out += [np.array(values).reshape(3, 4)] if words else []
    if not out or any(matrix[0, 0] <= 0 for matrix in out[:2]):
        raise InputError(f"{path}: no projection matrix of a camera, which begins with the focal length, in it")
    return out


READS = {Drive: read}
