"""Errors of predictions on held-out windows, each beside constant velocity and a fan that was chosen on the training
part.

Numbers are means over collections of recordings (nuScenes, Waymo, ... each counts once), of means over their agents.
The interval resamples whole recordings within each collection, or stretches of recordings where these are fewer than
three.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from percepta.contract import Batch, Evaluation, Loader
from percepta.datasets import traffic
from percepta.datasets.argoverse2 import FUTURE, read_submission
from percepta.datasets.tracks import Lane, StreetMap
from percepta.errors import InputError
from percepta.metrics import Metric
from percepta.metrics import forecast as fc
from percepta.report import Block, Curves, Gallery, Text
from percepta.systems.forecast import Config
from percepta.systems.forecast import scene as scenes
from percepta.systems.forecast.drawing import Scene
from percepta.systems.forecast.fans import CONSTANT_VELOCITY, Fan, by_hand, last_displacement
from percepta.systems.forecast.scene import Output, scene_mean


@dataclass
class Rows:
    """Numbers of agents as they come in, with the recording and the collection of each.

    NaN is a number that an agent does not have, such as its share off the road where the map has no road; it counts
    nowhere.
    """

    groups: list[str] = field(default_factory=list)
    recordings: list[str] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, group: str, recording: str, values: Mapping[str, Sequence[float] | np.ndarray]) -> None:
        """Adds the numbers of some agents of one recording.

        Args:
            group: the collection.
            recording: its name.
            values: by name, each as long as the others.
        """
        count = len(next(iter(values.values())))
        self.groups += [group] * count
        self.recordings += [recording] * count
        for name, row in values.items():
            self.values.setdefault(name, []).extend(map(float, row))

    def mean(self, name: str) -> float:
        """The mean over collections of the means over their agents."""
        return float(np.mean([*self.by_group(name).values()]))

    def by_group(self, name: str) -> dict[str, float]:
        """The mean over the agents of each collection."""
        groups, values = np.array(self.groups), np.array(self.values[name])
        there = np.isfinite(values)
        return {group: float(values[there & (groups == group)].mean()) for group in dict.fromkeys(groups[there])}

    def units(self) -> list[str]:
        """What is drawn anew for an interval: recordings; of collections with fewer than three, stretches of them."""
        count = {group: len({r for g, r in zip(self.groups, self.recordings, strict=True) if g == group})
                 for group in set(self.groups)}  # fmt: skip
        steps = self.values.get("last step", [0.0] * len(self.groups))
        rows = zip(self.groups, self.recordings, steps, strict=True)
        return [name if count[group] >= 3 else f"{name} {int(step) // STRETCH}" for group, name, step in rows]

    def metric(self, name: str, unit: str, baselines: Mapping[str, str]) -> Metric:
        """A number with its interval; none where there is only one unit to be drawn.

        Args:
            name: of the values.
            unit: "m" or "".
            baselines: {what it is called: name of its values}.
        """
        others = {label: self.mean(other) for label, other in baselines.items()}
        rows = [row for row in zip(self.values[name], self.groups, self.units(), strict=True) if np.isfinite(row[0])]
        values, groups, units = ([*part] for part in zip(*rows, strict=True))
        value = self.mean(name)
        if len(set(units)) == 1:
            return Metric(value, n=len(rows), unit=unit, baselines=others)
        low, high = grouped_interval(values, groups, units)
        return Metric(value, min(low, value), max(high, value), len(rows), unit, others)


def grouped_interval(
    values: Sequence[float], groups: Sequence[str], recordings: Sequence[str], *, draws: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """95 % bootstrap interval of a mean over groups of means over their values, recordings of each group drawn anew.

    Args:
        values: n numbers.
        groups: the group of each.
        recordings: the recording of each.
        draws: how often is resampled.
        seed: of the draws.
    """
    data, group = np.asarray(values, np.float64), np.asarray(groups)
    rng = np.random.default_rng(seed)
    means = []
    for name in dict.fromkeys(groups):
        rows = group == name
        key = np.unique(np.asarray(recordings)[rows], return_inverse=True)[1]
        total, count = np.bincount(key, data[rows]), np.bincount(key)
        picks = rng.integers(0, len(total), (draws, len(total)))
        means.append(total[picks].sum(1) / count[picks].sum(1))
    low, high = np.percentile(np.mean(means, 0), [2.5, 97.5])
    return float(low), float(high)


def evaluate(model: Any, loader: Loader, *, examples: int = 0) -> Evaluation:
    """Errors of single agents and of scenes; names end with the seconds of the prediction.

    Args:
        model: the network.
        loader: batches of `data.Windows`; it is gone through once.
        examples: how many pictures the blocks may show; 0 makes no blocks.
    """
    config: Config = model.config
    found = collect(model, loader, examples)
    metrics: dict[str, Metric] = {}
    for future, own in sorted(found.rows.items()):
        label = f"{future * config.step_s:g} s"
        for name, unit in NAMES.items():
            if np.isfinite(own.values[name]).any():
                metrics[f"{name}, {label}"] = own.metric(name, unit, BASELINES.get(name, {}))
    trust = fc.reliability(found.probability, found.best)
    even = fc.reliability(np.full_like(found.probability, 1 / found.probability.shape[1]), found.best)
    baselines = {"all modes alike": even.error}
    metrics["calibration error"] = Metric(trust.error, n=found.probability.size, baselines=baselines)
    blocks: list[Block] = []
    if examples:
        points = list(zip(trust.probability.tolist(), trust.frequency.tolist(), strict=True))
        blocks = [
            Text("Black: observed. Coloured: the futures, wider where they are more probable. Dashed: the truth."),
            Gallery(found.pictures),
            Curves("share of modes that were the best, by probability", {"measured": points, "ideal": IDEAL}, "p"),
        ]
    return Evaluation(metrics, blocks)


@dataclass(frozen=True)
class Collected:
    """The numbers of all agents of some windows.

    Attributes:
        rows: by the number of predicted steps.
        probability: of the modes of each agent.
        best: which of them ended nearest to the truth.
        pictures: drawings with captions.
    """

    rows: dict[int, Rows]
    probability: Float[np.ndarray, "n k"]
    best: Int[np.ndarray, " n"]
    pictures: list[tuple[Any, str]]


def collect(model: Any, loader: Loader | Iterable[Batch], examples: int = 0) -> Collected:
    """Goes through windows once and scores every target.

    Args:
        model: the network.
        loader: batches of `data.Windows`.
        examples: how many drawings are made.
    """
    config: Config = model.config
    rows: dict[int, Rows] = {}
    sure: list[tuple[np.ndarray, np.ndarray]] = []
    shown: list[tuple[Any, str]] = []
    for batch in loader:
        out = model.predict(batch)
        for number, about in enumerate(batch["about"]):
            mine = batch["scene"][batch["target"]] == number
            target = batch["target"][mine].cpu().numpy() - int((batch["scene"] < number).sum())
            future = config.windows[about["window"]][1]
            found = scene_scores(_part(out, mine), about, target, future, config)
            rows.setdefault(future, Rows()).add(about["group"], about["name"], found.values)
            sure.append((found.probability, found.best))
            if len(shown) < examples:
                shown.append((found.picture(about, target), f"{about['name']}, step {about['last']}"))
    probability, best = (np.concatenate(part) for part in zip(*sure, strict=True))
    return Collected(rows, probability, best, shown)


PEOPLE_COLLIDE_M = 0.2  # people walk closer to each other than the metre that counts for cars
MODES = 6  # of the challenge of Argoverse 2
STRETCH = 50  # steps of a recording that are drawn together for an interval, where there are few recordings
IDEAL = [(0, 0), (1, 1)]
NAMES = {
    "minADE": "m", "minFDE": "m", "miss rate": "", "brier-minFDE": "m", "lowest ADE": "m", "one mode ADE": "m",
    "one mode FDE": "m", "joint minADE": "m", "joint minFDE": "m", "joint lowest ADE": "m", "collisions": "",
    "off the road": "",
}  # fmt: skip
_BOTH = {name: {"constant velocity": f"{name} cv", "fan": f"{name} fan"} for name in NAMES}
BASELINES: dict[str, dict[str, str]] = {
    **{name: _BOTH[name] for name in ("minADE", "minFDE", "miss rate", "brier-minFDE", "lowest ADE")},
    **{name: {"constant velocity": f"{name} cv"} for name in ("one mode ADE", "one mode FDE")},
    **{name: {"fan": f"{name} fan"} for name in ("joint minADE", "joint minFDE", "joint lowest ADE")},
    "collisions": {"truth": "collisions true"},
    "off the road": {"truth": "off the road true", "constant velocity": "off the road cv"},
}


@dataclass(frozen=True)
class SceneScores:
    """The numbers of a scene's agents, and what a picture needs."""

    values: dict[str, np.ndarray]
    probability: Float[np.ndarray, "n k"]
    best: np.ndarray
    way: Float[np.ndarray, "n k t 2"]

    def picture(self, about: Mapping[str, Any], target: np.ndarray) -> Any:
        """The scene as a drawing."""
        lanes = (Lane(str(i), np.c_[line, np.zeros(len(line))]) for i, line in enumerate(about["lines"]))
        past, truth = about["past"], about["truth"][target][:, : self.way.shape[2]]  # what is known may go further
        return Scene(StreetMap(tuple(lanes)), past, target, self.way, self.probability, truth)


