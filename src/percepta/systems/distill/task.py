"""The names of the contract, for picture classification."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from percepta.contract import Graph
from percepta.systems.distill import exports
from percepta.systems.distill.data import data, fit_config
from percepta.systems.distill.evaluate import evaluate
from percepta.systems.distill.losses import loss
from percepta.systems.distill.model import build
from percepta.systems.distill.predict import Distill as System

__all__ = ["EXPORTS", "PRETRAINED", "System", "build", "data", "evaluate", "fit_config", "loss"]

PRETRAINED: Mapping[str, str] = {"image": "efficientnet-lite0"}
EXPORTS: Mapping[str, Callable[[Any], Graph] | str] = {"classifier": exports.classifier}
