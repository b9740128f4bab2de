"""The sound of a video: taken over into another as it is, and how loud it is."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import Any

import av
import numpy as np
from jaxtyping import Float32

from percepta.files import check_regular, naming_writes
from percepta.media.video import VideoError

RATE_HZ = 16_000  # at which loudness is measured
QUIETEST_DB = -60.0  # below full scale; what is quieter counts as silence

TAIL_S = 0.5  # of sound after the last picture
NO_SPACE = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)  # without its sound a video would not fit either


def copy_sound(silent: Path | str, source: Path | str, out: Path | str) -> Path:
    """A video with the pictures of one file and the sound of another; nothing is encoded again.

    Where the source has no sound, or one that the container of `out` cannot hold, the result has none.

    Args:
        silent: the file with the pictures.
        source: the file whose first sound track is taken.
        out: the file that is written, whole or not at all.

    Returns:
        `out`.

    Raises:
        VideoError: a file that cannot be read.
        OSError: there is no place for the result; names it.
    """
    silent, source, out = Path(silent), Path(source), Path(out)
    for with_sound in (True, False):
        temporary = out.with_name(f".{os.getpid()}.tmp.{out.name}")
        try:
            with naming_writes(out):
                _mux(silent, source if with_sound else None, temporary)
                with temporary.open("rb") as file:
                    os.fsync(file.fileno())  # a full disk may show only here
            temporary.replace(out)
            return out
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno in NO_SPACE:
                raise
            if not with_sound:
                raise VideoError(silent, f"cannot be copied ({error})") from None
        finally:
            temporary.unlink(missing_ok=True)
    return out


def _mux(silent: Path, source: Path | None, out: Path) -> None:
    with contextlib.ExitStack() as stack:
        pictures = stack.enter_context(av.open(f"file:{silent}", options={"protocol_whitelist": "file"}))
        target = stack.enter_context(av.open(f"file:{out}", "w"))
        tracks: list[tuple[Any, Any]] = [(pictures, pictures.streams.video[0])]
        if source is not None:
            sounds = stack.enter_context(av.open(f"file:{source}", options={"protocol_whitelist": "file"}))
            if sounds.streams.audio:
                tracks.append((sounds, sounds.streams.audio[0]))
        end_s = float(pictures.duration or 0) / av.time_base
        copies = [target.add_stream_from_template(stream) for _, stream in tracks]
        for (container, stream), copy in zip(tracks, copies, strict=True):
            for packet in container.demux(stream):
                if packet.dts is None:
                    continue
                at = None if stream.type != "audio" or packet.pts is None else float(packet.pts * packet.time_base)
                if at is not None and at > end_s + TAIL_S:
                    break
                packet.stream = copy
                target.mux(packet)


def loudness(path: Path | str, every_s: float | int, count: int) -> Float32[np.ndarray, " t"]:
    """How loud a video is: 0 for silence (-60 dB and less) to 1 for full scale, over pieces that follow each other.

    Args:
        path: of the video; one without sound is silent.
        every_s: length of a piece.
        count: of pieces; those after the end of the sound are silent.

    Raises:
        MissingFileError, VideoError: no such file; one that cannot be read.
    """
    path = check_regular(Path(path))
    length = max(1, round(every_s * RATE_HZ))
    energy = np.zeros(count)
    try:
        with av.open(f"file:{path}", options={"protocol_whitelist": "file"}) as film:
            if not film.streams.audio:
                return np.zeros(count, np.float32)
            resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE_HZ)
            origin: float | None = None
            begin = float((film.start_time or 0) / av.time_base)
            done = 0
            for frame in film.decode(film.streams.audio[0]):
                if origin is None:
                    origin = (
                        float(frame.pts * frame.time_base) - begin if frame.pts is not None and frame.time_base else 0.0
                    )
                    done = round(origin * RATE_HZ)
                for piece in resampler.resample(frame):
                    values = piece.to_ndarray().reshape(-1).astype(np.float64)
                    at = (done + np.arange(len(values))) // length
                    inside = (at >= 0) & (at < count)
                    energy += np.bincount(at[inside], values[inside] ** 2, count)
                    done += len(values)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise VideoError(path, f"its sound cannot be read ({error})") from None
    decibel = 10 * np.log10(np.maximum(energy / length, 10 ** (QUIETEST_DB / 10)))
    return np.clip(1 - decibel / QUIETEST_DB, 0, 1).astype(np.float32)
