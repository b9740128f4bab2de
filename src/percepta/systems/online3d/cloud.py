"""Points with colours, and the files that hold them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from percepta.errors import InputError, MissingFileError
from percepta.formats import read_arrays
from percepta.geometry import ply

MOST_M = 200.0  # size of a cloud in metres


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

    Colours may be bytes, 16 bits, or floats in 0..1. A warning says where the cloud is larger than any building.

    Raises:
        MissingFileError: no such file.
        InputError: another kind of file, one without these columns, places or colours that are out of range.
    """
    path = Path(path)
    if not path.exists():
        raise MissingFileError(f"{path}: no such file or folder")
    if path.suffix == ".ply":
        cloud = ply.read(path)
        return _checked(cloud.columns("x", "y", "z"), cloud.colours(), path)
    if path.suffix != ".npz" or path.is_dir():
        if path.is_dir():  # only in Python: the command opens folders itself
            raise InputError(f"{path}: a folder; `percepta.datasets.recordings.open_recording` opens a recording in it")
        raise InputError(
            f"{path}: expected a scan (.ply, .npz) or the folder of a recording with colour, depth and poses; "
            "`percepta data online3d check DIR` says whether a folder is one"
        )
    arrays = read_arrays(path, {"xyz": "fiu", "rgb": "fiu"})
    xyz, rgb = arrays["xyz"], arrays["rgb"]
    if xyz.ndim != 2 or xyz.shape[1] != 3 or rgb.shape != xyz.shape:
        raise InputError(f"{path}: xyz and rgb are n 3 both, not {xyz.shape} and {rgb.shape}")
    return _checked(xyz, ply.colour_bytes(rgb, f"{path}: rgb"), path)


def _checked(xyz: np.ndarray, rgb: np.ndarray, path: Path) -> Points:
    if not len(xyz):
        raise InputError(f"{path}: no points")
    if count := int((~np.isfinite(xyz)).any(1).sum()):
        raise InputError(f"{path}: {count} of {len(xyz)} points have a place that is not finite; leave them out")
    size = float(np.ptp(xyz.astype(np.float64), axis=0).max())
    if size > MOST_M:
        warnings.warn(f"{path}: the cloud is {size:.4g} m large; are its places in millimetres?", stacklevel=3)
    return Points(xyz, rgb)
