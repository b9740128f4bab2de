"""A weight-sharing network (supernet) whose ranking of architectures can be trusted, with a predictor and a search.

One network holds all choices of a search space; a code of digits picks a path, and the path's inherited weights say
how good that architecture would be if it were trained alone. OPPO's entry to the CVPR 2022 lightweight NAS challenge
met two causes of wrong rankings: what a path learned is forgotten while others train (constraint architectures, NSAS,
Zhang et al., CVPR 2020), and some choices get more gradient than others (`balance`, ours; strict fairness, FairNAS, Chu
et al., ICCV 2021). Each strategy is a part of `strategies.py` that a setting switches on, and a preset: single path
(SPOS), sandwich rule, progressive shrinking, few-shot splitting, in-place and teacher distillation, PA&DA beside them.
Rankings are held against NAS-Bench-Macro's 6,561 truly trained networks, beside what costs nothing: parameters,
multiply-adds and the bare count of blocks. `space.py` also has the challenge's own ResNet48 space.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from percepta.config import TrainConfig
from percepta.errors import InputError
from percepta.systems.supernet.space import Macro, ResNet48, Space

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
STRIPES = ("rows", "columns", "rising", "falling", "checks", "rings")  # of the synthetic world
BENCHMARK = (2, 3, 3)  # layers in the stages of NAS-Bench-Macro


@dataclass(frozen=True)
class Config:
    """Settings of a supernet."""

    space: Literal["macro", "resnet48"] = "macro"
    """Which search space: chains of MobileNet blocks (NAS-Bench-Macro), or the challenge's ResNet48."""
    stages: tuple[int, ...] = BENCHMARK
    """Macro: layers of each stage."""
    stem: int = 32
    """Macro: channels of the first convolution, doubled in each stage. Fewer than the benchmark's 32 make a proxy."""
    head: int = 1280
    """Macro: channels before the last layer."""
    side: int = 32
    """Side of the square, in pixels, at which the network sees pictures."""
    classes: tuple[str, ...] = CIFAR10
    """Names of the classes; training takes them from the data."""
    plan: Literal["single", "fair", "sandwich"] = "single"
    """Paths of a step. single: `paths` at random; fair: three that use every choice of every layer once; sandwich: the
    largest, the smallest and `paths` at random."""
    paths: int = 1
    """How many random paths a step has (single, sandwich)."""
    canonical: bool = True
    """Whether a path is named by its canonical code, so that one network is always one path."""
    shrink: float = 0.0
    """Share of training in which small choices are opened one after the other. 0: all from the start."""
    constraints: int = 0
    """NSAS: how many architectures of the archive are rehearsed in a step. 0: none; the published value is 10."""
    constraint_weight: float = 0.5
    """NSAS: their share in the loss."""
    refresh: int = 500
    """NSAS: steps between two choices of the archive."""
    balance: Literal["none", "norm", "project"] = "none"
    """Ours. norm: the choices of a layer learn at one pace and paths have equal say in what they share; project: and
    what one path would undo of another is taken out (PCGrad)."""
    distill: Literal["none", "inplace", "teacher"] = "none"
    """Soft targets from the largest path of the step, or from the largest network trained alone before."""
    distill_weight: float = 0.5
    """Share of the soft targets in the loss of the paths that have them."""
    teacher_share: float = 0.3
    """For "teacher": share of the steps that the teacher is trained in."""
    split: int = -1
    """Few-shot: the layer whose choices get a supernet each. -1: none."""
    split_share: float = 0.4
    """Few-shot: share of the steps after the split."""
    importance: bool = False
    """PA&DA: paths by the gradients of their choices; half of the pictures offered, by how wrong the answers were."""
    alone: str = ""
    """Code of the one network that is trained, as it would be without a supernet. "": all of them."""
    smoothing: float = 0.0
    """Label smoothing."""
    samples: int = 0
    """Train on so many pictures. 0: all."""
    held_out: float = 0.1
    """Share of the training pictures that are kept for ranking ("val")."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """How it is trained."""

    def __post_init__(self) -> None:
        if len(self.classes) < 2 or len(set(self.classes)) < len(self.classes):
            raise InputError(f"classes has to name at least two different classes, got {self.classes}")
        if not self.stages or min(self.stages) < 1:
            raise InputError(f"stages has to give at least one layer to each stage, got {self.stages}")
        for name in ("shrink", "constraint_weight", "distill_weight", "smoothing"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is a share from 0 to 1, got {getattr(self, name)}")
        for name in ("held_out", "teacher_share", "split_share"):
            if not 0 < getattr(self, name) < 1:
                raise InputError(f"{name} is a share above 0 and below 1, got {getattr(self, name)}")
        for name, least in (("paths", 1), ("constraints", 0), ("refresh", 1), ("side", 8), ("stem", 1), ("head", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name} has to be at least {least}, got {getattr(self, name)}")
        self._fits()

    def _fits(self) -> None:
        if self.alone:
            self.search_space().validate(self.alone)
        if self.space == "resnet48" and (self.plan == "fair" or self.split >= 0 or self.importance):
            raise InputError("fair, split and importance need layers with choices: ResNet48 has widths and depths")
        if not -1 <= self.split < sum(self.stages):
            raise InputError(f"split is a layer from 0 to {sum(self.stages) - 1}, or -1, got {self.split}")
        if self.split >= 0 and self.train.ema:
            raise InputError("train.ema would average a network before and after its split: one of the two")
        if self.split >= 0 and self.distill == "teacher":
            raise InputError("split and a teacher are two stages of training each: one of the two")
        if self.distill == "inplace" and self.plan != "sandwich":
            raise InputError('distill "inplace" learns from the largest path of the step: it needs plan "sandwich"')

    def search_space(self) -> Space:
        """The space at the size that this supernet trains."""
        if self.space == "resnet48":
            return ResNet48(side=self.side, classes=len(self.classes))
        return Macro(self.stages, self.stem, self.head, self.side, len(self.classes))

    def target_space(self) -> Space:
        """The space whose networks are ranked: NAS-Bench-Macro's full size, of which the supernet may be a proxy."""
        if self.space == "macro" and self.stages == BENCHMARK:
            return Macro(self.stages, classes=len(self.classes))
        return self.search_space()


