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


def cut(source: Path | str, start_s: float | int, end_s: float | int, out: Path | str) -> float:
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
    return join(source, [(start_s, end_s)], out)[0]


def join(source: Path | str, pieces: Sequence[tuple[float | int, float | int]], out: Path | str) -> list[float]:
    """Copies pieces of a video one after the other into one file, each as `cut` does.

    Args:
        source: the video.
        pieces: start and end (s) of each.
        out: the file that is written, whole or not at all.

    Returns:
        For each piece how many seconds earlier than wanted it begins.

    Raises:
        InputError: no piece, or one whose end is not after its start.
        MissingFileError, VideoError: as `cut`.
    """
    source, out = check_regular(Path(source)), Path(out)
    if not pieces:
        raise InputError("at least one piece is needed")
    if odd := [(a, b) for a, b in pieces if not 0 <= a < b]:
        raise InputError(f"a piece goes from a time of 0 or more to a later one, got {odd[0][0]:g} to {odd[0][1]:g} s")
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{os.getpid()}.tmp.{out.name}")
    try:
        with naming_writes(out), contextlib.ExitStack() as stack:
            film = stack.enter_context(av.open(f"file:{source}", options={"protocol_whitelist": "file"}))
            if not film.streams.video:
                raise VideoError(source, "has no pictures")
            target = stack.enter_context(av.open(f"file:{temporary}", "w"))
            streams: list[Any] = [film.streams.video[0], *film.streams.audio[:1]]
            copies = {stream.index: target.add_stream_from_template(stream) for stream in streams}
            early, place = [], 0.0
            for start_s, end_s in pieces:
                first, length = _append(film, streams, copies, target, (start_s, end_s, place))
                if first is None:
                    raise VideoError(source, f"nothing is at {start_s:g} s")
                early.append(start_s - first)
                place += length
        temporary.replace(out)
        return early
    except (av.FFmpegError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise VideoError(source, f"no piece can be cut from it ({error})") from None
    finally:
        temporary.unlink(missing_ok=True)


def _append(
    film: Any,
    streams: Sequence[Any],
    copies: dict[int, Any],
    target: Any,
    piece: tuple[float | int, float | int, float | int],
) -> tuple[float | None, float]:
    """Copies one piece (start, end, where it goes in the result): when it begins, None for nothing, and its length."""
    start_s, end_s, place = piece
    pictures = streams[0]
    base = float((pictures.start_time or 0) * pictures.time_base)
    film.seek(round((start_s + base) / pictures.time_base), stream=pictures, backward=True)
    first: float | None = None
    last = 0.0
    waiting: list[Any] = []
    for packet in film.demux(streams):
        if packet.dts is None or packet.pts is None:
            continue
        time = float(packet.pts * packet.time_base) - base
        is_picture = packet.stream.index == pictures.index
        packets = [packet]
        if first is None:
            if not (is_picture and packet.is_keyframe):
                waiting.append(packet)
                continue
            first = time
            packets = [*(p for p in waiting if float(p.pts * p.time_base) - base >= first), packet]
        if is_picture and float(packet.dts * packet.time_base) - base >= end_s:
            break  # no later picture is shown before the end
        for one in packets:
            if float(one.pts * one.time_base) - base >= end_s:
                continue
            shift = round((first + base - place) / float(one.time_base))
            if one.stream.index == pictures.index:
                length = float((one.duration or 0) * one.time_base)
                last = max(last, float(one.pts * one.time_base) - base + length)
            one.pts, one.dts = one.pts - shift, one.dts - shift
            one.stream = copies[one.stream.index]
            target.mux(one)
    return first, 0.0 if first is None else max(0.0, last - first)


def edl(title: str, source: str, pieces: Sequence[tuple[float | int, float | int, str]], fps: float | int) -> str:
    """A list of cuts that editors read.

    Args:
        title: of the list.
        source: name of the video.
        pieces: start, end (s) and a note of each.
        fps: whole frames a second are what such lists know; others are rounded.
    """
    rate = max(1, round(fps))
    lines, place = [f"TITLE: {title}", "FCM: NON-DROP FRAME", ""], 0
    for number, (start_s, end_s, note) in enumerate(pieces, 1):
        start, end = round(start_s * rate), round(end_s * rate)
        times = " ".join(timecode(frame, rate) for frame in (start, end, place, place + end - start))
        lines += [
            f"{number:03d}  AX       V     C        {times}",
            f"* FROM CLIP NAME: {source}",
            f"* COMMENT: {note}",
            "",
        ]
        place += end - start
    return "\n".join(lines)


def write_edl(
    path: Path | str, source: str, pieces: Sequence[tuple[float | int, float | int, str]], fps: float | int
) -> Path:
    """Writes `edl`, named after the file.

    Args:
        path: of the list.
        source: name of the video.
        pieces: as in `edl`.
        fps: as in `edl`.
    """
    return write_atomically(path, edl(Path(path).stem, source, pieces, fps))


def timecode(frames: int, rate: int) -> str:
    """Hours, minutes, seconds and frames: "00:12:30:05"."""
    seconds, frame = divmod(frames, rate)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{frame:02d}"
