"""The published pooling networks: NetVLAD++ (Giancola & Ghanem 2021), and NetVLAD and max pooling of SoccerNet (2018).

The attributes are named as the keys of the checkpoints are. Each gives probabilities with the background first for
windows of frames; `whole` slides them over a half. Frames are L2-normalised, softly assigned to clusters, and the sums
of their residuals are normalised within each cluster and then altogether (Arandjelović et al. 2016).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from percepta.errors import InputError
from percepta.systems.spotting import Config

CLUSTERS = 64
MAX_FRAMES = 240  # that max pooling is fixed to
BATCH = 64  # windows at a time


class Vlad(nn.Module):
    """NetVLAD with keys `clusters` (assignment) and `clusters2` (centres), as NetVLAD++ has it."""

    def __init__(self, features: int, clusters: int) -> None:
        super().__init__()
        self.clusters = nn.Parameter(torch.randn(features, clusters) / features**0.5)
        self.clusters2 = nn.Parameter(torch.randn(1, features, clusters) / features**0.5)

    def forward(self, x: Float[Tensor, "b t f"]) -> Float[Tensor, "b v"]:
        x = functional.normalize(x, dim=2)
        share = (x @ self.clusters).softmax(2)
        return joined(x.transpose(1, 2) @ share - share.sum(1, keepdim=True) * self.clusters2)


class OldVlad(nn.Module):
    """NetVLAD with keys `conv` (assignment) and `centroids`, whose vector is ordered by clusters."""

    def __init__(self, features: int, clusters: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(features, clusters, 1, bias=False)
        self.centroids = nn.Parameter(torch.rand(clusters, features))

    def forward(self, x: Float[Tensor, "b t f"]) -> Float[Tensor, "b v"]:
        x = functional.normalize(x, dim=2)
        share = (x @ self.conv.weight[:, :, 0, 0].T).softmax(2)
        sums = share.transpose(1, 2) @ x - share.sum(1)[:, :, None] * self.centroids
        return functional.normalize(functional.normalize(sums, dim=2).flatten(1), dim=1)


def joined(sums: Float[Tensor, "b f k"]) -> Float[Tensor, "b v"]:
    """Normalised within each cluster, then altogether."""
    return functional.normalize(functional.normalize(sums, dim=1).flatten(1), dim=1)


class Pooled(nn.Module):
    """What these networks have in common: windows over a half."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.drop = nn.Dropout(0.4)

    def pooled(self, frames: Float[Tensor, "b t f"]) -> Float[Tensor, "b v"]:
        raise NotImplementedError

    def forward(self, frames: Float[Tensor, "b t f"]) -> Float[Tensor, "b c1"]:
        """Probabilities of windows, background first."""
        layer = self.get_submodule("fc")
        return layer(self.drop(self.pooled(frames))).sigmoid()

    @torch.no_grad()
    def whole(self, frames: Float[Tensor, "t f"]) -> tuple[Float[Tensor, "t c"], Float[Tensor, "t c"]]:
        """Scores of every frame, from the window around it (frames before and after the half repeat its ends)."""
        window = self.config.window_frames
        before = frames[:1].expand(window // 2, -1)
        after = frames[-1:].expand(window - window // 2, -1)
        windows = torch.cat([before, frames, after]).unfold(0, window, 1)[: len(frames)].transpose(1, 2)
        scores = torch.cat([self(part)[:, 1:] for part in windows.split(BATCH)])
        return scores, torch.zeros_like(scores)


class NetVladPlusPlus(Pooled):
    """Two pools, one for the frames before the middle of the window and one for those after it."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        width = 512
        if config.feature_width != width:
            self.feature_extractor = nn.Linear(config.feature_width, width)
        self.pool_layer_before = Vlad(width, CLUSTERS // 2)
        self.pool_layer_after = Vlad(width, CLUSTERS // 2)
        self.fc = nn.Linear(width * CLUSTERS, len(config.classes) + 1)

    def pooled(self, frames: Float[Tensor, "b t f"]) -> Float[Tensor, "b v"]:
        if self.config.feature_width != 512:
            frames = self.feature_extractor(frames)
        middle = frames.shape[1] // 2
        return torch.cat([self.pool_layer_before(frames[:, :middle]), self.pool_layer_after(frames[:, middle:])], 1)


class NetVlad(Pooled):
    """One pool of 64 clusters."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.pool_layer = OldVlad(config.feature_width, CLUSTERS)
        self.fc = nn.Linear(config.feature_width * CLUSTERS, len(config.classes) + 1)

    def pooled(self, frames: Float[Tensor, "b t f"]) -> Float[Tensor, "b v"]:
        return self.pool_layer(frames)


class MaxPool(Pooled):
    """The largest value of each feature in 240 frames."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.fc = nn.Linear(config.feature_width, len(config.classes) + 1)

    def pooled(self, frames: Float[Tensor, "b t f"]) -> Float[Tensor, "b v"]:
        if frames.shape[1] != MAX_FRAMES:
            raise InputError(f"the published max pooling takes {MAX_FRAMES} frames, not {frames.shape[1]}")
        return frames.amax(1)
