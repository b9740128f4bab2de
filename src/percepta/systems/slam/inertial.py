"""Inertial samples: pre-integration between two times, and from it gravity, scale, velocities and biases.

At first the camera alone says how it moves up to a scale; samples are integrated between frames
(Forster et al. 2017, section VI) and compared with that motion. What fits best, in closed form, are the direction of
gravity, the scale of one camera's map, the sensor's biases, and the velocities (Qin et al. 2018, section V; Campos et
al. 2020). The map is then turned so that z points up, and its lengths become metres; from then on samples are part
of the adjustment (`coupled`). Between frames the gyroscope foretells the turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64, Int64

from percepta.geometry import pose as poses
from percepta.geometry.imu import GRAVITY, Imu, oddities

_KEPT_S = 3.0  # for so long samples are kept
_GYROSCOPE_PRIOR, _ACCELEROMETER_PRIOR = 0.05, 0.2  # standard deviations of biases, rad/s and m/s²


@dataclass(frozen=True)
class Integrated:
    """Samples between two times, integrated in the sensor's coordinates at the first; gravity is left out.

    Attributes:
        duration_s: between the two times.
        turn: first_from_second of the sensor.
        velocity, position: what the specific force adds, m/s and m.
        turn_by_gyroscope: derivative of the turn (a small one, from the right) by the gyroscope's bias.
        velocity_by_gyroscope, velocity_by_accelerometer: of the velocity by the biases.
        position_by_gyroscope, position_by_accelerometer: of the position by the biases.
        covariance: of (turn, velocity, position).
        gyroscope_bias, accelerometer_bias: that were taken off.
    """

    duration_s: float
    turn: Float64[np.ndarray, "3 3"]
    velocity: Float64[np.ndarray, " 3"]
    position: Float64[np.ndarray, " 3"]
    turn_by_gyroscope: Float64[np.ndarray, "3 3"]
    velocity_by_gyroscope: Float64[np.ndarray, "3 3"]
    velocity_by_accelerometer: Float64[np.ndarray, "3 3"]
    position_by_gyroscope: Float64[np.ndarray, "3 3"]
    position_by_accelerometer: Float64[np.ndarray, "3 3"]
    covariance: Float64[np.ndarray, "9 9"]
    gyroscope_bias: Float64[np.ndarray, " 3"]
    accelerometer_bias: Float64[np.ndarray, " 3"]

    def corrected(
        self, gyroscope_bias: Float64[np.ndarray, " 3"], accelerometer_bias: Float64[np.ndarray, " 3"]
    ) -> tuple[Float64[np.ndarray, "3 3"], Float64[np.ndarray, " 3"], Float64[np.ndarray, " 3"]]:
        """(turn, velocity, position) with other biases, to first order."""
        g, a = gyroscope_bias - self.gyroscope_bias, accelerometer_bias - self.accelerometer_bias
        return (
            self.turn @ poses.from_vector(self.turn_by_gyroscope @ g),
            self.velocity + self.velocity_by_gyroscope @ g + self.velocity_by_accelerometer @ a,
            self.position + self.position_by_gyroscope @ g + self.position_by_accelerometer @ a,
        )


def cross(vector: Float64[np.ndarray, "*n 3"]) -> Float64[np.ndarray, "*n 3 3"]:
    """The matrices of v ×."""
    out = np.zeros((*vector.shape[:-1], 3, 3))
    out[..., 0, 1], out[..., 0, 2], out[..., 1, 2] = -vector[..., 2], vector[..., 1], -vector[..., 0]
    return out - np.swapaxes(out, -1, -2)


def right_jacobian(vector: Float64[np.ndarray, " 3"]) -> Float64[np.ndarray, "3 3"]:
    """How exp(v + d) differs from exp(v): by exp(J d) from the right, to first order."""
    size, matrix = float(np.linalg.norm(vector)), cross(vector)
    if size < 1e-5:
        return np.eye(3) - matrix / 2 + matrix @ matrix / 6
    return np.eye(3) - (1 - np.cos(size)) / size**2 * matrix + (size - np.sin(size)) / size**3 * matrix @ matrix


def logarithm(rotation: Float64[np.ndarray, "*n 3 3"]) -> Float64[np.ndarray, "*n 3"]:
    """Rotation vectors, for angles below π."""
    odd = np.stack(
        [rotation[..., 2, 1] - rotation[..., 1, 2], rotation[..., 0, 2] - rotation[..., 2, 0],
         rotation[..., 1, 0] - rotation[..., 0, 1]], -1
    ) / 2  # fmt: skip
    sine = np.linalg.norm(odd, axis=-1, keepdims=True)
    return np.where(sine > 1e-9, poses.angle(rotation)[..., None] / np.where(sine > 1e-9, sine, 1), 1) * odd


def integrate(
    samples: Float64[np.ndarray, "n 7"],
    start_s: float,
    end_s: float,
    imu: Imu,
    gyroscope_bias: Float64[np.ndarray, " 3"] | None = None,
    accelerometer_bias: Float64[np.ndarray, " 3"] | None = None,
) -> Integrated:
    """Pre-integrates the samples between two times, by the middle of each pair of samples.

    Args:
        samples: rows t, gyroscope, accelerometer that cover both times; outside of them the nearest one counts.
        start_s, end_s: the times; samples are interpolated there.
        imu: the sensor's noise.
        gyroscope_bias, accelerometer_bias: taken off; None: 0.
    """
    b_g = np.zeros(3) if gyroscope_bias is None else gyroscope_bias
    b_a = np.zeros(3) if accelerometer_bias is None else accelerometer_bias
    inside = samples[(samples[:, 0] > start_s) & (samples[:, 0] < end_s)]
    time = np.r_[start_s, inside[:, 0], end_s]
    values = np.stack([np.interp(time, samples[:, 0], samples[:, i]) for i in range(1, 7)], 1)
    rate, force = values[:, :3] - b_g, values[:, 3:] - b_a
    turn, velocity, position = np.eye(3), np.zeros(3), np.zeros(3)
    r_g, v_g, v_a, p_g, p_a = (np.zeros((3, 3)) for _ in range(5))
    covariance = np.zeros((9, 9))
    for k in range(len(time) - 1):
        dt = time[k + 1] - time[k]
        if dt <= 0:
            continue
        step = (rate[k] + rate[k + 1]) / 2 * dt
        small, by_rate = poses.from_vector(step), right_jacobian(step) * dt
        after = turn @ small
        # The force is turned as it was in the middle of the step: the mean of both ends.
        pushed = (turn @ force[k] + after @ force[k + 1]) / 2
        mean = (force[k] + force[k + 1]) / 2
        halfway = turn @ poses.from_vector(step / 2)
        by_turn = -halfway @ cross(mean)
        transition = np.eye(9)
        transition[:3, :3] = small.T
        transition[3:6, :3], transition[6:, :3] = by_turn * dt, by_turn * dt * dt / 2
        transition[6:, 3:6] = dt * np.eye(3)
        noise = np.zeros((9, 6))
        noise[:3, :3] = by_rate
        noise[3:6, 3:], noise[6:, 3:] = halfway * dt, halfway * dt * dt / 2
        density = np.repeat([imu.gyroscope_noise**2 / dt, imu.accelerometer_noise**2 / dt], 3)
        covariance = transition @ covariance @ transition.T + (noise * density) @ noise.T
        r_after = small.T @ r_g - by_rate
        pushed_by = -(turn @ cross(force[k]) @ r_g + after @ cross(force[k + 1]) @ r_after) / 2
        p_g, v_g, r_g = p_g + v_g * dt + pushed_by * dt * dt / 2, v_g + pushed_by * dt, r_after
        p_a, v_a = p_a + v_a * dt - halfway * dt * dt / 2, v_a - halfway * dt
        position = position + velocity * dt + pushed * dt * dt / 2
        velocity = velocity + pushed * dt
        turn = after
    return Integrated(end_s - start_s, turn, velocity, position, r_g, v_g, v_a, p_g, p_a, covariance, b_g, b_a)


@dataclass(frozen=True)
class Start:
    """What frames and samples say together.

    Attributes:
        scale: metres of one unit of the camera's trajectory.
        scale_sigma: standard deviation of its logarithm, as the noise of the samples says.
        gravity: in the trajectory's world, m/s²; it points down.
        gyroscope_bias, accelerometer_bias: of the sensor.
        velocity: of the sensor at each frame, in the trajectory's world, m/s.
        turned_deg: how far the gyroscope's turns are turned against the camera's: large where axes are swapped.
    """

    scale: float
    scale_sigma: float
    gravity: Float64[np.ndarray, " 3"]
    gyroscope_bias: Float64[np.ndarray, " 3"]
    accelerometer_bias: Float64[np.ndarray, " 3"]
    velocity: Float64[np.ndarray, "n 3"]
    turned_deg: float

    @property
    def upright(self) -> Float64[np.ndarray, "3 3"]:
        """The smallest turn of the trajectory's world after which z points up."""
        up = -self.gravity / np.linalg.norm(self.gravity)
        axis = np.cross(up, (0.0, 0.0, 1.0))
        sine = float(np.linalg.norm(axis))
        if sine < 1e-9:
            return np.eye(3) if up[2] > 0 else np.diag([1.0, -1.0, -1.0])
        return poses.from_vector(axis / sine * np.arctan2(sine, up[2]))


