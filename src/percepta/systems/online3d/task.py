"""What online 3-D segmentation offers to the shared layers; `contract.Task` has the types."""

from __future__ import annotations

from percepta.systems.online3d.data import data
from percepta.systems.online3d.evaluate import evaluate
from percepta.systems.online3d.exports import EXPORTS
from percepta.systems.online3d.losses import loss
from percepta.systems.online3d.model import build
from percepta.systems.online3d.predict import Online3d as System

__all__ = ["EXPORTS", "PRETRAINED", "System", "build", "data", "evaluate", "loss"]

PRETRAINED: dict[str, str] = {}
