"""Local fields learn swinging cloth that a plain skinned field, trained just as long, cannot."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from percepta.config import TrainConfig
from percepta.contract import Step, batches
from percepta.optim import learning_rate
from percepta.systems.avatar import PRESETS, Config, WorldConfig, task

STEPS = 260


def trained(config: Config, seed: int = 0) -> float:
    """PSNR on held-out views of trained frames after STEPS steps."""
    torch.manual_seed(seed)
    config = task.fit_config(config, None)
    model, samples = task.build(config), task.data(config, "train")
    settings = TrainConfig(steps=STEPS, batch_size=2, lr=8e-3)
    optimizer = torch.optim.Adam(model.parameters(), settings.lr)
    order = torch.Generator().manual_seed(seed)
    for number in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = settings.lr * learning_rate(settings, number)
        chosen = torch.randint(len(samples), (2,), generator=order).tolist()
        batch = samples.collate([samples[(number, i)] for i in chosen])
        values = task.loss(model, batch, Step(number, 0, torch.Generator().manual_seed(1000 * seed + number)))
        optimizer.zero_grad()
        values["loss"].backward()
        optimizer.step()
    pictures = task.data(config, "val")
    result = task.evaluate(model.eval(), list(batches(pictures, 1)))
    return result.metrics["views_psnr"].value


@pytest.mark.learn
def test_local_fields_beat_the_plain_skinned_one_on_swinging_cloth() -> None:
    world = WorldConfig(outfit="skirt", width=32, height=40, cameras=4, frames=20, motion="sway")
    config = replace(PRESETS["tiny"], world=world, nodes=32, sigma_m=0.12)
    plain = replace(config, fields="canonical", translations=False, details=False, latent=False, canonical_width=48)
    local, skinned = trained(config), trained(plain)
    assert local > 14 and local > skinned + 0.5, (local, skinned)
