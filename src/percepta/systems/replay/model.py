"""Our network: past and replay through the same layers, the past compared with the replay, a segment a frame."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from percepta.errors import InputError
from percepta.nn.spotting import LITE0_WIDTH, FrameEncoder, FrameNorm, FrameProjection, Residuals
from percepta.systems.replay import Config
from percepta.systems.replay.calf import Calf
from percepta.systems.replay.output import Output

PRIOR = -4.0  # logit of a score before training
PLACES = 64  # channels of "how long before the replay"


class SmallNet(nn.Module):
    """`forward` grounds a replay in its past, `inside` finds replays; `image` makes features and is never trained."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        c = config.channels
        if config.encoder == "lite0":
            if config.feature_width != LITE0_WIDTH + config.sound:
                raise InputError(f"features {config.features} have {LITE0_WIDTH + config.sound} numbers a frame, not "
                                 f"{config.feature_width}")  # fmt: skip
            self.image = FrameEncoder().requires_grad_(False)
        self.project = FrameProjection(config.feature_width, c, config.dropout, config.sound)
        self.shared = Residuals(c, (1, 2), config.dropout)
        self.query, self.key = nn.Conv1d(c, c, 1), nn.Conv1d(c, c, 1)
        self.position = nn.Parameter(0.02 * torch.randn(1, PLACES, config.past_frames))
        self.join = nn.Conv1d(4 * c + PLACES, c, 1)
        self.time = Residuals(c, config.dilations, config.dropout)
        self.norm = FrameNorm(c)
        self.score, self.reach = nn.Conv1d(c, 1, 1), nn.Conv1d(c, 2, 1)
        self.span = nn.Sequential(Residuals(c, (1, 2, 4), config.dropout), FrameNorm(c), nn.Conv1d(c, 3, 1))
        for bias in (self.score.bias,):
            nn.init.constant_(bias, PRIOR)  # type: ignore[arg-type]

    def forward(
        self, past: Float[Tensor, "b t f"], replay: Float[Tensor, "b r f"], there: Bool[Tensor, "b r"]
    ) -> Output:
        """Grounds replays.

        Args:
            past: features of the frames before each replay, the last one directly before it.
            replay: features of the replay, from its start.
            there: which of these frames there are; at least one.
        """
        before = self.shared(self.project(past))
        shown = self.shared(self.project(replay) * there[:, None])
        if not self.config.uses_replay:
            shown = torch.zeros_like(shown)
        likeness = torch.einsum("bct,bcr->btr", self.query(before), self.key(shown)) / before.shape[1] ** 0.5
        weight = likeness.masked_fill(~there[:, None], -1e4).softmax(2)
        attended = torch.einsum("btr,bcr->bct", weight, shown)
        mean = (shown * there[:, None]).sum(2, keepdim=True) / there.sum(1)[:, None, None]
        place = self.position.expand(len(past), -1, -1)
        joined = torch.cat([before, attended, before * attended, before * mean, place], 1)
        x = self.norm(self.time(self.join(joined)))
        return Output(self.score(x)[:, 0], functional.softplus(self.reach(x)).transpose(1, 2))

    def inside(self, frames: Float[Tensor, "b t f"]) -> Float[Tensor, "b t 3"]:
        """Logits: inside of a replay, its first frames, its last ones (where the wipes are)."""
        return self.span(self.shared(self.project(frames))).transpose(1, 2)

    @torch.no_grad()
    def spans(self, frames: Float[Tensor, "t f"]) -> Float[Tensor, "t 3"]:
        """`inside` of a whole half, as scores 0..1, in overlapping chunks."""
        chunk, margin = 512, 16
        out = []
        for start in range(0, len(frames), chunk):
            low, high = max(0, start - margin), min(len(frames), start + chunk + margin)
            logits = self.inside(frames[None, low:high])[0]
            out.append(logits[start - low : min(len(frames), start + chunk) - low].float().sigmoid())
        return torch.cat(out)


def build(config: Config) -> nn.Module:
    """The network with random weights."""
    if config.design == "small":
        return SmallNet(config)
    return Calf(config)
