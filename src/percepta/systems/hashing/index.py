"""An index on disk: which moments of which files have which code. NumPy alone; no model is needed to read or write it.

    index/
      header.json     format, model, bits, roots, name of the generation, sha256 and size of each of its parts
      lock            a file that a writer holds locked, see `files.Lock`; lock.txt says who
      000012/         a generation: codes.npy (n w), times.npy (n 2), files.npz (columns), and beside them
        log.bin       what came after the generation was written: whole files of the collection, put or dropped

A file's moments are appended to the log in one piece with checksums, so that a process that is killed at any point
loses at most the file under work. `Writer.compact` writes generation and log anew under the next name, and replaces the
header last. Rows are in the order of (path, time), whatever came first: an index after any sequence of additions,
removals and kills is the index of what is in it, as if built in one go.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import struct
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt8

from percepta import __version__
from percepta.errors import InputError, MissingFileError
from percepta.files import Lock, remove_leftovers, write_atomically, writing
from percepta.formats import checked, map_array, read_arrays, read_json
from percepta.formats import field as field_of
from percepta.systems.hashing.codes import Engine, Exact, Hits

FORMAT = 1
HEADER, LOCK, LOG = "header.json", "lock", "log.bin"
KINDS = ("photo", "video")
VERIFY_BYTES = 2**30  # parts up to this size are hashed whenever an index is opened, larger ones by `verify`
FSYNC_S = 1.0  # a machine that loses power loses at most what was added in this time
GAP_S = 0.51  # moments no farther apart are neighbours: a shot may be too short to have one
SLACK = 32  # a neighbour whose distance is larger by one bit in so many still belongs to a span
_RECORD = struct.Struct("<4sIII")  # mark, length of the payload, its crc32, crc32 of the twelve bytes before
_MARK = b"pcp1"


class IndexFormatError(InputError):
    """An index that cannot be used as it is. The text says why and what to do."""


class CorruptIndexError(IndexFormatError):
    """Bytes of an index are not what was written."""


@dataclass(frozen=True)
class Entry:
    """A file of the collection with its moments.

    Attributes:
        path: absolute.
        kind: photo or video.
        size, mtime_ns: of the file when it was read; mtime_ns 0 where it may have changed since without a trace.
        hash: sha256 of its content, 64 hexadecimal digits.
        taken: when it was recorded, in seconds since 1970: EXIF, the video's own date, or else the file's.
        times: start and end of each moment in seconds, in order; one of (0, 0) for a photo.
        codes: packed bits of each moment.
    """

    path: str
    kind: str
    size: int
    mtime_ns: int
    hash: str
    taken: float
    times: Float32[np.ndarray, "m 2"]
    codes: UInt8[np.ndarray, "m w"]

    def __post_init__(self) -> None:
        if self.kind not in KINDS or len(self.times) != len(self.codes):
            raise InputError(f"{self.path}: a {self.kind} with {len(self.times)} times and {len(self.codes)} codes")


class Known(NamedTuple):
    """What a writer remembers of a file without its moments."""

    size: int
    mtime_ns: int
    hash: str


@dataclass(frozen=True)
class Header:
    """What an index says about itself.

    Attributes:
        model: fingerprint of all that its codes depend on.
        bits: of a code.
        encoder: how pictures were encoded: float32, onnx or int8.
        generation: name of the folder with its parts.
        files: how many, without the log.
        moments: how many, without the log.
        parts: name -> [bytes, sha256].
        roots: folders and files that were added, which `update` reads again.
        settings: how moments were made; what is added later is made the same way.
        format: version of this layout.
        percepta: version that wrote it.
        weights: hash of the model's weights (`contract.weights_hash`); "" in older indexes.
    """

    model: str
    bits: int
    encoder: str = "float32"
    generation: str = ""
    files: int = 0
    moments: int = 0
    parts: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    roots: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    format: int = FORMAT
    percepta: str = __version__
    weights: str = ""


@dataclass(frozen=True)
class Files:
    """Columns of the files, by path. File i has the moments first[i] to first[i + 1]."""

    paths: list[str]
    first: Int64[np.ndarray, " n1"]
    kind: UInt8[np.ndarray, " n"]
    size: Int64[np.ndarray, " n"]
    mtime_ns: Int64[np.ndarray, " n"]
    hash: UInt8[np.ndarray, "n 32"]
    taken: Float64[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.paths)


@dataclass(frozen=True)
class Match:
    """A span of neighbouring moments that answers a query.

    Attributes:
        path: of the file.
        kind: photo or video.
        taken: when it was recorded, see `Entry`.
        start_s: where the span begins; 0 for a photo.
        end_s: where it ends; 0 for a photo.
        distance: bits in which the best of its moments differs from the query.
        score: share of the bits that agree, 0..1; 0.5 is chance.
        best_s: middle of the best moment.
        copies: other files with the same content.
    """

    path: str
    kind: str
    taken: float
    start_s: float
    end_s: float
    distance: int
    score: float
    best_s: float
    copies: tuple[str, ...] = ()


# -------------------------------------------------------------------------------------------------- reading


class Index:
    """What is in an index, as it was when it was opened. Writers do not disturb it.

    Attributes:
        folder: where it lies.
        header: see `Header`.
        files: see `Files`.
        times: start and end of each moment in seconds.
        codes: of each moment.
    """

    def __init__(
        self,
        folder: Path,
        header: Header,
        files: Files,
        times: Float32[np.ndarray, "n 2"],
        codes: UInt8[np.ndarray, "n w"],
    ) -> None:
        self.folder, self.header, self.files, self.times, self.codes = folder, header, files, times, codes
        self._exact: dict[str, Exact] = {}

    @classmethod
    def open(cls, folder: str | Path, *, model: str | None = None, verify: bool | None = None) -> Index:
        """Reads an index.

        Args:
            folder: where it lies.
            model: fingerprint that its codes must have; None takes any.
            verify: compare the checksums of all parts; None: of those below 1 GB.

        Raises:
            MissingFileError: there is no index.
            CorruptIndexError: a part is not what was written.
            IndexFormatError: another version of percepta, or another model wrote it.
        """
        folder = Path(folder).expanduser()
        for again in (True, False):
            header = read_header(folder, model)
            try:
                stored = _read_generation(folder, header, verify)
                entries = _replay(folder, header)[0]
                break
            except FileNotFoundError as error:  # a writer may have finished the next generation meanwhile
                if not again or read_header(folder).generation == header.generation:
                    raise CorruptIndexError(_rebuild(folder, f"{error.filename} is missing")) from None
        else:
            raise AssertionError("unreachable")
        return cls(folder, header, *_merged(*stored, entries))

    def __len__(self) -> int:
        """How many moments there are."""
        return len(self.codes)

    def search(
        self,
        queries: UInt8[np.ndarray, "q w"],
        k: int,
        *,
        rows: Int64[np.ndarray, " r"] | None = None,
        engine: Engine = "auto",
    ) -> Hits:
        """The k nearest moments of each query by (distance, row).

        Args:
            queries: packed codes.
            k: how many.
            rows: only these moments, in rising order; see `select`.
            engine: see `codes.Exact`.
        """
        if rows is not None:
            hits = Exact(self.codes[rows], engine).search(queries, k)
            return Hits(hits.distances, rows[hits.rows])
        if engine not in self._exact:
            self._exact[engine] = Exact(self.codes, engine)
        return self._exact[engine].search(queries, k)

    def select(
        self,
        *,
        folder: str | Path | None = None,
        after: int | float | None = None,
        before: int | float | None = None,
        kind: str | None = None,
    ) -> Int64[np.ndarray, " r"] | None:
        """Rows of some of the moments.

        Args:
            folder: only files in it.
            after: only files recorded from then on, in seconds since 1970.
            before: only files recorded before, in seconds since 1970.
            kind: only "photo" or "video".

        Returns:
            None where nothing is left out.
        """
        if folder is None and after is None and before is None and kind is None:
            return None
        keep = np.ones(len(self.files), bool)
        if folder is not None:
            inside = absolute(folder)
            start = inside.rstrip(os.sep) + os.sep
            keep &= np.array([path == inside or path.startswith(start) for path in self.files.paths], bool)
        if after is not None:
            keep &= self.files.taken >= after
        if before is not None:
            keep &= self.files.taken < before
        if kind is not None:
            keep &= self.files.kind == KINDS.index(kind)
        return np.flatnonzero(np.repeat(keep, np.diff(self.files.first)))

    def find(
        self,
        query: UInt8[np.ndarray, " w"],
        top: int = 10,
        *,
        rows: Int64[np.ndarray, " r"] | None = None,
        engine: Engine = "auto",
    ) -> list[Match]:
        """The best spans for a query: neighbouring moments of one video become one, copies of one file too.

        A span's neighbours are taken from the index, not from the hits, so it does not depend on `top`.

        Args:
            query: a packed code.
            top: how many.
            rows: only these moments, in rising order; see `select`.
            engine: see `codes.Exact`.
        """
        there = len(self) if rows is None else len(rows)
        asked = min(there, max(100, 10 * top))
        while there:
            hits = self.search(query[None], asked, rows=rows, engine=engine)
            found = self._spans(query, hits, top)
            if len(found) >= top or asked == there:
                return found[:top]
            asked = min(there, 8 * asked)
        return []

    def _spans(self, query: UInt8[np.ndarray, " w"], hits: Hits, top: int) -> list[Match]:
        """Hits, best first, as spans: a hit takes in the moments beside it that are nearly as near to the query."""
        taken: set[int] = set()
        found: dict[tuple[Any, ...], Match] = {}
        for row, distance in zip(hits.rows[0].tolist(), hits.distances[0].tolist(), strict=True):
            if row in taken:
                continue
            file = int(np.searchsorted(self.files.first, row, "right")) - 1
            low, high = self._grown(query, row, file, distance + max(1, self.header.bits // SLACK), taken)
            taken.update(range(low, high + 1))
            begin, end = float(self.times[low, 0]), float(self.times[high, 1])
            path, content = self.files.paths[file], (bytes(self.files.hash[file]), begin, end)
            if content in found:  # a copy has the same codes
                found[content] = replace(found[content], copies=(*found[content].copies, path))
                continue
            if len(found) > top:  # one more than asked for: copies of the last have come by now
                break
            found[content] = Match(
                path,
                KINDS[self.files.kind[file]],
                float(self.files.taken[file]),
                begin,
                end,
                distance,
                1 - distance / self.header.bits,
                float(self.times[row].mean()),
            )
        return list(found.values())

    def _grown(
        self, query: UInt8[np.ndarray, " w"], row: int, file: int, max_distance: int, taken: set[int]
    ) -> tuple[int, int]:
        """The first and the last moment around a row, of one file and without a gap, within a distance of the query."""
        ends = [row, row]
        first, last = int(self.files.first[file]), int(self.files.first[file + 1]) - 1
        for side, step in ((0, -1), (1, 1)):
            while first <= (beside := ends[side] + step) <= last and beside not in taken:
                gap = self.times[max(beside, ends[side]), 0] - self.times[min(beside, ends[side]), 1]
                if gap > GAP_S or np.bitwise_count(self.codes[beside] ^ query).sum() > max_distance:
                    break
                ends[side] = beside
        return ends[0], ends[1]

    def entries(self) -> Iterator[Entry]:
        """Every file with its moments, by path."""
        files = self.files
        for i, path in enumerate(files.paths):
            rows = slice(int(files.first[i]), int(files.first[i + 1]))
            yield Entry(
                path,
                KINDS[files.kind[i]],
                int(files.size[i]),
                int(files.mtime_ns[i]),
                bytes(files.hash[i]).hex(),
                float(files.taken[i]),
                self.times[rows],
                self.codes[rows],
            )


def read_header(folder: Path, model: str | None = None) -> Header:
    """The header of an index, checked; errors as `Index.open`."""
    path = folder / HEADER
    if not path.is_file():
        raise MissingFileError(f"{folder}: no index here; make one with `percepta index add FOLDER --index {folder}`")
    try:
        fields = checked(read_json(path), dict, str(path))
        seal, version = fields.pop("seal", None), field_of(fields, "format", int, str(path))
    except InputError as error:
        raise CorruptIndexError(_rebuild(folder, f"the header is damaged ({error})")) from None
    if version != FORMAT:
        raise IndexFormatError(
            f"{folder}: written in format {version} by percepta {fields.get('percepta')}, this percepta "
            f"({__version__}) knows format {FORMAT}; use that percepta, or build anew: "
            f"percepta index rebuild --index {folder}"
        )
    if seal != _seal(fields):
        raise CorruptIndexError(_rebuild(folder, "the header is damaged"))
    try:
        header = Header(**fields)
        good = header.generation.isdecimal() and header.bits > 0 and header.bits % 8 == 0
        parts = {name: (int(size), str(digest)) for name, (size, digest) in header.parts.items()}
    except (TypeError, ValueError, AttributeError):
        good, parts = False, {}
    if not good or parts.keys() != {"files.npz", "times.npy", "codes.npy"}:
        raise CorruptIndexError(_rebuild(folder, "the header is none of ours"))
    if model is not None and header.model != model:
        raise IndexFormatError(
            f"{folder}: its codes come from the model {header.model[:12]}, this is {model[:12]}; codes of two models "
            "cannot be compared. Give that model with --weights, or build anew: "
            f"percepta index rebuild --index {folder}"
        )
    return header


def roots(folder: str | Path) -> list[str]:
    """Folders and files that were added to an index; errors as `Index.open`."""
    folder = Path(folder).expanduser()
    return _replay(folder, read_header(folder))[1]


def verify(folder: str | Path) -> Header:
    """Reads all of an index and compares every checksum.

    Raises:
        MissingFileError, CorruptIndexError, IndexFormatError: as `Index.open`.
    """
    return Index.open(folder, verify=True).header


# -------------------------------------------------------------------------------------------------- writing


class Writer:
    """Changes an index; there is at most one at a time. Use as a context: at its end the log is compacted.

    Args:
        folder: is made, with an empty index, where there is none.
        model: fingerprint of what makes the codes, see `Header`; None: as in the index that is there.
        bits: of a code; None: as in the index that is there.
        encoder: of a new index, see `Header`.
        settings: of a new index, see `Header`.
        weights: hash of the model's weights, see `Header`.

    Raises:
        MissingFileError: no index, and `model` or `bits` are left out.
        BusyError: another process writes to it; says which.
        CorruptIndexError, IndexFormatError: as `Index.open`.
    """

    def __init__(
        self,
        folder: str | Path,
        model: str | None = None,
        bits: int | None = None,
        *,
        encoder: str = "float32",
        settings: Mapping[str, Any] | None = None,
        weights: str = "",
    ) -> None:
        self.folder = Path(folder).expanduser()
        if not (self.folder / HEADER).is_file() and (model is None or bits is None):
            read_header(self.folder)  # says that there is none
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = Lock(self.folder / LOCK, f"{self.folder}: this index is busy")
        try:
            if not (self.folder / HEADER).is_file():
                assert model is not None and bits is not None
                empty = Header(model, bits, encoder, settings=dict(settings or {}), weights=weights)
                _write_generation(self.folder, empty, *_nothing(bits))
            self.header = read_header(self.folder, model)
            self._weights = weights or self.header.weights
            if bits is not None and bits != self.header.bits:
                raise IndexFormatError(f"{self.folder}: codes of {self.header.bits} bits, not {bits}")
            stored = _read_generation(self.folder, self.header, None)
            entries, self._roots, end = _replay(self.folder, self.header)
            self._clean()
            remove_leftovers(self.folder / HEADER)
            self._stored, self._changed = stored, entries
            self._log: BinaryIO = (self.folder / self.header.generation / LOG).open("r+b", buffering=0)
            self._log.truncate(end)  # the file that was under work when a process was killed
            self._log.seek(end)
            self._synced = time.monotonic()
            self._known = self._learn()
            self._by_hash: dict[str, str] = {known.hash: path for path, known in self._known.items()}
        except BaseException:
            self._lock.close()
            raise

    @property
    def roots(self) -> tuple[str, ...]:
        """Folders and files that `update` reads again."""
        return tuple(self._roots)

    @property
    def paths(self) -> list[str]:
        """The files that are in, sorted."""
        return sorted(self._known, key=os.fsencode)

    def known(self, path: str) -> Known | None:
        """What is known of a file; None where it is not in the index."""
        return self._known.get(path)

    def by_content(self, content: str) -> Entry | None:
        """A file that is in and has this sha256, under whatever path."""
        path = self._by_hash.get(content)
        if path is None or self._known.get(path, Known(0, 0, "")).hash != content:
            return None
        if path in self._changed:
            return self._changed[path]
        files, times, codes = self._stored
        place = self._place[path]
        rows = slice(int(files.first[place]), int(files.first[place + 1]))
        return Entry(
            path,
            KINDS[files.kind[place]],
            int(files.size[place]),
            int(files.mtime_ns[place]),
            content,
            float(files.taken[place]),
            np.array(times[rows]),
            np.array(codes[rows]),
        )

    def put(self, entry: Entry) -> None:
        """Adds a file, or replaces what is there under its path. It is safe once this returns."""
        if entry.codes.shape[1:] != (self.header.bits // 8,) or entry.codes.dtype != np.uint8:
            width = self.header.bits // 8
            raise InputError(f"{entry.path}: codes are uint8 m {width}, got {entry.codes.dtype} {entry.codes.shape}")
        head = {k: getattr(entry, k) for k in ("path", "kind", "size", "mtime_ns", "hash", "taken")}
        self._append("put", head, entry.times.astype("<f4").tobytes(), entry.codes.tobytes())
        self._changed[entry.path] = entry
        self._known[entry.path] = Known(entry.size, entry.mtime_ns, entry.hash)
        self._by_hash[entry.hash] = entry.path

    def drop(self, path: str) -> bool:
        """Takes a file out; whether it was in."""
        if path not in self._known:
            return False
        self._append("drop", {"path": path})
        self._changed[path] = None
        del self._known[path]
        return True

    def add_root(self, root: str) -> None:
        """Remembers a folder or a file for `update`."""
        if root not in self._roots:
            self._append("root", {"path": root})
            self._roots.append(root)

    def drop_root(self, root: str) -> None:
        """Forgets it."""
        if root in self._roots:
            self._append("unroot", {"path": root})
            self._roots.remove(root)

    def compact(self) -> None:
        """Writes what is in as a new generation with an empty log; the old one is valid until this is done."""
        if not self._log.tell():
            return
        merged = _merged(*self._stored, self._changed)
        changed = {"roots": list(self._roots), "percepta": __version__, "weights": self._weights}
        header = Header(**{**self.header.__dict__, **changed})
        _write_generation(self.folder, header, *merged)
        self._log.close()
        self.header = read_header(self.folder)
        self._log = (self.folder / self.header.generation / LOG).open("r+b", buffering=0)
        self._stored, self._changed = _read_generation(self.folder, self.header, False), {}
        self._place = {path: place for place, path in enumerate(self._stored[0].paths)}
        self._clean()

    def close(self, compact: bool = True) -> None:
        """Ends the writer. Without `compact` the log stays, which costs readers time and nothing else."""
        try:
            if compact and not self._log.closed:
                self.compact()
        finally:
            self._log.close()
            self._lock.close()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(compact=kind is None or issubclass(kind, KeyboardInterrupt))

    def _append(self, kind: str, head: Mapping[str, Any], *arrays: bytes) -> None:
        text = json.dumps({"op": kind, **head}).encode()
        payload = b"".join((struct.pack("<I", len(text)), text, *arrays))
        front = struct.pack("<4sII", _MARK, len(payload), zlib.crc32(payload))
        record = memoryview(front + struct.pack("<I", zlib.crc32(front)) + payload)
        start = self._log.tell()
        try:
            while record:
                record = record[self._log.write(record) :]
            if time.monotonic() - self._synced > FSYNC_S:
                os.fsync(self._log.fileno())
                self._synced = time.monotonic()
        except OSError as error:  # such as a full disk: half a record must not stand between whole ones
            with contextlib.suppress(OSError):
                self._log.truncate(start)
                self._log.seek(start)
            where = str(self.folder / self.header.generation / LOG)
            raise OSError(error.errno, f"cannot be written ({error.strerror})", where) from error

    def _learn(self) -> dict[str, Known]:
        files = self._stored[0]
        self._place = {path: place for place, path in enumerate(files.paths)}
        hashes = files.hash.tobytes().hex()
        columns = zip(files.paths, files.size.tolist(), files.mtime_ns.tolist(), strict=True)
        known = {path: Known(size, ns, hashes[64 * i : 64 * i + 64]) for i, (path, size, ns) in enumerate(columns)}
        for path, entry in self._changed.items():
            known.pop(path, None)
            if entry is not None:
                known[path] = Known(entry.size, entry.mtime_ns, entry.hash)
        return known

    def _clean(self) -> None:
        """Removes generations that are not the header's: old ones, and one that was being written when killed."""
        for folder in self.folder.iterdir():
            if folder.is_dir() and folder.name.isdigit() and folder.name != self.header.generation:
                shutil.rmtree(folder, ignore_errors=True)


