"""CLIP: the ResNet and the transformer image tower, the text transformer and the byte-pair tokenizer.

Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021; reference
code: github.com/openai/CLIP (MIT). Every parameter has the name it has there, so published weights load as they are.

Changed against the reference: `SpatialAttentionPool` keeps the grid instead of one vector, with the shortcut `connect`
that CRIS (Wang et al., CVPR 2022, section 3.1) adds; `encode_text` returns the word features beside the sentence; the
tokenizer does its cleaning with the standard library.
"""

from __future__ import annotations

import gzip
import html
import itertools
import re
import unicodedata
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from percepta.errors import InputError
from percepta.nn.archive import SIZES, check_keys, read_archive

# What CLIP's image towers were trained on: pictures 0..1 minus MEAN over DEVIATION, per colour.
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)


def normalise(image: Float[Tensor, "*b 3 h w"]) -> Float[Tensor, "*b 3 h w"]:
    """RGB 0..1 to what CLIP's image towers take."""
    mean = image.new_tensor(MEAN).view(3, 1, 1)
    deviation = image.new_tensor(DEVIATION).view(3, 1, 1)
    return (image - mean) / deviation


class Bottleneck(nn.Module):
    """A residual block of 1×1, 3×3 and 1×1 convolutions; a stride is an average pool, before the shortcut's too."""

    def __init__(self, inputs: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        outputs = 4 * planes
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.avgpool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                OrderedDict(  # the pool is named "-1" so that the convolution keeps the published "0"
                    [
                        ("-1", nn.AvgPool2d(stride)),
                        ("0", nn.Conv2d(inputs, outputs, 1, bias=False)),
                        ("1", nn.BatchNorm2d(outputs)),
                    ]
                )
            )

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.avgpool(self.relu(self.bn2(self.conv2(x))))
        return self.relu(self.bn3(self.conv3(x)) + shortcut)


class AttentionPool(nn.Module):
    """CLIP's pooling: the mean of the grid, put before it as a class token, asks the whole grid.

    Args:
        grid: side of the grid that the positional embedding was learnt for.
        width: channels that come in.
        heads: of the attention.
        outputs: channels that leave.
    """

    def __init__(self, grid: int, width: int, heads: int, outputs: int) -> None:
        super().__init__()
        self.grid, self.heads = grid, heads
        self.positional_embedding = nn.Parameter(torch.randn(grid**2 + 1, width) / width**0.5)
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.c_proj = nn.Linear(width, outputs)
        for layer in (self.q_proj, self.k_proj, self.v_proj, self.c_proj):
            nn.init.normal_(layer.weight, std=width**-0.5)

    def positions(self, height: int, width: int) -> Float[Tensor, "n c"]:
        """The learnt positions of a height×width grid: as they are at the learnt size, else resized (bicubic)."""
        learnt = self.positional_embedding[1:]
        if (height, width) == (self.grid, self.grid):
            return learnt
        plane = learnt.float().T.reshape(1, -1, self.grid, self.grid)
        plane = F.interpolate(plane, size=(height, width), mode="bicubic", align_corners=False)
        return plane.flatten(2)[0].T.to(learnt.dtype)

    def attend(self, query: Float[Tensor, "b q c"], tokens: Float[Tensor, "b n c"]) -> Float[Tensor, "b q d"]:
        def split(x: Tensor) -> Tensor:
            return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        mixed = F.scaled_dot_product_attention(
            split(self.q_proj(query)), split(self.k_proj(tokens)), split(self.v_proj(tokens))
        )
        return self.c_proj(mixed.transpose(1, 2).flatten(2))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        grid = x.flatten(2).transpose(1, 2)
        mean = grid.mean(1, keepdim=True) + self.positional_embedding[:1]
        tokens = torch.cat([mean, grid + self.positions(x.shape[-2], x.shape[-1])], 1)
        return self.attend(mean, tokens)[:, 0]