def start(
    world_from_camera: Float64[np.ndarray, "n 4 4"],
    parts: Sequence[Integrated],
    imu: Imu,
    *,
    metric: bool,
    rounds: int = 4,
    camera_sigma_m: float = 0.005,
    camera_sigma_deg: float = 0.2,
) -> Start | None:
    """Gravity, scale, biases and velocities that fit frames and samples best; None where they do not determine them.

    For given turns everything but the length of gravity, which is known, is linear: weighed least squares, a few times
    with the new biases.

    Args:
        world_from_camera: the camera's poses at some frames, a fraction of a second apart.
        parts: the samples between each frame and the next.
        imu: the sensor.
        metric: whether the trajectory's lengths are metres already.
        rounds: how often it is solved.
        camera_sigma_m, camera_sigma_deg: how far poses of the camera are off from frame to frame, after scaling.
    """
    if len(world_from_camera) < 5:
        return None
    r_wc, p_c = world_from_camera[:, :3, :3], world_from_camera[:, :3, 3]
    r_wi, lever = r_wc @ imu.camera_from_imu[:3, :3], r_wc @ imu.camera_from_imu[:3, 3]
    b_g, b_a = _gyroscope_bias(r_wi, parts), np.zeros(3)
    seen = logarithm(np.swapaxes(r_wc[:-1], 1, 2) @ r_wc[1:])
    turned = _turned(seen, logarithm(np.stack([p.corrected(b_g, b_a)[0] for p in parts])), imu)
    gravity, answer = np.zeros(3), None
    for number in range(rounds):
        tangent = np.eye(3) if number == 0 else _tangent(gravity)
        moved = [part.corrected(b_g, b_a) for part in parts]
        answer = _solve(r_wi, p_c, lever, parts, moved, gravity, tangent, metric, camera_sigma_m, camera_sigma_deg)
        if answer is None:
            return None
        _, shift, scale, _, more = answer
        gravity = gravity + tangent @ shift
        size = float(np.linalg.norm(gravity))
        if not np.isfinite(size) or size < 1e-3 or scale <= 0:
            return None
        gravity *= GRAVITY / size
        b_a = b_a + more
    assert answer is not None
    velocity, _, scale, sigma, _ = answer
    return Start(float(scale), sigma, gravity, b_g, b_a, velocity, turned)


