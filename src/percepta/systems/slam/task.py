"""What percepta asks of a system (see `contract.Task` and `contract.NotTrained`), for SLAM."""

from percepta.systems.slam.data import data
from percepta.systems.slam.evaluate import evaluate
from percepta.systems.slam.exports import places
from percepta.systems.slam.losses import NOT_TRAINED, loss
from percepta.systems.slam.model import build
from percepta.systems.slam.predict import Slam as System

PRETRAINED = {"image": "efficientnet-lite0"}
EXPORTS = {"places": places, "tracking and mapping": "geometry in NumPy and OpenCV: there is no network in it"}

__all__ = ["EXPORTS", "NOT_TRAINED", "PRETRAINED", "System", "build", "data", "evaluate", "loss"]
