"""Residual networks for pictures of about 32 × 32 pixels.

`resnet(depth)` is the CIFAR network of He et al. (Deep Residual Learning, CVPR 2016, section 4.2): 6m + 2 layers, that
is a convolution and three stages of m basic blocks with 16, 32 and 64 channels, strides 1, 2, 2, and shortcuts without
parameters (every second pixel, missing channels zero: "option A"), then the mean over places. `wide_resnet` is the
WRN-depth-widen of Zagoruyko & Komodakis (Wide Residual Networks, BMVC 2016): 6m + 4 layers, norm and ReLU before each
convolution, a 1×1 convolution as shortcut where the shape changes, channels times `widen`, no dropout. Both end in
features; the linear layer that turns them into classes belongs to the system.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from percepta.errors import InputError

STAGES = ((16, 1), (32, 2), (64, 2))  # channels and the first block's stride


def conv3(c_in: int, c_out: int, stride: int = 1) -> nn.Conv2d:
    """A 3×3 convolution without bias.

    Args:
        c_in: channels that come in.
        c_out: channels that go out.
        stride: of the convolution.
    """
    return nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)


class Block(nn.Module):
    """conv, norm, ReLU, conv, norm, added to the input, ReLU (He et al., figure 2; shortcut of option A)."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = conv3(c_in, c_out, stride), nn.BatchNorm2d(c_out)
        self.conv2, self.norm2 = conv3(c_out, c_out), nn.BatchNorm2d(c_out)
        self.stride, self.more = stride, c_out - c_in

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        y = functional.relu(self.norm1(self.conv1(x)), inplace=True)
        y = self.norm2(self.conv2(y))
        if self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
        if self.more:
            x = functional.pad(x, (0, 0, 0, 0, self.more // 2, self.more - self.more // 2))
        return functional.relu(y + x, inplace=True)


class WideBlock(nn.Module):
    """norm, ReLU, conv, norm, ReLU, conv, added to the input; where the shape changes the shortcut is a 1×1 convolution
    of the input behind its norm and ReLU (Zagoruyko & Komodakis, figure 1 c)."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(c_in), conv3(c_in, c_out, stride)
        self.norm2, self.conv2 = nn.BatchNorm2d(c_out), conv3(c_out, c_out)
        same = c_in == c_out and stride == 1
        self.shortcut = None if same else nn.Conv2d(c_in, c_out, 1, stride, bias=False)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        y = functional.relu(self.norm1(x), inplace=True)
        x = x if self.shortcut is None else self.shortcut(y)
        y = functional.relu(self.norm2(self.conv1(y)), inplace=True)
        return x + self.conv2(y)


class ResNet(nn.Module):
    """Pictures to features: a first convolution, three stages, mean over places. `width`: length of the features.

    With `stem` 2 the first convolution halves both sides: a quarter of the time, as many parameters."""

    def __init__(self, blocks: int, widen: int = 1, wide: bool = False, stem: int = 1) -> None:
        super().__init__()
        kind = WideBlock if wide else Block
        c_in, layers = STAGES[0][0], []
        self.conv = conv3(3, c_in, stem)
        self.norm = nn.Identity() if wide else nn.BatchNorm2d(c_in)
        for channels, stride in STAGES:
            for i in range(blocks):
                layers.append(kind(c_in, channels * widen, stride if i == 0 else 1))
                c_in = channels * widen
        self.blocks = nn.Sequential(*layers)
        self.last = nn.BatchNorm2d(c_in) if wide else nn.Identity()
        self.wide, self.width = wide, c_in
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c"]:
        """Features of pictures of mean 0 and deviation 1; any size from 4 pixels on."""
        x = self.conv(image)
        if not self.wide:
            x = functional.relu(self.norm(x), inplace=True)
        x = self.blocks(x)
        if self.wide:
            x = functional.relu(self.last(x), inplace=True)
        return x.mean((2, 3))


def resnet(depth: int, stem: int = 1) -> ResNet:
    """ResNet-20, -32, -44, -56, -110 for CIFAR: any depth 6m + 2.

    Raises:
        InputError: another depth.
    """
    if depth < 8 or (depth - 2) % 6:
        raise InputError(f"a CIFAR ResNet has 6m + 2 layers (8, 14, 20, 26, 32, ...), not {depth}")
    return ResNet((depth - 2) // 6, stem=stem)


def wide_resnet(depth: int, widen: int, stem: int = 1) -> ResNet:
    """WRN-depth-widen, such as WRN-16-4: any depth 6m + 4.

    Args:
        depth: number of layers, 6m + 4.
        widen: how many times as wide as the narrowest.
        stem: stride of the first convolution, 1 as published.

    Raises:
        InputError: another depth, or widen below 1.
    """
    if depth < 10 or (depth - 4) % 6 or widen < 1:
        raise InputError(f"a wide ResNet has 6m + 4 layers (10, 16, 22, 28, ...) and widen >= 1, not {depth}, {widen}")
    return ResNet((depth - 4) // 6, widen, wide=True, stem=stem)
