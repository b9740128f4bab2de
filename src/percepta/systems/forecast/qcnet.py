"""QCNet (Zhou et al., CVPR 2023): every agent at every step and every polygon of the map in a frame of its own.

Follows the published code (github.com/ZikangZhou/QCNet, Apache-2.0) and reads its checkpoints strictly; the attributes
are named as their keys are. How two things lie to each other (distance, bearing, turn, time) goes through Fourier
features with learned frequencies into keys and values of attention along edges; trajectories are proposed in a few
recurrent steps and then refined. One difference: the published code stops at 300 neighbours within a radius, this one
takes all.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from percepta.contract import Batch
from percepta.datasets.tracks import Moment
from percepta.nn.graph import edge_softmax, edge_sum
from percepta.systems.forecast import Config, QCNetSettings
from percepta.systems.forecast.qcnet_inputs import QCNetInputs, qcnet_inputs
from percepta.systems.forecast.scene import Output, ways_turned


class Edges(NamedTuple):
    """Edges of a graph.

    Attributes:
        source, target: rows of what they lead from and to.
        relation: rows of the relations that describe them.
    """

    source: Int[Tensor, " e"]
    target: Int[Tensor, " e"]
    relation: Int[Tensor, " e"]

    def repeated(self, modes: int) -> Edges:
        """The same edges to each of the modes of a target: row target · modes + mode."""
        mode = torch.arange(modes, device=self.target.device)
        target = (self.target[:, None] * modes + mode).flatten()
        return Edges(self.source.repeat_interleave(modes), target, self.relation.repeat_interleave(modes))


class Prediction(NamedTuple):
    """Trajectories of n agents in their own frames: proposed and refined.

    Attributes:
        proposed, refined: positions, metres.
        proposed_scale, refined_scale: of the Laplace distributions about them.
        proposed_heading, refined_heading: turns since the last observed step, radians; None without the heading branch.
        proposed_concentration, refined_concentration: of the von Mises distributions about them.
        logits: of the modes' probabilities.
    """

    proposed: Float[Tensor, "n k t 2"]
    proposed_scale: Float[Tensor, "n k t 2"]
    refined: Float[Tensor, "n k t 2"]
    refined_scale: Float[Tensor, "n k t 2"]
    logits: Float[Tensor, "n k"]
    proposed_heading: Float[Tensor, "n k t"] | None = None
    proposed_concentration: Float[Tensor, "n k t"] | None = None
    refined_heading: Float[Tensor, "n k t"] | None = None
    refined_concentration: Float[Tensor, "n k t"] | None = None


# ----------------------------------------------------------------------------------------------------------- layers


class Fourier(nn.Module):
    """Numbers as sines and cosines of learned frequencies, each through its own network; then their sum (Eq. 2)."""

    def __init__(self, inputs: int, width: int, bands: int) -> None:
        super().__init__()
        self.freqs = nn.Embedding(inputs, bands) if inputs else None
        self.mlps = nn.ModuleList(
            nn.Sequential(nn.Linear(2 * bands + 1, width), nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, width))
            for _ in range(inputs)
        )
        self.to_out = nn.Sequential(nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, numbers: Float[Tensor, "n i"] | None, other: Tensor | None = None) -> Float[Tensor, "n c"]:
        """Features of rows of numbers; `other` is added to them before the last layer."""
        x = other
        if numbers is not None and self.freqs is not None:
            angle = numbers[..., None] * self.freqs.weight * (2 * math.pi)
            parts = torch.cat([angle.cos(), angle.sin(), numbers[..., None]], -1)
            found = torch.stack([mlp(parts[:, i]) for i, mlp in enumerate(self.mlps)]).sum(0)
            x = found if x is None else found + x
        return self.to_out(x)


class EdgeAttention(nn.Module):
    """Attention along edges with relations in keys and values, a gate, and a feed-forward part (Eq. 3 to 5)."""

    def __init__(self, q: QCNetSettings, *, bipartite: bool, relations: bool = True) -> None:
        super().__init__()
        width, inner = q.hidden, q.heads * q.head_width
        self.heads = q.heads
        self.to_q, self.to_k = nn.Linear(width, inner), nn.Linear(width, inner, bias=False)
        self.to_v = nn.Linear(width, inner)
        if relations:
            self.to_k_r, self.to_v_r = nn.Linear(width, inner, bias=False), nn.Linear(width, inner)
            self.attn_prenorm_r = nn.LayerNorm(width)
        self.to_s, self.to_g = nn.Linear(width, inner), nn.Linear(inner + width, inner)
        self.to_out = nn.Linear(inner, width)
        self.attn_drop = nn.Dropout(q.dropout)
        self.ff_mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.ReLU(), nn.Dropout(q.dropout), nn.Linear(4 * width, width)
        )
        self.attn_prenorm_x_src = nn.LayerNorm(width)
        self.attn_prenorm_x_dst = nn.LayerNorm(width) if bipartite else self.attn_prenorm_x_src
        self.attn_postnorm = nn.LayerNorm(width)
        self.ff_prenorm, self.ff_postnorm = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(
        self,
        x: Float[Tensor, "n c"],
        edges: Edges,
        relation: Float[Tensor, "r c"] | None = None,
        source: Float[Tensor, "m c"] | None = None,
    ) -> Float[Tensor, "n c"]:
        """The targets after attention.

        Args:
            x: the targets.
            edges: from sources to targets.
            relation: descriptions of the edges, by `edges.relation`.
            source: what is attended to; None: the targets themselves.
        """
        target = self.attn_prenorm_x_dst(x)
        others = target if source is None else self.attn_prenorm_x_src(source)
        split = (self.heads, -1)
        key, value = self.to_k(others)[edges.source], self.to_v(others)[edges.source]
        if relation is not None:
            known = self.attn_prenorm_r(relation)
            key = key + self.to_k_r(known)[edges.relation]
            value = value + self.to_v_r(known)[edges.relation]
        query = self.to_q(target).unflatten(-1, split)[edges.target]
        weight = (query * key.unflatten(-1, split)).sum(-1) * query.shape[-1] ** -0.5
        weight = self.attn_drop(edge_softmax(weight, edges.target, len(x)))
        found = edge_sum(value.unflatten(-1, split) * weight[..., None], edges.target, len(x)).flatten(1)
        gate = self.to_g(torch.cat([found, target], -1)).sigmoid()
        x = x + self.attn_postnorm(self.to_out(found + gate * (self.to_s(target) - found)))
        return x + self.ff_postnorm(self.ff_mlp(self.ff_prenorm(x)))


class Head(nn.Module):
    """Two layers."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, outputs))

    def forward(self, x: Float[Tensor, "*n c"]) -> Float[Tensor, "*n d"]:
        return self.mlp(x)


