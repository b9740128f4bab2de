"""Average-AP of grounding and F1 of the replays that are found, beside what trivial answers reach."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from percepta.contract import Batch, Evaluation, Loader
from percepta.datasets.soccer import ReplaySpan
from percepta.datasets.soccer_halves import HalfFeatures
from percepta.datasets.soccer_results import Grounded
from percepta.metrics import MIN_GROUPS, Metric
from percepta.metrics.spotting import TOLERANCES_S, Replay, average_ap
from percepta.report import Table
from percepta.systems.replay import Config, decode
from percepta.systems.replay.data import groups
from percepta.systems.replay.inputs import of_replay

DRAWS = 200  # of an interval
LEAST_OVERLAP = 0.5  # of a replay that counts as found


def evaluate(model: nn.Module, loader: Loader, *, examples: int = 0) -> Evaluation:
    """Average-AP loose and tight of replays with links, and F1 of the spans that are found (overlap of half or more).

    Baselines: "shot before", the start of the camera shot directly before the replay (where the cameras are labelled,
    else 10 s before it); "always 15 s before".

    Args:
        model: in eval mode.
        loader: whole halves.
        examples: above 0: a table of some replays.
    """
    rows: list[tuple[str, HalfFeatures, ReplaySpan, Replay]] = []
    found: list[tuple[str, int, int, int]] = []
    for batch in loader:
        for half in batch["halves"]:
            for replay in half.replays:
                if replay.action_s is not None:
                    times, scores = grounded(model, half, replay)
                    rows.append((half.game, half, replay, Replay(replay.action_s, np.array(times), np.array(scores))))
            if hasattr(model, "spans"):
                found.append((half.game, *counted([s[:2] for s in replays(model, half)], groups(half.replays))))
    metrics: dict[str, Metric] = {}
    names = [row[0] for row in rows]
    answers = [row[3] for row in rows]
    others = {
        "shot before": [_one(r, shot_before(half, r)) for _, half, r, _ in rows],
        "always 15 s before": [_one(r, r.start_s - 15) for _, _, r, _ in rows],
    }
    for name, tolerances in TOLERANCES_S.items():

        def number(which: Sequence[int], said: Sequence[Replay] = answers, t: Any = tolerances) -> float:
            return average_ap([said[i] for i in which], tolerances_s=t, fps=2.0)

        everything = range(len(rows))
        value = number(everything)
        low, high = _interval(number, names, value)
        baselines = {key: number(everything, said) for key, said in others.items()}
        metrics[f"average-AP {name}"] = Metric(value, low, high, len(rows), baselines=baselines)
    if found:
        table = np.array([row[1:] for row in found])

        def f1(which: Sequence[int]) -> float:
            right, said, there = table[list(which)].sum(0)
            return float(2 * right / max(1, said + there))

        value = f1(range(len(found)))
        low, high = _interval(f1, [row[0] for row in found], value)
        right, said, there = table.sum(0)
        metrics["replays found, F1"] = Metric(value, low, high, int(there), baselines={"none": 0.0})
        if said:
            metrics["replays found, precision"] = Metric(float(right / said), n=int(said))
        if there:
            metrics["replays found, recall"] = Metric(float(right / there), n=int(there))
    return Evaluation(metrics, [_table(rows[:examples])] if examples and rows else [])


def _one(replay: ReplaySpan, time_s: float | int) -> Replay:
    return Replay(replay.action_s, np.array([max(0.0, time_s)]), np.ones(1))


def _table(rows: Sequence[tuple[str, HalfFeatures, ReplaySpan, Replay]]) -> Table:
    cells = [[half.name, f"{replay.start_s:.1f}", f"{replay.action_s:.1f}",
              f"{answer.times_s[answer.scores.argmax()]:.1f}" if len(answer.times_s) else "nothing"]
             for _, half, replay, answer in rows]  # fmt: skip
    return Table(["half", "replay at (s)", "action at (s)", "said (s)"], cells)


def shot_before(half: HalfFeatures, replay: ReplaySpan) -> float:
    """The start of the camera shot directly before a replay, or before those that it follows without a break."""
    start = next((a for a, b in groups(half.replays) if a <= replay.start_s < b), replay.start_s)
    earlier = [time for time in half.shots_s if time < start - 1e-6]
    return earlier[-1] if earlier else start - 10.0


def grounded(
    model: Any, half: HalfFeatures, replay: ReplaySpan
) -> tuple[tuple[float | int, ...], tuple[float | int, ...]]:
    """Times and scores of what a replay may show, the best first.

    Args:
        model: in eval mode.
        half: its features.
        replay: start and end.
    """
    config: Config = model.config
    weight = next(model.parameters())
    sample: Batch = of_replay(half, replay, config)
    with torch.no_grad():
        out = model(*(sample[name][None].to(weight.device, weight.dtype if name != "there" else None)
                      for name in ("past", "replay", "there")))  # fmt: skip
    score, reach = out.score[0].float().sigmoid().cpu().numpy(), out.reach[0].float().cpu().numpy()
    return decode.proposals(score, reach, replay.start_s, config)


def replays(model: Any, half: HalfFeatures) -> list[tuple[float | int, float | int, float | int]]:
    """Start, end and score of the replays of a half."""
    weight = next(model.parameters())
    frames = torch.from_numpy(np.array(half.array, np.float32)).to(weight.device, weight.dtype)
    return decode.spans(model.spans(frames).cpu().numpy(), model.config)


def counted(
    said: Sequence[tuple[float | int, float | int]], there: Sequence[tuple[float | int, float | int]]
) -> tuple[int, int, int]:
    """How many spans are right (each with another one that overlaps by LEAST_OVERLAP), were said, and are there."""
    free, right = list(there), 0
    for a in said:
        best = max(free, key=lambda b: overlap(a, b), default=None)
        if best is not None and overlap(a, best) >= LEAST_OVERLAP:
            free.remove(best)
            right += 1
    return right, len(said), len(there)


def overlap(a: tuple[float | int, float | int], b: tuple[float | int, float | int]) -> float:
    """Intersection over union of two spans."""
    both = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    return both / max(1e-9, a[1] - a[0] + b[1] - b[0] - both)


def _interval(number: Any, names: Sequence[str], value: float | int) -> tuple[float | None, float | None]:
    """95 % interval, drawing whole games; None for fewer than three."""
    different = sorted(set(names))
    if len(different) < MIN_GROUPS:
        return None, None
    rng = np.random.default_rng(0)
    places = {name: [i for i, other in enumerate(names) if other == name] for name in different}
    values = [number([i for name in rng.choice(different, len(different)) for i in places[str(name)]])
              for _ in range(DRAWS)]  # fmt: skip
    low, high = np.percentile(values, [2.5, 97.5])
    return min(float(low), value), max(float(high), value)


__all__ = ["Grounded", "counted", "evaluate", "grounded", "overlap", "replays", "shot_before"]
