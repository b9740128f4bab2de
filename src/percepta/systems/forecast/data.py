"""Windows of recordings as samples: what the network sees at a moment, and where everybody went.

A sample is a scene: all agents that are visible at the last observed step, whether they are seen later or not. Some of
them
are targets: in training those whose future is known at least in part, in an evaluation those that are seen at all steps
of the window (`Config.windows`) and that are scored (`Config.scored`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from percepta.contract import Batch, Key
from percepta.datasets import eth_ucy, traffic
from percepta.datasets.problem import Problem, noting, tell
from percepta.datasets.tracks import VEHICLES, Tracks, folds, moves
from percepta.datasets.tracks import known as tracked
from percepta.errors import InputError
from percepta.systems.forecast import Config, fans
from percepta.systems.forecast import scene as scenes
from percepta.systems.forecast.model import EXTRA
from percepta.systems.forecast.world import streets

FOLDS = 3
SPLITS = ("train", "val", "test", "all")
MOST_IN_MEMORY = 400  # recordings; of larger sets each is read again whenever it is needed
HELD_OUT = 0.2  # share of a recording's end that is held out where there are too few to hold out whole ones


@dataclass(frozen=True)
class Part:
    """A recording, and which of its steps may be a last observed one: from `start` on, before `end`."""

    tracks: Tracks
    start: int = 0
    end: int | None = None


@dataclass
class Windows:
    """Samples of a split.

    Attributes:
        config: settings.
        parts: recordings, or functions of none that read one.
        training: whether samples are augmented and targets are chosen for learning.
        index: (part, last observed step, place in `Config.windows`) of each sample.
    """

    config: Config
    parts: Sequence[Part | Any]
    training: bool
    index: list[tuple[int, int, int]] = field(default_factory=list, repr=False)
    _made: dict[int, dict[str, Any]] = field(default_factory=dict, repr=False)
    _cut: dict[int, scenes.Pieces] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.index = list(self._windows())

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, key: Key) -> dict[str, Any]:
        epoch, index = key
        sample = self._made.get(index)
        if sample is None:
            sample = self._sample(*self.index[index])
            if len(self.parts) <= MOST_IN_MEMORY:
                self._made[index] = sample
        return drawn(sample, self.config, _generator(epoch, index)) if self.training else sample

    def collate(self, samples: list[Any]) -> Batch:
        """The agents of all scenes one after the other; `about` has a dictionary for each scene."""
        batch = scenes.joined([one["tensors"] for one in samples])
        if draws := [one["draw"] for one in samples if "draw" in one]:
            batch = augmented(batch, draws, [len(one["tensors"]["line_kind"]) for one in samples])
        return {**batch, "about": [one["about"] for one in samples], "extra": [one["extra"] for one in samples]}

    def part(self, place: int) -> Part:
        """One of `parts`, read where it has to be."""
        one = self.parts[place]
        return one if isinstance(one, Part) else Part(one())

    def _windows(self) -> Any:
        """(part, last step, place in `Config.windows`) of every window."""
        config = self.config
        for place in range(len(self.parts)):
            if not isinstance(self.parts[place], Part):  # too many to be read now: the step that the set prescribes
                yield from ((place, -1, number) for number in range(len(config.windows)))
                continue
            part = self.part(place)
            tracks = part.tracks
            rate = 1.0 if scenes.same_steps(tracks, config) else config.step_s / tracks.dt_s
            stride = max(1, round((config.train_stride_s if self.training else config.stride_s) / tracks.dt_s))
            if self.training:
                shortest = min(future for _, future in config.windows)
                steps = replace(tracks, last=None).last_steps(2, int(np.ceil(shortest * rate)), stride)
                rows = [(step, 0) for step in steps]
            else:
                rows = [
                    (step, number)
                    for number, (observed, future) in enumerate(config.windows)
                    for step in replace(tracks, last=None).last_steps(
                        int(np.ceil((observed - 1) * rate)) + 1, int(np.ceil(future * rate)), stride
                    )
                ]
            for step, number in rows:
                if part.start <= step < (tracks.steps if part.end is None else part.end):
                    observed, future = config.windows[number]
                    if self.training or self.scored(tracks, step, observed, future).any():
                        yield place, step, number

    def scored(self, tracks: Tracks, last: int, observed: int, future: int) -> Bool[np.ndarray, " n"]:
        """Which of the agents that are visible at a step are scored.

        Args:
            tracks: the recording.
            last: the step.
            observed: steps at which they have to be seen, that one included.
            future: and how many after it.
        """
        if not scenes.same_steps(tracks, self.config):
            rate = self.config.step_s / tracks.dt_s
            observed, future = int(np.ceil((observed - 1) * rate)) + 1, int(np.ceil(future * rate))
        moment = tracks.moment(last, observed, future)
        found = moment.complete
        if self.config.scored == "moving vehicles":
            found = found & np.isin(moment.kinds, VEHICLES)
            found[found] &= moves(moment.past[found], moment.truth[found])
        return found

    def _sample(self, place: int, last: int, number: int) -> dict[str, Any]:
        config, tracks = self.config, self.part(place).tracks
        observed, future = config.windows[number]
        if last < 0:
            last = tracks.last if tracks.last is not None else tracks.steps // 2
        moment = tracks.moment(last, *scenes.steps_of(tracks, config))
        past = scenes.past_of(moment, config)
        if place not in self._cut:
            kept = self._cut if len(self.parts) <= MOST_IN_MEMORY else {}
            self._cut = {**kept, place: scenes.cut(tracks.map, config)}
        made, frames = scenes.tensors(past, self._cut[place], config)
        near = tracks.map.near(moment.past[:, -1], config.lane_radius_m)
        world = scenes.truth_of(moment, config)
        truth = frames.to_own(world)
        known = tracked(truth)
        scored = self.scored(tracks, last, observed, future)
        made["truth"] = torch.from_numpy(np.where(known[..., None], truth, 0.0).astype(np.float32))
        made["known"] = torch.from_numpy(known)
        target = np.flatnonzero(known.sum(1)) if self.training else np.flatnonzero(scored)
        made = scenes.asked(made, target, future / config.future_steps)
        about = {
            "name": tracks.name, "group": tracks.group, "last": last, "window": number, "ids": moment.ids,
            "frames": frames, "past": past.position, "truth": world,
            "lines": [lane.centre[:, :2] for lane in near.lanes], "areas": tracks.map.areas,
        }  # fmt: skip
        inputs = EXTRA.get(config.design)
        extra = () if inputs is None else inputs(moment, config)
        return {"tensors": made, "about": about, "extra": extra}


class Draw(NamedTuple):
    """How a training scene is changed.

    Attributes:
        factor: by which all lengths are multiplied.
        mirror: of y: 1 or −1.
        hidden: whether the map is not seen.
        turn: by which each agent's frame is turned, radians.
    """

    factor: float
    mirror: float
    hidden: bool
    turn: Tensor


def drawn(sample: dict[str, Any], config: Config, generator: torch.Generator) -> dict[str, Any]:
    """A training sample with its `Draw`, its targets and its horizon; `augmented` applies the draw to a whole batch.

    Args:
        sample: of `Windows`.
        config: settings.
        generator: seeded from the key.
    """
    made = sample["tensors"]
    draws = torch.rand(4, generator=generator).tolist()
    low, high = config.scale_range
    mirror = -1.0 if draws[1] < 0.5 and not sample["extra"] else 1.0  # published inputs stay as they are
    noise = torch.randn(len(made["kind"]), generator=generator) * np.deg2rad(config.turn_noise_deg)
    any_way = torch.rand(len(noise), generator=generator) * 2 * np.pi
    turn = torch.where(made["directed"], noise, any_way)
    futures = [future for _, future in config.windows if made["known"][made["target"], future - 1].any()]
    horizon = futures[int(draws[3] * len(futures))] if futures else config.windows[0][1]
    target = chosen_targets(made, horizon, config.targets, generator)
    draw = Draw(low * (high / low) ** draws[0], mirror, draws[2] < config.drop_lanes, turn)
    return {**sample, "tensors": scenes.asked(made, target, horizon / config.future_steps), "draw": draw}


def augmented(batch: dict[str, Tensor], draws: Sequence[Draw], lines: Sequence[int]) -> dict[str, Tensor]:
    """A batch whose scenes are mirrored, scaled, without a map and with turned frames, as their draws say.

    Args:
        batch: joined tensors.
        draws: of its scenes.
        lines: how many pieces of lines each scene has.
    """
    made, scene = dict(batch), batch["scene"]
    factor, mirror = (torch.tensor([getattr(one, name) for one in draws]) for name in ("factor", "mirror"))
    both = torch.stack([factor, factor * mirror], -1)
    for name in ("history", "truth", "world"):
        made[name] = made[name] * both[scene][:, None]
    made["line"] = made["line"] * both.repeat_interleave(torch.tensor(lines), 0)[:, None]
    poses = torch.cat([both, mirror[:, None]], -1)[scene][:, None]
    for name in ("neighbour_pose", "lane_pose"):
        made[name] = made[name] * poses
    made["step_s"] = made["step_s"] * factor[scene]  # larger lengths at the same speeds: the same as longer steps
    made["angle"] = made["angle"] * mirror[scene]
    hidden = torch.tensor([one.hidden for one in draws])[scene]
    made["lane_there"] = made["lane_there"] & ~hidden[:, None]
    return turned_frames(made, torch.cat([one.turn for one in draws]))


def turned_frames(made: dict[str, Tensor], angle: Tensor) -> dict[str, Tensor]:
    """The same scene, where the own frame of each agent is turned by an angle, radians: what lies in it turns back.

    Args:
        made: tensors of a scene.
        angle: for each agent.
    """
    out = dict(made)
    cos, sin = angle.cos(), angle.sin()
    matrix = torch.stack([torch.stack([cos, sin], -1), torch.stack([-sin, cos], -1)], -2)  # by −angle
    out["angle"] = made["angle"] + angle
    for name in ("history", "truth"):
        if name in made:
            out[name] = torch.einsum("nij,ntj->nti", matrix, made[name])
    for name, other in (("neighbour_pose", angle[made["neighbour"]]), ("lane_pose", torch.zeros(1, 1))):
        pose = made[name]
        place = torch.einsum("nij,nsj->nsi", matrix, pose[..., :2])
        out[name] = torch.cat([place, (pose[..., 2] + other - angle[:, None])[..., None]], -1)
    return out


def chosen_targets(made: dict[str, Tensor], horizon: int, most: int, generator: torch.Generator) -> Tensor:
    """Rows of the agents whose futures are learned: first those that move, a fifth of the places for others.

    Args:
        made: tensors of a scene.
        horizon: steps that count.
        most: how many at most.
        generator: for the draw.
    """
    target, known = made["target"], made["known"][:, :horizon]
    target = target[known[target].any(1)]
    reach = (made["truth"][:, :horizon].norm(dim=-1) * known).amax(1)
    moving = reach[target] > 1.0
    order = target[torch.randperm(len(target), generator=generator)]
    move, stand = order[reach[order] > 1.0], order[reach[order] <= 1.0]
    if not len(stand) or not moving.any():
        return order[:most].sort().values
    room = max(most - len(move), most // 5)
    stand = stand[: min(room, max(1, len(move) // 4))]
    return torch.cat([move[: most - len(stand)], stand]).sort().values


# ---------------------------------------------------------------------------------------------------------- splits


def data(config: Config, split: str, root: Path | None = None) -> Windows | None:
    """Windows of a split; without a folder, of the synthetic world.

    Whole recordings are held out: a third of every collection, by `config.fold`; of ETH/UCY one scene, as papers do.
    Where there are fewer than three recordings, the end of each is held out. "val" and "test" are the same, but for
    ETH/UCY, where "val" is the ends of the training scenes.

    Args:
        config: settings.
        split: "train", "val", "test" or "all".
        root: a folder or a file with recordings.

    Returns:
        None where `config.fold` is −1 and the split would hold what is held out: nothing is.

    Raises:
        InputError: no such split, or nothing in it.
    """
    if split not in SPLITS:
        raise InputError(f"split is {', '.join(SPLITS)}; got {split!r}")
    if config.fold < 0 and split in ("val", "test") and root is not None:
        return None
    found = Windows(config, _parts(config, split, root), split == "train")
    if not len(found):
        least = min(observed + future for observed, future in config.windows)
        raise InputError(
            f"{root or 'the synthetic world'}: nobody in the split {split!r} is seen for {least} steps of "
            f"{config.step_s:g} s in a row ({least * config.step_s:g} s), which is the shortest of the windows "
            f"{config.windows} (observed, future); record for longer, or shorten --windows"
        )
    return found


def _parts(config: Config, split: str, root: Path | None) -> Sequence[Part | Any]:
    if root is None:
        return [Part(tracks) for tracks in streets(split)]
    problems: list[Problem] = []
    recordings = traffic.read(root, problems)
    rows = [i for i, group in enumerate(recordings.groups) if group in config.groups]
    if not rows:
        there = ", ".join(dict.fromkeys(recordings.groups))
        raise InputError(f"{root} holds recordings of {there}; groups asks for {', '.join(config.groups)}")
    if {recordings.groups[i] for i in rows} == {"eth_ucy"}:
        return _people(config, split, root)
    if not -1 <= config.fold < FOLDS:
        raise InputError(f"fold is 0 to {FOLDS - 1}, or −1 where nothing is held out; got {config.fold}")
    kept = rows
    if len(rows) >= FOLDS:
        held = _held(config, split, [(recordings.groups[i], recordings.names[i]) for i in rows])
        kept = [rows[i] for i in held]
    if len(rows) > MOST_IN_MEMORY:
        return [_Reader(recordings, i) for i in kept]
    read: list[Tracks] = []
    for i in kept:
        with noting(problems, root / recordings.names[i]):
            read.append(recordings[i])
    tell(problems, str(root), strict=config.train.strict)
    if kept and not read:
        raise InputError(f"{root}: none of its recordings can be read: {problems[-1]}")
    if len(rows) >= FOLDS:
        return [Part(tracks) for tracks in read]
    parts = []
    for tracks in read:
        reach = scenes.steps_of(tracks, config)
        border = round(tracks.steps * (1 - HELD_OUT))
        if split == "all" or config.fold < 0:
            parts.append(Part(tracks))
        elif split == "train":  # no future step of a training window lies in the part that is held out
            parts.append(Part(tracks, 0, max(1, border - reach[1])))
        else:
            parts.append(Part(tracks, border))
    return parts


@dataclass(frozen=True)
class _Reader:
    """Reads one recording when it is called."""

    recordings: Any
    place: int

    def __call__(self) -> Tracks:
        return self.recordings[self.place]


def _held(config: Config, split: str, names: list[tuple[str, str]]) -> list[int]:
    """Places of the recordings of a split."""
    if split == "all" or config.fold < 0:
        return list(range(len(names)))
    fold = folds(names, FOLDS)
    return [i for i, one in enumerate(fold) if (one == config.fold) == (split in ("val", "test"))]


def _people(config: Config, split: str, root: Path) -> list[Part]:
    if split == "all" or config.fold < 0:
        return [Part(tracks) for tracks in eth_ucy.read(root)]
    if config.fold >= len(eth_ucy.SCENES):
        raise InputError(f"fold names one of {len(eth_ucy.SCENES)} scenes of ETH/UCY, 0 to 4; got {config.fold}")
    return [Part(tracks) for tracks in eth_ucy.read_part(root, eth_ucy.SCENES[config.fold], split)]


def fit_config(config: Config, root: Path | None) -> Config:
    """The settings with the fan of the training part; for one's own tracks at another rate also with its steps.

    Seconds are kept: with tracks of 2.5 a second, `small` sees 5 steps of 0.4 s and predicts 7 or 15.
    """
    if root is not None and config.resample:
        recordings = traffic.read(root)
        rows = [i for i, group in enumerate(recordings.groups) if group in config.groups][:20]
        rates: list[float] = []
        for i in rows:
            with suppress(OSError, ValueError):  # what cannot be read is said by `data`
                rates.append(recordings[i].dt_s)
        if rates and not any(abs(dt - config.step_s) < 0.02 * config.step_s for dt in rates):
            config = with_step(config, float(np.median(rates)))
    if not config.fan:
        windows = data(config, "train", root)
        assert windows is not None
        config = replace(config, fan=_fan(windows))
    return config


def go_on(fitted: Config, asked: Config, before: Config) -> Config:
    """Settings of a training that goes on from weights: their steps, to which recordings are resampled.

    Args:
        fitted: what `fit_config` made of `asked`.
        asked: what the user gave; its windows count where its steps are as long as those of the weights.
        before: the settings of the weights.
    """
    windows = asked.windows if asked.step_s == before.step_s else before.windows
    return replace(
        fitted,
        step_s=before.step_s,
        observed_steps=before.observed_steps,
        future_steps=before.future_steps,
        windows=windows,
    )


def with_step(config: Config, step_s: float) -> Config:
    """The settings for another time from step to step: as many seconds, in other steps."""

    def steps(count: int, least: int) -> int:
        return max(least, round(count * config.step_s / step_s))

    windows = tuple((steps(observed, 3), steps(future, 1)) for observed, future in config.windows)
    return replace(
        config,
        step_s=step_s,
        observed_steps=steps(config.observed_steps, 3),
        future_steps=max(steps(config.future_steps, 1), *(future for _, future in windows)),
        windows=windows,
    )


def training_windows(windows: Windows) -> tuple[np.ndarray, np.ndarray]:
    """(past, truth) in the world of the agents that would be scored in training windows, for fans."""
    observed, future = windows.config.windows[0]
    past, truth = [], []
    for place, last, _ in windows.index:
        if last < 0:
            continue
        tracks = windows.part(place).tracks
        moment = tracks.moment(last, *scenes.steps_of(tracks, windows.config))
        scored = windows.scored(tracks, last, observed, future)
        past.append(scenes.past_of(moment, windows.config).position[scored])
        truth.append(scenes.truth_of(moment, windows.config)[scored, :future])
    if not past:
        return np.zeros((0, windows.config.observed_steps, 2)), np.zeros((0, future, 2))
    return np.concatenate(past), np.concatenate(truth)


def _fan(windows: Windows) -> tuple[tuple[float, float, float], ...]:
    past, truth = training_windows(windows)
    if not len(past):
        return ((0.0, 1.0, 1.0),)
    arc = windows.config.scored == "moving vehicles"
    found = fans.choose(past, truth, windows.config.modes, arc=arc)
    return tuple(zip(found.angles_deg, found.factors, found.probability, strict=True))


def _generator(epoch: int, index: int) -> torch.Generator:
    digest = hashlib.blake2b(f"{epoch} {index}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)
