"""Poses, cameras, planes, PLY files and the renderer: laws, and slow obvious references."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.transform import Rotation

from percepta.errors import InputError
from percepta.geometry import camera as cameras
from percepta.geometry import ply
from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics
from percepta.worlds import raster as renderer

SEEDS = st.integers(0, 2**32 - 1)
few = settings(max_examples=25, deadline=None)
CAMERA = Intrinsics(300.0, 310.0, 40.3, 28.8, 80, 60)


def rng_of(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def random_pose(rng: np.random.Generator, spread: float = 2.0) -> np.ndarray:
    return poses.compose(poses.random_rotation(rng), rng.normal(0, spread, 3))


# --- poses ------------------------------------------------------------------------------------------------------------


@given(SEEDS)
@few
def test_a_random_pose_is_rigid_and_its_inverse_undoes_it(seed: int) -> None:
    pose = random_pose(rng_of(seed))
    assert poses.problem(pose) == ""
    assert np.allclose(poses.inverse(pose) @ pose, np.eye(4), atol=1e-12)


@given(SEEDS)
@few
def test_quaternions_and_vectors_come_back(seed: int) -> None:
    rng = rng_of(seed)
    rotation = poses.random_rotation(rng)
    assert np.allclose(poses.from_quaternion(poses.to_quaternion(rotation)), rotation, atol=1e-12)
    axis = rng.normal(size=3)
    turn = rng.uniform(0, np.pi)
    assert poses.angle(poses.from_vector(axis / np.linalg.norm(axis) * turn)) == pytest.approx(turn, abs=1e-9)


@pytest.mark.parametrize("axis", range(3))
def test_half_turns_have_quaternions(axis: int) -> None:
    # the four formulas take turns where a divisor vanishes
    rotation = poses.from_vector(np.pi * np.eye(3)[axis])
    assert np.allclose(np.abs(poses.to_quaternion(rotation)), np.eye(4)[axis], atol=1e-7)
    assert poses.angle(rotation) == pytest.approx(np.pi)


@given(SEEDS, st.floats(0, 1))
@few
def test_slerp_turns_at_constant_speed(seed: int, share: float) -> None:
    rng = rng_of(seed)
    first, second = random_pose(rng), random_pose(rng)
    between = poses.interpolate(first, second, np.array([0, share, 1]))
    assert np.allclose(between[0], first, atol=1e-9) and np.allclose(between[2], second, atol=1e-6)
    whole = poses.angle(first[:3, :3].T @ second[:3, :3])
    assert poses.angle(first[:3, :3].T @ between[1, :3, :3]) == pytest.approx(share * whole, abs=1e-6)


@given(SEEDS)
@few
def test_look_at_sees_its_target_in_the_middle_and_up_upwards(seed: int) -> None:
    rng = rng_of(seed)
    eye, target = rng.normal(size=(2, 3))
    view = poses.look_at(eye, target)
    assert poses.problem(view) == ""
    x, y, z = poses.transform(poses.inverse(view), target)
    assert abs(x) < 1e-9 and abs(y) < 1e-9 and z > 0
    assert poses.transform(poses.inverse(view), target + np.array([0, 0, 0.1]))[1] < 0


@given(st.floats(-3, 3), st.floats(-1.4, 1.4))
@few
def test_facing_is_look_at_by_angles(yaw: float, pitch: float) -> None:
    forward = np.array([np.cos(pitch) * np.cos(yaw), np.cos(pitch) * np.sin(yaw), np.sin(pitch)])
    assert np.allclose(poses.facing(yaw, pitch), poses.look_at((0, 0, 0), forward)[:3, :3], atol=1e-9)


def test_a_positive_roll_turns_the_camera_clockwise() -> None:
    right = poses.facing(0.0, 0.0, 0.1)[:, 0]
    assert right[2] < 0  # its right hand side sinks


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: p[:3], "4×4, not 3×4"),
        (lambda p: np.where(np.eye(4) > 0, np.nan, p), "not tracked"),
        (lambda p: p.T, "transposed"),
        (lambda p: p @ np.diag([1, 1, -1, 1]), "mirrors"),
        (lambda p: p @ np.diag([1.5, 1.5, 1.5, 1]), "scaled by 1.5"),
        (lambda p: p + np.array([[0, 0.1, 0, 0]] + [[0] * 4] * 3), "RᵀR"),
    ],
)
def test_each_kind_of_bad_pose_has_its_own_words(change, words: str) -> None:
    pose = poses.look_at((1, 2, 3), (0, 0, 0))
    with pytest.raises(ValueError, match=f"frame 7: .*{words}"):
        poses.check(change(pose), "frame 7")


def test_look_at_refuses_what_has_no_answer() -> None:
    with pytest.raises(ValueError, match="same point"):
        poses.look_at((1, 1, 1), (1, 1, 1))
    with pytest.raises(ValueError, match="parallel"):
        poses.look_at((0, 0, 0), (0, 0, 1))


def test_tremor_has_its_size_and_does_not_depend_on_the_times_asked_for() -> None:
    at_s = np.linspace(0, 200, 4000)
    signal = poses.tremor(rng_of(3), at_s, 0.2)
    assert np.allclose(signal.std(0), 0.2, rtol=0.15)
    assert np.array_equal(poses.tremor(rng_of(3), at_s[::7], 0.2), signal[::7])


def test_a_hand_held_camera_stays_about_its_plan() -> None:
    at_s = np.linspace(0, 100, 2000)
    plan = np.stack([at_s, 5 + np.sin(at_s), np.full(2000, 1.6)], -1)
    yaw, pitch = 0.1 * at_s, 0.2 * np.cos(at_s)
    calm = poses.hand_held(rng_of(1), at_s, plan, yaw, pitch, shake_deg=0.0, shake_m=0.0, roll_deg=0.0)
    assert np.allclose(calm[:, :3, 3], plan) and np.allclose(calm[:, :3, :3], poses.facing(yaw, pitch))
    held = poses.hand_held(rng_of(1), at_s, plan, yaw, pitch, shake_deg=0.5, shake_m=0.02, roll_deg=3.0)
    assert np.allclose((held[:, :3, 3] - plan).std(0), 0.02, rtol=0.2)
    turns = Rotation.from_matrix(calm[:, :3, :3].transpose(0, 2, 1) @ held[:, :3, :3]).as_rotvec(degrees=True)
    assert np.allclose(turns.std(0), (0.5, 0.5, np.hypot(0.5, 3)), rtol=0.25), "it rolls about the line of sight"


@pytest.mark.parametrize("good", [0.009, 0.011])
def test_poses_may_be_printed_with_few_digits(good: float) -> None:
    """Up to 0.01 from what they should be: of the last row, of RᵀR and of the determinant."""
    pose = poses.look_at((1, 2, 3), (0, 0, 0))
    last = pose.copy()
    last[3, 1] += good
    assert (poses.problem(last) == "") == (good < 0.01)
    scaled = pose @ np.diag([*[(1 + good) ** (1 / 3)] * 3, 1])
    assert ("scaled" in poses.problem(scaled)) == (good > 0.01)
    skewed = pose @ (np.eye(4) + np.diag([good, 0, 0], 1) / 1.0)  # RᵀR has this off its diagonal
    assert ("RᵀR" in poses.problem(skewed)) == (good > 0.01)
    assert poses.problem(scaled, 0.05) == "" == poses.problem(last, 0.05) == poses.problem(skewed, 0.05)
    far = pose.copy()
    far[:3, :3] *= 1e7
    assert "no entry as large" in poses.problem(far)
    assert "a single number" in poses.problem(np.array(1.0)) and "determinant 0" in poses.problem(
        np.diag([1.0, 1, 0, 1])
    )
    poses.check(pose)
    with pytest.raises(InputError, match=r"^the pose: "):
        poses.check(pose[:3])


@given(SEEDS)
@few
def test_quaternions_are_those_of_scipy(seed: int) -> None:
    rng = rng_of(seed)
    q = rng.normal(size=(3, 4))
    turns = Rotation.from_quat(q)
    np.testing.assert_allclose(poses.from_quaternion(5 * q), turns.as_matrix(), atol=1e-12)
    np.testing.assert_allclose(poses.to_quaternion(turns.as_matrix()), turns.as_quat(canonical=True), atol=1e-12)
    np.testing.assert_allclose(poses.from_vector(turns.as_rotvec()), turns.as_matrix(), atol=1e-12)
    np.testing.assert_allclose(poses.angle(turns.as_matrix()), turns.magnitude(), atol=1e-9)
    np.testing.assert_allclose(poses.from_vector(np.zeros(3)), np.eye(3))


def test_slerp_of_turns_that_hardly_differ_and_of_far_ones() -> None:
    """Below 1e-6 rad the arc is a line; beyond 180 degrees of quaternions the shorter way is taken."""
    first = poses.from_vector(np.array([0.3, -0.2, 0.1]))
    for size in (1e-8, 1e-3, 2.0, 3.1):
        second = first @ poses.from_vector(np.array([0.0, size, 0.0]))
        found = poses.slerp(first, second, np.array([0.0, 0.25, 1.0]))
        for share, turn in zip((0.0, 0.25, 1.0), found, strict=True):
            np.testing.assert_allclose(turn, first @ poses.from_vector(np.array([0.0, share * size, 0.0])), atol=1e-9)
    one, other = poses.from_vector(np.array([0, 0, 3.0])), poses.from_vector(np.array([0, 0, -3.0]))
    np.testing.assert_allclose(poses.slerp(one, other, np.array([0.5]))[0], np.diag([-1.0, -1, 1]), atol=1e-9)


@given(st.floats(-3, 3), st.floats(-1.4, 1.4), st.floats(-3, 3))
@few
def test_roll_turns_about_the_line_of_sight(yaw: float, pitch: float, roll: float) -> None:
    plain, rolled = poses.facing(yaw, pitch), poses.facing(yaw, pitch, roll)
    np.testing.assert_allclose(rolled, plain @ Rotation.from_euler("z", roll).as_matrix(), atol=1e-12)
    assert np.linalg.det(rolled) == pytest.approx(1) and abs(plain[2, 0]) < 1e-12, (
        "without roll the right hand is level"
    )


def test_look_at_needs_a_direction_and_another_one_for_up() -> None:
    poses.look_at((0, 0, 0), (0, 1e-8, 0))
    with pytest.raises(InputError, match="same point"):
        poses.look_at((0, 0, 0), (0, 1e-10, 0))
    poses.look_at((0, 0, 0), (0, 1e-5, 1))
    with pytest.raises(InputError, match="parallel"):
        poses.look_at((0, 0, 0), (0, 1e-7, 1))
    poses.look_at((0, 0, 0), (1, 0, 0), (0, 0, 1e-9))
    with pytest.raises(InputError, match="parallel"):
        poses.look_at((0, 0, 0), (1, 0, 0), (0, 0, 0))
    np.testing.assert_allclose(
        poses.look_at((1, 2, 3), (2, 2, 3))[:3].T, [(0, -1, 0), (0, 0, -1), (1, 0, 0), (1, 2, 3)]
    )


def test_tremor_is_of_its_frequencies_and_slow_more_than_fast() -> None:
    """Over 400 s the spectrum of what lies outside of 0.7 to 6 Hz is leakage; amplitudes fall as 1 / frequency."""
    at_s = np.arange(0, 400, 1 / 40)
    frequency = np.fft.rfftfreq(len(at_s), 1 / 40)
    window = np.hanning(len(at_s))[:, None]
    spectra = [np.fft.rfft(poses.tremor(rng_of(seed), at_s, 0.2) * window, axis=0) for seed in range(6)]
    power = (np.abs(spectra) ** 2).sum((0, 2))
    inside = (frequency > 0.65) & (frequency < 6.1)
    assert power[inside].sum() > 0.999 * power.sum()
    slow, fast = (power[(frequency > low) & (frequency < high)].sum() for low, high in ((0.7, 2.05), (2.05, 6.0)))
    # log-uniform frequencies of power 1/f²: (0.7⁻² − 2.05⁻²) / (2.05⁻² − 6⁻²) = 8.6 of slow to fast on average
    assert 2 < slow / fast < 40
    low = poses.tremor(rng_of(0), at_s, 1.0, low_hz=0.05, high_hz=0.3)
    spectrum = (np.abs(np.fft.rfft(low * window, axis=0)) ** 2).sum(1)
    assert spectrum[frequency < 0.32].sum() > 0.999 * spectrum.sum()


def test_a_hand_s_usual_unrest() -> None:
    """0.4 degrees and 4 mm on each axis; the roll of 2 degrees adds to the turn about the line of sight."""
    at_s = np.linspace(0, 300, 3000)
    zero = np.zeros(3000)
    held = poses.hand_held(rng_of(2), at_s, np.zeros((3000, 3)), zero, zero)
    assert np.allclose(held[:, :3, 3].std(0), 0.004, rtol=0.2)
    turns = Rotation.from_matrix(poses.facing(0.0, 0.0).T @ held[:, :3, :3]).as_rotvec(degrees=True)
    assert np.allclose(turns.std(0), (0.4, 0.4, np.hypot(0.4, 2.0)), rtol=0.25)


# --- cameras ----------------------------------------------------------------------------------------------------------


@given(SEEDS)
@few
def test_project_undoes_back_project(seed: int) -> None:
    depth = rng_of(seed).uniform(0.3, 8, (CAMERA.height, CAMERA.width))
    uv, z = cameras.project(cameras.back_project(depth, CAMERA), CAMERA)
    v, u = np.mgrid[: CAMERA.height, : CAMERA.width]
    assert np.allclose(uv, np.stack([u, v], -1), atol=1e-9) and np.allclose(z, depth)


@given(SEEDS)
@few
def test_points_of_the_world_are_seen_where_the_axes_of_the_camera_say(seed: int) -> None:
    """The oracle asks each point in turn, by K and the columns of the pose: right, down, forward."""
    rng = rng_of(seed)
    pose = random_pose(rng)
    points = pose[:3, 3] + rng.normal(0, 0.6, (80, 3)) @ pose[:3, :3].T  # about half of them behind the camera
    uv, depth = cameras.project_world(points, CAMERA, pose)
    for i, point in enumerate(points):
        right, down, forward = (float(axis @ (point - pose[:3, 3])) for axis in pose[:3, :3].T)
        assert depth[i] == pytest.approx(forward)
        if forward <= 0:
            assert np.isnan(uv[i]).all()
            continue
        u, v = (CAMERA.matrix @ (right, down, forward))[:2] / forward
        assert uv[i] == pytest.approx((u, v), rel=1e-6)


@given(st.integers(1, 200), st.integers(1, 200), st.floats(-1, 1), st.floats(-1, 1))
@few
def test_resized_intrinsics_follow_the_picture(width: int, height: int, x: float, y: float) -> None:
    """A point's distance from the picture's edge, as a share of the picture, stays what it was."""
    other = CAMERA.resized(width, height)
    point = np.array([[0.1 * x, 0.1 * y, 1.0]])
    (before, _), (after, _) = cameras.project(point, CAMERA), cameras.project(point, other)
    old, new = (CAMERA.width, CAMERA.height), (width, height)
    assert np.allclose((before[0] + 0.5) / old, (after[0] + 0.5) / new)
    again = other.resized(CAMERA.width, CAMERA.height)
    assert np.allclose(again.matrix, CAMERA.matrix)


def test_halving_a_picture_halves_what_the_camera_sees() -> None:
    """The oracle is averaging: a picture of x coordinates, shrunk by a box filter, is the small camera's picture."""
    small = CAMERA.resized(40, 30)
    x = cameras.rays(CAMERA)[..., 0].reshape(30, 2, 40, 2).mean((1, 3))
    assert np.allclose(x, cameras.rays(small)[..., 0])


