"""What the house asks of a system, for supernets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn
from torch.nn import functional

from percepta.datasets import nasbench
from percepta.media.draw import write_picture
from percepta.media.image import crop_square, to_bytes
from percepta.metrics import Metric, interval
from percepta.metrics.correlation import bootstrap, kendall
from percepta.systems.supernet import Config, ranking, strategies
from percepta.systems.supernet import data as pictures
from percepta.systems.supernet.model import Scores, Supernet, calibrate, scores
from percepta.systems.supernet.search import pareto
from percepta.systems.supernet.space import Macro, Space

PRETRAINED: dict[str, str] = {}
MOST = 4000  # codes that an evaluation looks at
BATCH = 500  # pictures that share their batch statistics
COLOURS = ((214, 218, 224), (122, 176, 240), (36, 104, 201))


def export(model: Supernet) -> tuple[nn.Module, dict[str, Tensor], list[str], dict[str, dict[int, str]]]:
    """What `percepta.export` asks for: the network that was trained alone, else the largest."""
    side = model.space.side
    net = model.extract(model.config.alone or model.space.largest()).eval()
    return net, {"image": torch.rand(2, 3, side, side)}, ["logits"], {"image": {0: "b"}}


EXPORTS = {"network": export}


def settle(config: Config, root: Path | None) -> Config:
    """The settings with the classes of the data, which the network's last layer follows."""
    return replace(config, classes=pictures.classes(root))


def build(config: Config) -> Supernet:
    """The supernet with random weights."""
    return Supernet(config).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def data(config: Config, split: str, root: Path | None = None) -> Any:
    """Samples of a split ("train", "val", "test", "all") of CIFAR or class folders; without a folder, stripes."""
    found = pictures.pool(config, split, None if root is None else Path(root))
    return pictures.Training(found, config.train.seed) if split == "train" else pictures.Whole(found)


def phases(config: Config) -> list[Any]:
    """One stage of training; two where a teacher comes first or the supernet is split."""
    if config.distill == "teacher":
        first = max(1, round(config.teacher_share * config.train.steps))
        names, trained = (
            ("teacher", "supernet"),
            ({"parts.": False, "teacher.": True}, {"parts.": True, "teacher.": False}),
        )
    elif config.split >= 0:
        first = max(1, round((1 - config.split_share) * config.train.steps))
        names, trained = ("shared", "split"), ({}, {})
    else:
        return [("train", config.train, {})]
    steps = (first, max(1, config.train.steps - first))
    return [
        (name, replace(config.train, steps=count), flags)
        for name, count, flags in zip(names, steps, trained, strict=True)
    ]


def loss(model: nn.Module, batch: dict[str, Any], step: Any) -> dict[str, Tensor]:
    """One step of the strategy that the settings describe, see `strategies.py`."""
    net = cast(Supernet, model)
    config, first = net.config, phases(net.config)[0][1].steps
    if config.distill == "teacher" and step.number < first:
        assert net.teacher is not None
        logits = net.teacher(net.prepare(batch["image"]))
        return {"loss": functional.cross_entropy(logits, batch["label"], label_smoothing=config.smoothing)}
    if config.split >= 0 and step.number >= first and not bool(net.divided):
        net.divide()
    return _paths(net, batch, step, min(1.0, step.number / config.train.steps))


def _paths(net: Supernet, batch: dict[str, Any], step: Any, progress: float) -> dict[str, Tensor]:
    config, memory = net.config, step.memory
    seed = int(torch.randint(2**62, (1,), generator=step.generator, device=step.generator.device))
    rng = np.random.default_rng(seed)
    codes = strategies.draw(config, net.space, rng, progress, memory)
    index, weight = strategies.offered(config, batch["index"], batch["count"], memory, step.generator, progress)
    image, label = net.prepare(batch["image"][index]), batch["label"][index]
    weight = weight.to(image.device)
    target = None
    if net.teacher is not None:
        with torch.no_grad():
            target = net.teacher.eval()(image)
    losses, plain = [], []
    for code in codes:
        logits = net(image, code)
        each = functional.cross_entropy(logits, label, reduction="none", label_smoothing=config.smoothing)
        plain.append(float(each.detach().mean()))
        if target is not None:
            each = (1 - config.distill_weight) * each + config.distill_weight * strategies.soft(logits, target)
        if config.distill == "inplace" and target is None:  # the largest comes first
            target = logits.detach()
        if config.importance:
            strategies.remember_answers(logits, label, batch["index"][index], memory)
        losses.append((each * weight).mean())
    strategies.note(net, codes, plain)
    out = {"loss": strategies.combine(net, codes, losses, config, memory, rng)}
    kept = strategies.archive(config, net.space, codes, rng, memory, step.number)
    if kept:
        rehearsed = torch.stack([functional.cross_entropy(net(image, code), label) for code in kept]).mean()
        share = config.constraint_weight
        out = {"loss": (1 - share) * out["loss"] + share * rehearsed, "rehearsed": rehearsed.detach()}
    return {**out, "largest loss": torch.tensor(max(plain)), "smallest loss": torch.tensor(min(plain))}


