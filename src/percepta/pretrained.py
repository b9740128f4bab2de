"""Fills networks, or parts of them, from weight files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from percepta import weights
from percepta.contract import ReadsFiles, starts_empty
from percepta.errors import InputError
from percepta.nn.archive import check_keys, read_archive


def fill(
    model: nn.Module, pretrained: Mapping[str, str], given: Mapping[str, Path] | None = None
) -> dict[str, dict[str, Any]]:
    """Fills the parts of a model that start from known weights.

    Args:
        pretrained: {attribute of the model: name of a weight}; parts that this model has not, or that say
            `from_scratch`, are left out.
        given: {name of a weight: file}, for those that the user brings or replaces.

    A part with a method `read(*files)` reads its files itself; any other takes their tensors by name,
    strictly.

    Returns:
        {part: {"weights": name, "sha256": [one per file]}} of the parts that were filled.
    """
    given = given or {}
    if unknown := sorted(set(given) - set(pretrained.values())):
        raise InputError(f"no part is filled from {unknown}; this system takes {sorted(set(pretrained.values()))}")
    filled = {}
    for part, name in pretrained.items():
        module: nn.Module | None = getattr(model, part, None)
        if module is None or starts_empty(module):
            continue
        paths = weights.files(name, given.get(name))
        if isinstance(module, ReadsFiles):
            module.read(*paths)
        else:
            load_strictly(module, {k: v for path in paths for k, v in tensors(path).items()}, f"{part} from {name}")
        filled[part] = {"weights": name, "sha256": [weights.sha256(path) for path in paths]}
    return filled


def tensors(path: Path) -> dict[str, Tensor]:
    """The state dict in a file of any kind that percepta reads, without running code from it.

    A prefix "module." that all names share (from data-parallel training) is taken off.

    Raises:
        MissingFileError, InputError: there is no such file, or it holds anything else than tensors.
    """
    state = read_archive(Path(path))
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    return state


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], what: str, skip: tuple[str, ...] = ()) -> None:
    """Copies a state dict into a module; names under a prefix of `skip` are not expected.

    Args:
        module: what is filled.
        state: tensors by name.
        what: what messages call them.
        skip: prefixes of names that are not expected.

    Raises:
        InputError: names every tensor that is missing, odd or of a wrong shape; nothing is copied then.
    """
    own = {name: value for name, value in module.state_dict().items() if not name.startswith(skip)}
    check_keys(own, state, what)
    module.load_state_dict(dict(state), strict=False)
