"""Argoverse 2 (Wilson et al. 2021): motion forecasting scenarios, and the tracked boxes of sensor logs.

A scenario is scenario_<id>.parquet with log_map_archive_<id>.json: 110 steps of 0.1 s, of which the first 50 are
observed (the test split has no others). A log has boxes in annotations.feather, in the frame of the car, and where that
was in city_SE3_egovehicle.feather; some logs have the car's own track among the boxes, as EGO_VEHICLE. Maps of logs
have no centre
lines: they are made, halfway between the boundaries. Reading Parquet and Feather needs pyarrow, the extra
percepta[data].

`write_submission` and `read_submission` are for the challenge's files of predictions.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float64

from percepta.datasets.problem import Problem
from percepta.datasets.tables import columns_found
from percepta.datasets.tracks import (
    KINDS,
    LANE_KINDS,
    Crossing,
    Lane,
    Recordings,
    StreetMap,
    Tracks,
    centre_line,
    from_rows,
)
from percepta.errors import InputError, MissingExtraError, MissingFileError
from percepta.files import check_regular, is_system_file, write_atomically
from percepta.formats import read_json
from percepta.geometry import pose as poses

NAME = "Argoverse 2"
FILES = (
    "scenario_<id>.parquet with log_map_archive_<id>.json, or logs with annotations*.feather, here or in sub-folders"
)

DT_S = 0.1
OBSERVED, FUTURE = 50, 60  # steps of a scenario
EGO = "EGO_VEHICLE"
BOXES = {
    "REGULAR_VEHICLE": "vehicle", "LARGE_VEHICLE": "vehicle", "TRUCK": "vehicle", "BOX_TRUCK": "vehicle",
    "TRUCK_CAB": "vehicle", "VEHICULAR_TRAILER": "vehicle", "RAILED_VEHICLE": "vehicle", EGO: "vehicle",
    "BUS": "bus", "SCHOOL_BUS": "bus", "ARTICULATED_BUS": "bus", "MOTORCYCLIST": "motorcyclist",
    "BICYCLIST": "cyclist", "WHEELED_DEVICE": "cyclist", "WHEELED_RIDER": "cyclist", "BICYCLE": "riderless_bicycle",
    "MOTORCYCLE": "riderless_bicycle", "PEDESTRIAN": "pedestrian", "STROLLER": "pedestrian",
    "WHEELCHAIR": "pedestrian", "OFFICIAL_SIGNALER": "pedestrian", "DOG": "unknown", "ANIMAL": "unknown",
}  # fmt: skip
"""Category of a box, and which of KINDS it is. Cones, bollards and signs do not move and are left out."""
SUBMISSION = ("scenario_id", "track_id", "probability", "predicted_trajectory_x", "predicted_trajectory_y")
_COLUMNS = ("track_id", "object_type", "timestep", "position_x", "position_y", "heading", "velocity_x", "velocity_y")


def is_one(root: Path) -> bool:
    """Whether a folder holds scenarios or logs, here or in its sub-folders, or is such a file."""
    return next(iter(_places(Path(root))), None) is not None


def read(root: Path, problems: list[Problem] | None = None) -> Recordings:
    """The scenarios and logs of a folder; each is read when it is asked for.

    Args:
        root: a folder, or one file of a scenario.
        problems: not used: what is wrong with a file is raised when that is read.

    Raises:
        InputError: there are none.
    """
    places = _places(Path(root))
    if not places:
        raise InputError(f"{root}: no {FILES}")
    names = tuple(_name(path) for path in places)
    return Recordings(names, ("argoverse2",) * len(names), partial(_open, tuple(places)))


def read_scenario(path: Path) -> Tracks:
    """A scenario of the motion forecasting set, with the map beside it.

    All agents of the file are kept, in the order of their first rows. `last` is step 49, `focal` the focal track.

    Args:
        path: the Parquet file.

    Raises:
        MissingFileError, InputError: no such file, or no scenario.
        MissingExtraError: pyarrow is not installed.
    """
    table = _table(path)
    if missing := [name for name in _COLUMNS if name not in table]:
        raise InputError(
            f"{path}: not a scenario of Argoverse 2: no column {', '.join(missing)}; it has {columns_found(table)}"
        )
    xy = np.stack([table["position_x"], table["position_y"]], -1).astype(np.float64)
    steps = table["timestep"].astype(np.int64)
    ids, position, heading = from_rows([*map(str, table["track_id"])], steps, xy, table["heading"].astype(np.float64))
    moved = np.stack([table["velocity_x"], table["velocity_y"]], -1).astype(np.float64)
    _, velocity, _ = from_rows([*map(str, table["track_id"])], steps, moved)
    first = {str(key): i for i, key in reversed([*enumerate(table["track_id"])])}
    rows = [first[key] for key in ids]
    kinds = [KINDS.index(kind) if (kind := str(table["object_type"][i])) in KINDS else len(KINDS) - 1 for i in rows]
    category = table["object_category"][rows].astype(np.int64) if "object_category" in table else None
    focal = str(table["focal_track_id"][0]) if "focal_track_id" in table else ""
    name = str(table["scenario_id"][0]) if "scenario_id" in table else path.stem.removeprefix("scenario_")
    where = path.with_name(f"log_map_archive_{name}.json")
    if not where.is_file():
        where = next(iter(sorted(path.parent.glob("log_map_archive_*.json"))), where)
    street = read_map(where) if where.is_file() else StreetMap()
    last = min(OBSERVED, position.shape[1]) - 1
    size = np.full((len(ids), 2), np.nan)
    return Tracks(
        name, "argoverse2", DT_S, ids, np.array(kinds, np.int64), position, heading, size, street, last=last,
        focal=(focal,) if focal else (), category=category, velocity=velocity,
    )  # fmt: skip


def read_log(folder: Path) -> Tracks:
    """The tracked boxes of a sensor log, in the frame of the city.

    Args:
        folder: with annotations*.feather, city_SE3_egovehicle.feather and maybe a map.

    Raises:
        MissingFileError, InputError: a file is missing, or a box has a time without a pose.
        MissingExtraError: pyarrow is not installed.
    """
    boxes_file = next(iter(sorted(folder.glob("annotations*.feather"))), folder / "annotations.feather")
    boxes, ego = _table(boxes_file), _table(folder / "city_SE3_egovehicle.feather")
    try:
        when, place = np.unique(boxes["timestamp_ns"], return_inverse=True)
        order = np.argsort(ego["timestamp_ns"], kind="stable")
        known = ego["timestamp_ns"][order]
        nearest = np.clip(np.searchsorted(known, when), 0, len(known) - 1)
        if (np.abs(known[nearest] - when) > 1e6).any():
            raise InputError(f"{boxes_file}: a box has a time that has no pose within 1 ms")
        city_from_ego = _pose(ego)[order[nearest]]
        city_from_box = city_from_ego[place] @ _pose(boxes)
        keep = np.array([kind in BOXES for kind in boxes["category"]])
        ids = [str(key) for key in boxes["track_uuid"][keep]]
        kinds = dict(zip(ids, boxes["category"][keep], strict=True))
        sizes = dict(zip(ids, zip(boxes["length_m"][keep], boxes["width_m"][keep], strict=True), strict=True))
    except KeyError as error:
        raise InputError(
            f"{boxes_file}: not the boxes of a log: no column {error}; it has {columns_found(boxes)}"
        ) from None
    gaps = np.diff(when) / 1e9
    if len(gaps) and (gaps > 1.5 * DT_S).any():
        raise InputError(f"{boxes_file}: {gaps.max():.2f} s without boxes, at {DT_S} s a step")
    turned = np.arctan2(city_from_box[:, 1, 0], city_from_box[:, 0, 0])
    agents, position, heading = from_rows(ids, place[keep], city_from_box[keep, :2, 3], turned[keep])
    map_file = next(iter(sorted(folder.rglob("log_map_archive_*.json"))), None)
    return Tracks(
        folder.name,
        "argoverse2",
        DT_S,
        agents,
        np.array([KINDS.index(BOXES[kinds[agent]]) for agent in agents], np.int64),
        position,
        heading,
        np.array([sizes[agent] for agent in agents], np.float64).reshape(-1, 2),
        read_map(map_file) if map_file else StreetMap(),
    )


def read_map(path: Path) -> StreetMap:
    """The vector map of a scenario or a log.

    Raises:
        MissingFileError, InputError: no such file, or no map.
    """
    content = read_json(path)
    try:
        crossings = [
            Crossing(str(row["id"]), _xyz(row["edge1"]), _xyz(row["edge2"]))
            for row in content.get("pedestrian_crossings", {}).values()
        ]
        areas = [_xyz(row["area_boundary"])[:, :2] for row in content.get("drivable_areas", {}).values()]
        lanes = [_lane(row) for row in content["lane_segments"].values()]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"{path}: not a map of Argoverse 2 ({type(error).__name__}: {error})") from None
    edges = tuple(np.concatenate([area, area[:1]]) for area in areas)
    return StreetMap(tuple(lanes), tuple(crossings), edges, tuple(areas), f"{path.name}: metres of the city's frame")


# --------------------------------------------------------------------------------------------------- submissions


@dataclass(frozen=True)
class Prediction:
    """What was predicted for an agent of a scenario.

    Attributes:
        position: k modes, metres in the city's frame.
        probability: of the modes.
    """

    position: Float64[np.ndarray, "k t 2"]
    probability: Float64[np.ndarray, " k"]


Submission = Mapping[str, Mapping[str, Prediction]]
"""{scenario: {agent: its prediction}}."""


def write_submission(path: Path | str, predictions: Submission, *, modes: int = 6) -> Path:
    """The challenge's file: a row for each mode, probabilities of an agent with the sum 1.

    Args:
        path: of the Parquet file.
        predictions: of all scenarios.
        modes: the most probable ones that are written, at most 6.

    Raises:
        InputError: nothing to write, more than 6 modes, or predictions that are not 60 steps long.
        MissingExtraError: pyarrow is not installed.
    """
    if not 1 <= modes <= 6:
        raise InputError(f"a submission of Argoverse 2 has 1 to 6 modes, not {modes}")
    rows: dict[str, list[Any]] = {name: [] for name in SUBMISSION}
    for scenario, agents in predictions.items():
        for agent, one in agents.items():
            if one.position.shape[1:] != (FUTURE, 2) or not np.isfinite(one.position).all():
                raise InputError(
                    f"{scenario}, agent {agent}: a submission has {FUTURE} finite steps of {DT_S} s, "
                    f"got {one.position.shape[1]}"
                )
            best = np.argsort(-one.probability, kind="stable")[:modes]
            share = one.probability[best] / one.probability[best].sum()
            for mode, p in zip(best, share, strict=True):
                values = (
                    scenario,
                    agent,
                    float(p),
                    one.position[mode, :, 0].tolist(),
                    one.position[mode, :, 1].tolist(),
                )
                for column, value in zip(rows.values(), values, strict=True):
                    column.append(value)
    if not rows["track_id"]:
        raise InputError("there is no prediction to write")
    pyarrow = _pyarrow()
    content = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(rows), content)
    return write_atomically(path, content.getvalue())


def read_submission(path: Path) -> dict[str, dict[str, Prediction]]:
    """The predictions in a file of the challenge, whoever wrote it; modes in the order of their probability.

    Raises:
        MissingFileError, InputError: no such file, or not such a table.
        MissingExtraError: pyarrow is not installed.
    """
    table = _table(path)
    parts: dict[tuple[str, str], list[tuple[float, np.ndarray]]] = {}
    try:
        for scenario, agent, p, x, y in zip(*(table[name] for name in SUBMISSION), strict=True):
            way = np.stack([np.asarray(x, np.float64), np.asarray(y, np.float64)], -1)
            parts.setdefault((str(scenario), str(agent)), []).append((float(p), way))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a file of predictions ({type(error).__name__}: {error})") from None
    found: dict[str, dict[str, Prediction]] = {}
    for (scenario, agent), modes in parts.items():
        modes.sort(key=lambda mode: -mode[0])
        if len({len(way) for _, way in modes}) > 1:
            raise InputError(f"{path}: the modes of agent {agent} in {scenario} differ in length")
        one = Prediction(np.stack([way for _, way in modes]), np.array([p for p, _ in modes]))
        found.setdefault(scenario, {})[agent] = one
    return found


# ---------------------------------------------------------------------------------------------------------- parts


def _places(root: Path) -> list[Path]:
    """Parquet files of scenarios and folders of logs, here or one or two folders down."""
    if root.is_file():
        return [root] if root.suffix == ".parquet" and root.name.startswith("scenario_") else []
    if not root.is_dir():
        return []
    found = _own(root)
    for folder in _folders(root):
        inside = _own(folder)
        found += inside
        if not inside and not any(folder.glob("*.*")):  # a split, with a folder for each scenario
            found += [path for deeper in _folders(folder) for path in _own(deeper)]
    return found


def _own(folder: Path) -> list[Path]:
    scenarios = sorted(folder.glob("scenario_*.parquet"))
    return [*scenarios, *([folder] if (folder / "city_SE3_egovehicle.feather").is_file() else [])]


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not is_system_file(path))


def _name(path: Path) -> str:
    return path.stem.removeprefix("scenario_") if path.suffix == ".parquet" else path.name


def _open(places: Sequence[Path], index: int) -> Tracks:
    path = places[index]
    return read_scenario(path) if path.suffix == ".parquet" else read_log(path)


def _lane(row: Mapping[str, Any]) -> Lane:
    left, right = _xyz(row["left_lane_boundary"]), _xyz(row["right_lane_boundary"])
    centre = _xyz(row["centerline"]) if row.get("centerline") else centre_line(left, right)
    kind = str(row.get("lane_type", "VEHICLE")).lower()
    beside = [None if row.get(name) is None else str(row[name]) for name in ("left_neighbor_id", "right_neighbor_id")]
    return Lane(
        str(row["id"]), centre, kind if kind in LANE_KINDS else "vehicle", left, right,
        str(row.get("left_lane_mark_type", "NONE")), str(row.get("right_lane_mark_type", "NONE")),
        row.get("is_intersection"), tuple(map(str, row.get("predecessors", ()))),
        tuple(map(str, row.get("successors", ()))), *beside,
    )  # fmt: skip


def _xyz(points: Sequence[Mapping[str, float]]) -> Float64[np.ndarray, "n 3"]:
    return np.array([(row["x"], row["y"], row["z"]) for row in points], np.float64).reshape(-1, 3)


def _pose(table: Mapping[str, np.ndarray]) -> Float[np.ndarray, "n 4 4"]:
    quaternion = np.stack([table[name] for name in ("qx", "qy", "qz", "qw")], -1)
    where = np.stack([table[name] for name in ("tx_m", "ty_m", "tz_m")], -1)
    return poses.compose(poses.from_quaternion(quaternion), where)


def _pyarrow() -> Any:
    if find_spec("pyarrow") is None:
        raise MissingExtraError("pyarrow is missing: run pip install 'percepta[data]'")
    import pyarrow.feather
    import pyarrow.parquet

    return pyarrow


def _table(path: Path) -> dict[str, np.ndarray]:
    """{column: values} of a Parquet or Feather file."""
    pyarrow = _pyarrow()
    if not Path(path).is_file():
        raise MissingFileError(f"{path}: no such file; {NAME} needs {FILES}")
    path = check_regular(Path(path))
    try:
        table = pyarrow.feather.read_table(path) if path.suffix == ".feather" else pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a table that can be read ({str(error).splitlines()[0]})") from None
    return {name: table[name].to_numpy() for name in table.column_names}


READS = {Tracks: read}
