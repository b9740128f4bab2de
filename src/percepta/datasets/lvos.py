"""LVOS: videos of minutes (Hong et al. 2023, 2024).

Layout: train/, val/ (or valid/) and test/, each with JPEGImages/<video>/00000001.jpg, Annotations/<video>/00000001.png
(indexed) and meta.json, or <part>_meta.json, {"videos": {video: {"objects": {id: {"frame_range": {"start": "00000001",
"end": ..., ...}}}}}}. The official evaluator compares every fifth frame number from an object's start on, its given
first frame with them, up to before its end.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from percepta.datasets.problem import Problem, noting
from percepta.datasets.videos import Video, frames_and_masks
from percepta.datasets.youtube_vos import entries
from percepta.errors import InputError

NAME = "LVOS"
FILES = 'train/ or val/, or one of them, each with meta.json ("frame_range"), JPEGImages/ and Annotations/'
PARTS = {"train": "train", "val": "val", "valid": "val", "test": "test"}  # folders, and the splits that they are
STEP = 5  # from one frame number that is compared to the next


def is_one(root: Path) -> bool:
    """Whether the folder, or a part in it, has a table with ranges of frames, and JPEGImages/."""
    return any(_table(folder) is not None for folder in (root, *(root / name for name in PARTS)))


def _table(part: Path) -> Path | None:
    if not (part / "JPEGImages").is_dir():
        return None
    for path in (part / "meta.json", *sorted(part.glob("*_meta.json"))):
        if path.is_file():
            with path.open(encoding="utf-8", errors="replace") as file:
                if '"frame_range"' in file.read(20_000):
                    return path
    return None


def videos(root: Path, problems: list[Problem] | None = None, warnings: list[Problem] | None = None) -> list[Video]:
    """The videos of all parts that are there.

    Args:
        root: folder of the set, or of one part.
        problems: a list to add to; None: the first problem is raised.
        warnings: a list to add to; None: they are dropped.

    Raises:
        InputError: a damaged table; a frame in it that is not there.
    """
    out = []
    for part in [root] if _table(root) is not None else [root / name for name in PARTS]:
        table = _table(part)
        for name, things in entries(table).items() if table is not None else ():
            with noting(problems, part):
                out.append(_video(part, name, things, problems))
    return out


def _video(part: Path, name: str, things: Mapping[str, Any], problems: list[Problem] | None) -> Video:
    frames, there = frames_and_masks(part / "JPEGImages" / name, part / "Annotations" / name, problems)
    number = {int(path.stem): i for i, path in enumerate(frames) if path.stem.isdecimal()}
    given, counted = {}, {}
    for key, thing in things.items():
        try:
            start, end = int(thing["frame_range"]["start"]), int(thing["frame_range"]["end"])
        except (KeyError, TypeError, ValueError):
            raise InputError(
                f'{part}: object {key} of the video {name} has no "frame_range" with start and end'
            ) from None
        if start not in number:
            raise InputError(f"{part}: the video {name} has no frame {start}, in which its object {key} is given")
        given[int(key)] = number[start]
        counted[int(key)] = tuple(number[i] for i in range(start, end, STEP) if i in number)
    split = PARTS.get(part.name, "")
    return Video(name, frames, there, "lvos", split, given=given, counted=counted)


READS = {Video: videos}
