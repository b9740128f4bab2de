"""The networks cut into parts that have an ONNX graph: picture, sentence, and the answer to both.

The tokenizers stay outside: graphs take word ids.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from percepta.systems.refer.cris import CRIS
from percepta.systems.refer.model import LateText, Pixels

Part = tuple[nn.Module, dict[str, Tensor], list[str], dict[str, dict[int, str]]]


class Picture(nn.Module):
    """Picture (b 3 s s; RGB 0..1, for CRIS normalised as CLIP's) to what is kept of it."""

    def __init__(self, model: LateText | CRIS) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        if isinstance(self.model, CRIS):
            return tuple(self.model.prepare(self.model.encode_image(image)))
        return tuple(self.model.encode_image(image))


class Sentence(nn.Module):
    """Word ids (n l, 0 pads) to word vectors and a sentence vector."""

    def __init__(self, model: LateText | CRIS) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        if isinstance(self.model, CRIS):
            return self.model.encode_text(ids)
        return self.model.text(ids, ids > 0)


class Reply(nn.Module):
    """What is kept of one picture, and n sentences, to n masks' logits at a quarter of the picture (and presence)."""

    def __init__(self, model: LateText | CRIS) -> None:
        super().__init__()
        self.model = model

    def forward(self, a: Tensor, b: Tensor, c: Tensor, *rest: Tensor) -> Any:
        if isinstance(self.model, CRIS):
            tokens, sentence, ids = rest
            return self.model.answer((a, b, c), tokens, sentence, ids)[:, 0]
        places, tokens, sentence, ids = rest
        owner = torch.zeros_like(ids[:, 0])
        said = self.model.answer(Pixels(a, b, c, places), self.model.adapt(tokens, ids > 0, sentence), owner)
        return said.logits, said.presence


def picture(model: Any) -> Part:
    side = model.config.size
    names = ["c3", "c4", "c5"] if isinstance(model, CRIS) else ["s16", "s8", "s4", "places"]
    return Picture(model), {"image": torch.rand(1, 3, side, side)}, names, {}


def sentence(model: Any) -> Part:
    return Sentence(model), {"ids": ids(model)}, ["tokens", "sentence"], {"ids": {0: "n"}}


def reply(model: Any) -> Part:
    (part, inputs, names, _), words = picture(model), ids(model)
    with torch.no_grad():
        kept, (tokens, state) = part(**inputs), Sentence(model)(words)
    example = {**dict(zip(names, kept, strict=True)), "tokens": tokens, "sentence": state, "ids": words}
    outputs = ["logits"] if isinstance(model, CRIS) else ["logits", "presence"]
    return Reply(model), example, outputs, {name: {0: "n"} for name in ("tokens", "sentence", "ids")}


def ids(model: Any) -> Tensor:
    """Two sentences of seven word ids, the second one padded; with CLIP the end mark is the largest id."""
    top = model.backbone.token_embedding.num_embeddings - 1 if isinstance(model, CRIS) else 100
    return torch.tensor([[3, 5, 7, 9, 11, 13, top], [3, 5, 7, top, 0, 0, 0]])
