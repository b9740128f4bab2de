"""Captures of one person by several calibrated cameras, in the layout of THUman4.0.

    calibration.json                {"cam00": {"K": 3×3, "R": 3×3, "T": 3}, ...}: x_camera = R·x_world + T, metres
    images/cam00/00000000.jpg       one picture a frame (.jpg or .png)
    masks/cam00/00000000.jpg        white where the person is
    missing_img_files.txt           pictures that are not there, one a line (may be left out)
    smpl_params.npz                 THUman4.0: SMPL-X poses; or
    motion.npz                      ours: root (t 3), rotation (t 19 3 3, see `geometry.body.Motion`), fps,
                                    shape (height_m, girth, legs, arms, shoulders)

`write` makes such a folder, and everything here that reads one reads both kinds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from zipfile import is_zipfile

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image

from percepta.errors import InputError, MissingFileError
from percepta.files import check_regular, write_atomically
from percepta.formats import read_arrays
from percepta.geometry import pose as poses
from percepta.geometry.body import JOINTS, Motion, Shape
from percepta.geometry.camera import Intrinsics

NAME = "THUman4.0"
FILES = "calibration.json, images/cam*/, masks/cam*/, motion.npz or smpl_params.npz"


@dataclass(frozen=True)
class Camera:
    """A camera of a capture.

    Attributes:
        name: of its folders.
        intrinsics: with the size of its pictures.
        world_from_camera: its pose.
    """

    name: str
    intrinsics: Intrinsics
    world_from_camera: Float64[np.ndarray, "4 4"]


@dataclass(frozen=True)
class Capture:
    """A folder of pictures of one person.

    Attributes:
        root: the folder.
        cameras: in the order of their names.
        frames: numbers of the frames that every camera has.
        left_out: frames that some camera lacks, with the cameras' names.
    """

    root: Path
    cameras: tuple[Camera, ...]
    frames: tuple[int, ...]
    left_out: Mapping[int, tuple[str, ...]]

    def read(self, camera: int, frame: int) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
        """Picture and mask (0..255) of a frame.

        Args:
            camera: place of the camera.
            frame: number of the frame.
        """
        name = self.cameras[camera].name
        picture = np.asarray(Image.open(_find(self.root / "images" / name, frame)).convert("RGB"))
        mask = np.asarray(Image.open(_find(self.root / "masks" / name, frame)).convert("L"))
        if picture.shape[:2] != mask.shape:
            raise InputError(f"{self.root}: frame {frame} of {name}: its mask has another size than its picture")
        return picture, mask

    @cached_property
    def shape(self) -> Shape:
        """Measures of the body that motion.npz was recorded with; the average where it does not say."""
        path = self.root / "motion.npz"
        if not path.is_file():
            return Shape()
        with np.load(path, allow_pickle=False) as table:
            return Shape(*(float(x) for x in table["shape"])) if "shape" in table else Shape()

    @cached_property
    def motion(self) -> Motion:
        """Poses of all frames; row i belongs to frame number i.

        Raises:
            MissingFileError: there is no motion.npz.
            InputError: it is broken, or its angles are degrees.
        """
        path = self.root / "motion.npz"
        if not path.is_file():
            hint = "; smpl_params.npz moves a person (percepta avatar animate), but where its body stands before the "
            hint += (
                "cameras says the SMPL-X model, which is not ours to ship: fit our body with percepta avatar prepare"
            )
            raise MissingFileError(
                f"{path} is not there: it holds the poses{hint if (self.root / 'smpl_params.npz').is_file() else ''}"
            )
        return read_motion(path)


def read_motion(path: Path) -> Motion:
    """Poses from an .npz: root (t 3) and rotation (t 19 3 3), or rotation_vector (t 19 3) in radians; fps.

    Raises:
        MissingFileError: there is no such file.
        InputError: an entry is missing or broken (names array and frame), or the vectors look like degrees.
    """
    check_regular(path)
    if not is_zipfile(path):
        raise InputError(f"{path}: not an .npz file, or damaged; a motion has root (t, 3) and rotation (t, 19, 3, 3)")
    with np.load(path, allow_pickle=False) as table:
        names = set(table.files)
    which = "rotation" if "rotation" in names else "rotation_vector"
    if not {"root", which} <= names:
        raise InputError(f"{path}: expected root and rotation (or rotation_vector), found {', '.join(sorted(names))}")
    given = read_arrays(path, dict.fromkeys(("root", which, *({"fps"} & names)), "fiu"))
    root, turns = (given[name].astype(np.float64) for name in ("root", which))
    wanted = (len(JOINTS), 3, 3) if which == "rotation" else (len(JOINTS), 3)
    if root.ndim != 2 or root.shape[1] != 3 or not len(root) or turns.shape != (len(root), *wanted):
        shape = f"(t, {', '.join(map(str, wanted))})"
        raise InputError(
            f"{path}: root is (t, 3) and {which} {shape} for one frame or more, got {root.shape} and {turns.shape}"
        )
    for name, values in (("root", root), (which, turns)):
        wrong = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(1))
        if len(wrong):
            raise InputError(
                f"{path}: {name} is not finite (NaN or infinite) in frame {wrong[0]}, counted from 0; so are "
                f"{len(wrong)} of {len(values)} frames: mend them or leave them out"
            )
    fps = float(given.get("fps", np.full(1, 30.0)).mean())
    if not 0 < fps < np.inf:
        raise InputError(f"{path}: fps (frames a second) is above 0, got {fps}")
    if which == "rotation_vector" and np.linalg.norm(turns, axis=-1).max() > 2 * np.pi + 0.5:
        raise InputError(f"{path}: rotation_vector is longer than a full turn of 6.28: are these degrees? Give radians")
    rotation = poses.from_vector(turns) if which == "rotation_vector" else turns
    if np.abs(np.swapaxes(rotation, -1, -2) @ rotation - np.eye(3)).max() > 1e-3:
        raise InputError(
            f"{path}: the rotations are no rotation matrices; give orthonormal ones, or rotation_vector in radians"
        )
    return Motion(root, rotation, fps, path.parent.name)


def _find(folder: Path, frame: int) -> Path:
    for ending in (".png", ".jpg"):
        path = folder / f"{frame:08d}{ending}"
        if path.is_file():
            return path
    raise MissingFileError(f"{folder / f'{frame:08d}.jpg'} is not there")


def is_one(root: Path) -> bool:
    """Whether a folder is such a capture."""
    return (root / "calibration.json").is_file() and (root / "images").is_dir() and (root / "masks").is_dir()


def read(root: Path | str) -> Capture:
    """A capture.

    Raises:
        InputError: the calibration does not fit the folders, or no frame is seen by all cameras.
    """
    root = Path(root)
    if not is_one(root):
        raise InputError(f"{root}: expected {FILES}")
    try:
        table = json.loads((root / "calibration.json").read_text(encoding="utf-8"))
        given = {name: [np.asarray(row[key], float) for key in "KRT"] for name, row in table.items()}
    except (ValueError, KeyError, TypeError) as reason:
        raise InputError(f"{root / 'calibration.json'}: a camera has K, R and T ({reason!r})") from None
    cameras, seen, empty = [], [], []
    for name in sorted(given):
        matrix, rotation, shift = given[name]
        folder = root / "images" / name
        numbers = {int(p.stem) for p in folder.glob("*") if re.fullmatch(r"\d+", p.stem)} if folder.is_dir() else set()
        if not numbers:
            raise InputError(f"{root}: the calibration names {name}, but images/{name} has no pictures")
        with Image.open(_find(folder, min(numbers))) as picture:
            width, height = picture.size
        pose = poses.compose(rotation.reshape(3, 3), shift.reshape(3))
        poses.check(pose, f"{root}: R and T of {name}")
        cameras.append(Camera(name, Intrinsics.of(matrix.reshape(3, 3), width, height), poses.inverse(pose)))
        masks = {int(p.stem) for p in (root / "masks" / name).glob("*") if re.fullmatch(r"\d+", p.stem)}
        seen.append(numbers & masks)
        if not seen[-1]:
            said = "there are none" if not masks else f"none has the number of a picture ({min(numbers)}, ...)"
            empty.append(f"masks/{name} ({len(numbers)} pictures): {said}")
    if empty:
        raise InputError(f"{root}: masks are missing, of {'; of '.join(empty)}")
    missing = _missing(root)
    every = sorted(set.union(*seen))
    lacking = {
        frame: tuple(
            c.name for c, have in zip(cameras, seen, strict=True) if frame not in have or (c.name, frame) in missing
        )
        for frame in every
    }
    left_out = {frame: names for frame, names in lacking.items() if names}
    frames = tuple(frame for frame in every if frame not in left_out)
    if not frames:
        each = ", ".join(f"{c.name} {len(have)}" for c, have in zip(cameras, seen, strict=True))
        raise InputError(f"{root}: there is no frame of which every camera has a picture and a mask; they have {each}")
    return Capture(root, tuple(cameras), frames, left_out)


def _missing(root: Path) -> set[tuple[str, int]]:
    path = root / "missing_img_files.txt"
    if not path.is_file():
        return set()
    found = re.findall(r"(cam\w+)[/\\](\d+)\.", path.read_text(encoding="utf-8"))
    return {(name, int(number)) for name, number in found}


def write(
    root: Path,
    cameras: Mapping[str, tuple[Intrinsics, Float64[np.ndarray, "4 4"]]],
    pictures: Iterable[tuple[str, int, UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]],
    motion: Motion,
    shape: Shape,
) -> None:
    """Writes a capture; the pictures as PNG, since they are small.

    Args:
        root: a folder, made where it is not there.
        cameras: {name: (intrinsics, world_from_camera)}.
        pictures: (camera's name, number of the frame, RGB, mask).
        motion: poses; row i belongs to frame number i.
        shape: measures of the body.
    """
    table = {}
    for name, (intrinsics, pose) in cameras.items():
        back = poses.inverse(pose)
        table[name] = {"K": intrinsics.matrix.tolist(), "R": back[:3, :3].tolist(), "T": back[:3, 3].tolist()}
        for kind in ("images", "masks"):
            (root / kind / name).mkdir(parents=True, exist_ok=True)
    for name, frame, picture, mask in pictures:
        Image.fromarray(picture).save(root / "images" / name / f"{frame:08d}.png")
        Image.fromarray(mask).save(root / "masks" / name / f"{frame:08d}.png")
    measures = [shape.height_m, shape.girth, shape.legs, shape.arms, shape.shoulders]
    np.savez(root / "motion.npz", root=motion.root, rotation=motion.rotation, fps=motion.fps, shape=np.array(measures))
    write_atomically(root / "calibration.json", json.dumps(table))