def test_wrong_sizes_and_intrinsics_say_so() -> None:
    with pytest.raises(ValueError, match="80×60"):
        cameras.back_project(np.ones((30, 40)), CAMERA)
    with pytest.raises(ValueError, match="positive"):
        Intrinsics(0.0, 1.0, 0.0, 0.0, 2, 2)
    with pytest.raises(ValueError, match="skew"):
        Intrinsics.of(np.array([[1.0, 0.1, 0], [0, 1, 0], [0, 0, 1]]), 2, 2)


@pytest.mark.parametrize(
    "changed",
    [{"fx": 0.0}, {"fy": 0.0}, {"fx": -1.0}, {"fy": -1.0}, {"cx": np.nan}, {"cy": np.inf}, {"width": 0}, {"height": 0}],
)
def test_intrinsics_that_no_camera_has(changed: dict[str, float]) -> None:
    values = {"fx": 1.0, "fy": 1.0, "cx": 0.0, "cy": 0.0, "width": 1, "height": 1}
    assert Intrinsics(**values).width == 1  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match=r"must be positive|at least one pixel"):
        Intrinsics(**(values | changed))  # pyright: ignore[reportArgumentType]


def test_intrinsics_from_matrices_and_angles() -> None:
    for n in (3, 4):
        k = np.eye(n)
        k[:3, :3] = CAMERA.matrix
        assert Intrinsics.of(k, 80, 60) == CAMERA
        k[0, 1] = 0.9e-6 * 300
        assert Intrinsics.of(k, 80, 60) == CAMERA, "rounding is no skew"
        k[0, 1] = -1.1e-6 * 300
        with pytest.raises(InputError, match="skew"):
            Intrinsics.of(k, 80, 60)
    with pytest.raises(InputError, match="3×3 or 4×4"):
        Intrinsics.of(CAMERA.matrix[:2], 80, 60)
    wide = Intrinsics.field_of_view(200, 100, 90.0)  # 45 degrees to each side: as far away as half the width
    assert wide.fx == wide.fy == pytest.approx(100) and (wide.cx, wide.cy) == (99.5, 49.5)
    assert CAMERA.cropped(10, 20, 30, 25) == Intrinsics(300.0, 310.0, CAMERA.cx - 10, CAMERA.cy - 20, 30, 25)
    np.testing.assert_allclose(CAMERA.inverse @ CAMERA.matrix, np.eye(3), atol=1e-12)


