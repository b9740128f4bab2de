"""Places that are seen again: which keyframe a picture resembles, and the camera's pose there, checked by geometry.

Candidates are ranked by a description of the whole picture: pooled features (`model.PlaceNet`) or a small blurred
picture (Klein and Murray 2008). Corners are then matched by ORB descriptors (Rublee et al. 2011) and a pose is fitted
to the keyframe's points.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8

from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics
from percepta.systems.slam.features import opencv
from percepta.systems.slam.reprojection import fit_pose

_REACH = 15  # of the disc whose centre of brightness says how a corner is turned


@dataclass(frozen=True)
class Look:
    """What a picture looks like.

    Attributes:
        whole: description of the whole picture, of length 1.
        descriptors: ORB, of some corners.
        corner: which corners these are.
    """

    whole: Float32[np.ndarray, " s"]
    descriptors: UInt8[np.ndarray, "n 32"]
    corner: Int64[np.ndarray, " n"]


@dataclass(frozen=True)
class Seen:
    """A place that was seen again.

    Attributes:
        camera_from_world: the pose, from the points.
        query, points: which corner is which point of the map.
    """

    camera_from_world: Float64[np.ndarray, "4 4"]
    query: Int64[np.ndarray, " n"]
    points: Int64[np.ndarray, " n"]


def thumbnail(grey: UInt8[np.ndarray, "h w"]) -> Float32[np.ndarray, " s"]:
    """A small blurred picture with mean 0 and length 1."""
    cv = opencv()
    small = cv.GaussianBlur(cv.resize(grey, (40, 30), interpolation=cv.INTER_AREA), (0, 0), 1.5).astype(np.float32)
    small = small.reshape(-1) - small.mean()
    return small / max(float(np.linalg.norm(small)), 1e-6)


def look_of(
    grey: UInt8[np.ndarray, "h w"],
    uv: Float64[np.ndarray, "n 2"],
    describe: Callable[[UInt8[np.ndarray, "h w"]], Float32[np.ndarray, " s"]] = thumbnail,
) -> Look:
    """What a picture looks like.

    Args:
        grey: the picture.
        uv: its corners.
        describe: what describes the whole picture.
    """
    cv = opencv()
    whole = describe(grey)
    turn = _turn(grey, uv)
    points = [
        cv.KeyPoint(float(u), float(v), 31.0, float(a), 0.0, 0, i)
        for i, ((u, v), a) in enumerate(zip(uv, turn, strict=True))
    ]
    kept, descriptors = cv.ORB_create(nlevels=1).compute(grey, points)
    if descriptors is None:
        return Look(whole, np.zeros((0, 32), np.uint8), np.zeros(0, np.int64))
    return Look(whole, descriptors, np.array([k.class_id for k in kept], np.int64))


def _turn(grey: UInt8[np.ndarray, "h w"], uv: Float64[np.ndarray, "n 2"]) -> Float64[np.ndarray, " n"]:
    """Direction from each corner to the centre of brightness around it, degrees."""
    h, w = grey.shape
    dv, du = np.mgrid[-_REACH : _REACH + 1, -_REACH : _REACH + 1]
    disc = du**2 + dv**2 <= _REACH**2
    du, dv = du[disc], dv[disc]
    u = np.clip(np.round(uv[:, :1]).astype(int) + du, 0, w - 1)
    v = np.clip(np.round(uv[:, 1:]).astype(int) + dv, 0, h - 1)
    bright = grey[v, u].astype(np.int64)
    return np.degrees(np.arctan2((bright * dv).sum(1), (bright * du).sum(1))) % 360


def resemblance(look: Look, others: list[Look]) -> Float64[np.ndarray, " n"]:
    """How alike whole pictures are: the cosine of their descriptions, -1..1."""
    if not others:
        return np.zeros(0)
    # Summed row by row: a matrix product's last bits may depend on the number of threads.
    return (np.stack([other.whole for other in others]) * look.whole).sum(1).astype(np.float64)


def see_again(
    camera: Intrinsics,
    look: Look,
    uv: Float64[np.ndarray, "n 2"],
    other: Look,
    ids: Int64[np.ndarray, " m"],
    xyz: Float64[np.ndarray, "m 3"],
    *,
    outlier_px: float,
    least: int,
) -> Seen | None:
    """The pose of a picture from the points of a keyframe, or None.

    Args:
        camera: pinhole intrinsics.
        look, uv: of the picture and its corners.
        other, ids, xyz: of the keyframe and its points; NaN where a place is not known.
        outlier_px: largest reprojection error of a match.
        least: fewest matches that count.
    """
    if len(look.descriptors) < least or len(other.descriptors) < least:
        return None
    cv = opencv()
    pairs = cv.BFMatcher(cv.NORM_HAMMING).knnMatch(look.descriptors, other.descriptors, k=2)
    best: dict[int, tuple[float, int]] = {}
    for pair in pairs:
        if len(pair) == 2 and pair[0].distance < min(64, 0.8 * pair[1].distance):
            before = best.get(pair[0].trainIdx)
            if before is None or pair[0].distance < before[0]:
                best[pair[0].trainIdx] = (pair[0].distance, pair[0].queryIdx)
    theirs = np.array(sorted(best), np.int64)
    if len(theirs) < least:
        return None
    mine = look.corner[[best[t][1] for t in theirs.tolist()]]
    theirs = other.corner[theirs]
    known = np.isfinite(xyz[theirs, 0])
    mine, theirs = mine[known], theirs[known]
    if len(mine) < least:
        return None
    good, turn, shift, _ = cv.solvePnPRansac(
        xyz[theirs], uv[mine], camera.matrix, None, iterationsCount=300, reprojectionError=2 * outlier_px
    )
    if not good:
        return None
    guess = poses.compose(poses.from_vector(turn[:, 0]), shift[:, 0])
    nothing = np.full(len(mine), np.nan)
    pose, inlier = fit_pose(camera, guess, xyz[theirs], uv[mine], nothing, 1.0, outlier_px)
    if inlier.sum() < least or not _spread(uv[mine[inlier]], camera):
        return None
    return Seen(pose, mine[inlier], ids[theirs[inlier]])


def _spread(uv: Float64[np.ndarray, "n 2"], camera: Intrinsics) -> bool:
    """Whether points do not all lie on one thing, such as one of two equal chairs: they cover a tenth each way."""
    low, high = np.quantile(uv, (0.1, 0.9), axis=0)
    return bool(((high - low) > (0.1 * camera.width, 0.1 * camera.height)).all())
