"""From what an architecture looks like to how good it will be, with a standard deviation, from few that are known.

Ours is a Gaussian process on architecture features with a monotone transform of the accuracies; the inherited accuracy,
where there is one, is a further, linear, feature. The peers are small re-makes of what is published for this: ridge
regression on the one-hot code, nearest neighbours, a forest of random trees, an ensemble of small MLPs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from scipy import linalg, stats
from torch import nn

from percepta.errors import InputError
from percepta.metrics.correlation import kendall

LENGTHS = (0.5, 1.0, 2.0, 4.0)  # of the kernel, in medians of the distance between features
NOISES = (0.003, 0.01, 0.03, 0.1, 0.3)  # share of the variance
LINEAR = (0.1, 1.0)  # share of the linear kernel beside the other
RIDGE = 1.0

Features = Float[np.ndarray, "n d"]
Values = Float[np.ndarray, " n"]
Asked = Float[np.ndarray, "m d"]
Answers = Float[np.ndarray, " m"]


@dataclass(frozen=True)
class Predictor:
    """A fitted Gaussian process; see `fit`.

    Attributes:
        evidence: log marginal likelihood of the known accuracies, by which the kernel was chosen.
        stretch: of the process's own deviations, which are too small where few features tell networks apart: by it, 95
            % of the known accuracies lie within 1.96 deviations when each is predicted from the others.
    """

    known: Features
    inherited: Values | None
    centre: Float[np.ndarray, " d"]
    spread: Float[np.ndarray, " d"]
    length: float
    linear: float
    factor: Float[np.ndarray, "n n"]
    weights: Values
    levels: Float[np.ndarray, "2 k"]
    noise: float
    evidence: float
    stretch: float

    def __call__(self, features: Asked, inherited: Answers | None = None) -> tuple[Answers, Answers]:
        """Accuracies and their deviations, in the unit of what was fitted.

        Raises:
            InputError: inherited accuracies are missing, or given to a predictor that was fitted without.
        """
        if (inherited is None) != (self.inherited is None):
            raise InputError("inherited accuracies go either into fitting and predicting, or into neither")
        z = (features - self.centre) / self.spread
        kernel = _kernel(z, self.known, inherited, self.inherited, self.length, self.linear)
        mean = kernel @ self.weights
        half = linalg.solve_triangular(self.factor, kernel.T, lower=True)
        own = _diagonal(z, inherited, self.inherited, self.linear)
        deviation = self.stretch * np.sqrt(np.maximum(own - (half**2).sum(0), 0) + self.noise)
        scores, values = self.levels
        middle = _interpolate(mean, scores, values)
        low, high = (_interpolate(mean + sign * deviation, scores, values) for sign in (-1, 1))
        return middle, (high - low) / 2


def fit(features: Features, accuracy: Values, inherited: Values | None = None) -> Predictor:
    """A predictor from known networks; its kernel is the one under which they are most probable.

    Args:
        features: of the known networks.
        accuracy: of the same networks.
        inherited: accuracies with a supernet's weights, or any other guess; standardised by itself.

    Raises:
        InputError: fewer than four networks, lengths that differ, numbers that are not finite.
    """
    if len(accuracy) < 4 or len(features) != len(accuracy):
        raise InputError(f"expected at least four known networks, got {len(features)} with {len(accuracy)} accuracies")
    if not (np.isfinite(features).all() and np.isfinite(accuracy).all()):
        raise InputError("features and accuracies have to be finite numbers")
    centre, spread = features.mean(0), features.std(0)
    spread = np.where(spread > 1e-9, spread, 1.0)
    z = (features - centre) / spread
    levels = _levels(accuracy)
    target = _interpolate(accuracy, levels[1], levels[0])
    best: Predictor | None = None
    for length in LENGTHS:
        for linear in LINEAR:
            kernel = _kernel(z, z, inherited, inherited, length, linear)
            for noise in NOISES:
                factor = linalg.cholesky(kernel + (noise + 1e-9) * np.eye(len(z)), lower=True)
                weights = linalg.cho_solve((factor, True), target)
                evidence = -0.5 * float(target @ weights) - float(np.log(np.diag(factor)).sum())
                if best is None or evidence > best.evidence:
                    best = Predictor(
                        z, inherited, centre, spread, length, linear, factor, weights, levels, noise, evidence, 1.0
                    )
    assert best is not None
    return replace(best, stretch=_stretch(best))


def _stretch(process: Predictor) -> float:
    """What makes leave-one-out deviations cover 95 % (Rasmussen & Williams 2006, equations 5.12 for the left out)."""
    precision = np.diag(linalg.cho_solve((process.factor, True), np.eye(len(process.weights))))
    error = np.abs(process.weights) / np.sqrt(precision)  # (w / precision) / sqrt(1 / precision)
    return float(np.quantile(error, 0.95)) / 1.96


def _kernel(a: Features, b: Asked, own: Values | None, other: Answers | None, length: float, linear: float
            ) -> Float[np.ndarray, "n m"]:  # fmt: skip
    """Matérn 3/2 on the features beside a linear kernel; the inherited accuracy adds a linear term of its own."""
    size = a.shape[1]
    square = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
    far = np.sqrt(np.maximum(square, 0) / (2 * size)) / length  # two random rows are about 1 apart
    out = (1 + 3**0.5 * far) * np.exp(-(3**0.5) * far) + linear * a @ b.T / size
    if own is not None and other is not None:
        middle, spread = other.mean(), max(float(other.std()), 1e-9)
        out = out + 4 * np.outer((own - middle) / spread, (other - middle) / spread)
    return out


def _diagonal(z: Features, own: Values | None, other: Answers | None, linear: float) -> Values:
    """Of each row with itself; inherited accuracies are standardised by the known ones, as in `_kernel`."""
    out = 1 + linear * (z**2).sum(1) / z.shape[1]
    if own is not None and other is not None:
        out = out + 4 * ((own - other.mean()) / max(float(other.std()), 1e-9)) ** 2
    return out


def _levels(accuracy: Values) -> Float[np.ndarray, "2 k"]:
    """(normal scores, accuracies): networks that fail would otherwise outweigh all differences among good ones."""
    values = np.unique(accuracy)
    ranks = np.array([np.mean(stats.rankdata(accuracy)[accuracy == value]) for value in values])
    return np.stack([stats.norm.ppf((ranks - 0.5) / len(accuracy)), values])


def _interpolate(x: Answers, xs: Values, ys: Values) -> Answers:
    """Linear between the points, and on with the mean slope outside."""
    if len(xs) < 2:
        return np.full_like(x, ys[0])
    slope = (ys[-1] - ys[0]) / (xs[-1] - xs[0])
    out = np.interp(x, xs, ys)
    return out + slope * (np.minimum(x - xs[0], 0) + np.maximum(x - xs[-1], 0))


# ------------------------------------------------------------------------------------------------- peers

Method = Callable[[Features, Values, Asked, int], Answers]  # known, their accuracy, asked, seed


def ridge(known: Features, accuracy: Values, asked: Asked, seed: int = 0) -> Answers:
    """Least squares with a penalty.

    Args:
        known: features of the known networks.
        accuracy: of the known networks.
        asked: features of the networks that are asked about.
        seed: of random draws; no method needs it where nothing is random.
    """
    centre = known.mean(0)
    z = known - centre
    weights = np.linalg.solve(z.T @ z + RIDGE * np.eye(z.shape[1]), z.T @ (accuracy - accuracy.mean()))
    return (asked - centre) @ weights + accuracy.mean()


def nearest(known: Features, accuracy: Values, asked: Asked, seed: int = 0, count: int = 5) -> Answers:
    """Mean of the nearest known networks.

    Args:
        known: features of the known networks.
        accuracy: of the known networks.
        asked: features of the networks that are asked about.
        seed: of random draws; no method needs it where nothing is random.
        count: of neighbours.
    """
    far = (asked**2).sum(1)[:, None] + (known**2).sum(1)[None] - 2 * asked @ known.T
    return accuracy[np.argsort(far, 1, kind="stable")[:, : min(count, len(known))]].mean(1)


def forest(known: Features, accuracy: Values, asked: Asked, seed: int = 0, trees: int = 60) -> Answers:
    """Extremely randomised trees (Geurts et al., 2006): the best of a few random cuts at every node.

    Args:
        known: features of the known networks.
        accuracy: of the known networks.
        asked: features of the networks that are asked about.
        seed: of random draws; no method needs it where nothing is random.
        trees: how many.
    """
    rng = np.random.default_rng(seed)
    total = np.zeros(len(asked))
    for _ in range(trees):
        _grow(known, accuracy, asked, np.arange(len(known)), np.arange(len(asked)), total, rng)
    return total / trees


def _grow(known: Features, accuracy: Values, asked: Asked, rows: np.ndarray, places: np.ndarray, total: np.ndarray,
          rng: np.random.Generator, least: int = 3) -> None:  # fmt: skip
    """Cuts until few are left; adds a leaf's mean to the total of all that are asked and fall into it."""
    if not len(places):
        return
    part = known[rows]
    open_columns = np.flatnonzero(np.ptp(part, 0) > 0)
    if len(rows) < 2 * least or not len(open_columns):
        total[places] += accuracy[rows].mean()
        return
    best = (np.inf, 0, 0.0)
    for column in rng.choice(open_columns, min(len(open_columns), 12), replace=False):
        cut = rng.uniform(part[:, column].min(), part[:, column].max())
        left = part[:, column] <= cut
        spread = sum(side.sum() * accuracy[rows][side].var() for side in (left, ~left))
        best = min(best, (spread, int(column), float(cut)))
    _, column, cut = best
    for side in (True, False):
        inner = rows[(known[rows, column] <= cut) == side]
        _grow(known, accuracy, asked, inner, places[(asked[places, column] <= cut) == side], total, rng)


