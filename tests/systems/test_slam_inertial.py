"""Inertial samples: pre-integration against brute force and finite differences, and the start against the truth."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics
from percepta.geometry.imu import GRAVITY, Imu
from percepta.systems.slam import coupled, inertial
from percepta.systems.slam.adjust import Problem, adjust
from percepta.systems.slam.reprojection import moved
from percepta.systems.slam.twoview import pixels
from percepta.systems.slam.wholemap import adjust_whole
from percepta.worlds import inertial as world

IMU = Imu(poses.compose(poses.from_vector(np.array([0.3, -0.2, 1.5])), np.array([0.05, -0.02, 0.03])))


def waved(time_s: np.ndarray) -> np.ndarray:
    """A smooth way with much turning and pushing."""
    t = np.asarray(time_s, float)[:, None]
    eyes = np.concatenate([np.sin(1.1 * t), 0.7 * np.cos(1.7 * t), 0.3 * np.sin(2.3 * t + 1)], 1) + 0.3 * t
    turn = np.concatenate([0.5 * np.sin(1.3 * t), 0.4 * np.sin(0.9 * t + 2), 0.6 * np.sin(0.7 * t)], 1)
    return poses.compose(poses.from_vector(turn), eyes)


def parts_of(samples: np.ndarray, time_s: np.ndarray) -> list[inertial.Integrated]:
    return [inertial.integrate(samples, a, b, IMU) for a, b in pairwise(time_s.tolist())]


def recorded(seconds: float = 6.0, hz: float = 200.0, **noise: Any) -> np.ndarray:
    return world.samples(waved, np.arange(-0.1, seconds, 1 / hz), IMU, **noise)


def test_integration_is_what_small_steps_give() -> None:
    """Brute force: a thousand times as many steps, the state carried along in the world, gravity added."""
    samples = recorded(1.2)
    part = inertial.integrate(samples, 0.2, 0.9, IMU)
    fine = world.samples(waved, np.arange(0.2, 0.9, 1e-4), IMU)
    turn, velocity, position = np.eye(3), np.zeros(3), np.zeros(3)
    for row in fine:
        middle = turn @ poses.from_vector(row[1:4] * 0.5e-4)
        position = position + velocity * 1e-4 + middle @ row[4:] * 0.5e-8
        velocity = velocity + middle @ row[4:] * 1e-4
        turn = turn @ poses.from_vector(row[1:4] * 1e-4)
    np.testing.assert_allclose(part.turn, turn, atol=2e-4)
    np.testing.assert_allclose(part.velocity, velocity, atol=2e-3)
    np.testing.assert_allclose(part.position, position, atol=1e-3)


def test_integration_leads_from_pose_to_pose() -> None:
    samples = recorded(1.5, hz=1000)
    a, b = waved(np.array([0.3, 1.1])) @ IMU.camera_from_imu
    h = 1e-4
    way = (waved(np.array([0.3 - h, 0.3 + h])) @ IMU.camera_from_imu)[:, :3, 3]
    v, dt, gravity = (way[1] - way[0]) / (2 * h), 0.8, np.array([0, 0, -GRAVITY])
    part = inertial.integrate(samples, 0.3, 1.1, IMU)
    np.testing.assert_allclose(a[:3, :3] @ part.turn, b[:3, :3], atol=1e-5)
    moved = a[:3, 3] + v * dt + gravity * dt**2 / 2 + a[:3, :3] @ part.position
    np.testing.assert_allclose(moved, b[:3, 3], atol=1e-4)


def test_bias_jacobians_equal_finite_differences() -> None:
    samples = recorded(1.0)
    part = inertial.integrate(samples, 0.1, 0.6, IMU)
    for k in range(3):
        step = 1e-5 * np.eye(3)[k]
        plus, minus = (inertial.integrate(samples, 0.1, 0.6, IMU, s * step) for s in (1, -1))
        turn = inertial.logarithm(minus.turn.T @ plus.turn) / 2e-5
        np.testing.assert_allclose(part.turn_by_gyroscope[:, k], turn, atol=1e-4)
        np.testing.assert_allclose(part.velocity_by_gyroscope[:, k], (plus.velocity - minus.velocity) / 2e-5, atol=5e-3)
        np.testing.assert_allclose(part.position_by_gyroscope[:, k], (plus.position - minus.position) / 2e-5, atol=2e-3)
        plus, minus = (inertial.integrate(samples, 0.1, 0.6, IMU, None, s * step) for s in (1, -1))
        by = (plus.velocity - minus.velocity) / 2e-5, (plus.position - minus.position) / 2e-5
        np.testing.assert_allclose(part.velocity_by_accelerometer[:, k], by[0], atol=1e-3)
        np.testing.assert_allclose(part.position_by_accelerometer[:, k], by[1], atol=1e-3)
    turn, velocity, _ = part.corrected(np.array([0.01, 0, 0]), np.array([0, 0.1, 0]))
    again = inertial.integrate(samples, 0.1, 0.6, IMU, np.array([0.01, 0, 0]), np.array([0, 0.1, 0]))
    np.testing.assert_allclose(turn, again.turn, atol=1e-4)
    np.testing.assert_allclose(velocity, again.velocity, atol=2e-3)


def test_covariance_is_that_of_drawn_noise() -> None:
    clean, imu = recorded(0.8), Imu(IMU.camera_from_imu, gyroscope_noise=5e-3, accelerometer_noise=5e-2)
    part, rng, found = inertial.integrate(clean, 0.1, 0.5, imu), np.random.default_rng(0), []
    for _ in range(300):
        noisy = clean.copy()
        noisy[:, 1:4] += rng.normal(0, imu.gyroscope_noise * np.sqrt(200), (len(clean), 3))
        noisy[:, 4:] += rng.normal(0, imu.accelerometer_noise * np.sqrt(200), (len(clean), 3))
        other = inertial.integrate(noisy, 0.1, 0.5, imu)
        found.append(np.r_[inertial.logarithm(part.turn.T @ other.turn), other.velocity - part.velocity])
    np.testing.assert_allclose(np.std(found, 0), np.sqrt(np.diag(part.covariance))[:6], rtol=0.25)


@pytest.mark.parametrize("metric", [False, True])
def test_gravity_scale_and_biases_are_found(metric: bool) -> None:
    samples = recorded(6.0)
    bias_g, bias_a = np.array([0.02, -0.01, 0.015]), np.array([0.1, 0.05, -0.08])
    samples[:, 1:4] += bias_g
    samples[:, 4:] += bias_a
    time_s = np.arange(0.0, 5.5, 0.25)
    true = waved(time_s)
    turn, scale = poses.from_vector(np.array([0.4, -0.3, 0.2])), 1.0 if metric else 2.5
    given = true.copy()  # another world, turned and of another size
    given[:, :3, :3] = turn @ true[:, :3, :3]
    given[:, :3, 3] = (true[:, :3, 3] - true[0, :3, 3]) @ turn.T / scale
    found = inertial.start(given, parts_of(samples, time_s), IMU, metric=metric)
    assert found is not None
    assert found.scale == pytest.approx(scale, rel=0.005)
    np.testing.assert_allclose(found.gyroscope_bias, bias_g, atol=1e-3)
    np.testing.assert_allclose(found.accelerometer_bias, bias_a, atol=0.02)
    np.testing.assert_allclose(found.gravity, turn @ (0, 0, -GRAVITY), atol=0.05)
    up = found.upright @ found.gravity
    np.testing.assert_allclose(up, (0, 0, -GRAVITY), atol=1e-6)
    assert found.turned_deg < 1
    h = 1e-4
    ends = (waved(np.array([1.0 - h, 1.0 + h])) @ IMU.camera_from_imu)[:, :3, 3]
    np.testing.assert_allclose(turn.T @ found.velocity[4], (ends[1] - ends[0]) / (2 * h), atol=0.02)


def test_swapped_axes_are_noticed() -> None:
    samples, time_s = recorded(6.0), np.arange(0.0, 5.5, 0.25)
    swapped = samples[:, [0, 2, 1, 3, 5, 4, 6]] * [1, 1, 1, -1, 1, 1, -1]
    found = inertial.start(waved(time_s), parts_of(swapped, time_s), IMU, metric=True)
    assert found is None or found.turned_deg > 30


def test_a_still_sensor_tells_no_scale() -> None:
    samples = np.tile([0.0, 0, 0, 0, 0, 0, GRAVITY], (400, 1))
    samples[:, 0] = np.arange(400) / 200
    time_s = np.arange(0.1, 1.8, 0.2)
    found = inertial.start(np.tile(np.eye(4), (len(time_s), 1, 1)), parts_of(samples, time_s), Imu(), metric=False)
    assert found is None or found.scale_sigma > 0.5


@pytest.mark.parametrize("late_s", [-0.06, 0.0, 0.11])
def test_the_offset_of_clocks_is_found(late_s: float) -> None:
    samples = recorded(6.0)
    samples[:, 0] += late_s
    time_s = np.arange(0.3, 5.5, 1 / 30)
    turned = waved(time_s)
    found, alike = inertial.offset(turned, time_s, samples)
    assert found == pytest.approx(late_s, abs=0.004) and alike > 0.9


def test_turns_are_foretold() -> None:
    sensor = inertial.Inertial(IMU)
    samples = recorded(2.0)
    assert sensor.add(samples[samples[:, 0] < 1], 0, 1.0) == ""
    first, second = waved(np.array([0.5, 0.6]))
    turn = sensor.turn(0.5, 0.6)
    assert turn is not None
    np.testing.assert_allclose(turn, second[:3, :3].T @ first[:3, :3], atol=1e-4)
    assert sensor.turn(5.0, 5.1) is None


def chained(seed: int) -> tuple[coupled.Chain, np.ndarray, np.ndarray, np.ndarray]:
    """Three keyframes on a wave with the samples between them, slightly off: (chain, poses, unknowns, true motions)."""
    rng, samples = np.random.default_rng(seed), recorded(2.0)
    time_s, h = np.array([0.2, 0.7, 1.1]), 1e-4
    ends = [(waved(time_s + s) @ IMU.camera_from_imu)[:, :3, 3] for s in (h, -h)]
    true = np.concatenate([(ends[0] - ends[1]) / (2 * h), np.zeros((3, 6))], 1)
    motion = true + rng.normal(0, 0.02, (3, 9))
    pair = np.array([0, 1]), np.array([1, 2])
    free = np.array([False, True, True])
    chain = coupled.Chain(*pair, tuple(parts_of(samples, time_s)), IMU, np.arange(3), motion, free)
    views = moved(poses.inverse(waved(time_s)), rng.normal(0, 0.01, (3, 6)))
    return chain, views, chain.start + rng.normal(0, 0.01, 18), true


def test_the_truth_has_no_residual() -> None:
    chain, _, _, true = chained(0)
    views = poses.inverse(waved(np.array([0.2, 0.7, 1.1])))
    for i, part in enumerate(chain.parts):
        residual, _ = chain.residual(views[i], views[i + 1], true[i], true[i + 1], part)
        np.testing.assert_allclose(residual, 0, atol=2e-3)


def test_equations_of_coupled_samples_equal_finite_differences() -> None:
    chain, views, x, _ = chained(1)
    motion = chain._motions(x)
    for i, part in enumerate(chain.parts):
        args = [views[i], views[i + 1], motion[i], motion[i + 1]]
        _, by = chain.residual(args[0], args[1], args[2], args[3], part)
        for k, jacobian in enumerate(by):
            for column in range(jacobian.shape[1]):
                step, ends = 1e-6 * np.eye(jacobian.shape[1])[column], []
                for sign in (1, -1):
                    other = [*args]
                    other[k] = moved(args[k], sign * step) if k < 2 else args[k] + sign * step
                    ends.append(chain.residual(other[0], other[1], other[2], other[3], part)[0])
                np.testing.assert_allclose(jacobian[:, column], (ends[0] - ends[1]) / 2e-6, atol=2e-3)
    # The gradient is half of what the cost changes with.
    hessian, gradient = chain.equations(views, x, np.array([-1, 0, 1]))
    assert hessian.shape == (30, 30)
    for column in range(30):
        step, ends = 1e-7 * np.eye(30)[column], []
        for sign in (1, -1):
            at = views.copy()
            at[1:] = moved(views[1:], sign * step[:12].reshape(2, 6))
            ends.append(chain.cost(at, x + sign * step[12:]))
        assert gradient[column] == pytest.approx((ends[0] - ends[1]) / 4e-7, rel=0.02, abs=30)


@pytest.mark.parametrize("solved", [adjust, adjust_whole])
def test_samples_give_an_adjustment_its_size(solved: Any) -> None:
    """One camera: the size of what moves is wrong by a tenth; points alone do not tell, samples do."""
    rng, camera = np.random.default_rng(0), Intrinsics(260.0, 260.0, 159.5, 119.5, 320, 240)
    time_s, h = np.arange(0.2, 2.2, 0.25), 1e-4
    path = waved(time_s)
    ends = [(waved(time_s + s) @ IMU.camera_from_imu)[:, :3, 3] for s in (h, -h)]
    motion = np.concatenate([(ends[0] - ends[1]) / (2 * h), np.zeros((8, 6))], 1)
    first = path[0]
    xyz = poses.transform(first, rng.uniform((-3, -2, 4), (3, 2, 8), (60, 3)))
    views = poses.inverse(path)
    camera_of, point_of = (a.reshape(-1) for a in np.mgrid[:8, :60])
    uv = np.concatenate([pixels(camera, poses.transform(view, xyz)) for view in views])

    def grown(point: np.ndarray, factor: float = 1.1) -> np.ndarray:
        return first[:3, 3] + factor * (point - first[:3, 3])

    off = path.copy()
    off[:, :3, 3] = grown(path[:, :3, 3])
    pair = np.arange(7), np.arange(1, 8)
    start = motion * np.r_[np.full(3, 1.1), np.ones(6)]
    start[0] = motion[0]
    fixed = np.arange(8) == 0
    chain = coupled.Chain(*pair, tuple(parts_of(recorded(3.0), time_s)), IMU, np.arange(8), start, ~fixed)
    none = np.full(len(uv), np.nan)
    problem = Problem(poses.inverse(off), fixed, grown(xyz), camera_of, point_of, uv, none, (), chain)
    found = solved(problem, camera, sigma=0.01, robust_px=3.0, iterations=40)
    far = [np.linalg.norm(poses.inverse(m)[-1, :3, 3] - first[:3, 3]) for m in (found.poses, views)]
    assert far[0] == pytest.approx(far[1], rel=0.01)
    np.testing.assert_allclose(found.more.reshape(-1, 9)[:, :3], motion[1:, :3], atol=0.05)
