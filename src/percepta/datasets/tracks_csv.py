"""One's own tracks: a CSV of time, id, x, y and maybe type, and maybe a GeoJSON of lanes beside it.

    time,id,x,y,type            in seconds and metres; type is one of `tracks.KINDS`, "vehicle" where there is none
    0.0,7,12.5,3.1,pedestrian

NAME.geojson beside NAME.csv, or lanes.geojson in the folder: LineStrings are centre lines in the direction of travel,
Polygons areas that can be driven on, both in the metres of the tracks. The time of a step is the usual gap between the
times of an agent; an agent that is missing for a while comes back under its id.
"""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from percepta.datasets.problem import Problem
from percepta.datasets.tables import columns_found
from percepta.datasets.tracks import KINDS, Lane, Recordings, StreetMap, Tracks, csv_files, from_rows, header, of_files
from percepta.errors import InputError
from percepta.files import check_regular, read_text
from percepta.formats import read_json

NAME = "tracks as CSV"
FILES = "*.csv with time, id, x, y (seconds, metres) and maybe type; lanes as NAME.geojson or lanes.geojson"
COLUMNS = ("time", "id", "x", "y")


def is_one(root: Path) -> bool:
    """Whether a folder holds such files, or is one of them."""
    return any(_is_file(path) for path in csv_files(Path(root)))


def read(root: Path, problems: list[Problem] | None = None) -> Recordings:
    """The files of a folder; each is read when it is asked for.

    Args:
        root: a folder with such files, or one of them.
        problems: not used: what is wrong with a file is raised when that is read.

    Raises:
        InputError: there are none.
    """
    paths = [path for path in csv_files(Path(root)) if _is_file(path)]
    if not paths:
        raise InputError(f"{root}: no {FILES}")
    return of_files(paths, "csv", read_file)


def read_file(path: Path) -> Tracks:
    """One file. Of an agent whose type changes, as trackers write it, the most frequent one counts.

    Raises:
        InputError: a column is missing, a line holds no numbers, or an id is used twice at one time (names the line).
    """
    times: list[float] = []
    ids: list[str] = []
    where: list[tuple[float, float]] = []
    kinds: dict[str, Counter[str]] = {}
    with check_regular(path).open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file, skipinitialspace=True)
        columns = [(name or "").strip().lower() for name in rows.fieldnames or ()]
        if missing := [name for name in COLUMNS if name not in columns]:
            raise InputError(f"{path}, line 1: no column {', '.join(missing)}; it has {columns_found(columns)}")
        if twice := [name for name in (*COLUMNS, "type") if columns.count(name) > 1]:
            raise InputError(f"{path}, line 1: the column {twice[0]} occurs twice; keep one")
        rows.fieldnames = columns
        for row in rows:
            line = rows.line_num
            try:
                time, x, y = (float(row[name]) for name in ("time", "x", "y"))
                if not np.isfinite([time, x, y]).all():
                    raise ValueError("a number is not finite")
            except (ValueError, TypeError) as error:
                short = "the row is too short" if None in row.values() else str(error)
                raise InputError(f"{path}, line {line}: expected numbers as time, x and y ({short})") from None
            agent, kind = str(row["id"]).strip(), (row.get("type") or "vehicle").strip().lower()
            if kind not in KINDS:
                raise InputError(f"{path}, line {line}: type {kind!r} is none of {', '.join(KINDS)}")
            times.append(time)
            ids.append(agent)
            where.append((x, y))
            kinds.setdefault(agent, Counter())[kind] += 1
    if not ids:
        raise InputError(f"{path}: no rows")
    when = np.array(times)
    dt_s = _step(when, ids, path)
    steps = np.round((when - when.min()) / dt_s).astype(np.int64)
    try:
        agents, position, heading = from_rows(ids, steps, np.array(where))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    numbers = np.array([KINDS.index(kinds[agent].most_common(1)[0][0]) for agent in agents], np.int64)
    size = np.full((len(agents), 2), np.nan)
    return Tracks(path.stem, "csv", dt_s, agents, numbers, position, heading, size, _beside(path))


