"""What a training step makes smaller, and the phases of a training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from percepta.contract import Batch, Phase, Step
from percepta.systems.supernet import Config, ledger, strategies
from percepta.systems.supernet.model import SupernetNetwork


def phases(config: Config) -> list[Phase]:
    """One stage of training; two where a teacher comes first or the supernet is split."""
    if config.distill == "teacher":
        first = max(1, round(config.teacher_share * config.train.steps))
        names, trained = (
            ("teacher", "supernet"),
            ({"parts.": False, "teacher.": True}, {"parts.": True, "teacher.": False}),
        )
    elif config.split >= 0:
        first = max(1, round((1 - config.split_share) * config.train.steps))
        names, trained = ("shared", "split"), ({}, {})
    else:
        return [("train", config.train, {})]
    steps = (first, max(1, config.train.steps - first))
    return [
        (name, replace(config.train, steps=count), flags)
        for name, count, flags in zip(names, steps, trained, strict=True)
    ]


def loss(model: SupernetNetwork, batch: Batch, step: Step) -> dict[str, Tensor]:
    """One step of the strategy that the settings describe, see `strategies.py`.

    Args:
        model: the supernet.
        batch: {image, label, index, count}, see `data.py`.
        step: decides which paths are trained.

    Returns:
        {"loss", and the losses of the step's best and worst path for the log}.
    """
    config, first = model.config, phases(model.config)[0][1].steps
    if config.distill == "teacher" and step.number < first:
        assert model.teacher is not None
        logits = model.teacher(model.prepare(batch["image"]))
        return {"loss": functional.cross_entropy(logits, batch["label"], label_smoothing=config.smoothing)}
    if config.split >= 0 and step.number >= first and not bool(model.divided):
        model.divide()
    return path_losses(model, batch, step, min(1.0, step.number / config.train.steps))


def path_losses(model: SupernetNetwork, batch: Batch, step: Step, progress: float) -> dict[str, Tensor]:
    """The loss of a step's paths.

    Args:
        model: the supernet.
        batch: as in `loss`.
        step: decides the paths.
        progress: share of training that is done, 0..1.
    """
    config, memory = model.config, step.memory
    seed = int(torch.randint(2**62, (1,), generator=step.generator, device=step.generator.device))
    rng = np.random.default_rng(seed)
    codes = strategies.choose_paths(config, model.space, rng, progress, memory)
    index, weight = strategies.choose_pictures(config, batch["index"], batch["count"], memory, step.generator, progress)
    image, label = model.prepare(batch["image"][index]), batch["label"][index]
    weight = weight.to(image.device)
    target = None
    if model.teacher is not None:
        with torch.no_grad():
            target = model.teacher.eval()(image)
    losses, plain = [], []
    for code in codes:
        logits = model(image, code)
        each = functional.cross_entropy(logits, label, reduction="none", label_smoothing=config.smoothing)
        plain.append(float(each.detach().mean()))
        if target is not None:
            each = (1 - config.distill_weight) * each + config.distill_weight * strategies.soft_cross_entropy(
                logits, target
            )
        if config.distill == "inplace" and target is None:  # the largest comes first
            target = logits.detach()
        if config.importance:
            strategies.remember_answers(logits, label, batch["index"][index], memory)
        losses.append((each * weight).mean())
    ledger.update(model, codes, plain)
    out = {"loss": strategies.combine(model, codes, losses, config, memory, rng)}
    kept = strategies.archive(config, model.space, codes, rng, memory, step.number)
    if kept:
        rehearsed = torch.stack([functional.cross_entropy(model(image, code), label) for code in kept]).mean()
        share = config.constraint_weight
        out = {"loss": (1 - share) * out["loss"] + share * rehearsed, "rehearsed": rehearsed.detach()}
    return {**out, "largest loss": torch.tensor(max(plain)), "smallest loss": torch.tensor(min(plain))}
