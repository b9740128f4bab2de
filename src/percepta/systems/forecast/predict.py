"""Where agents go next: what `percepta.load("forecast")` gives, its sessions for live tracks, and its answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int64
from PIL import Image
from torch import nn

from percepta.contract import Evaluate, OpenStream, described, weights_hash
from percepta.datasets.tracks import KINDS, StreetMap, Tracks
from percepta.errors import InputError, InputTypeError
from percepta.media.draw import Shown
from percepta.systems.forecast import Config
from percepta.systems.forecast import scene as scenes
from percepta.systems.forecast.drawing import Scene
from percepta.systems.forecast.scene import Output, Past, Pieces, ReadsMoments, scene_mean
from percepta.systems.forecast.small import SmallNet

LOST_S = 1.0  # a session forgets who was not seen for longer
FARTHEST_M = 1e8  # of a position from the origin: more than the Earth is wide
WATCH_RADIUS_M = 300.0  # of the map, around the agents


@dataclass(frozen=True, repr=False)
class Result(Shown):
    """The futures of n agents.

    Attributes:
        ids: of the agents.
        kinds: places in `tracks.KINDS`.
        time_s: of the predicted steps, from the last observed one.
        position: k futures of each, metres in the world. With `joint`, future k of all agents belong together.
        probability: of the futures, rows with the sum 1; with `joint`, each row is the same.
        past: observed positions; NaN where not seen.
        joint: whether future k is one of the whole scene.
        others: observed positions of agents whose futures were not asked for.
        map: what was known of the ground.
        weights: hash of the weights that answered.
    """

    ids: tuple[str, ...]
    kinds: Int64[np.ndarray, " n"]
    time_s: Float[np.ndarray, " t"]
    position: Float[np.ndarray, "n k t 2"]
    probability: Float[np.ndarray, "n k"]
    past: Float[np.ndarray, "n h 2"]
    joint: bool = False
    others: Float[np.ndarray, "m h 2"] = field(default_factory=lambda: np.zeros((0, 1, 2)))
    map: StreetMap = field(default_factory=StreetMap)
    weights: str = ""

    @property
    def text(self) -> str:
        """The answer in words: "12 agents, 6 futures each, 3 s"."""
        n, k = self.probability.shape
        kind = "of the scene" if self.joint else "each"
        agents, futures = ("agent" if n == 1 else "agents"), ("future" if k == 1 else "futures")
        return f"{n} {agents}, {k} {futures} {kind}, {self.time_s[-1]:g} s"

    @property
    def scene(self) -> Scene:
        """What a drawing needs."""
        steps = max(self.past.shape[1], self.others.shape[1])
        past = np.concatenate([_padded(self.past, steps), _padded(self.others, steps)])
        return Scene(self.map, past, np.arange(len(self.ids)), self.position, self.probability)

    def draw(self, size: int = 640) -> Image.Image:
        """The scene from above: map, past, and the futures, wider where they are more probable."""
        return self.scene.draw(size, self.text)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: for each agent its futures, the most probable first."""
        agents = []
        for i, name in enumerate(self.ids):
            order = np.argsort(-self.probability[i], kind="stable")
            p, way = self.probability[i, order].round(4).tolist(), self.position[i, order].round(3).tolist()
            futures = [{"probability": a, "position_m": b} for a, b in zip(p, way, strict=True)]
            now = self.past[i, -1].round(3).tolist()
            agents.append({"id": name, "type": KINDS[self.kinds[i]], "now_m": now, "futures": futures})
        times = self.time_s.round(4).tolist()
        return {"time_s": times, "joint": self.joint, "agents": agents, "map": self.map.source, "weights": self.weights}


