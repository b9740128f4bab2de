"""Other ways to make codes of the same vectors, each fitted on training vectors only.

    random projections   sign of x @ R, R Gaussian (Charikar 2002); fits nothing
    PCA + sign           sign of the first principal components of all training vectors, centred
    ITQ                  the same, rotated so that the vectors come near to their signs (Gong & Lazebnik 2011)

PCA and ITQ have at most as many bits as the vectors have dimensions.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from percepta.errors import InputError
from percepta.systems.hashing.initialise import iterative_quantisation


@runtime_checkable
class HashFunction(Protocol):
    """Vectors to bits."""

    def __call__(self, vectors: Float[Tensor, "b d"], *, sentences: bool = False) -> Bool[Tensor, "b n"]: ...


def random_projections(width: int, bits: int, seed: int = 0) -> HashFunction:
    """Sign of Gaussian projections, the same for both modalities.

    Args:
        width: dimensions of the vectors.
        bits: length of a code.
        seed: of the projections.
    """
    directions = torch.randn(width, bits, generator=torch.Generator().manual_seed(seed))
    return _linear(torch.zeros(width), directions)


def pca_sign(videos: Float[Tensor, "v d"], sentences: Float[Tensor, "s d"], bits: int) -> HashFunction:
    """Sign of the first principal components of pictures' and sentences' vectors together.

    Args:
        videos: unit vectors of videos or pictures.
        sentences: unit vectors of sentences.
        bits: of a code.

    Raises:
        InputError: more bits than dimensions.
    """
    return _linear(*principal(torch.cat([videos, sentences]), bits))


def itq(
    videos: Float[Tensor, "v d"], sentences: Float[Tensor, "s d"], bits: int, rounds: int = 50, seed: int = 0
) -> HashFunction:
    """Iterative quantisation of pictures' and sentences' vectors together.

    Args:
        videos: unit vectors of videos or pictures.
        sentences: unit vectors of sentences.
        bits: of a code.
        rounds: of the iteration.
        seed: of its start.

    Raises:
        InputError: more bits than dimensions.
    """
    rows = torch.cat([videos, sentences])
    mean, components = principal(rows, bits)
    start = torch.randn(bits, bits, generator=torch.Generator().manual_seed(seed))
    rotation = iterative_quantisation((rows - mean) @ components, torch.linalg.qr(start)[0], rounds)
    return _linear(mean, components @ rotation)


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


def _linear(mean: Float[Tensor, " d"], directions: Float[Tensor, "d n"]) -> HashFunction:
    def bits(vectors: Float[Tensor, "b d"], *, sentences: bool = False) -> Bool[Tensor, "b n"]:
        return (vectors.double() - mean.double()) @ directions.double() > 0

    return bits
