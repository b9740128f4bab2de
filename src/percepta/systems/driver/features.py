"""What is seen of one view: a vector for each of two frames a second, and whether the camera is alive.

`look`: EfficientNet-Lite0's last features averaged over the left, the middle and the right of the picture (3 × 1280);
for the features "grid" the greys themselves. `thumb`: the picture in grey at 12 × 16. A vector is (look, 10 · |thumb -
thumb before|), less a reference: the same numbers averaged over the whole recording, or over a first quiet minute of a
camera (calibration). So the network sees what changes against how this driver mostly looks in this car.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, UInt8
from torch.nn import functional

from percepta.contract import Progress
from percepta.errors import InputError
from percepta.media import video
from percepta.media.video import VideoError
from percepta.systems.driver.model import DriverNetwork

THUMB = (12, 16)
GAIN = 10.0  # of differences
BATCH = 16
DARK = 0.01  # deviation of greys below which a picture shows nothing
FROZEN_S = 20.0  # a picture that has not changed at all for so long comes from a dead camera


@dataclass(frozen=True)
class Rows:
    """What was seen of n frames of a view.

    Attributes:
        look: of the encoder.
        thumb: grey, 0..1.
    """

    look: Float[np.ndarray, "n d"]
    thumb: Float[np.ndarray, "n 12 16"]

    def __len__(self) -> int:
        return len(self.thumb)


def vectors(rows: Rows) -> Float32[np.ndarray, "n c"]:
    """Feature vectors, before a reference is taken off."""
    thumb = rows.thumb.astype(np.float32).reshape(len(rows), -1)
    moved = GAIN * np.abs(np.diff(thumb, axis=0, prepend=thumb[:1]))
    return np.concatenate([rows.look.astype(np.float32) if rows.look.shape[1] else thumb, moved], 1)


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
        vector: see `vectors`.
        shows: see `alive`.
        quiet: frames at the beginning in which nothing but driving happens; 0: the mean of all is the reference.
    """
    some = np.flatnonzero(shows if not quiet else shows & (np.arange(len(shows)) < quiet))
    if not len(some):
        some = np.flatnonzero(shows)
    if not len(some):
        return np.zeros_like(vector)
    return (vector - vector[some].mean(0)) * shows[:, None]


@torch.inference_mode()
def look_at(model: DriverNetwork, frames: UInt8[np.ndarray, "n h w 3"]) -> Rows:
    """Rows of frames of any size."""
    device = next(model.parameters()).device
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).to(device).permute(0, 3, 1, 2).float() / 255
    weight = pixels.new_tensor([0.299, 0.587, 0.114])[None, :, None, None]
    grey = functional.interpolate((pixels * weight).sum(1, keepdim=True), THUMB, mode="area")[:, 0]
    if model.config.features != "lite0":
        return Rows(np.zeros((len(frames), 0), np.float32), grey.cpu().numpy())
    height = model.config.frame_height
    width = max(32, round(pixels.shape[3] * height / pixels.shape[2] / 32) * 32)
    small = functional.interpolate(pixels, (height, width), mode="bilinear", antialias=True, align_corners=False)
    encoder = model.image.fast()
    looks = [functional.adaptive_avg_pool2d(encoder(part).head, (1, 3)).flatten(1) for part in small.split(BATCH)]
    return Rows(torch.cat(looks).float().cpu().numpy(), grey.cpu().numpy())


def of_frames(model: DriverNetwork, frames: Iterable[UInt8[np.ndarray, "h w 3"]]) -> Rows:
    """Rows of frames that come one by one."""
    parts, waiting = [], []
    for frame in frames:
        waiting.append(frame)
        if len(waiting) == BATCH:
            parts.append(look_at(model, np.stack(waiting)))
            waiting = []
    if waiting:
        parts.append(look_at(model, np.stack(waiting)))
    if not parts:
        raise InputError("a view has no frames")
    return Rows(np.concatenate([p.look for p in parts]), np.concatenate([p.thumb for p in parts]))


def of_video(model: DriverNetwork, path: Path, progress: Progress | None = None) -> tuple[Rows, float]:
    """(rows, duration in seconds) of a video of any frame rate, with or without sound.

    Args:
        model: has the encoder.
        path: of the video.
        progress: called with (frames done, frames in all).

    Raises:
        MissingFileError, VideoError: no such file, or no video; one that is cut off gives what there is.
    """
    config, about = model.config, video.info(path)
    total = max(1, round(about.duration_s * config.fps))
    size = (config.frame_height, max(1, round(about.width_px * config.frame_height / about.height_px)))
    parts: list[Rows] = []
    waiting: list[np.ndarray] = []
    duration, done = about.duration_s, 0
    try:
        for sample in video.walk(path, 1 / config.fps, size=size):
            waiting.append(sample.frame)
            if len(waiting) == BATCH:
                parts.append(look_at(model, np.stack(waiting)))
                done, waiting = done + BATCH, []
                if progress is not None:
                    progress(min(done, total), total)
    except VideoError as error:
        if not parts and not waiting:
            raise
        duration = error.decoded_s
    if waiting:
        parts.append(look_at(model, np.stack(waiting)))
    if not parts:
        raise InputError(f"{path}: no frame could be read")
    rows = Rows(np.concatenate([p.look for p in parts]), np.concatenate([p.thumb for p in parts]))
    return rows, duration or len(rows) / config.fps
