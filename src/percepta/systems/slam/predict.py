"""SLAM, ready to use: frame by frame with a session, or a whole capture at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64, UInt8
from PIL import Image, ImageDraw

from percepta.contract import Evaluate, OpenStream, described, weights_hash
from percepta.datasets.capture import Capture, RightCamera, Shot
from percepta.errors import InputError
from percepta.geometry import ply
from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics
from percepta.geometry.imu import Imu, check_samples
from percepta.geometry.lens import Lens, level_pair, pinhole_of, straight_maps
from percepta.media.draw import Shown, write_picture
from percepta.metrics import trajectory
from percepta.metrics.trajectory import Trajectory
from percepta.systems.slam import Config
from percepta.systems.slam.features import opencv
from percepta.systems.slam.focal import best_focal
from percepta.systems.slam.inertial import Inertial
from percepta.systems.slam.map import Keyframe
from percepta.systems.slam.mapfile import Journal, load, save
from percepta.systems.slam.model import PlaceNet
from percepta.systems.slam.places import thumbnail
from percepta.systems.slam.track import Tracker

STATES = ("starting", "tracking", "lost", "relocalised", "loop closed")
LEAST_SHUTTER = 0.2  # share of the time between frames from which a rolling shutter is said
TRACKED = ("tracking", "relocalised", "loop closed")


@dataclass(frozen=True, repr=False)
class Result(Shown):
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
        picture: the straightened frame.
        points_px: where known points of the map are in it.
        weights: hash of the weights that see places again.
    """

    frame: int
    time_s: float
    state: str
    world_from_camera: Float64[np.ndarray, "4 4"] | None
    points_seen: int
    keyframe: bool
    milliseconds: dict[str, float]
    warning: str = ""
    picture: UInt8[np.ndarray, "h w *c"] = field(repr=False, default_factory=lambda: np.zeros((1, 1), np.uint8))
    points_px: Float32[np.ndarray, "n 2"] = field(repr=False, default_factory=lambda: np.zeros((0, 2), np.float32))
    weights: str = ""

    @property
    def text(self) -> str:
        """The state in words, and where the camera is."""
        parts = [f"frame {self.frame}: {self.state}"]
        if self.world_from_camera is not None:
            x, y, z = self.world_from_camera[:3, 3]
            parts.append(f"at {x:.2f} {y:.2f} {z:.2f}, {self.points_seen} points")
        return ", ".join([*parts, *(["keyframe"] if self.keyframe else []), *filter(None, [self.warning])])

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers: the pose as a matrix, None where there is none."""
        pose = self.world_from_camera
        return {
            "frame": self.frame,
            "time_s": self.time_s,
            "state": self.state,
            "world_from_camera": None if pose is None else pose.tolist(),
            "points_seen": self.points_seen,
            "points_px": self.points_px.round(2).tolist(),
            "keyframe": self.keyframe,
            "milliseconds": self.milliseconds,
            "warning": self.warning,
            "weights": self.weights,
        }

    def draw(self) -> Image.Image:
        """The straightened frame with the points of the map that are known in it."""
        drawn = Image.fromarray(self.picture).convert("RGB")
        ink = ImageDraw.Draw(drawn)
        for u, v in self.points_px.tolist():
            ink.ellipse((u - 2, v - 2, u + 2, v + 2), outline=(255, 90, 30))
        return drawn


@dataclass(frozen=True)
class Views:
    """The keyframes of a map and what they see.

    Attributes:
        frame: number of each keyframe's frame.
        world_from_camera: of the straightened camera.
        view, point: which keyframe sees which point: rows of this and of `Walk.points`.
        uv: where, in pixels of the straightened picture.
    """

    frame: Int64[np.ndarray, " k"]
    world_from_camera: Float64[np.ndarray, "k 4 4"]
    view: Int64[np.ndarray, " n"]
    point: Int64[np.ndarray, " n"]
    uv: Float64[np.ndarray, "n 2"]


@dataclass(frozen=True, repr=False)
class Walk(Shown):
    """A whole sequence: where the camera was, and what it saw.

    Attributes:
        trajectory: of all frames that were tracked, as the map says at the end.
        frames: their numbers.
        part: of the map in which each stands; two parts were never seen to be one place.
        points: of the map, in the world.
        colours: of the points, RGB.
        views: the keyframes.
        camera: intrinsics of the straightened pictures.
        states: of every frame.
        metric: whether lengths are metres; with one camera they are not.
        warnings: each different one once, with the frame where it came first.
        weights: hash of the weights that see places again.
    """

    trajectory: Trajectory
    frames: Int64[np.ndarray, " n"]
    part: Int64[np.ndarray, " n"]
    points: Float64[np.ndarray, "p 3"]
    colours: UInt8[np.ndarray, "p 3"]
    views: Views
    camera: Intrinsics
    states: tuple[str, ...]
    metric: bool
    warnings: tuple[str, ...] = ()
    weights: str = ""

    @property
    def text(self) -> str:
        """What was found, in words."""
        share = len(self.frames) / max(1, len(self.states))
        unit = "m" if self.metric else "units"
        length = self.trajectory.length_m if len(self.frames) else 0.0
        return f"{share:.0%} of {len(self.states)} frames tracked, {length:.2f} {unit}, {len(self.points):,} points"

    @property
    def keyframes(self) -> int:
        """How many keyframes the map holds."""
        return len(self.views.frame)

    def draw(self, size: int = 512) -> Image.Image:
        """The way and the points from above, as the first camera stands: x to the right, its line of sight upwards."""
        picture = Image.new("RGB", (size, size), "white")
        ink = ImageDraw.Draw(picture)
        way = self.trajectory.centres[:, [0, 2]]
        if not len(way):
            return picture
        cloud = self.points[:, [0, 2]]
        low, high = way.min(0), way.max(0)
        reach = max(float((high - low).max()), 1e-6)
        low, reach = (low + high) / 2 - reach, 2 * reach
        for (x, y), colour in zip(
            ((cloud - low) / reach * size).tolist(), (self.colours // 2 + 64).tolist(), strict=True
        ):
            if 0 <= x < size and 0 <= y < size:
                ink.point((x, size - 1 - y), tuple(colour))
        line = [(x, size - 1 - y) for x, y in ((way - low) / reach * size).tolist()]
        for i in range(1, len(line)):
            if self.part[i] == self.part[i - 1]:
                ink.line([line[i - 1], line[i]], (200, 60, 20), 2)
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
            "camera": {name: getattr(self.camera, name) for name in ("fx", "fy", "cx", "cy", "width", "height")},
            "warnings": list(self.warnings),
            "weights": self.weights,
        }

    def save(self, path: Path | str) -> Path:
        """The points (.ply); or the plan as a picture, beside it numbers (JSON) and the way in TUM's format (.txt)."""
        path = Path(path)
        if path.suffix == ".ply":
            columns = {n: self.points[:, i].astype(np.float32) for i, n in enumerate("xyz")}
            ply.write(path, columns | {n: self.colours[:, i] for i, n in enumerate(("red", "green", "blue"))})
            return path
        trajectory.write(path.with_suffix(".txt"), self.trajectory)
        return write_picture(path, self.draw(), self.to_dict())


