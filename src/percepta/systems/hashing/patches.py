"""The encoders of the synthetic world (`world.py`): exact ones, with nothing to learn.

A picture has 3 × 3 patches of one colour each, with a texture that no sentence ever mentions and that counts much more
in a picture's vector than colour does. What can go wrong is then the hashing alone: a code that keeps what pictures
look like wastes bits on texture.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

PLACES = ("northwest", "north", "northeast", "west", "centre", "east", "southwest", "south", "southeast")
COLOURS = {
    "red": (0.9, 0.1, 0.1), "green": (0.1, 0.8, 0.1), "blue": (0.1, 0.1, 0.9), "yellow": (0.9, 0.9, 0.1),
    "black": (0.1, 0.1, 0.1), "white": (0.9, 0.9, 0.9),
}  # fmt: skip
PATCH = 8  # pixels
SIDE = 3 * PATCH
TEXTURE = 8.0  # weight of the texture in a picture's vector; a colour counts 1


class PatchImageEncoder(nn.Module):
    """Pictures to what their patches look like: how near to each colour, and how strong the texture is."""

    from_scratch = True
    colours: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("colours", torch.tensor([*COLOURS.values()]), persistent=False)

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 63"]:
        """54 shares of colours and 9 textures (−0.5..0.5 or so) of RGB pictures in 0..1."""
        mean = functional.adaptive_avg_pool2d(image, 3).flatten(2).transpose(1, 2)
        square = functional.adaptive_avg_pool2d(image.mean(1, keepdim=True) ** 2, 3).flatten(1)
        level = functional.adaptive_avg_pool2d(image.mean(1, keepdim=True), 3).flatten(1)
        shares = (-20 * (mean[:, :, None] - self.colours).square().sum(-1)).softmax(-1)
        texture = (square - level**2).clamp_min(0).sqrt() * 10 - 0.5
        return torch.cat([shares.flatten(1), TEXTURE * texture], 1)


class PatchTextEncoder(nn.Module):
    """Sentences to the patches that they name: a colour, then a place. Other words are ignored."""

    from_scratch = True
    here: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("here", torch.zeros(()), persistent=False)

    def encode(self, words: Sequence[str]) -> Float[Tensor, "m 63"]:
        """1 for each patch that is named with its colour; the textures stay 0."""
        names = list(COLOURS)
        out = torch.zeros(len(words), 63)
        for row, sentence in zip(out, words, strict=True):
            colour = None
            for word in re.findall(r"\w+", sentence.lower()):
                colour = names.index(word) if word in names else colour
                if word in PLACES and colour is not None:
                    row[PLACES.index(word) * len(names) + colour] = 1
        return out.to(self.here.device)


class PatchSpace(nn.Module):
    """The interface of `nn.align.Align2` on these pictures and sentences."""

    from_scratch = True
    width = 64

    def pictures(self, encoder: PatchImageEncoder, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 64"]:
        """Unit vectors of pictures."""
        return self._unit(encoder(images))

    def sentences(self, encoder: PatchTextEncoder, words: Sequence[str]) -> Float[Tensor, "m 64"]:
        """Unit vectors of sentences."""
        return self._unit(encoder.encode(words))

    def _unit(self, features: Float[Tensor, "b 63"]) -> Float[Tensor, "b 64"]:
        return functional.normalize(functional.pad(features, (0, 1), value=0.1), dim=1)  # never all zero
