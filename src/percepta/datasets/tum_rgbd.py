"""TUM RGB-D (Sturm et al. 2012): rgb.txt, depth.txt and groundtruth.txt with times, depth in 1/5000 m.

The three lists are joined by time, as the authors' associate.py does: each colour picture takes the nearest depth
picture and the nearest pose, each within 20 ms; what finds none is left out. Poses are world_from_camera as
tx ty tz qx qy qz qw. Depth is registered to colour already.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from percepta.datasets.capture import Capture
from percepta.datasets.footage import Pictures
from percepta.datasets.posed import Recording
from percepta.errors import InputError, MissingFileError
from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics
from percepta.metrics.trajectory import trajectory

# Focal lengths and principal points that the authors give; "default" is the drivers' own.
MATRICES = {
    "freiburg1": (517.3, 516.5, 318.6, 255.3),
    "freiburg2": (520.9, 521.0, 325.1, 249.7),
    "freiburg3": (535.4, 539.2, 320.1, 247.6),
    "default": (525.0, 525.0, 319.5, 239.5),
}


NAME = "TUM RGB-D"
FILES = "rgb.txt, depth.txt and groundtruth.txt"


def is_one(root: Path) -> bool:
    """Whether a folder is a sequence of TUM RGB-D."""
    return (Path(root) / "rgb.txt").is_file()


def read(root: Path, max_difference_s: float = 0.02) -> Recording:
    """The frames of one sequence.

    Args:
        root: the folder of the sequence.
        max_difference_s: how far apart in time a picture and its depth or pose may be.

    Raises:
        MissingFileError: a list, or a picture that it names, is missing.
        InputError: a damaged line (names it), or nothing fits together in time.
    """
    root = Path(root)
    colours, depths = (_files(root, name) for name in ("rgb.txt", "depth.txt"))
    times, matrices = _poses(root / "groundtruth.txt")
    rows = []
    for time, colour in colours:
        i = _nearest(np.array([t for t, _ in depths]), time, max_difference_s)
        j = _nearest(times, time, max_difference_s)
        if i is not None and j is not None:
            rows.append((colour, depths[i][1], j))
    if not rows:
        raise InputError(f"{root}: no picture has a depth picture and a pose within {max_difference_s} s of it")
    k = _matrix(root)
    files = [tuple(row[i] for row in rows) for i in (0, 1)]
    places = (root / "groundtruth.txt",) * len(rows)
    chosen = matrices[[row[2] for row in rows]]
    return Recording(files[0], files[1], places, k, k, unit_m=1 / 5000, matrices=chosen)


def capture(root: Path, max_difference_s: float = 0.02) -> Capture:
    """The same for SLAM: every colour picture with its own time; depth and truth where they are.

    Args:
        root: the folder of the sequence.
        max_difference_s: how far apart in time a picture and its depth may be; a picture without has no reading.

    Raises:
        MissingFileError: rgb.txt or a picture that a list names is missing.
        InputError: a damaged line, naming it; no pictures.
    """
    root = Path(root)
    colours = sorted(_files(root, "rgb.txt"))
    if not colours:
        raise InputError(f"{root / 'rgb.txt'}: no pictures in it")
    depths: tuple[Path | None, ...] = ()
    if (root / "depth.txt").is_file():
        files = sorted(_files(root, "depth.txt"))
        times = np.array([time for time, _ in files])
        near = (_nearest(times, time, max_difference_s) for time, _ in colours)
        depths = tuple(None if i is None else files[i][1] for i in near)
    truth = None
    if (root / "groundtruth.txt").is_file():
        time_s, matrices = _poses(root / "groundtruth.txt")
        order = np.argsort(time_s, kind="stable")
        truth = trajectory(time_s[order], matrices[order]) if len(order) else None
    with Image.open(colours[0][1]) as picture:
        camera = Intrinsics.of(_matrix(root), picture.width, picture.height)
    paths, time_s = tuple(path for _, path in colours), np.array([time for time, _ in colours])
    frames = Pictures(paths, time_s, depths=depths, unit_m=1 / 5000)
    return Capture(root.resolve().name, frames, camera, "TUM RGB-D's own", truth=truth)


def _matrix(root: Path) -> np.ndarray:
    fx, fy, cx, cy = next((m for name, m in MATRICES.items() if name in root.resolve().name), MATRICES["default"])
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file; TUM RGB-D has rgb.txt, depth.txt and groundtruth.txt")
    rows = enumerate(path.read_text().splitlines(), 1)
    return [(n, line.replace(",", " ").split()) for n, line in rows if line.strip() and not line.startswith("#")]


def _files(root: Path, name: str) -> list[tuple[float, Path]]:
    out = []
    for number, words in _lines(root / name):
        try:
            time, path = float(words[0]), root / words[1]
        except (ValueError, IndexError):
            raise InputError(
                f"{root / name}, line {number}: expected a time and a file, found {' '.join(words)}"
            ) from None
        if not path.is_file():
            raise MissingFileError(f"{path}: no such file; {name}, line {number}, names it")
        out.append((time, path))
    return out


def _poses(path: Path) -> tuple[np.ndarray, np.ndarray]:
    rows = []
    for number, words in _lines(path):
        try:
            values = [float(word) for word in words]
        except ValueError:
            values = []
        if len(values) != 8:
            raise InputError(f"{path}, line {number}: expected time tx ty tz qx qy qz qw, found {' '.join(words)[:60]}")
        if abs(np.linalg.norm(values[4:]) - 1) > 0.01:
            raise InputError(
                f"{path}, line {number}: the quaternion's length is {np.linalg.norm(values[4:]):.3g}, not 1"
            )
        rows.append(values)
    table = np.array(rows, np.float64).reshape(-1, 8)
    return table[:, 0], poses.compose(poses.from_quaternion(table[:, 4:]), table[:, 1:4])


def _nearest(times: np.ndarray, time: float, max_difference_s: float) -> int | None:
    if not len(times):
        return None
    best = int(np.abs(times - time).argmin())
    return best if abs(times[best] - time) <= max_difference_s else None


READS = {Recording: read, Capture: capture}
