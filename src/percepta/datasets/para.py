"""PARA: 31,220 photographs rated by 438 people who are described. Yang et al., CVPR 2022; research use only.

The official layout, here or one folder down in PARA/:

    annotation/PARA-Images.csv      one row a rating: who, which picture, the score and twelve further judgements
    annotation/PARA-UserInfo.csv    one row a person
    annotation/PARA-GiaaTrain.csv   the official split by picture, with what the crowd said (optional here)
    annotation/PARA-GiaaTest.csv
    imgs/<sessionId>/<imageName>
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float

from percepta.datasets.problem import Problem
from percepta.datasets.rater_tables import Tally, read_profiles
from percepta.datasets.ratings import Number, Scale, Study
from percepta.datasets.studies import PARA_FIELDS, PARA_SCALE
from percepta.datasets.tables import note, read_columns, read_table, to_number
from percepta.errors import InputError

NAME = "PARA"
FILES = "annotation/PARA-Images.csv and PARA-UserInfo.csv with imgs/, here or in PARA/"
SCALE, FIELDS = PARA_SCALE, PARA_FIELDS
QUALITY = Scale(1, 5, 1)
_WHOLE = Scale(1, 5, 1)
# The eight scores beside the aesthetic one, in the order in which re-implementations put them into PIAA-MIR.
ATTRIBUTES = (
    "qualityScore",
    "compositionScore",
    "colorScore",
    "dofScore",
    "contentScore",
    "lightScore",
    "contentPreference",
    "willingnessToShare",
)
# Further judgements, which have other values: is the object emphasised; was it easy (-1), normal or difficult (1).
_FURTHER = {"isObjectEmphasis": Scale(0, 1, 1), "difficultyOfJudgment": Scale(-1, 1, 1)}
_NAMED = ("imgEmotion", "semantic")  # an emotion and a kind of scene, as words


def is_one(root: Path) -> bool:
    """Whether a folder, or PARA/ in it, has the official layout."""
    return (home(root) / "annotation").is_dir()


def home(root: Path) -> Path:
    """The folder that holds annotation/: `root`, or PARA/ in it."""
    return root / "PARA" if not (root / "annotation").is_dir() and (root / "PARA" / "annotation").is_dir() else root


def study(
    root: Path,
    problems: list[Problem] | None = None,
    warnings: list[Problem] | None = None,
    *,
    quality: Scale = QUALITY,
) -> Study:
    """All ratings, people and pictures. Pictures of one session share a group: the same people saw them.

    Attributes of a rating are `ATTRIBUTES` (1..5), isObjectEmphasis (0, 1), difficultyOfJudgment (-1, 0, 1), imgEmotion
    and semantic (numbers of `labels`). A further judgement that cannot be read is NaN and a warning. `crowd` holds
    every column of the official GIAA lists that ends in _mean, without that ending.

    Args:
        root: the official folder, or the one around it.
        problems, warnings: see `tables.py`.
        quality: qualityScore is snapped to this scale, and a warning says how often. Re-implementations round to whole
            numbers, as here; Scale(1, 5, 0.1) keeps the tenths that the official file is said to hold.

    Raises:
        MissingFileError: PARA-Images.csv or PARA-UserInfo.csv is missing.
        InputError: a table without its columns; a bad row where `problems` is None.
    """
    base = home(root)
    table = base / "annotation" / "PARA-UserInfo.csv"
    people, profiles = read_profiles(table, "userId", {about.name: about for about in FIELDS}, problems)
    who = {person: i for i, person in enumerate(people)}
    path = base / "annotation" / "PARA-Images.csv"
    rows = _Rows(path, quality, problems, [] if warnings is None else warnings)
    required = ("sessionId", "imageName", "userId", "aestheticScore", *ATTRIBUTES)
    for line, cells in read_table(path, required, (*_FURTHER, *_NAMED), problems=problems):
        rows.add(line, cells, who)
    rows.strangers.close()
    rows.mended.close()
    where = list(rows.pictures)
    labels, attributes = rows.attributes()
    return Study(
        name="para",
        pictures=tuple(base / "imgs" / session / name for session, name in where),
        groups=tuple(session or name for session, name in where),
        people=people,
        profiles=profiles,
        fields=FIELDS,
        scale=SCALE,
        rater=np.array(rows.rater, np.int64),
        picture=np.array(rows.picture, np.int64),
        score=np.array(rows.score, np.float64),
        line=np.array(rows.line, np.int64),
        attributes=attributes,
        crowd=_crowd(base, rows.pictures, problems),
        labels=labels,
        source=path,
    )


def official_split(root: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the pictures (imageName) of the official train and test list.

    Raises:
        MissingFileError, InputError: a list is missing or cannot be read; a picture is in both.
    """
    train, test = (
        tuple(name for _, (name, _) in read_table(path, ("imageName", "sessionId"))) for path in _lists(home(root))
    )
    if both := set(train) & set(test):
        first = min(both)
        raise InputError(Problem(_lists(home(root))[1], None, f"{first} and {len(both) - 1} more are in both lists"))
    return train, test