@dataclass
class Session:
    """Live tracks: `step` takes where everybody is now, and says where they go.

    Attributes:
        model: the network.
        config: its settings.
        map: of the ground.
        kinds: what each agent is, by its id; "vehicle" where nothing is said.
    """

    model: SmallNet | nn.Module
    config: Config
    map: StreetMap = field(default_factory=StreetMap)
    kinds: dict[str, str] = field(default_factory=dict)
    _tracks: dict[str, list[tuple[float, float, float]]] = field(default_factory=dict, repr=False)
    _time_s: float = field(default=-np.inf, repr=False)

    def __post_init__(self) -> None:
        self._pieces = scenes.cut(self.map, self.config)

    def step(
        self,
        positions: Mapping[str, Sequence[float]],
        time_s: float | None = None,
        *,
        headings: Mapping[str, float] | None = None,
        modes: int | None = None,
        joint: bool = False,
        horizon_s: float | None = None,
    ) -> Result:
        """Where everybody who is visible now goes. Who was visible before and is not now is kept for a second.

        Args:
            positions: of all that are visible now, metres: {id: (x, y)}. Ids may come, go and come back.
            time_s: when; None: one step of the network after the last call.
            headings: radians, for those whose heading is known.
            modes: see `Forecast.predict`.
            joint: see `Forecast.predict`.
            horizon_s: see `Forecast.predict`.

        Raises:
            InputError: time does not go on, or a position is no two finite numbers (names the agent).
            InputTypeError: positions are no dictionary.
        """
        if not isinstance(positions, Mapping):
            raise InputTypeError(f"positions are {{id: (x, y)}} in metres, got {type(positions).__name__}")
        if not isinstance(time_s, Real | None) or not np.isfinite(time_s or 0.0):
            raise InputError(f"time_s is a finite number of seconds, or None; got {time_s!r}")
        now = (self._time_s + self.config.step_s if np.isfinite(self._time_s) else 0.0) if time_s is None else time_s
        if not now > self._time_s:
            raise InputError(f"time has to go on: {now} s after {self._time_s} s")
        here: dict[str, tuple[float, float]] = {}
        for name, place in positions.items():
            try:
                point = np.asarray(place, np.float64)
            except (TypeError, ValueError):
                point = np.zeros(0)
            if point.shape != (2,) or not (np.abs(point) <= FARTHEST_M).all():
                raise InputError(f"agent {name}: a position is two finite numbers in metres, got {place!r}")
            here[str(name)] = (float(point[0]), float(point[1]))
        self._time_s = now
        keep = self.config.observed_steps * self.config.step_s + LOST_S
        for name, place in here.items():
            track = self._tracks.setdefault(name, [])
            if track and now - track[-1][0] > LOST_S:
                track.clear()  # back after so long that it may be somebody else
            track.append((now, *place))
        for name, track in [*self._tracks.items()]:
            while track and now - track[0][0] > keep:
                track.pop(0)
            if not track:
                del self._tracks[name]
        names = tuple(here)
        past = self._past(names, headings or {}, now)
        near = self._pieces
        return _answer(self.model, self.config, past, near, self.map, names, None, modes, joint, horizon_s)

    def _past(self, names: tuple[str, ...], headings: Mapping[str, float], now: float) -> Past:
        """What was seen, at the network's steps; between two sights that are at most a second apart it is a line."""
        steps, step_s = self.config.observed_steps, self.config.step_s
        wanted = now + (np.arange(steps) - (steps - 1)) * step_s
        out = np.full((len(names), steps, 2), np.nan)
        for i, name in enumerate(names):
            track = np.array(self._tracks[name])
            inside = wanted >= track[0, 0] - 1e-6
            out[i, inside, 0] = np.interp(wanted[inside], track[:, 0], track[:, 1])
            out[i, inside, 1] = np.interp(wanted[inside], track[:, 0], track[:, 2])
        kinds = [self.kinds.get(name, "vehicle") for name in names]
        if odd := [kind for kind in kinds if kind not in KINDS]:
            raise InputError(f"kinds are {', '.join(KINDS)}; got {odd[0]!r}")
        heading = np.array([headings.get(name, np.nan) for name in names], np.float64)
        return Past(out, heading, np.array([KINDS.index(kind) for kind in kinds], np.int64), step_s)


