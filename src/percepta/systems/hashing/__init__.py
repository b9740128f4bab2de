"""Video-text search by hash codes: a sentence, a picture and a video become bits that can be compared in nanoseconds.

CLIP4Hashing (Zhuo et al., ICMR 2022) freezes an image-text encoder and learns one small hashing network for both
modalities. A video is the mean of its frames' vectors. The cosines between the pictures and the sentences of a batch,
weighted so that near pairs come nearer and far ones count less (dynamic weighting), are what the codes have to keep:
within either modality, across both, and the two codes of a pair have to agree. A bit is set where the network's output
is nearer to its largest than to its smallest value (min-max hashing), so that no bit is always on. The paper takes both
values from the batch, so that a code would depend on its batch: here they are fixed when training ends.
Preset `paper` is that network. `small` is ours, for our own image-text space: it starts from closed forms, has
thresholds of its own for pictures and for sentences, and its first 64 or 256 bits are codes too; `tiny` is for tests.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from percepta.config import TrainConfig
from percepta.errors import InputError


@dataclass(frozen=True)
class Config:
    """Settings of hashing."""

    design: Literal["shared", "paper"] = "shared"
    """Which hashing network: ours, or the paper's with two hidden layers and min-max hashing."""
    space: Literal["align", "clip", "synthetic"] = "align"
    """Whose vectors are hashed: our image-text space, CLIP's (your file), or that of the synthetic world."""
    bits: int = 512
    """Length of a code; a multiple of 8."""
    prefixes: tuple[int, ...] = (64, 256)
    """Ours: lengths of prefixes that are trained to be codes of their own."""
    shared_width: int = 256
    """Ours: dimensions of the space that pictures and sentences are mapped to."""
    mlp_width: int = 512
    """Ours: units of the hidden layer."""
    ridge: float = 10.0
    """Ours: regularisation of the canonical correlations, as a multiple of the mean variance."""
    hidden: int = 4096
    """Units of each hidden layer of the paper's network."""
    frames: int = 12
    """Frames of a video that are encoded, in the middles of as many equal parts of it."""
    val_every: int = 10
    """One video (picture) in so many is kept for validation, by its name, where the data have no such split."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """How it is trained."""

    def __post_init__(self) -> None:
        if self.bits < 8 or self.bits % 8:
            raise InputError(f"bits has to be a multiple of 8 from 8 on, got {self.bits}")
        for name, least in (("hidden", 1), ("mlp_width", 1), ("shared_width", 1), ("frames", 1), ("val_every", 2)):
            if getattr(self, name) < least:
                raise InputError(f"{name} has to be at least {least}, got {getattr(self, name)}")


PRESETS: dict[str, Config] = {
    "tiny": Config(
        space="synthetic", bits=32, ridge=0.3, mlp_width=64,
        train=TrainConfig(steps=200, batch_size=32, lr=3e-3, warmup=10),
    ),
    "small": Config(train=TrainConfig(steps=200, batch_size=256, lr=1e-3, warmup=20, checkpoint_every=100)),
    "paper": Config(
        "paper", "clip", 2048,
        train=TrainConfig(
            steps=14_000, batch_size=128, lr=0.01, weight_decay=5e-4, optimizer="sgd", momentum=0.9, schedule="step",
            milestones=(0.75,), checkpoint_every=1000,
        ),
    ),
}  # fmt: skip
