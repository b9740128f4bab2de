"""The folder of a run: what a training under way consists of, and how it is written down and taken up again."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from percepta import checkpoint
from percepta.config import TrainConfig, differences, to_json
from percepta.contract import Step
from percepta.errors import InputError
from percepta.files import write_atomically
from percepta.metrics import Metric

# Settings that change nothing about the result, so that a run may be resumed with other ones.
FREE = ("train.checkpoint_every", "train.log_every", "train.evaluate_every", "train.workers", "train.strict")


@dataclass(frozen=True)
class Process:
    """This process among those that train together."""

    device: torch.device
    rank: int = 0
    world: int = 1


@dataclass
class Run:
    """A training under way: what last.pt holds."""

    model: nn.Module
    frozen: dict[str, dict[str, Any]]
    memory: dict[str, Any] = field(default_factory=dict)
    ema: dict[str, Tensor] = field(default_factory=dict)
    optimizer: dict[str, Any] | None = None  # state of the optimizer, while last.pt's is not yet taken up
    built: dict[str, bool] = field(default_factory=dict)  # which parameters `build` left to be trained
    phase: int = 0
    done: int = 0  # steps of this phase
    seconds: float = 0.0


@contextmanager
def averaged(model: nn.Module, ema: Mapping[str, Tensor]) -> Iterator[None]:
    """The model with its averaged weights, for as long as the block lasts."""
    own = {name: value.detach().clone() for name, value in model.state_dict().items() if name in ema}
    model.load_state_dict(dict(ema), strict=False)
    try:
        yield
    finally:
        model.load_state_dict(own, strict=False)


def same_settings(old: Mapping[str, Any], config: Any, out: Path) -> None:
    """Raises InputError where a run was made with other settings that change its result; names each.

    Args:
        old: config.json of the run.
        config: today's Config.
        out: the run folder, for the message.
    """
    changed = {name: pair for name, pair in differences(old, to_json(config)).items() if name not in FREE}
    if changed:
        rows = ", ".join(f"{name} {before!r} → {after!r}" for name, (before, after) in changed.items())
        raise InputError(f"{out} holds a run with other settings ({rows}); give another folder, or start anew")


class RunFolder:
    """The run folder; only process 0 writes."""

    def __init__(self, system: str, config: Any, out: Path, run: Run, process: Process, done: int) -> None:
        self.system, self.config, self.out, self.run, self.process = system, config, out, run, process
        self.sums: dict[str, float] = {}
        self.count, self.clock = 0, time.monotonic()
        if process.rank == 0:
            out.mkdir(parents=True, exist_ok=True)
            write_atomically(out / "config.json", json.dumps(to_json(config), indent=1) + "\n")
            write_atomically(out / "command", shlex.join(sys.argv) + "\n")
            if source := commit():
                write_atomically(out / "commit", source + "\n")
            log = out / "log.jsonl"
            lines = log.read_text().splitlines(keepends=True) if log.exists() else []
            # A run that was killed wrote lines after the state that is resumed; the last may be torn.
            write_atomically(
                log,
                "".join(line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= done),
            )

    def log(self, step: Step, phase: str, scalars: dict[str, float], lr: float, settings: TrainConfig) -> None:
        """Adds the scalars of a step; every `log_every` steps writes a line with their means.

        Args:
            step: that was done.
            phase: name of the phase.
            scalars: what the loss gave.
            lr: the learning rate.
            settings: of the phase.
        """
        for name, value in scalars.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.count += 1
        if (step.number + 1) % settings.log_every:
            return
        now = time.monotonic()
        line = {"step": step.number + 1, "epoch": step.epoch, "phase": phase}
        line |= {name: value / self.count for name, value in self.sums.items()}
        line |= {"lr": lr, "samples_per_s": self.count * settings.batch_size / max(now - self.clock, 1e-9)}
        self._line(line | {"seconds": self.run.seconds})
        self.sums, self.count, self.clock = {}, 0, now

    def metrics(self, step: int, values: Mapping[str, Metric]) -> None:
        """Writes a line {"step": ..., "val": {name: value}}."""
        self._line({"step": step, "val": {name: metric.value for name, metric in values.items()}})

    def state(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        """Writes last.pt and model.safetensors."""
        run, process = self.run, self.process
        memory = to_device(run.memory, torch.device("cpu"))
        everyone: list[Any] | None = [memory]
        if process.world > 1:
            everyone = [None] * process.world if process.rank == 0 else None
            dist.gather_object(memory, everyone)
        if process.rank:
            return
        state = {
            "config": to_json(self.config),
            "frozen": run.frozen,
            "model": checkpoint.stored(run.model, run.frozen),
            "ema": run.ema,
            "optimizer": optimizer.state_dict(),
            "phase": run.phase,
            "done": run.done,
            "step": step,
            "seconds": run.seconds,
            "memory": everyone,
        }
        # last.pt last: where it says that a run is done, the checkpoint is there
        preset = checkpoint.preset_of(self.system, self.config)
        with averaged(run.model, run.ema):
            checkpoint.save(
                self.path, run.model, system=self.system, preset=preset, config=self.config,
                frozen=run.frozen, step=step,
            )  # fmt: skip
        temporary = self.out / "last.pt.tmp"
        torch.save(state, temporary)
        temporary.replace(self.out / "last.pt")

    @property
    def path(self) -> Path:
        return self.out / "model.safetensors"

    def _line(self, values: dict[str, Any]) -> None:
        if self.process.rank == 0:
            with (self.out / "log.jsonl").open("a") as file:
                file.write(json.dumps(values) + "\n")


def commit() -> str | None:
    """The commit of the source that runs, with "-dirty" where it was changed; None outside a checkout."""
    try:
        command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def to_device(value: Any, device: torch.device) -> Any:
    """Tensors in nested containers, on a device; everything else as it is."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, dict):
        return {key: to_device(item, device) for key, item in value.items()}
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return type(value)(to_device(item, device) for item in value)
    return value
