"""Frames of a film as rows of numbers: what each shows, and what moved since the one before.

Rows of a frame: `look`, features of an encoder, and `thumb`, the picture in grey at 12 × 16. A vector of a frame is
(look, 10 · |thumb - thumb before|); at the first frame nothing has moved.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor
from torch.nn import functional

from percepta.contract import Progress
from percepta.errors import InputError
from percepta.files import write_atomically
from percepta.media import video
from percepta.media.video import VideoError
from percepta.nn.efficientnet import EfficientNetLite0

THUMB = (12, 16)
GAIN = 10.0  # of differences, which are small beside the encoder's features
BATCH = 16


@dataclass(frozen=True)
class Rows:
    """What was seen of n frames.

    Attributes:
        look: of the encoder; no columns where there is none.
        thumb: grey, 0..1.
    """

    look: Float[np.ndarray, "n d"]
    thumb: Float[np.ndarray, "n 12 16"]

    def __len__(self) -> int:
        return len(self.thumb)

    def __getitem__(self, index: slice | np.ndarray) -> Rows:
        return Rows(self.look[index], self.thumb[index])

    def vectors(self) -> Float32[np.ndarray, "n c"]:
        """A vector of each frame, of frames that follow each other; without an encoder the greys are its look."""
        thumb = self.thumb.astype(np.float32).reshape(len(self), -1)
        moved = GAIN * np.abs(np.diff(thumb, axis=0, prepend=thumb[:1]))
        return np.concatenate([self.look.astype(np.float32) if self.look.shape[1] else thumb, moved], 1)

    def save(self, path: Path, **more: float) -> Path:
        """Writes an .npz file, in 16 bits.

        Args:
            path: of the file.
            more: numbers that are kept beside, in 64 bits.
        """
        content = io.BytesIO()
        numbers: dict[str, Any] = {name: np.float64(value) for name, value in more.items()}
        look, thumb = self.look.astype(np.float16), self.thumb.astype(np.float16)
        arrays: dict[str, Any] = {"look": look, "thumb": thumb, **numbers}
        np.savez_compressed(content, **arrays)
        return write_atomically(path, content.getvalue())


def read(path: Path) -> tuple[Rows, dict[str, float]]:
    """What `Rows.save` wrote: the rows, and the numbers beside them."""
    with np.load(path) as data:
        rows = Rows(data["look"].astype(np.float32), data["thumb"].astype(np.float32))
        return rows, {name: float(data[name]) for name in data.files if name not in ("look", "thumb")}


def joined(parts: Sequence[Rows]) -> Rows:
    """Rows one after the other."""
    return Rows(np.concatenate([p.look for p in parts]), np.concatenate([p.thumb for p in parts]))


@torch.inference_mode()
def look_at(
    frames: UInt8[np.ndarray, "n h w 3"],
    encoder: EfficientNetLite0 | None,
    pool: Callable[[Float[Tensor, "b c h w"]], Float[Tensor, "b d"]],
    height: int,
    device: torch.device,
) -> Rows:
    """Rows of frames of any size.

    Args:
        frames: RGB, 0..255.
        encoder: None: no looks.
        pool: what is kept of the encoder's last features.
        height: of the pictures that the encoder sees, in pixels; the width follows, a multiple of 32.
        device: where it is computed.
    """
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).to(device).permute(0, 3, 1, 2).float() / 255
    weight = pixels.new_tensor([0.299, 0.587, 0.114])[None, :, None, None]
    grey = functional.interpolate((pixels * weight).sum(1, keepdim=True), THUMB, mode="area")[:, 0]
    if encoder is None:
        return Rows(np.zeros((len(frames), 0), np.float32), grey.cpu().numpy())
    width = max(32, round(pixels.shape[3] * height / pixels.shape[2] / 32) * 32)
    small = functional.interpolate(pixels, (height, width), mode="bilinear", antialias=True, align_corners=False)
    fast = encoder.fast()
    looks = [pool(fast(part).head) for part in small.split(BATCH)]
    return Rows(torch.cat(looks).float().cpu().numpy(), grey.cpu().numpy())


def resampled(
    film: Sequence[Any] | np.ndarray, fps: float | int, rate: float | int
) -> tuple[UInt8[np.ndarray, "n h w 3"], float]:
    """The frames of a film that was given as pictures at another rate, each the last one shown at its moment.

    Args:
        film: pictures (h w 3), RGB 0..255 (uint8), or one array of them (t h w 3).
        fps: at which they were taken.
        rate: frames a second that are wanted.

    Returns:
        (frames, how long the film is, in seconds).

    Raises:
        InputError: there are no pictures, they have other shapes or types, or `fps` is not above 0.
    """
    frames = np.stack([np.asarray(frame) for frame in film]) if len(film) else np.zeros((0, 1, 1, 3), np.uint8)
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not len(frames):
        raise InputError(f"frames are (t h w 3) of RGB 0..255 (uint8); got {frames.shape}, {frames.dtype}")
    if not fps > 0:
        raise InputError(f"fps is above 0; got {fps}")
    seconds = len(frames) / fps
    times = np.arange(0, seconds - 1e-9, 1 / rate)
    return frames[np.minimum((times * fps + 1e-6).astype(np.int64), len(frames) - 1)], seconds


def batched(frames: Iterable[UInt8[np.ndarray, "h w 3"]]) -> Iterator[UInt8[np.ndarray, "n h w 3"]]:
    """Frames in stacks of BATCH."""
    waiting: list[np.ndarray] = []
    for frame in frames:
        waiting.append(frame)
        if len(waiting) == BATCH:
            yield np.stack(waiting)
            waiting = []
    if waiting:
        yield np.stack(waiting)


def of_video(
    path: Path,
    look: Callable[[UInt8[np.ndarray, "n h w 3"]], Rows],
    *,
    fps: float | int,
    height: int,
    progress: Progress | None = None,
) -> tuple[Rows, float, bool]:
    """(rows, duration in seconds, whether the file is whole) of a video of any frame rate, with or without sound.

    Args:
        path: of the video.
        look: rows of frames.
        fps: frames a second that are looked at.
        height: of these frames, in pixels.
        progress: called with (frames done, frames in all).

    Raises:
        MissingFileError, VideoError: no such file, or no video; one that is cut off gives what there is.
        InputError: not one frame can be read.
    """
    about = video.info(path)
    duration, whole = about.duration_s, True
    total, done = max(1, round(duration * fps)), 0
    size = (height, max(1, round(about.width_px * height / about.height_px)))
    ended: list[VideoError] = []

    def frames() -> Iterator[np.ndarray]:
        try:
            for sample in video.walk(path, 1 / fps, size=size):
                yield sample.frame
        except VideoError as error:
            ended.append(error)

    parts = []
    for stack in batched(frames()):
        parts.append(look(stack))
        done += len(stack)
        if progress is not None:
            progress(min(done, total), total)
    if ended:
        if not parts:
            raise ended[0]
        duration, whole = ended[0].decoded_s, False
    if not parts:
        raise InputError(f"{path}: no frame could be read")
    rows = joined(parts)
    return rows, duration or len(rows) / fps, whole
