"""A baked person as binary glTF 2.0 with a skin, morphs, mean colours and, if wanted, a motion as animation."""

from __future__ import annotations

import json
import struct

import numpy as np
from jaxtyping import Float

from percepta.geometry import pose as poses
from percepta.geometry.body import JOINTS, PARENTS, Motion
from percepta.systems.avatar.bake import Baked

_FLOAT, _BYTE, _SHORT, _INT = 5126, 5121, 5123, 5125
_KINDS = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}


class _Buffer:
    """The binary part, and what says where things lie in it."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[dict[str, object]] = []
        self.accessors: list[dict[str, object]] = []

    def add(self, values: np.ndarray, kind: int, *, bounds: bool = False) -> int:
        """Number of the accessor of some rows."""
        rows = values.reshape(len(values), -1)
        self.views.append({"buffer": 0, "byteOffset": len(self.data), "byteLength": values.nbytes})
        self.data += values.tobytes()
        self.data += b"\0" * (-len(self.data) % 4)
        entry: dict[str, object] = {
            "bufferView": len(self.views) - 1, "componentType": kind, "count": len(rows), "type": _KINDS[rows.shape[1]],
        }  # fmt: skip
        if bounds:
            entry |= {"min": rows.min(0).tolist(), "max": rows.max(0).tolist()}
        self.accessors.append(entry)
        return len(self.accessors) - 1


def glb(baked: Baked, motion: Motion | None = None) -> bytes:
    """The file: y is up there, the four strongest joints move each vertex; no lamp, as the colours hold the light.

    Args:
        baked: the person.
        motion: becomes the animation; None: the file stands in the rest pose.
    """
    buffer = _Buffer()
    strongest = np.argsort(-baked.weights, axis=1)[:, :4]
    weight = np.take_along_axis(baked.weights, strongest, 1)
    weight = (weight / weight.sum(1, keepdims=True)).astype(np.float32)
    strongest = np.where(weight > 0, strongest, 0)
    colour = np.concatenate([linear(baked.colours), np.ones((len(baked.colours), 1))], 1)
    primitive: dict[str, object] = {
        "attributes": {
            "POSITION": buffer.add(baked.vertices.astype(np.float32), _FLOAT, bounds=True),
            "COLOR_0": buffer.add(colour.astype(np.float32), _FLOAT),
            "JOINTS_0": buffer.add(strongest.astype(np.uint8), _BYTE),
            "WEIGHTS_0": buffer.add(weight, _FLOAT),
        },
        "indices": buffer.add(baked.faces.astype(np.uint32).reshape(-1, 1), _INT),
        "material": 0,
    }
    morphs = baked.morphs * baked.limit[:, None, None]  # so that their strengths lie within -1..1
    targets = [{"POSITION": buffer.add(morph.astype(np.float32), _FLOAT, bounds=True)} for morph in morphs]
    mesh: dict[str, object] = {"primitives": [primitive]}
    if targets:
        primitive["targets"] = targets
        mesh["weights"] = [0.0] * len(targets)
    joints = baked.template.joints
    back = np.tile(np.eye(4), (len(JOINTS), 1, 1))
    back[:, 3, :3] = -joints  # column by column
    inverse = buffer.add(back.astype(np.float32).reshape(-1, 16), _FLOAT)
    # node 0 turns z up into y up, node 1 is the mesh, then the joints
    nodes: list[dict[str, object]] = [
        {"name": "person", "rotation": [-np.sqrt(0.5), 0, 0, np.sqrt(0.5)], "children": [1, 2]},
        {"name": "mesh", "mesh": 0, "skin": 0},
    ]
    for joint, name in enumerate(JOINTS):
        parent = PARENTS[joint]
        entry: dict[str, object] = {
            "name": name, "translation": (joints[joint] - (joints[parent] if parent >= 0 else 0)).tolist(),
        }  # fmt: skip
        if children := [2 + i for i, p in enumerate(PARENTS) if p == joint]:
            entry["children"] = children
        nodes.append(entry)
    table: dict[str, object] = {
        "asset": {"version": "2.0", "generator": "percepta"}, "scene": 0, "scenes": [{"nodes": [0]}], "nodes": nodes,
        "meshes": [mesh], "skins": [{"joints": [2 + i for i in range(len(JOINTS))], "inverseBindMatrices": inverse,
        "skeleton": 2}],
        "materials": [{"doubleSided": True, "pbrMetallicRoughness": {"metallicFactor": 0, "roughnessFactor": 1},
        "extensions": {"KHR_materials_unlit": {}}}], "extensionsUsed": ["KHR_materials_unlit"],
    }  # fmt: skip
    if motion is not None:
        table["animations"] = [_animation(buffer, baked, motion)]
    table["buffers"] = [{"byteLength": len(buffer.data)}]
    table["bufferViews"], table["accessors"] = buffer.views, buffer.accessors
    text = json.dumps(table, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    length = 12 + 8 + len(text) + 8 + len(buffer.data)
    head = struct.pack("<4sII", b"glTF", 2, length) + struct.pack("<I4s", len(text), b"JSON")
    return head + text + struct.pack("<I4s", len(buffer.data), b"BIN\0") + bytes(buffer.data)


def linear(colours: Float[np.ndarray, "*_ 3"]) -> Float[np.ndarray, "*_ 3"]:
    """Colours as glTF wants those of vertices: proportional to light. Pictures have sRGB, 0..1 (IEC 61966-2-1)."""
    return np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)


def _animation(buffer: _Buffer, baked: Baked, motion: Motion) -> dict[str, object]:
    """Rotations of the joints, the way of the pelvis and the strengths of the morphs at every frame."""
    times = buffer.add((np.arange(len(motion)) / motion.fps).astype(np.float32).reshape(-1, 1), _FLOAT, bounds=True)
    samplers: list[dict[str, object]] = []
    channels: list[dict[str, object]] = []

    def track(node: int, path: str, values: np.ndarray) -> None:
        """One thing of one node over time."""
        samplers.append(
            {"input": times, "output": buffer.add(values.astype(np.float32), _FLOAT), "interpolation": "LINEAR"}
        )
        channels.append({"sampler": len(samplers) - 1, "target": {"node": node, "path": path}})

    track(2, "translation", motion.root)
    for joint in range(len(JOINTS)):
        quaternion = poses.to_quaternion(motion.local[:, joint])
        flips = np.cumprod(np.where((quaternion[1:] * quaternion[:-1]).sum(-1) < 0, -1.0, 1.0))
        quaternion[1:] *= flips[:, None]  # the same rotation by the shorter way
        track(2 + joint, "rotation", quaternion)
    if len(baked.morphs):
        track(1, "weights", (baked.strengths(motion) / np.maximum(baked.limit, 1e-12)).reshape(-1, 1))
    return {"name": motion.name or "motion", "samplers": samplers, "channels": channels}
