"""Hashing: the paper's equations against loops, codes that depend on nothing but their row, closed forms, results."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from percepta import checkpoint, pretrained
from percepta.contract import Step
from percepta.datasets.captioned import Clip
from percepta.media import video
from percepta.media.source import answers
from percepta.metrics import ranking
from percepta.report import Gallery
from percepta.systems.hashing import PRESETS, Config, baselines, data, evaluate, losses, nets, task, world
from percepta.systems.hashing import library as libraries
from percepta.systems.hashing import model as models
from percepta.systems.hashing.frames import middles, video_frames
from percepta.systems.hashing.initialise import (
    correlated_directions,
    initialise,
    iterative_quantisation,
    rotations,
)
from percepta.systems.hashing.library import clip_frames, encode
from percepta.systems.hashing.model import Hasher
from percepta.systems.hashing.predict import Hashing
from percepta.train import Evaluator

TINY = PRESETS["tiny"]
PAPER = replace(TINY, design="paper", hidden=24, bits=16)


def rows(seed: int, n: int, d: int) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed)), dim=1)


# ---------------------------------------------------------------------------------------------- the paper's equations


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 7))
def test_joint_similarity_is_the_loop(seed: int, n: int) -> None:
    seen, said = 3 * rows(seed, n, 5), 2 * rows(seed + 1, n, 5)
    expected = torch.zeros(n, n)
    for i in range(n):
        for j in range(n):
            a = torch.cosine_similarity(seen[i], said[j], dim=0)
            b = torch.cosine_similarity(seen[j], said[i], dim=0)
            expected[i, j] = 1 if i == j else (a + b) / 2
    torch.testing.assert_close(losses.joint_similarity(seen, said), expected)


def weighted_by_hand(similarity: list[list[float]]) -> list[list[float]]:
    flat = [value for row in similarity for value in row]
    mean, low, high = sum(flat) / len(flat), min(flat), max(flat)
    out = []
    for row in similarity:
        line = []
        for value in row:
            if high == low:
                weight = math.exp(-0.5)
            elif value < mean:
                weight = math.exp(-0.5 * (mean - value) / (mean - low) - 0.5)
            else:
                weight = math.exp(0.5 * (value - mean) / (high - mean) - 0.5)
            line.append(max(-1.0, min(1.0, value * weight)))
        out.append(line)
    return out


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 6))
def test_dynamic_weighting_is_the_loop(seed: int, n: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    similarity = (2 * torch.rand(n, n, generator=generator, dtype=torch.float64) - 1) * 1.5  # some are clipped
    expected = torch.tensor(weighted_by_hand(similarity.tolist()), dtype=torch.float64)
    torch.testing.assert_close(losses.dynamic_weighting(similarity), expected)


@pytest.mark.parametrize("value", [1.0, 0.25, 0.0, -0.5])
@pytest.mark.parametrize("n", [1, 3])
def test_dynamic_weighting_without_a_spread(value: float, n: int) -> None:
    """One sample, or all entries the same: no division by zero, the weight of the mean, gradients that are numbers."""
    similarity = torch.full((n, n), value, requires_grad=True)
    weighted = losses.dynamic_weighting(similarity)
    torch.testing.assert_close(weighted, torch.full((n, n), value * math.exp(-0.5)))
    weighted.sum().backward()
    assert similarity.grad is not None and similarity.grad.isfinite().all()


def test_dynamic_weighting_at_its_three_points() -> None:
    similarity = torch.tensor([[1.0, 0.1], [0.55, 0.55]], dtype=torch.float64)  # mean 0.55
    weights = losses.dynamic_weighting(similarity) / similarity
    e = math.e
    torch.testing.assert_close(weights, torch.tensor([[1, e**-1], [e**-0.5, e**-0.5]], dtype=torch.float64))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 5), st.integers(1, 6))
def test_the_three_losses_are_the_loops(seed: int, n: int, bits: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    seen, said = (torch.randn(n, bits, generator=generator) for _ in range(2))
    target = torch.rand(n, n, generator=generator)
    v, t = (z / z.norm(dim=1, keepdim=True) for z in (seen, said))
    within = across = agree = 0.0
    for i in range(n):
        for j in range(n):
            within += float((v[i] @ v[j] - target[i, j]) ** 2 + (t[i] @ t[j] - target[i, j]) ** 2) / n**2
            across += float((v[i] @ t[j] - target[i, j]) ** 2) / n**2
        agree += sum(float((v[i, b] - t[i, b]) ** 2) for b in range(bits)) / (n * bits)
    found = {name: float(value) for name, value in losses.clip4hashing(seen, said, target).items()}
    expected = {"intra": within, "inter": across, "consistency": agree, "loss": 0.1 * within + across + 2 * agree}
    assert found == pytest.approx(expected, abs=1e-5)


def test_what_is_taught_and_picked_is_the_loop() -> None:
    logits, teacher = 3 * rows(0, 4, 4), 5 * rows(1, 4, 4)

    def divergence(own: Tensor, other: Tensor) -> float:
        total = 0.0
        for a, b in zip(own, other, strict=True):
            p, q = [x.exp() / x.exp().sum() for x in (b, a)]
            total += float((p * (p / q).log()).sum())
        return total / len(own)

    both = (divergence(logits, teacher) + divergence(logits.T, teacher.T)) / 2
    assert float(losses.distillation(logits, teacher)) == pytest.approx(both, abs=1e-5)
    assert float(losses.distillation(teacher, teacher)) == pytest.approx(0, abs=1e-6)
    picks = [float(-(m.softmax(1).diag().log().mean())) for m in (logits, logits.T)]
    assert float(losses.contrastive(logits)) == pytest.approx(sum(picks) / 2, abs=1e-5)


# -------------------------------------------------------------------------------------------------------------- codes


def some(config: Config, seed: int = 0) -> Hasher:
    torch.manual_seed(seed)
    model = task.build(config)
    library = task.data(config, "train").library
    videos, sentences = encode(model, library)
    if isinstance(model.net, nets.SharedNet):
        initialise(model.net, videos, sentences, library.owner)
    losses.finish(model.net, videos, sentences)
    return model.eval()


def predictor(model: Hasher) -> Hashing:
    return Hashing(model.config, model, "", Evaluator("hashing", model.config, model), answers)


@pytest.mark.parametrize("config", [TINY, PAPER], ids=["shared", "paper"])
def test_a_code_never_depends_on_its_batch(config: Config) -> None:
    model = some(config)
    images, said = world.pictures("val", 0)
    images = images[:24] / 255
    sentences = [row[0] for row in said[:24]]
    whole = model.picture_codes(images), model.sentence_codes(sentences)
    for i in range(len(images)):
        alone = model.picture_codes(images[i : i + 1]), model.sentence_codes(sentences[i : i + 1])
        for one, many in zip(alone, whole, strict=True):
            assert torch.equal(one.bits[0], many.bits[i])
    order = torch.randperm(24, generator=torch.Generator().manual_seed(1))
    assert torch.equal(model.hash(whole[0].vectors[order]), whole[0].bits[order])
    assert whole[0].vectors.norm(dim=1).sub(1).abs().max() < 1e-5
    assert 0.2 < float(whole[0].bits.float().mean()) < 0.8


def test_min_max_hashing_is_the_nearer_end() -> None:
    net = some(PAPER).net
    assert isinstance(net, nets.HashNet)
    vectors = rows(3, 40, 64)
    outputs = net(vectors).detach()
    for row, bits in zip(outputs, nets.to_bits(net, vectors), strict=True):
        expected = [abs(x - high) < abs(x - low) for x, low, high in zip(row, net.low, net.high, strict=True)]
        assert bits.tolist() == [bool(e) for e in expected]


def test_the_extremes_are_those_of_the_whole_training_set() -> None:
    model = some(PAPER)
    library = task.data(PAPER, "train").library
    both = torch.cat(encode(model, library))
    with torch.no_grad():
        outputs = model.net(both)  # type: ignore[operator]
    torch.testing.assert_close(model.net.low, outputs.amin(0))
    torch.testing.assert_close(model.net.high, outputs.amax(0))
    before = model.net.low.clone()
    batch = {"library": library, "video": torch.arange(8), "sentence": torch.arange(8)}
    task.loss(model, batch, Step(1, 0, torch.Generator()))
    assert torch.equal(model.net.low, before), "an evaluation moves nothing"
    task.loss(model.train(), batch, Step(1, 0, torch.Generator()))
    assert not torch.equal(model.net.low, before)


def test_the_modalities_have_thresholds_of_their_own() -> None:
    net = some(TINY).net
    assert isinstance(net, nets.SharedNet)
    vectors = rows(0, 5, 64)
    before = nets.to_bits(net, vectors)
    with torch.no_grad():
        net.sentence_bias += 100
    assert torch.equal(nets.to_bits(net, vectors), before) and nets.to_bits(net, vectors, True).all()


def test_the_fingerprint_follows_from_everything(tmp_path: Path) -> None:
    model = some(TINY)
    first = model.fingerprint()
    assert len(first) == 64 and first == model.fingerprint() == some(TINY).fingerprint()
    checkpoint.save(tmp_path / "a.safetensors", model, system="hashing", preset="tiny", config=TINY)
    assert checkpoint.restore(tmp_path / "a.safetensors")[2].fingerprint() == first  # type: ignore[operator]
    with torch.no_grad():
        model.net.weight[0, 0] += 1e-3  # type: ignore[index]
    assert model.fingerprint() != first
    assert some(replace(TINY, bits=16)).fingerprint() != first


# ------------------------------------------------------------------------------------------------------ closed forms


def test_agreement_finds_what_two_sides_share() -> None:
    """One shared direction, much noise on each side: it comes first, with the correlation that it has."""
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(4000, 1, generator=generator)
    x, y = (3 * torch.randn(4000, 6, generator=generator) for _ in range(2))
    x[:, 2:3], y[:, 4:5] = shared + 0.1 * x[:, 2:3], 0.2 * (shared + 0.1 * y[:, 4:5])
    a, b = correlated_directions(x - x.mean(0), y - y.mean(0), 0.0)
    u, v = x @ a, y @ b
    found = float(torch.corrcoef(torch.stack([u[:, 0], v[:, 0]]))[0, 1])
    expected = float(torch.corrcoef(torch.stack([x[:, 2], y[:, 4]]))[0, 1])
    assert found == pytest.approx(expected, abs=0.01)
    assert u[:, 0].var() == pytest.approx(found, abs=0.02), "scaled by the root of its correlation"
    assert u[:, 1:].var(0).max() < 0.1


@pytest.mark.parametrize("rounds", [1, 10])
def test_each_round_of_iterative_quantisation_comes_nearer(rounds: int) -> None:
    data_ = rows(0, 200, 8)
    start = torch.linalg.qr(rows(1, 8, 8))[0]

    def error(columns: Tensor) -> float:
        turned = data_ @ columns
        return float((turned.sign() - turned).square().sum())

    found = iterative_quantisation(data_, start, rounds)
    torch.testing.assert_close(found.T @ found, torch.eye(8), atol=1e-5, rtol=0)
    assert error(found) < error(start)
    assert error(iterative_quantisation(data_, found, 1)) <= error(found) + 1e-3


def test_blocks_of_rotations_are_orthonormal() -> None:
    made = rotations(rows(0, 100, 12), 20, 8, rounds=3)
    assert made.shape == (12, 20)
    for block in made.split(8, dim=1):
        torch.testing.assert_close(block.T @ block, torch.eye(block.shape[1]), atol=1e-5, rtol=0)


def test_peers_are_fitted_on_training_vectors_only() -> None:
    seen, said = rows(0, 60, 16), rows(1, 90, 16)
    test = rows(2, 5, 16)
    for peer in (baselines.random_projections(16, 8), baselines.pca_sign(seen, said, 8), baselines.itq(seen, said, 8)):
        bits = peer(test)
        assert bits.shape == (5, 8) and torch.equal(peer(test[2:3])[0], bits[2])
    mean, components = baselines.principal(torch.cat([seen, said]), 16)
    reference = np.linalg.svd((torch.cat([seen, said]) - mean).numpy(), full_matrices=False)[2]
    np.testing.assert_allclose(np.abs((components.numpy() * reference.T).sum(0)), 1, atol=1e-3)
    with pytest.raises(ValueError, match="no 17 principal components"):
        baselines.itq(seen, said, 17)


# ----------------------------------------------------------------------------------------------- data and measurement


def test_every_epoch_takes_another_sentence() -> None:
    pairs = task.data(TINY, "train")
    assert isinstance(pairs, data.TrainPairs)
    owner = pairs.library.owner
    drawn = [pairs[(epoch, 3)] for epoch in range(12)]
    assert len({sentence for _, sentence in drawn}) > 1 and {int(owner[s]) for _, s in drawn} == {3}
    assert drawn == [pairs[(epoch, 3)] for epoch in range(12)]


def test_a_library_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = some(TINY)
    first = task.data(TINY, "val").library
    before = encode(model, first)
    monkeypatch.setattr(Hasher, "pictures", lambda *_: pytest.fail("encoded again"))
    assert all(a is b for a, b in zip(encode(model, task.data(TINY, "val").library), before, strict=True))


def test_some_videos_of_a_library_are_those_of_all_and_two_libraries_are_remembered() -> None:
    model = some(TINY)
    val, test = (task.data(TINY, split).library for split in ("val", "test"))
    rows = libraries.encode_videos(model, val, [5, 3, 5])
    torch.testing.assert_close(rows, encode(model, val)[0][[5, 3, 5]])
    first = encode(model, val)[0]
    encode(model, test)
    assert encode(model, val)[0] is first
    encode(model, task.data(TINY, "all").library)
    assert encode(model, val)[0] is not first
    torch.testing.assert_close(encode(model, val)[0], first)


def test_an_evaluation_shows_examples_only_where_asked() -> None:
    model = some(TINY)
    samples = task.data(TINY, "val")
    batches = [samples.collate([samples[(0, i)] for i in range(start, start + 32)]) for start in range(0, 160, 32)]
    plain, shown = (task.evaluate(model, batches, examples=count) for count in (0, 3))
    assert plain.metrics == shown.metrics and not plain.blocks
    [gallery] = [block for block in shown.blocks if isinstance(block, Gallery)]
    assert len(gallery.pictures) == 3 and all("rank" in text for _, text in gallery.pictures)


def test_search_counts_both_ways_and_breaks_ties_by_number() -> None:
    """Three videos, four sentences; video 1 has two sentences, video 2 none."""
    distances = np.array([[0, 0, 1], [1, 0, 0], [2, 2, 2], [0, 1, 5]])
    found = evaluate.search(distances, np.array([0, 1, 1, 0]), ["a", "b", "c"])
    assert found.ranks[0].tolist() == [1, 1, 2, 1]
    assert found.ranks[1].tolist() == [1, 2] and found.groups[1].tolist() == [0, 1]
    # Video 0 finds 0, 3, 1, 2 and means 0, 3; video 1 finds 0, 1, 3, 2 and means 1, 2.
    assert found.precision[1].tolist() == pytest.approx([1.0, (1 / 2 + 2 / 4) / 2])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_the_bootstrap_draws_whole_groups(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(20), 5)
    same = np.repeat(rng.normal(size=20), 5)
    low, high = evaluate.bootstrap(same, groups, lambda v: float(v.mean()))
    alone = evaluate.bootstrap(same, np.arange(100), lambda v: float(v.mean()))
    assert low <= same.mean() <= high and high - low > 1.5 * (alone[1] - alone[0])


def test_frames_are_taken_from_the_middles_of_equal_parts(tmp_path: Path) -> None:
    assert middles(4, 2.0, 10.0).tolist() == [3, 5, 7, 9]
    grey = [np.full((16, 16, 3), 10 * number, np.uint8) for number in range(20)]
    path = video.write(tmp_path / "a.mp4", grey, 10)
    frames = video_frames(path, 4, 16)
    assert frames.shape == (4, 3, 16, 16)
    np.testing.assert_allclose(frames.mean((1, 2, 3)) * 255, [20, 70, 120, 170], atol=12)
    part = clip_frames(Clip("a", path, ("s",), "a", "x", start_s=1.0, end_s=2.0), 2, 16)
    np.testing.assert_allclose(part.mean((1, 2, 3)) * 255, [120, 170], atol=12)
    with pytest.raises(ValueError, match="no part from 9 s on"):
        video_frames(path, 2, 16, 9.0)


# ------------------------------------------------------------------------------------------------------------ results


def test_predict_takes_sentences_pictures_and_videos(tmp_path: Path) -> None:
    model = some(TINY)
    images, said = world.pictures("val", 0)
    picture = images[0].permute(1, 2, 0).numpy()
    path = video.write(tmp_path / "clip.mp4", [picture] * 8, 8)
    found = predictor(model).predict([said[0][0], picture, path, str(path)])
    assert isinstance(found, list) and [r.kind for r in found] == ["sentence", "picture", "video", "video"]
    for result in found:
        assert np.array_equal(np.unpackbits(result.code)[: TINY.bits].astype(bool), result.bits)
        assert result.vector.shape == (64,) and result.score is None
        assert min(result.draw().size) > 40
    fits = predictor(model).predict(picture, [said[0][0], said[1][0]])
    assert isinstance(fits, list) and fits[0].score is not None and fits[1].score is not None
    agree = 1 - ranking.hamming(found[0].bits[None], found[1].bits[None])[0, 0] / TINY.bits
    assert fits[0].score == pytest.approx(agree) and fits[0].score > fits[1].score
    fits[0].save(tmp_path / "r.png")
    row = json.loads((tmp_path / "r.json").read_text())
    assert bytes.fromhex(row["code"]) == fits[0].code.tobytes() and row["sentence"] == said[0][0]


def test_predict_says_what_it_cannot_take(tmp_path: Path) -> None:
    model = some(TINY)
    with pytest.raises(ValueError, match="expected a sentence"):
        predictor(model).predict("  ")
    with pytest.raises(FileNotFoundError):
        predictor(model).predict("nowhere/dog.jpg")
    with pytest.raises(FileNotFoundError):
        predictor(model).predict("nowhere/dog.mp4")
    (tmp_path / "a.mp4").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"a\.mp4"):
        predictor(model).predict(tmp_path / "a.mp4")


def test_clip_can_be_the_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in CLIP's layout fills both encoders; a missing one is named, with where to put it."""
    small = {"embed_dim": 32, "vision_layers": 1, "vision_width": 64, "patch": 16, "grid": 2, "text_width": 64}
    monkeypatch.setattr(models, "VIT_B_32", {**small, "text_layers": 1})
    config = replace(PAPER, space="clip")
    torch.manual_seed(0)
    given, model = task.build(config), task.build(config).eval()
    save_file(given.clip.state_dict(), tmp_path / "clip.safetensors")
    with pytest.warns(UserWarning, match="re-saved"):
        filled = pretrained.fill(model, task.PRETRAINED, {"clip-vit-b-32": tmp_path / "clip.safetensors"})
    assert list(filled) == ["clip"]
    images = torch.rand(3, 3, 40, 50)
    codes = model.picture_codes(images)
    assert codes.vectors.shape == (3, 32) and codes.bits.shape == (3, config.bits)
    torch.testing.assert_close(codes.vectors, given.eval().picture_codes(images).vectors)
    a, b = (m.sentence_codes(["a dog", "a red bicycle in the rain"]).vectors for m in (model, given))
    torch.testing.assert_close(a, b)
    with pytest.raises(FileNotFoundError, match=r"ViT-B-32\.pt"):
        pretrained.fill(model, task.PRETRAINED)


@pytest.mark.parametrize("bits", [4, 12, 0])
def test_odd_lengths_are_refused(bits: int) -> None:
    with pytest.raises(ValueError, match="multiple of 8"):
        Config(bits=bits)
