"""EfficientNet-Lite0 and its trunk, without weights: shapes, padding, folding, and what trains."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from typing import Any

import pytest
import torch
from torch.nn import functional

from percepta.nn.efficientnet import Conv, EfficientNetLite0, rename
from percepta.nn.trunk import Trunk


def model() -> EfficientNetLite0:
    """With batch norms that do something."""
    return deepcopy(_model())


@cache
def _model() -> EfficientNetLite0:
    torch.manual_seed(0)
    out = EfficientNetLite0().eval()
    for module in out.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for values, low, high in ((module.weight, 0.8, 1.2), (module.bias, -0.1, 0.1)):
                torch.nn.init.uniform_(values, low, high)
            module.get_buffer("running_mean").uniform_(-0.1, 0.1)
            module.get_buffer("running_var").uniform_(0.5, 1.5)
    return out


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(6, 7), (5, 8), (1, 4)])
@torch.no_grad()
def test_padding_is_that_of_tensorflow(kernel: int, stride: int, size: tuple[int, int]) -> None:
    """SAME: ⌈n / s⌉ places out; of the padding that this needs the smaller half lies before."""
    torch.manual_seed(kernel)
    layer = Conv(2, 3, kernel, stride).eval()
    x = torch.randn(1, 2, *size)
    padding: list[int] = []
    for n in size[::-1]:
        needed = max((-(-n // stride) - 1) * stride + kernel - n, 0)
        padding += [needed // 2, needed - needed // 2]
    plain = functional.conv2d(functional.pad(x, padding), layer.conv.weight, stride=stride) / (1 + 1e-3) ** 0.5
    out = layer(x)
    assert out.shape[2:] == (-(-size[0] // stride), -(-size[1] // stride))
    torch.testing.assert_close(out, plain.clamp(0, 6))
    layer.act = False
    torch.testing.assert_close(layer(x), plain)


@torch.no_grad()
def test_features_of_every_stride() -> None:
    """Blocks of the paper's table: 1, 2, 2, 3, 3, 4 and 1; a picture of 70 × 50 has maps of ⌈70 / s⌉ × ⌈50 / s⌉."""
    net: Any = model()
    assert [block.depthwise.kernel for block in net.blocks] == [3, 3, 3, 5, 5, 3, 3, 3, 5, 5, 5, 5, 5, 5, 5, 3]
    assert [block.depthwise.stride for block in net.blocks] == [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1]
    widths = [16, 24, 24, 40, 40, 80, 80, 80, 112, 112, 112, 192, 192, 192, 192, 320]
    assert [block.project.conv.out_channels for block in net.blocks] == widths
    for before, block in zip([32, *widths], net.blocks, strict=False):
        assert block.depthwise.conv.groups == before * (1 if block is net.blocks[0] else 6)
        assert block.residual == (block.depthwise.stride == 1 and before == block.project.conv.out_channels)
    picture = torch.rand(1, 3, 70, 50)
    found = net(picture)
    shapes = [(24, 18, 13), (40, 9, 7), (112, 5, 4), (320, 3, 2), (1280, 3, 2)]
    assert [tuple(one.shape[1:]) for one in found] == shapes
    x = net.stem((255 * picture - 127) / 128)
    for i, block in enumerate(net.blocks):
        inner = block.depthwise(block.expand(x) if i else x)
        y = block.project(inner)
        x = x + y if block.residual else y
        for last, one in ((2, found.s4), (4, found.s8), (10, found.s16), (15, found.s32)):
            if i == last:
                torch.testing.assert_close(one, x)
    torch.testing.assert_close(found.head, net.head(x))
    logits = net.classify(picture)
    assert logits.shape == (1, 1000) and isinstance(EfficientNetLite0(classifier=False).classifier, torch.nn.Identity)
    torch.testing.assert_close(logits, net.classifier(found.head.mean((2, 3))))


@torch.no_grad()
def test_folding_changes_nothing_but_the_work() -> None:
    net = model()
    picture = torch.rand(1, 3, 32, 64)
    folded = net.folded()
    for one, other in zip(net(picture), folded(picture), strict=True):
        assert (one - other).abs().max() < 1e-4 * one.abs().max()
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in folded.modules())
    assert not any(p.requires_grad for p in folded.parameters()) and all(p.requires_grad for p in net.parameters())
    fast = net.fast()
    assert net.fast() is fast, "made once"
    net.head.conv.weight.mul_(2.0)
    again = net.fast()
    assert again is not fast and net.fast() is again
    torch.testing.assert_close(again.head.conv.weight, 2 * fast.head.conv.weight)


def test_what_trains() -> None:
    net = model()
    net.freeze(3)
    free = {name.split(".")[0] + "." + name.split(".")[1] for name, p in net.named_parameters() if p.requires_grad}
    assert "stem.conv" not in free and "stem.norm" not in free
    assert {name for name in free if name.startswith("blocks")} == {f"blocks.{i}" for i in range(3, 16)}
    net.train()
    assert net.training and net.blocks[0].training
    assert not any(layer.training for layer in net.modules() if isinstance(layer, torch.nn.BatchNorm2d))
    mean = net.stem.norm.get_buffer("running_mean").clone()
    net(torch.rand(2, 3, 32, 32))
    assert torch.equal(mean, net.stem.norm.get_buffer("running_mean"))


def test_names_of_the_wheel() -> None:
    assert rename("_blocks.3._bn0.weight") == "blocks.3.expand.norm.weight"
    assert rename("_blocks.12._bn1.running_var") == "blocks.12.depthwise.norm.running_var"
    assert rename("_blocks.0._project_conv.weight") == "blocks.0.project.conv.weight"
    assert rename("_blocks.0._bn2.bias") == "blocks.0.project.norm.bias"
    assert rename("_conv_stem.weight") == "stem.conv.weight" and rename("_bn0.bias") == "stem.norm.bias"
    assert rename("_conv_head.weight") == "head.conv.weight" and rename("_bn1.bias") == "head.norm.bias"
    assert rename("_fc.weight") == "classifier.weight"


@pytest.mark.parametrize(("blocks", "last"), [(11, 0), (12, 192), (16, 320)])
@torch.no_grad()
def test_a_trunk_is_the_beginning_of_the_network(blocks: int, last: int) -> None:
    whole, trunk = model(), Trunk(blocks).eval()
    state = whole.state_dict()
    trunk.load_state_dict({key: state[key] for key in trunk.state_dict()})
    picture = torch.rand(1, 3, 32, 64)
    assert trunk.channels == (24, 40, 112, last) and len(trunk.blocks) == blocks
    found, wanted = trunk(picture), whole(picture)
    assert len(found) == (3 if blocks == 11 else 4)
    for one, other in zip(found[:3], wanted[:3], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    if last:
        assert found[3].shape == (1, last, 1, 2)
    if blocks == 16:
        torch.testing.assert_close(found[3], wanted.s32, rtol=1e-4, atol=1e-5)
    fast = trunk.fast()
    assert trunk.fast() is fast
    for one, other in zip(fast(picture), found, strict=True):
        assert (one - other).abs().max() < 1e-4 * other.abs().max()
    list(trunk.blocks[-1].parameters())[-1].add_(1.0)
    assert trunk.fast() is not fast
