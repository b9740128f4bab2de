"""The sentence encoder: all-MiniLM-L6-v2, a 6-layer BERT of width 384, with its WordPiece tokenizer.

Model: sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0; Wang et al. 2020, arXiv 2002.10957). Parameter names are the
published file's, so that it loads strictly. What ships is an int8 copy: every 64 neighbours of a matrix's row are
rounded to 127 steps of the largest of them (cosine of sentence vectors to the published ones above 0.999), written by
`write_int8`.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from safetensors.torch import load_file, save_file
from tokenizers import BertWordPieceTokenizer
from torch import Tensor, nn
from torch.nn import functional

from percepta.errors import InputError

WIDTH, LAYERS, HEADS, INNER, VOCABULARY, POSITIONS = 384, 6, 12, 1536, 30522, 512
VOCABULARY_FILE = Path(__file__).parent.parent / "assets" / "wordpiece.txt"


@functools.cache
def tokenizer() -> BertWordPieceTokenizer:
    """The uncased WordPiece tokenizer; its vocabulary comes with the package."""
    words = VOCABULARY_FILE.read_text(encoding="utf-8").split("\n")
    return BertWordPieceTokenizer({word: i for i, word in enumerate(words) if word}, lowercase=True)


def tokenise(sentences: Sequence[str], length: int = 128) -> tuple[Int[Tensor, "b l"], Bool[Tensor, "b l"]]:
    """Word-piece ids between [CLS] and [SEP], padded to the longest and cut to `length` (the end token stays).

    Returns:
        ids, and which of them are no padding.
    """
    rows = []
    for sentence in sentences:
        ids = tokenizer().encode(sentence).ids
        rows.append(ids if len(ids) <= length else [*ids[: length - 1], ids[-1]])
    out = torch.zeros(len(rows), max(map(len, rows), default=1), dtype=torch.long)
    for row, ids in zip(out, rows, strict=True):
        row[: len(ids)] = torch.tensor(ids)
    return out, out != 0


def check_words(encoder: Any, sentences: Sequence[str]) -> None:
    """Raises InputError for a sentence of which MiniLM knows no word, as "?", an emoji, or one in Chinese letters.

    Args:
        encoder: what reads the sentences; only a TextEncoder has a vocabulary of words, others pass.
        sentences: of a user.
    """
    for sentence in sentences if isinstance(encoder, TextEncoder) else ():
        pieces = [*tokenizer().encode(sentence).tokens[1:-1], ""]
        whole = [a for a, b in itertools.pairwise(pieces) if not a.startswith("##") and not b.startswith("##")]
        if not any(piece.isascii() and piece.isalnum() for piece in whole):
            raise InputError(f"the text encoder knows no word of {sentence!r}; it reads English")


# Articles and small words of other languages that MiniLM's vocabulary holds and English sentences do not have; "die"
# is English too, and counts only beside other words that are not.
_OTHERS = """
der die das dem des ein eine einen einem einer eines und auf im ist von le les un une du et avec dans au aux sur el la
los las una unos unas del y en es il lo gli uno di della dello nel nella che os um uma da em de het een op ett och
"""
_OURS = """
the a an of on in at with and or to by from for is are his her its their that this who which behind near next left right
under over front back my our your one two three into beside between
"""
_FOREIGN, _ENGLISH = frozenset(_OTHERS.split()), frozenset(_OURS.split())


def foreign_note(encoder: Any, sentence: str) -> str:
    """What to say of a sentence that seems to be in another language than English; "" for nothing.

    It seems so where no English article or preposition is in it, and either an article of another language is, or most
    of its words, two or more, are none of the vocabulary. A single rare noun (axolotl) looks like a foreign word
    (Katze), so of one word nothing is said. Of 5,382 human captions and sentences of the shared data (flickr8k, OASIS,
    coco-small, DAVIS) it is said of none; of ImageNet's 1000 names of classes, without an article, of 33. Of 38 short
    sentences in other languages it is said of 32.

    Args:
        encoder: what reads the sentence; only a TextEncoder has a vocabulary of words.
        sentence: of a user.
    """
    if not isinstance(encoder, TextEncoder):
        return ""
    words: list[list[str]] = []
    for piece in tokenizer().encode(sentence).tokens[1:-1]:
        if piece.startswith("##") and words:
            words[-1].append(piece)
        elif piece.isalpha():
            words.append([piece])
    whole = {pieces[0] for pieces in words if len(pieces) == 1}
    unknown = sum(len(pieces) > 1 or pieces[0] in _FOREIGN for pieces in words)
    if whole & _ENGLISH or not (whole & (_FOREIGN - {"die"}) or (unknown > 1 and 2 * unknown > len(words))):
        return ""
    return f"{unknown} of the {len(words)} words are no English that the text encoder knows: sentences are in English"


class Embeddings(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(VOCABULARY, WIDTH)
        self.position_embeddings = nn.Embedding(POSITIONS, WIDTH)
        self.token_type_embeddings = nn.Embedding(2, WIDTH)
        self.LayerNorm = nn.LayerNorm(WIDTH, eps=1e-12)

    def forward(self, ids: Tensor) -> Tensor:
        position = self.position_embeddings.weight[: ids.shape[1]]
        return self.LayerNorm(self.word_embeddings(ids) + position + self.token_type_embeddings.weight[0])


class SelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        b, n, _ = x.shape
        q, k, v = (f(x).view(b, n, HEADS, -1).transpose(1, 2) for f in (self.query, self.key, self.value))
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=None if mask is None else mask[:, None, None])
        return y.transpose(1, 2).reshape(b, n, WIDTH)


class Output(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, WIDTH)
        self.LayerNorm = nn.LayerNorm(WIDTH, eps=1e-12)

    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        return self.LayerNorm(self.dense(y) + x)


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.ModuleDict({"self": SelfAttention(), "output": Output(WIDTH)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(WIDTH, INNER)})
        self.output = Output(INNER)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = self.attention["output"](self.attention["self"](x, mask), x)
        return self.output(functional.gelu(self.intermediate["dense"](x)), x)


class TextEncoder(nn.Module):
    """Word-piece ids to one vector a token and one a sentence. Frozen: it takes no gradient."""

    width = WIDTH

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = Embeddings()
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(Layer() for _ in range(LAYERS))})
        self.requires_grad_(False)

    def forward(
        self, ids: Int[Tensor, "b l"], mask: Bool[Tensor, "b l"] | None
    ) -> tuple[Float[Tensor, "b l 384"], Float[Tensor, "b 384"]]:
        """Token vectors, and the sentence vector: their mean over real tokens, of length 1. No mask: all are real."""
        x = self.embeddings(ids)
        for layer in self.encoder["layer"]:  # type: ignore[union-attr]
            x = layer(x, mask)
        if mask is None:
            return x, functional.normalize(x.mean(1), dim=-1)
        weight = mask[..., None].to(x.dtype)
        return x, functional.normalize((x * weight).sum(1) / weight.sum(1), dim=-1)

    @torch.no_grad()
    def encode(
        self, sentences: Sequence[str], length: int = 128
    ) -> tuple[Float[Tensor, "b l 384"], Bool[Tensor, "b l"], Float[Tensor, "b 384"]]:
        """Sentences to token vectors, which of them are no padding, and sentence vectors."""
        device = self.embeddings.LayerNorm.weight.device
        ids, mask = (t.to(device) for t in tokenise(sentences, length))
        tokens, sentence = self(ids, mask if len(sentences) > 1 else None)  # without a mask attention is faster
        return tokens, mask, sentence

    def read(self, *paths: Path) -> None:
        """Fill from the published model.safetensors or from our int8 files. Raises InputError on odd, missing keys."""
        source: dict[str, Tensor] = {}
        for path in paths:
            source.update(load_file(path))
        tensors = dequantise(source)
        for key in ("pooler.dense.weight", "pooler.dense.bias", "embeddings.position_ids"):
            tensors.pop(key, None)  # published, and unused by a mean over tokens
        expected = self.state_dict()
        odd, missing = sorted(tensors.keys() - expected.keys()), sorted(expected.keys() - tensors.keys())
        if odd or missing:
            raise InputError(f"{paths[0]} is no all-MiniLM-L6-v2: missing {missing[:5]}, odd {odd[:5]}")
        self.load_state_dict(tensors)


def quantise(tensors: dict[str, Tensor], group: int = 64) -> dict[str, Tensor]:
    """Matrices to int8 with a float16 scale for every `group` entries of a row ("<name>:scale"); vectors to float16."""
    out = {}
    for name, value in tensors.items():
        if value.ndim < 2:
            out[name] = value.half()
            continue
        blocks = value.unflatten(1, (-1, group))
        scale = (blocks.abs().amax(2) / 127).half().clamp_min(1e-7)
        out[name] = (blocks / scale.float()[..., None]).round().clamp(-127, 127).to(torch.int8).flatten(1)
        out[f"{name}:scale"] = scale
    return out


def dequantise(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `quantise`, up to its rounding; tensors that were never quantised pass as float32."""
    out = {}
    for name, value in tensors.items():
        if name.endswith(":scale"):
            continue
        scale = tensors.get(f"{name}:scale")
        if scale is None:
            out[name] = value.float()
        else:
            out[name] = (value.float().unflatten(1, (scale.shape[1], -1)) * scale.float()[..., None]).flatten(1)
    return out


def write_int8(published: Path, embeddings: Path, layers: Path) -> None:
    """Write the two files that ship from the published model.safetensors.

    Args:
        published: the published model.safetensors.
        embeddings: file of the word embeddings to write.
        layers: file of the layers to write.
    """
    tensors = {k: v for k, v in load_file(published).items() if not k.startswith("pooler") and v.is_floating_point()}
    small = quantise(tensors)
    save_file({k: v for k, v in small.items() if k.startswith("embeddings.")}, embeddings)
    save_file({k: v for k, v in small.items() if not k.startswith("embeddings.")}, layers)
