"""The light network of `small` and `tiny`: CRIS's three ideas with the text let in late.

A picture is encoded once (`encode_image`: encoder and neck), a sentence once (`encode_text`), and only `answer` sees
both. Beyond the paper: the neck's text guidance also holds the fit of sentence and place in the image-text space (a
class-activation map for any words); whether the thing is there at all is answered from one token of the decoder and
from what stands, and where, at the places that fit best; each place says whether it is the middle of a thing.
"""

from __future__ import annotations

import itertools
import re
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import NamedTuple, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from percepta.media import image as pictures
from percepta.nn.align import IMAGE, TEXT, Align
from percepta.nn.efficientnet import EfficientNetLite0, Features
from percepta.nn.text import TextEncoder
from percepta.nn.transformer import DecoderLayer, EncoderLayer, sine_grid, sine_line
from percepta.systems.refer import Config, Late
from percepta.systems.refer.cris import CRIS

MOST_IDS = 32  # word pieces of a sentence, start and end included; what is longer is cut
GREY = 127  # what surrounds a picture that is no square: exactly 0 behind the encoder's normalisation


class Pixels(NamedTuple):
    """A picture, encoded: nothing here depends on a sentence."""

    s16: Float[Tensor, "b c h16 w16"]
    s8: Float[Tensor, "b c8 h8 w8"]
    s4: Float[Tensor, "b c4 h4 w4"]
    places: Float[Tensor, "b d h32 w32"]


class Words(NamedTuple):
    """Sentences, encoded."""

    tokens: Float[Tensor, "n l c"]
    mask: Bool[Tensor, "n l"] | None
    state: Float[Tensor, "n c"]
    direction: Float[Tensor, "n d"]


class Answer(NamedTuple):
    """What the network says to n sentences.

    Attributes:
        logits: of the mask, at a quarter of the input size; of m sentences where masks of m were asked for.
        coarse: of the mask, at a sixteenth, from the decoder alone.
        presence: logit of the sentence's thing being in the picture.
        centres: logit, at a sixteenth, of one of the things that fit having its middle there.
    """

    logits: Float[Tensor, "m h4 w4"]
    coarse: Float[Tensor, "n h16 w16"]
    presence: Float[Tensor, " n"]
    centres: Float[Tensor, "n h16 w16"]


class ConvEncoder(nn.Module):
    """Four strided convolutions with the interface of EfficientNetLite0, for synthetic pictures."""

    channels = (24, 40, 112, 320)
    from_scratch = True

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 16, 24, 40, 64)
        self.steps = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.GroupNorm(8, b), nn.GELU(), nn.Conv2d(b, b, 3, 1, 1), nn.GELU())
            for a, b in itertools.pairwise(widths)
        )
        self.s16, self.s32 = nn.Conv2d(64, 112, 1), nn.Conv2d(64, 320, 2, 2)
        self.head = nn.Conv2d(320, IMAGE, 1)

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Features:
        maps = []
        x = image - 0.5
        for step in self.steps:
            x = step(x)
            maps.append(x)
        s32 = self.s32(x)
        return Features(maps[1], maps[2], self.s16(x), s32, self.head(s32))


class WordEncoder(nn.Module):
    """A two-layer transformer over words that are numbered by their checksum: it needs no vocabulary file."""

    slots = 509
    from_scratch = True

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.embedding = nn.Embedding(self.slots, width)
        self.layers = nn.ModuleList(EncoderLayer(width, 4, 2 * width) for _ in range(2))
        self.out = nn.Linear(width, TEXT)

    def forward(
        self, ids: Int[Tensor, "b l"], mask: Bool[Tensor, "b l"]
    ) -> tuple[Float[Tensor, "b l 384"], Float[Tensor, "b 384"]]:
        """Word vectors and sentence vectors, as `nn.text.TextEncoder` gives them."""
        x = self.embedding(ids)
        place = sine_line(MOST_IDS, x.shape[-1], device=x.device)[None, : ids.shape[1]]
        for layer in self.layers:
            x = layer(x, place, mask)
        x = self.out(x)
        weight = mask[..., None].to(x.dtype)
        return x, functional.normalize((x * weight).sum(1) / weight.sum(1), dim=-1)

    def encode(
        self, sentences: Sequence[str], length: int = 32
    ) -> tuple[Float[Tensor, "b l 384"], Bool[Tensor, "b l"], Float[Tensor, "b 384"]]:
        """As `nn.text.TextEncoder.encode`."""
        rows = [
            [1 + zlib.crc32(w.encode()) % (self.slots - 1) for w in re.findall(r"\w+", s.lower())][:length] or [1]
            for s in sentences
        ]
        ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
        for row, words in zip(ids, rows, strict=True):
            row[: len(words)] = torch.tensor(words)
        ids = ids.to(self.embedding.weight.device)
        tokens, sentence = self(ids, ids > 0)
        return tokens, ids > 0, sentence


