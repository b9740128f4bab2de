"""Features of somebody's own video: two frames a second, kept in a file so that a second question costs nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from percepta.files import writing
from percepta.media import video
from percepta.nn.spotting import LITE0_SIZE

BATCH = 32


def encoded(
    path: Path | str,
    encode: Callable[[Float[Tensor, "b 3 h w"]], Float[Tensor, "b f"]],
    *,
    fps: float | int = 2.0,
    cache: Path | None = None,
    key: str = "",
    progress: Callable[[float, float], None] | None = None,
) -> Float32[np.ndarray, "t f"]:
    """Features of a video's frames at 0, 1 / fps, 2 / fps, ...

    Args:
        path: of the video.
        encode: pictures of LITE0_SIZE, RGB 0..1, to features.
        fps: frames a second.
        cache: a folder for the features; None: they are not kept.
        key: what the encoder is, such as the hash of its weights; features of another are not taken.
        progress: called with (seconds done, seconds in all).

    Raises:
        MissingFileError, VideoError: no such file; no video.
    """
    path = Path(path)
    kept = None
    if cache is not None and path.is_file():
        about = path.stat()
        text = f"{path.resolve()}|{about.st_size}|{about.st_mtime_ns}|{fps}|{key}"
        kept = cache / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.npy"
        if kept.is_file():
            return np.load(kept, allow_pickle=False).astype(np.float32)
    total = video.info(path).duration_s
    found: list[np.ndarray] = []
    waiting: list[np.ndarray] = []

    def flush() -> None:
        pictures = torch.from_numpy(np.stack(waiting)).permute(0, 3, 1, 2).float() / 255
        found.append(encode(pictures).cpu().numpy().astype(np.float16))
        waiting.clear()

    for sample in video.walk(path, 1 / fps, size=LITE0_SIZE):
        waiting.append(sample.frame)
        if len(waiting) == BATCH:
            flush()
            if progress is not None:
                progress(sample.time_s, total)
    if waiting:
        flush()
    features = np.concatenate(found)
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with writing(kept) as file:
            np.save(file, features)
    return features.astype(np.float32)
