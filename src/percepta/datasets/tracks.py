"""Recordings of how agents move, with the map below them: what motion forecasting reads.

`Tracks` holds positions on one grid of steps, NaN where an agent was not seen. What follows the present is never read
for what comes before it: velocities are differences of past positions (`velocity`), a `Moment` holds the agents that
are visible at its last observed step, whether they are seen later or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from percepta.errors import InputError
from percepta.files import listed

# The object types of Argoverse 2, in its order.
KINDS = (
    "vehicle", "pedestrian", "motorcyclist", "cyclist", "bus", "static", "background", "construction",
    "riderless_bicycle", "unknown",
)  # fmt: skip
VEHICLES = (KINDS.index("vehicle"), KINDS.index("bus"))
LANE_KINDS = ("vehicle", "bike", "bus")


@dataclass(frozen=True)
class Lane:
    """A lane, or a piece of one.

    Attributes:
        id: its name in the map.
        centre: centre line in the direction of travel, metres; z is 0 where the map is flat.
        kind: one of LANE_KINDS.
        left, right: its boundaries, in the same direction; None where the map has none.
        left_mark, right_mark: what is painted there, in the words of the map.
        intersection: whether it lies in one; None where the map does not say.
        before, after: lanes that lead into it and out of it.
        left_of, right_of: the lane beside it, on its left and right; None where there is none.
    """

    id: str
    centre: Float64[np.ndarray, "n 3"]
    kind: str = "vehicle"
    left: Float64[np.ndarray, "a 3"] | None = None
    right: Float64[np.ndarray, "b 3"] | None = None
    left_mark: str = "NONE"
    right_mark: str = "NONE"
    intersection: bool | None = None
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    left_of: str | None = None
    right_of: str | None = None


@dataclass(frozen=True)
class Crossing:
    """Where people cross a road: its two edges, metres."""

    id: str
    edge1: Float64[np.ndarray, "a 3"]
    edge2: Float64[np.ndarray, "b 3"]


@dataclass(frozen=True)
class StreetMap:
    """What is known of the ground.

    Attributes:
        lanes: with their centre lines.
        crossings: of people on foot.
        edges: lines that a vehicle does not cross: kerbs, solid road edges; metres.
        areas: polygons that can be driven on, metres; none where the map has none.
        source: the file, and how it was projected.
    """

    lanes: tuple[Lane, ...] = ()
    crossings: tuple[Crossing, ...] = ()
    edges: tuple[Float64[np.ndarray, "_ 2"], ...] = ()
    areas: tuple[Float64[np.ndarray, "_ 2"], ...] = ()
    source: str = ""

    def near(self, points: Float[np.ndarray, "n 2"], radius_m: float) -> StreetMap:
        """The map without what is farther than a radius from the rectangle of some points: memory stays bounded."""
        seen = points[np.isfinite(points).all(-1)]
        if not len(seen):
            return replace(self, lanes=(), crossings=(), edges=(), areas=())
        low, high = seen.min(0) - radius_m, seen.max(0) + radius_m

        def close(line: np.ndarray) -> bool:
            return bool(((line[:, :2].max(0) >= low) & (line[:, :2].min(0) <= high)).all())

        return replace(
            self,
            lanes=tuple(lane for lane in self.lanes if close(lane.centre)),
            crossings=tuple(one for one in self.crossings if close(np.concatenate([one.edge1, one.edge2]))),
            edges=tuple(line for line in self.edges if close(line)),
            areas=tuple(area for area in self.areas if close(area)),
        )

    @property
    def points(self) -> int:
        """How many points all its lines have."""
        sides = [side for lane in self.lanes for side in (lane.centre, lane.left, lane.right) if side is not None]
        edges = [edge for one in self.crossings for edge in (one.edge1, one.edge2)]
        return sum(map(len, [*sides, *edges, *self.edges, *self.areas]))


@dataclass(frozen=True)
class Tracks:
    """How agents moved in one recording.

    Attributes:
        name: of the recording.
        group: of the collection that it is from, such as "nuscenes".
        dt_s: time from step to step.
        ids: of the agents.
        kinds: places in KINDS.
        position: of centres, metres; NaN where an agent was not seen.
        heading: radians, counter-clockwise from x; NaN where it is not known, as of people.
        size_m: length and width; NaN where not known.
        map: the ground.
        keyframe_steps: positions were annotated at every so many steps, from step 0 on, and are interpolated between
            them: there the next annotation can be seen in them, so the last observed step has to be one. 1: all were.
        last: the last observed step, where the set prescribes it; None: any.
        focal: agents that the set asks to predict; none: all.
        category: of Argoverse 2: 0 fragment, 1 unscored, 2 scored, 3 focal; None where there is none.
        velocity: as the set gives it, metres a second, for published networks that were trained with it; None where
            it is known to show the future. The function `velocity` is for everything else.
    """

    name: str
    group: str
    dt_s: float
    ids: tuple[str, ...]
    kinds: Int64[np.ndarray, " n"]
    position: Float64[np.ndarray, "n t 2"]
    heading: Float64[np.ndarray, "n t"]
    size_m: Float64[np.ndarray, "n 2"]
    map: StreetMap = field(default_factory=StreetMap)
    keyframe_steps: int = 1
    last: int | None = None
    focal: tuple[str, ...] = ()
    category: Int64[np.ndarray, " n"] | None = None
    velocity: Float64[np.ndarray, "n t 2"] | None = None

    @property
    def steps(self) -> int:
        """How many steps the recording has."""
        return self.position.shape[1]

    @property
    def seen(self) -> Bool[np.ndarray, "n t"]:
        """Whether each agent was seen at each step."""
        return np.asarray(np.isfinite(self.position).all(-1))

    def last_steps(self, observed: int, future: int = 0, stride: int = 1) -> list[int]:
        """The steps that may be a last observed one, so that all observed and future steps lie in the recording.

        Args:
            observed: how many steps are observed, the last one included.
            future: how many follow.
            stride: take every so many, or the next larger multiple of `keyframe_steps`.
        """
        if self.last is not None:
            return [self.last] if observed - 1 <= self.last < self.steps - future else []
        step = -(-stride // self.keyframe_steps) * self.keyframe_steps
        first = -(-(observed - 1) // step) * step
        return list(range(first, self.steps - future, step))

    def moment(self, last: int, observed: int, future: int = 0) -> Moment:
        """What is known at a step, and what follows.

        Args:
            last: the last observed step.
            observed: how many steps are observed, the last one included; those before the recording are not seen.
            future: how many follow; those after the recording are not known.

        Raises:
            InputError: `last` is no step of the recording.
        """
        if not 0 <= last < self.steps:
            raise InputError(f"{self.name}: step {last} is none of its {self.steps} steps")
        agents = np.flatnonzero(np.isfinite(self.position[:, last]).all(-1))
        return Moment(
            self,
            last,
            agents,
            _cut(self.position[agents], last - observed + 1, last + 1),
            _cut(self.heading[agents], last - observed + 1, last + 1),
            _cut(self.position[agents], last + 1, last + 1 + future),
        )


@dataclass(frozen=True)
class Moment:
    """The agents that are visible at the last observed step of a recording.

    Attributes:
        tracks: the recording.
        last: the step.
        agents: rows of the recording.
        past: positions up to that step, metres; NaN where not seen; the last one is always seen.
        heading: of the same steps, radians; NaN where unknown.
        truth: where they went; NaN where unknown.
    """

    tracks: Tracks
    last: int
    agents: Int64[np.ndarray, " a"]
    past: Float64[np.ndarray, "a h 2"]
    heading: Float64[np.ndarray, "a h"]
    truth: Float64[np.ndarray, "a f 2"]

    @property
    def ids(self) -> tuple[str, ...]:
        """Of the agents."""
        return tuple(self.tracks.ids[i] for i in self.agents)

    @property
    def kinds(self) -> Int64[np.ndarray, " a"]:
        """Places in KINDS."""
        return self.tracks.kinds[self.agents]

    @property
    def complete(self) -> Bool[np.ndarray, " a"]:
        """Whether an agent is seen at all observed and all future steps: which ones papers score."""
        return np.asarray(np.isfinite(self.past).all((1, 2)) & np.isfinite(self.truth).all((1, 2)))


@dataclass(frozen=True)
class Recordings:
    """Recordings that are read when they are asked for.

    Attributes:
        names: of the recordings.
        groups: of their collections, as `Tracks.group` will be.
        open: reads one, by its place.
    """

    names: tuple[str, ...]
    groups: tuple[str, ...]
    open: Callable[[int], Tracks]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Tracks:
        return self.open(range(len(self))[index])

    def __iter__(self) -> Iterator[Tracks]:
        return (self.open(i) for i in range(len(self)))


def csv_files(root: Path) -> list[Path]:
    """The files of a folder that end in .csv, or the file itself; none where there is no such path."""
    found = [root] if root.is_file() else listed(root) if root.is_dir() else []
    return [path for path in found if path.suffix == ".csv"]


def header(path: Path) -> str:
    """The first line of a file, 400 characters of it at most; "" where it is no text or cannot be read."""
    try:
        with path.open(encoding="utf-8-sig") as file:  # spreadsheets write a byte order mark
            return file.readline(400).strip()
    except (OSError, UnicodeDecodeError):
        return ""


def of_files(paths: Sequence[Path], group: str, read: Callable[[Path], Tracks]) -> Recordings:
    """One recording a file, named after it, read when it is asked for.

    Args:
        paths: of the files.
        group: the name of their collection.
        read: reads one.
    """
    return Recordings(tuple(path.stem for path in paths), (group,) * len(paths), partial(_read, tuple(paths), read))


def _read(paths: tuple[Path, ...], read: Callable[[Path], Tracks], place: int) -> Tracks:
    return read(paths[place])


def known(points: Float[np.ndarray, "*s 2"]) -> Bool[np.ndarray, "*s"]:
    """Where positions are finite numbers."""
    return np.asarray(np.isfinite(points).all(-1))


def velocity(position: Float[np.ndarray, "n t 2"], dt_s: float) -> Float[np.ndarray, "n t 2"]:
    """Metres a second from the step before to each step; NaN where one of the two was not seen. Never looks ahead."""
    out = np.full_like(position, np.nan)
    out[:, 1:] = (position[:, 1:] - position[:, :-1]) / dt_s
    return out


def moves(
    past: Float[np.ndarray, "n h 2"], truth: Float[np.ndarray, "n f 2"], least_m: float = 2.0
) -> Bool[np.ndarray, " n"]:
    """Whether the first and the last position of each window are some metres apart or more.

    Args:
        past: observed positions.
        truth: those that follow.
        least_m: the distance.
    """
    return np.linalg.norm(truth[:, -1] - past[:, 0], axis=-1) >= least_m


def folds(recordings: Sequence[tuple[str, str]], count: int = 3) -> list[int]:
    """The fold in which each recording is held out, so that every group is dealt over all folds.

    Args:
        recordings: (group, name) of each.
        count: how many folds.

    Returns:
        0 to count − 1 for each; it follows from the names alone, not from their order.
    """
    place: dict[tuple[str, str], int] = {}
    for group in sorted({group for group, _ in recordings}):
        names = sorted({name for own, name in recordings if own == group})
        place |= {(group, name): i % count for i, name in enumerate(names)}
    return [place[recording] for recording in recordings]


MOST_CELLS = 50_000_000  # agents × steps of a recording


def from_rows(
    ids: Sequence[str],
    steps: Sequence[int] | Int64[np.ndarray, " r"],
    position: Float64[np.ndarray, "r 2"],
    heading: Float64[np.ndarray, " r"] | None = None,
) -> tuple[tuple[str, ...], Float64[np.ndarray, "n t 2"], Float64[np.ndarray, "n t"]]:
    """Rows of a table (agent, step, position) as arrays on a grid.

    Args:
        ids: of each row's agent.
        steps: of each row, from 0.
        position: of each row, metres.
        heading: of each row, radians; None: not known.

    Returns:
        (ids in the order of their first rows, positions, headings).

    Raises:
        InputError: an agent has two rows at one step, or a step lies too far from the others (names it).
    """
    try:
        rows = np.asarray(steps, np.int64)
    except OverflowError:
        raise InputError("a step has more than 18 digits: is its time right?") from None
    names = tuple(dict.fromkeys(ids))
    if len(rows) and (rows.min() < 0 or int(rows.max()) * len(names) > MOST_CELLS):
        worst = int(rows.argmin() if rows.min() < 0 else rows.argmax())
        raise InputError(f"agent {ids[worst]} has step {rows[worst]}, far from the others: is its time right?")
    number = {name: i for i, name in enumerate(names)}
    agent = np.array([number[name] for name in ids], np.int64)
    count = int(rows.max()) + 1 if len(rows) else 0
    cell = agent * count + rows
    _, first, times = np.unique(cell, return_index=True, return_counts=True)
    if (times > 1).any():
        row = int(first[times > 1][0])
        raise InputError(f"agent {ids[row]} has two positions at step {rows[row]}: an id may be used once at a time")
    where = np.full((len(names), count, 2), np.nan)
    turned = np.full((len(names), count), np.nan)
    where[agent, rows] = position
    if heading is not None:
        turned[agent, rows] = heading
    return names, where, turned


def resample(line: Float[np.ndarray, "n d"], count: int) -> Float64[np.ndarray, "m d"]:
    """A line as so many points at equal distances along it, the ends included."""
    line = np.asarray(line, np.float64)
    gaps = np.linalg.norm(np.diff(line[:, :2], axis=0), axis=1)
    along = np.concatenate([[0.0], gaps.cumsum()])
    if along[-1] == 0:
        return np.repeat(line[:1], count, axis=0)
    at = np.linspace(0, along[-1], count)
    return np.stack([np.interp(at, along, line[:, d]) for d in range(line.shape[1])], -1)


def centre_line(
    left: Float[np.ndarray, "a 3"], right: Float[np.ndarray, "b 3"], count: int = 10
) -> Float64[np.ndarray, "n 3"]:
    """The line in the middle of two boundaries: the mean of both at equal shares of their lengths.

    Args:
        left: boundary on the left.
        right: boundary on the right, in the same direction.
        count: points of the line.
    """
    return (resample(left, count) + resample(right, count)) / 2


def _cut(values: np.ndarray, start: int, end: int) -> np.ndarray:
    """Steps start to end − 1; NaN where they lie outside of the recording."""
    out = np.full((len(values), end - start, *values.shape[2:]), np.nan)
    low, high = max(start, 0), min(end, values.shape[1])
    if low < high:
        out[:, low - start : high - start] = values[:, low:high]
    return out
