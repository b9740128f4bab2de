"""The synthetic worlds: furnished rooms as a hand-held camera sees them, and the inside of boxes, which is fast.

Boxes carry any texture on their six sides, with exact depth and planes. Textures have a random scale, so that one
picture does not tell how far a side is away: two pictures do.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float32, Float64, Int32, UInt8
from scipy import ndimage

from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics, plane_in, rays, short_plane
from percepta.systems.planes import Config
from percepta.systems.planes.pairs import Pair
from percepta.worlds import rooms
from percepta.worlds.rooms import Room
from percepta.worlds.rooms import View as RoomView

_FIRST_SEED = {"train": 0, "val": 500_000, "test": 700_000, "all": 0}  # seeds: no split shares a room


def camera_of(config: Config, world: str) -> Intrinsics:
    """About the colour camera of a Kinect (f = 525 at 640 pixels) at the size that the network sees."""
    focal = 525 / 640 if world == "rooms" else 0.9
    return Intrinsics(
        focal * config.width, focal * config.width, (config.width - 1) / 2, (config.height - 1) / 2,
        config.width, config.height,
    )  # fmt: skip


# --- boxes ------------------------------------------------------------------------------------------------------------

# Sides of the box: unit normals that look inwards; floor, ceiling, four walls, in PlaneMVS's classes.
NORMALS = np.array([(0, 0, 1), (0, 0, -1), (1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0)], np.float64)
LABELS = np.array([3, 0, 1, 1, 1, 1])


@dataclass(frozen=True)
class Shot:
    """What one camera sees inside a box.

    Attributes:
        colour: RGB.
        depth_m: metres.
        side: which side each pixel shows, 0..5.
        normal: n of each side, in the camera's coordinates.
        offset: d of each side, metres.
        world_from_camera: pose of the camera.
    """

    colour: UInt8[np.ndarray, "h w 3"]
    depth_m: Float32[np.ndarray, "h w"]
    side: Int32[np.ndarray, "h w"]
    normal: Float64[np.ndarray, "6 3"]
    offset: Float64[np.ndarray, " 6"]
    world_from_camera: Float64[np.ndarray, "4 4"]


class Box:
    """A box of 1.5 to 5 m whose middle is the origin."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng([seed, 41])
        self.half = rng.uniform(0.9, 2.5, 3)
        self.offset = np.abs(NORMALS @ self.half)
        self.noise = rng.integers(0, 256, (6, 3, 64, 64, 3)).astype(np.float64)
        self.scale = np.exp(rng.uniform(np.log(4), np.log(24), 6))  # texels a metre of the coarsest noise
        self.tint = rng.uniform(0.3, 1.0, (6, 3))

    def cameras(self, rng: np.random.Generator, baseline_m: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
        """world_from_camera of a reference and a source camera, this far apart and both inside."""
        eye = rng.uniform(-0.4, 0.4, 3) * self.half
        yaw, pitch, roll = rng.uniform(-np.pi, np.pi), rng.uniform(-0.7, 0.3), rng.normal(0, 0.05)
        first = poses.compose(poses.facing(yaw, pitch, roll), eye)
        step = rng.normal(size=3) * (1, 1, 0.4)  # more to the side than ahead, in the camera's coordinates
        step *= rng.uniform(*baseline_m) / np.linalg.norm(step)
        turn = poses.from_vector(rng.normal(0, 0.03, 3))
        return first, first @ poses.compose(turn, step)

    def render(self, camera: Intrinsics, world_from_camera: np.ndarray) -> Shot:
        """What a camera sees."""
        normal, offset = plane_in(poses.inverse(world_from_camera), NORMALS, self.offset)
        sight = rays(camera)
        inverse = -(sight @ normal.T) / offset  # from inside, the nearest side in front is seen
        side = inverse.argmax(-1)
        depth = 1 / np.take_along_axis(inverse, side[..., None], -1)[..., 0]
        points = poses.transform(world_from_camera, sight * depth[..., None])
        # Coordinates on the side: the two axes other than its normal's.
        axis = np.array([2, 2, 0, 0, 1, 1])[side]
        s = np.where(axis == 0, points[..., 1], points[..., 0])
        t = np.where(axis == 2, points[..., 1], points[..., 2])
        value = np.zeros((*side.shape, 3))
        for octave in range(3):
            value += self._lookup(side, octave, s, t, self.scale[side] * 2**octave) / 3
        colour = np.clip((value - 128) * 1.6 + 128, 0, 255) * self.tint[side]
        return Shot(
            (colour + 0.5).astype(np.uint8),
            depth.astype(np.float32),
            side.astype(np.int32),
            normal,
            offset,
            world_from_camera,
        )

    def _lookup(self, side: np.ndarray, octave: int, s: np.ndarray, t: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Bilinear noise, repeated."""
        x, y = s * scale, t * scale
        i, j = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
        fx, fy = (x - i)[..., None], (y - j)[..., None]
        grid = self.noise[:, octave]
        corner = [[grid[side, (i + a) % 64, (j + b) % 64] for b in (0, 1)] for a in (0, 1)]
        return (corner[0][0] * (1 - fy) + corner[0][1] * fy) * (1 - fx) + (
            corner[1][0] * (1 - fy) + corner[1][1] * fy
        ) * fx


@dataclass(frozen=True)
class Boxes:
    """Pairs of pictures taken inside boxes."""

    config: Config
    split: str

    def __len__(self) -> int:
        return self.config.rooms * self.config.pairs_per_room if self.split in ("train", "all") else 24

    def __getitem__(self, index: int) -> Pair:
        number = _FIRST_SEED[self.split] + index // self.config.pairs_per_room
        box = _box(number)
        rng = np.random.default_rng([number, index % self.config.pairs_per_room, 43])
        first, second = box.cameras(rng, self.config.baseline_m)
        camera = camera_of(self.config, "boxes")
        shot, other = box.render(camera, first), box.render(camera, second)
        move = (poses.inverse(second) @ first)[None]
        planes = short_plane(shot.normal, shot.offset)
        return Pair(shot.colour, other.colour[None], camera, move, shot.depth_m, shot.side, planes, LABELS, number)


@lru_cache(maxsize=32)
def _box(seed: int) -> Box:
    return Box(seed)


# --- furnished rooms --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rooms:
    """Pairs from hand-held walks through furnished rooms, with motion blur, noise and changes of exposure.

    A room takes a second to make and a picture a twentieth: `percepta planes keep` keeps pairs for training.
    """

    config: Config
    split: str

    def __len__(self) -> int:
        return (self.config.rooms if self.split in ("train", "all") else 8) * self.config.pairs_per_room

    def __getitem__(self, index: int) -> Pair:
        config = self.config
        number, place = divmod(index, config.pairs_per_room)
        world, path, chosen = _room(_FIRST_SEED[self.split] + number, config.pairs_per_room, config.baseline_m)
        i, j = (int(k) for k in chosen[place % len(chosen)])
        rng = np.random.default_rng([world.seed, place, 47])
        camera = camera_of(config, "rooms")
        first, second = (self._picture(world, path, k, camera, rng) for k in (i, j))
        used = np.unique(first.plane[first.plane >= 0])
        normal, offset = plane_in(poses.inverse(path[i]), world.planes.normal[used], world.planes.offset[used])
        table = np.full(len(world.planes.offset) + 1, -1, np.int32)
        table[used] = np.arange(len(used))
        return Pair(
            first.colour, second.colour[None], camera, (poses.inverse(path[j]) @ path[i])[None], first.depth_m,
            table[first.plane], short_plane(normal, offset), world.planes.planemvs[used], world.seed,
        )  # fmt: skip

    def _picture(self, world: Room, path: np.ndarray, i: int, camera: Intrinsics, rng: np.random.Generator) -> RoomView:
        exposed_at = []
        if rng.random() < 0.3:  # half of the time before and half after: blur must not shift the picture
            open_for = rng.uniform(0.1, 0.5)
            for near in (path[max(i - 1, 0)], path[i], path[min(i + 1, len(path) - 1)]):
                exposed_at.append(poses.interpolate(path[i], near, [open_for / 2])[0])
        view = rooms.render(world, path[i], camera, exposed_at=exposed_at, exposure=float(rng.uniform(0.75, 1.3)))
        noise = rng.normal(0, rng.uniform(1, 5), view.colour.shape)
        soft = ndimage.gaussian_filter(view.colour.astype(np.float32), (s := rng.uniform(0, 0.7), s, 0))
        colour = np.clip(soft + noise + 0.5, 0, 255).astype(np.uint8)
        return RoomView(
            colour, view.depth_m, view.label, view.instance, view.plane, view.world_from_camera, view.intrinsics
        )


@lru_cache(maxsize=6)
def _room(seed: int, wanted: int, baseline_m: tuple[float, float]) -> tuple[Room, np.ndarray, np.ndarray]:
    """A room, a walk through it, and pairs of frames spread over the walk (always at least one)."""
    world = rooms.room(seed)
    path = rooms.walk(world, 0, frames=400, fps=15)
    found = rooms.pairs(path, baseline_m)
    if not len(found):  # the camera only turned: the largest distance there is
        found = np.array([[0, len(path) - 1]])
    pick = np.linspace(0, len(found) - 1, wanted).astype(int)
    return world, path, found[pick]


@dataclass(frozen=True)
class RoomsPart:
    """Every `step`-th room from the `first` on, each with all its pairs, so that a room is made once.

    Attributes:
        rooms: all rooms.
        first: number of the first room of this part.
        step: number of parts.
    """

    rooms: Rooms
    first: int
    step: int

    def __len__(self) -> int:
        pairs = self.rooms.config.pairs_per_room
        return len(range(self.first, len(self.rooms) // pairs, self.step)) * pairs

    def __getitem__(self, index: int) -> Pair:
        pairs = self.rooms.config.pairs_per_room
        number, place = divmod(index, pairs)
        return self.rooms[(self.first + number * self.step) * pairs + place]


def filmed_room(seed: int, camera: Intrinsics) -> tuple[Room, list[RoomView]]:
    """A furnished room and fifteen pictures of a walk through it, 0.8 s apart.

    Args:
        seed: of the room.
        camera: what it is filmed with.
    """
    room = rooms.room(seed)
    path = rooms.walk(room, 0, frames=84, fps=5)[:60:4]
    return room, [rooms.render(room, pose, camera) for pose in path]
