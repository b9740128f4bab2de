"""An articulated body: 19 joints, a mesh of tubes and ellipsoids, linear blend skinning.

Coordinates of a body: x forward, y to its left, z up; metres. In the rest pose it stands upright, looks along x and
holds its arms 45 degrees away from its sides. A pose is the position of the pelvis and, for each joint, its rotation
in the world away from the rest pose; so the identity everywhere is the rest pose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64
from scipy.spatial.transform import Rotation, Slerp

from percepta.errors import InputError

JOINTS = (
    "pelvis", "spine", "chest", "neck", "head",
    "left_clavicle", "left_upper_arm", "left_forearm", "left_hand",
    "right_clavicle", "right_upper_arm", "right_forearm", "right_hand",
    "left_thigh", "left_shin", "left_foot",
    "right_thigh", "right_shin", "right_foot",
)  # fmt: skip
PARENTS = (-1, 0, 1, 2, 3, 2, 5, 6, 7, 2, 9, 10, 11, 0, 13, 14, 0, 16, 17)
J = {name: place for place, name in enumerate(JOINTS)}
PARTS = ("torso", "head", "left_arm", "right_arm", "left_leg", "right_leg")
_DOWN = np.array([0, np.sqrt(0.5), -np.sqrt(0.5)])  # of the left arm in the rest pose


@dataclass(frozen=True)
class Motion:
    """Poses at equal steps of time.

    Attributes:
        root: position of the pelvis, metres, `t 3`.
        rotation: of each joint in the world, away from the rest pose, `t 19 3 3`.
        fps: frames a second.
        name: what is done.
        loops: whether the end joins the start, up to a shift on the floor.
    """

    root: Float64[np.ndarray, "t 3"]
    rotation: Float64[np.ndarray, "t j 3 3"]
    fps: float | int
    name: str = ""
    loops: bool = False

    def __post_init__(self) -> None:
        if self.rotation.shape != (len(self.root), len(JOINTS), 3, 3) or self.root.shape[1:] != (3,):
            shapes = f"{self.root.shape} and {self.rotation.shape}"
            raise InputError(f"a motion has roots (t, 3) and rotations (t, {len(JOINTS)}, 3, 3), not {shapes}")

    def __len__(self) -> int:
        return len(self.root)

    @property
    def seconds(self) -> float:
        """Time between the first and the last pose."""
        return (len(self) - 1) / self.fps

    def part(self, start: int, stop: int) -> Motion:
        """The poses start .. stop - 1."""
        return replace(self, root=self.root[start:stop], rotation=self.rotation[start:stop], loops=False)

    @property
    def local(self) -> Float64[np.ndarray, "t j 3 3"]:
        """Rotation of each joint in its parent's coordinates; the pelvis in the world's."""
        out = self.rotation.copy()
        for joint, parent in enumerate(PARENTS):
            if parent >= 0:
                out[:, joint] = np.swapaxes(self.rotation[:, parent], -1, -2) @ self.rotation[:, joint]
        return out

    def at(self, times_s: Float[np.ndarray, " n"]) -> Motion:
        """Poses at other times, 0 the first pose: shifts linearly, rotations along the shortest arc.

        Times outside of the motion give its first or last pose. The result's `fps` follows from the first two times.
        """
        when = np.clip(np.asarray(times_s, float), 0, self.seconds)
        if len(self) == 1:
            count = len(when)
            return replace(self, root=self.root.repeat(count, 0), rotation=self.rotation.repeat(count, 0))
        known = np.arange(len(self)) / self.fps
        root = np.stack([np.interp(when, known, self.root[:, i]) for i in range(3)], -1)
        rotation = np.empty((len(when), len(JOINTS), 3, 3))
        for joint in range(len(JOINTS)):
            rotation[:, joint] = Slerp(known, Rotation.from_matrix(self.rotation[:, joint]))(when).as_matrix()
        fps = 1 / (times_s[1] - times_s[0]) if len(when) > 1 and times_s[1] > times_s[0] else self.fps
        return replace(self, root=root, rotation=rotation, fps=float(fps), loops=False)

    def resampled(self, fps: float | int) -> Motion:
        """The same motion at another rate of frames."""
        count = int(np.floor(self.seconds * fps + 1e-6)) + 1
        return replace(self.at(np.arange(count) / fps), fps=float(fps), loops=self.loops)

    def moved(self, yaw_rad: float | int, shift_m: Sequence[float | int] = (0.0, 0.0)) -> Motion:
        """Turned about the vertical axis through the first pose's pelvis, then that pelvis shifted on the floor."""
        turn = Rotation.from_euler("z", yaw_rad).as_matrix()
        first = self.root[0] * (1, 1, 0)
        root = (self.root - first) @ turn.T + first + (shift_m[0], shift_m[1], 0)
        return replace(self, root=root, rotation=turn @ self.rotation)


