"""The names of `contract.Task`, for street segmentation."""

from percepta.systems.weather.data import data
from percepta.systems.weather.evaluate import evaluate
from percepta.systems.weather.losses import loss
from percepta.systems.weather.model import build

PRETRAINED = {"image": "efficientnet-lite0"}

__all__ = ["PRETRAINED", "build", "data", "evaluate", "loss"]
