"""Points in space from the pixels of several calibrated cameras, of which some may be wrong."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64

from percepta.errors import InputError
from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics, project_world


class Points(NamedTuple):
    """Points in space.

    Attributes:
        place: metres, `n 3`; NaN where fewer than two views agree.
        sure: mean confidence of the views that agree, 0..1, `n`; 0 where there is no place.
        used: which views agree with each point, `v n`.
        error_px: mean distance of the pixels of those views from where the point is seen, `n`; NaN without a place.
    """

    place: Float64[np.ndarray, "n 3"]
    sure: Float64[np.ndarray, " n"]
    used: Bool[np.ndarray, "v n"]
    error_px: Float64[np.ndarray, " n"]


def triangulate(
    pixels: Float[np.ndarray, "v n 2"],
    confidence: Float[np.ndarray, "v n"],
    views: Sequence[tuple[Intrinsics, Float64[np.ndarray, "4 4"]]],
    *,
    least_confidence: float | int = 0.2,
    most_px: float | int | None = None,
) -> Points:
    """Each point from the views that agree on it (direct linear transformation, weighted by confidence).

    Of every pair of views one candidate is made; the one that most views agree with wins, then the one of the smallest
    error, and all its views give the point. So one wrong view of three or more is left out.

    Args:
        pixels: of each view and point, without distortion.
        confidence: of these, 0..1.
        views: (intrinsics, world_from_camera), at least two.
        least_confidence: pixels of less are not looked at.
        most_px: how far a pixel may be from the point of its view; None: 1.5 % of the picture's longer side.

    Raises:
        InputError: fewer than two views, or shapes that do not fit.
    """
    count = len(views)
    if count < 2 or pixels.shape[:2] != confidence.shape or len(pixels) != count:
        raise InputError(
            f"a point needs two views or more, with pixels (v, n, 2) and confidence (v, n); got {count} views, "
            f"{pixels.shape} and {confidence.shape}"
        )
    some = np.isfinite(pixels).all(-1) & (confidence >= least_confidence) & (confidence > 0)
    limit = np.array([0.015 * max(c.width, c.height) if most_px is None else most_px for c, _ in views])[:, None]
    given = np.where(some[..., None], pixels, 0.0)
    weight = np.where(some, confidence, 0.0)
    best_count, best_error = np.zeros(pixels.shape[1], int), np.full(pixels.shape[1], np.inf)
    used = np.zeros(some.shape, bool)
    for pair in combinations(range(count), 2):
        both = np.zeros(some.shape, bool)
        both[list(pair)] = some[list(pair)]
        both &= both.sum(0) == 2
        error = _errors(_linear(given, np.where(both, weight, 0.0), views), given, views)
        agree = some & (error <= limit) & both.any(0)
        votes = agree.sum(0)
        mean = np.where(agree, error, 0).sum(0) / np.maximum(votes, 1)
        better = (votes >= 2) & ((votes > best_count) | ((votes == best_count) & (mean < best_error)))
        used[:, better], best_count[better], best_error[better] = agree[:, better], votes[better], mean[better]
    place = _linear(given, np.where(used, weight, 0.0), views)
    error = np.where(used, _errors(place, given, views), 0.0).sum(0)
    there, votes = used.any(0), np.maximum(used.sum(0), 1)
    place[~there] = np.nan
    sure = np.where(used, weight, 0.0).sum(0) / votes
    return Points(place, sure, used, np.where(there, error / votes, np.nan))


def _linear(pixels: np.ndarray, weight: np.ndarray, views: Sequence[tuple[Intrinsics, np.ndarray]]) -> np.ndarray:
    """Points `n 3` that fit the pixels best; anything where fewer than two have a weight."""
    rows = []
    for view, (camera, pose) in enumerate(views):
        back = poses.inverse(pose)[:3]
        x = (pixels[view, :, 0] - camera.cx) / camera.fx
        y = (pixels[view, :, 1] - camera.cy) / camera.fy
        rows += [weight[view, :, None] * (x[:, None] * back[2] - back[0])]
        rows += [weight[view, :, None] * (y[:, None] * back[2] - back[1])]
    found = np.linalg.svd(np.stack(rows, 1))[2][:, -1]
    return found[:, :3] / np.where(np.abs(found[:, 3:]) > 1e-12, found[:, 3:], 1e-12)


def _errors(place: np.ndarray, pixels: np.ndarray, views: Sequence[tuple[Intrinsics, np.ndarray]]) -> np.ndarray:
    """Distance of pixels from where each view sees the points `v n`; infinite behind a camera."""
    out = np.full(pixels.shape[:2], np.inf)
    for view, (camera, pose) in enumerate(views):
        seen, depth = project_world(place, camera, pose)
        ahead = depth > 0
        out[view, ahead] = np.linalg.norm(seen[ahead] - pixels[view, ahead], axis=-1)
    return out
