"""E2E-Spot (Hong et al. 2022, arXiv 2207.10213): RegNetY-200MF with gated shifts in time, and a bidirectional GRU.

Frames go in, logits for background and classes come out. The gated shift module (Sudhakaran et al. 2020) stands before
the first convolution of every block: of a quarter of its channels a learned share moves one frame back or ahead. The
attributes are named as the keys of the checkpoints are (timm's RegNet inside).
"""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from percepta.systems.spotting import Config

STEM, GROUP = 32, 8
STAGES = ((24, 1), (56, 1), (152, 4), (368, 7))  # channels, blocks
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ConvBN(nn.Module):
    """Convolution and batch norm."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))


class GateShift(nn.Module):
    """Half of the channels looks at the next frame, half at the one before, by as much as a gate says."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv3D = nn.Conv3d(channels, 2, 3, padding=1, groups=2)
        self.bn = nn.BatchNorm3d(channels)

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b c t h w"]:
        gate = self.conv3D(functional.relu(self.bn(x))).tanh()
        parts = []
        for i, part in enumerate(x.chunk(2, 1)):
            moved = gate[:, i : i + 1] * part
            shifted = torch.zeros_like(moved)
            if i == 0:
                shifted[:, :, :-1] = moved[:, :, 1:]
            else:
                shifted[:, :, 1:] = moved[:, :, :-1]
            mixed = shifted + (part - moved)
            # channels 0 1 2 3 of each half come out as 0 2 1 3: two groups are interleaved
            parts.append(mixed.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2))
        return torch.cat(parts, 1)


class Shifted(nn.Module):
    """A convolution whose first channels are shifted before."""

    def __init__(self, net: ConvBN) -> None:
        super().__init__()
        self.fold = ceil(net.conv.in_channels // 4 / 4) * 4
        self.gsm = GateShift(self.fold)
        self.net = net

    def forward(self, x: Tensor, frames: int) -> Tensor:
        clip = x[:, : self.fold].unflatten(0, (-1, frames)).transpose(1, 2)
        moved = self.gsm(clip).transpose(1, 2).flatten(0, 1)
        return self.net(torch.cat([moved, x[:, self.fold :]], 1))


class Squeeze(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(channels, inner, 1), nn.Conv2d(inner, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc2(functional.relu(self.fc1(x.mean((2, 3), keepdim=True)))).sigmoid()


class Block(nn.Module):
    """A block of RegNetY."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = Shifted(ConvBN(c_in, c_out, 1))
        self.conv2 = ConvBN(c_out, c_out, 3, stride, c_out // GROUP)
        self.se = Squeeze(c_out, round(c_in / 4))
        self.conv3 = ConvBN(c_out, c_out, 1)
        self.downsample = ConvBN(c_in, c_out, 1, stride) if c_in != c_out or stride > 1 else None

    def forward(self, x: Tensor, frames: int) -> Tensor:
        y = functional.relu(self.conv1(x, frames))
        y = self.conv3(self.se(functional.relu(self.conv2(y))))
        return functional.relu(y + (x if self.downsample is None else self.downsample(x)))


class RegNet(nn.Module):
    """RegNetY-200MF without its classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvBN(3, STEM, 3, 2)
        c_in = STEM
        for i, (c_out, repeats) in enumerate(STAGES, 1):
            stage = nn.Module()
            for j in range(1, repeats + 1):
                stage.add_module(f"b{j}", Block(c_in, c_out, 2 if j == 1 else 1))
                c_in = c_out
            self.add_module(f"s{i}", stage)

    def forward(self, x: Float[Tensor, "n 3 h w"], frames: int) -> Float[Tensor, "n 368"]:
        x = functional.relu(self.stem(x))
        for i in range(1, len(STAGES) + 1):
            for block in self.get_submodule(f"s{i}").children():
                x = block(x, frames)
        return x.mean((2, 3))


class Recurrent(nn.Module):
    """A bidirectional GRU and a linear layer."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self._gru = nn.GRU(width, width, batch_first=True, bidirectional=True)
        self._fc_out = nn.Module()
        self._fc_out.add_module("_fc_out", nn.Linear(2 * width, classes))

    def forward(self, x: Float[Tensor, "b t c"]) -> Float[Tensor, "b t k"]:
        return self._fc_out.get_submodule("_fc_out")(self._gru(x)[0])


class E2ESpot(nn.Module):
    """`forward` gives logits of clips, background first."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self._features = RegNet()
        self._pred_fine = Recurrent(STAGES[-1][0], len(config.classes) + 1)

    def forward(self, frames: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b t k"]:
        """Clips of RGB pictures in 0..1; shorter ones are filled up with grey to `window_frames`, and cut again."""
        mean, deviation = (frames.new_tensor(v)[:, None, None] for v in (MEAN, DEVIATION))
        x = (frames - mean) / deviation
        t, length = x.shape[1], max(self.config.window_frames, x.shape[1])
        x = functional.pad(x, (0, 0, 0, 0, 0, 0, 0, length - t))
        features = self._features(x.flatten(0, 1), length).unflatten(0, (-1, length))
        return self._pred_fine(features[:, :t])

    @torch.no_grad()
    def film(self, pictures: Iterable[UInt8[np.ndarray, "h w 3"]]) -> tuple[Tensor, Tensor]:
        """Scores (t c) and offsets (zeros) of a film: clips that overlap by half, their probabilities averaged.

        Args:
            pictures: RGB, one after the other; a clip of them is kept in memory at a time.
        """
        length = self.config.window_frames
        step = max(1, length // 2)
        weight = next(self.parameters())
        sums: list[Tensor] = []
        counts: list[int] = []
        waiting: list[np.ndarray] = []
        start = 0

        def take(clip: list[np.ndarray]) -> None:
            x = torch.from_numpy(np.stack(clip)).permute(0, 3, 1, 2).to(weight.device, weight.dtype) / 255
            found = self(x[None])[0].softmax(1)[:, 1:].float().cpu()
            for i, row in enumerate(found):
                if start + i == len(sums):
                    sums.append(torch.zeros_like(row))
                    counts.append(0)
                sums[start + i] = sums[start + i] + row
                counts[start + i] += 1

        for picture in pictures:
            waiting.append(picture)
            if len(waiting) == length:
                take(waiting)
                waiting, start = waiting[step:], start + step
        if waiting and (not sums or start + len(waiting) > len(sums)):
            take(waiting)
        if not sums:
            return torch.zeros(0, len(self.config.classes)), torch.zeros(0, len(self.config.classes))
        scores = torch.stack(sums) / torch.tensor(counts)[:, None]
        return scores, torch.zeros_like(scores)
