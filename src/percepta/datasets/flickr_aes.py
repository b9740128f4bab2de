"""FLICKR-AES: 40,988 photographs, five or more of 210 workers each. Ren et al., ICCV 2017; research use only.

The official layout, pictures in 40K/ or in any one folder:

    FLICKR-AES_image_labeled_by_each_worker.csv    worker, imagePair, score; one rating a row, 1..5
    FLICKR-AES_image_score.txt                     "picture score", a weighted mean in 0..1 (optional here)
    40K/<picture>

Nothing is known about the workers, and no split is published as a list: the paper names 173 workers for training and
37 for testing by their number only.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from jaxtyping import Float

from percepta.datasets.problem import Problem
from percepta.datasets.ratings import Study
from percepta.datasets.studies import FLICKR_AES_SCALE
from percepta.datasets.tables import note, read_table, to_number
from percepta.errors import InputError, MissingFileError
from percepta.files import listed, plain_text, read_lines, subfolders

TABLE = "FLICKR-AES_image_labeled_by_each_worker.csv"
NAME = "FLICKR-AES"
FILES = f"{TABLE} with 40K/"
SCALE = FLICKR_AES_SCALE
SCORES = "FLICKR-AES_image_score.txt"
_PICTURES = (".jpg", ".jpeg", ".png", ".webp")


def is_one(root: Path) -> bool:
    """Whether a folder holds the official table of ratings."""
    return (root / TABLE).is_file()


def study(root: Path, problems: list[Problem] | None = None, warnings: list[Problem] | None = None) -> Study:
    """All ratings. Every picture is a group of its own; `crowd["score"]` is the official weighted mean, 0..1.

    Args:
        root: the folder with the table of ratings.
        problems: see `tables.py`.
        warnings: see `tables.py`.

    Raises:
        MissingFileError: the table is missing, or no folder of pictures.
        InputError: a table without its columns; several folders that may hold the pictures; a bad row where `problems`
            is None (see `tables.py`).
    """
    folder = _folder(root)
    # Some copies have names that start with a space, in the tables or on the disk.
    files = {plain_text(path.name.strip()): path.name for path in folder.iterdir()}
    people: dict[str, int] = {}
    pictures: dict[str, int] = {}
    path = root / TABLE
    rows: list[tuple[int, int, float, int]] = []
    for line, (worker, name, text) in read_table(path, ("worker", "imagePair", "score"), problems=problems):
        score = to_number(text)
        if not worker or not name:
            note(problems, path, line, "the worker or the picture is empty")
        elif score is None or not SCALE.has(score):
            note(problems, path, line, f"a score is {SCALE}, not {text!r}")
        else:
            who, what = people.setdefault(worker, len(people)), pictures.setdefault(name, len(pictures))
            rows.append((who, what, SCALE.snap(score), line))
    rater, picture, score, line = zip(*rows, strict=True) if rows else ((),) * 4
    return Study(
        name="flickr-aes",
        pictures=tuple(folder / files.get(plain_text(name), name) for name in pictures),
        groups=tuple(pictures),
        people=tuple(people),
        profiles=tuple({} for _ in people),
        fields=(),
        scale=SCALE,
        rater=np.asarray(rater, np.int64),
        picture=np.asarray(picture, np.int64),
        score=np.asarray(score, np.float64),
        line=np.asarray(line, np.int64),
        crowd=_crowd(root / SCORES, pictures, problems),
        source=path,
    )


def _folder(root: Path) -> Path:
    """40K/, or else the one folder with pictures in it."""
    if (root / "40K").is_dir():
        return root / "40K"
    if not root.is_dir():
        raise MissingFileError(Problem(root, None, "no such folder"))
    folders = [folder for folder in subfolders(root) if next(listed(folder, endings=_PICTURES), None) is not None]
    if len(folders) == 1:
        return folders[0]
    if not folders:
        raise MissingFileError(Problem(root / "40K", None, "no such folder; it holds the pictures of FLICKR-AES"))
    names = ", ".join(p.name for p in folders)
    raise InputError(Problem(root, None, f"pictures in {names}: name the folder of FLICKR-AES 40K"))


def _crowd(
    path: Path, pictures: dict[str, int], problems: list[Problem] | None
) -> dict[str, Float[np.ndarray, "pictures"]]:
    if not path.is_file():
        return {}
    out = np.full(len(pictures), math.nan)
    for line, text in enumerate(read_lines(path, errors="replace"), 1):
        if not text.strip():
            continue
        name, *rest = text.strip().rsplit(None, 1)
        value = to_number(rest[0]) if rest else None
        if value is None:
            note(problems, path, line, f"expected a picture's name and a number, got {text.strip()[:60]!r}")
        elif name in pictures:
            out[pictures[name]] = value
    return {"score": out}


READS = {Study: study}