def bearing(direction: Float[Tensor, "e 2"], way: Float[Tensor, "e 2"]) -> Float[Tensor, " e"]:
    """The angle from a direction to a way, radians."""
    return torch.atan2(direction[:, 0] * way[:, 1] - direction[:, 1] * way[:, 0], (direction * way).sum(-1))


def wrapped(angle: Float[Tensor, "*e"]) -> Float[Tensor, "*e"]:
    """Angles from −π to π."""
    return (angle + math.pi) % (2 * math.pi) - math.pi


def relations(
    place: Float[Tensor, "m 2"],
    angle: Float[Tensor, " m"],
    own_place: Float[Tensor, "n 2"],
    own_angle: Float[Tensor, " n"],
    edges: Edges,
) -> Float[Tensor, "e 3"]:
    """Distance, bearing and turn of the sources as seen from the targets.

    Args:
        place: of the sources, metres.
        angle: of the sources, radians.
        own_place: of the targets.
        own_angle: of the targets.
        edges: from sources to targets.
    """
    way = place[edges.source] - own_place[edges.target]
    own = own_angle[edges.target]
    direction = torch.stack([own.cos(), own.sin()], -1)
    return torch.stack([way.norm(dim=-1), bearing(direction, way), wrapped(angle[edges.source] - own)], -1)