def heading(motion: Motion, frame: int) -> float:
    """Angle in radians of the direction in which a pose looks, from x towards y."""
    forward = motion.rotation[frame, 0, :, 0]
    return float(np.arctan2(forward[1], forward[0]))


@dataclass(frozen=True)
class Shape:
    """Measures of a body.

    Attributes:
        height_m: from the soles to the top of the head.
        girth: of torso and limbs, 1 is average.
        legs: length of the legs over the average share of the height.
        arms: length of the arms over the average share of the height.
        shoulders: width of the shoulders, 1 is average.
    """

    height_m: float | int = 1.75
    girth: float | int = 1.0
    legs: float | int = 1.0
    arms: float | int = 1.0
    shoulders: float | int = 1.0


def random_shape(rng: np.random.Generator) -> Shape:
    """A person as one may meet: 1.55 to 1.95 m, slender to stout."""
    height, girth, legs = rng.uniform(1.55, 1.95), rng.uniform(0.85, 1.25), rng.uniform(0.95, 1.05)
    return Shape(height, girth, legs, rng.uniform(0.95, 1.05), rng.uniform(0.9, 1.12))


@dataclass(frozen=True)
class Body:
    """A body in its rest pose.

    Attributes:
        shape: its measures.
        joints: where the joints are, `19 3`.
        vertices: of the mesh, `v 3`. faces: counter-clockwise seen from outside, `f 3`.
        weights: of the joints on each vertex; rows add up to 1, `v 19`.
        uv: texture coordinates: u around a part (½ in front; grows to the right as one looks at it), v along it,
            downwards, `v 2`.
        part: place in PARTS, `v`.
        capsules: joints whose bones keep cloth away, with (start, end, radius at start, radius at end), rest pose.
    """

    shape: Shape
    joints: Float64[np.ndarray, "j 3"]
    vertices: Float64[np.ndarray, "v 3"]
    faces: Int64[np.ndarray, "f 3"]
    weights: Float32[np.ndarray, "v j"]
    uv: Float64[np.ndarray, "v 2"]
    part: Int64[np.ndarray, " v"]
    capsules: tuple[tuple[int, np.ndarray, np.ndarray, float, float], ...] = field(repr=False)

    @cached_property
    def normals(self) -> Float64[np.ndarray, "v 3"]:
        """Unit normals of the vertices in the rest pose."""
        return vertex_normals(self.vertices[None], self.faces)[0]

    def transforms(self, motion: Motion) -> Float64[np.ndarray, "t j 4 4"]:
        """What carries points of the rest pose to the world, for each joint."""
        where = self.positions(motion)
        out = np.zeros((len(motion), len(JOINTS), 4, 4))
        out[..., :3, :3], out[..., 3, 3] = motion.rotation, 1
        out[..., :3, 3] = where - np.einsum("tjab,jb->tja", motion.rotation, self.joints)
        return out

    def positions(self, motion: Motion) -> Float64[np.ndarray, "t j 3"]:
        """Where the joints are in the world."""
        out = np.empty((len(motion), len(JOINTS), 3))
        out[:, 0] = motion.root
        for joint, parent in enumerate(PARENTS):
            if parent >= 0:
                out[:, joint] = out[:, parent] + motion.rotation[:, parent] @ (self.joints[joint] - self.joints[parent])
        return out

    def posed(self, motion: Motion) -> Float64[np.ndarray, "t v 3"]:
        """The mesh in the world, by linear blend skinning."""
        return skin(self.vertices, self.weights, self.transforms(motion))

    def rest(self, frames: int = 1) -> Motion:
        """The rest pose, standing on the floor at the origin."""
        rotation = np.tile(np.eye(3), (frames, len(JOINTS), 1, 1))
        return Motion(self.joints[:1].repeat(frames, 0), rotation, 30.0, "rest")


