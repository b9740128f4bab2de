"""AI City track 3 (2022 to 2024): three cameras in a car, and what the driver does when.

    A1/user_id_ID/Dashboard_user_id_ID_NoAudio_K.MP4, Rear_view_..., Right_side_window_...    videos; views are spelt
                                                                                            differently in each release
    A1/user_id_ID/user_id_ID.csv        User ID, Filename, Camera View, Activity Type, Start Time, End Time,
                                        Label/Class ID, Appearance Block; a name stands only in the first row of a block
    *.csv of lines "VIDEO-startS-endE.MP4 CLASS"        spans as others have cut them
    video_ids.csv                       video_id, then the three files

A recording is (driver, number); its views mostly have the same spans, but not always: the truth is the median over
views.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from percepta.datasets.problem import Problem
from percepta.errors import InputError
from percepta.files import read_lines, write_atomically

VIEWS = ("Dashboard", "Rear_view", "Right_side_window")
LABELS_2023 = (
    "normal driving", "drink", "phone call (right)", "phone call (left)", "eat", "text (right)", "text (left)",
    "reach behind", "adjust the control panel", "pick up from the floor (driver)", "pick up from the floor (passenger)",
    "talk to the passenger at the right", "talk to a passenger at the back", "yawn", "hand on the head",
    "sing or dance",
)  # fmt: skip
LABELS_2022 = (
    *LABELS_2023[:7], "hair or makeup", *LABELS_2023[7:13], "yawn", "hand on the head", "sing", "dance",
)  # fmt: skip
LONGEST_S = 600.0
_NAME = re.compile(r"(?P<view>.+?)_user_id_(?P<user>\d+)(?:_NoAudio)?_(?P<number>\d+)", re.IGNORECASE)
_CUT = re.compile(r"(?P<name>.+)-start(?P<start>-?\d+)-end(?P<end>-?\d+)(?:\.\w+)?$")


class VideoName(NamedTuple):
    """What a file's name says: the view as VIEWS spells it, the driver and the number of the recording."""

    view: str
    user: str
    number: int

    @property
    def recording(self) -> str:
        """Driver and number."""
        return f"{self.user}_{self.number}"


@dataclass(frozen=True)
class Span:
    """One activity in one view.

    Attributes:
        video: view, driver and recording.
        label: number of the class; 0: normal driving.
        start_s, end_s: seconds.
        appearance: "none", or what the driver wore: "hat", "sunglasses"; "" where the table does not say.
    """

    video: VideoName
    label: int
    start_s: float
    end_s: float
    appearance: str = ""


def view_of(text: str) -> str | None:
    """A view however a release spells it: "Dashboard", "Dash board", "Rearview", "rear view", "Right window", ..."""
    plain = re.sub(r"[^a-z]", "", text.lower())
    for view, starts in zip(VIEWS, (("dash",), ("rear",), ("right", "side")), strict=True):
        if plain.startswith(starts):
            return view
    return None


def parse_name(name: str) -> VideoName | None:
    """What a file's name says; None where it is no name of this set."""
    found = _NAME.match(Path(name).name)
    view = view_of(found["view"]) if found else None
    return VideoName(view, found["user"], int(found["number"])) if found and view else None


def seconds(text: str) -> float:
    """ "75", "1:15" and "0:01:15" in seconds; NaN for anything else."""
    total = 0.0
    try:
        for part in text.strip().split(":"):
            total = 60 * total + float(part)
    except ValueError:
        return float("nan")
    return total


def read_cuts(file: Path) -> tuple[list[Span], list[Problem]]:
    """Spans of lines "VIDEO-startS-endE.MP4 CLASS"; negative lengths are problems and left out."""
    spans, problems = [], []
    for number, line in enumerate(read_lines(file), 1):
        if not line.strip():
            continue
        name, _, label = line.strip().rpartition(" ")
        found = _CUT.match(name)
        video = parse_name(found["name"]) if found else None
        if found is None or video is None or not label.isdigit():
            problems.append(Problem(file, number, f"expected VIDEO-startS-endE.MP4 CLASS; got {line!r}"))
            continue
        start, end = float(found["start"]), float(found["end"])
        if end <= start:
            problems.append(Problem(file, number, f"ends {start - end:g} s before it starts; left out"))
            continue
        spans.append(Span(video, int(label), start, end))
    return spans, problems


def read_table(file: Path) -> tuple[list[Span], list[Problem]]:
    """Spans of a driver's table: names filled downwards, blocks without a class skipped, times as m:ss.

    Raises:
        InputError: a column is missing.
    """
    rows = list(csv.reader(read_lines(file)))
    head = [re.sub(r"[^a-z]", "", cell.lower()) for cell in rows[0]] if rows else []
    wanted = {
        "user": ("userid",), "name": ("filename",), "view": ("cameraview",), "start": ("starttime",),
        "end": ("endtime",), "label": ("labelclassid", "labelprimary", "label", "classid"),
        "appearance": ("appearanceblock",),
    }  # fmt: skip
    place = {key: next((head.index(x) for x in names if x in head), None) for key, names in wanted.items()}
    if lacking := [key for key in ("name", "start", "end", "label") if place[key] is None]:
        raise InputError(f"{file}: no column for {', '.join(lacking)}; it has {', '.join(rows[0]) if rows else 'none'}")
    spans, problems = [], []
    video, view = "", ""

    def cell(row: Sequence[str], key: str) -> str:
        column = place[key]
        return row[column].strip() if column is not None and column < len(row) else ""

    for number, row in enumerate(rows[1:], 2):
        video, view = cell(row, "name") or video, cell(row, "view") or view
        text = cell(row, "label")
        if not any(value.strip() for value in row) or text.upper() in ("N/A", "NA", ""):
            continue
        digits = re.search(r"\d+", text)
        named = parse_name(video) or parse_name(f"{view}_{video}")
        start, end = seconds(cell(row, "start")), seconds(cell(row, "end"))
        if digits is None or named is None or not np.isfinite([start, end]).all():
            problems.append(Problem(file, number, f"expected file, times and class; got {row}"))
        elif end <= start:
            problems.append(Problem(file, number, f"ends {start - end:g} s before it starts; left out"))
        else:
            worn = cell(row, "appearance").lower()
            worn = "none" if worn in ("no", "none") else worn
            spans.append(Span(named, int(digits.group()), start, end, worn))
    return spans, problems


