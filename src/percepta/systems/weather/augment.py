"""What changes a training picture: size, cut, side, light and weather; each draw follows from the generator alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from percepta.datasets.street_pictures import VOID
from percepta.media.image import resize
from percepta.worlds.street import weather

GAIN = (0.02, 0.6)  # of the light, in linear values: from a dark dusk to a dull day


@dataclass(frozen=True)
class Cut:
    """A part of a picture that becomes a training crop.

    Attributes:
        top, left, height, width: the part, in pixels of the picture; it may reach beyond its sides.
        mirrored: whether left and right change places.
    """

    top: int
    left: int
    height: int
    width: int
    mirrored: bool

    def picture(self, pixels: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]) -> Float[Tensor, "3 a b"]:
        """The part at a size, RGB 0..1; black beyond the picture's sides."""
        part = torch.from_numpy(self._part(pixels, 0)).permute(2, 0, 1).float() / 255
        return resize(part, *size)

    def labels(self, labels: UInt8[np.ndarray, "h w"], size: tuple[int, int]) -> UInt8[np.ndarray, "a b"]:
        """The part at a size, each pixel the class at its centre; VOID beyond the sides."""
        part = self._part(labels, VOID)
        rows = ((np.arange(size[0]) + 0.5) * self.height / size[0]).astype(int)
        columns = ((np.arange(size[1]) + 0.5) * self.width / size[1]).astype(int)
        return part[rows[:, None], columns]

    def _part(self, values: np.ndarray, beyond: int) -> np.ndarray:
        h, w = values.shape[:2]
        top, left, bottom, right = self.top, self.left, self.top + self.height, self.left + self.width
        inside = values[max(top, 0) : min(bottom, h), max(left, 0) : min(right, w)]
        border = [(max(-top, 0), max(bottom - h, 0)), (max(-left, 0), max(right - w, 0))]
        if any(any(pair) for pair in border):
            inside = np.pad(inside, border + [(0, 0)] * (values.ndim - 2), constant_values=beyond)
        return np.ascontiguousarray(inside[:, ::-1] if self.mirrored else inside)


def drawn_cut(
    rng: np.random.Generator, size: tuple[int, int], crop: tuple[int, int], scales: tuple[float, float], whole: float
) -> Cut:
    """A cut of a picture.

    Args:
        rng: where the draws come from.
        size: height and width of the picture.
        crop: height and width of the crop that it becomes.
        scales: smallest and largest enlargement of the picture before it is cut.
        whole: what the picture is shrunk by before that, 1 or less.
    """
    scale = whole * float(np.exp(rng.uniform(*np.log(scales))))
    height, width = max(1, round(crop[0] / scale)), max(1, round(crop[1] / scale))

    def place(inside: int, part: int) -> int:
        low, high = sorted((0, inside - part))
        return int(rng.integers(low, high + 1))

    return Cut(place(size[0], height), place(size[1], width), height, width, bool(rng.random() < 0.5))


def lit(
    picture: Float[Tensor, "3 h w"],
    labels: UInt8[np.ndarray, "h w"],
    rng: np.random.Generator,
    classes: tuple[str, ...],
    shares: tuple[float, float],
) -> Float[Tensor, "3 h w"]:
    """Perhaps darkness, and perhaps weather, painted into a labelled picture.

    Args:
        picture: RGB.
        labels: classes of its pixels; they say where the ground and the sky are.
        rng: where the draws come from.
        classes: names of the classes.
        shares: how often there is darkness, and how often weather.
    """
    dark, weathered = rng.random(2) < shares
    if not dark and not weathered:
        return picture
    pixels = picture.permute(1, 2, 0).numpy()
    ground = _any(labels, classes, ("road", "pavement", "sidewalk", "drivable", "non-drivable", "terrain"))
    sky = _any(labels, classes, ("sky",))
    if weathered:
        kind = int(rng.integers(4))
        if kind == 0:
            depth = weather.guessed_depth(ground, sky)
            pixels = weather.fog(pixels, depth, float(np.exp(rng.uniform(3.4, 6))), float(rng.uniform(0.6, 0.95)))
        elif kind == 1:
            pixels = weather.rain(pixels, rng, float(rng.uniform(0.2, 1)))
        elif kind == 2:
            pixels = weather.snow(pixels, rng, ground, float(rng.uniform(0.3, 1)), float(rng.uniform(0, 1)))
        if kind in (1, 3):
            pixels = weather.wet(pixels, ground, float(rng.uniform(0.1, 0.45)))
    if dark:
        gain = float(np.exp(rng.uniform(*np.log(GAIN))))
        lamps = int(rng.integers(0, 5)) if rng.random() < 0.5 else 0
        pixels = weather.night(pixels, rng, gain, sky, noise=float(rng.uniform(0.005, 0.04)), lamps=lamps)
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)


def _any(labels: np.ndarray, classes: tuple[str, ...], names: tuple[str, ...]) -> np.ndarray:
    return np.isin(labels, [number for number, name in enumerate(classes) if name in names])


def jittered(
    pictures: Float[Tensor, "b 3 h w"], strength: float, generator: torch.Generator
) -> Float[Tensor, "b 3 h w"]:
    """Each picture with another brightness, contrast, saturation and hue, and half of them blurred.

    Args:
        pictures: RGB.
        strength: largest relative change; of the hue a quarter of it, in turns.
        generator: where the draws come from.
    """
    if not strength:
        return pictures
    out = []
    for picture in pictures:
        draws = torch.rand(6, generator=generator, device=generator.device).tolist()
        bright, contrast, colour = (1 + strength * (2 * draw - 1) for draw in draws[:3])
        grey = picture.mean(0, keepdim=True)
        picture = grey + colour * (picture - grey)
        picture = picture.mean() + contrast * (picture * bright - picture.mean())
        picture = hue_turned(picture, (2 * draws[3] - 1) * strength / 4)
        if draws[4] < 0.5:
            picture = blurred(picture, 0.15 + draws[5])
        out.append(picture.clamp(0, 1))
    return torch.stack(out)


def hue_turned(picture: Float[Tensor, "3 h w"], turns: float) -> Float[Tensor, "3 h w"]:
    """Colours turned about the axis of grey; the mean of the three stays."""
    angle = 2 * np.pi * turns
    cosine, sine = float(np.cos(angle)), float(np.sin(angle))
    third, root = (1 - cosine) / 3, sine / 3**0.5
    first = [cosine + third, third - root, third + root]
    matrix = picture.new_tensor([first, first[-1:] + first[:-1], first[1:] + first[:1]])
    return torch.einsum("ij,jhw->ihw", matrix, picture)


def blurred(picture: Float[Tensor, "3 h w"], deviation: float) -> Float[Tensor, "3 h w"]:
    """Gaussian blur with a deviation in pixels."""
    reach = max(1, int(np.ceil(2 * deviation)))
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=picture.device) / deviation) ** 2)
    kernel = (kernel / kernel.sum()).to(picture.dtype)
    rows = functional.conv2d(picture[:, None], kernel[None, None, :, None], padding=(reach, 0))
    return functional.conv2d(rows, kernel[None, None, None], padding=(0, reach))[:, 0]
