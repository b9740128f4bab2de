"""Folders of the app Stray Scanner: a phone's video with its laser's depth, and ARKit's poses.

Layout: rgb.mp4, camera_matrix.csv (3×3, of the video's pictures), odometry.csv (time, frame, x y z, qx qy qz qw:
world_from_camera), depth/000000.png (mm, smaller than the video). ARKit's poses stand in for the truth. Its imu.csv is
read by `phone_log`: how the sensor's axes lie against the camera's is not published, so it is estimated.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from percepta import files
from percepta.datasets import posed
from percepta.datasets.capture import Capture
from percepta.datasets.footage import Video, shrunk_size
from percepta.errors import InputError, MissingFileError
from percepta.formats import named
from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics
from percepta.media import video
from percepta.metrics.trajectory import trajectory

NAME = "Stray Scanner"
FILES = "rgb.mp4, camera_matrix.csv and odometry.csv"
MOST_PX = 640


def is_one(root: Path) -> bool:
    """Whether a folder is a scan of Stray Scanner."""
    return all((Path(root) / name).is_file() for name in ("rgb.mp4", "camera_matrix.csv", "odometry.csv"))


def read(root: Path) -> Capture:
    """One scan, its pictures shrunk to 640 pixels.

    Raises:
        MissingFileError: a file is missing.
        InputError: a damaged file.
    """
    root = Path(root)
    path = root / "rgb.mp4"
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file")
    found = video.info(path)
    width, height = shrunk_size(found.width_px, found.height_px, MOST_PX)
    matrix = posed.read_matrix(root / "camera_matrix.csv", (3, 3))
    with named(root / "camera_matrix.csv"):
        camera = Intrinsics.of(matrix, found.width_px, found.height_px).resized(width, height)
    rows = _rows(root / "odometry.csv")
    folder = root / "depth"
    numbers = rows[:, 1].astype(int).tolist()
    depths = tuple((p if p.is_file() else None) for p in (folder / f"{n:06d}.png" for n in numbers))
    frames = Video(path, MOST_PX, depths if folder.is_dir() else (), rows[:, 0])
    matrices = poses.compose(poses.from_quaternion(rows[:, 5:9]), rows[:, 2:5])
    with named(root / "odometry.csv"):
        truth = trajectory(rows[:, 0], matrices)
    return Capture(root.name, frames, camera, "camera_matrix.csv", truth=truth)


def _rows(path: Path) -> np.ndarray:
    rows = []
    for number, line in enumerate(files.read_lines(path), 1):
        if number == 1 or not line.strip():
            continue
        try:
            values = [float(word) for word in line.split(",")]
        except ValueError:
            values = []
        if len(values) < 9 or not np.isfinite(values[:9]).all():
            raise InputError(f"{path}, line {number}: expected time, frame, x y z, qx qy qz qw; found {line[:60]!r}")
        rows.append(values[:9])
    if not rows:
        raise InputError(f"{path}: no poses in it")
    return np.array(rows)


READS = {Capture: read}
