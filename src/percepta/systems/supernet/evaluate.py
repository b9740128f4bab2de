"""How well a supernet ranks architectures."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from PIL import Image
from torch import Tensor

from percepta.contract import Evaluation, Loader
from percepta.datasets import nasbench
from percepta.errors import InputError
from percepta.metrics import Metric, interval
from percepta.metrics.correlation import bootstrap, kendall
from percepta.report import Gallery, Text
from percepta.systems.supernet import ledger, ranking
from percepta.systems.supernet.model import SupernetNetwork
from percepta.systems.supernet.scores import BATCH_SIZE, Scores, codes_to_score, scores
from percepta.systems.supernet.search import pareto
from percepta.systems.supernet.space import Macro, Space


def evaluate(model: SupernetNetwork, loader: Loader, *, examples: int = 0) -> Evaluation:
    """How the inherited accuracies rank networks, where the truth is known; and what they are; see `metrics`.

    The accuracy of the one network where only one was trained (`config.alone`).

    Args:
        model: the supernet.
        loader: batches of {image, label, truth}.
        examples: at most so many plots are in the gallery; 0: no blocks.

    Raises:
        InputError: the loader gives no pictures.
    """
    batches = list(loader)
    if not batches:
        raise InputError("no pictures to evaluate on; name another --split")
    pixels, labels = (torch.cat([batch[key] for batch in batches]) for key in ("image", "label"))
    if model.config.alone:
        blocks = (Text(f"The network {model.config.alone}, trained alone."),) if examples else ()
        return Evaluation({"accuracy alone": _accuracy_alone(model, pixels, labels)}, blocks)
    truth = batches[0]["truth"]
    table = nasbench.read_macro(truth) if truth else None
    found = scores(model, codes_to_score(model), pixels, labels)
    plots = scatters(model.config.target_space(), found, table)[:examples] if examples else []
    return Evaluation(metrics(model, found, labels, table), (Gallery(plots),) if plots else ())


def metrics(
    model: SupernetNetwork, found: Scores, labels: Int64[Tensor, " m"], table: nasbench.Macro | None
) -> dict[str, Metric]:
    """How the inherited accuracies rank networks, where the truth is known; and what they are.

    Baselines of the ranking: parameters, multiply-adds, number of blocks, and one seed against another.

    Args:
        model: the supermodel.
        found: the scores of its networks.
        labels: of the pictures that they were scored on.
        table: truly trained networks; None where they are not known.
    """
    out: dict[str, Metric] = {}
    guess, from_training = found.likelihood, ledger.expected(model, found.codes)[0]
    if table is not None and model.config.target_space() == Macro():
        truth = ranking.truth_of(table, found.codes)
        others = ranking.cost_baselines(model.config.target_space(), found.codes)
        others |= {"inherited scores alone": guess, "training's losses alone": from_training}
        out |= ranking.rank_metrics(ranking.combined(model.space, found.codes, guess, from_training), truth, others)
    low, high = bootstrap(from_training, guess, kendall, draws=100)
    agreement = kendall(from_training, guess)
    if np.isfinite(agreement):
        free = {name: kendall(row, guess) for name, row in ranking.cost_baselines(model.space, found.codes).items()}
        out["Kendall, training losses with inherited"] = Metric(
            agreement, min(low, agreement), max(high, agreement), len(guess),
            baselines={name: value for name, value in free.items() if np.isfinite(value)},
        )  # fmt: skip
    baseline = {"largest class": _majority(labels)}
    low, high = interval(found.accuracy, draws=500)
    out["inherited accuracy, mean"] = Metric(float(found.accuracy.mean()), low, high, len(guess), baselines=baseline)
    out["inherited accuracy, best"] = Metric(float(found.accuracy.max()), n=len(labels), baselines=baseline)
    return out


@torch.inference_mode()
def _accuracy_alone(model: SupernetNetwork, pixels: UInt8[Tensor, "m 3 s s"], labels: Int64[Tensor, " m"]) -> Metric:
    """Accuracy of the network that was trained alone, with its own batch-norm statistics."""
    network = model.extract(model.config.alone).eval()
    right = torch.cat([network(model.prepare(part)).argmax(1) for part in pixels.split(BATCH_SIZE)]) == labels
    low, high = interval(right.cpu().numpy().astype(float), draws=500)
    baselines = {"largest class": _majority(labels)}
    return Metric(float(right.float().mean()), low, high, len(labels), baselines=baselines)


def _majority(labels: Int64[Tensor, " m"]) -> float:
    return float(labels.bincount().max() / len(labels))


def over_cost(flops: Float[np.ndarray, " n"], found: Scores) -> tuple[Image.Image, str]:
    """Inherited accuracy over cost (in million multiply-adds) with the Pareto front, and a line about it."""
    labels = "million multiply-adds", "inherited accuracy, %"
    picture = ranking.scatter(flops, 100 * found.accuracy, labels, "cost", front(flops, found))
    return picture, "Orange: no other network is better and cheaper."


def scatters(space: Space, found: Scores, table: nasbench.Macro | None) -> list[tuple[Image.Image, str]]:
    """Pictures for a gallery: scores over the truth, where it is known, and over cost with the Pareto front.

    Args:
        space: of the networks that are ranked.
        found: their scores.
        table: truly trained networks; None where they are not known.
    """
    flops = space.costs(found.codes)[1] / 1e6
    drawn = [over_cost(flops, found)]
    if table is not None and space == Macro():
        truth = ranking.truth_of(table, found.codes)
        tau = kendall(found.likelihood, truth.accuracy)
        picture = ranking.scatter(
            found.likelihood,
            truth.accuracy,
            ("inherited log-probability", "accuracy when trained alone, %"),
            f"τ {tau:.3f}",
        )
        drawn.insert(0, (picture, f"{len(found.codes):,} distinct networks against NAS-Bench-Macro."))
    return drawn


def front(cost: Float[np.ndarray, " n"], found: Scores) -> list[int]:
    """Places of the networks that no cheaper one beats, by cost."""
    return pareto(cost, found.accuracy)
