"""Probabilities of a whole picture; a big one is looked at in windows that overlap, so that memory stays bounded."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from percepta.systems.weather.model import Network, enlarged, exposure_power

WINDOW = (512, 768)  # height and width of a window, pixels
OVERLAP = 96  # pixels that two windows share at least
LARGEST = 640 * 960  # pixels of a picture that is looked at whole


def probabilities(model: Network, picture: Float[Tensor, "3 h w"]) -> Float[Tensor, "k h w"]:
    """Of each class in each pixel, on the model's device.

    A picture of more than LARGEST pixels goes through in windows; where they overlap their probabilities are averaged,
    each weighed by the distance to its window's border. All windows are brought to one exposure, that of the picture.

    Args:
        model: in eval mode.
        picture: RGB in 0..1.
    """
    weight = next(model.parameters())
    seen = picture.to(weight.device, weight.dtype)[None]
    h, w = picture.shape[1:]
    if h * w <= LARGEST:
        return enlarged(model.look(seen), (h, w)).softmax(1)[0].float()
    power = exposure_power(seen, model.config.exposure)
    total: Tensor | None = None
    shares = seen.new_zeros(h, w)
    for top in starts(h, WINDOW[0]):
        for left in starts(w, WINDOW[1]):
            part = seen[:, :, top : top + WINDOW[0], left : left + WINDOW[1]]
            inside = part.shape[2:]
            answer = enlarged(model.look(part, power), inside).softmax(1)[0]
            share = ramp(inside[0], weight)[:, None] * ramp(inside[1], weight)
            if total is None:
                total = answer.new_zeros(len(answer), h, w)
            total[:, top : top + inside[0], left : left + inside[1]] += answer * share
            shares[top : top + inside[0], left : left + inside[1]] += share
    assert total is not None
    return total.div_(shares).float()


def starts(side: int, window: int) -> list[int]:
    """Where windows begin along a side: evenly, each sharing at least OVERLAP pixels with the next."""
    if side <= window:
        return [0]
    count = -(-(side - OVERLAP) // (window - OVERLAP))
    return [round(place * (side - window) / (count - 1)) for place in range(count)]


def ramp(length: int, like: Tensor) -> Float[Tensor, " n"]:
    """1 in the middle, falling towards 0 over OVERLAP pixels at both ends; never 0."""
    place = torch.arange(length, device=like.device, dtype=like.dtype) + 1
    return torch.minimum(place, place.flip(0)).div(OVERLAP).clamp(max=1)
