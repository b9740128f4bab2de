"""Attention layers and position codes that several systems stand on."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from percepta.errors import InputError


class Attention(nn.Module):
    """Multi-head attention of `x` to `y` (Vaswani et al. 2017)."""

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if width % heads:
            raise InputError(f"width {width} is no multiple of {heads} heads")
        self.heads, self.dropout = heads, dropout
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)

    def forward(
        self,
        query: Float[Tensor, "b n c"],
        key: Float[Tensor, "b m c"],
        value: Float[Tensor, "b m c"],
        mask: Bool[Tensor, "b m"] | None = None,
    ) -> Float[Tensor, "b n c"]:
        """`mask` is True where a key may be looked at.

        Args:
            query: what asks.
            key: what is compared with the query.
            value: what is averaged.
            mask: True where a key may be looked at; None: everywhere.
        """
        b, n, c = query.shape
        q, k, v = (
            f(t).view(b, t.shape[1], self.heads, -1).transpose(1, 2)
            for f, t in ((self.query, query), (self.key, key), (self.value, value))
        )
        allowed = None if mask is None else mask[:, None, None].expand(b, 1, n, mask.shape[1])
        y = functional.scaled_dot_product_attention(
            q, k, v, attn_mask=allowed, dropout_p=self.dropout if self.training else 0.0
        )
        return self.out(y.transpose(1, 2).reshape(b, n, c))


class EncoderLayer(nn.Module):
    """Pre-norm self-attention and feed-forward."""

    def __init__(self, width: int, heads: int, inner: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm_self, self.norm_ffn = nn.LayerNorm(width), nn.LayerNorm(width)
        self.self_attention = Attention(width, heads, dropout)
        self.ffn = nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Dropout(dropout), nn.Linear(inner, width))

    def forward(
        self,
        x: Float[Tensor, "b n c"],
        position: Float[Tensor, "#b n c"],
        mask: Bool[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "b n c"]:
        """`position` is added to queries and keys; `mask` is True at what is no padding.

        Args:
            x: the sequence.
            position: added to queries and keys.
            mask: True at what is no padding; None: everywhere.
        """
        y = self.norm_self(x)
        x = x + self.self_attention(y + position, y + position, y, mask)
        return x + self.ffn(self.norm_ffn(x))


class DecoderLayer(EncoderLayer):
    """Pre-norm self-attention, cross-attention to a memory, feed-forward."""

    def __init__(self, width: int, heads: int, inner: int, dropout: float = 0.0) -> None:
        super().__init__(width, heads, inner, dropout)
        self.norm_cross = nn.LayerNorm(width)
        self.cross_attention = Attention(width, heads, dropout)

    def forward(  # type: ignore[override]
        self,
        x: Float[Tensor, "b n c"],
        position: Float[Tensor, "#b n c"],
        memory: Float[Tensor, "b m c"],
        mask: Bool[Tensor, "b m"] | None = None,
    ) -> Float[Tensor, "b n c"]:
        """`mask` is True at those places of the memory that are no padding.

        Args:
            x: the sequence.
            position: added to queries and keys.
            memory: the other sequence, which is looked at.
            mask: True at those places of the memory that are no padding; None: everywhere.
        """
        y = self.norm_self(x)
        x = x + self.self_attention(y + position, y + position, y)
        y = self.norm_cross(x)
        x = x + self.cross_attention(y + position, memory, memory, mask)
        return x + self.ffn(self.norm_ffn(x))


def sine_grid(height: int, width: int, channels: int, *, device: torch.device | None = None) -> Float[Tensor, "n c"]:
    """Sines and cosines of a grid's coordinates (row-major), which run from -1 to 1 whatever the grid's size.

    A quarter of the channels each: sine and cosine of x, sine and cosine of y, wavelengths from 4 down in equal ratios.

    Args:
        height: rows of the grid.
        width: columns of the grid.
        channels: a multiple of 4.
        device: where the numbers are put.
    """
    count = channels // 4
    scale = math.pi / 2 * 2 ** torch.linspace(0, 6, count, device=device)
    y = (torch.arange(height, device=device) + 0.5) / height * 2 - 1
    x = (torch.arange(width, device=device) + 0.5) / width * 2 - 1
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).reshape(-1, 2, 1) * scale
    code = torch.cat((grid.sin(), grid.cos()), -1).flatten(1)
    return functional.pad(code, (0, channels - code.shape[1]))


def sine_line(length: int, channels: int, *, device: torch.device | None = None) -> Float[Tensor, "n c"]:
    """Sines and cosines of places in a sequence (Vaswani et al. 2017).

    Args:
        length: of the sequence.
        channels: an even number.
        device: where the numbers are put.
    """
    place = torch.arange(length, device=device)[:, None]
    scale = torch.exp(torch.arange(0, channels, 2, device=device) * (-math.log(10000.0) / channels))
    return torch.stack(((place * scale).sin(), (place * scale).cos()), -1).flatten(1)[:, :channels]
