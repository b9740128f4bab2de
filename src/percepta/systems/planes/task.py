"""What the house asks of a system, for planes from posed pictures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64, Int32, Int64, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from percepta.datasets.nyu40 import PLANEMVS_NAMES
from percepta.datasets.posed_folder import PosedPicture
from percepta.errors import InputError
from percepta.files import write_atomically
from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics, unit_plane
from percepta.media import draw, image
from percepta.systems.planes import Config
from percepta.systems.planes import data as pairs
from percepta.systems.planes.fusion import Fusion, Scene
from percepta.systems.planes.losses import losses
from percepta.systems.planes.measure import Planes, decode, measure, run
from percepta.systems.planes.model import PlaneNet

PRETRAINED = {"image": "efficientnet-lite0"}
EXPORTS: dict[str, Any] = {
    "sweep": "homographies follow from each pair's pose and intrinsics; a volume sampled in pieces has no graph",
}
SHORTEST_M = 0.005  # cameras nearer to each other than this see no parallax


def build(config: Config) -> PlaneNet:
    """The network with random weights; Lite0, which PRETRAINED names, is filled by `load` and `train`."""
    return PlaneNet(config)


def data(config: Config, split: str, root: Path | None = None) -> pairs.Samples:
    """Pairs of a split ("train", "val", "test", "all") of kept pairs, ScanNet with planes, or any RGB-D recording.

    Without a folder: the synthetic world of the settings.
    """
    return pairs.Samples(config, pairs.source(config, split, root), split == "train")


def loss(model: nn.Module, batch: dict[str, Any], step: Any) -> dict[str, Tensor]:
    """The ten losses; see `losses.py`."""
    net = cast(PlaneNet, model)
    return losses(net, run(net, batch), batch, step.generator)


def metrics(model: nn.Module, loader: Any) -> dict[str, Any]:
    """Depth table, plane AP, class mAP, VOI, RI and SC; see `measure.measure`."""
    return measure(cast(PlaneNet, model), loader)


@dataclass(frozen=True)
class View:
    """A picture and the camera that took it.

    Attributes:
        picture: anything that `media.image.read` takes. intrinsics: at the picture's size.
        world_from_camera: metres.
    """

    picture: Any
    intrinsics: Intrinsics
    world_from_camera: Float[np.ndarray, "4 4"]

    @classmethod
    def of(cls, posed: PosedPicture) -> View:
        """Of a file with its pose."""
        return cls(posed.read(), posed.intrinsics, posed.world_from_camera)


@dataclass(frozen=True)
class Result:
    """The planes of a picture, the surest first; n may be 0: then `message` says so.

    Attributes:
        normal, offset_m: n·x + d = 0 in the reference camera's coordinates, d > 0: n looks at the camera.
        label: place in `classes`. score: 0..1. mask: of each plane. index: number of each pixel's plane, −1 none.
        depth_m: composed of instance planes, and pixel planes elsewhere. pixel_depth_m: of pixel planes alone.
        picture: RGB as the network saw it; everything is of this size. matrix: K at this size.
        world_from_camera: of the reference. parallax_px: how far a point at 2 m moves between the pictures.
    """

    normal: Float64[np.ndarray, "n 3"]
    offset_m: Float64[np.ndarray, " n"]
    label: Int64[np.ndarray, " n"]
    score: Float64[np.ndarray, " n"]
    mask: Bool[np.ndarray, "n h w"]
    index: Int32[np.ndarray, "h w"]
    depth_m: Float32[np.ndarray, "h w"]
    pixel_depth_m: Float32[np.ndarray, "h w"]
    picture: UInt8[np.ndarray, "h w 3"]
    matrix: Float64[np.ndarray, "3 3"]
    world_from_camera: Float64[np.ndarray, "4 4"]
    parallax_px: float
    classes: tuple[str, ...] = PLANEMVS_NAMES

    @property
    def message(self) -> str:
        """What was found, in a sentence."""
        if not len(self.label):
            return "no plane found: the depth is that of pixel planes; try a larger baseline or a lower `sure`"
        names = [f"{self.classes[k]} {s:.2f}" for k, s in zip(self.label, self.score, strict=True)]
        return f"{len(names)} plane{'s' if len(names) > 1 else ''}: {', '.join(names)}"

    def points(self, number: int) -> Float64[np.ndarray, "k 3"]:
        """World coordinates of a plane's pixels, on the plane."""
        v, u = np.nonzero(self.index == number)
        sight = np.linalg.inv(self.matrix) @ np.stack([u, v, np.ones_like(u)]).astype(np.float64)
        depth = -self.offset_m[number] / (self.normal[number] @ sight)
        good = (depth > 0.1) & (depth < 10)
        return poses.transform(self.world_from_camera, (sight * depth).T[good])

    def draw(self) -> Image.Image:
        """The picture with its planes and their names, and the depth beside it (near is bright)."""
        h, w = self.index.shape
        canvas = Image.new("RGB", (2 * w, h))
        canvas.paste(overlay(self.picture, self.index, [self.classes[k] for k in self.label]), (0, 0))
        canvas.paste(shaded(self.depth_m), (w, 0))
        if not len(self.label):
            pen = ImageDraw.Draw(canvas)
            pen.text((w / 2, 8), "no plane found", (255, 255, 255), ImageFont.load_default(12), anchor="mt",
                     stroke_width=2, stroke_fill=(0, 0, 0))  # fmt: skip
        return canvas

    def save(self, path: Path | str) -> None:
        """The drawing; beside it, of the same name, planes as .json and depth with plane numbers as .npz."""
        path = Path(path)
        rows = [
            {"class": self.classes[k], "score": round(float(s), 4), "normal": n.round(6).tolist(),
             "offset_m": round(float(d), 6), "pixels": int((self.index == i).sum())}
            for i, (k, s, n, d) in enumerate(zip(self.label, self.score, self.normal, self.offset_m, strict=True))
        ]  # fmt: skip
        about = {"message": self.message, "planes": rows, "world_from_camera": self.world_from_camera.tolist()}
        arrays = io.BytesIO()
        np.savez_compressed(arrays, depth_m=self.depth_m, index=self.index, matrix=self.matrix)
        write_atomically(path.with_suffix(".npz"), arrays.getvalue())
        draw.write_picture(path, self.draw(), about)


