"""Frames as 7-Scenes (Shotton et al. 2013) names them: frame-000000.{color.png,depth.png,pose.txt}, and their cameras.

Layout: <scene>/seq-01/frame-000000.*, or one sequence's frames in a folder (colour may be JPEG). Depth is in
millimetres, 65535 (in some copies 0) where there is no reading. Three kinds of folders have such files:

- BundleFusion's (Dai et al. 2017): info.txt beside the frames has both cameras and the unit of depth.
- Recordings with a camera-intrinsics.txt of their own, as tsdf-fusion takes them: it is that of both cameras, and depth
  is registered to colour.
- 7-Scenes itself: no file with intrinsics, or one with 585, 320, 240. Poses and these intrinsics are the depth
  camera's, and depth is not registered to colour: `read` does that with the offsets below, which were fitted to the red
  kitchen by photometric correlation.

The world begins at a camera.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from percepta.datasets.capture import Capture
from percepta.datasets.footage import of_recording
from percepta.datasets.posed import Recording, order, read_matrix, top_left
from percepta.datasets.problem import Problem
from percepta.datasets.tables import note
from percepta.errors import InputError, MissingFileError
from percepta.files import listed, read_lines
from percepta.formats import to_float
from percepta.geometry.lens import Lens
from percepta.media.image import SUFFIXES

DEPTH_MATRIX = ((585.0, 0.0, 320.0), (0.0, 585.0, 240.0), (0.0, 0.0, 1.0))
COLOUR_MATRIX = ((525.0, 0.0, 320.0), (0.0, 525.0, 240.0), (0.0, 0.0, 1.0))
COLOUR_FROM_DEPTH = (
    (0.999965, 0.002677, -0.007904, -0.02556),
    (-0.002741, 0.999963, -0.008150, 0.0001),
    (0.007882, 0.008172, 0.999936, 0.00203),
    (0.0, 0.0, 0.0, 1.0),
)
# Of the colour camera, for those who straighten pictures: k1, k2, p1, p2, and the time from the first row to the last
# as a share of the time between frames. Both make the error of a bundle adjustment of the red kitchen's frames 0-299
# least; no true pose was used.
COLOUR_DISTORTION = (-0.013, -0.044, 0.0, 0.0)
ROLLING_SHUTTER = 0.8

NAME = "7-Scenes"
FILES = "frame-000000.pose.txt with colour and depth, in the folder or in seq-01, ..."
INTRINSICS, INFO = "camera-intrinsics.txt", ("info.txt", "_info.txt")


def is_one(root: Path) -> bool:
    """Whether a folder is a scene or a sequence of 7-Scenes, or has its frames named like that."""
    return any(root.glob("frame-*.pose.txt")) or any(root.glob("seq-*/frame-*.pose.txt"))


def read(root: Path, *, registered: bool = False, problems: list[Problem] | None = None) -> Recording:
    """The frames of one sequence, or of all sequences of a scene one after the other.

    Args:
        root: a sequence's folder, or a scene's.
        registered: the depth files were registered to colour already, poses are the colour camera's.
        problems: gets frames without their depth or their pose, which are then left out; None: they are errors.

    Raises:
        MissingFileError: no frames, or a frame without its depth or its pose, naming it.
        InputError: two pictures of one frame; an info.txt that is none.
    """
    root = Path(root)
    folders = [root] if any(root.glob("frame-*.pose.txt")) else sorted(p for p in root.glob("seq-*") if p.is_dir())
    colours, depths, places = [], [], []
    for folder in folders:
        for stem, files in sorted(_frames(folder).items(), key=lambda pair: order(pair[0])):
            missing = [f"{stem}.{kind}" for kind in ("depth.png", "pose.txt") if kind.split(".")[0] not in files]
            if "color" not in files:
                continue
            if missing and problems is None:
                raise MissingFileError(f"{folder / missing[0]}: no such file; {files['color'].name} needs it")
            if missing:
                note(problems, folder / missing[0], None, f"no such file; {files['color'].name} needs it")
                continue
            colours.append(files["color"])
            depths.append(files["depth"])
            places.append(files["pose"])
    if not colours:
        raise MissingFileError(f"{root}: no frame-000000.color.png and no seq-01/; this is not 7-Scenes' layout")
    files = tuple(colours), tuple(depths), tuple(places)
    info = next((folder / name for folder in (root, *folders[:1]) for name in INFO if (folder / name).is_file()), None)
    if info is not None:
        colour, depth, unit_m = read_info(info)
        moved = None if np.array_equal(colour, depth) else np.eye(4)
        return Recording(*files, colour, depth, moved, unit_m=unit_m, up="camera")
    given = next((folder / INTRINSICS for folder in (root, *folders[:1]) if (folder / INTRINSICS).is_file()), None)
    matrix = np.array(DEPTH_MATRIX) if given is None else top_left(read_matrix(given), given)
    if given is not None and not np.allclose(matrix, DEPTH_MATRIX, atol=1):
        return Recording(*files, matrix, matrix, up="camera")
    if registered:
        return Recording(*files, np.array(COLOUR_MATRIX), np.array(COLOUR_MATRIX), up="camera")
    move = np.array(COLOUR_FROM_DEPTH)
    return Recording(*files, np.array(COLOUR_MATRIX), matrix, move, pose_of="depth", up="camera")


def _frames(folder: Path) -> dict[str, dict[str, Path]]:
    """{frame-000000: {color, depth, pose: file}} of a folder."""
    found: dict[str, dict[str, Path]] = {}
    endings = {"color": SUFFIXES, "depth": {".png"}, "pose": {".txt"}}
    for path in listed(folder):
        stem, _, kind = path.name.removesuffix(path.suffix).partition(".")
        if stem.startswith("frame-") and path.suffix.lower() in endings.get(kind, ()):
            other = found.setdefault(stem, {}).setdefault(kind, path)
            if other != path:
                raise InputError(f"{path}: a second {kind} of {stem}, beside {other.name}; remove one of them")
    return found


def read_info(path: Path) -> tuple[np.ndarray, np.ndarray, float]:
    """K of the colour camera, K of the depth camera and metres of a step of depth, from BundleFusion's info.txt.

    Raises:
        InputError: a line that cannot be read, one that is missing, or cameras that stand apart: names it.
    """
    values: dict[str, list[float]] = {}
    wanted = {f"m_calibration{camera}{kind}" for camera in ("Color", "Depth") for kind in ("Intrinsic", "Extrinsic")}
    for number, line in enumerate(read_lines(path), 1):
        key, mark, text = (part.strip() for part in line.partition("="))
        if mark and key in {*wanted, "m_depthShift"}:
            try:
                values[key] = [to_float(word) for word in text.split()]
            except ValueError:
                values[key] = []
            if len(values[key]) != (16 if key in wanted else 1):
                raise InputError(f"{path}, line {number}: expected numbers after {key} =, found {text[:60]!r}")
    names = ("m_calibrationColorIntrinsic", "m_calibrationDepthIntrinsic")
    if missing := [name for name in names if name not in values]:
        raise InputError(f"{path}: no line {missing[0]} = ...; this is no info.txt of BundleFusion")
    for key in wanted - set(names):
        if key in values and not np.allclose(np.reshape(values[key], (4, 4)), np.eye(4), atol=1e-3):
            raise InputError(f"{path}: {key} says that the cameras stand apart; only registered depth is read")
    shift = values.get("m_depthShift", [1000.0])[0]
    if not shift > 0:
        raise InputError(f"{path}: m_depthShift is the steps of depth in a metre, not {shift}")
    colour, depth = (np.reshape(values[name], (4, 4))[:3, :3] for name in names)
    return colour, depth, 1 / shift


def capture(root: Path) -> Capture:
    """The same for SLAM, at 30 frames a second; the depth camera is scored."""
    found = of_recording(read(root), Path(root).name)
    return replace(found, lens=Lens("radtan", COLOUR_DISTORTION), rolling_shutter=ROLLING_SHUTTER)


READS = {Recording: read, Capture: capture}
