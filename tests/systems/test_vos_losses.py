"""What the loss of a clip is made of, against plain loops and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from percepta.systems.vos import losses
from percepta.systems.vos.marks import DISC, HINT, box, disc


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_share_that_counts_narrows_in_a_straight_line() -> None:
    schedule = (0.2, 0.6)
    assert [losses.narrowed(done, schedule) for done in (0.0, 0.1, 0.19999)] == [1.0] * 3
    assert losses.narrowed(0.2, schedule) == pytest.approx(1.0)
    assert losses.narrowed(0.4, schedule) == pytest.approx((1 + losses.WORST) / 2), "half-way"
    assert losses.narrowed(0.3, schedule) == pytest.approx(losses.WORST + 0.75 * (1 - losses.WORST))
    assert losses.narrowed(0.6, schedule) == losses.narrowed(1.0, schedule) == losses.WORST == 0.15
    assert losses.narrowed(0.5, (0.5, 0.5)) == losses.WORST


@pytest.mark.parametrize("share", [1.0, 0.5, 0.3, 0.01])
def test_only_the_worst_pixels_count(share: float) -> None:
    """A loop: the cross-entropies of a sample, sorted; 0 where nothing is known; at least one pixel counts."""
    logits, classes = numbers(2, 3, 4, 5), torch.arange(40).reshape(2, 4, 5) % 3
    seen = torch.arange(40).reshape(2, 4, 5) % 7 != 0
    total = []
    for b in range(2):
        each = sorted(
            (float(logits[b, :, y, x].logsumexp(0) - logits[b, classes[b, y, x], y, x]) if seen[b, y, x] else 0.0)
            for y in range(4)
            for x in range(5)
        )
        kept = each[-max(1, int(share * 20)) :]
        total.append(sum(kept) / len(kept))
    assert float(losses.bootstrapped(logits, classes, seen, share)) == pytest.approx(sum(total) / 2, rel=1e-5)


def test_dice_by_hand() -> None:
    """Probabilities 1, ½, 0 over a truth of 1, 1, 0, and one pixel that nobody knows: 1 − (2 · 1.5 + 1) / (3.5 + 1)."""
    probability = torch.tensor([1.0, 0.5, 0.0, 1.0]).reshape(1, 1, 1, 4)
    truth = torch.tensor([True, True, False, True]).reshape(1, 1, 1, 4)
    seen = torch.tensor([True, True, True, False]).reshape(1, 1, 4)
    assert float(losses.dice(probability, truth, seen)) == pytest.approx(1 - 4 / 4.5)
    assert float(losses.dice(truth.float(), truth, seen)) == 0
    assert float(losses.dice(probability * 0, truth & False, seen)) == 0, "nothing where nothing is"
    assert float(losses.dice(probability * 0, truth, seen)) == pytest.approx(1 - 1 / 3)


def test_means_over_some_places() -> None:
    values = torch.tensor([1.0, 2.0, 4.0])
    assert float(losses._mean(values, torch.tensor([True, False, True]))) == 2.5
    assert float(losses._mean(values, torch.zeros(3, dtype=torch.bool))) == 0


@given(st.integers(5, 30), st.integers(5, 40), st.floats(0, 0.999), st.floats(0, 0.999))
def test_a_disc_is_what_is_near_a_click(height: int, width: int, across: float, down: float) -> None:
    x, y = across * width, down * height
    found = disc((height, width), (x, y))
    radius = DISC * min(height, width)
    for row in range(height):
        for column in range(width):
            near = math.hypot(column - x, row - y) <= radius or (row, column) == (int(y), int(x))
            assert found[row, column] == near


def test_a_box_is_the_rectangle_around() -> None:
    mask = np.zeros((6, 8), bool)
    mask[1, 2] = mask[4, 5] = True
    assert box(mask).sum() == 4 * 4 and box(mask)[1:5, 2:6].all()
    assert box(np.eye(1, dtype=bool)).tolist() == [[True]]


@given(st.floats(0, 0.999))
def test_clicks_lie_well_inside(draw: float) -> None:
    """Of a square of 9 pixels the deepest place is 5 from the outside: clicks are at least 2.5 from it, so not within
    two pixels of its border; the outside of the picture is outside."""
    mask = np.zeros((12, 12), bool)
    mask[:9, 2:11] = True
    x, y = losses._inside(mask, draw)
    assert 2 + 2 <= x <= 10 - 2 and 2 <= y <= 6
    every = {losses._inside(mask, i / 25) for i in range(25)}
    assert every == {(x, y) for x in range(4, 9) for y in range(2, 7)}
    thin = np.zeros((3, 7), bool)
    thin[1] = True
    assert losses._inside(thin, draw) == (int(draw * 7), 1)


def test_clips_that_begin_with_marks() -> None:
    """Their second frame becomes the first one, and what is given of each object is half of a disc or of its box."""
    b, n = 60, 2
    pictures, labels = numbers(b, 3, 3, 16, 16), torch.randint(0, 3, (b, 3, 16, 16))
    masks = torch.zeros(b, n, 16, 16)
    masks[:, 0, 2:10, 3:12] = 1
    masks[:, 0, 2, 3] = 0
    keep = pictures.clone(), labels.clone(), masks.clone()
    found = losses.hinted(pictures, labels, masks, 0.5, torch.Generator().manual_seed(0))
    assert all(torch.equal(one, other) for one, other in zip((pictures, labels, masks), keep, strict=True))
    chosen = [i for i in range(b) if torch.equal(found[0][i, 1], pictures[i, 0])]
    assert 15 < len(chosen) < 45
    discs = 0
    for i in range(b):
        if i not in chosen:
            assert all(torch.equal(one[i], other[i]) for one, other in zip(found, keep, strict=True))
            continue
        assert torch.equal(found[1][i, 1], labels[i, 0]) and torch.equal(found[0][i, 2], pictures[i, 2])
        given = found[2][i]
        assert set(given.unique().tolist()) == {0.0, HINT} and not given[1].any(), "nothing of what is not there"
        marked = given[0].numpy() > 0
        assert (marked == box(masks[i, 0].numpy() > 0.5)).all() or marked.sum() < 9
        discs += marked.sum() < 9
    assert 0 < discs < len(chosen)
    none = losses.hinted(pictures, labels, masks, 0.0, torch.Generator())
    assert all(torch.equal(one, other) for one, other in zip(none, keep, strict=True))
