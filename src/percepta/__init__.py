"""Percepta: vision systems to read in one sitting, that run on a laptop CPU with the weights that come with
them.

import percepta
percepta.load("refer").predict("street.jpg", "the red skirt").draw()
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from percepta import systems

if TYPE_CHECKING:
    import torch
    from torch import nn

    from percepta.metrics import Metric

__all__ = ["System", "__version__", "load", "systems"]
__version__ = "0.1.0"


class _Systems(ModuleType):
    """percepta.systems is the package of the systems; called, it lists them."""

    def __call__(self) -> dict[str, str]:
        """{name: what it does}."""
        return dict(systems.TABLE)


systems.__class__ = _Systems  # pyright: ignore[reportAttributeAccessIssue]


@dataclass(frozen=True)
class System:
    """A system that is ready to use.

    Attributes:
        name: as in `percepta.systems()`.
        config: its settings.
        model: the network, in eval mode.
        task: the module percepta.systems.<name>.task, which all of this is done by.
    """

    name: str
    config: Any
    model: nn.Module
    task: Any

    def predict(self, *inputs: Any, **options: Any) -> Any:
        """The system's answer, in numpy and units, with draw() and save(); see predict in its task.py."""
        return self.task.predict(self.model, *inputs, **options)

    def session(self, *inputs: Any, **options: Any) -> Any:
        """An object that keeps state between calls, where the system has one; see session in its task.py."""
        if not hasattr(self.task, "session"):
            raise ValueError(f"{self.name} has no session: it keeps nothing between two calls of predict")
        return self.task.session(self.model, *inputs, **options)

    def evaluate(
        self,
        root: Path | str | None = None,
        *,
        split: str = "val",
        batch_size: int = 1,
        workers: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> dict[str, Metric]:
        """Its metrics on a folder of data; None is its synthetic world. progress(samples done, in all)."""
        from percepta.train import evaluate

        data = self.task.data(self.config, split, None if root is None else Path(root))
        if data is None:
            raise ValueError(f"{self.name} has no split {split!r} there")
        return evaluate(self.task, self.model, data, batch_size, workers, progress)


def load(
    name_or_path: str | Path,
    *,
    preset: str = "small",
    weights: str | Path | Mapping[str, str | Path] | None = None,
    device: str = "auto",
    dtype: torch.dtype | None = None,
) -> System:
    """A system with its weights.

    Args:
        name_or_path: a system's name; or a checkpoint, or the folder of a run.
        preset: which of the system's presets, for a name. Weights ship for "small".
        weights: for a name, a checkpoint of ours or a published one of that preset; or {name of a weight:
            file} for parts that stand on files of yours, as {"clip": "RN50.pt"}.
        device: "auto" (cuda, then mps, then cpu) or a torch device.
        dtype: floating-point type of the weights; None leaves float32.

    Raises:
        ValueError: no such system or preset, or weights that do not fit (names every missing or odd one).
        FileNotFoundError: a file is missing; says what it is and where to put it.
    """
    from percepta import checkpoint
    from percepta.weights import check

    name = str(name_or_path)
    given = {key: Path(path) for key, path in weights.items()} if isinstance(weights, Mapping) else {}
    for key in given:
        check(key)
    file = Path(weights) if isinstance(weights, (str, Path)) else None
    if name not in systems.TABLE:
        path = Path(name_or_path)
        if not path.exists():
            raise ValueError(f"{name!r} is neither a system ({', '.join(systems.TABLE)}) nor a checkpoint's path")
        if file is not None:
            raise ValueError(f"{path} is a checkpoint already; weights= may only be a dict of files it stands on")
        header, config, model = checkpoint.restore(path / "model.safetensors" if path.is_dir() else path, given)
        name = header.system
    else:
        config, model = checkpoint.of_preset(name, preset, file, given)
    model = model.eval().to(checkpoint.choose_device(device), dtype)
    return System(name, config, model, checkpoint.find_task(name))
