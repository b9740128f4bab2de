"""A system of a few lines for tests of the shared layers: it learns a sum behind a frozen first layer."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from percepta import weights
from percepta.config import TrainConfig
from percepta.contract import Evaluate, Evaluation, Loader, OpenStream
from percepta.metrics import Metric
from percepta.report import Text


@dataclass(frozen=True)
class Config:
    train: TrainConfig = field(default_factory=lambda: TrainConfig(steps=6, batch_size=4, log_every=2))
    width: int = 8
    dropout: float = 0.0
    two_phases: bool = False
    batch_norm: bool = False


PRESETS = {"tiny": Config(), "small": Config(dropout=0.1)}


class Model(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.image = nn.Linear(5, config.width).requires_grad_(False)
        self.norm = (nn.BatchNorm1d if config.batch_norm else nn.LayerNorm)(config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.width, 1)
        self.unused = nn.Linear(2, 2)  # never part of the loss
        self.register_buffer("seen", torch.zeros(()))
        self.image_in_eval: list[bool] = []

    def forward(self, x: Tensor) -> Tensor:
        self.image_in_eval.append(not self.image.training)
        return self.head(self.dropout(self.norm(self.image(x))))[:, 0]


class Data:
    def __init__(self, length: int = 10) -> None:
        self.length = length
        self.keys: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor]:
        self.keys.append(key)
        generator = torch.Generator().manual_seed(key[0] * 1000 + key[1])
        x = torch.randn(5, generator=generator)
        return {"x": x, "y": x.sum()}

    def collate(self, samples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}


def loss(model: Any, batch: dict[str, Any], step: Any) -> dict[str, Tensor]:
    error = (model(batch["x"]) - batch["y"]).float().pow(2).mean()
    noise = torch.randn((), generator=step.generator)
    model.seen += 1
    # What is remembered changes the loss, so that a run which forgot it would end elsewhere.
    previous = step.memory.get("previous", torch.zeros(()))
    step.memory["previous"] = 0.5 * previous + 0.01 * noise.detach()
    step.memory["count"] = step.memory.get("count", 0) + 1
    weight = 1 + 0.1 * previous
    return {"loss": error * weight, "error": error}


def evaluate(model: nn.Module, loader: Loader, *, examples: int = 0) -> Evaluation:
    errors = torch.cat([(model(batch["x"]) - batch["y"]).abs() for batch in loader])
    blocks = [Text(f"the largest error is {float(errors.max()):.3f}")] if examples else []
    return Evaluation({"mae": Metric(float(errors.mean()), n=len(errors))}, blocks)


@dataclass(frozen=True)
class Result:
    value: float


@dataclass(frozen=True)
class Fake:
    config: Config
    model: nn.Module
    licence: str
    evaluate: Evaluate
    open_stream: OpenStream
    name: ClassVar[str] = "fake"

    @staticmethod
    def dtypes(config: Config) -> tuple[str, ...]:
        return ("float32", "float64")

    def predict(self, x: Any, *, scale: float = 1.0) -> Result:
        return Result(scale * float(self.model(torch.as_tensor(x)[None])[0].detach()))


def phases(config: Config) -> list[tuple[str, TrainConfig, Mapping[str, bool]]]:
    if not config.two_phases:
        return [("train", config.train, {})]
    return [("head", config.train, {"": False, "head": True}), ("all", config.train, {})]


def export_head(model: Model) -> tuple[nn.Module, dict[str, Tensor], list[str], dict[str, dict[int, str]]]:
    return model, {"x": torch.randn(3, 5)}, ["y"], {"x": {0: "b"}, "y": {0: "b"}}


def module() -> ModuleType:
    """The task as the module that `percepta.systems.fake.task` would be."""
    task = ModuleType("percepta.systems.fake.task")
    task.PRETRAINED = {"image": "fake-image", "absent": "clip"}
    task.EXPORTS = {"model": export_head, "other": "it has no graph"}
    task.build = Model
    task.data = lambda config, split, root=None: Data(10 if split == "train" else 4)
    task.loss, task.evaluate, task.phases, task.System = loss, evaluate, phases, Fake
    return task


def install(folder: Path, set_item: Any = dict.__setitem__, set_attribute: Any = setattr) -> ModuleType:
    """Puts the system "fake" and its weight "fake-image" where percepta looks for them.

    Args:
        folder: gets the asset of the frozen part.
        set_item, set_attribute: monkeypatch's, so that a test leaves nothing behind.
    """
    from safetensors.torch import save_file

    from percepta import systems

    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(1)
    state = {"weight": torch.randn(8, 5, generator=generator), "bias": torch.zeros(8)}
    save_file(state, folder / "fake-image.safetensors")
    weights.record(folder / "fake-image.safetensors")
    package = ModuleType("percepta.systems.fake")
    package.__path__ = []
    package.Config, package.PRESETS = Config, PRESETS
    task = module()
    weight = weights.Weight("a layer for tests", "none", "none", assets=("fake-image.safetensors",))
    set_item(sys.modules, "percepta.systems.fake", package)
    set_item(sys.modules, "percepta.systems.fake.task", task)
    set_item(systems.TABLE, "fake", "Learns a line.")
    set_item(weights.TABLE, "fake-image", weight)
    set_attribute(weights, "ASSETS", folder)
    return task
