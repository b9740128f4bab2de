"""Moments of the rendered broadcast are learnt, and who sees every frame alone knows less about when they are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from percepta.contract import Step
from percepta.systems.spotting import PRESETS, Config
from percepta.systems.spotting.data import data
from percepta.systems.spotting.losses import loss
from percepta.systems.spotting.model import build

STEPS = 150


def trained(config: Config) -> float:
    """The loss on windows of the training half that were not drawn in training."""
    torch.manual_seed(0)
    model: Any = build(config)
    windows = data(config, "train")
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(STEPS):
        batch = windows.collate([windows[(step, i)] for i in range(4)])
        optimizer.zero_grad()
        loss(model, batch, Step(step, 0, torch.Generator()))["loss"].backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        batch = windows.collate([windows[(STEPS + 1, i)] for i in range(12)])
        return float(loss(model, batch, Step(0, 0, torch.Generator()))["loss"])


@pytest.mark.learn
def test_time_helps() -> None:
    tiny = PRESETS["tiny"]
    whole, frames = trained(tiny), trained(replace(tiny, dilations=()))
    assert whole < 0.8 * frames, (whole, frames)
