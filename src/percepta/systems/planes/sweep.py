"""The slanted plane sweep: source features carried onto the reference picture by one homography a hypothesis.

A plane p = n/d carries reference pixels x to the source by H = K_s (R − t pᵀ) K_r⁻¹ (PlaneMVS, equation 2). Applied to
a pixel this is K_s R K_r⁻¹ x + w K_s t with w = −p·K_r⁻¹x, the plane's inverse depth there: all hypotheses share
the first term, and each costs one number a pixel instead of a matrix. What is warped is used up piece by piece, so
that the memory does not grow with the number of hypotheses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from percepta.geometry.camera import plane_inverse_depth

CLOSEST_M = 1 / 3  # of the levels of `facing`
BEHIND = -1.0  # the worst correlation


def hypotheses(counts: Sequence[int], ranges: Sequence[Sequence[float]], fronto: bool = False) -> Float[Tensor, "n 3"]:
    """Planes p = n/d on a regular grid, z changing fastest.

    Args:
        counts: how many values x, y and z have.
        ranges: lowest and highest value of each, 1/m.
        fronto: give as many planes, but all facing the camera.
    """
    if fronto:
        # At least as fine as the slanted grid along z, and only where the plane is in front of the camera.
        return _along_z(torch.linspace(ranges[2][0], min(ranges[2][1], -0.1), counts[0] * counts[1] * counts[2]))
    axes = [torch.linspace(low, high, count) for count, (low, high) in zip(counts, ranges, strict=True)]
    return torch.cartesian_prod(*axes)


def _along_z(z: Float[Tensor, " n"]) -> Float[Tensor, "n 3"]:
    return torch.stack([torch.zeros_like(z), torch.zeros_like(z), z], 1)


def rays(matrix: Float[Tensor, "b 3 3"], height: int, width: int) -> Float[Tensor, "b 3 h w"]:
    """K⁻¹(u, v, 1) of every pixel.

    Args:
        matrix: K.
        height: in pixels.
        width: in pixels.
    """
    pixels = _pixels(matrix, height, width)
    return (torch.linalg.inv(matrix) @ pixels).unflatten(2, (height, width))


def _pixels(like: Tensor, height: int, width: int) -> Float[Tensor, "3 n"]:
    v, u = torch.meshgrid(
        torch.arange(height, device=like.device, dtype=like.dtype),
        torch.arange(width, device=like.device, dtype=like.dtype),
        indexing="ij",
    )
    return torch.stack([u, v, torch.ones_like(u)]).flatten(1)


def scaled(matrix: Float[Tensor, "*b 3 3"], by: float) -> Float[Tensor, "*b 3 3"]:
    """K of pictures `by` times as large: u' = (u + ½)·by − ½."""
    scale = matrix.new_tensor([[by, 0, (by - 1) / 2], [0, by, (by - 1) / 2], [0, 0, 1]])
    return scale @ matrix


class Carrier(NamedTuple):
    """Where reference pixels go: to base + inverse depth · shift, in homogeneous source pixels.

    Attributes:
        base: of points at infinity.
        shift: by an inverse depth of 1/m.
        rays: K⁻¹(u, v, 1) of the reference pixels.
    """

    base: Float[Tensor, "b 3 h w"]
    shift: Float[Tensor, "b 3"]
    rays: Float[Tensor, "b 3 h w"]


def carrier(
    reference_matrix: Float[Tensor, "b 3 3"],
    source_matrix: Float[Tensor, "b 3 3"],
    source_from_reference: Float[Tensor, "b 4 4"],
    height: int,
    width: int,
) -> Carrier:
    """What all hypotheses share.

    Args:
        reference_matrix: K of the reference's feature map.
        source_matrix: K of the source's feature map.
        source_from_reference: relative pose, metres.
        height: of the reference's feature map.
        width: of the reference's feature map.
    """
    sight = rays(reference_matrix, height, width)
    turned = source_matrix @ source_from_reference[:, :3, :3] @ sight.flatten(2)
    shift = (source_matrix @ source_from_reference[:, :3, 3:])[:, :, 0]
    return Carrier(turned.unflatten(2, (height, width)), shift, sight)


