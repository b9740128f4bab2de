"""A scan that is going on: RGB-D frames with poses into a voxel map, its labels and its instances.

online = percepta.load("online3d").session()
for frame in recording:
    print(online.step(frame).active)
online.result().save("room.ply")
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, Unpack, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int, Int32, Int64, UInt8
from torch.nn import functional

from percepta.contract import weights_hash
from percepta.datasets import nyu40
from percepta.errors import InputError
from percepta.geometry import camera as cameras
from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics
from percepta.nn.sparse import REACH, Sites
from percepta.systems.online3d.fusion import associate, averaged, cluster
from percepta.systems.online3d.model import OnlineNet, Prediction
from percepta.systems.online3d.result import Result
from percepta.systems.online3d.stream import Mode, Stream, StreamOptions, read_state, write_state

_FORMAT = "saved session of online3d, version 3"


@runtime_checkable
class Frame(Protocol):
    """A frame of a camera that sees colour and depth, registered to each other, such as `datasets.posed.RgbdFrame`."""

    @property
    def colour(self) -> UInt8[np.ndarray, "h w 3"]:
        """RGB, 0..255."""
        ...

    @property
    def depth_m(self) -> Float[np.ndarray, "h w"]:
        """Along the optical axis, metres; 0 where there is no reading."""
        ...

    @property
    def world_from_camera(self) -> Float[np.ndarray, "4 4"]:
        """Pose of the camera."""
        ...

    @property
    def intrinsics(self) -> Intrinsics:
        """Of both pictures."""
        ...


@dataclass(frozen=True)
class Stats:
    """What a step did.

    Attributes:
        frame: steps so far.
        name: the frame's.
        taken: False where the frame was left out.
        reason: why it was left out.
        seen: voxels that the frame fell into.
        new: of these, voxels that were not there before.
        active: voxels that were computed anew.
        voxels: voxels of the whole map.
        instances: ids in use.
        changes: what happened to instances, as "12 became part of 3", where they were updated.
        ms: milliseconds of the parts "points", "network", "fusion" and "instances".
    """

    frame: int
    name: str
    taken: bool
    reason: str
    seen: int
    new: int
    active: int
    voxels: int
    instances: int
    changes: tuple[str, ...]
    ms: dict[str, float]


class VoxelMap:
    """Running mean colour of each voxel; rows count from 0 in the order of first sight."""

    def __init__(self, voxel_m: float) -> None:
        self.voxel_m, self._sites = voxel_m, Sites()
        self._sums = np.zeros((1024, 4))
        self._coords = np.zeros((1024, 3), np.int32)

    @property
    def count(self) -> int:
        return self._sites.count

    @property
    def coords(self) -> Int32[np.ndarray, "n 3"]:
        return self._coords[: self.count]

    @property
    def sums(self) -> Float[np.ndarray, "n 4"]:
        """Points of each voxel, and the sums of their red, green and blue."""
        return self._sums[: self.count]

    def add(self, xyz: Float[np.ndarray, "n 3"], rgb: np.ndarray) -> Int64[np.ndarray, " m"]:
        """Takes points in; returns the rows that they fell into, ascending."""
        cell = torch.from_numpy(np.floor(xyz / self.voxel_m).astype(np.int32))
        rows, new = self._sites.add(functional.pad(cell, (1, 0)))
        before = self.count - len(new)
        self._sums, self._coords = _extended(self._sums, self.count), _extended(self._coords, self.count)
        self._coords[before : self.count] = new[:, 1:].numpy()
        touched, of = np.unique(rows.numpy() - 1, return_inverse=True)
        weights = (None, *np.asarray(rgb, np.float64).T)
        self._sums[touched] += np.stack([np.bincount(of, w, len(touched)) for w in weights], 1)
        return touched.astype(np.int64)

    def rgb(self, rows: Any = slice(None)) -> Float32[np.ndarray, "m 3"]:
        """Mean colours, 0..255."""
        sums = self.sums[rows]
        return (sums[:, 1:] / sums[:, :1]).astype(np.float32)

    def state(self) -> dict[str, np.ndarray]:
        """What `restored` makes the same map from; it numbers further voxels as this one would."""
        sites = {f"sites/{name}": value.numpy() for name, value in self._sites.state().items()}
        return {"coords": self.coords, "sums": self.sums, **sites}

    @classmethod
    def restored(cls, voxel_m: float, state: dict[str, np.ndarray]) -> VoxelMap:
        out = cls(voxel_m)
        names = ("keys", "slots", "cells")
        out._sites = Sites.restored({name: torch.from_numpy(state[f"sites/{name}"]) for name in names})
        out._coords, out._sums = state["coords"], state["sums"]
        return out


def _extended(array: np.ndarray, rows: int) -> np.ndarray:
    """The array, or where it is too short a longer copy with zeros behind."""
    if len(array) >= rows:
        return array
    return np.concatenate((array, np.zeros((rows + rows // 2 - len(array), *array.shape[1:]), array.dtype)))


class Online:
    """The state of a scan.

    Args:
        model: the network; put into eval mode.
        mode: what a step computes; see `stream.Stream`.
        max_weight: largest weight of what earlier frames predicted for a voxel; 0: only the last prediction counts.
            Above 0 labels are steadier, but what was predicted before a voxel's surroundings were seen is often wrong:
            2 costs a point of mIoU.
        cluster_every: instances are updated every so many frames that were taken (and by `result`).
        min_depth_m: depth below is no reading.
        max_depth_m: depth above is no reading.
        max_step_m: a frame whose camera is farther than that from the last one taken is left out, unless the one that
            was left out before it agrees with it: so a camera that was lost and found again is accepted.
        max_turn_deg: the same for the angle between the two cameras.
        up: what is up in the world of the poses: "z", "camera" (what is up in the first frame, for recordings whose
            world begins at a camera), or a direction. The network was trained on rooms with z up.
        stream: further arguments of `stream.Stream`.

    Attributes:
        stats: of all steps.
    """

    def __init__(
        self,
        model: OnlineNet,
        *,
        mode: Mode = "paper",
        max_weight: float = 0.0,
        cluster_every: int = 10,
        min_depth_m: float = 0.1,
        max_depth_m: float = 5.0,
        max_step_m: float = 1.0,
        max_turn_deg: float = 60.0,
        up: str | Sequence[float] = "z",
        **stream: Unpack[StreamOptions],
    ) -> None:
        if max_weight < 0 or cluster_every < 1 or not 0 <= min_depth_m < max_depth_m:
            raise InputError(
                "max_weight is at least 0, cluster_every at least 1, and min_depth_m lies below max_depth_m"
            )
        self.model, self.stream = model, Stream(model, mode, **stream)
        config = model.config
        self.map = VoxelMap(config.voxel_m)
        self.settings = {
            "max_weight": max_weight, "cluster_every": cluster_every, "min_depth_m": min_depth_m,
            "max_depth_m": max_depth_m, "max_step_m": max_step_m, "max_turn_deg": max_turn_deg,
        }  # fmt: skip
        self._turn = _turn_to_up(up)  # None: from the first frame
        self.stats: list[Stats] = []
        self._probability = np.zeros((0, config.classes), np.float32)
        self._offset = np.zeros((0, 3), np.float32)
        self._weight = np.zeros(0, np.float32)
        self._instance = np.zeros(0, np.int32)
        self._next_id = 1
        self._taken = 0
        self._last: Float[np.ndarray, "4 4"] | None = None  # pose of the last frame that was taken
        self._doubted: Float[np.ndarray, "4 4"] | None = None  # of the one left out after it
        self._digest = ""
        self._whole = True  # False while a step is under way

    def step(self, frame: Frame) -> Stats:
        """Takes in a frame.

        A frame without any reading, one that repeats the last and one whose camera jumps are left out. Readings that
        are NaN, infinite, or outside of min_depth_m and max_depth_m are none.

        Raises:
            InputError: the pose is no rigid motion or leads too far away, or pictures that do not fit. The session is
                then as it was.
        """
        start = time.perf_counter()
        self._repair()
        reason, digest = self._check(frame)
        ms = {"points": 0.0, "network": 0.0, "fusion": 0.0, "instances": 0.0}
        if not reason:
            xyz, rgb = self._points(frame)
            reason = "" if len(xyz) else "no reading"
        self._digest = digest
        if reason:
            return self._note(frame, reason, 0, 0, 0, (), ms)
        self._whole = False
        pose = np.asarray(frame.world_from_camera, np.float64)
        self._last, self._doubted = pose, None
        before = self.map.count
        rows = self.map.add(xyz, rgb)
        marks = [start, time.perf_counter()]
        features = torch.from_numpy(self.map.rgb(rows) / np.float32(127.5) - np.float32(1))
        update = self.stream.step(torch.from_numpy(self.map.coords[rows]), features)
        marks.append(time.perf_counter())
        if not np.array_equal(update.given.cpu().numpy(), rows):
            raise RuntimeError("the map and the stream number voxels differently; was the stream stepped from outside?")
        self._fuse(update.rows, update.prediction)
        self._whole = True
        marks.append(time.perf_counter())
        self._taken += 1
        changes = self._update_instances() if self._taken % int(self.settings["cluster_every"]) == 0 else ()
        marks.append(time.perf_counter())
        ms = {name: 1000 * (b - a) for name, a, b in zip(ms, marks[:-1], marks[1:], strict=True)}
        return self._note(frame, "", len(rows), self.map.count - before, len(update.rows), changes, ms)

    def _repair(self) -> None:
        """Repairs the state after a step that was interrupted half-way, as by Ctrl-C."""
        if self._whole:
            return
        # Voxels that the stream does not know yet are of one step: given at once, they are numbered as in the map.
        features = torch.from_numpy(self.map.rgb() / np.float32(127.5) - np.float32(1))
        self.stream.step(torch.from_numpy(self.map.coords), features)
        self.stream.anchor()
        self._fuse(torch.arange(self.map.count), self.stream.prediction)
        self._whole = True

    def _note(
        self,
        frame: Frame,
        reason: str,
        seen: int,
        new: int,
        active: int,
        changes: tuple[str, ...],
        ms: dict[str, float],
    ) -> Stats:
        count = len(np.unique(self._instance[self._instance > 0])) if changes or not self.stats else None
        used = self.stats[-1].instances if count is None else count
        name, number = str(getattr(frame, "name", "")), len(self.stats) + 1
        self.stats.append(Stats(number, name, not reason, reason, seen, new, active, self.map.count, used, changes, ms))
        return self.stats[-1]

    def _check(self, frame: Frame) -> tuple[str, str]:
        """Why a frame is left out, or ""; and what tells it from others."""
        pose = np.asarray(frame.world_from_camera, np.float64)
        poses.check(pose, f"the pose of frame {getattr(frame, 'name', len(self.stats))}")
        colour, depth = np.asarray(frame.colour), np.asarray(frame.depth_m)
        if colour.dtype != np.uint8 or colour.shape != (*depth.shape, 3):
            raise InputError(
                f"a frame has colour h w 3 as bytes and depth h w, registered; got {colour.shape} of {colour.dtype} "
                f"and {depth.shape}"
            )
        if depth.dtype.kind != "f":
            raise InputError(f"depth_m is in metres as floats, got {depth.dtype}; divide millimetres by 1000")
        camera = frame.intrinsics
        if depth.shape != (camera.height, camera.width):
            size = f"{depth.shape[1]}×{depth.shape[0]}"
            raise InputError(
                f"the pictures are {size} but the intrinsics are for {camera.width}×{camera.height}; use "
                "intrinsics.resized()"
            )
        parts = (colour, depth, pose)
        digest = hashlib.blake2b(b"".join(np.ascontiguousarray(p).tobytes() for p in parts), digest_size=16).hexdigest()
        if digest == self._digest:
            return "the same frame again", digest
        if self._last is None or self._near(self._last, pose):
            return "", digest
        if self._doubted is not None and self._near(self._doubted, pose):
            return "", digest
        self._doubted = pose
        away = float(np.linalg.norm(pose[:3, 3] - self._last[:3, 3]))
        turn = float(np.degrees(poses.angle(self._last[:3, :3].T @ pose[:3, :3])))
        return f"the camera jumps by {away:.2f} m and {turn:.0f}°", digest

    def _near(self, a: np.ndarray, b: np.ndarray) -> bool:
        turn = float(np.degrees(poses.angle(a[:3, :3].T @ b[:3, :3])))
        away = float(np.linalg.norm(a[:3, 3] - b[:3, 3]))
        return away <= self.settings["max_step_m"] and turn <= self.settings["max_turn_deg"]

    def _points(self, frame: Frame) -> tuple[np.ndarray, np.ndarray]:
        """Points of the frame, z up, and their colours."""
        depth = np.nan_to_num(np.asarray(frame.depth_m, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
        good = self._good(depth)
        local = cameras.rays(frame.intrinsics)[good] * depth[good][:, None]
        pose = np.asarray(frame.world_from_camera, np.float64)
        turn = _turned_to_z(-pose[:3, 1]) if self._turn is None else self._turn
        xyz = poses.transform(pose, local) @ turn.T
        reach = REACH * self.map.voxel_m
        if len(xyz) and (far := float(np.abs(xyz).max())) >= reach:
            raise InputError(
                f"frame {getattr(frame, 'name', len(self.stats))} sees points {far:.3g} m from the origin; a map of "
                f"{100 * self.map.voxel_m:g} cm voxels reaches {reach:.0f} m. Is its pose in metres?"
            )
        self._turn = turn
        return xyz, np.asarray(frame.colour)[good]

    def _good(self, depth: np.ndarray) -> Bool[np.ndarray, "h w"]:
        return (depth > self.settings["min_depth_m"]) & (depth < self.settings["max_depth_m"])

    def _fuse(self, changed: Int[torch.Tensor, " n"], prediction: Prediction) -> None:
        """What was computed anew of some voxels goes into what is kept of them."""
        count = self.map.count
        self._probability, self._offset = _extended(self._probability, count), _extended(self._offset, count)
        self._weight, self._instance = _extended(self._weight, count), _extended(self._instance, count)
        rows = changed.cpu().numpy()
        value = prediction.logits.float().softmax(1)
        if prediction.offset_m is not None:
            value = torch.cat((value, prediction.offset_m), 1)
            kept = np.concatenate((self._probability[rows], self._offset[rows]), 1)
        else:
            kept = self._probability[rows]
        mean, weight = averaged(kept, self._weight[rows], value.cpu().numpy(), self.settings["max_weight"])
        classes = self._probability.shape[1]
        self._probability[rows], self._weight[rows] = mean[:, :classes], np.maximum(weight, np.float32(1e-9))
        if mean.shape[1] > classes:
            self._offset[rows] = mean[:, classes:]

    def _update_instances(self) -> tuple[str, ...]:
        n, config = self.map.count, self.model.config
        if self.model.instance is None or not n:
            return ()
        coords = self._coords
        label = self._probability[:n].argmax(1)
        middle = (coords + 0.5) * config.voxel_m
        now = cluster(middle, self._offset[:n], label, config.cluster_m, config.min_points)
        match = associate(self._instance[:n], now, self._next_id)
        self._instance[:n], self._next_id = match.instance, match.next_id
        went = tuple(f"{a} became part of {b}" for a, b in match.merged)
        return went + tuple(f"{b} split from {a}" for a, b in match.split) + tuple(f"{i} is new" for i in match.born)

    @property
    def _coords(self) -> Int32[np.ndarray, "n 3"]:
        return self.map.coords

    def result(self, *, update_instances: bool = True) -> Result:
        """The labelled map as it is now: one point a voxel, z up.

        Args:
            update_instances: find instances anew; False: those that were found last.
        """
        self._repair()
        n = self.map.count
        if update_instances:
            self._update_instances()
        probability = self._probability[:n]
        label = np.array(nyu40.SCANNET20, np.uint8)[probability.argmax(1)] if n else np.zeros(0, np.uint8)
        instance = np.where(np.isin(label, np.array(nyu40.SCANNET20)[list(nyu40.THINGS)]), self._instance[:n], 0)
        xyz = ((self._coords + 0.5) * self.map.voxel_m).astype(np.float32)
        rgb = (self.map.rgb() + 0.5).astype(np.uint8)
        return Result(
            xyz,
            rgb,
            label,
            instance.astype(np.int32),
            probability.max(1, initial=0).astype(np.float32),
            weights_hash(self.model),
        )

    def save(self, path: Path | str) -> None:
        """Writes the state; a session loaded from it goes on bit by bit as this one would.

        Two files: `path`, and the stream's with ".stream" behind.
        """
        self._repair()
        path = Path(path)
        n = self.map.count
        pose = {"last": self._last, "doubted": self._doubted, "turn": self._turn}
        header = {
            "settings": self.settings, "stats": [asdict(s) for s in self.stats],
            "next_id": self._next_id, "taken": self._taken, "digest": self._digest, "steps": self.stream.steps,
            "poses": {name: None if value is None else value.tolist() for name, value in pose.items()},
        }  # fmt: skip
        tensors = {
            **self.map.state(), "probability": self._probability[:n],
            "offset": self._offset[:n], "weight": self._weight[:n], "instance": self._instance[:n],
        }  # fmt: skip
        self.stream.save(path.with_name(path.name + ".stream"))
        write_state(path, _FORMAT, header, {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in tensors.items()})

    @classmethod
    def load(cls, path: Path | str, model: OnlineNet) -> Online:
        """A session that `save` wrote, with the same weights.

        Raises:
            InputError: another file, other weights, or another version.
        """
        path = Path(path)
        header, tensors = read_state(path, _FORMAT)
        held = {name: value.numpy() for name, value in tensors.items()}
        out = cls(model, **header["settings"])
        out.stream = Stream.load(path.with_name(path.name + ".stream"), model)
        if out.stream.steps != header["steps"]:
            raise InputError(f"{path} and {path.name}.stream were not written together")
        out.map = VoxelMap.restored(model.config.voxel_m, held)
        out._probability, out._offset = held["probability"], held["offset"]
        out._weight, out._instance = held["weight"], held["instance"]
        out._next_id, out._taken, out._digest = header["next_id"], header["taken"], header["digest"]
        last, doubted, turn = (header["poses"][name] for name in ("last", "doubted", "turn"))
        out._last, out._doubted, out._turn = (None if v is None else np.array(v) for v in (last, doubted, turn))
        out.stats = [Stats(**{**row, "changes": tuple(row["changes"])}) for row in header["stats"]]
        return out


def _turn_to_up(up: str | Sequence[float] | np.ndarray) -> Float[np.ndarray, "3 3"] | None:
    """The rotation that takes a direction to z by the shortest way; None for "camera".

    Raises:
        InputError: no direction.
    """
    if isinstance(up, str):
        if up not in ("z", "camera"):
            raise InputError(f'up is "z", "camera" or a direction; got {up!r}')
        return np.eye(3) if up == "z" else None
    v = np.asarray(up, np.float64)
    if v.shape != (3,) or not np.isfinite(v).all() or np.linalg.norm(v) < 1e-9:
        raise InputError(f"up is a direction of three numbers; got {up}")
    return _turned_to_z(v / np.linalg.norm(v))


def _turned_to_z(v: Float[np.ndarray, " 3"]) -> Float[np.ndarray, "3 3"]:
    """The same, of a unit vector."""
    axis = np.cross(v, [0.0, 0.0, 1.0])
    if np.linalg.norm(axis) < 1e-9:
        return np.eye(3) if v[2] > 0 else np.diag([1.0, -1.0, -1.0])
    return poses.from_vector(axis / np.linalg.norm(axis) * np.arccos(np.clip(v[2], -1, 1)))
