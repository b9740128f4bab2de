"""From a folder of photos and videos to what an index holds: moments with codes.

A moment is half a second of one shot of a video, or a photo. Its vector is the mean of the vectors of its frames, and
its code the hash of that. Files are known by their content: one that is in already is not encoded again, wherever it
lies now. Nothing here knows torch: pictures become vectors in an `Encoder`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from percepta.datasets.problem import Problem
from percepta.errors import InputError, MissingFileError
from percepta.media import image, video
from percepta.systems.hashing.index import Entry, Known, Writer, absolute, hash_file

RECENT_NS = 2_000_000_000  # younger files may change once more without a new time of change
Real = int | float
MIN_FRAMES = 8  # numbered pictures in a folder that make it a video
_EPS_S = 1e-4


@runtime_checkable
class Encoder(Protocol):
    """Makes vectors of pictures and codes of vectors. May be called from several threads."""

    side: int
    bits: int

    def fingerprint(self) -> str: ...

    def pictures(self, pixels: UInt8[np.ndarray, "b side side 3"]) -> Float32[np.ndarray, "b d"]: ...

    def codes(self, vectors: Float32[np.ndarray, "b d"]) -> UInt8[np.ndarray, "b w"]: ...

    def sentences(self, words: Sequence[str]) -> UInt8[np.ndarray, "b w"]: ...


@dataclass(frozen=True)
class Settings:
    """How moments are made; kept in the index, so that all of it is made the same way."""

    moment_s: int | float = 0.5
    """Length of a moment."""
    every_s: int | float = 0.25
    """Seconds between two frames that are encoded."""
    frames_fps: int | float = 0.0
    """Frame rate of folders with numbered pictures, which are then videos; 0: their pictures are photos."""


@dataclass(frozen=True)
class Item:
    """A file of the collection, or a folder of frames.

    Attributes:
        path: absolute.
        kind: photo or video.
        size: in bytes.
        mtime_ns: time of its last change.
    """

    path: str
    kind: str
    size: int
    mtime_ns: int


@dataclass
class Additions:
    """What `add` did.

    Attributes:
        added: files that were encoded.
        moved: files that were in already, under another path.
        same: files that have not changed.
        removed: files that are no longer there.
        moments: that were added.
        problems: files that were skipped or are there only in part, with the reason.
    """

    added: int = 0
    moved: int = 0
    same: int = 0
    removed: int = 0
    moments: int = 0
    problems: list[Problem] = field(default_factory=list)


Encoded = tuple[Item, Entry | Exception, str]
"""A file, its entry or what went wrong, and a note."""


# -------------------------------------------------------------------------------------------------- listing


def listing(root: str | Path, settings: Settings, problems: list[Problem]) -> list[Item]:
    """Photos and videos of a folder and its subfolders, sorted by path; or one file.

    Links are followed, loops of links are not. What begins with a dot is left out. What cannot be listed goes to
    `problems`.

    Args:
        root: the folder or the file.
        settings: whether folders of numbered pictures are videos.
        problems: a list to add to.

    Raises:
        MissingFileError: no such file or folder.
        InputError: a file that is neither photo nor video by its name.
    """
    root = absolute(root)
    if not Path(root).is_dir():
        if not Path(root).exists():
            raise MissingFileError(f"{root}: no such file or folder")
        kind = kind_of(root)
        if kind is None:
            raise InputError(f"{root}: neither a photo nor a video by its name")
        return [_item(Path(root), kind)]
    found: list[Item] = []
    _list(root, settings, found, problems, frozenset())
    return sorted(found, key=lambda item: os.fsencode(item.path))


def kind_of(path: str | Path) -> str | None:
    """photo or video, by the ending of its name; None: neither."""
    suffix = Path(path).suffix.lower()
    return "photo" if suffix in image.SUFFIXES else "video" if suffix in image.VIDEO_SUFFIXES else None


def _list(
    folder: str, settings: Settings, found: list[Item], problems: list[Problem], above: frozenset[tuple[int, int]]
) -> None:
    try:
        status = Path(folder).stat()
        own = (status.st_dev, status.st_ino)
        if own in above:
            problems.append(Problem(Path(folder), None, "a link to a folder that it lies in; not followed"))
            return
        names = sorted(entry.name for entry in os.scandir(folder) if not entry.name.startswith("."))
    except OSError as error:
        problems.append(Problem(Path(folder), None, f"cannot be listed ({error.strerror or error})"))
        return
    here: list[Item] = []
    for name in names:
        path = Path(folder, name)
        try:
            mode = path.stat().st_mode
            if stat.S_ISDIR(mode):
                _list(str(path), settings, found, problems, above | {own})
            elif stat.S_ISREG(mode) and (kind := kind_of(name)) is not None:
                here.append(_item(path, kind))
        except OSError as error:
            # A link to nothing, or to itself, is a problem only where its name is that of a photo or a video.
            if kind_of(name) is not None or error.errno != 2:
                problems.append(Problem(path, None, f"cannot be read ({error.strerror or error})"))
    if settings.frames_fps > 0 and is_film(here):
        here = [_item(Path(folder), "video")]
    found += here


def is_film(items: Sequence[Item]) -> bool:
    """Whether these are the frames of a video: enough pictures whose names are numbers, all of one kind."""
    stems = [Path(item.path) for item in items]
    digits = [path.stem.rpartition("-")[2].rpartition("_")[2] for path in stems]
    return (
        len(items) >= MIN_FRAMES
        and all(item.kind == "photo" for item in items)
        and all(text.isdigit() for text in digits)
        and len({path.suffix.lower() for path in stems}) == 1
    )


def _item(path: Path, kind: str) -> Item:
    if path.is_dir():
        status = [frame.stat() for frame in film_frames(path)]
        return Item(str(path), kind, sum(s.st_size for s in status), max((s.st_mtime_ns for s in status), default=0))
    status = path.stat()
    return Item(str(path), kind, status.st_size, status.st_mtime_ns)


def film_frames(folder: Path) -> list[Path]:
    """The pictures of a folder of frames, in the order of their numbers."""
    frames = [p for p in folder.iterdir() if p.suffix.lower() in image.SUFFIXES and not p.name.startswith(".")]
    return sorted(frames, key=lambda p: (int("".join(c for c in p.stem if c.isdecimal()) or 0), p.name))


# -------------------------------------------------------------------------------------------------- encoding


def spans(cuts: Sequence[Real], end_s: Real, moment_s: Real) -> Float32[np.ndarray, "m 2"]:
    """Moments of a video: each shot in pieces of `moment_s`; a rest below half of that goes to the piece before.

    Args:
        cuts: times of the cuts between shots, seconds.
        end_s: length of the video, seconds.
        moment_s: length of a moment, seconds.
    """
    found = []
    for begin, end in pairwise([0.0, *(cut for cut in cuts if 0 < cut < end_s), end_s]):
        pieces = max(1, int((end - begin) / moment_s + 0.5))
        edges = [begin + moment_s * index for index in range(pieces)] + [end]
        found += list(pairwise(edges))
    return np.array(found, np.float32).reshape(-1, 2)


def pooled(
    times_s: Sequence[Real], vectors: Float32[np.ndarray, "f d"], moments: Float32[np.ndarray, "m 2"]
) -> tuple[Float32[np.ndarray, "k 2"], Float32[np.ndarray, "k d"]]:
    """Moments that have frames, and the mean of their frames' vectors.

    Args:
        times_s: of the frames, seconds.
        vectors: of the frames.
        moments: (start, end) of each, seconds.
    """
    owner = np.searchsorted(moments[:, 0], np.asarray(times_s) + _EPS_S, "right") - 1
    counts = np.bincount(owner, minlength=len(moments))
    sums = np.zeros((len(moments), vectors.shape[1]), np.float32)
    np.add.at(sums, owner, vectors)
    kept = counts > 0
    return moments[kept], sums[kept] / counts[kept, None].astype(np.float32)


def photo(path: str | Path, side: int) -> UInt8[np.ndarray, "side side 3"]:
    """A photo as encoders take it: the whole picture, squeezed into a square; errors as `media.image.read`."""
    small = image.resize(image.read(path, at_least=side), side, side)
    return (small * 255).round().byte().permute(1, 2, 0).numpy()


def taken(path: str | Path, kind: str, mtime_ns: int) -> float:
    """When a file was recorded, in seconds since 1970: EXIF, or what the video says; else its time of change.

    EXIF without a time zone is taken as local time.

    Args:
        path: of the file.
        kind: "photo" or "video".
        mtime_ns: when the file was last changed, nanoseconds since 1970.
    """
    with contextlib.suppress(Exception):  # a damaged date must not cost the picture
        if kind == "photo":
            with Image.open(path) as picture:
                exif = picture.getexif()
                inner = exif.get_ifd(0x8769)
                text = str(inner.get(0x9003) or inner.get(0x9004) or exif.get(0x0132))
                zone = str(inner.get(0x9011) or "").strip("\x00 ")
                return datetime.strptime(text[:19] + zone, "%Y:%m:%d %H:%M:%S" + ("%z" if zone else "")).timestamp()
        created = video.info(path).created
        if created is not None:
            return created
    return mtime_ns / 1e9


class _Work:
    """A file under work: frames that were handed to the encoder, and what becomes of them."""

    def __init__(self, item: Item, content: str) -> None:
        self.item, self.content = item, content
        self.times: list[float] = []
        self.vectors: list[tuple[Future[Float32[np.ndarray, "b d"]], int]] = []  # where a frame's vector will be
        self.decoded: list[float] = []  # times of all frames, those between the encoded ones included
        self.signatures: list[UInt8[np.ndarray, " s"]] = []
        self.end_s = 0.0
        self.walked = False
        self.note = ""
        self.error: Exception | None = None

    @property
    def done(self) -> bool:
        return self.walked and all(vector.done() for vector, _ in self.vectors)

    def watch(self, time_s: float, signature: UInt8[np.ndarray, " s"]) -> None:
        self.decoded.append(time_s)
        self.signatures.append(signature)

    def entry(self, encoder: Encoder, settings: Settings) -> Entry:
        """The file with its moments; raises what went wrong."""
        if self.error is not None:
            raise self.error
        vectors = np.stack([future.result()[row] for future, row in self.vectors])
        if self.item.kind == "photo":
            times = np.zeros((1, 2), np.float32)
        else:
            gaps = np.diff(self.decoded)
            end = self.end_s or self.decoded[-1] + (float(np.median(gaps)) if len(gaps) else settings.moment_s)
            cuts = video.cuts(self.decoded, self.signatures)
            times, vectors = pooled(self.times, vectors, spans(cuts, end, settings.moment_s))
        _unchanged(self.item)
        item = self.item
        fresh = time.time_ns() - item.mtime_ns < RECENT_NS
        when = taken(item.path, item.kind, item.mtime_ns)
        codes = encoder.codes(vectors)
        return Entry(item.path, item.kind, item.size, 0 if fresh else item.mtime_ns, self.content, when, times, codes)


def encode_files(
    items: Iterable[tuple[Item, str]], encoder: Encoder, settings: Settings, threads: int = 1
) -> Iterator[Encoded]:
    """Encodes files: one thread decodes videos while others encode (and decode photos).

    Args:
        items: with the sha256 of each.
        encoder: pictures to vectors to codes.
        settings: how moments are made.
        threads: that encode.

    Yields:
        (item, its entry or what went wrong, a note) for every item, in their order.
    """
    waiting: deque[_Work] = deque()
    pool = ThreadPoolExecutor(threads)

    def ready(max_waiting: int) -> Iterator[Encoded]:
        """Files that are done, and as many more as it takes to have no more than `max_waiting` frames waiting."""
        while waiting and waiting[0].walked:
            if not waiting[0].done and sum(len(work.vectors) for work in waiting) <= max_waiting:
                return
            work = waiting.popleft()
            try:
                yield work.item, work.entry(encoder, settings), work.note
            except Exception as error:  # decoders raise all kinds at damaged files; the others must go on
                yield work.item, error, ""

    try:
        for item, content in items:
            work = _Work(item, content)
            waiting.append(work)
            if item.kind == "photo":
                work.times.append(0.0)
                work.vectors.append((pool.submit(_photo_vector, item.path, encoder), 0))
            else:
                try:
                    pair = _Pair(work, encoder, pool, threads)
                    try:
                        for sample in _samples(work, encoder.side, settings):
                            pair.add(sample)
                            yield from ready(1 << 62)
                    finally:
                        pair.close()
                except video.VideoError as error:
                    if error.decoded_s and work.vectors:
                        work.note, work.end_s = f"{error.reason}; what can be is in the index", error.decoded_s
                    else:
                        work.error = error
                except Exception as error:  # as above
                    work.error = error
            work.walked = True
            yield from ready(8 * threads)
        yield from ready(-1)
    finally:
        pool.shutdown(cancel_futures=True)


def _samples(work: _Work, side: int, settings: Settings) -> Iterator[video.Sample]:
    folder = Path(work.item.path)
    if not folder.is_dir():
        yield from video.walk(folder, settings.every_s, size=(side, side), watch=work.watch)
        return
    frames, index = film_frames(folder), 0
    for number, path in enumerate(frames):
        pixels = photo(path, side)
        now = number / settings.frames_fps
        work.watch(now, video.signature_of(pixels))
        while index * settings.every_s < now + 1 / settings.frames_fps - _EPS_S:
            yield video.Sample(index * settings.every_s, pixels)
            index += 1
    work.end_s = len(frames) / settings.frames_fps


class _Pair:
    """Hands a video's frames to the encoder two at a time, which is a fifth faster than one by one.

    Always two, the last with itself where it is alone: a network may round differently for another number of pictures,
    and a video's codes have to follow from the video alone.
    """

    def __init__(self, work: _Work, encoder: Encoder, pool: ThreadPoolExecutor, threads: int) -> None:
        self.work, self.encoder, self.pool, self.limit = work, encoder, pool, 4 * threads
        self.first: list[video.Sample] = []  # one frame that waits for the next, as often as it is on show
        self.last: video.Sample | None = None

    def add(self, sample: video.Sample) -> None:
        """The next frame; waits where many are under work."""
        if self.first and sample.frame is self.first[0].frame:
            self.first.append(sample)
        elif not self.first and self.last is not None and sample.frame is self.last.frame:
            self._place(sample, *self.work.vectors[-1])
        elif not self.first:
            self.first = [sample]
        else:
            self._send(self.first, sample)
        self.last = sample

    def close(self) -> None:
        """There are no more."""
        if self.first:
            self._send(self.first, None)

    def _send(self, first: list[video.Sample], second: video.Sample | None) -> None:
        pixels = np.stack((first[0].frame, (second or first[0]).frame))
        waiting = [future for future, _ in self.work.vectors[-2 * self.limit :] if not future.done()]
        if len(waiting) >= self.limit:
            with contextlib.suppress(Exception):  # raised where it is used
                waiting[0].result()
        future = self.pool.submit(self.encoder.pictures, pixels)
        for sample in first:
            self._place(sample, future, 0)
        if second is not None:
            self._place(second, future, 1)
        self.first = []

    def _place(self, sample: video.Sample, future: Future[Float32[np.ndarray, "b d"]], row: int) -> None:
        self.work.times.append(sample.time_s)
        self.work.vectors.append((future, row))


def _photo_vector(path: str, encoder: Encoder) -> Float32[np.ndarray, "1 d"]:
    return encoder.pictures(photo(path, encoder.side)[None])


def _unchanged(item: Item) -> None:
    """Raises InputError where a file is no longer what was listed."""
    now = _item(Path(item.path), item.kind)
    if (now.size, now.mtime_ns) != (item.size, item.mtime_ns):
        raise InputError(f"{item.path}: changed while it was read; add it again when it is finished")


def content_of(item: Item) -> str:
    """sha256 of a file; of names and contents of a folder of frames."""
    path = Path(item.path)
    if not path.is_dir():
        return hash_file(path)
    digest = hashlib.sha256()
    for frame in film_frames(path):
        digest.update(f"{frame.name} {hash_file(frame)}\n".encode())
    return digest.hexdigest()


# ---------------------------------------------------------------------------------------------------- adding

EncodeFiles = Callable[[Iterable[tuple[Item, str]]], Iterator[Encoded]]
"""`encode_files` with its encoder, here or in Ray's processes."""


