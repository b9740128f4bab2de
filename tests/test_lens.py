"""Lenses: each model against its inverse and OpenCV, and pictures that are straightened."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from percepta.errors import InputError
from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics
from percepta.geometry.lens import Lens, level_pair, pinhole_of, pixels_of, straight_maps

CAMERA = Intrinsics(200.0, 210.0, 158.0, 121.0, 320, 240)
LENSES = [
    Lens(),
    Lens("radtan", (-0.28, 0.07, 2e-4, -1e-4)),
    Lens("radtan", (-0.2, 0.05, 1e-3, 1e-3, -0.01)),
    Lens("fisheye", (0.003, 0.02, -0.01, 0.002)),
]


@pytest.mark.parametrize("lens", LENSES, ids=str)
@settings(max_examples=30, deadline=None)
@given(st.floats(-0.7, 0.7), st.floats(-0.7, 0.7), st.floats(0.2, 20))
def test_straightening_undoes_bending(lens: Lens, x: float, y: float, z: float) -> None:
    ray = np.array([[x, y, 1.0]]) * z
    back = lens.straighten(lens.bend(ray))
    np.testing.assert_allclose(back, ray / np.linalg.norm(ray), atol=1e-9)


def test_a_fisheye_sees_beyond_its_side() -> None:
    lens = LENSES[-1]
    ray = np.array([[1.0, 0.2, -0.1]]) / np.linalg.norm([1.0, 0.2, -0.1])
    np.testing.assert_allclose(lens.straighten(lens.bend(ray)), ray, atol=1e-9)


@pytest.mark.parametrize("lens", LENSES[1:], ids=str)
def test_models_are_those_of_opencv(lens: Lens) -> None:
    cv = pytest.importorskip("cv2")
    xyz = np.random.default_rng(0).uniform((-1, -1, 1), (1, 1, 3), (50, 3))
    values, zero = np.array(lens.values), np.zeros(3)
    if lens.model == "fisheye":
        theirs, _ = cv.fisheye.projectPoints(xyz[None], zero, zero, CAMERA.matrix, values)
    else:
        theirs, _ = cv.projectPoints(xyz, zero, zero, CAMERA.matrix, values)
    np.testing.assert_allclose(pixels_of(CAMERA, lens, xyz), theirs.reshape(-1, 2), atol=1e-9)


@pytest.mark.parametrize("lens", LENSES, ids=str)
def test_maps_lead_to_where_the_ray_is_seen(lens: Lens) -> None:
    target = pinhole_of(CAMERA, lens)
    turn = poses.from_vector(np.array([0.02, -0.03, 0.01]))
    u, v = straight_maps(CAMERA, lens, target, turn)
    ray = turn @ np.linalg.inv(target.matrix) @ (200.0, 100.0, 1.0)
    np.testing.assert_allclose((u[100, 200], v[100, 200]), pixels_of(CAMERA, lens, ray), rtol=1e-5)


def test_a_fisheye_is_straightened_to_what_it_sees() -> None:
    lens = Lens("fisheye", (0.0, 0.0, 0.0, 0.0))
    narrow = pinhole_of(Intrinsics(400.0, 400.0, 159.5, 119.5, 320, 240), lens)
    half = np.degrees(np.arctan(narrow.width / 2 / narrow.fx))
    assert half == pytest.approx(np.degrees(159.5 / 400), abs=0.5)  # the equidistant fisheye: angle = radius / f
    wide = pinhole_of(Intrinsics(80.0, 80.0, 159.5, 119.5, 320, 240), lens)
    assert np.degrees(np.arctan(wide.width / 2 / wide.fx)) == pytest.approx(50)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-0.1, 0.1), min_size=6, max_size=6))
def test_a_levelled_pair_has_equal_rows(numbers: list[float]) -> None:
    left_from_right = poses.compose(poses.from_vector(np.array(numbers[:3])), np.array([0.2, *numbers[3:5]]))
    left, right, baseline = level_pair(left_from_right)
    point = np.array([0.3, -0.4, 4.0])
    a = left.T @ point
    b = right.T @ poses.transform(poses.inverse(left_from_right), point[None])[0]
    np.testing.assert_allclose(a[1:], b[1:], atol=1e-9)  # same height and depth, so the same row
    assert a[0] - b[0] == pytest.approx(baseline)
    for turn in (left, right):
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)


def test_mistakes_are_named() -> None:
    with pytest.raises(InputError, match="4 numbers"):
        Lens("fisheye", (1.0,))
    with pytest.raises(InputError, match="to the right"):
        level_pair(poses.compose(np.eye(3), np.array([-0.1, 0.0, 0.0])))
