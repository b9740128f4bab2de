"""7-Scenes (Shotton et al. 2013): hand-held RGB-D recordings of seven rooms by Kinect, with poses.

Layout: <scene>/seq-01/frame-000000.{color.png,depth.png,pose.txt}, or one sequence's frames in a folder (colour may be
JPEG). Depth is in millimetres, 65535 (in some copies 0) where there is no reading. Poses and the intrinsics that the
authors give (585, 320, 240) are the depth camera's, and depth is not registered to colour: `read` does that with the
offsets below, which were fitted to the red kitchen by photometric correlation. The world begins at a camera.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from percepta.datasets.capture import Capture
from percepta.datasets.footage import of_recording
from percepta.datasets.posed import Recording, read_matrix
from percepta.errors import MissingFileError
from percepta.geometry.lens import Lens

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


def is_one(root: Path) -> bool:
    """Whether a folder is a scene or a sequence of 7-Scenes."""
    return any(root.glob("frame-*.pose.txt")) or any(root.glob("seq-*/frame-*.pose.txt"))


def read(root: Path, *, registered: bool = False) -> Recording:
    """The frames of one sequence, or of all sequences of a scene one after the other.

    Args:
        root: a sequence's folder, or a scene's.
        registered: the depth files were registered to colour already, poses are the colour camera's.

    Raises:
        MissingFileError: no frames, or a frame without its depth or its pose, naming it.
    """
    root = Path(root)
    folders = [root] if any(root.glob("frame-*.pose.txt")) else sorted(p for p in root.glob("seq-*") if p.is_dir())
    colours = [p for folder in folders for p in sorted(folder.glob("frame-*.color.*"))]
    if not colours:
        raise MissingFileError(f"{root}: no frame-000000.color.png and no seq-01/; this is not 7-Scenes' layout")
    depths, places = [], []
    for colour in colours:
        stem = colour.name.split(".")[0]
        for kind, files in (("depth.png", depths), ("pose.txt", places)):
            path = colour.with_name(f"{stem}.{kind}")
            if not path.is_file():
                raise MissingFileError(f"{path}: no such file; {colour.name} needs it")
            files.append(path)
    given = root / "camera-intrinsics.txt"
    depth_matrix = read_matrix(given, (3, 3)) if given.is_file() else np.array(DEPTH_MATRIX)
    colour_matrix = np.array(COLOUR_MATRIX)
    files = tuple(colours), tuple(depths), tuple(places)
    if registered:
        return Recording(*files, colour_matrix, colour_matrix, up="camera")
    return Recording(*files, colour_matrix, depth_matrix, np.array(COLOUR_FROM_DEPTH), pose_of="depth", up="camera")


def capture(root: Path) -> Capture:
    """The same for SLAM, at 30 frames a second; the depth camera is scored."""
    found = of_recording(read(root), Path(root).name)
    return replace(found, lens=Lens("radtan", COLOUR_DISTORTION), rolling_shutter=ROLLING_SHUTTER)


READS = {Recording: read, Capture: capture}
