"""Losses of a driver's activities: cross-entropy of the fused views and of each view by itself."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from percepta.contract import Batch, Step
from percepta.systems.driver.model import DriverNetwork


def hidden(present: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Which views stay where some are hidden from the fusion; at least one of each drive does.

    Args:
        present: b v t.
        share: of views that are hidden.
        generator: of the draws.
    """
    b, v, _ = present.shape
    keep = torch.rand(b, v, generator=generator) >= share
    first = torch.randint(v, (b,), generator=generator)
    keep[torch.arange(b), first] |= ~keep.any(1)
    return present & keep[..., None].to(present.device)


def loss(model: DriverNetwork, batch: Batch, step: Step) -> dict[str, Tensor]:
    """{"loss", "fused", "view", "right"}; the last is the share of moments whose fused class is right.

    Args:
        model: in training mode.
        batch: of `data.collate`.
        step: its generator draws what is hidden.
    """
    config = model.config
    features, present, label = batch["features"], batch["present"], batch["label"]
    if config.input_dropout:
        keep = torch.rand(features.shape[0], 1, 1, features.shape[3], generator=step.generator) >= config.input_dropout
        features = features * keep.to(features.device)
    views = model.views(features, present)
    fused = model.fuse(views, hidden(present, config.view_dropout, step.generator))
    smooth = config.label_smoothing
    together = functional.cross_entropy(fused.flatten(0, 1), label.flatten(), ignore_index=-1, label_smoothing=smooth)
    each = label[:, None].expand(-1, views.shape[1], -1).masked_fill(~present, -1)
    alone = functional.cross_entropy(views.flatten(0, 2), each.flatten(), ignore_index=-1, label_smoothing=smooth)
    known = label >= 0
    right = (fused.argmax(-1) == label)[known].float().mean()
    return {"loss": together + config.view_weight * alone, "fused": together, "view": alone, "right": right}
