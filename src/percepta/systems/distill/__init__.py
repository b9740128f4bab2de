"""Picture classification that teaches itself (self-distillation from the last mini-batch).

DLB (Shen et al., CVPR 2022): half of every mini-batch repeats the pictures of the one before, in another random view,
and what the network answered then is a soft target for what it answers now. No teacher, no second network, nothing more
to compute than cross-entropy on the same two views; the answers of one mini-batch are all that is remembered. The
method itself is `nn/selfdistill.py`, for every system that classifies pictures. This system is the classifier around it
and the comparison: one setting, `self_distill`, switches between cross-entropy, label smoothing, CS-KD, DDGSD, DLB and
a variant of ours with a longer memory, on the same pictures in the same order, with or without wrong labels.
Presets `resnet20`, `resnet32` and `wrn16x4` follow the paper's schedule; `small` starts from EfficientNet-Lite0 and is
the one for pictures of your own; `imagenet` knows ImageNet's thousand classes; `tiny` is for tests.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from percepta.config import TrainConfig
from percepta.errors import InputError
from percepta.nn import imagenet

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIGNS = ("rows", "columns", "checks", "disc", "ring", "frame", "cross", "triangle")  # of the synthetic world


@dataclass(frozen=True)
class Config:
    """Settings of picture classification."""

    self_distill: Literal["none", "views", "smoothing", "cskd", "ddgsd", "dlb", "recall"] = "dlb"
    """What is learned beside the labels. none: cross-entropy on one view; views: the same on the two views of dlb;
    smoothing: label smoothing on them; cskd, ddgsd: of those papers; dlb: the last mini-batch; recall: ours."""
    temperature: float = 3.0
    """Temperature of the soft targets (cskd's paper: 4)."""
    alpha: float = 1.0
    """Weight of the soft targets."""
    smoothing: float = 0.1
    """For "smoothing": share of a label that is spread over all classes."""
    memory_weight: float = 1.0
    """For "recall": largest share that remembered answers have in the target at the end of training."""
    memory_power: float = 2.0
    """For "recall": power to which the remembered answers are taken; 1 leaves them as they are."""
    disagreement_weight: float = 1.0
    """For "recall": how much more weight remembered answers have that speak against the label. 0: all have the same."""
    memory_decay: float = 0.7
    """For "recall": decay, each time that a picture is seen, of what is remembered of it."""
    net: Literal["resnet", "wide", "lite0", "imagenet"] = "resnet"
    """Which network: CIFAR ResNet, wide ResNet, EfficientNet-Lite0 that starts from ImageNet, or that as it is, with
    ImageNet's thousand classes; training turns the last one into `lite0` with the classes of the data."""
    depth: int = 20
    """Layers of the ResNets."""
    widen: int = 1
    """How many times as wide as its narrowest the wide ResNet is."""
    stem: int = 1
    """Stride of the ResNets' first convolution; 2 takes a quarter of the time."""
    frozen_blocks: int = 5
    """How many of Lite0's first 16 blocks do not train."""
    size: int = 32
    """Side of the square, in pixels, at which the network sees pictures."""
    classes: tuple[str, ...] = CIFAR10
    """Names of the classes, in the order of the network's answers; training takes them from the data. For the net
    "imagenet" they are its thousand, and () stands for them."""
    unsure_below: float = 0.0
    """An answer with a lower probability is called unsure, 0..1; 0: none is."""
    noise: float = 0.0
    """Share of the training labels that are made wrong on purpose, 0..1."""
    noise_kind: Literal["symmetric", "pair"] = "symmetric"
    """What a wrong label becomes: any other class, or the next one."""
    noise_seed: int = 0
    """Decides which labels become wrong, and how."""
    samples: int = 0
    """Train on so many pictures, chosen by split_seed. 0: all."""
    held_out: float = 0.1
    """Share of each class's training pictures that are kept for validation, where the data have no such part."""
    split_seed: int = 0
    """Decides which ones, and which `samples`."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """How it is trained."""

    def __post_init__(self) -> None:
        if self.net == "imagenet":
            if self.classes not in ((), imagenet.classes()):
                raise InputError(f"the net imagenet has its own thousand classes; got {len(self.classes)} others")
            object.__setattr__(self, "classes", imagenet.classes())
        if len(self.classes) < 2 or len(set(self.classes)) < len(self.classes):
            raise InputError(f"classes has to name at least two different classes, got {self.classes}")
        for name in ("alpha", "samples"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} cannot be negative, got {getattr(self, name)}")
        for name in ("noise", "smoothing", "memory_weight", "memory_decay", "held_out", "unsure_below"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is a share from 0 to 1, got {getattr(self, name)}")
        if self.held_out == 1:
            raise InputError("held_out 1 leaves nothing to train on")
        if self.memory_power < 1:
            raise InputError(f"memory_power is 1 or more, got {self.memory_power}")
        if self.disagreement_weight < 0:
            raise InputError(f"disagreement_weight is 0 or more, got {self.disagreement_weight}")
        if self.temperature <= 0:
            raise InputError(f"temperature has to be above 0, got {self.temperature}")
        if self.stem not in (1, 2):
            raise InputError(f"stem is the stride of the first convolution, 1 or 2, got {self.stem}")
        if self.size < 4:
            raise InputError(f"size has to be at least 4 pixels, got {self.size}")


# 240 epochs of 50,000 pictures, as the published scripts train.
_PAPER = TrainConfig(
    steps=187_500, batch_size=64, lr=0.05, weight_decay=5e-4, optimizer="sgd", momentum=0.9, nesterov=True,
    schedule="step", milestones=(0.625, 0.75, 0.875), checkpoint_every=2000, log_every=50,
)  # fmt: skip

PRESETS: dict[str, Config] = {
    "tiny": Config(
        depth=8, size=16, classes=SIGNS,
        train=TrainConfig(steps=300, batch_size=32, lr=0.05, weight_decay=5e-4, optimizer="sgd", warmup=20),
    ),
    "small": Config(
        net="lite0", size=128, unsure_below=0.78,
        train=TrainConfig(
            steps=700, batch_size=32, lr=1e-3, lr_scale=(("image", 0.3),), weight_decay=0.02, warmup=50,
            clip_norm=1.0, ema=0.998, checkpoint_every=100,
        ),
    ),
    "imagenet": Config(
        net="imagenet", size=224, classes=(), unsure_below=0.44,  # benchmarks/distill_unsure.py chose the levels
        train=TrainConfig(
            steps=400, batch_size=16, lr=1e-3, lr_scale=(("image", 0.3),), weight_decay=0.02, warmup=50,
            clip_norm=1.0, ema=0.998, checkpoint_every=100,
        ),
    ),
    "resnet20": Config(held_out=0.0, train=_PAPER),
    "resnet32": Config(held_out=0.0, depth=32, train=_PAPER),
    "wrn16x4": Config(held_out=0.0, net="wide", depth=16, widen=4, train=_PAPER),
}  # fmt: skip
