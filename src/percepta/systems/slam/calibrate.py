"""The camera from a video of a chessboard or a ChArUco board (Zhang 2000, by OpenCV)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64, UInt8

from percepta.errors import InputError
from percepta.geometry.camera import Intrinsics
from percepta.geometry.lens import Lens
from percepta.systems.slam.features import opencv


@dataclass(frozen=True)
class Board:
    """What is filmed.

    Attributes:
        columns, rows: of inner corners of a chessboard; of squares of a ChArUco board.
        square_m: side of a square.
        marker_m: side of a marker of a ChArUco board; None for a chessboard.
        dictionary: which markers a ChArUco board has, as OpenCV names them.
    """

    columns: int = 9
    rows: int = 6
    square_m: float = 0.025
    marker_m: float | None = None
    dictionary: str = "DICT_4X4_50"


@dataclass(frozen=True)
class Calibration:
    """What was found.

    Attributes:
        camera, lens: of the pictures.
        error_px: root mean square distance of corners from where they should be.
        views: how many pictures were used.
    """

    camera: Intrinsics
    lens: Lens
    error_px: float
    views: int


def calibrate(
    frames: Iterable[UInt8[np.ndarray, "h w *c"]],
    board: Board,
    model: Literal["radtan", "fisheye"] = "radtan",
    most: int = 30,
) -> Calibration:
    """The camera that explains where a board's corners are seen.

    Args:
        frames: pictures, grey or RGB; those that differ most are used.
        board: what they show.
        model: of the lens.
        most: how many pictures are used at most.

    Raises:
        InputError: the board is seen in fewer than five pictures, or always from the same side.
    """
    cv = opencv()
    found: list[tuple[np.ndarray, np.ndarray]] = []
    size, count = (0, 0), 0
    for frame in frames:
        grey = frame if frame.ndim == 2 else cv.cvtColor(np.ascontiguousarray(frame[..., :3]), cv.COLOR_RGB2GRAY)
        size, count = (grey.shape[1], grey.shape[0]), count + 1
        seen = _corners(grey, board)
        if seen is not None and all(_apart(seen, other) > 0.02 * size[0] for other in found):
            found.append(seen)
    if len(found) < 5:
        raise InputError(
            f"the board of {board.columns}×{board.rows} is seen from {len(found)} places in {count} pictures; at least "
            "five are needed: move it to the corners of the picture and tilt it, and check its numbers"
        )
    chosen = [found[int(i)] for i in np.linspace(0, len(found) - 1, min(most, len(found))).round()]
    objects = [np.ascontiguousarray(o[None], np.float32) for o, _ in chosen]
    pixels = [np.ascontiguousarray(p[None], np.float32) for _, p in chosen]
    if model == "fisheye":
        matrix, values = np.zeros((3, 3)), np.zeros((4, 1))
        names = cv.fisheye if hasattr(cv.fisheye, "CALIB_FIX_SKEW") else cv  # OpenCV 5 has them in cv2
        flags = names.CALIB_RECOMPUTE_EXTRINSIC | names.CALIB_FIX_SKEW
        try:
            error, matrix, values, _, _ = cv.fisheye.calibrate(objects, pixels, size, matrix, values, flags=flags)
        except cv.error as reason:
            raise InputError(
                f"no fisheye camera explains the corners ({str(reason).splitlines()[0]}); film more tilts"
            ) from None
        lens = Lens("fisheye", tuple(values.reshape(-1).tolist()))
    else:
        error, matrix, values, _, _ = cv.calibrateCamera(objects, pixels, size, None, None, flags=cv.CALIB_FIX_K3)
        lens = Lens("radtan", tuple(values.reshape(-1)[:4].tolist()))
    return Calibration(Intrinsics.of(_without_skew(matrix), *size), lens, float(error), len(chosen))


def _without_skew(matrix: np.ndarray) -> Float64[np.ndarray, "3 3"]:
    out = np.array(matrix, np.float64)
    out[0, 1] = 0
    return out


def _corners(grey: np.ndarray, board: Board) -> tuple[np.ndarray, np.ndarray] | None:
    """(places on the board in metres, pixels) of the corners that are seen; None for too few."""
    cv = opencv()
    if board.marker_m is None:
        good, pixels = cv.findChessboardCornersSB(grey, (board.columns, board.rows))
        if not good:
            return None
        v, u = np.mgrid[: board.rows, : board.columns]
        places = np.stack([u.ravel(), v.ravel(), np.zeros(u.size)], 1) * board.square_m
        return places, pixels.reshape(-1, 2)  # OpenCV 4 gives (n, 1, 2)
    name = getattr(cv.aruco, board.dictionary, None)
    if name is None:
        raise InputError(f"OpenCV has no markers {board.dictionary!r}; they are called DICT_4X4_50, DICT_5X5_100, ...")
    markers = cv.aruco.getPredefinedDictionary(name)
    drawn = cv.aruco.CharucoBoard((board.columns, board.rows), board.square_m, board.marker_m, markers)
    pixels, ids, _, _ = cv.aruco.CharucoDetector(drawn).detectBoard(grey)
    if ids is None or len(ids) < 8:
        return None
    return np.asarray(drawn.getChessboardCorners())[ids.reshape(-1)], pixels.reshape(-1, 2)


def _apart(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> float:
    """How far a board has moved between two pictures: the mean over corners that both show, pixels."""
    places = {tuple(np.round(p, 6)): i for i, p in enumerate(other[0])}
    both = [(i, places[key]) for i, p in enumerate(one[0]) if (key := tuple(np.round(p, 6))) in places]
    if len(both) < 4:
        return float("inf")
    i, j = np.array(both).T
    return float(np.linalg.norm(one[1][i] - other[1][j], axis=1).mean())
