"""A focal length that nobody knows: SLAM runs on a capture's beginning, and what fits its map better is tried next."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from percepta.contract import Progress
from percepta.datasets.capture import Capture
from percepta.geometry.camera import Intrinsics
from percepta.systems.slam.focal import best_focal, scaled
from percepta.systems.slam.places import thumbnail
from percepta.systems.slam.predict import Slam

STARTS = (1.0, 0.75, 1.32)  # of the guessed focal length; the later ones only where the one before found nothing
ROUNDS = 4  # most runs from one start
NEAR = 0.02  # a change of less ends the search
FRAMES = 150
KEYFRAMES = 16  # a map of so many says enough: a run ends there
LIMITS = (0.5, 2.0)  # of the guessed focal length: an answer at one of them is none
NOT_ESTIMATED = (
    "guessed: the focal length could not be estimated (the search ended at its limit, {limit:.0f} px of {width}); "
    "f = {focal:.0f} px is taken, that of a usual phone. Give the camera: `percepta slam calibrate` on a video of a "
    "chessboard writes the camera.json of --camera"
)


def guess_focal(
    system: Slam, capture: Capture, frames: int = FRAMES, progress: Progress | None = None
) -> tuple[Intrinsics, str]:
    """The camera with the focal length that fits best, and how that was found, in words.

    The map that was made with a wrong focal length hides a part of the error: observations that did not fit were left
    out. So the map is made anew with what was found, until that changes little.

    Args:
        system: what is tried.
        capture: whose camera is guessed.
        frames: how many of the first frames are used.
        progress: called with (runs done, most runs).
    """
    shots = list(capture.shots(0, frames))
    short = replace(system, config=replace(system.config, loops=False, adjust_apart=False))
    done, tried = 0, {}
    for start in STARTS:
        factor = start
        for _ in range(ROUNDS):
            session = short.session_of(replace(capture, camera=scaled(capture.camera, factor)))
            session.tracker.describe = thumbnail  # no place is looked up: the network would only take time
            for shot in shots:
                session.step(shot.frame, shot.time_s, shot.depth_m, shot.right, shot.imu)
                if session.tracker.map.made >= KEYFRAMES:
                    break
            done += 1
            if progress is not None:
                progress(done, ROUNDS * len(STARTS))
            found = best_focal(session.tracker.now()[0])
            if found is None or len(session.walk().frames) < 0.3 * len(session.states):
                break
            tried[factor] = found.error_px
            if abs(np.log(found.factor)) < NEAR:
                break
            factor = float(np.clip(factor * found.factor, *LIMITS))
            tried.setdefault(factor, found.best_px)
        if tried:
            break
    if not tried:
        return capture.camera, "guessed (too little was tracked to find the focal length)"
    last = list(tried)[-1]
    camera = scaled(capture.camera, last)
    if last in LIMITS:
        # Where the error falls on and on, as without near things or turns, a wrong focal length is as good as a right.
        given = capture.camera
        return given, NOT_ESTIMATED.format(limit=camera.fx, width=camera.width, focal=given.fx)
    return (
        camera,
        f"guessed, then refined: f = {camera.fx:.0f} px of {camera.width} (±10 %; `percepta slam calibrate` knows)",
    )
