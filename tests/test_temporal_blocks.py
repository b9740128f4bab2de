"""The blocks over time of ActionFormer: each against the obvious way to compute it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from percepta.nn import temporal

MASK = torch.tensor([[[True] * 12], [[True] * 7 + [False] * 5]])


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_padding_is_zero_after_a_convolution() -> None:
    conv = temporal.MaskedConv(3, 4, 5)
    assert conv.conv.bias is not None and not conv.conv.bias.any() and conv.conv.padding == (2,)
    nn.init.normal_(conv.conv.bias)
    x = numbers(2, 3, 12)
    out, mask = conv(x, MASK)
    plain = functional.conv1d(x, conv.conv.weight, conv.conv.bias, padding=2)
    torch.testing.assert_close(out, plain * MASK)
    assert (mask == MASK).all() and not out[1, :, 7:].any()
    thin = temporal.MaskedConv(3, 4, 3, 2, bias=False)
    out, mask = thin(x, MASK)
    assert mask.tolist() == [[[True] * 6], [[True] * 4 + [False] * 2]] and thin.conv.bias is None
    torch.testing.assert_close(out, functional.conv1d(x, thin.conv.weight, stride=2, padding=1) * mask)
    assert temporal.MaskedConv(4, 4, 3, groups=4).conv.groups == 4


def test_channel_norm_is_layer_norm_over_channels() -> None:
    norm = temporal.ChannelNorm(6)
    assert (norm.weight == 1).all() and (norm.bias == 0).all() and norm.eps == 1e-5
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = 0.01 * numbers(2, 6, 5)
    wanted = functional.layer_norm(x.transpose(1, 2), (6,), norm.weight[0, :, 0], norm.bias[0, :, 0], 1e-5)
    torch.testing.assert_close(norm(x), wanted.transpose(1, 2))


def test_drop_path_leaves_out_samples_and_keeps_the_mean() -> None:
    layer = temporal.DropPath(2, 0.25)
    assert torch.allclose(layer.scale, torch.tensor(1e-4)), "a block begins as nearly nothing"
    nn.init.constant_(layer.scale, 3.0)
    x = torch.ones(4000, 2, 3)
    torch.manual_seed(0)
    found = layer.train()(x)
    each = found[:, 0, 0]
    assert (found == each[:, None, None]).all(), "a sample stays whole"
    assert set(each.tolist()) == {0.0, 4.0}  # 3 / (1 − ¼)
    assert float((each == 0).float().mean()) == pytest.approx(0.25, abs=0.03)
    assert (layer.eval()(x) == 3).all() and (temporal.DropPath(2, 0.0).train()(x) == 1e-4).all()


@pytest.mark.parametrize(("window", "stride"), [(0, 1), (5, 1), (4, 1), (1, 1), (0, 2), (3, 2), (-1, 1)])
@torch.no_grad()
def test_attention_place_by_place(window: int, stride: int) -> None:
    """For each place in turn: softmax over the places that are no padding and at most window // 2 away."""
    torch.manual_seed(1)
    layer: Any = temporal.Attention(8, 2, window, stride).eval()
    assert layer.query_conv.conv.kernel_size == (3,), "stride + 1, or 3"
    x = numbers(2, 8, 12)
    out, seen = layer(x, MASK)
    half = window // 2
    assert seen.shape[-1] == 12 // stride
    parts = [getattr(layer, name)(getattr(layer, f"{name}_norm")(getattr(layer, f"{name}_conv")(x, MASK)[0]))
             for name in ("query", "key", "value")]  # fmt: skip
    mixed = torch.zeros_like(parts[2])
    for b in range(2):
        there = seen[b, 0].nonzero()[:, 0].tolist()
        for t in there:
            near = [s for s in there if window <= 0 or abs(s - t) <= half]
            for head in (slice(0, 4), slice(4, 8)):
                score = torch.stack([parts[0][b, head, t] @ parts[1][b, head, s] / 2 for s in near])  # √4
                weight = score.softmax(0)
                mixed[b, head, t] = sum(w * parts[2][b, head, s] for w, s in zip(weight, near, strict=True))  # type: ignore[assignment]
    torch.testing.assert_close(out, layer.proj(mixed) * seen, rtol=1e-4, atol=1e-5)
    wide: Any = temporal.Attention(8, 2, 3, 4)
    assert wide.key_conv.conv.kernel_size == (5,)


