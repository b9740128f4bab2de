"""The fast synthetic world: two cameras inside a box whose six sides carry any texture, exact depth and planes.

Textures have a random scale, so that one picture does not tell how far a side is away: two pictures do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int32, UInt8

from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics, plane_in, rays

# Sides of the box: unit normals that look inwards; floor, ceiling, four walls, in PlaneMVS's classes.
NORMALS = np.array([(0, 0, 1), (0, 0, -1), (1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0)], np.float64)
LABELS = np.array([3, 0, 1, 1, 1, 1])


@dataclass(frozen=True)
class Shot:
    """What one camera sees: side is 0..5; plane the sides as (n, d) in its coordinates."""

    colour: UInt8[np.ndarray, "h w 3"]
    depth_m: Float32[np.ndarray, "h w"]
    side: Int32[np.ndarray, "h w"]
    normal: Float64[np.ndarray, "6 3"]
    offset: Float64[np.ndarray, " 6"]
    world_from_camera: Float64[np.ndarray, "4 4"]


class Box:
    """A box of 1.5 to 5 m whose middle is the origin."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng([seed, 41])
        self.half = rng.uniform(0.9, 2.5, 3)
        self.offset = np.abs(NORMALS @ self.half)
        self.noise = rng.integers(0, 256, (6, 3, 64, 64, 3)).astype(np.float64)
        self.scale = np.exp(rng.uniform(np.log(4), np.log(24), 6))  # texels a metre of the coarsest noise
        self.tint = rng.uniform(0.3, 1.0, (6, 3))

    def cameras(self, rng: np.random.Generator, baseline_m: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
        """world_from_camera of a reference and a source camera, this far apart and both inside."""
        eye = rng.uniform(-0.4, 0.4, 3) * self.half
        yaw, pitch, roll = rng.uniform(-np.pi, np.pi), rng.uniform(-0.7, 0.3), rng.normal(0, 0.05)
        first = poses.compose(poses.facing(yaw, pitch, roll), eye)
        step = rng.normal(size=3) * (1, 1, 0.4)  # more to the side than ahead, in the camera's coordinates
        step *= rng.uniform(*baseline_m) / np.linalg.norm(step)
        turn = poses.from_vector(rng.normal(0, 0.03, 3))
        return first, first @ poses.compose(turn, step)

    def render(self, camera: Intrinsics, world_from_camera: np.ndarray) -> Shot:
        """What a camera sees."""
        normal, offset = plane_in(poses.inverse(world_from_camera), NORMALS, self.offset)
        sight = rays(camera)
        inverse = -(sight @ normal.T) / offset  # from inside, the nearest side in front is seen
        side = inverse.argmax(-1)
        depth = 1 / np.take_along_axis(inverse, side[..., None], -1)[..., 0]
        points = poses.transform(world_from_camera, sight * depth[..., None])
        # Coordinates on the side: the two axes other than its normal's.
        axis = np.array([2, 2, 0, 0, 1, 1])[side]
        s = np.where(axis == 0, points[..., 1], points[..., 0])
        t = np.where(axis == 2, points[..., 1], points[..., 2])
        value = np.zeros((*side.shape, 3))
        for octave in range(3):
            value += self._lookup(side, octave, s, t, self.scale[side] * 2**octave) / 3
        colour = np.clip((value - 128) * 1.6 + 128, 0, 255) * self.tint[side]
        return Shot(
            (colour + 0.5).astype(np.uint8),
            depth.astype(np.float32),
            side.astype(np.int32),
            normal,
            offset,
            world_from_camera,
        )

    def _lookup(self, side: np.ndarray, octave: int, s: np.ndarray, t: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Bilinear noise, repeated."""
        x, y = s * scale, t * scale
        i, j = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
        fx, fy = (x - i)[..., None], (y - j)[..., None]
        grid = self.noise[:, octave]
        corner = [[grid[side, (i + a) % 64, (j + b) % 64] for b in (0, 1)] for a in (0, 1)]
        return (corner[0][0] * (1 - fy) + corner[0][1] * fy) * (1 - fx) + (
            corner[1][0] * (1 - fy) + corner[1][1] * fy
        ) * fx
