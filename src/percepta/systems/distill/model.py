"""The classifier: a network that gives features, and one linear layer."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from percepta.nn.efficientnet import EfficientNetLite0
from percepta.nn.resnet import resnet, wide_resnet
from percepta.nn.selfdistill import Answer
from percepta.systems.distill import Config

# Mean and deviation of CIFAR-10's training pictures, which the ResNets take their input by; Lite0 has its own.
MEAN = (0.4914, 0.4822, 0.4465)
DEVIATION = (0.2470, 0.2435, 0.2616)


class Classifier(nn.Module):
    """Pictures to logits and to the features before the last layer."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        if config.net == "imagenet":
            self.image = EfficientNetLite0().requires_grad_(False)
            self.head = nn.Identity()  # the encoder has its own
            return
        if config.net == "lite0":
            self.image = EfficientNetLite0(classifier=False)
            self.image.freeze(config.frozen_blocks)
            width = 1280
        else:
            depth, stem = config.depth, config.stem
            self.trunk = resnet(depth, stem) if config.net == "resnet" else wide_resnet(depth, config.widen, stem)
            width = self.trunk.width
        self.head = nn.Linear(width, len(config.classes))

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Answer:
        """Answers for RGB pictures in 0..1, square; those of another size than `config.size` are brought to it."""
        size = self.config.size
        if image.shape[-1] != size:
            image = functional.interpolate(image, (size, size), mode="bilinear", antialias=image.shape[-1] > size)
        if self.config.net in ("lite0", "imagenet"):
            features = self.image(image).head.mean((2, 3))
        else:
            mean, deviation = (image.new_tensor(row).view(3, 1, 1) for row in (MEAN, DEVIATION))
            features = self.trunk((image - mean) / deviation)
        head = self.image.classifier if self.config.net == "imagenet" else self.head
        return Answer(head(features), features)


def build(config: Config) -> Classifier:
    """The network with random weights; Lite0, which PRETRAINED of task.py names, is filled by `load` and `train`."""
    return Classifier(config).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
