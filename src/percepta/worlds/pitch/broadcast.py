"""What is on the air: shots of several cameras, replays at half speed between wipes, and which actions are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from percepta.worlds.pitch.match import Event, Match, play

GRID_S = 0.5  # shots begin and end on this grid
# Share of the actions of each class that are not shown, as in SoccerNet-v2 (200 games).
NOT_SHOWN: dict[str, float] = {
    "Kick-off": 0.72, "Foul": 0.02, "Direct free-kick": 0.09, "Ball out of play": 0.04, "Throw-in": 0.29,
    "Clearance": 0.55, "Offside": 0.06, "Corner": 0.13, "Yellow card": 0.07, "Indirect free-kick": 0.46,
    "Substitution": 0.18,
}  # fmt: skip
# How likely an action is replayed; with these the number of replay shots a half is that of the labels (31).
REPLAYED: dict[str, float] = {
    "Goal": 1.0, "Shots on target": 0.95, "Shots off target": 0.95, "Foul": 0.75, "Offside": 0.8, "Penalty": 0.3,
    "Red card": 0.3, "Yellow->red card": 0.3, "Corner": 0.1,
}  # fmt: skip
CLOSE_AFTER = {"Goal": 0.7, "Foul": 0.7, "Shots off target": 0.7, "Shots on target": 0.7, "Ball out of play": 0.25}
MOST_SHOTS = {"Goal": 4, "Shots on target": 2, "Shots off target": 2}  # of one replay; else 1
LENGTHS_S = (4.0, 5.0, 6.0, 6.0, 7.0, 7.0, 8.0, 9.0, 11.0)  # deciles of the length of a replay in 50 labelled games
DELAY = (4.0, 9.0, 0.7, 100.0)
"""An assumption: a replay begins 4 s after its action, plus a log-normal time (median 9 s, sigma .7), at most 100 s."""
SPEED = 0.5  # of a replay
WIPE_S = 1.0
BEFORE = 0.55  # share of the replayed time that lies before the action


@dataclass(frozen=True)
class Shot:
    """One camera for some time.

    Attributes:
        start_s, end_s: on the air.
        kind: "main", "close" (a person), "crowd", "card", "board", "flag" or "replay".
        subject: of a close-up: a player (0 .. 21); -1: the referee.
        x, y: where, for "board" and "flag".
        source_s: of a replay: time of the game at its start.
        camera: of a replay: which one.
        action: of a replay: the action that it shows.
        first, last: of a replay: whether a wipe comes before and after it.
    """

    start_s: float | int
    end_s: float | int
    kind: str
    subject: int = -1
    x: float | int = 0.0
    y: float | int = 0.0
    source_s: float | int = 0.0
    camera: int = 0
    action: Event | None = None
    first: bool = False
    last: bool = False

    def game_s(self, time_s: float | int) -> float:
        """The time of the game that is to be seen at a time on the air."""
        return self.source_s + SPEED * (time_s - self.start_s) if self.kind == "replay" else time_s


@dataclass(frozen=True)
class Half:
    """One half as it is broadcast.

    Attributes:
        match: what happened.
        shots: one after the other, from 0 to the end.
        shown: of each event of `match`, whether it is to be seen.
        seed: of how it looks.
    """

    match: Match
    shots: tuple[Shot, ...]
    shown: tuple[bool, ...]
    seed: int
    starts: np.ndarray = field(repr=False, compare=False)

    def shot(self, time_s: float | int) -> Shot:
        """The shot on the air at a time."""
        return self.shots[max(0, int(np.searchsorted(self.starts, time_s, "right")) - 1)]

    @property
    def replays(self) -> list[Shot]:
        """Its replay shots."""
        return [shot for shot in self.shots if shot.kind == "replay"]

    def before(self, replay: Shot) -> float:
        """Where the camera shot that is on the air directly before a replay begins: a floor for grounding."""
        place = self.shots.index(replay)
        while place and self.shots[place].kind == "replay":
            place -= 1
        return self.shots[place].start_s


def broadcast(seed: int, half: int = 1, seconds: float | int = 2700.0, *, rare: float | int = 1.0) -> Half:
    """A half on the air; follows from its arguments.

    Args:
        seed: of the game. Both halves look alike.
        half: 1 or 2.
        seconds: how long.
        rare: see `match.play`.
    """
    match = play([seed, half], seconds, rare=rare)
    rng = np.random.default_rng([seed, half, 7])
    shots, shown = _directed(match, rng)
    return Half(match, shots, shown, seed, np.array([shot.start_s for shot in shots]))


def _directed(match: Match, rng: np.random.Generator) -> tuple[tuple[Shot, ...], tuple[bool, ...]]:
    n = int(np.ceil(match.seconds / GRID_S))
    table: list[Shot | None] = [None] * n  # what is on the air in each cell; None: the main camera
    kept = np.zeros(n, bool)  # cells that a replay must not take
    shown = [bool(rng.random() >= NOT_SHOWN.get(e.label, 0.0)) for e in match.events]

    def put(start: float | int, end: float | int, shot: Shot, keep: bool) -> None:
        low, high = _cells(start, end, n)
        for i in range(low, high):
            if not kept[i]:
                table[i] = shot
        if keep:
            kept[low:high] = True

    for event, seen in zip(match.events, shown, strict=True):
        if seen:
            low, high = _cells(event.time_s - 2.0, event.time_s + 2.0, n)
            special = {"Yellow card": "card", "Red card": "card", "Yellow->red card": "card", "Substitution": "board",
                       "Offside": "flag"}.get(event.label)  # fmt: skip
            if special:
                span = next(s for s in match.spans if abs(s.start_s + (2 if special == "board" else 0.2)
                                                          - event.time_s) < 0.3)  # fmt: skip
                long = span.end_s + (4.5 if event.label == "Yellow->red card" else 0.5)
                delay = 1.0 if special == "flag" else 0.0
                put(event.time_s - 2 + 2.5 * delay, long, Shot(0, 0, special, -1, span.x, span.y), True)
            kept[low:high] = True
    for event, seen in zip(match.events, shown, strict=True):
        if not seen:
            subject = int(rng.integers(-1, 22))
            kind = "crowd" if rng.random() < 0.3 else "close"
            put(event.time_s - rng.uniform(1.5, 5), event.time_s + rng.uniform(1, 4), Shot(0, 0, kind, subject), False)
        elif event.label in CLOSE_AFTER and rng.random() < CLOSE_AFTER[event.label]:
            start = event.time_s + rng.uniform(2, 4)
            subject = 11 * max(event.team, 0) + int(rng.integers(1, 11))
            put(start, start + rng.uniform(3, 6), Shot(0, 0, "close", subject), False)
    for _ in range(int(match.seconds / 90)):
        start = rng.uniform(10, match.seconds)
        put(start, start + rng.uniform(2, 5), Shot(0, 0, "close", int(rng.integers(-1, 22))), False)
    _replays(match, table, kept, rng)
    return _joined(table), tuple(_seen(e, s, table) for e, s in zip(match.events, shown, strict=True))


def _cells(start_s: float | int, end_s: float | int, n: int) -> tuple[int, int]:
    return min(n, max(0, round(start_s / GRID_S))), min(n, max(0, round(end_s / GRID_S)))


def _seen(event: Event, wanted: bool, table: Sequence[Shot | None]) -> bool:
    """Whether the cell of an event shows the game itself."""
    shot = table[min(len(table) - 1, int(event.time_s / GRID_S))]
    return wanted and (shot is None or shot.kind in ("card", "board", "flag"))


def _replays(match: Match, table: list[Shot | None], kept: np.ndarray, rng: np.random.Generator) -> None:
    n = len(table)
    for event in match.events:
        if rng.random() >= REPLAYED.get(event.label, 0.0):
            continue
        count = 1 + int(rng.integers(0, MOST_SHOTS.get(event.label, 1)))
        lengths = [float(rng.choice(LENGTHS_S)) + float(rng.choice([-0.5, 0.0, 0.5])) for _ in range(count)]
        earliest, median, sigma, latest = DELAY
        begin = int((event.time_s + earliest + median * np.exp(sigma * rng.normal())) / GRID_S)
        cells = [round(length / GRID_S) for length in lengths]
        stop = int((event.time_s + latest) / GRID_S)
        place = next((i for i in range(begin, min(stop, n - sum(cells)))
                      if not kept[i : i + sum(cells)].any()), None)  # fmt: skip
        if place is None:
            continue
        cameras = rng.permutation(4)
        for j, cell in enumerate(cells):
            start = GRID_S * place
            source = event.time_s - BEFORE * SPEED * GRID_S * cell
            shot = Shot(start, start + GRID_S * cell, "replay", source_s=source, camera=int(cameras[j]), action=event,
                        first=j == 0, last=j == count - 1)  # fmt: skip
            table[place : place + cell] = [shot] * cell
            kept[place : place + cell] = True
            place += cell


def _joined(table: Sequence[Shot | None]) -> tuple[Shot, ...]:
    shots: list[Shot] = []
    start = 0
    for i in range(1, len(table) + 1):
        if i == len(table) or table[i] is not table[start]:
            one = table[start]
            if one is None or one.kind != "replay":
                one = one or Shot(0, 0, "main")
                one = Shot(GRID_S * start, GRID_S * i, one.kind, one.subject, one.x, one.y)
            shots.append(one)
            start = i
    return tuple(shots)
