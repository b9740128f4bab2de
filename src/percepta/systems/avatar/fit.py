"""Our body fitted to what several cameras have seen: to 3-D points of joints, to hulls and masks, or to all of them.

What is looked for are the pelvis, the turn of each joint in its parent's coordinates, and small changes of the body's
measures, in which joints and mesh are taken to be linear. What is made small, by Adam, over all frames at once:

    points     distances of the body's landmarks from triangulated points, each with its weight
    masks      how far vertices of the body lie outside of the masks, metres at their depth
    cover      how far pixels of the masks lie outside of the body's capsules as a camera sees them, with little weight
               for those far away, which may be somebody's chair
    prior      turns of the joints, measured by how far each one usually turns; knees and elbows are hinges
    smoothness acceleration of the joints

Frames are first fitted one after the other, each from the one before, then together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from percepta.datasets.mocap import place_joints
from percepta.errors import InputError
from percepta.geometry import pose as poses
from percepta.geometry.body import JOINTS, PARENTS, Body, J, Motion, Shape, make_body
from percepta.systems.avatar.hull import View

MEASURES = ("height_m", "girth", "legs", "arms", "shoulders")
# How far a joint usually turns, radians; hinges have a second number for the turns that they do not have.
_TURNS = {
    "spine": 0.3, "chest": 0.3, "neck": 0.35, "head": 0.4, "clavicle": 0.2, "upper_arm": 1.2, "hand": 0.3, "thigh": 0.8,
    "foot": 0.4,
}  # fmt: skip
_ASIDE, _BENT = 0.15, 1.2
_DOWN = np.array([0, np.sqrt(0.5), -np.sqrt(0.5)])  # of the left arm in the rest pose
# Landmarks that are no joints: the joint they hang on, and where from it in the rest pose of a body of 1.75 m.
_AWAY = {
    "nose": ("head", (0.125, 0.0, 0.055)), "left_eye": ("head", (0.10, 0.032, 0.085)),
    "right_eye": ("head", (0.10, -0.032, 0.085)), "left_ear": ("head", (0.02, 0.078, 0.065)),
    "right_ear": ("head", (0.02, -0.078, 0.065)), "neck": ("chest", (0.0, 0.0, 0.20)),
    "mid_hip": ("pelvis", (0.0, 0.0, -0.05)),
    "left_big_toe": ("foot", (0.18, -0.03, -0.065)), "left_small_toe": ("foot", (0.15, 0.04, -0.065)),
    "left_heel": ("foot", (-0.06, 0.0, -0.065)),
}  # fmt: skip
_JOINT_OF = {
    "shoulder": "upper_arm",
    "elbow": "forearm",
    "wrist": "hand",
    "hip": "thigh",
    "knee": "shin",
    "ankle": "foot",
}


@dataclass(frozen=True)
class Weights:
    """Of what is made small; lengths are divided by `unit_m` first."""

    unit_m: float = 0.03
    """A distance that counts as 1, metres."""
    points: float = 1.0
    """Of the landmarks."""
    masks: float = 6.0
    """Of vertices outside of masks."""
    cover: float = 1.0
    """Of pixels of masks outside of the body."""
    far_m: float = 0.12
    """Pixels farther from the body than this hardly count, metres."""
    prior: float = 0.01
    """Of the joints' turns."""
    smooth: float = 0.05
    """Of accelerations."""
    usual_m_s2: float = 15.0
    """An acceleration that counts as 1, metres per second squared."""
    measures: float = 0.02
    """Of changes of the body's measures, each divided by 0.08."""
    shifts: float = 0.02
    """Of how far the cameras' principal points are shifted, each divided by 1 % of its focal length."""


@dataclass(frozen=True)
class Observed:
    """What is known of each frame. `points`, or `masks` with `views` and `hulls`, or all of them are given.

    Attributes:
        fps: frames a second.
        points: landmarks of the body in the world, metres, `t k 3`; NaN where one is not known.
        sure: weight of each landmark, 0..1, `t k`.
        names: of the landmarks, as `datasets.keypoints.POINTS` has them.
        hulls: middles of cubes that the person fills, metres, `n 3` for each frame: where the search begins.
        masks: of each frame and view.
        views: the cameras of the masks.
    """

    fps: float | int
    points: Float64[np.ndarray, "t k 3"] | None = None
    sure: Float64[np.ndarray, "t k"] | None = None
    names: tuple[str, ...] = ()
    hulls: Sequence[Float64[np.ndarray, "_ 3"]] = ()
    masks: Sequence[Sequence[Bool[np.ndarray, "_ _"]]] = ()
    views: Sequence[View] = ()

    def __len__(self) -> int:
        return len(self.hulls) if self.points is None else len(self.points)


