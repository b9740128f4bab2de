"""Referring segmentation: one mask for what a sentence names in a picture.

CRIS (Wang et al., CVPR 2022) starts from CLIP. A neck multiplies the picture's features with the sentence's vector
(text-guided neck), a transformer lets every place of the picture look at every word (vision-language decoder), and the
sentence is turned into the weights of a 3×3 convolution whose answer at each pixel is its fit with the sentence
(projector), trained by binary cross-entropy at a quarter of the input size ("text-to-pixel contrastive loss").
Presets `rn50` and `rn101` are that network (`cris.py`). `small` and `tiny` keep its three ideas on a light encoder and
let the text in after the picture's neck, so that a further sentence on one picture is cheap (`model.py`), and they
answer "not found" when nothing in the picture fits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from percepta.config import TrainConfig


@dataclass(frozen=True)
class Late:
    """The light network of `small` and `tiny`, in which the text enters late."""

    encoder: Literal["lite0", "conv"] = "lite0"
    """Picture encoder: EfficientNet-Lite0, or four plain convolutions for synthetic pictures."""
    text: Literal["minilm", "words"] = "minilm"
    """Sentence encoder: MiniLM, or a small one that learns its words from the training sentences."""
    width: int = 192
    """Channels of neck, decoder and words."""
    layers: int = 2
    """Layers of the vision-language decoder."""
    heads: int = 6
    """Attention heads of the decoder."""
    feedforward: int = 384
    """Width inside the decoder's feed-forward parts."""
    mask_channels: tuple[int, int] = (64, 32)
    """Channels of the mask head at strides 8 and 4."""
    dropout: float = 0.0
    """Dropout of the decoder."""
    frozen_blocks: int = 3
    """How many of the encoder's first blocks do not train."""


@dataclass(frozen=True)
class Cris:
    """The paper's network."""

    vision_layers: tuple[int, int, int, int] = (3, 4, 6, 3)
    """Blocks in the four stages of CLIP's ResNet."""
    vision_width: int = 64
    """Channels of the first stage of CLIP's ResNet."""
    vocab: int = 49408
    """Word pieces that CLIP knows."""
    word_len: int = 17
    """Word pieces in a sentence, start and end included: 17 for RefCOCO and RefCOCO+, 22 for G-Ref."""
    word_dim: int = 1024
    """Width of the sentence vector (1024 with ResNet-50, 512 with ResNet-101)."""
    text_width: int = 512
    """Width of CLIP's text transformer."""
    text_layers: int = 12
    """Its layers."""
    text_heads: int = 8
    """Its attention heads."""
    fpn_in: tuple[int, int, int] = (512, 1024, 1024)
    """Channels that the neck takes at strides 8, 16 and 32."""
    fpn_out: tuple[int, int, int] = (256, 512, 1024)
    """Channels inside the neck."""
    num_layers: int = 3
    """Layers of the vision-language decoder."""
    vis_dim: int = 512
    """Width of the decoder."""
    num_head: int = 8
    """Attention heads of the decoder."""
    dim_ffn: int = 2048
    """Width inside the decoder's feed-forward parts."""
    dropout: float = 0.1
    """Dropout of the decoder."""


@dataclass(frozen=True)
class Config:
    """Settings of referring segmentation."""

    design: Literal["late", "cris"] = "late"
    """Which network: ours with late text, or the paper's. The settings of the other one are not used."""
    size: int = 320
    """Side of the square, in pixels, that pictures are fitted into for training."""
    prediction_size: int = 0
    """The same for predictions; 0: as in training. A little more than in training finds small things better."""
    sentences: int = 4
    """Sentences per picture and training step; every second one is true of nothing in the picture."""
    masks: int = 8
    """How many of the true ones among them are trained at full resolution, the costliest part; the others coarsely."""
    augment: bool = True
    """Train on random views (crops, mirrored, two pictures side by side); the paper takes whole pictures."""
    finer: str = ""
    """File of finer names of what is marked, which `percepta refer names` wrote; "": train without."""
    late: Late = field(default_factory=Late)
    """The light network."""
    cris: Cris = field(default_factory=Cris)
    """The paper's network."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """How it is trained."""

    @property
    def size_at_prediction(self) -> int:
        """Side of the square that a prediction fits its picture into, in pixels."""
        return self.prediction_size or self.size


_PAPER = TrainConfig(
    steps=94_000, batch_size=64, lr=1e-4, lr_scale=(("backbone", 0.1),), schedule="step", milestones=(0.7,),
    optimizer="adam", checkpoint_every=1000, workers=8,
)  # fmt: skip

PRESETS: dict[str, Config] = {
    "tiny": Config(
        size=96,
        late=Late(
            "conv", "words", width=64, layers=2, heads=4, feedforward=128, mask_channels=(32, 16), frozen_blocks=0,
        ),
        train=TrainConfig(steps=900, batch_size=16, lr=2e-3, warmup=20, clip_norm=1.0),
    ),
    "small": Config(
        prediction_size=448,
        sentences=6,
        masks=1,
        train=TrainConfig(
            steps=3800, batch_size=8, lr=6e-4, lr_scale=(("image", 0.15), ("align", 0.15)), weight_decay=0.02,
            warmup=200, clip_norm=1.0, ema=0.998, checkpoint_every=200,
        ),
    ),
    "rn50": Config(design="cris", size=416, sentences=1, augment=False, train=_PAPER),
    "rn101": Config(
        design="cris", size=416, sentences=1, augment=False,
        cris=Cris(vision_layers=(3, 4, 23, 3), word_dim=512, fpn_in=(512, 1024, 512)),
        train=_PAPER,
    ),
}  # fmt: skip
