"""Eight attributes of a picture that are computed, not judged: they stand in where nobody labelled any."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

ATTRIBUTES = (
    "brightness",
    "contrast",
    "colourfulness",
    "warmth",
    "sharpness",
    "detail",
    "centring",
    "symmetry",
)


def attributes(images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 8"]:
    """Attributes of RGB pictures 0..1 of at least 8 × 8 pixels, in the order of `ATTRIBUTES`.

    brightness: mean luminance (Rec. 709), 0..1. contrast: its standard deviation, 0..0.5. colourfulness: of Hasler and
    Süsstrunk (2003), 0 for grey, about 0.4 for the most colourful. warmth: mean of red minus blue, −1..1. sharpness and
    detail: logarithms of the mean absolute Laplacian and gradient of the luminance. centring: the gradient's share in
    the middle quarter of the picture, 0..1. symmetry: one minus the mean difference to the mirrored picture, 0..1.
    """
    red, green, blue = images.unbind(1)
    light = luminance(images)
    red_green, yellow_blue = red - green, 0.5 * (red + green) - blue
    spread = _length(_deviation(red_green), _deviation(yellow_blue))
    colour = spread + 0.3 * _length(red_green.mean((1, 2)), yellow_blue.mean((1, 2)))
    middle = light[:, 1:-1, 1:-1]
    around = light[:, :-2, 1:-1] + light[:, 2:, 1:-1] + light[:, 1:-1, :-2] + light[:, 1:-1, 2:]
    laplacian = (4 * middle - around).abs().mean((1, 2))
    gradient = light.diff(dim=2)[:, :-1].abs() + light.diff(dim=1)[:, :, :-1].abs()
    height, width = gradient.shape[1:]
    centre = gradient[:, height // 4 : height - height // 4, width // 4 : width - width // 4].sum((1, 2))
    return torch.stack(
        [
            light.mean((1, 2)),
            _deviation(light),
            colour,
            (red - blue).mean((1, 2)),
            (laplacian + 1e-4).log(),
            (gradient.mean((1, 2)) + 1e-4).log(),
            centre / gradient.sum((1, 2)).clamp_min(1e-6),
            1 - (light - light.flip(2)).abs().mean((1, 2)),
        ],
        1,
    )


def luminance(images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b h w"]:
    """Rec. 709 luminance of RGB 0..1."""
    weights = images.new_tensor([0.2126, 0.7152, 0.0722])
    return torch.einsum("bchw,c->bhw", images, weights)


def _deviation(values: Float[Tensor, "b h w"]) -> Float[Tensor, " b"]:
    return (values - values.mean((1, 2), keepdim=True)).square().mean((1, 2)).sqrt()  # twice as fast as std


def _length(a: Float[Tensor, " b"], b: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """torch.hypot, which has no ONNX operator."""
    return (a.square() + b.square()).sqrt()
