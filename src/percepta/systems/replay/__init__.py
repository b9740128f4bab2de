"""Replay grounding: where the replays of a broadcast are, and when what each of them shows happened.

The task of SoccerNet-v2 (Deliège et al. 2021). Ours (`model.py`) takes it as detection, as the winner of 2022 did
(arXiv 2411.00881): in the 120 seconds before a replay the action is a segment of three seconds; a network that is given
the features of the past and of the replay scores every frame and says where the segment begins and ends, and ranked
proposals come out. A second head finds the replays themselves: frames inside of one, and the wipes at both ends, which
come in pairs. The published baseline, CALF (Cioppa et al. 2020; `calf.py`), is read with its own weights.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from percepta.config import TrainConfig
from percepta.errors import InputError

SOUND = "_sound"  # at the end of the name of features: loudness is their last number


@dataclass(frozen=True)
class Config:
    """Settings of replay grounding."""

    design: Literal["small", "calf"] = "small"
    """Our network, or the published one."""
    features: str = "lite0"
    """Features of the frames: lite0 (ours), pixels (for tests), or the NAME of files 1_NAME.npy and 2_NAME.npy. A name
    that ends in _sound, such as lite0_sound, has the loudness of the sound as the last number of each frame."""
    feature_width: int = 1792
    """Numbers a frame; follows from the data in training."""
    fps: float = 2.0
    """Frames a second that are looked at."""
    past_frames: int = 240
    """Frames before a replay in which the action is looked for."""
    replay_frames: int = 32
    """Frames of a replay that are looked at, from its start."""
    channels: int = 96
    """Width of our network."""
    dilations: tuple[int, ...] = (1, 2, 4, 8, 16)
    """Frames between the taps of each convolution over the past."""
    segment_s: float = 3.0
    """Length of the segment around an action that is learned."""
    uses_replay: bool = True
    """False: the replay itself is not looked at; what the past alone says, for comparison."""
    nms_s: float = 8.0
    """Seconds within which proposals lose score to a better one."""
    most: int = 20
    """Proposals of a replay at most."""
    span_score: float = 0.5
    """From which score on a frame is inside of a replay."""
    shortest_s: float = 2.0
    """Replays that are found are at least so long."""
    dropout: float = 0.2
    """In training."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """How it is trained."""

    def __post_init__(self) -> None:
        for name in ("feature_width", "past_frames", "replay_frames", "channels", "most"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} has to be at least 1, got {getattr(self, name)}")
        if self.fps <= 0 or self.segment_s <= 0 or self.nms_s <= 0:
            raise InputError("fps, segment_s and nms_s are above 0")

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
        batch_size=16,
        lr=1e-3,
        weight_decay=0.05,
        warmup=100,
        clip_norm=1.0,
        ema=0.995,
        checkpoint_every=100,
    )
)

PRESETS: dict[str, Config] = {
    "tiny": replace(
        _small,
        features="pixels",
        feature_width=336,
        past_frames=96,
        channels=32,
        dilations=(1, 2, 4),
        dropout=0.0,
        train=replace(_small.train, steps=200, batch_size=4, lr=3e-3, warmup=10, ema=0.0),
    ),
    "small": _small,
    "past": replace(_small, uses_replay=False),
    "calf": replace(_small, design="calf", features="ResNET_TF2_PCA512", feature_width=512, replay_frames=240),
}
