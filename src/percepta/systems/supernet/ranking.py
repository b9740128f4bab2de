"""How far a ranking can be trusted: correlations with the truth, beside what costs nothing; zero-cost proxies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from percepta import scale
from percepta.datasets import nasbench
from percepta.metrics import Metric
from percepta.metrics.correlation import bootstrap, kendall, pearson, regret, spearman
from percepta.systems.supernet.model import network
from percepta.systems.supernet.space import Macro, Space

BEST = 1000  # a ranking has to hold among good networks: a search meets no others
PENALTY = 0.3  # of smoothed scores, as a share of the codes; chosen on the declared part
DECLARED, DECLARED_SEED = 200, 2022  # networks whose true accuracy may choose settings
INK, SOFT, BLUE, ORANGE = (34, 36, 42), (150, 156, 166), (36, 104, 201), (208, 86, 42)


@dataclass(frozen=True)
class Truth:
    """Truly trained networks.

    Attributes:
        codes: distinct networks.
        accuracy: percent, mean over the training seeds.
        seeds: of each seed.
    """

    codes: tuple[str, ...]
    accuracy: Float[np.ndarray, " n"]
    seeds: Float[np.ndarray, "n k"]


def truth_of(table: nasbench.Macro, codes: Sequence[str]) -> Truth:
    """The truth of codes.

    Raises:
        InputError: the table lacks one; names it.
    """
    seeds = table.accuracy[table.rows(codes)]
    return Truth(tuple(codes), seeds.mean(1), seeds)


def declared(codes: Sequence[str]) -> np.ndarray:
    """Which of the distinct networks are the declared validation part: settings may be chosen by their true accuracies,
    by no other's."""
    chosen = np.zeros(len(codes), bool)
    chosen[np.random.default_rng(DECLARED_SEED).choice(len(codes), min(DECLARED, len(codes)), replace=False)] = True
    return chosen


def cost_baselines(space: Space, codes: Sequence[str]) -> dict[str, Float[np.ndarray, " n"]]:
    """What ranks networks without any training."""
    parameters, flops = space.costs(codes)
    blocks = np.array([space.blocks(code) for code in codes], np.float64)
    return {"parameters": parameters.astype(float), "FLOPs": flops.astype(float), "blocks": blocks}


def seed_agreement(seeds: Float[np.ndarray, "n k"], statistic: Callable[..., float] = kendall) -> float:
    """What one training says about another: the mean over pairs of seeds."""
    pairs = [statistic(seeds[:, i], seeds[:, j]) for i, j in combinations(range(seeds.shape[1]), 2)]
    return float(np.mean(pairs)) if pairs else float("nan")


