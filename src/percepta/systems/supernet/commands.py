"""The verbs of supernets: `percepta supernet rank`, `search`, `submit`, and `predict`, which takes codes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.console import Console
from rich.markup import escape

from percepta import shell
from percepta.errors import InputError
from percepta.files import write_atomically
from percepta.formats import checked, field, read_json, short

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float

    import percepta
    from percepta.contract import Block
    from percepta.datasets import nasbench
    from percepta.systems.supernet.scores import Scores
    from percepta.systems.supernet.search import Latency

EPOCHS = 20  # of the networks that a search trains


@dataclass(frozen=True)
class Rank(shell.Which):
    """Scores all distinct networks of the space with inherited weights; writes scores.json and report.html."""

    data: Path | None = None
    """CIFAR (with NAS-Bench-Macro's table beside it also the truth). Left out: the synthetic world."""
    split: str = "val"
    """Which pictures: val (kept back from training) or test."""
    pictures: int = 2000
    """How many of them."""
    out: Path = Path("out/supernet")
    """Folder of scores.json and report.html."""
    processes: int = 0
    """Processes of Ray, where it is installed."""
    proxies: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Also NASWOT and ZenScore, minutes to hours."""
    penalty: float = 0.3
    """Of the ridge regression that smooths the scores; choose it on the declared part only."""


@dataclass(frozen=True)
class Search(shell.Which):
    """The best network for a budget by the supernet, beside what a person would draw; --train trains both."""

    data: Path | None = None
    """CIFAR or class folders, to train on. Left out: the synthetic world."""
    scores: Path | None = None
    """scores.json of `rank`. Left out: what the losses of training say (no evaluation)."""
    flops: float | None = None
    """Most multiply-adds. Left out, with all other limits: those of the network drawn by hand."""
    parameters: float | None = None
    """Most parameters."""
    latency_ms: float | None = None
    """Most milliseconds for one picture, by a table that is measured here first."""
    hand: str | None = None
    """Code of the network drawn by hand. Left out: k3 e3 everywhere."""
    seed: int = 0
    """Of the evolution."""
    train: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Train the found network and the one drawn by hand alone, at full size, and export the found one as ONNX."""
    epochs: int = EPOCHS
    """Of that training."""
    samples: int = 0
    """Train on so many pictures. 0: all."""
    out: Path = Path("out/supernet-search")
    """Folder of front.json, the runs and the graph."""


@dataclass(frozen=True)
class Submit:
    """Validates the challenge's file and writes a submission."""

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")] = tyro.MISSING
    """The challenge's JSON: {"arch1": {"acc": 0.0, "arch": "..."}, ...}."""
    out: Path = Path("out/submission.json")
    """Where the submission is written."""
    known: Path | None = None
    """JSON {code: inherited accuracy} of some networks: a predictor fills in the rest. Left out: multiply-adds."""


@dataclass(frozen=True)
class Predict(shell.Which):
    """What is known of architectures before they are trained."""

    codes: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="CODE ...")] = tyro.MISSING
    """Codes of the supernet's space, such as 02012100."""
    out: Path | None = None
    """Folder for a drawing and the numbers of each."""


def predict(options: Predict, screen: Console) -> None:
    """Prints a line for each code."""
    from percepta.contract import weights_hash
    from percepta.predictions import entry

    system, rows = shell.load("supernet", options), []
    for code in options.codes:
        result = system.predict(code)
        screen.print(escape(result.text), soft_wrap=True)
        if options.out is not None:
            written = result.save(options.out / f"{result.code}.png")
            rows.append(entry(code, result, written, written.with_suffix(".json")))
    if options.out is not None:
        shell.write_predictions(options.out, "supernet", weights_hash(system.model), rows)


