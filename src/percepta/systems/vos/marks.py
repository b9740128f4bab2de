"""A click or a box as the network is given it: a rough mask of the value HINT, which it learned to make a good one."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool

HINT = 0.5  # instead of 1, so that the network can tell a mark from a mask
DISC = 0.06  # radius of the disc around a click, as a share of the shorter side


def disc(size: tuple[int, int], click: tuple[float | int, float | int]) -> Bool[np.ndarray, "h w"]:
    """The pixels around a click; never none.

    Args:
        size: height and width of the picture.
        click: x and y in pixels, inside the picture.
    """
    y, x = np.mgrid[: size[0], : size[1]]
    out = (x - click[0]) ** 2 + (y - click[1]) ** 2 <= (DISC * min(size)) ** 2
    out[int(click[1]), int(click[0])] = True
    return out


def box(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """The smallest upright rectangle around a mask in which something is marked."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    out = np.zeros_like(mask)
    out[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    return out
