"""Looks through a folder of labelled pictures before training: what is there, what is wrong, what looks odd."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from percepta.datasets import cifar, class_folder
from percepta.datasets.problem import Findings, Problem
from percepta.errors import InputError
from percepta.media import draw, image

UNEVEN = 10  # times as many pictures as the smallest class has: worth a warning


class Report(Findings[tuple[Any, str]]):
    """What `check` found.

    Attributes:
        layout: "class folders", or a layout of CIFAR.
        counts: pictures by "split: class" (of class folders) or by split, and how many "classes".
        examples: (anything that `media.image.read` takes, its class), for `sheet`.
    """

    def sheet(self, columns: int = 4, width: int = 1400) -> Image.Image:
        """Contact sheet of the examples with their classes below.

        Raises:
            InputError: there is no good picture to show.
        """
        if not self.examples:
            raise InputError(f"{self.root}: no good picture to show")
        shown = [image.read(picture, long_side=320) for picture, _ in self.examples]
        return draw.sheet(shown, columns, width, [name for _, name in self.examples])


def check(root: Path | str, *, examples: int = 12, progress: Callable[[int, int], None] | None = None) -> Report:
    """Reads every picture once.

    Args:
        root: a folder of class folders, or CIFAR.
        examples: how many the contact sheet will show.
        progress: called with (pictures done, pictures in all); for CIFAR with splits.

    Raises:
        MissingFileError: no such folder. What is wrong inside is in the report.
    """
    root = Path(root)
    found = cifar.find(root)
    if found is not None:
        return _cifar(root, f"CIFAR, {found[1]}", examples, progress)
    folder, problems = class_folder.parse(root)
    rows = [(split, path, number) for split, part in folder.parts.items() for path, number in part]
    warnings = _uneven(root, folder)
    good, seen = [], {}
    for i, (split, path, number) in enumerate(rows):
        try:
            image.read(path, long_side=64)  # decodes all of it, so that a cut file is found
        except (OSError, ValueError) as error:
            problems.append(Problem(path, None, str(error).removeprefix(f"{path}: ")))
        else:
            good.append((path, folder.classes[number]))
            digest = hashlib.blake2b(path.read_bytes(), digest_size=16).digest()
            first, (before, other) = seen.setdefault(digest, (path, (split, number)))
            if before != split:
                text = f"the same picture as {first}: what is trained on must not be in {split} too"
                problems.append(Problem(path, None, text))
            elif other != number:
                text = f"the same picture as {first}, which lies in another class"
                warnings.append(Problem(path, None, text))
        if progress is not None:
            progress(i + 1, len(rows))
    counts = Counter(f"{split}: {folder.classes[number]}" for split, _, number in rows)
    totals = {"classes": len(folder.classes), "pictures": len(rows), **dict(sorted(counts.items()))}
    return Report(root, "class folders", totals, tuple(problems), tuple(warnings), _spread(good, examples))


def _cifar(root: Path, layout: str, examples: int, progress: Callable[[int, int], None] | None) -> Report:
    counts, problems, shown = {}, [], []
    for i, split in enumerate(("train", "test")):
        try:
            part = cifar.read(root, split)
        except (OSError, ValueError) as error:
            start = re.match(r"(.+?): (.*)", str(error), re.DOTALL)
            problems.append(Problem(Path(start[1]), None, start[2]) if start else Problem(root, None, str(error)))
        else:
            counts |= {"classes": len(part.classes), split: len(part.labels)}
            if split == "train":
                chosen = np.linspace(0, len(part.labels) - 1, min(examples, len(part.labels))).astype(int)
                shown = [(part.pixels[k], part.classes[part.labels[k]]) for k in chosen]
        if progress is not None:
            progress(i + 1, 2)
    return Report(root, layout, counts, tuple(problems), (), tuple(shown))


def _uneven(root: Path, folder: class_folder.ClassFolder) -> list[Problem]:
    """A warning where one class has many times the pictures of another: accuracy then says little."""
    first = next(iter(folder.parts))
    count = Counter(folder.classes[number] for _, number in folder.parts[first])
    if len(count) < 2:
        return []
    (most, many), (least, few) = count.most_common()[0], count.most_common()[-1]
    if many <= UNEVEN * few:
        return []
    text = f"{many} pictures of {most} but {few} of {least}: look at each class's accuracy, not at the mean"
    return [Problem(root, None, text)]


def _spread(good: list[tuple[Path, str]], count: int) -> tuple[tuple[Path, str], ...]:
    return tuple(good[i] for i in np.linspace(0, len(good) - 1, min(count, len(good))).astype(int))