def trait_names(big_five: Literal["raw", "one-hot"] = "raw") -> tuple[str, ...]:
    """What the entries of `traits` mean: "gender=male", "personality-E", "personality-E=7"."""
    names = [f"{about.name}={choice}" for about in FIELDS for choice in about.choices]
    for about in FIELDS:
        if about.kind == "number":
            values = range(int(about.low), int(about.high) + 1)
            names += [about.name] if big_five == "raw" else [f"{about.name}={value}" for value in values]
    return tuple(names)


def traits(
    profile: Mapping[str, str | Number], big_five: Literal["raw", "one-hot"] = "raw"
) -> Float[np.ndarray, "traits"]:
    """A profile as numbers: one-hot age 5, gender 2, education 5, art 4 and photography 4, then personality E A N O C.

    Args:
        profile: of a `Study` of PARA, or in its form. What it leaves out is zeros.
        big_five: "raw": 1..10 as it is, 25 numbers in all; "one-hot": ten numbers each, 70 in all.

    Raises:
        InputError: a key or a value that no profile of PARA has; a personality that is no whole number for "one-hot".
    """
    if big_five not in ("raw", "one-hot"):
        raise InputError(f'big_five is "raw" or "one-hot", not {big_five!r}')
    if unknown := set(profile) - {about.name for about in FIELDS}:
        raise InputError(f"no field {', '.join(sorted(unknown))}; a profile has {', '.join(f.name for f in FIELDS)}")
    place = {name: i for i, name in enumerate(trait_names(big_five))}
    out = np.zeros(len(place), np.float32)
    for about in FIELDS:
        if about.name not in profile:
            continue
        value = about.read(profile[about.name])
        if isinstance(value, str):
            out[place[f"{about.name}={value}"]] = 1
        elif big_five == "raw":
            out[place[about.name]] = value
        elif value != int(value):
            raise InputError(f"{about.name}: one-hot needs a whole number from 1 to 10, got {value}")
        else:
            out[place[f"{about.name}={int(value)}"]] = 1
    return out