def read_geojson(path: Path) -> StreetMap:
    """LineStrings as lanes, Polygons as areas; other shapes are passed over.

    Raises:
        InputError: not GeoJSON, or a shape without coordinates.
    """
    content = read_json(path)
    features = content.get("features") if isinstance(content, dict) else None
    shapes = (
        [one.get("geometry") if isinstance(one, dict) else None for one in features or ()]
        if isinstance(features, list)
        else []
    )
    shapes = [shape for shape in shapes if isinstance(shape, dict)]
    if not shapes:
        raise InputError(f"{path}: not a GeoJSON FeatureCollection with features")
    lanes: list[Lane] = []
    areas: list[np.ndarray] = []
    try:
        for number, shape in enumerate(shapes):
            kind, points = shape.get("type"), shape.get("coordinates") or []
            if kind in ("LineString", "MultiLineString"):
                for line in [points] if kind == "LineString" else points:
                    lanes.append(Lane(f"{number}.{len(lanes)}", _points(line)))
            elif kind in ("Polygon", "MultiPolygon"):
                areas += [_points(rings[0])[:, :2] for rings in ([points] if kind == "Polygon" else points)]
    except (TypeError, ValueError, IndexError) as error:
        raise InputError(f"{path}: a feature has no coordinates that can be read ({error})") from None
    return StreetMap(tuple(lanes), areas=tuple(areas), source=f"{path.name}: metres, as in the tracks")


def read_homography(path: Path) -> Float64[np.ndarray, "3 3"]:
    """A homography from pixels of a camera that does not move to metres on the ground: a text file of 3 × 3 numbers.

    Raises:
        InputError: not nine finite numbers, or a matrix that has no inverse.
    """
    try:
        matrix = np.array(read_text(path).replace(",", " ").split(), np.float64).reshape(3, 3)
    except ValueError:
        raise InputError(f"{path}: expected the 3 × 3 numbers of a homography from pixels to metres") from None
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-15:
        raise InputError(f"{path}: a homography is made of finite numbers and has an inverse")
    return matrix


def on_the_ground(tracks: Tracks, metres_from_pixels: Float64[np.ndarray, "3 3"]) -> Tracks:
    """Tracks in metres from tracks in pixels, such as the lower edges of boxes that a tracker gave.

    Raises:
        InputError: a position lies on the horizon or above it.
    """
    pixels = np.concatenate([tracks.position, np.ones((*tracks.position.shape[:2], 1))], -1)
    place = pixels @ metres_from_pixels.T
    seen = np.isfinite(place).all(-1)
    side = np.sign(place[..., 2][seen])
    if side.size and (side != side[0]).any():
        raise InputError(
            f"{tracks.name}: a position lies on the horizon or above it: is the homography of this camera?"
        )
    return replace(tracks, position=place[..., :2] / place[..., 2:], heading=np.full_like(tracks.heading, np.nan))


def _points(line: Any) -> Float64[np.ndarray, "n 3"]:
    points = np.array([(*map(float, point[:2]), 0.0) for point in line], np.float64)
    if len(points) < 2 or not np.isfinite(points).all():
        raise ValueError("a line needs two points or more, of finite numbers")
    return points


def _step(times: np.ndarray, ids: list[str], path: Path) -> float:
    """The usual time between two rows of one agent, seconds."""
    agents = np.unique(ids, return_inverse=True)[1]
    order = np.lexsort((times, agents))
    gaps = np.diff(times[order])[np.diff(agents[order]) == 0]
    gaps = gaps[gaps > 0]
    if not len(gaps):
        raise InputError(f"{path}: no agent has two rows at different times")
    # of 30 frames a second in two decimals gaps are 0.03 and 0.04: their sum over the steps in them is right
    usual = float(np.median(gaps))
    for _ in range(3):
        short = gaps[gaps < 5.5 * usual]
        usual = float(short.sum() / np.maximum(np.round(short / usual), 1).sum())
    return round(usual, 9)  # times in decimals: 0.4, not 0.40000000000000036


def _beside(path: Path) -> StreetMap:
    for place in (path.with_suffix(".geojson"), path.with_name("lanes.geojson")):
        if place.is_file():
            return read_geojson(place)
    return StreetMap()


def _is_file(path: Path) -> bool:
    return set(COLUMNS) <= {word.strip().lower() for word in header(path).split(",")}


READS = {Tracks: read}
