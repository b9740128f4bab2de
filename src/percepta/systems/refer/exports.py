"""The networks cut into parts that have an ONNX graph: picture, sentence, and the answer to both.

The tokenizer stays outside: graphs take word ids. That of `small` is written beside them as a file that the package
`tokenizers` reads (`Tokenizer.from_file`).
"""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from percepta.contract import Graph
from percepta.nn.text import TextEncoder, tokenizer
from percepta.systems.refer.cris import CRIS
from percepta.systems.refer.model import MOST_IDS, LateText, Pixels


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
    """Word ids (n l, 0 pads; l from 2 to 32) to word vectors and a sentence vector."""

    def __init__(self, model: LateText | CRIS) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        if isinstance(self.model, CRIS):
            return self.model.encode_text(ids)
        return self.model.text(ids, ids > 0)


class Reply(nn.Module):
    """What is kept of one picture, and n sentences, to n masks' logits at a quarter of it, presence, and middles.

    Middles are logits of places at a sixteenth of the picture.
    """

    def __init__(self, model: LateText) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, s16: Tensor, s8: Tensor, s4: Tensor, places: Tensor, tokens: Tensor, sentence: Tensor, ids: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of the mask, of the thing being there, and of middles.

        Args:
            s16: features at stride 16.
            s8: features at stride 8.
            s4: features at stride 4.
            places: features of the image-text space.
            tokens: features of the words.
            sentence: vector of the sentence.
            ids: word pieces.
        """
        owner = torch.zeros_like(ids[:, 0])
        said = self.model.answer(Pixels(s16, s8, s4, places), self.model.adapt(tokens, ids > 0, sentence), owner)
        return said.logits, said.presence, said.centres


class CrisReply(nn.Module):
    """The same of the paper's network: logits alone."""

    def __init__(self, model: CRIS) -> None:
        super().__init__()
        self.model = model

    def forward(self, c3: Tensor, c4: Tensor, c5: Tensor, tokens: Tensor, sentence: Tensor, ids: Tensor) -> Tensor:
        """Logits of the mask at a quarter of the picture.

        Args:
            c3: prepared features at stride 8.
            c4: prepared features at stride 16.
            c5: prepared features at stride 32.
            tokens: features of the words.
            sentence: vector of the sentence.
            ids: word pieces.
        """
        return self.model.answer((c3, c4, c5), tokens, sentence, ids)[:, 0]


def picture(model: Any) -> Graph:
    """The graph of `Picture`."""
    side = model.config.size_at_prediction
    names = ["c3", "c4", "c5"] if isinstance(model, CRIS) else ["s16", "s8", "s4", "places"]
    return Picture(model), {"image": torch.rand(1, 3, side, side)}, names, {}


def sentence(model: Any) -> Graph:
    """The graph of `Sentence`."""
    # CLIP's attention writes the number of sentences into the graph: the paper's network takes one at a time.
    free = {} if isinstance(model, CRIS) else {"ids": {0: "n", 1: "l"}}
    return Sentence(model), {"ids": ids(model)}, ["tokens", "sentence"], free


def reply(model: Any) -> Graph:
    """The graph of `Reply`, or of `CrisReply`."""
    (part, inputs, names, _), words = picture(model), ids(model)
    with torch.no_grad():
        kept, (tokens, state) = part(**inputs), Sentence(model)(words)
    example = {**dict(zip(names, kept, strict=True)), "tokens": tokens, "sentence": state, "ids": words}
    if isinstance(model, CRIS):
        return CrisReply(model), example, ["logits"], {}
    free = {"tokens": {0: "n", 1: "l"}, "sentence": {0: "n"}, "ids": {0: "n", 1: "l"}}
    return Reply(model), example, ["logits", "presence", "centres"], free


def ids(model: Any) -> Tensor:
    """Two sentences of seven word ids, the second one padded; for CLIP, whose end mark is the largest id, one."""
    if isinstance(model, CRIS):
        end = model.backbone.token_embedding.num_embeddings - 1
        return torch.tensor([[3, 5, 7, end, 0, 0, 0]])
    return torch.tensor([[3, 5, 7, 9, 11, 13, 15], [3, 5, 7, 9, 0, 0, 0]])


def export_files(model: Any) -> dict[str, str]:
    """What stands beside the graphs, by name: the tokenizer of MiniLM, which pads with 0 and cuts at 32 word pieces."""
    if isinstance(model, CRIS) or not isinstance(model.text, TextEncoder):
        return {}
    made = Tokenizer.from_str(tokenizer().to_str())
    made.enable_truncation(MOST_IDS)
    made.enable_padding(pad_id=0, pad_token="[PAD]")
    return {"refer-tokenizer.json": made.to_str(pretty=False)}


EXPORTS = {"picture": picture, "sentence": sentence, "reply": reply}
