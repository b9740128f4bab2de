"""A folder of class folders, made by hand: the folder's name is the class of every picture in it.

    cats/tom.jpg                  or, with a split of its own,      train/cats/tom.jpg
    dogs/rex.jpg                                                    test/cats/kit.jpg      (or val/, or both)

Pictures may lie deeper inside a class folder. Hidden files and folders are passed over.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from percepta.datasets.classified import Classified, Part, read_files
from percepta.datasets.problem import Problem
from percepta.errors import InputError, MissingFileError
from percepta.media.image import SUFFIXES

NAME = "class folders"
FILES = "two or more folders of pictures, one a class; or train/, and val/ or test/ or both, with such folders in them"
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class ClassFolder:
    """What lies in a folder of class folders.

    Attributes:
        classes: their names, sorted.
        parts: {"all": ...} without splits, else {"train", and "val" or "test" or both}: (picture, number of its class),
            sorted by class and path.
    """

    classes: tuple[str, ...]
    parts: dict[str, tuple[tuple[Path, int], ...]]


def is_one(root: Path) -> bool:
    """Whether a folder holds two folders or more, and a picture in one of them. What is wrong with it `parse` says."""
    if not root.is_dir():
        return False
    folders = _folders(root)
    return len(folders) > 1 and any(next(_files(folder), None) is not None for folder in folders)


def classified(root: Path, problems: list[Problem] | None = None) -> Classified:
    """The set, for systems that classify pictures; opens none.

    Args:
        root: the folder.
        problems: gets all that is wrong, instead of an error.

    Raises:
        MissingFileError, InputError: as `read`, where `problems` is None.
    """
    if problems is None:
        found = read(root)
    else:
        found, wrong = parse(root)
        problems += wrong
    return Classified(found.classes, tuple(found.parts), lambda split: _part(found.parts[split]))


def _part(rows: tuple[tuple[Path, int], ...]) -> Part:
    paths = [path for path, _ in rows]
    labels = np.array([label for _, label in rows], np.int64)
    return Part(
        labels, [str(path) for path in paths], lambda places, size: read_files([paths[i] for i in places], size), paths
    )


READS = {Classified: classified}


def read(root: Path) -> ClassFolder:
    """Lists the pictures; opens none.

    Raises:
        MissingFileError: no such folder.
        InputError: the first thing that is wrong; names the folder or the file.
    """
    found, problems = parse(Path(root))
    if problems:
        raise InputError(str(problems[0]))
    return found


def parse(root: Path) -> tuple[ClassFolder, list[Problem]]:
    """What is there, and all that is wrong: one class only, empty classes, splits whose classes differ.

    Raises:
        MissingFileError: no such folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise MissingFileError(f"{root}: no such folder; expected one that holds a folder of pictures for each class")
    folders = {split: root / split for split in SPLITS if (root / split).is_dir() and _folders(root / split)}
    if "train" not in folders or len(folders) == 1:
        folders = {"all": root}
    problems: list[Problem] = []
    first = next(iter(folders))
    classes = tuple(folder.name for folder in _folders(folders[first]))
    if len(classes) < 2:
        have = f"only {classes[0]}" if classes else "none"
        text = f"expected at least two class folders with pictures in them, found {have}"
        problems.append(Problem(folders[first], None, text))
    for folder in folders.values():
        problems += _differences(folder, classes, folders[first])
    parts = {}
    for split, folder in folders.items():
        parts[split] = _pictures(folder, classes, problems)
    return ClassFolder(classes, parts), problems


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _files(folder: Path) -> Iterator[Path]:
    """The pictures in a class folder, in no order."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    return (path for path in found if not path.name.startswith("."))


def _differences(folder: Path, classes: tuple[str, ...], first: Path) -> list[Problem]:
    """Class folders of one split that the first split lacks, and the other way round."""
    own = [path.name for path in _folders(folder)]
    out = []
    for name in own:
        if name not in classes:
            close = difflib.get_close_matches(name, classes, 1, 0.6)
            hint = f" (did you mean {close[0]}?)" if close else ""
            out.append(
                Problem(folder / name, None, f"{first} has no class of this name{hint}; both need the same ones")
            )
    for name in classes:
        if name not in own:
            out.append(Problem(folder, None, f"no folder for the class {name}, which {first} has; both need the same"))
    return out


def _pictures(folder: Path, classes: tuple[str, ...], problems: list[Problem]) -> tuple[tuple[Path, int], ...]:
    rows = []
    for number, name in enumerate(classes):
        if not (folder / name).is_dir():
            continue
        found = [(path, number) for path in sorted(_files(folder / name))]
        if not found:
            problems.append(Problem(folder / name, None, "no pictures in this class folder"))
        rows += found
    return tuple(rows)
