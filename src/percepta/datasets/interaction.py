"""INTERACTION (Zhan et al. 2019): vehicles and people at crossings as CSV, with maps in Lanelet2's OSM format.

Columns: track_id, frame_id, timestamp_ms, agent_type, x, y, vx, vy, and of vehicles psi_rad, length, width. Velocities
are not read. A map's nodes are latitudes and longitudes near 0°; Lanelet2's UTM projection about (0°, 0°) gives the
metres of the tracks. Where no map has the name of the recording, the one on whose lanes most positions of vehicles lie
is taken (of two that fit alike, the one whose centre lines are nearer), and `StreetMap.source` names it.
"""

from __future__ import annotations

import csv
import gzip
import math
import re
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Float
from scipy.spatial import KDTree

from percepta.datasets.problem import Problem, noting
from percepta.datasets.tables import check_columns
from percepta.datasets.tracks import (
    KINDS,
    Crossing,
    Lane,
    Recordings,
    StreetMap,
    Tracks,
    centre_line,
    from_rows,
    resample,
)
from percepta.errors import InputError
from percepta.files import check_regular, listed
from percepta.formats import named
from percepta.metrics.forecast import off_road

NAME = "INTERACTION"
FILES = "*_vehicle_tracks_000.csv or vehicle_tracks_000.csv (maybe .gz) with pedestrian tracks and *.osm beside"

_FILE = re.compile(r"(?P<place>.*?)_?(?P<kind>vehicle|pedestrian)_tracks_(?P<number>\d+)\.csv(\.gz)?")
AGENTS = {"car": "vehicle", "truck": "vehicle", "bus": "bus", "motorcycle": "motorcyclist", "bicycle": "cyclist"}
PROJECTION = "UTM about latitude 0, longitude 0"
DT_S = 0.1


def is_one(root: Path) -> bool:
    """Whether a folder holds such tracks, or is one of these files."""
    return any(_FILE.fullmatch(path.name) for path in _paths(Path(root)))


def read(root: Path, problems: list[Problem] | None = None) -> Recordings:
    """The recordings of a folder: vehicles and people of the same number together.

    Args:
        root: a folder with such files, or one of them.
        problems: what is wrong with a file is added here; None: raised.
    """
    files: dict[str, list[Path]] = {}
    for path in _paths(Path(root)):
        if match := _FILE.fullmatch(path.name):
            files.setdefault(f"{match['place'] or path.parent.name}_{match['number']}", []).append(path)
    names = tuple(sorted(files))
    if not names and problems is None:
        raise InputError(f"{root}: no file {FILES}")
    return Recordings(names, ("interaction",) * len(names), partial(_open, names, files, problems))


def read_files(paths: Iterable[Path], name: str, problems: list[Problem] | None = None) -> Tracks:
    """One recording from its files.

    Args:
        paths: of vehicles and of people.
        name: of the recording.
        problems: what is wrong with a map is added here; None: raised.

    Raises:
        InputError: a column is missing, or a line holds no numbers (names it).
    """
    ids: list[str] = []
    kinds: dict[str, str] = {}
    sizes: dict[str, tuple[float, float]] = {}
    steps, where, turned = [], [], []
    paths = list(paths)
    for path in paths:
        for number, row in _rows(path):
            try:
                agent, kind = row["track_id"], row["agent_type"]
                steps.append(int(row["frame_id"]) - 1)
                where.append((float(row["x"]), float(row["y"])))
                turned.append(float(row.get("psi_rad") or "nan"))
                sizes.setdefault(agent, (float(row.get("length") or "nan"), float(row.get("width") or "nan")))
            except (KeyError, ValueError, TypeError) as error:
                raise InputError(f"{path}, line {number}: not a row of INTERACTION ({error})") from None
            ids.append(agent)
            kinds.setdefault(agent, AGENTS.get(kind, "pedestrian" if kind.startswith("pedestrian") else "unknown"))
    if not ids:
        raise InputError(f"{paths[0]}: no rows")
    with named(paths[0]):
        agents, position, heading = from_rows(ids, np.array(steps), np.array(where), np.array(turned))
    numbers = np.array([KINDS.index(kinds[agent]) for agent in agents], np.int64)
    on_wheels = position[numbers == KINDS.index("vehicle")].reshape(-1, 2)
    street = best_map(sorted(paths[0].parent.rglob("*.osm")), name, on_wheels[np.isfinite(on_wheels).all(1)], problems)
    size = np.array([sizes[agent] for agent in agents])
    return Tracks(name, "interaction", DT_S, agents, numbers, position, heading, size, street)


