"""Whatever a user points at, as a stream of pictures that know where they came from.

A path, a folder, a pattern, a list of these, a generator, bytes, an open file, a picture of PIL, an array, a tensor, a
video file, or a camera ("camera:0"). What a folder holds beside pictures and videos is counted, and the stream says so.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from PIL import Image
from torch import Tensor

from percepta.errors import InputError, InputTypeError, MissingFileError
from percepta.files import check_regular, is_system_file, listed, matching
from percepta.media import image, video

Picture: TypeAlias = image.Source | bytes | BinaryIO
"""One picture: a path, bytes, an open file, a picture of PIL, an array or a tensor."""
Anything: TypeAlias = Picture | Iterable[Any]
"""What `open_source` takes: a picture, a folder, a pattern, a video, a camera, or a list or generator of these."""


@dataclass(frozen=True)
class Item:
    """A picture of a stream.

    Attributes:
        picture: what `media.image.read` takes; the path where the picture is a file.
        name: where it came from, in words: a file's name, "clip.mp4 at 1.20 s", "picture 3".
        index: its place in the stream, from 0.
        path: the file of the picture or of the video; None for pixels.
        time_s: of a video's frame, seconds from its start; None for pictures.
    """

    picture: image.Source
    name: str
    index: int
    path: Path | None = None
    time_s: float | None = None


@dataclass
class Stream:
    """Pictures one by one; `left_out` fills while it is gone through.

    Attributes:
        source: what was given.
        recursive: whether sub-folders of folders are looked at.
        fps: at most so many frames a second of a video; None for all.
        left_out: {reason: how many files} that were no picture and no video.
    """

    source: Anything
    recursive: bool = False
    fps: float | int | None = None
    left_out: Counter[str] = field(default_factory=Counter)

    def __iter__(self) -> Iterator[Item]:
        self.left_out.clear()
        for number, (picture, name, path, time_s) in enumerate(self._parts(self.source, None)):
            yield Item(picture, name, number, path, time_s)

    def summary(self) -> str:
        """What was left out, in a sentence; "" for nothing."""
        parts = [f"{count} {reason}" for reason, count in sorted(self.left_out.items())]
        return f"left out: {', '.join(parts)}" if parts else ""

    def _parts(self, given: Any, place: int | None) -> Iterator[tuple[image.Source, str, Path | None, float | None]]:
        name = "the picture" if place is None else f"picture {place + 1}"
        if isinstance(given, str) and given.startswith("camera:"):
            yield from self._frames(given)
        elif isinstance(given, str | Path):
            yield from self._path(given)
        elif isinstance(given, Image.Image | Tensor):
            yield given, str(getattr(given, "filename", "") or name), None, None
        elif isinstance(given, np.ndarray):
            if given.ndim == 4:
                yield from ((one, f"picture {i + 1}", None, None) for i, one in enumerate(given))
            else:
                yield given, name, None, None
        elif isinstance(given, bytes | bytearray | memoryview):
            yield decoded(bytes(given), name), name, None, None
        elif hasattr(given, "read"):
            yield (
                decoded(given.read(), str(getattr(given, "name", name))),
                str(getattr(given, "name", name)),
                None,
                None,
            )
        elif isinstance(given, Iterable):
            for number, one in enumerate(given):
                yield from self._parts(one, number)
        else:
            raise InputTypeError(
                "expected a path, folder, pattern, picture, video, camera:0, or a list of these; "
                f"got {type(given).__name__}"
            )

    def _path(self, given: str | Path) -> Iterator[tuple[image.Source, str, Path | None, float | None]]:
        path = Path(given).expanduser()
        if path.is_dir():
            yield from self._folder(path)
        elif path.exists() or not any(mark in str(given) for mark in "*?["):
            check_regular(path)
            yield from self._file(path)
        else:
            found = matching(path)
            if not found:
                raise MissingFileError(f"{given}: no file fits this pattern")
            for one in found:
                yield from self._known(one)

    def _folder(self, folder: Path) -> Iterator[tuple[image.Source, str, Path | None, float | None]]:
        if not self.recursive:
            inside = sum(1 for path in folder.iterdir() if path.is_dir() and not is_system_file(path))
            if inside:
                self.left_out["sub-folders (give recursive to look into them)"] += inside
        count = 0
        for path in listed(folder, recursive=self.recursive):
            for part in self._known(path):
                count += 1
                yield part
        if not count:
            text = self.summary()
            raise MissingFileError(f"{folder}: no pictures and no videos in this folder{f' ({text})' if text else ''}")

    def _known(self, path: Path) -> Iterator[tuple[image.Source, str, Path | None, float | None]]:
        """A file of a folder: read where its ending is known, else counted."""
        ending = path.suffix.lower()
        if ending in image.RAW_SUFFIXES:
            self.left_out["raw photographs (develop them into JPEG or TIFF first)"] += 1
        elif ending in image.SUFFIXES | image.VIDEO_SUFFIXES:
            yield from self._file(path)
        else:
            self.left_out[f"files ending in {ending}" if ending else "files without an ending"] += 1

    def _file(self, path: Path) -> Iterator[tuple[image.Source, str, Path | None, float | None]]:
        if path.suffix.lower() in image.VIDEO_SUFFIXES:
            yield from self._frames(path)
        else:
            yield path, path.name, path, None

    def _frames(self, where: str | Path) -> Iterator[tuple[image.Source, str, Path | None, float | None]]:
        samples = (
            video.every_frame(where) if self.fps is None or isinstance(where, str) else video.walk(where, 1 / self.fps)
        )
        for sample in samples:
            name = f"{where if isinstance(where, str) else where.name} at {sample.time_s:.2f} s"
            yield sample.frame, name, where if isinstance(where, Path) else None, sample.time_s


def open_source(source: Anything, *, recursive: bool = False, fps: float | int | None = None) -> Stream:
    """A stream of the pictures in whatever a user points at.

    Args:
        source: see `Anything`.
        recursive: also the sub-folders of folders.
        fps: at most so many frames a second of a video; None for all.

    Raises:
        InputError: `fps` is not above 0. What is wrong with the source itself is raised while it is gone through.
    """
    if fps is not None and not fps > 0:
        raise InputError(f"fps is above 0, or None for every frame; got {fps}")
    return Stream(source, recursive, fps)


def decoded(data: bytes, name: str) -> Image.Image:
    """The picture in the bytes of a file.

    Raises:
        InputError: they are no picture.
    """
    if not data:
        raise InputError(f"{name}: no bytes")
    try:
        picture = Image.open(io.BytesIO(data))
        picture.load()
    except Exception as error:  # Pillow's readers raise many kinds
        raise InputError(f"{name}: these bytes are no picture ({error})") from None
    return picture
