"""BVH files: a tree of joints with offsets and channels, then one row of numbers a frame.

Angles are degrees; a joint's rotation is the product of its channels in the order in which they are written, position
channels replace the joint's offset. End sites are left out.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float64

from percepta.datasets.mocap import Mocap, place_joints
from percepta.errors import InputError

_AXIS = {"X": 0, "Y": 1, "Z": 2}


def parse(text: str, name: str) -> Mocap:
    """A motion from the text of a BVH file.

    Raises:
        InputError: the tree or the table of frames is broken.
    """
    head, found, table = text.partition("MOTION")
    if not found:
        raise InputError(f"{name}: a BVH file has a part MOTION after its tree; this one ends before it")
    names, parents, offsets, channels = _tree(head.split(), name)
    lines = [line for line in table.splitlines() if line.strip()]
    try:
        count = int(lines[0].split(":")[1])
        frame_s = float(lines[1].split(":")[1])
        rows = np.array([[float(x) for x in line.split()] for line in lines[2:]])
    except (ValueError, IndexError) as reason:
        raise InputError(f"{name}: after MOTION come Frames:, Frame Time: and rows of numbers ({reason})") from None
    width = sum(len(x) for x in channels)
    if rows.ndim != 2 or rows.shape != (count, width) or not np.isfinite(rows).all():
        raise InputError(
            f"{name}: expected {count} rows of {width} finite numbers, got {' × '.join(map(str, rows.shape))}"
        )
    if not (math.isfinite(frame_s) and frame_s > 0):
        raise InputError(f"{name}: Frame Time has to be above 0 seconds, got {frame_s}")
    local = np.tile(np.eye(3), (count, len(names), 1, 1))
    shift = np.tile(np.array(offsets, float), (count, 1, 1))
    column = 0
    for joint, wanted in enumerate(channels):
        for channel in wanted:
            axis = _AXIS[channel[0]]
            if channel.endswith("position"):
                shift[:, joint, axis] = rows[:, column]
            else:
                local[:, joint] = local[:, joint] @ _about(axis, np.radians(rows[:, column]))
            column += 1
    rotation, position = place_joints(tuple(parents), local, shift)
    return Mocap(name, "bvh", 1 / frame_s, tuple(names), tuple(parents), rotation, position)


def _tree(words: list[str], name: str) -> tuple[list[str], list[int], list[list[float]], list[list[str]]]:
    """Names, parents, offsets and channels of the joints."""
    names: list[str] = []
    parents: list[int] = []
    offsets: list[list[float]] = []
    channels: list[list[str]] = []
    open_: list[int] = []  # joints whose bracket is open; -1 for end sites
    place = 1
    try:
        while place < len(words):
            word = words[place]
            if word in ("ROOT", "JOINT"):
                parents.append(open_[-1] if open_ else -1)
                open_.append(len(names))
                names.append(words[place + 1])
                offsets.append([0.0, 0.0, 0.0])
                channels.append([])
                place += 2
            elif word == "End":
                open_.append(-1)
                place += 2
            elif word == "OFFSET":
                if open_[-1] >= 0:
                    offsets[open_[-1]] = [float(x) for x in words[place + 1 : place + 4]]
                place += 4
            elif word == "CHANNELS":
                count = int(words[place + 1])
                wanted = words[place + 2 : place + 2 + count]
                if any(x[0] not in _AXIS or not x.endswith(("position", "rotation")) for x in wanted):
                    raise InputError(f"{name}: channels are Xposition ... Zrotation, got {' '.join(wanted)}")
                channels[open_[-1]] = wanted
                place += 2 + count
            elif word == "}":
                open_.pop()
                place += 1
            else:
                place += 1
    except (IndexError, ValueError) as reason:
        if isinstance(reason, InputError):
            raise
        raise InputError(f"{name}: the tree of joints is broken near word {place}") from None
    if not names or open_:
        raise InputError(f"{name}: the tree of joints is broken: {len(open_)} brackets stay open")
    return names, parents, offsets, channels


def _about(axis: int, angle: Float64[np.ndarray, " t"]) -> Float64[np.ndarray, "t 3 3"]:
    """Rotations about a coordinate axis by angles in radians."""
    out = np.tile(np.eye(3), (len(angle), 1, 1))
    one, two = (axis + 1) % 3, (axis + 2) % 3
    out[:, one, one] = out[:, two, two] = np.cos(angle)
    out[:, two, one] = np.sin(angle)
    out[:, one, two] = -np.sin(angle)
    return out
