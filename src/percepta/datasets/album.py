"""Somebody's own album: a folder of pictures, what they gave them, and if they like what they say about themselves.

    *.jpg, *.png, ...     the pictures, in the folder itself
    ratings.csv           file,score
                          beach.jpg,4
    profile.json          {"age": 34, "gender": "female"}

Reading changes nothing in the folder. Names match whatever way their accents are encoded: macOS writes é as two
characters, a spreadsheet as one.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from percepta.datasets.problem import Problem, problem_of
from percepta.datasets.ratings import Field, Number, Scale, Study
from percepta.datasets.studies import OASIS_FIELDS
from percepta.datasets.tables import nearest, note, read_table, to_number
from percepta.errors import InputError, MissingFileError
from percepta.files import PICTURE_SUFFIXES, listed, plain_text, write_atomically
from percepta.formats import kind_of, read_json, short

NAME = "an album of your own"
FILES = "pictures, and ratings.csv (file,score) where some are rated"
RATINGS = "ratings.csv"
PROFILE = "profile.json"
STARS = Scale(1, 5, 0.5)
_GUESSES = 20  # names suggested for names that are unknown; each compares with the whole album


def is_one(root: Path) -> bool:
    """Whether a folder holds pictures, or ratings of pictures."""
    return root.is_dir() and ((root / RATINGS).is_file() or bool(pictures(root)))


def pictures(album: Path) -> tuple[Path, ...]:
    """The pictures in the folder itself, sorted by name, with numbers as numbers.

    Raises:
        MissingFileError, NotADirectoryError: no such folder; a file.
    """
    if not album.exists():
        raise MissingFileError(Problem(album, None, "no such folder; give the folder that holds the pictures"))
    if not album.is_dir():
        raise NotADirectoryError(Problem(album, None, "a file; give the folder that holds the pictures"))
    return tuple(listed(album, endings=PICTURE_SUFFIXES))


def read_ratings(
    path: Path,
    names: Collection[str] | None,
    scale: Scale,
    problems: list[Problem] | None = None,
    warnings: list[Problem] | None = None,
) -> dict[str, float]:
    """File name -> score, in the order of the table.

    Args:
        path: a table with the columns file and score, in any form that `tables.read_table` takes; "3,5" is 3.5.
        names: files that exist: keys are spelled as they are here. None: any name, spelled as in the table.
        scale: the scores that are allowed.
        problems, warnings: see `tables.py`. A file that is rated twice alike is a warning, differently a problem (the
            first rating is kept).

    Raises:
        MissingFileError, InputError: no such table; no such columns; a bad row where `problems` is None.
    """
    return {name: score for name, (score, _) in _read(path, names, scale, problems, warnings).items()}


def write_ratings(path: Path, ratings: Mapping[str, Number]) -> None:
    """Writes file name -> score, so that a crash or kill -9 at any moment leaves the old file or the new one, whole.

    A kill may leave a hidden file behind, which `files.remove_leftovers` takes away. Of two writers at once the later
    one wins.

    Raises:
        InputError: an empty name, one that is not Unicode, a score that is not finite.
        OSError: the folder cannot be written to; the old file is then as it was.
    """
    for name, score in ratings.items():
        if not name or "\0" in name or name != name.encode("utf-8", "ignore").decode("utf-8"):
            raise InputError(f"{name!r} cannot be written as the name of a file in UTF-8; rename the file")
        if not math.isfinite(score):
            raise InputError(f"{name}: a score is a finite number, not {score}")
    target = Path(os.path.realpath(path))  # the rename must not put a file in the place of a link
    if not target.parent.is_dir():
        raise MissingFileError(f"{target.parent}: no such folder, so that {target.name} cannot be written")
    rows = [f"{_quoted(name)},{_plain(score)}\n" for name, score in ratings.items()]
    write_atomically(target, "file,score\n" + "".join(rows))
    _sync_folder(target.parent)


def need_variety(ratings: Mapping[str, Number]) -> None:
    """Ratings that are all alike say nothing about a taste.

    Raises:
        InputError: fewer than two different scores.
    """
    different = set(ratings.values())
    if len(different) < 2:
        what = "no ratings" if not ratings else f"{len(ratings)} rating(s), all {_plain(next(iter(different)))}"
        raise InputError(f"expected at least 2 different scores to learn from, got {what}; rate some more pictures")


def read_profile(path: Path, fields: Sequence[Field]) -> dict[str, str | float]:
    """What somebody says about themselves; null and what is not there are left out.

    Args:
        path: a JSON object, name of a field -> value.
        fields: what may be there.

    Raises:
        MissingFileError: no such file.
        InputError: no JSON object; a key that is no field (names those that are); a value that does not fit.
    """
    if not path.is_file():
        raise MissingFileError(Problem(path, None, 'no such file; a profile is a JSON object like {"age": 34}'))
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(Problem(path, None, f"expected a JSON object, got {kind_of(content)}"))
    known = {about.name: about for about in fields}
    out: dict[str, str | float] = {}
    for name, value in content.items():
        if name not in known:
            valid = ", ".join(known) or "nothing"
            raise InputError(
                Problem(path, None, f"no field {short(name)}{nearest(name[:200], known)}; a profile may hold {valid}")
            )
        if value is not None:
            try:
                out[name] = known[name].read(value)
            except ValueError as error:
                raise InputError(Problem(path, None, str(error))) from None
    return out


def study(
    album: Path,
    problems: list[Problem] | None = None,
    warnings: list[Problem] | None = None,
    *,
    scale: Scale = STARS,
    fields: Sequence[Field] = (),
) -> Study:
    """The album as a study with one person, "me", and every picture, rated or not; each is a group of its own.

    Args:
        album: the folder. Without ratings.csv there are no ratings.
        problems, warnings: see `tables.py`.
        scale: the scores that are allowed.
        fields: what profile.json may hold; where none are given it is not read.

    Raises:
        MissingFileError: no such folder.
        InputError: a table without its columns; a bad row or a bad profile where `problems` is None.
    """
    files = pictures(album)
    place = {path.name: i for i, path in enumerate(files)}
    table = album / RATINGS
    rows = _read(table, place, scale, problems, warnings) if table.is_file() else {}
    profile: dict[str, str | float] = {}
    if fields and (album / PROFILE).is_file():
        try:
            profile = read_profile(album / PROFILE, fields)
        except ValueError as error:
            if problems is None:
                raise
            problems.append(problem_of(album / PROFILE, error))
    return Study(
        name="album",
        pictures=files,
        groups=tuple(place),
        people=("me",),
        profiles=(profile,),
        fields=tuple(fields),
        scale=scale,
        rater=np.zeros(len(rows), np.int64),
        picture=np.array([place[name] for name in rows], np.int64),
        score=np.array([score for score, _ in rows.values()], np.float64),
        line=np.array([line for _, line in rows.values()], np.int64),
        source=table,
    )


def _read(
    path: Path,
    names: Collection[str] | None,
    scale: Scale,
    problems: list[Problem] | None,
    warnings: list[Problem] | None,
) -> dict[str, tuple[float, int]]:
    """File name -> (score, line)."""
    composed = None if names is None else {plain_text(name): name for name in names}
    out: dict[str, tuple[float, int]] = {}
    strangers = 0
    for line, (written, text) in read_table(path, ("file", "score"), strip=False, problems=problems):
        name = _known(written, names, composed)
        score = to_number(text)
        if score is None:
            score = to_number(text.replace(",", "."))
        if not written.strip():
            note(problems, path, line, "the file is empty")
        elif name is None:
            strangers += 1
            guess = nearest(written.strip(), names or ()) if strangers <= _GUESSES else ""
            note(problems, path, line, f"no picture {written.strip()!r} in the album{guess}")
        elif score is None or not scale.has(score):
            note(problems, path, line, f"a score is a number from {scale}, not {text.strip()!r}")
        elif name not in out:
            out[name] = scale.snap(score), line
        elif out[name][0] == scale.snap(score):
            if warnings is not None:
                note(warnings, path, line, f"{name!r} has the same score in line {out[name][1]} already")
        else:
            first, where = out[name]
            text = f"{name!r} has score {_plain(score)} here and {_plain(first)} in line {where}; keep one of them"
            note(problems, path, line, text)
    return out


def _known(written: str, names: Collection[str] | None, composed: Mapping[str, str] | None) -> str | None:
    """The file that a name in the table means: the very name, or but for spaces around it and composed accents."""
    if names is None or composed is None or written in names:
        return written
    for form in (written, written.strip()):
        if (found := composed.get(plain_text(form))) is not None:
            return found
    return None


def _quoted(name: str) -> str:
    """A cell of the table. csv.writer leaves a lone carriage return bare, which then ends the row."""
    if any(mark in name for mark in ',;\t"\r\n') or name != name.strip():
        return '"' + name.replace('"', '""') + '"'
    return name


def _plain(score: Number) -> str:
    """4, 3.5: as few digits as bring the same number back."""
    return str(int(score)) if float(score).is_integer() and abs(score) < 1e15 else repr(float(score))


def _sync_folder(folder: Path) -> None:
    """Brings the rename to the disk where a folder can be opened for that; Windows has no such call."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _described(album: Path, problems: list[Problem] | None = None, warnings: list[Problem] | None = None) -> Study:
    """The study with a profile in the words of OASIS, as the people have it whose scores ship with the package."""
    return study(album, problems, warnings, fields=OASIS_FIELDS)


READS = {Study: _described}
