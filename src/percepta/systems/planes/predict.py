"""An answer: the planes of a posed picture, and the scene that the key frames of a walk make."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64, Int32, Int64, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional

from percepta.contract import Evaluate, OpenStream, described, weights_hash
from percepta.datasets.nyu40 import PLANEMVS_NAMES
from percepta.errors import InputError, InputTypeError, check_between
from percepta.files import write_atomically
from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics, unit_plane
from percepta.media import draw, image
from percepta.media.draw import Shown
from percepta.media.image import Source
from percepta.systems.planes import MAX_PLANES, SCENE_SCORE_THRESHOLD, SCORE_THRESHOLD, Config, sweep
from percepta.systems.planes.fusion import FusedScene, Fusion, upwards
from percepta.systems.planes.head import detect
from percepta.systems.planes.model import Output, PlaneNet, run

MIN_BASELINE_M = 0.005  # cameras nearer to each other than this see no parallax


@dataclass(frozen=True)
class View:
    """A picture and the camera that took it.

    Attributes:
        picture: a file, a PIL picture, an array or a tensor; see `media.image.read`.
        intrinsics: of the camera, at the picture's size.
        world_from_camera: pose of the camera, metres.
    """

    picture: Source
    intrinsics: Intrinsics
    world_from_camera: Float[np.ndarray, "4 4"]


@dataclass(frozen=True, repr=False)
class Result(Shown):
    """The planes of a picture, the highest score first. There may be none: then `text` says so.

    Attributes:
        normal: n of each plane n·x + d = 0 in the reference camera's coordinates, unit length, towards the camera.
        offset_m: d of each plane, above 0.
        label: place in `classes`.
        score: 0..1.
        mask: of each plane; masks may overlap.
        index: number of each pixel's plane, −1 none.
        depth_m: depth of the pixel's plane instance; where there is none, of its own pixel plane.
        pixel_depth_m: depth of the pixel planes alone.
        picture: RGB as the network saw it; everything is of this size.
        matrix: K at this size.
        world_from_camera: pose of the reference camera.
        parallax_px: how far a point at 2 m moves between the pictures.
        classes: names of the classes.
        weights: hash of the weights that gave this.
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
    weights: str = ""

    @property
    def text(self) -> str:
        """What was found, in a sentence."""
        if not len(self.label):
            return "no plane found: the depth is that of pixel planes; try a larger baseline or a lower score_threshold"
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
        canvas.paste(draw_planes(self.picture, self.index, [self.classes[k] for k in self.label]), (0, 0))
        canvas.paste(draw_depth(self.depth_m), (w, 0))
        if not len(self.label):
            pen = ImageDraw.Draw(canvas)
            pen.text((w / 2, 8), "no plane found", (255, 255, 255), ImageFont.load_default(12), anchor="mt",
                     stroke_width=2, stroke_fill=(0, 0, 0))  # fmt: skip
        return canvas

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: message, planes, pose and hash of the weights."""
        rows = [
            {"class": self.classes[k], "score": round(float(s), 4), "normal": n.round(6).tolist(),
             "offset_m": round(float(d), 6), "pixels": int((self.index == i).sum())}
            for i, (k, s, n, d) in enumerate(zip(self.label, self.score, self.normal, self.offset_m, strict=True))
        ]  # fmt: skip
        pose = self.world_from_camera.tolist()
        return {"message": self.text, "planes": rows, "world_from_camera": pose, "weights": self.weights}

    def save(self, path: Path | str) -> Path:
        """The drawing; beside it, of the same name, `to_dict` as .json and depth with plane numbers as .npz.

        Returns where the drawing is.
        """
        path = Path(path)
        arrays = io.BytesIO()
        np.savez_compressed(arrays, depth_m=self.depth_m, index=self.index, matrix=self.matrix)
        write_atomically(path.with_suffix(".npz"), arrays.getvalue())
        return draw.write_picture(path, self.draw(), self.to_dict())


@dataclass(frozen=True)
class Planes:
    """Planes from posed pictures, ready to use: `percepta.load("planes")`.

    Attributes:
        config: its settings.
        model: the network, in eval mode.
        licence: of code and weights, and the terms of the data behind the weights.
        evaluate: its numbers on a folder of data; without one, on its synthetic world.
        open_stream: opens whatever `stream` is given; handed in by `percepta.load`.
    """

    config: Config
    model: PlaneNet
    licence: str
    evaluate: Evaluate
    open_stream: OpenStream
    name: ClassVar[str] = "planes"

    def __repr__(self) -> str:
        return described(self)

    @staticmethod
    def dtypes(config: Config) -> tuple[str, ...]:
        """What the network computes in; see `contract.HasDtypes`."""
        return ("float32", "float64")

    @torch.inference_mode()
    def predict(
        self,
        reference: View,
        *sources: View,
        score_threshold: float = SCORE_THRESHOLD,
        max_planes: int = MAX_PLANES,
    ) -> Result:
        """The planes of a posed picture, with the help of one or more others.

        Args:
            reference: the picture whose planes are wanted.
            sources: one or more pictures of the same size that overlap with it, best taken 0.05 to 0.15 m from it.
            score_threshold: lowest score of a plane that is given, 0..1.
            max_planes: most planes that are given.

        Returns:
            Planes, masks and depth at the size that the network sees.

        Raises:
            MissingFileError: there is no such picture.
            InputError: no source; pictures of several sizes; intrinsics of another size; a pose that is no rigid
                motion; cameras at one place; pictures that do not overlap. Says which.
        """
        check_between("score_threshold", score_threshold, 0, 1)
        check_between("max_planes", max_planes, 0, 10_000)
        batch, parallax = prepare(self.config, reference, sources)
        weight = self.model.uncertainty
        moved = {key: value.to(weight.device, weight.dtype) for key, value in batch.items()}
        found = decode(
            self.model, run(self.model, moved), moved["matrix"], 0,
            score_threshold=score_threshold, max_planes=max_planes,
        )  # fmt: skip
        # p = 0 is the plane at infinity: it has no offset in metres.
        length = np.linalg.norm(found.plane, axis=1, keepdims=True)
        normal, offset = unit_plane(np.where(length > 1e-6, found.plane, (0.0, 0.0, -1e-6)))
        picture = (batch["image"][0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
        pose = np.asarray(reference.world_from_camera, np.float64)
        return Result(
            normal, offset, found.label, found.score, found.mask, found.index, found.depth_m, found.pixel_depth_m,
            picture, batch["matrix"][0].double().numpy(), pose, parallax, weights=weights_hash(self.model),
        )  # fmt: skip

    def session(
        self,
        *,
        max_sources: int = 2,
        baseline_m: tuple[float, float] | None = None,
        score_threshold: float = SCORE_THRESHOLD,
        max_planes: int = MAX_PLANES,
        scene_score_threshold: float = SCENE_SCORE_THRESHOLD,
    ) -> Session:
        """A scene from the key frames of a walk.

        Args:
            max_sources: how many earlier pictures help a key frame.
            baseline_m: a picture this far from the last key frame, or farther, is the next one; a picture up to twice
                the second distance away may help it. None: the distances of the training.
            score_threshold: lowest score of a plane of a key frame's result, 0..1.
            max_planes: most planes of a key frame.
            scene_score_threshold: lowest score of a plane that joins the scene, 0..1.

        Returns:
            A session: `step(view)` for each picture, `scene()` for the scene so far.
        """
        return Session(
            self, max_sources, baseline_m or self.config.baseline_m, score_threshold, max_planes, scene_score_threshold
        )


@dataclass(eq=False)
class Session:
    """A scene from key frames: `step(view)` for each picture of a walk, `scene()` for what there is so far.

    Attributes:
        planes: the system that predicts.
        max_sources: how many earlier pictures help a key frame.
        baseline_m: shortest and longest distance between key frames, metres.
        score_threshold: lowest score of a plane of a key frame's result.
        max_planes: most planes of a key frame.
        scene_score_threshold: lowest score of a plane that joins the scene.
        fusion: what has joined the scene.
        views: the last key frames.
        camera_up: sum of what was up in their pictures, in the world.
    """

    planes: Planes
    max_sources: int
    baseline_m: tuple[float, float]
    score_threshold: float
    max_planes: int
    scene_score_threshold: float
    fusion: Fusion = field(default_factory=Fusion)
    views: list[View] = field(default_factory=list)
    camera_up: Float64[np.ndarray, " 3"] = field(default_factory=lambda: np.zeros(3))

    @property
    def frames(self) -> int:
        """How many key frames the scene is made of."""
        return self.fusion.frames

    def step(self, view: View) -> Result | None:
        """The planes of a picture, which join the scene; None where the camera has moved too little since the last."""
        poses.check(view.world_from_camera, "the pose")
        view = replace(view, picture=image.read(view.picture))
        if not self.views:
            self.views.append(view)
            return None
        if _distance_m(view, self.views[-1]) < self.baseline_m[0]:
            return None
        sources = [other for other in reversed(self.views) if self._is_source(view, other)][: self.max_sources]
        self.views = [*self.views[-5:], view]
        self.camera_up = self.camera_up - view.world_from_camera[:3, 1]  # a camera's y goes down
        if not sources:
            return None
        result = self.planes.predict(view, *sources, score_threshold=self.score_threshold, max_planes=self.max_planes)
        self.join(result, self.fusion)
        return result

    def join(self, result: Result, fusion: Fusion) -> None:
        """Adds the planes of a key frame that have a high score and are large enough to a scene."""
        chosen = np.flatnonzero(result.score >= self.scene_score_threshold).tolist()
        clouds = {i: cloud for i in chosen if len(cloud := result.points(i)) >= 30}
        labels, scores = [int(result.label[i]) for i in clouds], [float(result.score[i]) for i in clouds]
        fusion.add(list(clouds.values()), result.world_from_camera[:3, 3], labels, scores)

    def scene(self, min_area_m2: float = 0.05, min_frames: int = 1) -> FusedScene:
        """The planes of all key frames so far: those of at least this area, seen in at least so many key frames."""
        found = self.fusion.scene(min_area_m2, min_frames)
        up = upwards(found.surfaces, self.camera_up) if self.camera_up.any() else found.up
        return replace(found, weights=weights_hash(self.planes.model), up=up)

    def _is_source(self, view: View, other: View) -> bool:
        if not MIN_BASELINE_M < _distance_m(view, other) <= 2 * self.baseline_m[1]:
            return False
        move = poses.inverse(other.world_from_camera) @ view.world_from_camera
        return overlap(view.intrinsics, other.intrinsics, move) > 0.3


def _distance_m(view: View, other: View) -> float:
    return float(np.linalg.norm(view.world_from_camera[:3, 3] - other.world_from_camera[:3, 3]))


# ------------------------------------------------------------------------------------------- pictures to a batch


def prepare(config: Config, reference: View, sources: Sequence[View]) -> tuple[dict[str, Tensor], float]:
    """One batch of one reference picture, and how far a point at 2 m moves between it and the sources, in pixels.

    Args:
        config: the size that the network sees.
        reference: the picture whose planes are wanted.
        sources: the other pictures.

    Raises:
        InputError: see `Planes.predict`.
    """
    if not sources and isinstance(reference, View):
        raise InputError("planes need at least one source picture beside the reference: one view has no parallax")
    views = [reference, *sources]
    for view in views:
        if not isinstance(view, View):
            raise InputTypeError(
                "planes need posed pictures: View(picture, intrinsics, world_from_camera); for a folder use "
                f"`percepta predict planes FOLDER`; got {type(view).__name__}"
            )
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
        raise InputError(f"pictures of one call have one size, got {listed}; resize them and their intrinsics")
    moves = [poses.inverse(view.world_from_camera) @ reference.world_from_camera for view in sources]
    parallax = []
    small = [view.intrinsics.resized(config.width, config.height) for view in views]
    for name, view, move, camera in zip(names[1:], sources, moves, small[1:], strict=True):
        distance_m = _distance_m(view, reference)
        if distance_m < MIN_BASELINE_M:
            raise InputError(
                f"{name} was taken {1000 * distance_m:.1f} mm from the reference: without a baseline (best 0.05 to "
                "0.15 m) nothing tells how far things are"
            )
        if (share := overlap(small[0], camera, move)) < 0.1:
            raise InputError(
                f"{name} does not overlap with the reference: of points 0.5 to 5 m away it sees {share:.0%}; "
                "are the poses world_from_camera, and in metres?"
            )
        parallax.append(distance_m * camera.fx / 2)
    resized = torch.stack([image.resize(p, config.height, config.width) for p in pixels])
    matrices = torch.from_numpy(np.stack([camera.matrix for camera in small])).float()
    batch = {
        "image": resized[:1], "sources": resized[None, 1:], "matrix": matrices[:1],
        "source_matrices": matrices[None, 1:],
        "source_from_reference": torch.from_numpy(np.stack(moves)).float()[None],
    }  # fmt: skip
    return batch, float(np.mean(parallax))


def overlap(reference: Intrinsics, source: Intrinsics, source_from_reference: Float[np.ndarray, "4 4"]) -> float:
    """The share of the reference's view, 0.5 to 5 m away, that the source sees.

    Args:
        reference: the reference camera.
        source: the source camera.
        source_from_reference: relative pose, metres.

    Returns:
        0..1.
    """
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


# ------------------------------------------------------------------------------------- the network's output to planes


class Instances(NamedTuple):
    """Plane instances of one picture, the highest score first, in its camera's coordinates.

    Attributes:
        plane: p = n/d.
        label: place in PLANEMVS_NAMES.
        score: 0..1.
        mask: of each plane; masks may overlap.
        index: number of each pixel's plane, −1 none.
        depth_m: of the instance's plane where there is one, else of the pixel plane.
        pixel_depth_m: of pixel planes.
    """

    plane: Float64[np.ndarray, "n 3"]
    label: Int64[np.ndarray, " n"]
    score: Float64[np.ndarray, " n"]
    mask: Bool[np.ndarray, "n h w"]
    index: Int32[np.ndarray, "h w"]
    depth_m: Float32[np.ndarray, "h w"]
    pixel_depth_m: Float32[np.ndarray, "h w"]


@torch.no_grad()
def decode(
    model: PlaneNet,
    output: Output,
    matrix: Float[Tensor, "b 3 3"],
    picture: int,
    *,
    score_threshold: float = SCORE_THRESHOLD,
    max_planes: int = MAX_PLANES,
) -> Instances:
    """Instances with soft-pooled planes, and the composed depth (PlaneMVS, section 3.4).

    Args:
        model: the network.
        output: what it gave for a batch.
        matrix: K of every picture of the batch.
        picture: which picture of the batch.
        score_threshold: lowest score that is kept, 0..1.
        max_planes: most planes that are kept.
    """
    config = model.config
    found = detect(
        output.head, picture, max_planes=max_planes, score_threshold=score_threshold, min_area=config.min_area
    )
    refined = output.refined[picture]
    h, w = refined.shape[-2:]
    soft = functional.interpolate(found.mask[:, None], (h, w), mode="bilinear", align_corners=False)[:, 0]
    solid = soft > 0.5
    weight = soft * solid if config.soft_pooling else solid.to(soft.dtype)
    plane = torch.einsum("nhw,chw->nc", weight, refined) / weight.sum((1, 2)).clamp_min(1e-3)[:, None]
    sight = sweep.rays(matrix[picture : picture + 1], h, w)
    depth = output.depth_refined[picture].clone()
    index = torch.full((h, w), -1, dtype=torch.int32, device=depth.device)
    if len(plane):
        best = (soft * solid * found.score[:, None, None]).max(0)
        covered = best.values > 0
        index[covered] = best.indices[covered].to(torch.int32)
        wide = plane[:, :, None, None].expand(-1, -1, h, w)
        flat = sweep.depth_of(wide, sight.expand_as(wide), config.min_depth_m, config.max_depth_m)
        # A ray may meet a plane only far away or behind: there the pixel's own plane is the better answer.
        own = flat.gather(0, best.indices[None])[0]
        ratio = own / depth
        depth = torch.where(covered & (ratio > 0.67) & (ratio < 1.5), own, depth)
    return Instances(
        plane.double().cpu().numpy(), found.label.cpu().numpy(), found.score.double().cpu().numpy(),
        solid.cpu().numpy(), index.cpu().numpy(), depth.float().cpu().numpy(),
        output.depth_refined[picture].float().cpu().numpy(),
    )  # fmt: skip


# ----------------------------------------------------------------------------------------------------- drawings


def draw_planes(
    picture: UInt8[np.ndarray, "h w 3"], index: Int32[np.ndarray, "h w"], names: Sequence[str]
) -> Image.Image:
    """Each plane tinted in its own colour, with its name at its median pixel.

    Args:
        picture: RGB.
        index: number of each pixel's plane, −1 none.
        names: of the planes.
    """
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


def draw_depth(depth_m: Float[np.ndarray, "h w"]) -> Image.Image:
    """Depth as a picture: inverse depth between its 2nd and 98th percentile, near bright; 0 black."""
    inverse = np.where(depth_m > 0, 1 / np.maximum(depth_m, 1e-3), 0)
    known = inverse[inverse > 0]
    low, high = np.percentile(known, [2, 98]) if len(known) else (0.0, 1.0)
    share = np.clip((inverse - low) / max(high - low, 1e-6), 0, 1) * (inverse > 0)
    tone = np.stack([share**0.7, share, 0.35 + 0.3 * share], -1) * (inverse > 0)[..., None]
    return Image.fromarray((255 * tone + 0.5).astype(np.uint8))
