"""Lenses that bend straight lines: radial-tangential (Brown 1971), and the fisheye of Kannala and Brandt (2006).

A lens maps a direction to a place in the plane z = 1; the pinhole's intrinsics then map that place to a pixel. Both
models are written as OpenCV and Kalibr write them, so that their numbers can be used as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Float32, Float64

from percepta.errors import InputError
from percepta.geometry.camera import Intrinsics

_COUNTS = {"none": (0,), "radtan": (4, 5), "fisheye": (4,)}


@dataclass(frozen=True)
class Lens:
    """How a lens differs from a pinhole.

    Attributes:
        model: "none"; "radtan" (k1 k2 p1 p2, maybe k3); "fisheye" (k1 k2 k3 k4 of Kannala and Brandt).
        values: the model's numbers, in that order.
    """

    model: Literal["none", "radtan", "fisheye"] = "none"
    values: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.model not in _COUNTS:
            raise InputError(f"a lens is {', '.join(_COUNTS)}, not {self.model!r}")
        if len(self.values) not in _COUNTS[self.model] or not np.isfinite(self.values).all():
            wanted = " or ".join(map(str, _COUNTS[self.model]))
            raise InputError(f"a lens {self.model!r} has {wanted} numbers that are finite, not {list(self.values)}")

    @property
    def bends(self) -> bool:
        """Whether it differs from a pinhole at all. A fisheye does with all numbers at 0, too."""
        return self.model == "fisheye" or any(self.values)

    def bend(self, xyz: Float[np.ndarray, "*n 3"]) -> Float64[np.ndarray, "*n 2"]:
        """Where directions meet the plane z = 1 behind the lens; NaN for those behind a pinhole camera."""
        x, y, z = np.moveaxis(np.asarray(xyz, np.float64), -1, 0)
        if self.model == "fisheye":
            k1, k2, k3, k4 = self.values
            radius = np.hypot(x, y)
            theta = np.arctan2(radius, z)
            t = theta * theta
            bent = theta * (1 + t * (k1 + t * (k2 + t * (k3 + t * k4))))
            # At the axis the factor's limit is 1 / z.
            factor = np.where(radius > 1e-12, bent / np.where(radius > 1e-12, radius, 1), 1 / np.where(z > 0, z, 1))
            return np.stack([x * factor, y * factor], -1)
        ahead = np.where(z > 0, z, np.nan)
        x, y = x / ahead, y / ahead
        if not self.bends:
            return np.stack([x, y], -1)
        k1, k2, p1, p2, k3 = (*self.values, 0.0)[:5]
        r = x * x + y * y
        radial = 1 + r * (k1 + r * (k2 + r * k3))
        u = x * radial + 2 * p1 * x * y + p2 * (r + 2 * x * x)
        v = y * radial + p1 * (r + 2 * y * y) + 2 * p2 * x * y
        return np.stack([u, v], -1)

    def straighten(self, xy: Float[np.ndarray, "*n 2"]) -> Float64[np.ndarray, "*n 3"]:
        """Directions of length 1 that `bend` maps to places of the plane z = 1; the inverse, by Newton's steps."""
        xy = np.asarray(xy, np.float64)
        if self.model == "fisheye":
            k = np.array(self.values)
            bent = np.linalg.norm(xy, axis=-1)
            theta = bent.copy()
            for _ in range(20):
                t = theta * theta
                value = theta * (1 + t * (k[0] + t * (k[1] + t * (k[2] + t * k[3])))) - bent
                slope = 1 + t * (3 * k[0] + t * (5 * k[1] + t * (7 * k[2] + t * 9 * k[3])))
                theta = np.clip(theta - value / np.where(np.abs(slope) > 1e-6, slope, 1e-6), 0, np.pi)
            factor = np.where(bent > 1e-12, np.sin(theta) / np.where(bent > 1e-12, bent, 1), 1.0)
            return np.concatenate([xy * factor[..., None], np.cos(theta)[..., None]], -1)
        at = xy.copy()
        for _ in range(20 if self.bends else 0):
            steps = 1e-6 * np.eye(2)
            value = self._bend_plane(at) - xy
            jacobian = np.stack([(self._bend_plane(at + s) - self._bend_plane(at - s)) / 2e-6 for s in steps], -1)
            at = at - np.linalg.solve(jacobian, value[..., None])[..., 0]
        out = np.concatenate([at, np.ones((*at.shape[:-1], 1))], -1)
        return out / np.linalg.norm(out, axis=-1, keepdims=True)

    def _bend_plane(self, xy: np.ndarray) -> np.ndarray:
        return self.bend(np.concatenate([xy, np.ones((*xy.shape[:-1], 1))], -1))


