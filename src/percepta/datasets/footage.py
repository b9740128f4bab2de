"""Captures of videos, of folders of pictures, and of recordings with poses and depth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image

from percepta.datasets import posed
from percepta.datasets.capture import Capture, Shot
from percepta.datasets.posed import Recording
from percepta.errors import InputError, MissingFileError
from percepta.files import PICTURE_SUFFIXES, listed
from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics
from percepta.media import image, video
from percepta.metrics.trajectory import Trajectory, trajectory

FPS = 30.0  # of folders of pictures that say nothing of time


@dataclass(frozen=True)
class Pictures:
    """Shots from picture files.

    Attributes:
        files: one a frame.
        time_s: of each.
        rights: pictures of the right camera; empty for none.
        depths: 16-bit depth pictures; empty for none, None for a frame without.
        unit_m: metres of one step of the depth files.
        grey: whether colours are dropped while reading.
    """

    files: tuple[Path, ...]
    time_s: Float64[np.ndarray, " n"]
    rights: tuple[Path, ...] = ()
    depths: tuple[Path | None, ...] = ()
    unit_m: float = 0.001
    grey: bool = False

    def __post_init__(self) -> None:
        for name, files in (("times", self.time_s), ("right pictures", self.rights), ("depth pictures", self.depths)):
            if len(files) not in ((len(self.files),) if name == "times" else (0, len(self.files))):
                raise InputError(f"{len(files)} {name} for {len(self.files)} pictures ({self.files[0].parent})")

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[Shot]:
        size: tuple[int, ...] | None = None
        for i, path in enumerate(self.files):
            frame = read_picture(path, grey=self.grey)
            size = size or frame.shape[:2]
            if frame.shape[:2] != size:
                shapes = [f"{width}×{height} pixels" for height, width in (frame.shape[:2], size)]
                raise InputError(
                    f"{path} has {shapes[0]}, but {self.files[0]} has {shapes[1]}: the pictures of a camera that moves "
                    "have one size; move the others into a folder of their own"
                )
            depth_path = self.depths[i] if self.depths else None
            depth = None
            if depth_path is not None:
                depth = posed.read_depth(depth_path, self.unit_m)
                if depth.shape != frame.shape[:2]:
                    depth = posed.nearest(depth, frame.shape[1], frame.shape[0])
            elif self.depths:
                depth = np.zeros(frame.shape[:2], np.float32)
            right = read_picture(self.rights[i], grey=self.grey) if self.rights else None
            yield Shot(float(self.time_s[i]), frame, depth, right)


@dataclass(frozen=True)
class Video:
    """Shots from a video file or a camera ("camera:0").

    Attributes:
        where: the file or the camera.
        most_px: larger pictures are shrunk so that their longer side is at most this.
        depths: 16-bit depth pictures by frame; empty for none.
        time_s: of each frame, where the file's own times are not to be used.
    """

    where: Path | str
    most_px: int | None = None
    depths: tuple[Path | None, ...] = ()
    time_s: Float64[np.ndarray, " n"] | None = None

    def __len__(self) -> int:
        if isinstance(self.where, str):
            return 0
        found = video.info(self.where)
        return found.frames or round(found.duration_s * found.fps)

    def __iter__(self) -> Iterator[Shot]:
        for number, sample in enumerate(video.every_frame(self.where)):
            frame = shrunk(sample.frame, self.most_px)
            time_s = sample.time_s
            if self.time_s is not None:
                if number >= len(self.time_s):
                    return
                time_s = float(self.time_s[number])
            depth, path = None, self.depths[number] if number < len(self.depths) else None
            if path is not None:
                depth = posed.nearest(posed.read_depth(path), frame.shape[1], frame.shape[0])
            elif self.depths:
                depth = np.zeros(frame.shape[:2], np.float32)
            yield Shot(time_s, frame, depth)


@dataclass(frozen=True)
class _Recorded:
    """Shots of a recording, depth registered to colour; of frames whose pose is unknown as well."""

    recording: Recording
    time_s: Float64[np.ndarray, " n"]
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.recording)

    def __iter__(self) -> Iterator[Shot]:
        known = np.tile(np.eye(4), (len(self.recording), 1, 1))  # the pose is not read: it may not be finite
        blank = replace(self.recording, matrices=known, pose_of="colour")
        for i in range(len(self.recording)):
            frame = blank.read(i, self.size)
            yield Shot(float(self.time_s[i]), frame.colour, frame.depth_m)


def of_recording(
    recording: Recording, name: str, *, time_s: Float64[np.ndarray, " n"] | None = None, fps: float = FPS
) -> Capture:
    """The capture of a recording, at the size of its colour pictures; the scored camera is the one of the poses.

    Args:
        recording: the frames.
        name: of the capture.
        time_s: of each frame; None: evenly spaced.
        fps: frames a second where no times are given.
    """
    times = np.arange(len(recording)) / fps if time_s is None else time_s
    with Image.open(recording.colours[0]) as picture:
        size = picture.size
    matrices = np.stack([recording.pose(i) for i in range(len(recording))])
    known = np.isfinite(matrices).all((1, 2))
    scored = np.eye(4)
    if recording.pose_of == "depth" and recording.colour_from_depth is not None:
        scored = np.asarray(recording.colour_from_depth, np.float64)
    return Capture(
        name,
        _Recorded(recording, times, size),
        Intrinsics.of(recording.colour_matrix, *size),
        "given",
        truth=trajectory(times[known], matrices[known]) if known.any() else None,
        camera_from_scored=scored,
    )


def of_pictures(root: Path, camera: Intrinsics | None = None, fps: float = FPS) -> Capture:
    """A folder of pictures in the order of their numbers.

    Args:
        root: the folder.
        camera: intrinsics; None: intrinsics.txt in the folder, else EXIF, else guessed.
        fps: pictures a second.

    Raises:
        MissingFileError: no pictures.
    """
    files = tuple(path for path in listed(Path(root)) if path.suffix.lower() in PICTURE_SUFFIXES)
    if not files:
        raise MissingFileError(f"{root}: no pictures in this folder")
    with Image.open(files[0]) as picture:
        size = picture.size
    where = "given"
    if camera is None and (Path(root) / "intrinsics.txt").is_file():
        camera, where = Intrinsics.of(posed.read_intrinsics(Path(root)), *size), "intrinsics.txt"
    if camera is None:
        camera, where = from_exif(files[0], *size), "EXIF"
    if camera is None:
        camera, where = guessed(*size), "guessed"
    return Capture(Path(root).name, Pictures(files, np.arange(len(files)) / fps), camera, where)


def of_video(path: Path | str, camera: Intrinsics | None = None, most_px: int | None = 640) -> Capture:
    """A video file, or a camera of this machine.

    Args:
        path: the file, or "camera:0".
        camera: intrinsics at any size of the same shape; None: guessed.
        most_px: larger pictures are shrunk so that their longer side is at most this; None: they stay.

    Raises:
        MissingFileError, InputError: no such file; no video.
    """
    source = Video(path, most_px)
    if isinstance(path, str) and path.startswith("camera:"):
        first = next(iter(source)).frame
        width, height = first.shape[1], first.shape[0]
    else:
        source = Video(Path(path), most_px)
        found = video.info(path)
        width, height = shrunk_size(found.width_px, found.height_px, most_px)
    fitted = guessed(width, height) if camera is None else camera.resized(width, height)
    name = path if isinstance(path, str) and path.startswith("camera:") else Path(path).name
    return Capture(str(name), source, fitted, "guessed" if camera is None else "given")


def guessed(width: int, height: int) -> Intrinsics:
    """Intrinsics of a usual phone: a horizontal angle of about 61° on the longer side."""
    focal = 0.85 * max(width, height)
    return Intrinsics(focal, focal, (width - 1) / 2, (height - 1) / 2, width, height)


def from_exif(path: Path, width: int, height: int) -> Intrinsics | None:
    """Intrinsics from a photograph's focal length for 35 mm film; None where it says none.

    Args:
        path: the file.
        width: of the picture, pixels.
        height: of the picture, pixels.
    """
    try:
        with Image.open(path) as picture:
            film_mm = picture.getexif().get_ifd(0x8769).get(0xA405)
    except (OSError, SyntaxError, ValueError):
        return None
    if not film_mm or not 5 < float(film_mm) < 500:
        return None
    focal = float(film_mm) / np.hypot(36, 24) * np.hypot(width, height)
    return Intrinsics(float(focal), float(focal), (width - 1) / 2, (height - 1) / 2, width, height)


def read_picture(path: Path, *, grey: bool = False) -> UInt8[np.ndarray, "h w *c"]:
    """A picture as its file has it, RGB or grey; EXIF does not turn it. 16 bits are brought to 8.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with Image.open(path) as picture:
            if picture.mode.startswith("I"):
                return (np.asarray(picture).astype(np.uint32) >> 8).astype(np.uint8)
            return np.asarray(picture.convert("L" if grey or picture.mode in ("L", "1") else "RGB"))
    except FileNotFoundError:
        raise MissingFileError(f"{path}: no such file") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path}: the picture cannot be read ({error})") from None


