"""Masks compared and stored: IoU, mean and overall, Pr@k, COCO run lengths and COCO polygons.

Two numbers are both called "IoU" in papers on referring segmentation and cannot be compared with each other.
*Mean* IoU averages one IoU per sample (CRIS); *overall* or cumulative IoU divides the intersections of all
samples by their unions (LAVT and most later work), so that large objects weigh more.

Convention for "nothing is there": prediction and truth both empty have IoU 1; only one of them empty, 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Num

from percepta.errors import InputError
from percepta.formats import short

MAX_PIXELS = 400_000_000
"""Of a mask that a file announces."""
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)


def intersection_union(prediction: Any, truth: Any) -> tuple[int, int]:
    """Pixels in both masks and pixels in either.

    Args:
        prediction, truth: Boolean `h w`, array or tensor on the CPU; other types count as "not 0".

    Raises:
        InputError: the sizes differ, or a mask is not `h w`.
    """
    a, b = np.asarray(prediction), np.asarray(truth)
    if a.shape != b.shape or a.ndim != 2:
        raise InputError(f"two masks of one size h w are compared, not {a.shape} with {b.shape}")
    a, b = a.astype(bool, copy=False), b.astype(bool, copy=False)
    both = int(np.count_nonzero(a & b))
    return both, int(np.count_nonzero(a)) + int(np.count_nonzero(b)) - both


def iou(prediction: Any, truth: Any) -> float:
    """Intersection over union of two masks `h w`, in 0..1; 1 when both are empty."""
    both, either = intersection_union(prediction, truth)
    return both / either if either else 1.0


def ious(
    intersections: Num[np.ndarray, " n"] | Sequence[int], unions: Num[np.ndarray, " n"] | Sequence[int]
) -> Float[np.ndarray, " n"]:
    """One IoU a sample from counts of pixels; 1 where the union is empty."""
    both, either = np.asarray(intersections, np.float64), np.asarray(unions, np.float64)
    if both.shape != either.shape or both.ndim != 1:
        raise InputError(f"one intersection and one union a sample, not {both.shape} and {either.shape}")
    return np.where(either > 0, both / np.maximum(either, 1), 1.0)


def mean_iou(
    intersections: Num[np.ndarray, " n"] | Sequence[int], unions: Num[np.ndarray, " n"] | Sequence[int]
) -> float:
    """mIoU: the mean of the samples' IoUs (what CRIS reports as "IoU"); nan for no samples."""
    values = ious(intersections, unions)
    return float(values.mean()) if values.size else float("nan")


def overall_iou(
    intersections: Num[np.ndarray, " n"] | Sequence[int], unions: Num[np.ndarray, " n"] | Sequence[int]
) -> float:
    """oIoU (cIoU): Σ intersection / Σ union (what LAVT and its successors report); nan for no samples."""
    both, either = np.asarray(intersections, np.float64), np.asarray(unions, np.float64)
    if both.shape != either.shape or both.ndim != 1:
        raise InputError(f"one intersection and one union a sample, not {both.shape} and {either.shape}")
    if not both.size:
        return float("nan")
    return float(both.sum() / either.sum()) if either.sum() else 1.0


def precision_at(
    values: Float[np.ndarray, " n"] | Sequence[float], thresholds: Sequence[float] = THRESHOLDS
) -> dict[float, float]:
    """Pr@k: share of samples whose IoU lies strictly above each threshold, as CRIS counts (LAVT counts ≥)."""
    data = np.asarray(values, np.float64)
    return {t: float((data > t).mean()) if data.size else float("nan") for t in thresholds}


# COCO run lengths: pixels are counted down the columns (x slow, y fast), runs of 0 and 1 in turn, 0 first.


def coco_rle_encode(mask: Any, *, compressed: bool = True) -> dict[str, Any]:
    """COCO's run lengths of a mask: {"size": [h, w], "counts": ASCII string, or list of ints}.

    Args:
        mask: Boolean `h w`; other types count as "not 0".
        compressed: the string of COCO's results files (str, so that it goes into JSON), else a list of runs.
    """
    array = np.asarray(mask)
    if array.ndim != 2:
        raise InputError(f"a mask is h w, not {array.shape}")
    flat = array.astype(bool).ravel(order="F")
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    stops = np.concatenate([[0], edges, [flat.size]])
    counts = np.diff(stops).tolist()
    if flat.size and flat[0]:
        counts = [0, *counts]
    return {"size": [int(n) for n in array.shape], "counts": _pack(counts) if compressed else counts}


def coco_rle_decode(rle: dict[str, Any]) -> Bool[np.ndarray, "h w"]:
    """The mask of COCO's run lengths, `counts` being a list of ints or the compressed string (str or bytes).

    Raises:
        InputError: keys missing, a damaged string, or runs that do not fill h × w pixels.
    """
    if not isinstance(rle, dict) or "size" not in rle or "counts" not in rle:
        raise InputError('COCO run lengths are a dict with "size" ([h, w]) and "counts"')
    size, counts = rle["size"], rle["counts"]
    whole = isinstance(size, list | tuple) and len(size) == 2 and all(type(n) is int and n > 0 for n in size)
    if not whole or size[0] * size[1] > MAX_PIXELS:
        raise InputError(f'"size" of run lengths is [height, width] in pixels, not {short(size)}')
    height, width = size
    if isinstance(counts, str | bytes):
        counts = _unpack(counts.encode("ascii", "replace") if isinstance(counts, str) else counts)
    try:
        runs = np.asarray(counts, dtype=np.int64)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f'"counts" of run lengths are whole numbers or a text, not {short(counts)}') from None
    if runs.ndim != 1 or (runs < 0).any() or runs.max(initial=0) > height * width or runs.sum() != height * width:
        raise InputError(f"run lengths must be ≥ 0 and fill {height} × {width} pixels; they fill {runs.sum()}")
    flat = np.repeat(np.arange(runs.size) % 2 == 1, runs)
    return np.ascontiguousarray(flat.reshape((height, width), order="F"))


