"""Files: written whole or not at all, read with errors that name the line, listed without what systems leave there."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from percepta.errors import InputError, MissingFileError

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


def write_atomically(path: Path | str, content: str | bytes) -> Path:
    """Writes a file whole or not at all: under a temporary name beside it, then renamed. Makes the folder.

    Args:
        path: where the file will be.
        content: text is written in UTF-8, with a mark in place of what is none (as bytes of a file's name may be).
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content.encode("utf-8", "replace") if isinstance(content, str) else content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def is_system_file(path: Path) -> bool:
    """Whether a file or folder is hidden or one that a system made (`._a.jpg`, `.ipynb_checkpoints`, `Thumbs.db`)."""
    return path.name.startswith(".") or path.name.lower() in _SYSTEM_NAMES


def by_number(path: Path | str) -> tuple[tuple[int, int, str], ...]:
    """A key that sorts names with numbers by the numbers: frame2 before frame10."""
    name = path.name if isinstance(path, Path) else path
    parts = re.split(r"([0-9]+)", name)
    return tuple((0, int(part), part) if part.isdigit() else (1, 0, part) for part in parts if part)


def listed(folder: Path, *, recursive: bool = False) -> Iterator[Path]:
    """The regular files of a folder, sorted by name with numbers as numbers; system files are passed over.

    Args:
        folder: where to look.
        recursive: also in its sub-folders, each after the files beside it.
    """
    entries = sorted((path for path in folder.iterdir() if not is_system_file(path)), key=by_number)
    yield from (path for path in entries if path.is_file())
    if recursive:
        for path in entries:
            if path.is_dir():
                yield from listed(path, recursive=True)


def matching(pattern: Path) -> list[Path]:
    """The files that fit a pattern such as trip/**/*.jpg, in the order of their names.

    A folder on the way whose own name has brackets or stars is taken as it is, where there is such a folder.
    """
    parts = pattern.parts
    base, rest = Path(parts[0]), list(parts[1:])
    if not any(mark in parts[0] for mark in "*?["):
        while rest and (base / rest[0]).is_dir():
            base, rest = base / rest.pop(0), rest
    else:
        base, rest = Path(), list(parts)
    if not rest or not base.is_dir():
        return []
    found = (path for path in base.glob(str(Path(*rest))) if path.is_file() and not is_system_file(path))
    return sorted(found, key=lambda path: [by_number(part) for part in path.parts])


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


def read_text(path: Path | str) -> str:
    """A text file in UTF-8, with or without a byte order mark.

    Raises:
        MissingFileError: there is no such file.
        InputError: it is no regular file, or no UTF-8; names the line.
    """
    path = check_regular(Path(path))
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(f"{path}, line {line}: not UTF-8 text; save the file as UTF-8") from None


def read_lines(path: Path | str) -> list[str]:
    """The lines of a text file, split at \\n, \\r\\n and \\r only; errors as `read_text`."""
    lines = re.split(r"\r\n|\n|\r", read_text(path))
    return lines[:-1] if lines and not lines[-1] else lines


def read_json(path: Path | str) -> Any:
    """What a JSON file holds.

    Raises:
        MissingFileError: there is no such file.
        InputError: it is no JSON, or too deeply nested; names the line.
    """
    path = Path(path)
    text = read_text(path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {error.lineno}: not JSON ({error.msg}, column {error.colno})") from None
    except RecursionError:
        raise InputError(f"{path}: JSON that is nested too deeply to be data") from None
    except ValueError as error:  # a number of more digits than Python converts
        raise InputError(f"{path}: not JSON that can be read ({error})") from None