@dataclass(frozen=True)
class Forecast:
    """Motion forecasting, ready to use: `percepta.load("forecast")`.

    Attributes:
        config: its settings.
        model: the network, in eval mode: ours, or a published one.
        licence: of code and weights, and the terms of the data behind the weights.
        evaluate: its numbers on recordings; without a folder, on its synthetic world.
        open_stream: what systems that look at pictures make streams of; tracks are none, so there is no `stream`.
    """

    config: Config
    model: SmallNet | nn.Module
    licence: str
    evaluate: Evaluate
    open_stream: OpenStream
    name: ClassVar[str] = "forecast"

    def __repr__(self) -> str:
        return described(self)

    def predict(
        self,
        recording: Tracks,
        *,
        last: int | None = None,
        agents: Sequence[str] | None = None,
        modes: int | None = None,
        joint: bool = False,
        horizon_s: float | None = None,
    ) -> Result:
        """Where the agents of a recording go after one of its steps. What follows that step is not looked at.

        Args:
            recording: tracks, as `datasets.traffic.read` gives them, of a Parquet scenario of Argoverse 2, a CSV with
                time, id, x, y and type, or another set.
            last: the last observed step; None: the one that the set prescribes, else the recording's last.
            agents: whose futures are asked for; None: of all that are visible at that step.
            modes: how many futures; 1: the single best one. None: as many as the network has; fewer: the most probable.
            joint: futures of the whole scene instead of each agent's own.
            horizon_s: how far; None: as far as the network can.

        Raises:
            InputTypeError: `recording` is something else, such as a path.
            InputError: no such step or agent, nobody is visible at that step, or a position is no place on Earth.
        """
        if not isinstance(recording, Tracks):
            name = repr(recording) if isinstance(recording, str) else type(recording).__name__
            raise InputTypeError(f"a recording is Tracks, as percepta.datasets.traffic.read(path)[0]; got {name}")
        tracks = recording
        if last is not None and not isinstance(last, Integral):
            raise InputError(f"last is a whole number, of a step; got {last!r}")
        if last is None:
            last = tracks.steps - 1 if tracks.last is None else tracks.last
            if tracks.keyframe_steps > 1 and tracks.last is None:
                last -= last % tracks.keyframe_steps
        moment = tracks.moment(last, scenes.steps_of(tracks, self.config)[0])
        if not len(moment.agents):
            raise InputError(f"{tracks.name}: nobody is visible at step {last}")
        if (far := np.abs(moment.past) > FARTHEST_M).any():
            name = moment.ids[int(far.any((1, 2)).argmax())]
            raise InputError(f"{tracks.name}: agent {name} is more than {FARTHEST_M:g} m away: are these metres?")
        ids = moment.ids
        if missing := [name for name in agents or () if name not in ids]:
            raise InputError(
                f"{tracks.name}: {', '.join(missing)} is not visible at step {last}; there are {', '.join(ids)}"
            )
        wanted = None if agents is None else [ids.index(name) for name in agents]
        near = tracks.map.near(moment.past.reshape(-1, 2), WATCH_RADIUS_M)
        moment = replace(moment, tracks=replace(tracks, map=near))
        past = scenes.past_of(moment, self.config)
        pieces = scenes.cut(near, self.config)
        extra = [self.model.inputs(moment)] if isinstance(self.model, ReadsMoments) else []
        return _answer(self.model, self.config, past, pieces, near, ids, wanted, modes, joint, horizon_s, extra)

    def session(self, map: StreetMap | None = None, *, kinds: Mapping[str, str] | None = None) -> Session:
        """Live tracks with ids that come and go.

        Args:
            map: of the ground, as `datasets.traffic` or `datasets.tracks_csv.read_geojson` read it; None: none is
            known.
            kinds: what each agent is, by its id, as `tracks.KINDS` has them; may be changed later in `session.kinds`.

        Raises:
            InputTypeError: `map` is something else, such as a path.
        """
        if not isinstance(map, StreetMap | None):
            raise InputTypeError(f"map is a StreetMap, as `datasets.tracks_csv.read_geojson` gives it, got {map!r}")
        return Session(self.model, self.config, map or StreetMap(), dict(kinds or {}))


