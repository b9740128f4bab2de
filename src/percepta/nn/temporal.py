"""Blocks of ActionFormer (Zhang, Wu & Li, ECCV 2022): transformers over time with local windows, and point heads.

Sequences are (b c t) with a mask (b 1 t) of what is no padding. After every convolution the padding is zero again;
norms put their bias there, which the next convolution reads, as in the published network. Names of parameters are those
of the published checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional


class MaskedConv(nn.Module):
    """A convolution over time after which padding is zero; with a stride, the mask is thinned out as well."""

    def __init__(
        self, c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1, *, bias: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv1d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=bias)
        if bias and self.conv.bias is not None:
            nn.init.zeros_(self.conv.bias)
        self.stride = stride

    def forward(self, x: Float[Tensor, "b c t"], mask: Bool[Tensor, "b 1 t"]) -> tuple[Tensor, Tensor]:
        """(output, its mask); t is a multiple of the stride."""
        thinned = mask[..., :: self.stride]
        return self.conv(x) * thinned, thinned


class ChannelNorm(nn.Module):
    """Layer norm over channels of (b c t)."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, channels, 1))
        self.bias = nn.Parameter(torch.zeros(1, channels, 1))
        self.eps = eps

    def forward(self, x: Float[Tensor, "b c t"]) -> Float[Tensor, "b c t"]:
        centred = x - x.mean(1, keepdim=True)
        return centred / torch.sqrt(centred.square().mean(1, keepdim=True) + self.eps) * self.weight + self.bias


class DropPath(nn.Module):
    """A learned scale of each channel; in training whole samples are left out with probability `drop`."""

    def __init__(self, channels: int, drop: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((1, channels, 1), 1e-4))
        self.drop = drop

    def forward(self, x: Float[Tensor, "b c t"]) -> Float[Tensor, "b c t"]:
        x = x * self.scale
        if not self.training or self.drop == 0:
            return x
        kept = torch.rand(len(x), 1, 1, device=x.device) >= self.drop
        return x * kept / (1 - self.drop)


class Attention(nn.Module):
    """Heads of attention among places at most window // 2 apart; window 0 or below: among all.

    Queries, keys and values pass a depthwise convolution and a norm first; with a stride it thins out the sequence.
    """

    def __init__(self, channels: int, heads: int, window: int, stride: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        kernel = stride + 1 if stride > 1 else 3
        for name in ("query", "key", "value"):
            setattr(self, f"{name}_conv", MaskedConv(channels, channels, kernel, stride, channels, bias=False))
            setattr(self, f"{name}_norm", ChannelNorm(channels))
        self.key = nn.Conv1d(channels, channels, 1)
        self.query = nn.Conv1d(channels, channels, 1)
        self.value = nn.Conv1d(channels, channels, 1)
        self.proj = nn.Conv1d(channels, channels, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "b c t"], mask: Bool[Tensor, "b 1 t"]) -> tuple[Tensor, Tensor]:
        """(output, its mask)."""
        parts = []
        seen = mask
        for name in ("query", "key", "value"):
            moved, seen = getattr(self, f"{name}_conv")(x, mask)
            moved = getattr(self, name)(getattr(self, f"{name}_norm")(moved))
            parts.append(moved.unflatten(1, (self.heads, -1)))
        query, key, value = parts
        query = query / math.sqrt(query.shape[2])
        mixed = _local(query, key, value, seen, self.window, self.dropout) if self.window > 0 else None
        if mixed is None:
            weight = torch.einsum("bhdq,bhdk->bhqk", query, key).masked_fill(~seen[:, :, None], -math.inf)
            mixed = torch.einsum("bhqk,bhdk->bhdq", self.dropout(weight.softmax(-1)), value * seen[:, :, None])
        return self.dropout(self.proj(mixed.flatten(1, 2))) * seen, seen


def _local(
    query: Float[Tensor, "b h d t"],
    key: Float[Tensor, "b h d t"],
    value: Float[Tensor, "b h d t"],
    seen: Bool[Tensor, "b 1 t"],
    window: int,
    dropout: nn.Module,
) -> Float[Tensor, "b h d t"]:
    """Attention of each place to those up to window // 2 before and behind it; one pass for each distance."""
    half, t = window // 2, query.shape[-1]
    keys, values = functional.pad(key, (half, half)), functional.pad(value, (half, half))
    there = functional.pad(seen.float(), (half, half))
    weights = [(query * keys[..., i : i + t]).sum(2) - 1e4 * (1 - there[..., i : i + t]) for i in range(2 * half + 1)]
    weight = dropout(torch.stack(weights).softmax(0)) * seen
    mixed = torch.zeros_like(value)
    for i in range(2 * half + 1):
        mixed = mixed + weight[i][:, :, None] * values[..., i : i + t]
    return mixed


