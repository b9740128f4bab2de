"""A phone's video with a log of its inertial sensor: when the log begins against the video, and how the axes lie.

Neither is known: a logger and a camera are started by hand, and a video may be held upright or on its side. The
camera alone, on the beginning of the video, says how it turns; where the gyroscope turned equally fast is the offset,
and of the four ways in which a picture may lie on a phone the one that fits is taken.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float64

from percepta.contract import Progress
from percepta.datasets.capture import Capture
from percepta.errors import InputError
from percepta.geometry import pose as poses
from percepta.geometry.imu import Imu, check_samples
from percepta.systems.slam.inertial import logarithm, offset
from percepta.systems.slam.places import thumbnail
from percepta.systems.slam.predict import Slam

FRAMES = 300
_COARSE_S = 0.02
_ALIKE = 0.6  # least correlation of how fast both turn


def ways_up() -> tuple[Float64[np.ndarray, "4 4"], ...]:
    """camera_from_imu of a phone's rear camera, for pictures that are upright and turned by quarters.

    A phone's x points to the right of its screen, y to its top, z out of the screen; a camera's x to the right of the
    picture, y down, z forward. That the sensor stands some centimetres beside the camera is left out.
    """
    upright = np.diag([1.0, -1.0, -1.0])
    quarter = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    turns = [np.linalg.matrix_power(quarter, k) for k in range(4)]
    return tuple(poses.compose(turn @ upright, np.zeros(3)) for turn in turns)


def with_log(
    system: Slam,
    capture: Capture,
    samples: Float64[np.ndarray, "n 7"],
    sensor: Imu | None = None,
    frames: int = FRAMES,
    progress: Progress | None = None,
) -> tuple[Capture, str]:
    """The capture with the samples of a log, and what was found, in words.

    Args:
        system: tracks the beginning by the camera alone.
        capture: the video.
        samples: of the log, in its own time.
        sensor: where the sensor stands, and its noise; None: as on a phone, one of four ways up.
        frames: how many of the first frames are used.
        progress: called with (frames done, frames in all).

    Raises:
        InputError: too few frames were tracked, or the log does not turn as the video does.
    """
    samples = check_samples(samples)
    session = system.session_of(replace(capture, imu=None, samples=None))
    session.tracker.describe = thumbnail
    total = min(frames, len(capture)) or frames
    for number, shot in enumerate(capture.shots(0, frames)):
        session.step(shot.frame, shot.time_s, shot.depth_m, shot.right)
        if progress is not None:
            progress(number + 1, max(total, number + 1))
    walk = session.walk()
    one = walk.part == (np.bincount(walk.part).argmax() if len(walk.part) else 0)
    time_s, path = walk.trajectory.time_s[one], walk.trajectory.world_from_camera[one]
    if len(time_s) < 30:
        raise InputError(f"{capture.name}: {len(time_s)} frames were tracked, too few to find when the log began")
    first, last = float(samples[0, 0] - time_s[0]), float(samples[-1, 0] - time_s[-1])
    if last <= first:
        first, last = last - 1.0, first + 1.0  # the log is the shorter one
    rough, _ = offset(path, time_s, samples, (last - first) / 2, near_s=(first + last) / 2, step_s=_COARSE_S)
    late_s, alike = offset(path, time_s, samples, 2 * _COARSE_S, near_s=rough)
    if alike < _ALIKE:
        raise InputError(
            f"{capture.name}: the log of the inertial sensor does not turn as the video does (correlation {alike:.2f}, "
            f"{_ALIKE} is needed): is it of this video, and was the phone turned?"
        )
    seen = logarithm(np.swapaxes(path[:-1, :3, :3], 1, 2) @ path[1:, :3, :3])
    middle = (time_s[1:] + time_s[:-1]) / 2 + late_s
    felt = np.stack([np.interp(middle, samples[:, 0], samples[:, i]) for i in (1, 2, 3)], 1) * np.diff(time_s)[:, None]
    said = f"the log is {late_s:+.3f} s off the video (correlation {alike:.2f})"
    if sensor is None:
        ways = ways_up()
        fits = [float((seen * (felt @ way[:3, :3].T)).sum()) for way in ways]
        best = int(np.argmax(fits))
        sensor, said = Imu(ways[best]), f"{said}, the picture is turned by {90 * best}° against the phone"
    return replace(capture, imu=replace(sensor, offset_s=late_s), samples=samples), said
