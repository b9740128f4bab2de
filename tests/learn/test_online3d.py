"""On synthetic rooms that it has not seen, a tiny network beats what colour alone can say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import percepta
from percepta.systems.online3d import PRESETS
from percepta.train import train


@pytest.mark.learn
def test_shape_says_more_than_colour(tmp_path: Path) -> None:
    tiny = PRESETS["tiny"]
    config = replace(tiny, rooms=24, frames=16, mix_share=0.0, free_rotation=0.0, class_balance=0.5)
    config = replace(config, train=replace(config.train, steps=220, batch_size=4, ema=0.9))
    system = percepta.load(train("online3d", config, out=tmp_path, device="cpu"), device="cpu")
    found = system.evaluate().metrics
    trivial = max(found["mIoU"].baselines.values())
    print({key: round(metric.value, 3) for key, metric in found.items()}, trivial)
    assert found["mIoU"].value > trivial + 0.05
    assert found["right points"].value > 0.5
