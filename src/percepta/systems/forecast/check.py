"""Looks through recordings of moving agents before training: what is there, what is wrong, what looks odd."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Shaped
from PIL import Image

from percepta.contract import Progress
from percepta.datasets import traffic
from percepta.datasets.findings import PictureFindings
from percepta.datasets.problem import Problem, noting
from percepta.datasets.tracks import KINDS, VEHICLES, Tracks, known, velocity
from percepta.errors import InputError
from percepta.systems.forecast import PRESETS
from percepta.systems.forecast.data import FOLDS, HELD_OUT, data
from percepta.systems.forecast.drawing import Scene

FASTEST = {"vehicle": 70.0, "pedestrian": 12.0, "other": 70.0}  # m/s: faster is no movement but a jump
JUMP_M = 2.0  # shorter ones are noise of annotations
USUAL = {"vehicle": 40.0, "pedestrian": 4.0}  # m/s: a median above says that lengths are no metres; others: any
LOST_S = 1.0  # an agent that is missing for longer may be another one when it comes back
SHORTEST_S = 5.0  # the shortest window of the preset small
STILL_M = 0.5  # of a recording in which something is to be predicted
SLOWEST_S = 10.0  # no camera and no scanner is slower
FAR_M = 100.0  # a map that nobody comes closer to is the map of another place
KEYFRAMES = range(2, 11)  # steps between annotations that are looked for


class Report(PictureFindings):
    """What `check` found. Its examples are recordings from above."""

    shown = "recording"


def check(root: Path | str, *, examples: int = 8, progress: Progress | None = None) -> Report:
    """Reads every recording once.

    Args:
        root: a folder or a file with recordings.
        examples: how many the contact sheet will show.
        progress: called with (recordings done, recordings in all).

    Raises:
        MissingFileError, InputError: no such path, or nothing that is known. What is wrong inside is in the findings.
    """
    root = Path(root)
    problems: list[Problem] = []
    warnings: list[Problem] = []
    recordings = traffic.read(root, problems)
    layout = ", ".join(one.NAME for one in traffic.found(root))
    counts: Counter[str] = Counter()
    shown: list[tuple[Image.Image, str]] = []
    wanted = set(np.linspace(0, len(recordings) - 1, min(examples, len(recordings))).astype(int).tolist())
    for i, (name, group) in enumerate(zip(recordings.names, recordings.groups, strict=True)):
        with noting(problems, root / name):
            tracks = recordings[i]
            counts[f"recordings of {group}"] += 1
            counts["agents"] += len(tracks.ids)
            for kind, count in zip(*np.unique(tracks.kinds, return_counts=True), strict=True):
                counts[f"of these {KINDS[kind]}"] += int(count)
            counts["steps"] += tracks.steps
            counts[f"recordings with steps of {tracks.dt_s:g} s"] += 1
            counts["lanes"] += len(tracks.map.lanes)
            counts["points of maps"] += tracks.map.points
            wrong, odd = of_recording(tracks)
            place = root / name if root.is_dir() else root
            problems += [Problem(place, None, text) for text in wrong]
            warnings += [Problem(place, None, text) for text in odd]
            if i in wanted:
                shown.append(
                    (picture(tracks), f"{name}: {len(tracks.ids)} agents, {tracks.steps} steps of {tracks.dt_s:g} s")
                )
        if progress is not None:
            progress(i + 1, len(recordings))
    if not problems and len(recordings) < FOLDS:
        warnings += [Problem(root, None, text) for text in _splits(root)]
    return Report(root, layout, dict(counts), tuple(problems), tuple(warnings), tuple(shown))


def _splits(root: Path) -> list[str]:
    """What the preset small would lack in few recordings, whose ends it holds out."""
    out = []
    for split, use in (("train", "train on"), ("val", "evaluate on")):
        try:
            data(PRESETS["small"], split, root)
        except InputError:
            out.append(
                f"too short to {use}: of fewer than {FOLDS} recordings the last {HELD_OUT:.0%} of each is held out, "
                f"and both parts need windows of {SHORTEST_S:g} s (the preset small); record for longer, shorten "
                "--windows, or hold out nothing with --fold -1"
            )
    return out


def of_recording(tracks: Tracks) -> tuple[list[str], list[str]]:
    """(what is wrong with a recording, what looks odd)."""
    wrong, odd = [], []
    seen = known(tracks.position)
    if not seen.sum() or (seen.sum(1) < 2).all():
        return [f"no agent is seen at two steps of its {tracks.steps}"], []
    speed = np.linalg.norm(velocity(tracks.position, tracks.dt_s), axis=-1)
    kinds = _kinds(tracks)
    for kind in FASTEST:
        rows = kinds == kind
        moving = speed[rows][np.nan_to_num(speed[rows]) > 0.2]
        if moving.size and np.median(moving) > USUAL.get(kind, np.inf):
            wrong.append(
                f"the median speed of a {kind} that moves is {np.median(moving):.0f} m/s: are the positions in metres, "
                "and not in pixels or degrees, and the times in seconds?"
            )
        elif moving.size:
            agent, step = np.unravel_index(np.nanargmax(np.where(rows[:, None], speed, np.nan)), speed.shape)
            if speed[agent, step] > FASTEST[kind] and speed[agent, step] * tracks.dt_s > JUMP_M:
                wrong.append(
                    f"agent {tracks.ids[agent]} jumps {speed[agent, step] * tracks.dt_s:.1f} m from step {step - 1} "
                    f"to {step} ({speed[agent, step]:.0f} m/s): was its id given to another one?"
                )
    odd += _gaps(tracks, seen)
    if tracks.dt_s >= SLOWEST_S:
        wrong.append(f"a step takes {tracks.dt_s:g} s: are the times in seconds, and not in milliseconds?")
    there = tracks.position[seen.any(1)]
    spread = np.nanmax(there, 1) - np.nanmin(there, 1)
    if spread.max() < STILL_M:
        odd.append(
            f"nobody moves farther than {spread.max():.3g} m in {(tracks.steps - 1) * tracks.dt_s:g} s: are the "
            "positions in metres, and not in degrees or kilometres?"
        )
    if far := _map_elsewhere(tracks):
        wrong.append(far)
    every = keyframe_steps(tracks.position)
    if every and tracks.keyframe_steps == 1:
        odd.append(
            f"positions are straight between every {every} steps: they seem interpolated between annotations, and "
            "steps in between show what follows (Tracks.keyframe_steps says so)"
        )
    if tracks.last is None and tracks.steps < 20:
        odd.append(f"only {tracks.steps} steps of {tracks.dt_s:g} s")
    longest = _longest(seen) * tracks.dt_s
    if tracks.last is None and longest < SHORTEST_S:
        odd.append(
            f"nobody is seen for longer than {longest:.1f} s in a row; presets train on windows of {SHORTEST_S:g} s "
            "and more: this recording is too short for them"
        )
    return wrong, odd


def _kinds(tracks: Tracks) -> Shaped[np.ndarray, " n"]:
    """Of each agent, which entry of FASTEST it has."""
    on_foot = np.where(tracks.kinds == KINDS.index("pedestrian"), "pedestrian", "other")
    return np.where(np.isin(tracks.kinds, VEHICLES), "vehicle", on_foot)


def _map_elsewhere(tracks: Tracks) -> str:
    """What is wrong where a map lies in another place than the tracks, or is not in metres; else nothing."""
    lines = [lane.centre[:, :2] for lane in tracks.map.lanes] + [*tracks.map.areas]
    if not lines:
        return ""
    points = np.concatenate(lines)
    low, high = points.min(0), points.max(0)
    if (high - low).max() < 1:
        return f"the map is {(high - low).max():.4f} m wide: is it in degrees? It has to be in the metres of the tracks"
    place = tracks.position[known(tracks.position)]
    away = np.linalg.norm(np.maximum(np.maximum(low - place, place - high), 0), axis=1).min()
    return f"the map lies {away:.0f} m away from the tracks: is it in the same metres?" if away > FAR_M else ""


def _longest(seen: Bool[np.ndarray, "n t"]) -> int:
    """Steps of the longest time that anybody is seen without a gap."""
    run = best = np.zeros(len(seen), int)
    for there in seen.T:
        run = np.where(there, run + 1, 0)
        best = np.maximum(best, run)
    return int(best.max(initial=0))


def _gaps(tracks: Tracks, seen: Bool[np.ndarray, "n t"]) -> list[str]:
    """Agents that come back after a while, near to where they were or far from there."""
    out, back, kinds = [], 0, _kinds(tracks)
    for i, there in enumerate(seen):
        steps = np.flatnonzero(there)
        gap = np.diff(steps)
        for place in np.flatnonzero(gap * tracks.dt_s > LOST_S):
            a, b = steps[place], steps[place + 1]
            away = float(np.linalg.norm(tracks.position[i, b] - tracks.position[i, a]))
            back += 1
            if away > FASTEST[kinds[i]] * (b - a) * tracks.dt_s * 0.5:
                out.append(
                    f"agent {tracks.ids[i]} is gone from step {a} to {b} and comes back {away:.0f} m away: is its id "
                    "used for two agents?"
                )
    if back:
        times = "once" if back == 1 else f"{back} times"
        out.append(f"{times} an agent is missing for more than {LOST_S:g} s and comes back")
    return out


def keyframe_steps(position: Float[np.ndarray, "n t 2"]) -> int:
    """Steps between the annotations of positions that were interpolated; 0 where they do not seem to be.

    Between two annotations an agent moves straight at one speed: second differences vanish at all steps but every n-th.
    """
    bend = np.linalg.norm(position[:, 2:] - 2 * position[:, 1:-1] + position[:, :-2], axis=-1)
    moved = np.linalg.norm(position[:, 2:] - position[:, :-2], axis=-1)
    bend = np.where(np.nan_to_num(moved) > 0.05, bend, np.nan)
    for every in KEYFRAMES:
        parts = [bend[:, offset::every][np.isfinite(bend[:, offset::every])] for offset in range(every)]
        if min(part.size for part in parts) < 20:
            continue
        means = sorted(float(part.mean()) for part in parts)
        if means[-1] > 1e-3 and means[-1] > 8 * max(means[-2], 1e-9):
            return every
    return 0


def picture(tracks: Tracks) -> Image.Image:
    """All ways of a recording from above."""
    nobody = np.zeros(0, np.int64)
    moving = known(tracks.position).sum(1) > 0
    place = tracks.position[moving]
    none = np.zeros((0, 1, 1, 2)), np.zeros((0, 1))
    return Scene(tracks.map.near(place.reshape(-1, 2), 20.0), place, nobody, *none).draw()
