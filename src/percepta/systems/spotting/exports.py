"""The part of spotting with an ONNX graph: features to scores and offsets."""

from __future__ import annotations

from typing import Any

import torch

from percepta.contract import Graph
from percepta.errors import InputError
from percepta.systems.spotting.model import SmallNet


def temporal(model: Any) -> Graph:
    """Features (b t f) of a chunk to logits and offsets; chunks of any length."""
    if not isinstance(model, SmallNet):
        raise InputError("only our own network is exported; the published ones are there to be compared with")
    frames = torch.rand(1, 64, model.config.feature_width)
    return model, {"frames": frames}, ["logits", "ahead"], {"frames": {1: "frames"}}


EXPORTS = {"temporal": temporal}
