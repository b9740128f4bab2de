"""The demo of SLAM: a walk through a rendered room and back, where the camera was, and what it saw."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from percepta.contract import Block
from percepta.errors import MissingExtraError
from percepta.report import Gallery, Table, Text
from percepta.systems.slam.evaluate import score
from percepta.systems.slam.predict import Slam, Walk
from percepta.systems.slam.world import RoundTrip

FRAMES = 90


def demo(load: Callable[[str], Slam]) -> list[Block]:
    """The blocks of the demo's page.

    Args:
        load: `percepta.load`, or what stands in its place.
    """
    rows, plans = [], []
    try:
        system = load("slam")
        for mode in ("depth", "mono"):
            trip = RoundTrip(7, mode, FRAMES, 320, 1.1)
            capture = trip.capture()
            walk = system.predict(capture)
            one = score(walk, capture, mode)
            plans.append((walk, f"{mode}: the way from above, {walk.keyframes} keyframes"))
            if mode == "depth":
                frame = int(walk.views.frame[walk.keyframes // 2])
                picture = next(shot.frame for shot in capture.shots(frame, frame + 1))
                plans.append((with_points(walk, picture, frame), f"points of the map in frame {frame}"))
            rows.append([mode, f"{one.ate_m:.3f}", f"{one.tracked:.0%}", walk.states.count("loop closed")])
    except MissingExtraError as error:
        return [Text(str(error))]
    except (FileNotFoundError, ValueError) as error:
        return [Text(f"No weights of slam are installed ({error}).")]
    return [Gallery(plans), Table(["sensors", "ATE, m", "tracked", "loops closed"], rows, "A walk round a room")]


def with_points(walk: Walk, picture: np.ndarray, frame: int) -> Image.Image:
    """A keyframe's picture with the points of the map that it sees.

    Args:
        walk: what was found.
        picture: straightened, grey or RGB.
        frame: number of the keyframe's frame.
    """
    drawn = Image.fromarray(picture).convert("RGB")
    ink = ImageDraw.Draw(drawn)
    mine = walk.views.view == int(np.argmax(walk.views.frame == frame))
    for u, v in walk.views.uv[mine].tolist():
        ink.ellipse((u - 2, v - 2, u + 2, v + 2), outline=(255, 90, 30))
    return drawn
