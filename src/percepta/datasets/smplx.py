"""Poses of SMPL, SMPL-H and SMPL-X as .npz files, as AMASS and THUman4.0 write them.

    poses          t, 66 and more: turns of the joints in the order of JOINTS, as rotation vectors in radians; or
    global_orient  t, 3  and  body_pose  t, 63
    trans / transl t, 3, metres
    mocap_frame_rate / mocap_framerate / fps      left out: 30

Only the poses are read. The SMPL-X model (shape, skin) is licensed by its owners and no part of this package: measures
and mesh are those of our own body. Fingers, jaw and eyes are left out.

A joint's own coordinates are those of the T-pose: x to the body's left, y upwards, z to where it looks. AMASS's world
has z up, others y up: which one, says the axis along which the body stands on average.
"""

from __future__ import annotations

from pathlib import Path
from zipfile import is_zipfile

import numpy as np

from percepta.datasets.mocap import Mocap, place_joints
from percepta.errors import InputError
from percepta.files import check_regular
from percepta.formats import read_arrays
from percepta.geometry import pose as poses

JOINTS = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle", "right_ankle",
    "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head", "left_shoulder",
    "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
)  # fmt: skip
"""The first 22 joints, which all three models share."""
PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19)
_ROOTS = ("transl", "trans")
_RATES = ("mocap_frame_rate", "mocap_framerate", "fps")


def is_one(path: Path) -> bool:
    """Whether an .npz file holds such poses."""
    if path.suffix != ".npz" or not is_zipfile(path):
        return False
    with np.load(path, allow_pickle=False) as table:
        return "poses" in table.files or {"global_orient", "body_pose"} <= set(table.files)


def read(path: Path | str) -> Mocap:
    """A motion of kind "smplx" (z up) or "smplx-y-up"; places are the pelvis' own, about.

    Raises:
        InputError: an entry is missing or has another size, or the vectors look like degrees.
    """
    path = check_regular(Path(path))
    with np.load(path, allow_pickle=False) as table:
        names = set(table.files)
    read_here = names & {"poses", "global_orient", "body_pose", *_ROOTS, *_RATES}
    arrays = read_arrays(path, dict.fromkeys(read_here, "fiu")) if read_here else {}
    given = {name: values.astype(np.float64) for name, values in arrays.items()}
    count, least = len(JOINTS), 3 * len(JOINTS)
    if "poses" in given:
        vector = given["poses"].reshape(len(given["poses"]), -1)
    elif "global_orient" in given and "body_pose" in given:
        frames = given["body_pose"].shape[0]
        vector = np.concatenate([given["global_orient"].reshape(frames, -1), given["body_pose"].reshape(frames, -1)], 1)
    else:
        raise InputError(
            f"{path}: expected poses, or global_orient and body_pose; found {', '.join(sorted(names)) or 'nothing'}"
        )
    if vector.shape[1] < least or not len(vector) or not np.isfinite(vector).all():
        raise InputError(
            f"{path}: a pose has at least {least} finite numbers ({count} joints), these are {vector.shape[1]}"
        )
    vector = vector[:, :least].reshape(-1, count, 3)
    if np.linalg.norm(vector, axis=-1).max() > 2 * np.pi + 0.5:
        raise InputError(f"{path}: a turn is longer than 6.28 radians: are these degrees? SMPL-X's are radians")
    root = next((given[name].reshape(-1, 3) for name in _ROOTS if name in given), np.zeros((len(vector), 3)))
    if len(root) != len(vector) or not np.isfinite(root).all():
        raise InputError(f"{path}: {len(vector)} poses, but {len(root)} places (transl), or some that are not finite")
    fps = next((float(given[name].reshape(-1)[0]) for name in _RATES if name in given), 30.0)
    if not 0 < fps < 1e4:
        raise InputError(f"{path}: frames a second have to be above 0, not {fps}")
    local = poses.from_vector(vector)
    rotation, _ = place_joints(PARENTS, local, np.zeros(local.shape[:3]))
    upright = rotation[:, 0, :, 1].mean(0)  # where the body's y points
    kind = "smplx" if abs(upright[2]) >= abs(upright[1]) else "smplx-y-up"
    position = np.repeat(root[:, None], count, 1)
    return Mocap(path.stem, kind, fps, JOINTS, PARENTS, rotation, position)
