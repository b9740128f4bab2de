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


# --- by hand, without OpenCV


def test_bending_by_the_formulas() -> None:
    """Brown: x (1 + k1 r² + k2 r⁴ + k3 r⁶) + 2 p1 x y + p2 (r² + 2 x²), y with p1 and p2 exchanged. Kannala and Brandt:
    the angle θ from the axis becomes θ (1 + k1 θ² + k2 θ⁴ + k3 θ⁶ + k4 θ⁸)."""
    k1, k2, p1, p2, k3 = 0.3, -0.2, 0.05, -0.04, 0.1
    x, y = 0.6, -0.8  # r = 1
    radial = 1 + k1 + k2 + k3
    wanted = (x * radial + 2 * p1 * x * y + p2 * (1 + 2 * x * x), y * radial + p1 * (1 + 2 * y * y) + 2 * p2 * x * y)
    for z in (1.0, 4.0):
        ray = np.array([x, y, 1.0]) * z
        np.testing.assert_allclose(Lens("radtan", (k1, k2, p1, p2, k3)).bend(ray), wanted)
    half = Lens("radtan", (k1, k2, p1, p2)).bend(np.array([0.3, -0.4, 1.0]))  # r² = ¼
    radial = 1 + k1 / 4 + k2 / 16
    np.testing.assert_allclose(half, (0.3 * radial - 0.24 * p1 + p2 * (0.25 + 0.18),
                                      -0.4 * radial + p1 * (0.25 + 0.32) - 0.24 * p2))  # fmt: skip
    values = (0.1, -0.03, 0.02, -0.01)
    for theta in (0.0, 0.4, 1.2, 2.0):
        ray = np.array([0.6 * np.sin(theta), 0.8 * np.sin(theta), np.cos(theta)]) * 3
        bent = theta * (1 + sum(k * theta ** (2 * i) for i, k in enumerate(values, 1)))
        np.testing.assert_allclose(Lens("fisheye", values).bend(ray), (0.6 * bent, 0.8 * bent), atol=1e-12)


def test_on_the_axis_and_behind() -> None:
    for lens in LENSES:
        np.testing.assert_allclose(lens.bend(np.array([0.0, 0.0, 2.0])), 0, atol=1e-12)
        np.testing.assert_allclose(lens.straighten(np.zeros((1, 2))), [[0, 0, 1]], atol=1e-9)
        if lens.model != "fisheye":
            assert np.isnan(lens.bend(np.array([[0.1, 0.2, 0.0], [0.1, 0.2, -1.0]]))).all()
    assert [lens.bends for lens in (Lens(), Lens("radtan", (0.0,) * 4), LENSES[1], Lens("fisheye", (0.0,) * 4))] == [
        False, False, True, True,
    ]  # fmt: skip


@settings(max_examples=20, deadline=None)
@given(st.floats(0.05, 3.0), st.floats(0, 6.2))
def test_a_fisheye_is_straightened_up_to_its_rear(theta: float, turn: float) -> None:
    lens = Lens("fisheye", (0.0, 0.0, 0.0, 0.0))
    ray = np.array([[np.cos(turn) * np.sin(theta), np.sin(turn) * np.sin(theta), np.cos(theta)]])
    np.testing.assert_allclose(lens.straighten(theta * np.array([[np.cos(turn), np.sin(turn)]])), ray, atol=1e-9)


@pytest.mark.parametrize(
    ("model", "values"),
    [("none", (0.1,)), ("radtan", (0.1,) * 3), ("radtan", (0.1,) * 6), ("fisheye", (0.1,) * 5),
     ("radtan", (0.1, 0.1, 0.1, float("nan"))), ("radtan", ())],
)  # fmt: skip
def test_lenses_that_are_none(model: str, values: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="a lens"):
        Lens(model, values)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_maps_without_a_lens_are_the_pixels_themselves() -> None:
    small = Intrinsics(20.0, 21.0, 7.0, 5.0, 16, 12)
    u, v = straight_maps(small, Lens(), small)
    np.testing.assert_allclose(u, np.tile(np.arange(16), (12, 1)), atol=1e-5)
    np.testing.assert_allclose(v, np.tile(np.arange(12)[:, None], (1, 16)), atol=1e-5)
    u, v = straight_maps(small, Lens(), small, np.diag([1.0, -1.0, -1.0]))
    assert (u == -1e4).all() and (v == -1e4).all(), "what lies behind is nowhere in the picture"


def test_the_pinhole_of_a_lens() -> None:
    """An equidistant fisheye of 100 px a radian, whose nearer border is 30 px from the middle, sees 0.3 rad there."""
    assert pinhole_of(CAMERA, LENSES[1]) is CAMERA
    lens = Lens("fisheye", (0.0,) * 4)
    for cx in (30.0, 69.0):
        found = pinhole_of(Intrinsics(100.0, 100.0, cx, 20.0, 100, 50), lens)
        assert found.fx == found.fy == pytest.approx(50 / np.tan(0.3))
        assert (found.cx, found.cy, found.width, found.height) == (49.5, 24.5, 100, 50)
    wide = pinhole_of(Intrinsics(10.0, 10.0, 49.5, 24.5, 100, 50), lens, 90.0)
    assert wide.fx == pytest.approx(50), "90 degrees: as far away as half the picture is wide"


def test_a_pair_stands_side_by_side() -> None:
    """Within 60 degrees of the left camera's x axis, and apart."""
    for degrees, good in ((59.0, True), (-59.0, True), (61.0, False), (180.0, False)):
        shift = 0.3 * np.array([np.cos(np.radians(degrees)), 0.0, np.sin(np.radians(degrees))])
        pair = poses.compose(np.eye(3), shift)
        if good:
            assert level_pair(pair)[2] == pytest.approx(0.3)
        else:
            with pytest.raises(InputError, match="to the right"):
                level_pair(pair)
    with pytest.raises(InputError, match="to the right"):
        level_pair(poses.compose(np.eye(3), np.array([5e-7, 0, 0])))
    left, right, _ = level_pair(poses.compose(np.eye(3), np.array([0.2, 0.0, 0.0])))
    np.testing.assert_allclose(left, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(right, np.eye(3), atol=1e-12)
    turned = poses.from_vector(np.array([0.0, 0.2, 0.0]))  # the view of the straightened pair lies between both
    left, right, _ = level_pair(poses.compose(turned, np.array([0.2, 0.0, 0.0])))
    np.testing.assert_allclose(turned @ right, left, atol=1e-12)
    assert left[2, 2] > 0.99 and np.linalg.det(left) == pytest.approx(1)
