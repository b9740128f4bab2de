"""A scan of a room from frames alone: SLAM gives poses, planes the floor plan, with depth online3d the labelled map.

The frames are gone through twice: first for the poses, then, with the poses that the whole map says in the end, for
what stands on them. Everything is in one world whose z points up.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image

from percepta.contract import Block
from percepta.datasets.capture import Capture
from percepta.datasets.posed import RgbdFrame, nearest
from percepta.errors import InputError
from percepta.files import write_atomically
from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics
from percepta.media.draw import write_picture
from percepta.metrics import trajectory
from percepta.report import Gallery, Heading, Numbers, Page, Table, Text
from percepta.systems.online3d.predict import Online3d
from percepta.systems.online3d.result import Result as Room
from percepta.systems.online3d.result import label_colours
from percepta.systems.planes.fusion import FusedScene, glb
from percepta.systems.planes.predict import Planes, View
from percepta.systems.slam.predict import Slam, Walk

SYSTEMS = ("slam", "planes", "online3d")
Tell = Callable[[str, int, int], None]
"""Called with (what is done, frames done, frames in all)."""

_WIDTH_PX = 320  # of the frames that are labelled
_SAME_M, _SAME_DEG = 0.25, 15.0  # up to which two surfaces are partners


@dataclass(frozen=True)
class Scanned:
    """What a scan gave.

    Attributes:
        walk: the way of the camera and the map, as SLAM says it.
        world_from_slam: turns the walk's world so that z points up, and scales it.
        scene: the planes.
        room: the labelled map; None without depth.
        true_scene: the planes by true poses; None where these are not known.
        ate_m: error of the poses; NaN where the truth is not known.
        metric: whether lengths are metres; else the median depth of points is taken for 2 m.
    """

    walk: Walk
    world_from_slam: Float64[np.ndarray, "4 4"]
    scene: FusedScene
    room: Room | None
    true_scene: FusedScene | None
    ate_m: float
    metric: bool

    def draw(self) -> Image.Image:
        """The floor plan, and beside it the one from true poses where they are known."""
        plans = [self.scene.draw(), *([self.true_scene.draw()] if self.true_scene is not None else [])]
        return Image.fromarray(np.concatenate([np.asarray(plan) for plan in plans], 1))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers."""
        out: dict[str, Any] = {"walk": self.walk.to_dict(), "planes": self.scene.to_dict(), "metric": self.metric}
        if self.true_scene is not None:
            out |= {"ate_m": self.ate_m, "against true poses": differences(self.scene, self.true_scene)}
        return out

    def save(self, folder: Path | str) -> Path:
        """Writes scan.glb (planes, and the labelled points as small tiles), plan.png and report.html."""
        folder = Path(folder)
        write_atomically(folder / "scan.glb", glb(*self._mesh()))
        write_picture(folder / "plan.png", self.draw())
        return Page("Scan", self.blocks()).write(folder / "report.html")

    def blocks(self) -> list[Block]:
        """What the page shows."""
        area = sum(surface.area_m2 for surface in self.scene.surfaces)
        numbers = {
            "frames tracked": f"{len(self.walk.frames)} of {len(self.walk.states)}",
            "surfaces": len(self.scene.surfaces),
        }
        if self.metric:
            numbers["area, m²"] = f"{area:.1f}"
        if self.room is not None:
            numbers["labelled points"] = f"{len(self.room.xyz):,}"
        out: list[Block] = [Numbers(numbers)]
        if not self.metric:
            out.append(Text("One camera does not know lengths: the median depth of points is taken for 2 m."))
        captions = "floor plan from our poses" + ("; beside it from true poses" if self.true_scene is not None else "")
        out.append(Gallery([(self.draw(), captions), (self.walk.draw(), "the way of the camera")]))
        if self.true_scene is not None:
            rows = [[name, value] for name, value in differences(self.scene, self.true_scene).items()]
            out += [
                Heading("Against the plan from true poses"),
                Table(["", ""], [["ATE, m", round(self.ate_m, 4)], *rows]),
            ]
        if self.room is not None:
            out += [Heading("Labelled map"), Gallery([(self.room, "colours, classes, instances")])]
        return [*out, *(Text(text) for text in self.walk.warnings)]

    def _mesh(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Corners, triangles and colours of the planes and of the labelled points, each a tetrahedron of 1 cm."""
        places, triangles, colours = self.scene.mesh()
        if self.room is None:
            return places, triangles, colours
        tetrahedron = 0.01 * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / 2
        faces = np.array([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]])
        step = max(1, len(self.room.xyz) // 50_000)
        xyz, tone = self.room.xyz[::step], label_colours()[self.room.label[::step]]
        corners = (xyz[:, None] + tetrahedron).reshape(-1, 3)
        more = (faces[None] + 4 * np.arange(len(xyz))[:, None, None]).reshape(-1, 3) + len(places)
        return (
            np.concatenate([places, corners]),
            np.concatenate([triangles, more]),
            np.concatenate([colours, np.repeat(tone, 4, 0).astype(np.uint8)]),
        )


def scan(
    capture: Capture, *, slam: Slam, planes: Planes, online3d: Online3d | None = None, tell: Tell | None = None
) -> Scanned:
    """Goes through the frames for the poses, and again for planes and labels.

    Args:
        capture: the frames.
        slam: gives the poses.
        planes: gives the planes.
        online3d: gives the labels, where there is depth; None: no labels.
        tell: called while it goes on.

    Raises:
        InputError: fewer than ten frames were tracked, or no planes could be looked for.
    """
    session = slam.session_of(capture)
    total = len(capture)
    for number, shot in enumerate(capture):
        session.step(shot.frame, shot.time_s, shot.depth_m, shot.right, shot.imu)
        if tell is not None:
            tell("poses", number + 1, max(total, number + 1))
    walk = session.walk(check_camera=True)
    if len(walk.frames) < 10:
        raise InputError(f"{capture.name}: only {len(walk.frames)} of {len(walk.states)} frames were tracked, no scan")
    metric = walk.metric
    turned = session.tracker.part in session.tracker.is_upright
    upright = np.eye(3) if turned else upright_turn(walk, session.straight_from_camera)
    scale = 1.0 if metric else 2.0 / _median_depth(walk)
    world_from_slam = poses.compose(upright, np.zeros(3))
    matrices = scale_poses(walk.trajectory.world_from_camera, scale)
    at = {int(frame): world_from_slam @ matrix for frame, matrix in zip(walk.frames, matrices, strict=True)}
    main = int(np.bincount(walk.part).argmax())
    at = {frame: pose for (frame, pose), part in zip(at.items(), walk.part.tolist(), strict=True) if part == main}
    straight = poses.inverse(session.straight_from_camera)
    true = _true_poses(capture, walk, world_from_slam)
    ours, theirs = planes.session(), planes.session() if true else None
    labels = online3d.session(up="z") if online3d is not None else None
    labelled = 0
    for number, shot in enumerate(capture):
        if tell is not None:
            tell("planes", number + 1, max(total, number + 1))
        if number not in at:
            continue
        picture = np.ascontiguousarray(session.straighten(shot.frame))
        colour = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, 2)
        ours.step(View(colour, session.straight, at[number] @ straight))
        if theirs is not None and number in true:
            theirs.step(View(colour, session.straight, true[number] @ straight))
        if labels is not None and shot.depth_m is not None:
            frame = _small(colour, shot.depth_m, session.straight, at[number] @ straight, f"{number:06d}")
            with contextlib.suppress(InputError):  # one frame that does not fit does not stop the rest
                labelled += labels.step(frame).taken
    room = labels.result() if labels is not None and labelled else None
    ate = _error(capture, walk)
    scene = replace(ours.scene(), metric=metric)
    return Scanned(walk, world_from_slam, scene, room, None if theirs is None else theirs.scene(), ate, metric)


def _small(
    colour: UInt8[np.ndarray, "h w 3"],
    depth_m: np.ndarray,
    camera: Intrinsics,
    world_from_camera: Float64[np.ndarray, "4 4"],
    name: str,
) -> RgbdFrame:
    """A frame for the labelled map, at most 320 pixels wide."""
    share = min(1.0, _WIDTH_PX / camera.width)
    small = camera.resized(max(1, round(camera.width * share)), max(1, round(camera.height * share)))
    depth = nearest(np.asarray(depth_m, np.float32), small.width, small.height)
    picture = np.asarray(Image.fromarray(colour).resize((small.width, small.height), Image.Resampling.BOX))
    return RgbdFrame(picture, depth, world_from_camera, small, name)


def scale_poses(matrices: Float64[np.ndarray, "n 4 4"], scale: float) -> Float64[np.ndarray, "n 4 4"]:
    """Poses in a world whose lengths are multiplied."""
    return poses.compose(matrices[:, :3, :3], scale * matrices[:, :3, 3])


def _median_depth(walk: Walk) -> float:
    """Of the points that keyframes see."""
    views = walk.views
    back = poses.inverse(views.world_from_camera)
    x = (back[views.view, :3, :3] @ walk.points[views.point][..., None])[..., 0] + back[views.view, :3, 3]
    return max(float(np.median(x[:, 2])), 1e-9)


def upright_turn(walk: Walk, straight_from_camera: Float64[np.ndarray, "4 4"]) -> Float64[np.ndarray, "3 3"]:
    """A turn after which z points up: as the cameras were held, on average.

    Hand-held cameras look up and down about as far as to one side and the other, so that the direction at right angles
    to all pictures' horizontal axes is up (the rows of a picture are level on average).

    Args:
        walk: the way.
        straight_from_camera: how the straightened camera is turned.
    """
    right = (walk.trajectory.world_from_camera[:, :3, :3] @ straight_from_camera[:3, :3].T)[:, :, 0]
    down = walk.trajectory.world_from_camera[:, :3, 1].mean(0)
    _, size, axes = np.linalg.svd(right, full_matrices=False)
    up = axes[2] if size[1] > 0.15 * size[0] else -down
    up = up if up @ down < 0 else -up
    if up @ -down < np.cos(np.radians(60)) * np.linalg.norm(down):  # turned too far to be believed
        up = -down
    up = up / np.linalg.norm(up)
    axis = np.cross(up, (0.0, 0.0, 1.0))
    sine = float(np.linalg.norm(axis))
    if sine < 1e-9:
        return np.eye(3) if up[2] > 0 else np.diag([1.0, -1.0, -1.0])
    return poses.from_vector(axis / sine * np.arctan2(sine, up[2]))


def _error(capture: Capture, walk: Walk) -> float:
    """ATE of the scored camera; NaN without truth."""
    if capture.truth is None:
        return float("nan")
    mine = trajectory.Trajectory(walk.trajectory.time_s, walk.trajectory.world_from_camera @ capture.camera_from_scored)
    try:
        return trajectory.absolute(mine, capture.truth, with_scale=not walk.metric, max_difference_s=0.01)[0].rmse
    except InputError:
        return float("nan")


def _true_poses(
    capture: Capture, walk: Walk, world_from_slam: Float64[np.ndarray, "4 4"]
) -> dict[int, Float64[np.ndarray, "4 4"]]:
    """{frame: true world_from_camera}, moved into our world; empty without truth or where lengths are no metres."""
    if capture.truth is None or not walk.metric:
        return {}
    back = poses.inverse(capture.camera_from_scored)
    mine = trajectory.Trajectory(walk.trajectory.time_s, walk.trajectory.world_from_camera)
    true = trajectory.Trajectory(capture.truth.time_s, capture.truth.world_from_camera @ back)
    try:
        ours, theirs = trajectory.associate(mine, true, 0.01)
        alignment = trajectory.umeyama(theirs.centres, ours.centres)
    except InputError:
        return {}
    frame_at = {float(time): int(frame) for time, frame in zip(walk.trajectory.time_s, walk.frames, strict=True)}
    moved = world_from_slam @ alignment.poses(theirs.world_from_camera)
    return {frame_at[float(time)]: pose for time, pose in zip(ours.time_s, moved, strict=True)}


def differences(scene: FusedScene, true: FusedScene) -> dict[str, float | int]:
    """How two floor plans differ: surfaces that have a partner, how far these are turned and apart, and areas.

    Args:
        scene: ours.
        true: the other.
    """
    turns, gaps, matched = [], [], 0.0
    for other in true.surfaces:
        middle = other.world_from_plane[:3, 3]
        best = None
        for mine in scene.surfaces:
            turn = float(np.degrees(np.arccos(np.clip(mine.normal @ other.normal, -1, 1))))
            gap = abs(float(mine.normal @ middle + mine.offset))
            beside = float(np.linalg.norm(mine.world_from_plane[:3, 3] - middle))
            if turn < _SAME_DEG and gap < _SAME_M and beside < 1.5 and (best is None or gap < best[1]):
                best = (turn, gap)
        if best is not None:
            turns.append(best[0])
            gaps.append(best[1])
            matched += other.area_m2
    area, true_area = (sum(s.area_m2 for s in one.surfaces) for one in (scene, true))
    return {
        "surfaces": len(scene.surfaces),
        "surfaces by true poses": len(true.surfaces),
        "share of their area with a partner": round(matched / max(true_area, 1e-9), 3),
        "median turn of partners, degrees": round(float(np.median(turns)), 2) if turns else float("nan"),
        "median distance of partners, m": round(float(np.median(gaps)), 3) if gaps else float("nan"),
        "area, m²": round(area, 2),
        "area by true poses, m²": round(true_area, 2),
    }
