"""The demo of self-distillation: two tiny networks learn from labels of which four in ten are wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from percepta.nn import selfdistill
from percepta.systems.distill import PRESETS, task
from percepta.systems.distill.data import Training, Whole, unit
from percepta.systems.distill.measure import answers

STEPS, EVERY, BATCH, RATE = 120, 12, 32, 0.05
CONFIG = replace(PRESETS["tiny"], noise=0.4, samples=256)


def demo(load: Callable[..., Any]) -> list[Any]:
    """Items of the demo's page: curves of both networks, and what the second one answers."""
    world, test = task.data(CONFIG, "train"), task.data(CONFIG, "test")
    _, plain = learn(replace(world, method="views"), test)
    model, taught = learn(replace(world, method="dlb"), test)
    wrong = int((world.pool.labels != world.pool.truth).sum())
    return [
        f"Trained here and now: {len(world)} pictures of eight signs, {wrong} with a wrong label, {STEPS} steps. "
        "Both networks see the same two views of every picture in the same order; DLB also learns from its answers of "
        "one mini-batch before. One run of each proves nothing: the card has the table.",
        ("curves", "share of right answers on clean pictures", {"cross-entropy": plain, "DLB": taught}),
        ("pictures", [(task.predict(model, test.pool.pixels[i]).draw(160), "") for i in range(8)]),
    ]


def learn(world: Training, test: Whole) -> tuple[torch.nn.Module, list[tuple[int, float]]]:
    """A network after STEPS steps of plain SGD, and how its accuracy grew. `percepta train` does this properly."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = task.build(CONFIG)
    optimizer = torch.optim.SGD(model.parameters(), RATE, momentum=0.9, weight_decay=5e-4)
    memory: dict[str, Any] = {}
    generator = torch.Generator().manual_seed(0)
    whole = test.collate(list(range(len(test))))
    curve = []
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = RATE * (1 - step / STEPS)
        keys = [(step, int(i)) for i in torch.randperm(len(world), generator=generator)[:BATCH]]
        model.train()
        values = selfdistill.objective(
            world.method, lambda pixels: model(unit(pixels)), world.collate(keys), memory
        )  # fmt: skip
        optimizer.zero_grad()
        values["loss"].backward()
        optimizer.step()
        if (step + 1) % EVERY == 0:
            probability, labels = answers(model.eval(), [whole])
            curve.append((step + 1, float((probability.argmax(1) == labels).mean())))
    return model, curve
