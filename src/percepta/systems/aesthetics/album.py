"""An album: pictures that are looked at once, then ranked for somebody, asked about and explained.

    album = percepta.load("aesthetics").session("holidays", ratings="holidays/ratings.csv")
    for result in album.ranking()[:10]:
        print(result.name, result.score, result.deviation)

Nothing in the album's folder is written. What stays in memory is a row of features for each picture, 15 kB.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from percepta.datasets import album as files
from percepta.datasets.ratings import Number, Scale, nearest
from percepta.errors import InputError, InputTypeError, MissingFileError
from percepta.files import write_atomically
from percepta.media import image as media
from percepta.media.draw import write_picture
from percepta.systems.aesthetics.cache import Cache, Look, look_at
from percepta.systems.aesthetics.model import BATCH, Aesthetics, at_once
from percepta.systems.aesthetics.people import traits
from percepta.systems.aesthetics.why import Reason, reasons

STARS = files.STARS
SIDE = 480  # pixels of a thumbnail's longer side
ASKED = 1000  # pictures, at most, that the choice of what to rate next looks through and cares for
SHOWN = (200, 100)  # of a larger album's page: the best and the last
KEPT = 64  # pictures between two transactions of the cache
_BAR, _INK, _FAINT, _MARK = (24, 26, 31), (245, 246, 248), (140, 147, 160), (255, 200, 40)

Source = Path | UInt8[np.ndarray, "h w 3"]


@dataclass(frozen=True)
class Result:
    """How much somebody will like a picture.

    Attributes:
        name: of the picture in the album.
        score: expected, in the scale of the ratings; may lie a little beyond its ends.
        deviation: standard deviation of what the person thinks around it; NaN where the model knows none.
        crowd: what the model expects of nobody in particular.
        low, high: ends of the scale.
        source: the picture's file, or a thumbnail of what was given.
    """

    name: str
    score: float
    deviation: float
    crowd: float
    low: float
    high: float
    source: Source

    @property
    def picture(self) -> UInt8[np.ndarray, "h w 3"]:
        """The picture, RGB, at most 480 pixels long; read when it is asked for.

        Raises:
            MissingFileError, InputError: the file is gone, or another by now.
        """
        return thumbnail(self.source) if isinstance(self.source, Path) else self.source

    @property
    def text(self) -> str:
        """ "4.2 ± 0.5" """
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

    def save(self, path: Path | str) -> None:
        """Writes the drawing as a PNG and beside it a JSON with the numbers."""
        path = Path(path)
        if path.suffix.lower() != ".png":
            path = path.with_name(f"{path.name}.png")
        row = {key: getattr(self, key) for key in ("name", "score", "deviation", "crowd", "low", "high")}
        row["deviation"] = None if math.isnan(self.deviation) else self.deviation
        write_picture(path, self.draw(), row)


class Album:
    """Pictures and one person's taste; made by `open_album`.

    Attributes:
        files: names of the pictures that could be looked at, in the order of the album.
        skipped: (name, reason) of those that could not.
        scale: of the ratings and of every score that comes out.
        profile: what the person says about themselves.
        ratings: name -> score, as they were given.
        note: a sentence where the ratings do not tell a taste yet, else "".
        cached: how many pictures the cache spared looking at.
    """

    def __init__(
        self,
        model: Aesthetics,
        sources: Mapping[str, Source],
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
            self._looks, self._judged = model.looks(features), model.judged(features)
        who = traits(self.profile, model.config.fields) if self.profile else None
        self._traits = None if who is None else torch.from_numpy(who).to(features)
        self._nobody = model.head.person(None, self._looks[:0], self._judged[:0], self._looks.new_zeros(0))
        self._person = self._adapt({})
        self._crowd = self._numbers(self._nobody)[0]
        self._known: tuple[np.ndarray, np.ndarray] | None = None

    def rate(self, ratings: Mapping[str, Any], *, anew: bool = False) -> None:
        """Takes in ratings: milliseconds.

        With fewer than two different scores there is no taste to learn from; answers are then those without ratings,
        and `note` says so.

        Args:
            ratings: name -> score in `scale`; None takes a rating away. Pictures that were skipped may be among them.
            anew: forget those before.

        Raises:
            InputError: a name that is no picture of the album; no score of the scale. Nothing is changed then.
        """
        known = {*self.files, *(name for name, _ in self.skipped)}
        _check(ratings, known, self.scale)
        merged = {**({} if anew else self.ratings), **ratings}
        kept = {name: float(score) for name, score in merged.items() if score is not None}
        usable = {name: score for name, score in kept.items() if name in self._place}
        try:
            files.need_variety(usable)
            note = ""
        except ValueError as error:
            usable, note = {}, str(error)
        [self._person] = at_once(lambda _: self._adapt(usable), 1)
        self.ratings, self.note, self._known = kept, note, None

    def results(self) -> list[Result]:
        """A result for each picture, in the order of the album."""
        scores, deviations = self._scores()
        low, high = float(self.scale.low), float(self.scale.high)
        return [
            Result(name, float(score), float(deviation), float(crowd), low, high, self._sources[name])
            for name, score, deviation, crowd in zip(self.files, scores, deviations, self._crowd, strict=True)
        ]

    def ranking(self) -> list[Result]:
        """Results, the picture that the person will like best first."""
        return sorted(self.results(), key=lambda result: -result.score)

    def ask(self, count: int = 10) -> list[str]:
        """Unrated pictures whose rating would tell most about this person, the most useful first.

        Each is chosen with those before it taken for rated, so that of pictures that are nearly alike only one comes
        early. A model without a covariance between pictures asks for the most uncertain, and without any uncertainty
        for pictures spread over the scale. Of a large album, a thousand of the unrated pictures are looked through.
        """
        unrated = [index for name, index in self._place.items() if name not in self.ratings]
        if len(unrated) > ASKED:
            unrated = [unrated[round(step * (len(unrated) - 1) / (ASKED - 1))] for step in range(ASKED)]
        if not unrated or count < 1:
            return []
        if hasattr(self._person, "choose"):
            [chosen] = at_once(lambda _: self._person.choose(self._looks[unrated], count), 1)
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
        points, model = _points(self._model, self.scale), self._model

        def find(index: int) -> list[Reason]:
            image = media.squeeze_square(self._sources[chosen[index]], model.config.size).to(self._looks.device)
            return reasons(model, image, self._person, self._nobody, points, count)

        return list(at_once(find, len(chosen)))

    def save(self, out: Path | str) -> Path:
        """Writes ranking.csv into a folder, whole or not at all: file, score, deviation, crowd, rated, rank.

        What `page` gives is for whoever has a page to write on: report.Page(title).extend(album.page()).write(path).
        """
        rows = io.StringIO(newline="")
        table = csv.writer(rows, lineterminator="\n")
        table.writerow(("file", "score", "deviation", "crowd", "rated", "rank"))
        for rank, result in enumerate(self.ranking(), start=1):
            numbers = (f"{value:.4f}" for value in (result.score, result.deviation, result.crowd))
            rated = self.ratings.get(result.name)
            table.writerow((result.name, *numbers, "" if rated is None else f"{rated:g}", rank))
        return write_atomically(Path(out) / "ranking.csv", rows.getvalue())

    def page(self, ask: int = 10, why: int = 3) -> list[Any]:
        """Items for `report.Page.extend`: counts, what to rate next, reasons for the best and the last, all by taste.

        Args:
            ask: how many to rate next.
            why: for how many of the best, and of the last, reasons are given.
        """
        ranked = self.ranking()
        rank = {result.name: place for place, result in enumerate(ranked, start=1)}
        counts: dict[str, Any] = {"pictures": len(ranked), "rated": len(self.ratings)}
        counts |= {"skipped": len(self.skipped)} if self.skipped else {}
        counts |= {"scale": str(self.scale), "profile": ", ".join(self.profile) or "none"}
        items: list[Any] = [("numbers", counts)]
        if self.note:
            items.append(f"{self.note[0].upper()}{self.note[1:]}. Until then this is what a profile and the crowd say.")
        items.append(
            "The dot is the score that the model expects of this person, the thick line one standard deviation to both "
            "sides, the tick what it expects of people in general."
        )
        if asked := self.ask(ask):
            items += [("heading", "Rate these next"), "Their ratings would tell the model most about this taste."]
            items.append(("pictures", [_cell(ranked[rank[name] - 1], name) for name in asked]))
        if why and len(ranked) > 1:
            best, last = ranked[:why], ranked[max(why, len(ranked) - why) :]
            items += [("heading", "Why"), EXPLAINED]
            ends = [*best, *last]
            explained = zip(ends, self.explain([r.name for r in ends]), strict=True)
            items.append(("pictures", [_cell(r, _because(r.name, found)) for r, found in explained]))
        items.append(("heading", "All pictures, by predicted taste"))
        shown = ranked if len(ranked) <= sum(SHOWN) else [*ranked[: SHOWN[0]], *ranked[-SHOWN[1] :]]
        if len(shown) < len(ranked):
            items.append(f"The best {SHOWN[0]} and the last {SHOWN[1]}; ranking.csv has all {len(ranked):,}.")
        items.append(("pictures", [_cell(r, self._caption(r, rank[r.name])) for r in shown]))
        if self.skipped:
            items += [("heading", "Skipped"), ("table", ["file", "why"], [list(row) for row in self.skipped])]
        return items

    def _caption(self, result: Result, rank: int) -> str:
        rated = self.ratings.get(result.name)
        return f"{rank}. {result.name}" + ("" if rated is None else f"\nrated {rated:g}")

    def _adapt(self, ratings: Mapping[str, float]) -> Any:
        """The head's person after ratings that tell something, or none."""
        rows = [self._place[name] for name in ratings]
        given = np.array([self.scale.unit(score) for score in ratings.values()], np.float64)
        scores = torch.from_numpy(self._model.config.scale.from_unit(given)).to(self._looks)
        with torch.enable_grad():  # heads without a closed form take steps of gradient descent
            return self._model.head.person(self._traits, self._looks[rows], self._judged[rows], scores)

    def _scores(self) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        if self._known is None:
            [self._known] = at_once(lambda _: self._numbers(self._person), 1)
        return self._known

    def _numbers(self, person: Any) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """Scores and deviations in `scale`."""
        mean, deviation = (v.double().cpu().numpy() for v in person.predict(self._looks, self._judged))
        unit = self._model.config.scale.unit(mean)
        return self.scale.from_unit(unit), deviation * _points(self._model, self.scale)