def test_depth_of_nothing_is_no_point() -> None:
    uv, z = cameras.project(np.array([[1.0, 1, 0], [1, 1, -2], [1, 1, 1e-9]]), CAMERA)
    assert np.isnan(uv[:2]).all() and np.isfinite(uv[2]).all() and z.tolist() == [0, -2, 1e-9]
    depth = np.full((60, 80), 2.0)
    depth[0, :4] = (0, -1, np.nan, np.inf)
    pose = poses.look_at((1, 2, 3), (0, 0, 0))
    cloud, seen = cameras.points(depth, CAMERA, pose)
    assert seen.sum() == 60 * 80 - 4 == len(cloud) and not seen[0, :4].any()
    inside = poses.transform(poses.inverse(pose), cloud)
    np.testing.assert_allclose(inside[0], ((4 - CAMERA.cx) / 300 * 2, (0 - CAMERA.cy) / 310 * 2, 2), atol=1e-9)


def test_cracks_are_filled_from_one_surface_only() -> None:
    """A gap between 2 m and 2.05 m is one surface (2.5 %), between 2 and 2.07 it is an edge; borders stay."""
    for far, filled in ((2.05, 2.025), (2.07, 0.0)):
        depth = np.array([[2.0, 0.0, far]])
        assert cameras._fill_cracks(depth)[0].tolist() == [2.0, filled, far]
        assert cameras._fill_cracks(depth.T)[:, 0].tolist() == [2.0, filled, far]
    for border in ([[0.0, 2.0, 2.0]], [[2.0, 2.0, 0.0]], [[2.0, 0.0, 0.0, 2.0]]):
        assert cameras._fill_cracks(np.array(border)).tolist() == border


