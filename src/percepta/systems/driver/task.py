"""The names of `contract.Task`, for a driver's activities."""

from percepta.systems.driver.data import data, fit_config
from percepta.systems.driver.evaluate import evaluate
from percepta.systems.driver.exports import EXPORTS
from percepta.systems.driver.losses import loss
from percepta.systems.driver.model import build
from percepta.systems.driver.predict import Driver as System

PRETRAINED = {"image": "efficientnet-lite0"}

__all__ = ["EXPORTS", "PRETRAINED", "System", "build", "data", "evaluate", "fit_config", "loss"]
