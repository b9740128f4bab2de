"""Short films of moving people before a background, by a camera that moves: for naming and finding actions.

stage = random_stage(seed)
person = dressed("tight", random_shape(rng), paint.random_look(rng))
film = shoot(motion, person, stage, seed=7, width=160, height=120, fps=15)
film.pixels  # uint8 t h w 3;  film.mask  # uint8 t h w
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Float32, Float64, UInt8

from percepta.geometry import pose as poses
from percepta.geometry.body import Motion
from percepta.geometry.camera import Intrinsics, rays
from percepta.geometry.meshes import Atlas, Light
from percepta.worlds.people import paint
from percepta.worlds.people.person import Person

WALL_M = 7.0  # radius of the round wall


@dataclass(frozen=True)
class Stage:
    """A floor and a round wall with pictures on them, and a lamp.

    Attributes:
        floor, wall: textures.
        light: the lamp.
    """

    floor: UInt8[np.ndarray, "floor_h floor_w 3"]
    wall: UInt8[np.ndarray, "wall_h wall_w 3"]
    light: Light

    @cached_property
    def atlas(self) -> Atlas:
        """Both textures with their levels."""
        return Atlas.of([self.floor, self.wall])

    def behind(
        self, camera: Intrinsics, world_from_camera: Float[np.ndarray, "4 4"], centre: Float[np.ndarray, " 2"]
    ) -> Float32[np.ndarray, "h w 3"]:
        """What a camera sees where nobody stands, RGB 0..1.

        Args:
            camera: intrinsics.
            world_from_camera: its pose.
            centre: of the round wall, on the floor.
        """
        direction = rays(camera).reshape(-1, 3) @ world_from_camera[:3, :3].T
        eye = world_from_camera[:3, 3]
        flat = eye[:2] - centre
        a = np.maximum((direction[:, :2] ** 2).sum(-1), 1e-9)
        b = direction[:, :2] @ flat
        far = (-b + np.sqrt(np.maximum(b * b - a * (flat @ flat - WALL_M**2), 0))) / a
        down = np.where(direction[:, 2] < -1e-6, -eye[2] / np.minimum(direction[:, 2], -1e-6), np.inf)
        on_floor = down < far
        where = eye + direction * np.where(on_floor, down, far)[:, None]
        around = np.arctan2(where[:, 1] - centre[1], where[:, 0] - centre[0]) / (2 * np.pi) * 3
        uv = np.where(on_floor[:, None], where[:, :2] / 4.0, np.stack([around, 1 - where[:, 2] / 4.5], -1))
        uv[on_floor] %= 1.0
        texture = np.where(on_floor, 0, 1)
        level = np.where(on_floor, np.clip(np.log2(np.maximum(down, 1) / 3), 0, 3), 1).astype(np.int64)
        colour = self.atlas.look_up(texture, level, uv)
        return colour.reshape(camera.height, camera.width, 3)


def random_stage(seed: int) -> Stage:
    """A room, a hall or a lawn: colours, patterns and pictures on the wall drawn at random."""
    rng = np.random.default_rng((seed, 77))
    floor = _surface(rng, 128, 128)
    wall = _surface(rng, 128, 512)
    for _ in range(int(rng.integers(3, 10))):
        h, w = int(rng.integers(10, 50)), int(rng.integers(14, 80))
        top, left = int(rng.integers(20, 120 - h)), int(rng.integers(0, 512 - w))
        first, second = (tuple(int(c) for c in rng.integers(20, 240, 3)) for _ in range(2))
        pattern = paint.PATTERNS[int(rng.integers(4))]
        wall[top : top + h, left : left + w] = paint.cloth(h, w, pattern, first, second, int(rng.integers(2, 8)))  # pyright: ignore[reportArgumentType]
    angle = rng.uniform(0, 2 * np.pi)
    light = Light(
        (float(np.cos(angle)), float(np.sin(angle)), float(rng.uniform(0.5, 2))), float(rng.uniform(0.4, 0.75))
    )
    return Stage(floor, wall, light)


def _surface(rng: np.random.Generator, height: int, width: int) -> UInt8[np.ndarray, "h w 3"]:
    """Smooth spots at two scales, and a pattern at times."""
    base = rng.uniform(60, 210, 3)
    out = np.broadcast_to(base, (height, width, 3)).copy()
    for cells, size in ((8, 25), (32, 12)):
        coarse = rng.normal(0, size, (cells, cells, 1)) + rng.normal(0, size / 4, (cells, cells, 3))
        rows = np.arange(height) * cells // height
        columns = np.arange(width) * cells // width
        out += coarse[rows][:, columns]
    if rng.random() < 0.6:
        pattern = paint.PATTERNS[int(rng.integers(1, 4))]
        second = np.clip(base + rng.normal(0, 35, 3), 0, 255).astype(int)
        one, other = ((int(r), int(g), int(b)) for r, g, b in (base.astype(int), second))
        cloth = paint.cloth(height, width, pattern, one, other, int(rng.integers(4, 12)))
        out = 0.5 * out + 0.5 * cloth
    return np.clip(out, 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Film:
    """Frames of one camera.

    Attributes:
        pixels: RGB.
        mask: 255 where the person is.
        fps: frames a second.
    """

    pixels: UInt8[np.ndarray, "t h w 3"]
    mask: UInt8[np.ndarray, "t h w"]
    fps: float | int


def shoot(
    motion: Motion,
    person: Person,
    stage: Stage,
    *,
    seed: int = 0,
    width: int = 160,
    height: int = 120,
    fps: float | int = 15.0,
    moving: bool = True,
    samples: int = 2,
) -> Film:
    """Films a motion from its first to its last pose; follows from its arguments.

    The camera stands where `seed` says, follows the person lazily, and where it moves, goes a piece around and shakes.

    Args:
        motion: what is done.
        person: who does it.
        stage: where.
        seed: of the camera and of the noise.
        width: of the pictures, in pixels.
        height: of the pictures, in pixels.
        fps: of the film.
        moving: whether the camera moves.
        samples: rays across and down each pixel.
    """
    rng = np.random.default_rng((seed, 5))
    shown = motion.resampled(fps)
    simulated = motion.resampled(30.0) if person.garments else shown
    vertices = person.moved(simulated)
    if len(simulated) != len(shown):
        vertices = vertices[np.round(np.arange(len(shown)) * 30.0 / fps).astype(int).clip(0, len(simulated) - 1)]
    cameras = _path(rng, shown, moving)
    focal = height * rng.uniform(1.25, 1.6)
    camera = Intrinsics(focal, focal, (width - 1) / 2, (height - 1) / 2, width, height)
    centre = shown.root.mean(0)[:2]
    pixels, mask = np.empty((len(shown), height, width, 3), np.uint8), np.empty((len(shown), height, width), np.uint8)
    for frame, world_from_camera in enumerate(cameras):
        seen = person.seen(vertices[frame], camera, world_from_camera, light=stage.light, samples=samples)
        picture = seen.over(stage.behind(camera, world_from_camera, centre))
        noisy = 255 * picture + rng.normal(0, 3.0, (height, width, 1))
        pixels[frame] = np.clip(noisy, 0, 255).astype(np.uint8)
        mask[frame] = (255 * seen.mask).astype(np.uint8)
    return Film(pixels, mask, float(fps))


def _path(rng: np.random.Generator, motion: Motion, moving: bool) -> list[Float64[np.ndarray, "4 4"]]:
    """Poses of the camera."""
    count = len(motion)
    times = np.arange(count) / motion.fps
    distance, high = rng.uniform(3.0, 4.2), rng.uniform(0.8, 2.0)
    angle = rng.uniform(0, 2 * np.pi) + (rng.uniform(-0.25, 0.25) * times if moving else np.zeros(count))
    width = max(int(0.8 * motion.fps), 1)
    padded = np.pad(motion.root, ((width, width), (0, 0)), mode="edge")
    kernel = np.ones(2 * width + 1) / (2 * width + 1)
    slow = np.stack([np.convolve(padded[:, i], kernel, "valid") for i in range(3)], -1)
    target = slow.copy()
    target[:, 2] = 0.25 * target[:, 2] + 0.65
    eyes = slow + np.stack([distance * np.cos(angle), distance * np.sin(angle), np.zeros(count)], -1)
    eyes[:, 2] = high
    eyes[:, :2] = slow[:, :2] + (eyes - slow)[:, :2]
    if moving:
        eyes += poses.tremor(rng, times, 0.02)
        target += poses.tremor(rng, times, 0.02)
    return [poses.look_at(eye, at) for eye, at in zip(eyes, target, strict=True)]
