"""Planes from posed pictures: walls, floors and table tops with their extent, pose and meaning.

PlaneMVS (Liu et al., CVPR 2022): instead of sweeping planes that face the camera, slanted plane hypotheses p = n/d
carry the source picture onto the reference picture by homographies; a 3-D network turns how well they match into a
probability of every hypothesis in every pixel, whose mean is a plane for each pixel. A detection branch finds plane
instances with classes; pooling the pixel planes with an instance's soft mask gives one plane for it, and the depth is
composed of instance planes where there are any and of pixel planes elsewhere. Ten losses, weighted by learnt
uncertainties, train both branches at once. `sweep.py` is the geometry, `head.py` our detection branch (centres with
dynamic masks instead of Mask R-CNN), `model.py` the network, `fusion.py` many key frames into one scene of polygons.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from percepta.config import TrainConfig
from percepta.errors import InputError


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
    pyramid: int = 48
    """Channels of the feature pyramid."""
    matching: int = 16
    """Channels that are compared between pictures."""
    fine: bool = False
    """Compare at a quarter instead of an eighth of the picture; costs are then averaged over 2 × 2 places."""
    cost: Literal["concat", "correlation"] = "correlation"
    """What the volume holds: both pictures' channels (as published), or their products, averaged in groups."""
    groups: int = 8
    """Groups of the correlation."""
    sweep: Literal["slanted", "fronto"] = "slanted"
    """Hypotheses: slanted planes, or planes that face the camera (an ablation)."""
    counts: tuple[int, int, int] = (8, 8, 8)
    """Number of hypotheses along x, y and z of p = n/d; for "fronto" their product along z."""
    ranges: tuple[tuple[float, float], ...] = ((-2.0, 2.0), (-2.0, 2.0), (-2.0, 0.5))
    """Lowest and highest value of each, in 1/m."""
    chunk: int = 32
    """Hypotheses whose warped features are in memory at once; in training the costs of all are."""
    volume: int = 8
    """Channels of the 3-D network at full resolution."""
    context: int = 64
    """Channels of the 2-D network that corrects matched planes by what the reference picture shows; 0: none."""
    refine: int = 32
    """Channels of the refinement at full resolution."""
    views: Literal["mean", "visible"] = "visible"
    """How several source pictures count: all alike, or only those that see a hypothesis."""
    levels: int = 0
    """Compare at so many inverse depths and read what hypotheses cost off between them. 0: carry the source picture
    over by each hypothesis, as published, which takes several times as long."""
    polish: int = 0
    """How often the costs around the matched planes are read again, at a quarter of the picture, to correct them."""
    soft_pooling: bool = True
    """Pool instance planes with the masks' probabilities; else with the masks themselves."""
    head: int = 64
    """Channels of the detection branch."""
    most: int = 16
    """Most planes that are detected in a picture."""
    least_area: float = 0.003
    """Smallest plane that counts, as a share of the picture."""
    sure: float = 0.3
    """Lowest score of a detection that is kept."""
    near_m: float = 0.1
    """Depth is never less."""
    far_m: float = 10.0
    """Depth is never more."""
    world: Literal["rooms", "boxes"] = "rooms"
    """The synthetic world: furnished rooms, or the inside of boxes with any texture (fast, for tests)."""
    rooms: int = 240
    """Rooms of the synthetic training set."""
    pairs: int = 12
    """Pairs of pictures from each."""
    baseline_m: tuple[float, float] = (0.05, 0.15)
    """Distance between the two cameras of a training pair."""
    shaken_deg: float = 0.0
    """How far training pairs' poses are off: deviation about each axis. Those of real cameras are, while they turn."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """How it is trained."""

    def __post_init__(self) -> None:
        if self.width % 16 or self.height % 16 or min(self.width, self.height) < 32:
            raise InputError(f"width and height are multiples of 16 from 32 on, got {self.width}×{self.height}")
        if len(self.ranges) != 3 or any(len(row) != 2 or row[0] >= row[1] for row in self.ranges):
            raise InputError(f"ranges are three pairs (lowest, highest), got {self.ranges}")
        if min(self.counts) < 1 or self.chunk < 1:
            raise InputError(f"counts and chunk have to be at least 1, got {self.counts} and {self.chunk}")
        if self.cost == "correlation" and self.matching % self.groups:
            raise InputError(f"matching {self.matching} channels cannot be shared by {self.groups} groups")
        if not 0 < self.near_m < self.far_m:
            raise InputError(f"near_m has to be above 0 and below far_m, got {self.near_m} and {self.far_m}")
        if self.levels == 1 or min(self.levels, self.polish, self.context) < 0:
            raise InputError(
                "levels is 0 or from 2 on, polish and context from 0 on, "
                f"got {self.levels}, {self.polish} and {self.context}"
            )
        if self.levels and (self.cost != "correlation" or not self.fine):
            raise InputError(
                'levels are for cost "correlation" with fine=True: other volumes hold no costs to read off'
            )
        if self.polish and not self.levels:
            raise InputError("polish reads the costs again that levels keep: give levels as well")
        if self.shaken_deg < 0:
            raise InputError(f"shaken_deg is an angle of at least 0, got {self.shaken_deg}")
        if not 0 < self.baseline_m[0] < self.baseline_m[1]:
            raise InputError(f"baseline_m is (shortest, longest) in metres, got {self.baseline_m}")


PRESETS: dict[str, Config] = {
    "tiny": Config(
        width=96, height=64, encoder="plain", pyramid=16, matching=8, groups=4, fine=True, counts=(3, 3, 6), refine=8,
        context=0,
        ranges=((-1.0, 1.0), (-1.0, 1.0), (-1.5, 0.25)), head=16, most=8, least_area=0.02, world="boxes", rooms=1024,
        pairs=1, baseline_m=(0.25, 0.5),
        train=TrainConfig(steps=300, batch_size=4, lr=4e-3, warmup=10, clip_norm=1.0),
    ),
    "small": Config(
        matching=32, fine=True, counts=(3, 3, 16), ranges=((-1.5, 1.5), (-1.5, 1.5), (-2.4, 0.3)), levels=48, polish=2,
        refine=8, most=32, shaken_deg=0.1, frozen_blocks=8, rooms=400,
        train=TrainConfig(
            steps=2500, batch_size=4, lr=1e-3, lr_scale=(("image", 0.3),), weight_decay=0.01, warmup=100,
            clip_norm=1.0, ema=0.995, checkpoint_every=100,
        ),
    ),
    # 10 epochs of 67,000 pairs on one GPU, as published; decays after epochs 7 and 9.
    "paper": Config(
        width=640, height=480, encoder="resnet50", pyramid=256, cost="concat", context=0, views="mean", most=8,
        head=128, train=TrainConfig(
            steps=111_600, batch_size=6, lr=3e-3, weight_decay=1e-4, optimizer="sgd", schedule="step",
            milestones=(0.7, 0.9), checkpoint_every=2000, clip_norm=10.0,
        ),
    ),
}  # fmt: skip