def skin(
    points: Float[np.ndarray, "v 3"], weights: Float[np.ndarray, "v j"], transforms: Float[np.ndarray, "t j 4 4"]
) -> Float64[np.ndarray, "t v 3"]:
    """Linear blend skinning: each point is carried by the weighted mean of the joints' matrices.

    Args:
        points: in the rest pose, metres.
        weights: of the joints; rows add up to 1.
        transforms: of the joints, from the rest pose to the world.
    """
    count, joints = len(transforms), transforms.shape[1]
    blended = weights.astype(np.float64) @ transforms[:, :, :3].reshape(count, joints, 12)
    matrices = blended.reshape(count, len(points), 3, 4)
    return (matrices[..., :3] @ points[:, :, None])[..., 0] + matrices[..., 3]


def vertex_normals(vertices: Float[np.ndarray, "t v 3"], faces: Int64[np.ndarray, "f 3"]) -> Float[np.ndarray, "t v 3"]:
    """Unit normals of vertices: the mean of their faces' normals, weighted by area."""
    a, b, c = (vertices[:, faces[:, i]] for i in range(3))
    area = np.cross(b - a, c - a)
    out = np.empty_like(vertices)
    index = faces.T.reshape(-1)
    for frame in range(len(vertices)):
        for axis in range(3):
            spread = np.tile(area[frame, :, axis], 3)
            out[frame, :, axis] = np.bincount(index, spread, minlength=vertices.shape[1])
    return out / np.maximum(np.linalg.norm(out, axis=-1, keepdims=True), 1e-12)


# --- the mesh ---------------------------------------------------------------------------------------------------------


def rest_joints(shape: Shape) -> Float64[np.ndarray, "j 3"]:
    """Where the joints of a body are in the rest pose."""
    s = shape.height_m / 1.75
    hip = 0.91 * s * shape.legs
    up = 0.84 * s - (hip - 0.91 * s)  # from the hips to the top of the head
    k = up / 0.84
    wide = s * shape.shoulders
    out = np.zeros((len(JOINTS), 3))
    for name, z in (("pelvis", 0.05), ("spine", 0.15), ("chest", 0.30), ("neck", 0.56), ("head", 0.66)):
        out[J[name]] = (0, 0, hip + z * k)
    for side, sign in (("left", 1), ("right", -1)):
        flip = np.array([1, sign, 1])
        shoulder = np.array([0, 0.175 * wide, hip + 0.50 * k])
        out[J[f"{side}_clavicle"]] = flip * (0, 0.03 * wide, hip + 0.50 * k)
        out[J[f"{side}_upper_arm"]] = flip * shoulder
        out[J[f"{side}_forearm"]] = flip * (shoulder + 0.285 * s * shape.arms * _DOWN)
        out[J[f"{side}_hand"]] = flip * (shoulder + 0.535 * s * shape.arms * _DOWN)
        for name, z in (("thigh", hip), ("shin", 0.495 * s * shape.legs), ("foot", 0.085 * s)):
            out[J[f"{side}_{name}"]] = flip * (0, 0.092 * s, z)
    return out


