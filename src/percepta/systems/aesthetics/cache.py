"""Features that outlive the process: looked up by what a file holds, so that a picture goes through the encoder once.

One SQLite file with two tables:

    files     path, size and time of change -> hash of the content, so that a file that is as it was is not even read
    features  hash, key -> the row of features, float32, and its checksum; `key` names the encoder, see `key_of`

A renamed or copied picture is found by its content, other weights never get the features of these. Rows are kept as
they came from the network: an answer does not depend on whether the cache had a part in it. Changes are transactions
of SQLite: killing the process loses at most the last few pictures, and several processes may share the file. A cache is
only ever a help: where it cannot be read or written, a warning says so and features are computed as without one.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import time
import warnings
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from percepta.systems.aesthetics.model import AestheticsNetwork

T = TypeVar("T")
FILE = "aesthetics.sqlite3"
FORMAT = 1  # of the tables and of what a row of features means
YOUNG_NS = 2_000_000_000  # younger files may change once more without a new time of change
WAIT_S = 10.0  # for another process that writes
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_TABLES = """
CREATE TABLE IF NOT EXISTS files (path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, hash BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS features (hash BLOB, key BLOB, data BLOB, PRIMARY KEY (hash, key));
"""


_UNCHANGED = "SELECT data FROM files JOIN features USING (hash) WHERE path=? AND size=? AND mtime_ns=? AND key=?"


@dataclass(frozen=True)
class FileVersion:
    """A file as it was when it was read: what is needed to keep its features.

    Attributes:
        path: the file.
        size: in bytes.
        mtime_ns: when it was last changed.
        hash: sha256 of its content.
        final: whether it has been unchanged for so long that size and time tell it apart from any later version.
    """

    path: Path
    size: int
    mtime_ns: int
    hash: bytes
    final: bool


def default_folder() -> Path:
    """Where the command line keeps its cache: $XDG_CACHE_HOME/percepta, or ~/.cache/percepta."""
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (given if given.is_absolute() else Path.home() / ".cache") / "percepta"


def key_of(model: AestheticsNetwork) -> bytes:
    """Names whatever features follow from: the encoder's weights, the size of its input, and this format.

    What is learned from scores plays no part: models that share an encoder share its features.
    """
    digest = hashlib.sha256(f"{FORMAT} {model.config.encoder} {model.config.size} {sum(model.sizes)}".encode())
    for part in ("image", "concepts"):
        for name, value in getattr(model, part).state_dict().items() if hasattr(model, part) else ():
            digest.update(f"{part}.{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.digest()


def hash_file(path: Path) -> FileVersion:
    """Reads a file and hashes it.

    Raises:
        OSError: it cannot be read.
    """
    before = path.stat()
    with path.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").digest()
    after = path.stat()
    same = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
    final = same and time.time_ns() - after.st_mtime_ns > YOUNG_NS
    return FileVersion(path, after.st_size, after.st_mtime_ns, content, final)


class Cache:
    """The file `aesthetics.sqlite3` in a folder, for one encoder. May be used from several threads.

    Args:
        folder: is made where it is not there.
        model: whose features are kept.

    Attributes:
        path: the file.
        hits: how many rows it gave.
    """

    def __init__(self, folder: Path, model: AestheticsNetwork) -> None:
        self.path = Path(folder).expanduser() / FILE
        self.hits = 0
        self._key, self._width = key_of(model), sum(model.sizes)
        self._lock = threading.Lock()
        self._base: sqlite3.Connection | None = None
        self._off = False

    def by_path(self, paths: Iterable[Path]) -> dict[Path, Float[Tensor, " d"]]:
        """Features that are kept of files whose path, size and time of change are the same."""

        def find(base: sqlite3.Connection) -> dict[Path, Tensor]:
            found = {}
            for path in paths:
                try:
                    stat = path.stat()
                except OSError:
                    continue
                asked = (_name(path), stat.st_size, stat.st_mtime_ns, self._key)
                row = self._row(base.execute(_UNCHANGED, asked).fetchone())
                if row is not None:
                    found[path] = row
            return found

        found = self._with(find) or {}
        self.hits += len(found)
        return found

    def by_content(self, version: FileVersion) -> Float[Tensor, " d"] | None:
        """Features of a file with this content, whatever it is called."""

        def find(base: sqlite3.Connection) -> Tensor | None:
            query = "SELECT data FROM features WHERE hash=? AND key=?"
            return self._row(base.execute(query, (version.hash, self._key)).fetchone())

        row = self._with(find)
        self.hits += row is not None
        return row

    def add(self, rows: Iterable[tuple[FileVersion, Float[Tensor, " d"]]]) -> None:
        """Stores features, all of them or, where the process is killed, none."""
        rows = list(rows)
        files = [(_name(v.path), v.size, v.mtime_ns, v.hash) for v, _ in rows if v.final]
        data = [(version.hash, self._key, _pack(row)) for version, row in rows]

        def store(base: sqlite3.Connection) -> None:
            with base:
                base.executemany("INSERT OR REPLACE INTO features VALUES (?, ?, ?)", data)
                base.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", files)

        if rows:
            self._with(store)

    def close(self) -> None:
        """Closes the file; nothing needs to be saved."""
        with self._lock:
            if self._base is not None:
                self._base.close()
            self._base = None

    def __enter__(self) -> Cache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _row(self, found: tuple[bytes] | None) -> Tensor | None:
        """The row of features; None where there is none, or what is there is not what was stored."""
        if found is None or len(found[0]) != 4 * self._width + 4:
            return None
        content, sum_of_it = found[0][:-4], found[0][-4:]
        if zlib.crc32(content).to_bytes(4, "little") != sum_of_it:
            return None
        return torch.from_numpy(np.frombuffer(content, "<f4").astype(np.float32))

    def _with(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        """work(connection); None where the cache cannot be used. A damaged file is put aside and begun anew."""
        with self._lock:
            for again in (False, True):
                if self._off:
                    return None
                try:
                    if self._base is None:
                        self._base = self._open()
                    return work(self._base)
                except (sqlite3.Error, OSError) as error:
                    if self._base is not None:
                        self._base.close()
                    self._base = None
                    if not again and getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED:
                        self._put_aside(error)
                    else:
                        self._off = True
                        warnings.warn(f"{self.path}: goes on without a cache ({error})", stacklevel=4)
            return None

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        base = sqlite3.connect(self.path, timeout=WAIT_S, check_same_thread=False)
        try:
            base.execute("PRAGMA synchronous=NORMAL")
            version = base.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, FORMAT):
                raise sqlite3.OperationalError(f"written in format {version}, this percepta knows {FORMAT}; delete it")
            if version == 0:
                base.executescript(f"BEGIN IMMEDIATE;{_TABLES}PRAGMA user_version={FORMAT};COMMIT;")
        except BaseException:
            base.close()
            raise
        return base

    def _put_aside(self, error: Exception) -> None:
        aside = self.path.with_name(f"{FILE}.damaged")
        try:
            self.path.replace(aside)
            # A journal belongs to the file that is gone: with the new one it would be played into the wrong pages.
            for journal in ("-journal", "-wal", "-shm"):
                self.path.with_name(FILE + journal).unlink(missing_ok=True)
        except OSError as reason:
            self._off = True
            warnings.warn(f"{self.path}: damaged, and cannot be put aside ({reason}); goes on without it", stacklevel=5)
            return
        warnings.warn(f"{self.path}: damaged ({error}); put aside as {aside.name} and begun anew", stacklevel=5)


def _pack(row: Float[Tensor, " d"]) -> bytes:
    """float32, little-endian, and a checksum: SQLite does not notice when single bytes of a file turn."""
    content = row.float().cpu().numpy().astype("<f4").tobytes()
    return content + zlib.crc32(content).to_bytes(4, "little")


def _name(path: Path) -> bytes:
    return os.fsencode(path.absolute())
