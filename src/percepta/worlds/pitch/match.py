"""One half of a game: where everybody and the ball are, four times a second, and the actions with their times.

Metres, from the middle of the pitch: x along it (105 m), y across (68 m, the main camera looks towards +y), z up. Team
0 attacks +x. The play is a chain of phases of open play, each with an outcome (ball out, foul, shot, goal, ...), whose
weights give the mean number of each action in SoccerNet-v2's 200 labelled games.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32

Real = float | int
RATE = 4.0  # states a second
LENGTH_M, WIDTH_M = 105.0, 68.0
HALF_X, HALF_Y = LENGTH_M / 2, WIDTH_M / 2
GRAVITY = 9.81
SPEED_MS, SPRINT_MS = 6.5, 9.0
BENCH = (4.0, -36.5)  # where substitutes come in
# Weights of the outcomes of a phase of open play: how often each is seen in a half of SoccerNet-v2 (200 games).
OUTCOMES: dict[str, float] = {
    "throw-in": 18.6, "foul": 9.3, "direct": 2.0, "shot off": 4.1, "shot held": 2.6, "shot corner": 2.4, "goal": 1.6,
    "corner": 2.4, "goal kick": 3.0, "offside": 2.1,
}  # fmt: skip
RARE = {"penalty": 0.2, "red": 0.05, "second yellow": 0.055}  # a half
YELLOW, SUBSTITUTION = 0.18, 0.07  # of a foul, of a ball that is out
FORMATION = np.array(
    [(-48, 0), (-32, -22), (-35, -8), (-35, 8), (-32, 22), (-12, -25), (-16, -7), (-16, 7), (-12, 25), (6, -8), (6, 8)],
    np.float32,
)  # of a team that attacks +x


@dataclass(frozen=True)
class Event:
    """An action: seconds from kick-off, class of SoccerNet-v2, team (0 or 1; -1: neither), and where, in metres."""

    time_s: Real
    label: str
    team: int
    x: Real
    y: Real


@dataclass(frozen=True)
class Span:
    """Something that lasts: seconds, what ("fallen", "yellow", "red", "flag", "board"), who or where."""

    start_s: Real
    end_s: Real
    kind: str
    player: int = -1
    x: Real = 0.0
    y: Real = 0.0


@dataclass(frozen=True)
class Match:
    """A half that has been played.

    Attributes:
        seconds: how long it is.
        players: of team 0, then of team 1; the first of each is its goalkeeper.
        ball: with its height.
        referee: where he is.
        events: in the order of time.
        spans: what else is to be seen.
    """

    seconds: Real
    players: Float32[np.ndarray, "n 22 2"]
    ball: Float32[np.ndarray, "n 3"]
    referee: Float32[np.ndarray, "n 2"]
    events: tuple[Event, ...]
    spans: tuple[Span, ...]

    def at(self, time_s: Real) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Players (22 2), ball (3) and referee (2) at a time, between the two states around it."""
        place = min(max(time_s, 0.0) * RATE, len(self.ball) - 1.001)
        first, share = int(place), place % 1
        a, b = first, first + 1
        return tuple(x[a] + (x[b] - x[a]) * share for x in (self.players, self.ball, self.referee))  # type: ignore[return-value]

    def now(self, time_s: Real) -> list[Span]:
        """The spans that a time lies in."""
        return [span for span in self.spans if span.start_s <= time_s < span.end_s]


def play(seed: int | Sequence[int], seconds: Real = 2700.0, *, rare: Real = 1.0) -> Match:
    """Plays a half; follows from its arguments.

    Args:
        seed: of all draws.
        seconds: how long.
        rare: how many times more often than in the labels penalties and red cards come.
    """
    rng = np.random.default_rng(seed)
    script = _Script(rng, rare)
    script.kick_off(float(rng.uniform(1, 4)))
    while script.t < seconds:
        script.phase()
    return script.finished(seconds)


