"""CALF for grounding: the same pyramid for a chunk of video and for the replay, one detection (`nn/calf.py`)."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from percepta.nn.calf import Calf as Layers
from percepta.systems.replay import Config
from percepta.systems.replay.inputs import Output

RECEPTIVE = 80


class Calf(Layers):
    """`pair` is the published network; `forward` gives its one detection in the form of ours."""

    def __init__(self, config: Config) -> None:
        super().__init__(config.feature_width, 16, 1, 1, config.past_frames, RECEPTIVE)
        self.config = config

    def pair(
        self, video: Float[Tensor, "b t f"], replay: Float[Tensor, "b t f"]
    ) -> tuple[Float[Tensor, "b t 1"], Float[Tensor, "b 1 2"]]:
        """Segmentation, and confidence and place (0..1) of the action in the chunk.

        Args:
            video: a chunk.
            replay: tiled to its length, see `tiled`.
        """
        segmentation, x = self.segmented(torch.cat([self.pyramid(video), self.pyramid(replay)], 1))
        return segmentation, self.places(x)

    def forward(
        self, past: Float[Tensor, "b t f"], replay: Float[Tensor, "b r f"], there: Bool[Tensor, "b r"]
    ) -> Output:
        """As `SmallNet.forward`: a score at the place of the detection, very low ones elsewhere.

        Args:
            past: the chunk before each replay.
            replay: its features, from its start.
            there: which of its frames there are.
        """
        shown = torch.stack([tiled(r[t], self.chunk) for r, t in zip(replay, there, strict=True)])
        _, found = self.pair(past, shown)
        place = (found[:, 0, 1] * self.chunk).long().clamp_max(self.chunk - 1)
        low = past.new_full((len(past), self.chunk), -30.0)
        score = low.scatter(1, place[:, None], torch.logit(found[:, :1, 0], 1e-6))
        return Output(score, functional.pad(score[..., None] * 0, (0, 1)))


def tiled(replay: Float[Tensor, "r f"], length: int) -> Float[Tensor, "t f"]:
    """A replay again and again, while a copy ends before the end; the rest is zero, as the published code has it.

    Args:
        replay: its frames.
        length: of the chunk.
    """
    out = replay.new_zeros(length, replay.shape[1])
    n = len(replay)
    for start in range(0, length, n):
        if start + n < length:
            out[start : start + n] = replay
    return out
