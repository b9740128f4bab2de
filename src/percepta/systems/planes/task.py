"""What percepta asks of a system (see `contract.Task`), for planes."""

from percepta.systems.planes.data import data
from percepta.systems.planes.evaluate import evaluate
from percepta.systems.planes.losses import loss
from percepta.systems.planes.model import build
from percepta.systems.planes.predict import Planes as System

PRETRAINED = {"image": "efficientnet-lite0"}
EXPORTS = {"sweep": "homographies follow from each pair's pose and intrinsics; a volume sampled in pieces has no graph"}

__all__ = ["EXPORTS", "PRETRAINED", "System", "build", "data", "evaluate", "loss"]
