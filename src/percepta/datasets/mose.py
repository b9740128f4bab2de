"""MOSE: crowded scenes in which objects are hidden and come back (Ding et al. 2023).

Layout: train/ and valid/, each with JPEGImages/<video>/00000.jpg and Annotations/<video>/00000.png (indexed; in valid
only the first frame's). There is no table. Masks in train may show objects that appear later.
"""

from __future__ import annotations

from pathlib import Path

from percepta.datasets.problem import Problem, noting
from percepta.datasets.videos import Video, folders, frames_and_masks
from percepta.errors import MissingFileError

NAME = "MOSE"
FILES = "train/ or valid/, each with JPEGImages/ and Annotations/, and no meta.json"
PARTS = {"train": "train", "valid": "val", "test": "test"}  # folders, and the splits that they are


def is_one(root: Path) -> bool:
    """Whether a part with frames and masks, and without a table, is there."""
    return bool(_parts(root))


def _parts(root: Path) -> list[Path]:
    return [
        root / name
        for name in PARTS
        if (root / name / "JPEGImages").is_dir()
        and (root / name / "Annotations").is_dir()
        and not any((root / name).glob("*meta.json"))
    ]


def videos(root: Path, problems: list[Problem] | None = None, warnings: list[Problem] | None = None) -> list[Video]:
    """The videos of all parts that are there. As in DAVIS, the first and the last frame do not count.

    Args:
        root: folder of the set.
        problems: a list to add to; None: the first problem is raised.
        warnings: a list to add to; None: they are dropped.

    Raises:
        MissingFileError: a video without frames or without a mask.
    """
    out = []
    for part in _parts(root):
        for folder in folders(part / "JPEGImages"):
            masks = part / "Annotations" / folder.name
            with noting(problems, folder):
                frames, there = frames_and_masks(folder, masks, problems)
                if not any(there):
                    raise MissingFileError(f"{masks}: no masks for the frames of {folder}")
                split, later = PARTS[part.name], part.name == "train"
                out.append(Video(folder.name, frames, there, "mose", split, later=later, drop_last=True))
    return out


READS = {Video: videos}
