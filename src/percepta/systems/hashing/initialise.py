"""What our hashing network starts from: closed forms on the vectors of a training set."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from percepta.systems.hashing.nets import SharedNet


@torch.no_grad()
def initialise(
    net: SharedNet, videos: Float[Tensor, "v d"], sentences: Float[Tensor, "s d"], owner: Int[Tensor, " s"]
) -> None:
    """Sets means, maps and first directions of a network. One that was initialised is left as it is.

    Args:
        net: changed in place.
        videos: unit vectors of videos or pictures.
        sentences: unit vectors of sentences.
        owner: the video that each sentence is about.
    """
    if net.settled:
        return
    net.picture_mean.copy_(videos.mean(0))
    net.sentence_mean.copy_(sentences.mean(0))
    x, y = videos[owner] - net.picture_mean, sentences - net.sentence_mean
    maps = correlated_directions(x, y, net.ridge)
    for own, made in zip((net.picture_map, net.sentence_map), maps, strict=True):
        own.zero_()[:, : made.shape[1]] = made[:, : own.shape[1]]
    both = torch.cat([net.project(videos[owner]), net.project(sentences, sentences=True)])
    net.weight.copy_(rotations(both, net.weight.shape[1], min(net.lengths)))
    net.settled.fill_(1)


def correlated_directions(
    x: Float[Tensor, "s d"], y: Float[Tensor, "s d"], ridge: float
) -> tuple[Float[Tensor, "d k"], Float[Tensor, "d k"]]:
    """Maps of two sides into the directions in which they agree, the best first: canonical correlations.

    Args:
        x: centred rows of one side.
        y: centred rows of the other; row i belongs to row i of x.
        ridge: added to each covariance's diagonal, as a multiple of its mean: 0 for canonical correlations as they
            are, large for what partial least squares finds.

    Returns:
        Maps whose columns are scaled by the root of the direction's correlation, so that doubtful ones count little.
    """
    x, y = x.double(), y.double()
    whiten_x, whiten_y = (_inverse_root(z.T @ z / len(z), ridge) for z in (x, y))
    u, correlation, v = torch.linalg.svd(whiten_x @ (x.T @ y / len(x)) @ whiten_y)
    gain = correlation.sqrt()
    return (whiten_x @ u * gain).float(), (whiten_y @ v.T * gain).float()


def _inverse_root(covariance: Float[Tensor, "d d"], ridge: float) -> Float[Tensor, "d d"]:
    values, vectors = torch.linalg.eigh(covariance)
    values = values.clamp_min(0) + ridge * values.mean().clamp_min(1e-12)
    return vectors * values.clamp_min(1e-9 * values.max()) ** -0.5 @ vectors.T


def rotations(rows: Float[Tensor, "r m"], bits: int, block: int, rounds: int = 30) -> Float[Tensor, "m bits"]:
    """Directions whose signs keep the rows best, in blocks of orthonormal columns.

    Args:
        rows: what is to be kept.
        bits: how many directions.
        block: columns of a block; each is found by iterative quantisation from another start.
        rounds: of the iteration.
    """
    columns, left = [], bits
    while left > 0:
        chosen = min(block, left, rows.shape[1])
        generator = torch.Generator().manual_seed(len(columns))
        start = torch.randn(rows.shape[1], rows.shape[1], generator=generator).to(rows)
        columns.append(iterative_quantisation(rows, torch.linalg.qr(start)[0][:, :chosen], rounds))
        left -= chosen
    return torch.cat(columns, 1)


def iterative_quantisation(
    rows: Float[Tensor, "r m"], start: Float[Tensor, "m n"], rounds: int
) -> Float[Tensor, "m n"]:
    """Orthonormal columns that bring rows @ columns near to its own signs (ITQ, Gong & Lazebnik 2011).

    Args:
        rows: centred vectors.
        start: orthonormal columns to begin with.
        rounds: in each, signs and columns are found in turn (Procrustes).
    """
    columns = start
    for _ in range(rounds):
        u, _, v = torch.linalg.svd(rows.T @ torch.where(rows @ columns > 0, 1.0, -1.0), full_matrices=False)
        columns = u @ v
    return columns
