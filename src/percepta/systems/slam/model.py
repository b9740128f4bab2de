"""The only network in SLAM says which pictures look alike; its projection is fitted once, nothing is learnt by steps.

Feature maps of EfficientNet-Lite0 at strides 16 and 32 are pooled by a generalised mean (Radenović et al. 2019),
brought to length 1, and projected so that pictures of one place come near each other (Mikolajczyk and Matas 2007): the
covariance of differences between views of one place becomes the identity, then the directions in which places differ
most are kept.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, UInt8
from torch import Tensor, nn
from torch.nn import functional

from percepta.nn.efficientnet import CHANNELS, EfficientNetLite0
from percepta.systems.slam import Config
from percepta.systems.slam.features import opencv

POOLED = CHANNELS[16] + CHANNELS[32]
SEEN = (128, 160)  # rows and columns at which pictures are seen
_STEPS = 512.0  # a described number is rounded to 1/512: its last bits depend on the number of threads


class PlaceNet(nn.Module):
    """Describes what a picture looks like.

    Attributes:
        image: the frozen encoder; None where places are compared by thumbnails.
        mean, projection: what `fit` found; buffers, so that they are saved.
    """

    mean: Tensor
    projection: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.image: EfficientNetLite0 | None = None
        if config.places == "features":
            self.image = EfficientNetLite0(classifier=False).requires_grad_(False)
        self.register_buffer("mean", torch.zeros(POOLED))
        self.register_buffer("projection", torch.eye(POOLED, config.place_numbers))

    def pooled(self, picture: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c"]:
        """Features of RGB pictures in 0..1 before the projection."""
        assert self.image is not None
        found = self.image(picture)
        powers = [(m.clamp(min=1e-6) ** 3).mean((2, 3)) ** (1 / 3) for m in (found.s16, found.s32)]
        return torch.cat([functional.normalize(p, dim=1) for p in powers], 1)

    def forward(self, picture: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        """Descriptions of length 1 of RGB pictures in 0..1, SEEN pixels large."""
        return self.project(self.pooled(picture))

    def project(self, pooled: Float[Tensor, "b c"]) -> Float[Tensor, "b d"]:
        """Descriptions of length 1 of pooled features."""
        return functional.normalize((pooled - self.mean) @ self.projection, dim=1)

    @torch.no_grad()
    def describe(self, grey: UInt8[np.ndarray, "h w"]) -> Float32[np.ndarray, " d"]:
        """What a grey picture looks like: the same numbers whatever the number of threads."""
        cv = opencv()
        small = cv.resize(grey, SEEN[::-1], interpolation=cv.INTER_AREA)
        picture = torch.from_numpy(small).to(self.mean.device, self.mean.dtype) / 255
        found = self(picture[None, None].expand(1, 3, -1, -1))[0].float().cpu().numpy()
        step = np.float32(1 / _STEPS)
        return np.round(found * _STEPS).astype(np.float32) * step


def build(config: Config) -> PlaceNet:
    """The network; without a file of weights it projects nothing yet."""
    return PlaceNet(config)


def fit(
    features: Float[np.ndarray, "n c"], first: np.ndarray, second: np.ndarray, numbers: int
) -> tuple[Float64[np.ndarray, " c"], Float64[np.ndarray, "c d"]]:
    """Mean and projection from features of pictures and pairs of them that show one place.

    Args:
        features: pooled, of n pictures.
        first, second: rows of the pairs.
        numbers: columns of the projection.

    Returns:
        (mean, projection).
    """
    features = np.asarray(features, np.float64)
    mean = features.mean(0)
    apart = features[first] - features[second]
    within = apart.T @ apart / len(apart)
    within += 0.3 * np.trace(within) / len(within) * np.eye(len(within))  # few pairs leave directions open
    size, axes = np.linalg.eigh(within)
    white = axes / np.sqrt(size)
    spread = (features - mean) @ white
    _, directions = np.linalg.eigh(spread.T @ spread)
    return mean, white @ directions[:, ::-1][:, :numbers]
