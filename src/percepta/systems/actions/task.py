"""The names of `contract.Task`, for temporal action localisation."""

from percepta.systems.actions.data import data, fit_config
from percepta.systems.actions.evaluate import evaluate
from percepta.systems.actions.exports import EXPORTS
from percepta.systems.actions.losses import loss
from percepta.systems.actions.model import build
from percepta.systems.actions.predict import Actions as System

PRETRAINED = {"image": "efficientnet-lite0"}

__all__ = ["EXPORTS", "PRETRAINED", "System", "build", "data", "evaluate", "fit_config", "loss"]
