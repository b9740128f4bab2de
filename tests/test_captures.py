"""Captures: what readers of moving cameras give, from folders that these tests write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from percepta.datasets import calibration, footage, layouts
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
