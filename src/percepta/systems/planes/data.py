"""Pairs of posed pictures with planes: from synthetic worlds, from recordings, from annotations; and into batches.

A batch holds {image: b 3 h w; sources: b v 3 h w; matrix: b 3 3; source_matrices: b v 3 3; source_from_reference:
b v 4 4; depth: b h w, metres, 0 unknown; segments: b h w, plane of each pixel, −1 none; planes: b MOST 3, p = n/d;
labels: b MOST, class or −1 unknown; instance: b MOST, whether it is to be detected; middles: b MOST 2, row and column
at an eighth of the picture; heat: b h/8 w/8; group: b, pairs of one room or block share it}.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int, Int64, UInt8
from scipy import ndimage

from percepta.datasets import colmap, plane_annotations, posed, posed_folder, seven_scenes, tum_rgbd
from percepta.datasets.posed import Recording
from percepta.errors import InputError, MissingFileError
from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics, plane_in, short_plane
from percepta.systems.planes import Config
from percepta.systems.planes.pseudo import planes_of_depth, turned_to_fit
from percepta.systems.planes.world import LABELS, Box
from percepta.worlds import rooms

MOST = 48
Key = tuple[int, int]


@dataclass(frozen=True)
class Pair:
    """A reference picture with its truth, and source pictures.

    Attributes:
        camera: of all pictures. source_from_reference: one a source.
        depth_m: 0 where unknown. segments: −1 none. planes: p = n/d in the reference camera. labels: place in
            PLANEMVS_NAMES; −1: not known. group: pairs that share it are alike (a room, a block of a recording).
    """

    image: UInt8[np.ndarray, "h w 3"]
    sources: UInt8[np.ndarray, "v h w 3"]
    camera: Intrinsics
    source_from_reference: Float64[np.ndarray, "v 4 4"]
    depth_m: Float32[np.ndarray, "h w"]
    segments: Int[np.ndarray, "h w"]
    planes: Float64[np.ndarray, "n 3"]
    labels: Int64[np.ndarray, " n"]
    group: int = 0


@runtime_checkable
class Source(Protocol):
    """Where pairs come from."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Pair: ...


def camera_of(config: Config, world: str) -> Intrinsics:
    """About the colour camera of a Kinect (f = 525 at 640 pixels) at the size that the network sees."""
    wide = 525 / 640 if world == "rooms" else 0.9
    return Intrinsics(
        wide * config.width, wide * config.width, (config.width - 1) / 2, (config.height - 1) / 2,
        config.width, config.height,
    )  # fmt: skip


# --- synthetic --------------------------------------------------------------------------------------------------------

_FIRST = {"train": 0, "val": 500_000, "test": 700_000, "all": 0}  # seeds of rooms: no split shares one


@dataclass(frozen=True)
class Boxes:
    """Pairs inside boxes; see `world`."""

    config: Config
    split: str

    def __len__(self) -> int:
        return self.config.rooms * self.config.pairs if self.split in ("train", "all") else 24

    def __getitem__(self, index: int) -> Pair:
        number = _FIRST[self.split] + index // self.config.pairs
        box = _box(number)
        rng = np.random.default_rng([number, index % self.config.pairs, 43])
        first, second = box.cameras(rng, self.config.baseline_m)
        camera = camera_of(self.config, "boxes")
        shot, other = box.render(camera, first), box.render(camera, second)
        move = (poses.inverse(second) @ first)[None]
        planes = short_plane(shot.normal, shot.offset)
        return Pair(shot.colour, other.colour[None], camera, move, shot.depth_m, shot.side, planes, LABELS, number)


@lru_cache(maxsize=32)
def _box(seed: int) -> Box:
    return Box(seed)


