"""The network: an encoder, a head, and what every picture goes through before."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from percepta.datasets.street_pictures import LABEL_SETS
from percepta.nn.trunk import Trunk
from percepta.systems.weather import Config
from percepta.systems.weather.heads import ConvNorm, DAFormerHead, Head, LightHead, SegFormerHead
from percepta.systems.weather.mit import MixTransformer

TRUNK_BLOCKS = 15  # of Lite0's 16: the last one holds a fifth of the weights
GREY = (0.299, 0.587, 0.114)
STEEPEST = 3.0  # gamma of the exposure: 1 / STEEPEST to STEEPEST


class Plain(nn.Module):
    """A few convolutions, for tests: maps of stride 4, 8 and 16."""

    channels = (16, 24, 32)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_down(3, 16), _down(16, 16))
        self.deeper = nn.ModuleList([_down(16, 24), _down(24, 32)])

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> tuple[Tensor, ...]:
        maps = [self.stem(4 * (image - 0.45))]
        for layer in self.deeper:
            maps.append(layer(maps[-1]))
        return tuple(maps)

    @property
    def from_scratch(self) -> bool:
        """It wants no published weights."""
        return True

    def read(self, *files: Path) -> None:
        """Never called: see `from_scratch`."""


def _down(c_in: int, c_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, 3, 2, 1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU(inplace=True),
        ConvNorm(c_out, c_out, 3),
    )  # fmt: skip


class Network(nn.Module):
    """`forward` gives logits at a quarter of a picture, `features` what its encoder sees."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        if config.encoder == "lite0":
            self.image: nn.Module = Trunk(TRUNK_BLOCKS)
            channels = self.image.channels
            if config.frozen_blocks:
                for module in (self.image.stem, *list(self.image.blocks)[: config.frozen_blocks]):
                    module.requires_grad_(False)
        elif config.encoder == "plain":
            self.image, channels = Plain(), Plain.channels
        else:
            self.image = MixTransformer(config.encoder, config.norm_eps)
            channels = self.image.channels
        kind: Any = {"light": LightHead, "segformer": SegFormerHead, "daformer": DAFormerHead}[config.head]
        self.head: Head = kind(channels, config.channels, len(LABEL_SETS[config.label_set]))
        if config.encoder == "lite0":  # features of Lite0 vary by 4
            for value in self.head.levels.parameters():
                value.data.mul_(0.25 if value.ndim > 1 else 1.0)
        if config.head == "light":
            self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def features(self, image: Float[Tensor, "b 3 h w"]) -> tuple[Tensor, ...]:
        """Maps of stride 4, 8, 16 (and 32) of RGB pictures in 0..1, brought to the exposure of the settings."""
        return self.image(exposed(image, self.config.exposure))

    def look(
        self, image: Float[Tensor, "b 3 h w"], power: Float[Tensor, " b"] | None = None
    ) -> Float[Tensor, "b k h4 w4"]:
        """As `forward`, for looking only: with a copy of Lite0 whose batch norms are part of its convolutions.

        Args:
            image: RGB in 0..1.
            power: of the exposure of each picture; None: that of the picture itself.
        """
        encoder: nn.Module = self.image.fast() if isinstance(self.image, Trunk) else self.image
        return self.head(encoder(exposed(image, self.config.exposure, power)))

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b k h4 w4"]:
        """Logits of each class at a quarter of the picture."""
        return self.head(self.features(image))


def exposure_power(image: Float[Tensor, "b 3 h w"], mean: float) -> Float[Tensor, " b"] | None:
    """The power that brings each picture's mean brightness near `mean`; None where `mean` is 0.

    It is log(mean) / log(brightness), between 1 / STEEPEST and STEEPEST; a picture of one value meets `mean` exactly.

    Args:
        image: RGB in 0..1.
        mean: 0..1.
    """
    if not mean:
        return None
    grey = (image * image.new_tensor(GREY)[:, None, None]).sum(1).mean((1, 2)).clamp(0.004, 0.996)
    return (math.log(mean) / torch.log(grey)).clamp(1 / STEEPEST, STEEPEST)


def exposed(
    image: Float[Tensor, "b 3 h w"], mean: float, power: Float[Tensor, " b"] | None = None
) -> Float[Tensor, "b 3 h w"]:
    """Pictures raised to a power, so that all have nearly one brightness.

    Args:
        image: RGB in 0..1.
        mean: brightness, 0..1; 0 leaves pictures as they are.
        power: of each; None: `exposure_power`.
    """
    power = exposure_power(image, mean) if power is None else power
    return image if power is None else image.clamp_min(1e-4) ** power[:, None, None, None]


def enlarged(logits: Float[Tensor, "b k h w"], size: torch.Size | tuple[int, int]) -> Float[Tensor, "b k height width"]:
    """Bilinearly to a size (height, width)."""
    return functional.interpolate(logits, tuple(size), mode="bilinear", align_corners=False)


def build(config: Config) -> Network:
    """The network with random weights; `load` and `train` fill Lite0, which PRETRAINED names."""
    return Network(config)
