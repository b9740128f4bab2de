"""HiVT (Zhou et al., CVPR 2022): local attention about each agent at every step, a transformer over time, global
attention.

Follows the published code (github.com/ZikangZhou/HiVT, Apache-2.0) and reads its checkpoints strictly; the attributes
are named as their keys are. All vectors are turned into the frame of the agent that attends, so the axes of the scene
do not matter.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from percepta.contract import Batch
from percepta.datasets.tracks import Moment, known
from percepta.nn.graph import edge_softmax, edge_sum
from percepta.systems.forecast import Config, HiVTSettings
from percepta.systems.forecast.scene import Output, ways_turned


class HiVTInputs(NamedTuple):
    """A scene of n agents at t observed steps and l pieces of centre lines.

    Attributes:
        moved: displacement from the step before, metres; 0 where one of both was not seen.
        position: metres; 0 where not seen.
        hidden: whether an agent was not seen at a step.
        first: whether it was seen at a step and not at the one before.
        angle: its direction at the last observed step, radians.
        lane: displacement along each piece.
        crossing: whether it lies in an intersection.
        turn: 0 none, 1 left, 2 right.
        control: whether there is a traffic light or sign.
        pair: (piece, agent) within the radius.
        apart: from these agents to these pieces.
    """

    moved: Float[Tensor, "n t 2"]
    position: Float[Tensor, "n t 2"]
    hidden: Bool[Tensor, "n t"]
    first: Bool[Tensor, "n t"]
    angle: Float[Tensor, " n"]
    lane: Float[Tensor, "l 2"]
    crossing: Int[Tensor, " l"]
    turn: Int[Tensor, " l"]
    control: Int[Tensor, " l"]
    pair: Int[Tensor, "2 e"]
    apart: Float[Tensor, "e 2"]


def hivt_inputs(moment: Moment, config: Config) -> tuple[Tensor, ...]:
    """The fields of `HiVTInputs`, and for each agent of the moment its row among them.

    Agents are those that were seen at any observed step. Maps other than Argoverse 1's say nothing of turns and traffic
    control: turns follow from the direction of a lane's ends, and no control is assumed.
    """
    tracks, steps = moment.tracks, config.observed_steps
    wanted = np.arange(moment.last - steps + 1, moment.last + 1)
    inside = wanted >= 0
    position = np.full((len(tracks.ids), steps, 2), np.nan)
    position[:, inside] = tracks.position[:, wanted[inside]]
    rows = np.flatnonzero(known(position).sum(1))
    origin = moment.past[:, -1].mean(0)
    position = position[rows] - origin
    seen = known(position)
    moved = np.zeros_like(position)
    moved[:, 1:] = np.nan_to_num(position[:, 1:] - position[:, :-1])
    first = seen.copy()
    first[:, 1:] &= ~seen[:, :-1]
    angle = np.zeros(len(rows))
    for i, there in enumerate(seen):
        places = position[i, there][-2:]
        if len(places) == 2:
            way = places[1] - places[0]
            angle[i] = np.arctan2(way[1], way[0])
    visible = np.flatnonzero(seen[:, -1])
    lines = [(lane, lane.centre[:, :2] - origin) for lane in tracks.map.lanes]
    start = np.concatenate([*(line[:-1] for _, line in lines), np.zeros((0, 2))])
    along = np.concatenate([*(np.diff(line, axis=0) for _, line in lines), np.zeros((0, 2))])
    counts = [len(line) - 1 for _, line in lines]
    crossing = np.repeat([int(bool(lane.intersection)) for lane, _ in lines], counts).astype(np.int64)
    turn = np.repeat([_turn(line) for _, line in lines], counts).astype(np.int64)
    apart = start[:, None] - position[visible, -1]
    near = np.linalg.norm(apart, axis=-1) < config.hivt.local_radius_m
    piece, agent = near.nonzero()
    place = {int(row): i for i, row in enumerate(rows)}

    def single(values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.nan_to_num(values).astype(np.float32))

    return (
        single(moved), single(position), torch.from_numpy(~seen), torch.from_numpy(first), single(angle),
        single(along), torch.from_numpy(crossing), torch.from_numpy(turn), torch.zeros(len(along), dtype=torch.long),
        torch.from_numpy(np.stack([piece, visible[agent]])), single(apart[near]),
        torch.tensor([place[int(row)] for row in moment.agents], dtype=torch.long),
    )  # fmt: skip


def _turn(line: Float[np.ndarray, "p 2"]) -> int:
    """0 for a lane that goes on, 1 for one that turns left by more than 30°, 2 for right."""
    start, end = line[1] - line[0], line[-1] - line[-2]
    angle = np.arctan2(start[0] * end[1] - start[1] * end[0], start @ end)
    return 0 if abs(angle) < np.pi / 6 else 1 if angle > 0 else 2


# ----------------------------------------------------------------------------------------------------------- layers


class Single(nn.Module):
    """One vector as features."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed = nn.Sequential(
            nn.Linear(2, width), nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, width), nn.LayerNorm(width),
            nn.ReLU(), nn.Linear(width, width), nn.LayerNorm(width),
        )  # fmt: skip

    def forward(self, x: Float[Tensor, "n 2"]) -> Float[Tensor, "n c"]:
        return self.embed(x)


