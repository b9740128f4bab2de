"""Focal cross-entropy of frames, overlap of segments, and the search for replays."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from percepta.contract import Batch, Step
from percepta.errors import InputError
from percepta.nn.spotting import focal
from percepta.systems.replay.model import SmallNet


def loss(model: nn.Module, batch: Batch, step: Step) -> dict[str, Tensor]:
    """The three parts.

    Args:
        model: in training mode.
        batch: see the top of `data.py`.
        step: not used.

    Raises:
        InputError: the network is a published one.
    """
    if not isinstance(model, SmallNet):
        raise InputError("the published network is read, not trained: train the preset small on the same features")
    found = model(batch["past"], batch["replay"], batch["there"])
    inside = batch["score"]
    count = inside.sum().clamp_min(1)
    score = focal(found.score, inside).sum() / count
    overlap = ((1 - overlaps(found.reach, batch["reach"])) * inside).sum() / count
    said = model.inside(batch["frames"])
    span = focal(said, batch["span"]).sum() / batch["span"].sum().clamp_min(1)
    return {"loss": score + 0.5 * overlap + span, "score": score.detach(), "overlap": overlap.detach(),
            "span": span.detach()}  # fmt: skip


def overlaps(a: Float[Tensor, "*s 2"], b: Float[Tensor, "*s 2"]) -> Float[Tensor, "*s"]:
    """Intersection over union of segments that reach back and ahead from the same frame."""
    both = torch.minimum(a, b).clamp_min(0).sum(-1)
    return both / (a.sum(-1) + b.sum(-1) - both).clamp_min(1e-6)