def near(place: Float[Tensor, "m 2"], own: Float[Tensor, "n 2"], radius: float, *, itself: bool = True) -> Edges:
    """Edges from everything within a radius.

    Args:
        place: of the sources, metres.
        own: of the targets.
        radius: in metres.
        itself: whether row i leads to row i.
    """
    close = torch.cdist(own, place, compute_mode="donot_use_mm_for_euclid_dist") <= radius
    if not itself:
        close.fill_diagonal_(False)
    target, source = close.nonzero().unbind(1)
    return Edges(source, target, torch.arange(len(source), device=source.device))


def only(edges: Edges, keep: Bool[Tensor, " e"]) -> Edges:
    """Some of the edges."""
    source, target = edges.source[keep], edges.target[keep]
    return Edges(source, target, torch.arange(len(source), device=source.device))


# ---------------------------------------------------------------------------------------------------------- encoder


class MapEncoder(nn.Module):
    """Points into polygons, then polygons among each other (Sec. 3.2)."""

    def __init__(self, q: QCNetSettings) -> None:
        super().__init__()
        self.q = q
        self.type_pt_emb, self.side_pt_emb = nn.Embedding(17, q.hidden), nn.Embedding(3, q.hidden)
        self.type_pl_emb, self.int_pl_emb = nn.Embedding(4, q.hidden), nn.Embedding(3, q.hidden)
        self.type_pl2pl_emb = nn.Embedding(5, q.hidden)
        self.x_pt_emb, self.x_pl_emb = Fourier(1, q.hidden, q.bands), Fourier(0, q.hidden, q.bands)
        self.r_pt2pl_emb, self.r_pl2pl_emb = Fourier(3, q.hidden, q.bands), Fourier(3, q.hidden, q.bands)
        self.pt2pl_layers = nn.ModuleList(EdgeAttention(q, bipartite=True) for _ in range(q.map_layers))
        self.pl2pl_layers = nn.ModuleList(EdgeAttention(q, bipartite=False) for _ in range(q.map_layers))

    def forward(self, s: QCNetInputs) -> tuple[Float[Tensor, "p c"], Float[Tensor, "m c"]]:
        """(points, polygons)."""
        points = self.x_pt_emb(s.point_length[:, None], self.type_pt_emb(s.point_type) + self.side_pt_emb(s.point_side))
        polygons = self.x_pl_emb(None, self.type_pl_emb(s.polygon_type) + self.int_pl_emb(s.polygon_intersection))
        row = torch.arange(len(s.point_polygon), device=points.device)
        into = Edges(row, s.point_polygon, row)
        r_in = self.r_pt2pl_emb(relations(s.point_place, s.point_angle, s.polygon_place, s.polygon_angle, into))
        links, kind = self._links(s)
        r_among = self.r_pl2pl_emb(
            relations(s.polygon_place, s.polygon_angle, s.polygon_place, s.polygon_angle, links),
            self.type_pl2pl_emb(kind),
        )
        for inward, among in zip(self.pt2pl_layers, self.pl2pl_layers, strict=True):
            polygons = inward(polygons, into, r_in, points)
            polygons = among(polygons, links, r_among)
        return points, polygons

    def _links(self, s: QCNetInputs) -> tuple[Edges, Int[Tensor, " e"]]:
        """All pairs within the radius with the kind of their link, 0 for none; linked pairs also beyond it."""
        count = len(s.polygon_place)
        close = near(s.polygon_place, s.polygon_place, self.q.polygon_radius_m, itself=False)
        table = torch.full((count, count), -1, dtype=torch.long, device=s.polygon_place.device)
        table[close.source, close.target] = 0
        place = s.link[0] * count + s.link[1]  # of two kinds of one pair the larger counts
        table = table.flatten().scatter_reduce(0, place, s.link_type, "amax").view(count, count)
        source, target = (table >= 0).nonzero().unbind(1)
        return Edges(source, target, torch.arange(len(source), device=source.device)), table[source, target]


