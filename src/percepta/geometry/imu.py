"""An inertial sensor: what is known of it, and what its samples should look like."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64

from percepta.errors import InputError
from percepta.geometry import pose as poses

GRAVITY = 9.81  # m/s²


@dataclass(frozen=True)
class Imu:
    """What is known of an inertial sensor; SI units. The noise values are about those of a phone's sensor.

    Attributes:
        camera_from_imu: where the sensor stands before the camera, metres.
        gyroscope_noise: density, rad/s/√Hz.
        accelerometer_noise: density, m/s²/√Hz.
        gyroscope_walk: of its bias, rad/s²/√Hz.
        accelerometer_walk: of its bias, m/s³/√Hz.
        offset_s: a picture's time plus this is the sensor's time.
    """

    camera_from_imu: Float64[np.ndarray, "4 4"] = field(default_factory=lambda: np.eye(4))
    gyroscope_noise: float = 1e-3
    accelerometer_noise: float = 1e-2
    gyroscope_walk: float = 2e-5
    accelerometer_walk: float = 5e-4
    offset_s: float = 0.0

    def __post_init__(self) -> None:
        poses.check(self.camera_from_imu, "camera_from_imu")
        noises = (self.gyroscope_noise, self.accelerometer_noise, self.gyroscope_walk, self.accelerometer_walk)
        if not (np.isfinite(noises).all() and min(noises) > 0):
            raise InputError(f"noise densities of an IMU are above 0, not {noises}")


def check_samples(samples: np.ndarray, name: str = "the IMU") -> Float64[np.ndarray, "n 7"]:
    """Samples as float64, in the order of time; rows are t in s, gyroscope in rad/s, accelerometer in m/s².

    Args:
        samples: n rows of seven numbers.
        name: what messages call it.

    Raises:
        InputError: another shape, values that are not finite, time that goes backwards, or other units.
    """
    samples = np.asarray(samples, np.float64)
    if samples.ndim != 2 or samples.shape[1] != 7:
        raise InputError(f"{name}: samples are rows of t, gx, gy, gz, ax, ay, az, not an array of {samples.shape}")
    if not np.isfinite(samples).all():
        row = int(np.argmax(~np.isfinite(samples).all(1)))
        raise InputError(f"{name}: sample {row} has values that are not finite")
    if (np.diff(samples[:, 0]) < 0).any():
        row = int(np.argmax(np.diff(samples[:, 0]) < 0))
        raise InputError(f"{name}: time goes backwards after sample {row} ({samples[row, 0]} s)")
    return samples


def oddities(samples: Float64[np.ndarray, "n 7"]) -> str:
    """What is odd about samples, in words: accelerations in g, angles in degrees; "" for nothing."""
    if len(samples) < 20:
        return ""
    force = float(np.median(np.linalg.norm(samples[:, 4:], axis=1)))
    turn = float(np.median(np.linalg.norm(samples[:, 1:4], axis=1)))
    if 0.7 < force < 1.4:
        return f"the accelerometer shows {force:.2f} at rest: it seems to be in g; multiply by {GRAVITY}"
    if not 7 < force < 13:
        return f"the accelerometer shows {force:.3g} m/s² (median), where gravity alone is {GRAVITY}"
    if turn > 15:
        return f"the gyroscope shows {turn:.0f} rad/s (median): it seems to be in degrees a second"
    return ""
