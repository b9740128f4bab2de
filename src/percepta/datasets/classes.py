"""Opens a set of classified pictures by its path, whatever its layout."""

from __future__ import annotations

import warnings
from pathlib import Path

from percepta.datasets import layouts
from percepta.datasets.classified import Classified
from percepta.datasets.problem import Problem, tell
from percepta.errors import InputError


def open_set(root: Path | str, *, strict: bool = False) -> Classified:
    """The set in a folder of any layout that `layouts` knows; no picture is read.

    What is wrong with it is left out, and a warning names the first and counts them.

    Args:
        root: the folder, or one that holds a single set.
        strict: what is wrong is an error.

    Raises:
        MissingFileError: no such folder.
        InputError: no layout that is known, several sets, fewer than two classes.
    """
    found = layouts.find_one(root, Classified)
    problems: list[Problem] = []
    odd: list[Problem] = []
    pictures = found.read(found.root, problems, odd)
    if len(pictures.classes) < 2:
        raise InputError(problems[-1])
    tell(problems, str(root), strict=strict)
    for one in odd:
        warnings.warn(str(one), stacklevel=2)
    return pictures