def places(way: Carrier, planes: Float[Tensor, "n 3"]) -> Float[Tensor, "b n h w 2"]:
    """Source pixels of every reference pixel by every plane; far outside where they fall behind the source camera."""
    inverse = plane_inverse_depth(planes[None, :, None, None], way.rays.permute(0, 2, 3, 1)[:, None])
    at = way.base[:, :, None] + inverse[:, None] * way.shift[:, :, None, None, None]
    depth = at[:, 2]
    ahead = depth > 1e-4
    safe = depth.where(ahead, torch.ones_like(depth))
    return torch.stack([(at[:, i] / safe).where(ahead, depth.new_tensor(-1e4)) for i in (0, 1)], -1)


def sample(features: Float[Tensor, "b c hs ws"], at: Float[Tensor, "b n h w 2"]) -> Float[Tensor, "b c n h w"]:
    """Bilinear values at pixels; 0 outside. All hypotheses lie in one call's grid, one below the other."""
    b, n, h, w, _ = at.shape
    size = at.new_tensor([features.shape[3] - 1, features.shape[2] - 1])
    grid = (at * (2 / size) - 1).view(b, n * h, w, 2)
    return functional.grid_sample(features, grid, "bilinear", "zeros", align_corners=True).unflatten(2, (n, h))


def warp(
    features: Float[Tensor, "b c hs ws"], way: Carrier, planes: Float[Tensor, "n 3"]
) -> tuple[Float[Tensor, "b c n h w"], Float[Tensor, "b 1 n h w"]]:
    """Features carried onto the reference picture by every plane, and which of their pixels lie in the source.

    Args:
        features: of the source picture.
        way: from the reference to the source picture.
        planes: hypotheses p with p·X = 1.
    """
    at = places(way, planes)
    inside = ((at >= 0) & (at <= planes.new_tensor([features.shape[3] - 1, features.shape[2] - 1]))).all(-1)
    return sample(features, at), inside[:, None].to(features.dtype)


def costs(
    reference: Float[Tensor, "b c h w"],
    sources: Sequence[Float[Tensor, "b c hs ws"]],
    ways: Sequence[Carrier],
    planes: Float[Tensor, "n 3"],
    chunk: int,
    groups: int | None,
    visible_only: bool = True,
    pooled: int = 1,
) -> Iterator[Float[Tensor, "b k m hp wp"]]:
    """The cost volume, piece by piece.

    Warped features are many times as large as the costs, and one piece of them is there at a time. Where gradients are
    wanted they are made again for these instead of being kept: less memory, and faster, as a piece fits into the cache.

    Args:
        reference: features of the reference picture.
        sources: features of each source picture.
        ways: where the reference's pixels go in each source picture.
        planes: hypotheses p = n/d, 1/m.
        chunk: hypotheses of a piece.
        groups: the volume has the mean of products in so many groups; None: the warped and the reference's channels.
        visible_only: average over the source pictures that see a hypothesis; else over all of them.
        pooled: average over so many places in each direction.
    """

    def piece(part: Tensor, own: Tensor, *others: Tensor) -> Tensor:
        pairs = [warp(f, way, part) for f, way in zip(others, ways, strict=True)]
        own = own[:, :, None]
        if groups is not None:  # products first: they have fewer channels than what is warped, and are as linear
            own = (own * (groups / own.shape[1])).unflatten(1, (groups, -1))
            pairs = [((warped.unflatten(1, (groups, -1)) * own).sum(2), inside) for warped, inside in pairs]
        if visible_only:
            total = torch.stack([costs * inside for costs, inside in pairs]).sum(0)
            if len(pairs) > 1:  # with one source the number is 1, or the sum is 0
                total = total / torch.stack([inside for _, inside in pairs]).sum(0).clamp_min(1)
        else:
            total = torch.stack([costs for costs, _ in pairs]).mean(0)
        volume = torch.cat([total, own.expand_as(total)], 1) if groups is None else total
        return functional.avg_pool3d(volume, (1, pooled, pooled)) if pooled > 1 else volume

    for part in planes.split(chunk):
        if torch.is_grad_enabled():
            yield cast(Tensor, checkpoint(piece, part, reference, *sources, use_reentrant=False))
        else:
            yield piece(part, reference, *sources)


def facing(count: int, like: Float[Tensor, "..."]) -> Float[Tensor, "n 3"]:
    """Planes that face the camera at evenly spaced inverse depths, from infinity to CLOSEST_M."""
    return _along_z(-torch.linspace(0, 1 / CLOSEST_M, count, device=like.device, dtype=like.dtype))


