"""The pure parts of refer's losses, by hand and against plain loops."""

from __future__ import annotations

import math

import pytest
import torch

from percepta.systems.refer.losses import _mean, dice, focal, text_to_pixel


def test_focal_loss_of_bumps_by_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, target = torch.randn(3, 4, 5, generator=generator), torch.rand(3, 4, 5, generator=generator)
    target[0, 1, 2] = target[0, 3, 3] = target[1, 0, 0] = target[2, 2, 2] = 1.0
    weight = torch.tensor([1.0, 1.0, 0.0])
    total, tops = 0.0, 0
    for i in range(2):
        for y in range(4):
            for x in range(5):
                p, t = float(logits[i, y, x].sigmoid()), float(target[i, y, x])
                if t == 1:
                    total -= (1 - p) ** 2 * math.log(p)
                    tops += 1
                else:
                    total -= (1 - t) ** 4 * p**2 * math.log(1 - p)
    assert tops == 3 and float(focal(logits, target, weight)) == pytest.approx(total / 3, rel=1e-4)
    assert float(focal(logits, target, 0 * weight)) == 0
    flat = 0.5 * torch.ones(1, 1, 1)
    assert float(focal(0 * flat, flat, torch.ones(1))) == pytest.approx(math.log(2) / 64), "over at least one top"


def test_dice_and_means_by_hand() -> None:
    """Overlap 0.5 of sums 0.75 and 1: 1 − 2 / 2.75."""
    p, t = torch.tensor([[[0.5, 0.25]], [[0.0, 0.0]]]), torch.tensor([[[1.0, 0.0]], [[0.0, 0.0]]])
    assert dice(p, t).tolist() == pytest.approx([1 - 2 / 2.75, 0.0])
    assert float(_mean(torch.tensor([1.0, 2.0]))) == 1.5 and float(_mean(torch.zeros(0))) == 0


def test_the_mask_of_the_paper_is_brought_to_the_logits() -> None:
    """Nearest of 4 × 4 to 2 × 2 takes the upper left of each four; −log of the right side's probability, averaged."""
    mask = torch.zeros(1, 1, 4, 4)
    mask[0, 0, 0, 0] = mask[0, 0, 3, 3] = 1
    logits = torch.tensor([[[[math.log(3.0), 0.0], [0.0, math.log(3.0)]]]])
    wanted = (-math.log(0.75) - 2 * math.log(0.5) - math.log(0.25)) / 4
    assert float(text_to_pixel(logits, mask)) == pytest.approx(wanted)
    small = mask[:, :, ::2, ::2]
    assert float(text_to_pixel(logits, small)) == pytest.approx(wanted)
