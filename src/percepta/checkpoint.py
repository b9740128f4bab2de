"""Checkpoints: safetensors whose header rebuilds the model and names, by sha256, frozen parts it needs."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from percepta import __version__, pretrained, weights
from percepta import config as configs
from percepta.contract import NotTrained, Task
from percepta.errors import InputError, MissingFileError, one_line
from percepta.files import check_regular, write_atomically
from percepta.formats import field as field_of
from percepta.formats import named, parse_json
from percepta.nn.archive import check_keys, fingerprint, read_safetensors
from percepta.systems import TABLE

FORMAT = 1


@dataclass(frozen=True)
class Header:
    """What a checkpoint says about itself.

    Attributes:
        system, preset: names; the preset is "custom" for settings that are none.
        config: the system's Config, as `percepta.config.to_json` writes it.
        frozen: {part: {"weights": name in percepta.weights, "sha256": [one per file]}}: parts that are not in
            the file.
        step: optimizer steps that it was trained for.
        format, percepta: version of this layout and of the package that wrote it.
    """

    system: str
    preset: str
    config: dict[str, Any]
    frozen: dict[str, dict[str, Any]] = field(default_factory=dict)
    step: int = 0
    format: int = FORMAT
    percepta: str = ""


def save(
    path: Path,
    model: nn.Module,
    *,
    system: str,
    preset: str,
    config: Any,
    frozen: Mapping[str, dict[str, Any]] | None = None,
    step: int = 0,
    half: bool = False,
) -> Path:
    """Writes a checkpoint: under a temporary name first, so that none is ever half-written.

    Args:
        path: of the file.
        model: whose tensors are written.
        system: its name.
        preset: the name of the preset that `config` is, or "custom".
        step: optimizer steps that it was trained for.
        config: the system's Config.
        frozen: what `percepta.pretrained.fill` returned for the parts that are not to be stored.
        half: store 32-bit floats in 16 bits: half the size, three decimal digits.
    """
    frozen = dict(frozen or {})
    header = Header(system, preset, configs.to_json(config), frozen, step, FORMAT, __version__)
    state = {name: value.detach().cpu() for name, value in stored(model, frozen).items()}
    if half:
        # what is kept in 64 bits, as sums over a training are, has its reasons
        state = {name: value.half() if value.dtype == torch.float32 else value for name, value in state.items()}
    # clone: safetensors refuses tensors that share memory, as tied weights do
    copies = {name: value.contiguous().clone() for name, value in state.items()}
    # no save_file: it lets only its owner read, whatever the umask says
    return write_atomically(path, to_bytes(copies, {"percepta": json.dumps(asdict(header))}))


def read(path: Path) -> tuple[Header, dict[str, Tensor]]:
    """Header and tensors of a checkpoint.

    Raises:
        MissingFileError, InputError: no such file; no checkpoint of percepta, a damaged or a newer one.
    """
    fields = _fields(path)
    if fields is None:
        raise InputError(f"{path}: a safetensors file, but no checkpoint of percepta (it has no header of ours)")
    where = f"{path}: its header"
    form, by = field_of(fields, "format", int, where), field_of(fields, "percepta", str, where, "?")
    if form != FORMAT:
        raise InputError(
            f"{path}: written by percepta {by} in format {form}; this percepta ({__version__}) reads format {FORMAT}"
        )
    with named(path):
        header = configs.from_json(Header, fields)
    for part, entry in header.frozen.items():
        names = field_of(entry, "sha256", list, f"{where}: frozen part {part!r}")
        field_of(entry, "weights", str, f"{where}: frozen part {part!r}")
        if not all(isinstance(name, str) for name in names):
            raise InputError(f"{where}: frozen part {part!r}: 'sha256' has to be a list of texts")
    return header, read_safetensors(path)


def weights_hash(path: Path) -> str:
    """The hash of the tensors of a checkpoint, whatever its header says; see `nn.archive.fingerprint`."""
    return fingerprint(read(path)[1])


def replace_config(path: Path, config: Any) -> None:
    """Writes the header of a checkpoint anew, for settings that were renamed or dropped; the tensors stay.

    Args:
        path: a checkpoint of ours, whose header need not fit today's Config.
        config: the settings in today's form.
    """
    header = _fields(path) or {}
    header |= {"config": configs.to_json(config), "preset": preset_of(header["system"], config)}
    write_atomically(path, to_bytes(read_safetensors(path), {"percepta": json.dumps(header)}))


def ship(run: Path, name: str) -> Path:
    """Makes the checkpoint of a run the weights that come with the package: 16-bit floats, sha256 recorded.

    Args:
        run: a checkpoint of ours.
        name: "<system>-<preset>", the asset's name. The preset's settings replace those of the run, which may differ
            in how they train and decide but not in the network.
    """
    header, _, model = restore(run)
    preset = name.removeprefix(f"{header.system}-")
    config = import_module(f"percepta.systems.{header.system}").PRESETS[preset]
    path = weights.ASSETS / f"{name}.safetensors"
    save(
        path,
        model,
        system=header.system,
        preset=preset,
        config=config,
        frozen=header.frozen,
        step=header.step,
        half=True,
    )
    weights.record(path)
    return path


def _fields(path: Path) -> dict[str, Any] | None:
    """What stands in the header of a safetensors file; None where percepta did not write it."""
    if not path.exists():
        raise MissingFileError(f"no checkpoint {path}")
    try:
        with safe_open(check_regular(path), "pt") as file:
            text = (file.metadata() or {}).get("percepta")
    except SafetensorError as reason:
        raise InputError(f"{path}: not a safetensors file, or a damaged one ({reason})") from reason
    if text is None:
        return None
    fields = parse_json(text, f"{path}: its header")
    if not isinstance(fields, dict):
        raise InputError(f"{path}: its header is no table of settings; this file is damaged, or made by hand")
    return fields


def restore(path: Path, given: Mapping[str, Path] | None = None) -> tuple[Header, Any, nn.Module]:
    """Builds the model that a checkpoint describes and fills it.

    Args:
        given: {name of a weight: file} for frozen parts that stand on files of the user's.

    Returns:
        (header, config, model on the CPU in eval mode).
    """
    header, state = read(path)
    with named(path):
        task = find_task(header.system)
        config = configs.from_json(config_class(header.system), header.config)
        _check_network(task, config, header, state, path)
        model = task.build(config)
        fill_frozen(model, header.frozen, given or {})
    pretrained.load_strictly(model, state, str(path), skip=prefixes(header.frozen))
    model.weights_hash = fingerprint(state)  # type: ignore[assignment]
    return header, config, model.eval()


def _check_network(task: Task, config: Any, header: Header, state: Mapping[str, Tensor], path: Path) -> None:
    """Raises InputError where the network of a header is not that of the tensors, before it takes any memory."""
    try:
        with torch.device("meta"):
            model = task.build(config)
    except InputError:
        raise
    except Exception as error:  # settings by hand may be anything, and networks raise what they meet
        raise InputError(f"{path}: its settings describe no network ({type(error).__name__}: {error})") from None
    for part in header.frozen:
        if getattr(model, part, None) is None:
            raise InputError(f"{path}: it stands on a frozen part {part!r}, which {header.system} does not have")
    check_keys(stored(model, header.frozen), state, str(path))


@torch.no_grad()
def average(model: nn.Module, start: Path, share: float | int = 0.5) -> None:
    """Share of a model's weights, the rest of those that it was trained from, in place (Wortsman et al., CVPR 2022).

    What was learned last stays to a good part, and less of what was known before is lost.

    Args:
        model: as it is after the training.
        start: a checkpoint of the same network.
        share: of the model's weights, 0..1.

    Raises:
        InputError: the share lies outside 0..1, or the networks differ.
    """
    if not 0 <= share <= 1:
        raise InputError(f"the share lies in 0..1, got {share}")
    before, now = restore(start)[2].state_dict(), model.state_dict()
    shapes = [{(name, tuple(value.shape)) for name, value in state.items()} for state in (before, now)]
    if differ := {name for name, _ in shapes[0] ^ shapes[1]}:
        raise InputError(
            f"{start}: another network than the run's: {len(differ)} tensors differ, such as {min(differ)}"
        )
    for name, value in now.items():
        if value.is_floating_point():
            value.copy_(before[name].float().lerp(value.float(), share))


def of_preset(
    system: str, preset: str | None, path: Path | None = None, given: Mapping[str, Path] | None = None
) -> tuple[Any, nn.Module]:
    """(config, model in eval mode) of a system's preset.

    Args:
        system: its name.
        preset: one of its PRESETS; None: "small", or what a checkpoint of ours says.
        path: a checkpoint of ours, or a published one, which the system's keys.py reads; None takes what
            ships.
        given: {name of a weight: file} for parts that stand on files of the user's.
    """
    task, given = find_task(system), given or {}
    presets = import_module(f"percepta.systems.{system}").PRESETS
    if preset is None and path is not None and _is_ours(path):
        header, config, model = restore(path, given)
        if header.system != system:
            raise InputError(f"{path} holds {header.system}, not {system}")
        return config, model
    preset = preset or "small"
    if preset not in presets:
        raise InputError(f"{system} has no preset {preset!r}; it has: {', '.join(presets)}")
    shipped = f"{system}-{preset}"
    if path is None and shipped in weights.TABLE:
        path = weights.find(shipped)
    if path is not None and _is_ours(path):
        header, config, model = restore(path, given)
        if (header.system, header.preset) != (system, preset):
            raise InputError(f"{path} holds {header.system}, preset {header.preset}, not {system}, preset {preset}")
        return config, model
    config = presets[preset]
    model = task.build(config)
    if path is not None:
        _published(system, config, model, path)
    elif isinstance(task, NotTrained):
        frozen = pretrained.fill(model, task.PRETRAINED, given)
        model.weights_hash = fingerprint(stored(model, frozen))  # type: ignore[assignment]
    elif given:
        pretrained.fill(model, task.PRETRAINED, given)
        warnings.warn(f"only {', '.join(given)} is filled: the rest of {shipped} is untrained", stacklevel=3)
    else:
        raise InputError(
            f"no weights ship for {system}, preset {preset}: give a checkpoint, weights=PATH, or train one: "
            f"percepta train {system} --preset {preset}"
        )
    return config, model.eval()


def _is_ours(path: Path) -> bool:
    """Whether a file is a safetensors file with a header of percepta."""
    return path.suffix == ".safetensors" and _fields(path) is not None


def _published(system: str, config: Any, model: nn.Module, path: Path) -> None:
    """Fills a model from a checkpoint that others published."""
    name = f"percepta.systems.{system}.keys"
    if find_spec(name) is None:
        raise InputError(f"{path} is no checkpoint of percepta, and {system} reads no published ones")
    state = import_module(name).convert(pretrained.tensors(path), config)
    pretrained.load_strictly(model, state, str(path))
    model.weights_hash = fingerprint(state)  # type: ignore[assignment]


def fill_frozen(model: nn.Module, frozen: Mapping[str, dict[str, Any]], given: Mapping[str, Path]) -> None:
    """Fills the parts that a checkpoint leaves out; refuses other weights than those it was trained on.

    Args:
        model: what `build` gave.
        frozen: the field of a header: which weights each part stands on.
        given: {name of a weight: file} for those of the user's.
    """
    wanted = {part: entry["weights"] for part, entry in frozen.items()}
    for name in given:
        if name not in wanted.values():
            parts = f"only {', '.join(sorted(set(wanted.values())))}" if wanted else "no file of yours"
            raise InputError(f"this model does not stand on {name}: it takes {parts}")
    got = pretrained.fill(model, wanted, dict(given))
    for part, entry in frozen.items():
        if part not in got:
            raise InputError(f"the checkpoint stands on {entry['weights']} as {part!r}, which the model does not have")
        if got[part]["sha256"] != entry["sha256"]:
            raise InputError(
                f"{part}: the checkpoint stands on {entry['weights']} with sha256 "
                f"{', '.join(entry['sha256'])}, but the file here has {', '.join(got[part]['sha256'])}; "
                "give the right one in weights={...}"
            )


def stored(model: nn.Module, frozen: Mapping[str, Any]) -> dict[str, Tensor]:
    """The part of the model's state dict that a checkpoint holds: all but the frozen parts."""
    skip = prefixes(frozen)
    return {name: value for name, value in model.state_dict().items() if not name.startswith(skip)}


