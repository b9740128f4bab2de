"""What the cards of `spotting` and `replay` show beside their evaluations.

    python benchmarks/spotting.py world SOCCER [--record]      rendered games beside labelled ones: events, replays
    python benchmarks/spotting.py official SOCCER [--record]   SoccerNet's baseline as its evaluator counts it
    python benchmarks/spotting.py frame RUN GAMES [--record]   the floor: a network that sees every frame alone
    python benchmarks/spotting.py past RUN GAMES [--record]    the floor of `replay`: one that does not see the replay
    python benchmarks/spotting.py speed [--weights spotting] [--replay replay] [--seconds 60] [--record]

SOCCER is a folder with labels-v2.jsonl.gz, replay_labels_challenge.zip and official-NETVLAD_v2-test.zip. `speed`
renders a piece of a game at 25 frames a second and 398 x 224 pixels, and says how long a half of 45 minutes takes; run
it on an idle machine. Goal on 2 cores: at most 5 minutes.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import cell, record

import percepta
from percepta.datasets import soccer, soccer_results
from percepta.media import video
from percepta.metrics import Metric
from percepta.metrics.spotting import TOLERANCES_S, average_map
from percepta.report import Table
from percepta.worlds.pitch import recording
from percepta.worlds.pitch.drawing import draw

GAMES = {"train": 14, "val": 2, "test": 5}  # as `percepta spotting world` renders them
HALF_S, FPS = 2700.0, 25
SHARES = (10, 50, 90)  # percentiles of the length of a replay


def world(args: argparse.Namespace) -> None:
    """Events a half, how many are shown, and replays, of the games that are rendered and of those that are labelled."""
    games = soccer.read(args.root / "labels-v2.jsonl.gz")
    halves = [half for split, count in GAMES.items() for k in range(count)
              for half in recording.halves(recording.FIRST[split] + k)]  # fmt: skip
    ours: Counter[str] = Counter(event.label for half in halves for event in half.match.events)
    shown: Counter[str] = Counter(e.label for half in halves for e, s in zip(half.match.events, half.shown, strict=True)
                                  if s)  # fmt: skip
    real: Counter[str] = Counter(a.label for game in games for a in game.actions)
    real_shown: Counter[str] = Counter(a.label for game in games for a in game.actions if a.shown)
    values: dict[str, float] = {}
    rows = []
    for label in sorted(soccer.CLASSES, key=lambda label: -real[label]):
        row = {f"{label}, a half": ours[label] / len(halves),
               f"{label}, a half, labels": real[label] / (2 * len(games)),
               f"{label}, shown": shown[label] / max(1, ours[label]),
               f"{label}, shown, labels": real_shown[label] / max(1, real[label])}  # fmt: skip
        values |= row
        rows.append([label, *(_plain(key, ".2f") for key in row)])
    lengths = [[s.end_s - s.start_s for half in halves for s in half.replays], _replays(args.root)[0]]
    counts = [len(lengths[0]) / len(halves), len(lengths[1]) / _replays(args.root)[1]]
    for name, i in (("rendered", 0), ("labels", 1)):
        values[f"replays a half, {name}"] = counts[i]
        for share in SHARES:
            values[f"length of a replay, percentile {share}, {name}"] = float(np.percentile(lengths[i], share))
    rows.append(["replay shots", _plain("replays a half, rendered"), _plain("replays a half, labels"), "", ""])
    for share in SHARES:
        name = f"length of a replay, percentile {share}"
        rows.append([f"{name} (s)", _plain(f"{name}, rendered"), _plain(f"{name}, labels"), "", ""])
    columns = ["", "rendered, a half", "labels, a half", "rendered, share shown", "labels, share shown"]
    for key, value in values.items():
        print(f"{key:45} {value:.2f}")
    if args.record:
        record("spotting", "world", values, tables=[Table(columns, rows)])


def _plain(key: str, form: str = ".1f") -> str:
    return cell(key, form, bounds=False)


def _replays(root: Path) -> tuple[list[float], int]:
    """Lengths (s) of the labelled replays, and how many halves they are from."""
    lengths, halves = [], 0
    with zipfile.ZipFile(root / "replay_labels_challenge.zip") as archive:
        for name in archive.namelist():
            if name.endswith(soccer.REPLAY_LABELS):
                content = json.load(io.TextIOWrapper(archive.open(name), encoding="utf-8"))
                lengths += [s.end_s - s.start_s for s in soccer.parse_replays(content, Path(name))]
                halves += 2
    return lengths, halves


def official(args: argparse.Namespace) -> None:
    """SoccerNet's own baseline predictions, scored."""
    began = time.perf_counter()
    found = soccer_results.read(args.root / "official-NETVLAD_v2-test.zip")
    games = [game for game in soccer.read(args.root / "labels-v2.jsonl.gz") if game.name in found]
    actions, said = soccer_results.paired(games, found, soccer.CLASSES)
    values: dict[str, Metric | float] = {}
    for name, tolerances in TOLERANCES_S.items():
        result = average_map(actions, said, classes=len(soccer.CLASSES), tolerances_s=tolerances)
        values |= {f"average-mAP {name}": Metric(result.value, n=len(games)),
                   f"average-mAP {name}, visible": Metric(result.visible, n=len(games)),
                   f"average-mAP {name}, not shown": Metric(result.unshown, n=len(games))}  # fmt: skip
    values["seconds"] = time.perf_counter() - began
    for key, value in values.items():
        print(f"{key:30} {value.value if isinstance(value, Metric) else value:.4f}")
    if args.record:
        record("spotting", "official", values)


