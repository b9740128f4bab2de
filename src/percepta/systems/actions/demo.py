"""The demo of action localisation: a film of somebody who squats, waves and walks, and a timeline of what is found."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from percepta.contract import Block
from percepta.geometry.body import random_shape
from percepta.report import Gallery, Table, Text
from percepta.systems.actions import bodies
from percepta.systems.actions.predict import Actions, timeline
from percepta.systems.actions.suppress import Segments
from percepta.worlds.people import motions, paint
from percepta.worlds.people.film import random_stage, shoot
from percepta.worlds.people.person import dressed

SEED = 3_000_004  # of no split
PARTS = (
    ("idle", 4.0, ""), ("squat", 6.0, "squat"), ("idle", 3.0, ""), ("wave", 5.0, "wave one hand"), ("idle", 3.0, ""),
    ("walk", 5.0, "walk"), ("idle", 2.0, ""),
)  # fmt: skip
BLEND_S = 0.3
FPS = 4.0


def film() -> tuple[UInt8[np.ndarray, "t h w 3"], list[tuple[float, float, str]]]:
    """(frames, [(start and end in seconds, action)])."""
    rng = np.random.default_rng(SEED)
    person = dressed("tight", random_shape(rng), paint.random_look(rng))
    parts = [motions.made(name, s, seed=SEED + i, body=person.body) for i, (name, s, _) in enumerate(PARTS)]
    shot = shoot(
        motions.joined(parts, blend_s=BLEND_S), person, random_stage(SEED), seed=SEED, width=bodies.WIDTH,
        height=bodies.HEIGHT, fps=FPS, samples=1,
    )  # fmt: skip
    spans, now = [], 0.0
    for _, seconds, label in PARTS:
        if label:
            spans.append((now + BLEND_S / 2, now + seconds - BLEND_S / 2, label))
        now += seconds - BLEND_S
    return shot.pixels[:, bodies.TOP : bodies.TOP + bodies.HIGH, bodies.LEFT : bodies.LEFT + bodies.WIDE], spans


def demo(load: Callable[[str], Actions]) -> list[Block]:
    """The blocks of the demo's page.

    Args:
        load: `percepta.load`, or what stands in its place.
    """
    system = load("actions")
    labels = system.config.labels
    frames, spans = film()
    began = time.perf_counter()
    result = system.predict(frames, fps=FPS)
    took = time.perf_counter() - began
    known = [one for one in spans if one[2] in labels]
    truth = Segments(
        np.array([one[:2] for one in known], np.float64).reshape(-1, 2),
        np.ones(len(known)),
        np.array([labels.index(one[2]) for one in known], np.int64),
    )
    some = result.shown
    strip = np.concatenate(list(frames[6::10][:9]), 1)
    drawn = timeline(some, labels, result.duration_s, truth=truth)
    rows = [
        [labels[k], f"{s:.1f}", f"{e:.1f}", f"{p:.2f}"]
        for (s, e), p, k in zip(some.span, some.score, some.label, strict=True)
    ]
    return [
        Text(
            f"A rendered film of {result.duration_s:.0f} s, seen in {took:.1f} s: somebody stands, squats, waves and "
            "walks. Truth above, what was found below. Neither person nor motions are those of the training."
        ),
        Gallery([(Image.fromarray(strip), "every tenth frame"), (drawn, result.text)]),
        Table(["action", "start, s", "end, s", "score"], rows),
    ]