def _gyroscope_bias(r_wi: np.ndarray, parts: Sequence[Integrated]) -> Float64[np.ndarray, " 3"]:
    """The bias at which the gyroscope turns as the camera does."""
    bias = np.zeros(3)
    for _ in range(3):
        hessian, gradient = np.eye(3) * (1e-3 / _GYROSCOPE_PRIOR) ** 2 * len(parts), np.zeros(3)
        for i, part in enumerate(parts):
            turn, _, _ = part.corrected(bias, part.accelerometer_bias)
            off = logarithm(turn.T @ r_wi[i].T @ r_wi[i + 1])
            jacobian = part.turn_by_gyroscope
            hessian += jacobian.T @ jacobian
            gradient += jacobian.T @ off
        bias = bias + np.linalg.solve(hessian, gradient)
    return bias


def _turned(seen: np.ndarray, felt: np.ndarray, imu: Imu) -> float:
    """Angle in degrees of the turn that brings the gyroscope's rotation vectors nearest to the camera's."""
    u, size, v = np.linalg.svd(seen.T @ (felt @ imu.camera_from_imu[:3, :3].T))
    if size[1] < 0.05 * size[0] or size[0] < 1e-3:
        return 0.0  # turns about one axis alone do not tell
    u[:, 2] *= np.linalg.det(u @ v)
    return float(np.degrees(poses.angle(u @ v)))