def scene_scores(out: Output, about: Mapping[str, Any], target: np.ndarray, future: int, config: Config) -> SceneScores:
    """The errors of one scene's targets, of the fan and of constant velocity.

    Args:
        out: predictions of these targets, as numpy arrays.
        about: of the sample.
        target: rows of the moment's agents.
        future: steps that count.
        config: settings.
    """
    own = scenes.Frames(*(part[target] for part in about["frames"]))
    truth, past = about["truth"][target, :future], about["past"][target]
    one, single, joint = (own.to_world(np.asarray(way, np.float64)) for way in (out.one, out.single, out.joint))
    one, single, joint = one[:, None, :future], single[:, :, :future], joint[:, :, :future]
    p = _softmax(out.single_logits)
    scores = fc.score(single, truth, p)
    alone = fc.score(one, truth)
    shared = fc.joint_score(joint, truth)
    step = last_displacement(past)
    fan = fan_of(config)
    fanned = fan.predict(past[:, -1], step, future)
    by_fan = fc.score(fanned, truth, np.tile(fan.probability, (len(truth), 1)))
    fan_joint = fc.joint_score(fanned, truth)
    straight = CONSTANT_VELOCITY.predict(past[:, -1], step, future)
    constant = fc.score(straight, truth)
    areas, even = about["areas"], np.ones((len(truth), 1))
    all_ = np.ones(len(truth))
    near = fc.COLLISION_M if config.scored == "moving vehicles" else PEOPLE_COLLIDE_M
    values = {
        "last step": all_ * about["last"], "in the window": all_ * len(truth),
        "one mode ADE": alone.min_ade, "one mode FDE": alone.min_fde,
        "one mode ADE cv": constant.min_ade, "one mode FDE cv": constant.min_fde,
        "joint minADE": all_ * shared.min_ade, "joint minFDE": all_ * shared.min_fde,
        "joint lowest ADE": all_ * shared.lowest_ade, "joint minADE fan": all_ * fan_joint.min_ade,
        "joint minFDE fan": all_ * fan_joint.min_fde, "joint lowest ADE fan": all_ * fan_joint.lowest_ade,
        "collisions": fc.collides(joint, near)[:, shared.best].astype(float),
        "collisions true": fc.collides(truth[:, None], near)[:, 0].astype(float),
        "off the road": fc.off_road_share(single, areas, p),
        "off the road true": fc.off_road_share(truth[:, None], areas, even),
        "off the road cv": fc.off_road_share(straight, areas, even),
    }  # fmt: skip
    for end, one_ in (("", scores), (" cv", constant), (" fan", by_fan)):
        values |= {
            f"minADE{end}": one_.min_ade, f"minFDE{end}": one_.min_fde, f"miss rate{end}": one_.missed.astype(float),
            f"brier-minFDE{end}": one_.brier_min_fde, f"lowest ADE{end}": one_.lowest_ade,
        }  # fmt: skip
    return SceneScores(values, p, scores.best, single)