@dataclass(frozen=True)
class Rooms:
    """Pairs from hand-held walks through furnished rooms, with motion blur, noise and changes of exposure.

    A room takes a second to make and a picture a twentieth: `write` keeps pairs for training.
    """

    config: Config
    split: str

    def __len__(self) -> int:
        return (self.config.rooms if self.split in ("train", "all") else 8) * self.config.pairs

    def __getitem__(self, index: int) -> Pair:
        config = self.config
        number, place = divmod(index, config.pairs)
        world, path, chosen = _room(_FIRST[self.split] + number, config.pairs, config.baseline_m)
        i, j = (int(k) for k in chosen[place % len(chosen)])
        rng = np.random.default_rng([world.seed, place, 47])
        camera = camera_of(config, "rooms")
        first, second = (self._picture(world, path, k, camera, rng) for k in (i, j))
        used = np.unique(first.plane[first.plane >= 0])
        normal, offset = plane_in(poses.inverse(path[i]), world.planes.normal[used], world.planes.offset[used])
        table = np.full(len(world.planes.offset) + 1, -1, np.int32)
        table[used] = np.arange(len(used))
        return Pair(
            first.colour, second.colour[None], camera, (poses.inverse(path[j]) @ path[i])[None], first.depth_m,
            table[first.plane], short_plane(normal, offset), world.planes.planemvs[used], world.seed,
        )  # fmt: skip

    def _picture(
        self, world: rooms.Room, path: np.ndarray, i: int, camera: Intrinsics, rng: np.random.Generator
    ) -> rooms.View:
        exposed_at = []
        if rng.random() < 0.3:  # half of the time before and half after: a blurred picture must not be a shifted one
            open_for = rng.uniform(0.1, 0.5)
            for near in (path[max(i - 1, 0)], path[i], path[min(i + 1, len(path) - 1)]):
                exposed_at.append(poses.interpolate(path[i], near, [open_for / 2])[0])
        view = rooms.render(world, path[i], camera, exposed_at=exposed_at, exposure=float(rng.uniform(0.75, 1.3)))
        noise = rng.normal(0, rng.uniform(1, 5), view.colour.shape)
        soft = ndimage.gaussian_filter(view.colour.astype(np.float32), (s := rng.uniform(0, 0.7), s, 0))
        colour = np.clip(soft + noise + 0.5, 0, 255).astype(np.uint8)
        return rooms.View(
            colour, view.depth_m, view.label, view.instance, view.plane, view.world_from_camera, view.intrinsics
        )


@lru_cache(maxsize=6)
def _room(seed: int, wanted: int, baseline_m: tuple[float, float]) -> tuple[rooms.Room, np.ndarray, np.ndarray]:
    """A room, a walk through it, and pairs of frames spread over the walk (always at least one)."""
    world = rooms.room(seed)
    path = rooms.walk(world, 0, frames=400, fps=15)
    found = rooms.pairs(path, baseline_m)
    if not len(found):  # somebody who only turned round: the widest step there is
        found = np.array([[0, len(path) - 1]])
    pick = np.linspace(0, len(found) - 1, wanted).astype(int)
    return world, path, found[pick]


