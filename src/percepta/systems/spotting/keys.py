"""Published checkpoints of spotting, by their own key names, which our classes have too."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from percepta.errors import InputError
from percepta.systems.spotting import Config


def convert(state: Mapping[str, Tensor], config: Config) -> dict[str, Tensor]:
    """A published checkpoint's tensors, for `load("spotting", preset="netvladpp", weights=PATH)`.

    Raises:
        InputError: the preset is one of ours.
    """
    if config.design == "small":
        raise InputError("published checkpoints fit the presets netvladpp, calf, e2e, netvlad and maxpool, not ours")
    return dict(state)