def shrunk_size(width: int, height: int, most_px: int | None) -> tuple[int, int]:
    """(width, height) of a picture whose longer side is at most so long.

    Args:
        width: in pixels.
        height: in pixels.
        most_px: longest side; None: as it is.
    """
    share = 1.0 if most_px is None else min(1.0, most_px / max(width, height))
    return max(1, round(width * share)), max(1, round(height * share))


def shrunk(frame: UInt8[np.ndarray, "h w 3"], most_px: int | None) -> UInt8[np.ndarray, "h2 w2 3"]:
    """A frame with a longer side of at most `most_px`, each pixel the mean of those that it covers."""
    size = shrunk_size(frame.shape[1], frame.shape[0], most_px)
    if size == frame.shape[1::-1]:
        return frame
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BOX))


NAME = "pictures or a video of a moving camera"
FILES = "a video file, or a folder of pictures (or with rgb/, images/ in it), maybe with intrinsics.txt"


def is_one(root: Path) -> bool:
    """Whether a path is a video, or a folder with pictures and nothing that says more."""
    root = Path(root)
    return root.suffix.lower() in image.VIDEO_SUFFIXES if root.is_file() else _pictures_of(root) is not None


def _pictures_of(root: Path) -> Path | None:
    """The folder of the pictures."""
    for folder in (root, *(root / name for name in posed.COLOURS)):
        if folder.is_dir() and any(path.suffix.lower() in PICTURE_SUFFIXES for path in listed(folder)):
            return folder
    return None