@pytest.mark.parametrize(("times", "covered"), [(1, 1), (2, 3), (3, 3), (4, 5)])
def test_a_reading_covers_as_much_as_its_pixel(times: int, covered: int) -> None:
    """A single reading in a picture that is magnified: 1, or the next odd number of pixels that holds its size."""
    depth = np.zeros((60, 80), np.float32)
    depth[30, 40] = 2.0
    large = Intrinsics(300.0 * times, 310.0 * times, CAMERA.cx * times, CAMERA.cy * times, 80 * times, 60 * times)
    found = cameras.register(depth, CAMERA, large, np.eye(4))
    rows, columns = np.nonzero(found)
    assert len(rows) == covered**2 and np.ptp(rows) == np.ptp(columns) == covered - 1
    assert (found[found > 0] == 2).all() and (rows.mean(), columns.mean()) == (30 * times, 40 * times)
    depth[:] = 0
    depth[0, 0] = depth[59, 79] = 1.0  # the corners of the picture
    assert (cameras.register(depth, CAMERA, CAMERA, np.eye(4)) == depth).all()


def test_planes_face_the_origin() -> None:
    rng = rng_of(0)
    for offset in (2.0, -2.0):
        cloud = np.concatenate([rng.normal(size=(30, 2)), np.full((30, 1), offset)], 1)
        normal, distance = cameras.fit_plane(cloud)
        assert distance == pytest.approx(2) and np.allclose(normal, (0, 0, -np.sign(offset)), atol=1e-9)
    assert cameras.fit_plane(np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]))[1] == pytest.approx(3**-0.5)
    thin = np.arange(9.0)[:, None] * (1.0, 0, 0) + 1e-7 * rng.normal(size=(9, 3))
    cameras.fit_plane(thin)  # hardly a line, and yet none
    with pytest.raises(InputError, match="one line"):
        cameras.fit_plane(np.arange(9.0)[:, None] * (1.0, 0, 0) + 1e-10 * rng.normal(size=(9, 3)))
    with pytest.raises(InputError, match="one line"):
        cameras.fit_plane(np.ones((5, 3)))