def absolute(path: str | Path) -> str:
    """How paths stand in an index: absolute, without "..", links kept."""
    return os.path.abspath(Path(path).expanduser())  # noqa: PTH100 (Path.absolute keeps "..")


def hash_file(path: str | Path) -> str:
    """sha256 of a file's content, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ------------------------------------------------------------------------------------------- generations, log

Stored = tuple[Files, Float32[np.ndarray, "m 2"], UInt8[np.ndarray, "m w"]]
_COLUMNS = ("first", "kind", "size", "mtime_ns", "hash", "taken")


def _nothing(bits: int) -> Stored:
    files = Files(
        [],
        np.zeros(1, np.int64),
        np.zeros(0, np.uint8),
        np.zeros(0, np.int64),
        np.zeros(0, np.int64),
        np.zeros((0, 32), np.uint8),
        np.zeros(0, np.float64),
    )
    return files, np.zeros((0, 2), np.float32), np.zeros((0, bits // 8), np.uint8)


def _write_generation(
    folder: Path,
    header: Header,
    files: Files,
    times: Float32[np.ndarray, "n 2"],
    codes: UInt8[np.ndarray, "n w"],
) -> None:
    """A new generation beside the old one; the header's renaming is what makes it the index."""
    name = f"{int(header.generation or 0) + 1:06d}"
    new = folder / name
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    names = [os.fsencode(path) for path in files.paths]
    blob = np.frombuffer(b"".join(names), np.uint8)
    ends = np.cumsum([0, *map(len, names)], dtype=np.int64)
    columns = {key: getattr(files, key) for key in _COLUMNS}
    parts = {}
    for part, write in (
        ("files.npz", lambda file: np.savez(file, names=blob, ends=ends, **columns)),
        ("times.npy", lambda file: np.save(file, times)),
        ("codes.npy", lambda file: np.save(file, codes)),
    ):
        with writing(new / part) as file:
            write(file)
        parts[part] = [(new / part).stat().st_size, hash_file(new / part)]
    (new / LOG).touch()
    fields = {**header.__dict__, "generation": name, "files": len(files), "moments": len(codes), "parts": parts}
    write_atomically(folder / HEADER, json.dumps({**fields, "seal": _seal(fields)}, indent=1) + "\n")


