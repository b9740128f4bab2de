"""What an inertial sensor measures on a smooth way: rates and forces by central differences, noise and biases."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Float64

from percepta.geometry import pose as poses
from percepta.geometry.imu import GRAVITY, Imu

_STEP_S = 5e-4
GYROSCOPE_BIAS, ACCELEROMETER_BIAS = 0.01, 0.05  # standard deviations of the biases at the start, rad/s and m/s²


def samples(
    pose_at: Callable[[Float64[np.ndarray, " n"]], Float64[np.ndarray, "n 4 4"]],
    time_s: Float[np.ndarray, " n"],
    imu: Imu,
    rng: np.random.Generator | None = None,
) -> Float64[np.ndarray, "n 7"]:
    """Rows t, gyroscope (rad/s), accelerometer (m/s²) of a sensor that a camera carries; the world's z points up.

    Args:
        pose_at: world_from_camera at some times; smooth.
        time_s: of the samples, evenly spaced, in the camera's time; `imu.offset_s` is added to what is returned.
        imu: where the sensor stands, and its noise.
        rng: where noise and biases come from; None: neither.
    """
    time_s = np.asarray(time_s, np.float64)
    before, here, after = (pose_at(time_s + shift) @ imu.camera_from_imu for shift in (-_STEP_S, 0.0, _STEP_S))
    acceleration = (before[:, :3, 3] - 2 * here[:, :3, 3] + after[:, :3, 3]) / _STEP_S**2
    force = np.einsum("nji,nj->ni", here[:, :3, :3], acceleration + np.array([0.0, 0.0, GRAVITY]))
    turn = np.swapaxes(before[:, :3, :3], 1, 2) @ after[:, :3, :3]
    odd = np.stack([turn[:, 2, 1] - turn[:, 1, 2], turn[:, 0, 2] - turn[:, 2, 0], turn[:, 1, 0] - turn[:, 0, 1]], 1) / 2
    sine = np.linalg.norm(odd, axis=1)
    stretch = np.where(sine > 1e-12, poses.angle(turn) / np.where(sine > 1e-12, sine, 1), 1)
    rate = stretch[:, None] * odd / (2 * _STEP_S)
    if rng is not None and len(time_s) > 1:
        gap = float(np.median(np.diff(time_s)))
        for values, noise, walk, bias in (
            (rate, imu.gyroscope_noise, imu.gyroscope_walk, GYROSCOPE_BIAS),
            (force, imu.accelerometer_noise, imu.accelerometer_walk, ACCELEROMETER_BIAS),
        ):
            values += rng.normal(0, bias, 3)
            values += np.cumsum(rng.normal(0, walk * np.sqrt(gap), values.shape), 0)
            values += rng.normal(0, noise / np.sqrt(gap), values.shape)
    return np.concatenate([(time_s + imu.offset_s)[:, None], rate, force], 1)
