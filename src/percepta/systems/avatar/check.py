"""Looks through a capture before training: does the body lie inside the masks, is everything there, are masks
inverted?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from percepta.contract import Progress
from percepta.datasets import thuman4
from percepta.datasets.findings import PictureFindings
from percepta.datasets.problem import Problem, noting
from percepta.geometry.body import make_body
from percepta.systems.avatar.hull import seen_pixels

OUTSIDE = 0.25  # share of the body's points that may lie outside of a mask
COVERED = 0.6  # share of a picture that a person hardly covers


class Report(PictureFindings):
    """What `check` found. Its examples are pictures with the body's points drawn over them."""

    shown = "picture"


def check(root: Path | str, *, examples: int = 8, progress: Progress | None = None) -> Report:
    """Reads some frames of every camera.

    Args:
        root: a folder in the layout of THUman4.0.
        examples: how many pictures the contact sheet will show.
        progress: called with (cameras done, cameras in all).

    Raises:
        MissingFileError, InputError: it is no capture, or its poses cannot be read.
    """
    root = Path(root)
    capture = thuman4.read(root)
    problems: list[Problem] = []
    warnings = [
        Problem(
            root, None, f"frame {frame} is left out: {', '.join(names)} {'has' if len(names) == 1 else 'have'} none"
        )
        for frame, names in list(capture.left_out.items())[:20]
    ]
    motion = capture.motion
    if max(capture.frames) >= len(motion):
        problems.append(
            Problem(root / "motion.npz", None, f"{len(motion)} poses, but frames go up to {max(capture.frames)}")
        )
    usable = [frame for frame in capture.frames if frame < len(motion)]
    chosen = (
        [usable[int(i)] for i in np.unique(np.linspace(0, len(usable) - 1, min(len(usable), 8)).round())]
        if usable
        else []
    )
    body = make_body(capture.shape)
    points = {frame: body.posed(motion.part(frame, frame + 1))[0] for frame in chosen}
    shown: list[tuple[Image.Image, str]] = []
    for number, camera in enumerate(capture.cameras):
        outside, covered = [], []
        with noting(problems, root / "images" / camera.name):
            for frame in chosen:
                picture, mask = capture.read(number, frame)
                column, row, inside = seen_pixels(points[frame], (camera.intrinsics, camera.world_from_camera))
                hit = inside & (mask[row, column] > 127)
                outside.append(1 - float(hit.mean()))
                covered.append(float((mask > 127).mean()))
                if len(shown) < examples and frame == chosen[len(shown) % len(chosen)]:
                    drawn = picture.copy()
                    drawn[row[inside], column[inside]] = (255, 60, 20)
                    shown.append(
                        (Image.fromarray(drawn), f"{camera.name}, frame {frame}: {outside[-1]:.0%} outside of the mask")
                    )
            problems += [Problem(root, None, text) for text in of_camera(camera.name, outside, covered)]
        if progress is not None:
            progress(number + 1, len(capture.cameras))
    counts = {"cameras": len(capture.cameras), "frames": len(capture.frames), "frames left out": len(capture.left_out)}
    return Report(root, thuman4.NAME, counts, tuple(problems), tuple(warnings), tuple(shown))


def of_camera(name: str, outside: list[float], covered: list[float]) -> list[str]:
    """What is wrong with a camera.

    Args:
        name: of the camera.
        outside: share of the body's points outside of the mask, of some frames.
        covered: share of the picture that the mask covers.
    """
    if not outside:
        return []
    missed, share = float(np.median(outside)), float(np.median(covered))
    if share > COVERED and missed > 0.5:
        return [f"{name}: the masks cover {share:.0%} of the pictures, but not the body: are they inverted?"]
    if share == 0:
        return [f"{name}: the masks are empty"]
    if missed > OUTSIDE:
        return [
            f"{name}: {missed:.0%} of the body's points fall outside of the masks: its calibration (K, R, T, metres) "
            "does not fit the poses, or the poses are of another rig"
        ]
    return []
