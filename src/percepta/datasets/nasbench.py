"""Tables of truly trained architectures: NAS-Bench-Macro and NAS-Bench-201.

NAS-Bench-Macro (Su et al., CVPR 2021) is JSON: {"02012100": {"test_acc": [three], "params", "flops", ...}, ...}, one
entry for each of the 3⁸ codes. NAS-Bench-201 (Dong & Yang, ICLR 2020) is CSV with the accuracies after 200 epochs and a
column ArchitectureString such as |nor_conv_3x3~0|+|none~0|skip_connect~1|+|...|.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int64

from percepta.datasets.tables import read_table, to_number
from percepta.errors import InputError, MissingFileError
from percepta.formats import read_json, short

NAME = "NAS-Bench-Macro"
TABLE = "nas-bench-macro_cifar10.json"
FOLDERS = (".", "nas", "../nas")  # where the table may lie, from the folder of data
FILES = f"{TABLE}, here, in nas/, or in a nas/ beside the folder"
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
SOURCES = (0, 0, 1, 0, 1, 2)  # the node that each of a cell's six edges comes from
SETS = {
    "cifar10": "CIFAR10TestAccuracy200Epochs",
    "cifar100": "CIFAR100TestAccuracy200Epochs",
    "imagenet16": "ImageNetTestAccuracy200Epochs",
}


@dataclass(frozen=True)
class Macro:
    """NAS-Bench-Macro.

    Attributes:
        codes: in the order of the file.
        accuracy: test accuracy in percent of each training seed.
        parameters: as the table counts them.
        flops: as the table counts them.
        path: of the table.
    """

    codes: tuple[str, ...]
    accuracy: Float[np.ndarray, "n seeds"]
    parameters: Int64[np.ndarray, " n"]
    flops: Int64[np.ndarray, " n"]
    path: Path

    def rows(self, codes: Sequence[str]) -> Int64[np.ndarray, " m"]:
        """The places of codes.

        Raises:
            InputError: an architecture is not in the table; names it.
        """
        place = {code: i for i, code in enumerate(self.codes)}
        missing = [code for code in codes if code not in place]
        if missing:
            raise InputError(
                f"{self.path}: the table lacks {len(missing)} architecture(s), the first is {missing[0]!r}"
            )
        return np.array([place[code] for code in codes], np.int64)


def find(root: Path) -> Path | None:
    """NAS-Bench-Macro's table in a folder of data, in its `nas`, or in a `nas` beside it; None: there is none."""
    return next((root / folder / TABLE for folder in FOLDERS if (root / folder / TABLE).is_file()), None)


def is_one(root: Path) -> bool:
    """Whether NAS-Bench-Macro's table lies in a folder or beside it."""
    return find(root) is not None


def read_macro(path: Path | str) -> Macro:
    """NAS-Bench-Macro's table.

    Args:
        path: the file, or a folder that it lies in or beside.

    Raises:
        MissingFileError: no such file.
        InputError: no JSON of that form: names the entry.
    """
    path = Path(path)
    if path.is_dir():
        path = find(path) or path / TABLE
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file; expected NAS-Bench-Macro's nas-bench-macro_cifar10.json")
    content = read_json(path)
    if not isinstance(content, Mapping) or not content:
        raise InputError(f"{path}: expected an object of architectures by their code")
    seeds = None
    for code, entry in content.items():
        problem = _entry_problem(code, entry)
        if problem is None:
            seeds = seeds or len(entry["test_acc"])
            problem = (
                None if len(entry["test_acc"]) == seeds else f"{len(entry['test_acc'])} seeds, the first has {seeds}"
            )
        if problem:
            raise InputError(f"{path}: entry {short(code)}: {problem}")
    rows = list(content.values())
    return Macro(
        tuple(content),
        np.array([row["test_acc"] for row in rows], np.float64),
        np.array([row["params"] for row in rows], np.int64),
        np.array([row["flops"] for row in rows], np.int64),
        path,
    )


def _entry_problem(code: str, entry: Any) -> str | None:
    if not re.fullmatch("[012]{1,100}", code):
        return "a code is made of the digits 0, 1 and 2"
    if not isinstance(entry, Mapping) or not {"test_acc", "params", "flops"} <= set(entry):
        return "expected test_acc, params and flops"
    values = entry["test_acc"]
    if not isinstance(values, list) or not values or not all(type(v) in (int, float) and 0 <= v <= 100 for v in values):
        return f"test_acc has to be a list of percentages, got {short(values)}"
    for name in ("params", "flops"):
        if type(entry[name]) not in (int, float) or not 0 <= entry[name] < 1e18:
            return f"{name} has to be a number, got {short(entry[name])}"
    return None


