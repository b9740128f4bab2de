"""Attention against torch's own, masks, and position codes."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from percepta.nn.transformer import Attention, DecoderLayer, EncoderLayer, sine_grid, sine_line


@torch.no_grad()
@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_torchs(masked: bool) -> None:
    torch.manual_seed(0)
    ours, theirs = Attention(24, 3), nn.MultiheadAttention(24, 3, batch_first=True)
    theirs.in_proj_weight.copy_(torch.cat((ours.query.weight, ours.key.weight, ours.value.weight)))
    theirs.in_proj_bias.copy_(torch.cat((ours.query.bias, ours.key.bias, ours.value.bias)))
    theirs.out_proj.load_state_dict(ours.out.state_dict())
    query, key, value = torch.randn(2, 5, 24), torch.randn(2, 7, 24), torch.randn(2, 7, 24)
    mask = torch.tensor([[1, 1, 1, 0, 0, 0, 0], [1, 0, 1, 1, 1, 1, 0]]).bool() if masked else None
    expected, _ = theirs(query, key, value, key_padding_mask=None if mask is None else ~mask)
    torch.testing.assert_close(ours(query, key, value, mask), expected, atol=1e-5, rtol=1e-4)


def test_a_width_that_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="width 10 is no multiple of 4 heads"):
        Attention(10, 4)


@torch.no_grad()
def test_what_is_masked_does_not_matter() -> None:
    torch.manual_seed(0)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    x, memory = torch.randn(2, 4, 16), torch.randn(2, 3, 16)
    noisy = torch.where(mask[..., None], memory, torch.randn_like(memory) * 9)
    decoder, place = DecoderLayer(16, 4, 8).eval(), torch.randn(1, 4, 16)
    torch.testing.assert_close(decoder(x, place, noisy, mask), decoder(x, place, memory, mask))
    assert (decoder(x, place, noisy) - decoder(x, place, memory)).abs().max() > 1e-3
    encoder, line = EncoderLayer(16, 4, 8).eval(), torch.randn(1, 3, 16)
    torch.testing.assert_close(encoder(noisy, line, mask)[mask], encoder(memory, line, mask)[mask])
    # As if the masked places were not there at all.
    torch.testing.assert_close(encoder(memory[:1, :2], line[:, :2]), encoder(memory, line, mask)[:1, :2])


@torch.no_grad()
def test_attention_follows_its_inputs_order() -> None:
    torch.manual_seed(0)
    layer, order = EncoderLayer(16, 4, 8).eval(), torch.tensor([2, 0, 3, 1])
    x, place = torch.randn(2, 4, 16), torch.randn(1, 4, 16)
    torch.testing.assert_close(layer(x[:, order], place[:, order]), layer(x, place)[:, order])
    assert (layer(x[:, order], place) - layer(x, place)[:, order]).abs().max() > 1e-3


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.sampled_from((3, 5)), st.sampled_from((8, 16, 18)))
def test_equal_places_have_equal_codes_whatever_the_grid(h: int, w: int, times: int, channels: int) -> None:
    coarse = sine_grid(h, w, channels).view(h, w, channels)
    fine = sine_grid(h * times, w * times, channels).view(h * times, w * times, channels)
    torch.testing.assert_close(fine[times // 2 :: times, times // 2 :: times], coarse, atol=1e-3, rtol=0)


def test_codes_are_sines_of_the_places() -> None:
    count, (h, w) = 4, (3, 5)
    grid = sine_grid(h, w, 4 * count).view(h, w, 4 * count)
    for row in range(h):
        for column in range(w):
            x, y = (column + 0.5) / w * 2 - 1, (row + 0.5) / h * 2 - 1
            waves = [4 / 4**k for k in range(count)]  # from 4, the picture twice, in equal ratios to 4 / 64
            expected = [f(2 * math.pi * v / wave) for v in (x, y) for f in (math.sin, math.cos) for wave in waves]
            assert grid[row, column].tolist() == pytest.approx(expected, abs=1e-4)
    line = sine_line(4, 6)
    for place in range(4):
        for pair in range(3):
            angle = place / 10000 ** (2 * pair / 6)
            assert line[place, 2 * pair : 2 * pair + 2].tolist() == pytest.approx(
                [math.sin(angle), math.cos(angle)], abs=1e-6
            )
    assert sine_line(3, 7).shape == (3, 7)
