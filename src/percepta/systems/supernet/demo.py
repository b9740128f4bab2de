"""The demo: a tiny space trained, ranked and searched in seconds; and what the shipped supernet found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from percepta.contract import Block
from percepta.metrics.correlation import kendall
from percepta.report import Curves, Gallery, Text
from percepta.systems.supernet import PRESETS, ledger, ranking, strategies
from percepta.systems.supernet.data import TrainingSet, pool
from percepta.systems.supernet.evaluate import over_cost
from percepta.systems.supernet.model import SupernetNetwork, build
from percepta.systems.supernet.predict import describe
from percepta.systems.supernet.scores import codes_to_score, scores
from percepta.systems.supernet.search import evolve, pareto

STEPS, BATCH, RATE = 120, 32, 0.1
RESULTS = Path(__file__).parent.parent.parent / "assets" / "supernet-results.json"


def demo(load: Callable[..., Any]) -> list[Block]:
    """A ranking and a search of a tiny space, and what was found with the weights that ship. `load` is not needed."""
    model, curve = learn()
    pictures = pool(PRESETS["tiny"], "val", None)
    space = model.space
    found = scores(model, codes_to_score(model), pictures.pixels, pictures.labels, batch_size=len(pictures))
    from_training = ledger.expected(model, found.codes)[0]
    flops = space.costs(found.codes)[1] / 1e6
    best = evolve(space, lambda codes: ledger.expected(model, codes)[0], population=12, generations=4)[0][0]
    tau = kendall(from_training, found.likelihood)
    drawn = [
        (
            ranking.scatter(
                from_training,
                found.likelihood,
                ("expected from training's losses", "inherited log-probability"),
                f"tau {tau:.2f}",
            ),
            f"The ranking of all {len(found.codes)} networks of a tiny space, from two sides.",
        ),
        over_cost(flops, found),
        (describe(model, best).draw(), "What a search of a second finds, without training it."),
    ]
    return [
        Text(
            f"Trained here and now: {STEPS} steps in which every choice of every layer is used once (strict fairness)."
        ),
        Gallery(drawn),
        Curves("loss of the supernet", {"loss": curve}),
        *shipped(),
    ]


def learn(model: SupernetNetwork | None = None) -> tuple[SupernetNetwork, list[tuple[int, float]]]:
    """A tiny supernet (or the given one) after STEPS steps of plain SGD. `percepta train` does this properly."""
    config = PRESETS["tiny"]
    training = TrainingSet(pool(config, "train", None), config.train.seed)
    if model is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = build(config)
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), RATE, momentum=0.9)
    generator, rng, curve = torch.Generator().manual_seed(0), np.random.default_rng(0), []
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = RATE * (1 - step / STEPS)
        chosen = torch.randperm(len(training), generator=generator)[:BATCH]
        batch = training.collate([(step, int(i)) for i in chosen])
        image = model.prepare(batch["image"])
        codes = strategies.choose_paths(config, model.space, rng, step / STEPS, {})
        losses = [torch.nn.functional.cross_entropy(model(image, code), batch["label"]) for code in codes]
        ledger.update(model, codes, [float(value.detach()) for value in losses])
        optimizer.zero_grad()
        torch.stack(losses).mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        curve.append((step + 1, float(torch.stack(losses).detach().mean())))
    return model, curve


def shipped(path: Path = RESULTS) -> list[Block]:
    """What the shipped supernet's ranking looks like: from the file that `benchmarks/supernet.py --ship` writes.

    The file: {"codes", "score", "accuracy" (true, percent), "flops", "note"}.
    """
    if not path.is_file():
        return [Text("The shipped supernet's ranking is not in this installation (assets/supernet-results.json).")]
    rows = json.loads(path.read_text())
    score, truth, flops = (np.array(rows[key], np.float64) for key in ("score", "accuracy", "flops"))
    best = pareto(flops, score)
    truth_plot = ranking.scatter(
        score, truth, ("score with inherited weights", "accuracy when trained alone, %"),
        f"tau {kendall(score, truth):.3f} over {len(score):,} networks",
    )  # fmt: skip
    cost_plot = ranking.scatter(
        flops / 1e6, truth, ("million multiply-adds", "accuracy when trained alone, %"), "search", best
    )
    plots = [
        (truth_plot, "The shipped supernet against NAS-Bench-Macro."),
        (cost_plot, "Orange: the supernet's Pareto front, at its true accuracies."),
    ]
    return [Text(rows["note"]), Gallery(plots)]
