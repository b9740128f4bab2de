"""The losses: weighted cross-entropy, and offsets to the centres of instances (PointGroup)."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from percepta.contract import Step
from percepta.nn.sparse import SparseTensor
from percepta.systems.online3d.model import OnlineNet

_IGNORED = -1


def loss(model: OnlineNet, batch: dict[str, Any], step: Step) -> dict[str, Tensor]:
    """Weighted cross-entropy and, with an instance head, the losses of the offsets.

    Args:
        model: the network.
        batch: what `data.collate` makes of some samples.
        step: its memory keeps how often classes were seen.

    Returns:
        {"loss": what is made smaller, and its parts for the log}.
    """
    config = model.config
    out = model(SparseTensor(batch["features"], batch["coords"]))
    weight = class_weights(batch["label"], config.classes, config.class_balance, step.memory)
    classes = semantic(out.logits.float(), batch["label"], weight)
    if out.offset_m is None:
        return {"loss": classes, "classes": classes.detach()}
    distance, direction = offsets(out.offset_m.float(), batch["offset"], batch["thing"])
    total = classes + config.offset_weight * (distance + 0.3 * direction)
    return {"loss": total, "classes": classes.detach(), "distance": distance.detach(), "direction": direction.detach()}


def class_weights(
    label: Int[Tensor, " n"], classes: int, power: float, memory: dict[str, Any]
) -> Float[Tensor, " classes"]:
    """(share of voxels)^-power over all batches so far, of mean 1 over voxels.

    Args:
        label: of the voxels of this batch; -1 is left out.
        classes: how many there are.
        power: 0 gives all classes the same weight.
        memory: "voxels" in it counts the voxels of each class.
    """
    seen = torch.bincount(label[label != _IGNORED], minlength=classes).double()
    memory["voxels"] = memory["voxels"].to(seen) + seen if "voxels" in memory else seen
    total = memory["voxels"] + 1e-3 * memory["voxels"].sum().clamp(min=1)
    weight = (total / total.sum()) ** -power
    return (weight / (weight * total / total.sum()).sum()).float()


def semantic(
    logits: Float[Tensor, "n classes"], label: Int[Tensor, " n"], weight: Float[Tensor, " classes"]
) -> Float[Tensor, ""]:
    """Weighted cross-entropy over voxels that have a label; 0 where none has.

    Args:
        logits: of each voxel.
        label: class of each voxel; below 0: none.
        weight: of each class.
    """
    total = functional.cross_entropy(logits, label, weight, ignore_index=_IGNORED, reduction="sum")
    return total / weight[label[label != _IGNORED]].sum().clamp(min=1e-6)


def offsets(
    offset_m: Float[Tensor, "n 3"], target_m: Float[Tensor, "n 3"], thing: Bool[Tensor, " n"]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """(L1 distance in metres, 1 - cosine) to the centre of the instance, means over voxels of things.

    Equations 2 and 3 of PointGroup (Jiang et al., CVPR 2020); the second one is written so that its least value is 0.

    Args:
        offset_m: predicted, metres.
        target_m: to the centre of the instance, metres.
        thing: which voxels count.
    """
    count = thing.sum().clamp(min=1)
    distance = (offset_m - target_m).abs().sum(1)
    cosine = functional.cosine_similarity(offset_m, target_m, dim=1, eps=1e-3)
    return (distance * thing).sum() / count, ((1 - cosine) * thing).sum() / count
