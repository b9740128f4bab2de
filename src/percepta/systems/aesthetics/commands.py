"""`percepta predict aesthetics ALBUM` ranks an album for one person; `percepta rate ALBUM` is a page to rate it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console
from rich.markup import escape

from percepta import shell
from percepta.datasets.album import PROFILE, RATINGS, STARS
from percepta.datasets.ratings import Scale
from percepta.errors import InputError, MissingFileError

if TYPE_CHECKING:
    from percepta.systems.aesthetics.predict import Album
    from percepta.web.rate import Rank

PROPOSED = 8  # pictures that the page proposes to rate
SHOWN = 5  # pictures that are printed from either end
MAX_SKIPPED = 20  # skipped pictures that are printed


@dataclass(frozen=True)
class PersonOptions(shell.Which):
    """Options that say whose taste it is, and what is kept."""

    ratings: Path | None = None
    """CSV with the columns file and score. Left out: ratings.csv in the album, where it is there."""
    profile: Path | None = None
    """JSON object of what you say about yourself. Left out: profile.json in the album, where it is there."""
    scale: Annotated[tuple[float, ...], tyro.conf.arg(metavar="LOW HIGH [STEP]")] = ()
    """Scores that ratings may have and that come out. Left out: 1 to 5 in steps of 0.5."""
    cache: Path | None = None
    """Folder where features of pictures are kept. Left out: $XDG_CACHE_HOME/percepta, or ~/.cache/percepta."""
    no_cache: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Keep no features and use none that were kept."""


@dataclass(frozen=True)
class Predict(PersonOptions):
    """Ranks an album by how much one person will like the pictures."""

    album: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="ALBUM")] = tyro.MISSING
    """A folder of pictures, or a single picture."""
    out: Path = Path("out/aesthetics")
    """Folder for ranking.csv and report.html."""
    ask: int = 10
    """How many pictures to propose for rating."""
    why: int = 3
    """For how many of the best and of the last pictures to give reasons."""


@dataclass(frozen=True)
class Rate(PersonOptions):
    """A page in your browser, from this machine and to this machine alone, to rate an album."""

    album: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="ALBUM")] = tyro.MISSING
    """A folder of pictures."""
    port: int = 8765
    """Where the page is, http://127.0.0.1:PORT/; a free one where it is taken."""
    no_browser: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Open no browser, only print the page's address."""


def predict(options: Predict, screen: Console) -> int:
    """Ranks an album; writes ranking.csv and report.html. Exit code 1 where pictures had to be skipped."""
    folder = options.album.expanduser()
    begin = shell.check_out(options.out, screen, [folder])
    ratings = given_or_in(folder, options.ratings, RATINGS)
    if options.ratings is None and ratings is not None:
        screen.print(escape(f"ratings: {ratings}"), soft_wrap=True)
    album = open_album(options, folder, screen, ratings)
    begin()
    with screen.status("explaining") if screen.is_terminal else nullcontext():
        from percepta.predictions import entry
        from percepta.report import Page
        from percepta.systems.aesthetics.page import album_blocks

        table = album.save(options.out)
        blocks = album_blocks(album, ask=options.ask, why=options.why)
        ranked = album.ranking()
        weights, rows = ranked[0].weights if ranked else "", [entry(one.name, one) for one in ranked]
        shell.write_predictions(options.out, "aesthetics", weights, rows, dict(album.skipped))
        page = Page(f"{folder.resolve().name}, ranked by taste", blocks).write(options.out / "report.html")
    _print(album, options.ask, screen)
    screen.print(escape(f"{table}\n{page}"), soft_wrap=True)
    return 1 if album.skipped else 0


def rate(options: Rate, screen: Console) -> int:
    """Reads an album, then serves the page until Ctrl-C. Ratings are written after every click."""
    from percepta.web.rate import RatingSession, serve

    folder = options.album.expanduser()
    path = None if options.ratings is None else options.ratings.expanduser()
    # What is wrong with the folder, the ratings or the scale is said before features are computed, which takes longer.
    RatingSession(folder, path, scale_of(options.scale)).close()
    album = open_album(options, folder, screen, None)
    _print_skipped(album, screen)
    session = RatingSession(folder, path, album.scale, ranker(album))
    screen.print(escape(f"{len(session.files):,} pictures; ratings: {path or folder / RATINGS}"), soft_wrap=True)
    serve(
        session,
        options.port,
        not options.no_browser,
        lambda url: screen.print(f"{url}  (stop with Ctrl-C; ratings are saved as you go)", soft_wrap=True),
    )
    return 0


