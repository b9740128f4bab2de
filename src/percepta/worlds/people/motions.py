"""Motions made longer, joined, and made up: what needs no recording.

`CLASSES` says which recorded clips of the folder `motion` show which action.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Float64
from scipy.spatial.transform import Rotation

from percepta.datasets.mocap import Mocap
from percepta.errors import InputError
from percepta.geometry.body import JOINTS, PARENTS, Body, J, Motion, heading, make_body
from percepta.worlds.people.rig import grounded

CLASSES: dict[str, tuple[str, ...]] = {
    "walk": ("walk", "walk-left", "walk-right", "walk-back", "stealthy_walk", "zombie_walk"),
    "run": ("run", "jog"),
    "turn": ("walk-turn-left", "walk-turn-right"),
    "jump": ("jump",),
    "kick": ("kick", "spinkick"),
    "punch": ("punch",),
    "spin": ("spin",),
    "dance": ("dance-short", "dance_a", "dance_b", "dance_spin"),
    "wave": ("wave-left-hand", "wave-right-hand", "wave-both-hands"),
    "bow": ("bow",),
    "point": ("guide",),
    "crawl": ("crawl",),
    "get up": ("getup_facedown", "getup_faceup"),
    "roll": ("roll",),
    "flip": ("backflip", "sideflip"),
    "cartwheel": ("cartwheel",),
}
"""{action: what `Mocap.action` says of the recorded clips that show it}."""


def action_of(mocap: Mocap) -> str:
    """The action in CLASSES that a recording shows; "" for none of them."""
    return next((name for name, clips in CLASSES.items() if mocap.action in clips), "")


def looped(motion: Motion, seconds: float | int) -> Motion:
    """A motion repeated until it lasts `seconds`; each repeat goes on from where the last one ended.

    Where the end does not join the start, the last quarter of a second is blended into the next repeat.
    """
    if len(motion) < 2:
        raise InputError("a motion of one pose cannot be repeated; give one of at least two")
    overlap = 0 if motion.loops else min(round(0.25 * motion.fps), len(motion) - 2)
    frames, each = round(seconds * motion.fps) + 1, len(motion) - 1 - overlap  # what a repeat adds
    count = max(math.ceil((seconds + 0.5) / motion.seconds), 1 + math.ceil((frames - len(motion)) / each))
    return joined([motion] * count, blend_s=overlap / motion.fps).part(0, frames)


def joined(motions: Sequence[Motion], *, blend_s: float | int = 0.35) -> Motion:
    """Motions one after the other, each moved on the floor so that it goes on where the one before ends.

    Args:
        motions: all of one rate of frames.
        blend_s: time in which the poses on both sides of a seam are mixed, seconds.

    Raises:
        InputError: there are none, or their rates differ.
    """
    if not motions:
        raise InputError("there are no motions to join")
    fps = motions[0].fps
    if any(abs(m.fps - fps) > 1e-3 * fps for m in motions):
        raise InputError(
            f"motions of {sorted({round(m.fps, 3) for m in motions})} frames a second; resample them first"
        )
    root, rotation = motions[0].root, motions[0].rotation
    for following in motions[1:]:
        before = Motion(root, rotation, fps)
        overlap = min(round(blend_s * fps), len(before) - 1, len(following) - 1)
        anchor = len(before) - 1 - overlap
        moved = following.moved(heading(before, anchor) - heading(following, 0))
        moved = replace(moved, root=moved.root + (before.root[anchor] - moved.root[0]) * (1, 1, 0))
        t = np.linspace(0, 1, overlap + 2)[1:-1]
        share = t * t * (3 - 2 * t)
        mixed_root = (
            root[anchor + 1 : anchor + 1 + overlap] * (1 - share[:, None])
            + moved.root[1 : 1 + overlap] * share[:, None]
        )
        mixed = _mixed(rotation[anchor + 1 : anchor + 1 + overlap], moved.rotation[1 : 1 + overlap], share)
        root = np.concatenate([root[: anchor + 1], mixed_root, moved.root[1 + overlap :]])
        rotation = np.concatenate([rotation[: anchor + 1], mixed, moved.rotation[1 + overlap :]])
    return Motion(root, rotation, fps, " ".join(dict.fromkeys(m.name for m in motions)))


def _mixed(
    first: Float64[np.ndarray, "t j 3 3"], second: Float64[np.ndarray, "t j 3 3"], share: Float[np.ndarray, " t"]
) -> Float64[np.ndarray, "t j 3 3"]:
    """Rotations a share of the way from some to others."""
    if not len(first):
        return first
    flat = first.reshape(-1, 3, 3)
    start = Rotation.from_matrix(flat)
    way = (start.inv() * Rotation.from_matrix(second.reshape(-1, 3, 3))).as_rotvec()
    way = way * np.repeat(share, first.shape[1])[:, None]
    return (start * Rotation.from_rotvec(way)).as_matrix().reshape(first.shape)


def from_angles(
    angles_deg: Mapping[str, Float[np.ndarray, "t 3"]], root: Float[np.ndarray, "t 3"], fps: float | int, name: str = ""
) -> Motion:
    """A motion from turns of the joints against their parents.

    Args:
        angles_deg: {joint: turns about x (forward), y (left) and z (up), applied in the order y, x, z}; joints that
            are not named stay as in the rest pose. About y, positive angles bend the spine forward and swing a limb
            back.
        root: position of the pelvis, metres.
        fps: frames a second.
        name: what is done.
    """
    count = len(root)
    rotation = np.tile(np.eye(3), (count, len(JOINTS), 1, 1))
    for joint, parent in enumerate(PARENTS):
        turn = np.tile(np.eye(3), (count, 1, 1))
        if JOINTS[joint] in angles_deg:
            about = np.asarray(angles_deg[JOINTS[joint]], float)
            turn = Rotation.from_euler("yxz", about[:, [1, 0, 2]], degrees=True).as_matrix()
        rotation[:, joint] = turn if parent < 0 else rotation[:, parent] @ turn
    return Motion(np.asarray(root, float), rotation, fps, name)


MADE = ("idle", "walk", "sway", "turn", "squat", "wave")
"""What `made` knows."""


def made(
    name: str, seconds: float | int, fps: float | int = 30.0, *, seed: int = 0, body: Body | None = None
) -> Motion:
    """A motion without any recording; follows from its arguments.

    Args:
        name: one of MADE: "idle" stands and looks around, "walk" goes forward, "sway" swings the hips and turns to and
            fro, "turn" goes round on the spot, "squat" and "wave" do what they say.
        seconds: how long.
        fps: frames a second.
        seed: of pace, size and phase.
        body: whose feet stand on the floor; None: the average.

    Raises:
        InputError: the name is unknown.
    """
    if name not in MADE:
        raise InputError(f"made-up motions are {', '.join(MADE)}, not {name!r}")
    body = body or make_body()
    rng = np.random.default_rng((seed, MADE.index(name)))
    t = np.arange(round(seconds * fps) + 1) / fps
    zero = np.zeros_like(t)
    root = np.stack([zero, zero, np.full_like(t, body.joints[0, 2])], -1)
    slow = [rng.uniform(0.15, 0.4) * 2 * np.pi * t + rng.uniform(0, 6) for _ in range(3)]
    hang = {
        "left_upper_arm": np.stack([-35 + zero, 4 * np.sin(slow[0]), zero], -1),
        "right_upper_arm": np.stack([35 + zero, 4 * np.sin(slow[1]), zero], -1),
        "left_forearm": np.stack([zero, -12 + zero, zero], -1),
        "right_forearm": np.stack([zero, -12 + zero, zero], -1),
        "head": np.stack([zero, 4 * np.sin(slow[2]), 14 * np.sin(slow[0])], -1),
        "spine": np.stack([2 * np.sin(slow[1]), 2 + 2 * np.sin(slow[2]), zero], -1),
    }
    pace = rng.uniform(0.85, 1.15)
    if name == "walk":
        phase = 2 * np.pi * 0.9 * pace * t + rng.uniform(0, 6)
        root[:, 0] = 1.15 * pace * t
        for side, sign in (("left", 1), ("right", -1)):
            swing = np.sin(phase) * sign
            lift = np.clip(np.sin(phase * 1.0 + np.pi / 2) * sign, 0, None)
            hang[f"{side}_thigh"] = np.stack([zero, -24 * swing - 12 * lift, zero], -1)
            hang[f"{side}_shin"] = np.stack([zero, 8 + 48 * lift, zero], -1)
            hang[f"{side}_upper_arm"] = np.stack([-35 * sign + zero, 22 * swing, zero], -1)
            hang[f"{side}_forearm"] = np.stack([zero, -22 + zero, zero], -1)
    elif name in ("sway", "turn"):
        phase = 2 * np.pi * 0.55 * pace * t + rng.uniform(0, 6)
        yaw = 38 * np.sin(phase) if name == "sway" else 110 * pace * t + 25 * np.sin(phase)
        hang["pelvis"] = np.stack([5 * np.sin(phase + 1), zero, yaw], -1)
        hang["left_upper_arm"] = np.stack([-12 + 14 * np.sin(phase), zero, zero], -1)
        hang["right_upper_arm"] = np.stack([12 + 14 * np.sin(phase), zero, zero], -1)
        for side, sign in (("left", 1), ("right", -1)):
            bend = 10 + 10 * np.sin(phase * 2 + (sign > 0) * np.pi)
            hang[f"{side}_thigh"] = np.stack([-6 * sign - 4 * np.sin(phase + 1), -bend, zero], -1)
            hang[f"{side}_shin"] = np.stack([zero, 2 * bend, zero], -1)
    elif name == "squat":
        depth = 0.5 - 0.5 * np.cos(2 * np.pi * 0.4 * pace * t)
        hang["spine"] = np.stack([zero, 30 * depth, zero], -1)
        for side in ("left", "right"):
            hang[f"{side}_thigh"] = np.stack([zero, -85 * depth, zero], -1)
            hang[f"{side}_shin"] = np.stack([zero, 110 * depth, zero], -1)
            hang[f"{side}_foot"] = np.stack([zero, -25 * depth, zero], -1)
            hang[f"{side}_upper_arm"] = np.stack([(-35 if side == "left" else 35) + zero, -80 * depth, zero], -1)
    elif name == "wave":
        side, sign = ("left", 1) if rng.random() < 0.5 else ("right", -1)
        hang[f"{side}_upper_arm"] = np.stack([75 * sign + zero, zero, zero], -1)
        hang[f"{side}_forearm"] = np.stack([sign * (35 + 28 * np.sin(2 * np.pi * 1.5 * pace * t)), zero, zero], -1)
    return _on_the_floor(from_angles(hang, root, float(fps), name), body)


def _on_the_floor(motion: Motion, body: Body) -> Motion:
    """Each pose lifted or lowered until the lowest foot touches the floor, smoothly."""
    feet = body.part >= 4
    low = body.posed(motion)[:, feet, 2].min(1)
    kernel = np.ones(3) / 3
    smooth = np.convolve(np.pad(low, 1, mode="edge"), kernel, "valid")
    root = motion.root.copy()
    root[:, 2] -= smooth
    return grounded(replace(motion, root=root), body)


def elbow_and_hand(
    shoulder: Float[np.ndarray, "t 3"],
    target: Float[np.ndarray, "t 3"],
    upper_m: float | int,
    lower_m: float | int,
    pole: Float[np.ndarray, "t 3"],
) -> tuple[Float64[np.ndarray, "t 3"], Float64[np.ndarray, "t 3"]]:
    """Where elbow and wrist are when an arm reaches for a point (two bones, law of cosines).

    Args:
        shoulder: where the arm begins.
        target: where the wrist should be; out of reach, the arm is stretched towards it.
        upper_m, lower_m: lengths of the bones.
        pole: direction in which the elbow points.
    """
    way = target - shoulder
    length = np.linalg.norm(way, axis=-1, keepdims=True)
    direction = way / np.maximum(length, 1e-9)
    reach = np.clip(length, abs(upper_m - lower_m) + 1e-4, (upper_m + lower_m) * 0.999)
    along = (upper_m**2 - lower_m**2 + reach**2) / (2 * reach)
    out = np.sqrt(np.maximum(upper_m**2 - along**2, 0))
    aside = pole - (pole * direction).sum(-1, keepdims=True) * direction
    aside /= np.maximum(np.linalg.norm(aside, axis=-1, keepdims=True), 1e-9)
    return shoulder + along * direction + out * aside, shoulder + reach * direction


def aim(along: Float[np.ndarray, "t 3"], second: Float[np.ndarray, "t 3"], joint: str) -> Float64[np.ndarray, "t 3 3"]:
    """Rotation of a limb's joint away from the rest pose, by where its bone and its front point.

    Args:
        along: direction of the bone in the world.
        second: direction in which its front points, roughly.
        joint: name of the joint: of an arm or a leg.
    """
    from_rest = _frames(*(x[None] for x in _rest(joint)))[0]
    return _frames(along, second) @ from_rest.T


def _rest(joint: str) -> tuple[np.ndarray, np.ndarray]:
    side = 1 if joint.startswith("left") else -1
    if "arm" in joint or "hand" in joint:
        return np.array([0, side * np.sqrt(0.5), -np.sqrt(0.5)]), np.array([1.0, 0, 0])
    return np.array([0.0, 0, -1]), np.array([1.0, 0, 0])


def _frames(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    a = first / np.linalg.norm(first, axis=-1, keepdims=True)
    b = second - (second * a).sum(-1, keepdims=True) * a
    b = b / np.maximum(np.linalg.norm(b, axis=-1, keepdims=True), 1e-9)
    return np.stack([a, b, np.cross(a, b)], -1)


def reach(
    motion: Motion, body: Body, side: str, target: Float[np.ndarray, "t 3"], pole: Sequence[float | int]
) -> Motion:
    """The motion with an arm that reaches for a point in each frame; everything else stays.

    Args:
        motion: poses.
        body: who moves.
        side: "left" or "right".
        target: where the wrist should be, metres.
        pole: direction in which the elbow points, in the chest's coordinates.
    """
    upper, lower, hand = (J[f"{side}_{name}"] for name in ("upper_arm", "forearm", "hand"))
    shoulder = body.positions(motion)[:, upper]
    lengths = [float(np.linalg.norm(body.joints[b] - body.joints[a])) for a, b in ((upper, lower), (lower, hand))]
    out = motion.rotation[:, J["chest"]] @ np.asarray(pole, float)
    elbow, wrist = elbow_and_hand(shoulder, target, lengths[0], lengths[1], out)
    rotation = motion.rotation.copy()
    rotation[:, upper] = aim(elbow - shoulder, wrist - elbow, f"{side}_upper_arm")
    rotation[:, lower] = aim(wrist - elbow, shoulder - elbow, f"{side}_forearm")
    rotation[:, hand] = rotation[:, lower]
    return replace(motion, rotation=rotation)
