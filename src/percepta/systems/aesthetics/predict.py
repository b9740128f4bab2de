"""Predicting: how much one person will like a picture, or each picture of an album."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from percepta.contract import Answers, Evaluate, OpenStream, Progress, described
from percepta.datasets import album as album_files
from percepta.datasets.ratings import Number, Scale
from percepta.errors import InputError, InputTypeError, MissingFileError
from percepta.media import image as media
from percepta.media.image import Source
from percepta.systems.aesthetics import Config
from percepta.systems.aesthetics.album import Album, Result, Stored, check_ratings, thumbnail
from percepta.systems.aesthetics.cache import Cache, FileVersion, hash_file
from percepta.systems.aesthetics.model import BATCH, AestheticsNetwork, in_parallel
from percepta.systems.aesthetics.traits import traits

__all__ = ["Aesthetics", "Album", "Result", "open_album"]

CACHE_BATCH = 64  # pictures between two transactions of the cache

Profile = Mapping[str, str | Number | None] | str | Path
Ratings = Mapping[str, Number | None] | str | Path


@dataclass(frozen=True)
class Aesthetics:
    """Personal image aesthetics, ready to use: `percepta.load("aesthetics")`.

    Attributes:
        config: its settings.
        model: the network, in eval mode.
        licence: of code and weights, and the terms of the data behind the weights.
        evaluate: its numbers on a folder of data; without one, on its synthetic world.
        open_stream: opens whatever `stream` is given; handed in by `percepta.load`.
    """

    config: Config
    model: AestheticsNetwork
    licence: str
    evaluate: Evaluate
    open_stream: OpenStream
    name: ClassVar[str] = "aesthetics"

    def __repr__(self) -> str:
        return described(self)

    def predict(self, picture: Source, *, profile: Profile | None = None, scale: Scale | None = None) -> Result:
        """How much somebody will like one picture; without a profile, what people in general are expected to say.

        Ratings need an album, which has the rated pictures too: see `session`.

        Args:
            picture: a path, a PIL image, an array (h w, h w 3) or a tensor (c h w), of any size.
            profile: field -> value, or a JSON file of that; `config.fields` says which fields there are.
            scale: of the scores that come out; None: 1 to 5 stars. The study's own is `config.scale`.

        Raises:
            MissingFileError, InputError: no picture; a profile that does not fit.
        """
        return open_album(self.model, [picture], profile=profile, scale=scale).results()[0]

    def stream(
        self,
        source: Any,
        *,
        profile: Profile | None = None,
        scale: Scale | None = None,
        batch_size: int = 1,
        recursive: bool = False,
        fps: float | None = None,
    ) -> Answers[Result]:
        """How much somebody will like each picture of a folder, a video, a camera ..., one after the other.

        One that cannot be read gives an answer with an error; the others go on. To rank an album by ratings, see
        `session`.

        Args:
            source: a path, folder, pattern, picture, bytes, video, "camera:0", or a list or generator of these.
            profile: as in `predict`.
            scale: as in `predict`.
            batch_size: pictures that go through the network together.
            recursive: also the sub-folders of folders.
            fps: at most so many frames a second of a video; None for all.

        Raises:
            InputError: an argument out of its range.
        """

        def answer(several: list[Source]) -> list[list[Result]]:
            album = open_album(self.model, several, profile=profile, scale=scale)
            for name, reason in album.skipped:
                raise InputError(f"{name}: {reason}")
            return [[result] for result in album.results()]

        return self.open_stream(source, answer, batch_size=batch_size, recursive=recursive, fps=fps)

    def session(
        self,
        pictures: Source | Sequence[Source],
        *,
        profile: Profile | None = None,
        ratings: Ratings | None = None,
        scale: Scale | None = None,
        cache: str | Path | None = None,
        progress: Progress | None = None,
    ) -> Album:
        """Opens an album: computes the features of its pictures, once, and takes in what is known about a person.

        Args:
            pictures: a folder, or a sequence of pictures: paths, PIL images, arrays (h w, h w 3) or tensors (c h w).
                Those without a name are called "picture 1", "picture 2", ...
            profile: field -> value, or a JSON file of that; `config.fields` says which fields there are.
            ratings: name -> score, or a CSV (file,score). They are never taken from the folder unasked.
            scale: of the ratings and of every score that comes out; None: 1 to 5 stars in halves. It is stretched
                linearly onto the study's own, `config.scale`.
            cache: folder for features, see `cache.py`; None: nothing is kept.
            progress: called with (pictures done, pictures in all).

        Raises:
            MissingFileError, NotADirectoryError: no such folder, no pictures in it, no such file of ratings or
                profile.
            InputError: no picture can be read; a profile, a name or a score that does not fit; fewer than two
                different scores.
        """
        return open_album(
            self.model, pictures, profile=profile, ratings=ratings, scale=scale, cache=cache, progress=progress
        )


def open_album(
    model: nn.Module,
    pictures: Source | Sequence[Source],
    *,
    profile: Mapping[str, Any] | str | Path | None = None,
    ratings: Mapping[str, Any] | str | Path | None = None,
    scale: Scale | None = None,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> Album:
    """`Aesthetics.session` of a network; arguments and errors as there.

    Args:
        model: a network that `build.build` made, trained.
        pictures: a folder, or a sequence of pictures.
        profile: field -> value, or a JSON file of that.
        ratings: name -> score, or a CSV.
        scale: of ratings and scores.
        cache: folder for features.
        progress: called with (pictures done, pictures in all).
    """
    if not isinstance(model, AestheticsNetwork):
        raise InputTypeError(f"expected a network that aesthetics.task.build made, got {type(model).__name__}")
    if model.mean.dtype != torch.float32:
        kind = str(model.mean.dtype).removeprefix("torch.")
        raise InputError(f"a taste is worked out in float32, and this model is {kind}; load it without dtype")
    sources, skipped = _sources(pictures)
    scale = scale or album_files.STARS
    names = {*sources, *(name for name, _ in skipped)}
    # What was typed by hand is checked before anything that takes long.
    if isinstance(profile, str | Path):
        profile = album_files.read_profile(Path(profile).expanduser(), model.config.fields)
    for what, given in (("profile", profile), ("ratings", ratings)):
        if not isinstance(given, Mapping | str | Path | None):
            raise InputTypeError(f"{what} is {{name: value}} or a file; got {type(given).__name__}")
    profile = {name: value for name, value in (profile or {}).items() if value is not None}
    traits(profile, model.config.fields)
    if isinstance(ratings, str | Path):
        ratings = album_files.read_ratings(Path(ratings).expanduser(), names, scale)
    if ratings is not None:
        check_ratings(ratings, names, scale)
        ratings = {name: float(score) for name, score in ratings.items() if score is not None}
        album_files.need_variety(ratings)
    good, features, cached = _extract(model, sources, skipped, cache, progress)
    if not good:
        raise InputError(f"none of {len(names)} pictures can be read; {skipped[0][0]}: {skipped[0][1]}")
    album = Album(model, good, features, skipped, scale, profile, cached)
    if ratings is not None:
        album_files.need_variety({name: score for name, score in ratings.items() if name in good})
        album.rate(ratings)
    return album


def _sources(pictures: Any) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Name -> picture, and (name, reason) of those with names that no table can hold."""
    if pictures is None or isinstance(pictures, int | float | bytes):
        raise InputTypeError(f"expected a folder or a list of pictures; got {type(pictures).__name__}")
    if isinstance(pictures, str | Path):
        path = Path(pictures).expanduser()
        listed: list[Any] = [path] if path.is_file() else list(album_files.pictures(path))
        if not listed:
            raise MissingFileError(f"{path}: no pictures in this folder (subfolders are not read)")
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


