"""CLIP: the tokenizer by its rules, the towers against plain loops and torch's own attention, published key names."""

from __future__ import annotations

import gzip
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from percepta.errors import InputError
from percepta.nn.archive import check_keys, read_archive
from percepta.nn.clip import (
    CLIP,
    VIT_B_32,
    AttentionPool,
    ClipSpace,
    SpatialAttentionPool,
    Tokenizer,
    causal_mask,
    clean,
    load_openai,
    normalise,
)

TINY = {"embed_dim": 16, "vision_layers": (1, 1, 1, 1), "vision_width": 8, "grid": 2, "vocab": 50}
TINY |= {"text_width": 16, "text_layers": 2, "text_heads": 2, "context_length": 12}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer()


# ids that CLIP's published tokenizer gives
KNOWN = {
    "a photo of a cat": [320, 1125, 539, 320, 2368],
    "the red skirt": [518, 736, 12386],
    "": [],
}


def test_known_ids(tokenizer: Tokenizer) -> None:
    assert (tokenizer.vocab, tokenizer.start, tokenizer.end) == (49408, 49406, 49407)
    for sentence, ids in KNOWN.items():
        assert tokenizer.encode(sentence) == ids


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("  The\tRED\n skirt ", "the red skirt"),
        ("fish &amp;amp; chips &lt;b&gt;", "fish & chips <b>"),
        ("“it’s” ﬁne", '"it\'s" fine'),
        ("ＡＢＣ　１", "abc 1"),
        ("cafe\u0301", "café"),
        ("bell\x07\ufeff it\x92s", "bell it's"),
    ],
)
def test_cleaning(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("it's they'll", ["it", "'s", "they", "'ll"]),
        ("123", ["1", "2", "3"]),
        ("a_b", ["a", "_", "b"]),
        ("x² ½ Ⅷ", ["x", "²", "½", "ⅷ"]),  # numerals that a regular expression's \\d does not know
        ("wow!?'s", ["wow", "!?'", "s"]),
        ("日本語", ["日本語"]),
        ("na\u0308\u0331ive", ["nä", "\u0331", "ive"]),  # a mark that no letter takes up is a sign
    ],
)
def test_pieces_are_encoded_apart(tokenizer: Tokenizer, text: str, pieces: list[str]) -> None:
    assert tokenizer.encode(text) == [index for piece in pieces for index in tokenizer.encode(piece)]
    assert tokenizer.decode(tokenizer.encode(text)).split() == pieces


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Co", "Cn")), max_size=20))
def test_decoding_gives_the_cleaned_text_back(text: str) -> None:
    tokenizer = _shared()
    if "<|" in text:
        return
    ids = tokenizer.encode(text)
    assert all(0 <= index < tokenizer.start for index in ids)
    assert "".join(tokenizer.decode(ids).split()) == "".join(clean(text).split())


_made: list[Tokenizer] = []


def _shared() -> Tokenizer:
    if not _made:
        _made.append(Tokenizer())
    return _made[0]


def test_rows_are_framed_and_truncation_keeps_the_end(tokenizer: Tokenizer) -> None:
    words = tokenizer(["the red skirt", "one two three four five six seven eight"], 6)
    assert words.tolist()[0] == [49406, 518, 736, 12386, 49407, 0]
    assert words.shape == (2, 6) and words[1, -1] == tokenizer.end and (words[1] > 0).all()
    with pytest.raises(ValueError, match="at least 2"):
        tokenizer("a", 1)


