"""The residual that everything here makes small: where a point is seen, against where it should be seen."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float64

from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics


def reproject(
    camera: Intrinsics,
    rotation: Float64[np.ndarray, "*n 3 3"],
    translation: Float64[np.ndarray, "*n 3"],
    xyz: Float64[np.ndarray, "n 3"],
    uv: Float64[np.ndarray, "n 2"],
    inverse_depth: Float64[np.ndarray, " n"],
    sigma: float,
) -> tuple[Float64[np.ndarray, "n 3"], Float64[np.ndarray, "n 3 6"], Float64[np.ndarray, "n 3 3"]]:
    """Residuals (u, v, inverse depth / sigma) in pixels, and what they change with.

    A pose changes from the left: camera_from_world becomes exp(v, w) · camera_from_world, so that a point x in camera
    coordinates moves by v + w × x. Where no inverse depth was measured (NaN), the third residual is 0. A point behind
    the camera has residuals of 1e3 pixels and no derivatives.

    Args:
        camera: pinhole intrinsics.
        rotation, translation: of camera_from_world, one for all points or one for each.
        xyz: the points in the world.
        uv: where they are seen, pixels.
        inverse_depth: as measured, 1/m; NaN where it was not.
        sigma: inverse depth (1/m) that weighs as much as one pixel.

    Returns:
        (residuals, derivatives by the pose (v, w), derivatives by the point).
    """
    n = len(xyz)
    x = (rotation @ xyz[..., None])[..., 0] + translation
    front = x[:, 2] > 1e-3
    inverse = 1 / np.where(front, x[:, 2], 1)
    a, b = x[:, 0] * inverse, x[:, 1] * inverse
    measured = np.isfinite(inverse_depth)
    residual = np.empty((n, 3))
    residual[:, 0] = camera.fx * a + camera.cx - uv[:, 0]
    residual[:, 1] = camera.fy * b + camera.cy - uv[:, 1]
    residual[:, 2] = np.where(measured, (inverse - np.where(measured, inverse_depth, 0)) / sigma, 0)
    by_x = np.zeros((n, 3, 3))
    by_x[:, 0, 0], by_x[:, 0, 2] = camera.fx * inverse, -camera.fx * a * inverse
    by_x[:, 1, 1], by_x[:, 1, 2] = camera.fy * inverse, -camera.fy * b * inverse
    by_x[:, 2, 2] = np.where(measured, -inverse * inverse / sigma, 0)
    residual[~front], by_x[~front] = 1e3, 0
    by_pose = np.empty((n, 3, 6))
    by_pose[:, :, :3] = by_x
    # d(w × x)/dw = −[x]×, so the rows are x × (row of by_x)
    by_pose[:, :, 3] = x[:, None, 1] * by_x[:, :, 2] - x[:, None, 2] * by_x[:, :, 1]
    by_pose[:, :, 4] = x[:, None, 2] * by_x[:, :, 0] - x[:, None, 0] * by_x[:, :, 2]
    by_pose[:, :, 5] = x[:, None, 0] * by_x[:, :, 1] - x[:, None, 1] * by_x[:, :, 0]
    return residual, by_pose, by_x @ rotation


def huber(residual: Float64[np.ndarray, "n 3"], bound: float) -> tuple[Float64[np.ndarray, " n"], float]:
    """Weights and cost of Huber's loss of the length of each residual; beyond the bound it grows only linearly."""
    length = np.sqrt((residual * residual).sum(1))
    far = length > bound
    weight = np.where(far, bound / np.where(far, length, 1), 1)
    cost = np.where(far, bound * (2 * length - bound), length * length).sum()
    return weight, float(cost)


def moved(pose: Float64[np.ndarray, "*n 4 4"], step: Float64[np.ndarray, "*n 6"]) -> Float64[np.ndarray, "*n 4 4"]:
    """Poses changed from the left by a small motion (v, w): exp of the rotation, the translation as it is.

    Rotations are brought back to SO(3) by one Newton step: speed · pose doubles what they are off, frame by frame.
    """
    turn = poses.from_vector(step[..., 3:])
    centre = (turn @ pose[..., :3, 3, None])[..., 0] + step[..., :3]
    rotation = turn @ pose[..., :3, :3]
    rotation = rotation @ (3 * np.eye(3) - np.swapaxes(rotation, -1, -2) @ rotation) / 2
    return poses.compose(rotation, centre)


def fit_pose(
    camera: Intrinsics,
    camera_from_world: Float64[np.ndarray, "4 4"],
    xyz: Float64[np.ndarray, "n 3"],
    uv: Float64[np.ndarray, "n 2"],
    inverse_depth: Float64[np.ndarray, " n"],
    sigma: float,
    outlier_px: float,
    more: Callable[[Float64[np.ndarray, "4 4"]], tuple[np.ndarray, np.ndarray]] | None = None,
) -> tuple[Float64[np.ndarray, "4 4"], Bool[np.ndarray, " n"]]:
    """The pose with the least robust reprojection error, from a first guess.

    Args:
        camera: pinhole intrinsics.
        camera_from_world: the guess.
        xyz, uv, inverse_depth, sigma: as in `reproject`.
        outlier_px: points with a larger error at the end are outliers; the bound tightens to it from four times that.
        more: hessian (6×6) and gradient (6) of what else the pose has to fit, in pixels.

    Returns:
        (camera_from_world, which points are inliers).
    """
    pose = camera_from_world
    used = np.ones(len(xyz), bool)
    for bound in (4 * outlier_px, 2 * outlier_px, outlier_px, outlier_px):
        for _ in range(4):
            residual, by_pose, _ = reproject(
                camera, pose[:3, :3], pose[:3, 3], xyz[used], uv[used], inverse_depth[used], sigma
            )
            weight, _ = huber(residual, bound / 2)
            weighted = by_pose * weight[:, None, None]
            hessian = np.tensordot(weighted, by_pose, ((0, 1), (0, 1))) + 1e-6 * np.eye(6)
            gradient = (weighted * residual[:, :, None]).sum((0, 1))
            if more is not None:
                other_hessian, other_gradient = more(pose)
                hessian, gradient = hessian + other_hessian, gradient + other_gradient
            step = -np.linalg.solve(hessian, gradient)
            pose = moved(pose, step)
            if np.abs(step).max() < 1e-5:
                break
        residual, _, _ = reproject(camera, pose[:3, :3], pose[:3, 3], xyz, uv, inverse_depth, sigma)
        inlier = (residual * residual).sum(1) < bound * bound
        if inlier.sum() < 6:
            return pose, inlier
        used = inlier
    return pose, used