class AgentEncoder(nn.Module):
    """Attention over time, to the map and among agents, at every step (Sec. 3.2)."""

    def __init__(self, q: QCNetSettings) -> None:
        super().__init__()
        self.q = q
        self.type_a_emb = nn.Embedding(10, q.hidden)
        self.x_a_emb, self.r_t_emb = Fourier(4, q.hidden, q.bands), Fourier(4, q.hidden, q.bands)
        self.r_pl2a_emb, self.r_a2a_emb = Fourier(3, q.hidden, q.bands), Fourier(3, q.hidden, q.bands)
        self.t_attn_layers = nn.ModuleList(EdgeAttention(q, bipartite=False) for _ in range(q.agent_layers))
        self.pl2a_attn_layers = nn.ModuleList(EdgeAttention(q, bipartite=True) for _ in range(q.agent_layers))
        self.a2a_attn_layers = nn.ModuleList(EdgeAttention(q, bipartite=False) for _ in range(q.agent_layers))

    def forward(self, s: QCNetInputs, polygons: Float[Tensor, "m c"]) -> Float[Tensor, "n t c"]:
        """Every agent at every step; row agent · t + step."""
        n, t = s.valid.shape
        place, angle, there = s.position.flatten(0, 1), s.heading.flatten(), s.valid.flatten()
        moved = functional.pad(s.position[:, 1:] - s.position[:, :-1], (0, 0, 1, 0)).flatten(0, 1)
        direction, speed = torch.stack([angle.cos(), angle.sin()], -1), s.velocity.flatten(0, 1)
        known = torch.stack(
            [moved.norm(dim=-1), bearing(direction, moved), speed.norm(dim=-1), bearing(direction, speed)], -1
        )
        x = self.x_a_emb(known, self.type_a_emb(s.kind).repeat_interleave(t, 0))
        over_time, r_time = self._over_time(s, place, angle)
        step = torch.arange(n * t, device=x.device) % t
        map_edges = near(s.polygon_place, place, self.q.map_radius_m)
        map_edges = only(map_edges, there[map_edges.target])
        r_map = self.r_pl2a_emb(relations(s.polygon_place, s.polygon_angle, place, angle, map_edges))
        social = self._social(place, there, step, n, t)
        r_social = self.r_a2a_emb(relations(place, angle, place, angle, social))
        for time, street, other in zip(self.t_attn_layers, self.pl2a_attn_layers, self.a2a_attn_layers, strict=True):
            x = time(x, over_time, r_time)
            x = street(x, map_edges, r_map, polygons)
            x = other(x, social, r_social)
        return x.view(n, t, -1)

    def _over_time(
        self, s: QCNetInputs, place: Float[Tensor, "a 2"], angle: Float[Tensor, " a"]
    ) -> tuple[Edges, Float[Tensor, "e c"]]:
        t = s.valid.shape[1]
        gap = torch.arange(t, device=place.device)
        gap = gap - gap[:, None]  # [source, target]
        both = s.valid[:, :, None] & s.valid[:, None] & (gap > 0) & (gap <= self.q.time_span)
        agent, source, target = both.nonzero().unbind(1)
        edges = Edges(agent * t + source, agent * t + target, torch.arange(len(agent), device=place.device))
        numbers = relations(place, angle, place, angle, edges)
        return edges, self.r_t_emb(torch.cat([numbers, (source - target).to(numbers)[:, None]], -1))

    def _social(self, place: Tensor, there: Tensor, step: Tensor, n: int, t: int) -> Edges:
        by_step, seen = place.view(n, t, 2).transpose(0, 1), there.view(n, t).T
        gap = torch.cdist(by_step, by_step, compute_mode="donot_use_mm_for_euclid_dist")
        close = (gap <= self.q.agent_radius_m) & seen[:, :, None] & seen[:, None]
        close = close & ~torch.eye(n, dtype=torch.bool, device=place.device)
        at, target, source = close.nonzero().unbind(1)
        return Edges(source * t + at, target * t + at, torch.arange(len(at), device=place.device))


class Encoder(nn.Module):
    """Map, then agents."""

    def __init__(self, q: QCNetSettings) -> None:
        super().__init__()
        self.map_encoder, self.agent_encoder = MapEncoder(q), AgentEncoder(q)


