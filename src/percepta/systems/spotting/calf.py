"""CALF for spotting: at most 15 detections in each chunk of 120 s (`nn/calf.py` has the layers)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from percepta.nn.calf import Calf, pieces, starts
from percepta.systems.spotting import Config

RECEPTIVE = 80
DETECTIONS = 15


class CalfSpotting(Calf):
    """`forward` gives segmentation and detections (confidence, place, classes) of chunks."""

    def __init__(self, config: Config) -> None:
        super().__init__(config.feature_width, 32, len(config.classes), DETECTIONS, config.window_frames, RECEPTIVE)
        self.config = config
        self.conv_class = nn.Conv2d(16 * (config.window_frames // 8 - 1), DETECTIONS * len(config.classes), 1)

    def forward(self, frames: Float[Tensor, "b t f"]) -> tuple[Float[Tensor, "b t c"], Float[Tensor, "b d c2"]]:
        segmentation, x = self.segmented(self.pyramid(frames))
        named = self.conv_class(x).reshape(len(x), DETECTIONS, self.classes).softmax(-1)
        return segmentation, torch.cat([self.places(x), named], -1)

    @torch.no_grad()
    def whole(self, frames: Float[Tensor, "t f"]) -> tuple[Float[Tensor, "t c"], Float[Tensor, "t c"]]:
        """The confidence of detections at their frames, 0 elsewhere; every frame is taken from one chunk."""
        t, chunk = len(frames), self.chunk
        padded = torch.cat([frames, frames.new_zeros(max(0, chunk - t), frames.shape[1])])
        begin = starts(t, chunk, chunk - RECEPTIVE)
        scores = frames.new_zeros(t, self.classes)
        for i, first, last in pieces(t, begin, chunk, RECEPTIVE):
            _, found = self(padded[None, begin[i] : begin[i] + chunk])
            for confidence, place, *named in found[0].tolist():
                at = begin[i] + int(place * chunk)
                if first <= at < last:
                    c = max(range(self.classes), key=named.__getitem__)
                    scores[at, c] = max(float(scores[at, c]), confidence)
        return scores, torch.zeros_like(scores)
