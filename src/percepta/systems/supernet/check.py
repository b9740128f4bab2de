"""Looks through a folder before training: the pictures, and the benchmark's table where it lies beside them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from percepta.datasets import cifar, class_folder, nasbench
from percepta.datasets.problem import Findings, Problem
from percepta.errors import InputError, MissingFileError
from percepta.media import draw, image
from percepta.systems.supernet.data import pictures_in, table_beside
from percepta.systems.supernet.space import Macro


class Report(Findings[tuple[Any, str]]):
    """What `check` found.

    Attributes:
        layout: what the pictures are.
        counts: pictures, classes, architectures.
        examples: (anything that `media.image.read` takes, its class), for `sheet`.
    """

    def sheet(self, columns: int = 6, width: int = 1200) -> Image.Image:
        """Contact sheet of the examples with their classes below.

        Raises:
            InputError: there is no good picture to show.
        """
        if not self.examples:
            raise InputError(f"{self.root}: no good picture to show")
        shown = [image.read(picture) for picture, _ in self.examples]
        return draw.sheet(shown, columns, width, [name for _, name in self.examples])


def check(root: Path | str, *, examples: int = 12, progress: Callable[[int, int], None] | None = None) -> Report:
    """Reads pictures and table once.

    Args:
        root: CIFAR, a folder that holds it as `cifar10`, or class folders.
        progress: called with (things read, things in all).

    Raises:
        MissingFileError: no such folder. What is wrong inside is in the report.
    """
    root = Path(root)
    if not root.is_dir():
        raise MissingFileError(f"{root}: no such folder")
    folder, problems, warnings = pictures_in(root), [], []
    counts: dict[str, int] = {}
    shown: list[tuple[Any, str]] = []
    found = cifar.find(folder)
    if found is None:
        listing, problems = class_folder.parse(folder)
        layout = "class folders"
        counts |= {"classes": len(listing.classes), "pictures": sum(map(len, listing.parts.values()))}
        rows = [row for part in listing.parts.values() for row in part]
        for done, (path, number) in enumerate(rows):
            try:
                image.read(path, long_side=64)
                shown.append((path, listing.classes[number]))
            except (OSError, ValueError) as error:
                problems.append(Problem(path, None, str(error).removeprefix(f"{path}: ")))
            if progress:
                progress(done + 1, len(rows))
    else:
        layout = f"CIFAR, {found[1]}"
        _cifar(folder, examples, counts, problems, shown, progress)
    _table(root, counts, problems, warnings)
    chosen = np.linspace(0, len(shown) - 1, min(examples, len(shown))).astype(int)
    return Report(root, layout, counts, tuple(problems), tuple(warnings), tuple(shown[i] for i in chosen))


def _cifar(folder: Path, examples: int, counts: dict[str, int], problems: list[Problem],
           shown: list[tuple[Any, str]], progress: Callable[[int, int], None] | None) -> None:  # fmt: skip
    for done, split in enumerate(("train", "test")):
        try:
            part = cifar.read(folder, split)
        except (OSError, ValueError) as error:
            problems.append(_problem(folder, error))
        else:
            counts |= {"classes": len(part.classes), split: len(part.labels)}
            if not shown:
                places = np.linspace(0, len(part.labels) - 1, examples).astype(int)
                shown += [(part.pixels[i], part.classes[part.labels[i]]) for i in places]
        if progress:
            progress(done + 1, 2)


def _table(root: Path, counts: dict[str, int], problems: list[Problem], warnings: list[Problem]) -> None:
    """Every code has to be there, with the costs that this network has."""
    path = table_beside(root)
    if path is None:
        warnings.append(Problem(root, None, "no NAS-Bench-Macro table beside the pictures: rankings have no truth"))
        return
    try:
        table = nasbench.read_macro(path)
        space = Macro()
        table.rows(space.codes())
        parameters, flops = space.costs([space.validate(code) for code in table.codes])
    except (OSError, ValueError) as error:
        problems.append(_problem(path, error))
        return
    counts["architectures"] = len(table.codes)
    wrong = np.flatnonzero((parameters != table.parameters) | (flops != table.flops))
    if len(wrong):
        i = int(wrong[0])
        text = f"{len(wrong)} entries have other costs than their network, the first is {table.codes[i]!r}: "
        text += f"{table.parameters[i]:,} parameters where it has {parameters[i]:,}"
        problems.append(Problem(path, None, text))


def _problem(path: Path, error: Exception) -> Problem:
    start = re.match(r"(.+?): (.*)", str(error), re.DOTALL)
    return Problem(Path(start[1]), None, start[2]) if start else Problem(path, None, str(error))
