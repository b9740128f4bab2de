"""Settings as frozen dataclasses, to JSON and back, and the settings of training that every system shares."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from percepta.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True)
class TrainConfig:
    """How a system is trained. The paper's own numbers are in each system's presets."""

    steps: int = 1000
    """Optimizer steps in all."""
    batch_size: int = 8
    """Samples per optimizer step, over all processes together."""
    lr: float = 1e-3
    """Highest learning rate."""
    lr_scale: tuple[tuple[str, float], ...] = ()
    """Pairs (prefix of parameter names, multiplier of their learning rate); the longest prefix counts."""
    weight_decay: float = 0.0
    """Weight decay; never applied to biases, norms and other parameters of at most one dimension."""
    warmup: int = 0
    """Steps in which the learning rate rises linearly from 0."""
    schedule: Literal["constant", "cosine", "step"] = "cosine"
    """What the learning rate does then: it stays, falls to 0 along a cosine, or falls at the milestones."""
    milestones: tuple[float, ...] = ()
    """For "step": shares of `steps` (0 to 1) after each of which the learning rate is a tenth."""
    clip_norm: float = 0.0
    """Longest gradient (L2 norm over all parameters); longer ones are scaled down. 0: no limit."""
    ema: float = 0.0
    """Decay per step of the moving average of the weights, which is what is kept at the end. 0: none."""
    seed: int = 0
    """Everything random follows from it: first weights, order, augmentation, dropout."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of the forward pass; the weights themselves stay float32."""
    optimizer: Literal["adam", "adamw", "sgd"] = "adamw"
    """Which optimizer."""
    momentum: float = 0.9
    """Momentum of sgd (beta 1 of the others)."""
    nesterov: bool = False
    """Whether the momentum of sgd is Nesterov's."""
    checkpoint_every: int = 500
    """Steps between two states written to the run folder, from which training resumes."""
    log_every: int = 20
    """Steps between two lines of log.jsonl."""
    evaluate_every: int = 0
    """Steps between two evaluations on the split "val". 0: none."""
    workers: int = 0
    """Processes that load data. 0: load in the training process itself."""
    strict: bool = False
    """Whether an item of the data that is wrong is an error; otherwise it is left out, named and counted."""
    overfit: bool = False
    """Train on the first batch again and again, to see whether the model can learn at all."""

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("batch_size", 1), ("checkpoint_every", 1), ("log_every", 1)):
            if getattr(self, name) < least:
                raise InputError(f"train.{name} has to be at least {least}, got {getattr(self, name)}")
        for name in ("lr", "weight_decay", "warmup", "clip_norm", "evaluate_every", "workers", "momentum"):
            if getattr(self, name) < 0:
                raise InputError(f"train.{name} cannot be negative, got {getattr(self, name)}")
        if not 0 <= self.ema < 1:
            raise InputError(f"train.ema is a decay per step from 0 to below 1, got {self.ema}")
        if any(not 0 <= share <= 1 for share in self.milestones):
            raise InputError(f"train.milestones are shares of the steps from 0 to 1, got {self.milestones}")


def to_json(config: Any) -> dict[str, Any]:
    """A frozen dataclass as a dict that json.dumps takes: tuples become lists, paths strings."""
    return {field.name: _plain(getattr(config, field.name)) for field in fields(config)}


def from_json(cls: type[T], data: Mapping[str, Any]) -> T:
    """The dataclass that `to_json` wrote. A setting that is left out has its default.

    Raises:
        InputError: a setting is unknown (names the nearest and the valid ones) or of a wrong type.
    """
    return _dataclass(cls, data, "")


def differences(old: Mapping[str, Any], new: Mapping[str, Any], path: str = "") -> dict[str, tuple[Any, Any]]:
    """What differs between two results of `to_json`: {"train.lr": (old, new)}.

    Args:
        old: settings before.
        new: settings now.
        path: what stands before each name, for settings inside others.
    """
    found: dict[str, tuple[Any, Any]] = {}
    for key in dict.fromkeys([*old, *new]):
        a, b = old.get(key), new.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found |= differences(a, b, f"{path}{key}.")
        elif a != b:
            found[f"{path}{key}"] = (a, b)
    return found


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return to_json(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return value.as_posix()
    return value


def _dataclass(cls: Any, data: Any, path: str) -> Any:
    if not isinstance(data, Mapping):
        raise InputError(f'"{path or cls.__name__}" has to be a table of settings, got {data!r}')
    names = [field.name for field in fields(cls) if field.init]
    prefix = f"{path}." if path else ""
    for key in data:
        if key not in names:
            near = get_close_matches(str(key), names, 1, 0.6)
            hint = f' Did you mean "{prefix}{near[0]}"?' if near else ""
            raise InputError(f'unknown setting "{prefix}{key}".{hint} Valid: {", ".join(names)}')
    for field in fields(cls):
        needed = field.init and field.default is MISSING and field.default_factory is MISSING
        if needed and field.name not in data:
            raise InputError(f'setting "{prefix}{field.name}" is missing and has no default')
    hints = get_type_hints(cls)
    return cls(**{key: _value(hints[key], value, f"{prefix}{key}") for key, value in data.items()})


def _value(kind: Any, value: Any, path: str) -> Any:
    """`value`, as JSON gives it, as the type `kind`."""
    origin, args = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if is_dataclass(kind):
        return _dataclass(kind, value, path)
    if origin is Literal:
        if value in args and type(value) in {type(arg) for arg in args}:
            return value
        raise InputError(f'"{path}" has to be one of {", ".join(map(repr, args))}, got {value!r}')
    if origin in (Union, types.UnionType):
        return _union(args, value, path)
    if origin is tuple and isinstance(value, (list, tuple)):
        kinds = [args[0]] * len(value) if args[-1] is Ellipsis else list(args)
        if len(kinds) != len(value):
            raise InputError(f'"{path}" has to hold {len(kinds)} values, got {value!r}')
        return tuple(_value(k, v, f"{path}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True)))
    if origin is dict and isinstance(value, Mapping):
        return {_value(args[0], k, path): _value(args[1], v, f"{path}.{k}") for k, v in value.items()}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is type(None) or kind is None:
        if value is None:
            return None
    elif isinstance(kind, type) and isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    raise InputError(f'"{path}" has to be {_named(kind)}, got {value!r}')


def _union(kinds: tuple[Any, ...], value: Any, path: str) -> Any:
    """The first member of a union that takes the value; the reason itself where only one could have."""
    reasons = []
    for kind in kinds:
        try:
            return _value(kind, value, path)
        except ValueError as reason:
            if kind is not type(None):
                reasons.append(reason)
    if len(reasons) == 1:
        raise reasons[0]
    raise InputError(f'"{path}" has to be {" or ".join(map(_named, kinds))}, got {value!r}')


def _named(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind).replace("typing.", "")
