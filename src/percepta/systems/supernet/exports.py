"""The part of the supernet that has an ONNX graph: one network of its space."""

from __future__ import annotations

import torch

from percepta.contract import Graph
from percepta.systems.supernet.model import SupernetNetwork


def network(model: SupernetNetwork) -> Graph:
    """What `percepta.export` asks for: the network that was trained alone, else the largest."""
    side = model.space.side
    net = model.extract(model.config.alone or model.space.largest()).eval()
    return net, {"image": torch.rand(2, 3, side, side)}, ["logits"], {"image": {0: "b"}}
