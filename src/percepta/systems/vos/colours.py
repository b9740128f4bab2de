"""What is inside a box, by its colours: a random walker between two mixtures of Gaussians.

GrabCut (Rother et al., SIGGRAPH 2004) with a random walk (Grady, PAMI 2006; with priors: Grady, CVPR 2005) in the place
of a cut: colours of the object and of what surrounds it are modelled by turns, and every pixel gets the probability
that a walk from it ends in the object. Walks rarely cross an edge between colours; what lies outside the box is never
the object.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, UInt8
from PIL import Image
from scipy import sparse
from scipy.sparse.linalg import cg
from scipy.special import expit

LONG_SIDE = 200  # pixels of the picture in which is walked
TURNS = 4  # colours are modelled so often
GAUSSIANS = 5  # of each mixture
PRIOR = 0.2  # how much the colour of a pixel counts against walks to its neighbours
MOST_SURE = 6.0  # bound of the log of how much likelier a colour is on one side
AROUND = 0.4  # the surroundings reach so far beyond the box, in shares of its sides
FEWEST = 20  # pixels that a mixture is fitted to


def inside_box(
    picture: UInt8[np.ndarray, "h w 3"], box: tuple[float | int, float | int, float | int, float | int]
) -> Bool[np.ndarray, "h w"]:
    """The mask of the object in a box; inside the box only.

    Args:
        picture: RGB.
        box: left, top, width and height in pixels, with a pixel of the picture in it.
    """
    height, width = picture.shape[:2]
    share = min(1.0, LONG_SIDE / max(height, width))
    size = max(2, round(width * share)), max(2, round(height * share))
    small = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))
    x = (np.arange(size[0]) + 0.5) * width / size[0] - 0.5
    y = (np.arange(size[1]) + 0.5) * height / size[1] - 0.5
    left, top, across, down = box
    inside = _within(x, y, box)
    start = inside & _ellipse(x, y, box)
    wide = (left - AROUND * across, top - AROUND * down, (1 + 2 * AROUND) * across, (1 + 2 * AROUND) * down)
    share_inside = _walked(_colours(small), start, inside, _within(x, y, wide))
    whole = Image.fromarray(share_inside.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    here = _within(np.arange(width), np.arange(height), box)
    found = (np.asarray(whole) > 0.5) & here
    return found if found.any() else here


def _within(
    x: np.ndarray, y: np.ndarray, box: tuple[float | int, float | int, float | int, float | int]
) -> Bool[np.ndarray, "h w"]:
    left, top, across, down = box
    return ((y >= top) & (y < top + down))[:, None] & ((x >= left) & (x < left + across))


def _ellipse(
    x: np.ndarray, y: np.ndarray, box: tuple[float | int, float | int, float | int, float | int]
) -> Bool[np.ndarray, "h w"]:
    """Within the ellipse that touches the box's sides; the middle of its first pixel is at (left, top)."""
    left, top, across, down = box
    right_of_middle, below_middle = x - left - (across - 1) / 2, y - top - (down - 1) / 2
    return ((2 * right_of_middle / across) ** 2)[None] + ((2 * below_middle / down) ** 2)[:, None] <= 1


def _colours(picture: UInt8[np.ndarray, "h w 3"]) -> Float64[np.ndarray, "h w 3"]:
    """Brightness, and red and blue less it, 0..1."""
    rgb = picture / 255.0
    grey = rgb @ np.array([0.299, 0.587, 0.114])
    return np.stack([grey, rgb[..., 0] - grey, rgb[..., 2] - grey], -1)


