"""A folder of class folders, made by hand: the folder's name is the class of every picture in it.

    cats/tom.jpg                  or, with a split of its own,      train/cats/tom.jpg
    dogs/rex.jpg                                                    test/cats/kit.jpg      (or val/, or both)

Splits may also be called training, valid, validation and testing, in any letter case. Pictures may lie deeper inside a
class folder. Files and folders that systems make, and hidden ones, are passed over.
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
from percepta.files import listed, plain_text, subfolders
from percepta.media.image import SUFFIXES

NAME = "class folders"
FILES = "two or more folders of pictures, one a class; or train/, and val/ or test/ or both, with such folders in them"
SPLITS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
    "testing": "test",
}  # fmt: skip


@dataclass(frozen=True)
class ClassFolder:
    """What lies in a folder of class folders.

    Attributes:
        classes: their names, sorted.
        parts: {"all": ...} without splits, else {"train", and "val" or "test" or both}: (picture, number of its class),
            by class, then in the order of the numbers in their names.
    """

    classes: tuple[str, ...]
    parts: dict[str, tuple[tuple[Path, int], ...]]


def is_one(root: Path) -> bool:
    """Whether a folder holds two folders or more, and a picture in one of them. What is wrong with it `parse` says."""
    if not root.is_dir():
        return False
    splits = _split_folders(root)
    folders = subfolders(next(iter(splits.values()))[0]) if splits else subfolders(root)
    return len(folders) > 1 and any(next(_files(folder), None) is not None for folder in folders)


def classified(root: Path, problems: list[Problem] | None = None, warnings: list[Problem] | None = None) -> Classified:
    """The set, for systems that classify pictures; opens none.

    Args:
        root: the folder.
        problems: gets all that is wrong, instead of an error.
        warnings: gets what looks odd.

    Raises:
        MissingFileError, InputError: as `read`, where `problems` is None.
    """
    found, wrong = parse(root, warnings)
    if problems is None and wrong:
        raise InputError(wrong[0])
    if problems is not None:
        problems += wrong
    return Classified(found.classes, tuple(found.parts), lambda split: _part(found.parts[split]))


def _part(rows: tuple[tuple[Path, int], ...]) -> Part:
    paths = [path for path, _ in rows]
    labels = np.array([label for _, label in rows], np.int64)
    return Part(
        labels,
        [str(path) for path in paths],
        lambda places, size: read_files([paths[i] for i in places], size)[0],
        paths,
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
        raise InputError(problems[0])
    return found


def parse(root: Path, warnings: list[Problem] | None = None) -> tuple[ClassFolder, list[Problem]]:
    """What is there, and all that is wrong: one class only, empty classes, splits whose classes differ.

    Args:
        root: the folder.
        warnings: gets folders that look like splits and have no name of one, and those that are in no split.

    Raises:
        MissingFileError: no such folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise MissingFileError(f"{root}: no such folder; expected one that holds a folder of pictures for each class")
    problems: list[Problem] = []
    found = _split_folders(root)
    for split, twice in found.items():
        if len(twice) > 1:
            problems.append(Problem(twice[1], None, f"a second folder for {split}, beside {twice[0].name}"))
    folders = {split: some[0] for split, some in found.items()}
    others = [path for path in subfolders(root) if path not in [one for some in found.values() for one in some]]
    if not folders:
        folders = {"all": root}
        _say_splits(root, warnings)
    elif "train" not in folders:
        folders = {"all": next(iter(folders.values()))} if len(folders) == 1 else folders
        if "all" not in folders:
            problems.append(Problem(root, None, f"{' and '.join(p.name for p in folders.values())} but no train"))
    elif len(folders) == 1:
        folders = {"all": folders["train"]}
    if found and others and warnings is not None:
        warnings.append(Problem(others[0], None, "in no split: only the folders train, val and test are used"))
    return _read(folders, problems), problems


def _read(folders: dict[str, Path], problems: list[Problem]) -> ClassFolder:
    """The classes of the first folder, and the pictures of all of them; adds to the problems."""
    first = folders.get("train", next(iter(folders.values())))
    own = {split: _classes(folder, problems) for split, folder in folders.items()}
    listings = {split: {name: [*_files(path)] for name, path in found.items()} for split, found in own.items()}
    named = own["train" if "train" in own else next(iter(own))]
    main = listings["train" if "train" in listings else next(iter(listings))]
    for name, path in named.items():
        if not main[name]:
            problems.append(Problem(path, None, "no pictures in this class folder"))
    classes = tuple(name for name in named if main[name])
    if len(classes) < 2:
        have = f"only {classes[0]}" if classes else "none"
        text = f"expected at least two class folders with pictures in them, found {have}"
        problems.append(Problem(first, None, text))
    for split, folder in folders.items():
        problems += _differences(folder, own[split], named, first)
        for name, path in own[split].items():
            if folder != first and name in named and not listings[split][name]:
                problems.append(Problem(path, None, "no pictures in this class folder"))
    order = [split for split in ("all", "train", "val", "test") if split in folders]
    parts = {
        split: tuple((path, number) for number, name in enumerate(classes) for path in listings[split].get(name, ()))
        for split in order
    }
    return ClassFolder(classes, parts)


def _split_folders(root: Path) -> dict[str, list[Path]]:
    """Folders called after a split that hold folders and no pictures: one with pictures in it is a class ("train")."""
    found: dict[str, list[Path]] = {}
    for path in subfolders(root):
        split = SPLITS.get(path.name.lower())
        if split and subfolders(path) and next(listed(path, endings=SUFFIXES), None) is None:
            found.setdefault(split, []).append(path)
    return found


def _classes(folder: Path, problems: list[Problem]) -> dict[str, Path]:
    """{name with plain accents: class folder}, sorted by name."""
    found: dict[str, Path] = {}
    for path in sorted(subfolders(folder), key=lambda path: plain_text(path.name)):
        other = found.setdefault(plain_text(path.name), path)
        if other != path:
            problems.append(Problem(path, None, "a second folder of this name, with its accents written otherwise"))
    return found


def _files(folder: Path) -> Iterator[Path]:
    """The pictures in a class folder and below it."""
    return listed(folder, recursive=True, endings=SUFFIXES)


def _say_splits(root: Path, warnings: list[Problem] | None) -> None:
    """A warning where folders that count as classes hold folders of the same names: they look like splits."""
    if warnings is None:
        return
    inside: dict[frozenset[str], Path] = {}
    for path in subfolders(root):
        names = frozenset(plain_text(one.name) for one in subfolders(path))
        other = inside.setdefault(names, path) if len(names) > 1 else path
        if other != path:
            text = f"holds the same folders as {other.name} ({', '.join(sorted(names)[:3])}, ...): are these splits?"
            warnings.append(Problem(path, None, f"{text} Then call them train, val and test"))
            return


def _differences(folder: Path, own: dict[str, Path], classes: dict[str, Path], first: Path) -> list[Problem]:
    """Class folders of one split that the first split lacks, and the other way round."""
    out = []
    for name, path in own.items():
        if name not in classes:
            close = difflib.get_close_matches(name, classes, 1, 0.6)
            hint = f" (did you mean {close[0]}?)" if close else ""
            out.append(Problem(path, None, f"{first} has no class of this name{hint}; both need the same ones"))
    for name in classes:
        if name not in own:
            out.append(Problem(folder, None, f"no folder for the class {name}, which {first} has; both need the same"))
    return out
