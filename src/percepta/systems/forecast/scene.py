"""A moment of a recording as tensors: each agent's past and each piece of a lane in a frame of its own.

The frame of an agent has its origin at the last observed position and x along its heading: the one that the recording
gives for the last observed step, else the direction of its last half metre. Who has not moved that far has no
direction; its frame is that of the recording. Positions after the last observed step are only in `truth`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64, Int, Int64
from torch import Tensor

from percepta.datasets.tracks import Moment, StreetMap, Tracks, known, resample
from percepta.systems.forecast import Config

MOVED_M = 0.5  # who moved less has no direction
LINE_KINDS = ("vehicle", "bike", "bus", "crossing", "edge")


@dataclass(frozen=True)
class Pieces:
    """Short pieces of all lines of a map.

    Attributes:
        points: in the frame of the piece, metres; x leads from its first to its last point, the origin is its middle.
        origin, angle: of the frames in the world, metres and radians.
        kind: places in LINE_KINDS.
    """

    points: Float32[np.ndarray, "m p 2"]
    origin: Float64[np.ndarray, "m 2"]
    angle: Float64[np.ndarray, " m"]
    kind: Int64[np.ndarray, " m"]


class Past(NamedTuple):
    """What is known of n agents at the last observed step.

    Attributes:
        position: of the observed steps, metres in the world; NaN where not seen.
        heading: at the last one, radians; NaN where not known.
        kinds: places in `tracks.KINDS`.
        step_s: true time from step to step.
    """

    position: Float64[np.ndarray, "n h 2"]
    heading: Float64[np.ndarray, " n"]
    kinds: Int64[np.ndarray, " n"]
    step_s: float


class Frames(NamedTuple):
    """The agents' own frames in the world.

    Attributes:
        origin: last observed positions, metres.
        angle: of x, radians.
        directed: whether the angle is one of movement or heading; False: it is 0.
    """

    origin: Float64[np.ndarray, "n 2"]
    angle: Float64[np.ndarray, " n"]
    directed: Bool[np.ndarray, " n"]

    def to_own(self, points: Float[np.ndarray, "n *s 2"]) -> Float64[np.ndarray, "n *s 2"]:
        """World coordinates in each agent's frame."""
        return turned(points - self.origin.reshape(-1, *[1] * (points.ndim - 2), 2), -self.angle)

    def to_world(self, points: Float[np.ndarray, "n *s 2"]) -> Float64[np.ndarray, "n *s 2"]:
        """Coordinates of each agent's frame in the world."""
        return turned(points, self.angle) + self.origin.reshape(-1, *[1] * (points.ndim - 2), 2)


@runtime_checkable
class Network(Protocol):
    """What every network of this system offers."""

    def predict(self, batch: dict[str, Any], /) -> Output:
        """The futures of the targets of some scenes, for a dictionary of inputs (see `tensors` and `joined`)."""
        ...


@runtime_checkable
class ReadsMoments(Protocol):
    """A network that reads more of a moment than `tensors` has; `predict` finds that in "extra", for each scene."""

    def inputs(self, moment: Moment, /) -> tuple[Tensor, ...]: ...


class Output(NamedTuple):
    """Positions of the n agents that were asked for, in their own frames, metres.

    Attributes:
        one: the single best trajectory.
        single: k futures of each agent.
        single_logits: of their probabilities.
        joint: k futures of the scene.
        joint_logits: what each agent adds to the logits of its scene's futures.
    """

    one: Float[Tensor, "n t 2"]
    single: Float[Tensor, "n k t 2"]
    single_logits: Float[Tensor, "n k"]
    joint: Float[Tensor, "n k t 2"]
    joint_logits: Float[Tensor, "n k"]


