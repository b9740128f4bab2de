"""What the contract asks of a system, for personal image aesthetics."""

from __future__ import annotations

from percepta.systems.aesthetics import exports
from percepta.systems.aesthetics.build import build
from percepta.systems.aesthetics.data import data
from percepta.systems.aesthetics.evaluate import evaluate
from percepta.systems.aesthetics.losses import loss
from percepta.systems.aesthetics.predict import Aesthetics

__all__ = ["EXPORTS", "PRETRAINED", "System", "build", "data", "evaluate", "loss"]

PRETRAINED = {"image": "efficientnet-lite0", "concepts": "concepts"}
EXPORTS = {"picture": exports.picture}
System = Aesthetics
