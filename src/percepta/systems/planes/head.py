"""The detection branch, ours: planes as points with dynamic masks, in one pass and without boxes.

At an eighth of the picture a heat map says where the centre of a plane instance is (CenterNet, Zhou et al. 2019); each
such place also gives a class, how good its mask will be, and the weights of a two-layer network that reads the mask off
shared mask features at a quarter of the picture (CondInst, Tian et al. 2020). That network sees, beside the
features, how far a pixel is from the centre and how much its plane differs from the one there: pixels of one plane
share p = n/d, whatever its shape.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

BASIS, HIDDEN = 8, 8  # channels of the mask features and of the dynamic network
INPUTS = BASIS + 2 + 3
PARAMETERS = INPUTS * HIDDEN + HIDDEN + HIDDEN + 1


def block(c_in: int, c_out: int, stride: int = 1) -> nn.Sequential:
    """3 × 3 convolution, group norm, ReLU.

    Args:
        c_in: channels that come in.
        c_out: channels that go out.
        stride: of the convolution.
    """
    groups = next(g for g in (8, 4, 2, 1) if c_out % g == 0)
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False), nn.GroupNorm(groups, c_out), nn.ReLU(inplace=True)
    )


class HeadOutput(NamedTuple):
    """What the branch gives for every place, in logits.

    Attributes:
        heat: the centre of an instance is here.
        classes: its class.
        quality: IoU that its mask will have.
        kernels: weights of its dynamic network.
        basis: mask features.
        plane: pixel planes at the size of `basis`.
    """

    heat: Float[Tensor, "b 1 h8 w8"]
    classes: Float[Tensor, "b k h8 w8"]
    quality: Float[Tensor, "b 1 h8 w8"]
    kernels: Float[Tensor, "b p h8 w8"]
    basis: Float[Tensor, "b m h4 w4"]
    plane: Float[Tensor, "b 3 h4 w4"]


class PlaneHead(nn.Module):
    """The detection branch, as described at the top of this file.

    Args:
        channels: of the features at a quarter of the picture.
        coarse: channels of the features at an eighth.
        width: channels of the branch.
        classes: how many, "other" among them.
    """

    def __init__(self, channels: int, coarse: int, width: int, classes: int) -> None:
        super().__init__()
        self.tower = nn.Sequential(block(coarse + 5, width), block(width, width))
        self.heat = nn.Conv2d(width, 1, 3, padding=1)
        self.classes = nn.Conv2d(width, classes, 1)
        self.quality = nn.Conv2d(width, 1, 1)
        self.kernels = nn.Conv2d(width, PARAMETERS, 1)
        self.basis = nn.Sequential(block(channels + 3, width // 2), nn.Conv2d(width // 2, BASIS, 1))
        nn.init.constant_(self.heat.bias, -4.0)  # pyright: ignore[reportArgumentType]
        nn.init.normal_(self.kernels.weight, std=0.02)

    def forward(
        self, s4: Float[Tensor, "b c h4 w4"], s8: Float[Tensor, "b d h8 w8"], plane: Float[Tensor, "b 3 h w"]
    ) -> HeadOutput:
        """Logits for every place.

        Args:
            s4: features of the reference picture at a quarter of its size.
            s8: features at an eighth.
            plane: pixel planes at full size; no gradient goes back to them.
        """
        fine = functional.adaptive_avg_pool2d(plane.detach(), (s4.shape[-2], s4.shape[-1]))
        coarse = functional.adaptive_avg_pool2d(plane.detach(), (s8.shape[-2], s8.shape[-1]))
        v, u = _axes(s8)
        x = self.tower(torch.cat([s8, coarse, u, v], 1))
        basis = self.basis(torch.cat([s4, fine], 1))
        return HeadOutput(self.heat(x), self.classes(x), self.quality(x), self.kernels(x), basis, fine)


def _axes(like: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns, −1..1, as channels."""
    b, _, h, w = like.shape
    v = torch.linspace(-1, 1, h, device=like.device, dtype=like.dtype).view(1, 1, h, 1).expand(b, 1, h, w)
    u = torch.linspace(-1, 1, w, device=like.device, dtype=like.dtype).view(1, 1, 1, w).expand(b, 1, h, w)
    return v, u


