"""Opens a recording by its path, whatever its layout."""

from __future__ import annotations

from pathlib import Path

from percepta.datasets import layouts
from percepta.datasets.posed import Recording
from percepta.errors import InputError


def open_recording(root: Path | str) -> Recording:
    """The frames in a folder of any layout that `layouts` knows; files are read when they are asked for.

    Raises:
        MissingFileError: no such folder.
        InputError: a layout that is not known, or a folder with several recordings in it.
    """
    found = layouts.find(root, Recording)
    if len(found) > 1:
        names = ", ".join(one.root.name for one in found)
        raise InputError(f"{root}: {len(found)} recordings; name one of them: {names}")
    return found[0].read(found[0].root)