def cut(street: StreetMap, config: Config) -> Pieces:
    """The pieces of a map's lanes, crossings and edges; none where `config.lanes` is off."""
    lines: list[tuple[np.ndarray, int]] = []
    if config.lanes:
        lines += [(lane.centre[:, :2], LINE_KINDS.index(lane.kind)) for lane in street.lanes]
        for one in street.crossings:
            lines.append(((resample(one.edge1, 5)[:, :2] + resample(one.edge2, 5)[:, :2]) / 2, 3))
        lines += [(line, LINE_KINDS.index("edge")) for line in street.edges]
    count, parts, kinds = config.piece_points, [], []
    for line, kind in lines:
        length = np.linalg.norm(np.diff(line, axis=0), axis=1).sum()
        pieces = max(1, int(np.ceil(length / config.piece_m)))
        points = resample(line, pieces * (count - 1) + 1)
        parts += [points[i * (count - 1) : i * (count - 1) + count] for i in range(pieces)]
        kinds += [kind] * pieces
    world = np.array(parts, np.float64).reshape(-1, count, 2)
    origin, way = world.mean(1), world[:, -1] - world[:, 0]
    angle = np.arctan2(way[:, 1], way[:, 0])
    own = turned(world - origin[:, None], -angle).astype(np.float32)
    return Pieces(own, origin, angle, np.array(kinds, np.int64))


def past_of(moment: Moment, config: Config) -> Past:
    """What is known at a moment, at the steps of `config`.

    Where the recording has other steps, positions between two observed ones are interpolated, never beyond the last
    one.
    """
    tracks = moment.tracks
    if same_steps(tracks, config):
        own = config.step_s if config.resample else tracks.dt_s
        position = moment.past[:, -config.observed_steps :]
        return Past(_filled(position, config.observed_steps), moment.heading[:, -1], moment.kinds, own)
    wanted = np.arange(1 - config.observed_steps, 1) * config.step_s
    return Past(sampled(moment.past, tracks.dt_s, wanted, 0.0), moment.heading[:, -1], moment.kinds, config.step_s)


def truth_of(moment: Moment, config: Config) -> Float64[np.ndarray, "n f 2"]:
    """Where the agents of a moment went, at the steps of `config`; NaN where unknown."""
    if same_steps(moment.tracks, config):
        return moment.truth[:, : config.future_steps]
    wanted = np.arange(1, config.future_steps + 1) * config.step_s
    after = np.concatenate([moment.past[:, -1:], moment.truth], 1)
    return sampled(after, moment.tracks.dt_s, wanted, (after.shape[1] - 1) * moment.tracks.dt_s)


def steps_of(tracks: Tracks, config: Config) -> tuple[int, int]:
    """(observed, future): how many steps of a recording the network's steps reach over."""
    if same_steps(tracks, config):
        return config.observed_steps, config.future_steps
    rate = config.step_s / tracks.dt_s
    return int(np.ceil((config.observed_steps - 1) * rate - 1e-6)) + 1, int(np.ceil(config.future_steps * rate - 1e-6))


def same_steps(tracks: Tracks, config: Config) -> bool:
    """Whether a recording's steps are taken as they are."""
    return not config.resample or abs(tracks.dt_s - config.step_s) < 0.02 * config.step_s


def sampled(
    position: Float[np.ndarray, "n t 2"], dt_s: float, wanted_s: Float[np.ndarray, " w"], last_s: float
) -> Float64[np.ndarray, "n w 2"]:
    """Positions at other times, linear between two known ones; NaN where one of the two is not known.

    Args:
        position: at equal steps.
        dt_s: from step to step.
        wanted_s: the times.
        last_s: time of the last step.
    """
    place = position.shape[1] - 1 + (wanted_s - last_s) / dt_s
    whole = np.round(place)
    place = np.where(np.abs(place - whole) < 1e-6, whole, place)
    low = np.floor(place).astype(int)
    share = (place - low)[:, None]
    high = np.where(share[:, 0] > 0, low + 1, low)
    inside = (low >= 0) & (high < position.shape[1])
    top = position.shape[1] - 1
    a, b = position[:, np.clip(low, 0, top)], position[:, np.clip(high, 0, top)]
    between = np.where(share > 0, a * (1 - share) + b * share, a)
    return np.where(inside[:, None], between, np.nan)


