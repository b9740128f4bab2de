"""CIFAR ResNets: sizes as published, blocks against their formula."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from percepta.nn.resnet import Block, WideBlock, resnet, wide_resnet


def parameters(network: nn.Module, classes: int, width: int) -> int:
    """With the linear layer that a classifier puts on top."""
    return sum(value.numel() for value in network.parameters()) + (width + 1) * classes


@pytest.mark.parametrize(("depth", "published"), [(20, 0.27e6), (32, 0.46e6), (44, 0.66e6), (56, 0.85e6), (110, 1.7e6)])
def test_resnets_have_the_papers_size(depth: int, published: float) -> None:
    """He et al., table 6, in millions at two digits."""
    network = resnet(depth)
    assert parameters(network, 10, network.width) == pytest.approx(published, rel=0.03)
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert len(layers) + 1 == depth


@pytest.mark.parametrize(("depth", "widen", "published"), [(16, 4, 2.75e6), (16, 8, 11.0e6), (28, 10, 36.5e6)])
def test_wide_resnets_have_the_papers_size(depth: int, widen: int, published: float) -> None:
    """Zagoruyko & Komodakis, tables 4 and 5 (WRN-16-4 as in work that cites it)."""
    with torch.device("meta"):
        network = wide_resnet(depth, widen)
    assert parameters(network, 10, network.width) == pytest.approx(published, rel=0.01)
    assert network.width == 64 * widen
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(layers) + 3 == depth  # the paper counts the three shortcuts, not the linear layer


@given(st.sampled_from([(20, 0), (16, 2)]), st.integers(1, 3), st.integers(4, 33), st.integers(4, 33))
def test_any_size_gives_features(kind: tuple[int, int], b: int, height: int, width: int) -> None:
    depth, widen = kind
    network = (wide_resnet(depth, widen) if widen else resnet(depth)).eval()
    with torch.no_grad():
        assert network(torch.randn(b, 3, height, width)).shape == (b, network.width)


def bn(x: torch.Tensor, norm: nn.BatchNorm2d) -> torch.Tensor:
    mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), unbiased=False, keepdim=True)
    scale = (norm.weight[:, None, None] / (variance + norm.eps).sqrt())  # fmt: skip
    return (x - mean) * scale + norm.bias[:, None, None]


@pytest.mark.parametrize(("c_in", "c_out", "stride"), [(8, 8, 1), (8, 16, 2)])
def test_a_block_is_its_formula(c_in: int, c_out: int, stride: int) -> None:
    torch.manual_seed(0)
    block, x = Block(c_in, c_out, stride), torch.randn(2, c_in, 6, 6)
    for value in block.parameters():
        nn.init.normal_(value)
    y = F.conv2d(x, block.conv1.weight, stride=stride, padding=1)
    y = bn(F.conv2d(bn(y, block.norm1).relu(), block.conv2.weight, padding=1), block.norm2)
    short = torch.zeros_like(y)
    half = (c_out - c_in) // 2
    short[:, half : half + c_in] = x[:, :, ::stride, ::stride]
    assert torch.allclose(block(x.clone()), (y + short).relu(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("c_in", "c_out", "stride"), [(8, 8, 1), (8, 16, 1), (8, 16, 2)])
def test_a_wide_block_is_its_formula(c_in: int, c_out: int, stride: int) -> None:
    torch.manual_seed(0)
    block, x = WideBlock(c_in, c_out, stride), torch.randn(2, c_in, 6, 6)
    for value in block.parameters():
        nn.init.normal_(value)
    a = bn(x, block.norm1).relu()
    y = F.conv2d(a, block.conv1.weight, stride=stride, padding=1)
    y = F.conv2d(bn(y, block.norm2).relu(), block.conv2.weight, padding=1)
    short = x if block.shortcut is None else F.conv2d(a, block.shortcut.weight, stride=stride)
    assert (block.shortcut is None) == (c_in == c_out)
    assert torch.allclose(block(x.clone()), y + short, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("depth", [0, 2, 19, 21])
def test_odd_depths_are_refused(depth: int) -> None:
    with pytest.raises(ValueError, match="6m"):
        resnet(depth)
    with pytest.raises(ValueError, match="6m"):
        wide_resnet(depth, 4)


@pytest.mark.parametrize("network", [lambda stem: resnet(14, stem), lambda stem: wide_resnet(10, 2, stem)])
def test_a_stem_of_two_halves_every_map_and_keeps_the_size(network) -> None:
    maps: dict[int, list[tuple[int, ...]]] = {}
    for stem in (1, 2):
        net = network(stem).eval()
        maps[stem] = []
        for block in net.blocks:
            block.register_forward_hook(lambda _m, _i, y, seen=maps[stem]: seen.append(tuple(y.shape)))
        net(torch.zeros(1, 3, 32, 32))
    assert [(c, h // 2, w // 2) for _, c, h, w in maps[1]] == [(c, h, w) for _, c, h, w in maps[2]]
    sizes = [sum(p.numel() for p in network(stem).parameters()) for stem in (1, 2)]
    assert sizes[0] == sizes[1]