def refine(width: int) -> nn.Sequential:
    """3×3 convolution, norm, ReLU."""
    return nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.GroupNorm(8, width), nn.ReLU())


def each(maps: Float[Tensor, "b *size"], owner: Int[Tensor, " n"]) -> Float[Tensor, "n *size"]:
    """maps[owner], without a copy where there is one picture."""
    return maps.expand(owner.shape[0], *maps.shape[1:]) if maps.shape[0] == 1 else maps[owner]


def up(x: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=False)


class Neck(nn.Module):
    """Features of four strides to three maps, coarse to fine; the picture's mean feature goes everywhere."""

    def __init__(self, width: int, channels: tuple[int, int]) -> None:
        super().__init__()
        c4, c8, c16, _ = ConvEncoder.channels
        self.whole, self.head = nn.Linear(IMAGE, width), nn.Conv2d(IMAGE, width, 1)
        self.s16 = nn.Conv2d(c16, width, 1)
        self.s8 = nn.Conv2d(c8, channels[0], 1)
        self.s4 = nn.Conv2d(c4, channels[1], 1)
        self.to8, self.to4 = nn.Conv2d(width, channels[0], 1), nn.Conv2d(channels[0], channels[1], 1)
        self.mix16, self.mix8, self.mix4 = refine(width), refine(channels[0]), refine(channels[1])

    def forward(self, f: Features) -> Pixels:
        coarse = self.head(f.head) + self.whole(f.head.mean((2, 3)))[:, :, None, None]
        s16 = self.s16(f.s16) + up(coarse, f.s16)
        s16 = s16 + self.mix16(s16)
        s8 = self.mix8(self.s8(f.s8) + up(self.to8(s16), f.s8))
        s4 = self.mix4(self.s4(f.s4) + up(self.to4(s8), f.s4))
        return Pixels(s16, s8, s4, f.head)


class Presence(nn.Module):
    """What the places that fit best add to the logit of the thing being there: what they look like and where they are.

    Side, size and depth words can only be judged against a place, so the numbers of `MEASURES` are multiplied with the
    sentence, and with the words that matter for it: in the vector of a whole sentence "left" and "right" are nearly
    the same. The last layer starts at zero: an untrained head adds nothing.
    """

    MEASURES = ("x", "y", "spread of x", "spread of y", "area", "highest logit", "fit", "highest fit")

    def __init__(self, width: int) -> None:
        super().__init__()
        self.measures = nn.Linear(len(self.MEASURES), width)
        self.look, self.where = nn.Linear(width, width), nn.Linear(width, width)
        self.pick, self.which = nn.Linear(width, 1), nn.Linear(width, width)
        self.out = nn.Sequential(nn.Linear(5 * width, width), nn.ReLU(), nn.Linear(width, 1))
        for value in (self.out[2].weight, self.out[2].bias, self.which.weight, self.which.bias):
            nn.init.zeros_(value)  # type: ignore[arg-type]

    def forward(
        self,
        seen: Float[Tensor, "n p c"],
        asked: Float[Tensor, "n c"],
        words: Words,
        coarse: Float[Tensor, "n h w"],
        fit: Float[Tensor, "n h w"],
    ) -> Float[Tensor, " n"]:
        """The logit's second part.

        Args:
            seen: what the decoder made of each place, row by row.
            asked: its token of the question.
            words: the sentence.
            coarse: logits of the mask.
            fit: of sentence and place in the image-text space.
        """
        h, w = coarse.shape[1:]
        state, logits = words.state, coarse.detach()
        matters = self.pick(words.tokens)[..., 0]
        if words.mask is not None:
            matters = matters.masked_fill(~words.mask, -1e4)
        word = (matters.softmax(1)[..., None] * words.tokens).sum(1)
        weight = logits.flatten(1).softmax(1)
        x = ((torch.arange(w, device=seen.device, dtype=seen.dtype) + 0.5) / w * 2 - 1).repeat(h)
        y = ((torch.arange(h, device=seen.device, dtype=seen.dtype) + 0.5) / h * 2 - 1)[:, None].expand(h, w).flatten()
        mean_x, mean_y = (weight * x).sum(1), (weight * y).sum(1)
        numbers = torch.stack(
            (
                mean_x,
                mean_y,
                (weight * (x - mean_x[:, None]) ** 2).sum(1),
                (weight * (y - mean_y[:, None]) ** 2).sum(1),
                logits.sigmoid().mean((1, 2)),
                logits.amax((1, 2)) / 4,
                (weight * fit.flatten(1)).sum(1),
                fit.amax((1, 2)),
            ),
            1,
        )
        look = (weight[..., None] * seen).sum(1)
        parts = (
            asked,
            state,
            look,
            look * self.look(state),
            self.measures(numbers) * (self.where(state) + self.which(word)),
        )
        return self.out(torch.cat(parts, 1))[:, 0]


