"""The names of the contract, for supernets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from percepta.contract import Graph
from percepta.systems.supernet import exports
from percepta.systems.supernet.data import data, fit_config
from percepta.systems.supernet.evaluate import evaluate
from percepta.systems.supernet.losses import loss, phases
from percepta.systems.supernet.model import build
from percepta.systems.supernet.predict import Supernet as System

__all__ = ["EXPORTS", "PRETRAINED", "System", "build", "data", "evaluate", "fit_config", "loss", "phases"]

PRETRAINED: Mapping[str, str] = {}
EXPORTS: Mapping[str, Callable[[Any], Graph] | str] = {"network": exports.network}
