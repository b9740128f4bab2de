"""Cloth by position-based dynamics (Müller et al., 2007): skirts, coat tails and wide sleeves on a moving body.

A garment is a grid of particles. Its upper rows are fixed to the body by linear blend skinning; the others fall, are
held together by the lengths of the grid's edges and diagonals, and stay outside of the body's capsules. Constraints
are solved in groups that share no particle, so that a group is one array operation, the result does not depend on any
order of threads, and the same motion always gives the same cloth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int64

from percepta.geometry.body import JOINTS, Body, J, Motion, grid_faces, skin

GRAVITY = np.array([0.0, 0.0, -9.81])


@dataclass(frozen=True)
class Garment:
    """A piece of cloth in the rest pose.

    Attributes:
        name: "skirt", "coat", "left_sleeve" or "right_sleeve".
        rows, columns: of the grid; a closed garment's last column is its first one again.
        closed: whether it goes all the way round.
        vertices: in the rest pose, row by row, `v 3`.
        weights: of the joints, used for the fixed rows and for the start, `v 19`.
        fixed: how many upper rows the body carries.
        collides: joints whose capsules keep it away.
    """

    name: str
    rows: int
    columns: int
    closed: bool
    vertices: Float64[np.ndarray, "v 3"]
    weights: Float[np.ndarray, "v j"]
    fixed: int
    collides: tuple[int, ...]

    @property
    def faces(self) -> Int64[np.ndarray, "f 3"]:
        """Triangles."""
        return grid_faces(self.rows, self.columns)

    @property
    def uv(self) -> Float64[np.ndarray, "v 2"]:
        """u along a row, v from the upper row down."""
        u, v = np.meshgrid(np.linspace(0, 1, self.columns), np.linspace(0, 1, self.rows))
        return np.stack([u, v], -1).reshape(-1, 2)


def _grid(
    body: Body,
    top: float | int,
    bottom: float | int,
    start: tuple[float, float],
    end: tuple[float, float],
    rows: int,
    angles: np.ndarray,
) -> np.ndarray:
    """Points on ellipses that grow from the upper row to the lower one.

    Args:
        body: whose middle is taken.
        top, bottom: heights of the upper and lower row, metres.
        start, end: half axes (depth, width) of the upper and lower row.
        rows: how many.
        angles: of the columns; 0 is in front, positive to the left.
    """
    t = np.linspace(0, 1, rows)[:, None]
    depth, width = start[0] + (end[0] - start[0]) * t, start[1] + (end[1] - start[1]) * t
    z = np.broadcast_to(top + (bottom - top) * t, (rows, len(angles)))
    return np.stack([depth * np.cos(angles), width * np.sin(angles), z], -1).reshape(-1, 3)


def _even(joints: dict[str, float], count: int) -> np.ndarray:
    out = np.zeros((count, len(JOINTS)))
    for name, share in joints.items():
        out[:, J[name]] = share
    return out


def skirt(body: Body, length: float | int = 0.55, flare: float | int = 2.2, columns: int = 40) -> Garment:
    """A skirt from the waist down.

    Args:
        body: who wears it.
        length: share of the leg that it covers, 0..1.
        flare: circumference at the hem over that at the waist.
        columns: of its grid.
    """
    s, g = body.shape.height_m / 1.75, body.shape.girth * body.shape.height_m / 1.75
    top = body.joints[J["spine"], 2] - 0.01 * s
    bottom = top - (0.17 * s + length * body.joints[J["left_thigh"], 2] * 0.9)
    rows = 6 + int(26 * length)
    angles = np.linspace(-np.pi, np.pi, columns + 1)
    start = (0.112 * g, 0.158 * g)
    # the hem in the rest pose hangs nearer than its cloth allows; the surplus falls into folds
    vertices = _grid(body, top, bottom, start, (start[0] * flare * 0.92, start[1] * flare * 0.8), rows, angles)
    legs = [J[f"{side}_{name}"] for side in ("left", "right") for name in ("thigh", "shin", "hand", "forearm")]
    weights = _even({"pelvis": 0.75, "spine": 0.25}, len(vertices))
    return Garment("skirt", rows, columns + 1, True, vertices, weights, 2, (0, *legs))


def coat(body: Body, length: float | int = 0.75, columns: int = 44) -> Garment:
    """A long coat, open in front: fixed at the chest, loose from the waist down.

    Args:
        body: who wears it.
        length: share of the leg that it covers, 0..1.
        columns: of its grid.
    """
    s, g = body.shape.height_m / 1.75, body.shape.girth * body.shape.height_m / 1.75
    top, waist = body.joints[J["neck"], 2] - 0.19 * s, body.joints[J["spine"], 2] + 0.02 * s
    bottom = waist - (0.17 * s + length * body.joints[J["left_thigh"], 2] * 0.85)
    angles = np.linspace(0.16, 2 * np.pi - 0.16, columns)
    upper = _grid(body, top, waist, (0.135 * g, 0.186 * g), (0.125 * g, 0.172 * g), 6, angles)
    lower = _grid(body, waist, bottom, (0.125 * g, 0.172 * g), (0.235 * g, 0.28 * g), 22, angles)
    vertices = np.concatenate([upper, lower[columns:]])
    rows = len(vertices) // columns
    weights = np.zeros((len(vertices), len(JOINTS)))
    height = (vertices[:, 2] - waist) / (top - waist)
    weights[:, J["chest"]] = np.clip(height, 0, 1)
    weights[:, J["spine"]] = 1 - np.clip(height, 0, 1)
    legs = [J[f"{side}_{name}"] for side in ("left", "right") for name in ("thigh", "shin")]
    return Garment("coat", rows, columns, False, vertices, weights, 6, (0, 1, *legs))


def sleeve(body: Body, side: str, flare: float | int = 2.6, columns: int = 20) -> Garment:
    """A wide sleeve from the middle of the upper arm to the wrist.

    Args:
        body: who wears it.
        side: "left" or "right".
        flare: circumference at the wrist over that at the upper arm.
        columns: of its grid.
    """
    g = body.shape.girth * body.shape.height_m / 1.75
    shoulder, elbow, wrist = (body.joints[J[f"{side}_{name}"]] for name in ("upper_arm", "forearm", "hand"))
    down = (wrist - shoulder) / np.linalg.norm(wrist - shoulder)
    start = shoulder + 0.45 * (elbow - shoulder)
    ahead = np.array([1.0, 0, 0])
    across = np.cross(ahead, down)
    rows = 12
    t = np.linspace(0, 1, rows)[:, None, None]
    angles = np.linspace(-np.pi, np.pi, columns + 1)[None, :, None]
    radius = 0.066 * g * (1 + (flare - 1) * t)
    ring = np.cos(angles) * ahead + np.sin(angles) * across
    vertices = (start + t * (wrist + 0.02 * down - start) + radius * ring).reshape(-1, 3)
    weights = _even({f"{side}_upper_arm": 1.0}, len(vertices))
    lower = (vertices - elbow) @ down > 0
    weights[lower] = _even({f"{side}_forearm": 1.0}, int(lower.sum()))
    near = [J[f"{side}_{name}"] for name in ("upper_arm", "forearm", "hand")]
    return Garment(f"{side}_sleeve", rows, columns + 1, True, vertices, weights, 2, (*near, 0, 1, 2))


@dataclass(frozen=True)
class Fabric:
    """How cloth behaves.

    Attributes:
        stretch: how stiffly edges keep their length, 0..1 a solver's step.
        bend: the same of edges across two cells: high for stiff cloth.
        drag: share of the speed that is lost in a second.
        margin_m: how far from the body it stays.
        substeps: of a frame. iterations: of the solver in each.
    """

    stretch: float | int = 1.0
    bend: float | int = 0.08
    drag: float | int = 0.8
    margin_m: float | int = 0.012
    substeps: int = 4
    iterations: int = 5


def simulate(
    garment: Garment, body: Body, motion: Motion, fabric: Fabric | None = None, *, settle_s: float | int = 1.0
) -> Float64[np.ndarray, "t v 3"]:
    """Where a garment's particles are in each frame of a motion; follows from its arguments alone.

    Before the motion starts, the body goes from the rest pose to the first pose and the cloth comes to rest.

    Args:
        garment: the cloth.
        body: who wears it.
        motion: what the body does.
        fabric: how the cloth behaves; None: the usual one.
        settle_s: time for coming to rest before the first frame.
    """
    fabric = fabric or Fabric()
    fps = motion.fps
    before = max(round(settle_s * fps), 2)
    steps = np.concatenate([np.linspace(0, 1, before - before // 2), np.ones(before // 2)])
    first = motion.part(0, 1)
    rest = body.rest()
    turned = rest.moved(float(np.arctan2(first.rotation[0, 0, 1, 0], first.rotation[0, 0, 0, 0])))
    pair = Motion(
        np.stack([turned.root[0] * (0, 0, 1) + first.root[0] * (1, 1, 0), first.root[0]]),
        np.stack([turned.rotation[0], first.rotation[0]]),
        1.0,
    )
    lead = pair.at(steps)
    whole = Motion(np.concatenate([lead.root, motion.root]), np.concatenate([lead.rotation, motion.rotation]), fps)
    fine = whole.at(np.arange((len(whole) - 1) * fabric.substeps + 1) / (fps * fabric.substeps))
    transforms = body.transforms(fine)
    held = garment.fixed * garment.columns
    carried = skin(garment.vertices[:held], garment.weights[:held], transforms)
    groups = _groups(garment, fabric)
    capsules = [capsule for capsule in body.capsules if capsule[0] in garment.collides]
    position = skin(garment.vertices, garment.weights, transforms[:1])[0]
    previous = position.copy()
    seam = np.arange(garment.rows) * garment.columns
    dt = 1 / (fps * fabric.substeps)
    keep = (1 - fabric.drag) ** dt
    out = np.empty((len(motion), len(position), 3))
    free = np.arange(held, len(position))
    moves = (np.arange(len(position)) >= held).astype(float)
    for step in range(len(fine)):
        speed = (position - previous) * keep
        previous = position
        position = position + np.where(moves[:, None] > 0, speed + GRAVITY * dt * dt, 0)
        position[:held] = carried[step]
        ends = _ends(capsules, transforms[step])
        for _ in range(fabric.iterations):
            for first_, second, length, stiffness, share in groups:
                apart = position[second] - position[first_]
                distance = np.sqrt((apart * apart).sum(-1))
                change = apart * (stiffness * (distance - length) / np.maximum(distance, 1e-9))[:, None]
                position[first_] += change * share[0]
                position[second] -= change * share[1]
            if garment.closed:
                position[seam + garment.columns - 1] = position[seam]
        position[free] = _outside(position[free], ends, fabric.margin_m)
        position[free, 2] = np.maximum(position[free, 2], fabric.margin_m)
        if garment.closed:
            position[seam + garment.columns - 1] = position[seam]
        if step >= before * fabric.substeps and (step - before * fabric.substeps) % fabric.substeps == 0:
            out[(step - before * fabric.substeps) // fabric.substeps] = position
    return out


def _groups(
    garment: Garment, fabric: Fabric
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Edges in groups without common particles: (first, second, length, stiffness, shares of the correction)."""
    rows, columns = garment.rows, garment.columns - garment.closed
    at = np.arange(garment.rows * garment.columns).reshape(garment.rows, garment.columns)[:, :columns]
    pairs: list[tuple[np.ndarray, np.ndarray, float]] = []

    def across(step: int, down: int, stiffness: float | int, phases: int) -> None:
        """Edges that go `step` columns to the right and `down` rows, in groups by column or by row."""
        r, c = np.meshgrid(np.arange(rows - down), np.arange(columns), indexing="ij")
        r, c = r.ravel(), c.ravel()
        if not garment.closed:
            inside = (c + step >= 0) & (c + step < columns)
            r, c = r[inside], c[inside]
        group = (r // down % 2 if down else c // step % phases) if not (down and step) else r % 2
        for number in range(int(group.max()) + 1):
            chosen = group == number
            pairs.append((at[r[chosen], c[chosen]], at[r[chosen] + down, (c[chosen] + step) % columns], stiffness))

    across(1, 0, fabric.stretch, 2)
    across(0, 1, fabric.stretch, 2)
    across(1, 1, 0.4 * fabric.stretch, 2)
    across(-1, 1, 0.4 * fabric.stretch, 2)
    across(2, 0, fabric.bend, 2)
    across(0, 2, fabric.bend, 2)
    held = garment.fixed * garment.columns
    out = []
    for first, second, stiffness in pairs:
        length = np.linalg.norm(garment.vertices[second] - garment.vertices[first], axis=-1)
        free = np.stack([first >= held, second >= held]).astype(float)
        some = free.sum(0) > 0
        share = (free / np.maximum(free.sum(0), 1))[:, some, None]
        out.append((first[some], second[some], length[some], np.full(int(some.sum()), stiffness), share))
    return out


def _ends(
    capsules: list[tuple[int, np.ndarray, np.ndarray, float, float]], transforms: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Starts, ends and radii of capsules in the world."""
    joints = [capsule[0] for capsule in capsules]
    turn, shift = transforms[joints, :3, :3], transforms[joints, :3, 3]
    start = np.einsum("cij,cj->ci", turn, np.array([capsule[1] for capsule in capsules])) + shift
    end = np.einsum("cij,cj->ci", turn, np.array([capsule[2] for capsule in capsules])) + shift
    return start, end, np.array([capsule[3] for capsule in capsules]), np.array([capsule[4] for capsule in capsules])


def _outside(points: np.ndarray, ends: tuple[np.ndarray, ...], margin: float | int) -> np.ndarray:
    """Points pushed out of capsules, one capsule after the other."""
    start, end, r0, r1 = ends
    axis = end - start
    square = np.maximum((axis * axis).sum(-1), 1e-12)
    t = np.clip((points @ axis.T - (start * axis).sum(-1)) / square, 0, 1)
    for number in range(len(start)):
        away = points - start[number] - t[:, number, None] * axis[number]
        distance = np.sqrt((away * away).sum(-1))
        radius = r0[number] + (r1[number] - r0[number]) * t[:, number] + margin
        inside = np.flatnonzero(distance < radius)
        if len(inside):
            grow = (radius[inside] / np.maximum(distance[inside], 1e-6) - 1)[:, None]
            points[inside] += away[inside] * grow
    return points
