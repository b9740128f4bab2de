"""What needs no learning: constant velocity, and fans of it. Every learned number stands beside these.

A fan is a fixed set of turns and speed factors: each mode goes on with the last velocity times its factor, and turns by
its angle, at once (people) or evenly over the whole prediction (vehicles, which drive arcs). Which turns and factors
are taken is chosen on training windows.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Float

from percepta.errors import InputError


@dataclass(frozen=True)
class Fan:
    """Modes of a fan.

    Attributes:
        angles_deg: how far each mode has turned at the end, counter-clockwise.
        factors: of the speed.
        arc: turns evenly on the way; False: at once.
        probability: of the modes, as often as each was the best in training.
    """

    angles_deg: tuple[float, ...]
    factors: tuple[float, ...]
    arc: bool
    probability: tuple[float, ...]

    def predict(self, last: Float[np.ndarray, "n 2"], step: Float[np.ndarray, "n 2"], steps: int) -> np.ndarray:
        """Positions, n k t 2.

        Args:
            last: last observed position, metres.
            step: last displacement from step to step, metres.
            steps: how many are predicted.
        """
        return last[:, None, None] + _ways(step, np.array(self.angles_deg), np.array(self.factors), steps, self.arc)


# (angle in degrees, factor of the speed), the plainest first: what a person would write down.
BY_HAND = (
    (0.0, 1.0), (0.0, 0.5), (45.0, 0.8), (-45.0, 0.8), (0.0, 1.4), (0.0, 0.1), (20.0, 1.0), (-20.0, 1.0), (20.0, 0.6),
    (-20.0, 0.6), (90.0, 0.7), (-90.0, 0.7), (10.0, 1.2), (-10.0, 1.2), (45.0, 0.4), (-45.0, 0.4), (70.0, 1.0),
    (-70.0, 1.0), (0.0, 0.75), (180.0, 0.5),
)  # fmt: skip


def by_hand(modes: int, *, arc: bool) -> Fan:
    """A fan that looks at no data: the first so many of BY_HAND, all alike.

    Args:
        modes: how many; at most as many as there are.
        arc: whether modes turn evenly on the way.
    """
    angles, factors = zip(*BY_HAND[:modes], strict=True)
    return Fan(angles, factors, arc, (1 / len(angles),) * len(angles))


CONSTANT_VELOCITY = Fan((0.0,), (1.0,), False, (1.0,))


def last_displacement(past: Float[np.ndarray, "n h 2"], over: int = 1) -> Float[np.ndarray, "n 2"]:
    """Mean displacement a step over the last steps, metres; 0 where fewer than two positions were seen.

    Args:
        past: observed positions, NaN where not seen.
        over: over how many steps; fewer where an agent was not seen so long.
    """
    out = np.zeros((len(past), 2))
    for back in range(1, min(over, past.shape[1] - 1) + 1):
        moved = (past[:, -1] - past[:, -1 - back]) / back
        out = np.where(np.isfinite(moved), moved, out)
    return out


def choose(
    past: Float[np.ndarray, "n h 2"],
    truth: Float[np.ndarray, "n f 2"],
    count: int,
    *,
    over: int = 1,
    arc: bool = False,
    widest_deg: float = 100.0,
    most: int = 4000,
) -> Fan:
    """The fan whose best mode ends nearest to the truth on some windows: greedily, then by exchanges.

    Args:
        past: observed positions of training windows, metres.
        truth: where they went.
        count: modes.
        over: see `last_displacement`.
        arc: whether modes turn evenly on the way.
        widest_deg: largest angle that is tried.
        most: windows that are looked at, evenly spaced.

    Raises:
        InputError: no windows.
    """
    if not len(past):
        raise InputError("a fan is chosen on training windows, and there are none")
    rows = np.unique(np.linspace(0, len(past) - 1, min(most, len(past))).astype(int))
    past, truth = past[rows], truth[rows]
    angles = np.linspace(-widest_deg, widest_deg, 33)
    pairs = [(0.0, 0.0), *product(angles.tolist(), np.arange(0.1, 2.05, 0.1).tolist())]
    a, s = np.array(pairs).T
    ends = _ends(last_displacement(past, over), a, s, truth.shape[1], arc)
    away = np.linalg.norm(ends - (truth[:, -1] - past[:, -1])[:, None], axis=-1)  # n × candidates
    chosen: list[int] = []
    for _ in range(count):
        rest = away if not chosen else np.minimum(away, away[:, chosen].min(1, keepdims=True))
        chosen.append(int(rest.mean(0).argmin()))
    for _ in range(3):
        before = list(chosen)
        for place in range(count):
            others = chosen[:place] + chosen[place + 1 :]
            rest = np.minimum(away, away[:, others].min(1, keepdims=True)) if others else away
            chosen[place] = int(rest.mean(0).argmin())
        if chosen == before:
            break
    often = np.bincount(away[:, chosen].argmin(1), minlength=count) + 1.0
    share = tuple((often / often.sum()).tolist())
    return Fan(tuple(a[chosen].tolist()), tuple(s[chosen].tolist()), arc, share)


def _ends(step: np.ndarray, angles: np.ndarray, factors: np.ndarray, steps: int, arc: bool) -> np.ndarray:
    """Only the last positions, n k 2, in little memory."""
    shape = _shape(angles, factors, steps, arc)[:, -1]
    return _turned(step, shape)


def _ways(step: np.ndarray, angles: np.ndarray, factors: np.ndarray, steps: int, arc: bool) -> np.ndarray:
    return _turned(step, _shape(angles, factors, steps, arc))


def _shape(angles: np.ndarray, factors: np.ndarray, steps: int, arc: bool) -> np.ndarray:
    """Ways of an agent that moves one metre a step along x, as complex numbers: k t."""
    turn = np.deg2rad(angles)[:, None] * (np.arange(steps) / max(steps - 1, 1) if arc else np.ones(steps))
    return (factors[:, None] * np.exp(1j * turn)).cumsum(1)


def _turned(step: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Shapes along each agent's displacement: n × shape × 2."""
    way = (step[:, 0] + 1j * step[:, 1]).reshape(-1, *[1] * shape.ndim) * shape
    return np.stack([way.real, way.imag], -1)
