"""Frames of a video as features, and what finds moments in a sequence of them.

`FrameEncoder` is EfficientNet-Lite0 up to stride 16 with the map's means and maxima over a grid of cells: players and
ball are small, so that a mean over the whole picture would lose them. `Residuals` are dilated convolutions over time.
`soft_nms` makes scores and offsets of frames into moments: after Soares et al. 2022 (arXiv 2205.10450), every frame
votes at its own time plus its offset, and the neighbours of the best vote lose by how near they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn
from torch.nn import functional

from percepta.nn.efficientnet import EfficientNetLite0

GRID = (2, 4)  # cells of a picture
LITE0_CHANNELS = 112  # of the map at stride 16
LITE0_WIDTH = 2 * LITE0_CHANNELS * GRID[0] * GRID[1]  # features of a frame
LITE0_SIZE = (128, 224)  # pixels
AT_ONCE = 8  # pictures: of more, what is between two layers fits into no cache, and it takes twice as long
PIXELS_GRID = (8, 14)
MEMORY = 500  # training steps over which `Usual` averages
PIXELS_WIDTH = 3 * PIXELS_GRID[0] * PIXELS_GRID[1]


class FrameEncoder(EfficientNetLite0):
    """Lite0 whose `frames` gives one vector a picture."""

    def __init__(self) -> None:
        super().__init__(classifier=False)

    def frames(self, picture: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1792"]:
        """Features of RGB pictures in 0..1, of LITE0_SIZE."""
        fast = self.fast().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        return torch.cat([self._few(fast, part) for part in picture.split(AT_ONCE)])

    def _few(self, fast: EfficientNetLite0, picture: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1792"]:
        x = fast.stem(((picture * 255 - 127) / 128).contiguous(memory_format=torch.channels_last))
        for block in fast.blocks[: self.ends[LITE0_CHANNELS] + 1]:
            x = block(x)
        mean, most = functional.adaptive_avg_pool2d(x, GRID), functional.adaptive_max_pool2d(x, GRID)
        return torch.cat([mean.flatten(1), most.flatten(1)], 1)


def pixel_features(picture: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 336"]:
    """Mean colours of a grid: features for tests, which need no weights."""
    return functional.adaptive_avg_pool2d(picture, PIXELS_GRID).flatten(1)


def frame_features(model: nn.Module, kind: str, picture: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b f"]:
    """Features of pictures for a network that is trained on them.

    Args:
        model: has a `FrameEncoder` as its `image` where the kind is lite0.
        kind: lite0 or pixels.
        picture: RGB 0..1.
    """
    if kind == "pixels":
        return pixel_features(picture)
    image = model.get_submodule("image")
    assert isinstance(image, FrameEncoder)
    weight = image.head.conv.weight
    return image.frames(picture.to(weight.device, weight.dtype)).float()


def of_pictures(
    encode: Callable[[Float[Tensor, "b 3 h w"]], Float[Tensor, "b f"]],
) -> Callable[[UInt8[np.ndarray, "b h w 3"]], Float32[np.ndarray, "b f"]]:
    """The same for pictures as arrays of bytes."""

    def wrapped(pictures: UInt8[np.ndarray, "b h w 3"]) -> Float32[np.ndarray, "b f"]:
        with torch.inference_mode():
            return encode(torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255).numpy()

    return wrapped


class FrameNorm(nn.LayerNorm):
    """LayerNorm over the channels of each frame by itself, so that an answer does not depend on where a chunk ends."""

    def forward(self, x: Float[Tensor, "b c t"]) -> Float[Tensor, "b c t"]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class Residual(nn.Module):
    """x + a dilated convolution of the normalised x, GELU, and a 1×1 convolution."""

    def __init__(self, channels: int, dilation: int, dropout: float | int = 0.0) -> None:
        super().__init__()
        self.norm = FrameNorm(channels)
        self.spread = nn.Conv1d(channels, channels, 3, padding=dilation, dilation=dilation)
        self.mix = nn.Conv1d(channels, channels, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "b c t"]) -> Float[Tensor, "b c t"]:
        return x + self.dropout(self.mix(functional.gelu(self.spread(self.norm(x)))))


class Residuals(nn.Module):
    """Some `Residual` one after the other, each with its dilation; without any the input itself."""

    def __init__(self, channels: int, dilations: Sequence[int], dropout: float | int = 0.0) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Residual(channels, d, dropout) for d in dilations)

    def forward(self, x: Float[Tensor, "b c t"]) -> Float[Tensor, "b c t"]:
        for block in self.blocks:
            x = block(x)
        return x


class Usual(nn.Module):
    """What features of frames are like in training: mean and deviation of each number, and how far others are."""

    mean: Tensor
    square: Tensor
    count: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("square", torch.zeros(features))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def see(self, frames: Float[Tensor, "b t f"]) -> None:
        """Takes frames of a training step into account; those that are all zero lie outside of a video."""
        rows = frames.flatten(0, 1).float()
        rows = rows[(rows != 0).any(1)]
        if len(rows):
            self.count += 1
            share = 1 / min(int(self.count), MEMORY)
            self.mean.lerp_(rows.mean(0), share)
            self.square.lerp_((rows**2).mean(0), share)

    @torch.no_grad()
    def distance(self, frames: Float[Tensor, "t f"]) -> float:
        """How far the mean of some frames is from that of training, in deviations of training (rms of the numbers)."""
        if not int(self.count):
            return 0.0
        mean, square = self.mean.double(), self.square.double()
        deviation = (square - mean**2).clamp_min(1e-4).sqrt()
        return float(((frames.double().mean(0).to(mean.device) - mean) / deviation).square().mean().sqrt())


class FrameProjection(nn.Module):
    """Features of frames, normalised and brought to a width; of any width and size of numbers.

    Args:
        features: numbers a frame.
        channels: of what comes out.
        dropout: of the features.
        sound: the last number is how loud it is (0..1); it has a layer of its own, since it is one of many.
    """

    def __init__(self, features: int, channels: int, dropout: float | int = 0.0, sound: bool = False) -> None:
        super().__init__()
        self.usual = Usual(features)
        self.norm = nn.LayerNorm(features - sound)
        self.linear = nn.Linear(features - sound, channels)
        self.dropout = nn.Dropout(dropout)
        self.loudness = nn.Linear(1, channels) if sound else None

    def forward(self, frames: Float[Tensor, "b t f"]) -> Float[Tensor, "b c t"]:
        if self.training:
            self.usual.see(frames)
        if self.loudness is None:
            return functional.gelu(self.linear(self.dropout(self.norm(frames)))).transpose(1, 2)
        seen, heard = frames[..., :-1], frames[..., -1:]
        return functional.gelu(self.linear(self.dropout(self.norm(seen))) + self.loudness(heard)).transpose(1, 2)


def focal(
    logits: Float[Tensor, "*s"], target: Float[Tensor, "*s"], *, gamma: float | int = 2.0, balance: float | int = 0.75
) -> Float[Tensor, "*s"]:
    """Focal cross-entropy of targets in 0..1 (Lin et al. 2017).

    Args:
        logits: of any shape.
        target: of the same.
        gamma: how little easy ones count.
        balance: weight of targets of 1; 1 − balance of those of 0.
    """
    plain = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    off = (logits.sigmoid() - target).abs() ** gamma
    return plain * off * (balance * target + (1 - balance) * (1 - target))


def soft_nms(
    times: Float[np.ndarray, " n"],
    scores: Float[np.ndarray, " n"],
    *,
    window: float | int,
    least: float | int,
    most: int = 2000,
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """Takes the best moment again and again; those within `window` of it are multiplied by distance / window, squared.

    Args:
        times: of the votes.
        scores: of the votes.
        window: in the unit of the times.
        least: a moment below it ends the search.
        most: moments at most.

    Returns:
        Times and scores of the moments, best first.
    """
    order = np.argsort(times, kind="stable")
    times, left = times[order], scores[order].astype(np.float64)
    kept_times, kept_scores = [], []
    while len(left) and len(kept_times) < most:
        best = int(left.argmax())
        if left[best] < least:
            break
        kept_times.append(float(times[best]))
        kept_scores.append(float(left[best]))
        low, high = np.searchsorted(times, [times[best] - window, times[best] + window])
        near = np.abs(times[low:high] - times[best]) / window
        left[low:high] *= np.minimum(near, 1.0) ** 2
        left[best] = -1.0
    return np.array(kept_times), np.array(kept_scores)
