"""Folders of AI City track 3 as drives: which video is which view of which drive, and the truth from the tables.

A folder of one's own works as well: three videos whose names begin with the view (dashboard.mp4, rear_view.mp4,
right_window.mp4) are one drive. Tables are `user_id_*.csv`, or lines "VIDEO-startS-endE.MP4 CLASS".
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from percepta.datasets import aicity
from percepta.datasets.problem import Problem, noting
from percepta.errors import InputError
from percepta.files import listed, read_lines

NAME = "AI City track 3"
FILES = "videos such as Dashboard_user_id_1_NoAudio_3.MP4 or dashboard.mp4, with tables of spans (*.csv) beside them"
VIDEOS = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v"}


@dataclass(frozen=True)
class Drives:
    """The drives of a folder.

    Attributes:
        videos: {drive: {view: file}}, views in the order of `aicity.VIEWS`.
        spans: of all tables, as they stand there.
        truth: {drive: (class, start_s, end_s)}: the median over views.
        problems: lines and files that are wrong; neighbours that overlap.
    """

    videos: dict[str, dict[str, Path]]
    spans: tuple[aicity.Span, ...]
    truth: dict[str, list[tuple[int, float, float]]]
    problems: tuple[Problem, ...]


def tables(root: Path) -> tuple[list[aicity.Span], list[Problem]]:
    """Spans of all tables of a folder, or of one table.

    Raises:
        InputError: a single table that is none.
    """
    files = [root] if root.is_file() else sorted(listed(root, recursive=True, endings={".csv"}))
    spans: list[aicity.Span] = []
    problems: list[Problem] = []
    for file in files:
        lines = [line for line in read_lines(file) if line.strip()]
        head = lines[0].lower() if lines else ""
        if "start" in head and "end" in head and "-start" not in head:
            with noting(None if root.is_file() else problems, file):
                some, odd = aicity.read_table(file)
                spans += some
                problems += odd
        elif "-start" in head and lines[0].rpartition(" ")[2].isdigit():
            some, odd = aicity.read_cuts(file)
            spans += some
            problems += odd
        elif root.is_file():
            raise InputError(f"{file}: no table of spans; expected that of a driver, or lines VIDEO-startS-endE CLASS")
    return spans, problems


def read(root: Path) -> Drives:
    """The drives of a folder. A view that is there twice, and a name that says no view, are problems.

    Raises:
        InputError: there is no video and no table.
    """
    spans, problems = tables(root)
    videos: dict[str, dict[str, Path]] = {}
    for path in sorted(listed(root, recursive=True, endings=VIDEOS)):
        named = aicity.parse_name(path.name)
        view = named.view if named else aicity.view_of(path.stem)
        if view is None:
            problems.append(Problem(path, None, f"its name begins with no view ({', '.join(aicity.VIEWS)})"))
            continue
        drive = named.recording if named else path.parent.name
        views = videos.setdefault(drive, {})
        if view in views:
            problems.append(Problem(path, None, f"a second {view} of the drive {drive}; {views[view].name} is taken"))
        else:
            views[view] = path
    ordered = {
        drive: {view: views[view] for view in aicity.VIEWS if view in views} for drive, views in sorted(videos.items())
    }
    if not ordered and not spans:
        raise InputError(f"{root}: no drives; looked for {FILES}")
    for first, second in aicity.overlapping(spans):
        late = first.end_s - second.start_s
        text = f"classes {first.label} and {second.label} overlap by {late:g} s in {first.video.view}"
        problems.append(Problem(root, None, f"{first.video.recording}: {text}"))
    return Drives(ordered, tuple(spans), aicity.truth(spans), tuple(problems))