def best_map(
    files: list[Path], name: str, points: Float[np.ndarray, "n 2"], problems: list[Problem] | None = None
) -> StreetMap:
    """The map of the recording's name; else the one on whose lanes most of some positions lie.

    Shares that differ by less than one in a hundred count as equal; then the distance to the nearest centre line
    decides.

    Args:
        files: maps.
        name: of the recording, such as DR_USA_Intersection_EP0_000.
        points: positions of vehicles, metres.
        problems: what is wrong with a map is added here; None: raised.
    """
    found: list[tuple[float, float, StreetMap]] = []
    place = name.rpartition("_")[0]
    points = points[::20]
    for path in sorted(files, key=lambda path: path.stem != place):
        with noting(problems, path):
            street = read_lanelets(path)
            if not street.lanes:
                raise InputError(f"{path}: no lanelets in it")
            on = float((~off_road(points, street.areas)).mean()) if len(points) else 0.0
            lines = np.concatenate([resample(lane.centre, 40)[:, :2] for lane in street.lanes])
            away = float(KDTree(lines).query(points)[0].mean()) if len(points) else 0.0
            found.append((on, away, street))
            if path.stem == place:
                found = found[-1:]
                break
    if not found:
        return StreetMap()
    on, away, best = max(found, key=lambda one: (round(one[0], 2), -one[1]))
    text = f"{best.source}, {PROJECTION}; {on:.1%} of the vehicles' positions lie on its lanes"
    return replace(best, source=text)


def read_lanelets(path: Path) -> StreetMap:
    """The lanes of a Lanelet2 map; `areas` are the lanes' outlines, and the source is the file's name.

    Raises:
        InputError: not an OSM file, or a lane without its boundaries.
    """
    try:
        root = ElementTree.fromstring(check_regular(path).read_bytes())
        node = {
            one.attrib["id"]: utm_about_zero(float(one.attrib["lat"]), float(one.attrib["lon"]))
            for one in root.iter("node")
        }
        way = {
            one.attrib["id"]: np.array([(*node[ref.attrib["ref"]], 0.0) for ref in one.iter("nd")]).reshape(-1, 3)
            for one in root.iter("way")
        }
        tags_of_way = {one.attrib["id"]: _tags(one) for one in root.iter("way")}
        lanes, crossings, areas = [], [], []
        for relation in root.iter("relation"):
            tags = _tags(relation)
            if tags.get("type") != "lanelet":
                continue
            side = {one.attrib["role"]: one.attrib["ref"] for one in relation.iter("member")}
            left, right = way[side["left"]], way[side["right"]]
            left, right = _same_direction(left, right)
            if tags.get("subtype") == "crosswalk":
                crossings.append(Crossing(relation.attrib["id"], left, right))
                continue
            mark_l, mark_r = (tags_of_way[side[name]].get("subtype", "NONE") for name in ("left", "right"))
            middle = centre_line(left, right, 12)
            lanes.append(Lane(relation.attrib["id"], middle, "vehicle", left, right, mark_l, mark_r))
            areas.append(np.concatenate([left, right[::-1]])[:, :2])
        hard = ("curbstone", "road_border", "guard_rail", "wall")
        edges = tuple(line[:, :2] for key, line in way.items() if tags_of_way[key].get("type") in hard)
    except (ElementTree.ParseError, KeyError, ValueError, IndexError) as error:
        raise InputError(f"{path}: not a Lanelet2 map ({type(error).__name__}: {error})") from None
    return StreetMap(tuple(_joined(lanes)), tuple(crossings), edges, tuple(areas), path.name)


