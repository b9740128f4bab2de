"""CRIS: the network of the paper, its word ids and its letterbox.

Source: Wang et al., "CRIS: CLIP-Driven Referring Image Segmentation", CVPR 2022 (numbers in brackets are its
equations); reference code MIT. Every parameter has the name it has in published checkpoints.

A picture of side s gives features at s/8, s/16 and s/32. The neck mixes the sentence into them and leaves one grid at
s/16; in the decoder its places look at each other and at the words; the projector makes a convolution kernel out of the
sentence and slides it over the grid brought up to s/4: one logit a place.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from percepta.errors import InputError
from percepta.nn.clip import CLIP, MEAN, Tokenizer
from percepta.nn.transformer import sine_line

# A place belongs to the mask from this probability on (the reference's evaluation).
THRESHOLD = 0.35

# Grids at 1/8, 1/16 and 1/32 of the picture.
Features = tuple[Tensor, Tensor, Tensor]


def _convolution(inputs: int, outputs: int, size: int) -> nn.Sequential:
    """Convolution that keeps the grid, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _double(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c 2*h 2*w"]:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def sine_grid(height: int, width: int, channels: int) -> Float[Tensor, "{height}*{width} {channels}"]:
    """Positions of a grid, row by row: the first half of the channels tells the column, the second the row.

    Args:
        height: rows.
        width: columns.
        channels: a multiple of 4.
    """
    columns = sine_line(width, channels // 2).expand(height, -1, -1)
    rows = sine_line(height, channels // 2)[:, None].expand(-1, width, -1)
    return torch.cat([columns, rows], -1).flatten(0, 1)


class CoordConv(nn.Module):
    """A convolution that also sees where it is: two further channels, x and y, each from -1 to 1."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = _convolution(inputs + 2, outputs, 3)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        batch, _, height, width = x.shape
        across = torch.linspace(-1, 1, width, device=x.device, dtype=x.dtype).expand(batch, 1, height, width)
        down = torch.linspace(-1, 1, height, device=x.device, dtype=x.dtype)[:, None]
        return self.conv1(torch.cat([x, across, down.expand(batch, 1, height, width)], 1))


class Neck(nn.Module):
    """The features of the picture and the state of the sentence to one grid at 1/16 [1-4].

    Args:
        inputs: channels of the three features.
        outputs: channels of the projections of the 1/8, 1/16 and 1/32 grids; the middle one leaves.
        state: width of the sentence state.
    """

    def __init__(self, inputs: Sequence[int], outputs: Sequence[int], state: int) -> None:
        super().__init__()
        (in3, in4, in5), (out3, out4, out5) = inputs, outputs
        self.txt_proj = nn.Sequential(nn.Linear(state, out5, bias=False), nn.BatchNorm1d(out5), nn.ReLU(inplace=True))
        self.f1_v_proj = _convolution(in5, out5, 1)
        self.norm_layer = nn.Sequential(nn.BatchNorm2d(out5), nn.ReLU(inplace=True))
        self.f2_v_proj = _convolution(in4, out4, 3)
        self.f2_cat = _convolution(out5 + out4, out4, 1)
        self.f3_v_proj = _convolution(in3, out3, 3)
        self.f3_cat = _convolution(out3 + out4, out4, 1)
        self.f4_proj5 = _convolution(out5, out4, 3)
        self.f4_proj4 = _convolution(out4, out4, 3)
        self.f4_proj3 = _convolution(out4, out4, 3)
        self.aggr = _convolution(3 * out4, out4, 1)
        self.coordconv = nn.Sequential(CoordConv(out4, out4), _convolution(out4, out4, 3))

    def prepare(self, features: Features) -> Features:
        """The part that no sentence changes, at 1/16, 1/16 and 1/32: compute it once a picture."""
        c3, c4, c5 = features
        return F.avg_pool2d(self.f3_v_proj(c3), 2), self.f2_v_proj(c4), self.f1_v_proj(c5)

    def fuse(self, prepared: Features, state: Float[Tensor, "b d"]) -> Float[Tensor, "b c h w"]:
        f3, f4, f5 = prepared
        state = self.txt_proj(state.to(f5.dtype))[:, :, None, None]
        f5 = self.norm_layer(f5 * state)  # [1]
        f4, f3 = _alike(f4, f5), _alike(f3, f5)
        f4 = self.f2_cat(torch.cat([f4, _double(f5)], 1))  # [2]
        f3 = self.f3_cat(torch.cat([f3, f4], 1))  # [3]
        mixed = torch.cat([self.f4_proj3(f3), self.f4_proj4(f4), _double(self.f4_proj5(f5))], 1)
        return self.coordconv(self.aggr(mixed))  # [4]

    def forward(self, features: Features, state: Float[Tensor, "b d"]) -> Float[Tensor, "b c h w"]:
        return self.fuse(self.prepare(features), state)


def _alike(x: Float[Tensor, "n c h w"], other: Float[Tensor, "b d i j"]) -> Float[Tensor, "b c h w"]:
    """One picture for many sentences: repeats it to the batch of `other` (no copy)."""
    return x if len(x) == len(other) else x.expand(len(other), -1, -1, -1)


class DecoderLayer(nn.Module):
    """Places look at places, then at words, then a perceptron [5-7]; a further norm behind either attention."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.self_attn_norm = nn.LayerNorm(width)
        self.cross_attn_norm = nn.LayerNorm(width)
        self.self_attn = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.multihead_attn = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.ffn = nn.Sequential(
            nn.Linear(width, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.LayerNorm(hidden),
            nn.Linear(hidden, width),
        )
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        places: Float[Tensor, "b n c"],
        words: Float[Tensor, "b l c"],
        place_positions: Float[Tensor, "n c"],
        word_positions: Float[Tensor, "l c"],
        padding: Bool[Tensor, "b l"],
    ) -> Float[Tensor, "b n c"]:
        """The features of the picture after looking at themselves and at the words.

        Args:
            places: features of the picture.
            words: features of the words.
            place_positions: added to places where they ask or are asked.
            word_positions: added to words where they are asked.
            padding: True at what is no word.
        """
        x = self.norm1(places)
        where = x + place_positions
        x = self.self_attn(where, where, x, need_weights=False)[0]
        places = places + self.dropout(self.self_attn_norm(x))
        x = self.multihead_attn(
            self.norm2(places) + place_positions,
            words + word_positions,
            words,
            key_padding_mask=padding,
            need_weights=False,
        )[0]
        places = places + self.dropout(self.cross_attn_norm(x))
        return places + self.dropout(self.ffn(self.norm3(places)))


class Decoder(nn.Module):
    """The vision-language decoder: layers and a last norm."""

    def __init__(self, layers: int, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(width, heads, hidden, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(
        self, grid: Float[Tensor, "b c h w"], words: Float[Tensor, "b l c"], padding: Bool[Tensor, "b l"]
    ) -> Float[Tensor, "b c h w"]:
        """The grid after all layers.

        Args:
            grid: what the neck leaves.
            words: their features.
            padding: True at what is no word.
        """
        _, channels, height, width = grid.shape
        places = grid.flatten(2).transpose(1, 2)
        words = words.to(grid.dtype)
        at = sine_grid(height, width, channels).to(places)
        along = sine_line(words.shape[1], channels).to(places)
        for layer in self.layers:
            places = layer(places, words, at, along, padding)
        return self.norm(places).transpose(1, 2).unflatten(2, (height, width))


class Projector(nn.Module):
    """A kernel made from the sentence, slid over the grid at four times its size [8-9]."""

    def __init__(self, state: int, channels: int, size: int = 3) -> None:
        super().__init__()
        self.size = size
        self.vis = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="bilinear"),
            _convolution(2 * channels, 2 * channels, 3),
            nn.Upsample(scale_factor=2, mode="bilinear"),
            _convolution(2 * channels, channels, 3),
            nn.Conv2d(channels, channels, 1),
        )
        self.txt = nn.Linear(state, channels * size**2 + 1)

    def forward(self, grid: Float[Tensor, "b c h w"], state: Float[Tensor, "b d"]) -> Float[Tensor, "b 1 4*h 4*w"]:
        x = self.vis(grid)
        batch, channels, height, width = x.shape
        kernel = self.txt(state.to(self.txt.weight.dtype)).to(x.dtype)
        weight = kernel[:, :-1].reshape(batch, channels, self.size, self.size)
        # One group a sample, so that each is convolved with its own kernel in a single call.
        x = F.conv2d(
            x.reshape(1, batch * channels, height, width),
            weight,
            kernel[:, -1],
            padding=self.size // 2,
            groups=batch,
        )
        return x.transpose(0, 1)


class CRIS(nn.Module):
    """The whole network. The defaults are the paper's with CLIP RN50.

    Args:
        word_len: ids a sentence is tokenized to: 17 (RefCOCO, RefCOCO+) or 22 (G-Ref). Not a limit of the network.
        fpn_in: channels of the three features: 8 and 16 times `vision_width`, and `word_dim`.
        fpn_out: channels inside the neck; the middle one is `vis_dim`.
        num_layers: layers of the decoder.
        vis_dim: width of the decoder, a multiple of 4 and of `num_head`.
        num_head: attention heads of the decoder.
        dim_ffn: width inside the decoder's feed-forward parts.
        dropout: of the decoder.
        intermediate: only False: published networks read the last layer of the decoder.
        word_dim: width of CLIP's shared space and thus of the sentence state, 1024 (RN50) or 512 (RN101).
        vision_layers: blocks in the four stages of CLIP's image tower.
        vision_width: channels of the first stage of CLIP's image tower.
        image_size: side of the square picture in pixels, a multiple of 32. Not a limit of the network.
        vocab: word pieces that CLIP's text transformer knows.
        context_length: the longest sentence that it takes, in word pieces.
        text_width: its width.
        text_layers: its layers.
        text_heads: its attention heads; None: text_width / 64.
        grid: side of the grid of positions that CLIP's attention pool has learnt.
    """

    def __init__(
        self,
        *,
        word_len: int = 17,
        fpn_in: Sequence[int] = (512, 1024, 1024),
        fpn_out: Sequence[int] = (256, 512, 1024),
        num_layers: int = 3,
        vis_dim: int = 512,
        num_head: int = 8,
        dim_ffn: int = 2048,
        dropout: float = 0.1,
        intermediate: bool = False,
        word_dim: int = 1024,
        vision_layers: Sequence[int] = (3, 4, 6, 3),
        vision_width: int = 64,
        image_size: int = 416,
        vocab: int = 49408,
        context_length: int = 77,
        text_width: int = 512,
        text_layers: int = 12,
        text_heads: int | None = None,
        grid: int = 7,
    ) -> None:
        super().__init__()
        features = (8 * vision_width, 16 * vision_width, word_dim)
        rules = {
            f"fpn_in is {tuple(fpn_in)}, the image tower gives {features}": tuple(fpn_in) == features,
            f"fpn_out has {len(fpn_out)} entries, expected 3": len(fpn_out) == 3,
            f"fpn_out[1] is {fpn_out[1]}, vis_dim {vis_dim}; expected the same": fpn_out[1] == vis_dim,
            f"text_width is {text_width}, vis_dim {vis_dim}; expected the same": text_width == vis_dim,
            f"vis_dim is {vis_dim}, expected a multiple of 4 and of num_head": vis_dim % 4 == 0
            and vis_dim % num_head == 0,
            f"image_size is {image_size}, expected a multiple of 32": image_size > 0 and image_size % 32 == 0,
            f"word_len is {word_len}, expected 2 to {context_length}": 2 <= word_len <= context_length,
            "intermediate is True, expected False": not intermediate,
        }
        broken = [rule for rule, holds in rules.items() if not holds]
        if broken:
            raise InputError("these sizes do not make a CRIS: " + "; ".join(broken))
        self.word_len, self.image_size = word_len, image_size
        self.backbone = CLIP(
            embed_dim=word_dim,
            vision_layers=vision_layers,
            vision_width=vision_width,
            grid=grid,
            context_length=context_length,
            vocab=vocab,
            text_width=text_width,
            text_layers=text_layers,
            text_heads=text_heads,
            spatial=True,
        )
        self.neck = Neck(fpn_in, fpn_out, word_dim)
        self.decoder = Decoder(num_layers, vis_dim, num_head, dim_ffn, dropout)
        self.proj = Projector(word_dim, vis_dim // 2)

    def encode_image(self, image: Float[Tensor, "b 3 h w"]) -> Features:
        """Features of a normalised picture (`percepta.nn.clip.normalise`), sides multiples of 32."""
        height, width = image.shape[-2:]
        if height % 32 or width % 32:
            raise InputError(f"the picture is {width}×{height}; expected sides that are multiples of 32")
        visual = self.backbone.visual
        kernel = visual.conv1.weight
        if not kernel.is_contiguous() and kernel.is_contiguous(memory_format=torch.channels_last):
            image = image.contiguous(memory_format=torch.channels_last)
        _, c3, c4, c5 = visual.stages(image.to(kernel.dtype))
        return c3, c4, visual.attnpool(c5)

    def encode_text(self, words: Int[Tensor, "b l"]) -> tuple[Float[Tensor, "b l c"], Float[Tensor, "b d"]]:
        """Features of the words and the state of the sentence; 0 pads `words` behind the end."""
        return self.backbone.encode_text(words)

    def prepare(self, features: Features) -> Features:
        """What of the neck depends on the picture alone; kept by a session, it makes further sentences cheaper."""
        return self.neck.prepare(features)

    def answer(
        self,
        prepared: Features,
        tokens: Float[Tensor, "b l c"],
        state: Float[Tensor, "b d"],
        words: Int[Tensor, "b l"],
    ) -> Float[Tensor, "b 1 i j"]:
        """Logits at a quarter of the picture from `prepare`; one picture serves any number of sentences.

        Args:
            prepared: what `prepare` gave.
            tokens: features of the words.
            state: vector of the sentence.
            words: ids of one sentence a picture, zeros behind it.
        """
        grid = self.decoder(self.neck.fuse(prepared, state), tokens, words == 0)
        return self.proj(grid, state).to(state.dtype)

    def head(
        self,
        features: Features,
        tokens: Float[Tensor, "b l c"],
        state: Float[Tensor, "b d"],
        words: Int[Tensor, "b l"],
    ) -> Float[Tensor, "b 1 i j"]:
        """Logits at a quarter of the picture from `encode_image` and `encode_text`.

        Args:
            features: what `encode_image` gave.
            tokens: features of the words.
            state: vector of the sentence.
            words: ids of one sentence a picture, zeros behind it.
        """
        return self.answer(self.prepare(features), tokens, state, words)

    def forward(self, image: Float[Tensor, "b 3 h w"], words: Int[Tensor, "b l"]) -> Float[Tensor, "b 1 h//4 w//4"]:
        """Logits for one sentence a picture.

        Args:
            image: normalised, sides multiples of 32.
            words: ids of one sentence a picture, the end mark the largest, zeros behind it.

        Returns:
            logits at a quarter of the picture.
        """
        tokens, state = self.encode_text(words)
        return self.head(self.encode_image(image), tokens, state, words)


@functools.cache
def _tokenizer() -> Tokenizer:
    return Tokenizer()


def tokenize(sentences: Sequence[str], length: int) -> Int[Tensor, "n length"]:
    """CLIP's word ids; a sentence that is too long keeps its end token."""
    return _tokenizer()(list(sentences), length)


# -------------------------------------------------------------------------------------------------------- letterbox


@dataclass(frozen=True)
class Letterbox:
    """Brings a height×width picture into a square and a map of the square back: scale, then centre.

    Pixel centres are at integers: pixel x of the picture comes to x · scale + left, as with OpenCV's `warpAffine`.
    There is no smoothing before shrinking, as there is none there.
    """

    height: int
    width: int
    size: int

    @property
    def scale(self) -> float:
        return min(self.size / self.height, self.size / self.width)

    @property
    def left(self) -> float:
        return (self.size - self.width * self.scale) / 2

    @property
    def top(self) -> float:
        return (self.size - self.height * self.scale) / 2

    def image(self, image: Float[Tensor, "3 h w"]) -> Float[Tensor, "3 s s"]:
        """An RGB picture 0..1, cubic, CLIP's mean colour around it. Equals `warpAffine(..., INTER_CUBIC)`."""
        border = image.new_tensor(MEAN).view(3, 1, 1)
        return (self._in(image - border, cubic=True) + border).clamp(0, 1)

    def mask(self, mask: Float[Tensor, "*b h w"]) -> Float[Tensor, "*b s s"]:
        """A mask 0..1, linear, zeros around it. Equals `warpAffine(..., INTER_LINEAR)`."""
        return self._in(mask, cubic=False)

    def back(self, square: Float[Tensor, "*b s s"]) -> Float[Tensor, "*b h w"]:
        """A map of the square at the picture's size, cubic, zeros beyond the square."""
        step = 1 / self.scale
        rows = _warp(square, -2, self.height, step, -self.top * step, cubic=True)
        return _warp(rows, -1, self.width, step, -self.left * step, cubic=True)

    def recover(self, logits: Float[Tensor, "*b h w"]) -> Float[Tensor, "*b H W"]:
        """Logits of the network to probabilities 0..1 at the picture's size; `THRESHOLD` makes a mask of them.

        Sigmoid, bicubic to the square (corners on corners), back: the order of the reference's evaluation.
        """
        probability = logits.float().sigmoid().reshape(-1, 1, *logits.shape[-2:])
        square = F.interpolate(probability, size=(self.size,) * 2, mode="bicubic", align_corners=True)
        return self.back(square.reshape(*logits.shape[:-2], self.size, self.size)).clamp(0, 1)

    def _in(self, x: Tensor, cubic: bool) -> Tensor:
        rows = _warp(x, -2, self.size, self.scale, self.top, cubic)
        return _warp(rows, -1, self.size, self.scale, self.left, cubic)


def letterbox(image: Float[Tensor, "3 h w"], size: int) -> tuple[Float[Tensor, "3 size size"], Letterbox]:
    """A picture 0..1 in a square of `size` (not normalised yet), and what brings maps of the square back."""
    if image.ndim != 3 or image.shape[0] != 3 or 0 in image.shape:
        raise InputError(f"expected a picture of shape (3, height, width), got {tuple(image.shape)}")
    box = Letterbox(image.shape[-2], image.shape[-1], size)
    return box.image(image), box


def _warp(x: Tensor, axis: int, length: int, scale: float, shift: float, cubic: bool) -> Tensor:
    """Resamples one axis: entry i of the result is x at (i - shift) / scale; beyond the ends x is zero.

    The warp neither turns nor shears, so the two axes are done one after the other, a few taps each. The cubic is
    Keys' with a = -0.75, the one that OpenCV and torch use.
    """
    at = (torch.arange(length, dtype=torch.float64) - shift) / scale
    # What only rounding moved off a pixel stays on it: the edge of a picture must not fade by 1e-16.
    at = torch.where((at - at.round()).abs() < 1e-9, at.round(), at)
    first = at.floor()
    offsets = torch.arange(-1, 3) if cubic else torch.arange(0, 2)
    distance = (at[:, None] - (first[:, None] + offsets)).abs()
    if cubic:
        a = -0.75
        near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
        far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
        weight = torch.where(distance <= 1, near, torch.where(distance < 2, far, 0.0))
    else:
        weight = 1 - distance
    taps = first.long()[:, None] + offsets
    inside = (taps >= 0) & (taps < x.shape[axis])
    weight = (weight * inside).to(x)
    taps = taps.clamp(0, x.shape[axis] - 1).to(x.device)
    shape = [1] * x.ndim
    shape[axis] = length
    parts = (x.index_select(axis, taps[:, place]) * weight[:, place].reshape(shape) for place in range(len(offsets)))
    return torch.stack(list(parts)).sum(0)
