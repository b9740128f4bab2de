"""Points of a scan into voxels: mean colours, and the labels of most points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int32, Int64


@dataclass(frozen=True)
class Voxels:
    """A scan in voxels, in the order of their coordinates.

    Attributes:
        coords: floor(xyz / side of a voxel).
        rgb: mean colour, 0..255.
        label: place in SCANNET20 or -1, of most points in the voxel.
        instance: 1 and up or 0, of most points in the voxel.
        of: the voxel of each point.
    """

    coords: Int32[np.ndarray, "n 3"]
    rgb: Float32[np.ndarray, "n 3"]
    label: Int64[np.ndarray, " n"]
    instance: Int64[np.ndarray, " n"]
    of: Int64[np.ndarray, " points"]

    @property
    def features(self) -> Float32[np.ndarray, "n 3"]:
        """The input of the network: colour, -1..1."""
        return self.rgb / np.float32(127.5) - np.float32(1)


def voxelise(
    xyz: Float[np.ndarray, "n 3"], rgb: np.ndarray, label: np.ndarray, instance: np.ndarray, voxel_m: float
) -> Voxels:
    """Points into voxels. Where as many points have one object as another, the lower number counts.

    Args:
        xyz: places, metres, finite.
        rgb: colours `n 3`, 0..255.
        label: of each point, a place in SCANNET20 or -1.
        instance: of each point, 1 and up, 0 for none.
        voxel_m: side of a voxel.
    """
    cell = np.floor(np.asarray(xyz, np.float64) / voxel_m).astype(np.int64)
    low = cell.min(0)
    side = cell.max(0) - low + 1
    key = ((cell[:, 0] - low[0]) * side[1] + cell[:, 1] - low[1]) * side[2] + cell[:, 2] - low[2]
    found, of = np.unique(key, return_inverse=True)
    number = np.bincount(of)
    tone = np.stack([np.bincount(of, rgb[:, i]) / number for i in range(3)], -1).astype(np.float32)
    kinds = 32 * (int(instance.max()) + 1)
    vote, count = np.unique(of * kinds + instance.astype(np.int64) * 32 + label + 1, return_counts=True)
    order = np.lexsort((-vote, count, vote // kinds))  # by voxel, then by votes: the last one of a voxel wins
    winner = vote[order][np.append(np.flatnonzero(np.diff(vote[order] // kinds)), len(vote) - 1)] % kinds
    coords = np.stack((found // (side[1] * side[2]), found // side[2] % side[1], found % side[2]), -1) + low
    return Voxels(coords.astype(np.int32), tone, winner % 32 - 1, winner // 32, of.astype(np.int64))
