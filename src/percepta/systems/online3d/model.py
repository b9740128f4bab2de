"""The sparse 3-D U-Net of INS-Conv's code (Liu et al., CVPR 2022), which is SparseConvNet's (Graham et al., CVPR 2018).

Residual blocks with their activations in front (norm, ReLU, convolution, twice, and a shortcut), `Down` and `Up`
between the levels, skips joined by concatenation, no biases in convolutions. Added: an instance head beside the linear
semantic one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from percepta.datasets import nyu40
from percepta.errors import InputError
from percepta.nn.sparse import Down, SparseTensor, Submanifold, Up
from percepta.systems.online3d import Config


class NormReLU(nn.BatchNorm1d):
    """Batch norm over sites, then ReLU."""

    def forward(self, input: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
        return super().forward(input).relu_()


class Block(nn.Module):
    """x ↦ shortcut(x) + conv2(act(conv1(act(x)))); the shortcut is a matrix where the widths differ."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = NormReLU(inputs), Submanifold(inputs, outputs)
        self.norm2, self.conv2 = NormReLU(outputs), Submanifold(outputs, outputs)
        self.shortcut = nn.Linear(inputs, outputs, bias=False) if inputs != outputs else nn.Identity()

    def forward(self, x: SparseTensor) -> SparseTensor:
        y = self.conv1(x.map(self.norm1))
        y = self.conv2(y.map(self.norm2))
        return x.map(self.shortcut) + y


class Level(nn.Module):
    """One resolution of the U-Net and, inside it, all coarser ones."""

    def __init__(self, widths: tuple[int, ...], blocks: int) -> None:
        super().__init__()
        width = widths[0]
        self.before = nn.ModuleList(Block(width, width) for _ in range(blocks))
        self.inner: Level | None = None
        if len(widths) > 1:
            self.norm_down, self.down = NormReLU(width), Down(width, widths[1])
            self.inner = Level(widths[1:], blocks)
            self.norm_up, self.up = NormReLU(widths[1]), Up(widths[1], width)
            self.after = nn.ModuleList(Block(width if index else 2 * width, width) for index in range(blocks))

    def forward(self, x: SparseTensor) -> SparseTensor:
        for block in self.before:
            x = block(x)
        if self.inner is None:
            return x
        y = self.inner(self.down(x.map(self.norm_down)))
        x = x.join(self.up(y.map(self.norm_up)))
        for block in self.after:
            x = block(x)
        return x


@dataclass(frozen=True)
class Prediction:
    """The outputs of the network for each voxel.

    Attributes:
        logits: of the classes.
        offset_m: from the voxel to the centre of its instance, metres; None without an instance head.
        embedding: vectors that are near each other inside an instance; None without.
    """

    logits: Float[Tensor, "n classes"]
    offset_m: Float[Tensor, "n 3"] | None
    embedding: Float[Tensor, "n e"] | None


class OnlineNet(nn.Module):
    """Stem, U-Net and heads."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.stem = Submanifold(config.inputs, width)
        self.unet = Level(tuple(width * (level + 1) for level in range(config.levels)), config.blocks)
        self.norm = NormReLU(width)
        self.semantic = nn.Linear(width, config.classes)
        self.instance: nn.Module | None = None
        if config.instances:
            outputs = 3 + config.embedding
            self.instance = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs))

    def forward(self, x: SparseTensor) -> Prediction:
        return self.split(self.heads(self.unet(self.stem(x)).map(self.norm).features))

    def heads(self, features: Float[Tensor, "n c"]) -> Float[Tensor, "n d"]:
        """Of each voxel by itself: logits, offset and embedding side by side."""
        logits = self.semantic(features)
        return logits if self.instance is None else torch.cat((logits, self.instance(features)), 1)

    def split(self, outputs: Float[Tensor, "n d"]) -> Prediction:
        """The parts of what `heads` gives."""
        classes = self.config.classes
        if self.instance is None:
            return Prediction(outputs, None, None)
        embedding = outputs[:, classes + 3 :] if self.config.embedding else None
        return Prediction(outputs[:, :classes], outputs[:, classes : classes + 3], embedding)


def build(config: Config) -> OnlineNet:
    """The network with random weights.

    Raises:
        InputError: settings that it cannot be trained with.
    """
    if config.embedding:
        raise InputError("embedding: there is no loss for one here; set 0 and use the offsets")
    if config.classes != len(nyu40.SCANNET20):
        raise InputError(
            f"classes has to be {len(nyu40.SCANNET20)}, those of ScanNet's benchmark; got {config.classes}"
        )
    return OnlineNet(config)
