"""Video object segmentation (settings of the data only; the networks' settings stand in the network's own branch)."""

from __future__ import annotations

from dataclasses import dataclass, field

from percepta.config import TrainConfig


@dataclass(frozen=True)
class Config:
    """Settings of video object segmentation."""

    height: int = 256
    """Height of training clips, in pixels."""
    width: int = 448
    """Width of training clips, in pixels."""
    clip_frames: int = 4
    """Frames of a training clip."""
    max_objects: int = 3
    """Objects of a training clip, at most."""
    real_share: float = 0.4
    """Share of training clips that are cut from videos; the others are made of single pictures."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """How it is trained."""
