"""Recorded motions from files, folders and archives.

`read` takes a `.bvh` file (`datasets/bvh.py`) or a DeepMimic `.txt` file (`datasets/deepmimic.py`); `clips` takes a
folder of these or an archive (`.tar.xz`, `.tar.gz`) of them, which is read without unpacking.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

from percepta.datasets import bvh, deepmimic
from percepta.datasets.mocap import Mocap
from percepta.errors import InputError

FILES = "*.bvh, humanoid3d_*.txt, or a .tar.xz of them"


def parse(text: str, name: str) -> Mocap:
    """A motion from the text of a file: BVH begins with HIERARCHY, DeepMimic is JSON.

    Raises:
        InputError: it is neither.
    """
    if text.lstrip()[:9] == "HIERARCHY":
        return bvh.parse(text, name)
    if text.lstrip()[:1] == "{":
        return deepmimic.parse(text, name)
    raise InputError(
        f"{name}: a motion is a BVH file (begins with HIERARCHY) or a DeepMimic one (JSON); this is neither"
    )


def read(path: Path | str) -> Mocap:
    """A motion from a .bvh or a DeepMimic .txt file.

    Raises:
        InputError: there is no such file, or it is no motion.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; give a .bvh file or a DeepMimic .txt file")
    return parse(path.read_text(encoding="utf-8", errors="replace"), path.stem)


def is_one(root: Path) -> bool:
    """Whether a path is a motion, an archive or a folder with motions."""
    if root.is_file():
        return root.suffix == ".bvh" or root.name.startswith("humanoid3d_") or ".tar" in root.name
    return any(root.glob("*.bvh")) or any(root.glob("humanoid3d_*.txt"))


def clips(root: Path | str) -> Iterator[Mocap]:
    """The motions of a folder, of the archives in it, of an archive or of one file, ordered by name.

    Raises:
        InputError: there are none.
    """
    root = Path(root)
    if root.is_dir():
        files = sorted(x for x in root.iterdir() if x.suffix == ".bvh" or x.name.startswith("humanoid3d_"))
        archives = sorted(x for x in root.iterdir() if re.search(r"\.tar(\.xz|\.gz)?$", x.name))
        if not files and not archives:
            raise InputError(f"{root}: no motions there; expected {FILES}")
        for path in files:
            yield read(path)
        for path in archives:
            yield from clips(path)
    elif re.search(r"\.tar(\.xz|\.gz)?$", root.name) and root.is_file():
        with tarfile.open(root) as archive:
            for member in sorted(archive.getmembers(), key=lambda m: m.name):
                file = archive.extractfile(member) if member.isfile() else None
                if file is not None and member.name.endswith((".bvh", ".txt")):
                    yield parse(file.read().decode("utf-8", "replace"), Path(member.name).stem)
    else:
        yield read(root)
