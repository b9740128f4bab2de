"""Masks of one person by several fixed cameras: what a segmenter says, what has moved, what all views share.

The rule, for each frame:

1. `probability`: a segmenter says for each pixel of each view how likely it belongs to the person (or to another one).
2. `backgrounds`: of each fixed camera, the median of the frames in which the segmenter sees nobody there. Where
   somebody stands nearly all the time nothing is known.
3. `evidence`: log-odds of both. A pixel that differs from the background speaks for the person, one that does not
   speaks weakly against, since black shorts before a black floor differ by nothing.
4. `carve`: a small cube of the room is inside when every view, but for one that may be in doubt, speaks for it; the
   largest connected part is the person. People whom other views do not see where they would have to be fall away.
5. `silhouette`: a pixel belongs to the mask when the cubes cover it and its own view does not speak against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64, UInt8
from scipy import ndimage

from percepta.errors import InputError
from percepta.geometry.camera import Intrinsics, project_world

View = tuple[Intrinsics, Float64[np.ndarray, "4 4"]]
"""Intrinsics of a picture without distortion, and world_from_camera."""


@dataclass(frozen=True)
class Rule:
    """Numbers of the rule."""

    changed: float = 25.0
    """Difference to the background, of 0..255, that speaks neither for nor against."""
    changed_width: float = 6.0
    """How fast that turns into certainty, of 0..255."""
    least_background: int = 3
    """In so many frames nobody has to be seen at a pixel for its background to be known."""
    doubt: float = 1.5
    """Log-odds that one view may speak against a cube that all others speak for."""
    coarse_m: float = 0.08
    """Edge of the cubes with which the person is searched, metres."""
    fine_m: float = 0.02
    """Edge of the cubes of the hull, metres."""
    wide_m: float = 4.0
    """Width of the room that is searched, metres; it is 3 m high."""
    blur: float = 0.004
    """How far calibration and synchronisation may be off, as a share of the pictures' height."""


