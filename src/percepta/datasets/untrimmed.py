"""Untrimmed videos with the spans of what happens in them, as annotation files say it.

    annotations.json            ActivityNet's form: {"database": {NAME: {subset, duration, fps, annotations: [{segment,
                                label}]}}}, or the same without "database" and with duration_second
    annotations.csv             video, start, end, label (seconds, or m:ss, or h:mm:ss; any order of columns)
    *.eaf                       ELAN: tiers of time-aligned annotations; the value is the label
    *.json                      VIA 3 (VGG video annotator): metadata with z = [start, end] and the label among av

Beside it lie the videos, or features: NAME.npy, NAME.npz or NAME.h5 (n, channels), and `features.json`: {"fps": 30,
"stride": 4, "window": 16}: frames a second of the video, frames from one vector to the next, frames that a vector sees.
`blocked.txt` beside it: names of videos that are left out, one a line.
"""

from __future__ import annotations

import csv
import gzip
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from percepta.datasets.feature_files import Timing, read_features
from percepta.datasets.problem import Problem
from percepta.datasets.tables import columns_found
from percepta.errors import InputError, MissingFileError
from percepta.files import listed, read_lines, read_text
from percepta.formats import parse_json, read_json

NAME = "videos with spans"
FILES = (
    "annotations.json (ActivityNet's form or VIA 3), annotations.csv (video, start, end, label) or *.eaf (ELAN), with "
    "the videos or with features and features.json beside it"
)
VIDEOS = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v")
FEATURES = (".npy", ".npz", ".h5", ".hdf5")
SPLITS = {
    "training": "train", "train": "train", "validation": "val", "val": "val", "valid": "val", "testing": "test",
    "test": "test",
}  # fmt: skip


@dataclass(frozen=True)
class Recording:
    """One video.

    Attributes:
        name: without the file's ending.
        spans: starts and ends, seconds.
        labels: of the spans.
        split: "train", "val" or "test"; "" where the file does not say.
        duration_s: 0.0 where the file does not say.
        fps: of the frames that features count; 0.0 where the file does not say.
        video: the file; None where there is none.
        features: the file of features; None where there is none.
    """

    name: str
    spans: Float[np.ndarray, "n 2"]
    labels: tuple[str, ...]
    split: str
    duration_s: float
    fps: float
    video: Path | None = None
    features: Path | None = None

    def read_features(self) -> Float[np.ndarray, "t c"]:
        """The feature vectors, float32.

        Raises:
            InputError: no such file, or not a table of numbers.
        """
        if self.features is None:
            raise InputError(f"{self.name}: no features beside the annotations")
        return read_features(self.features)


@dataclass(frozen=True)
class Untrimmed:
    """All videos of a folder.

    Attributes:
        recordings: by name.
        timing: of features; None without features.
        problems: what was left out or mended.
    """

    recordings: tuple[Recording, ...]
    timing: Timing | None = None
    problems: tuple[Problem, ...] = field(default=())

    def labels(self) -> tuple[str, ...]:
        """All labels, sorted."""
        return tuple(sorted({label for one in self.recordings for label in one.labels}))


def seconds(text: str) -> float:
    """ "83.5", "1:23.5" and "0:01:23.5" in seconds; NaN for anything else."""
    parts = text.strip().replace(",", ".").split(":")
    try:
        values = [float(part) for part in parts]
    except ValueError:
        return float("nan")
    total = 0.0
    for value in values:
        total = 60 * total + value
    return total if len(values) <= 3 else float("nan")


def from_database(data: Mapping[str, Any], file: Path) -> tuple[list[Recording], list[Problem]]:
    """Videos of ActivityNet's form.

    Args:
        data: the file's content.
        file: for messages.
    """
    database = data.get("database", data)
    found, problems = [], []
    if not isinstance(database, Mapping):
        raise InputError(f"{file}: database is no table of videos")
    for name, entry in database.items():
        if not isinstance(entry, Mapping) or not isinstance(entry.get("annotations", []), list):
            problems.append(Problem(file, None, f"{name}: expected duration and annotations; left out"))
            continue
        rows = []
        for one in entry.get("annotations", []):
            segment, label = one.get("segment"), one.get("label")
            if not isinstance(segment, list) or len(segment) != 2 or not isinstance(label, str):
                problems.append(Problem(file, None, f"{name}: a segment is [start, end] with a label; got {one!r}"))
                continue
            rows.append((float(segment[0]), float(segment[1]), label))
        duration = float(entry.get("duration", entry.get("duration_second", 0.0)) or 0.0)
        split = SPLITS.get(str(entry.get("subset", "")).lower(), "")
        found.append(_recording(str(name), rows, split, duration, float(entry.get("fps", 0.0) or 0.0)))
    return found, problems


