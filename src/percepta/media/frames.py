"""The frames of a video file or of a folder of pictures: one after the other, and backwards in parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from percepta.errors import InputError, MissingFileError
from percepta.files import check_regular
from percepta.media import image, video

FPS = 24.0  # of folders of pictures that say nothing of time
PART_BYTES = 200_000_000  # of frames that are held at once while a video is gone through backwards


@dataclass(frozen=True)
class Frames:
    """The frames of a video, or the pictures of a folder as such.

    Attributes:
        where: the video file, or the folder or pattern.
        files: the pictures of a folder, in the order of their names; empty for a video.
        fps: frames a second.
        size: height and width of the first frame, in pixels.
    """

    where: Path
    files: tuple[Path, ...]
    fps: float
    size: tuple[int, int]

    @classmethod
    def open(cls, where: Path | str, fps: float | None = None) -> Frames:
        """What a path names.

        Args:
            where: a video file, a folder of pictures, or a pattern.
            fps: of pictures; None: FPS. Of a video the file says it.

        Raises:
            MissingFileError: nothing is there.
            InputError: no video, and no pictures.
        """
        path = Path(where).expanduser()
        if path.is_file() and path.suffix.lower() in image.VIDEO_SUFFIXES:
            told = video.info(path)
            return cls(path, (), told.fps or FPS, (told.height_px, told.width_px))
        if path.is_file() and path.suffix.lower() not in image.SUFFIXES:
            raise InputError(f"{path}: neither a video nor a folder of pictures, by its ending")
        if fps is not None and not fps > 0:
            raise InputError(f"fps is above 0, got {fps}")
        files = tuple(image.paths(path))
        return cls(path, files, fps or FPS, image.size(files[0]))

    def __iter__(self) -> Iterator[tuple[float, image.Source]]:
        """(seconds from the start, picture) of each frame."""
        if self.files:
            yield from ((number / self.fps, path) for number, path in enumerate(self.files))
        else:
            yield from video.every_frame(check_regular(self.where))

    def pixels(self) -> Iterator[tuple[float, UInt8[np.ndarray, "h w 3"]]]:
        """As going through it, with the pixels of pictures read; all frames have the size of the first one."""
        for time_s, picture in self:
            if not isinstance(picture, np.ndarray):
                seen = image.read(picture)
                seen = seen if (seen.shape[1], seen.shape[2]) == self.size else image.resize(seen, *self.size)
                picture = image.to_bytes(seen.permute(1, 2, 0)).numpy()
            yield time_s, picture

    def backwards(self, times_s: Sequence[float]) -> Iterator[image.Source]:
        """The frames at some times, given in rising order, the last one first."""
        if self.files:
            yield from reversed(self.files[: len(times_s)])
            return
        part = max(1, PART_BYTES // (3 * self.size[0] * self.size[1]))
        for stop in range(len(times_s), 0, -part):
            yield from reversed(video.frames(self.where, times_s[max(0, stop - part) : stop]))

    @property
    def film(self) -> Path | None:
        """The video file whose sound may be taken over; None for pictures."""
        return None if self.files else self.where

    @property
    def name(self) -> str:
        """Of the file or the folder, without an ending."""
        if not self.files:
            return self.where.stem
        folder = self.where if self.where.is_dir() else self.files[0].parent
        return folder.resolve().name

    def times(self, stop: int) -> list[float]:
        """Times of the first `stop` frames.

        Raises:
            MissingFileError: there are fewer.
        """
        out: list[float] = []
        for time_s, _ in self:
            if len(out) == stop:
                break
            out.append(time_s)
        if len(out) < stop:
            raise MissingFileError(f"{self.where}: has {len(out)} frames, and {stop} are needed")
        return out
