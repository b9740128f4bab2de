"""Poses: where a camera is and how it is turned, as 4×4 matrices named `world_from_camera`.

The camera looks along +z, x points to the right of the picture and y down; the world's z points up. All arrays are
float64, all angles are radians unless a name ends in `_deg`, all lengths metres.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Float64

from percepta.errors import InputError

Pose = Float64[np.ndarray, "4 4"]
Numbers: TypeAlias = np.ndarray | Sequence[float | int] | float | int

_TOLERANCE = 1e-2  # published poses are printed with few digits and averaged by their authors


def problem(pose: np.ndarray, tolerance: float = _TOLERANCE) -> str:
    """What is wrong with a pose, in words; "" where it is a rigid motion.

    Args:
        pose: what should be 4×4: a rotation and a translation above 0 0 0 1.
        tolerance: how far RᵀR may be from the identity, and the determinant from 1.
    """
    pose = np.asarray(pose)
    if pose.shape != (4, 4):
        return f"a pose is 4×4, not {'×'.join(map(str, pose.shape)) or 'a single number'}"
    if not np.isfinite(pose).all():
        return "the pose has values that are not finite (NaN or infinity): this frame was not tracked, leave it out"
    if np.abs(pose[3] - (0, 0, 0, 1)).max() > tolerance:
        return f"the last row of a pose is 0 0 0 1, not {_row(pose[3])}; is the matrix transposed?"
    rotation = pose[:3, :3].astype(np.float64)
    if np.abs(rotation).max() > 1e6:
        return f"a rotation has no entry as large as {np.abs(rotation).max():.3g}"
    determinant = float(np.linalg.det(rotation))
    if determinant <= 0:
        return f"the rotation has determinant {determinant:.3g}: it mirrors; flip one axis"
    scale = determinant ** (1 / 3)
    if abs(determinant - 1) > tolerance and _skew(rotation / scale) <= tolerance:
        return f"the rotation is scaled by {scale:.4g}; divide it, and see whether the translation is in metres"
    if _skew(rotation) > tolerance:
        return f"the upper left 3×3 is no rotation: RᵀR differs from the identity by {_skew(rotation):.3g}"
    return ""


def check(pose: np.ndarray, name: str = "the pose", tolerance: float = _TOLERANCE) -> None:
    """Raises InputError with one sentence where `pose` is no rigid motion.

    Args:
        pose: 4×4.
        name: what the message calls it.
        tolerance: by how much the rotation may differ from an orthogonal matrix.
    """
    if wrong := problem(pose, tolerance):
        raise InputError(f"{name}: {wrong}")


def _skew(rotation: np.ndarray) -> float:
    return float(np.abs(rotation.T @ rotation - np.eye(3)).max())


def _row(values: np.ndarray) -> str:
    return " ".join(f"{v:.3g}" for v in values)


def compose(
    rotation: Float[np.ndarray, "*b 3 3"], translation: Float[np.ndarray, "*b 3"]
) -> Float64[np.ndarray, "*b 4 4"]:
    """The 4×4 matrix of a rotation and a translation."""
    out = np.zeros((*rotation.shape[:-2], 4, 4))
    out[..., :3, :3], out[..., :3, 3], out[..., 3, 3] = rotation, translation, 1
    return out


def inverse(pose: Float[np.ndarray, "*b 4 4"]) -> Float64[np.ndarray, "*b 4 4"]:
    """camera_from_world of world_from_camera, exact for rigid motions."""
    rotation = np.swapaxes(pose[..., :3, :3], -1, -2)
    return compose(rotation, -(rotation @ pose[..., :3, 3, None])[..., 0])


def transform(pose: Float[np.ndarray, "4 4"], points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """Points moved by a pose; they keep their precision."""
    rotation, translation = pose[:3, :3].astype(points.dtype), pose[:3, 3].astype(points.dtype)
    return points @ rotation.T + translation


def angle(rotation: Float[np.ndarray, "*b 3 3"]) -> Float64[np.ndarray, "*b"]:
    """Angle of rotations, 0..π, accurate near 0 and near π as well."""
    odd = np.stack(
        [
            rotation[..., 2, 1] - rotation[..., 1, 2],
            rotation[..., 0, 2] - rotation[..., 2, 0],
            rotation[..., 1, 0] - rotation[..., 0, 1],
        ],
        -1,
    )
    sine = np.linalg.norm(odd, axis=-1) / 2
    cosine = (np.trace(rotation, axis1=-2, axis2=-1) - 1) / 2
    return np.asarray(np.arctan2(sine, cosine), np.float64)


def from_vector(vector: Float[np.ndarray, "*b 3"]) -> Float64[np.ndarray, "*b 3 3"]:
    """Rotations about `vector` by its length (Rodrigues' formula)."""
    vector = np.asarray(vector, np.float64)
    theta = np.linalg.norm(vector, axis=-1)[..., None, None]
    x, y, z = vector[..., 0], vector[..., 1], vector[..., 2]
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*vector.shape[:-1], 3, 3)
    # np.sinc is sin(πx)/(πx) and exact at 0, where the axis has no direction
    first, second = np.sinc(theta / np.pi), np.sinc(theta / 2 / np.pi) ** 2 / 2
    return np.eye(3) + first * cross + second * (cross @ cross)


