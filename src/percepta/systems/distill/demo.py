"""The demo of self-distillation: two tiny networks learn from labels of which four in ten are wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from percepta.contract import Block
from percepta.nn import selfdistill
from percepta.report import Curves, Gallery, Text
from percepta.systems.distill import PRESETS
from percepta.systems.distill.data import EvaluationSet, TrainingSet, pool, unit
from percepta.systems.distill.evaluate import answers
from percepta.systems.distill.model import Classifier, build
from percepta.systems.distill.predict import classify

STEPS, EVERY, BATCH, RATE = 120, 12, 32, 0.05
CONFIG = replace(PRESETS["tiny"], noise=0.4, samples=256)


def demo(load: Callable[..., Any]) -> list[Block]:
    """Curves of both networks, and what the second one answers. `load` is not needed: no weights are shown."""
    training, test = pool(CONFIG, "train", None), EvaluationSet(pool(CONFIG, "test", None))
    _, plain = learn(TrainingSet(training, "views", CONFIG.train.seed), test)
    model, distilled = learn(TrainingSet(training, "dlb", CONFIG.train.seed), test)
    wrong = int((training.labels != training.truth).sum())
    return [
        Text(
            f"Trained here and now: {len(training)} pictures of eight signs, {wrong} with a wrong label, {STEPS} steps."
            " Both networks see the same two views of every picture in the same order; DLB also learns from its "
            "answers of one mini-batch before. One run of each proves nothing: the card has the table."
        ),
        Curves("share of right answers on clean pictures", {"cross-entropy": plain, "DLB": distilled}),
        Gallery([(classify(model, [test.pool.pixels[i]])[0].draw(160), "") for i in range(8)]),
    ]


def learn(training: TrainingSet, test: EvaluationSet) -> tuple[Classifier, list[tuple[int, float]]]:
    """A network, in eval mode, after STEPS steps of plain SGD, and how its accuracy grew.

    `percepta train` does this properly.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(CONFIG)
    optimizer = torch.optim.SGD(model.parameters(), RATE, momentum=0.9, weight_decay=5e-4)
    memory: dict[str, Any] = {}
    generator = torch.Generator().manual_seed(0)
    whole = test.collate(list(range(len(test))))
    curve = []
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = RATE * (1 - step / STEPS)
        keys = [(step, int(i)) for i in torch.randperm(len(training), generator=generator)[:BATCH]]
        model.train()
        values = selfdistill.objective(
            training.method, lambda pixels: model(unit(pixels)), training.collate(keys), memory
        )  # fmt: skip
        optimizer.zero_grad()
        values["loss"].backward()
        optimizer.step()
        if (step + 1) % EVERY == 0:
            found = answers(model.eval(), [whole])
            curve.append((step + 1, float((found.probabilities.argmax(1) == found.labels).mean())))
    return model.eval(), curve
