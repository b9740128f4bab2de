"""A box or a click instead of a mask.

A network that was trained with marks (`marked_share`) is given the box, or a disc around the click, as a mark, and says
what the object is in the same picture. With any other, what is in a box is told apart by its colours (`colours.py`);
the network is then told that this (or the disc) is the object, and is asked where the object is in the same picture:
places that look like what surrounds it go, and places that look like it come. How good such masks are stands in
CARD.md: a mask that is drawn is better, and a box much better than a click.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool

from percepta.errors import InputError
from percepta.media import image
from percepta.media.image import Source
from percepta.systems.vos.colours import inside_box
from percepta.systems.vos.follow import resized
from percepta.systems.vos.marks import HINT, disc
from percepta.systems.vos.model import size_inside
from percepta.systems.vos.predict import Vos

BOX_ROUNDS, CLICK_ROUNDS = 1, 3  # how often the network is asked, each time with its answer before


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
    if _knows_marks(system):
        return _made_of(system, picture, inside) & inside
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
    around = disc((height, width), click)
    if _knows_marks(system):
        return _made_of(system, picture, around)
    return _grown(system, picture, around, np.ones_like(around), CLICK_ROUNDS)


def _knows_marks(system: Vos) -> bool:
    return system.config.design == "small" and system.config.marked_share > 0


@torch.inference_mode()
def _made_of(system: Vos, picture: Source, mark: np.ndarray) -> Bool[np.ndarray, "h w"]:
    """What the network makes of a mark in the same picture; the mark itself where it finds nothing."""
    seen, weight = image.read(picture), next(system.model.parameters())
    inside = size_inside(system.config, *seen.shape[1:])
    small = image.resize(seen, *inside).to(weight.device, weight.dtype)
    given = image.resize(torch.from_numpy(mark).float(), *inside).clamp(0, 1).to(small)
    logits, _ = system.model(torch.stack([small, small])[None], HINT * given[None, None])[0]
    found = resized(logits[0].float().softmax(0)[1:], *seen.shape[1:])[0].cpu().numpy() > 0.5
    return found if found.any() else mark


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
