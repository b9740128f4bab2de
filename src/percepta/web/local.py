"""What every local page has: it listens on 127.0.0.1 only, answers no other site, and ends with Ctrl-C."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import socket
import sys
import threading
import webbrowser
from collections.abc import Awaitable, Callable
from typing import Literal

from percepta.errors import InputError, MissingExtraError

try:
    import uvicorn
    from fastapi import FastAPI, Request, Response
    from fastapi.responses import JSONResponse
except ModuleNotFoundError as error:
    raise MissingExtraError(f"{error.name} missing: run pip install 'percepta[web]'") from error

LOCAL = ("127.0.0.1", "localhost")
MAX_BODY_BYTES = 64 << 10


def protect(web: FastAPI, page: str) -> None:
    """Refuses what other sites ask for, and lets only the page's own script and style run.

    Args:
        web: the server.
        page: its HTML.
    """
    policy = _content_policy(page)

    @web.middleware("http")
    async def guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        refused = refusal(request)
        answer = JSONResponse({"error": refused[1]}, refused[0]) if refused else await call_next(request)
        answer.headers["Content-Security-Policy"] = policy
        answer.headers["X-Content-Type-Options"] = "nosniff"
        answer.headers["Cross-Origin-Resource-Policy"] = "same-origin"
        answer.headers["Referrer-Policy"] = "no-referrer"
        answer.headers.setdefault("Cache-Control", "no-store")
        return answer


def refusal(request: Request) -> tuple[Literal[403, 411, 413, 415], str] | None:
    """Why a request is not answered (status, sentence), or None.

    The page has no password: what protects it is that no other web site can speak to it. A name that a stranger points
    to this machine (DNS rebinding) shows in Host; another site's form or script in Origin and Sec-Fetch-Site, or in a
    content type that needs no permission across sites.
    """
    server = request.scope.get("server")
    port = server[1] if server else None
    hosts = {f"{name}:{port}" for name in LOCAL} | ({*LOCAL} if port == 80 else set())
    host = request.headers.get("host", "")
    if host not in hosts:
        return 403, f"this page answers to {LOCAL[0]} and {LOCAL[1]} only, not to {host!r}"
    if request.url.path != "/" and request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return 403, "another site asked for this"
    if request.method not in ("GET", "HEAD"):
        origin = request.headers.get("origin")
        if origin is not None and origin != f"http://{host}":
            return 403, f"another site asked for this: {origin!r}"
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return 415, "the content type must be application/json"
        length = request.headers.get("content-length", "")
        if not (length.isascii() and length.isdecimal()):  # nothing of the body has been read yet
            return 411, "the length of the body must be said"
        if len(length) > 9 or int(length) > MAX_BODY_BYTES:
            return 413, f"a body of more than {MAX_BODY_BYTES} bytes"
    return None


def _content_policy(page: str) -> str:
    """Only the page's own script and style run, known by their hashes; everything else comes from this server."""

    def hashes(tag: str) -> str:
        blocks = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digests = (base64.b64encode(hashlib.sha256(block.encode()).digest()).decode() for block in blocks)
        return " ".join(f"'sha256-{digest}'" for digest in digests)

    return (
        f"default-src 'none'; script-src {hashes('script')}; style-src {hashes('style')}; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def serve(
    web: FastAPI, port: int = 8765, open_browser: bool = True, on_ready: Callable[[str], None] | None = None
) -> None:
    """Serves a page on 127.0.0.1 until Ctrl-C. Prints nothing.

    Args:
        web: the server.
        port: 0 to 65535; where it is 0 or cannot be had, a free one is used.
        open_browser: opens the page in the user's browser, where there is a screen.
        on_ready: called with the page's address once it can be opened.
    """
    listening = _listen(port)
    url = f"http://{LOCAL[0]}:{listening.getsockname()[1]}/"
    config = uvicorn.Config(
        web, log_config=None, access_log=False, lifespan="off", proxy_headers=False, server_header=False,
        timeout_graceful_shutdown=2,
    )  # fmt: skip
    try:
        if on_ready:
            on_ready(url)  # the socket listens: a browser that comes before the server waits for it
        if open_browser and _has_screen():
            threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
        uvicorn.Server(config).run(sockets=[listening])
    except KeyboardInterrupt:
        pass  # uvicorn has ended its work and passes the signal on; this is how one leaves the page
    finally:
        listening.close()


def _listen(port: int) -> socket.socket:
    if not 0 <= port <= 65535:
        raise InputError(f"a port is a number from 0 to 65535, not {port}")
    try:
        return socket.create_server((LOCAL[0], port), backlog=128)
    except OSError:
        return socket.create_server((LOCAL[0], 0), backlog=128)


def _has_screen() -> bool:
    # Without one, Linux would start a browser of the terminal and take the keyboard away.
    return not sys.platform.startswith("linux") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
