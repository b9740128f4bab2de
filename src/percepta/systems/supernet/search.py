"""Finding the best architecture for a budget: evolution, the Pareto front, and a latency table of this machine.

Evolution is that of SPOS (Guo et al., ECCV 2020, algorithm 1): mutation and crossover of the best; a budget rules out
codes before they are scored. What is scored may be anything: inherited accuracy, the ledger, a predictor.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from percepta.errors import InputError
from percepta.systems.supernet.model import MacroNet, network
from percepta.systems.supernet.space import OPS, Macro, Space

Score = Callable[[Sequence[str]], Float[np.ndarray, " n"]]
MAX_DRAWS = 2000  # draws without a code that fits the budget


@dataclass(frozen=True)
class Budget:
    """What a network may cost; infinity: no limit.

    Attributes:
        flops: multiply-adds for one picture.
        parameters: how many.
        latency_ms: for one picture, by a table of this machine.
    """

    flops: float = float("inf")
    parameters: float = float("inf")
    latency_ms: float = float("inf")

    def allows(self, space: Space, code: str, latency: Latency | None = None) -> bool:
        """Whether a code is within all limits.

        Args:
            space: of the code.
            code: of the network.
            latency: the table, for a limit of latency.

        Raises:
            InputError: a limit of latency without a table.
        """
        cost = space.cost(code)
        if cost.flops > self.flops or cost.parameters > self.parameters:
            return False
        if self.latency_ms == float("inf"):
            return True
        if latency is None:
            raise InputError("a limit of latency needs a latency table: measure one on this machine")
        return latency.of(code) <= self.latency_ms


def evolve(
    space: Space, score: Score, budget: Budget | None = None, latency: Latency | None = None, *, population: int = 48,
    generations: int = 12, seed: int = 0, progress: Callable[[int, int], None] | None = None,
) -> list[tuple[str, float]]:  # fmt: skip
    """The codes that were scored and fit the budget, the best first, with their scores.

    Args:
        space: that codes are drawn from.
        score: of some codes; each code is asked for once.
        budget: what a network may cost; None: anything.
        latency: a table, for a budget of latency.
        population: codes of a generation.
        generations: how often the best are changed.
        seed: decides the draws.
        progress: called with (generations done, generations in all).

    Raises:
        InputError: the budget allows no network that can be found; says what the smallest costs.
    """
    rng, limit = np.random.default_rng(seed), budget or Budget()
    seen: dict[str, float] = {}

    def add(codes: Sequence[str]) -> None:
        new = [code for code in dict.fromkeys(codes) if code not in seen]
        if new:
            seen.update(zip(new, map(float, score(new)), strict=True))

    add(_sampled(space, limit, latency, population, rng))
    for generation in range(generations):
        parents = sorted(seen, key=lambda code: (-seen[code], code))[: population // 2]
        children = []
        for _ in range(20 * population):
            child = _child(space, parents, rng)
            if child not in seen and limit.allows(space, child, latency):
                children.append(child)
            if len(children) == population:
                break
        add(children)
        if progress:
            progress(generation + 1, generations)
    return sorted(seen.items(), key=lambda item: (-item[1], item[0]))


def _sampled(space: Space, budget: Budget, latency: Latency | None, count: int, rng: np.random.Generator) -> list[str]:
    found = []
    if budget.allows(space, space.canonical(space.smallest()), latency):
        found.append(space.canonical(space.smallest()))
    for _ in range(MAX_DRAWS):
        code = space.canonical(space.sample(rng))
        if budget.allows(space, code, latency) and code not in found:
            found.append(code)
        if len(found) == count:
            break
    if not found:
        cost = space.cost(space.smallest())
        raise InputError(
            f"no network fits the budget {budget}; the smallest has {cost.parameters:,} parameters and "
            f"{cost.flops:,} multiply-adds"
        )
    return found


def _child(space: Space, parents: Sequence[str], rng: np.random.Generator) -> str:
    first = parents[int(rng.integers(len(parents)))]
    if isinstance(space, Macro) and rng.random() < 0.5:
        second = parents[int(rng.integers(len(parents)))]
        from_first = rng.random(space.length) < 0.5
        code = "".join(a if mine else b for a, b, mine in zip(first, second, from_first, strict=True))
    else:
        near = list(space.neighbours(first))
        code = near[int(rng.integers(len(near)))]
    return space.canonical(code)


def pareto(cost: Float[np.ndarray, " n"], score: Float[np.ndarray, " n"]) -> list[int]:
    """Places that no other is both cheaper and better than (one of equals), by rising cost."""
    best, kept = -np.inf, []
    for i in np.lexsort((-score, cost)):
        if score[i] > best:
            best = float(score[i])
            kept.append(int(i))
    return kept


# ------------------------------------------------------------------------------------------------- latency


@dataclass(frozen=True)
class Latency:
    """What each module of a `Macro` space takes on this machine.

    Attributes:
        space: that it holds for.
        ends_ms: stem, head and what a call costs.
        choices_ms: by layer and choice.
        factor: what whole networks take for each millisecond of their modules alone (caches are cold in a chain).
    """

    space: Macro
    ends_ms: float
    choices_ms: tuple[tuple[float, ...], ...]
    factor: float = 1.0

    def of(self, code: str) -> float:
        """Milliseconds of a network for one batch: the sum over its modules."""
        digits = map(int, self.space.canonical(code))
        parts = sum(row[digit] for row, digit in zip(self.choices_ms, digits, strict=True))
        return self.factor * (self.ends_ms + parts)


@torch.inference_mode()
def measure_latency(space: Macro, batch: int = 1, repeats: int = 30, whole: int = 6, seed: int = 0) -> Latency:
    """A latency table: each module alone, at the size of map that it has in the chain; in eval mode.

    Args:
        space: whose modules are measured.
        batch: pictures at a time.
        repeats: calls of each module.
        whole: how many whole networks set the factor (the median of their quotients).
        seed: decides which.
    """
    net = network(space).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert isinstance(net, MacroNet)
    x = _pictures(batch, 3, space.side)
    ends = milliseconds(net.stem, x, repeats)
    rows = []
    for layer, choices in zip(space.layers, net.layers, strict=True):
        x = _pictures(batch, layer.c_in, layer.side)
        rows.append(
            tuple(
                0.0 if op is None and not layer.first else milliseconds(module, x, repeats)
                for op, module in zip(OPS, choices, strict=True)  # type: ignore[arg-type]
            )
        )
    last = space.layers[-1]
    ends += milliseconds(net.head, _pictures(batch, space.width, -(-last.side // last.stride)), repeats)
    table = Latency(space, ends, tuple(rows))
    rng = np.random.default_rng((seed, 1))
    codes = [space.canonical(space.sample(rng)) for _ in range(whole)]
    quotients = [network_latency(space, code, batch, repeats) / table.of(code) for code in codes]
    return replace(table, factor=statistics.median(quotients) if quotients else 1.0)


@torch.inference_mode()
def network_latency(space: Macro, code: str, batch: int = 1, repeats: int = 30) -> float:
    """Milliseconds of a whole network for one batch.

    Args:
        space: of the code.
        code: of the network.
        batch: pictures at a time.
        repeats: calls that are measured.
    """
    net = network(space).extract(code).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return milliseconds(net, _pictures(batch, 3, space.side), repeats)


def milliseconds(module: nn.Module, x: torch.Tensor, repeats: int) -> float:
    """Median time of a call, after three that do not count.

    With one thread it is the processor's time, which other programs on a busy machine do not lengthen.

    Args:
        module: that is called.
        x: its input.
        repeats: how many calls.
    """
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    for _ in range(3):
        module(x)
    taken = []
    for _ in range(repeats):
        began = clock()
        module(x)
        taken.append(1e3 * (clock() - began))
    return statistics.median(taken)


def _pictures(batch: int, channels: int, side: int) -> torch.Tensor:
    return torch.rand(batch, channels, side, side).contiguous(memory_format=torch.channels_last)


def by_hand(space: Macro) -> dict[str, str]:
    """What a person would draw: the same block everywhere, as MobileNetV2 does, or the larger one in some stages."""
    rows: Mapping[str, str] = {"k3 e3 everywhere": "1", "k5 e6 everywhere": "2"}
    found = {name: digit * space.length for name, digit in rows.items()}
    for stage in range(len(space.stages)):
        digits = ["2" if i == stage else "1" for i in range(len(space.stages))]
        code = "".join(d * depth for d, depth in zip(digits, space.stages, strict=True))
        found[f"k5 e6 in stage {stage + 1}, else k3 e3"] = code
    return found
