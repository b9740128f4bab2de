"""Three views of a driver beat one: in the toy world no view is enough."""

from __future__ import annotations

from pathlib import Path

import pytest

import percepta
from percepta.systems.driver import PRESETS, VIEWS
from percepta.train import train


@pytest.mark.learn
def test_three_views_beat_one(tmp_path: Path) -> None:
    path = train("driver", PRESETS["tiny"], out=tmp_path / "run", device="cpu")
    metrics = percepta.load(path, system="driver", device="cpu").evaluate(batch_size=4, split="test").metrics
    ours = metrics["overlap score"].value
    alone = {view: metrics[f"overlap score, {view} alone"].value for view in VIEWS}
    dead = metrics["overlap score, Right_side_window dead"].value
    print({"three views": ours, **alone, "the least of them dead": dead})
    assert ours > 0.75
    assert ours > max(alone.values()) + 0.2
    assert dead > max(alone.values()) + 0.2, "a camera that fails does not spoil the others"
