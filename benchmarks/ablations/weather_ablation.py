"""What each part of the adaptation gives: arms × seeds at equal steps, with parts switched off or on.

    python benchmarks/ablations/weather_ablation.py --out runs/ablation [--share 1/2] [--steps 120] [--only ARM ...]
    python benchmarks/ablations/weather_ablation.py --out runs/camvid --data DATA/camvid --steps 300

Without --data on rendered streets at night (preset tiny), judged on the split test. With it, preset small on CamVid,
adapted on 0001TP_006690 to 007890 and judged on the split val (51 day pictures inside a training drive and the first
41 at dusk), never on the last 21. Every run is a folder under --out with its numbers in result.json; those that are
done are passed over, one that was stopped goes on. Whoever comes last, or a call with --only-sum, writes table.md and
table.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import run_table
import torch
from run_table import Job

import percepta
from percepta.systems.weather import PRESETS, Config
from percepta.train import train

ALL = "all parts"
# Settings that differ from the preset; a dictionary changes the adaptation.
ARMS: dict[str, dict[str, Any]] = {
    ALL: {},
    "labelled pictures alone": {"adaptation": {"self_training": False}, "light": 0.0, "weather": 0.0},
    "light and weather alone": {"adaptation": {"self_training": False}, "light": 0.6, "weather": 0.15},
    "without light and weather": {"light": 0.0, "weather": 0.0},
    "without class mix": {"adaptation": {"class_mix": False}},
    "without strong changes": {"adaptation": {"jitter": 0.0}},
    "without rare class sampling": {"adaptation": {"rare_class_temperature": 0.0}},
    "with rare class sampling": {"adaptation": {"rare_class_temperature": 0.01, "rare_class_pixels": 50}},
    "with feature distance": {"adaptation": {"feature_distance": 0.005}},
    "each pixel weighs by itself": {"adaptation": {"pixel_weights": True}},
    "threshold as published": {"adaptation": {"pseudo_threshold": 0.968}},
    "with reference pictures": {"adaptation": {"reference_weight": 0.7}},
    "without exposure": {"exposure": 0.0},
}
PAIRS = (*((ALL, arm) for arm in ARMS if arm != ALL), ("light and weather alone", "labelled pictures alone"))


def settings(job: Job, args: argparse.Namespace) -> Config:
    """The preset with the arm's change and the table's budget."""
    base = replace(PRESETS["small"], target_last="0001TP_007890") if args.data else PRESETS["tiny"]
    steps = args.steps or (300 if args.data else base.train.steps)
    told = replace(base.train, steps=steps, seed=job.seed, checkpoint_every=max(1, steps // 4))
    what = ARMS[job.arm]
    plain = {name: value for name, value in what.items() if name != "adaptation"}
    return replace(base, train=told, adaptation=replace(base.adaptation, **what.get("adaptation", {})), **plain)


def run(job: Job, args: argparse.Namespace) -> None:
    """Trains, measures, writes result.json; nothing where that is there.

    Raises:
        ValueError: the run was made with other settings.
    """
    folder, config = args.out / job.name, settings(job, args)
    if run_table.is_done(folder, config):
        return
    path = train("weather", config, root=args.data, out=folder, device=args.device)
    system = percepta.load(path, system="weather", device=args.device)
    found = system.evaluate(args.data, split="val" if args.data else "test").metrics
    values = {name.removeprefix("miou/"): one.value for name, one in found.items() if name.startswith("miou/")}
    run_table.finish(folder, job, config, values)
    print(f"{job.name}: " + " ".join(f"{name} {value:.3f}" for name, value in values.items()), flush=True)


def main(words: Sequence[str] | None = None) -> None:
    parser = run_table.parser(__doc__, "the folder of CamVid; left out: rendered streets")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--only", nargs="+", choices=tuple(ARMS), default=tuple(ARMS), metavar="ARM")
    args = run_table.parse(parser, words)
    if args.out is None:
        print("on rendered streets the table takes some minutes: give --out, see --help")
        return
    run_table.restore(args.out, args.known, lambda job: Job(**job).name)
    torch.set_num_threads(1)
    # CamVid has no reference pictures in fair weather; an arm that changes nothing of a preset is passed over.
    left_out = {arm for arm in ARMS if arm != ALL and settings(Job(arm, 0), args) == settings(Job(ALL, 0), args)}
    left_out |= {"with reference pictures"} if args.data else {"with rare class sampling"}  # rendered: none is rare
    arms = [arm for arm in args.only if arm not in left_out]
    if not args.only_sum:
        for job in [Job(arm, seed) for seed in args.seeds for arm in arms][args.part :: args.parts]:
            run(job, args)
    numbers = {name: f"mIoU {name}" for name in ("day", "dusk" if args.data else "night")}
    print(run_table.sum_up_arms(args.out, numbers, PAIRS, list(ARMS), "weather", args.record))


if __name__ == "__main__":
    main()
