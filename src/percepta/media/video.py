"""Videos in and out, by PyAV: frames at given times, one pass over a whole file, shot boundaries, short clips.

Times are seconds from where a player starts. The frame at time t is the one on show then: the last whose time stamp is
not later, whatever the frame rate does. Frames come turned, mirrored and stretched as a player shows them.
"""

from __future__ import annotations

import contextlib
import math
import os
import struct
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.stream import Disposition
from jaxtyping import Float32, UInt8

from percepta.errors import FolderError, InputError
from percepta.files import check_regular, naming_writes

Frame = UInt8[np.ndarray, "h w 3"]
Real = int | float

AHEAD_S = 2.0  # so far it is cheaper to decode on than to seek
_BACK_S = 1.0  # time stamps that go back by more have started again, as in joined transport streams
_JUMP_S = 4 * 3600.0  # and those that go on by more are damaged
_TICK = Fraction(1, 90_000)  # time base of what is written: exact at every usual frame rate
_HALF_TICK_S = 5e-6
_PLANAR = ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p")
TRANSPARENT = (".webm", ".mov")  # videos with transparency
_BINS, _HIGH, _WIDE = 8, 24, 32  # of a signature: bins a channel, pixels looked at


class VideoError(InputError):
    """A file that is no whole video. The text says what it is instead.

    Attributes:
        path: the file.
        decoded_s: how much of it could be decoded before the trouble.
    """

    def __init__(self, path: Path, reason: str, decoded_s: float = 0.0) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason, self.decoded_s = path, reason, decoded_s

    def __reduce__(self) -> tuple[Any, ...]:
        return VideoError, (self.path, self.reason, self.decoded_s)  # its own arguments, so that it can be pickled


@dataclass(frozen=True)
class VideoInfo:
    """What the head of a video says.

    Attributes:
        width_px, height_px: of a frame as it is shown: turned, and with square pixels.
        duration_s: of the pictures; 0.0 where the file does not say.
        fps: mean frame rate; 0.0 where unknown.
        frames: how many there are; 0 where the file does not say.
        rotation_deg: by how much frames are turned counter-clockwise for showing: 0, 90, 180 or 270.
        has_audio: whether there is sound.
        created: when it was recorded, in seconds since 1970; None where the file does not say.
    """

    width_px: int
    height_px: int
    duration_s: float
    fps: float
    frames: int
    rotation_deg: int
    has_audio: bool
    created: float | None = None


class Sample(NamedTuple):
    """A frame of `walk` and when it is on show."""

    time_s: float
    frame: Frame


def info(path: str | Path) -> VideoInfo:
    """What a video is; its first frame is decoded, so that a file without any is found out.

    Raises:
        MissingFileError, IsADirectoryError: no such file; a folder.
        VideoError: not a video, one without pictures, or one cut off at its start.
    """
    with _opened(Path(path)) as film:
        first = next(film.decoded(), None)
        if first is None:
            raise VideoError(film.path, film.nothing())
        turned, _ = _turned(first)
        height, width = film.shown_size(first)
        rate = film.stream.average_rate or film.stream.guessed_rate
        return VideoInfo(
            width,
            height,
            film.expected_s() or 0.0,
            float(rate or 0),
            film.stream.frames,
            90 * turned,
            bool(film.container.streams.audio),
            _created(film.container),
        )


