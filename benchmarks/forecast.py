"""Numbers of motion forecasting on real recordings. Each part can be run alone and goes on where it was stopped.

    python benchmarks/forecast.py --data DATA --part levels                      what needs no learning
    python benchmarks/forecast.py --data DATA --part people --out runs/forecast  five scenes left out, three seeds each
    python benchmarks/forecast.py --data DATA --part cars --out runs/forecast    three folds, three seeds, with lanes
    and without python benchmarks/forecast.py --data DATA --part ship --out runs/forecast    trained on everything, for
    the weights that ship python benchmarks/forecast.py --part speed                                   a session of 50
    agents

DATA is the folder with the recordings (`forecast`). `--jobs I N` trains only every N-th run, so that N processes share
the work; run the part again without it to gather the table. Nothing is chosen by what is reported: settings are those
of the presets.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import cell, record

import percepta
from percepta import train as training
from percepta.contract import batches
from percepta.datasets import eth_ucy
from percepta.files import write_atomically
from percepta.metrics import Metric
from percepta.metrics import forecast as fc
from percepta.report import Table
from percepta.systems.forecast import PRESETS, Config, fans
from percepta.systems.forecast import data as samples
from percepta.systems.forecast.evaluate import Rows, collect, grouped_interval
from percepta.systems.forecast.scene import past_of, steps_of, truth_of

SEEDS = (0, 1, 2)
BLOCK = 50  # steps; people's windows are resampled in blocks of so many, as windows beside each other share walkers
CARS = {
    "minADE": "m", "minFDE": "m", "miss rate": "", "brier-minFDE": "m", "one mode ADE": "m", "one mode FDE": "m",
    "joint minADE": "m", "joint minFDE": "m", "collisions": "",
}  # fmt: skip
PEOPLE = {
    "lowest ADE": "m", "minFDE": "m", "minADE": "m", "one mode ADE": "m", "one mode FDE": "m", "joint lowest ADE": "m",
    "joint minFDE": "m", "collisions": "",
}  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ levels


def levels(args: argparse.Namespace) -> None:
    """Constant velocity and fans on every window that is scored; fans are chosen on the training part of each split."""
    values: dict[str, Metric] = {}
    lines: list[list[str]] = []
    for preset, count in (("people", len(eth_ucy.SCENES)), ("small", samples.FOLDS)):
        config = PRESETS[preset]
        found: dict[tuple[str, int], Rows] = {}
        for fold in range(count):
            own = replace(config, fold=fold)
            train, test = samples.data(own, "train", args.data), samples.data(own, "test", args.data)
            assert train is not None and test is not None
            arc = config.scored == "moving vehicles"
            past, truth = samples.training_windows(train)
            fan = fans.choose(past, truth, config.modes, arc=arc)
            for name, one in (("constant velocity", fans.CONSTANT_VELOCITY), (f"fan of {config.modes}", fan)):
                for place, last, number in test.index:
                    tracks = test.part(place).tracks
                    observed, future = config.windows[number]
                    moment = tracks.moment(last, *steps_of(tracks, own))
                    scored = test.scored(tracks, last, observed, future)
                    seen, went = past_of(moment, own).position[scored], truth_of(moment, own)[scored, :future]
                    way = one.predict(seen[:, -1], fans.last_displacement(seen), future)
                    alone = fc.score(way, went, np.tile(one.probability, (len(went), 1)))
                    joint = fc.joint_score(way, went)
                    rows = found.setdefault((name, future), Rows())
                    ones, group = np.ones(len(went)), tracks.group
                    group = eth_ucy.SCENES[fold] if group == "eth_ucy" else group
                    block = tracks.name if group == tracks.group else f"{tracks.name} {last // BLOCK}"
                    rows.add(group, block, {
                        "minADE": alone.min_ade, "minFDE": alone.min_fde, "miss rate": alone.missed.astype(float),
                        "brier-minFDE": alone.brier_min_fde, "lowest ADE": alone.lowest_ade,
                        "joint lowest ADE": ones * joint.lowest_ade, "joint minFDE": ones * joint.min_fde,
                        "in the window": ones * len(went),
                    })  # fmt: skip
        names = ("lowest ADE", "minADE", "minFDE", "miss rate", "brier-minFDE", "joint lowest ADE", "joint minFDE")
        for (name, future), rows in found.items():
            label = f"{'people' if preset == 'people' else 'cars'} {future * config.step_s:g} s {name}"
            for key in names:
                values[f"{label} {key}"] = rows.metric(key, "" if key == "miss rate" else "m", {})
            lines.append([label, *(cell(f"{label} {key}", ".2f", bounds=key == "minFDE") for key in names)])
            print(label, {key: round(rows.mean(key), 3) for key in names}, rows.by_group("minFDE"), len(rows.groups))
    record("forecast", "levels", values, tables=[Table(["", *names], lines)])


# ---------------------------------------------------------------------------------------------------------- training


def trained(name: str, config: Config, args: argparse.Namespace) -> tuple[Any, float]:
    """The system of a run, which is trained where that was not done; and the seconds that its training took."""
    out = args.out / name
    if not (out / "done").is_file():
        began = time.perf_counter()
        print(f"{name}: training", flush=True)
        training.train("forecast", config, root=args.data, out=out, device="cpu", progress=_told(name, began))
        write_atomically(out / "done", f"{time.perf_counter() - began:.0f}")
    return percepta.load(out, system="forecast", device="cpu"), float((out / "done").read_text())


def scored(name: str, config: Config, args: argparse.Namespace) -> dict[int, Rows]:
    """The numbers of every held-out agent of a run, kept beside it."""
    kept = args.out / name / "rows.json"
    system, _ = trained(name, config, args)
    if not kept.is_file():
        test = samples.data(system.config, "test", args.data)
        assert test is not None
        with torch.inference_mode():
            found = collect(system.model, batches(test, 16))
        content = {
            str(k): {"groups": v.groups, "recordings": v.recordings, "values": v.values} for k, v in found.rows.items()
        }
        write_atomically(kept, json.dumps(content))
    return {int(k): Rows(**v) for k, v in json.loads(kept.read_text()).items()}


def _told(name: str, began: float) -> Any:
    def tell(done: int, total: int, values: Mapping[str, float]) -> None:
        if done % 200 == 0:
            print(f"{name}: {done}/{total}, loss {values['loss']:.3f}, {time.perf_counter() - began:.0f} s", flush=True)

    return tell


def mine(args: argparse.Namespace, runs: Sequence[Any]) -> list[Any]:
    """The runs of this process."""
    number, count = args.jobs
    return list(runs)[number - 1 :: count]


# ------------------------------------------------------------------------------------------------------------ people


def people(args: argparse.Namespace) -> None:
    """Leave one scene out, 8 steps to 12: five scenes, three seeds."""
    base = PRESETS["people"]
    runs = [(f"people-{scene}-{seed}", scene, seed) for seed in args.seeds for scene in eth_ucy.SCENES]
    for name, scene, seed in mine(args, runs):
        config = replace(base, fold=eth_ucy.SCENES.index(scene), train=replace(base.train, seed=seed))
        scored(name, config, args)
    if args.jobs[1] > 1:
        return
    values: dict[str, Metric] = {}
    tables = []
    for title, least in (("all walkers", 1), ("windows of two and more", 2)):
        means: dict[str, list[float]] = {key: [] for key in PEOPLE}
        lines = []
        every = Rows()
        for scene in eth_ucy.SCENES:
            line = [scene]
            for key in PEOPLE:
                per_seed = []
                for seed in args.seeds:
                    (rows,) = scored(f"people-{scene}-{seed}", base, args).values()
                    keep = np.array(rows.values["in the window"]) >= least
                    per_seed.append(float(np.array(rows.values[key])[keep].mean()))
                label = f"{scene} {key} {title}"
                values[label] = Metric(float(np.mean(per_seed)), min(per_seed), max(per_seed), int(keep.sum()))
                means[key].append(float(np.mean(per_seed)))
                line.append(cell(label, bounds=False))
            lines.append(line)
            seeds = [scored(f"people-{scene}-{seed}", base, args)[base.future_steps] for seed in args.seeds]
            keep = np.flatnonzero(np.array(seeds[0].values["in the window"]) >= least)
            for key in seeds[0].values:
                mean = np.mean([np.array(rows.values[key])[keep] for rows in seeds], 0)
                every.values.setdefault(key, []).extend(mean.tolist())
            every.groups += [scene] * len(keep)
            places = np.array(seeds[0].values["last step"])[keep].astype(int) // BLOCK
            every.recordings += [f"{seeds[0].recordings[i]} {p}" for i, p in zip(keep, places, strict=True)]
        line = ["mean"]
        for key, unit in PEOPLE.items():
            label = f"mean {key} {title}"
            baselines = {one: f"{key} {end}" for one, end in (("constant velocity", "cv"), ("fan", "fan"))}
            there = {one: name for one, name in baselines.items() if name in every.values}
            values[label] = every.metric(key, unit, there)
            line.append(cell(label))
        tables.append(Table(["", *PEOPLE], [*lines, line], f"{title}, mean of {len(args.seeds)} seeds"))
        print(title, {key: round(values[f"mean {key} {title}"].value, 3) for key in PEOPLE})
    record("forecast", "people", values, tables=tables)


# -------------------------------------------------------------------------------------------------------------- cars


def cars(args: argparse.Namespace) -> None:
    """All recordings with lane maps, split by recording: three folds, three seeds, with lanes and without."""
    base = PRESETS["small"]
    runs = [(lanes, seed, fold) for seed in args.seeds for fold in range(samples.FOLDS) for lanes in (True, False)]
    for lanes, seed, fold in mine(args, runs):
        config = replace(base, fold=fold, lanes=lanes, train=replace(base.train, seed=seed))
        scored(_car(lanes, fold, seed), config, args)
    if args.jobs[1] > 1:
        return
    values: dict[str, Metric] = {}
    tables = []
    for future in (30, 60):
        pooled = {lanes: _pooled(args, base, lanes, future) for lanes in (True, False)}
        lines = []
        for lanes, rows in pooled.items():
            title = f"{future * base.step_s:g} s {'with lanes' if lanes else 'without lanes'}"
            for key, unit in CARS.items():
                names = {one: f"{key} {end}" for one, end in (("constant velocity", "cv"), ("fan", "fan"))}
                there = {one: name for one, name in names.items() if name in rows.values}
                values[f"{title} {key}"] = rows.metric(key, unit, there)
            for group in dict.fromkeys(rows.groups):
                for key in CARS:
                    values[f"{title} {group} {key}"] = Metric(rows.by_group(key)[group], n=rows.groups.count(group))
            lines.append([title, *(cell(f"{title} {key}", ".2f") for key in CARS)])
            print(title, {key: round(rows.mean(key), 3) for key in CARS}, rows.by_group("minFDE"))
        one, other = pooled[True], pooled[False]
        line = ["lanes less no lanes"]
        for key in CARS:
            difference = np.array(one.values[key]) - np.array(other.values[key])
            low, high = grouped_interval(difference.tolist(), one.groups, one.recordings)
            label = f"{future * base.step_s:g} s lanes less no lanes {key}"
            values[label] = Metric(one.mean(key) - other.mean(key), low, high, len(difference))
            line.append(cell(label, "+.2f"))
        lines.append(line)
        tables.append(Table(["", *CARS], lines, f"{future * base.step_s:g} s, mean of {len(args.seeds)} seeds"))
        logs = np.array(one.groups) == "argoverse2"
        if future == 60 and logs.any():
            _logs(one, logs, values, tables)
    seconds = [float(path.read_text()) for path in args.out.glob("cars-*/done")]
    values["seconds of a training"] = Metric(float(np.mean(seconds)), n=len(seconds), unit="s")
    record("forecast", "cars", values, tables=tables)


def _logs(rows: Rows, chosen: np.ndarray, values: dict[str, Metric], tables: list[Table]) -> None:
    """The 6 s windows of held-out Argoverse 2 logs beside fans."""
    lines = []
    keys = ("minADE", "minFDE", "miss rate", "brier-minFDE")
    for end, name in (("", "ours"), (" fan", "fan"), (" cv", "constant velocity")):
        line = [name]
        for key in keys:
            part = np.array(rows.values[key + end])[chosen]
            label = f"argoverse 2 logs {name} {key}"
            low, high = grouped_interval(part.tolist(), ["a"] * len(part), np.array(rows.recordings)[chosen].tolist())
            values[label] = Metric(float(part.mean()), low, high, len(part))
            line.append(cell(label, ".2f"))
        lines.append(line)
    tables.append(Table(["", *keys], lines, "5 s to 6 s, moving vehicles of held-out Argoverse 2 logs"))


def _car(lanes: bool, fold: int, seed: int) -> str:
    return f"cars-{'lanes' if lanes else 'none'}-{fold}-{seed}"


def _pooled(args: argparse.Namespace, base: Config, lanes: bool, future: int) -> Rows:
    """Every recording by the networks that did not see it: the mean over seeds of each agent's numbers."""
    every = Rows()
    for fold in range(samples.FOLDS):
        seeds = [scored(_car(lanes, fold, seed), base, args) for seed in args.seeds]
        rows = [one[future] for one in seeds if future in one]
        if rows:
            mean = {key: np.mean([one.values[key] for one in rows], 0).tolist() for key in rows[0].values}
            every.groups += rows[0].groups
            every.recordings += rows[0].recordings
            for key, value in mean.items():
                every.values.setdefault(key, []).extend(value)
    return every


