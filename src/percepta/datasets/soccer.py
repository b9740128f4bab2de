"""SoccerNet-v2 (Deliège et al. 2021): broadcasts of soccer with actions, camera changes and links of replays.

Layout: LEAGUE/SEASON/GAME/ with Labels-v2.json, Labels-cameras.json or Labels-replays.json, and features of the halves,
1_NAME.npy and 2_NAME.npy (frames × channels). What people have instead is read too: one game's folder, a file of one
Labels-v2.json a line (.jsonl or .jsonl.gz), and one's own folder of halves with `labels.csv` (half, time_s, label).
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from percepta.datasets.problem import Problem, noting
from percepta.errors import InputError, MissingFileError
from percepta.files import check_regular, plain_text, read_text
from percepta.formats import field as value_of
from percepta.formats import read_json

NAME = "SoccerNet-v2"
FILES = "LEAGUE/SEASON/GAME/Labels-v2.json (or labels.csv: half, time_s, label), features 1_NAME.npy and 2_NAME.npy"
LABELS = "Labels-v2.json"
REPLAY_LABELS = ("Labels-cameras.json", "Labels-replays.json")
OWN_LABELS = "labels.csv"
CLASSES = (
    "Penalty", "Kick-off", "Goal", "Substitution", "Offside", "Shots on target", "Shots off target", "Clearance",
    "Ball out of play", "Throw-in", "Foul", "Indirect free-kick", "Direct free-kick", "Corner", "Yellow card",
    "Red card", "Yellow->red card",
)  # fmt: skip
"""In the order of the official evaluator and of published networks."""
OLD_CLASSES = ("card", "subs", "soccer")
"""The three of SoccerNet-v1: card, substitution, goal."""
RATES = {"baidu_soccer_embeddings": 1.0, "ResNET_TF2": 2.0, "ResNET_TF2_PCA512": 2.0}
"""Frames a second of features by their name; others are taken to have 2."""
ROUNDING_S = 2.0  # by which a label may lie behind the last frame of the features


@dataclass(frozen=True)
class Action:
    """One labelled action.

    Attributes:
        half: 1 or 2.
        time_s: from the start of the half.
        label: its class, such as "Corner".
        team: "home", "away" or "not applicable".
        shown: whether it can be seen in the broadcast.
    """

    half: int
    time_s: float | int
    label: str
    team: str = "not applicable"
    shown: bool = True


@dataclass(frozen=True)
class ReplaySpan:
    """One replay of the broadcast.

    Attributes:
        half: 1 or 2.
        start_s, end_s: of the replay, from the start of the half.
        action_s: when the replayed action was, in the same half; None where nobody has linked it.
        label: class of that action; "" without a link.
    """

    half: int
    start_s: float | int
    end_s: float | int
    action_s: float | int | None = None
    label: str = ""


@dataclass(frozen=True)
class Game:
    """One game.

    Attributes:
        name: as in the list of games: "england_epl/2014-2015/...", or the name of the folder.
        actions: in the order of the file.
        replays: the same; empty where there is no such file.
        features: {name: paths of the first and of the second half}; a half that is missing is None.
        file: the label file, for messages.
        has_replays: whether there is a file of replay labels.
        shots: half and start (s) of each camera shot, where the cameras are labelled.
    """

    name: str
    actions: tuple[Action, ...] = ()
    replays: tuple[ReplaySpan, ...] = ()
    features: dict[str, tuple[Path | None, Path | None]] = field(default_factory=dict)
    file: Path | None = None
    has_replays: bool = False
    shots: tuple[tuple[int, float | int], ...] = ()

    def of(self, half: int) -> tuple[Action, ...]:
        """The actions of a half."""
        return tuple(action for action in self.actions if action.half == half)


def is_one(root: Path) -> bool:
    """Whether there are label files of games, up to three folders down, or a file of them."""
    if root.is_file():
        return root.name.endswith((".jsonl", ".jsonl.gz")) and _first_line(root).startswith('{"UrlLocal"')
    return next(_folders(root), None) is not None


def _first_line(path: Path) -> str:
    try:
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
            return file.readline(200)
    except (OSError, UnicodeDecodeError, EOFError):
        return ""


def _folders(root: Path) -> Iterator[Path]:
    names = (LABELS, *REPLAY_LABELS, OWN_LABELS)
    for pattern in ("", "*", "*/*", "*/*/*"):
        for folder in [root] if not pattern else sorted(root.glob(pattern)):
            there = [name for name in names if (folder / name).is_file()]
            if there and (there != [OWN_LABELS] or any(folder.glob("[12]_*.npy"))):  # else somebody else's table
                yield folder


def read(root: Path, problems: list[Problem] | None = None) -> list[Game]:
    """The games of a folder or of a file.

    Args:
        root: the folder, or a .jsonl or .jsonl.gz file.
        problems: a list to add to; None: the first problem is raised.

    Raises:
        MissingFileError: no game is there.
        InputError: something is wrong in a file, where `problems` is None.
    """
    if root.is_file():
        return _read_lines(root, problems)
    games = []
    for folder in _folders(root):
        relative = folder.relative_to(root).as_posix()
        with noting(problems, folder):
            games.append(read_game(folder, folder.name if relative == "." else relative))
    if not games and not problems:
        raise MissingFileError(f"{root}: no {LABELS}, {' or '.join((*REPLAY_LABELS, OWN_LABELS))} up to three folders "
                               "down")  # fmt: skip
    return games


def read_game(folder: Path, name: str = "") -> Game:
    """The game of one folder.

    Raises:
        MissingFileError: there is no label file.
        InputError: a label file is wrong.
    """
    features: dict[str, list[Path | None]] = {}
    for path in sorted(folder.glob("[12]_*.npy")):
        features.setdefault(path.stem[2:], [None, None])[int(path.name[0]) - 1] = path
    game = Game(name or folder.name, features={k: (v[0], v[1]) for k, v in features.items()})
    if (folder / LABELS).is_file():
        game = replace(game, actions=parse_actions(read_json(folder / LABELS), folder / LABELS), file=folder / LABELS)
    elif (folder / OWN_LABELS).is_file():
        game = replace(game, actions=read_csv(folder / OWN_LABELS), file=folder / OWN_LABELS)
    for one in REPLAY_LABELS:
        if (folder / one).is_file():
            content = read_json(folder / one)
            spans = parse_replays(content, folder / one)
            shots = tuple(_moment(entry, str(folder / one)) for entry in content["annotations"])
            return replace(game, replays=spans, file=game.file or folder / one, has_replays=True, shots=shots)
    if game.file is None:
        raise MissingFileError(f"{folder}: none of {LABELS}, {', '.join(REPLAY_LABELS)}, {OWN_LABELS}")
    return game


def _read_lines(path: Path, problems: list[Problem] | None) -> list[Game]:
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else read_text(path)
    games = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            with noting(problems, path):
                try:
                    content = json.loads(line)
                except json.JSONDecodeError as error:
                    raise InputError(f"{path}, line {number}: not JSON ({error.msg})") from None
                name = value_of(content, "UrlLocal", str, f"{path}, line {number}")
                games.append(Game(plain_text(name), parse_actions(content, path), file=path))
    return games


# -------------------------------------------------------------------------------------------------- what stands in them


def parse_time(text: str, where: str) -> tuple[int, float | int]:
    """Half and seconds of "1 - 23:45"; minutes may have three digits.

    Raises:
        InputError: it is no such text.
    """
    found = re.fullmatch(r"\s*([12])\s*-\s*(\d{1,3}):(\d{1,2}(?:\.\d+)?)\s*", text)
    if not found:
        raise InputError(f'{where}: gameTime is like "1 - 23:45" with half 1 or 2, not {text!r}')
    return int(found[1]), 60 * int(found[2]) + float(found[3])


def game_time(half: int, time_s: float | int) -> str:
    """The text that `parse_time` reads, in whole seconds."""
    return f"{half} - {int(time_s) // 60:02d}:{int(time_s) % 60:02d}"


def _moment(entry: Any, where: str) -> tuple[int, float | int]:
    half, time_s = parse_time(value_of(entry, "gameTime", str, where), where)
    position = entry.get("position")
    if position in (None, ""):
        return half, time_s
    try:
        return half, int(position) / 1000
    except (TypeError, ValueError):
        raise InputError(f"{where}: position is milliseconds as a whole number, not {position!r}") from None


def parse_actions(content: Any, path: Path) -> tuple[Action, ...]:
    """The actions of a Labels-v2.json. Times are the milliseconds of "position", else those of "gameTime".

    Raises:
        InputError: an annotation is wrong; names it.
    """
    actions = []
    for number, entry in enumerate(value_of(content, "annotations", list, str(path))):
        where = f"{path}: annotations[{number}]"
        half, time_s = _moment(entry, where)
        visibility = value_of(entry, "visibility", str, where, "visible")
        if visibility not in ("visible", "not shown"):
            raise InputError(f'{where}: visibility is "visible" or "not shown", not {visibility!r}')
        label = value_of(entry, "label", str, where)
        team = value_of(entry, "team", str, where, "not applicable")
        actions.append(Action(half, time_s, label, team, visibility == "visible"))
    return tuple(actions)


def parse_replays(content: Any, path: Path) -> tuple[ReplaySpan, ...]:
    """The replays of a Labels-cameras.json or Labels-replays.json.

    A replay goes from the camera change before to its own annotation. A link into another half is none.

    Raises:
        InputError: an annotation is wrong; names it.
    """
    spans: list[ReplaySpan] = []
    before: tuple[int, float | int] = (0, 0.0)
    for number, entry in enumerate(value_of(content, "annotations", list, str(path))):
        where = f"{path}: annotations[{number}]"
        half, end_s = _moment(entry, where)
        start_s = before[1] if before[0] == half else 0.0
        before = half, end_s
        link = entry.get("link")
        if str(entry.get("replay", "")).lower() != "replay" and not isinstance(link, dict):
            continue
        if end_s <= start_s:
            continue  # two changes in the same moment: the official evaluator leaves these out too
        action_s, label = None, ""
        if isinstance(link, dict) and link.get("time"):
            linked_half, action_s = _moment(
                {**link, "gameTime": f"{link.get('half', half)} - {link['time']}"}, f"{where}: link"
            )
            label = str(link.get("label", ""))
            if linked_half != half:
                action_s, label = None, ""
        spans.append(ReplaySpan(half, start_s, end_s, action_s, label))
    return tuple(spans)


def read_csv(path: Path) -> tuple[Action, ...]:
    """Actions of one's own table: columns half (1 where it is missing), time_s (or "mm:ss"), label, and shown (0 or 1).

    Raises:
        InputError: a column or a value is wrong; names the line.
    """
    table = csv.DictReader(io.StringIO(read_text(path)))
    if table.fieldnames is None or not {"time_s", "label"} <= set(table.fieldnames):
        raise InputError(f"{path}, line 1: needs the columns time_s and label (and half), has {table.fieldnames}")
    actions = []
    for line, row in enumerate(table, 2):
        half, time = str(row.get("half") or "1").strip(), str(row["time_s"] or "").strip()
        try:
            time_s = sum(float(part) * 60**power for power, part in enumerate(reversed(time.split(":"))))
            if half not in ("1", "2") or not 0 <= time_s < 100_000 or not row["label"]:
                raise ValueError
        except ValueError:
            raise InputError(f"{path}, line {line}: half is 1 or 2, time_s seconds or mm:ss, label not empty; got "
                             f"{half!r}, {time!r}, {row['label']!r}") from None  # fmt: skip
        actions.append(Action(int(half), time_s, row["label"].strip(), shown=str(row.get("shown") or "1") != "0"))
    return tuple(actions)


# ------------------------------------------------------------------------------------------------------------- features


def read_features(path: Path) -> Float32[np.ndarray, "t c"]:
    """Features of one half, as they are in the file.

    Raises:
        MissingFileError: there is no such file.
        InputError: it is cut off, no array of numbers, or not frames × channels.
    """
    check_regular(path)
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise InputError(f"{path}: not an array of features, or cut off ({error})") from None
    if array.ndim != 2 or array.dtype.kind != "f" or not array.size:
        raise InputError(f"{path}: features are frames × channels of floats, not {array.dtype} {array.shape}")
    return np.asarray(array, np.float32)


def rate_of(name: str) -> float:
    """Frames a second of features by their name."""
    return RATES.get(name, 2.0)


READS = {Game: read}
