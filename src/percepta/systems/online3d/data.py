"""Labelled scans into voxels: synthetic rooms (rendered when first asked for) and a folder of real scans.

Augmentation: a turn about the vertical (and now and then about any axis: not every recording knows where up is), small
tilts, mirrors, scale, elastic distortion (Simard et al. 2003, as SparseConvNet uses it), colour contrast, shift, noise
and loss, lost points, crops, and two scenes laid over each other (Mix3D, Nekrasov et al., 3DV 2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, UInt8
from scipy import ndimage

from percepta.datasets import layouts, nyu40, scannet
from percepta.datasets.problem import Problem, noting, tell
from percepta.datasets.scannet import LabelledScan
from percepta.errors import InputError
from percepta.geometry import pose as poses
from percepta.systems.online3d import Config
from percepta.systems.online3d.voxels import Voxels, voxelise
from percepta.systems.online3d.world import FIRST, room_scan, synthetic

COUNT = {"val": 12, "test": 40}  # synthetic rooms that are measured on
Rng = np.random.Generator


def data(config: Config, split: str, root: Path | None = None) -> Training | WholeScans:
    """Samples of a split.

    A folder's scans join the synthetic rooms in training (see `real_share`); "val" and "test" have the scans of
    `held_out` alone. Without a folder, or with nothing held out: synthetic rooms that are in no other split.

    Args:
        config: the settings.
        split: "train", "val", "test" or "all".
        root: a folder of labelled scans.

    Raises:
        InputError: an unknown split; nothing to train on.
    """
    if split not in (*FIRST, "all"):
        raise InputError(f"split is train, val, test or all; got {split!r}")
    scans = real(config, split, root)
    if split == "train":
        if not scans and not config.rooms:
            raise InputError("rooms is 0 and there is no folder of scans (or all are held out): nothing to train on")
        return Training(config, scans)
    return WholeScans(config, "val" if split == "all" else split, scans)


def files_in(root: Path) -> dict[str, Path]:
    """{name: file} of the labelled scans in a folder.

    Raises:
        MissingFileError, InputError: there is no such folder, or no scan in it.
    """
    return {name: path for found in layouts.find(root, LabelledScan) for name, path in found.read(found.root).items()}


def real(config: Config, split: str, root: Path | None) -> list[LabelledScan]:
    """Scans of a folder in a split: `config.held_out` names those of "val" and "test"; "all" has every one.

    Args:
        config: settings.
        split: "train", "val", "test" or "all".
        root: the folder; None: no scans.

    Raises:
        InputError: a name in `held_out` that is not there.
    """
    if root is None:
        return []
    files = files_in(root)
    if missing := [name for name in config.held_out if name not in files]:
        raise InputError(f"held_out: no scan {', '.join(missing)} in {root}; there are {', '.join(files)}")
    chosen = [p for name, p in files.items() if split == "all" or (name in config.held_out) == (split != "train")]
    problems: list[Problem] = []
    scans = []
    for path in chosen:
        with noting(problems, path):
            scan = scannet.read(path)
            if not len(scan.xyz) or not np.isfinite(scan.xyz).all():
                raise InputError(f"{path}: no points, or places that are not finite")
            scans.append(scan)
    tell(problems, f"the scans of {root}", strict=config.train.strict)
    return scans


class WholeScans:
    """Whole scans, as they are: for evaluation.

    Args:
        config: the settings.
        split: whose synthetic rooms are taken where there are no scans.
        scans: of a folder; without any, synthetic rooms.
    """

    def __init__(self, config: Config, split: str, scans: Sequence[LabelledScan] = ()) -> None:
        self.config, self.scans = config, tuple(scans)
        self.first, self.count = FIRST[split], 0 if scans else min(config.rooms, COUNT.get(split, config.rooms))

    def __len__(self) -> int:
        return len(self.scans) or self.count

    def scan(self, index: int) -> LabelledScan:
        return self.scans[index] if self.scans else room_scan(self.config, self.first + index)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, np.ndarray]:
        scan = self.scan(key[1])
        voxels = voxelise(scan.xyz, scan.rgb, nyu40.scannet20(scan.label), scan.instance, self.config.voxel_m)
        return item(voxels, self.config.voxel_m) | {
            "guess": colour_table(self.config)[_bins(voxels.rgb)],
            "points_of": voxels.of,
            "points_xyz": scan.xyz,
            "points_rgb": scan.rgb,
            "points_label": nyu40.scannet20(scan.label),
            "points_instance": scan.instance.astype(np.int64),
        }

    def collate(self, samples: list[dict[str, np.ndarray]]) -> dict[str, Any]:
        """As in training, and the scan's points: "points_of" is the row of each one's voxel in the batch."""
        out = collate(samples)
        first = np.cumsum([0, *(len(s["coords"]) for s in samples[:-1])])
        of = [s["points_of"] + start for s, start in zip(samples, first, strict=True)]
        out["points_of"] = torch.from_numpy(np.concatenate(of))
        scan = np.repeat(np.arange(len(samples)), [len(s["points_of"]) for s in samples])
        return out | {"points_scan": torch.from_numpy(scan)}


class Training:
    """Augmented samples. One epoch has as many as there are rooms; a folder's scans take their share of them."""

    def __init__(self, config: Config, scans: Sequence[LabelledScan] = ()) -> None:
        self.config, self.scans = config, tuple(scans)

    def __len__(self) -> int:
        return max(self.config.rooms, len(self.scans))

    def __getitem__(self, key: tuple[int, int]) -> dict[str, np.ndarray]:
        config = self.config
        rng = np.random.default_rng([config.train.seed, 41, *key])
        parts = [self._part(rng, key[1])]
        if rng.random() < config.mix_share:
            parts.append(self._part(rng, int(rng.integers(len(self)))))
        xyz, rgb, label, instance = zip(*parts, strict=True)
        if len(parts) == 2:
            instance = (instance[0], np.where(instance[1] > 0, instance[1] + instance[0].max(), 0))
        places, tones, classes, objects = (np.concatenate(column) for column in (xyz, rgb, label, instance))
        return item(voxelise(places, tones, classes, objects, config.voxel_m), config.voxel_m)

    def collate(self, samples: list[dict[str, np.ndarray]]) -> dict[str, Any]:
        return collate(samples)

    def _part(self, rng: Rng, index: int) -> tuple[np.ndarray, ...]:
        config = self.config
        if self.scans and (config.rooms == 0 or rng.random() < config.real_share):
            scan = self.scans[int(rng.integers(len(self.scans)))]
        else:
            scan = room_scan(config, FIRST["train"] + index)
        kept = crop(rng, scan.xyz, config.crop_m, config.crop_points) if config.crop_m else np.arange(len(scan.xyz))
        kept = kept[rng.random(len(kept)) >= config.point_dropout * rng.random()] if config.point_dropout else kept
        xyz, rgb = scan.xyz[kept].astype(np.float64), scan.rgb[kept]
        if config.augment:
            xyz, rgb = turned(rng, xyz, config.free_rotation), recoloured(rng, rgb)
        return xyz, rgb, nyu40.scannet20(scan.label[kept]), scan.instance[kept].astype(np.int64)


