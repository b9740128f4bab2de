"""Planes from posed pictures: walls, floors and table tops with their extent, pose and class.

PlaneMVS (Liu et al., CVPR 2022): instead of sweeping planes that face the camera, slanted plane hypotheses p = n/d
carry the source picture onto the reference picture by homographies; a 3-D network turns how well they match into a
probability of every hypothesis in every pixel, whose mean is a plane for each pixel. A detection branch finds plane
instances with classes; pooling the pixel planes with an instance's soft mask gives one plane for it, and the depth is
composed of instance planes where there are any and of pixel planes elsewhere. Ten losses, weighted by learnt
uncertainties, train both branches at once. `sweep.py` is the geometry, `head.py` our detection branch (centres with
dynamic masks instead of Mask R-CNN), `model.py` the network, `predict.py` an answer, `fusion.py` many key frames
fused into one scene of polygons.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from percepta.config import TrainConfig
from percepta.errors import InputError

SCORE_THRESHOLD = 0.3  # lowest score of a plane that is given
SCENE_SCORE_THRESHOLD = 0.4  # lowest score of a plane that joins a scene
MAX_PLANES = 32  # most planes of a picture


@dataclass(frozen=True)
class Config:
    """Settings of plane reconstruction."""

    width: int = 320
    """Width of the pictures that the network sees, a multiple of 16."""
    height: int = 240
    """Their height, a multiple of 16."""
    encoder: Literal["lite0", "resnet50", "plain"] = "lite0"
    """What gives features: EfficientNet-Lite0, ResNet-50, or four plain convolutions; each with a feature pyramid."""
    frozen_blocks: int = 2
    """How many of Lite0's first 16 blocks do not train."""
    pyramid_channels: int = 48
    """Channels of the feature pyramid."""
    match_channels: int = 16
    """Channels that are compared between pictures."""
    match_stride: Literal[4, 8] = 8
    """Compare at a quarter (4) or an eighth (8) of the picture; costs at a quarter are averaged over 2 × 2 places."""
    cost: Literal["concat", "correlation"] = "correlation"
    """What the cost volume holds: both pictures' channels (as published), or their products, averaged in groups."""
    cost_groups: int = 8
    """Groups of the correlation."""
    sweep: Literal["slanted", "fronto"] = "slanted"
    """Hypotheses: slanted planes, or planes that face the camera (an ablation)."""
    hypothesis_counts: tuple[int, int, int] = (8, 8, 8)
    """Number of hypotheses along x, y and z of p = n/d; for "fronto" their product along z."""
    hypothesis_ranges: tuple[tuple[float, float], ...] = ((-2.0, 2.0), (-2.0, 2.0), (-2.0, 0.5))
    """Lowest and highest value of each, in 1/m."""
    chunk_size: int = 32
    """Hypotheses whose warped features are in memory at once; in training the costs of all are."""
    volume_channels: int = 8
    """Channels of the 3-D network at full resolution."""
    context_channels: int = 64
    """Channels of the 2-D network that corrects matched planes by what the reference picture shows; 0: none."""
    refine_channels: int = 32
    """Channels of the refinement at full resolution."""
    source_average: Literal["all", "visible"] = "visible"
    """Costs are averaged over all source pictures, or over those in which a hypothesis is visible."""
    depth_levels: int = 0
    """Compare at so many inverse depths and interpolate what hypotheses cost between them. 0: warp the source picture
    by each hypothesis, as published, which takes several times as long."""
    polish_steps: int = 0
    """How often planes are corrected by the costs around them, at a quarter of the picture."""
    soft_pooling: bool = True
    """Pool instance planes with the masks' probabilities; else with the binary masks."""
    head_channels: int = 64
    """Channels of the detection branch."""
    min_area: float = 0.003
    """Smallest plane that is detected, as a share of the picture."""
    min_depth_m: float = 0.1
    """Depth is never less."""
    max_depth_m: float = 10.0
    """Depth is never more."""
    world: Literal["rooms", "boxes"] = "rooms"
    """The synthetic world: furnished rooms, or the inside of boxes with random textures (fast, for tests)."""
    rooms: int = 240
    """Rooms of the synthetic training set."""
    pairs_per_room: int = 12
    """Pairs of pictures from each."""
    baseline_m: tuple[float, float] = (0.05, 0.15)
    """Shortest and longest distance between the two cameras of a training pair."""
    pose_noise_deg: float = 0.0
    """Noise on the rotation of training pairs: mean deviation about each axis. Poses of real cameras have it."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """How it is trained."""

    def __post_init__(self) -> None:
        if self.width % 16 or self.height % 16 or min(self.width, self.height) < 32:
            raise InputError(f"width and height are multiples of 16 from 32 on, got {self.width}×{self.height}")
        ranges = self.hypothesis_ranges
        if len(ranges) != 3 or any(len(row) != 2 or row[0] >= row[1] for row in ranges):
            raise InputError(f"hypothesis_ranges are three pairs (lowest, highest), got {ranges}")
        if min(self.hypothesis_counts) < 1 or self.chunk_size < 1:
            raise InputError(
                "hypothesis_counts and chunk_size have to be at least 1, "
                f"got {self.hypothesis_counts} and {self.chunk_size}"
            )
        if self.match_stride not in (4, 8):
            raise InputError(f"match_stride is 4 or 8, got {self.match_stride}")
        if self.cost == "correlation" and self.match_channels % self.cost_groups:
            raise InputError(
                f"match_channels {self.match_channels} cannot be shared by {self.cost_groups} groups (cost_groups)"
            )
        if not 0 < self.min_depth_m < self.max_depth_m:
            raise InputError(
                f"min_depth_m has to be above 0 and below max_depth_m, got {self.min_depth_m} and {self.max_depth_m}"
            )
        if self.depth_levels == 1 or min(self.depth_levels, self.polish_steps, self.context_channels) < 0:
            raise InputError(
                "depth_levels is 0 or from 2 on, polish_steps and context_channels from 0 on, "
                f"got {self.depth_levels}, {self.polish_steps} and {self.context_channels}"
            )
        if self.depth_levels and (self.cost != "correlation" or self.match_stride != 4):
            raise InputError(
                'depth_levels are for cost "correlation" with match_stride 4: other volumes hold no costs to read'
            )
        if self.polish_steps and not self.depth_levels:
            raise InputError("polish_steps reads the costs again that depth_levels keeps: give depth_levels as well")
        if self.pose_noise_deg < 0:
            raise InputError(f"pose_noise_deg is an angle of at least 0, got {self.pose_noise_deg}")
        if not 0 < self.baseline_m[0] < self.baseline_m[1]:
            raise InputError(f"baseline_m is (shortest, longest) in metres, got {self.baseline_m}")


PRESETS: dict[str, Config] = {
    "tiny": Config(
        width=96, height=64, encoder="plain", pyramid_channels=16, match_channels=8, match_stride=4, cost_groups=4,
        hypothesis_counts=(3, 3, 6), hypothesis_ranges=((-1.0, 1.0), (-1.0, 1.0), (-1.5, 0.25)), context_channels=0,
        refine_channels=8, head_channels=16, min_area=0.02, world="boxes", rooms=1024, pairs_per_room=1,
        baseline_m=(0.25, 0.5),
        train=TrainConfig(steps=300, batch_size=4, lr=4e-3, warmup=10, clip_norm=1.0),
    ),
    "small": Config(
        match_channels=32, match_stride=4, hypothesis_counts=(3, 3, 16),
        hypothesis_ranges=((-1.5, 1.5), (-1.5, 1.5), (-2.4, 0.3)), depth_levels=48, polish_steps=2, refine_channels=8,
        pose_noise_deg=0.1, frozen_blocks=8, rooms=400,
        train=TrainConfig(
            steps=2500, batch_size=4, lr=1e-3, lr_scale=(("image", 0.3),), weight_decay=0.01, warmup=100,
            clip_norm=1.0, ema=0.995, checkpoint_every=100,
        ),
    ),
    # 10 epochs of 67,000 pairs on one GPU, as published; decays after epochs 7 and 9.
    "paper": Config(
        width=640, height=480, encoder="resnet50", pyramid_channels=256, cost="concat", context_channels=0,
        source_average="all", head_channels=128,
        train=TrainConfig(
            steps=111_600, batch_size=6, lr=3e-3, weight_decay=1e-4, optimizer="sgd", schedule="step",
            milestones=(0.7, 0.9), checkpoint_every=2000, clip_norm=10.0,
        ),
    ),
}  # fmt: skip
