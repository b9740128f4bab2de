"""Videos as an evaluation sees them: as they were filmed, with more objects pasted in, or with the object hidden.

Where a set marks one object a video, the last two are made of it: objects of other videos of the same set move through
the picture (several objects), and a board with the ground of another video slides over the object and away again (lost
and found). All of it follows from the files alone, so every run is measured on the same frames.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from percepta.datasets.videos import Video
from percepta.errors import InputError
from percepta.media import image

NEAR = 0.02  # by so much a mask's sides may differ from its frame's, and it is then brought to its size
PASTED = 2  # objects that are pasted into a video
SIDES = (0.16, 0.28)  # of a pasted object, as a share of the frame's (root of the areas)
SHORTEST = 12  # a video with fewer frames is not hidden
COVERED = (0.4, 0.6)  # the part of a video in which the object is hidden
SLIDE = 3  # frames in which the board comes, and goes


@runtime_checkable
class Sequence(Protocol):
    """A video to be followed and compared.

    Attributes:
        name: of the video.
        group: what belongs together when an interval is drawn.
        kind: "videos", "several objects", "lost and found" or "world".
        first: {id: the frame in which the object is given}.
        compared: {id: the frames that count}.
        hidden: frames in which no object is in sight.
        seen: {id: whether its category is known from training}; empty where nobody knows.
    """

    @property
    def name(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def first(self) -> Mapping[int, int]: ...
    @property
    def compared(self) -> Mapping[int, tuple[int, ...]]: ...
    @property
    def hidden(self) -> tuple[int, ...]: ...
    @property
    def seen(self) -> Mapping[int, bool]: ...
    def __len__(self) -> int: ...
    def frame(self, number: int) -> tuple[image.Source, UInt8[np.ndarray, "h w"] | None]:
        """The picture of a frame, and the object of each pixel where it is known and needed."""
        ...


@dataclass(frozen=True)
class Filmed:
    """A video of a data set as it is.

    Attributes:
        video: what was read.
        first: as `Sequence` says.
        compared: as `Sequence` says.
    """

    video: Video
    first: Mapping[int, int]
    compared: Mapping[int, tuple[int, ...]]
    kind: str = "videos"
    hidden: tuple[int, ...] = ()

    @classmethod
    def of(cls, video: Video) -> Filmed:
        """The video; what its masks tell is read now. Raises what `Video.first_frames` raises."""
        return cls(video, video.first_frames(), video.compared())

    @property
    def name(self) -> str:
        return self.video.name

    @property
    def group(self) -> str:
        return self.video.group

    @property
    def seen(self) -> Mapping[int, bool]:
        return self.video.seen

    def __len__(self) -> int:
        return len(self.video.frames)

    def frame(self, number: int) -> tuple[Path, UInt8[np.ndarray, "h w"] | None]:
        path = self.video.frames[number]
        needed = number in self.first.values() or any(number in frames for frames in self.compared.values())
        mask = self.video.mask(number) if needed else None
        return path, None if mask is None else fitted(mask, image.size(path), self.video.masks[number])


@dataclass(frozen=True)
class Several:
    """A video of one object into which objects of other videos are pasted: they move, and may hide each other.

    Attributes:
        video: whose object has id 1.
        others: whose objects get the ids 2, 3, ...
    """

    video: Video
    others: tuple[Video, ...]
    kind: str = "several objects"
    hidden: tuple[int, ...] = ()
    seen: Mapping[int, bool] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.video.name} with {' and '.join(other.name for other in self.others)}"

    @property
    def group(self) -> str:
        return self.video.group

    @property
    def first(self) -> dict[int, int]:
        return dict.fromkeys(range(1, len(self.others) + 2), 0)

    @property
    def compared(self) -> dict[int, tuple[int, ...]]:
        return dict.fromkeys(self.first, tuple(range(1, len(self) - 1)))

    def __len__(self) -> int:
        return len(self.video.frames)

    def frame(self, number: int) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
        pixels, labels = _read(self.video, number)
        for place, other in enumerate(self.others):
            pixels, labels = self._pasted(pixels, labels, number, place, other)
        return pixels, labels

    def _pasted(
        self, pixels: np.ndarray, labels: np.ndarray, number: int, place: int, other: Video
    ) -> tuple[np.ndarray, np.ndarray]:
        """One more object, which goes to and fro along a line while its own video is played to and fro."""
        height, width = labels.shape
        rng = np.random.default_rng(zlib.crc32(f"{self.video.name}/{other.name}".encode()))
        picture, mask = _read(other, _to_and_fro(number, len(other.frames)))
        ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        side = rng.uniform(*SIDES) * (height * width) ** 0.5
        begin = np.array([0.25 + 0.5 * place, rng.uniform(0.3, 0.7)])  # one left, one right, so that they cross
        goal = np.array([0.75 - 0.5 * place, rng.uniform(0.3, 0.7)])
        share = _to_and_fro(number, len(self)) / max(len(self) - 1, 1)
        if not len(ys):
            return pixels, labels
        # Its size follows from its first mask: it may grow and shrink as in its own video, but not fill the frame.
        first, now = (max(float((m > 0).sum()), 1.0) for m in (_read(other, 0)[1], mask))
        scale = min(side / first**0.5, 1.5 * side / now**0.5)
        box = (int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1)
        size = (max(2, round((box[2] - box[0]) * scale)), max(2, round((box[3] - box[1]) * scale)))
        cut = Image.fromarray(picture).crop(box).resize(size, Image.Resampling.BILINEAR)
        alpha = Image.fromarray((mask > 0).astype(np.uint8) * 255).crop(box).resize(size, Image.Resampling.BILINEAR)
        x, y = (begin + share * (goal - begin)) * [width, height] - np.array(size) / 2
        out, shown = Image.fromarray(pixels), Image.fromarray(labels)
        out.paste(cut, (round(x), round(y)), alpha)
        shown.paste(place + 2, (round(x), round(y)), alpha.point([0] * 128 + [255] * 128))
        return np.array(out), np.array(shown)


@dataclass(frozen=True)
class Hidden:
    """A video of one object over which a board slides: the object is lost, and found when the board goes.

    Attributes:
        video: whose object has id 1.
        other: whose ground the board shows.
        box: left, top, right and bottom of the board when it covers the object, in pixels.
        hidden: the frames in which it covers all of the object.
    """

    video: Video
    other: Video
    box: tuple[int, int, int, int]
    hidden: tuple[int, ...]
    kind: str = "lost and found"
    seen: Mapping[int, bool] = field(default_factory=dict)

    @classmethod
    def of(cls, video: Video, other: Video) -> Hidden | None:
        """The video with a board; None where it is too short.

        Args:
            video: of one object, with a mask in every frame.
            other: another one.
        """
        length = len(video.frames)
        if length < SHORTEST:
            return None
        hidden = tuple(range(round(COVERED[0] * length), round(COVERED[1] * length)))
        sides = []
        for number in hidden:
            _, mask = _read(video, number)
            ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            if len(ys):
                sides.append((xs[0], ys[0], xs[-1] + 1, ys[-1] + 1))
        if not sides:
            return None
        margin = round(0.02 * max(mask.shape))
        lowest, highest = np.min(sides, 0)[:2] - margin, np.max(sides, 0)[2:] + margin
        box = (int(lowest[0]), int(lowest[1]), int(highest[0]), int(highest[1]))
        return cls(video, other, box, hidden)

    @property
    def name(self) -> str:
        return f"{self.video.name}, hidden"

    @property
    def group(self) -> str:
        return self.video.group

    @property
    def first(self) -> dict[int, int]:
        return {1: 0}

    @property
    def compared(self) -> dict[int, tuple[int, ...]]:
        """The frames after the board has gone."""
        return {1: tuple(range(self.hidden[-1] + SLIDE + 1, len(self) - 1))}

    def __len__(self) -> int:
        return len(self.video.frames)

    def frame(self, number: int) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
        pixels, labels = _read(self.video, number)
        away = max(self.hidden[0] - number, number - self.hidden[-1], 0)
        if away > SLIDE:
            return pixels, labels
        left, top, right, bottom = self.box
        # It comes from the side that is nearer, and goes back there.
        width = labels.shape[1]
        way = -right if left + right < width else width - left
        shift = round(way * away / (SLIDE + 1))
        left, right = max(left + shift, 0), min(right + shift, width)
        top, bottom = max(top, 0), min(bottom, labels.shape[0])
        if left < right:
            ground = np.array(Image.fromarray(self._ground()).resize((right - left, bottom - top)))
            pixels, labels = pixels.copy(), labels.copy()
            pixels[top:bottom, left:right] = ground
            labels[top:bottom, left:right] = 0
        return pixels, labels

    def _ground(self) -> UInt8[np.ndarray, "a b 3"]:
        """The largest of the strips beside the object in the other video's first frame."""
        pixels, mask = _read(self.other, 0)
        ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if not len(ys):
            return pixels
        strips = [pixels[:, : xs[0]], pixels[:, xs[-1] + 1 :], pixels[: ys[0]], pixels[ys[-1] + 1 :]]
        return max(strips, key=lambda strip: strip.size)