@dataclass(frozen=True)
class EveryRoom:
    """Every `step`-th room of a world from the `first` on, each with all its pairs: a room is made once."""

    rooms: Rooms
    first: int
    step: int

    def __len__(self) -> int:
        return len(range(self.first, len(self.rooms) // self.rooms.config.pairs, self.step)) * self.rooms.config.pairs

    def __getitem__(self, index: int) -> Pair:
        number, place = divmod(index, self.rooms.config.pairs)
        return self.rooms[(self.first + number * self.step) * self.rooms.config.pairs + place]


# --- kept pairs -------------------------------------------------------------------------------------------------------


def write(
    source: Source, folder: Path, progress: Callable[[int, int], None] | None = None, part: tuple[int, int] = (0, 1)
) -> Path:
    """Keeps pairs as arrays that are read without being loaded: rendering is then no part of training.

    Args:
        source: pairs of one size with one source picture each.
        folder: gets image.npy, sources.npy, depth.npy (mm), segments.npy, truth.npz and, last of all, pairs.json.
        part: (i, n): only the i-th of n parts, so that several processes can share the work (folders of their own).
    """
    numbers = range(len(source))[part[0] :: part[1]]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pairs.json").unlink(missing_ok=True)
    first = source[numbers[0]]
    h, w = first.depth_m.shape
    n = len(numbers)
    open_array = np.lib.format.open_memmap
    image = open_array(folder / "image.npy", "w+", np.uint8, (n, h, w, 3))
    sources = open_array(folder / "sources.npy", "w+", np.uint8, (n, h, w, 3))
    depth = open_array(folder / "depth.npy", "w+", np.uint16, (n, h, w))
    segments = open_array(folder / "segments.npy", "w+", np.int16, (n, h, w))
    planes, labels = np.zeros((n, MOST, 3), np.float32), np.full((n, MOST), -1, np.int16)
    moves, matrices, groups = np.zeros((n, 4, 4)), np.zeros((n, 3, 3)), np.zeros(n, np.int64)
    for row, number in enumerate(numbers):
        pair = _fewer(source[number])
        image[row], sources[row] = pair.image, pair.sources[0]
        depth[row] = np.clip(pair.depth_m * 1000 + 0.5, 0, 65535)
        segments[row], groups[row] = pair.segments, pair.group
        count = len(pair.labels)
        planes[row, :count], labels[row, :count] = pair.planes, pair.labels
        moves[row], matrices[row] = pair.source_from_reference[0], pair.camera.matrix
        if progress is not None:
            progress(row + 1, n)
    for array in (image, sources, depth, segments):
        array.flush()
    np.savez(folder / "truth.npz", planes=planes, labels=labels, moves=moves, matrices=matrices, groups=groups)
    text = json.dumps({"format": 1, "pairs": n, "width": w, "height": h})
    temporary = folder / ".pairs.json"
    temporary.write_text(text + "\n")
    return temporary.replace(folder / "pairs.json")


def _fewer(pair: Pair) -> Pair:
    """The pair with its MOST largest planes, the largest first; smaller ones become "none"."""
    area = np.bincount(pair.segments[pair.segments >= 0].astype(np.int64), minlength=len(pair.labels))
    order = np.argsort(-area, kind="stable")[: min(MOST, int((area > 0).sum()))]
    table = np.full(len(pair.labels) + 1, -1, np.int32)
    table[order] = np.arange(len(order))
    return Pair(
        pair.image, pair.sources, pair.camera, pair.source_from_reference, pair.depth_m, table[pair.segments],
        pair.planes[order], pair.labels[order], pair.group,
    )  # fmt: skip


class Kept:
    """Pairs that `write` kept; in one folder, or in several below it."""

    def __init__(self, root: Path, split: str) -> None:
        folders = sorted(path.parent for path in root.glob("**/pairs.json"))
        self.parts = [_KeptPart(folder) for folder in folders]
        rows = [(p, i) for p, part in enumerate(self.parts) for i in range(part.count)]
        groups = sorted({int(self.parts[p].groups[i]) for p, i in rows})
        # By room: nine of ten train, every tenth is validation; a folder that is kept back as a whole is "test".
        held = {group for place, group in enumerate(groups) if place % 10 == 9}
        kept = {"train": lambda g: g not in held, "val": lambda g: g in held}.get(split, lambda g: True)
        self.rows = [(p, i) for p, i in rows if kept(int(self.parts[p].groups[i]))]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Pair:
        part, row = self.rows[index]
        return self.parts[part][row]


class _KeptPart:
    def __init__(self, folder: Path) -> None:
        about = json.loads((folder / "pairs.json").read_text())
        if about.get("format") != 1:
            raise InputError(f"{folder / 'pairs.json'}: format {about.get('format')}, this percepta reads 1")
        self.count = int(about["pairs"])
        self.arrays = {
            name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("image", "sources", "depth", "segments")
        }
        with np.load(folder / "truth.npz", allow_pickle=False) as file:
            self.truth = {name: file[name] for name in file.files}
        self.groups = self.truth["groups"]
        for name, array in {**self.arrays, **self.truth}.items():
            if len(array) != self.count:
                raise InputError(f"{folder}: {name} has {len(array)} rows, not {self.count}; write the folder again")

    def __getitem__(self, i: int) -> Pair:
        depth = self.arrays["depth"][i]
        h, w = depth.shape
        labels = self.truth["labels"][i].astype(np.int64)
        segments = np.asarray(self.arrays["segments"][i], np.int32)
        count = int(segments.max()) + 1
        return Pair(
            np.asarray(self.arrays["image"][i]), np.asarray(self.arrays["sources"][i])[None],
            Intrinsics.of(self.truth["matrices"][i], w, h), self.truth["moves"][i][None],
            (depth * np.float32(0.001)).astype(np.float32), segments,
            self.truth["planes"][i, :count].astype(np.float64),
            labels[:count], int(self.groups[i]),
        )  # fmt: skip


# --- recordings -------------------------------------------------------------------------------------------------------


def blocks(count: int, split: str) -> list[range]:
    """Frames of one sequence that belong to a split: blocks of time with gaps of 20 frames (of 300) between them.

    train: the first half; val: 17/30 to 7/10; test: 23/30 to the end. Frames in the gaps see what both sides see and
    are in no split. "all" is everything.
    """
    parts = {"train": (0, 15), "val": (17, 21), "test": (23, 30), "all": (0, 30)}
    if split not in parts:
        raise InputError(f'the splits are "train", "val", "test" and "all", not {split!r}')
    low, high = (share * count // 30 for share in parts[split])
    return [range(low, high)]


def frame_pairs(recording: Recording, chosen: range, baseline_m: tuple[float, float]) -> list[tuple[int, int]]:
    """(reference, source) for each frame: the nearest later one at that distance, else the nearest earlier one."""
    path = np.stack([recording.pose(i) for i in chosen]) if len(chosen) else np.zeros((0, 4, 4))
    out = []
    for i in range(len(path)):
        gap = np.linalg.norm(path[:, :3, 3] - path[i, :3, 3], axis=1)
        facing = path[:, :3, 2] @ path[i, :3, 2] > np.cos(np.radians(30))
        good = np.flatnonzero((gap >= baseline_m[0]) & (gap <= baseline_m[1]) & facing)
        if len(good):
            away = np.abs(good - i) * 2 - (good > i)  # later frames first where both are as far away
            out.append((chosen[i], chosen[int(good[away.argmin()])]))
    return out


@dataclass(frozen=True)
class Frames:
    """Pairs of a recording, with planes that RANSAC finds in the sensor's depth.

    Attributes:
        mend: whether relative poses are turned until the pictures fit by that depth: for training only.
    """

    config: Config
    recording: Recording
    chosen: tuple[tuple[int, int], ...]
    mend: bool = False

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: int) -> Pair:
        i, j = self.chosen[index]
        first, second = (self.recording.read(k, (self.config.width, self.config.height)) for k in (i, j))
        move = poses.inverse(second.world_from_camera) @ first.world_from_camera
        if self.mend:
            move = turned_to_fit(first.colour, second.colour, first.depth_m, first.intrinsics, move)
        found = planes_of_depth(first.depth_m, first.intrinsics, seed=i)
        unknown = np.full(len(found.offset), -1, np.int64)
        return Pair(
            first.colour, second.colour[None], first.intrinsics, move[None], first.depth_m, found.index,
            short_plane(found.normal, found.offset), unknown, i // 30,
        )  # fmt: skip


def recording_of(root: Path) -> Recording:
    """The recording in a folder: 7-Scenes, TUM RGB-D or a plain posed folder.

    Raises:
        MissingFileError: none of these.
    """
    if any(root.glob("frame-*.pose.txt")) or any(root.glob("seq-*/frame-*.pose.txt")):
        return seven_scenes.read(root)
    if (root / "rgb.txt").is_file():
        return tum_rgbd.read(root)
    if (root / "depth").is_dir():
        return posed.folder(root)
    raise MissingFileError(
        f"{root}: no recording; expected frame-000000.pose.txt (7-Scenes), rgb.txt (TUM RGB-D), or color/, depth/,"
        " pose/ and intrinsics.txt"
    )


@dataclass(frozen=True)
class Annotated:
    """Pairs of ScanNet scenes with PlaneRCNN's annotation, cleaned as PlaneMVS does."""

    config: Config
    scenes: tuple[plane_annotations.Scene, ...]
    chosen: tuple[tuple[int, str, str], ...]

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: int) -> Pair:
        scene, first, second = self.chosen[index]
        size = (self.config.width, self.config.height)
        frame = self.scenes[scene].frame(first, size)
        other = self.scenes[scene].picture(second, size)
        move = poses.inverse(self.scenes[scene].pose(second)) @ frame.world_from_camera
        return Pair(
            frame.colour, other[None], frame.intrinsics, move[None], frame.depth_m, frame.segments,
            short_plane(frame.normal, frame.offset), frame.labels, scene,
        )  # fmt: skip


def source(config: Config, split: str, root: Path | None) -> Source:
    """The pairs of a split, of a folder or of the synthetic world.

    Raises:
        MissingFileError, InputError: a layout that is not known, no such split, no pairs.
    """
    if split not in _FIRST:
        raise InputError(f'the splits are "train", "val", "test" and "all", not {split!r}')
    if root is None:
        return Boxes(config, split) if config.world == "boxes" else Rooms(config, split)
    root = Path(root)
    if not root.is_dir():
        raise MissingFileError(f"{root}: no such folder")
    if any(root.glob("**/pairs.json")):
        return Kept(root, split)
    if scenes := plane_annotations.find(root):
        return _annotated(config, split, scenes)
    recording = recording_of(root)
    chosen = [
        pair for part in blocks(len(recording), split) for pair in frame_pairs(recording, part, config.baseline_m)
    ]
    if not chosen:
        low, high = config.baseline_m
        raise InputError(
            f"{root}: no two frames of {split} whose cameras are {low} to {high} m apart and look the same way; "
            "are the poses in metres? give another baseline_m"
        )
    return Frames(config, recording, tuple(chosen))


def _annotated(config: Config, split: str, scenes: Sequence[plane_annotations.Scene]) -> Annotated:
    """By scene: every tenth is validation; "test" and "all" are everything."""
    numbers = [i for i in range(len(scenes)) if split in ("test", "all") or (i % 10 == 9) == (split == "val")] or list(
        range(len(scenes))
    )
    rows = []
    for i in numbers:
        rows += [(i, first, second) for first, second in scenes[i].pairs(config.baseline_m)]
    return Annotated(config, tuple(scenes), tuple(rows))


# --- batches ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Samples:
    """Pairs as the network takes them; training pairs are mirrored, recoloured, and their poses shaken."""

    config: Config
    pairs: Source
    train: bool

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, key: Key) -> dict[str, Any]:
        epoch, index = key
        pair = _fewer(self.pairs[index])
        pictures = np.stack([pair.image, *pair.sources]).astype(np.float32) / 255
        if self.train:
            rng = np.random.default_rng((self.config.train.seed, epoch, index, 53))
            if rng.random() < 0.5:
                pair, pictures = mirrored(pair), pictures[:, :, ::-1]
            pictures = recoloured(pictures, rng)
            pair = shaken(pair, self.config.shaken_deg, rng)
        return sample(pair, pictures, self.config.least_area)

    def collate(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        return {key: torch.stack([torch.as_tensor(sample[key]) for sample in samples]) for key in samples[0]}


def mirrored(pair: Pair) -> Pair:
    """The pair as a mirror shows it: a right-handed world again, for x turns round in every camera."""
    flip = np.diag([-1.0, 1, 1, 1])
    camera = pair.camera
    turned = Intrinsics(camera.fx, camera.fy, camera.width - 1 - camera.cx, camera.cy, camera.width, camera.height)
    return Pair(
        pair.image[:, ::-1], pair.sources[:, :, ::-1], turned, flip @ pair.source_from_reference @ flip,
        pair.depth_m[:, ::-1], pair.segments[:, ::-1], pair.planes * (-1.0, 1.0, 1.0), pair.labels, pair.group,
    )  # fmt: skip


def shaken(pair: Pair, deviation_deg: float, rng: np.random.Generator) -> Pair:
    """The pair with relative poses that are wrong as real ones are: turned, each pair by its own measure.

    Poses that come with recordings are off while the camera turns (shutter, clocks); 0.6° at 5 cm apart doubles depth.
    """
    size = np.radians(deviation_deg) * rng.exponential()
    moves = pair.source_from_reference.copy()
    for move in moves:
        move[:3, :3] = poses.from_vector(rng.normal(0, 1, 3) * size) @ move[:3, :3]
    return replace(pair, source_from_reference=moves)


def recoloured(pictures: Float32[np.ndarray, "v h w 3"], rng: np.random.Generator) -> Float32[np.ndarray, "v h w 3"]:
    """Contrast, brightness and white balance, alike for all pictures and a little apart for each."""
    both = rng.normal(0, (0.2, 0.1, 0.1, 0.1, 0.1))
    out = np.empty_like(pictures)
    for i, picture in enumerate(pictures):
        contrast, brightness, *balance = both + rng.normal(0, (0.05, 0.03, 0.02, 0.02, 0.02))
        mean = picture.mean()
        out[i] = (picture - mean) * np.exp(contrast) + mean * np.exp(brightness)
        out[i] *= np.exp(np.array(balance, np.float32))
    return out.clip(0, 1)


def sample(pair: Pair, pictures: Float32[np.ndarray, "v h w 3"], least_area: float) -> dict[str, Any]:
    """One pair as arrays, see the top of this file; the pair holds at most MOST planes."""
    h, w = pair.depth_m.shape
    count = len(pair.labels)
    planes, labels = np.zeros((MOST, 3), np.float32), np.full(MOST, -1, np.int64)
    planes[:count], labels[:count] = pair.planes, pair.labels
    area = np.bincount(pair.segments[pair.segments >= 0].astype(np.int64), minlength=MOST)
    instance = area >= max(4, least_area * h * w)
    middles, heat = targets(pair.segments[4::8, 4::8], instance)
    matrix = pair.camera.matrix.astype(np.float32)
    pixels = np.ascontiguousarray(np.moveaxis(pictures, -1, 1))
    return {
        "image": pixels[0],
        "sources": pixels[1:],
        "matrix": matrix,
        "source_matrices": np.stack([matrix] * len(pair.sources)),
        "source_from_reference": pair.source_from_reference.astype(np.float32),
        "depth": np.ascontiguousarray(pair.depth_m),
        "segments": np.ascontiguousarray(pair.segments).astype(np.int64),
        "planes": planes,
        "labels": labels,
        "instance": instance & (middles[:, 0] >= 0),
        "middles": middles.clip(0),
        "heat": heat,
        "group": np.int64(pair.group),
    }


def targets(
    coarse: Int[np.ndarray, "h w"], wanted: np.ndarray
) -> tuple[Int64[np.ndarray, "m 2"], Float32[np.ndarray, "h w"]]:
    """Row and column of the place deepest inside each wanted instance (−1 −1 where it has none), and the heat map.

    The centre of gravity may lie on something else: of a floor under a table, on the table.
    """
    h, w = coarse.shape
    middles, heat = np.full((len(wanted), 2), -1, np.int64), np.zeros((h, w), np.float32)
    v, u = np.mgrid[:h, :w]
    for i in np.flatnonzero(wanted):
        own = coarse == i
        if not own.any():
            continue
        inside = np.asarray(ndimage.distance_transform_edt(np.pad(own, 1)))[1:-1, 1:-1]
        # Of places as deep the one nearest to the centre of gravity, so that it does not depend on a mirror.
        gravity = np.argwhere(own).mean(0)
        away = np.hypot(v - gravity[0], u - gravity[1])
        best = np.argmin(np.where(inside >= inside.max() - 1e-9, away, np.inf))
        middles[i] = divmod(int(best), w)
        sigma = np.clip(np.sqrt(own.sum()) / 6, 0.6, 2.5)
        bump = np.exp(-((v - middles[i, 0]) ** 2 + (u - middles[i, 1]) ** 2) / (2 * sigma**2))
        heat = np.maximum(heat, bump.astype(np.float32))
    for row, column in middles[middles[:, 0] >= 0]:
        heat[row, column] = 1
    return middles, heat


def views_of(root: Path, limit: int | None = None) -> list[posed_folder.PosedPicture]:
    """Posed pictures of a folder without need of depth: COLMAP, a plain posed folder, or any recording.

    Raises:
        MissingFileError, InputError: a layout that is not known, a damaged file.
    """
    root = Path(root)
    if colmap.find(root) is not None:
        return colmap.views(root)[:limit]
    if posed_folder.is_one(root):
        return posed_folder.read(root)[:limit]
    return posed_folder.of_recording(recording_of(root))[:limit]
