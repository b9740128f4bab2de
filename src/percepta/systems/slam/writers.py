"""Writes what SLAM found in the forms that other tools read: COLMAP's text model, a posed folder, a fused cloud."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float, Float64, UInt8
from PIL import Image

from percepta import files
from percepta.datasets.posed_folder import NO_UNIT
from percepta.errors import InputError
from percepta.geometry import ply
from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics
from percepta.metrics import trajectory
from percepta.systems.slam.predict import Walk


def trajectories(folder: Path, walk: Walk) -> list[Path]:
    """The way in the formats of TUM, KITTI (one row a tracked frame) and EuRoC."""
    return [
        trajectory.write(folder / name, walk.trajectory, form)
        for name, form in (("trajectory.txt", "tum"), ("trajectory.kitti.txt", "kitti"), ("trajectory.csv", "euroc"))
    ]


def picture_name(frame: int) -> str:
    """What the picture of a frame is called in every folder."""
    return f"{frame:06d}.jpg"


def colmap(folder: Path, walk: Walk) -> Path:
    """cameras.txt, images.txt and points3D.txt of the keyframes; their straightened pictures belong into images/.

    COLMAP puts the middle of the first pixel at (½, ½), and tells points by their number, from 1. A track names the
    keyframe and the place of the observation in its list. Errors of points are not known any more and written as −1.

    Args:
        folder: where to, such as out/colmap/sparse/0.
        walk: what was found.
    """
    camera, views = walk.camera, walk.views
    numbers = f"{camera.fx:.9g} {camera.fy:.9g} {camera.cx + 0.5:.9g} {camera.cy + 0.5:.9g}"
    files.write_atomically(folder / "cameras.txt", f"1 PINHOLE {camera.width} {camera.height} {numbers}\n")
    place = np.zeros(len(views.view), int)  # of each observation in the list of its keyframe
    lines = []
    for k, frame in enumerate(views.frame.tolist()):
        mine = np.flatnonzero(views.view == k)
        place[mine] = np.arange(len(mine))
        camera_from_world = poses.inverse(views.world_from_camera[k])
        x, y, z, w = poses.to_quaternion(camera_from_world[:3, :3]).tolist()
        shift = " ".join(f"{value:.9g}" for value in camera_from_world[:3, 3])
        lines.append(f"{k + 1} {w:.9g} {x:.9g} {y:.9g} {z:.9g} {shift} 1 {picture_name(frame)}")
        seen = zip((views.uv[mine] + 0.5).tolist(), (views.point[mine] + 1).tolist(), strict=True)
        lines.append(" ".join(f"{u:.3f} {v:.3f} {point}" for (u, v), point in seen))
    files.write_atomically(folder / "images.txt", "\n".join(lines) + "\n")
    order = np.argsort(views.point, kind="stable")
    ends = np.cumsum(np.bincount(views.point, minlength=len(walk.points)))
    rows, start = [], 0
    for i, end in enumerate(ends.tolist()):
        track = " ".join(f"{views.view[j] + 1} {place[j]}" for j in order[start:end].tolist())
        position = " ".join(f"{value:.9g}" for value in walk.points[i])
        rows.append(f"{i + 1} {position} {' '.join(map(str, walk.colours[i].tolist()))} -1 {track}")
        start = end
    files.write_atomically(folder / "points3D.txt", "\n".join(rows) + "\n")
    return folder


class PosedFolder:
    """A posed folder that is filled frame by frame; the poses are written at the end, when the map says them best.

    color/000000.jpg      straightened
    depth/000000.png      16 bit, millimetres; where there is depth
    pose/000000.txt       world_from_camera, 4×4
    intrinsics.txt        3×3, of the straightened pictures
    no-unit.txt           only where the lengths are not metres
    """

    def __init__(self, folder: Path, camera: Intrinsics) -> None:
        self.folder, self.camera = Path(folder), camera
        (self.folder / "color").mkdir(parents=True, exist_ok=True)
        rows = "\n".join(" ".join(f"{value:.9g}" for value in row) for row in camera.matrix)
        files.write_atomically(self.folder / "intrinsics.txt", rows + "\n")

    def add(
        self, frame: int, picture: UInt8[np.ndarray, "h w *c"], depth_m: Float[np.ndarray, "h w"] | None = None
    ) -> Path:
        """Writes a frame.

        Args:
            frame: its number.
            picture: straightened.
            depth_m: registered to it; None for none.

        Returns:
            Where the picture is.
        """
        path = self.folder / "color" / picture_name(frame)
        Image.fromarray(picture).convert("RGB").save(path, quality=95)
        if depth_m is not None:
            (self.folder / "depth").mkdir(exist_ok=True)
            steps = np.clip(np.nan_to_num(depth_m) * 1000 + 0.5, 0, 65534).astype(np.uint16)
            Image.fromarray(steps).save(self.folder / "depth" / f"{frame:06d}.png")
        return path

    def finish(self, walk: Walk, straight_from_camera: Float64[np.ndarray, "4 4"] | None = None) -> int:
        """Writes the poses of all tracked frames whose picture is there, and removes the others; how many there are.

        Args:
            walk: what was found.
            straight_from_camera: how the straightened camera is turned (a stereo pair's); None: as the camera.
        """
        there = {int(path.stem): path for path in (self.folder / "color").glob("*.jpg")}
        turned = np.eye(4) if straight_from_camera is None else poses.inverse(straight_from_camera)
        for frame, matrix in zip(walk.frames.tolist(), walk.trajectory.world_from_camera, strict=True):
            if there.pop(frame, None) is not None:
                rows = "\n".join(" ".join(f"{value:.9g}" for value in row) for row in matrix @ turned)
                files.write_atomically(self.folder / "pose" / f"{frame:06d}.txt", rows + "\n")
        if walk.metric:
            (self.folder / NO_UNIT).unlink(missing_ok=True)
        else:
            text = "One camera does not know lengths: the poses are in a unit of their own, not in metres.\n"
            files.write_atomically(self.folder / NO_UNIT, text)
        for frame, path in there.items():
            path.unlink()
            (self.folder / "depth" / f"{frame:06d}.png").unlink(missing_ok=True)
        count = len(list((self.folder / "color").glob("*.jpg")))
        if not count:
            raise InputError(f"{self.folder}: no frame was tracked, so there is nothing to write")
        return count


class FusedCloud:
    """The depth of all keyframes as one cloud: a point for each small cube, at the mean of all readings in it.

    Readings are kept in the cameras' coordinates and put into the world at the end, when the map says best where the
    keyframes are.
    """

    def __init__(
        self, camera: Intrinsics, *, cube_m: float = 0.02, max_depth_m: float = 6.0, points: int = 8000, most: int = 600
    ) -> None:
        """An empty cloud.

        Args:
            camera: intrinsics of the straightened pictures.
            cube_m: side of a cube.
            max_depth_m: depth above is no reading.
            points: about how many readings of a keyframe are kept.
            most: keyframes that are kept; beyond it every other one is forgotten.
        """
        self.camera, self.cube_m, self.max_depth_m, self.most = camera, cube_m, max_depth_m, most
        self.step = max(1, round(np.sqrt(camera.width * camera.height / points)))
        self._seen: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def add(self, frame: int, picture: UInt8[np.ndarray, "h w *c"], depth_m: Float[np.ndarray, "h w"]) -> int:
        """Takes a keyframe; how many readings are kept of it.

        Args:
            frame: its number.
            picture: straightened.
            depth_m: registered to it; 0 where there is no reading.
        """
        h, w = depth_m.shape
        v, u = (a.reshape(-1) for a in np.mgrid[0 : h : self.step, 0 : w : self.step])
        z = np.nan_to_num(depth_m[v, u].astype(np.float64))
        good = (z > 0) & (z <= self.max_depth_m)
        u, v, z, camera = u[good], v[good], z[good], self.camera
        xyz = np.stack([(u - camera.cx) / camera.fx * z, (v - camera.cy) / camera.fy * z, z], 1)
        colour = picture[v, u] if picture.ndim == 3 else np.repeat(picture[v, u][:, None], 3, 1)
        self._seen[frame] = xyz.astype(np.float32), colour
        if len(self._seen) > self.most:
            self._seen = dict(list(self._seen.items())[::2])
        return len(xyz)

    def fused(self, walk: Walk) -> tuple[Float64[np.ndarray, "n 3"], UInt8[np.ndarray, "n 3"]]:
        """Points in the world and their colours."""
        placed = dict(zip(walk.views.frame.tolist(), walk.views.world_from_camera, strict=True))
        there = [frame for frame in self._seen if frame in placed]
        if not there:
            return np.zeros((0, 3)), np.zeros((0, 3), np.uint8)
        xyz = np.concatenate([poses.transform(placed[f], self._seen[f][0].astype(np.float64)) for f in there])
        colour = np.concatenate([self._seen[f][1] for f in there]).astype(np.float64)
        cube = np.floor(xyz / self.cube_m).astype(np.int64)
        cube = cube - cube.min(0)
        size = cube.max(0) + 1
        key = (cube[:, 0] * size[1] + cube[:, 1]) * size[2] + cube[:, 2]
        _, number, count = np.unique(key, return_inverse=True, return_counts=True)

        def mean(values: np.ndarray) -> np.ndarray:
            sums = [np.bincount(number, values[:, i], minlength=len(count)) for i in range(3)]
            return np.stack(sums, 1) / count[:, None]

        return mean(xyz), np.round(mean(colour)).astype(np.uint8)

    def write(self, path: Path, walk: Walk) -> Path | None:
        """Writes the cloud (.ply); None where no keyframe had depth."""
        xyz, colour = self.fused(walk)
        if not len(xyz):
            return None
        columns = {n: xyz[:, i].astype(np.float32) for i, n in enumerate("xyz")}
        ply.write(path, columns | {n: colour[:, i] for i, n in enumerate(("red", "green", "blue"))})
        return path
