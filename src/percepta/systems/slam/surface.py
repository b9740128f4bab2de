"""Depth as surfaces: a keyframe's points with normals, against the depth of another frame (point to plane).

Corners alone leave turns and shifts hard to tell apart where little is near; the shape of what is seen does not. The
residual is the distance along the normal between a keyframe's point and the reading that it falls on (Chen and Medioni
1992), divided by depth², since the noise of the depth of stereo and of structured light grows with depth².
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics


@dataclass(frozen=True)
class Surface:
    """Points with normals, in the coordinates of the camera that saw them."""

    xyz: Float64[np.ndarray, "n 3"]
    normal: Float64[np.ndarray, "n 3"]


def surface_of(depth_m: Float[np.ndarray, "h w"], camera: Intrinsics, count: int, max_depth_m: float) -> Surface:
    """A grid of points of a depth picture, where the surface is smooth.

    Args:
        depth_m: along the optical axis; 0 where there is no reading.
        camera: that measured it.
        count: about how many points.
        max_depth_m: depth above is no reading.
    """
    h, w = depth_m.shape
    step, reach = max(1, round(np.sqrt(h * w / count))), 4
    v, u = (a.reshape(-1) for a in np.mgrid[reach : h - reach : step, reach : w - reach : step])
    around = [
        _back_project(depth_m, camera, u + du, v + dv) for du, dv in ((reach, 0), (-reach, 0), (0, reach), (0, -reach))
    ]
    here = _back_project(depth_m, camera, u, v)
    normal = np.cross(around[0] - around[1], around[2] - around[3])
    size = np.linalg.norm(normal, axis=1)
    z = np.stack([p[:, 2] for p in (*around, here)])
    # Opposite neighbours have to be as far from the middle: no edge of a thing lies between them.
    bend = np.maximum(np.abs(z[0] + z[1] - 2 * z[4]), np.abs(z[2] + z[3] - 2 * z[4]))
    good = (z.min(0) > 0.1) & (z.max(0) < max_depth_m) & (bend < 0.01 * z[4] ** 2 + 0.005) & (size > 0)
    return Surface(here[good], normal[good] / size[good, None])


def _back_project(depth_m: np.ndarray, camera: Intrinsics, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    z = depth_m[v, u].astype(np.float64)
    return np.stack([(u - camera.cx) / camera.fx * z, (v - camera.cy) / camera.fy * z, z], 1)


def normal_equations(
    surface: Surface,
    camera_from_surface: Float64[np.ndarray, "4 4"],
    depth_m: Float[np.ndarray, "h w"],
    camera: Intrinsics,
    sigma: float,
) -> tuple[Float64[np.ndarray, "6 6"], Float64[np.ndarray, " 6"], int]:
    """Hessian and gradient of half the robust point-to-plane cost, by a change (v, w) of the pose from the left.

    Args:
        surface: of a keyframe.
        camera_from_surface: pose of the keyframe in the camera's coordinates.
        depth_m: of the camera.
        camera: intrinsics of both.
        sigma: standard deviation of inverse depth, 1/m.

    Returns:
        (hessian, gradient, how many points have a reading near them).
    """
    h, w = depth_m.shape
    x = poses.transform(camera_from_surface, surface.xyz)
    z = np.where(x[:, 2] > 0.1, x[:, 2], np.inf)
    u = np.round(x[:, 0] / z * camera.fx + camera.cx)
    v = np.round(x[:, 1] / z * camera.fy + camera.cy)
    inside = np.isfinite(z) & (u >= 0) & (u < w) & (v >= 0) & (v < h)
    x, n = x[inside], surface.normal[inside] @ camera_from_surface[:3, :3].T
    seen = _back_project(depth_m, camera, u[inside].astype(int), v[inside].astype(int))
    near = (seen[:, 2] > 0.1) & (np.abs(seen[:, 2] - x[:, 2]) < 0.03 * x[:, 2] ** 2 + 0.02)
    x, n, seen = x[near], n[near], seen[near]
    scale = 1 / (sigma * x[:, 2] ** 2)
    error = ((x - seen) * n).sum(1) * scale
    jacobian = np.concatenate([n, np.cross(x, n)], 1) * scale[:, None]
    weighted = jacobian / (1 + error * error)[:, None]  # Cauchy's loss
    return weighted.T @ jacobian, (weighted * error[:, None]).sum(0), len(x)