def utm_about_zero(latitude_deg: float, longitude_deg: float) -> tuple[float, float]:
    """(x, y) in metres: UTM (WGS 84, zone 31) of a point less that of (0°, 0°), by Krüger's series to n³."""
    x0, y0 = _mercator(0.0, 0.0)
    x, y = _mercator(latitude_deg, longitude_deg)
    return x - x0, y - y0


def _mercator(latitude_deg: float, longitude_deg: float, meridian_deg: float = 3.0) -> tuple[float, float]:
    a, f = 6378137.0, 1 / 298.257223563
    n = f / (2 - f)
    radius = a / (1 + n) * (1 + n**2 / 4 + n**4 / 64)
    alpha = (n / 2 - 2 / 3 * n**2 + 5 / 16 * n**3, 13 / 48 * n**2 - 3 / 5 * n**3, 61 / 240 * n**3)
    phi, lam = math.radians(latitude_deg), math.radians(longitude_deg - meridian_deg)
    c = 2 * math.sqrt(n) / (1 + n)
    t = math.sinh(math.atanh(math.sin(phi)) - c * math.atanh(c * math.sin(phi)))
    xi, eta = math.atan2(t, math.cos(lam)), math.atanh(math.sin(lam) / math.sqrt(1 + t * t))
    east = eta + sum(k * math.cos(2 * j * xi) * math.sinh(2 * j * eta) for j, k in enumerate(alpha, 1))
    north = xi + sum(k * math.sin(2 * j * xi) * math.cosh(2 * j * eta) for j, k in enumerate(alpha, 1))
    return 0.9996 * radius * east, 0.9996 * radius * north


def _same_direction(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both boundaries in the direction of travel: ways may be stored in either, left stays on the left of right."""
    apart = np.linalg.norm(left[0] - right[0]) + np.linalg.norm(left[-1] - right[-1])
    if np.linalg.norm(left[0] - right[-1]) + np.linalg.norm(left[-1] - right[0]) < apart:
        right = right[::-1]
    along, across = (left[-1] - left[0] + right[-1] - right[0])[:2], (right.mean(0) - left.mean(0))[:2]
    if along[0] * across[1] - along[1] * across[0] > 0:  # right lies to the left of the direction: turn both around
        left, right = left[::-1], right[::-1]
    return left, right


def _joined(lanes: list[Lane]) -> list[Lane]:
    """The lanes with those before and after them: where boundaries begin at the points in which others end."""

    def end(lane: Lane, place: int) -> tuple[tuple[float, ...], ...]:
        assert lane.left is not None and lane.right is not None
        return tuple(map(float, lane.left[place])), tuple(map(float, lane.right[place]))

    starts: dict[object, list[str]] = {}
    ends: dict[object, list[str]] = {}
    for lane in lanes:
        starts.setdefault(end(lane, 0), []).append(lane.id)
        ends.setdefault(end(lane, -1), []).append(lane.id)
    return [
        Lane(
            lane.id, lane.centre, lane.kind, lane.left, lane.right, lane.left_mark, lane.right_mark, lane.intersection,
            tuple(ends.get(end(lane, 0), ())), tuple(starts.get(end(lane, -1), ())),
        )
        for lane in lanes
    ]  # fmt: skip


def _tags(element: ElementTree.Element) -> dict[str, str]:
    return {tag.attrib["k"]: tag.attrib["v"] for tag in element.iter("tag")}


def _rows(path: Path) -> Iterable[tuple[int, dict[str, str]]]:
    try:
        check_regular(path)
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
            rows = csv.DictReader(file)
            check_columns(path, rows.fieldnames, ("track_id", "frame_id", "agent_type", "x", "y"))
            yield from enumerate(rows, 2)
    except (csv.Error, UnicodeDecodeError, EOFError, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: not a CSV file that can be read ({error})") from None


def _paths(root: Path) -> list[Path]:
    return [root] if root.is_file() else list(listed(root)) if root.is_dir() else []


def _open(names: tuple[str, ...], files: dict[str, list[Path]], problems: list[Problem] | None, place: int) -> Tracks:
    return read_files(files[names[place]], names[place], problems)


READS = {Tracks: read}
