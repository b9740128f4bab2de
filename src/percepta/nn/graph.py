"""Graphs as lists of edges: softmax and sums over the edges that lead to a node."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def edge_softmax(values: Float[Tensor, "e h"], node: Int[Tensor, " e"], count: int) -> Float[Tensor, "e h"]:
    """Softmax over the edges that lead to the same node, for each column.

    Args:
        values: of the edges.
        node: to which each edge leads.
        count: of the nodes.
    """
    index = node[:, None].expand_as(values)
    highest = values.new_full((count, values.shape[1]), -torch.inf).scatter_reduce(0, index, values.detach(), "amax")
    power = (values - highest[node]).exp()
    return power / (edge_sum(power, node, count)[node] + 1e-16)


def edge_sum(values: Float[Tensor, "e *c"], node: Int[Tensor, " e"], count: int) -> Float[Tensor, "n *c"]:
    """The sum over the edges that lead to each node; 0 where none does.

    Args:
        values: of the edges.
        node: to which each edge leads.
        count: of the nodes.
    """
    return values.new_zeros(count, *values.shape[1:]).index_add(0, node, values)
