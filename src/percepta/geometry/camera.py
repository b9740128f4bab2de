"""The pinhole camera: pixels, rays, depth and planes.

Pixel centres lie at integers: the middle of the upper left pixel is (0, 0). Depth is z along the optical axis, in
metres, not the distance to the centre; 0 means "no reading". A plane is n·x + d = 0 with |n| = 1; in short form it is
p = n/d, so that p·x = −1 and the inverse depth along the ray K⁻¹(u, v, 1) is −p·K⁻¹(u, v, 1) (PlaneMVS, CVPR 2022).

Functions that say `Array` take and return NumPy arrays or tensors alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64
from torch import Tensor

from percepta.errors import InputError
from percepta.geometry import pose as poses

Array = TypeVar("Array", np.ndarray, Tensor)


@dataclass(frozen=True)
class Intrinsics:
    """Focal lengths and principal point in pixels, and the picture's size in pixels."""

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int

    def __post_init__(self) -> None:
        values = (self.fx, self.fy, self.cx, self.cy)
        if not np.isfinite(values).all() or self.fx <= 0 or self.fy <= 0:
            raise InputError(f"focal lengths must be positive and everything finite, not fx fy cx cy = {values}")
        if self.width < 1 or self.height < 1:
            raise InputError(f"a picture has at least one pixel, not {self.width}×{self.height}")

    @classmethod
    def of(cls, matrix: np.ndarray, width: int, height: int) -> Intrinsics:
        """From a 3×3 (or 4×4, as ScanNet writes it) matrix without skew.

        Args:
            matrix: 3×3 or 4×4, in pixels.
            width: of the picture, in pixels.
            height: of the picture, in pixels.
        """
        matrix = np.asarray(matrix, np.float64)
        if matrix.shape not in ((3, 3), (4, 4)) or abs(matrix[0, 1]) > 1e-6 * abs(matrix[0, 0]):
            raise InputError(f"intrinsics are 3×3 or 4×4 without skew, not {matrix.tolist()}")
        fx, fy, cx, cy = matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]
        return cls(float(fx), float(fy), float(cx), float(cy), width, height)

    @classmethod
    def field_of_view(cls, width: int, height: int, horizontal_deg: float) -> Intrinsics:
        """Square pixels, principal point in the middle of the picture.

        Args:
            width: of the picture, in pixels.
            height: of the picture, in pixels.
            horizontal_deg: angle between its left and right border, 0..180.
        """
        focal = width / 2 / np.tan(np.radians(horizontal_deg) / 2)
        return cls(float(focal), float(focal), (width - 1) / 2, (height - 1) / 2, width, height)

    @property
    def matrix(self) -> Float64[np.ndarray, "3 3"]:
        """K, which maps camera coordinates to (u, v, 1) times depth."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1.0]])

    @property
    def inverse(self) -> Float64[np.ndarray, "3 3"]:
        """K⁻¹, in closed form."""
        return np.array([[1 / self.fx, 0, -self.cx / self.fx], [0, 1 / self.fy, -self.cy / self.fy], [0, 0, 1.0]])

    def resized(self, width: int, height: int) -> Intrinsics:
        """Of the same picture brought to another size.

        A pixel's centre u lies at u + ½ from the picture's edge, and that distance scales: u' = (u + ½)·s − ½.
        """
        sx, sy = width / self.width, height / self.height
        cx, cy = (self.cx + 0.5) * sx - 0.5, (self.cy + 0.5) * sy - 0.5
        return Intrinsics(self.fx * sx, self.fy * sy, cx, cy, width, height)

    def cropped(self, left: int, top: int, width: int, height: int) -> Intrinsics:
        """Of the part of the picture whose upper left pixel is (left, top).

        Args:
            left: first column of the part.
            top: first row of the part.
            width: of the part, in pixels.
            height: of the part, in pixels.
        """
        return Intrinsics(self.fx, self.fy, self.cx - left, self.cy - top, width, height)


def rays(camera: Intrinsics) -> Float64[np.ndarray, "h w 3"]:
    """K⁻¹(u, v, 1) of each pixel: camera coordinates at depth 1."""
    u = (np.arange(camera.width) - camera.cx) / camera.fx
    v = (np.arange(camera.height) - camera.cy) / camera.fy
    out = np.ones((camera.height, camera.width, 3))
    out[..., 0], out[..., 1] = u, v[:, None]
    return out


def project(
    points: Float[np.ndarray, "*n 3"], camera: Intrinsics
) -> tuple[Float[np.ndarray, "*n 2"], Float[np.ndarray, "*n"]]:
    """Pixel coordinates (u, v) and depth of points in camera coordinates; points at depth ≤ 0 get NaN."""
    depth = points[..., 2]
    safe = np.where(depth > 0, depth, np.nan)
    u = points[..., 0] / safe * camera.fx + camera.cx
    v = points[..., 1] / safe * camera.fy + camera.cy
    return np.stack([u, v], -1), depth


def project_world(
    points: Float[np.ndarray, "*n 3"], camera: Intrinsics, world_from_camera: Float[np.ndarray, "4 4"]
) -> tuple[Float[np.ndarray, "*n 2"], Float[np.ndarray, "*n"]]:
    """Pixel coordinates (u, v) and depth, metres, of points of the world; points at depth ≤ 0 get NaN.

    Args:
        points: world coordinates, metres; they keep their precision.
        camera: that sees them.
        world_from_camera: its pose, metres.
    """
    return project(poses.transform(poses.inverse(world_from_camera), points), camera)


def back_project(depth_m: Float[np.ndarray, "h w"], camera: Intrinsics) -> Float[np.ndarray, "h w 3"]:
    """Camera coordinates of every pixel, in the depth's precision; pixels without a reading come out at 0 0 0.

    Raises:
        InputError: the depth has another size than the camera.
    """
    _same_size(depth_m, camera)
    return rays(camera).astype(depth_m.dtype) * depth_m[..., None]


def points(
    depth_m: Float[np.ndarray, "h w"], camera: Intrinsics, world_from_camera: Float[np.ndarray, "4 4"]
) -> tuple[Float[np.ndarray, "n 3"], Bool[np.ndarray, "h w"]]:
    """World coordinates of the n pixels that have a reading, row by row, and which these are.

    Args:
        depth_m: along the optical axis; 0 where there is no reading.
        camera: that measured it.
        world_from_camera: its pose, metres.
    """
    seen = np.isfinite(depth_m) & (depth_m > 0)
    return poses.transform(world_from_camera, back_project(depth_m, camera)[seen]), seen


def _same_size(depth_m: np.ndarray, camera: Intrinsics) -> None:
    if depth_m.shape != (camera.height, camera.width):
        given = "×".join(map(str, depth_m.shape[::-1]))
        raise InputError(
            f"the depth is {given} but the intrinsics are for {camera.width}×{camera.height}; use intrinsics.resized()"
        )


def register(
    depth_m: Float[np.ndarray, "h w"],
    depth_camera: Intrinsics,
    colour_camera: Intrinsics,
    colour_from_depth: Float[np.ndarray, "4 4"],
) -> Float32[np.ndarray, "hc wc"]:
    """Depth as the colour camera would have measured it; 0 where nothing is known.

    Every reading is carried over and covers the pixels that its own pixel covers there; the nearest reading wins. A
    pixel that this leaves empty, and whose neighbours on opposite sides are of one surface (within 3 %), is filled
    from them: the cracks that magnification opens. Shadows behind edges stay empty.

    Args:
        depth_m: of the depth camera; 0 where there is no reading.
        depth_camera: its intrinsics.
        colour_camera: intrinsics of the colour camera.
        colour_from_depth: rigid motion from the depth camera's coordinates to the colour camera's, metres.
    """
    _same_size(depth_m, depth_camera)
    seen = np.isfinite(depth_m) & (depth_m > 0)
    there = poses.transform(colour_from_depth, back_project(depth_m.astype(np.float64), depth_camera)[seen])
    there = there[there[:, 2] > 0]
    uv, z = project(there, colour_camera)
    # How large one pixel of the depth camera is in the colour picture; 1 or less needs a single pixel.
    size = colour_camera.fx / depth_camera.fx
    reach = range(-int(np.ceil((size - 1) / 2)), int(np.ceil((size - 1) / 2)) + 1) if size > 1.001 else (0,)
    out = np.full(colour_camera.height * colour_camera.width, np.inf)
    base = np.floor(uv + 0.5).astype(np.int64)
    for dv in reach:
        for du in reach:
            u, v = base[:, 0] + du, base[:, 1] + dv
            inside = (u >= 0) & (u < colour_camera.width) & (v >= 0) & (v < colour_camera.height)
            np.minimum.at(out, v[inside] * colour_camera.width + u[inside], z[inside])
    out = np.where(np.isfinite(out), out, 0).reshape(colour_camera.height, colour_camera.width)
    return _fill_cracks(out).astype(np.float32)


def _fill_cracks(depth_m: np.ndarray) -> np.ndarray:
    for axis in (0, 1):
        before, after = np.roll(depth_m, 1, axis), np.roll(depth_m, -1, axis)
        edge = [slice(None)] * 2
        for end in (0, -1):  # np.roll wraps round
            edge[axis] = slice(end, None) if end else slice(0, 1)
            before[tuple(edge)] = 0
        alike = (before > 0) & (after > 0) & (np.abs(before - after) < 0.03 * np.minimum(before, after))
        depth_m = np.where((depth_m == 0) & alike, (before + after) / 2, depth_m)
    return depth_m


# --- planes -----------------------------------------------------------------------------------------------------------


def short_plane(normal: Array, offset: Array) -> Array:
    """p = n/d of planes n·x + d = 0 that do not pass through the camera: `... 3` and `...` to `... 3`."""
    return normal / offset[..., None]


def unit_plane(plane: Array) -> tuple[Array, Array]:
    """(n, d) of p = n/d, with d > 0, so that n looks back at the camera: `... 3` to `... 3` and `...`."""
    length = (plane * plane).sum(-1) ** 0.5
    return plane / length[..., None], 1 / length  # pyright: ignore[reportReturnType]


def plane_in(camera_from_world: Float[np.ndarray, "4 4"], normal: Any, offset: Any) -> tuple[Any, Any]:
    """Planes n·x + d = 0 in the coordinates that a pose leads to: n' = R n, d' = d − n'·t; `... 3` and `...`.

    Args:
        camera_from_world: the pose.
        normal: of unit length, `... 3`.
        offset: in metres, `...`.
    """
    turned = normal @ camera_from_world[:3, :3].T
    return turned, offset - turned @ camera_from_world[:3, 3]


def plane_inverse_depth(plane: Array, ray: Array) -> Array:
    """−p·ray: `... 3` and `... 3`, broadcast, to `...`; not positive where the ray does not meet the plane."""
    return -(plane * ray).sum(-1)  # pyright: ignore[reportReturnType]


def plane_depth(plane: Float[np.ndarray, " 3"], camera: Intrinsics) -> Float64[np.ndarray, "h w"]:
    """Depth of a plane p = n/d in every pixel; infinite where the ray does not meet it."""
    inverse = plane_inverse_depth(np.asarray(plane, np.float64), rays(camera))
    with np.errstate(divide="ignore"):
        return np.where(inverse > 0, 1 / inverse, np.inf)


def plane_homography(
    plane: Array, reference_matrix: Array, source_matrix: Array, source_from_reference: Array
) -> Array:
    """Homographies that carry pixels of the reference picture to the source picture by way of planes.

    H = K_src (R − t pᵀ) K_ref⁻¹, because p·x = −1 on the plane makes R x + t the same as (R − t pᵀ) x.

    Args:
        plane: p = n/d in the reference camera's coordinates, `... 3`.
        reference_matrix, source_matrix: K, `3 3` or broadcast with the planes.
        source_from_reference: `4 4` or broadcast with the planes.

    Returns:
        `... 3 3`; (u, v, 1) of the source times its depth over the reference's depth.
    """
    rotation, shift = source_from_reference[..., :3, :3], source_from_reference[..., :3, 3]
    middle = rotation - shift[..., :, None] * plane[..., None, :]
    if isinstance(reference_matrix, Tensor):
        return source_matrix @ middle @ reference_matrix.inverse()  # pyright: ignore[reportReturnType]
    return source_matrix @ middle @ np.linalg.inv(reference_matrix)


def warp(homography: Array, pixels: Array) -> Array:
    """Pixels `... n 2` carried by homographies `... 3 3`; behind the camera they come out as NaN."""
    carried = pixels @ homography[..., :, :2].swapaxes(-1, -2) + homography[..., None, :, 2]
    third = carried[..., 2:]
    if isinstance(third, Tensor):
        return carried[..., :2] / third.where(third > 0, torch.nan)
    return carried[..., :2] / np.where(third > 0, third, np.nan)


def fit_plane(cloud: Float[np.ndarray, "n 3"]) -> tuple[Float64[np.ndarray, " 3"], float]:
    """(n, d) with the least squared distances to n ≥ 3 points, d ≥ 0: n looks at the origin.

    Raises:
        InputError: fewer than three points, or all on one line.
    """
    cloud = np.asarray(cloud, np.float64)
    if len(cloud) < 3:
        raise InputError(f"a plane needs at least three points, not {len(cloud)}")
    middle = cloud.mean(0)
    _, size, axes = np.linalg.svd(cloud - middle, full_matrices=False)
    if size[1] <= 1e-9 * max(size[0], 1e-12):
        raise InputError("the points lie on one line; no plane is determined")
    normal, offset = axes[2], -float(axes[2] @ middle)
    return (normal, offset) if offset >= 0 else (-normal, -offset)