# ---------------------------------------------------------------------------------------------------------- decoder


class Decoder(nn.Module):
    """Proposals in recurrent steps without anchors, then refinement with the proposals as anchors (Sec. 3.3)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        q = config.qcnet
        self.config, self.q = config, q
        self.traj_emb_h0 = nn.Parameter(torch.zeros(1, q.hidden))
        self.mode_emb = nn.Embedding(config.modes, q.hidden)
        self.r_t2m_emb = Fourier(4, q.hidden, q.bands)
        self.r_pl2m_emb, self.r_a2m_emb = Fourier(3, q.hidden, q.bands), Fourier(3, q.hidden, q.bands)
        self.y_emb = Fourier(2 + q.heading, q.hidden, q.bands)
        self.traj_emb = nn.GRU(q.hidden, q.hidden)
        for phase in ("propose", "refine"):
            for name in ("t2m", "pl2m", "a2m"):
                layers = nn.ModuleList(EdgeAttention(q, bipartite=True) for _ in range(q.decoder_layers))
                setattr(self, f"{name}_{phase}_attn_layers", layers)
            setattr(self, f"m2m_{phase}_attn_layer", EdgeAttention(q, bipartite=False, relations=False))
        steps, share = config.future_steps, config.future_steps // q.recurrent_steps
        self.to_loc_propose_pos, self.to_scale_propose_pos = Head(q.hidden, 2 * share), Head(q.hidden, 2 * share)
        self.to_loc_refine_pos, self.to_scale_refine_pos = Head(q.hidden, 2 * steps), Head(q.hidden, 2 * steps)
        if q.heading:
            self.to_loc_propose_head, self.to_conc_propose_head = Head(q.hidden, share), Head(q.hidden, share)
            self.to_loc_refine_head, self.to_conc_refine_head = Head(q.hidden, steps), Head(q.hidden, steps)
        self.to_pi = Head(q.hidden, 1)

    def forward(self, s: QCNetInputs, agents: Float[Tensor, "n t c"], polygons: Float[Tensor, "m c"]) -> Prediction:
        """The futures of all agents; those of agents with `predicted` false mean nothing.

        Args:
            s: the scene.
            agents: at every step.
            polygons: of the map.
        """
        n, modes, q = len(s.valid), self.config.modes, self.q
        context = self._context(s, agents, polygons)
        m = self.mode_emb.weight.repeat(n, 1)
        found: dict[str, list[Tensor]] = {"way": [], "scale": [], "heading": [], "concentration": []}
        for _ in range(q.recurrent_steps):
            m = self._attend("propose", m, context)
            found["way"].append(self.to_loc_propose_pos(m))
            found["scale"].append(self.to_scale_propose_pos(m))
            if q.heading:
                found["heading"].append(self.to_loc_propose_head(m))
                found["concentration"].append(self.to_conc_propose_head(m))
        steps = {
            key: torch.cat(parts, -1).view(n, modes, self.config.future_steps, -1)
            for key, parts in found.items()
            if parts
        }
        way = steps["way"].cumsum(2)
        scale = (functional.elu(steps["scale"]) + 1).cumsum(2) + 0.1
        turn = sure = None
        anchor = way.detach()
        if q.heading:
            turn = (steps["heading"][..., 0].tanh() * math.pi).cumsum(2)
            sure = 1 / ((functional.elu(steps["concentration"][..., 0]) + 1).cumsum(2) + 0.02)
            anchor = torch.cat([anchor, wrapped(turn.detach())[..., None]], -1)
        m = self.y_emb(anchor.flatten(0, 2)).view(n * modes, self.config.future_steps, -1).transpose(0, 1)
        m = self.traj_emb(m, self.traj_emb_h0[:, None].repeat(1, n * modes, 1))[1][0]
        m = self._attend("refine", m, context)
        shape = (n, modes, self.config.future_steps, 2)
        refined = self.to_loc_refine_pos(m).view(shape) + way.detach()
        refined_scale = functional.elu(self.to_scale_refine_pos(m).view(shape)) + 1.1
        logits = self.to_pi(m).view(n, modes)
        if turn is None or sure is None:
            return Prediction(way, scale, refined, refined_scale, logits)
        end = self.to_loc_refine_head(m).view(shape[:3]).tanh() * math.pi + turn.detach()
        end_sure = 1 / (functional.elu(self.to_conc_refine_head(m).view(shape[:3])) + 1.02)
        return Prediction(way, scale, refined, refined_scale, logits, turn, sure, end, end_sure)

    def _attend(self, phase: str, m: Float[Tensor, "k c"], context: _Context) -> Float[Tensor, "k c"]:
        """Modes to the agent's own past, to the map, to other agents; then to each other."""
        layers = [getattr(self, f"{name}_{phase}_attn_layers") for name in ("t2m", "pl2m", "a2m")]
        for row in zip(*layers, strict=True):
            for layer, (edges, relation, source) in zip(row, context.parts, strict=True):
                m = layer(m, edges, relation, source)
        return getattr(self, f"m2m_{phase}_attn_layer")(m, context.between)

    def _context(self, s: QCNetInputs, agents: Tensor, polygons: Tensor) -> _Context:
        t = s.valid.shape[1]
        modes, q = self.config.modes, self.q
        here, angle = s.position[:, -1], s.heading[:, -1]
        recent = s.valid & (torch.arange(t, device=here.device) >= t - q.memory_steps)
        agent, step = (recent & s.predicted[:, None]).nonzero().unbind(1)
        own = Edges(agent * t + step, agent, torch.arange(len(agent), device=here.device))
        numbers = relations(s.position.flatten(0, 1), s.heading.flatten(), here, angle, own)
        r_own = self.r_t2m_emb(torch.cat([numbers, (step - t + 1).to(numbers)[:, None]], -1))
        street = near(s.polygon_place, here, q.mode_map_radius_m)
        street = only(street, s.predicted[street.target])
        r_street = self.r_pl2m_emb(relations(s.polygon_place, s.polygon_angle, here, angle, street))
        social = near(here, here, q.mode_agent_radius_m, itself=False)
        social = only(social, recent[:, -1][social.source] & s.predicted[social.target])
        r_social = self.r_a2m_emb(relations(here, angle, here, angle, social))
        parts = (
            (own.repeated(modes), r_own, agents.flatten(0, 1)),
            (street.repeated(modes), r_street, polygons),
            (social.repeated(modes), r_social, agents[:, -1]),
        )
        mode = torch.arange(modes, device=here.device)
        start = s.predicted.nonzero()[:, 0] * modes
        source = (start[:, None, None] + mode[:, None]).expand(-1, -1, modes).flatten()
        target = (start[:, None, None] + mode).expand(-1, modes, -1).flatten()
        return _Context(parts, Edges(source, target, source))