def overlapping(spans: Iterable[Span]) -> list[tuple[Span, Span]]:
    """Neighbouring spans of one video that overlap."""
    by_video: dict[VideoName, list[Span]] = {}
    for span in spans:
        by_video.setdefault(span.video, []).append(span)
    found = []
    for some in by_video.values():
        some.sort(key=lambda one: (one.start_s, one.end_s))
        found += [(a, b) for a, b in pairwise(some) if b.start_s < a.end_s]
    return found


def truth(spans: Iterable[Span]) -> dict[str, list[tuple[int, float, float]]]:
    """{recording: (class, start, end)}: the median over the views, activity by activity in the order of time.

    An activity counts that at least half of the recording's views have; the k-th of a class goes with the k-th of
    others.
    """
    seen: dict[str, dict[str, dict[int, list[tuple[float, float]]]]] = {}
    for span in spans:
        views = seen.setdefault(span.video.recording, {}).setdefault(span.video.view, {})
        views.setdefault(span.label, []).append((span.start_s, span.end_s))
    out: dict[str, list[tuple[int, float, float]]] = {}
    for recording, views in seen.items():
        rows = []
        for label in sorted({label for view in views.values() for label in view if label != 0}):
            each = [sorted(view.get(label, [])) for view in views.values()]
            for k in range(max(map(len, each))):
                some = [x[k] for x in each if len(x) > k]
                if 2 * len(some) >= len(views):
                    start, end = np.median(np.array(some), axis=0)
                    rows.append((label, float(start), float(end)))
        out[recording] = sorted(rows, key=lambda row: row[1])
    return out


def read_video_ids(file: Path) -> dict[int, tuple[VideoName, ...]]:
    """{video_id: its files}.

    Raises:
        InputError: a line is something else.
    """
    out = {}
    for number, row in enumerate(csv.reader(read_lines(file)), 1):
        names = [parse_name(cell) for cell in row[1:] if cell.strip()]
        if number == 1 and not row[0].strip().isdigit():
            continue
        if not row or not row[0].strip().isdigit() or not names or None in names:
            raise InputError(f"{file}, line {number}: expected a number and three videos; got {','.join(row)}")
        out[int(row[0])] = tuple(name for name in names if name is not None)
    return out


def read_submission(file: Path) -> list[tuple[int, int, float, float]]:
    """Rows (video_id, class, start, end) of a submission, class 0 included where there is one.

    Raises:
        InputError: a line has no four numbers.
    """
    rows = []
    for number, line in enumerate(read_lines(file), 1):
        parts = line.split()
        if not parts:
            continue
        try:
            video, label, start, end = (float(part) for part in parts)
        except ValueError:
            raise InputError(f"{file}, line {number}: expected video_id class start end; got {line!r}") from None
        rows.append((int(video), int(label), start, end))
    return rows


def odd_rows(rows: Iterable[tuple[int, int, float, float]], known: Container[int], classes: int) -> dict[str, int]:
    """{what is wrong with rows of a submission: how many have it}; they are scored all the same.

    Args:
        rows: (video_id, class, start, end).
        known: the ids that there are.
        classes: how many there are.
    """
    found: Counter[str] = Counter()
    seen = set()
    for row in rows:
        video, label, start, end = row
        found["unknown video_id"] += video not in known
        found[f"class outside of 0 to {classes - 1}"] += not 0 <= label < classes
        found["it ends before it starts"] += end < start
        found["the same line again"] += row in seen
        seen.add(row)
    return {text: count for text, count in found.items() if count}


def write_submission(file: Path, found: Mapping[int, Iterable[tuple[int, float, float]]]) -> Path:
    """Lines "video_id class start end" in whole seconds, without normal driving; spans below a second are one long.

    Args:
        file: where.
        found: {video_id: (class, start, end)}.
    """
    lines = []
    for video in sorted(found):
        for label, start, end in sorted(found[video], key=lambda row: row[1]):
            if label != 0:
                first = round(start)
                lines.append(f"{video} {label} {first} {max(first + 1, round(end))}\n")
    return write_atomically(file, "".join(lines))


def read_clip_scores(file: Path) -> list[tuple[VideoName, float, float, str, float]]:
    """Lines "VIDEO-startS-endE.MP4,class,probability,..." of a published classifier: top class and its probability."""
    out = []
    for line in read_lines(file):
        cells = line.split(",")
        found = _CUT.match(cells[0]) if len(cells) >= 3 else None
        video = parse_name(found["name"]) if found else None
        if found is not None and video is not None:
            out.append((video, float(found["start"]), float(found["end"]), cells[1], float(cells[2])))
    return out
