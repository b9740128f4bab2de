"""Errors of trajectories, against their laws and against evo where it is installed."""

from __future__ import annotations

import numpy as np
import pytest

from percepta.errors import InputError
from percepta.geometry import pose as poses
from percepta.metrics import trajectory as tr


def walk(seed: int, n: int = 60) -> tr.Trajectory:
    rng = np.random.default_rng(seed)
    steps = rng.normal(0, 0.1, (n, 3))
    turns = poses.from_vector(np.cumsum(rng.normal(0, 0.1, (n, 3)), 0))
    return tr.trajectory(np.arange(n) / 30, poses.compose(turns, np.cumsum(steps, 0)))


def disturbed(given: tr.Trajectory, seed: int, size: float = 0.05) -> tr.Trajectory:
    rng = np.random.default_rng(seed)
    noise = poses.compose(poses.from_vector(rng.normal(0, size, (len(given), 3))), rng.normal(0, size, (len(given), 3)))
    return tr.trajectory(given.time_s, given.world_from_camera @ noise)


@pytest.mark.parametrize("with_scale", [False, True])
def test_alignment_recovers_a_motion(with_scale: bool):
    rng = np.random.default_rng(3)
    source, rotation = rng.normal(size=(20, 3)), poses.random_rotation(rng)
    scale = 2.5 if with_scale else 1.0
    target = scale * source @ rotation.T + (1, 2, 3)
    found = tr.umeyama(source, target, with_scale=with_scale)
    np.testing.assert_allclose(found.rotation, rotation, atol=1e-12)
    np.testing.assert_allclose(found.translation, (1, 2, 3), atol=1e-12)
    assert found.scale == pytest.approx(scale, abs=1e-12)


def test_alignment_never_mirrors():
    rng = np.random.default_rng(0)
    source = rng.normal(size=(20, 3))
    assert np.linalg.det(tr.umeyama(source, source * (1, 1, -1)).rotation) == pytest.approx(1)


def test_error_is_free_of_the_frame_of_reference():
    truth = walk(0)
    moved = tr.trajectory(truth.time_s, poses.compose(poses.random_rotation(np.random.default_rng(1)), np.ones(3)) @
                          truth.world_from_camera)  # fmt: skip
    errors, _ = tr.absolute(moved, truth)
    assert errors.max < 1e-12
    assert all(e.max < 1e-5 for e in tr.relative(moved, truth, frames=5))


@pytest.mark.parametrize("with_scale", [False, True])
def test_equals_evo(with_scale: bool):
    pytest.importorskip("evo")
    from evo.core import metrics, sync
    from evo.core.trajectory import PoseTrajectory3D

    truth = walk(5)
    estimate = disturbed(truth, 6).pick(np.arange(3, 55, 2))
    theirs = [PoseTrajectory3D(poses_se3=list(t.world_from_camera), timestamps=t.time_s) for t in (truth, estimate)]
    true, mine = sync.associate_trajectories(*theirs, max_diff=0.02)
    for frames in (1, 4):
        for part, relation in zip(
            tr.relative(estimate, truth, frames=frames),
            (metrics.PoseRelation.translation_part, metrics.PoseRelation.rotation_angle_deg),
            strict=True,
        ):
            rpe = metrics.RPE(relation, delta=frames, delta_unit=metrics.Unit.frames)
            rpe.process_data((true, mine))
            np.testing.assert_allclose(part.values, rpe.error, atol=1e-6 if relation.name.startswith("rot") else 1e-9)
            assert part.rmse == pytest.approx(rpe.get_statistic(metrics.StatisticsType.rmse), abs=1e-9)
    mine.align(true, correct_scale=with_scale)
    ape = metrics.APE(metrics.PoseRelation.translation_part)
    ape.process_data((true, mine))
    errors, _ = tr.absolute(estimate, truth, with_scale=with_scale)
    np.testing.assert_allclose(errors.values, ape.error, atol=1e-9)
    assert errors.rmse == pytest.approx(ape.get_statistic(metrics.StatisticsType.rmse), abs=1e-9)


@pytest.mark.parametrize("form", tr.FORMATS)
def test_files_go_round(form: str, tmp_path):
    truth = walk(2)
    path = tr.write(tmp_path / ("a.csv" if form == "euroc" else "a.txt"), truth, form)
    again = tr.read(path)
    np.testing.assert_allclose(again.world_from_camera, truth.world_from_camera, atol=1e-7)
    if form != "kitti":
        np.testing.assert_allclose(again.time_s, truth.time_s, atol=1e-6)


def test_rotations_are_projected():
    rotation = poses.random_rotation(np.random.default_rng(0))
    near = tr.project_rotations(0.99975 * rotation[None])
    np.testing.assert_allclose(near[0], rotation, atol=1e-12)


def test_mistakes_are_named(tmp_path):
    truth = walk(0)
    with pytest.raises(InputError, match="backwards"):
        tr.Trajectory(truth.time_s[::-1].copy(), truth.world_from_camera)
    with pytest.raises(InputError, match="no two poses"):
        tr.absolute(tr.Trajectory(truth.time_s + 100, truth.world_from_camera), truth)
    line = tr.trajectory(np.arange(5), poses.compose(np.tile(np.eye(3), (5, 1, 1)), np.arange(5)[:, None] * np.ones(3)))
    with pytest.raises(InputError, match="one line"):
        tr.absolute(line, line)
    (tmp_path / "bad.txt").write_text("1 2 3\n1 2 x\n")
    with pytest.raises(InputError, match="line 2"):
        tr.read(tmp_path / "bad.txt")


def test_recall_counts_frames_that_were_not_tracked():
    assert tr.recall(tr.Errors(np.array([0.01, 0.03, 0.2]), "m"), 4, 0.05) == 0.5
