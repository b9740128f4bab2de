"""`percepta predict aesthetics ALBUM` ranks an album for somebody; `percepta rate ALBUM` is a page to rate it."""

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
from percepta.errors import MissingFileError
from percepta.systems import TABLE

if TYPE_CHECKING:
    from percepta.systems.aesthetics.album import Album
    from percepta.web.rate import Rank

ASKED = 8  # pictures that the page proposes to rate
SHOWN = 5  # pictures that are printed from either end
MOST = 20  # skipped pictures that are printed


@dataclass(frozen=True)
class Person(shell.Which):
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
class Predict(Person):
    """Ranks an album by how much somebody will like the pictures."""

    album: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="ALBUM")] = tyro.MISSING
    """A folder of pictures, or a single picture."""
    out: Path = Path("out/aesthetics")
    """Folder for ranking.csv and report.html."""
    ask: int = 10
    """How many pictures to propose for rating."""
    why: int = 3
    """For how many of the best and of the last pictures to give reasons."""


@dataclass(frozen=True)
class Rate(Person):
    """A page in your browser, from this machine and to this machine alone, to rate an album."""

    album: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="ALBUM")] = tyro.MISSING
    """A folder of pictures."""
    port: int = 8765
    """Where the page is, http://127.0.0.1:PORT/; a free one where it is taken."""
    no_browser: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Open no browser, only print the page's address."""


def predict(words: list[str], screen: Console) -> int:
    """Ranks an album; writes ranking.csv and report.html. Exit code 1 where pictures had to be skipped."""
    options = shell.parse(Predict, words, "percepta predict aesthetics", f"aesthetics: {TABLE['aesthetics']}")
    where = options.album.expanduser()
    ratings = found(options.ratings, where, RATINGS)
    if options.ratings is None and ratings is not None:
        screen.print(escape(f"ratings: {ratings}"), soft_wrap=True)
    album = opened(options, where, screen, ratings)
    with screen.status("explaining") if screen.is_terminal else nullcontext():
        from percepta import report

        table = album.save(options.out)
        page = report.Page(f"{where.resolve().name}, ranked by taste").extend(album.page(options.ask, options.why))
        shown = page.write(options.out / "report.html")
    _print(album, options.ask, screen)
    screen.print(escape(f"{table}\n{shown}"), soft_wrap=True)
    return 1 if album.skipped else 0


def rate(words: list[str], screen: Console) -> int:
    """`percepta rate`: looks at an album, then serves the page until Ctrl-C. Ratings are written after every click."""
    options = shell.parse(Rate, words, "percepta rate", "Rate an album in a local page.")
    from percepta.web import rate as page

    where = options.album.expanduser()
    path = None if options.ratings is None else options.ratings.expanduser()
    # What is wrong with the folder, the ratings or the scale is said before pictures are looked at, which takes longer.
    page.Album(where, path, scale_of(options.scale)).close()
    album = opened(options, where, screen, None)
    _print_skipped(album, screen)
    session = page.Album(where, path, album.scale, ranker(album))
    screen.print(escape(f"{len(session.files):,} pictures; ratings: {path or where / RATINGS}"), soft_wrap=True)
    page.serve(
        session,
        options.port,
        not options.no_browser,
        lambda url: screen.print(f"{url}  (stop with Ctrl-C; ratings are saved as you go)", soft_wrap=True),
    )
    return 0


def ranker(album: Album, ask: int = ASKED) -> Rank:
    """What the page calls with all ratings after each click."""
    from percepta.web.rate import Ranked, Ranking

    here = {*album.files, *(name for name, _ in album.skipped)}

    def rank(ratings: Mapping[str, float]) -> Ranking:
        # The table may name pictures that came after the album was looked at.
        album.rate({name: score for name, score in ratings.items() if name in here}, anew=True)
        order = tuple(Ranked(r.name, r.score, 0.0 if math.isnan(r.deviation) else r.deviation) for r in album.ranking())
        return Ranking(order, tuple(album.ask(ask)))

    return rank


def found(given: Path | None, where: Path, name: str) -> Path | None:
    """The file that an option names, else the one that lies in the album, else None."""
    return given if given is not None else where / name if (where / name).is_file() else None


def opened(options: Person, where: Path, screen: Console, ratings: Path | None) -> Album:
    """The album, looked at with a progress bar, with the profile that the options name or that lies in it."""
    scale = scale_of(options.scale)
    if options.cache is not None and options.no_cache:
        raise shell.UsageError("--cache and --no-cache exclude each other")
    if not where.exists():
        raise MissingFileError(f"{where}: no such folder or picture")
    profile = found(options.profile, where, PROFILE)
    if options.profile is None and profile is not None:
        screen.print(escape(f"profile: {profile}"), soft_wrap=True)
    system = shell.load("aesthetics", options)
    from percepta.systems.aesthetics.cache import default_folder

    folder = None if options.no_cache else options.cache or default_folder()
    with shell.progress_bar(screen, "looking at pictures") as bar:
        return system.session(
            where,
            ratings=ratings,
            profile=profile,
            scale=scale,
            cache=folder,
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
    except ValueError as error:
        raise shell.UsageError(f"--scale: {error}") from None


def _print(album: Album, ask: int, screen: Console) -> None:
    ranked = album.ranking()
    looked = f" ({album.cached:,} of them kept from before)" if album.cached else ""
    screen.print(f"{len(ranked):,} pictures{looked}, {len(album.ratings):,} rated, scores from {album.scale}")
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
    for name, reason in album.skipped[:MOST]:
        screen.print(f"[red]skipped[/] {escape(f'{name}: {reason}')}", soft_wrap=True)
    if len(album.skipped) > MOST:
        screen.print(f"... and {len(album.skipped) - MOST} more, see the page")
    if album.skipped:
        screen.print(f"{len(album.skipped)} of {len(album.skipped) + len(album.files)} pictures were skipped")
