"""THE loop: every system is trained by this file.

A system brings functions (see `contract.Task`); the loop brings order, seeds, the optimizer, averaged weights, several
processes, and the run folder (`runs.py`). What makes a run repeatable:

- The samples of step s are the keys (epoch, index) at places s·B … s·B + B − 1 of an endless row: every epoch
  is a permutation of the data that follows from (seed, epoch). An item depends on its key only, so neither
  stopping nor loading in workers changes anything.
- Before every step torch's own generator is seeded from (seed, step, process), `step.generator` from (seed,
  step).

Several processes (torchrun) average their gradients themselves rather than through DistributedDataParallel: a
system's loss may then call any method of its model, and parameters that a step did not use stay untouched, as
they do with one process. The global batch is cut into equal shards, so the mean over shards of a mean is the
mean over the batch.
"""

from __future__ import annotations

import ctypes
import hashlib
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from warnings import warn

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.data import DataLoader

from percepta import checkpoint, pretrained, weights
from percepta.config import TrainConfig, from_json
from percepta.contract import (
    Dataset,
    Evaluation,
    FitsConfig,
    GoesOn,
    HasEncoder,
    HasPhases,
    Key,
    NotTrained,
    Phase,
    Progress,
    Step,
    Task,
)
from percepta.errors import DivergedError, InputError, MissingFileError
from percepta.nn import norm
from percepta.nn.archive import fingerprint
from percepta.optim import learning_rate, make_optimizer, trainable
from percepta.runs import (
    Process,
    Run,
    RunFolder,
    averaged,
    read_state,
    same_ground,
    same_settings,
    standing_on,
    to_device,
)

EXAMPLES = 16  # pictures that the page after a training, or of an evaluation, may show
StepProgress = Callable[[int, int, dict[str, float]], None]  # steps done, steps in all, {"loss", "lr"}


class Stopped(KeyboardInterrupt):
    """Training was asked to stop (Ctrl-C, SIGTERM) and wrote its state; the message says how to go on."""


def train(
    system: str,
    config: Any,
    *,
    root: Path | None = None,
    out: Path,
    resume: bool = True,
    weights: Mapping[str, Path] | None = None,
    start: Path | None = None,
    progress: StepProgress | None = None,
    evaluated: Callable[[int, Evaluation], None] | None = None,
    device: str = "auto",
) -> Path:
    """Trains a system and writes a run folder.

    Args:
        system: its name.
        config: its Config; `config.train` says how to train.
        root: folder of data; None is the system's synthetic world.
        out: the run folder: config.json, command, commit, data.json, log.jsonl, last.pt (state to resume from) and
            model.safetensors (averaged weights where `ema` is on), the last two also every `checkpoint_every`
            steps.
        resume: go on where last.pt in `out` stands; False starts anew.
        weights: {name of a weight: file} for parts that start from files of the user's.
        start: a checkpoint of the same network to go on from (fine-tuning), instead of random weights.
        progress: called after every step.
        evaluated: called with (steps done, what was found) after every evaluation on "val"; the one after the last step
            has blocks to show.
        device: "auto" or a torch device.

    Returns:
        Path of model.safetensors.

    Raises:
        InputError: `out` is a file, or holds a run with other settings, on other data or from other weights, or its
            state is damaged; or the system is none that is trained.
        DivergedError: the loss is no finite number; names the step.
        Stopped: Ctrl-C or SIGTERM came; last.pt is written.
    """
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; the run needs a folder: give another --out")
    task = checkpoint.find_task(system)
    if isinstance(task, NotTrained):
        raise InputError(task.NOT_TRAINED)
    asked = config
    if isinstance(task, FitsConfig):
        config = task.fit_config(config, root)
    if start is not None and isinstance(task, GoesOn):
        before = from_json(checkpoint.config_class(system), _begun_from(start, system)[0].config)
        config = task.go_on(config, asked, before)
    with _processes(device) as process, torch.random.fork_rng(_cuda_devices(process.device)):
        run, ground = _prepare(system, task, config, out, resume, dict(weights or {}), start, process, root)
        data = task.data(config, "train", root)
        if data is None or len(data) == 0:
            raise InputError(f"no samples to train on in {root or 'the synthetic world'}")
        held_out = None
        if not process.rank and (config.train.evaluate_every or evaluated is not None):
            held_out = _held_out(task, config, root)
        phases = _phases(task, config)
        before = sum(settings.steps for _, settings, _ in phases[: run.phase])
        writer = RunFolder(system, config, out, run, process, before + run.done, ground)
        with _stop_signals() as stop:
            loop = _Loop(task, data, held_out, phases, run, writer, process, stop, progress, evaluated)
            for index in range(run.phase, len(phases)):
                if index != run.phase:
                    run.phase, run.done = index, 0
                loop.phase()
        return writer.path


