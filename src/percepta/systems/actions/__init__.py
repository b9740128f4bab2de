"""When does what happen in a long video: temporal action localisation.

ActionFormer (Zhang, Wu & Li, ECCV 2022) reads features of a video, one vector every few frames. A transformer with
local windows makes a pyramid over time; at every place of every level two heads say which action goes on and how far
away its start and its end are; soft suppression of doubles leaves the segments. `thumos` and `anet` are the published
networks and read the published checkpoints and features. `small` is the same network, narrower, and takes a video:
EfficientNet-Lite0 looks at four frames a second, and differences of frames say what moves (`features.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from percepta.config import TrainConfig
from percepta.errors import InputError

EVERYDAY = ("put on eye makeup", "put on lipstick", "blow-dry hair", "brush teeth", "cut hair", "type")
GESTURES = ("wave one hand", "wave both hands", "do jumping jacks", "bend down")
BODY = ("walk", "run", "kick", "dance", "turn around", "squat")


@dataclass(frozen=True)
class Suppression:
    """How doubles are suppressed."""

    method: Literal["soft", "hard"] = "soft"
    """Scores of doubles fall by their overlap, or doubles are dropped."""
    iou_threshold: float = 0.1
    """For "hard": overlap from which on a segment is a double."""
    min_score: float = 0.001
    """Segments below this score are dropped."""
    max_segments: int = 200
    """Most segments of a video."""
    each_class: bool = True
    """Whether segments only suppress those of their own class."""
    sigma: float = 0.5
    """For "soft": the wider, the less scores fall."""
    voting: float = 0.7
    """Without `each_class`: borders become the mean of all that overlap by this much. 0: they stay."""


@dataclass(frozen=True)
class Config:
    """Settings of temporal action localisation."""

    labels: tuple[str, ...] = EVERYDAY + GESTURES + BODY
    """Names of the classes. One class alone: proposals, which take their class from elsewhere."""
    features: Literal["lite0", "grid", "file"] = "lite0"
    """What the network sees of a video: EfficientNet-Lite0 and differences of frames; a coarse grid of colours and
    differences; or feature files made by other networks."""
    channels: int = 1472
    """Numbers of a feature vector."""
    frame_height: int = 128
    """Height at which frames are seen; the width follows."""
    fps: float = 4.0
    """Frames a second of the video that features count."""
    stride: float = 1.0
    """Frames from one feature vector to the next."""
    window: float = 1.0
    """Frames that a feature vector looks at."""
    max_length: int = 256
    """Longest sequence of training, in feature vectors; longer ones are cut."""
    resize: bool = False
    """Whether every video is stretched to `max_length` vectors."""
    width: int = 128
    """Channels of the network."""
    heads: int = 4
    """Heads of attention."""
    windows: tuple[int, ...] = (9, 9, 9, 9, 9)
    """Window of attention of each level; a level has half the rate of the one before. −1: all places."""
    stem: int = 1
    """Blocks before the first level."""
    positions: int = 0
    """For how many places positions are added to the features; 0: for none."""
    ranges: tuple[tuple[float, float], ...] = ((0.0, 4.0), (4.0, 8.0), (8.0, 16.0), (16.0, 32.0), (32.0, 10_000.0))
    """Which distances to the farther border each level learns, in feature vectors."""
    radius: float = 1.5
    """Places this many strides around a segment's centre learn it."""
    dropout: float = 0.1
    """In attention and perceptrons."""
    drop_path: float = 0.1
    """Share of samples whose block is left out in training."""
    input_dropout: float = 0.2
    """Share of feature channels that are hidden in training."""
    label_smoothing: float = 0.0
    """Of the classes."""
    loss_weight: float = 1.0
    """Weight of the borders' loss beside the classes' loss."""
    normalizer: float = 100.0
    """Positive places that losses are divided by at the start; then a moving mean."""
    pre_threshold: float = 0.001
    """Places below this score make no candidate."""
    pre_top: int = 2000
    """Most candidates of a level."""
    min_duration: float = 0.05
    """Shortest candidate, in feature vectors."""
    suppression: Suppression = field(default_factory=Suppression)
    """How doubles are suppressed."""
    iou_thresholds: tuple[float, ...] = (0.3, 0.4, 0.5, 0.6, 0.7)
    """Overlaps at which the mean average precision is taken."""
    shuffled: bool = False
    """Whether classes are shuffled in training: a level that a network reaches without seeing anything."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """How it is trained."""

    def __post_init__(self) -> None:
        if not self.labels or len(set(self.labels)) != len(self.labels):
            raise InputError(f"labels are at least one name, each once; got {self.labels}")
        if len(self.windows) != len(self.ranges):
            raise InputError(f"windows and ranges have one entry a level; got {len(self.windows)}, {len(self.ranges)}")
        if self.width % self.heads:
            raise InputError(f"width {self.width} is no multiple of {self.heads} heads")
        if self.fps <= 0 or self.stride <= 0 or self.window <= 0:
            raise InputError("fps, stride and window are above 0")
        if self.max_length % self.coarsest:
            raise InputError(f"max_length is a multiple of {self.coarsest}; got {self.max_length}")

    @property
    def coarsest(self) -> int:
        """Stride of the last level, in feature vectors."""
        return 2 ** (len(self.windows) - 1)


_PUBLISHED = ((0.0, 4.0), (4.0, 8.0), (8.0, 16.0), (16.0, 32.0), (32.0, 64.0), (64.0, 10_000.0))
_THUMOS = (
    "BaseballPitch", "BasketballDunk", "Billiards", "CleanAndJerk", "CliffDiving", "CricketBowling", "CricketShot",
    "Diving", "FrisbeeCatch", "GolfSwing", "HammerThrow", "HighJump", "JavelinThrow", "LongJump", "PoleVault",
    "Shotput", "SoccerPenalty", "TennisSwing", "ThrowDiscus", "VolleyballSpiking",
)  # fmt: skip

PRESETS: dict[str, Config] = {
    "tiny": Config(
        labels=("move right", "move left", "blink"), features="grid", channels=384, frame_height=12, max_length=64,
        width=32, heads=2, windows=(5, 5, 5, 5), stem=1, ranges=((0.0, 4.0), (4.0, 8.0), (8.0, 16.0), (16.0, 10_000.0)),
        dropout=0.0, drop_path=0.0, input_dropout=0.0, normalizer=20.0,
        train=TrainConfig(steps=400, batch_size=8, lr=3e-3, warmup=10, clip_norm=1.0),
    ),
    "small": Config(
        suppression=Suppression(sigma=0.3),  # the best of 0.3, 0.5 and 0.75 on the split "val"
        train=TrainConfig(
            steps=2000, batch_size=8, lr=1e-3, weight_decay=0.05, warmup=200, clip_norm=1.0, ema=0.999,
            checkpoint_every=200,
        ),
    ),
    "thumos": Config(
        labels=_THUMOS, features="file", channels=2048, fps=30.0, stride=4.0, window=16.0, max_length=2304, width=512,
        windows=(19,) * 6, stem=2, ranges=_PUBLISHED, dropout=0.0, input_dropout=0.0,
        train=TrainConfig(steps=3500, batch_size=2, lr=1e-4, weight_decay=0.05, warmup=500, clip_norm=1.0, ema=0.999),
    ),
    "anet": Config(
        labels=("action",), features="file", channels=512, fps=15.0, stride=16.0, window=16.0, max_length=192,
        resize=True,
        width=256, windows=(7, 7, 7, 7, 7, -1), stem=2, positions=192, ranges=_PUBLISHED, dropout=0.0,
        input_dropout=0.0, label_smoothing=0.1, loss_weight=2.0, normalizer=200.0, min_duration=0.001,
        suppression=Suppression(each_class=False, sigma=0.75, voting=0.9, max_segments=100),
        iou_thresholds=(0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95),
        train=TrainConfig(steps=9000, batch_size=16, lr=1e-3, weight_decay=0.05, warmup=3000, clip_norm=1.0, ema=0.999),
    ),
}  # fmt: skip
