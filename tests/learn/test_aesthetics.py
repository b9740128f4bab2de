"""Personal aesthetics learns its synthetic world: what the crowd cannot know, who people are, and what they rated."""

from __future__ import annotations

from dataclasses import replace

import pytest

import percepta
from percepta.metrics import Metric
from percepta.systems.aesthetics import PRESETS
from percepta.train import train

CONFIG = PRESETS["tiny"]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Metric]:
    """All four parts held out in turn, so that every person of the world is tested."""
    config = replace(CONFIG, members=(0, 1, 2, 3))
    return (
        percepta.load(train("aesthetics", config, out=tmp_path_factory.mktemp("taste"))).evaluate(batch_size=16).metrics
    )


@pytest.mark.learn
def test_a_person_is_known_better_than_the_crowd_even_if_its_mean_were_known(measured: dict[str, Metric]) -> None:
    """The crowd's true mean of the same pictures is what no model of the crowd can exceed."""
    for shots, margin in ((0, 0.02), (10, 0.2), (100, 0.3)):
        metric = measured[f"SROCC, {shots} ratings"]
        print(shots, metric)
        assert metric.low is not None and metric.low > metric.baselines["crowd's true mean (oracle)"] + margin


@pytest.mark.learn
def test_who_somebody_is_helps_before_they_rate(measured: dict[str, Metric]) -> None:
    """Half of the taste of the world's people follows from age and gender; ratings make it superfluous."""
    gains = [measured[f"SROCC gained over no profile, {shots} ratings"] for shots in (0, 10, 100)]
    assert gains[0].low is not None and gains[0].low > 0.15, gains[0]
    assert gains[0].value > gains[1].value > gains[2].value


@pytest.mark.learn
def test_ratings_teach_more_than_ridge_regression_learns(measured: dict[str, Metric]) -> None:
    for shots in (10, 100):
        gain = measured[f"SROCC gained over ridge, {shots} ratings"]
        assert gain.low is not None and gain.low > 0.02, gain


@pytest.mark.learn
def test_the_uncertainty_is_honest(measured: dict[str, Metric]) -> None:
    held = measured["ratings within their 80 % interval, 10 ratings"]
    assert 0.7 < held.value < 0.9, held
