"""The synthetic world: a person in loose clothes, rendered by cameras around; the same names as
`datasets.thuman4.Capture`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8

from percepta.datasets.thuman4 import Camera, write
from percepta.geometry.body import Motion, Shape
from percepta.systems.avatar import WorldConfig
from percepta.worlds.people import paint
from percepta.worlds.people.motions import made
from percepta.worlds.people.person import Outfit, Person, dressed, ring

LOOK = paint.Look(cloth_pattern="bands", cloth=(176, 40, 52), cloth_second=(240, 205, 120))
"""Of the people that are rendered for training."""


def subject(outfit: Outfit, shape: Shape | None = None) -> Person:
    """Somebody in an outfit whose cloth has broad bands, a border and small print."""
    return dressed(outfit, shape, LOOK)


@dataclass(frozen=True)
class Rendered:
    """A capture that is rendered when a picture is asked for, and kept in memory.

    Attributes:
        person: who is seen. motion: what is done, 30 frames a second.
        size: width and height of the pictures, in pixels. count: how many cameras.
    """

    person: Person
    motion: Motion
    size: tuple[int, int]
    count: int

    @property
    def root(self) -> Path:
        """There is no folder; a name for messages."""
        return Path("the synthetic world")

    @property
    def shape(self) -> Shape:
        """Measures of the body."""
        return self.person.body.shape

    @property
    def frames(self) -> tuple[int, ...]:
        """Numbers of the frames."""
        return tuple(range(len(self.motion)))

    @cached_property
    def cameras(self) -> tuple[Camera, ...]:
        """Around the place where the person is on average, far enough to see all of the motion."""
        middle = self.motion.root.mean(0)
        away = np.linalg.norm((self.motion.root - middle)[:, :2], axis=-1).max()
        views = ring(
            self.count, *self.size, middle=(middle[0], middle[1], 0.92), distance_m=3.4 + away, tall_m=2.25 + 1.1 * away
        )
        return tuple(Camera(f"cam{i:02d}", v.camera, v.world_from_camera) for i, v in enumerate(views))

    @cached_property
    def vertices(self) -> Float[np.ndarray, "t v 3"]:
        """Of the person's mesh in each frame."""
        return self.person.moved(self.motion)

    @cached_property
    def _kept(self) -> dict[tuple[int, int], tuple[np.ndarray, np.ndarray]]:
        return {}

    def read(self, camera: int, frame: int) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
        """Picture (on black) and mask of a frame.

        Args:
            camera: place of the camera.
            frame: number of the frame.
        """
        if (camera, frame) not in self._kept:
            view = self.cameras[camera]
            seen = self.person.seen(self.vertices[frame], view.intrinsics, view.world_from_camera, samples=3)
            colour, mask = np.round(255 * seen.colour), np.round(255 * seen.mask)
            self._kept[camera, frame] = colour.clip(0, 255).astype(np.uint8), mask.astype(np.uint8)
        return self._kept[camera, frame]

    def save(self, root: Path) -> None:
        """Writes the capture as a folder in the layout of THUman4.0."""
        every = ((c.name, f, *self.read(i, f)) for f in self.frames for i, c in enumerate(self.cameras))
        write(root, {c.name: (c.intrinsics, c.world_from_camera) for c in self.cameras}, every, self.motion, self.shape)


def rendered(config: WorldConfig, kind: Literal["trained", "novel"] = "trained") -> Rendered:
    """The capture of the settings.

    Args:
        config: outfit, size, cameras, frames, motion.
        kind: "novel" is the same person in a motion that training never sees.
    """
    person = subject(config.outfit)
    frames = config.frames if kind == "trained" else max(config.frames // 5, 2)
    name, seed = (config.motion, 1) if kind == "trained" else ("turn" if config.motion != "turn" else "sway", 2)
    motion = made(name, (frames - 1) / 30, seed=seed, body=person.body)
    return Rendered(person, motion, (config.width, config.height), config.cameras)