def overlay(picture: UInt8[np.ndarray, "h w 3"], index: Int32[np.ndarray, "h w"], names: Sequence[str]) -> Image.Image:
    """Each plane tinted in its own colour, with its name in the middle."""
    out = picture.astype(np.float32)
    tones = draw.colours(max(1, len(names)))
    for number, tone in enumerate(tones[: len(names)]):
        own = index == number
        out[own] = 0.5 * out[own] + 0.5 * np.array(tone, np.float32)
        rim = own & ~(np.roll(own, 1, 0) & np.roll(own, -1, 0) & np.roll(own, 1, 1) & np.roll(own, -1, 1))
        out[rim] = tone
    drawn = Image.fromarray((out + 0.5).astype(np.uint8))
    pen, font = ImageDraw.Draw(drawn), ImageFont.load_default(11)
    for number, name in enumerate(names):
        v, u = np.nonzero(index == number)
        if len(v):
            place = (float(np.median(u)), float(np.median(v)))
            pen.text(place, name, (255, 255, 255), font, anchor="mm", stroke_width=1, stroke_fill=(0, 0, 0))
    return drawn


def shaded(depth_m: Float[np.ndarray, "h w"]) -> Image.Image:
    """Depth as a picture: inverse depth between its 2nd and 98th percentile, near bright; 0 black."""
    inverse = np.where(depth_m > 0, 1 / np.maximum(depth_m, 1e-3), 0)
    seen = inverse[inverse > 0]
    low, high = np.percentile(seen, [2, 98]) if len(seen) else (0.0, 1.0)
    share = np.clip((inverse - low) / max(high - low, 1e-6), 0, 1) * (inverse > 0)
    tone = np.stack([share**0.7, share, 0.35 + 0.3 * share], -1) * (inverse > 0)[..., None]
    return Image.fromarray((255 * tone + 0.5).astype(np.uint8))


