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

from percepta.contract import Batch, Step
from percepta.systems.planes import sweep
from percepta.systems.planes.head import HeadOutput, masks
from percepta.systems.planes.model import LOSSES, PlaneNet, run

MAX_PLANE = 4.0  # 1/m; planes with more pass by the camera at less than 25 cm and are seen at a grazing angle only


def combined(parts: dict[str, Tensor], uncertainty: Float[Tensor, "10"]) -> Tensor:
    """Σ exp(−s)·L + s over LOSSES."""
    return sum(torch.exp(-s) * parts[name] + s for name, s in zip(LOSSES, uncertainty, strict=True))  # type: ignore[return-value]


def loss(model: PlaneNet, batch: Batch, step: Step) -> dict[str, Tensor]:
    """The ten losses of a batch.

    Args:
        model: the network.
        batch: see the top of `data.py`.
        step: gives the random numbers.

    Returns:
        {"loss": their weighted sum, and each of LOSSES}.
    """
    config, output = model.config, run(model, batch)
    planes, known = pixel_planes(batch["segments"], batch["planes"])
    depth = batch["depth"]
    seen = (depth > config.min_depth_m) & (depth < config.max_depth_m)
    out = {
        "plane": _mean((output.plane - planes).abs().sum(1), known),
        "plane refined": _mean((output.refined - planes).abs().sum(1), known),
        "depth": 0.1 * _mean((output.depth - depth).abs(), seen),
        "depth refined": 0.1 * _mean((output.depth_refined - depth).abs(), seen),
    }
    out |= detection(output.head, output.refined, batch, model, step.generator)
    return {"loss": combined(out, model.uncertainty), **{name: out[name].detach() for name in LOSSES}}


def pixel_planes(
    segments: Any, planes: Float[Tensor, "b m 3"]
) -> tuple[Float[Tensor, "b 3 h w"], Bool[Tensor, "b h w"]]:
    """The true plane p = n/d of every pixel, and where it is known and not too steep."""
    b, h, w = segments.shape
    index = segments.clamp_min(0).flatten(1)[:, None].expand(b, 3, h * w)
    out = planes.transpose(1, 2).gather(2, index).view(b, 3, h, w)
    return out, (segments >= 0) & (out.abs().amax(1) < MAX_PLANE)


def detection(
    head: HeadOutput, refined: Tensor, batch: Batch, model: PlaneNet, generator: torch.Generator
) -> dict[str, Tensor]:
    """The five losses of the detection branch, and the one of instance planes.

    Args:
        head: what the branch gave.
        refined: the corrected pixel planes.
        batch: with the true planes.
        model: the network.
        generator: for what is drawn.
    """
    config = model.config
    segments, labels, centres = batch["segments"], batch["labels"], batch["centres"]
    heat = batch["heat"][:, None]
    owner, number = (batch["instance"]).nonzero(as_tuple=True)
    out = {"centre": focal(head.heat, heat, max(1, len(owner)))}
    zero = head.heat.sum() * 0
    if len(owner) == 0:  # the loss depends on everything, so that each parameter has a gradient
        rest = head.classes.sum() + head.quality.sum() + head.kernels.sum() + head.basis.sum() + refined.sum()
        return out | dict.fromkeys(("class", "mask", "dice", "quality", "depth instance"), zero + 0 * rest)
    row, column = centres[owner, number].unbind(1)
    row, column = _jittered(row, column, owner, number, batch, generator)
    small = functional.interpolate(segments[:, None].float(), head.basis.shape[-2:], mode="nearest")[:, 0].long()
    truth = (small[owner] == number[:, None, None]).to(head.basis.dtype)
    logits = masks(head, owner, row, column)
    named = labels[owner, number]
    classes = head.classes[owner, :, row, column]
    out["class"] = functional.cross_entropy(classes, named.clamp_min(0), reduction="none")
    out["class"] = _mean(out["class"], named >= 0)
    out["mask"] = functional.binary_cross_entropy_with_logits(logits, truth)
    probability = logits.sigmoid()
    both = (probability * truth).sum((1, 2))
    out["dice"] = (1 - (2 * both + 1) / (probability.square().sum((1, 2)) + truth.sum((1, 2)) + 1)).mean()
    solid = (logits > 0).to(truth.dtype)
    iou = (solid * truth).sum((1, 2)) / torch.maximum(solid, truth).sum((1, 2)).clamp_min(1)
    out["quality"] = functional.binary_cross_entropy_with_logits(head.quality[owner, 0, row, column], iou)
    weight = probability if config.soft_pooling else solid
    planes = functional.adaptive_avg_pool2d(refined, (small.shape[-2], small.shape[-1]))
    pooled = (weight[:, None] * planes[owner]).sum((2, 3)) / weight.sum((1, 2)).clamp_min(1e-3)[:, None]
    by = small.shape[-1] / refined.shape[-1]
    sight = sweep.rays(sweep.scaled(batch["matrix"], by), *small.shape[-2:])
    estimate = sweep.depth_of(pooled[:, :, None, None].expand(-1, -1, *small.shape[-2:]), sight[owner],
                              config.min_depth_m, config.max_depth_m)  # fmt: skip
    depth = functional.interpolate(batch["depth"][:, None], small.shape[-2:], mode="nearest")[:, 0][owner]
    out["depth instance"] = 0.1 * _mean((estimate - depth).abs(), (truth > 0) & (depth > 0))
    return out


def focal(logits: Tensor, heat: Tensor, count: int) -> Tensor:
    """CornerNet's focal loss (Law & Deng 2018, equation 1): heat is 1 in the centre, a Gaussian around it.

    Args:
        logits: of the centres.
        heat: 0..1.
        count: number of true centres.
    """
    probability = logits.sigmoid().clamp(1e-4, 1 - 1e-4)
    centre = heat == 1
    near = -((1 - probability) ** 2) * probability.log() * centre
    far = -((1 - heat) ** 4) * probability**2 * (1 - probability).log() * ~centre
    return (near.sum() + far.sum()) / count


def _jittered(row: Tensor, column: Tensor, owner: Tensor, number: Tensor, batch: Batch, generator: Any) -> Any:
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
