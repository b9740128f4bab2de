"""Published checkpoints of forecasting: Social-STGCNN, HiVT and QCNet, by their own key names.

The attributes of our classes are named as the keys are, so there is little to translate.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from percepta.errors import InputError
from percepta.systems.forecast import Config

UNUSED = {"hivt": ("local_encoder.temporal_encoder.attn_mask",)}  # buffers that follow from the settings


def convert(state: Mapping[str, Tensor], config: Config) -> dict[str, Tensor]:
    """A published checkpoint's tensors under our names, for `load("forecast", preset="qcnet", weights=PATH)`.

    Raises:
        InputError: the preset is one of ours.
    """
    if config.design == "small":
        raise InputError("published checkpoints fit the presets social-stgcnn, hivt and qcnet, not our own network")
    return {key: value for key, value in state.items() if key not in UNUSED.get(config.design, ())}