@torch.no_grad()
def test_a_block_adds_attention_and_perceptron() -> None:
    torch.manual_seed(2)
    x = numbers(2, 8, 12) * MASK
    for stride in (1, 2):
        block = temporal.TemporalBlock(8, 2, 3, stride).eval()
        for drop in (block.drop_path_attn, block.drop_path_mlp):
            nn.init.uniform_(drop.scale, 0.5, 1.5)
        out, mask = block(x, MASK)
        assert (mask == MASK[..., ::stride]).all() and block.mlp[0].out_channels == 32
        inner = block.attn(block.ln1(x), MASK)[0] * block.drop_path_attn.scale
        short = (
            x if stride == 1 else torch.stack([x[..., max(0, 2 * t - 1) : 2 * t + 2].amax(-1) for t in range(6)], -1)
        )
        inner = short * mask + inner
        wanted = inner + block.drop_path_mlp.scale * (block.mlp(block.ln2(inner)) * mask)
        torch.testing.assert_close(out, wanted)


def test_sinusoids_by_their_formula() -> None:
    table = temporal.sinusoids(50, 6)
    assert table.shape == (1, 6, 50)
    for t in (0, 1, 7, 49):
        for c in range(6):
            angle = t / 10000 ** (2 * (c // 2) / 6)
            wanted = math.sin(angle) if c % 2 == 0 else math.cos(angle)
            assert float(table[0, c, t]) == pytest.approx(wanted / math.sqrt(6), abs=1e-6)


@torch.no_grad()
def test_the_backbone_halves_the_rate_and_knows_places() -> None:
    torch.manual_seed(3)
    plain: Any = temporal.Backbone(5, 8, 2, (3, 3, 3)).eval()
    assert len(plain.stem) == 2 and len(plain.branch) == 2 and plain.positions is None
    assert plain.embd[0].conv.kernel_size == (3,)
    x, mask = numbers(2, 5, 12), MASK
    levels, masks = plain(x, mask)
    assert [one.shape[-1] for one in levels] == [12, 6, 3] and [m.shape[-1] for m in masks] == [12, 6, 3]
    y = x
    for conv, norm in zip(plain.embd, plain.embd_norm, strict=True):
        y = norm(conv(y, mask)[0]).relu()
    for positions in (12, 20, 6):
        known = temporal.Backbone(5, 8, 2, (3, 3, 3), positions=positions).eval()
        known.load_state_dict(plain.state_dict())
        place = temporal.sinusoids(positions, 8)
        if positions < 12:  # stretched over what is longer
            place = functional.interpolate(place, 12, mode="linear", align_corners=False)
        z = y + place[..., :12] * mask
        for block in known.stem:
            z, _ = block(z, mask)
        torch.testing.assert_close(known(x, mask)[0][0], z)


@torch.no_grad()
def test_heads_share_their_trunk_and_begin_rare() -> None:
    """A prior of 0.01 is a bias of −log 99; offsets are never below 0 and have a factor of their own a level."""
    torch.manual_seed(4)
    classes, offsets = temporal.ClassHead(8, 3), temporal.OffsetHead(8, 2)
    scales: Any = offsets.scale
    assert classes.cls_head.conv.bias is not None and len(classes.head) == len(offsets.head) == 2
    assert torch.allclose(classes.cls_head.conv.bias, torch.tensor(-math.log(99.0)))
    levels, masks = [numbers(2, 8, 12), numbers(2, 8, 6, seed=1)], [MASK, MASK[..., ::2]]
    for scale, value in zip(scales, (1.0, 3.0), strict=True):
        assert float(scale.scale) == 1.0
        nn.init.constant_(scale.scale, value)
    for level, (x, m) in enumerate(zip(levels, masks, strict=True)):
        for head, out in ((classes, classes(levels, masks)), (offsets, offsets(levels, masks))):
            y = x
            for conv, norm in zip(head.head, head.norm, strict=True):
                y = norm(conv(y, m)[0]).relu()
            last = head.cls_head if isinstance(head, temporal.ClassHead) else head.offset_head
            wanted = last(y, m)[0]
            if head is offsets:
                wanted = ((1.0, 3.0)[level] * wanted).relu()
            torch.testing.assert_close(out[level], wanted)
    neck: Any = temporal.Neck(8, 2)
    nn.init.constant_(neck.fpn_norms[1].bias, 5.0)
    first, second = neck(levels)
    assert float(first.mean()) == pytest.approx(0, abs=1e-5) and float(second.mean()) == pytest.approx(5, abs=1e-5)
