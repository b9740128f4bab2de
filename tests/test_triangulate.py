"""Points from pixels of several cameras: where they agree exactly, nearly, and not at all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from percepta.errors import InputError
from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics
from percepta.geometry.triangulate import triangulate

CAMERA = Intrinsics(300.0, 310.0, 100.0, 60.0, 200, 120)  # 1.5 % of 200 px: 3 px
VIEWS = [(CAMERA, poses.look_at(eye, (0, 0, 0))) for eye in ((3, 0, 1), (0, 3, 1), (-3, 0.5, 1), (0.5, -3, 1.2))]


def pixels_of(points: np.ndarray, count: int = 4) -> np.ndarray:
    """The oracle asks each point in turn, by K and the columns of the pose."""
    out = np.zeros((count, len(points), 2))
    for view, (camera, pose) in enumerate(VIEWS[:count]):
        for i, point in enumerate(points):
            x, y, z = (float(axis @ (point - pose[:3, 3])) for axis in pose[:3, :3].T)
            out[view, i] = camera.fx * x / z + camera.cx, camera.fy * y / z + camera.cy
    return out


@given(st.integers(0, 1000), st.integers(2, 4))
@settings(max_examples=20, deadline=None)
def test_exact_pixels_give_the_points(seed: int, count: int) -> None:
    points = np.random.default_rng(seed).uniform(-0.5, 0.5, (5, 3))
    confidence = np.random.default_rng(seed).uniform(0.3, 1, (count, 5))
    found = triangulate(pixels_of(points, count), confidence, VIEWS[:count])
    np.testing.assert_allclose(found.place, points, atol=1e-6)
    assert found.used.all() and (found.error_px < 1e-4).all()
    np.testing.assert_allclose(found.sure, confidence.mean(0))


def test_pixels_agree_up_to_their_limit() -> None:
    """Two views: a pixel moved by d across the line on which the other sees the point leaves about d / 2 to each (the
    line leans by 18 degrees, so that 0.95 of a move down counts); at most 3 px of these 200."""
    for moved, most, kept in (
        (5.0, None, True),
        (7.2, None, False),
        (7.2, 4.0, True),
        (2.6, 1.0, False),
        (1.5, 1.0, True),
    ):
        pixels = pixels_of(np.zeros((1, 3)), 2)
        pixels[1, 0, 1] += moved
        found = triangulate(pixels, np.ones((2, 1)), VIEWS[:2], most_px=most)
        assert found.used[:, 0].tolist() == [kept, kept], moved
        if kept:
            assert found.error_px[0] == pytest.approx(0.95 * moved / 2, rel=0.1)
            assert 0 < np.linalg.norm(found.place) < 0.05
    tall = [(Intrinsics(300.0, 310.0, 60.0, 100.0, 120, 200), pose) for _, pose in VIEWS[:2]]
    pixels = pixels_of(np.zeros((1, 3)), 2) + np.array([-40.0, 40.0])
    pixels[1, 0, 1] += 5.0
    assert triangulate(pixels, np.ones((2, 1)), tall).used.all(), "of the longer side, whichever it is"


def test_confidence_weighs_and_leaves_out() -> None:
    """0.2 is looked at, less is not; a pixel of confidence 0 never is, and neither is one that is not finite."""
    pixels = np.tile(pixels_of(np.zeros((1, 3))), (1, 4, 1))
    confidence = np.ones((4, 4))
    confidence[3] = (0.2, 0.19, 0.0, 1.0)
    pixels[3, 3, 1] = np.nan
    found = triangulate(pixels, confidence, VIEWS)
    assert found.used[3].tolist() == [True, False, False, False] and found.used[:3].all()
    np.testing.assert_allclose(found.sure, (0.8, 1, 1, 1))
    all_of_them = triangulate(pixels, confidence, VIEWS, least_confidence=0.0)
    assert all_of_them.used[3].tolist() == [True, True, False, False]
    pixels = pixels_of(np.zeros((1, 3)))
    pixels[0, 0, 1] += 2.0
    near, far = (triangulate(pixels, np.array([[c], [1.0], [1.0], [1.0]]), VIEWS).place for c in (0.3, 1.0))
    assert np.linalg.norm(near) < np.linalg.norm(far), "what is less sure moves the point less"


def test_the_larger_group_wins_then_the_smaller_error() -> None:
    one, other = np.zeros((1, 3)), np.array([[0.3, 0.2, 0.1]])
    pixels = pixels_of(one)
    pixels[0] = pixels_of(other)[0]
    found = triangulate(pixels, np.ones((4, 1)), VIEWS)
    assert found.used[:, 0].tolist() == [False, True, True, True]
    np.testing.assert_allclose(found.place, one, atol=1e-6)
    pixels = pixels_of(one)
    pixels[:2] = pixels_of(other)[:2]
    pixels[0, 0, 1] += 1.0  # two pairs of one size: the one that fits better
    found = triangulate(pixels, np.ones((4, 1)), VIEWS)
    assert found.used[:, 0].tolist() == [False, False, True, True]
    np.testing.assert_allclose(found.place, one, atol=1e-6)
    pixels = pixels_of(one)
    pixels[2:] = pixels_of(other)[2:]
    pixels[2, 0, 1] += 1.0  # and also where it is found first
    assert triangulate(pixels, np.ones((4, 1)), VIEWS).used[:, 0].tolist() == [True, True, False, False]


def test_where_fewer_than_two_views_agree_nothing_is_known() -> None:
    pixels = np.tile(pixels_of(np.zeros((1, 3))), (1, 2, 1))
    confidence = np.ones((4, 2))
    confidence[1:, 0] = 0
    found = triangulate(pixels, confidence, VIEWS)
    assert np.isnan(found.place[0]).all() and np.isnan(found.error_px[0]) and found.sure[0] == 0
    assert not found.used[:, 0].any() and found.used[:, 1].all() and np.isfinite(found.place[1]).all()
    back = [(CAMERA, poses.look_at((3, 0, 1), (6, 0, 2))), (CAMERA, poses.look_at((0, 3, 1), (0, 6, 2)))]
    seen = np.full((2, 1, 2), (100.0, 60.0))  # the middles of two cameras that look away from each other
    assert not triangulate(seen, np.ones((2, 1)), back).used.any(), "rays meet behind both"
    for pixels, confidence, views in (
        (np.zeros((1, 2, 2)), np.ones((1, 2)), VIEWS[:1]), (np.zeros((2, 2, 2)), np.ones((2, 3)), VIEWS[:2]),
        (np.zeros((3, 2, 2)), np.ones((3, 2)), VIEWS[:2]),
    ):  # fmt: skip
        with pytest.raises((InputError, TypeError)):  # the second where shapes are checked
            triangulate(pixels, confidence, views)
    with pytest.raises(InputError, match="got 1 views"):
        triangulate(np.zeros((1, 2, 2)), np.ones((1, 2)), VIEWS[:1])
