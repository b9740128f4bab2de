"""The pure parts of the losses of aesthetics, by hand and against loops."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from percepta.systems.aesthetics.losses import draw, emd


def test_earth_movers_distance_by_hand() -> None:
    """Sums along the bins of the difference: 1, 1, 1, 0 between opposite ends of four bins: 3 / 4."""
    p = torch.tensor([[1.0, 0, 0, 0], [0.5, 0.5, 0, 0], [0.25] * 4])
    q = torch.tensor([[0.0, 0, 0, 1], [0, 0.5, 0.5, 0], [0.25] * 4])
    assert emd(p, q).tolist() == pytest.approx([0.75, (0.25 + 0.25) / 4, 0])
    assert emd(q, p).tolist() == pytest.approx(emd(p, q).tolist())


@given(st.integers(0, 1000), st.integers(1, 8))
@settings(max_examples=40, deadline=None)
def test_of_what_is_allowed_the_first_are_drawn(seed: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    allowed = torch.rand(4, 6, generator=generator) < 0.4
    order = torch.rand(4, 6, generator=generator)
    place, real = draw(allowed, order, count)
    assert place.shape == real.shape == (4, max(1, min(count, int(allowed.sum(1).max()))))
    for row in range(4):
        wanted = sorted(allowed[row].nonzero()[:, 0].tolist(), key=lambda i: float(order[row, i]))[: place.shape[1]]
        chosen = [int(p) for p, r in zip(place[row], real[row], strict=True) if r]
        assert sorted(chosen) == sorted(wanted) and set(real[row].tolist()) <= {0.0, 1.0}
