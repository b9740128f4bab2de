"""Our network: features of frames, dilated convolutions over time, a score and an offset for each frame and class."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from percepta.errors import InputError
from percepta.nn.spotting import LITE0_WIDTH, FrameEncoder, FrameNorm, FrameProjection, Residuals
from percepta.systems.spotting import Config, published

PRIOR = 0.01  # of a score before training


class SmallNet(nn.Module):
    """`forward` takes features of frames; `image`, where there is one, makes them of pictures and is never trained."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        if config.encoder == "lite0":
            if config.feature_width != LITE0_WIDTH + config.sound:
                raise InputError(f"features {config.features} have {LITE0_WIDTH + config.sound} numbers a frame, not "
                                 f"{config.feature_width}")  # fmt: skip
            self.image = FrameEncoder().requires_grad_(False)
        classes = len(config.classes)
        self.project = FrameProjection(config.feature_width, config.channels, config.dropout, config.sound)
        self.time = Residuals(config.channels, config.dilations, config.dropout)
        self.norm = FrameNorm(config.channels)
        self.score = nn.Conv1d(config.channels, classes, 1)
        self.offset = nn.Conv1d(config.channels, classes, 1)
        nn.init.constant_(self.score.bias, math.log(PRIOR / (1 - PRIOR)))  # type: ignore[arg-type]

    def forward(self, frames: Float[Tensor, "b t f"]) -> tuple[Float[Tensor, "b t c"], Float[Tensor, "b t c"]]:
        """Logits that an action is near, and how many frames ahead it is."""
        x = self.norm(self.time(self.project(frames)))
        return self.score(x).transpose(1, 2), self.offset(x).transpose(1, 2)

    @torch.no_grad()
    def whole(self, frames: Float[Tensor, "t f"]) -> tuple[Float[Tensor, "t c"], Float[Tensor, "t c"]]:
        """Scores (0..1) and offsets of a whole half, in overlapping chunks."""
        margin = sum(self.config.dilations)
        chunk = max(self.config.window_frames, 2 * margin, 256)
        scores, offsets = [], []
        for start in range(0, len(frames), chunk):
            low, high = max(0, start - margin), min(len(frames), start + chunk + margin)
            logits, ahead = self(frames[None, low:high])
            inside = slice(start - low, min(len(frames), start + chunk) - low)
            scores.append(logits[0, inside].float().sigmoid())
            offsets.append(ahead[0, inside].float())
        return torch.cat(scores), torch.cat(offsets)


def build(config: Config) -> nn.Module:
    """The network with random weights."""
    if config.design == "small":
        return SmallNet(config)
    return published.build(config)