class Several(nn.Module):
    """Two vectors, and maybe more features, as one."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.module_list = nn.ModuleList(
            nn.Sequential(nn.Linear(2, width), nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, width))
            for _ in range(2)
        )
        self.aggr_embed = nn.Sequential(nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, width), nn.LayerNorm(width))

    def forward(
        self, one: Float[Tensor, "e 2"], two: Float[Tensor, "e 2"], more: Float[Tensor, "e c"] | None = None
    ) -> Float[Tensor, "e c"]:
        """Features of pairs of vectors.

        Args:
            one: first vectors.
            two: second vectors.
            more: features that are added.
        """
        x = self.module_list[0](one) + self.module_list[1](two)
        return self.aggr_embed(x if more is None else x + more)


class Gated(nn.Module):
    """What all attention layers share: a gate between what was found and what was there, and a feed-forward part."""

    def __init__(self, settings: HiVTSettings) -> None:
        super().__init__()
        width, drop = settings.width, settings.dropout
        self.heads = settings.heads
        self.lin_self, self.attn_drop = nn.Linear(width, width), nn.Dropout(drop)
        self.lin_ih, self.lin_hh = nn.Linear(width, width), nn.Linear(width, width)
        self.out_proj, self.proj_drop = nn.Linear(width, width), nn.Dropout(drop)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.ReLU(), nn.Dropout(drop), nn.Linear(4 * width, width), nn.Dropout(drop)
        )

    def update(
        self,
        x: Float[Tensor, "n c"],
        own: Float[Tensor, "n c"],
        query: Float[Tensor, "n c"],
        key: Float[Tensor, "e c"],
        value: Float[Tensor, "e c"],
        target: Int[Tensor, " e"],
    ) -> Float[Tensor, "n c"]:
        """The nodes after attention along edges.

        Args:
            x: the nodes.
            own: the same, normed.
            query: of the nodes.
            key: of the edges.
            value: of the edges.
            target: to which node each edge leads.
        """
        split = (self.heads, -1)
        query, key, value = (part.unflatten(-1, split) for part in (query, key, value))
        weight = (query[target] * key).sum(-1) / query.shape[-1] ** 0.5
        weight = self.attn_drop(edge_softmax(weight, target, len(x)))
        found = edge_sum(value * weight[..., None], target, len(x)).flatten(1)
        gate = (self.lin_ih(found) + self.lin_hh(own)).sigmoid()
        x = x + self.proj_drop(self.out_proj(found + gate * (self.lin_self(own) - found)))
        return x + self.mlp(self.norm2(x))


class AgentAgent(Gated):
    """Attention to the neighbours of the same step (Eq. 3 to 7), for all steps at once."""

    def __init__(self, settings: HiVTSettings, steps: int) -> None:
        super().__init__(settings)
        width = settings.width
        self.radius_m = settings.local_radius_m
        self.bos_token = nn.Parameter(0.02 * torch.randn(steps, width))
        self.center_embed, self.nbr_embed = Single(width), Several(width)
        self.lin_q, self.lin_k, self.lin_v = (nn.Linear(width, width) for _ in range(3))

    def forward(self, s: HiVTInputs, turn: Float[Tensor, "n 2 2"]) -> Float[Tensor, "t n c"]:
        """Features of every step; `turn` leads into the agents' own frames."""
        n, t = s.hidden.shape
        centre = self.center_embed(torch.einsum("nti,nij->tnj", s.moved, turn).flatten(0, 1))
        begin = self.bos_token[:, None].expand(t, n, -1).flatten(0, 1)
        x = torch.where(s.first.T.flatten()[:, None], begin, centre)
        place, seen = s.position.transpose(0, 1), ~s.hidden.T
        apart = place[:, None] - place[:, :, None]  # step, target, source
        close = (apart.norm(dim=-1) < self.radius_m) & seen[:, None] & seen[:, :, None]
        close = close & ~torch.eye(n, dtype=torch.bool, device=x.device)
        step, target, source = close.nonzero().unbind(1)
        own = turn[target]
        vector = torch.einsum("ei,eij->ej", s.moved[source, step], own)
        between = torch.einsum("ei,eij->ej", apart[step, target, source], own)
        other = self.nbr_embed(vector, between)
        normed = self.norm1(x)
        x = self.update(x, normed, self.lin_q(normed), self.lin_k(other), self.lin_v(other), step * n + target)
        return x.view(t, n, -1)


