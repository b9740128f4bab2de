"""The hashing networks on vectors of an image-text space: the paper's, and ours."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from percepta.systems.hashing import Config


class HashNet(nn.Module):
    """The paper's: d -> hidden -> hidden -> bits, the same for both modalities, and the min-max hashing layer.

    Attributes:
        low, high: smallest and largest output of each bit; they change in training only.
        watched: 1 once they were taken from outputs, else 0.
    """

    low: Tensor
    high: Tensor
    watched: Tensor

    def __init__(self, width: int, config: Config) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, config.hidden), nn.ReLU(),
            nn.Linear(config.hidden, config.hidden), nn.ReLU(),
            nn.Linear(config.hidden, config.bits),
        )  # fmt: skip
        self.register_buffer("low", torch.full((config.bits,), -1.0))
        self.register_buffer("high", torch.ones(config.bits))
        self.register_buffer("watched", torch.zeros(()))

    def forward(self, vectors: Float[Tensor, "b d"], *, sentences: bool = False) -> Float[Tensor, "b n"]:
        """Continuous codes; `sentences` changes nothing."""
        return self.layers(vectors)

    def margin(self, vectors: Float[Tensor, "b d"], *, sentences: bool = False) -> Float[Tensor, "b n"]:
        """How much nearer to the maximum than to the minimum each output is: above 0 the bit is set."""
        return self(vectors) - (self.low + self.high) / 2

    @torch.no_grad()
    def update_range(self, outputs: Float[Tensor, "b n"], share: float) -> None:
        """Moves `low` and `high` towards those of some outputs by a share of the way; the first time, all of it."""
        share = 1.0 if self.watched == 0 else share
        self.low.lerp_(outputs.amin(0), share)
        self.high.lerp_(outputs.amax(0), share)
        self.watched.fill_(1)


class SharedNet(nn.Module):
    """Ours: a space that both modalities share, and signs in it.

    Each modality has its mean and its map into the dimensions in which pictures and sentences that belong together
    agree best (`initialise.py`); the unit vectors there are the teacher. One linear map for both, a small MLP, and a
    threshold a bit for each modality make the code, and are trained so that codes rank a batch as the teacher does. The
    first bits are a code as well: `prefixes` are trained beside the whole.

    Attributes:
        ridge: see `Config`.
        lengths: of the codes that are trained, the longest last.
        picture_mean, picture_map, sentence_mean, sentence_map: of the modalities; set once, not trained.
        settled: 1 once they were set, else 0.
    """

    picture_mean: Tensor
    picture_map: Tensor
    sentence_mean: Tensor
    sentence_map: Tensor
    settled: Tensor

    def __init__(self, width: int, config: Config) -> None:
        super().__init__()
        inner = min(config.shared_width, width)
        self.ridge = config.ridge
        self.lengths = (*(n for n in config.prefixes if n < config.bits), config.bits)
        for side in ("picture", "sentence"):
            self.register_buffer(f"{side}_mean", torch.zeros(width))
            self.register_buffer(f"{side}_map", torch.eye(width, inner))
        self.register_buffer("settled", torch.zeros(()))
        self.weight = nn.Parameter(torch.randn(inner, config.bits) / math.sqrt(inner))
        self.mix_in = nn.Linear(inner, config.mlp_width)
        self.mix_out = nn.Parameter(torch.zeros(config.mlp_width, config.bits))  # the MLP adds nothing at first
        self.picture_bias = nn.Parameter(torch.zeros(config.bits))
        self.sentence_bias = nn.Parameter(torch.zeros(config.bits))
        self.scales = nn.Parameter(torch.full((len(self.lengths),), math.log(15.0)))

    def project(self, vectors: Float[Tensor, "b d"], *, sentences: bool = False) -> Float[Tensor, "b m"]:
        """Unit vectors in the shared space."""
        mean = self.sentence_mean if sentences else self.picture_mean
        chosen = self.sentence_map if sentences else self.picture_map
        return functional.normalize((vectors - mean) @ chosen, dim=1)

    def margin(self, vectors: Float[Tensor, "b d"], *, sentences: bool = False) -> Float[Tensor, "b n"]:
        """Above 0 the bit is set; about 1 in size."""
        return self.projected_margin(self.project(vectors, sentences=sentences), sentences=sentences)

    def projected_margin(self, projected: Float[Tensor, "b m"], *, sentences: bool) -> Float[Tensor, "b n"]:
        """As `margin`, of vectors in the shared space."""
        bias = self.sentence_bias if sentences else self.picture_bias
        scaled = math.sqrt(projected.shape[1]) * projected
        return scaled @ self.weight + functional.gelu(self.mix_in(scaled)) @ self.mix_out + bias


def make(width: int, config: Config) -> HashNet | SharedNet:
    """The network of a design, on vectors of `width` dimensions."""
    design: Callable[[int, Config], HashNet | SharedNet] = HashNet if config.design == "paper" else SharedNet
    return design(width, config)


@torch.no_grad()
def to_bits(net: HashNet | SharedNet, vectors: Float[Tensor, "b d"], sentences: bool = False) -> Bool[Tensor, "b n"]:
    """The code of vectors: each row's alone, whatever it comes together with.

    Args:
        net: the hashing network.
        vectors: unit vectors.
        sentences: whether they are of sentences, which have thresholds of their own.
    """
    net = exact(net)
    vectors = vectors.to(next(net.parameters()).dtype)
    return net.margin(functional.normalize(vectors, dim=-1), sentences=sentences) > 0


def exact(net: HashNet | SharedNet) -> HashNet | SharedNet:
    """Ours in 64 bits, so that not even rounding depends on how many rows come together; the paper's, which is large,
    as it is."""
    if isinstance(net, HashNet) or net.weight.dtype == torch.float64:
        return net
    return deepcopy(net).double()