class TemporalBlock(nn.Module):
    """Attention and a two-layer perceptron, each added to its input; with a stride, the input is max-pooled."""

    def __init__(
        self, channels: int, heads: int, window: int, stride: int = 1, dropout: float = 0.0, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        self.ln1, self.ln2 = ChannelNorm(channels), ChannelNorm(channels)
        self.attn = Attention(channels, heads, window, stride, dropout)
        self.pool = nn.MaxPool1d(stride + 1, stride, (stride + 1) // 2) if stride > 1 else nn.Identity()
        self.mlp = nn.Sequential(
            nn.Conv1d(channels, 4 * channels, 1), nn.GELU(), nn.Dropout(dropout),
            nn.Conv1d(4 * channels, channels, 1), nn.Dropout(dropout),
        )  # fmt: skip
        self.drop_path_attn, self.drop_path_mlp = DropPath(channels, drop_path), DropPath(channels, drop_path)

    def forward(self, x: Float[Tensor, "b c t"], mask: Bool[Tensor, "b 1 t"]) -> tuple[Tensor, Tensor]:
        """(output, its mask)."""
        out, thinned = self.attn(self.ln1(x), mask)
        out = self.pool(x) * thinned + self.drop_path_attn(out)
        return out + self.drop_path_mlp(self.mlp(self.ln2(out)) * thinned), thinned


def sinusoids(length: int, channels: int) -> Float[Tensor, "1 c t"]:
    """Sines on even channels and cosines on odd ones, divided by the root of the channels."""
    place = torch.arange(length, dtype=torch.float64)[:, None]
    rate = 10000 ** (2 * (torch.arange(channels, dtype=torch.float64) // 2) / channels)
    angle = place / rate
    table = torch.where(torch.arange(channels) % 2 == 0, angle.sin(), angle.cos())
    return (table / math.sqrt(channels)).float().T[None].contiguous()


class Backbone(nn.Module):
    """Projection of features, blocks at full rate, then blocks that halve the rate: one output a level.

    Args:
        c_in: channels of the features.
        channels: of the network.
        heads: of attention.
        windows: of each level; below 1: all places.
        stem: blocks at full rate.
        kernel: of the projection.
        positions: for how many places positions are known; 0: none are added.
        dropout: in attention and perceptrons.
        drop_path: share of samples whose block is left out in training.
    """

    def __init__(
        self,
        c_in: int,
        channels: int,
        heads: int,
        windows: Sequence[int],
        stem: int = 2,
        kernel: int = 3,
        positions: int = 0,
        dropout: float = 0.0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.embd = nn.ModuleList(MaskedConv(c, channels, kernel, bias=False) for c in (c_in, channels))
        self.embd_norm = nn.ModuleList(ChannelNorm(channels) for _ in range(2))
        self.stem = nn.ModuleList(
            TemporalBlock(channels, heads, windows[0], 1, dropout, drop_path) for _ in range(stem)
        )
        self.branch = nn.ModuleList(
            TemporalBlock(channels, heads, window, 2, dropout, drop_path) for window in windows[1:]
        )
        self.positions: Tensor | None
        self.register_buffer("positions", sinusoids(positions, channels) if positions else None, persistent=False)

    def forward(
        self, x: Float[Tensor, "b c t"], mask: Bool[Tensor, "b 1 t"]
    ) -> tuple[list[Float[Tensor, "b d _t"]], list[Bool[Tensor, "b 1 _t"]]]:
        """(outputs, masks) of every level; t is a multiple of the coarsest stride."""
        for conv, norm in zip(self.embd, self.embd_norm, strict=True):
            x, mask = conv(x, mask)
            x = functional.relu(norm(x))
        if self.positions is not None:
            place = self.positions
            if x.shape[-1] > place.shape[-1]:
                place = functional.interpolate(place, x.shape[-1], mode="linear", align_corners=False)
            x = x + place[..., : x.shape[-1]] * mask
        for block in self.stem:
            x, mask = block(x, mask)
        outputs, masks = [x], [mask]
        for block in self.branch:
            x, mask = block(x, mask)
            outputs.append(x)
            masks.append(mask)
        return outputs, masks


class Neck(nn.Module):
    """A norm for each level."""

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__()
        self.fpn_norms = nn.ModuleList(ChannelNorm(channels) for _ in range(levels))

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        return [norm(x) for norm, x in zip(self.fpn_norms, levels, strict=True)]


class _Trunk(nn.Module):
    """Convolutions with norms that all levels share."""

    def __init__(self, channels: int, layers: int) -> None:
        super().__init__()
        self.head = nn.ModuleList(MaskedConv(channels, channels, 3, bias=False) for _ in range(layers))
        self.norm = nn.ModuleList(ChannelNorm(channels) for _ in range(layers))

    def trunk(self, x: Tensor, mask: Tensor) -> Tensor:
        for conv, norm in zip(self.head, self.norm, strict=True):
            x = functional.relu(norm(conv(x, mask)[0]))
        return x


class ClassHead(_Trunk):
    """Logits of each class at each place of each level."""

    def __init__(self, channels: int, classes: int, layers: int = 2, prior: float = 0.01) -> None:
        super().__init__(channels, layers)
        self.cls_head = MaskedConv(channels, classes, 3)
        if self.cls_head.conv.bias is not None:
            nn.init.constant_(self.cls_head.conv.bias, -math.log((1 - prior) / prior))

    def forward(self, levels: list[Tensor], masks: list[Tensor]) -> list[Float[Tensor, "b k _t"]]:
        return [self.cls_head(self.trunk(x, m), m)[0] for x, m in zip(levels, masks, strict=True)]


class Scale(nn.Module):
    """One learned factor."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


class OffsetHead(_Trunk):
    """Distances from each place to the start and the end of its segment, in strides of the level; at least 0."""

    def __init__(self, channels: int, levels: int, layers: int = 2) -> None:
        super().__init__(channels, layers)
        self.scale = nn.ModuleList(Scale() for _ in range(levels))
        self.offset_head = MaskedConv(channels, 2, 3)

    def forward(self, levels: list[Tensor], masks: list[Tensor]) -> list[Float[Tensor, "b 2 _t"]]:
        return [
            functional.relu(scale(self.offset_head(self.trunk(x, m), m)[0]))
            for scale, x, m in zip(self.scale, levels, masks, strict=True)
        ]
