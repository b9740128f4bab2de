"""A folder of one's own, made by hand: pictures, masks, and a table of sentences.

    images/street.jpg
    masks/street.png          any pixel that is not 0 belongs to the thing
    sentences.csv             image,sentence
                              street.jpg,the red car on the left

Optional columns: `mask` (a file in masks/, for pictures with several things) and `value` (only pixels of this
value, for one mask that numbers several things).
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from percepta.datasets.problem import Problem, problem_of
from percepta.datasets.scene import PngMask, Region, Scene, unused
from percepta.datasets.tables import read_columns, read_table
from percepta.errors import InputError, MissingFileError
from percepta.files import file_named

NAME = "a folder of one's own"
FILES = "sentences.csv (image,sentence) with images/ and masks/"
TABLE = "sentences.csv"
COLUMNS = ("image", "sentence", "mask", "value")


@dataclass(frozen=True)
class Row:
    """One good line of sentences.csv: its number, the files it means, the sentence, the value or None."""

    line: int
    image: Path
    sentence: str
    mask: Path
    value: int | None


def is_one(root: Path) -> bool:
    """Whether sentences.csv is there."""
    return (root / TABLE).is_file()


def read(root: Path, problems: list[Problem] | None = None, warnings: list[Problem] | None = None) -> list[Scene]:
    """One scene a picture, one region for each (mask, value) of it, with all its sentences in order.

    Args:
        root: folder with sentences.csv, images/ and masks/.
        problems: bad lines; None raises the first one.
        warnings: rows that come twice, and files that no row names.

    Raises:
        MissingFileError: no sentences.csv, images/ or masks/.
        InputError: the first bad line, with the file's name and the line's number.
    """
    rows, bad = parse(root)
    if problems is None:
        if bad:
            raise InputError(str(bad[0]))
    else:
        problems += bad
    out = _scenes(root, rows)
    if warnings is not None:
        warnings += [*_repeated(root / TABLE, rows), *unused(root, ("images", "masks"), out)]
    return out


def _scenes(root: Path, rows: list[Row]) -> list[Scene]:
    """Rows put together by picture, and within a picture by (mask, value)."""
    pictures: dict[Path, dict[tuple[Path, int | None], list[Row]]] = {}
    for row in rows:
        pictures.setdefault(row.image, {}).setdefault((row.mask, row.value), []).append(row)
    out = []
    for image, regions in pictures.items():
        marked = tuple(
            Region(
                PngMask(mask, () if value is None else (value,)),
                sentences=tuple(row.sentence for row in said),
                lines=tuple(row.line for row in said),
            )
            for (mask, value), said in regions.items()
        )
        inside = image.relative_to(root / "images") if image.is_relative_to(root / "images") else image
        group = f"folder/{inside.as_posix()}"
        out.append(Scene(image, marked, "folder", group, table=root / TABLE))
    return out


def _repeated(table: Path, rows: list[Row]) -> list[Problem]:
    """Rows with a picture and a sentence that an earlier row has."""
    seen: dict[tuple[Path, str], Row] = {}
    out = []
    for row in rows:
        first = seen.setdefault((row.image, row.sentence.lower()), row)
        if first is not row:
            same = (first.mask, first.value) == (row.mask, row.value)
            text = "the same row as" if same else "the same picture and sentence, but another mask than in"
            out.append(Problem(table, row.line, f"{text} line {first.line}"))
    return out


def parse(root: Path) -> tuple[list[Row], list[Problem]]:
    """All good lines of sentences.csv, and what is wrong with the others, both in order.

    Raises:
        MissingFileError: no sentences.csv, images/ or masks/.
    """
    table = root / TABLE
    for path, kind in ((table, "file"), (root / "images", "folder"), (root / "masks", "folder")):
        if not path.exists():
            raise MissingFileError(f"{path}: no such {kind}; a folder of one's own has images/, masks/ and {TABLE}")
    rows: list[Row] = []
    problems: list[Problem] = []
    try:
        if wrong := _typos(read_columns(table, ("image", "sentence"))):
            return [], [Problem(table, 1, wrong)]
        for line, cells in read_table(table, ("image", "sentence"), ("mask", "value"), problems=problems):
            row = _row(root, line, *cells)
            rows.append(row) if isinstance(row, Row) else problems.append(Problem(table, line, row))
    except InputError as error:  # the table as a whole
        problems.append(problem_of(table, error))
    if not rows and not problems:
        problems.append(Problem(table, 1, "the table has no rows; write one line a sentence: image,sentence"))
    return rows, sorted(problems, key=lambda problem: problem.line or 0)


def _typos(header: list[str]) -> str:
    """What is wrong with the names of the columns: further ones are somebody's notes, unless they nearly are ours."""
    names = [name.lower() for name in header]
    twice = [name for name in COLUMNS if names.count(name) > 1]
    if twice:
        return f"column {twice[0]} comes twice"
    unknown = [name for name in names if name and name not in COLUMNS]
    guess = [(name, difflib.get_close_matches(name, COLUMNS, 1, 0.75)) for name in unknown]
    typos = [f"{name!r} (did you mean {close[0]!r}?)" for name, close in guess if close]
    return f"unknown column {', '.join(typos)}" if typos else ""


def _row(root: Path, line: int, image: str, sentence: str, mask: str, value: str) -> Row | str:
    """The row, or what is wrong with it."""
    if not image:
        return "the image is empty"
    if not sentence:
        return "the sentence is empty"
    picture = file_named(root / "images", image)
    if picture is None:
        return f"no picture {root / 'images' / image}{_closest(root / 'images' / image)}"
    wanted = mask or str(Path(image.replace("\\", "/")).with_suffix(".png"))
    marked = file_named(root / "masks", wanted)
    if marked is None:
        return f"no mask {root / 'masks' / wanted}{_closest(root / 'masks' / wanted)}"
    if value and not (value.isascii() and value.isdecimal() and len(value) < 6 and 0 < int(value) < 65536):
        return f"the value must be a whole number from 1 to 65535, not {value[:20]!r}"
    return Row(line, picture, sentence, marked, int(value) if value else None)


def _closest(path: Path) -> str:
    try:
        names = [p.name for p in path.parent.iterdir()]
    except (OSError, ValueError):
        return ""
    close = difflib.get_close_matches(path.name, names, 1, 0.6)
    return f" (did you mean {close[0]}?)" if close else ""


READS = {Scene: read}
