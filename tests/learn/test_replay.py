"""What a replay shows is learnt, and the past alone says less about it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from percepta.contract import Batch, Step
from percepta.systems.replay import PRESETS, Config
from percepta.systems.replay.losses import loss
from percepta.systems.replay.model import build

STEPS, FRAMES, FEATURES = 200, 48, 16


def batch_of(seed: int, size: int = 8) -> Batch:
    """Replays of made-up features: the replay repeats the three seconds around one of two marked moments."""
    generator = torch.Generator().manual_seed(seed)
    past = torch.randn(size, FRAMES, FEATURES, generator=generator)
    replay = torch.zeros(size, 8, FEATURES)
    score, reach = torch.zeros(size, FRAMES), torch.zeros(size, FRAMES, 2)
    at = torch.arange(FRAMES)
    for i in range(size):
        first, second = (torch.randint(4, 20, (2,), generator=generator) + torch.tensor([0, 20])).tolist()
        marks = torch.randn(2, FEATURES, generator=generator) * 2
        for place, mark in zip((first, second), marks, strict=True):
            past[i, place - 3 : place + 3] += mark
        which = int(torch.randint(2, (1,), generator=generator))
        middle = (first, second)[which]
        replay[i, :6] = past[i, middle - 3 : middle + 3] + 0.3 * torch.randn(6, FEATURES, generator=generator)
        reach[i] = torch.stack([at - (middle - 3), middle + 3 - at], 1).clamp_min(0)
        score[i] = (reach[i].amin(1) > 0).float()
    there = (torch.arange(8) < 6).expand(size, -1)
    frames, span = torch.randn(size, FRAMES, FEATURES, generator=generator), torch.zeros(size, FRAMES, 3)
    return {"past": past, "replay": replay, "there": there, "score": score, "reach": reach, "frames": frames,
            "span": span}  # fmt: skip


def right(config: Config) -> float:
    """Share of new replays whose best frame lies in the segment."""
    torch.manual_seed(0)
    model: Any = build(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(STEPS):
        optimizer.zero_grad()
        loss(model, batch_of(step), Step(step, 0, torch.Generator()))["loss"].backward()
        optimizer.step()
    model.eval()
    batch = batch_of(10_000, 200)
    with torch.no_grad():
        best = model(batch["past"], batch["replay"], batch["there"]).score.argmax(1)
    return float(batch["score"].gather(1, best[:, None]).mean())


@pytest.mark.learn
def test_the_replay_is_looked_at() -> None:
    tiny = replace(PRESETS["tiny"], feature_width=FEATURES, past_frames=FRAMES, replay_frames=8)
    with_it, without = right(tiny), right(replace(tiny, uses_replay=False))
    assert without < 0.65 and with_it > without + 0.2, (with_it, without)