def _pack(counts: list[int]) -> str:
    """Each count (from the fourth on its difference to the one two before) in groups of 5 bits, lowest first.

    Bit 5 of a character says that another group follows; the top bit of the last group is the sign; 48 is
    added to make it printable.
    """
    out = bytearray()
    for i, count in enumerate(counts):
        value = count - counts[i - 2] if i > 2 else count
        while True:
            group, value = value & 31, value >> 5
            last = value == (-1 if group & 16 else 0)
            out.append(48 + (group if last else group | 32))
            if last:
                break
    return out.decode("ascii")


def _unpack(text: bytes) -> list[int]:
    counts: list[int] = []
    value = shift = 0
    for position, character in enumerate(text):
        group = character - 48
        if not 0 <= group < 64:
            raise InputError(f"damaged COCO run lengths: character {chr(character)!r} at position {position}")
        value |= (group & 31) << shift
        shift += 5
        if shift > 50:
            raise InputError(f"damaged COCO run lengths: too large a number at position {position}")
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    if shift:
        raise InputError("damaged COCO run lengths: the string ends inside a number")
    return counts


def polygons_to_mask(
    polygons: Sequence[Sequence[float | int]], height: int, width: int
) -> Bool[np.ndarray, "height width"]:
    """Mask of COCO polygons, pixel for pixel as the official toolkit fills them (union of all of them).

    Args:
        height: of the mask, in pixels.
        width: of the mask, in pixels.
        polygons: each [x0, y0, x1, y1, ...] in pixels, at least three points; where a polygon crosses
            itself the doubly covered part is outside (even-odd rule).

    Raises:
        InputError: fewer than three points, an odd number of values, points far outside of the picture, a picture of
            too many pixels.
    """
    if not (height > 0 and width > 0 and height * width <= MAX_PIXELS):
        raise InputError(f"a mask of {height} × {width} pixels; at most {MAX_PIXELS} are filled")
    far = 3 * max(height, width) + 100
    mask = np.zeros((height, width), dtype=bool)
    for points in polygons:
        xy = np.asarray(points, dtype=np.float64)
        if xy.ndim != 1 or xy.size < 6 or xy.size % 2 or not np.isfinite(xy).all():
            raise InputError(f"a polygon is [x0, y0, x1, y1, ...] with three or more points, not {xy.size} values")
        if np.abs(xy).max() > far:
            raise InputError(f"a polygon reaches to {np.abs(xy).max():g}, far outside of {width} × {height} pixels")
        mask |= _fill(xy.reshape(-1, 2), height, width)
    return mask


def _fill(xy: Float[np.ndarray, "k 2"], height: int, width: int) -> Bool[np.ndarray, "height width"]:
    """COCO's convention: walk the outline on a grid five times finer, note where it crosses the centre
    line of each pixel column, and let every crossing toggle inside and outside down that column."""
    fine = 5
    corners = np.trunc(fine * xy + 0.5)
    corners = np.concatenate([corners, corners[:1]])
    us, vs = [], []
    for (xs, ys), (xe, ye) in pairwise(corners):
        dx, dy = abs(xe - xs), abs(ye - ys)
        steps = np.arange(max(dx, dy) + 1)
        # An edge is drawn from its smaller end, so that polygons that share it get the same pixels.
        flat = dx >= dy
        flip = xs > xe if flat else ys > ye
        if flip:
            xs, ys, xe, ye = xe, ye, xs, ys
            steps = steps[::-1]
        if flat:
            slope = (ye - ys) / dx if dx else 0.0
            us.append(xs + steps)
            vs.append(np.trunc(ys + slope * steps + 0.5))
        else:
            us.append(np.trunc(xs + (xe - xs) / dy * steps + 0.5))
            vs.append(ys + steps)
    u, v = np.concatenate(us), np.concatenate(vs)
    moved = np.flatnonzero(u[1:] != u[:-1])
    x = (np.minimum(u[moved], u[moved + 1]) + 0.5) / fine - 0.5
    y = np.ceil(np.clip((np.minimum(v[moved], v[moved + 1]) + 0.5) / fine - 0.5, 0, height))
    kept = (x == np.floor(x)) & (x >= 0) & (x <= width - 1)
    # A crossing below the last row belongs to the top of the next column: columns follow each other.
    toggles = np.bincount((x[kept] * height + y[kept]).astype(np.int64), minlength=height * width + 1)
    flat_mask = np.cumsum(toggles[: height * width]) % 2 == 1
    return flat_mask.reshape((height, width), order="F")