def item(voxels: Voxels, voxel_m: float) -> dict[str, np.ndarray]:
    """What a batch is made of. "offset": to the mean of the instance's voxels, metres; 0 where "thing" is not set."""
    middle = (voxels.coords + 0.5) * voxel_m
    number = np.bincount(voxels.instance).clip(1)
    centre = np.stack([np.bincount(voxels.instance, middle[:, i]) for i in range(3)], -1) / number[:, None]
    thing = np.isin(voxels.label, nyu40.THINGS) & (voxels.instance > 0)
    return {
        "coords": voxels.coords,
        "features": voxels.features,
        "label": voxels.label,
        "instance": voxels.instance,
        "offset": np.where(thing[:, None], centre[voxels.instance] - middle, 0).astype(np.float32),
        "thing": thing,
    }


def collate(samples: list[dict[str, np.ndarray]]) -> dict[str, Any]:
    """Side by side; "coords" gets the number of the sample in front."""
    out = {key: torch.from_numpy(np.concatenate([s[key] for s in samples])) for key in samples[0]}
    batch = np.repeat(np.arange(len(samples), dtype=np.int32), [len(s["coords"]) for s in samples])
    out["coords"] = torch.cat((torch.from_numpy(batch)[:, None], out["coords"]), 1)
    return out


# --- augmentation -----------------------------------------------------------------------------------------------------


