"""Features of a video: what each of four frames a second shows, and what moved since the one before.

Rows of a frame: `look`, the encoder's last features averaged over the picture (1280), and `thumb`, the picture in grey
at 12 × 16. A feature vector is (look, 10 · |thumb - thumb before|); at the first frame nothing has moved. Rows are kept
in files named by the content of the video, the encoder's weights and the sampling, so that a video is looked at once.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor
from torch.nn import functional

from percepta.contract import Progress
from percepta.datasets.feature_files import Timing
from percepta.errors import InputError
from percepta.files import check_regular, write_atomically
from percepta.media import video
from percepta.media.video import VideoError
from percepta.nn.archive import fingerprint
from percepta.systems.actions import Config
from percepta.systems.actions.model import ActionsNetwork

THUMB = (12, 16)
GAIN = 10.0  # of differences, which are small beside the encoder's features
BATCH = 16
FORMAT = 1


@dataclass(frozen=True)
class Rows:
    """What was seen of n frames.

    Attributes:
        look: of the encoder; no columns for the features "grid".
        thumb: grey, 0..1.
    """

    look: Float32[np.ndarray, "n d"]
    thumb: Float32[np.ndarray, "n 12 16"]

    def __len__(self) -> int:
        return len(self.thumb)

    def __getitem__(self, index: slice | np.ndarray) -> Rows:
        return Rows(self.look[index], self.thumb[index])


def assemble(rows: Rows) -> Float[Tensor, "c t"]:
    """Feature vectors of consecutive frames, four a second."""
    thumb = rows.thumb.reshape(len(rows), -1)
    moved = GAIN * np.abs(np.diff(thumb, axis=0, prepend=thumb[:1]))
    look = rows.look if rows.look.shape[1] else thumb
    return torch.from_numpy(np.concatenate([look, moved], 1).T.copy())


@dataclass(frozen=True)
class Sample:
    """One video.

    Attributes:
        features: vectors.
        spans_s: starts and ends, seconds.
        labels: places in the list of classes.
        scale, shift: time_s = scale · t + shift.
        duration_s: of the video.
        name: of the video.
    """

    features: Float[Tensor, "c t"]
    spans_s: Float[np.ndarray, "n 2"]
    labels: tuple[int, ...]
    scale: float
    shift: float
    duration_s: float
    name: str


def timed(features: Float[Tensor, "c t"], timing: Timing, config: Config) -> tuple[Float[Tensor, "c n"], float, float]:
    """(features as the network takes them, scale, shift) with time_s = scale · t + shift.

    Args:
        features: as read.
        timing: how they count time.
        config: says whether videos are stretched.

    Raises:
        InputError: the number of channels is another than the network's.
    """
    if features.shape[0] != config.channels:
        raise InputError(f"features have {features.shape[0]} channels, the network takes {config.channels}")
    fps, n = timing.fps or config.fps, features.shape[1]
    if config.resize:
        stride = ((n - 1) * timing.stride + timing.window) / config.max_length
        if n != config.max_length:
            features = functional.interpolate(features[None], config.max_length, mode="linear", align_corners=False)[0]
        return features, stride / fps, 0.5 * stride / fps
    return features, timing.stride / fps, 0.5 * timing.window / fps


@torch.inference_mode()
def look_at(model: ActionsNetwork, frames: UInt8[np.ndarray, "n h w 3"]) -> Rows:
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
    looks = [encoder(part).head.mean((2, 3)) for part in small.split(BATCH)]
    return Rows(torch.cat(looks).float().cpu().numpy(), grey.cpu().numpy())


def joined_rows(parts: list[Rows]) -> Rows:
    """Rows one after the other."""
    return Rows(np.concatenate([p.look for p in parts]), np.concatenate([p.thumb for p in parts]))


def batched(frames: Iterable[UInt8[np.ndarray, "h w 3"]], size: int = BATCH) -> Iterator[UInt8[np.ndarray, "n h w 3"]]:
    """Frames in stacks of some."""
    waiting: list[np.ndarray] = []
    for frame in frames:
        waiting.append(frame)
        if len(waiting) == size:
            yield np.stack(waiting)
            waiting = []
    if waiting:
        yield np.stack(waiting)


def of_video(
    model: ActionsNetwork, path: Path, cache: Path | None = None, progress: Progress | None = None
) -> tuple[Rows, float]:
    """(rows, duration in seconds) of a video of any frame rate; without sound is as well.

    Args:
        model: has the encoder.
        path: of the video.
        cache: a folder in which rows are kept; None: they are not.
        progress: called with (frames done, frames in all).

    Raises:
        MissingFileError, VideoError: no such file, or no video; one that is cut off gives what there is.
    """
    config = model.config
    kept = None if cache is None else cache / f"{key_of(model)}-{_hash(path)}.npz"
    if kept is not None and kept.is_file():
        with np.load(kept) as data:
            return Rows(data["look"].astype(np.float32), data["thumb"].astype(np.float32)), float(data["duration_s"])
    about = video.info(path)
    duration = about.duration_s
    total = max(1, round(duration * config.fps))
    height = config.frame_height
    size = (height, max(1, round(about.width_px * height / about.height_px)))
    parts: list[Rows] = []
    done, broken = 0, False
    frames = video.walk(path, 1 / config.fps, size=size)
    try:
        for stack in batched(sample.frame for sample in frames):
            parts.append(look_at(model, stack))
            done += len(stack)
            if progress is not None:
                progress(min(done, total), total)
    except VideoError as error:
        broken = True
        if not parts:
            raise
        duration = error.decoded_s
    rows = joined_rows(parts)
    duration = duration or len(rows) / config.fps
    if kept is not None and not broken:
        save(kept, rows, duration)
    return rows, duration


def save(path: Path, rows: Rows, duration_s: float) -> None:
    """Writes rows in 16 bits.

    Args:
        path: the .npz file.
        rows: of all frames.
        duration_s: of the video.
    """
    data = io.BytesIO()
    np.savez_compressed(
        data, look=rows.look.astype(np.float16), thumb=rows.thumb.astype(np.float16), duration_s=np.float64(duration_s)
    )
    write_atomically(path, data.getvalue())


def default_cache() -> Path:
    """$XDG_CACHE_HOME/percepta/actions, or ~/.cache/percepta/actions."""
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (given if given.is_absolute() else Path.home() / ".cache") / "percepta" / "actions"


def key_of(model: ActionsNetwork) -> str:
    """Names what rows follow from beside the video: the encoder's weights and the sampling."""
    config = model.config
    weights = fingerprint(model.image.state_dict()) if config.features == "lite0" else ""
    text = f"{FORMAT} {config.features} {config.fps} {config.frame_height} {weights}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _hash(path: Path) -> str:
    with check_regular(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]
