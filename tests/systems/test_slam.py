"""SLAM: its equations against finite differences and scipy, and whole runs in a room whose poses are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import least_squares

from percepta.datasets.capture import RightCamera
from percepta.errors import InputError
from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics
from percepta.geometry.lens import Lens
from percepta.metrics import trajectory
from percepta.systems.slam import PRESETS
from percepta.systems.slam.adjust import Link, Problem, adjust
from percepta.systems.slam.posegraph import Similarities, optimise
from percepta.systems.slam.reprojection import fit_pose, moved, reproject
from percepta.systems.slam.solver import Job, Solver, solve
from percepta.systems.slam.surface import normal_equations, surface_of
from percepta.systems.slam.twoview import bearing, pixels, triangulate
from percepta.systems.slam.wholemap import adjust_whole
from percepta.systems.slam.world import room, round_trip

CAMERA = Intrinsics(260.0, 260.0, 159.5, 119.5, 320, 240)


def near(rng: np.random.Generator, size: float = 0.1) -> np.ndarray:
    return poses.compose(poses.from_vector(rng.normal(0, size, 3)), rng.normal(0, size, 3))


def cloud(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.uniform((-1.5, -1, 2), (1.5, 1, 5), (n, 3))


def test_jacobians_equal_finite_differences():
    rng = np.random.default_rng(0)
    xyz, pose = cloud(rng, 12), near(rng)
    uv, depth = rng.uniform(0, 300, (12, 2)), np.where(np.arange(12) % 3, 0.3, np.nan)

    def at(pose: np.ndarray, xyz: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return reproject(CAMERA, pose[:3, :3], pose[:3, 3], xyz, uv, depth, 0.01)

    _, by_pose, by_point = at(pose, xyz)
    for k in range(6):
        step = 1e-6 * np.eye(6)[k]
        numeric = (at(moved(pose, step), xyz)[0] - at(moved(pose, -step), xyz)[0]) / 2e-6
        np.testing.assert_allclose(by_pose[:, :, k], numeric, rtol=1e-5, atol=1e-4)
    for k in range(3):
        step = 1e-6 * np.eye(3)[k]
        numeric = (at(pose, xyz + step)[0] - at(pose, xyz - step)[0]) / 2e-6
        np.testing.assert_allclose(by_point[:, :, k], numeric, rtol=1e-5, atol=1e-4)


def test_rotations_stay_rotations():
    rng = np.random.default_rng(0)
    pose = np.eye(4)
    for _ in range(2000):
        pose = moved(pose, rng.normal(0, 0.1, 6))
        pose = pose @ poses.inverse(pose) @ pose  # what a motion model does: doubles what a rotation is off
    np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-12)


def test_pose_is_found_with_outliers():
    rng = np.random.default_rng(1)
    xyz, pose = cloud(rng, 80), near(rng)
    uv = pixels(CAMERA, poses.transform(pose, xyz))
    uv[:15] += rng.uniform(20, 60, (15, 2))
    found, inlier = fit_pose(CAMERA, np.eye(4), xyz, uv, np.full(80, np.nan), 0.01, 2.0)
    np.testing.assert_allclose(found, pose, atol=1e-6)
    assert not inlier[:15].any() and inlier[15:].all()


def test_triangulation_meets_the_point():
    rng = np.random.default_rng(2)
    xyz, pose = cloud(rng, 30), near(rng, 0.3)
    first, second = (pixels(CAMERA, x) for x in (xyz, poses.transform(pose, xyz)))
    found, angle = triangulate(bearing(CAMERA, first), bearing(CAMERA, second), poses.inverse(pose))
    np.testing.assert_allclose(found, xyz, atol=1e-9)
    assert (angle > 0).all()


def small_problem(seed: int) -> Problem:
    rng = np.random.default_rng(seed)
    xyz = cloud(rng, 25)
    views = np.stack([np.eye(4), *(near(rng) for _ in range(3))])
    camera_of, point_of = (a.reshape(-1) for a in np.mgrid[:4, :25])
    seen = rng.random(100) < 0.8
    camera_of, point_of = camera_of[seen], point_of[seen]
    x = np.stack([poses.transform(views[c], xyz[p : p + 1])[0] for c, p in zip(camera_of, point_of, strict=True)])
    uv = pixels(CAMERA, x) + rng.normal(0, 0.5, (len(x), 2))
    depth = np.where(rng.random(len(x)) < 0.5, 1 / x[:, 2] + rng.normal(0, 0.01, len(x)), np.nan)
    start = np.stack([views[0], *(moved(v, rng.normal(0, 0.02, 6)) for v in views[1:])])
    return Problem(start, np.arange(4) == 0, xyz + rng.normal(0, 0.05, xyz.shape), camera_of, point_of, uv, depth)


def test_adjustment_equals_scipy():
    problem = small_problem(0)
    ours = adjust(problem, CAMERA, sigma=0.01, robust_px=1e6, iterations=50)

    def residual(x: np.ndarray) -> np.ndarray:
        views = np.concatenate([problem.poses[:1], moved(problem.poses[1:], x[:18].reshape(3, 6))])
        at = views[problem.camera_of]
        xyz = x[18:].reshape(-1, 3)[problem.point_of]
        return reproject(CAMERA, at[:, :3, :3], at[:, :3, 3], xyz, problem.uv, problem.inverse_depth, 0.01)[0].ravel()

    theirs = least_squares(residual, np.r_[np.zeros(18), problem.xyz.ravel()], x_scale="jac", ftol=1e-12, xtol=1e-12)
    assert ours.cost == pytest.approx(2 * theirs.cost, rel=1e-3)
    views = moved(problem.poses[1:], theirs.x[:18].reshape(3, 6))
    np.testing.assert_allclose(ours.poses[1:], views, atol=2e-3)


def test_adjusting_everything_is_the_same_as_a_window():
    problem = small_problem(3)
    goal = near(np.random.default_rng(5), 0.1)
    problem.links = [Link(0, 1, goal, 1e3 * np.eye(6)), Link(1, 3, near(np.random.default_rng(6)), 10 * np.eye(6))]
    dense = adjust(problem, CAMERA, sigma=0.01, robust_px=2.0, iterations=20)
    sparse = adjust_whole(problem, CAMERA, sigma=0.01, robust_px=2.0, iterations=20)
    assert sparse.cost == pytest.approx(dense.cost, rel=1e-9)
    np.testing.assert_allclose(sparse.poses, dense.poses, atol=1e-9)
    np.testing.assert_allclose(sparse.xyz, dense.xyz, atol=1e-8)
    np.testing.assert_allclose(sparse.error_px, dense.error_px, atol=1e-7)


def test_a_link_alone_is_met():
    problem = small_problem(1)
    goal = near(np.random.default_rng(5), 0.3)
    problem.links = [Link(0, 1, goal, 1e12 * np.eye(6))]
    answer = adjust(problem, CAMERA, sigma=0.01, robust_px=1e6, iterations=60)
    np.testing.assert_allclose(answer.poses[1] @ poses.inverse(answer.poses[0]), goal, atol=1e-4)


def test_surface_gradient_points_home():
    place = room(0)
    here = round_trip(41)[5]  # looks into a corner: one wall alone leaves shifts along it open
    _, depth = place.render(CAMERA, here)
    surface = surface_of(depth, CAMERA, 1500, 10.0)
    assert len(surface.xyz) > 700
    pose = moved(np.eye(4), np.array([0.01, -0.02, 0.01, 0.005, -0.005, 0.01]))
    for _ in range(20):
        hessian, gradient, _ = normal_equations(surface, pose, depth, CAMERA, 0.005)
        pose = moved(pose, -np.linalg.solve(hessian + 1e-3 * np.eye(6), gradient))
    np.testing.assert_allclose(pose, np.eye(4), atol=2e-3)


@pytest.mark.parametrize("with_scale", [False, True])
def test_pose_graph_undoes_drift(with_scale: bool):
    rng = np.random.default_rng(0)
    n = 12
    true = Similarities.of(np.stack([near(rng, 0.5) for _ in range(n)]))
    first, second = np.r_[np.arange(n - 1), 0], np.r_[np.arange(1, n), n - 1]
    measured = true[second] @ true[first].inverse()
    drift = np.cumsum(rng.normal(0, 0.02, (n, 7)), 0)
    drift[0], drift[:, 6] = 0, drift[:, 6] if with_scale else 0
    found = optimise(true.moved(drift), first, second, measured, np.ones(n), with_scale=with_scale)
    np.testing.assert_allclose(found.translation, true.translation, atol=1e-5)
    np.testing.assert_allclose(found.scale, 1, atol=1e-5)


# ------------------------------------------------------------------------------------------------------- whole runs


def run(mode: str, frames: int = 60, turns: float = 0.25, **changes: object):
    pytest.importorskip("cv2")
    from percepta.systems.slam.predict import Session

    place, true = room(0), round_trip(frames, turns=turns)
    config = replace(PRESETS["tiny"], **changes)
    pair = RightCamera(CAMERA, Lens(), poses.compose(np.eye(3), np.array([0.1, 0, 0])))
    session = Session(CAMERA, config, right=pair if mode == "stereo" else None)
    for i, pose in enumerate(true):
        grey, depth = place.render(CAMERA, pose)
        right = None
        if mode == "stereo":
            right, _ = place.render(CAMERA, pose @ poses.compose(np.eye(3), np.array([0.1, 0, 0])))
        session.step(grey, i / 30, depth if mode == "depth" else None, right)
    return session, trajectory.trajectory(np.arange(frames) / 30, true)


@pytest.mark.parametrize(("mode", "limit_m"), [("depth", 0.01), ("mono", 0.03), ("stereo", 0.03)])
def test_known_poses_are_found(mode: str, limit_m: float):
    session, true = run(mode)
    walk = session.walk()
    errors, _ = trajectory.absolute(walk.trajectory, true, with_scale=mode == "mono", max_difference_s=0.001)
    assert errors.rmse < limit_m
    assert len(walk.frames) >= 0.9 * len(true)
    assert walk.metric == (mode != "mono")


def test_two_runs_are_equal_bit_by_bit():
    first, second = (run("mono", 40)[0].walk() for _ in range(2))
    assert first.trajectory.world_from_camera.tobytes() == second.trajectory.world_from_camera.tobytes()
    assert first.points.tobytes() == second.points.tobytes()


def test_an_answer_from_another_process_has_the_same_bits():
    solver, job = Solver(True), Job(small_problem(4), CAMERA, 0.01, 2.0, 5)
    solver.wait()  # until it has started whoever asks solves it itself
    answer, own = solver.give(job), solve(job)
    assert answer.is_apart
    for name in ("poses", "xyz", "error_px"):
        assert getattr(answer.wait(), name).tobytes() == getattr(own, name).tobytes()
    first, second = (run("mono", 24, adjust_apart=apart)[0].walk() for apart in (False, True))
    assert first.trajectory.world_from_camera.tobytes() == second.trajectory.world_from_camera.tobytes()
    assert first.points.tobytes() == second.points.tobytes()


def test_asking_for_the_walk_changes_nothing():
    """What is still being adjusted is shown, not taken over."""
    pytest.importorskip("cv2")
    from percepta.systems.slam.predict import Session

    place, true, found = room(0), round_trip(24, turns=0.1), []
    for asked in (False, True):
        session = Session(CAMERA, replace(PRESETS["tiny"], adjust_frames=3))
        for i, pose in enumerate(true):
            session.step(*(lambda seen, i=i: (seen[0], i / 30, seen[1]))(place.render(CAMERA, pose)))
            if asked:
                session.walk()
        found.append(session.walk().trajectory.world_from_camera.tobytes())
    assert found[0] == found[1]


def test_hard_frames_do_not_raise_and_the_place_is_found_again():
    pytest.importorskip("cv2")
    from percepta.systems.slam.predict import Session

    place, true = room(0), round_trip(30, turns=0.1)
    session = Session(CAMERA, PRESETS["tiny"])
    for i, pose in enumerate(true):
        grey, depth = place.render(CAMERA, pose)
        if 12 <= i < 15:
            grey, depth = np.zeros_like(grey), np.zeros_like(depth)
        session.step(grey, i / 30, depth)
    assert session.states[13] == "lost" and "relocalised" in session.states[15:18]
    assert session.states[-1] == "tracking"
    assert any("no reading" in text for text in session.walk().warnings)


def test_a_place_is_found_by_points_that_no_keyframe_observes_any_more():
    """Adjustment drops observations that do not fit; what a keyframe looks like is kept."""
    pytest.importorskip("cv2")
    from percepta.systems.slam.predict import Session

    place, true = room(0), round_trip(30, turns=0.1)
    session = Session(CAMERA, PRESETS["tiny"])
    for i, pose in enumerate(true[:16]):
        grey, depth = place.render(CAMERA, pose)
        if 12 <= i < 15:
            grey, depth = np.zeros_like(grey), np.zeros_like(depth)
        if i == 15:
            for keyframe in session.tracker.map.keyframes:
                keyframe.ids, keyframe.uv, keyframe.pixel = keyframe.ids[:0], keyframe.uv[:0], keyframe.pixel[:0]
                keyframe.inverse_depth = keyframe.inverse_depth[:0]
        result = session.step(grey, i / 30, depth)
    assert result.state == "relocalised"


def test_a_saved_map_is_gone_on_in(tmp_path):
    session, true = run("depth", 30, 0.1)
    path = session.save_map(tmp_path / "map.npz")
    from percepta.systems.slam.predict import Session

    again, place = Session(CAMERA, PRESETS["tiny"], map=path), room(0)
    results = [again.step(*(lambda s: (s[0], i / 30, s[1]))(place.render(CAMERA, true.world_from_camera[i])))
               for i in range(12, 18)]  # fmt: skip
    assert results[0].state == "relocalised" and results[-1].state == "tracking"
    first = true.world_from_camera[0]
    for i, result in zip(range(12, 18), results, strict=True):
        expected = poses.inverse(first) @ true.world_from_camera[i]
        assert result.world_from_camera is not None
        assert np.linalg.norm((result.world_from_camera - expected)[:3, 3]) < 0.02
    (tmp_path / "bad.npz").write_text("no map")
    with pytest.raises(InputError, match="no map"):
        Session(CAMERA, PRESETS["tiny"], map=tmp_path / "bad.npz")


def test_mistakes_are_named():
    pytest.importorskip("cv2")
    from percepta.systems.slam.predict import Session

    session = Session(CAMERA, PRESETS["tiny"])
    with pytest.raises(InputError, match="320 columns"):
        session.step(np.zeros((10, 10), np.uint8), 0.0)
    grey = np.zeros((240, 320), np.uint8)
    with pytest.raises(InputError, match="right camera"):
        session.step(grey, 0.0, right=grey)
    session.step(grey, 1.0)
    assert "backwards" in session.step(grey, 0.5).warning
    assert "unit" in session.step(grey, 2.0, np.full((240, 320), 2000, np.float32)).warning


def test_frames_without_texture_and_missing_frames_are_said():
    pytest.importorskip("cv2")
    from percepta.systems.slam.predict import Session

    session = Session(CAMERA, PRESETS["tiny"])
    first = session.step(np.full((240, 320), 90, np.uint8), 0.0)
    assert "texture" in first.warning and first.state == "starting"
    session, _ = run("depth", 6, 0.05)
    grey, depth = room(0).render(CAMERA, round_trip(6, turns=0.05)[5])
    assert "missing" in session.step(grey, 3.0, depth).warning
    assert session.states[-1] == "tracking"


def test_one_camera_that_only_turns_is_told_to_move():
    """Nothing can be triangulated: it does not start, and says after a while what it needs."""
    pytest.importorskip("cv2")
    from percepta.systems.slam.predict import Session

    session, place = Session(CAMERA, PRESETS["tiny"]), room(0)
    for i, pose in enumerate(
        poses.compose(poses.facing(0.3 * np.sin(np.arange(60) / 10), np.zeros(60)), np.zeros((60, 3)))
    ):
        result = session.step(place.render(CAMERA, pose)[0], i / 30)
    assert result.state == "starting" and not len(session.walk().frames)
    assert any("sideways" in text for text in session.walk().warnings)


@pytest.mark.parametrize("share", [0.0, 0.6])
def test_a_rolling_shutter_is_noticed(share: float):
    """Points are late by their rows, against a keyframe in which they were late otherwise; poses change meanwhile."""
    pytest.importorskip("cv2")
    from percepta.systems.slam.predict import Session

    session, rng = Session(CAMERA, PRESETS["tiny"]), np.random.default_rng(0)
    tracker = session.tracker
    for frame in range(80):
        xyz, pose = cloud(rng, 60), near(rng, 0.05)
        origin, place = pixels(CAMERA, xyz), pixels(CAMERA, poses.transform(pose, xyz))
        tracker.frame, tracker.pose = frame, pose
        tracker.flow, tracker.flow_then = rng.normal(0, 5, (2, 6, 2))
        late = tracker._late(place, tracker.flow) - tracker._late(origin, tracker.flow_then)
        tracker._note_shutter(xyz, place + share * late + rng.normal(0, 0.3, (60, 2)), origin)
    assert abs(tracker.shutter - share) < 0.05
    said = session.walk().warnings
    assert any("rolling_shutter=0.6" in text for text in said) if share else not said


def test_a_walk_is_drawn_and_saved(tmp_path):
    session, _ = run("depth", 12, 0.05)
    walk = session.walk()
    path = walk.save(tmp_path / "walk.png")
    assert path.is_file() and trajectory.read(tmp_path / "walk.txt").centres.shape == (12, 3)
    assert "100% of 12 frames" in repr(walk)


def test_the_answer_of_one_step_is_what_every_result_is(tmp_path):
    """Words, plain numbers and a drawing, as the README says of every result."""
    pytest.importorskip("cv2")
    import json

    from percepta.contract import Result
    from percepta.systems.slam.predict import Session

    place, true = room(0), round_trip(60, turns=0.25)[:4]
    session, steps = Session(CAMERA, replace(PRESETS["tiny"], places="thumbnail")), []
    for i, pose in enumerate(true):
        frame, depth = place.render(CAMERA, pose)
        steps.append(session.step(frame, i / 30, depth))
    last = steps[-1]
    assert isinstance(last, Result) and repr(last) == f"Result({last.text})" and "\n" not in repr(last)
    assert last.text.startswith("frame 3: tracking, at ") and f"{last.points_seen} points" in last.text
    assert np.abs(np.asarray(last.draw()).astype(int) - last.picture[..., None]).max() > 50  # points are drawn
    path = last.save(tmp_path / "step.png")
    saved = json.loads((tmp_path / "step.json").read_text())
    assert path.is_file() and saved == json.loads(json.dumps(last.to_dict()))
    np.testing.assert_allclose(saved["world_from_camera"], last.world_from_camera)
    assert len(saved["points_px"]) > 20
    nothing = Session(CAMERA, PRESETS["tiny"]).step(np.zeros((240, 320), np.uint8), 0.0)
    assert "starting" in nothing.text and nothing.to_dict()["world_from_camera"] is None
    assert nothing.draw().size == (320, 240)