def add(
    writer: Writer,
    roots: Sequence[str | Path],
    encode: EncodeFiles,
    settings: Settings,
    *,
    drop_missing: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
) -> Additions:
    """Puts the photos and videos of folders into an index; what is in already is skipped by its content.

    Args:
        writer: of the index.
        roots: folders, with all below them, and files.
        encode: see `EncodeFiles`.
        settings: how folders are listed.
        drop_missing: also take out files below the roots that are gone. A root that is gone itself is left as it is:
            it may be a drive that is not there today.
        progress: called with (files done, files in all, name).

    Raises:
        MissingFileError, InputError: a root is not there, or is no photo and no video. Nothing is changed then.
    """
    report = Additions()
    listed: dict[str, Item] = {}
    for root in roots:
        listed.update((item.path, item) for item in listing(root, settings, report.problems))
    for root in roots:
        writer.add_root(absolute(root))
    items = [listed[path] for path in sorted(listed, key=os.fsencode)]
    count = _Count(len(items), progress)
    later: list[tuple[Item, str]] = []  # copies of files that are being encoded right now

    def fresh() -> Iterator[tuple[Item, str]]:
        """Files that have to be encoded; the others are dealt with on the way."""
        under_work: set[str] = set()
        for item in items:
            known = writer.known(item.path)
            if known is not None and known.mtime_ns and known[:2] == (item.size, item.mtime_ns):
                report.same += 1
                count.one(item.path)
                continue
            try:
                content = content_of(item)
            except OSError as error:
                report.problems.append(Problem(Path(item.path), None, f"cannot be read ({error.strerror or error})"))
                count.one(item.path)
                continue
            if content in under_work:
                later.append((item, content))
            elif _copied(writer, item, content, known, report):
                count.one(item.path)
            else:
                under_work.add(content)
                yield item, content

    def take(results: Iterator[Encoded]) -> None:
        for item, result, note in results:
            if isinstance(result, Entry):
                writer.put(result)
                report.added += 1
                report.moments += len(result.codes)
                if note:
                    report.problems.append(Problem(Path(item.path), None, note))
            else:
                report.problems.append(Problem(Path(item.path), None, reason(result, item.path)))
                writer.drop(item.path)  # what was in under this path is no longer there
            count.one(item.path)

    take(encode(fresh()))
    again = []
    for item, content in later:
        if _copied(writer, item, content, writer.known(item.path), report):
            count.one(item.path)
        else:
            again.append((item, content))  # the first of the copies could not be read
    take(encode(iter(again)))
    there = {path for path in listed if writer.known(path) is not None}
    report.removed = _drop_gone(writer, [absolute(root) for root in roots], listed, there, drop_missing)
    return report