@dataclass(frozen=True)
class Fitted:
    """What was found.

    Attributes:
        shape: measures of the body.
        motion: its poses.
        views: the cameras, their principal points shifted so that all of them agree with the body.
    """

    shape: Shape
    motion: Motion
    views: tuple[View, ...]


Told = Callable[[str, int, int], None]
"""Called with what is done, steps done and steps in all."""


def fit(
    observed: Observed,
    shape: Shape | None = None,
    *,
    facing_deg: float | int | None = None,
    weights: Weights | None = None,
    steps: int = 200,
    told: Told | None = None,
) -> Fitted:
    """Measures and poses of the body that fit best what was observed.

    Args:
        observed: of all frames.
        shape: what the measures start from; None: the average.
        facing_deg: where the person looks in the first frame, degrees from x towards y; None: from the hips and
            shoulders among the points, or else the best of eight directions.
        weights: of what is made small; None: the usual ones.
        steps: of the last part, in which all frames are fitted together; the first frame alone takes as many.
        told: is called as it goes on.

    Raises:
        InputError: there is nothing to fit to, or nothing in the first frame.
    """
    if not len(observed):
        raise InputError("there is nothing that the body could be fitted to: no frames with points or hulls")
    problem = _Problem(observed, shape or Shape(), weights or Weights())
    root, turns = problem.begin(facing_deg, steps + 50)
    for frame in range(1, len(observed)):
        if told is not None:
            told("poses one after the other", frame, len(observed))
        start = _Unknown(root[-1:], turns[-1:], shifts=problem.no_shifts)
        found = problem.solve(start, [frame], steps=30 if observed.points is None else 15, rate=0.04)
        root, turns = torch.cat([root, found.root]), torch.cat([turns, found.turns])
    every = list(range(len(observed)))
    unknown = _Unknown(root, turns, shifts=problem.no_shifts)
    for part in (0, 1):  # the second time with the measures found: they are linear only near by
        unknown = problem.solve(unknown, every, steps=steps // 2, rate=0.02, measures=True, told=told)
        problem = _Problem(observed, problem.measured(unknown), problem.weights)
        unknown = replace(unknown, measures=None)
        if part:
            unknown = problem.solve(unknown, every, steps=steps // 4, rate=0.01, told=told)
    # Rotations are made orthonormal in double precision.
    local = poses.from_vector(unknown.turns.double().numpy())
    rotation, _ = place_joints(PARENTS, local, np.zeros(local.shape[:3]))
    motion = Motion(unknown.root.double().numpy(), rotation, observed.fps, "fitted")
    views = []
    for (camera, pose), (x, y) in zip(observed.views, unknown.shifts.tolist(), strict=True):
        views.append((replace(camera, cx=camera.cx + x * camera.fx, cy=camera.cy + y * camera.fy), pose))
    return Fitted(problem.template.body.shape, motion, tuple(views))


@dataclass(frozen=True)
class _Unknown:
    """What is looked for.

    Attributes:
        root: the pelvis, metres. turns: rotation vectors in the parents' coordinates, radians.
        shifts: of the views' principal points, as a share of their focal lengths.
        measures: changes of MEASURES; None: they stay.
    """

    root: Float[Tensor, "t 3"]
    turns: Float[Tensor, "t 19 3"]
    shifts: Float[Tensor, "_ 2"]
    measures: Float[Tensor, " 5"] | None = None


def _rotation(vector: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    """Rodrigues' formula."""
    angle = (vector.square().sum(-1, keepdim=True) + 1e-12).sqrt()[..., None]
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    return torch.eye(3) + angle.sin() / angle * cross + (1 - angle.cos()) / angle.square() * (cross @ cross)


class _Template:
    """The body and what small changes of its measures do to joints, vertices and capsules."""

    def __init__(self, shape: Shape) -> None:
        self.body = make_body(shape)
        self.chosen = np.arange(0, len(self.body.vertices), 5)
        self.weights = torch.from_numpy(self.body.weights[self.chosen]).float()
        now = self._numbers(self.body)
        changed = []
        for name in MEASURES:
            step = 1e-3
            other = self._numbers(make_body(replace(shape, **{name: getattr(shape, name) + step})))
            changed.append([(b - a) / step for a, b in zip(now, other, strict=True)])
        self.now = [torch.from_numpy(x).float() for x in now]
        self.slopes = [torch.from_numpy(np.stack(x)).float() for x in zip(*changed, strict=True)]
        self.bones = torch.tensor([c[0] for c in self.body.capsules] + [J["head"]])

    def _numbers(self, body: Body) -> list[np.ndarray]:
        s = body.shape.height_m / 1.75
        low, high = body.joints[J["head"], 2] + 0.055 * s, body.shape.height_m - 0.09 * s
        ends = [(c[1], c[2]) for c in body.capsules] + [(np.array([0.018 * s, 0, low]), np.array([0.018 * s, 0, high]))]
        radii = [(c[3], c[4]) for c in body.capsules] + [(0.09 * s, 0.09 * s)]
        return [body.joints, body.vertices[self.chosen], np.array(ends), np.array(radii)]

    def numbers(self, measures: Tensor | None) -> list[Tensor]:
        """Joints `19 3`, vertices `v 3`, ends `k 2 3` and radii `k 2` of capsules, in the rest pose."""
        if measures is None:
            return self.now
        return [a + torch.tensordot(measures, b, 1) for a, b in zip(self.now, self.slopes, strict=True)]

    def pose(self, unknown: _Unknown) -> tuple[Float[Tensor, "t 19 3 3"], Float[Tensor, "t 19 3"]]:
        """Rotation of each joint in the world away from the rest pose, and where it is."""
        joints = self.numbers(unknown.measures)[0]
        local = _rotation(unknown.turns)
        rotation: list[Tensor] = [local[:, 0]]
        place: list[Tensor] = [unknown.root]
        for joint, parent in enumerate(PARENTS[1:], 1):
            rotation.append(rotation[parent] @ local[:, joint])
            place.append(place[parent] + rotation[parent] @ (joints[joint] - joints[parent]))
        return torch.stack(rotation, 1), torch.stack(place, 1)

    def skinned(self, unknown: _Unknown, rotation: Tensor, place: Tensor) -> Float[Tensor, "t v 3"]:
        """Some vertices in the world."""
        joints, vertices, _, _ = self.numbers(unknown.measures)
        each = torch.einsum("tjab,vjb->tvja", rotation, vertices[:, None] - joints) + place[:, None]
        return (each * self.weights[..., None]).sum(2)

    def capsules(self, unknown: _Unknown, rotation: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        """Ends `t k 2 3` and radii `k 2` in the world."""
        joints, _, ends, radii = self.numbers(unknown.measures)
        away = ends - joints[self.bones][:, None]
        return torch.einsum("tkab,kcb->tkca", rotation[:, self.bones], away) + place[:, self.bones][:, :, None], radii


def _hinges() -> tuple[Tensor, Tensor, Tensor]:
    """Width of each joint's turn `19 3`, axis of its hinge `19 3` (0 for none), and which are hinges."""
    width, axis = np.full((len(JOINTS), 3), 1e3), np.zeros((len(JOINTS), 3))
    for joint, name in enumerate(JOINTS):
        plain = name.removeprefix("left_").removeprefix("right_")
        if plain == "shin":
            axis[joint], width[joint] = (0, 1, 0), _ASIDE
        elif plain == "forearm":
            down = _DOWN * (1, 1 if name.startswith("left") else -1, 1)
            axis[joint], width[joint] = np.cross(down, (1, 0, 0)), _ASIDE
        elif plain in _TURNS:
            width[joint] = _TURNS[plain]
    hinge = torch.from_numpy(np.linalg.norm(axis, axis=1) > 0)
    return torch.from_numpy(width).float(), torch.from_numpy(axis).float(), hinge


class _Problem:
    """What is made small, for the frames that are asked for."""

    def __init__(self, observed: Observed, shape: Shape, weights: Weights) -> None:
        self.observed, self.weights = observed, weights
        self.template = _Template(shape)
        self.width, self.axis, self.hinge = _hinges()
        self.points = self.sure = None
        if observed.points is not None and observed.sure is not None:
            known = np.asarray(np.isfinite(observed.points).all(-1))
            self.points = torch.from_numpy(np.where(known[..., None], observed.points, 0)).float()
            self.sure = torch.from_numpy(np.where(known, observed.sure, 0)).float()
            self.marks = [_landmark(name, shape) for name in observed.names]
        self.no_shifts = torch.zeros(len(observed.views), 2)
        self.pixels: list[tuple[Tensor, Tensor]] = []
        if observed.masks:
            self.pixels = _sampled(observed.masks)
            self.outside = _distances(observed.masks)
            self.cameras = [(c, torch.from_numpy(poses.inverse(p)).float()) for c, p in observed.views]

    def begin(self, facing_deg: float | int | None, steps: int) -> tuple[Tensor, Tensor]:
        """Root `1 3` and turns `1 19 3` of the first frame."""
        middle, facing = self._place(), facing_deg
        if facing is None and self.points is not None:
            facing = self._facing()
        angles = np.radians([facing] if facing is not None else np.arange(0, 360, 45))
        root = middle.expand(len(angles), 3).clone()
        turns = torch.zeros(len(angles), len(JOINTS), 3)
        turns[:, 0, 2] = torch.from_numpy(angles).float()
        arms = [J["left_upper_arm"], J["right_upper_arm"]]
        turns[:, arms, 0] = torch.tensor([-0.5, 0.5])  # hanging down
        found = self.solve(_Unknown(root, turns, shifts=self.no_shifts), [0] * len(angles), steps=steps, rate=0.03)
        with torch.no_grad():
            best = int(self.loss(found, [0] * len(angles)).argmin())
        return found.root[best : best + 1], found.turns[best : best + 1]

    def _place(self) -> Tensor:
        """Where the pelvis is in the first frame, about."""
        if self.points is not None and self.sure is not None and bool((self.sure[0] > 0).any()):
            hips = [i for i, name in enumerate(self.observed.names) if "hip" in name and self.sure[0, i] > 0]
            chosen = torch.tensor(hips) if hips else self.sure[0].nonzero()[:, 0]
            return self.points[0, chosen].mean(0)
        if not self.observed.hulls or not len(self.observed.hulls[0]):
            raise InputError("nothing is known of the person in the first frame; begin with one that all cameras see")
        cloud = self.observed.hulls[0]
        high = np.quantile(cloud[:, 2], 0.01) + 0.54 * np.ptp(np.quantile(cloud[:, 2], [0.01, 0.99]))
        return torch.tensor([*np.median(cloud[:, :2], 0), high]).float()

    def _facing(self) -> float | None:
        """Degrees from x towards y in which hips and shoulders look in the first frame; None where they are unknown."""
        assert self.points is not None and self.sure is not None
        place = {name: i for i, name in enumerate(self.observed.names)}
        across = torch.zeros(3)
        for part in ("hip", "shoulder"):
            left, right = place.get(f"left_{part}"), place.get(f"right_{part}")
            if left is not None and right is not None and self.sure[0, left] > 0 and self.sure[0, right] > 0:
                across += self.points[0, left] - self.points[0, right]
        x, y, _ = across.tolist()
        return None if np.hypot(x, y) < 0.05 else float(np.degrees(np.arctan2(-x, y)))

    def solve(
        self,
        start: _Unknown,
        frames: list[int],
        *,
        steps: int,
        rate: float,
        measures: bool = False,
        told: Told | None = None,
    ) -> _Unknown:
        """Adam from `start`; rows of it belong to the frames."""
        root, turns = start.root.clone().requires_grad_(), start.turns.clone().requires_grad_()
        change = torch.zeros(5, requires_grad=measures)
        shifts = start.shifts.clone().requires_grad_(measures and len(start.shifts) > 0)
        groups = [{"params": [root, turns], "lr": rate}]
        if measures:
            groups += [{"params": [change], "lr": rate}, {"params": [shifts], "lr": 0.02 * rate}]
        usual = [group["lr"] for group in groups]
        optimizer = torch.optim.Adam(groups)
        for step in range(steps):
            for group, its in zip(optimizer.param_groups, usual, strict=True):
                group["lr"] = its * (1 - 0.9 * step / steps)
            unknown = _Unknown(root, turns, shifts, change if measures else None)
            optimizer.zero_grad()
            loss = self.loss(unknown, frames).sum()
            if measures:
                loss = loss + len(frames) * self.weights.measures * (change / 0.08).square().sum()
                loss = loss + len(frames) * self.weights.shifts * (shifts / 0.01).square().sum()
            together = len(set(frames)) == len(frames) > 2
            if together:
                loss = loss + len(frames) * self.weights.smooth * self._unsteady(unknown)
            loss.backward()
            optimizer.step()
            if told is not None and step % 10 == 0:
                told("all poses together", step, steps)
        return _Unknown(root.detach(), turns.detach(), shifts.detach(), change.detach() if measures else None)

    def measured(self, unknown: _Unknown) -> Shape:
        """The measures with their changes, as people have them."""
        shape = self.template.body.shape
        if unknown.measures is None:
            return shape
        bounds = ((1.0, 2.2), (0.7, 1.6), (0.85, 1.15), (0.85, 1.15), (0.8, 1.25))
        values = [
            float(np.clip(getattr(shape, name) + change, *bound))
            for name, change, bound in zip(MEASURES, unknown.measures.tolist(), bounds, strict=True)
        ]
        return Shape(*values)

    def _unsteady(self, unknown: _Unknown) -> Tensor:
        place = self.template.pose(unknown)[1]
        second = (place[2:] - 2 * place[1:-1] + place[:-2]) * self.observed.fps**2
        return (second / self.weights.usual_m_s2).square().sum(-1).mean()

    def loss(self, unknown: _Unknown, frames: list[int]) -> Float[Tensor, " t"]:
        """Of each frame, without smoothness and measures."""
        w, template = self.weights, self.template
        rotation, place = template.pose(unknown)
        bend = (unknown.turns * self.axis).sum(-1)
        aside = unknown.turns - bend[..., None] * self.axis
        total = w.prior * (aside / self.width).square().sum((1, 2))
        bent = bend[:, self.hinge]
        total = total + w.prior * ((bent / _BENT).square() + ((-bent).relu() / 0.1).square()).sum(-1)
        if self.points is not None and self.sure is not None:
            joints = template.numbers(unknown.measures)[0]
            scale = joints[J["head"], 2] / template.now[0][J["head"], 2]
            bones = torch.tensor([joint for joint, _ in self.marks])
            away = torch.stack([offset for _, offset in self.marks]) * scale
            mark = place[:, bones] + (rotation[:, bones] @ away[..., None])[..., 0]
            apart = (mark - self.points[frames]).square().sum(-1) / w.unit_m**2
            sure = self.sure[frames]
            total = total + w.points * (sure * ((1 + apart).sqrt() - 1)).sum(-1) / sure.sum(-1).clamp(min=1)
        if self.pixels:
            total = total + self._outside(unknown, frames, rotation, place)
            total = total + self._uncovered(unknown, frames, rotation, place)
        return total

    def _outside(self, unknown: _Unknown, frames: list[int], rotation: Tensor, place: Tensor) -> Tensor:
        """How far vertices lie outside of the masks."""
        vertices = self.template.skinned(unknown, rotation, place)
        total = torch.zeros(len(frames))
        for view, (camera, back) in enumerate(self.cameras):
            seen = vertices @ back[:3, :3].T + back[:3, 3]
            depth = seen[..., 2].clamp(min=0.1)
            u = (seen[..., 0] / depth + unknown.shifts[view, 0]) * camera.fx + camera.cx
            v = (seen[..., 1] / depth + unknown.shifts[view, 1]) * camera.fy + camera.cy
            grid = torch.stack([2 * u / (camera.width - 1) - 1, 2 * v / (camera.height - 1) - 1], -1)
            field = self.outside[view][frames]
            pixels = functional.grid_sample(field[:, None], grid[:, None], padding_mode="border", align_corners=True)
            # A vertex behind the border of the picture is not known to be outside.
            inside = (grid.detach().abs() <= 1).all(-1)
            apart = pixels[:, 0, 0] * (depth.detach() / camera.fx) / self.weights.unit_m * inside
            total = total + ((1 + apart.square()).sqrt() - 1).mean(-1)
        return self.weights.masks * total

    def _uncovered(self, unknown: _Unknown, frames: list[int], rotation: Tensor, place: Tensor) -> Tensor:
        """How far pixels of the masks lie outside of the body's capsules, as the cameras see them."""
        ends, radii = self.template.capsules(unknown, rotation, place)
        far = self.weights.far_m**2
        total = torch.zeros(len(frames))
        for view, ((camera, back), (pixels, sure)) in enumerate(zip(self.cameras, self.pixels, strict=True)):
            seen = ends @ back[:3, :3].T + back[:3, 3]
            depth = seen[..., 2].clamp(min=0.1)
            focal, middle = torch.tensor([camera.fx, camera.fy]), torch.tensor([camera.cx, camera.cy])
            flat = (seen[..., :2] / depth[..., None] + unknown.shifts[view]) * focal + middle
            wide = radii * camera.fx / depth
            away = pixels[frames][:, :, None] - flat[:, None, :, 0]
            way = (flat[:, :, 1] - flat[:, :, 0])[:, None]
            along = ((away * way).sum(-1) / (way.square().sum(-1) + 1e-6)).clamp(0, 1)
            apart = ((away - along[..., None] * way).square().sum(-1) + 1e-9).sqrt()
            apart = (apart - (wide[:, None, :, 0] + along * (wide[:, None, :, 1] - wide[:, None, :, 0]))).relu()
            metres = (apart * (depth.mean(-1) / camera.fx)[:, None].detach()).amin(-1).square()
            robust = far * metres / (far + metres) / self.weights.unit_m**2
            total = total + (sure[frames] * robust).mean(-1)
        return self.weights.cover * total


def _landmark(name: str, shape: Shape) -> tuple[int, Tensor]:
    """The joint that a landmark hangs on, and where from it in the rest pose."""
    side = name.split("_")[0] if name.startswith(("left", "right")) else ""
    plain = name.removeprefix(f"{side}_")
    if plain in _JOINT_OF:
        return J[f"{side}_{_JOINT_OF[plain]}"], torch.zeros(3)
    flip = 1.0
    if name not in _AWAY and side == "right":
        name, flip = f"left_{plain}", -1.0
    if name not in _AWAY:
        raise InputError(f"unknown landmark {name}")
    joint, (x, y, z) = _AWAY[name]
    bone = joint if joint in J else f"{side}_{joint}"
    return J[bone], torch.tensor([x, flip * y, z]) * (float(shape.height_m) / 1.75)


def _sampled(masks: Sequence[Sequence[np.ndarray]], count: int = 160) -> list[tuple[Tensor, Tensor]]:
    """For each view the same number of pixels of each frame's mask `t n 2`, and weights `t n`: 0 where there is none.

    Half of them lie on the outline, so that thin limbs count.
    """
    out = []
    for view in range(len(masks[0])):
        points = np.zeros((len(masks), count, 2), np.float32)
        sure = np.zeros((len(masks), count), np.float32)
        rng = np.random.default_rng(view)
        for frame, row in enumerate(masks):
            mask = row[view]
            if mask.any():
                edge = np.argwhere(mask & ~np.asarray(ndimage.binary_erosion(mask), bool))
                chosen = [x[rng.integers(0, len(x), count // 2)] for x in (np.argwhere(mask), edge)]
                points[frame], sure[frame] = np.concatenate(chosen)[:, ::-1], 1
        out.append((torch.from_numpy(points), torch.from_numpy(sure)))
    return out


def _distances(masks: Sequence[Sequence[np.ndarray]]) -> list[Float[Tensor, "t h w"]]:
    """For each view and frame, how far each pixel lies outside of the mask, pixels; 0 where there is no mask."""
    out = []
    for view in range(len(masks[0])):
        far: Any = ndimage.distance_transform_edt  # its stubs know that it may give nothing
        rows = [far(~m[view]) if m[view].any() else np.zeros(m[view].shape) for m in masks]
        out.append(torch.from_numpy(np.stack(rows).astype(np.float32)))
    return out
