"""The demo of personal aesthetics: photographs, ranked for three made-up people and a real one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from percepta.contract import Block
from percepta.datasets import oasis
from percepta.datasets.album import STARS
from percepta.media.samples import MORE, photographs
from percepta.report import Gallery, Table, Text
from percepta.systems.aesthetics.predict import Aesthetics, Album, Result

PICTURES = (
    "astronaut.jpg", "cat.jpg", "coffee.jpg", "rocket.jpg",  # these ship
    "brick.png", "camera.png", "clock_motion.png", "coins.png", "grass.png", "gravel.png", "hubble_deep_field.jpg",
    "ihc.png", "moon.png", "motorcycle_left.png", "page.png", "retina.jpg", "text.png",
)  # fmt: skip
# Who it is, and the stars that they gave, to pictures that ship first; the others are what they would be asked about.
PEOPLE: dict[str, dict[str, float]] = {
    "loves bright and colourful pictures": {
        "coffee.jpg": 5, "rocket.jpg": 1.5, "camera.png": 1, "moon.png": 1, "text.png": 1.5,
    },
    "loves animals, and what grows": {
        "cat.jpg": 5, "rocket.jpg": 1.5, "grass.png": 4, "motorcycle_left.png": 1, "page.png": 2,
    },
    "loves space and the dark": {
        "rocket.jpg": 5, "coffee.jpg": 1, "hubble_deep_field.jpg": 5, "retina.jpg": 4, "page.png": 1,
    },
}  # fmt: skip
SHOWN = 3  # of the best and of the last of everybody's ranking
RATER, SHOTS = 30, 20  # whose profile, and how many of their ratings


def demo(load: Callable[..., Any]) -> list[Block]:
    """Blocks of the demo's page: rankings with deviations, what to ask next, reasons, and milliseconds."""
    files = photographs(PICTURES)
    here = {path.name for path in files}
    system: Aesthetics = load("aesthetics")
    start = time.perf_counter()
    album = system.session(files, scale=STARS)
    rows: list[list[Any]] = [
        ["features of the pictures, computed once", len(files), 1000 * (time.perf_counter() - start)]
    ]
    blocks: list[Block] = [
        Text(
            "Photographs by predicted taste. The dot is the expected score, the thick line one standard deviation, the "
            "tick what people in general are expected to say. Reasons were tried out: the score with the thing minus "
            "the score without, in brackets the same for people in general."
            + (f" {MORE}" if len(files) < len(PICTURES) else "")
        )
    ]
    for who, everything in PEOPLE.items():
        stars = {name: score for name, score in everything.items() if name in here}
        start = time.perf_counter()
        album.rate(stars, replace=True)
        rows.append([f"taking in the ratings of one who {who}", len(stars), 1000 * (time.perf_counter() - start)])
        given = ", ".join(f"{Path(name).stem} {score:g}" for name, score in stars.items())
        asked = ", ".join(Path(name).stem for name in album.ask(3))
        blocks.append(Text(f"Somebody who {who}: {given}. To rate next: {asked}."))
        blocks.append(Gallery(ends(album, album.ranking(), SHOWN)))
    return [*blocks, *real(system, files), Table(["what", "number", "ms"], rows)]


def ends(album: Album, ranked: list[Result], count: int) -> list[tuple[Result, str]]:
    """The best and the last of a ranking (all of a short one), drawn, with their two strongest reasons.

    Args:
        album: it knows reasons and ratings.
        ranked: its results, the best first.
        count: how many from either end.
    """
    numbered = [*enumerate(ranked, start=1)]
    chosen = numbered if len(numbered) <= 2 * count else [*numbered[:count], *numbered[-count:]]
    cells = []
    for (rank, result), why in zip(chosen, album.explain([r.name for _, r in chosen], 2), strict=True):
        rated = f", rated {album.ratings[result.name]:g}" if result.name in album.ratings else ""
        because = [reason.text for reason in why]
        cells.append((result, "\n".join([f"{rank}. {Path(result.name).stem}{rated}", *because])))
    return cells


def real(system: Aesthetics, files: list[Path]) -> list[Block]:
    """The same pictures for one of the people who rated OASIS; nothing where PERCEPTA_DATA does not name it."""
    root = Path(os.environ.get("PERCEPTA_DATA", "")) / "oasis"
    if not os.environ.get("PERCEPTA_DATA") or not (root / "ratings.csv").is_file():
        return []
    study = oasis.study(root)
    mine = np.flatnonzero(study.rater == RATER)[:SHOTS]
    ratings = {study.pictures[study.picture[i]]: float(study.score[i]) for i in mine}
    album = system.session(
        [*files, *ratings],
        profile=study.profiles[RATER],
        ratings={path.name: score for path, score in ratings.items()},
        scale=study.scale,
    )
    names = {path.name for path in files}
    ranked = [result for result in album.ranking() if result.name in names]
    about = ", ".join(study.profiles[RATER])
    return [
        Text(
            f"Somebody who really rated OASIS, from their profile ({about}) and {len(ratings)} of their scores of "
            f"other pictures, on the study's scale of {study.scale.low:g} to {study.scale.high:g}."
        ),
        Gallery(ends(album, ranked, SHOWN)),
    ]
