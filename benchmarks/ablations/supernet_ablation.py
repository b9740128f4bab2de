"""Strategies of supernet training side by side: arms × seeds at equal CPU time, from one command that can be stopped.

    python benchmarks/ablations/supernet_ablation.py --data DATA --out runs/ablation [--share 1/2] [--minutes 15]

DATA holds cifar10 and nas (NAS-Bench-Macro's table). How many steps an arm gets follows from its CPU seconds a step,
measured once and kept in timing-<arm>.json. Every run is a folder under --out with its correlations in result.json;
those that are done are passed over, one that was stopped goes on. With --share i/n each of n processes takes its part.
Whoever comes last, or a call with --only-sum, writes table.md and table.json. Without --out nothing is done.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import run_table
import torch
from run_table import Job

import percepta
from percepta.contract import Step
from percepta.datasets import nasbench
from percepta.metrics.correlation import kendall
from percepta.optim import make_optimizer
from percepta.systems.supernet import PRESETS, Config, ledger, ranking, task
from percepta.systems.supernet.data import TrainingSet, pool
from percepta.systems.supernet.scores import scores
from percepta.systems.supernet.space import Macro
from percepta.train import keep_memory, train

# What each arm changes of one common base: the preset small with a single random path.
ARMS: dict[str, dict[str, Any]] = {
    "single": {"plan": "single"},
    "nsas": {"plan": "single", "constraints": 2},
    "fair": {"plan": "fair"},
    "balance": {"plan": "fair", "balance": "project"},
    "both": {"plan": "fair", "balance": "project", "constraints": 2},
    "fair keys": {"plan": "fair", "canonical": False},
    "sandwich": {"plan": "sandwich"},
    "inplace": {"plan": "sandwich", "distill": "inplace"},
    "shrink": {"plan": "single", "shrink": 0.4},
    "few-shot": {"plan": "single", "split": 2},
    "pada": {"plan": "single", "importance": True},
    "teacher": {"plan": "single", "distill": "teacher"},
}
MAIN = ("single", "nsas", "fair", "balance", "both", "sandwich")
PAIRS = (
    ("nsas", "single"), ("fair", "single"), ("balance", "fair"), ("both", "fair"), ("sandwich", "single"),
    ("fair", "fair keys"), ("inplace", "sandwich"), ("shrink", "single"), ("few-shot", "single"), ("pada", "single"),
    ("teacher", "single"),
)  # fmt: skip
NUMBERS = {
    "tau": "τ", "tau best": "τ, best 1,000", "combined": "τ combined", "combined best": "the same, best 1,000",
    "training": "τ of training's losses", "training best": "the same, best 1,000",
}  # fmt: skip
TIMED = 12  # steps


def jobs(arms: Sequence[str], seeds: Sequence[int]) -> list[Job]:
    """All of them: whole rows of one seed first, so that an early stop leaves a table of fewer seeds."""
    return [Job(arm, seed) for seed in seeds for arm in arms]


def base(job: Job, args: argparse.Namespace) -> Config:
    """The arm's settings, with the number of steps still open."""
    start = PRESETS[args.preset]
    settings = replace(start.train, seed=job.seed)
    change = ARMS[job.arm]
    if "split" in change:
        settings = replace(settings, ema=0.0)
    if "importance" in change:  # half of the pictures that are offered are used
        settings = replace(settings, batch_size=2 * settings.batch_size)
    plain: Any = {
        "plan": "single",
        "paths": 1,
        "constraints": 0,
        "balance": "none",
        "distill": "none",
        "canonical": True,
    }
    return task.fit_config(replace(start, train=settings, **{**plain, **change}), args.data)


def seconds_per_step(job: Job, args: argparse.Namespace) -> float:
    """CPU seconds of a step of an arm, measured by whoever comes first."""
    path = args.out / f"timing-{job.arm.replace(' ', '-')}.json"
    if not path.is_file():
        config = base(replace(job, seed=0), args)
        torch.manual_seed(0)
        model = task.build(config).train()
        data = TrainingSet(pool(replace(config, samples=2000), "train", args.data), config.train.seed)
        optimizer, memory = make_optimizer(model, config.train), {}
        last = config.train.steps - 1 if config.distill == "teacher" else config.train.steps // 2
        for number in range(TIMED + 2):
            if number == 2:
                began = time.process_time()
            keys = [(number, i % len(data)) for i in range(config.train.batch_size)]
            step = Step(last, 0, torch.Generator().manual_seed(number), memory)
            optimizer.zero_grad(set_to_none=True)
            task.loss(model, data.collate(keys), step)["loss"].backward()
            optimizer.step()
        taken = (time.process_time() - began) / TIMED
        path.parent.mkdir(parents=True, exist_ok=True)
        try:  # the first to come decides for all processes
            with path.open("x") as file:
                file.write(json.dumps({"seconds": taken}))
        except FileExistsError:
            pass
    return float(json.loads(path.read_text())["seconds"])


