"""Personal image aesthetics: how much one person will like a photograph, from who they are and a few ratings.

Conditional PIAA (Yang et al., CVPR 2022): beauty differs from person to person, and an average hides that. Their PARA
data tell who gave each score, and their model takes that as a condition: features of the picture beside an embedding of
the subject, then fine-tuning on 10 or 100 pictures of a new person (`conditional`; `control` is the same without the
subject). `giaa` is the crowd's model behind it (NIMA: the distribution of scores, earth mover's distance), `mir` and
`ici` are the peers that others built on PARA (`piaa.py`).

`small` and `tiny` are ours (`taste.py`): what the crowd thinks, plus a few directions of taste, plus a Gaussian process
for the rest of a person. Who somebody is shifts what is expected of them, and their ratings are taken in by a closed
form, in milliseconds, with an uncertainty that says which picture to rate next.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from percepta.config import TrainConfig
from percepta.datasets import studies
from percepta.datasets.ratings import Field, Scale

# The scales and the facts about people that weights may stand on: those of the public studies, and of our world.
WORLD_FIELDS = (Field("age", "number", low=18, high=80), Field("gender", "choice", ("male", "female", "other")))
SCALES = {**studies.SCALES, "world": Scale(1, 7, 1)}
FIELDS = {**studies.FIELDS, "world": WORLD_FIELDS}


@dataclass(frozen=True)
class Taste:
    """Ours: crowd, directions of taste and a Gaussian process."""

    factors: int = 6
    """Directions in which people's tastes differ most."""
    crowd_noise: float = 0.5
    """How much of the crowd's mean is taken for what the features cannot say, as a share of what they can."""
    factor_variance: float = 0.01
    """Variance that a weight of a direction of taste has beforehand: small keeps the directions smooth."""
    profile_variance: float = 0.05
    """Variance that a weight of the profile has beforehand."""
    ratings: int = 128
    """Ratings of a person that a training step takes at most."""


@dataclass(frozen=True)
class Head:
    """The networks of the papers: a head on the picture's features."""

    width: int = 512
    """Units of the hidden layer that sees the picture."""
    subject: int = 64
    """Width of the embedding of who somebody is."""
    mixed: int = 128
    """Units of the layer that sees picture and person (`conditional`, `control`)."""
    nodes: int = 64
    """Width of a node of PIAA-ICI."""
    dropout: float = 0.7
    """Dropout on the picture's features: a few hundred pictures are known by heart otherwise."""
    ratings: int = 16
    """Ratings of a person that a training step takes at most."""
    adapt_steps: int = 20
    """Steps of gradient descent on a new person's ratings."""
    adapt_lr: float = 2e-4
    """Their learning rate (Adam) for very many ratings; for 50 it is half of this."""


@dataclass(frozen=True)
class Config:
    """Settings of personal image aesthetics."""

    design: Literal["taste", "giaa", "conditional", "control", "mir", "ici"] = "taste"
    """Which model; the settings of the others are not used."""
    study: Literal["oasis", "para", "flickr-aes", "world"] = "oasis"
    """Whose scale of scores and whose facts about people the model stands on."""
    encoder: Literal["lite0", "plain"] = "lite0"
    """What looks at pictures: EfficientNet-Lite0, or nothing but computed attributes, for synthetic pictures."""
    size: int = 224
    """Side of the square, in pixels, that pictures are scaled to."""
    folds: int = 5
    """Parts into which people and groups of pictures are divided, by `seed`."""
    members: tuple[int, ...] = (0,)
    """Parts that are held out, one for each member of the model: the member of part f never saw a score of the people
    or of the pictures of part f, and judges them. −1 holds nothing out: where there is such a member it predicts, else
    the mean of all does."""
    seed: int = 0
    """Of the division."""
    taste: Taste = field(default_factory=Taste)
    """Ours."""
    head: Head = field(default_factory=Head)
    """The papers' networks."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """How it is trained."""

    @property
    def predicting(self) -> tuple[int, ...]:
        """Places in `members` of those that predict for new people and pictures."""
        whole = tuple(place for place, fold in enumerate(self.members) if fold < 0)
        return whole or tuple(range(len(self.members)))

    @property
    def scale(self) -> Scale:
        """The scores of the study."""
        return SCALES[self.study]

    @property
    def fields(self) -> tuple[Field, ...]:
        """What a profile may hold."""
        return FIELDS[self.study]


_OURS = TrainConfig(steps=400, batch_size=24, lr=0.03, warmup=10, checkpoint_every=50)
_HEADS = TrainConfig(steps=800, batch_size=32, lr=3e-4, weight_decay=0.1, warmup=50, clip_norm=1.0, ema=0.99)

PRESETS: dict[str, Config] = {
    "tiny": Config(
        study="world", encoder="plain", size=48, folds=4, taste=Taste(factors=3, factor_variance=0.1),
        train=TrainConfig(steps=120, batch_size=8, lr=0.03, warmup=5),
    ),
    "small": Config(members=(0, 1, 2, 3, 4, -1), train=_OURS),
    "giaa": Config("giaa", head=Head(dropout=0.5), train=replace(_HEADS, steps=300, lr=1e-3, weight_decay=0.01)),
    "conditional": Config("conditional", train=_HEADS),
    "control": Config("control", train=_HEADS),
    "mir": Config("mir", head=Head(adapt_lr=2e-5), train=replace(_HEADS, steps=300)),
    "ici": Config("ici", head=Head(ratings=8, adapt_lr=4e-4), train=replace(_HEADS, steps=150)),
}  # fmt: skip
