"""Recordings of a colour and depth camera that is carried around: frames with their poses, and what is wrong with them.

A recording is a list of references to files; pictures are read one by one. `folder` reads a plain posed folder:

    color/ or colour/ or rgb/       0.jpg, 1.jpg, ... (any kind of picture)
    depth/                          0.png, ... 16 bit, millimetres unless `unit_m` says otherwise; 0 = no reading
    pose/ or poses/                 0.txt, ... world_from_camera, 4×4
    intrinsics.txt                  3×3 or 4×4, of the colour pictures; depth is registered to them

`datasets.recordings.open_recording` opens a folder in this or any other layout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Float64, UInt8
from PIL import Image

from percepta.datasets.problem import Problem, noting, tell
from percepta.errors import InputError, MissingFileError
from percepta.files import listed, read_lines
from percepta.formats import to_float
from percepta.geometry import camera as cameras
from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics
from percepta.media import image as pictures

NO_READING = (0, 65535)
COLOURS, POSES = ("color", "colour", "rgb", "image", "images"), ("pose", "poses")  # what the folders may be called


@dataclass(frozen=True)
class RgbdFrame:
    """One frame, depth registered to colour.

    Attributes:
        colour: RGB, 0..255.
        depth_m: along the optical axis, metres; 0 where there is no reading.
        world_from_camera: pose of the colour camera.
        intrinsics: of both pictures.
        name: the frame's file name without its ending.
    """

    colour: UInt8[np.ndarray, "h w 3"]
    depth_m: Float32[np.ndarray, "h w"]
    world_from_camera: Float64[np.ndarray, "4 4"]
    intrinsics: Intrinsics
    name: str


@dataclass(frozen=True)
class Recording:
    """References to the frames of one recording; iterating reads them.

    Attributes:
        colours: picture files, one a frame, in the order of time.
        depths: depth files, one a frame.
        poses: a file for each frame, or one for all of them: then `matrices` holds what it says.
        colour_matrix: K of the colour camera at the size of its files.
        depth_matrix: K of the depth camera at the size of its files.
        colour_from_depth: where the depth camera stands before the colour camera; None: depth is registered already.
        pose_of: "colour" or "depth": whose pose the files give.
        unit_m: metres of one step of the depth files.
        alone: files that belong to no frame, since another one of their number is missing.
        up: what is up in the world of the poses: "z", or "camera" for what is up in the first picture.
    """

    colours: tuple[Path, ...]
    depths: tuple[Path, ...]
    poses: tuple[Path, ...]
    colour_matrix: Float64[np.ndarray, "3 3"]
    depth_matrix: Float64[np.ndarray, "3 3"]
    colour_from_depth: Float64[np.ndarray, "4 4"] | None = None
    pose_of: str = "colour"
    unit_m: float = 0.001
    matrices: Float64[np.ndarray, "n 4 4"] | None = None
    alone: tuple[Path, ...] = ()
    up: Literal["z", "camera"] = "z"

    def __len__(self) -> int:
        return len(self.colours)

    def __iter__(self) -> Iterator[RgbdFrame]:
        return self.frames()

    def frames(
        self, size: tuple[int, int] | None = None, stride: int = 1, *, skip_untracked: bool = True
    ) -> Iterator[RgbdFrame]:
        """Frames 0, stride, 2·stride, ...

        Args:
            size: (width, height) to bring them to; None: the depth picture's size.
            stride: take every n-th frame.
            skip_untracked: leave out frames whose pose is not finite, as ScanNet writes it, and damaged ones, of which
                a warning says how many; else they are errors.

        Raises:
            InputError: a damaged file or a pose that is no rigid motion, naming the file: of all frames, or of any
                where `skip_untracked` is False.
        """
        problems: list[Problem] | None = [] if skip_untracked else None
        count, rows = 0, range(0, len(self), stride)
        for i in rows:
            frame = None
            with noting(problems, self.colours[i]):
                if not skip_untracked or np.isfinite(self.pose(i)).all():
                    frame = self.read(i, size)
            if frame is not None:
                count += 1
                yield frame
        tell(problems or (), f"{len(rows)} frames", strict=not count)

    def tracked(self, i: int) -> Float64[np.ndarray, "4 4"]:
        """world_from_camera of frame i; NaN where it is not known, cannot be read or is no rigid motion."""
        try:
            pose = self.pose(i)
        except (OSError, ValueError):
            return np.full((4, 4), np.nan)
        return np.full((4, 4), np.nan) if poses.problem(pose) else pose

    def pose(self, i: int) -> Float64[np.ndarray, "4 4"]:
        """world_from_camera of frame i as its file gives it, whatever it holds."""
        return read_matrix(self.poses[i], (4, 4)) if self.matrices is None else self.matrices[i]

    def read(self, i: int, size: tuple[int, int] | None = None) -> RgbdFrame:
        """Frame i, at a size (width, height); see `frames`."""
        pose = self.pose(i)
        poses.check(pose, f"{self.poses[i]}, frame {self.colours[i].stem}")
        depth = read_depth(self.depths[i], self.unit_m)
        h, w = depth.shape
        picture = read_colour(self.colours[i])
        width, height = size or (w, h)
        full = Intrinsics.of(self.colour_matrix, picture.width, picture.height)
        target = full.resized(width, height)
        source = Intrinsics.of(self.depth_matrix, w, h)
        if self.colour_from_depth is not None:
            depth = cameras.register(depth, source, target, self.colour_from_depth)
            if self.pose_of == "depth":
                pose = pose @ poses.inverse(self.colour_from_depth)
        elif (width, height) != (w, h):
            depth = nearest(depth, width, height)
        if picture.size != (width, height):
            shrink = picture.width >= width
            picture = picture.resize((width, height), Image.Resampling.BOX if shrink else Image.Resampling.BILINEAR)
        return RgbdFrame(np.asarray(picture), depth, pose, target, self.colours[i].stem.removesuffix(".color"))


def nearest(depth_m: Float32[np.ndarray, "h w"], width: int, height: int) -> Float32[np.ndarray, "height width"]:
    """Depth at another size without mixing: each pixel takes the one whose area holds its centre.

    Args:
        depth_m: 0 where there is no reading.
        width: in pixels.
        height: in pixels.
    """
    h, w = depth_m.shape
    rows = ((np.arange(height) + 0.5) * h / height).astype(np.int64)
    columns = ((np.arange(width) + 0.5) * w / width).astype(np.int64)
    return depth_m[rows[:, None], columns]


def read_colour(path: Path) -> Image.Image:
    """A picture in RGB as its file has it; EXIF does not turn it, since the intrinsics would not turn with it.

    Raises:
        MissingFileError: no such file. InputError: it cannot be read.
    """
    return pictures.load(path).convert("RGB")


def read_depth(path: Path, unit_m: float = 0.001) -> Float32[np.ndarray, "h w"]:
    """Depth in metres of a 16-bit picture; 0 and 65535 become 0.

    Raises:
        InputError: no 16-bit picture with one channel.
    """
    picture = pictures.load(path)
    values = np.asarray(picture)
    if not picture.mode.startswith("I") or values.min(initial=0) < 0:
        raise InputError(f"{path}: depth is a 16-bit picture with one channel, not of Pillow's mode {picture.mode}")
    return (np.where(np.isin(values, NO_READING), 0, values) * np.float64(unit_m)).astype(np.float32)


def read_matrix(path: Path, shape: tuple[int, int] | None = None) -> Float64[np.ndarray, "n m"]:
    """Numbers in rows.

    Raises:
        MissingFileError: no such file.
        InputError: something else in it, or another shape.
    """
    rows: list[list[float]] = []
    for number, line in enumerate(read_lines(path), 1):
        try:
            row = [to_float(word) for word in line.replace(",", " ").split()]
        except ValueError as error:
            raise InputError(f"{path}, line {number}: expected rows of numbers ({error})") from None
        if row and rows and len(row) != len(rows[0]):
            raise InputError(f"{path}, line {number}: {len(row)} numbers, where the first row has {len(rows[0])}")
        rows += [row] if row else []
    out = np.array(rows, np.float64)
    if out.ndim != 2 or (shape is not None and out.shape != shape):
        wanted = "a matrix" if shape is None else f"{shape[0]}×{shape[1]} numbers"
        raise InputError(f"{path}: expected {wanted}, found {'×'.join(map(str, out.shape))}")
    return out


def read_intrinsics(root: Path) -> Float64[np.ndarray, "3 3"]:
    """K of a folder's intrinsics.txt, which holds it as 3×3 or 4×4.

    Raises:
        MissingFileError: there is none. InputError: what is in it is no matrix.
    """
    path = root / "intrinsics.txt"
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file; it holds the 3×3 matrix of the camera")
    return top_left(read_matrix(path), path)


def top_left(matrix: Float64[np.ndarray, "n m"], path: Path) -> Float64[np.ndarray, "3 3"]:
    """K of a matrix that holds it as 3×3 or 4×4; InputError for any other, and for what is no K, naming the file."""
    if matrix.shape not in ((3, 3), (4, 4), (3, 4)):
        raise InputError(f"{path}: expected 3×3 or 4×4 numbers, found {'×'.join(map(str, matrix.shape))}")
    k = matrix[:3, :3]
    if not np.isfinite(k).all() or k[0, 0] <= 0 or k[1, 1] <= 0 or abs(k[0, 1]) > 1e-6 * k[0, 0]:
        raise InputError(f"{path}: intrinsics are fx 0 cx, 0 fy cy, 0 0 1 with fx and fy above 0, not {k.tolist()}")
    return k


def folder(root: Path, *, unit_m: float = 0.001, problems: list[Problem] | None = None) -> Recording:
    """A plain posed folder, see above.

    Args:
        root: the folder.
        unit_m: metres of one step of the depth files.
        problems: as other recordings take it; files without their partners are in `alone` of the recording.

    Raises:
        MissingFileError: a folder, a file or intrinsics.txt is missing.
        InputError: no frame has all three files.
    """
    root = Path(root)
    colours = numbered(first_folder(root, COLOURS), pictures.SUFFIXES)
    depths = numbered(first_folder(root, ("depth",)), {".png"})
    places = numbered(first_folder(root, POSES), {".txt"})
    k = read_intrinsics(root)
    return together(root, colours, depths, places, k, k, unit_m=unit_m)


def together(
    root: Path,
    colours: dict[str, Path],
    depths: dict[str, Path],
    places: dict[str, Path],
    colour_matrix: Float64[np.ndarray, "3 3"],
    depth_matrix: Float64[np.ndarray, "3 3"],
    **more: Any,
) -> Recording:
    """The frames that have all three files, in the order of their numbers.

    Args:
        root: the folder, for messages.
        colours: colour pictures by frame number.
        depths: depth pictures by frame number.
        places: poses by frame number.
        colour_matrix: K of the colour camera.
        depth_matrix: K of the depth camera.
    """
    names = sorted(colours.keys() & depths.keys() & places.keys(), key=order)
    if not names:
        counts = f"{len(colours)} colours, {len(depths)} depths, {len(places)} poses"
        raise InputError(f"{root}: no frame has a colour, a depth and a pose file of one name ({counts})")
    tables = (colours, depths, places)
    files = [tuple(table[name] for name in names) for table in tables]
    whole = set(names)
    # A pose that stands in one log with all others is no file of its own.
    alone = {path for table in tables for name, path in table.items() if name not in whole and path not in files[2]}
    more = {"alone": tuple(sorted(alone)), **more}
    return Recording(files[0], files[1], files[2], colour_matrix, depth_matrix, **more)


def order(name: str) -> tuple[int, str]:
    """What names of frames are sorted by: the number in them, −1 where there is none, then the name itself."""
    digits = "".join(c for c in name if c in "0123456789")
    return (int(digits) if digits else -1, name)


def first_folder(root: Path, names: Sequence[str]) -> Path:
    """The first of some folders that is there.

    Raises:
        MissingFileError: none of them is.
    """
    for name in names:
        if (root / name).is_dir():
            return root / name
    raise MissingFileError(f"{root}: no folder {' or '.join(names)}")


def numbered(where: Path, suffixes: frozenset[str] | set[str]) -> dict[str, Path]:
    """Files of a folder by their number (without leading zeros), or by their name where there is none.

    Raises:
        MissingFileError: no such folder.
        InputError: two files of one number, of which nobody can say which one belongs to it.
    """
    if not where.is_dir():
        raise MissingFileError(f"{where}: no such folder")
    out: dict[str, Path] = {}
    for path in listed(where, endings=suffixes):
        number, _ = order(path.stem)
        other = out.setdefault(str(number) if number >= 0 else path.stem, path)
        if other != path:
            raise InputError(f"{path}: has the number {number}, as {other.name}; remove one of them")
    return out


def check(
    recording: Recording,
    stride: int = 10,
    max_step_m: float = 0.3,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Problem], list[Problem]]:
    """Reads all poses and the pictures of every n-th frame, and compares frames that overlap.

    Problems: damaged files, poses that are no rigid motion or follow another convention, depth in another unit, sizes
    that change.
    Warnings: untracked frames, jumps, gaps in the numbering, files without their partners, depth with hardly any
    reading, a principal point far from the middle.

    Args:
        recording: what is checked.
        stride: the pictures of every n-th frame are read.
        max_step_m: a longer way from one frame to the next is a jump.
        progress: called with (frames that were read, frames).

    Returns:
        (problems, warnings).
    """
    problems: list[Problem] = []
    warnings: list[Problem] = []
    _check_poses(recording, max_step_m, problems, warnings)
    _check_numbers(recording, warnings)
    _check_pictures(recording, stride, progress, problems, warnings)
    if not problems:
        _check_overlap(recording, problems)
    return problems, warnings


def _check_pictures(
    recording: Recording,
    stride: int,
    progress: Callable[[int, int], None] | None,
    problems: list[Problem],
    warnings: list[Problem],
) -> None:
    sizes: set[tuple[int, ...]] = set()
    middles = []
    for i in range(0, len(recording), stride):
        path = recording.depths[i]
        try:
            depth = read_depth(path, recording.unit_m)
            path = recording.colours[i]
            sizes.add((*read_colour(path).size, *depth.shape[::-1]))
        except (OSError, ValueError) as error:
            problems.append(Problem(path, None, str(error).removeprefix(f"{path}: ")))
            continue
        finally:
            if progress is not None:
                progress(min(i + stride, len(recording)), len(recording))
        seen = depth[depth > 0]
        if seen.size < 0.05 * depth.size:
            warnings.append(Problem(recording.depths[i], None, "fewer than 5 % of the pixels have a reading"))
        else:
            middles.append(float(np.median(seen)))
    if len(sizes) > 1:
        problems.append(Problem(recording.colours[0].parent, None, f"pictures of {len(sizes)} sizes in one recording"))
    if middles and not 0.2 < np.median(middles) < 20:
        text = (
            f"the median depth is {np.median(middles):.4g} m; is a step of the files {recording.unit_m} m? "
            "give unit_m (0.001 for millimetres, 0.0002 for TUM RGB-D)"
        )
        problems.append(Problem(recording.depths[0].parent, None, text))
    if sizes:
        width, height, *_ = next(iter(sizes))
        cx, cy = recording.colour_matrix[0, 2], recording.colour_matrix[1, 2]
        if abs(cx - width / 2) > 0.2 * width or abs(cy - height / 2) > 0.2 * height:
            text = f"the principal point ({cx:.0f}, {cy:.0f}) is far from the middle of {width}×{height} pictures"
            warnings.append(
                Problem(recording.colours[0].parent, None, f"{text}; are these the intrinsics of another size?")
            )


_FLIP = np.diag([1.0, -1.0, -1.0, 1.0])
_READINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "as camera_from_world (invert them)": poses.inverse,
    "of cameras that look along -z with y up (negate their second and third column)": lambda pose: pose @ _FLIP,
    "as camera_from_world of cameras that look along -z (invert, then negate columns 2 and 3)": (
        lambda pose: poses.inverse(pose) @ _FLIP
    ),
}


def _check_overlap(recording: Recording, problems: list[Problem], pairs: int = 6) -> None:
    """Frames that see the same place have to agree on how far away it is.

    Where they do not, and would by far if poses were read in another of the usual ways or depth had another scale, that
    is said. Too little motion tells nothing.
    """
    try:
        found = [(recording.read(i, (80, 60)), recording.read(j, (80, 60))) for i, j in _apart(recording, pairs)]
    except (OSError, ValueError) as error:
        problems.append(Problem(recording.depths[0].parent, None, str(error)))
        return
    if len(found) < 2:
        return
    given = _agreement(found)
    others = {f"the poses are read {name}": _agreement(found, read) for name, read in _READINGS.items()}
    for scale in np.geomspace(0.1, 10, 41):  # steps of 12 %
        if abs(np.log(scale)) > 0.2:
            text = f"depth is multiplied by about {scale:.2g} (in another unit than the poses?)"
            others[text] = _agreement(found, scale=float(scale))
    best = max(others, key=lambda name: others[name])
    if others[best] > max(2 * given, 0.5):
        text = (
            f"depths of frames that overlap agree in {given:.0%} of their pixels, but in {others[best]:.0%} if {best}"
        )
        problems.append(Problem(recording.poses[0].parent, None, text))


def _apart(recording: Recording, count: int) -> list[tuple[int, int]]:
    """Pairs of frames between which the camera has moved far, but by at most a metre, and turned by less than 40°."""
    out = []
    for i in map(int, np.linspace(0, len(recording) - 1, count + 1)[:-1]):
        first, best, farthest = recording.pose(i), i, 0.05
        if not np.isfinite(first).all():
            continue
        for j in range(i + 1, min(i + 90, len(recording))):
            pose = recording.pose(j)
            if not np.isfinite(pose).all():
                continue
            motion = poses.inverse(first) @ pose
            far = float(np.linalg.norm(motion[:3, 3]))
            if far > 1 or poses.angle(motion[:3, :3]) > np.radians(40):
                break
            if far > farthest:
                best, farthest = j, far
        if best > i:
            out.append((i, best))
    return out


def _agreement(
    pairs: Sequence[tuple[RgbdFrame, RgbdFrame]],
    read: Callable[[np.ndarray], np.ndarray] = lambda pose: pose,
    scale: float = 1.0,
) -> float:
    """Share of a frame's readings that lie in the other's view and agree with its depth there within 4 %."""
    inside = agree = 0
    for one, other in pairs:
        motion = poses.inverse(read(other.world_from_camera)) @ read(one.world_from_camera)
        depth = one.depth_m.astype(np.float64) * scale
        cloud, _ = cameras.points(depth, one.intrinsics, motion)
        uv, z = cameras.project(cloud[cloud[:, 2] > 0.05], other.intrinsics)  # what lies behind is not seen
        x, y = np.floor(uv + 0.5).astype(np.int64).T
        kept = (x >= 0) & (x < other.intrinsics.width) & (y >= 0) & (y < other.intrinsics.height)
        there = other.depth_m[y[kept], x[kept]] * scale
        seen = there > 0
        inside += int(seen.sum())
        agree += int((np.abs(there - z[kept])[seen] < 0.04 * there[seen]).sum())
    return agree / max(inside, 200)  # a few pixels at the edge tell nothing


def _check_poses(recording: Recording, max_step_m: float, problems: list[Problem], warnings: list[Problem]) -> None:
    last: tuple[int, np.ndarray] | None = None
    steps = []
    for i, path in enumerate(recording.poses):
        try:
            pose = recording.pose(i)
        except (OSError, ValueError) as error:
            problems.append(Problem(path, None, str(error).removeprefix(f"{path}: ")))
            continue
        if not np.isfinite(pose).all():
            warnings.append(Problem(path, None, "not tracked (NaN or infinity); the frame is left out"))
            continue
        if wrong := poses.problem(pose):
            problems.append(Problem(path, None, wrong))
            continue
        if last is not None and i == last[0] + 1:
            step = float(np.linalg.norm(pose[:3, 3] - last[1][:3, 3]))
            steps.append(step)
            if step > max_step_m:
                warnings.append(Problem(path, None, f"the camera jumps by {step:.2f} m since the frame before"))
        last = (i, pose)
    if steps and np.median(steps) > 1.0:
        text = f"the camera moves {np.median(steps):.3g} m a frame; are the translations in millimetres?"
        problems.append(Problem(recording.poses[0].parent, None, text))


def _check_numbers(recording: Recording, warnings: list[Problem]) -> None:
    numbers = [order(path.name.split(".")[0])[0] for path in recording.colours]
    steps = np.diff(numbers)
    usual = int(np.median(steps)) if len(steps) else 1
    for i in np.flatnonzero(steps > max(usual, 1)):
        text = f"frames {numbers[i] + usual} to {numbers[i + 1] - usual} are missing"
        warnings.append(Problem(recording.colours[i + 1], None, text))
    if recording.alone:
        count = len(recording.alone)
        what = "this file belongs" if count == 1 else f"this and {count - 1} other files belong"
        text = f"{what} to no frame: a frame has a colour, a depth and a pose of one number; left out"
        warnings.append(Problem(recording.alone[0], None, text))


NAME = "recording with depth"
FILES = "color/ (or rgb/), depth/, pose/ and intrinsics.txt"


def is_one(root: Path) -> bool:
    """Whether a folder is a plain posed folder with depth."""
    return (root / "depth").is_dir() and any((root / name).is_dir() for name in POSES)


READS = {Recording: folder}
