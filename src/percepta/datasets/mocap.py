"""Motion capture, whatever it is stored as: where the joints of a recorded person are, and how they are turned."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64


@dataclass(frozen=True)
class Mocap:
    """A recorded motion in the coordinates and units of its file.

    Attributes:
        name: of the file, without its ending.
        kind: "bvh", "deepmimic", "smplx" or "smplx-y-up".
        fps: frames a second.
        joints: names of the joints; a parent stands before its children.
        parents: place of each joint's parent; -1 for the root.
        rotation: of each joint in the world, `t j 3 3`: the identity is the pose in which the file defines its rig.
        position: of each joint in the world, `t j 3`, in the file's unit.
        loops: whether the end joins its start, up to a shift on the floor.
    """

    name: str
    kind: str
    fps: float | int
    joints: tuple[str, ...]
    parents: tuple[int, ...]
    rotation: Float64[np.ndarray, "t j 3 3"]
    position: Float64[np.ndarray, "t j 3"]
    loops: bool = False

    def __len__(self) -> int:
        return len(self.position)

    @property
    def action(self) -> str:
        """What is done, from the file's name: "dataset-1_walk-left_normal_001" and "humanoid3d_walk" give "walk..."."""
        if self.name.startswith("humanoid3d_"):
            return self.name.removeprefix("humanoid3d_")
        match = re.fullmatch(r"dataset-\d+_([a-z-]+)_[a-z-]+_\d+", self.name)
        return match.group(1) if match else self.name


def place_joints(
    parents: tuple[int, ...], local: Float64[np.ndarray, "t j 3 3"], offset: Float64[np.ndarray, "t j 3"]
) -> tuple[Float64[np.ndarray, "t j 3 3"], Float64[np.ndarray, "t j 3"]]:
    """Forward kinematics: rotation and position of each joint in the world.

    Args:
        parents: place of each joint's parent, before the joint itself; -1 for a root.
        local: rotation of each joint in its parent's coordinates.
        offset: of each joint from its parent, in its parent's coordinates.
    """
    rotation, position = np.empty_like(local), np.empty_like(offset)
    for joint, parent in enumerate(parents):
        if parent < 0:
            rotation[:, joint], position[:, joint] = local[:, joint], offset[:, joint]
        else:
            rotation[:, joint] = rotation[:, parent] @ local[:, joint]
            shift = np.einsum("tij,tj->ti", rotation[:, parent], offset[:, joint])
            position[:, joint] = position[:, parent] + shift
    return rotation, position
