"""What is seen of one view: a vector for each of two frames a second, and whether the camera is alive.

`look`: EfficientNet-Lite0's last features averaged over the left, the middle and the right of the picture (3 × 1280);
for the features "grid" the greys themselves. A vector is (look, 10 · |thumb - thumb before|), see `nn/looks.py`, less
a reference: the same numbers averaged over the whole recording, or over a first quiet minute of a camera
(calibration). So the network sees what changes against how this driver mostly looks in this car.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8
from torch import Tensor
from torch.nn import functional

from percepta.contract import Progress
from percepta.errors import InputError
from percepta.nn import looks
from percepta.nn.looks import Rows
from percepta.systems.driver.model import DriverNetwork

DARK = 0.01  # deviation of greys below which a picture shows nothing
FROZEN_S = 20.0  # a picture that has not changed at all for so long comes from a dead camera


def alive(rows: Rows, fps: float | int) -> Bool[np.ndarray, " n"]:
    """Which frames show something: not dark or of one colour, and not frozen for long."""
    thumb = rows.thumb.astype(np.float32).reshape(len(rows), -1)
    shows = thumb.std(1) > DARK
    still = np.abs(np.diff(thumb, axis=0, prepend=thumb[:1] + 1)).max(1, initial=0.0) < 1e-6
    edges = np.flatnonzero(~still)
    for start, end in zip(edges, [*edges[1:], len(thumb)], strict=True):
        if end - start > FROZEN_S * fps:
            shows[start:end] = False
    return shows


def calibrated(
    vector: Float32[np.ndarray, "n c"],
    shows: Bool[np.ndarray, " n"],
    quiet: int = 0,
) -> Float32[np.ndarray, "n c"]:
    """Vectors less their reference; zero where the camera is dead.

    Args:
        vector: see `Rows.vectors`.
        shows: see `alive`.
        quiet: frames at the beginning in which nothing but driving happens; 0: the mean of all is the reference.
    """
    some = np.flatnonzero(shows if not quiet else shows & (np.arange(len(shows)) < quiet))
    if not len(some):
        some = np.flatnonzero(shows)
    if not len(some):
        return np.zeros_like(vector)
    return (vector - vector[some].mean(0)) * shows[:, None]


def look_at(model: DriverNetwork, frames: UInt8[np.ndarray, "n h w 3"]) -> Rows:
    """Rows of frames of any size: the encoder's last features averaged over three parts of the picture."""
    encoder = model.image if model.config.features == "lite0" else None
    device = next(model.parameters()).device
    return looks.look_at(frames, encoder, _thirds, model.config.frame_height, device)


def _thirds(head: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
    return functional.adaptive_avg_pool2d(head, (1, 3)).flatten(1)


def of_frames(model: DriverNetwork, frames: Iterable[UInt8[np.ndarray, "h w 3"]]) -> Rows:
    """Rows of frames that come one by one."""
    parts = [look_at(model, stack) for stack in looks.batched(frames)]
    if not parts:
        raise InputError("a view has no frames")
    return looks.joined(parts)


def of_video(model: DriverNetwork, path: Path, progress: Progress | None = None) -> tuple[Rows, float, bool]:
    """(rows, duration in seconds, whether the file is whole) of a video of any frame rate, with or without sound.

    Args:
        model: has the encoder.
        path: of the video.
        progress: called with (frames done, frames in all).

    Raises:
        MissingFileError, VideoError: no such file, or no video; one that is cut off gives what there is.
    """
    config = model.config
    return looks.of_video(
        path, lambda frames: look_at(model, frames), fps=config.fps, height=config.frame_height, progress=progress
    )
