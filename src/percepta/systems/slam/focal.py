"""Whether the focal length is right: it is adjusted together with keyframes and points.

A wrong focal length bends the map; the adjustment of poses and points hides most of it, and what remains is told by the
error of reprojection. So this needs turns and near things, and it says how much the error falls.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from percepta.geometry.camera import Intrinsics
from percepta.systems.slam.adjust import Problem
from percepta.systems.slam.map import Map
from percepta.systems.slam.reprojection import huber, moved, reproject

_VIEWS, _POINTS = 12, 300  # keyframes and points that are adjusted


@dataclass(frozen=True)
class Focal:
    """What was found.

    Attributes:
        factor: of the focal length with the least error.
        error_px: with the given one (robust mean over observations).
        best_px: with the best one.
    """

    factor: float
    error_px: float
    best_px: float

    @property
    def is_clear(self) -> bool:
        """Whether another focal length is clearly better than the given one."""
        return abs(self.factor - 1) > 0.04 and self.best_px < 0.9 * self.error_px


def best_focal(map: Map, iterations: int = 15) -> Focal | None:
    """The focal length at which the map's keyframes fit best; None where there are too few.

    Args:
        map: keyframes and points.
        iterations: most steps, without and with a free focal length.
    """
    newest = map.keyframes[-1].part if map.keyframes else 0
    mine = [k for k in map.keyframes if k.part == newest]
    if len(mine) < 5:
        return None
    step = max(1, len(mine) // _VIEWS)
    views = mine[-1 - step * (min(len(mine), _VIEWS) - 1) :: step]
    made = map.problem(views, [])
    if made is None or len(made[0].point_of) < 200:
        return None
    # The points that most keyframes see tell most.
    count = np.bincount(made[0].point_of)
    kept = np.isin(made[0].point_of, np.argsort(-count, kind="stable")[:_POINTS])
    chosen = {name: getattr(made[0], name)[kept] for name in ("camera_of", "point_of", "uv", "inverse_depth")}
    made = (replace(made[0], **chosen), made[1])
    held = 1 if np.isfinite(made[0].inverse_depth).any() else 2
    problem = replace(made[0], fixed=np.arange(len(views)) < held, links=())
    sigma, bound = map.config.inverse_depth_sigma, map.config.outlier_px / 2
    problem, _, given = _adjusted(problem, map.camera, sigma, bound, iterations, free=False)
    _, factor, best = _adjusted(problem, map.camera, sigma, bound, iterations, free=True)
    count = len(problem.point_of)
    return Focal(factor, float(np.sqrt(given / count)), float(np.sqrt(best / count)))


def _adjusted(
    problem: Problem, camera: Intrinsics, sigma: float, bound: float, iterations: int, *, free: bool
) -> tuple[Problem, float, float]:
    """Levenberg's steps with the focal length's logarithm as one more unknown, which every observation depends on.

    Returns:
        (the problem where it ended, the factor of the focal length, Huber's cost).
    """
    order = np.argsort(problem.point_of, kind="stable")
    camera_of, point_of = problem.camera_of[order], problem.point_of[order]
    uv, inverse_depth = problem.uv[order], problem.inverse_depth[order]
    first = np.flatnonzero(np.r_[True, point_of[1:] != point_of[:-1]])
    seen, poses_now, xyz, log_focal = point_of[first], problem.poses.copy(), problem.xyz.copy(), 0.0
    moving = np.flatnonzero(~problem.fixed)
    slot = np.full(len(poses_now), -1)
    slot[moving] = np.arange(len(moving))
    size, count = 6 * len(moving) + 1, len(point_of)

    def at(pose: np.ndarray, points: np.ndarray, log_focal: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        scaled = _scaled(camera, float(np.exp(log_focal)))
        turn, shift = pose[camera_of, :3, :3], pose[camera_of, :3, 3]
        residual, by_pose, by_point = reproject(scaled, turn, shift, points[point_of], uv, inverse_depth, sigma)
        wide = np.zeros((count, 3, size))
        for k in range(len(moving)):
            mine = slot[camera_of] == k
            wide[mine, :, 6 * k : 6 * k + 6] = by_pose[mine]
        if free:  # where a point is seen, from the principal point, grows with the focal length
            wide[:, :2, -1] = residual[:, :2] + uv - (camera.cx, camera.cy)
        return residual, wide, by_point

    residual, by_camera, by_point = at(poses_now, xyz, log_focal)
    weight, cost = huber(residual, bound)
    damping = 1e-3
    for _ in range(iterations):
        left, left_point = (np.swapaxes(j * weight[:, None, None], 1, 2) for j in (by_camera, by_point))
        h_cc = (left @ by_camera).sum(0)
        g_c = np.einsum("ndk,nk->d", left, residual)
        h_xx, g_x = (
            np.add.reduceat(a, first) for a in (left_point @ by_point, (left_point @ residual[..., None])[..., 0])
        )
        h_cx = np.add.reduceat(left @ by_point, first)
        back = np.linalg.inv(h_xx + damping * h_xx * np.eye(3) + 1e-9 * np.eye(3))
        reduced = h_cx @ back
        system = (
            h_cc + damping * np.diag(np.diag(h_cc)) + 1e-9 * np.eye(size) - (reduced @ np.swapaxes(h_cx, 1, 2)).sum(0)
        )
        step = np.linalg.solve(system, np.einsum("pda,pa->d", reduced, g_x) - g_c)
        step_x = -(back @ (g_x + np.einsum("pda,d->pa", h_cx, step))[..., None])[..., 0]
        tried, points, focal = poses_now.copy(), xyz.copy(), log_focal + float(np.clip(step[-1], -0.1, 0.1))
        tried[moving] = moved(poses_now[moving], step[:-1].reshape(-1, 6))
        points[seen] += step_x
        found = at(tried, points, focal)
        tried_weight, tried_cost = huber(found[0], bound)
        if tried_cost < cost:
            done = cost - tried_cost < 1e-5 * cost
            poses_now, xyz, log_focal, weight, cost = tried, points, focal, tried_weight, tried_cost
            residual, by_camera, by_point = found
            damping = max(damping / 5, 1e-9)
            if done:
                break
        else:
            damping *= 5
    return replace(problem, poses=poses_now, xyz=xyz), float(np.exp(log_focal)), cost


def _scaled(camera: Intrinsics, factor: float) -> Intrinsics:
    return Intrinsics(camera.fx * factor, camera.fy * factor, camera.cx, camera.cy, camera.width, camera.height)
