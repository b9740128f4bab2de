"""The demo of a driver's activities: half a minute of the in-cabin world, seen by three cameras and by one."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from PIL import Image

from percepta.contract import Block
from percepta.report import Gallery, Table, Text
from percepta.systems.driver.decoder import Activity
from percepta.systems.driver.predict import Driver, timeline
from percepta.systems.driver.world import frames
from percepta.worlds.people.cabin import make_drive

SEED = 3_000_001  # of no split
ACTIVITIES = (1, 7, 3)


def demo(load: Callable[[str], Driver]) -> list[Block]:
    """The blocks of the demo's page.

    Args:
        load: `percepta.load`, or what stands in its place.
    """
    system = load("driver")
    config = system.config
    drive = make_drive(SEED, fps=4, activities=ACTIVITIES, pace=0.5)
    views = {view: np.stack([*frames(drive, view, config.fps)]) for view in config.views}
    began = time.perf_counter()
    result = system.predict(views)
    took = time.perf_counter() - began
    alone = system.predict({config.views[0]: views[config.views[0]]})
    truth = [Activity(x.activity, float(x.start_s), float(x.end_s), 1.0) for x in drive.spans]
    strip = np.concatenate([np.concatenate(list(some[4::14]), 1) for some in views.values()])
    pictures = [
        (Image.fromarray(strip), "three cameras, every seven seconds"),
        (timeline(result.spans, result.labels, result.duration_s, truth=truth), f"three views: {result.text}"),
        (timeline(alone.spans, alone.labels, alone.duration_s, truth=truth), f"one view: {alone.text}"),
    ]
    rows = [[result.labels[x.label], f"{x.start_s:.1f}", f"{x.end_s:.1f}", f"{x.score:.2f}"] for x in result.spans]
    return [
        Text(
            f"A drive of {result.duration_s:.0f} s of the in-cabin world, seen in {took:.1f} s. Truth above, what was "
            "found below."
        ),
        Gallery(pictures),
        Table(["activity", "start, s", "end, s", "confidence"], rows),
    ]
