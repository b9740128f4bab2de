"""Videos and pictures with sentences, from any layout in one form; and a folder of one's own.

    videos/dog.mp4            or beside the table, or in any folder below it; pictures and folders of frames count too
    captions.csv              video,caption
                              videos/dog.mp4,a dog jumps over a hurdle

Optional columns: `start_s` and `end_s` (the sentence is about this part only, in seconds). Sets of pictures with
captions are read as videos of one frame, folders of frames as videos without times.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from percepta.datasets.problem import Problem
from percepta.datasets.tables import has_column, note, read_table
from percepta.errors import InputError
from percepta.files import file_named, find_named, listed, plain_text
from percepta.media.image import SUFFIXES, VIDEO_SUFFIXES

NAME = "videos with captions"
FILES = "captions.csv (video,caption[,start_s,end_s]) with videos"
TABLE = "captions.csv"


@dataclass(frozen=True)
class Clip:
    """A video, a part of one, or a picture, and what people wrote about it.

    Attributes:
        name: its id in the data set; parts of one video have different ones.
        media: a video's or a picture's file, or the files of the frames in their order.
        sentences: at least one.
        group: what must not be divided between training and testing: the video.
        source: the data set.
        split: "train", "val" or "test" where the data set says so, else "".
        start_s: where the part that is meant begins, in seconds.
        end_s: where it ends; None: at the end of the video.
        table: the file in which the first sentence stands.
        line: its line there.
    """

    name: str
    media: Path | tuple[Path, ...]
    sentences: tuple[str, ...]
    group: str
    source: str
    split: str = ""
    start_s: float = 0.0
    end_s: float | None = None
    table: Path | None = None
    line: int | None = None

    @property
    def first(self) -> Path:
        """The file, or that of the first frame."""
        return self.media if isinstance(self.media, Path) else self.media[0]

    @property
    def is_video(self) -> bool:
        """Whether it has to be decoded as a video."""
        return isinstance(self.media, Path) and self.media.suffix.lower() not in SUFFIXES


def is_one(root: Path) -> bool:
    """Whether captions.csv is there and is not about single pictures."""
    return (root / TABLE).is_file() and not has_images(root / TABLE)


def has_images(table: Path) -> bool:
    """Whether a table has a column "image", as that of Flickr8k."""
    return has_column(table, "image")


def joined(clips: Iterable[Clip]) -> list[Clip]:
    """One clip a video, its sentences one paragraph: how whole videos are searched for where moments are described."""
    videos: dict[str, list[Clip]] = {}
    for clip in clips:
        videos.setdefault(clip.group, []).append(clip)
    out = []
    for group, parts in videos.items():
        paragraph = " ".join(f"{s.rstrip(' .')}." for part in parts for s in part.sentences)
        whole = replace(parts[0], name=group.split("/", 1)[-1], sentences=(paragraph,), start_s=0.0, end_s=None)
        out.append(whole)
    return out


def of_split(clips: Sequence[Clip], split: str, val_every: int = 10) -> list[Clip]:
    """The clips of "train", "val", "test" or "all".

    What the data set itself assigns is taken as it is. Where it has no split for validation, one group in `val_every`
    of its training split is taken (by the checksum of the group's name); where it has none for testing, that is val's.

    Args:
        clips: of one or several sets.
        split: which part.
        val_every: see above.

    Raises:
        InputError: no such split.
    """
    if split not in ("train", "val", "test", "all"):
        raise InputError(f"no split {split!r}; there are train, val, test and all")
    if split == "all":
        return list(clips)
    known = {clip.split for clip in clips}
    if split == "test" and "test" in known:
        return [clip for clip in clips if clip.split == "test"]
    if "val" in known:
        wanted = "train" if split == "train" else "val"
        return [clip for clip in clips if (clip.split or "train") == wanted]
    keep = split != "train"
    return [c for c in clips if c.split != "test" and (zlib.crc32(c.group.encode()) % val_every == 0) == keep]


def find_files(folder: Path) -> dict[str, Path]:
    """Videos anywhere in a folder, by stem with plain accents; the first by path where a stem comes twice."""
    found: dict[str, Path] = {}
    for path in sorted(listed(folder, recursive=True, endings=VIDEO_SUFFIXES)):
        found.setdefault(plain_text(path.stem), path)
    return found


def has_videos(folder: Path) -> bool:
    """Whether there is a video anywhere in a folder."""
    return next(listed(folder, recursive=True, endings=VIDEO_SUFFIXES), None) is not None


def check_videos(
    clips: Sequence[Clip], found: dict[str, Path], root: Path, warnings: list[Problem] | None, max_named: int = 5
) -> None:
    """Adds to the warnings the videos that no sentence describes.

    Args:
        clips: those that were read.
        found: all videos of the folder.
        root: the folder.
        warnings: a list to add to; None: nothing is done.
        max_named: how many are named one by one.
    """
    if warnings is None:
        return
    described = {clip.first for clip in clips}
    without = [path for path in found.values() if path not in described]
    warnings += [Problem(path, None, "a video that no sentence describes") for path in without[:max_named]]
    if len(without) > max_named:
        warnings.append(Problem(root, None, f"{len(without) - max_named} more videos that no sentence describes"))


class Missing:
    """Collects videos that a table names and no folder has, and says so once a table."""

    def __init__(self, table: Path, problems: list[Problem] | None) -> None:
        self.table, self.problems = table, problems
        self.names: dict[str, int | None] = {}

    def add(self, name: str, line: int | None) -> None:
        """One more; without a list of problems raises InputError as `note` does."""
        if self.problems is None:
            note(None, self.table, line, f"no video {name} in the folder: download it, or take it out of the table")
        self.names.setdefault(name, line)

    def close(self) -> None:
        """Writes the note."""
        if self.names and self.problems is not None:
            some = ", ".join(list(self.names)[:3]) + (", ..." if len(self.names) > 3 else "")
            line = next(iter(self.names.values()))
            text = f"{len(self.names)} video{'s' if len(self.names) > 1 else ''} missing in the folder ({some})"
            note(self.problems, self.table, line, text)


def read(root: Path, problems: list[Problem] | None = None, warnings: list[Problem] | None = None) -> list[Clip]:
    """A folder as at the top of this file: rows of one (video, start_s, end_s) are one clip.

    Args:
        root: the folder.
        problems: a list to add to; None: the first problem is raised.
        warnings: a list to add to; None: they are dropped.

    Raises:
        MissingFileError: no captions.csv.
        InputError: a table without its columns; a bad row where `problems` is None.
    """
    table = root / TABLE
    sentences: dict[tuple[str, float, float | None], list[str]] = {}
    lines: dict[tuple[str, float, float | None], int] = {}
    missing = Missing(table, problems)
    media: dict[str, Path | tuple[Path, ...]] = {}
    for line, (video, caption, start, end) in read_table(
        table, ("video", "caption"), ("start_s", "end_s"), problems=problems
    ):
        if not video or not caption:
            note(problems, table, line, f"the {'caption' if video else 'video'} is empty")
            continue
        span = _span(start, end)
        if isinstance(span, str):
            note(problems, table, line, span)
            continue
        if video not in media and (found := _locate(root, video)):
            media[video] = found
        if video not in media:
            missing.add(video, line)
            continue
        if not isinstance(media[video], Path) and span != (0.0, None):
            note(problems, table, line, "start_s and end_s are for videos: a folder of frames has no clock")
            continue
        sentences.setdefault((video, *span), []).append(caption)
        lines.setdefault((video, *span), line)
    missing.close()
    clips = []
    for key, captions in sentences.items():
        video, start_s, end_s = key
        name = (
            video if (start_s, end_s) == (0.0, None) else f"{video} {start_s:g}-{'' if end_s is None else f'{end_s:g}'}"
        )
        clip = Clip(
            name, media[video], tuple(captions), f"folder/{video}", "folder", "", start_s, end_s, table, lines[key]
        )
        clips.append(clip)
    check_videos(clips, find_files(root), root, warnings)
    if not clips and not problems:
        note(problems, table, 1, "the table has no rows; write one line a sentence: video,caption")
    return clips


def _span(start: str, end: str) -> tuple[float, float | None] | str:
    """Seconds from two cells, or what is wrong with them."""
    try:
        start_s, end_s = float(start or 0), float(end) if end else None
    except ValueError:
        return f"start_s and end_s are seconds, not {start!r} and {end!r}"
    if not math.isfinite(start_s) or start_s < 0 or (end_s is not None and not start_s < end_s < math.inf):
        return f"a part goes from start_s (0 or more) to a later end_s, not from {start or 0} to {end or 'the end'}"
    return start_s, end_s


def _locate(root: Path, name: str) -> Path | tuple[Path, ...] | None:
    """The file, or the frames of the folder, that a table calls `name`: from the root, or in videos/."""
    for folder in (root, root / "videos"):
        path = find_named(folder, name)
        if path is not None and path.is_file():
            return path
        if path is not None and path.is_dir() and (frames := frames_of(path)):
            return frames
    return None


def frames_of(folder: Path) -> tuple[Path, ...]:
    """The pictures of a folder, in the order of the numbers in their names."""
    return tuple(listed(folder, endings=SUFFIXES))


def picture_clips(
    root: Path,
    captions: Mapping[str, Sequence[str]],
    source: str,
    table: Path,
    lines: Mapping[str, int],
    problems: list[Problem] | None,
) -> list[Clip]:
    """A clip for each picture of a set that has captions.

    Args:
        root: the set's folder, with images/.
        captions: by the name of the picture's file.
        source: what the set is called in `Clip.source`.
        table: where the captions stand.
        lines: where those of a picture begin there, as far as lines mean something.
        problems: a list to add to; None: the first problem is raised.
    """
    out = []
    missing = Missing(table, problems)
    for name, sentences in captions.items():
        path = file_named(root / "images", name)
        line = lines.get(name)
        if path is None:
            missing.add(f"images/{name}", line)
            continue
        stem = Path(name).stem
        out.append(Clip(stem, path, tuple(sentences), f"{source}/{stem}", source, table=table, line=line))
    missing.close()
    return out


def rows(path: Path, column: str) -> list[tuple[int, str]]:
    """(line, cell) of one column of a CSV that may have no other.

    Raises:
        MissingFileError, InputError: no such file; no such column.
    """
    return [(line, cell) for line, (cell,) in read_table(path, (column,)) if cell]


READS = {Clip: read}
