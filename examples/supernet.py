"""Trains a supernet and prints the best architectures for a budget: python examples/supernet.py [FOLDER]."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import percepta
from percepta.systems.supernet import PRESETS, ledger, task
from percepta.systems.supernet.search import Budget, evolve
from percepta.train import train


def main(folder: Path | None, out: Path, preset: str = "small", steps: int = 2000) -> None:
    config = task.fit_config(PRESETS[preset], folder)
    config = replace(config, train=replace(config.train, steps=steps))
    system = percepta.load(train("supernet", config, root=folder, out=out), system="supernet")
    space = system.config.target_space()
    half = Budget(flops=0.5 * space.cost(space.largest()).flops)
    ranked = evolve(space, lambda codes: ledger.expected(system.model, codes)[0], half)
    for code, _ in ranked[:5]:
        result = system.predict(code)
        print(f"{result.code}: {result.flops / 1e6:.1f} M multiply-adds, expected to beat {result.quantile:.0%}")


if __name__ == "__main__":
    given = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    main(given, Path("out/example-supernet"), "tiny" if given is None else "small", 200 if given is None else 2000)
