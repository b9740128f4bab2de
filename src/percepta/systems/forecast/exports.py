"""The network as an ONNX graph: tensors of one scene (see `scene.tensors`) to futures in the agents' own frames."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from percepta.contract import Graph
from percepta.datasets.tracks import KINDS
from percepta.systems.forecast.scene import LINE_KINDS
from percepta.systems.forecast.small import SmallNet


class Futures(nn.Module):
    """The network for all agents of a scene, with its outputs as a tuple."""

    def __init__(self, model: SmallNet) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        history: Tensor,
        seen: Tensor,
        kind: Tensor,
        directed: Tensor,
        step_s: Tensor,
        neighbour: Tensor,
        neighbour_there: Tensor,
        neighbour_pose: Tensor,
        lane: Tensor,
        lane_there: Tensor,
        lane_pose: Tensor,
        line: Tensor,
        line_kind: Tensor,
        horizon: Tensor,
        sharing: Tensor,
    ) -> tuple[Tensor, ...]:
        """The futures of all agents; the arguments are those of `SmallNet.forward`.

        Args:
            history, seen, kind, directed, step_s: of the agents.
            neighbour, neighbour_there, neighbour_pose: of their neighbours.
            lane, lane_there, lane_pose: of the pieces of lines that they see.
            line, line_kind: of these pieces.
            horizon, sharing: of the agents.
        """
        everybody = torch.arange(kind.shape[0], device=kind.device)
        return tuple(
            self.model(
                history, seen, kind, directed, step_s, neighbour, neighbour_there, neighbour_pose, lane, lane_there,
                lane_pose, line, line_kind, everybody, horizon, sharing,
            )
        )  # fmt: skip


def futures(model: Any) -> Graph:
    """Scenes of any number of agents and pieces of lines; futures are asked for of all of them."""
    config = model.config
    generator = torch.Generator().manual_seed(0)
    n, m = 5, 7

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    values = {
        "history": draw(n, config.observed_steps, 2),
        "seen": torch.ones(n, config.observed_steps, dtype=torch.bool),
        "kind": torch.arange(n) % len(KINDS),
        "directed": torch.ones(n, dtype=torch.bool),
        "step_s": torch.full((n,), config.step_s),
        "neighbour": torch.arange(n * config.neighbours).view(n, -1) % n,
        "neighbour_there": draw(n, config.neighbours) > 0,
        "neighbour_pose": draw(n, config.neighbours, 3),
        "lane": torch.arange(n * config.lane_pieces).view(n, -1) % m,
        "lane_there": draw(n, config.lane_pieces) > 0,
        "lane_pose": draw(n, config.lane_pieces, 3),
        "line": draw(m, config.piece_points, 2),
        "line_kind": torch.arange(m) % len(LINE_KINDS),
        "horizon": torch.ones(n),
        "sharing": torch.full((n,), float(n)),
    }
    axes = {name: {0: "lines" if name.startswith("line") else "agents"} for name in values}
    names = ["one", "single", "single_logits", "joint", "joint_logits"]
    return Futures(model), values, names, axes


EXPORTS = {"futures": futures}
