"""Published checkpoints of CALF's grounding, by their own key names, which our class has too."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from percepta.errors import InputError
from percepta.systems.replay import Config


def convert(state: Mapping[str, Tensor], config: Config) -> dict[str, Tensor]:
    """A published checkpoint's tensors, for `load("replay", preset="calf", weights=PATH)`.

    Raises:
        InputError: the preset is one of ours.
    """
    if config.design == "small":
        raise InputError("published checkpoints fit the preset calf, not our own network")
    return dict(state)
