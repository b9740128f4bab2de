"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): 32 × 32 pictures of 10 or 100 classes, as published and as Parquet.

Read as they are unpacked, from the folder itself or the one above it (which may hold it as cifar10 or cifar100):

    binary    data_batch_1..5.bin, test_batch.bin, batches.meta.txt          (CIFAR-10)
              train.bin, test.bin, fine_label_names.txt                      (CIFAR-100)
    python    data_batch_1..5, test_batch, batches.meta                      (CIFAR-10)
              train, test, meta                                              (CIFAR-100)
    parquet   train.parquet, test.parquet (image: encoded picture, label), classes.txt

The python files are pickles: only plain containers and numpy's arrays are let in, nothing that could run code.
"""

from __future__ import annotations

import functools
import io
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from PIL import Image
from torch import Tensor

from percepta.datasets.classified import Classified, Part
from percepta.datasets.problem import Problem
from percepta.errors import InputError, MissingExtraError, MissingFileError
from percepta.files import check_regular, read_lines
from percepta.formats import read_pickle, short

SIDE = 32
PIXELS = 3 * SIDE * SIDE
NAME = "CIFAR"
PARENTS = ("", "cifar10", "cifar100")
FOLDERS = ("", "cifar-10-batches-bin", "cifar-10-batches-py", "cifar-100-binary", "cifar-100-python")
TRAIN, TEST = tuple(f"data_batch_{i}" for i in range(1, 6)), ("test_batch",)
# layout: files of each split, file of the class names, (place of the label in the head of a record, length of the head)
BINARY = {
    "binary-10": (
        {"train": tuple(f"{name}.bin" for name in TRAIN), "test": ("test_batch.bin",)},
        "batches.meta.txt",
        (0, 1),
    ),
    "binary-100": ({"train": ("train.bin",), "test": ("test.bin",)}, "fine_label_names.txt", (1, 2)),
}
# layout: files of each split, file and key of the class names, key of the labels
PYTHON = {
    "python-10": ({"train": TRAIN, "test": TEST}, "batches.meta", "label_names", "labels"),
    "python-100": ({"train": ("train",), "test": ("test",)}, "meta", "fine_label_names", "fine_labels"),
}
PARQUET = {"train": "train.parquet", "test": "test.parquet"}
CLASSES = "classes.txt"
FILES = (
    "batches.meta.txt, batches.meta, meta, fine_label_names.txt or classes.txt beside the files of pictures, here or "
    f"in {', '.join(FOLDERS[1:])}"
)


@dataclass(frozen=True)
class Cifar:
    """One split.

    Attributes:
        pixels: RGB 0..255.
        labels: 0 … number of classes − 1.
        classes: their names.
    """

    pixels: UInt8[np.ndarray, "n 32 32 3"]
    labels: Int64[np.ndarray, " n"]
    classes: tuple[str, ...]


def find(root: Path) -> tuple[Path, str] | None:
    """(folder of the files, layout) of CIFAR in this folder or in a published one inside it; None: there is none."""
    for folder in (Path(root) / parent / name for parent in PARENTS for name in FOLDERS):
        for layout, (splits, names, _) in BINARY.items():
            if (folder / names).is_file() and (folder / splits["test"][0]).is_file():
                return folder, layout
        for layout, (splits, names, _, _) in PYTHON.items():
            if (folder / names).is_file() and (folder / splits["test"][0]).is_file():
                return folder, layout
        if (folder / CLASSES).is_file() and (folder / PARQUET["test"]).is_file():
            return folder, "parquet"
    return None


def is_one(root: Path) -> bool:
    """Whether a folder holds CIFAR in one of its layouts."""
    return find(root) is not None


def classified(root: Path, problems: list[Problem] | None = None, warnings: list[Problem] | None = None) -> Classified:
    """The set, for systems that classify pictures. A split's files are read when it is listed, see `read`.

    Args:
        root: the folder.
        problems, warnings: as other sets take them; a wrong file of CIFAR is found when its split is listed.
    """
    return Classified(classes(root), tuple(PARQUET), functools.partial(_part, root))


def _part(root: Path, split: str) -> Part:
    found = read(root, split)

    def pixels(places: Int64[np.ndarray, " m"], size: int) -> UInt8[Tensor, "m 3 32 32"]:
        return torch.from_numpy(found.pixels[places]).permute(0, 3, 1, 2)

    return Part(found.labels, [f"{split} {place}" for place in range(len(found.labels))], pixels)


READS = {Classified: classified}


def read(root: Path, split: str) -> Cifar:
    """All pictures of a split, "train" or "test", in the order of the files.

    Raises:
        MissingFileError: no CIFAR there, or one of its files is missing.
        InputError: no such split; a file of a wrong length, with labels out of range, or a pickle that holds more than
            plain containers and arrays: names the file.
    """
    if split not in PARQUET:
        raise InputError(f'CIFAR has the splits "train" and "test", not {split!r}')
    folder, layout = _found(root)
    names = classes(root)
    if layout == "parquet":
        parts = [_parquet(folder / PARQUET[split], len(names))]
    elif layout in BINARY:
        splits, _, head = BINARY[layout]
        parts = [_binary(folder / name, head, len(names)) for name in splits[split]]
    else:
        splits, _, _, key = PYTHON[layout]
        parts = [_python(folder / name, key, len(names)) for name in splits[split]]
    return Cifar(np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts]), names)


def classes(root: Path) -> tuple[str, ...]:
    """The names of the classes, in the order of the labels. Errors as in `read`."""
    folder, layout = _found(root)
    if layout in PYTHON:
        _, file, key, _ = PYTHON[layout]
        table = load_plain(folder / file)
        if not isinstance(table, dict) or key not in table:
            raise InputError(f"{folder / file}: expected a table with {key!r}, found {_kinds(table)}")
        if not isinstance(table[key], list) or not all(isinstance(name, str) for name in table[key]):
            raise InputError(f"{folder / file}: {key!r} has to be a list of names, not {short(table[key])}")
        return _distinct(tuple(table[key]), folder / file)
    file = folder / (CLASSES if layout == "parquet" else BINARY[layout][1])
    return _distinct(tuple(line.strip() for line in read_lines(file) if line.strip()), file)


def _distinct(names: tuple[str, ...], file: Path) -> tuple[str, ...]:
    if len(names) < 2 or len(set(names)) < len(names):
        raise InputError(f"{file}: expected one class name a line, at least two, each once; found {len(names)} names")
    return names


def _found(root: Path) -> tuple[Path, str]:
    found = find(root)
    if found is None:
        raise MissingFileError(f"{root}: no CIFAR here; looked for {FILES}")
    return found


def _binary(path: Path, head: tuple[int, int], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Records of a head with the label, then the red, green and blue plane, row by row."""
    place, length = head
    data = np.frombuffer(_bytes(path), np.uint8)
    if data.size == 0 or data.size % (length + PIXELS):
        raise InputError(
            f"{path}: {data.size} bytes, which is no multiple of {length + PIXELS}: not whole, or no CIFAR"
        )
    rows = data.reshape(-1, length + PIXELS)
    return _planes(rows[:, length:]), _labels(path, rows[:, place], count)


