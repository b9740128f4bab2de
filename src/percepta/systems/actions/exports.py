"""The part with an ONNX graph: features of a video to logits and offsets of every place."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from percepta.contract import Graph
from percepta.systems.actions.model import ActionsNetwork


class Localiser(nn.Module):
    """The network without the picture encoder; mask as numbers, 1 for vectors of the video and 0 for padding."""

    def __init__(self, model: ActionsNetwork) -> None:
        super().__init__()
        self.model = model

    def forward(self, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        out = self.model(features, mask > 0.5)
        return out.logits, out.offsets


def localiser(model: ActionsNetwork) -> Graph:
    """Sequences of `max_length` vectors, as many as one likes."""
    config = model.config
    features = torch.randn(2, config.channels, config.max_length, generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(config.max_length) < config.max_length - 3).float().expand(2, 1, -1).contiguous()
    axes = {"features": {0: "videos"}, "mask": {0: "videos"}}
    return Localiser(model), {"features": features, "mask": mask}, ["logits", "offsets"], axes


EXPORTS = {"localiser": localiser}
