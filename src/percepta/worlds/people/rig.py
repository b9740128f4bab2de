"""Recorded motions on our body: tables that say what the bones of a rig are called and how they are turned.

A rig names, for each joint of ours, a joint of the recording and two directions in that joint's own coordinates: the
first goes along the bone (upwards in spine and head, outwards in a clavicle, to the hand or foot in a limb, to the
toes in a foot), the second points where the body looks (a foot: upwards). With these, the pose in which a file
defines its rig
does not matter: a joint's rotation is the one that carries our bone to where the recording's bone is.

Other rigs are described by a small JSON file, see `read_rig`:

    {"forward": "+z", "left": "+x", "up": "+y", "metres": 0.01, "pelvis_height": 92.5,
     "joints": {"pelvis": ["Hips", "+x", "+z"], ...}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from scipy.spatial.transform import Rotation

from percepta.datasets.mocap import Mocap
from percepta.errors import InputError
from percepta.geometry.body import JOINTS, PARENTS, Body, J, Motion, make_body

Axis = tuple[float, float, float]
_AXES: dict[str, Axis] = {
    "+x": (1.0, 0.0, 0.0), "-x": (-1.0, 0.0, 0.0), "+y": (0.0, 1.0, 0.0), "-y": (0.0, -1.0, 0.0),
    "+z": (0.0, 0.0, 1.0), "-z": (0.0, 0.0, -1.0),
}  # fmt: skip


@dataclass(frozen=True)
class Rig:
    """How a recording's joints become ours.

    Attributes:
        forward, left, up: the body's directions when it looks straight ahead, in the recording's world.
        metres: length of the recording's unit.
        pelvis_height: of the recorded person standing, in the recording's unit: longer and shorter legs are allowed
            for.
        joints: {our joint: (the recording's joint, direction along the bone, second direction)}; joints that are not
            named lie half-way between their neighbours that are, or follow their parent.
    """

    forward: Axis
    left: Axis
    up: Axis
    metres: float | int
    pelvis_height: float | int
    joints: Mapping[str, tuple[str, Axis, Axis]]


def _table(rows: Mapping[str, str]) -> dict[str, tuple[str, Axis, Axis]]:
    """{our joint: "their joint +x +z"} as a table of a rig."""
    out = {}
    for ours, row in rows.items():
        theirs, first, second = row.split()
        out[ours] = (theirs, _AXES[first], _AXES[second])
    return out


# Of the foot the rig's x leads to the ball, which lies lower than the ankle by about 41 degrees of the horizontal.
_BALL = (0.75, 0.0, 0.66)
_OVER = (-0.66, 0.0, 0.75)
BANDAI = Rig(
    forward=_AXES["+z"], left=_AXES["+x"], up=_AXES["+y"], metres=0.01, pelvis_height=92.5,
    joints=_table({
        "pelvis": "Hips +x +z", "spine": "Spine +x +y", "chest": "Chest +x +y", "neck": "Neck +x +y",
        "head": "Head +x +y",
        "left_clavicle": "Shoulder_L +x +z", "left_upper_arm": "UpperArm_L +x +z", "left_forearm": "LowerArm_L +x +z",
        "left_hand": "Hand_L +x +z", "right_clavicle": "Shoulder_R -x -z", "right_upper_arm": "UpperArm_R -x -z",
        "right_forearm": "LowerArm_R -x -z", "right_hand": "Hand_R -x -z", "left_thigh": "UpperLeg_L +x +z",
        "left_shin": "LowerLeg_L +x +z", "right_thigh": "UpperLeg_R -x -z", "right_shin": "LowerLeg_R -x -z",
    }) | {
        "left_foot": ("Foot_L", _BALL, _OVER),
        "right_foot": ("Foot_R", (-0.75, 0.0, -0.66), (0.66, 0.0, -0.75)),
    },
)  # fmt: skip
DEEPMIMIC = Rig(
    forward=_AXES["+x"], left=_AXES["-z"], up=_AXES["+y"], metres=1.0, pelvis_height=0.90,
    joints=_table({
        "pelvis": "root +y +x", "chest": "chest +y +x", "head": "neck +y +x",
        "left_upper_arm": "left_shoulder -y +x", "left_forearm": "left_elbow -y +x",
        "right_upper_arm": "right_shoulder -y +x", "right_forearm": "right_elbow -y +x",
        "left_thigh": "left_hip -y +x", "left_shin": "left_knee -y +x", "left_foot": "left_ankle +x +y",
        "right_thigh": "right_hip -y +x", "right_shin": "right_knee -y +x", "right_foot": "right_ankle +x +y",
    }),
)  # fmt: skip
# SMPL, SMPL-H and SMPL-X: joints have the T-pose's axes; the pelvis of the average body is 0.95 m above its soles.
SMPLX = Rig(
    forward=_AXES["+x"], left=_AXES["+y"], up=_AXES["+z"], metres=1.0, pelvis_height=0.95,
    joints=_table({
        "pelvis": "pelvis +y +z", "spine": "spine1 +y +z", "chest": "spine3 +y +z", "neck": "neck +y +z",
        "head": "head +y +z",
        "left_clavicle": "left_collar +x +z", "left_upper_arm": "left_shoulder +x +z",
        "left_forearm": "left_elbow +x +z", "left_hand": "left_wrist +x +z",
        "right_clavicle": "right_collar -x +z", "right_upper_arm": "right_shoulder -x +z",
        "right_forearm": "right_elbow -x +z", "right_hand": "right_wrist -x +z",
        "left_thigh": "left_hip -y +z", "left_shin": "left_knee -y +z", "left_foot": "left_ankle +z +y",
        "right_thigh": "right_hip -y +z", "right_shin": "right_knee -y +z", "right_foot": "right_ankle +z +y",
    }),
)  # fmt: skip
SMPLX_Y_UP = replace(SMPLX, forward=_AXES["+z"], left=_AXES["+x"], up=_AXES["+y"])
RIGS = {"bvh": BANDAI, "deepmimic": DEEPMIMIC, "smplx": SMPLX, "smplx-y-up": SMPLX_Y_UP}


def read_rig(path: Path | str) -> Rig:
    """A rig from a JSON file as the module's text shows it.

    Raises:
        InputError: a name or a direction in it is unknown.
    """
    path = Path(path)
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        joints = {ours: (str(row[0]), _axis(row[1]), _axis(row[2])) for ours, row in table["joints"].items()}
        sides = [_axis(table[name]) for name in ("forward", "left", "up")]
        metres, height = float(table["metres"]), float(table["pelvis_height"])
    except (OSError, ValueError, KeyError, TypeError, IndexError) as reason:
        raise InputError(
            f"{path}: a rig is JSON with forward, left, up, metres, pelvis_height and joints ({reason!r})"
        ) from None
    unknown = sorted(set(joints) - set(JOINTS))
    if unknown:
        raise InputError(f"{path}: unknown joints {', '.join(unknown)}; ours are {', '.join(JOINTS)}")
    if "pelvis" not in joints:
        raise InputError(f"{path}: a rig has to name at least the pelvis")
    return Rig(sides[0], sides[1], sides[2], metres, height, joints)


def _axis(value: object) -> Axis:
    if isinstance(value, str):
        return _AXES[value]
    x, y, z = value  # pyright: ignore[reportGeneralTypeIssues]
    return float(x), float(y), float(z)


def _ours(joint: str) -> tuple[np.ndarray, np.ndarray]:
    """Direction along a bone of our rest pose, and the second direction."""
    side = 1 if joint.startswith("left") else -1
    along = np.array([0, side * np.sqrt(0.5), -np.sqrt(0.5)])
    name = joint.split("_", 1)[-1]
    if name == "clavicle":
        return np.array([0.0, side, 0]), np.array([1.0, 0, 0])
    if name in ("upper_arm", "forearm", "hand"):
        return along, np.array([1.0, 0, 0])
    if name in ("thigh", "shin"):
        return np.array([0.0, 0, -1]), np.array([1.0, 0, 0])
    if name == "foot":
        return np.array([1.0, 0, 0]), np.array([0.0, 0, 1])
    return np.array([0.0, 0, 1]), np.array([1.0, 0, 0])


def _frame(first: np.ndarray, second: np.ndarray) -> Float64[np.ndarray, "3 3"]:
    """A rotation whose first column is a direction, and whose second one is as near to another as can be."""
    a = first / np.linalg.norm(first)
    b = second - (second @ a) * a
    b /= np.linalg.norm(b)
    return np.stack([a, b, np.cross(a, b)], -1)


def retarget(mocap: Mocap, body: Body | None = None, rig: Rig | None = None) -> Motion:
    """A recorded motion as a motion of our body, with its feet on the floor (the lowest sole of the clip at height 0).

    Args:
        mocap: the recording.
        body: whose legs it is scaled to; None: the average one.
        rig: of the recording; None: the one that belongs to its kind.

    Raises:
        InputError: the recording lacks joints that the rig names.
    """
    body = body or make_body()
    rig = rig or RIGS[mocap.kind]
    place = {name: i for i, name in enumerate(mocap.joints)}
    missing = sorted({theirs for theirs, _, _ in rig.joints.values()} - set(place))
    if missing:
        raise InputError(
            f"{mocap.name}: the rig names joints that are not there: {', '.join(missing)}; give another rig file"
        )
    world = np.array([rig.forward, rig.left, rig.up], float)
    known: dict[int, np.ndarray] = {}
    for name, (theirs, first, second) in rig.joints.items():
        turn = _frame(np.array(first), np.array(second)) @ _frame(*_ours(name)).T
        known[J[name]] = world @ mocap.rotation[:, place[theirs]] @ turn
    rotation = np.empty((len(mocap), len(JOINTS), 3, 3))
    for joint, parent in enumerate(PARENTS):
        if joint in known:
            rotation[:, joint] = known[joint]
        elif (below := _below(joint, known)) is not None and JOINTS[joint] in ("spine", "neck"):
            rotation[:, joint] = _between(rotation[:, parent], known[below])
        else:
            rotation[:, joint] = rotation[:, parent]
    scale = body.joints[0, 2] / rig.pelvis_height
    root = scale * mocap.position[:, place[rig.joints["pelvis"][0]]] @ world.T
    motion = Motion(root, rotation, mocap.fps, mocap.action, mocap.loops)
    return grounded(motion, body)


def grounded(motion: Motion, body: Body) -> Motion:
    """The motion lifted or lowered so that the lowest point that the body reaches (but for 2 % of frames) is at 0."""
    lowest = body.posed(motion)[..., 2].min(1)
    shift = np.array([0, 0, -np.quantile(lowest, 0.02)])
    return Motion(motion.root + shift, motion.rotation, motion.fps, motion.name, motion.loops)


def _below(joint: int, known: Mapping[int, np.ndarray]) -> int | None:
    """The nearest descendant along the spine that is known."""
    following = {J["spine"]: J["chest"], J["chest"]: J["neck"], J["neck"]: J["head"]}
    while joint in following:
        joint = following[joint]
        if joint in known:
            return joint
    return None


def _between(first: np.ndarray, second: np.ndarray) -> Float64[np.ndarray, "t 3 3"]:
    """Rotations half-way between others."""
    start = Rotation.from_matrix(first)
    half = Rotation.from_rotvec((start.inv() * Rotation.from_matrix(second)).as_rotvec() / 2)
    return (start * half).as_matrix()
