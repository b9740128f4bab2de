"""The part that has an ONNX graph: a picture to its features and to what the crowd's model says.

A person is not in it: their ratings are taken in by a few lines of linear algebra (`taste.Person`), not by a network.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from percepta.systems.aesthetics.model import Aesthetics

Part = tuple[nn.Module, dict[str, Tensor], list[str], dict[str, dict[int, str]]]


class Picture(nn.Module):
    """Pictures (b 3 s s; RGB 0..1) to standardised features and the score that is expected of nobody in particular."""

    def __init__(self, model: Aesthetics) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Float[Tensor, "b 3 s s"]) -> tuple[Float[Tensor, "b w"], Float[Tensor, " b"]]:
        features = self.model.features(image)
        looks = self.model.looks(features)
        return looks, self.model.head.crowd_score(looks)


def picture(model: Any) -> Part:
    """Features and crowd's score of pictures."""
    size = model.config.size
    example = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    return Picture(model).eval(), {"image": example}, ["features", "score"], {"image": {0: "pictures"}}