@dataclass
class _Script:
    """Writes down where the ball goes, who touches it and what happens, phase by phase."""

    rng: np.random.Generator
    rare: Real
    t: Real = 0.0
    team: int = 0
    last: int = 9
    keys: list[tuple[Real, Real, Real, Real, Real]] = field(default_factory=lambda: [(0, 0, 0, 0, 0)])
    touches: list[tuple[Real, int, Real, Real]] = field(default_factory=list)
    modes: list[tuple[Real, Real, str, Real, Real]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    booked: bool = False

    # ------------------------------------------------------------------------------------------------ small steps

    @property
    def ball(self) -> tuple[Real, Real]:
        return self.keys[-1][1], self.keys[-1][2]

    @property
    def side(self) -> float:
        """The direction of x in which the team with the ball plays."""
        return 1.0 if self.team == 0 else -1.0

    def u(self, low: Real, high: Real) -> float:
        return float(self.rng.uniform(low, high))

    def sign(self) -> float:
        return 1.0 if self.rng.random() < 0.5 else -1.0

    def wait(self, seconds: Real, z: Real = 0.0) -> None:
        x, y = self.ball
        self.t += seconds
        self.keys.append((self.t, x, y, z, 0.0))

    def move(
        self,
        x: Real,
        y: Real,
        seconds: Real,
        *,
        z: Real = 0.0,
        peak: Real = 0.0,
        by: int = -1,
    ) -> None:
        """The ball flies or rolls.

        Args:
            x: where to.
            y: where to.
            seconds: how long it takes.
            z: height where it comes down.
            peak: by how much the flight rises above the straight line.
            by: who is there when it comes; -1: nobody.
        """
        self.t += seconds
        self.keys.append((self.t, x, y, z, peak))
        if by >= 0:
            self.touches.append((self.t, by, x, y))
            self.last = by

    def event(self, label: str, team: int | None = None, at: Real | None = None) -> None:
        """Writes down an action.

        Args:
            label: its class.
            team: whose; None: that of who has the ball.
            at: when; None: now.
        """
        self.events.append(Event(self.t if at is None else at, label, self.team if team is None else team, *self.ball))

    def nearest(self, x: Real, y: Real, team: int | None = None, keeper: bool = False) -> int:
        """The player of a team whose place in the formation is nearest to a point, but not who has the ball.

        Args:
            x: of the point.
            y: of the point.
            team: 0 or 1; None: that of who has the ball.
            keeper: the goalkeeper instead.
        """
        team = self.team if team is None else team
        if keeper:
            return 11 * team
        bx, by = self.ball
        places = _anchors(np.array([[bx, by]], np.float32), team)[0, 1:]
        distance = np.hypot(places[:, 0] - x, places[:, 1] - y) + self.rng.uniform(0, 3, 10)
        order = 11 * team + 1 + distance.argsort()
        return int(order[0] if order[0] != self.last else order[1])

    def pass_to(self, x: Real, y: Real) -> None:
        x, y = float(np.clip(x, -49, 49)), float(np.clip(y, -32, 32))
        distance = float(np.hypot(x - self.ball[0], y - self.ball[1]))
        high = distance > 24 and self.rng.random() < 0.6
        seconds = max(0.7, distance / self.u(12, 17))
        self.move(x, y, seconds, peak=GRAVITY * seconds**2 / 8 if high else 0.0, by=self.nearest(x, y))

    def open_play(self, seconds: Real) -> None:
        end = self.t + seconds
        while self.t < end:
            x, y = self.ball
            if self.rng.random() < 0.14:
                self.team = 1 - self.team
                self.last = -1
            forward = self.rng.normal(3, 11) - 0.1 * self.side * x
            self.pass_to(x + self.side * forward, 0.9 * y + self.rng.normal(0, 11))
            x, y = self.ball
            for _ in range(int(self.rng.integers(0, 3))):
                self.move(float(np.clip(x + self.side * self.u(-1, 5), -49, 49)), y + self.u(-2, 2), self.u(0.6, 1.2),
                          by=self.last)  # fmt: skip
                x, y = self.ball

    def bring(self, from_goal: Real, y: Real) -> None:
        """Open play until the ball is so far from the goal of the other team."""
        x = self.side * (HALF_X - from_goal)
        if abs(x - self.ball[0]) > 35:
            self.pass_to((x + self.ball[0]) / 2, (y + self.ball[1]) / 2 + self.u(-8, 8))
            self.wait(self.u(0.2, 0.8))
        self.pass_to(x, y)
        self.wait(self.u(0.2, 0.9))

    def dead(self, seconds: Real) -> None:
        """The ball is out; now and then somebody is exchanged."""
        if self.rng.random() < SUBSTITUTION:
            start = self.t + self.u(4, 7)
            self.spans.append(Span(start - 2, start + self.u(7, 10), "board", 11 * int(self.rng.integers(2)), *BENCH))
            self.event("Substitution", int(self.rng.integers(2)), start)
            seconds += self.u(14, 20)
        self.wait(seconds)

    # --------------------------------------------------------------------------------------------------- outcomes

    def phase(self) -> None:
        rng = self.rng
        self.open_play(float(np.clip(rng.gamma(2.0, 13.0), 5, 90)))
        rare = {name: weight * self.rare for name, weight in RARE.items()}
        weights = OUTCOMES | rare
        names = list(weights)
        values = np.array(list(weights.values()))
        outcome = names[int(rng.choice(len(names), p=values / values.sum()))]
        if outcome == "throw-in":
            self.throw_in()
        elif outcome in ("foul", "red", "second yellow"):
            self.foul(outcome)
        elif outcome == "direct":
            self.bring(self.u(19, 29), self.u(-16, 16))
            self.foul("direct")
        elif outcome == "penalty":
            self.bring(self.u(6, 14), self.u(-14, 14))
            self.foul("penalty")
        elif outcome in ("shot off", "shot held", "shot corner", "goal"):
            self.bring(self.u(8, 25), self.u(-17, 17))
            self.shot(outcome)
        elif outcome == "corner":
            self.bring(self.u(6, 16), self.sign() * self.u(14, 28))
            self.out_behind(self.u(8, 20) * np.sign(self.ball[1]))
            self.corner()
        elif outcome == "goal kick":
            self.bring(self.u(12, 25), self.u(-25, 25))
            self.out_behind(self.sign() * self.u(6, 25))
            self.goal_kick()
        else:
            self.offside()

    def throw_in(self) -> None:
        x, _ = self.ball
        y = self.sign() * HALF_Y
        x = float(np.clip(x + self.u(-12, 12), -48, 48))
        seconds = max(0.8, float(np.hypot(x - self.ball[0], y - self.ball[1])) / 15)
        self.move(x, y, seconds)
        self.event("Ball out of play", -1)
        self.move(x, y * 1.06, 0.8)
        self.team = 1 - self.team
        self.dead(self.u(3, 9))
        thrower = self.nearest(x, y)
        self.move(x, float(np.sign(y)) * (HALF_Y + 0.4), 1.0, by=thrower)
        self.wait(self.u(1.5, 3.5), z=2.3)
        self.touches.append((self.t, thrower, *self.ball))
        self.event("Throw-in")
        self.move(x + self.side * self.u(-2, 10), y - float(np.sign(y)) * self.u(8, 15), self.u(0.9, 1.3), peak=1.0,
                  by=self.nearest(x, 0.7 * y))  # fmt: skip

    def out_behind(self, y: Real) -> None:
        """The ball leaves over the goal line of the other team."""
        seconds = max(0.7, float(np.hypot(self.side * HALF_X - self.ball[0], y - self.ball[1])) / 17)
        self.move(self.side * HALF_X, float(y), seconds, peak=self.u(0, 3))
        self.event("Ball out of play", -1)
        self.move(self.side * (HALF_X + 4), float(y) * 1.05, 0.5)

    def shot(self, outcome: str) -> None:
        side, label = self.side, "Shots off target" if outcome == "shot off" else "Shots on target"
        shooter = self.nearest(*self.ball)
        self.touches.append((self.t, shooter, *self.ball))
        if outcome != "goal":
            self.event(label)
        distance = HALF_X - side * self.ball[0]
        if outcome == "shot off":
            y = self.sign() * self.u(4.6, 9)
            high = self.u(0, 1) < 0.4
            self.move(side * HALF_X, self.u(-3, 3) if high else y, distance / 22, z=3.6 if high else 0.4)
            self.event("Ball out of play", -1)
            self.move(side * (HALF_X + 5), 1.2 * self.ball[1], 0.4)
            self.goal_kick()
            return
        y = self.u(-3.2, 3.2)
        if outcome == "goal":
            self.move(side * HALF_X, y, distance / 23, z=self.u(0.2, 2.0))
            self.event("Goal")
            self.move(side * (HALF_X + 1.7), y, 0.2)
            self.celebrate()
            return
        self.move(side * (HALF_X - 1), y, distance / 22, z=self.u(0.3, 1.8), by=11 * (1 - self.team))
        if outcome == "shot corner":
            self.move(side * HALF_X, self.sign() * self.u(5, 9), 0.6, z=0.5)
            self.event("Ball out of play", -1)
            self.move(side * (HALF_X + 3), 1.3 * self.ball[1], 0.5)
            self.corner()
        else:
            self.team = 1 - self.team
            self.move(side * (HALF_X - 4), 0.6 * y, 2.0, z=1.0, by=11 * self.team)
            self.wait(self.u(3, 7), z=1.0)
            self.move(side * self.u(-5, 15), self.u(-25, 25), 3.0, peak=9.0, by=self.nearest(0, 0))

    def celebrate(self) -> None:
        start, side = self.t, self.side
        corner = self.sign() * 29.0
        self.modes.append((start + 0.5, start + self.u(20, 28), "celebrate", side * 47, corner))
        self.team = 1 - self.team
        self.wait(self.u(12, 18))
        self.move(0.0, 0.0, 6.0)
        self.kick_off(self.u(20, 34))

    def kick_off(self, after: Real) -> None:
        self.keys.append((self.t + 0.01, 0.0, 0.0, 0.0, 0.0))
        self.t += 0.01
        self.modes.append((self.t - 4, self.t + after + 0.5, "kick-off", 0.0, 0.0))
        self.wait(after)
        kicker = 11 * self.team + 9
        self.touches += [(self.t, kicker, -0.5, 0.2), (self.t - 1, 11 * self.team + 10, -0.7, 1.0)]
        self.event("Kick-off")
        self.move(-self.side * self.u(5, 12), self.u(-6, 6), 1.0, by=11 * self.team + 6)

    def corner(self) -> None:
        side, y = self.side, float(np.sign(self.ball[1]) or 1)
        self.dead(self.u(8, 14))
        spot = (side * (HALF_X - 0.4), y * (HALF_Y - 0.4))
        self.move(*spot, 2.0, by=self.nearest(*spot))
        taker = self.last
        self.modes.append((self.t - 5, self.t + self.u(9, 13), "corner", side, y))
        self.wait(self.u(4, 8))
        self.touches.append((self.t, taker, *spot))
        self.event("Corner")
        seconds = self.u(1.3, 1.8)
        self.move(side * (HALF_X - self.u(5, 11)), self.u(-6, 6), seconds, peak=GRAVITY * seconds**2 / 8,
                  by=11 * self.team + 9)  # fmt: skip
        if self.rng.random() < 0.25:
            self.shot(str(self.rng.choice(["shot off", "shot held"])))
        else:
            self.team = 1 - self.team
            self.move(side * self.u(18, 32), self.u(-20, 20), 1.6, peak=4.0, by=self.nearest(side * 25, 0))

    def goal_kick(self) -> None:
        side, self.team = self.side, 1 - self.team
        self.dead(self.u(7, 13))
        self.move(side * (HALF_X - 5.5), self.sign() * self.u(3, 8), 2.5)
        self.modes.append((self.t - 3, self.t + 7, "goal kick", side, 0.0))
        self.wait(self.u(3, 7))
        self.touches.append((self.t, 11 * self.team, *self.ball))
        self.event("Clearance")
        seconds = self.u(2.6, 3.4)
        self.move(side * self.u(-8, 12), self.u(-22, 22), seconds, peak=GRAVITY * seconds**2 / 8,
                  by=self.nearest(0, 0, int(self.rng.integers(2))))  # fmt: skip
        self.team = self.last // 11

    def foul(self, kind: str) -> None:
        x, y = self.ball
        victim = self.last if self.last >= 0 and self.last // 11 == self.team else self.nearest(x, y)
        guilty = self.nearest(x, y, 1 - self.team)
        self.touches += [(self.t, victim, x, y), (self.t + 0.2, guilty, x + 0.8, y + 0.3)]
        self.event("Foul", 1 - self.team)
        self.spans.append(Span(self.t, self.t + self.u(4, 9), "fallen", victim))
        self.modes.append((self.t, self.t + 6, "stand", x, y))
        self.move(x + self.u(-3, 3), y + self.u(-3, 3), 1.0)
        card = {"red": "red", "second yellow": "second yellow"}.get(kind, "")
        if not card and self.rng.random() < (0.4 if kind == "penalty" else YELLOW):
            card = "yellow"
        if card:
            self.card(card, guilty, x, y)
        self.wait(self.u(8, 16))
        if kind == "penalty":
            self.penalty()
        elif kind == "direct":
            self.direct(x, y)
        else:
            self.move(x, y, 1.0, by=self.nearest(x, y))
            self.indirect()

    def card(self, kind: str, guilty: int, x: Real, y: Real) -> None:
        """The referee shows a card.

        Args:
            kind: "yellow", "red" or "second yellow".
            guilty: who gets it.
            x: where.
            y: where.
        """
        self.wait(self.u(6, 12))
        start = self.t
        label = {"yellow": "Yellow card", "red": "Red card"}.get(kind, "Yellow->red card")
        self.event(label, guilty // 11)
        shown = self.u(2.5, 4)
        self.touches += [(start + s, guilty, x + 1.5, y + 1.5) for s in (0.0, 2.0, 4.0)]
        self.modes.append((start - 4, start + 6, "card", x, y))
        if kind == "second yellow":
            self.spans.append(Span(start - 0.2, start + shown, "yellow", guilty, x, y))
            self.spans.append(Span(start + shown + 0.7, start + 2 * shown, "red", guilty, x, y))
            self.wait(shown)
        else:
            self.spans.append(Span(start - 0.2, start + shown, kind, guilty, x, y))
        self.wait(5.0)

    def indirect(self) -> None:
        taker = self.last
        self.wait(self.u(3, 7))
        self.touches.append((self.t, taker, *self.ball))
        self.event("Indirect free-kick")
        x, y = self.ball
        self.pass_to(x + self.side * self.u(8, 32), y * 0.6 + self.u(-18, 18))

    def direct(self, x: Real, y: Real) -> None:
        self.move(x, y, 1.0, by=self.nearest(x, y))
        taker = self.last
        waiting = self.u(10, 18)
        self.modes.append((self.t, self.t + waiting + 1.0, "wall", x, y))
        self.wait(waiting)
        self.touches.append((self.t, taker, *self.ball))
        self.event("Direct free-kick")
        self.wait(0.5)
        self.shot(str(self.rng.choice(["shot off", "shot held", "shot corner"])))

    def penalty(self) -> None:
        spot = (self.side * (HALF_X - 11), 0.0)
        taker = 11 * self.team + 9
        self.move(*spot, 4.0, by=taker)
        waiting = self.u(14, 24)
        self.modes.append((self.t - 2, self.t + waiting + 1.0, "penalty", self.side, 0.0))
        self.wait(waiting)
        self.touches.append((self.t, taker, *spot))
        self.event("Penalty")
        self.shot("goal" if self.rng.random() < 0.75 else "shot held")

    def offside(self) -> None:
        x, y = self.side * (HALF_X - self.u(10, 25)), self.u(-24, 24)
        self.pass_to(x, y)
        self.wait(0.7)
        self.event("Offside")
        line = float(np.sign(self.rng.random() - 0.5)) * (HALF_Y + 1)
        self.spans.append(Span(self.t - 0.2, self.t + self.u(5, 7), "flag", -1, self.ball[0], line))
        self.modes.append((self.t, self.t + 5, "stand", *self.ball))
        self.wait(self.u(8, 13))
        self.team = 1 - self.team
        x, y = self.ball
        self.move(x, y, 0.5, by=self.nearest(x, y))
        self.indirect()

    # ------------------------------------------------------------------------------------------------- all together

    def finished(self, seconds: Real) -> Match:
        n = int(np.ceil(seconds * RATE)) + 2
        times = np.arange(n) / RATE
        ball = flown(self.keys, times)
        players = self._players(times, ball)
        lagged = _lagged(ball[:, :2], 12)
        referee = lagged + np.array([-5.0, 6.0], np.float32)
        for start, end, kind, x, y in self.modes:
            if kind == "card":
                referee[_slice(start, end, n)] = (x, y)
        referee = _walked(referee, np.full((n, 1), 6.0, np.float32)[:, 0])
        events = tuple(sorted((e for e in self.events if e.time_s < seconds), key=lambda e: e.time_s))
        return Match(seconds, players, ball, referee, events, tuple(self.spans))

    def _players(self, times: np.ndarray, ball: np.ndarray) -> np.ndarray:
        n, lagged = len(times), _lagged(ball[:, :2], 8)
        goals = np.concatenate([_anchors(lagged, 0), _anchors(lagged, 1)], 1)
        wobble = np.cumsum(self.rng.normal(0, 0.25, (n, 22, 2)), 0)
        goals += 2.0 * np.sin(wobble).astype(np.float32)
        limits = np.full((n, 22), SPEED_MS, np.float32)
        for mode in sorted(self.modes):
            _arrange(goals, mode, n)
        for time_s, player, x, y in self.touches:
            where = _slice(time_s - 2.5, time_s + 0.5, n)
            away = -0.5 if player < 11 else 0.5
            goals[where, player] = (x + away, y + 0.2)
            limits[where, player] = SPRINT_MS
        for span in self.spans:
            if span.kind == "fallen":
                limits[_slice(span.start_s, span.end_s, n), span.player] = 0
        return _walked(goals, limits)


def flown(keys: Sequence[tuple[Real, Real, Real, Real, Real]], times: np.ndarray) -> Float32[np.ndarray, "n 3"]:
    """The ball at some times: it rolls (slower and slower) or flies (a parabola) from key to key.

    Args:
        keys: time, x, y, z, and by how much the flight to here rises above the straight line, in rising order of time.
        times: seconds.
    """
    table = np.array(keys)
    i = np.clip(np.searchsorted(table[:, 0], times, "right"), 1, len(table) - 1)
    a, b = table[i - 1], table[i]
    share = np.clip((times - a[:, 0]) / np.maximum(b[:, 0] - a[:, 0], 1e-6), 0, 1)
    rolled = np.where(b[:, 4] > 0, share, share * (1.35 - 0.35 * share))[:, None]
    ball = a[:, 1:4] + (b[:, 1:4] - a[:, 1:4]) * rolled
    ball[:, 2] += 4 * b[:, 4] * share * (1 - share)
    return ball.astype(np.float32)


def _slice(start_s: Real, end_s: Real, n: int) -> slice:
    return slice(max(0, int(start_s * RATE)), min(n, max(0, int(np.ceil(end_s * RATE)))))


def _lagged(points: np.ndarray, steps: int) -> np.ndarray:
    total = np.cumsum(np.concatenate([np.repeat(points[:1], steps, 0), points]), 0)
    return ((total[steps:] - total[:-steps]) / steps).astype(np.float32)


def _anchors(ball: np.ndarray, team: int) -> np.ndarray:
    """Where the eleven of a team want to be for each place of the ball: (n, 11, 2)."""
    side = np.float32(1 if team == 0 else -1)
    x = side * FORMATION[:, 0] * 0.75 + np.float32(0.62) * ball[:, :1]
    y = FORMATION[:, 1] * 0.85 + np.float32(0.35) * ball[:, 1:2]
    x[:, 0] = side * -50.0 + 0.03 * (ball[:, 0] + side * 50)
    y[:, 0] = np.clip(0.12 * ball[:, 1], -3, 3)
    return np.stack([np.clip(x, -51.5, 51.5), np.clip(y, -33, 33)], 2)


def _arrange(goals: np.ndarray, mode: tuple[Real, Real, str, Real, Real], n: int) -> None:
    """Where players stand in a situation; changes `goals`."""
    start, end, kind, x, y = mode
    where = _slice(start, end, n)
    if where.start >= where.stop:
        return
    part = goals[where]
    if kind == "kick-off":
        part[:, :11, 0] = np.minimum(0.8 * part[:, :11, 0] - 6, -1)
        part[:, 11:, 0] = np.maximum(0.8 * part[:, 11:, 0] + 6, 1)
    elif kind == "celebrate":
        team = 0 if x > 0 else 1
        ring = np.linspace(0, 2 * np.pi, 10, endpoint=False)
        part[:, 11 * team + 1 : 11 * team + 11] = np.stack([x + 2 * np.cos(ring), y + 2 * np.sin(ring)], 1)
    elif kind == "corner":
        spread = np.linspace(-9, 9, 7)
        attackers, defenders = (0, 11) if x > 0 else (11, 0)
        depth = HALF_X - 5 - 3 * np.abs(np.sin(np.arange(7) * 2.1))
        part[:, attackers + 4 : attackers + 11] = np.stack([x * depth, spread], 1)
        part[:, defenders + 2 : defenders + 9] = np.stack([x * (depth + 1.5), spread + 0.8], 1)
    elif kind == "goal kick":
        keeper = 11 if x > 0 else 0
        part[:, :, 0] = np.where(x * part[..., 0] > 20, x * 20.0, part[..., 0])
        part[:, keeper] = (x * (HALF_X - 4), 4.0)
    elif kind == "wall":
        side = 1.0 if x > 0 else -1.0
        defenders = 11 if x > 0 else 0
        to_goal = np.array([side * HALF_X - x, -y])
        to_goal = to_goal / np.linalg.norm(to_goal)
        across = np.array([-to_goal[1], to_goal[0]])
        line = np.array([x, y]) + 9.15 * to_goal + np.linspace(-1.2, 1.2, 4)[:, None] * across
        part[:, defenders + 5 : defenders + 9] = line
    elif kind == "penalty":
        limit = HALF_X - 17.5
        keepers = (0, 11)
        inside = x * part[..., 0] > limit
        inside[:, keepers] = False
        part[..., 0] = np.where(inside, x * limit, part[..., 0])
        part[:, 11 if x > 0 else 0] = (x * (HALF_X - 0.3), 0.0)
    elif kind in ("stand", "card"):
        part[:] = part[:1]
    goals[where] = part


def _walked(goals: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Who walks towards a goal that moves, no faster than a limit (m/s) in each step."""
    place = goals[0].astype(np.float32)
    out = np.empty_like(goals, np.float32)
    for i in range(len(goals)):
        step = goals[i] - place
        far = np.sqrt((step * step).sum(-1)) + 1e-6
        place = place + step * np.minimum(0.6, limits[i] / RATE / far)[..., None]
        out[i] = place
    return out