@torch.inference_mode()
def _answer(
    model: nn.Module,
    config: Config,
    past: Past,
    pieces: Pieces,
    street: StreetMap,
    ids: tuple[str, ...],
    wanted: list[int] | None,
    modes: int | None,
    joint: bool,
    horizon_s: float | None,
    extra: list[Any] | None = None,
) -> Result:
    if modes is not None and not isinstance(modes, Integral):
        raise InputError(f"modes are a whole number; got {modes!r}")
    asked = config.future_steps if horizon_s is None else horizon_s / config.step_s
    steps = round(asked) if np.isfinite(asked) else 0
    if not 1 <= steps <= config.future_steps:
        most = config.future_steps * config.step_s
        raise InputError(
            f"horizon_s is at least one step of {config.step_s:g} s and at most {most:g} with this network; "
            f"got {horizon_s}"
        )
    if modes is not None and not 1 <= modes <= config.modes:
        raise InputError(f"modes are 1 to {config.modes} with this network; got {modes}")
    rows = np.arange(len(ids)) if wanted is None else np.array(wanted, np.int64)
    others = np.setdiff1d(np.arange(len(ids)), rows)
    time_s = np.arange(1, steps + 1) * config.step_s
    kept = config.modes if modes is None else modes
    if len(rows):
        made, frames = scenes.tensors(past, pieces, config)
        made = scenes.asked(made, rows, steps / config.future_steps)
        weight = next(model.parameters())
        batch: dict[str, Any] = {
            key: value.to(weight.device, weight.dtype if value.is_floating_point() else None)
            for key, value in made.items()
        }
        batch["scene"] = torch.zeros(len(ids), dtype=torch.long, device=weight.device)
        batch["extra"] = [tuple(value.to(weight.device) for value in scene) for scene in extra or ()]
        found = model.predict(batch)  # type: ignore[operator]
        own, probability = chosen(found, kept, joint)
        here = type(frames)(*(part[rows] for part in frames))
        position = here.to_world(own[:, :, :steps])
    else:
        position, probability = np.zeros((0, kept, steps, 2)), np.zeros((0, kept))
    names, kinds = tuple(ids[i] for i in rows), past.kinds[rows]
    return Result(
        names, kinds, time_s, position, probability, past.position[rows], joint, past.position[others], street,
        weights_hash(model),
    )  # fmt: skip


def chosen(out: Output, modes: int, joint: bool) -> tuple[Float[np.ndarray, "n k t 2"], Float[np.ndarray, "n k"]]:
    """(futures in the agents' frames, probabilities): the most probable ones; one alone is the network's single best.

    Args:
        out: of the network, one scene.
        modes: how many.
        joint: of the scene.
    """
    way, logits = (out.joint, out.joint_logits) if joint else (out.single, out.single_logits)
    if joint:
        logits = scene_mean(logits, logits.new_zeros(len(logits)).long()).expand(len(logits), -1)
    elif modes == 1:
        way, logits = out.one[:, None], logits[:, :1]
    p = logits.double().softmax(1).cpu().numpy()
    rank = np.sort(np.argsort(-p, axis=1, kind="stable")[:, :modes], axis=1)
    way = np.take_along_axis(way.double().cpu().numpy(), rank[:, :, None, None], 1)
    p = np.take_along_axis(p, rank, 1)
    return way, p / p.sum(1, keepdims=True)


def _padded(past: np.ndarray, steps: int) -> np.ndarray:
    return np.pad(past, ((0, 0), (steps - past.shape[1], 0), (0, 0)), constant_values=np.nan)