def from_quaternion(quaternion: Float[np.ndarray, "*b 4"]) -> Float64[np.ndarray, "*b 3 3"]:
    """Rotations of quaternions x y z w of any length but 0."""
    q = np.asarray(quaternion, np.float64)
    x, y, z, w = np.moveaxis(q / np.linalg.norm(q, axis=-1, keepdims=True), -1, 0)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w),
        2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w),
        2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return np.stack(rows, -1).reshape(*q.shape[:-1], 3, 3)


def to_quaternion(rotation: Float[np.ndarray, "*b 3 3"]) -> Float64[np.ndarray, "*b 4"]:
    """Quaternions x y z w of unit length with w ≥ 0."""
    r = np.asarray(rotation, np.float64)
    trace = np.trace(r, axis1=-2, axis2=-1)
    # Four formulas, each with a divisor that may vanish; the one with the largest divisor is taken.
    squares = np.stack([1 + 2 * np.diagonal(r, axis1=-2, axis2=-1)[..., i] - trace for i in range(3)] + [1 + trace], -1)
    best = squares.argmax(-1)
    a, b, c = r[..., 2, 1], r[..., 0, 2], r[..., 1, 0]
    d, e, f = r[..., 1, 2], r[..., 2, 0], r[..., 0, 1]
    options = np.stack(
        [
            np.stack([squares[..., 0], f + c, b + e, a - d], -1),
            np.stack([f + c, squares[..., 1], a + d, b - e], -1),
            np.stack([b + e, a + d, squares[..., 2], c - f], -1),
            np.stack([a - d, b - e, c - f, squares[..., 3]], -1),
        ],
        -2,
    )
    q = np.take_along_axis(options, best[..., None, None], -2)[..., 0, :]
    q = q / np.linalg.norm(q, axis=-1, keepdims=True)
    return np.where(q[..., 3:] < 0, -q, q)


def slerp(
    first: Float[np.ndarray, "3 3"], second: Float[np.ndarray, "3 3"], share: Float[np.ndarray, " n"]
) -> Float64[np.ndarray, "n 3 3"]:
    """Rotations on the shortest arc from `first` (share 0) to `second` (share 1), at constant speed.

    Args:
        first: rotation at share 0.
        second: rotation at share 1.
        share: n numbers, 0..1.
    """
    p, q = to_quaternion(first), to_quaternion(second)
    cosine = float(p @ q)
    if cosine < 0:
        q, cosine = -q, -cosine
    theta = np.arccos(min(1.0, cosine))
    share = np.asarray(share, np.float64)[:, None]
    if theta < 1e-6:
        return from_quaternion(p + share * (q - p))
    return from_quaternion(np.sin((1 - share) * theta) * p + np.sin(share * theta) * q)


def interpolate(
    first: Float[np.ndarray, "4 4"], second: Float[np.ndarray, "4 4"], share: Numbers
) -> Float64[np.ndarray, "n 4 4"]:
    """Poses between two: rotations by `slerp`, positions on the straight line.

    Args:
        first: pose at share 0.
        second: pose at share 1.
        share: n numbers, 0..1.
    """
    at = np.asarray(share, np.float64)
    centres = first[:3, 3] + at[:, None] * (second[:3, 3] - first[:3, 3])
    return compose(slerp(first[:3, :3], second[:3, :3], at), centres)