def prefixes(frozen: Mapping[str, Any]) -> tuple[str, ...]:
    """What the tensors of frozen parts are named with: ("image.", "text.")."""
    return tuple(f"{part}." for part in frozen)


def find_task(system: str) -> Task:
    """The module percepta.systems.<system>.task.

    Raises:
        InputError: no system of that name; names those that there are.
    """
    _check(system)
    return cast(Task, import_module(f"percepta.systems.{system}.task"))


def config_class(system: str) -> Any:
    """The Config of a system."""
    _check(system)
    return import_module(f"percepta.systems.{system}").Config


def preset_of(system: str, config: Any) -> str:
    """The name of the preset that these settings are, training aside; "custom" for none."""
    model_settings = {**configs.to_json(config), "train": None}
    for name, preset in import_module(f"percepta.systems.{system}").PRESETS.items():
        if {**configs.to_json(preset), "train": None} == model_settings:
            return name
    return "custom"


@cache
def survive_forks() -> None:
    """From now on a forked child computes in one thread: it has none of its parent's, for which it would wait for ever.

    A program that loads a system, predicts, and then starts processes by fork (the default of Python before 3.14 on
    Linux) gets its answers this way. Where there is no fork, nothing is done.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


def choose_device(name: str = "auto") -> torch.device:
    """The torch device of a name; "auto" is cuda where there is one, else cpu. Others, as mps, only where named."""
    if name != "auto":
        try:
            return torch.empty(0, device=name).device
        except (RuntimeError, AssertionError, TypeError) as error:
            raise InputError(f"no device {name!r} here ({one_line(error)[:120]}); there are: {devices()}") from None
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def check_dtype(system: str, known: tuple[str, ...], dtype: Any) -> None:
    """Raises InputError where a system does not compute in a type.

    Args:
        system: its name.
        known: the types that it computes in.
        dtype: of torch.
    """
    if not isinstance(dtype, torch.dtype) or str(dtype).removeprefix("torch.") not in known:
        only = "only" if len(known) == 1 else "in"
        raise InputError(f"{system} computes {only} {', '.join(known)} here, not {dtype}; leave dtype out")


def devices() -> str:
    """The devices that torch sees here, in words."""
    found = ["cpu"]
    if torch.cuda.is_available():
        found += [f"cuda:{index} ({torch.cuda.get_device_name(index)})" for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found.append("mps")
    return ", ".join(found)


def _check(system: str) -> None:
    if system not in TABLE:
        raise InputError(f"no system is called {system!r}; there are: {', '.join(TABLE)}")
