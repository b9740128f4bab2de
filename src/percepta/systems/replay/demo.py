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


def demo(load: Callable[[str], Any]) -> list[Block]:
    """The blocks of the demo's page.

    Args:
        load: `percepta.load`, or what stands in its place.
    """
    half = recording.halves(SEED, SECONDS)[0]
    system = load("replay")
    result = system.predict(recording.encoded(half, of_pictures(system.model.image.frames)))
    moments = []
    for r in result.replays[:2]:
        moments.append(((r.start_s + r.end_s) / 2, f"replay at {r.start_s:.1f} s"))
        if r.times_s:
            moments.append((r.times_s[0], f"shows {r.times_s[0]:.1f} s?"))
    links = ", ".join(f"{r.start_s:.0f} s shows {r.action.time_s:.0f} s" for r in half.replays if r.action is not None)
    told = f"A rendered game, never seen in training; nothing here has seen football. The truth: {links}."
    return [Gallery([*stills(half, moments), (result.draw(), result.text)]), Text(told)]
