"""Online 3-D segmentation: labels of things and surfaces while a room is being scanned.

INS-Conv (Liu et al., CVPR 2022) runs a sparse 3-D U-Net on the voxels of a growing map. A new frame adds few voxels and
changes the colour of some; so each layer keeps what it computed, and the cost of a frame follows what it changes, not
the size of the map. `model.py` is the network, `stream.py` the incremental computation: `paper` follows the published
rule (only voxels of the increment are computed anew), `exact` computes everything that can change, `full` everything.
`online.py` is the session of a scan that is going on, `whole_scan.py` labels a scan at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from percepta.config import TrainConfig
from percepta.errors import InputError


@dataclass(frozen=True)
class Config:
    """Settings of online 3-D segmentation."""

    inputs: int = 3
    """Channels of a voxel: red, green and blue, -1..1."""
    classes: int = 20
    """Classes of the semantic head (ScanNet's 20)."""
    width: int = 32
    """Channels at full resolution; level l (from 0) has l + 1 times as many."""
    levels: int = 7
    """Resolutions; each one halves the one before."""
    blocks: int = 2
    """Residual blocks on a level, on the way down and again on the way up."""
    instances: bool = True
    """Whether there is an instance head: the offset from each voxel to the centre of its instance, in metres."""
    embedding: int = 0
    """Channels of an embedding beside the offset; 0: none."""
    voxel_m: float = 0.02
    """Side of a voxel."""
    offset_weight: float = 1.0
    """Weight of the instance losses."""
    class_balance: float = 0.3
    """Classes weigh (share of voxels)^-balance in the loss. 0: all voxels alike."""
    cluster_m: float = 0.06
    """Voxels whose shifted places lie in the same or in touching cells of this side are one instance."""
    min_points: int = 40
    """Fewest voxels of an instance."""
    views: int = 4
    """A whole scan is predicted in so many voxel grids (1..4), turned and shifted, and the answers are averaged; a scan
    that is going on has one."""
    rooms: int = 400
    """Synthetic rooms to train on. 0: only the scans of the folder."""
    real_share: float = 0.4
    """Share of training samples that come from the folder's scans, where there is one."""
    held_out: tuple[str, ...] = ()
    """Names of the folder's scans that are kept for "val"."""
    frames: int = 60
    """Pictures that the scan of a synthetic room is made from."""
    camera_px: int = 160
    """Width of these pictures."""
    augment: bool = True
    """Whether training samples are turned, distorted and recoloured."""
    free_rotation: float = 0.1
    """Share of training samples that are turned about any axis, not only about the vertical."""
    mix_share: float = 0.3
    """Share of training samples that are two scenes laid over each other."""
    crop_m: float = 5.0
    """Largest side of the piece of a scene that a training sample is. 0: the whole scene."""
    crop_points: int = 60_000
    """Most points of a piece."""
    point_dropout: float = 0.3
    """Largest share of points that are left out."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """How it is trained."""

    def __post_init__(self) -> None:
        for name in ("real_share", "free_rotation", "mix_share", "point_dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is a share from 0 to 1, got {getattr(self, name)}")
        for name in ("voxel_m", "cluster_m"):
            if getattr(self, name) <= 0:
                raise InputError(f"{name} is a length above 0, got {getattr(self, name)}")
        if not 1 <= self.views <= 4:
            raise InputError(f"views is 1 to 4, got {self.views}")
        if self.rooms < 0:
            raise InputError(f"rooms is at least 0, got {self.rooms}")


PRESETS: dict[str, Config] = {
    "tiny": Config(
        width=8, levels=3, blocks=1, voxel_m=0.1, cluster_m=0.2, min_points=5, views=1, rooms=8, frames=10,
        camera_px=64,
        train=TrainConfig(steps=200, batch_size=4, lr=1e-2, warmup=10),
    ),
    "small": Config(
        width=16, levels=5, blocks=1, voxel_m=0.04, cluster_m=0.08,
        train=TrainConfig(
            steps=4000, batch_size=2, lr=4e-3, weight_decay=0.02, warmup=100, clip_norm=5.0, ema=0.995, workers=1,
            checkpoint_every=250,
        ),
    ),
    "paper": Config(instances=False, views=1),
}  # fmt: skip
