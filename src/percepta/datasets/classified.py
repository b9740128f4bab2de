"""Classified pictures, whatever files they lie in: what CIFAR and class folders are read as, and how they are checked.

A set is opened without reading a picture; `Classified.part` lists one official split, whose pictures are then read as
bytes, all of one size, where they are wanted.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int64, UInt8
from PIL import Image
from torch import Tensor

from percepta.datasets.problem import Findings, Problem, noting, problem_of
from percepta.errors import InputError
from percepta.media import draw, image

MAX_BYTES = 8e9  # of pictures in memory
UNEVEN = 10  # times as many pictures as the smallest class has: worth a warning
SPLITS = ("train", "val", "test", "all")


@dataclass(frozen=True)
class Part:
    """The pictures of one official split, listed but not yet read.

    Attributes:
        labels: numbers of the classes.
        names: of the pictures.
        pixels: gives pictures by their places, RGB; large ones as their middle square with a side of so many pixels,
            those of sets with one small size as they are.
        paths: of the files; empty where a file holds many pictures.
    """

    labels: Int64[np.ndarray, " n"]
    names: list[str]
    pixels: Callable[[Int64[np.ndarray, " m"], int], UInt8[Tensor, "m 3 s s"]]
    paths: Sequence[Path] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def read(
        self, places: Int64[np.ndarray, " m"], size: int, problems: list[Problem]
    ) -> tuple[UInt8[Tensor, "k 3 s s"], Int64[np.ndarray, " k"]]:
        """Pictures by their places, and the places of those that could be read.

        Args:
            places: which pictures.
            size: as of `pixels`.
            problems: gets those that cannot be read.
        """
        if not self.paths:
            return self.pixels(places, size), places
        pixels, good = read_files([self.paths[i] for i in places], size, problems)
        return pixels, places[good]


@dataclass(frozen=True)
class Classified:
    """A set of classified pictures.

    Attributes:
        classes: their names, in the order of the labels.
        splits: its official splits: "train" with "val" or "test" or both; or "all" where it has none.
        part: lists the pictures of an official split.
    """

    classes: tuple[str, ...]
    splits: tuple[str, ...]
    part: Callable[[str], Part]

    def official(self, split: str) -> str:
        """The official split that holds the pictures of "train", "val", "test" or "all".

        A set without splits is used whole. Where there is no "test" it is "val"; where there is no "val" its pictures
        have to be chosen among those of "train", which is also what "all" means.

        Raises:
            InputError: no such split.
        """
        if split not in SPLITS:
            raise InputError(f'the splits are "train", "val", "test" and "all", not {split!r}')
        if split in self.splits:
            return split
        if "all" in self.splits:
            return "all"
        return "val" if split == "test" else "train"

    @property
    def has_val(self) -> bool:
        """Whether validation has pictures of its own; otherwise a share of the training pictures is held out."""
        return "val" in self.splits


def read_files(
    paths: Sequence[Path], size: int, problems: list[Problem] | None = None
) -> tuple[UInt8[Tensor, "k 3 s s"], Bool[np.ndarray, " n"]]:
    """The middle squares of pictures in files, and which of them could be read.

    Args:
        paths: the files.
        size: side of the squares, in pixels.
        problems: gets those that cannot be read, which are then left out; None: the first is raised.

    Raises:
        InputError: they would not fit into memory; or one cannot be read: names the file.
    """
    need = len(paths) * 3 * size * size
    if need > MAX_BYTES:
        raise InputError(
            f"{len(paths)} pictures of {size} pixels take {need / 1e9:.0f} GB of memory; lower size or number"
        )
    pixels = torch.empty(len(paths), 3, size, size, dtype=torch.uint8)
    good = np.zeros(len(paths), bool)
    for place, path in enumerate(paths):
        with noting(problems, path):
            pixels[place] = image.to_bytes(image.crop_square(path, size))
            good[place] = True
    return pixels if good.all() else pixels[torch.from_numpy(good)], good


# ------------------------------------------------------------------------------------------------------------- check


class Report(Findings[tuple[Any, str]]):
    """What is wrong with a set of classified pictures.

    Attributes:
        layout: the name of the set.
        counts: how many classes, and pictures by split (and by class, where each is a file).
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


