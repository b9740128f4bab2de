"""How alike two pictures are: PSNR, SSIM (Wang et al., 2004) and Lite0 distance, of the part inside a mask where one is
given, and flicker."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.ndimage import gaussian_filter
from torch.nn import functional

from percepta.nn.efficientnet import EfficientNetLite0

_BORDER_PX = 8  # around what is inside, where pictures are seen by a network


def psnr(
    picture: Float[np.ndarray, "h w c"],
    truth: Float[np.ndarray, "h w c"],
    inside: Bool[np.ndarray, "h w"] | None = None,
) -> float:
    """Peak signal-to-noise ratio in dB of values 0..1; infinite where nothing differs, NaN where nothing is inside.

    Args:
        picture: what was made.
        truth: what should have come out.
        inside: the pixels that count; None: all.
    """
    square = (picture.astype(np.float64) - truth) ** 2
    chosen = square if inside is None else square[inside]
    if not chosen.size:
        return math.nan
    error = float(chosen.mean())
    return math.inf if error == 0 else -10 * math.log10(error)


def ssim(
    picture: Float[np.ndarray, "h w c"],
    truth: Float[np.ndarray, "h w c"],
    inside: Bool[np.ndarray, "h w"] | None = None,
) -> float:
    """Structural similarity of values 0..1: Gaussian windows of σ = 1.5 px (11×11), K = .01 and .03, mean over
    channels.

    Args:
        picture: what was made.
        truth: what should have come out.
        inside: the pixels whose windows count; None: all that have a whole window.
    """
    a, b = picture.astype(np.float64), truth.astype(np.float64)

    def smooth(x: np.ndarray) -> np.ndarray:
        return gaussian_filter(x, (1.5, 1.5, 0), truncate=3.5, mode="reflect")

    mean_a, mean_b = smooth(a), smooth(b)
    var_a, var_b = smooth(a * a) - mean_a**2, smooth(b * b) - mean_b**2
    both = smooth(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    value = (2 * mean_a * mean_b + c1) * (2 * both + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    value = value.mean(-1)
    chosen = value[5:-5, 5:-5] if inside is None else value[inside]
    return float(chosen.mean()) if chosen.size else math.nan


def flicker(
    first: Float[np.ndarray, "h w c"],
    second: Float[np.ndarray, "h w c"],
    true_first: Float[np.ndarray, "h w c"],
    true_second: Float[np.ndarray, "h w c"],
    inside: Bool[np.ndarray, "h w"],
) -> float:
    """How wrongly two frames that follow each other change: mean |Δpicture − Δtruth| inside a mask, 0..1.

    Args:
        first, second: what was made.
        true_first, true_second: what should have come out.
        inside: the pixels that count.
    """
    wrong = np.abs((second - first) - (true_second - true_first))
    return float(wrong[inside].mean()) if inside.any() else math.nan


@torch.no_grad()
def lite0_distance(
    encoder: EfficientNetLite0,
    picture: Float[np.ndarray, "h w 3"],
    truth: Float[np.ndarray, "h w 3"],
    inside: Bool[np.ndarray, "h w"] | None = None,
) -> float:
    """Lite0 distance: how differently two pictures look to a frozen EfficientNet-Lite0; smaller is better.

        d = 1/4 Σ_s 1/n_s Σ_p ½ |u_s(picture, p) − u_s(truth, p)|²

    u_s(·, p) is the feature vector at place p of the map of stride s = 4, 8, 16, 32 (24, 40, 112, 320 channels),
    divided by its length, and n_s the number of places; a term is 1 − cos of the angle between the two. From 0 for
    equal pictures to 2; symmetric. It is equation 1 of Zhang et al. (The Unreasonable Effectiveness of Deep Features as
    a Perceptual Metric, CVPR 2018) with another network, equal weights for all channels in the place of learned ones,
    and the mean over the maps. So its values must not be compared with those that others publish for that metric.

    Args:
        encoder: with its ImageNet weights, in eval mode.
        picture: what was made, RGB 0..1.
        truth: what should have come out.
        inside: only the rectangle around these pixels, and 8 pixels more on each side, is seen; None: all. NaN where
            nothing is inside.
    """
    rows, columns = slice(None), slice(None)
    if inside is not None:
        if not inside.any():
            return math.nan
        rows, columns = (_around(np.asarray(inside.any(axis))) for axis in (1, 0))
    weight = encoder.head.conv.weight
    both = torch.from_numpy(np.stack([picture[rows, columns], truth[rows, columns]])).to(weight)
    maps = encoder(both.permute(0, 3, 1, 2).contiguous().clamp(0, 1))[:4]
    apart = [functional.normalize(of_both, dim=1).diff(dim=0).square().sum(1).mean() / 2 for of_both in maps]
    return float(torch.stack(apart).mean())


def _around(chosen: Bool[np.ndarray, " n"]) -> slice:
    """From the first to the last chosen place, with a border."""
    place = np.flatnonzero(chosen)
    return slice(max(int(place[0]) - _BORDER_PX, 0), int(place[-1]) + 1 + _BORDER_PX)
