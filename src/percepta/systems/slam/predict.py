"""SLAM, ready to use: frame by frame with a session, or a whole sequence at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Float64, Int64
from PIL import Image, ImageDraw
from torch import nn

from percepta.contract import Evaluate
from percepta.errors import InputError
from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics
from percepta.media.draw import write_picture
from percepta.metrics import trajectory
from percepta.metrics.trajectory import Trajectory
from percepta.systems.slam import Config
from percepta.systems.slam.features import opencv
from percepta.systems.slam.map import Map
from percepta.systems.slam.track import Tracker

STATES = ("starting", "tracking", "lost", "relocalised", "loop closed")


@dataclass(frozen=True)
class Result:
    """What one frame gave.

    Attributes:
        frame: its number, from 0.
        time_s: its time.
        state: one of STATES.
        world_from_camera: the pose; None while starting and while lost.
        points_seen: how many points of the map the pose stands on.
        keyframe: whether the frame was kept.
        milliseconds: by part, and "all".
        warning: what is odd about the frame; "" for nothing.
    """

    frame: int
    time_s: float
    state: str
    world_from_camera: Float64[np.ndarray, "4 4"] | None
    points_seen: int
    keyframe: bool
    milliseconds: dict[str, float]
    warning: str = ""


@dataclass(frozen=True)
class Walk:
    """A whole sequence: where the camera was, and what it saw.

    Attributes:
        trajectory: of all frames that were tracked, as the map says at the end.
        frames: their numbers.
        part: of the map in which each stands; two parts were never seen to be one place.
        points: of the map, in the world.
        keyframes: how many the map holds.
        states: of every frame.
        metric: whether lengths are metres; with one camera they are not.
        warnings: each different one once, with the frame where it came first.
    """

    trajectory: Trajectory
    frames: Int64[np.ndarray, " n"]
    part: Int64[np.ndarray, " n"]
    points: Float64[np.ndarray, "p 3"]
    keyframes: int
    states: tuple[str, ...]
    metric: bool
    warnings: tuple[str, ...] = ()
    weights: str = ""

    def __repr__(self) -> str:
        share = len(self.frames) / max(1, len(self.states))
        unit = "m" if self.metric else "units"
        length = self.trajectory.length_m if len(self.frames) else 0.0
        return f"Walk({share:.0%} of {len(self.states)} frames tracked, {length:.2f} {unit}, {len(self.points)} points)"

    def draw(self, size: int = 512) -> Image.Image:
        """The way and the points from above, as the first camera stands."""
        picture = Image.new("RGB", (size, size), "white")
        ink = ImageDraw.Draw(picture)
        way = self.trajectory.centres[:, [0, 2]]
        if not len(way):
            return picture
        cloud = self.points[:, [0, 2]]
        low, high = way.min(0), way.max(0)
        reach = max(float((high - low).max()), 1e-6)
        low, reach = (low + high) / 2 - reach, 2 * reach
        for x, y in ((cloud - low) / reach * size).tolist():
            if 0 <= x < size and 0 <= y < size:
                ink.point((x, size - 1 - y), (170, 170, 170))
        line = [(x, size - 1 - y) for x, y in ((way - low) / reach * size).tolist()]
        if len(line) > 1:
            ink.line(line, (200, 60, 20), 2)
        return picture

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers: a pose for each tracked frame as x y z qx qy qz qw."""
        matrices = self.trajectory.world_from_camera
        rows = np.c_[matrices[:, :3, 3], poses.to_quaternion(matrices[:, :3, :3])]
        return {
            "frames": self.frames.tolist(),
            "time_s": self.trajectory.time_s.tolist(),
            "part": self.part.tolist(),
            "world_from_camera": rows.tolist(),
            "states": list(self.states),
            "points": len(self.points),
            "keyframes": self.keyframes,
            "metric": self.metric,
            "warnings": list(self.warnings),
            "weights": self.weights,
        }

    def save(self, path: Path | str) -> Path:
        """The plan as a picture, beside it the numbers (JSON) and the trajectory in TUM's format (txt)."""
        trajectory.write(Path(path).with_suffix(".txt"), self.trajectory)
        return write_picture(path, self.draw(), self.to_dict())