def read(volume: Float[Tensor, "b k d h w"], inverse: Float[Tensor, "b n h w"]) -> Float[Tensor, "b k n h w"]:
    """What a volume of costs at `facing` planes holds at any inverse depth (1/m), linear between its levels.

    Along one sight line all hypotheses with one inverse depth compare the same two places. Beyond the outermost levels
    these count.
    """
    last = volume.shape[2] - 1
    at = (inverse * (CLOSEST_M * last)).clamp(0, last)
    low = at.detach().floor().clamp(max=last - 1)
    index = low.long()[:, None].expand(-1, volume.shape[1], -1, -1, -1)
    below, above = volume.gather(2, index), volume.gather(2, index + 1)
    return below + (above - below) * (at - low)[:, None]


def hypothesis_costs(
    volume: Float[Tensor, "b k d h w"], planes: Float[Tensor, "n 3"], sight: Float[Tensor, "b 3 h2 w2"]
) -> Float[Tensor, "b k n h2 w2"]:
    """What slanted hypotheses cost, read off a volume of twice their size, averaged over 2 × 2 places.

    Args:
        volume: costs at `facing` planes.
        planes: hypotheses p = n/d, 1/m.
        sight: K⁻¹(u, v, 1) of the places. A plane that a sight line meets only behind the camera costs BEHIND.
    """
    inverse = plane_inverse_depth(planes[None, :, None, None], sight.permute(0, 2, 3, 1)[:, None])
    found = read(functional.avg_pool3d(volume, (1, 2, 2)), inverse)
    return found.where(inverse[:, None] > 0, found.new_tensor(BEHIND))


def parallax(way: Carrier) -> Float[Tensor, "b 1 h w"]:
    """How many source pixels a reference pixel moves when its inverse depth grows from 0 to 1 / (2 m), times two.

    It tells how much matching can say: a tenth of a pixel is a large or a small step in depth.
    """
    far, near = way.base, way.base + 0.5 * way.shift[:, :, None, None]
    at = [point[:, :2] / point[:, 2:].clamp_min(1e-2) for point in (far, near)]
    return 2 * (at[1] - at[0]).norm(dim=1, keepdim=True)


def soft_argmin(
    score: Float[Tensor, "b n h w"], planes: Float[Tensor, "n 3"]
) -> tuple[Float[Tensor, "b 3 h w"], Float[Tensor, "b 1 h w"]]:
    """The mean plane under softmax(score), and the highest probability (PlaneMVS, equation 4)."""
    probability = score.softmax(1)
    mean = torch.einsum("bnhw,nc->bchw", probability, planes.to(score.dtype))
    return mean, probability.amax(1, keepdim=True)


def convex_upsample(
    values: Float[Tensor, "b c h w"], weights: Float[Tensor, "b k h w"], by: int = 8
) -> Float[Tensor, "b c hb wb"]:
    """Each fine pixel is a convex combination of the 3 × 3 coarse ones around (RAFT, Teed & Deng 2020, section 3.3).

    Args:
        values: at the coarse places.
        by: how many times as large the result is.
        weights: logits, 9·by² channels. Beyond the border the outermost values repeat, so that constants stay.
    """
    b, c, h, w = values.shape
    share = weights.view(b, 1, 9, by, by, h, w).softmax(2)
    around = functional.unfold(functional.pad(values, (1, 1, 1, 1), mode="replicate"), 3).view(b, c, 9, 1, 1, h, w)
    return (share * around).sum(2).permute(0, 1, 4, 2, 5, 3).reshape(b, c, h * by, w * by)


def depth_of(
    plane: Float[Tensor, "b 3 h w"], sight: Float[Tensor, "b 3 h w"], min_depth_m: float, max_depth_m: float
) -> Float[Tensor, "b h w"]:
    """Depth of pixel planes.

    Args:
        plane: p = n/d, 1/m.
        sight: K⁻¹(u, v, 1) of the pixels.
        min_depth_m: depth is never less.
        max_depth_m: depth is never more; it is this, too, where a ray does not meet its plane.

    Returns:
        Metres.
    """
    return 1 / -(plane * sight).sum(1).clamp(-1 / min_depth_m, -1 / max_depth_m)
