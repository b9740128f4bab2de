"""What `percepta data spotting check DIR` says."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

from percepta.contract import Progress
from percepta.datasets.findings import PictureFindings
from percepta.datasets.problem import Problem, noting
from percepta.datasets.soccer import CLASSES, NAME, Game, rate_of, read, read_features
from percepta.datasets.soccer_halves import HalfFeatures
from percepta.datasets.soccer_halves import check as check_half
from percepta.datasets.soccer_results import Spot
from percepta.systems.spotting.predict import Result

FEW = 5  # labels of a class


class Report(PictureFindings):
    """Findings about games.

    Attributes:
        shown: what an example is.
    """

    shown: ClassVar[str] = "game with labels"


def check(root: Path | str, *, examples: int = 12, progress: Progress | None = None) -> Report:
    """Looks through games before training.

    Args:
        root: a folder in SoccerNet's layout, or a .jsonl file of labels.
        examples: how many lines of time the contact sheet shows.
        progress: called with (games done, games in all).

    Raises:
        MissingFileError, InputError: no such path, or no game. What is wrong inside is in the findings.
    """
    root = Path(root)
    problems: list[Problem] = []
    warnings: list[Problem] = []
    games = read(root, problems)
    counts: Counter[str] = Counter({"games": len(games)})
    labels: Counter[str] = Counter()
    shown: list[tuple[Image.Image, str]] = []
    wanted = set(np.linspace(0, len(games) - 1, min(examples, len(games))).astype(int).tolist()) if games else set()
    for i, game in enumerate(games):
        counts["actions"] += len(game.actions)
        counts["of these not shown"] += sum(not action.shown for action in game.actions)
        counts["replays"] += len(game.replays)
        counts["of these linked"] += sum(replay.action_s is not None for replay in game.replays)
        labels.update(action.label for action in game.actions)
        _features(game, counts, problems, warnings)
        if i in wanted and game.actions:
            shown.append((_line(game), game.name))
        if progress is not None:
            progress(i + 1, len(games))
    odd = sorted(set(labels) - set(CLASSES))
    place = games[0].file if games and games[0].file else root
    if odd:
        warnings.append(Problem(place, None, f"labels that are none of SoccerNet's 17: {', '.join(odd[:5])}"))
    for label, count in sorted(labels.items()):
        if count < FEW:
            warnings.append(Problem(place, None, f"only {count} of {label!r} in all games: too few to learn"))
    return Report(root, NAME, dict(counts), tuple(problems), tuple(warnings), tuple(shown))


def _features(game: Game, counts: Counter[str], problems: list[Problem], warnings: list[Problem]) -> None:
    for name, pair in game.features.items():
        counts[f"halves with {name}"] += sum(path is not None for path in pair)
        lengths = []
        for half, path in enumerate(pair, 1):
            if path is None:
                warnings.append(Problem(game.file or Path(game.name), None, f"half {half} has no {name}"))
                continue
            with noting(problems, path):
                array = read_features(path)
                if not np.isfinite(array[:: max(1, len(array) // 50)]).all():
                    problems.append(Problem(path, None, "has numbers that are none (NaN or infinite)"))
                lengths.append(len(array) / rate_of(name))
                check_half(HalfFeatures(game.name, half, rate_of(name), game.of(half), (), path, array))
                if not 2400 <= lengths[-1] <= 7800:
                    warnings.append(Problem(path, None, f"{lengths[-1] / 60:.0f} minutes are an odd length for a half"))
        if len(lengths) == 2 and _exchanged(game, lengths):
            warnings.append(Problem(game.file or Path(game.name), None, f"the halves of {name} may be exchanged: the "
                                    "labels of each fit the other one better"))  # fmt: skip


def _exchanged(game: Game, lengths: list[float]) -> bool:
    last = [max((a.time_s for a in game.of(half)), default=0.0) for half in (1, 2)]
    fits = all(last[i] <= lengths[i] + 2 for i in range(2))
    return not fits and all(last[i] <= lengths[1 - i] + 2 for i in range(2))


def _line(game: Game) -> Image.Image:
    spots = tuple(Spot(a.half, a.time_s, a.label, 1.0) for a in game.of(1))
    seconds = max((a.time_s for a in game.of(1)), default=1.0) + 1
    return Result(spots, seconds, tuple(sorted({s.label for s in spots}))).draw()
