"""Our network: agents and pieces of lanes in frames of their own, attention between them, one query a mode.

Three sets of queries share the decoder: one for the single best trajectory, `modes` for the futures of each agent
alone, and `modes` for the futures of the whole scene, in which query k of an agent attends to query k of the others.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from percepta.datasets.tracks import KINDS
from percepta.nn.relative import RelativeAttention, relative_pose
from percepta.systems.forecast import Config
from percepta.systems.forecast.scene import LINE_KINDS, Output

MOST_SHARING = 32.0  # agents of a scene: more are as many to the network


class Layer(nn.Module):
    """Attention to lanes (where there are any), to other agents, and a feed-forward part; each adds to what came in."""

    def __init__(self, width: int, heads: int, relation: int, lanes: bool) -> None:
        super().__init__()
        self.lanes = RelativeAttention(width, heads, relation) if lanes else None
        self.agents = RelativeAttention(width, heads, relation)
        self.ffn = feed_forward(width)

    def forward(
        self, x: Float[Tensor, "n q c"], agents: Float[Tensor, "a c"], lines: Float[Tensor, "m c"] | None, seen: Seen
    ) -> Float[Tensor, "n q c"]:
        """What the queries know afterwards.

        Args:
            x: q queries of each agent.
            agents: of all agents.
            lines: of all pieces of lines; None: no map is seen.
            seen: which of them each agent sees, and how they lie to it.
        """
        if self.lanes is not None and lines is not None:
            x = x + self.lanes(x, lines, seen.lane, seen.lane_pose, seen.lane_there)
        x = x + self.agents(x, agents, seen.neighbour, seen.neighbour_pose, seen.neighbour_there)
        return x + self.ffn(x)


def feed_forward(width: int) -> nn.Sequential:
    """Norm, twice the width, and back."""
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))


class Seen(NamedTuple):
    """Which agents and pieces of lines each agent sees, and how they lie to it."""

    lane: Int[Tensor, "n l"]
    lane_pose: Float[Tensor, "n l r"]
    lane_there: Bool[Tensor, "n l"]
    neighbour: Int[Tensor, "n s"]
    neighbour_pose: Float[Tensor, "n s r"]
    neighbour_there: Bool[Tensor, "n s"]


class SmallNet(nn.Module):
    """The network of the presets `tiny`, `small` and `people`."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        width, relation = config.width, 32
        known = 5 * config.observed_steps + len(KINDS) + 2
        self.agent = nn.Sequential(nn.Linear(known, width), nn.GELU(), nn.Linear(width, width))
        points = 2 * config.piece_points + len(LINE_KINDS)
        line = nn.Sequential(nn.Linear(points, width), nn.GELU(), nn.Linear(width, width))
        self.line = line if config.lanes else None
        self.relation = nn.Sequential(nn.Linear(5, relation), nn.GELU(), nn.Linear(relation, relation))
        shape = (width, config.heads, relation, config.lanes)
        self.layers = nn.ModuleList(Layer(*shape) for _ in range(config.layers))
        self.queries = nn.Parameter(torch.randn(1 + 2 * config.modes, width))
        self.horizon = nn.Linear(1, width)
        self.crowd = nn.Linear(1, width)
        self.look = RelativeAttention(width, config.heads, relation) if config.lanes else None
        self.between = RelativeAttention(width, config.heads, relation)
        self.mix = feed_forward(width)
        self.norm = nn.LayerNorm(width)
        basis = curves(config.future_steps)
        self.register_buffer("curves", basis, persistent=False)
        self.way = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, 2 * len(basis)))
        self.logit = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, 1))

    def forward(
        self,
        history: Float[Tensor, "n h 2"],
        seen: Bool[Tensor, "n h"],
        kind: Int[Tensor, " n"],
        directed: Bool[Tensor, " n"],
        step_s: Float[Tensor, " n"],
        neighbour: Int[Tensor, "n s"],
        neighbour_there: Bool[Tensor, "n s"],
        neighbour_pose: Float[Tensor, "n s 3"],
        lane: Int[Tensor, "n l"],
        lane_there: Bool[Tensor, "n l"],
        lane_pose: Float[Tensor, "n l 3"],
        line: Float[Tensor, "m p 2"],
        line_kind: Int[Tensor, " m"],
        target: Int[Tensor, " d"],
        horizon: Float[Tensor, " d"],
        sharing: Float[Tensor, " d"],
    ) -> Output:
        """The futures of d of n agents; see `scene.tensors` for what comes in.

        Args:
            history: positions in the agent's own frame, metres, 0 where not seen.
            seen: whether it was.
            kind: places in `tracks.KINDS`.
            directed: whether the agent has a direction.
            step_s: time from step to step.
            neighbour: rows of the nearest other agents.
            neighbour_there: False where there is none.
            neighbour_pose: x, y and turn of these in the agent's frame, metres and radians.
            lane: rows of the nearest pieces of lines.
            lane_there: False where there is none.
            lane_pose: x, y and turn of these.
            line: points of the pieces in their own frames, metres.
            line_kind: places in `scene.LINE_KINDS`.
            target: rows of the agents whose futures are asked for.
            horizon: how many steps their futures are spread for, as a share of `future_steps`.
            sharing: how many agents' futures are asked for in its scene: the more share a joint future, the less can
                each of these futures be far from the most probable one.
        """
        scale, steps = self.config.scale_m, self.config.future_steps
        agents = self.agent(self._known(history, seen, kind, directed, step_s))
        lines = None
        if self.line is not None:
            kinds = nn.functional.one_hot(line_kind, len(LINE_KINDS)).to(line.dtype)
            lines = self.line(torch.cat([line.flatten(1) / scale, kinds], -1))
        view = Seen(
            lane, self._relation(lane_pose), lane_there, neighbour, self._relation(neighbour_pose), neighbour_there
        )
        for layer in self.layers:
            agents = layer(agents[:, None], agents, lines, view)[:, 0]
        view = Seen(*(values[target] for values in view))
        x = agents[target, None] + self.queries + self.horizon(horizon[:, None])[:, None]
        if self.look is not None and lines is not None:
            x = x + self.look(x, lines, view.lane, view.lane_pose, view.lane_there)
        alone, together = x[:, : 1 + self.config.modes], x[:, 1 + self.config.modes :]
        together = together + self.crowd((sharing / MOST_SHARING).clamp_max(1.0).log()[:, None])[:, None]
        row = torch.zeros_like(kind).index_put((target,), torch.arange(1, 1 + target.shape[0], device=target.device))
        other = row[view.neighbour]  # 1 and up among the targets; 0: its future is not asked for
        there = view.neighbour_there & (other > 0)
        together = together + self.between.between_modes(together, (other - 1).clamp_min(0), view.neighbour_pose, there)
        x = torch.cat([alone, together], 1)
        x = self.norm(x + self.mix(x))
        ahead = torch.arange(1, steps + 1, device=x.device, dtype=x.dtype)
        constant = velocity(history[target], seen[target])[:, None, None] * ahead[:, None]
        weights = self.way(x).unflatten(-1, (2, -1))
        way = constant + scale * torch.einsum("nqdc,ct->nqtd", weights, self.curves)
        logit, k = self.logit(x)[..., 0], self.config.modes
        return Output(way[:, 0], way[:, 1 : 1 + k], logit[:, 1 : 1 + k], way[:, 1 + k :], logit[:, 1 + k :])

    def predict(self, batch: dict[str, Tensor]) -> Output:
        """The futures for a dictionary of inputs; whatever else is in it is passed over."""
        return self(*(batch[name] for name in INPUTS))

    def _known(self, history: Tensor, seen: Tensor, kind: Tensor, directed: Tensor, step_s: Tensor) -> Tensor:
        both = (seen[:, 1:] & seen[:, :-1])[..., None]
        moved = torch.where(both, history[:, 1:] - history[:, :-1], torch.zeros_like(history[:, 1:]))
        speed = nn.functional.pad(moved, (0, 0, 1, 0)) * (self.config.observed_steps / 2)
        steps = torch.cat([history / self.config.scale_m, speed / self.config.scale_m, seen[..., None]], -1)
        kinds = nn.functional.one_hot(kind, len(KINDS)).to(history.dtype)
        rest = torch.stack([directed.to(history.dtype), step_s / self.config.step_s - 1], -1)
        return torch.cat([steps.flatten(1), kinds, rest], -1)

    def _relation(self, pose: Tensor) -> Tensor:
        x, y, turn = pose.unbind(-1)
        return self.relation(relative_pose(x / self.config.scale_m, y / self.config.scale_m, turn))


def curves(steps: int, most: int = 10) -> Float[Tensor, "c t"]:
    """Smooth functions of time that are 0 at the last observed step: Legendre polynomials times the time.

    A trajectory is a sum of them: it cannot shake from step to step, and there is less to learn.

    Args:
        steps: predicted ones.
        most: how many functions; no more than steps.
    """
    time = np.arange(1, steps + 1) / steps
    rows = [time * np.polynomial.legendre.Legendre.basis(k, (0, 1))(time) for k in range(min(most, steps))]
    return torch.from_numpy(np.stack(rows).astype(np.float32))


INPUTS = (
    "history", "seen", "kind", "directed", "step_s", "neighbour", "neighbour_there", "neighbour_pose", "lane",
    "lane_there", "lane_pose", "line", "line_kind", "target", "horizon", "sharing",
)  # fmt: skip


def velocity(history: Float[Tensor, "n h 2"], seen: Bool[Tensor, "n h"]) -> Float[Tensor, "n 2"]:
    """The last displacement from step to step; 0 where the step before the last was not seen."""
    return torch.where(seen[:, -2, None], history[:, -1] - history[:, -2], torch.zeros_like(history[:, -1]))