def _read_generation(folder: Path, header: Header, verify: bool | None) -> Stored:
    where = folder / header.generation
    for name, (size, digest) in header.parts.items():
        found = (where / name).stat().st_size
        if found != size:
            raise CorruptIndexError(_rebuild(folder, f"{header.generation}/{name} has {found} bytes instead of {size}"))
        hashed = size <= VERIFY_BYTES if verify is None else verify
        if hashed and hash_file(where / name) != digest:
            raise CorruptIndexError(_rebuild(folder, f"{header.generation}/{name} is damaged (its sha256 differs)"))
    try:
        columns = read_arrays(where / "files.npz", dict.fromkeys(("names", "ends", *_COLUMNS), "iuf"))
        blob, ends = columns["names"].tobytes(), columns["ends"].tolist()
        paths = [os.fsdecode(blob[a:b]) for a, b in pairwise(ends)]
        files = Files(paths, *(columns[key] for key in _COLUMNS))
        # Mapped, not read: a search with faiss copies the codes once, and nothing else is held twice.
        times, codes = map_array(where / "times.npy", "f"), map_array(where / "codes.npy", "u")
    except MissingFileError:
        raise
    except InputError as error:
        raise CorruptIndexError(_rebuild(folder, str(error))) from None
    if times.shape != (header.moments, 2) or codes.shape != (header.moments, header.bits // 8):
        raise CorruptIndexError(
            _rebuild(folder, f"{header.moments} moments, but {len(times)} times and {len(codes)} codes")
        )
    if not header.moments:
        return (files, *_nothing(header.bits)[1:])
    return files, times, codes


def _replay(folder: Path, header: Header) -> tuple[dict[str, Entry | None], list[str], int]:
    """What the log says: path -> entry, or None where it was dropped; roots; where its last whole record ends."""
    content = (folder / header.generation / LOG).read_bytes()
    changed: dict[str, Entry | None] = {}
    roots, at = list(header.roots), 0
    while at + _RECORD.size <= len(content):
        mark, length, crc, own = _RECORD.unpack_from(content, at)
        start, end = at + _RECORD.size, at + _RECORD.size + length
        if mark != _MARK or own != zlib.crc32(content[at : at + 12]):
            raise CorruptIndexError(_rebuild(folder, f"{header.generation}/{LOG} is damaged at byte {at}"))
        if end > len(content):
            break
        if crc != zlib.crc32(content[start:end]):
            raise CorruptIndexError(_rebuild(folder, f"{header.generation}/{LOG} is damaged after byte {at}"))
        entry = None
        try:
            (size,) = struct.unpack_from("<I", content, start)
            fields = json.loads(content[start + 4 : start + 4 + size])
            kind, path = fields.pop("op"), fields["path"]
            if kind == "put":
                count = (length - 4 - size) // (8 + header.bits // 8)
                times = np.frombuffer(content, "<f4", 2 * count, start + 4 + size).reshape(count, 2)
                bits = np.frombuffer(content, np.uint8, count * (header.bits // 8), start + 4 + size + 8 * count)
                entry = Entry(**fields, times=times, codes=bits.reshape(count, header.bits // 8))
        except (ValueError, KeyError, TypeError, AttributeError, struct.error):
            raise CorruptIndexError(_rebuild(folder, f"{header.generation}/{LOG} holds what is none of ours")) from None
        if kind == "put":
            changed[path] = entry
        elif kind == "drop":
            changed[path] = None
        elif kind == "root" and path not in roots:
            roots.append(path)
        elif kind == "unroot" and path in roots:
            roots.remove(path)
        at = end
    return changed, roots, at


def _merged(
    files: Files,
    times: Float32[np.ndarray, "n 2"],
    codes: UInt8[np.ndarray, "n w"],
    changed: Mapping[str, Entry | None],
) -> Stored:
    """What was stored and what came after it, by path."""
    if not changed:
        return files, times, codes
    new = [entry for entry in changed.values() if entry is not None]
    kept: Bool[np.ndarray, " n"] = np.array([path not in changed for path in files.paths], bool)
    old = np.flatnonzero(kept)
    paths = [files.paths[i] for i in old] + [entry.path for entry in new]
    order = sorted(range(len(paths)), key=lambda i: os.fsencode(paths[i]))
    counts = np.concatenate((np.diff(files.first)[old], [len(entry.codes) for entry in new])).astype(np.int64)
    starts = np.concatenate((files.first[:-1][old], len(codes) + np.cumsum([0, *(len(e.codes) for e in new)])[:-1]))
    counts, starts = counts[order], starts[order].astype(np.int64)
    first = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    rows = np.repeat(starts - first[:-1], counts) + np.arange(first[-1])
    whole_times = np.concatenate((times, *(entry.times for entry in new)))
    whole_codes = np.concatenate((codes, *(entry.codes for entry in new)))

    def column(stored: np.ndarray, values: Iterable[Any]) -> np.ndarray:
        added = np.array(list(values), stored.dtype).reshape(len(new), *stored.shape[1:])
        return np.concatenate((stored[old], added))[order]

    merged = Files(
        [paths[i] for i in order],
        first,
        column(files.kind, (KINDS.index(entry.kind) for entry in new)),
        column(files.size, (entry.size for entry in new)),
        column(files.mtime_ns, (entry.mtime_ns for entry in new)),
        column(files.hash, (np.frombuffer(bytes.fromhex(entry.hash), np.uint8) for entry in new)),
        column(files.taken, (entry.taken for entry in new)),
    )
    return merged, whole_times[rows].astype(np.float32), whole_codes[rows]


def _seal(fields: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def _rebuild(folder: Path, what: str) -> str:
    again = f"percepta index rebuild --index {folder}"
    return f"{folder}: the index is damaged: {what}. Build it anew: {again} (it says if it needs your folders again)"
