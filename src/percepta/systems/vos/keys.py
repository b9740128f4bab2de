"""Published checkpoints of XMem and Cutie. Our attributes are named as their keys are: there is little to translate."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from percepta.errors import InputError
from percepta.systems.vos import Config

# Networks that were trained with one object have no channel for the other masks: these layers get one of zeros.
# {key: (input channels with it, where it is inserted)}
SINGLE = {
    "xmem": {"value_encoder.conv1.weight": (5, 4)},
    "cutie": {"mask_encoder.conv1.weight": (5, 4), "pixel_fuser.sensory_compress.weight": (258, 257)},
}


def convert(state: Mapping[str, Tensor], config: Config) -> dict[str, Tensor]:
    """A published checkpoint's tensors under our names, for `load("vos", preset="xmem", weights=PATH)`.

    Raises:
        InputError: the preset is our own network.
    """
    if config.design not in SINGLE:
        raise InputError("published checkpoints fit the presets xmem and cutie, not our small network")
    out = dict(state)
    for key, (channels, place) in SINGLE[config.design].items():
        value = out.get(key)
        if value is not None and value.ndim == 4 and value.shape[1] == channels - 1:
            zeros = value.new_zeros(value.shape[0], 1, *value.shape[2:])
            out[key] = torch.cat([value[:, :place], zeros, value[:, place:]], 1)
    return out
