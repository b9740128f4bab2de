"""Files: written whole or not at all, locked, listed without what systems leave there, and read as text.

`formats.py` reads JSON and arrays, `datasets/tables.py` tables.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import sqlite3
import stat
import tempfile
import threading
import time
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from percepta.errors import BusyError, InputError, MissingFileError

# What operating systems, editors and network drives put beside a user's files; compared in lower case.
_SYSTEM_NAMES = frozenset(
    {
        "__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "#recycle", "$recycle.bin",
        "system volume information", "lost+found", "__pycache__",
    }
)  # fmt: skip

PICTURE_SUFFIXES = frozenset(
    {
        ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff",
        ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".avif", ".tga", ".heic", ".heif", ".hif",
    }
)  # fmt: skip
"""Endings of the files that are taken for pictures."""


# --------------------------------------------------------------------------------------------------- writing


def write_atomically(path: Path | str, content: str | bytes) -> Path:
    """Writes a file whole or not at all; see `writing`.

    Args:
        path: where the file will be.
        content: text is written in UTF-8, with a mark in place of what is none (as bytes of a file's name may be).
    """
    with writing(path) as file:
        file.write(content.encode("utf-8", "replace") if isinstance(content, str) else content)
    return Path(path)


@contextlib.contextmanager
def writing(path: Path | str) -> Iterator[BinaryIO]:
    """A file to write into: under a temporary name beside it, brought to the disk, then renamed. Makes the folder.

    Raises:
        OSError: it could not be written (no place, no permission): names the file. What was there before is as it was.
    """
    path = Path(path)
    with naming_writes(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
        try:
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())  # a full disk may show only here
            if path.exists():
                shutil.copymode(path, temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Checks, before the work whose result it will be, that a file can be written; nothing is left behind.

    Raises:
        InputError: it is a folder.
        OSError: nothing can be written there (no permission, no such place): names the file.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the name of a file")
    above = next((folder for folder in path.absolute().parents if os.path.lexists(folder)), Path())
    with naming_writes(path), tempfile.TemporaryFile(dir=above):
        pass


@contextlib.contextmanager
def naming_writes(path: Path | str) -> Iterator[None]:
    """Names the file in errors of writing, such as a full disk; FFmpeg's are OSErrors too."""
    try:
        yield
    except OSError as error:
        if error.errno is None or isinstance(error, InputError):
            raise
        raise OSError(error.errno, f"cannot be written ({error.strerror})", str(path)) from error


def remove_leftovers(path: Path | str) -> None:
    """Removes what killed processes left of this file under temporary names; call it where nobody writes the file."""
    path = Path(path)
    if path.parent.is_dir():
        for left in path.parent.iterdir():
            if re.fullmatch(rf"\.{re.escape(path.name)}\.[0-9-]+\.tmp", left.name):
                left.unlink(missing_ok=True)


class Lock:
    """A lock that one process at a time holds; the system lets go of it when the process ends, however.

    Args:
        path: a file that is made for it; beside it, with .txt at its end, who holds the lock.
        what: what is locked, for messages.

    Raises:
        BusyError: another process holds it; says which.
        OSError: the file cannot be made or locked.
    """

    def __init__(self, path: Path | str, what: str) -> None:
        path = Path(path)
        self._holder = path.with_name(f"{path.name}.txt")
        # SQLite's lock works on every system. A process that was forked does not inherit it.
        try:
            self._lock = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise OSError(f"{path}: cannot be locked ({error})") from None
        try:
            self._lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.DatabaseError as error:
            self._lock.close()
            if "locked" in str(error):
                raise BusyError(f"{what}: {self._who()} writes to it; wait until it is done, or end it") from None
            raise OSError(f"{path}: cannot be locked ({error}); delete this file") from None
        since, where = time.strftime("%Y-%m-%d %H:%M:%S"), platform.node() or "this machine"
        with contextlib.suppress(OSError):  # only for the message
            self._holder.write_text(f"process {os.getpid()} on {where}, since {since}", encoding="utf-8")

    def _who(self) -> str:
        try:
            text = self._holder.read_bytes()[:200].decode("utf-8", "replace")
        except OSError:
            text = ""
        return f"another percepta ({text})" if text else "another percepta"

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self._lock.close()

    def close(self) -> None:
        """Lets go of it."""
        with contextlib.suppress(OSError):
            self._holder.unlink(missing_ok=True)
        self._lock.close()


# --------------------------------------------------------------------------------------------------- listing


def is_system_file(path: Path) -> bool:
    """Whether a file or folder is hidden or one that a system made (`._a.jpg`, `.ipynb_checkpoints`, `Thumbs.db`)."""
    return path.name.startswith(".") or path.name.lower() in _SYSTEM_NAMES


def by_number(path: Path | str) -> tuple[tuple[int, int, str], ...]:
    """A key that sorts names with numbers by the numbers: frame2 before frame10."""
    name = path.name if isinstance(path, Path) else path
    parts = re.split(r"([0-9]+)", name)
    # Only the digits of [0-9]: other text, as "²", has digits too for Python.
    return tuple((0, int(part), part) if part[0] in "0123456789" else (1, 0, part) for part in parts if part)


def listed(folder: Path, *, recursive: bool = False, endings: Collection[str] | None = None) -> Iterator[Path]:
    """The regular files of a folder, sorted by name with numbers as numbers; system files are passed over.

    Args:
        folder: where to look.
        recursive: also in its sub-folders, each after the files beside it.
        endings: only files whose ending, in lower case, is one of these, such as ".png"; None: all.
    """
    yield from _listed(folder, recursive, endings, frozenset())


def _listed(
    folder: Path, recursive: bool, endings: Collection[str] | None, above: frozenset[tuple[int, int]]
) -> Iterator[Path]:
    status = folder.stat()
    own = (status.st_dev, status.st_ino)
    if own in above:  # a link to a folder that it lies in
        return
    entries = sorted((path for path in folder.iterdir() if not is_system_file(path)), key=by_number)
    for path in entries:
        if (endings is None or path.suffix.lower() in endings) and path.is_file():
            yield path
    if recursive:
        for path in entries:
            if path.is_dir():
                yield from _listed(path, recursive, endings, above | {own})


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted as by `listed`; those of systems are passed over."""
    return sorted((path for path in folder.iterdir() if path.is_dir() and not is_system_file(path)), key=by_number)


def find_named(folder: Path, name: str) -> Path | None:
    """The file or folder that a table calls `name`, as seen from a folder; None: there is none.

    Tables come from other systems: "\\" is as good as "/", accents may be one character or two (macOS writes two), and
    the ending may be in another letter case. The very name goes first.
    """
    if _is_there(folder / name):
        return folder / name
    path = folder
    for part in name.replace("\\", "/").split("/"):
        if part in ("", "."):
            continue
        if part != ".." and not _is_there(path / part):
            found = _names(str(path), _changed(path)).get(_plain_name(part))
            if found is None:
                return None
            part = found
        path = path / part
    return path if path != folder else None


def file_named(folder: Path, name: str) -> Path | None:
    """As `find_named`, for regular files only."""
    path = find_named(folder, name)
    return path if path is not None and path.is_file() else None


def plain_text(text: str) -> str:
    """Text with accents as one character each, as most systems write them and macOS does not."""
    return unicodedata.normalize("NFC", text)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that is too long, or holds a zero byte
        return False


def _plain_name(name: str) -> str:
    stem, dot, ending = plain_text(name).rpartition(".")
    return f"{stem}{dot}{ending.lower()}" if dot else ending


def _changed(folder: Path) -> int:
    try:
        return folder.stat().st_mtime_ns
    except (OSError, ValueError):
        return 0


@lru_cache(maxsize=256)
def _names(folder: str, changed_ns: int) -> Mapping[str, str]:
    """{plain name: name on the disk} of a folder as it was at a time."""
    try:
        names = sorted((path.name for path in Path(folder).iterdir()), reverse=True)
    except (OSError, ValueError):
        return {}
    return {_plain_name(name): name for name in names}


def matching(pattern: Path) -> list[Path]:
    """The files that fit a pattern such as trip/**/*.jpg, in the order of their names.

    A folder on the way whose own name has brackets or stars is taken as it is, where there is such a folder.
    """
    base = Path(pattern.anchor)
    rest = list(pattern.parts[1:] if pattern.anchor else pattern.parts)
    while rest and (base / rest[0]).is_dir():
        base, rest = base / rest.pop(0), rest
    if not rest or not base.is_dir():
        return []
    found = (path for path in base.glob(str(Path(*rest))) if path.is_file() and not is_system_file(path))
    return sorted(found, key=lambda path: [by_number(part) for part in path.parts])


def check_apart(out: Path, inputs: Iterable[Path]) -> None:
    """Checks that results do not come into a folder of what is read, where they could replace it.

    Args:
        out: the folder of results, or a file that is written.
        inputs: files and folders that are read.

    Raises:
        InputError: `out` is one of them, or the folder of one of the files.
    """
    whole = out.resolve()
    for path in inputs:
        read = path.resolve()
        if whole == read or (whole == read.parent and not read.is_dir()):
            what = "is an input itself" if whole == read else f"is the folder of the input {path.name}"
            raise InputError(f"{out} {what}: results could replace what you have there; give another --out")


# --------------------------------------------------------------------------------------------------- reading


def check_regular(path: Path) -> Path:
    """The path of a regular file.

    Raises:
        MissingFileError: there is none.
        InputError: it is a folder, or a pipe or device, which might never end.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise MissingFileError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:  # a name that is too long, or holds a zero byte
        raise InputError(f"{str(path)[:200]!r}: cannot be a file ({error})") from None
    if stat.S_ISDIR(mode):
        raise InputError(f"{path}: this is a folder; a file is needed")
    if not stat.S_ISREG(mode):
        raise InputError(f"{path}: a pipe or a device, not a regular file; copy its content into a file first")
    return path


def read_text(path: Path | str, *, errors: str = "strict") -> str:
    """A text file in UTF-8, with or without a byte order mark.

    Args:
        path: the file.
        errors: "replace" puts a mark in place of what is no UTF-8.

    Raises:
        MissingFileError: there is no such file.
        InputError: it is no regular file, or no UTF-8; names the line.
    """
    path = check_regular(Path(path))
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig", errors)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(f"{path}, line {line}: not UTF-8 text; save the file as UTF-8") from None


def read_lines(path: Path | str, *, errors: str = "strict") -> list[str]:
    """The lines of a text file, split at \\n, \\r\\n and \\r only; arguments and errors as `read_text`."""
    lines = re.split(r"\r\n|\n|\r", read_text(path, errors=errors))
    return lines[:-1] if lines and not lines[-1] else lines
