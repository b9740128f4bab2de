"""Posed pictures without depth: what a phone and a tracker give. `posed.py` reads recordings that have depth.

color/ or colour/ or rgb/ or images/    0.jpg, 1.jpg, ... (any kind of picture, all of one size)
pose/ or poses/                         0.txt, ... world_from_camera, 4×4, metres
intrinsics.txt                          3×3 or 4×4, of the pictures
no-unit.txt                             only where the poses are not in metres, as of SLAM with one camera
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, UInt8
from scipy import ndimage

from percepta.datasets import posed
from percepta.datasets.posed import Recording
from percepta.datasets.problem import Problem, noting
from percepta.errors import InputError
from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics
from percepta.media import image as pictures

NO_UNIT = "no-unit.txt"  # a file beside intrinsics.txt: nobody knows in what unit the poses are


@dataclass(frozen=True)
class PosedPicture:
    """A picture file with its camera.

    Attributes:
        path: the file.
        intrinsics: of the picture without distortion.
        world_from_camera: its pose, metres (COLMAP: any unit).
        distortion: k1, k2, p1, p2 of OpenCV's model; zeros for none.
    """

    path: Path
    intrinsics: Intrinsics
    world_from_camera: Float64[np.ndarray, "4 4"]
    distortion: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)

    def read(self) -> UInt8[np.ndarray, "h w 3"]:
        """RGB, straightened where the lens bends.

        Raises:
            InputError: a damaged picture, or one of another size than its intrinsics.
        """
        colour = np.asarray(posed.read_colour(self.path))
        camera = self.intrinsics
        if colour.shape[:2] != (camera.height, camera.width):
            h, w = colour.shape[:2]
            raise InputError(
                f"{self.path}: the picture is {w}×{h}, its intrinsics are for {camera.width}×{camera.height}"
            )
        return straightened(colour, camera, self.distortion) if any(self.distortion) else colour


def straightened(
    colour: UInt8[np.ndarray, "h w 3"], camera: Intrinsics, distortion: tuple[float, float, float, float]
) -> UInt8[np.ndarray, "h w 3"]:
    """The picture that a lens without distortion gives; black beyond the border.

    Args:
        colour: the picture.
        camera: its intrinsics.
        distortion: (k1, k2, p1, p2), radial and tangential.
    """
    k1, k2, p1, p2 = distortion
    x = (np.arange(camera.width) - camera.cx)[None, :] / camera.fx
    y = (np.arange(camera.height) - camera.cy)[:, None] / camera.fy
    r2 = x * x + y * y
    radial = 1 + k1 * r2 + k2 * r2 * r2
    u = (x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)) * camera.fx + camera.cx
    v = (y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y) * camera.fy + camera.cy
    channels = [ndimage.map_coordinates(colour[..., i], [v, u], order=1, mode="constant") for i in range(3)]
    return np.stack(channels, -1)


NAME = "posed pictures without depth"
FILES = "color/ (or rgb/, images/), pose/ and intrinsics.txt"


def is_one(root: Path) -> bool:
    """Whether a folder has this layout and no depth."""
    root = Path(root)
    has_poses = any((root / name).is_dir() for name in posed.POSES)
    return has_poses and (root / "intrinsics.txt").is_file() and not (root / "depth").is_dir()


def read(root: Path, problems: list[Problem] | None = None) -> list[PosedPicture]:
    """The pictures that have a pose, in the order of their numbers; those whose pose is not finite are left out.

    Args:
        root: the folder.
        problems: gets what is wrong with single pictures and poses, which are then left out; None: it is raised.

    Raises:
        MissingFileError: a folder or intrinsics.txt is missing.
        InputError: no picture has a pose, or a pose is no rigid motion: names the file.
    """
    root = Path(root)
    colours = posed.numbered(posed.first_folder(root, posed.COLOURS), pictures.SUFFIXES)
    places = posed.numbered(posed.first_folder(root, posed.POSES), {".txt"})
    matrix = posed.read_intrinsics(root)
    names = sorted(colours.keys() & places.keys(), key=posed.order)
    if not names:
        raise InputError(f"{root}: {len(colours)} pictures and {len(places)} poses, but none of one name")
    out = []
    for name in names:
        with noting(problems, places[name]):
            pose = posed.read_matrix(places[name], (4, 4))
            if not np.isfinite(pose).all():
                continue
            poses.check(pose, str(places[name]))
            height, width = pictures.size(colours[name], upright=False)
            out.append(PosedPicture(colours[name], Intrinsics.of(matrix, width, height), pose))
    return out


def of_recording(recording: Recording, problems: list[Problem] | None = None) -> list[PosedPicture]:
    """The colour pictures of a recording with the colour camera's poses; frames that were not tracked are left out.

    `problems` is as in `read`.
    """
    out = []
    for i, path in enumerate(recording.colours):
        with noting(problems, path):
            pose = recording.pose(i)
            if not np.isfinite(pose).all():
                continue
            poses.check(pose, f"{recording.poses[i]}, frame {path.stem}")
            if recording.pose_of == "depth" and recording.colour_from_depth is not None:
                pose = pose @ poses.inverse(recording.colour_from_depth)
            height, width = pictures.size(path, upright=False)
            out.append(PosedPicture(path, Intrinsics.of(recording.colour_matrix, width, height), pose))
    return out


READS = {PosedPicture: read}
