"""Videos and single pictures into training clips, and videos into samples of an evaluation.

A training batch is {pictures: b t 3 h w (RGB 0..1), labels: b t h w (0 background, 1 .. n an object, 255 not known),
known: b n (which objects there are; each of them is in sight in frame 0)}.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from percepta.contract import Batch, Dataset, Key
from percepta.datasets import layouts
from percepta.datasets.scene import MaskSource, PngMask, Scene
from percepta.datasets.videos import VOID, Video
from percepta.errors import InputError
from percepta.media import image
from percepta.systems.vos import Config, sequences, world
from percepta.systems.vos.clips import (
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

SPLITS = ("train", "val", "test", "all")
SIZES = (0.1, 0.55)  # smallest and largest side of a pasted thing, as a share of the frame's (root of the areas)
AREAS = (0.008, 0.65)  # share of its picture that a thing must and may cover to be cut out
SEEN = 0.003  # share of frame 0 that an object must cover to be followed

# Folders of a collection, and how often an epoch goes through each (others: once). Of flickr8k and oasis only what
# stands out in the picture is taken; a person of ccp is all that it wears.
REPEATS: dict[str, float] = {"coco-small": 2}
TEST_VIDEOS = "davis16"  # a folder of a collection that is only evaluated on
HELD_OUT = ("bmx-bumps", "drift-turn", "mallard-water", "rollerblade")  # of DAVIS-2016's train: to choose settings by


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
        pixels = image.to_bytes(image.read(self.picture))
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


def resized(mask: Bool[np.ndarray, "a b"], height: int, width: int) -> Bool[np.ndarray, "height width"]:
    """A mask at another size, by the nearest pixel.

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
        there = [i for i, path in enumerate(video.masks) if path is not None]
        if len(there) < 2:
            return None
        most = max(1, (len(there) - 1) // max(frames - 1, 1))
        stride = int(min(rng.choice([1, 2, 3, 4], p=[0.4, 0.3, 0.2, 0.1]), most))
        span = (frames - 1) * stride
        start = int(rng.integers(max(1, len(there) - span)))
        picks = np.minimum(start + stride * np.arange(frames), len(there) - 1)
        if rng.random() < 0.5:
            picks = picks[::-1]
        read = [self._kept.get((video.name, there[i]), lambda i=there[i]: _frame(video, i)) for i in picks]
        pixels = torch.stack([pixels for pixels, _ in read]).float() / 255
        masks = torch.stack([labels for _, labels in read]).float()
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
        layers = self._layers(rng, self._taken(labels), _middles(labels)) if rng.random() < 0.35 else []
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
        frames, height, width = self.config.clip_frames, self.config.height, self.config.width
        pixels, labels = self._read(self.pictures[index])
        upright = pixels.shape[1] > pixels.shape[2]
        things = _things(labels)
        if not things:
            return None
        kind = str(rng.choice(["still", "lifted", "pasted"], p=[0.15, 0.25, 0.6] if upright else [0.35, 0.35, 0.3]))
        chosen = [things[i] for i in rng.permutation(len(things))[: self.config.max_objects]]
        background, marks = pixels.float() / 255, torch.where(torch.isin(labels, torch.tensor(chosen)), labels, 0)
        if kind == "pasted":
            other, seen = self._read(self.pictures[int(rng.integers(len(self.pictures)))])
            background = other.float() / 255
            there = _things(seen)
            follow = there[:1] if rng.random() < 0.5 else []
            marks = torch.where(torch.isin(seen, torch.tensor(follow or [VOID])), seen, 0)
        elif kind == "lifted":
            background = filled(background, marks > 0)
        h, w = background.shape[1:]
        scale = max(height / h, width / w) * float(np.exp(rng.uniform(0.02, 0.4)))
        size = (round(h * scale), round(w * scale))
        if scale < 0.8:  # otherwise a large picture would be sampled with gaps
            background = image.resize(background, *size)
            marks = F.interpolate(marks[None, None], size)[0, 0]
            scale, (h, w) = 1.0, size
        speed = float(rng.choice([0.2, 1.0, 2.5], p=[0.35, 0.45, 0.2]))
        focus = self._focus(marks.float(), rng)
        bend = float(rng.choice([0.0, 0.02], p=[0.6, 0.4])) if kind != "still" else 0.03
        motion = wander(rng, frames, np.zeros(2), 0.02 * width * speed, 0.025 * speed, bend)
        matrix = np.diag([scale * rng.choice([-1, 1]), scale])
        start = _covering(focus, matrix, (h, w), (height, width), rng)
        motion = Motion(motion.centre + start, motion.matrix @ matrix, motion.bend)
        exposure = float(rng.choice([0.0, 0.25, 0.5], p=[0.75, 0.15, 0.1]))
        if kind == "lifted":
            marks = torch.zeros_like(marks)
        film, below = filmed(background, marks, motion, (height, width), exposure)
        layers = [self._lifted(rng, pixels, labels == thing, motion, thing) for thing in chosen if kind == "lifted"]
        if kind == "pasted":
            own = [self._pasted(rng, pixels, labels == thing, 100 + thing, None) for thing in chosen]
            layers = [layer for layer in own if layer is not None]
        middles = _middles(below) if kind != "lifted" else [layer.motion.centre for layer in layers]
        more = self._layers(rng, len(layers) + self._taken(below), middles) if rng.random() < 0.6 else []
        layers = [*layers, *more]
        if rng.random() < 0.5:
            layers = [layers[i] for i in rng.permutation(len(layers))]
        return compose(film, below, layers)

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
        h, w = mask.shape
        middle = np.array(
            [(float(xs[0]) + float(xs[-1])) / 2 - (w - 1) / 2, (float(ys[0]) + float(ys[-1])) / 2 - (h - 1) / 2]
        )
        start = camera.centre + (camera.matrix @ middle)
        speed = float(rng.choice([0.3, 1.0, 2.0], p=[0.3, 0.5, 0.2]))
        own = wander(rng, len(start), np.zeros(2), 0.03 * self.config.width * speed, 0.05 * speed, 0.03 * speed)
        motion = Motion(start + own.centre, own.matrix @ camera.matrix, own.bend)
        return Layer(colour, alpha, motion, label, _exposure(rng))

    def _layers(self, rng: np.random.Generator, taken: int, middles: list[np.ndarray]) -> list[Layer]:
        """Things of other pictures (or videos) that cross, leave, come back, or hide what is followed.

        Args:
            rng: where the draws come from.
            taken: how many objects are followed already.
            middles: where those are in each frame.
        """
        out = []
        for number in range(int(rng.integers(1, 3))):
            pixels, labels = self._any(rng)
            things = _things(labels)
            if not things:
                continue
            follow = taken < self.config.max_objects and rng.random() < 0.65
            label = 200 + number if follow else 0
            thing = things[int(rng.integers(len(things)))]
            aim = middles[int(rng.integers(len(middles)))] if middles else None
            layer = self._pasted(rng, pixels, labels == thing, label, aim)
            if layer is not None:
                out.append(layer)
                taken += follow
                middles = [*middles, layer.motion.centre]
        return out

    def _pasted(
        self,
        rng: np.random.Generator,
        pixels: UInt8[Tensor, "3 h w"],
        mask: Bool[Tensor, "h w"],
        label: int,
        aim: Float[np.ndarray, "t 2"] | None,
    ) -> Layer | None:
        """A thing of another picture with a path of its own, maybe through the place where another one is."""
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
            reach = np.array(alpha.shape[::-1]) / 2
            side_x = rng.random() < 0.6
            outside = rng.uniform(0.1, 0.9, 2) * size
            axis = 0 if side_x else 1
            far = (0.9 + rng.random() * 0.3) * reach[axis]
            outside[axis] = size[axis] + far if rng.random() < 0.5 else -far
            motion = away(motion, outside, int(rng.integers(1, frames - 1)))
        gain = torch.from_numpy(
            np.exp(rng.normal(0, 0.12, (3, 1, 1)) * [[[0.4]]] + rng.normal(0, 0.12)).astype(np.float32)
        )
        return Layer((colour * gain).clamp(max=1), alpha, motion, label, _exposure(rng))

    # -------------------------------------------------------------------------------------------------- what is read

    def _read(self, marked: Marked) -> tuple[Tensor, ...]:
        return self._kept.get(marked.picture, marked.read)

    def _any(self, rng: np.random.Generator) -> tuple[Tensor, ...]:
        """A picture with marked things: a single one, or a frame of a video."""
        if self.pictures and not (self.videos and rng.random() < 0.1):
            return self._read(self.pictures[int(rng.integers(len(self.pictures)))])
        video = self.videos[int(rng.integers(len(self.videos)))]
        there = [i for i, path in enumerate(video.masks) if path is not None]
        frame = there[int(rng.integers(len(there)))]
        return self._kept.get((video.name, frame), lambda: _frame(video, frame))

    @staticmethod
    def _taken(labels: Int64[Tensor, "t h w"]) -> int:
        """How many objects the first frame shows."""
        return int(((found := torch.unique(labels[0])) > 0).sum() - (found == VOID).sum())


def _frame(video: Video, frame: int) -> tuple[UInt8[Tensor, "3 h w"], UInt8[Tensor, "h w"]]:
    """A frame and its labels, at most 512 pixels long."""
    pixels = image.to_bytes(image.read(video.frames[frame], long_side=512))
    mask = video.mask(frame)
    height, width = pixels.shape[1:]
    if mask is None:
        return pixels, torch.full((height, width), VOID, dtype=torch.uint8)
    rows = ((np.arange(height) + 0.5) * mask.shape[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * mask.shape[1] / width).astype(int)
    return pixels, torch.from_numpy(mask[rows[:, None], columns])


def _things(labels: UInt8[Tensor, "h w"]) -> list[int]:
    """The objects of a picture that are neither specks nor nearly all of it."""
    share = torch.bincount(labels.flatten(), minlength=VOID + 1)[1:VOID] / labels.numel()
    return [int(i) + 1 for i in torch.where((share >= AREAS[0]) & (share <= AREAS[1]))[0]]


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


# --------------------------------------------------------------------------------- which videos, which pictures


def data(config: Config, split: str, root: Path | None = None) -> Dataset:
    """Training clips, or the videos of a split; without a folder, of shapes that cross and hide (`world.py`).

    Args:
        config: the settings.
        split: "train", "val", "test" or "all".
        root: a folder of videos with masks, of pictures with masks, or with several such folders in it.

    Raises:
        MissingFileError, InputError: no set that is known, which says what was looked for; no such split, or nothing
            in it.
    """
    if split not in SPLITS:
        raise InputError(f"the splits are {', '.join(SPLITS)}, not {split!r}")
    if root is None:
        return world.Clips(config, config.train.seed) if split == "train" else world.Videos(config, split)
    if split == "train":
        return Clips(config, pictures(root), videos(root, split), config.train.seed)
    found = videos(root, split)
    if not found:
        raise InputError(f"{root}: no video with masks in the split {split!r}")
    return Followed(tuple(sequences.sequences(found)))


@dataclass(frozen=True)
class Followed:
    """Videos of an evaluation; a batch is {videos: list of `sequences.Sequence`}."""

    found: tuple[sequences.Sequence, ...]

    def __len__(self) -> int:
        return len(self.found)

    def __getitem__(self, key: Key) -> sequences.Sequence:
        return self.found[key[1]]

    def collate(self, samples: list[sequences.Sequence]) -> Batch:
        return {"videos": samples}


def videos(root: Path, split: str) -> list[Video]:
    """The videos of a split of a folder.

    Official splits count where the set has them; else HELD_OUT are for validation, and what is no such folder is cut by
    the checksum of each video's name; its "test" is everything. In a collection (a folder with several sets), the
    videos of TEST_VIDEOS are for testing only, and the others are never for testing.

    Args:
        root: the folder.
        split: "train", "val", "test" or "all".
    """
    found = [one for one in layouts.find(root, Video, Scene) if one.kind is Video]
    alone = [one.root for one in found] == [Path(root).expanduser()]
    out: list[Video] = []
    for one in found:
        if not alone and split != "all" and (one.root.name == TEST_VIDEOS) != (split == "test"):
            continue
        out += part(one.read(one.root), split, everything=not alone and split == "test")
    return out


def part(found: list[Video], split: str, everything: bool = False) -> list[Video]:
    """The videos of a split of one set: the official one, else that of HELD_OUT or of the checksum of the name.

    Args:
        found: all videos of the set.
        split: "train", "val", "test" or "all".
        everything: all of them belong to the split.
    """
    if split == "all" or everything:
        return found
    official = {video.split for video in found if video.split}
    if official:
        if split == "test" and "test" not in official:
            split = "val"
        return [video for video in found if video.split == split]
    if split == "test":
        return found
    named = {video.name for video in found} & {*HELD_OUT}
    held = [v for v in found if (v.name in named if named else zlib.crc32(v.name.encode()) % 8 == 0)]
    return held if split == "val" else [video for video in found if video not in held]


def pictures(root: Path) -> list[Marked]:
    """The single pictures with marked objects of a folder, repeated as REPEATS says."""
    out: list[Marked] = []
    for one in layouts.find(root, Video, Scene):
        if one.kind is not Scene:
            continue
        some = [marked for scene in one.read(one.root) if (marked := marked_in(scene)) is not None]
        times = REPEATS.get(one.root.name, 1)
        for copy in range(ceil(times)):
            out += some[: round(len(some) * min(1.0, times - copy))]
    return out


def marked_in(scene: Scene) -> Marked | None:
    """The objects of a labelled picture; None where it marks classes rather than objects."""
    masks = [region.mask for region in scene.regions]
    if scene.source == "ccp":  # what somebody wears, together
        masks = [PngMask(mask.path) for mask in masks[:1] if isinstance(mask, PngMask)]
    elif scene.source in ("flickr8k", "oasis"):  # what stands out has no name; classes may hold several objects
        masks = [region.mask for region in scene.regions if not region.name]
    return Marked(scene.image, tuple(masks)) if masks else None
