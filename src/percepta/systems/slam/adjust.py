"""Bundle adjustment: poses and points together, by Gauss-Newton steps with the Schur complement.

A window has few cameras and many points. The points' part of the normal equations is 3×3 blocks, so they are
eliminated first; what is left is a small dense system over the poses (Triggs et al. 2000, section 6.1). All blocks are
NumPy arrays and nothing is random: the same input gives the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

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


def in_blocks(left: Float64[np.ndarray, "p d 3"], right: Float64[np.ndarray, "p d 3"]) -> Float64[np.ndarray, "d d"]:
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


@runtime_checkable
class More(Protocol):
    """What is known of cameras besides points and links, with unknowns of its own, such as velocities and biases."""

    @property
    def start(self) -> Float64[np.ndarray, " m"]:
        """First guess of these unknowns."""
        ...

    def cost(self, poses: Float64[np.ndarray, "c 4 4"], x: Float64[np.ndarray, " m"]) -> float:
        """Of all residuals, weighed, in 1/pixel² as all else.

        Args:
            poses: of all cameras.
            x: the unknowns.
        """
        ...

    def equations(
        self, poses: Float64[np.ndarray, "c 4 4"], x: Float64[np.ndarray, " m"], slot: Int[np.ndarray, " c"]
    ) -> tuple[Float64[np.ndarray, "d d"], Float64[np.ndarray, " d"]]:
        """Hessian and gradient over the free cameras' motions (v, w), then the unknowns.

        Args:
            poses: of all cameras.
            x: the unknowns.
            slot: place of each camera among the free ones, −1 for fixed ones.
        """
        ...


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
        more: what an inertial sensor says; None without one.
    """

    poses: Float64[np.ndarray, "c 4 4"]
    fixed: Bool[np.ndarray, " c"]
    xyz: Float64[np.ndarray, "p 3"]
    camera_of: Int[np.ndarray, " n"]
    point_of: Int[np.ndarray, " n"]
    uv: Float64[np.ndarray, "n 2"]
    inverse_depth: Float64[np.ndarray, " n"]
    links: Sequence[Link] = ()
    more: More | None = None


@dataclass(frozen=True)
class Sorted:
    """The observations of a problem in the order of their points, and numbers of the cameras that move.

    Attributes:
        order: place of each observation in the problem.
        camera_of, point_of, uv, inverse_depth: of the observations, in this order.
        free: the cameras that move.
        slot: place of each camera among them, −1 for fixed ones.
        first: first observation of each point that is seen.
        seen: these points.
        row: place of each observation's point among them.
        moving: observations of cameras that move.
    """

    order: Int[np.ndarray, " n"]
    camera_of: Int[np.ndarray, " n"]
    point_of: Int[np.ndarray, " n"]
    uv: Float64[np.ndarray, "n 2"]
    inverse_depth: Float64[np.ndarray, " n"]
    free: Int[np.ndarray, " f"]
    slot: Int[np.ndarray, " c"]
    first: Int[np.ndarray, " s"]
    seen: Int[np.ndarray, " s"]
    row: Int[np.ndarray, " n"]
    moving: Int[np.ndarray, " m"]

    @classmethod
    def of(cls, problem: Problem) -> Sorted:
        """Sorts the observations of a problem."""
        order = np.argsort(problem.point_of, kind="stable")
        camera_of, point_of = problem.camera_of[order], problem.point_of[order]
        free = np.flatnonzero(~problem.fixed)
        slot = np.full(len(problem.poses), -1)
        slot[free] = np.arange(len(free))
        first = np.flatnonzero(np.r_[True, point_of[1:] != point_of[:-1]])
        row = np.repeat(np.arange(len(first)), np.diff(np.r_[first, len(point_of)]))
        moving = np.flatnonzero(slot[camera_of] >= 0)
        uv, inverse_depth = problem.uv[order], problem.inverse_depth[order]
        return cls(order, camera_of, point_of, uv, inverse_depth, free, slot, first, point_of[first], row, moving)

    def linearise(
        self, camera: Intrinsics, poses: Float64[np.ndarray, "c 4 4"], xyz: Float64[np.ndarray, "p 3"], sigma: float
    ) -> tuple[Float64[np.ndarray, "n 3"], Float64[np.ndarray, "n 3 6"], Float64[np.ndarray, "n 3 3"]]:
        """Residuals of all observations and their derivatives, as `reproject` gives them.

        Args:
            camera: pinhole intrinsics.
            poses: camera_from_world of all cameras.
            xyz: of all points.
            sigma: inverse depth (1/m) that weighs as much as one pixel.
        """
        at = poses[self.camera_of]
        return reproject(
            camera, at[:, :3, :3], at[:, :3, 3], xyz[self.point_of], self.uv, self.inverse_depth, sigma
        )  # fmt: skip

    def errors(self, residual: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, " n"]:
        """Length of each residual, in the problem's order."""
        error = np.empty(len(self.order))
        error[self.order] = np.sqrt((residual * residual).sum(1))
        return error


