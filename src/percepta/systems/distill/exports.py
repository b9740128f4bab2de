"""The part of the classifier that has an ONNX graph."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from percepta.contract import Graph
from percepta.systems.distill.model import Classifier


class Logits(nn.Module):
    """Pictures `b 3 s s` in 0..1 to logits `b k`."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        return self.model(image).logits


def classifier(model: Classifier) -> Graph:
    """What `percepta.export` asks for; several pictures at a time."""
    size = model.config.size
    return Logits(model), {"image": torch.rand(2, 3, size, size)}, ["logits"], {"image": {0: "b"}}
