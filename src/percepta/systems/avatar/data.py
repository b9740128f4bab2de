"""Captures into batches.

A training sample is some rays of one picture: {joints: b 19 4 4 (rest pose to world), condition: b c, time: b, origin
and direction: b r 3, colour: b r 3 (RGB 0..1 on black), mask: b r}. Three quarters of the rays go to the person and a
few pixels around, the others to the rectangle around the person. An evaluation sample is a whole picture with the
`set` it belongs to, and the nearest of the pictures that training sees, see `Pictures.nearest`:

    views   held-out cameras, frames that were trained on     (every fourth camera is held out)
    poses   held-out cameras, the last fifth of the frames
    motion  held-out cameras of the folder `novel` inside the capture, if there is one
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float32, Float64, UInt8
from scipy.ndimage import affine_transform, binary_dilation
from torch import Tensor

from percepta.contract import Batch, Key
from percepta.datasets import thuman4
from percepta.errors import InputError
from percepta.geometry.body import Motion
from percepta.geometry.camera import project_world
from percepta.geometry.camera import rays as camera_rays
from percepta.systems.avatar import BodyConfig, Config
from percepta.systems.avatar.latent import conditions
from percepta.systems.avatar.model import template
from percepta.systems.avatar.world import Rendered, rendered

SETS = ("views", "poses", "motion")


Source: TypeAlias = thuman4.Capture | Rendered
"""A capture: a folder, or rendered."""


def held_out_cameras(count: int) -> tuple[int, ...]:
    """Every fourth camera; the last one where there are fewer than four."""
    return tuple(range(3, count, 4)) or ((count - 1,) if count > 1 else ())


def split_frames(frames: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The first four fifths, and the last fifth."""
    cut = max(round(0.8 * len(frames)), 1)
    return tuple(frames[:cut]), tuple(frames[cut:])


@dataclass(frozen=True)
class Poses:
    """What the network sees of a motion.

    Attributes:
        joints: from the rest pose to the world, `t 19 4 4`.
        condition: pose and past, `t c`.
    """

    joints: Float32[np.ndarray, "t j 4 4"]
    condition: Float32[np.ndarray, "t c"]


def poses_of(config: Config, motion: Motion) -> Poses:
    """Matrices and conditions of a motion for the template of the settings."""
    return Poses(template(config).transforms(motion).astype(np.float32), conditions(config, motion))


def whole_picture(camera: thuman4.Camera) -> tuple[Float32[np.ndarray, "h w 3"], Float32[np.ndarray, "h w 3"]]:
    """Origin and unit direction of the ray of every pixel, in the world."""
    local = camera_rays(camera.intrinsics)
    direction = local @ camera.world_from_camera[:3, :3].T
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    origin = np.broadcast_to(camera.world_from_camera[:3, 3], direction.shape)
    return origin.astype(np.float32), direction.astype(np.float32)


@dataclass(frozen=True)
class Rays:
    """Training samples: rays of the pictures of trained frames and cameras."""

    config: Config
    source: Source
    items: tuple[tuple[int, int], ...]  # camera, frame

    def __len__(self) -> int:
        return len(self.items)

    @cached_property
    def poses(self) -> Poses:
        """Of all frames."""
        return poses_of(self.config, self.source.motion)

    @cached_property
    def _rays(self) -> Mapping[int, tuple[np.ndarray, np.ndarray]]:
        return {i: whole_picture(camera) for i, camera in enumerate(self.source.cameras)}

    @cached_property
    def _kept(self) -> dict[tuple[int, int], tuple[np.ndarray, np.ndarray]]:
        return {}

    def _read(self, camera: int, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """A picture; kept in memory where all of them take less than a gigabyte."""
        if (camera, frame) in self._kept:
            return self._kept[camera, frame]
        both = self.source.read(camera, frame)
        if len(self) * both[0].nbytes < 1e9:
            self._kept[camera, frame] = both
        return both

    def __getitem__(self, key: Key) -> dict[str, Tensor]:
        epoch, index = key
        camera, frame = self.items[index]
        picture, mask = self._read(camera, frame)
        origin, direction = self._rays[camera]
        rng = np.random.default_rng((self.config.train.seed, epoch, index))
        pixel = _choose(rng, mask, self.config.rays)
        share = mask.reshape(-1)[pixel].astype(np.float32) / 255
        colour = picture.reshape(-1, 3)[pixel].astype(np.float32) / 255
        colour = np.minimum(colour, share[:, None]) if _on_black(picture, mask) else colour * share[:, None]
        return {
            "joints": torch.from_numpy(self.poses.joints[frame]),
            "condition": torch.from_numpy(self.poses.condition[frame]),
            "time": torch.tensor(frame / max(self.config.frames - 1, 1), dtype=torch.float32),
            "origin": torch.from_numpy(origin.reshape(-1, 3)[pixel]),
            "direction": torch.from_numpy(direction.reshape(-1, 3)[pixel]),
            "colour": torch.from_numpy(colour),
            "mask": torch.from_numpy(share),
        }

    def collate(self, samples: list[dict[str, Tensor]]) -> Batch:
        return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}


