"""Trains and fills the table of `distill`: methods × label noise × seeds, from one command that can be stopped.

    python benchmarks/ablations/distill_table.py --data DATA --out runs/table [--share 1/2] [--methods views dlb]

Every run is a run folder under --out, with its numbers on the test pictures in result.json; those that are done are
passed over, one that was stopped goes on. With --share i/n each of n processes takes its part (same command, i from 1).
Whoever comes last, or a call with --only-sum, writes table.md and table.json. Without --out nothing is done.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import run_table
import torch

import percepta
from percepta.nn import selfdistill
from percepta.systems.distill import PRESETS, Config
from percepta.train import keep_memory, train

# Rows that change more than the method: as much compute for "none" (method, times the epochs, share of the batch); and
# half the fresh pictures a step, so that an update is made of as many as with "none", and there are as many updates.
ROWS = {"equal": ("none", 2, 1), "views half": ("views", 1, 2), "dlb half": ("dlb", 1, 2)}
METHODS = ("none", "equal", "views", "smoothing", "cskd", "ddgsd", "dlb", "recall", "views half", "dlb half")
NUMBERS = {"accuracy": (100, "accuracy %"), "NLL": (1, "NLL"), "ECE": (100, "ECE, points")}
PAIRS = (
    ("dlb", "views"), ("dlb", "none"), ("dlb", "equal"), ("recall", "dlb"), ("recall", "views"), ("dlb half", "dlb"),
    ("dlb half", "views half"), ("dlb half", "equal"),
)  # fmt: skip


@dataclass(frozen=True)
class Job:
    """One run of the table."""

    method: str
    noise: float
    seed: int

    @property
    def name(self) -> str:
        return f"{self.method.replace(' ', '-')}-noise{round(100 * self.noise)}-seed{self.seed}"

    @property
    def change(self) -> tuple[str, int, int]:
        """What the row changes: see ROWS."""
        return ROWS.get(self.method, (self.method, 1, 1))

    @property
    def cost(self) -> float:
        method, epochs, _ = self.change
        return epochs * selfdistill.passes(method)


def jobs(methods: Sequence[str], noises: Sequence[float], seeds: Sequence[int]) -> list[Job]:
    """All of them: whole columns of one seed first, so that an early stop leaves a table of fewer seeds."""
    return [Job(method, noise, seed) for seed in seeds for noise in noises for method in methods]


def share(every: Sequence[Job], part: int, parts: int) -> list[Job]:
    """The jobs of one process of several: each in turn goes to whoever has least to do."""
    loads, mine = [0.0] * parts, []
    for job in every:
        least = loads.index(min(loads))
        loads[least] += job.cost
        if least == part:
            mine.append(job)
    return mine


def settings(job: Job, args: argparse.Namespace) -> Config:
    """The preset with the table's budget: the same pictures, schedule and batch for all methods."""
    base = PRESETS[args.preset]
    method, longer, smaller = job.change
    batch = args.batch // smaller
    steps = -(-longer * args.epochs * args.samples // batch)
    run = replace(
        base.train, steps=steps, batch_size=batch, lr=args.lr, schedule=args.schedule, warmup=round(0.02 * steps),
        seed=job.seed, checkpoint_every=max(1, steps // 8), log_every=max(1, steps // 100),
    )  # fmt: skip
    return replace(
        base, self_distill=cast(Any, method),
        temperature=4.0 if method == "cskd" else args.temperature, alpha=args.alpha, memory_weight=args.memory_weight,
        memory_decay=args.memory_decay, memory_power=args.memory_power, disagreement_weight=args.disagreement_weight,
        noise=job.noise, noise_kind=args.noise_kind, noise_seed=job.seed, samples=args.samples, held_out=0.1,
        depth=args.depth, stem=args.stem, train=run,
    )  # fmt: skip


def run(job: Job, args: argparse.Namespace) -> None:
    """Trains, measures on --split, writes result.json; nothing where that is there.

    Raises:
        ValueError: the run was made with other settings.
    """
    folder, config = args.out / job.name, settings(job, args)
    if run_table.is_done(folder, config):
        return
    began = time.perf_counter()
    path = train("distill", config, root=args.data, out=folder, device=args.device)
    seconds = time.perf_counter() - began
    measured = percepta.load(path, device=args.device).evaluate(args.data, split=args.split, batch_size=250)
    values = {name: measured.metrics[name].value for name in NUMBERS}
    run_table.finish(folder, job, config, {"split": args.split, "seconds": seconds, **values})
    shown = " ".join(f"{name} {value:.4f}" for name, value in values.items())
    print(f"{job.name}: {shown}, {seconds:.0f} s", flush=True)


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """{"means": noise -> method -> number -> [mean, low, high, seeds], "differences": the same by "dlb - views"}."""
    table: dict[float, dict[str, dict[int, Mapping[str, Any]]]] = {}
    for row in rows:
        job = row["job"]
        table.setdefault(job["noise"], {}).setdefault(job["method"], {})[job["seed"]] = row
    means: dict[str, Any] = {}
    gaps: dict[str, Any] = {}
    for noise, methods in sorted(table.items()):
        means[str(noise)], gaps[str(noise)] = run_table.compare(methods, NUMBERS, PAIRS)
    return {"means": means, "differences": gaps}


def layout(found: Mapping[str, Any], epochs: int) -> tuple[dict[str, Any], list[Any]]:
    """One table of means and one of paired differences, see `run_table.tables`."""
    parts = ("means", "differences")
    groups = {(f"{float(noise):.0%}",): {part: found[part][noise] for part in parts} for noise in found["means"]}
    names = {"equal": f"none, {2 * epochs} epochs"}
    return run_table.tables(groups, NUMBERS, METHODS, before=["wrong labels"], line="method", names=names)


def sum_up(out: Path, epochs: int, name: str | None = None) -> str:
    """Writes table.json and table.md from every result.json that is there; returns the Markdown."""
    return run_table.sum_up(out, summary, lambda found: layout(found, epochs), "distill", name)


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = run_table.parser(__doc__, "CIFAR or a folder of class folders; left out: the synthetic world")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--noise", nargs="+", type=float, default=(0.0, 0.2, 0.4))
    parser.add_argument("--noise-kind", default="symmetric", choices=("symmetric", "pair"))
    parser.add_argument("--split", default="test", choices=("val", "test"), help="val to choose settings, test once")
    parser.add_argument("--preset", default="resnet20", choices=tuple(PRESETS))
    parser.add_argument("--stem", type=int, default=2, help="stride of the first convolution; 1 takes 4 times as long")
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--schedule", default="cosine", choices=("cosine", "step"))
    parser.add_argument("--temperature", type=float, default=3.0)
    parser.add_argument("--alpha", type=float, default=1.0)
    parser.add_argument("--memory-weight", type=float, default=1.0)
    parser.add_argument("--memory-power", type=float, default=2.0)
    parser.add_argument("--disagreement-weight", type=float, default=1.0)
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--memory-decay", type=float, default=0.7)
    return run_table.parse(parser, words)


def main(words: Sequence[str] | None = None) -> None:
    args = arguments(words)
    if args.out is None:
        print("the table takes hours: give --out (and --data), see --help")
        return
    run_table.restore(args.out, args.known, lambda job: Job(**job).name)
    torch.set_num_threads(1)  # a process a core is faster than threads on networks of this size
    if not args.only_sum:
        for job in share(jobs(args.methods, args.noise, args.seeds), args.part, args.parts):
            run(job, args)
    print(sum_up(args.out, args.epochs, args.record))


if __name__ == "__main__":
    keep_memory()  # a fifth of the time
    main()
