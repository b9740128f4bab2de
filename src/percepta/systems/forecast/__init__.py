"""Where agents go in the next seconds: several futures with probabilities, for each agent or for a scene jointly.

Argoverse 2 motion forecasting (Wilson et al. 2021; the challenge of CVPR 2022) asks for six trajectories of 6 s from 5
s of observed tracks and a map of lanes. `small` is ours: polylines of agents and lanes in frames of their own,
attention between them (nn/relative.py), and a decoder with one query a mode; it takes scenes with lanes and without.
`qcnet` (Zhou et al., CVPR 2023), `hivt` (Zhou et al., CVPR 2022) and `social-stgcnn` (Mohamed et al., CVPR 2020) are
the published networks and read the published checkpoints. `fans.py` is what needs no learning, and stands beside every
number. `scene.py` turns a moment of a recording into tensors: nothing later than the last observed step reaches a
network.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from percepta.config import TrainConfig
from percepta.errors import InputError


@dataclass(frozen=True)
class QCNetSettings:
    """Widths and radii of QCNet, as published."""

    hidden: int = 128
    """Channels."""
    heads: int = 8
    """Heads of attention."""
    head_width: int = 16
    """Channels of a head."""
    bands: int = 64
    """Frequencies of a number."""
    map_layers: int = 1
    """Layers of the map's encoder."""
    agent_layers: int = 2
    """Layers of the agents' encoder."""
    decoder_layers: int = 2
    """Layers of each part of the decoder."""
    recurrent_steps: int = 3
    """Steps in which a proposal is made; they divide future_steps."""
    time_span: int = 10
    """Steps back that an agent attends to."""
    memory_steps: int = 30
    """Last steps that modes attend to."""
    polygon_radius_m: float = 150.0
    """Polygons attend to polygons within."""
    map_radius_m: float = 50.0
    """Agents attend to polygons within."""
    agent_radius_m: float = 50.0
    """Agents attend to agents within."""
    mode_map_radius_m: float = 150.0
    """Modes attend to polygons within."""
    mode_agent_radius_m: float = 150.0
    """Modes attend to agents within."""
    dropout: float = 0.1
    """In training."""
    heading: bool = False
    """Whether headings are predicted too."""


@dataclass(frozen=True)
class HiVTSettings:
    """Widths and radii of HiVT, as published (HiVT-64)."""

    width: int = 64
    """Channels."""
    heads: int = 8
    """Heads of attention."""
    temporal_layers: int = 4
    """Layers over time."""
    global_layers: int = 3
    """Layers among all agents."""
    local_radius_m: float = 50.0
    """Agents attend to agents and lanes nearer than this."""
    dropout: float = 0.1
    """In training."""


