"""A local page to give stars to one's own pictures, and the session behind it.

    album = RatingSession(Path("holidays"), rank=rank)
    serve(album, on_ready=print)

The session keeps one promise: a rating that was answered is on the disk. It also never overwrites what it has not
read: the file is read again before every change, so that an edit by hand is kept. Of two servers on one file the second
is refused, by a lock that says who holds it. The model that predicts taste is handed in as a function and runs in a
thread of its own; whether it is slow or fails, ratings go on.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from percepta.datasets.album import RATINGS, STARS, pictures, read_ratings, write_ratings
from percepta.datasets.ratings import Scale
from percepta.datasets.tables import read_columns
from percepta.errors import InputError, MissingExtraError, MissingFileError
from percepta.files import Lock, check_regular, remove_leftovers
from percepta.media import image
from percepta.web import local

try:
    from fastapi import FastAPI, Request, Response
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import HTMLResponse, JSONResponse
    from pydantic import BaseModel, ConfigDict
except ModuleNotFoundError as error:
    raise MissingExtraError(f"{error.name} missing: run pip install 'percepta[web]'") from error

COLUMNS = ("file", "score")
SIDES = (320, 960, 1600)
CACHE_BYTES = 64 << 20
STAR = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><path fill="#e0a100" '
    'd="M12 2l3 6.6 7.2.8-5.4 4.8 1.5 7.1L12 17.7l-6.3 3.6 1.5-7.1L1.8 9.4 9 8.6z"/></svg>'
)


@dataclass(frozen=True)
class Ranked:
    """A picture's predicted score and its standard deviation, both in the scale of the ratings."""

    file: str
    score: float
    deviation: float


@dataclass(frozen=True)
class Ranking:
    """Pictures by predicted taste, best first; and unrated ones, the most useful to rate next first."""

    order: tuple[Ranked, ...]
    ask: tuple[str, ...] = ()


Rank = Callable[[Mapping[str, float]], Ranking]


# ------------------------------------------------------------------------------------------------- session


