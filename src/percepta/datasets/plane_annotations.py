"""ScanNet scenes with the plane annotation of PlaneRCNN (Liu et al. 2019), which PlaneMVS trains on.

    <scene>/annotation/planes.npy             n 3: the point of each plane that is nearest to the world's origin
    <scene>/annotation/segmentation/N.png     plane of each pixel: (R·65536 + G·256 + B) // 100 − 1; −1 none
    <scene>/frames/{color,depth,pose}/N.*     and frames/intrinsic/intrinsic_color.txt, intrinsic_depth.txt
    <scene>/label-filt/N.png                  ScanNet's labels, with scannetv2-labels.combined.tsv near: the classes

plane_info.npy holds pickled objects and is not read; a plane's class is what most of its labelled pixels are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64, UInt8
from PIL import Image
from scipy import ndimage

from percepta.datasets import nyu40
from percepta.datasets.posed import nearest, read_colour, read_depth, read_matrix, top_left
from percepta.datasets.problem import Problem, noting
from percepta.datasets.tables import read_table
from percepta.errors import InputError, MissingFileError
from percepta.files import file_named, listed, subfolders
from percepta.formats import read_arrays
from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics, back_project, plane_in
from percepta.media import image


@dataclass(frozen=True)
class Rules:
    """What PlaneMVS asks of a plane in a picture of 640 × 480, and of the picture.

    Attributes:
        min_area_px: smallest area.
        min_width_px: smallest width.
        max_error_m: largest mean distance of the measured depth from the plane.
        min_known: smallest share of its pixels with depth.
        min_brightness: smallest mean brightness of the picture, 0..255.
    """

    min_area_px: int = 200
    min_width_px: int = 10
    max_error_m: float = 0.1
    min_known: float = 0.5
    min_brightness: float = 20.0


@dataclass(frozen=True)
class AnnotatedFrame:
    """One frame, with the planes that are seen in it.

    Attributes:
        colour: RGB.
        depth_m: 0 where there is no reading.
        segments: number of each pixel's plane, −1 none.
        normal: n of each plane n·x + d = 0 in the camera's coordinates.
        offset: d of each plane, above 0, metres.
        labels: of each plane, place in PLANEMVS_NAMES; −1: not known.
        world_from_camera: pose, metres.
        intrinsics: of both pictures.
    """

    colour: UInt8[np.ndarray, "h w 3"]
    depth_m: Float32[np.ndarray, "h w"]
    segments: Int32[np.ndarray, "h w"]
    normal: Float64[np.ndarray, "n 3"]
    offset: Float64[np.ndarray, " n"]
    labels: Int64[np.ndarray, " n"]
    world_from_camera: Float64[np.ndarray, "4 4"]
    intrinsics: Intrinsics


def decode(colour: UInt8[np.ndarray, "h w 3"]) -> Int32[np.ndarray, "h w"]:
    """Plane numbers of a segmentation picture (RGB); −1 none."""
    r, g, b = np.moveaxis(colour.astype(np.int64), -1, 0)
    return ((r * 65536 + g * 256 + b) // 100 - 1).astype(np.int32)


def encode(index: Int32[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """The opposite of `decode`."""
    value = (index.astype(np.int64) + 1) * 100
    return np.stack([value >> 16 & 255, value >> 8 & 255, value & 255], -1).astype(np.uint8)


@dataclass(frozen=True)
class AnnotatedScene:
    """One annotated scene; frames are named by their number.

    Attributes:
        root: its folder.
        rules: what a plane and a picture need to be used.
    """

    root: Path
    rules: Rules = Rules()

    @cached_property
    def names(self) -> list[str]:
        """Frames that have an annotation, in order."""
        folder = self.root / "annotation" / "segmentation"
        return [path.stem for path in listed(folder, endings={".png"})] if folder.is_dir() else []

    @cached_property
    def planes(self) -> Float64[np.ndarray, "n 3"]:
        """Points nearest to the world's origin.

        Raises:
            InputError: another array.
        """
        path = self.root / "annotation" / "planes.npy"
        out = read_arrays(path, {"": "fiu"})[""]
        if out.ndim != 2 or out.shape[1] != 3 or not np.isfinite(out).all():
            raise InputError(f"{path}: expected n × 3 finite numbers, found {out.shape}")
        return out.astype(np.float64)

    def pose(self, name: str) -> Float64[np.ndarray, "4 4"]:
        """world_from_camera."""
        return read_matrix(self.root / "frames" / "pose" / f"{name}.txt", (4, 4))

    def pairs(
        self, baseline_m: tuple[float, float], max_frames: int = 20, problems: list[Problem] | None = None
    ) -> list[tuple[str, str]]:
        """(reference, source): for each tracked frame the nearest later one within so many frames and so far away.

        Args:
            baseline_m: shortest and longest distance.
            max_frames: how many frames later at most.
            problems: gets frames whose pose cannot be read, which are then left out; None: it is raised.
        """
        tracked = []
        for name in self.names:
            with noting(problems, self.root / "frames" / "pose" / f"{name}.txt"):
                pose = self.pose(name)
                if np.isfinite(pose).all():
                    poses.check(pose, str(self.root / "frames" / "pose" / f"{name}.txt"))
                    tracked.append((name, pose))
        out = []
        for i, (name, pose) in enumerate(tracked):
            for other, there in tracked[i + 1 :]:
                if name.isdecimal() and other.isdecimal() and int(other) - int(name) > max_frames:
                    break
                if baseline_m[0] <= np.linalg.norm(there[:3, 3] - pose[:3, 3]) <= baseline_m[1]:
                    out.append((name, other))
                    break
        return out

    def picture(self, name: str, size: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
        """The colour picture at (width, height)."""
        folder = self.root / "frames" / "color"
        path = file_named(folder, f"{name}.jpg") or file_named(folder, f"{name}.png")
        if path is None:
            raise MissingFileError(f"{folder / name}.jpg: no such file")
        return np.asarray(read_colour(path).resize(size, Image.Resampling.BOX))

    def frame(self, name: str, size: tuple[int, int] = (640, 480)) -> AnnotatedFrame:
        """A frame with its cleaned planes.

        Raises:
            MissingFileError, InputError: a file is missing or damaged, or the picture is too dark.
        """
        pose = self.pose(name)
        poses.check(pose, f"{self.root / 'frames' / 'pose' / name}.txt")
        colour = self.picture(name, size)
        if colour.mean() < self.rules.min_brightness:
            raise InputError(f"{self.root}, frame {name}: too dark (mean {colour.mean():.0f} of 255)")
        whole = read_depth(self.root / "frames" / "depth" / f"{name}.png")
        given = self.root / "frames" / "intrinsic" / "intrinsic_depth.txt"
        camera = Intrinsics.of(top_left(read_matrix(given), given), *whole.shape[::-1]).resized(*size)
        depth = nearest(whole, *size)
        path = self.root / "annotation" / "segmentation" / f"{name}.png"
        index = decode(np.asarray(read_colour(path).resize(size, Image.Resampling.NEAREST)))
        if index.max(initial=-1) >= len(self.planes):
            raise InputError(f"{path}: names plane {index.max()}, but planes.npy has {len(self.planes)}")
        segments, normal, offset = self._cleaned(index, depth, camera, pose)
        labels = self._labels(name, segments, len(offset), size)
        return AnnotatedFrame(colour, depth, segments, normal, offset, labels, pose, camera)

    def _cleaned(
        self, index: np.ndarray, depth: np.ndarray, camera: Intrinsics, pose: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Planes that are large and wide enough, have depth, and agree with it."""
        points = self.planes
        length = np.linalg.norm(points, axis=1)
        normal, offset = plane_in(poses.inverse(pose), points / np.maximum(length, 1e-9)[:, None], -length)
        flip = np.where(offset < 0, -1.0, 1.0)
        normal, offset = normal * flip[:, None], offset * flip
        cloud = back_project(depth.astype(np.float64), camera)
        scale = depth.size / (640 * 480)
        out, kept = np.full(index.shape, -1, np.int32), []
        for number in np.unique(index[index >= 0]):
            own = index == number
            known = own & (depth > 0)
            thick = 2 * float(np.asarray(ndimage.distance_transform_edt(np.pad(own, 1))).max())
            if own.sum() < self.rules.min_area_px * scale or thick < self.rules.min_width_px * scale**0.5:
                continue
            if known.sum() < self.rules.min_known * own.sum():
                continue
            if np.abs(cloud[known] @ normal[number] + offset[number]).mean() > self.rules.max_error_m:
                continue
            out[own] = len(kept)
            kept.append(int(number))
        return out, normal[kept], offset[kept]

    def _labels(self, name: str, segments: np.ndarray, count: int, size: tuple[int, int]) -> Int64[np.ndarray, " n"]:
        out = np.full(count, -1, np.int64)
        path = self.root / "label-filt" / f"{name}.png"
        if not path.is_file() or not self._classes:
            return out
        picture = image.load(path)
        if picture.mode not in ("1", "L", "P", "I;16", "I"):
            raise InputError(f"{path}: labels are a picture with one channel, not of Pillow's mode {picture.mode}")
        raw = np.asarray(picture.resize(size, Image.Resampling.NEAREST)).astype(np.int64)
        for i in range(count):
            votes = np.bincount([self._classes.get(int(value), 0) for value in raw[(segments == i) & (raw > 0)]])
            if votes.sum():
                out[i] = int(votes.argmax())
        return out

    @cached_property
    def _classes(self) -> dict[int, int]:
        """PlaneMVS's class by ScanNet's label number; empty where the table is not near."""
        places = [parent / "scannetv2-labels.combined.tsv" for parent in list(self.root.resolve().parents)[:2]]
        table = next((p for p in (self.root / places[0].name, *places) if p.is_file()), None)
        if table is None:
            return {}
        out = {}
        for line, (number, name, nyu) in read_table(table, ("id", "raw_category", "nyu40id"), strip=False, ragged=True):
            if not (number.isdecimal() and (nyu or "0").isdecimal()):
                raise InputError(f"{table}, line {line}: id and nyu40id are whole numbers, not {number!r} and {nyu!r}")
            out[int(number)] = nyu40.planemvs_of(int(nyu or 0), name)
        return out


# ------------------------------------------------------------------------------------------------ as a set of data

NAME = "ScanNet with plane annotation"
FILES = "annotation/planes.npy of each scene, in the folder, below it or below its folder scans"


def scenes(root: Path) -> list[AnnotatedScene]:
    """The annotated scenes in a folder: itself, below it, or below its folder `scans`."""
    return [AnnotatedScene(folder) for folder in _folders(root)]


def is_one(root: Path) -> bool:
    """Whether a folder is an annotated scene or holds some."""
    return bool(_folders(root))


def _folders(root: Path) -> list[Path]:
    root = Path(root)
    if not root.is_dir():
        return []
    scans = subfolders(root / "scans") if (root / "scans").is_dir() else []
    return [path for path in (root, *subfolders(root), *scans) if (path / "annotation/planes.npy").is_file()]


READS = {AnnotatedScene: scenes}
