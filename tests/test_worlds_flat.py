"""The flat: a closed way through free space, pictures that agree with each other, and what an inertial sensor feels."""

from __future__ import annotations

import numpy as np
import pytest

from percepta.geometry import pose as poses
from percepta.geometry.imu import GRAVITY, oddities
from percepta.systems.slam.inertial import integrate
from percepta.worlds import inertial
from percepta.worlds.rooms import flat as world
from percepta.worlds.rooms.flat import FlatWalk
from percepta.worlds.rooms.recording import _distance, render


def test_the_way_is_closed_and_long_enough() -> None:
    spline, length = world._route()
    assert length > 20
    np.testing.assert_allclose(spline(0), spline(length), atol=1e-9)
    path = FlatWalk(0, "mono").path
    steps = np.linalg.norm(np.diff(path[:, :3, 3], axis=0), axis=1)
    assert 20 < steps.sum() < 30 and steps.max() < 0.15
    lap = int(length / world.SPEED_M_S * world.FPS)
    assert np.linalg.norm(path[lap, :2, 3] - path[0, :2, 3]) < 0.6, "the last frames see where the first ones were"
    turned = np.degrees(poses.angle(path[:-1, :3, :3].swapaxes(1, 2) @ path[1:, :3, :3]))
    assert turned.max() < 12


def test_nothing_stands_in_the_way() -> None:
    flat = world.flat(0)
    path = FlatWalk(0, "mono").path
    assert _distance(flat, path[:, :2, 3], 0.05, 1.9).min() > 0.25


def test_walks_follow_from_their_seed_and_time_alone() -> None:
    few, many = np.array([1.0, 5.0]), np.linspace(0, 20, 81)
    np.testing.assert_allclose(world.walk_at(3, few), world.walk_at(3, many)[[4, 20]], atol=1e-12)
    assert np.abs(world.walk_at(3, few) - world.walk_at(4, few)).max() > 1e-3
    first, again = (next(iter(FlatWalk(0, "depth", 2, 96))) for _ in range(2))
    assert first.frame.tobytes() == again.frame.tobytes() and first.depth_m is not None and again.depth_m is not None
    assert first.depth_m.tobytes() == again.depth_m.tobytes()


def test_the_right_picture_is_what_the_left_ones_depth_says() -> None:
    walk = FlatWalk(0, "stereo", 3, 160)
    capture = walk.capture()
    assert capture.right is not None and capture.truth is not None
    exact = render(world.flat(0), walk.path[1], walk.camera)
    shot = list(capture)[1]
    assert shot.right is not None
    v, u = np.mgrid[10:110:3, 60:150:3]
    moved = u - walk.camera.fx * world.BASELINE_M / exact.depth_m[v, u]
    at = np.round(moved).astype(int)
    good = at >= 0
    left, right = exact.colour[v, u][good].astype(float), shot.right[v[good], at[good]].astype(float)
    assert np.median(np.abs(left - right)) < 12


def test_samples_lead_along_the_way() -> None:
    time_s = np.arange(0.0, 2.0, 1 / 200)
    clean = inertial.samples(lambda t: world.walk_at(0, t), time_s, world.IMU)
    at = world.walk_at(0, np.array([0.5 - 1e-4, 0.5, 0.5 + 1e-4, 0.9])) @ world.IMU.camera_from_imu
    velocity = (at[2, :3, 3] - at[0, :3, 3]) / 2e-4
    part = integrate(clean, 0.5, 0.9, world.IMU)
    np.testing.assert_allclose(at[1, :3, :3] @ part.turn, at[3, :3, :3], atol=2e-4)
    reached = at[1, :3, 3] + velocity * 0.4 - np.array([0, 0, GRAVITY]) * 0.08 + at[1, :3, :3] @ part.position
    np.testing.assert_allclose(reached, at[3, :3, 3], atol=2e-3)


def test_noise_is_as_stated() -> None:
    capture = FlatWalk(0, "inertial", 200, 96).capture()
    assert capture.samples is not None and capture.imu is not None
    assert np.diff(capture.samples[:, 0]) == pytest.approx(1 / 200) and oddities(capture.samples) == ""
    clean = inertial.samples(lambda t: world.walk_at(0, t), capture.samples[:, 0], capture.imu)
    noise = capture.samples[:, 1:] - clean[:, 1:]
    white = np.diff(noise, axis=0) / np.sqrt(2)  # biases hardly change from sample to sample
    np.testing.assert_allclose(white[:, :3].std(0), capture.imu.gyroscope_noise * np.sqrt(200), rtol=0.15)
    np.testing.assert_allclose(white[:, 3:].std(0), capture.imu.accelerometer_noise * np.sqrt(200), rtol=0.15)
    assert np.abs(noise.mean(0)[:3]).max() < 0.05 and np.abs(noise.mean(0)[3:]).max() < 0.25