def pixels_of(camera: Intrinsics, lens: Lens, xyz: Float[np.ndarray, "*n 3"]) -> Float64[np.ndarray, "*n 2"]:
    """Pixels of points in camera coordinates, through the lens.

    Args:
        camera: intrinsics.
        lens: of the camera.
        xyz: the points.
    """
    return lens.bend(xyz) * (camera.fx, camera.fy) + (camera.cx, camera.cy)


def pinhole_of(camera: Intrinsics, lens: Lens, most_deg: float = 100.0) -> Intrinsics:
    """The pinhole camera to which a picture is straightened: the camera's own, and of a fisheye its middle.

    Args:
        camera: intrinsics of the bent picture.
        lens: of the camera.
        most_deg: a fisheye's picture keeps at most this horizontal angle; more would stretch its border.
    """
    if lens.model != "fisheye":
        return camera
    rim = lens.straighten(np.array([[-camera.cx / camera.fx, 0.0], [(camera.width - 1 - camera.cx) / camera.fx, 0.0]]))
    half = min(float(np.arctan2(np.abs(rim[:, 0]), rim[:, 2]).min()), np.radians(most_deg) / 2)
    focal = camera.width / 2 / np.tan(half)
    return Intrinsics(focal, focal, (camera.width - 1) / 2, (camera.height - 1) / 2, camera.width, camera.height)


def straight_maps(
    camera: Intrinsics,
    lens: Lens,
    target: Intrinsics,
    camera_from_target: Float[np.ndarray, "3 3"] | None = None,
) -> tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]:
    """Where each pixel of a straight picture is in the bent one: columns and rows, as OpenCV's `remap` takes them.

    Args:
        camera: intrinsics of the bent picture.
        lens: of the camera.
        target: the pinhole camera of the straight picture.
        camera_from_target: how the straight camera is turned; None: as the other.
    """
    u = (np.arange(target.width) - target.cx) / target.fx
    v = (np.arange(target.height) - target.cy) / target.fy
    ray = np.stack(np.broadcast_arrays(u, v[:, None], 1.0), -1)
    if camera_from_target is not None:
        ray = ray @ np.asarray(camera_from_target, np.float64).T
    at = np.nan_to_num(pixels_of(camera, lens, ray), nan=-1e4)
    return at[..., 0].astype(np.float32), at[..., 1].astype(np.float32)


def level_pair(
    left_from_right: Float[np.ndarray, "4 4"],
) -> tuple[Float64[np.ndarray, "3 3"], Float64[np.ndarray, "3 3"], float]:
    """How the cameras of a stereo pair are turned so that rows agree (Fusiello et al. 2000).

    Args:
        left_from_right: the right camera's pose in the left one's coordinates, metres.

    Returns:
        (left_from_straight, right_from_straight, baseline in metres).

    Raises:
        InputError: the right camera is not to the right of the left one.
    """
    shift = np.asarray(left_from_right, np.float64)[:3, 3]
    baseline = float(np.linalg.norm(shift))
    if baseline < 1e-6 or shift[0] < 0.5 * baseline:
        raise InputError(
            f"the right camera has to be to the right of the left one (along x), not at {shift.round(4).tolist()} m"
        )
    ahead = np.array([0.0, 0.0, 1.0]) + left_from_right[:3, 2]
    x = shift / baseline
    y = np.cross(ahead, x)
    y /= np.linalg.norm(y)
    straight = np.stack([x, y, np.cross(x, y)], 1)
    return straight, left_from_right[:3, :3].T @ straight, baseline
