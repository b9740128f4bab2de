"""Self-training on pictures without labels: the teacher, its labels, and mixing classes of two pictures.

DAFormer (Hoyer et al. 2022, section 3.3): a teacher that is the moving average of the network labels target pictures
(equations 3 and 4), each counts by the share of pixels of which the teacher is sure (equation 5), and the network
learns them on mixed and strongly changed pictures (DACS). What has to be remembered between steps is a dictionary of
tensors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.func import functional_call

from percepta.datasets.street_pictures import VOID
from percepta.systems.weather.model import Network

State = dict[str, Tensor]


@torch.no_grad()
def moved_teacher(model: nn.Module, memory: dict[str, Any], decay: float) -> State:
    """The teacher, moved towards the network by a step; made from it where there is none yet.

    The decay grows from 0: after n steps it is at most 1 − 1 / (n + 1), so that the teacher soon is an average.

    Args:
        model: the network.
        memory: where the teacher is kept: "teacher" and "teacher_steps"; changed.
        decay: of the moving average, per step.
    """
    now = {name: value.detach() for name, value in model.state_dict().items()}
    steps = int(memory.get("teacher_steps", 0))
    if "teacher" not in memory:
        memory["teacher"] = {name: value.clone() for name, value in now.items()}
    teacher: State = memory["teacher"]
    share = 1 - min(1 - 1 / (steps + 1), decay)
    for name, value in now.items():
        if value.is_floating_point():
            teacher[name].lerp_(value, share)
        else:
            teacher[name].copy_(value)
    memory["teacher_steps"] = steps + 1
    return teacher


@contextmanager
def looking_only(model: nn.Module) -> Iterator[None]:
    """Every module in eval mode for a while; each is then as it was."""
    before = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in before:
            module.training = False
        yield
    finally:
        for module, training in before:
            module.training = training


@torch.no_grad()
def taught(model: Network, teacher: Mapping[str, Tensor], pictures: Float[Tensor, "b 3 h w"]) -> Tensor:
    """The teacher's probabilities (b k h w) of pictures, at their size.

    Args:
        model: the network whose form the teacher has.
        teacher: its tensors.
        pictures: RGB in 0..1.
    """
    with looking_only(model):
        logits: Tensor = functional_call(model, dict(teacher), (pictures,))
    return nn.functional.interpolate(logits, pictures.shape[-2:], mode="bilinear", align_corners=False).softmax(1)


def pseudo_labels(
    probability: Float[Tensor, "b k h w"], threshold: float, each_pixel: bool
) -> tuple[Int64[Tensor, "b h w"], Float[Tensor, "b h w"]]:
    """The likeliest class of each pixel, and what it weighs.

    Args:
        probability: of the teacher.
        threshold: above which a pixel is sure.
        each_pixel: a pixel weighs 1 where it is sure, else 0; otherwise all pixels of a picture weigh the share of its
            sure pixels (DAFormer, equation 5).
    """
    score, label = probability.max(1)
    sure = (score > threshold).to(probability.dtype)
    return label, sure if each_pixel else sure.mean((1, 2), keepdim=True).expand_as(sure)


def half_of_the_classes(labels: Int64[Tensor, "b h w"], generator: torch.Generator) -> Bool[Tensor, "b h w"]:
    """Of each label map the pixels of half of its classes (rounded up), drawn at random; void is in none.

    Args:
        labels: classes, VOID for none.
        generator: where the draws come from.
    """
    masks = []
    for one in labels:
        there = torch.unique(one)
        there = there[there != VOID]
        order = torch.randperm(len(there), generator=generator, device=generator.device).to(one.device)
        masks.append(torch.isin(one, there[order[: (len(there) + 1) // 2]]))
    return torch.stack(masks)


def mixed(mask: Bool[Tensor, "b h w"], above: Tensor, below: Tensor) -> Tensor:
    """One picture (or label map) pasted into another.

    Args:
        mask: where `above` is taken.
        above: with or without channels.
        below: taken elsewhere.
    """
    return torch.where(mask[:, None] if above.ndim == 4 else mask, above, below)


def feature_distance(
    now: Float[Tensor, "b c h w"], then: Float[Tensor, "b c h w"], things: Bool[Tensor, "b t height width"]
) -> Float[Tensor, ""]:
    """The mean Euclidean distance of features where three quarters of a place are one thing (DAFormer, equations 9-11).

    Args:
        now: features of the network's encoder.
        then: those of the encoder as it was before.
        things: pixels of each class of things.
    """
    share = nn.functional.adaptive_avg_pool2d(things.to(now.dtype), (now.shape[2], now.shape[3]))
    where = share.amax(1) >= 0.75
    distance = (now - then).square().sum(1).clamp_min(1e-12).sqrt()
    return (distance * where).sum() / where.sum().clamp_min(1)