def frames(path: str | Path, times_s: Sequence[Real]) -> list[Frame]:
    """The frames on show at some times, in the order of the times; seeks, so a few of a long video are cheap.

    Raises:
        InputError: a time before the start or after the end.
        MissingFileError, IsADirectoryError, VideoError: as `info`.
    """
    if not all(np.isfinite(time) and time >= 0 for time in times_s):
        raise InputError(f"times are seconds from the start, 0 or more, not {list(times_s)}")
    found: dict[Real, Frame] = {}
    with _opened(Path(path)) as film:
        shown: tuple[float, Any] | None = None
        coming: Iterator[tuple[float, Any]] = iter(())
        ahead: tuple[float, Any] | None = None
        for time in sorted(set(times_s)):
            if shown is None or time > shown[0] + AHEAD_S:
                coming = film.sought(time)
                shown, ahead = next(coming, None), None
            if shown is None:
                raise VideoError(film.path, film.nothing())
            while True:
                ahead = ahead or next(coming, None)
                if ahead is None or ahead[0] > time + _HALF_TICK_S:
                    break
                shown, ahead = ahead, None
            if ahead is None and time > film.end_s(*shown) + 0.05:
                raise InputError(f"{path}: no frame at {time:g} s, the video ends at {film.end_s(*shown):.2f} s")
            found[time] = film.pixels(shown[1])
    return [found[time] for time in times_s]


def walk(
    path: str | Path,
    every_s: Real,
    *,
    size: tuple[int, int] | None = None,
    watch: Callable[[float, UInt8[np.ndarray, " s"]], None] | None = None,
    fast: bool = True,
) -> Iterator[Sample]:
    """Frames at 0, every_s, 2·every_s, ... of a whole video, decoded once from start to end.

    A frame that is on show at several of these times comes at each of them, as the same array. Damage inside a file is
    stepped over, and a warning counts what could not be decoded.

    Args:
        path: of the video.
        every_s: seconds between two samples.
        size: (height, width) that frames are squeezed to, which is cheaper here than later; None: as they are.
        watch: is called with time and `signature` of every frame, for `cuts`.
        fast: leave out H.264's deblocking, whose effect is gone once a frame is made small.

    Raises:
        MissingFileError, IsADirectoryError, VideoError: as `info`; also after the last sample, where the file is
            truncated (`decoded_s` says how far it went).
    """
    if not every_s > 0:
        raise InputError(f"every_s must be positive, not {every_s}")
    with _opened(Path(path), fast) as film:
        index, shown, end = 0, None, 0.0
        pixels: Frame | None = None  # of `shown`, once they were asked for
        for frame in film.decoded():
            time = film.time_s(frame)
            if watch is not None:
                watch(time, signature(frame))
            while shown is not None and index * every_s < time - _HALF_TICK_S:
                pixels = film.pixels(shown, size) if pixels is None else pixels
                yield Sample(index * every_s, pixels)
                index += 1
            shown, pixels, end = frame, None, film.end_s(time, frame)
        if shown is None:
            raise VideoError(film.path, film.nothing())
        while index * every_s < end - _HALF_TICK_S:
            pixels = film.pixels(shown, size) if pixels is None else pixels
            yield Sample(index * every_s, pixels)
            index += 1
        film.finish(end)


def every_frame(where: str | Path) -> Iterator[Sample]:
    """Every frame of a video, or of a camera for as long as it runs.

    Args:
        where: a video file, or "camera:0" for the first camera of this machine.

    Raises:
        MissingFileError, IsADirectoryError, VideoError: as `info`; where the file is damaged, after its last frame.
        InputError: there is no such camera.
    """
    if isinstance(where, str) and where.startswith("camera:"):
        yield from _camera(where)
        return
    with _opened(Path(where)) as film:
        count, time = 0, 0.0
        for count, frame in enumerate(film.decoded(), 1):  # noqa: B007
            time = film.time_s(frame)
            yield Sample(time, film.pixels(frame))
        if not count:
            raise VideoError(film.path, film.nothing())
        film.finish(time)


def check_camera(name: str) -> None:
    """Opens a camera and lets it go again, so that one which is not there is said before anything else begins.

    Raises:
        InputError: there is no such camera.
    """
    _opened_camera(name).close()


def _camera(name: str) -> Iterator[Sample]:
    with _opened_camera(name) as container:
        film = _Film(Path(name), container, container.streams.video[0])
        yield from (Sample(film.time_s(frame), film.pixels(frame)) for frame in film.decoded())


