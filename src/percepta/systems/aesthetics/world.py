"""A synthetic world: small pictures that differ in plain ways, and people whose taste follows in part from who they
are.

Every picture has a ground of some brightness and colour, stripes of some fineness and a disc at some distance from the
middle. What everybody likes a little is light and a disc in the middle. Colours please the young and stripes the old;
men and women differ in whether they like it warm; and everybody has a bent of their own for each of these. A model that
only knows the crowd cannot reach what these leave, and one that never learns a person cannot know their own bent.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from percepta.datasets.ratings import Study
from percepta.systems.aesthetics import SCALES, WORLD_FIELDS

PEOPLE, PICTURES = 96, 120
OWN, NOISE = 0.7, 0.5  # deviation of people's own bents, and of a rating


def world(size: int, seed: int) -> tuple[UInt8[Tensor, "120 3 size size"], Study]:
    """Pictures as bytes and the study of what people gave them, 1..7; both follow from the seed."""
    rng = np.random.default_rng([seed, 20])
    causes = rng.uniform(-1, 1, (PICTURES, 5))  # light, colour, warmth, stripes, distance from the middle
    images = torch.from_numpy(np.stack([_picture(row, size, rng) for row in causes]))
    ages, women = rng.uniform(18, 80, PEOPLE), rng.integers(0, 2, PEOPLE)
    taste = np.tile([0.6, 0.0, 0.0, 0.0, -0.6], (PEOPLE, 1))
    taste[:, 1] -= (ages - 49) / 25
    taste[:, 3] += (ages - 49) / 25
    taste[:, 2] += np.where(women, 0.8, -0.8)
    taste += OWN * rng.normal(size=taste.shape)
    exact = 4 + taste @ causes.T + 0.5 * rng.normal(size=(PEOPLE, 1)) + NOISE * rng.normal(size=(PEOPLE, PICTURES))
    scores = np.clip(np.round(exact), 1, 7)
    rater, picture = np.nonzero(rng.random(scores.shape) < 0.8)
    names = tuple(f"{index:03d}" for index in range(PICTURES))
    profiles = [
        {"age": float(round(age)), "gender": "female" if w else "male"} for age, w in zip(ages, women, strict=True)
    ]
    study = Study(
        name="world",
        pictures=tuple(Path(name) for name in names),
        groups=names,
        people=tuple(f"{index:03d}" for index in range(PEOPLE)),
        profiles=tuple(profiles),
        fields=WORLD_FIELDS,
        scale=SCALES["world"],
        rater=rater,
        picture=picture,
        score=scores[rater, picture],
        line=np.zeros(len(rater), np.int64),
    )
    return images, study


def _picture(causes: Float[np.ndarray, " 5"], size: int, rng: np.random.Generator) -> UInt8[np.ndarray, "3 size size"]:
    """A picture with these causes, each −1..1; its stripes' phase and the disc's direction are free."""
    light, colour, warmth, stripes, distance = (causes + 1) / 2
    y, x = np.mgrid[:size, :size] / (size - 1)
    grey = 0.25 + 0.5 * light
    tint = 0.3 * colour * np.array([warmth, 0.35, 1 - warmth]) - 0.1 * colour
    wave = 0.12 * np.sin(2 * np.pi * (2 + 10 * stripes) * (x + 0.3 * y) + rng.uniform(0, 6))
    pixels = grey + tint[:, None, None] + wave
    angle = rng.uniform(0, 2 * np.pi)
    middle = 0.5 + 0.33 * distance * np.array([np.cos(angle), np.sin(angle)])
    disc = (x - middle[0]) ** 2 + (y - middle[1]) ** 2 < 0.13**2
    pixels = np.where(disc, 1 - grey, pixels)
    return (pixels.clip(0, 1) * 255).astype(np.uint8)
