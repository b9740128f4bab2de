"""What a system offers, with its types: the names of its `task.py`, and what the shared layers hand to it.

A system is a module: `percepta.systems.<name>.task` has the names of `Task`, and those of the optional protocols
below where it needs them. Nothing is registered and nothing is inherited; `tests/test_contract.py` walks every system
through all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeAlias, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from percepta.config import TrainConfig
from percepta.errors import InputError
from percepta.metrics import Metric

Key: TypeAlias = tuple[int, int]
"""(epoch, index) of a sample."""
Batch: TypeAlias = dict[str, Any]
"""What `collate` makes of some samples: tensors, and lists of what is none, by name."""
Phase: TypeAlias = tuple[str, TrainConfig, Mapping[str, bool]]
"""A part of a training: its name, its settings, {prefix of parameter names: whether they are trained}."""
Graph: TypeAlias = tuple[nn.Module, dict[str, Tensor], list[str], dict[str, dict[int, str]]]
"""What an export needs: module, example inputs by name, names of the outputs, {input: {axis: name of a free size}}."""
Progress: TypeAlias = Callable[[int, int], None]
"""Called with (samples done, samples in all)."""

C_contra = TypeVar("C_contra", contravariant=True)
C = TypeVar("C")
R = TypeVar("R")


# ----------------------------------------------------------------------------------------- what a system is handed


@dataclass
class Step:
    """What a loss may know about the step that it is computed for.

    Attributes:
        number: of the step, from 0, counted through all phases.
        epoch: how often the data have been gone through.
        generator: seeded from (seed, number), the same on every process; for draws that a method makes itself.
        memory: tensors and JSON values that a method keeps between steps; saved and restored with the run, for each
            process apart.
    """

    number: int
    epoch: int
    generator: torch.Generator
    memory: dict[str, Any] = field(default_factory=dict)


@runtime_checkable
class Loader(Protocol):
    """Batches of a data set in its own order, on the model's device. It can be gone through once."""

    def __iter__(self) -> Iterator[Batch]: ...
    def __len__(self) -> int: ...


# --------------------------------------------------------------------------------------------- what a system gives


@runtime_checkable
class Dataset(Protocol):
    """Samples by (epoch, index); the same key gives the same sample."""

    def __len__(self) -> int: ...
    def __getitem__(self, key: Key, /) -> Any: ...
    def collate(self, samples: list[Any], /) -> Batch: ...


@runtime_checkable
class Block(Protocol):
    """A part of a page that knows how to write itself; `percepta.report` has the ones that there are."""

    def html(self) -> str: ...


@dataclass(frozen=True)
class Evaluation:
    """What one pass over a data set gives.

    Attributes:
        metrics: numbers by name.
        blocks: what a page shows beside the numbers: tables, plots, pictures. Empty where no examples were asked for.
    """

    metrics: Mapping[str, Metric]
    blocks: Sequence[Block] = ()