def prepare(config: Config, reference: View, sources: Sequence[View]) -> tuple[dict[str, Tensor], float]:
    """One batch of one reference picture, and how far a point at 2 m moves between it and the sources, in pixels.

    Raises:
        InputError: no source; pictures of several sizes; intrinsics of another size; a pose that is no rotation;
            cameras at one place; pictures that do not overlap. Says which.
    """
    if not sources:
        raise InputError("planes need at least one source picture beside the reference: one view has no parallax")
    views = [reference, *sources]
    names = ["the reference", *(f"source {i + 1}" for i in range(len(sources)))]
    pixels = [image.read(view.picture) for view in views]
    sizes = [(p.shape[2], p.shape[1]) for p in pixels]
    for name, view, (w, h) in zip(names, views, sizes, strict=True):
        camera = view.intrinsics
        if (camera.width, camera.height) != (w, h):
            raise InputError(
                f"{name} is {w}×{h} pixels but its intrinsics are for {camera.width}×{camera.height}; "
                "use intrinsics.resized(), or those of the picture"
            )
        poses.check(view.world_from_camera, f"the pose of {name}")
    if len(set(sizes)) > 1:
        listed = ", ".join(f"{name} {w}×{h}" for name, (w, h) in zip(names, sizes, strict=True))
        raise InputError(
            f"pictures of one call have one size, got {listed}; resize them, and their intrinsics with them"
        )
    moves = [poses.inverse(view.world_from_camera) @ reference.world_from_camera for view in sources]
    parallax = []
    small = [view.intrinsics.resized(config.width, config.height) for view in views]
    for name, view, move, camera in zip(names[1:], sources, moves, small[1:], strict=True):
        apart = float(np.linalg.norm(view.world_from_camera[:3, 3] - reference.world_from_camera[:3, 3]))
        if apart < SHORTEST_M:
            raise InputError(
                f"{name} was taken {1000 * apart:.1f} mm from the reference: without a baseline (best 0.05 to 0.15 m) "
                "nothing tells how far things are"
            )
        if (share := overlap(small[0], camera, move)) < 0.1:
            raise InputError(
                f"{name} does not overlap with the reference: of points 0.5 to 5 m away it sees {share:.0%}; "
                "are the poses world_from_camera, and in metres?"
            )
        parallax.append(apart * camera.fx / 2)
    resized = torch.stack([image.resize(p, config.height, config.width) for p in pixels])
    matrices = torch.from_numpy(np.stack([camera.matrix for camera in small])).float()
    batch = {
        "image": resized[:1], "sources": resized[None, 1:], "matrix": matrices[:1],
        "source_matrices": matrices[None, 1:],
        "source_from_reference": torch.from_numpy(np.stack(moves)).float()[None],
    }  # fmt: skip
    return batch, float(np.mean(parallax))


def overlap(reference: Intrinsics, source: Intrinsics, source_from_reference: Float[np.ndarray, "4 4"]) -> float:
    """The share of the reference's view, 0.5 to 5 m away, that the source sees; 0..1."""
    v, u = np.meshgrid(np.linspace(0, reference.height - 1, 12), np.linspace(0, reference.width - 1, 16), indexing="ij")
    sight = (reference.inverse @ np.stack([u, v, np.ones_like(u)]).reshape(3, -1)).T
    shares = []
    for depth in (0.5, 1.0, 2.0, 5.0):
        there = poses.transform(source_from_reference, sight * depth)
        at = there @ source.matrix.T
        safe = np.where(at[:, 2] > 0.01, at[:, 2], np.nan)
        x, y = at[:, 0] / safe, at[:, 1] / safe
        shares.append(((x >= 0) & (x < source.width) & (y >= 0) & (y < source.height)).mean())
    return float(max(shares))


