"""Inertial samples in the adjustment: what is known of keyframes one after the other, with velocities and biases.

The residuals of a pair of keyframes i, j are those of Forster et al. 2017 (equations 45 and 48): turn, velocity and
position by the samples between them against poses and velocities, and the walk of the biases. A keyframe's motion is
(velocity in the world, bias of the gyroscope, bias of the accelerometer), nine numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int

from percepta.geometry import pose as poses
from percepta.geometry.imu import GRAVITY, Imu
from percepta.systems.slam.inertial import Integrated, cross, logarithm, right_jacobian

DOWN = np.array([0.0, 0.0, -GRAVITY])  # in a world that was turned upright
_PRIOR = np.r_[np.zeros(3), np.full(3, 1 / 0.05**2), np.full(3, 1 / 0.5**2)]  # holds biases that nothing else tells


def of_sensor(
    camera_from_world: Float64[np.ndarray, "4 4"], camera_from_imu: Float64[np.ndarray, "4 4"]
) -> tuple[Float64[np.ndarray, "3 3"], Float64[np.ndarray, " 3"]]:
    """Rotation and place of the sensor in the world."""
    world_from_imu = poses.inverse(camera_from_world) @ camera_from_imu
    return world_from_imu[:3, :3], world_from_imu[:3, 3]


def velocities(
    first: Float64[np.ndarray, "4 4"],
    second: Float64[np.ndarray, "4 4"],
    camera_from_imu: Float64[np.ndarray, "4 4"],
    part: Integrated,
    biases: Float64[np.ndarray, " 6"],
) -> tuple[Float64[np.ndarray, " 3"], Float64[np.ndarray, " 3"]]:
    """Velocities in the world at two keyframes, at which the samples between them lead from one to the other.

    Args:
        first, second: camera_from_world of the two, in a world whose z points up.
        camera_from_imu: where the sensor stands.
        part: the samples between them.
        biases: of gyroscope and accelerometer.
    """
    (turn, start), (_, end) = (of_sensor(one, camera_from_imu) for one in (first, second))
    _, pushed, reached = part.corrected(biases[:3], biases[3:])
    dt = part.duration_s
    velocity = (end - start - turn @ reached) / dt - DOWN * dt / 2
    return velocity, velocity + DOWN * dt + turn @ pushed


def foretold(
    camera_from_world: Float64[np.ndarray, "4 4"],
    motion: Float64[np.ndarray, " 9"],
    camera_from_imu: Float64[np.ndarray, "4 4"],
    part: Integrated,
) -> Float64[np.ndarray, " 9"]:
    """A keyframe's motion from the one before.

    Args:
        camera_from_world: pose of the one before.
        motion: of the one before.
        camera_from_imu: where the sensor stands.
        part: the samples between them.
    """
    turn, _ = of_sensor(camera_from_world, camera_from_imu)
    _, pushed, _ = part.corrected(motion[3:6], motion[6:])
    return np.r_[motion[:3] + DOWN * part.duration_s + turn @ pushed, motion[3:]]


@dataclass(frozen=True)
class Chain:
    """What an inertial sensor says of some cameras; the `More` of an adjustment. The world's z points up.

    Attributes:
        first, second: the cameras of each pair.
        parts: the samples between them.
        imu: the sensor, before the straightened camera.
        camera: of each motion, ascending.
        motion: of these cameras; the first guess of those that are free.
        free: which motions are unknown.
    """

    first: Int[np.ndarray, " m"]
    second: Int[np.ndarray, " m"]
    parts: tuple[Integrated, ...]
    imu: Imu
    camera: Int[np.ndarray, " k"]
    motion: Float64[np.ndarray, "k 9"]
    free: Bool[np.ndarray, " k"]

    @property
    def start(self) -> Float64[np.ndarray, " d"]:
        """First guess of the unknown motions, one after the other."""
        return self.motion[self.free].reshape(-1)

    def cost(self, poses: Float64[np.ndarray, "c 4 4"], x: Float64[np.ndarray, " d"]) -> float:
        """Of all residuals, weighed.

        Args:
            poses: camera_from_world of all cameras.
            x: the unknown motions.
        """
        motion, row, total = self._motions(x), self._rows(), 0.0
        for first, second, part in zip(self.first.tolist(), self.second.tolist(), self.parts, strict=True):
            residual, _ = self.residual(poses[first], poses[second], motion[row[first]], motion[row[second]], part)
            total += float(residual @ self._information(part) @ residual)
        off = x - self.start
        return total + float((off * off * np.tile(_PRIOR, len(x) // 9)).sum())

    def equations(
        self, poses: Float64[np.ndarray, "c 4 4"], x: Float64[np.ndarray, " d"], slot: Int[np.ndarray, " c"]
    ) -> tuple[Float64[np.ndarray, "e e"], Float64[np.ndarray, " e"]]:
        """Hessian and gradient over the free cameras' motions (v, w), then the unknown motions.

        Args:
            poses: camera_from_world of all cameras.
            x: the unknown motions.
            slot: place of each camera among the free ones, −1 for fixed ones.
        """
        cameras, motion, row = int(slot.max()) + 1, self._motions(x), self._rows()
        place = np.where(self.free, 6 * cameras + 9 * (np.cumsum(self.free) - 1), -1)
        size = 6 * cameras + len(x)
        hessian, gradient = np.zeros((size, size)), np.zeros(size)
        for first, second, part in zip(self.first.tolist(), self.second.tolist(), self.parts, strict=True):
            a, b = row[first], row[second]
            residual, by = self.residual(poses[first], poses[second], motion[a], motion[b], part)
            starts = (6 * int(slot[first]), 6 * int(slot[second]), int(place[a]), int(place[b]))
            known = [np.arange(s, s + n) if s >= 0 else None for s, n in zip(starts, (6, 6, 9, 9), strict=True)]
            jacobian = np.concatenate([j for j, k in zip(by, known, strict=True) if k is not None], 1)
            at = np.concatenate([k for k in known if k is not None])
            weighed = jacobian.T @ self._information(part)
            hessian[np.ix_(at, at)] += weighed @ jacobian
            gradient[at] += weighed @ residual
        held = np.tile(_PRIOR, len(x) // 9)
        hessian[np.arange(6 * cameras, size), np.arange(6 * cameras, size)] += held
        gradient[6 * cameras :] += held * (x - self.start)
        return hessian, gradient

    def residual(
        self,
        first: Float64[np.ndarray, "4 4"],
        second: Float64[np.ndarray, "4 4"],
        motion: Float64[np.ndarray, " 9"],
        later: Float64[np.ndarray, " 9"],
        part: Integrated,
    ) -> tuple[Float64[np.ndarray, " 15"], tuple[np.ndarray, ...]]:
        """(turn, velocity, position, walk of both biases) that a pair is off, and what it changes with.

        Args:
            first, second: camera_from_world of the two.
            motion, later: of the two.
            part: the samples between them.

        Returns:
            (residual, derivatives by the first pose, the second pose, the first motion, the second motion).
        """
        place, dt = self.imu.camera_from_imu, part.duration_s
        (r_i, p_i), (r_j, p_j) = (of_sensor(one, place) for one in (first, second))
        turn, pushed, reached = part.corrected(motion[3:6], motion[6:])
        back = r_i.T
        gained = back @ (later[:3] - motion[:3] - DOWN * dt)
        gone = back @ (p_j - p_i - motion[:3] * dt - DOWN * dt * dt / 2)
        off = logarithm(turn.T @ back @ r_j)
        residual = np.concatenate([off, gained - pushed, gone - reached, later[3:] - motion[3:]])
        bent = np.linalg.inv(right_jacobian(off))
        by_turn_i, by_turn_j = np.zeros((15, 3)), np.zeros((15, 3))
        by_turn_i[:3], by_turn_i[3:6], by_turn_i[6:9] = -bent @ r_j.T @ r_i, cross(gained), cross(gone)
        by_turn_j[:3] = bent
        by_place = np.zeros((15, 3))
        by_place[6:9] = back
        # A camera's motion (v, w) turns the sensor by −R w and moves it by what stands in `moved`.
        by_w = -place[:3, :3].T
        by_poses = []
        for pose, by_turn, by_position in ((first, by_turn_i, -by_place), (second, by_turn_j, by_place)):
            moved = pose[:3, :3].T @ np.concatenate([-np.eye(3), cross(place[:3, 3])], 1)
            by_pose = by_position @ moved
            by_pose[:, 3:] += by_turn @ by_w
            by_poses.append(by_pose)
        by_first, by_second = np.zeros((15, 9)), np.zeros((15, 9))
        by_first[3:6, :3], by_first[6:9, :3], by_second[3:6, :3] = -back, -back * dt, back
        more = right_jacobian(part.turn_by_gyroscope @ (motion[3:6] - part.gyroscope_bias))
        by_first[:3, 3:6] = -bent @ poses.from_vector(off).T @ more @ part.turn_by_gyroscope
        by_first[3:6, 3:6], by_first[3:6, 6:] = -part.velocity_by_gyroscope, -part.velocity_by_accelerometer
        by_first[6:9, 3:6], by_first[6:9, 6:] = -part.position_by_gyroscope, -part.position_by_accelerometer
        by_first[9:, 3:], by_second[9:, 3:] = -np.eye(6), np.eye(6)
        return residual, (*by_poses, by_first, by_second)

    def _information(self, part: Integrated) -> Float64[np.ndarray, "15 15"]:
        out = np.zeros((15, 15))
        out[:9, :9] = np.linalg.inv(part.covariance + 1e-12 * np.eye(9))
        walk = np.repeat([self.imu.gyroscope_walk, self.imu.accelerometer_walk], 3)
        out[9:, 9:] = np.diag(1 / (walk**2 * part.duration_s))
        return out

    def _motions(self, x: Float64[np.ndarray, " d"]) -> Float64[np.ndarray, "k 9"]:
        out = self.motion.copy()
        out[self.free] = x.reshape(-1, 9)
        return out

    def _rows(self) -> dict[int, int]:
        return {int(camera): row for row, camera in enumerate(self.camera)}