@runtime_checkable
class Result(Protocol):
    """A system's answer: numpy arrays, plain numbers and units. Its `repr` is one line."""

    @property
    def text(self) -> str:
        """The answer in words, one line: "dog 65 %", "the red skirt: not found"."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """The answer as plain JSON: labels, scores, boxes, polygons or run lengths, and the hash of the weights."""
        ...

    def draw(self) -> Any:
        """A picture of the answer (PIL)."""
        ...

    def save(self, path: Path | str, /) -> Any:
        """Writes the drawing, and the numbers beside it."""
        ...


@dataclass(frozen=True)
class Answer(Generic[R]):
    """What a stream gives for one picture.

    Attributes:
        source: where the picture came from, in words: a file's name, "clip.mp4 at 1.20 s", "picture 3".
        index: its place in the stream, from 0.
        results: one, or one for each sentence; empty where there was an error.
        error: why there is no result, in one line; "" where there is one.
        path: the file of the picture or of the video; None for pixels.
        time_s: of a video's frame, seconds from its start; None for pictures.
    """

    source: str
    index: int
    results: tuple[R, ...] = ()
    error: str = ""
    path: Path | None = None
    time_s: float | None = None

    @property
    def result(self) -> R:
        """The only result.

        Raises:
            InputError: there was an error, or there are several results.
        """
        if len(self.results) != 1:
            raise InputError(f"{self.source}: {self.error or f'{len(self.results)} results; see .results'}")
        return self.results[0]


@runtime_checkable
class Answers(Protocol[R]):
    """The answers of a stream, one by one; what is left out is counted while it is gone through."""

    def __iter__(self) -> Iterator[Answer[R]]: ...

    @property
    def left_out(self) -> Mapping[str, int]:
        """{reason: how many files} that were no picture and no video."""
        ...

    def summary(self) -> str:
        """What was left out, in a sentence; "" for nothing."""
        ...


@runtime_checkable
class OpenStream(Protocol):
    """What `percepta.load` hands to a system, so that its `stream` takes whatever a user points at."""

    def __call__(
        self,
        source: Any,
        answer: Callable[[list[Any]], Sequence[Sequence[R]]],
        *,
        batch_size: int = 1,
        recursive: bool = False,
        fps: float | None = None,
    ) -> Answers[R]:
        """Answers for the pictures of a source; see `media.source.answers`.

        Args:
            source: a path, folder, pattern, picture, video, camera or a list of these.
            answer: the results for each of some pictures.
            batch_size: pictures at a time.
            recursive: also the sub-folders of folders.
            fps: at most so many frames a second of a video; None for all.
        """
        ...


@runtime_checkable
class Evaluate(Protocol):
    """The `evaluate` of a loaded system."""

    def __call__(
        self,
        root: Path | str | None = None,
        *,
        split: str = "val",
        batch_size: int = 1,
        workers: int = 0,
        examples: int = 0,
        progress: Progress | None = None,
    ) -> Evaluation: ...


@runtime_checkable
class System(Protocol):
    """A system with its weights, ready to use: what every class that `percepta.load` gives has.

    Attributes:
        config: its settings.
        model: the network, in eval mode.
        licence: of code and weights, and the terms of the data behind the weights.
        evaluate: its numbers on a folder of data; without one, on its synthetic world.
        open_stream: what `stream` of the systems that look at pictures stands on.
    """

    @property
    def name(self) -> str: ...
    @property
    def config(self) -> Any: ...
    @property
    def model(self) -> nn.Module: ...
    @property
    def licence(self) -> str: ...
    @property
    def evaluate(self) -> Evaluate: ...
    @property
    def open_stream(self) -> OpenStream: ...
    @property
    def predict(self) -> Callable[..., Any]:
        """Each system's own, with its own arguments."""
        ...


# ---------------------------------------------------------------------------------------------- the names of task.py


@runtime_checkable
class Task(Protocol):
    """The names that every `task.py` has.

    Attributes:
        PRETRAINED: {attribute of the model: name of a weight in `percepta.weights`}: what `load` and `train` fill in.
        EXPORTS: {part: a function of the model that gives its `Graph`, or the reason why there is none}.
        System: the class that `percepta.load` gives, made from (config, model, licence, evaluate, open_stream).
    """

    PRETRAINED: Mapping[str, str]
    EXPORTS: Mapping[str, Callable[[Any], Graph] | str]
    System: Callable[[Any, Any, str, Evaluate, OpenStream], System]

    def build(self, config: Any, /) -> nn.Module:
        """The network with random weights. Reads no file."""
        ...

    def data(self, config: Any, split: str, root: Path | None = None, /) -> Dataset | None:
        """Samples of "train", "val", "test" or "all" of a folder; without one, of the synthetic world.

        Args:
            config: the settings.
            split: "train", "val", "test" or "all".
            root: a folder of data; None: the synthetic world.
        """
        ...

    def loss(self, model: Any, batch: Batch, step: Step, /) -> dict[str, Tensor]:
        """{"loss": what is made smaller, and other scalars for the log}. See `NotTrained` for systems without one.

        Args:
            model: in training mode.
            batch: what `collate` made.
            step: number, epoch, generator and memory.
        """
        ...

    def evaluate(self, model: Any, loader: Loader, /, *, examples: int = 0) -> Evaluation:
        """Metrics, each beside a trivial baseline. One pass; blocks for a page only where `examples` is above 0.

        Args:
            model: in eval mode.
            loader: batches; it is gone through once.
            examples: how many pictures the blocks may show; 0: no blocks.
        """
        ...


@runtime_checkable
class HasPhases(Protocol):
    """A system that is trained in several parts."""

    def phases(self, config: Any, /) -> list[Phase]: ...


