"""Whatever a user points at, as a stream of pictures that know where they came from.

A path, a folder, a pattern, a list of these, a generator, bytes, an open file, a picture of PIL, an array, a tensor, a
video file, or a camera ("camera:0"). What a folder holds beside pictures and videos is counted, and the stream says so.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Generic, NamedTuple, TypeAlias, TypeVar

import numpy as np
from PIL import Image
from torch import Tensor

from percepta.contract import Answer
from percepta.errors import InputError, InputTypeError, MissingFileError, one_line
from percepta.files import check_regular, is_system_file, listed, matching
from percepta.media import image, video

R = TypeVar("R")

Picture: TypeAlias = image.Source | bytes | BinaryIO
"""One picture: a path, bytes, an open file, a picture of PIL, an array or a tensor."""
Anything: TypeAlias = Picture | Iterable[Any]
"""What `open_source` takes: a picture, a folder, a pattern, a video, a camera, or a list or generator of these."""


@dataclass(frozen=True)
class Item:
    """A picture of a stream, or the reason why one of several inputs gives none.

    Attributes:
        picture: what `media.image.read` takes; the path where the picture is a file; None where there is an error.
        name: where it came from, in words: a file's name, "clip.mp4 at 1.20 s", "picture 3".
        index: its place in the stream, from 0.
        path: the file of the picture or of the video; None for pixels.
        time_s: of a video's frame, seconds from its start; None for pictures.
        error: why there is no picture, in one line; "" where there is one.
    """

    picture: image.Source | None
    name: str
    index: int
    path: Path | None = None
    time_s: float | None = None
    error: str = ""


class _Found(NamedTuple):
    """A picture on its way, before it is counted."""

    picture: image.Source | None
    name: str
    path: Path | None = None
    time_s: float | None = None
    error: str = ""


@dataclass
class Stream:
    """Pictures one by one; `left_out` fills while it is gone through.

    One input that cannot be read does not stop the others: it is an item with an error. Where it is the only input, the
    error is raised.

    Attributes:
        source: what was given.
        recursive: whether sub-folders of folders are looked at.
        fps: at most so many frames a second of a video; None for all.
        left_out: {what: how many} that were no picture and no video, such as {"file ending in .txt": 2}.
    """

    source: Anything
    recursive: bool = False
    fps: float | int | None = None
    left_out: Counter[str] = field(default_factory=Counter)

    def __iter__(self) -> Iterator[Item]:
        self.left_out.clear()
        for number, (picture, name, path, time_s, error) in enumerate(self._parts(self.source, None)):
            yield Item(picture, name, number, path, time_s, error)

    def summary(self) -> str:
        """What was left out, in a sentence; "" for nothing."""
        return summary(self.left_out)

    def _parts(self, given: Any, place: int | None) -> Iterator[_Found]:
        name = "the picture" if place is None else f"picture {place + 1}"
        if isinstance(given, str) and given.startswith("camera:"):
            yield from self._frames(given)
        elif isinstance(given, str | Path):
            yield from self._path(given)
        elif isinstance(given, Image.Image | Tensor):
            yield _Found(given, str(getattr(given, "filename", "") or name))
        elif isinstance(given, np.ndarray):
            if given.ndim == 4:
                yield from (_Found(one, f"picture {i + 1}") for i, one in enumerate(given))
            else:
                yield _Found(given, name)
        elif isinstance(given, bytes | bytearray | memoryview):
            yield _Found(decoded(bytes(given), name), name)
        elif hasattr(given, "read"):
            name = str(getattr(given, "name", name))
            yield _Found(decoded(given.read(), name), name)
        elif isinstance(given, Iterable):
            for number, one in enumerate(given):
                yield from _guarded(self._parts(one, number), one if isinstance(one, str | Path) else number)
        else:
            raise InputTypeError(
                "expected a path, folder, pattern, picture, video, camera:0, or a list of these; "
                f"got {type(given).__name__}"
            )

    def _path(self, given: str | Path) -> Iterator[_Found]:
        if not str(given).strip() or str(given) == ".":
            raise InputError("expected a path, a folder or a pattern; got an empty name")
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

    def _folder(self, folder: Path) -> Iterator[_Found]:
        if not self.recursive:
            inside = sum(1 for path in folder.iterdir() if path.is_dir() and not is_system_file(path))
            if inside:
                self.left_out["sub-folder (give recursive to look into them)"] += inside
        count = 0
        for path in listed(folder, recursive=self.recursive):
            for part in self._known(path):
                count += 1
                yield part
        if not count:
            text = self.summary()
            raise MissingFileError(f"{folder}: no pictures and no videos in this folder{f' ({text})' if text else ''}")

    def _known(self, path: Path) -> Iterator[_Found]:
        """A file of a folder: read where its ending is known, else counted."""
        ending = path.suffix.lower()
        if ending in image.RAW_SUFFIXES:
            self.left_out["raw photograph (develop it into JPEG or TIFF first)"] += 1
        elif ending in image.SUFFIXES | image.VIDEO_SUFFIXES:
            yield from _guarded(self._file(path), path)
        else:
            self.left_out[f"file ending in {ending}" if ending else "file without an ending"] += 1

    def _file(self, path: Path) -> Iterator[_Found]:
        if path.suffix.lower() in image.VIDEO_SUFFIXES:
            yield from self._frames(path)
        else:
            yield _Found(path, path.name, path)

    def _frames(self, where: str | Path) -> Iterator[_Found]:
        samples = (
            video.every_frame(where) if self.fps is None or isinstance(where, str) else video.walk(where, 1 / self.fps)
        )
        for sample in samples:
            name = f"{where if isinstance(where, str) else where.name} at {sample.time_s:.2f} s"
            yield _Found(sample.frame, name, where if isinstance(where, Path) else None, sample.time_s)


def _guarded(parts: Iterator[_Found], given: str | Path | int) -> Iterator[_Found]:
    """The pictures of one of several inputs; what is wrong with it becomes an item, so that the others go on."""
    try:
        yield from parts
    except InputTypeError:
        raise  # the list itself is wrong, not what one of its items holds
    except (InputError, OSError) as error:
        path = None if isinstance(given, int) else Path(given)
        name = f"picture {given + 1}" if isinstance(given, int) else Path(given).name
        yield _Found(None, name, path, error=one_line(error))


def summary(left_out: Mapping[str, int]) -> str:
    """What was left out, in a sentence; "" for nothing."""
    nouns = ((count, *reason.partition(" ")) for reason, count in sorted(left_out.items()))
    parts = [f"{count} {noun}{'' if count == 1 else 's'}{space}{rest}" for count, noun, space, rest in nouns]
    return f"left out: {', '.join(parts)}" if parts else ""


@dataclass
class StreamedAnswers(Generic[R]):
    """The answers of a system for the pictures of a stream: see `answers`.

    Attributes:
        pictures: the stream of pictures.
        answer: the results for each of some pictures.
        batch_size: pictures at a time.
    """

    pictures: Stream
    answer: Callable[[list[image.Source]], Sequence[Sequence[R]]]
    batch_size: int

    @property
    def left_out(self) -> Counter[str]:
        """{what: how many} that were no picture and no video, such as {"file ending in .txt": 2}."""
        return self.pictures.left_out

    def summary(self) -> str:
        """What was left out, in a sentence; "" for nothing."""
        return self.pictures.summary()

    def __iter__(self) -> Iterator[Answer[R]]:
        waiting: list[Item] = []
        good = 0
        for item in self.pictures:
            waiting.append(item)
            good += not item.error
            if good == self.batch_size or (item.error and not good):
                yield from self._answers(waiting)
                waiting, good = [], 0
        yield from self._answers(waiting)

    def _answers(self, items: list[Item]) -> Iterator[Answer[R]]:
        good = {item.index: item.picture for item in items if item.picture is not None}
        found: dict[int, tuple[tuple[R, ...], str]] = {}
        try:
            results = self.answer([*good.values()]) if good else []
            found = {index: (tuple(row), "") for index, row in zip(good, results, strict=True)}
        except (InputError, OSError):  # about one of them: each alone
            found = {index: self._alone(picture) for index, picture in good.items()}
        for item in items:
            results, error = found.get(item.index, ((), item.error))
            yield Answer(item.name, item.index, results, error, item.path, item.time_s)

    def _alone(self, picture: image.Source) -> tuple[tuple[R, ...], str]:
        try:
            return tuple(self.answer([picture])[0]), ""
        except (InputError, OSError) as error:
            return (), one_line(error)


def answers(
    source: Anything,
    answer: Callable[[list[Any]], Sequence[Sequence[R]]],
    *,
    batch_size: int = 1,
    recursive: bool = False,
    fps: float | int | None = None,
) -> StreamedAnswers[R]:
    """The answers of a system for whatever a user points at, one picture after the other.

    A picture that cannot be read gives an `Answer` that says why, and the others go on.

    Args:
        source: see `Anything`.
        answer: gets some pictures, gives the results of each.
        batch_size: pictures at a time, 1 and up; each batch is answered when it is full.
        recursive: also the sub-folders of folders.
        fps: at most so many frames a second of a video; None for all.

    Raises:
        InputError: `batch_size` is no number from 1 on, `fps` is not above 0, or there is no such camera. What else is
            wrong with the source is raised while it is gone through.
    """
    if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
        raise InputError(f"batch_size is a whole number from 1 on; got {batch_size!r}")
    return StreamedAnswers(open_source(source, recursive=recursive, fps=fps), answer, batch_size)


def open_source(source: Anything, *, recursive: bool = False, fps: float | int | None = None) -> Stream:
    """A stream of the pictures in whatever a user points at.

    Args:
        source: see `Anything`.
        recursive: also the sub-folders of folders.
        fps: at most so many frames a second of a video; None for all.

    Raises:
        InputError: `fps` is not above 0, or there is no such camera. What else is wrong with the source is raised while
            it is gone through.
    """
    if fps is not None and not fps > 0:
        raise InputError(f"fps is above 0, or None for every frame; got {fps}")
    if isinstance(source, str) and source.startswith("camera:"):
        video.check_camera(source)  # a page that shows the answers would open first, and show nothing
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
