"""Street scenes in fog, night, rain and snow: segmentation that is carried over from fair weather without labels.

The task of the ACDC challenge: every pixel of a street picture gets a class, where labels exist for fair weather only.
SegFormer (Xie et al., NeurIPS 2021) gives the networks (`mit.py`, `heads.py`), DAFormer (Hoyer et al., CVPR 2022) the
context-aware fusion and the method (`adapt.py`): a teacher, the moving average of the network, labels pictures of the
target; halves of labelled pictures are pasted into them (DACS, Tranheden et al. 2021); rare classes are drawn more
often; features of things stay near those of ImageNet. Ours beside them: `small`, EfficientNet-Lite0 with a light fusion
head for a laptop's CPU, which sees all pictures at one exposure; light and weather painted into labelled pictures
(`augment.py`); reference pictures of the same view in fair weather that help the teacher, as in Refign (Brüggemann et
al., WACV 2023), by a homography instead of a learned flow (`align.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from percepta.config import TrainConfig
from percepta.errors import InputError

MIT = ("mit_b0", "mit_b1", "mit_b2", "mit_b3", "mit_b4", "mit_b5")
Encoder = Literal["lite0", "plain", "mit_b0", "mit_b1", "mit_b2", "mit_b3", "mit_b4", "mit_b5"]


@dataclass(frozen=True)
class Adaptation:
    """How a network is carried over to pictures without labels. Each part can be switched off."""

    self_training: bool = True
    """Whether a teacher labels target pictures; without it only labelled pictures train."""
    begins: float = 0.0
    """Share of the training, 0..1, on labelled pictures alone before the teacher begins."""
    teacher_decay: float = 0.999
    """Decay per step of the moving average that the teacher is."""
    pseudo_threshold: float = 0.968
    """A target picture counts by the share of its pixels of which the teacher is surer than this."""
    pixel_weights: bool = False
    """Weigh each pixel by its own confidence, instead of the whole picture by its share of sure pixels."""
    class_mix: bool = True
    """Paste half of the classes of a labelled picture into a target picture (DACS)."""
    jitter: float = 0.2
    """Strongest change of brightness, contrast, saturation and hue of mixed pictures; also blur. 0: none."""
    rare_class_temperature: float = 0.01
    """Temperature by which pictures with rare classes are drawn more often; 0: all pictures alike."""
    rare_class_pixels: int = 3000
    """Least pixels of the drawn class in a crop; up to ten crops are tried."""
    feature_distance: float = 0.005
    """Weight of the distance between features of things and those of the encoder at the first step."""
    reference_weight: float = 0.0
    """How much reference pictures in fair weather count in the teacher's answers, 0..1."""
    ignored_top: int = 0
    """Rows at the top of target pictures that have weight 0, in pixels of the picture as it is seen (`longest`)."""
    ignored_bottom: int = 0
    """Rows at their bottom, as the car's own bonnet."""

    def __post_init__(self) -> None:
        for name in ("teacher_decay", "pseudo_threshold", "reference_weight", "jitter", "begins"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"adaptation.{name} lies in 0..1, got {getattr(self, name)}")
        for name in ("rare_class_pixels", "ignored_top", "ignored_bottom"):
            if getattr(self, name) < 0:
                raise InputError(f"adaptation.{name} cannot be negative, got {getattr(self, name)}")
        if self.rare_class_temperature < 0 or self.feature_distance < 0:
            raise InputError("adaptation.rare_class_temperature and feature_distance cannot be negative")


