"""The loss: cross-entropy on labelled pictures, and self-training on target pictures (`adapt.py`)."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from percepta.contract import Batch, Step
from percepta.datasets.street_pictures import LABEL_SETS, VOID, merging
from percepta.systems.weather import adapt
from percepta.systems.weather.align import fused
from percepta.systems.weather.augment import jittered
from percepta.systems.weather.data import SETS
from percepta.systems.weather.model import Network, enlarged, exposed


def loss(model: Network, batch: Batch, step: Step) -> dict[str, Tensor]:
    """Labelled and mixed pictures go through the network together.

    Args:
        model: in training mode.
        batch: see the top of `data.py`.
        step: its number says whether the teacher has begun; its memory keeps the teacher and the encoder of step 0.

    Returns:
        "loss", its parts, the share of labelled pixels that are right, and the mean weight of the teacher's labels.
    """
    config, adaptation = model.config, model.config.adaptation
    begins = adaptation.begins * config.train.steps if "image" in batch else 0
    teaches = adaptation.self_training and "target" in batch and step.number >= begins
    if adaptation.feature_distance and "encoder" not in step.memory:
        step.memory["encoder"] = {name: value.clone() for name, value in model.image.state_dict().items()}
    pictures, labels, weights = [], [], []
    if "image" in batch:
        pictures.append(batch["image"])
        labels.append(batch["labels"])
        weights.append(torch.ones_like(batch["labels"], dtype=batch["image"].dtype))
    count = sum(len(one) for one in pictures)
    if teaches:
        for parts, one in zip((pictures, labels, weights), _mixed(model, batch, step), strict=True):
            parts.append(one)
    sets = [int(one) for one in batch["sets"]] if "image" in batch else []
    own = SETS.index(config.label_set)
    maps = model.features(torch.cat(pictures))
    logits = model.head(maps)
    each = cross_entropy(logits, torch.cat(labels), [*sets, *[own] * (len(logits) - count)], config.label_set)
    each = each * torch.cat(weights)
    seen = (torch.cat(labels) != VOID).to(each.dtype)
    out: dict[str, Tensor] = {}
    total = logits.new_zeros(())
    if count:
        out["labelled"] = each[:count].sum() / seen[:count].sum().clamp_min(1)
        total = total + out["labelled"]
        with torch.no_grad():
            right = enlarged(logits[:count], labels[0].shape[-2:]).argmax(1) == labels[0]
            out["right"] = right.sum() / seen[:count].sum().clamp_min(1)
    if teaches:
        out["target"] = each[count:].mean()
        out["sure"] = weights[-1].mean()
        total = total + out["target"]
    if adaptation.feature_distance and count:
        out["distance"] = _distance(model, maps[-1][:count], batch, step.memory)
        total = total + adaptation.feature_distance * out["distance"]
    return {"loss": total, **{name: value.detach() for name, value in out.items()}}


def _mixed(model: Network, batch: Batch, step: Step) -> tuple[Tensor, Tensor, Tensor]:
    """Target pictures with the teacher's labels and their weights, half of the classes from labelled pictures.

    Where nothing is labelled the classes come from the next target picture of the batch.
    """
    config, adaptation = model.config, model.config.adaptation
    teacher = adapt.moved_teacher(model, step.memory, adaptation.teacher_decay)
    target = exposed(batch["target"], config.exposure)  # so that what is pasted is as bright
    probability = adapt.taught(model, teacher, target)
    if adaptation.reference_weight and "reference" in batch and bool(batch["referenced"].any()):
        things = LABEL_SETS[config.label_set].things
        static = [name not in things for name in LABEL_SETS[config.label_set].classes]
        with torch.no_grad(), adapt.looking_only(model):
            reference = exposed(batch["reference"], config.exposure)
            probability = fused(
                probability, adapt.taught(model, teacher, reference), target, reference, batch["referenced"],
                model.image, torch.tensor(static, device=target.device), adaptation.reference_weight,
            )  # fmt: skip
    labels, weight = adapt.pseudo_labels(probability, adaptation.pseudo_threshold, adaptation.pixel_weights)
    weight = weight * batch["weight"]
    if adaptation.class_mix:
        above, above_labels, above_weight = _pasted(config, batch, target, labels, weight)
        mask = adapt.half_of_the_classes(above_labels, step.generator)
        target = adapt.mixed(mask, above, target)
        labels, weight = adapt.mixed(mask, above_labels, labels), adapt.mixed(mask, above_weight, weight)
    return jittered(target, adaptation.jitter, step.generator), labels, weight


def _pasted(config: Any, batch: Batch, target: Tensor, labels: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
    """(pictures, labels, weights) that are pasted: labelled ones of the network's own classes, else other targets."""
    if "image" in batch:
        own = batch["sets"] == SETS.index(config.label_set)
        if bool(own.any()):
            order = own.nonzero()[:, 0]
            place = order[torch.arange(len(target), device=order.device) % len(order)]
            return exposed(batch["image"][place], config.exposure), batch["labels"][place], torch.ones_like(weight)
    return target.roll(1, 0), labels.roll(1, 0), weight.roll(1, 0)


def _distance(model: Network, now: Tensor, batch: Batch, memory: dict[str, Any]) -> Tensor:
    """The distance between features of things now and at step 0."""
    with torch.no_grad(), adapt.looking_only(model):
        pictures = exposed(batch["image"], model.config.exposure)
        then = functional_call(model.image, memory["encoder"], (pictures,))[-1]
    most = max(len(one.things) for one in LABEL_SETS.values())
    things = torch.zeros(len(now), most, *batch["labels"].shape[1:], dtype=torch.bool, device=now.device)
    for row, labels, number in zip(things, batch["labels"], batch["sets"], strict=True):
        known = LABEL_SETS[SETS[int(number)]]
        for place, name in zip(row, known.things, strict=False):
            place.copy_(labels == known.number(name))
    return adapt.feature_distance(now, then, things)


def cross_entropy(
    logits: Float[Tensor, "b k h4 w4"], labels: Int64[Tensor, "b h w"], sets: list[int], own: str
) -> Float[Tensor, "b h w"]:
    """−log of the probability of each pixel's class, 0 where it is void.

    A class of another label set is any of the classes that MERGED says, so its probability is their sum.

    Args:
        logits: at a quarter of the picture.
        labels: classes of the label set of each picture, VOID for none.
        sets: places of those label sets in SETS.
        own: the label set of the network.
    """
    large = enlarged(logits, labels.shape[-2:])
    if all(SETS[one] == own for one in sets):
        return functional.cross_entropy(large, labels, ignore_index=VOID, reduction="none")
    out = []
    for row, label, number in zip(large, labels, sets, strict=True):
        if SETS[number] == own:
            out.append(functional.cross_entropy(row[None], label[None], ignore_index=VOID, reduction="none")[0])
            continue
        table = torch.from_numpy(merging(LABEL_SETS[own], LABEL_SETS[SETS[number]])).to(row)
        apart = row.log_softmax(0)[None] + torch.log(table)[:, :, None, None]  # −inf where a class is no part
        known = (table.sum(1) > 0)[label.clamp(max=len(table) - 1)] & (label != VOID)
        joined = apart.logsumexp(1).gather(0, label.clamp(max=len(table) - 1)[None])[0]
        out.append(torch.where(known, -joined, 0.0))
    return torch.stack(out)
