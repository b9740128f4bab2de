"""A training sample before it is a batch: a reference picture with its true planes, and source pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Float64, Int, Int64, UInt8

from percepta.geometry.camera import Intrinsics

MAX_TRUE_PLANES = 48  # most planes of a sample


@dataclass(frozen=True)
class Pair:
    """A reference picture with its truth, and source pictures.

    Attributes:
        image: the reference picture, RGB.
        sources: the source pictures, RGB.
        camera: of all pictures.
        source_from_reference: relative pose of each source, metres.
        depth_m: 0 where unknown.
        segments: number of each pixel's plane, −1 none.
        planes: p = n/d in the reference camera, 1/m.
        labels: of each plane, place in PLANEMVS_NAMES; −1: not known.
        group: pairs that share it are alike (a room, a block of a recording).
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
class PairSource(Protocol):
    """Where pairs come from."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Pair: ...


def largest_planes(pair: Pair) -> Pair:
    """The pair with its MAX_TRUE_PLANES largest planes, the largest first; smaller ones become "none"."""
    area = np.bincount(pair.segments[pair.segments >= 0].astype(np.int64), minlength=len(pair.labels))
    order = np.argsort(-area, kind="stable")[: min(MAX_TRUE_PLANES, int((area > 0).sum()))]
    table = np.full(len(pair.labels) + 1, -1, np.int32)
    table[order] = np.arange(len(order))
    return Pair(
        pair.image, pair.sources, pair.camera, pair.source_from_reference, pair.depth_m, table[pair.segments],
        pair.planes[order], pair.labels[order], pair.group,
    )  # fmt: skip
