"""A flat of four rooms around a core, and a walk through all of them that comes back to where it began.

The rooms lie in a ring, joined by openings in the walls between them, so that the way round is closed: about 23 m, of
which the last two are walked twice. Recorded with a colour camera, with the noise of a depth camera, as a stereo pair,
or with an inertial sensor at 200 Hz whose noise and biases are stated. Everything follows from the seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Float, Float64
from scipy.interpolate import CubicSpline

from percepta.datasets.capture import Capture, RightCamera, Shot
from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics
from percepta.geometry.imu import Imu
from percepta.geometry.lens import Lens
from percepta.metrics.trajectory import trajectory
from percepta.worlds import inertial
from percepta.worlds.raster import Lamp
from percepta.worlds.rooms import furniture as make
from percepta.worlds.rooms.interiors import _CROWDS, Room, _Builder
from percepta.worlds.rooms.recording import Sensor, measure, render
from percepta.worlds.rooms.textures import Palette

SIZE = (11.0, 8.0, 2.6)
CORE = (3.9, 7.1, 3.1, 4.9)  # x0 x1 y0 y1 of the solid middle
ROUTE = ((2.0, 1.6), (5.5, 1.5), (9.0, 1.6), (9.1, 4.0), (9.0, 6.4), (5.5, 6.5), (2.0, 6.4), (1.9, 4.0))
_WALL_M, _DOOR_M, _FREE_M = 0.12, 1.1, 0.55  # thickness of walls; width of openings; half of the way that is kept free
FPS, SPEED_M_S, BASELINE_M, IMU_HZ = 20.0, 0.85, 0.11, 200.0
# The sensor stands a little beside the camera, its axes turned against it.
IMU = Imu(poses.compose(poses.from_vector(np.array([0.02, -0.03, 1.55])), np.array([0.03, -0.02, 0.01])))

Recorded = Literal["mono", "depth", "stereo", "inertial"]


@lru_cache(maxsize=2)
def flat(seed: int) -> Room:
    """A furnished flat that depends on the seed only."""
    rng = np.random.default_rng([seed, 41])
    build = _Builder(rng, Palette(rng), np.array(SIZE))
    _shell(build)
    along = _route()
    for s in np.arange(0, along[1], 0.3):  # nothing may stand on the way
        x, y = along[0](s)
        build._take(np.array([[x, y, _FREE_M, _FREE_M, 1, 0, 0, 2.2, 0]]))
    build.openings(2, 0)
    for furnish in (build.kitchen, build.sleep, build.rest, build.work_place, build.dining, build.screen):
        furnish()
    build.crowd(_CROWDS["living"], 0.3)
    for _ in range(14):
        build.hang(make.wall_picture(rng, build.look), (1.2, 1.7))
    build.clutter()
    for x, y in ((2.0, 1.6), (9.0, 1.6), (9.0, 6.4), (2.0, 6.4)):
        build.lamps.append(Lamp(np.array([x, y, SIZE[2] - 0.15]), np.array([0.0, 0.0, -1.0]), np.full(3, 1.5)))
    return _exposed(build.finish(seed, "flat"))


def _exposed(draft: Room, target: float = 0.42) -> Room:
    """The flat with a gain at which pictures on the way through it are of middle brightness."""
    camera, gain = Intrinsics.field_of_view(48, 36, 72.0), draft.gain
    path = walk_at(draft.seed, np.arange(0, 27, 3.0))
    for _ in range(3):
        shots = [render(replace(draft, gain=gain), pose, camera).colour for pose in path]
        gain = gain * (target / max(0.02, float(np.mean(shots)) / 255)) ** 2
    return replace(draft, gain=gain)


def _shell(build: _Builder) -> None:
    """Floor, ceiling, outer walls, the core, and the walls between the rooms with their openings."""
    rng, look = build.rng, build.look
    w, d, h = build.size
    floor = look.material("planks", "wood", 1.2, gloss=0.1)
    ceiling = look.material("plaster", "white", 1.8)
    build._flat("floor", np.array([[0, 0, 0], [w, 0, 0], [w, d, 0], [0, d, 0]], float), floor, np.array([0, 0, -0.1]))
    build._flat(
        "ceiling", np.array([[0, 0, h], [0, d, h], [w, d, h], [w, 0, h]], float), ceiling, np.array([0, 0, 0.1])
    )
    kinds = (("wallpaper", 0.6), ("brick", 0.9), ("plaster", 1.6), ("stripes", 1.2))
    build.paints = [look.material(kind, "wall", metres) for kind, metres in kinds]
    skirting, board = look.material("plain", "white"), float(rng.uniform(0.06, 0.1))
    corners = np.array([[0, d], [w, d], [w, 0], [0, 0]], float)
    for i in range(4):
        build._wall(corners[i], corners[(i + 1) % 4], skirting, board)
    x0, x1, y0, y1 = CORE
    boxes = [CORE]
    for x, (low, high), way in ((5.5, (0.0, y0), 1.5), (5.5, (y1, d), 6.5)):
        for a, b in ((low, way - _DOOR_M / 2), (way + _DOOR_M / 2, high)):
            boxes.append((x - _WALL_M / 2, x + _WALL_M / 2, a, b))
    for y, (low, high), way in ((4.0, (0.0, x0), 1.9), (4.0, (x1, w), 9.1)):
        for a, b in ((low, way - _DOOR_M / 2), (way + _DOOR_M / 2, high)):
            boxes.append((a, b, y - _WALL_M / 2, y + _WALL_M / 2))
    for box in boxes:
        _solid(build, box, skirting, board)


def _solid(build: _Builder, box: tuple[float, float, float, float], skirting: object, board: float) -> None:
    """A solid piece of wall; sides that touch other walls are not seen and left out."""
    x0, x1, y0, y1 = box
    w, d, h = build.size
    corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    first = len(build.things) + 1
    for i in range(4):
        start, end = corners[i], corners[(i + 1) % 4]
        middle = (start + end) / 2
        inside = 0.01 < middle[0] < w - 0.01 and 0.01 < middle[1] < d - 0.01
        within = CORE[0] - 1e-6 < middle[0] < CORE[1] + 1e-6 and CORE[2] - 1e-6 < middle[1] < CORE[3] + 1e-6
        if inside and (box == CORE or not within):
            build._wall(start, end, skirting, board)  # pyright: ignore[reportArgumentType]
    build._take(np.array([[(x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / 2, (y1 - y0) / 2, 1, 0, 0, h, first]]))


@lru_cache(maxsize=1)
def _route() -> tuple[CubicSpline, float]:
    """The closed way by its length in metres, and how long it is."""
    points = np.array([*ROUTE, ROUTE[0]])
    knots = np.r_[0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))]
    for _ in range(4):  # until a knot is the length of the way to it
        spline = CubicSpline(knots, points, bc_type="periodic")
        fine = np.linspace(0, knots[-1], 4001)
        length = np.r_[0, np.cumsum(np.linalg.norm(np.diff(spline(fine), axis=0), axis=1))]
        knots = np.interp(knots, fine, length)
    return CubicSpline(knots, points, bc_type="periodic"), float(knots[-1])


def walk_at(seed: int, time_s: Float[np.ndarray, " n"]) -> Float64[np.ndarray, "n 4 4"]:
    """world_from_camera at some times of a walk round the flat, in a hand: smooth, the same for a time whatever others.

    Args:
        seed: of the walk.
        time_s: seconds from its start; one round takes about 27.
    """
    rng = np.random.default_rng([seed, 43])
    spline, length = _route()
    time_s = np.asarray(time_s, np.float64)
    phase, height = rng.uniform(0, 2 * np.pi, 3), rng.uniform(1.4, 1.6)
    gone = SPEED_M_S * time_s + 0.15 * np.sin(0.9 * time_s + phase[0])
    at = gone % length
    # Each round adds a full turn, so that the angle stays smooth.
    table = np.linspace(0, length, 2001)
    turn = np.unwrap(np.arctan2(*spline(table, 1)[:, ::-1].T))
    yaw = CubicSpline(table, turn)(at) + 2 * np.pi * np.round((turn[-1] - turn[0]) / (2 * np.pi)) * (gone // length)
    yaw = yaw + 0.35 * np.sin(0.8 * time_s + phase[1])
    pitch = -0.12 + 0.12 * np.sin(0.5 * time_s + phase[2])
    eyes = np.concatenate([spline(at), np.full((len(time_s), 1), height)], 1)
    eyes[:, 2] += 0.02 * np.sin(2 * np.pi * 1.8 * time_s)
    return poses.hand_held(rng, time_s, eyes, yaw, pitch, shake_deg=0.5, shake_m=0.006)


@dataclass(frozen=True)
class FlatWalk:
    """Shots of a walk round a flat; everything follows from the numbers here.

    Attributes:
        seed: of flat and walk.
        mode: what is recorded; "inertial" is one camera with an inertial sensor.
        count: how many frames; 600 are one round and two metres more.
        width: of the pictures; they are three quarters as high.
        every: of 20 frames a second only every n-th is rendered.
    """

    seed: int
    mode: Recorded
    count: int = 600
    width: int = 320
    every: int = 1

    def __len__(self) -> int:
        return self.count

    @property
    def camera(self) -> Intrinsics:
        """Intrinsics of the pictures."""
        return Intrinsics.field_of_view(self.width, self.width * 3 // 4, 72.0)

    @cached_property
    def time_s(self) -> Float64[np.ndarray, " n"]:
        """Of each frame."""
        return np.arange(self.count) * self.every / FPS

    @cached_property
    def path(self) -> Float64[np.ndarray, "n 4 4"]:
        """The true poses."""
        return walk_at(self.seed, self.time_s)

    def __iter__(self) -> Iterator[Shot]:
        world = flat(self.seed)
        aside = poses.compose(np.eye(3), np.array([BASELINE_M, 0.0, 0.0]))
        for i, pose in enumerate(self.path):
            rng = np.random.default_rng([self.seed, i, 47])
            view = measure(world, render(world, pose, self.camera), rng, Sensor(colour_noise=2.0, far_m=6.0))
            right = None
            if self.mode == "stereo":
                noise = Sensor(colour_noise=2.0, shadow=False, dropout=0.0)
                right = measure(world, render(world, pose @ aside, self.camera), rng, noise).colour
            yield Shot(float(self.time_s[i]), view.colour, view.depth_m if self.mode == "depth" else None, right)

    def capture(self) -> Capture:
        """The shots with what is known of the cameras, and the truth."""
        aside = poses.compose(np.eye(3), np.array([BASELINE_M, 0.0, 0.0]))
        right = RightCamera(self.camera, Lens(), aside) if self.mode == "stereo" else None
        truth = trajectory(self.time_s, self.path)
        name = f"flat {self.seed}"
        if self.mode != "inertial":
            return Capture(name, self, self.camera, "given", right=right, truth=truth)
        at = np.arange(-0.1, self.count * self.every / FPS, 1 / IMU_HZ)
        rng = np.random.default_rng([self.seed, 53])
        samples = inertial.samples(lambda t: walk_at(self.seed, t), at, IMU, rng)
        return Capture(name, self, self.camera, "given", imu=IMU, samples=samples, truth=truth)
