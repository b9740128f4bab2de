"""Tracking and mapping: one call of `step` a frame."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64, UInt8

from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics
from percepta.systems.slam import Config
from percepta.systems.slam.adjust import Link
from percepta.systems.slam.coupled import foretold
from percepta.systems.slam.features import corner_peaks, depth_at, find_corners, follow, opencv
from percepta.systems.slam.inertial import Integrated, Start
from percepta.systems.slam.map import Asked, Keyframe, Map, Moved
from percepta.systems.slam.places import Look, Seen, look_of, resemblance, see_again, thumbnail
from percepta.systems.slam.reprojection import fit_pose, moved, reproject
from percepta.systems.slam.solver import Answer, Solver
from percepta.systems.slam.surface import normal_equations, surface_of
from percepta.systems.slam.twoview import bearing, pixels, two_views
from percepta.systems.slam.ways import Way
from percepta.systems.slam.xfeat import CELL, Described, XFeat, places_of

_PATIENCE = 45  # frames after which a single camera that has not started says why
_WHOLE_FRAMES = 10  # least time, in frames, for the adjustment of all keyframes
_MOST_INERTIAL = 150  # keyframes that are adjusted at once with the inertial samples
_WAITING = 300  # frames whose poses are filled in once a single camera has started


@dataclass
class Tracks:
    """The corners that are followed.

    Attributes:
        ids: numbers of their points in the map, ascending.
        uv: where they are in the current frame, pixels.
        origin: where they are in the last keyframe, pixels: they are followed from there, so that errors do not add up.
    """

    ids: Int64[np.ndarray, " n"]
    uv: Float64[np.ndarray, "n 2"]
    origin: Float64[np.ndarray, "n 2"]

    def keep(self, kept: Bool[np.ndarray, " n"]) -> None:
        """Forgets all others."""
        self.ids, self.uv, self.origin = self.ids[kept], self.uv[kept], self.origin[kept]


@dataclass
class Tracker:
    """The state of SLAM between two frames.

    Attributes:
        camera: pinhole intrinsics.
        config: the settings.
        map: keyframes and points.
        state: "starting", "tracking", "lost"; "relocalised" and "loop closed" for one frame.
        pose: camera_from_world of the last frame.
        speed: camera_from_world of the last frame against the one before.
        describe: says what a picture looks like, to see places again.
        mapping: whether the map grows; else frames are only placed in it.
        way: where each tracked frame is.
        trouble: what is odd about the last frame, in words; "" for nothing.
        settled: whether the newest keyframe was adjusted with its neighbours in the last frame.
    """

    camera: Intrinsics
    config: Config
    map: Map = field(init=False)
    state: str = "starting"
    pose: Float64[np.ndarray, "4 4"] = field(default_factory=lambda: np.eye(4))
    speed: Float64[np.ndarray, "4 4"] = field(default_factory=lambda: np.eye(4))
    describe: Callable[[UInt8[np.ndarray, "h w"]], Float32[np.ndarray, " s"]] = thumbnail
    mapping: bool = True
    way: Way = field(init=False)
    frame: int = -1
    milliseconds: dict[str, float] = field(default_factory=dict)
    made_keyframe: bool = False
    inliers: int = 0
    trouble: str = ""
    settled: bool = False

    def __post_init__(self) -> None:
        self.map, self.way = Map(self.camera, self.config), Way(self.config.max_frames)
        self.solver = Solver(self.config.adjust_apart and self.mapping)
        self.beside = ThreadPoolExecutor(1) if self.config.adjust_apart and self.mapping else None
        self.xfeat = XFeat() if self.config.front_end == "xfeat" else None
        self.told: tuple[int, Described] | None = None  # of a keyframe: number of its frame, what XFeat says of it
        self.window: tuple[Asked, Answer] | None = None  # the adjustment around the newest keyframe
        self.whole: tuple[Asked, Answer] | None = None  # that of all keyframes after a loop was closed
        self.look_uv = np.zeros((0, 2))  # of the corners that the newest keyframe's look numbers
        self.between: Callable[[float, float], Integrated | None] = lambda start_s, end_s: None  # samples, integrated
        self.unfinished: _Unfinished | None = None  # what the newest keyframe still lacks
        self.describing: tuple[int, Future[np.ndarray]] | None = None  # a keyframe's number, and what it will look like
        self.unasked = False  # whether the newest keyframe is still to be linked by its depth, and adjusted
        self.unlinked: np.ndarray | None = None  # its depth
        self.unrecognised = False  # whether the newest keyframe's place is still to be looked for
        self.reference: Keyframe | None = None  # what corners are followed from: the last keyframe
        self.rgb: np.ndarray | None = None
        self.turn: np.ndarray | None = None
        self.metric: set[int] = set()  # parts of the map whose lengths a sensor made metres
        self.is_upright: set[int] = set()  # parts whose z points up
        self.scale = self.camera.width / 640
        self.tracks = Tracks(np.zeros(0, int), np.zeros((0, 2)), np.zeros((0, 2)))
        self.waiting: list[tuple[int, float, np.ndarray, np.ndarray]] = []
        self.grey: np.ndarray | None = None
        self.flow = self.flow_then = np.zeros((6, 2))  # how the picture moves, in this frame and in the last keyframe
        self.shutter_seen = self.shutter_size = 0.0
        self.shutter_frames = 0
        self.lost = 0  # frames since
        self.part = 0  # of the map
        self.with_depth = False

    def go_on_in(self, given: Map, way: Way, *, metric: bool) -> None:
        """Takes a map that was saved; the next frame looks for its place in it.

        Args:
            given: the map.
            way: where its frames are.
            metric: whether its lengths are metres.
        """
        self.map, self.way, self.with_depth = given, way, metric
        self.state, self.lost = "lost", 0
        self.part = given.keyframes[-1].part if given.keyframes else 0
        self.frame = int(way.frame[: way.count].max()) if way.count else -1  # frame numbers go on

    def step(
        self,
        grey: UInt8[np.ndarray, "h w"],
        time_s: float,
        depth_m: Float[np.ndarray, "h w"] | None = None,
        rgb: UInt8[np.ndarray, "h w 3"] | None = None,
        turn: Float64[np.ndarray, "3 3"] | None = None,
    ) -> None:
        """Takes one frame.

        Args:
            grey: the picture.
            time_s: when it was taken, seconds.
            depth_m: registered to the picture, 0 where there is no reading; None: one camera.
            rgb: the picture in colour, for the points' colours.
            turn: this frame's camera from the last one's, as a gyroscope says.
        """
        self.frame += 1
        self.rgb, self.turn = rgb, turn
        self.made_keyframe, self.milliseconds, self.inliers, self.trouble = False, {}, 0, ""
        self.settled = False
        self.with_depth = self.with_depth or depth_m is not None
        clock = _Clock(self.milliseconds)
        self._finish_keyframe(clock)
        if not self.map.keyframes:
            if self.mapping:
                self._first_keyframe(grey, time_s, depth_m)
            clock("keyframe")
        elif self.state == "starting":
            self._follow(grey)
            clock("follow")
            self._start(grey, time_s, depth_m)
            clock("start")
        elif self.state == "lost":
            self._relocalise(grey, time_s, depth_m, clock)
        else:
            self._follow(grey)
            clock("follow")
            self._locate(depth_m)
            clock("locate")
            if self.state == "lost" and self.xfeat is not None:
                self.trouble = ""
                self._follow_by_network(grey, self.xfeat)
                self._locate(depth_m)
                clock("network")
            if self.state == "lost":  # the place may be known all the same
                self._relocalise(grey, time_s, depth_m, clock)
            elif self.state == "tracking":
                self._remember(time_s)
                self._settle_due(clock)
                if self._needs_keyframe():
                    if self.mapping:
                        self._keyframe(grey, time_s, depth_m, clock)
                    else:
                        self._look_around(grey, depth_m)
                        clock("relocalise")
        self.grey = grey

    # ------------------------------------------------------------------------------------------------- tracking

    def _follow(self, grey: UInt8[np.ndarray, "h w"]) -> None:
        """Corners from the last frame to this one, then exactly from the last keyframe to this one.

        They are looked for where the gyroscope says; without one, where they were, and if that fails for most of them
        where they would be if the camera turned on as before.
        """
        tracks = self.tracks
        there, found, velocity = self._followed(grey, None if self.turn is None else self._turned(tracks.uv, self.turn))
        if self.turn is None and found.sum() < 0.5 * len(found):
            other = self._followed(grey, self._turned(tracks.uv, self.speed[:3, :3]))
            if other[1].sum() > found.sum():
                there, found, velocity = other
        tracks.uv = there
        tracks.keep(found)
        self.flow = fit_flow(tracks.uv, velocity[found])

    def _followed(
        self, grey: UInt8[np.ndarray, "h w"], guess: Float64[np.ndarray, "n 2"] | None
    ) -> tuple[Float64[np.ndarray, "n 2"], Bool[np.ndarray, " n"], Float64[np.ndarray, "n 2"]]:
        """(places, whether each corner was found, its way since the last frame)."""
        config, tracks = self.config, self.tracks
        assert self.grey is not None and self.reference is not None and self.reference.grey is not None
        rough, found = follow(
            self.grey, grey, tracks.uv, guess, patch_px=config.patch_px, levels=config.levels, both_ways=False
        )
        there, good = np.zeros_like(tracks.uv), np.zeros(len(tracks.uv), bool)
        there[found], good[found] = follow(
            self.reference.grey, grey, tracks.origin[found], rough[found], patch_px=config.patch_px, levels=2
        )
        good &= np.abs(there - rough).max(1) < 4 * self.scale
        return there, good, there - tracks.uv

    def _follow_by_network(self, grey: UInt8[np.ndarray, "h w"], network: XFeat) -> None:
        """Corners from the last keyframe to this frame at once, where XFeat says that they are."""
        last = self.reference
        assert last is not None and last.grey is not None
        if self.told is None or self.told[0] != last.frame:
            self.told = last.frame, network.describe(last.grey)
        guess, known = places_of(self.told[1], last.pixel, network.describe(grey))
        self.tracks = Tracks(last.ids, guess, last.pixel)
        self.tracks.keep(known)
        there, good = follow(
            last.grey, grey, self.tracks.origin, self.tracks.uv, patch_px=self.config.patch_px, levels=2
        )  # fmt: skip
        good &= np.abs(there - self.tracks.uv).max(1) < CELL
        self.tracks.uv = there
        self.tracks.keep(good)
        self.flow = np.zeros((6, 2))

    def _turned(self, uv: Float64[np.ndarray, "n 2"], turn: Float64[np.ndarray, "3 3"]) -> Float64[np.ndarray, "n 2"]:
        """Where far points would be after a turn of the camera; those that leave the picture stay where they were."""
        ray = bearing(self.camera, uv) @ turn.T
        ahead = ray[:, 2] > 0.1
        out = pixels(self.camera, np.where(ahead[:, None], ray, (0.0, 0.0, 1.0)))
        inside = ahead & ((out > 0) & (out < (self.camera.width - 1, self.camera.height - 1))).all(1)
        return np.where(inside[:, None], out, uv)

    def _locate(self, depth_m: Float[np.ndarray, "h w"] | None) -> None:
        """The frame's pose from the known points that are followed; those that do not fit are dropped."""
        config, tracks = self.config, self.tracks
        known = self.map.known(tracks.ids)
        xyz, uv = self.map.xyz[tracks.ids[known]], self._at_once(tracks.uv[known])
        inverse_depth = self._depth(depth_m, tracks.uv[known])
        guess = self.speed @ self.pose
        if self.turn is not None:
            guess = poses.compose(self.turn, self.speed[:3, 3]) @ self.pose
        inlier = np.zeros(len(xyz), bool)
        if len(xyz) >= config.min_inliers:
            pose, inlier = self._fit(guess, xyz, uv, inverse_depth, depth_m)
            if inlier.sum() < max(config.min_inliers, 0.5 * len(xyz)):
                ransac = self._ransac(xyz, uv)
                if ransac is not None:
                    other, other_inlier = self._fit(ransac, xyz, uv, inverse_depth, depth_m)
                    if other_inlier.sum() > inlier.sum():
                        pose, inlier = other, other_inlier
        self.inliers = int(inlier.sum())
        if self.inliers < config.min_inliers:
            self.state, self.lost = "lost", 0
            self.trouble = f"lost: {len(xyz)} points were followed, {self.inliers} of them fit one motion"
            return
        self.speed = pose @ poses.inverse(self.pose)
        self.pose, self.state = pose, "tracking"
        self._note_shutter(xyz[inlier], tracks.uv[known][inlier], tracks.origin[known][inlier])
        kept = ~known
        kept[known] = inlier
        tracks.keep(kept)

    def _fit(
        self,
        guess: Float64[np.ndarray, "4 4"],
        xyz: Float64[np.ndarray, "n 3"],
        uv: Float64[np.ndarray, "n 2"],
        inverse_depth: Float64[np.ndarray, " n"],
        depth_m: Float[np.ndarray, "h w"] | None = None,
    ) -> tuple[Float64[np.ndarray, "4 4"], Bool[np.ndarray, " n"]]:
        """The pose that fits the points, and with depth the surface of the last keyframe."""
        config, last = self.config, self.reference
        assert last is not None
        surface, world_from_last = last.surface, poses.inverse(last.camera_from_world)

        def by_surface(pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            assert surface is not None and depth_m is not None
            hessian, gradient, _ = normal_equations(
                surface, pose @ world_from_last, depth_m, self.camera, config.surface_sigma
            )
            return config.surface_weight * hessian, config.surface_weight * gradient

        use = surface is not None and depth_m is not None and config.surface_weight > 0
        return fit_pose(
            self.camera,
            guess,
            xyz,
            uv,
            inverse_depth,
            config.inverse_depth_sigma,
            config.outlier_px * self.scale,
            by_surface if use else None,
        )

    def _ransac(self, xyz: np.ndarray, uv: np.ndarray) -> Float64[np.ndarray, "4 4"] | None:
        """A pose from three points at a time, where the motion was not as expected."""
        cv = opencv()
        good, turn, shift, _ = cv.solvePnPRansac(
            xyz, uv, self.camera.matrix, None, iterationsCount=200, reprojectionError=3.0 * self.scale
        )
        return poses.compose(poses.from_vector(turn[:, 0]), shift[:, 0]) if good else None

    def _depth(self, depth_m: Float[np.ndarray, "h w"] | None, uv: np.ndarray) -> Float64[np.ndarray, " n"]:
        return np.full(len(uv), np.nan) if depth_m is None else depth_at(depth_m, uv, self.config.max_depth_m)

    def _at_once(self, pixel: Float64[np.ndarray, "n 2"]) -> Float64[np.ndarray, "n 2"]:
        """Where points would be if the rows were read at once, when the middle row is: a rolling shutter undone."""
        if self.config.rolling_shutter == 0:
            return pixel
        return pixel - self.config.rolling_shutter * self._late(pixel, self.flow)

    def _note_shutter(
        self, xyz: Float64[np.ndarray, "n 3"], pixel: Float64[np.ndarray, "n 2"], origin: Float64[np.ndarray, "n 2"]
    ) -> None:
        """Compares errors of reprojection with those of pictures whose rows are read one after the other.

        Points are where the last keyframe saw them, late or not, so only what has changed since says something; and of
        that only what no change of the pose explains.

        Args:
            xyz: points that fit.
            pixel: where they are.
            origin: where they are in the last keyframe.
        """
        if self.config.rolling_shutter != 0 or self.frame % 2:
            return
        late = self._late(pixel, self.flow) - self._late(origin, self.flow_then)
        nothing = np.full(len(xyz), np.nan)
        residual, by_pose, _ = reproject(self.camera, self.pose[:3, :3], self.pose[:3, 3], xyz, pixel, nothing, 1.0)
        late, error, by_pose = late.reshape(-1), -residual[:, :2].reshape(-1), by_pose[:, :2].reshape(-1, 6)
        late = late - by_pose @ np.linalg.solve(by_pose.T @ by_pose + 1e-6 * np.eye(6), by_pose.T @ late)
        self.shutter_seen += float((error * late).sum())
        self.shutter_size += float((late * late).sum())
        self.shutter_frames += 1

    def _late(self, pixel: Float64[np.ndarray, "n 2"], flow: Float64[np.ndarray, "6 2"]) -> Float64[np.ndarray, "n 2"]:
        """How far points have moved when their row is read, if that takes the whole time between two frames."""
        return (pixel[:, 1:] / self.camera.height - 0.5) * (quadratic(pixel) @ flow)

    @property
    def shutter(self) -> float:
        """How large a share of the time between frames the rows seem to take; 0 while too little has moved."""
        enough = self.shutter_frames > 30 and self.shutter_size > 1e3 * self.scale**2
        return self.shutter_seen / self.shutter_size if enough else 0.0

    def _remember(self, time_s: float) -> None:
        """Notes where the frame is, against the last keyframe of the map that it can be told from."""
        last = self.reference
        assert last is not None
        if last.number < 0:  # only placed in the map: against the keyframe that sees most of the same points
            last = self.map.keyframes[int(np.argmax(self.map.shared(last.ids)))]
        self.way.add(self.frame, time_s, last.number, self.pose @ poses.inverse(last.camera_from_world))

    # -------------------------------------------------------------------------------------------------- mapping

    def _needs_keyframe(self) -> bool:
        config, last = self.config, self.reference
        assert last is not None
        known = self.map.known(self.tracks.ids)
        there = self.map.known(last.ids).sum()
        motion = np.abs(self.tracks.uv - self.tracks.origin)[known].max(1)
        if not len(motion):
            return True
        return bool(
            known.sum() < config.keyframe_share * there or np.median(motion) > config.keyframe_motion_px * self.scale
        )

    def _keyframe(
        self,
        grey: UInt8[np.ndarray, "h w"],
        time_s: float,
        depth_m: Float[np.ndarray, "h w"] | None,
        clock: _Clock,
    ) -> None:
        """Keeps the frame: known points are found again in it. The next frame begins with what is left to do."""
        self._settle(clock)
        tracks = self.tracks
        new = Keyframe(
            self.map.made,
            self.frame,
            time_s,
            self.pose,
            tracks.ids,
            self._at_once(tracks.uv),
            tracks.uv,
            self._depth(depth_m, tracks.uv),
            grey,
            part=self.part,
        )
        self._connect(new)
        self.map.keyframes.append(new)
        self.map.made += 1
        self.made_keyframe = True
        self.reference, self.flow_then = new, self.flow
        if self.beside is not None:
            self.describing = new.number, self.beside.submit(self.describe, grey)
        near = self.map.neighbours(new, self.config.find_again)
        tried = self._find_again(new, near[:1], np.zeros(0, np.int64), depth_m)
        self.tracks = Tracks(new.ids, new.pixel, new.pixel)
        clock("find again")
        peaks = corner_peaks(grey, self.config.corner_distance_px * self.scale)
        self.unfinished = _Unfinished(new, near[1:], tried, depth_m, self.rgb, peaks)
        clock("new corners")
        if self.config.adjust_frames == 0:
            self._finish_keyframe(clock)
            self._settle(clock)

    def _finish_keyframe(self, clock: _Clock) -> None:
        """What the newest keyframe lacks: further known points, and new ones."""
        if self.unfinished is None:
            return
        rest, self.unfinished = self.unfinished, None
        new, depth_m = rest.keyframe, rest.depth_m
        self._find_again(new, rest.near, rest.tried, depth_m)
        clock("find again")
        if depth_m is not None and self.config.surface_weight > 0:  # this frame stands on it
            new.surface = surface_of(depth_m, self.camera, self.config.surface_points, self.config.max_depth_m)
        self.map.triangulate(new)
        self.map.remove_unseen(new)
        self._add_corners(new, depth_m, rest.rgb, rest.peaks)
        self.map.triangulate(new)
        gone = self.map.drop_oldest()
        if gone is not None:
            self.way.stand_on(*gone)
        clock("new corners")
        self.way.stand_alone(new.frame, new.number)
        if not self.waiting:
            number = self.map.compact(new.ids)
            for asked, _ in filter(None, (self.window, self.whole)):
                if number is not None:
                    asked.points = np.where(asked.points >= 0, number[np.maximum(asked.points, 0)], -1)
        self.tracks = Tracks(new.ids, new.pixel, new.pixel)
        self.unasked, self.unlinked, self.unrecognised = True, depth_m, self.config.loops
        for old in self.map.keyframes[:-30]:
            old.grey = None

    def _connect(self, new: Keyframe) -> None:
        """Notes what the inertial sensor says since the keyframe before."""
        last = self.map.keyframes[-1]
        if last.part != new.part:
            return
        part = self.between(last.time_s, new.time_s)
        if part is None or self.map.imu is None:
            return
        new.since = last.number, part
        if last.motion is not None:
            new.motion = foretold(last.camera_from_world, last.motion, self.map.imu.camera_from_imu, part)
        elif self.part in self.metric and self.part in self.is_upright:  # samples were missing for a while
            known = [k.motion for k in self.map.keyframes if k.motion is not None]
            self.map.start_motion([last, new], known[-1][3:] if known else np.zeros(6))

    def _find_again(
        self,
        new: Keyframe,
        near: list[Keyframe],
        tried: Int64[np.ndarray, " t"],
        depth_m: Float[np.ndarray, "h w"] | None,
    ) -> Int64[np.ndarray, " s"]:
        """Follows points of some neighbours that should be in the picture but were lost on the way.

        Args:
            new: the keyframe.
            near: the neighbours.
            tried: points that were looked for already.
            depth_m: of the keyframe.

        Returns:
            Points that were looked for until now.
        """
        config, h, w = self.config, self.camera.height, self.camera.width
        for other in near:
            if other.grey is None or new.grey is None:
                continue
            missing = ~np.isin(other.ids, new.ids, assume_unique=True) & self.map.known(other.ids)
            missing &= ~np.isin(other.ids, tried, assume_unique=True)
            xyz = poses.transform(new.camera_from_world, self.map.xyz[other.ids[missing]])
            guess = pixels(self.camera, xyz)
            with np.errstate(invalid="ignore"):
                inside = ((guess > 8) & (guess < (w - 9, h - 9))).all(1)
            then = poses.transform(other.camera_from_world, self.map.xyz[other.ids[missing]])[:, 2]
            inside &= np.abs(np.log(np.maximum(xyz[:, 2], 1e-6) / np.maximum(then, 1e-6))) < 0.25
            if inside.sum() < 5:
                continue
            ids, uv = other.ids[missing][inside], other.pixel[missing][inside]
            guess = guess[inside] + (guess[inside] - self._at_once(guess[inside]))
            there, found = follow(other.grey, new.grey, uv, guess, patch_px=config.patch_px, levels=2)
            found &= np.abs(there - guess).max(1) < 2 * config.outlier_px * self.scale
            inverse_depth = self._depth(depth_m, there)
            with np.errstate(invalid="ignore"):
                off = np.abs(inverse_depth - 1 / xyz[inside, 2]) > 4 * config.inverse_depth_sigma
            found &= ~off
            new.add(ids[found], self._at_once(there[found]), there[found], inverse_depth[found])
            tried = np.r_[tried, ids]
        return tried

    def _link_surfaces(self, new: Keyframe, depth_m: Float[np.ndarray, "h w"]) -> None:
        """Aligns the keyframe's depth with the surfaces of neighbours; each alignment is a link."""
        config = self.config
        if config.surface_weight == 0:
            return
        for other in self.map.neighbours(new, config.surface_links):
            if other.surface is None:
                continue
            pose = new.camera_from_world @ poses.inverse(other.camera_from_world)
            hessian, count = np.zeros((6, 6)), 0
            for _ in range(10):
                hessian, gradient, count = normal_equations(
                    other.surface, pose, depth_m, self.camera, config.surface_sigma
                )
                step = -np.linalg.solve(hessian + 1e-3 * np.eye(6), gradient)
                pose = moved(pose, step)
                if np.abs(step).max() < 1e-5:
                    break
            if count > 0.3 * len(other.surface.xyz):
                self.map.links.append(Link(other.number, new.number, pose, np.asarray(config.surface_weight * hessian)))

    def _add_corners(
        self,
        new: Keyframe,
        depth_m: Float[np.ndarray, "h w"] | None,
        rgb: UInt8[np.ndarray, "h w 3"] | None,
        peaks: Int64[np.ndarray, "p 2"] | None = None,
    ) -> None:
        """New points where the keyframe has corners that are none yet; the arguments as `_Unfinished` has them."""
        config = self.config
        assert new.grey is not None
        apart = config.corner_distance_px * self.scale
        uv = find_corners(new.grey, new.pixel, config.corners, config.cells, apart, peaks)
        u, v = np.round(uv).astype(int).T
        colour = np.repeat(new.grey[v, u][:, None], 3, 1) if rgb is None else rgb[v, u]
        ids = self.map.new_points(np.full((len(uv), 3), np.nan), colour)
        new.add(ids, self._at_once(uv), uv, self._depth(depth_m, uv))
        if len(new.ids) < max(2 * config.min_inliers, 0.15 * config.corners):
            self.trouble = f"hardly any texture: {len(new.ids)} corners (darkness, blur, a bare wall, a covered lens?)"

    # ------------------------------------------------------------------------------------ what is done frames later

    def _ask(self, asked: Asked | None) -> tuple[Asked, Answer] | None:
        return None if asked is None else (asked, self.solver.give(asked.job))

    def _ask_window(self, clock: _Clock) -> None:
        """Links the newest keyframe to others by its depth, and asks for the adjustment around it."""
        if not self.unasked:
            return
        newest, depth_m = self.map.keyframes[-1], self.unlinked
        self.unasked, self.unlinked = False, None
        if depth_m is not None:
            self._link_surfaces(newest, depth_m)
            clock("surfaces")
        self.window = self._ask(self.map.ask_around(newest, self.frame + self.config.adjust_frames))
        clock("adjust")

    def _settle_due(self, clock: _Clock) -> None:
        """What is due by this frame's number: the newest keyframe is adjusted, described, its place is looked for."""
        newest = self.map.keyframes[-1]
        waits = self.window is not None and self.frame < self.window[0].due
        if newest.frame == self.frame - 1:
            return  # it was finished in this frame
        if self.unasked:
            self._ask_window(clock)
        elif newest.look is None and newest.grey is not None and self.mapping:
            self._look(newest)
            clock("places")
        elif (self.unrecognised or self.window is not None) and not waits:
            self._settle(clock)
        if self.whole is not None and self.frame >= self.whole[0].due:
            self._settle(clock)  # which may close another loop: its map waits for its own time
            if self.whole is not None and self.frame >= self.whole[0].due:
                self._take_whole()
                clock("adjust all")

    def _settle(self, clock: _Clock) -> None:
        """The same now, before something else may change the map."""
        if not self.map.keyframes or not self.mapping:
            return
        newest = self.map.keyframes[-1]
        self._ask_window(clock)
        if newest.look is None:
            self._look(newest)
            clock("places")
        self._take_window()
        clock("adjust")
        if self.unrecognised and self.state not in ("lost", "starting"):
            self.unrecognised = False
            self._recognise(newest)
            clock("places")

    def _look(self, keyframe: Keyframe) -> None:
        if keyframe.grey is not None:
            told = self.describing
            whole = told[1].result() if told is not None and told[0] == keyframe.number else None
            keyframe.look = look_of(keyframe.grey, keyframe.pixel, self.describe if whole is None else lambda _: whole)
            keyframe.look_ids, self.look_uv = keyframe.ids.copy(), keyframe.uv

    def _take_window(self) -> None:
        """Takes over the adjustment around the newest keyframe; waits for it if it has to."""
        if self.window is None:
            return
        (asked, answer), self.window = self.window, None
        with self._moving():
            gone = self.map.take(asked, answer.wait())
        self.tracks.keep(~np.isin(self.tracks.ids, gone))
        self.settled = True

    def _take_whole(self) -> None:
        """Takes over the adjustment of all keyframes; waits for it if it has to."""
        if self.whole is None:
            return
        (asked, answer), self.whole = self.whole, None
        size = asked.growth(answer.wait())
        if size != 1 and asked.part != self.part:  # of a part that was left
            return
        if size != 1:
            self._apply(self.map.turn_and_scale(self.part, np.eye(3), size), np.eye(3), size)
        with self._moving():
            self.map.take(asked, answer.wait())

    def refine(self) -> None:
        """Asks for an adjustment of all keyframes with the inertial samples, which finds their size better."""
        mine = sum(k.part == self.part for k in self.map.keyframes)
        if self.whole is None and mine <= _MOST_INERTIAL:
            due = self.frame + (_WHOLE_FRAMES + mine if self.config.adjust_frames else 0)
            self.whole = self._ask(self.map.ask_inertial(self.part, due=due))
            if self.config.adjust_frames == 0:
                self._take_whole()

    @contextmanager
    def _moving(self, factor: Callable[[int], float] = lambda _: 1.0) -> Iterator[None]:
        """Whatever moves the last keyframe meanwhile moves this frame along.

        Args:
            factor: by how much lengths in a keyframe's coordinates grow meanwhile, by its number; asked at the end.
        """
        last = self.reference
        before = np.eye(4) if last is None else poses.inverse(last.camera_from_world)
        yield
        if last is not None and last.number >= 0:
            relative, size = self.pose @ before, factor(last.number)
            relative[:3, 3] *= size
            self.pose = relative @ last.camera_from_world
            self.speed = poses.compose(self.speed[:3, :3], size * self.speed[:3, 3])

    def now(self) -> tuple[Map, Way]:
        """Map and way with the adjustments that are not taken over yet; what is done to them changes nothing here."""
        asked = [one for one in (self.window, self.whole) if one is not None]
        if not asked:
            return self.map, self.way
        out, way = self.map.copy(), self.way
        for job, answer in asked:
            size = job.growth(answer.wait())
            if size != 1:
                way = replace(way, camera_from_keyframe=way.camera_from_keyframe.copy())
                way.scale(out.turn_and_scale(job.part, np.eye(3), size).factor)
            out.take(job, answer.wait())
        return out, way

    # ------------------------------------------------------------------------------------------- places seen again

    def _recognise(self, new: Keyframe) -> None:
        """Looks for the keyframe's place among old ones; joins parts of the map or closes a loop."""
        config = self.config
        if self.map.made % 2 and self.part == 0:  # every other keyframe is enough where nothing is broken
            return
        near = {k.number for k in self.map.neighbours(new, len(self.map.keyframes), 5)}
        near |= set(range(new.number - 10, new.number + 1))
        old = [k for k in self.map.keyframes if k.number not in near or k.part != new.part]
        seen = self._see_again(new.look, self.look_uv, old, 30, 0.3)
        if seen is None:
            return
        other = next(k for k in old if np.isin(k.ids, seen.points).any())
        self.whole = None  # the map is about to have another shape
        factor: dict[int, float] = {}
        with self._moving(lambda number: factor.get(number, 1.0)):
            close = self.map.join if other.part != new.part else self.map.close_loop
            changed = close(new, seen, with_scale=not self.with_depth)
            factor.update(changed.factor)
        self.part = new.part
        self.way.scale(changed.factor)
        if changed.number is not None:
            ids, once = np.unique(changed.number[self.tracks.ids], return_index=True)
            self.tracks = Tracks(ids, self.tracks.uv[once], self.tracks.origin[once])
        if config.adjust_all:
            due = self.frame + (_WHOLE_FRAMES + len(self.map.keyframes) // 2 if config.adjust_frames else 0)
            self.whole = self._ask(self.map.ask_all(new.part, due=due))
            if config.adjust_frames == 0:
                self._take_whole()
        else:
            self.window = self._ask(self.map.ask_around(new, self.frame))
            self._take_window()
        self.state = "loop closed"

    def _see_again(
        self,
        look: Look | None,
        uv: Float64[np.ndarray, "n 2"],
        old: list[Keyframe],
        least: int,
        alike_at_least: float,
    ) -> Seen | None:
        """The first of the keyframes that look most alike whose points fit."""
        with_look = [k for k in old if k.look is not None]
        if look is None or not with_look:
            return None
        alike = resemblance(look, [k.look for k in with_look if k.look is not None])
        for i in np.argsort(-alike, kind="stable")[: self.config.candidates]:
            other = with_look[int(i)]
            if alike[i] < alike_at_least or other.look is None:
                break
            seen = see_again(
                self.camera,
                look,
                uv,
                other.look,
                other.look_ids,
                self.map.places_of(other.look_ids),
                outlier_px=self.config.outlier_px * self.scale,
                least=least,
            )
            if seen is not None:
                return seen
        return None

    def _relocalise(
        self,
        grey: UInt8[np.ndarray, "h w"],
        time_s: float,
        depth_m: Float[np.ndarray, "h w"] | None,
        clock: _Clock,
    ) -> None:
        """Looks for the frame's place in the map; after some frames without it a new part of the map begins."""
        config = self.config
        self._settle(clock)
        self.lost += 1
        self.flow = np.zeros((6, 2))
        uv = find_corners(grey, np.zeros((0, 2)), config.corners, config.cells, config.corner_distance_px * self.scale)
        look = look_of(grey, uv, self.describe)
        seen = self._see_again(look, self._at_once(uv), self.map.keyframes[::-1], config.min_inliers, -1.0)
        clock("relocalise")
        if seen is None:
            if self.turn is not None:  # so that a new part begins as it is turned
                self.pose = poses.compose(self.turn, np.zeros(3)) @ self.pose
            if self.lost > config.lost_frames and self.mapping:
                self.part = 1 + max(k.part for k in self.map.keyframes)
                self.state = "starting"
                self._first_keyframe(grey, time_s, depth_m)
            return
        order = np.argsort(seen.points, kind="stable")
        ids, first = np.unique(seen.points[order], return_index=True)
        places = uv[seen.query[order][first]]
        self.pose, self.speed, self.inliers = seen.camera_from_world, np.eye(4), len(ids)
        # By what is kept of its look: points that adjustment has dropped from all keyframes are found by it as well.
        self.part = next(k.part for k in self.map.keyframes if np.isin(k.look_ids, ids).any())
        self.tracks = Tracks(ids, places, places)
        if self.mapping:
            self._keyframe(grey, time_s, depth_m, clock)
            self._finish_keyframe(clock)
        else:
            self._refer(grey, depth_m)
        self.state = "relocalised"
        self._remember(time_s)

    def _refer(self, grey: UInt8[np.ndarray, "h w"], depth_m: Float[np.ndarray, "h w"] | None) -> None:
        """Follows corners from this frame on, which does not become part of the map."""
        tracks = self.tracks
        uv = self._at_once(tracks.uv)
        none = np.full(len(uv), np.nan)
        self.reference = Keyframe(
            -1, self.frame, 0.0, self.pose, tracks.ids, uv, tracks.uv, none, grey, part=self.part
        )  # fmt: skip
        self.tracks = Tracks(tracks.ids, tracks.uv, tracks.uv)

    def _look_around(self, grey: UInt8[np.ndarray, "h w"], depth_m: Float[np.ndarray, "h w"] | None) -> None:
        """Only placed in the map: looks for further points of it in this frame, and follows from here on."""
        config = self.config
        known = self.map.known(self.tracks.ids)
        self.tracks.keep(known)
        uv = find_corners(grey, np.zeros((0, 2)), config.corners, config.cells, config.corner_distance_px * self.scale)
        order = np.argsort(-self.map.shared(self.tracks.ids), kind="stable")[: config.candidates]
        near = [self.map.keyframes[int(i)] for i in order]
        seen = self._see_again(look_of(grey, uv, self.describe), self._at_once(uv), near, config.min_inliers, -1.0)
        if seen is not None:
            fresh = ~np.isin(seen.points, self.tracks.ids)
            ids, once = np.unique(seen.points[fresh], return_index=True)
            both = np.r_[self.tracks.ids, ids]
            order = np.argsort(both, kind="stable")
            places = np.concatenate([self.tracks.uv, uv[seen.query[fresh][once]]])[order]
            self.tracks = Tracks(both[order], places, places)
        self._refer(grey, depth_m)

    # ------------------------------------------------------------------------------------------------- starting

    def _first_keyframe(
        self, grey: UInt8[np.ndarray, "h w"], time_s: float, depth_m: Float[np.ndarray, "h w"] | None
    ) -> None:
        """The first frame is the world's origin; with depth it is all that is needed."""
        start = self.pose if self.with_depth else np.eye(4)
        first = Keyframe(
            self.map.made,
            self.frame,
            time_s,
            start,
            np.zeros(0, int),
            np.zeros((0, 2)),
            np.zeros((0, 2)),
            np.zeros(0),
            grey,
            part=self.part,
        )
        if depth_m is not None:
            first.surface = surface_of(depth_m, self.camera, self.config.surface_points, self.config.max_depth_m)
        self._add_corners(first, depth_m, self.rgb)
        self._look(first)
        self.map.keyframes.append(first)
        self.reference, self.window = first, None
        self.unasked, self.unlinked, self.unrecognised = False, None, False
        self.map.made += 1
        self.map.triangulate(first)
        self.map.compact(first.ids)
        self.tracks = Tracks(first.ids, first.pixel, first.pixel)
        self.pose, self.speed, self.waiting = start, np.eye(4), []
        self.made_keyframe = True
        self.inliers = int(self.map.known(first.ids).sum())
        if self.inliers >= self.config.min_inliers:
            self.state = "tracking"
            self._remember(time_s)

    def _start(self, grey: UInt8[np.ndarray, "h w"], time_s: float, depth_m: Float[np.ndarray, "h w"] | None) -> None:
        """One camera: the motion between the first keyframe and this frame, once there is parallax."""
        config, tracks, first = self.config, self.tracks, self.map.keyframes[-1]
        if depth_m is not None or len(tracks.ids) < max(40, 0.3 * len(first.ids)):
            self.map.keyframes.pop()  # too little is left to see, or depth has come: begin anew with this frame
            self._first_keyframe(grey, time_s, depth_m)
            return
        self.waiting = [*self.waiting[-_WAITING:], (self.frame, time_s, tracks.ids, self._at_once(tracks.uv))]
        motion = np.abs(tracks.uv - tracks.origin).max(1)
        if np.median(motion) < config.start_parallax_px * self.scale:
            return
        views = two_views(
            self.camera,
            first.uv[np.searchsorted(first.ids, tracks.ids)],
            self._at_once(tracks.uv),
            min_parallax_deg=config.min_parallax_deg,
            outlier_px=config.outlier_px * self.scale,
        )
        if views is None:
            if len(self.waiting) > _PATIENCE:
                self.trouble = "one camera starts when it is moved sideways: until now it only turns, or hardly moves"
            return
        size = np.median(views.xyz[views.good, 2])  # the unit of length: the median depth is 1
        self.map.xyz[tracks.ids[views.good]] = views.xyz[views.good] / size
        self.pose = views.second_from_first.copy()
        self.pose[:3, 3] /= size
        tracks.keep(views.good)
        self._keyframe(grey, time_s, None, _Clock({}))
        self._finish_keyframe(_Clock({}))
        self._ask_window(_Clock({}))
        self._take_window()  # the frames before it are placed by its points
        self.inliers = int(views.good.sum())
        if self.state == "starting":
            self.state = "tracking"
        self._fill_start()

    def _fill_start(self) -> None:
        """Poses of the frames before the start, now that their points are known."""
        first, second = self.map.keyframes[-2:]
        self.way.add(first.frame, first.time_s, first.number, np.eye(4))
        pose = np.eye(4)
        for frame, time_s, ids, uv in self.waiting[:-1]:
            known = self.map.known(ids)
            none = np.full(known.sum(), np.nan)
            pose, inlier = self._fit(pose, self.map.xyz[ids[known]], uv[known], none)
            if inlier.sum() >= self.config.min_inliers:
                self.way.add(frame, time_s, first.number, pose @ poses.inverse(first.camera_from_world))
        self.speed = np.eye(4)
        self.way.add(second.frame, second.time_s, second.number, np.eye(4))
        self.waiting = []

    def weigh(self, found: Start) -> None:
        """Turns the current part of the map so that z points up, and gives a single camera's part its size.

        Args:
            found: gravity and scale in the map's world.
        """
        scale = 1.0 if self.with_depth else found.scale
        self._apply(self.map.turn_and_scale(self.part, found.upright, scale), found.upright, scale)
        self.is_upright.add(self.part)
        self.metric.add(self.part)
        mine = [k for k in self.map.keyframes if k.part == self.part]
        self.map.start_motion(mine, np.r_[found.gyroscope_bias, found.accelerometer_bias])

    def _apply(self, changed: Moved, turn: Float64[np.ndarray, "3 3"], scale: float) -> None:
        for asked, _ in filter(None, (self.window, self.whole)):
            asked.turn, asked.scale = turn @ asked.turn, scale * asked.scale
        self.way.scale(changed.factor)
        self.pose = poses.compose(self.pose[:3, :3] @ turn.T, scale * self.pose[:3, 3])
        self.speed = poses.compose(self.speed[:3, :3], scale * self.speed[:3, 3])
        if self.reference is not None and self.reference.number < 0:
            before = self.reference.camera_from_world
            self.reference.camera_from_world = poses.compose(before[:3, :3] @ turn.T, scale * before[:3, 3])

    @property
    def lengths_are_metres(self) -> bool:
        """Whether all parts of the map are of true size."""
        return self.with_depth or (bool(self.metric) and {k.part for k in self.map.keyframes} <= self.metric)

    # --------------------------------------------------------------------------------------------------- answers

    def trajectory(
        self,
    ) -> tuple[
        Int64[np.ndarray, " n"], Float64[np.ndarray, " n"], Float64[np.ndarray, "n 4 4"], Int64[np.ndarray, " n"]
    ]:
        """(frame numbers, times, world_from_camera, parts of the map) of all tracked frames, as the map says now."""
        map, way = self.now()
        rows, matrices = way.world_from_camera({k.number: k.camera_from_world for k in map.keyframes})
        part = {k.number: k.part for k in map.keyframes}
        parts = np.array([part[int(n)] for n in way.keyframe[rows]], np.int64)
        return way.frame[rows], way.time_s[rows], matrices, parts


def quadratic(uv: Float64[np.ndarray, "n 2"]) -> Float64[np.ndarray, "n 6"]:
    """1, u, v, u², uv, v² of places, in thousands of pixels."""
    u, v = uv[:, 0] / 1000, uv[:, 1] / 1000
    return np.stack([np.ones(len(uv)), u, v, u * u, u * v, v * v], 1)


def fit_flow(uv: Float64[np.ndarray, "n 2"], velocity: Float64[np.ndarray, "n 2"]) -> Float64[np.ndarray, "6 2"]:
    """How the picture moves, pixels a frame, as a quadratic function of the place; robust against single points."""
    if len(uv) < 30:
        return np.zeros((6, 2))
    basis, weight = quadratic(uv), np.ones(len(uv))
    for _ in range(3):
        flow = np.linalg.lstsq(basis * weight[:, None], velocity * weight[:, None], rcond=1e-6)[0]
        weight = 1 / np.maximum(1, np.linalg.norm(basis @ flow - velocity, axis=1))
    return flow


@dataclass(frozen=True)
class _Unfinished:
    """A keyframe's work that is left to the next frame.

    Attributes:
        keyframe: the newest.
        near: neighbours whose points are still to be looked for in it.
        tried: points that were looked for already.
        depth_m, rgb: of it.
        peaks: where it has corners.
    """

    keyframe: Keyframe
    near: list[Keyframe]
    tried: Int64[np.ndarray, " t"]
    depth_m: Float[np.ndarray, "h w"] | None
    rgb: UInt8[np.ndarray, "h w 3"] | None
    peaks: Int64[np.ndarray, "p 2"]


class _Clock:
    """Adds the milliseconds since it was last called to a part."""

    def __init__(self, parts: dict[str, float]) -> None:
        self.parts, self.last = parts, time.perf_counter()

    def __call__(self, part: str) -> None:
        now = time.perf_counter()
        self.parts[part] = self.parts.get(part, 0.0) + 1e3 * (now - self.last)
        self.last = now
