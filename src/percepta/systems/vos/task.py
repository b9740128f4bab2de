"""The names of `contract.Task`, for video object segmentation."""

from percepta.systems.vos.data import data
from percepta.systems.vos.evaluate import evaluate
from percepta.systems.vos.exports import EXPORTS
from percepta.systems.vos.losses import loss
from percepta.systems.vos.model import build
from percepta.systems.vos.predict import Vos as System

PRETRAINED = {"image": "efficientnet-lite0"}

__all__ = ["EXPORTS", "PRETRAINED", "System", "build", "data", "evaluate", "loss"]
