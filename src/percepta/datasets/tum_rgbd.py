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
from percepta.datasets.problem import Problem
from percepta.datasets.tables import note, to_number
from percepta.errors import InputError, MissingFileError
from percepta.files import file_named, read_lines
from percepta.formats import short
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


def read(root: Path, max_difference_s: float = 0.02, *, problems: list[Problem] | None = None) -> Recording:
    """The frames of one sequence.

    Args:
        root: the folder of the sequence.
        max_difference_s: how far apart in time a picture and its depth or pose may be.
        problems: gets bad lines and files that are missing, which are then left out; None: they are errors.

    Raises:
        MissingFileError: a list, or a picture that it names, is missing.
        InputError: a damaged line (names it), or nothing fits together in time.
    """
    root = Path(root)
    colours, depths = (_files(root, name, problems) for name in ("rgb.txt", "depth.txt"))
    times, matrices = _poses(root / "groundtruth.txt", problems)
    rows, depth_times = [], np.array([time for time, _ in depths])
    for time, colour in colours:
        i = _nearest(depth_times, time, max_difference_s)
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
    colours = sorted(_files(root, "rgb.txt", None))
    if not colours:
        raise InputError(f"{root / 'rgb.txt'}: no pictures in it")
    depths: tuple[Path | None, ...] = ()
    if (root / "depth.txt").is_file():
        files = sorted(_files(root, "depth.txt", None))
        times = np.array([time for time, _ in files])
        near = (_nearest(times, time, max_difference_s) for time, _ in colours)
        depths = tuple(None if i is None else files[i][1] for i in near)
    truth = None
    if (root / "groundtruth.txt").is_file():
        time_s, matrices = _poses(root / "groundtruth.txt", None)
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
    rows = enumerate(read_lines(path), 1)
    return [(n, line.replace(",", " ").split()) for n, line in rows if line.strip() and not line.startswith("#")]


def _files(root: Path, name: str, problems: list[Problem] | None) -> list[tuple[float, Path]]:
    out = []
    for number, words in _lines(root / name):
        time = _numbers(words[:1])
        if not time or len(words) < 2:
            note(problems, root / name, number, f"expected a time and a file, found {short(' '.join(words))}")
            continue
        path = file_named(root, words[1])
        if path is not None:
            out.append((time[0], path))
        elif problems is None:
            raise MissingFileError(f"{root / words[1]}: no such file; {name}, line {number}, names it")
        else:
            note(problems, root / name, number, f"no file {root / words[1]}")
    return out


def _poses(path: Path, problems: list[Problem] | None) -> tuple[np.ndarray, np.ndarray]:
    rows = []
    for number, words in _lines(path):
        values = _numbers(words)
        length = float(np.linalg.norm(values[4:])) if len(values) == 8 else 0.0
        if len(values) != 8:
            note(problems, path, number, f"expected time tx ty tz qx qy qz qw, found {short(' '.join(words))}")
        elif abs(length - 1) > 0.01:
            note(problems, path, number, f"the quaternion's length is {length:.3g}, not 1")
        else:
            rows.append(values)
    table = np.array(rows, np.float64).reshape(-1, 8)
    return table[:, 0], poses.compose(poses.from_quaternion(table[:, 4:]), table[:, 1:4])


def _numbers(words: list[str]) -> list[float]:
    """Finite numbers; none where one of the words is not."""
    values = [to_number(word) for word in words]
    return [value for value in values if value is not None] if None not in values else []


def _nearest(times: np.ndarray, time: float, max_difference_s: float) -> int | None:
    if not len(times):
        return None
    best = int(np.abs(times - time).argmin())
    return best if abs(times[best] - time) <= max_difference_s else None


READS = {Recording: read, Capture: capture}