def _held_out(task: Task, config: Any, root: Path | None) -> Dataset | None:
    """The samples of the split "val", before the first step; None where nothing is evaluated between the steps.

    Raises:
        InputError: there are none, and the settings ask for evaluations. Where only the one after the last step would
            need them that is said by a warning.
    """
    try:
        found = task.data(config, "val", root)
        if found is not None and len(found) == 0 and config.train.evaluate_every:
            raise InputError(f"no samples of the split val in {root or 'the synthetic world'}")
    except InputError as error:
        if config.train.evaluate_every:
            text = "add some that are kept back, or train without: --train.evaluate-every 0"
            raise InputError(f"{error}: {text}") from error
        warn(f"{error}: the network is trained, but not evaluated at the end", stacklevel=3)
        return None
    return found if config.train.evaluate_every else None


def evaluate(
    task: Task,
    model: nn.Module,
    dataset: Dataset,
    batch_size: int = 1,
    workers: int = 0,
    *,
    examples: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """One pass over a data set: in its own order, epoch 0, without gradients, in eval mode.

    Args:
        task: the system's.
        model: what is judged.
        dataset: its samples.
        batch_size: samples at a time.
        workers: processes that read data; 0 reads in this one.
        examples: how many pictures the blocks may show; 0: no blocks are made.
        progress: called with (samples done, samples in all).
    """
    device = next((value.device for value in model.parameters()), torch.device("cpu"))
    keys = [(0, index) for index in range(len(dataset))]
    rows = [keys[start : start + batch_size] for start in range(0, len(keys), batch_size)]
    model.eval()
    with torch.no_grad():
        loader = _Moved(_loader(dataset, rows, workers, device), device, rows, progress)
        if isinstance(task, HasEncoder):
            looking = cast(HasEncoder, task)
            return looking.evaluate(model, loader, examples=examples, encoder=_encoder(looking, device))
        return task.evaluate(model, loader, examples=examples)


def _encoder(task: HasEncoder, device: torch.device) -> nn.Module | None:
    """The encoder that an evaluation looks with; None, with a warning, where its file is missing."""
    holder = nn.Module()
    holder.encoder = task.encoder()
    try:
        pretrained.fill(holder, {"encoder": task.ENCODER})
    except MissingFileError as error:
        warn(f"numbers that need {task.ENCODER} are left out: {error}", stacklevel=3)
        return None
    return holder.encoder.eval().to(device)


SPLITS = ("val", "test", "all")  # what an evaluation may be about


@dataclass(frozen=True)
class Evaluator:
    """The `evaluate` of a loaded system; see `contract.Evaluate`."""

    name: str
    config: Any
    model: nn.Module

    def __call__(
        self,
        root: Path | str | None = None,
        *,
        split: str = "val",
        batch_size: int = 1,
        workers: int = 0,
        examples: int = 0,
        progress: Progress | None = None,
    ) -> Evaluation:
        """The system's numbers on data.

        Args:
            root: folder of data; None is the synthetic world.
            split: which part: "val", "test" or "all".
            batch_size: samples at a time.
            workers: processes that read data; 0 reads in this one.
            examples: how many pictures the blocks may show; 0: no blocks are made.
            progress: called with (samples done, samples in all).

        Raises:
            InputError: there is no such split, or nothing in it.
        """
        if split not in SPLITS:
            raise InputError(
                f"split is {', '.join(SPLITS[:-1])} or {SPLITS[-1]}, got {split!r} (samples of training are changed at "
                "random, and numbers on them flatter)"
            )
        for name, value, least in (("batch_size", batch_size, 1), ("workers", workers, 0), ("examples", examples, 0)):
            if not isinstance(value, int) or value < least:
                raise InputError(f"{name} is a whole number from {least} on; got {value!r}")
        if root is not None and not Path(root).exists():
            raise MissingFileError(f"{root}: no such folder of data")
        task = checkpoint.find_task(self.name)
        data = task.data(self.config, split, None if root is None else Path(root))
        if data is None:
            where = root or "the synthetic world"
            raise InputError(
                f"{where}: no labels of the split {split!r} to compare the answers of {self.name} with; evaluate on "
                "data with labels (`percepta predict` needs none)"
            )
        return evaluate(task, self.model, data, batch_size, workers, examples=examples, progress=progress)


def order(length: int, seed: int, epoch: int) -> Tensor:
    """The permutation of 0 … length − 1 in which an epoch goes through the data.

    Args:
        length: of the data.
        seed: of the training.
        epoch: which one.
    """
    return torch.randperm(length, generator=torch.Generator().manual_seed(derive(seed, "order", epoch)))


def derive(*parts: int | str) -> int:
    """A seed of 63 bits that follows from all parts; near inputs give unrelated seeds."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest(), "big") >> 1


@dataclass(frozen=True)
class Batches:
    """The keys of every batch of one process, from step `start` on: rows of (epoch, index)."""

    length: int
    config: TrainConfig
    start: int = 0
    first_epoch: int = 0
    rank: int = 0
    world: int = 1

    def __iter__(self) -> Iterator[list[Key]]:
        share = self.config.batch_size // self.world
        epoch, permutation = -1, torch.empty(0)
        for step in range(self.start, self.config.steps):
            first = (0 if self.config.overfit else step) * self.config.batch_size + self.rank * share
            keys = []
            for place in range(first, first + share):
                if place // self.length != epoch:
                    epoch = place // self.length
                    permutation = order(self.length, self.config.seed, self.first_epoch + epoch)
                keys.append((self.first_epoch + epoch, int(permutation[place % self.length])))
            yield keys

    def __len__(self) -> int:
        return self.config.steps - self.start


@dataclass
class _Loop:
    """What the steps of a training have in common."""

    task: Task
    data: Dataset
    held_out: Dataset | None
    phases: list[Phase]
    run: Run
    writer: RunFolder
    process: Process
    stop: _Stop
    progress: StepProgress | None
    evaluated: Callable[[int, Evaluation], None] | None

    def phase(self) -> None:
        """Runs what is left of the phase that the run is in."""
        run, process = self.run, self.process
        name, settings, trained = self.phases[run.phase]
        if settings.batch_size % process.world:
            raise InputError(f"train.batch_size {settings.batch_size} cannot be shared by {process.world} processes")
        _set_trained(run, trained)
        optimizer = make_optimizer(run.model, settings)
        if run.optimizer is not None:
            optimizer.load_state_dict(run.optimizer)
            run.optimizer = None
        earlier = [settings for _, settings, _ in self.phases[: run.phase]]
        steps_before = sum(settings.steps for settings in earlier)
        epochs_before = sum(_epochs(len(self.data), settings) for settings in earlier)
        total = sum(settings.steps for _, settings, _ in self.phases)
        still = _frozen_modules(run.model, run.frozen)
        rows = Batches(len(self.data), settings, run.done, epochs_before, process.rank, process.world)
        clock = time.monotonic()
        for batch in _loader(self.data, rows, settings.workers, process.device):
            number = steps_before + run.done
            place = 0 if settings.overfit else run.done * settings.batch_size
            generator = torch.Generator(process.device).manual_seed(derive(settings.seed, "draws", number))
            step = Step(number, epochs_before + place // len(self.data), generator, run.memory)
            torch.manual_seed(derive(settings.seed, "step", number, process.rank))
            run.model.train()
            for module in still:
                module.eval()
            lr = settings.lr * learning_rate(settings, run.done)
            for group in optimizer.param_groups:
                group["lr"] = lr * group["scale"]
            scalars = self.update(to_device(batch, process.device), step, settings, optimizer)
            _average(run, settings.ema, number)
            run.done += 1
            now = time.monotonic()
            run.seconds, clock = run.seconds + now - clock, now
            self.writer.log(step, name, scalars, lr, settings)
            if self.progress and process.rank == 0:
                self.progress(number + 1, total, {"loss": scalars["loss"], "lr": lr})
            self.after(number + 1, total, settings, optimizer)

    def update(
        self, batch: dict[str, Any], step: Step, settings: TrainConfig, optimizer: torch.optim.Optimizer
    ) -> dict[str, float]:
        """One step of the optimizer; returns the scalars of the loss, averaged over processes."""
        model, device = self.run.model, self.process.device
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"):
            losses = self.task.loss(model, batch, step)
        scalars = {key: float(v.detach() if isinstance(v, Tensor) else v) for key, v in losses.items()}
        if not math.isfinite(scalars["loss"]):
            raise DivergedError(
                f"the loss is {scalars['loss']} at step {step.number} ({scalars}); try a lower train.lr, "
                "train.clip_norm 1, or train.precision float32"
            )
        optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()
        if self.process.world > 1:
            scalars = _share(model, scalars, self.stop, self.process)
        if settings.clip_norm:
            nn.utils.clip_grad_norm_([value for _, value in trainable(model)], settings.clip_norm)
        optimizer.step()
        return scalars

    def after(self, done: int, total: int, settings: TrainConfig, optimizer: torch.optim.Optimizer) -> None:
        """What is due after a step: evaluation, the state on disk, the end when somebody asked for it."""
        run = self.run
        last = run.done == settings.steps
        if self.process.world == 1:
            self.stop.agreed = self.stop.asked
        if settings.evaluate_every and (last or run.done % settings.evaluate_every == 0):
            if self.held_out is not None and len(self.held_out):
                with averaged(run.model, run.ema):
                    shown = EXAMPLES if done == total and self.evaluated is not None else 0
                    found = evaluate(self.task, run.model, self.held_out, settings.batch_size, examples=shown)
                self.writer.metrics(done, found.metrics)
                if self.evaluated is not None:
                    self.evaluated(done, found)
            _wait(self.process)
        if last or self.stop.agreed or run.done % settings.checkpoint_every == 0:
            self.writer.state(done, optimizer)
            _wait(self.process)  # nobody may look for the files, or leave, before process 0 has written them
        if self.stop.agreed and done < total:
            raise Stopped(
                f"stopped after step {done} of {total}; the state is in {self.writer.out / 'last.pt'}: "
                "run the same command again to go on"
            )


@torch.no_grad()
def _share(model: nn.Module, scalars: dict[str, float], stop: _Stop, process: Process) -> dict[str, float]:
    """Averages gradients and scalars over processes, and agrees on whether to stop: all at the same step."""
    values = [value for _, value in trainable(model)]
    used = [float(value.grad is not None) for value in values]
    extra = torch.tensor([float(stop.asked), *scalars.values(), *used], device=process.device)
    grads = [torch.zeros_like(value) if value.grad is None else value.grad for value in values]
    flat = torch.cat([grad.float().flatten() for grad in grads])
    dist.all_reduce(flat)
    dist.all_reduce(extra)
    asked, *rest = extra.tolist()
    stop.agreed = asked > 0
    pieces = flat.div_(process.world).split([value.numel() for value in values])
    for value, piece, anywhere in zip(values, pieces, rest[len(scalars) :], strict=True):
        value.grad = piece.view_as(value).to(value.dtype) if anywhere else None
    return {key: value / process.world for key, value in zip(scalars, rest, strict=False)}


@torch.no_grad()
def _average(run: Run, decay: float, number: int) -> None:
    """Moves the average of the trained parameters and the buffers; it forgets faster in the first steps."""
    if not decay:
        return
    decay = min(decay, (1 + number) / (10 + number))
    learned = {name for name, _ in trainable(run.model)}
    fixed = {name for name, _ in run.model.named_parameters()} - learned
    for name, value in checkpoint.stored(run.model, run.frozen).items():
        if name in fixed:
            continue
        if name not in run.ema or not value.is_floating_point():
            run.ema[name] = value.detach().clone()
        else:
            run.ema[name].lerp_(value, 1 - decay)


def _begun_from(start: Path, system: str) -> tuple[checkpoint.Header, dict[str, Tensor]]:
    """The checkpoint that a training goes on from; InputError where it is one of another system."""
    header, state = checkpoint.read(start)
    if header.system != system:
        raise InputError(f"{start}: a checkpoint of {header.system}; {system} starts from one of its own")
    return header, state


def _prepare(
    system: str,
    task: Task,
    config: Any,
    out: Path,
    resume: bool,
    given: dict[str, Path],
    start: Path | None,
    process: Process,
    root: Path | None,
) -> tuple[Run, dict[str, Any]]:
    """The model at its first step, or where last.pt left it; and what the run stands on."""
    torch.manual_seed(derive(config.train.seed, "build"))
    model = task.build(config)
    if process.world > 1:
        model = norm.all_reduced(model)
    run = Run(model, {}, built={name: value.requires_grad for name, value in model.named_parameters()})
    last = out / "last.pt"
    if resume and last.exists():
        state = read_state(last)
        if state.get("system", system) != system:
            raise InputError(f"{out} holds a run of {state['system']}, not of {system}; give another --out")
        same_settings(state["config"], config, out)
        ground = standing_on(root, out, "" if start is None else checkpoint.weights_hash(start))
        for part, entry in state.get("filled", {}).items():
            own = given.get(entry["weights"])
            if own is not None and [weights.sha256(own)] != entry["sha256"]:
                raise InputError(f"the run in {out} began with another file than {own} as {part}: --no-resume")
        total = sum(settings.steps for _, settings, _ in _phases(task, config))
        if process.rank == 0:
            same_ground(ground, out, state.get("step") == total)
        if len(state["memory"]) != process.world and any(state["memory"]):
            raise InputError(f"{last} keeps what {len(state['memory'])} processes remember; resume with as many")
        checkpoint.fill_frozen(model, state["frozen"], given)
        pretrained.load_strictly(model, state["model"], str(last), checkpoint.prefixes(state["frozen"]))
        run.frozen, run.optimizer, run.filled = state["frozen"], state["optimizer"], state.get("filled", {})
        run.phase, run.done, run.seconds = state["phase"], state["done"], state["seconds"]
        run.ema = to_device(state["ema"], process.device)
        if len(state["memory"]) == process.world:
            run.memory = to_device(state["memory"][process.rank], process.device)
    else:
        filled = run.filled = pretrained.fill(model, task.PRETRAINED, given)
        run.frozen = {part: filled[part] for part in _stay_frozen(task, config, model) if part in filled}
        if start is not None:
            header, state = _begun_from(start, system)
            pretrained.load_strictly(model, state, str(start), checkpoint.prefixes(header.frozen))
        ground = standing_on(root, out, "" if start is None else fingerprint(state))
    model.to(process.device)
    if process.world > 1:
        places: list[Any] = [None] * process.world
        dist.all_gather_object(places, (run.phase, run.done))
        if len(set(places)) > 1:
            raise InputError(
                f"the processes begin at different steps ({', '.join(str(done) for _, done in places)}): every machine "
                f"has to see the same folder {out}; share it, copy its last.pt to all, or begin anew with --no-resume"
            )
        # The same seed gives the same weights, unless the machines differ.
        for value in model.state_dict().values():
            dist.broadcast(value, 0)
    return run, ground


def _phases(task: Task, config: Any) -> list[Phase]:
    return task.phases(config) if isinstance(task, HasPhases) else [("train", config.train, {})]


def _epochs(length: int, settings: TrainConfig) -> int:
    """How many epochs a phase begins."""
    return 1 if settings.overfit else -(-settings.steps * settings.batch_size // length)


def _set_trained(run: Run, trained: Mapping[str, bool]) -> None:
    """Marks what a phase trains: the longest prefix that fits decides, else what `build` decided."""
    for name, value in run.model.named_parameters():
        prefix = max((p for p in trained if name.startswith(p)), key=len, default=None)
        value.requires_grad_(run.built[name] if prefix is None else trained[prefix])


def _stay_frozen(task: Task, config: Any, model: nn.Module) -> list[str]:
    """The pretrained parts that no phase trains: checkpoints name them instead of holding them."""
    opened = tuple(prefix for _, _, trained in _phases(task, config) for prefix, on in trained.items() if on)
    parts = [part for part in task.PRETRAINED if getattr(model, part, None) is not None]
    return [
        part
        for part in parts
        if not any(value.requires_grad for value in getattr(model, part).parameters())
        and not any(prefix.startswith(f"{part}.") or f"{part}.".startswith(prefix) for prefix in opened)
    ]


def _frozen_modules(model: nn.Module, frozen: Mapping[str, Any]) -> list[nn.Module]:
    """The modules that stay in eval mode: frozen parts, and all whose parameters are not trained."""
    found = [getattr(model, part) for part in frozen]
    for module in model.modules():
        flags = [value.requires_grad for value in module.parameters()]
        if flags and not any(flags):
            found.append(module)
    return found


def _loader(data: Dataset, rows: Any, workers: int, device: torch.device) -> DataLoader:
    """Batches of `data` for rows of keys. Its own generator: making a loader must not move torch's."""
    return DataLoader(
        data,  # type: ignore[arg-type]
        batch_sampler=rows,
        collate_fn=data.collate,
        num_workers=workers,
        worker_init_fn=_start_worker,
        persistent_workers=workers > 0,
        prefetch_factor=4 if workers else None,
        pin_memory=device.type == "cuda",
        generator=torch.Generator(),
    )


def _start_worker(_: int) -> None:
    torch.set_num_threads(1)
    # Ctrl-C reaches the whole group of processes; the trainer finishes its step and ends its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


@dataclass(frozen=True)
class _Moved:
    """A loader whose batches come on a device, and which tells how far it is."""

    loader: DataLoader
    device: torch.device
    rows: list[list[Key]]
    progress: Progress | None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        done, total = 0, sum(map(len, self.rows))
        for row, batch in zip(self.rows, self.loader, strict=True):
            yield to_device(batch, self.device)
            done += len(row)
            if self.progress:
                self.progress(done, total)

    def __len__(self) -> int:
        return len(self.loader)


@dataclass
class _Stop:
    """Whether this process was asked to stop, and whether all of them agreed to."""

    asked: bool = False
    agreed: bool = False


@contextmanager
def _stop_signals() -> Iterator[_Stop]:
    """Turns the first Ctrl-C or SIGTERM into a request; a second one acts at once."""
    stop = _Stop()
    before: dict[int, Any] = {}

    def ask(number: int, _: Any) -> None:
        stop.asked = True
        signal.signal(number, before[number])

    if threading.current_thread() is threading.main_thread():  # no other gets signals
        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _processes(device: str) -> Iterator[Process]:
    """This process and its device; joins the others when torchrun started several."""
    chosen = checkpoint.choose_device(device)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Process(chosen)
        return
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(chosen)
    own = not dist.is_initialized()
    if own:
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Process(chosen, dist.get_rank(), dist.get_world_size())
    finally:
        if own:
            dist.destroy_process_group()


def _wait(process: Process) -> None:
    if process.world > 1:
        dist.barrier()


def keep_memory() -> bool:
    """Lets the C library keep freed memory for the next step instead of giving it back to the system.

    A step frees and asks again for the same large arrays; each time the system hands out zeroed pages, one fault each.
    That was half of a step of `planes` on a CPU. The process then stays as large as it ever was, so a program that goes
    on to other work may not want it; `percepta train` does it.

    Returns:
        Whether it was done: only glibc has it.
    """
    mmap_max, trim_threshold, top_pad = -4, -1, -2  # names of malloc.h
    try:
        library = ctypes.CDLL("libc.so.6")
        settings = ((mmap_max, 0), (trim_threshold, 2**31 - 1), (top_pad, 2**28))
        return all(library.mallopt(name, value) == 1 for name, value in settings)
    except (OSError, AttributeError):
        return False


def _cuda_devices(device: torch.device) -> list[torch.device]:
    return [device] if device.type == "cuda" else []
