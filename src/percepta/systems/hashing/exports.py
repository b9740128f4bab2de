"""The part with an ONNX graph: pictures to vectors and bits."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from percepta.contract import Graph
from percepta.systems.hashing.model import Hasher


class PictureVectors(nn.Module):
    """Pictures (RGB 0..1) to unit vectors and margins, whose signs are bits."""

    def __init__(self, model: Hasher) -> None:
        super().__init__()
        self.image, self.align, self.net = model.image or model.clip, model.align, model.net

    def forward(self, image: Float[Tensor, "b 3 s s"]) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b n"]]:
        vectors = self.align.pictures(self.image, image)
        return vectors, self.net.margin(vectors)


def export_picture(model: Hasher) -> Graph:
    """What `percepta.export` asks for; several pictures at a time."""
    image = torch.rand(2, 3, model.side, model.side, generator=torch.Generator().manual_seed(0))
    return PictureVectors(model).eval(), {"image": image}, ["vector", "margin"], {"image": {0: "pictures"}}


EXPORTS = {
    "picture": export_picture,
    "sentence": "the tokenizer is no graph; a sentence takes a few milliseconds in torch",
}