def plane_before(rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """A plane in front of a camera, as (n, d), that looks at it."""
    normal = np.array([*rng.normal(0, 0.4, 2), -1.0])
    normal /= np.linalg.norm(normal)
    return normal, float(-normal @ (0, 0, rng.uniform(1.0, 4.0)))


@given(SEEDS)
@few
def test_plane_depth_lies_in_the_plane(seed: int) -> None:
    normal, offset = plane_before(rng_of(seed))
    depth = cameras.plane_depth(cameras.short_plane(normal, np.asarray(offset)), CAMERA)
    seen = np.isfinite(depth)
    cloud = cameras.back_project(np.where(seen, depth, 0), CAMERA)[seen]
    assert len(cloud) and np.allclose(cloud @ normal + offset, 0, atol=1e-9)
    again, distance = cameras.fit_plane(cloud[::7])
    assert np.allclose(again, normal, atol=1e-7) and distance == pytest.approx(offset, abs=1e-6)


@given(SEEDS)
@few
def test_short_planes_come_back_and_torch_agrees(seed: int) -> None:
    normal, offset = plane_before(rng_of(seed))
    short = cameras.short_plane(normal[None], np.array([offset]))
    unit, distance = cameras.unit_plane(short)
    assert np.allclose(unit[0] * distance[0], normal * offset) and distance[0] > 0
    ray = cameras.rays(CAMERA)[::9, ::9].reshape(-1, 3)
    there = cameras.plane_inverse_depth(torch.from_numpy(short), torch.from_numpy(ray))
    assert np.allclose(there.numpy(), cameras.plane_inverse_depth(short, ray))


@given(SEEDS)
@few
def test_homography_equals_back_project_transform_project(seed: int) -> None:
    rng = rng_of(seed)
    normal, offset = plane_before(rng)
    small = poses.compose(poses.from_vector(rng.normal(0, 0.1, 3)), rng.normal(0, 0.1, 3))
    source = Intrinsics(250.0, 260.0, 31.0, 25.0, 64, 48)
    short = cameras.short_plane(normal, np.asarray(offset))
    depth = cameras.plane_depth(short, CAMERA)
    pixels = np.stack(np.meshgrid(np.arange(0, 80.0, 8), np.arange(0, 60.0, 8)), -1).reshape(-1, 2)
    seen = np.isfinite(depth[pixels[:, 1].astype(int), pixels[:, 0].astype(int)])
    pixels = pixels[seen]
    z = depth[pixels[:, 1].astype(int), pixels[:, 0].astype(int)]
    cloud = np.concatenate([pixels, np.ones((len(pixels), 1))], 1) @ CAMERA.inverse.T * z[:, None]
    expected, ahead = cameras.project(poses.transform(small, cloud), source)
    given_h = cameras.plane_homography(short, CAMERA.matrix, source.matrix, small)
    warped = cameras.warp(given_h, pixels)
    assert np.allclose(warped[ahead > 0.05], expected[ahead > 0.05], atol=1e-6)
    torch_h = cameras.plane_homography(*(torch.from_numpy(x) for x in (short, CAMERA.matrix, source.matrix, small)))
    assert np.allclose(torch_h.numpy(), given_h)
    # and the plane itself, carried to the other camera, holds the carried points
    n, d = cameras.plane_in(small, normal, offset)
    assert np.allclose(poses.transform(small, cloud) @ n + d, 0, atol=1e-9)


def test_pixels_behind_the_other_camera_are_nan() -> None:
    back = poses.compose(poses.from_vector(np.array([0, np.pi, 0])), np.zeros(3))
    warped = cameras.warp(
        cameras.plane_homography(np.array([0, 0, -0.5]), CAMERA.matrix, CAMERA.matrix, back), np.array([[3.0, 4.0]])
    )
    assert np.isnan(warped).all()


def test_fit_plane_refuses_what_has_no_plane() -> None:
    with pytest.raises(ValueError, match="three points"):
        cameras.fit_plane(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="one line"):
        cameras.fit_plane(np.arange(5.0)[:, None] * (1, 2, 3))


@given(SEEDS)
@settings(max_examples=15, deadline=None)
def test_registered_depth_is_what_the_other_camera_sees(seed: int) -> None:
    """The oracle is a plane: its depth is known in both cameras."""
    rng = rng_of(seed)
    normal, offset = plane_before(rng)
    move = poses.compose(poses.from_vector(rng.normal(0, 0.01, 3)), rng.normal(0, 0.02, 3))
    colour = Intrinsics(270.0, 270.0, 40.0, 30.0, 80, 60)
    depth = cameras.plane_depth(cameras.short_plane(normal, np.asarray(offset)), CAMERA)
    depth = np.where(depth < 20, depth, 0).astype(np.float32)
    got = cameras.register(depth, CAMERA, colour, move)
    n, d = cameras.plane_in(move, normal, offset)
    wanted = cameras.plane_depth(cameras.short_plane(n, np.asarray(d)), colour)
    middle = (slice(15, 45), slice(20, 60))
    ok = (wanted[middle] < 10) & (got[middle] > 0)
    # of what the depth camera has in sight
    points = cameras.rays(colour) * wanted[..., None]
    (u, v), ahead = (
        np.moveaxis(cameras.project(poses.transform(poses.inverse(move), points), CAMERA)[0], -1, 0),
        wanted > 0,
    )
    seen = ((u > 1) & (u < CAMERA.width - 2) & (v > 1) & (v < CAMERA.height - 2) & ahead & (wanted < 10))[middle]
    assert not seen.any() or ok[seen].mean() > 0.95
    slope = np.abs(np.gradient(wanted)).sum(0)[middle]
    assert (np.abs(got[middle] - wanted[middle])[ok] <= 1.0 * slope[ok] + 0.01).all()


def test_the_nearer_reading_wins_and_shadows_stay_empty() -> None:
    depth = np.full((60, 80), 3.0, np.float32)
    depth[:, 40:] = 1.0
    move = poses.compose(np.eye(3), np.array([0.05, 0.0, 0.0]))
    got = cameras.register(depth, CAMERA, CAMERA, move)
    # 15 pixels at 1 m, 5 pixels at 3 m: between them nothing is known
    assert (got[:, 56:] == 1).all() and (got[:, 5:44] == 3).all() and (got[:, 46:54] == 0).all()


def test_magnified_depth_has_no_cracks() -> None:
    depth = np.full((60, 80), 2.0, np.float32)
    large = CAMERA.resized(160, 120)
    assert (cameras.register(depth, CAMERA, large, np.eye(4))[2:-2, 2:-2] == 2).all()


# --- PLY --------------------------------------------------------------------------------------------------------------


@given(
    hnp.arrays(np.float32, (7, 3), elements=st.floats(-1e6, 1e6, width=32)),
    hnp.arrays(np.uint8, 7),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=15, deadline=None)
def test_ply_round_trip(tmp_path_factory, xyz: np.ndarray, red: np.ndarray, binary: bool, faces: bool) -> None:
    path = tmp_path_factory.mktemp("ply") / "a.ply"
    columns = {"x": xyz[:, 0], "y": xyz[:, 1], "z": xyz[:, 2].astype(np.float64), "red": red}
    triangles = np.array([[0, 1, 2], [4, 5, 6]]) if faces else None
    ply.write(path, columns, triangles, binary=binary)
    got = ply.read(path)
    assert list(got.vertices) == list(columns)
    for name, values in columns.items():
        assert got.vertices[name].dtype == values.dtype and np.array_equal(got.vertices[name], values)
    assert got.triangles.tolist() == ([] if triangles is None else triangles.tolist())
    assert [p.name for p in path.parent.iterdir()] == ["a.ply"]


def test_ply_reads_big_endian_polygons_and_properties_after_lists(tmp_path: Path) -> None:
    head = (
        "ply\nformat binary_big_endian 1.0\ncomment made by hand\nelement vertex 4\nproperty float x\n"
        "element face 2\nproperty list uchar int vertex_indices\nproperty uchar red\nend_header\n"
    )
    body = np.arange(4, dtype=">f4").tobytes()
    body += b"\x04" + np.array([0, 1, 2, 3], ">i4").tobytes() + b"\x07" + b"\x03" + np.array([0, 2, 3], ">i4").tobytes()
    (tmp_path / "a.ply").write_bytes(head.encode() + body + b"\x09")
    got = ply.read(tmp_path / "a.ply")
    assert got.vertices["x"].tolist() == [0, 1, 2, 3]
    assert got.triangles.tolist() == [[0, 1, 2], [0, 2, 3], [0, 2, 3]]


def test_ply_says_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "a.ply"
    path.write_bytes(b"hello")
    with pytest.raises(ValueError, match="no PLY file"):
        ply.read(path)
    ply.write(path, {"x": np.zeros(9, np.float32)})
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match="cut off"):
        ply.read(path)
    path.write_bytes(b"ply\nformat ascii 1.0\nelement vertex two\nend_header\n")
    with pytest.raises(ValueError, match="line 3"):
        ply.read(path)
    with pytest.raises(ValueError, match="no type for x"):
        ply.write(path, {"x": np.zeros(2, np.int64)})
    ply.write(path, {"x": np.zeros(2, np.float32)}, np.array([[0, 1, 2]]))
    with pytest.raises(ValueError, match="names vertex 2"):
        ply.read(path)
    with pytest.raises(InputError, match="no vertex property y"):
        ply.Ply({"x": np.zeros(1)}, np.zeros((0, 3), np.int32)).columns("x", "y")


