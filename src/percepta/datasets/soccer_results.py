"""Predictions as SoccerNet's server takes them: a folder or a zip of GAME/results_spotting.json, and for replays
GAME/Detection-replays.json (called results_grounding.json in its documents; both are read)."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from percepta.datasets.soccer import OLD_CLASSES, Game, ReplaySpan, game_time
from percepta.errors import InputError, MissingFileError
from percepta.files import plain_text, write_atomically
from percepta.formats import field, parse_json, read_json
from percepta.metrics.spotting import OFFICIAL, Grounding, Moments, Replay

SPOTTING = "results_spotting.json"
GROUNDING = ("Detection-replays.json", "results_grounding.json")


@dataclass(frozen=True)
class Spot:
    """A predicted action: half (1 or 2), seconds from its start, class, confidence 0..1."""

    half: int
    time_s: float | int
    label: str
    score: float | int


@dataclass(frozen=True)
class Grounded:
    """A replay with proposals for its action: half, span in seconds, times and confidences of the proposals."""

    half: int
    start_s: float | int
    end_s: float | int
    times_s: tuple[float | int, ...]
    scores: tuple[float | int, ...]


def _files(root: Path, names: Sequence[str]) -> Iterator[tuple[str, str, Any]]:
    """(game, where, content) of each file of a name, in a folder, a zip, or the file itself."""
    if not root.exists():
        raise MissingFileError(f"{root}: no such file or folder")
    if zipfile.is_zipfile(root):
        with zipfile.ZipFile(root) as archive:
            for name in archive.namelist():
                if name.rsplit("/", 1)[-1] in names:
                    try:
                        text = archive.read(name).decode()
                    except (zipfile.BadZipFile, UnicodeDecodeError, OSError) as error:
                        raise InputError(f"{root}: {name} cannot be read ({error})") from None
                    yield plain_text(name.rpartition("/")[0]), f"{root}: {name}", parse_json(text, f"{root}: {name}")
    elif root.is_file():
        yield root.parent.name, str(root), read_json(root)
    else:
        for path in sorted(p for name in names for p in root.rglob(name)):
            yield plain_text(path.parent.relative_to(root).as_posix()), str(path), read_json(path)


def _number(entry: Any, key: str, where: str) -> float:
    """A number that may be written as a text, as the official files do."""
    try:
        value = float(entry[key])
        if not np.isfinite(value):
            raise ValueError
        return value
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{where}: {key!r} has to be a number") from None


def read(root: Path | str) -> dict[str, list[Spot]]:
    """Spots by game.

    Args:
        root: a folder or zip with GAME/results_spotting.json, or one such file.

    Raises:
        MissingFileError, InputError: nothing there, or something wrong; names the file and the entry.
    """
    found: dict[str, list[Spot]] = {}
    for game, where, content in _files(Path(root), [SPOTTING]):
        name = plain_text(str(content.get("UrlLocal") or game)) if isinstance(content, dict) else game
        found[name.strip("/")] = [
            _spot(entry, f"{where}: predictions[{i}]")
            for i, entry in enumerate(field(content, "predictions", list, where))
        ]
    if not found:
        raise InputError(f"{root}: no results: a folder or zip with GAME/{SPOTTING} is needed")
    return found


def _spot(entry: Any, where: str) -> Spot:
    half = int(_number(entry, "half", where))
    if half not in (1, 2):
        raise InputError(f"{where}: half is 1 or 2, not {half}")
    score = _number(entry, "confidence", where)
    return Spot(half, _number(entry, "position", where) / 1000, field(entry, "label", str, where), score)


def write(out: Path | str, games: Mapping[str, Sequence[Spot]]) -> Path:
    """Writes results; a path that ends in .zip becomes the archive that the server takes, any other a folder.

    Raises:
        InputError: the name of a game would leave the folder.
    """
    texts = {}
    for game, spots in games.items():
        rows = [
            {"gameTime": game_time(s.half, s.time_s), "label": s.label, "position": str(round(1000 * s.time_s)),
             "half": str(s.half), "confidence": str(s.score)}
            for s in spots
        ]  # fmt: skip
        texts[f"{_safe(game)}/{SPOTTING}"] = json.dumps({"UrlLocal": game, "predictions": rows}, indent=1)
    return _write(Path(out), texts)


def read_groundings(root: Path | str) -> dict[str, list[Grounded]]:
    """Grounded replays by game; arguments and errors as `read`."""
    found: dict[str, list[Grounded]] = {}
    for game, where, content in _files(Path(root), GROUNDING):
        rows = []
        for i, entry in enumerate(field(content, "Replays", list, where)):
            at = f"{where}: Replays[{i}]"
            proposals = field(entry, "detection", list, at)
            rows.append(
                Grounded(
                    int(_number(entry, "half", at)),
                    _number(entry, "start", at),
                    _number(entry, "end", at),
                    tuple(_number(one, "time", at) for one in proposals),
                    tuple(_number(one, "score", at) for one in proposals),
                )
            )
        found[game] = rows
    if not found:
        raise InputError(f"{root}: no results: a folder or zip with GAME/{GROUNDING[0]} is needed")
    return found


def write_groundings(
    out: Path | str,
    games: Mapping[str, tuple[Sequence[Grounded], tuple[float | int, float | int]]],
    name: str = GROUNDING[0],
) -> Path:
    """Writes grounded replays as `write` does.

    Args:
        out: a folder, or a .zip.
        games: for each game its replays, and the lengths of its halves in seconds.
        name: of the files.
    """
    texts = {}
    for game, (rows, lengths) in games.items():
        replays = [
            {"half": r.half, "start": r.start_s, "end": r.end_s,
             "detection": [{"time": t, "score": s} for t, s in zip(r.times_s, r.scores, strict=True)]}
            for r in rows
        ]  # fmt: skip
        content = {"Game:": game, "half1_time": lengths[0], "half2_time": lengths[1], "Replays": replays}
        texts[f"{_safe(game)}/{name}"] = json.dumps(content, indent=1)
    return _write(Path(out), texts)


def _safe(game: str) -> str:
    if game.startswith("/") or ".." in game.split("/") or "\\" in game or not game:
        raise InputError(f"{game!r} is no name of a game: it would be written outside of the folder")
    return game


def _write(out: Path, texts: Mapping[str, str]) -> Path:
    if out.suffix == ".zip":
        memory = io.BytesIO()
        with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in texts.items():
                archive.writestr(zipfile.ZipInfo(name), text)
        return write_atomically(out, memory.getvalue())
    for name, text in texts.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out / name, text)
    return out


def paired(
    games: Sequence[Game], found: Mapping[str, Sequence[Spot]], classes: Sequence[str]
) -> tuple[list[Moments], list[Moments]]:
    """Actions and predictions of both halves of each game, for `metrics.spotting.average_map`.

    Args:
        games: with labels.
        found: spots by the names of the games; a game without any has no predictions.
        classes: in their order; labels and spots of others are left out.

    Raises:
        InputError: the predictions have the classes of SoccerNet-v1, and the labels do not.
    """
    number = {name: i for i, name in enumerate(classes)}
    said = {spot.label for spots in found.values() for spot in spots}
    if said and not said & set(number):
        old = " (the three classes of SoccerNet-v1)" if said <= set(OLD_CLASSES) else ""
        raise InputError(f"none of the predicted classes {sorted(said)[:5]}{old} is among those of the labels")
    actions, predictions = [], []
    for game in games:
        spots = [s for s in found.get(game.name, ()) if s.label in number]
        for half in (1, 2):
            here = [a for a in game.of(half) if a.label in number]
            mine = [s for s in spots if s.half == half]
            actions.append(Moments(np.array([a.time_s for a in here]), np.array([number[a.label] for a in here], int),
                                   np.array([1.0 if a.shown else -1.0 for a in here])))  # fmt: skip
            predictions.append(Moments(np.array([s.time_s for s in mine]),
                                       np.array([number[s.label] for s in mine], int),
                                       np.array([s.score for s in mine])))  # fmt: skip
    return actions, predictions


def paired_replays(
    spans: Sequence[ReplaySpan], found: Sequence[Grounded], rules: Grounding | None = None
) -> list[Replay]:
    """Labelled replays with the proposals for them, of one game.

    Args:
        spans: labels.
        found: predictions; each takes part once.
        rules: `OFFICIAL` wants the same end in whole seconds and drops replays without a partner; else the prediction
            that overlaps most is taken, and a replay without one has no proposals.
    """
    free, rows = list(found), []
    official = rules is not None and rules.match_ends
    for span in spans:
        if official:
            partners = [g for g in free if g.half == span.half and int(g.end_s) == int(span.end_s)]
        else:
            partners = [g for g in free if g.half == span.half
                        and min(g.end_s, span.end_s) > max(g.start_s, span.start_s)]  # fmt: skip
        best = max(partners, key=lambda g: min(g.end_s, span.end_s) - max(g.start_s, span.start_s), default=None)
        if best is not None:
            free.remove(best)
            rows.append(Replay(span.action_s, np.array(best.times_s), np.array(best.scores)))
        elif not official:
            rows.append(Replay(span.action_s, np.zeros(0), np.zeros(0)))
    return rows


__all__ = ["GROUNDING", "OFFICIAL", "SPOTTING", "Grounded", "Spot", "paired", "paired_replays", "read",
           "read_groundings", "write", "write_groundings"]  # fmt: skip
