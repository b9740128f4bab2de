"""Rendered games as folders in SoccerNet's layout: features of the halves, and both files of labels."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from percepta.datasets.soccer import LABELS, REPLAY_LABELS, Action, ReplaySpan, game_time
from percepta.datasets.soccer_halves import HalfFeatures
from percepta.files import write_atomically, writing
from percepta.worlds.pitch.broadcast import Half, broadcast
from percepta.worlds.pitch.drawing import HEIGHT_PX, WIDTH_PX, draw

FPS = 2.0
FIRST = {"train": 0, "val": 1_000_000, "test": 2_000_000}  # seeds: no game is in two splits
RARE = 6.0
"""How many times more often than in SoccerNet-v2 penalties and red cards come: else too few to learn and to test."""
SHORTEST_S, LONGEST_S = 2700.0, 2940.0
Encode = Callable[[UInt8[np.ndarray, "b h w 3"]], Float32[np.ndarray, "b f"]]


def halves(seed: int, seconds: float | None = None) -> tuple[Half, Half]:
    """Both halves of a game of the world; None: as long as halves are."""
    rng = np.random.default_rng([seed, 55])
    lengths = [float(rng.integers(int(SHORTEST_S), int(LONGEST_S))) if seconds is None else seconds for _ in range(2)]
    return broadcast(seed, 1, lengths[0], rare=RARE), broadcast(seed, 2, lengths[1], rare=RARE)


def frames(
    half: Half, batch: int = 32, size: tuple[int, int] = (HEIGHT_PX, WIDTH_PX)
) -> Iterator[UInt8[np.ndarray, "b h w 3"]]:
    """Pictures of a half, two a second, in batches.

    Args:
        half: as it is broadcast.
        batch: how many at a time.
        size: height and width in pixels.
    """
    times = np.arange(0, half.match.seconds, 1 / FPS).tolist()
    for i in range(0, len(times), batch):
        yield np.stack([draw(half, t, *size) for t in times[i : i + batch]])


def encoded(half: Half, encode: Encode, size: tuple[int, int] = (HEIGHT_PX, WIDTH_PX)) -> Float32[np.ndarray, "t f"]:
    """Features of all pictures of a half.

    Args:
        half: as it is broadcast.
        encode: features of pictures.
        size: height and width in pixels.
    """
    return np.concatenate([encode(batch) for batch in frames(half, size=size)])


def half_of(seed: int, seconds: float | int, encode: Encode, size: tuple[int, int]) -> HalfFeatures:
    """The first half of a short game, with its truth.

    Args:
        seed: of the game.
        seconds: how long it is.
        encode: features of pictures.
        size: height and width of the pictures, in pixels.
    """
    played = broadcast(seed, 1, float(seconds), rare=RARE)
    shots = tuple(shot.start_s for shot in played.shots)
    return HalfFeatures(f"world {seed}", 1, FPS, tuple(actions(played, 1)), tuple(spans(played, 1)),
                        given=encoded(played, encode, size), shots_s=shots)  # fmt: skip


def stills(half: Half, moments: Sequence[tuple[float | int, str]]) -> list[tuple[Image.Image, str]]:
    """Pictures of moments of a half, for a page: (time in seconds, text) gives (picture, text)."""
    last = half.match.seconds - 1
    return [(Image.fromarray(draw(half, min(time_s, last), 256, 448)), text) for time_s, text in moments]


def actions(half: Half, number: int) -> list[Action]:
    """The labels of a half."""
    teams = {0: "home", 1: "away", -1: "not applicable"}
    return [Action(number, round(e.time_s, 3), e.label, teams[e.team], seen)
            for e, seen in zip(half.match.events, half.shown, strict=True)]  # fmt: skip


def spans(half: Half, number: int) -> list[ReplaySpan]:
    """The replays of a half with their links."""
    return [ReplaySpan(number, s.start_s, s.end_s, s.action.time_s, s.action.label)
            for s in half.replays if s.action is not None]  # fmt: skip


def record(out: Path, name: str, seed: int, encode: Encode, feature: str, *, seconds: float | None = None) -> Path:
    """Writes one game; a game that is there whole already is left as it is.

    Args:
        out: the folder of games.
        name: of the game's folder.
        seed: of the game.
        encode: features of pictures.
        feature: what they are called: files are 1_NAME.npy and 2_NAME.npy, in 16 bits.
        seconds: length of each half; None: 45 to 49 minutes.
    """
    folder = out / name
    if (folder / LABELS).is_file():  # written last
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    both = halves(seed, seconds)
    rows, changes = [], []
    for number, half in enumerate(both, 1):
        path = folder / f"{number}_{feature}.npy"
        if not path.is_file():
            features = encoded(half, encode).astype(np.float16)
            with writing(path) as file:
                np.save(file, features)
        rows += [_row(a) for a in actions(half, number)]
        changes += _changes(half, number)
    write_atomically(folder / REPLAY_LABELS[0], json.dumps({"UrlLocal": name, "annotations": changes}, indent=1))
    write_atomically(folder / LABELS, json.dumps({"UrlLocal": name, "annotations": rows}, indent=1))
    return folder


def _row(action: Action) -> dict[str, str]:
    return {
        "gameTime": game_time(action.half, action.time_s), "label": action.label,
        "position": str(round(1000 * action.time_s)), "team": action.team,
        "visibility": "visible" if action.shown else "not shown",
    }  # fmt: skip


def _changes(half: Half, number: int) -> list[dict[str, object]]:
    """The last moment of every shot, as Labels-cameras.json has them."""
    rows: list[dict[str, object]] = []
    for shot in half.shots:
        row: dict[str, object] = {
            "gameTime": game_time(number, shot.end_s), "position": str(round(1000 * shot.end_s)), "label": shot.kind,
            "change_type": "logo" if shot.first or shot.last else "abrupt",
            "replay": "replay" if shot.kind == "replay" else "real-time",
        }  # fmt: skip
        if shot.action is not None:
            time_s = shot.action.time_s
            row["link"] = {"half": str(number), "label": shot.action.label, "team": str(shot.action.team),
                           "time": f"{int(time_s) // 60:02d}:{int(time_s) % 60:02d}",
                           "visibility": "visible", "position": str(round(1000 * time_s))}  # fmt: skip
        rows.append(row)
    return rows
