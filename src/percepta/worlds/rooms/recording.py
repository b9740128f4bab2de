"""Furnished synthetic rooms: exact depth, classes, instances and planes from any camera, and what a scan of them gives.

    world = rooms.room(7)
    path = rooms.walk(world, 0, frames=60, fps=30)
    view = rooms.render(world, path[0], rooms.CAMERA)        # colour, depth, label, instance, plane
    cloud = rooms.scan(world, rooms.walk(world, 0, frames=60, fps=1.5))

A room is a rectangle of 2.5 to 7 m, often with a corner walled off, with furniture that goes together (a desk and its
chair, a bed and its night stands). Things stand on the floor or on each other or hang on walls; no two objects run
into each other. Classes are NYU-40 numbers. Everything follows from the seed. Metres; z up; the floor is z = 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int32, Int64, UInt8
from scipy import ndimage
from scipy.interpolate import PchipInterpolator
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

from percepta.errors import InputError
from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics, rays
from percepta.worlds import raster as renderer
from percepta.worlds.rooms.interiors import CLASSES, KINDS, Boxes, Planes, Room, Thing, room

__all__ = [
    "CAMERA", "CLASSES", "KINDS", "SCAN_CAMERA", "Boxes", "Planes", "Room", "Scan", "Sensor", "Thing", "View", "free",
    "fuse", "measure", "pairs", "render", "room", "scan", "walk",
]  # fmt: skip

Rng = np.random.Generator

# About the field of view of the depth cameras that rooms are scanned with.
CAMERA = Intrinsics.field_of_view(320, 240, 58.0)


@dataclass(frozen=True)
class View:
    """What a camera sees in a room, exact.

    Attributes:
        depth_m: along the optical axis. label: NYU-40. instance: see `Thing`. plane: row of `Planes`.
    """

    colour: UInt8[np.ndarray, "h w 3"]
    depth_m: Float32[np.ndarray, "h w"]
    label: UInt8[np.ndarray, "h w"]
    instance: Int32[np.ndarray, "h w"]
    plane: Int32[np.ndarray, "h w"]
    world_from_camera: Float64[np.ndarray, "4 4"]
    intrinsics: Intrinsics


@dataclass(frozen=True)
class Scan:
    """Points of a fused scan, one a voxel, in the order of their voxels.

    Attributes:
        xyz: mean of what fell into the voxel, metres. rgb: mean colour.
        label, instance: what most of it was.
    """

    xyz: Float32[np.ndarray, "n 3"]
    rgb: UInt8[np.ndarray, "n 3"]
    label: UInt8[np.ndarray, " n"]
    instance: Int32[np.ndarray, " n"]


# --- seeing -----------------------------------------------------------------------------------------------------------


def render(
    world: Room,
    world_from_camera: Float[np.ndarray, "4 4"],
    intrinsics: Intrinsics = CAMERA,
    *,
    exposed_at: Sequence[Float[np.ndarray, "4 4"]] = (),
    exposure: float = 1.0,
    smooth: int = 1,
) -> View:
    """What a camera sees.

    Args:
        world: the room.
        world_from_camera: the pose, metres.
        intrinsics: the camera.
        exposed_at: where the camera is while the shutter is open, evenly spaced in time: colours are the mean of the
            pictures there, everything else is of `world_from_camera`, which therefore belongs into their middle.
        exposure: multiplies the light.
        smooth: colours are the mean of `smooth`² samples a pixel; 1 leaves jagged edges and is fastest.

    Raises:
        InputError: the pose is no rigid motion.
    """
    poses.check(world_from_camera)
    pose = np.asarray(world_from_camera, np.float64)
    index, depth = renderer.rasterise(world.faces, intrinsics, pose)
    gain = world.gain * exposure
    for at in exposed_at:
        poses.check(at, "a pose while the shutter is open")
    way = [np.asarray(at, np.float64) for at in exposed_at] or [pose]
    if not exposed_at and smooth == 1:
        picture = renderer.shade(world.faces, world.atlas, world.light, intrinsics, pose, index, depth, gain)
    else:
        fine = intrinsics.resized(intrinsics.width * smooth, intrinsics.height * smooth)
        total = np.zeros((fine.height, fine.width, 3), np.float32)
        for at in way:
            i, z = renderer.rasterise(world.faces, fine, at)
            total += renderer.shade(world.faces, world.atlas, world.light, fine, at, i, z, gain)
        total = total.reshape(intrinsics.height, smooth, intrinsics.width, smooth, 3).mean((1, 3)) / len(way)
        picture = (total + 0.5).astype(np.uint8)
    hit, at = index >= 0, np.maximum(index, 0)
    return View(
        picture,
        depth.astype(np.float32),
        np.where(hit, world.faces.label[at], 0).astype(np.uint8),
        np.where(hit, world.faces.instance[at], 0).astype(np.int32),
        np.where(hit, world.faces.plane[at], -1).astype(np.int32),
        pose,
        intrinsics,
    )


@dataclass(frozen=True)
class Sensor:
    """What a real camera adds. The defaults are about those of the first Kinect (Nguyen, Izadi & Lovell 2012).

    Attributes:
        colour_noise: standard deviation, of 0..255.
        near_m, far_m: range of the depth camera.
        noise_m: standard deviation of the depth at 0.4 m; growth: by what it grows, times (z − 0.4)².
        grazing_deg: where the angle to the surface's normal is larger there is no reading.
        shadow: whether the near side of edges hides the far side from the projector, 7.5 cm to the right.
        dropout: share of pixels that are lost in patches.
    """

    colour_noise: float = 3.0
    near_m: float = 0.4
    far_m: float = 5.0
    noise_m: float = 0.0012
    growth: float = 0.0019
    grazing_deg: float = 80.0
    shadow: bool = True
    dropout: float = 0.02


def measure(world: Room, view: View, rng: Rng, sensor: Sensor | None = None) -> View:
    """The view with a sensor's noise; depth 0 where the sensor gives nothing. Labels stay exact.

    Args:
        world: the room.
        view: an exact one.
        rng: where the noise comes from.
        sensor: its kind; None: the usual one.
    """
    sensor = sensor or Sensor()
    h, w = view.depth_m.shape
    noisy = view.colour + rng.normal(0, sensor.colour_noise, (h, w, 3)) if sensor.colour_noise else view.colour
    z = view.depth_m.astype(np.float64)
    sight = rays(view.intrinsics)
    normal = world.planes.normal[view.plane] @ view.world_from_camera[:3, :3]
    cosine = -np.einsum("hwc,hwc->hw", sight, normal) / np.linalg.norm(sight, axis=-1)
    lost = (z < sensor.near_m) | (z > sensor.far_m) | (cosine < np.cos(np.radians(sensor.grazing_deg)))
    if sensor.shadow:
        lost |= _shadow(z, 0.075 * view.intrinsics.fx)
    if sensor.dropout:
        patches = ndimage.gaussian_filter(rng.normal(size=(h, w)), max(1.0, w / 160))
        lost |= patches > np.quantile(patches, 1 - sensor.dropout)
    # Depth comes from disparity, whose error is alike for neighbours: noise is drawn coarser than pixels.
    error = ndimage.gaussian_filter(rng.normal(size=(h, w)), 0.7)
    error *= (sensor.noise_m + sensor.growth * (z - 0.4) ** 2) / error.std()
    measured = np.where(lost, 0, np.maximum(z + error, 0)).astype(np.float32)
    colours = np.clip(noisy + 0.5, 0, 255).astype(np.uint8)
    return View(colours, measured, view.label, view.instance, view.plane, view.world_from_camera, view.intrinsics)


def _shadow(z: np.ndarray, baseline_px_m: float) -> Bool[np.ndarray, "h w"]:
    """Pixels that a projector to the right of the camera does not reach.

    Its light arrives in the order of u − baseline·f/z; a pixel is hidden when one to its right comes before it there.
    """
    place = np.arange(z.shape[1]) + baseline_px_m * (1 / np.maximum(z, 0.1))
    least = np.maximum.accumulate(place, 1)
    return place < least - 1.0


# --- walking ----------------------------------------------------------------------------------------------------------

_CELL = 0.1


def free(world: Room, low: float, high: float, clearance: float) -> Bool[np.ndarray, "nx ny"]:
    """Cells of 10 cm whose middle is at least `clearance` away from walls and from everything between two heights.

    Args:
        world: the room.
        low: metres above the floor.
        high: metres above the floor.
        clearance: metres.
    """
    nx, ny = (int(world.size[0] / _CELL), int(world.size[1] / _CELL))
    x = (np.arange(nx) + 0.5) * _CELL
    y = (np.arange(ny) + 0.5) * _CELL
    cells = np.stack(np.meshgrid(x, y, indexing="ij"), -1).reshape(-1, 1, 2)
    return ((_distance(world, cells[:, 0], low, high)) >= clearance).reshape(nx, ny)


def _distance(world: Room, where: np.ndarray, low: float, high: float) -> np.ndarray:
    """How far points `n 2` are from walls and from boxes that reach between two heights; 0 inside."""
    b = world.boxes
    at = (b.z[:, 0] < high) & (b.z[:, 1] > low)
    apart = where[:, None] - b.middle[at]
    along = np.abs(apart @ np.zeros(2)) if not at.any() else np.abs(np.einsum("nbc,bc->nb", apart, b.side[at]))
    across = np.abs(-apart[..., 0] * b.side[at][:, 1] + apart[..., 1] * b.side[at][:, 0])
    outside = np.hypot(np.maximum(along - b.half[at][:, 0], 0), np.maximum(across - b.half[at][:, 1], 0))
    rim = np.minimum(where, np.array(world.size[:2]) - where).min(1)
    return np.minimum(outside.min(1), rim) if at.any() else rim


def walk(
    world: Room,
    seed: int,
    *,
    frames: int = 300,
    fps: float | int = 30,
    speed_m_s: float = 0.28,
    shake: float = 1.0,
) -> Float64[np.ndarray, "n 4 4"]:
    """Poses of somebody who walks through the free space of the room, looking at things, with a camera in hand.

    The speed and the turning rate are about those of 7-Scenes (7 mm and 1.2° a frame at 30 frames a second). Fewer
    frames a second give the same walk at larger steps: fps = 1.5 and 60 frames are a scan of 40 seconds.

    Args:
        world: the room.
        seed: the same seed gives the same walk.
        frames: how many poses.
        fps: poses a second.
        speed_m_s: metres a second.
        shake: multiplies the unrest of the hand.

    Returns:
        world_from_camera, none inside of anything.
    """
    rng = np.random.default_rng([world.seed, seed, 23])
    at_s = np.arange(frames) / fps
    height = rng.uniform(1.25, 1.75)
    grid, clearance = _ground(world, height)
    route = _route(rng, grid, length_m=float(at_s[-1]) * speed_m_s + 0.3)
    step = np.linalg.norm(np.diff(route, axis=0), axis=1)
    metres = np.concatenate([[0], np.cumsum(step)])
    pace = np.maximum(0, 1 + poses.tremor(rng, at_s, 0.35, low_hz=0.05, high_hz=0.4)[:, 0])
    gone = np.minimum(np.cumsum(pace) / fps * speed_m_s, metres[-1])
    eyes = np.stack([np.interp(gone, metres, route[:, i]) for i in range(2)], -1)
    rise = poses.tremor(rng, at_s, 0.08, low_hz=0.03, high_hz=0.3)[:, 0]
    eyes = np.concatenate([eyes, np.clip(height + rise, height - 0.2, height + 0.15)[:, None]], 1)
    yaw, pitch = _gaze(rng, world, at_s, eyes)
    path = poses.hand_held(rng, at_s, eyes, yaw, pitch, shake_deg=0.35 * shake, shake_m=0.003 * shake)
    # The hand's unrest must not carry the camera into things.
    inside = _distance(world, path[:, :2, 3], height - 0.3, height + 0.3) < clearance / 2
    path[inside, :3, 3] = eyes[inside]
    return path


def _ground(world: Room, height: float) -> tuple[np.ndarray, float]:
    """Cells where a camera may be: over free floor if there is enough of it, else over low furniture too."""
    for floor, clearance in ((0.05, 0.2), (0.6, 0.2), (height - 0.3, 0.2), (height - 0.3, 0.1)):
        at_camera = free(world, height - 0.3, height + 0.3, clearance)
        grid = at_camera & free(world, floor, height, 0.1)
        parts: np.ndarray
        parts, _ = ndimage.label(grid)  # pyright: ignore[reportGeneralTypeIssues]
        sizes = np.bincount(parts.ravel())[1:]
        if len(sizes) and (sizes.max() * _CELL**2 > 0.8 or clearance == 0.1):
            return parts == 1 + int(sizes.argmax()), clearance
    raise InputError(f"room {world.seed} has no free space for a camera")


def _route(rng: Rng, grid: np.ndarray, length_m: float) -> np.ndarray:
    """Points `n 2` in metres along shortest ways between random cells, rounded off inside the free cells."""
    index = np.full(grid.shape, -1)
    index[grid] = np.arange(grid.sum())
    cells = np.argwhere(grid)
    rows, columns, cost = [], [], []
    roomy = np.asarray(ndimage.distance_transform_edt(grid))[grid]
    for dx, dy in ((1, 0), (0, 1), (1, 1), (1, -1)):
        there = cells + np.array([dx, dy])
        ok = (there >= 0).all(1) & (there < grid.shape).all(1)
        target = np.where(
            ok, index[np.minimum(there[:, 0], grid.shape[0] - 1), np.minimum(there[:, 1], grid.shape[1] - 1)], -1
        )
        ok &= target >= 0
        rows.append(np.flatnonzero(ok).astype(np.int32))  # older versions of scipy's dijkstra take no others
        columns.append(target[ok].astype(np.int32))
        cost.append(np.hypot(dx, dy) * (1 + 1.5 / roomy[ok]))
    n = len(cells)
    graph = coo_array((np.concatenate(cost), (np.concatenate(rows), np.concatenate(columns))), shape=(n, n)).tocsr()
    points = [int(rng.integers(n))]
    way = [points[0]]
    length = 0.0
    while length < length_m and len(points) < 60:
        distance, before = dijkstra(  # pyright: ignore[reportGeneralTypeIssues]
            graph, directed=False, indices=points[-1], return_predecessors=True
        )
        reach = np.flatnonzero(np.isfinite(distance))
        far = reach[distance[reach] >= np.quantile(distance[reach], 0.5)]
        goal = int(far[rng.integers(len(far))])
        back = [goal]
        while before[back[-1]] >= 0:
            back.append(int(before[back[-1]]))
        leg = back[::-1]
        length += float(np.linalg.norm(np.diff(cells[leg], axis=0), axis=1).sum()) * _CELL
        way += leg[1:]
        points.append(goal)
        if n == 1:
            break
    line = (cells[way] + 0.5) * _CELL
    for sigma in (4.0, 2.0, 1.0, 0.0):
        smooth = ndimage.gaussian_filter1d(line, sigma, axis=0, mode="nearest") if sigma else line
        at = np.clip((smooth / _CELL).astype(np.int64), 0, np.array(grid.shape) - 1)
        if grid[at[:, 0], at[:, 1]].all():
            return smooth if len(smooth) > 1 else np.repeat(smooth, 2, 0)
    return line


def _gaze(rng: Rng, world: Room, at_s: np.ndarray, eyes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Yaw and pitch over time: from one thing to the next, at a turning rate that a hand keeps."""
    targets = np.array([(t.low + t.high) / 2 for t in world.things if t.label not in (1, 2, 22)] or [[1.0, 1.0, 1.0]])
    now, yaw = 0.0, float(rng.uniform(-np.pi, np.pi))
    knots, yaws, pitches = [-1.0], [yaw], [-0.3]
    while now < at_s[-1] + 2:
        eye = eyes[min(int(np.searchsorted(at_s, now)), len(eyes) - 1)]
        away = targets - eye
        flat = np.hypot(away[:, 0], away[:, 1])
        # Who scans a room looks into it rather than at the wall beside him.
        good = np.flatnonzero(flat > 0.9)
        if rng.random() < 0.85 and len(good):
            i = int(good[rng.integers(len(good))])
            goal, pitch = float(np.arctan2(away[i, 1], away[i, 0])), float(np.arctan2(away[i, 2], flat[i]))
        else:
            centre = np.array(world.size[:2]) / 2 - eye[:2]
            goal, pitch = float(np.arctan2(centre[1], centre[0])) + rng.normal(0, 0.7), rng.uniform(-0.6, 0.2)
        turn = (goal - yaw + np.pi) % (2 * np.pi) - np.pi
        now += max(0.7, abs(turn) / np.radians(rng.uniform(28, 45)))
        yaw += turn
        hold = rng.uniform(0.1, 0.8)
        pitch = float(np.clip(pitch + rng.normal(-0.12, 0.12), -0.95, 0.3))
        knots += [now, now + hold]
        yaws += [yaw, yaw + rng.normal(0, 0.05)]
        pitches += [pitch, pitch + rng.normal(0, 0.05)]
        now += hold
    return PchipInterpolator(knots, yaws)(at_s), PchipInterpolator(knots, pitches)(at_s)


