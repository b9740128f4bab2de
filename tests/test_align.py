"""The image-text space against least squares, a loop, and what ships."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from percepta import weights
from percepta.nn import align
from percepta.nn.align import IMAGE, TEXT, Align
from percepta.nn.efficientnet import EfficientNetLite0
from percepta.nn.text import TextEncoder


@pytest.mark.parametrize(("penalty", "weight"), [(3.0, 3.0), (0.5, 1.0)])
def test_fit_is_the_least_squares_of_the_augmented_system(penalty: float, weight: float) -> None:
    rng = np.random.default_rng(0)
    features = np.abs(rng.normal(1, 2, (30, IMAGE))).astype(np.float32)
    rows = rng.normal(0.5, 1, (12, IMAGE)).astype(np.float32)
    captions, names = (rng.normal(0, 0.3, (n, TEXT)).astype(np.float32) for n in (30, 12))
    made = align.fit(*map(torch.from_numpy, (features, captions, rows, names)), penalty=penalty, names_weight=weight)
    mean, deviation = features.mean(0, dtype=np.float64), features.std(0, ddof=1, dtype=np.float64)
    seen = (features - mean) / deviation
    ideal = rows * deviation
    ideal = ideal - ideal.mean(0)
    ideal *= np.linalg.norm(seen, axis=1).mean() / np.linalg.norm(ideal, axis=1, keepdims=True)
    # One line an observation, times the root of its weight; one line a coefficient that pulls it to zero.
    root = np.sqrt(np.r_[np.ones(30), np.full(12, weight)])[:, None]
    x = np.c_[np.r_[captions, names], np.ones(42)] * root
    pull = np.c_[np.eye(TEXT) * np.sqrt(penalty), np.zeros(TEXT)]
    y = np.r_[np.r_[seen, ideal] * root, np.zeros((TEXT, IMAGE))]
    solution = np.linalg.lstsq(np.r_[x, pull], y, rcond=None)[0]
    np.testing.assert_allclose(made.mean, mean, atol=1e-4)
    np.testing.assert_allclose(made.scale, deviation, atol=1e-4)
    np.testing.assert_allclose(made.text_map.weight.detach().numpy(), solution[:-1].T, atol=1e-4)
    np.testing.assert_allclose(made.text_map.bias.detach().numpy(), solution[-1], atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 8), st.integers(1, 12))
def test_recall_is_the_loop(seed: int, n: int, m: int) -> None:
    torch.manual_seed(seed)
    image, text = torch.randn(n, 3), torch.randn(m, 3)
    owner = torch.randint(n, (m,)).tolist()
    hits = {1: 0, 2: 0, 5: 0}
    for j in range(m):
        order = sorted(range(n), key=lambda i: -float(text[j] @ image[i]))
        for k in hits:
            hits[k] += owner[j] in order[:k]
    assert align.recall(image, text, owner, (1, 2, 5)) == pytest.approx({k: v / m for k, v in hits.items()})


def test_vectors_have_length_one_and_a_file_keeps_the_space(tmp_path: Path) -> None:
    torch.manual_seed(0)
    space, other = Align(), Align()
    space.mean.normal_()
    space.scale.uniform_(0.5, 2)
    features, sentence = torch.randn(2, 3, IMAGE) * 5, torch.randn(4, TEXT)
    for vectors in (space.image(features), space.text(sentence)):
        torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(vectors.shape[:-1]))
    expected = (features - space.mean) / space.scale
    torch.testing.assert_close(space.image(features), expected / expected.norm(dim=-1, keepdim=True))
    space.write(tmp_path / "space.safetensors")
    other.read(tmp_path / "space.safetensors")
    assert other.mean.dtype == torch.float32
    torch.testing.assert_close(other.text(sentence), space.text(sentence), atol=1e-3, rtol=1e-2)


@torch.no_grad()
def test_what_ships_knows_its_classes() -> None:
    """A class name lies nearest to the row of the classifier that stands for its class (chance: 0.001 and 0.005)."""
    space, lite, text = Align(), EfficientNetLite0(), TextEncoder()
    space.read(weights.find("align-v1"))
    lite.read(weights.find("efficientnet-lite0"))
    text.read(*weights.files("minilm-l6-v2"))
    names = (weights.ASSETS / "imagenet-classes.txt").read_text().splitlines()
    asked = list(range(0, 1000, 8))
    vectors = space.text(text.encode([names[i] for i in asked])[2])
    rows = lite.classifier.weight * space.scale
    rows = torch.nn.functional.normalize(rows - rows.mean(0), dim=1)
    found = align.recall(rows, vectors, asked, (1, 5))
    assert found[1] > 0.5 and found[5] > 0.75, found