def frames_of(past: Past) -> Frames:
    """The agents' own frames, from what is known at the last observed step."""
    position = past.position
    direction = np.full(len(position), np.nan)
    for back in range(position.shape[1] - 1, 0, -1):  # the most recent movement that is long enough counts
        way = position[:, -1] - position[:, -1 - back]
        far = np.nan_to_num(np.hypot(way[:, 0], way[:, 1])) >= MOVED_M
        direction = np.where(far, np.arctan2(way[:, 1], way[:, 0]), direction)
    angle = np.where(np.isfinite(past.heading), past.heading, direction)
    directed = np.isfinite(angle)
    return Frames(position[:, -1], np.where(directed, angle, 0.0), directed)


def tensors(past: Past, pieces: Pieces, config: Config) -> tuple[dict[str, Tensor], Frames]:
    """What the network sees of a scene, and the frames that lead back into the world.

    Args:
        past: of the agents.
        pieces: of the map.
        config: settings.

    Returns:
        history (n h 2, metres, 0 where not seen), seen (n h), kind, directed and step_s (n); world: positions less the
        last one, in the axes of the world (n h 2, the nearest later one where not seen), and angle of the own frames;
        of the n agents' s nearest others neighbour (rows), neighbour_there, neighbour_pose (x, y, turn); of l pieces of
        lines lane (rows), lane_there, lane_pose, and line (m p 2) with line_kind (m) for those pieces that somebody
        sees.
    """
    frames = frames_of(past)
    history = frames.to_own(past.position)
    seen = known(history)
    neighbour, near, pose = _nearest_agents(frames, config)
    lane, close, lane_pose = _nearest_pieces(past, frames, pieces, config)
    rows, place = np.unique(lane[close], return_inverse=True)
    lane = lane.copy()
    lane[close] = place
    lane[~close] = 0
    if not len(rows) and len(pieces.origin):
        rows = np.zeros(1, np.int64)
    points = pieces.points[rows] if len(rows) else np.zeros((1, config.piece_points, 2), np.float32)
    kind = pieces.kind[rows] if len(rows) else np.zeros(1, np.int64)
    values = {
        "history": np.where(seen[..., None], history, 0.0).astype(np.float32),
        "seen": np.asarray(seen),
        "kind": past.kinds,
        "directed": frames.directed,
        "step_s": np.full(len(history), past.step_s, np.float32),
        "world": _from_last(past.position), "angle": frames.angle.astype(np.float32),
        "neighbour": neighbour, "neighbour_there": near, "neighbour_pose": pose,
        "lane": lane, "lane_there": close, "lane_pose": lane_pose,
        "line": points, "line_kind": kind,
    }  # fmt: skip
    return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in values.items()}, frames


def asked(made: dict[str, Tensor], target: Int64[np.ndarray, " d"] | Tensor, share: float) -> dict[str, Tensor]:
    """The tensors of one scene with what is asked for: `target`, `horizon` and `sharing` of `SmallNet.forward`.

    Args:
        made: tensors of the scene.
        target: rows of the d agents whose futures are asked for.
        share: of `future_steps` that are asked for.
    """
    rows = torch.as_tensor(target)
    count = len(rows)
    return {
        **made, "target": rows, "horizon": torch.full((count,), share), "sharing": torch.full((count,), float(count)),
    }  # fmt: skip