COMMANDS = {"predict": (Predict, predict), "rate": (Rate, rate)}


def ranker(album: Album, ask: int = PROPOSED) -> Rank:
    """What the page calls with all ratings after each click."""
    from percepta.web.rate import Ranked, Ranking

    here = {*album.files, *(name for name, _ in album.skipped)}

    def rank(ratings: Mapping[str, float]) -> Ranking:
        # The table may name pictures that came after the album was read.
        album.rate({name: score for name, score in ratings.items() if name in here}, replace=True)
        order = tuple(Ranked(r.name, r.score, 0.0 if math.isnan(r.deviation) else r.deviation) for r in album.ranking())
        return Ranking(order, tuple(album.ask(ask)))

    return rank


def given_or_in(folder: Path, given: Path | None, name: str) -> Path | None:
    """The file that an option names, else the one that lies in the album, else None.

    Args:
        folder: the album.
        given: what the option says; None where it was left out.
        name: of the file in the album.
    """
    return given if given is not None else folder / name if (folder / name).is_file() else None


def open_album(options: PersonOptions, folder: Path, screen: Console, ratings: Path | None) -> Album:
    """The album, read with a progress bar, with the profile that the options name or that lies in it.

    Args:
        options: whose taste, which weights, which cache.
        folder: the album, or a single picture.
        screen: shows the progress.
        ratings: a CSV; None: none.
    """
    scale = scale_of(options.scale)
    if options.cache is not None and options.no_cache:
        raise shell.UsageError("--cache and --no-cache exclude each other")
    if not folder.exists():
        raise MissingFileError(f"{folder}: no such folder or picture")
    profile = given_or_in(folder, options.profile, PROFILE)
    if options.profile is None and profile is not None:
        screen.print(escape(f"profile: {profile}"), soft_wrap=True)
    system = shell.load("aesthetics", options)
    from percepta.systems.aesthetics.cache import default_folder

    cache = None if options.no_cache else options.cache or default_folder()
    with shell.progress_bar(screen, "reading pictures") as bar:
        return system.session(
            folder,
            ratings=ratings,
            profile=profile,
            scale=scale,
            cache=cache,
            progress=lambda done, total: bar(done, total, ""),
        )


def scale_of(numbers: tuple[float, ...]) -> Scale:
    """What --scale says: low, high and if given the step; 1 to 5 stars in halves where it is left out.

    Raises:
        UsageError: another count of numbers, or numbers that make no scale.
    """
    if not numbers:
        return STARS
    if len(numbers) not in (2, 3):
        raise shell.UsageError(f"--scale takes LOW HIGH or LOW HIGH STEP, got {len(numbers)} number(s)")
    try:
        return Scale(*numbers)
    except InputError as error:
        raise shell.UsageError(f"--scale: {error}") from None


def _print(album: Album, ask: int, screen: Console) -> None:
    ranked = album.ranking()
    cached = f" ({album.cached:,} of them kept from before)" if album.cached else ""
    screen.print(f"{len(ranked):,} pictures{cached}, {len(album.ratings):,} rated, scores from {album.scale}")
    if album.note:
        screen.print(escape(f"note: {album.note}"), soft_wrap=True)
    ends = [ranked] if len(ranked) <= 2 * SHOWN else [ranked[:SHOWN], ranked[-SHOWN:]]
    place = 1
    for index, part in enumerate(ends):
        if index:
            screen.print("   ...")
            place = len(ranked) - len(part) + 1
        for result in part:
            rated = f"  rated {album.ratings[result.name]:g}" if result.name in album.ratings else ""
            line = f"{place:>6}. {result.text}  (crowd {result.crowd:.1f})  {result.name}{rated}"
            screen.print(escape(line), soft_wrap=True)
            place += 1
    if asked := album.ask(ask):
        screen.print(escape("rate next: " + ", ".join(asked)), soft_wrap=True)
    _print_skipped(album, screen)


def _print_skipped(album: Album, screen: Console) -> None:
    for name, reason in album.skipped[:MAX_SKIPPED]:
        screen.print(f"[red]skipped[/] {escape(f'{name}: {reason}')}", soft_wrap=True)
    if len(album.skipped) > MAX_SKIPPED:
        screen.print(f"... and {len(album.skipped) - MAX_SKIPPED} more, see the page")
    if album.skipped:
        screen.print(f"{len(album.skipped)} of {len(album.skipped) + len(album.files)} pictures were skipped")
