"""The names of `contract.Task`, for replay grounding."""

from percepta.systems.replay.data import data, fit_config
from percepta.systems.replay.evaluate import evaluate
from percepta.systems.replay.exports import EXPORTS
from percepta.systems.replay.losses import loss
from percepta.systems.replay.model import build
from percepta.systems.replay.predict import ReplayGrounding as System

PRETRAINED = {"image": "efficientnet-lite0"}

__all__ = ["EXPORTS", "PRETRAINED", "System", "build", "data", "evaluate", "fit_config", "loss"]