def sequences(videos: list[Video]) -> list[Sequence]:
    """The videos as they are; where all of them mark one object only, also with several objects, and hidden.

    Raises:
        InputError: a video without masks, or with an empty first one.
    """
    out: list[Sequence] = [Filmed.of(video) for video in videos]
    plain = [v for v in videos if v.binary and len(v.marked) == len(v.frames) > 2]
    if len(plain) < len(videos) or len(plain) <= PASTED:
        return out
    following = [tuple(plain[(i + k) % len(plain)] for k in range(1, PASTED + 1)) for i in range(len(plain))]
    out += [Several(video, others) for video, others in zip(plain, following, strict=True)]
    hidden = [Hidden.of(video, others[0]) for video, others in zip(plain, following, strict=True)]
    return out + [one for one in hidden if one is not None]


def fitted(mask: UInt8[np.ndarray, "a b"], size: tuple[int, int], path: Path | None) -> UInt8[np.ndarray, "h w"]:
    """A mask at the size of its frame, which it may miss by little.

    Args:
        mask: a label map.
        size: height and width of the frame.
        path: its file, for the message.

    Raises:
        InputError: it has another size than its frame.
    """
    if mask.shape == size:
        return mask
    if any(abs(a - b) > max(1, NEAR * b) for a, b in zip(mask.shape, size, strict=True)):
        raise InputError(
            f"{path}: the mask has {mask.shape[1]}×{mask.shape[0]} pixels, its frame {size[1]}×{size[0]}; "
            "masks have the size of the frames"
        )
    return np.array(Image.fromarray(mask).resize((size[1], size[0]), Image.Resampling.NEAREST))


def _to_and_fro(number: int, length: int) -> int:
    """The frame of a video of `length` frames that is played forwards, backwards, forwards, ..."""
    place = number % max(2 * length - 2, 1)
    return place if place < length else 2 * length - 2 - place


def _read(video: Video, number: int) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
    pixels = image.to_bytes(image.read(video.frames[number]).permute(1, 2, 0)).numpy()
    mask = video.mask(number)
    if mask is None:
        raise InputError(f"{video.frames[number]}: no mask for this frame")
    return pixels, fitted(mask, (pixels.shape[0], pixels.shape[1]), video.masks[number])
