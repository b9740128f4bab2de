"""The published networks by the name of their design."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from percepta.systems.spotting import Config
from percepta.systems.spotting.calf import CalfSpotting
from percepta.systems.spotting.e2e import E2ESpot
from percepta.systems.spotting.netvlad import MaxPool, NetVlad, NetVladPlusPlus


def build(config: Config) -> nn.Module:
    """The network with random weights."""
    kinds: dict[str, Callable[[Config], nn.Module]] = {
        "netvladpp": NetVladPlusPlus,
        "calf": CalfSpotting,
        "e2e": E2ESpot,
        "netvlad": NetVlad,
        "maxpool": MaxPool,
    }
    return kinds[config.design](config)
