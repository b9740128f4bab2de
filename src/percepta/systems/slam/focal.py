"""Whether the focal length is right: it is adjusted together with keyframes and points.

A wrong focal length bends the map; the adjustment of poses and points hides most of it, and what remains is told by the
error of reprojection. So this needs turns and near things, and it says how much the error falls.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from percepta.geometry.camera import Intrinsics
from percepta.systems.slam.adjust import Problem, Sorted, in_blocks
from percepta.systems.slam.map import Map
from percepta.systems.slam.reprojection import huber, moved

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


def best_focal(map: Map, iterations: int = 60) -> Focal | None:
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
    # One camera alone: a second held pose would hold a part of what a wrong focal length did to it. The size of the
    # map is left to the damping.
    problem = replace(made[0], fixed=np.arange(len(views)) < 1, links=(), more=None)
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
    by = Sorted.of(problem)
    first, seen, moving = by.first, by.seen, by.moving
    poses_now, xyz, log_focal = problem.poses.copy(), problem.xyz.copy(), 0.0
    cameras, size = len(by.free), 6 * len(by.free) + 1
    slot = by.slot[by.camera_of]

    def at(pose: np.ndarray, points: np.ndarray, log_focal: float) -> tuple[np.ndarray, ...]:
        other = scaled(camera, float(np.exp(log_focal)))
        residual, by_pose, by_point = by.linearise(other, pose, points, sigma)
        by_focal = np.zeros_like(residual)
        if free:  # where a point is seen, from the principal point, grows with the focal length
            by_focal[:, :2] = residual[:, :2] + by.uv - (camera.cx, camera.cy)
        return residual, by_pose, by_point, by_focal

    residual, by_pose, by_point, by_focal = at(poses_now, xyz, log_focal)
    weight, cost = huber(residual, bound)
    damping = 1e-5
    for _ in range(iterations):
        left_pose, left_point = (np.swapaxes(j * weight[:, None, None], 1, 2) for j in (by_pose, by_point))
        pulled = (by_focal * weight[:, None])[:, None]
        h_xx, g_x = (
            np.add.reduceat(a, first) for a in (left_point @ by_point, (left_point @ residual[..., None])[..., 0])
        )
        # Rows and columns: six for each camera, the last for the focal length.
        h_cc, g_c = np.zeros((size, size)), np.zeros(size)
        with_self, with_focal = left_pose @ by_pose, (left_pose @ by_focal[..., None])[..., 0]
        pull = (left_pose @ residual[..., None])[..., 0]
        for k in range(cameras):
            mine, block = slot == k, slice(6 * k, 6 * k + 6)
            h_cc[block, block], g_c[block] = with_self[mine].sum(0), pull[mine].sum(0)
            h_cc[block, -1] = h_cc[-1, block] = with_focal[mine].sum(0)
        h_cc[-1, -1] = float((pulled @ by_focal[..., None]).sum())
        g_c[-1] = float((pulled @ residual[..., None]).sum())
        h_px = np.zeros((len(seen), cameras, 6, 3))
        h_px[by.row[moving], slot[moving]] = left_pose[moving] @ by_point[moving]
        h_fx = np.add.reduceat(pulled @ by_point, first)
        h_cx = np.concatenate([h_px.reshape(len(seen), -1, 3), h_fx], 1)
        back = np.linalg.inv(h_xx + damping * h_xx * np.eye(3) + 1e-9 * np.eye(3))
        reduced = h_cx @ back
        system = h_cc + damping * np.diag(np.diag(h_cc)) + 1e-9 * np.eye(size) - in_blocks(reduced, h_cx)
        step = np.linalg.solve(system, np.einsum("pda,pa->d", reduced, g_x) - g_c)
        step_x = -(back @ (g_x + np.einsum("pda,d->pa", h_cx, step))[..., None])[..., 0]
        tried, points, focal = poses_now.copy(), xyz.copy(), log_focal + float(np.clip(step[-1], -0.1, 0.1))
        tried[by.free] = moved(poses_now[by.free], step[:-1].reshape(-1, 6))
        points[seen] += step_x
        found = at(tried, points, focal)
        tried_weight, tried_cost = huber(found[0], bound)
        if tried_cost < cost:
            done = cost - tried_cost < 1e-7 * cost
            poses_now, xyz, log_focal, weight, cost = tried, points, focal, tried_weight, tried_cost
            residual, by_pose, by_point, by_focal = found
            damping = max(damping / 5, 1e-7)
            if done:
                break
        else:
            damping *= 5
    return replace(problem, poses=poses_now, xyz=xyz), float(np.exp(log_focal)), cost


def scaled(camera: Intrinsics, factor: float) -> Intrinsics:
    """The camera with another focal length."""
    return Intrinsics(camera.fx * factor, camera.fy * factor, camera.cx, camera.cy, camera.width, camera.height)
