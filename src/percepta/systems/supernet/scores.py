"""How sub-networks do with inherited weights: scores of many codes at once, and batch norms set for one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn
from torch.nn import functional

from percepta import scale
from percepta.systems.supernet.model import Key, Net, SlicedNorm, SupernetNetwork
from percepta.systems.supernet.space import Macro

MAX_CODES = 4000  # that an evaluation scores
MAX_DRAWN = 64  # of these, where a space is too large to be listed
BATCH_SIZE = 500  # pictures that share their batch statistics


def codes_to_score(model: SupernetNetwork, max_codes: int = MAX_CODES, seed: int = 0) -> list[str]:
    """The codes that an evaluation scores: all distinct networks, or some of them where there are too many.

    Args:
        model: the supernet.
        max_codes: at most so many.
        seed: decides which.
    """
    space, rng = model.space, np.random.default_rng(seed)
    if model.config.alone:
        return [model.config.alone]
    if isinstance(space, Macro) and 3**space.length <= 2 * MAX_CODES:
        codes = space.distinct()
        return codes if len(codes) <= max_codes else sorted(rng.choice(codes, max_codes, replace=False).tolist())
    return list(dict.fromkeys(space.canonical(space.sample(rng)) for _ in range(min(max_codes, MAX_DRAWN))))


@dataclass(frozen=True)
class Scores:
    """How sub-networks do with inherited weights.

    Attributes:
        codes: of the networks.
        accuracy: share of right answers, 0..1.
        likelihood: mean log-probability of the right class; smoother than accuracy.
    """

    codes: tuple[str, ...]
    accuracy: Float[np.ndarray, " n"]
    likelihood: Float[np.ndarray, " n"]


def scores(
    model: SupernetNetwork,
    codes: Sequence[str],
    pixels: UInt8[Tensor, "m 3 s s"],
    labels: Int64[Tensor, " m"],
    *,
    batch_size: int = BATCH_SIZE,
    processes: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Scores:
    """Inherited accuracy of many codes; what begins alike is computed once.

    Batch norm uses the statistics of the batch itself: every network is recalibrated for free, exactly as if it were
    evaluated alone, and prefixes stay shared, as a prefix's statistics do not depend on what follows.

    Args:
        model: the supernet; it is as before afterwards.
        codes: of its space.
        pixels: pictures; their number should be a multiple of `batch_size`, what is left over is not used unless it is
            all there is.
        labels: numbers of their classes.
        batch_size: pictures that share their batch statistics.
        processes: of Ray, where it is installed: each takes whole batches. 0: all here.
        progress: called with (batches done, batches in all).
    """
    starts = range(0, max(1, len(pixels) - batch_size + 1), batch_size)
    pairs = ((pixels[start : start + batch_size], labels[start : start + batch_size]) for start in starts)
    tick = (lambda done: progress(done, len(starts))) if progress else None
    rows = scale.map(_Batch(model, tuple(codes)), pairs, processes=processes, progress=tick)
    used = sum(min(batch_size, len(pixels) - start) for start in starts)
    rights, likelihoods = (np.sum([row[i] for row in rows], 0) / used for i in range(2))
    return Scores(tuple(codes), rights, likelihoods)


@dataclass(frozen=True)
class _Batch:
    """Right answers and log-probabilities of all codes, summed over a batch: a function that Ray can send around."""

    model: SupernetNetwork
    codes: tuple[str, ...]

    @torch.inference_mode()
    def __call__(self, pair: tuple[Tensor, Tensor]) -> tuple[np.ndarray, np.ndarray]:
        model, (pixels, labels) = self.model.eval(), pair
        rights, likelihoods = np.zeros(len(self.codes)), np.zeros(len(self.codes))
        norms = [m for m in model.modules() if isinstance(m, (nn.BatchNorm2d, SlicedNorm))]
        with _batch_statistics(norms):
            for index, logits in _leaves(model, self.codes, model.prepare(pixels)):
                rights[index] = int((logits.argmax(1) == labels).sum())
                likelihoods[index] = -float(functional.cross_entropy(logits.float(), labels, reduction="sum"))
        return rights, likelihoods


def _leaves(model: SupernetNetwork, codes: Sequence[str], x: Tensor) -> Iterable[tuple[int, Tensor]]:
    """(place in `codes`, logits) of every code, depth first, so that few activations are alive at a time."""
    parts: dict[int, list[tuple[tuple[Key, ...], int]]] = {}
    nets = {}
    for index, code in enumerate(codes):
        net = model.part(code)
        nets[id(net)] = net
        parts.setdefault(id(net), []).append((net.keys(code), index))
    for key, rows in parts.items():
        yield from _descend(nets[key], codes, rows, 0, x)


def _descend(
    net: Net, codes: Sequence[str], rows: list[tuple[tuple[Key, ...], int]], depth: int, x: Tensor
) -> Iterable[tuple[int, Tensor]]:
    ending = [index for keys, index in rows if len(keys) == depth]
    if ending:
        logits = net.finish(x, codes[ending[0]])
        for index in ending:
            yield index, logits
    groups: dict[Key, list[tuple[tuple[Key, ...], int]]] = {}
    for row in rows:
        if len(row[0]) > depth:
            groups.setdefault(row[0][depth], []).append(row)
    for key, group in groups.items():
        yield from _descend(net, codes, group, depth + 1, net.run(key, x))


class _batch_statistics:  # noqa: N801
    """Norms that use the statistics of the batch and remember nothing, for as long as the block lasts."""

    def __init__(self, norms: Sequence[nn.Module]) -> None:
        self.norms = norms

    def __enter__(self) -> None:
        self.before = [(m.training, getattr(m, self._keeps(m))) for m in self.norms]
        for module in self.norms:
            module.training = True
            setattr(module, self._keeps(module), 0)

    def __exit__(self, *_: Any) -> None:
        for module, (training, kept) in zip(self.norms, self.before, strict=True):
            module.training = training
            setattr(module, self._keeps(module), kept)

    @staticmethod
    def _keeps(module: nn.Module) -> str:
        """The attribute that is 0 where nothing is to be remembered."""
        return "track_running_stats" if isinstance(module, nn.BatchNorm2d) else "momentum"


@torch.no_grad()
def calibrate(net: nn.Module, batches: Iterable[Float[Tensor, "b 3 s s"]]) -> nn.Module:
    """Sets the batch-norm statistics of a plain network to the averages over prepared pictures; gives it in eval mode.

    Inherited statistics mix all paths that went through a block and fit none of them.
    """
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    momentum = [module.momentum for module in norms]
    for module in norms:
        module.reset_running_stats()
        module.momentum = None  # plain average over the batches
    net.train()
    for x in batches:
        net(x)
    for module, value in zip(norms, momentum, strict=True):
        module.momentum = value
    return net.eval()
