"""The synthetic world: a textured room, seen by a camera that goes round in it and comes back. Fast, for tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Float, Float64, UInt8
from scipy import ndimage

from percepta.datasets.capture import Capture, RightCamera, Shot
from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics, rays
from percepta.geometry.lens import Lens
from percepta.metrics.trajectory import trajectory

Mode = Literal["mono", "depth", "stereo", "inertial"]
BASELINE_M, FPS = 0.1, 30.0

_PIXELS_PER_M = 100


@dataclass(frozen=True)
class Room:
    """A box with a texture of spots on each of its six sides.

    Attributes:
        half_m: half of its size along x, y and z; the middle is the world's origin.
        textures: of the sides at -x, +x, -y, +y, -z, +z; grey values 0..1.
    """

    half_m: Float64[np.ndarray, " 3"]
    textures: tuple[Float[np.ndarray, "_a _b"], ...]

    def render(
        self, camera: Intrinsics, world_from_camera: Float64[np.ndarray, "4 4"]
    ) -> tuple[UInt8[np.ndarray, "h w"], Float[np.ndarray, "h w"]]:
        """(grey picture, depth in metres) of a camera inside."""
        direction = rays(camera).reshape(-1, 3) @ world_from_camera[:3, :3].T
        eye = world_from_camera[:3, 3]
        with np.errstate(divide="ignore", invalid="ignore"):
            reach = np.where(direction != 0, (np.sign(direction) * self.half_m - eye) / direction, np.inf)
        axis = reach.argmin(1)
        depth = reach.min(1)  # rays have z = 1 in the camera, so this is depth along the optical axis
        hit = eye + depth[:, None] * direction
        grey = np.empty(len(hit))
        for side in range(6):
            here = (axis == side // 2) & ((direction[np.arange(len(hit)), side // 2] > 0) == (side % 2 == 1))
            others = [k for k in range(3) if k != side // 2]
            at = (hit[here][:, others] + self.half_m[others]) * _PIXELS_PER_M
            grey[here] = ndimage.map_coordinates(self.textures[side], at.T, order=1, mode="nearest")
        shape = (camera.height, camera.width)
        return np.round(255 * grey).reshape(shape).astype(np.uint8), depth.reshape(shape).astype(np.float32)


@lru_cache(maxsize=4)
def room(seed: int, size_m: tuple[float, float, float] = (6.0, 5.0, 3.0)) -> Room:
    """A room whose textures follow from the seed alone."""
    rng = np.random.default_rng(seed)
    half = np.array(size_m) / 2
    textures = []
    for side in range(6):
        a, b = (int(2 * half[k] * _PIXELS_PER_M) + 1 for k in range(3) if k != side // 2)
        texture = np.zeros((a, b))
        for sigma, share in ((2.0, 0.4), (5.0, 0.35), (15.0, 0.25)):
            noise = ndimage.gaussian_filter(rng.normal(size=(a, b)), sigma)
            texture += share * noise / noise.std()
        textures.append(np.clip(0.5 + 0.25 * texture, 0, 1).astype(np.float32))
    return Room(half, tuple(textures))


def round_trip(frames: int, *, radius_m: float = 1.0, turns: float = 1.0) -> Float64[np.ndarray, "n 4 4"]:
    """world_from_camera of a camera on a circle that looks outwards, with some up and down.

    Args:
        frames: how many.
        radius_m: of the circle.
        turns: how often it goes round.
    """
    angle = 2 * np.pi * turns * np.arange(frames) / max(1, frames - 1)
    eyes = np.stack([radius_m * np.cos(angle), radius_m * np.sin(angle), 0.1 * np.sin(3 * angle)], 1)
    return poses.compose(poses.facing(angle, 0.1 * np.sin(2 * angle)), eyes)


@dataclass(frozen=True)
class RoundTrip:
    """Shots of a round trip through a room; everything follows from the numbers here.

    Attributes:
        seed: of the room.
        mode: what is recorded.
        count: how many frames.
        width: of the pictures; they are three quarters as high.
        turns: how often the camera goes round.
    """

    seed: int
    mode: Mode
    count: int
    width: int = 320
    turns: float = 0.25

    def __len__(self) -> int:
        return self.count

    @property
    def camera(self) -> Intrinsics:
        """Intrinsics of the pictures."""
        return Intrinsics.field_of_view(self.width, self.width * 3 // 4, 63.0)

    @cached_property
    def path(self) -> Float64[np.ndarray, "n 4 4"]:
        """The true poses."""
        return round_trip(self.count, turns=self.turns)

    def __iter__(self) -> Iterator[Shot]:
        numbers = self.seed, self.count, self.width, self.turns
        rights = pictures(*numbers, BASELINE_M) if self.mode == "stereo" else None
        for i, (grey, depth) in enumerate(pictures(*numbers)):
            right = None if rights is None else rights[i][0]
            yield Shot(i / FPS, grey, depth if self.mode == "depth" else None, right)

    def capture(self) -> Capture:
        """The shots with what is known of the camera, and the truth."""
        aside = poses.compose(np.eye(3), np.array([BASELINE_M, 0.0, 0.0]))
        right = RightCamera(self.camera, Lens(), aside) if self.mode == "stereo" else None
        truth = trajectory(np.arange(self.count) / FPS, self.path)
        return Capture(f"room {self.seed}", self, self.camera, "given", right=right, truth=truth)


@lru_cache(maxsize=6)
def pictures(
    seed: int, count: int, width: int, turns: float, aside_m: float = 0.0
) -> tuple[tuple[UInt8[np.ndarray, "h w"], Float[np.ndarray, "h w"]], ...]:
    """What a round trip shows, (grey, depth) of each frame; several modes see the same.

    Args:
        seed, count, width, turns: of the trip.
        aside_m: how far to the right of its camera another one stands.
    """
    trip, aside = RoundTrip(seed, "mono", count, width, turns), poses.compose(np.eye(3), np.array([aside_m, 0.0, 0.0]))
    return tuple(room(seed).render(trip.camera, pose @ aside) for pose in trip.path)