def random_rotation(rng: np.random.Generator) -> Float64[np.ndarray, "3 3"]:
    """A rotation, uniform over all rotations: a normal quaternion, normalised."""
    return from_quaternion(rng.normal(size=4))


def facing(yaw: Numbers, pitch: Numbers, roll: Numbers = 0.0) -> Float64[np.ndarray, "*b 3 3"]:
    """Rotations of cameras in a world whose z points up.

    Args:
        yaw: compass direction of the view, from the world's x axis towards its y axis.
        pitch: how far the camera looks up (positive) or down.
        roll: turn about the line of sight, clockwise as the camera's holder sees it.
    """
    yaw, pitch, roll = np.broadcast_arrays(np.asarray(yaw, np.float64), pitch, roll)
    cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    forward = np.stack([cp * cy, cp * sy, sp], -1)
    right = np.stack([sy, -cy, np.zeros_like(cy)], -1)
    down = np.cross(forward, right)
    c, s = np.cos(roll)[..., None], np.sin(roll)[..., None]
    return np.stack([c * right + s * down, c * down - s * right, forward], -1)


def look_at(
    eye: Numbers,
    target: Numbers,
    up: Numbers = (0.0, 0.0, 1.0),
) -> Pose:
    """world_from_camera of a camera at `eye` that sees `target` in the middle and `up` upwards.

    Args:
        eye: position of the camera, metres.
        target: point in the middle of the picture, metres.
        up: direction that points upwards in the picture.

    Raises:
        InputError: eye and target are one point, or `up` is parallel to the line of sight.
    """
    eye = np.asarray(eye, np.float64)
    forward = np.asarray(target, np.float64) - eye
    length = np.linalg.norm(forward)
    if length < 1e-9:
        raise InputError("look_at: the eye and the target are the same point; there is no direction to look in")
    forward = forward / length
    right = np.cross(forward, np.asarray(up, np.float64))
    width = np.linalg.norm(right)
    if width < 1e-6 * max(1e-12, float(np.linalg.norm(np.asarray(up)))):
        raise InputError("look_at: `up` is parallel to the line of sight; give another `up`")
    right = right / width
    return compose(np.stack([right, np.cross(forward, right), forward], -1), eye)


def tremor(
    rng: np.random.Generator, at_s: Float[np.ndarray, " n"], size: float, *, low_hz: float = 0.7, high_hz: float = 6.0
) -> Float64[np.ndarray, "n 3"]:
    """Three smooth random signals with standard deviation `size`: what a hand adds to a path.

    A sum of sine waves, more of the slow than of the fast, so that the value at a time does not depend on which other
    times are asked for.

    Args:
        rng: where the phases come from.
        at_s: times, seconds.
        size: standard deviation of each signal.
        low_hz: lowest frequency.
        high_hz: highest frequency.
    """
    frequency = np.exp(rng.uniform(np.log(low_hz), np.log(high_hz), (12, 3)))
    phase = rng.uniform(0, 2 * np.pi, (12, 3))
    amplitude = 1 / frequency
    amplitude *= size * np.sqrt(2) / np.sqrt((amplitude**2).sum(0))
    waves = np.sin(2 * np.pi * np.asarray(at_s, np.float64)[:, None, None] * frequency + phase)
    return (amplitude * waves).sum(1)


def hand_held(
    rng: np.random.Generator,
    at_s: Float[np.ndarray, " n"],
    eyes: Float[np.ndarray, "n 3"],
    yaw: Float[np.ndarray, " n"],
    pitch: Float[np.ndarray, " n"],
    *,
    shake_deg: float = 0.4,
    shake_m: float = 0.004,
    roll_deg: float = 2.0,
) -> Float64[np.ndarray, "n 4 4"]:
    """Poses along a planned path with the unrest of a hand: small turns and shifts, and a slow roll.

    Args:
        rng: where the shake comes from.
        at_s: the time of each pose.
        eyes, yaw, pitch: the plan at these times, see `facing`.
        shake_deg, shake_m: standard deviation of each axis of the shake.
        roll_deg: standard deviation of the slow roll.
    """
    roll = tremor(rng, at_s, np.radians(roll_deg), low_hz=0.05, high_hz=0.3)[:, 0]
    small = from_vector(tremor(rng, at_s, np.radians(shake_deg)))
    return compose(facing(yaw, pitch, roll) @ small, np.asarray(eyes) + tremor(rng, at_s, shake_m))
