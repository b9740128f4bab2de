"""Video object segmentation: things that are marked in one frame are followed through the whole video.

The task of the YouTube-VOS challenge: masks of some objects are given, in the first frame or where an object first
appears, and every further frame gets a label map. XMem (Cheng & Schwing, ECCV 2022) keeps three memories: a sensory
state for each object that every frame changes, a working memory of keys and values of some frames, and a long-term
memory of prototypes, pruned by how much they are read, so that no video is too long. `memory.py` is that memory,
`xmem.py` the published network, `cutie.py` its successor Cutie (CVPR 2024), `model.py` our small network for a laptop's
CPU: EfficientNet-Lite0 features, one picture encoding shared by all objects, the same memory at a sixteenth of the
picture, and by finer keys at an eighth masks that are carried from the last frame and recalled from the one in which
they were given. `predict.py` follows objects in a session.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from percepta.config import TrainConfig
from percepta.errors import InputError

MAX_OBJECTS = 50  # of a session


@dataclass(frozen=True)
class Config:
    """Settings of video object segmentation."""

    design: Literal["small", "xmem", "cutie"] = "small"
    """Our small network, or one of the published ones."""
    height: int = 256
    """Height of training clips."""
    width: int = 448
    """Width of training clips."""
    height_at_prediction: int = 0
    """Shorter side of the pictures that the network sees at prediction; 0: `height`."""
    clip_frames: int = 4
    """Frames of a training clip."""
    max_objects: int = 3
    """Most objects of a training clip."""
    real_share: float = 0.5
    """Share of training clips that are cut from videos; the others are made of single pictures."""
    trunk_blocks: int = 13
    """How many of Lite0's 16 blocks are used: 11 end at a sixteenth of the picture, more see more of it."""
    frozen_blocks: int = 3
    """How many of them do not train."""
    key_channels: int = 64
    """Channels of the keys of the memory."""
    value_channels: int = 128
    """Channels of its values."""
    sensory_channels: int = 0
    """Channels of the state that every frame changes; 0: none."""
    fine_channels: int = 24
    """Channels of the fine keys, by which masks are carried from the last frame and recalled from the one in which they
    were given; 0: neither."""
    channels: tuple[int, int, int] = (96, 48, 24)
    """Channels of the decoder at a sixteenth, an eighth and a quarter of the picture."""
    top_k: int = 30
    """How many elements of the memory a place reads from, at prediction. In training it reads from all."""
    memory_every: int = 5
    """Frames from one that is kept in the working memory to the next."""
    max_memory_frames: int = 10
    """Frames of the working memory from which on it is consolidated, or forgotten without a long-term memory."""
    min_memory_frames: int = 5
    """Frames that stay in the working memory then."""
    long_term: bool = True
    """Whether what leaves the working memory goes into a long-term memory."""
    prototypes: int = 64
    """Elements that one consolidation adds to the long-term memory."""
    max_long_term: int = 1024
    """Most elements of the long-term memory; the least read ones go first."""
    long_term_buffer: int = 0
    """How many more go when it is full, so that it is not full again at once."""
    sensory_updates: int = 5
    """Cutie: how many of the frames between two that are kept change the sensory state."""
    carried_dropout: float = 0.1
    """Share of frames in training whose carried masks are left out, as after a cut."""
    marked_share: float = 0.0
    """Share of training clips that begin with a click or a box instead of masks, see `losses.hinted`; a network that
    was trained so is asked in that way for the mask of a click or a box (`grow.py`)."""
    bootstrap: tuple[float, float] = (0.3, 0.8)
    """Shares of the training between which the cross-entropy narrows from all pixels to the worst 15 of 100."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """How it is trained."""

    def __post_init__(self) -> None:
        if self.height % 32 or self.width % 32 or min(self.height, self.width) < 32:
            raise InputError(f"height and width are multiples of 32 from 32 on, got {self.height}×{self.width}")
        if self.height_at_prediction < 0:
            raise InputError(f"height_at_prediction is a number of pixels, or 0; got {self.height_at_prediction}")
        if not 11 <= self.trunk_blocks <= 16:
            raise InputError(f"trunk_blocks is 11 to 16, got {self.trunk_blocks}")
        if not 0 <= self.frozen_blocks <= self.trunk_blocks:
            raise InputError(f"frozen_blocks is 0 to trunk_blocks ({self.trunk_blocks}), got {self.frozen_blocks}")
        if self.clip_frames < 2:
            raise InputError(f"clip_frames is at least 2: one frame is given, the others are predicted; "
                             f"got {self.clip_frames}")  # fmt: skip
        if not 1 <= self.max_objects <= MAX_OBJECTS:
            raise InputError(f"max_objects is 1 to {MAX_OBJECTS}, got {self.max_objects}")
        for name in ("top_k", "memory_every", "prototypes", "sensory_updates", "key_channels", "value_channels"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} has to be at least 1, got {getattr(self, name)}")
        if not 1 <= self.min_memory_frames < self.max_memory_frames:
            raise InputError("min_memory_frames is at least 1 and below max_memory_frames, got "
                             f"{self.min_memory_frames} and {self.max_memory_frames}")  # fmt: skip
        if self.max_long_term < self.prototypes + self.long_term_buffer:
            raise InputError(
                f"max_long_term {self.max_long_term} has no room for {self.prototypes} prototypes and a buffer of "
                f"{self.long_term_buffer}"
            )
        if not 0 <= self.marked_share <= 1:
            raise InputError(f"marked_share lies in 0..1, got {self.marked_share}")
        first, last = self.bootstrap
        if not 0 <= first <= last:
            raise InputError(f"bootstrap is two shares of the training, the first not above the second, got {first}, "
                             f"{last}")  # fmt: skip


_small = Config(
    train=TrainConfig(
        steps=4000,
        batch_size=4,
        lr=5e-4,
        lr_scale=(("image.", 0.2), ("sharpness", 10.0), ("nearness", 10.0), ("recall_sharpness", 10.0)),
        weight_decay=0.02,
        warmup=100,
        clip_norm=1.0,
        ema=0.998,
        checkpoint_every=200,
    )
)
_published = replace(
    _small, height=480, width=832, prototypes=128, max_long_term=10000, sensory_channels=64, value_channels=512
)

PRESETS: dict[str, Config] = {
    "tiny": replace(
        _small,
        height=96,
        width=160,
        max_objects=2,
        real_share=0.0,
        trunk_blocks=11,
        frozen_blocks=11,
        value_channels=32,
        key_channels=32,
        channels=(32, 24, 16),
        memory_every=2,
        max_memory_frames=4,
        min_memory_frames=2,
        prototypes=8,
        max_long_term=64,
        train=replace(_small.train, steps=200, lr=2e-3, warmup=10, ema=0.0),
    ),
    # All pixels count to the end: after narrowing to the worst ones, as published, a training this short was worse.
    "small": replace(_small, height_at_prediction=320, marked_share=0.2, bootstrap=(1.0, 1.0)),
    "xmem": replace(_published, design="xmem"),
    "cutie": replace(
        _published,
        design="cutie",
        sensory_channels=256,
        value_channels=256,
        max_memory_frames=6,
        long_term=False,
        long_term_buffer=2000,
    ),
}
