"""Every set of recordings of moving agents, and what a folder or a file holds of them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from percepta.datasets import argoverse1, argoverse2, eth_ucy, interaction, scenarionet, tracks_csv
from percepta.datasets.problem import Problem
from percepta.datasets.tables import columns_found
from percepta.datasets.tracks import Recordings, Tracks, csv_files, header
from percepta.errors import InputError, MissingFileError

# In the order in which a folder is asked; one folder may hold several of them.
SETS = (argoverse2, argoverse1, scenarionet, interaction, eth_ucy, tracks_csv)


def read(root: Path | str, problems: list[Problem] | None = None) -> Recordings:
    """The recordings of all sets in a folder, or those of one file; each is read when it is asked for.

    Args:
        root: a folder or a file.
        problems: what is wrong with a file is added here, also tables of a folder that no set reads; None: what is
            wrong is raised.

    Raises:
        MissingFileError: there is no such path.
        InputError: nothing that is known; lists what every set needs.
    """
    root = Path(root).expanduser()
    if not root.exists():
        raise MissingFileError(f"{root}: no such file or folder")
    parts = [one.read(root, problems) for one in found(root)]
    if problems is not None:
        problems += [Problem(path, 1, _columns(path)) for path in _strangers(root)]
    return Recordings(
        tuple(name for part in parts for name in part.names),
        tuple(group for part in parts for group in part.groups),
        partial(_open, tuple(parts)),
    )


def found(root: Path) -> list[Any]:
    """The sets that a folder or a file holds.

    Raises:
        InputError: none.
    """
    sets = [one for one in SETS if one.is_one(root)]
    if not sets and root.is_file() and root.suffix == ".csv":
        raise InputError(f"{root}, line 1: {_columns(root)}")
    if not sets:
        looked = "".join(f"\n  {one.NAME}: {one.FILES}" for one in SETS)
        raise InputError(f"{root}: no recordings of moving agents that are known. Looked for{looked}")
    return sets


def _strangers(root: Path) -> list[Path]:
    """The tables of a folder that no set reads."""
    return [path for path in csv_files(root) if not any(one.is_one(path) for one in SETS)]


def _columns(path: Path) -> str:
    """Why a table is no tracks."""
    first = header(path)
    if not first:
        return (
            "the file is empty"
            if not path.stat().st_size
            else "its first line is no text in UTF-8: save the file as UTF-8"
        )
    if any(set(tracks_csv.COLUMNS) <= {word.strip().lower() for word in first.split(mark)} for mark in ";\t"):
        return (
            "its columns are separated by semicolons or tabs: save it with commas, and with decimal points in numbers"
        )
    return (
        f"no tracks that are known: its columns are {columns_found(first.split(','))}; tracks of your own have "
        f"{', '.join(tracks_csv.COLUMNS)} and maybe type"
    )


def _open(parts: tuple[Recordings, ...], place: int) -> Tracks:
    for part in parts:
        if place < len(part):
            return part.open(place)
        place -= len(part)
    raise IndexError(place)
