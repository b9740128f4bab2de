"""The radiance fields: one small network a node, all evaluated in one batched product; and the plain one of the
baseline."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

_BLOCK = 64  # queries of one node that go through the product together


def encoding(x: Float[Tensor, "*n c"], frequencies: int) -> Float[Tensor, "*n d"]:
    """x, and the sine and cosine of π·2^k·x for k below `frequencies`: c·(1 + 2·frequencies) numbers."""
    if not frequencies:
        return x
    scale = math.pi * 2.0 ** torch.arange(frequencies, device=x.device, dtype=x.dtype)
    waves = (x[..., None, :] * scale[:, None]).flatten(-2)
    return torch.cat([x, waves.sin(), waves.cos()], -1)


class NodeNetworks(nn.Module):
    """n multilayer perceptrons of equal size; a query names the one that it goes through."""

    def __init__(self, nodes: int, inputs: int, hidden: int, layers: int, outputs: int) -> None:
        super().__init__()
        self.nodes = nodes
        sizes = [inputs, *[hidden] * layers, outputs]
        self.weights = nn.ParameterList(
            nn.Parameter(torch.randn(nodes, a, b) * math.sqrt(2 / a)) for a, b in pairwise(sizes)
        )
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(nodes, 1, b)) for b in sizes[1:])
        with torch.no_grad():
            self.weights[-1].mul_(0.3)

    def forward(self, x: Float[Tensor, "q i"], node: Int[Tensor, " q"]) -> Float[Tensor, "q o"]:
        """Each query through the network of its node.

        The queries are sorted by node and cut into blocks that belong to one node, so that a layer is one batched
        product over all blocks, however unevenly the nodes are asked.
        """
        order = torch.argsort(node, stable=True)
        ordered = node[order]
        count = torch.bincount(node, minlength=self.nodes)
        blocks = (count + _BLOCK - 1) // _BLOCK
        owner = torch.repeat_interleave(torch.arange(self.nodes, device=x.device), blocks)
        first_block, first_query = torch.cumsum(blocks, 0) - blocks, torch.cumsum(count, 0) - count
        slot = first_block[ordered] * _BLOCK + torch.arange(len(x), device=x.device) - first_query[ordered]
        hidden = x.new_zeros(len(owner) * _BLOCK, x.shape[1]).index_copy(0, slot, x[order])
        hidden = hidden.view(len(owner), _BLOCK, -1)
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = torch.baddbmm(bias[owner], hidden, weight[owner])
            if number < len(self.weights) - 1:
                hidden = functional.relu(hidden)
        out = hidden.reshape(len(owner) * _BLOCK, -1)[slot]
        return torch.empty_like(out).index_copy(0, order, out)

    def one_by_one(self, x: Float[Tensor, "q i"], node: Int[Tensor, " q"]) -> Float[Tensor, "q o"]:
        """What `forward` computes, query by query: slow and obvious."""
        out = []
        for row, place in zip(x, node.tolist(), strict=True):
            for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
                row = row @ weight[place] + bias[place, 0]
                row = functional.relu(row) if number < len(self.weights) - 1 else row
            out.append(row)
        return torch.stack(out)


def inside_any(
    points: Float[Tensor, "m 3"], centres: Float[Tensor, "n 3"], radius: float
) -> tuple[Int[Tensor, " i"], Float[Tensor, "i n"]]:
    """Places of the points that lie in some sphere, and their squared distances to all centres.

    Args:
        points: in the world, metres.
        centres: of the spheres.
        radius: of the spheres, metres.
    """
    middle = centres.mean(0)  # differences of large numbers lose digits
    points, centres = points - middle, centres - middle
    square = (points * points).sum(-1, keepdim=True) - 2 * points @ centres.T + (centres * centres).sum(-1)
    index = torch.nonzero(square.amin(-1) < radius * radius)[:, 0]
    return index, square[index]


def near_nodes(
    points: Float[Tensor, "m 3"],
    centres: Float[Tensor, "n 3"],
    square: Float[Tensor, "m n"],
    sigma: float,
    floor: float,
    most: int,
) -> tuple[Int[Tensor, "m k"], Float[Tensor, "m k"]]:
    """The nearest nodes of each point and their weights max(exp(−d²/2σ²) − floor, 0), not yet normalised.

    Args:
        points: in the world, metres.
        centres: of the nodes.
        square: squared distances, used for the choice only.
        sigma: width of the weights, metres.
        floor: what is taken off.
        most: how many nodes.
    """
    nearest = torch.topk(square, min(most, len(centres)), dim=-1, largest=False).indices
    exact = ((points[:, None] - centres[nearest]) ** 2).sum(-1)
    return nearest, (torch.exp(-exact / (2 * sigma * sigma)) - floor).clamp_min(0)


def reach(sigma: float, floor: float) -> float:
    """Radius of a node's sphere: where its weight becomes 0, metres."""
    return sigma * math.sqrt(-2 * math.log(floor))


def span(
    origin: Float[Tensor, "r 3"], direction: Float[Tensor, "r 3"], centres: Float[Tensor, "n 3"], radius: float
) -> tuple[Float[Tensor, " r"], Float[Tensor, " r"], Bool[Tensor, " r"]]:
    """Where rays enter the first sphere and leave the last one, and whether they meet any.

    Args:
        origin: of the rays.
        direction: of unit length.
        centres: of the spheres.
        radius: of the spheres, metres.
    """
    away = centres[None] - origin[:, None]
    along = (away * direction[:, None]).sum(-1)
    miss = (away * away).sum(-1) - along * along
    half = (radius * radius - miss).clamp_min(0).sqrt()
    hit = (miss < radius * radius) & (along + half > 0)
    near = torch.where(hit, along - half, torch.inf).amin(-1)
    far = torch.where(hit, along + half, -torch.inf).amax(-1)
    some = hit.any(-1)
    return near.clamp_min(0).where(some, 0), far.where(some, 0), some


def composite(
    density: Float[Tensor, "r s"], colour: Float[Tensor, "r s 3"], step: Float[Tensor, " r"]
) -> tuple[Float[Tensor, "r 3"], Float[Tensor, " r"], Float[Tensor, "r s"]]:
    """Volume rendering: colour on black, opacity, and the weight of each sample.

    Args:
        density: of the samples, 1/m.
        colour: of the samples, 0..1.
        step: distance between two samples of each ray, metres.
    """
    alpha = 1 - torch.exp(-density * step[:, None])
    passed = torch.cumprod(torch.cat([torch.ones_like(alpha[:, :1]), 1 - alpha + 1e-10], -1), -1)[:, :-1]
    weight = alpha * passed
    return (weight[..., None] * colour).sum(1), weight.sum(1), weight
