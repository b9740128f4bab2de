"""CRIS: golden tensors, the projector against a loop, padding, batches, letterbox, published names, folding."""

from __future__ import annotations

import copy
import json
import math
import os
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from percepta.nn.clip import CLIP, MEAN
from percepta.systems.refer import cris, folding, keys, losses
from percepta.systems.refer.cris import CRIS, Letterbox, letterbox

TINY = {"fpn_in": (64, 128, 32), "fpn_out": (8, 16, 24), "num_layers": 2, "vis_dim": 16, "num_head": 2}
TINY |= {"dim_ffn": 24, "word_dim": 32, "vision_layers": (1, 1, 1, 1), "vision_width": 8, "image_size": 64}
TINY |= {"vocab": 50, "text_width": 16, "text_layers": 1, "text_heads": 2, "grid": 2}

WORDS = torch.tensor([[48, 3, 4, 5, 49, 0, 0], [48, 7, 49, 0, 0, 0, 0]])


@pytest.fixture
def model() -> CRIS:
    """A small network whose batch norms have something to do."""
    torch.manual_seed(0)
    made = CRIS(**TINY)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
    return made.eval()


def golden() -> Path:
    root = os.environ.get("PERCEPTA_DATA")
    if not root:
        pytest.skip("PERCEPTA_DATA is not set: no golden tensors of CRIS")
    folder = Path(root).parent / "golden" / "cris"
    if not folder.is_dir():
        pytest.skip(f"{folder} is missing: no golden tensors of CRIS")
    return folder


@torch.no_grad()
@pytest.mark.parametrize("folded", [False, True])
def test_every_tensor_agrees_with_the_published_network(folded: bool) -> None:
    from safetensors.torch import load_file

    folder = golden()
    state, known = load_file(folder / "checkpoint.safetensors"), load_file(folder / "io.safetensors")
    config = json.loads((folder / "config.json").read_text())
    network = CRIS(**{**keys.sizes(state), **config})  # type: ignore[arg-type]
    keys.load_cris(network, {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}})
    network.eval()
    if folded:
        folding.fuse(network)
    features = network.encode_image(known["image"])
    tokens, sentence = network.encode_text(known["word"])
    ours = dict(zip(("c3", "c4", "c5"), features, strict=True)) | {"tokens": tokens, "state": sentence}
    ours["neck"] = network.neck(features, sentence)
    ours["logits"] = network(known["image"], known["word"])
    for name, value in ours.items():
        error = (value - known[name]).abs().max() / known[name].std()
        assert error < 1e-4, f"{name} is {error:.1e} of its standard deviation away"
    assert losses.text_to_pixel(ours["logits"], known["mask"]).item() == pytest.approx(known["loss"].item(), rel=1e-5)


def test_sizes_are_read_off_a_state(model: CRIS) -> None:
    told = keys.sizes(model.state_dict())
    assert all(TINY[name] == value for name, value in told.items() if name in TINY)
    assert (told["context_length"], told["grid"]) == (77, 2)
    with pytest.raises(ValueError, match="no CRIS checkpoint"):
        keys.sizes({"a": torch.zeros(1)})