def _walked(
    colours: Float64[np.ndarray, "h w 3"],
    start: Bool[np.ndarray, "h w"],
    inside: Bool[np.ndarray, "h w"],
    around: Bool[np.ndarray, "h w"],
) -> Float64[np.ndarray, "h w"]:
    """The probability of each pixel that its walk ends in the object; 0 outside.

    Args:
        colours: of the pixels.
        start: what is taken for the object at first.
        inside: where it can be.
        around: what it is told apart from.
    """
    flat, free = colours.reshape(-1, 3), inside.ravel()
    links = _links(colours)
    degree: Float64[np.ndarray, " n"] = np.asarray(links @ np.ones(len(flat)))
    rng = np.random.default_rng(0)
    share = start.ravel().astype(np.float64)
    for _ in range(TURNS):
        own = share > 0.5
        other = ~own & around.ravel()
        if own.sum() < FEWEST or other.sum() < FEWEST:
            break
        sure = Mixture.fitted(flat[own], rng).log(flat) - Mixture.fitted(flat[other], rng).log(flat)
        prior = expit(np.clip(sure, -MOST_SURE, MOST_SURE))
        diagonal = (degree + PRIOR)[free]
        system = sparse.diags_array(diagonal) - links[free][:, free]
        found, _ = cg(
            system, PRIOR * prior[free], share[free], rtol=1e-3, maxiter=150, M=sparse.diags_array(1 / diagonal)
        )
        share = np.zeros(len(flat))
        share[free] = found
    return share.reshape(inside.shape)


def _links(colours: Float64[np.ndarray, "h w 3"]) -> sparse.csr_array:
    """How easily a walk goes from a pixel to each of its eight neighbours: exp(−gap² / (2 · mean gap²)) / distance."""
    height, width = colours.shape[:2]
    number = np.arange(height * width).reshape(height, width)
    pairs = (
        (number[:, :-1], number[:, 1:], 1.0), (number[:-1], number[1:], 1.0),
        (number[:-1, :-1], number[1:, 1:], 2**0.5), (number[:-1, 1:], number[1:, :-1], 2**0.5),
    )  # fmt: skip
    one = np.concatenate([first.ravel() for first, _, _ in pairs])
    other = np.concatenate([second.ravel() for _, second, _ in pairs])
    far = np.concatenate([np.full(first.size, distance) for first, _, distance in pairs])
    flat = colours.reshape(-1, 3)
    gap = ((flat[one] - flat[other]) ** 2).sum(1)
    weight = np.exp(-0.5 * gap / max(float(gap.mean()), 1e-6)) / far
    both = np.r_[one, other], np.r_[other, one]
    return sparse.coo_array((np.r_[weight, weight], both), shape=(len(flat), len(flat))).tocsr()


@dataclass(frozen=True)
class Mixture:
    """A mixture of Gaussians of colours.

    Attributes:
        share: of each, they add up to 1.
        mean: of each.
        precision: the inverse of each covariance.
        log_size: the logarithm of its determinant.
    """

    share: Float64[np.ndarray, " k"]
    mean: Float64[np.ndarray, "k 3"]
    precision: Float64[np.ndarray, "k 3 3"]
    log_size: Float64[np.ndarray, " k"]

    @classmethod
    def fitted(cls, values: Float[np.ndarray, "n 3"], rng: np.random.Generator) -> Mixture:
        """By k-means, and the covariance of each cluster."""
        middle = values[rng.choice(len(values), min(GAUSSIANS, len(values)), replace=False)]
        own: Int[np.ndarray, " n"] = np.zeros(len(values), np.int64)
        for _ in range(6):
            own = ((values[:, None] - middle) ** 2).sum(-1).argmin(1)
            middle = np.stack([values[own == k].mean(0) if (own == k).any() else middle[k] for k in range(len(middle))])
        count = np.bincount(own, minlength=len(middle))
        kept = np.flatnonzero(count >= min(5, count.max()))
        spread = np.stack([np.cov(values[own == k].T, bias=True) + 2e-4 * np.eye(3) for k in kept])
        return cls(count[kept] / count[kept].sum(), middle[kept], np.linalg.inv(spread), np.linalg.slogdet(spread)[1])

    def log(self, values: Float[np.ndarray, "n 3"]) -> Float64[np.ndarray, " n"]:
        """The logarithm of the density at each colour, up to a constant."""
        away = values[:, None] - self.mean
        each = np.log(self.share) - 0.5 * (np.einsum("nki,kij,nkj->nk", away, self.precision, away) + self.log_size)
        return np.logaddexp.reduce(each, axis=1)
