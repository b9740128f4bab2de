"""Argoverse 1 motion forecasting (Chang et al. 2019): one CSV a scenario, 5 s at 10 Hz, of which 2 s are observed.

Columns: TIMESTAMP, TRACK_ID, OBJECT_TYPE (AV, AGENT, OTHERS), X, Y, CITY_NAME. AGENT is the one to predict. The maps of
the two cities are files of their own in another format and are not read.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from percepta.datasets.problem import Problem
from percepta.datasets.tables import check_columns
from percepta.datasets.tracks import KINDS, Recordings, Tracks, csv_files, from_rows, header, of_files
from percepta.errors import InputError
from percepta.files import check_regular
from percepta.formats import named

NAME = "Argoverse 1"
FILES = "*.csv with TIMESTAMP, TRACK_ID, OBJECT_TYPE, X, Y, CITY_NAME"

DT_S = 0.1
OBSERVED = 20
COLUMNS = ("TIMESTAMP", "TRACK_ID", "OBJECT_TYPE", "X", "Y")


def is_one(root: Path) -> bool:
    """Whether a folder holds such scenarios, or is one of them."""
    return any(_is_file(path) for path in csv_files(Path(root))[:3])


def read(root: Path, problems: list[Problem] | None = None) -> Recordings:
    """The scenarios of a folder; each is read when it is asked for.

    Args:
        root: a folder with such files, or one of them.
        problems: not used: what is wrong with a file is raised when that is read.

    Raises:
        InputError: there are none.
    """
    paths = [path for path in csv_files(Path(root)) if _is_file(path)]
    if not paths:
        raise InputError(f"{root}: no {FILES}")
    return of_files(paths, "argoverse1", read_file)


def read_file(path: Path) -> Tracks:
    """One scenario. Agents in the order of their first rows; what drives or walks is not told apart.

    Raises:
        InputError: a column is missing, or a line holds no numbers (names it).
    """
    times, ids, where = [], [], []
    role: dict[str, str] = {}
    with check_regular(path).open() as file:
        rows = csv.DictReader(file)
        check_columns(path, rows.fieldnames, ("TIMESTAMP", "TRACK_ID", "OBJECT_TYPE", "X", "Y"))
        for number, row in enumerate(rows, 2):
            try:
                times.append(float(row["TIMESTAMP"]))
                where.append((float(row["X"]), float(row["Y"])))
                ids.append(row["TRACK_ID"])
                role[row["TRACK_ID"]] = row["OBJECT_TYPE"]
            except (KeyError, ValueError, TypeError) as error:
                raise InputError(f"{path}, line {number}: not a row of {NAME} ({error})") from None
    if not ids:
        raise InputError(f"{path}: no rows")
    steps = np.round((np.array(times) - min(times)) / DT_S).astype(np.int64)
    with named(path):
        agents, position, heading = from_rows(ids, steps, np.array(where))
    kinds = np.full(len(agents), KINDS.index("vehicle"))
    last = min(OBSERVED, position.shape[1]) - 1
    size = np.full((len(agents), 2), np.nan)
    focal = tuple(agent for agent in agents if role[agent] == "AGENT")
    return Tracks(path.stem, "argoverse1", DT_S, agents, kinds, position, heading, size, last=last, focal=focal)


def _is_file(path: Path) -> bool:
    return set(COLUMNS) <= set(header(path).split(","))


READS = {Tracks: read}