def pairs(
    path: Float64[np.ndarray, "n 4 4"], baseline_m: tuple[float, float] = (0.05, 0.15), most_frames: int = 20
) -> Int64[np.ndarray, "m 2"]:
    """For each frame the nearest later one whose centre is as far away as asked: (reference, source).

    Args:
        path: world_from_camera of each frame.
        baseline_m: (shortest, longest) distance of the centres, metres.
        most_frames: how many frames later the source may be.
    """
    centre = path[:, :3, 3]
    out = []
    for i in range(len(path) - 1):
        distance = np.linalg.norm(centre[i + 1 : i + 1 + most_frames] - centre[i], axis=1)
        good = np.flatnonzero((distance >= baseline_m[0]) & (distance <= baseline_m[1]))
        if len(good):
            out.append((i, i + 1 + int(good[0])))
    return np.array(out, np.int64).reshape(-1, 2)


# --- scanning ---------------------------------------------------------------------------------------------------------

SCAN_CAMERA = Intrinsics.field_of_view(160, 120, 58.0)


def scan(
    world: Room,
    path: Float64[np.ndarray, "n 4 4"],
    voxel_m: float = 0.02,
    camera: Intrinsics = SCAN_CAMERA,
    *,
    sensor: Sensor | None = None,
    seed: int = 0,
    far_m: float = 5.0,
) -> Scan:
    """The part of the room that a camera saw on its way, fused into voxels: what a real scan looks like.

    Args:
        world: the room.
        path: world_from_camera of each frame.
        voxel_m: side of a voxel, metres.
        camera: intrinsics.
        seed: of the sensor's noise.
        sensor: adds its noise and holes (drawn from `seed`); None keeps the surface exact.
        far_m: readings beyond are left out.

    Returns:
        One point for each voxel that was hit.
    """
    rng = np.random.default_rng([world.seed, seed, 31])
    parts = []
    for pose in path:
        view = render(world, pose, camera)
        view = view if sensor is None else measure(world, view, rng, sensor)
        seen = (view.depth_m > 0) & (view.depth_m < far_m)
        local = rays(camera)[seen] * view.depth_m[seen, None]
        parts.append((poses.transform(pose, local), view.colour[seen], view.label[seen], view.instance[seen]))
    xyz, rgb, label, instance = (np.concatenate(column) for column in zip(*parts, strict=True))
    # Floors and walls lie at 0, just where voxels would meet and split them by rounding: the grid is moved.
    shift = 0.37 * voxel_m
    cloud = fuse(xyz + shift, rgb, label, instance, voxel_m)
    return replace(cloud, xyz=cloud.xyz - np.float32(shift))


