"""ONNX graphs of a system's parts, each checked against torch.

`EXPORTS` of a system's task.py names its parts: either a reason why there is no graph, or a function of the
model that returns (module, example inputs by name, names of the outputs, {name: {axis: name of the size that
may change}}).

A graph says what it is in its metadata (`custom_metadata_map` of onnxruntime): percepta (its version), system, part,
about (what goes in and comes out, in a sentence), config (the settings as JSON, with the names of the classes where
there are some), weights (their hash) and licence.
"""

from __future__ import annotations

import inspect
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from percepta import __version__
from percepta import config as configs
from percepta.checkpoint import find_task
from percepta.contract import HasExportFiles, weights_hash
from percepta.errors import InputError, MissingExtraError
from percepta.files import write_atomically

if TYPE_CHECKING:
    from percepta.contract import System

NEEDED = ("onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class Exported:
    """One part of a system.

    Attributes:
        part: its name.
        path: the graph; None where there is none.
        reason: why there is none.
        difference: largest absolute difference between onnxruntime and torch over all outputs, at the
            example's sizes and at twice every size that may change.
        relative: the same as a share of the largest value of its output.
    """

    part: str
    path: Path | None = None
    reason: str = ""
    difference: float = 0.0
    relative: float = 0.0

    def __str__(self) -> str:
        if self.path is None:
            return f"{self.part}: no graph: {self.reason}"
        how = f"{self.difference:.1e} ({self.relative:.1e} of the largest value)"
        return f"{self.part}: {self.path}, largest difference from torch {how}"


def export(
    system: System,
    path: Path,
    parts: Sequence[str] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> list[Exported]:
    """Writes `<path>/<system>-<part>.onnx` for each part and compares it with torch.

    Args:
        system: a loaded system.
        path: a folder; made where it is missing.
        parts: names in the system's EXPORTS; None for all.
        progress: called with (parts done, parts in all, the next one and what happens to it).

    Raises:
        MissingExtraError: the extra is not installed.
        InputError: no part of that name.
    """
    task = find_task(system.name)
    table = task.EXPORTS
    if unknown := [part for part in parts or () if part not in table]:
        raise InputError(f"{system.name} has no part {', '.join(unknown)}; it has: {', '.join(table)}")
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise MissingExtraError(f"{', '.join(missing)} missing: run pip install 'percepta[export]'")
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    model = deepcopy(system.model).cpu().float()
    said = {
        "percepta": __version__, "system": system.name, "config": json.dumps(configs.to_json(system.config)),
        "weights": weights_hash(system.model), "licence": system.licence,
    }  # fmt: skip
    results = []
    tell = progress or (lambda done, total, note: None)
    names = [*(parts or table)]
    for number, part in enumerate(names):
        how = table[part]
        if isinstance(how, str):
            results.append(Exported(part, reason=how))
            continue
        module, inputs, outputs, axes = how(model)
        file = path / f"{system.name}-{part}.onnx"
        tell(number, len(names), f"{part}: writing")
        to_onnx(module, inputs, outputs, axes, file, {"part": part, "about": _about(module), **said})
        tell(number, len(names), f"{part}: comparing with torch")
        results.append(Exported(part, file, "", *parity(file, module, inputs, axes)))
    if isinstance(task, HasExportFiles):
        for name, text in task.export_files(model).items():
            write_atomically(path / name, text)
    tell(len(names), len(names), "")
    return results


def to_onnx(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    axes: Mapping[str, Mapping[int, str]],
    path: Path,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes the graph of a module's forward pass.

    Args:
        module: whose forward pass is written.
        inputs: an example of each input, by name, in the order of `forward`.
        outputs: names of the outputs.
        axes: {input: {axis: name of a size that may change}}.
        path: of the file.
        metadata: texts that the file carries, by name.

    Raises:
        InputError: a size that was to be free came out fixed.
    """
    import onnx

    sizes = {name: torch.export.Dim(name) for name in {n for free in axes.values() for n in free.values()}}
    shapes = tuple({axis: sizes[size] for axis, size in axes.get(name, {}).items()} for name in inputs)
    temporary = path.with_name(path.name + ".tmp")
    with _quiet(), torch.no_grad():
        torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            temporary,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=shapes,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    made = onnx.load(temporary)
    for value in made.graph.input:
        for axis in axes.get(value.name, {}):
            if not value.type.tensor_type.shape.dim[axis].dim_param:
                raise InputError(f"{path.name}: axis {axis} of {value.name} came out with a fixed size")
    for name, text in (metadata or {}).items():
        made.metadata_props.add(key=name, value=text)
    write_atomically(path, made.SerializeToString())
    temporary.unlink()


def parity(
    path: Path, module: nn.Module, inputs: Mapping[str, Tensor], axes: Mapping[str, Mapping[int, str]]
) -> tuple[float, float]:
    """Of onnxruntime from torch: (largest absolute difference, the same as a share of its output's largest).

    Args:
        path: of the graph.
        module: the same in torch.
        inputs: an example of each input, by name.
        axes: {input: {axis: name of a size that may change}}; these are tried at twice their size too.

    Raises:
        InputError: the outputs have other shapes.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    runner = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    worst, relative = 0.0, 0.0
    for sample in (inputs, {name: _twice(value, axes.get(name, {})) for name, value in inputs.items()}):
        with torch.no_grad():
            expected = module(*sample.values())
        expected = [expected] if isinstance(expected, Tensor) else list(expected)
        got = runner.run(None, {value.name: sample[value.name].numpy() for value in runner.get_inputs()})
        for ours, theirs in zip(expected, map(torch.as_tensor, got), strict=True):
            if ours.shape != theirs.shape:
                raise InputError(f"{path.name} gives {tuple(theirs.shape)}, torch {tuple(ours.shape)}")
            difference = float((ours.double() - theirs.double()).abs().max())
            worst = max(worst, difference)
            relative = max(relative, difference / max(float(ours.double().abs().max()), 1e-12))
    return worst, relative


def _about(module: nn.Module) -> str:
    """The first paragraph of what a module says of itself, in one line."""
    return " ".join((inspect.getdoc(type(module)) or "").partition("\n\n")[0].split())


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch's exporter has to tell about its own internals."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _twice(value: Tensor, axes: Mapping[int, str]) -> Tensor:
    """A tensor with its free axes twice as long."""
    return value.repeat([2 if axis in axes else 1 for axis in range(value.ndim)])
