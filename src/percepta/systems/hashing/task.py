"""The names of the contract, for search by hash codes; see `contract.Task`."""

from percepta.systems.hashing.data import data
from percepta.systems.hashing.evaluate import evaluate
from percepta.systems.hashing.exports import EXPORTS
from percepta.systems.hashing.losses import loss
from percepta.systems.hashing.model import build
from percepta.systems.hashing.predict import Hashing as System

__all__ = ["EXPORTS", "PRETRAINED", "System", "build", "data", "evaluate", "loss"]

PRETRAINED = {"image": "efficientnet-lite0", "text": "minilm-l6-v2", "align": "align-v2", "clip": "clip-vit-b-32"}
