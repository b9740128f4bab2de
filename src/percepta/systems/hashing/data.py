"""Videos and pictures with sentences into what the model looks at once, and into pairs for training.

Encoders are frozen: a library is looked at and read once (`model.Hasher.see`), and a training batch is only places in
it: {library, video: b, sentence: b}, a random sentence of each video. An evaluation batch is {library, video: b}.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from percepta.datasets import captioned, didemo, msrvtt, msvd
from percepta.datasets.captioned import Clip
from percepta.datasets.problem import Problem
from percepta.errors import InputError, MissingFileError
from percepta.media import image as pictures
from percepta.media import video
from percepta.systems.hashing import Config, quilts

Read = Callable[[Path, list[Problem] | None, list[Problem] | None], list[Clip]]

# Layout -> (what it is, what is looked for, reader), in the order in which they are tried.
LAYOUTS: dict[str, tuple[str, str, Read]] = {
    "msrvtt": ("MSR-VTT", "*videodatainfo*.json or MSRVTT_data.json, and videos", msrvtt.read),
    "msvd": ("MSVD", "AllVideoDescriptions.txt with train_list.txt, ..., and videos", msvd.read),
    "didemo": ("DiDeMo", "train_data.json, val_data.json, test_data.json, and videos", didemo.read),
    "davis": (
        "DAVIS with expressions",
        "expressions.csv (video,expression) with JPEGImages/",
        lambda root, problems, _: captioned.expressions(root, problems),
    ),
    "flickr8k": (
        "pictures with captions",
        "captions.csv (image,caption) with images/",
        lambda root, problems, _: captioned.flickr8k(root, problems),
    ),
    "folder": ("a folder of one's own", "captions.csv (video,caption[,start_s,end_s]) with videos", captioned.read),
    "oasis": (
        "OASIS",
        "images.csv (file,caption) with images/",
        lambda root, problems, _: captioned.oasis(root, problems),
    ),
    "coco-small": (
        "COCO, small",
        "objects.json with images/",
        lambda root, problems, _: captioned.coco(root, problems),
    ),
}
COLLECTION = ("flickr8k", "coco-small", "oasis")  # sub-folders that are read together
TEST_VIDEOS = "davis16"


def layout(root: Path) -> str:
    """Which of LAYOUTS a folder is, or "collection".

    Raises:
        MissingFileError: no such folder.
        InputError: none of them; says what was looked for.
    """
    if not root.is_dir():
        raise MissingFileError(f"{root}: no such folder")
    if any((root / name).is_dir() for name in COLLECTION):
        return "collection"
    table = root / captioned.TABLE
    header = (
        table.read_text(encoding="utf-8-sig", errors="replace").lower().partition("\n")[0] if table.is_file() else ""
    )
    tests = {
        "msrvtt": bool(msrvtt.find(root)),
        "msvd": msvd.find(root) is not None,
        "didemo": didemo.find(root) is not None,
        "davis": (root / "expressions.csv").is_file() and (root / "JPEGImages").is_dir(),
        "flickr8k": "image" in header,
        "folder": table.is_file(),
        "oasis": (root / "images.csv").is_file() and (root / "images").is_dir(),
        "coco-small": (root / "objects.json").is_file() and (root / "images").is_dir(),
    }
    for name, found in tests.items():
        if found:
            return name
    looked = "".join(f"\n  {name}: {files}" for name, (_, files, _) in LAYOUTS.items())
    raise InputError(f"{root}: no layout of data that is known. Looked for{looked}")


def clips(root: Path, problems: list[Problem] | None = None, warnings: list[Problem] | None = None) -> list[Clip]:
    """All clips of a folder in a known layout. Errors as `layout` and its readers."""
    kind = layout(root)
    if kind != "collection":
        return LAYOUTS[kind][2](root, problems, warnings)
    out = [clip for name in COLLECTION if (root / name).is_dir() for clip in clips(root / name, problems, warnings)]
    if (root / TEST_VIDEOS).is_dir():
        out += captioned.expressions(root / TEST_VIDEOS, problems)
    return out


@dataclass(frozen=True)
class Library:
    """What is searched, and sentences about it.

    Attributes:
        key: follows from all the rest; libraries with the same key are the same.
        videos: clips, or the bytes of synthetic pictures.
        sentences: all of them, in the order of the videos; owner: the video of each.
        groups: of the videos: what is drawn together for an interval.
    """

    key: str
    videos: tuple[Clip, ...] | UInt8[Tensor, "n 3 h w"] = field(compare=False, repr=False)
    sentences: tuple[str, ...] = field(compare=False, repr=False)
    owner: Int[Tensor, " s"] = field(compare=False, repr=False)
    groups: tuple[str, ...] = field(compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.videos)


def make_library(videos: Sequence[Clip] | UInt8[Tensor, "n 3 h w"], said: Sequence[Sequence[str]]) -> Library:
    """A library of videos with the sentences of each."""
    sentences = tuple(sentence for some in said for sentence in some)
    owner = torch.tensor([index for index, some in enumerate(said) for _ in some], dtype=torch.long)
    digest = hashlib.sha256(repr((sentences, owner.tolist())).encode())
    if isinstance(videos, Tensor):
        digest.update(videos.numpy().tobytes())
        groups = tuple(map(str, range(len(videos))))
        return Library(digest.hexdigest(), videos, sentences, owner, groups)
    for clip in videos:
        digest.update(repr((clip.media, clip.start_s, clip.end_s)).encode())
    return Library(digest.hexdigest(), tuple(videos), sentences, owner, tuple(clip.group for clip in videos))


def library(config: Config, split: str, root: Path | None = None) -> Library:
    """The library of a split: "train", "val", "test" or "all"; without a folder: of the synthetic world.

    Raises:
        MissingFileError, InputError: no such folder, layout or split; something wrong in the data (file, line).
    """
    if root is None:
        if split not in ("train", "val", "test", "all"):
            raise InputError(f"no split {split!r}; there are train, val, test and all")
        return make_library(*quilts.world(split, config.train.seed))
    if config.space == "quilts":
        raise InputError("these settings look at quilts, which no real picture is; take --preset small or paper")
    found = captioned.of_split(clips(Path(root)), split, config.held_out)
    if any(clip.source == "didemo" for clip in found):
        found = captioned.joined(found)
    if not found:
        raise InputError(f"{root}: nothing in the split {split!r}")
    return make_library(found, [clip.sentences for clip in found])


@dataclass(frozen=True)
class Pairs:
    """Samples for training: a video and one of its sentences, another one in every epoch."""

    library: Library
    seed: int

    def __len__(self) -> int:
        return len(self.library)

    def __getitem__(self, key: tuple[int, int]) -> tuple[int, int]:
        epoch, index = key
        own = self._sentences[index]
        draw = int.from_bytes(hashlib.blake2b(f"{self.seed}/{epoch}/{index}".encode(), digest_size=4).digest(), "big")
        return index, own[draw % len(own)]

    def collate(self, samples: list[tuple[int, int]]) -> dict[str, Any]:
        """A batch; see the top of this file."""
        video, sentence = zip(*samples, strict=True)
        return {"library": self.library, "video": torch.tensor(video), "sentence": torch.tensor(sentence)}

    @cached_property
    def _sentences(self) -> list[list[int]]:
        """The sentences of each video."""
        table: list[list[int]] = [[] for _ in range(len(self.library))]
        for number, owner in enumerate(self.library.owner.tolist()):
            table[owner].append(number)
        return table


@dataclass(frozen=True)
class Whole:
    """Samples for an evaluation: each video once."""

    library: Library

    def __len__(self) -> int:
        return len(self.library)

    def __getitem__(self, key: tuple[int, int]) -> int:
        return key[1]

    def collate(self, samples: list[int]) -> dict[str, Any]:
        """A batch; see the top of this file."""
        return {"library": self.library, "video": torch.tensor(samples)}


def looks(clip: Clip, frames: int, side: int) -> Float[Tensor, "f 3 side side"]:
    """What is looked at of a clip: the picture, or `frames` frames at most, squeezed into a square.

    Raises:
        MissingFileError, InputError: a file is missing or cannot be decoded.
    """
    if clip.is_video:
        assert isinstance(clip.media, Path)
        return video_looks(clip.media, frames, side, clip.start_s, clip.end_s)
    files = [clip.media] if isinstance(clip.media, Path) else list(clip.media)
    if len(files) > frames:
        files = [files[place] for place in middles(frames, 0.0, float(len(files))).astype(int)]
    return torch.stack([pictures.squeeze_square(file, side) for file in files])


def video_looks(
    path: Path, frames: int, side: int, start_s: float = 0.0, end_s: float | None = None
) -> Float[Tensor, "f 3 side side"]:
    """Frames of a video in the middles of equal parts of it, squeezed into a square.

    Raises:
        MissingFileError, InputError: no such file, no video, or a part that is not in it.
    """
    duration = video.info(path).duration_s
    if duration <= 0:  # the file does not say: look through it
        times = [sample.time_s for sample in video.walk(path, every_s=0.5)]
        duration = times[-1] if times else 0.0
    end_s = min(end_s or duration, duration)
    if start_s >= max(end_s, 1e-9):
        raise InputError(f"{path}: no part from {start_s:g} s on, the video ends at {duration:.2f} s")
    times = middles(frames, start_s, end_s).tolist()
    return torch.stack([pictures.squeeze_square(frame, side) for frame in video.frames(path, times)])


def middles(count: int, start: float, end: float) -> Float[np.ndarray, " count"]:
    """The middles of `count` equal parts of start..end."""
    return start + (end - start) * (np.arange(count) + 0.5) / count


def in_batches(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Runs of `size` items."""
    return (items[start : start + size] for start in range(0, len(items), size))
