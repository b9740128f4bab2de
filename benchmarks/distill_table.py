"""Trains and fills the table of `distill`: methods × label noise × seeds, from one command that can be stopped.

    python benchmarks/distill_table.py --data DATA --out runs/table [--share 1/2] [--methods views dlb] [--seeds 0 1 2]

Every run is a run folder under --out, with its numbers on the test pictures in result.json; those that are done are
passed over, one that was stopped goes on. With --share i/n each of n processes takes its part (same command, i from 1).
Whoever comes last, or a call with --only-sum, writes table.md and table.json. Without --out nothing is done.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

import percepta
from percepta import report
from percepta.config import differences, to_json
from percepta.nn import selfdistill
from percepta.systems.distill import PRESETS, Config
from percepta.train import train

METHODS = ("none", "equal", "views", "smoothing", "cskd", "ddgsd", "dlb", "recall")  # "equal": none, twice the epochs
NUMBERS = {"accuracy": (100, "accuracy %"), "NLL": (1, "NLL"), "ECE": (100, "ECE, points")}
PAIRS = (("dlb", "views"), ("recall", "dlb"), ("recall", "views"))


@dataclass(frozen=True)
class Job:
    """One run of the table."""

    method: str
    noise: float
    seed: int

    @property
    def name(self) -> str:
        return f"{self.method}-noise{round(100 * self.noise)}-seed{self.seed}"

    @property
    def cost(self) -> float:
        return 2.0 if self.method == "equal" else selfdistill.passes(self.method)


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
    epochs = args.epochs * (2 if job.method == "equal" else 1)
    steps = -(-epochs * args.samples // args.batch)
    run = replace(
        base.train, steps=steps, batch_size=args.batch, lr=args.lr, schedule=args.schedule, warmup=round(0.02 * steps),
        seed=job.seed, checkpoint_every=max(1, steps // 8), log_every=max(1, steps // 100),
    )  # fmt: skip
    method: Any = "none" if job.method == "equal" else job.method
    return replace(
        base, self_distill=method, temperature=4.0 if method == "cskd" else args.temperature, alpha=args.alpha,
        trust=args.trust, recall=args.recall, sharpen=args.sharpen, noise=job.noise, noise_kind=args.noise_kind,
        noise_seed=job.seed, samples=args.samples, held_out=0.1, depth=args.depth, stem=args.stem, train=run,
    )  # fmt: skip


def run(job: Job, args: argparse.Namespace) -> None:
    """Trains, measures on --split, writes result.json; nothing where that is there.

    Raises:
        ValueError: the run was made with other settings.
    """
    folder, config = args.out / job.name, settings(job, args)
    done = folder / "result.json"
    if done.is_file():
        changed = differences(json.loads(done.read_text())["config"], to_json(config))
        if changed:
            raise ValueError(f"{done} comes from other settings: {changed}; give another --out")
        return
    began = time.perf_counter()
    path = train("distill", config, root=args.data, out=folder, device=args.device)
    seconds = time.perf_counter() - began
    measured = percepta.load(path, device=args.device).evaluate(args.data, split=args.split, batch_size=250)
    values = {name: measured[name].value for name in NUMBERS}
    content = {"job": vars(job), "config": to_json(config), "split": args.split, "seconds": seconds, **values}
    report.write_atomically(done, json.dumps(content, indent=1) + "\n")
    shown = " ".join(f"{name} {value:.4f}" for name, value in values.items())
    print(f"{job.name}: {shown}, {seconds:.0f} s", flush=True)


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and the ends of its 95 % interval by Student's t; (mean, nan, nan) for one value."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, float("nan"), float("nan")
    half = float(stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5)
    return mean, mean - half, mean + half


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """{"means": noise -> method -> number -> [mean, low, high, seeds], "differences": the same by "dlb - views"}."""
    table: dict[float, dict[str, dict[int, Mapping[str, Any]]]] = {}
    for row in rows:
        job = row["job"]
        table.setdefault(job["noise"], {}).setdefault(job["method"], {})[job["seed"]] = row
    means: dict[str, Any] = {}
    gaps: dict[str, Any] = {}
    for noise, methods in sorted(table.items()):
        means[str(noise)] = {
            method: {name: [*mean_interval([r[name] for r in runs.values()]), len(runs)] for name in NUMBERS}
            for method, runs in methods.items()
        }
        gaps[str(noise)] = {}
        for a, b in PAIRS:
            both = sorted(set(methods.get(a, {})) & set(methods.get(b, {})))
            if both:
                gaps[str(noise)][f"{a} - {b}"] = {
                    name: [*mean_interval([methods[a][s][name] - methods[b][s][name] for s in both]), len(both)]
                    for name in NUMBERS
                }
    return {"means": means, "differences": gaps}


def markdown(found: Mapping[str, Any], epochs: int) -> str:
    """One table of means and one of paired differences."""
    order = {name: place for place, name in enumerate(METHODS)}
    names = {"none": "none", "equal": f"none, {2 * epochs} epochs"}
    blocks = []
    for title, part in (("method", found["means"]), ("difference, same seeds", found["differences"])):
        rows = []
        for noise, lines in part.items():
            for name, numbers in sorted(lines.items(), key=lambda item: order.get(item[0], 99)):
                cells = [_cell(numbers[key], NUMBERS[key][0]) for key in NUMBERS]
                rows.append([f"{float(noise):.0%}", names.get(name, name), *cells, str(numbers["accuracy"][3])])
        columns = ["wrong labels", title, *(label for _, label in NUMBERS.values()), "seeds"]
        blocks.append(report.markdown_table(columns, rows))
    return "\n\n".join(blocks) + "\n"


def _cell(value: Sequence[float], scale: float) -> str:
    mean, low, high = (scale * number for number in value[:3])
    digits = 2 if scale > 1 else 3
    return f"{mean:.{digits}f}" + ("" if np.isnan(low) else f" ({low:.{digits}f} to {high:.{digits}f})")


def sum_up(out: Path, epochs: int) -> str:
    """Writes table.json and table.md from every result.json that is there; returns the Markdown."""
    rows = [json.loads(path.read_text()) for path in sorted(out.glob("*/result.json"))]
    found = summary(rows)
    report.write_atomically(out / "table.json", json.dumps({**found, "runs": rows}, indent=1) + "\n")
    text = markdown(found, epochs)
    report.write_atomically(out / "table.md", text)
    return text


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder of the run folders; without it nothing is done")
    parser.add_argument("--data", type=Path, help="CIFAR or a folder of class folders; left out: the synthetic world")
    parser.add_argument("--share", default="1/1", help="i/n: this is the i-th of n processes")
    parser.add_argument("--only-sum", action="store_true", help="train nothing, write the table of what is there")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--noise", nargs="+", type=float, default=(0.0, 0.2, 0.4))
    parser.add_argument("--noise-kind", default="symmetric", choices=("symmetric", "pair"))
    parser.add_argument("--seeds", nargs="+", type=int, default=(0, 1, 2))
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
    parser.add_argument("--trust", type=float, default=0.8)
    parser.add_argument("--sharpen", type=float, default=1.0)
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--recall", type=float, default=0.7)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args(words)
    part, _, parts = args.share.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        parser.error(f"--share {args.share}: expected i/n with i from 1 to n, such as 1/2")
    args.part, args.parts = int(part) - 1, int(parts)
    return args


def main(words: Sequence[str] | None = None) -> None:
    args = arguments(words)
    if args.out is None:
        print("the table takes hours: give --out (and --data), see --help")
        return
    torch.set_num_threads(1)  # a process a core is faster than threads on networks of this size
    if not args.only_sum:
        for job in share(jobs(args.methods, args.noise, args.seeds), args.part, args.parts):
            run(job, args)
    print(sum_up(args.out, args.epochs))


if __name__ == "__main__":
    main()
