"""What a training step makes smaller: the method that `config.self_distill` names, see `nn/selfdistill.py`."""

from __future__ import annotations

from torch import Tensor

from percepta.contract import Batch, Step
from percepta.nn import selfdistill
from percepta.systems.distill.data import unit
from percepta.systems.distill.model import Classifier


def loss(model: Classifier, batch: Batch, step: Step) -> dict[str, Tensor]:
    """{"loss", and what the method adds for the log}.

    Args:
        model: the network.
        batch: of `data.TrainingSet`.
        step: whose memory keeps the last mini-batch, or all answers.
    """
    config = model.config
    return selfdistill.objective(
        config.self_distill,
        lambda pixels: model(unit(pixels)),
        batch,
        step.memory,
        temperature=config.temperature,
        alpha=config.alpha,
        smoothing=config.smoothing,
        memory_weight=config.memory_weight * min(1.0, step.number / config.train.steps),
        memory_decay=config.memory_decay,
        memory_power=config.memory_power,
        disagreement_weight=config.disagreement_weight,
    )