@dataclass
class Session:
    """A camera that is moving: `step` takes each frame, `walk` says where it was.

    Attributes:
        camera: intrinsics of the frames.
        config: the settings.
        lens: how the camera's lens bends; frames are straightened first.
        right: the right camera of a stereo pair.
        imu: the inertial sensor.
        depth_is_straight: whether depth fits the straightened frame; else it is straightened with it.
        describe: says what a picture looks like, to see places again.
        weights: hash of its weights.
        map: a saved map, or a journal's folder, to go on in; the first frame has to see a place of it.
        mapping: whether the map grows; False only places frames in it.
        journal: a folder where the map is kept while it grows; see `mapfile`.
        straight: intrinsics of the straightened pictures, in which everything is tracked.
    """

    camera: Intrinsics
    config: Config
    lens: Lens = field(default_factory=Lens)
    right: RightCamera | None = None
    imu: Imu | None = None
    depth_is_straight: bool = True
    describe: Callable[[UInt8[np.ndarray, "h w"]], Float32[np.ndarray, " s"]] = thumbnail
    weights: str = ""
    map: Path | str | None = None
    mapping: bool = True
    journal: Path | str | None = None
    straight: Intrinsics = field(init=False)
    states: list[str] = field(default_factory=list)
    warnings: dict[str, tuple[int, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        opencv()  # without it nothing here works: say so now
        config, self.straight = self.config, pinhole_of(self.camera, self.lens)
        self._camera_from_straight = np.eye(4)
        self._maps = self._right_maps = self._matcher = None
        if self.right is not None:
            config = self._level(config, self.right)
        elif self.lens.bends:
            self._maps = straight_maps(self.camera, self.lens, self.straight)
        self.tracker = Tracker(self.straight, config, describe=self.describe, mapping=self.mapping)
        if self.map is not None:
            given, way, metric = load(self.map, self.straight, config)
            self.tracker.go_on_in(given, way, metric=metric)
        elif not self.mapping:
            raise InputError("without mapping a session needs a map to place frames in: give map=PATH")
        self._inertial = None if self.imu is None else Inertial(self.imu)
        if self.imu is not None and self._inertial is not None:
            straight = poses.inverse(self._camera_from_straight) @ self.imu.camera_from_imu
            self.tracker.map.imu = replace(self.imu, camera_from_imu=straight)
            self.tracker.between = self._inertial.between if config.coupled else self.tracker.between
        self._weighed_s, self._weighed = -np.inf, 0
        self._journal = None if self.journal is None else Journal(Path(self.journal))
        self._last_s = -np.inf

    def _level(self, config: Config, right: RightCamera) -> Config:
        """Prepares the straightening of a stereo pair; settings for its depth."""
        left_from_straight, right_from_straight, baseline = level_pair(right.left_from_right)
        turned = not np.allclose(left_from_straight, np.eye(3), atol=1e-9)
        other = not np.allclose(right_from_straight, np.eye(3), atol=1e-9)
        if turned or other or self.lens.bends or right.lens.bends or right.camera != self.camera:
            self._maps = straight_maps(self.camera, self.lens, self.straight, left_from_straight)
            self._right_maps = straight_maps(right.camera, right.lens, self.straight, right_from_straight)
        self._camera_from_straight = poses.compose(left_from_straight, np.zeros(3))
        most = 16 * max(1, self.straight.width // 128)
        rules = {"P1": 200, "P2": 800, "disp12MaxDiff": 1, "uniquenessRatio": 10}
        speckles = {"speckleWindowSize": 100, "speckleRange": 2}
        self._matcher = opencv().StereoSGBM_create(0, most, 5, **rules, **speckles)
        self._focal_baseline = self.straight.fx * baseline
        # A disparity is off by half a pixel; its surfaces are too smooth to be aligned.
        return replace(config, inverse_depth_sigma=0.5 / self._focal_baseline, surface_weight=0.0)

    def step(
        self,
        frame: np.ndarray,
        time_s: float,
        depth_m: Float[np.ndarray, "h w"] | None = None,
        right: np.ndarray | None = None,
        imu: Float64[np.ndarray, "n 7"] | None = None,
    ) -> Result:
        """Takes one frame. A frame that is hard to use changes the state, it raises nothing.

        Args:
            frame: grey (h w) or RGB (h w 3), uint8, uint16 or 0..1.
            time_s: when it was taken; only differences count.
            depth_m: along the optical axis, registered to the straightened frame; 0 where there is no reading.
            right: the right picture of a stereo pair, instead of depth.
            imu: samples since the last frame: t in the sensor's time, gyroscope in rad/s, accelerometer in m/s².

        Raises:
            InputError: a frame or depth of another size than the intrinsics, `right` without a right camera, or `imu`
                without a sensor.
        """
        picture = _remapped(_bytes(frame, self.camera, "frame"), self._maps)
        grey = _grey(picture)
        last_s = self._last_s
        said = [self._check_time(time_s)]
        if depth_m is not None:
            depth_m = self._depth(depth_m)
            said.append(_odd_depth(depth_m))
        elif right is not None:
            depth_m = self._stereo(grey, right)
        tracker, turn = self.tracker, None
        if imu is not None:
            said.append(self._inertial_samples(imu, time_s))
            turn = self._turn(last_s, time_s)
        tracker.step(grey, time_s, depth_m, picture if picture.ndim == 3 else None, turn)
        said.append(tracker.trouble)
        if (tracker.made_keyframe or tracker.settled) and tracker.state in TRACKED:
            said.append(self._weigh(time_s))
        for text in filter(None, said):
            self.warnings.setdefault(text.partition(":")[0], (tracker.frame, text))
        self.states.append(tracker.state)
        if self._journal is not None and (tracker.made_keyframe or tracker.settled):
            self._journal.write(tracker.map, tracker.way, metric=tracker.with_depth)
        pose = self._of_camera(poses.inverse(tracker.pose)) if tracker.state in TRACKED else None
        parts = {**tracker.milliseconds, "all": sum(tracker.milliseconds.values())}
        warning = next(filter(None, said), "")
        points = tracker.tracks.uv[tracker.map.known(tracker.tracks.ids)] if pose is not None else np.zeros((0, 2))
        row = (tracker.frame, time_s, tracker.state, pose, tracker.inliers, tracker.made_keyframe, parts, warning)
        return Result(*row, picture, points.astype(np.float32), self.weights)

    def straighten(self, frame: np.ndarray) -> UInt8[np.ndarray, "h w *c"]:
        """A frame as it is tracked: without the lens's bending."""
        return _remapped(_bytes(frame, self.camera, "frame"), self._maps)

    def straight_depth(self, depth_m: np.ndarray) -> Float[np.ndarray, "h w"]:
        """Depth as it is used: registered to the straightened frame, 0 where there is no reading."""
        return self._depth(depth_m)

    def save_map(self, path: Path | str) -> Path:
        """Writes the map (.npz), for `Slam.session(map=...)`."""
        map, way = self.tracker.now()
        return save(path, map, way, metric=self.tracker.with_depth)

    @property
    def straight_from_camera(self) -> Float64[np.ndarray, "4 4"]:
        """How the straightened camera is turned against the camera: of a stereo pair whose rows did not agree."""
        return poses.inverse(self._camera_from_straight)

    def walk(self, *, check_camera: bool = False) -> Walk:
        """Where the camera was in all frames until now, by what the map says now.

        Args:
            check_camera: also tries other focal lengths (a second), and warns where one fits better.
        """
        tracker = self.tracker
        if check_camera:
            self._check_focal()
        self._check_shutter()
        frames, times, matrices, parts = tracker.trajectory()
        times = np.maximum.accumulate(times) if len(times) else times
        map, _ = tracker.now()
        found = map.seen_points()
        return Walk(
            trajectory.trajectory(times, self._of_camera(matrices)),
            frames,
            parts,
            map.xyz[found],
            map.colour[found],
            self._views(map.keyframes, found),
            self.straight,
            tuple(self.states),
            tracker.lengths_are_metres,
            tuple(f"frame {n}: {text}" for n, text in self.warnings.values()),
            self.weights,
        )

    def _inertial_samples(self, samples: np.ndarray, time_s: float) -> str:
        """Takes the samples of a frame; what is odd about them, in words."""
        if self._inertial is None:
            raise InputError("samples of an IMU need to know it: session(camera, imu=Imu(camera_from_imu=...))")
        try:
            samples = check_samples(samples)
        except InputError as error:
            return f"samples of the IMU are left out: {error}"
        return self._inertial.add(samples, self.tracker.frame + 1, time_s)

    def _turn(self, last_s: float, time_s: float) -> Float64[np.ndarray, "3 3"] | None:
        """How the straightened camera has turned since the last frame, by the gyroscope."""
        if self._inertial is None or not np.isfinite(last_s):
            return None
        turn, straight = self._inertial.turn(last_s, time_s), self._camera_from_straight[:3, :3]
        return None if turn is None else straight.T @ turn @ straight

    def _weigh(self, time_s: float) -> str:
        """Finds gravity and scale: as soon as they are certain, then whenever there is a third more to compare."""
        tracker, inertial = self.tracker, self._inertial
        if inertial is None:
            return ""
        more = len(inertial.frames) >= 1.3 * self._weighed and time_s - self._weighed_s > 1.5
        if not more and tracker.state != "loop closed":
            return ""
        self._weighed_s = time_s
        if tracker.part in tracker.metric and self.config.coupled:  # the samples are part of the adjustment by now
            self._weighed = len(inertial.frames)
            tracker.refine()
            return ""
        frames, _, matrices, parts = tracker.trajectory()
        mine = parts == tracker.part
        found = inertial.start(frames[mine], self._of_camera(matrices[mine]), metric=tracker.with_depth)
        if found is None:
            return ""
        if found.turned_deg > 25:
            return (
                f"the IMU's axes do not fit: its turns are {found.turned_deg:.0f}° off the camera's; are axes swapped, "
                "or is camera_from_imu the other way round?"
            )
        inertial.found = found
        if tracker.part in tracker.metric and (tracker.with_depth or found.scale_sigma > 0.015):
            return ""
        self._weighed = len(inertial.frames)
        tracker.weigh(found)
        if self.config.coupled:
            tracker.refine()
        return ""

    def _views(self, keyframes: list[Keyframe], points: Int64[np.ndarray, " p"]) -> Views:
        matrices = np.array([k.camera_from_world for k in keyframes]).reshape(-1, 4, 4)
        view = np.repeat(np.arange(len(keyframes)), [len(k.ids) for k in keyframes])
        ids = np.concatenate([np.zeros(0, np.int64), *(k.ids for k in keyframes)])
        uv = np.concatenate([np.zeros((0, 2)), *(k.pixel for k in keyframes)])
        kept = np.isin(ids, points)
        place = np.searchsorted(points, ids[kept])
        numbers = np.array([k.frame for k in keyframes], np.int64)
        return Views(numbers, poses.inverse(matrices), view[kept], place, uv[kept])

    def _check_focal(self) -> None:
        found = best_focal(self.tracker.now()[0])
        if found is None:
            return
        wrong = f"{self.straight.fx:.0f} px; {found.factor:.2f} times it"
        if found.is_clear:
            gain = 1 - found.best_px / found.error_px
            text = f"the focal length is wrong: instead of {wrong} makes the error {gain:.0%} smaller"
        elif not self.tracker.with_depth and abs(found.factor - 1) > 0.02:
            text = f"the focal length may be wrong: instead of {wrong} or more fits better"
        else:
            return
        self.warnings.setdefault("focal", (self.tracker.frame, f"{text}. `percepta slam calibrate` finds it"))

    def _check_shutter(self) -> None:
        share = self.tracker.shutter
        if share > LEAST_SHUTTER:
            self.warnings.setdefault(
                "shutter",
                (
                    self.tracker.frame,
                    "the camera seems to read its rows one after the other (a rolling shutter): what moves is bent. "
                    f"Give rolling_shutter={min(share, 1.0):.1f} (--rolling-shutter {min(share, 1.0):.1f}), "
                    "the time from the first row to the last as a share "
                    "of the time between frames, or what its data sheet says",
                ),
            )

    def _of_camera(self, world_from_straight: Float64[np.ndarray, "*n 4 4"]) -> Float64[np.ndarray, "*n 4 4"]:
        return world_from_straight @ poses.inverse(self._camera_from_straight)

    def _check_time(self, time_s: float) -> str:
        last, self._last_s = self._last_s, max(self._last_s, time_s)
        if not np.isfinite(time_s):
            self._last_s = last
            return f"a frame has no time: {time_s}"
        if time_s <= last:
            return f"time goes backwards: {time_s} s after {last} s; the frame is taken as the next one"
        way = self.tracker.way
        recent = way.time_s[max(0, way.count - 10) : way.count]
        gap = float(np.median(np.diff(recent))) if len(recent) > 2 else np.inf
        if np.isfinite(last) and gap > 0 and time_s - last > 5 * gap:
            return f"frames are missing: {time_s - last:.2f} s without one, where {gap:.3f} s is usual"
        return ""

    def _depth(self, depth_m: np.ndarray) -> Float[np.ndarray, "h w"]:
        expected = (self.camera.height, self.camera.width)
        if depth_m.shape != expected:
            raise InputError(f"the depth is {depth_m.shape}, the intrinsics are for {expected} (rows, columns)")
        depth_m = np.asarray(depth_m, np.float32)
        depth_m = np.where(np.isfinite(depth_m) & (depth_m > 0), depth_m, 0)
        if self._maps is not None and not self.depth_is_straight:
            depth_m = opencv().remap(depth_m, *self._maps, opencv().INTER_NEAREST)
        return depth_m

    def _stereo(self, left: np.ndarray, right: np.ndarray) -> Float[np.ndarray, "h w"]:
        """Depth of a straightened stereo pair by semi-global matching (Hirschmüller 2008)."""
        if self.right is None or self._matcher is None:
            raise InputError("a right picture needs a right camera: session(camera, right=RightCamera(...))")
        other = _grey(_remapped(_bytes(right, self.right.camera, "right frame"), self._right_maps))
        disparity = self._matcher.compute(left, other).astype(np.float32) / 16
        return np.where(disparity > 0.5, self._focal_baseline / np.maximum(disparity, 0.5), 0).astype(np.float32)


def _bytes(frame: np.ndarray, camera: Intrinsics, name: str) -> UInt8[np.ndarray, "h w *c"]:
    """A frame as bytes, of the right size."""
    frame = np.asarray(frame)
    if frame.ndim not in (2, 3) or frame.shape[:2] != (camera.height, camera.width):
        raise InputError(
            f"the {name} is {frame.shape}, the intrinsics are for {camera.height} rows and {camera.width} columns"
        )
    if frame.ndim == 3:
        if frame.shape[2] not in (1, 3, 4):
            raise InputError(f"the {name} has {frame.shape[2]} channels; grey, RGB or RGBA is taken")
        frame = frame[..., 0] if frame.shape[2] == 1 else frame[..., :3]
    if frame.dtype == np.uint16:
        frame = (frame >> 8).astype(np.uint8)
    elif frame.dtype != np.uint8:
        frame = (np.clip(np.nan_to_num(frame), 0, 1) * 255 + 0.5).astype(np.uint8)
    return np.ascontiguousarray(frame)


def _remapped(frame: np.ndarray, maps: tuple[np.ndarray, np.ndarray] | None) -> np.ndarray:
    return frame if maps is None else opencv().remap(frame, *maps, opencv().INTER_LINEAR)


def _grey(frame: np.ndarray) -> UInt8[np.ndarray, "h w"]:
    return frame if frame.ndim == 2 else opencv().cvtColor(frame, opencv().COLOR_RGB2GRAY)


def _odd_depth(depth_m: np.ndarray) -> str:
    seen = depth_m[::8, ::8]
    seen = seen[seen > 0]
    if not len(seen):
        return "the depth has no reading: the frame is tracked by its colours alone"
    middle = float(np.median(seen))
    return "" if 0.05 < middle < 100 else f"depth may be in another unit: its median is {middle:.4g} m"


@dataclass(frozen=True)
class Slam:
    """Visual SLAM, ready to use: `percepta.load("slam")`.

    Attributes:
        config: its settings.
        model: says which pictures look alike.
        licence: of code and weights.
        evaluate: its numbers on sequences with true poses.
        open_stream: opens whatever `stream` is given; handed in by `percepta.load`.
    """

    config: Config
    model: PlaceNet
    licence: str
    evaluate: Evaluate
    open_stream: OpenStream
    name: ClassVar[str] = "slam"

    def __repr__(self) -> str:
        return described(self)

    def session(
        self,
        camera: Intrinsics,
        *,
        lens: Lens | None = None,
        right: RightCamera | None = None,
        imu: Imu | None = None,
        rolling_shutter: float | None = None,
        depth_is_straight: bool = True,
        map: Path | str | None = None,
        mapping: bool = True,
        journal: Path | str | None = None,
    ) -> Session:
        """A camera that begins to move.

        Args:
            camera: intrinsics at the size of the frames.
            lens: how the lens bends; None: not at all.
            right: the right camera of a stereo pair.
            imu: the inertial sensor: with it one camera's lengths become metres, and z points up.
            rolling_shutter: time from the first row to the last as a share of the time between frames, 0..1; None: as
                configured.
            depth_is_straight: whether depth fits the straightened frame; False: it is straightened with it.
            map: a map that a session saved, or the folder of a journal, to go on in it.
            mapping: False only places frames in the map, which does not change.
            journal: a folder to keep the map in while it grows: a process that is killed loses the last keyframe.

        Raises:
            MissingExtraError: OpenCV is not installed.
            InputError: the file is no map.
        """
        config = self.config if rolling_shutter is None else replace(self.config, rolling_shutter=rolling_shutter)
        describe = thumbnail if self.model.image is None else self.model.describe
        hash_of = weights_hash(self.model)
        return Session(
            camera, config, lens or Lens(), right, imu, depth_is_straight, describe, hash_of, map, mapping, journal
        )

    def session_of(self, capture: Capture, **more: Any) -> Session:
        """A session with all that a capture says of its cameras; `more` as in `session`."""
        known: dict[str, Any] = {
            "lens": capture.lens,
            "right": capture.right,
            "imu": capture.imu,
            "rolling_shutter": capture.rolling_shutter or None,
            "depth_is_straight": capture.depth_is_straight,
        }
        return self.session(capture.camera, **{**known, **more})

    def predict(
        self,
        frames: Capture | Iterable[Shot | tuple[Any, ...]],
        camera: Intrinsics | None = None,
        *,
        lens: Lens | None = None,
        right: RightCamera | None = None,
        imu: Imu | None = None,
        rolling_shutter: float | None = None,
    ) -> Walk:
        """A whole sequence.

        Args:
            frames: a capture, or shots; as tuples (picture, time in s), (picture, time, depth in m) or
                (picture, time, None, right picture), and with samples behind that.
            camera: intrinsics at the size of the frames; a capture brings its own.
            lens: how the lens bends; None: as the capture says, else not at all.
            right: the right camera of a stereo pair; None: as the capture says.
            imu: the inertial sensor; None: as the capture says.
            rolling_shutter: see `session`.

        Returns:
            Where the camera was and what it saw.

        Raises:
            InputError: a frame of another size than the intrinsics, or shots without a camera.
        """
        given = {"lens": lens, "right": right, "imu": imu, "rolling_shutter": rolling_shutter}
        given = {name: value for name, value in given.items() if value is not None}
        if isinstance(frames, Capture):
            session = self.session_of(frames if camera is None else replace(frames, camera=camera), **given)
        elif camera is None:
            raise InputError("frames that are no capture need a camera: predict(frames, Intrinsics(...))")
        else:
            session = self.session(camera, **given)
        for frame in frames:
            shot = frame if isinstance(frame, Shot) else Shot(frame[1], frame[0], *frame[2:])
            session.step(shot.frame, shot.time_s, shot.depth_m, shot.right, shot.imu)
        return session.walk(check_camera=True)
