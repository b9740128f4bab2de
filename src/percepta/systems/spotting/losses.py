"""Focal cross-entropy of nearness, and the error of offsets where an action is near."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from percepta.contract import Batch, Step
from percepta.errors import InputError
from percepta.nn.spotting import focal
from percepta.systems.spotting.model import SmallNet

OFFSET = 0.1  # weight of a frame of error


def loss(model: nn.Module, batch: Batch, step: Step) -> dict[str, Tensor]:
    """Both parts, each divided by how many frames are near an action.

    Args:
        model: in training mode.
        batch: see the top of `data.py`.
        step: not used.

    Raises:
        InputError: the network is a published one.
    """
    if not isinstance(model, SmallNet):
        raise InputError("the published networks are read, not trained: train the preset small on the same features")
    logits, ahead = model(batch["frames"])
    count = batch["near"].sum().clamp_min(1)
    score = focal(logits, batch["near"]).sum() / count
    off = functional.smooth_l1_loss(ahead, batch["ahead"], reduction="none") * batch["weight"]
    offset = off.sum() / batch["weight"].sum().clamp_min(1)
    return {"loss": score + OFFSET * offset, "score": score.detach(), "offset": offset.detach()}
