"""Errors that the small network of forecast learns from, step by step."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from percepta.systems.forecast.losses import END, errors


@given(st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_errors_are_the_mean_and_half_of_the_end(seed: int) -> None:
    """Of the known steps only; the end is the last known one."""
    generator = torch.Generator().manual_seed(seed)
    way, truth = torch.randn(3, 2, 5, 2, generator=generator), torch.randn(3, 5, 2, generator=generator)
    known = torch.rand(3, 5, generator=generator) < 0.6
    known[0] = False
    mean, end = errors(way, truth, known)
    assert END == 0.5 and not mean[0].any() and not end[0].any(), "nothing is known"
    for n in (1, 2):
        steps = known[n].nonzero()[:, 0].tolist()
        for k in range(2):
            away = [math.dist(way[n, k, t].tolist(), truth[n, t].tolist()) for t in steps]
            wanted = sum(away) / len(away) + 0.5 * away[-1] if away else 0.0
            assert float(mean[n, k]) == pytest.approx(wanted, abs=3e-3)
            assert float(end[n, k]) == pytest.approx(away[-1] if away else 0.0, abs=2e-3)
    exact, _ = errors(truth[:, None], truth, torch.ones(3, 5, dtype=torch.bool))
    assert exact.flatten().tolist() == pytest.approx([1.5e-3] * 3), "smooth at 0: √1e-6, and half of it for the end"
