"""Planes of a depth picture by RANSAC: pseudo-labels for recordings without annotation; and their poses, corrected."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int32, UInt8
from scipy import ndimage, optimize

from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics, back_project, fit_plane, project


@dataclass(frozen=True)
class Segments:
    """Planes of one picture.

    Attributes:
        index: number of each pixel's plane, −1 for none.
        normal: n of each plane n·x + d = 0 in the camera's coordinates; the largest plane first.
        offset: d of each plane, above 0, metres.
    """

    index: Int32[np.ndarray, "h w"]
    normal: Float64[np.ndarray, "n 3"]
    offset: Float64[np.ndarray, " n"]


def aligned_pose(
    first: UInt8[np.ndarray, "h w 3"],
    second: UInt8[np.ndarray, "h w 3"],
    depth_m: Float[np.ndarray, "h w"],
    camera: Intrinsics,
    second_from_first: Float[np.ndarray, "4 4"],
    *,
    step: int = 3,
    max_angle_deg: float = 1.5,
) -> Float64[np.ndarray, "4 4"]:
    """The pose with the rotation under which the second picture looks most like the first one, by the sensor's depth.

    Poses of recordings are off by some tenths of a degree while the camera turns. That is as much as the parallax of a
    few centimetres, so training pairs would teach wrong depth. Only for pairs with depth: not for what is measured.

    Args:
        first: the first picture, RGB.
        second: the second picture, RGB.
        depth_m: of the first picture, 0 where unknown.
        camera: of both pictures.
        second_from_first: the relative pose, metres.
        step: compare every so many pixels.
        max_angle_deg: where the best rotation is larger, the pose stays as it was.

    Returns:
        second_from_first with another rotation.
    """
    grey = [ndimage.gaussian_filter(p.astype(np.float32).mean(-1), 0.7) for p in (first, second)]
    cloud = back_project(depth_m.astype(np.float64), camera)[::step, ::step]
    near = depth_m[::step, ::step] > 0
    points, own = cloud[near], grey[0][::step, ::step][near]
    turned = points @ second_from_first[:3, :3].T
    h, w = depth_m.shape

    def unlike(vector_deg: np.ndarray) -> float:
        moved = turned @ poses.from_vector(np.radians(vector_deg)).T + second_from_first[:3, 3]
        at, _ = project(moved, camera)
        inside = ((at > 1) & (at < (w - 2, h - 2))).all(1)  # what lies behind is NaN, which is not inside
        if inside.sum() < 100:
            return 0.0
        seen = ndimage.map_coordinates(grey[1], at[inside][:, ::-1].T, order=1)
        return -float(np.corrcoef(own[inside], seen)[0, 1])

    corners = 0.2 * np.concatenate([np.zeros((1, 3)), np.eye(3)])
    found = optimize.minimize(
        unlike, np.zeros(3), method="Nelder-Mead",
        options={"xatol": 0.01, "fatol": 1e-5, "maxiter": 150, "initial_simplex": corners},
    )  # fmt: skip
    out = np.array(second_from_first, np.float64)
    if np.linalg.norm(found.x) > max_angle_deg:
        return out
    out[:3, :3] = poses.from_vector(np.radians(found.x)) @ out[:3, :3]
    return out


def planes_of_depth(
    depth_m: Float[np.ndarray, "h w"],
    camera: Intrinsics,
    *,
    seed: int = 0,
    max_planes: int = 20,
    min_area: float = 0.005,
    max_depth_m: float = 6.0,
    candidates: int = 96,
) -> Segments:
    """One plane after the other, each the one with most pixels left (Fischler & Bolles 1981), refined and connected.

    A pixel belongs to a plane within 1 cm + 0.7 % of z² (about what a Kinect errs by) whose local normal agrees within
    30°. A candidate is one pixel with its local normal. Of what agrees the largest connected part is taken.

    Args:
        depth_m: 0 where unknown.
        camera: at the size of the depth.
        seed: of the random candidates.
        max_planes: most planes that are found.
        min_area: smallest plane, as a share of the picture.
        max_depth_m: readings beyond are left out.
        candidates: how many planes are tried for each that is found.
    """
    rng = np.random.default_rng(seed)
    cloud = back_project(depth_m.astype(np.float64), camera)
    normal, known = local_normals(cloud, (depth_m > 0) & (depth_m < max_depth_m))
    index = np.full(depth_m.shape, -1, np.int32)
    left = known.copy()
    found: list[tuple[np.ndarray, float]] = []
    least = max(12, int(min_area * depth_m.size))
    while len(found) < max_planes and left.sum() >= least:
        candidate = _best(cloud, normal, left, rng, candidates)
        part = np.zeros_like(left)
        for _ in range(2):
            part = _largest(_near(cloud, normal, left, *candidate))
            if part.sum() < least:
                break
            candidate = fit_plane(cloud[part])
        if part.sum() < least:
            break
        # At the rim of a plane normals are unreliable: what lies on the plane and touches it belongs to it.
        flat = np.asarray(np.abs(cloud @ candidate[0] + candidate[1]) < _tolerance(cloud[..., 2]))
        rim = np.asarray(ndimage.binary_dilation(part, iterations=2), bool) & flat & (depth_m > 0) & (index < 0)
        index[part | rim] = len(found)
        left &= index < 0
        found.append(candidate)
    if not found:
        return Segments(index, np.zeros((0, 3)), np.zeros(0))
    area = np.bincount(index[index >= 0], minlength=len(found))
    order = np.argsort(-area, kind="stable")
    place = np.empty(len(found) + 1, np.int32)
    place[order], place[-1] = np.arange(len(found)), -1
    normals, offsets = np.stack([found[i][0] for i in order]), np.array([found[i][1] for i in order])
    return Segments(place[index], normals, offsets)


def local_normals(
    cloud: Float64[np.ndarray, "h w 3"], seen: Bool[np.ndarray, "h w"], reach: int = 2
) -> tuple[Float64[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"]]:
    """Unit normals towards the camera from differences over `reach` pixels, and where all that they need is there.

    Args:
        cloud: a point for each pixel, metres.
        seen: which pixels have one.
        reach: distance of the neighbours, in pixels.
    """
    smooth = np.stack([ndimage.uniform_filter(cloud[..., i], 3) for i in range(3)], -1)
    whole = ndimage.minimum_filter(seen.astype(np.uint8), 2 * reach + 3, mode="constant") > 0
    across = np.roll(smooth, -reach, 1) - np.roll(smooth, reach, 1)
    down = np.roll(smooth, -reach, 0) - np.roll(smooth, reach, 0)
    normal = np.cross(down, across)
    length = np.linalg.norm(normal, axis=-1)
    whole &= length > 0
    normal /= np.maximum(length, 1e-12)[..., None]
    normal[np.einsum("hwc,hwc->hw", normal, cloud) > 0] *= -1
    return normal, whole


def _tolerance(z: np.ndarray) -> np.ndarray:
    return 0.01 + 0.007 * z**2


def _near(cloud: np.ndarray, normal: np.ndarray, left: np.ndarray, n: np.ndarray, d: float) -> np.ndarray:
    return left & (np.abs(cloud @ n + d) < _tolerance(cloud[..., 2])) & (normal @ n > np.cos(np.radians(30)))


def _best(
    cloud: np.ndarray, normal: np.ndarray, left: np.ndarray, rng: np.random.Generator, candidates: int
) -> tuple[np.ndarray, float]:
    """The candidate that most of a sample of the pixels agree with."""
    points, normals = cloud[left], normal[left]
    pick = rng.integers(0, len(points), candidates)
    n, d = normals[pick], -np.einsum("nc,nc->n", normals[pick], points[pick])
    some = rng.integers(0, len(points), min(len(points), 2500))
    close = np.abs(points[some] @ n.T + d) < _tolerance(points[some, 2])[:, None]
    votes = (close & (normals[some] @ n.T > np.cos(np.radians(30)))).sum(0)
    best = int(votes.argmax())
    return n[best], float(d[best])


def _largest(mask: np.ndarray) -> np.ndarray:
    parts: np.ndarray
    # Closing over one pixel keeps a surface in one piece where single readings are missing.
    closed = ndimage.binary_dilation(mask)
    parts, count = ndimage.label(closed)  # pyright: ignore[reportGeneralTypeIssues]
    if count == 0:
        return mask
    size = np.bincount(parts[mask], minlength=count + 1)
    size[0] = 0
    return mask & (parts == int(size.argmax()))
