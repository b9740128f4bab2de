"""The paper's text-to-pixel loss, and what the light network adds to it."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from percepta.contract import Batch, Step
from percepta.nn import clip
from percepta.systems.refer.cris import CRIS, tokenize


def loss(model: nn.Module, batch: Batch, step: Step) -> dict[str, Tensor]:
    """Binary cross-entropy of every pixel at a quarter of the input size.

    The light network adds Dice, both on the decoder's coarse answer, cross-entropy of the thing being there at all, and
    the focal loss of the places where things have their middle. What is absent has a coarse mask only, which is pushed
    to empty by cross-entropy: whether the thing is there is for the presence to say.

    Args:
        model: either network.
        batch: of `sentences.training_batch`.
        step: not used.

    Returns:
        "loss"; of the light network also its parts, the IoU of what is there, and the share of right answers to whether
        something is there.
    """
    target, present = batch["mask"], batch["present"]
    if isinstance(model, CRIS):
        words = tokenize(batch["sentences"], model.word_len).to(target.device)
        logits = model(clip.normalise(batch["image"])[batch["owner"]], words)
        return {"loss": text_to_pixel(logits, (target[:, None] > 0.5).float())}
    masked = batch["masked"]
    answer = model(batch["image"], batch["sentences"], batch["owner"], masked)
    logits, coarse = answer.logits.float(), answer.coarse.float()
    small = functional.adaptive_avg_pool2d(target[:, None], coarse.shape[-2:])[:, 0]
    full = target[masked]
    pixel = functional.binary_cross_entropy_with_logits(logits, full, reduction="none").mean((1, 2))
    rough = functional.binary_cross_entropy_with_logits(coarse, small, reduction="none").mean((1, 2))
    shape, outline = dice(logits.sigmoid(), full), dice(coarse.sigmoid(), small)
    # Of what is there only some have a mask, which stand for the others.
    share = present.mean()
    mask = share * _mean(pixel + shape) + 0.5 * (rough + present * outline).mean()
    found = functional.binary_cross_entropy_with_logits(answer.presence.float(), present)
    middle = focal(answer.centres.float(), batch["centres"], batch["counted"])
    with torch.no_grad():
        both = ((logits > 0) & (full > 0.5)).sum((1, 2))
        either = ((logits > 0) | (full > 0.5)).sum((1, 2)).clamp_min(1)
        right = ((answer.presence > 0).float() == present).float()
    return {
        "loss": mask + found + 0.1 * middle,
        "pixel": _mean(pixel),
        "iou": _mean(both / either),
        "presence": found,
        "middle": middle,
        "present_right": (right * present).sum() / present.sum().clamp_min(1),
        "absent_right": (right * (1 - present)).sum() / (1 - present).sum().clamp_min(1),
    }


def _mean(values: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """The mean; 0 of nothing."""
    return values.sum() / max(len(values), 1)


def focal(
    logits: Float[Tensor, "n h w"], target: Float[Tensor, "n h w"], weight: Float[Tensor, " n"]
) -> Float[Tensor, ""]:
    """The focal loss of bumps, over the number of their tops (CenterNet, Zhou et al. 2019, equation 1).

    Args:
        logits: of a middle.
        target: 1 at middles, less around them.
        weight: 0 for maps whose middles are not known.
    """
    p = logits.sigmoid()
    top = (target == 1).float()
    there = top * (1 - p) ** 2 * functional.logsigmoid(logits)
    around = (1 - top) * (1 - target) ** 4 * p**2 * functional.logsigmoid(-logits)
    return -((there + around).sum((1, 2)) * weight).sum() / (top.sum((1, 2)) * weight).sum().clamp_min(1)


def text_to_pixel(logits: Float[Tensor, "b 1 h w"], mask: Float[Tensor, "b 1 H W"]) -> Float[Tensor, ""]:
    """The paper's loss [10-11]: binary cross entropy, the mask (0..1) brought to the logits' size (nearest)."""
    mask = mask.to(logits.dtype)
    if mask.shape[-2:] != logits.shape[-2:]:
        mask = functional.interpolate(mask, size=logits.shape[-2:], mode="nearest")
    return functional.binary_cross_entropy_with_logits(logits, mask)


def dice(probability: Float[Tensor, "n h w"], target: Float[Tensor, "n h w"]) -> Float[Tensor, " n"]:
    """1 − (2·overlap + 1) / (sum of both + 1), for each sample; everything in 0..1."""
    both = (probability * target).sum((1, 2))
    return 1 - (2 * both + 1) / (probability.sum((1, 2)) + target.sum((1, 2)) + 1)
