"""Training clips made from single pictures: layers that move, bend, cross, hide each other and come back.

A clip is a background (a picture seen by a moving camera, or frames of a real video) and things cut out of pictures
that lie over it. Every layer has its own motion: an affine map that changes from frame to frame, and a thin-plate
spline (Bookstein 1989) that bends it. Masks follow the same maps, so that they are exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

CONTROLS = 4  # control points of a spline on each side of a layer
NODES = (10, 17)  # rows and columns at which maps are computed; between them they are bilinear
SHUTTER = (0.0, -0.5, -0.25, 0.25, 0.5)  # moments that motion blur averages, as shares of the exposure
GAP = 6  # pixels around a thing that is lifted out, which may still show its edge


@dataclass(frozen=True)
class Motion:
    """Where a layer lies in each of t frames.

    Attributes:
        centre: where the middle of the layer lies in the frame, x and y in pixels.
        matrix: frame_from_layer, around that middle.
        bend: how far each control point of the spline is moved, as a share of the layer's half size.
    """

    centre: Float[np.ndarray, "t 2"]
    matrix: Float[np.ndarray, "t 2 2"]
    bend: Float[np.ndarray, "t k 2"]

    def at(self, times: Float[np.ndarray, " m"]) -> Motion:
        """The motion at m times, counted in frames; straight between two frames, at rest before and after them."""
        length = len(self.centre)
        times = np.clip(times, 0, length - 1)
        low = np.floor(times).astype(int)
        high, share = np.minimum(low + 1, length - 1), times - low

        def between(values: np.ndarray) -> np.ndarray:
            weight = share.reshape(-1, *[1] * (values.ndim - 1))
            return values[low] * (1 - weight) + values[high] * weight

        return Motion(between(self.centre), between(self.matrix), between(self.bend))


@dataclass(frozen=True)
class Layer:
    """A thing that lies over the background.

    Attributes:
        pixels: RGB 0..1 times alpha.
        alpha: 0..1, how much of the pixel the thing covers.
        motion: where it is.
        label: its number in the clip; 0: it is not followed and hides what is.
        exposure: share of the time between two frames that the shutter is open: motion blur. 0: none.
    """

    pixels: Float[Tensor, "3 h w"]
    alpha: Float[Tensor, "h w"]
    motion: Motion
    label: int
    exposure: float = 0.0


def walk(rng: np.random.Generator, frames: int, *shape: int) -> Float[np.ndarray, "frames *shape"]:
    """A random walk from 0 whose steps are like the one before; about 1 a step.

    Args:
        rng: where the draws come from.
        frames: its length.
        shape: of the values.
    """
    steps = rng.normal(size=(frames, *shape))
    for k in range(2, frames):
        steps[k] = 0.7 * steps[k - 1] + 0.7 * steps[k]
    steps[0] = 0
    return np.cumsum(steps, 0)


def wander(
    rng: np.random.Generator, frames: int, centre: Float[np.ndarray, "2"], way_px: float, turn: float, bend: float
) -> Motion:
    """A motion without an aim.

    Args:
        rng: where the draws come from.
        frames: how many.
        centre: where the layer's middle lies in the first frame, in pixels.
        way_px: how far it moves from one frame to the next, in pixels.
        turn: how much it turns (radians), grows (share) and shears from one frame to the next.
        bend: how much it bends from one frame to the next, as a share of its half size.
    """
    angle, shear, *grow = (turn * walk(rng, frames, 4)).T
    size = np.exp(np.clip(np.stack(grow, -1), -0.7, 0.5))
    cos, sin = np.cos(angle), np.sin(angle)
    rotation = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)
    stretch = np.zeros((frames, 2, 2))
    stretch[:, 0, 0], stretch[:, 1, 1] = size.T
    stretch[:, 0, 1] = np.clip(shear, -0.4, 0.4) * size[:, 0]
    path = centre + way_px * walk(rng, frames, 2)
    return Motion(path, rotation @ stretch, bend * walk(rng, frames, CONTROLS**2, 2))


@dataclass(frozen=True)
class Box:
    """A part of the frame, in pixels; the right and the bottom edge are outside."""

    left: int
    top: int
    right: int
    bottom: int


def places(motion: Motion, size: tuple[int, int], box: Box) -> Float[Tensor, "t a b 2"]:
    """The place in a layer that each pixel of a part of the frames shows, as `grid_sample` counts: −1..1, x and y.

    Args:
        motion: where the layer lies.
        size: height and width of the layer, in pixels.
        box: the part of the frames.
    """
    across, down = np.linspace(box.left, box.right - 1, NODES[1]), np.linspace(box.top, box.bottom - 1, NODES[0])
    nodes = np.stack(np.meshgrid(across, down), -1).reshape(1, -1, 2)
    # The middle of the layer, between its pixels where their number is even, is at 0 for grid_sample.
    inside = (
        (nodes - motion.centre[:, None]) @ np.linalg.inv(motion.matrix).transpose(0, 2, 1) / (np.array(size[::-1]) / 2)
    )
    moved = inside + spline(motion.bend, np.clip(inside, -1.2, 1.2)) if motion.bend.any() else inside
    height, width = box.bottom - box.top, box.right - box.left
    # Between the nodes bilinear, as two products: far faster than F.interpolate, and in the order that is needed.
    coarse = torch.from_numpy(moved.astype(np.float32)).view(-1, NODES[0], 2 * NODES[1])
    columns = torch.kron(_between(NODES[1], width), torch.eye(2)).T
    return (_between(NODES[0], height) @ coarse @ columns).view(-1, height, width, 2)


def _between(nodes: int, count: int) -> Float[Tensor, "count nodes"]:
    """Weights of linear interpolation from nodes, the first and the last at the ends, to `count` places."""
    place = torch.linspace(0, nodes - 1, count)
    return (1 - (place[:, None] - torch.arange(nodes)).abs()).clamp(min=0)


def sample(
    source: Float[Tensor, "c h w"], grid: Float[Tensor, "t a b 2"], *, nearest: bool = False, reflect: bool = False
) -> Float[Tensor, "t c a b"]:
    """A layer at some places.

    Args:
        source: the layer.
        grid: what `places` gives.
        nearest: take the nearest pixel, for labels.
        reflect: beyond its border the layer is mirrored; otherwise there is 0.
    """
    mode, padding = ("nearest" if nearest else "bilinear"), ("reflection" if reflect else "zeros")
    return F.grid_sample(source.expand(len(grid), -1, -1, -1), grid, mode, padding, align_corners=False)


def look(
    source: Float[Tensor, "c h w"],
    motion: Motion,
    frame: int,
    box: Box,
    exposure: float = 0.0,
    marks: Float[Tensor, "h w"] | None = None,
) -> tuple[Float[Tensor, "c a b"], Int64[Tensor, "a b"] | None]:
    """A layer as one frame sees it, averaged over the moments in which the shutter is open.

    Args:
        source: the layer.
        motion: where it lies.
        frame: number of the frame.
        box: the part of the frame.
        exposure: share of the time between two frames.
        marks: labels of a background, which is mirrored beyond its border; None: beyond the border there is 0.

    Returns:
        The layer's values, and the label of each pixel where there are marks.
    """
    times = frame + exposure * np.array(SHUTTER if exposure else SHUTTER[:1])
    grid = places(motion.at(times), (source.shape[1], source.shape[2]), box)
    seen = sample(source, grid, reflect=marks is not None)
    colour = seen.mean(0) if exposure else seen[0]
    return colour, None if marks is None else sample(marks[None], grid[:1], nearest=True, reflect=True)[0, 0].long()


def filmed(
    picture: Float[Tensor, "3 h w"], marks: UInt8[Tensor, "h w"], motion: Motion, size: tuple[int, int], exposure: float
) -> tuple[Float[Tensor, "t 3 a b"], Int64[Tensor, "t a b"]]:
    """A picture, and what is marked in it, as a moving camera sees it.

    Args:
        picture: RGB 0..1.
        marks: a label for each pixel.
        motion: where the picture lies in the frames.
        size: height and width of the frames, in pixels.
        exposure: share of the time between two frames that the shutter is open.
    """
    whole, values = Box(0, 0, size[1], size[0]), marks.float()
    seen = [look(picture, motion, frame, whole, exposure, values) for frame in range(len(motion.centre))]
    return torch.stack([colour for colour, _ in seen]), torch.stack([label for _, label in seen if label is not None])


@cache
def _controls() -> tuple[Float[np.ndarray, "k 2"], Float[np.ndarray, "j k"]]:
    """The control points in −1..1, and the matrix from their displacements to the weights of the spline."""
    side = np.linspace(-1, 1, CONTROLS)
    points = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    n = len(points)
    system = np.zeros((n + 3, n + 3))
    system[:n, :n] = _kernel(points, points)
    system[:n, n], system[:n, n + 1 :] = 1, points
    system[n:, :n] = system[:n, n:].T
    return points, np.linalg.inv(system)[:, :n]


def _kernel(a: Float[np.ndarray, "*b n 2"], b: Float[np.ndarray, "k 2"]) -> Float[np.ndarray, "*b n k"]:
    """U(r) = r² log r² of all pairs."""
    square = ((a[..., None, :] - b) ** 2).sum(-1)
    return square * np.log(np.maximum(square, 1e-12))


def spline(bend: Float[np.ndarray, "t k 2"], places: Float[np.ndarray, "t n 2"]) -> Float[np.ndarray, "t n 2"]:
    """The thin-plate spline that moves the control points by `bend`, at some places in −1..1."""
    points, solve = _controls()
    weights = solve @ bend
    k = len(points)
    return _kernel(places, points) @ weights[:, :k] + weights[:, k : k + 1] + places @ weights[:, k + 1 :]


def cut_out(
    pixels: UInt8[Tensor, "3 h w"], mask: Bool[Tensor, "h w"], scale: float
) -> tuple[Float[Tensor, "3 a b"], Float[Tensor, "a b"]]:
    """A thing out of its picture: RGB 0..1 times alpha, and alpha, with a margin of two pixels.

    Args:
        pixels: RGB bytes.
        mask: where the thing is.
        scale: how much larger it becomes.
    """
    ys, xs = torch.where(mask.any(1))[0], torch.where(mask.any(0))[0]
    top, bottom = max(int(ys[0]) - 1, 0), int(ys[-1]) + 2
    left, right = max(int(xs[0]) - 1, 0), int(xs[-1]) + 2
    colour = pixels[:, top:bottom, left:right].float() / 255
    size = (max(2, round(colour.shape[1] * scale)), max(2, round(colour.shape[2] * scale)))
    both = torch.cat([colour, mask[None, top:bottom, left:right].float()])[None]
    both = F.interpolate(both, size, mode="bilinear", align_corners=False, antialias=True)[0]
    # Masks that people draw hold a rim of the background: what is half covered counts for less.
    alpha = (both[3] * 1.6 - 0.5).clamp(0, 1)
    return F.pad(both[:3] * alpha, [2] * 4), F.pad(alpha, [2] * 4)


def filled(pixels: Float[Tensor, "3 h w"], hole: Bool[Tensor, "h w"]) -> Float[Tensor, "3 h w"]:
    """The picture with smooth colours of its surroundings in place of a hole (and a rim of GAP pixels around it)."""
    wide = F.max_pool2d(hole[None, None].float(), (1, 2 * GAP + 1), 1, (0, GAP))
    wide = F.max_pool2d(wide, (2 * GAP + 1, 1), 1, (GAP, 0))
    known = 1 - wide
    levels = [torch.cat([pixels[None] * known, known], 1)]
    while min(levels[-1].shape[2:]) > 2 and float(levels[-1][:, 3].min()) < 1e-3:
        levels.append(F.avg_pool2d(levels[-1], 2, ceil_mode=True))
    total = levels[-1]
    colour = total[:, :3] / total[:, 3:].clamp(min=1e-3)
    for level in reversed(levels[:-1]):
        up = F.interpolate(colour, level.shape[2:], mode="bilinear", align_corners=False)
        share = level[:, 3:].clamp(max=1)
        colour = level[:, :3] + (1 - share) * up
    return torch.where(wide > 0, colour, pixels[None])[0].clamp(0, 1)


def compose(
    background: Float[Tensor, "t 3 h w"], labels: Int64[Tensor, "t h w"], layers: Sequence[Layer]
) -> tuple[Float[Tensor, "t 3 h w"], Int64[Tensor, "t h w"]]:
    """Layers over a background, the last one on top.

    Args:
        background: RGB 0..1.
        labels: of the background.
        layers: what lies over it.

    Returns:
        RGB 0..1, and the number of what is seen at each pixel.
    """
    background, labels = background.clone(), labels.clone()
    for layer in layers:
        source = torch.cat([layer.pixels, layer.alpha[None]])
        for frame in range(len(background)):
            box = reached(layer, frame, background.shape[2], background.shape[3])
            if box is not None:
                seen, _ = look(source, layer.motion, frame, box, layer.exposure)
                part = (slice(box.top, box.bottom), slice(box.left, box.right))
                background[frame, :, *part].mul_(1 - seen[3]).add_(seen[:3])
                labels[frame][part][seen[3] > 0.5] = layer.label
    return background, labels


def reached(layer: Layer, frame: int, height: int, width: int) -> Box | None:
    """The part of a frame that a layer may cover; None where it is outside.

    Args:
        layer: what lies there.
        frame: number of the frame.
        height: of the frame, in pixels.
        width: of the frame, in pixels.
    """
    half = np.array(layer.alpha.shape[::-1]) / 2
    bend = np.abs(layer.motion.bend).max(initial=0.0)
    corners = np.array([[x, y] for x in (-1, 1) for y in (-1, 1)]) * half * (1 + 1.5 * bend)
    times = frame + layer.exposure * np.array(SHUTTER)
    motion = layer.motion.at(times)
    points = (motion.centre[:, None] + corners @ motion.matrix.transpose(0, 2, 1)).reshape(-1, 2)
    left, top = np.floor(points.min(0)).astype(int)
    right, bottom = np.ceil(points.max(0)).astype(int) + 1
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    return Box(int(left), int(top), int(right), int(bottom)) if left < right and top < bottom else None


def lit(pictures: Float[Tensor, "t 3 h w"], rng: np.random.Generator, strength: float) -> Float[Tensor, "t 3 h w"]:
    """Colours and light of a camera that change slowly: saturation, contrast, brightness, a shadow that passes.

    Args:
        pictures: RGB 0..1.
        rng: where the draws come from.
        strength: 0 leaves everything as it is.
    """
    frames = len(pictures)
    drift = 0.06 * walk(rng, frames, 1) + 0.02 * walk(rng, frames, 3)
    gain = np.exp(strength * (rng.normal(0, 0.15) + rng.normal(0, 0.05, 3) + drift))
    shift = strength * (rng.normal(0, 0.05) + 0.02 * walk(rng, frames, 1)) + (rng.random() < 0.5) * 0.5 * (1 - gain)
    # One matrix for each frame: gains of the channels after colours were moved to or away from grey.
    vivid = np.exp(strength * rng.normal(0, 0.3)) if rng.random() < 0.6 else 1.0
    matrix = gain[..., None] * (vivid * np.eye(3) + (1 - vivid) / 3)
    mix, add = torch.from_numpy(matrix.astype(np.float32)), torch.from_numpy(shift.astype(np.float32))
    out = torch.baddbmm(add.expand(frames, 3)[..., None], mix, pictures.flatten(2)).view_as(pictures)
    if rng.random() < 0.25 * min(strength, 1):
        shadow = 0.3 * strength * np.clip(rng.normal(size=(frames, 1, 3, 4)).cumsum(0) / np.sqrt(frames), -1.5, 1.5)
        field = torch.from_numpy(np.exp(shadow).astype(np.float32))
        out *= F.interpolate(field, pictures.shape[2:], mode="bilinear", align_corners=True)
    return out.clamp_(0, 1)


def through(motion: Motion, start: Float[np.ndarray, "2"], goal: Float[np.ndarray, "2"], frame: int) -> Motion:
    """The motion with a straight path from `start` through `goal`, which it reaches at a frame, and on.

    Args:
        motion: how it turns and bends, and how its path trembles.
        start: place in the first frame, in pixels.
        goal: place in that frame.
        frame: number of the frame, 1 or more.
    """
    times = np.arange(len(motion.centre))[:, None] / frame
    tremble = motion.centre - motion.centre[:1]
    return replace(motion, centre=start + times * (goal - start) + 0.2 * tremble)


def away(motion: Motion, outside: Float[np.ndarray, "2"], frame: int) -> Motion:
    """The motion that leaves for a place outside the picture, is there at a frame, and comes back.

    Args:
        motion: the path without that.
        outside: the place, in pixels.
        frame: number of the frame, neither the first nor, where it is to come back, the last.
    """
    length = len(motion.centre)
    times = np.arange(length)
    near = np.where(times <= frame, times / frame, (length - 1 - times) / max(length - 1 - frame, 1))
    share = np.clip(near, 0, 1)[:, None] ** 0.7
    return replace(motion, centre=motion.centre * (1 - share) + outside * share)
