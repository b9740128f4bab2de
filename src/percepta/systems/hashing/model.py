"""Pictures, videos and sentences to codes: the frozen encoders, and the hashing network on their vectors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from percepta.nn.align import SIDE, Align2
from percepta.nn.clip import CLIP, ClipSpace
from percepta.nn.efficientnet import EfficientNetLite0
from percepta.nn.text import TextEncoder
from percepta.systems.hashing import Config, nets, patches

PICTURES = 4  # frames at a time
VIT_B_32: dict[str, Any] = {"embed_dim": 512, "vision_layers": 12, "vision_width": 768, "patch": 32}


class Codes(NamedTuple):
    """Of b pictures or sentences: unit vectors of the image-text space, and the bits of their codes."""

    vectors: Float[Tensor, "b d"]
    bits: Bool[Tensor, "b n"]


class Hasher(nn.Module):
    """The network.

    Attributes:
        config: its settings.
        image, text: the encoders; None where CLIP is both.
        align: the common space of their vectors.
        net: the hashing network.
        side: of the pictures that the encoder takes, in pixels.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        if config.space == "synthetic":
            self.image: Any = patches.PatchImageEncoder()
            self.text: Any = patches.PatchTextEncoder()
            self.align: Any = patches.PatchSpace()
            self.side = patches.SIDE
        elif config.space == "clip":
            self.clip = CLIP(**VIT_B_32).requires_grad_(False)
            self.image = self.text = None  # CLIP is both
            self.align = ClipSpace(self.clip)
            self.align.from_scratch = True  # it has no weights of its own to fill
            self.side = self.clip.side
        else:
            self.image = EfficientNetLite0().requires_grad_(False)
            self.text = TextEncoder()
            self.align = Align2().requires_grad_(False)
            self.side = SIDE
        self.net = nets.make(self.align.width, config)
        self._exact: tuple[Any, nets.HashNet | nets.SharedNet] | None = None

    @property
    def device(self) -> torch.device:
        """Where the hashing network is."""
        return next(self.net.parameters()).device

    @torch.no_grad()
    def pictures(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        """Unit vectors of RGB pictures in 0..1; those that are not `side` × `side` are squeezed to it."""
        if images.shape[-2:] != (self.side, self.side):
            images = functional.interpolate(images, (self.side, self.side), mode="bilinear", antialias=True)
        if isinstance(self.image, EfficientNetLite0):
            weight = self.image.head.conv.weight
            images = images.to(weight.dtype).contiguous(memory_format=torch.channels_last)
            return self.align.pictures(self.image.fast(), images)
        return self.align.pictures(self.image or self.clip, images)

    @torch.no_grad()
    def sentences(self, words: Sequence[str]) -> Float[Tensor, "m d"]:
        """Unit vectors of sentences."""
        return self.align.sentences(self.text or self.clip, words)

    @torch.no_grad()
    def video(self, images: Float[Tensor, "f 3 h w"]) -> Float[Tensor, "1 d"]:
        """The unit vector of a video: the mean of its frames' vectors."""
        rows = torch.cat([self.pictures(part) for part in images.to(self.device).split(PICTURES)])
        return functional.normalize(rows.mean(0, keepdim=True), dim=1)

    def picture_codes(self, images: Float[Tensor, "b 3 h w"]) -> Codes:
        """Codes of RGB pictures in 0..1, as `pictures` takes them."""
        vectors = self.pictures(images)
        return Codes(vectors, self.hash(vectors))

    def sentence_codes(self, words: Sequence[str]) -> Codes:
        """Codes of sentences, to be compared with those of pictures and videos."""
        vectors = self.sentences(words)
        return Codes(vectors, self.hash(vectors, sentences=True))

    def hash(self, vectors: Float[Tensor, "b d"], *, sentences: bool = False) -> Bool[Tensor, "b n"]:
        """Bits of vectors of any length: of pictures, of videos (means of frames' vectors), or of sentences.

        A row's code follows from that row alone.
        """
        state = tuple((value.data_ptr(), value._version) for value in self.net.state_dict().values())
        if self._exact is None or self._exact[0] != state:
            self._exact = (state, nets.exact(self.net))  # in a tuple: no part of the model's state
        return nets.to_bits(self._exact[1], vectors, sentences)

    def fingerprint(self) -> str:
        """Hexadecimal sha256 of all that a code depends on: weights of both encoders, of the space and of the hashing
        network, and the settings that count. Codes can be compared where fingerprints are equal."""
        settings = [self.config.design, self.config.space, self.config.bits, self.side]
        digest = hashlib.sha256(json.dumps(settings).encode())
        for name, value in self.state_dict().items():
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()


def build(config: Config) -> Hasher:
    """The network with random weights; the parts that PRETRAINED names are filled by `load` and `train`."""
    return Hasher(config)
