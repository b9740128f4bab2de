"""Heads: maps of stride 4, 8, 16 and 32 to logits at a quarter of the picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

DROPOUT = 0.1  # of whole channels before the classifier
DILATIONS = (1, 6, 12, 18)


class Head(nn.Module):
    """What all heads have: they tell how far a picture is from those of the training."""

    levels: nn.ModuleList

    @contextmanager
    def watched(self) -> Iterator[list[float]]:
        """Collects, for each picture, the distance of what goes into the head's first batch norm.

        A batch norm remembers mean and variance of every channel over the training. The distance is the mean over
        channels of the divergence between the normal distribution of the picture's places and the remembered one:
        ((m − M)² + v) / V − 1 − log(v / V), halved.
        """
        norm = next(layer for layer in self.modules() if isinstance(layer, nn.BatchNorm2d))
        distances: list[float] = []

        def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var") + norm.eps
            x = inputs[0].float()
            own_mean, own = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0) + norm.eps
            apart = ((own_mean - mean) ** 2 + own) / variance - 1 - torch.log(own / variance)
            distances.append(float(apart.mean() / 2))

        handle = norm.register_forward_pre_hook(note)
        try:
            yield distances
        finally:
            handle.remove()


class SegFormerHead(Head):
    """Each level linearly to `width`, brought to a quarter, joined (deepest first), mixed, classified (section 3.2)."""

    def __init__(self, channels: Sequence[int], width: int, classes: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList([nn.Linear(c, width) for c in channels])
        self.fuse = nn.Conv2d(4 * width, width, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.classify = nn.Conv2d(width, classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> Float[Tensor, "b k h4 w4"]:
        joined = [embedded(layer, x, maps[0]) for layer, x in zip(self.levels, maps, strict=True)]
        x = functional.relu(self.norm(self.fuse(torch.cat(joined[::-1], 1))))
        return self.classify(functional.dropout2d(x, DROPOUT, self.training))


class DAFormerHead(Head):
    """Context-aware fusion: levels joined (shallowest first), then four branches of growing dilation (section 4.2)."""

    def __init__(self, channels: Sequence[int], width: int, classes: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList([nn.Linear(c, width) for c in channels])
        total = width * len(channels)
        branches = [Separable(total, width, dilation) for dilation in DILATIONS[1:]]
        self.branches = nn.ModuleList([ConvNorm(total, width, 1), *branches])
        self.fuse = ConvNorm(len(DILATIONS) * width, width, 3)
        self.classify = nn.Conv2d(width, classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> Float[Tensor, "b k h4 w4"]:
        x = torch.cat([embedded(layer, x, maps[0]) for layer, x in zip(self.levels, maps, strict=True)], 1)
        x = self.fuse(torch.cat([branch(x) for branch in self.branches], 1))
        return self.classify(functional.dropout2d(x, DROPOUT, self.training))


class ConvNorm(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, c_in: int, c_out: int, kernel: int, dilation: int = 1, groups: int = 1) -> None:
        super().__init__()
        padding = dilation * (kernel // 2)
        self.conv = nn.Conv2d(c_in, c_out, kernel, 1, padding, dilation, groups, bias=False)
        self.norm = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.norm(self.conv(x)))


class Separable(nn.Module):
    """Depthwise 3×3 and pointwise convolution, each with norm and ReLU."""

    def __init__(self, c_in: int, c_out: int, dilation: int = 1) -> None:
        super().__init__()
        self.depthwise = ConvNorm(c_in, c_in, 3, dilation, c_in)
        self.pointwise = ConvNorm(c_in, c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))


class LightHead(Head):
    """Ours: context at the deepest level, then from level to level up to a quarter, in depthwise convolutions.

    The deepest map gets the picture's mean and two dilated branches; each finer level adds its own features (1×1) to
    what comes from below and mixes both. The number of levels is that of `channels`.
    """

    def __init__(self, channels: Sequence[int], width: int, classes: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList([nn.Conv2d(c, width, 1) for c in channels])
        self.whole = nn.Linear(width, width)
        self.near, self.far = Separable(width, width), Separable(width, width, 3)
        self.mix = nn.ModuleList([Separable(width, width) for _ in channels[1:]])
        self.last = Separable(width, width)
        self.classify = nn.Conv2d(width, classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> Float[Tensor, "b k h4 w4"]:
        x = self.levels[-1](maps[-1])
        x = x + self.near(x) + self.far(x) + self.whole(x.mean((2, 3)))[:, :, None, None]
        for level in reversed(range(len(maps) - 1)):
            own = self.levels[level](maps[level])
            x = self.mix[level](own + brought(x, own))
        x = x + self.last(x)
        return self.classify(functional.dropout2d(x, DROPOUT, self.training))


def embedded(layer: nn.Module, x: Float[Tensor, "b c h w"], like: Tensor) -> Float[Tensor, "b d h4 w4"]:
    """A level through a linear layer, brought to the size of the finest one.

    Args:
        layer: linear, over channels.
        x: the level.
        like: the finest level.
    """
    y = layer(x.flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(2, x.shape[2:])
    return brought(y, like)


def brought(x: Float[Tensor, "b c h w"], like: Tensor) -> Float[Tensor, "b c h2 w2"]:
    """Bilinearly to the size of another map; pixel centres as in half-pixel resampling."""
    if x.shape[2:] == like.shape[2:]:
        return x
    return functional.interpolate(x, like.shape[2:], mode="bilinear", align_corners=False)
