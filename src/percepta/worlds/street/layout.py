"""The ground of a synthetic street: three or four curved roads that meet, with lanes, crossings and the driven area.

Traffic keeps to the right. Each road has a lane towards the crossing and one away from it; connectors lead from the
first to the second. Where one may go is decided by the connectors alone: two streets that look alike from a car may
send it to different sides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from percepta.datasets.tracks import Crossing, Lane, StreetMap, resample

LANE_M = 3.5  # width of a lane
REACH_M = 80.0  # how far the roads go
STOP_M = 14.0  # the stop line's distance from the middle
SPACING_M = 1.0  # between points of a lane


@dataclass(frozen=True)
class Street:
    """A crossing of roads.

    Attributes:
        lanes: points of each lane and connector, about a metre apart, in the direction of travel: "in0", "out2", "0>2".
        ways: what follows a lane: connectors of an "in" lane, the "out" lane of a connector.
        crossings: of each road, from one side to the other, just behind the stop line as seen from the middle.
        major: the two roads that have the right of way.
        conflicts: pairs of connectors that come near each other.
        map: the same as a map that any network reads.
    """

    lanes: dict[str, Float64[np.ndarray, "_ 2"]]
    ways: dict[str, tuple[str, ...]]
    crossings: tuple[Float64[np.ndarray, "2 2"], ...]
    major: tuple[int, int]
    conflicts: frozenset[tuple[str, str]]
    map: StreetMap


def street(seed: int, *, most_ways: int = 2) -> Street:
    """A street that follows from a seed.

    Args:
        seed: of everything random.
        most_ways: most connectors of a lane; 1: the map says exactly where everybody goes.
    """
    rng = np.random.default_rng([seed, 101])
    count = int(rng.integers(3, 5))
    angles = np.sort(2 * np.pi * np.arange(count) / count + rng.uniform(-0.3, 0.3, count)) + rng.uniform(0, 2 * np.pi)
    bends = rng.uniform(-0.006, 0.006, count)  # radians a metre
    lanes: dict[str, np.ndarray] = {}
    crossings = []
    for i, (angle, bend) in enumerate(zip(angles, bends, strict=True)):
        away = np.arange(STOP_M, REACH_M + SPACING_M / 2, SPACING_M)
        middle = np.stack([np.cos(angle + bend * (away - STOP_M)), np.sin(angle + bend * (away - STOP_M))], -1)
        middle *= away[:, None]
        right = _right(middle)
        lanes[f"out{i}"] = middle + LANE_M / 2 * right
        lanes[f"in{i}"] = (middle - LANE_M / 2 * right)[::-1]
        at = 4  # metres behind the stop line
        crossings.append(np.stack([middle[at] + (LANE_M + 2) * right[at], middle[at] - (LANE_M + 2) * right[at]]))
    ways: dict[str, tuple[str, ...]] = {}
    for i in range(count):
        others = [j for j in range(count) if j != i]
        chosen = rng.permutation(others)[: int(rng.integers(1, most_ways + 1))]
        ways[f"in{i}"] = tuple(f"{i}>{j}" for j in sorted(chosen))
        for j in chosen:
            lanes[f"{i}>{j}"] = _connector(lanes[f"in{i}"], lanes[f"out{j}"])
            ways[f"{i}>{j}"] = (f"out{j}",)
    across = [abs(np.angle(np.exp(1j * (angles[i] - angles[0] - np.pi)))) for i in range(1, count)]
    major = (0, 1 + int(np.argmin(across)))
    connectors = {name: line[::2] for name, line in lanes.items() if ">" in name}
    conflicts = frozenset(
        (a, b)
        for a, one in connectors.items()
        for b, other in connectors.items()
        if a[0] != b[0] and np.linalg.norm(one[:, None] - other, axis=-1).min() < 2.5
    )
    return Street(lanes, ways, tuple(crossings), major, conflicts, _map(lanes, ways, crossings, seed))


def direction(line: Float64[np.ndarray, "n 2"]) -> Float64[np.ndarray, "n 2"]:
    """Unit vectors along a line at its points."""
    along = np.gradient(line, axis=0)
    return along / np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)


def _right(line: np.ndarray) -> np.ndarray:
    along = direction(line)
    return np.stack([along[:, 1], -along[:, 0]], -1)


def _connector(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """A smooth line from the end of a lane to the start of another (a cubic with their directions)."""
    a, d = start[-1], end[0]
    reach = 0.4 * np.linalg.norm(d - a)
    b, c = a + reach * direction(start)[-1], d - reach * direction(end)[0]
    t = np.linspace(0, 1, 60)[:, None]
    line = (1 - t) ** 3 * a + 3 * (1 - t) ** 2 * t * b + 3 * (1 - t) * t**2 * c + t**3 * d
    length = np.linalg.norm(np.diff(line, axis=0), axis=1).sum()
    return resample(line, max(3, round(length / SPACING_M) + 1))


def _map(
    lanes: dict[str, np.ndarray], ways: dict[str, tuple[str, ...]], crossings: list[np.ndarray], seed: int
) -> StreetMap:
    made, areas = [], []
    before: dict[str, list[str]] = {}
    for name, following in ways.items():
        for one in following:
            before.setdefault(one, []).append(name)
    for name, line in lanes.items():
        left, right = line - LANE_M / 2 * _right(line), line + LANE_M / 2 * _right(line)
        areas.append(np.concatenate([left, right[::-1]]))
        centre, left, right = (np.c_[side, np.zeros(len(side))] for side in (line, left, right))
        ends = tuple(before.get(name, ())), ways.get(name, ())
        made.append(Lane(name, centre, "vehicle", left, right, "SOLID_WHITE", "NONE", ">" in name, *ends))
    zebras = []
    for i, line in enumerate(crossings):
        along = line[1] - line[0]
        wide = 1.5 * np.array([along[1], -along[0]]) / np.linalg.norm(along)
        edges = [np.c_[line + side * wide, np.zeros(2)] for side in (-1, 1)]
        zebras.append(Crossing(str(i), *edges))
    return StreetMap(tuple(made), tuple(zebras), (), tuple(areas), f"synthetic street {seed}: metres")