def _python(path: Path, key: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    table = load_plain(path)
    data = table.get("data") if isinstance(table, dict) else None
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != PIXELS:
        raise InputError(f"{path}: expected a table with data (n {PIXELS}, uint8) and {key}, found {_kinds(table)}")
    labels = _labels(path, table.get(key, ()), count)
    if len(labels) != len(data):
        raise InputError(f"{path}: {len(data)} pictures but {len(labels)} {key}")
    return _planes(data), labels


def _parquet(path: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    if find_spec("pyarrow") is None:
        raise MissingExtraError(f"{path} needs pyarrow: run pip install 'percepta[data]'")
    from pyarrow import parquet  # pyright: ignore[reportMissingImports]

    if not path.is_file():
        raise MissingFileError(f"{path}: no such file; it should hold one split of the pictures")
    try:
        table = parquet.read_table(path, columns=["image", "label"])
    except Exception as error:  # a damaged file raises many kinds
        raise InputError(f"{path}: expected the columns image and label ({error})") from None
    if table.num_rows == 0 or set(table.column_names) != {"image", "label"}:
        raise InputError(f"{path}: expected the columns image and label with pictures; found {table.column_names}")
    pixels = np.empty((table.num_rows, SIDE, SIDE, 3), np.uint8)
    for row, cell in enumerate(table["image"].to_pylist()):
        try:
            picture = Image.open(io.BytesIO(cell))
            if picture.size != (SIDE, SIDE):
                raise ValueError(f"its size is {picture.size}, not {SIDE} × {SIDE}")
            pixels[row] = np.asarray(picture.convert("RGB"))
        except Exception as error:  # damaged pictures raise nearly anything
            raise InputError(f"{path}: the picture of row {row} cannot be read ({error})") from None
    return pixels, _labels(path, table["label"].to_numpy(), count)


def _planes(rows: UInt8[np.ndarray, "n pixels"]) -> UInt8[np.ndarray, "n 32 32 3"]:
    return np.ascontiguousarray(rows.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1))


def _labels(path: Path, values: Sequence[int] | np.ndarray, count: int) -> Int64[np.ndarray, " n"]:
    try:
        labels = np.asarray(values)
    except ValueError:  # lists of different lengths
        labels = np.zeros(0)
    wrong = labels.dtype.kind not in "iu" or labels.ndim != 1 or labels.size == 0
    if wrong or labels.min() < 0 or labels.max() >= count:
        raise InputError(f"{path}: labels have to be whole numbers from 0 to {count - 1}, one a picture")
    return labels.astype(np.int64)


def _bytes(path: Path) -> bytes:
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file, though the other files of this CIFAR are here")
    return check_regular(path).read_bytes()


def _kinds(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {type(item).__name__}" for key, item in value.items()) + "}"
    return type(value).__name__


# ------------------------------------------------------------------------------------------------- pickles


# What numpy itself writes into the pickle of an array, under its names in versions 1 and 2.
ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy._core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
}


def _latin(text: str, encoding: str) -> bytes:
    """`_codecs.encode` for the one encoding that pickle uses: bytes, as protocols below 3 write them."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in the encoding {encoding!r}")
    return text.encode("latin1")


def load_plain(path: Path) -> Any:
    """What a pickle of Python 2 or 3 holds, with texts as str, loaded without running anything.

    Raises:
        MissingFileError: no such file.
        InputError: damaged, or holding anything but plain containers and arrays (which is named).
    """
    if not path.is_file():
        _bytes(path)  # says that it is missing
    return _texts(read_pickle(path, {**ALLOWED, ("_codecs", "encode"): _latin}, encoding="bytes"))


def _texts(value: Any, deep: int = 3) -> Any:
    """Keys and texts that came as bytes, as str; as deep as CIFAR's tables are."""
    if isinstance(value, bytes):
        return value.decode("latin1")
    if isinstance(value, dict) and deep:
        return {_texts(key, 0): _texts(item, deep - 1) for key, item in value.items()}
    if isinstance(value, list) and deep:
        return [_texts(item, deep - 1) for item in value]
    return value
