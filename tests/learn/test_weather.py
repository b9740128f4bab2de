"""Adapted to the night without labels (light painted into day pictures, and self-training), it sees more at night."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import percepta
from percepta.metrics import Metric
from percepta.systems.weather import PRESETS
from percepta.train import train

SEED = 0


def run(adapted: bool, out: Any) -> dict[str, Metric]:
    tiny = PRESETS["tiny"]
    adaptation = replace(tiny.adaptation, self_training=adapted)
    tiny = replace(tiny, light=tiny.light if adapted else 0.0)
    config = replace(
        tiny, adaptation=adaptation, train=replace(tiny.train, seed=SEED, checkpoint_every=tiny.train.steps)
    )
    system = percepta.load(train("weather", config, out=out, device="cpu"), system="weather", device="cpu")
    return dict(system.evaluate(split="test").metrics)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, dict[str, Metric]]:
    found = {adapted: run(adapted, tmp_path_factory.mktemp(f"adapted-{adapted}")) for adapted in (False, True)}
    for adapted, metrics in found.items():
        print(adapted, {key: round(one.value, 3) for key, one in metrics.items() if key.startswith("miou/")})
    return found


@pytest.mark.learn
def test_the_world_is_learnt_by_day(runs: dict[bool, dict[str, Metric]]) -> None:
    day = runs[True]["miou/day"]
    assert day.value > day.baselines["likeliest class of each place"] + 0.05


@pytest.mark.learn
def test_what_was_learned_by_day_is_carried_over_to_the_night(runs: dict[bool, dict[str, Metric]]) -> None:
    """By intervals over pictures: the lower end of one is above the upper end of the other."""
    source, adapted = (runs[adapted]["miou/night"] for adapted in (False, True))
    assert adapted.low is not None and source.high is not None and adapted.low > source.high