@runtime_checkable
class NotTrained(Protocol):
    """A system without learning by steps: its `loss`, and `percepta train`, raise `InputError` with NOT_TRAINED.

    Attributes:
        NOT_TRAINED: what of it is fitted instead, by which command and on which data.

    Its Config has no `train`, and a preset without a file of weights is built as it is.
    """

    NOT_TRAINED: str


@runtime_checkable
class FitsConfig(Protocol):
    """A system some of whose settings follow from the data, such as the names of classes."""

    def fit_config(self, config: Any, root: Path | None, /) -> Any: ...


@runtime_checkable
class GoesOn(Protocol):
    """A system whose `fit_config` may change the shapes of the network."""

    def go_on(self, fitted: Any, asked: Any, before: Any, /) -> Any:
        """Settings of a training that goes on from weights, whose shapes they keep.

        Args:
            fitted: what `fit_config` gave.
            asked: what it was given.
            before: the settings of the weights.
        """
        ...


@runtime_checkable
class HasEncoder(Protocol):
    """A system whose evaluation looks at pictures with a frozen encoder that is no part of its model.

    Attributes:
        ENCODER: name of its weights in `percepta.weights`.

    Its `evaluate` takes the filled encoder as `encoder`; None where the file is missing: what needs it is left out
    then, and the shared layer says so.
    """

    ENCODER: str

    def encoder(self) -> nn.Module:
        """The encoder with random weights. Reads no file."""
        ...

    def evaluate(
        self, model: Any, loader: Loader, /, *, examples: int = 0, encoder: nn.Module | None = None
    ) -> Evaluation:
        """As `Task.evaluate`.

        Args:
            model: in eval mode.
            loader: batches; it is gone through once.
            examples: how many pictures the blocks may show; 0: no blocks.
            encoder: filled, in eval mode and on the model's device; None: its file is missing.
        """
        ...


@runtime_checkable
class HasExportFiles(Protocol):
    """A system whose graphs need a file beside them, such as a tokenizer: {name of the file: its text}."""

    def export_files(self, model: Any, /) -> Mapping[str, str]: ...


@runtime_checkable
class HasStream(Protocol):
    """A loaded system that looks at pictures one at a time, and so at many of them one after the other."""

    @property
    def stream(self) -> Callable[..., Answers[Any]]: ...


@runtime_checkable
class HasDtypes(Protocol):
    """A class of `predict.py` that answers in other arithmetic than float32 too."""

    def dtypes(self, config: Any, /) -> tuple[str, ...]:
        """Names of the types that networks with these settings compute in, such as "bfloat16"; float32 first."""
        ...


@runtime_checkable
class HasSession(Protocol):
    """A loaded system that keeps something between two calls: a picture, an album, a map."""

    @property
    def session(self) -> Callable[..., Any]: ...


# ------------------------------------------------------------------------------------ what a module of weights offers


@runtime_checkable
class ReadsFiles(Protocol):
    """A part of a model that reads its published files itself. Any other part takes their tensors by name."""

    def read(self, *files: Path) -> None: ...


@runtime_checkable
class MayStartEmpty(Protocol):
    """A part of a model that says whether it wants published weights at all."""

    @property
    def from_scratch(self) -> bool: ...


def starts_empty(part: object) -> bool:
    """Whether a part of a model wants no published weights."""
    return isinstance(part, MayStartEmpty) and part.from_scratch


def weights_hash(model: nn.Module) -> str:
    """The hash of the weights that a model was loaded with (`nn.archive.fingerprint`); "" for random ones."""
    return getattr(model, "weights_hash", "")


def described(system: Any) -> str:
    """The `repr` of a loaded system: its class, size and device, in one line."""
    first = next(system.model.parameters(), None)
    where = "no parameters" if first is None else f"{str(first.dtype).removeprefix('torch.')} on {first.device}"
    millions = sum(value.numel() for value in system.model.parameters()) / 1e6
    return f"{type(system).__name__}({millions:.1f} million parameters, {where})"


def batches(dataset: Dataset, batch_size: int) -> Iterable[Batch]:
    """Batches of a data set in its own order, epoch 0, in this process and on the CPU: for tests and scripts."""
    for start in range(0, len(dataset), batch_size):
        yield dataset.collate([dataset[(0, i)] for i in range(start, min(start + batch_size, len(dataset)))])
