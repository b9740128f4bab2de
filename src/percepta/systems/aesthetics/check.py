"""Looks through a rating study or an album before it is used: what is there, what is wrong, what looks odd."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from percepta.contract import Progress
from percepta.datasets import album, layouts
from percepta.datasets.layouts import Found
from percepta.datasets.problem import Findings, Problem
from percepta.datasets.ratings import Study
from percepta.errors import InputError
from percepta.media import draw, image
from percepta.systems.aesthetics.data import only

MIN_RATINGS = 5  # ratings that a picture needs for a mean worth the name
_PEOPLE = {"para": "PARA-UserInfo.csv", "oasis": "raters.csv"}  # Study.name -> the table of people


class Report(Findings[tuple[Path, float, int]]):
    """What `check` found.

    Attributes:
        layout: NAME of the file that reads the folder.
        counts: "people", "pictures", "ratings" and "ratings per person (median)".
        examples: (picture, mean score, number of ratings) from the lowest to the highest mean, for `sheet`.
    """

    @property
    def ready(self) -> str:
        return "Ready to use." if self.layout == album.NAME else "Ready to train."

    def sheet(self, columns: int = 4, width: int = 1400) -> Image.Image:
        """Contact sheet of the examples, from the lowest to the highest mean, with the mean below.

        Raises:
            InputError: there is no good example to show.
        """
        if not self.examples:
            raise InputError(f"{self.root}: no picture that is rated and can be read")
        pictures = [image.read(path, long_side=640) for path, _, _ in self.examples]
        captions = [f"{mean:.2f} ({count} rating{'s' if count > 1 else ''})" for _, mean, count in self.examples]
        return draw.sheet(pictures, columns, width, captions)


def check(root: Path | str, *, examples: int = 12, progress: Progress | None = None) -> Report:
    """Reads every table and decodes every picture once.

    Args:
        root: folder with a rating study or an album, in one of the layouts of `datasets/`.
        examples: how many the contact sheet will show.
        progress: called with (pictures done, pictures in all).

    Raises:
        MissingFileError, InputError: no such folder; no known layout. What is wrong inside is in the report.
    """
    root = Path(root)
    if root.is_file():
        raise InputError(f"{root}: give the folder that holds the data, not a file in it")
    found = only(root, layouts.find(root, Study))
    is_album = found.set is album
    problems: list[Problem] = []
    warnings: list[Problem] = []
    study = _read(found, problems, warnings)
    if study is None:
        return Report(found.root, found.set.NAME, {}, tuple(problems), tuple(warnings))
    good = _decode(study, problems, progress)
    _duplicates(study, problems, warnings)
    _constant(study, warnings)
    _blank(study, warnings)
    mean, count = study.means()
    if not is_album and (few := int((count < MIN_RATINGS).sum())):
        text = f"{few:,} of {len(count):,} pictures have fewer than {MIN_RATINGS} ratings: their means say little"
        warnings.append(Problem(study.source or found.root, None, text))
    if not len(study.score) and not is_album and not problems:
        problems.append(Problem(study.source or found.root, None, "no ratings"))
    shown = [i for i in np.argsort(mean, kind="stable") if good[i] and count[i]]
    shown = [shown[k] for k in np.linspace(0, len(shown) - 1, min(examples, len(shown))).astype(int)]
    each = np.bincount(study.rater, minlength=len(study.people))
    counts = {
        "people": len(study.people),
        "pictures": len(study.pictures),
        "ratings": len(study.score),
        "ratings per person (median)": int(np.median(each)) if len(each) else 0,
    }
    chosen = tuple((study.pictures[i], float(mean[i]), int(count[i])) for i in shown)
    return Report(found.root, found.set.NAME, counts, _in_order(problems), _in_order(warnings), chosen)


def _read(found: Found[Study], problems: list[Problem], warnings: list[Problem]) -> Study | None:
    """The study; None where a file cannot be read at all, which is then a problem."""
    try:
        return found.read(found.root, problems, warnings)
    except (OSError, ValueError) as error:
        first = error.args[0] if error.args else None
        problems.append(first if isinstance(first, Problem) else Problem(found.root, None, str(error)))
        return None


def _decode(study: Study, problems: list[Problem], progress: Progress | None) -> list[bool]:
    """Which pictures can be read; the others are problems at the line of their first rating."""
    first: dict[int, int] = {}
    for picture, line in zip(study.picture.tolist(), study.line.tolist(), strict=True):
        first.setdefault(picture, line)
    good = []
    for i, path in enumerate(study.pictures):
        try:
            image.read(path, long_side=64)  # decodes all of it, so that a cut file is found
            good.append(True)
        except (OSError, ValueError) as error:
            good.append(False)
            reason = str(error).removeprefix(f"{path}: ")
            if i in first and study.source is not None:
                problems.append(Problem(study.source, first[i], f"{path}: {reason}"))
            else:
                problems.append(Problem(path, None, reason))
        if progress is not None:
            progress(i + 1, len(study.pictures))
    return good


def _duplicates(study: Study, problems: list[Problem], warnings: list[Problem]) -> None:
    """The same person and picture in two lines: a warning where the scores agree, else a problem."""
    pair = study.rater * max(1, len(study.pictures)) + study.picture
    _, first, which = np.unique(pair, return_index=True, return_inverse=True)
    for other in np.flatnonzero(first[which] != np.arange(len(pair))):
        one = first[which[other]]
        who, what = study.people[study.rater[other]], study.pictures[study.picture[other]].name
        same = study.score[one] == study.score[other]
        text = f"{who} rated {what} in line {study.line[one]} already"
        text += "" if same else f", {study.score[one]:g} there and {study.score[other]:g} here"
        (warnings if same else problems).append(Problem(study.source or Path(), int(study.line[other]), text))


def _constant(study: Study, warnings: list[Problem]) -> None:
    """People who gave every picture the same score: nothing can be learned about their taste."""
    count = len(study.people)
    low, high, line = np.full(count, np.inf), np.full(count, -np.inf), np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(low, study.rater, study.score)
    np.maximum.at(high, study.rater, study.score)
    np.minimum.at(line, study.rater, study.line)
    each = np.bincount(study.rater, minlength=count)
    for i in np.flatnonzero((each > 1) & (low == high)):
        who = "you" if study.name == "album" else study.people[i]
        text = f"{who} gave all {each[i]} pictures the score {low[i]:g}: no taste to learn from"
        warnings.append(Problem(study.source or Path(), int(line[i]), text))


def _blank(study: Study, warnings: list[Problem]) -> None:
    """Fields that most people left blank."""
    if study.name == "album" or study.source is None:
        return  # a profile of one's own says what it says
    for about in study.fields:
        blank = sum(about.name not in profile for profile in study.profiles)
        if study.people and 2 * blank > len(study.people):
            text = f"{about.name} is blank for {blank:,} of {len(study.people):,} people"
            warnings.append(Problem(study.source.with_name(_PEOPLE[study.name]), 1, text))


def _in_order(found: list[Problem]) -> tuple[Problem, ...]:
    return tuple(sorted(found, key=lambda p: (str(p.file), p.line is None, p.line or 0)))