def joined(scenes: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Several scenes as one: rows one after the other, with the number of its scene for each agent in `scene`."""
    agents = torch.tensor([len(one["kind"]) for one in scenes])
    lines = torch.tensor([len(one["line_kind"]) for one in scenes])
    first_agent, first_line = agents.cumsum(0) - agents, lines.cumsum(0) - lines
    out = {}
    for name in scenes[0]:
        start = {"neighbour": first_agent, "target": first_agent, "lane": first_line}.get(name)
        parts = [one[name] if start is None else one[name] + start[i] for i, one in enumerate(scenes)]
        out[name] = torch.cat(parts)
    out["scene"] = torch.arange(len(scenes)).repeat_interleave(agents)
    return out


def scene_mean(values: Float[Tensor, "n k"], scene: Int[Tensor, " n"]) -> Float[Tensor, "g k"]:
    """The mean over the agents of each scene."""
    count = int(scene.max()) + 1 if len(scene) else 0
    total = values.new_zeros(count, values.shape[1]).index_add(0, scene, values)
    number = values.new_zeros(count).index_add(0, scene, torch.ones_like(values[:, 0]))
    return total / number.clamp_min(1)[:, None]


def ways_turned(way: Float[Tensor, "n k t 2"], angle: Float[Tensor, " n"]) -> Float[Tensor, "n k t 2"]:
    """Trajectories turned about the origin by an angle for each agent, radians, counter-clockwise."""
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    x, y = way.unbind(-1)
    return torch.stack([cos * x - sin * y, sin * x + cos * y], -1)


def turned(points: Float[np.ndarray, "n *s 2"], angle: Float[np.ndarray, " n"]) -> Float64[np.ndarray, "n *s 2"]:
    """Points turned about the origin by an angle for each row, radians, counter-clockwise."""
    shape = (-1, *[1] * (points.ndim - 2))
    cos, sin = np.cos(angle).reshape(shape), np.sin(angle).reshape(shape)
    x, y = points[..., 0], points[..., 1]
    return np.stack([cos * x - sin * y, sin * x + cos * y], -1)


def _from_last(position: np.ndarray) -> np.ndarray:
    """Positions less the last one; where an agent was not seen, its next position."""
    out = position.copy()
    for step in range(position.shape[1] - 2, -1, -1):
        gone = ~np.isfinite(out[:, step, 0])
        out[gone, step] = out[gone, step + 1]
    return (out - out[:, -1:]).astype(np.float32)


def _filled(position: np.ndarray, steps: int) -> np.ndarray:
    missing = steps - position.shape[1]
    return np.pad(position, ((0, 0), (missing, 0), (0, 0)), constant_values=np.nan) if missing > 0 else position


def _nearest_agents(frames: Frames, config: Config) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    n, s = len(frames.origin), config.neighbours
    gap = np.linalg.norm(frames.origin[:, None] - frames.origin, axis=-1)
    np.fill_diagonal(gap, np.inf)
    index, near = _least(gap, s, config.neighbour_radius_m)
    own = turned(frames.origin[index] - frames.origin[:, None], -frames.angle)
    turn = frames.angle[index] - frames.angle[:, None]
    pose = np.concatenate([own, turn[..., None]], -1)
    return index.reshape(n, s), near, np.where(near[..., None], pose, 0.0).astype(np.float32)


def _nearest_pieces(
    past: Past, frames: Frames, pieces: Pieces, config: Config
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    n, count = len(frames.origin), config.lane_pieces
    if not len(pieces.origin):
        return np.zeros((n, count), np.int64), np.zeros((n, count), bool), np.zeros((n, count, 3), np.float32)
    moved = np.nan_to_num(past.position[:, -1] - past.position[:, -2])
    gap = np.full((n, len(pieces.origin)), np.inf)
    for ahead_s in (0.0, 1.5, 3.0):
        there = frames.origin + moved * (ahead_s / past.step_s)
        gap = np.minimum(gap, np.linalg.norm(there[:, None] - pieces.origin, axis=-1))
    index, near = _least(gap, count, config.lane_radius_m)
    own = turned(pieces.origin[index] - frames.origin[:, None], -frames.angle)
    turn = pieces.angle[index] - frames.angle[:, None]
    pose = np.concatenate([own, turn[..., None]], -1)
    return index, near, np.where(near[..., None], pose, 0.0).astype(np.float32)


def _least(gap: np.ndarray, count: int, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Columns of the smallest distances of each row, and which of them lie within a radius; 0 where none does."""
    n, m = gap.shape
    some = min(count, m)
    if some < m:
        index = np.argpartition(gap, some - 1, axis=1)[:, :some]
    else:
        index = np.tile(np.arange(m), (n, 1))
    order = np.argsort(np.take_along_axis(gap, index, 1), axis=1, kind="stable")
    index = np.take_along_axis(index, order, 1)
    near = np.take_along_axis(gap, index, 1) <= radius
    index, near = (np.pad(a, ((0, 0), (0, count - some))) for a in (index, near))
    return np.where(near, index, 0).astype(np.int64), near
