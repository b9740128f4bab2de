"""MSVD (Chen & Dolan 2011): 1,970 short videos with about 40 sentences each.

Layout: AllVideoDescriptions.txt ("<video> <sentence>" a line, # begins a comment), train_list.txt, val_list.txt and
test_list.txt (one video a line; 1,200 / 100 / 670), and the videos <video>.avi anywhere below. Some copies come with
raw-captions.pkl instead: a pickle runs code when it is read, so it is not.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from percepta.datasets.captioned import Clip, Missing, check_videos, find_files, has_videos
from percepta.datasets.problem import Problem
from percepta.datasets.tables import note
from percepta.errors import InputError, MissingFileError
from percepta.files import plain_text, read_lines, subfolders

NAME = "MSVD"
FILES = "AllVideoDescriptions.txt with train_list.txt, ..., and videos"
TABLE, PICKLE = "AllVideoDescriptions.txt", "raw-captions.pkl"
LISTS = {"train": "train_list.txt", "val": "val_list.txt", "test": "test_list.txt"}


def find(root: Path) -> Path | None:
    """The table of sentences, or the pickle in its place, here or one folder down."""
    for name in (TABLE, PICKLE):
        for path in (root / name, *(folder / name for folder in (subfolders(root) if root.is_dir() else ()))):
            if path.is_file():
                return path
    return None


def is_one(root: Path) -> bool:
    """Whether the table of sentences is there, or one folder down beside no videos of its own."""
    table = find(root)
    return table is not None and (table.parent == root or not has_videos(table.parent))


def read(root: Path, problems: list[Problem] | None = None, warnings: list[Problem] | None = None) -> list[Clip]:
    """One clip a video.

    Args:
        root: the folder.
        problems: a list to add to; None: the first problem is raised.
        warnings: a list to add to; None: they are dropped.

    Raises:
        MissingFileError: no table of sentences, or a list of a split is missing.
        InputError: there is only the pickle; something is wrong in a file, where `problems` is None.
    """
    table = find(root)
    if table is None:
        raise MissingFileError(Problem(root, None, f"no {TABLE}"))
    if table.name == PICKLE:
        raise InputError(
            Problem(table, None, f"a pickle runs code when it is read, so it is not; put {TABLE} of the data set here")
        )
    captions, first = _sentences(table, problems)
    splits = _splits(table.parent, captions, problems)
    found = find_files(root)
    missing = Missing(table, problems)
    clips = []
    for video, sentences in captions.items():
        if splits and video not in splits:
            continue
        path = found.get(plain_text(video))
        if path is None:
            missing.add(video, first[video])
            continue
        split, line = splits.get(video, ""), first[video]
        clip = Clip(video, path, tuple(sentences), f"msvd/{video}", "msvd", split, table=table, line=line)
        clips.append(clip)
    missing.close()
    check_videos(clips, found, root, warnings)
    return clips


def _sentences(table: Path, problems: list[Problem] | None) -> tuple[dict[str, list[str]], dict[str, int]]:
    """Sentences by video, and the line of each video's first."""
    captions: dict[str, list[str]] = defaultdict(list)
    first: dict[str, int] = {}
    # A few sentences of the published file are no UTF-8: their odd letters are replaced rather than the file refused.
    for line, text in enumerate(read_lines(table, errors="replace"), start=1):
        if not text.strip() or text.startswith("#"):
            continue
        video, _, sentence = text.strip().partition(" ")
        if not sentence.strip():
            note(problems, table, line, "a line is a video's name, a space and a sentence")
            continue
        captions[video].append(sentence.strip())
        first.setdefault(video, line)
    return captions, first


def _splits(folder: Path, captions: dict[str, list[str]], problems: list[Problem] | None) -> dict[str, str]:
    """The split of each video; nothing where there is no list at all."""
    there = {split: folder / name for split, name in LISTS.items() if (folder / name).is_file()}
    if there and len(there) < len(LISTS):
        gone = ", ".join(name for split, name in LISTS.items() if split not in there)
        raise MissingFileError(Problem(folder, None, f"no {gone}; all three lists are needed, or none"))
    splits: dict[str, str] = {}
    for split, path in there.items():
        for line, text in enumerate(read_lines(path), start=1):
            video = text.strip()
            if video and video not in captions:
                note(problems, path, line, f"{video} has no sentence")
            elif video in splits:
                note(problems, path, line, f"{video} is in {LISTS[splits[video]]} already")
            elif video:
                splits[video] = split
    return splits


READS = {Clip: read}
