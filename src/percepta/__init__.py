"""Percepta: vision systems to read in one sitting, that run on a laptop CPU with the weights that come with
them.

import percepta
percepta.load("refer").predict("street.jpg", "the red skirt").draw()
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, overload

from percepta import systems
from percepta.errors import InputError, InputTypeError, MissingFileError

if TYPE_CHECKING:
    import torch

    from percepta.contract import System
    from percepta.systems.actions.predict import Actions
    from percepta.systems.aesthetics.predict import Aesthetics
    from percepta.systems.avatar.predict import Avatar
    from percepta.systems.distill.predict import Distill
    from percepta.systems.driver.predict import Driver
    from percepta.systems.forecast.predict import Forecast
    from percepta.systems.hashing.predict import Hashing
    from percepta.systems.online3d.predict import Online3d
    from percepta.systems.planes.predict import Planes
    from percepta.systems.refer.predict import Refer
    from percepta.systems.replay.predict import ReplayGrounding
    from percepta.systems.slam.predict import Slam
    from percepta.systems.spotting.predict import Spotting
    from percepta.systems.supernet.predict import Supernet
    from percepta.systems.vos.predict import Vos
    from percepta.systems.weather.predict import Weather

__all__ = ["InputError", "__version__", "load", "sample", "systems"]
__version__ = "0.1.0"


class _Systems(ModuleType):
    """percepta.systems is the package of the systems; called, it lists them."""

    def __call__(self) -> dict[str, str]:
        """{name: what it does}."""
        return dict(systems.TABLE)


systems.__class__ = _Systems  # pyright: ignore[reportAttributeAccessIssue]


SAMPLES = ("astronaut", "cat", "coffee", "rocket")


def sample(name: str) -> Path:
    """The file of a photograph that comes with the package, to try things on.

    Args:
        name: "astronaut", "cat", "coffee" or "rocket".

    Raises:
        InputError: there is no such photograph.
    """
    if name not in SAMPLES:
        raise InputError(f"no sample picture {name!r}; there are {', '.join(SAMPLES)}")
    return Path(__file__).parent / "assets" / "samples" / f"{name}.jpg"


class Options(TypedDict, total=False):
    """What `load` takes besides the name; its docstring explains each."""

    preset: str | None
    weights: str | Path | Mapping[str, str | Path] | None
    device: str
    dtype: torch.dtype | None


# One pair of overloads a system, so that an editor knows what `load` gives: by name, and for a run of one's own.
# fmt: off
@overload
def load(name_or_path: Literal["actions"], **options: Unpack[Options]) -> Actions: ...
@overload
def load(name_or_path: str | Path, *, system: Literal["actions"], **options: Unpack[Options]) -> Actions: ...
@overload
def load(name_or_path: Literal["aesthetics"], **options: Unpack[Options]) -> Aesthetics: ...
@overload
def load(name_or_path: str | Path, *, system: Literal["aesthetics"], **options: Unpack[Options]) -> Aesthetics: ...
@overload
def load(name_or_path: Literal["avatar"], **options: Unpack[Options]) -> Avatar: ...
@overload
def load(name_or_path: str | Path, *, system: Literal["avatar"], **options: Unpack[Options]) -> Avatar: ...
@overload
def load(name_or_path: Literal["distill"], **options: Unpack[Options]) -> Distill: ...
@overload
def load(name_or_path: str | Path, *, system: Literal["distill"], **options: Unpack[Options]) -> Distill: ...
@overload
def load(name_or_path: Literal["driver"], **options: Unpack[Options]) -> Driver: ...
@overload
def load(name_or_path: str | Path, *, system: Literal["driver"], **options: Unpack[Options]) -> Driver: ...
@overload
def load(name_or_path: Literal["forecast"], **options: Unpack[Options]) -> Forecast: ...
@overload
def load(name_or_path: str | Path, *, system: Literal["forecast"], **options: Unpack[Options]) -> Forecast: ...
@overload
def load(name_or_path: Literal["hashing"], **options: Unpack[Options]) -> Hashing: ...
@overload
def load(name_or_path: str | Path, *, system: Literal["hashing"], **options: Unpack[Options]) -> Hashing: ...
@overload
def load(name_or_path: Literal["online3d"], **options: Unpack[Options]) -> Online3d: ...
@overload
def load(name_or_path: str | Path, *, system: Literal["online3d"], **options: Unpack[Options]) -> Online3d: ...
@overload
def load(name_or_path: Literal["planes"], **options: Unpack[Options]) -> Planes: ...
@overload
def load(name_or_path: str | Path, *, system: Literal["planes"], **options: Unpack[Options]) -> Planes: ...
@overload
def load(name_or_path: Literal["refer"], **options: Unpack[Options]) -> Refer: ...
@overload
def load(name_or_path: str | Path, *, system: Literal["refer"], **options: Unpack[Options]) -> Refer: ...
@overload
def load(name_or_path: Literal["replay"], **options: Unpack[Options]) -> ReplayGrounding: ...
@overload
def load(name_or_path: str | Path, *, system: Literal["replay"], **options: Unpack[Options]) -> ReplayGrounding: ...
@overload
def load(name_or_path: Literal["slam"], **options: Unpack[Options]) -> Slam: ...
@overload
def load(name_or_path: str | Path, *, system: Literal["slam"], **options: Unpack[Options]) -> Slam: ...
@overload
def load(name_or_path: Literal["spotting"], **options: Unpack[Options]) -> Spotting: ...
@overload
def load(name_or_path: str | Path, *, system: Literal["spotting"], **options: Unpack[Options]) -> Spotting: ...
@overload
def load(name_or_path: Literal["supernet"], **options: Unpack[Options]) -> Supernet: ...
@overload
def load(name_or_path: str | Path, *, system: Literal["supernet"], **options: Unpack[Options]) -> Supernet: ...
@overload
def load(name_or_path: Literal["vos"], **options: Unpack[Options]) -> Vos: ...
@overload
def load(name_or_path: str | Path, *, system: Literal["vos"], **options: Unpack[Options]) -> Vos: ...
@overload
def load(name_or_path: Literal["weather"], **options: Unpack[Options]) -> Weather: ...
@overload
def load(name_or_path: str | Path, *, system: Literal["weather"], **options: Unpack[Options]) -> Weather: ...
@overload
def load(name_or_path: str | Path, *, system: str | None = None, **options: Unpack[Options]) -> System: ...
# fmt: on
def load(
    name_or_path: str | Path,
    *,
    system: str | None = None,
    preset: str | None = None,
    weights: str | Path | Mapping[str, str | Path] | None = None,
    device: str = "auto",
    dtype: torch.dtype | None = None,
) -> Any:
    """A system with its weights.

    Args:
        name_or_path: a system's name; or a checkpoint, or the folder of a run.
        system: which system a checkpoint has to hold; for editors and type checkers, which then know what comes back.
        preset: which of the system's presets, for a name; None: "small", for which weights ship, or what a checkpoint
            of ours says.
        weights: for a name, a checkpoint of ours (a file, the folder of a run, or the name of weights that ship), or
            a published one of the preset; or {name of a weight: file} for parts that stand on files of yours, as
            {"clip": "RN50.pt"}.
        device: "auto" (cuda where there is one, else cpu) or a torch device.
        dtype: floating-point type of the weights; None leaves float32. Not every system computes in every type.

    Returns:
        The class of the system's predict.py, with `config`, `model` (in eval mode), `licence`, `predict`, `evaluate`
        and, where it keeps something between two calls, `session`.

    Raises:
        InputError: no such system, preset, device or dtype; weights that do not fit (names each missing or odd one).
        MissingFileError: a file is missing; says what it is and where to put it.
    """
    from percepta import checkpoint
    from percepta.media.source import answers
    from percepta.train import Evaluator
    from percepta.weights import check, checkpoint_file, licence

    if not isinstance(name_or_path, str | Path) or not str(name_or_path).strip() or str(name_or_path) == ".":
        raise InputTypeError(
            f"expected a system ({', '.join(systems.TABLE)}) or a checkpoint's path; got {name_or_path!r}"
        )
    checkpoint.survive_forks()
    where = checkpoint.choose_device(device)
    name = str(name_or_path)
    given = {key: Path(path) for key, path in weights.items()} if isinstance(weights, Mapping) else {}
    for key in given:
        check(key)
    if not isinstance(weights, str | Path | Mapping | None):
        raise InputTypeError(f"weights is a path, a name or {{name: file}}; got {type(weights).__name__}")
    shipped = ""
    if name not in systems.TABLE:
        path = Path(name_or_path)
        if not path.exists():
            raise MissingFileError(f"{name!r} is neither a system ({', '.join(systems.TABLE)}) nor a checkpoint's path")
        if weights is not None and not given:
            raise InputError(f"{path} is a checkpoint already; weights= may only be a dict of files it stands on")
        header, config, model = checkpoint.restore(path / "model.safetensors" if path.is_dir() else path, given)
        name = header.system
    else:
        file = checkpoint_file(weights, name) if isinstance(weights, str | Path) else None
        config, model = checkpoint.of_preset(name, preset, file, given)
        shipped = f"{name}-{preset or 'small'}" if file is None else ""
    if system not in (None, name):
        raise InputError(f"{name_or_path} holds {name}, not {system}")
    kind: Any = checkpoint.find_task(name).System
    if dtype is not None:
        checkpoint.check_dtype(name, kind.dtypes(config) if hasattr(kind, "dtypes") else ("float32",), dtype)
    model = model.eval().to(where, dtype)
    return kind(config, model, licence(shipped), Evaluator(name, config, model), answers)