def fan_of(config: Config) -> Fan:
    """The fan that was chosen in training; where there is none, as of weights that ship, one made by hand."""
    arc = config.scored == "moving vehicles"
    if not config.fan:
        return by_hand(config.modes, arc=arc)
    angle, factor, share = zip(*config.fan, strict=True)
    return Fan(angle, factor, arc, share)


def score_submission(predictions: Path, truth: Path) -> tuple[dict[str, Metric], list[str]]:
    """Errors of a file of predictions, whoever made it, beside constant velocity: (metrics, what is left out or odd).

    Single agents are scored by their own modes. Scenes are scored jointly where all predicted agents of a scenario have
    as many modes: mode k of all is one future, in the order of their probability.

    Args:
        predictions: Parquet as the challenge of Argoverse 2 has it.
        truth: folder with the scenarios, all steps in them.

    Raises:
        InputError: no prediction is about a scenario of the folder.
    """
    given = read_submission(predictions)
    recordings = traffic.read(truth)
    rows, notes = Rows(), _odd(given)
    where = {name: i for i, name in enumerate(recordings.names)}
    if not given.keys() <= where.keys():  # files may have been renamed: what is inside says which scenario it is
        for name, i in [*where.items()]:
            with suppress(OSError, ValueError):  # one broken file does not stop the others
                where[name if name in given else recordings[i].name] = i
    for scenario, agents in given.items():
        if scenario not in where:
            notes.append(f"left out: scenario {scenario} is not in {truth}")
            continue
        tracks = recordings[where[scenario]]
        if tracks.last is None:
            notes.append(f"left out: {scenario}: it is not known which step was its last observed one")
            continue
        last, wanted = tracks.last, tracks.focal
        if tracks.category is not None:
            wanted = tuple(name for name, kind in zip(tracks.ids, tracks.category, strict=True) if kind >= 2)
        if missing := [name for name in wanted if name not in agents]:
            notes.append(f"no prediction of {', '.join(missing)} in {scenario}: the numbers are without them")
        chosen, parts = [], []
        for agent, one in agents.items():
            row = tracks.ids.index(agent) if agent in tracks.ids else -1
            steps = one.position.shape[1]
            went = tracks.position[row, last + 1 : last + 1 + steps]
            if row < 0 or len(went) < steps or not np.isfinite(went).any():
                reason = "no such agent" if row < 0 else "its future is not known"
                notes.append(f"left out: agent {agent} of {scenario}: {reason}")
                continue
            chosen.append((row, one))
            parts.append(went)
        if not chosen:
            continue
        shapes = {one.position.shape for _, one in chosen}
        future, modes = min(shape[1] for shape in shapes), min(shape[0] for shape in shapes)
        went = np.stack([part[:future] for part in parts])
        way = np.stack([one.position[:modes, :future] for _, one in chosen])
        p = np.stack([one.probability[:modes] for _, one in chosen])
        alone, joint = fc.score(way, went, p), fc.joint_score(way, went)
        past = tracks.position[[row for row, _ in chosen]][:, : last + 1]
        straight = CONSTANT_VELOCITY.predict(past[:, -1], last_displacement(past), future)
        constant = fc.score(np.where(np.isfinite(straight), straight, 0.0), went)
        ones = np.ones(len(went))
        values = {"joint minADE": ones * joint.min_ade, "joint minFDE": ones * joint.min_fde}
        for end, one in (("", alone), (" cv", constant)):
            values |= {
                f"minADE{end}": one.min_ade, f"minFDE{end}": one.min_fde, f"miss rate{end}": one.missed.astype(float),
                f"brier-minFDE{end}": one.brier_min_fde,
            }  # fmt: skip
        rows.add(tracks.group, scenario, values)
    if not rows.groups:
        raise InputError(f"{predictions}: no prediction is about an agent of {truth}: {'; '.join(notes[:3])}")
    names = ("minADE", "minFDE", "miss rate", "brier-minFDE")
    found = {name: rows.metric(name, NAMES[name], {"constant velocity": f"{name} cv"}) for name in names}
    found |= {name: rows.metric(name, "m", {}) for name in ("joint minADE", "joint minFDE")}
    seen = {where.get(scenario) for scenario in given}
    if unseen := [name for i, name in enumerate(recordings.names) if i not in seen]:
        notes.append(f"{len(unseen)} of {len(recordings)} recordings have no prediction, such as {unseen[0]}")
    return found, notes