# --- the renderer -----------------------------------------------------------------------------------------------------


def polygons(rng: np.random.Generator, count: int, most: int = 6) -> renderer.Faces:
    """Random convex polygons all around the origin, some of them behind it or across the camera's plane."""
    corners, sides = np.zeros((count, most, 3)), rng.integers(3, most + 1, count)
    for i, k in enumerate(sides):
        turn = np.sort(rng.uniform(0, 2 * np.pi, k))
        flat = np.stack([np.cos(turn), np.sin(turn), np.zeros(k)], -1) * rng.uniform(0.2, 3)
        frame = random_pose(rng, 2.5)
        corners[i, :k] = poses.transform(frame, flat)
        corners[i, k:] = corners[i, k - 1]
    normal, offset = renderer.planes_of(corners)
    first = corners[:, 1] - corners[:, 0]
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    ones = np.ones(count)
    return renderer.Faces(
        corners, sides, normal, offset, np.ones(count, np.uint8), np.arange(1, count + 1, dtype=np.int32),
        np.arange(count, dtype=np.int32), np.stack([first, np.cross(normal, first)], 1), corners[:, 0],
        np.ones((count, 2)), np.zeros(count, np.int64), np.ones((count, 2)), np.zeros((count, 2)),
        np.full((count, 3), 255.0), 0 * ones, 0 * ones,
    )  # fmt: skip


