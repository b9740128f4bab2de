"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write_atomically(path: Path | str, content: str | bytes) -> Path:
    """Writes a file whole or not at all: under a temporary name beside it, then renamed. Makes the folder.

    Args:
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
