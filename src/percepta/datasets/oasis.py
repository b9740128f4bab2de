"""OASIS photographs with one caption each; masks beside them as in `flickr8k.py`. Kurdi et al. 2017.

How beautiful 657 people found them is from Brielmann & Pelli 2019.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from percepta.datasets import flickr8k
from percepta.datasets.captioned import Clip, picture_clips
from percepta.datasets.problem import Problem
from percepta.datasets.rater_tables import Tally, read_profiles
from percepta.datasets.ratings import Field, Study
from percepta.datasets.scene import Scene
from percepta.datasets.studies import OASIS_FIELDS, OASIS_SCALE
from percepta.datasets.tables import note, read_table, to_number
from percepta.files import file_named

NAME = "OASIS"
FILES = "images.csv (item,file,theme,caption), raters.csv and ratings.csv with images/"
SCALE = OASIS_SCALE
_GENDERS = {"1": "male", "2": "female", "3": "other"}
# Columns of raters.csv, in the order of the fields.
_TABLE = ("age", "gender", "education", "mood_1", "TEPS_ant", "TEPS_con")
COLUMNS: dict[str, Field] = dict(zip(_TABLE, OASIS_FIELDS, strict=True))


def is_one(root: Path) -> bool:
    """Whether images.csv or raters.csv is there."""
    return (root / "images.csv").is_file() or (root / "raters.csv").is_file()


def read(root: Path, problems: list[Problem] | None = None, warnings: list[Problem] | None = None) -> list[Scene]:
    """Every picture of `root` that has something marked; the caption's first sentence is its sentence.

    Args:
        root: folder of the set.
        problems: a list to add to; None: the first is raised.
        warnings: a list to add to; None: they are dropped.
    """
    rows = read_table(root / "images.csv", ("file", "caption"), problems=problems)
    captions = {file: [caption.split(".")[0].strip()] for _, (file, caption) in rows if file and caption.strip(" .")}
    return flickr8k.scenes(root, captions, "oasis", problems)


def study(root: Path, problems: list[Problem] | None = None, warnings: list[Problem] | None = None) -> Study:
    """Beauty scores 1..7 of ratings.csv with the people of raters.csv and the pictures of images.csv.

    Pictures that share a theme ("Acorns 1", "Acorns2") share a group.

    Args:
        root: the folder with the three tables.
        problems: see `tables.py`.
        warnings: see `tables.py`.

    Raises:
        MissingFileError: a table is missing.
        InputError: a table without its columns; a bad row where `problems` is None (see `tables.py`).
    """
    people, profiles = read_profiles(root / "raters.csv", "rater", COLUMNS, problems, codes={"gender": _GENDERS})
    items: dict[str, tuple[Path, str]] = {}
    files: set[str] = set()
    for line, (item, file, theme) in read_table(root / "images.csv", ("item", "file", "theme"), problems=problems):
        if not item or not file:
            note(problems, root / "images.csv", line, "the item or the file is empty")
        elif item in items or file in files:
            note(problems, root / "images.csv", line, f"item {item} or file {file!r} comes twice")
        else:
            files.add(file)
            picture = file_named(root / "images", file) or root / "images" / file
            items[item] = picture, re.sub(r"\s*\d+\s*$", "", theme).lower() or file
    who = {person: i for i, person in enumerate(people)}
    what = {item: i for i, item in enumerate(items)}
    path = root / "ratings.csv"
    strangers = Tally(path, problems)
    rows: list[tuple[int, int, float, int]] = []
    for line, (rater, item, text) in read_table(path, ("rater", "item", "score"), problems=problems):
        score = to_number(text)
        if rater not in who:
            strangers.add(line, f"rater {rater!r} is not in raters.csv")
        elif item not in what:
            strangers.add(line, f"item {item!r} is not in images.csv")
        elif score is None or not SCALE.has(score):
            note(problems, path, line, f"a score is {SCALE}, not {text!r}")
        else:
            rows.append((who[rater], what[item], SCALE.snap(score), line))
    strangers.close()
    rater, picture, score, line = zip(*rows, strict=True) if rows else ((),) * 4
    return Study(
        name="oasis",
        pictures=tuple(path for path, _ in items.values()),
        groups=tuple(group for _, group in items.values()),
        people=people,
        profiles=profiles,
        fields=tuple(COLUMNS.values()),
        scale=SCALE,
        rater=np.asarray(rater, np.int64),
        picture=np.asarray(picture, np.int64),
        score=np.asarray(score, np.float64),
        line=np.asarray(line, np.int64),
        source=path,
    )


def clips(root: Path, problems: list[Problem] | None = None, warnings: list[Problem] | None = None) -> list[Clip]:
    """The pictures with the first sentence of their captions, as `read` has them.

    `problems` gets what is wrong; without a list the first is raised.

    Args:
        root: folder of the set.
        problems: a list to add to; None: the first is raised.
        warnings: a list to add to; None: they are dropped.
    """
    table = root / "images.csv"
    captions: dict[str, list[str]] = {}
    lines: dict[str, int] = {}
    for line, (file, caption) in read_table(table, ("file", "caption"), problems=problems):
        if file and caption:
            captions[file], lines[file] = [caption.split(".")[0].strip()], line
    return picture_clips(root, captions, "oasis", table, lines, problems)


READS = {Scene: read, Study: study, Clip: clips}
