"""The names of `contract.Task`, for street segmentation."""

from percepta.systems.weather.data import data
from percepta.systems.weather.evaluate import evaluate
from percepta.systems.weather.exports import EXPORTS
from percepta.systems.weather.losses import loss
from percepta.systems.weather.model import build
from percepta.systems.weather.predict import Weather as System

PRETRAINED = {"image": "efficientnet-lite0"}

__all__ = ["EXPORTS", "PRETRAINED", "System", "build", "data", "evaluate", "loss"]
