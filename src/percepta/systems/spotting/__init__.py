"""Action spotting: when what happens in a broadcast of soccer, as single moments of seventeen classes.

The task of SoccerNet-v2 (Deliège et al. 2021). Ours (`model.py`): frozen EfficientNet-Lite0 features of two frames a
second, or anybody's features of any width, go through dilated convolutions over two minutes; every frame says for each
class how likely an action is near and how far away it is (Soares et al. 2022), and soft suppression makes moments of
that. The published baselines are read with their own weights: NetVLAD++ (Giancola & Ghanem 2021), CALF (Cioppa et al.
2020), E2E-Spot (Hong et al. 2022), and the older NetVLAD and max pooling (Giancola et al. 2018).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from percepta.config import TrainConfig
from percepta.errors import InputError

CLASSES = (
    "Penalty", "Kick-off", "Goal", "Substitution", "Offside", "Shots on target", "Shots off target", "Clearance",
    "Ball out of play", "Throw-in", "Foul", "Indirect free-kick", "Direct free-kick", "Corner", "Yellow card",
    "Red card", "Yellow->red card",
)  # fmt: skip
OLD_CLASSES = ("card", "subs", "soccer")


SOUND = "_sound"  # at the end of the name of features: loudness is their last number


@dataclass(frozen=True)
class Config:
    """Settings of action spotting."""

    design: Literal["small", "netvladpp", "calf", "e2e", "netvlad", "maxpool"] = "small"
    """Our network, or one of the published ones."""
    classes: tuple[str, ...] = CLASSES
    """What is spotted, in the order of the outputs; follows from the data in training."""
    features: str = "lite0"
    """Features of the frames: lite0 (ours), pixels (for tests), or the NAME of files 1_NAME.npy and 2_NAME.npy. A name
    that ends in _sound, such as lite0_sound, has the loudness of the sound as the last number of each frame."""
    feature_width: int = 1792
    """Numbers a frame; follows from the data in training."""
    fps: float = 2.0
    """Frames a second that are looked at."""
    window_frames: int = 224
    """Frames of a training window, and of a chunk at prediction."""
    channels: int = 192
    """Width of our network."""
    dilations: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 1, 2)
    """Frames between the taps of each convolution; none: every frame alone, which is the floor that is reported."""
    near_frames: float = 3.0
    """Up to so many frames away an action counts as near."""
    nms_s: float = 6.0
    """Seconds within which the neighbours of a moment lose score."""
    least_score: float = 0.02
    """What is below it is not said."""
    dropout: float = 0.2
    """In training."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """How it is trained."""

    def __post_init__(self) -> None:
        for name in ("feature_width", "window_frames", "channels"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} has to be at least 1, got {getattr(self, name)}")
        if self.fps <= 0 or self.near_frames <= 0 or self.nms_s <= 0:
            raise InputError("fps, near_frames and nms_s are above 0")
        if not self.classes or len(set(self.classes)) < len(self.classes):
            raise InputError(f"classes are different names, at least one, got {self.classes}")

    @property
    def sound(self) -> bool:
        """Whether the last number of a frame is how loud it is."""
        return self.features.endswith(SOUND)

    @property
    def encoder(self) -> str:
        """What makes the other numbers of pictures: lite0, pixels, or something that percepta does not have."""
        return self.features.removesuffix(SOUND)


_small = Config(
    train=TrainConfig(
        steps=2400,
        batch_size=12,
        lr=1e-3,
        weight_decay=0.05,
        warmup=100,
        clip_norm=1.0,
        ema=0.995,
        checkpoint_every=100,
    )
)
_published = replace(_small, features="ResNET_TF2_PCA512", feature_width=512, window_frames=240)

PRESETS: dict[str, Config] = {
    "tiny": replace(
        _small,
        features="pixels",
        feature_width=336,
        window_frames=64,
        channels=48,
        dilations=(1, 2, 4),
        dropout=0.0,
        train=replace(_small.train, steps=200, batch_size=4, lr=3e-3, warmup=10, ema=0.0),
    ),
    "small": _small,
    "frame": replace(_small, dilations=()),
    "netvladpp": replace(_published, design="netvladpp", window_frames=30, nms_s=30.0),
    "calf": replace(_published, design="calf", nms_s=20.0),
    "e2e": replace(_published, design="e2e", features="frames", feature_width=1, window_frames=100),
    "netvlad": replace(_published, design="netvlad", classes=OLD_CLASSES, nms_s=60.0),
    "maxpool": replace(_published, design="maxpool", nms_s=60.0),
}
