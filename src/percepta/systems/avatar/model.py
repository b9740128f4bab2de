"""The network of an avatar: nodes on the body, what moves them, their fields, and rays through them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn
from torch.nn import functional

from percepta.geometry.body import JOINTS, Body, Shape, make_body
from percepta.systems.avatar import Config
from percepta.systems.avatar.field import NodeNetworks, composite, encoding, inside_any, near_nodes, reach, span
from percepta.systems.avatar.latent import Latent, State

_DENSITY = 40.0  # 1/m of a raw density of about 1
_PORTION = 5  # points of a ray that are asked together where it may end early
_OPAQUE = 6.9  # optical depth behind which a thousandth of the light is left


def farthest_points(points: Float64[np.ndarray, "v 3"], count: int) -> np.ndarray:
    """Places of `count` points, each the farthest from those before it; the first is the lowest."""
    chosen = [int(points[:, 2].argmin())]
    distance = np.linalg.norm(points - points[chosen[0]], axis=-1)
    while len(chosen) < min(count, len(points)):
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=-1))
    return np.array(chosen)


def template(config: Config) -> Body:
    """The body whose surface the nodes lie on."""
    body = config.body
    return make_body(Shape(body.height_m, body.girth, body.legs, body.arms, body.shoulders))


@dataclass(frozen=True)
class Nodes:
    """The nodes in some frames.

    Attributes:
        centre: in the world, metres, `b n 3`.
        back: what carries directions and distances from the world to each node's frame, `b n 3 3`.
        state: translations, embeddings and divergence.
    """

    centre: Float[Tensor, "b n 3"]
    back: Float[Tensor, "b n 3 3"]
    state: State


@dataclass(frozen=True)
class Rendered:
    """What rays see.

    Attributes:
        colour: on black, 0..1, `b r 3`.
        alpha: opacity, 0..1, `b r`.
        depth_m: mean distance along the ray, 0 where nothing is met, `b r`.
    """

    colour: Float[Tensor, "b r 3"]
    alpha: Float[Tensor, "b r"]
    depth_m: Float[Tensor, "b r"]


class AvatarNetwork(nn.Module):
    """Structured local radiance fields of one person."""

    node: Tensor
    node_weights: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        body = template(config)
        chosen = farthest_points(body.vertices, config.nodes)
        self.register_buffer("node", torch.tensor(body.vertices[chosen], dtype=torch.float32))
        self.register_buffer("node_weights", torch.tensor(body.weights[chosen], dtype=torch.float32))
        self.latent = Latent(config)
        extra = config.detail_size if config.details else 0
        view = 3 * (1 + 2 * config.view_frequencies) if config.view_frequencies else 0
        if config.fields == "local":
            inputs = 3 * (1 + 2 * config.frequencies) + extra + view
            self.fields = NodeNetworks(config.nodes, inputs, config.hidden, config.layers, 4)
        else:
            width, inputs = config.canonical_width, 3 * (1 + 2 * (config.frequencies + 3)) + extra + view
            self.fields = nn.Sequential(
                nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width),
                nn.ReLU(),
                nn.Linear(width, 4),
            )  # fmt: skip

    @property
    def radius(self) -> float:
        """Of a node's sphere, metres."""
        return reach(self.config.sigma_m, self.config.floor)

    def nodes(
        self,
        joints: Float[Tensor, "b j 4 4"],
        condition: Float[Tensor, "b c"],
        time: Float[Tensor, " b"] | None = None,
        noise: Float[Tensor, "b z"] | None = None,
    ) -> Nodes:
        """The nodes in some frames: p = T(θ)(n + Δn).

        Args:
            joints: from the rest pose to the world, see `Body.transforms`.
            condition: pose and past, see `latent.conditions`.
            time: time stamps of trained frames; None: the prior's mean is decoded.
            noise: of the draw from the posterior; None: its mean.
        """
        state = self.latent(condition, time, noise)
        matrix = torch.einsum("nj,bjxy->bnxy", self.node_weights, joints[..., :3, :])
        placed = self.node + state.translation
        centre = (matrix[..., :3] @ placed[..., None])[..., 0] + matrix[..., 3]
        return Nodes(centre, torch.linalg.inv(matrix[..., :3]), state)

    def query(
        self, nodes: Nodes, frame: int, points: Float[Tensor, "m 3"], direction: Float[Tensor, "m 3"]
    ) -> tuple[Float[Tensor, " m"], Float[Tensor, "m 3"]]:
        """Density (1/m) and colour at points of one frame; 0 outside of all spheres.

        Args:
            nodes: of some frames.
            frame: which of these.
            points: in the world, metres.
            direction: in which each is seen, of unit length.
        """
        config = self.config
        centre, back = nodes.centre[frame], nodes.back[frame]
        density, colour = points.new_zeros(len(points)), points.new_zeros(len(points), 3)
        with torch.no_grad():
            index, square = inside_any(points, centre, self.radius)
        if not len(index):
            return density, colour
        points, direction = points[index], direction[index]
        place, weight = near_nodes(points, centre, square, config.sigma_m, config.floor, config.near_nodes)
        total = weight.sum(-1).clamp_min(1e-6)
        share = weight / total[:, None]
        local = (back[place] @ (points[:, None] - centre[place])[..., None])[..., 0]
        if config.fields == "local":
            asked = (weight.detach() > 0).flatten()
            node = place.flatten()[asked]
            parts = [encoding(local.flatten(0, 1)[asked] / self.radius, config.frequencies)]
            if config.details:
                parts.append(nodes.state.detail[frame][node])
            if config.view_frequencies:
                seen = (back[place] @ direction[:, None, :, None])[..., 0]
                parts.append(encoding(functional.normalize(seen, dim=-1).flatten(0, 1)[asked], config.view_frequencies))
            out = self.fields(torch.cat(parts, -1), node)
            raw = (
                points.new_zeros(place.numel(), 4).index_copy(0, torch.nonzero(asked)[:, 0], out).view(*place.shape, 4)
            )
            some = (share[..., None] * torch.cat([_density(raw[..., :1]), raw[..., 1:].sigmoid()], -1)).sum(1)
            inner_density, inner_colour = some[:, 0], some[:, 1:]
        else:
            canonical = (share[..., None] * (local + self.node[place] + nodes.state.translation[frame][place])).sum(1)
            parts = [encoding(canonical, config.frequencies + 3)]
            if config.details:
                parts.append((share[..., None] * nodes.state.detail[frame][place]).sum(1))
            if config.view_frequencies:
                parts.append(encoding(direction, config.view_frequencies))
            raw = self.fields(torch.cat(parts, -1))
            inner_density, inner_colour = _density(raw[:, 0]), raw[:, 1:].sigmoid()
        # towards the border of the union the density fades out, so that the union itself is not seen
        fade = (total / 0.15).clamp_max(1.0)
        return density.index_copy(0, index, inner_density * fade), colour.index_copy(0, index, inner_colour)

    def render(
        self,
        nodes: Nodes,
        origin: Float[Tensor, "b r 3"],
        direction: Float[Tensor, "b r 3"],
        jitter: Float[Tensor, "b r s"] | None = None,
        samples: int | None = None,
    ) -> Rendered:
        """What rays see; points are taken only between the first sphere that a ray enters and the last that it leaves.

        Without gradients a ray ends where less than a thousandth of the light behind would come through, so that no
        value is off by more than that.

        Args:
            nodes: of b frames.
            origin: of the rays, metres.
            direction: of the rays, of unit length.
            jitter: 0..1, where in its step each point lies; None: in the middle.
            samples: points on a ray; None: as the settings say.
        """
        batch, rays = origin.shape[:2]
        count = samples or self.config.samples
        colours, alphas, depths = [], [], []
        for frame in range(batch):
            near, far, some = span(origin[frame], direction[frame], nodes.centre[frame].detach(), self.radius)
            chosen = torch.nonzero(some)[:, 0]
            colour, alpha = origin.new_zeros(rays, 3), origin.new_zeros(rays)
            depth = origin.new_zeros(rays)
            if len(chosen):
                start, step = near[chosen], (far - near)[chosen] / count
                where = torch.arange(count, device=origin.device, dtype=origin.dtype)
                offset = jitter[frame, chosen] if jitter is not None else 0.5
                distance = start[:, None] + step[:, None] * (where + offset)
                heading = direction[frame, chosen]
                ask = partial(self._along, nodes, frame, origin[frame, chosen], heading, distance)
                density, shade = ask() if torch.is_grad_enabled() else _until_opaque(ask, step, count)
                seen, opacity, weight = composite(density, shade, step)
                colour, alpha = colour.index_copy(0, chosen, seen), alpha.index_copy(0, chosen, opacity)
                middle = (weight * distance).sum(-1) / opacity.clamp_min(1e-6)
                depth = depth.index_copy(0, chosen, middle.where(opacity > 0.01, 0))
            colours.append(colour)
            alphas.append(alpha)
            depths.append(depth)
        return Rendered(torch.stack(colours), torch.stack(alphas), torch.stack(depths))

    def _along(
        self,
        nodes: Nodes,
        frame: int,
        origin: Float[Tensor, "r 3"],
        heading: Float[Tensor, "r 3"],
        distance: Float[Tensor, "r s"],
        rays: Tensor | slice = slice(None),
        part: slice = slice(None),
    ) -> tuple[Tensor, Tensor]:
        """Density and colour at points of rays of one frame, `distance` metres from their origins.

        Of all points of all rays, or of some (`part`) of some (`rays`).
        """
        chosen, direction = distance[rays, part], heading[rays]
        points = origin[rays][:, None] + chosen[..., None] * direction[:, None]
        seen_along = direction[:, None].expand_as(points)
        density, colour = self.query(nodes, frame, points.flatten(0, 1), seen_along.flatten(0, 1))
        return density.view(chosen.shape), colour.view(*chosen.shape, 3)


