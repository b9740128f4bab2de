"""The part of the supernet that has an ONNX graph: one network of its space."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from percepta.contract import Graph
from percepta.systems.supernet.model import SupernetNetwork


class Network(nn.Module):
    """Pictures (b 3 s s; RGB 0..1) to logits of one network of the space."""

    def __init__(self, model: SupernetNetwork) -> None:
        super().__init__()
        self.prepare = model.prepare
        self.net = model.extract(model.config.alone or model.space.largest())

    def forward(self, image: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b k"]:
        return self.net(self.prepare(image))


def network(model: SupernetNetwork) -> Graph:
    """What `percepta.export` asks for: the network that was trained alone, else the largest."""
    side = model.space.side
    return Network(model).eval(), {"image": torch.rand(2, 3, side, side)}, ["logits"], {"image": {0: "b"}}
