"""Numbers of motion forecasting on real recordings. Each part can be run alone and goes on where it was stopped.

    python benchmarks/forecast.py --data DATA --part levels     what needs no learning
    python benchmarks/forecast.py --data DATA --part people     five scenes left out, a network for each and each seed
    python benchmarks/forecast.py --data DATA --part cars       three folds, with lanes and without, for each seed
    python benchmarks/forecast.py --data DATA --part ship       trained on everything, for the weights that ship
    python benchmarks/forecast.py --part speed                  a session of 50 agents
    python benchmarks/forecast.py --data DATA --part train --runs people-eth-0 cars-lanes-2-1 ship-small    only these

DATA is the folder with the recordings (`forecast`). Runs are kept in --out; `--jobs I N` trains only every N-th run, so
that N processes share the work; run the part again without it to gather the table. Nothing is chosen by what is
reported: settings are those of the presets.
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
    "joint minADE": "m", "joint minFDE": "m", "collisions": "", "off the road": "",
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


def config_of(name: str) -> Config:
    """The settings of a run: people-SCENE-SEED, cars-lanes-FOLD-SEED, cars-none-FOLD-SEED, ship-PRESET."""
    kind, what, *rest = name.split("-")
    if kind == "ship":
        return replace(PRESETS[what], fold=-1)
    base = PRESETS["people" if kind == "people" else "small"]
    base = replace(base, train=replace(base.train, seed=int(rest[-1])))
    if kind == "people":
        return replace(base, fold=eth_ucy.SCENES.index(what))
    return replace(base, fold=int(rest[0]), lanes=what == "lanes")


def trained(name: str, args: argparse.Namespace) -> Any:
    """The system of a run, which is trained where that was not done."""
    out = args.out / name
    if name.startswith("published-"):
        file = args.published / name.removeprefix("published-") / "val_best.pth"
        return percepta.load("forecast", preset="social-stgcnn", weights=file, device="cpu")
    if not (out / "done").is_file():
        print(f"{name}: training", flush=True)
        tell = _told(name, out / "seconds")
        training.train("forecast", config_of(name), root=args.data, out=out, device="cpu", progress=tell)
        write_atomically(out / "done", "")
    return percepta.load(out, system="forecast", device="cpu")


def scored(name: str, args: argparse.Namespace) -> dict[int, Rows]:
    """The numbers of every held-out agent of a run, kept beside it."""
    kept = args.out / name / "rows.json"
    if not kept.is_file():
        system, config = trained(name, args), None
        if name.startswith("published-"):
            config = replace(system.config, fold=eth_ucy.SCENES.index(name.removeprefix("published-")))
        test = samples.data(config or system.config, "test", args.data)
        assert test is not None
        with torch.inference_mode():
            found = collect(system.model, batches(test, 16))
        content = {
            str(k): {"groups": v.groups, "recordings": v.recordings, "values": v.values} for k, v in found.rows.items()
        }
        write_atomically(kept, json.dumps(content))
    return {int(k): Rows(**v) for k, v in json.loads(kept.read_text()).items()}


def _told(name: str, seconds: Path) -> Any:
    """Says how far a training is, and keeps how long it took, in seconds of one core."""
    before, began = float(seconds.read_text()) if seconds.is_file() else 0.0, time.process_time()

    def tell(done: int, total: int, values: Mapping[str, float]) -> None:
        if done % 100 == 0 or done == total:
            took = before + time.process_time() - began
            write_atomically(seconds, f"{took:.0f}")
            print(f"{name}: {done}/{total}, loss {values['loss']:.3f}, {took:.0f} s of a core", flush=True)

    return tell


def mine(args: argparse.Namespace, runs: Sequence[Any]) -> list[Any]:
    """The runs of this process."""
    number, count = args.jobs
    return list(runs)[number - 1 :: count]


# ------------------------------------------------------------------------------------------------------------ people


def people(args: argparse.Namespace) -> None:
    """Leave one scene out, 8 steps to 12: five scenes, three seeds; beside them the published Social-STGCNN."""
    names = [f"people-{scene}-{seed}" for seed in args.seeds for scene in eth_ucy.SCENES]
    names += [f"published-{scene}" for scene in eth_ucy.SCENES if args.published is not None]
    for name in () if args.finished else mine(args, names):
        scored(name, args)
    if args.jobs[1] > 1:
        return
    values: dict[str, Metric] = {}
    tables = []
    for title, least in (("all walkers", 1), ("windows of two and more", 2)):
        lines = []
        for who, ends in (("small", [f"-{seed}" for seed in args.seeds]), ("Social-STGCNN", [""])):
            kind = "people" if who == "small" else "published"
            lines += _scenes(
                args, who, title, least, {s: [f"{kind}-{s}{e}" for e in ends] for s in eth_ucy.SCENES}, values
            )
        caption = f"ETH/UCY, {title}; each scene by networks that were trained without it, all of them that are done."
        tables.append(Table(["", "networks", *PEOPLE], lines, caption))
    if args.published is not None:
        tables.append(_official(args, values))
    record("forecast", "people", values, tables=tables)


# Lowest ADE and minFDE of the published weights by the official test, best of 20, where it was run.
OFFICIAL = {"eth": (0.724, 1.213), "hotel": (0.408, 0.676), "zara2": (0.304, 0.483)}


def _official(args: argparse.Namespace, values: dict[str, Metric]) -> Table:
    """Social-STGCNN on the windows of its own loader: only walkers seen at all 20 steps are there, two or more.

    That looks into the future (who will leave is not in the graph), so it is no row of the other tables.

    Args:
        args: of the command.
        values: to be added to.
    """
    lines = []
    for scene in eth_ucy.SCENES:
        system = trained(f"published-{scene}", args)
        test = samples.data(replace(system.config, fold=eth_ucy.SCENES.index(scene)), "test", args.data)
        assert test is not None
        ades, fdes = [], []
        for place, last, number in test.index:
            moment = test.part(place).tracks.moment(last, *system.config.windows[number])
            whole = moment.complete
            if whole.sum() < 2:
                continue
            past = torch.from_numpy(moment.past[whole]).float()
            with torch.inference_mode():
                way = past[:, None, -1:] + system.model.samples(past)[:, 1:]
            score = fc.score(way.double().numpy(), moment.truth[whole], np.ones(way.shape[:2]) / way.shape[1])
            ades += score.lowest_ade.tolist()
            fdes += score.min_fde.tolist()
        known = OFFICIAL.get(scene, (float("nan"), float("nan")))
        line = [scene, str(len(ades))]
        for key, found, official in (("lowest ADE", ades, known[0]), ("minFDE", fdes, known[1])):
            label = f"Social-STGCNN {scene} {key} official windows"
            values[label] = Metric(float(np.mean(found)), n=len(found), unit="m", baselines={"official": official})
            line += [cell(label, bounds=False), f"{official:.3f}" if official == official else ""]
        lines.append(line)
        print(line)
    columns = ["Social-STGCNN", "walkers", "lowest ADE", "official test", "minFDE", "official test"]
    return Table(columns, lines, "Its published weights on the windows of its own loader, beside its official test.")


def _scenes(
    args: argparse.Namespace, who: str, title: str, least: int, runs: Mapping[str, list[str]], values: dict[str, Metric]
) -> list[list[str]]:
    """Adds the numbers of every scene and their mean; returns the lines of a table.

    Args:
        args: of the command.
        who: of the network, for names.
        title: which windows.
        least: walkers of a window that counts.
        runs: of each scene.
        values: to be added to.
    """
    lines, every, done = [], Rows(), 0
    for scene, names in runs.items():
        seeds = [scored(name, args)[PRESETS["people"].future_steps] for name in names if _is_done(name, args)]
        if not seeds:
            continue
        done += 1
        keep = np.flatnonzero(np.array(seeds[0].values["in the window"]) >= least)
        for key in seeds[0].values:
            mean = np.mean([np.array(rows.values[key])[keep] for rows in seeds], 0)
            every.values.setdefault(key, []).extend(mean.tolist())
        every.groups += [scene] * len(keep)
        places = np.array(seeds[0].values["last step"])[keep].astype(int) // BLOCK
        every.recordings += [f"{seeds[0].recordings[i]} {p}" for i, p in zip(keep, places, strict=True)]
        for key, unit in PEOPLE.items():
            each = [float(np.array(rows.values[key])[keep].mean()) for rows in seeds]
            label = f"{who} {scene} {key} {title}"
            values[label] = Metric(float(np.mean(each)), min(each), max(each), len(keep), unit)
        cells = [cell(f"{who} {scene} {key} {title}", bounds=False) for key in PEOPLE]
        lines.append([f"{who}, {scene}", str(len(seeds)), *cells])
    if not done:
        return []
    mean = "mean" if done == len(runs) else f"mean of {done}"
    for other, end in ((who, ""), ("constant velocity", " cv"), ("fan", " fan")):
        if other != who and who != "small":
            continue
        line = [f"{other}, {mean}", ""]
        for key, unit in PEOPLE.items():
            label = f"{other} {mean} {key} {title}"
            if f"{key}{end}" in every.values:
                values[label] = every.metric(f"{key}{end}", unit, {})
                line.append(cell(label))
            else:
                line.append("")
        lines.append(line)
    print(title, who, done, {key: round(every.mean(key), 3) for key in PEOPLE})
    return lines


def _is_done(name: str, args: argparse.Namespace) -> bool:
    return not args.finished or (args.out / name / "rows.json").is_file()


# -------------------------------------------------------------------------------------------------------------- cars


def cars(args: argparse.Namespace) -> None:
    """All recordings with lane maps, split by recording: three folds, three seeds, with lanes and without."""
    base = PRESETS["small"]
    runs = [(lanes, fold, seed) for seed in args.seeds for fold in range(samples.FOLDS) for lanes in (True, False)]
    for run in () if args.finished else mine(args, runs):
        scored(_car(*run), args)
    if args.jobs[1] > 1:
        return
    done = [run for run in runs if _is_done(_car(*run), args)]
    lanes = {(fold, seed) for with_lanes, fold, seed in done if with_lanes}
    none = {(fold, seed) for with_lanes, fold, seed in done if not with_lanes}
    folds = sorted({fold for fold, _ in lanes})
    values: dict[str, Metric] = {}
    tables = []
    for future in (30, 60):
        time_s = f"{future * base.step_s:g} s"
        rows = _pooled(args, True, lanes, future)
        lines = []
        for who, end in (("with lanes", ""), ("fan", " fan"), ("constant velocity", " cv")):
            _line(f"{time_s} {who}", rows, end, values, lines, {"": str(len(lanes))}.get(end, ""))
        for group in dict.fromkeys(rows.groups):
            line = [f"with lanes, {group}", ""]
            for key in CARS:
                label, known = f"{time_s} with lanes {group} {key}", rows.by_group(key)
                if group in known:
                    values[label] = Metric(known[group], n=rows.groups.count(group))
                line.append(cell(label, ".2f", bounds=False) if group in known else "")
            lines.append(line)
        if both := lanes & none:  # equal folds, seeds and steps
            one, other = (_pooled(args, with_lanes, both, future) for with_lanes in (True, False))
            _line(f"{time_s} without lanes", other, "", values, lines, str(len(both)))
            line = ["with lanes less without", str(len(both))]
            for key in CARS:
                label = f"{time_s} lanes less no lanes {key}"
                difference = (np.array(one.values[key]) - np.array(other.values[key])).tolist()
                values[label] = Rows(one.groups, one.recordings, {**one.values, label: difference}).metric(
                    label, "", {}
                )
                line.append(cell(label, "+.2f"))
            lines.append(line)
        caption = (
            f"{time_s} ahead, moving vehicles, means over {', '.join(dict.fromkeys(rows.groups))}; held out: "
            f"{len(folds)} of {samples.FOLDS} thirds of the recordings."
        )
        tables.append(Table(["", "networks", *CARS], lines, caption))
        logs = np.array(rows.groups) == "argoverse2"
        if future == 60 and logs.any():
            _logs(rows, logs, values, tables)
    seconds = [float(path.read_text()) for path in args.out.glob("*/seconds")]
    values["seconds of a core for a training"] = Metric(float(np.mean(seconds)), n=len(seconds), unit="s")
    record("forecast", "cars", values, tables=tables)


def _line(name: str, rows: Rows, end: str, values: dict[str, Metric], lines: list[list[str]], networks: str) -> None:
    """Adds a line of a table and its values.

    Args:
        name: of the line.
        rows: of the agents.
        end: of the names of the values: "" ours, " fan", " cv".
        values, lines: to be added to.
        networks: how many were trained.
    """
    line = [name, networks]
    for key, unit in CARS.items():
        known = np.isfinite(rows.values.get(f"{key}{end}", [np.nan])).any()
        if known:
            values[f"{name} {key}"] = rows.metric(f"{key}{end}", unit, {})
        line.append(cell(f"{name} {key}", ".2f", bounds=key == "minFDE") if known else "")
    lines.append(line)


def _logs(rows: Rows, chosen: np.ndarray, values: dict[str, Metric], tables: list[Table]) -> None:
    """The 6 s windows of held-out Argoverse 2 logs beside fans."""
    lines = []
    keys = ("minADE", "minFDE", "miss rate", "brier-minFDE")
    for end, name in (("", "ours"), (" fan", "fan"), (" cv", "constant velocity")):
        line = [name]
        for key in keys:
            part = np.array(rows.values[key + end])[chosen]
            label = f"argoverse 2 logs {name} {key}"
            units = np.array(rows.units())[chosen].tolist()
            some = len(set(units)) > 1  # of a single stretch there is no interval
            low, high = grouped_interval(part.tolist(), ["a"] * len(part), units) if some else (None, None)
            values[label] = Metric(float(part.mean()), low, high, len(part))
            line.append(cell(label, ".2f", bounds=some))
        lines.append(line)
    count = f"{int(chosen.sum())} windows of vehicles"
    tables.append(Table(["", *keys], lines, f"5 s to 6 s, moving vehicles of held-out Argoverse 2 logs, {count}"))


def _car(lanes: bool, fold: int, seed: int) -> str:
    return f"cars-{'lanes' if lanes else 'none'}-{fold}-{seed}"


def _pooled(args: argparse.Namespace, lanes: bool, runs: set[tuple[int, int]], future: int) -> Rows:
    """Every recording by the networks that did not see it: the mean over seeds of each agent's numbers.

    Args:
        args: of the command.
        lanes: whether the networks saw them.
        runs: (fold, seed) of each network.
        future: steps.
    """
    every = Rows()
    for fold in sorted({fold for fold, _ in runs}):
        seeds = [scored(_car(lanes, fold, seed), args) for own, seed in sorted(runs) if own == fold]
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
            trained(f"ship-{preset}", args)
            print(f"percepta.checkpoint.ship(Path('{args.out}/ship-{preset}/model.safetensors'), 'forecast-{preset}')")


def train(args: argparse.Namespace) -> None:
    """Trains the runs that are named, in their order, and scores those that hold something out."""
    for name in args.runs:
        if name.startswith("ship-"):
            trained(name, args)
        else:
            scored(name, args)


def speed(args: argparse.Namespace) -> None:
    """Milliseconds of one core for a session's step with 50 agents and a map: time of the process, not of the wall."""
    from percepta.worlds.street.layout import street

    torch.set_num_threads(1)
    ground = street(0).map
    system = percepta.load(args.weights or "forecast", system="forecast", device="cpu")
    session = system.session(ground)
    rng = np.random.default_rng(0)
    where, way = rng.uniform(-60, 60, (50, 2)), rng.normal(0, 0.5, (50, 2))
    times = []
    for step in range(60):
        positions = {str(i): (where[i] + step * way[i]).tolist() for i in range(50)}
        began = time.process_time()
        session.step(positions, step * system.config.step_s)
        times.append(1000 * (time.process_time() - began))
    values = {"ms of a core a step, 50 agents": Metric(float(np.median(times[20:])), n=len(times) - 20, unit="ms")}
    print(values)
    record("forecast", "speed", values, model=system.model)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=["levels", "people", "cars", "ship", "train", "speed"], required=True)
    parser.add_argument("--data", type=Path, default=None)
    parser.add_argument("--out", type=Path, default=Path("runs/forecast"))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--jobs", type=int, nargs=2, default=(1, 1), metavar=("I", "N"))
    parser.add_argument("--presets", nargs="+", default=["small", "people"])
    parser.add_argument("--runs", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--finished", action="store_true", help="gather the runs that are done, train none")
    parser.add_argument("--published", type=Path, default=None, help="folder of Social-STGCNN's published checkpoints")
    parser.add_argument("--weights", type=Path, default=None)
    args = parser.parse_args()
    parts = {"levels": levels, "people": people, "cars": cars, "ship": ship, "train": train, "speed": speed}
    parts[args.part](args)


if __name__ == "__main__":
    main()