def rank_metrics(
    guess: Float[np.ndarray, " n"],
    truth: Truth,
    others: Mapping[str, Float[np.ndarray, " n"]],
    *,
    best: int = BEST,
    draws: int = 200,
) -> dict[str, Metric]:
    """Correlations of a guess with the truth over all networks and inside the best, beside other guesses.

    Args:
        guess: a score of each network.
        truth: the same networks, truly trained.
        others: guesses that cost nothing, by name; each is a baseline of every metric. "seed to seed" joins them.
        best: how many networks count as the best, by the truth; a quarter of all where those are not twice as many.
        draws: of the bootstrap over networks.
    """
    count = best if len(guess) >= 2 * best else max(2, len(guess) // 4)
    top = np.argsort(-truth.accuracy, kind="stable")[:count]
    everything = np.arange(len(guess))
    found = {}
    for name, statistic, places in (
        ("Kendall", kendall, everything),
        (f"Kendall, best {count:,}", kendall, top),
        ("Spearman", spearman, everything),
        ("Pearson", pearson, everything),
    ):
        low, high = bootstrap(guess[places], truth.accuracy[places], statistic, draws=draws)
        value = statistic(guess[places], truth.accuracy[places])
        rivals = {key: statistic(row[places], truth.accuracy[places]) for key, row in others.items()}
        rivals["seed to seed"] = seed_agreement(truth.seeds[places], statistic)
        # Percentiles of draws with repeats can leave the value outside on small samples.
        found[name] = Metric(value, min(low, value), max(high, value), len(places), baselines=rivals)
    found["top-1 regret, points"] = Metric(
        regret(guess, truth.accuracy), n=len(guess),
        baselines={key: regret(row, truth.accuracy) for key, row in others.items()},
    )  # fmt: skip
    return found


def smooth(
    space: Space, codes: Sequence[str], score: Float[np.ndarray, " n"], penalty: float
) -> Float[np.ndarray, " n"]:
    """Inherited scores through a predictor that was fitted on nothing but inherited scores.

    Ridge regression on the architecture's features keeps what the scores of all networks agree on and drops what is
    peculiar to one path's shared weights; a large penalty draws the effects of all choices towards each other.

    Args:
        space: of the codes.
        codes: of the networks.
        score: of each.
        penalty: as a share of the number of codes.
    """
    features = space.features(codes)
    z, y = features - features.mean(0), score - score.mean()
    weights = np.linalg.solve(z.T @ z + penalty * len(z) * np.eye(z.shape[1]), z.T @ y)
    return z @ weights + score.mean()


def combined(
    space: Space,
    codes: Sequence[str],
    likelihood: Float[np.ndarray, " n"],
    training: Float[np.ndarray, " n"],
    penalty: float = PENALTY,
) -> Float[np.ndarray, " n"]:
    """Two kinds of scores added: smoothed inherited scores, and the ledger of training's losses.

    Args:
        space: of the codes.
        codes: of the networks.
        likelihood: inherited log-probability.
        training: of `ledger.expected`; where it says nothing (one value for all) the smoothed scores count alone.
        penalty: of `smooth`.
    """
    return standardise(smooth(space, codes, standardise(likelihood), penalty)) + standardise(training)


def standardise(score: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Mean 0, deviation 1, so that scores of several kinds may be added."""
    return (score - score.mean()) / max(float(score.std()), 1e-12)


# ------------------------------------------------------------------------------------------------- zero-cost proxies


def _fresh(space: Space, code: str, seed: int) -> nn.Module:
    """The network of a code with random weights; the same for a code and seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if isinstance(space, Macro):
            space = Macro(space.stages, space.stem, space.head, space.side, space.classes)
        return network(space).extract(code).train()


@torch.no_grad()
def naswot(space: Space, code: str, pictures: Float[Tensor, "b 3 s s"], seed: int = 0) -> float:
    """NASWOT (Mellor et al., ICML 2021): log |det K| of how often a pair of pictures switches the same ReLUs.

    Args:
        space: of the code.
        code: of the network.
        pictures: a batch.
        seed: of the random weights.
    """
    net, kernel = _fresh(space, code, seed), torch.zeros(len(pictures), len(pictures), dtype=torch.float64)

    def note(_: nn.Module, __: Any, out: Tensor) -> None:
        on = (out.flatten(1) > 0).float()
        kernel.add_((on @ on.T + (1 - on) @ (1 - on).T).double())

    for module in net.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_hook(note)
    net(pictures)
    return float(torch.linalg.slogdet(kernel)[1])


@torch.no_grad()
def zen(space: Space, code: str, pictures: Float[Tensor, "b 3 s s"], seed: int = 0, step: float = 0.01,
        repeats: int = 4) -> float:  # fmt: skip
    """ZenScore (Lin et al., ICCV 2021): log of how far features move with a Gaussian input, plus the logarithms of the
    deviations that batch norms take out. Only the pictures' shape is used.

    Args:
        space: of the code.
        code: of the network.
        pictures: a batch.
        seed: of weights and inputs.
        step: how far the input moves, in its deviations.
        repeats: draws of inputs.
    """
    net, total = _fresh(space, code, seed), 0.0
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.normal_(generator=generator)
    deviations: list[float] = []

    def note(_: nn.Module, inputs: tuple[Tensor, ...], __: Any) -> None:
        variance = inputs[0].var((0, 2, 3), unbiased=False).mean()
        deviations.append(0.5 * float(torch.log(variance.clamp(min=1e-12))))

    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(note)
    body = nn.Sequential(*list(net.children())[:-1])
    for _ in range(repeats):
        x = torch.randn(pictures.shape, generator=generator)
        near = x + step * torch.randn(pictures.shape, generator=generator)
        deviations.clear()
        first = body(x)
        taken = sum(deviations)
        far = (first - body(near)).abs().mean()
        total += float(torch.log(far.clamp(min=1e-12))) + taken
    return total / repeats


@dataclass(frozen=True)
class _Proxy:
    """A zero-cost proxy as a function of a code that Ray can send to its processes."""

    name: str
    space: Space
    pictures: Tensor

    def __call__(self, code: str) -> float:
        return (naswot if self.name == "NASWOT" else zen)(self.space, code, self.pictures)


def proxies(
    space: Space, codes: Sequence[str], pictures: Float[Tensor, "b 3 s s"], *, processes: int = 0,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Float[np.ndarray, " n"]]:  # fmt: skip
    """NASWOT and ZenScore of many codes, in Ray's processes where it is installed and asked for.

    Args:
        space: of the codes.
        codes: of the networks.
        pictures: a batch.
        processes: of Ray; 0: all here.
        progress: called with the number of codes done, for each proxy.
    """
    found = {}
    for name in ("NASWOT", "ZenScore"):
        rows = scale.map(_Proxy(name, space, pictures), codes, processes=processes, progress=progress)
        found[name] = np.array(rows, np.float64)
    return found


# ------------------------------------------------------------------------------------------------- pictures


def scatter(
    x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], labels: tuple[str, str], title: str = "",
    front: Sequence[int] = (), size: tuple[int, int] = (560, 400),
) -> Image.Image:  # fmt: skip
    """A cloud of points; those of `front` are larger, orange and joined.

    Args:
        x: across.
        y: up.
        labels: of both axes.
        title: above.
        front: places of the points that are joined.
        size: width and height, in pixels.
    """
    width, height = size
    box = (64, 30, width - 16, height - 44)
    canvas = Image.new("RGB", size, (252, 252, 251))
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(13)
    spans = [(float(row.min()), float(row.max())) for row in (x, y)]
    spans = [(low, high if high > low else low + 1) for low, high in spans]

    def place(a: float, b: float) -> tuple[float, float]:
        (x0, x1), (y0, y1) = spans
        return (
            box[0] + (a - x0) / (x1 - x0) * (box[2] - box[0]),
            box[3] - (b - y0) / (y1 - y0) * (box[3] - box[1]),
        )

    pen.rectangle(box, outline=(222, 225, 230))
    for a, b in zip(x, y, strict=True):
        u, v = place(float(a), float(b))
        pen.ellipse((u - 1.2, v - 1.2, u + 1.2, v + 1.2), fill=BLUE)
    line = [place(float(x[i]), float(y[i])) for i in front]
    if len(line) > 1:
        pen.line(line, fill=ORANGE, width=2)
    for u, v in line:
        pen.ellipse((u - 3.5, v - 3.5, u + 3.5, v + 3.5), fill=ORANGE)
    pen.text((box[0], 8), title, INK, font)
    pen.text(((box[0] + box[2]) / 2, height - 14), labels[0], SOFT, font, anchor="mm")
    for (low, high), corner in zip(spans, (((box[0], box[3] + 12), (box[2], box[3] + 12)), None), strict=True):
        if corner:
            pen.text(corner[0], f"{low:.4g}", SOFT, font, anchor="lm")
            pen.text(corner[1], f"{high:.4g}", SOFT, font, anchor="rm")
        else:
            pen.text((box[0] - 6, box[3]), f"{low:.4g}", SOFT, font, anchor="rb")
            pen.text((box[0] - 6, box[1]), f"{high:.4g}", SOFT, font, anchor="rt")
    side = Image.new("RGB", (box[3] - box[1], 18), (252, 252, 251))
    ImageDraw.Draw(side).text((side.width / 2, 9), labels[1], SOFT, font, anchor="mm")
    canvas.paste(side.rotate(90, expand=True), (2, box[1]))
    return canvas
