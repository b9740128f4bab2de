"""A supernet finds out which choices are worth something, where their size says the opposite."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from percepta.metrics.correlation import kendall
from percepta.systems.supernet import PRESETS, demo, ledger, ranking, task
from percepta.systems.supernet.data import pool
from percepta.systems.supernet.scores import scores


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """All networks of the tiny space, of which those that begin with the largest choice are spoilt by noise."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = task.build(PRESETS["tiny"])
        noise = lambda _, __, out: out + 3 * out.std() * torch.randn_like(out)  # noqa: E731
        model.parts[0].layers[0][2].register_forward_hook(noise)
        model, curve = demo.learn(model)
        pictures = pool(PRESETS["tiny"], "test", None)
        codes = model.space.distinct()
        inherited = scores(model, codes, pictures.pixels, pictures.labels, batch_size=len(pictures))
    spoilt = np.array([code[0] == "2" for code in codes])
    guesses = {"inherited": inherited.likelihood, "training": ledger.expected(model, codes)[0]}
    guesses |= ranking.cost_baselines(model.space, codes)
    share = {name: _worse(guess[spoilt], guess[~spoilt]) for name, guess in guesses.items()}
    best = float(inherited.accuracy[~spoilt].max())
    agreement = kendall(guesses["training"], guesses["inherited"])
    print(share, best, agreement, curve[-1])
    return {"spoilt are worse": share, "best": best, "agreement": agreement}


def _worse(low: np.ndarray, high: np.ndarray) -> float:
    """Share of pairs in which the first is below the second, ties half."""
    return float(((low[:, None] < high[None]) + 0.5 * (low[:, None] == high[None])).mean())


@pytest.mark.learn
def test_inherited_weights_see_what_is_spoilt(found: dict[str, Any]) -> None:
    share = found["spoilt are worse"]
    assert share["inherited"] > 0.8 and share["training"] > 0.8
    assert max(share[name] for name in ("parameters", "FLOPs", "blocks")) < 0.5, "what costs nothing is fooled"


@pytest.mark.learn
def test_the_supernet_has_learned_its_task(found: dict[str, Any]) -> None:
    assert found["best"] > 0.4  # the largest class: 0.17
    assert found["agreement"] > 0.4