# ------------------------------------------------------------------------------------------------- metrics


def judged(model: Supernet, most: int = MOST, seed: int = 0) -> list[str]:
    """The codes that an evaluation looks at: all distinct networks, or some of them where there are too many."""
    space = model.space
    if model.config.alone:
        return [model.config.alone]
    if isinstance(space, Macro) and 3**space.length <= 2 * MOST:
        codes = space.distinct()
        rng = np.random.default_rng(seed)
        return codes if len(codes) <= most else sorted(rng.choice(codes, most, replace=False).tolist())
    rng = np.random.default_rng(seed)
    return list(dict.fromkeys(space.canonical(space.sample(rng)) for _ in range(min(most, 64))))


def judge(net: Supernet, pixels: Tensor, labels: Tensor, batch_size: int = BATCH) -> Scores:
    """Scores of what an evaluation looks at (`judged`).

    A whole space takes minutes, and the numbers and the page of one evaluation need the same: the network keeps the
    last ones for as long as weights and pictures are the same.
    """
    weights = sum(value._version for value in net.state_dict().values())
    kept = net.scored
    if kept and kept[0] == (weights, batch_size) and torch.equal(kept[1], pixels) and torch.equal(kept[2], labels):
        return kept[3]
    found = scores(net, judged(net), pixels, labels, batch_size=batch_size)
    net.scored = ((weights, batch_size), pixels, labels, found)
    return found


def metrics(model: nn.Module, loader: Any) -> dict[str, Metric]:
    """How the inherited accuracies rank networks, where the truth is known; and what they are.

    The ranking's metrics stand beside parameters, multiply-adds, number of blocks and one seed against another.
    """
    net = cast(Supernet, model)
    batches = list(loader)
    pixels, labels = (torch.cat([batch[key] for batch in batches]) for key in ("image", "label"))
    if net.config.alone:
        return {"accuracy alone": _alone(net, pixels, labels)}
    found = judge(net, pixels, labels)
    return rank_metrics(net, found, len(labels), batches[0]["truth"], _majority(labels))


def rank_metrics(net: Supernet, found: Scores, count: int, table: str, majority: float) -> dict[str, Metric]:
    """`metrics` from scores that are there."""
    out: dict[str, Metric] = {}
    guess, from_training = found.likelihood, strategies.ledger(net, found.codes)[0]
    if table and net.config.target_space() == Macro():
        truth = ranking.truth_of(nasbench.read_macro(table), found.codes)
        others = ranking.free(net.config.target_space(), found.codes)
        others |= {"inherited scores alone": guess, "training's losses alone": from_training}
        out |= ranking.against(ranking.combined(net.space, found.codes, guess, from_training), truth, others)
    low, high = bootstrap(from_training, guess, kendall, draws=100)
    agreement = kendall(from_training, guess)
    if np.isfinite(agreement):
        free = {name: kendall(row, guess) for name, row in ranking.free(net.space, found.codes).items()}
        out["Kendall, training losses with inherited"] = Metric(
            agreement, min(low, agreement), max(high, agreement), len(guess),
            baselines={name: value for name, value in free.items() if np.isfinite(value)},
        )  # fmt: skip
    baseline = {"largest class": majority}
    low, high = interval(found.accuracy, draws=500)
    out["inherited accuracy, mean"] = Metric(float(found.accuracy.mean()), low, high, len(guess), baselines=baseline)
    out["inherited accuracy, best"] = Metric(float(found.accuracy.max()), n=count, baselines=baseline)
    return out


@torch.inference_mode()
def _alone(net: Supernet, pixels: Tensor, labels: Tensor) -> Metric:
    """Accuracy of the network that was trained alone, with its own batch-norm statistics."""
    path = net.extract(net.config.alone).eval()
    right = torch.cat([path(net.prepare(part)).argmax(1) for part in pixels.split(BATCH)]) == labels
    low, high = interval(right.cpu().numpy().astype(float), draws=500)
    baselines = {"largest class": _majority(labels)}
    return Metric(float(right.float().mean()), low, high, len(labels), baselines=baselines)


def _majority(labels: Tensor) -> float:
    return float(labels.bincount().max() / len(labels))


def page(model: nn.Module, dataset: pictures.Whole, metrics: Any = None, batch_size: int = BATCH) -> list[Any]:
    """For `report.Page.extend`: inherited accuracy over cost with the Pareto front, and over the truth."""
    net, pool = cast(Supernet, model), dataset.pool
    if net.config.alone:
        items = [f"The network {net.config.alone}, trained alone."]
        return (
            items
            if metrics is not None
            else [*items, ("metrics", {"accuracy alone": _alone(net, pool.pixels, pool.labels)})]
        )
    found = judge(net, pool.pixels, pool.labels, batch_size)
    space = net.config.target_space()
    items = views(space, found, None if pool.truth is None else nasbench.read_macro(pool.truth))
    if metrics is None:
        table = "" if pool.truth is None else str(pool.truth)
        items.insert(0, ("metrics", rank_metrics(net, found, len(pool), table, _majority(pool.labels))))
    return items