class LateText(nn.Module):
    """The whole network."""

    def __init__(self, config: Late) -> None:
        super().__init__()
        c, (c8, c4) = config.width, config.mask_channels
        self.image = EfficientNetLite0(classifier=False) if config.encoder == "lite0" else ConvEncoder()
        if isinstance(self.image, EfficientNetLite0):
            self.image.freeze(config.frozen_blocks)
        self.text = TextEncoder() if config.text == "minilm" else WordEncoder()
        self.align = Align()
        self.align.from_scratch = config.text != "minilm"  # type: ignore[assignment]
        self.neck = Neck(c, config.mask_channels)
        # Text-guided neck: the sentence scales and shifts the picture's features, its fit is added.
        self.words = nn.Linear(TEXT, c)
        self.sentence = nn.Sequential(nn.Linear(TEXT, c), nn.ReLU(), nn.Linear(c, c))
        self.guide, self.fit = nn.Linear(c, 2 * c), nn.Conv2d(1, c, 1)
        self.fit_scale = nn.Parameter(torch.tensor(10.0))
        self.place = nn.Linear(c, c)
        self.asked = nn.Parameter(torch.zeros(c))
        # Vision-language decoder.
        self.layers = nn.ModuleList(
            DecoderLayer(c, config.heads, config.feedforward, config.dropout) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(c)
        self.coarse = nn.Linear(c, 1)
        self.presence = nn.Sequential(nn.Linear(2 * c, c), nn.ReLU(), nn.Linear(c, 1))
        self.presence_at = Presence(c)
        self.centres = nn.Linear(c, 1)
        nn.init.constant_(self.centres.bias, -4.0)  # few places are the middle of a thing
        # Projector: pixel features and the kernel that the sentence becomes.
        self.to8, self.to4 = nn.Conv2d(c, c8, 1), nn.Conv2d(c8, c4, 1)
        self.mix8, self.mix4 = refine(c8), refine(c4)
        self.kernel = nn.Linear(2 * c, c4 * 9 + 1)

    def encode_image(self, image: Float[Tensor, "b 3 h w"]) -> Pixels:
        """RGB in 0..1, height and width multiples of 32."""
        return self.neck(self.image(image.contiguous(memory_format=torch.channels_last)))

    def encode_text(self, sentences: Sequence[str]) -> Words:
        """n sentences; those beyond 32 word pieces are cut."""
        tokens, mask, sentence = self.text.encode(sentences, MOST_IDS)
        # One sentence has no padding, and attention without a mask is faster.
        return self.adapt(tokens, mask if len(sentences) > 1 else None, sentence)

    def adapt(
        self, tokens: Float[Tensor, "n l 384"], mask: Bool[Tensor, "n l"] | None, sentence: Float[Tensor, "n 384"]
    ) -> Words:
        """What the decoder takes, from what the text encoder gives.

        Args:
            tokens: features of the words.
            mask: True at real words; None: all.
            sentence: vector of the sentence.
        """
        return Words(self.words(tokens), mask, self.sentence(sentence), self.align.text(sentence))

    def answer(
        self, pixels: Pixels, words: Words, owner: Int[Tensor, " n"], masked: Bool[Tensor, " n"] | None = None
    ) -> Answer:
        """Sentence i is asked of picture `owner[i]`.

        Args:
            pixels: what `encode_image` gave.
            words: what `encode_text` gave.
            owner: the picture of each sentence.
            masked: which sentences get a mask, the costliest part of an answer; None: all.
        """
        n, (h, w) = owner.shape[0], pixels.s16.shape[-2:]
        scale, shift = self.guide(words.state).chunk(2, -1)
        unit = self.align.image(pixels.places.movedim(1, -1))
        fit = torch.einsum("nhwd,nd->nhw", each(unit, owner), words.direction)[:, None] * self.fit_scale
        s16 = each(pixels.s16, owner) * (1 + scale[..., None, None]) + shift[..., None, None]
        s16 = s16 + up(self.fit(fit), s16)
        # One more token, the question itself, gathers whether the thing is there and what its kernel should be.
        x = torch.cat(((self.asked + words.state)[:, None], s16.flatten(2).transpose(1, 2)), 1)
        grid = sine_grid(h, w, x.shape[-1], device=x.device)
        position = functional.pad(self.place(grid), (0, 0, 1, 0))[None]
        for layer in self.layers:
            x = layer(x, position, words.tokens, words.mask)
        x = self.norm(x)
        asked, seen = x[:, 0], x[:, 1:]
        coarse, centres = self.coarse(seen).view(n, h, w), self.centres(seen).view(n, h, w)
        both = torch.cat((asked, words.state), -1)
        presence = self.presence(both)[:, 0]
        presence = presence + self.presence_at(seen, asked, words, coarse, up(fit, s16)[:, 0] / self.fit_scale)
        if masked is not None:
            seen, both, owner = seen[masked], both[masked], owner[masked]
            if not len(owner):
                return Answer(coarse.new_zeros(0, *pixels.s4.shape[-2:]), coarse, presence, centres)
        s8 = self.mix8(up(self.to8(seen.unflatten(1, (h, w)).movedim(-1, 1)), pixels.s8) + each(pixels.s8, owner))
        s4 = self.mix4(up(self.to4(s8), pixels.s4) + each(pixels.s4, owner))
        return Answer(project(s4, self.kernel(both)), coarse, presence, centres)

    def forward(
        self,
        image: Float[Tensor, "b 3 h w"],
        sentences: Sequence[str],
        owner: Int[Tensor, " n"],
        masked: Bool[Tensor, " n"] | None = None,
    ) -> Answer:
        """Sentence i is asked of picture `owner[i]`.

        Args:
            image: RGB 0..1.
            sentences: n of them.
            owner: the picture of each sentence.
            masked: which sentences get a mask; None: all.
        """
        return self.answer(self.encode_image(image), self.encode_text(sentences), owner, masked)


def project(pixels: Float[Tensor, "n c h w"], kernel: Float[Tensor, "n k"]) -> Float[Tensor, "n h w"]:
    """Convolve each sample with its own 3×3 kernel and add its bias; the logit grows with c as a mean would.

    Args:
        kernel: 9·c weights (c 3 3, row-major) and one bias.
    """
    n, c, h, w = pixels.shape
    weight, bias = kernel[:, :-1] / c**0.5, kernel[:, -1]
    if not (torch.is_grad_enabled() or torch.compiler.is_exporting()):  # the grouped convolution of the paper
        grouped = pixels.reshape(1, n * c, h, w)
        out = functional.conv2d(grouped, weight.reshape(n, c, 3, 3), padding=1, groups=n)[0]
        return out + bias[:, None, None]
    # The same with a backward pass that is several times faster on a CPU, and without a number of groups that a graph
    # would fix: one matrix product a sample gives what each tap says at each pixel; the taps are shifted and added.
    taps = torch.bmm(weight.reshape(n, c, 9).transpose(1, 2), pixels.flatten(2)).view(n, 9, h, w)
    taps = functional.pad(taps, (1, 1, 1, 1))
    shifted = [taps[:, 3 * i + j, i : i + h, j : j + w] for i in range(3) for j in range(3)]
    return torch.stack(shifted).sum(0) + bias[:, None, None]


def build(config: Config) -> LateText | CRIS:
    """The network with random weights; the parts that PRETRAINED names are filled by `load` and `train`."""
    if config.design == "cris":
        model: LateText | CRIS = CRIS(image_size=config.size, **asdict(config.cris))
    else:
        model = LateText(config.late)
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.config = config  # type: ignore[assignment]
    return model


def config_of(model: nn.Module) -> Config:
    """The settings that `build` made a network from."""
    return cast(Config, model.config)


# ------------------------------------------------------------------------- the square that a picture is fitted into


class Fit(NamedTuple):
    """How a picture of `height` × `width` lies in a square of `size`: shrunk to inner_h × inner_w at (top, left)."""

    height: int
    width: int
    top: int
    left: int
    inner_h: int
    inner_w: int
    size: int

    def back(self, square: Float[Tensor, "n h w"]) -> Float[Tensor, "n height width"]:
        """Maps over the square, at whatever resolution, at the picture's own size and place."""
        full = functional.interpolate(square[None], (self.size, self.size), mode="bilinear")
        inner = full[..., self.top : self.top + self.inner_h, self.left : self.left + self.inner_w]
        return functional.interpolate(inner, (self.height, self.width), mode="bilinear")[0]


def fit(image: Float[Tensor, "3 h w"], size: int) -> tuple[Float[Tensor, "3 s s"], Fit]:
    """A picture in the middle of a grey square, and how to come back."""
    height, width = image.shape[1:]
    scale = size / max(height, width)
    inner_h, inner_w = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (size - inner_h) // 2, (size - inner_w) // 2
    square = torch.full((3, size, size), GREY / 255)
    square[:, top : top + inner_h, left : left + inner_w] = pictures.resize(image, inner_h, inner_w)
    return square, Fit(height, width, top, left, inner_h, inner_w, size)
