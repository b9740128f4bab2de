"""The parts of an avatar with an ONNX graph."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from percepta.contract import Graph
from percepta.systems.avatar.latent import condition_size
from percepta.systems.avatar.model import AvatarNetwork


class Decoder(nn.Module):
    """Pose and past to translations and embeddings, by the prior's mean."""

    def __init__(self, model: AvatarNetwork) -> None:
        super().__init__()
        self.latent = model.latent

    def forward(self, condition: Float[Tensor, "b c"]) -> tuple[Float[Tensor, "b n 3"], Float[Tensor, "b n e"]]:
        """See `latent.Latent`."""
        state = self.latent(condition, None)
        return state.translation, state.detail


def decoder(model: AvatarNetwork) -> Graph:
    """Conditions (b c, see `latent.conditions`) to translations (metres) and embeddings of the nodes."""
    example = {"condition": torch.rand(2, condition_size(model.config))}
    return Decoder(model), example, ["translation", "detail"], {"condition": {0: "frames"}}


EXPORTS = {
    "decoder": decoder,
    "fields": "which node's network a point goes through depends on the pose: blocks of changing number have no graph",
}