@dataclass(frozen=True)
class Config:
    """Settings of street segmentation."""

    encoder: Encoder = "lite0"
    """EfficientNet-Lite0, four plain convolutions (for tests), or a Mix Transformer."""
    head: Literal["light", "segformer", "daformer"] = "light"
    """What makes classes of the features of four strides."""
    channels: int = 64
    """Channels of the head."""
    norm_eps: float = 1e-6
    """Of the block and stage norms of a Mix Transformer: 1e-6 in NVIDIA's files, 1e-5 in those of transformers."""
    label_set: Literal["camvid", "cityscapes", "idd-lite"] = "camvid"
    """Whose classes are predicted."""
    frozen_blocks: int = 0
    """How many of Lite0's first blocks (and its stem) do not train."""
    exposure: float = 0.0
    """Mean brightness (0..1) that the network brings every picture to before it looks; 0: as it is."""
    height: int = 352
    """Height of training crops, a multiple of 32."""
    width: int = 480
    """Width of training crops, a multiple of 32."""
    longest: int = 0
    """Pictures with a longer side are seen smaller at training, so that it has so many pixels; 0: as they are."""
    scales: tuple[float, float] = (0.75, 1.5)
    """Smallest and largest size of a picture before it is cut, in shares of its own."""
    light: float = 0.0
    """Share of labelled pictures that are darkened, with a colour cast and noise."""
    weather: float = 0.0
    """Share of labelled pictures that get fog, rain, snow or a wet road."""
    labelled_conditions: tuple[str, ...] = ("day",)
    """Conditions whose label maps may be used for training; pictures of all others are target pictures."""
    world: Literal["night", "fog", "rain", "snow"] = "night"
    """Condition of the target pictures of the synthetic streets."""
    target_first: str = ""
    """Name of the first target picture; "" from the first on."""
    target_last: str = ""
    """Name of the last target picture; "" to the last."""
    far_from_training: float = 0.0
    """Distance of a picture from what training saw (`heads.Head.watched`) above which a result warns; 0: never."""
    adaptation: Adaptation = field(default_factory=Adaptation)
    """How the network is carried over to target pictures."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """How it is trained."""

    def __post_init__(self) -> None:
        if self.height % 32 or self.width % 32 or min(self.height, self.width) < 32:
            raise InputError(f"height and width are multiples of 32 from 32 on, got {self.height}×{self.width}")
        if not 0 < self.scales[0] <= self.scales[1]:
            raise InputError(f"scales are (smallest, largest), both above 0, got {self.scales}")
        for name in ("light", "weather", "exposure"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} lies in 0..1, got {getattr(self, name)}")
        if self.channels < 8 or self.longest < 0 or self.norm_eps <= 0:
            raise InputError("channels are 8 or more, longest is not negative, norm_eps is above 0")
        if (self.head == "light") != (self.encoder in ("lite0", "plain")):
            raise InputError(
                f"the head {self.head!r} does not stand on the encoder {self.encoder!r}: light goes with lite0 and "
                "plain, segformer and daformer with a Mix Transformer"
            )


_small = Config(
    far_from_training=0.2289,  # `percepta weather far DATA/camvid`: 99 of 100 training pictures are nearer
    channels=96,
    frozen_blocks=2,
    exposure=0.42,
    height=256,
    width=352,
    light=0.6,
    weather=0.15,
    adaptation=Adaptation(
        begins=0.25, teacher_decay=0.996, pseudo_threshold=0.9, pixel_weights=True, rare_class_temperature=0.1,
        rare_class_pixels=200, feature_distance=0.0,
    ),
    train=TrainConfig(
        steps=2400, batch_size=4, lr=1e-3, lr_scale=(("image.", 0.3),), weight_decay=0.02, warmup=100, clip_norm=1.0,
        ema=0.996, checkpoint_every=200, log_every=20,
    ),
)  # fmt: skip
# As published: Cityscapes to a target of its classes, 40,000 steps of two crops of 512.
_daformer = Config(
    encoder="mit_b5",
    head="daformer",
    channels=256,
    label_set="cityscapes",
    height=512,
    width=512,
    longest=1024,
    scales=(1.0, 1.0),
    adaptation=Adaptation(ignored_top=15, ignored_bottom=120),
    train=TrainConfig(
        steps=40_000, batch_size=2, lr=6e-5, lr_scale=(("head.", 10.0),), weight_decay=0.01, warmup=1500,
        checkpoint_every=1000,
    ),
)  # fmt: skip
_segformer = replace(_daformer, encoder="mit_b0", head="segformer", adaptation=Adaptation(self_training=False))

PRESETS: dict[str, Config] = {
    "tiny": replace(
        _small, encoder="plain", channels=32, far_from_training=0.0, height=64, width=96, scales=(1.0, 1.0),
        weather=0.0, light=0.6,
        adaptation=Adaptation(begins=0.4, teacher_decay=0.98, pseudo_threshold=0.8, rare_class_temperature=0.0,
                              rare_class_pixels=0, feature_distance=0.0),
        train=TrainConfig(steps=220, batch_size=4, lr=5e-3, warmup=10, clip_norm=1.0),
    ),
    "small": _small,
    "segformer": _segformer,
    "segformer-hf": replace(_segformer, norm_eps=1e-5),
    **{
        f"segformer-b{size}": replace(_segformer, encoder=f"mit_b{size}", channels=256 if size < 2 else 768)
        for size in range(1, 6)
    },
    "daformer": _daformer,
}  # fmt: skip