class TimeLayer(nn.Module):
    """A pre-norm transformer layer over time."""

    def __init__(self, settings: HiVTSettings) -> None:
        super().__init__()
        width = settings.width
        self.self_attn = nn.MultiheadAttention(width, settings.heads, settings.dropout)
        self.linear1, self.linear2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout, self.dropout1 = nn.Dropout(settings.dropout), nn.Dropout(settings.dropout)
        self.dropout2 = nn.Dropout(settings.dropout)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Float[Tensor, "t n c"], mask: Float[Tensor, "t t"]) -> Float[Tensor, "t n c"]:
        y = self.norm1(x)
        x = x + self.dropout1(self.self_attn(y, y, y, attn_mask=mask, need_weights=False)[0])
        return x + self.dropout2(self.linear2(self.dropout(functional.relu(self.linear1(self.norm2(x))))))


class Stack(nn.Module):
    """Layers and a norm, under the names of the published keys."""

    def __init__(self, settings: HiVTSettings) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TimeLayer(settings) for _ in range(settings.temporal_layers))
        self.norm = nn.LayerNorm(settings.width)


class OverTime(nn.Module):
    """A causal transformer; a token at the end gathers what was seen (Eq. 8 to 11)."""

    def __init__(self, settings: HiVTSettings, steps: int) -> None:
        super().__init__()
        width = settings.width
        self.padding_token = nn.Parameter(0.02 * torch.randn(steps, 1, width))
        self.cls_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(steps + 1, 1, width))
        self.transformer_encoder = Stack(settings)

    def forward(self, x: Float[Tensor, "t n c"], hidden: Bool[Tensor, "n t"]) -> Float[Tensor, "n c"]:
        x = torch.where(hidden.T[..., None], self.padding_token, x)
        x = torch.cat([x, self.cls_token.expand(-1, x.shape[1], -1)]) + self.pos_embed
        mask = torch.full((len(x), len(x)), -torch.inf, dtype=x.dtype, device=x.device).triu(1)
        for layer in self.transformer_encoder.layers:
            x = layer(x, mask)
        return self.transformer_encoder.norm(x)[-1]


