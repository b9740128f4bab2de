"""The demo of avatars: a turntable, and a motion that training never saw."""

from __future__ import annotations

from collections.abc import Callable

from percepta.contract import Block
from percepta.report import Gallery, Text
from percepta.systems.avatar.model import template
from percepta.systems.avatar.predict import Avatar
from percepta.worlds.people.motions import made

SIZE = (128, 160)


def demo(load: Callable[[str], Avatar], pictures: int = 4) -> list[Block]:
    """The blocks of the demo's page.

    Args:
        load: `percepta.load`, or what stands in its place.
        pictures: how many of the turntable, and how many of the motion.
    """
    system = load("avatar")
    around = [360.0 * i / pictures for i in range(pictures)]
    motion = made("turn", 1.5, seed=9, body=template(system.config))
    turntable = [(system.predict(angle_deg=angle, size=SIZE).draw(), f"from {angle:.0f}°") for angle in around]
    frames = [round(i * (len(motion) - 1) / max(pictures - 1, 1)) for i in range(pictures)]
    moving = [
        (system.predict(motion, frame=f, size=SIZE).draw(), f"a new motion, {f / motion.fps:.1f} s") for f in frames
    ]
    words = "A person in a skirt, learnt from eight cameras. The person is rendered: this is nobody's likeness."
    return [Text(words), Gallery(turntable), Gallery(moving)]
