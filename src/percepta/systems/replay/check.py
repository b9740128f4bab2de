"""What `percepta data replay check DIR` says."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

from percepta.contract import Progress
from percepta.datasets.findings import PictureFindings
from percepta.datasets.problem import Problem, noting
from percepta.datasets.soccer import NAME, read, read_features
from percepta.datasets.soccer_results import Grounded
from percepta.systems.replay.predict import Result

LONGEST_S = 60.0  # of a replay


class Report(PictureFindings):
    """Findings about games.

    Attributes:
        shown: what an example is.
    """

    shown: ClassVar[str] = "game with replays"


def check(root: Path | str, *, examples: int = 12, progress: Progress | None = None) -> Report:
    """Looks through games before training.

    Args:
        root: a folder in SoccerNet's layout.
        examples: how many lines of time the contact sheet shows.
        progress: called with (games done, games in all).

    Raises:
        MissingFileError, InputError: no such path, or no game. What is wrong inside is in the findings.
    """
    root = Path(root)
    problems: list[Problem] = []
    warnings: list[Problem] = []
    games = read(root, problems)
    counts = {"games": len(games), "games with replay labels": 0, "replays": 0, "linked": 0}
    shown: list[tuple[Image.Image, str]] = []
    for i, game in enumerate(games):
        counts["games with replay labels"] += game.has_replays
        counts["replays"] += len(game.replays)
        counts["linked"] += sum(replay.action_s is not None for replay in game.replays)
        place = game.file or root
        for replay in game.replays:
            if replay.action_s is not None and replay.action_s > replay.start_s:
                problems.append(Problem(place, None, f"the replay at {replay.start_s:.1f} s of half {replay.half} is "
                                        f"linked to {replay.action_s:.1f} s, which is later"))  # fmt: skip
            elif replay.end_s - replay.start_s > LONGEST_S:
                warnings.append(Problem(place, None, f"a replay of {replay.end_s - replay.start_s:.0f} s at "
                                        f"{replay.start_s:.1f} s of half {replay.half}"))  # fmt: skip
        for pair in game.features.values():
            for path in pair:
                if path is not None:
                    with noting(problems, path):
                        read_features(path)
        if len(shown) < examples and game.replays:
            rows = [r for r in game.replays if r.half == game.replays[0].half]
            links = [(() if r.action_s is None else (r.action_s,)) for r in rows]
            found = tuple(Grounded(r.half, r.start_s, r.end_s, t, tuple(np.ones(len(t)).tolist()))
                          for r, t in zip(rows, links, strict=True))  # fmt: skip
            shown.append((Result(found, rows[-1].end_s + 1).draw(), game.name))
        if progress is not None:
            progress(i + 1, len(games))
    if counts["replays"] and not counts["linked"]:
        warnings.append(Problem(root, None, "no replay is linked to its action: nothing can be trained or scored"))
    return Report(root, NAME, counts, tuple(problems), tuple(warnings), tuple(shown))