class _Count:
    def __init__(self, total: int, progress: Callable[[int, int, str], None] | None) -> None:
        self.done, self.total, self.progress = 0, total, progress
        if progress is not None:
            progress(0, total, "")

    def one(self, path: str) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.total, Path(path).name)


def _copied(writer: Writer, item: Item, content: str, known: Known | None, report: Additions) -> bool:
    """Puts in a file whose content is in already; whether it is."""
    entry = writer.by_content(content)
    if entry is None or entry.kind != item.kind:
        return False
    fresh = time.time_ns() - item.mtime_ns < RECENT_NS
    when = taken(item.path, item.kind, item.mtime_ns)
    row = (item.path, item.kind, item.size, 0 if fresh else item.mtime_ns, content, when)
    if known != Known(row[2], row[3], content):
        writer.put(Entry(*row, times=entry.times, codes=entry.codes))
    if known is not None and known.hash == content:
        report.same += 1
    else:
        report.moved += 1
    return True


def _drop_gone(
    writer: Writer, roots: Sequence[str], listed: dict[str, Item], there: set[str], drop_missing: bool
) -> int:
    """Takes out files that are gone: all of them below the roots, or those whose content was found elsewhere."""
    contents = {known.hash for path in there if (known := writer.known(path)) is not None}
    gone = []
    for path in writer.paths:
        if path in listed:
            continue
        below = any(path == root or path.startswith(root.rstrip(os.sep) + os.sep) for root in roots)
        known = writer.known(path)
        moved = known is not None and known.hash in contents and not Path(path).exists()
        if moved or (below and drop_missing):
            gone.append(path)
    for path in gone:
        writer.drop(path)
    return len(gone)


def reason(error: Exception, path: str) -> str:
    """What an error says, in one line and without the path that it begins with."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text.removeprefix(f"{path}: ")


def example(path: str | Path, encoder: Encoder, settings: Settings) -> UInt8[np.ndarray, " w"]:
    """The code of a photo, or of a whole clip: the hash of the mean of its frames' vectors.

    Args:
        path: of the photo or the clip.
        encoder: pictures to vectors to codes.
        settings: how many frames are encoded.

    Raises:
        MissingFileError, InputError: no such file; neither a photo nor a video, or a broken one.
    """
    path = Path(path).expanduser()
    kind = kind_of(path)
    if kind is None or not path.exists():
        return encoder.codes(encoder.pictures(photo(path, encoder.side)[None]))[0]  # says what is wrong with it
    if kind == "photo":
        vectors = [_photo_vector(str(path), encoder)[0]]
    else:
        size = (encoder.side, encoder.side)
        walked = video.walk(path, settings.every_s, size=size)
        vectors = [encoder.pictures(sample.frame[None])[0] for sample in walked]
    return encoder.codes(np.stack(vectors).mean(0, keepdims=True))[0]