def _odd(given: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """How predictions differ from the challenge's: six modes of 60 steps, with probabilities that sum to 1."""
    every = [one for agents in given.values() for one in agents.values()]
    out = []
    if short := {one.position.shape[1] for one in every} - {FUTURE}:
        steps = ", ".join(map(str, sorted(short)))
        out.append(f"some agents are predicted for {steps} steps, not {FUTURE}: they are scored over these alone")
    if many := sum(len(one.position) > MODES for one in every):
        out.append(
            f"more than the challenge's {MODES} modes, which makes errors smaller: {many} of {len(every)} agents"
        )
    if wrong := sum(abs(one.probability.sum() - 1) > 1e-3 for one in every):
        out.append(f"probabilities that do not sum to 1 were scaled: those of {wrong} of {len(every)} agents")
    return out


def _part(out: Output, mine: Any) -> Output:
    """The rows of one scene, as numpy arrays; joint logits are the scene's."""
    parts = [values[mine].float().cpu() for values in out]
    logits = scene_mean(parts[4], parts[4].new_zeros(len(parts[4])).long()).expand(len(parts[4]), -1)
    return Output(*(part.numpy() for part in (*parts[:4], logits)))  # type: ignore[arg-type]


def _softmax(logits: Any) -> Float[np.ndarray, "n k"]:
    e = np.exp(np.asarray(logits, np.float64) - np.asarray(logits, np.float64).max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)
