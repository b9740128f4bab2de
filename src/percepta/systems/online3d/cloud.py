"""Points with colours, and the files that hold them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from percepta.errors import InputError, MissingFileError
from percepta.geometry import ply


@runtime_checkable
class Cloud(Protocol):
    """Anything with points: a `LabelledScan`, a `Result`, `Points`."""

    @property
    def xyz(self) -> np.ndarray:
        """Places `n 3`, metres, z up."""
        ...

    @property
    def rgb(self) -> np.ndarray:
        """Colours `n 3`, 0..255."""
        ...


@dataclass(frozen=True)
class Points:
    """A cloud without labels.

    Attributes:
        xyz: places `n 3`, metres, z up.
        rgb: colours `n 3`, 0..255.
    """

    xyz: np.ndarray
    rgb: np.ndarray


def open_cloud(path: Path | str) -> Points:
    """The points of a .ply with x, y, z, red, green and blue, or of an .npz with xyz and rgb.

    Raises:
        MissingFileError: no such file.
        InputError: another kind of file, or one without these columns.
    """
    path = Path(path)
    if not path.exists():
        raise MissingFileError(f"{path}: no such file or folder")
    if path.suffix == ".ply":
        cloud = ply.read(path)
        try:
            return Points(cloud.columns("x", "y", "z"), cloud.columns("red", "green", "blue"))
        except InputError as error:
            raise InputError(f"{path}: {error.args[0]}") from None
    if path.suffix != ".npz" or path.is_dir():
        raise InputError(
            f"{path}: expected a scan (.ply, .npz); the recording in a folder is opened by "
            "percepta.datasets.recordings.open_recording"
        )
    with np.load(path, allow_pickle=False) as file:
        if missing := {"xyz", "rgb"} - set(file.files):
            raise InputError(f"{path}: no array {', '.join(sorted(missing))}; it has {', '.join(file.files)}")
        return Points(file["xyz"], file["rgb"])