@given(SEEDS)
@example(11715)  # a face 0.3 mm before the camera
@few
def test_rasterise_equals_casting_every_ray(seed: int) -> None:
    rng = rng_of(seed)
    faces, view = polygons(rng, 40), random_pose(rng, 0.5)
    index, depth = renderer.rasterise(faces, CAMERA, view)
    pixels = np.stack([rng.integers(CAMERA.width, size=400), rng.integers(CAMERA.height, size=400)], -1)
    expected, far = renderer.cast(faces, CAMERA, view, pixels)
    got, z = index[pixels[:, 1], pixels[:, 0]], depth[pixels[:, 1], pixels[:, 0]]
    # a ray along an edge may go either way; nothing else may differ
    assert (got != expected).sum() <= 1
    same = got == expected
    assert np.allclose(z[same], far[same], rtol=1e-7)


def test_faces_that_share_an_edge_leave_no_gap() -> None:
    rng = rng_of(5)
    grid = np.stack(np.meshgrid(np.linspace(-3, 3, 8), np.linspace(-3, 3, 8), indexing="ij"), -1)
    grid[1:-1, 1:-1] += rng.normal(0, 0.1, (6, 6, 2))
    flat = np.concatenate([grid, np.full((8, 8, 1), 2.0)], -1)
    quads = np.stack([flat[:-1, :-1], flat[:-1, 1:], flat[1:, 1:], flat[1:, :-1]], 2).reshape(-1, 4, 3)
    normal, _ = renderer.planes_of(quads)
    assert (normal[:, 2] < -0.99).all()
    base = polygons(rng, len(quads), 4)
    fields = {name: getattr(base, name) for name in base.__dataclass_fields__}
    normal, offset = renderer.planes_of(quads)
    fields |= {"corners": quads, "sides": np.full(len(quads), 4), "normal": normal, "offset": offset}
    wide = Intrinsics.field_of_view(160, 120, 60.0)
    for _ in range(5):
        view = poses.compose(poses.from_vector(rng.normal(0, 0.1, 3)), rng.normal(0, 0.1, 3))
        index, _ = renderer.rasterise(renderer.Faces(**fields), wide, view)
        assert (index >= 0).all()


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_texture_look_up_equals_the_obvious_bilinear(seed: int) -> None:
    rng = rng_of(seed)
    textures = rng.integers(0, 256, (3, 256, 256, 3), dtype=np.uint8)
    atlas = renderer.Atlas.of(list(textures))
    n = 50
    number, level = rng.integers(3, size=n), rng.integers(9, size=n)
    u, v = rng.uniform(-3, 3, (2, n)).astype(np.float32)
    got = atlas.look_up(number, u, v, level)
    for i in range(n):
        picture = textures[number[i]].astype(int)
        for _ in range(level[i]):
            picture = (picture[::2, ::2] + picture[1::2, ::2] + picture[::2, 1::2] + picture[1::2, 1::2] + 2) // 4
        side = len(picture)
        x, y = u[i] * side - 0.5, v[i] * side - 0.5
        x0, y0 = int(np.floor(x)), int(np.floor(y))
        total = np.zeros(3)
        for dx, wx in ((0, x0 + 1 - x), (1, x - x0)):
            for dy, wy in ((0, y0 + 1 - y), (1, y - y0)):
                total += wx * wy * picture[(y0 + dy) % side, (x0 + dx) % side]
        assert np.allclose(got[i], total, atol=0.1)


def test_too_many_faces_are_refused() -> None:
    faces = polygons(rng_of(0), 2)
    many = {name: np.repeat(getattr(faces, name), 40000, 0) for name in faces.__dataclass_fields__}
    with pytest.raises(ValueError, match="65535"):
        renderer.rasterise(renderer.Faces(**many), CAMERA, np.eye(4))
