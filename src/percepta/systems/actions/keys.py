"""Published checkpoints of ActionFormer: our attributes are named as their keys are."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from percepta.errors import InputError
from percepta.systems.actions import Config


def convert(state: Mapping[str, Tensor], config: Config) -> dict[str, Tensor]:
    """A published checkpoint's tensors, for `load("actions", preset="thumos", weights=PATH)`.

    Raises:
        InputError: the preset is one of ours.
    """
    if config.features != "file":
        raise InputError("published checkpoints fit the presets thumos and anet, not our own network")
    return {key.removeprefix("module."): value for key, value in state.items()}
