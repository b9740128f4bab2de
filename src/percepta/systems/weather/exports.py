"""The part with an ONNX graph: pictures to logits."""

from __future__ import annotations

import torch

from percepta.contract import Graph
from percepta.systems.weather.model import Network

HEIGHT, WIDTH = 360, 480  # of the graph of `small`; published networks: the training crop


def segmenter(model: Network) -> Graph:
    """Pictures (b 3 h w, RGB 0..1) to logits of each class at a quarter of their size; exposure is part of it."""
    config = model.config
    size = (HEIGHT, WIDTH) if config.encoder == "lite0" else (config.height, config.width)
    return model, {"image": torch.rand(2, 3, *size)}, ["logits"], {"image": {0: "pictures"}}


EXPORTS = {"segmenter": segmenter}