def check(
    root: Path,
    name: str,
    found: Classified,
    problems: Sequence[Problem] = (),
    warnings: Sequence[Problem] = (),
    *,
    examples: int = 12,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Reads every picture of a set once.

    Args:
        root: the folder.
        name: of the set, for the report.
        found: the set.
        problems: what was wrong with it when it was opened.
        warnings: what looked odd then.
        examples: how many the contact sheet will show.
        progress: called with (pictures done, pictures in all); with splits, where files hold many pictures.
    """
    checked = _Checked(root, found, list(problems), list(warnings), {"classes": len(found.classes)}, [])
    parts = [(split, part) for split in found.splits if (part := checked.part(split)) is not None]
    files = [
        (split, path, int(label)) for split, part in parts if part.paths
        for path, label in zip(part.paths, part.labels, strict=True)
    ]  # fmt: skip
    for done, (split, path, label) in enumerate(files, 1):
        checked.file(split, path, label)
        if progress is not None:
            progress(done, len(files))
    if files:
        counts = Counter(f"{split}: {found.classes[label]}" for split, _, label in files)
        checked.counts |= {"pictures": len(files), **dict(sorted(counts.items()))}
        checked.evenness(parts[0][1])
    for done, (split, part) in enumerate(parts, 1):
        if not part.paths:
            checked.counts[split] = len(part)
            if not checked.good:
                chosen = _spread(len(part), examples)
                pixels = part.pixels(chosen, 320).permute(0, 2, 3, 1).numpy()
                checked.good += zip(pixels, [found.classes[label] for label in part.labels[chosen]], strict=True)
            if progress is not None:
                progress(done, len(parts))
    good = tuple(checked.good[place] for place in _spread(len(checked.good), examples))
    return Report(root, name, checked.counts, tuple(checked.problems), tuple(checked.warnings), good)


@dataclass
class _Checked:
    """What a check has found so far."""

    root: Path
    found: Classified
    problems: list[Problem]
    warnings: list[Problem]
    counts: dict[str, int]
    good: list[tuple[Any, str]]

    def __post_init__(self) -> None:
        self.digests: dict[bytes, tuple[Path, str, int]] = {}

    def part(self, split: str) -> Part | None:
        """The pictures of a split; None where its files are wrong."""
        try:
            return self.found.part(split)
        except (OSError, ValueError) as error:
            self.problems.append(problem_of(self.root, error))
            return None

    def file(self, split: str, path: Path, label: int) -> None:
        """Whether a picture can be read, and whether it was there before."""
        try:
            image.read(path, long_side=64)  # decodes all of it, so that a cut file is found
        except (OSError, ValueError) as error:
            self.problems.append(Problem(path, None, str(error).removeprefix(f"{path}: ")))
            return
        self.good.append((path, self.found.classes[label]))
        digest = hashlib.blake2b(path.read_bytes(), digest_size=16).digest()
        first, before, other = self.digests.setdefault(digest, (path, split, label))
        if before != split:
            text = f"the same picture as {first}: what is trained on must not be in {split} too"
            self.problems.append(Problem(path, None, text))
        elif other != label:
            self.warnings.append(Problem(path, None, f"the same picture as {first}, which lies in another class"))

    def evenness(self, part: Part) -> None:
        """A warning where one class has many times the pictures of another: accuracy then says little."""
        count = Counter(self.found.classes[label] for label in part.labels)
        if len(count) < 2:
            return
        (largest, many), (smallest, few) = count.most_common()[0], count.most_common()[-1]
        if many > UNEVEN * few:
            text = (
                f"{many} pictures of {largest} but {few} of {smallest}: look at each class's accuracy, not at the mean"
            )
            self.warnings.append(Problem(self.root, None, text))


def _spread(count: int, wanted: int) -> Int64[np.ndarray, " m"]:
    return np.linspace(0, count - 1, min(wanted, count)).astype(np.int64)
