"""Animatable people in loose clothes, from pictures of several cameras (Structured Local Radiance Fields, CVPR 2022).

What the paper does: nodes are spread over a body template; each has a small radiance field of its own in a frame that
linear blend skinning carries along. What skinning does not explain, clothes that swing, is left to a translation of
each node and an embedding that changes what its field shows; both are decoded from a latent variable whose prior sees
the pose (a conditional variational auto-encoder), so that one pose may have several states of the cloth. Rays are
sampled only inside the nodes' spheres.

Here the prior also sees the last poses and their speed, since cloth depends on its past; the template is our own body
(`geometry.body`), so that no body model has to be licensed; sizes are such that two processor cores train a person.

A data set is a folder in the layout of THUman4.0 (`datasets.thuman4`); without one, a person of `worlds.people` is
rendered. Baselines are fields of Config: `fields="canonical"` is a plain skinned radiance field, and `translations`,
`details`, `latent` and `past` can be switched off one by one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from percepta.config import TrainConfig


@dataclass(frozen=True)
class BodyConfig:
    """Measures of the template; follow from the capture."""

    height_m: float = 1.75
    """From the soles to the top of the head, metres."""
    girth: float = 1.0
    """Of torso and limbs, 1 is average."""
    legs: float = 1.0
    """Length of the legs over the average share of the height."""
    arms: float = 1.0
    """Length of the arms over the average share of the height."""
    shoulders: float = 1.0
    """Width of the shoulders, 1 is average."""


@dataclass(frozen=True)
class WorldConfig:
    """The person that is rendered where no capture is given."""

    outfit: Literal["tight", "skirt", "coat", "sleeves", "robe"] = "skirt"
    """What is worn."""
    width: int = 128
    """Of the pictures, in pixels."""
    height: int = 160
    """Of the pictures, in pixels."""
    cameras: int = 8
    """Around the person; the last quarter of them is held out."""
    frames: int = 150
    """Of the motion at 30 frames a second; the last fifth is held out."""
    motion: str = "sway"
    """What the person does: one of `worlds.people.motions.MADE`."""


@dataclass(frozen=True)
class Config:
    """Settings of an avatar."""

    nodes: int = 128
    """Local radiance fields, spread over the body by farthest points."""
    sigma_m: float = 0.09
    """Width of a node's weight exp(-d²/2σ²), metres."""
    floor: float = 0.05
    """What is taken off that weight; a node's sphere ends where nothing is left."""
    near_nodes: int = 4
    """At most so many nodes are blended at a point."""
    frequencies: int = 6
    """Of the encoding of local coordinates."""
    view_frequencies: int = 0
    """Of the encoding of the viewing direction; 0: what is seen does not depend on it."""
    hidden: int = 40
    """Width of a node's network."""
    layers: int = 2
    """Hidden layers of a node's network."""
    latent_size: int = 16
    """Numbers of the latent variable."""
    detail_size: int = 8
    """Numbers of a node's dynamic embedding."""
    decoder_width: int = 128
    """Width of prior, posterior and decoder."""
    samples: int = 40
    """Points on a ray between entering and leaving the nodes' spheres."""
    rays: int = 256
    """Rays of a picture in a training step."""
    fields: Literal["local", "canonical"] = "local"
    """Local fields as published, or one network in the space of the rest pose: the plain skinned baseline."""
    canonical_width: int = 128
    """Width of that one network."""
    translations: bool = True
    """Whether nodes have residual translations."""
    details: bool = True
    """Whether nodes have dynamic embeddings."""
    latent: bool = True
    """Whether both are decoded from a latent variable; otherwise from the pose alone."""
    past: bool = True
    """Whether the last poses and their speed are seen."""
    past_frames: tuple[int, ...] = (3, 6, 12)
    """How long ago they are, in frames."""
    mask_weight: float = 0.3
    """Of the loss on the accumulated opacity."""
    translation_weight: float = 0.02
    """Of the mean squared translation, 1/m²."""
    detail_weight: float = 1e-4
    """Of the mean squared embedding."""
    kl_weight: float = 2e-4
    """Of the divergence of posterior and prior."""
    prior_share: float = 0.3
    """Share of the steps in which the latent variable is the prior's mean."""
    frames: int = 150
    """Frames that the time stamp runs over; follows from the capture."""
    fps: float = 30.0
    """Frames a second of the capture; follows from it."""
    body: BodyConfig = field(default_factory=BodyConfig)
    """The template."""
    world: WorldConfig = field(default_factory=WorldConfig)
    """The rendered person."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """How it is trained."""


_TRAIN = TrainConfig(
    steps=8000, batch_size=4, lr=3e-3, warmup=100, clip_norm=1.0, checkpoint_every=500, log_every=50, ema=0.0
)
PRESETS: dict[str, Config] = {
    "tiny": Config(
        nodes=24, sigma_m=0.14, near_nodes=3, frequencies=3, hidden=16, latent_size=4, detail_size=4, decoder_width=32,
        samples=16, rays=96, canonical_width=32, frames=20,
        world=WorldConfig(width=32, height=40, cameras=4, frames=20),
        train=TrainConfig(steps=40, batch_size=2, lr=5e-3, checkpoint_every=20, log_every=10),
    ),
    "small": Config(train=_TRAIN),
    "paper": Config(
        nodes=128, sigma_m=0.07, near_nodes=8, frequencies=6, view_frequencies=2, hidden=64, layers=4, latent_size=32,
        detail_size=16, decoder_width=256, samples=64, rays=1024, canonical_width=256, frames=2500,
        world=WorldConfig(width=384, height=480, cameras=24, frames=300),
        train=TrainConfig(steps=300000, batch_size=4, lr=5e-4, clip_norm=1.0, checkpoint_every=2000),
    ),
}  # fmt: skip
