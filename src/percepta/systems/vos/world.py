"""The synthetic world: textured shapes that cross, hide behind a wall, and come back elsewhere.

Each shape has two colours and a pattern of its own; some of them are followed, one more is there that nobody asked for.
At least one of the followed shapes is behind the wall for some frames and comes out at another height, beside the one
that is not followed: who only knows the last mask cannot tell them apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from percepta.contract import Batch, Key
from percepta.errors import InputError
from percepta.systems.vos import Config

LENGTH = {"train": 256, "val": 12, "test": 12}
FIRST = {"val": 1_000_000, "test": 2_000_000}  # seeds: no clip is in two splits
LONG = 12  # frames of a clip of "val" and "test"
RADIUS = (0.1, 0.16)  # of a shape, as a share of the picture's height
STRANGERS = 1  # shapes that are not followed


@dataclass(frozen=True)
class Shape:
    """A textured shape.

    Attributes:
        form: "disc", "square" or "diamond".
        radius: in pixels.
        colours: two, RGB 0..1.
        stripes: direction (radians) and width (pixels) of its stripes.
        path: its middle in each frame, x and y in pixels.
    """

    form: str
    radius: float
    colours: Float[np.ndarray, "2 3"]
    stripes: tuple[float, float]
    path: Float[np.ndarray, "t 2"]

    def draw(
        self, pixels: Float[np.ndarray, "h w 3"], labels: UInt8[np.ndarray, "h w"], frame: int, label: int
    ) -> None:
        """Lays it over a picture and its labels.

        Args:
            pixels: RGB 0..1, changed.
            labels: changed.
            frame: which one.
            label: its number.
        """
        height, width = labels.shape
        y, x = np.mgrid[:height, :width] - self.path[frame][::-1, None, None]
        inside = {
            "disc": np.hypot(x, y) <= self.radius,
            "square": np.maximum(np.abs(x), np.abs(y)) <= 0.88 * self.radius,
            "diamond": np.abs(x) + np.abs(y) <= 1.25 * self.radius,
        }[self.form]
        angle, width_px = self.stripes
        band = (np.floor((x * np.cos(angle) + y * np.sin(angle)) / width_px) % 2).astype(int)
        pixels[inside] = self.colours[band[inside]]
        labels[inside] = label


def clip(
    seed: int | tuple[int, ...], height: int, width: int, frames: int, objects: int
) -> tuple[UInt8[np.ndarray, "t h w 3"], UInt8[np.ndarray, "t h w"], tuple[int, ...]]:
    """A clip, what is where, and the frames in which object 1 is behind the wall; follows from its arguments.

    Args:
        seed: of all draws.
        height: in pixels.
        width: in pixels.
        frames: how many.
        objects: how many are followed: the labels 1 to so many.
    """
    rng = np.random.default_rng(seed)
    ground = _ground(rng, height, width)
    wall = int(rng.uniform(0.4, 0.6) * width), round(1.3 * RADIUS[1] * height)
    hues = rng.permutation(objects + STRANGERS) / (objects + STRANGERS) + rng.uniform(0, 1)
    shapes = [_shape(rng, float(hue), height) for hue in hues]
    hidden = _through_the_wall(rng, shapes, wall, height, width, frames)
    pattern = 1.3 * _ground(rng, height, 2 * wall[1])
    pixels = np.empty((frames, height, width, 3), np.uint8)
    labels = np.zeros((frames, height, width), np.uint8)
    order = rng.permutation(len(shapes))
    for frame in range(frames):
        picture = ground.copy()
        for place in order:
            shapes[place].draw(picture, labels[frame], frame, int(place) + 1 if place < objects else 0)
        left, right = max(wall[0] - wall[1], 0), min(wall[0] + wall[1], width)
        picture[:, left:right] = pattern[:, : right - left]
        labels[frame, :, left:right] = 0
        noisy = picture + rng.normal(0, 0.015, picture.shape)
        pixels[frame] = (255 * noisy.clip(0, 1)).astype(np.uint8)
    return pixels, labels, hidden


def _ground(rng: np.random.Generator, height: int, width: int) -> Float[np.ndarray, "h w 3"]:
    """A dull texture."""
    coarse = rng.uniform(0.25, 0.55, (6, 9, 1)) + rng.uniform(-0.06, 0.06, (6, 9, 3))
    smooth = torch.nn.functional.interpolate(
        torch.from_numpy(coarse).permute(2, 0, 1)[None], (height, width), mode="bilinear", align_corners=True
    )
    return smooth[0].permute(1, 2, 0).numpy() + rng.normal(0, 0.02, (height, width, 1))


def _shape(rng: np.random.Generator, hue: float, height: int) -> Shape:
    turn = 2 * np.pi * hue
    first = 0.55 + 0.42 * np.cos(turn + np.array([0, 2.1, 4.2]))
    second = first * rng.uniform(0.25, 0.5) if rng.random() < 0.5 else 1 - (1 - first) * rng.uniform(0.2, 0.4)
    form = str(rng.choice(["disc", "square", "diamond"]))
    stripes = (float(rng.uniform(0, np.pi)), float(rng.uniform(0.03, 0.06) * height))
    radius = float(rng.uniform(*RADIUS) * height)
    return Shape(form, radius, np.stack([first, second]).clip(0, 1), stripes, np.zeros((0, 2)))


def _through_the_wall(
    rng: np.random.Generator, shapes: list[Shape], wall: tuple[int, int], height: int, width: int, frames: int
) -> tuple[int, ...]:
    """Gives all shapes their paths; returns the frames in which the first one is wholly behind the wall.

    Args:
        rng: where the draws come from.
        shapes: changed: the first one goes behind the wall and comes out on the other side.
        wall: its middle and half its width, in pixels.
        height: of the picture.
        width: of the picture.
        frames: how many.
    """
    middle, half = wall
    side = 1 if rng.random() < 0.5 else -1
    lanes = (rng.permutation(len(shapes)) + rng.uniform(0.3, 0.7, len(shapes))) / len(shapes) * 0.7 + 0.15
    gone = max(frames // 4, 1)  # frames behind the wall
    enter = max(int(rng.integers(1, max(frames - gone, 2))), 1)
    out: list[Shape] = []
    for place, shape in enumerate(shapes):
        steps = np.linspace(0, 1, frames)
        if place == 0:
            near, far = (half + shape.radius) + 2, width / 2 - shape.radius
            x = np.empty(frames)
            before, after = np.arange(enter), np.arange(frames - enter - gone)
            x[:enter] = middle - side * (near + (far - near) * 0.7 * before[::-1] / max(enter - 1, 1))
            x[enter : enter + gone] = middle
            x[enter + gone :] = middle + side * (near + (far - near) * 0.7 * after / max(len(after) - 1, 1))
            heights = np.where(np.arange(frames) < enter + gone, lanes[0], rng.uniform(0.2, 0.8)) * height
            heights = heights + 0.06 * height * np.sin(2 * np.pi * steps + rng.uniform(0, 6))
        elif place == len(shapes) - 1:  # the stranger waits where the first one comes out
            reach = half + shape.radius + (width / 2 - half) * rng.uniform(0.1, 0.45)
            x = middle + side * reach + 0.04 * width * np.sin(2 * np.pi * steps + rng.uniform(0, 6))
            heights = lanes[place] * height + 0.1 * height * np.sin(2 * np.pi * steps + rng.uniform(0, 6))
        else:
            start = rng.choice([-1, 1])
            reach = half + shape.radius + 2 + (width / 2 - half - 2 * shape.radius) * rng.uniform(0.1, 0.9)
            x = middle + start * reach + 0.12 * width * np.sin(2 * np.pi * steps * rng.uniform(0.3, 1))
            heights = lanes[place] * height + 0.15 * height * np.sin(2 * np.pi * steps + rng.uniform(0, 6))
        path = np.stack([x.clip(0, width - 1), heights.clip(0.08 * height, 0.92 * height)], -1)
        out.append(Shape(shape.form, shape.radius, shape.colours, shape.stripes, path))
    shapes[:] = out
    return tuple(range(enter, enter + gone))


@dataclass(frozen=True)
class Clips:
    """Training clips of the world, in the form of `data.Clips`.

    Attributes:
        config: size, frames and objects of a clip.
        seed: of the training.
    """

    config: Config
    seed: int = 0

    def __len__(self) -> int:
        return LENGTH["train"]

    def __getitem__(self, key: Key) -> dict[str, Tensor]:
        epoch, index = key
        config = self.config
        for attempt in range(20):
            seed = (self.seed, epoch, index, attempt)
            pixels, labels, _ = clip(seed, config.height, config.width, config.clip_frames, config.max_objects)
            known = torch.tensor([bool((labels[0] == i + 1).sum() > 8) for i in range(config.max_objects)])
            if known.any():
                break
        pictures = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
        numbers = torch.from_numpy(labels).long()
        hidden = torch.where(known, torch.arange(1, config.max_objects + 1), 0)
        table = torch.cat([torch.zeros(1, dtype=torch.int64), hidden])
        return {"pictures": pictures, "labels": table[numbers], "known": known}

    def collate(self, samples: list[dict[str, Tensor]]) -> Batch:
        return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}


@dataclass(frozen=True)
class Drawn:
    """A clip of the world as an evaluation sees it (see `sequences.Sequence`)."""

    name: str
    pixels: UInt8[np.ndarray, "t h w 3"]
    labels: UInt8[np.ndarray, "t h w"]
    first: Mapping[int, int]
    compared: Mapping[int, tuple[int, ...]]
    hidden: tuple[int, ...]
    kind: str = "world"
    seen: Mapping[int, bool] = field(default_factory=dict)

    @property
    def group(self) -> str:
        return self.name

    def __len__(self) -> int:
        return len(self.pixels)

    def frame(self, number: int) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
        return self.pixels[number], self.labels[number]


@dataclass(frozen=True)
class Videos:
    """The clips of "val" or "test", of LONG frames."""

    config: Config
    split: str

    def __post_init__(self) -> None:
        if self.split not in FIRST:
            raise InputError(f"the synthetic world has the splits train, val and test, not {self.split!r}")

    def __len__(self) -> int:
        return LENGTH[self.split]

    def __getitem__(self, key: Key) -> Drawn:
        seed, config = FIRST[self.split] + key[1], self.config
        pixels, labels, hidden = clip(seed, config.height, config.width, LONG, config.max_objects)
        there = [i for i in range(1, config.max_objects + 1) if (labels[0] == i).any()]
        frames = tuple(range(1, LONG))
        return Drawn(f"world {seed}", pixels, labels, dict.fromkeys(there, 0), dict.fromkeys(there, frames), hidden)

    def collate(self, samples: list[Drawn]) -> Batch:
        return {"videos": samples}
