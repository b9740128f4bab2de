"""How far trajectories are from the truth, for each set of sensors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from percepta.contract import Block, Evaluation, Loader
from percepta.datasets.capture import Capture
from percepta.errors import InputError
from percepta.media.source import answers
from percepta.metrics import Metric, interval, trajectory
from percepta.metrics.trajectory import Trajectory
from percepta.report import Gallery, Heading, Table
from percepta.systems.slam.data import Sample
from percepta.systems.slam.model import PlaceNet
from percepta.systems.slam.predict import Slam, Walk


@dataclass(frozen=True)
class Score:
    """What one sequence gave.

    Attributes:
        name: of the sequence.
        mode: its sensors.
        ate_m: RMSE of the scored camera's centres after alignment, over the frames that were tracked.
        rpe_m: RMSE of motions over ten frames.
        still_m: the same as `ate_m` for a camera that is said to stand still.
        tracked: share of the frames.
        scale: true lengths by those of the walk, after alignment over Sim(3); 1 is right where lengths are metres.
        walk: the whole answer.
    """

    name: str
    mode: str
    ate_m: float
    rpe_m: float
    still_m: float
    tracked: float
    scale: float
    walk: Walk


def score(walk: Walk, capture: Capture, mode: str = "") -> Score:
    """The errors of a walk against the truth of its capture; over Sim(3) where lengths are no metres.

    Args:
        walk: what is scored.
        capture: with the truth.
        mode: the sensors, for the table.

    Raises:
        InputError: the capture has no truth.
    """
    if capture.truth is None:
        raise InputError(f"{capture.name}: there is no truth to score against")
    truth = capture.truth
    still = float(np.sqrt(((truth.centres - truth.centres.mean(0)) ** 2).sum(1).mean()))
    share = len(walk.frames) / max(1, len(walk.states))
    mine = Trajectory(walk.trajectory.time_s, walk.trajectory.world_from_camera @ capture.camera_from_scored)
    try:
        errors, alignment = trajectory.absolute(mine, truth, with_scale=not walk.metric, max_difference_s=0.01)
        shift, _ = trajectory.relative(mine, truth, frames=10, scale=alignment.scale, max_difference_s=0.01)
        free = trajectory.absolute(mine, truth, with_scale=True, max_difference_s=0.01)[1]
    except InputError:  # nothing was tracked, or it stood still
        return Score(capture.name, mode, still, float("nan"), still, share, 1.0, walk)
    return Score(capture.name, mode, errors.rmse, shift.rmse, still, share, free.scale, walk)


def evaluate(model: PlaceNet, loader: Loader, *, examples: int = 0) -> Evaluation:
    """ATE, RPE over ten frames and the share of tracked frames, each for every set of sensors.

    Beside ATE: what a camera would reach that is said to stand still. Intervals: bootstrap over sequences.

    Args:
        model: the settings, and what sees places again.
        loader: batches of `data.Sequences`.
        examples: how many plans to show; 0 makes no blocks.
    """
    system = Slam(model.config, model, "", _nothing, answers)
    found: list[Score] = []
    plans: list[tuple[Walk, str]] = []
    for batch in loader:
        for sample in batch["sequence"]:
            assert isinstance(sample, Sample)
            capture = sample.capture()
            session = system.session_of(capture)
            for shot in capture:
                session.step(shot.frame, shot.time_s, shot.depth_m, shot.right, shot.imu)
            one = score(session.walk(), capture, sample.mode)
            found.append(one)
            if len(plans) < examples:
                plans.append((one.walk, f"{sample.name}: ATE {one.ate_m:.3f} m, {one.tracked:.0%} tracked"))
    metrics: dict[str, Metric] = {}
    for mode in dict.fromkeys(one.mode for one in found):
        mine = [one for one in found if one.mode == mode]
        for name, values, unit in (
            ("ATE", [one.ate_m for one in mine], "m"),
            ("RPE of 10 frames", [one.rpe_m for one in mine if np.isfinite(one.rpe_m)], "m"),
            ("tracked", [one.tracked for one in mine], ""),
        ):
            if values:
                baselines = {"stands still": float(np.mean([one.still_m for one in mine]))} if name == "ATE" else {}
                low, high = interval(values)
                metrics[f"{name}, {mode}"] = Metric(float(np.mean(values)), low, high, len(values), unit, baselines)
    blocks: list[Block] = []
    if plans:
        rows = [[one.name, one.mode, f"{one.ate_m:.4f}", f"{one.tracked:.0%}", one.walk.keyframes] for one in found]
        blocks = [
            Heading("Plans"),
            Gallery(plans),
            Table(["sequence", "sensors", "ATE, m", "tracked", "keyframes"], rows),
        ]
    return Evaluation(metrics, blocks)


def _nothing(*_: object, **__: object) -> Evaluation:
    raise InputError("a system inside its own evaluation has none")
