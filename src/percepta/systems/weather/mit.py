"""Mix Transformer, the encoder of SegFormer (Xie et al., NeurIPS 2021): maps of stride 4, 8, 16 and 32.

Each of four stages embeds overlapping patches (section 3.1), then repeats a block of attention whose keys and values
come from a map that is reduced by R (equation 2), and of a feed-forward network with a depthwise 3×3 convolution
(equation 3), which tells places apart without a code of positions. The names are ours; `keys.py` translates published
ones.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = {"mit_b0": (32, 64, 160, 256)}
DEPTHS = {
    "mit_b0": (2, 2, 2, 2), "mit_b1": (2, 2, 2, 2), "mit_b2": (3, 4, 6, 3), "mit_b3": (3, 4, 18, 3),
    "mit_b4": (3, 8, 27, 3), "mit_b5": (3, 6, 40, 3),
}  # fmt: skip
HEADS, REDUCTIONS, STRIDES, KERNELS = (1, 2, 5, 8), (8, 4, 2, 1), (4, 2, 2, 2), (7, 3, 3, 3)
EXPANSION = 4  # of the feed-forward network
PATCH_EPS = 1e-5  # of the norms behind patches and reductions, in every published file
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def widths(name: str) -> tuple[int, int, int, int]:
    """Channels of the four maps."""
    return WIDTHS.get(name, (64, 128, 320, 512))


class Attention(nn.Module):
    """Attention with keys and values from a reduced map."""

    def __init__(self, width: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.reduce = nn.Conv2d(width, width, reduction, reduction) if reduction > 1 else None
        self.norm = nn.LayerNorm(width, PATCH_EPS) if reduction > 1 else None

    def forward(self, x: Float[Tensor, "b n c"], size: tuple[int, int]) -> Float[Tensor, "b n c"]:
        b, n, c = x.shape
        query = self.query(x).view(b, n, self.heads, -1).transpose(1, 2)
        if self.reduce is not None and self.norm is not None:
            x = self.norm(self.reduce(as_map(x, size)).flatten(2).transpose(1, 2))
        key, value = self.key_value(x).view(b, x.shape[1], 2, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        out = functional.scaled_dot_product_attention(query, key, value)
        return self.out(out.transpose(1, 2).reshape(b, n, c))


class MixFeedForward(nn.Module):
    """Linear, depthwise 3×3, GELU, linear."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = EXPANSION * width
        self.first, self.last = nn.Linear(width, inner), nn.Linear(inner, width)
        self.depthwise = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)

    def forward(self, x: Float[Tensor, "b n c"], size: tuple[int, int]) -> Float[Tensor, "b n c"]:
        y = self.depthwise(as_map(self.first(x), size)).flatten(2).transpose(1, 2)
        return self.last(functional.gelu(y))


class Block(nn.Module):
    """Attention and feed-forward, each behind a norm and added; in training whole branches are dropped."""

    def __init__(self, width: int, heads: int, reduction: int, eps: float, drop: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps), nn.LayerNorm(width, eps)
        self.attention, self.feed_forward = Attention(width, heads, reduction), MixFeedForward(width)
        self.drop = drop

    def forward(self, x: Float[Tensor, "b n c"], size: tuple[int, int]) -> Float[Tensor, "b n c"]:
        x = x + self._kept(self.attention(self.norm1(x), size))
        return x + self._kept(self.feed_forward(self.norm2(x), size))

    def _kept(self, branch: Tensor) -> Tensor:
        if not self.training or not self.drop:
            return branch
        kept = torch.rand(branch.shape[0], 1, 1, device=branch.device) >= self.drop
        return branch * kept / (1 - self.drop)


class Stage(nn.Module):
    """Overlapping patches, and blocks."""

    def __init__(self, c_in: int, width: int, place: int, drops: list[float], eps: float) -> None:
        super().__init__()
        self.patches = nn.Conv2d(c_in, width, KERNELS[place], STRIDES[place], KERNELS[place] // 2)
        self.patch_norm = nn.LayerNorm(width, PATCH_EPS)
        self.blocks = nn.ModuleList([Block(width, HEADS[place], REDUCTIONS[place], eps, drop) for drop in drops])
        self.norm = nn.LayerNorm(width, eps)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        x = self.patches(x)
        size = (x.shape[2], x.shape[3])
        x = self.patch_norm(x.flatten(2).transpose(1, 2))
        for block in self.blocks:
            x = block(x, size)
        return as_map(self.norm(x), size)


class MixTransformer(nn.Module):
    """`forward` takes RGB in 0..1 of any size and gives maps of stride 4, 8, 16, 32."""

    def __init__(self, name: str, eps: float = 1e-6, drop: float = 0.1) -> None:
        super().__init__()
        self.channels = widths(name)
        rates = [drop * i / (sum(DEPTHS[name]) - 1) for i in range(sum(DEPTHS[name]))]
        stages, c_in = [], 3
        for place, (width, depth) in enumerate(zip(self.channels, DEPTHS[name], strict=True)):
            before = sum(DEPTHS[name][:place])
            stages.append(Stage(c_in, width, place, rates[before : before + depth], eps))
            c_in = width
        self.stages = nn.ModuleList(stages)
        self.from_scratch = True  # no published ImageNet weights come with the package
        self.apply(_initialise)

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> tuple[Tensor, ...]:
        x = normalised(image)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return tuple(maps)


def normalised(image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """RGB in 0..1 with ImageNet's mean 0 and deviation 1."""
    return (image - image.new_tensor(MEAN)[:, None, None]) / image.new_tensor(DEVIATION)[:, None, None]


def as_map(x: Float[Tensor, "b n c"], size: tuple[int, int]) -> Float[Tensor, "b c h w"]:
    """Places in a row as a map of height and width `size`."""
    return x.transpose(1, 2).unflatten(2, size)


def _initialise(layer: nn.Module) -> None:
    if isinstance(layer, nn.Linear):
        nn.init.trunc_normal_(layer.weight, std=0.02)
        nn.init.zeros_(layer.bias)
    elif isinstance(layer, nn.Conv2d):
        fan = layer.kernel_size[0] * layer.kernel_size[1] * layer.out_channels // layer.groups
        nn.init.normal_(layer.weight, 0, (2 / fan) ** 0.5)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
