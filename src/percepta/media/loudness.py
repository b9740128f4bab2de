"""How loud the sound of a video is."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from jaxtyping import Float32

from percepta.files import check_regular
from percepta.media.video import VideoError

RATE_HZ = 16_000  # at which loudness is measured
QUIETEST_DB = -60.0  # below full scale; what is quieter counts as silence


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
