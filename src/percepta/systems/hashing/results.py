"""What a search found, as blocks of a page: thumbnails, and players that begin at the moment."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from PIL import Image

from percepta.media import image, video
from percepta.report import Files, LocalFile, Page, Text
from percepta.systems.hashing.index import Match
from percepta.systems.hashing.moments import film_frames

SIDE = 420  # pixels of a thumbnail's longer side
PLAYED = frozenset({".mp4", ".m4v", ".mov", ".webm", ".ogv"})  # what browsers play


def page(title: str, note: str, matches: Sequence[Match]) -> Page:
    """A page of matches. It holds their pictures; players and links point to the files where they lie.

    Args:
        title: the query.
        note: a line below it.
        matches: the best first.
    """
    if not matches:
        return Page(title, [Text(note), Text("Nothing was found.")])
    return Page(title, [Text(note), Files([as_file(rank, match) for rank, match in enumerate(matches, 1)])])


def as_file(rank: int, match: Match) -> LocalFile:
    """A match as a part of a page."""
    path = Path(match.path)
    date = datetime.fromtimestamp(match.taken).date().isoformat()
    lines = [f"{path.parent} · {date}"]
    if match.copies:
        lines.append(f"also {', '.join(match.copies)}")
    title = f"{rank}. {span(match)}{match.score:.3f}"
    picture = thumbnail(match)
    if match.kind == "photo" or path.suffix.lower() not in PLAYED:
        return LocalFile(path, picture, title, lines)
    return LocalFile(path, picture, title, lines, match.start_s, match.end_s)


def span(match: Match) -> str:
    """ "0:07.5 to 0:08.0 · ", or "" for a photo."""
    return "" if match.kind == "photo" else f"{clock(match.start_s)} to {clock(match.end_s)} · "


def clock(seconds: float) -> str:
    """ "0:07.5", "1:02:03.0" """
    minutes, rest = divmod(round(10 * seconds), 600)
    hours, minutes = divmod(minutes, 60)
    start = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{start}:{rest // 10:02d}.{rest % 10}"


def thumbnail(match: Match) -> Image.Image | None:
    """The photo, or the best moment's frame; None where the file is gone or broken by now."""
    path = Path(match.path)
    try:
        if match.kind == "photo":
            picture = image.to_pil(image.read(path, long_side=SIDE))
        elif path.is_dir():
            frames = film_frames(path)
            # Which frame belongs to a time only the index's frame rate says: the one in the middle stands for all.
            picture = image.to_pil(image.read(frames[len(frames) // 2], long_side=SIDE))
        else:
            picture = Image.fromarray(video.frames(path, [match.best_s])[0])
            picture.thumbnail((SIDE, SIDE))
    except (OSError, ValueError, IndexError):
        return None
    return picture
