"""Training clips: pictures with marked objects that are set in motion, and frames cut out of videos.

A clip is {pictures: t 3 h w (RGB 0..1), labels: t h w (0 background, 1 .. n an object, 255 not known), known: n (which
objects there are; each of them is in sight in frame 0)}. What moves, and how, follows from (seed, epoch, index) alone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64, Shaped, UInt8
from torch import Tensor

from percepta.contract import Batch, Key
from percepta.datasets.scene import MaskSource, PngMask
from percepta.datasets.videos import VOID, Video
from percepta.errors import InputError
from percepta.media import image
from percepta.systems.vos import Config
from percepta.systems.vos.layers import (
    Box,
    Layer,
    Motion,
    away,
    compose,
    cut_out,
    filled,
    filmed,
    lit,
    places,
    sample,
    through,
    wander,
)

SIZES = (0.1, 0.55)  # smallest and largest side of a pasted thing, as a share of the frame's (root of the areas)
AREAS = (0.008, 0.65)  # share of its picture that a thing must and may cover to be cut out
SEEN = 0.003  # share of frame 0 that an object must cover to be followed
LONG_SIDE = 512  # larger frames and pictures are shrunk to it before they are kept
# Labels while a clip is made, from which on: objects of its own picture or video, of the picture below, further ones.
OWN, BELOW, MORE = 1, 100, 200


@dataclass(frozen=True)
class Marked:
    """A picture with objects that are marked in it.

    Attributes:
        picture: its file.
        masks: of its objects.
    """

    picture: Path
    masks: tuple[MaskSource, ...]

    def read(self) -> tuple[UInt8[Tensor, "3 h w"], UInt8[Tensor, "h w"]]:
        """RGB bytes, and the object of each pixel: 0 none, else 1 + its place in `masks`."""
        pixels = image.to_bytes(image.read(self.picture, long_side=LONG_SIDE))
        height, width = pixels.shape[1:]
        files: dict[Path, Any] = {}
        labels = np.zeros((height, width), np.uint8)
        for number, source in enumerate(self.masks[: VOID - 1], 1):
            if isinstance(source, PngMask):
                if source.path not in files:
                    files[source.path] = source.load()
                mask = source.select(files[source.path])
            else:
                mask = source.read()
            labels[resized(mask, height, width)] = number
        return pixels, torch.from_numpy(labels)


def resized(mask: Shaped[np.ndarray, "a b"], height: int, width: int) -> Shaped[np.ndarray, "height width"]:
    """A mask or a label map at another size, by the nearest pixel.

    Args:
        mask: of any size.
        height: in pixels.
        width: in pixels.
    """
    if mask.shape == (height, width):
        return mask
    rows = ((np.arange(height) + 0.5) * mask.shape[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * mask.shape[1] / width).astype(int)
    return mask[rows[:, None], columns]


@dataclass
class Kept:
    """What was read lately, in memory up to a number of bytes; what was used longest ago goes first.

    Attributes:
        most_bytes: the limit.
    """

    most_bytes: int
    _entries: OrderedDict[Any, tuple[Tensor, ...]] = field(default_factory=OrderedDict, repr=False)
    _bytes: int = 0

    def get(self, key: Any, read: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """What stands under a key, read where it is not there.

        Args:
            key: what it is known by.
            read: gives it.
        """
        if key in self._entries:
            self._entries.move_to_end(key)
            return self._entries[key]
        found = read()
        self._entries[key] = found
        self._bytes += sum(part.nbytes for part in found)
        while self._bytes > self.most_bytes and len(self._entries) > 1:
            _, old = self._entries.popitem(last=False)
            self._bytes -= sum(part.nbytes for part in old)
        return found


@dataclass
class Clips:
    """Training clips; which one follows from (seed, epoch, index) alone.

    Attributes:
        config: size, number of frames and of objects, share of real clips.
        pictures: single pictures with marked objects, repeated as often as an epoch goes through them.
        videos: real ones.
        seed: of the training.
        cache_bytes: how much memory pictures that were read may take.
    """

    config: Config
    pictures: Sequence[Marked]
    videos: Sequence[Video]
    seed: int = 0
    cache_bytes: int = 600_000_000
    _kept: Kept = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.pictures and not self.videos:
            raise InputError("no picture with a marked object, and no video with masks, to train on")
        self._kept = Kept(self.cache_bytes)

    def __len__(self) -> int:
        return len(self.pictures) or sum(len(video.frames) for video in self.videos)

    def __getitem__(self, key: Key) -> dict[str, Tensor]:
        epoch, index = key
        rng = np.random.default_rng((self.seed, epoch, index))
        for _ in range(20):
            real = bool(self.videos) and (not self.pictures or rng.random() < self.config.real_share)
            seen = self._real(rng) if real else self._made(index, rng)
            if seen is not None and (sample := self._sample(*seen, rng)) is not None:
                return sample
            index = int(rng.integers(len(self)))
        raise InputError("twenty draws in a row gave no clip with an object in sight in its first frame")

    def collate(self, samples: list[dict[str, Tensor]]) -> Batch:
        return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}

    def _sample(
        self, pictures: Float[Tensor, "t 3 h w"], labels: Int64[Tensor, "t h w"], rng: np.random.Generator
    ) -> dict[str, Tensor] | None:
        """The clip with its objects numbered from 1 in a random order; None where frame 0 shows none."""
        n = self.config.max_objects
        count = torch.bincount(labels[0].flatten(), minlength=VOID + 1)[1:VOID]
        seen = [int(i) + 1 for i in torch.where(count >= SEEN * labels[0].numel())[0]]
        chosen = [seen[i] for i in rng.permutation(len(seen))[:n]]
        if not chosen:
            return None
        table = torch.zeros(VOID + 1, dtype=torch.int64)
        table[VOID] = VOID
        for number, old in enumerate(chosen, 1):
            table[old] = number
        known = torch.arange(n) < len(chosen)
        return {"pictures": lit(pictures, rng, 1.0), "labels": table[labels], "known": known}

    # ------------------------------------------------------------------------------------------------- real videos

    def _real(self, rng: np.random.Generator) -> tuple[Tensor, Tensor] | None:
        """Frames of a video, from a random place, in a random stride and direction, cut and mirrored the same way."""
        frames, height, width = self.config.clip_frames, self.config.height, self.config.width
        video = self.videos[int(rng.integers(len(self.videos)))]
        there = video.marked
        if len(there) < 2:
            return None
        most = max(1, (len(there) - 1) // max(frames - 1, 1))
        stride = int(min(rng.choice([1, 2, 3, 4], p=[0.4, 0.3, 0.2, 0.1]), most))
        span = (frames - 1) * stride
        start = int(rng.integers(max(1, len(there) - span)))
        picks = np.minimum(start + stride * np.arange(frames), len(there) - 1)
        if rng.random() < 0.5:
            picks = picks[::-1]
        read = [self._frame(video, there[i]) for i in picks]
        pixels = torch.stack([pixels for pixels, _ in read]).float() / 255
        masks = _renumbered(torch.stack([labels for _, labels in read])).float()
        h, w = pixels.shape[2:]
        zoom = float(np.exp(rng.uniform(0, 0.45))) if rng.random() < 0.7 else 1.0
        scale = max(height / h, width / w) * zoom
        sides = (scale * np.exp(rng.uniform(0, 0.1)), scale * np.exp(rng.uniform(0, 0.1)))
        flip = -1 if rng.random() < 0.5 else 1
        focus = self._focus(masks[0], rng)
        matrix = np.diag([flip * sides[0], sides[1]])
        centre = _covering(focus, matrix, (h, w), (height, width), rng)
        one = Motion(centre[None], matrix[None], np.zeros((1, 16, 2)))
        grid = places(one, (h, w), Box(0, 0, width, height))
        pictures = sample(pixels.flatten(0, 1), grid, reflect=True).view(frames, 3, height, width)
        labels = sample(masks, grid, nearest=True, reflect=True)[0].long()
        layers = self._more(rng, _taken(labels), _middles(labels)) if rng.random() < 0.35 else []
        return compose(pictures, labels, layers)

    @staticmethod
    def _focus(mask: Tensor, rng: np.random.Generator) -> np.ndarray:
        """The middle of what is marked, in pixels from the middle of the picture; near it, or anywhere."""
        h, w = mask.shape
        ys, xs = torch.where((mask > 0) & (mask < VOID))
        if not len(ys) or rng.random() < 0.2:
            return rng.uniform(-0.5, 0.5, 2) * [w, h]
        middle = np.array([float(xs.float().mean()) - (w - 1) / 2, float(ys.float().mean()) - (h - 1) / 2])
        return middle + rng.normal(0, 0.08, 2) * [w, h]

    # --------------------------------------------------------------------------------------------- single pictures

    def _made(self, index: int, rng: np.random.Generator) -> tuple[Tensor, Tensor] | None:
        """A clip from a picture: its objects move with it, or lifted out of it, or over another picture."""
        pixels, labels = self._read(self.pictures[index])
        things = _things(labels)
        if not things:
            return None
        # Of an upright picture the frame shows a part only, so that what stands in it is rather laid over another.
        upright = pixels.shape[1] > pixels.shape[2]
        kind = str(rng.choice(["still", "lifted", "pasted"], p=[0.15, 0.25, 0.6] if upright else [0.35, 0.35, 0.3]))
        chosen = [things[i] for i in rng.permutation(len(things))[: self.config.max_objects]]
        masks = [labels == thing for thing in chosen]
        background, marks = pixels.float() / 255, _numbered(masks, OWN)
        if kind == "pasted":
            other, seen = self._read(self.pictures[int(rng.integers(len(self.pictures)))])
            there = _things(seen)[:1] if rng.random() < 0.5 else []
            background, marks = other.float() / 255, _numbered([seen == thing for thing in there] or [seen < 0], BELOW)
        elif kind == "lifted":
            background = filled(background, marks > 0)
        background, marks, motion = self._camera(background, marks, rng, still=kind == "still")
        exposure = float(rng.choice([0.0, 0.25, 0.5], p=[0.75, 0.15, 0.1]))
        shown = torch.zeros_like(marks) if kind == "lifted" else marks
        film, below = filmed(background, shown, motion, (self.config.height, self.config.width), exposure)
        layers: list[Layer] = []
        if kind == "lifted":
            layers = [self._lifted(rng, pixels, mask, motion, OWN + place) for place, mask in enumerate(masks)]
        elif kind == "pasted":
            layers = [self._pasted(rng, pixels, mask, OWN + place, None) for place, mask in enumerate(masks)]
        if rng.random() < 0.6:
            middles = [*_middles(below), *(layer.motion.centre for layer in layers)]
            layers += self._more(rng, len(layers) + _taken(below), middles)
        if rng.random() < 0.5:
            layers = [layers[i] for i in rng.permutation(len(layers))]
        return compose(film, below, layers)

    def _camera(
        self, picture: Float[Tensor, "3 h w"], marks: UInt8[Tensor, "h w"], rng: np.random.Generator, *, still: bool
    ) -> tuple[Tensor, Tensor, Motion]:
        """A picture and its marks, perhaps smaller, and how a camera moves that looks at what is marked.

        Args:
            picture: RGB 0..1.
            marks: labels.
            rng: where the draws come from.
            still: nothing moves by itself in the picture, so that all of it bends a little.
        """
        frames, height, width = self.config.clip_frames, self.config.height, self.config.width
        h, w = picture.shape[1:]
        scale = max(height / h, width / w) * float(np.exp(rng.uniform(0.02, 0.4)))
        if scale < 0.8:  # a larger picture would be sampled with gaps
            h, w = round(h * scale), round(w * scale)
            picture, scale = image.resize(picture, h, w), 1.0
            marks = F.interpolate(marks[None, None], (h, w))[0, 0]
        speed = float(rng.choice([0.2, 1.0, 2.5], p=[0.35, 0.45, 0.2]))
        bend = 0.03 if still else float(rng.choice([0.0, 0.02], p=[0.6, 0.4]))
        motion = wander(rng, frames, np.zeros(2), 0.02 * width * speed, 0.025 * speed, bend)
        matrix = np.diag([scale * rng.choice([-1, 1]), scale])
        start = _covering(self._focus(marks.float(), rng), matrix, (h, w), (height, width), rng)
        return picture, marks, Motion(motion.centre + start, motion.matrix @ matrix, motion.bend)

    def _lifted(
        self,
        rng: np.random.Generator,
        pixels: UInt8[Tensor, "3 h w"],
        mask: Bool[Tensor, "h w"],
        camera: Motion,
        label: int,
    ) -> Layer:
        """A thing of the background that starts at its own place and then moves by itself."""
        colour, alpha = cut_out(pixels, mask, 1.0)
        ys, xs = torch.where(mask.any(1))[0], torch.where(mask.any(0))[0]
        middle = np.array([int(xs[0]) + int(xs[-1]), int(ys[0]) + int(ys[-1])]) / 2
        start = camera.centre + camera.matrix @ (middle - (np.array(mask.shape[::-1]) - 1) / 2)
        speed = float(rng.choice([0.3, 1.0, 2.0], p=[0.3, 0.5, 0.2]))
        own = wander(rng, len(start), np.zeros(2), 0.03 * self.config.width * speed, 0.05 * speed, 0.03 * speed)
        motion = Motion(start + own.centre, own.matrix @ camera.matrix, own.bend)
        return Layer(colour, alpha, motion, label, _exposure(rng))

    def _more(self, rng: np.random.Generator, taken: int, middles: list[np.ndarray]) -> list[Layer]:
        """Things of other pictures (or videos) that cross, leave, come back, or hide what is followed.

        Args:
            rng: where the draws come from.
            taken: how many objects are followed already.
            middles: where those are in each frame.
        """
        out: list[Layer] = []
        for number in range(int(rng.integers(1, 3))):
            pixels, labels = self._any(rng)
            if not (things := _things(labels)):
                continue
            follow = taken < self.config.max_objects and rng.random() < 0.65
            thing = things[int(rng.integers(len(things)))]
            aim = middles[int(rng.integers(len(middles)))] if middles else None
            out.append(self._pasted(rng, pixels, labels == thing, MORE + number if follow else 0, aim))
            taken += follow
            middles = [*middles, out[-1].motion.centre]
        return out

    def _pasted(
        self,
        rng: np.random.Generator,
        pixels: UInt8[Tensor, "3 h w"],
        mask: Bool[Tensor, "h w"],
        label: int,
        aim: Float[np.ndarray, "t 2"] | None,
    ) -> Layer:
        """A thing with a path of its own: it wanders, goes through the place where another one is, or out and back.

        Args:
            rng: where the draws come from.
            pixels: of its picture.
            mask: where it is in it.
            label: its number in the clip; 0: it is not followed.
            aim: where another thing is in each frame.
        """
        frames, height, width = self.config.clip_frames, self.config.height, self.config.width
        side = float(np.exp(rng.uniform(*np.log(SIZES)))) * (height * width) ** 0.5
        scale = min(side / float(mask.sum()) ** 0.5, 2.5)
        if rng.random() < 0.5:
            pixels, mask = pixels.flip(2), mask.flip(1)
        colour, alpha = cut_out(pixels, mask, scale)
        speed = float(rng.choice([0.3, 1.0, 2.0], p=[0.3, 0.5, 0.2]))
        size = np.array([width, height], float)
        start = rng.uniform(0.12, 0.88, 2) * size
        motion = wander(rng, frames, start, 0.04 * width * speed, 0.05 * speed, 0.03 * speed)
        turn = rng.random()
        if aim is not None and frames > 1 and turn < 0.45:
            frame = int(rng.integers(1, frames))
            motion = through(motion, _far(rng, aim[0], size), aim[frame] + rng.normal(0, 0.05, 2) * size, frame)
        elif frames > 2 and turn < 0.65:
            outside = rng.uniform(0.1, 0.9, 2) * size
            axis = int(rng.random() < 0.4)  # out at a side, or above or below
            beyond = (0.45 + 0.15 * rng.random()) * alpha.shape[1 - axis]
            outside[axis] = size[axis] + beyond if rng.random() < 0.5 else -beyond
            motion = away(motion, outside, int(rng.integers(1, frames - 1)))
        gain = np.exp(rng.normal(0, 0.12) + rng.normal(0, 0.05, (3, 1, 1))).astype(np.float32)
        return Layer((colour * torch.from_numpy(gain)).clamp(max=1), alpha, motion, label, _exposure(rng))

    # -------------------------------------------------------------------------------------------------- what is read

    def _read(self, marked: Marked) -> tuple[Tensor, ...]:
        return self._kept.get(marked.picture, marked.read)

    def _frame(self, video: Video, frame: int) -> tuple[Tensor, ...]:
        return self._kept.get(video.frames[frame], lambda: _frame(video, frame))

    def _any(self, rng: np.random.Generator) -> tuple[Tensor, ...]:
        """A picture with marked things: a single one, or a frame of a video."""
        if self.pictures and not (self.videos and rng.random() < 0.1):
            return self._read(self.pictures[int(rng.integers(len(self.pictures)))])
        video = self.videos[int(rng.integers(len(self.videos)))]
        return self._frame(video, video.marked[int(rng.integers(len(video.marked)))])


def _frame(video: Video, frame: int) -> tuple[UInt8[Tensor, "3 h w"], UInt8[Tensor, "h w"]]:
    """A frame and its labels."""
    pixels = image.to_bytes(image.read(video.frames[frame], long_side=LONG_SIDE))
    mask = video.mask(frame)
    height, width = pixels.shape[1:]
    if mask is None:
        return pixels, torch.full((height, width), VOID, dtype=torch.uint8)
    return pixels, torch.from_numpy(resized(mask, height, width))


def _things(labels: UInt8[Tensor, "h w"]) -> list[int]:
    """The objects of a picture that are neither specks nor nearly all of it."""
    share = torch.bincount(labels.flatten(), minlength=VOID + 1)[1:VOID] / labels.numel()
    return [int(i) + 1 for i in torch.where((share >= AREAS[0]) & (share <= AREAS[1]))[0]]


def _numbered(masks: Sequence[Bool[Tensor, "h w"]], first: int) -> UInt8[Tensor, "h w"]:
    """The label `first` where the first mask is, the next one where the second is, ...; 0 elsewhere."""
    out = torch.zeros(masks[0].shape, dtype=torch.uint8)
    for number, mask in enumerate(masks, first):
        out[mask] = number
    return out


def _renumbered(labels: UInt8[Tensor, "t h w"]) -> UInt8[Tensor, "t h w"]:
    """The objects of the first frame with the labels OWN, OWN + 1, ...; others are background, VOID stays."""
    there = [int(i) for i in torch.unique(labels[0]) if 0 < i < VOID][: BELOW - OWN]
    table = torch.zeros(VOID + 1, dtype=torch.uint8)
    table[VOID] = VOID
    table[there] = torch.arange(OWN, OWN + len(there), dtype=torch.uint8)
    return table[labels.long()]


def _taken(labels: Int64[Tensor, "t h w"]) -> int:
    """How many objects the first frame shows."""
    found = torch.unique(labels[0])
    return int(((found > 0) & (found < VOID)).sum())


def _middles(labels: Int64[Tensor, "t h w"]) -> list[Float[np.ndarray, "t 2"]]:
    """The middle, x and y, of all that is followed in each frame; nothing where the first frame shows nothing."""
    places = []
    for frame in (labels > 0) & (labels < VOID):
        ys, xs = torch.where(frame[::4, ::4])
        places.append([4 * float(xs.float().mean()), 4 * float(ys.float().mean())] if len(ys) else None)
    if places[0] is None:
        return []
    last = places[0]
    out = []
    for place in places:
        last = place or last
        out.append(last)
    return [np.array(out)]


def _far(rng: np.random.Generator, place: Float[np.ndarray, "2"], size: Float[np.ndarray, "2"]) -> np.ndarray:
    """A place in the picture that is not near another: the farthest of four."""
    tries = rng.uniform(0.05, 0.95, (4, 2)) * size
    return tries[int(((tries - place) ** 2).sum(1).argmax())]


def _exposure(rng: np.random.Generator) -> float:
    return float(rng.choice([0.0, 0.2, 0.4], p=[0.7, 0.2, 0.1]))


def _covering(
    focus: np.ndarray, matrix: np.ndarray, inner: tuple[int, int], outer: tuple[int, int], rng: np.random.Generator
) -> Float[np.ndarray, "2"]:
    """Where the middle of a picture lies in the frame so that what is looked at is near its middle, without borders.

    Args:
        focus: what is looked at, in pixels from the picture's middle.
        matrix: frame_from_picture.
        inner: height and width of the picture.
        outer: height and width of the frame.
        rng: where the draws come from.
    """
    frame = np.array(outer[::-1], float)
    middle = (frame - 1) / 2
    wish = middle + rng.normal(0, 0.08, 2) * frame - matrix @ focus
    room = np.maximum(np.abs(matrix) @ np.array(inner[::-1]) - frame, 0) / 2
    return np.clip(wish, middle - room, middle + room)