# ------------------------------------------------------------------------------------------------------ ship, speed


def ship(args: argparse.Namespace) -> None:
    """Networks trained on every recording, none held out: those that ship. `people` and `cars` say what they reach."""
    for preset in ("small", "people"):
        if preset in args.presets:
            trained(f"ship-{preset}", replace(PRESETS[preset], fold=-1), args)
            print(f"percepta.checkpoint.ship(Path('{args.out}/ship-{preset}/model.safetensors'), 'forecast-{preset}')")


def speed(args: argparse.Namespace) -> None:
    """Milliseconds of a session's step with 50 agents and a map, two threads."""
    from percepta.worlds.street.layout import street

    torch.set_num_threads(2)
    ground = street(0).map
    system = percepta.load(args.weights or "forecast", system="forecast", device="cpu")
    session = system.session(ground)
    rng = np.random.default_rng(0)
    where, way = rng.uniform(-60, 60, (50, 2)), rng.normal(0, 0.5, (50, 2))
    times = []
    for step in range(60):
        positions = {str(i): (where[i] + step * way[i]).tolist() for i in range(50)}
        began = time.perf_counter()
        session.step(positions, step * system.config.step_s)
        times.append(1000 * (time.perf_counter() - began))
    values = {"ms a step, 50 agents": Metric(float(np.median(times[20:])), n=len(times) - 20, unit="ms")}
    print(values)
    record("forecast", "speed", values, model=system.model)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=["levels", "people", "cars", "ship", "speed"], required=True)
    parser.add_argument("--data", type=Path, default=None)
    parser.add_argument("--out", type=Path, default=Path("runs/forecast"))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--jobs", type=int, nargs=2, default=(1, 1), metavar=("I", "N"))
    parser.add_argument("--presets", nargs="+", default=["small", "people"])
    parser.add_argument("--weights", type=Path, default=None)
    args = parser.parse_args()
    {"levels": levels, "people": people, "cars": cars, "ship": ship, "speed": speed}[args.part](args)


if __name__ == "__main__":
    main()