def frame(args: argparse.Namespace) -> None:
    """The network without any view of time, on the games of the test."""
    system = percepta.load(args.run, system="spotting")
    if system.config.dilations:
        raise percepta.InputError(f"{args.run}: the floor is the preset frame, which has no dilations")
    floor(system, "frame", args)


def past(args: argparse.Namespace) -> None:
    """The network that does not look at the replay, on the games of the test."""
    system = percepta.load(args.run, system="replay")
    if system.config.uses_replay:
        raise percepta.InputError(f"{args.run}: the floor is the preset past, which does not use the replay")
    floor(system, "past", args)


def floor(system: Any, name: str, args: argparse.Namespace) -> None:
    """Prints the numbers of a simpler network on the games of the test, and records them where that is asked for."""
    found = system.evaluate(args.games, split="test")
    for key, metric in found.metrics.items():
        print(f"{key:30} {metric.value:.4f}")
    if args.record:
        record(system.name, name, found.metrics)


def speed(args: argparse.Namespace) -> None:
    """A half of 45 minutes from an mp4, by a piece of it."""
    half = recording.halves(recording.FIRST["test"] + 901, args.seconds + 1)[0]
    with tempfile.TemporaryDirectory() as folder:
        frames = (draw(half, i / FPS, 224, 398) for i in range(int(args.seconds * FPS)))
        path = video.write(Path(folder) / "half.mp4", frames, FPS)
        took = {}
        for name, weights in (("spotting", args.weights), ("replay", args.replay)):
            system = percepta.load(weights, system=name)
            for again in ("", " with kept features"):
                began = time.perf_counter()
                system.predict(path, cache=Path(folder) / name)
                took[name + again] = time.perf_counter() - began
    whole = {f"minutes for a half, {key}": value / args.seconds * HALF_S / 60 for key, value in took.items()}
    print(f"threads {torch.get_num_threads()}")
    for key, value in whole.items():
        print(f"{key:50} {value:.2f} (goal: at most 5)")
    if args.record:
        values = {key: Metric(value, n=int(args.seconds), unit="minutes") for key, value in whole.items()}
        record("spotting", "speed", values, model=percepta.load(args.weights, system="spotting").model)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true")
    verbs = parser.add_subparsers(required=True)
    for run, names in (
        (world, ["root"]),
        (official, ["root"]),
        (frame, ["run", "games"]),
        (past, ["run", "games"]),
        (speed, []),
    ):
        verb = verbs.add_parser(run.__name__)
        verb.set_defaults(verb=run)
        for name in names:
            verb.add_argument(name, type=Path)
        verb.add_argument("--record", action="store_true", default=argparse.SUPPRESS)
        if run is speed:
            verb.add_argument("--weights", default="spotting", help="a system's name or a checkpoint")
            verb.add_argument("--replay", default="replay", help="a system's name or a checkpoint")
            verb.add_argument("--seconds", type=float, default=60.0)
    args = parser.parse_args()
    args.verb(args)


if __name__ == "__main__":
    main()
