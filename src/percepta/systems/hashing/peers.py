"""What else makes codes of the same vectors, each fitted on training vectors only; and training on cached vectors.

    random projections   sign of x @ R, R Gaussian (Charikar 2002); fits nothing
    PCA + sign           sign of the first principal components of all training vectors, centred
    ITQ                  the same, turned so that signs keep most (Gong & Lazebnik 2011)
    paper                CLIP4Hashing's network with its three losses
    ours                 `nets.SharedNet`

PCA and ITQ have at most as many bits as the vectors have dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from percepta.errors import InputError
from percepta.systems.hashing import Config, nets


@runtime_checkable
class Peer(Protocol):
    """Vectors to bits."""

    def __call__(self, vectors: Float[Tensor, "b d"], *, sentences: bool = False) -> Bool[Tensor, "b n"]: ...


def random_projections(width: int, bits: int, seed: int = 0) -> Peer:
    """Sign of Gaussian projections, the same for both modalities."""
    directions = torch.randn(width, bits, generator=torch.Generator().manual_seed(seed))
    return _linear(torch.zeros(width), directions)


def pca_sign(seen: Float[Tensor, "v d"], said: Float[Tensor, "s d"], bits: int) -> Peer:
    """Sign of the first principal components of pictures' and sentences' vectors together.

    Raises:
        InputError: more bits than dimensions.
    """
    return _linear(*principal(torch.cat([seen, said]), bits))


def itq(seen: Float[Tensor, "v d"], said: Float[Tensor, "s d"], bits: int, rounds: int = 50, seed: int = 0) -> Peer:
    """Iterative quantisation of pictures' and sentences' vectors together. Errors as `pca_sign`."""
    rows = torch.cat([seen, said])
    mean, components = principal(rows, bits)
    start = torch.randn(bits, bits, generator=torch.Generator().manual_seed(seed))
    turn = nets.quantising((rows - mean) @ components, torch.linalg.qr(start)[0], rounds)
    return _linear(mean, components @ turn)


def principal(rows: Float[Tensor, "r d"], count: int) -> tuple[Float[Tensor, " d"], Float[Tensor, "d n"]]:
    """Mean and the first principal components of some rows.

    Raises:
        InputError: more components than dimensions.
    """
    if count > rows.shape[1]:
        raise InputError(f"vectors of {rows.shape[1]} dimensions have no {count} principal components")
    mean = rows.mean(0)
    values, vectors = torch.linalg.eigh((rows - mean).double().T @ (rows - mean).double())
    return mean, vectors[:, values.argsort(descending=True)[:count]].float()


def _linear(mean: Float[Tensor, " d"], directions: Float[Tensor, "d n"]) -> Peer:
    def bits(vectors: Float[Tensor, "b d"], *, sentences: bool = False) -> Bool[Tensor, "b n"]:
        return (vectors.double() - mean.double()) @ directions.double() > 0

    return bits


def learned(
    config: Config,
    seen: Float[Tensor, "v d"],
    said: Float[Tensor, "s d"],
    owner: Int[Tensor, " s"],
    progress: Callable[[int], None] | None = None,
) -> Peer:
    """The hashing network of `config`, trained on vectors as `percepta train` would on what they come from.

    Args:
        seen, said: unit vectors of videos and of sentences; owner: the video of each sentence.
        progress: called with every step.
    """
    settings = config.train
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        net = nets.make(seen.shape[1], config)
    net.settle(seen, said, owner)
    table: list[list[int]] = [[] for _ in range(len(seen))]
    for number, video in enumerate(owner.tolist()):
        table[video].append(number)
    told = [video for video, own in enumerate(table) if own]
    decayed = [p for p in net.parameters() if p.ndim > 1]
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": [p for p in net.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if settings.optimizer == "sgd":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(groups, settings.lr, momentum=settings.momentum)
    else:
        optimizer = torch.optim.AdamW(groups, settings.lr, betas=(settings.momentum, 0.999))
    generator = torch.Generator().manual_seed(settings.seed)
    net.train()
    for step in range(settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = settings.lr * _rate(config, step)
        order = torch.randperm(len(told), generator=generator)[: settings.batch_size].tolist()
        videos = [told[i] for i in order]
        draws = torch.rand(len(videos), generator=generator).tolist()
        sentences = [table[v][int(draw * len(table[v]))] for v, draw in zip(videos, draws, strict=True)]
        loss = net.objective(seen[videos], said[sentences], step / settings.steps)["loss"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if progress is not None:
            progress(step)
    net.eval()
    net.finish(seen, said)

    def bits(vectors: Float[Tensor, "b d"], *, sentences: bool = False) -> Bool[Tensor, "b n"]:
        return nets.to_bits(net, vectors, sentences)

    return bits


def _rate(config: Config, step: int) -> float:
    """The learning rate at a step as a share of `lr`, as the loop has it."""
    settings = config.train
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    if settings.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * (step - settings.warmup) / max(1, settings.steps - settings.warmup)))
    if settings.schedule == "step":
        return 0.1 ** sum(step >= share * settings.steps for share in settings.milestones)
    return 1.0
