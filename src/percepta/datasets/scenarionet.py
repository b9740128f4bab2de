"""nuScenes and Waymo scenarios as JSON in ScenarioNet's terms: tracks with type, position, heading, valid; map lines.

A file is {"source", "dataset", "length", "timestamps_s", "ego", "targets", "tracks", "map"}, gzipped or not. Three
traps:

- The `velocity` of nuScenes tracks is the slope to the *next* keyframe, so it holds the future. It is not read.
- nuScenes is annotated at 2 Hz and positions are straight in between: a step that is no keyframe shows where the next
  one lies. `Tracks.keyframe_steps` says so, and only keyframes may be a last observed step.
- Several files may be cut from one scene. Of each nuScenes scene only the longest file is read.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from percepta.datasets.problem import Problem, noting
from percepta.datasets.tracks import KINDS, Crossing, Lane, Recordings, StreetMap, Tracks
from percepta.errors import InputError
from percepta.files import check_regular, listed

NAME = "ScenarioNet JSON"
FILES = "*.json or *.json.gz with tracks, map and timestamps_s"

OBJECTS = {"VEHICLE": "vehicle", "PEDESTRIAN": "pedestrian", "CYCLIST": "cyclist"}  # cones and barriers do not move
LANES = {
    "LANE_SURFACE_STREET": "vehicle",
    "LANE_SURFACE_UNSTRUCTURE": "vehicle",
    "LANE_FREEWAY": "vehicle",
    "LANE_BIKE_LANE": "bike",
}
EDGES = ("ROAD_EDGE", "ROAD_LINE_SOLID")
KEYFRAME_STEPS = {"nuscenes": 5}  # 2 Hz in files of 10 Hz


def is_one(root: Path) -> bool:
    """Whether a folder holds such files, or is one."""
    return any(_is_file(path) for path in _paths(Path(root)))


def read(root: Path, problems: list[Problem] | None = None) -> Recordings:
    """The scenarios of a folder, each nuScenes scene once.

    Args:
        root: a folder with such files, or one of them.
        problems: what is wrong with a file is added here; None: raised.
    """
    longest: dict[str, tuple[int, Path, str]] = {}
    for path in _paths(Path(root)):
        with noting(problems, path):
            if not _is_file(path):
                continue
            source, group, length = _head(path)
            scene = re.search(r"scene-\d{4}", source)
            key = scene[0] if scene else source
            if key not in longest or longest[key][0] < length:
                longest[key] = (length, path, group)
    names = tuple(sorted(longest))
    if not names and problems is None:
        raise InputError(f"{root}: no file {FILES}")
    files = {name: path for name, (_, path, _) in longest.items()}
    return Recordings(names, tuple(longest[name][2] for name in names), partial(_open, names, files))


def read_file(path: Path, name: str = "") -> Tracks:
    """One scenario.

    Args:
        path: the file.
        name: of the recording; "": as the file says.

    Raises:
        MissingFileError, InputError: no such file; something is missing in it, or its steps are not evenly spaced.
    """
    content = _content(path)
    try:
        times = np.array(content["timestamps_s"], np.float64)
        group, length = str(content["dataset"]), int(content["length"])
        gaps = np.diff(times)
        if len(times) < 2 or (np.abs(gaps - np.median(gaps)) > 0.25 * np.median(gaps)).any():
            raise InputError(f"{path}: timestamps_s are not evenly spaced")
        rows = [(key, row) for key, row in content["tracks"].items() if row["type"] in OBJECTS]
        valid = np.array([row["valid"] for _, row in rows], bool).reshape(len(rows), length)
        position = np.array([row["position"] for _, row in rows], np.float64).reshape(len(rows), length, -1)[..., :2]
        heading = np.array([row["heading"] for _, row in rows], np.float64).reshape(len(rows), length)
        size = np.array([(*row.get("size", ()), np.nan, np.nan)[:2] for _, row in rows], np.float64).reshape(-1, 2)
        walks = np.array([row["type"] == "PEDESTRIAN" for _, row in rows], bool)
        street = _map(content["map"], str(content["source"]))
        focal = tuple(str(key) for key in content.get("targets", ()))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not a scenario ({type(error).__name__}: {error}); expected {FILES}") from None
    heading = np.where(valid & ~walks[:, None], heading, np.nan)
    return Tracks(
        name or str(content["source"]),
        group,
        float(np.median(gaps)),
        tuple(key for key, _ in rows),
        np.array([KINDS.index(OBJECTS[row["type"]]) for _, row in rows], np.int64),
        np.where(valid[..., None], position, np.nan),
        heading,
        size,
        street,
        keyframe_steps=KEYFRAME_STEPS.get(group, 1),
        focal=focal,
    )


def _open(names: tuple[str, ...], files: dict[str, Path], place: int) -> Tracks:
    return read_file(files[names[place]], names[place])


def _map(lines: dict[str, Any], source: str) -> StreetMap:
    lanes, crossings, edges = [], [], []
    for key, row in lines.items():
        kind = row["type"]
        points = np.array(row.get("polyline") or row.get("polygon") or [], np.float64).reshape(-1, 2)
        if len(points) < 2:
            continue
        high = np.c_[points, np.zeros(len(points))]
        if kind in LANES:
            lanes.append(Lane(key, high, LANES[kind]))
        elif kind == "CROSSWALK":
            half = len(high) // 2  # the outline, from one edge around to the other
            crossings.append(Crossing(key, high[:half], high[half:][::-1]))
        elif kind.startswith(EDGES):
            edges.append(points)
    return StreetMap(tuple(lanes), tuple(crossings), tuple(edges), (), f"{source}: local metres, as in the file")


def _paths(root: Path) -> list[Path]:
    if root.is_file():
        return [root]
    return [path for path in listed(root) if path.name.endswith((".json", ".json.gz"))] if root.is_dir() else []


def _is_file(path: Path) -> bool:
    """Whether the first bytes are those of a scenario; the whole is not parsed."""
    try:
        with _opened(path) as file:
            return b'"timestamps_s"' in file.read(4096)
    except (OSError, EOFError, zlib.error):
        return False


def _head(path: Path) -> tuple[str, str, int]:
    """(source, dataset, length) from the first bytes."""
    with _opened(path) as file:
        start = file.read(4096).decode("utf-8", "replace")
    found = {key: re.search(rf'"{key}":\s*"?([^",}}]*)', start) for key in ("source", "dataset", "length")}
    values = [match[1].strip() for match in found.values() if match]
    if len(values) < 3 or not values[2].isdigit():
        raise InputError(f"{path}: names no source, dataset and length before its timestamps")
    return values[0], values[1], int(values[2])


def _content(path: Path) -> Any:
    try:
        with _opened(check_regular(Path(path))) as file:
            return json.load(file)
    except (json.JSONDecodeError, UnicodeDecodeError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path}: not JSON that can be read ({error})") from None


def _opened(path: Path) -> Any:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


READS = {Tracks: read}
