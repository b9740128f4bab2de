"""The map: keyframes, the points they see, and how both are adjusted and kept small."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8
from scipy import sparse

from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics
from percepta.geometry.imu import Imu
from percepta.systems.slam import Config
from percepta.systems.slam.adjust import Adjusted, Link, Problem
from percepta.systems.slam.coupled import Chain, velocities
from percepta.systems.slam.inertial import Integrated
from percepta.systems.slam.places import Look, Seen
from percepta.systems.slam.posegraph import Similarities, optimise
from percepta.systems.slam.solver import Job
from percepta.systems.slam.surface import Surface
from percepta.systems.slam.twoview import bearing, pixels, triangulate


@dataclass
class Keyframe:
    """A frame that is kept, and what it sees. Arrays are replaced, never changed, so that a journal sees what is new.

    Attributes:
        number: of the keyframe; they count up and are never used twice.
        frame: number of the frame.
        time_s: when it was taken.
        camera_from_world: its pose.
        ids: numbers of the points it sees, ascending.
        uv: where it sees them, pixels, as if all rows were read at once.
        pixel: where they are in the picture.
        inverse_depth: as measured there, 1/m; NaN where it was not.
        part: of the map: after a loss a new part begins, until a place is seen again that joins them.
        surface: what its depth shows; None without depth.
        look: what it looks like, to see the place again.
        look_ids: the points of the corners that `look` numbers; −1 for those that are forgotten.
        grey: the picture; None once it is too old to find points in it again.
        since: number of the keyframe before, and the samples of the inertial sensor since; None without.
        motion: velocity in the world and biases of the sensor; None while gravity is not known.
    """

    number: int
    frame: int
    time_s: float
    camera_from_world: Float64[np.ndarray, "4 4"]
    ids: Int64[np.ndarray, " n"]
    uv: Float64[np.ndarray, "n 2"]
    pixel: Float64[np.ndarray, "n 2"]
    inverse_depth: Float64[np.ndarray, " n"]
    grey: UInt8[np.ndarray, "h w"] | None = None
    surface: Surface | None = None
    part: int = 0
    look: Look | None = None
    look_ids: Int64[np.ndarray, " m"] = field(default_factory=lambda: np.zeros(0, np.int64))
    since: tuple[int, Integrated] | None = None
    motion: Float64[np.ndarray, " 9"] | None = None

    def place(self, camera_from_world: Float64[np.ndarray, "4 4"], factor: float = 1.0) -> None:
        """Moves the keyframe, and its velocity along; `factor`: of lengths meanwhile."""
        if self.motion is not None:
            turn = camera_from_world[:3, :3].T @ self.camera_from_world[:3, :3]
            self.motion = np.r_[factor * turn @ self.motion[:3], self.motion[3:]]
        self.camera_from_world = camera_from_world

    def keep(self, kept: Bool[np.ndarray, " n"]) -> None:
        """Forgets all other observations."""
        if not kept.all():
            self.ids, self.uv, self.pixel = self.ids[kept], self.uv[kept], self.pixel[kept]
            self.inverse_depth = self.inverse_depth[kept]

    def add(
        self,
        ids: Int64[np.ndarray, " m"],
        uv: Float64[np.ndarray, "m 2"],
        pixel: Float64[np.ndarray, "m 2"],
        inverse_depth: Float64[np.ndarray, " m"],
    ) -> None:
        """Adds observations of points that it does not see yet.

        Args:
            ids: numbers of the points.
            uv: where they are seen, pixels, as if all rows were read at once.
            pixel: where they are in the picture.
            inverse_depth: measured, 1/m; NaN: none.
        """
        both = np.r_[self.ids, ids]
        order = np.argsort(both, kind="stable")
        self.ids = both[order]
        self.uv = np.concatenate([self.uv, uv])[order]
        self.pixel = np.concatenate([self.pixel, pixel])[order]
        self.inverse_depth = np.r_[self.inverse_depth, inverse_depth][order]

    def renumber(self, number: Int64[np.ndarray, " p"]) -> None:
        """Gives points other numbers: `number[old]`, −1 for forgotten ones. Those that get one number become one."""
        ids = number[self.ids]
        _, once = np.unique(ids, return_index=True)
        once = once[ids[once] >= 0]
        self.ids, self.uv, self.pixel = ids[once], self.uv[once], self.pixel[once]
        self.inverse_depth = self.inverse_depth[once]
        self.look_ids = np.where(self.look_ids >= 0, number[np.maximum(self.look_ids, 0)], -1)


@dataclass(frozen=True)
class Moved:
    """What a closed loop or a join did.

    Attributes:
        factor: {number of a keyframe: factor of lengths in its coordinates}.
        number: new number of each point: some turned out to be the same. None: as they were.
    """

    factor: dict[int, float]
    number: Int64[np.ndarray, " p"] | None = None


@dataclass
class Asked:
    """An adjustment that was asked for. Meanwhile the map may be turned or grow, and points may get other numbers.

    Attributes:
        job: what is solved.
        views: numbers of its keyframes.
        free: how many of them, from the first, move.
        points: numbers of its points; −1 for forgotten ones.
        part: of the map.
        newest: number of the newest keyframe when it was asked for.
        due: number of the frame at which the answer is taken over.
        turn, scale: what was done to the world since.
    """

    job: Job
    views: list[int]
    free: int
    points: Int64[np.ndarray, " p"]
    part: int
    newest: int
    due: int
    turn: Float64[np.ndarray, "3 3"] = field(default_factory=lambda: np.eye(3))
    scale: float = 1.0

    def growth(self, answer: Adjusted) -> float:
        """By how much an answer makes the way from keyframe to keyframe longer: 1 unless an inertial sensor says so."""
        if not self.job.slow or self.job.problem.more is None:
            return 1.0
        before, after = (poses.inverse(each)[:, :3, 3] for each in (self.job.problem.poses, answer.poses))
        steps = [float((np.diff(each, axis=0) ** 2).sum()) for each in (before, after)]
        return float(np.sqrt(steps[1] / steps[0])) if min(steps) > 0 else 1.0


@dataclass
class Map:
    """Keyframes in the order of time, and points by number.

    Attributes:
        camera: pinhole intrinsics.
        config: the settings.
        keyframes: those that are kept.
        xyz: of each point, in the world; NaN where it is not known (yet, or any more).
        colour: of each point, RGB.
        links: what is known of pairs of keyframes besides the points they share.
        made: how many keyframes were ever made.
        imu: the inertial sensor, before the straightened camera; None without one.
    """

    camera: Intrinsics
    config: Config
    keyframes: list[Keyframe] = field(default_factory=list)
    xyz: Float64[np.ndarray, "p 3"] = field(default_factory=lambda: np.zeros((0, 3)))
    colour: UInt8[np.ndarray, "p 3"] = field(default_factory=lambda: np.zeros((0, 3), np.uint8))
    links: list[Link] = field(default_factory=list)
    made: int = 0
    imu: Imu | None = None

    def new_points(self, xyz: Float64[np.ndarray, "n 3"], colour: UInt8[np.ndarray, "n 3"]) -> Int64[np.ndarray, " n"]:
        """Numbers for new points; NaN where a point's place is not known yet."""
        first = len(self.xyz)
        self.xyz, self.colour = np.concatenate([self.xyz, xyz]), np.concatenate([self.colour, colour])
        return np.arange(first, len(self.xyz))

    def known(self, ids: Int64[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
        """Whether the places of points are known."""
        return np.isfinite(self.xyz[ids, 0])

    def places_of(self, ids: Int64[np.ndarray, " n"]) -> Float64[np.ndarray, "n 3"]:
        """Places of points; NaN where one is not known or forgotten (−1)."""
        if not len(self.xyz):
            return np.full((len(ids), 3), np.nan)
        return np.where((ids >= 0)[:, None], self.xyz[np.maximum(ids, 0)], np.nan)

    def shared(self, ids: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " k"]:
        """How many of some points each keyframe sees."""
        mark = np.zeros(len(self.xyz), bool)
        mark[ids] = True
        return np.array([int(mark[k.ids].sum()) for k in self.keyframes], np.int64)

    def neighbours(self, keyframe: Keyframe, most: int, least_shared: int = 15) -> list[Keyframe]:
        """Keyframes that see the same points, those with the most first.

        Args:
            keyframe: whose neighbours.
            most: how many at most.
            least_shared: points that both have to see.
        """
        counts = zip(self.shared(keyframe.ids).tolist(), self.keyframes, strict=True)
        good = [(n, k.number, k) for n, k in counts if k is not keyframe and n >= least_shared]
        return [other for _, _, other in sorted(good, key=lambda s: (-s[0], -s[1]))[:most]]

    def triangulate(self, keyframe: Keyframe) -> int:
        """Finds the places of points that the keyframe and an earlier one see with enough parallax; how many."""
        unknown = ~self.known(keyframe.ids)
        ids = keyframe.ids[unknown]
        measured = np.isfinite(keyframe.inverse_depth[unknown])
        ray = bearing(self.camera, keyframe.uv[unknown])
        world_from_camera = poses.inverse(keyframe.camera_from_world)
        # With depth one view is enough.
        own = ray[measured] / keyframe.inverse_depth[unknown][measured, None]
        self.xyz[ids[measured]] = poses.transform(world_from_camera, own)
        # Without, the earliest view has the widest angle.
        waiting = ids[~measured]
        for other, count in zip(self.keyframes, self.shared(waiting).tolist(), strict=True):
            if other is keyframe or not count or not len(waiting):
                continue
            _, mine, theirs = np.intersect1d(waiting, other.ids, assume_unique=True, return_indices=True)
            if not len(mine):
                continue
            mine = np.searchsorted(ids, waiting[mine])
            other_from_camera = other.camera_from_world @ world_from_camera
            xyz, angle = triangulate(bearing(self.camera, other.uv[theirs]), ray[mine], other_from_camera)
            here = poses.transform(poses.inverse(other_from_camera), xyz)
            with np.errstate(invalid="ignore"):
                error = np.maximum(
                    np.abs(pixels(self.camera, xyz) - other.uv[theirs]).max(1),
                    np.abs(pixels(self.camera, here) - keyframe.uv[unknown][mine]).max(1),
                )
                good = (angle > self.config.min_parallax_deg) & (error < self.config.outlier_px)
                good &= (xyz[:, 2] > 0) & (here[:, 2] > 0)
            self.xyz[ids[mine[good]]] = poses.transform(poses.inverse(other.camera_from_world), xyz[good])
            waiting = np.setdiff1d(waiting, ids[mine[good]], assume_unique=True)
        return int(unknown.sum() - len(waiting))

    # ------------------------------------------------------------------------------------------------- adjustment

    def problem(self, free: list[Keyframe], fixed: list[Keyframe]) -> tuple[Problem, Int64[np.ndarray, " p"]] | None:
        """Some keyframes with all points that the free ones see, and these points' numbers; None for too few.

        Args:
            free: keyframes that move.
            fixed: keyframes that hold the points in place.
        """
        views = [*free, *fixed]
        ids = np.unique(np.concatenate([k.ids for k in free]))
        ids = ids[self.known(ids)]
        parts = []
        for i, k in enumerate(views):
            mine = np.isin(k.ids, ids, assume_unique=True)
            parts.append((np.full(mine.sum(), i), k.ids[mine], k.uv[mine], k.inverse_depth[mine]))
        camera_of, point, uv, inverse_depth = (np.concatenate(part) for part in zip(*parts, strict=True))
        # A point that one keyframe sees and without depth says nothing.
        count = np.bincount(np.searchsorted(ids, point), minlength=len(ids))
        useful = (count[np.searchsorted(ids, point)] > 1) | np.isfinite(inverse_depth)
        camera_of, point, uv, inverse_depth = (a[useful] for a in (camera_of, point, uv, inverse_depth))
        if len(point) < 10:
            return None
        ids = np.unique(point)
        problem = Problem(
            np.stack([k.camera_from_world for k in views]),
            np.arange(len(views)) >= len(free),
            self.xyz[ids],
            camera_of,
            np.searchsorted(ids, point),
            uv,
            inverse_depth,
            self._links_between(views),
            self._chain(views, len(free)),
        )
        return problem, ids

    def ask_around(self, keyframe: Keyframe, due: int = 0) -> Asked | None:
        """Local bundle adjustment: the keyframe and its neighbours move, whoever else sees their points holds them.

        Args:
            keyframe: the newest one.
            due: number of the frame at which the answer is taken over.
        """
        config = self.config
        near = self.neighbours(keyframe, config.window - 1)
        free = [keyframe, *near]
        oldest = next(k for k in self.keyframes if k.part == keyframe.part)
        chosen = {k.number for k in free}
        counts = self.shared(np.unique(np.concatenate([k.ids for k in free]))).tolist()
        shared = [(n, k) for n, k in zip(counts, self.keyframes, strict=True) if k.number not in chosen and n >= 5]
        fixed = [k for _, k in sorted(shared, key=lambda s: (-s[0], -s[1].number))][: config.window]
        # The frame of reference has to be held: by the first keyframe, or by the oldest two for one camera.
        anchors = sorted(free, key=lambda k: k.number)
        need = 1 if np.isfinite(keyframe.inverse_depth).any() else 2
        held = [k for k in anchors if k is oldest]
        while len(fixed) + len(held) < need and len(held) < len(anchors) - 1:
            held.append(next(k for k in anchors if k not in held))
        free, fixed = [k for k in free if k not in held], [*held, *fixed]
        # What the inertial sensor says begins at the keyframe before each one.
        there = {k.number for k in (*free, *fixed)}
        starts = {k.since[0] for k in free if k.since is not None and k.motion is not None} - there
        fixed += [k for k in self.keyframes if k.number in starts and k.motion is not None]
        made = self.problem(free, fixed) if free else None
        if made is None:
            return None
        job = self._job(made[0], config.iterations)
        return Asked(job, [k.number for k in (*free, *fixed)], len(free), made[1], keyframe.part, keyframe.number, due)

    def ask_all(self, part: int, iterations: int = 6, due: int = 0) -> Asked | None:
        """Adjusts all keyframes of a part together, as after a closed loop; the first one, or two, hold the frame.

        Args:
            part: of the map.
            iterations: most steps.
            due: number of the frame at which the answer is taken over.
        """
        mine = [k for k in self.keyframes if k.part == part]
        made = self.problem(mine, []) if len(mine) > 2 else None
        if made is None:
            return None
        held = 1 if made[0].more is not None or np.isfinite(made[0].inverse_depth).any() else 2
        problem = replace(made[0], fixed=np.arange(len(mine)) < held)
        job = replace(self._job(problem, iterations), whole=True, slow=True)
        return Asked(job, [k.number for k in mine], len(mine), made[1], part, mine[-1].number, due)

    def ask_inertial(self, part: int, iterations: int = 10, due: int = 0) -> Asked | None:
        """Adjusts all keyframes of an upright part with the inertial samples; none is held, so its size may change.

        Poses that are a little wrong make the closed form of `inertial.start` find lengths too short: an unknown that
        is multiplied with what is noisy is drawn to 0. Here the poses are unknown, too.

        Args:
            part: of the map.
            iterations: most steps.
            due: number of the frame at which the answer is taken over.
        """
        mine = [k for k in self.keyframes if k.part == part]
        made = self.problem(mine, []) if len(mine) > 4 else None
        if made is None or made[0].more is None:
            return None
        job = replace(self._job(made[0], iterations), whole=True, slow=True)
        return Asked(job, [k.number for k in mine], len(mine), made[1], part, mine[-1].number, due)

    def _job(self, problem: Problem, iterations: int) -> Job:
        sigma, robust_px = self.config.inverse_depth_sigma, self.config.outlier_px / 2
        return Job(problem, self.camera, sigma, robust_px, iterations)

    def take(self, asked: Asked, answer: Adjusted) -> Int64[np.ndarray, " n"]:
        """Takes over an answer. What was added since it was asked for moves with the newest keyframe of then.

        Args:
            asked: what was asked for, by this map.
            answer: to it.

        Returns:
            Numbers of points that the newest keyframe of then does not see any more, since they did not fit.
        """
        there = {k.number: k for k in self.keyframes}
        newest = there.get(asked.newest)
        before = None if newest is None else newest.camera_from_world
        for number, pose in zip(asked.views[: asked.free], answer.poses, strict=False):
            if number in there:
                turn = pose[:3, :3] @ asked.turn.T
                there[number].place(poses.compose(turn, asked.scale * pose[:3, 3]))
        chain = asked.job.problem.more
        if isinstance(chain, Chain) and len(answer.more):
            for camera, motion in zip(chain.camera[chain.free].tolist(), answer.more.reshape(-1, 9), strict=True):
                if asked.views[camera] in there:
                    velocity = asked.scale * asked.turn @ motion[:3]
                    there[asked.views[camera]].motion = np.r_[velocity, motion[3:]]
        known = (asked.points >= 0) & self.known(np.maximum(asked.points, 0))
        self.xyz[asked.points[known]] = asked.scale * answer.xyz[known] @ asked.turn.T
        if newest is not None and before is not None:
            change = poses.inverse(newest.camera_from_world) @ before  # new world from old
            later = [k for k in self.keyframes if k.number > asked.newest and k.part == asked.part]
            ids = np.unique(np.concatenate([k.ids for k in (newest, *later)]))
            ids = ids[self.known(ids) & ~np.isin(ids, asked.points)]
            self.xyz[ids] = poses.transform(change, self.xyz[ids])
            back = poses.inverse(change)
            for k in later:
                k.place(k.camera_from_world @ back)
        gone = np.zeros(0, np.int64)
        if asked.job.whole:
            return gone
        bad, point = answer.error_px > self.config.outlier_px * 1.5, asked.points[asked.job.problem.point_of]
        for i, number in enumerate(asked.views):
            wrong = point[bad & (asked.job.problem.camera_of == i)]
            if len(wrong) and number in there:
                there[number].keep(~np.isin(there[number].ids, wrong, assume_unique=True))
                gone = wrong if number == asked.newest else gone
        return gone

    def copy(self) -> Map:
        """The same map, which may be changed on its own."""
        return replace(self, keyframes=[replace(k) for k in self.keyframes], xyz=self.xyz.copy(), links=[*self.links])

    def _chain(self, views: list[Keyframe], free: int) -> Chain | None:
        """What the inertial sensor says of keyframes one after the other; the first `free` ones move."""
        place = {k.number: i for i, k in enumerate(views) if k.motion is not None}
        pairs = [
            (place[k.since[0]], place[k.number], k.since[1])
            for k in views
            if k.since is not None and k.number in place and k.since[0] in place
        ]
        pairs = [pair for pair in pairs if min(pair[:2]) < free]
        if self.imu is None or not pairs:
            return None
        first, second = (np.array([pair[i] for pair in pairs]) for i in (0, 1))
        cameras = np.unique(np.concatenate([first, second]))
        motion = np.stack([one for one in (views[int(c)].motion for c in cameras) if one is not None])
        return Chain(first, second, tuple(pair[2] for pair in pairs), self.imu, cameras, motion, cameras < free)

    def start_motion(self, keyframes: list[Keyframe], biases: Float64[np.ndarray, " 6"]) -> None:
        """Velocities of keyframes of an upright part, by the samples between those that come one after the other.

        Args:
            keyframes: in the order of time.
            biases: of the sensor.
        """
        there = {k.number: k for k in keyframes}
        for k in keyframes:
            before = None if k.since is None else there.get(k.since[0])
            if self.imu is None or before is None or k.since is None:
                continue
            ends = before.camera_from_world, k.camera_from_world
            both = velocities(*ends, self.imu.camera_from_imu, k.since[1], biases)
            before.motion, k.motion = (np.r_[v, biases] for v in both)

    def _links_between(self, views: list[Keyframe]) -> list[Link]:
        """The links of which both keyframes are among some, by place in the list."""
        place = {k.number: i for i, k in enumerate(views)}
        return [
            Link(place[a.first], place[a.second], a.second_from_first, a.information)
            for a in self.links
            if a.first in place and a.second in place
        ]

    # ------------------------------------------------------------------------------------------- places seen again

    def join(self, new: Keyframe, seen: Seen, *, with_scale: bool) -> Moved:
        """Moves the newest keyframe's part of the map to where an older part says that the keyframe is.

        Args:
            new: the newest keyframe.
            seen: where an older keyframe says that it is.
            with_scale: whether the scale is free (one camera).
        """
        scale = self._scale_of(new, seen) if with_scale else 1.0
        joined = next(k.part for k in self.keyframes if np.isin(k.ids, seen.points).any() and k.part != new.part)
        here, there = new.camera_from_world, seen.camera_from_world
        part = [k for k in self.keyframes if k.part == new.part]
        ids = np.unique(np.concatenate([k.ids for k in part]))
        inside = poses.transform(here, self.xyz[ids]) * scale
        self.xyz[ids] = poses.transform(poses.inverse(there), inside)
        back = poses.inverse(here)
        for k in part:
            relative = k.camera_from_world @ back
            relative[:3, 3] *= scale
            k.place(relative @ there, scale)
            k.part = joined
        return Moved({k.number: scale for k in part}, self._merge(new, seen))

    def close_loop(self, new: Keyframe, seen: Seen, *, with_scale: bool) -> Moved:
        """Spreads what a loop is off over all keyframes by a pose graph, and moves the points along.

        Args:
            new: the newest keyframe.
            seen: where an older keyframe says that it is.
            with_scale: whether the scale is free (one camera).
        """
        scale = self._scale_of(new, seen) if with_scale else 1.0
        nodes = [k for k in self.keyframes if k.part == new.part]
        before = Similarities.of(np.stack([k.camera_from_world for k in nodes]))
        rows = np.repeat(np.arange(len(nodes)), [len(k.ids) for k in nodes])
        sees = sparse.csr_matrix(
            (np.ones(len(rows), np.int32), (rows, np.concatenate([k.ids for k in nodes]))), (len(nodes), len(self.xyz))
        )
        both = np.asarray((sees @ sees.T).todense())
        first, second = (a.copy() for a in np.triu_indices(len(nodes), 1))
        kept = (both[first, second] >= 50) | (second == first + 1)
        order = np.lexsort((first[kept], second[kept]))
        a, b = first[kept][order], second[kept][order]
        weight = np.maximum(both[a, b], 10).astype(float)
        measured = before[b] @ before[a].inverse()
        # The loop: where the newest keyframe is by the old points, against the keyframe that sees most of them.
        counts = [int(np.isin(k.ids, seen.points).sum()) if k is not new else 0 for k in nodes]
        old = int(np.argmax(counts))
        loop = Similarities.of(seen.camera_from_world[None], np.array([1.0])) @ before[np.array([old])].inverse()
        loop = Similarities(loop.rotation, loop.translation / scale, loop.scale / scale)
        measured = Similarities(
            np.concatenate([measured.rotation, loop.rotation]),
            np.concatenate([measured.translation, loop.translation]),
            np.concatenate([measured.scale, loop.scale]),
        )
        ends = np.r_[a, old], np.r_[b, nodes.index(new)]
        weights = np.r_[weight, weight.max()]
        after = optimise(before, *ends, measured, weights, with_scale=with_scale)
        # A point moves with the first keyframe that sees it.
        done = np.zeros(len(self.xyz), bool)
        for i, k in enumerate(nodes):
            ids = k.ids[~done[k.ids]]
            done[ids] = True
            inside = poses.transform(k.camera_from_world, self.xyz[ids])
            self.xyz[ids] = (inside - after.translation[i]) / after.scale[i] @ after.rotation[i]
        for i, k in enumerate(nodes):
            pose = poses.compose(after.rotation[i], after.translation[i] / after.scale[i])
            k.place(pose, 1 / float(after.scale[i]))
        number = self._merge(new, seen)
        return Moved({k.number: 1 / float(after.scale[i]) for i, k in enumerate(nodes)}, number)

    def turn_and_scale(self, part: int, turn: Float64[np.ndarray, "3 3"], scale: float) -> Moved:
        """Turns a part of the map and changes its size, as gravity and an inertial sensor say.

        Args:
            part: of the map.
            turn: new world from old.
            scale: new lengths of one old one.
        """
        mine = [k for k in self.keyframes if k.part == part]
        ids = np.unique(np.concatenate([k.ids for k in mine]))
        self.xyz[ids] = scale * self.xyz[ids] @ turn.T
        for k in mine:
            before = k.camera_from_world
            k.place(poses.compose(before[:3, :3] @ turn.T, scale * before[:3, 3]), scale)
        return Moved({k.number: scale for k in mine})

    def _scale_of(self, new: Keyframe, seen: Seen) -> float:
        """How much longer lengths are by the old points than by the keyframe's own."""
        wanted = new.look_ids[seen.query]
        place = np.minimum(np.searchsorted(new.ids, wanted), len(new.ids) - 1)
        own = new.ids[place]
        good = (own == wanted) & self.known(own)
        if good.sum() < 5:
            return 1.0
        mine = poses.transform(new.camera_from_world, self.xyz[own[good]])
        theirs = poses.transform(seen.camera_from_world, self.xyz[seen.points[good]])
        return float(np.median(np.linalg.norm(theirs, axis=1) / np.linalg.norm(mine, axis=1)))

    def _merge(self, new: Keyframe, seen: Seen) -> Int64[np.ndarray, " p"]:
        """One number for points that turned out to be the same; the new number of each."""
        number = np.arange(len(self.xyz))
        mine = new.look_ids[seen.query]
        number[mine[mine >= 0]] = seen.points[mine >= 0]
        for k in self.keyframes:
            k.renumber(number)
        return number

    # ------------------------------------------------------------------------------------------------ staying small

    def drop_oldest(self) -> tuple[int, int, Float64[np.ndarray, "4 4"]] | None:
        """Keeps the map bounded: of all keyframes but the last ten, the one that adds least is dropped.

        Returns:
            (the keyframe that was dropped, the one of the same part that stands for it, dropped_from_other); None where
            the map is small.
        """
        if len(self.keyframes) <= self.config.max_keyframes:
            return None
        count = np.bincount(np.concatenate([k.ids for k in self.keyframes]), minlength=len(self.xyz))
        parts = [k.part for k in self.keyframes]
        # The first of a part holds its place in the world; it has nobody before it to stand for it either.
        old = [k for i, k in enumerate(self.keyframes[:-10]) if k.part in parts[:i]]
        if not old:
            return None
        share = [float((count[k.ids] > 3).mean()) if len(k.ids) else 1.0 for k in old]
        gone = old[int(np.argmax(share))]
        heir = [k for k in self.keyframes[: self.keyframes.index(gone)] if k.part == gone.part][-1]
        self.keyframes.remove(gone)
        self.links = [a for a in self.links if gone.number not in (a.first, a.second)]
        return gone.number, heir.number, gone.camera_from_world @ poses.inverse(heir.camera_from_world)

    def remove_unseen(self, newest: Keyframe) -> None:
        """Forgets points that too few keyframes see, once the newest keyframe does not see them any more."""
        recent = self.keyframes[-5:]
        ids = np.unique(np.concatenate([k.ids for k in recent]))
        count = np.zeros(len(ids), int)
        for k in self.keyframes[-30:]:
            count[np.searchsorted(ids, k.ids[np.isin(k.ids, ids)])] += 1
        gone = ids[(count < 2) & ~np.isin(ids, newest.ids, assume_unique=True)]
        for k in recent:
            k.keep(~np.isin(k.ids, gone, assume_unique=True))
        self.xyz[gone] = np.nan

    def compact(self, used: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " p"] | None:
        """Gives points new numbers without gaps, once more than half of them are forgotten, so that memory is bounded.

        Args:
            used: points that are needed although no keyframe sees them.

        Returns:
            number[old], −1 for forgotten points; None where nothing was done.
        """
        seen = np.zeros(len(self.xyz), bool)
        for k in self.keyframes:
            seen[k.ids] = True
        seen[used] = True
        if len(seen) < 4096 or seen.sum() > len(seen) / 2:
            return None
        number = np.where(seen, np.cumsum(seen) - 1, -1)
        self.xyz, self.colour = self.xyz[seen], self.colour[seen]
        for k in self.keyframes:
            k.renumber(number)
        return number

    def seen_points(self) -> Int64[np.ndarray, " n"]:
        """Numbers of all points with a known place that a keyframe sees."""
        ids = np.unique(np.concatenate([k.ids for k in self.keyframes])) if self.keyframes else np.zeros(0, np.int64)
        return ids[self.known(ids)]