def _until_opaque(
    ask: Callable[[Tensor, slice], tuple[Tensor, Tensor]], step: Float[Tensor, " r"], count: int
) -> tuple[Float[Tensor, "r s"], Float[Tensor, "r s 3"]]:
    """Density and colour of rays from front to back, a few points at a time; 0 where hardly any light comes through.

    Args:
        ask: gives both for some rays and some of their points.
        step: distance between two points of each ray, metres.
        count: points of a ray.
    """
    density, colour = step.new_zeros(len(step), count), step.new_zeros(len(step), count, 3)
    open_rays, depth = torch.arange(len(step), device=step.device), torch.zeros_like(step)
    for start in range(0, count, _PORTION):
        part = slice(start, start + _PORTION)
        found, shade = ask(open_rays, part)
        density[open_rays, part], colour[open_rays, part] = found, shade
        depth[open_rays] += found.sum(1) * step[open_rays]
        open_rays = open_rays[depth[open_rays] < _OPAQUE]
    return density, colour


def _density(raw: Tensor) -> Tensor:
    return _DENSITY * functional.softplus(raw - 1)


def build(config: Config) -> AvatarNetwork:
    """The network with random weights; its nodes follow from the settings."""
    assert len(JOINTS) == 19
    return AvatarNetwork(config)
