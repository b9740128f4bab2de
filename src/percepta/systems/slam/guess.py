"""A focal length that nobody knows: some are tried on the beginning of a capture, the one with the least error wins."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from percepta.contract import Progress
from percepta.datasets.capture import Capture
from percepta.geometry.camera import Intrinsics
from percepta.systems.slam.focal import best_focal
from percepta.systems.slam.predict import Slam

FACTORS = (0.75, 0.87, 1.0, 1.15, 1.32)
FRAMES = 150


def guess_focal(
    system: Slam, capture: Capture, frames: int = FRAMES, progress: Progress | None = None
) -> tuple[Intrinsics, str]:
    """The camera with the focal length that fits best, and how that was found, in words.

    Args:
        system: what is tried.
        capture: whose camera is guessed.
        frames: how many of the first frames are used.
        progress: called with (trials done, trials in all).
    """
    shots = list(capture.shots(0, frames))
    errors = []
    for done, factor in enumerate(FACTORS):
        session = system.session_of(replace(capture, camera=scaled(capture.camera, factor)))
        for shot in shots:
            session.step(shot.frame, shot.time_s, shot.depth_m, shot.right, shot.imu)
        found = best_focal(session.tracker.map)
        tracked = len(session.walk().frames) / max(1, len(shots))
        errors.append(np.inf if found is None or tracked < 0.3 else found.error_px / tracked)
        if progress is not None:
            progress(done + 1, len(FACTORS))
    if not np.isfinite(errors).any():
        return capture.camera, "guessed (too little was tracked to find the focal length)"
    best = int(np.argmin(errors))
    factor = FACTORS[best]
    if 0 < best < len(FACTORS) - 1 and np.isfinite(errors[best - 1 : best + 2]).all():
        # The minimum of the parabola through the best three, over the logarithm of the factor.
        at = np.log(FACTORS[best - 1 : best + 2])
        curve = np.polyfit(at, errors[best - 1 : best + 2], 2)
        if curve[0] > 0:
            factor = float(np.exp(np.clip(-curve[1] / (2 * curve[0]), at[0], at[2])))
    camera = scaled(capture.camera, factor)
    return (
        camera,
        f"guessed, then refined: f = {camera.fx:.0f} px of {camera.width} (±10 %; `percepta slam calibrate` knows)",
    )


def scaled(camera: Intrinsics, factor: float) -> Intrinsics:
    """Another focal length."""
    return Intrinsics(camera.fx * factor, camera.fy * factor, camera.cx, camera.cy, camera.width, camera.height)
