"""Files that describe cameras and inertial sensors: Kalibr's, EuRoC's sensor.yaml, and percepta's own camera.json.

The YAML that these files use is small: keys, lists in brackets (over several lines, too), rows that begin with "-", and
deeper levels by indentation. Only that is read, so that no further package is needed.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from percepta import files
from percepta.errors import InputError
from percepta.formats import named, read_json
from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics
from percepta.geometry.imu import Imu
from percepta.geometry.lens import Lens

_LENSES = {"radtan": "radtan", "radial-tangential": "radtan", "plumb_bob": "radtan", "equidistant": "fisheye",
           "equi": "fisheye", "kannala_brandt4": "fisheye", "none": "none"}  # fmt: skip


def read_yaml(path: Path) -> dict[str, Any]:
    """What a small YAML file holds: texts, numbers, lists and tables.

    Raises:
        MissingFileError: there is no such file.
        InputError: a line that is none of these, naming it.
    """
    lines: list[tuple[int, int, str]] = []  # number, indentation, text
    for number, line in enumerate(files.read_lines(path), 1):
        text = re.sub(r"(^|\s)#.*$", "", line).rstrip()
        if not text.strip() or text.startswith(("%", "---")):
            continue
        open_before = lines and lines[-1][2].count("[") > lines[-1][2].count("]")
        if open_before:
            lines[-1] = (*lines[-1][:2], f"{lines[-1][2]} {text.strip()}")
        else:
            lines.append((number, len(text) - len(text.lstrip()), text.strip()))
    value, rest = _block(path, lines, 0)
    if rest or not isinstance(value, dict):
        number = rest[0][0] if rest else 1
        raise InputError(f"{path}, line {number}: expected lines such as `key: value`")
    return value


def _block(path: Path, lines: list[tuple[int, int, str]], indent: int) -> tuple[Any, list[tuple[int, int, str]]]:
    """The table or list that begins with the first line, and the lines after it."""
    if not lines:
        return {}, []
    level = lines[0][1]
    if level < indent:
        return {}, lines
    table: dict[str, Any] = {}
    rows: list[Any] = []
    while lines and lines[0][1] == level:
        number, _, text = lines[0]
        if rows and not text.startswith("- "):
            break  # a list may stand as far to the left as the keys around it
        lines = lines[1:]
        if text.startswith("- "):
            rows.append(_value(text[2:]))
            continue
        key, colon, value = text.partition(":")
        if not colon:
            raise InputError(f"{path}, line {number}: expected `key: value`, found {text[:60]!r}")
        if value.strip() and not value.strip().startswith("!!"):
            table[key.strip()] = _value(value)
        elif lines and (lines[0][1] > level or (lines[0][1] == level and lines[0][2].startswith("- "))):
            table[key.strip()], lines = _block(path, lines, lines[0][1])
        else:
            table[key.strip()] = None
    return (rows if rows else table), lines


def _value(text: str) -> Any:
    text = text.strip()
    if text.startswith("["):
        try:
            return json.loads(re.sub(r"([\[,\s-])\.(\d)", r"\g<1>0.\2", re.sub(r"(\d)\.(?!\d)", r"\1.0", text)))
        except json.JSONDecodeError:
            return [_value(word) for word in text.strip("[]").split(",") if word.strip()]
    try:
        return float(text)
    except ValueError:
        return text.strip("\"'")


def kalibr(path: Path) -> list[tuple[Intrinsics, Lens, dict[str, Any]]]:
    """The cameras of a Kalibr camchain.yaml: intrinsics, lens, and all else that stands there.

    Raises:
        MissingFileError: there is no such file.
        InputError: no camera, or a model that is not read.
    """
    table = read_yaml(path)
    found = []
    for key in sorted(name for name in table if re.fullmatch(r"cam\d+", name)):
        found.append((*_camera(path, table[key]), table[key]))
    if not found:
        raise InputError(f"{path}: no cam0 in it; is this a camchain.yaml of Kalibr?")
    return found


def euroc_camera(path: Path) -> tuple[Intrinsics, Lens, Float64[np.ndarray, "4 4"]]:
    """(intrinsics, lens, body_from_camera) of EuRoC's sensor.yaml; errors as `kalibr`."""
    table = read_yaml(path)
    return *_camera(path, table), _matrix(path, table.get("T_BS"))