def mlp(known: Features, accuracy: Values, asked: Asked, seed: int = 0, members: int = 3, steps: int = 300) -> Answers:
    """An ensemble of MLPs with two hidden layers of 64.

    Args:
        known: features of the known networks.
        accuracy: of the known networks.
        asked: features of the networks that are asked about.
        seed: of random draws; no method needs it where nothing is random.
        members: of the ensemble.
        steps: of training.
    """
    middle, spread = accuracy.mean(), max(float(accuracy.std()), 1e-9)
    x, far = (torch.from_numpy(rows).float() for rows in (known, asked))
    y = torch.from_numpy((accuracy - middle) / spread).float()
    total = np.zeros(len(asked))
    with torch.random.fork_rng(devices=[]):
        for member in range(members):
            torch.manual_seed(1000 * seed + member)
            net = nn.Sequential(nn.Linear(x.shape[1], 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
            optimizer = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=1e-2)
            for _ in range(steps):
                optimizer.zero_grad()
                (net(x)[:, 0] - y).square().mean().backward()
                optimizer.step()
            with torch.no_grad():
                total += net(far)[:, 0].double().numpy()
    return total / members * spread + middle


def ours(known: Features, accuracy: Values, asked: Asked, seed: int = 0) -> Answers:
    """`fit` as one of the methods.

    Args:
        known: features of the known networks.
        accuracy: of the known networks.
        asked: features of the networks that are asked about.
        seed: of random draws; no method needs it where nothing is random.
    """
    return fit(known, accuracy)(asked)[0]


METHODS: dict[str, Method] = {
    "ours": ours, "ridge": ridge, "nearest": nearest, "forest": forest, "MLP": mlp,
}  # fmt: skip


def curve(
    features: Mapping[str, Features],
    accuracy: Values,
    groups: Sequence[str],
    sizes: Sequence[int],
    seeds: Sequence[int],
    methods: Mapping[str, Method] = METHODS,
    asked: int = 2000,
) -> dict[str, dict[int, list[float]]]:
    """Data efficiency: Kendall's tau on networks that are not known, by method and number of known ones.

    Args:
        accuracy: of all networks.
        sizes: numbers of known networks.
        seeds: of the draws of known networks.
        methods: by name.
        features: by method; "" for all others.
        groups: what makes two rows one network: a network is known or asked, never both.
        asked: at most so many networks are asked, the same for all methods of a seed and size.
    """
    _, first = np.unique(np.asarray(groups), return_index=True)
    out: dict[str, dict[int, list[float]]] = {name: {size: [] for size in sizes} for name in methods}
    for seed in seeds:
        order = np.random.default_rng(seed).permutation(np.sort(first))
        for size in sizes:
            known, rest = order[:size], order[size : size + asked]
            for name, method in methods.items():
                rows = features.get(name, features[""])
                out[name][size].append(kendall(method(rows[known], accuracy[known], rows[rest], seed), accuracy[rest]))
    return out
