"""The losses of hashing by their equations, entry by entry."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from percepta.systems.hashing import losses

SEEDS = st.integers(0, 1000)


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(SEEDS, st.integers(1, 5))
@settings(max_examples=20, deadline=None)
def test_joint_similarity_entry_by_entry(seed: int, n: int) -> None:
    videos, sentences = numbers(n, 4, seed=seed), numbers(n, 4, seed=seed + 1)
    found = losses.joint_similarity(videos, sentences)
    for i in range(n):
        for j in range(n):
            there, back = (float(torch.cosine_similarity(videos[a], sentences[b], 0)) for a, b in ((i, j), (j, i)))
            assert float(found[i, j]) == pytest.approx(1.0 if i == j else (there + back) / 2)


@given(SEEDS, st.integers(2, 5))
@settings(max_examples=20, deadline=None)
def test_dynamic_weights_entry_by_entry(seed: int, n: int) -> None:
    s = 0.9 * numbers(n, n, seed=seed).tanh()
    found, low, mean, high = losses.dynamic_weighting(s), float(s.min()), float(s.mean()), float(s.max())
    for value, weighted in zip(s.flatten().tolist(), found.flatten().tolist(), strict=True):
        exponent = (
            -0.5 * (mean - value) / (mean - low) - 0.5 if value < mean else 0.5 * (value - mean) / (high - mean) - 0.5
        )
        assert weighted == pytest.approx(value * math.exp(exponent))
    alike = losses.dynamic_weighting(torch.full((2, 2), 0.5))
    assert alike.flatten().tolist() == pytest.approx([0.5 * math.exp(-0.5)] * 4)
    assert losses.dynamic_weighting(torch.tensor([[3.0, 0.0], [0.0, 0.0]])).max() == 1, "clipped"


def test_the_sum_of_the_paper() -> None:
    """0.1 (mean (vvᵀ − S)² + mean (ttᵀ − S)²) + mean (vtᵀ − S)² + 2 mean (v − t)², of unit vectors."""
    v, t, s = numbers(3, 4), numbers(3, 4, seed=1), numbers(3, 3, seed=2)
    found = losses.clip4hashing(5 * v, 7 * t, s)
    v, t = (x / x.norm(dim=1, keepdim=True) for x in (v, t))
    within = sum(float(((x @ x.T - s) ** 2).mean()) for x in (v, t))
    across, agree = float(((v @ t.T - s) ** 2).mean()), float(((v - t) ** 2).mean())
    assert float(found["intra"]) == pytest.approx(within) and float(found["inter"]) == pytest.approx(across)
    assert float(found["consistency"]) == pytest.approx(agree)
    assert float(found["loss"]) == pytest.approx(0.1 * within + across + 2 * agree)


def test_search_in_both_directions() -> None:
    """Both losses are the mean over rows and over columns; both are 0, or all but 0, where nothing is wrong."""
    logits, teacher = numbers(4, 4), numbers(4, 4, seed=1)
    kl, picked = 0.0, 0.0
    for own, other in ((logits, teacher), (logits.T, teacher.T)):
        for i in range(4):
            p, q = other[i].softmax(0), own[i].softmax(0)
            kl += float((p * (p / q).log()).sum()) / 4 / 2
            picked -= math.log(float(q[i])) / 4 / 2
    assert float(losses.distillation(logits, teacher)) == pytest.approx(kl)
    assert float(losses.contrastive(logits)) == pytest.approx(picked)
    assert float(losses.distillation(teacher, teacher)) == pytest.approx(0, abs=1e-12)
    assert float(losses.contrastive(100 * torch.eye(3))) == pytest.approx(0, abs=1e-6)
