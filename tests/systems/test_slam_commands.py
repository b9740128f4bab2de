"""The verbs of SLAM, its writers, and what it says of cameras."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from percepta.__main__ import main
from percepta.datasets import calibration, colmap, layouts
from percepta.datasets.capture import Capture
from percepta.datasets.posed import Recording
from percepta.datasets.posed_folder import PosedPicture
from percepta.errors import InputError
from percepta.geometry import ply
from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics
from percepta.geometry.lens import Lens, pixels_of
from percepta.metrics import trajectory
from percepta.systems.slam import PRESETS
from percepta.systems.slam.check import check
from percepta.systems.slam.world import RoundTrip, room

cv = pytest.importorskip("cv2")
from percepta.systems.slam import writers  # noqa: E402
from percepta.systems.slam.calibrate import Board, calibrate  # noqa: E402
from percepta.systems.slam.focal import best_focal  # noqa: E402
from percepta.systems.slam.predict import Session  # noqa: E402


def walked(mode: str = "depth", frames: int = 30, factor: float = 1.0, turns: float = 0.2) -> tuple[Session, RoundTrip]:
    trip = RoundTrip(0, mode, frames, 240, turns)  # type: ignore[arg-type]
    camera = trip.camera
    given = Intrinsics(camera.fx * factor, camera.fy * factor, camera.cx, camera.cy, camera.width, camera.height)
    session = Session(given, PRESETS["tiny"])
    for shot in trip:
        session.step(shot.frame, shot.time_s, shot.depth_m)
    return session, trip


def recorded(folder: Path, frames: int = 16) -> RoundTrip:
    """A posed folder with depth of a round trip."""
    trip = RoundTrip(0, "depth", frames, 240, 0.1)
    posed = writers.PosedFolder(folder, trip.camera)
    for number, shot in enumerate(trip):
        posed.add(number, np.repeat(shot.frame[..., None], 3, 2), shot.depth_m)
        (folder / "pose").mkdir(exist_ok=True)
        np.savetxt(folder / "pose" / f"{number:06d}.txt", trip.path[number])
    return trip


def test_colmap_reads_back_what_was_written(tmp_path: Path) -> None:
    session, trip = walked()
    walk = session.walk()
    folder = writers.colmap(tmp_path / "sparse" / "0", walk)
    (tmp_path / "images").mkdir()
    for frame in walk.views.frame.tolist():
        Image.new("RGB", (240, 180)).save(tmp_path / "images" / writers.picture_name(frame))
    views = colmap.views(tmp_path)
    assert len(views) == walk.keyframes
    for view, pose in zip(views, walk.views.world_from_camera, strict=True):
        np.testing.assert_allclose(view.world_from_camera, pose, atol=1e-6)
        np.testing.assert_allclose(view.intrinsics.matrix, trip.camera.matrix, rtol=1e-6)
    # Every point of points3D.txt is seen where its track says, and lies there.
    lines = [line.split() for line in (folder / "images.txt").read_text().splitlines()]
    points = [line.split() for line in (folder / "points3D.txt").read_text().splitlines()]
    assert len(points) == len(walk.points)
    tracks = sum(len(row[8:]) // 2 for row in points)
    assert tracks == len(walk.views.view)
    for row in points[:: max(1, len(points) // 40)]:
        for image, place in zip(row[8::2], row[9::2], strict=True):
            seen = lines[2 * int(image) - 1][3 * int(place) : 3 * int(place) + 3]
            assert seen[2] == row[0]
            x = poses.transform(
                poses.inverse(walk.views.world_from_camera[int(image) - 1]), walk.points[int(row[0]) - 1][None]
            )
            uv = x[0, :2] / x[0, 2] * (trip.camera.fx, trip.camera.fy) + (trip.camera.cx + 0.5, trip.camera.cy + 0.5)
            assert np.abs(uv - [float(seen[0]), float(seen[1])]).max() < 8


def test_a_posed_folder_is_read_by_other_systems(tmp_path: Path) -> None:
    session, trip = walked(frames=12)
    posed = writers.PosedFolder(tmp_path / "posed", session.straight)
    for number, shot in enumerate(trip):
        posed.add(number, session.straighten(shot.frame), shot.depth_m)
    walk = session.walk()
    some = replace(walk, frames=walk.frames[2:], part=walk.part[2:], trajectory=walk.trajectory.pick(np.arange(2, 12)))
    assert posed.finish(some) == 10
    recording = layouts.find_one(tmp_path / "posed", Recording)
    content = recording.read(recording.root)
    assert len(content) == 10 and not content.alone
    frame = content.read(3)
    np.testing.assert_allclose(frame.world_from_camera, walk.trajectory.world_from_camera[5], atol=1e-6)
    seen = frame.depth_m > 0
    np.testing.assert_allclose(frame.depth_m[seen], list(trip)[5].depth_m[seen], atol=6e-4)  # type: ignore[index]


def test_trajectories_and_points_are_written(tmp_path: Path) -> None:
    session, _ = walked(frames=12)
    walk = session.walk()
    for path, form in zip(writers.trajectories(tmp_path, walk), ("tum", "kitti", "euroc"), strict=True):
        again = trajectory.read(path, form)
        np.testing.assert_allclose(again.world_from_camera, walk.trajectory.world_from_camera, atol=1e-7)
    cloud = ply.read(walk.save(tmp_path / "points.ply"))
    np.testing.assert_allclose(cloud.columns("x", "y", "z"), walk.points, atol=1e-5)
    assert (cloud.columns("red", "green", "blue") == walk.colours).all()


def test_a_fused_cloud_lies_on_the_walls(tmp_path: Path) -> None:
    session, trip = walked(frames=16, turns=0.1)
    cloud, walk = writers.FusedCloud(session.straight, cube_m=0.05, points=800), session.walk()
    for number, shot in enumerate(trip):
        if number in walk.views.frame:
            grey = session.straighten(shot.frame)
            assert cloud.add(number, grey, session.straight_depth(shot.depth_m)) > 500
    xyz, colour = cloud.fused(walk)
    world = poses.transform(trip.path[0], xyz)
    off = np.abs(np.abs(world) - room(0).half_m).min(1)
    assert len(xyz) > 500 and np.quantile(off, 0.95) < 0.03
    assert np.array_equal(colour[:, 0], colour[:, 1])
    assert len(np.unique(np.floor(xyz / 0.05 + 1e-9).astype(int), axis=0)) > 0.8 * len(xyz)
    again = ply.read(cloud.write(tmp_path / "cloud.ply", walk))  # type: ignore[arg-type]
    np.testing.assert_allclose(again.columns("x", "y", "z"), xyz, atol=1e-5)
    assert writers.FusedCloud(session.straight).write(tmp_path / "none.ply", walk) is None


def test_predict_goes_from_a_folder_to_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded(tmp_path / "in")
    words = ["predict", "slam", str(tmp_path / "in"), "--preset", "tiny", "--out", str(tmp_path / "out")]
    assert main([*words, "--colmap", "--posed"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "100% of 16 frames tracked" in text and "ATE 0.0" in text
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"trajectory.txt", "trajectory.kitti.txt", "trajectory.csv", "points.ply", "cloud.ply", "walk.png",
            "walk.json", "map", "report.html", "colmap", "posed"} <= made  # fmt: skip
    assert layouts.find_one(tmp_path / "out" / "posed", Recording)
    assert layouts.find_one(tmp_path / "out" / "colmap", PosedPicture)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "ATE" in page and page.count("<img") > 2
    again = [*words[:-1], str(tmp_path / "again"), "--map", str(tmp_path / "out" / "map"), "--no-mapping"]
    assert main([*again, "--sensors", "mono", "--start", "4", "--stop", "14"]) == 0
    assert not (tmp_path / "again" / "map").exists()
    capsys.readouterr()
    assert main([*words, "--sensors", "stereo"]) == 2
    assert "no second camera" in capsys.readouterr().err


def test_a_trajectory_of_anybody_is_scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = RoundTrip(0, "mono", 50, 240, 0.5).path
    true = trajectory.trajectory(np.arange(50) / 30, path)
    moved = poses.compose(path[:, :3, :3], 0.5 * path[:, :3, 3] + 7)
    trajectory.write(tmp_path / "truth.csv", true, "euroc")
    trajectory.write(tmp_path / "mine.txt", trajectory.trajectory(np.arange(50) / 30, moved))
    words = ["evaluate", "slam", "--trajectory", str(tmp_path / "mine.txt"), "--truth", str(tmp_path / "truth.csv")]
    assert main([*words, "--scale"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "50 of 50 true poses" in text and "scale 2.0000" in text and "0.0000 m" in text
    assert main(words) == 0
    assert "SE(3)" in capsys.readouterr().out
    assert main(words[:4]) == 2
    assert "both" in capsys.readouterr().err


def test_check_says_what_is_there_and_odd(tmp_path: Path) -> None:
    recorded(tmp_path / "in", 8)
    found = check(tmp_path / "in")
    assert found.ok and found.counts == {"sequences": 1, "frames": 8, "with true poses": 1}
    assert found.sheet().width > 100
    Image.new("RGB", (240, 180)).save(tmp_path / "in" / "color" / "000003.jpg")
    assert any("contrast" in str(w) for w in check(tmp_path / "in").warnings)
    (tmp_path / "in" / "color" / "000005.jpg").write_bytes(b"no picture")
    broken = check(tmp_path / "in")
    assert not broken.ok and "000005.jpg" in broken.text()


@pytest.mark.parametrize(("factor", "mode"), [(0.8, "depth"), (1.25, "depth"), (1.0, "depth"), (1.0, "mono")])
def test_a_wrong_focal_length_is_noticed(factor: float, mode: str) -> None:
    session, _ = walked(mode, 60, factor, 0.4)
    found = best_focal(session.tracker.map)
    assert found is not None
    left = abs(np.log(found.factor * factor))  # most of the error is found, and none is made up
    assert left < (0.2 * abs(np.log(factor)) if factor != 1 else 0.04)
    assert found.is_clear == (factor != 1)
    said = any("focal" in text for text in session.walk(check_camera=True).warnings)
    assert said == (factor != 1)


def board_seen(lens: Lens, camera: Intrinsics, pose: np.ndarray, board: Board) -> np.ndarray:
    """A picture of a chessboard: each pixel's ray is cut with the board."""
    v, u = np.mgrid[: camera.height, : camera.width]
    ray = lens.straighten(np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy], -1))
    back = poses.inverse(pose)  # board_from_camera
    direction = ray @ back[:3, :3].T
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = -back[2, 3] / direction[..., 2]
        at = (back[:3, 3] + reach[..., None] * direction)[..., :2] / board.square_m
    inside = (reach > 0) & (at > -2).all(-1) & (at < (board.columns + 1, board.rows + 1)).all(-1)
    squares = (
        (np.floor(np.nan_to_num(at)).sum(-1) % 2 == 0) & (at > -1).all(-1) & (at < (board.columns, board.rows)).all(-1)
    )
    grey = np.where(inside, np.where(squares, 20, 235), 130).astype(np.uint8)
    return cv.GaussianBlur(grey, (0, 0), 0.7)


