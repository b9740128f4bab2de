"""The parts that both networks of calf share, by hand and against plain loops."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from percepta.nn.calf import CAPSULE, Calf, along, pieces, starts


@given(st.integers(1, 900), st.integers(20, 240), st.integers(5, 200))
def test_chunks_cover_a_video_from_its_start_to_its_end(frames: int, chunk: int, stride: int) -> None:
    begin = starts(frames, chunk, stride)
    if frames <= chunk:
        assert begin == [0]
        return
    assert begin[0] == 0 and begin[-1] == frames - chunk and all(a < b for a, b in pairwise(begin))
    assert all(start % stride == 0 for start in begin[:-1])
    assert all(b - a <= stride for a, b in pairwise(begin))
    assert all(b - a == stride for a, b in pairwise(begin[:-1]))


def test_chunks_by_hand() -> None:
    assert starts(240, 240, 160) == [0] and starts(241, 240, 160) == [0, 1]
    assert starts(400, 240, 160) == [0, 160] and starts(401, 240, 160) == [0, 160, 161]
    # the published code: of the grid 0, 160, 320, 480, 640 those whose chunk ends before the video, then the last
    assert starts(730, 240, 160, official=True) == [0, 160, 320, 480, 490]
    assert starts(400, 240, 160, official=True) == [0, 160]


@given(st.integers(1, 900), st.integers(2, 60), st.integers(1, 40))
def test_pieces_follow_each_other_without_a_gap(frames: int, receptive: int, spare: int) -> None:
    """Neighbours overlap by at least the receptive field where the stride leaves as much."""
    chunk = 2 * receptive + spare
    rows = pieces(frames, starts(frames, chunk, chunk - receptive), chunk, receptive)
    assert [i for i, _, _ in rows] == list(range(len(rows)))
    seen = set()
    for i, first, last in rows:
        start = starts(frames, chunk, chunk - receptive)[i]
        assert start <= first <= last <= min(start + chunk, frames)
        seen |= set(range(first, last))
    assert seen == set(range(frames)), "every frame comes from some chunk"


def test_pieces_by_hand() -> None:
    """A receptive field of 41 frames leaves out 20 at each inner end; the video's own ends stay."""
    assert pieces(730, [0, 160, 320, 490], 240, 41) == [(0, 0, 220), (1, 180, 380), (2, 340, 540), (3, 510, 730)]
    assert pieces(100, [0], 240, 40) == [(0, 0, 100)]
    assert pieces(300, [0, 60], 240, 40) == [(0, 0, 220), (1, 80, 300)]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
def test_a_convolution_along_time_keeps_the_length(size: int) -> None:
    """Zeros before and behind; the surplus of an even kernel lies behind."""
    torch.manual_seed(size)
    layer, x = nn.Conv2d(2, 3, (size, 1)), torch.randn(1, 2, 9, 1)
    found = along(x, layer)
    assert found.shape == (1, 3, 9, 1) and layer.bias is not None
    for t in range(9):
        total = layer.bias.clone()
        for k in range(size):
            at = t + k - (size - 1) // 2
            if 0 <= at < 9:
                total = total + layer.weight[:, :, k, 0] @ x[0, :, at, 0]
        torch.testing.assert_close(found[0, :, t, 0], total)


@torch.no_grad()
def test_the_network_by_its_equations() -> None:
    """The pyramid's widths are 1/4, 1/2, 1 and 2 times the base of 32 beside it: 152 channels in all. The length of a
    capsule v is 2 |v − ½| / √16, so that it lies in 0..1."""
    torch.manual_seed(0)
    chunk, classes, detections = 32, 3, 5
    model = Calf(6, 32, classes, detections, chunk, 14).eval()
    sizes = [(layer.out_channels, layer.kernel_size[0]) for layer in
             (model.conv_p_1, model.conv_p_2, model.conv_p_3, model.conv_p_4)]  # fmt: skip
    assert sizes == [(8, 2), (16, 5), (32, 7), (64, 14)]  # ⌈14 / 7⌉, ⌈14 / 3⌉, ⌈14 / 2⌉, 14
    assert (model.conv_1.out_channels, model.batch_seg.num_features) == (128, chunk)
    frames = torch.randn(2, chunk, 6)
    assert model.conv_1.bias is not None and model.conv_2.bias is not None and model.conv_conf.bias is not None
    pyramid = model.pyramid(frames)
    assert pyramid.shape == (2, 152, chunk, 1) and (pyramid >= 0).all()
    first = model.conv_1.weight[:, 0, 0] @ frames[0].T + model.conv_1.bias[:, None]
    base = model.conv_2.weight[:, :, 0, 0] @ first.relu() + model.conv_2.bias[:, None]
    torch.testing.assert_close(pyramid[0, :32, :, 0], base.relu(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(pyramid[:, 88:], along(pyramid[:, :32], model.conv_p_4).relu())

    length, numbers = model.segmented(pyramid)
    capsules = along(pyramid, model.conv_seg)[..., 0]  # b, 16 · classes, t
    norm = model.batch_seg
    assert norm.running_mean is not None and norm.running_var is not None and norm.eps == 1e-3
    gain = (norm.weight / (norm.running_var + norm.eps).sqrt())[None, :, None, None]
    each = capsules.permute(0, 2, 1).reshape(2, chunk, CAPSULE, classes)
    sure = ((each - norm.running_mean[None, :, None, None]) * gain + norm.bias[None, :, None, None]).sigmoid()
    wanted = 2 * torch.linalg.vector_norm(sure - 0.5, dim=2) / 4
    torch.testing.assert_close(length, wanted, rtol=1e-4, atol=1e-6)
    assert length.shape == (2, chunk, classes) and float(length.min()) >= 0 and float(length.max()) <= 1

    x = torch.cat([capsules, (1 - length).permute(0, 2, 1)], 1).relu()
    x = functional.max_pool1d(x, 3, 2)[..., None]
    for layer in (model.conv_spot_1, model.conv_spot_2):
        x = functional.max_pool1d(along(x, layer).relu()[..., 0], 3, 2)[..., None]
    torch.testing.assert_close(numbers[:, :, 0, 0], x.reshape(2, -1))
    assert numbers.shape[1] == 16 * (chunk // 8 - 1) == model.conv_conf.in_channels
    places = model.places(numbers)
    raw = numbers[:, :, 0, 0] @ model.conv_conf.weight[:, :, 0, 0].T + model.conv_conf.bias
    torch.testing.assert_close(places, raw.reshape(2, detections, 2).sigmoid())
