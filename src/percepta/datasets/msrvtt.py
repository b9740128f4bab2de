"""MSR-VTT (Xu et al. 2016): 10,000 cut videos with 20 sentences each.

Layout: the official JSON with "videos" (video_id, split) and "sentences" (video_id, caption), in one file
(videodatainfo, MSRVTT_data.json) or several (train_val_videodatainfo.json, test_videodatainfo.json), and the videos
<video_id>.mp4 anywhere below. The official split has 6,513 / 497 / 2,990 videos. Where MSRVTT_JSFUSION_test.csv (key,
vid_key, video_id, sentence) lies beside it, the "1k-A" split counts that the field reports on: 1,000 test videos with
one sentence each, and for training those of MSRVTT_train.9k.csv (video_id), or all others.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from percepta.datasets.captioned import Clip, Missing, check_videos, find_files, has_videos, rows
from percepta.datasets.problem import Problem, noting
from percepta.datasets.tables import note, read_table
from percepta.errors import MissingFileError
from percepta.files import listed, plain_text, subfolders
from percepta.formats import read_json

NAME = "MSR-VTT"
FILES = "*videodatainfo*.json or MSRVTT_data.json, and videos"
_SPLITS = {"train": "train", "validate": "val", "val": "val", "test": "test"}
TEST_TABLE, TRAIN_TABLE = "*jsfusion_test*.csv", "*train*9k*.csv"


def find(root: Path) -> list[Path]:
    """The JSON files that hold the data set, here or one folder down; none where it is something else."""
    folders = [root, *subfolders(root)] if root.is_dir() else []
    files = [path for folder in folders for path in listed(folder, endings={".json"})]
    return [path for path in files if "videodatainfo" in path.name.lower() or "msrvtt" in path.name.lower()]


def is_one(root: Path) -> bool:
    """Whether a JSON file of the data set is there, or one folder down beside no videos of its own."""
    return any(table.parent == root or not has_videos(table.parent) for table in find(root))


def read(root: Path, problems: list[Problem] | None = None, warnings: list[Problem] | None = None) -> list[Clip]:
    """One clip a video.

    Args:
        root: the folder.
        problems: a list to add to; None: the first problem is raised.
        warnings: a list to add to; None: they are dropped.

    Raises:
        MissingFileError: no JSON of the data set.
        InputError: something is wrong in a file, where `problems` is None.
    """
    tables = find(root)
    if not tables:
        raise MissingFileError(Problem(root, None, "no *videodatainfo*.json and no MSRVTT_data.json"))
    splits: dict[str, str] = {}
    captions: dict[str, list[str]] = defaultdict(list)
    where: dict[str, Path] = {}
    for table in tables:
        _json(table, splits, captions, where, problems)
    only = _split_1k(root, splits, problems)
    found = find_files(root)
    missing = {table: Missing(table, problems) for table in tables}
    clips = []
    for video, split in splits.items():
        sentences = only.get(video) or captions.get(video)
        if not sentences:
            if warnings is not None:
                warnings.append(Problem(where[video], None, f"{video} has no sentence"))
        elif (path := found.get(plain_text(video))) is None:
            missing[where[video]].add(video, None)
        else:
            group = f"msrvtt/{video}"
            clips.append(Clip(video, path, tuple(sentences), group, "msrvtt", split, table=where[video]))
    for entry in missing.values():
        entry.close()
    check_videos(clips, {k: v for k, v in found.items() if k not in splits}, root, warnings)
    return clips


def _json(
    table: Path,
    splits: dict[str, str],
    captions: dict[str, list[str]],
    where: dict[str, Path],
    problems: list[Problem] | None,
) -> None:
    """Adds the videos and sentences of one JSON."""
    content = None
    with noting(problems, table):
        content = read_json(table)
    if content is None:
        return
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in ("videos", "sentences")):
        return note(problems, table, 1, 'no lists "videos" and "sentences": not a file of MSR-VTT')
    for number, row in enumerate(content["videos"]):
        video, split = _cell(row, "video_id"), _SPLITS.get(_cell(row, "split"))
        if not video or split is None:
            note(
                problems,
                table,
                None,
                f'videos[{number}] lacks "video_id", or its "split" is none of train, validate, test',
            )
            continue
        splits[video], where[video] = split, table
    for number, row in enumerate(content["sentences"]):
        video, caption = _cell(row, "video_id"), _cell(row, "caption")
        if not video or not caption:
            note(problems, table, None, f'sentences[{number}] lacks "video_id" or "caption"')
        elif video not in splits:
            note(problems, table, None, f"sentences[{number}] is about {video}, which is not among the videos")
        else:
            captions[video].append(caption)


def _cell(row: Any, name: str) -> str:
    """A text; "" for anything else, and where there is none."""
    value = row.get(name) if isinstance(row, dict) else None
    return value.strip() if isinstance(value, str) else ""


def _split_1k(root: Path, splits: dict[str, str], problems: list[Problem] | None) -> dict[str, list[str]]:
    """Changes the splits to 1k-A where its tables are there; returns the one sentence of each test video."""
    tables = {path.name.lower(): path for path in listed(root, recursive=True, endings={".csv"})}
    tests = [path for name, path in tables.items() if Path(name).match(TEST_TABLE)]
    trains = [path for name, path in tables.items() if Path(name).match(TRAIN_TABLE)]
    if not tests:
        return {}
    only: dict[str, list[str]] = {}
    for line, (video, sentence) in read_table(tests[0], ("video_id", "sentence"), problems=problems):
        if video not in splits:
            note(problems, tests[0], line, f"{video!r} is not among the videos of the JSON")
        elif not sentence:
            note(problems, tests[0], line, "the sentence is empty")
        else:
            only[video] = [sentence]
    chosen = {video for _, video in rows(trains[0], "video_id")} if trains else splits.keys() - only.keys()
    for video in list(splits):
        if video in only:
            splits[video] = "test"
        elif video in chosen:
            splits[video] = "train"
        else:
            del splits[video]
    return only


READS = {Clip: read}