def _recording(
    name: str, rows: list[tuple[float, float, str]], split: str = "", duration: float = 0.0, fps: float = 0.0
) -> Recording:
    table = np.array([row[:2] for row in rows], np.float64).reshape(-1, 2)
    return Recording(name, table, tuple(row[2] for row in rows), split, duration, fps)


def from_csv(file: Path) -> tuple[list[Recording], list[Problem]]:
    """Videos of a table with the columns video, start, end and label (and maybe split), in any order."""
    lines = read_lines(file)
    delimiter = ";" if lines and lines[0].count(";") > lines[0].count(",") else ","
    reader = csv.DictReader(lines, delimiter=delimiter)
    names = {(name or "").strip().lower(): name for name in reader.fieldnames or ()}
    if lacking := [name for name in ("video", "start", "end", "label") if name not in names]:
        expected = f"expected video, start, end and label; it has {columns_found(reader.fieldnames)}"
        raise InputError(f"{file}: no column {', '.join(lacking)}; {expected}")
    found: dict[str, list[tuple[float, float, str]]] = {}
    splits: dict[str, str] = {}
    problems = []
    for number, row in enumerate(reader, 2):
        name = Path((row[names["video"]] or "").strip())
        stem = name.stem if name.suffix.lower() in VIDEOS else name.name
        start, end = seconds(row[names["start"]] or ""), seconds(row[names["end"]] or "")
        label = (row[names["label"]] or "").strip()
        if not stem or not label or not np.isfinite([start, end]).all():
            problems.append(Problem(file, number, f"expected video, start, end and label; got {list(row.values())}"))
            continue
        found.setdefault(stem, []).append((start, end, label))
        if "split" in names:
            splits[stem] = SPLITS.get((row[names["split"]] or "").strip().lower(), "")
    return [_recording(name, rows, splits.get(name, "")) for name, rows in found.items()], problems


def from_elan(file: Path) -> tuple[list[Recording], list[Problem]]:
    """The video of an ELAN file: every time-aligned annotation of every tier."""
    try:
        root = ElementTree.fromstring(read_text(file))
    except ElementTree.ParseError as error:
        raise InputError(f"{file}: no ELAN file ({error})") from None
    slots = {one.get("TIME_SLOT_ID"): float(one.get("TIME_VALUE", "nan")) / 1000 for one in root.iter("TIME_SLOT")}
    media = next(
        (one.get("MEDIA_URL") or one.get("RELATIVE_MEDIA_URL") or "" for one in root.iter("MEDIA_DESCRIPTOR")), ""
    )
    rows, problems = [], []
    for one in root.iter("ALIGNABLE_ANNOTATION"):
        start, end = (slots.get(one.get(f"TIME_SLOT_REF{i}"), float("nan")) for i in (1, 2))
        label = (one.findtext("ANNOTATION_VALUE") or "").strip()
        if label and np.isfinite([start, end]).all():
            rows.append((start, end, label))
        else:
            problems.append(
                Problem(file, None, f"annotation {one.get('ANNOTATION_ID')}: no label or no times; left out")
            )
    return [_recording(Path(media).stem or file.stem, rows)], problems


def from_via(data: Mapping[str, Any], file: Path) -> tuple[list[Recording], list[Problem]]:
    """Videos of a VIA 3 project: segments in time (z has two numbers); the first attribute is the label."""
    names = {key: Path(str(one.get("fname", key))).stem for key, one in data.get("file", {}).items()}
    views = {key: [str(fid) for fid in one.get("fid_list", [])] for key, one in data.get("view", {}).items()}
    options = {key: one.get("options", {}) for key, one in data.get("attribute", {}).items()}
    rows: dict[str, list[tuple[float, float, str]]] = {name: [] for name in names.values()}
    problems = []
    for key, one in data.get("metadata", {}).items():
        z, attributes = one.get("z", []), one.get("av", {})
        if len(z) != 2:
            continue
        label = next((str(options.get(a, {}).get(str(v), v)) for a, v in attributes.items() if str(v)), "")
        fid = next(iter(views.get(str(one.get("vid")), [str(one.get("vid"))])), "")
        if not label or fid not in names:
            problems.append(Problem(file, None, f"segment {key}: no label or no file; left out"))
            continue
        rows[names[fid]].append((float(z[0]), float(z[1]), label))
    return [_recording(name, some) for name, some in rows.items()], problems


def read_table(file: Path) -> Any:
    """What a JSON file holds, packed by gzip or not.

    Raises:
        MissingFileError, InputError: no such file, or no JSON.
    """
    if file.suffix != ".gz":
        return read_json(file)
    if not file.is_file():
        raise MissingFileError(f"{file}: no such file")
    try:
        return parse_json(gzip.decompress(file.read_bytes()).decode(), str(file))
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: no JSON packed by gzip ({error})") from None


