"""The synthetic world of the tests: quilts of 3 × 3 coloured patches, and sentences that name three of them.

"red north, blue centre, green southwest": whoever writes picks three patches of nine. Every patch also has a grain,
strong and different from quilt to quilt, that nobody ever writes about. The encoders below are exact, so that what can
go wrong is the hashing: a code that keeps what pictures are like wastes bits on grain.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

PLACES = ("northwest", "north", "northeast", "west", "centre", "east", "southwest", "south", "southeast")
COLOURS = {
    "red": (0.9, 0.1, 0.1), "green": (0.1, 0.8, 0.1), "blue": (0.1, 0.1, 0.9), "yellow": (0.9, 0.9, 0.1),
    "black": (0.1, 0.1, 0.1), "white": (0.9, 0.9, 0.9),
}  # fmt: skip
PATCH = 8  # pixels
SIDE = 3 * PATCH
NAMED = 3  # patches in a sentence
SENTENCES = 2  # a quilt
GRAIN = 8.0  # how much louder it is for the encoder than colour


class QuiltEyes(nn.Module):
    """Quilts to what their patches look like: nearness to each colour, and grain. It has nothing to learn."""

    from_scratch = True
    colours: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("colours", torch.tensor([*COLOURS.values()]), persistent=False)

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 63"]:
        """54 shares of colours and 9 grains (−0.5..0.5 or so) of RGB pictures in 0..1."""
        mean = functional.adaptive_avg_pool2d(image, 3).flatten(2).transpose(1, 2)
        square = functional.adaptive_avg_pool2d(image.mean(1, keepdim=True) ** 2, 3).flatten(1)
        level = functional.adaptive_avg_pool2d(image.mean(1, keepdim=True), 3).flatten(1)
        shares = (-20 * (mean[:, :, None] - self.colours).square().sum(-1)).softmax(-1)
        grain = (square - level**2).clamp_min(0).sqrt() * 10 - 0.5
        return torch.cat([shares.flatten(1), GRAIN * grain], 1)


class QuiltWords(nn.Module):
    """Sentences to the patches that they name: a colour, then a place. Other words are passed over."""

    from_scratch = True
    here: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("here", torch.zeros(()), persistent=False)

    def encode(self, words: Sequence[str]) -> Float[Tensor, "m 63"]:
        """1 for each patch that is named with its colour; grain is never named."""
        names = list(COLOURS)
        out = torch.zeros(len(words), 63)
        for row, sentence in zip(out, words, strict=True):
            colour = None
            for word in re.findall(r"\w+", sentence.lower()):
                colour = names.index(word) if word in names else colour
                if word in PLACES and colour is not None:
                    row[PLACES.index(word) * len(names) + colour] = 1
        return out.to(self.here.device)


class QuiltSpace(nn.Module):
    """The interface of `nn.align.Align2` on quilts."""

    from_scratch = True
    width = 64

    def pictures(self, encoder: QuiltEyes, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 64"]:
        """Unit vectors of pictures."""
        return self._unit(encoder(images))

    def sentences(self, encoder: QuiltWords, words: Sequence[str]) -> Float[Tensor, "m 64"]:
        """Unit vectors of sentences."""
        return self._unit(encoder.encode(words))

    def _unit(self, features: Float[Tensor, "b 63"]) -> Float[Tensor, "b 64"]:
        return functional.normalize(functional.pad(features, (0, 1), value=0.1), dim=1)  # never all zero


def world(split: str, seed: int) -> tuple[UInt8[Tensor, "n 3 24 24"], list[list[str]]]:
    """Quilts of a split ("train" 512, else 160) and their sentences; they follow from split and seed."""
    number = {"train": 0, "val": 1, "test": 2}.get(split, 3)
    generator = torch.Generator().manual_seed(1000 * seed + number)
    count = 512 if split == "train" else 160
    names = list(COLOURS)
    chosen = torch.randint(len(names), (count, 9), generator=generator)
    colours = torch.tensor([*COLOURS.values()])[chosen].transpose(1, 2).reshape(count, 3, 3, 3)
    grain = torch.rand(count, 1, 3, 3, generator=generator) * 0.1
    stripes = torch.ones(SIDE)
    stripes[::2] = -1
    pixels = colours.repeat_interleave(PATCH, 2).repeat_interleave(PATCH, 3)
    pixels = pixels + grain.repeat_interleave(PATCH, 2).repeat_interleave(PATCH, 3) * stripes
    said = []
    for row in chosen.tolist():
        picks = [torch.randperm(9, generator=generator)[:NAMED].tolist() for _ in range(SENTENCES)]
        said.append([", ".join(f"{names[row[place]]} {PLACES[place]}" for place in pick) for pick in picks])
    return (pixels.clamp(0, 1) * 255).round().to(torch.uint8), said
