"""The image-text spaces against least squares, a slow canonical correlation, loops, and what ships."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import eigh

from percepta import weights
from percepta.media import image as pictures
from percepta.nn import align
from percepta.nn.align import IMAGE, IMAGE2, LAYERS, TEMPERATURE, TEXT, TEXT2, VIEWS, Align, Align2
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


PICTURE1 = [-0.0080634, 0.0145029, 0.0584954]
SENTENCE1 = [0.0418285, 0.0206366, -0.0049409]


def test_version_1_is_as_it_shipped() -> None:
    """Its outputs on fixed inputs, written down when version 2 came."""
    space = Align()
    space.read(weights.find("align-v1"))
    ramp = torch.linspace(0, 1, IMAGE)
    wave = torch.linspace(-1, 1, TEXT).sin()
    picture, sentence = space.image(ramp), space.text(wave)
    torch.testing.assert_close(picture[[0, 640, 1279]], torch.tensor(PICTURE1), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(sentence[[0, 640, 1279]], torch.tensor(SENTENCE1), atol=1e-6, rtol=1e-5)


# ---------------------------------------------------------------------------------------------------------- version 2


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 3))
def test_correlate_solves_the_generalised_eigenproblem(seed: int, looks: int) -> None:
    rng = np.random.default_rng(seed)
    p, m, a, b, width, ridges = 30, 70, 6, 5, 3, (0.02, 0.01)
    owner = np.r_[np.arange(p), rng.integers(p, size=m - p)]
    base = rng.normal(2, 1, (p, a))
    seen = [base + rng.normal(0, 0.3, (p, a)) for _ in range(looks)]
    texts = base[owner, :b] + rng.normal(1, 0.7, (m, b))
    extra = rng.normal(0, 0.05, (a, b))
    made = align.correlate(
        [torch.from_numpy(x) for x in seen], torch.from_numpy(texts), torch.from_numpy(owner),
        width=width, ridges=ridges, extra=torch.from_numpy(extra),
    )  # fmt: skip
    # Slow: one line a pair, and the eigenproblem of both sides together.
    x, y = np.concatenate([s[owner] for s in seen]), np.concatenate([texts] * looks)
    np.testing.assert_allclose(made[2], x.mean(0), atol=1e-9)
    np.testing.assert_allclose(made[3], y.mean(0), atol=1e-9)
    x, y = x - x.mean(0), y - y.mean(0)
    caa, cbb, cab = x.T @ x / len(x), y.T @ y / len(y), x.T @ y / len(x) + extra
    caa += np.eye(a) * ridges[0] * np.trace(caa)
    cbb += np.eye(b) * ridges[1] * np.trace(cbb)
    zero = np.zeros((a, a)), np.zeros((b, b))
    values, vectors = eigh(
        np.block([[zero[0], cab], [cab.T, zero[1]]]), np.block([[caa, np.zeros((a, b))], [np.zeros((b, a)), cbb]])
    )
    top = np.argsort(-values)[:width]
    # An eigenvector is (u, v) with u' Caa u = v' Cbb v = 1/2; each direction counts by its correlation.
    left, right = (v * np.sqrt(2) * values[top] for v in (vectors[:a, top], vectors[a:, top]))
    for maps, slow in ((made[0], left), (made[1], right)):
        np.testing.assert_allclose(maps @ maps.T, slow @ slow.T, atol=1e-7)
    np.testing.assert_allclose(made[0] @ made[1].T, left @ right.T, atol=1e-7)


def test_correlate_among_fewer_pictures_than_features() -> None:
    """The pictures' map then lies in what the pictures span, and nothing is worse conditioned for it."""
    torch.manual_seed(0)
    looks, owner = [torch.randn(8, 40, dtype=torch.float64)], torch.arange(8).repeat(3)
    texts = torch.randn(24, 5, dtype=torch.float64)
    maps = align.correlate(looks, texts, owner, width=4, ridges=(0.01, 0.01))
    rows = looks[0] - looks[0].mean(0)
    projected = torch.linalg.pinv(rows) @ rows @ maps[0]
    torch.testing.assert_close(projected, maps[0])
    narrow = align.correlate(looks, texts, owner, width=4, ridges=(0.01, 0.01), span=3)
    assert int(torch.linalg.matrix_rank(narrow[0])) <= 3