class AgentLane(Gated):
    """Attention to the pieces of lanes nearby (Eq. 12)."""

    def __init__(self, settings: HiVTSettings) -> None:
        super().__init__(settings)
        width = settings.width
        self.is_intersection_embed = nn.Parameter(0.02 * torch.randn(2, width))
        self.turn_direction_embed = nn.Parameter(0.02 * torch.randn(3, width))
        self.traffic_control_embed = nn.Parameter(0.02 * torch.randn(2, width))
        self.lane_embed = Several(width)
        self.lin_q, self.lin_k, self.lin_v = (nn.Linear(width, width) for _ in range(3))

    def forward(self, x: Float[Tensor, "n c"], s: HiVTInputs, turn: Float[Tensor, "n 2 2"]) -> Float[Tensor, "n c"]:
        """The agents after attention to the map.

        Args:
            x: the agents.
            s: the scene.
            turn: leads into the agents' own frames.
        """
        piece, agent = s.pair
        own = turn[agent]
        kind = (
            self.is_intersection_embed[s.crossing] + self.turn_direction_embed[s.turn]
            + self.traffic_control_embed[s.control]
        )[piece]  # fmt: skip
        vector, apart = (torch.einsum("ei,eij->ej", v, own) for v in (s.lane[piece], s.apart))
        other = self.lane_embed(vector, apart, kind)
        normed = self.norm1(x)
        return self.update(x, normed, self.lin_q(normed), self.lin_k(other), self.lin_v(other), agent)


class Global(Gated):
    """Attention among all agents (Eq. 13 to 16)."""

    def __init__(self, settings: HiVTSettings) -> None:
        super().__init__(settings)
        width = settings.width
        self.lin_q_node, self.lin_k_node, self.lin_k_edge = (nn.Linear(width, width) for _ in range(3))
        self.lin_v_node, self.lin_v_edge = nn.Linear(width, width), nn.Linear(width, width)

    def forward(
        self,
        x: Float[Tensor, "n c"],
        source: Int[Tensor, " e"],
        target: Int[Tensor, " e"],
        relation: Float[Tensor, "e c"],
    ) -> Float[Tensor, "n c"]:
        """The agents after attention to each other.

        Args:
            x: the agents.
            source: whence each edge leads.
            target: where to.
            relation: how the two lie to each other.
        """
        normed = self.norm1(x)
        key = self.lin_k_node(normed)[source] + self.lin_k_edge(relation)
        value = self.lin_v_node(normed)[source] + self.lin_v_edge(relation)
        return self.update(x, normed, self.lin_q_node(normed), key, value, target)


# ---------------------------------------------------------------------------------------------------------- network


class LocalEncoder(nn.Module):
    """Agents, time, lanes."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.aa_encoder = AgentAgent(config.hivt, config.observed_steps)
        self.temporal_encoder = OverTime(config.hivt, config.observed_steps)
        self.al_encoder = AgentLane(config.hivt)

    def forward(self, s: HiVTInputs, turn: Float[Tensor, "n 2 2"]) -> Float[Tensor, "n c"]:
        x = self.temporal_encoder(self.aa_encoder(s, turn), s.hidden)
        return self.al_encoder(x, s, turn)


class GlobalInteractor(nn.Module):
    """All agents that are visible at the last step; then features of each mode."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.hivt.width
        self.modes = config.modes
        self.rel_embed = Several(width)
        self.global_interactor_layers = nn.ModuleList(Global(config.hivt) for _ in range(config.hivt.global_layers))
        self.norm = nn.LayerNorm(width)
        self.multihead_proj = nn.Linear(width, config.modes * width)

    def forward(
        self, s: HiVTInputs, local: Float[Tensor, "n c"], turn: Float[Tensor, "n 2 2"]
    ) -> Float[Tensor, "k n c"]:
        """Features of every mode.

        Args:
            s: the scene.
            local: the agents.
            turn: leads into their own frames.
        """
        seen = ~s.hidden[:, -1]
        pairs = seen[:, None] & seen & ~torch.eye(len(seen), dtype=torch.bool, device=seen.device)
        target, source = pairs.nonzero().unbind(1)
        place = s.position[:, -1]
        apart = torch.einsum("ei,eij->ej", place[source] - place[target], turn[target])
        angle = s.angle[source] - s.angle[target]
        relation = self.rel_embed(apart, torch.stack([angle.cos(), angle.sin()], -1))
        x = local
        for layer in self.global_interactor_layers:
            x = layer(x, source, target, relation)
        return self.multihead_proj(self.norm(x)).unflatten(-1, (self.modes, -1)).transpose(0, 1)