def _tangent(gravity: np.ndarray) -> Float64[np.ndarray, "3 2"]:
    """Two directions at right angles to gravity."""
    axis = np.eye(3)[int(np.argmin(np.abs(gravity)))]
    first = np.cross(gravity, axis)
    first /= np.linalg.norm(first)
    second = np.cross(gravity, first)
    return np.stack([first, second / np.linalg.norm(second)], 1)


def _solve(
    r_wi: np.ndarray,
    p_c: np.ndarray,
    lever: np.ndarray,
    parts: Sequence[Integrated],
    moved: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
    gravity: np.ndarray,
    tangent: np.ndarray,
    metric: bool,
    camera_sigma_m: float,
    camera_sigma_deg: float,
) -> tuple[np.ndarray, np.ndarray, float, float, np.ndarray] | None:
    """Velocities, change of gravity, scale, sigma of its logarithm, change of the accelerometer's bias."""
    n, free = len(p_c), tangent.shape[1]
    size = 3 * n + free + 3 + (0 if metric else 1)
    hessian, right = np.zeros((size, size)), np.zeros(size)
    at_g, at_b = slice(3 * n, 3 * n + free), slice(3 * n + free, 3 * n + free + 3)
    for i, part in enumerate(parts):
        dt, (_, pushed, reached) = part.duration_s, moved[i]
        rows, value = np.zeros((6, size)), np.zeros(6)
        # v_j − v_i − g dt = R (velocity + by bias)
        rows[:3, 3 * i : 3 * i + 3], rows[:3, 3 * i + 3 : 3 * i + 6] = -np.eye(3), np.eye(3)
        rows[:3, at_g] = -tangent * dt
        rows[:3, at_b] = -r_wi[i] @ part.velocity_by_accelerometer
        value[:3] = r_wi[i] @ pushed + gravity * dt
        # s (p_j − p_i) + lever_j − lever_i − v_i dt − g dt²/2 = R (position + by bias)
        rows[3:, 3 * i : 3 * i + 3] = -dt * np.eye(3)
        rows[3:, at_g] = -tangent * dt * dt / 2
        rows[3:, at_b] = -r_wi[i] @ part.position_by_accelerometer
        value[3:] = r_wi[i] @ reached + gravity * dt * dt / 2 - (lever[i + 1] - lever[i])
        if metric:
            value[3:] -= p_c[i + 1] - p_c[i]
        else:
            rows[3:, -1] = p_c[i + 1] - p_c[i]
        covariance = part.covariance[3:, 3:].copy()
        covariance[3:, 3:] += 2 * camera_sigma_m**2 * np.eye(3)
        # A turn of the camera that is off tilts gravity and the force.
        tilt = np.radians(camera_sigma_deg) * GRAVITY
        covariance[:3, :3] += (tilt * dt) ** 2 * np.eye(3)
        weighed = np.linalg.solve(covariance, np.concatenate([rows, value[:, None]], 1))
        hessian += rows.T @ weighed[:, :-1]
        right += rows.T @ weighed[:, -1]
    hessian[at_b, at_b] += np.eye(3) / _ACCELEROMETER_PRIOR**2
    try:
        inverse = np.linalg.inv(hessian + 1e-12 * np.eye(size))
    except np.linalg.LinAlgError:
        return None
    x = inverse @ right
    if not np.isfinite(x).all():
        return None
    scale = 1.0 if metric else float(x[-1])
    sigma = 0.0 if metric else float(np.sqrt(max(inverse[-1, -1], 0)) / max(abs(scale), 1e-12))
    return x[: 3 * n].reshape(n, 3), x[at_g], scale, sigma, x[at_b]


