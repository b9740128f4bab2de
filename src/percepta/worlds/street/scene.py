"""What a car's camera sees of a synthetic street: road, pavement, houses, trees, poles, signs, fences, cars, people.

The ground is that of `layout.street`, cars and people on the road are those of `traffic.traffic`; houses and all else
stand beside it. Faces are flat and painted by rules (bricks, windows, lane marks). Labels and depth are exact. By
day there is a sun, at night there are lamps on poles and cars; `weather.py` paints fog, rain and snow with the depth.
Coordinates are metres, z upwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics
from percepta.worlds.raster import Faces, planes_of, rasterise
from percepta.worlds.street import weather
from percepta.worlds.street.layout import LANE_M, Street, direction, street
from percepta.worlds.street.traffic import traffic

# Classes, in CamVid's order: what is seen where there is no face is the sky.
CLASSES = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist")
SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = range(len(CLASSES))
CAMERA_M = 1.4  # height above the road
FIELD_DEG = 66.0
CONDITIONS = ("day", "night", "fog", "rain", "snow")
AMBIENT, SUN = 0.45, 0.6
LAMP_REACH_M = 30.0
VIEWS = 10  # of one street
BRICK, WINDOW, PLAIN = 0, 1, 2  # how a face is painted


@dataclass(frozen=True)
class View:
    """A picture of a street with all that is known of it.

    Attributes:
        picture: RGB 0..1.
        labels: class of each pixel, a place in CLASSES.
        depth_m: along the line of sight of the camera's middle, 0 for the sky.
        reference: nearly the same view by day and in fair weather.
        condition: one of CONDITIONS.
    """

    picture: Float32[np.ndarray, "h w 3"]
    labels: UInt8[np.ndarray, "h w"]
    depth_m: Float64[np.ndarray, "h w"]
    reference: Float32[np.ndarray, "h w 3"]
    condition: str


@dataclass(frozen=True)
class Scene:
    """A street with everything that stands on it.

    Attributes:
        faces: in the world; the label is the class + 1.
        paint: how each face is painted: BRICK, WINDOW or PLAIN.
        lamps: positions of lamps, metres.
        way: points along which a camera may drive, in the direction of travel.
    """

    faces: Faces
    paint: np.ndarray
    lamps: Float64[np.ndarray, "m 3"]
    way: Float64[np.ndarray, "n 2"]


class _Builder:
    """Collects faces."""

    def __init__(self) -> None:
        self.corners: list[np.ndarray] = []
        self.rows: list[tuple[int, np.ndarray, int]] = []

    def face(self, corners: Sequence[Sequence[Any]] | np.ndarray, label: int, colour: np.ndarray, paint: int) -> None:
        """A convex polygon of up to four corners, counter-clockwise seen from its front.

        Args:
            corners: metres.
            label: class.
            colour: RGB 0..1.
            paint: how it is painted.
        """
        points = np.asarray(corners, np.float64)
        self.corners.append(np.concatenate([points, np.repeat(points[-1:], 4 - len(points), 0)]))
        self.rows.append((label, np.asarray(colour, np.float64), paint))

    def box(
        self, middle: np.ndarray, size: Sequence[Any], yaw: float, low: float | int, label: int, colour: np.ndarray,
        paint: int = PLAIN,
    ) -> None:  # fmt: skip
        """A box that stands upright, without a floor.

        Args:
            middle: x and y.
            size: length along its yaw, width, height.
            yaw: radians.
            low: height of its lower end.
            label: class.
            colour: RGB 0..1.
            paint: of its sides; the top is plain.
        """
        c, s = np.cos(yaw), np.sin(yaw)
        along, across = np.array([c, s]) * size[0] / 2, np.array([-s, c]) * size[1] / 2
        base = [middle - along - across, middle + along - across, middle + along + across, middle - along + across]
        high = low + size[2]
        for a, b in zip(base, [*base[1:], base[0]], strict=True):
            self.face([[*a, low], [*b, low], [*b, high], [*a, high]], label, colour, paint)
        self.face([[*p, high] for p in base], label, 0.8 * colour, PLAIN)

    def faces(self) -> tuple[Faces, np.ndarray]:
        """All faces, and how they are painted."""
        corners = np.stack(self.corners)
        normal, offset = planes_of(corners)
        n = len(corners)
        up = np.array([0.0, 0, 1])
        right = np.cross(up, normal)
        flat = np.linalg.norm(right, axis=1) < 1e-6
        right[flat] = (1, 0, 0)
        right /= np.linalg.norm(right, axis=1, keepdims=True)
        axes = np.stack([right, np.cross(normal, right)], 1)
        sides = np.where((corners[:, 2] == corners[:, 3]).all(1), 3, 4)
        tint = np.stack([colour for _, colour, _ in self.rows]) * 255
        label = np.array([label + 1 for label, _, _ in self.rows], np.uint8)
        number, zero = np.arange(n, dtype=np.int32), np.zeros((n, 2))
        made = Faces(
            corners, sides.astype(np.int64), normal, offset, label, number + 1, number, axes, corners[:, 0],
            np.ones((n, 2)), np.zeros(n, np.int64), zero + 1, zero, tint, np.zeros(n), np.zeros(n),
        )  # fmt: skip
        return made, np.array([paint for _, _, paint in self.rows])


@lru_cache(maxsize=64)
def scene(seed: int) -> Scene:
    """A street that follows from a seed."""
    rng = np.random.default_rng([seed, 303])
    ground = street(seed)
    out = _Builder()
    grey = rng.uniform(0.25, 0.4)
    out.face([[-150, -150, -0.06], [150, -150, -0.06], [150, 150, -0.06], [-150, 150, -0.06]], TREE,
             np.array([0.25, 0.35, 0.15]), PLAIN)  # fmt: skip
    lines = [line for name, line in ground.lanes.items()]
    for line in lines:
        _strip(out, line, LANE_M / 2 + 2.5, -0.03, PAVEMENT, np.full(3, grey + 0.25))
    for line in lines:
        _strip(out, line, LANE_M / 2 + 0.2, 0.0, ROAD, np.full(3, grey))
    for name, line in ground.lanes.items():
        if name.startswith("in"):
            _dashes(out, line)
    lamps: list[np.ndarray] = []
    _beside(out, ground, rng, lamps)
    _movers(out, ground, seed, rng, lamps)
    faces, paint = out.faces()
    return Scene(faces, paint, np.array(lamps).reshape(-1, 3), ground.lanes["in0"])


def _strip(out: _Builder, line: np.ndarray, half: float, z: float, label: int, colour: np.ndarray) -> None:
    """A band along a line; its quadrilaterals are a few metres long."""
    line = line[:: max(1, min(5, len(line) // 4))] if len(line) > 8 else line
    along = direction(line)
    side = np.stack([-along[:, 1], along[:, 0]], -1) * half
    left, right = line + side, line - side
    for i in range(len(line) - 1):
        out.face([[*right[i], z], [*right[i + 1], z], [*left[i + 1], z], [*left[i], z]], label, colour, PLAIN)


def _dashes(out: _Builder, line: np.ndarray) -> None:
    """White dashes at the left side of a lane, where the other direction begins."""
    along = direction(line)
    left = line + np.stack([-along[:, 1], along[:, 0]], -1) * LANE_M / 2
    for i in range(1, len(line) - 3, 7):
        _strip(out, left[i : i + 3], 0.09, 0.01, ROAD, np.full(3, 0.9))


def _clear(ground: Street, place: np.ndarray, distance: float) -> bool:
    """Whether a place is at least so far from every lane."""
    return all(np.linalg.norm(line - place, axis=1).min() >= distance for line in ground.lanes.values())


def _beside(out: _Builder, ground: Street, rng: np.random.Generator, lamps: list[np.ndarray]) -> None:
    """Houses, trees, poles with lamps or signs, and fences along all roads."""
    for name, line in ground.lanes.items():
        if ">" in name:
            continue
        along = direction(line)
        outer = np.stack([along[:, 1], -along[:, 0]], -1)  # to the right, away from the other direction
        at = rng.uniform(0, 6)
        while at < len(line) - 1:
            i = int(at)
            yaw = float(np.arctan2(along[i, 1], along[i, 0]))
            length, depth = rng.uniform(8, 16), rng.uniform(8, 12)
            middle = line[i] + outer[i] * (LANE_M / 2 + rng.uniform(4, 7) + depth / 2)
            if rng.random() < 0.75 and _clear(ground, middle, LANE_M / 2 + 3.5 + max(length, depth) / 2):
                colour = rng.uniform(0.3, 0.75) * (1 + 0.25 * rng.uniform(-1, 1, 3))
                out.box(middle, (length, depth, rng.uniform(6, 18)), yaw, -0.05, BUILDING, colour.clip(0, 1),
                        WINDOW if rng.random() < 0.7 else BRICK)  # fmt: skip
            else:
                _tree(out, line[i] + outer[i] * (LANE_M / 2 + rng.uniform(4, 8)), rng)
            at += length + rng.uniform(1, 5)
        for i in range(int(rng.uniform(2, 10)), len(line), 12):
            place = line[i] + outer[i] * (LANE_M / 2 + 1.0)
            if _clear(ground, place, LANE_M / 2 + 0.6):
                _furniture(out, place, along[i], outer[i], rng, lamps)


def _furniture(
    out: _Builder, place: np.ndarray, along: np.ndarray, outer: np.ndarray, rng: np.random.Generator,
    lamps: list[np.ndarray],
) -> None:  # fmt: skip
    """A pole with a lamp or a sign, a tree, a fence, or somebody on the pavement."""
    yaw = float(np.arctan2(along[1], along[0]))
    kind = rng.random()
    if kind < 0.35:
        height = rng.uniform(5, 7)
        out.box(place, (0.22, 0.22, height), yaw, 0, POLE, np.full(3, rng.uniform(0.3, 0.6)))
        out.box(place - outer * 0.5, (0.2, 1.2, 0.15), yaw, height - 0.2, POLE, np.full(3, 0.5))
        lamps.append(np.array([*(place - outer * 0.9), height - 0.3]))
    elif kind < 0.6:
        out.box(place, (0.15, 0.15, 2.4), yaw, 0, POLE, np.full(3, 0.5))
        colour = np.array([[0.8, 0.1, 0.1], [0.1, 0.2, 0.8], [0.9, 0.8, 0.1], [0.1, 0.6, 0.2]])[rng.integers(4)]
        out.box(place - 0.2 * along, (0.1, rng.uniform(0.7, 1.2), rng.uniform(0.7, 1.2)), yaw, 2.1, SIGN, colour)
    elif kind < 0.7:
        _tree(out, place + outer, rng)
    elif kind < 0.85:
        out.box(place + outer * 0.9, (rng.uniform(5, 11), 0.08, 1.1), yaw, 0, FENCE, np.array([0.35, 0.3, 0.25]), BRICK)
    else:
        _person(out, place, yaw, rng)


def _tree(out: _Builder, place: np.ndarray, rng: np.random.Generator) -> None:
    height, radius = rng.uniform(4, 9), rng.uniform(1.2, 2.4)
    out.box(place, (0.35, 0.35, height * 0.5), 0.3, 0, TREE, np.array([0.3, 0.22, 0.15]))
    green = np.array([0.2, 0.4, 0.12]) * rng.uniform(0.6, 1.4)
    for turn in range(3):
        size = radius * rng.uniform(1.1, 1.7, 2)
        out.box(place, (size[0], size[1], height * 0.6), turn * 1.1, height * 0.4 + 0.2 * turn, TREE, green, BRICK)


def _person(out: _Builder, place: np.ndarray, yaw: float, rng: np.random.Generator) -> None:
    clothes, skin = rng.uniform(0.05, 0.9, 3), np.array([0.8, 0.6, 0.5]) * rng.uniform(0.5, 1.1)
    out.box(place, (0.3, 0.4, 0.8), yaw, 0, PEDESTRIAN, rng.uniform(0.05, 0.4, 3))
    out.box(place, (0.3, 0.5, 0.65), yaw, 0.8, PEDESTRIAN, clothes)
    out.box(place, (0.22, 0.22, 0.25), yaw, 1.48, PEDESTRIAN, skin)


def _rider(out: _Builder, place: np.ndarray, yaw: float, rng: np.random.Generator) -> None:
    out.box(place, (1.7, 0.08, 0.6), yaw, 0, BICYCLIST, rng.uniform(0, 0.3, 3))
    out.box(place, (0.35, 0.45, 1.0), yaw, 0.6, BICYCLIST, rng.uniform(0.1, 0.9, 3))
    out.box(place, (0.22, 0.22, 0.25), yaw, 1.6, BICYCLIST, np.array([0.8, 0.6, 0.5]))


def _car(out: _Builder, place: np.ndarray, yaw: float, rng: np.random.Generator, lamps: list[np.ndarray]) -> None:
    colour = rng.uniform(0.05, 0.95) * (1 + 0.4 * rng.uniform(-1, 1, 3))
    along = np.array([np.cos(yaw), np.sin(yaw)])
    out.box(place, (4.4, 1.8, 0.65), yaw, 0.25, CAR, colour.clip(0, 1))
    out.box(place, (4.4, 1.7, 0.3), yaw, 0.0, CAR, np.full(3, 0.06))
    out.box(place - 0.2 * along, (2.3, 1.6, 0.6), yaw, 0.9, CAR, np.array([0.1, 0.13, 0.16]))
    out.box(place - 0.2 * along, (1.9, 1.5, 0.06), yaw, 1.5, CAR, colour.clip(0, 1))
    lamps.append(np.array([*(place + 2.4 * along), 0.6]))


def _movers(
    out: _Builder, ground: Street, seed: int, rng: np.random.Generator, lamps: list[np.ndarray]
) -> None:  # fmt: skip
    """Cars that drive, people who cross, cars that park, people on the pavement, riders."""
    there = traffic(seed, seconds=0.3, cars=7, people=4)
    for place, yaw, size in zip(there.position[:, 0], there.heading[:, 0], there.size_m, strict=True):
        if not np.isfinite(place[0]):
            continue
        if size[0] > 1:
            _car(out, place, float(yaw), rng, lamps)
        else:
            _person(out, place, float(rng.uniform(0, 6)), rng)
    for name, line in ground.lanes.items():
        if ">" in name:
            continue
        along = direction(line)
        outer = np.stack([along[:, 1], -along[:, 0]], -1)
        for i in range(int(rng.uniform(2, 12)), len(line) - 3, 11):
            yaw, draw = float(np.arctan2(along[i, 1], along[i, 0])), rng.random()
            if draw < 0.4:
                _car(out, line[i] + outer[i] * (LANE_M / 2 + 1.2), yaw, rng, [])
            elif draw < 0.6:
                _person(out, line[i] + outer[i] * (LANE_M / 2 + rng.uniform(0.8, 2)), yaw, rng)
            elif draw < 0.75:
                _rider(out, line[i] + outer[i] * LANE_M * 0.35, yaw, rng)


def view(seed: int, condition: str, height: int, width: int) -> View:
    """A view of a street from a car, with its reference by day from half a metre away.

    Args:
        seed: of everything random; VIEWS views share a street.
        condition: one of CONDITIONS.
        height: of the picture, in pixels.
        width: of the picture, in pixels.
    """
    rng = np.random.default_rng([seed, 404, CONDITIONS.index(condition)])
    place = scene(seed // VIEWS)
    camera = Intrinsics.field_of_view(width, height, FIELD_DEG)
    eye, ahead = _seat(place, rng)
    aside = np.array([*rng.uniform(-0.5, 0.5, 2), 0])
    sun = rng.normal(size=3)
    sun[2] = abs(sun[2]) + 0.5
    pose = poses.look_at(eye, ahead)
    picture, labels, depth = rendered(place, camera, pose, rng, "night" if condition == "night" else "", sun)
    reference, _, _ = rendered(place, camera, poses.look_at(eye + aside, ahead + 0.7 * aside), rng, "", sun)
    ground, sky = np.isin(labels, (ROAD, PAVEMENT)), labels == SKY
    far = np.where(sky, weather.FAR_M, depth)
    if condition == "fog":
        picture = weather.fog(picture, far, float(rng.uniform(25, 80)), float(rng.uniform(0.6, 0.9)))
    elif condition == "rain":
        picture = weather.rain(weather.wet(picture * 0.8, ground, float(rng.uniform(0.2, 0.5))), rng, 0.8)
    elif condition == "snow":
        picture = weather.snow(picture, rng, ground, 0.9, 0.6)
    return View(picture.astype(np.float32), labels, depth, reference, condition)


def _seat(place: Scene, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Where the camera is and where it looks, on its lane; not behind another car's window."""
    for _ in range(10):
        i = int(rng.integers(2, len(place.way) - 12))
        eye = np.array([*place.way[i], CAMERA_M])
        ahead = np.array([*place.way[i + 10], CAMERA_M - rng.uniform(0, 0.4)])
        small = Intrinsics.field_of_view(24, 16, FIELD_DEG)
        _, depth = rasterise(place.faces, small, poses.look_at(eye, ahead))
        if np.median(np.where(depth > 0, depth, weather.FAR_M)[6:]) > 4:
            break
    return eye, ahead