def read_annotations(file: Path) -> tuple[list[Recording], list[Problem]]:
    """Videos of one annotation file of any of the forms.

    Raises:
        InputError: it is none of them.
    """
    if file.suffix == ".csv":
        return from_csv(file)
    if file.suffix == ".eaf":
        return from_elan(file)
    data = read_table(file)
    if isinstance(data, Mapping) and "metadata" in data and "file" in data:
        return from_via(data, file)
    if isinstance(data, Mapping):
        return from_database(data, file)
    raise InputError(f"{file}: expected ActivityNet's form or a VIA 3 project")


def annotation_files(root: Path) -> list[Path]:
    """The files with annotations in a folder; a file is its own."""
    if root.is_file():
        return [root] if root.suffix in (".csv", ".eaf", ".json") else []
    named = [root / name for name in ("annotations.json", "annotations.csv") if (root / name).is_file()]
    return named[:1] or sorted(root.glob("*.eaf"))


def is_one(root: Path) -> bool:
    """Whether a folder has such annotations, of videos that lie beside them or of features."""
    if not root.is_dir() or not annotation_files(root):
        return False
    if (root / "features.json").is_file() or annotation_files(root)[0].suffix == ".eaf":
        return True
    if not any(path.suffix.lower() in (*VIDEOS, *FEATURES) for path in listed(root, recursive=True)):
        return False
    file = annotation_files(root)[0]
    start = re.sub(r"\s", "", read_text(file)[:4000]).lower()
    return '"annotations":[' in start or '"metadata"' in start or ("video" in start and "label" in start)


def read(root: Path) -> Untrimmed:
    """The videos of a folder; opens none.

    Raises:
        InputError: no annotations, or a file that cannot be read.
    """
    files = annotation_files(root)
    if not files:
        raise InputError(f"{root}: no annotations; expected {FILES}")
    recordings: list[Recording] = []
    problems: list[Problem] = []
    for file in files:
        some, wrong = read_annotations(file)
        recordings += some
        problems += wrong
    folder = root if root.is_dir() else root.parent
    blocked = (
        {line.strip() for line in read_lines(folder / "blocked.txt")} if (folder / "blocked.txt").is_file() else set()
    )
    beside = {path.stem: path for path in listed(folder, recursive=True, endings=set(VIDEOS))}
    tables = {path.stem: path for path in listed(folder, recursive=True, endings=set(FEATURES))}
    kept = []
    for one in recordings:
        if one.name in blocked:
            continue
        spans, labels, wrong = mended(one, files[0])
        problems += wrong
        kept.append(replace(one, spans=spans, labels=labels, video=beside.get(one.name), features=tables.get(one.name)))
    timing = None
    if (folder / "features.json").is_file():
        said = read_json(folder / "features.json")
        unknown = set(said) - {"fps", "stride", "window", "channels", "made_by"}
        if unknown:
            raise InputError(
                f"{folder / 'features.json'}: unknown {', '.join(sorted(unknown))}; it has fps, stride, window"
            )
        timing = Timing(*(float(said.get(k, d)) for k, d in (("fps", 0.0), ("stride", 1.0), ("window", 1.0))))
    return Untrimmed(tuple(sorted(kept, key=lambda one: one.name)), timing, tuple(problems))


def mended(one: Recording, file: Path) -> tuple[Float[np.ndarray, "n 2"], tuple[str, ...], list[Problem]]:
    """(spans, labels, problems): spans without length are left out, those beyond the end are cut.

    Args:
        one: the video.
        file: for messages.
    """
    problems, keep = [], []
    spans = one.spans.copy()
    for i, (start, end) in enumerate(spans):
        if start > end:
            problems.append(
                Problem(file, None, f"{one.name}: {one.labels[i]} ends at {end:g} s before it starts; left out")
            )
            continue
        if one.duration_s > 0 and end > one.duration_s + 0.5:
            problems.append(
                Problem(
                    file, None, f"{one.name}: {one.labels[i]} ends at {end:g} s, the video at {one.duration_s:g} s; cut"
                )
            )
        low, high = max(start, 0.0), min(end, one.duration_s) if one.duration_s > 0 else end
        if high - low <= 0:
            problems.append(Problem(file, None, f"{one.name}: {one.labels[i]} at {start:g} s has no length; left out"))
            continue
        spans[i] = low, high
        keep.append(i)
    return spans[keep], tuple(one.labels[i] for i in keep), problems


READS = {Untrimmed: read}
