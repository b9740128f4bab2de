"""The part with an ONNX graph: features of the views to log probabilities of each view and fused logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from percepta.contract import Graph
from percepta.systems.driver.model import DriverNetwork


class Classifier(nn.Module):
    """The network without the picture encoder; `present` as numbers, 1 where a view shows something."""

    def __init__(self, model: DriverNetwork) -> None:
        super().__init__()
        self.model = model

    def forward(self, features: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        return self.model(features, present > 0.5)


def classifier(model: DriverNetwork) -> Graph:
    """Drives of `max_length` moments, as many as one likes."""
    config = model.config
    generator = torch.Generator().manual_seed(0)
    views = len(config.views)
    features = torch.randn(2, views, config.max_length, config.channels, generator=generator)
    present = (torch.rand(2, views, config.max_length, generator=generator) > 0.2).float()
    axes = {"features": {0: "drives"}, "present": {0: "drives"}}
    return Classifier(model), {"features": features, "present": present}, ["views", "fused"], axes


EXPORTS = {"classifier": classifier}