class SpatialAttentionPool(AttentionPool):
    """The same attention without the class token, every place asking, plus a learnt shortcut (CRIS)."""

    def __init__(self, grid: int, width: int, heads: int, outputs: int) -> None:
        super().__init__(grid, width, heads, outputs)
        self.connect = nn.Sequential(nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        height, width = x.shape[-2:]
        tokens = x.flatten(2).transpose(1, 2) + self.positions(height, width)
        mixed = self.attend(tokens, tokens).transpose(1, 2).unflatten(2, (height, width))
        return F.relu(mixed + self.connect(x))


class ModifiedResNet(nn.Module):
    """CLIP's ResNet: a stem of three convolutions and a pool, four stages, attention pooling.

    Args:
        layers: blocks per stage, (3, 4, 6, 3) in RN50, (3, 4, 23, 3) in RN101.
        width: channels after the stem; 32 times as many leave the last stage.
        outputs: channels after the pooling.
        grid: side of the grid that the pooling's positions are kept for (7 for pictures of 224).
        spatial: keep the grid (`SpatialAttentionPool`) rather than one vector.
    """

    def __init__(
        self, layers: Sequence[int], width: int, outputs: int, *, grid: int = 7, spatial: bool = False
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width // 2, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width // 2)
        self.conv2 = nn.Conv2d(width // 2, width // 2, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width // 2)
        self.conv3 = nn.Conv2d(width // 2, width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.avgpool = nn.AvgPool2d(2)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = _stage(width, width, layers[0], 1)
        self.layer2 = _stage(4 * width, 2 * width, layers[1], 2)
        self.layer3 = _stage(8 * width, 4 * width, layers[2], 2)
        self.layer4 = _stage(16 * width, 8 * width, layers[3], 2)
        pool = SpatialAttentionPool if spatial else AttentionPool
        self.attnpool = pool(grid, 32 * width, max(1, width // 2), outputs)

    def stages(self, image: Float[Tensor, "b 3 h w"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Features at 1/4, 1/8, 1/16 and 1/32 of a normalised picture, 4, 8, 16 and 32 times `width` channels."""
        x = self.relu(self.bn1(self.conv1(image)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.avgpool(self.relu(self.bn3(self.conv3(x))))
        c2 = self.layer1(x)
        c3 = self.layer2(c2)
        c4 = self.layer3(c3)
        return c2, c3, c4, self.layer4(c4)

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Tensor:
        """A vector per picture, b d; with `spatial` a grid, b d h/32 w/32."""
        return self.attnpool(self.stages(image)[-1])


def _stage(inputs: int, planes: int, blocks: int, stride: int) -> nn.Sequential:
    first = Bottleneck(inputs, planes, stride)
    return nn.Sequential(first, *(Bottleneck(4 * planes, planes) for _ in range(blocks - 1)))


class QuickGELU(nn.Module):
    """x · sigmoid(1.702 x): the approximation that CLIP was trained with."""

    def forward(self, x: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return x * torch.sigmoid(1.702 * x)


class ResidualAttentionBlock(nn.Module):
    """Pre-norm self-attention and a four times wider perceptron."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            OrderedDict(
                [
                    ("c_fc", nn.Linear(width, 4 * width)),
                    ("gelu", QuickGELU()),
                    ("c_proj", nn.Linear(4 * width, width)),
                ]
            )
        )
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, x: Float[Tensor, "b n c"], mask: Float[Tensor, "n n"] | None = None) -> Float[Tensor, "b n c"]:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    """A stack of blocks, in `resblocks`."""

    def __init__(self, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.resblocks = nn.Sequential(*(ResidualAttentionBlock(width, heads) for _ in range(layers)))
        for block in self.resblocks.children():
            if not isinstance(block, ResidualAttentionBlock):
                continue
            nn.init.normal_(block.attn.in_proj_weight, std=width**-0.5)
            nn.init.normal_(block.attn.out_proj.weight, std=(2 * width * layers) ** -0.5)
            nn.init.normal_(block.mlp[0].weight, std=(2 * width) ** -0.5)  # type: ignore[arg-type]
            nn.init.normal_(block.mlp[2].weight, std=(2 * width * layers) ** -0.5)  # type: ignore[arg-type]

    def forward(self, x: Float[Tensor, "b n c"], mask: Float[Tensor, "n n"] | None = None) -> Float[Tensor, "b n c"]:
        for block in self.resblocks:
            x = block(x, mask)
        return x


def causal_mask(length: int, like: Tensor) -> Float[Tensor, "length length"]:
    """What is added to attention: 0 where a word looks at itself or back, minus infinity where it looks ahead."""
    return torch.full((length, length), float("-inf"), dtype=like.dtype, device=like.device).triu(1)


class VisionTransformer(nn.Module):
    """CLIP's other image tower: patches and a class token through a transformer; the class token is read.

    Args:
        patch: side of a patch in pixels.
        width, layers, heads: of the transformer; the blocks have no mask.
        outputs: width of the vector.
        grid: patches a side that the positions are learnt for; pictures have `grid * patch` pixels a side.
    """

    def __init__(self, patch: int, width: int, layers: int, heads: int, outputs: int, *, grid: int = 7) -> None:
        super().__init__()
        self.patch, self.grid = patch, grid
        self.conv1 = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width) * width**-0.5)
        self.positional_embedding = nn.Parameter(torch.randn(grid**2 + 1, width) * width**-0.5)
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Transformer(width, layers, heads)
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(torch.randn(width, outputs) * width**-0.5)

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        """A vector per normalised picture.

        Raises:
            InputError: the picture has another size than the one that the positions are learnt for.
        """
        side = self.grid * self.patch
        if image.shape[-2:] != (side, side):
            raise InputError(f"this CLIP takes pictures of {side}×{side} pixels, not {tuple(image.shape[-2:])}")
        patches = self.conv1(image).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_embedding.expand(len(patches), 1, -1), patches], 1)
        tokens = self.transformer(self.ln_pre(tokens + self.positional_embedding))
        return self.ln_post(tokens[:, 0]) @ self.proj


# What `CLIP` is built with for OpenAI's ViT-B/32; for RN50 its defaults.
VIT_B_32: dict[str, Any] = {"embed_dim": 512, "vision_layers": 12, "vision_width": 768, "patch": 32}


class CLIP(nn.Module):
    """CLIP with either image tower; OpenAI's parameter names.

    Args:
        embed_dim: width of the shared space: 1024 in RN50, 512 in RN101 and ViT-B/32.
        vision_layers, vision_width: of the image tower; four numbers of blocks, or one of a vision transformer.
        patch: side of a vision transformer's patches; a ResNet has none.
        grid: side of the grid of learnt positions of the attention pool or of the patches.
        context_length: learnt word positions; a sentence may have fewer words.
        vocab: size of the word table.
        text_width, text_layers, text_heads: of the text transformer; heads of 64 where `text_heads` is None.
        spatial: see `ModifiedResNet`; this is what CRIS stands on.
    """

    def __init__(
        self,
        *,
        embed_dim: int = 1024,
        vision_layers: Sequence[int] | int = (3, 4, 6, 3),
        vision_width: int = 64,
        patch: int | None = None,
        grid: int = 7,
        context_length: int = 77,
        vocab: int = 49408,
        text_width: int = 512,
        text_layers: int = 12,
        text_heads: int | None = None,
        spatial: bool = False,
    ) -> None:
        super().__init__()
        self.width, self.side = embed_dim, grid * (patch or 32)
        if isinstance(vision_layers, int):
            if patch is None or spatial:
                raise InputError("a vision transformer (one number of layers) needs `patch` and has no `spatial`")
            heads = max(1, vision_width // 64)
            self.visual: Any = VisionTransformer(patch, vision_width, vision_layers, heads, embed_dim, grid=grid)
        else:
            self.visual = ModifiedResNet(vision_layers, vision_width, embed_dim, grid=grid, spatial=spatial)
        heads = max(1, text_width // 64) if text_heads is None else text_heads
        self.transformer = Transformer(text_width, text_layers, heads)
        self.token_embedding = nn.Embedding(vocab, text_width)
        self.positional_embedding = nn.Parameter(torch.randn(context_length, text_width) * 0.01)
        self.ln_final = nn.LayerNorm(text_width)
        self.text_projection = nn.Parameter(torch.randn(text_width, embed_dim) * text_width**-0.5)
        self.logit_scale = nn.Parameter(torch.tensor(1 / 0.07).log())
        nn.init.normal_(self.token_embedding.weight, std=0.02)

    def encode_image(self, image: Float[Tensor, "b 3 h w"]) -> Tensor:
        """The image tower on a normalised picture: b d, or with `spatial` b d h/32 w/32."""
        return self.visual(image.to(self.visual.conv1.weight.dtype))

    def encode_text(self, words: Int[Tensor, "b n"]) -> tuple[Float[Tensor, "b n c"], Float[Tensor, "b d"]]:
        """Features of the words (after the last norm, no projection) and of the sentence.

        Args:
            words: ids from `Tokenizer`, n ≤ context_length. The sentence is read off the end token, which is the
                largest id there is; what stands behind it changes nothing before it.
        """
        length = words.shape[1]
        if length > self.positional_embedding.shape[0]:
            raise InputError(
                f"{length} words, but this CLIP has positions for {self.positional_embedding.shape[0]}: "
                "tokenize with a smaller length"
            )
        x = self.token_embedding(words) + self.positional_embedding[:length]
        tokens = self.ln_final(self.transformer(x, causal_mask(length, x)))
        ends = tokens[torch.arange(len(words), device=words.device), words.argmax(-1)]
        return tokens, ends @ self.text_projection

    def read(self, path: Path) -> None:
        """Fills the model with OpenAI's weights from a file (`read_archive`, `load_openai`)."""
        load_openai(self, read_archive(path), str(path))


class ClipSpace(nn.Module):
    """The image-text space of a whole CLIP, with the methods of `align.Align2`; CLIP is both of its encoders.

    Attributes:
        width: numbers in a vector.
        side: of the square in pixels that pictures are squeezed to before they come.

    Args:
        encoder: one without `spatial`, for its sizes; it is not kept.
    """

    def __init__(self, encoder: CLIP) -> None:
        super().__init__()
        self.width, self.side = encoder.width, encoder.side
        self._tokenizer = Tokenizer()

    @torch.no_grad()
    def pictures(self, encoder: CLIP, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        """Unit vectors of RGB pictures in 0..1; CLIP's normalisation is done here."""
        return F.normalize(encoder.encode_image(normalise(images)).float(), dim=-1)

    @torch.no_grad()
    def sentences(self, encoder: CLIP, words: Sequence[str], batch: int = 64) -> Float[Tensor, "m d"]:
        """Unit vectors of sentences, in their order; too long ones lose their tail.

        Args:
            encoder: CLIP with its text part.
            words: m sentences.
            batch: how many at a time.
        """
        device, length = encoder.positional_embedding.device, len(encoder.positional_embedding)
        rows = [torch.zeros(0, self.width, device=device)]
        for at in range(0, len(words), batch):
            ids = self._tokenizer(words[at : at + batch], length).to(device)
            rows.append(F.normalize(encoder.encode_text(ids)[1].float(), dim=-1))
        return torch.cat(rows)


# ---------------------------------------------------------------------------------------------- published weights


def load_openai(model: CLIP, state: Mapping[str, Tensor], source: str = "the CLIP weights") -> None:
    """Copies OpenAI's weights (any float type) into a model; all must fit, or nothing is changed.

    The size entries of the archives are ignored. `visual.attnpool.connect`, which CRIS adds and CLIP does not have,
    keeps its random start.

    Args:
        model: what is filled.
        state: tensors by name.
        source: what messages call them.

    Raises:
        InputError: names every key that is missing, unexpected or of another shape.
    """
    given = {key.removeprefix("module."): value for key, value in state.items() if key not in SIZES}
    expected = model.state_dict()
    transformer, wanted = "visual.class_embedding" in given, "visual.class_embedding" in expected
    if transformer and not wanted:
        raise InputError(
            f"{source} is a CLIP with a vision transformer; this model needs one with a ResNet (RN50 or RN101)"
        )
    if wanted and "visual.layer1.0.conv1.weight" in given:
        raise InputError(f"{source} is a CLIP with a ResNet; this model needs one with a vision transformer (ViT-B/32)")
    ours = [key for key in expected if key.startswith("visual.attnpool.connect.")]
    check_keys(expected, given, source, optional=ours)
    model.load_state_dict(given, strict=False)


# -------------------------------------------------------------------------------------------------------- tokenizer

# English endings that are tokens of their own, and the two marks. They are looked for before anything else.
_FIXED = re.compile(r"<\|startoftext\|>|<\|endoftext\|>|'(?:s|t|re|ve|m|ll|d)", re.IGNORECASE)
# Over a string of kinds (see _kind): a run of letters, one numeral, or a run of anything that is no space.
_RUNS = re.compile(r"L+|N|O+")
# Windows-1252 characters that somebody took for Latin-1; there, they are control characters.
_WINDOWS = {byte: bytes([byte]).decode("cp1252", errors="replace") for byte in range(0x80, 0xA0)}
_WINDOWS = {byte: letter for byte, letter in _WINDOWS.items() if letter != "\ufffd"}
# Curly quotes to straight ones, ligatures to letters.
_PLAIN = str.maketrans(
    dict.fromkeys("\u02bc\u2018\u2019\u201a\u201b", "'")
    | dict.fromkeys("\u201c\u201d\u201e\u201f", '"')
    | {"ŉ": "'n"}
    | {letter: unicodedata.normalize("NFKC", letter) for letter in "ĲĳǱǲǳǄǅǆǇǈǉǊǋǌﬀﬁﬂﬃﬄﬆ"}
)
# Control characters that print nothing and byte-order marks; tab, newlines and the like are spaces and stay.
_CONTROL = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f\u206a-\u206f\ufeff\ufff9-\ufffc]")


class _Spelling(NamedTuple):
    ids: dict[str, int]
    ranks: dict[tuple[str, str], int]


class Tokenizer:
    """CLIP's byte-pair encoding: sentences to word ids and back.

    Cleaning: HTML entities are resolved, curly quotes, ligatures, full-width and decomposed letters made plain, control
    characters dropped, white space made single, letters made small. The reference calls ftfy for a part of this,
    which also repairs text decoded with a wrong code page; that is left out here.

    Args:
        merges: file of the merge table, one pair a line, gzip; the one that the package carries when None.

    Attributes:
        start, end: ids of the marks around a sentence, 49406 and 49407.
        vocab: number of ids.
    """

    def __init__(self, merges: Path | None = None) -> None:
        self._letters = _byte_letters()
        self._spelling = _read_merges(merges, self._letters)
        self._words = {index: piece for piece, index in self._spelling.ids.items()}
        self._known: dict[str, list[int]] = {}
        self.vocab = len(self._spelling.ids)
        self.start, self.end = self.vocab - 2, self.vocab - 1

    def encode(self, sentence: str) -> list[int]:
        """Ids of a sentence, without the marks around it and at full length."""
        return [index for piece in _pieces(clean(sentence)) for index in self._piece(piece)]

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids; the marks and padding behind the end are dropped."""
        pieces = []
        for index in ids:
            if index == self.end:
                break
            if index != self.start:
                pieces.append(self._words[int(index)])
        back = {letter: byte for byte, letter in self._letters.items()}
        text = bytearray()
        for piece in pieces:
            text += bytes(back[letter] for letter in piece.removesuffix("</w>"))
            text += b" " if piece.endswith("</w>") else b""
        return text.decode("utf-8", errors="replace").strip()

    def __call__(self, sentences: str | Sequence[str], length: int = 77) -> Int[Tensor, "b length"]:
        """Word ids between the marks, zeros behind; a sentence that is too long loses its tail, not its end mark."""
        if length < 2:
            raise InputError(f"length is {length}; at least 2 ids are needed for the marks around a sentence")
        rows = [sentences] if isinstance(sentences, str) else list(sentences)
        words = torch.zeros(len(rows), length, dtype=torch.long)
        for row, sentence in enumerate(rows):
            ids = [self.start, *self.encode(sentence)[: length - 2], self.end]
            words[row, : len(ids)] = torch.tensor(ids)
        return words

    def _piece(self, piece: str) -> list[int]:
        known = self._known.get(piece)
        if known is None:
            known = self._known[piece] = [self._spelling.ids[part] for part in self._merge(piece)]
        return known

    def _merge(self, piece: str) -> list[str]:
        """Joins neighbours, the pair that comes first in the table first, until no pair is in the table."""
        if piece in ("<|startoftext|>", "<|endoftext|>"):
            return [piece]
        parts = [self._letters[byte] for byte in piece.encode("utf-8")]
        parts[-1] += "</w>"
        ranks = self._spelling.ranks
        while len(parts) > 1:
            best = min(itertools.pairwise(parts), key=lambda pair: ranks.get(pair, len(ranks)))
            if best not in ranks:
                break
            joined, index = [], 0
            while index < len(parts):
                if tuple(parts[index : index + 2]) == best:
                    joined.append(best[0] + best[1])
                    index += 2
                else:
                    joined.append(parts[index])
                    index += 1
            parts = joined
        return parts


def clean(sentence: str) -> str:
    """What is encoded in place of a sentence: see `Tokenizer`."""
    text = html.unescape(html.unescape(sentence)).translate(_WINDOWS).translate(_PLAIN)
    text = "".join(unicodedata.normalize("NFKC", c) if "\uff01" <= c <= "\uffee" else c for c in text)
    text = unicodedata.normalize("NFC", _CONTROL.sub("", text))
    return " ".join(text.split()).lower()


def _pieces(text: str) -> list[str]:
    """Splits into words, numerals, runs of signs and the fixed endings; white space separates and is dropped."""
    kinds = "".join(map(_kind, text))
    pieces, at = [], 0
    while at < len(text):
        found = _FIXED.match(text, at) or _RUNS.match(kinds, at)
        if found is None:
            at += 1  # a space
        else:
            pieces.append(text[at : found.end()])
            at = found.end()
    return pieces


def _kind(character: str) -> str:
    """L for a letter, N for a numeral, S for white space, O for anything else, by Unicode's categories."""
    if character.isspace():
        return "S"
    category = unicodedata.category(character)[0]
    return category if category in "LN" else "O"


def _byte_letters() -> dict[int, str]:
    """A printable letter for each byte: itself where Latin-1 prints one, else the next free one from 256 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {byte: chr(byte) for byte in printable}
    return letters | {byte: chr(256 + place) for place, byte in enumerate(others)}


def _read_merges(path: Path | None, letters: Mapping[int, str]) -> _Spelling:
    """Ids in CLIP's order: 256 bytes, 256 bytes that end a word, the merges, the two marks."""
    if path is None:
        packed = resources.files("percepta").joinpath("assets", "bpe", "merges.txt.gz").read_bytes()
    else:
        packed = Path(path).read_bytes()
    lines = gzip.decompress(packed).decode("utf-8").splitlines()
    pairs = [tuple(line.split(" ")) for line in lines]
    if any(len(pair) != 2 for pair in pairs):
        raise InputError(f"{path or 'the merge table'}: expected two pieces and a space on each line")
    ordered = list(letters.values())
    pieces = [*ordered, *(letter + "</w>" for letter in ordered), *("".join(pair) for pair in pairs)]
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    ids = {piece: index for index, piece in enumerate(pieces)}
    return _Spelling(ids, {(pair[0], pair[1]): rank for rank, pair in enumerate(pairs)})
