"""Pairs of posed pictures from recordings, annotated scenes, kept pairs or a synthetic world; and into batches.

A batch holds, for MAX_TRUE_PLANES planes m:

    image                  b 3 h w      the reference picture
    sources                b v 3 h w    the source pictures
    matrix                 b 3 3        K of the reference picture
    source_matrices        b v 3 3      K of the sources
    source_from_reference  b v 4 4      relative poses, metres
    depth                  b h w        metres, 0 unknown
    segments               b h w        number of each pixel's plane, −1 none
    planes                 b m 3        p = n/d, 1/m
    labels                 b m          class, −1 unknown
    instance               b m          whether it is to be detected
    centres                b m 2        row and column of its centre, at an eighth of the picture
    heat                   b h/8 w/8    the heat map of all centres
    group                  b            pairs of one room or block share it
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int, Int64, UInt8
from scipy import ndimage

from percepta.contract import Key
from percepta.datasets import colmap, layouts, posed_folder
from percepta.datasets.layouts import Found
from percepta.datasets.plane_annotations import AnnotatedFrame, AnnotatedScene
from percepta.datasets.posed import Recording, RgbdFrame
from percepta.datasets.posed_folder import PosedPicture
from percepta.datasets.problem import Problem, noting, problem_of, tell
from percepta.errors import InputError, MissingFileError
from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics, short_plane
from percepta.systems.planes import Config, kept
from percepta.systems.planes.pairs import MAX_TRUE_PLANES, Pair, PairSource, largest_planes
from percepta.systems.planes.predict import View
from percepta.systems.planes.pseudo import aligned_pose, planes_of_depth
from percepta.systems.planes.world import Boxes, Rooms

SPLITS = ("train", "val", "test", "all")
GROUPS_OF_A_RECORDING = 1_000_000  # numbers that are left for the blocks of each recording


def data(config: Config, split: str, root: Path | None = None) -> Samples:
    """Pairs of a split of kept pairs, of ScanNet with planes, or of RGB-D recordings.

    Args:
        config: size, baselines and synthetic world.
        split: "train", "val", "test" or "all".
        root: a folder; None: the synthetic world of the settings.
    """
    pairs = source(config, split, root)
    if split != "train" and isinstance(pairs, RecordedPairs | AnnotatedPairs):
        pairs = readable(pairs, str(root), config.train.strict)
    return Samples(config, pairs, split == "train")


def readable(pairs: RecordedPairs | AnnotatedPairs, what: str, strict: bool = False) -> RecordedPairs | AnnotatedPairs:
    """The pairs whose frames can be read; a warning counts the others.

    Args:
        pairs: of recordings or of annotated scenes.
        what: where they come from, for the message.
        strict: the first that cannot be read is an error.
    """
    problems: list[Problem] = []
    good = []
    for i, row in enumerate(pairs.chosen):
        with noting(problems, Path(what)):
            pairs.frames(i)
            good.append(row)
    tell(problems, f"{len(pairs)} pairs of {what}", strict=strict)
    return replace(pairs, chosen=tuple(good))  # pyright: ignore[reportReturnType, reportArgumentType]


def source(config: Config, split: str, root: Path | None) -> PairSource:
    """The pairs of a split, of a folder or of the synthetic world.

    Args:
        config: size, baselines and synthetic world.
        split: "train", "val", "test" or "all".
        root: a folder; None: the synthetic world.

    Raises:
        MissingFileError: there is no such folder.
        InputError: a layout that is not known, no such split, no pairs.
    """
    if split not in SPLITS:
        raise InputError(f'the splits are "train", "val", "test" and "all", not {split!r}')
    if root is None:
        return Boxes(config, split) if config.world == "boxes" else Rooms(config, split)
    root = Path(root)
    if not root.is_dir():
        raise MissingFileError(f"{root}: no such folder")
    if kept.is_one(root):
        return kept.KeptPairs(root, split)
    found = find(root, AnnotatedScene, Recording)
    annotated, recorded = ([one for one in found if one.kind is kind] for kind in (AnnotatedScene, Recording))
    if annotated:
        return annotated_pairs(config, split, annotated)
    return recorded_pairs(config, split, recorded)


def find(root: Path, *kinds: type[Any]) -> list[Found[Any]]:
    """What a folder is that holds no kept pairs; see `layouts.find`. The error lists kept pairs as well."""
    try:
        return layouts.find(root, *kinds)
    except MissingFileError:
        raise
    except InputError as error:
        raise InputError(f"{error}\n  kept pairs: {kept.FILES}") from None


def posed_pictures(
    root: Path | str, limit: int | None = None, problems: list[Problem] | None = None
) -> list[PosedPicture]:
    """Posed pictures of a folder, without need of depth: COLMAP, a plain posed folder, or recordings.

    Args:
        root: the folder.
        limit: take no more than so many.
        problems: gets what is wrong with single pictures, which are then left out; None: a warning counts them.

    Raises:
        MissingFileError: there is no such folder.
        InputError: a layout that is not known, a damaged file.
    """
    root, out = Path(root), list[PosedPicture]()
    wrong: list[Problem] = [] if problems is None else problems
    for one in layouts.find(root, PosedPicture, Recording):
        content = one.read(one.root, problems=wrong)
        out += posed_folder.of_recording(content, wrong) if isinstance(content, Recording) else content
    if problems is None:
        tell(wrong, str(root), strict=not out)
    return out[:limit]


def poses_are_metric(root: Path | str) -> bool:
    """Whether poses of `posed_pictures` are in metres: not those of COLMAP, nor of SLAM with one camera (NO_UNIT)."""
    found = layouts.find(root, PosedPicture, Recording)
    return not any(one.set is colmap or (one.root / posed_folder.NO_UNIT).is_file() for one in found)


def view_of(picture: PosedPicture) -> View:
    """A picture file with its pose, read."""
    return View(picture.read(), picture.intrinsics, picture.world_from_camera)


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
    """Pairs of frames: for each frame the nearest later one at that distance, else the nearest earlier one.

    Args:
        recording: the frames.
        chosen: which of them may be used.
        baseline_m: shortest and longest distance of the two cameras.

    Returns:
        (reference frame, source frame) of each pair.
    """
    path = np.stack([recording.tracked(i) for i in chosen]) if len(chosen) else np.zeros((0, 4, 4))
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
class RecordedPairs:
    """Pairs of recordings, with planes that RANSAC finds in the sensor's depth.

    Attributes:
        config: the size of the pictures.
        recordings: one or several.
        chosen: (number of the recording, reference frame, source frame) of each pair.
        align_poses: whether relative poses are turned until the pictures fit by that depth: for training only.
    """

    config: Config
    recordings: tuple[Recording, ...]
    chosen: tuple[tuple[int, int, int], ...]
    align_poses: bool = False

    def __len__(self) -> int:
        return len(self.chosen)

    def frames(self, index: int) -> tuple[RgbdFrame, RgbdFrame]:
        """The two frames of a pair, read."""
        number, i, j = self.chosen[index]
        size = (self.config.width, self.config.height)
        return self.recordings[number].read(i, size), self.recordings[number].read(j, size)

    def __getitem__(self, index: int) -> Pair:
        number, i, _ = self.chosen[index]
        first, second = self.frames(index)
        move = poses.inverse(second.world_from_camera) @ first.world_from_camera
        if self.align_poses:
            move = aligned_pose(first.colour, second.colour, first.depth_m, first.intrinsics, move)
        planes = planes_of_depth(first.depth_m, first.intrinsics, seed=i)
        unknown = np.full(len(planes.offset), -1, np.int64)
        return Pair(
            first.colour, second.colour[None], first.intrinsics, move[None], first.depth_m, planes.index,
            short_plane(planes.normal, planes.offset), unknown, number * GROUPS_OF_A_RECORDING + i // 30,
        )  # fmt: skip


def recorded_pairs(config: Config, split: str, found: Sequence[Found[Recording]]) -> RecordedPairs:
    """The pairs of a split of one or several recordings.

    Args:
        config: size and baselines.
        split: "train", "val", "test" or "all".
        found: the folders of the recordings.

    Raises:
        MissingFileError: a file of a recording is missing.
        InputError: a damaged file, or no pairs.
    """
    problems: list[Problem] = []
    recordings = tuple(one.read(one.root, problems=problems) for one in found)
    tell(problems, ", ".join(str(one.root) for one in found), strict=config.train.strict)
    chosen = tuple(
        (number, *pair)
        for number, recording in enumerate(recordings)
        for part in blocks(len(recording), split)
        for pair in frame_pairs(recording, part, config.baseline_m)
    )
    if not chosen:
        low, high = config.baseline_m
        raise InputError(
            f"{', '.join(str(one.root) for one in found)}: no two frames of {split} whose cameras are {low} to {high} "
            "m apart and look the same way; are the poses in metres? give another baseline_m"
        )
    return RecordedPairs(config, recordings, chosen)


# --- annotated scenes -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AnnotatedPairs:
    """Pairs of ScanNet scenes with PlaneRCNN's annotation, cleaned as PlaneMVS does.

    Attributes:
        config: the size of the pictures.
        scenes: all scenes.
        chosen: (number of the scene, reference frame, source frame) of each pair.
    """

    config: Config
    scenes: tuple[AnnotatedScene, ...]
    chosen: tuple[tuple[int, str, str], ...]

    def __len__(self) -> int:
        return len(self.chosen)

    def frames(self, index: int) -> tuple[AnnotatedFrame, UInt8[np.ndarray, "h w 3"]]:
        """The annotated frame of a pair and the picture of the other, read."""
        scene, first, second = self.chosen[index]
        size = (self.config.width, self.config.height)
        return self.scenes[scene].frame(first, size), self.scenes[scene].picture(second, size)

    def __getitem__(self, index: int) -> Pair:
        scene, _, second = self.chosen[index]
        frame, other = self.frames(index)
        move = poses.inverse(self.scenes[scene].pose(second)) @ frame.world_from_camera
        return Pair(
            frame.colour, other[None], frame.intrinsics, move[None], frame.depth_m, frame.segments,
            short_plane(frame.normal, frame.offset), frame.labels, scene,
        )  # fmt: skip


def annotated_pairs(config: Config, split: str, found: Sequence[Found[list[AnnotatedScene]]]) -> AnnotatedPairs:
    """Pairs by scene: every tenth is validation; "test" and "all" are everything.

    Args:
        config: size and baselines.
        split: "train", "val", "test" or "all".
        found: the folders of the scenes.
    """
    scenes = [scene for one in found for scene in one.read(one.root)]
    numbers = [i for i in range(len(scenes)) if split in ("test", "all") or (i % 10 == 9) == (split == "val")] or list(
        range(len(scenes))
    )
    rows: list[tuple[int, str, str]] = []
    problems: list[Problem] = []
    for i in numbers:
        with noting(problems, scenes[i].root):
            rows += [(i, first, second) for first, second in scenes[i].pairs(config.baseline_m, problems=problems)]
    tell(problems, f"{len(scenes)} scenes", strict=config.train.strict)
    return AnnotatedPairs(config, tuple(scenes), tuple(rows))


# --- batches ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Samples:
    """Pairs as the network takes them; training pairs are mirrored, recoloured, and their poses get noise."""

    config: Config
    pairs: PairSource
    train: bool

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, key: Key) -> dict[str, Any]:
        epoch, index = key
        pair = largest_planes(self._pair(epoch, index))
        pictures = np.stack([pair.image, *pair.sources]).astype(np.float32) / 255
        if self.train:
            rng = np.random.default_rng((self.config.train.seed, epoch, index, 53))
            if rng.random() < 0.5:
                pair, pictures = mirrored(pair), pictures[:, :, ::-1]
            pictures = recoloured(pictures, rng)
            pair = with_pose_noise(pair, self.config.pose_noise_deg, rng)
        return sample(pair, pictures, self.config.min_area)

    def _pair(self, epoch: int, index: int) -> Pair:
        """A pair; in training another one where it cannot be read, which a warning says."""
        rng = np.random.default_rng((self.config.train.seed, epoch, index, 54))
        for _ in range(10 if self.train and not self.config.train.strict else 0):
            try:
                return self.pairs[index]
            except (OSError, ValueError) as error:
                tell([problem_of(Path(f"pair {index}"), error)], "this epoch")
            index = int(rng.integers(len(self.pairs)))
        return self.pairs[index]

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


def with_pose_noise(pair: Pair, noise_deg: float, rng: np.random.Generator) -> Pair:
    """The pair with noise on its relative rotations, as measured poses have it while the camera turns.

    An error of 0.6° doubles the depth of pictures that are 5 cm apart.

    Args:
        pair: a pair with exact poses.
        noise_deg: mean of the deviation about each axis, which is drawn anew for every pair.
        rng: where the noise comes from.
    """
    size = np.radians(noise_deg) * rng.exponential()
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


def sample(pair: Pair, pictures: Float32[np.ndarray, "v h w 3"], min_area: float) -> dict[str, Any]:
    """One pair as arrays, see the top of this file.

    Args:
        pair: a pair with at most MAX_TRUE_PLANES planes.
        pictures: reference and sources, RGB 0..1.
        min_area: smallest plane that is to be detected, as a share of the picture.
    """
    h, w = pair.depth_m.shape
    count = len(pair.labels)
    planes, labels = np.zeros((MAX_TRUE_PLANES, 3), np.float32), np.full(MAX_TRUE_PLANES, -1, np.int64)
    planes[:count], labels[:count] = pair.planes, pair.labels
    area = np.bincount(pair.segments[pair.segments >= 0].astype(np.int64), minlength=MAX_TRUE_PLANES)
    instance = area >= max(4, min_area * h * w)
    centres, heat = targets(pair.segments[4::8, 4::8], instance)
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
        "instance": instance & (centres[:, 0] >= 0),
        "centres": centres.clip(0),
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
    centres, heat = np.full((len(wanted), 2), -1, np.int64), np.zeros((h, w), np.float32)
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
        centres[i] = divmod(int(best), w)
        sigma = np.clip(np.sqrt(own.sum()) / 6, 0.6, 2.5)
        bump = np.exp(-((v - centres[i, 0]) ** 2 + (u - centres[i, 1]) ** 2) / (2 * sigma**2))
        heat = np.maximum(heat, bump.astype(np.float32))
    for row, column in centres[centres[:, 0] >= 0]:
        heat[row, column] = 1
    return centres, heat
