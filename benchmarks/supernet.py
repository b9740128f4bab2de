"""What the supernet's card says: the final ranking, latency tables, predictors, speed. Each part can be run alone.

    python benchmarks/supernet.py --data DATA --part rank --weights runs/a runs/b --out runs/final --ship --proxies 300
    python benchmarks/supernet.py --part latency
    python benchmarks/supernet.py --data DATA --part predictor
    python benchmarks/supernet.py --data DATA --part ranking
    python benchmarks/supernet.py --part search
    python benchmarks/supernet.py --part speed

DATA holds cifar10 and nas. `rank` averages the standardised scores of several supernets, chooses the penalty of
smoothing on the declared 200 networks, and reports over all distinct ones and without the declared. `ranking` is about
the scores that ship, which came from there.
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
import torch
from record import cell, record

import percepta
from percepta import card, report
from percepta.datasets import nasbench
from percepta.files import write_atomically
from percepta.metrics import Metric
from percepta.metrics.correlation import bootstrap, kendall
from percepta.systems.supernet import PRESETS, ledger, ranking, task
from percepta.systems.supernet.data import pool
from percepta.systems.supernet.model import DEVIATION, MEAN
from percepta.systems.supernet.predictor import METHODS, Method, curve, fit
from percepta.systems.supernet.scores import scores
from percepta.systems.supernet.search import Budget, by_hand, evolve, measure_latency, network_latency
from percepta.systems.supernet.space import Macro

PENALTIES = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
RESULTS = Path(percepta.__file__).parent / "assets" / "supernet-results.json"


def rank(args: argparse.Namespace) -> None:
    """Scores, penalty, report; with --ship what the demo shows of it."""
    codes, likelihoods, trainings = Macro().distinct(), [], []
    for path in args.weights:
        system = percepta.load(path, system="supernet", device="cpu")
        net = system.model
        pictures = pool(system.config, "val", args.data)
        kept = args.out / f"scores-{Path(path).name}.npz"
        if not kept.is_file():
            began = time.perf_counter()
            found = scores(
                net, codes, pictures.pixels[: args.pictures], pictures.labels[: args.pictures],
                processes=args.processes,
                progress=lambda done, total, path=path: print(f"{path}: batch {done} of {total}", flush=True),
            )  # fmt: skip
            kept.parent.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(kept, likelihood=found.likelihood, accuracy=found.accuracy)
            print(f"{path}: {len(codes):,} networks in {time.perf_counter() - began:.0f} s")
        likelihoods.append(np.load(kept)["likelihood"])
        trainings.append(ledger.expected(net, codes)[0])
    truth = ranking.truth_of(nasbench.read_macro(pictures.truth or args.data), codes)
    chosen = ranking.declared(codes)
    raw, training = (np.mean([ranking.standardise(row) for row in rows], 0) for rows in (likelihoods, trainings))
    candidates: dict[str, np.ndarray] = {"raw": raw, "training": training}
    for penalty in PENALTIES:
        smoothed = ranking.standardise(ranking.smooth(Macro(), codes, raw, penalty))
        candidates[f"smoothed {penalty}"] = smoothed
        candidates[f"smoothed {penalty} + training"] = ranking.combined(Macro(), codes, raw, training, penalty)
        candidates[f"training smoothed {penalty}"] = ranking.smooth(Macro(), codes, training, penalty)
    declared = {name: kendall(row[chosen], truth.accuracy[chosen]) for name, row in candidates.items()}
    best = max(declared, key=lambda name: declared[name])
    print("on the declared 200: " + ", ".join(f"{name} {value:.3f}" for name, value in declared.items()))
    print(f"chosen there: {best}")
    others = ranking.cost_baselines(Macro(), codes)
    rest = ~chosen

    def part(places: np.ndarray, more: dict[str, np.ndarray] | None = None) -> dict[str, Metric]:
        """The report over some of the networks."""
        few = ranking.Truth(tuple(np.array(codes)[places]), truth.accuracy[places], truth.seeds[places])
        return ranking.rank_metrics(
            candidates[best][places], few, {k: v[places] for k, v in others.items()} | (more or {})
        )

    tables = {
        "all distinct networks": ranking.rank_metrics(candidates[best], truth, others),
        "all, raw": ranking.rank_metrics(raw, truth, others),
        "all, training's losses": ranking.rank_metrics(training, truth, others),
        "without the declared": part(np.flatnonzero(rest)),
    }
    if args.proxies:  # seconds a network: a sample has to do
        drawn = np.sort(np.random.default_rng(0).permutation(np.flatnonzero(rest))[: args.proxies])
        whole = pool(replace(system.config, side=32), "val", args.data).pixels[:32].float() / 255
        mean, deviation = (torch.tensor(row).view(3, 1, 1) for row in (MEAN, DEVIATION))
        few = [codes[i] for i in drawn]
        found = ranking.proxies(Macro(), few, (whole - mean) / deviation, processes=args.processes)
        tables[f"{len(drawn)} of these at random, beside zero-cost proxies"] = part(drawn, found)
    page = report.Page("Supernet against NAS-Bench-Macro")
    text = []
    for title, metrics in tables.items():
        page.add(report.Heading(title), report.Metrics(metrics))
        text.append(f"### {title}\n\n" + report.markdown_table(*report.metric_rows(metrics)))
    picture = ranking.scatter(candidates[best], truth.accuracy, ("score", "accuracy when trained alone, %"), best)
    page.add(report.Gallery([(picture, best)])).write(args.out / "ranking.html")
    write_atomically(args.out / "ranking.md", "\n\n".join(text) + "\n")
    print("\n\n".join(text))
    record("supernet", "rank", {f"{name}, {title}": m for title, rows in tables.items() for name, m in rows.items()})
    rows = {
        "codes": codes, "score": np.round(candidates[best], 4).tolist(),
        "accuracy": np.round(truth.accuracy, 3).tolist(),
        "flops": Macro().costs(codes)[1].tolist(),
        "note": f"{len(args.weights)} supernet(s), score: {best}; see the card.",
    }  # fmt: skip
    write_atomically(args.out / "scores.json", json.dumps(rows) + "\n")
    if args.ship:
        print(write_atomically(RESULTS, json.dumps(rows) + "\n"))


def shipped(args: argparse.Namespace) -> None:
    """What the scores that ship reach, beside what costs nothing."""
    rows = json.loads(RESULTS.read_text())
    codes, score = rows["codes"], np.array(rows["score"])
    truth = ranking.truth_of(nasbench.read_macro(next((args.data / "nas").glob("nas-bench-macro*.json"))), codes)
    rest = np.flatnonzero(~ranking.declared(codes))
    values = ranking.rank_metrics(score, truth, ranking.cost_baselines(Macro(), codes))
    values["Kendall, without the declared 200"] = Metric(kendall(score[rest], truth.accuracy[rest]), n=len(rest))
    print(report.markdown_table(*report.metric_rows(values)))
    record("supernet", "ranking", values, weights=card.file_hash(RESULTS))


def latency(args: argparse.Namespace) -> None:
    """Predicted against measured milliseconds of whole networks; the aim is 10 % off at most in the median."""
    rng = np.random.default_rng(0)
    space = Macro()
    table = measure_latency(space, batch=args.batch)
    errors = []
    for _ in range(args.networks):
        code = space.canonical(space.sample(rng))
        took = network_latency(space, code, batch=args.batch)
        errors.append(table.of(code) / took - 1)
        print(f"{code}: table {table.of(code):.2f} ms, measured {took:.2f} ms, {errors[-1]:+.1%}")
    size = np.abs(errors)
    print(
        f"error: mean {size.mean():.1%}, median {np.median(size):.1%}, largest {size.max():.1%}, "
        f"bias {np.mean(errors):+.1%}"
    )
    values = {"mean error": size.mean(), "median error": np.median(size), "largest error": size.max()}
    record("supernet", "latency", values)


def predictor(args: argparse.Namespace) -> None:
    """NAS-Bench-201: tau by number of known networks; NAS-Bench-Macro: with and without inherited accuracies."""
    cells = nasbench.read_cells(args.data / "nas" / "nats_bench.csv")
    effective = cells.effective()
    counts = np.stack([(effective.operations == k).sum(1) for k in range(len(nasbench.OPERATIONS))], 1)
    ours = np.concatenate([effective.one_hot(), counts], 1)
    methods: dict[str, Method] = dict(METHODS)
    for name in ("ridge", "nearest", "forest", "MLP"):
        methods[f"{name}, our features"] = METHODS[name]
    features = {"": cells.one_hot(), **{name: ours for name in methods if name == "ours" or name.endswith("features")}}
    sizes, seeds = (50, 100, 200), range(args.seeds)
    found: dict[str, Any] = {}
    values, tables = {}, []
    for name in nasbench.SETS:
        rows = curve(features, cells.accuracy[name], cells.unique, sizes, seeds, methods)
        table = [[m, *(f"{np.mean(v[s]):.3f} ± {np.std(v[s]):.3f}" for s in sizes)] for m, v in rows.items()]
        found[name] = rows
        print(f"{name}\n" + report.markdown_table(["method", *map(str, sizes)], table) + "\n")
        lines = []
        for method, taus in rows.items():
            values |= {f"{method}, {name}, {size}": float(np.mean(taus[size])) for size in sizes}
            values |= {f"deviation of {method}, {name}, {size}": float(np.std(taus[size])) for size in sizes}
            columns = [[cell(f"{what}{method}, {name}, {size}", bounds=False) for what in ("", "deviation of ")]
                     for size in sizes]  # fmt: skip
            lines.append([method, *map(" ± ".join, columns)])
        tables.append(report.Table(["method", *map(str, sizes)], lines, name))
    write_atomically(args.out / "predictor.json", json.dumps(found, indent=1) + "\n")
    record("supernet", "predictor", values, tables=tables)
    _with_inherited(args)


def _with_inherited(args: argparse.Namespace) -> None:
    """The predictor on NAS-Bench-Macro with 50, 100, 200 known networks, alone and with the scores that ship."""
    rows = json.loads(RESULTS.read_text())
    truth, score = np.array(rows["accuracy"]), np.array(rows["score"])
    features = Macro().features(rows["codes"])
    values: dict[str, float] = {}
    for count in (50, 100, 200):
        taus: dict[str, list[float]] = {"features": [], "features and inherited": []}
        covered = []
        for seed in range(args.seeds):
            order = np.random.default_rng(seed).permutation(len(truth))
            known, rest = order[:count], order[count:]
            for name, extra in (("features", None), ("features and inherited", score)):
                own, other = (None, None) if extra is None else (extra[known], extra[rest])
                mean, deviation = fit(features[known], truth[known], own)(features[rest], other)
                taus[name].append(kendall(mean, truth[rest]))
            covered.append(float((np.abs(mean - truth[rest]) < 2 * deviation).mean()))
        text = ", ".join(f"{name} {np.mean(values):.3f}" for name, values in taus.items())
        values |= {f"{name}, {count} known": float(np.mean(row)) for name, row in taus.items()}
        values[f"within two deviations, {count} known"] = float(np.mean(covered))
        print(f"{count} known: τ {text}; within two deviations {np.mean(covered):.1%}")
    low, high = bootstrap(score, truth)
    print(f"inherited alone: τ {kendall(score, truth):.3f} ({low:.3f} to {high:.3f})")
    record("supernet", "known", values, weights=card.file_hash(RESULTS))


def speed(args: argparse.Namespace) -> None:
    """Networks scored a second: shared prefixes against one by one."""
    model = task.build(PRESETS["small"])
    codes = Macro().distinct()[:: args.every]
    pixels = torch.randint(0, 256, (250, 3, model.config.side, model.config.side), dtype=torch.uint8)
    labels = torch.randint(0, 10, (250,))
    began = time.process_time()
    scores(model, codes, pixels, labels)
    shared = time.process_time() - began
    few = codes[:: max(1, len(codes) // 40)]
    began = time.process_time()
    for code in few:
        scores(model, [code], pixels, labels)
    alone = (time.process_time() - began) / len(few)
    rate = len(codes) / shared
    print(
        f"{len(codes):,} networks on 250 pictures: {rate:.1f} a second together, {1 / alone:.1f} one by one, "
        f"{rate * alone:.1f} times"
    )
    record("supernet", "speed", {"networks a second": rate, "one by one": 1 / alone, "times": rate * alone})


def search(args: argparse.Namespace) -> None:
    """Found by the shipped scores for the cost of networks drawn by hand; both with their true accuracies."""
    space = Macro()
    rows = json.loads(RESULTS.read_text())
    score, truth = (dict(zip(rows["codes"], rows[key], strict=True)) for key in ("score", "accuracy"))
    table, values = [], {}
    for name, drawn in by_hand(space).items():
        hand = space.canonical(drawn)
        own = space.cost(hand)
        budget = Budget(own.flops, own.parameters)
        best = evolve(space, lambda codes: np.array([score[code] for code in codes]), budget, seed=0)[0][0]
        fits = [code for code in truth if budget.allows(space, code)]
        row = {
            "million multiply-adds": own.flops / 1e6, "its million parameters": own.parameters / 1e6,
            "million parameters of the found": space.cost(best).parameters / 1e6, "its accuracy": truth[hand],
            "accuracy of the found": truth[best], "best there is": max(truth[code] for code in fits),
        }  # fmt: skip
        values |= {f"{key}, {name}": float(value) for key, value in row.items()}
        forms = (".1f", ".2f", ".2f", ".2f", ".2f", ".2f")
        cells = [cell(f"{key}, {name}", form, bounds=False) for key, form in zip(row, forms, strict=True)]
        table.append([name, *cells, best])
    columns = ["by hand", "million multiply-adds", "its million parameters", "found", "its accuracy, %", "found, %"]
    laid = report.Table([*columns, "best there is, %", "code found"], table)
    print(report.markdown_table(*report.metric_rows({key: Metric(value) for key, value in values.items()})))
    record("supernet", "search", values, weights=card.file_hash(RESULTS), tables=[laid])


PARTS = {"rank": rank, "ranking": shipped, "latency": latency, "predictor": predictor, "search": search, "speed": speed}


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=tuple(PARTS), help="left out: latency and speed")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("out/supernet"))
    parser.add_argument("--weights", nargs="+", type=Path, default=())
    parser.add_argument("--pictures", type=int, default=2500)
    parser.add_argument("--processes", type=int, default=0, help="of Ray")
    parser.add_argument("--proxies", type=int, default=0, help="also NASWOT and ZenScore, of so many networks")
    parser.add_argument("--ship", action="store_true", help="write the asset that the demo shows")
    parser.add_argument("--networks", type=int, default=20, help="latency: how many are measured whole")
    parser.add_argument("--batch", type=int, default=1, help="latency: pictures at a time")
    parser.add_argument("--seeds", type=int, default=10, help="predictor: draws of known networks")
    parser.add_argument("--every", type=int, default=4, help="speed: every so many of the distinct networks")
    args = parser.parse_args(words)
    torch.set_num_threads(1)
    if args.part in ("rank", "ranking", "predictor") and args.data is None:
        parser.error(f"--part {args.part} needs --data")
    if args.part == "rank" and not args.weights:
        parser.error("--part rank needs --weights")
    for part in [args.part] if args.part else ["latency", "speed"]:
        PARTS[part](args)


if __name__ == "__main__":
    main()