@dataclass(frozen=True)
class Adjusted:
    """The poses and points afterwards, the error of each observation in pixels, and the unknowns of `Problem.more`."""

    poses: Float64[np.ndarray, "c 4 4"]
    xyz: Float64[np.ndarray, "p 3"]
    error_px: Float64[np.ndarray, " n"]
    cost: float
    more: Float64[np.ndarray, " m"] = field(default_factory=lambda: np.zeros(0))


LEAST_GAIN = 1e-4  # an adjustment ends where a step makes the cost smaller by less than this share


def adjust(problem: Problem, camera: Intrinsics, *, sigma: float, robust_px: float, iterations: int) -> Adjusted:
    """Levenberg's damped Gauss-Newton steps on Huber's loss of all reprojection errors.

    Args:
        problem: cameras, points and observations; where no depth is measured, two cameras have to be fixed.
        camera: pinhole intrinsics.
        sigma: inverse depth (1/m) that weighs as much as one pixel.
        robust_px: where Huber's loss becomes linear.
        iterations: most steps.
    """
    by = Sorted.of(problem)
    free, slot, seen, first, moving = by.free, by.slot, by.seen, by.first, by.moving
    poses, xyz = problem.poses.copy(), problem.xyz.copy()

    residual, by_pose, by_point = by.linearise(camera, poses, xyz, sigma)
    weight, cost = huber(residual, robust_px)
    links, more = _Links(problem.links), problem.more
    x = np.zeros(0) if more is None else more.start
    cost += links.cost(poses) + (0.0 if more is None else more.cost(poses, x))
    size, damping = 6 * len(free), 1e-4
    for _ in range(iterations):
        # Normal equations: H_pp over poses, H_xx over points, H_px between them.
        left_pose = np.swapaxes(by_pose * weight[:, None, None], 1, 2)
        left_point = np.swapaxes(by_point * weight[:, None, None], 1, 2)
        h_xx = np.add.reduceat(left_point @ by_point, first)
        g_x = np.add.reduceat((left_point @ residual[..., None])[..., 0], first)
        h_pp, g_p = np.zeros((len(free), 6, 6)), np.zeros((len(free), 6))
        own_pp, own_p = left_pose @ by_pose, (left_pose @ residual[..., None])[..., 0]
        for k, c in enumerate(free):
            mine = by.camera_of == c
            h_pp[k], g_p[k] = own_pp[mine].sum(0), own_p[mine].sum(0)
        between = np.zeros((6 * len(free), 6 * len(free)))
        links.add_to(poses, slot, h_pp, g_p, between)
        h_px = np.zeros((len(seen), len(free), 6, 3))
        h_px[by.row[moving], slot[by.camera_of[moving]]] = left_pose[moving] @ by_point[moving]

        # Damped points are eliminated; the system over the poses is small and dense.
        damped_xx = h_xx + damping * (h_xx * np.eye(3)) + 1e-9 * np.eye(3)
        inverse_xx = np.linalg.inv(damped_xx)
        h_xp = h_px.reshape(len(seen), -1, 3)
        reduced = h_xp @ inverse_xx
        system, right = np.zeros((size + len(x), size + len(x))), np.zeros(size + len(x))
        if more is not None:
            system, right = more.equations(poses, x, slot)
            system, right = system + damping * np.diag(np.diag(system)) + 1e-9 * np.eye(len(right)), -right
        system[:size, :size] += between - in_blocks(reduced, h_xp)
        for k in range(len(free)):
            block = slice(6 * k, 6 * k + 6)
            system[block, block] += h_pp[k] + damping * np.diag(np.diag(h_pp[k])) + 1e-9 * np.eye(6)
        right[:size] += np.einsum("pda,pa->d", reduced, g_x) - g_p.reshape(-1)
        step = np.linalg.solve(system, right)
        step_p = step[:size]
        step_x = -(inverse_xx @ (g_x + np.einsum("pda,d->pa", h_xp, step_p))[..., None])[..., 0]

        tried_poses, tried_xyz = poses.copy(), xyz.copy()
        tried_poses[free] = moved(poses[free], step_p.reshape(-1, 6))
        tried_xyz[seen] += step_x
        tried = by.linearise(camera, tried_poses, tried_xyz, sigma)
        tried_weight, tried_cost = huber(tried[0], robust_px)
        tried_more = x + step[size:]
        tried_cost += links.cost(tried_poses) + (0.0 if more is None else more.cost(tried_poses, tried_more))
        if tried_cost < cost:
            gain = cost - tried_cost
            poses, xyz, cost, weight = tried_poses, tried_xyz, tried_cost, tried_weight
            residual, by_pose, by_point = tried
            x = tried_more
            damping = max(damping / 10, 1e-9)
            if gain < LEAST_GAIN * cost:
                break
        else:
            damping *= 10
    return Adjusted(poses, xyz, by.errors(residual), cost, x)
