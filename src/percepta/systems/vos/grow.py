"""A box or a click instead of a mask.

What is in a box is told apart by its colours (`colours.py`). The network is then told that this (or a disc around the
click) is the object, and is asked where the object is in the same picture: places that look like what surrounds it go,
and places that look like it come. How good such masks are stands in CARD.md: a mask that is drawn is better, and a box
much better than a click.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool

from percepta.errors import InputError
from percepta.media import image
from percepta.media.image import Source
from percepta.systems.vos.colours import inside_box
from percepta.systems.vos.predict import Vos

BOX_ROUNDS, CLICK_ROUNDS = 1, 3  # how often the network is asked, each time with its answer before
DISC = 0.06  # radius of the disc around a click, as a share of the shorter side


def from_box(
    system: Vos, picture: Source, box: tuple[float | int, float | int, float | int, float | int]
) -> Bool[np.ndarray, "h w"]:
    """The mask of what is in a box; inside the box only.

    Args:
        system: with its weights.
        picture: the frame.
        box: left, top, width and height in pixels.

    Raises:
        InputError: no pixel of the picture is in the box.
    """
    height, width = _size(picture)
    left, top, across, down = box
    y, x = np.mgrid[:height, :width]
    inside = (x >= left) & (x < left + across) & (y >= top) & (y < top + down)
    if not inside.any() or across <= 0 or down <= 0:
        raise InputError(f"no pixel of the picture ({width}×{height}) is in the box {box} (left, top, width, height)")
    seen = image.to_bytes(image.read(picture).permute(1, 2, 0)).numpy()
    return _grown(system, picture, inside_box(seen, box), inside, BOX_ROUNDS)


def from_click(system: Vos, picture: Source, click: tuple[float | int, float | int]) -> Bool[np.ndarray, "h w"]:
    """The mask of what is at a place.

    Args:
        system: with its weights.
        picture: the frame.
        click: x and y in pixels.

    Raises:
        InputError: the place is not in the picture.
    """
    height, width = _size(picture)
    if not (0 <= click[0] < width and 0 <= click[1] < height):
        raise InputError(f"the click {click} (x, y) is not in the picture, which has {width}×{height} pixels")
    y, x = np.mgrid[:height, :width]
    disc = (x - click[0]) ** 2 + (y - click[1]) ** 2 <= (DISC * min(height, width)) ** 2
    disc[int(click[1]), int(click[0])] = True
    return _grown(system, picture, disc, np.ones_like(disc), CLICK_ROUNDS)


def _grown(system: Vos, picture: Source, mask: np.ndarray, where: np.ndarray, rounds: int) -> Bool[np.ndarray, "h w"]:
    for _ in range(rounds):
        session = system.session()
        session.step(picture, {1: mask})
        found = (session.step(picture).labels == 1) & where
        if not found.any():
            break
        mask = found
    return mask


def _size(picture: Source) -> tuple[int, int]:
    seen = image.read(picture)
    return seen.shape[1], seen.shape[2]
