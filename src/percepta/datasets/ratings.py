"""Rating studies: people who gave pictures scores, and what is known about the people. No torch, no pictures opened.

Every reader (`oasis`, `para`, `flickr_aes`, `album`) returns a `Study`. All of them take the two lists that `tables.py`
describes: `problems` and `warnings`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias, overload

import numpy as np
from jaxtyping import Float, Int

from percepta.datasets.tables import nearest, to_number
from percepta.errors import InputError

Number: TypeAlias = float | int  # shapes are checked at run time in tests, and there an int is no float
_CLOSE = 1e-6  # how far from the grid a score may lie: files hold 3.3000001


@dataclass(frozen=True)
class Scale:
    """The scores that a study allows: from `low` to `high` in steps; with step 0 any number between.

    Raises:
        InputError: not low < high, or a step that does not fit between them.
    """

    low: Number
    high: Number
    step: Number = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise InputError(f"a scale goes from a low to a high score, not from {self.low} to {self.high}")
        if not 0 <= self.step <= self.high - self.low:
            raise InputError(f"steps of {self.step} do not fit between {self.low} and {self.high}")

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}" + (f" in steps of {self.step:g}" if self.step else "")

    def has(self, score: Number) -> bool:
        """Whether the score is allowed, within 1e-6."""
        return math.isfinite(score) and abs(self.snap(score) - score) <= _CLOSE

    def snap(self, score: Number) -> float:
        """The nearest score that is allowed; the higher one of two.

        Raises:
            InputError: NaN.
        """
        if math.isnan(score):
            raise InputError("NaN is no score")
        score = min(max(score, self.low), self.high)
        if self.step == 0:
            return float(score)
        last = math.floor((self.high - self.low) / self.step + _CLOSE)
        k = min(math.floor((score - self.low) / self.step + 0.5 + 1e-9), last)
        return float(min(self.low + k * self.step, self.high))

    @overload
    def unit(self, score: Number) -> float: ...

    @overload
    def unit(self, score: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]: ...

    def unit(self, score: Number | Float[np.ndarray, "*n"]) -> float | Float[np.ndarray, "*n"]:
        """`low`..`high` to 0..1, one score or an array."""
        return (score - self.low) / (self.high - self.low)

    @overload
    def from_unit(self, value: Number) -> float: ...

    @overload
    def from_unit(self, value: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]: ...

    def from_unit(self, value: Number | Float[np.ndarray, "*n"]) -> float | Float[np.ndarray, "*n"]:
        """0..1 to `low`..`high`, not snapped."""
        return self.low + value * (self.high - self.low)


@dataclass(frozen=True)
class Field:
    """One thing known about a person.

    Attributes:
        name: key in a profile.
        kind: "number", or "choice": one of `choices`, in their order where they have one.
        choices: what may be chosen.
        low: the smallest number; NaN where it is not known.
        high: the largest number; NaN where it is not known.
    """

    name: str
    kind: Literal["number", "choice"]
    choices: tuple[str, ...] = ()
    low: Number = math.nan
    high: Number = math.nan

    def __str__(self) -> str:
        if self.kind == "choice":
            return "one of " + ", ".join(self.choices)
        return "a number" + ("" if math.isnan(self.low + self.high) else f" from {self.low:g} to {self.high:g}")

    def read(self, value: object) -> str | float:
        """A value from a file, as text or as a number; choices in any case.

        Raises:
            InputError: not one of the choices; no number; out of range. Says what was expected.
        """
        text = str(value).strip() if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
        if self.kind == "choice":
            for choice in self.choices:
                if text.casefold() == choice.casefold():
                    return choice
            raise InputError(f"{self.name}: expected {self}, got {value!r}{nearest(text, self.choices)}")
        number = to_number(text)
        if number is None or number < self.low or number > self.high:
            raise InputError(f"{self.name}: expected {self}, got {value!r}")
        return number


@dataclass(frozen=True, eq=False)  # arrays have no single answer to ==
class Study:
    """Scores of people for pictures.

    Attributes:
        name: "oasis", "para", "flickr-aes" or "album".
        pictures: the files, which need not exist.
        groups: one per picture; pictures of one group must stay on one side of a split.
        people: identifiers as the files have them.
        profiles: one per person: name of a field -> value; what is not known is left out.
        fields: what a profile may hold.
        scale: the scores that are allowed.
        rater: one per rating: index into `people`.
        picture: one per rating: index into `pictures`.
        score: one per rating.
        line: line of the rating in `source`, counted from 1.
        attributes: further numbers per rating, NaN where missing.
        crowd: numbers per picture that the official files state, NaN where missing.
        labels: for an attribute that is a choice: its names, in the order of the numbers 0, 1, ...
        source: the file of ratings.

    Raises:
        InputError: lengths that differ, indices out of range, a person or picture that comes twice.
    """

    name: str
    pictures: tuple[Path, ...]
    groups: tuple[str, ...]
    people: tuple[str, ...]
    profiles: tuple[Mapping[str, str | Number], ...]
    fields: tuple[Field, ...]
    scale: Scale
    rater: Int[np.ndarray, "n"]
    picture: Int[np.ndarray, "n"]
    score: Float[np.ndarray, "n"]
    line: Int[np.ndarray, "n"]
    attributes: Mapping[str, Float[np.ndarray, "n"]] = field(default_factory=dict)
    crowd: Mapping[str, Float[np.ndarray, "pictures"]] = field(default_factory=dict)
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    source: Path | None = None

    def __post_init__(self) -> None:
        n, pictures, people = len(self.score), len(self.pictures), len(self.people)
        lengths = [("groups", self.groups, pictures), ("profiles", self.profiles, people)]
        lengths += [("rater", self.rater, n), ("picture", self.picture, n), ("line", self.line, n)]
        lengths += [(f"attributes[{name!r}]", values, n) for name, values in self.attributes.items()]
        lengths += [(f"crowd[{name!r}]", values, pictures) for name, values in self.crowd.items()]
        for name, values, expected in lengths:
            if len(values) != expected:
                raise InputError(f"{self.name}: {name} has {len(values)} entries, expected {expected}")
        for name, index, count in (("rater", self.rater, people), ("picture", self.picture, pictures)):
            if n and (index.min() < 0 or index.max() >= count):
                raise InputError(f"{self.name}: {name} goes from {index.min()} to {index.max()}, of {count}")
        for name, values in (("people", self.people), ("pictures", self.pictures)):
            if len(set(values)) < len(values):
                raise InputError(f"{self.name}: one of the {name} comes twice")

    def matrix(self) -> Float[np.ndarray, "people pictures"]:
        """Scores as a table, NaN where there is none; of several ratings of a pair the mean."""
        shape = len(self.people), len(self.pictures)
        pair = self.rater.astype(np.int64) * shape[1] + self.picture
        return _means(pair, self.score, shape[0] * shape[1])[0].reshape(shape)

    def means(self) -> tuple[Float[np.ndarray, "pictures"], Int[np.ndarray, "pictures"]]:
        """Per picture the mean over its ratings (NaN without any) and their number."""
        return _means(self.picture, self.score, len(self.pictures))

    def subset(
        self,
        people: Sequence[int] | Int[np.ndarray, "a"] | None = None,
        pictures: Sequence[int] | Int[np.ndarray, "b"] | None = None,
    ) -> Study:
        """The study of these people and pictures alone, in this order, with the ratings between them.

        Args:
            people: indices; None: all.
            pictures: indices; None: all.

        Raises:
            InputError: an index out of range, or one that comes twice.
        """
        who = _chosen("people", people, len(self.people))
        what = _chosen("pictures", pictures, len(self.pictures))
        new_rater, new_picture = _inverse(who, len(self.people)), _inverse(what, len(self.pictures))
        rater, picture = new_rater[self.rater], new_picture[self.picture]
        keep = (rater >= 0) & (picture >= 0)
        return Study(
            name=self.name,
            pictures=tuple(self.pictures[i] for i in what),
            groups=tuple(self.groups[i] for i in what),
            people=tuple(self.people[i] for i in who),
            profiles=tuple(self.profiles[i] for i in who),
            fields=self.fields,
            scale=self.scale,
            rater=rater[keep],
            picture=picture[keep],
            score=self.score[keep],
            line=self.line[keep],
            attributes={name: values[keep] for name, values in self.attributes.items()},
            crowd={name: values[what] for name, values in self.crowd.items()},
            labels=self.labels,
            source=self.source,
        )


def _means(
    index: Int[np.ndarray, "n"], values: Float[np.ndarray, "n"], size: int
) -> tuple[Float[np.ndarray, "size"], Int[np.ndarray, "size"]]:
    count = np.bincount(index, minlength=size)
    total = np.bincount(index, weights=values, minlength=size)
    return np.divide(total, count, out=np.full(size, np.nan), where=count > 0), count


def _chosen(name: str, index: Sequence[int] | Int[np.ndarray, "a"] | None, count: int) -> Int[np.ndarray, "a"]:
    if index is None:
        return np.arange(count)
    chosen = np.asarray(index, dtype=np.int64).reshape(-1)
    if len(chosen) and (chosen.min() < 0 or chosen.max() >= count):
        raise InputError(f"{name} are numbered from 0 to {count - 1}, not {chosen.min()} to {chosen.max()}")
    if len(np.unique(chosen)) < len(chosen):
        raise InputError(f"one of the {name} is chosen twice")
    return chosen


def _inverse(chosen: Int[np.ndarray, "a"], count: int) -> Int[np.ndarray, "count"]:
    """Old index -> new one, -1 for what is left out."""
    out = np.full(count, -1)
    out[chosen] = np.arange(len(chosen))
    return out
