"""Looks through a folder of labelled pictures before training: what is there, what is wrong, what looks odd."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from percepta.datasets import classified, layouts
from percepta.datasets.classified import Classified, Report


def check(root: Path | str, *, examples: int = 12, progress: Callable[[int, int], None] | None = None) -> Report:
    """Reads every picture once.

    Args:
        root: a folder of class folders, or CIFAR.
        examples: how many the contact sheet will show.
        progress: called with (pictures done, pictures in all); for CIFAR with splits.

    Raises:
        MissingFileError: no such folder.
        InputError: a folder that is no set of classified pictures, or holds several. What is wrong inside is in the
            report.
    """
    found, problems, warnings = layouts.find_one(root, Classified), [], []
    pictures = found.read(found.root, problems, warnings)
    return classified.check(
        found.root, found.set.NAME, pictures, problems, warnings, examples=examples, progress=progress
    )
