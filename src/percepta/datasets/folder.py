"""A folder of one's own, made by hand: pictures, masks, and a table of sentences.

    images/street.jpg
    masks/street.png          any pixel that is not 0 belongs to the thing
    sentences.csv             image,sentence
                              street.jpg,the red car on the left

Optional columns: `mask` (a file in masks/, for pictures with several things) and `value` (only pixels of this
value, for one mask that numbers several things).
"""

from __future__ import annotations

import csv
import difflib
from dataclasses import dataclass
from pathlib import Path

from percepta.datasets.problem import Problem
from percepta.datasets.scene import PngMask, Region, Scene, unused
from percepta.errors import InputError, MissingFileError

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
        group = f"folder/{image.relative_to(root / 'images').as_posix()}"
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
    try:
        text = table.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = table.read_bytes()[: error.start].count(b"\n") + 1
        return [], [Problem(table, line, "not UTF-8 text; save the table as UTF-8")]
    reader = csv.reader(text.splitlines(keepends=True), strict=True)
    rows: list[Row] = []
    problems: list[Problem] = []
    header: list[str] = []
    while True:
        line = reader.line_num + 1  # a quoted field may hold line breaks: where the row starts, not where it ends
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            problems.append(Problem(table, line, f"not a row of a CSV ({error}); look for a quote too many"))
            break
        if not header:
            header = [cell.strip().lower() for cell in cells]
            if wrong := _header_problem(header):
                return [], [Problem(table, line, wrong)]
        elif any(cell.strip() for cell in cells):
            row = _row(root, header, [cell.strip() for cell in cells], line)
            rows.append(row) if isinstance(row, Row) else problems.append(Problem(table, line, row))
    if not rows and not problems:
        problems.append(Problem(table, 1, "the table has no rows; write one line a sentence: image,sentence"))
    return rows, problems


def _header_problem(header: list[str]) -> str:
    missing = [name for name in ("image", "sentence") if name not in header]
    unknown = [name for name in header if name and name not in COLUMNS]
    if missing and any(mark in name for name in header for mark in ";\t"):
        return "columns are separated by commas, not by semicolons or tabs"
    if missing:
        return f"no column {', '.join(missing)}; the first line names the columns: image,sentence[,mask][,value]"
    if len(set(header)) < len(header):
        return "a column comes twice"
    guess = [(name, difflib.get_close_matches(name, COLUMNS, 1, 0.75)) for name in unknown]
    typos = [f"{name!r} (did you mean {close[0]!r}?)" for name, close in guess if close]
    return f"unknown column {', '.join(typos)}" if typos else ""


def _row(root: Path, header: list[str], cells: list[str], line: int) -> Row | str:
    """The row, or what is wrong with it. Further columns are somebody's notes and left alone."""
    if len(cells) != len(header):
        hint = "; put a sentence that has commas in double quotes" if len(cells) > len(header) else ""
        return f"{len(cells)} columns, but the first line names {len(header)}{hint}"
    entry = dict(zip(header, cells, strict=True))
    if not entry["image"]:
        return "the image is empty"
    if not entry["sentence"]:
        return "the sentence is empty"
    image = root / "images" / entry["image"]
    if not image.is_file():
        return f"no picture {image}{_closest(image)}"
    if entry.get("mask"):
        mask = root / "masks" / entry["mask"]
    else:
        mask = (root / "masks" / entry["image"]).with_suffix(".png")
    if not mask.is_file():
        return f"no mask {mask}{_closest(mask)}"
    value = entry.get("value", "")
    if value and not (value.isascii() and value.isdecimal() and 0 < int(value) < 65536):
        return f"the value must be a whole number from 1 to 65535, not {value!r}"
    return Row(line, image, entry["sentence"], mask, int(value) if value else None)


def _closest(path: Path) -> str:
    names = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, names, 1, 0.6)
    return f" (did you mean {close[0]}?)" if close else ""


READS = {Scene: read}
