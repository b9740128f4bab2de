"""What a driver does when, seen by up to three cameras (AI City challenge, track 3, 2022 to 2024).

Per view, a shared network reads features of two frames a second (EfficientNet-Lite0 of three parts of the picture, and
what moved) and gives the class of each moment. The views are joined by weights that are learnt for each class and view,
and stay sensible where a view is missing (`model.py`). Spans come out of a dynamic programme that knows how long
activities last, and that each occurs mostly once (`decoder.py`); the challenge's published recipe (threshold, join,
drop, keep one a class) stands beside it as a level. `pictures.py`: what a driver does in one picture (State Farm).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from percepta.config import TrainConfig
from percepta.errors import InputError

VIEWS = ("Dashboard", "Rear_view", "Right_side_window")
LABELS = (
    "normal driving", "drink", "phone call (right)", "phone call (left)", "eat", "text (right)", "text (left)",
    "reach behind", "adjust the control panel", "pick up from the floor (driver)", "pick up from the floor (passenger)",
    "talk to the passenger at the right", "talk to a passenger at the back", "yawn", "hand on the head",
    "sing or dance",
)  # fmt: skip


@dataclass(frozen=True)
class Decoding:
    """How spans are made of probabilities; see `decoder.decoded`."""

    enter: float = 3.0
    """Cost of each activity, in units of log probability."""
    again: float = 4.0
    """Highest additional cost of each where its class occurs more than once."""
    longest_s: float = 45.0
    """Longest activity."""
    weight: float = 0.4
    """Of the log probabilities, which neighbouring moments share."""


@dataclass(frozen=True)
class Config:
    """Settings of a driver's activities."""

    labels: tuple[str, ...] = LABELS
    """Names of the classes; the first is normal driving, which makes no span."""
    views: tuple[str, ...] = VIEWS
    """Names of the cameras."""
    features: Literal["lite0", "grid"] = "lite0"
    """What is seen of a frame: EfficientNet-Lite0 and what moved, or what moved and a coarse grid of greys alone."""
    frame_height: int = 96
    """Height at which frames are seen; the width follows."""
    fps: float = 2.0
    """Frames a second that are looked at."""
    max_length: int = 128
    """Longest piece of a recording in training, in frames."""
    width: int = 96
    """Channels of the network."""
    dilations: tuple[int, ...] = (1, 2, 4)
    """Of its convolutions over time, each of which sees five moments."""
    dropout: float = 0.2
    """Before each of them."""
    input_dropout: float = 0.1
    """Share of feature channels that are hidden in training."""
    view_dropout: float = 0.25
    """Share of views that are hidden from the fusion in training; one always stays."""
    view_weight: float = 0.5
    """Weight of the loss of single views beside that of the fused one."""
    label_smoothing: float = 0.05
    """Of the classes."""
    length_s: tuple[float, ...] = ()
    """How long each activity lasts, median; empty: 12 s each. Taken from the training data by `fit_config`."""
    length_deviation: tuple[float, ...] = ()
    """Deviation of the logarithm of the same; empty: 0.6 each."""
    decoding: Decoding = field(default_factory=Decoding)
    """How spans are made."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """How it is trained."""

    def __post_init__(self) -> None:
        if len(self.labels) < 2 or len(set(self.labels)) != len(self.labels):
            raise InputError(f"labels are normal driving and at least one activity, each once; got {self.labels}")
        if not self.views or len(set(self.views)) != len(self.views):
            raise InputError(f"views are at least one name, each once; got {self.views}")
        for name in ("length_s", "length_deviation"):
            if (given := getattr(self, name)) and (len(given) != len(self.labels) or min(given) <= 0):
                raise InputError(f"{name} has one number above 0 a class ({len(self.labels)}); got {given}")
        if self.fps <= 0:
            raise InputError(f"fps is above 0; got {self.fps}")

    @property
    def channels(self) -> int:
        """Numbers of a feature vector."""
        return 192 + (3 * 1280 if self.features == "lite0" else 192)


PRESETS: dict[str, Config] = {
    "tiny": Config(
        labels=("normal driving", "lean left", "lean right", "look up", "look down"), features="grid", max_length=64,
        width=24, dilations=(1, 2), dropout=0.0, input_dropout=0.0, frame_height=12,
        train=TrainConfig(steps=120, batch_size=4, lr=3e-3, warmup=10, clip_norm=1.0),
    ),
    "small": Config(
        # of the 48 drives of the in-cabin world that it is trained on: as `fit_config` takes them from the bank
        length_s=(
            4.977, 3.682, 6.127, 6.618, 5.761, 6.8, 7.048, 3.672, 4.058, 2.75, 3.408, 6.484, 5.088, 2.909, 4.425, 7.516,
        ),
        length_deviation=(
            0.396, 0.243, 0.235, 0.246, 0.251, 0.237, 0.231, 0.191, 0.236, 0.238, 0.22, 0.217, 0.226, 0.257, 0.231,
            0.247,
        ),
        train=TrainConfig(
            steps=2500, batch_size=4, lr=1e-3, weight_decay=0.05, warmup=100, clip_norm=1.0, ema=0.998,
            checkpoint_every=250,
        ),
    ),
}  # fmt: skip
