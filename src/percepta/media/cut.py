"""Pieces of videos without encoding them again, and lists of cuts for editors (EDL, CMX 3600)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av

from percepta.errors import InputError
from percepta.files import check_regular, naming_writes, write_atomically
from percepta.media.video import VideoError


def cut(source: Path | str, start_s: float, end_s: float, out: Path | str) -> float:
    """Copies a piece of a video, pictures and sound, from the keyframe at or before its start.

    Args:
        source: the video.
        start_s: wanted start, seconds from the video's own start.
        end_s: wanted end.
        out: the file that is written, whole or not at all; of the same kind as the source is safest.

    Returns:
        How many seconds before `start_s` the piece begins.

    Raises:
        InputError: the end is not after the start.
        MissingFileError, VideoError: no such file; no video, or nothing there at that time.
    """
    source, out = check_regular(Path(source)), Path(out)
    if not 0 <= start_s < end_s:
        raise InputError(f"a piece goes from a time of 0 or more to a later one, got {start_s:g} to {end_s:g} s")
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{os.getpid()}.tmp.{out.name}")
    try:
        with naming_writes(out):
            early = _copy(source, start_s, end_s, temporary)
        temporary.replace(out)
        return early
    except (av.FFmpegError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise VideoError(source, f"no piece can be cut from it ({error})") from None
    finally:
        temporary.unlink(missing_ok=True)


def _copy(source: Path, start_s: float, end_s: float, out: Path) -> float:
    with contextlib.ExitStack() as stack:
        film = stack.enter_context(av.open(f"file:{source}", options={"protocol_whitelist": "file"}))
        target = stack.enter_context(av.open(f"file:{out}", "w"))
        pictures = film.streams.video[0]
        streams: list[Any] = [pictures, *film.streams.audio[:1]]
        copies = {stream.index: target.add_stream_from_template(stream) for stream in streams}
        base = float((pictures.start_time or 0) * pictures.time_base)
        film.seek(int((start_s + base) / pictures.time_base), stream=pictures, backward=True)
        first: float | None = None
        waiting: list[Any] = []
        ended: set[int] = set()
        for packet in film.demux(streams):
            if packet.dts is None or packet.pts is None:
                continue
            time = float(packet.pts * packet.time_base) - base
            index = packet.stream.index
            if first is None:
                if index != pictures.index or not packet.is_keyframe:
                    waiting.append(packet)
                    continue
                first = time
                packets = [*(p for p in waiting if float(p.pts * p.time_base) - base >= first), packet]
            else:
                packets = [packet]
            if time >= end_s:
                ended.add(index)
                if len(ended) == len(streams) or index == pictures.index:
                    break
                continue
            for one in packets:
                shift = round((first + base) / float(one.time_base))
                one.pts, one.dts = one.pts - shift, one.dts - shift
                one.stream = copies[one.stream.index]
                target.mux(one)
        if first is None:
            raise VideoError(source, f"nothing is at {start_s:g} s")
        return start_s - first


def edl(title: str, source: str, pieces: Sequence[tuple[float, float, str]], fps: float) -> str:
    """A list of cuts that editors read.

    Args:
        title: of the list.
        source: name of the video.
        pieces: start, end (s) and a note of each.
        fps: whole frames a second are what such lists know; others are rounded.
    """
    rate = max(1, round(fps))
    lines, place = [f"TITLE: {title}", "FCM: NON-DROP FRAME", ""], 0.0
    for number, (start, end, note) in enumerate(pieces, 1):
        times = [timecode(t, rate) for t in (start, end, place, place + end - start)]
        lines += [f"{number:03d}  AX       V     C        {' '.join(times)}", f"* FROM CLIP NAME: {source}",
                  f"* COMMENT: {note}", ""]  # fmt: skip
        place += end - start
    return "\n".join(lines)


def write_edl(path: Path | str, source: str, pieces: Sequence[tuple[float, float, str]], fps: float) -> Path:
    """Writes `edl`, named after the file.

    Args:
        path: of the list.
        source: name of the video.
        pieces: as in `edl`.
        fps: as in `edl`.
    """
    return write_atomically(path, edl(Path(path).stem, source, pieces, fps))


def timecode(time_s: float, rate: int) -> str:
    """Hours, minutes, seconds and frames: "00:12:30:05"."""
    frames = round(time_s * rate)
    seconds, frame = divmod(frames, rate)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{frame:02d}"
