"""What the published networks have in common: their ResNets with the names of their weights, gates, and padding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from percepta.systems.vos.follow import Answer, Follower

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
STRIDE = 16  # sides of pictures are padded to multiples of it


class BasicBlock(nn.Module):
    """Two 3×3 convolutions with a shortcut (He et al. 2016)."""

    expansion = 1

    def __init__(self, c_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(c_in, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.downsample = _shortcut(c_in, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions with a shortcut; the stride is in the middle one."""

    expansion = 4

    def __init__(self, c_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(c_in, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.downsample = _shortcut(c_in, 4 * width, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(functional.relu(self.bn2(self.conv2(y)))))
        return functional.relu(y + (x if self.downsample is None else self.downsample(x)))


def _shortcut(c_in: int, c_out: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and c_in == c_out:
        return None
    return nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))


def stage(kind: type[BasicBlock] | type[Bottleneck], c_in: int, width: int, repeats: int, stride: int) -> nn.Sequential:
    """A stage of a ResNet.

    Args:
        kind: of its blocks.
        c_in: channels that come in.
        width: of the 3×3 convolutions.
        repeats: how many blocks.
        stride: of the first one.
    """
    more = [kind(width * kind.expansion, width, 1) for _ in range(repeats - 1)]
    return nn.Sequential(kind(c_in, width, stride), *more)


class ResBlock(nn.Module):
    """Two 3×3 convolutions behind ReLUs, and a convolution as shortcut where channels change; no norms."""

    def __init__(self, c_in: int, c_out: int, shortcut: int = 3) -> None:
        super().__init__()
        self.downsample = None if c_in == c_out else nn.Conv2d(c_in, c_out, shortcut, padding=shortcut // 2)
        self.conv1, self.conv2 = nn.Conv2d(c_in, c_out, 3, padding=1), nn.Conv2d(c_out, c_out, 3, padding=1)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h w"]:
        y = self.conv2(functional.relu(self.conv1(functional.relu(x))))
        return y + (x if self.downsample is None else self.downsample(x))


def normalised(picture: Float[Tensor, "*b 3 h w"]) -> Float[Tensor, "*b 3 h w"]:
    """RGB in 0..1 with ImageNet's mean 0 and deviation 1."""
    mean, deviation = picture.new_tensor(MEAN)[:, None, None], picture.new_tensor(DEVIATION)[:, None, None]
    return (picture - mean) / deviation


def gated(values: Float[Tensor, "n s3 h w"], state: Float[Tensor, "n s h w"]) -> Float[Tensor, "n s h w"]:
    """The new sensory state: a GRU without a reset gate (XMem, section 3.4)."""
    forget, update, new = values.chunk(3, 1)
    forget, update = forget.sigmoid(), update.sigmoid()
    return forget * state * (1 - update) + update * new.tanh()


def resnet_input(x: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> Tensor:
    """The first layers of a ResNet, to a quarter of the picture.

    Args:
        x: the picture.
        conv: its first convolution.
        norm: its first norm.
    """
    return functional.max_pool2d(functional.relu(norm(conv(x))), 3, 2, 1)


def smaller(x: Float[Tensor, "n c h w"], times: int) -> Float[Tensor, "n c h2 w2"]:
    """The means of `times` × `times` places."""
    return functional.interpolate(x, scale_factor=1 / times, mode="area")


def larger(x: Float[Tensor, "n c h w"], times: int) -> Float[Tensor, "n c h2 w2"]:
    """Bilinear, `times` as large."""
    return functional.interpolate(x, scale_factor=times, mode="bilinear")


def others(masks: Float[Tensor, "n h w"]) -> Float[Tensor, "n h w"]:
    """For each object the sum of all other masks."""
    return masks.sum(0, keepdim=True) - masks


class PaddedFollower(Follower):
    """A follower whose pictures are padded with zeros to multiples of STRIDE, equally on both sides, as published."""

    def step(
        self, picture: Float[Tensor, "3 h w"], given: Mapping[int, Float[Tensor, "h w"]], *, cut: bool = False
    ) -> Answer:
        """Takes a frame; see `Follower.step`.

        Args:
            picture: RGB in 0..1.
            given: masks by id.
            cut: not used: the published networks do not carry masks.
        """
        h, w = picture.shape[1:]
        left, top = (-w % STRIDE) // 2, (-h % STRIDE) // 2
        border = (left, -w % STRIDE - left, top, -h % STRIDE - top)
        picture = functional.pad(self.prepared(picture), border)
        answer = super().step(picture, {one: functional.pad(mask, border) for one, mask in given.items()}, cut=cut)
        return replace(answer, probability=answer.probability[:, top : top + h, left : left + w])

    def prepared(self, picture: Float[Tensor, "3 h w"]) -> Float[Tensor, "3 h w"]:
        """What is padded: the picture as it is, or normalised."""
        return picture

    @staticmethod
    def _sure(probability: Tensor) -> tuple[Tensor, Tensor]:
        """(probabilities, the highest of each object), what `predict` gives."""
        return probability, probability[1:].flatten(1).amax(1)


def as_rows(values: Mapping[int, Tensor], ids: list[int], key: Float[Tensor, "1 k h w"]) -> Float[Tensor, "n v h w"]:
    """What was read from a memory, in the order of `ids`.

    Args:
        values: by id, with places in a row.
        ids: which objects.
        key: of the frame, whose size and type they get.
    """
    return torch.stack([values[one] for one in ids]).unflatten(2, key.shape[2:]).to(key.dtype)


class Reinforcer(nn.Module):
    """A value changes the sensory state: the deep update."""

    def __init__(self, c_value: int, c_state: int) -> None:
        super().__init__()
        self.transform = nn.Conv2d(c_value + c_state, 3 * c_state, 3, padding=1)

    def forward(self, value: Tensor, state: Tensor) -> Tensor:
        return gated(self.transform(torch.cat([value, state], 1)), state)


class Updater(nn.Module):
    """The decoder's features of three strides change the sensory state."""

    def __init__(self, channels: tuple[int, int, int], middle: int, state_channels: int) -> None:
        super().__init__()
        self.g16_conv, self.g8_conv, self.g4_conv = (nn.Conv2d(c, middle, 1) for c in channels)
        self.transform = nn.Conv2d(middle + state_channels, 3 * state_channels, 3, padding=1)

    def forward(self, g16: Tensor, g8: Tensor, g4: Tensor, state: Tensor) -> Tensor:
        """The new state.

        Args:
            g16: features at a sixteenth.
            g8: at an eighth.
            g4: at a quarter, with the logits.
            state: before.
        """
        mixed = self.g16_conv(g16) + self.g8_conv(smaller(g8, 2)) + self.g4_conv(smaller(g4, 4))
        return gated(self.transform(torch.cat([mixed, state], 1)), state)
