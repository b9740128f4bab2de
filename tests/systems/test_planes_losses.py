"""What the ten losses of planes are made of, by hand and against plain loops."""

from __future__ import annotations

import math

import pytest
import torch

from percepta.systems.planes.losses import MAX_PLANE, _jittered, _mean, combined, focal, pixel_planes
from percepta.systems.planes.model import LOSSES


def test_uncertainties_weigh_the_losses() -> None:
    """Σ exp(−s) · L + s."""
    parts = {name: torch.tensor(float(i + 1)) for i, name in enumerate(LOSSES)}
    s = torch.linspace(-1, 1, len(LOSSES))
    wanted = sum(math.exp(-float(one)) * (i + 1) + float(one) for i, one in enumerate(s))
    assert len(LOSSES) == 10 and float(combined(parts, s)) == pytest.approx(wanted, rel=1e-5)


def test_planes_of_pixels_and_where_they_are_known() -> None:
    """Plane 1 is too steep (4 and more a metre), −1 is none."""
    segments = torch.tensor([[[0, 1], [-1, 2]]])
    planes = torch.tensor([[[0.1, 0.2, -0.5], [0.0, -MAX_PLANE, 0.0], [0.0, 0.0, 3.99]]])
    found, known = pixel_planes(segments, planes)
    assert known.tolist() == [[[True, False], [False, True]]]
    assert found[0, :, 0, 0].tolist() == pytest.approx([0.1, 0.2, -0.5])
    assert found[0, :, 1, 1].tolist() == pytest.approx([0, 0, 3.99]) and found[0, 1, 0, 1] == -4


def test_focal_loss_of_centres_by_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, heat = 2 * torch.randn(2, 1, 3, 4, generator=generator), torch.rand(2, 1, 3, 4, generator=generator)
    heat[0, 0, 1, 1] = heat[1, 0, 2, 0] = 1.0
    total = 0.0
    for z, t in zip(logits.flatten().tolist(), heat.flatten().tolist(), strict=True):
        p = 1 / (1 + math.exp(-z))
        total -= (1 - p) ** 2 * math.log(p) if t == 1 else (1 - t) ** 4 * p**2 * math.log(1 - p)
    assert float(focal(logits, heat, 2)) == pytest.approx(total / 2, rel=1e-4)
    sure = torch.tensor([[[[-30.0, 30.0]]]])
    found = float(focal(sure, torch.tensor([[[[1.0, 0.0]]]]), 1))
    assert found == pytest.approx(2 * (1 - 1e-4) ** 2 * -math.log(1e-4), rel=1e-3), "probabilities end at 1e-4"


def test_middles_move_by_up_to_one_place_and_stay_on_their_plane() -> None:
    segments = torch.full((1, 8, 8), -1)
    segments[0, 2:6, 2:6] = 0  # of planes 0 and 1; heat at half the size: places 1..2 and 3
    segments[0, 6:, 6:] = 1
    batch = {"heat": torch.zeros(1, 4, 4), "segments": segments}
    row = torch.tensor([1, 3] * 100)
    number = torch.tensor([0, 1] * 100)
    owner = torch.zeros(200, dtype=torch.int64)
    rows, columns = _jittered(row, row.clone(), owner, number, batch, torch.Generator().manual_seed(0))
    first = {(int(r), int(c)) for r, c, n in zip(rows, columns, number, strict=True) if n == 0}
    second = {(int(r), int(c)) for r, c, n in zip(rows, columns, number, strict=True) if n == 1}
    assert first == {(1, 1), (1, 2), (2, 1), (2, 2)} and second == {(3, 3)}


def test_means_over_some_places() -> None:
    assert float(_mean(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([True, False, True]))) == 2.5
    assert float(_mean(torch.ones(3), torch.zeros(3, dtype=torch.bool))) == 0
