"""The one thing of SLAM that is fitted: the projection that makes pictures of one place alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64, Int64

from percepta.contract import Progress
from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics
from percepta.systems.slam.model import SEEN, PlaceNet, fit
from percepta.worlds import rooms

FIRST = 7000  # seed of the first room
FRAMES = 40  # of each room, a second and a half apart in its walk
NEAR_M, NEAR_DEG = 0.8, 30.0  # two views that are nearer show one place


def features_of_rooms(
    model: PlaceNet, seeds: Sequence[int], progress: Progress | None = None
) -> tuple[Float32[np.ndarray, "n c"], Float64[np.ndarray, "n 4 4"], Int64[np.ndarray, " n"]]:
    """Pooled features of rendered rooms, with the poses, and the seed of each one's room.

    Args:
        model: with its encoder filled.
        seeds: of the rooms.
        progress: called with (rooms done, rooms in all).
    """
    camera = Intrinsics.field_of_view(SEEN[1], SEEN[0], 62.0)
    found, places = [], []
    for done, seed in enumerate(seeds):
        room = rooms.room(seed)
        path = rooms.walk(room, 0, frames=FRAMES, fps=1.5)
        colours = np.stack([rooms.render(room, pose, camera).colour for pose in path])
        grey = (colours @ np.array([0.299, 0.587, 0.114]) + 0.5).astype(np.uint8)
        with torch.no_grad():
            found.append(model.pooled(torch.from_numpy(grey).float()[:, None].expand(-1, 3, -1, -1) / 255).numpy())
        places.append(path)
        if progress is not None:
            progress(done + 1, len(seeds))
    return np.concatenate(found), np.concatenate(places), np.repeat(np.array(seeds, np.int64), FRAMES)


def same_place(path: Float64[np.ndarray, "n 4 4"], room: Int64[np.ndarray, " n"]) -> Bool[np.ndarray, "n n"]:
    """Which views are of one place: one room, less than NEAR_M apart and turned by less than NEAR_DEG."""
    far = np.linalg.norm(path[:, None, :3, 3] - path[None, :, :3, 3], axis=-1)
    turn = poses.angle(np.swapaxes(path[:, None, :3, :3], -1, -2) @ path[None, :, :3, :3])
    return (room[:, None] == room) & (far < NEAR_M) & (turn < np.radians(NEAR_DEG))


def fit_rooms(model: PlaceNet, features: Float[np.ndarray, "n c"], same: Bool[np.ndarray, "n n"]) -> None:
    """Puts mean and projection into the model.

    Args:
        model: whose buffers are set.
        features: pooled, of n pictures.
        same: which of them show one place.
    """
    first, second = np.nonzero(np.triu(same, 1))
    mean, projection = fit(features, first, second, model.config.place_numbers)
    model.mean.copy_(torch.from_numpy(mean))
    model.projection.copy_(torch.from_numpy(projection / np.abs(projection).max()))


def recall(described: Float[np.ndarray, "n d"], same: Bool[np.ndarray, "n n"], most: int = 4) -> Bool[np.ndarray, " m"]:
    """Of the views that have another one of their place, more than three frames away: whether it is among the best.

    Args:
        described: of n pictures in the order of their walks.
        same: which of them show one place.
        most: how many candidates are tried.
    """
    alike = described @ described.T
    number = np.arange(len(alike))
    near = np.abs(number[:, None] - number) < 4
    good = same & ~near
    best = np.argsort(-np.where(near, -np.inf, alike), 1, kind="stable")[:, :most]
    return np.asarray(good[number[:, None], best].any(1))[np.asarray(good.any(1))]
