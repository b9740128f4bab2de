"""SceneNN (Hua et al. 2016): image/image00001.png, depth/depth00001.png (mm, registered) and trajectory.log.

trajectory.log has five lines a frame: three numbers, then world_from_camera. Its first block belongs to the pictures
with number 1.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from percepta.datasets.posed import Recording, numbered, together
from percepta.datasets.problem import Problem
from percepta.errors import InputError, MissingFileError
from percepta.files import read_lines
from percepta.formats import short, to_float

NAME = "SceneNN"
FILES = "image/, depth/ and trajectory.log"
MATRIX = (
    (544.47329, 0.0, 320.0),
    (0.0, 544.47329, 240.0),
    (0.0, 0.0, 1.0),
)  # Asus Xtion, as its authors give it


def is_one(root: Path) -> bool:
    """Whether a folder has the log of its poses."""
    return _log(Path(root)) is not None


def _log(root: Path) -> Path | None:
    return next((p for p in (root / "trajectory.log", root / f"{root.name}_trajectory.log") if p.is_file()), None)


def read(root: Path, *, matrix: np.ndarray | None = None, problems: list[Problem] | None = None) -> Recording:
    """The frames of one scene.

    Args:
        root: the scene's folder.
        matrix: K; None: the one of the Asus camera that the main part of the set was taken with.
        problems: as other recordings take it; files without their partners are in `alone` of the recording.

    Raises:
        MissingFileError: a folder or trajectory.log is missing.
        InputError: a damaged trajectory.log, naming the line.
    """
    root = Path(root)
    log = _log(root)
    if log is None:
        raise MissingFileError(f"{root}: no trajectory.log")
    matrices = read_log(log)
    colours, depths = numbered(root / "image", {".jpg", ".jpeg", ".png"}), numbered(root / "depth", {".png"})
    places = {str(i + 1): log for i in range(len(matrices))}
    k = np.array(MATRIX) if matrix is None else np.asarray(matrix, np.float64)[:3, :3]
    names = sorted(colours.keys() & depths.keys() & places.keys(), key=int)
    return together(root, colours, depths, places, k, k, matrices=matrices[[int(name) - 1 for name in names]])


def read_log(path: Path) -> np.ndarray:
    """Poses `n 4 4` of a trajectory.log as Redwood and SceneNN write it: blocks of a line of numbers and a matrix."""
    rows = [(number, line.split()) for number, line in enumerate(read_lines(path), 1) if line.strip()]
    if len(rows) % 5 or not rows:
        raise InputError(f"{path}: {len(rows)} lines are no blocks of five (three numbers, then four rows)")
    out = np.empty((len(rows) // 5, 4, 4))
    for i in range(len(out)):
        for j, (number, words) in enumerate(rows[5 * i + 1 : 5 * i + 5]):
            try:
                values = [to_float(word) for word in words]
            except ValueError:
                values = []
            if len(values) != 4:
                raise InputError(f"{path}, line {number}: expected four numbers, found {short(' '.join(words))}")
            out[i, j] = values
    return out


READS = {Recording: read}
