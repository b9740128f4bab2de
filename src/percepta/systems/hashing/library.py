"""A library: videos and pictures with sentences, and their vectors.

The encoders are frozen, so the vectors of a library are made once for each model and then remembered here: training
and evaluation only name places in the library.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from percepta.datasets.captioned import Clip
from percepta.errors import InputError
from percepta.media import image, video
from percepta.systems.hashing.frames import middles, video_frames
from percepta.systems.hashing.model import Hasher

PICTURES, SENTENCES = 64, 64  # at a time
REMEMBERED = 2  # libraries of a model: training and validation take turns


@dataclass(frozen=True)
class Library:
    """What is searched, and sentences about it.

    Attributes:
        key: follows from all the rest; libraries with the same key are the same.
        videos: clips, or the bytes of synthetic pictures.
        sentences: all of them, in the order of the videos.
        owner: the video of each sentence.
        groups: of the videos: what is drawn together for an interval.
    """

    key: str
    videos: tuple[Clip, ...] | UInt8[Tensor, "n 3 h w"] = field(compare=False, repr=False)
    sentences: tuple[str, ...] = field(compare=False, repr=False)
    owner: Int[Tensor, " s"] = field(compare=False, repr=False)
    groups: tuple[str, ...] = field(compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.videos)


def make_library(videos: Sequence[Clip] | UInt8[Tensor, "n 3 h w"], sentences: Sequence[Sequence[str]]) -> Library:
    """A library of videos with the sentences of each."""
    flat = tuple(sentence for some in sentences for sentence in some)
    owner = torch.tensor([index for index, some in enumerate(sentences) for _ in some], dtype=torch.long)
    digest = hashlib.sha256(repr((flat, owner.tolist())).encode())
    if isinstance(videos, Tensor):
        digest.update(videos.numpy().tobytes())
        groups = tuple(map(str, range(len(videos))))
        return Library(digest.hexdigest(), videos, flat, owner, groups)
    for clip in videos:
        digest.update(repr((clip.media, clip.start_s, clip.end_s)).encode())
    return Library(digest.hexdigest(), tuple(videos), flat, owner, tuple(clip.group for clip in videos))


def clip_frames(clip: Clip, frames: int, side: int) -> Float[Tensor, "f 3 side side"]:
    """What is encoded of a clip: the picture, or `frames` frames at most, squeezed into a square, RGB 0..1.

    Args:
        clip: a video, a part of one, a folder of frames, or a picture.
        frames: how many, where there are as many.
        side: of the square, in pixels.

    Raises:
        MissingFileError, InputError: a file is missing or cannot be decoded.
    """
    if clip.is_video:
        assert isinstance(clip.media, Path)
        return video_frames(clip.media, frames, side, clip.start_s, clip.end_s)
    files = [clip.media] if isinstance(clip.media, Path) else list(clip.media)
    if len(files) > frames:
        files = [files[place] for place in middles(frames, 0.0, float(len(files))).astype(int)]
    return torch.stack([image.squeeze_square(file, side) for file in files])


def open_clip(clip: Clip) -> float:
    """Opens a clip's files: the length of a video in seconds, 0 where it does not say and for pictures.

    Raises:
        MissingFileError, InputError: a file is missing, or cannot be decoded.
    """
    if clip.is_video:
        return float(video.info(clip.first).duration_s)
    for path in [clip.media] if isinstance(clip.media, Path) else clip.media:
        if wrong := image.broken(path):
            raise InputError(wrong)
    return 0.0


def picture_of(library: Library, video: int, side: int) -> UInt8[np.ndarray, "h w 3"]:
    """The picture, or the frame in the middle of the video, that is shown for a place in a library.

    Args:
        library: see `Library`.
        video: the place.
        side: of the picture in pixels; synthetic pictures come as they are.
    """
    if isinstance(library.videos, Tensor):
        return library.videos[video].permute(1, 2, 0).numpy()
    pixels = image.to_bytes(clip_frames(library.videos[video], 1, side)[0])
    return pixels.permute(1, 2, 0).numpy()


# ----------------------------------------------------------------------------------------------------------- vectors


@dataclass
class _Vectors:
    """Vectors of a library: of the videos that were encoded so far, and of all sentences."""

    videos: Float[Tensor, "v d"] | None = None
    encoded: set[int] = field(default_factory=set)
    sentences: Float[Tensor, "s d"] | None = None


_REMEMBERED: WeakKeyDictionary[Hasher, dict[tuple[str, torch.device], _Vectors]] = WeakKeyDictionary()


def encode(model: Hasher, library: Library) -> tuple[Float[Tensor, "v d"], Float[Tensor, "s d"]]:
    """Unit vectors of a library's videos and of its sentences.

    Raises:
        MissingFileError, InputError: a file cannot be read.
    """
    return encode_videos(model, library), encode_sentences(model, library)


@torch.no_grad()
def encode_videos(model: Hasher, library: Library, places: Sequence[int] | None = None) -> Float[Tensor, "v d"]:
    """Unit vectors of videos.

    Args:
        model: what encodes them.
        library: where they are.
        places: which of them, in this order; None: all.

    Raises:
        MissingFileError, InputError: a file cannot be read.
    """
    known = _remembered(model, library)
    wanted = range(len(library)) if places is None else dict.fromkeys(places)
    missing = [place for place in wanted if place not in known.encoded]
    step = PICTURES if isinstance(library.videos, Tensor) else 1
    for start in range(0, len(missing), step):
        some = missing[start : start + step]
        if isinstance(library.videos, Tensor):
            rows = model.pictures(library.videos[some].to(model.device) / 255)
        else:
            rows = model.video(clip_frames(library.videos[some[0]], model.config.frames, model.side))
        if known.videos is None:
            known.videos = rows.new_zeros(len(library), rows.shape[1])
        known.videos[some] = rows
        known.encoded.update(some)
    assert known.videos is not None, "an empty library"
    return known.videos if places is None else known.videos[list(places)]


@torch.no_grad()
def encode_sentences(model: Hasher, library: Library) -> Float[Tensor, "s d"]:
    """Unit vectors of all sentences."""
    known = _remembered(model, library)
    if known.sentences is None:
        parts = (library.sentences[i : i + SENTENCES] for i in range(0, len(library.sentences), SENTENCES))
        known.sentences = torch.cat([model.sentences(list(part)) for part in parts])
    return known.sentences


def _remembered(model: Hasher, library: Library) -> _Vectors:
    own = _REMEMBERED.setdefault(model, {})
    key = (library.key, model.device)
    if key not in own and len(own) == REMEMBERED:
        del own[next(iter(own))]
    return own.setdefault(key, _Vectors())
