"""The demo: rendered streets by day, at night, in fog, rain and snow, and what the network says of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from percepta.contract import Block
from percepta.datasets.street_pictures import CAMVID
from percepta.media.image import to_bytes
from percepta.media.labels import label_overlay
from percepta.report import Gallery, Text
from percepta.systems.weather.world import FIRST, picture_of
from percepta.worlds.street.scene import CONDITIONS, view

SEED, SIZE = FIRST["test"] + 70, (240, 320)


def demo(load: Callable[[str], Any]) -> list[Block]:
    """The blocks of the demo's page.

    Args:
        load: `percepta.load`, or what stands in its place.
    """
    views = [view(SEED, condition, *SIZE) for condition in CONDITIONS]
    truth = [(Image.fromarray(label_overlay(bytes_of(one.picture), one.labels, CAMVID.colours)),
              f"{one.condition}, the truth") for one in views]  # fmt: skip
    try:
        system = load("weather")
    except (FileNotFoundError, ValueError) as error:
        return [
            Text(f"No weights of weather are installed ({error}); below is the truth of rendered streets."),
            Gallery(truth),
        ]
    shown, seconds = [], []
    for one in views:
        start = time.perf_counter()
        result = system.predict(bytes_of(one.picture))
        seconds.append(time.perf_counter() - start)
        shown.append((result.draw(), f"{one.condition}: {result.text}"))
    return [
        Text(
            "A rendered street in five conditions. The world is not what the weights were trained on, and nothing here "
            "was seen by them."
        ),
        Gallery(shown),
        Text(f"{1000 * float(np.median(seconds)):.0f} ms a picture of {SIZE[1]}×{SIZE[0]}. The truth:"),
        Gallery(truth[:2]),
    ]


def bytes_of(picture: np.ndarray) -> np.ndarray:
    """RGB 0..1 as bytes."""
    return np.ascontiguousarray(to_bytes(picture_of(picture)).permute(1, 2, 0).numpy())
