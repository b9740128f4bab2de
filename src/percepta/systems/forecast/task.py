"""The names of `contract.Task`, for motion forecasting."""

from percepta.systems.forecast.data import data, fit_config, go_on
from percepta.systems.forecast.evaluate import evaluate
from percepta.systems.forecast.exports import EXPORTS
from percepta.systems.forecast.losses import loss
from percepta.systems.forecast.model import build
from percepta.systems.forecast.predict import Forecast as System

PRETRAINED: dict[str, str] = {}

__all__ = ["EXPORTS", "PRETRAINED", "System", "build", "data", "evaluate", "fit_config", "go_on", "loss"]