def _on_black(picture: np.ndarray, mask: np.ndarray) -> bool:
    """Whether a picture is black wherever its mask is, as rendered captures are."""
    outside = picture[mask == 0]
    return bool(len(outside)) and int(outside.max()) <= 2


def on_black(picture: UInt8[np.ndarray, "h w 3"], mask: UInt8[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w 3"]:
    """The person on black, RGB 0..1."""
    colour, share = picture.astype(np.float32) / 255, mask.astype(np.float32)[..., None] / 255
    return np.minimum(colour, share) if _on_black(picture, mask) else colour * share


def _choose(rng: np.random.Generator, mask: UInt8[np.ndarray, "h w"], count: int) -> np.ndarray:
    """Pixels: three quarters on the person and close around, the others in the rectangle around the person."""
    person = mask > 0
    if not person.any():
        return rng.integers(0, mask.size, count)
    close = np.flatnonzero(binary_dilation(person, iterations=max(mask.shape[0] // 60, 1)))
    rows, columns = np.flatnonzero(person.any(1)), np.flatnonzero(person.any(0))
    border = mask.shape[0] // 12
    top, bottom = max(rows[0] - border, 0), min(rows[-1] + border, mask.shape[0] - 1)
    left, right = max(columns[0] - border, 0), min(columns[-1] + border, mask.shape[1] - 1)
    far = count // 4
    v, u = rng.integers(top, bottom + 1, far), rng.integers(left, right + 1, far)
    return np.concatenate([rng.choice(close, count - far), v * mask.shape[1] + u])


@dataclass(frozen=True)
class Pictures:
    """Evaluation samples: whole pictures, two neighbouring frames at a time so that flicker can be seen."""

    config: Config
    sources: Mapping[str, Source]  # of each set
    items: tuple[tuple[str, int, int], ...]  # set, camera, frame
    trained: tuple[tuple[int, int], ...]  # camera and frame, of the set "views", that training sees

    def __len__(self) -> int:
        return len(self.items)

    @cached_property
    def _poses(self) -> Mapping[int, Poses]:
        return {
            id(source): poses_of(self.config, source.motion)
            for source in {id(s): s for s in self.sources.values()}.values()
        }

    @cached_property
    def _seen(self) -> Float64[np.ndarray, "n j 3"]:
        """Joints of the trained pictures, see `_before`."""
        source = self.sources["views"]
        every = [_before(self.config, source, camera) for camera in range(len(source.cameras))]
        return np.stack([every[camera][frame] for camera, frame in self.trained])

    def nearest(self, kind: str, camera: int, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """The trained picture whose joints lie most alike before the camera, put to place and size of the pelvis.

        A baseline that looks things up: it knows calibration and poses as the network does, and no truth.

        Args:
            kind: the set.
            camera: place of the camera.
            frame: number of the frame.

        Returns:
            Colour on black (h w 3, 0..1) and mask (h w, 0..1), of the size of the picture that is asked for.
        """
        source, seen = self.sources[kind], self.sources["views"]
        apart = ((self._seen - _before(self.config, source, camera)[frame]) ** 2).sum(-1).mean(-1)
        other = self.trained[int(apart.argmin())]
        picture, mask = seen.read(*other)
        both = np.concatenate([on_black(picture, mask), mask[..., None].astype(np.float32) / 255], -1)
        (place, size), (wanted, larger) = _pelvis(seen, *other), _pelvis(source, camera, frame)
        view, back = source.cameras[camera].intrinsics, size / larger
        start = (place - back * wanted)[::-1]  # rows first
        moved: Any = affine_transform  # its stubs know no offset of several numbers
        size_px = (view.height, view.width)
        planes = [moved(x, (back, back), start, size_px, order=1) for x in both.T.swapaxes(1, 2)]
        out = np.stack(planes, -1).clip(0, 1)
        return out[..., :3], out[..., 3]

    def __getitem__(self, key: Key) -> dict[str, Any]:
        kind, camera, frame = self.items[key[1]]
        source = self.sources[kind]
        near, near_mask = self.nearest(kind, camera, frame)
        picture, mask = source.read(camera, frame)
        origin, direction = whole_picture(source.cameras[camera])
        poses = self._poses[id(source)]
        return {
            "joints": torch.from_numpy(poses.joints[frame]),
            "condition": torch.from_numpy(poses.condition[frame]),
            "time": torch.tensor(frame / max(self.config.frames - 1, 1), dtype=torch.float32),
            "origin": torch.from_numpy(origin),
            "direction": torch.from_numpy(direction),
            "colour": torch.from_numpy(on_black(picture, mask)),
            "mask": torch.from_numpy(mask.astype(np.float32) / 255),
            "nearest": torch.from_numpy(near),
            "nearest_mask": torch.from_numpy(near_mask),
            "set": kind,
            "camera": camera,
            "frame": frame,
            "pair": key[1] // 2,
        }

    def collate(self, samples: list[dict[str, Any]]) -> Batch:
        return {
            name: torch.stack([s[name] for s in samples])
            if isinstance(samples[0][name], Tensor)
            else [s[name] for s in samples]
            for name in samples[0]
        }


def _before(config: Config, source: Source, camera: int) -> Float64[np.ndarray, "t j 3"]:
    """Joints of all frames, from the pelvis, along the axes of a camera, metres: pose and direction of view in one."""
    where = template(config).positions(source.motion)
    return (where - where[:, :1]) @ source.cameras[camera].world_from_camera[:3, :3]


def _pelvis(source: Source, camera: int, frame: int) -> tuple[Float64[np.ndarray, " 2"], float]:
    """Where a camera sees the pelvis, pixels, and how large a metre is there; the middle where it is not before it."""
    view = source.cameras[camera]
    pixel, depth = project_world(source.motion.root[frame : frame + 1], view.intrinsics, view.world_from_camera)
    if not depth[0] > 0:
        return np.array([view.intrinsics.width - 1, view.intrinsics.height - 1]) / 2, 1.0
    return pixel[0], float(view.intrinsics.fy / depth[0])


def fit_config(config: Config, root: Path | None) -> Config:
    """Measures of the body, number of frames and their rate, from the capture."""
    if root is None:
        return replace(config, frames=config.world.frames, fps=30.0)
    capture = thuman4.read(root)
    shape = capture.shape
    body = BodyConfig(shape.height_m, shape.girth, shape.legs, shape.arms, shape.shoulders)
    return replace(config, body=body, frames=max(capture.frames) + 1, fps=capture.motion.fps)


PAIRS = {"val": 3, "test": 12, "all": 12}
"""Pairs of frames of each held-out camera and set."""


def data(config: Config, split: str, root: Path | None = None) -> Rays | Pictures:
    """Samples of a capture.

    Args:
        config: settings.
        split: "train": rays of trained frames and cameras; "val", "test", "all": whole pictures of SETS.
        root: a folder in the layout of THUman4.0; None: the rendered person.

    Raises:
        InputError: there is no such split, or the capture has too few cameras or frames.
    """
    if split not in ("train", *PAIRS):
        raise InputError(f"split is train, val, test or all; got {split!r}")
    source: Source = rendered(config.world) if root is None else thuman4.read(root)
    if len(source.motion) <= max(source.frames):
        raise InputError(f"{source.root}: {len(source.motion)} poses, but frames go up to {max(source.frames)}")
    kept, held = split_frames(source.frames)
    out = held_out_cameras(len(source.cameras))
    cameras = [i for i in range(len(source.cameras)) if i not in out]
    trained = tuple((camera, frame) for frame in kept for camera in cameras)
    if split == "train":
        return Rays(config, source, trained)
    sources: dict[str, Source] = {"views": source, "poses": source}
    if root is None:
        sources["motion"] = rendered(config.world, "novel")
    elif thuman4.is_one(root / "novel"):
        sources["motion"] = thuman4.read(root / "novel")
    frames = {"views": kept, "poses": held}
    items: list[tuple[str, int, int]] = []
    for kind, its in sources.items():
        whole = frames.get(kind, its.frames)
        if len(whole) < 2:
            continue
        starts = np.unique(np.linspace(0, len(whole) - 2, min(PAIRS[split], len(whole) - 1)).round().astype(int))
        for camera in held_out_cameras(len(its.cameras)) or (0,):
            items += [(kind, camera, whole[s + more]) for s in starts for more in (0, 1)]
    return Pictures(config, sources, tuple(items), trained)
