"""Instances: found by clustering voxels at the centres that they point to, and kept apart by stable ids over time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int32, Int64
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from percepta.datasets import nyu40
from percepta.errors import InputError

# Half of the 26 neighbours: the other half finds the same pairs.
_HALF = np.array([(x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1) if (x, y, z) > (0, 0, 0)])


def cluster(
    xyz: Float[np.ndarray, "n 3"],
    offset_m: Float[np.ndarray, "n 3"],
    label: Int64[np.ndarray, " n"],
    cell_m: float,
    min_points: int,
) -> Int32[np.ndarray, " n"]:
    """Instances as PointGroup finds them (Jiang et al., CVPR 2020, algorithm 1), on shifted places alone.

    Voxels of one class belong together where a chain of occupied cells, each touching the next, leads from one to the
    other. (PointGroup joins what is within a radius; cells cost one sort.)

    Args:
        xyz: centres of the voxels, metres.
        offset_m: from each voxel to the centre of its instance.
        label: place in SCANNET20; walls, floors and -1 have no instances.
        cell_m: side of a cell.
        min_points: fewest voxels of an instance.

    Returns:
        1 and up, 0 for none; numbered in the order of their first voxels.
    """
    out = np.zeros(len(xyz), np.int32)
    rows = np.flatnonzero(np.isin(label, nyu40.THINGS))
    if not len(rows):
        return out
    cell = np.floor((xyz[rows] + offset_m[rows]) / cell_m).astype(np.int64)
    cell -= cell.min(0) - 1  # so that no neighbour of an occupied cell has a negative number
    side = cell.max(0) + 2
    if np.prod(side.astype(np.float64)) * 32 > 2.0**62:
        raise InputError(f"offsets reach over {side.max() * cell_m:.3g} m; was the network trained?")
    step = np.array([side[1] * side[2], side[2], 1])
    key = label[rows] * int(side.prod()) + cell @ step
    found, of = np.unique(key, return_inverse=True)
    pairs = []
    for shift in _HALF @ step:
        at = np.searchsorted(found, found + shift).clip(max=len(found) - 1)
        near = np.flatnonzero(found[at] == found + shift)
        pairs.append(np.stack((near, at[near])))
    first, second = np.concatenate(pairs, 1)
    graph = coo_array((np.ones(len(first), np.int8), (first, second)), shape=(len(found),) * 2)
    part = connected_components(graph, directed=False)[1][of]
    size = np.bincount(part)
    kept = size[part] >= min_points
    _, start, number = np.unique(part[kept], return_index=True, return_inverse=True)
    out[rows[kept]] = start.argsort().argsort()[number] + 1
    return out


@dataclass(frozen=True)
class Matching:
    """How new instances continue old ones.

    Attributes:
        instance: of each voxel, with stable ids.
        next_id: the first id that was never used.
        merged: (id that ended, id that it became part of).
        split: (id, the new id of a piece of it).
        born: ids of new instances.
    """

    instance: Int32[np.ndarray, " n"]
    next_id: int
    merged: tuple[tuple[int, int], ...]
    split: tuple[tuple[int, int], ...]
    born: tuple[int, ...]


def associate(
    old: Int32[np.ndarray, " n"], new: Int32[np.ndarray, " n"], next_id: int, share: float = 0.25
) -> Matching:
    """Gives clusters of now the ids of those before, by the voxels that they have in common.

    Pairs are taken from the largest overlap down; a pair counts where it is at least `share` of the smaller of the two.
    Of several pieces of an old instance the one with the largest overlap keeps its id; of several old ones in one
    new cluster that with the largest overlap gives it its id.

    Args:
        old: id of each voxel before, 0 none (new voxels too).
        new: number of its cluster now, 0 none.
        next_id: ids from here on have not been used.
        share: smallest overlap of a pair, as a share of the smaller of the two.
    """
    both = (old > 0) & (new > 0)
    width = int(old.max(initial=0)) + 1
    pairs, overlap = np.unique(new[both].astype(np.int64) * width + old[both], return_counts=True)
    numbers, ids = pairs // width, pairs % width
    smaller = np.minimum(np.bincount(new, minlength=1)[numbers], np.bincount(old, minlength=1)[ids])
    table = np.zeros(int(new.max(initial=0)) + 1, np.int32)
    merged: list[tuple[int, int]] = []
    split: list[tuple[int, int]] = []
    heir: dict[int, int] = {}  # old id -> cluster that has it now
    parent: dict[int, int] = {}  # cluster without id -> old instance that it broke off from
    for i in np.argsort(-overlap, kind="stable"):
        number, own = int(numbers[i]), int(ids[i])
        if overlap[i] < share * smaller[i]:
            continue
        if not table[number] and own not in heir:
            table[number], heir[own] = own, number
        elif not table[number]:
            parent.setdefault(number, own)
        elif own not in heir:
            merged.append((own, int(table[number])))
            heir[own] = number
    born = []
    for number in range(1, len(table)):
        if table[number] == 0:
            table[number] = next_id
            (split.append((parent[number], next_id)) if number in parent else born.append(next_id))
            next_id += 1
    return Matching(table[new], next_id, tuple(merged), tuple(split), tuple(born))


def averaged(
    mean: Float32[np.ndarray, "n c"],
    weight: Float32[np.ndarray, " n"],
    value: Float32[np.ndarray, "n c"],
    max_weight: float,
) -> tuple[Float32[np.ndarray, "n c"], Float32[np.ndarray, " n"]]:
    """Running weighted mean of the predictions for a voxel (Curless & Levoy 1996), its weight limited.

    With a limit m older frames fade by m / (m + 1) each: what is predicted for a voxel while little around it was seen
    is worth less than what is predicted later.

    Args:
        mean: so far.
        weight: of `mean`.
        value: predicted now.
        max_weight: the limit; 0: only the last prediction counts.

    Returns:
        (mean, weight) with `value` in it.
    """
    kept = np.minimum(weight, max_weight)[:, None]
    return (kept * mean + value) / (kept + 1), np.minimum(weight + 1, max_weight)
