"""Attention between things that each have a frame of their own: keys carry where the other is, as seen from the one.

What is known of each thing is written in its own frame (origin at its place, x along its direction), so turning or
moving the whole scene changes nothing. How two of them lie to each other goes into key and value (Zhou et al., QCNet,
CVPR 2023).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from percepta.errors import InputError


def relative_pose(dx: Float[Tensor, "*s"], dy: Float[Tensor, "*s"], turn: Float[Tensor, "*s"]) -> Float[Tensor, "*s 5"]:
    """What a relation is described by: dx, dy, distance, cosine and sine of the turn.

    Args:
        dx, dy: place of the other in the frame of the one.
        turn: its direction less that of the one, radians.
    """
    return torch.stack([dx, dy, (dx * dx + dy * dy + 1e-12).sqrt(), turn.cos(), turn.sin()], -1)


class RelativeAttention(nn.Module):
    """Multi-head attention of n things, with q queries each, to s others that each one names.

    A further key that is always there stands for "nothing": whoever has no others attends to that.
    """

    def __init__(self, width: int, heads: int, relation: int) -> None:
        super().__init__()
        if width % heads:
            raise InputError(f"width {width} is no multiple of {heads} heads")
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.norm_other = nn.LayerNorm(width)
        self.query, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.key, self.value = nn.Linear(width, width, bias=False), nn.Linear(width, width)
        # they are used from the side of the query, see `attend`
        self.relation_key = nn.Linear(relation, width, bias=False)
        self.relation_value = nn.Linear(relation, width, bias=False)
        self.nothing_key = nn.Parameter(0.02 * torch.randn(width))
        self.nothing_value = nn.Parameter(torch.zeros(width))

    def forward(
        self,
        x: Float[Tensor, "n q c"],
        other: Float[Tensor, "m c"],
        index: Int[Tensor, "n s"],
        relation: Float[Tensor, "n s r"],
        there: Bool[Tensor, "n s"],
    ) -> Float[Tensor, "n q c"]:
        """What is added to `x`.

        Args:
            x: the queries.
            other: what they may attend to.
            index: rows of `other` that each of the n may attend to; 0 where there is none.
            relation: how these lie to it.
            there: False where `index` names nothing.
        """
        other = self.norm_other(other)
        return self.attend(x, self.key(other)[index][:, None], self.value(other)[index][:, None], relation, there)

    def between_modes(
        self,
        x: Float[Tensor, "n q c"],
        index: Int[Tensor, "n s"],
        relation: Float[Tensor, "n s r"],
        there: Bool[Tensor, "n s"],
    ) -> Float[Tensor, "n q c"]:
        """The same, where query k of each attends only to query k of the others.

        Args:
            x: the queries, which are also attended to.
            index: rows of `x` that each of the n may attend to; 0 where there is none.
            relation: how these lie to it.
            there: False where `index` names nothing.
        """
        other = self.norm_other(x)
        key, value = (f(other)[index].transpose(1, 2) for f in (self.key, self.value))
        return self.attend(x, key, value, relation, there)

    def attend(
        self,
        x: Float[Tensor, "n q c"],
        key: Float[Tensor, "n p s c"],
        value: Float[Tensor, "n p s c"],
        relation: Float[Tensor, "n s r"],
        there: Bool[Tensor, "n s"],
    ) -> Float[Tensor, "n q c"]:
        """Attention to keys that are given; p is 1 where all queries share them, else q.

        A key is key + W r with the relation r. As q · (W r) = (Wᵀ q) · r, W is applied to the queries, of which there
        are fewer than pairs; the same holds for the values.

        Args:
            x: the queries.
            key: of what is attended to.
            value: of what is attended to.
            relation: how that lies to who attends.
            there: False where there is none.
        """
        n, q, c = x.shape
        p, s = key.shape[1:3]
        split = (self.heads, c // self.heads)
        query = self.query(self.norm(x)).view(n, q, *split) / math.sqrt(split[1])
        nothing = (query * self.nothing_key.view(split)).sum(-1)[..., None]  # n q h 1
        to_relation = self.relation_key.weight.view(*split, -1)
        logits = torch.einsum("nqhr,nsr->nqhs", torch.einsum("nqhd,hdr->nqhr", query, to_relation), relation)
        key, value = key.reshape(n, p, s, *split), value.reshape(n, p, s, *split)
        one_by_one = p == q  # then products of single rows, which are faster written out than as tiny matrices
        if one_by_one:
            logits = logits + (query[:, :, None] * key).sum(-1).transpose(2, 3)
        else:
            logits = logits + torch.einsum("nqhd,nshd->nqhs", query, key[:, 0])
        logits = logits.masked_fill(~there[:, None, None], -1e9)
        weight = torch.cat([nothing, logits], -1).softmax(-1)
        others = weight[..., 1:]
        if one_by_one:
            y = (others.transpose(2, 3)[..., None] * value).sum(2)
        else:
            y = torch.einsum("nqhs,nshd->nqhd", others, value[:, 0])
        seen = torch.einsum("nqhs,nsr->nqhr", others, relation)
        y = y + torch.einsum("nqhr,hdr->nqhd", seen, self.relation_value.weight.view(*split, -1))
        y = y + weight[..., :1] * self.nothing_value.view(split)
        return self.out(y.reshape(n, q, c))