def read(root: Path) -> Capture:
    """A video, or a folder of pictures; see `of_video` and `of_pictures`.

    Raises:
        MissingFileError: there is neither.
    """
    root = Path(root)
    if root.is_file():
        return of_video(root)
    folder = _pictures_of(root)
    if folder is None:
        raise MissingFileError(f"{root}: neither a video nor a folder of pictures")
    known = root / "intrinsics.txt"
    camera = None
    if known.is_file() and folder != root:
        with Image.open(next(p for p in listed(folder) if p.suffix.lower() in PICTURE_SUFFIXES)) as picture:
            camera = Intrinsics.of(posed.read_intrinsics(root), *picture.size)
    found = of_pictures(folder, camera)
    return replace(found, name=root.name, truth=_poses_beside(root, len(found)))


def _poses_beside(root: Path, count: int) -> Trajectory | None:
    """World_from_camera of each picture, where a folder pose/ has them all."""
    folder = next((root / name for name in posed.POSES if (root / name).is_dir()), None)
    if folder is None:
        return None
    files = posed.numbered(folder, {".txt"})
    if len(files) != count:
        return None
    matrices = np.stack([posed.read_matrix(files[name], (4, 4)) for name in sorted(files, key=posed.order)])
    known = np.isfinite(matrices).all((1, 2))
    for matrix in matrices[known]:
        poses.check(matrix, str(folder))
    return trajectory((np.arange(count) / FPS)[known], matrices[known]) if known.any() else None


READS = {Capture: read}
