"""DeepMimic's humanoid clips: JSON with "Loop" ("wrap" or "none") and "Frames", 44 numbers each.

Columns of a frame (quaternions are w x y z, in the parent's coordinates; y points up, x forward, z to the right;
metres):

    0      seconds that the frame lasts
    1:4    position of the root (between the hips)        4:8    its rotation in the world
    8:12   chest          12:16  neck
    16:20  right hip      20     right knee (about z)     21:25  right ankle
    25:29  right shoulder 29     right elbow (about z)
    30:34  left hip       34     left knee                35:39  left ankle
    39:43  left shoulder  43     left elbow

With all rotations the identity the figure stands upright and looks along x, with its arms hanging down. A knee bends by
negative angles, an elbow by positive ones. Sizes of the figure: thigh .42, shank .41, upper arm .27, forearm .26 m.
"""

from __future__ import annotations

import json

import numpy as np

from percepta.datasets.mocap import Mocap, place_joints
from percepta.errors import InputError
from percepta.geometry import pose as poses

# name, place of the parent, offset from it in metres (x forward, y up, z right), first column, whether a hinge about z
_JOINTS = (
    ("root", -1, (0.0, 0.0, 0.0), 4, False),
    ("chest", 0, (0.0, 0.236, 0.0), 8, False),
    ("neck", 1, (0.0, 0.224, 0.0), 12, False),
    ("right_hip", 0, (0.0, 0.0, 0.085), 16, False),
    ("right_knee", 3, (0.0, -0.42, 0.0), 20, True),
    ("right_ankle", 4, (0.0, -0.41, 0.0), 21, False),
    ("right_shoulder", 1, (-0.024, 0.2435, 0.183), 25, False),
    ("right_elbow", 6, (0.0, -0.275, 0.0), 29, True),
    ("left_hip", 0, (0.0, 0.0, -0.085), 30, False),
    ("left_knee", 8, (0.0, -0.42, 0.0), 34, True),
    ("left_ankle", 9, (0.0, -0.41, 0.0), 35, False),
    ("left_shoulder", 1, (-0.024, 0.2435, -0.183), 39, False),
    ("left_elbow", 11, (0.0, -0.275, 0.0), 43, True),
)
COLUMNS = 44


def parse(text: str, name: str) -> Mocap:
    """A motion from the text of a DeepMimic file.

    Raises:
        InputError: it is no JSON, or a frame has not 44 finite numbers.
    """
    try:
        table = json.loads(text)
        frames = np.array(table["Frames"], float)
    except (ValueError, KeyError, TypeError) as reason:
        raise InputError(
            f'{name}: a DeepMimic motion is JSON with "Frames" of {COLUMNS} numbers each ({reason})'
        ) from None
    if frames.ndim != 2 or frames.shape[1] != COLUMNS or not np.isfinite(frames).all() or not len(frames):
        shape = " × ".join(map(str, frames.shape))
        raise InputError(f"{name}: frames of the DeepMimic humanoid have {COLUMNS} finite numbers, got {shape}")
    frame_s = float(np.median(frames[:-1, 0] if len(frames) > 1 else frames[:, 0]))
    if frame_s <= 0:
        raise InputError(f"{name}: the first column is how many seconds a frame lasts, got {frame_s}")
    local = np.empty((len(frames), len(_JOINTS), 3, 3))
    for joint, (_, _, _, column, hinge) in enumerate(_JOINTS):
        if hinge:
            turn = np.zeros((len(frames), 3))
            turn[:, 2] = frames[:, column]
            local[:, joint] = poses.from_vector(turn)
        else:
            local[:, joint] = poses.from_quaternion(frames[:, [column + 1, column + 2, column + 3, column]])
    offset = np.tile(np.array([row[2] for row in _JOINTS]), (len(frames), 1, 1))
    offset[:, 0] = frames[:, 1:4]
    parents = tuple(row[1] for row in _JOINTS)
    rotation, position = place_joints(parents, local, offset)
    names = tuple(row[0] for row in _JOINTS)
    loops = table.get("Loop") == "wrap"
    return Mocap(name, "deepmimic", 1 / frame_s, names, parents, rotation, position, loops)