EXPLAINED = (
    "Each reason was tried out. An attribute: the picture is edited until this attribute is as in an average picture, "
    "and scored again. What it shows: the class is taken out of what the network recognised. The number is by how much "
    "the score is higher with it than without, in points of the scale; in brackets the same for people in general."
)


def open_album(
    model: nn.Module,
    pictures: Any,
    *,
    profile: Mapping[str, Any] | str | Path | None = None,
    ratings: Mapping[str, Any] | str | Path | None = None,
    scale: Scale | None = None,
    cache: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Album:
    """Looks at pictures, once, and takes in what is known about a person.

    Args:
        model: a network that `task.build` made, trained.
        pictures: a folder, or a sequence of pictures: paths, PIL images, arrays (h w, h w 3) or tensors (c h w). Those
            without a name are called "picture 1", "picture 2", ...
        profile: field -> value, or a JSON file of that; which fields there are says `model.config.fields`.
        ratings: name -> score, or a CSV (file,score). They are never taken from the folder unasked.
        scale: of the ratings and of every score that comes out; None: 1 to 5 stars in halves for a folder, else the
            study's own, `model.config.scale`. It is stretched linearly onto the study's.
        cache: folder for features, see `cache.py`; None: nothing is kept.
        progress: called with (pictures done, pictures in all).

    Raises:
        MissingFileError, NotADirectoryError: no such folder, no pictures in it, no such file of ratings or profile.
        InputError: no picture can be looked at; a profile, a name or a score that does not fit; fewer than two
            different scores.
    """
    if not isinstance(model, Aesthetics):
        raise InputTypeError(f"expected a network that aesthetics.task.build made, got {type(model).__name__}")
    if model.mean.dtype != torch.float32:
        kind = str(model.mean.dtype).removeprefix("torch.")
        raise InputError(f"a taste is worked out in float32, and this model is {kind}; load it without dtype")
    sources, skipped = _sources(pictures)
    folder = isinstance(pictures, str | Path) and Path(pictures).is_dir()
    scale = scale or (STARS if folder else model.config.scale)
    names = {*sources, *(name for name, _ in skipped)}
    # What was typed by hand is checked before anything that takes long.
    if isinstance(profile, str | Path):
        profile = files.read_profile(Path(profile).expanduser(), model.config.fields)
    profile = {name: value for name, value in (profile or {}).items() if value is not None}
    traits(profile, model.config.fields)
    if isinstance(ratings, str | Path):
        ratings = files.read_ratings(Path(ratings).expanduser(), names, scale)
    if ratings is not None:
        _check(ratings, names, scale)
        ratings = {name: float(score) for name, score in ratings.items() if score is not None}
        files.need_variety(ratings)
    good, features, cached = _look(model, sources, skipped, cache, progress)
    if not good:
        raise InputError(f"none of {len(names)} pictures can be looked at; {skipped[0][0]}: {skipped[0][1]}")
    album = Album(model, good, features, skipped, scale, profile, cached)
    if ratings is not None:
        files.need_variety({name: score for name, score in ratings.items() if name in good})
        album.rate(ratings)
    return album


def thumbnail(source: Any) -> UInt8[np.ndarray, "h w 3"]:
    """A picture from anything, at most 480 pixels long."""
    return np.array(media.to_pil(media.read(source, long_side=SIDE)))


# --------------------------------------------------------------------------------------------------- looking


def _sources(pictures: Any) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Name -> picture, and (name, reason) of those with names that no table can hold."""
    if isinstance(pictures, str | Path):
        path = Path(pictures).expanduser()
        listed: list[Any] = [path] if path.is_file() else list(files.pictures(path))
        if not listed:
            raise MissingFileError(f"{path}: no pictures in this folder (subfolders are not looked into)")
    else:
        if isinstance(pictures, Image.Image) or getattr(pictures, "ndim", 4) <= 3:
            pictures = [pictures]
        listed = list(pictures)
        if not listed:
            raise InputError("an album needs at least one picture, got none")
    paths = [Path(item).expanduser() if isinstance(item, str | Path) else None for item in listed]
    short = [path.name for path in paths if path is not None]
    sources: dict[str, Any] = {}
    skipped = []
    for number, (item, path) in enumerate(zip(listed, paths, strict=True), start=1):
        name = f"picture {number}" if path is None else path.name if short.count(path.name) == 1 else str(path)
        if name != name.encode("utf-8", "ignore").decode():
            skipped.append((ascii(name)[1:-1], "the name is not valid Unicode text; rename the file"))
        elif name in sources:
            raise InputError(f"the picture {name} comes twice")
        else:
            sources[name] = item if path is None else path
    return sources, skipped


def _look(
    model: Aesthetics,
    sources: Mapping[str, Any],
    skipped: list[tuple[str, str]],
    cache: str | Path | None,
    progress: Callable[[int, int], None] | None,
) -> tuple[dict[str, Source], Float[Tensor, "n d"], int]:
    """What can be looked at, its features, and how many of them came from the cache; the others go to `skipped`."""
    store = None if cache is None else Cache(Path(cache), model)
    rows: dict[str, Tensor] = {}
    device = model.mean.device
    try:
        if store is not None:
            found = store.unchanged(path for path in sources.values() if isinstance(path, Path))
            rows = {name: found[path].to(device) for name, path in sources.items() if path in found}
        left = [name for name in sources if name not in rows]
        batches = [left[start : start + BATCH] for start in range(0, len(left), BATCH)]
        fresh: list[tuple[Look, Tensor]] = []
        done = len(rows)
        if progress is not None:
            progress(done, len(sources))
        for part in at_once(lambda i: _batch(model, {n: sources[n] for n in batches[i]}, store), len(batches)):
            rows |= part.rows
            fresh += part.fresh
            skipped += part.failed
            done += len(part.rows) + len(part.failed)
            if store is not None and len(fresh) >= KEPT:
                store.keep(fresh)
                fresh = []
            if progress is not None:
                progress(done, len(sources))
        if store is not None:
            store.keep(fresh)
    finally:
        if store is not None:
            store.close()
    good = {name: s if isinstance(s, Path) else thumbnail(s) for name, s in sources.items() if name in rows}
    features = torch.stack([rows[name] for name in good]) if good else torch.zeros(0, sum(model.sizes))
    return good, features, store.hits if store is not None else 0


@dataclass(frozen=True)
class _Part:
    """What a batch gave: features by name; (look, features) new to the cache; (name, reason) of failures."""

    rows: dict[str, Tensor]
    fresh: list[tuple[Look, Tensor]]
    failed: list[tuple[str, str]]


def _batch(model: Aesthetics, sources: Mapping[str, Any], store: Cache | None) -> _Part:
    part, looked, images = _Part({}, [], []), {}, {}
    for name, source in sources.items():
        try:
            if store is not None and isinstance(source, Path):
                looked[name] = look_at(source)
                if (row := store.same(looked[name])) is not None:
                    part.rows[name] = row.to(model.mean.device)
                    part.fresh.append((looked[name], row))  # so that next time the file need not be read
                    continue
            images[name] = media.squeeze_square(source, model.config.size)
        except Exception as error:  # decoders raise all kinds at damaged files; the others must go on
            part.failed.append((name, _reason(error, source)))
    if images:
        features = model.features(torch.stack(list(images.values())).to(model.mean.device))
        part.rows.update(zip(images, features, strict=True))
        part.fresh.extend((looked[name], part.rows[name]) for name in images if name in looked)
    return part


def _reason(error: Exception, source: Any) -> str:
    """What an error says, in one line and without the path that it begins with."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text.removeprefix(f"{source}: ") if isinstance(source, Path) else text


# --------------------------------------------------------------------------------------------------- helpers


def _check(ratings: Mapping[str, Any], names: Collection[str], scale: Scale) -> None:
    """Raises InputError where a rating names no picture, or is none of the scale."""
    for name, score in ratings.items():
        if name not in names:
            raise InputError(f"a rating of {name!r}, which is no picture of the album{nearest(name, names)}")
        number = isinstance(score, Real) and not isinstance(score, bool)
        if score is not None and not (number and scale.has(float(score))):
            raise InputError(f"{name}: a score is a number from {scale}, not {score!r}")


def _points(model: Aesthetics, scale: Scale) -> float:
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


def _cell(result: Result, caption: str) -> tuple[Image.Image, str]:
    """A picture of the page, small enough that hundreds fit into one."""
    drawn = result.draw()
    drawn.thumbnail((320, 400))
    return drawn, caption


def _because(name: str, why: Sequence[Reason]) -> str:
    return "\n".join([name, *(reason.text for reason in why)] if why else [name, "nothing that stands out"])
