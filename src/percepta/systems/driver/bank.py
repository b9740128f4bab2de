"""Drives whose frames have been seen once: what `small` learns from.

    drives.json              {labels, drives: [{name, split, duration_s, views, spans: [[class, start_s, end_s], ...]}]}
    NAME-VIEW.npz            look (n d) and thumb (n 12 16) in 16 bits

`percepta driver drives` makes one of the in-cabin world, `percepta driver features` one of a folder of AI City.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from percepta.contract import Progress
from percepta.errors import InputError
from percepta.files import write_atomically
from percepta.formats import read_json
from percepta.nn import looks
from percepta.nn.looks import Rows
from percepta.systems.driver import Config, world
from percepta.systems.driver.features import of_frames
from percepta.systems.driver.model import DriverNetwork

INDEX = "drives.json"


@dataclass(frozen=True)
class Entry:
    """A drive of a bank.

    Attributes:
        name: of the drive.
        split: "train", "val" or "test".
        duration_s: of the drive.
        views: which there are.
        spans: class, start and end in seconds.
    """

    name: str
    split: str
    duration_s: float
    views: tuple[str, ...]
    spans: tuple[tuple[int, float, float], ...]


def split_of(number: int) -> str:
    """Of eight drives six train, one is for choices, one for the test."""
    return {6: "val", 7: "test"}.get(number % 8, "train")


def write_view(root: Path, name: str, view: str, rows: Rows) -> None:
    """Keeps what was seen of a view.

    Args:
        root: the bank.
        name: of the drive.
        view: the camera.
        rows: of all frames.
    """
    rows.save(root / f"{name}-{view}.npz")


def read_view(root: Path, name: str, view: str) -> Rows:
    """What was seen of a view.

    Args:
        root: the bank.
        name: of the drive.
        view: of its camera.

    Raises:
        InputError: the file is missing.
    """
    path = root / f"{name}-{view}.npz"
    if not path.is_file():
        raise InputError(f"{path}: missing; make the bank again")
    return looks.read(path)[0]


def write_index(root: Path, labels: Sequence[str], found: Iterable[Entry]) -> Path:
    """Says which drives there are.

    Args:
        root: the bank.
        labels: names of the classes.
        found: the drives.
    """
    content = {"labels": list(labels), "drives": [asdict(one) for one in found]}
    return write_atomically(root / INDEX, json.dumps(content, indent=0) + "\n")


def is_bank(root: Path) -> bool:
    """Whether a folder is a bank."""
    return (root / INDEX).is_file()


def read_index(root: Path) -> tuple[tuple[str, ...], tuple[Entry, ...]]:
    """(names of the classes, the drives) of a bank.

    Raises:
        InputError: the index is something else.
    """
    content = read_json(root / INDEX)
    try:
        found = tuple(
            Entry(
                one["name"], one["split"], float(one["duration_s"]), tuple(one["views"]),
                tuple((int(k), float(a), float(b)) for k, a, b in one["spans"]),
            )
            for one in content["drives"]
        )  # fmt: skip
        return tuple(str(name) for name in content["labels"]), found
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{root / INDEX}: no index of a bank of drives; make the bank again") from None


def drives(
    model: DriverNetwork, root: Path, count: int, pace: float | int = 0.5, progress: Progress | None = None
) -> int:
    """Draws, sees and keeps drives of the in-cabin world; goes on where it was stopped. Returns how many there are.

    Args:
        model: has the encoder.
        root: the folder of the bank.
        count: how many drives.
        pace: multiplies all durations.
        progress: called with (views done, views in all).
    """
    root.mkdir(parents=True, exist_ok=True)
    config, found, done = model.config, [], 0
    for number in range(count):
        name = f"cabin{number:03d}"
        made = None
        for view in config.views:
            if not (root / f"{name}-{view}.npz").is_file():
                made = made or world.drive(number, pace)
                write_view(root, name, view, of_frames(model, world.frames(made, view, config.fps)))
            done += 1
            if progress is not None:
                progress(done, count * len(config.views))
        made = made or world.drive(number, pace)
        spans = tuple((x.activity, float(x.start_s), float(x.end_s)) for x in made.spans)
        found.append(Entry(name, split_of(number), len(made) / float(made.fps), config.views, spans))
    write_index(root, config.labels, found)
    return len(found)


def lengths(found: Iterable[Entry], config: Config) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(median seconds, deviation of their logarithm) of each class; what is too rare takes those of all.

    Args:
        found: drives of "train".
        config: settings.
    """
    seconds: Mapping[int, list[float]] = {k: [] for k in range(len(config.labels))}
    for one in found:
        for label, start, end in one.spans:
            seconds[label].append(end - start)
    every = np.array([x for some in seconds.values() for x in some] or [12.0])
    middle, spread = [], []
    for some in seconds.values():
        logs = np.log(np.array(some if len(some) >= 5 else every))
        middle.append(round(float(np.exp(np.median(logs))), 3))
        spread.append(round(float(max(logs.std(), 0.15)), 3))
    return tuple(middle), tuple(spread)
