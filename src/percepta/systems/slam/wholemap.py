"""Bundle adjustment of a whole map: as `adjust`, for many cameras, with sparse matrices.

After a loop is closed the pose graph has spread the error by what pairs of keyframes said of each other; this says it
again by all observations. A point is seen by few of the cameras, so the reduced system over the poses is sparse.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int64
from scipy import sparse
from scipy.sparse.linalg import spsolve

from percepta.geometry.camera import Intrinsics
from percepta.systems.slam.adjust import LEAST_GAIN, Adjusted, Problem, Sorted, linked_cost, linked_equations
from percepta.systems.slam.reprojection import huber, moved


def adjust_whole(problem: Problem, camera: Intrinsics, *, sigma: float, robust_px: float, iterations: int) -> Adjusted:
    """Levenberg's damped Gauss-Newton steps on Huber's loss of all reprojection errors; arguments as `adjust`.

    Args:
        problem: cameras, points and observations; where no depth is measured, two cameras have to be fixed, or
            `more` has to say how large all is.
        camera: pinhole intrinsics.
        sigma: inverse depth (1/m) that weighs as much as one pixel.
        robust_px: where Huber's loss becomes linear.
        iterations: most steps.
    """
    by = Sorted.of(problem)
    free, seen, first, row, moving = by.free, by.seen, by.first, by.row, by.moving
    camera_at = by.slot[by.camera_of[moving]]
    poses_now, xyz = problem.poses.copy(), problem.xyz.copy()
    residual, by_pose, by_point = by.linearise(camera, poses_now, xyz, sigma)
    weight, cost = huber(residual, robust_px)
    more, size = problem.more, 6 * len(free)
    x = np.zeros(0) if more is None else more.start
    cost += linked_cost(problem.links, poses_now) + (0.0 if more is None else more.cost(poses_now, x))
    # Points say much of shapes and nothing of the size, samples little of all: damping must not hold the size.
    damping, least_gain = (1e-4, LEAST_GAIN) if more is None else (1e-8, 1e-6)
    for _ in range(iterations):
        left_pose = np.swapaxes(by_pose * weight[:, None, None], 1, 2)
        left_point = np.swapaxes(by_point * weight[:, None, None], 1, 2)
        h_xx = np.add.reduceat(left_point @ by_point, first)
        g_x = np.add.reduceat((left_point @ residual[..., None])[..., 0], first)
        h_pp, g_p = np.zeros((len(free), 6, 6)), np.zeros((len(free), 6))
        np.add.at(h_pp, camera_at, (left_pose @ by_pose)[moving])
        np.add.at(g_p, camera_at, (left_pose @ residual[..., None])[moving, :, 0])
        between = linked_equations(problem.links, poses_now, by.slot, h_pp, g_p)
        inverse_xx = np.linalg.inv(h_xx + damping * (h_xx * np.eye(3)) + 1e-9 * np.eye(3))
        h_px = _blocks(camera_at, row[moving], left_pose[moving] @ by_point[moving], len(free), len(seen))
        points = np.arange(len(seen))
        reduced = h_px @ _blocks(points, points, inverse_xx, len(seen), len(seen))
        damped = h_pp + damping * (h_pp * np.eye(6)) + 1e-9 * np.eye(6)
        cameras = np.arange(len(free))
        system = _blocks(cameras, cameras, damped, len(free), len(free)) + between - reduced @ h_px.T
        right = reduced @ g_x.reshape(-1) - g_p.reshape(-1)
        if more is not None:
            hessian, gradient = more.equations(poses_now, x, by.slot)
            hessian += damping * np.diag(np.diag(hessian)) + 1e-9 * np.eye(len(gradient))
            wide = sparse.block_diag([system, sparse.csr_matrix((len(x), len(x)))])
            system, right = wide + sparse.csr_matrix(hessian), np.r_[right, np.zeros(len(x))] - gradient
        step = np.asarray(spsolve(system.tocsc(), right))
        step_p = step[:size]
        back = g_x + (h_px.T @ step_p).reshape(-1, 3)
        step_x = -(inverse_xx @ back[..., None])[..., 0]
        tried_poses, tried_xyz = poses_now.copy(), xyz.copy()
        tried_poses[free] = moved(poses_now[free], step_p.reshape(-1, 6))
        tried_xyz[seen] += step_x
        tried = by.linearise(camera, tried_poses, tried_xyz, sigma)
        tried_weight, tried_cost = huber(tried[0], robust_px)
        tried_more = x + step[size:]
        tried_cost += linked_cost(problem.links, tried_poses)
        tried_cost += 0.0 if more is None else more.cost(tried_poses, tried_more)
        if tried_cost < cost:
            done = cost - tried_cost < least_gain * cost
            x = tried_more
            poses_now, xyz, cost, weight = tried_poses, tried_xyz, tried_cost, tried_weight
            residual, by_pose, by_point = tried
            damping = max(damping / 10, 1e-9)
            if done:
                break
        else:
            damping *= 10
    return Adjusted(poses_now, xyz, by.errors(residual), cost, x)


def _blocks(
    rows: Int64[np.ndarray, " n"],
    columns: Int64[np.ndarray, " n"],
    values: Float64[np.ndarray, "n a b"],
    count_rows: int,
    count_columns: int,
) -> sparse.csr_matrix:
    """A sparse matrix of dense blocks.

    Args:
        rows, columns: of the blocks.
        values: the blocks.
        count_rows, count_columns: how many blocks there are each way.
    """
    a, b = values.shape[1:]
    r = np.repeat(a * rows[:, None] + np.arange(a), b, 1).reshape(-1)
    c = np.tile(b * columns[:, None] + np.arange(b), (1, a)).reshape(-1)
    return sparse.csr_matrix((values.reshape(-1), (r, c)), (a * count_rows, b * count_columns))
