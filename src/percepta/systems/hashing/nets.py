"""The hashing networks on vectors of an image-text space: the paper's, and ours, which starts from a closed form."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from percepta.systems.hashing import Config, losses

Loss = dict[str, Tensor]


class HashNet(nn.Module):
    """The paper's: d -> hidden -> hidden -> bits, the same for both modalities, and the min-max hashing layer."""

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
        """How much nearer to the frozen maximum than to the frozen minimum each output is: above 0 the bit is set."""
        return self(vectors) - (self.low + self.high) / 2

    def settle(self, seen: Float[Tensor, "v d"], said: Float[Tensor, "s d"], owner: Int[Tensor, " s"]) -> None:
        """Nothing has a closed form here."""

    def objective(self, seen: Float[Tensor, "n d"], said: Float[Tensor, "n d"], progress: float) -> Loss:
        """The losses of a batch of pairs; in training the extremes of the bits follow the batch's."""
        similarity = losses.dynamic_weighting(losses.joint_similarity(seen, said))
        outputs = self(seen), self(said)
        if self.training:
            self.watch(torch.cat(outputs).detach(), 0.1)
        return losses.clip4hashing(*outputs, similarity)

    @torch.no_grad()
    def watch(self, outputs: Float[Tensor, "b n"], share: float) -> None:
        """Moves the extremes towards those of some outputs by a share of the way; the first time, all of it."""
        share = 1.0 if self.watched == 0 else share
        self.low.lerp_(outputs.amin(0), share)
        self.high.lerp_(outputs.amax(0), share)
        self.watched.fill_(1)

    @torch.no_grad()
    def finish(self, seen: Float[Tensor, "v d"], said: Float[Tensor, "s d"]) -> None:
        """Takes the extremes over a whole training set."""
        parts = [self(part) for rows in (seen, said) for part in rows.split(1024)]
        self.watch(torch.stack([f for part in parts for f in (part.amin(0), part.amax(0))]), 1.0)


class SharedNet(nn.Module):
    """Ours: what the modalities share, turned so that signs keep it.

    Each modality has its mean and its map into `width` dimensions in which pictures and sentences that belong together
    agree best (shrunk canonical correlations, a closed form); vectors of length 1 there are the teacher. One linear map
    for both and a threshold a bit for each modality make the code, and are trained so that codes sort a batch as the
    teacher does. The first bits are a code as well: `prefixes` are trained beside the whole.
    """

    picture_mean: Tensor
    picture_map: Tensor
    sentence_mean: Tensor
    sentence_map: Tensor
    settled: Tensor

    def __init__(self, width: int, config: Config) -> None:
        super().__init__()
        inner = min(config.inner, width)
        self.shrink = config.shrink
        self.lengths = (*(n for n in config.prefixes if n < config.bits), config.bits)
        for side in ("picture", "sentence"):
            self.register_buffer(f"{side}_mean", torch.zeros(width))
            self.register_buffer(f"{side}_map", torch.eye(width, inner))
        self.register_buffer("settled", torch.zeros(()))
        self.weight = nn.Parameter(torch.randn(inner, config.bits) / math.sqrt(inner))
        self.mix_in = nn.Linear(inner, config.mixed)
        self.mix_out = nn.Parameter(torch.zeros(config.mixed, config.bits))  # none of it at first
        self.picture_bias = nn.Parameter(torch.zeros(config.bits))
        self.sentence_bias = nn.Parameter(torch.zeros(config.bits))
        self.scales = nn.Parameter(torch.full((len(self.lengths),), math.log(15.0)))

    def shared(self, vectors: Float[Tensor, "b d"], *, sentences: bool = False) -> Float[Tensor, "b m"]:
        """Unit vectors in what both modalities share."""
        mean = self.sentence_mean if sentences else self.picture_mean
        chosen = self.sentence_map if sentences else self.picture_map
        return functional.normalize((vectors - mean) @ chosen, dim=1)

    def margin(self, vectors: Float[Tensor, "b d"], *, sentences: bool = False) -> Float[Tensor, "b n"]:
        """Above 0 the bit is set; about 1 in size."""
        return self._margin(self.shared(vectors, sentences=sentences), sentences)

    def _margin(self, shared: Float[Tensor, "b m"], sentences: bool) -> Float[Tensor, "b n"]:
        bias = self.sentence_bias if sentences else self.picture_bias
        scaled = math.sqrt(shared.shape[1]) * shared
        return scaled @ self.weight + functional.gelu(self.mix_in(scaled)) @ self.mix_out + bias

    @torch.no_grad()
    def settle(self, seen: Float[Tensor, "v d"], said: Float[Tensor, "s d"], owner: Int[Tensor, " s"]) -> None:
        """Takes what has a closed form from the vectors of a training set; sentence i is about video owner[i]."""
        if self.settled:
            return
        self.picture_mean.copy_(seen.mean(0))
        self.sentence_mean.copy_(said.mean(0))
        x, y = seen[owner] - self.picture_mean, said - self.sentence_mean
        for own, found in zip((self.picture_map, self.sentence_map), agreement(x, y, self.shrink), strict=True):
            own.zero_()[:, : found.shape[1]] = found[:, : own.shape[1]]
        both = torch.cat([self.shared(seen[owner]), self.shared(said, sentences=True)])
        self.weight.copy_(rotations(both, self.weight.shape[1], min(self.lengths)))
        self.settled.fill_(1)

    def objective(self, seen: Float[Tensor, "n d"], said: Float[Tensor, "n d"], progress: float) -> Loss:
        """Loss of a batch of pairs. progress: share of the training that is done; signs grow sharper with it."""
        pictures, sentences = self.shared(seen), self.shared(said, sentences=True)
        teacher = TEACHER * sentences @ pictures.T
        sharpness = SHARPNESS * (1 + 2 * progress)
        bits = [torch.tanh(sharpness * self._margin(v, s)) for v, s in ((pictures, False), (sentences, True))]
        likeness, picked = [], []
        for length, scale in zip(self.lengths, self.scales, strict=True):
            logits = scale.exp() * bits[1][:, :length] @ bits[0][:, :length].T / length
            likeness.append(losses.taught(logits, teacher))
            picked.append(losses.contrastive(logits))
        as_taught, contrast = torch.stack(likeness).mean(), torch.stack(picked).mean()
        return {"loss": as_taught + CONTRAST * contrast, "taught": as_taught, "contrast": contrast}

    def finish(self, seen: Float[Tensor, "v d"], said: Float[Tensor, "s d"]) -> None:
        """Nothing is left to do after training."""