def rank(options: Rank, screen: Console) -> None:
    """Writes scores.json and report.html."""
    system = shell.load("supernet", options)
    from percepta import report
    from percepta.datasets import nasbench
    from percepta.systems.supernet import ledger, ranking
    from percepta.systems.supernet.data import pool
    from percepta.systems.supernet.evaluate import scatters
    from percepta.systems.supernet.scores import codes_to_score, scores
    from percepta.systems.supernet.space import Macro

    net: Any = system.model
    if options.split == "train":
        raise shell.UsageError("--split is val or test: rankings on pictures of training flatter")
    whole = pool(system.config, options.split, options.data)
    pixels, labels = whole.pixels[: options.pictures], whole.labels[: options.pictures]
    codes = codes_to_score(net)
    with shell.progress_bar(screen, f"{len(codes):,} networks") as bar:
        found = scores(
            net, codes, pixels, labels, processes=options.processes, progress=lambda done, total: bar(done, total, "")
        )
    space = system.config.target_space()
    training = ledger.expected(net, codes)[0]
    score = ranking.combined(net.space, codes, found.likelihood, training, options.penalty)
    rows = {
        "codes": codes, "accuracy": found.accuracy.tolist(), "likelihood": found.likelihood.tolist(),
        "training": training.tolist(), "score": score.tolist(), "penalty": options.penalty,
        "pictures": len(labels), "split": options.split,
    }  # fmt: skip
    others = ranking.cost_baselines(space, codes)
    if options.proxies:
        others |= ranking.proxies(space, codes, net.prepare(pixels[:32]), processes=options.processes)
        rows |= {name: others[name].tolist() for name in ("NASWOT", "ZenScore")}
    write_atomically(options.out / "scores.json", json.dumps(rows) + "\n")
    page = report.Page("Ranking of architectures with inherited weights")
    table = None if whole.truth is None else nasbench.read_macro(whole.truth)
    if table is not None and space == Macro():
        page.add(*_tables(table, found, score, others))
    page.add(report.Gallery(scatters(space, found, table)))
    shown = page.write(options.out / "report.html")
    screen.print(escape(f"{options.out / 'scores.json'}\n{shown}"), soft_wrap=True)


def _tables(table: nasbench.Macro, found: Scores, score: Float[np.ndarray, " n"],
            others: dict[str, Float[np.ndarray, " n"]]) -> list[Block]:  # fmt: skip
    """Tables of the scores and of what they were before smoothing, over all networks and without the declared part."""
    from percepta.report import Heading, Metrics
    from percepta.systems.supernet import ranking

    truth = ranking.truth_of(table, found.codes)
    rest = ~ranking.declared(found.codes)
    codes = tuple(code for code, kept in zip(found.codes, rest, strict=True) if kept)
    part = ranking.Truth(codes, truth.accuracy[rest], truth.seeds[rest])
    others_of_part = {name: row[rest] for name, row in others.items()}
    return [
        Heading("Inherited log-probability, smoothed, with training's losses"),
        Metrics(ranking.rank_metrics(score, truth, others)),
        Heading("Inherited log-probability"),
        Metrics(ranking.rank_metrics(found.likelihood, truth, others)),
        Heading("The same without the declared networks by which settings were chosen"),
        Metrics(ranking.rank_metrics(score[rest], part, others_of_part)),
    ]


def search(options: Search, screen: Console) -> None:
    """Writes front.json; with --train also two runs and a graph."""
    system = shell.load("supernet", options)
    from percepta.systems.supernet import ledger
    from percepta.systems.supernet.search import Budget, by_hand, evolve, measure_latency, pareto
    from percepta.systems.supernet.space import Macro

    net: Any = system.model
    space = system.config.target_space()
    if not isinstance(space, Macro):
        raise shell.UsageError(
            "search draws from Macro spaces; for the challenge's space see `percepta supernet submit`"
        )
    hand = space.canonical(space.validate(options.hand or by_hand(space)["k3 e3 everywhere"]))
    if options.scores is None:
        score = lambda codes: ledger.expected(net, codes)[0]  # noqa: E731
    else:
        table = _read_scores(options.scores)
        score = lambda codes: _scores_of(table, codes, options.scores)  # noqa: E731
    latency: Latency | None = measure_latency(space) if options.latency_ms is not None else None
    given = (options.flops, options.parameters, options.latency_ms)
    own = space.cost(hand)
    limits = given if any(value is not None for value in given) else (own.flops, own.parameters, None)
    budget = Budget(*(float("inf") if value is None else float(value) for value in limits))
    with shell.progress_bar(screen, "evolution") as bar:
        ranked = evolve(
            space, score, budget, latency, seed=options.seed, progress=lambda done, total: bar(done, total, "")
        )
    best = ranked[0][0]
    codes = space.distinct() if space.length <= 8 else [code for code, _ in ranked]
    flops = space.costs(codes)[1].astype(float)
    front = [codes[i] for i in pareto(flops, score(codes))]
    rows = {"best": _row(space, best), "hand": _row(space, hand), "front": [_row(space, code) for code in front]}
    screen.print(escape(f"best within the budget: {rows['best']}\ndrawn by hand: {rows['hand']}"), soft_wrap=True)
    if options.train:
        rows |= finish(system, options, {"searched": best, "hand": hand}, screen)
    path = write_atomically(options.out / "front.json", json.dumps(rows, indent=1) + "\n")
    screen.print(escape(str(path)), soft_wrap=True)


