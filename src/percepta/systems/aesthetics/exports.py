"""The part that has an ONNX graph: a picture to its features and to what the crowd's model says.

A person is not in it: their ratings are taken in by a few lines of linear algebra (`taste.Person`), not by a network.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from percepta.contract import Graph
from percepta.systems.aesthetics.model import AestheticsNetwork


class Picture(nn.Module):
    """Pictures (b 3 s s; RGB 0..1) to normalised features and the score that is expected of nobody in particular.

    The folded encoder is a module of its own here: `EfficientNetLite0.fast` looks at addresses of weights, which a
    graph does not have.
    """

    def __init__(self, model: AestheticsNetwork) -> None:
        super().__init__()
        self.model = model
        self.encoder = model.image.folded() if model.config.encoder == "lite0" else None

    def forward(self, image: Float[Tensor, "b 3 s s"]) -> tuple[Float[Tensor, "b w"], Float[Tensor, " b"]]:
        features = self.model.normalise(self.model.features_by(self.encoder, image))
        return features, self.model.head.crowd_score(features)


def picture(model: AestheticsNetwork) -> Graph:
    """Features and crowd's score of pictures."""
    size = model.config.size
    example = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    return Picture(model).eval(), {"image": example}, ["features", "score"], {"image": {0: "pictures"}}
