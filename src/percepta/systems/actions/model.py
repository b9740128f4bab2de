"""ActionFormer: features of a video to candidates at every place of a pyramid over time.

Data flow: features (b c t), mask (b 1 t) -> levels (b width t / 2^l) -> logits (b k t_l) and offsets (b 2 t_l), the
distances to start and end in strides of the level. Padding reaches at most one place of the coarsest level beyond a
video's end: more of it changes nothing, since norms put the same bias everywhere into it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from percepta.nn.efficientnet import EfficientNetLite0
from percepta.nn.temporal import Backbone, ClassHead, Neck, OffsetHead
from percepta.systems.actions import Config


@dataclass(frozen=True)
class Output:
    """What the network says at every place, all levels one after the other (p places).

    Attributes:
        logits: of each class.
        offsets: distances to start and end, in strides of the place's level.
        valid: whether the place belongs to the video.
        time: of the places, in feature vectors.
        stride: of the place's level, in feature vectors.
        level: of the place.
    """

    logits: Float[Tensor, "b p k"]
    offsets: Float[Tensor, "b p 2"]
    valid: Bool[Tensor, "b p"]
    time: Float[Tensor, " p"]
    stride: Float[Tensor, " p"]
    level: Tensor


class ActionsNetwork(nn.Module):
    """The network; `image` is there where features come from pictures."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        if config.features == "lite0":
            self.image = EfficientNetLite0(classifier=False).requires_grad_(False)
        self.backbone = Backbone(
            config.channels, config.width, config.heads, config.windows, config.stem, 3, config.positions,
            config.dropout, config.drop_path,
        )  # fmt: skip
        self.neck = Neck(config.width, len(config.windows))
        self.cls_head = ClassHead(config.width, len(config.labels))
        self.reg_head = OffsetHead(config.width, len(config.windows))

    def train(self, mode: bool = True) -> ActionsNetwork:
        """The picture encoder never trains."""
        super().train(mode)
        if self.config.features == "lite0":
            self.image.eval()
        return self

    def forward(self, features: Float[Tensor, "b c t"], mask: Bool[Tensor, "b 1 t"]) -> Output:
        """Logits and offsets; t is a multiple of the coarsest stride, see `padded_length`."""
        levels, masks = self.backbone(features, mask)
        levels = self.neck(levels)
        logits, offsets = self.cls_head(levels, masks), self.reg_head(levels, masks)
        counts = [level.shape[-1] for level in levels]
        number = torch.cat([torch.full((n,), i) for i, n in enumerate(counts)]).to(features.device)
        stride = 2.0**number
        time = torch.cat([torch.arange(n) for n in counts]).to(features.device) * stride
        return Output(
            torch.cat(logits, -1).transpose(1, 2), torch.cat(offsets, -1).transpose(1, 2),
            torch.cat(masks, -1)[:, 0], time, stride, number,
        )  # fmt: skip


def padded_length(length: int, config: Config) -> int:
    """Vectors to which a video's features are padded at prediction: enough to agree with the published padding."""
    step = config.coarsest
    if length == config.max_length:
        return length
    whole = max(2**i * ((w // 2) * 2 if w > 1 else 1) for i, w in enumerate(config.windows))
    most = config.max_length if length < config.max_length else -(-length // whole) * whole
    return max(min(most, (-(-length // step) + 1) * step), step)


def pad(features: Float[Tensor, "c n"], length: int) -> tuple[Float[Tensor, "1 c t"], Bool[Tensor, "1 1 t"]]:
    """(features, mask) of one video, with zeros behind it."""
    n = features.shape[-1]
    return functional.pad(features, (0, length - n))[None], (torch.arange(length, device=features.device) < n)[
        None, None
    ]


def build(config: Config) -> ActionsNetwork:
    """The network with random weights."""
    return ActionsNetwork(config)
