"""The ten losses, and how learnt uncertainties add them up.

Five teach the detection branch (where the paper has Mask R-CNN's five): centre, class, mask, dice, quality. Five teach
the planes, as published: L1 of p = n/d before and after refinement, L1 of depth (weight 0.1) before and after, and
L1 of the depth of soft-pooled instance planes (0.1). The sum is Σ exp(−s)·L + s with learnt s, −1 at first
(Kendall, Gal & Cipolla 2018).
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from percepta.systems.planes import sweep
from percepta.systems.planes.head import Found, masks
from percepta.systems.planes.model import LOSSES, Answer, PlaneNet

STEEPEST = 4.0  # 1/m; planes with more pass by the camera at less than 25 cm and are seen at a grazing angle only


def combined(parts: dict[str, Tensor], uncertainty: Float[Tensor, "10"]) -> Tensor:
    """Σ exp(−s)·L + s over LOSSES."""
    return sum(torch.exp(-s) * parts[name] + s for name, s in zip(LOSSES, uncertainty, strict=True))  # type: ignore[return-value]


def losses(model: PlaneNet, answer: Answer, batch: dict[str, Any], generator: torch.Generator) -> dict[str, Tensor]:
    """{"loss": ..., and each of LOSSES} of a batch, see `data.Samples`."""
    config = model.config
    planes, known = pixel_planes(batch["segments"], batch["planes"])
    depth = batch["depth"]
    seen = (depth > config.near_m) & (depth < config.far_m)
    out = {
        "plane": _mean((answer.plane - planes).abs().sum(1), known),
        "plane refined": _mean((answer.refined - planes).abs().sum(1), known),
        "depth": 0.1 * _mean((answer.depth - depth).abs(), seen),
        "depth refined": 0.1 * _mean((answer.depth_refined - depth).abs(), seen),
    }
    out |= detection(answer.found, answer.refined, batch, model, generator)
    return {"loss": combined(out, model.uncertainty), **{name: out[name].detach() for name in LOSSES}}


def pixel_planes(
    segments: Any, planes: Float[Tensor, "b m 3"]
) -> tuple[Float[Tensor, "b 3 h w"], Bool[Tensor, "b h w"]]:
    """The true plane of every pixel, and where it is known and not too steep."""
    b, h, w = segments.shape
    index = segments.clamp_min(0).flatten(1)[:, None].expand(b, 3, h * w)
    out = planes.transpose(1, 2).gather(2, index).view(b, 3, h, w)
    return out, (segments >= 0) & (out.abs().amax(1) < STEEPEST)


def detection(
    found: Found, refined: Tensor, batch: dict[str, Any], model: PlaneNet, generator: torch.Generator
) -> dict[str, Tensor]:
    """The five losses of the detection branch, and the one of instance planes."""
    config = model.config
    segments, labels, middles = batch["segments"], batch["labels"], batch["middles"]
    heat = batch["heat"][:, None]
    owner, number = (batch["instance"]).nonzero(as_tuple=True)
    out = {"centre": focal(found.heat, heat, max(1, len(owner)))}
    zero = found.heat.sum() * 0
    if len(owner) == 0:  # everything hangs on the loss, so that each parameter has a gradient
        rest = found.classes.sum() + found.quality.sum() + found.kernels.sum() + found.basis.sum() + refined.sum()
        return out | dict.fromkeys(("class", "mask", "dice", "quality", "depth instance"), zero + 0 * rest)
    row, column = middles[owner, number].unbind(1)
    row, column = _jittered(row, column, owner, number, batch, generator)
    small = functional.interpolate(segments[:, None].float(), found.basis.shape[-2:], mode="nearest")[:, 0].long()
    truth = (small[owner] == number[:, None, None]).to(found.basis.dtype)
    logits = masks(found, owner, row, column)
    named = labels[owner, number]
    classes = found.classes[owner, :, row, column]
    out["class"] = functional.cross_entropy(classes, named.clamp_min(0), reduction="none")
    out["class"] = _mean(out["class"], named >= 0)
    out["mask"] = functional.binary_cross_entropy_with_logits(logits, truth)
    probability = logits.sigmoid()
    both = (probability * truth).sum((1, 2))
    out["dice"] = (1 - (2 * both + 1) / (probability.square().sum((1, 2)) + truth.sum((1, 2)) + 1)).mean()
    solid = (logits > 0).to(truth.dtype)
    iou = (solid * truth).sum((1, 2)) / torch.maximum(solid, truth).sum((1, 2)).clamp_min(1)
    out["quality"] = functional.binary_cross_entropy_with_logits(found.quality[owner, 0, row, column], iou)
    weight = probability if config.soft_pooling else solid
    planes = functional.adaptive_avg_pool2d(refined, (small.shape[-2], small.shape[-1]))
    pooled = (weight[:, None] * planes[owner]).sum((2, 3)) / weight.sum((1, 2)).clamp_min(1e-3)[:, None]
    by = small.shape[-1] / refined.shape[-1]
    sight = sweep.rays(sweep.scaled(batch["matrix"], by), *small.shape[-2:])
    estimate = sweep.depth_of(pooled[:, :, None, None].expand(-1, -1, *small.shape[-2:]), sight[owner],
                              config.near_m, config.far_m)  # fmt: skip
    depth = functional.interpolate(batch["depth"][:, None], small.shape[-2:], mode="nearest")[:, 0][owner]
    out["depth instance"] = 0.1 * _mean((estimate - depth).abs(), (truth > 0) & (depth > 0))
    return out


def focal(logits: Tensor, heat: Tensor, count: int) -> Tensor:
    """CornerNet's focal loss (Law & Deng 2018, equation 1): heat is 1 in the middle, a Gaussian around it."""
    probability = logits.sigmoid().clamp(1e-4, 1 - 1e-4)
    middle = heat == 1
    near = -((1 - probability) ** 2) * probability.log() * middle
    far = -((1 - heat) ** 4) * probability**2 * (1 - probability).log() * ~middle
    return (near.sum() + far.sum()) / count


def _jittered(row: Tensor, column: Tensor, owner: Tensor, number: Tensor, batch: dict[str, Any], generator: Any) -> Any:
    """Middles moved by up to one place, where that stays on the plane: peaks are not met exactly either."""
    h, w = batch["heat"].shape[-2:]
    draw = torch.randint(-1, 2, (2, 64), generator=generator, device=generator.device).to(row.device)
    index = torch.arange(len(row), device=row.device) % 64
    moved_row, moved_column = (row + draw[0, index]).clamp(0, h - 1), (column + draw[1, index]).clamp(0, w - 1)
    coarse = functional.interpolate(batch["segments"][:, None].float(), (h, w), mode="nearest")[:, 0].long()
    ok = coarse[owner, moved_row, moved_column] == number
    return torch.where(ok, moved_row, row), torch.where(ok, moved_column, column)


def _mean(values: Tensor, where: Tensor) -> Tensor:
    """The mean over some places; 0 where there are none."""
    return (values * where).sum() / where.sum().clamp_min(1)
