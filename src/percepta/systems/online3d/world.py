"""The synthetic world: furnished rooms (`percepta.worlds.rooms`), scanned at once or walked through frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from percepta.datasets.posed import RgbdFrame
from percepta.datasets.scannet import LabelledScan
from percepta.geometry.camera import Intrinsics
from percepta.systems.online3d import Config
from percepta.worlds import rooms

FIRST = {"train": 0, "val": 1_000_000, "test": 2_000_000}  # seeds of the synthetic rooms of each split
SECONDS = 40.0  # of a scan


@lru_cache(maxsize=1024)
def synthetic(seed: int, voxel_m: float, frames: int, width: int) -> LabelledScan:
    """What a hand-held camera scans of a synthetic room in about 40 seconds.

    Args:
        seed: of the room and of the way through it.
        voxel_m: side of the voxels that the frames are fused in.
        frames: pictures of the scan.
        width: of the pictures, which are 4:3, in pixels.
    """
    world = rooms.room(seed)
    camera = Intrinsics.field_of_view(width, width * 3 // 4, 58.0)
    path = rooms.walk(world, 0, frames=frames, fps=frames / SECONDS)
    scan = rooms.scan(world, path, voxel_m, camera, sensor=rooms.Sensor())
    return LabelledScan(f"room{seed:07d}", scan.xyz, scan.rgb, scan.label, scan.instance)


def room_scan(config: Config, seed: int) -> LabelledScan:
    """The scan of a room at half the network's voxel size."""
    return synthetic(seed, config.voxel_m / 2, config.frames, config.camera_px)


def walk(seed: int, camera: Intrinsics, frames: int) -> Iterator[RgbdFrame]:
    """Frames of a walk through a room, with the noise of a depth camera.

    Args:
        seed: of room and walk.
        camera: intrinsics.
        frames: length of the walk.
    """
    world, rng = rooms.room(seed), np.random.default_rng(seed)
    for i, pose in enumerate(rooms.walk(world, 0, frames=frames, fps=frames / SECONDS)):
        view = rooms.measure(world, rooms.render(world, pose, camera), rng)
        yield RgbdFrame(view.colour, view.depth_m, pose, camera, str(i))