def rendered(
    place: Scene, camera: Intrinsics, world_from_camera: np.ndarray, rng: np.random.Generator, light: str,
    sun: np.ndarray,
) -> tuple[Float32[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"], Float64[np.ndarray, "h w"]]:  # fmt: skip
    """Picture, labels and depth (metres, 0 for the sky).

    Args:
        place: the scene.
        camera: intrinsics.
        world_from_camera: pose.
        rng: of the sky and the sensor's noise.
        light: "night", or "" for day.
        sun: direction to the sun.
    """
    faces = place.faces
    index, depth = rasterise(faces, camera, world_from_camera)
    hit = index >= 0
    at = np.where(hit, index, 0)
    labels = np.where(hit, faces.label[at] - 1, SKY).astype(np.uint8)
    v, u = np.mgrid[: camera.height, : camera.width]
    rays = np.stack([u, v, np.ones_like(u)], -1) @ camera.inverse.T @ world_from_camera[:3, :3].T
    where = world_from_camera[:3, 3] + rays * depth[..., None]
    albedo = faces.tint[at] / 255 * _painted(faces, place.paint, at, where)[..., None]
    sun = sun / np.linalg.norm(sun)
    if light == "night":
        level = np.full((*index.shape, 3), 0.03)
        near = place.lamps[np.linalg.norm(place.lamps - world_from_camera[:3, 3], axis=1) < 2 * LAMP_REACH_M]
        own = np.array([*(world_from_camera[:3, 3] + 1.5 * world_from_camera[:3, 2])[:2], 0.7])  # headlights
        for lamp, power in [*((one, 2.0) for one in near), (own, 5.0)]:
            away = lamp - where
            square = (away**2).sum(-1)
            cosine = np.abs((away * faces.normal[at]).sum(-1)) / np.sqrt(square + 1e-6)
            level += (power * (0.2 + 0.8 * cosine) / (square + 4))[..., None] * np.array([1, 0.85, 0.6])
        sky = np.array([0.01, 0.012, 0.02]) * rng.uniform(0.3, 2)
    else:
        level = AMBIENT + SUN * np.maximum(faces.normal[at] @ sun, 0)[..., None]
        sky = np.array([0.75, 0.85, 1.0]) * rng.uniform(0.7, 1.1)
    linear = np.where(hit[..., None], albedo * level, sky * (1 - 0.3 * (v / camera.height))[..., None])
    if light == "night":
        linear = linear + _halos(place.lamps, camera, world_from_camera, depth)
    noise = (0.02 if light == "night" else 0.01) * rng.normal(size=linear.shape)
    return (linear.clip(0, 1) ** (1 / weather.GAMMA) + noise).clip(0, 1).astype(np.float32), labels, depth


def _painted(faces: Faces, paint: np.ndarray, at: np.ndarray, where: np.ndarray) -> np.ndarray:
    """What multiplies a face's colour: rough everywhere, rows of bricks, dark windows."""
    local = np.einsum("hwac,hwc->hwa", faces.axes[at], where - faces.origin[at])
    cells = np.floor(where * 2.5).astype(np.int64)
    rough = ((cells[..., 0] * 73856093) ^ (cells[..., 1] * 19349663) ^ (cells[..., 2] * 83492791)) % 97 / 97
    out = 0.88 + 0.24 * rough
    kind = paint[at]
    s, t = local[..., 0] % 2.4, -local[..., 1] % 3.0
    window = (kind == WINDOW) & (s > 0.7) & (s < 1.7) & (t > 1.0) & (t < 2.3)
    brick = (kind == BRICK) & ((local[..., 1] * 4).astype(np.int64) % 2 == 0)
    return out * np.where(window, 0.3, 1) * np.where(brick, 0.8, 1)


def _halos(lamps: np.ndarray, camera: Intrinsics, pose: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """The glow of lamps that the camera looks into, unless something stands before them."""
    out = np.zeros((*depth.shape, 3))
    v, u = np.mgrid[: camera.height, : camera.width]
    for lamp in lamps:
        x, y, z = (lamp - pose[:3, 3]) @ pose[:3, :3]
        if not 1 < z < 4 * LAMP_REACH_M:
            continue
        column, row = x / z * camera.fx + camera.cx, y / z * camera.fy + camera.cy
        if not (0 <= column < camera.width and 0 <= row < camera.height):
            continue
        before = depth[int(row), int(column)]
        if 0 < before < z - 0.6:
            continue
        radius = max(0.6, 0.25 / z * camera.fx)
        away = ((v - row) ** 2 + (u - column) ** 2) / radius**2
        out += (np.exp(-0.5 * away) + 0.04 / (1 + 0.1 * away))[..., None] * np.array([1, 0.9, 0.7])
    return out
