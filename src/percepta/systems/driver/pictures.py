"""What a driver does in one picture: the last blocks of EfficientNet-Lite0, trained on maps that are made once.

Stem and first blocks stay as they are, so that their maps (40 channels at an eighth of the picture) are made once for
some versions of every picture: cut a little differently, brighter, darker, of other colours. The rest is trained on
them with mixed pairs.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float16, Int64, UInt8
from torch import Tensor, nn
from torch.nn import functional

from percepta.nn.efficientnet import EfficientNetLite0

FROZEN = 5  # blocks; their output has 40 channels at an eighth
HEIGHT, WIDTH = 128, 160


class PictureNet(nn.Module):
    """Lite0 behind its first blocks, and a linear layer.

    Args:
        classes: how many.
        dropout: before the linear layer.
    """

    def __init__(self, classes: int, dropout: float = 0.3) -> None:
        super().__init__()
        self.image = EfficientNetLite0(classifier=False)
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(1280, classes)

    def early(self, picture: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 40 h8 w8"]:
        """The maps that stay as they are; RGB 0..1."""
        x = self.image.stem((picture * 255 - 127) / 128)
        for block in list(self.image.blocks)[:FROZEN]:
            x = block(x)
        return x

    def forward(self, early: Float[Tensor, "b 40 h8 w8"]) -> Float[Tensor, "b k"]:
        """Logits of maps from `early`."""
        x = early
        for block in list(self.image.blocks)[FROZEN:]:
            x = block(x)
        return self.classify(self.dropout(self.image.head(x).mean((2, 3))))

    def freeze(self) -> None:
        """Stem and first blocks do not train."""
        for module in (self.image.stem, *list(self.image.blocks)[:FROZEN]):
            module.requires_grad_(False)


def varied(pixels: UInt8[np.ndarray, "n h w 3"], version: int, seed: int = 0) -> Float[Tensor, "n 3 128 160"]:
    """Pictures at the network's size; version 0 as they are, others each cut and coloured in a way of its own.

    Args:
        pixels: RGB.
        version: 0, 1, ...
        seed: of the draws.
    """
    image = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    if version == 0:
        return functional.interpolate(image, (HEIGHT, WIDTH), mode="bilinear", align_corners=False)
    rng = np.random.default_rng((seed, version))
    n = len(image)
    scale, angle = rng.uniform(0.8, 1.05, n), rng.uniform(-0.12, 0.12, n)
    theta = np.zeros((n, 2, 3), np.float32)
    theta[:, 0, 0] = theta[:, 1, 1] = scale * np.cos(angle)
    theta[:, 0, 1], theta[:, 1, 0] = -scale * np.sin(angle), scale * np.sin(angle)
    theta[:, :, 2] = rng.uniform(-0.15, 0.15, (n, 2))
    grid = functional.affine_grid(torch.from_numpy(theta), [n, 3, HEIGHT, WIDTH], align_corners=False)
    image = functional.grid_sample(image, grid, padding_mode="reflection", align_corners=False)
    gain = torch.from_numpy(rng.uniform(0.6, 1.4, (n, 1, 1, 1))).float()
    tint = torch.from_numpy(rng.uniform(0.85, 1.15, (n, 3, 1, 1))).float()
    power = torch.from_numpy(rng.uniform(0.7, 1.4, (n, 1, 1, 1))).float()
    grey = image.mean(1, keepdim=True)
    colour = torch.from_numpy(rng.uniform(0.2, 1.2, (n, 1, 1, 1))).float()
    return ((grey + colour * (image - grey)).clamp(1e-4, 1) ** power * gain * tint).clamp(0, 1)


@torch.inference_mode()
def maps(net: PictureNet, pixels: UInt8[np.ndarray, "n h w 3"], version: int) -> Float16[np.ndarray, "n 40 16 20"]:
    """`early` of one version of all pictures, in 16 bits.

    Args:
        net: in eval mode.
        pixels: RGB.
        version: see `varied`.
    """
    image = varied(pixels, version)
    return np.concatenate([net.early(part).half().numpy() for part in image.split(32)])


def mixed_loss(
    net: PictureNet,
    early: Float[Tensor, "b 40 h w"],
    label: Int64[Tensor, " b"],
    generator: torch.Generator,
    smoothing: float = 0.1,
) -> Float[Tensor, ""]:
    """Cross-entropy of mixed pairs: half of the batches mix whole maps, the others paste a rectangle.

    Args:
        net: in training mode.
        early: maps.
        label: classes.
        generator: of the draws.
        smoothing: of the labels.
    """
    order = torch.randperm(len(early), generator=generator)
    share, which = torch.rand(2, generator=generator).tolist()
    share = 0.5 + 0.5 * share
    if which < 0.5:
        early = share * early + (1 - share) * early[order]
    else:
        h, w = early.shape[2:]
        a, b = max(1, round(h * (1 - share) ** 0.5)), max(1, round(w * (1 - share) ** 0.5))
        y = int(torch.randint(h - a + 1, (), generator=generator))
        x = int(torch.randint(w - b + 1, (), generator=generator))
        early = early.clone()
        early[:, :, y : y + a, x : x + b] = early[order][:, :, y : y + a, x : x + b]
        share = 1 - a * b / (h * w)
    logits = net(early)
    one = functional.cross_entropy(logits, label, label_smoothing=smoothing)
    other = functional.cross_entropy(logits, label[order], label_smoothing=smoothing)
    return share * one + (1 - share) * other
