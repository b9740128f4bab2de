"""What every reader of labelled pictures returns: a picture and the regions in it that have a name or a sentence.

The readers (`READS[Scene]` of the files of this package) all have one form, `read(root, problems, warnings)`:

    root        a folder for which `is_one` holds; a file where the set may be one
    problems    None: the first error is raised. A list: it is added there, and what it concerns is left out.
    warnings    None: dropped. A list: what looks odd is added there.

They give all scenes of the set. `of_split` and `stride` choose among them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Integer

from percepta.datasets.problem import Problem
from percepta.datasets.tables import note
from percepta.errors import InputError
from percepta.files import file_named, listed
from percepta.media import image
from percepta.media.image import SUFFIXES

SPLITS = ("train", "val", "test", "testA", "testB")


@runtime_checkable
class MaskSource(Protocol):
    """A mask that is read when it is asked for."""

    def read(self) -> Bool[np.ndarray, "h w"]: ...


@dataclass(frozen=True)
class PngMask:
    """The pixels of an indexed or grey PNG whose value is one of `values` (any value but 0 when empty)."""

    path: Path
    values: tuple[int, ...] = ()

    def read(self) -> Bool[np.ndarray, "h w"]:
        return self.select(self.load())

    def load(self) -> Integer[np.ndarray, "h w"] | Bool[np.ndarray, "h w"]:
        """The file's values, which all masks of one file share."""
        picture = image.load(self.path)
        # An indexed picture keeps its indices; of colours and of transparency only the brightest colour counts.
        pixels = np.asarray(picture if picture.mode in ("1", "L", "P", "I;16", "I") else picture.convert("RGB"))
        return pixels.max(-1) if pixels.ndim == 3 else pixels

    def select(self, pixels: Integer[np.ndarray, "h w"] | Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
        """The mask within the file's values."""
        return np.isin(pixels, self.values) if self.values else pixels > 0


@dataclass(frozen=True)
class Region:
    """One thing, or all things of one kind, in a picture.

    Attributes:
        mask: where it is, at the picture's stored size.
        name: its class in plain words ("dining table"); "" when unknown.
        sentences: what people wrote about it.
        every: whether the mask holds every object of that name, rather than one of them.
        lines: where each sentence stands in the scene's table; empty where there is no table.
        finer: what else it may be called, by a classifier with more names ("border collie").
    """

    mask: MaskSource
    name: str = ""
    sentences: tuple[str, ...] = ()
    every: bool = False
    lines: tuple[int, ...] = ()
    finer: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scene:
    """A picture with its regions.

    Attributes:
        image: file of the picture.
        regions: what is marked in it.
        source: short name of the data set.
        group: what belongs together when data are split or an interval is drawn: the picture or the video.
        vocabulary: the names that were looked for everywhere in this picture, so that one without a region is known
            to be absent; empty when nobody looked.
        split: the official split that it belongs to (one of SPLITS); "" where the set has none.
        part: which of several files or folders of the set it comes from, in words; "" where there is one.
        table: the file whose lines the regions name.
        elsewhere: names of the same kind as `finer` of which that classifier sees nothing in this picture.
    """

    image: Path
    regions: tuple[Region, ...]
    source: str
    group: str
    vocabulary: frozenset[str] = frozenset()
    split: str = ""
    part: str = ""
    table: Path | None = None
    elsewhere: tuple[str, ...] = ()


def of_split(scenes: Sequence[Scene], split: str) -> list[Scene]:
    """The scenes of an official split, in their order.

    Raises:
        InputError: there are none; names the splits that are there.
    """
    out = [scene for scene in scenes if scene.split == split]
    if not out:
        there = [name for name in SPLITS if any(scene.split == name for scene in scenes)]
        sources = ", ".join(dict.fromkeys(scene.source for scene in scenes))
        raise InputError(f"{sources or 'the set'} has the splits {', '.join(there) or 'none'}, not {split!r}")
    return out


def stride(scenes: Iterable[Scene], every: int) -> list[Scene]:
    """Scenes 0, every, 2·every, ... of each group (each video), in their order."""
    if every < 1:
        raise InputError(f"every must be 1 or more, not {every}")
    seen: dict[str, int] = {}
    out = []
    for scene in scenes:
        number = seen.get(scene.group, 0)
        seen[scene.group] = number + 1
        if number % every == 0:
            out.append(scene)
    return out


def with_masks(
    pictures: Path, masks: Path, problems: list[Problem] | None, endings: Collection[str] = SUFFIXES
) -> Iterator[tuple[Path, Path]]:
    """(picture, mask) of a folder of pictures and one with a PNG of the same name for each.

    Args:
        pictures: a folder.
        masks: another.
        problems: gets pictures without a mask, which are then left out; None: the first is raised.
        endings: of the pictures.
    """
    for path in listed(pictures, endings=endings):
        mask = file_named(masks, f"{path.stem}.png")
        if mask is None:
            note(problems, path, None, f"no mask {masks / path.stem}.png")
        else:
            yield path, mask


def unused(root: Path, folders: Iterable[str], scenes: Sequence[Scene]) -> list[Problem]:
    """Pictures and masks in some folders of a set that no scene names: one warning a folder, with the first of them.

    Args:
        root: folder of the set.
        folders: names of the folders to look into.
        scenes: those that were read.
    """
    named = {scene.image for scene in scenes}
    named |= {r.mask.path for scene in scenes for r in scene.regions if isinstance(r.mask, PngMask)}
    out = []
    for name in folders:
        files = listed(root / name, recursive=True, endings=SUFFIXES) if (root / name).is_dir() else ()
        if spare := [path for path in files if path not in named]:
            more = f", nor {len(spare) - 1} more in {name}/" if len(spare) > 1 else ""
            out.append(Problem(spare[0], None, f"nothing names this file{more}"))
    return out