class _Context(NamedTuple):
    """(Edges, relations, sources) of the past, the map and other agents, to which modes attend; edges between modes."""

    parts: tuple[tuple[Edges, Tensor, Tensor], ...]
    between: Edges


class QCNet(nn.Module):
    """The published network."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.decoder = Encoder(config.qcnet), Decoder(config)
        self.apply(_start)

    def inputs(self, moment: Moment) -> tuple[Tensor, ...]:
        """What `predict` reads besides the tensors of the scene."""
        return qcnet_inputs(moment, self.config)

    def encode(self, s: QCNetInputs) -> tuple[Tensor, Tensor, Tensor]:
        """(points, polygons, agents at every step)."""
        points, polygons = self.encoder.map_encoder(s)
        return points, polygons, self.encoder.agent_encoder(s, polygons)

    def forward(self, s: QCNetInputs) -> Prediction:
        """The futures of all agents of a scene, in their own frames."""
        _, polygons, agents = self.encode(s)
        return self.decoder(s, agents, polygons)

    def predict(self, batch: Batch) -> Output:
        """Refined trajectories of the targets. There are no joint futures: mode k of all stands for one."""
        parts = []
        for number, scene in enumerate(batch["extra"]):
            mine = batch["scene"][batch["target"]] == number
            rows = batch["target"][mine] - int((batch["scene"] < number).sum())
            inputs = QCNetInputs(*scene[:-1])
            found = self(inputs)
            own = scene[-1][rows]  # the network's agents are those seen at any observed step
            turn = inputs.heading[own, -1] - batch["angle"][batch["target"]][mine]
            parts.append((ways_turned(found.refined[own], turn), found.logits[own]))
        way, logits = (torch.cat(part) for part in zip(*parts, strict=True))
        one = way[torch.arange(len(way), device=way.device), logits.argmax(1)]
        return Output(one, way, logits, way, logits)


def _start(module: nn.Module) -> None:
    """The published first weights."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    elif isinstance(module, nn.GRU):
        for name, value in module.named_parameters():
            for part in value.detach().chunk(3):
                if "bias" in name:
                    nn.init.zeros_(part)
                else:
                    (nn.init.xavier_uniform_ if "ih" in name else nn.init.orthogonal_)(part)


