"""What a moving camera has recorded: its frames in the order of time, and what is known of the cameras.

A capture may have depth, a second camera to the right, samples of an inertial sensor, and the true way. Frames are read
while it is gone through. `footage` makes captures of videos, pictures and recordings; each reader of a public set that
SLAM can run on has `READS[Capture]`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float64, UInt8

from percepta.geometry.camera import Intrinsics
from percepta.geometry.imu import Imu
from percepta.geometry.lens import Lens
from percepta.metrics.trajectory import Trajectory


@dataclass(frozen=True)
class Shot:
    """One frame.

    Attributes:
        time_s: when it was taken.
        frame: grey or RGB, 0..255.
        depth_m: along the optical axis, of the size of the frame; 0 where there is no reading. None: no depth camera.
        right: the right picture of a stereo pair; None: one camera.
        imu: rows t, gyroscope, accelerometer since the frame before; None: no such sensor.
    """

    time_s: float
    frame: UInt8[np.ndarray, "h w *c"]
    depth_m: Float[np.ndarray, "h w"] | None = None
    right: UInt8[np.ndarray, "h w *c"] | None = None
    imu: Float64[np.ndarray, "n 7"] | None = None


@runtime_checkable
class Frames(Protocol):
    """Where shots come from. A video's length is known only at its end: then `len` is an estimate."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Shot]: ...


@dataclass(frozen=True)
class RightCamera:
    """The second camera of a stereo pair."""

    camera: Intrinsics
    lens: Lens
    left_from_right: Float64[np.ndarray, "4 4"]


@dataclass(frozen=True)
class Capture:
    """Frames and what is known of the cameras.

    Attributes:
        name: for messages and pages.
        frames: the shots.
        camera: intrinsics of the frames as they are read.
        intrinsics_from: where they come from: "given", "calib.txt", "EXIF", "guessed", ...
        lens: of the camera.
        right: the second camera; None for one.
        imu: the inertial sensor; None for none.
        samples: all its samples.
        truth: where what is scored truly was, by time; None where it is not known.
        camera_from_scored: what is scored, in the camera's coordinates: the camera itself, or a depth camera beside it.
        rolling_shutter: time from the first row to the last, as a share of the time between two frames.
        depth_is_straight: whether depth fits the straightened picture already; else it is straightened with it.
    """

    name: str
    frames: Frames
    camera: Intrinsics
    intrinsics_from: str
    lens: Lens = field(default_factory=Lens)
    right: RightCamera | None = None
    imu: Imu | None = None
    samples: Float64[np.ndarray, "n 7"] | None = None
    truth: Trajectory | None = None
    camera_from_scored: Float64[np.ndarray, "4 4"] = field(default_factory=lambda: np.eye(4))
    rolling_shutter: float = 0.0
    depth_is_straight: bool = True

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self) -> Iterator[Shot]:
        return self.shots()

    def shots(self, start: int = 0, stop: int | None = None, stride: int = 1) -> Iterator[Shot]:
        """Shots start, start + stride, ... before stop, each with the samples since the one before.

        Args:
            start: number of the first, from 0.
            stop: number after the last; None: to the end.
            stride: every n-th.
        """
        samples, used = self.samples, 0
        late_s = 0.0 if self.imu is None else self.imu.offset_s
        for number, shot in enumerate(self.frames):
            if stop is not None and number >= stop:
                return
            if number < start or (number - start) % stride:
                continue
            if samples is not None:
                until = int(np.searchsorted(samples[:, 0], shot.time_s + late_s, side="right"))
                first = max(0, until - 1) if number == start else used
                shot, used = replace(shot, imu=samples[first:until]), until
            yield shot

    def part(self, start: int = 0, stop: int | None = None, stride: int = 1) -> Capture:
        """The same with some of the frames only.

        Args:
            start: number of the first, from 0.
            stop: number after the last; None: to the end.
            stride: every n-th.
        """
        if (start, stop, stride) == (0, None, 1):
            return self
        return replace(self, frames=_Part(self, start, stop, stride), samples=None)


@dataclass(frozen=True)
class _Part:
    """Some shots of a capture; they bring their samples with them."""

    whole: Capture
    start: int
    stop: int | None
    stride: int

    def __len__(self) -> int:
        end = len(self.whole) if self.stop is None else min(self.stop, len(self.whole))
        return len(range(self.start, end, self.stride))

    def __iter__(self) -> Iterator[Shot]:
        return self.whole.shots(self.start, self.stop, self.stride)
