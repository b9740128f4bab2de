"""CALF (Cioppa et al. 2020, arXiv 1912.01326): a pyramid over time, capsules that segment, detections of a chunk.

What its spotting and its grounding share. The attributes are named as the keys of the published checkpoints are. A
chunk has 240 frames (120 s).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

CAPSULE = 16  # numbers a class


def along(x: Tensor, layer: nn.Conv2d) -> Tensor:
    """A convolution along time that keeps the length; of an even kernel the surplus lies behind."""
    size = layer.kernel_size[0]
    return layer(functional.pad(x, (0, 0, (size - 1) // 2, size - 1 - (size - 1) // 2)))


class Calf(nn.Module):
    """The layers of both networks.

    Attributes:
        chunk: frames of a chunk.
        classes: of the segmentation.
        detections: of a chunk.
    """

    def __init__(self, features: int, base: int, classes: int, detections: int, chunk: int, receptive: int) -> None:
        super().__init__()
        self.chunk, self.classes, self.detections = chunk, classes, detections
        self.conv_1, self.conv_2 = nn.Conv2d(1, 128, (1, features)), nn.Conv2d(128, base, 1)
        sizes = (math.ceil(receptive / 7), math.ceil(receptive / 3), math.ceil(receptive / 2), receptive)
        widths = [base // 4 * 2**i for i in range(4)]
        self.conv_p_1, self.conv_p_2, self.conv_p_3, self.conv_p_4 = (
            nn.Conv2d(base, width, (size, 1)) for width, size in zip(widths, sizes, strict=True)
        )
        self.conv_seg = nn.Conv2d(152, CAPSULE * classes, (3, 1))
        self.batch_seg = nn.BatchNorm2d(chunk, momentum=0.01, eps=0.001)
        self.conv_spot_1 = nn.Conv2d(classes * (CAPSULE + 1), 32, (3, 1))
        self.conv_spot_2 = nn.Conv2d(32, 16, (3, 1))
        self.conv_conf = nn.Conv2d(16 * (chunk // 8 - 1), 2 * detections, 1)

    def pyramid(self, frames: Float[Tensor, "b t f"]) -> Float[Tensor, "b c t 1"]:
        """Every frame with four widths of what is around it."""
        x = functional.relu(self.conv_2(functional.relu(self.conv_1(frames[:, None]))))
        layers = (self.conv_p_1, self.conv_p_2, self.conv_p_3, self.conv_p_4)
        return torch.cat([x, *(functional.relu(along(x, layer)) for layer in layers)], 1)

    def segmented(self, pyramid: Float[Tensor, "b 152 t 1"]) -> tuple[Float[Tensor, "b t c"], Float[Tensor, "b n 1 1"]]:
        """The segmentation, and the numbers from which the heads make detections."""
        capsules = along(pyramid, self.conv_seg)
        b, _, t, _ = capsules.shape
        parts = capsules.permute(0, 2, 3, 1).reshape(b, t, CAPSULE, self.classes)
        length = ((self.batch_seg(parts).sigmoid() - 0.5).square().sum(2) * 4 / CAPSULE).sqrt()
        inverse = (1 - length)[:, :, None].permute(0, 3, 1, 2)
        x = functional.relu(torch.cat([capsules, inverse], 1))
        x = functional.max_pool2d(x, (3, 1), (2, 1))
        for layer in (self.conv_spot_1, self.conv_spot_2):
            x = functional.max_pool2d(functional.relu(along(x, layer)), (3, 1), (2, 1))
        return length, x.reshape(b, -1, 1, 1)

    def places(self, x: Float[Tensor, "b n 1 1"]) -> Float[Tensor, "b d 2"]:
        """Confidence and place in the chunk (0..1) of each detection."""
        return self.conv_conf(x).reshape(len(x), self.detections, 2).sigmoid()


def starts(frames: int, chunk: int, stride: int, *, official: bool = False) -> list[int]:
    """Where the chunks of a video begin; the last one ends with the video.

    Args:
        frames: of the video.
        chunk: frames of a chunk.
        stride: frames between the starts.
        official: as the published code has it: where the rest is short, a start of the grid that lies behind the last
            chunk's takes its place, so that a part of the video is put in the wrong place.
    """
    if frames <= chunk:
        return [0]
    grid = list(range(0, frames - 1, stride)) if official else list(range(0, frames - chunk, stride))
    if official:
        inside = [s for s in grid if s + chunk < frames]
        return [*inside, frames - chunk]
    return [*grid, frames - chunk]


def pieces(frames: int, begin: list[int], chunk: int, receptive: int) -> list[tuple[int, int, int]]:
    """(chunk, first, last frame) of what each chunk gives to the whole: its middle, without half a receptive field.

    Args:
        frames: of the video.
        begin: starts of the chunks.
        chunk: frames of a chunk.
        receptive: frames that a chunk's ends know too little about, half at each end.
    """
    border = receptive // 2
    rows = []
    for i, start in enumerate(begin):
        first = 0 if i == 0 else start + border
        last = frames if i == len(begin) - 1 else start + chunk - border
        rows.append((i, first, min(last, frames)))
    return rows
