"""Nothing in SLAM is learnt: the module without weights that the shared layers ask for."""

from __future__ import annotations

from torch import nn

from percepta.systems.slam import Config


class NoWeights(nn.Module):
    """A module without parameters; it holds the settings."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
