"""Tables in text files, as spreadsheets and programs of all kinds write them. All readers of tables stand on this one.

Two lists go through all of them:

    problems    None: the first bad row raises InputError with file and line. A list: it is noted there and left out.
    warnings    None: dropped. A list: what was mended or looks odd is noted there.

What makes a file unreadable as a whole (missing, no such column, not UTF-8) raises in either case; the exception's
first argument is then the `Problem`.
"""

from __future__ import annotations

import csv
import difflib
import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from percepta.datasets.problem import Problem
from percepta.errors import InputError, MissingFileError
from percepta.files import check_regular

MARKS = ",;\t"


def note(problems: list[Problem] | None, file: Path, line: int | None, message: str) -> None:
    """Adds to the list; without a list raises InputError, whose first argument is the `Problem`.

    Args:
        problems: the list; None: raise.
        file: where it is.
        line: counted from 1; None where lines mean nothing.
        message: what is wrong.
    """
    problem = Problem(file, line, message)
    if problems is None:
        raise InputError(problem)
    problems.append(problem)


def to_number(text: str) -> float | None:
    """A finite number, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def columns_found(names: Iterable[str | None] | None) -> str:
    """The columns that a table has, for the message where one is missing; at most twelve."""
    found = [name.strip() for name in names or () if name and name.strip()]
    more = f" and {len(found) - 12} more" if len(found) > 12 else ""
    return ", ".join(found[:12]) + more or "none"


def check_columns(path: Path, names: Iterable[str | None] | None, required: Sequence[str]) -> None:
    """Raises InputError where the first line of a table lacks columns: names them and those that there are.

    Args:
        path: of the table.
        names: of its columns.
        required: those that it must have.
    """
    names = list(names or ())
    if missing := [name for name in required if name not in names]:
        raise InputError(f"{path}, line 1: no column {', '.join(missing)}; it has {columns_found(names)}")


def nearest(name: str, names: Collection[str]) -> str:
    """The end of a message, " (did you mean X?)"; empty where no name comes close."""
    close = difflib.get_close_matches(name, names, 1, 0.6) if name else []
    return f" (did you mean {close[0]!r}?)" if close else ""


def read_table(
    path: Path,
    required: Sequence[str],
    optional: Sequence[str] = (),
    *,
    strip: bool = True,
    ragged: bool = False,
    problems: list[Problem] | None = None,
) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Rows of a CSV as (line, cells of the required and then of the optional columns).

    UTF-8 with or without a byte order mark; separated by commas, semicolons or tabs, whichever makes the header fit, or
    by what the line "sep=;" says that Excel writes first. Columns are found by name, in any case and with spaces
    around. Blank lines are passed over.

    Args:
        path: the file; its first line names the columns.
        required: columns that must be there.
        optional: columns that may be missing: their cells are then empty.
        strip: take spaces off both ends of every cell.
        ragged: rows may have more or fewer cells than the first; otherwise those are bad.
        problems: see the top of this file.

    Raises:
        MissingFileError: no such file.
        InputError: an empty file, a missing column, text that is not UTF-8; a bad row where `problems` is None.
    """
    with _open(path, required) as file:
        try:
            header, mark, first = _header(path, file, required)
            known = [name.lower() for name in header]
            places = [known.index(name.lower()) if name.lower() in known else -1 for name in (*required, *optional)]
            reader = csv.reader(file, delimiter=mark, strict=True)
            while True:
                line = reader.line_num + first  # where the row starts: a quoted cell may hold line breaks
                try:
                    cells = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    note(problems, path, line, f"not a row of a CSV ({error}); look for a quote too many")
                    return
                if len(cells) != len(header) and ragged and cells:
                    cells = (cells + [""] * len(header))[: len(header)]
                if len(cells) == len(header):
                    cells.append("")  # what the place -1 of a missing column finds
                    row = [cells[place] for place in places]
                    yield line, tuple([cell.strip() for cell in row] if strip else row)
                elif any(cell.strip() for cell in cells):
                    hint = f"; put a text that has {mark!r} in it in double quotes" if len(cells) > len(header) else ""
                    note(problems, path, line, f"{len(cells)} columns, but the first line names {len(header)}{hint}")
        except UnicodeDecodeError:
            raise _not_utf8(path) from None


def read_columns(path: Path, required: Sequence[str]) -> list[str]:
    """Names of a table's columns as they are written; takes and raises what `read_table` does."""
    with _open(path, required) as file:
        try:
            return _header(path, file, required)[0]
        except UnicodeDecodeError:
            raise _not_utf8(path) from None


def has_column(path: Path, name: str) -> bool:
    """Whether a table has a column; False for what is no table."""
    try:
        return name in [column.lower() for column in read_columns(path, (name,))]
    except (OSError, InputError):
        return False


def _open(path: Path, required: Sequence[str]) -> TextIO:
    if not path.is_file():
        if path.exists():
            check_regular(path)
        text = f"no such file; expected a table with columns {', '.join(required)}"
        raise MissingFileError(Problem(path, None, text))
    return path.open(encoding="utf-8-sig", newline="")


def _header(path: Path, file: TextIO, required: Sequence[str]) -> tuple[list[str], str, int]:
    """Names of the columns as they are written, the mark between them, and the line after them."""
    text, line, marks = file.readline(), 1, MARKS
    if text[:4].lower() == "sep=" and len(text.strip("\r\n")) == 5:
        marks, text, line = text[4], file.readline(), 2
    missing = list(required)
    for mark in marks:
        try:
            names = [name.strip() for name in next(csv.reader([text], delimiter=mark), [])]
        except csv.Error as error:
            raise InputError(Problem(path, line, f"not the names of columns ({error})")) from None
        known = [name.lower() for name in names]
        lacking = [name for name in required if name.lower() not in known]
        if not lacking:
            twice = [name for name in required if known.count(name.lower()) > 1]
            if twice:
                raise InputError(Problem(path, line, f"column {twice[0]} comes twice"))
            return names, mark, line + 1
        if len(lacking) < len(missing):
            missing = lacking
    listed = ", ".join(required)
    if not text.strip():
        raise InputError(Problem(path, line, f"no header; the first line names the columns: {listed}"))
    # Cut by the mark that gives most columns: which one the table has nobody says.
    found = max((next(csv.reader([text], delimiter=mark), []) for mark in marks), key=len)
    text = f"no column {', '.join(missing)}; the first line names the columns and must hold {listed}; it has "
    text += columns_found(found)
    raise InputError(Problem(path, line, text))


def _not_utf8(path: Path) -> InputError:
    """The error, with the line of the first byte that is not UTF-8."""
    data, line = path.read_bytes(), None
    try:
        data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
    return InputError(Problem(path, line, "not UTF-8 text; save the table as UTF-8"))