def views(space: Space, found: Scores, table: nasbench.Macro | None) -> list[Any]:
    """Items of a page: scatters of scores."""
    flops = space.costs(found.codes)[1] / 1e6
    drawn = [
        (
            ranking.scatter(
                flops,
                100 * found.accuracy,
                ("million multiply-adds", "inherited accuracy, %"),
                "cost",
                front(flops, found),
            ),
            "Orange: no other network is better and cheaper.",
        )
    ]
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
    return [("pictures", drawn)]


def front(cost: Float[np.ndarray, " n"], found: Scores) -> list[int]:
    """Places of the networks that no cheaper one beats, by cost."""
    return pareto(cost, found.accuracy)


# ------------------------------------------------------------------------------------------------- predict


@dataclass(frozen=True)
class Result:
    """What is known of an architecture before it is trained.

    Attributes:
        code: of the network, canonical.
        parameters, flops: of the network that would be trained (flops: multiply-adds for one picture).
        blocks: how many layers are no identity.
        score: minus the training loss that its path is expected to have, against the mean of all paths.
        deviation: how far off that may be.
        standing: share of the space's networks (of 2,000 in the largest space) that it is expected to beat, 0..1.
        label: what its inherited weights call the picture, "" without one.
        probability: of each class, as its inherited weights see the picture; empty without one.
    """

    code: str
    parameters: int
    flops: int
    blocks: int
    score: float
    deviation: float
    standing: float
    label: str = ""
    probability: Float[np.ndarray, " k"] | None = None

    def draw(self, side: int = 240) -> Image.Image:
        """The chain as coloured bars (tall: many weights), with what it costs and where it stands."""
        digits = [int(c) for c in self.code] if len(self.code) <= 16 else [int(c) % 3 for c in self.code[6:]]
        canvas = Image.new("RGB", (2 * side, side), (250, 250, 250))
        pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(13)
        step = (2 * side - 24) / len(digits)
        for i, digit in enumerate(digits):
            tall = (0.12, 0.3, 0.5)[digit] * side
            left = 12 + i * step
            pen.rectangle((left, 0.55 * side - tall, left + 0.8 * step, 0.55 * side), COLOURS[digit])
        lines = (
            self.code if len(self.code) <= 30 else f"{self.code[:27]}...",
            f"{self.parameters / 1e6:.3f} M parameters, {self.flops / 1e6:.1f} M multiply-adds, {self.blocks} blocks",
            f"expected to beat {self.standing:.0%} of the space",
            f"its inherited weights say: {self.label}" if self.label else "",
        )
        for row, text in enumerate(lines):
            pen.text((12, 0.6 * side + row * 20), text, (34, 36, 42), font)
        return canvas

    def save(self, path: Path | str) -> None:
        """The drawing as a picture, and beside it the numbers as JSON of the same name."""
        write_picture(path, self.draw(), {key: value for key, value in vars(self).items() if key != "probability"})


def predict(model: nn.Module, code: str, picture: Any = None, *, calibration: Any = None) -> Result:
    """What is known of an architecture: its cost, and how its path did in training.

    Args:
        code: of the supernet's space.
        picture: anything that `media.image.read` takes; then also what the inherited weights make of it.
        calibration: pictures (n 3 s s, bytes or 0..1) of the kind that it was trained on, on which the batch norms of
            the path are set; inherited statistics, which fit no path well, without them.

    Raises:
        CodeError: no such network in the space; names the character.
    """
    net = cast(Supernet, model)
    space, target = net.space, net.config.target_space()
    code = space.canonical(space.validate(code))
    own, deviation = strategies.ledger(net, [code])
    every = strategies.ledger(net, _reference(space))[0]
    cost = target.cost(code)
    label, probability = "", None
    if picture is not None:
        probability = _look(net, code, picture, calibration)
        label = net.config.classes[int(probability.argmax())]
    return Result(
        code, cost.parameters, cost.flops, target.blocks(code), float(own[0]), float(deviation[0]),
        float((every < own[0]).mean()), label, probability,
    )  # fmt: skip


def _reference(space: Space) -> list[str]:
    if isinstance(space, Macro) and 3**space.length <= 2 * MOST:
        return space.distinct()
    rng = np.random.default_rng(0)
    return [space.sample(rng) for _ in range(2000)]


@torch.inference_mode()
def _look(net: Supernet, code: str, picture: Any, calibration: Any) -> Float[np.ndarray, " k"]:
    path = net.extract(code).eval()
    if calibration is not None:
        path = calibrate(path, net.prepare(torch.as_tensor(calibration)).split(BATCH))
    seen = to_bytes(crop_square(picture, net.space.side))
    weight = next(path.parameters())
    return path(net.prepare(seen[None].to(weight.device)).to(weight.dtype))[0].float().softmax(0).cpu().numpy()
