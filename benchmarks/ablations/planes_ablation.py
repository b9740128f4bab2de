"""What slanted hypotheses, soft pooling and what is ours in `small` give: arms × seeds at equal steps.

    python benchmarks/ablations/planes_ablation.py --out runs/ablation [--share 1/2] [--steps 1000] [--data DATA]

Without --data the pairs are rendered inside boxes whose walls stand at any angle (`systems/planes/world.py`); the test
boxes are others. "fronto" has as many hypotheses as "slanted", all facing the camera, evenly spaced in inverse depth.
"hard pooling" takes a mask as it is in place of its probabilities. "levels" reads what hypotheses cost off between 32
inverse depths instead of warping by each of them, "levels, polish" reads the costs around the planes twice more,
"context" has the 2-D network that corrects matched planes. Every run is a folder under --out with its numbers in
result.json; those that are done are passed over, one that was stopped goes on. With --share i/n each of n processes
takes its part. Whoever comes last, or a call with --only-sum, writes table.md and table.json.
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
from percepta.systems.planes import PRESETS, Config
from percepta.train import train

ARMS: dict[str, dict[str, Any]] = {
    "slanted, soft pooling": {},
    "fronto": {"sweep": "fronto"},
    "hard pooling": {"soft_pooling": False},
    "levels": {"depth_levels": 32},
    "levels, polish": {"depth_levels": 32, "polish_steps": 2},
    "context": {"context_channels": 16},
}
NUMBERS = {"AbsRel": "AbsRel", "pixel": "AbsRel of pixel planes", "near": "plane AP 0.2 m", "every": "plane AP"}
PAIRS = (
    ("slanted, soft pooling", "fronto"), ("slanted, soft pooling", "hard pooling"), ("levels", "slanted, soft pooling"),
    ("levels, polish", "levels"), ("context", "slanted, soft pooling"),
)  # fmt: skip


def settings(job: Job, args: argparse.Namespace) -> Config:
    """The preset with the arm's change and the table's budget."""
    base = PRESETS[args.preset]
    steps = replace(base.train, steps=args.steps, seed=job.seed, checkpoint_every=max(1, args.steps // 6))
    return replace(base, train=steps, **ARMS[job.arm])


def run(job: Job, args: argparse.Namespace) -> None:
    """Trains, measures on "test", writes result.json; nothing where that is there.

    Raises:
        ValueError: the run was made with other settings.
    """
    folder, config = args.out / job.name, settings(job, args)
    if run_table.is_done(folder, config):
        return
    path = train("planes", config, root=args.data, out=folder, device=args.device)
    found = percepta.load(path, device=args.device).evaluate(args.data, split="test", batch_size=4).metrics
    values = {
        "AbsRel": found["AbsRel"].value,
        "pixel": found["AbsRel"].baselines["pixel planes"],
        "near": found["plane AP 0.2 m"].value,
        "every": found["plane AP"].value,
    }
    run_table.finish(folder, job, config, values)
    print(f"{job.name}: " + " ".join(f"{name} {value:.3f}" for name, value in values.items()), flush=True)


def main(words: Sequence[str] | None = None) -> None:
    parser = run_table.parser(__doc__, "a folder of pairs; left out: boxes")
    parser.add_argument("--preset", default="tiny", choices=tuple(PRESETS))
    parser.add_argument("--steps", type=int, default=1000)
    args = run_table.parse(parser, words)
    if args.out is None:
        print("the table takes half an hour: give --out, see --help")
        return
    run_table.restore(args.out, args.known, lambda job: Job(**job).name)
    torch.set_num_threads(1)
    if not args.only_sum:
        for job in [Job(arm, seed) for seed in args.seeds for arm in ARMS][args.part :: args.parts]:
            run(job, args)
    print(run_table.sum_up_arms(args.out, NUMBERS, PAIRS, list(ARMS), "planes", args.record))


if __name__ == "__main__":
    main()