def fuse(
    xyz: Float[np.ndarray, "n 3"],
    rgb: UInt8[np.ndarray, "n 3"],
    label: UInt8[np.ndarray, " n"],
    instance: Int32[np.ndarray, " n"],
    voxel_m: float,
) -> Scan:
    """One point a voxel: mean place and colour, the object with most points (the first on a tie) and its label.

    Args:
        xyz: points, metres.
        rgb: colour of each.
        label: class of each.
        instance: object of each.
        voxel_m: side of a voxel, metres.
    """
    cell = np.floor(xyz / voxel_m).astype(np.int64)
    cell -= cell.min(0)
    spread = cell.max(0) + 1
    key = (cell[:, 0] * spread[1] + cell[:, 1]) * spread[2] + cell[:, 2]
    # One sort by voxel, then by object: runs are votes.
    kinds = int(instance.max()) + 1
    votes, first, where, count = np.unique(
        key * kinds + instance, return_index=True, return_inverse=True, return_counts=True
    )
    owner = votes // kinds
    start = np.flatnonzero(np.concatenate([[True], owner[1:] != owner[:-1]]))
    voxel_of_vote = np.cumsum(np.concatenate([[0], (owner[1:] != owner[:-1])]))
    best = np.maximum.reduceat(count * len(votes) - np.arange(len(votes)), start)
    winner = (-best) % len(votes)
    voxel = voxel_of_vote[where]
    number = np.bincount(voxel)
    place = np.stack([np.bincount(voxel, xyz[:, i]) / number for i in range(3)], -1)
    tone = np.stack([np.bincount(voxel, rgb[:, i]) / number for i in range(3)], -1)
    chosen = first[winner]
    return Scan(place.astype(np.float32), (tone + 0.5).astype(np.uint8), label[chosen], instance[chosen])
