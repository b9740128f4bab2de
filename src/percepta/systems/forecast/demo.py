"""The demo of forecasting: a synthetic street moment by moment, and where everybody went in the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from percepta.contract import Block
from percepta.metrics import forecast as fc
from percepta.report import Gallery, Table, Text
from percepta.systems.forecast.fans import CONSTANT_VELOCITY, last_displacement
from percepta.systems.forecast.predict import Forecast
from percepta.worlds.street.traffic import traffic

STREETS = (900_002, 900_005)  # of no split
AHEAD_S = 3.0


def demo(load: Callable[[str], Forecast]) -> list[Block]:
    """The blocks of the demo's page.

    Args:
        load: `percepta.load`, or what stands in its place.
    """
    system = load("forecast")
    drawn, rows = [], []
    for seed in STREETS:
        tracks = traffic(seed, seconds=9.0, cars=7, people=2)
        for last in (25, 45):
            began = time.perf_counter()
            result = system.predict(tracks, last=last, horizon_s=AHEAD_S)
            took = 1000 * (time.perf_counter() - began)
            moment = tracks.moment(last, system.config.observed_steps, len(result.time_s))
            drawn.append((replace(result.scene, truth=moment.truth).draw(), f"{len(result.ids)} agents, {took:.0f} ms"))
            whole = np.isfinite(moment.truth).all((1, 2))
            truth = moment.truth[whole]
            ours = fc.score(result.position[whole], truth, result.probability[whole])
            step = last_displacement(moment.past[whole])
            straight = CONSTANT_VELOCITY.predict(moment.past[whole][:, -1], step, truth.shape[1])
            constant = fc.score(straight, truth)
            rows.append([f"street {seed}, step {last}", len(truth), ours.min_fde.mean(), constant.min_fde.mean()])
    return [
        Text(
            "Cars and people on synthetic streets, from above: black where they were, coloured the "
            f"{system.config.modes} futures of each in {AHEAD_S:g} s, wider where they are more probable, dashed where "
            "they went. The network was trained on real recordings and has seen no such street."
        ),
        Gallery(drawn),
        Table(["", "agents", "minFDE, m", "constant velocity, m"], rows),
    ]