_TRAIN = TrainConfig(
    steps=16_000, batch_size=64, lr=0.1, weight_decay=5e-4, optimizer="sgd", momentum=0.9, nesterov=True, warmup=50,
    clip_norm=5.0, ema=0.998, checkpoint_every=500, log_every=50,
)  # fmt: skip
_PROXY = Config(stem=16, head=640, side=16, train=_TRAIN)

PRESETS: dict[str, Config] = {
    "tiny": Config(
        stages=(2, 2), stem=8, head=32, side=16, classes=STRIPES, plan="fair", held_out=0.2,
        train=TrainConfig(
            steps=200, batch_size=16, lr=0.1, weight_decay=5e-4, optimizer="sgd", warmup=10, clip_norm=5.0
        ),
    ),
    "small": replace(_PROXY, plan="fair"),
    "spos": replace(_PROXY, canonical=False),
    "fairnas": replace(_PROXY, plan="fair", canonical=False),
    "sandwich": replace(_PROXY, plan="sandwich"),
    "inplace": replace(_PROXY, plan="sandwich", distill="inplace"),
    "teacher": replace(_PROXY, distill="teacher"),
    "shrinking": replace(_PROXY, shrink=0.4),
    "nsas": replace(_PROXY, constraints=2),
    "balance": replace(_PROXY, plan="fair", balance="project"),
    "both": replace(_PROXY, plan="fair", constraints=2, balance="project"),
    "fewshot": replace(_PROXY, split=2, train=replace(_TRAIN, ema=0.0)),
    "pada": replace(_PROXY, importance=True, train=replace(_TRAIN, batch_size=128)),
    "resnet48": Config(
        space="resnet48", side=224, classes=tuple(f"class {i}" for i in range(1000)), paths=4, shrink=0.3,
        train=replace(_TRAIN, lr=1e-3, weight_decay=3e-5, batch_size=256),
    ),
}  # fmt: skip
