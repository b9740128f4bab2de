"""What a training step of the supernet does: which paths it takes, and what becomes of their gradients.

Parts, each switched on by a setting and free to be combined: `choose_paths` (single path, strict fairness, sandwich,
progressive shrinking, PA&DA's paths), `archive` (NSAS), `combine` (balance of gradients), soft targets,
`choose_pictures` (PA&DA's pictures) and the few-shot split, which `losses.loss` makes when its phase begins. What is
kept between steps is in `step.memory`: plain lists, dicts and tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from percepta.systems.supernet import Config
from percepta.systems.supernet.model import SupernetNetwork
from percepta.systems.supernet.space import OPS, Macro, Space

RECENT, NEAREST, CONSTRAINTS = 100, 9, 10  # NSAS as the second team set it
SLOWEST, FASTEST = 0.25, 4.0  # how far `balance` may change the pace of a choice
KEPT = 0.98  # of running gradient norms, a step
SHARPEST = 0.9  # PA&DA: what is drawn by importance; the rest stays uniform


def choose_paths(
    config: Config, space: Space, rng: np.random.Generator, progress: float, memory: dict[str, Any]
) -> list[str]:
    """The codes of a step.

    Args:
        config: the settings.
        space: that the codes are of.
        rng: decides which.
        progress: share of the training that is done, 0..1.
        memory: of the step.
    """
    if config.alone:
        return [config.alone]
    opened = 1.0 if progress >= config.shrink else progress / config.shrink
    if config.plan == "fair" and opened == 1.0 and isinstance(space, Macro):
        codes = space.fair(rng)
    elif config.importance and isinstance(space, Macro):
        chances = path_chances(memory.get("norms", {}), space, progress)
        codes = ["".join(str(rng.choice(len(OPS), p=row)) for row in chances) for _ in range(config.paths)]
    else:
        codes = [space.sample(rng, opened) for _ in range(config.paths)]
    if config.plan == "sandwich":
        small = space.smallest() if opened == 1.0 else space.sample(rng, opened)
        codes = [space.largest(), small, *codes]
    return [space.canonical(code) for code in codes] if config.canonical else codes


def path_chances(norms: dict[str, float], space: Macro, progress: float) -> Float[np.ndarray, "layers choices"]:
    """PA&DA (Lu et al., CVPR 2023, eq. 8): a choice's chance grows with its gradient norm, the more so the later.

    Args:
        norms: running gradient norm of a choice by "layer.choice".
        space: of the paths.
        progress: share of training that is done, 0..1.
    """
    weight = SHARPEST * progress
    rows = np.array([[norms.get(f"{i}.{c}", np.nan) for c in range(len(OPS))] for i in range(space.length)])
    # An identity without parameters, or a choice not seen yet, counts as the mean of its layer.
    known = np.isfinite(rows)
    mean = np.where(known, rows, 0).sum(1, keepdims=True) / np.maximum(known.sum(1, keepdims=True), 1)
    rows = np.where(known, rows, mean)
    total = rows.sum(1, keepdims=True)
    shares = np.where(total > 0, rows / np.where(total > 0, total, 1), 1 / len(OPS))
    return weight * shares + (1 - weight) / len(OPS)


# ------------------------------------------------------------------------------------------------- forgetting


def archive(config: Config, space: Space, codes: Sequence[str], rng: np.random.Generator, memory: dict[str, Any],
            number: int) -> list[str]:  # fmt: skip
    """NSAS: notes the codes of a step, renews the constraints every `refresh` steps, and draws some to rehearse.

    A code is novel by its mean distance to its nearest neighbours among those that trained lately.

    Args:
        config: the settings.
        space: of the codes.
        codes: that are trained in this step.
        rng: decides which are rehearsed.
        memory: of the step.
        number: of the step.
    """
    if not config.constraints:
        return []
    recent = [*memory.get("recent", []), *codes][-RECENT:]
    memory["recent"] = recent
    if number % config.refresh == 0 or len(memory.get("constraints", ())) < min(CONSTRAINTS, config.constraints):
        memory["constraints"] = novel(space, list(dict.fromkeys(recent)), CONSTRAINTS)
    kept = memory["constraints"]
    chosen = rng.permutation(len(kept))[: config.constraints]
    return [kept[i] for i in chosen]


def novel(space: Space, codes: list[str], count: int) -> list[str]:
    """The `count` codes with the largest mean distance to their nearest neighbours among `codes`; ties by order.

    Args:
        space: of the codes.
        codes: to choose from.
        count: how many are chosen.
    """
    if len(codes) <= count:
        return list(codes)
    distance = np.array([[space.distance(a, b) for b in codes] for a in codes])
    near = np.sort(distance, 1)[:, 1 : NEAREST + 1].mean(1)
    return [codes[i] for i in np.argsort(-near, kind="stable")[:count]]


# ------------------------------------------------------------------------------------------------- unfair gradients


def combine(
    model: SupernetNetwork, codes: Sequence[str], losses: Sequence[Tensor], config: Config, memory: dict[str, Any],
    rng: np.random.Generator,
) -> Tensor:  # fmt: skip
    """A scalar whose gradient is the paths' gradients put together; its value is the mean loss.

    Without balance that is the mean loss itself. With it: (1) the gradient of a choice block is brought from its own
    running norm to the mean of its layer's choices, so that no choice learns faster because of its size or its place in
    deep paths; (2) what several paths share (stem, head, a block that two of them use) gets their directions at one
    length; (3) "project": a path's part against another path's direction is taken out first (PCGrad, Yu et al.,
    NeurIPS 2020), in random order.

    Args:
        model: the supernet.
        codes: of the step's paths.
        losses: of each path.
        config: the settings.
        memory: of the step.
        rng: decides the order of the projections.
    """
    mean = torch.stack(list(losses)).mean()
    if config.balance == "none" and not config.importance:
        return mean
    values = [value for value in model.parts.parameters() if value.requires_grad]
    rows = [torch.autograd.grad(loss, values, allow_unused=True) for loss in losses]
    _remember_norms(model, codes, dict(zip(map(id, values), range(len(values)), strict=True)), rows, memory)
    if config.balance == "none":
        total = [_mean([row[i] for row in rows], len(rows)) for i in range(len(values))]
    else:
        total = _balanced(model, codes, values, rows, config.balance == "project", memory, rng)
    # The loop wants a loss: this one has the gradient that was put together.
    made = torch.stack([(v * g).sum() for v, g in zip(values, total, strict=True) if g is not None]).sum()
    return mean.detach() + made - made.detach()


def _mean(parts: Sequence[Tensor | None], count: int) -> Tensor | None:
    found = [part for part in parts if part is not None]
    return torch.stack(found).sum(0) / count if found else None


def _remember_norms(model: SupernetNetwork, codes: Sequence[str], places: dict[int, int], rows: Sequence[Any],
                    memory: dict[str, Any]) -> None:  # fmt: skip
    """Running root-mean-square gradient of each choice block that a path used."""
    norms = dict(memory.get("norms", {}))
    for code, row in zip(codes, rows, strict=True):
        for layer, choice, module in model.part(code).owners(code):
            found = [row[places[id(v)]] for v in module.parameters() if id(v) in places]
            grads = [g for g in found if g is not None]
            if grads:
                squares = sum(float(g.square().sum()) for g in grads) / sum(g.numel() for g in grads)
                key, now = f"{layer}.{choice}", squares**0.5
                norms[key] = KEPT * norms[key] + (1 - KEPT) * now if key in norms else now
    memory["norms"] = norms


def gradient_scale(norms: dict[str, float], layer: int, choice: int) -> float:
    """By how much a choice's gradient is multiplied: the layer's mean running norm over its own, within bounds.

    Args:
        norms: running gradient norm of a choice by "layer.choice".
        layer: number of the layer.
        choice: number of the choice.
    """
    own = norms.get(f"{layer}.{choice}", 0.0)
    layer_norms = [value for key, value in norms.items() if key.startswith(f"{layer}.")]
    if own <= 0:
        return 1.0
    return float(np.clip(np.mean(layer_norms) / own, SLOWEST, FASTEST))


def _balanced(
    model: SupernetNetwork, codes: Sequence[str], values: Sequence[nn.Parameter], rows: Sequence[Any], project: bool,
    memory: dict[str, Any], rng: np.random.Generator,
) -> list[Tensor | None]:  # fmt: skip
    factor: dict[int, float] = {}
    for code in codes:
        for layer, choice, module in model.part(code).owners(code):
            for value in module.parameters():
                factor[id(value)] = gradient_scale(memory["norms"], layer, choice)
    shared = [i for i in range(len(values)) if sum(row[i] is not None for row in rows) == len(rows) > 1]
    total: list[Tensor | None] = []
    joint = _agree([[row[i] for i in shared] for row in rows], project, rng) if shared else []
    place = {i: k for k, i in enumerate(shared)}
    for i, value in enumerate(values):
        own = joint[place[i]] if i in place else _mean([row[i] for row in rows], len(rows))
        total.append(None if own is None else own * factor.get(id(value), 1.0))
    return total


def _agree(rows: Sequence[Sequence[Tensor]], project: bool, rng: np.random.Generator) -> list[Tensor]:
    """One gradient from those of several paths for the same parameters: projected, at one length, averaged."""
    flat = torch.stack([torch.cat([part.reshape(-1) for part in row]) for row in rows])
    lengths = flat.norm(dim=1, keepdim=True)
    directions = flat / lengths.clamp(min=1e-12)
    if project:
        directions = without_conflict(directions, rng)
    out = directions.mean(0) * lengths.mean()
    return [part.view_as(own) for part, own in zip(out.split([p.numel() for p in rows[0]]), rows[0], strict=True)]


def without_conflict(rows: Float[Tensor, "k d"], rng: np.random.Generator) -> Float[Tensor, "k d"]:
    """PCGrad: each row loses its part against every other row that it disagrees with, in random order."""
    out = rows.clone()
    for i in range(len(rows)):
        for j in rng.permutation(len(rows)):
            against = out[i] @ rows[j]
            if j != i and against < 0:
                out[i] -= against / rows[j].square().sum().clamp(min=1e-12) * rows[j]
    return out


# ------------------------------------------------------------------------------------------------- pictures, targets


def choose_pictures(
    config: Config, index: Int64[Tensor, " b"], count: int, memory: dict[str, Any], generator: torch.Generator,
    progress: float,
) -> tuple[Int64[Tensor, " k"], Float[Tensor, " k"]]:  # fmt: skip
    """PA&DA's pictures: half of those offered, with replacement, by how wrong the last answer to each was.

    Args:
        config: the settings.
        index: places of the batch's pictures in the training set.
        count: length of the training set.
        memory: of the step.
        generator: decides which.
        progress: share of the training that is done, 0..1.

    Returns:
        (places in the batch, weights that leave the expected gradient as it was).
    """
    if not config.importance:
        return torch.arange(len(index)), torch.ones(len(index))
    wrong = memory.setdefault("wrong", torch.full((count,), float("nan")))
    now = wrong[index]
    now = torch.where(now.isnan(), now.nanmean().nan_to_num(1.0), now) + 1e-3
    weight = SHARPEST * progress
    chance = weight * now / now.sum() + (1 - weight) / len(now)
    chosen = torch.multinomial(chance, max(1, len(index) // 2), replacement=True, generator=generator)
    return chosen, 1 / (len(index) * chance[chosen])


def remember_answers(logits: Tensor, labels: Tensor, index: Tensor, memory: dict[str, Any]) -> None:
    """Notes ‖p − y‖ of each picture, which bounds the norm of its gradient (PA&DA, eq. 12).

    Args:
        logits: of the pictures.
        labels: of the pictures.
        index: their places in the training set.
        memory: of the step.
    """
    with torch.no_grad():
        far = (logits.float().softmax(1) - functional.one_hot(labels, logits.shape[1])).norm(dim=1)
        memory["wrong"][index] = far.to(memory["wrong"].dtype)


def soft_cross_entropy(logits: Float[Tensor, "b k"], teacher: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
    """Cross-entropy with the teacher's answers, per picture."""
    return -(teacher.detach().softmax(1) * logits.log_softmax(1)).sum(1)