@dataclass
class Session:
    """A camera that is moving: `step` takes each frame, `walk` says where it was.

    Attributes:
        camera: pinhole intrinsics of the straightened pictures.
        config: the settings.
        distortion: k1, k2, p1, p2 of OpenCV's model; frames are straightened first; depth has to be straight.
        baseline_m: of a stereo pair, whose pictures are straightened already.
        map: the file of a saved map to go on in; the first frame has to see a place of it.
    """

    camera: Intrinsics
    config: Config
    distortion: tuple[float, ...] = ()
    baseline_m: float = 0.0
    map: Path | str | None = None
    states: list[str] = field(default_factory=list)
    warnings: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        config = self.config
        if self.baseline_m > 0:  # a disparity is off by half a pixel; its surfaces are too smooth to be aligned
            sigma = 0.5 / (self.camera.fx * self.baseline_m)
            config = replace(config, inverse_depth_sigma=sigma, surface_weight=0.0)
        self.tracker = Tracker(self.camera, config)
        if self.map is not None:
            self.tracker.go_on_in(Map.load(self.map, self.camera, config))
        self._last_s = -np.inf
        self._maps: tuple[np.ndarray, np.ndarray] | None = None
        if any(self.distortion):
            cv, k = opencv(), self.camera.matrix
            size = (self.camera.width, self.camera.height)
            self._maps = cv.initUndistortRectifyMap(k, np.array(self.distortion), None, k, size, cv.CV_32FC1)

    def step(
        self,
        frame: np.ndarray,
        time_s: float,
        depth_m: Float[np.ndarray, "h w"] | None = None,
        right: np.ndarray | None = None,
    ) -> Result:
        """Takes one frame. A frame that is hard to use changes the state, it raises nothing.

        Args:
            frame: grey (h w) or RGB (h w 3), uint8 or 0..1.
            time_s: when it was taken; only differences count.
            depth_m: along the optical axis, registered to the straightened frame; 0 where there is no reading.
            right: the right picture of a stereo pair, instead of depth.

        Raises:
            InputError: a frame or depth of another size than the intrinsics, or `right` without a baseline.
        """
        grey = self._straight(_grey(frame, self.camera))
        warning = ""
        if time_s <= self._last_s:
            warning = f"time goes backwards: {time_s} s after {self._last_s} s; the frame is taken as the next one"
        elif np.isfinite(self._last_s) and self.tracker.frame > 2 and time_s - self._last_s > 5 * self._gap():
            warning = f"{time_s - self._last_s:.2f} s without a frame"
        self._last_s = max(self._last_s, time_s)
        if depth_m is not None:
            warning = warning or self._check_depth(depth_m)
        elif right is not None:
            depth_m = self._stereo(grey, _grey(right, self.camera))
        tracker = self.tracker
        tracker.step(grey, time_s, depth_m)
        tracked = tracker.state not in ("starting", "lost")
        self.states.append(tracker.state)
        if warning:
            self.warnings.setdefault(warning, tracker.frame)
        parts = {**tracker.milliseconds, "all": sum(tracker.milliseconds.values())}
        pose = poses.inverse(tracker.pose) if tracked else None
        return Result(
            tracker.frame, time_s, tracker.state, pose, tracker.inliers, tracker.made_keyframe, parts, warning
        )

    def save_map(self, path: Path | str) -> Path:
        """Writes the map (.npz), for `Slam.session(map=...)`."""
        return self.tracker.map.save(path)

    def walk(self) -> Walk:
        """Where the camera was in all frames until now, by what the map says now."""
        tracker = self.tracker
        frames, times, matrices = tracker.trajectory()
        order = np.argsort(frames, kind="stable")
        times = np.maximum.accumulate(times[order]) if len(times) else times
        found = tracker.map.seen_points() if tracker.map.keyframes else np.zeros(0, np.int64)
        return Walk(
            trajectory.trajectory(times, matrices[order]),
            frames[order],
            tracker.parts()[order],
            tracker.map.xyz[found],
            len(tracker.map.keyframes),
            tuple(self.states),
            tracker.with_depth,
            tuple(f"frame {n}: {text}" for text, n in self.warnings.items()),
        )

    def _gap(self) -> float:
        times = [p.time_s for p in self.tracker.places[-10:]]
        return float(np.median(np.diff(times))) if len(times) > 2 else np.inf

    def _straight(self, picture: np.ndarray) -> np.ndarray:
        return picture if self._maps is None else opencv().remap(picture, *self._maps, opencv().INTER_LINEAR)

    def _check_depth(self, depth_m: np.ndarray) -> str:
        expected = (self.camera.height, self.camera.width)
        if depth_m.shape != expected:
            raise InputError(f"the depth is {depth_m.shape}, the intrinsics are for {expected} (rows, columns)")
        seen = depth_m[::8, ::8]
        seen = seen[np.isfinite(seen) & (seen > 0)]
        if not len(seen):
            return "the depth has no reading"
        middle = float(np.median(seen))
        if not 0.05 < middle < 100:
            return f"median depth is {middle:.4g} m; is it in another unit?"
        return ""

    def _stereo(self, left: np.ndarray, right: np.ndarray) -> Float[np.ndarray, "h w"]:
        """Depth of a straightened stereo pair by semi-global matching (Hirschmüller 2008)."""
        if self.baseline_m <= 0:
            raise InputError("a right picture needs baseline_m, the distance of the cameras in metres")
        cv = opencv()
        settings = {"P1": 200, "P2": 800, "disp12MaxDiff": 1, "uniquenessRatio": 10}
        speckles = {"speckleWindowSize": 100, "speckleRange": 2}
        matcher = cv.StereoSGBM_create(0, 16 * max(1, self.camera.width // 128), 5, **settings, **speckles)
        disparity = matcher.compute(left, right).astype(np.float32) / 16
        return np.where(disparity > 0.5, self.camera.fx * self.baseline_m / np.maximum(disparity, 0.5), 0)


def _grey(frame: np.ndarray, camera: Intrinsics) -> np.ndarray:
    frame = np.asarray(frame)
    if frame.shape[:2] != (camera.height, camera.width) or frame.ndim not in (2, 3):
        raise InputError(
            f"the frame is {frame.shape}, the intrinsics are for {camera.height} rows and {camera.width} columns"
        )
    if frame.dtype != np.uint8:
        frame = np.clip(frame * 255 + 0.5, 0, 255).astype(np.uint8)
    if frame.ndim == 3:
        frame = opencv().cvtColor(np.ascontiguousarray(frame[..., :3]), opencv().COLOR_RGB2GRAY)
    return np.ascontiguousarray(frame)


@dataclass(frozen=True)
class Slam:
    """Visual SLAM, ready to use: `percepta.load("slam")`.

    Attributes:
        config: its settings.
        model: without weights; nothing is learnt.
        licence: of the code.
        evaluate: its numbers on sequences with true poses.
    """

    config: Config
    model: nn.Module
    licence: str
    evaluate: Evaluate
    name: ClassVar[str] = "slam"

    def session(
        self,
        camera: Intrinsics,
        *,
        distortion: tuple[float, ...] = (),
        baseline_m: float = 0.0,
        rolling_shutter: float | None = None,
        map: Path | str | None = None,
    ) -> Session:
        """A camera that begins to move.

        Args:
            camera: pinhole intrinsics at the size of the frames.
            distortion: k1, k2, p1, p2 of OpenCV's model.
            baseline_m: distance of a stereo pair's cameras, metres.
            rolling_shutter: time from the first row to the last as a share of the time between frames, 0..1; None: as
                configured.
            map: the file of a map that a session saved, to go on in it.

        Raises:
            InputError: the file is no map.
        """
        config = self.config if rolling_shutter is None else replace(self.config, rolling_shutter=rolling_shutter)
        return Session(camera, config, tuple(distortion), baseline_m, map)

    def predict(
        self,
        frames: Iterable[tuple[Any, ...]],
        camera: Intrinsics,
        *,
        distortion: tuple[float, ...] = (),
        baseline_m: float = 0.0,
        rolling_shutter: float | None = None,
    ) -> Walk:
        """A whole sequence.

        Args:
            frames: (picture, time in s), (picture, time, depth in m) or (picture, time, None, right picture) each.
            camera, distortion, baseline_m, rolling_shutter: see `session`.

        Returns:
            Where the camera was and what it saw.

        Raises:
            InputError: a frame of another size than the intrinsics.
        """
        session = self.session(camera, distortion=distortion, baseline_m=baseline_m, rolling_shutter=rolling_shutter)
        for frame in frames:
            session.step(*frame)
        return session.walk()