class RatingSession:
    """One person's ratings of one folder of pictures. Every method may be called from any thread.

    Args:
        folder: the pictures; nothing in it is modified but the ratings, and a hidden lock beside them.
        ratings_path: the CSV with the columns file and score; None: `ratings.csv` in the folder.
        scale: the scores that may be given.
        rank: what predicts taste from {file: score}; None: the page has no list of predictions.

    Attributes:
        files: names of the pictures, in order.
        left_out: sentences about pictures that are not shown, and why.

    Raises:
        MissingFileError, NotADirectoryError: no such folder, or no pictures in it.
        PermissionError: the folder of the ratings cannot be written.
        BusyError: another session writes these ratings; says which process.
        InputError: the ratings have further columns, or a line that is wrong (names file and line): writing them
            anew would lose something.
    """

    def __init__(
        self,
        folder: Path,
        ratings_path: Path | None = None,
        scale: Scale = STARS,
        rank: Rank | None = None,
    ) -> None:
        self.folder = folder
        # A link is followed once: the rename would otherwise put a file in its place.
        self.path = (ratings_path or folder / RATINGS).resolve()
        self.scale = scale
        listed = pictures(folder)
        if not listed:
            raise MissingFileError(f"{folder}: no pictures in this folder (subfolders are not looked into)")
        self._listed = frozenset(path.name for path in listed)
        self._paths: dict[str, Path] = {}
        left_out = []
        for path in listed:
            if not _writable(path.name):
                left_out.append(f"{_shown(path.name)}: the name is not valid Unicode text; rename the file")
            elif not self._inside(path):
                left_out.append(f"{path.name}: a link to a file outside the album")
            else:
                self._paths[path.name] = path
        self.files, self.left_out = tuple(self._paths), tuple(left_out)
        # A page outlives its server: names stay right where numbers would mean another picture after a restart.
        self._keys = {hashlib.sha256(name.encode()).hexdigest()[:20]: name for name in self.files}
        self._broken: dict[str, str] = {}
        for name in self.files:
            self._header(name)
        if not os.access(self.path.parent, os.W_OK):
            raise PermissionError(f"{self.path.parent}: ratings cannot be written here; give another file for them")
        self._lock = threading.Lock()
        self._file_lock = Lock(self.path.with_name(f".{self.path.name}.lock"), f"{self.path}: these ratings are busy")
        remove_leftovers(self.path)
        try:
            self._begin(rank)
        except BaseException:
            self._file_lock.close()
            raise

    def _begin(self, rank: Rank | None) -> None:
        self._session = secrets.token_hex(8)
        self._version = 0
        self._history: list[tuple[str, float | None]] = []
        self._ratings: dict[str, float] = {}
        self._ratings = self._read()
        self._thumbnails = _Thumbnails(CACHE_BYTES)
        self._ranker = _Ranker(rank, frozenset(self.files), self._listed) if rank else None
        if self._ranker:
            self._ranker.ask(self._version, self._ratings)

    @property
    def ratings(self) -> dict[str, float]:
        """The ratings as last read or written, {file: score}."""
        with self._lock:
            return dict(self._ratings)

    @property
    def broken(self) -> dict[str, str]:
        """Pictures that cannot be read, {file: why}."""
        return dict(self._broken)

    def rate(self, file: str, score: float | None) -> dict[str, Any]:
        """Gives a score, or takes it away (None). On return it is on the disk.

        Raises:
            LookupError: no such picture.
            InputError: not a score of the scale; the picture is broken; the file of ratings holds, by now, what
                cannot be read. Nothing was changed then.
            OSError: the file could not be written.
        """
        if file not in self._paths:
            raise LookupError(f"no picture {_shown(file)} in this album")
        if score is not None:
            if file in self._broken:
                raise InputError(f"a picture that cannot be read gets no rating: {self._broken[file]}")
            if not math.isfinite(score) or not self.scale.has(score):
                raise InputError(f"{score:g} is no score of the scale {self.scale}")
            score = float(self.scale.snap(score))
        with self._lock:
            self._sync()
            before = self._ratings.get(file)
            if before != score:
                self._write(file, score)
                self._history.append((file, before))
            return self._answer(file)

    def undo(self, version: int | None = None) -> dict[str, Any]:
        """Takes back the last change that was made here; changes made elsewhere end what can be undone.

        Args:
            version: the state that the caller saw; where another change came since, nothing is undone.

        Raises:
            LookupError: there is nothing to undo.
            InputError, OSError: as in `rate`; or the version is not the present one.
        """
        with self._lock:
            self._sync()
            if version is not None and version != self._version:
                raise InputError("the ratings changed elsewhere meanwhile; look again before undoing")
            if not self._history:
                raise LookupError("there is nothing to undo")
            file, before = self._history[-1]
            self._write(file, before)
            self._history.pop()
            return self._answer(file)

    def state(self) -> dict[str, Any]:
        """Everything that the page shows, as JSON values."""
        with self._lock:
            problem = ""
            try:
                self._sync()
            except (ValueError, OSError) as error:
                problem = str(error)
            keys = {name: key for key, name in self._keys.items()}
            return {
                "session": self._session,
                "version": self._version,
                "album": self.folder.resolve().name,
                "ratings_file": self.path.name,
                "scale": {"low": self.scale.low, "high": self.scale.high, "step": self.scale.step},
                "sides": list(SIDES),
                "pictures": [{"file": n, "key": keys[n], "broken": self._broken.get(n)} for n in self.files],
                "ratings": {name: score for name, score in self._ratings.items() if name in self._paths},
                "undo": len(self._history),
                "left_out": list(self.left_out),
                "problem": problem,
                "ranking": self.ranking(),
            }

    def ranking(self, have: int | None = None) -> dict[str, Any]:
        """The last ranking as JSON values: whether a newer one is under way, the error of the last, the order.

        Args:
            have: the version that the caller holds; its order and ask are not sent again.
        """
        if self._ranker is None:
            return {"on": False, "busy": False, "version": None, "error": ""}
        return self._ranker.state(have)

    def name(self, key: str) -> str | None:
        """The picture of a key that `state` gave out; None for any other text."""
        return self._keys.get(key)

    def thumbnail(self, file: str, side: int) -> tuple[bytes, str]:
        """A picture as JPEG, shrunk to `side` pixels and turned upright; and a tag that changes with the file.

        Raises:
            LookupError: no such picture.
            InputError: not one of SIDES; or the picture cannot be read, which `broken` then says too.
        """
        if file not in self._paths:
            raise LookupError(f"no picture {_shown(file)} in this album")
        if side not in SIDES:
            raise InputError(f"the side is one of {', '.join(map(str, SIDES))} pixels, not {side}")
        path = self._paths[file]
        try:
            if not self._inside(path):
                raise InputError("now a link to a file outside the album")
            stat = path.stat()
            tag = f"{stat.st_mtime_ns:x}-{stat.st_size:x}-{side}"
            content = self._thumbnails.get(path, tag, side)
        except Exception as error:  # decoders raise all kinds at damaged files
            self._broken[file] = _without_path(error, path)
            raise InputError(self._broken[file]) from None
        self._broken.pop(file, None)  # mended, or copied to its end by now
        return content, tag

    def close(self) -> None:
        """Ends the ranking thread, and lets another session have the ratings."""
        if self._ranker:
            self._ranker.close()
        self._file_lock.close()

    def _inside(self, path: Path) -> bool:
        return path.resolve().is_relative_to(self.folder.resolve())

    def _header(self, name: str) -> None:
        try:
            image.size(self._paths[name])
        except Exception as error:
            self._broken[name] = _without_path(error, self._paths[name])

    def _read(self) -> dict[str, float]:
        if not self.path.exists():
            if not self._ratings:
                return {}
            raise InputError(
                f"{self.path} is gone although it was there before; put it back, or start `percepta rate` again to "
                "begin without ratings"
            )
        # An empty file is a beginning, but where there were ratings somebody may be in the middle of saving them.
        if not self._ratings and not check_regular(self.path).read_bytes().strip():
            return {}
        _only_our_columns(self.path)
        return read_ratings(self.path, self._listed, self.scale)

    def _sync(self) -> None:
        """Reads the file again and takes over what is new in it. Time stamps are too coarse to trust for this."""
        ratings = self._read()
        if ratings != self._ratings:
            self._ratings = ratings
            self._history.clear()
            self._changed()

    def _write(self, file: str, score: float | None) -> None:
        ratings = dict(self._ratings)
        if score is None:
            ratings.pop(file, None)
        else:
            ratings[file] = score
        write_ratings(self.path, ratings)
        self._ratings = ratings
        self._changed()

    def _changed(self) -> None:
        self._version += 1
        if self._ranker:
            self._ranker.ask(self._version, self._ratings)

    def _answer(self, file: str) -> dict[str, Any]:
        return {
            "session": self._session,
            "version": self._version,
            "file": file,
            "score": self._ratings.get(file),
            "undo": len(self._history),
        }