def masks(
    output: HeadOutput, owner: Int64[Tensor, " n"], row: Int64[Tensor, " n"], column: Int64[Tensor, " n"]
) -> Float[Tensor, "n h4 w4"]:
    """Mask logits of the instances whose centre is at these places.

    Args:
        output: of the detection branch, for a batch.
        owner: number of each instance's picture.
        row: of its centre, at an eighth of the picture.
        column: of its centre.
    """
    h, w = output.basis.shape[-2:]
    tall, wide = output.heat.shape[-2:]
    dtype, device = output.basis.dtype, output.basis.device
    v = (torch.arange(h, device=device, dtype=dtype) + 0.5) / h
    u = (torch.arange(w, device=device, dtype=dtype) + 0.5) / w
    down = (v[None, :] - ((row + 0.5) / tall)[:, None].to(dtype))[:, :, None].expand(-1, h, w)
    right = (u[None, :] - ((column + 0.5) / wide)[:, None].to(dtype))[:, None, :].expand(-1, h, w)
    middle_row = ((row + 0.5) * (h / tall)).long().clamp(0, h - 1)
    middle_column = ((column + 0.5) * (w / wide)).long().clamp(0, w - 1)
    apart = output.plane[owner] - output.plane[owner, :, middle_row, middle_column][:, :, None, None]
    x = torch.cat([output.basis[owner], 2 * down[:, None], 2 * right[:, None], apart.clamp(-2, 2)], 1)
    weights = output.kernels[owner, :, row, column]
    first, bias, second, last = weights.split([INPUTS * HIDDEN, HIDDEN, HIDDEN, 1], 1)
    hidden = torch.bmm(first.view(-1, HIDDEN, INPUTS), x.flatten(2)) + bias[:, :, None]
    return (torch.bmm(second[:, None], hidden.relu())[:, 0] + last).view(-1, h, w)


class Detections(NamedTuple):
    """Planes of one picture, the highest score first.

    Attributes:
        score: geometric mean of the probability of the centre and the expected IoU of the mask, 0..1.
        label: place in PLANEMVS_NAMES.
        mask: probability at a quarter of the picture.
    """

    score: Float[Tensor, " n"]
    label: Int64[Tensor, " n"]
    mask: Float[Tensor, "n h4 w4"]


@torch.no_grad()
def detect(
    output: HeadOutput,
    picture: int,
    *,
    max_planes: int,
    score_threshold: float,
    min_area: float,
    max_iou: float = 0.5,
) -> Detections:
    """The peaks of a picture's heat map, without those that are small, have a low score or repeat another one.

    Args:
        output: of the detection branch, for a batch.
        picture: which picture of the batch.
        max_planes: most planes that are kept.
        score_threshold: lowest score, 0..1.
        min_area: smallest mask, as a share of the picture.
        max_iou: of two masks with a higher IoU the one with the higher score is kept.
    """
    heat = output.heat[picture, 0].sigmoid()
    # A peak is a place that no neighbour exceeds; of equal neighbours the first counts by the masks' overlap below.
    peak = heat == functional.max_pool2d(heat[None, None], 3, 1, 1)[0, 0]
    score, place = (heat * peak).flatten().topk(min(4 * max_planes, heat.numel()))
    place = place[score > score_threshold * score_threshold]
    row, column = place // heat.shape[1], place % heat.shape[1]
    owner = torch.full_like(row, picture)
    mask = masks(output, owner, row, column).sigmoid()
    quality = output.quality[picture, 0, row, column].sigmoid()
    score = (score[: len(place)] * quality).sqrt()
    label = output.classes[picture, :, row, column].argmax(0)
    solid = mask > 0.5
    area = solid.flatten(1).sum(1)
    kept: list[int] = []
    for i in score.argsort(descending=True, stable=True).tolist():
        if score[i] < score_threshold or area[i] < min_area * solid[0].numel() or len(kept) == max_planes:
            continue
        shared = [(solid[i] & solid[j]).sum() / (solid[i] | solid[j]).sum().clamp_min(1) for j in kept]
        if all(value <= max_iou for value in shared):
            kept.append(i)
    index = torch.tensor(kept, dtype=torch.long, device=heat.device)
    return Detections(score[index], label[index], mask[index])
