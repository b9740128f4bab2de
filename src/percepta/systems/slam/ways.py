"""Where each frame is: its pose against a keyframe, so that it moves with the map; packed, and bounded in number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64, Int64

from percepta.geometry import pose as poses


@dataclass
class Way:
    """The frames that were tracked.

    Attributes:
        most: how many frames are kept; beyond it every other one of the older half is dropped.
        count: how many there are; the arrays are longer.
        frame: number of each frame.
        time_s: of each frame.
        keyframe: number of the keyframe that each one stands on.
        camera_from_keyframe: pose of each frame against its keyframe.
    """

    most: int
    count: int = 0
    frame: Int64[np.ndarray, " n"] = field(default_factory=lambda: np.zeros(64, np.int64))
    time_s: Float64[np.ndarray, " n"] = field(default_factory=lambda: np.zeros(64))
    keyframe: Int64[np.ndarray, " n"] = field(default_factory=lambda: np.zeros(64, np.int64))
    camera_from_keyframe: Float64[np.ndarray, "n 4 4"] = field(default_factory=lambda: np.zeros((64, 4, 4)))

    def add(self, frame: int, time_s: float, keyframe: int, camera_from_keyframe: Float64[np.ndarray, "4 4"]) -> None:
        """Adds a frame.

        Args:
            frame: its number.
            time_s: its time.
            keyframe: number of the keyframe that it stands on.
            camera_from_keyframe: its pose against that keyframe.
        """
        if self.count >= self.most:
            half = self.count // 2
            self._take(np.r_[np.arange(0, half, 2), np.arange(half, self.count)])
        if self.count == len(self.frame):
            self._take(np.arange(self.count), 2 * self.count)
        i = self.count
        self.frame[i], self.time_s[i], self.keyframe[i] = frame, time_s, keyframe
        self.camera_from_keyframe[i] = camera_from_keyframe
        self.count += 1

    def _take(self, kept: np.ndarray, room: int | None = None) -> None:
        room = len(self.frame) if room is None else room
        for name in ("frame", "time_s", "keyframe", "camera_from_keyframe"):
            before = getattr(self, name)
            after = np.zeros((room, *before.shape[1:]), before.dtype)
            after[: len(kept)] = before[kept]
            setattr(self, name, after)
        self.count = len(kept)

    def stand_alone(self, frame: int, keyframe: int) -> None:
        """Lets the last frame, which became a keyframe, stand on itself: the map adjusts it from now on."""
        if self.count and self.frame[self.count - 1] == frame:
            self.keyframe[self.count - 1], self.camera_from_keyframe[self.count - 1] = keyframe, np.eye(4)

    def stand_on(self, gone: int, heir: int, gone_from_heir: Float64[np.ndarray, "4 4"]) -> None:
        """Lets the frames of a keyframe that was dropped stand on another.

        Args:
            gone: number of the keyframe that was dropped.
            heir: number of the other.
            gone_from_heir: their relative pose.
        """
        mine = np.flatnonzero(self.keyframe[: self.count] == gone)
        self.keyframe[mine] = heir
        self.camera_from_keyframe[mine] = self.camera_from_keyframe[mine] @ gone_from_heir

    def scale(self, factor: Mapping[int, float]) -> None:
        """Lengths in the coordinates of keyframes have changed: {number of the keyframe: factor}."""
        numbers, place = np.unique(self.keyframe[: self.count], return_inverse=True)
        by_keyframe = np.array([factor.get(int(n), 1.0) for n in numbers])
        self.camera_from_keyframe[: self.count, :3, 3] *= by_keyframe[place.reshape(-1), None]

    def world_from_camera(
        self, keyframes: Mapping[int, Float64[np.ndarray, "4 4"]]
    ) -> tuple[Int64[np.ndarray, " m"], Float64[np.ndarray, "m 4 4"]]:
        """(rows, poses) of the frames whose keyframe is there, in the order of their numbers.

        Args:
            keyframes: camera_from_world by number.
        """
        there = np.isin(self.keyframe[: self.count], list(keyframes))
        rows = np.flatnonzero(there)
        rows = rows[np.argsort(self.frame[rows], kind="stable")]
        if not len(rows):
            return rows, np.zeros((0, 4, 4))
        numbers, place = np.unique(self.keyframe[rows], return_inverse=True)
        at = np.stack([keyframes[int(n)] for n in numbers])[place.reshape(-1)]
        return rows, poses.inverse(self.camera_from_keyframe[rows] @ at)
