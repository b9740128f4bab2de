"""Inertial samples as logger apps of phones write them: a file for each sensor, at its own times.

Read are folders (or a video's files beside it) of

- Sensor Logger: Gyroscope.csv and TotalAcceleration.csv, else Accelerometer.csv with Gravity.csv, with the columns
  seconds_elapsed, x, y, z. On iOS its forces have the other sign, unless metadata.csv says that they are standardised.
- phyphox: Gyroscope.csv ("Time (s)", "Gyroscope x (rad/s)", ...) and Accelerometer.csv ("Acceleration x (m/s^2)").
- Stray Scanner: imu.csv ("timestamp, a_x, a_y, a_z, alpha_x, alpha_y, alpha_z"): forces in g with iOS's sign, turns in
  rad/s.
- OpenCamera Sensors: NAMEgyro.csv and NAMEaccel.csv, rows of x, y, z and the time in nanoseconds.

One file with all seven columns (EuRoC's, MARS logger's gyro_accel.csv) is read by `calibration.read_imu_samples`.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from percepta import files
from percepta.datasets.calibration import read_imu_samples
from percepta.datasets.tables import columns_found
from percepta.errors import InputError, MissingFileError

_STRAY_SCANNER = ["timestamp", "a_x", "a_y", "a_z", "alpha_x", "alpha_y", "alpha_z"]
_STANDARD_GRAVITY = 9.80665  # m/s²
_TIMES = ("seconds_elapsed", "time (s)", "time_s", "timestamp", "time")  # those that are seconds first
_GYROSCOPES = ("Gyroscope.csv", "*gyro.csv", "*Gyro.csv")
_FORCES = ("TotalAcceleration.csv", "*accel.csv", "*Accel.csv", "Accelerometer.csv")


def read(path: Path | str) -> Float64[np.ndarray, "n 7"]:
    """Rows t in s, gyroscope in rad/s, specific force in m/s², at the gyroscope's times; axes as the phone has them.

    Args:
        path: a folder of a logger app, or one file with all columns.

    Raises:
        MissingFileError: there is no such path, or one of the sensors is missing.
        InputError: a file that is none of these.
    """
    path = Path(path)
    if path.is_file():
        return _stray_scanner(path) if _is_stray_scanner(path) else read_imu_samples(path)
    if not path.is_dir():
        raise MissingFileError(f"{path}: no such file or folder")
    whole = sorted(path.glob("*gyro_accel.csv"))
    if whole:
        return read_imu_samples(whole[0])
    if (path / "imu.csv").is_file() and _is_stray_scanner(path / "imu.csv"):
        return _stray_scanner(path / "imu.csv")
    gyroscope = axes(_first(path, _GYROSCOPES, "a gyroscope's file"))
    source = _first(path, _FORCES, "an accelerometer's file")
    force = axes(source)
    if source.name == "Accelerometer.csv" and (path / "Gravity.csv").is_file():
        gravity = axes(path / "Gravity.csv")
        force[:, 1:] += _at(gravity, force[:, 0])
    if _turned_round(path):
        force[:, 1:] *= -1
    inside = (gyroscope[:, 0] >= force[0, 0]) & (gyroscope[:, 0] <= force[-1, 0])
    if inside.sum() < 10:
        raise InputError(f"{path}: gyroscope and accelerometer were not logged at the same time")
    gyroscope = gyroscope[inside]
    return np.concatenate([gyroscope, _at(force, gyroscope[:, 0])], 1)


def _is_stray_scanner(path: Path) -> bool:
    with path.open("rb") as file:
        return [word.strip() for word in file.readline(200).decode(errors="replace").split(",")] == _STRAY_SCANNER


def _stray_scanner(path: Path) -> Float64[np.ndarray, "n 7"]:
    rows = []
    for number, line in enumerate(files.read_lines(path), 1):
        if number == 1 or not line.strip():
            continue
        try:
            values = [float(word) for word in line.split(",")]
        except ValueError:
            values = []
        if len(values) != 7:
            raise InputError(f"{path}, line {number}: expected {', '.join(_STRAY_SCANNER)}; found {line[:60]!r}")
        rows.append(values)
    if not rows:
        raise InputError(f"{path}: no samples in it")
    table = np.array(rows)
    table = table[np.argsort(table[:, 0], kind="stable")]
    return np.concatenate([table[:, :1], table[:, 4:], -_STANDARD_GRAVITY * table[:, 1:4]], 1)


def axes(path: Path) -> Float64[np.ndarray, "n 4"]:
    """Rows t in s, x, y, z of one sensor's file, in the order of time.

    Args:
        path: a CSV with commas, semicolons or tabs; without a header its rows are x, y, z and nanoseconds.

    Raises:
        InputError: a line that is none, or columns that are not known.
    """
    order: list[int] | None = None
    rows: list[list[float]] = []
    for number, line in enumerate(files.read_lines(path), 1):
        if not line.strip():
            continue
        if ";" in line or "\t" in line:  # numbers may have commas then
            words = re.split(r"[;\t]", line if not rows and order is None else line.replace(",", "."))
        else:
            words = line.split(",")
        words = [word.strip().strip('"') for word in words]
        try:
            values = [float(word) for word in words if word]
        except ValueError:
            if rows:
                raise InputError(f"{path}, line {number}: expected numbers, found {line[:60]!r}") from None
            order = _columns(path, words)
            continue
        if len(values) < 4:
            raise InputError(f"{path}, line {number}: expected a time and three axes, found {line[:60]!r}")
        rows.append([values[i] for i in order or (3, 0, 1, 2)])
    if len(rows) < 2:
        raise InputError(f"{path}: no samples in it")
    table = np.array(rows, np.float64)
    if order is None or table[0, 0] > 1e12:  # nanoseconds, of whatever clock
        table[:, 0] *= 1e-9
    table = table[np.argsort(table[:, 0], kind="stable")]
    return table[np.r_[True, np.diff(table[:, 0]) > 0]]


def _columns(path: Path, words: list[str]) -> list[int]:
    """Which columns are t, x, y, z."""
    plain = [word.lower() for word in words]
    time = next((plain.index(name) for name in _TIMES if name in plain), -1)
    places = [time]
    for axis in "xyz":
        named = re.compile(rf"(?:^|.*[\s_]){axis}(?:\s*\(.*\))?$")
        places.append(next((i for i, word in enumerate(plain) if named.match(word)), -1))
    if min(places) < 0:
        lacking = ", ".join(name for name, place in zip(("time", *"xyz"), places, strict=True) if place < 0)
        raise InputError(f"{path}: no column for {lacking}; it has {columns_found(words)}")
    return places


def _at(table: Float64[np.ndarray, "n 4"], time_s: Float64[np.ndarray, " m"]) -> Float64[np.ndarray, "m 3"]:
    return np.stack([np.interp(time_s, table[:, 0], table[:, i]) for i in (1, 2, 3)], 1)


def _first(folder: Path, patterns: tuple[str, ...], what: str) -> Path:
    for pattern in patterns:
        found = sorted(folder.glob(pattern))
        if len(found) > 1:
            raise InputError(f"{folder}: {len(found)} files could be {what} ({found[0].name}, {found[1].name}, ...)")
        if found:
            return found[0]
    raise MissingFileError(f"{folder}: {what} is missing; expected {' or '.join(patterns)}")


def _turned_round(folder: Path) -> bool:
    """Whether the app says that forces have the sign of iOS."""
    path = folder / "metadata.csv"
    if not path.is_file():
        return False
    lines = [line.split(",") for line in files.read_lines(path) if line.strip()]
    if len(lines) < 2:
        return False
    told = dict(zip((word.strip().lower() for word in lines[0]), (w.strip().lower() for w in lines[1]), strict=False))
    return "ios" in told.get("platform", "") and told.get("standardisation", "") not in ("true", "1")
