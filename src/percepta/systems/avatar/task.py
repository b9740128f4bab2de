"""The names of `contract.Task`, for avatars."""

from percepta.systems.avatar.data import data, fit_config
from percepta.systems.avatar.evaluate import ENCODER, encoder, evaluate
from percepta.systems.avatar.exports import EXPORTS
from percepta.systems.avatar.losses import loss
from percepta.systems.avatar.model import build
from percepta.systems.avatar.predict import Avatar as System

PRETRAINED: dict[str, str] = {}

__all__ = ["ENCODER", "EXPORTS", "PRETRAINED", "System", "build", "data", "encoder", "evaluate", "fit_config", "loss"]
