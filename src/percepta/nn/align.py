"""The image-text space: sentence vectors and picture features made comparable. Version 1.

A linear map takes MiniLM's sentence vector to the standardised 1280 features that EfficientNet-Lite0 pools; their
cosine says how well a sentence fits a picture, and at every place of the feature map, where. The map is a ridge
regression in closed form on two kinds of pairs: ImageNet class names with the classifier's rows (what a feature vector
of that class points at), and captions with the features of their pictures.
"""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

TEXT, IMAGE = 384, 1280


class Align(nn.Module):
    """Both sides' maps into one space of 1280 dimensions; vectors come out with length 1."""

    mean: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(IMAGE))
        self.register_buffer("scale", torch.ones(IMAGE))
        self.text_map = nn.Linear(TEXT, IMAGE)

    def image(self, features: Float[Tensor, "*b 1280"]) -> Float[Tensor, "*b 1280"]:
        """Unit vectors of pooled (or local) head features of EfficientNet-Lite0."""
        return functional.normalize((features - self.mean) / self.scale, dim=-1)

    def text(self, sentence: Float[Tensor, "*b 384"]) -> Float[Tensor, "*b 1280"]:
        """Unit vectors of MiniLM's sentence vectors."""
        return functional.normalize(self.text_map(sentence), dim=-1)

    def read(self, path: Path) -> None:
        """Fill from an asset that `write` made."""
        self.load_state_dict({k: v.float() for k, v in load_file(path).items()})

    def write(self, path: Path) -> None:
        """Store as float16."""
        save_file({k: v.half().contiguous() for k, v in self.state_dict().items()}, path)


def fit(
    features: Float[Tensor, "n 1280"],
    captions: Float[Tensor, "n 384"],
    rows: Float[Tensor, "c 1280"],
    names: Float[Tensor, "c 384"],
    *,
    penalty: float = 3.0,
    names_weight: float = 3.0,
) -> Align:
    """Ridge regression from sentence vectors to standardised features, in closed form.

    Args:
        features: pooled head features, one for each caption.
        captions: their sentence vectors.
        rows: classifier rows of ImageNet's classes.
        names: sentence vectors of the class names.
        penalty: ridge penalty on the map (not on its offset), in units of pairs.
        names_weight: what a class name counts against a caption.
    """
    space = Align()
    space.mean.copy_(features.mean(0))
    space.scale.copy_(features.std(0).clamp_min(1e-3))
    # A classifier row is a direction in the raw features; scaling by the deviation turns it into one of the
    # standardised space, and its length is set to that of a typical picture.
    seen = (features - space.mean) / space.scale
    ideal = rows * space.scale
    ideal = functional.normalize(ideal - ideal.mean(0), dim=1) * seen.norm(dim=1).mean()
    x = torch.cat((captions, names))
    x = torch.cat((x, torch.ones(len(x), 1)), 1).double()
    y = torch.cat((seen, ideal)).double()
    weight = torch.cat((torch.ones(len(captions)), torch.full((len(names),), names_weight))).double()[:, None]
    ridge = torch.full((TEXT + 1,), penalty, dtype=torch.float64)
    ridge[-1] = 1e-6
    solution = torch.linalg.solve(x.T @ (weight * x) + ridge.diag(), x.T @ (weight * y))
    with torch.no_grad():
        space.text_map.weight.copy_(solution[:-1].T)
        space.text_map.bias.copy_(solution[-1])
    return space


def recall(
    image: Float[Tensor, "n d"],
    text: Float[Tensor, "m d"],
    owner: list[int],
    at: tuple[int, ...] = (1, 5, 10),
) -> dict[int, float]:
    """Text-to-image recall@k: the share of sentences whose own picture is among the k nearest."""
    scores = text @ image.T
    own = scores.gather(1, torch.tensor(owner)[:, None])
    rank = (scores > own).sum(1)
    return {k: float((rank < k).float().mean()) for k in at}
