"""A pose graph over similarities: keyframes and what is known between pairs of them, after a loop is closed.

A similarity maps x to s·R·x + t. One camera leaves the scale open, so it drifts too (Strasdat et al. 2010); with
depth the scale stays 1. Nodes are S = camera_from_world; an edge knows second_from_first. The residual of an edge is
the small motion (v, w, log scale) of S_second · S_first⁻¹ · measured⁻¹.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int
from scipy import sparse
from scipy.sparse.linalg import spsolve

from percepta.geometry import pose as poses


@dataclass(frozen=True)
class Similarities:
    """n similarities: x becomes scale · rotation · x + translation."""

    rotation: Float64[np.ndarray, "n 3 3"]
    translation: Float64[np.ndarray, "n 3"]
    scale: Float64[np.ndarray, " n"]

    @classmethod
    def of(cls, matrices: Float64[np.ndarray, "n 4 4"], scale: Float64[np.ndarray, " n"] | None = None) -> Similarities:
        """Rigid motions, and maybe their scales."""
        ones = np.ones(len(matrices)) if scale is None else scale
        return cls(matrices[:, :3, :3], matrices[:, :3, 3], ones)

    def __getitem__(self, index: Int[np.ndarray, " m"]) -> Similarities:
        return Similarities(self.rotation[index], self.translation[index], self.scale[index])

    def __matmul__(self, other: Similarities) -> Similarities:
        moved = self.scale[:, None] * (self.rotation @ other.translation[..., None])[..., 0] + self.translation
        return Similarities(self.rotation @ other.rotation, moved, self.scale * other.scale)

    def inverse(self) -> Similarities:
        """The way back."""
        back = np.swapaxes(self.rotation, 1, 2)
        return Similarities(back, -(back @ self.translation[..., None])[..., 0] / self.scale[:, None], 1 / self.scale)

    def moved(self, step: Float64[np.ndarray, "n 7"]) -> Similarities:
        """Changed from the left by small motions (v, w, log scale)."""
        small = Similarities(poses.from_vector(step[:, 3:6]), step[:, :3], np.exp(step[:, 6]))
        return small @ self

    def small(self) -> Float64[np.ndarray, "n 7"]:
        """(v, w, log scale) of similarities near the identity."""
        r = self.rotation
        odd = np.stack([r[:, 2, 1] - r[:, 1, 2], r[:, 0, 2] - r[:, 2, 0], r[:, 1, 0] - r[:, 0, 1]], 1) / 2
        sine = np.linalg.norm(odd, axis=1)
        stretch = np.where(sine > 1e-9, poses.angle(r) / np.where(sine > 1e-9, sine, 1), 1)
        return np.concatenate([self.translation, stretch[:, None] * odd, np.log(self.scale)[:, None]], 1)


def optimise(
    nodes: Similarities,
    first: Int[np.ndarray, " e"],
    second: Int[np.ndarray, " e"],
    measured: Similarities,
    weight: Float64[np.ndarray, " e"],
    *,
    with_scale: bool,
    iterations: int = 10,
) -> Similarities:
    """The nodes with the least weighed squares of all edges' residuals; node 0 stays where it is.

    Args:
        nodes: first guess.
        first, second: the nodes of each edge.
        measured: second_from_first of each edge.
        weight: of each edge.
        with_scale: whether scales may change.
        iterations: most Gauss-Newton steps.
    """
    n, back = len(nodes.scale), measured.inverse()
    size = 7 if with_scale else 6

    def residual(a: Similarities, b: Similarities) -> np.ndarray:
        return (b @ a.inverse() @ back).small()[:, :size]

    for _ in range(iterations):
        a, b = nodes[first], nodes[second]
        r = residual(a, b)
        by_a, by_b = np.empty((len(first), size, size)), np.empty((len(first), size, size))
        for k in range(size):  # central differences: short, and exact enough for steps that vanish
            step = np.zeros((len(first), 7))
            step[:, k] = 1e-6
            by_a[:, :, k] = (residual(a.moved(step), b) - residual(a.moved(-step), b)) / 2e-6
            by_b[:, :, k] = (residual(a, b.moved(step)) - residual(a, b.moved(-step))) / 2e-6
        blocks, gradient = [], np.zeros((n, size))
        for left, i in ((by_a, first), (by_b, second)):
            weighed = np.swapaxes(left, 1, 2) * weight[:, None, None]
            np.add.at(gradient, i, (weighed @ r[..., None])[..., 0])
            blocks += [(i, j, weighed @ right) for right, j in ((by_a, first), (by_b, second))]
        local = np.arange(size)
        rows = np.concatenate([np.repeat(size * i[:, None] + local, size, 1).reshape(-1) for i, _, _ in blocks])
        columns = np.concatenate([np.tile(size * j[:, None] + local, (1, size)).reshape(-1) for _, j, _ in blocks])
        values = np.concatenate([block.reshape(-1) for _, _, block in blocks])
        system = sparse.coo_matrix((values, (rows, columns)), (size * n, size * n)).tocsc()
        system = system[size:, size:] + 1e-9 * sparse.eye(size * (n - 1), format="csc")
        step = np.zeros((n, 7))
        step[1:, :size] = np.asarray(spsolve(system, -gradient.reshape(-1)[size:])).reshape(-1, size)
        nodes = nodes.moved(step)
        if np.abs(step).max() < 1e-6:
            break
    return nodes
