"""How alike two pictures are: PSNR, SSIM (Wang et al., 2004), both inside a mask where one is given, and flicker."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import gaussian_filter


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
