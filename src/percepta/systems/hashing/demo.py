"""The demo of search by hash codes: photographs and clips made here, in one index."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from percepta.media import draw, video
from percepta.media.samples import MORE, photographs
from percepta.report import Block, Gallery, Heading, Picture, Table, Text
from percepta.systems.hashing import encode, index, moments, results

PICTURES = (
    "astronaut.jpg", "cat.jpg", "coffee.jpg", "rocket.jpg",  # these ship
    "brick.png", "camera.png", "coins.png", "grass.png", "hubble_deep_field.jpg", "moon.png", "motorcycle_left.png",
    "page.png", "retina.jpg",
)  # fmt: skip
# What is searched for, and the file that shows it: a sentence is left out where its file is not there.
QUERIES = {
    "a cat looks at the camera": "cat.jpg",
    "a cup of coffee on a table": "coffee.jpg",
    "a rocket takes off at night": "rocket.jpg",
    "stars and galaxies in space": "hubble_deep_field.jpg",
    "an orange ball": "orange-ball.mp4",
}
TOP = 3  # answers to each
SIDE, SECONDS, FPS = 192, 2, 12


def ball(colour: tuple[int, int, int], ground: tuple[int, int, int]) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """A ball that bounces through the picture."""
    for number in range(SECONDS * FPS):
        share = number / (SECONDS * FPS)
        frame = Image.new("RGB", (SIDE, SIDE), ground)
        x, y = 40 + share * (SIDE - 80), SIDE - 45 - abs(np.sin(share * 2 * np.pi)) * (SIDE - 90)
        ImageDraw.Draw(frame).ellipse((x - 30, y - 30, x + 30, y + 30), colour)
        yield np.array(frame)


def pan(path: Path) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """A camera that moves across a photograph."""
    whole = Image.open(path).convert("RGB")
    whole.thumbnail((2 * SIDE, 2 * SIDE))
    side = min(whole.size)
    for number in range(SECONDS * FPS):
        share = number / (SECONDS * FPS - 1)
        left, top = (round(share * (length - side)) for length in whole.size)
        yield np.array(whole.crop((left, top, left + side, top + side)).resize((SIDE, SIDE)))


def clips(folder: Path, found: list[Path]) -> list[Path]:
    """Renders the clips, one with a cut in it."""
    by_name = {path.name: path for path in found}
    both = [*pan(by_name["cat.jpg"]), *pan(by_name["rocket.jpg"])]
    return [
        video.write(folder / "orange-ball.mp4", ball((240, 130, 20), (230, 235, 240)), FPS),
        video.write(folder / "green-ball.mp4", ball((30, 160, 60), (40, 40, 60)), FPS),
        video.write(folder / "cat-then-rocket.mp4", both, FPS),
    ]


def demo(load: Callable[..., Any]) -> list[Block]:
    """Blocks of the demo's page: for each query the nearest photographs and moments, and milliseconds."""
    found = photographs(PICTURES)
    encoder, settings = encode.ModelEncoder(load("hashing").model), moments.Settings()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "clips").mkdir()
        roots = [*found, *clips(folder / "clips", found)]
        start = time.perf_counter()
        encode_files = partial(moments.encode_files, encoder=encoder, settings=settings)
        with index.Writer(folder / "index", encoder.fingerprint(), encoder.bits, weights=encoder.weights) as writer:
            report = moments.add(writer, roots, encode_files, settings)
        seconds = time.perf_counter() - start
        opened = index.Index.open(folder / "index", model=encoder.fingerprint())
        intro = Text(
            f"{len(found)} photographs and {len(roots) - len(found)} clips made here: {report.moments} moments of "
            f"{encoder.bits} bits. A score is the share of bits that agree with the query's; 0.5 is chance."
            + (f" {MORE}" if len(found) < len(PICTURES) else "")
        )
        best: list[tuple[Picture, str]] = []
        groups: list[Block] = []
        rows: list[list[Any]] = [["encoding everything, once", report.moments, 1000 * seconds]]
        names = {path.name for path in roots}
        for query in (query for query, file in QUERIES.items() if file in names):
            start = time.perf_counter()
            code = encoder.sentences([query])[0]
            read = time.perf_counter()
            answers = opened.find(code, top=TOP)
            rows.append([f"“{query}”: encoding it", 1, 1000 * (read - start)])
            rows.append(["searching", len(opened), 1000 * (time.perf_counter() - read)])
            pictures = [(results.thumbnail(answer), caption(answer)) for answer in answers]
            there: list[tuple[Picture, str]] = [(picture, text) for picture, text in pictures if picture is not None]
            if pictures and (first := pictures[0][0]) is not None:
                best.append((draw.with_bar(first, query, answers[0].score, draw.colours(1)[0]), pictures[0][1]))
            groups += [Heading(f"“{query}”"), Gallery(there)]
    return [intro, Gallery(best), *groups, Table(["what", "number", "ms"], rows)]


def caption(answer: index.Match) -> str:
    """File, time and score of an answer."""
    when = "" if answer.kind == "photo" else f" {results.clock(answer.start_s)} to {results.clock(answer.end_s)}"
    return f"{Path(answer.path).name}{when}\n{answer.score:.2f}"
