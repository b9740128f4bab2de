"""Cars and people on a synthetic street, as `Tracks`.

Cars follow their lanes by the intelligent driver model (Treiber et al. 2000): they keep a distance from who drives
ahead, slow down for bends, stop for people on crossings, and on minor roads give way to cars of the major one. People
cross the roads at the crossings and wait for nobody.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from percepta.datasets.tracks import KINDS, Tracks
from percepta.worlds.street.layout import SPACING_M, STOP_M, Street, direction, street

STEP_S = 0.1
CAR_M = (4.5, 1.9)
BRAKE, SPEED_UP = 2.5, 1.8  # comfortable, m/s²
GAP_M, HEADWAY_S = 2.5, 1.2
SIDEWAYS = 2.2  # m/s² in bends


@dataclass
class _Car:
    lanes: tuple[str, ...]
    speed: float
    wish: float
    along: float  # metres on the whole way
    starts: dict[str, float] = field(default_factory=dict)  # where each lane begins on the way
    line: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    limits: np.ndarray = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True)
class _Person:
    road: int
    start_s: float
    speed: float
    forward: bool


def traffic(seed: int, *, seconds: float = 12.0, cars: int = 8, people: int = 3, most_ways: int = 2) -> Tracks:
    """A recording of a street, at 10 Hz.

    Args:
        seed: of everything random.
        seconds: how long.
        cars: at most so many; those that would stand in each other are left out.
        people: who cross a road.
        most_ways: most connectors of a lane, see `layout.street`.
    """
    rng = np.random.default_rng([seed, 202])
    ground = street(seed, most_ways=most_ways)
    fleet = _fleet(ground, cars, rng)
    walkers = [
        _Person(int(rng.integers(len(ground.crossings))), float(rng.uniform(-4, 0.8 * seconds)),
                float(rng.uniform(0.9, 1.7)), bool(rng.integers(2)))
        for _ in range(people)
    ]  # fmt: skip
    steps = round(seconds / STEP_S)
    position = np.full((len(fleet) + people, steps, 2), np.nan)
    heading = np.full(position.shape[:2], np.nan)
    for t in range(steps):
        on_foot = [_walk(ground, one, t * STEP_S) for one in walkers]
        for i, car in enumerate(fleet):
            if car.along < car.line[-1, 2] - 1:  # not yet at the end of its way
                position[i, t], heading[i, t] = _place(car)
        for i, place in enumerate(on_foot):
            if place is not None:
                position[len(fleet) + i, t] = place
        there = [car for car in fleet if car.along < car.line[-1, 2] - 1]
        _drive(ground, there, [(w.road, p) for w, p in zip(walkers, on_foot, strict=True) if p is not None])
    kinds = [KINDS.index("vehicle")] * len(fleet) + [KINDS.index("pedestrian")] * people
    size = np.array([CAR_M] * len(fleet) + [(0.5, 0.5)] * people, np.float64).reshape(-1, 2)
    seen = np.isfinite(position[..., 0]).sum(1) > 0
    ids = tuple(f"{'car' if i < len(fleet) else 'person'} {i}" for i in range(len(position)))
    return Tracks(
        f"street {seed}", "street", STEP_S, tuple(np.array(ids)[seen].tolist()), np.array(kinds, np.int64)[seen],
        position[seen], heading[seen], size[seen], ground.map,
    )  # fmt: skip


def _fleet(ground: Street, count: int, rng: np.random.Generator) -> list[_Car]:
    made: list[_Car] = []
    arms = [name for name in ground.lanes if name.startswith("in")]
    for _ in range(count):
        first = str(rng.choice(arms))
        way = str(rng.choice(ground.ways[first]))
        lanes = (first, way, ground.ways[way][0])
        car = _Car(lanes, 0.0, float(rng.uniform(7, 13)), float(rng.uniform(2, 95)))
        lines, at = [], 0.0
        for name in lanes:
            line = ground.lanes[name] if not lines else ground.lanes[name][1:]
            car.starts[name] = at
            lines.append(line)
            at += SPACING_M * len(line)
        raw = np.concatenate(lines)
        length = np.r_[0.0, np.linalg.norm(np.diff(raw, axis=0), axis=1).cumsum()]
        places = np.interp(np.array([*car.starts.values()]) / SPACING_M, np.arange(len(raw)), length)
        car.starts = dict(zip(car.starts, places.tolist(), strict=True))
        car.line = np.c_[raw, length]
        bend = np.abs(np.gradient(np.unwrap(np.arctan2(*direction(raw).T[::-1])))) / SPACING_M
        bend = np.convolve(bend, np.ones(5) / 5, "same")
        car.limits = np.minimum(car.wish, np.sqrt(SIDEWAYS / np.maximum(bend, 1e-3)))
        car.speed = min(car.wish, float(np.interp(car.along, length, car.limits))) * float(rng.uniform(0.6, 1))
        if all(np.linalg.norm(_place(car)[0] - _place(other)[0]) > 12 for other in made):
            made.append(car)
    return made


def _place(car: _Car) -> tuple[np.ndarray, float]:
    """Where a car is and where it looks."""
    i = min(int(np.searchsorted(car.line[:, 2], car.along, "right")), len(car.line) - 1)
    a, b = car.line[i - 1], car.line[i]
    way = b[:2] - a[:2]
    return a[:2] + (car.along - a[2]) / (b[2] - a[2]) * way, float(np.arctan2(way[1], way[0]))


def _walk(ground: Street, person: _Person, time_s: float) -> np.ndarray | None:
    line = ground.crossings[person.road][:: 1 if person.forward else -1]
    way = line[1] - line[0]
    share = (time_s - person.start_s) * person.speed / np.linalg.norm(way)
    return line[0] + share * way if -0.6 < share < 1.6 else None


def _drive(ground: Street, fleet: list[_Car], people: list[tuple[int, np.ndarray]]) -> None:
    """Moves all cars by one step; each decides by where the others were before it."""
    wishes = [_acceleration(ground, car, fleet, people) for car in fleet]
    for car, a in zip(fleet, wishes, strict=True):
        new = max(0.0, car.speed + a * STEP_S)
        car.along += (car.speed + new) / 2 * STEP_S
        car.speed = new


def _acceleration(ground: Street, car: _Car, fleet: list[_Car], people: list[tuple[int, np.ndarray]]) -> float:
    # the lowest speed from which the bends ahead can be reached by comfortable braking
    ahead = car.line[:, 2] - car.along
    soon = (ahead > -2) & (ahead < 40)
    allowed = np.sqrt(car.limits[soon] ** 2 + 2 * BRAKE * 0.6 * np.maximum(ahead[soon], 0))
    wish = float(min(car.wish, allowed.min(initial=car.wish)))
    free = SPEED_UP * (1 - (car.speed / max(wish, 0.5)) ** 4)
    worst = max(free, -4.0)
    for gap, speed in _obstacles(ground, car, fleet, people):
        if gap < 60:
            closing = car.speed - speed
            keep = GAP_M + max(0.0, car.speed * HEADWAY_S + car.speed * closing / (2 * np.sqrt(SPEED_UP * BRAKE)))
            worst = min(worst, free - SPEED_UP * (keep / max(gap, 0.3)) ** 2)
    return float(np.clip(worst, -6.0, SPEED_UP))


def _obstacles(
    ground: Street, car: _Car, fleet: list[_Car], people: list[tuple[int, np.ndarray]]
) -> list[tuple[float, float]]:
    """(distance, speed) of whatever a car may run into on its way."""
    found = []
    for other in fleet:
        if other is car:
            continue
        for name, start in other.starts.items():
            if name in car.starts:
                gap = (other.along - start) - (car.along - car.starts[name]) - CAR_M[0]
                on_it = other.along - start >= -1
                if on_it and gap > -CAR_M[0] + 0.1:
                    found.append((max(gap, 0.1), other.speed))
                break
    stop = car.starts[car.lanes[1]] - car.along - 1.0  # to the stop line
    if stop > 0 and _must_wait(ground, car, stop, fleet):
        found.append((stop, 0.0))
    for place, own in ((car.lanes[0], -4.0), (car.lanes[2], 4.0)):
        road = int(place.removeprefix("in").removeprefix("out"))
        line = car.starts[car.lanes[1 if own < 0 else 2]] + own - 3.0 - car.along
        if line > 0 and any(i == road and _on_road(ground, road, where) for i, where in people):
            found.append((line, 0.0))
    return found


def _on_road(ground: Street, road: int, where: np.ndarray) -> bool:
    start, end = ground.crossings[road]
    share = float((where - start) @ (end - start) / ((end - start) @ (end - start)))
    return -0.1 < share < 1.1


def _must_wait(ground: Street, car: _Car, stop: float, fleet: list[_Car]) -> bool:
    """Whether somebody whose way crosses this car's is in the crossing already, or goes first.

    A car of the major road goes before one of the minor road; of two equal ones the nearer goes first.
    """
    if stop > 25:
        return False
    mine, way = _is_major(ground, car), car.lanes[1]
    through = (stop + 2 * STOP_M) / max(car.speed, 4.0)
    for other in fleet:
        if other is car or (way, other.lanes[1]) not in ground.conflicts:
            continue
        to_middle, left = other.starts[other.lanes[1]] - other.along, other.starts[other.lanes[2]] - other.along
        if left < -2:
            continue
        first = _is_major(ground, other) > mine or (_is_major(ground, other) == mine and to_middle < stop + 1)
        if to_middle < 0 or (first and to_middle / max(other.speed, 1.0) < through):
            return True
    return False


def _is_major(ground: Street, car: _Car) -> bool:
    return int(car.lanes[0][2:]) in ground.major
