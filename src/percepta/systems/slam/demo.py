"""The demo of SLAM: a walk round a rendered flat, before and after its loop is closed, and what was seen on the way."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from percepta.contract import Block
from percepta.errors import InputError, MissingExtraError
from percepta.metrics import trajectory
from percepta.metrics.trajectory import Trajectory
from percepta.report import Gallery, Table, Text
from percepta.systems.slam.evaluate import score
from percepta.systems.slam.predict import Slam, Walk
from percepta.worlds.rooms.flat import FlatWalk

SEED, FRAMES, EVERY, WIDTH_PX = 21, 300, 2, 240
_TRUE, _FOUND = (170, 170, 170), (200, 60, 20)


def demo(load: Callable[[str], Slam], frames: int = FRAMES) -> list[Block]:
    """The blocks of the demo's page: one camera goes round a flat; its scale drifts until it sees the start again.

    Args:
        load: `percepta.load`, or what stands in its place.
        frames: how many are filmed, 10 a second; a round takes 270.
    """
    film = FlatWalk(SEED, "mono", frames, WIDTH_PX, EVERY)
    capture = film.capture()
    assert capture.truth is not None
    try:
        session = load("slam").session_of(capture)
    except MissingExtraError as error:
        return [Text(str(error))]
    except (FileNotFoundError, ValueError) as error:
        return [Text(f"No weights of slam are installed ({error}).")]
    before, picture, shown = None, None, -1
    for number, shot in enumerate(capture):
        walk = session.walk() if before is None and number > 0.8 * frames else None
        result = session.step(shot.frame, shot.time_s)
        if before is None and result.state == "loop closed":
            before = walk
        if result.keyframe and (picture is None or result.frame <= frames // 2):
            picture, shown = session.straighten(shot.frame), result.frame
    after = session.walk()
    pictures, rows = [], []
    for name, walk in (("before its loop is closed", before), ("after", after)):
        if walk is None:
            continue
        one = score(walk, capture, "mono")
        pictures.append((against(walk.trajectory, capture.truth), f"{name}: the way (red) and the true one (grey)"))
        rows.append([name, f"{one.ate_m:.3f}", f"{one.still_m:.2f}", f"{one.tracked:.0%}", walk.keyframes])
    pictures.append((after, "the way and the points of the map from above"))
    if picture is not None and shown in after.views.frame:
        pictures.append((with_points(after, picture, shown), f"points of the map in frame {shown}"))
    columns = ["", "ATE, m", "a camera that stands still", "tracked", "keyframes"]
    return [Gallery(pictures), Table(columns, rows, "One camera on a way of 25 m round a flat, rendered")]


def against(walked: Trajectory, truth: Trajectory, size: int = 512) -> Image.Image:
    """A way from above, laid over the true one as well as turn, shift and scale allow.

    Args:
        walked: what was found.
        truth: the true way; z points up.
        size: of the picture, pixels.
    """
    drawn = Image.new("RGB", (size, size), "white")
    ink = ImageDraw.Draw(drawn)
    low, high = truth.centres[:, :2].min(0), truth.centres[:, :2].max(0)
    reach = 1.2 * max(float((high - low).max()), 1e-6)
    corner = (low + high) / 2 - reach / 2
    try:
        ours, theirs = trajectory.associate(walked, truth, 0.01)
        found = trajectory.umeyama(ours.centres, theirs.centres, with_scale=True).points(walked.centres)
    except InputError:  # nothing was tracked, or it stood still
        found = np.zeros((0, 3))
    for way, colour in ((truth.centres, _TRUE), (found, _FOUND)):
        at = (way[:, :2] - corner) / reach * size
        line = [(x, size - 1 - y) for x, y in at.tolist()]
        if len(line) > 1:
            ink.line(line, colour, 3)
    return drawn


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