@dataclass(frozen=True)
class Config:
    """Settings of motion forecasting."""

    design: Literal["small", "social-stgcnn", "hivt", "qcnet"] = "small"
    """The network: ours, or a published one."""
    observed_steps: int = 20
    """How many positions of the past are seen, the last one included."""
    future_steps: int = 60
    """How many positions are predicted at most."""
    windows: tuple[tuple[int, int], ...] = ((20, 30), (50, 60))
    """(observed, future) steps of the windows that are scored: an agent counts where it is seen at all of them. Modes
    are spread for the future that is asked for, and trained for all of these. The network sees the last
    `observed_steps`."""
    step_s: float = 0.1
    """Time from step to step. Recordings with other steps are resampled, see `resample`. A training that begins with
    random weights takes the steps of the recordings where none of them has this one."""
    resample: bool = True
    """Resample recordings with other steps; False takes their steps as they are, as papers on ETH/UCY do."""
    modes: int = 6
    """Futures of each agent, and of each scene jointly."""
    lanes: bool = True
    """Whether the map is seen."""
    width: int = 64
    """Channels of the network."""
    heads: int = 4
    """Heads of attention."""
    layers: int = 2
    """Layers of attention to lanes and to other agents, before the modes."""
    scale_m: float = 10.0
    """Lengths are divided by this before the network sees them."""
    neighbours: int = 12
    """Nearest other agents that each agent sees."""
    neighbour_radius_m: float = 50.0
    """Agents farther away are not seen."""
    lane_pieces: int = 32
    """Pieces of lanes that each agent sees: those nearest to where it is and where its velocity leads."""
    lane_radius_m: float = 60.0
    """Pieces farther than this from all of these places are not seen."""
    piece_m: float = 12.0
    """Longest piece of a lane."""
    piece_points: int = 6
    """Points of a piece."""
    groups: tuple[str, ...] = ("nuscenes", "waymo", "argoverse1", "argoverse2", "interaction", "csv", "street")
    """Collections of recordings that are used, where a folder holds several."""
    fold: int = 0
    """Which third of the recordings is held out of training (0 to 2), or which scene of ETH/UCY (0 to 4); −1: none."""
    stride_s: float = 0.5
    """Time between two windows of a recording that are evaluated."""
    train_stride_s: float = 0.3
    """Time between two windows of a recording that are trained on."""
    scored: Literal["moving vehicles", "all"] = "moving vehicles"
    """Which agents an evaluation scores, among those seen at all steps of the window."""
    targets: int = 24
    """Most agents of a training scene whose futures are learned; those that move come first."""
    drop_lanes: float = 0.2
    """Share of training scenes whose map is hidden, so that scenes without one are not strange."""
    scale_range: tuple[float, float] = (0.85, 1.15)
    """Training scenes are made smaller or larger by a factor from this range."""
    turn_noise_deg: float = 4.0
    """Standard deviation by which the frames of agents are turned in training."""
    qcnet: QCNetSettings = field(default_factory=QCNetSettings)
    """Only for the design qcnet."""
    hivt: HiVTSettings = field(default_factory=HiVTSettings)
    """Only for the design hivt."""
    fan: tuple[tuple[float, float, float], ...] = ()
    """The fan that evaluations print as a baseline: (angle in degrees, factor of the speed, probability) of each mode.
    Chosen on the training part before a training begins; none: one made by hand, see `fans.BY_HAND`."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """How it is trained."""

    def __post_init__(self) -> None:
        if self.observed_steps < 2 or self.future_steps < 1 or self.modes < 1:
            raise InputError(
                "observed_steps is at least 2, future_steps and modes at least 1; got "
                f"{self.observed_steps}, {self.future_steps} and {self.modes}"
            )
        if not self.windows or not all(
            observed >= 2 and 1 <= future <= self.future_steps for observed, future in self.windows
        ):
            raise InputError(
                "windows are pairs (observed, future) with at least 2 observed steps and at most future_steps "
                f"{self.future_steps} future ones; got {self.windows}"
            )
        if self.step_s <= 0 or self.scale_m <= 0 or self.stride_s <= 0 or self.train_stride_s <= 0:
            raise InputError("step_s, scale_m, stride_s and train_stride_s are above 0")
        if self.width % self.heads:
            raise InputError(f"width {self.width} is no multiple of {self.heads} heads")
        if not 0 < self.scale_range[0] <= self.scale_range[1]:
            raise InputError(f"scale_range is (lowest, highest) above 0; got {self.scale_range}")


PRESETS: dict[str, Config] = {
    "tiny": Config(
        observed_steps=10, future_steps=30, windows=((10, 30),), modes=3, width=32, heads=2, layers=1, neighbours=6,
        lane_pieces=12, groups=("street",), scored="all", train_stride_s=1.0, stride_s=2.0, drop_lanes=0.0,
        fan=((0.0, 1.0, 0.54), (0.0, 0.5, 0.24), (-6.25, 0.8, 0.22)),
        train=TrainConfig(steps=300, batch_size=8, lr=3e-3, warmup=20, clip_norm=1.0),
    ),
    "small": Config(
        train=TrainConfig(
            steps=3000, batch_size=8, lr=2e-3, weight_decay=0.01, warmup=100, clip_norm=1.0, ema=0.995,
            checkpoint_every=200,
        ),
    ),
    "social-stgcnn": Config(
        design="social-stgcnn", observed_steps=8, future_steps=12, windows=((8, 12),), step_s=0.4, resample=False,
        modes=20, lanes=False, groups=("eth_ucy", "csv"), scored="all", stride_s=0.4, train_stride_s=0.4,
        scale_range=(1.0, 1.0), turn_noise_deg=0.0,
        train=TrainConfig(
            steps=50_000, batch_size=128, lr=0.01, optimizer="sgd", momentum=0.0, schedule="step", milestones=(0.6,),
        ),
    ),
    "hivt": Config(
        design="hivt", observed_steps=20, future_steps=30, windows=((20, 30),),
        groups=("argoverse1", "argoverse2"), scale_range=(1.0, 1.0), turn_noise_deg=0.0, drop_lanes=0.0, targets=1000,
        train=TrainConfig(steps=400_000, batch_size=32, lr=5e-4, weight_decay=1e-4, checkpoint_every=2000),
    ),
    "qcnet": Config(
        design="qcnet", observed_steps=50, future_steps=60, windows=((50, 60),), groups=("argoverse2",),
        scale_range=(1.0, 1.0), turn_noise_deg=0.0, drop_lanes=0.0, targets=1000,
        train=TrainConfig(steps=400_000, batch_size=32, lr=5e-4, weight_decay=1e-4, checkpoint_every=2000),
    ),
    "people": Config(
        observed_steps=8, future_steps=12, windows=((8, 12),), step_s=0.4, resample=False, modes=20, lanes=False,
        scale_m=2.0, neighbours=10, neighbour_radius_m=10.0, groups=("eth_ucy", "csv"), scored="all",
        stride_s=0.4, train_stride_s=0.4, scale_range=(0.7, 1.8), turn_noise_deg=6.0,
        train=TrainConfig(
            steps=3000, batch_size=16, lr=2e-3, weight_decay=0.01, warmup=100, clip_norm=1.0, ema=0.995,
            checkpoint_every=200,
        ),
    ),
}  # fmt: skip