def offset(
    world_from_camera: Float64[np.ndarray, "n 4 4"],
    time_s: Float64[np.ndarray, " n"],
    samples: Float64[np.ndarray, "m 7"],
    most_s: float = 0.2,
    *,
    near_s: float = 0.0,
    step_s: float = 0.002,
) -> tuple[float, float]:
    """Time to add to a picture's so that it is the sensor's: where both turn equally fast, whatever the axes.

    Args:
        world_from_camera: of consecutive frames.
        time_s: of the frames.
        samples: of the sensor.
        most_s: largest distance from `near_s` that is tried.
        near_s: where it is looked for.
        step_s: between two trials.

    Returns:
        (the offset, how alike both turn there: their correlation, −1..1).
    """
    turn = np.swapaxes(world_from_camera[:-1, :3, :3], 1, 2) @ world_from_camera[1:, :3, :3]
    seen = poses.angle(turn) / np.diff(time_s)
    rate = np.linalg.norm(samples[:, 1:4], axis=1)
    total = np.r_[0, np.cumsum((rate[1:] + rate[:-1]) / 2 * np.diff(samples[:, 0]))]
    shifts = near_s + np.arange(-most_s, most_s + 1e-9, step_s)
    scores = []
    for shift in shifts:
        ends = np.interp(time_s + shift, samples[:, 0], total)
        felt = np.diff(ends) / np.diff(time_s)
        scores.append(np.corrcoef(seen, felt)[0, 1] if felt.std() > 0 and seen.std() > 0 else 0.0)
    best = int(np.argmax(scores))
    found, score = float(shifts[best]), float(scores[best])
    if 0 < best < len(shifts) - 1:
        low, middle, high = scores[best - 1 : best + 2]
        bend = low - 2 * middle + high
        found += 0.5 * (low - high) / bend * step_s if bend < 0 else 0.0
    return found, score


