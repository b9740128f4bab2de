"""The names of `contract.Task`, for referring segmentation."""

from percepta.systems.refer.data import data
from percepta.systems.refer.evaluate import evaluate
from percepta.systems.refer.exports import EXPORTS, export_files
from percepta.systems.refer.losses import loss
from percepta.systems.refer.model import build
from percepta.systems.refer.predict import Refer as System

PRETRAINED = {"image": "efficientnet-lite0", "text": "minilm-l6-v2", "align": "align-v1", "backbone": "clip"}

__all__ = ["EXPORTS", "PRETRAINED", "System", "build", "data", "evaluate", "export_files", "loss"]