def _extract(
    model: AestheticsNetwork,
    sources: Mapping[str, Any],
    skipped: list[tuple[str, str]],
    cache: str | Path | None,
    progress: Progress | None,
) -> tuple[dict[str, Stored], Float[Tensor, "n d"], int]:
    """Pictures that can be read, their features, how many of these the cache had; the others go to `skipped`."""
    store = None if cache is None else Cache(Path(cache), model)
    rows: dict[str, Tensor] = {}
    device = model.mean.device
    try:
        if store is not None:
            known = store.by_path(path for path in sources.values() if isinstance(path, Path))
            rows = {name: known[path].to(device) for name, path in sources.items() if path in known}
        left = [name for name in sources if name not in rows]
        batches = [left[start : start + BATCH] for start in range(0, len(left), BATCH)]
        fresh: list[tuple[FileVersion, Tensor]] = []
        done = len(rows)
        if progress is not None:
            progress(done, len(sources))
        for part in in_parallel(lambda i: _batch(model, {n: sources[n] for n in batches[i]}, store), len(batches)):
            rows |= part.rows
            fresh += part.fresh
            skipped += part.failed
            done += len(part.rows) + len(part.failed)
            if store is not None and len(fresh) >= CACHE_BATCH:
                store.add(fresh)
                fresh = []
            if progress is not None:
                progress(done, len(sources))
        if store is not None:
            store.add(fresh)
    finally:
        if store is not None:
            store.close()
    good = {name: s if isinstance(s, Path) else thumbnail(s) for name, s in sources.items() if name in rows}
    features = torch.stack([rows[name] for name in good]) if good else torch.zeros(0, sum(model.sizes))
    return good, features, store.hits if store is not None else 0


@dataclass(frozen=True)
class _Part:
    """What a batch gave: features by name; (version, features) new to the cache; (name, reason) of failures."""

    rows: dict[str, Tensor]
    fresh: list[tuple[FileVersion, Tensor]]
    failed: list[tuple[str, str]]


def _batch(model: AestheticsNetwork, sources: Mapping[str, Any], store: Cache | None) -> _Part:
    part, versions, images = _Part({}, [], []), {}, {}
    for name, source in sources.items():
        try:
            if store is not None and isinstance(source, Path):
                versions[name] = hash_file(source)
                if (row := store.by_content(versions[name])) is not None:
                    part.rows[name] = row.to(model.mean.device)
                    part.fresh.append((versions[name], row))  # so that next time the file need not be read
                    continue
            images[name] = media.squeeze_square(source, model.config.size)
        except Exception as error:  # decoders raise all kinds at damaged files; the others must go on
            part.failed.append((name, _reason(error, source)))
    if images:
        features = model.features(torch.stack(list(images.values())).to(model.mean.device))
        part.rows.update(zip(images, features, strict=True))
        part.fresh.extend((versions[name], part.rows[name]) for name in images if name in versions)
    return part


def _reason(error: Exception, source: Any) -> str:
    """What an error says, in one line and without the path that it begins with."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text.removeprefix(f"{source}: ") if isinstance(source, Path) else text