@dataclass
class Inertial:
    """The sensor of a session: keeps recent samples, foretells turns, and finds gravity and scale.

    Attributes:
        imu: the sensor.
        gap_s: least time between two frames whose motion is compared with the samples.
        most: how many of these frames are kept.
        samples: of the last seconds.
        frames, times_s: the frames that are compared.
        parts: the samples between each of these frames and the next.
        found: the last start that was good enough; None before there is one.
    """

    imu: Imu
    gap_s: float = 0.25
    most: int = 240
    samples: Float64[np.ndarray, "n 7"] = field(default_factory=lambda: np.zeros((0, 7)))
    frames: list[int] = field(default_factory=list)
    times_s: list[float] = field(default_factory=list)
    parts: list[Integrated] = field(default_factory=list)
    found: Start | None = None

    def add(self, samples: Float64[np.ndarray, "n 7"], frame: int, time_s: float) -> str:
        """Takes the samples since the last frame; what is odd about them, in words.

        Args:
            samples: in the sensor's time; those that are older than the last one are left out.
            frame: number of the frame.
            time_s: of the frame, in the pictures' time.
        """
        samples = samples - np.array([self.imu.offset_s, 0, 0, 0, 0, 0, 0])
        if len(self.samples):
            samples = samples[samples[:, 0] > self.samples[-1, 0]]
        self.samples = np.concatenate([self.samples, samples])
        last = self.times_s[-1] if self.times_s else -np.inf
        said = ""
        if time_s - last >= self.gap_s:
            if self.times_s and time_s - last < 3 * self.gap_s and self._covers(last, time_s):
                bias = np.zeros(3) if self.found is None else self.found.gyroscope_bias
                self.parts.append(integrate(self.samples, last, time_s, self.imu, bias))
            else:
                if self.times_s:
                    said = f"samples of the IMU are missing: {last:.2f} to {time_s:.2f} s"
                self.frames, self.times_s, self.parts = [], [], []
            self.frames.append(frame)
            self.times_s.append(time_s)
            if len(self.frames) > self.most:
                self.frames, self.times_s, self.parts = self.frames[1:], self.times_s[1:], self.parts[1:]
            said = said or oddities(self.samples)
            self.samples = self.samples[self.samples[:, 0] > time_s - _KEPT_S]
        return said

    def _covers(self, start_s: float, end_s: float) -> bool:
        """Whether there are samples all the way, none more than 50 ms from the next."""
        times = self.samples[:, 0]
        inside = times[(times >= start_s - 0.05) & (times <= end_s + 0.05)]
        if len(inside) < 3:
            return False
        return float(np.diff(np.r_[start_s, inside[(inside > start_s) & (inside < end_s)], end_s]).max()) < 0.05

    def between(self, start_s: float, end_s: float) -> Integrated | None:
        """The samples between two times; None where some are missing, or the times are far apart."""
        if not 0 < end_s - start_s < _KEPT_S - 0.5 or not self._covers(start_s, end_s):
            return None
        near = (self.samples[:, 0] >= start_s - 0.05) & (self.samples[:, 0] <= end_s + 0.05)
        biases = (None, None) if self.found is None else (self.found.gyroscope_bias, self.found.accelerometer_bias)
        return integrate(self.samples[near], start_s, end_s, self.imu, *biases)

    def turn(self, start_s: float, end_s: float) -> Float64[np.ndarray, "3 3"] | None:
        """How the camera has turned between two times, second_from_first; None without samples of that time."""
        if not end_s > start_s or not self._covers(start_s, end_s):
            return None
        bias = None if self.found is None else self.found.gyroscope_bias
        near = (self.samples[:, 0] >= start_s - 0.05) & (self.samples[:, 0] <= end_s + 0.05)
        part = integrate(self.samples[near], start_s, end_s, self.imu, bias)
        camera_from_imu = self.imu.camera_from_imu[:3, :3]
        return camera_from_imu @ part.turn.T @ camera_from_imu.T

    def start(
        self,
        frames: Int64[np.ndarray, " n"],
        world_from_camera: Float64[np.ndarray, "n 4 4"],
        *,
        metric: bool,
        least: int = 12,
    ) -> Start | None:
        """What the frames at the end say together with the samples; None for too few, or where it is not certain.

        Args:
            frames: numbers of tracked frames, ascending, of one part of the map.
            world_from_camera: their poses.
            metric: whether lengths are metres already.
            least: fewest frames.
        """
        place = np.searchsorted(frames, self.frames)
        there = (
            (place < len(frames)) & (frames[np.minimum(place, len(frames) - 1)] == self.frames) if len(frames) else []
        )
        gone = np.flatnonzero(~np.asarray(there, bool))
        first = int(gone[-1]) + 1 if len(gone) else 0
        if len(self.frames) - first < least:
            return None
        found = start(world_from_camera[place[first:]], self.parts[first:], self.imu, metric=metric)
        return found if found is not None and found.scale_sigma < 0.03 else None
