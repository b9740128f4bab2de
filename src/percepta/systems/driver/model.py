"""Features of several views to the class of each moment, by view and fused.

Data flow: features (b v t c), present (b v t) -> a shared network over time -> log probabilities of each view (b v t k)
-> fused logits (b t k). The fusion is a mean over the views that are there, weighted by class and view:

    z[k] = gain · n^power · sum_v a[v, k] log p_v[k] / sum_v a[v, k]        over the n views that are present

with a = softplus of what is learnt. A view that is missing takes no part; n^power says how much surer several views
are than one. Where no view is there, z = 0: nothing is known, and the decoder passes over it.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from percepta.nn.efficientnet import EfficientNetLite0
from percepta.systems.driver import Config

KERNEL = 5


class TimeBlock(nn.Module):
    """A convolution over time with what went in added to it; it sees nothing of moments that are not there."""

    def __init__(self, width: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv1d(width, width, KERNEL, padding=dilation * (KERNEL // 2), dilation=dilation)
        self.mix = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "n t w"], there: Float[Tensor, "n t 1"]) -> Float[Tensor, "n t w"]:
        y = self.conv((self.dropout(self.norm(x)) * there).transpose(1, 2)).transpose(1, 2)
        return x + self.mix(functional.gelu(y))


class DriverNetwork(nn.Module):
    """The network; `image` is there where features come from EfficientNet."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        if config.features == "lite0":
            self.image = EfficientNetLite0(classifier=False).requires_grad_(False)
        views, width, classes = len(config.views), config.width, len(config.labels)
        self.project = nn.Linear(config.channels, width)
        self.view = nn.Parameter(0.02 * torch.randn(views, width))
        self.blocks = nn.ModuleList(TimeBlock(width, d, config.dropout) for d in config.dilations)
        self.norm = nn.LayerNorm(width)
        self.classify = nn.Linear(width, classes)
        self.trust = nn.Parameter(torch.full((views, classes), 0.54))  # softplus(0.54) is 1
        self.gain = nn.Parameter(torch.zeros(()))
        self.power = nn.Parameter(torch.full((), 0.5))

    def train(self, mode: bool = True) -> DriverNetwork:
        """The picture encoder never trains."""
        super().train(mode)
        if self.config.features == "lite0":
            self.image.eval()
        return self

    def views(self, features: Float[Tensor, "b v t c"], present: Bool[Tensor, "b v t"]) -> Float[Tensor, "b v t k"]:
        """Log probabilities of each view by itself."""
        b, v, t, _ = features.shape
        there = present.to(features.dtype).reshape(b * v, t, 1)
        x = self.project(features) + self.view[None, :, None]
        x = x.reshape(b * v, t, -1)
        for block in self.blocks:
            x = block(x, there)
        return self.classify(self.norm(x)).log_softmax(-1).reshape(b, v, t, -1)

    def fuse(self, views: Float[Tensor, "b v t k"], present: Bool[Tensor, "b v t"]) -> Float[Tensor, "b t k"]:
        """Logits of all views that are present."""
        weight = present.to(views.dtype)[..., None] * functional.softplus(self.trust)[None, :, None]
        mean = (weight * views).sum(1) / weight.sum(1).clamp(min=1e-6)
        count = present.sum(1).to(views.dtype)[..., None]
        return mean * self.gain.exp() * count.clamp(min=1.0) ** self.power

    def forward(
        self, features: Float[Tensor, "b v t c"], present: Bool[Tensor, "b v t"]
    ) -> tuple[Float[Tensor, "b v t k"], Float[Tensor, "b t k"]]:
        """(log probabilities of each view, fused logits)."""
        views = self.views(features, present)
        return views, self.fuse(views, present)


def build(config: Config) -> DriverNetwork:
    """The network with random weights."""
    return DriverNetwork(config)
