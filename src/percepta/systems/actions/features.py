"""Features of a video: what each of four frames a second shows, and what moved since the one before.

A vector is (look, 10 · |thumb - thumb before|), see `nn/looks.py`; the look has 1280 numbers. Rows are kept in files
named by the content of the video, the encoder's weights and the sampling, so that a video is looked at once.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from percepta.contract import Progress
from percepta.datasets.feature_files import Timing
from percepta.errors import InputError
from percepta.files import check_regular
from percepta.nn import looks
from percepta.nn.archive import fingerprint
from percepta.nn.looks import Rows
from percepta.systems.actions import Config
from percepta.systems.actions.model import ActionsNetwork

FORMAT = 1


def assemble(rows: Rows) -> Float[Tensor, "c t"]:
    """Feature vectors of consecutive frames, four a second."""
    return torch.from_numpy(rows.vectors().T.copy())


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


def look_at(model: ActionsNetwork, frames: UInt8[np.ndarray, "n h w 3"]) -> Rows:
    """Rows of frames of any size: the encoder's last features averaged over the picture."""
    encoder = model.image if model.config.features == "lite0" else None
    device = next(model.parameters()).device
    return looks.look_at(frames, encoder, lambda head: head.mean((2, 3)), model.config.frame_height, device)


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
        rows, numbers = looks.read(kept)
        return rows, numbers["duration_s"]
    rows, duration, whole = looks.of_video(
        path, lambda frames: look_at(model, frames), fps=config.fps, height=config.frame_height, progress=progress
    )
    if kept is not None and whole:
        rows.save(kept, duration_s=duration)
    return rows, duration


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
