"""EuRoC MAV (Burri et al. 2016): a stereo pair with an inertial sensor, and true poses of the sensor.

Layout: mav0/ (or its parent, or the folder itself) with cam0/data.csv (time in ns, file), cam0/data/, cam0/sensor.yaml,
maybe cam1/ with the same, imu0/data.csv and imu0/sensor.yaml, and state_groundtruth_estimate0/data.csv.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from percepta import files
from percepta.datasets import calibration
from percepta.datasets.capture import Capture, RightCamera
from percepta.datasets.footage import Pictures
from percepta.errors import InputError, MissingFileError
from percepta.geometry import pose as poses
from percepta.geometry.imu import check_samples
from percepta.metrics import trajectory

NAME = "EuRoC MAV"
FILES = "mav0/cam0/data.csv and mav0/cam0/sensor.yaml"


def _home(root: Path) -> Path | None:
    return next((p for p in (Path(root), Path(root) / "mav0") if (p / "cam0" / "data.csv").is_file()), None)


def is_one(root: Path) -> bool:
    """Whether a folder is a sequence of EuRoC."""
    return _home(root) is not None


def read(root: Path) -> Capture:
    """One sequence; pictures of the right camera count where one was taken at the same time.

    Raises:
        MissingFileError: a file is missing.
        InputError: a damaged file, naming the line.
    """
    home = _home(root)
    if home is None:
        raise MissingFileError(f"{root}: no cam0/data.csv, nor in mav0/; this is not a sequence of EuRoC")
    left = _pictures(home / "cam0")
    camera, lens, body_from_camera = calibration.euroc_camera(home / "cam0" / "sensor.yaml")
    right, other = None, {}
    if (home / "cam1" / "data.csv").is_file():
        other = _pictures(home / "cam1")
        second, second_lens, body_from_second = calibration.euroc_camera(home / "cam1" / "sensor.yaml")
        right = RightCamera(second, second_lens, poses.inverse(body_from_camera) @ body_from_second)
        left = {time: path for time, path in left.items() if time in other}
        if not left:
            raise InputError(f"{home}: no picture of cam0 has one of cam1 of the same time")
    time_s = np.array(list(left)) / 1e9
    frames = Pictures(tuple(left.values()), time_s, tuple(other[time] for time in left) if right else (), grey=True)
    sensor, samples = None, None
    if (home / "imu0" / "data.csv").is_file():
        sensor = calibration.imu(home / "imu0" / "sensor.yaml", poses.inverse(body_from_camera))
        samples = check_samples(calibration.read_imu_samples(home / "imu0" / "data.csv", 1e-9), str(home / "imu0"))
    truth = None
    path = home / "state_groundtruth_estimate0" / "data.csv"
    if path.is_file():
        body = trajectory.read(path, "euroc")
        truth = trajectory.trajectory(body.time_s, body.world_from_camera @ body_from_camera)
    name = home.parent.name if home.name == "mav0" else home.name
    return Capture(name, frames, camera, "sensor.yaml", lens, right, sensor, samples, truth)


def _pictures(folder: Path) -> dict[int, Path]:
    """{time in ns: file} of data.csv, in the order of time."""
    found = {}
    for number, line in enumerate(files.read_lines(folder / "data.csv"), 1):
        if line.startswith("#") or not line.strip():
            continue
        time, _, name = line.partition(",")
        try:
            found[int(time)] = folder / "data" / name.strip()
        except ValueError:
            raise InputError(f"{folder / 'data.csv'}, line {number}: expected a time and a file: {line[:60]}") from None
    if not found:
        raise InputError(f"{folder / 'data.csv'}: no pictures in it")
    first = found[min(found)]
    try:
        there = first.is_file()
    except OSError:  # a name that no file can have
        there = False
    if not there:
        raise MissingFileError(f"{first}: no such file; {folder / 'data.csv'} names it")
    return dict(sorted(found.items()))


READS = {Capture: read}
