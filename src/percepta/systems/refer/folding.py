"""A faster form of the paper's network for inference: batch norms folded into the layers before them."""

from __future__ import annotations

import itertools
from typing import TypeVar

import torch
from torch import nn

from percepta.nn.clip import Bottleneck, ModifiedResNet
from percepta.systems.refer.cris import CRIS

Module = TypeVar("Module", bound=nn.Module)


def fuse(model: Module) -> Module:
    """Folds every batch norm that follows a convolution or a linear layer into it: for inference, in place.

    Results change by rounding alone. The model can no longer be trained or filled from a published checkpoint; the norm
    behind the product of picture and sentence, which follows no layer, stays.
    """
    model.eval()
    for module in list(model.modules()):
        if isinstance(module, ModifiedResNet | Bottleneck):
            for number in "123":
                folded = _fold(getattr(module, f"conv{number}"), getattr(module, f"bn{number}"))
                if folded is not None:
                    setattr(module, f"conv{number}", folded)
                    setattr(module, f"bn{number}", nn.Identity())
        elif isinstance(module, nn.Sequential):
            names = list(module._modules)
            for name, following in itertools.pairwise(names):
                folded = _fold(module._modules[name], module._modules[following])
                if folded is not None:
                    module._modules[name] = folded
                    module._modules[following] = nn.Identity()
    return model


def fast(model: CRIS, dtype: torch.dtype = torch.bfloat16) -> CRIS:
    """The network for inference, in place: norms folded, and everything that sees the picture in `dtype`.

    The text transformer and the layer that makes the kernel stay as they are (a few per cent of the time, and every
    place of the mask depends on them). bfloat16 is worth it where the processor multiplies in it.
    """
    fuse(model)
    for part in (model.backbone.visual, model.neck, model.decoder, model.proj.vis):
        part.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def _fold(layer: nn.Module | None, norm: nn.Module | None) -> nn.Conv2d | nn.Linear | None:
    if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
        return torch.nn.utils.fuse_conv_bn_eval(layer, norm)
    if isinstance(layer, nn.Linear) and isinstance(norm, nn.BatchNorm1d):
        return torch.nn.utils.fuse_linear_bn_eval(layer, norm)
    return None
