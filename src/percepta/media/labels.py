"""Pictures tinted by the class of every pixel."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from jaxtyping import UInt8

from percepta.media.draw import Colour


def label_overlay(
    pixels: UInt8[np.ndarray, "h w 3"],
    labels: UInt8[np.ndarray, "h w"],
    shown: Sequence[Colour],
    *,
    alpha: float = 0.55,
    chosen: Collection[int] | None = None,
) -> UInt8[np.ndarray, "h w 3"]:
    """The picture with every pixel tinted in the colour of its class.

    Args:
        pixels: RGB.
        labels: classes; those that have no colour, as 255, stay as they are.
        shown: the colour of each class.
        alpha: strength of the tint, 0..1.
        chosen: classes that are tinted; None: all.
    """
    table, strength = np.zeros((256, 3), np.float32), np.zeros((256, 1), np.float32)
    table[: len(shown)] = shown
    strength[: len(shown)] = alpha
    if chosen is not None:
        strength[[number for number in range(256) if number not in chosen]] = 0
    share = strength[labels]
    return (pixels * (1 - share) + table[labels] * share + 0.5).astype(np.uint8)
