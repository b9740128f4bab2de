"""Corners and how they are followed from picture to picture (OpenCV)."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64, UInt8

from percepta.errors import MissingExtraError

try:
    import cv2  # pyright: ignore[reportMissingImports]
except ModuleNotFoundError:  # without the extra the package still imports; `opencv` says what is missing
    cv2: Any = None


def opencv() -> Any:
    """The module cv2.

    Raises:
        MissingExtraError: it is not installed.
    """
    if cv2 is None:
        raise MissingExtraError("slam needs OpenCV: pip install 'percepta[slam]'")
    return cv2


def corner_peaks(grey: UInt8[np.ndarray, "h w"], distance_px: float) -> Int64[np.ndarray, "n 2"]:
    """Where a picture has corners, the strongest first, two of them at least some pixels apart.

    Args:
        grey: the picture.
        distance_px: least distance of two corners.
    """
    border = 8
    strength = opencv().cornerMinEigenVal(grey, 5, ksize=3)
    side = 2 * int(distance_px / 2) + 1
    peak = (strength == opencv().dilate(strength, np.ones((side, side), np.uint8))) & (strength > 2e-4)
    peak[:border], peak[-border:], peak[:, :border], peak[:, -border:] = False, False, False, False
    v, u = np.nonzero(peak)
    order = np.argsort(-strength[v, u], kind="stable")
    return np.stack([u[order], v[order]], 1).astype(np.int64)


def find_corners(
    grey: UInt8[np.ndarray, "h w"],
    taken: Float[np.ndarray, "m 2"],
    count: int,
    cells: tuple[int, int],
    distance_px: float,
    peaks: Int64[np.ndarray, "p 2"] | None = None,
) -> Float64[np.ndarray, "n 2"]:
    """New corners, so that each cell of a grid holds about the same number of corners.

    Args:
        grey: the picture.
        taken: corners that there are; new ones keep their distance and fill the cells that have few.
        count: how many there should be with those that are taken.
        cells: columns and rows of the grid.
        distance_px: least distance of two corners.
        peaks: what `corner_peaks` says, where it was asked before.
    """
    h, w = grey.shape
    free = np.ones((h, w), np.uint8)
    for u, v in np.round(taken).astype(int).tolist():
        opencv().circle(free, (u, v), int(distance_px), 0, -1)
    u, v = (corner_peaks(grey, distance_px) if peaks is None else peaks).T
    open_there = free[v, u] > 0
    u, v = u[open_there], v[open_there]
    quota = int(np.ceil(count / (cells[0] * cells[1])))
    there = np.bincount(_cell(taken[:, 0], taken[:, 1], w, h, cells), minlength=cells[0] * cells[1])
    cell = _cell(u, v, w, h, cells)
    rank = _rank(cell)
    kept = rank + there[cell] < quota
    room = max(0, count - len(taken))
    return np.stack([u, v], 1)[kept][:room].astype(np.float64)


def _cell(u: np.ndarray, v: np.ndarray, w: int, h: int, cells: tuple[int, int]) -> np.ndarray:
    column = np.clip((u * cells[0] / w).astype(int), 0, cells[0] - 1)
    row = np.clip((v * cells[1] / h).astype(int), 0, cells[1] - 1)
    return row * cells[0] + column


def _rank(group: np.ndarray) -> np.ndarray:
    """The place of each item among those of its group, in the order given."""
    order = np.argsort(group, kind="stable")
    ranked = group[order]
    first = np.r_[True, ranked[1:] != ranked[:-1]] if len(group) else np.zeros(0, bool)
    start = np.maximum.accumulate(np.where(first, np.arange(len(group)), 0))
    out = np.empty(len(group), int)
    out[order] = np.arange(len(group)) - start
    return out


def follow(
    source: UInt8[np.ndarray, "h w"],
    target: UInt8[np.ndarray, "h w"],
    uv: Float[np.ndarray, "n 2"],
    guess: Float[np.ndarray, "n 2"] | None = None,
    *,
    patch_px: int = 21,
    levels: int = 4,
    tolerance_px: float = 1.0,
    both_ways: bool = True,
) -> tuple[Float64[np.ndarray, "n 2"], Bool[np.ndarray, " n"]]:
    """Where patches of one picture are in another (Lucas-Kanade).

    Args:
        source: the picture in which the patches are known.
        target: the picture in which they are looked for.
        uv: middles of the patches.
        guess: where they should be; None: where they were.
        patch_px: side of the patches.
        levels: how many sizes of the pictures are used, each half the one before.
        tolerance_px: how far the way back may end from where it began.
        both_ways: whether the way back is checked.

    Returns:
        (the places, whether each was found).
    """
    if len(uv) == 0:
        return np.zeros((0, 2)), np.zeros(0, bool)
    start = np.ascontiguousarray(uv, np.float32)
    there, found = _lucas_kanade(source, target, start, start if guess is None else guess, patch_px, levels)
    h, w = target.shape
    found &= ((there >= 1) & (there < (w - 1, h - 1))).all(1)
    if both_ways and found.any():
        back, returned = _lucas_kanade(target, source, there[found], start[found], patch_px, levels)
        found[found] = returned & (np.abs(back - start[found]).max(1) < tolerance_px)
    return there.astype(np.float64), found


def _lucas_kanade(
    source: np.ndarray, target: np.ndarray, uv: np.ndarray, guess: np.ndarray, patch_px: int, levels: int
) -> tuple[Float32[np.ndarray, "n 2"], Bool[np.ndarray, " n"]]:
    cv = opencv()
    there, status, _ = cv.calcOpticalFlowPyrLK(
        source,
        target,
        uv,
        np.array(guess, np.float32),
        winSize=(patch_px, patch_px),
        maxLevel=levels - 1,
        criteria=(cv.TERM_CRITERIA_EPS | cv.TERM_CRITERIA_COUNT, 20, 0.01),
        flags=cv.OPTFLOW_USE_INITIAL_FLOW,
    )
    return there, status[:, 0] > 0


def depth_at(
    depth_m: Float[np.ndarray, "h w"], uv: Float[np.ndarray, "n 2"], max_depth_m: float
) -> Float64[np.ndarray, " n"]:
    """Inverse depth (1/m) at places of a picture; NaN without a reading and at the edges of things.

    Args:
        depth_m: along the optical axis, 0 where there is no reading.
        uv: the places.
        max_depth_m: depth above is no reading.
    """
    h, w = depth_m.shape
    u = np.clip(np.round(uv[:, 0]).astype(int), 1, w - 2)
    v = np.clip(np.round(uv[:, 1]).astype(int), 1, h - 2)
    near = np.stack([depth_m[v + dv, u + du] for dv in (-1, 0, 1) for du in (-1, 0, 1)]).astype(np.float64)
    low, high = near.min(0), near.max(0)
    usable = (low > 0.1) & (high < max_depth_m) & (high - low < 0.05 * low)
    return np.where(usable, 1 / np.where(usable, np.median(near, 0), 1), np.nan)
