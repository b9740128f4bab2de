"""Calibration files of Qualisys (.qca.txt): cameras as XML.

Intrinsics are in 1/64 pixel, counted from the sensor's corner; `transform` holds the camera's place in millimetres
and, row by row, its axes x to the right, y upwards and z backwards in the world. Distortion is OpenCV's k1, k2, p1, p2.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from percepta.errors import InputError
from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics

_FLIP = np.diag([1.0, -1.0, -1.0])  # from y up and z backwards to y down and z forward


@dataclass(frozen=True)
class Camera:
    """A calibrated camera.

    Attributes:
        name: its serial number.
        intrinsics: in pixels, with the size that the file states.
        world_from_camera: its pose, metres, z up.
        distortion: k1, k2, p1, p2.
    """

    name: str
    intrinsics: Intrinsics
    world_from_camera: Float64[np.ndarray, "4 4"]
    distortion: tuple[float, float, float, float]


def read(path: Path | str) -> tuple[Camera, ...]:
    """The cameras of a file.

    Raises:
        InputError: it is no such file, or a number is missing.
    """
    path = Path(path)
    try:
        root = ElementTree.fromstring(path.read_bytes())
        cameras = tuple(_camera(entry) for entry in root.iter("camera"))
    except (OSError, ElementTree.ParseError, KeyError, ValueError, AttributeError) as reason:
        raise InputError(f"{path}: no calibration of Qualisys ({reason!r}); expected XML with camera entries") from None
    if not cameras:
        raise InputError(f"{path}: there are no cameras in this file")
    return cameras


def _camera(entry: ElementTree.Element) -> Camera:
    name = entry.attrib["serial"]
    parts = {child.tag: child.attrib for child in entry}
    sight, inner, outer = parts["fov_video"], parts["intrinsic"], parts["transform"]
    left, top = int(sight["left"]), int(sight["top"])
    width, height = int(sight["right"]) - left + 1, int(sight["bottom"]) - top + 1
    focal = [float(inner[f"focalLength{axis}"]) / 64 for axis in "UV"]
    centre = [float(inner[f"centerPoint{axis}"]) / 64 - start for axis, start in (("U", left), ("V", top))]
    axes = np.array([[float(outer[f"r{row}{column}"]) for column in (1, 2, 3)] for row in (1, 2, 3)])
    place = np.array([float(outer[axis]) for axis in "xyz"]) / 1000
    pose = poses.compose((_FLIP @ axes).T, place)
    poses.check(pose, f"the camera {name}")
    k1, k2 = float(inner["radialDistortion1"]), float(inner["radialDistortion2"])
    p1, p2 = float(inner["tangentalDistortion1"]), float(inner["tangentalDistortion2"])
    return Camera(name, Intrinsics(focal[0], focal[1], centre[0], centre[1], width, height), pose, (k1, k2, p1, p2))