def _writable(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(name: str) -> str:
    return ascii(name) if not _writable(name) else repr(name)


def _without_path(error: Exception, path: Path) -> str:
    return str(error).replace(str(path), path.name) or type(error).__name__


def _only_our_columns(path: Path) -> None:
    """Refuses a table with further columns: writing it again would lose them. What else is wrong the reader says."""
    extra = [name for name in read_columns(path, COLUMNS) if name.lower() not in COLUMNS]
    if extra:
        raise InputError(
            f"{path}, line 1: column {', '.join(map(repr, extra))} would be lost, as this page writes file and "
            "score only; give it a file of its own, or remove the column"
        )


class _Thumbnails:
    """JPEGs of pictures, the last used kept up to a number of bytes; at most two are made at a time."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._bytes = 0
        self._kept: OrderedDict[tuple[Path, str], bytes] = OrderedDict()
        self._lock = threading.Lock()
        self._making = threading.Semaphore(2)

    def get(self, path: Path, tag: str, side: int) -> bytes:
        key = (path, tag)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        with self._making:
            content = _jpeg(path, side)
        with self._lock:
            self._bytes += len(content) - len(self._kept.get(key, b""))
            self._kept[key] = content
            while self._bytes > self._most and len(self._kept) > 1:
                self._bytes -= len(self._kept.popitem(last=False)[1])
        return content


def _jpeg(path: Path, side: int) -> bytes:
    buffer = io.BytesIO()
    image.to_pil(image.read(path, long_side=side)).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


class _Ranker:
    """Runs the model in a thread of its own: the newest ratings win, those in between are never ranked."""

    def __init__(self, rank: Rank, shown: frozenset[str], known: frozenset[str]) -> None:
        self._rank, self._shown, self._known = rank, shown, known
        self._wake = threading.Condition()
        self._wanted: tuple[int, dict[str, float]] | None = None
        self._busy = self._closed = False
        self._version: int | None = None
        self._order: list[tuple[str, float, float]] = []
        self._ask: list[str] = []
        self._error = ""
        self._thread = threading.Thread(target=self._work, name="percepta-rank", daemon=True)

    def ask(self, version: int, ratings: Mapping[str, float]) -> None:
        with self._wake:
            if self._closed:
                return
            self._wanted = (version, dict(ratings))
            if self._thread.ident is None:
                self._thread.start()
            self._wake.notify_all()

    def state(self, have: int | None) -> dict[str, Any]:
        with self._wake:
            busy = self._busy or self._wanted is not None
            out = {"on": True, "busy": busy, "version": self._version, "error": self._error}
            if have is None or have != self._version:
                out |= {"order": self._order, "ask": self._ask}
            return out

    def close(self) -> None:
        with self._wake:
            self._closed = True
            self._wake.notify_all()
        if self._thread.ident is not None:
            self._thread.join(timeout=1)  # a model that is in the middle of its work is not waited for

    def _work(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._closed or self._wanted is not None)
                if self._closed or self._wanted is None:
                    return
                version, ratings = self._wanted
                self._wanted, self._busy = None, True
            try:
                order, ask = self._plain(self._rank(ratings))
                error = ""
            except Exception as problem:  # whatever the model raises must not end the thread
                order = ask = None
                error = str(problem) or type(problem).__name__
            with self._wake:
                self._busy, self._error = False, error
                if order is not None and ask is not None:  # after a failure the last good list stays
                    self._version, self._order, self._ask = version, order, ask

    def _plain(self, ranking: Ranking) -> tuple[list[tuple[str, float, float]], list[str]]:
        order = [(entry.file, float(entry.score), float(entry.deviation)) for entry in ranking.order]
        unknown = [name for name in (*[row[0] for row in order], *ranking.ask) if name not in self._known]
        if unknown:
            raise InputError(f"the ranking names {unknown[0]!r}, which is no picture of this album")
        wrong = [row for row in order if not (math.isfinite(row[1]) and math.isfinite(row[2]) and row[2] >= 0)]
        if wrong:
            raise InputError(f"the ranking gives {wrong[0][0]} the score {wrong[0][1]} ± {wrong[0][2]}")
        return [row for row in order if row[0] in self._shown], [name for name in ranking.ask if name in self._shown]


# -------------------------------------------------------------------------------------------------- server


class Json(JSONResponse):
    """JSON in ASCII: paths may hold what is no valid Unicode, which UTF-8 could not carry."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, allow_nan=False).encode()


class Stars(BaseModel):
    """What a click sends: the picture's name, and its score or null."""

    model_config = ConfigDict(strict=True, extra="forbid")
    file: str
    score: float | None


class Undo(BaseModel):
    """What "undo" sends: the version of the state that it means."""

    model_config = ConfigDict(strict=True, extra="forbid")
    version: int | None = None


def app(album: RatingSession) -> FastAPI:
    """The page and its API over one album. It answers to 127.0.0.1 and localhost only, see `local.refusal`."""
    page = Path(__file__).with_suffix(".html").read_text(encoding="utf-8")
    web = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    local.protect(web, page)

    @web.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Json:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return Json({"error": f"{where}: {first['msg']}"}, 400)

    @web.get("/")
    def index() -> HTMLResponse:
        return HTMLResponse(page)

    @web.get("/icon.svg")
    def icon() -> Response:
        return Response(STAR, media_type="image/svg+xml")

    @web.get("/api/state")
    def state() -> Json:
        return Json(album.state())

    @web.get("/api/ranking")
    def ranking(have: int | None = None) -> Json:
        return Json(album.ranking(have))

    @web.post("/api/rate")
    def rate(stars: Stars) -> Json:
        return _answer(lambda: album.rate(stars.file, stars.score))

    @web.post("/api/undo")
    def undo(last: Undo) -> Json:
        return _answer(lambda: album.undo(last.version))

    @web.get("/picture/{key}")
    def picture(request: Request, key: str, side: int = SIDES[0]) -> Response:
        name = album.name(key)
        if name is None:
            return Json({"error": "no such picture"}, 404)
        try:
            content, tag = album.thumbnail(name, side)
        except ValueError as error:
            return Json({"error": str(error)}, 422)
        # The browser may keep it but asks each time whether it is still the same: files can be replaced.
        headers = {"ETag": f'"{tag}"', "Cache-Control": "private, no-cache"}
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type="image/jpeg", headers=headers)

    return web


def _answer(work: Callable[[], dict[str, Any]]) -> Json:
    try:
        return Json(work())
    except LookupError as error:
        return Json({"error": str(error.args[0])}, 404)
    except ValueError as error:
        return Json({"error": str(error)}, 409)
    except OSError as error:
        return Json({"error": f"the rating could not be written: {error}"}, 503)


def serve(
    album: RatingSession, port: int = 8765, open_browser: bool = True, on_ready: Callable[[str], None] | None = None
) -> None:
    """Serves the page on 127.0.0.1 until Ctrl-C, then closes the album. Prints nothing.

    Args:
        album: the session; closed at the end.
        port: 0 to 65535; where it is 0 or cannot be had, a free one is used.
        open_browser: opens the page in the user's browser, where there is a screen.
        on_ready: called with the page's address once it can be opened.
    """
    try:
        local.serve(app(album), port, open_browser, on_ready)
    finally:
        album.close()