def _opened_camera(name: str) -> Any:
    number = name.partition(":")[2]
    kinds = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}"), "win32": ("dshow", "video={}")}
    if sys.platform not in kinds:
        raise InputError(f"{name}: cameras are not read on {sys.platform}")
    kind, place = kinds[sys.platform]
    try:
        return av.open(place.format(number), format=kind)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise InputError(
            f"{name}: no such camera ({getattr(error, 'strerror', None) or error}); is it plugged in, may this user "
            "read it, and does no other program use it?"
        ) from None


# ---------------------------------------------------------------------------------------------------- shots


def signature(frame: Any) -> UInt8[np.ndarray, " s"]:
    """What `cuts` compares of a frame (an av.VideoFrame): histograms of its quarters, 96 bytes."""
    tiny = _tiny(frame)
    quarter = (np.arange(_HIGH)[:, None] * 2 // _HIGH * 2 + np.arange(_WIDE) * 2 // _WIDE).astype(np.uint8)
    channel = np.arange(3, dtype=np.uint8)[:, None, None] * 4
    counts = np.bincount((((channel + quarter) * _BINS) + tiny // (256 // _BINS)).ravel(), minlength=12 * _BINS)
    return counts.astype(np.uint8)  # a quarter has 192 pixels, so that a byte is enough


def signature_of(pixels: Frame) -> UInt8[np.ndarray, " s"]:
    """`signature` of RGB pixels."""
    return signature(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgb24"))


def cuts(
    times_s: Sequence[Real], signatures: Sequence[UInt8[np.ndarray, " s"]], *, threshold: Real = 0.2
) -> list[float]:
    """When new shots begin: frames that differ from the one before far more than frames around them do.

    A flash is no cut: frames a moment later look again as before it. Fades and dissolves have no such frame and are not
    found.

    Args:
        times_s, signatures: of all frames, in order, as `walk` hands them to `watch`.
        threshold: least share of the pixels' values that must have changed, 0..1.
    """
    if len(signatures) < 2:
        return []
    rows = np.stack([np.asarray(row) for row in signatures])
    jump = _apart(rows[:-1], rows[1:])
    found = []
    for index in np.flatnonzero(jump >= threshold).tolist():
        around = np.concatenate((jump[max(0, index - 6) : index], jump[index + 1 : index + 7]))
        usual = float(np.median(around)) if len(around) else 0.0
        after = rows[index + 1 : index + 5]
        before = rows[max(0, index - 3) : index + 1]
        flash = min(
            float(_apart(rows[index][None], after[1:]).min(initial=1.0)),
            float(_apart(before[:-1], rows[index + 1][None]).min(initial=1.0)),
        )
        if jump[index] >= 3 * usual and flash >= threshold / 2:
            found.append(float(times_s[index + 1]))
    return found


def _apart(a: UInt8[np.ndarray, "#n s"], b: UInt8[np.ndarray, "#n s"]) -> Float32[np.ndarray, " m"]:
    """Share of the pixels that changed their bin at least, the channel that changed most: 0..1."""
    gap = np.abs(a.astype(np.int16) - b).reshape(-1, 3, 4 * _BINS).sum(2)
    luma, blue, red = gap.T / np.float32(2 * _HIGH * _WIDE)
    return np.maximum(luma, np.maximum(blue, red)).astype(np.float32)


def _tiny(frame: Any) -> UInt8[np.ndarray, "3 24 32"]:
    """Every so manyth pixel of a frame's three planes; nothing is converted where it need not be."""
    if frame.format.name not in _PLANAR or frame.width < 2 * _WIDE or frame.height < 2 * _HIGH:
        frame = frame.reformat(width=2 * _WIDE, height=2 * _HIGH, format="yuv444p")
    out = np.empty((3, _HIGH, _WIDE), np.uint8)
    for channel, plane in enumerate(frame.planes[:3]):
        pixels = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        rows = (np.arange(_HIGH) * plane.height + plane.height // 2) // _HIGH
        columns = (np.arange(_WIDE) * plane.width + plane.width // 2) // _WIDE
        out[channel] = pixels[rows[:, None], columns]
    return out


# -------------------------------------------------------------------------------------------------- writing


class Writer:
    """Writes a clip: H.264 where PyAV's build has it, else MPEG-4. Use as a context; whole or not at all.

        with Writer(path, 25) as writer:
            writer.add(frame)

    Args:
        path: its ending names the container (.mp4, .mkv, ...).
        fps: frames a second.
        crf: quality of H.264, 0 (lossless) to 51.
        keyframe_s: at most so many seconds between two frames that a player can start from.
        alpha: frames are RGBA, and stay transparent: VP9 in .webm, ProRes 4444 in .mov.
    """

    def __init__(
        self, path: str | Path, fps: Real, *, crf: int = 20, keyframe_s: Real = 2.0, alpha: bool = False
    ) -> None:
        if not fps > 0:
            raise InputError(f"fps must be positive, not {fps}")
        self.path, self.fps, self.alpha = Path(path), fps, alpha
        if alpha and self.path.suffix.lower() not in TRANSPARENT:
            raise InputError(f"{path}: transparent videos end in {' or '.join(TRANSPARENT)}")
        self._rate = Fraction(fps).limit_denominator(1001)
        self._crf, self._gap = crf, max(1, round(keyframe_s * fps))
        self._temporary = self.path.with_name(f".{os.getpid()}.tmp.{self.path.name}")
        self._container: Any = None
        self._stream: Any = None
        self._count, self._last = 0, -1

    def add(self, frame: UInt8[np.ndarray, "h w c"], time_s: Real | None = None) -> None:
        """Appends a frame, RGB (or RGBA). All have one size; an odd side gets a row or column more, as H.264 asks for.

        Args:
            time_s: when it comes on show, later than the frame before; None: by the frame rate.
        """
        frame, channels = np.ascontiguousarray(frame), 4 if self.alpha else 3
        if frame.ndim != 3 or frame.shape[2] != channels or frame.dtype != np.uint8 or 0 in frame.shape:
            raise InputError(f"a frame is uint8, h w {channels}, not {frame.dtype} {frame.shape}")
        frame = np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), mode="edge")
        stream = self._stream or self._open(*frame.shape[:2])
        if (stream.height, stream.width) != frame.shape[:2]:
            size = f"{stream.height} x {stream.width}"
            raise InputError(f"frames of a video have one size: {size}, then {frame.shape[0]} x {frame.shape[1]}")
        ticks = round((self._count / self._rate if time_s is None else Fraction(time_s)) / _TICK)
        if ticks <= self._last:
            raise InputError(f"frame {self._count} at {time_s} s comes no later than the one before")
        picture = av.VideoFrame.from_ndarray(frame, "rgba" if self.alpha else "rgb24")
        picture.pts, picture.time_base = ticks, _TICK
        with naming_writes(self.path):
            self._container.mux(stream.encode(picture))
        self._count, self._last = self._count + 1, ticks

    def close(self) -> None:
        """Finishes the file. Raises InputError where no frame was added."""
        if self._container is None or self._stream is None:
            raise InputError(f"{self.path}: a video needs at least one frame")
        with naming_writes(self.path):
            self._container.mux(self._stream.encode())
            self._container.close()
            with self._temporary.open("r+b") as file:
                os.fsync(file.fileno())  # a full disk may show only here
            self._temporary.replace(self.path)

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.close()
        finally:
            if self._container is not None:
                with contextlib.suppress(Exception):  # what was being written is thrown away
                    self._container.close()
            self._temporary.unlink(missing_ok=True)

    def _open(self, height: int, width: int) -> Any:
        suffix = self.path.suffix.lower()
        codec = "libvpx-vp9" if suffix == ".webm" else "libx264" if "libx264" in av.codecs_available else "mpeg4"
        codec = "prores_ks" if self.alpha and suffix == ".mov" else codec
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fast = {"movflags": "+faststart"} if suffix in (".mp4", ".m4v", ".mov") else {}
        self._container = av.open(f"file:{self._temporary}", "w", options=fast)
        # One thread: the same frames always give the same bytes.
        options = {
            "libx264": {"crf": str(self._crf), "preset": "fast", "threads": "1"},
            "libvpx-vp9": {"crf": str(self._crf), "b": "0", "deadline": "realtime", "cpu-used": "8"},
            "mpeg4": {"qscale": "4"},
            "prores_ks": {"profile": "4444", "alpha_bits": "16", "vendor": "apl0"},
        }[codec]
        if self.alpha and codec == "libvpx-vp9":
            options["auto-alt-ref"] = "0"  # with alpha the encoder knows no frames that are not shown
        self._stream = self._container.add_stream(codec, rate=self._rate, options=options)
        kind = {"libvpx-vp9": "yuva420p", "prores_ks": "yuva444p10le"}[codec] if self.alpha else "yuv420p"
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, kind
        self._stream.codec_context.gop_size = self._gap
        # MPEG-4's clock is coarse, and AVI has a place for a frame at every tick.
        coarse = codec == "mpeg4" or suffix == ".avi"
        self._stream.codec_context.time_base = 1 / self._rate if coarse else _TICK
        return self._stream


def write(path: str | Path, frames: Iterable[Frame], fps: Real) -> Path:
    """Writes frames as a clip, see `Writer`; returns where it is.

    Args:
        path: its ending says the format: .mp4, .webm, ...
        frames: RGB bytes, all of one size.
        fps: frames a second.
    """
    with Writer(path, fps) as writer:
        for frame in frames:
            writer.add(frame)
    return writer.path


# -------------------------------------------------------------------------------------------------- reading


class _Film:
    """An open file with pictures."""

    def __init__(self, path: Path, container: Any, stream: Any) -> None:
        self.path, self.container, self.stream = path, container, stream
        self.broken = False  # reading stopped before the end of the file
        self._index = stream.index
        started = container.start_time
        own = stream.start_time
        self._origin_s = started / av.time_base if started is not None else float((own or 0) * stream.time_base)
        rate = stream.average_rate or stream.guessed_rate
        self._frame_s = min(float(1 / rate), 10.0) if rate else 0.04
        self._count = self._skipped = 0
        self._last: float | None = None  # time of the frame before, while decoding goes straight on
        self._shift = 0.0  # what is added to time stamps that have started again
        self._restarts: bool | None = None
        aspect = stream.sample_aspect_ratio
        self._aspect = aspect if aspect and Fraction(1, 4) <= aspect <= 4 else Fraction(1)

    def decoded(self) -> Iterator[Any]:
        """Frames from here to the end, in the order of their times."""
        packets = self.container.demux(self.stream)
        while True:
            try:
                packet = next(packets, None)
            except (av.FFmpegError, OSError):
                self.broken = True
                packet = None
            try:
                yield from self.stream.decode(packet) if packet is not None else ()
            except EOFError:  # nothing is left in the decoder
                return
            except (av.FFmpegError, OSError):
                self._skipped += 1
                continue  # a damaged packet; the next may be whole
            if packet is None or (packet.dts is None and packet.size == 0):
                return

    def _restart(self) -> None:
        """Opens the file again."""
        self.container.close()
        self.container = _container(self.path)
        self.stream = self.container.streams[self._index]
        self.stream.thread_type = "AUTO"
        self._count, self.broken = 0, False
        self._last, self._shift = None, 0.0

    def time_s(self, frame: Any) -> float:
        """When a frame comes on show; counted where the file has no time stamps.

        Where time stamps start again, time goes on; a jump of hours is no time either.
        """
        self._count += 1
        if frame.pts is None:
            return (self._count - 1) * self._frame_s
        time = float(frame.pts * frame.time_base) - self._origin_s + self._shift
        before = (0.0 if self._count == 1 else time) if self._last is None else self._last
        if time < before - _BACK_S or time > before + _JUMP_S:
            after = before + (self._frame_s if self._last is not None else 0.0)
            self._shift, time = self._shift + after - time, after
        self._last = max(time, before)
        return time

    def end_s(self, time: Real, frame: Any) -> float:
        """When a frame goes, if it is the last."""
        length = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else 0.0
        return time + (length if 0 < length < _JUMP_S else self._frame_s)

    def shown_size(self, frame: Any) -> tuple[int, int]:
        """(height, width) of a frame as it is shown."""
        height, width = self._square(frame)
        return (width, height) if _turned(frame)[0] % 2 else (height, width)

    def _square(self, frame: Any) -> tuple[int, int]:
        """(height, width) with square pixels, the longer way of the two; not turned yet."""
        if self._aspect >= 1:
            return frame.height, round(frame.width * self._aspect)
        return round(frame.height / self._aspect), frame.width

    def pixels(self, frame: Any, size: tuple[int, int] | None = None) -> Frame:
        """RGB of a frame as it is shown; `size` is (height, width) to squeeze it to."""
        quarters, mirrored = _turned(frame)
        if size is None:
            height, width = self._square(frame)
        else:
            height, width = size if quarters % 2 == 0 else size[::-1]
        if (height, width) == (frame.height, frame.width) and size is None:
            pixels = frame.to_ndarray(format="rgb24")
        else:
            # AREA averages over the pixels that fall together; it cannot enlarge well.
            how = "AREA" if frame.width >= width and frame.height >= height else "BILINEAR"
            pixels = frame.reformat(width=width, height=height, format="rgb24", interpolation=how).to_ndarray()
        pixels = pixels[:, ::-1] if mirrored else pixels
        return np.ascontiguousarray(np.rot90(pixels, quarters) if quarters else pixels)

    def finish(self, end_s: float) -> None:
        """Says what of the file could not be decoded, once its last frame was.

        Args:
            end_s: where the last frame is.

        Raises:
            VideoError: the end of the file is missing. Damage before it is a warning with a count.
        """
        wanted = self.expected_s()
        if self.broken or (wanted is not None and end_s < wanted - max(0.5, 0.02 * wanted)):
            of = f" of {wanted:.1f} s" if wanted is not None else " s"
            raise VideoError(self.path, f"truncated or damaged: {end_s:.1f}{of} can be decoded", end_s)
        if self._skipped:
            warnings.warn(f"{self.path}: {self._skipped} damaged pieces of the video are left out", stacklevel=3)

    def restarts(self) -> bool:
        """Whether time stamps start again somewhere, so that no time can be sought: transport streams only."""
        if self._restarts is None:
            self._restarts = False
            if self.container.format.name == "mpegts":
                with _container(self.path) as other, contextlib.suppress(av.FFmpegError, OSError):
                    last = None
                    for packet in other.demux(other.streams[self._index]):
                        if packet.dts is not None and packet.time_base is not None:
                            time = float(packet.dts * packet.time_base)
                            if last is not None and not -_BACK_S <= time - last <= _JUMP_S:
                                self._restarts = True
                                break
                            last = time
        return self._restarts

    def sought(self, time: Real) -> Iterator[tuple[float, Any]]:
        """(time, frame) from the last frame to start at before a time; from the very start where that fails."""
        back = 0.0
        while True:
            aim = 0.0 if self.restarts() else time - back
            self._last, self._shift = None, 0.0
            if aim > 0:
                self._count = 1  # a frame in the middle may have any time
                self.container.seek(int((aim + self._origin_s) * av.time_base), backward=True)
                coming = self.decoded()
                # What comes before the first key frame refers to frames that were jumped over.
                first = next((frame for frame in coming if frame.key_frame), None)
            else:
                self._restart()  # seeking to the start misses it in some containers
                coming = self.decoded()
                first = next(coming, None)
            if first is None and aim <= 0:
                return
            if first is not None and (aim <= 0 or self.time_s(first) <= time + _HALF_TICK_S):
                yield self.time_s(first), first
                yield from ((self.time_s(frame), frame) for frame in coming)
                return
            back = max(1.0, 4 * back)

    def expected_s(self) -> float | None:
        """How long the pictures should last; None where the file does not say."""
        if self.stream.duration:
            begin = float((self.stream.start_time or 0) * self.stream.time_base) - self._origin_s
            return float(self.stream.duration * self.stream.time_base) + max(begin, 0.0)
        text = self.stream.metadata.get("DURATION", "")
        with contextlib.suppress(ValueError):
            hours, minutes, seconds = text.split(":")
            return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
        whole = self.container.duration  # of whatever lasts longest in the file
        return whole / av.time_base if whole and len(self.container.streams) == 1 else None

    def nothing(self) -> str:
        """Why no frame could be decoded."""
        if self.broken:
            return "truncated or damaged: not one frame can be decoded"
        return "a video without frames, or with none that can be decoded"


@lru_cache(maxsize=1)
def _formats() -> str:
    """The formats that may be opened: none that is a list of other files or of addresses."""
    lists = {"hls", "applehttp", "concat", "concatf", "dash", "imf", "sdp", "rtsp", "rtp", "webm_dash_manifest", "tty"}
    return ",".join(sorted(name for name in av.formats_available if name not in lists))


def _container(path: Path) -> Any:
    """A file, opened as a file whatever its name looks like ("12:30.mp4"), and no other file or address with it."""
    rules = {"protocol_whitelist": "file", "format_whitelist": _formats()}
    return av.open(f"file:{path}", options=rules)


@contextlib.contextmanager
def _opened(path: Path, fast: bool = False) -> Iterator[_Film]:
    path = path.expanduser()
    if path.is_dir():
        raise FolderError(f"{path}: this is a folder; give one video")
    if check_regular(path).stat().st_size == 0:
        raise VideoError(path, "the file is empty (0 bytes)")
    try:
        container = _container(path)
    except PermissionError:
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        raise VideoError(path, _unopened(path, error)) from None
    film = None
    try:
        kind = container.format.name
        if kind.endswith("_pipe") or kind.startswith("image2"):
            raise VideoError(path, "this is a picture, not a video")
        pictures = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        if not pictures:
            if not container.streams:
                raise VideoError(path, _unopened(path, ValueError("it holds no streams")))
            raise VideoError(
                path, f"this file has {'only sound' if container.streams.audio else 'no pictures'}, no video"
            )
        stream = pictures[0]
        if stream.codec_context is None:
            raise VideoError(path, "a video in a format that this build of FFmpeg cannot decode")
        stream.thread_type = "AUTO"
        if fast and stream.codec_context.name in ("h264", "hevc"):
            stream.codec_context.options = {"skip_loop_filter": "all"}
        film = _Film(path, container, stream)
        yield film
    finally:
        (film.container if film is not None else container).close()


def _unopened(path: Path, error: Exception) -> str:
    with path.open("rb") as file:
        head = file.read(12)
    if head[4:8] in (b"ftyp", b"mdat", b"moov", b"wide", b"free") or head[:4] == b"\x1aE\xdf\xa3":
        return "without frames, or truncated: cut off before its table of contents was written"
    return f"not a video in any format that FFmpeg reads, or damaged at its start ({getattr(error, 'strerror', error)})"


def _turned(frame: Any) -> tuple[int, bool]:
    """(quarter turns counter-clockwise, whether it is mirrored left to right before them) that the file asks for."""
    matrix = next((bytes(data) for data in frame.side_data if data.type.name == "DISPLAYMATRIX"), b"")
    if len(matrix) != 36:
        return round(frame.rotation / 90) % 4, False
    a, b, _, c, d, *_ = struct.unpack("<9i", matrix)
    mirrored = a * d - b * c < 0
    turn = math.degrees(math.atan2(-b, -a)) if mirrored else math.degrees(math.atan2(b, a))  # clockwise
    return round(-turn / 90) % 4, mirrored


def _created(container: Any) -> float | None:
    """The container's date of recording; cameras without a clock write 1904 or 1970."""
    from datetime import UTC, datetime

    text = container.metadata.get("creation_time", "")
    with contextlib.suppress(ValueError):
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return moment.timestamp() if moment.year > 1971 else None
    return None
