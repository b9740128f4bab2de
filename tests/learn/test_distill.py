"""With four wrong labels in ten, DLB answers clean pictures truer than cross-entropy on the same two views."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import percepta
from percepta.systems.distill import PRESETS
from percepta.systems.distill.data import pool
from percepta.systems.distill.evaluate import answers
from percepta.train import train

SEEDS = (0, 1)
STEPS = 340  # 56 epochs of 192 pictures: long enough to learn wrong labels by heart


def run(method: Any, seed: int, out: Any) -> dict[str, float]:
    """One training; what it answers to clean test pictures, and to the wrong labels that it was trained with."""
    tiny = PRESETS["tiny"]
    settings = replace(tiny.train, steps=STEPS, seed=seed, checkpoint_every=STEPS)
    config = replace(tiny, self_distill=method, noise=0.4, noise_seed=seed, samples=192, train=settings)
    system = percepta.load(train("distill", config, out=out, device="cpu"), system="distill", device="cpu")
    values = {key: metric.value for key, metric in system.evaluate(split="test", batch_size=64).metrics.items()}
    training = pool(config, "train", None)
    batch = {"image": training.pixels, "label": torch.from_numpy(training.labels)}
    found = answers(system.model, [batch])
    wrong = found.labels != training.truth
    by_heart = float((found.probabilities.argmax(1) == found.labels)[wrong].mean())
    return {**{key: values[key] for key in ("accuracy", "NLL", "ECE")}, "by heart": by_heart}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float]]:
    """Means over the seeds."""
    out = {}
    for method in ("views", "dlb", "recall"):
        rows = [run(method, seed, tmp_path_factory.mktemp(f"{method}-{seed}")) for seed in SEEDS]
        out[method] = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
    print(out)
    return out


@pytest.mark.learn
def test_dlb_is_truer_than_cross_entropy_on_the_same_views(runs: dict[str, dict[str, float]]) -> None:
    """Same pictures, views and updates. Measured over two seeds: NLL 1.5 against 2.0, ECE .14 against .21."""
    assert runs["dlb"]["NLL"] < runs["views"]["NLL"] - 0.25
    assert runs["dlb"]["ECE"] < 0.85 * runs["views"]["ECE"]


@pytest.mark.learn
def test_a_longer_memory_resists_wrong_labels_better(runs: dict[str, dict[str, float]]) -> None:
    """Measured over four seeds: NLL 1.36 against 1.45. How much of it two seeds show depends on the processor's
    rounding (0.08 without AVX-512, above 0.1 with it), so no more than half of it is asked for."""
    assert runs["recall"]["NLL"] < runs["dlb"]["NLL"] - 0.04
    assert runs["recall"]["by heart"] < runs["dlb"]["by heart"] - 0.05
