"""Pieces of videos without encoding them again, and lists of cuts for editors (EDL, CMX 3600)."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av

from percepta.errors import InputError
from percepta.files import check_regular, naming_writes, write_atomically
from percepta.media.video import VideoError

SEEK_S = 1.0  # from so much earlier on keyframes are looked at
HALF_TICK_S = 5e-6


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
            latest: dict[int, float] = {}
            for start_s, end_s in pieces:
                first, place = _append(film, streams, copies, target, (start_s, end_s, place), latest)
                if first is None:
                    raise VideoError(source, f"nothing is at {start_s:g} s")
                early.append(start_s - first)
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
    latest: dict[int, float],
) -> tuple[float | None, float]:
    """Copies one piece: when it begins in the source (None for nothing), and where it ends in the result.

    Args:
        film: the source, open.
        streams: of it, pictures first.
        copies: the stream of the result by the index of the source's.
        target: the result, open.
        piece: start and end (s) in the source, and where it goes in the result.
        latest: the last decoding time (s) of each stream in the result; it is kept up to date.
    """
    start_s, end_s, place = piece
    pictures = streams[0]
    base = float((pictures.start_time or 0) * pictures.time_base)
    # Files are sought by decoding times, which are earlier than those of showing: hence from a little before.
    film.seek(
        max(0, round((start_s - SEEK_S) / pictures.time_base)) + round(base / pictures.time_base), stream=pictures
    )
    first, last, ready = math.inf, 0.0, False
    waiting: list[Any] = []  # from the last keyframe that is not after the start
    for packet in film.demux(streams):
        if packet.dts is None or packet.pts is None:
            continue
        time = float(packet.pts * packet.time_base) - base
        is_picture = packet.stream.index == pictures.index
        if is_picture and packet.is_keyframe and (first == math.inf or (not ready and time <= start_s + HALF_TICK_S)):
            first = time
            waiting = [packet, *(p for p in waiting if _sound_from(p, pictures.index, first + base))]
            continue
        decoded = float(packet.dts * packet.time_base) - base
        if not ready:
            ready = is_picture and first < math.inf and decoded > start_s
            if not ready:
                waiting.append(packet)
                continue
            ahead = float((waiting[0].pts - waiting[0].dts + (waiting[0].duration or 1)) * pictures.time_base)
            if pictures.index in latest:  # pictures are decoded before they are shown: there has to be room for that
                place = max(place, latest[pictures.index] + ahead)
        if is_picture and decoded >= end_s:
            break  # no later picture is shown before the end
        last = max(last, _copied([*waiting, packet], copies, target, (first + base, end_s + base, place), latest))
        waiting = []
    last = max(last, _copied(waiting, copies, target, (first + base, end_s + base, place), latest))
    return (None, place) if first == math.inf else (first, place + max(0.0, last - first - base))


def _sound_from(packet: Any, pictures: int, time_s: float) -> bool:
    """Whether a packet is sound, and not from before a time (s, with the start of the file)."""
    return packet.stream.index != pictures and float(packet.pts * packet.time_base) >= time_s


def _copied(
    packets: Sequence[Any],
    copies: dict[int, Any],
    target: Any,
    piece: tuple[float | int, float | int, float | int],
    latest: dict[int, float],
) -> float:
    """Writes packets, and says when the last of its pictures ends in the source (0 for none).

    Args:
        packets: of the source.
        copies: the stream of the result by the index of the source's.
        target: the result, open.
        piece: first and end in the source (s, with the start of the file), and where the first goes in the result.
        latest: the last decoding time (s) of each stream in the result; it is kept up to date.
    """
    first, end, place = piece
    last = 0.0
    for one in packets:
        time, tick, index = float(one.pts * one.time_base), float(one.time_base), one.stream.index
        shift = round((first - place) / tick)
        decoded = (one.dts - shift) * tick
        if time >= end or decoded <= latest.get(index, -math.inf):  # or sound that the piece before has already
            continue
        latest[index] = decoded
        if one.stream.type == "video":
            last = max(last, time + (one.duration or 0) * tick)
        one.pts, one.dts, one.stream = one.pts - shift, one.dts - shift, copies[index]
        target.mux(one)
    return last


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