@pytest.mark.parametrize("lens", [Lens("radtan", (-0.15, 0.04, 0.0, 0.0)), Lens("fisheye", (0.02, -0.01, 0.0, 0.0))])
def test_a_camera_is_found_from_a_board(lens: Lens) -> None:
    camera, board, rng = Intrinsics(240.0, 243.0, 161.0, 118.0, 320, 240), Board(7, 5, 0.03), np.random.default_rng(0)
    frames = []
    middle = np.array([board.columns - 1, board.rows - 1, 0]) * board.square_m / 2
    for _ in range(14):
        turn = poses.from_vector(rng.uniform(-0.5, 0.5, 3))
        place = np.array([*rng.uniform(-0.09, 0.09, 2), rng.uniform(0.26, 0.36)])
        frames.append(board_seen(lens, camera, poses.compose(turn, place - turn @ middle), board))
    found = calibrate(frames, board, lens.model)  # type: ignore[arg-type]
    assert found.error_px < 0.5 and found.views >= 5
    assert found.camera.fx == pytest.approx(240, rel=0.02) and found.camera.cy == pytest.approx(118, abs=3)
    rays = np.random.default_rng(1).uniform((-0.4, -0.3, 1), (0.4, 0.3, 1), (50, 3))
    off = pixels_of(found.camera, found.lens, rays) - pixels_of(camera, lens, rays)
    assert np.abs(off).max() < 2
    with pytest.raises(InputError, match="seen from 0 places"):
        calibrate([np.full((240, 320), 128, np.uint8)] * 3, board)


