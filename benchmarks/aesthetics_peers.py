"""Trains the papers' networks of `aesthetics` on one split and sets them beside `small`, person by person.

    python benchmarks/aesthetics_peers.py --data DATA/oasis --out runs/peers

Every preset is trained without part 0 of the people and of the pictures, and tested on it (one core, a few minutes
each; runs that are there are not made again). `small` answers with its member that has not seen that part either.
Without --data nothing is done.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from record import cell, record

import percepta
from percepta import checkpoint, weights
from percepta.metrics import Metric, interval
from percepta.report import Table, markdown_table
from percepta.systems import aesthetics
from percepta.systems.aesthetics.data import data as samples
from percepta.systems.aesthetics.evaluate import SHOTS, Outcome, tests
from percepta.systems.aesthetics.model import AestheticsNetwork
from percepta.train import train

PRESETS = ("giaa", "control", "conditional", "mir", "ici")
PAIRS = (("conditional", "control"), ("small", "control"), ("small", "conditional"))


def test(model: AestheticsNetwork, data: Path) -> dict[str, Outcome]:
    """Outcomes by person of part 0, whatever parts the model holds out."""
    found = samples(model.config, "val", data)
    found = replace(found, rows=found.rows[found.rows[:, 1] == 0])
    step = 16
    rows = (range(start, min(start + step, len(found))) for start in range(0, len(found), step))
    return {o.name: o for o in tests(model, (found.collate([found[(0, i)] for i in row]) for row in rows))}


def row(name: str, values: list[np.ndarray], found: dict[str, Metric]) -> list[str]:
    """A row of the table: mean and interval for every number of ratings. They are added to `found`."""
    cells = [name]
    for shots, value in zip(SHOTS, values, strict=False):
        metric = Metric(float(value.mean()), *interval(value), len(value))
        found[f"{name.replace(' − ', ' minus ')}, {shots} ratings"] = metric
        cells.append(cell(f"{name.replace(' − ', ' minus ')}, {shots} ratings"))
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/peers"))
    args = parser.parse_args()
    if args.data is None:
        print("skipped: no data; give --data, a folder of OASIS with beauty scores")
        return
    results = {"small": test(percepta.load("aesthetics", device="cpu").model, args.data)}
    for preset in PRESETS:
        path = train("aesthetics", aesthetics.PRESETS[preset], root=args.data, out=args.out / preset, device="cpu")
        results[preset] = test(percepta.load(path, system="aesthetics", device="cpu").model, args.data)
        print(preset, "done", flush=True)
    everybody = sorted(set.intersection(*(set(found) for found in results.values())))

    def values(name: str, shots: int, kind: str = "model") -> np.ndarray:
        return np.array([results[name][who].srocc[kind][shots] for who in everybody])

    found: dict[str, Metric] = {}
    table = [row(name, [values(name, shots) for shots in SHOTS], found) for name in (*PRESETS, "small")]
    table.append(row("ridge on the features", [values("small", shots, "ridge") for shots in SHOTS], found))
    oracle = np.array([results["small"][who].oracle for who in everybody])
    table.append([*row("crowd's true mean (oracle)", [oracle], found), "", ""])
    for one, other in PAIRS:
        gaps = [values(one, shots) - values(other, shots) for shots in SHOTS]
        table.append(row(f"{one} − {other}, paired", gaps, found))
    columns = ["SROCC", *(f"{shots} ratings" for shots in SHOTS)]
    rows = [[name, f"{value.value:.3f}", f"{value.low:.3f} to {value.high:.3f}"] for name, value in found.items()]
    print(markdown_table(["SROCC", "mean", "95 % interval"], rows))
    note = f"{len(everybody)} people of part 0 on its pictures, 10 draws; 95 % intervals over people."
    small = checkpoint.weights_hash(weights.find("aesthetics-small"))
    record("aesthetics", "peers", found, weights=small, tables=[Table(columns, table, note)])


if __name__ == "__main__":
    main()