@torch.inference_mode()
def predict(model: nn.Module, reference: View, *sources: View) -> Result:
    """The planes of a posed picture, with the help of one or more others.

    Args:
        reference, sources: of one size, overlapping, some centimetres apart.

    Raises:
        MissingFileError, InputError: no picture, or what `prepare` says.
    """
    net = cast(PlaneNet, model)
    batch, parallax = prepare(net.config, reference, sources)
    weight = net.uncertainty
    moved = {key: value.to(weight.device, weight.dtype) for key, value in batch.items()}
    found = decode(net, run(net, moved), moved["matrix"], 0)
    shown = (batch["image"][0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    return _result(
        found, shown, batch["matrix"][0].double().numpy(), np.asarray(reference.world_from_camera, np.float64), parallax
    )


def _result(found: Planes, shown: np.ndarray, matrix: np.ndarray, pose: np.ndarray, parallax: float) -> Result:
    # p = 0 is the plane at infinity: it has no offset in metres.
    length = np.linalg.norm(found.plane, axis=1, keepdims=True)
    normal, offset = unit_plane(np.where(length > 1e-6, found.plane, (0.0, 0.0, -1e-6)))
    return Result(
        normal, offset, found.label, found.score, found.mask, found.index, found.depth_m, found.pixel_depth_m, shown,
        matrix, pose, parallax,
    )  # fmt: skip


class Session:
    """A scene from key frames: `step(view)` for each picture of a walk, `scene()` for what there is so far.

    Args:
        sources: how many earlier pictures help a key frame. baseline_m: how far a picture has to be from the last key
            frame to be one. least_score: of detections that join the scene.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        sources: int = 2,
        baseline_m: tuple[float, float] | None = None,
        least_score: float = 0.4,
    ) -> None:
        self.model, self.most, self.least_score = model, sources, least_score
        self.baseline_m = baseline_m or cast(PlaneNet, model).config.baseline_m
        self.fusion, self.kept = Fusion(), list[View]()

    @property
    def frames(self) -> int:
        """How many key frames the scene is made of."""
        return self.fusion.frames

    def step(self, view: View) -> Result | None:
        """The planes of a picture, which join the scene; None where the camera has moved too little since the last."""
        poses.check(view.world_from_camera, "the pose")
        view = replace(view, picture=image.read(view.picture))
        if not self.kept:
            self.kept.append(view)
            return None
        if self._apart(view, self.kept[-1]) < self.baseline_m[0]:
            return None
        helpers = [k for k in reversed(self.kept) if self._helps(view, k)][: self.most]
        self.kept = [*self.kept[-5:], view]
        if not helpers:
            return None
        result = predict(self.model, view, *helpers)
        self.join(result, self.fusion)
        return result

    def join(self, result: Result, fusion: Fusion) -> None:
        """Adds what is sure and large enough of a key frame to a scene."""
        sure = np.flatnonzero(result.score >= self.least_score).tolist()
        clouds = {i: cloud for i in sure if len(cloud := result.points(i)) >= 30}
        labels, scores = [int(result.label[i]) for i in clouds], [float(result.score[i]) for i in clouds]
        fusion.add(list(clouds.values()), result.world_from_camera[:3, 3], labels, scores)

    def scene(self, least_m2: float = 0.05, least_seen: int = 1) -> Scene:
        """The planes of all key frames so far."""
        return self.fusion.scene(least_m2, least_seen)

    def _apart(self, view: View, other: View) -> float:
        return float(np.linalg.norm(view.world_from_camera[:3, 3] - other.world_from_camera[:3, 3]))

    def _helps(self, view: View, other: View) -> bool:
        if not SHORTEST_M < self._apart(view, other) <= 2 * self.baseline_m[1]:
            return False
        move = poses.inverse(other.world_from_camera) @ view.world_from_camera
        return overlap(view.intrinsics, other.intrinsics, move) > 0.3


def session(model: nn.Module, **options: Any) -> Session:
    """Planes of a walk; see `Session`."""
    return Session(model, **options)
