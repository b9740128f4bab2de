"""A reference picture of nearly the same view in fair weather helps the teacher, as in Refign (Brüggemann et al. 2023).

Features of both pictures are matched, a homography is fitted to the matches (the camera moved little, and what is far
moves by one homography), the teacher's probabilities of the reference are brought to the target's view by it, and
fused with those of the target by confidence. Things move, so where the target or the reference shows things, only the
target counts; where the homography does not fit, too.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

ROUNDS = 100  # of the search for the homography
INLIER = 0.75  # distance of a match that fits, in places of the feature map
LEAST = 12  # matches that have to fit
LEVEL = 1  # of the encoder's maps: an eighth of the picture


def fused(
    target: Float[Tensor, "b k h w"],
    reference: Float[Tensor, "b k h w"],
    pictures: Float[Tensor, "b 3 h w"],
    references: Float[Tensor, "b 3 h w"],
    referenced: Bool[Tensor, " b"],
    encoder: nn.Module,
    static: Bool[Tensor, " k"],
    weight: float,
) -> Float[Tensor, "b k h w"]:
    """Probabilities of target pictures, helped by those of their reference pictures.

    In a pixel where both say a class that does not move and the reference's view reaches, the answer is
    (1 − s) · target + s · reference with s = weight · c_r / (c_r + c_t), c being the highest probability of each.

    Args:
        target: probabilities of the target pictures.
        reference: of the reference pictures, in their own view.
        pictures: target pictures, RGB 0..1, as the encoder takes them.
        references: reference pictures.
        referenced: which of them are there.
        encoder: gives features that are matched.
        static: which classes do not move.
        weight: 0..1.
    """
    out = target.clone()
    here, there = encoder(pictures)[LEVEL], encoder(references)[LEVEL]
    for i in range(len(target)):
        if not bool(referenced[i]):
            continue
        found = homography(here[i], there[i])
        if found is None:
            continue
        moved, inside = warped(reference[i], found, (here.shape[2], here.shape[3]))
        sure_t, class_t = target[i].max(0)
        sure_r, class_r = moved.max(0)
        counts = inside & static[class_t] & static[class_r]
        share = weight * sure_r / (sure_r + sure_t).clamp_min(1e-6) * counts
        out[i] = (1 - share) * target[i] + share * moved
    return out


def matches(
    here: Float[Tensor, "c h w"], there: Float[Tensor, "c h w"]
) -> tuple[Float[Tensor, "m 2"], Float[Tensor, "m 2"]]:
    """Places (x, y) of two feature maps that are each other's nearest by the cosine of centred features."""
    w = here.shape[2]
    a, b = (functional.normalize((x - x.mean((1, 2), keepdim=True)).flatten(1), dim=0) for x in (here, there))
    cosine = a.T @ b
    forth, back = cosine.argmax(1), cosine.argmax(0)
    place = torch.arange(len(forth), device=here.device)
    mutual = back[forth] == place
    first, second = place[mutual], forth[mutual]
    return tuple(torch.stack([one % w, one // w], -1).to(here.dtype) for one in (first, second))  # type: ignore[return-value]


def homography(here: Float[Tensor, "c h w"], there: Float[Tensor, "c h w"]) -> Float[Tensor, "3 3"] | None:
    """The homography from places (x, y, 1) of `here` to those of `there`; None where none fits LEAST matches.

    RANSAC over four matches at a time with draws of its own seed, then least squares over those that fit.
    """
    a, b = matches(here, there)
    if len(a) < LEAST:
        return None
    generator = torch.Generator(a.device).manual_seed(0)
    best: Tensor | None = None
    for _ in range(ROUNDS):
        chosen = torch.randperm(len(a), generator=generator, device=a.device)[:4]
        fits = distance(fitted(a[chosen], b[chosen]), a, b) < INLIER
        if best is None or int(fits.sum()) > int(best.sum()):
            best = fits
    if best is None or int(best.sum()) < LEAST:
        return None
    found = fitted(a[best], b[best])
    for _ in range(2):  # by those that fit the better one
        fits = distance(found, a, b) < INLIER
        if int(fits.sum()) < LEAST:
            return None
        found = fitted(a[fits], b[fits])
    return found


def fitted(a: Float[Tensor, "m 2"], b: Float[Tensor, "m 2"]) -> Float[Tensor, "3 3"]:
    """The homography of four or more matches by the direct linear transform, in normalised coordinates."""
    t, u = (_normaliser(one) for one in (a, b))
    p, q = (_homogeneous(one) @ norm.T for one, norm in ((a, t), (b, u)))
    zero = torch.zeros_like(p)
    rows = torch.cat([torch.cat([p, zero, -q[:, :1] * p], 1), torch.cat([zero, p, -q[:, 1:2] * p], 1)])
    _, _, v = torch.linalg.svd(rows.double(), full_matrices=True)
    found = torch.linalg.inv(u.double()) @ v[-1].view(3, 3) @ t.double()
    return (found / found[2, 2]).to(a.dtype)


def distance(h: Float[Tensor, "3 3"], a: Float[Tensor, "m 2"], b: Float[Tensor, "m 2"]) -> Float[Tensor, " m"]:
    """How far a homography carries each place from its match.

    Args:
        h: from places of `a` to those of `b`.
        a: places (x, y).
        b: their matches.
    """
    moved = _homogeneous(a) @ h.T
    where = moved[:, :2] / torch.where(moved[:, 2:].abs() < 1e-8, 1e-8, moved[:, 2:])
    return (where - b).norm(dim=1)


def warped(
    values: Float[Tensor, "k h w"], h: Float[Tensor, "3 3"], places: tuple[int, int]
) -> tuple[Float[Tensor, "k h w"], Bool[Tensor, "h w"]]:
    """Values of the reference's view seen from the target, and where that view reaches.

    Args:
        values: at the size of pictures.
        h: from places of the target's feature map to those of the reference's.
        places: height and width of the feature maps.
    """
    height, width = values.shape[1:]
    y, x = torch.meshgrid(
        torch.arange(height, device=values.device, dtype=values.dtype),
        torch.arange(width, device=values.device, dtype=values.dtype), indexing="ij",
    )  # fmt: skip
    step_y, step_x = height / places[0], width / places[1]
    grid = torch.stack([(x + 0.5) / step_x - 0.5, (y + 0.5) / step_y - 0.5, torch.ones_like(x)], -1)
    moved = grid @ h.T
    ahead = moved[..., 2] > 1e-6
    where = moved[..., :2] / moved[..., 2:].clamp_min(1e-6)
    scale = where.new_tensor([2 / places[1], 2 / places[0]])
    sample = (where + 0.5) * scale - 1
    out = functional.grid_sample(values[None], sample[None], align_corners=False)[0]
    return out, ahead & (sample.abs() <= 1).all(-1)


def _homogeneous(a: Float[Tensor, "m 2"]) -> Float[Tensor, "m 3"]:
    return torch.cat([a, torch.ones_like(a[:, :1])], 1)


def _normaliser(a: Float[Tensor, "m 2"]) -> Float[Tensor, "3 3"]:
    """Moves the mean to 0 and the mean distance to √2."""
    mean = a.mean(0)
    scale = math.sqrt(2) / (a - mean).norm(dim=1).mean().clamp_min(1e-6)
    out = torch.diag(torch.stack([scale, scale, torch.ones_like(scale)]))
    out[:2, 2] = -scale * mean
    return out
