"""RGB-D frames of ScanNet (Dai et al. 2017), as its tools write them from a .sens file:

color/0.jpg   depth/0.png   pose/0.txt   intrinsic/intrinsic_color.txt   intrinsic/intrinsic_depth.txt
"""

from __future__ import annotations

from pathlib import Path

from percepta.datasets.posed import Recording, numbered, read_matrix, together, top_left
from percepta.datasets.problem import Problem

NAME = "ScanNet frames"
FILES = "color/, depth/, pose/ and intrinsic/intrinsic_color.txt"


def is_one(root: Path) -> bool:
    """Whether a folder has the frames of one scan."""
    return (Path(root) / "intrinsic" / "intrinsic_color.txt").is_file()


def read(root: Path, *, problems: list[Problem] | None = None) -> Recording:
    """The frames of one scan, exported from its .sens file. Depth is registered to colour, in millimetres.

    `problems` is as other recordings take it; files without their partners are in `alone` of the recording.

    Raises:
        MissingFileError: a folder or a matrix is missing.
        InputError: no frame has all three files.
    """
    root = Path(root)
    colours, depths = numbered(root / "color", {".jpg", ".jpeg", ".png"}), numbered(root / "depth", {".png"})
    places = [root / "intrinsic" / f"intrinsic_{kind}.txt" for kind in ("color", "depth")]
    colour, depth = (top_left(read_matrix(path), path) for path in places)
    return together(root, colours, depths, numbered(root / "pose", {".txt"}), colour, depth)


READS = {Recording: read}
