"""The folder of a run: what a training under way consists of, and how it is written down and taken up again.

config.json, command, commit    how it was started
data.json                       what it stands on: the files of data, and the weights that it started from
log.jsonl                       a line every so many steps
last.pt                         the state that training resumes from
model.safetensors               the weights
"""

from __future__ import annotations

import hashlib
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
from percepta.files import is_system_file, remove_leftovers, write_atomically, writing
from percepta.formats import checked, parse_json, read_json
from percepta.metrics import Metric

# Settings that change nothing about the result, so that a run may be resumed with other ones.
FREE = ("train.checkpoint_every", "train.log_every", "train.evaluate_every", "train.workers", "train.strict")


# Files whose content is compared where only their time differs: tables and labels, which are small.
TABLES = frozenset({".csv", ".tsv", ".json", ".jsonl", ".txt", ".p", ".log"})
_TABLE_BYTES = 64 << 20


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
    filled: dict[str, dict[str, Any]] = field(default_factory=dict)  # known weights that parts started from
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


def standing_on(root: Path | None, out: Path, start: str) -> dict[str, Any]:
    """What a run stands on, as data.json keeps it: every file below the folder of data, and the weights at its start.

    Args:
        root: folder or file of data; None is the synthetic world.
        out: the run folder, which may lie in the folder of data; its files do not count.
        start: the hash of the weights that training goes on from; "" for none.

    Returns:
        {"files": {path: [bytes, time of change in ns, sha256 of a table or ""]}, "start"}.
    """
    files: dict[str, list[Any]] = {}
    todo = [] if root is None else [root]
    own, seen = out.resolve(), set()
    while todo:
        path = todo.pop()
        where = path.resolve()
        if where == own or where in seen:
            continue
        if path.is_dir():
            seen.add(where)
            todo += [one for one in path.iterdir() if not is_system_file(one)]
        elif path.is_file() and root is not None:
            status = path.stat()
            table = path.suffix.lower() in TABLES and status.st_size <= _TABLE_BYTES
            digest = hashlib.sha256(path.read_bytes()).hexdigest() if table else ""
            name = path.relative_to(root).as_posix() if path != root else path.name
            files[name] = [status.st_size, status.st_mtime_ns, digest]
    return {"files": dict(sorted(files.items())), "start": start}


def same_ground(now: Mapping[str, Any], out: Path, finished: bool) -> None:
    """Raises InputError where a run stood on other data or other weights than today; names the first difference.

    Args:
        now: what `standing_on` gives today; a start of "" is not compared.
        out: the run folder; one without data.json, as older runs have it, is not compared.
        finished: whether the run is at its end, for the message.
    """
    path = out / "data.json"
    if not path.is_file():
        return
    before = checked(read_json(path), dict, str(path))
    old, new = before.get("files") or {}, now["files"]
    changed = [name for name in new if name in old and not _same_file(old[name], new[name])]
    gone, added = [name for name in old if name not in new], [name for name in new if name not in old]
    said = [
        f"{len(names)} file{'s' if len(names) > 1 else ''} {how} ({names[0]}{', ...' if len(names) > 1 else ''})"
        for names, how in ((changed, "changed"), (gone, "gone"), (added, "new"))
        if names
    ]
    if said:
        what = "the data changed: " + ", ".join(said)
    elif now["start"] and before.get("start") != now["start"]:
        what = "it started from other weights"
    else:
        return
    state = "is finished already" if finished else "cannot go on"
    raise InputError(f"the run in {out} {state}, and {what}: --no-resume trains anew, or give another --out")


def _same_file(old: Any, new: list[Any]) -> bool:
    """The same size, and the same time or, for tables, the same content."""
    return list(old) == new or (bool(new[2]) and list(old)[2:] == new[2:])


def read_state(path: Path) -> dict[str, Any]:
    """What last.pt holds.

    Raises:
        InputError: it was cut off, or is no state of a training.
    """
    try:
        state = torch.load(path, "cpu", weights_only=True)
    except Exception as error:  # torch raises whatever its readers met
        what = str(error).partition("\n")[0][:200]
        text = "is cut off or damaged, so that this run cannot go on; --no-resume trains anew"
        raise InputError(f"{path}: {text} ({what})") from None
    needed = {"config", "frozen", "model", "ema", "optimizer", "phase", "done", "seconds", "memory"}
    if not isinstance(state, dict) or needed - state.keys():
        raise InputError(f"{path}: no state of a training; --no-resume trains anew")
    return state


class RunFolder:
    """The run folder; only process 0 writes.

    Args:
        system: its name.
        config: its Config.
        out: the folder.
        run: the training.
        process: this one.
        done: steps that the state which is resumed was trained for.
        ground: see `standing_on`.
    """

    def __init__(
        self, system: str, config: Any, out: Path, run: Run, process: Process, done: int, ground: Mapping[str, Any]
    ) -> None:
        self.system, self.config, self.out, self.run, self.process = system, config, out, run, process
        self.sums: dict[str, float] = {}
        self.count, self.clock = 0, time.monotonic()
        if process.rank == 0:
            out.mkdir(parents=True, exist_ok=True)
            for name in ("config.json", "command", "commit", "data.json", "log.jsonl", "last.pt", "model.safetensors"):
                remove_leftovers(out / name)
            write_atomically(out / "config.json", json.dumps(to_json(config), indent=1) + "\n")
            write_atomically(out / "data.json", json.dumps(ground) + "\n")
            write_atomically(out / "command", shlex.join(sys.argv) + "\n")
            if source := commit():
                write_atomically(out / "commit", source + "\n")
            log = out / "log.jsonl"
            lines = log.read_text(encoding="utf-8").split("\n")[:-1] if log.exists() else []
            # A run that was killed wrote lines after the state that is resumed; the last may be torn.
            write_atomically(log, "".join(f"{line}\n" for line in lines if _step(line, log) <= done))

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
            "system": self.system,
            "config": to_json(self.config),
            "frozen": run.frozen,
            "filled": run.filled,
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
        with writing(self.out / "last.pt") as file:
            torch.save(state, file)

    @property
    def path(self) -> Path:
        return self.out / "model.safetensors"

    def _line(self, values: dict[str, Any]) -> None:
        if self.process.rank == 0:
            with (self.out / "log.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(values) + "\n")


def _step(line: str, log: Path) -> int:
    """The step of a line of the log; InputError names the log where it is no such line."""
    row = parse_json(line, str(log))
    return checked(row.get("step") if isinstance(row, dict) else None, int, f"{log}: the step of a line")


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
