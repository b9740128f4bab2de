"""YouTube-VOS 2018 and 2019: videos of six frames a second, objects that appear at any time (Xu et al. 2018).

Layout: train/, valid/ and test/, each with JPEGImages/<video>/00000.jpg, Annotations/<video>/00000.png (indexed; in
valid and test only where an object is given) and meta.json {"videos": {video: {"objects": {id: {"category": ...,
"frames": ["00000", "00005", ...]}}}}}. Where valid_all_frames/JPEGImages or all_frames/valid_all_frames/JPEGImages lies
beside them, its frames (30 a second) are gone through, and masks are asked for at those of meta.json. One part alone
(a folder with meta.json) may be read as well.

An object counts from the frame after the one in which it is given; it is seen where its category stands in the
meta.json of train.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from percepta.datasets.problem import Problem, noting
from percepta.datasets.videos import Video, frames_and_masks
from percepta.errors import InputError
from percepta.formats import read_json

NAME = "YouTube-VOS"
FILES = "train/ and valid/, or one of them, each with meta.json, JPEGImages/ and Annotations/"
PARTS = {"train": "train", "valid": "val", "test": "test"}  # folders, and the splits that they are


def is_one(root: Path) -> bool:
    """Whether the folder, or a part in it, has a meta.json that lists the frames of objects, and JPEGImages/."""
    return any(_is_part(folder) for folder in (root, *(root / name for name in PARTS)))


def videos(root: Path, problems: list[Problem] | None = None, warnings: list[Problem] | None = None) -> list[Video]:
    """The videos of all parts that are there, by the order of meta.json.

    Args:
        root: folder of the set, or of one part.
        problems: a list to add to; None: the first problem is raised.
        warnings: a list to add to; None: they are dropped.

    Raises:
        MissingFileError: a video of meta.json has no frames.
        InputError: a damaged meta.json; a frame in it that is not there.
    """
    parts = [path for path in (root, *(root / name for name in PARTS)) if (path / "meta.json").is_file()]
    train = next((path for path in (root / "train", root.parent / "train") if _is_part(path)), None)
    known = _categories(train) if train is not None else set()
    out = []
    for part in parts[:1] if parts[:1] == [root] else parts:
        table = part / "meta.json"
        for name, entry in entries(table).items():
            with noting(problems, table):
                out.append(_video(part, name, entry, known, problems))
    return out


def _is_part(folder: Path) -> bool:
    table = folder / "meta.json"
    if not (table.is_file() and (folder / "JPEGImages").is_dir()):
        return False
    with table.open(encoding="utf-8", errors="replace") as file:
        head = file.read(20_000)
    return '"frames"' in head and '"frame_range"' not in head


def entries(table: Path) -> dict[str, Mapping[str, Any]]:
    """{video: {id: what meta.json says of the object}}.

    Raises:
        InputError: it is no such table; names the video.
    """
    content = read_json(table)
    found = content.get("videos") if isinstance(content, dict) else None
    if not isinstance(found, dict):
        raise InputError(f'{table}: no "videos"; it has to be {{"videos": {{name: {{"objects": ...}}}}}}')
    out = {}
    for name, entry in found.items():
        things = entry.get("objects") if isinstance(entry, dict) else None
        if not isinstance(things, dict) or not all(isinstance(thing, dict) for thing in things.values()):
            raise InputError(f'{table}: video {name} has no "objects" {{id: {{...}}}}')
        if not all(key.isdecimal() and 0 < int(key) < 255 for key in things):
            raise InputError(f"{table}: video {name} has object ids that are not numbers from 1 to 254: {[*things]}")
        out[name] = things
    return out


def _categories(part: Path) -> set[str]:
    return {
        str(t["category"])
        for things in entries(part / "meta.json").values()
        for t in things.values()
        if "category" in t
    }


def _video(part: Path, name: str, things: Mapping[str, Any], known: set[str], problems: list[Problem] | None) -> Video:
    table, masks = part / "meta.json", part / "Annotations" / name
    pictures = _all_frames(part, name) or part / "JPEGImages" / name
    if not pictures.is_dir():
        raise InputError(f"{table}: no folder {pictures} for the video {name}")
    frames, there = frames_and_masks(pictures, masks, problems)
    number = {path.stem: i for i, path in enumerate(frames)}
    lives: dict[int, tuple[int, ...]] = {}
    for key, thing in things.items():
        stems = thing.get("frames")
        if not isinstance(stems, list) or not stems or not all(isinstance(stem, str) for stem in stems):
            raise InputError(f'{table}: object {key} of the video {name} has no "frames"')
        if lost := [stem for stem in stems if stem not in number]:
            raise InputError(f"{table}: frame {lost[0]} of the video {name} is not in {pictures}")
        lives[int(key)] = tuple(sorted(number[stem] for stem in stems))
    categories = {int(key): str(thing["category"]) for key, thing in things.items() if "category" in thing}
    return Video(
        name, frames, there, "youtube-vos", PARTS.get(part.name, ""),
        given={key: life[0] for key, life in lives.items()},
        counted={key: life[1:] for key, life in lives.items()},
        categories=categories,
        seen={key: category in known for key, category in categories.items()} if known else {},
        wanted=tuple(sorted({frame for life in lives.values() for frame in life})),
    )  # fmt: skip


def _all_frames(part: Path, name: str) -> Path | None:
    for folder in (f"{part.name}_all_frames", f"all_frames/{part.name}_all_frames"):
        if (pictures := part.parent / folder / "JPEGImages" / name).is_dir():
            return pictures
    return None


READS = {Video: videos}
