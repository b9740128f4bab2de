"""What a picture shows, in the space of sentences: ImageNet's classes as words.

The 1000 class probabilities of EfficientNet-Lite0 weigh the MiniLM vectors of "a photo of <class>" (ConSE, Norouzi et
al. 2014, with all classes and a softened softmax), so that a spaniel lies near a terrier and far from a syringe.
"""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

CLASSES, WIDTH = 1000, 384
TEMPERATURE = 2.0  # ImageNet's own softmax is too sure of pictures that show none of its classes


class Concepts(nn.Module):
    """The vectors of the class names, centred. Frozen."""

    vectors: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.zeros(CLASSES, WIDTH))

    def forward(self, logits: Float[Tensor, "b 1000"]) -> Float[Tensor, "b 384"]:
        """Logits of ImageNet's classes to the mean vector of their names."""
        return self.probabilities(logits) @ self.vectors

    def probabilities(self, logits: Float[Tensor, "b 1000"]) -> Float[Tensor, "b 1000"]:
        """The softened probabilities that weigh the names."""
        return (logits / TEMPERATURE).softmax(-1)

    def read(self, path: Path) -> None:
        """Fill from an asset that `write` made."""
        self.load_state_dict({name: value.float() for name, value in load_file(path).items()})

    def write(self, path: Path) -> None:
        """Store as float16."""
        save_file({"vectors": self.vectors.half().contiguous()}, path)
