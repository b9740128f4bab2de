"""The sound of one video, taken over into another as it is."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import Any

import av

from percepta.files import naming_writes
from percepta.media.video import VideoError

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
