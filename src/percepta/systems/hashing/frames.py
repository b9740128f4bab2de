"""Which frames of a video are encoded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from percepta.errors import InputError
from percepta.media import image, video


def video_frames(
    path: Path, frames: int, side: int, start_s: float = 0.0, end_s: float | None = None
) -> Float[Tensor, "f 3 side side"]:
    """Frames of a video in the middles of equal parts of it, squeezed into a square, RGB 0..1.

    Args:
        path: the video.
        frames: how many.
        side: of the square, in pixels.
        start_s: where the part that is meant begins, in seconds.
        end_s: where it ends; None: at the video's end.

    Raises:
        MissingFileError, InputError: no such file, no video, or a part that is not in it.
    """
    duration = video.info(path).duration_s
    if duration <= 0:  # the file does not say: decode it to find out
        times = [sample.time_s for sample in video.walk(path, every_s=0.5)]
        duration = times[-1] if times else 0.0
    end_s = min(end_s or duration, duration)
    if start_s >= max(end_s, 1e-9):
        raise InputError(f"{path}: no part from {start_s:g} s on, the video ends at {duration:.2f} s")
    times = middles(frames, start_s, end_s).tolist()
    return torch.stack([image.squeeze_square(frame, side) for frame in video.frames(path, times)])


def middles(count: int, start: float, end: float) -> Float[np.ndarray, " count"]:
    """The middles of `count` equal parts of start..end.

    Args:
        count: how many parts.
        start: where the first begins.
        end: where the last ends.
    """
    return start + (end - start) * (np.arange(count) + 0.5) / count