def test_marks_in_the_text_are_single_ids(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("a <|endoftext|>") == [320, tokenizer.end]


def test_own_merge_table(tmp_path: Path) -> None:
    path = tmp_path / "m.gz"
    path.write_bytes(gzip.compress(b"a b</w>\nc ab</w>\n"))
    tokenizer = Tokenizer(path)
    assert tokenizer.encode("cab ab ba") == [513, 512, *tokenizer.encode("b a")[:0], *tokenizer.encode("ba")]
    assert len(tokenizer.encode("ba")) == 2
    path.write_bytes(gzip.compress(b"a b c\n"))
    with pytest.raises(ValueError, match="two pieces"):
        Tokenizer(path)


def test_normalise() -> None:
    grey = torch.full((2, 3, 1, 1), 0.5)
    expected = (0.5 - 0.4578275) / 0.26130258
    assert normalise(grey)[1, 1].item() == pytest.approx(expected)


# ---------------------------------------------------------------------------------------------------------- towers


def _torch_attention(pool: AttentionPool, tokens: Tensor) -> Tensor:
    """The same attention by torch's multi-head function: n b c in, n b d out."""
    return F.multi_head_attention_forward(
        tokens,
        tokens,
        tokens,
        tokens.shape[-1],
        pool.heads,
        None,
        torch.cat([pool.q_proj.bias, pool.k_proj.bias, pool.v_proj.bias]),
        None,
        None,
        False,
        0.0,
        pool.c_proj.weight,
        pool.c_proj.bias,
        use_separate_proj_weight=True,
        q_proj_weight=pool.q_proj.weight,
        k_proj_weight=pool.k_proj.weight,
        v_proj_weight=pool.v_proj.weight,
    )[0]


@torch.no_grad()
def test_attention_pool_is_that_of_torch() -> None:
    torch.manual_seed(0)
    pool = AttentionPool(3, 16, 4, 10)
    x = torch.randn(2, 16, 3, 3)
    tokens = x.flatten(2).permute(2, 0, 1)
    tokens = torch.cat([tokens.mean(0, keepdim=True), tokens]) + pool.positional_embedding[:, None]
    torch.testing.assert_close(pool(x), _torch_attention(pool, tokens)[0], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_spatial_pool_keeps_the_grid_resizes_positions_and_adds_the_shortcut() -> None:
    torch.manual_seed(0)
    pool = SpatialAttentionPool(2, 16, 4, 10).eval()
    x = torch.randn(2, 16, 3, 4)
    plane = pool.positional_embedding[1:].reshape(2, 2, 16).permute(2, 0, 1)[None]
    positions = F.interpolate(plane, size=(3, 4), mode="bicubic", align_corners=False)
    torch.testing.assert_close(pool.positions(3, 4).T.reshape(1, 16, 3, 4), positions)
    tokens = (x + positions).flatten(2).permute(2, 0, 1)
    mixed = _torch_attention(pool, tokens).permute(1, 2, 0).reshape(2, 10, 3, 4)
    torch.testing.assert_close(pool(x), (mixed + pool.connect(x)).relu(), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_positions_of_the_learnt_size_are_untouched() -> None:
    pool = AttentionPool(3, 8, 2, 4)
    assert torch.equal(pool.positions(3, 3), pool.positional_embedding[1:])


@torch.no_grad()
def test_words_look_back_only() -> None:
    torch.manual_seed(0)
    model = CLIP(**TINY).eval()
    words = torch.tensor([[48, 3, 4, 5, 6, 49]])
    changed = words.clone()
    changed[0, 3] = 9
    before, after = model.encode_text(words)[0], model.encode_text(changed)[0]
    torch.testing.assert_close(before[:, :3], after[:, :3])
    assert ((before - after).abs().amax(-1)[0, 3:] > 1e-4).all()
    assert causal_mask(3, before).isinf().tolist() == [[False, True, True], [False, False, True], [False] * 3]


@torch.no_grad()
def test_sentence_is_read_off_the_end_mark() -> None:
    torch.manual_seed(0)
    model = CLIP(**TINY).eval()
    short = torch.tensor([[48, 3, 4, 49]])
    long = torch.tensor([[48, 3, 4, 49, 0, 0, 0]])
    tokens, state = model.encode_text(short)
    torch.testing.assert_close(state, model.encode_text(long)[1])
    torch.testing.assert_close(state, tokens[:, 3] @ model.text_projection)
    with pytest.raises(ValueError, match="positions for 12"):
        model.encode_text(torch.ones(1, 13, dtype=torch.long))


@torch.no_grad()
@pytest.mark.parametrize("spatial", [False, True])
def test_batch_is_the_loop_and_shapes(spatial: bool) -> None:
    torch.manual_seed(0)
    model = CLIP(**TINY, spatial=spatial).eval()
    images = torch.randn(2, 3, 64, 96)
    whole = model.encode_image(images)
    assert whole.shape == ((2, 16, 2, 3) if spatial else (2, 16))
    torch.testing.assert_close(whole, torch.cat([model.encode_image(x[None]) for x in images]), atol=1e-5, rtol=1e-4)
    sides = [tuple(x.shape[1:]) for x in model.visual.stages(images)]
    assert sides == [(32, 16, 24), (64, 8, 12), (128, 4, 6), (256, 2, 3)]


def openai_keys(layers: tuple[int, ...], text_layers: int) -> set[str]:
    """The keys of a published CLIP ResNet, written down apart from our modules."""
    keys = {"text_projection", "positional_embedding", "logit_scale", "token_embedding.weight"}
    keys |= {"ln_final.weight", "ln_final.bias", "visual.attnpool.positional_embedding"}
    keys |= {f"visual.attnpool.{n}_proj.{p}" for n in "qkvc" for p in ("weight", "bias")}
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    for n in "123":
        keys |= {f"visual.conv{n}.weight"} | {f"visual.bn{n}.{p}" for p in norm}
    for stage, blocks in enumerate(layers, 1):
        for block in range(blocks):
            head = f"visual.layer{stage}.{block}."
            for n in "123":
                keys |= {f"{head}conv{n}.weight"} | {f"{head}bn{n}.{p}" for p in norm}
            if block == 0:
                keys |= {f"{head}downsample.0.weight"} | {f"{head}downsample.1.{p}" for p in norm}
    for block in range(text_layers):
        head = f"transformer.resblocks.{block}."
        keys |= {head + "attn.in_proj_weight", head + "attn.in_proj_bias"}
        parts = ("attn.out_proj", "ln_1", "ln_2", "mlp.c_fc", "mlp.c_proj")
        keys |= {f"{head}{part}.{p}" for part in parts for p in ("weight", "bias")}
    return keys


@pytest.mark.parametrize(("layers", "width"), [((3, 4, 6, 3), 1024), ((3, 4, 23, 3), 512)])
def test_published_names_and_sizes(layers: tuple[int, ...], width: int) -> None:
    with torch.device("meta"):
        model = CLIP(embed_dim=width, vision_layers=layers)
    state = model.state_dict()
    assert set(state) == openai_keys(layers, 12)
    assert state["visual.attnpool.positional_embedding"].shape == (50, 2048)
    assert state["visual.layer4.0.conv3.weight"].shape == (2048, 512, 1, 1)
    assert state["text_projection"].shape == (512, width)
    assert model.visual.attnpool.heads == 32
    parameters = sum(p.numel() for p in model.parameters())
    assert parameters == {1024: 102_007_137, 512: 119_688_033}[width]  # as published


# --------------------------------------------------------------------------------------------------------- weights


def openai_state(model: CLIP) -> dict[str, Tensor]:
    """A state as OpenAI's archives have it: half precision, sizes beside the weights, no shortcut."""
    state = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    state = {k: v for k, v in state.items() if "connect" not in k}
    return state | {
        "input_resolution": torch.tensor(64),
        "context_length": torch.tensor(12),
        "vocab_size": torch.tensor(50),
    }


@torch.no_grad()
def test_openai_state_fills_a_model_and_keeps_the_shortcut() -> None:
    torch.manual_seed(0)
    source, target = CLIP(**TINY), CLIP(**TINY, spatial=True)
    before = target.visual.attnpool.connect[0].weight.clone()
    load_openai(target, openai_state(source))
    assert torch.equal(before, target.visual.attnpool.connect[0].weight)
    assert target.visual.conv1.weight.dtype == torch.float32
    torch.testing.assert_close(target.visual.conv1.weight, source.visual.conv1.weight, atol=1e-3, rtol=1e-3)


def test_everything_that_does_not_fit_is_named_and_nothing_changes() -> None:
    source, target = CLIP(**TINY), CLIP(**TINY)
    state = openai_state(source)
    del state["ln_final.bias"]
    state["odd.key"] = torch.zeros(1)
    state["visual.conv1.weight"] = torch.zeros(1, 2)
    before = {k: v.clone() for k, v in target.state_dict().items()}
    with pytest.raises(ValueError) as caught:
        load_openai(target, state)
    for part in (
        "missing ln_final.bias",
        "unexpected odd.key",
        "visual.conv1.weight has shape (1, 2)",
        "3 diff",
    ):
        assert part in str(caught.value)
    assert all(torch.equal(v, before[k]) for k, v in target.state_dict().items())
    with pytest.raises(ValueError, match="vision transformer"):
        load_openai(target, {"visual.class_embedding": torch.zeros(1)})


class _Archive(torch.nn.Module):
    """As OpenAI's: the weights, and methods that nobody needs to run."""

    def __init__(self, model: CLIP) -> None:
        super().__init__()
        self.visual = torch.nn.Conv2d(3, 4, 3, bias=False)
        self.register_buffer("input_resolution", torch.tensor(64))

    def forward(self, x: Tensor) -> Tensor:
        return self.visual(x)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_files_of_three_kinds(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    model = CLIP(**TINY)
    state = OrderedDict(model.state_dict())
    torch.save({"state_dict": state, "epoch": 3, "optimizer": {"lr": 0.1}}, tmp_path / "a.pt")
    save_file(dict(state), tmp_path / "b.safetensors")
    for name in ("a.pt", "b.safetensors"):
        fresh = CLIP(**TINY)
        fresh.read(tmp_path / name)
        assert torch.equal(fresh.token_embedding.weight, model.token_embedding.weight)
    torch.jit.script(_Archive(model)).save(str(tmp_path / "c.pt"))
    found = read_archive(tmp_path / "c.pt")
    expected = torch.jit.load(tmp_path / "c.pt").state_dict()
    assert set(found) == {"visual.weight", "input_resolution"} == set(expected)
    assert all(torch.equal(found[name], value) and found[name].dtype == value.dtype for name, value in expected.items())


class Overwrites(torch.nn.Module):
    """A TorchScript module that writes into a file when it is loaded."""

    def __init__(self, target: str) -> None:
        super().__init__()
        self.weight = torch.zeros(3)
        self.target = target

    @torch.jit.export
    def __getstate__(self) -> tuple[torch.Tensor, str, bool]:
        return (self.weight, self.target, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, str, bool]) -> None:
        self.target = state[1]
        self.training = state[2]
        x = torch.from_file(self.target, True, 4, dtype=torch.uint8)
        x.copy_(torch.tensor([112, 119, 110, 100], dtype=torch.uint8))
        self.weight = x


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_no_archive_runs_anything(tmp_path: Path) -> None:
    victim = tmp_path / "victim.txt"
    victim.write_text("precious")
    script = torch.jit.script(Overwrites(str(victim)))
    torch.jit.save(script, tmp_path / "evil.pt")
    victim.write_text("precious")
    with pytest.raises(InputError, match=r"evil\.pt"):
        read_archive(tmp_path / "evil.pt")
    assert victim.read_text() == "precious"
    torch.jit.load(tmp_path / "evil.pt")  # as torch's own reader would have it
    assert victim.read_bytes()[:4] == b"pwnd"


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="give the path"):
        read_archive(tmp_path / "none.pt")
    for name in ("text.pt", "text.safetensors"):
        (tmp_path / name).write_text("no weights")
        with pytest.raises(ValueError, match=name):
            read_archive(tmp_path / name)
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ValueError, match="holds a list"):
        read_archive(tmp_path / "list.pt")
    torch.save({"a": torch.zeros(1), "b": "text"}, tmp_path / "mixed.pt")
    with pytest.raises(ValueError, match="no tensors: 'b'"):
        read_archive(tmp_path / "mixed.pt")
    torch.save({"a": Path("x")}, tmp_path / "code.pt")  # a pickle that would have to run code
    with pytest.raises(ValueError, match="without running code"):
        read_archive(tmp_path / "code.pt")


def test_check_keys_passes_over_optional() -> None:
    check_keys({"a": torch.zeros(1), "b": torch.zeros(2)}, {"a": torch.ones(1)}, "x", optional=["b"])


# ------------------------------------------------------------------------------------------------ vision transformer

TINY_VIT: dict[str, Any] = {
    "embed_dim": 16,
    "vision_layers": 2,
    "vision_width": 128,
    "patch": 4,
    "grid": 3,
    "vocab": 50,
}
TINY_VIT |= {"text_width": 16, "text_layers": 2, "text_heads": 2, "context_length": 12}


def _slow_vision(model: CLIP, image: Tensor) -> Tensor:
    """One normalised picture through the transformer tower by loops over patches, places and heads."""
    tower = model.visual
    p, state = tower.patch, {k: v.double() for k, v in tower.state_dict().items()}

    def norm(x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        x = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return x * state[f"{name}.weight"] + state[f"{name}.bias"]

    tokens = [state["class_embedding"]]
    for top in range(0, image.shape[1], p):
        for left in range(0, image.shape[2], p):
            part = image[:, top : top + p, left : left + p].double()
            tokens.append((state["conv1.weight"] * part).sum((1, 2, 3)))
    x = norm(torch.stack(tokens) + state["positional_embedding"], "ln_pre")
    for block in range(2):
        head = f"transformer.resblocks.{block}."
        y = norm(x, head + "ln_1")
        q, k, v = (y @ state[head + "attn.in_proj_weight"].T + state[head + "attn.in_proj_bias"]).chunk(3, 1)
        mixed = []
        for part in range(2):  # heads of 64
            at = slice(64 * part, 64 * part + 64)
            weight = torch.stack([torch.stack([a @ b for b in k[:, at]]) / 8 for a in q[:, at]]).softmax(1)
            mixed.append(weight @ v[:, at])
        out = torch.cat(mixed, 1) @ state[head + "attn.out_proj.weight"].T + state[head + "attn.out_proj.bias"]
        x = x + out
        y = norm(x, head + "ln_2") @ state[head + "mlp.c_fc.weight"].T + state[head + "mlp.c_fc.bias"]
        y = y / (1 + (-1.702 * y).exp())
        x = x + y @ state[head + "mlp.c_proj.weight"].T + state[head + "mlp.c_proj.bias"]
    return norm(x[0], "ln_post") @ state["proj"]


@torch.no_grad()
def test_vision_transformer_is_the_loop() -> None:
    torch.manual_seed(0)
    model = CLIP(**TINY_VIT).eval()
    for parameter in model.visual.parameters():  # biases that start at zero would hide a mistake
        parameter.add_(torch.randn_like(parameter) * 0.05)
    images = torch.randn(2, 3, 12, 12)
    slow = torch.stack([_slow_vision(model, image) for image in images])
    torch.testing.assert_close(model.encode_image(images).double(), slow, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="12×12"):
        model.encode_image(torch.randn(1, 3, 16, 12))
    with pytest.raises(ValueError, match="patch"):
        CLIP(**{**TINY_VIT, "patch": None})


def test_published_names_and_sizes_of_vit_b_32() -> None:
    with torch.device("meta"):
        model = CLIP(**VIT_B_32)
    keys = {k for k in openai_keys((), 12) if not k.startswith("visual.")}
    keys |= {"visual.class_embedding", "visual.positional_embedding", "visual.proj", "visual.conv1.weight"}
    keys |= {f"visual.ln_{n}.{p}" for n in ("pre", "post") for p in ("weight", "bias")}
    keys |= {f"visual.{k}" for k in openai_keys((), 12) if k.startswith("transformer.")}
    state = model.state_dict()
    assert set(state) == keys
    assert state["visual.positional_embedding"].shape == (50, 768) and state["visual.proj"].shape == (768, 512)
    assert state["visual.conv1.weight"].shape == (768, 3, 32, 32)
    assert sum(p.numel() for p in model.parameters()) == 151_277_313  # as published


@torch.no_grad()
def test_towers_are_not_mixed_up_and_a_file_fills_either(tmp_path: Path) -> None:
    resnet, transformer, other = CLIP(**TINY), CLIP(**TINY_VIT), CLIP(**TINY_VIT)
    with pytest.raises(ValueError, match="with a vision transformer"):
        load_openai(resnet, openai_state(transformer))
    with pytest.raises(ValueError, match="is a CLIP with a ResNet"):
        load_openai(transformer, openai_state(resnet))
    torch.save(openai_state(transformer), tmp_path / "vit.pt")
    other.read(tmp_path / "vit.pt")
    torch.testing.assert_close(other.visual.proj, transformer.visual.proj, atol=1e-3, rtol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("sizes", [TINY | {"vocab": 49408}, TINY_VIT | {"vocab": 49408}])
def test_clip_space_gives_unit_vectors_of_each_alone(sizes: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = CLIP(**sizes).eval()
    space = ClipSpace(model)
    assert (space.width, space.side) == (16, model.side)
    images, words = torch.rand(3, 3, space.side, space.side), ["a dog", "the red skirt on the chair", ""]
    shown, said = space.pictures(model, images), space.sentences(model, words)
    for vectors in (shown, said):
        assert vectors.shape == (3, 16)
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(shown, F.normalize(model.encode_image(normalise(images)), dim=1))
    torch.testing.assert_close(torch.cat([space.pictures(model, x[None]) for x in images]), shown, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(torch.cat([space.sentences(model, [w]) for w in words]), said, atol=1e-5, rtol=1e-4)
    assert space.sentences(model, []).shape == (0, 16)
