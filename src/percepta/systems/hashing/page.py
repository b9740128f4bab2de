"""What was found, as one HTML page: thumbnails, and players that begin at the moment.

The page holds its pictures; players and links point to the files where they lie on this machine.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from datetime import datetime
from html import escape
from pathlib import Path

from PIL import Image

from percepta.files import write_atomically
from percepta.media import image, video
from percepta.systems.hashing.index import Found
from percepta.systems.hashing.moments import film_frames

SIDE = 420  # pixels of a thumbnail's longer side
PLAYED = frozenset({".mp4", ".m4v", ".mov", ".webm", ".ogv"})  # what browsers play
_STYLE = """
:root { color-scheme: light dark; --ground: #fdfdfc; --card: #fff; --ink: #1d2126; --soft: #616b76; --line: #e1e4e8; }
@media (prefers-color-scheme: dark) { :root { --ground: #14171b; --card: #1c2026; --ink: #e6e8eb; --soft: #9aa4af;
  --line: #30363d; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 2.2rem 1.25rem 4rem; }
h1 { font-size: 1.8rem; line-height: 1.2; margin: 0 0 .4rem; }
p { color: var(--soft); margin: 0 0 1.4rem; }
.found { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 320px), 1fr)); gap: 1.1rem; }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 10px; overflow: hidden; }
figure img, figure video, .gone { display: block; width: 100%; height: 220px; object-fit: contain; background: #000; }
.gone { color: #aaa; display: grid; place-items: center; }
figcaption { padding: .6rem .8rem .7rem; font-size: .9rem; overflow-wrap: anywhere; }
b { font-variant-numeric: tabular-nums; } small { color: var(--soft); } a { color: inherit; }
"""


def write(path: Path, title: str, note: str, found: Sequence[Found]) -> Path:
    """Writes the page, whole or not at all.

    Args:
        title: the query.
        note: a line below it.
    """
    cells = "\n".join(_cell(rank, one) for rank, one in enumerate(found, 1)) or "<p>Nothing was found.</p>"
    text = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f'<h1>{escape(title)}</h1>\n<p>{escape(note)}</p>\n<div class="found">\n{cells}\n</div>\n'
        "</main>\n</body>\n</html>\n"
    )
    write_atomically(path, text)
    return path


def clock(seconds: float) -> str:
    """ "0:07.5", "1:02:03.0" """
    minutes, rest = divmod(round(10 * seconds), 600)
    hours, minutes = divmod(minutes, 60)
    start = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{start}:{rest // 10:02d}.{rest % 10}"


def thumbnail(found: Found) -> Image.Image | None:
    """The photo, or the best moment's frame; None where the file is gone or broken by now."""
    path = Path(found.path)
    try:
        if found.kind == "photo":
            picture = image.to_pil(image.read(path, long_side=SIDE))
        elif path.is_dir():
            frames = film_frames(path)
            # Which frame belongs to a time only the index's frame rate says; the whole folder lasts its moments.
            picture = image.to_pil(image.read(frames[len(frames) // 2], long_side=SIDE))
        else:
            picture = Image.fromarray(video.frames(path, [found.best_s])[0])
            picture.thumbnail((SIDE, SIDE))
    except (OSError, ValueError, IndexError):
        return None
    return picture


def _cell(rank: int, found: Found) -> str:
    path, small = Path(found.path), thumbnail(found)
    link = escape(path.as_uri(), quote=True)
    span = "" if found.kind == "photo" else f"{clock(found.start_s)} to {clock(found.end_s)} · "
    poster = "" if small is None else _embed(small)
    if small is None:
        shown = '<div class="gone">the file is gone</div>'
    elif found.kind == "video" and path.suffix.lower() in PLAYED:
        times = f"#t={found.start_s:g},{found.end_s:g}"
        shown = f'<video controls muted preload="none" poster="{poster}" src="{link}{times}"></video>'
    else:
        shown = f'<a href="{link}"><img src="{poster}" alt="{escape(path.name)}"></a>'
    date = datetime.fromtimestamp(found.taken).date().isoformat()
    copies = f"<br><small>also {escape(', '.join(found.copies))}</small>" if found.copies else ""
    return (
        f"<figure>{shown}<figcaption>{rank}. <b>{span}{found.score:.3f}</b><br>"
        f'<a href="{link}">{escape(path.name)}</a><br><small>{escape(str(path.parent))} · {date}</small>{copies}'
        "</figcaption></figure>"
    )


def _embed(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