def crop(rng: Rng, xyz: Float32[np.ndarray, "n 3"], side_m: float, max_points: int) -> Int64[np.ndarray, " m"]:
    """Points of an upright box about a random point, of half to all of that side; the nearest so many of them.

    Args:
        rng: where the draws come from.
        xyz: metres.
        side_m: of the box, metres.
        max_points: at most so many points.
    """
    middle = xyz[rng.integers(len(xyz))]
    away = np.abs(xyz[:, :2] - middle[:2]).max(1)
    kept = np.flatnonzero(away <= rng.uniform(0.5, 1.0) * side_m / 2)
    return kept if len(kept) <= max_points else np.sort(kept[np.argpartition(away[kept], max_points)[:max_points]])


def turned(rng: Rng, xyz: Float[np.ndarray, "n 3"], free: float) -> Float[np.ndarray, "n 3"]:
    """Turned, tilted, mirrored, scaled, distorted and moved. A share `free` is turned about any axis.

    Args:
        rng: where the draws come from.
        xyz: metres.
        free: share of the scans that are turned about any axis, 0..1.
    """
    tilt = poses.from_vector(rng.normal(0, np.radians(2.5), 3) * [1, 1, 0])
    spin = poses.from_vector(np.array([0, 0, rng.uniform(-np.pi, np.pi)]))
    turn = poses.random_rotation(rng) if rng.random() < free else tilt @ spin
    mirror = np.diag([rng.choice([-1.0, 1.0]), 1, 1])
    xyz = xyz - xyz.mean(0)
    if rng.random() < 0.5:
        for grain_m, size_m in ((0.2, 0.02), (0.8, 0.08)):
            xyz = elastic(rng, xyz, grain_m, size_m)
    return xyz @ (rng.uniform(0.9, 1.1) * turn @ mirror).T + rng.uniform(-1, 1, 3)


def elastic(rng: Rng, xyz: Float[np.ndarray, "n 3"], grain_m: float, size_m: float) -> Float[np.ndarray, "n 3"]:
    """Moved by smooth noise: drawn on a grid of `grain_m`, smoothed, there of standard deviation `size_m`, and less

    Args:
        rng: where the draws come from.
        xyz: metres.
        grain_m: distance of the grid's points, metres.
        size_m: standard deviation of the shift, metres.
    in between."""
    at = (xyz - xyz.min(0)) / grain_m + 1
    noise = rng.normal(size=(3, *(np.ceil(at.max(0)).astype(int) + 2)))
    noise = np.stack([ndimage.uniform_filter(ndimage.uniform_filter(n, 3), 3) for n in noise])
    noise *= size_m / noise.std()
    return xyz + np.stack([ndimage.map_coordinates(n, at.T, order=1) for n in noise], -1)


def recoloured(rng: Rng, rgb: UInt8[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Contrast stretched in part, moved, noisy, and in one case of ten without its hues or without all colour."""
    out = rgb.astype(np.float64)
    if rng.random() < 0.2:
        low, high = out.min(0), out.max(0)
        out += rng.random() * ((out - low) / np.maximum(high - low, 1) * 255 - out)
    out *= rng.uniform(0.8, 1.2)
    out += rng.normal(0, 12, 3)
    out += rng.normal(0, rng.uniform(0, 8), out.shape)
    if rng.random() < 0.1:
        out[:] = out.mean(1, keepdims=True) if rng.random() < 0.7 else 127.5
    return out.clip(0, 255)


# --- a baseline -------------------------------------------------------------------------------------------------------


def _bins(rgb: Float[np.ndarray, "n 3"]) -> Int64[np.ndarray, " n"]:
    r, g, b = np.minimum(rgb // 32, 7).astype(np.int64).T
    return (r * 8 + g) * 8 + b


@lru_cache(maxsize=4)
def _table(voxel_m: float, frames: int, width: int, count: int) -> Int64[np.ndarray, " 512"]:
    votes = np.zeros((512, len(nyu40.SCANNET20)), np.int64)
    for seed in range(count):
        scan = synthetic(FIRST["train"] + seed, voxel_m, frames, width)
        label = nyu40.scannet20(scan.label)
        np.add.at(votes, (_bins(scan.rgb.astype(float))[label >= 0], label[label >= 0]), 1)
    return np.where(votes.any(1), votes.argmax(1), votes.sum(0).argmax())


def colour_table(config: Config) -> Int64[np.ndarray, " 512"]:
    """The most frequent class of each of 8³ colours in the first training rooms: an answer that knows no shape."""
    return _table(config.voxel_m / 2, config.frames, config.camera_px, min(8, max(config.rooms, 1)))
