"""The weight-sharing network: every code of a space is a path through the same parameters.

`MacroNet` holds all choices of every layer (SPOS, Guo et al., ECCV 2020); `ResNetNet` holds the widest and deepest
network, of which a code takes the first blocks and the first channels (once-for-all, Cai et al., ICLR 2020). Both walk
a code as a row of keys, one a module, so that networks which begin alike share what they compute (`scores.py`), and
both `extract` a code as a plain module with copies of its weights.
"""

from __future__ import annotations

import copy
from collections.abc import Hashable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from percepta.systems.supernet import Config
from percepta.systems.supernet.space import OPS, Layer, Macro, ResNet48, Space

MEAN, DEVIATION = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # of CIFAR-10's training pictures
Key = Hashable


def norm_relu(channels: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]


class Inverted(nn.Module):
    """MobileNetV2's block (Sandler et al., CVPR 2018) with ReLU: expand, depthwise, project; added to its input where
    the shape stays."""

    def __init__(self, layer: Layer, kernel: int, expansion: int) -> None:
        super().__init__()
        inner = layer.c_in * expansion
        self.body = nn.Sequential(
            nn.Conv2d(layer.c_in, inner, 1, bias=False),
            *norm_relu(inner),
            nn.Conv2d(inner, inner, kernel, layer.stride, kernel // 2, groups=inner, bias=False),
            *norm_relu(inner),
            nn.Conv2d(inner, layer.c_out, 1, bias=False),
            nn.BatchNorm2d(layer.c_out),
        )
        self.adds = not layer.first

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        return x + self.body(x) if self.adds else self.body(x)


def choice(layer: Layer, op: tuple[int, int] | None) -> nn.Module:
    """The module of one choice."""
    if op is not None:
        return Inverted(layer, *op)
    if not layer.first:
        return nn.Identity()
    project = nn.Conv2d(layer.c_in, layer.c_out, 1, layer.stride, bias=False)
    return nn.Sequential(project, nn.BatchNorm2d(layer.c_out))


class Head(nn.Module):
    """1×1 convolution, norm, ReLU, mean over places, linear layer."""

    def __init__(self, width: int, inner: int, classes: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(width, inner, 1, bias=False), nn.BatchNorm2d(inner)
        self.linear = nn.Linear(inner, classes)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
        return self.linear(functional.relu(self.norm(self.conv(x)), inplace=True).mean((2, 3)))


class MacroNet(nn.Module):
    """All choices of all layers of a `Macro` space."""

    def __init__(self, space: Macro) -> None:
        super().__init__()
        self.space = space
        self.stem = nn.Sequential(nn.Conv2d(3, space.stem, 3, 1, 1, bias=False), *norm_relu(space.stem))
        self.layers = nn.ModuleList(nn.ModuleList(choice(layer, op) for op in OPS) for layer in space.layers)
        self.head = Head(space.width, space.head, space.classes)

    def keys(self, code: str) -> tuple[Key, ...]:
        """The modules of a path, identities left out."""
        rows = zip(self.space.layers, code, strict=True)
        return ("stem", *((i, int(c)) for i, (layer, c) in enumerate(rows) if layer.first or OPS[int(c)] is not None))

    def run(self, key: Any, x: Tensor) -> Tensor:
        """One module of a path."""
        return self.stem(x) if key == "stem" else self.layers[key[0]][key[1]](x)  # type: ignore[index]

    def finish(self, x: Tensor, code: str) -> Tensor:
        return self.head(x)

    def extract(self, code: str) -> nn.Module:
        """The network of a code alone, with copies of its weights."""
        rows = [self.stem if key == "stem" else self.layers[key[0]][key[1]] for key in self.keys(code)]  # type: ignore[index]
        return copy.deepcopy(nn.Sequential(*rows, self.head))

    def owners(self, code: str) -> list[tuple[int, int, nn.Module]]:
        """(layer, choice, module) of the path's choice blocks that have parameters."""
        found = [(i, int(c), self.layers[i][int(c)]) for i, c in enumerate(code)]  # type: ignore[index]
        return [row for row in found if next(row[2].parameters(), None) is not None]


# ------------------------------------------------------------------------------------------------- sliced widths


class SlicedConv(nn.Conv2d):
    """A convolution of which any first channels, in and out, can be used alone."""

    def cut(self, x: Float[Tensor, "b c h w"], out: int) -> Float[Tensor, "b d h2 w2"]:
        return functional.conv2d(x, self.weight[:out, : x.shape[1]], None, self.stride, self.padding)

    def alone(self, c_in: int, out: int) -> nn.Conv2d:
        made = nn.Conv2d(c_in, out, self.kernel_size, self.stride, self.padding, bias=False)  # type: ignore[arg-type]
        made = made.to(self.weight.dtype)
        made.weight.data.copy_(self.weight[:out, :c_in])
        return made


class SlicedNorm(nn.Module):
    """A batch norm of which the first channels can be used alone; the statistics are those of the channel.

    With several processes each has statistics of its own part of the batch.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.momentum, self.eps = momentum, eps

    def cut(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        n = x.shape[1]
        mean, variance = self.running_mean[:n], self.running_var[:n]
        return functional.batch_norm(
            x, mean, variance, self.weight[:n], self.bias[:n], self.training, self.momentum, self.eps
        )

    def alone(self, channels: int) -> nn.BatchNorm2d:
        made = nn.BatchNorm2d(channels, self.eps, self.momentum).to(self.weight.dtype)
        for name in ("weight", "bias", "running_mean", "running_var"):
            getattr(made, name).data.copy_(getattr(self, name)[:channels])
        return made


class SlicedBlock(nn.Module):
    """He et al.'s basic block at its widest; `cut` uses the first channels of it."""

    def __init__(self, c_in: int, channels: int, stride: int, first: bool) -> None:
        super().__init__()
        self.conv1, self.norm1 = SlicedConv(c_in, channels, 3, stride, 1, bias=False), SlicedNorm(channels)
        self.conv2, self.norm2 = SlicedConv(channels, channels, 3, 1, 1, bias=False), SlicedNorm(channels)
        self.stride = stride
        if first:
            self.short, self.short_norm = SlicedConv(c_in, channels, 1, stride, bias=False), SlicedNorm(channels)

    def cut(self, x: Float[Tensor, "b c h w"], inner: int, out: int) -> Float[Tensor, "b d h2 w2"]:
        """The output of the first channels.

        Args:
            x: input.
            inner: channels between the two convolutions.
            out: channels out.
        """
        y = functional.relu(self.norm1.cut(self.conv1.cut(x, inner)))
        y = self.norm2.cut(self.conv2.cut(y, out))
        if self.stride > 1 or x.shape[1] != out:
            x = self.short_norm.cut(self.short.cut(x, out))
        return functional.relu(x + y)

    def alone(self, c_in: int, inner: int, out: int) -> nn.Module:
        """The block with these widths, with copies of its weights.

        Args:
            c_in: channels in.
            inner: channels between the two convolutions.
            out: channels out.
        """
        short = None
        if self.stride > 1 or c_in != out:
            short = nn.Sequential(self.short.alone(c_in, out), self.short_norm.alone(out))
        body = [self.conv1.alone(c_in, inner), self.norm1.alone(inner), nn.ReLU(inplace=True)]
        return Basic(nn.Sequential(*body, self.conv2.alone(inner, out), self.norm2.alone(out)), short)


class Basic(nn.Module):
    """A basic block as it stands alone."""

    def __init__(self, body: nn.Sequential, short: nn.Module | None) -> None:
        super().__init__()
        self.body, self.short = body, short

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        return functional.relu(self.body(x) + (x if self.short is None else self.short(x)))


class Last(nn.Module):
    """Mean over places and the linear layer."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
        return self.linear(x.mean((2, 3)))


class ResNetNet(nn.Module):
    """The largest network of a `ResNet48` space, of which all others are the first blocks and channels."""

    def __init__(self, space: ResNet48) -> None:
        super().__init__()
        self.space = space
        self.stem, self.stem_norm = SlicedConv(3, space.channels[0], 7, 2, 3, bias=False), SlicedNorm(space.channels[0])
        self.stages, width = nn.ModuleList(), space.channels[0]
        for stage, (channels, slots) in enumerate(zip(space.channels, space.slots, strict=True)):
            blocks = nn.ModuleList()
            for place in range(slots):
                first = place == 0
                blocks.append(SlicedBlock(width if first else channels, channels, 2 if stage and first else 1, first))
            self.stages.append(blocks)
            width = channels
        self.linear = nn.Linear(width, space.classes)

    def keys(self, code: str) -> tuple[Key, ...]:
        """The modules of a path, each with the widths that it is used at."""
        space = self.space
        rows: list[Key] = [("stem", space.width(0, code[1 + len(space.slots)]))]
        for stage, (start, depth) in enumerate(zip(space.starts(), space.depths(code), strict=True)):
            out = space.width(stage, code[start + 1])
            rows += [(stage, block, space.width(stage, code[start + 2 * block]), out) for block in range(depth)]
        return tuple(rows)

    def run(self, key: Any, x: Tensor) -> Tensor:
        """One module of a path."""
        if key[0] == "stem":
            x = functional.relu(self.stem_norm.cut(self.stem.cut(x, key[1])))
            return functional.max_pool2d(x, 3, 2, 1)
        stage, block, inner, out = key
        return self.stages[stage][block].cut(x, inner, out)  # type: ignore[index]

    def finish(self, x: Tensor, code: str) -> Tensor:
        return functional.linear(x.mean((2, 3)), self.linear.weight[:, : x.shape[1]], self.linear.bias)

    def extract(self, code: str) -> nn.Module:
        """The network of a code alone, with copies of its weights."""
        (_, width), *blocks = self.keys(code)  # type: ignore[misc]
        rows = [self.stem.alone(3, width), self.stem_norm.alone(width), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
        for stage, block, inner, out in blocks:  # type: ignore[misc]
            rows.append(self.stages[stage][block].alone(width, inner, out))  # type: ignore[index]
            width = out
        linear = nn.Linear(width, self.linear.out_features).to(self.linear.weight.dtype)
        linear.weight.data.copy_(self.linear.weight[:, :width])
        linear.bias.data.copy_(self.linear.bias)
        return nn.Sequential(*rows, Last(linear))

    def owners(self, code: str) -> list[tuple[int, int, nn.Module]]:
        """(stage, block, module) of the path's blocks."""
        depths = self.space.depths(code)
        return [(s, b, self.stages[s][b]) for s, depth in enumerate(depths) for b in range(depth)]  # type: ignore[index]


Net = MacroNet | ResNetNet


def network(space: Space) -> Net:
    """The weight-sharing network of a space, with random weights."""
    return MacroNet(space) if isinstance(space, Macro) else ResNetNet(space)


# ------------------------------------------------------------------------------------------------- the supernet


class SupernetNetwork(nn.Module):
    """One weight-sharing network, or, after a few-shot split, one for each choice of a layer; and what goes with it.

    Attributes:
        parts: the networks; the first alone until `divided`.
        teacher: the largest network alone, where the strategy learns from one.
        ledger_gram, ledger_sum, ledger_scale: what the losses of training say about each architecture feature, see
            `ledger.py`.
    """

    ledger_gram: Tensor
    ledger_sum: Tensor
    ledger_scale: Tensor
    divided: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config, self.space = config, config.search_space()
        self.parts = nn.ModuleList(network(self.space) for _ in range(len(OPS) if config.split >= 0 else 1))
        self.teacher = self.parts[0].extract(self.space.largest()) if config.distill == "teacher" else None  # type: ignore[operator]
        count = self.space.features([self.space.largest()]).shape[1]
        self.register_buffer("ledger_gram", torch.zeros(count, count, dtype=torch.float64))
        self.register_buffer("ledger_sum", torch.zeros(count, dtype=torch.float64))
        self.register_buffer("ledger_scale", torch.zeros(3, dtype=torch.float64))  # weight, squares, mean loss
        self.register_buffer("divided", torch.tensor(False))

    def part(self, code: str) -> Net:
        """The network that a code belongs to."""
        divided = len(self.parts) > 1 and bool(self.divided)
        return self.parts[int(code[self.config.split]) if divided else 0]  # type: ignore[return-value]

    def prepare(self, pixels: Tensor) -> Float[Tensor, "b 3 s s"]:
        """Pictures (bytes, or 0..1) at the space's size, standardised."""
        x = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels
        side = self.space.side
        if x.shape[-1] != side:
            x = functional.interpolate(x, (side, side), mode="bilinear", antialias=x.shape[-1] > side)
        mean, deviation = (x.new_tensor(row).view(3, 1, 1) for row in (MEAN, DEVIATION))
        return ((x - mean) / deviation).contiguous(memory_format=torch.channels_last)

    def forward(self, image: Tensor, code: str) -> Float[Tensor, "b k"]:
        """Logits of a code for prepared pictures."""
        net, x = self.part(code), image
        for key in net.keys(code):
            x = net.run(key, x)
        return net.finish(x, code)

    def extract(self, code: str) -> nn.Module:
        """A plain module with copies of the code's weights: prepared pictures to the same logits."""
        return self.part(self.space.validate(code)).extract(code)

    @torch.no_grad()
    def divide(self) -> None:
        """Few-shot NAS (Zhao et al., ICML 2021): every part goes on from the first one's weights."""
        state = self.parts[0].state_dict()
        for part in list(self.parts)[1:]:
            part.load_state_dict(state)
        self.divided.fill_(True)


def build(config: Config) -> SupernetNetwork:
    """The supernet with random weights."""
    return SupernetNetwork(config).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
