"""Losses of ActionFormer: focal loss of the classes, distance IoU of the borders (section 3.4 of the paper).

A place learns the shortest segment in whose centre it lies and whose farther border its level is responsible for.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from percepta.contract import Batch, Step
from percepta.systems.actions import Config
from percepta.systems.actions.model import ActionsNetwork, Output

ALPHA, GAMMA = 0.25, 2.0
MOMENTUM = 0.9  # of the number of positive places


def targets(
    time: Float[Tensor, " p"],
    stride: Float[Tensor, " p"],
    level: Int64[Tensor, " p"],
    spans: Float[Tensor, "n 2"],
    labels: Int64[Tensor, " n"],
    config: Config,
) -> tuple[Float[Tensor, "p k"], Float[Tensor, "p 2"]]:
    """(classes, offsets) that the places learn; a place without a segment has classes 0.

    Args:
        time: of the places, in feature vectors.
        stride: of their levels.
        level: of the places.
        spans: starts and ends of the truth, in feature vectors.
        labels: their classes.
        config: settings.
    """
    k, p = len(config.labels), len(time)
    if not len(spans):
        return time.new_zeros(p, k), time.new_zeros(p, 2)
    ranges = time.new_tensor(config.ranges)[level]
    start, end = spans[None, :, 0], spans[None, :, 1]
    length = (end - start).expand(p, -1)
    offsets = torch.stack([time[:, None] - start, end - time[:, None]], -1)
    centre, reach = (start + end) / 2, stride[:, None] * config.radius
    left = time[:, None] - torch.maximum(centre - reach, start)
    right = torch.minimum(centre + reach, end) - time[:, None]
    farther = offsets.amax(-1)
    mine = (torch.minimum(left, right) > 0) & (farther >= ranges[:, :1]) & (farther <= ranges[:, 1:])
    length = length.masked_fill(~mine, torch.inf)
    shortest, which = length.min(1)
    tied = (length <= shortest[:, None] + 1e-3) & mine
    classes = (tied.float() @ functional.one_hot(labels, k).float()).clamp(0, 1)
    chosen = offsets[torch.arange(p, device=time.device), which] / stride[:, None]
    return classes, chosen


def focal(logits: Tensor, target: Tensor) -> Float[Tensor, ""]:
    """Sigmoid focal loss, summed."""
    p = logits.sigmoid()
    loss = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    right = p * target + (1 - p) * (1 - target)
    return ((ALPHA * target + (1 - ALPHA) * (1 - target)) * loss * (1 - right) ** GAMMA).sum()


def distance_iou(found: Float[Tensor, "n 2"], truth: Float[Tensor, "n 2"], eps: float = 1e-8) -> Float[Tensor, ""]:
    """1 − IoU + squared distance of the centres by the hull's length, summed; offsets from the same places.

    Args:
        found: distances to start and end.
        truth: the true ones.
        eps: least length.
    """
    inside = torch.minimum(found, truth).sum(1)
    union = found.sum(1) + truth.sum(1) - inside
    hull = torch.maximum(found, truth).sum(1)
    shift = 0.5 * ((found[:, 1] - found[:, 0]) - (truth[:, 1] - truth[:, 0]))
    return (1 - inside / union.clamp(min=eps) + (shift / hull.clamp(min=eps)) ** 2).sum()


def of_output(
    out: Output, classes: Float[Tensor, "b p k"], offsets: Float[Tensor, "b p 2"], config: Config, normalizer: float
) -> tuple[dict[str, Tensor], float]:
    """({"loss", "class_loss", "border_loss"}, the moving number of positive places).

    Args:
        out: of the network.
        classes: from `targets`.
        offsets: from `targets`.
        config: settings.
        normalizer: the moving number before this batch.
    """
    positive = (classes.sum(-1) > 0) & out.valid
    count = max(int(positive.sum()), 1)
    normalizer = MOMENTUM * normalizer + (1 - MOMENTUM) * count
    smooth = config.label_smoothing
    target = classes[out.valid] * (1 - smooth) + smooth / (len(config.labels) + 1)
    class_loss = focal(out.logits[out.valid], target) / normalizer
    border_loss = distance_iou(out.offsets[positive], offsets[positive]) / normalizer
    total = class_loss + config.loss_weight * border_loss
    return {"loss": total, "class_loss": class_loss, "border_loss": border_loss}, normalizer


def loss(model: ActionsNetwork, batch: Batch, step: Step) -> dict[str, Tensor]:
    """The losses of a batch.

    Args:
        model: the network.
        batch: of `data.collate`.
        step: its memory keeps the moving number of positive places.
    """
    config = model.config
    features = batch["features"]
    if config.input_dropout:
        keep = torch.rand(*features.shape[:2], 1, generator=step.generator) >= config.input_dropout
        features = features * keep.to(features.device)
    out = model(features, batch["mask"])
    made = [
        targets(out.time, out.stride, out.level, spans, labels, config)
        for spans, labels in zip(batch["spans"], batch["labels"], strict=True)
    ]
    classes, offsets = (torch.stack(part) for part in zip(*made, strict=True))
    losses, step.memory["normalizer"] = of_output(
        out, classes, offsets, config, float(step.memory.get("normalizer", config.normalizer))
    )
    return losses