@torch.no_grad()
def test_kernel_projector_is_a_loop_over_samples_and_places(model: CRIS) -> None:
    grid, state = torch.randn(2, 16, 3, 4), torch.randn(2, 32)
    places = model.proj.vis(grid)
    padded = F.pad(places, (1, 1, 1, 1))
    kernel = model.proj.txt(state)
    expected = torch.empty(2, 1, 12, 16)
    for sample in range(2):
        weight, bias = kernel[sample, :-1].reshape(8, 3, 3), kernel[sample, -1]
        for row in range(12):
            for column in range(16):
                window = padded[sample, :, row : row + 3, column : column + 3]
                expected[sample, 0, row, column] = (window * weight).sum() + bias
    torch.testing.assert_close(model.proj(grid, state), expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_padding_changes_nothing_and_words_do(model: CRIS) -> None:
    image = torch.randn(2, 3, 64, 64)
    logits = model(image, WORDS)
    longer = F.pad(WORDS, (0, 6))
    torch.testing.assert_close(model(image, longer), logits, atol=1e-5, rtol=1e-4)
    other = WORDS.clone()
    other[0, 2] = 9
    changed = (model(image, other) - logits).abs().amax((1, 2, 3))
    assert changed[0] > 1e-4 and changed[1] < 1e-5
    # The features behind the padding themselves are not looked at.
    tokens, state = model.encode_text(WORDS)
    features = model.encode_image(image)
    noisy = torch.where((WORDS == 0)[..., None], torch.randn_like(tokens), tokens)
    torch.testing.assert_close(model.head(features, noisy, state, WORDS), logits, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_batch_is_the_loop(model: CRIS) -> None:
    image = torch.randn(2, 3, 64, 96)
    one = torch.cat([model(image[i : i + 1], WORDS[i : i + 1]) for i in range(2)])
    assert one.shape == (2, 1, 16, 24)
    torch.testing.assert_close(model(image, WORDS), one, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_one_prepared_picture_answers_many_sentences(model: CRIS) -> None:
    image = torch.randn(1, 3, 64, 64)
    prepared = model.prepare(model.encode_image(image))
    many = model.answer(prepared, *model.encode_text(WORDS), WORDS)
    torch.testing.assert_close(many, model(image.expand(2, -1, -1, -1), WORDS), atol=1e-5, rtol=1e-4)


def test_every_parameter_but_the_temperature_learns(model: CRIS) -> None:
    model.train()
    losses.text_to_pixel(model(torch.randn(2, 3, 64, 64), WORDS), torch.ones(2, 1, 64, 64)).backward()
    still = {name for name, value in model.named_parameters() if value.grad is None}
    assert still == {"backbone.logit_scale"}


def test_loss_is_cross_entropy_at_a_quarter() -> None:
    logits = torch.tensor([[[[2.0, -1.0], [0.5, 0.0]]]])
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 0, 0] = 1  # nearest takes the first pixel of each 4×4 block
    mask[..., 5:, 5:] = 1
    places = [(2.0, 1), (-1.0, 0), (0.5, 0), (0.0, 0)]
    expected = sum(math.log1p(math.exp(-x if y else x)) for x, y in places) / 4
    assert losses.text_to_pixel(logits, mask).item() == pytest.approx(expected)


def test_sine_positions() -> None:
    line = cris.sine_line(5, 8)
    for place in range(5):
        for pair in range(4):
            angle = place / 10000 ** (2 * pair / 8)
            assert line[place, 2 * pair].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert line[place, 2 * pair + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)
    grid = cris.sine_grid(3, 5, 16).reshape(3, 5, 16)
    torch.testing.assert_close(grid[1, :, :8], line)
    torch.testing.assert_close(grid[:, 4, 8:], line[:3])


@torch.no_grad()
def test_coordinates_run_from_minus_one_to_one_x_first() -> None:
    layer = cris.CoordConv(1, 2)
    layer.conv1 = nn.Sequential(nn.Identity())
    seen = layer(torch.zeros(1, 1, 3, 5))
    torch.testing.assert_close(seen[0, 1, 0], torch.linspace(-1, 1, 5))
    torch.testing.assert_close(seen[0, 2, :, 0], torch.linspace(-1, 1, 3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fpn_in": (64, 128, 16)}, "fpn_in"),
        ({"fpn_out": (8, 20, 24)}, r"fpn_out\[1\] is 20"),
        ({"num_head": 3}, "multiple of 4 and of num_head"),
        ({"image_size": 100}, "multiple of 32"),
        ({"intermediate": True}, "intermediate"),
        ({"word_len": 80}, "2 to 77"),
    ],
)
def test_sizes_that_do_not_fit(change: dict[str, object], message: str) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        CRIS(**TINY | change)  # type: ignore[arg-type]


def test_pictures_that_are_no_multiples(model: CRIS) -> None:
    with pytest.raises(ValueError, match="90×64"):
        model.encode_image(torch.zeros(1, 3, 64, 90))


# ------------------------------------------------------------------------------------------------- published names

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def official_keys(decoder_layers: int) -> set[str]:
    """Keys outside the backbone, written down apart from our modules."""

    def block(name: str) -> set[str]:
        return {f"{name}.0.weight"} | {f"{name}.1.{p}" for p in NORM}

    names = (
        "txt_proj",
        "f1_v_proj",
        "f2_v_proj",
        "f2_cat",
        "f3_v_proj",
        "f3_cat",
        "f4_proj5",
        "f4_proj4",
        "f4_proj3",
    )
    found = {f"neck.norm_layer.0.{p}" for p in NORM}
    for name in (*names, "aggr", "coordconv.0.conv1", "coordconv.1"):
        found |= block(f"neck.{name}")
    for layer in range(decoder_layers):
        head = f"decoder.layers.{layer}."
        for part in (
            "self_attn_norm",
            "cross_attn_norm",
            "ffn.0",
            "ffn.3",
            "ffn.4",
            "norm1",
            "norm2",
            "norm3",
        ):
            found |= {f"{head}{part}.weight", f"{head}{part}.bias"}
        for part in ("self_attn", "multihead_attn"):
            found |= {f"{head}{part}.in_proj_weight", f"{head}{part}.in_proj_bias"}
            found |= {f"{head}{part}.out_proj.weight", f"{head}{part}.out_proj.bias"}
    found |= {"decoder.norm.weight", "decoder.norm.bias", "proj.txt.weight", "proj.txt.bias"}
    found |= {"proj.vis.4.weight", "proj.vis.4.bias"}
    return found | block("proj.vis.1") | block("proj.vis.3")


@pytest.mark.parametrize(("layers", "width"), [((3, 4, 6, 3), 1024), ((3, 4, 23, 3), 512)])
def test_published_names_and_sizes(layers: tuple[int, ...], width: int) -> None:
    with torch.device("meta"):
        network = CRIS(vision_layers=layers, word_dim=width, fpn_in=(512, 1024, width))
        clip = CLIP(vision_layers=layers, embed_dim=width)
    state = network.state_dict()
    backbone = {f"backbone.{key}" for key in clip.state_dict()}
    connect = {"backbone.visual.attnpool.connect.0.weight"}
    connect |= {f"backbone.visual.attnpool.connect.1.{p}" for p in NORM}
    assert set(state) == official_keys(3) | backbone | connect
    assert state["proj.txt.weight"].shape == (256 * 9 + 1, width)
    assert state["neck.aggr.0.weight"].shape == (512, 1536, 1, 1)
    assert state["neck.coordconv.0.conv1.0.weight"].shape == (512, 514, 3, 3)
    assert state["backbone.visual.attnpool.connect.0.weight"].shape == (width, 2048, 1, 1)


def test_checkpoints_are_read_strictly(model: CRIS, tmp_path: Path) -> None:
    fresh = CRIS(**TINY)
    torch.save(
        {"epoch": 1, "state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}},
        tmp_path / "a.pth",
    )
    keys.load_cris(fresh, tmp_path / "a.pth")
    assert all(torch.equal(v, fresh.state_dict()[k]) for k, v in model.state_dict().items())

    broken = dict(model.state_dict())
    del broken["decoder.norm.bias"], broken["proj.txt.bias"]
    broken["backbone.extra"] = torch.zeros(1)
    with pytest.raises(ValueError) as caught:
        keys.load_cris(fresh, broken)
    for part in ("missing decoder.norm.bias", "missing proj.txt.bias", "unexpected backbone.extra"):
        assert part in str(caught.value)
    with pytest.raises(ValueError, match="both with and without"):
        keys.official({"a": torch.zeros(1), "module.a": torch.zeros(1)})
    with pytest.raises(FileNotFoundError):
        keys.load_cris(fresh, tmp_path / "none.pth")


@torch.no_grad()
def test_openai_weights_fill_the_backbone_alone(model: CRIS) -> None:
    torch.manual_seed(1)
    source = CLIP(
        embed_dim=32,
        vision_layers=(1, 1, 1, 1),
        vision_width=8,
        grid=2,
        vocab=50,
        text_width=16,
        text_layers=1,
        text_heads=2,
    )
    state: dict[str, Tensor] = {k: v.half() if v.is_floating_point() else v for k, v in source.state_dict().items()}
    state |= {
        "input_resolution": torch.tensor(64),
        "context_length": torch.tensor(77),
        "vocab_size": torch.tensor(50),
    }
    before = {k: v.clone() for k, v in model.state_dict().items()}
    keys.load_clip(model, state)
    after = model.state_dict()
    torch.testing.assert_close(after["backbone.visual.conv1.weight"], source.visual.conv1.weight, atol=1e-3, rtol=1e-3)
    kept = [k for k in after if not k.startswith("backbone.") or "attnpool.connect" in k]
    assert all(torch.equal(after[k], before[k]) for k in kept)
    assert model(torch.randn(2, 3, 64, 64), WORDS).isfinite().all()
    with pytest.raises(ValueError, match=r"missing visual\.bn1\.bias"):
        keys.load_clip(model, {k: v for k, v in state.items() if k != "visual.bn1.bias"})


# ------------------------------------------------------------------------------------------------------- letterbox


def test_letterbox_puts_corners_on_corners() -> None:
    box = Letterbox(60, 100, 64)  # shrinks by 0.64 to 64×38.4, 12.8 above
    assert (box.scale, box.left, box.top) == pytest.approx((0.64, 0.0, 12.8))
    ramp = torch.arange(100.0).expand(60, 100)
    inside = box.mask(ramp)[32]
    torch.testing.assert_close(inside, torch.arange(64) / 0.64, atol=1e-4, rtol=0)
    down = torch.arange(60.0)[:, None].expand(60, 100)
    column = box.mask(down)[:, 32]
    rows = torch.arange(13, 50)
    torch.testing.assert_close(column[13:50], (rows - 12.8) / 0.64, atol=1e-4, rtol=0)
    assert column[:11].abs().max() == 0


def test_picture_of_the_right_size_is_untouched_and_border_is_the_mean_colour() -> None:
    torch.manual_seed(0)
    picture = torch.rand(3, 32, 32)
    torch.testing.assert_close(letterbox(picture, 32)[0], picture)
    wide, _ = letterbox(picture[:, :8], 32)
    torch.testing.assert_close(wide[:, 0, 0], torch.tensor(MEAN))
    even = torch.tensor(MEAN)[:, None, None].expand(3, 20, 31)
    torch.testing.assert_close(letterbox(even, 32)[0], torch.tensor(MEAN)[:, None, None].expand(3, 32, 32))
    with pytest.raises((ValueError, TypeError)):  # a TypeError where shapes are checked
        letterbox(torch.zeros(1, 4, 4), 32)


@settings(max_examples=25, deadline=None)
@given(st.integers(24, 90), st.integers(24, 90), st.floats(0, 6))
def test_there_and_back_is_the_picture_where_it_is_smooth(height: int, width: int, phase: float) -> None:
    """A wave as long as the picture survives; at the very edge, taps beyond the picture are missing."""
    rows, columns = torch.arange(height)[:, None], torch.arange(width)[None]
    wave = 0.5 + 0.4 * torch.sin(2 * math.pi * (rows + columns) / max(height, width) + phase)
    box = Letterbox(height, width, 64)
    back = box.back(box.image(wave.expand(3, -1, -1)))
    edge = math.ceil(3 / min(1.0, box.scale)) + 1
    inner = (slice(None), slice(edge, -edge), slice(edge, -edge))
    assert back.shape == (3, height, width)
    assert (back - wave)[inner].abs().max() < 0.01


def test_recovered_mask_covers_what_the_logits_cover() -> None:
    mask = torch.zeros(1, 48, 80)
    mask[:, 12:36, 20:60] = 1
    box = Letterbox(48, 80, 64)
    logits = F.avg_pool2d(box.mask(mask)[None], 4) * 20 - 10
    probability = box.recover(logits)
    assert probability.shape == (1, 1, 48, 80)
    found = probability[0, 0] > cris.THRESHOLD
    union = (found | (mask[0] > 0)).sum()
    # Corners on corners at a quarter moves the map by up to half a place, as the reference does.
    assert (found & (mask[0] > 0)).sum() / union > 0.8


def test_one_axis_of_the_warp_against_its_definition() -> None:
    torch.manual_seed(0)
    line, scale, shift = torch.randn(9), 0.7, 2.3

    def keys_cubic(t: float, a: float = -0.75) -> float:
        t = abs(t)
        if t <= 1:
            return (a + 2) * t**3 - (a + 3) * t**2 + 1
        return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a if t < 2 else 0.0

    for cubic in (True, False):
        ours = cris._warp(line, 0, 12, scale, shift, cubic)
        for place in range(12):
            at = (place - shift) / scale
            kernel = keys_cubic if cubic else lambda t: max(0.0, 1 - abs(t))
            expected = sum(line[i].item() * kernel(at - i) for i in range(9))
            assert ours[place].item() == pytest.approx(expected, abs=1e-5)


# ----------------------------------------------------------------------------------------------------------- speed


@torch.no_grad()
def test_folding_changes_nothing_but_rounding(model: CRIS) -> None:
    image = torch.randn(2, 3, 64, 64)
    plain = model(image, WORDS)
    folded = folding.fuse(copy.deepcopy(model))
    left = [n for n, m in folded.named_modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    assert left == ["neck.norm_layer.0"]
    assert (folded(image, WORDS) - plain).abs().max() < 1e-4 * plain.std()


@torch.no_grad()
def test_fast_form_answers_in_float32_and_nearly_the_same(model: CRIS) -> None:
    image = torch.randn(2, 3, 64, 64)
    plain = model(image, WORDS)
    quick = folding.fast(copy.deepcopy(model))
    assert quick.backbone.visual.conv1.weight.dtype == torch.bfloat16
    assert quick.proj.txt.weight.dtype == torch.float32
    logits = quick(image, WORDS)
    assert logits.dtype == torch.float32
    error = (logits - plain).abs().mean() / plain.std()
    assert 0 < error < 0.1
    many = quick.answer(quick.prepare(quick.encode_image(image[:1])), *quick.encode_text(WORDS), WORDS)
    assert many.shape == (2, 1, 16, 16)