class Decoder(nn.Module):
    """Positions and scales of Laplace distributions, and the modes' probabilities."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width, self.steps = config.hivt.width, config.future_steps

        def head(outputs: int) -> nn.Sequential:
            return nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, outputs))

        self.aggr_embed = nn.Sequential(nn.Linear(2 * width, width), nn.LayerNorm(width), nn.ReLU())
        self.loc, self.scale = head(2 * self.steps), head(2 * self.steps)
        first = (nn.Linear(2 * width, width), nn.LayerNorm(width), nn.ReLU())
        self.pi = nn.Sequential(*first, *head(1))

    def forward(
        self, local: Float[Tensor, "n c"], modes: Float[Tensor, "k n c"]
    ) -> tuple[Float[Tensor, "k n t 2"], Float[Tensor, "k n t 2"], Float[Tensor, "n k"]]:
        """(positions in the agents' own frames, scales, logits)."""
        both = local.expand(len(modes), -1, -1)
        x = self.aggr_embed(torch.cat([modes, both], -1))
        way = self.loc(x).unflatten(-1, (self.steps, 2))
        scale = functional.elu(self.scale(x)).unflatten(-1, (self.steps, 2)) + 1.001
        return way, scale, self.pi(torch.cat([both, modes], -1))[..., 0].T


class HiVT(nn.Module):
    """The published network."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.local_encoder, self.global_interactor = LocalEncoder(config), GlobalInteractor(config)
        self.decoder = Decoder(config)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def inputs(self, moment: Moment) -> tuple[Tensor, ...]:
        """What `predict` reads besides the tensors of the scene."""
        return hivt_inputs(moment, self.config)

    def encode(self, s: HiVTInputs) -> tuple[Float[Tensor, "n c"], Float[Tensor, "k n c"]]:
        """Features of the agents, and of their modes."""
        turn = into_own(s.angle)
        local = self.local_encoder(s, turn)
        return local, self.global_interactor(s, local, turn)

    def forward(self, s: HiVTInputs) -> tuple[Tensor, Tensor, Tensor]:
        """(positions k n t 2 in the agents' own frames, scales, logits n k)."""
        return self.decoder(*self.encode(s))

    def predict(self, batch: Batch) -> Output:
        """The futures of the targets. There are no joint futures: mode k of all stands for one."""
        parts = []
        for number, scene in enumerate(batch["extra"]):
            mine = batch["scene"][batch["target"]] == number
            rows = batch["target"][mine] - int((batch["scene"] < number).sum())
            inputs = HiVTInputs(*scene[:-1])
            way, _, logits = self(inputs)
            own = scene[-1][rows]
            turn = inputs.angle[own] - batch["angle"][batch["target"]][mine]
            parts.append((ways_turned(way[:, own].transpose(0, 1), turn), logits[own]))
        way, logits = (torch.cat(part) for part in zip(*parts, strict=True))
        one = way[torch.arange(len(way), device=way.device), logits.argmax(1)]
        return Output(one, way, logits, way, logits)


def into_own(angle: Float[Tensor, " n"]) -> Float[Tensor, "n 2 2"]:
    """Matrices that turn row vectors of the scene into the agents' own frames."""
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)


def hivt_losses(
    way: Float[Tensor, "k n t 2"],
    scale: Float[Tensor, "k n t 2"],
    logits: Float[Tensor, "n k"],
    truth: Float[Tensor, "n t 2"],
    known: Bool[Tensor, "n t"],
) -> dict[str, Tensor]:
    """Likelihood of the best mode, and cross-entropy with shares that follow from the distances (Sec. 3.4).

    Args:
        way: of the network.
        scale: of the network.
        logits: of the network.
        truth: where the agents went, in their own frames.
        known: which of it is known.
    """
    away = ((way - truth).norm(dim=-1) * known).sum(-1)
    rows = torch.arange(len(truth), device=truth.device)
    best = away.argmin(0)
    spread = scale[best, rows][known].clamp_min(1e-6)
    likelihood = (torch.log(2 * spread) + (truth[known] - way[best, rows][known]).abs() / spread).mean()
    some = known.any(1)
    share = functional.softmax(-away[:, some] / known[some].sum(1), 0).T.detach()
    choice = -(share * functional.log_softmax(logits[some], 1)).sum(1).mean()
    return {"loss": likelihood + choice, "likelihood": likelihood, "choice": choice}
