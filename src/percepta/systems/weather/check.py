"""Looks through a folder of street pictures before training: label values, sizes, pictures without labels, classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from percepta.datasets import layouts
from percepta.datasets.findings import PictureFindings
from percepta.datasets.problem import Problem, noting
from percepta.datasets.street_pictures import LABEL_SETS, VOID, StreetPicture, read_values
from percepta.media import image
from percepta.media.labels import label_overlay

RARE = 1000  # pixels of a class in all pictures, below which nothing is learned of it


class Report(PictureFindings):
    """What `check` found. Its examples are pictures with their label maps; without any, the pictures."""

    shown = "picture that can be read"


def check(root: Path | str, *, examples: int = 12, progress: Callable[[int, int], None] | None = None) -> Report:
    """Reads every label map, and the size of every picture.

    Args:
        root: a folder of street pictures, or with several such folders in it.
        examples: how many the contact sheet will show.
        progress: called with (pictures done, how many there are).

    Raises:
        MissingFileError, InputError: no such folder; no set that is known. What is wrong inside is in the findings.
    """
    root = Path(root)
    found = layouts.find(root, StreetPicture)
    problems: list[Problem] = []
    warnings: list[Problem] = []
    items: list[StreetPicture] = []
    for one in found:
        with noting(problems, one.root):
            items += one.read(one.root, problems, warnings)
    good: list[StreetPicture] = []
    pixels: dict[str, np.ndarray] = {}
    conditions: Counter[str] = Counter()
    for done, item in enumerate(items, 1):
        conditions[item.condition or "unknown light and weather"] += 1
        counts = _looked_at(item, problems, warnings)
        if counts is not None:
            known = pixels.setdefault(item.label_set, np.zeros(256, np.int64))
            known += counts
            good.append(item)
        if progress is not None:
            progress(done, len(items))
    warnings += _rare(root, pixels)
    _unlabelled(items, warnings)
    counts = {"pictures": len(items), "label maps": sum(one.labels is not None for one in items)}
    counts |= {f"pictures, {name}": number for name, number in conditions.items()}
    counts |= {"with a reference picture": sum(one.reference is not None for one in items)}
    good = good or [item for item in items if item.labels is None and not _broken(item, problems)]
    chosen = np.linspace(0, len(good) - 1, min(examples, len(good))).astype(int)
    names = " and ".join(dict.fromkeys(one.set.NAME for one in found))
    there = {name: number for name, number in counts.items() if number}
    return Report(root, names, there, tuple(problems), tuple(warnings), tuple(_example(good[i]) for i in chosen))


def _looked_at(item: StreetPicture, problems: list[Problem], warnings: list[Problem]) -> np.ndarray | None:
    """Pixels of each class; None where there is no label map or something is wrong, which is noted."""
    before = len(problems)
    size: tuple[int, int] | None = None
    with noting(problems, item.image):
        size = image.size(item.image)
    if item.reference is not None:
        with noting(problems, item.reference):
            other = image.size(item.reference)
            if size is not None and other != size:
                text = f"the reference picture has {_said(other)} pixels, its picture {_said(size)}"
                problems.append(Problem(item.reference, None, text))
    if item.labels is None:
        return None
    with noting(problems, item.labels):
        values = read_values(item.labels, item.values.colours)
        if unknown := item.values.unknown(values):
            said = ", ".join(_value(one, item.values.colours) for one in unknown[:5])
            share = float(np.isin(values, unknown).mean())
            text = f"values that no class of {item.label_set} has: {said} ({share:.1%} of its pixels)"
            problems.append(Problem(item.labels, None, text))
        if size is not None and values.shape != size:
            text = f"the label map has {_said(values.shape)} pixels, its picture {_said(size)}: they have one size"
            problems.append(Problem(item.labels, None, text))
        counts = np.bincount(item.values.numbers(values).ravel(), minlength=256)
        if counts[VOID] == counts.sum():
            warnings.append(Problem(item.labels, None, "nothing is labelled: every pixel is void"))
        if len(problems) == before:
            return counts
    return None


def _rare(root: Path, pixels: dict[str, np.ndarray]) -> list[Problem]:
    out = []
    for name, counts in pixels.items():
        few = [one for number, one in enumerate(LABEL_SETS[name].classes) if counts[number] < RARE]
        if few:
            text = f"{name}: fewer than {RARE} pixels in all label maps of {', '.join(few)}; nothing is learned of them"
            out.append(Problem(root, None, text))
    return out


def _unlabelled(items: list[StreetPicture], warnings: list[Problem]) -> None:
    """Pictures without label map in a split of a set whose other pictures of that split have one."""
    having = {(one.source, one.split, one.condition) for one in items if one.labels is not None}
    lost = [one for one in items if one.labels is None and (one.source, one.split, one.condition) in having]
    if lost:
        more = f", nor {len(lost) - 1} more like it" if len(lost) > 1 else ""
        warnings.append(Problem(lost[0].image, None, f"a picture without label map{more}: others beside it have one"))


def _example(item: StreetPicture) -> tuple[Image.Image, str]:
    """A picture with its classes on it, and its name."""
    pixels = image.to_bytes(image.read(item.image).permute(1, 2, 0)).numpy()
    labels = item.read_labels()
    if labels is None:
        return Image.fromarray(np.ascontiguousarray(pixels)), f"{item.name}, without labels"
    shown = label_overlay(np.ascontiguousarray(pixels), labels, LABEL_SETS[item.label_set].colours)
    return Image.fromarray(shown), f"{item.name}, {item.condition or 'unknown'}"


def _broken(item: StreetPicture, problems: list[Problem]) -> bool:
    """Whether a problem of the picture itself was noted."""
    return any(problem.file == item.image for problem in problems)


def _value(value: int, colours: bool) -> str:
    return f"({value // 65536}, {value // 256 % 256}, {value % 256})" if colours else str(value)


def _said(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}×{shape[0]}"
