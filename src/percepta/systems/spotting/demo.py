"""The demo: some minutes of a rendered game."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from percepta.contract import Block
from percepta.nn.spotting import of_pictures
from percepta.report import Gallery, Text
from percepta.worlds.pitch import recording
from percepta.worlds.pitch.recording import stills

SEED, SECONDS = recording.FIRST["test"] + 901, 240.0  # the first of these in which actions are replayed
SHOWN = 4  # pictures


def demo(load: Callable[[str], Any]) -> list[Block]:
    """The blocks of the demo's page.

    Args:
        load: `percepta.load`, or what stands in its place.
    """
    half = recording.halves(SEED, SECONDS)[0]
    system = load("spotting")
    result = system.predict(recording.encoded(half, of_pictures(system.model.image.frames)))
    best = sorted(result.spots, key=lambda spot: -spot.score)[:SHOWN]
    moments = [(spot.time_s, f"{spot.time_s:.1f} s: {spot.label} {spot.score:.0%}") for spot in best]
    names = ", ".join(f"{e.label} at {e.time_s:.0f} s" for e in half.match.events)
    told = f"A rendered game, never seen in training; nothing here has seen football. The truth: {names}."
    return [Gallery([*stills(half, moments), (result.above(0.3).draw(), result.text)]), Text(told)]
