"""An album: pictures whose features are computed once, then ranked for one person, asked about and explained.

    album = percepta.load("aesthetics").session("holidays", ratings="holidays/ratings.csv")
    for result in album.ranking()[:10]:
        print(result.name, result.score, result.deviation)

Nothing in the album's folder is written. What stays in memory is a row of features for each picture, 15 kB.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from percepta.contract import weights_hash
from percepta.datasets.album import need_variety
from percepta.datasets.ratings import Number, Scale
from percepta.datasets.tables import nearest
from percepta.errors import InputError, InputTypeError
from percepta.files import write_atomically
from percepta.media import image as media
from percepta.media.draw import Shown, write_picture
from percepta.systems.aesthetics import taste
from percepta.systems.aesthetics.model import AestheticsNetwork, Person, in_parallel
from percepta.systems.aesthetics.traits import traits
from percepta.systems.aesthetics.why import Reason, reasons

THUMBNAIL_PX = 480  # of a thumbnail's longer side
MAX_CANDIDATES = 1000  # unrated pictures among which `ask` chooses
_BAR, _INK, _FAINT, _MARK = (24, 26, 31), (245, 246, 248), (140, 147, 160), (255, 200, 40)

Stored = Path | UInt8[np.ndarray, "h w 3"]


@dataclass(frozen=True, repr=False)
class Result(Shown):
    """How much somebody will like a picture.

    Attributes:
        name: of the picture in the album.
        score: expected, in the scale of the ratings; may lie a little beyond its ends.
        deviation: standard deviation of what the person thinks around it; NaN where the model knows none.
        crowd: what the model expects of nobody in particular.
        low: the lowest score of the scale.
        high: the highest score of the scale.
        source: the picture's file, or a thumbnail of what was given.
        weights: hash of the weights that gave the answer.
    """

    name: str
    score: float
    deviation: float
    crowd: float
    low: float
    high: float
    source: Stored
    weights: str = ""

    @property
    def picture(self) -> UInt8[np.ndarray, "h w 3"]:
        """The picture, RGB, at most 480 pixels long; read when it is asked for.

        Raises:
            MissingFileError, InputError: the file is gone, or another by now.
        """
        return thumbnail(self.source) if isinstance(self.source, Path) else self.source

    def __repr__(self) -> str:
        return f"Result({self.name} {self.text})"

    @property
    def text(self) -> str:
        """The answer in words: "4.2 ± 0.5"."""
        return f"{self.score:.1f}" + ("" if math.isnan(self.deviation) else f" ± {self.deviation:.1f}")

    def draw(self) -> Image.Image:
        """The picture, and below it where the score, its deviation and the crowd's score lie on the scale."""
        picture = Image.fromarray(self.picture)
        width, height = max(picture.width, 160), 44
        out = Image.new("RGB", (width, picture.height + height), _BAR)
        out.paste(picture, ((width - picture.width) // 2, 0))
        pen, font, top = ImageDraw.Draw(out), ImageFont.load_default(13), picture.height
        pen.text((10, top + 12), self.text, _INK, font, anchor="lm")
        pen.text((width - 10, top + 12), f"crowd {self.crowd:.1f}", _FAINT, font, anchor="rm")

        def place(score: float) -> float:
            share = (score - self.low) / (self.high - self.low)
            return 10 + (width - 20) * min(max(share, 0.0), 1.0)

        y = top + 31
        pen.line((10, y, width - 10, y), (62, 67, 77), 3)
        if not math.isnan(self.deviation):
            pen.line((place(self.score - self.deviation), y, place(self.score + self.deviation), y), (160, 130, 40), 7)
        x = place(self.crowd)
        pen.line((x, y - 7, x, y + 7), _FAINT, 2)
        x = place(self.score)
        pen.ellipse((x - 6, y - 6, x + 6, y + 6), _MARK)
        return out

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: name, score, deviation, the crowd's score, ends of the scale, weights."""
        row = {key: getattr(self, key) for key in ("name", "score", "deviation", "crowd", "low", "high", "weights")}
        row["deviation"] = None if math.isnan(self.deviation) else self.deviation
        return row

    def save(self, path: Path | str) -> Path:
        """Writes the drawing as a PNG and beside it `to_dict` as JSON; returns where the drawing is."""
        path = Path(path)
        if path.suffix.lower() != ".png":
            path = path.with_name(f"{path.name}.png")
        return write_picture(path, self.draw(), self.to_dict())


class Album:
    """Pictures and one person's taste; made by `predict.open_album`.

    Attributes:
        files: names of the pictures that could be read, in the order of the album.
        skipped: (name, reason) of those that could not.
        scale: of the ratings and of every score that comes out.
        profile: what the person says about themselves.
        ratings: name -> score, as they were given.
        note: a sentence where the ratings do not tell a taste yet, else "".
        cached: how many pictures had their features in the cache.
    """

    def __init__(
        self,
        model: AestheticsNetwork,
        sources: Mapping[str, Stored],
        features: Float[Tensor, "n d"],
        skipped: Sequence[tuple[str, str]],
        scale: Scale,
        profile: Mapping[str, str | Number],
        cached: int = 0,
    ) -> None:
        self.files, self.skipped = tuple(sources), tuple(skipped)
        self.scale, self.profile, self.cached = scale, dict(profile), cached
        self.ratings: dict[str, float] = {}
        self.note = ""
        self._model, self._sources = model, dict(sources)
        self._place = {name: index for index, name in enumerate(self.files)}
        with torch.no_grad():
            self._features, self._attributes = model.normalise(features), model.attributes(features)
        who = traits(self.profile, model.config.fields) if self.profile else None
        self._traits = None if who is None else torch.from_numpy(who).to(features)
        self._nobody = model.head.person(None, self._features[:0], self._attributes[:0], self._features.new_zeros(0))
        self._person = self._adapt({})
        self._crowd = self._numbers(self._nobody)[0]
        self._answers: tuple[np.ndarray, np.ndarray] | None = None

    def rate(self, ratings: Mapping[str, Any], *, replace: bool = False) -> None:
        """Takes in ratings: milliseconds.

        With fewer than two different scores there is no taste to learn from; answers are then those without ratings,
        and `note` says so.

        Args:
            ratings: name -> score in `scale`; None takes a rating away. Pictures that were skipped may be among them.
            replace: forget the ratings before.

        Raises:
            InputError: a name that is no picture of the album; no score of the scale. Nothing is changed then.
        """
        known = {*self.files, *(name for name, _ in self.skipped)}
        check_ratings(ratings, known, self.scale)
        merged = {**({} if replace else self.ratings), **ratings}
        kept = {name: float(score) for name, score in merged.items() if score is not None}
        usable = {name: score for name, score in kept.items() if name in self._place}
        try:
            need_variety(usable)
            note = ""
        except InputError as error:
            usable, note = {}, str(error)
        [self._person] = in_parallel(lambda _: self._adapt(usable), 1)
        self.ratings, self.note, self._answers = kept, note, None

    def results(self) -> list[Result]:
        """A result for each picture, in the order of the album."""
        scores, deviations = self._scores()
        low, high, weights = float(self.scale.low), float(self.scale.high), weights_hash(self._model)
        return [
            Result(name, float(score), float(deviation), float(crowd), low, high, self._sources[name], weights)
            for name, score, deviation, crowd in zip(self.files, scores, deviations, self._crowd, strict=True)
        ]

    def ranking(self) -> list[Result]:
        """Results, the picture that the person will like best first."""
        return sorted(self.results(), key=lambda result: -result.score)

    def ask(self, count: int = 10) -> list[str]:
        """Unrated pictures whose rating would tell most about this person, the most useful first.

        Each is chosen with those before it taken for rated, so that of pictures that are nearly alike only one comes
        early. A model without a covariance between pictures asks for the most uncertain, and without any uncertainty
        for pictures spread over the scale. Of a large album, a thousand of the unrated pictures are considered.
        """
        unrated = [index for name, index in self._place.items() if name not in self.ratings]
        if len(unrated) > MAX_CANDIDATES:
            unrated = [
                unrated[round(step * (len(unrated) - 1) / (MAX_CANDIDATES - 1))] for step in range(MAX_CANDIDATES)
            ]
        if not unrated or count < 1:
            return []
        person = self._person
        if isinstance(person, taste.Person):
            [chosen] = in_parallel(lambda _: person.choose(self._features[unrated], count), 1)
        else:
            scores, deviations = self._scores()
            chosen = _uncertain(scores[unrated], deviations[unrated], count)
        return [self.files[unrated[index]] for index in chosen]

    def why(self, name: str, count: int = 6) -> list[Reason]:
        """What raised or lowered a picture's score for this person, in points of the scale; see `why.py`.

        Raises:
            InputError: no such picture.
            MissingFileError: its file is gone.
        """
        if name not in self._place:
            raise InputError(f"no picture {name!r} in the album{nearest(name, self.files)}")
        return self.explain([name], count)[0]

    def explain(self, chosen: Sequence[str], count: int = 6) -> list[list[Reason]]:
        """`why` for several pictures of the album at once."""
        points, model = points_per_point(self._model, self.scale), self._model

        def explain(index: int) -> list[Reason]:
            image = media.squeeze_square(self._sources[chosen[index]], model.config.size).to(self._features.device)
            return reasons(model, image, self._person, self._nobody, points, count)

        return list(in_parallel(explain, len(chosen)))

    def save(self, out: Path | str) -> Path:
        """Writes ranking.csv into a folder, whole or not at all: file, score, deviation, crowd, rated, rank.

        For a page of pictures: report.Page(title, page.album_blocks(album)).write(path); see `page.py`.
        """
        rows = io.StringIO(newline="")
        table = csv.writer(rows, lineterminator="\n")
        table.writerow(("file", "score", "deviation", "crowd", "rated", "rank"))
        for rank, result in enumerate(self.ranking(), start=1):
            numbers = (f"{value:.4f}" for value in (result.score, result.deviation, result.crowd))
            rated = self.ratings.get(result.name)
            table.writerow((result.name, *numbers, "" if rated is None else f"{rated:g}", rank))
        return write_atomically(Path(out) / "ranking.csv", rows.getvalue())

    def _adapt(self, ratings: Mapping[str, float]) -> Person:
        """The head's person after ratings that tell something, or none."""
        rows = [self._place[name] for name in ratings]
        given = np.array([self.scale.unit(score) for score in ratings.values()], np.float64)
        scores = torch.from_numpy(self._model.config.scale.from_unit(given)).to(self._features)
        with torch.enable_grad():  # heads without a closed form take steps of gradient descent
            return self._model.head.person(self._traits, self._features[rows], self._attributes[rows], scores)

    def _scores(self) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        if self._answers is None:
            [self._answers] = in_parallel(lambda _: self._numbers(self._person), 1)
        return self._answers

    def _numbers(self, person: Person) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """Scores and deviations in `scale`."""
        mean, deviation = (v.double().cpu().numpy() for v in person.predict(self._features, self._attributes))
        unit = self._model.config.scale.unit(mean)
        return self.scale.from_unit(unit), deviation * points_per_point(self._model, self.scale)


def thumbnail(source: media.Source) -> UInt8[np.ndarray, "h w 3"]:
    """A picture from anything, at most 480 pixels long."""
    return np.array(media.to_pil(media.read(source, long_side=THUMBNAIL_PX)))


def check_ratings(ratings: Mapping[str, Any], names: Collection[str], scale: Scale) -> None:
    """Raises InputError where a rating names no picture, or is none of the scale.

    Args:
        ratings: name -> score, or None.
        names: of the pictures that may be rated.
        scale: the scores that are allowed.
    """
    if not isinstance(ratings, Mapping):
        raise InputTypeError(f"ratings are {{name: score}}; got {type(ratings).__name__}")
    for name, score in ratings.items():
        if name not in names:
            raise InputError(f"a rating of {name!r}, which is no picture of the album{nearest(name, names)}")
        number = isinstance(score, Real) and not isinstance(score, bool)
        if score is not None and not (number and scale.has(float(score))):
            raise InputError(f"{name}: a score is a number from {scale}, not {score!r}")


def points_per_point(model: AestheticsNetwork, scale: Scale) -> float:
    """Points of `scale` in one point of the study's scale."""
    study = model.config.scale
    return (scale.high - scale.low) / (study.high - study.low)


def _uncertain(scores: Float[np.ndarray, " n"], deviations: Float[np.ndarray, " n"], count: int) -> list[int]:
    """The largest deviations; where they do not differ, scores spread over their range."""
    count = min(count, len(scores))
    if np.isfinite(deviations).all() and np.ptp(deviations) > 1e-6:
        return [int(index) for index in np.argsort(-deviations, kind="stable")[:count]]
    order = np.argsort(-scores, kind="stable")
    return [int(order[round(step * (len(order) - 1) / max(count - 1, 1))]) for step in range(count)]
