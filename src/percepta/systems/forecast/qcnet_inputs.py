"""A moment of a recording as QCNet reads it: agents at every observed step, the map as polygons of directed points."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from percepta.datasets.tracks import LANE_KINDS, Lane, Moment, StreetMap, known, resample
from percepta.systems.forecast import Config

# In the order of the published code.
MARKS = (
    "DASH_SOLID_YELLOW", "DASH_SOLID_WHITE", "DASHED_WHITE", "DASHED_YELLOW", "DOUBLE_SOLID_YELLOW",
    "DOUBLE_SOLID_WHITE", "DOUBLE_DASH_YELLOW", "DOUBLE_DASH_WHITE", "SOLID_YELLOW", "SOLID_WHITE",
    "SOLID_DASH_WHITE", "SOLID_DASH_YELLOW", "SOLID_BLUE", "NONE", "UNKNOWN", "CROSSWALK", "CENTERLINE",
)  # fmt: skip
PEDESTRIAN = len(LANE_KINDS)
INTERSECTION = (True, False, None)
LEFT, RIGHT, CENTRE = 0, 1, 2
PRED, SUCC, LEFT_OF, RIGHT_OF = 1, 2, 3, 4


class QCNetInputs(NamedTuple):
    """A scene of n agents at t observed steps, m polygons and p points.

    Attributes:
        valid: whether an agent was seen at a step and at the one before.
        predicted: whose future is asked for: those that are visible at the last observed step.
        position, heading, velocity: metres, radians, metres a second; 0 where not seen.
        kind: place in `tracks.KINDS`.
        point_place, point_angle, point_length: of the directed pieces of lines.
        point_type, point_side: places in MARKS; LEFT, RIGHT or CENTRE.
        point_polygon: the polygon of each point.
        polygon_place, polygon_angle: of their first points.
        polygon_type, polygon_intersection: places in LANE_KINDS (and PEDESTRIAN); places in INTERSECTION.
        link, link_type: pairs of polygons that follow each other or lie side by side.
    """

    valid: Bool[Tensor, "n t"]
    predicted: Bool[Tensor, " n"]
    position: Float[Tensor, "n t 2"]
    heading: Float[Tensor, "n t"]
    velocity: Float[Tensor, "n t 2"]
    kind: Int[Tensor, " n"]
    point_place: Float[Tensor, "p 2"]
    point_angle: Float[Tensor, " p"]
    point_length: Float[Tensor, " p"]
    point_type: Int[Tensor, " p"]
    point_side: Int[Tensor, " p"]
    point_polygon: Int[Tensor, " p"]
    polygon_place: Float[Tensor, "m 2"]
    polygon_angle: Float[Tensor, " m"]
    polygon_type: Int[Tensor, " m"]
    polygon_intersection: Int[Tensor, " m"]
    link: Int[Tensor, "2 l"]
    link_type: Int[Tensor, " l"]


def qcnet_inputs(moment: Moment, config: Config) -> tuple[Tensor, ...]:
    """The fields of `QCNetInputs`, and for each agent of the moment its row among them.

    Agents are those that were seen at any observed step. Where the recording gives no velocity, it is the difference of
    past positions; where it gives no heading, the direction of that, or the last one known.
    """
    tracks, steps = moment.tracks, config.observed_steps
    start = moment.last - steps + 1
    wanted = np.arange(start, moment.last + 1)
    inside = wanted >= 0
    position = np.full((len(tracks.ids), steps, 2), np.nan)
    position[:, inside] = tracks.position[:, wanted[inside]]
    rows = np.flatnonzero(known(position).sum(1))
    position = position[rows]
    seen = known(position)
    moved = np.full_like(position, np.nan)
    moved[:, 1:] = (position[:, 1:] - position[:, :-1]) / tracks.dt_s
    velocity = moved
    if tracks.velocity is not None:
        velocity = np.full_like(position, np.nan)
        velocity[:, inside] = tracks.velocity[rows][:, wanted[inside]]
    heading = np.full(seen.shape, np.nan)
    heading[:, inside] = tracks.heading[rows][:, wanted[inside]]
    heading = np.where(seen, _directions(heading, moved), np.nan)
    valid = seen.copy()
    valid[:, 1:] &= seen[:, :-1]
    valid[:, 0] = False
    place = {int(row): i for i, row in enumerate(rows)}
    own = torch.tensor([place[int(row)] for row in moment.agents], dtype=torch.long)

    def zeroed(values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.nan_to_num(values).astype(np.float32))

    agents = (
        torch.from_numpy(valid), torch.from_numpy(seen[:, -1].copy()), zeroed(position), zeroed(heading),
        zeroed(velocity), torch.from_numpy(tracks.kinds[rows]),
    )  # fmt: skip
    return (*agents, *map_inputs(tracks.map), own)


def map_inputs(street: StreetMap) -> tuple[Tensor, ...]:
    """The fields of `QCNetInputs` from `point_place` on."""
    names = {lane.id: i for i, lane in enumerate(street.lanes)}
    polygons: list[tuple[np.ndarray, np.ndarray, int, int]] = []  # first point, direction, type, intersection
    points: list[tuple[np.ndarray, int, int]] = []  # directed pieces, type, side; by polygon
    owner: list[int] = []

    def add(line: np.ndarray, mark: str, side: int, polygon: int) -> None:
        points.append((line, MARKS.index(mark) if mark in MARKS else MARKS.index("UNKNOWN"), side))
        owner.append(polygon)

    for lane in street.lanes:
        number = len(polygons)
        centre = lane.centre.astype(np.float32)
        polygons.append((centre[0], centre[1] - centre[0], LANE_KINDS.index(lane.kind), _intersection(lane)))
        for side, line, mark in ((LEFT, lane.left, lane.left_mark), (RIGHT, lane.right, lane.right_mark)):
            if line is not None:
                add(line, mark, side, number)
        add(lane.centre, "CENTERLINE", CENTRE, number)
    first, crossings = len(polygons), street.crossings
    for back in (False, True):  # each crossing twice, once for each direction
        for i, one in enumerate(crossings):
            # in single precision, as the published code: bearings of coinciding points turn on the last bit
            left, right = one.edge1.astype(np.float32), one.edge2.astype(np.float32)
            start, end = (left[0] + right[0]) / 2, (left[-1] + right[-1]) / 2
            way, across = end - start, (left[0] + left[-1]) / 2 - start
            if way[0] * across[1] - way[1] * across[0] <= 0:
                left, right = right, left
            count = math.ceil(float(np.linalg.norm(way)) / 2) + 1
            middle = (resample(left, count) + resample(right, count)) / 2
            lines = (left, right, middle)
            if back:
                lines, start, way = (right[::-1], left[::-1], middle[::-1]), end, -way
            number = first + i + (len(crossings) if back else 0)
            polygons.append((start.astype(np.float32), way.astype(np.float32), PEDESTRIAN, INTERSECTION.index(None)))
            for side, line in zip((LEFT, RIGHT, CENTRE), lines, strict=True):
                add(line, "CENTERLINE" if side == CENTRE else "CROSSWALK", side, number)
    links = [
        (names[other], names[lane.id], kind)
        for lane in street.lanes
        for others, kind in (
            (lane.before, PRED), (lane.after, SUCC), ((lane.left_of,), LEFT_OF), ((lane.right_of,), RIGHT_OF),
        )
        for other in others
        if other in names
    ]  # fmt: skip
    lines = [line.astype(np.float32) for line, _, _ in points]
    ways = [np.diff(line[:, :2], axis=0) for line in lines]
    counts = [len(way) for way in ways]
    way = np.concatenate([*ways, np.zeros((0, 2), np.float32)])
    starts = np.concatenate([*(line[:-1, :2] for line in lines), np.zeros((0, 2), np.float32)])
    of_point = np.repeat(np.array(owner, np.int64), counts)
    mark = np.repeat(np.array([kind for _, kind, _ in points], np.int64), counts)
    side = np.repeat(np.array([side for _, _, side in points], np.int64), counts)
    table = np.array(links, np.int64).reshape(-1, 3)
    directions = np.array([one[1] for one in polygons], np.float32).reshape(-1, 3)
    return (
        torch.from_numpy(starts), _angle(way), torch.from_numpy(way).norm(dim=-1), torch.from_numpy(mark),
        torch.from_numpy(side), torch.from_numpy(of_point),
        torch.from_numpy(np.array([one[0][:2] for one in polygons], np.float32).reshape(-1, 2)),
        _angle(directions),
        torch.tensor([one[2] for one in polygons], dtype=torch.long),
        torch.tensor([one[3] for one in polygons], dtype=torch.long),
        torch.from_numpy(np.ascontiguousarray(table[:, :2].T)), torch.from_numpy(np.ascontiguousarray(table[:, 2])),
    )  # fmt: skip


def _angle(way: np.ndarray) -> Tensor:
    return torch.atan2(torch.from_numpy(way[:, 1]), torch.from_numpy(way[:, 0]))


def _intersection(lane: Lane) -> int:
    return INTERSECTION.index(lane.intersection)


def _directions(heading: Float[np.ndarray, "n t"], moved: Float[np.ndarray, "n t 2"]) -> Float[np.ndarray, "n t"]:
    """Headings, with the direction of movement where they are not known, and the last one known where nothing moves."""
    speed = np.linalg.norm(moved, axis=-1)
    own = np.where(np.nan_to_num(speed) > 0.2, np.arctan2(moved[..., 1], moved[..., 0]), np.nan)
    out = np.where(np.isfinite(heading), heading, own)
    for step in range(1, out.shape[1]):
        out[:, step] = np.where(np.isfinite(out[:, step]), out[:, step], out[:, step - 1])
    return out
