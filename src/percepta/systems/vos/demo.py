"""The demo: a rendered clip in which two things cross and one hides, followed from their masks and cut out."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from percepta.contract import Block
from percepta.media import cutouts
from percepta.report import Gallery, Text
from percepta.systems.vos.predict import drawn
from percepta.systems.vos.world import FIRST, clip

FRAMES, SEED, SIZE = 24, FIRST["test"] + 500, (256, 448)
BOARD = 16  # side of the squares behind what is cut out


def demo(load: Callable[[str], Any]) -> list[Block]:
    """The blocks of the demo's page.

    Args:
        load: `percepta.load`, or what stands in its place.
    """
    pixels, labels, hidden = clip(SEED, *SIZE, FRAMES, 2)
    shown = sorted({0, FRAMES // 4, hidden[len(hidden) // 2], FRAMES - 1})
    try:
        system = load("vos")
    except (FileNotFoundError, ValueError) as error:
        truth = [(drawn(pixels[i], labels[i], (1, 2)), f"frame {i}, the truth") for i in shown]
        return [
            Text(f"No weights of vos are installed ({error}); below is the truth of a rendered clip."),
            Gallery(truth),
        ]
    session = system.session()
    overlays, cut, seconds = [], [], []
    for number, frame in enumerate(pixels):
        start = time.perf_counter()
        result = session.step(frame, labels[0] if number == 0 else None)
        seconds.append(time.perf_counter() - start)
        if number in shown:
            overlays.append((result.draw(), result.text))
            alone = cutouts.cut_out(frame, result.mask(1))
            cut.append((on_board(alone), f"object 1, cut out of frame {number}"))
    return [
        Text(
            f"Textured shapes move, cross and hide behind a wall: {FRAMES} frames of {SIZE[1]}×{SIZE[0]}, two of them "
            "marked in the first frame. The world is not what the weights were trained on."
        ),
        Gallery(overlays),
        Text(f"{1000 * float(np.median(seconds[1:])):.0f} ms a frame with two objects. Object 1 with transparency:"),
        Gallery(cut),
    ]


def on_board(pixels: np.ndarray) -> Image.Image:
    """RGBA on a board of grey squares.

    Args:
        pixels: height × width × 4.
    """
    y, x = np.mgrid[: pixels.shape[0], : pixels.shape[1]] // BOARD
    board = np.where(((y + x) % 2 == 0)[..., None], 235, 205) * np.ones(3)
    alpha = pixels[..., 3:] / 255
    return Image.fromarray((alpha * pixels[..., :3] + (1 - alpha) * board).astype(np.uint8))
