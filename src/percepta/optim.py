"""What a training moves and how far: the parameters that are trained, the optimizer, the learning rate."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import nn

from percepta.config import TrainConfig
from percepta.errors import InputError


def trainable(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """The parameters that are learned, by name."""
    return ((name, value) for name, value in module.named_parameters() if value.requires_grad)


def learning_rate(config: TrainConfig, step: int) -> float:
    """The learning rate at a step as a share of `config.lr`, 0..1."""
    if step < config.warmup:
        return (step + 1) / config.warmup
    if config.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * (step - config.warmup) / max(1, config.steps - config.warmup)))
    if config.schedule == "step":
        return 0.1 ** sum(step >= share * config.steps for share in config.milestones)
    return 1.0


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimizer over the parameters that are trained, grouped by learning rate and weight decay.

    Raises:
        InputError: nothing is to be trained, or a prefix of `lr_scale` fits no parameter.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    scales = dict(config.lr_scale)
    for prefix in scales:
        if not any(name.startswith(prefix) for name, _ in model.named_parameters()):
            raise InputError(f"train.lr_scale: no parameter's name begins with {prefix!r}")
    for name, value in trainable(model):
        prefix = max((p for p in scales if name.startswith(p)), key=len, default=None)
        decay = config.weight_decay if value.ndim > 1 else 0.0
        groups.setdefault((1.0 if prefix is None else scales[prefix], decay), []).append(value)
    if not groups:
        raise InputError("no parameter of the model is to be trained")
    rows = [{"params": ps, "scale": scale, "weight_decay": decay} for (scale, decay), ps in groups.items()]
    if config.optimizer == "sgd":
        return torch.optim.SGD(rows, config.lr, momentum=config.momentum, nesterov=config.nesterov)
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(rows, config.lr, betas=(config.momentum, 0.999))
