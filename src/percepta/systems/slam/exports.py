"""The part with an ONNX graph: what describes places."""

from __future__ import annotations

import torch

from percepta.contract import Graph
from percepta.systems.slam.model import SEEN, PlaceNet


def places(model: PlaceNet) -> Graph:
    """Pictures (b 3 128 160, RGB 0..1) to descriptions of length 1; as many pictures as one likes."""
    return model, {"picture": torch.rand(2, 3, *SEEN)}, ["description"], {"picture": {0: "pictures"}}