TEACHER = 25.0  # what cosines are multiplied with before the softmax
SHARPNESS = 0.8  # of the tanh that stands for the sign when training begins
CONTRAST = 0.3  # weight of picking the right one beside doing as the teacher does


def agreement(
    x: Float[Tensor, "s d"], y: Float[Tensor, "s d"], shrink: float
) -> tuple[Float[Tensor, "d k"], Float[Tensor, "d k"]]:
    """Maps of two sides into the directions in which they agree, the best first: canonical correlations.

    Args:
        x, y: centred rows that belong together.
        shrink: added to each covariance's diagonal, as a multiple of its mean: 0 for canonical correlations as they
            are, large for what partial least squares finds.

    Returns:
        maps whose columns are scaled by the root of the direction's correlation, so that doubtful ones count little.
    """
    x, y = x.double(), y.double()
    whiten_x, whiten_y = (_inverse_root(z.T @ z / len(z), shrink) for z in (x, y))
    u, correlation, v = torch.linalg.svd(whiten_x @ (x.T @ y / len(x)) @ whiten_y)
    gain = correlation.sqrt()
    return (whiten_x @ u * gain).float(), (whiten_y @ v.T * gain).float()


def _inverse_root(covariance: Float[Tensor, "d d"], shrink: float) -> Float[Tensor, "d d"]:
    values, vectors = torch.linalg.eigh(covariance)
    values = values.clamp_min(0) + shrink * values.mean().clamp_min(1e-12)
    return vectors * values.clamp_min(1e-9 * values.max()) ** -0.5 @ vectors.T


def rotations(rows: Float[Tensor, "r m"], bits: int, block: int, rounds: int = 30) -> Float[Tensor, "m bits"]:
    """Directions whose signs keep the rows best: blocks of orthonormal columns, each found by iterative quantisation
    (Gong & Lazebnik 2011) from another start."""
    columns, left = [], bits
    while left > 0:
        chosen = min(block, left, rows.shape[1])
        generator = torch.Generator().manual_seed(len(columns))
        start = torch.randn(rows.shape[1], rows.shape[1], generator=generator).to(rows)
        columns.append(quantising(rows, torch.linalg.qr(start)[0][:, :chosen], rounds))
        left -= chosen
    return torch.cat(columns, 1)


def quantising(rows: Float[Tensor, "r m"], start: Float[Tensor, "m n"], rounds: int) -> Float[Tensor, "m n"]:
    """Orthonormal columns that bring rows @ columns near to its own signs: signs and columns in turn (Procrustes)."""
    columns = start
    for _ in range(rounds):
        u, _, v = torch.linalg.svd(rows.T @ torch.where(rows @ columns > 0, 1.0, -1.0), full_matrices=False)
        columns = u @ v
    return columns


def make(width: int, config: Config) -> HashNet | SharedNet:
    """The network of a design, on vectors of `width` dimensions."""
    design: Callable[[int, Config], HashNet | SharedNet] = HashNet if config.design == "paper" else SharedNet
    return design(width, config)


@torch.no_grad()
def to_bits(net: HashNet | SharedNet, vectors: Float[Tensor, "b d"], sentences: bool = False) -> Bool[Tensor, "b n"]:
    """The code of vectors: each row's alone, whatever it comes together with."""
    net = exact(net)
    vectors = vectors.to(next(net.parameters()).dtype)
    return net.margin(functional.normalize(vectors, dim=-1), sentences=sentences) > 0


def exact(net: HashNet | SharedNet) -> HashNet | SharedNet:
    """Ours in 64 bits, so that not even rounding depends on how many rows come together; the paper's, which is large,
    as it is."""
    if isinstance(net, HashNet) or net.weight.dtype == torch.float64:
        return net
    return deepcopy(net).double()