def settings(job: Job, args: argparse.Namespace) -> Config:
    """The arm's settings with the steps that its CPU time allows."""
    config = base(job, args)
    steps = args.steps or max(20, round(60 * args.minutes / seconds_per_step(job, args)))
    run = replace(config.train, steps=steps, checkpoint_every=max(1, steps // 6), log_every=max(1, steps // 100))
    return replace(config, train=run)


def run(job: Job, args: argparse.Namespace) -> None:
    """Trains, ranks all distinct networks, writes result.json; nothing where that is there.

    Raises:
        ValueError: the run was made with other settings.
    """
    folder, config = args.out / job.name, settings(job, args)
    if run_table.is_done(folder, config):
        return
    began = time.process_time()
    path = train("supernet", config, root=args.data, out=folder, device=args.device)
    seconds = time.process_time() - began
    values, kept = correlations(path, args)
    np.savez_compressed(folder / "scores.npz", **kept)
    run_table.finish(folder, job, config, {"cpu_seconds": seconds, **values})
    print(f"{job.name}: " + " ".join(f"{k} {values[k]:.3f}" for k in NUMBERS) + f", {seconds:.0f} CPU s", flush=True)


def correlations(path: Path, args: argparse.Namespace) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Correlations of the raw scores, of `ranking.combined` and of the ledger, over all networks and the best.

    The declared part, by which settings may have been chosen, is left out.
    """
    system = percepta.load(path, system="supernet", device=args.device)
    net = system.model
    pictures = pool(system.config, "val", args.data)
    codes = Macro().distinct()
    found = scores(net, codes, pictures.pixels[: args.pictures], pictures.labels[: args.pictures])
    truth = ranking.truth_of(nasbench.read_macro(pictures.truth or args.data), codes)
    training = ledger.expected(net, codes)[0]
    guesses = {
        "tau": found.likelihood,
        "combined": ranking.combined(net.space, codes, found.likelihood, training, args.penalty),
        "training": training,
    }
    rest = np.flatnonzero(~ranking.declared(codes))
    top = np.argsort(-truth.accuracy, kind="stable")[: ranking.BEST]
    top = np.intersect1d(top, rest)
    values = {}
    for name, guess in guesses.items():
        values[name] = kendall(guess[rest], truth.accuracy[rest])
        values[f"{name} best"] = kendall(guess[top], truth.accuracy[top])
    return values, {"likelihood": found.likelihood, "accuracy": found.accuracy, "training": guesses["training"]}


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = run_table.parser(__doc__, "folder with cifar10 and nas")
    parser.add_argument("--arms", nargs="+", default=MAIN, choices=tuple(ARMS))
    parser.add_argument("--minutes", type=float, default=15, help="CPU time of a run's training")
    parser.add_argument("--steps", type=int, default=0, help="so many steps instead, the same for all arms")
    parser.add_argument("--preset", default="small", choices=tuple(PRESETS), help="what the arms change")
    parser.add_argument("--pictures", type=int, default=1000, help="for the ranking, of those kept back")
    parser.add_argument("--penalty", type=float, default=ranking.PENALTY)
    return run_table.parse(parser, words)


def main(words: Sequence[str] | None = None) -> None:
    args = arguments(words)
    if args.out is None or (args.data is None and not args.only_sum):
        print("the table takes hours: give --out and --data, see --help")
        return
    run_table.restore(args.out, args.known, lambda job: Job(**job).name)
    torch.set_num_threads(1)  # a process a core is faster than threads on networks of this size
    if not args.only_sum:
        for job in jobs(args.arms, args.seeds)[args.part :: args.parts]:
            run(job, args)
    print(run_table.sum_up_arms(args.out, NUMBERS, PAIRS, list(ARMS), "supernet", args.record))


if __name__ == "__main__":
    keep_memory()  # a fifth of the time
    main()