@torch.no_grad()
def test_fit2_folds_standardising_and_names_into_its_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the folded map gives is what the unfolded one gives block by block, up to a length."""
    torch.manual_seed(0)
    looks = [torch.rand(260, IMAGE2) * 3 for _ in range(2)]
    for look in looks:
        look[:, -1000:] = look[:, -1000:].softmax(1)
    owner, captions = torch.arange(260).repeat(2), torch.randn(520, TEXT2)
    names, rows = torch.randn(1000, TEXT2), torch.randn(1000, IMAGE)
    kept = []
    real = align.correlate

    def spy(*args: object, **options: object) -> object:
        kept.append((args, real(*args, **options)))  # type: ignore[arg-type]
        return kept[-1][1]

    monkeypatch.setattr(align, "correlate", spy)
    space = align.fit2(looks, captions, owner, rows, names)
    (features, *_), (a, b, mean_a, mean_b) = kept[0]
    width = [w for _, w, _ in VIEWS[:-1]]
    for block, (_, _, weight) in zip(features[0].split([*width, TEXT], 1), VIEWS, strict=True):
        assert float(block.norm(dim=1).mean()) == pytest.approx(weight, rel=1e-3)
        torch.testing.assert_close(block.mean(0), torch.zeros(block.shape[1]), atol=1e-4, rtol=0)
    for look, feature in zip(looks, features, strict=True):
        expected = torch.nn.functional.normalize((feature - mean_a) @ a, dim=1)
        torch.testing.assert_close(space.image(look), expected, atol=2e-3, rtol=0)
    expected = torch.nn.functional.normalize((captions - mean_b) @ b, dim=1)
    torch.testing.assert_close(space.text(captions), expected, atol=1e-4, rtol=0)


@pytest.fixture(scope="module")
def encoders() -> tuple[EfficientNetLite0, TextEncoder]:
    lite, text = EfficientNetLite0().eval(), TextEncoder().eval()
    lite.read(weights.find("efficientnet-lite0"))
    text.read(*weights.files("minilm-l6-v2"))
    return lite, text


@torch.no_grad()
def test_views_are_those_of_a_loop(encoders: tuple[EfficientNetLite0, TextEncoder]) -> None:
    lite, text = encoders
    image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    blocks = dict(
        zip([n for n, _, _ in VIEWS], align.picture_views(lite, image).split([w for _, w, _ in VIEWS], 1), strict=True)
    )
    seen = lite(image)
    head, s16 = (x[0].flatten(1).double().numpy() for x in (seen.head, seen.s16))
    np.testing.assert_allclose(blocks["mean"][0] ** 2, head.mean(1), atol=1e-5)
    np.testing.assert_allclose(blocks["max"][0], head.max(1), atol=1e-5)
    np.testing.assert_allclose(blocks["power"][0], np.sqrt((head**2).mean(1)), atol=1e-5)
    np.testing.assert_allclose(blocks["s16spread"][0], s16.std(1), atol=1e-4)
    odds = np.exp(lite.classify(image)[0].double().numpy() / TEMPERATURE)
    np.testing.assert_allclose(blocks["concepts"][0], odds / odds.sum(), rtol=1e-3)
    torch.testing.assert_close(blocks["classes"] ** 2, blocks["concepts"])
    for sentence in ("a dog", "Two acorns are lying on the ground, next to some oak leaves."):
        views = align.sentence_views(text, [sentence])[0].split(TEXT)
        assert len(views) == len(LAYERS)
        torch.testing.assert_close(views[-1] * 2, text.encode([sentence])[2][0], atol=1e-5, rtol=1e-4)
        first = text.embeddings(align.tokenise([sentence])[0])[0].mean(0)
        torch.testing.assert_close(views[0] * 2, first / first.norm(), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_version_2_gives_unit_vectors_that_no_neighbour_changes(
    encoders: tuple[EfficientNetLite0, TextEncoder], tmp_path: Path
) -> None:
    lite, text = encoders
    space, other = Align2(), Align2()
    space.read(weights.find("align-v2"))
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    words = ["a dog", "a dog jumps over a very high hurdle on the wet grass", "", "red"]
    with_all = space.pictures(lite, images), space.sentences(text, words)
    alone = [space.pictures(lite, x[None]) for x in images], [space.sentences(text, [w]) for w in words]
    for whole, single in zip(with_all, alone, strict=True):
        assert whole.shape == (len(single), space.width)
        torch.testing.assert_close(whole.norm(dim=1), torch.ones(len(whole)))
        torch.testing.assert_close(whole, torch.cat(single), atol=2e-5, rtol=0)
    torch.testing.assert_close(
        align.sentence_views(text, words), align.sentence_views(text, words, 2), atol=1e-5, rtol=0
    )
    assert space.sentences(text, []).shape == (0, space.width)
    space.write(tmp_path / "space.safetensors")
    other.read(tmp_path / "space.safetensors")
    assert torch.equal(other.pictures(lite, images), with_all[0])  # it came from float16, so nothing is rounded
    assert (tmp_path / "space.safetensors").stat().st_size < 8e6 and [p.name for p in tmp_path.iterdir()] == [
        "space.safetensors"
    ]


def test_fit2_needs_more_pictures_than_numbers() -> None:
    few, names, rows = torch.rand(9, IMAGE2), torch.randn(1000, TEXT2), torch.randn(1000, IMAGE)
    with pytest.raises(ValueError, match=r"more than 256 pictures.*got 9"):
        align.fit2([few], torch.randn(9, TEXT2), torch.arange(9), rows, names)


def test_version_2_needs_the_classifier() -> None:
    with pytest.raises(ValueError, match="ImageNet's classes"):
        Align2().pictures(EfficientNetLite0(classifier=False), torch.zeros(1, 3, 32, 32))


@torch.no_grad()
def test_version_2_tells_pictures_apart(encoders: tuple[EfficientNetLite0, TextEncoder]) -> None:
    """Of all ways to give three photographs their sentences the right one has the largest sum of cosines."""
    data = pytest.importorskip("skimage.data")
    lite, text = encoders
    space = Align2()
    space.read(weights.find("align-v2"))
    said = {"astronaut": "a woman in an orange suit", "chelsea": "a cat", "coffee": "a cup of coffee on a table"}
    images = [torch.from_numpy(getattr(data, name)()).permute(2, 0, 1) / 255 for name in said]
    shown = torch.cat([space.pictures(lite, pictures.resize(i, align.SIDE, align.SIDE)[None]) for i in images])
    scores = space.sentences(text, list(said.values())) @ shown.T
    ways = {order: float(scores[range(3), order].sum()) for order in itertools.permutations(range(3))}
    assert max(ways, key=ways.__getitem__) == (0, 1, 2), ways
