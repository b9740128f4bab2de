"""Captures: what readers of moving cameras give, from folders that these tests write."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from percepta.datasets import calibration, footage, kitti_odometry, layouts, stray_scanner
from percepta.datasets import euroc as euroc_reader
from percepta.datasets.capture import Capture
from percepta.datasets.footage import Pictures
from percepta.errors import InputError, MissingFileError
from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics
from percepta.geometry.imu import Imu, check_samples, oddities
from percepta.geometry.lens import Lens
from percepta.media import video


def picture(path: Path, value: int, size: tuple[int, int] = (32, 24), mode: str = "L") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)


def find(root: Path) -> Capture:
    found = layouts.find_one(root, Capture)
    return found.read(found.root)


SENSOR = """#Default sensor.yaml
sensor_type: camera
T_BS:
  cols: 4
  rows: 4
  data: [0.0, -1.0, 0.0, {x},
         1.0, 0.0, 0.0, 0.0,
         0., 0., 1., .5,  # with a remark
         0.0, 0.0, 0.0, 1.0]
rate_hz: 20
resolution: [32, 24]
camera_model: pinhole
intrinsics: [30.5, 31.0, 15.5, 11.5] #fu, fv, cu, cv
distortion_model: radial-tangential
distortion_coefficients: [-0.28, 0.07, 0.0002, 1.7e-05]
"""


def euroc(root: Path) -> Path:
    home = root / "mav0"
    for name, x in (("cam0", 0.0), ("cam1", -0.1)):
        times = [1_000_000_000 + 50_000_000 * i for i in range(4)]
        rows = "\n".join(f"{t},{t}.png" for t in times[: 4 if name == "cam0" else 3])
        for i, t in enumerate(times):
            picture(home / name / "data" / f"{t}.png", 10 * i)
        (home / name / "data.csv").write_text(f"#timestamp [ns],filename\r\n{rows}\r\n")
        (home / name / "sensor.yaml").write_text(SENSOR.replace("{x}", str(x)))
    (home / "imu0").mkdir()
    (home / "imu0" / "sensor.yaml").write_text(
        "gyroscope_noise_density: 1.7e-04\ngyroscope_random_walk: 2.0e-05\n"
        "accelerometer_noise_density: 2.0e-3\naccelerometer_random_walk: 3.0000e-3\n"
    )
    lines = [f"{1_000_000_000 + 5_000_000 * i},{i},0,0,0,0,9.81" for i in range(40)]
    (home / "imu0" / "data.csv").write_text("#timestamp [ns],w_RS_S_x [rad s^-1],w_RS_S_y,w_RS_S_z,a_RS_S_x,a_RS_S_y,"
                                            "a_RS_S_z\n" + "\n".join(lines))  # fmt: skip
    (home / "state_groundtruth_estimate0").mkdir()
    truth = "\n".join(f"{1_000_000_000 + 50_000_000 * i},{i},0,0,1,0,0,0" for i in range(4))
    (home / "state_groundtruth_estimate0" / "data.csv").write_text(f"#time,p,p,p,q,q,q,q\n{truth}\n")
    return root


def test_euroc(tmp_path: Path) -> None:
    found = find(euroc(tmp_path))
    assert found.camera == Intrinsics(30.5, 31.0, 15.5, 11.5, 32, 24) and found.lens.model == "radtan"
    assert found.right is not None and found.imu is not None and found.truth is not None
    assert len(found) == 3  # the fourth has no right picture
    np.testing.assert_allclose(found.right.left_from_right[:3, 3], (0, 0.1, 0), atol=1e-12)  # turned by the body's pose
    np.testing.assert_allclose(found.truth.centres[2], (2, 0, 0.5))  # the camera's, not the sensor's
    assert found.imu.gyroscope_noise == 1.7e-4 and found.imu.accelerometer_walk == 3e-3
    shots = list(found)
    assert [s.frame.max() for s in shots] == [0, 10, 20]
    samples = [s.imu for s in shots]
    assert all(s is not None for s in samples)
    together = np.concatenate([s for s in samples if s is not None])
    # Every sample until the last picture comes once, with the first picture or with the one after it.
    assert together[:, 1].tolist() == list(range(21))
    assert [s.time_s for s in found.shots(1, None, 2)] == [1.05]


def test_a_part_is_the_same_frames(tmp_path: Path) -> None:
    found = find(euroc(tmp_path))
    part = found.part(1, 3)
    assert len(part) == 2 and [s.time_s for s in part] == [s.time_s for s in list(found)[1:]]
    assert part.part(1).name == found.name and len(part.part(1)) == 1
    assert found.part() is found


def test_kitti(tmp_path: Path) -> None:
    for side in (0, 1):
        for i in range(3):
            picture(tmp_path / f"image_{side}" / f"{i:06d}.png", i)
    row = ["718", "0", "15.5", "0", "0", "718", "11.5", "0", "0", "0", "1", "0"]
    second = list(row)
    second[3] = str(-718 * 0.54)
    text = f"P0: {' '.join(row)}\nP1: {' '.join(second)}\nTr: {' '.join(row)}\n"
    (tmp_path / "calib.txt").write_text(text)
    (tmp_path / "poses.txt").write_text("\n".join(f"1 0 0 0 0 1 0 0 0 0 1 {i}" for i in range(3)))
    found = find(tmp_path)
    assert found.right is not None and found.truth is not None and found.truth.length_m == pytest.approx(2)
    np.testing.assert_allclose(found.right.left_from_right[:3, 3], (0.54, 0, 0))
    assert [s.time_s for s in found] == pytest.approx([0, 0.1, 0.2]) and found.camera.fx == 718
    (tmp_path / "poses.txt").write_text("1 0 0 0 0 1 0 0 0 0 1 0")
    with pytest.raises(InputError, match="1 poses for 3 pictures"):
        find(tmp_path)
    (tmp_path / "calib.txt").write_text("P0: one two")
    with pytest.raises(InputError, match="line 1"):
        find(tmp_path)


def test_tum_keeps_frames_without_a_pose(tmp_path: Path) -> None:
    for i in range(4):
        picture(tmp_path / "rgb" / f"{i}.png", 10 * i, mode="RGB")
        Image.fromarray(np.full((24, 32), 5000 * (i + 1), np.uint16)).save(tmp_path / f"d{i}.png")
    (tmp_path / "rgb.txt").write_text("# list\n" + "\n".join(f"{i / 10} rgb/{i}.png" for i in range(4)))
    (tmp_path / "depth.txt").write_text("\n".join(f"{i / 10 + 0.01} d{i}.png" for i in range(3)))
    (tmp_path / "groundtruth.txt").write_text("0.0 0 0 0 0 0 0 1\n0.1 1 0 0 0 0 0 1")
    found = find(tmp_path)
    depths = [s.depth_m for s in found]
    assert [float(d.max()) for d in depths if d is not None] == pytest.approx([1, 2, 3, 0])
    assert found.truth is not None and len(found.truth) == 2


def test_pictures_and_their_intrinsics(tmp_path: Path) -> None:
    for i in range(3):
        picture(tmp_path / "in" / f"frame{i + 8}.png", i, mode="RGB")
    found = find(tmp_path / "in")
    assert found.intrinsics_from == "guessed" and found.camera.fx == pytest.approx(0.85 * 32)
    assert [int(s.frame.max()) for s in found] == [0, 1, 2] and len(found) == 3
    np.savetxt(tmp_path / "in" / "intrinsics.txt", Intrinsics(40.0, 40.0, 15.0, 11.0, 32, 24).matrix)
    assert find(tmp_path / "in").camera.fx == 40
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = 28
    Image.new("RGB", (320, 240)).save(tmp_path / "photo.jpg", exif=exif)
    camera = footage.from_exif(tmp_path / "photo.jpg", 320, 240)
    assert camera is not None and camera.fx == pytest.approx(28 / 43.267 * 400, rel=1e-4)


def test_pictures_of_several_sizes_are_named_with_their_sizes(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a0.png", 1, mode="RGB")
    Image.new("RGB", (64, 48)).save(tmp_path / "in" / "a1.png")
    with pytest.raises(InputError, match=r"a1\.png has 64×48 pixels, but .*a0\.png has 32×24 pixels.*folder"):
        list(find(tmp_path / "in"))


def test_a_video_is_shrunk(tmp_path: Path) -> None:
    frames = [np.full((96, 128, 3), 30 * i, np.uint8) for i in range(5)]
    path = video.write(tmp_path / "clip.mp4", frames, 10)
    found = footage.of_video(path, most_px=64)
    assert (found.camera.width, found.camera.height) == (64, 48) and found.intrinsics_from == "guessed"
    shots = list(found)
    assert [s.time_s for s in shots] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4], abs=1e-3)
    assert shots[0].frame.shape == (48, 64, 3) and len(found) == 5
    given = footage.of_video(path, Intrinsics(100.0, 100.0, 63.5, 47.5, 128, 96), most_px=64)
    assert given.camera.fx == 50 and given.intrinsics_from == "given"


def test_posed_folders_keep_untracked_frames(tmp_path: Path) -> None:
    pose = np.eye(4)
    for i in range(3):
        picture(tmp_path / "color" / f"{i}.png", 10 * i, mode="RGB")
        (tmp_path / "depth").mkdir(exist_ok=True)
        Image.fromarray(np.full((24, 32), 1000, np.uint16)).save(tmp_path / "depth" / f"{i}.png")
        (tmp_path / "pose").mkdir(exist_ok=True)
        np.savetxt(tmp_path / "pose" / f"{i}.txt", pose if i != 1 else np.full((4, 4), -np.inf))
    np.savetxt(tmp_path / "intrinsics.txt", Intrinsics(30.0, 30.0, 15.5, 11.5, 32, 24).matrix)
    from percepta.datasets.recordings import open_recording

    found = footage.of_recording(open_recording(tmp_path), "room")
    assert [int(s.frame.max()) for s in found] == [0, 10, 20]
    assert found.truth is not None and found.truth.time_s.tolist() == pytest.approx([0, 2 / 30])


def test_kalibr(tmp_path: Path) -> None:
    (tmp_path / "camchain.yaml").write_text(
        "cam0:\n  cam_overlaps: [1]\n  camera_model: pinhole\n  distortion_coeffs: [0.1, -0.2, 0.001, 0.002]\n"
        "  distortion_model: equidistant\n  intrinsics: [190.9, 190.9, 254.9, 256.8]\n  resolution: [512, 512]\n"
        "  T_cam_imu:\n  - [1.0, 0.0, 0.0, 0.1]\n  - [0.0, 1.0, 0.0, 0.0]\n  - [0.0, 0.0, 1.0, 0.0]\n"
        "  - [0.0, 0.0, 0.0, 1.0]\n  timeshift_cam_imu: 0.002\ncam1:\n  camera_model: pinhole\n"
        "  distortion_model: radtan\n  distortion_coeffs: [0, 0, 0, 0]\n  intrinsics: [1, 1, 1, 1]\n"
        "  resolution: [2, 2]\n"
    )
    cameras = calibration.kalibr(tmp_path / "camchain.yaml")
    assert [lens.model for _, lens, _ in cameras] == ["fisheye", "radtan"]
    matrix = calibration.camera_from_imu(tmp_path / "camchain.yaml", cameras[0][2])
    assert matrix is not None and matrix[0, 3] == 0.1 and cameras[0][2]["timeshift_cam_imu"] == 0.002
    assert calibration.read_camera(tmp_path / "camchain.yaml")[0].fx == 190.9
    (tmp_path / "bad.yaml").write_text(
        "cam0:\n  camera_model: omni\n  intrinsics: [1, 1, 1, 1]\n  resolution: [2, 2]\n"
    )
    with pytest.raises(InputError, match="omni"):
        calibration.kalibr(tmp_path / "bad.yaml")
    (tmp_path / "bad.yaml").write_text("cam0:\n  nonsense\n")
    with pytest.raises(InputError, match="line 2"):
        calibration.read_yaml(tmp_path / "bad.yaml")


def test_a_camera_is_written_and_read(tmp_path: Path) -> None:
    camera, lens = Intrinsics(500.5, 501.0, 320.0, 240.0, 640, 480), Lens("fisheye", (0.1, 0.2, 0.3, 0.4))
    path = calibration.write_camera(tmp_path / "camera.json", camera, lens, error_px=0.2)
    assert calibration.read_camera(path) == (camera, lens)
    path.write_text("{}")
    with pytest.raises(InputError, match="fx, fy"):
        calibration.read_camera(path)


def test_samples_of_an_imu(tmp_path: Path) -> None:
    path = tmp_path / "imu.csv"
    path.write_text("timestamp, a_x, a_y, a_z, alpha_x, alpha_y, alpha_z\n0.5, 1, 2, 3, 4, 5, 6\n")
    assert calibration.read_imu_samples(path).tolist() == [[0.5, 4, 5, 6, 1, 2, 3]]
    path.write_text("0.5, 1, 2\n")
    with pytest.raises(InputError, match="line 1"):
        calibration.read_imu_samples(path)
    still = np.tile([0.0, 0, 0, 0, 0, 0, 9.8], (50, 1))
    assert oddities(still) == ""
    assert "in g" in oddities(still * np.array([1, 1, 1, 1, 1, 1, 1 / 9.81]))
    assert "degrees" in oddities(still + np.array([0, 40, 0, 0, 0, 0, 0]))
    with pytest.raises(InputError, match="backwards after sample 0"):
        check_samples(np.array([[1.0, 0, 0, 0, 0, 0, 0], [0.5, 0, 0, 0, 0, 0, 0]]))
    with pytest.raises(InputError, match="above 0"):
        Imu(gyroscope_noise=0.0)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        footage.of_pictures(tmp_path)
    with pytest.raises(InputError, match="2 times for 1 pictures"):
        Pictures((tmp_path / "a.png",), np.zeros(2))


def test_the_kitchen(shared_data: Path) -> None:
    root = shared_data / "7scenes-redkitchen"
    if not root.is_dir():
        pytest.skip(f"{root} is not there")
    found = find(root)
    assert len(found) == 300 and found.camera.fx == 525 and found.rolling_shutter > 0
    shot = next(iter(found))
    assert shot.depth_m is not None and shot.frame.shape == (480, 640, 3) and 0.5 < np.median(shot.depth_m) < 5
    assert found.truth is not None and found.truth.length_m == pytest.approx(2.1, abs=0.2)
    np.testing.assert_allclose(found.camera_from_scored[:3, 3], (-0.02556, 0.0001, 0.00203))
    assert poses.problem(found.camera_from_scored) == ""


# --- details of each layout


def kitti_folder(root: Path, count: int = 3, sides: int = 2) -> Path:
    for side in range(sides):
        for i in range(count):
            picture(root / f"image_{side}" / f"{i:06d}.png", i)
    row = "718 0 15.5 {} 0 718 11.5 0 0 0 1 0"
    (root / "calib.txt").write_text(f"P0: {row.format(0)}\nP1: {row.format(-359)}\nTr: {row.format(0)}\n")
    return root


def test_kitti_lies_as_its_authors_lay_it(tmp_path: Path) -> None:
    """Poses of sequence 07 stand in poses/07.txt beside sequences/; times in times.txt; one camera may be there."""
    root = kitti_folder(tmp_path / "sequences" / "07")
    (tmp_path / "poses").mkdir()
    (tmp_path / "poses" / "07.txt").write_text("\n".join(f"1 0 0 0 0 1 0 0 0 0 1 {2 * i}" for i in range(5)))
    (root / "times.txt").write_text("0.5\n0.75\n1.5\n9\n")
    found = kitti_odometry.read(root)
    assert kitti_odometry.is_one(root) and found.name == "07" and found.intrinsics_from == "calib.txt"
    assert [shot.time_s for shot in found] == [0.5, 0.75, 1.5], "the fourth time is of no picture"
    assert found.truth is not None and found.truth.time_s.tolist() == [0.5, 0.75, 1.5]
    assert found.truth.centres[:, 2].tolist() == [0, 2, 4] and len(found) == 3
    assert found.right is not None
    np.testing.assert_allclose(found.right.left_from_right[:3, 3], (0.5, 0, 0))  # 359 / 718
    np.testing.assert_allclose(found.right.left_from_right[:3, :3], np.eye(3))
    assert found.right.camera == found.camera == Intrinsics(718.0, 718.0, 15.5, 11.5, 32, 24)
    shot = next(iter(found))
    assert shot.frame.shape == (24, 32) and shot.right is not None and shot.right.shape == (24, 32)
    (root / "image_1" / "000002.png").unlink()
    with pytest.raises(InputError, match="3 pictures in image_0 but 2 in image_1"):
        kitti_odometry.read(root)


def test_kitti_with_one_camera(tmp_path: Path) -> None:
    root = kitti_folder(tmp_path, sides=1)
    found = kitti_odometry.read(root)
    assert found.right is None and found.truth is None and next(iter(found)).right is None
    two = kitti_folder(tmp_path / "two")
    (two / "calib.txt").write_text("718 0 15.5 0 0 718 11.5 0 0 0 1 0\n\n")
    assert kitti_odometry.read(two).right is None, "nothing is known of the second camera"
    (root / "calib.txt").write_text("Tr: 1 0 0 0 0 1 0 0 0 0 1 0\n")
    with pytest.raises(InputError, match="no projection matrix"):
        kitti_odometry.read(root)
    (root / "calib.txt").write_text("P0: 718 0 15.5 0 0 718 11.5 0 0 0 1 0\nP1: 1 2 3\n")
    with pytest.raises(InputError, match="line 2"):
        kitti_odometry.read(root)
    for first in ("0", "-718"):
        (root / "calib.txt").write_text(f"P0: {first} 0 15.5 0 0 718 11.5 0 0 0 1 0\n")
        with pytest.raises(InputError, match="begins with the focal length"):
            kitti_odometry.read(root)
    (root / "calib.txt").unlink()
    assert not kitti_odometry.is_one(root)
    with pytest.raises(MissingFileError, match="projection matrices"):
        kitti_odometry.read(root)
    with pytest.raises(MissingFileError, match="no pictures"):
        kitti_odometry.read(tmp_path / "nothing")


@pytest.mark.parametrize("times", ["0\n0.1\n", "0\n0.1\n0.1\n", "0\n0.2\n0.1\n", "0\nnan\n1\n"])
def test_kitti_refuses_times_that_do_not_grow(tmp_path: Path, times: str) -> None:
    root = kitti_folder(tmp_path)
    (root / "times.txt").write_text(times)
    with pytest.raises(InputError, match=r"times\.txt"):
        kitti_odometry.read(root)


def test_euroc_in_its_own_folder_and_without_the_rest(tmp_path: Path) -> None:
    root = euroc(tmp_path / "MH_01")
    assert euroc_reader.is_one(root) and euroc_reader.is_one(root / "mav0") and not euroc_reader.is_one(tmp_path)
    assert euroc_reader.read(root).name == euroc_reader.read(root / "mav0").name == "MH_01"
    moved = (root / "mav0").rename(tmp_path / "alone")
    (moved / "cam1" / "data.csv").unlink()
    (moved / "imu0" / "data.csv").unlink()
    (moved / "state_groundtruth_estimate0" / "data.csv").unlink()
    found = euroc_reader.read(moved)
    assert found.name == "alone" and len(found) == 4
    assert found.right is found.imu is found.samples is found.truth is None
    assert [shot.time_s for shot in found] == [1.0, 1.05, 1.1, 1.15]
    assert all(shot.right is None and shot.imu is None and shot.frame.ndim == 2 for shot in found)
    rows = (moved / "cam0" / "data.csv").read_text().splitlines()
    (moved / "cam0" / "data.csv").write_text("\n".join([rows[0], *rows[:0:-1], ""]))
    assert [shot.time_s for shot in euroc_reader.read(moved)] == [1.0, 1.05, 1.1, 1.15], "in the order of time"
    with (moved / "cam0" / "data.csv").open("a") as file:
        file.write("soon,a.png\n")
    with pytest.raises(InputError, match="line 6: expected a time and a file: soon"):
        euroc_reader.read(moved)
    (moved / "cam0" / "data.csv").write_text("#only a header\n\n")
    with pytest.raises(InputError, match="no pictures in it"):
        euroc_reader.read(moved)
    (moved / "cam0" / "data.csv").write_text("7,gone.png\n")
    with pytest.raises(MissingFileError, match=r"gone\.png: no such file"):
        euroc_reader.read(moved)
    with pytest.raises(MissingFileError, match="not a sequence of EuRoC"):
        euroc_reader.read(tmp_path / "nothing")


def test_euroc_s_cameras_need_a_time_in_common(tmp_path: Path) -> None:
    root = euroc(tmp_path)
    (root / "mav0" / "cam1" / "data.csv").write_text("5,1000000000.png\n")
    (root / "mav0" / "cam1" / "data" / "5.png").write_bytes(b"")
    with pytest.raises(InputError, match="no picture of cam0 has one of cam1"):
        euroc_reader.read(root)


def test_stray_scanner(tmp_path: Path) -> None:
    """1280×96 pixels are shrunk to 640×48; three of five frames have poses, and the first has depth."""
    frames = [np.full((96, 1280, 3), 40 * i, np.uint8) for i in range(5)]
    video.write(tmp_path / "rgb.mp4", frames, 10)
    (tmp_path / "camera_matrix.csv").write_text("100, 0, 639.5\n0, 100, 47.5\n0, 0, 1\n")
    assert not stray_scanner.is_one(tmp_path)
    half = np.sqrt(0.5)  # x y z w of a quarter turn about z
    rows = [f"{0.1 * i + 3}, {i:06d}, {i}, 2, 3, 0, 0, {half}, {half}" for i in range(3)]
    (tmp_path / "odometry.csv").write_text("\n".join(["timestamp, frame, x, y, z, qx, qy, qz, qw", *rows, ""]))
    assert stray_scanner.is_one(tmp_path)
    found = stray_scanner.read(tmp_path)
    assert found.camera == Intrinsics(50.0, 50.0, 319.5, 23.5, 640, 48) and found.intrinsics_from == "camera_matrix.csv"
    shots = list(found)
    assert [shot.time_s for shot in shots] == pytest.approx([3, 3.1, 3.2]) and shots[0].depth_m is None
    assert shots[0].frame.shape == (48, 640, 3)
    assert found.truth is not None
    np.testing.assert_allclose(found.truth.centres, [(i, 2, 3) for i in range(3)])
    np.testing.assert_allclose(found.truth.world_from_camera[1, :3, 0], (0, 1, 0), atol=1e-12)
    (tmp_path / "depth").mkdir()
    Image.fromarray(np.full((12, 160), 1500, np.uint16)).save(tmp_path / "depth" / "000000.png")
    depths = [shot.depth_m for shot in stray_scanner.read(tmp_path)]
    assert all(one is not None and one.shape == (48, 640) for one in depths)
    assert [float(np.max(one)) for one in depths if one is not None] == [1.5, 0, 0]
    for text, says in (("a\n1,2,3\n", "line 2"), ("a\n0,0,x,0,0,0,0,0,1\n", "line 2"), ("a\n\n", "no poses"),
                       ("a\n0,0,nan,0,0,0,0,0,1\n", "line 2")):  # fmt: skip
        (tmp_path / "odometry.csv").write_text(text)
        with pytest.raises(InputError, match=says):
            stray_scanner.read(tmp_path)
    (tmp_path / "rgb.mp4").unlink()
    with pytest.raises(MissingFileError, match=r"rgb\.mp4"):
        stray_scanner.read(tmp_path)


# --- what a capture gives


def test_samples_of_a_part_come_with_the_shot_after_them(tmp_path: Path) -> None:
    """Samples every 5 ms from 1 s on, pictures every 50 ms: sample 10 · i has picture i's time. A part begins with the
    last sample at or before its first picture; with an offset of 10 ms pictures belong to samples two later."""
    found = find(euroc(tmp_path))

    def numbers(capture: Capture, *part: int | None) -> list[list[float]]:
        return [[] if shot.imu is None else shot.imu[:, 1].tolist() for shot in capture.shots(*part)]  # pyright: ignore

    assert numbers(found) == [[0], list(range(1, 11)), list(range(11, 21))]
    assert numbers(found, 1) == [[10], list(range(11, 21))]
    assert numbers(found, 0, 3, 2) == [[0], list(range(1, 21))]
    assert numbers(found, 0, 1) == [[0]] and numbers(found, 2, 2) == []
    assert found.imu is not None and found.imu.offset_s == 0
    late = replace(found, imu=replace(found.imu, offset_s=0.01))
    assert numbers(late) == [[2], list(range(3, 13)), list(range(13, 23))]
    assert numbers(replace(found, imu=None), 1) == [[10], list(range(11, 21))]
    early = replace(found, imu=replace(found.imu, offset_s=-1.0))
    assert numbers(early)[0] == [], "no sample is that early"


@pytest.mark.parametrize("part", [(0, None, 2), (1, None, 1), (1, 99, 2), (0, 2, 1), (2, 1, 1)])
def test_the_length_of_a_part_is_what_comes(tmp_path: Path, part: tuple[int, int | None, int]) -> None:
    found = find(euroc(tmp_path))
    assert len(found.part(*part)) == len(list(found.part(*part))) == len(range(*slice(*part).indices(3)))
    assert found.part(*part).samples is None


def test_pictures_with_depth_of_another_size(tmp_path: Path) -> None:
    for i in range(2):
        Image.new("RGB", (32, 24), (10 * (i + 1),) * 3).save(tmp_path / f"{i}.png")
    Image.fromarray(np.arange(12, dtype=np.uint16).reshape(3, 4) * 1000).save(tmp_path / "d.png")
    paths = (tmp_path / "0.png", tmp_path / "1.png")
    shots = list(
        Pictures(paths, np.array([1.0, 2.0]), paths[::-1], (tmp_path / "d.png", None), unit_m=0.002, grey=True)
    )
    assert [shot.frame.ndim for shot in shots] == [2, 2] and [shot.time_s for shot in shots] == [1.0, 2.0]
    assert [int(np.max(shot.right)) for shot in shots if shot.right is not None] == [20, 10]
    first, second = (shot.depth_m for shot in shots)
    assert first is not None and second is not None and not second.any() and second.shape == (24, 32)
    np.testing.assert_allclose(first[::8, ::8], np.arange(12).reshape(3, 4) * 2.0)
    plain = next(iter(Pictures(paths, np.zeros(2))))
    assert plain.depth_m is None and plain.right is None and plain.frame.shape == (24, 32, 3)
    for more in ((paths[:1],), ((), (None,))):
        with pytest.raises(InputError, match=r"1 (right|depth) pictures for 2 pictures"):
            Pictures(paths, np.zeros(2), *more)  # pyright: ignore[reportArgumentType]


def test_pictures_of_all_kinds_are_read(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 255, 256, 65535]], np.uint16)).save(tmp_path / "deep.png")
    assert footage.read_picture(tmp_path / "deep.png").tolist() == [[0, 0, 1, 255]]
    picture(tmp_path / "grey.png", 7)
    Image.new("1", (4, 2), 1).save(tmp_path / "bits.png")
    Image.new("RGBA", (4, 2), (10, 20, 30, 40)).save(tmp_path / "a.png")
    assert footage.read_picture(tmp_path / "grey.png").shape == (24, 32)
    assert footage.read_picture(tmp_path / "bits.png").tolist() == [[255] * 4] * 2
    assert footage.read_picture(tmp_path / "a.png")[0, 0].tolist() == [10, 20, 30]
    assert footage.read_picture(tmp_path / "a.png", grey=True).shape == (2, 4)
    with pytest.raises(MissingFileError, match=r"gone\.png"):
        footage.read_picture(tmp_path / "gone.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="cannot be read"):
        footage.read_picture(tmp_path / "bad.png")


def test_sizes_and_guesses() -> None:
    assert footage.shrunk_size(1920, 1080, 640) == (640, 360) and footage.shrunk_size(1080, 1920, 640) == (360, 640)
    assert footage.shrunk_size(640, 480, 640) == (640, 480) == footage.shrunk_size(640, 480, None)
    assert footage.shrunk_size(320, 240, 640) == (320, 240), "nothing grows"
    assert footage.shrunk_size(4000, 1, 10) == (10, 1) and footage.shrunk_size(1, 4000, 10) == (1, 10)
    frame = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert footage.shrunk(frame, 4) is frame and footage.shrunk(frame, None) is frame
    assert footage.shrunk(frame, 2).tolist() == [[[8, 9, 10], [14, 15, 16]]]  # (0 + 3 + 12 + 15) / 4 = 7½
    for width, height in ((640, 480), (480, 640)):
        camera = footage.guessed(width, height)
        assert camera == Intrinsics(544.0, 544.0, (width - 1) / 2, (height - 1) / 2, width, height)


def test_focal_lengths_that_no_lens_has_are_not_believed(tmp_path: Path) -> None:
    def written(film_mm: float | None) -> Intrinsics | None:
        exif = Image.Exif()
        if film_mm is not None:
            exif.get_ifd(0x8769)[0xA405] = film_mm
        Image.new("RGB", (320, 240)).save(tmp_path / "photo.jpg", exif=exif)
        return footage.from_exif(tmp_path / "photo.jpg", 320, 240)

    assert [written(mm) for mm in (None, 0, 5, 500)] == [None] * 4
    camera = written(6)
    assert camera is not None and camera.fx == camera.fy == pytest.approx(6 / np.hypot(36, 24) * 400)
    assert (camera.cx, camera.cy, camera.width, camera.height) == (159.5, 119.5, 320, 240)
    assert footage.from_exif(tmp_path / "gone.jpg", 320, 240) is None


def test_poses_beside_pictures_are_their_truth(tmp_path: Path) -> None:
    """Frames of a folder rgb/ are 1/30 s apart; the second of three has no pose that counts."""
    for i in range(3):
        picture(tmp_path / "rgb" / f"{i}.png", i, mode="RGB")
        (tmp_path / "pose").mkdir(exist_ok=True)
        pose = np.eye(4)
        pose[0, 3] = i
        np.savetxt(tmp_path / "pose" / f"{i}.txt", np.full((4, 4), np.nan) if i == 1 else pose)
    np.savetxt(tmp_path / "intrinsics.txt", Intrinsics(41.0, 41.0, 15.0, 11.0, 32, 24).matrix)
    found = footage.read(tmp_path)
    assert found.name == tmp_path.name and found.camera.fx == 41 and found.intrinsics_from == "given"
    assert [shot.time_s for shot in found] == pytest.approx([0, 1 / 30, 2 / 30])
    assert found.truth is not None and found.truth.time_s.tolist() == pytest.approx([0, 2 / 30])
    assert found.truth.centres[:, 0].tolist() == [0, 2]
    (tmp_path / "pose" / "2.txt").unlink()
    assert footage.read(tmp_path).truth is None, "one is missing, so it is not known which belong together"
    assert footage.is_one(tmp_path) and not footage.is_one(tmp_path / "pose")
    with pytest.raises(MissingFileError, match="neither a video nor"):
        footage.read(tmp_path / "pose")


# --- files of cameras and sensors


def test_small_yaml(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(
        "%YAML:1.0\n---\n# a remark\nname: 'a text' # and one behind it\nnumber: 2.5\nempty:\n"
        "matrix: !!opencv-matrix\n   rows: 2\n   data: [1., .5,\n      -.25, 4]\nnames: [one, two]\n"
        "rows:\n- [1, 2]\n- [3, 4]\nafter: 1e-3\ndeep:\n  deeper:\n    deepest: 7\n  back: 8\nlast: x#y\n"
    )
    assert calibration.read_yaml(path) == {
        "name": "a text", "number": 2.5, "empty": None, "matrix": {"rows": 2.0, "data": [1.0, 0.5, -0.25, 4]},
        "names": ["one", "two"], "rows": [[1, 2], [3, 4]], "after": 0.001, "deep": {"deeper": {"deepest": 7.0},
        "back": 8.0}, "last": "x#y",
    }  # fmt: skip
    for text, line in (("a: 1\n  b: 2\n", 2), ("a: 1\nnonsense\n", 2), ("- 1\n- 2\n", 1)):
        path.write_text(text)
        with pytest.raises(InputError, match=f"line {line}"):
            calibration.read_yaml(path)


def test_cameras_that_are_not_read_are_named(tmp_path: Path) -> None:
    path = tmp_path / "sensor.yaml"
    good = "camera_model: pinhole\nintrinsics: [30, 31, 15, 11]\nresolution: [32, 24]\n"
    path.write_text(good)
    assert calibration.read_camera(path) == (Intrinsics(30.0, 31.0, 15.0, 11.0, 32, 24), Lens())
    path.write_text(good + "distortion_model: none\ndistortion_coeffs: [0, 0, 0, 0]\n")
    assert calibration.read_camera(path)[1] == Lens()
    for old, new in (("pinhole", "omni"), ("[30, 31, 15, 11]", "[30, 31, 15]"), ("resolution: [32, 24]\n", "")):
        path.write_text(good.replace(old, new))
        with pytest.raises(InputError, match=r"sensor\.yaml"):
            calibration.read_camera(path)
    path.write_text(good + "distortion_model: strange\n")
    with pytest.raises(InputError, match="pinhole-strange is not read"):
        calibration.read_camera(path)
    path.write_text(good)
    with pytest.raises(InputError, match="no cam0"):
        calibration.kalibr(path)
    with pytest.raises(InputError, match="4×4"):
        calibration.euroc_camera(path)
    with pytest.raises(InputError, match="accelerometer_noise_density"):
        calibration.imu(path, np.eye(4))
    with pytest.raises(InputError, match="4×4"):
        calibration.second_from_first(path, {})
    shifted = np.eye(4)
    shifted[0, 3] = 0.25
    assert (calibration.second_from_first(path, {"T_cn_cnm1": shifted.tolist()}) == shifted).all()
    assert calibration.camera_from_imu(path, {}) is None


def test_units_and_columns_of_imu_files(tmp_path: Path) -> None:
    """Times above 1e14 are nanoseconds where nobody says more; columns without names are t, gyroscope, forces."""
    path = tmp_path / "imu.csv"
    path.write_text("200000000000000,1,2,3,4,5,6\n\n200001000000000;1;2;3;4;5;6\n")
    assert calibration.read_imu_samples(path)[:, 0].tolist() == pytest.approx([200000, 200001])
    assert calibration.read_imu_samples(path, 1e-12)[:, 0].tolist() == pytest.approx([200, 200.001])
    path.write_text("90000000000000,1,2,3,4,5,6,7\n")
    assert calibration.read_imu_samples(path).tolist() == [[9e13, 1, 2, 3, 4, 5, 6]]
    header = "#Time [s], gyro_z, gyro_y, gyro_x, acc_x (m/s2), acc_y, acc_z"
    path.write_text(f"{header}\n1,2,3,4,5,6,7\n")
    assert calibration.read_imu_samples(path).tolist() == [[1, 4, 3, 2, 5, 6, 7]]
    path.write_text("nothing, that, is, known\n1,2,3,4,5,6,7\n")
    assert calibration.read_imu_samples(path).tolist() == [[1, 2, 3, 4, 5, 6, 7]]
    path.write_text("only a header\n")
    with pytest.raises(InputError, match="no samples"):
        calibration.read_imu_samples(path)


def test_oddities_by_their_bounds() -> None:
    def said(force: float, turn: float = 0.0, rows: int = 20) -> str:
        return oddities(np.tile([0.0, turn, 0, 0, 0, force, 0], (rows, 1)))

    assert said(9.81) == said(7.1) == said(12.9) == said(9.81, 14.9) == said(1.0, rows=19) == ""
    assert all("in g" in said(force) for force in (0.71, 1.0, 1.39))
    assert all("gravity alone" in said(force) for force in (0.69, 1.41, 6.9, 13.1, 0.0))
    assert "degrees" in said(9.81, 15.1) and "degrees" not in said(1.0, 99.0)


def test_samples_that_are_none() -> None:
    good = np.arange(21.0).reshape(3, 7)
    assert (check_samples(good) == good).all()
    same = good.copy()
    same[2, 0] = same[1, 0]
    assert (check_samples(same) == same).all(), "two samples of one time are no way back"
    for wrong in (good[:, :6], good[0], good[None]):
        with pytest.raises(InputError, match="the IMU: samples are rows"):
            check_samples(wrong)
    good[1, 3] = np.inf
    with pytest.raises(InputError, match="mine: sample 1 has values"):
        check_samples(good, "mine")
    for name in ("gyroscope_noise", "accelerometer_noise", "gyroscope_walk", "accelerometer_walk"):
        for value in (0.0, -1.0, float("nan"), float("inf")):
            with pytest.raises(InputError, match="above 0"):
                Imu(**{name: value})  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="camera_from_imu"):
        Imu(2 * np.eye(4))
