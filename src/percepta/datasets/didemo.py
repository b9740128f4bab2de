"""DiDeMo (Hendricks et al. 2017): 10,464 videos, about 40,000 sentences, each about some segments of five seconds.

Layout: train_data.json, val_data.json, test_data.json, each a list of {"video", "description", "times": [[first, last],
...]} (segments counted from 0, as several people placed them), and the videos anywhere below; their endings may differ
from those in the JSON, as copies were transcoded. Retrieval of whole videos takes all sentences of a video as one
paragraph (`captioned.joined`); here each sentence is a moment of its own.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from percepta.datasets.captioned import Clip, Missing, check_videos, find_files, has_videos
from percepta.datasets.problem import Problem, noting
from percepta.datasets.tables import note
from percepta.errors import MissingFileError
from percepta.files import plain_text, subfolders
from percepta.formats import read_json, short

NAME = "DiDeMo"
FILES = "train_data.json, val_data.json, test_data.json, and videos"
TABLES = {"train": "train_data.json", "val": "val_data.json", "test": "test_data.json"}
SEGMENT_S = 5.0


def find(root: Path) -> Path | None:
    """The folder of the JSON files, `root` or one below it."""
    for folder in (root, *(subfolders(root) if root.is_dir() else ())):
        if any((folder / name).is_file() for name in TABLES.values()):
            return folder
    return None


def is_one(root: Path) -> bool:
    """Whether one of the JSON files is there, or one folder down beside no videos of its own."""
    folder = find(root)
    return folder is not None and (folder == root or not has_videos(folder))


def read(root: Path, problems: list[Problem] | None = None, warnings: list[Problem] | None = None) -> list[Clip]:
    """One clip a sentence: the moment that most people marked for it.

    Args:
        root: the folder.
        problems: a list to add to; None: the first problem is raised.
        warnings: a list to add to; None: they are dropped.

    Raises:
        MissingFileError: none of the JSON files.
        InputError: something is wrong in a file, where `problems` is None.
    """
    folder = find(root)
    if folder is None:
        raise MissingFileError(Problem(root, None, f"none of {', '.join(TABLES.values())}"))
    found = find_files(root)
    clips: list[Clip] = []
    for split, name in TABLES.items():
        if (folder / name).is_file():
            clips += _part(folder / name, split, found, problems)
    check_videos(clips, found, root, warnings)
    return clips


def _part(table: Path, split: str, found: dict[str, Path], problems: list[Problem] | None) -> list[Clip]:
    content = None
    with noting(problems, table):
        content = read_json(table)
    if content is None:
        return []
    if not isinstance(content, list):
        note(problems, table, 1, "not a list of descriptions: no file of DiDeMo")
        return []
    clips = []
    missing = Missing(table, problems)
    for number, row in enumerate(content):
        span = _span(row)
        if isinstance(span, str):
            note(problems, table, None, f"entry {number}: {span}")
            continue
        video = Path(row["video"]).stem if Path(row["video"]).suffix else row["video"]
        # "a.mov" may lie there as a.mp4 or as a.mov.mp4
        path = found.get(plain_text(video)) or found.get(plain_text(row["video"]))
        if path is None:
            missing.add(row["video"], None)
            continue
        name = f"{video}#{short(row.get('annotation_id', number))}"
        captions = (row["description"].strip(),)
        clips.append(Clip(name, path, captions, f"didemo/{video}", "didemo", split, *span, table))
    missing.close()
    return clips


def _span(row: Any) -> tuple[float, float] | str:
    """Seconds of the moment that most people named (the earlier of two as frequent), or what is wrong."""
    if not isinstance(row, dict) or not isinstance(row.get("video"), str) or not row["video"]:
        return 'no "video"'
    if not isinstance(row.get("description"), str) or not row["description"].strip():
        return 'no "description"'
    times = row.get("times")
    good = isinstance(times, list) and all(
        isinstance(t, list) and len(t) == 2 and all(type(s) is int and 0 <= s < 1000 for s in t) and t[0] <= t[1]
        for t in times
    )
    if not good or not times:
        return '"times" is no list of [first segment, last segment]'
    count = Counter(tuple(t) for t in times)
    first, last = min(count, key=lambda t: (-count[t], t))
    return SEGMENT_S * first, SEGMENT_S * (last + 1)


READS = {Clip: read}
