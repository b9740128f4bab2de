"""Files of features of videos, made by other networks: I3D, TSP, SlowFast, VideoMAE; vectors × channels, any width."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from percepta.errors import InputError, MissingFileError


@dataclass(frozen=True)
class Timing:
    """How feature vectors count time.

    Attributes:
        fps: frames a second of the video; 0: as each annotation says.
        stride: frames from one vector to the next.
        window: frames that a vector sees.
    """

    fps: float = 0.0
    stride: float = 1.0
    window: float = 1.0


def read_features(path: Path) -> Float[np.ndarray, "t c"]:
    """A table of feature vectors: .npy, .npz (its only array, or "feats"), or .h5 (its only data set).

    Raises:
        InputError: it holds no such table.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file of features")
    if path.suffix in (".h5", ".hdf5"):
        try:
            import h5py  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise InputError(f"{path}: reading .h5 needs h5py (pip install h5py), or convert it to .npy") from None
        with h5py.File(path) as file:
            names = [name for name in file if isinstance(file[name], h5py.Dataset)]
            if len(names) != 1:
                raise InputError(f"{path}: expected one data set, got {', '.join(names) or 'none'}")
            table = np.asarray(file[names[0]])
    else:
        try:
            loaded = np.load(path, allow_pickle=False)
        except ValueError as error:
            raise InputError(f"{path}: no table of numbers ({error})") from None
        if isinstance(loaded, np.ndarray):
            table = loaded
        else:
            names = [name for name in loaded.files if loaded[name].ndim >= 2]
            name = "feats" if "feats" in names else names[0] if len(names) == 1 else ""
            if not name:
                raise InputError(f"{path}: expected one table or one called feats, got {', '.join(names) or 'none'}")
            table = loaded[name]
    table = table.reshape(-1, table.shape[-1]) if table.ndim > 2 else table
    if table.ndim != 2 or not len(table) or table.dtype.kind not in "fiu":
        raise InputError(f"{path}: expected a table of numbers (vectors, channels); got {table.shape}, {table.dtype}")
    table = table.astype(np.float32)
    if not np.isfinite(table).all():
        raise InputError(f"{path}: features have numbers that are not finite")
    return table
