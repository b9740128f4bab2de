"""On streets whose lanes alone decide where everybody goes, the map helps; and so does seeing the others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import percepta
from percepta.checkpoint import find_task
from percepta.contract import Dataset
from percepta.systems.forecast import PRESETS
from percepta.systems.forecast.data import data
from percepta.train import evaluate, train

STEPS = 400


class Without:
    """Windows in which agents see nothing of one kind: "lane" or "neighbour"."""

    def __init__(self, samples: Any, what: str) -> None:
        self.samples, self.what = samples, what

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: Any) -> Any:
        sample = self.samples[key]
        name = f"{self.what}_there"
        return {**sample, "tensors": {**sample["tensors"], name: torch.zeros_like(sample["tensors"][name])}}

    def collate(self, samples: list[Any]) -> Any:
        return self.samples.collate(samples)


@pytest.mark.learn
def test_the_map_and_the_others_matter(tmp_path: Path) -> None:
    """The same network, trained with everything; then what it sees is taken away, piece by piece."""
    tiny = PRESETS["tiny"]
    config = replace(tiny, train=replace(tiny.train, steps=STEPS, checkpoint_every=STEPS))
    system = percepta.load(train("forecast", config, out=tmp_path, device="cpu"), system="forecast", device="cpu")
    samples = data(system.config, "test")
    assert samples is not None
    whole: dict[str, Dataset] = {
        "all": samples, "no map": Without(samples, "lane"), "no others": Without(samples, "neighbour")
    }  # fmt: skip
    with torch.no_grad():
        found = {name: evaluate(find_task("forecast"), system.model, s, 8).metrics for name, s in whole.items()}
    key = "minFDE, 3 s"
    print({name: metrics[key].value for name, metrics in found.items()}, found["all"][key].baselines)
    ours = found["all"][key].value
    assert ours < 0.6 * found["all"][key].baselines["fan"]
    assert ours < 0.75 * found["no map"][key].value, "the map decides"
    assert found["all"]["one mode FDE, 3 s"].value < found["no others"]["one mode FDE, 3 s"].value