def backgrounds(
    pictures: UInt8[np.ndarray, "t h w 3"], probability: Float[np.ndarray, "t h w"], rule: Rule
) -> Float32[np.ndarray, "h w 3"]:
    """What a fixed camera sees where nobody is, 0..255; NaN where that is not known.

    Args:
        pictures: of one camera.
        probability: of each pixel to belong to a person, 0..1.
        rule: see there.
    """
    reach = max(pictures.shape[1] // 100, 1)
    free = np.stack([~np.asarray(ndimage.binary_dilation(x > 0.2, iterations=reach), bool) for x in probability])
    known = free.sum(0) >= rule.least_background
    out = np.full((*known.shape, 3), np.nan, np.float32)
    for row in range(len(known)):  # a row at a time: the whole would take eight times the memory of the pictures
        seen = np.where(free[:, row, :, None], pictures[:, row].astype(np.float32), np.nan)
        out[row, known[row]] = np.nanmedian(seen[:, known[row]], 0)
    return out


def evidence(
    picture: UInt8[np.ndarray, "h w 3"],
    probability: Float[np.ndarray, "h w"],
    background: Float32[np.ndarray, "h w 3"],
    rule: Rule,
) -> Float32[np.ndarray, "h w"]:
    """Log-odds of each pixel to belong to a person, about -5..6.

    Args:
        picture: RGB.
        probability: what the segmenter says, 0..1.
        background: of the camera; NaN where it is not known.
        rule: see there.
    """
    said = _log_odds(np.clip(probability.astype(np.float32), 0.05, 0.95))
    known = np.isfinite(background[..., 0])
    apart = np.where(known[..., None], picture - np.nan_to_num(background), 0)
    apart = np.abs(ndimage.gaussian_filter(apart, (1, 1, 0))).max(-1)
    moved = 1 / (1 + np.exp(-(apart - rule.changed) / rule.changed_width))
    return said + np.where(known, _log_odds(np.clip(moved, 0.15, 0.97)), 0)


def _log_odds(share: np.ndarray) -> np.ndarray:
    return np.log(share / (1 - share))


def middle_of(views: Sequence[View]) -> Float64[np.ndarray, " 3"]:
    """The point nearest to all optical axes, metres.

    Raises:
        InputError: the cameras all look in the same direction.
    """
    total, moment = np.zeros((3, 3)), np.zeros(3)
    for _, pose in views:
        across = np.eye(3) - np.outer(pose[:3, 2], pose[:3, 2])
        total, moment = total + across, moment + across @ pose[:3, 3]
    if np.linalg.cond(total) > 1e6:
        raise InputError("all cameras look in the same direction: they have no place in common that could be searched")
    return np.linalg.solve(total, moment)


@dataclass(frozen=True)
class Hull:
    """Cubes that a person fills.

    Attributes:
        points: middles of the cubes, metres, `n 3`.
        edge_m: of a cube.
    """

    points: Float64[np.ndarray, "n 3"]
    edge_m: float


def carve(
    evidences: Sequence[Float32[np.ndarray, "h w"]],
    views: Sequence[View],
    middle: Float64[np.ndarray, " 3"],
    rule: Rule,
) -> Hull:
    """The hull of the person in one frame; without cubes where the views agree on none.

    Args:
        evidences: log-odds of each view's pixels.
        views: of the same order.
        middle: of the room that is searched, metres.
        rule: see there.
    """
    size = np.array([rule.wide_m, rule.wide_m, 3.0])
    evidences = [ndimage.maximum_filter(x, 1 + 2 * round(rule.blur * len(x))) for x in evidences]
    pairs = list(zip(evidences, views, strict=True))
    coarse = [ndimage.maximum_filter(x, _pixels(view, middle, rule.coarse_m)) for x, view in pairs]
    found = _largest(coarse, views, middle - size / 2, middle + size / 2, rule.coarse_m, rule.doubt)
    if not len(found):
        return Hull(found, rule.fine_m)
    border = 1.5 * rule.coarse_m
    fine = _largest(evidences, views, found.min(0) - border, found.max(0) + border, rule.fine_m, rule.doubt)
    return Hull(fine, rule.fine_m)


def _pixels(view: View, place: np.ndarray, length_m: float) -> int:
    """Width of a length at a place in a view, whole pixels, at least 1."""
    camera, pose = view
    return max(int(np.ceil(camera.fx * length_m / max(float(np.linalg.norm(place - pose[:3, 3])), 0.1))), 1)


def _largest(
    evidences: Sequence[np.ndarray],
    views: Sequence[View],
    low: np.ndarray,
    high: np.ndarray,
    edge_m: float,
    doubt: float,
) -> Float64[np.ndarray, "n 3"]:
    """Middles of the cubes of the largest connected part between two corners."""
    axes = [np.arange(a, b, edge_m) for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    points = grid.reshape(-1, 3)
    against, worst = np.zeros(len(points), int), np.full(len(points), np.inf)
    for seen, view in zip(evidences, views, strict=True):
        column, row, within = seen_pixels(points, view)
        value = np.where(within, seen[row, column], -99.0)
        against += value <= 0
        worst = np.minimum(worst, value)
    spare = 1 if len(views) > 2 else 0
    inside = (against == 0) | ((against <= spare) & (worst > -doubt))
    near = ndimage.maximum_filter(inside.reshape(grid.shape[:3]), 3)  # a gap of two cubes is none
    return points[inside & _parts(near, 1.0).ravel()]


def _parts(mask: Bool[np.ndarray, "*n"], share: float) -> Bool[np.ndarray, "*n"]:
    """The connected parts, corners included, that have at least a share of the largest one's size."""
    labels, _ = cast(tuple[np.ndarray, int], ndimage.label(mask, np.ones((3,) * mask.ndim)))
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return ((sizes >= share * sizes.max()) & (sizes > 0))[labels]


def seen_pixels(
    points: Float[np.ndarray, "n 3"], view: View
) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """The pixels in which points of the world lie, whatever stands before them.

    Args:
        points: world coordinates, metres.
        view: the camera that sees them.

    Returns:
        (column, row, whether the point lies before the camera and inside of its picture); column and row are 0 where
        it does not.
    """
    camera, pose = view
    pixel, depth = project_world(points, camera, pose)
    u, v = np.round(pixel).T
    inside = (depth > 0) & (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
    return np.where(inside, u, 0).astype(np.int64), np.where(inside, v, 0).astype(np.int64), inside


def covered(hull: Hull, view: View) -> Bool[np.ndarray, "h w"]:
    """The pixels of a view that the cubes of a hull cover, about half a cube more around."""
    camera, _ = view
    out = np.zeros((camera.height, camera.width), bool)
    if not len(hull.points):
        return out
    column, row, within = seen_pixels(hull.points, view)
    out[row[within], column[within]] = True
    size = _pixels(view, hull.points.mean(0), hull.edge_m)
    return ndimage.binary_closing(ndimage.maximum_filter(out, size + 1), iterations=2)


def silhouette(hull: Hull, seen: Float32[np.ndarray, "h w"], view: View, rule: Rule) -> Bool[np.ndarray, "h w"]:
    """The mask of a person in a view.

    Args:
        hull: of the frame.
        seen: log-odds of the view's pixels.
        view: its camera.
        rule: see there.
    """
    mask = covered(hull, view) & (seen > -rule.doubt)
    mask = _parts(np.asarray(ndimage.binary_opening(mask), bool) | (mask & (seen > 0)), 0.02)
    holes = ndimage.binary_fill_holes(mask) & ~mask
    gaps = np.asarray(ndimage.binary_opening(holes, np.ones((5, 5))), bool)  # between arm and body
    return mask | (holes & ~gaps)