def _camera(path: Path, table: Any) -> tuple[Intrinsics, Lens]:
    try:
        model, values = table["camera_model"], [float(value) for value in table["intrinsics"]]
        lens = str(table.get("distortion_model", "none"))
        given = table.get("distortion_coeffs", table.get("distortion_coefficients"))
        bend = tuple(float(value) for value in given or ())
        width, height = (int(value) for value in table["resolution"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: a camera needs camera_model, intrinsics and resolution ({error!r})") from None
    if model != "pinhole" or len(values) != 4 or lens not in _LENSES:
        raise InputError(f"{path}: camera model {model}-{lens} is not read; read are pinhole with {', '.join(_LENSES)}")
    kind: Any = _LENSES[lens]
    fx, fy, cx, cy = values
    with named(path):
        return Intrinsics(fx, fy, cx, cy, width, height), Lens(kind, bend if kind != "none" else ())


def _matrix(path: Path, given: Any) -> Float64[np.ndarray, "4 4"]:
    rows = given.get("data") if isinstance(given, dict) else given
    try:
        matrix = np.array(rows, np.float64).reshape(4, 4)
    except (TypeError, ValueError):
        raise InputError(f"{path}: expected a 4×4 matrix, found {str(given)[:60]}") from None
    poses.check(matrix, f"{path}: a transformation")
    return matrix


def camera_from_imu(path: Path, table: dict[str, Any]) -> Float64[np.ndarray, "4 4"] | None:
    """T_cam_imu of a camera of Kalibr's camchain-imucam.yaml; None where it has none."""
    given = table.get("T_cam_imu")
    return None if given is None else _matrix(path, given)


def second_from_first(path: Path, table: dict[str, Any]) -> Float64[np.ndarray, "4 4"]:
    """T_cn_cnm1 of the second camera of a camchain: its coordinates from those of the first.

    Raises:
        InputError: it has none.
    """
    return _matrix(path, table.get("T_cn_cnm1"))


def imu(path: Path, camera_from_imu: Float64[np.ndarray, "4 4"]) -> Imu:
    """The noise of EuRoC's imu0/sensor.yaml or of Kalibr's imu.yaml.

    Args:
        path: of the file.
        camera_from_imu: where the sensor stands.

    Raises:
        InputError: a value is missing.
    """
    table = read_yaml(path)
    table = table.get("imu0", table)
    names = ("gyroscope_noise_density", "accelerometer_noise_density", "gyroscope_random_walk",
             "accelerometer_random_walk")  # fmt: skip
    try:
        return Imu(camera_from_imu, *(float(table[name]) for name in names))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: an IMU needs {', '.join(names)} ({error!r})") from None


def write_camera(path: Path | str, camera: Intrinsics, lens: Lens, **more: Any) -> Path:
    """Writes camera.json, for `--camera` of the commands.

    Args:
        path: of the file.
        camera: intrinsics.
        lens: of the camera.
        more: what else is worth keeping, such as the error of the calibration.
    """
    numbers = {name: getattr(camera, name) for name in ("fx", "fy", "cx", "cy", "width", "height")}
    text = json.dumps({**numbers, "lens": lens.model, "lens_values": list(lens.values), **more}, indent=1)
    return files.write_atomically(path, text + "\n")


def read_camera(path: Path | str) -> tuple[Intrinsics, Lens]:
    """The camera of camera.json, or the first one of a Kalibr or EuRoC file.

    Raises:
        MissingFileError: there is no such file.
        InputError: none of these.
    """
    path = Path(path)
    if path.suffix in (".yaml", ".yml"):
        table = read_yaml(path)
        return _camera(path, table.get("cam0", table))
    table = read_json(path)
    try:
        fx, fy, cx, cy = (float(table[name]) for name in ("fx", "fy", "cx", "cy"))
        lens = Lens(table.get("lens", "none"), tuple(float(value) for value in table.get("lens_values", ())))
        return Intrinsics(fx, fy, cx, cy, int(table["width"]), int(table["height"])), lens
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: a camera is fx, fy, cx, cy, width and height ({error!r})") from None


def read_imu_samples(path: Path, unit_s: float | None = None) -> Float64[np.ndarray, "n 7"]:
    """Samples from a CSV: t, gyroscope (rad/s), accelerometer (m/s²).

    A header that names its columns may bring them in any order: EuRoC's (w_RS_S_x, a_RS_S_x), wx/gx/gyro_x/alpha_x,
    ax/a_x/acc_x/accel_x; without such names they are t, gx, gy, gz, ax, ay, az.

    Args:
        path: of the file.
        unit_s: seconds of one step of its times; None: times above 1e14 are nanoseconds, others seconds.

    Raises:
        MissingFileError: there is no such file.
        InputError: a line that is none, naming it.
    """
    order: list[int] | None = None
    rows = []
    for number, line in enumerate(files.read_lines(path), 1):
        words = [word.strip() for word in line.replace(";", ",").split(",")]
        if not line.strip():
            continue
        try:
            values = [float(word) for word in words if word]
        except ValueError:
            order = _columns(words) or order
            continue
        if len(values) < 7:
            raise InputError(f"{path}, line {number}: an IMU's line has seven numbers, found {len(values)}")
        rows.append([values[i] for i in order] if order else values[:7])
    if not rows:
        raise InputError(f"{path}: no samples in it")
    table = np.array(rows)
    table[:, 0] *= unit_s if unit_s is not None else 1e-9 if table[0, 0] > 1e14 else 1
    return table


def _columns(words: list[str]) -> list[int] | None:
    """Which columns are t, gyroscope and accelerometer, by the names in a header."""
    plain = [re.sub(r"\[.*?\]|\(.*?\)", "", word).strip(" #").lower() for word in words]
    kinds = (("t", "time", "timestamp", "time_s", "timestamps", "seconds_elapsed"),
             *(tuple(f"{name}{axis}" for name in ("w_rs_s_", "w", "g", "gyro_", "alpha_", "gyr_", "gyroscope_", "w_"))
               for axis in "xyz"),
             *(tuple(f"{name}{axis}" for name in ("a_rs_s_", "a", "acc_", "accel_", "a_", "accelerometer_"))
               for axis in "xyz"))  # fmt: skip
    found = [next((i for i, word in enumerate(plain) if word in names), -1) for names in kinds]
    return None if min(found) < 0 else found