def test_calibrate_writes_a_camera(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    camera, board, rng = Intrinsics(240.0, 240.0, 159.5, 119.5, 320, 240), Board(7, 5, 0.03), np.random.default_rng(3)
    middle = np.array([board.columns - 1, board.rows - 1, 0]) * board.square_m / 2
    for number in range(10):
        turn = poses.from_vector(rng.uniform(-0.5, 0.5, 3))
        pose = poses.compose(turn, np.array([*rng.uniform(-0.08, 0.08, 2), 0.3]) - turn @ middle)
        Image.fromarray(board_seen(Lens(), camera, pose, board)).save(tmp_path / f"{number}.png")
    words = ["slam", "calibrate", str(tmp_path), "--columns", "7", "--rows", "5", "--square-m", "0.03"]
    assert main([*words, "--out", str(tmp_path / "camera.json")]) == 0
    found, _ = calibration.read_camera(tmp_path / "camera.json")
    assert found.fx == pytest.approx(240, rel=0.02)
    assert "camera.json" in capsys.readouterr().out


def test_a_guessed_focal_length_is_refined() -> None:
    import percepta
    from percepta.systems.slam.guess import guess_focal

    trip = RoundTrip(3, "mono", 50, 240, 0.35)
    right = trip.camera.fx
    wrong = Intrinsics(right * 1.2, right * 1.2, trip.camera.cx, trip.camera.cy, 240, 180)
    capture = replace(trip.capture(), camera=wrong, intrinsics_from="guessed")
    system = percepta.load("slam", preset="tiny", device="cpu")
    camera, said = guess_focal(system, capture, 50)
    assert abs(np.log(camera.fx / right)) < 0.6 * abs(np.log(1.2)) and "refined" in said


def test_a_focal_length_at_the_limit_of_the_search_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    import percepta
    from percepta.systems.slam import guess
    from percepta.systems.slam.focal import Focal

    monkeypatch.setattr(guess, "best_focal", lambda map: Focal(1.9, 1.0, 0.5))  # longer is always better
    system = percepta.load("slam", preset="tiny", device="cpu")
    capture = RoundTrip(3, "mono", 12, 120, 0.1).capture()
    camera, said = guess.guess_focal(system, capture, 8)
    assert camera == capture.camera and "±" not in said
    assert "could not be estimated" in said and f"{2 * camera.fx:.0f} px of 120" in said and "calibrate" in said


def test_poses_without_a_unit_say_so_in_their_folder(tmp_path: Path) -> None:
    for mode in ("mono", "depth"):  # the second one in the same folder, as a run that is made again
        session, trip = walked(mode, 12 if mode == "depth" else 20)
        posed = writers.PosedFolder(tmp_path, trip.camera)
        for number, shot in enumerate(trip):
            posed.add(number, session.straighten(shot.frame))
        posed.finish(session.walk())
        assert (tmp_path / "no-unit.txt").is_file() == (mode == "mono")


def test_the_layouts_know_a_capture(tmp_path: Path) -> None:
    recorded(tmp_path / "in", 4)
    from percepta.systems.slam.data import data, open_capture

    capture = open_capture(tmp_path / "in")
    assert isinstance(capture, Capture) and capture.truth is not None and len(capture) == 4
    samples = data(PRESETS["tiny"], "val", tmp_path / "in")
    assert [sample.mode for sample in samples.samples] == ["depth", "mono"]
    shots = list(samples[(0, 1)].capture())
    assert all(shot.depth_m is None for shot in shots)
    with pytest.raises(InputError, match="splits"):
        data(PRESETS["tiny"], "nothing")
