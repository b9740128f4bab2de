"""Features of somebody's own video: two frames a second, kept in a file so that a second question costs nothing.

Beside the features stands how much of each picture is grass, by which the break between two halves is found.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from percepta.datasets.soccer import read_features
from percepta.errors import InputError
from percepta.files import writing
from percepta.media import video
from percepta.media.loudness import loudness
from percepta.nn.spotting import LITE0_SIZE

BATCH = 32
LONGEST_HALF_S = 4500.0  # what lasts longer holds more than a half
BREAK_S = 60.0  # a break between halves lasts at least so long
MIDDLE = (0.25, 0.75)  # of a file, where its break is looked for
UNLIKE = 0.7  # distance from training that still is usual: rendered games left out have 0.25 to 0.37, real videos 1.4
SMOOTH_S = 30.0  # over which grass is averaged: close-ups are shorter


@dataclass(frozen=True)
class Encoded:
    """Features of a video or of a file.

    Attributes:
        features: one row a frame.
        grass: share of each picture that is grass, 0..1; empty for features from a file.
        fps: frames a second.
    """

    features: Float32[np.ndarray, "t f"]
    grass: Float32[np.ndarray, " g"]
    fps: float | int

    @property
    def seconds(self) -> float:
        return len(self.features) / self.fps


@dataclass(frozen=True)
class Part:
    """One half of a match.

    Attributes:
        path: the file that it is in.
        half: 1 or 2.
        start_s: where it begins in the file.
        features: of its frames.
    """

    path: Path
    half: int
    start_s: float | int
    features: Float32[np.ndarray, "t f"]


def encoded(
    path: Path | str,
    encode: Callable[[Float[Tensor, "b 3 h w"]], Float[Tensor, "b f"]],
    *,
    fps: float | int = 2.0,
    cache: Path | None = None,
    key: str = "",
    with_sound: bool = False,
    progress: Callable[[float, float], None] | None = None,
) -> Encoded:
    """Features of a video's frames at 0, 1 / fps, 2 / fps, ...

    Args:
        path: of the video.
        encode: pictures of LITE0_SIZE, RGB 0..1, to features.
        fps: frames a second.
        cache: a folder for the features; None: they are not kept.
        key: what the encoder is, such as the hash of its weights; features of another are not taken.
        with_sound: also how loud it is at each frame, as the last number; 0 where the video has no sound.
        progress: called with (seconds done, seconds in all).

    Raises:
        MissingFileError, VideoError: no such file; no video.
    """
    path = Path(path)
    kept = None
    if cache is not None and path.is_file():
        about = path.stat()
        text = f"{path.resolve()}|{about.st_size}|{about.st_mtime_ns}|{fps}|{key}|{with_sound}"
        kept = cache / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.npz"
        if kept.is_file():
            with np.load(kept, allow_pickle=False) as arrays:
                return Encoded(arrays["features"].astype(np.float32), arrays["grass"].astype(np.float32), fps)
    total = video.info(path).duration_s
    found: list[np.ndarray] = []
    green: list[float] = []
    waiting: list[np.ndarray] = []

    def flush() -> None:
        pictures = torch.from_numpy(np.stack(waiting)).permute(0, 3, 1, 2).float() / 255
        found.append(encode(pictures).cpu().numpy().astype(np.float16))
        green.extend(grass(picture) for picture in waiting)
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
    if with_sound:
        heard = loudness(path, 1 / fps, len(features)).astype(np.float16)
        features = np.concatenate([features, heard[:, None]], 1)
    share = np.array(green, np.float32)
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with writing(kept) as file:
            np.savez(file, features=features, grass=share)
    return Encoded(features.astype(np.float32), share, fps)


def of_file(path: Path | str, fps: float | int) -> Encoded:
    """Features from a .npy file, as they are.

    Args:
        path: of the file.
        fps: frames a second that it has.
    """
    return Encoded(np.array(read_features(Path(path))), np.zeros(0, np.float32), fps)


def of_source(
    source: Path | str | Float[np.ndarray, "t f"],
    encode: Callable[[Float[Tensor, "b 3 h w"]], Float[Tensor, "b f"]],
    *,
    features: str,
    with_sound: bool,
    width: int,
    fps: float | int,
    cache: Path | None = None,
    progress: Callable[[float, float], None] | None = None,
) -> tuple[Encoded, str]:
    """Features of whatever somebody has of a half or a match, and what it is called.

    Args:
        source: a video; a file of features (.npy, frames × numbers); or such features as an array.
        encode: makes features of the pictures of a video, RGB 0..1.
        features: what is wanted: lite0, pixels, or the name of others, which come from files alone.
        with_sound: whether the last number of a frame is how loud it is.
        width: numbers of a frame.
        fps: frames a second.
        cache: a folder for the features of videos.
        progress: called with (seconds done, seconds in all) of a video.

    Raises:
        MissingFileError, InputError: no such file, no video, features that no video can be made into, another width.
    """
    if isinstance(source, np.ndarray):
        found, name = Encoded(np.asarray(source, np.float32), np.zeros(0, np.float32), fps), "features"
    elif Path(source).suffix == ".npy":
        found, name = of_file(source, fps), str(source)
    else:
        if features not in ("lite0", "pixels"):
            raise InputError(
                f"{source}: these weights take features {features!r} from files (1_NAME.npy), which percepta cannot "
                "make of a video; use the preset small (for spotting also e2e, with a checkpoint)"
            )
        name = Path(source).name
        found = encoded(source, encode, fps=fps, cache=cache, key=features, with_sound=with_sound, progress=progress)
    shape = found.features.shape
    if len(shape) != 2 or shape[1] != width or not shape[0]:
        raise InputError(f"{name}: features are frames × {width}, not {shape}")
    return found, name


def unlike(model: Any, features: Float[np.ndarray, "t f"]) -> str:
    """What has to be said about an answer: that what was seen is unlike what training saw; "" for nothing.

    Args:
        model: a network; one whose `project` knows what is usual can tell.
        features: of the frames.
    """
    project = getattr(model, "project", None)
    if project is None:
        return ""
    far = project.usual.distance(torch.from_numpy(features))
    if far <= UNLIKE:
        return ""
    return (
        f"this is unlike what these weights were trained on (distance {far:.1f}; usual is up to {UNLIKE:g}): "
        "expect little before you fine-tune them; the weights that ship have only seen rendered games, no football"
    )


def grass(picture: UInt8[np.ndarray, "h w 3"]) -> float:
    """Which share of a picture is grass: pixels that are more green than anything else."""
    small = picture[::2, ::2].astype(np.int16)
    red, green, blue = small[..., 0], small[..., 1], small[..., 2]
    return float(((green > 40) & (green > 1.1 * red) & (green > 1.15 * blue)).mean())


def halves_of(video_: Encoded) -> list[tuple[float | int, float | int]]:
    """Start and end (s) of the halves in a file: one, or the two before and after the longest time without grass.

    Raises:
        InputError: it lasts longer than a half, and there is no break in its middle.
    """
    seconds, fps = video_.seconds, video_.fps
    if seconds <= LONGEST_HALF_S or not len(video_.grass):
        return [(0.0, seconds)]
    width = max(1, round(SMOOTH_S * fps))
    padded = np.pad(video_.grass.astype(np.float64), (width // 2, width - 1 - width // 2), mode="edge")
    smooth = np.convolve(padded, np.full(width, 1 / width), mode="valid")
    low = np.concatenate([[False], smooth < 0.5 * np.median(smooth), [False]])
    edges = np.flatnonzero(low[1:] != low[:-1]) / fps
    inside = [(a, b) for a, b in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
              if b - a >= BREAK_S and MIDDLE[0] * seconds <= (a + b) / 2 <= MIDDLE[1] * seconds]  # fmt: skip
    if not inside:
        raise InputError(f"the file lasts {seconds / 60:.0f} minutes, which is more than a half, and no break without "
                         "grass is in its middle: say where it is with --break-s START END")  # fmt: skip
    start, end = max(inside, key=lambda span: span[1] - span[0])
    return [(0.0, start), (end, seconds)]


def check_break(break_s: tuple[float | int, float | int] | None) -> None:
    """Checks that a break that somebody gives has a length.

    Raises:
        InputError: its start is not before its end.
    """
    if break_s is not None and not 0 < break_s[0] < break_s[1]:
        raise InputError(f"--break-s START END: start above 0 and before end, got {break_s[0]:g} {break_s[1]:g}")


def parts(files: list[tuple[Path, Encoded]], break_s: tuple[float | int, float | int] | None = None) -> list[Part]:
    """The halves of a match from its files.

    Args:
        files: one file with a half or both, or two with a half each, and their features.
        break_s: start and end of the break in a single file; None: it is looked for.

    Raises:
        InputError: no break is found, or it lies outside of the file; or two files and a break.
    """
    if break_s is not None and len(files) > 1:
        raise InputError("--break-s is for a match in one file; two files are a half each")
    out: list[Part] = []
    for number, (path, found) in enumerate(files, 1):
        if len(files) > 1:
            spans = [(0.0, found.seconds)]
        elif break_s is None:
            spans = halves_of(found)
        elif 0 < break_s[0] <= break_s[1] < found.seconds:
            spans = [(0.0, float(break_s[0])), (float(break_s[1]), found.seconds)]
        else:
            raise InputError(f"--break-s {break_s[0]:g} {break_s[1]:g} does not lie inside the {found.seconds:.0f} s "
                             f"of {path.name}")  # fmt: skip
        for half, (start, end) in enumerate(spans, number):
            low, high = round(start * found.fps), round(end * found.fps)
            out.append(Part(path, half, low / found.fps, found.features[low:high]))
    return out
