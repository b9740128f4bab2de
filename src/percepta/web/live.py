"""A local page that shows the answers of a stream as they come: a camera, or a video in its place.

serve(refer.stream("camera:0", "the cup"), "the cup")
"""

from __future__ import annotations

import html
import io
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from percepta.contract import Answer
from percepta.errors import InputError, MissingExtraError, one_line
from percepta.media import draw
from percepta.web import local

try:
    from fastapi import FastAPI
    from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse
except ModuleNotFoundError as error:
    raise MissingExtraError(f"{error.name} missing: run pip install 'percepta[web]'") from error

BOUNDARY = "frame"  # between two pictures of the stream
WAIT_S = 1.0  # how long a browser waits for the next picture before the last one is sent again
_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>TITLE</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body{margin:0;background:#14171b;color:#e6e8eb;font:16px system-ui,sans-serif;text-align:center}
img{max-width:100%;max-height:86vh}p{margin:.6rem}</style></head>
<body><p>TITLE</p><img src="/frames" alt="the newest picture with its answer"><p id="text"></p>
<script>setInterval(async () => { try { const answer = await (await fetch("/answer")).json();
document.getElementById("text").textContent = answer.error || answer.texts.join("; "); } catch {} }, 500);</script>
</body></html>"""


@dataclass
class Newest:
    """The newest answer of a stream that a thread goes through; a slow browser misses answers, none waits for it.

    Attributes:
        picture: JPEG of the drawing; b"" before the first.
        texts: the answers in words.
        number: how many pictures there were.
        error: why the stream has ended; "" while it runs.
    """

    picture: bytes = b""
    texts: list[str] = field(default_factory=list)
    number: int = 0
    error: str = ""
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _stop: threading.Event = field(default_factory=threading.Event)

    def follow(self, answers: Iterable[Answer[Any]]) -> None:
        """Goes through a stream until it ends or `stop` is called."""
        end = "the stream has ended"
        try:
            for answer in answers:
                if self._stop.is_set():
                    return
                if answer.error:
                    end = answer.error
                    continue
                content = io.BytesIO()
                drawings = [result.draw().convert("RGB") for result in answer.results]
                shown = drawings[0] if len(drawings) == 1 else draw.sheet(drawings, len(drawings), 1200)
                shown.save(content, "JPEG", quality=80)
                self._put(content.getvalue(), [result.text for result in answer.results])
        except (InputError, OSError) as error:
            end = one_line(error)
        with self._changed:
            self.error = end
            self._changed.notify_all()

    def stop(self) -> None:
        """Ends `follow` after the picture at hand."""
        self._stop.set()

    def _put(self, picture: bytes, texts: list[str]) -> None:
        with self._changed:
            self.picture, self.texts, self.number = picture, texts, self.number + 1
            self._changed.notify_all()

    def pictures(self) -> Iterator[bytes]:
        """The pictures as parts of a multipart stream, the newest each time; ends with the stream."""
        last = 0
        while not self._stop.is_set():
            with self._changed:
                if self.number <= last and not self.error:
                    self._changed.wait(WAIT_S)
                picture, last, ended = self.picture, self.number, bool(self.error)
            if picture:
                head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
                yield head.encode() + picture + b"\r\n"
            if ended:
                return


def app(newest: Newest, title: str) -> FastAPI:
    """The page over one stream: the picture, and the answer in words.

    Args:
        newest: what a thread puts there.
        title: above the picture.
    """
    page = _PAGE.replace("TITLE", html.escape(title))
    web = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    local.protect(web, page)

    @web.get("/")
    def index() -> HTMLResponse:
        return HTMLResponse(page)

    @web.get("/answer")
    def answer() -> JSONResponse:
        return JSONResponse({"texts": newest.texts, "number": newest.number, "error": newest.error})

    @web.get("/frames")
    def frames() -> StreamingResponse:
        return StreamingResponse(newest.pictures(), media_type=f"multipart/x-mixed-replace; boundary={BOUNDARY}")

    return web


def serve(
    answers: Iterable[Answer[Any]],
    title: str,
    port: int = 8766,
    open_browser: bool = True,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Shows a stream on 127.0.0.1 until Ctrl-C.

    Args:
        answers: what a system's `stream` gives.
        title: above the picture.
        port: 0 to 65535; where it is 0 or cannot be had, a free one is used.
        open_browser: opens the page in the user's browser, where there is a screen.
        on_ready: called with the page's address once it can be opened.
    """
    newest = Newest()
    worker = threading.Thread(target=newest.follow, args=(answers,), daemon=True)
    worker.start()
    try:
        local.serve(app(newest, title), port, open_browser, on_ready)
    finally:
        newest.stop()
        worker.join(5)
