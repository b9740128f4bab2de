"""The names of `contract.Task`, for action spotting."""

from percepta.systems.spotting.data import data, fit_config
from percepta.systems.spotting.evaluate import evaluate
from percepta.systems.spotting.exports import EXPORTS
from percepta.systems.spotting.losses import loss
from percepta.systems.spotting.model import build
from percepta.systems.spotting.predict import Spotting as System

PRETRAINED = {"image": "efficientnet-lite0"}

__all__ = ["EXPORTS", "PRETRAINED", "System", "build", "data", "evaluate", "fit_config", "loss"]
