"""Two views of one camera: how it moved, and where the points are.

Both an essential matrix (a scene with depth) and a homography (a plane, or hardly any parallax) are fitted; the one
that explains the points better gives the candidates for the motion, and the candidate that puts the points in front
of both cameras is taken if no other comes close (Mur-Artal et al. 2015, section IV).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics
from percepta.systems.slam.features import opencv


@dataclass(frozen=True)
class TwoViews:
    """The second view against the first; the distance of the cameras is 1.

    Attributes:
        second_from_first: the pose.
        xyz: points in the first camera's coordinates.
        good: which points are in front of both cameras, fit, and have enough parallax.
        planar: whether the homography explained the points better.
    """

    second_from_first: Float64[np.ndarray, "4 4"]
    xyz: Float64[np.ndarray, "n 3"]
    good: Bool[np.ndarray, " n"]
    planar: bool


def triangulate(
    first_ray: Float64[np.ndarray, "n 3"],
    second_ray: Float64[np.ndarray, "n 3"],
    first_from_second: Float64[np.ndarray, "*n 4 4"],
) -> tuple[Float64[np.ndarray, "n 3"], Float64[np.ndarray, " n"]]:
    """Points nearest to two rays each (the middle of the shortest connection), and the rays' angles.

    Args:
        first_ray: directions in the first camera.
        second_ray: directions in the second camera.
        first_from_second: the second camera's pose, one for all or one for each.

    Returns:
        (points in the first camera's coordinates, NaN for parallel rays; angles in degrees).
    """
    a = first_ray / np.linalg.norm(first_ray, axis=1, keepdims=True)
    b = (first_from_second[..., :3, :3] @ second_ray[..., None])[..., 0]
    b = b / np.linalg.norm(b, axis=1, keepdims=True)
    t = np.broadcast_to(first_from_second[..., :3, 3], a.shape)
    cosine, sine2 = (a * b).sum(1), (np.cross(a, b) ** 2).sum(1)
    safe = np.where(sine2 > 1e-12, sine2, np.nan)
    at, bt = (a * t).sum(1), (b * t).sum(1)
    along_a, along_b = (at - cosine * bt) / safe, (cosine * at - bt) / safe
    middle = (along_a[:, None] * a + t + along_b[:, None] * b) / 2
    return middle, np.degrees(np.arctan2(np.sqrt(sine2), cosine))


def two_views(
    camera: Intrinsics,
    first: Float64[np.ndarray, "n 2"],
    second: Float64[np.ndarray, "n 2"],
    *,
    min_parallax_deg: float,
    outlier_px: float,
) -> TwoViews | None:
    """The motion between two views, or None where it is not determined.

    Args:
        camera: pinhole intrinsics.
        first, second: where the same points are seen, pixels.
        min_parallax_deg: least angle between the rays of a point.
        outlier_px: largest reprojection error of a point.
    """
    cv = opencv()
    if len(first) < 30:
        return None
    essential, _ = cv.findEssentialMat(first, second, camera.matrix, cv.RANSAC, 0.999, 1.0)
    homography, _ = cv.findHomography(first, second, cv.RANSAC, 1.5, maxIters=1000, confidence=0.999)
    motions: list[np.ndarray] = []
    e_score = h_score = 0.0
    if essential is not None and essential.shape == (3, 3):
        e_score = _essential_score(camera, essential, first, second)
    if homography is not None:
        h_score = _homography_score(homography, first, second)
    planar = h_score > 0.5 * (e_score + h_score)
    if planar and homography is not None:
        _, turns, shifts, _ = cv.decomposeHomographyMat(homography, camera.matrix)
        motions = [poses.compose(r, t[:, 0]) for r, t in zip(turns, shifts, strict=True)]
    elif essential is not None and essential.shape == (3, 3):
        r1, r2, t = cv.decomposeEssentialMat(essential)
        motions = [poses.compose(r, s * t[:, 0]) for r in (r1, r2) for s in (1, -1)]
    trials = [_trial(camera, motion, first, second, min_parallax_deg, outlier_px) for motion in motions]
    if not trials:
        return None
    counts = np.array([good.sum() for _, _, good, _ in trials])
    best = int(counts.argmax())
    motion, xyz, good, parallax = trials[best]
    second_best = np.sort(counts)[-2] if len(counts) > 1 else 0
    if counts[best] < max(30, 0.4 * len(first)) or second_best > 0.75 * counts[best] or parallax < min_parallax_deg:
        return None
    return TwoViews(motion, xyz, good, planar)


def _trial(
    camera: Intrinsics,
    motion: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    min_parallax_deg: float,
    outlier_px: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """(motion of length 1, points, which are good, median parallax of the points that fit)."""
    length = np.linalg.norm(motion[:3, 3])
    if length < 1e-9:
        return motion, np.zeros((len(first), 3)), np.zeros(len(first), bool), 0.0
    motion = poses.compose(motion[:3, :3], motion[:3, 3] / length)
    xyz, angle = triangulate(bearing(camera, first), bearing(camera, second), poses.inverse(motion))
    there = poses.transform(motion, xyz)
    fits = np.isfinite(xyz).all(1) & (xyz[:, 2] > 0) & (there[:, 2] > 0)
    for points, seen in ((xyz, first), (there, second)):
        fits &= np.nan_to_num(np.abs(pixels(camera, points) - seen), nan=np.inf).max(1) < outlier_px
    parallax = float(np.median(angle[fits])) if fits.any() else 0.0
    return motion, xyz, fits & (angle > min_parallax_deg / 2), parallax


def bearing(camera: Intrinsics, uv: Float64[np.ndarray, "n 2"]) -> Float64[np.ndarray, "n 3"]:
    """Directions of pixels in camera coordinates, with z = 1."""
    return np.stack([(uv[:, 0] - camera.cx) / camera.fx, (uv[:, 1] - camera.cy) / camera.fy, np.ones(len(uv))], 1)


def pixels(camera: Intrinsics, xyz: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 2"]:
    """Where points in camera coordinates are seen; NaN behind the camera."""
    z = np.where(xyz[:, 2] > 1e-6, xyz[:, 2], np.nan)
    return np.stack([camera.fx * xyz[:, 0] / z + camera.cx, camera.fy * xyz[:, 1] / z + camera.cy], 1)


def _essential_score(camera: Intrinsics, essential: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    inverse = camera.inverse
    fundamental = inverse.T @ essential @ inverse
    a = np.c_[first, np.ones(len(first))]
    b = np.c_[second, np.ones(len(second))]
    line_b, line_a = a @ fundamental.T, b @ fundamental
    product = (b * line_b).sum(1) ** 2
    score = 0.0
    for line in (line_a, line_b):
        error = product / (line[:, :2] ** 2).sum(1)
        score += np.where(error < 3.84, 5.99 - error, 0).sum()
    return float(score)


def _homography_score(homography: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    score = 0.0
    for matrix, source, target in ((homography, first, second), (np.linalg.inv(homography), second, first)):
        carried = np.c_[source, np.ones(len(source))] @ matrix.T
        error = ((carried[:, :2] / carried[:, 2:] - target) ** 2).sum(1)
        score += np.where(error < 5.99, 5.99 - error, 0).sum()
    return float(score)
