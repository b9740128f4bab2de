"""A reel of a game: what spotting finds and what replays show, in so many minutes, cut without encoding again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from percepta.errors import InputError
from percepta.files import check_apart
from percepta.media import cut

SYSTEMS = ("spotting", "replay")
WEIGHTS: Mapping[str, float] = {
    "Goal": 4.0, "Penalty": 3.0, "Red card": 3.0, "Yellow->red card": 3.0, "Shots on target": 2.0,
    "Shots off target": 1.5, "Yellow card": 1.2, "Corner": 1.0, "Direct free-kick": 1.0, "Offside": 0.7, "Foul": 0.5,
    "Substitution": 0.4, "Kick-off": 0.3,
}  # fmt: skip
"""How much a moment of a class counts; others 0.1. An assumption: nobody has asked viewers."""
REPLAYED = 1.5  # factor of a moment that is replayed
LEAST = 0.2  # from which score on a moment is worth showing
SAME_S = 6.0  # a replay shows a moment that is no further from its action


@dataclass(frozen=True)
class Piece:
    """A piece of the reel: start and end in seconds of the video, what it shows, and how much it counts."""

    start_s: float | int
    end_s: float | int
    note: str
    worth: float | int


@dataclass(frozen=True)
class Reel:
    """What was joined.

    Attributes:
        path: the file; None where nothing was found.
        pieces: in the order of time.
        early_s: by how much earlier than said each begins, since videos can only be cut at keyframes.
        warning: why the choice may be worth little; "" for nothing.
    """

    path: Path | None
    pieces: tuple[Piece, ...]
    early_s: tuple[float | int, ...]
    warning: str = ""

    @property
    def text(self) -> str:
        """The answer in words."""
        if self.path is None:
            return "nothing was found that belongs into a reel"
        seconds = sum(p.end_s - p.start_s for p in self.pieces) + sum(self.early_s)
        return f"{len(self.pieces)} pieces, {seconds / 60:.1f} min: {self.path}"


def highlights(
    film: Path,
    out: Path,
    *,
    spotting: Any,
    replay: Any,
    minutes: float | int = 5.0,
    with_replays: bool = True,
    cache: Path | None = None,
    progress: Callable[[str, float, float], None] | None = None,
) -> Reel:
    """Finds, chooses and joins.

    Args:
        film: a video of one half, or of a game.
        out: the reel.
        spotting: a loaded `spotting`.
        replay: a loaded `replay`.
        minutes: how long the reel may be; keyframes may make it a little longer.
        with_replays: whether the replays of chosen moments are shown after them.
        cache: a folder for features.
        progress: called with (what, seconds done, seconds in all).

    Raises:
        InputError: `minutes` is not above 0; the reel would replace the video; what the systems raise.
    """
    if not minutes > 0:
        raise InputError(f"minutes have to be above 0, got {minutes:g}")
    check_apart(out, [film])
    tell = progress or (lambda what, done, total: None)
    spots = spotting.predict(film, cache=cache, progress=lambda a, b: tell("spotting", a, b))
    replays = replay.predict(film, cache=cache, progress=lambda a, b: tell("replays", a, b))
    chosen = choose(spots.spots, replays.replays, spots.duration_s, 60 * minutes, with_replays=with_replays)
    if not chosen:
        return Reel(None, (), (), spots.warning)
    early = cut.join(film, [(p.start_s, p.end_s) for p in chosen], out)
    return Reel(out, tuple(chosen), tuple(early), spots.warning)


def choose(
    spots: Sequence[Any],
    replays: Sequence[Any],
    seconds: float | int,
    length_s: float | int,
    *,
    with_replays: bool = True,
) -> list[Piece]:
    """The pieces that are worth most in so many seconds, in the order of time, without overlaps.

    Args:
        spots: with time_s, label and score; those below LEAST are passed over.
        replays: with start_s, end_s and times_s, the best first.
        seconds: length of the video.
        length_s: of the reel.
        with_replays: whether replays of chosen moments are pieces too.
    """
    moments = []
    for spot in (one for one in spots if one.score >= LEAST):
        shown = [r for r in replays if r.times_s and abs(r.times_s[0] - spot.time_s) <= SAME_S]
        worth = spot.score * WEIGHTS.get(spot.label, 0.1) * (REPLAYED if shown else 1.0)
        start, end = max(0.0, spot.time_s - 8), min(seconds, spot.time_s + 4)
        # A replay is shown whole or not at all.
        start = max([start, *(r.end_s for r in replays if r.start_s < start < r.end_s <= spot.time_s)])
        end = min([end, *(r.start_s for r in replays if spot.time_s <= r.start_s < end < r.end_s)])
        piece = Piece(start, end, f"{spot.label} {spot.score:.0%}", worth)
        again = [Piece(r.start_s, r.end_s, f"replay of {spot.label}", worth) for r in shown if with_replays]
        moments.append((worth, [piece, *again]))
    taken: list[Piece] = []
    for _, pieces in sorted(moments, key=lambda one: -one[0]):
        new = [p for p in pieces if p.end_s > p.start_s and all(p.end_s <= t.start_s or p.start_s >= t.end_s
                                                               for t in taken)]  # fmt: skip
        used = sum(t.end_s - t.start_s for t in taken)
        if new and new[0] is pieces[0] and used + sum(p.end_s - p.start_s for p in new) <= length_s:
            taken += new
    return sorted(taken, key=lambda p: p.start_s)
