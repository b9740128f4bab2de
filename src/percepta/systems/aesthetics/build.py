"""Which head a design has, and the whole network with random weights."""

from __future__ import annotations

import torch

from percepta.systems.aesthetics import Config
from percepta.systems.aesthetics.model import AestheticsNetwork
from percepta.systems.aesthetics.piaa import make
from percepta.systems.aesthetics.taste import TasteHead


def build(config: Config) -> AestheticsNetwork:
    """The network with random weights; `load` and `train` fill the parts that PRETRAINED names. Reads no file."""
    network = AestheticsNetwork(config, TasteHead if config.design == "taste" else make)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
