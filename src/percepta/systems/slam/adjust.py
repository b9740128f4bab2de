"""Bundle adjustment: poses and points together, by Gauss-Newton steps with the Schur complement.

A window has few cameras and many points. The points' part of the normal equations is 3×3 blocks, so they are
eliminated first; what is left is a small dense system over the poses (Triggs et al. 2000, section 6.1). All blocks are
NumPy arrays and nothing is random: the same input gives the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int
from scipy import sparse

from percepta.geometry.camera import Intrinsics
from percepta.geometry.pose import angle, inverse
from percepta.systems.slam.reprojection import huber, moved, reproject


@dataclass(frozen=True)
class Link:
    """What is known of two cameras besides the points they see: from depth, an IMU or a place seen again.

    Attributes:
        first, second: the cameras' numbers.
        second_from_first: the pose between them.
        information: inverse covariance (6×6) of a change (v, w) of it from the left, in 1/pixel² as all else.
    """

    first: int
    second: int
    second_from_first: Float64[np.ndarray, "4 4"]
    information: Float64[np.ndarray, "6 6"]


def small_motion(pose: Float64[np.ndarray, "*n 4 4"]) -> Float64[np.ndarray, "*n 6"]:
    """(v, w) of poses near the identity."""
    r = pose[..., :3, :3]
    odd = np.stack(
        [r[..., 2, 1] - r[..., 1, 2], r[..., 0, 2] - r[..., 2, 0], r[..., 1, 0] - r[..., 0, 1]], -1
    )  # fmt: skip
    sine = np.linalg.norm(odd, axis=-1, keepdims=True) / 2
    stretch = np.where(sine > 1e-9, angle(r)[..., None] / np.where(sine > 1e-9, sine, 1), 1)
    return np.concatenate([pose[..., :3, 3], stretch * odd / 2], -1)


def adjoint(pose: Float64[np.ndarray, "*n 4 4"]) -> Float64[np.ndarray, "*n 6 6"]:
    """What a small motion (v, w) is in the coordinates that a pose leads to."""
    r, t = pose[..., :3, :3], pose[..., :3, 3]
    out = np.zeros((*pose.shape[:-2], 6, 6))
    out[..., :3, :3] = out[..., 3:, 3:] = r
    for k in range(3):  # [t]× R, column by column
        out[..., :3, 3 + k] = np.cross(t, r[..., k])
    return out


def _in_blocks(left: Float64[np.ndarray, "p d 3"], right: Float64[np.ndarray, "p d 3"]) -> Float64[np.ndarray, "d d"]:
    """The sum of left · rightᵀ over all points, some points at a time.

    One large product would be shared among threads, and its last bits would depend on how many there are.
    """
    d, some = left.shape[1], max(1, 80_000 // max(1, left.shape[1] ** 2))
    padded = np.zeros((2, -(-len(left) // some) * some, d, 3))
    padded[0, : len(left)], padded[1, : len(left)] = left, right
    a, b = padded.reshape(2, -1, some, d, 3).transpose(0, 1, 3, 2, 4).reshape(2, -1, d, 3 * some)
    return (a @ np.swapaxes(b, 1, 2)).sum(0)


class _Links:
    """All links of a problem at once."""

    def __init__(self, links: Sequence[Link]) -> None:
        self.first = np.array([a.first for a in links], int)
        self.second = np.array([a.second for a in links], int)
        self.back = np.array([inverse(a.second_from_first) for a in links]).reshape(-1, 4, 4)
        self.information = np.array([a.information for a in links]).reshape(-1, 6, 6)

    def residual(self, poses: Float64[np.ndarray, "c 4 4"]) -> Float64[np.ndarray, "m 6"]:
        """(v, w) by which the poses of each pair differ from what is known."""
        return small_motion(poses[self.second] @ inverse(poses[self.first]) @ self.back)

    def cost(self, poses: Float64[np.ndarray, "c 4 4"]) -> float:
        """Of all residuals, weighed."""
        residual = self.residual(poses)
        return float(np.einsum("mi,mij,mj->", residual, self.information, residual))

    def add_to(self, poses: np.ndarray, slot: np.ndarray, h_pp: np.ndarray, g_p: np.ndarray, between: Any) -> None:
        """Adds to the normal equations: d residual is d second − Ad(second_from_first) · d first."""
        pull = (self.information @ self.residual(poses)[..., None])[..., 0]
        by_first = -adjoint(poses[self.second] @ inverse(poses[self.first]))
        by_first_t = np.swapaxes(by_first, 1, 2)
        mixed = by_first_t @ self.information
        own, own_pull = mixed @ by_first, (by_first_t @ pull[..., None])[..., 0]
        for m, (a, b) in enumerate(zip(slot[self.first].tolist(), slot[self.second].tolist(), strict=True)):
            if b >= 0:
                h_pp[b] += self.information[m]
                g_p[b] += pull[m]
            if a >= 0:
                h_pp[a] += own[m]
                g_p[a] += own_pull[m]
            if a >= 0 and b >= 0:
                between[6 * a : 6 * a + 6, 6 * b : 6 * b + 6] += mixed[m]
                between[6 * b : 6 * b + 6, 6 * a : 6 * a + 6] += mixed[m].T


def linked_cost(links: Sequence[Link], poses: Float64[np.ndarray, "c 4 4"]) -> float:
    """Of all links, weighed."""
    return _Links(links).cost(poses)


def linked_equations(
    links: Sequence[Link],
    poses: Float64[np.ndarray, "c 4 4"],
    slot: Int[np.ndarray, " c"],
    h_pp: Float64[np.ndarray, "f 6 6"],
    g_p: Float64[np.ndarray, "f 6"],
) -> sparse.csr_matrix:
    """Adds links to the cameras' own equations, and gives what they say between cameras.

    Args:
        links: between cameras.
        poses: of all cameras.
        slot: place of each camera among the free ones, −1 for fixed ones.
        h_pp, g_p: of the free cameras; changed.
    """
    between = sparse.lil_matrix((6 * len(h_pp), 6 * len(h_pp)))
    _Links(links).add_to(poses, slot, h_pp, g_p, between)
    return sparse.csr_matrix(between)


@dataclass
class Problem:
    """What is adjusted.

    Attributes:
        poses: camera_from_world of each camera.
        fixed: which cameras stay as they are.
        xyz: points in the world.
        camera_of, point_of: of each observation; a camera sees a point at most once.
        uv: of each observation, pixels.
        inverse_depth: of each observation, 1/m; NaN where it was not measured.
        links: what else is known of pairs of cameras.
    """

    poses: Float64[np.ndarray, "c 4 4"]
    fixed: Bool[np.ndarray, " c"]
    xyz: Float64[np.ndarray, "p 3"]
    camera_of: Int[np.ndarray, " n"]
    point_of: Int[np.ndarray, " n"]
    uv: Float64[np.ndarray, "n 2"]
    inverse_depth: Float64[np.ndarray, " n"]
    links: Sequence[Link] = ()


@dataclass(frozen=True)
class Adjusted:
    """The poses and points afterwards, and the error of each observation in pixels."""

    poses: Float64[np.ndarray, "c 4 4"]
    xyz: Float64[np.ndarray, "p 3"]
    error_px: Float64[np.ndarray, " n"]
    cost: float


def adjust(problem: Problem, camera: Intrinsics, *, sigma: float, robust_px: float, iterations: int) -> Adjusted:
    """Levenberg's damped Gauss-Newton steps on Huber's loss of all reprojection errors.

    Args:
        problem: cameras, points and observations; where no depth is measured, two cameras have to be fixed.
        camera: pinhole intrinsics.
        sigma: inverse depth (1/m) that weighs as much as one pixel.
        robust_px: where Huber's loss becomes linear.
        iterations: most steps.
    """
    order = np.argsort(problem.point_of, kind="stable")
    camera_of, point_of = problem.camera_of[order], problem.point_of[order]
    uv, inverse_depth = problem.uv[order], problem.inverse_depth[order]
    free = np.flatnonzero(~problem.fixed)
    slot = np.full(len(problem.poses), -1)
    slot[free] = np.arange(len(free))
    moving = slot[camera_of] >= 0
    poses, xyz = problem.poses.copy(), problem.xyz.copy()
    first = np.flatnonzero(np.r_[True, point_of[1:] != point_of[:-1]])  # of each point that is seen
    seen = point_of[first]

    def linearise(poses: np.ndarray, xyz: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return reproject(
            camera, poses[camera_of, :3, :3], poses[camera_of, :3, 3], xyz[point_of], uv, inverse_depth, sigma
        )

    residual, by_pose, by_point = linearise(poses, xyz)
    weight, cost = huber(residual, robust_px)
    links = _Links(problem.links)
    cost += links.cost(poses)
    damping = 1e-4
    for _ in range(iterations):
        # Normal equations: H_pp over poses, H_xx over points, H_px between them.
        left_pose = np.swapaxes(by_pose * weight[:, None, None], 1, 2)
        left_point = np.swapaxes(by_point * weight[:, None, None], 1, 2)
        h_xx = np.add.reduceat(left_point @ by_point, first)
        g_x = np.add.reduceat((left_point @ residual[..., None])[..., 0], first)
        h_pp, g_p = np.zeros((len(free), 6, 6)), np.zeros((len(free), 6))
        own_pp, own_p = left_pose @ by_pose, (left_pose @ residual[..., None])[..., 0]
        for k, c in enumerate(free):
            mine = camera_of == c
            h_pp[k], g_p[k] = own_pp[mine].sum(0), own_p[mine].sum(0)
        between = np.zeros((6 * len(free), 6 * len(free)))
        links.add_to(poses, slot, h_pp, g_p, between)
        h_px = np.zeros((len(seen), len(free), 6, 3))
        column = np.repeat(np.arange(len(seen)), np.diff(np.r_[first, len(point_of)]))
        h_px[column[moving], slot[camera_of[moving]]] = left_pose[moving] @ by_point[moving]

        # Damped points are eliminated; the system over the poses is small and dense.
        damped_xx = h_xx + damping * (h_xx * np.eye(3)) + 1e-9 * np.eye(3)
        inverse_xx = np.linalg.inv(damped_xx)
        h_xp = h_px.reshape(len(seen), -1, 3)
        reduced = h_xp @ inverse_xx
        system = between - _in_blocks(reduced, h_xp)
        for k in range(len(free)):
            block = slice(6 * k, 6 * k + 6)
            system[block, block] += h_pp[k] + damping * np.diag(np.diag(h_pp[k])) + 1e-9 * np.eye(6)
        step_p = np.linalg.solve(system, np.einsum("pda,pa->d", reduced, g_x) - g_p.reshape(-1))
        step_x = -(inverse_xx @ (g_x + np.einsum("pda,d->pa", h_xp, step_p))[..., None])[..., 0]

        tried_poses, tried_xyz = poses.copy(), xyz.copy()
        tried_poses[free] = moved(poses[free], step_p.reshape(-1, 6))
        tried_xyz[seen] += step_x
        tried = linearise(tried_poses, tried_xyz)
        tried_weight, tried_cost = huber(tried[0], robust_px)
        tried_cost += links.cost(tried_poses)
        if tried_cost < cost:
            gain = cost - tried_cost
            poses, xyz, cost, weight = tried_poses, tried_xyz, tried_cost, tried_weight
            residual, by_pose, by_point = tried
            damping = max(damping / 10, 1e-9)
            if gain < 1e-4 * cost:
                break
        else:
            damping *= 10
    error = np.empty(len(order))
    error[order] = np.sqrt((residual * residual).sum(1))
    return Adjusted(poses, xyz, error, cost)