# ------------------------------------------------------------------------------------------------------------- loss


def laplace_nll(
    way: Float[Tensor, "*n"], scale: Float[Tensor, "*n"], truth: Float[Tensor, "*#n"]
) -> Float[Tensor, "*n"]:
    """−log of a Laplace density.

    Args:
        way: the middle of the density.
        scale: how wide it is, above 0.
        truth: where it is read.
    """
    scale = scale.clamp_min(1e-6)
    return torch.log(2 * scale) + (truth - way).abs() / scale


def von_mises_nll(
    angle: Float[Tensor, "*n"], concentration: Float[Tensor, "*n"], truth: Float[Tensor, "*#n"]
) -> Float[Tensor, "*n"]:
    """−log of a von Mises density.

    Args:
        angle: the middle of the density, radians.
        concentration: how narrow it is, above 0.
        truth: where it is read, radians.
    """
    k = concentration.clamp_min(1e-6)
    return -k * torch.cos(truth - angle) + math.log(2 * math.pi) + torch.special.i0e(k).log() + k


def qcnet_losses(
    found: Prediction,
    truth: Float[Tensor, "n t 2"],
    turn: Float[Tensor, "n t"],
    known: Bool[Tensor, "n t"],
) -> dict[str, Tensor]:
    """Likelihood of the best proposal and of its refinement, and of the mixture's end (Sec. 3.4).

    Args:
        found: of the network.
        truth: where the agents went, in their own frames.
        turn: how far they turned.
        known: which of it is known.
    """
    away = ((found.proposed - truth[:, None]).norm(dim=-1) * known[:, None]).sum(-1)
    best, rows = away.argmin(1), torch.arange(len(truth), device=truth.device)

    def likelihood(way: Tensor, scale: Tensor, angle: Tensor | None, sure: Tensor | None) -> Tensor:
        cost = laplace_nll(way[rows, best], scale[rows, best], truth).sum(-1)
        if angle is not None and sure is not None:
            cost = cost + von_mises_nll(angle[rows, best], sure[rows, best], turn)
        return ((cost * known).sum(0) / known.sum(0).clamp_min(1)).mean()

    ends = laplace_nll(found.refined[:, :, -1].detach(), found.refined_scale[:, :, -1].detach(), truth[:, None, -1])
    cost = ends.sum(-1)
    if found.refined_heading is not None and found.refined_concentration is not None:
        angle, sure = found.refined_heading[:, :, -1].detach(), found.refined_concentration[:, :, -1].detach()
        cost = cost + von_mises_nll(angle, sure, turn[:, None, -1])
    last = known[:, -1].to(cost.dtype)
    mixture = -torch.logsumexp(functional.log_softmax(found.logits, 1) - cost * last[:, None], 1) * last
    parts = {
        "propose": likelihood(
            found.proposed, found.proposed_scale, found.proposed_heading, found.proposed_concentration
        ),
        "refine": likelihood(found.refined, found.refined_scale, found.refined_heading, found.refined_concentration),
        "choice": mixture.sum() / last.sum().clamp_min(1),
    }
    return {"loss": parts["propose"] + parts["refine"] + parts["choice"], **parts}
