"""The part of replay grounding with an ONNX graph: past and replay to scores and segments."""

from __future__ import annotations

from typing import Any

import torch

from percepta.contract import Graph
from percepta.errors import InputError
from percepta.systems.replay.model import SmallNet


def grounding(model: Any) -> Graph:
    """Features of past and replay, and which frames of the replay there are, to logits and reaches."""
    if not isinstance(model, SmallNet):
        raise InputError("only our own network is exported; the published one is there to be compared with")
    config = model.config
    past = torch.rand(1, config.past_frames, config.feature_width)
    shown = torch.rand(1, config.replay_frames, config.feature_width)
    there = torch.arange(config.replay_frames)[None] < 12
    return model, {"past": past, "replay": shown, "there": there}, ["score", "reach"], {}


EXPORTS = {"grounding": grounding}