def _row(space: Any, code: str) -> dict[str, Any]:
    return {"code": code, **vars(space.cost(code))}


def _read_scores(path: Path) -> dict[str, float]:
    """Scores by code."""
    content, where = read_json(path), f"{path}: expected scores.json of `percepta supernet rank`"
    codes, scores = (field(content, key, list, where) for key in ("codes", "score"))
    if len(codes) != len(scores):
        raise InputError(f"{where}: {len(codes)} codes, but {len(scores)} scores")
    rows = zip(codes, scores, strict=True)
    return {checked(code, str, f"{where}: a code"): checked(value, float, f"{where}: a score") for code, value in rows}


def _scores_of(table: dict[str, float], codes: Sequence[str], path: Path | None) -> Any:
    import numpy as np

    missing = [code for code in codes if code not in table]
    if missing:
        raise InputError(f"{path}: no score of {missing[0]!r}; rank the same space first")
    return np.array([table[code] for code in codes])


def finish(system: percepta.System, options: Search, codes: dict[str, str], screen: Console) -> dict[str, Any]:
    """Trains networks alone at full size, measures them on test pictures, and exports the first as ONNX.

    Args:
        system: the supernet.
        options: of the command.
        codes: of the networks, by name.
        screen: for progress and results.
    """
    import percepta
    from percepta.export import export
    from percepta.systems.supernet.data import pool
    from percepta.train import train

    target: Any = system.config.target_space()
    out: dict[str, Any] = {}
    for name, code in codes.items():
        base = replace(
            system.config, alone=code, stem=target.stem, head=target.head, side=target.side, samples=options.samples,
            plan="single", paths=1, constraints=0, balance="none", distill="none", importance=False, split=-1,
        )  # fmt: skip
        count = len(pool(base, "train", options.data))
        steps = max(1, options.epochs * count // base.train.batch_size)
        config = replace(base, train=replace(base.train, steps=steps, checkpoint_every=max(1, steps // 10), ema=0.0))
        with shell.progress_bar(screen, f"training {name} {code}") as bar:
            path = train(
                "supernet", config, root=options.data, out=options.out / name, device=options.device,
                progress=lambda done, total, values: bar(done, total, f"loss {values['loss']:.3f}"),
            )  # fmt: skip
        trained = percepta.load(path, device=options.device)
        metric = trained.evaluate(options.data, split="test", batch_size=500).metrics["accuracy alone"]
        out[f"{name}, trained"] = {"accuracy": metric.value, "low": metric.low, "high": metric.high, "n": metric.n}
        screen.print(f"{name} {code}: accuracy {metric.value:.4f} ({metric.low:.4f} to {metric.high:.4f})")
        if name == "searched":
            for part in export(trained, options.out):
                screen.print(escape(str(part)), soft_wrap=True)
    return out


def submit(options: Submit, screen: Console) -> None:
    """Writes the submission."""
    from percepta.systems.supernet import challenge

    entries = challenge.read(options.file)
    known = None
    if options.known is not None:
        where = f"{options.known}: expected JSON {{code: accuracy}}"
        content = checked(read_json(options.known), dict, where)
        known = {code: checked(value, float, f"{where}: {short(code)}") for code, value in content.items()}
    path = challenge.write(options.out, entries, challenge.score(entries, known))
    how = "multiply-adds alone" if known is None else f"a predictor fitted on {len(known):,} known accuracies"
    screen.print(escape(f"{len(entries.codes):,} architectures are valid; scored by {how}\n{path}"), soft_wrap=True)


COMMANDS: dict[str, shell.Command] = {
    "rank": (Rank, rank),
    "search": (Search, search),
    "submit": (Submit, submit),
    "predict": (Predict, predict),
}