@dataclass
class _Tube:
    """Rings around a line of points: what a part of the mesh is made from."""

    part: int
    centres: list[np.ndarray] = field(default_factory=list)
    first: list[np.ndarray] = field(default_factory=list)  # half axis towards u = ½
    second: list[np.ndarray] = field(default_factory=list)  # half axis towards u = ¾
    weights: list[dict[int, float]] = field(default_factory=list)
    texture_from: float | int = 0.0  # where its texture begins, of 0..1 downwards

    def ring(
        self,
        centre: np.ndarray | Sequence[float | int],
        first: np.ndarray,
        second: np.ndarray,
        weights: dict[int, float],
    ) -> None:
        """One more ring: an ellipse about a centre, with its two half axes and its weights."""
        self.centres.append(np.asarray(centre, float))
        self.first.append(np.asarray(first, float))
        self.second.append(np.asarray(second, float))
        self.weights.append(weights)

    def mesh(self, columns: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Vertices, faces, weights and uv; the ends are closed, and a seam runs along u = 0."""
        count = len(self.centres)
        u = np.linspace(0, 1, columns + 1)
        along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(np.array(self.centres), axis=0), axis=1))])
        v = self.texture_from + (1 - self.texture_from) * along / max(along[-1], 1e-9)
        first, second = np.array(self.first), np.array(self.second)
        angle = 2 * np.pi * u - np.pi  # u = ½ is the direction of `first`
        rings = (
            np.array(self.centres)[:, None]
            + np.cos(angle)[None, :, None] * first[:, None]
            + np.sin(angle)[None, :, None] * second[:, None]
        )
        weights = np.zeros((count, len(JOINTS)))
        for row, given in enumerate(self.weights):
            for joint, value in given.items():
                weights[row, joint] = value
        vertices = np.concatenate([rings.reshape(-1, 3), self.centres[:1], self.centres[-1:]])
        uv = np.stack(np.broadcast_arrays(u[None], v[:, None]), -1).reshape(-1, 2)
        uv = np.concatenate([uv, [[0.5, self.texture_from], [0.5, 1]]])
        each = np.concatenate([weights.repeat(columns + 1, 0), weights[:1], weights[-1:]])
        faces = grid_faces(count, columns + 1)
        top, bottom, last = count * (columns + 1), count * (columns + 1) + 1, (count - 1) * (columns + 1)
        ends = [(top, i, i + 1) for i in range(columns)] + [(bottom, last + i + 1, last + i) for i in range(columns)]
        return vertices, np.concatenate([faces, np.array(ends)]), each, uv


def grid_faces(rows: int, columns: int) -> Int64[np.ndarray, "f 3"]:
    """Two triangles for each cell of a grid of vertices that lie row by row."""
    at = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = at[:-1, :-1].ravel(), at[:-1, 1:].ravel(), at[1:, :-1].ravel(), at[1:, 1:].ravel()
    return np.concatenate([np.stack([a, c, d], -1), np.stack([a, d, b], -1)])


def _blend(t: float | int, first: int, second: int) -> dict[int, float]:
    """Weights that pass from one joint to another as t goes from 0 to 1, smoothly."""
    t = float(np.clip(t, 0, 1))
    t = t * t * (3 - 2 * t)
    return {first: 1 - t, second: t} if 0 < t < 1 else {second: 1.0} if t >= 1 else {first: 1.0}


def make_body(shape: Shape | None = None, detail: int = 1) -> Body:
    """The body with given measures.

    Args:
        shape: its measures; None: the average.
        detail: 1 for about 1,500 vertices; 2 for twice as many around and along.
    """
    shape = shape or Shape()
    joints = rest_joints(shape)
    tubes = [_torso(shape, joints, detail), *_head(shape, joints, detail)]
    for side in ("left", "right"):
        tubes += _arm(shape, joints, side, detail)
    for side in ("left", "right"):
        tubes += _leg(shape, joints, side, detail)
    pieces: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
    start = 0
    for tube in tubes:
        vertices, faces, weights, uv = tube.mesh(14 * detail)
        pieces.append((vertices, faces + start, weights, uv, np.full(len(vertices), tube.part)))
        start += len(vertices)
    vertices, faces, weights, uv, part = (np.concatenate([piece[i] for piece in pieces]) for i in range(5))
    return Body(shape, joints, vertices, faces, weights.astype(np.float32), uv, part, _capsules(shape, joints))


_X, _Y, _Z = np.eye(3)
# height between hip (0) and neck (1), half depth, half width, shift forward: metres of an average body
_TORSO = (
    (-0.16, 0.055, 0.06, 0.0), (-0.13, 0.095, 0.13, -0.005), (-0.05, 0.118, 0.165, -0.008), (0.06, 0.112, 0.166,
    -0.003),
    (0.16, 0.100, 0.150, 0.004), (0.30, 0.094, 0.138, 0.006), (0.44, 0.100, 0.143, 0.006), (0.60, 0.110, 0.158, 0.004),
    (0.74, 0.114, 0.170, 0.002), (0.86, 0.100, 0.170, -0.006), (0.94, 0.072, 0.125, -0.008), (1.0, 0.056, 0.064,
    -0.002),
)  # fmt: skip


def _torso(shape: Shape, joints: np.ndarray, detail: int) -> _Tube:
    """From the neck down to the crotch."""
    tube = _Tube(0)
    s = shape.height_m / 1.75
    hip, neck = joints[J["left_thigh"], 2], joints[J["neck"], 2]
    levels = [(z, joint) for joint in (0, 1, 2, 3) for z in [joints[joint, 2]]]
    table = np.array(_TORSO)
    heights = np.interp(np.linspace(0, 1, 12 * detail), np.linspace(0, 1, len(table)), table[:, 0])[::-1]
    for h in heights:
        depth, width, forward = (np.interp(h, table[:, 0], table[:, i]) for i in (1, 2, 3))
        broad = shape.girth * (1 + (shape.shoulders - 1) * np.clip(h, 0, 1))
        z = hip + h * (neck - hip)
        place = int(np.clip(np.searchsorted([x for x, _ in levels], z) - 1, 0, 2))
        low, high = levels[place], levels[place + 1]
        middle = (z - low[0]) / (high[0] - low[0])
        weights = _blend(2 * middle - 0.5 if place < 2 else 2 * middle - 1.2, low[1], high[1])
        tube.ring(np.array([forward * s, 0, z]), depth * s * shape.girth * _X, width * s * broad * _Y, weights)
    return tube


def _head(shape: Shape, joints: np.ndarray, detail: int) -> list[_Tube]:
    """An ellipsoid, and the neck below it."""
    s = shape.height_m / 1.75
    top = shape.height_m
    base = joints[J["head"]]
    tube = _Tube(1)
    low = base[2] - 0.035 * s
    for angle in np.linspace(0.12, np.pi - 0.12, 10 * detail):
        z = (low + top) / 2 + (top - low) / 2 * np.cos(angle)
        r = np.sin(angle) * (1 - 0.10 * (1 - np.cos(angle)))
        tube.ring(np.array([0.018 * s, 0, z]), 0.102 * s * r * _X, 0.080 * s * r * _Y, {J["head"]: 1.0})
    neck = _Tube(1)
    for t in np.linspace(0, 1, 4):
        z = base[2] + 0.02 * s - t * (base[2] + 0.02 * s - joints[J["neck"], 2] + 0.03 * s)
        radius = (0.052 + 0.008 * t) * s * (0.6 + 0.4 * shape.girth)
        neck.ring(np.array([0.0, 0, z]), radius * _X, radius * _Y, _blend(t * 1.4 - 0.2, J["head"], J["neck"]))
    neck.texture_from = 0.85  # below hair and face
    return [tube, neck]


def _limb(
    tube: _Tube, points: list[np.ndarray], radii: list[list[float]], chain: list[int], front: np.ndarray, rings: int
) -> None:
    """Rings along a chain of bones.

    Args:
        tube: gets the rings.
        points: where bones begin and the last one ends.
        radii: radii at equal steps along each bone.
        chain: joint of each bone; the first one is the parent, which the limb's start belongs to.
        front: direction of u = ½.
        rings: of each bone.
    """
    for bone, (start, end) in enumerate(pairwise(points)):
        direction = (end - start) / np.linalg.norm(end - start)
        first = front - (front @ direction) * direction
        first /= np.linalg.norm(first)
        second = np.cross(first, direction)
        last = bone == len(points) - 2
        for t in np.linspace(0, 1, rings + last)[: rings + last] if last else np.arange(rings) / rings:
            radius = float(np.interp(t, np.linspace(0, 1, len(radii[bone])), radii[bone]))
            here, before = chain[bone + 1], chain[bone]
            if t < 0.25:
                weights = _blend(0.5 + 2 * t, before, here)
            elif t > 0.75 and bone + 2 < len(chain):
                weights = _blend(2 * t - 1.5, here, chain[bone + 2])
            else:
                weights = {here: 1.0}
            tube.ring(start + t * (end - start), radius * first, radius * second, weights)


def _arm(shape: Shape, joints: np.ndarray, side: str, detail: int) -> list[_Tube]:
    s, g = shape.height_m / 1.75, shape.girth * shape.height_m / 1.75
    flip = np.array([1, 1 if side == "left" else -1, 1])
    chain = [J[f"{side}_{name}"] for name in ("clavicle", "upper_arm", "forearm", "hand")]
    points = [joints[i] for i in chain[1:]]
    tube = _Tube(2 if side == "left" else 3)
    start = points[0] - 0.035 * s * flip * _DOWN
    tube.ring(start, 0.03 * g * _X, 0.03 * g * np.cross(_X, flip * _DOWN), {chain[0]: 1.0})
    _limb(tube, points, [[0.056 * g, 0.050 * g, 0.043 * g], [0.043 * g, 0.042 * g, 0.029 * g]], chain, _X, 6 * detail)
    hand = _Tube(tube.part)
    wrist = points[-1]
    side_axis = np.cross(_X, flip * _DOWN)
    for t in np.linspace(0.04, 0.98, 6 * detail):
        r = np.sin(np.pi * t**0.8) ** 0.6
        hand.ring(
            wrist + flip * _DOWN * 0.185 * s * (t - 0.06),
            0.042 * s * r * _X,
            0.017 * s * r * side_axis,
            {chain[3]: 1.0},
        )
    return [tube, hand]


def _leg(shape: Shape, joints: np.ndarray, side: str, detail: int) -> list[_Tube]:
    s, g = shape.height_m / 1.75, shape.girth * shape.height_m / 1.75
    chain = [0, *(J[f"{side}_{name}"] for name in ("thigh", "shin", "foot"))]
    points = [joints[i] for i in chain[1:]]
    tube = _Tube(4 if side == "left" else 5)
    tube.ring(points[0] + 0.05 * s * _Z, 0.085 * g * _X, 0.075 * g * _Y, {0: 1.0})
    radii = [[0.092 * g, 0.086 * g, 0.070 * g, 0.056 * g], [0.056 * g, 0.057 * g, 0.045 * g, 0.036 * g]]
    _limb(tube, points, radii, chain, _X, 7 * detail)
    foot = _Tube(tube.part)
    ankle = points[-1]
    for t in np.linspace(0.03, 0.97, 8 * detail):
        r = np.sin(np.pi * t) ** 0.45
        x = (-0.075 + 0.265 * t) * s
        high = np.interp(t, [0, 0.3, 1], [0.045, 0.05, 0.022]) * s * r
        foot.ring(ankle + np.array([x, 0, high - 0.085 * s]), high * _Z, 0.046 * s * r * _Y, {chain[3]: 1.0})
    return [tube, foot]


def _capsules(shape: Shape, joints: np.ndarray) -> tuple[tuple[int, np.ndarray, np.ndarray, float, float], ...]:
    """Bones with radii that hold the mesh, for cloth to stay outside of."""
    s, g = shape.height_m / 1.75, shape.girth * shape.height_m / 1.75
    out: list[tuple[int, np.ndarray, np.ndarray, float, float]] = []
    hip, chest, neck = joints[J["left_thigh"]], joints[J["chest"]], joints[J["neck"]]
    for sign in (1, -1):
        out.append(
            (
                0,
                _at(0, sign * 0.052 * g, hip[2] - 0.06 * s),
                _at(0, sign * 0.05 * g, joints[1, 2]),
                0.118 * g,
                0.103 * g,
            )
        )
        out.append((1, _at(0, sign * 0.05 * g, joints[1, 2]), _at(0, sign * 0.045 * g, chest[2]), 0.1 * g, 0.1 * g))
        out.append(
            (2, _at(0, sign * 0.05 * g, chest[2]), _at(0, sign * 0.06 * g, neck[2] - 0.1 * s), 0.1 * g, 0.112 * g)
        )
    for side in ("left", "right"):
        flip = np.array([1, 1 if side == "left" else -1, 1])
        at = {name: joints[J[f"{side}_{name}"]] for name in ("upper_arm", "forearm", "hand", "thigh", "shin", "foot")}
        out.append((J[f"{side}_upper_arm"], at["upper_arm"], at["forearm"], 0.057 * g, 0.044 * g))
        out.append((J[f"{side}_forearm"], at["forearm"], at["hand"], 0.044 * g, 0.033 * g))
        out.append((J[f"{side}_hand"], at["hand"], at["hand"] + flip * _DOWN * 0.15 * s, 0.033 * s, 0.03 * s))
        out.append((J[f"{side}_thigh"], at["thigh"], at["shin"], 0.093 * g, 0.058 * g))
        out.append((J[f"{side}_shin"], at["shin"], at["foot"], 0.059 * g, 0.04 * g))
        out.append(
            (
                J[f"{side}_foot"],
                at["foot"] - 0.04 * s * _Z,
                at["foot"] + np.array([0.15, 0, -0.055]) * s,
                0.045 * s,
                0.035 * s,
            )
        )
    return tuple(out)


def _at(x: float | int, y: float | int, z: float | int) -> np.ndarray:
    return np.array([x, y, z])
