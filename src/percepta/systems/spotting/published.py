"""The published networks by the name of their design."""

from __future__ import annotations

from torch import nn

from percepta.systems.spotting import Config
from percepta.systems.spotting.calf import CalfSpotting
from percepta.systems.spotting.e2e import E2ESpot
from percepta.systems.spotting.netvlad import MaxPool, NetVlad, NetVladPlusPlus


def build(config: Config) -> nn.Module:
    """The network with random weights."""
    kinds = {"netvladpp": NetVladPlusPlus, "calf": CalfSpotting, "netvlad": NetVlad, "maxpool": MaxPool}
    if config.design == "e2e":
        return E2ESpot(config)
    return kinds[config.design](config)
