"""What is in a box by its colours: laws, and pictures whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from percepta.systems.vos import colours
from percepta.systems.vos.colours import Mixture, inside_box


def disc(height: int, width: int, middle: tuple[float, float], radius: float) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return (x - middle[0]) ** 2 + (y - middle[1]) ** 2 <= radius**2


def noisy(mask: np.ndarray, seed: int) -> np.ndarray:
    """A red thing on a green and grey ground, with noise."""
    rng = np.random.default_rng(seed)
    ground = np.where(np.indices(mask.shape).sum(0)[..., None] // 9 % 2, (40, 140, 60), (110, 120, 110))
    return np.clip(
        np.where(mask[..., None], (190, 60, 50), ground) + rng.normal(0, 12, (*mask.shape, 3)), 0, 255
    ).astype(np.uint8)


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 99), st.integers(40, 80), st.integers(30, 60), st.integers(12, 22))
def test_a_thing_of_another_colour_is_found(seed: int, x: int, y: int, radius: int) -> None:
    truth = disc(96, 128, (x, y), radius)
    box = (x - radius, y - radius, 2 * radius + 1, 2 * radius + 1)
    found = inside_box(noisy(truth, seed), box)
    corner = np.ones_like(truth)
    corner[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1] = False
    assert not found[corner].any(), "nothing outside the box"
    assert (found & truth).sum() / (found | truth).sum() > 0.9, "a disc fills 0.79 of its box"


def test_a_shape_that_is_no_ellipse_is_found_better_than_one() -> None:
    truth = np.zeros((90, 120), bool)
    truth[20:70, 30:40] = truth[60:70, 30:90] = True  # an L
    found = inside_box(noisy(truth, 0), (30, 20, 60, 50))
    assert (found & truth).sum() / (found | truth).sum() > 0.7
    y, x = np.mgrid[:90, :120]
    ellipse = ((x - 59.5) / 30) ** 2 + ((y - 44.5) / 25) ** 2 <= 1
    assert (ellipse & truth).sum() / (ellipse | truth).sum() < 0.4


@pytest.mark.parametrize(
    "box", [(0, 0, 128, 96), (-20, -10, 60, 50), (5, 5, 2, 2), (5, 5, 1, 1), (0.4, 0.6, 30.5, 20.2)]
)
def test_boxes_at_the_border_and_tiny_ones_have_an_answer_inside(box: tuple[float, float, float, float]) -> None:
    y, x = np.mgrid[:96, :128]
    inside = (x >= box[0]) & (x < box[0] + box[2]) & (y >= box[1]) & (y < box[1] + box[3])
    for picture in (noisy(disc(96, 128, (20, 20), 15), 1), np.full((96, 128, 3), 7, np.uint8)):
        found = inside_box(picture, box)
        assert found.any() and not (found & ~inside).any()
        np.testing.assert_array_equal(found, inside_box(picture, box))


def test_a_mixture_is_its_gaussians() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(m, 0.05, (60, 3)) for m in (0.0, 0.5, 1.0)])
    mixture = Mixture.fitted(values, rng)
    assert mixture.share.sum() == pytest.approx(1) and len(mixture.mean) <= colours.GAUSSIANS
    density = sum(
        share * multivariate_normal(mean, np.linalg.inv(precision)).pdf(values)
        for share, mean, precision in zip(mixture.share, mixture.mean, mixture.precision, strict=True)
    )
    np.testing.assert_allclose(mixture.log(values), np.log(density) + 1.5 * np.log(2 * np.pi), atol=1e-8)


@pytest.mark.parametrize("box", [(10, 20, 40, 31), (3, 5, 7, 60)])
def test_the_first_guess_is_the_ellipse_in_the_middle_of_the_box(box: tuple[int, int, int, int]) -> None:
    left, top, across, down = box
    found = colours._ellipse(np.arange(100), np.arange(90), box)
    inside = found[top : top + down, left : left + across]
    assert inside.sum() == found.sum() == pytest.approx(np.pi / 4 * across * down, rel=0.03)
    np.testing.assert_array_equal(inside, inside[::-1, ::-1])
    np.testing.assert_array_equal(inside, inside[:, ::-1])
    assert inside.any(0).all() and inside.any(1).all(), "it touches all four sides"