class _Rows:
    """Columns of PARA-Images.csv as they grow: 800,000 rows fit into arrays, not into lists of strings."""

    def __init__(self, path: Path, quality: Scale, problems: list[Problem] | None, warnings: list[Problem]) -> None:
        self.path, self.problems = path, problems
        self.strangers, self.mended = Tally(path, problems), Tally(path, warnings)
        self.rater, self.picture, self.line, self.score = array("q"), array("q"), array("q"), array("d")
        self.pictures: dict[tuple[str, str], int] = {}
        scales = dict.fromkeys(ATTRIBUTES, _WHOLE) | {"qualityScore": quality} | _FURTHER
        self.scales = list(scales.items())
        self.values = [array("f") for _ in scales]
        self.named = [array("i") for _ in _NAMED]
        self.names: list[dict[str, int]] = [{} for _ in _NAMED]
        # A few dozen texts make up millions of cells: each is read once.
        self.read_score: dict[str, float | None] = {}
        self.read: list[dict[str, tuple[float, str]]] = [{} for _ in scales]

    def add(self, line: int, cells: tuple[str, ...], who: Mapping[str, int]) -> None:
        session, name, person, text = cells[:4]
        if text not in self.read_score:
            number = to_number(text)
            self.read_score[text] = SCALE.snap(number) if number is not None and SCALE.has(number) else None
        score = self.read_score[text]
        if not name:
            note(self.problems, self.path, line, "the imageName is empty")
        elif person not in who:
            self.strangers.add(line, f"user {person!r} is not in PARA-UserInfo.csv")
        elif score is None:
            note(self.problems, self.path, line, f"an aestheticScore is {SCALE}, not {text!r}")
        else:
            self.rater.append(who[person])
            self.picture.append(self.pictures.setdefault((session, name), len(self.pictures)))
            self.line.append(line)
            self.score.append(score)
            self._further(line, cells[4:])

    def _further(self, line: int, cells: tuple[str, ...]) -> None:
        for i, values in enumerate(self.values):
            known = self.read[i]
            if cells[i] not in known:
                known[cells[i]] = _attribute(*self.scales[i], cells[i])
            value, warning = known[cells[i]]
            values.append(value)
            if warning:
                self.mended.add(line, warning)
        for values, names, word in zip(self.named, self.names, cells[len(self.values) :], strict=True):
            values.append(names.setdefault(word, len(names)) if word else -1)

    def attributes(self) -> tuple[dict[str, tuple[str, ...]], dict[str, Float[np.ndarray, "n"]]]:
        """Labels and values; words are numbered in alphabetical order. What no row has is left out."""
        out = {name: np.array(values, np.float32) for (name, _), values in zip(self.scales, self.values, strict=True)}
        labels = {}
        for column, values, names in zip(_NAMED, self.named, self.names, strict=True):
            if names:
                labels[column] = tuple(sorted(names))
                rank = {name: i for i, name in enumerate(labels[column])}
                order = np.array([*(rank[name] for name in names), math.nan], np.float32)  # nan: place -1, no word
                out[column] = order[np.array(values, np.int64)]
        return labels, {name: values for name, values in out.items() if name in ATTRIBUTES or np.isfinite(values).any()}


def _attribute(name: str, scale: Scale, text: str) -> tuple[float, str]:
    """The value, NaN where there is none, and what has to be said about it."""
    number = to_number(text) if text else None
    if number is None:
        return math.nan, f"{name} is {scale}, not {text!r}: left out" if text else ""
    if scale.has(number):
        return scale.snap(number), ""
    if name == "qualityScore" and scale.low <= number <= scale.high:
        return scale.snap(number), f"{name} off the grid ({scale}): rounded"
    return math.nan, f"{name} is {scale}, not {text!r}: left out"


def _lists(base: Path) -> tuple[Path, Path]:
    return base / "annotation" / "PARA-GiaaTrain.csv", base / "annotation" / "PARA-GiaaTest.csv"


def _crowd(
    base: Path, pictures: Mapping[tuple[str, str], int], problems: list[Problem] | None
) -> dict[str, Float[np.ndarray, "pictures"]]:
    """Means over all people as the official lists state them, NaN for pictures in neither."""
    out: dict[str, Float[np.ndarray, "pictures"]] = {}
    for path in _lists(base):
        if not path.is_file():
            continue
        means = [name for name in read_columns(path, ("sessionId", "imageName")) if name.endswith("_mean")]
        for line, (session, name, *cells) in read_table(path, ("sessionId", "imageName", *means), problems=problems):
            place = pictures.get((session, name))
            if place is None:
                continue  # a list may name pictures whose ratings are not here
            for column, text in zip(means, cells, strict=True):
                value = to_number(text) if text else math.nan
                if value is None:
                    note(problems, path, line, f"{column} is a number, not {text!r}")
                else:
                    values = out.setdefault(column.removesuffix("_mean"), np.full(len(pictures), math.nan))
                    values[place] = value
    return out


READS = {Study: study}