READS = {Macro: read_macro}


@dataclass(frozen=True)
class Cells:
    """NAS-Bench-201.

    Attributes:
        operations: of each cell's six edges (0→1, 0→2, 1→2, 0→3, 1→3, 2→3), numbers into OPERATIONS.
        accuracy: test accuracy in percent by set of pictures.
        unique: what makes two cells the same network, as the table says.
    """

    operations: Int64[np.ndarray, "n 6"]
    accuracy: dict[str, Float[np.ndarray, " n"]]
    unique: tuple[str, ...]

    def one_hot(self) -> Float[np.ndarray, "n 30"]:
        return (
            (self.operations[:, :, None] == np.arange(len(OPERATIONS))).reshape(len(self.operations), -1).astype(float)
        )

    def effective(self) -> Cells:
        """The cells with "none" on every edge that no path from the first node to the last goes over."""
        on = self.operations != 0
        reached = {0: np.ones(len(on), bool), 1: on[:, 0]}
        reached[2] = on[:, 1] | (on[:, 2] & reached[1])
        leads = {3: np.ones(len(on), bool), 2: on[:, 5]}
        leads[1] = on[:, 4] | (on[:, 2] & leads[2])
        targets = (1, 2, 2, 3, 3, 3)
        used = np.stack([reached[a] & leads[b] for a, b in zip(SOURCES, targets, strict=True)], 1)
        return Cells(np.where(used, self.operations, 0), self.accuracy, self.unique)

    def paths(self) -> Float[np.ndarray, "n d"]:
        """How often each row of operations leads from the first node to the last (White et al., BANANAS): it does not
        change when a cell is written in another way, and edges that lead nowhere do not count."""
        routes = ((3,), (0, 4), (1, 5), (0, 2, 5))
        columns = []
        for route in routes:
            picked = self.operations[:, list(route)]
            number = np.zeros(len(picked), int)
            for column in picked.T:
                number = number * len(OPERATIONS) + column
            hot = np.eye(len(OPERATIONS) ** len(route))[number]
            hot[(picked == 0).any(1)] = 0
            columns.append(hot)
        columns[1] = columns[1] + columns.pop(2)  # both have two edges
        return np.concatenate(columns, 1)


def read_cells(path: Path | str) -> Cells:
    """NAS-Bench-201's table.

    Raises:
        MissingFileError: no such file.
        InputError: a column is missing, or a row cannot be read: names the line.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file; expected NAS-Bench-201 as CSV")
    wanted = [*SETS.values(), "ArchitectureString", "UniqueString"]
    operations, accuracy, unique = [], {name: [] for name in SETS}, []
    for line, (*numbers, architecture, same) in read_table(path, wanted, ragged=True):
        try:
            operations.append(parse_cell(architecture))
        except InputError as error:
            raise InputError(f"{path}, line {line}: {error}") from None
        for name, text in zip(SETS, numbers, strict=True):
            value = to_number(text)
            if value is None:
                raise InputError(f"{path}, line {line}: {SETS[name]} is a number, not {short(text)}")
            accuracy[name].append(value)
        unique.append(same)
    values = {name: np.array(column, np.float64) for name, column in accuracy.items()}
    return Cells(np.array(operations, np.int64).reshape(-1, 6), values, tuple(unique))


def parse_cell(text: str) -> list[int]:
    """The operations of a cell's six edges.

    Raises:
        InputError: another form, or an unknown operation: names it.
    """
    found = re.findall(r"\|([a-z0-9_]+)~(\d)(?=\|)", (text or "").replace("+", ""))
    if tuple(int(source) for _, source in found) != SOURCES:
        raise InputError(f"expected six edges from the nodes {SOURCES}, got {short(text)}")
    unknown = [name for name, _ in found if name not in OPERATIONS]
    if unknown:
        raise InputError(f"the operation {unknown[0]!r} is none of {', '.join(OPERATIONS)}")
    return [OPERATIONS.index(name) for name, _ in found]
