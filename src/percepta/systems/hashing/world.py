"""The synthetic world of the tests: pictures of 3 × 3 coloured patches, and sentences that name three of them.

"red north, blue centre, green southwest": each sentence picks three of the nine patches. Every patch also has a
texture, strong and different from picture to picture, that no sentence mentions. `patches.py` has the encoders.
"""

from __future__ import annotations

import torch
from jaxtyping import UInt8
from torch import Tensor

from percepta.systems.hashing.patches import COLOURS, PATCH, PLACES, SIDE

NAMED = 3  # patches in a sentence
SENTENCES = 2  # of each picture


def pictures(split: str, seed: int) -> tuple[UInt8[Tensor, "n 3 24 24"], list[list[str]]]:
    """Pictures of a split ("train" 512, else 160) and the sentences of each; they follow from split and seed."""
    number = {"train": 0, "val": 1, "test": 2}.get(split, 3)
    generator = torch.Generator().manual_seed(1000 * seed + number)
    count = 512 if split == "train" else 160
    names = list(COLOURS)
    chosen = torch.randint(len(names), (count, 9), generator=generator)
    colours = torch.tensor([*COLOURS.values()])[chosen].transpose(1, 2).reshape(count, 3, 3, 3)
    texture = torch.rand(count, 1, 3, 3, generator=generator) * 0.1
    stripes = torch.ones(SIDE)
    stripes[::2] = -1
    pixels = colours.repeat_interleave(PATCH, 2).repeat_interleave(PATCH, 3)
    pixels = pixels + texture.repeat_interleave(PATCH, 2).repeat_interleave(PATCH, 3) * stripes
    sentences = []
    for row in chosen.tolist():
        picks = [torch.randperm(9, generator=generator)[:NAMED].tolist() for _ in range(SENTENCES)]
        sentences.append([", ".join(f"{names[row[place]]} {PLACES[place]}" for place in pick) for pick in picks])
    return (pixels.clamp(0, 1) * 255).round().to(torch.uint8), sentences
