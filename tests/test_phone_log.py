"""Logs of phones' inertial sensors, and their place against a video."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from percepta.datasets import phone_log
from percepta.datasets.capture import Capture, Shot
from percepta.errors import InputError, MissingFileError
from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics
from percepta.geometry.imu import GRAVITY, Imu
from percepta.metrics.trajectory import trajectory
from percepta.worlds import inertial as world

GYROSCOPE = np.array([0.1, -0.2, 0.3])
FORCE = np.array([0.5, 1.0, GRAVITY])


def table(path: Path, header: str, rows: np.ndarray, join: str = ",") -> None:
    lines = [header, *(join.join(f"{value:.9f}" for value in row) for row in rows)]
    path.write_text("\n".join(line for line in lines if line) + "\n")


def sensor_logger(folder: Path, platform: str, sign: float = 1.0) -> None:
    time_s = np.arange(60) / 100
    epoch = 1.7e18 + time_s * 1e9
    head = "time,seconds_elapsed,z,y,x"
    for name, value in (
        ("Gyroscope", GYROSCOPE),
        ("Accelerometer", sign * (FORCE - (0, 0, GRAVITY))),
        ("Gravity", sign * np.array([0, 0, GRAVITY])),
    ):
        table(folder / f"{name}.csv", head, np.c_[epoch, time_s, np.tile(value[::-1], (60, 1))])
    (folder / "metadata.csv").write_text(f"version,platform,standardisation\n3,{platform},false\n")


@pytest.mark.parametrize(("platform", "sign"), [("android", 1.0), ("ios", -1.0)])
def test_sensor_logger_is_read(tmp_path: Path, platform: str, sign: float) -> None:
    sensor_logger(tmp_path, platform, sign)
    found = phone_log.read(tmp_path)
    np.testing.assert_allclose(found[:, 0], np.arange(60) / 100, atol=1e-9)
    np.testing.assert_allclose(found[:, 1:], np.tile(np.r_[GYROSCOPE, FORCE], (60, 1)), atol=1e-8)


@pytest.mark.parametrize("join", [",", ";", "\t"])
def test_phyphox_is_read_at_the_gyroscopes_times(tmp_path: Path, join: str) -> None:
    time_s = np.arange(50) / 50
    head = ["Time (s)", *(f"Gyroscope {axis} (rad/s)" for axis in "xyz"), "Absolute (rad/s)"]
    table(
        tmp_path / "Gyroscope.csv",
        join.join(f'"{name}"' for name in head),
        np.c_[time_s, np.outer(time_s, GYROSCOPE), time_s],
        join,
    )
    late = np.arange(-2, 60) / 50 + 0.007
    head = ["Time (s)", *(f"Acceleration {axis} (m/s^2)" for axis in "xyz")]
    table(tmp_path / "Accelerometer.csv", join.join(head), np.c_[late, np.outer(late, FORCE)], join)
    found = phone_log.read(tmp_path)
    np.testing.assert_allclose(found[:, 0], time_s, atol=1e-8)
    np.testing.assert_allclose(found[:, 1:4], np.outer(time_s, GYROSCOPE), atol=1e-8)
    np.testing.assert_allclose(found[:, 4:], np.outer(time_s, FORCE), atol=1e-8)


def test_files_without_a_header_are_read(tmp_path: Path) -> None:
    time_s = np.arange(40) / 200
    for name, value in (("VID_1gyro.csv", GYROSCOPE), ("VID_1accel.csv", FORCE)):
        table(tmp_path / name, "", np.c_[np.tile(value, (40, 1)), 5e13 + time_s * 1e9])
    found = phone_log.read(tmp_path)
    np.testing.assert_allclose(found[:, 0] - found[0, 0], time_s, atol=1e-6)
    np.testing.assert_allclose(found[0, 1:], np.r_[GYROSCOPE, FORCE], atol=1e-8)


def test_stray_scanner_is_read(tmp_path: Path) -> None:
    """Forces in g, and with the other sign: a phone that lies on its back reads z = −1."""
    time_s = 7e4 + np.arange(40) / 100
    rows = np.c_[time_s, np.tile(np.r_[-FORCE / 9.80665, GYROSCOPE], (40, 1))]
    table(tmp_path / "imu.csv", "timestamp, a_x, a_y, a_z, alpha_x, alpha_y, alpha_z", rows, ", ")
    for path in (tmp_path, tmp_path / "imu.csv"):
        found = phone_log.read(path)
        np.testing.assert_allclose(found[:, 0], time_s, atol=1e-6)
        np.testing.assert_allclose(found[:, 1:], np.tile(np.r_[GYROSCOPE, FORCE], (40, 1)), atol=1e-7)
    with (tmp_path / "imu.csv").open("a") as file:
        file.write("1, 2, 3\n")
    with pytest.raises(InputError, match="line 42"):
        phone_log.read(tmp_path)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no such"):
        phone_log.read(tmp_path / "nothing")
    with pytest.raises(MissingFileError, match="gyroscope"):
        phone_log.read(tmp_path)
    sensor_logger(tmp_path, "android")
    (tmp_path / "Gyroscope.csv").write_text("time,seconds_elapsed,heading\n1,2,3\n")
    with pytest.raises(InputError, match="heading"):
        phone_log.read(tmp_path)


def waved(time_s: np.ndarray) -> np.ndarray:
    t = np.asarray(time_s, float)[:, None]
    eyes = np.concatenate([np.sin(1.1 * t), 0.7 * np.cos(1.7 * t), 0.3 * np.sin(2.3 * t + 1)], 1)
    turn = np.concatenate([0.5 * np.sin(1.3 * t), 0.4 * np.sin(0.9 * t + 2), 0.6 * np.sin(2.1 * t)], 1)
    return poses.compose(poses.from_vector(turn), eyes)


def knows() -> Any:
    """In the place of slam: its sessions know the way."""
    from percepta.systems.slam.predict import Slam

    def session_of(self: Any, capture: Capture) -> Any:
        shots: list[float] = []
        walk = lambda: SimpleNamespace(  # noqa: E731
            part=np.zeros(len(shots), int), trajectory=trajectory(np.array(shots), waved(np.array(shots)))
        )
        step = lambda frame, time_s, *_: shots.append(time_s)  # noqa: E731
        return SimpleNamespace(tracker=SimpleNamespace(), step=step, walk=walk)

    kind = type("Knows", (Slam,), {"session_of": session_of})
    return object.__new__(kind)


@pytest.mark.parametrize(("late_s", "quarter"), [(3.217, 1), (-1.4, 3), (0.0, 0)])
def test_offset_and_axes_of_a_log_are_found(late_s: float, quarter: int) -> None:
    pytest.importorskip("cv2")
    from percepta.systems.slam.phone import ways_up, with_log

    sensor = Imu(ways_up()[quarter])
    samples = world.samples(waved, np.arange(-4.0, 14.0, 0.01), sensor)
    samples[:, 0] += late_s
    shots = [Shot(t, np.zeros((6, 8), np.uint8)) for t in (np.arange(180) / 30).tolist()]
    capture = Capture("clip", shots, Intrinsics(8.0, 8.0, 3.5, 2.5, 8, 6), "given")  # type: ignore[arg-type]
    found, said = with_log(knows(), capture, samples)
    assert found.imu is not None and found.imu.offset_s == pytest.approx(late_s, abs=0.004)
    np.testing.assert_allclose(found.imu.camera_from_imu, sensor.camera_from_imu, atol=1e-12)
    assert f"{90 * quarter}°" in said
    assert next(iter(found)).imu is not None
    rng = np.random.default_rng(0)
    samples[:, 1:4] = rng.normal(0, 0.3, (len(samples), 3))
    with pytest.raises(InputError, match="does not turn"):
        with_log(knows(), capture, samples)
