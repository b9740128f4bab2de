"""From somebody's own capture (videos and a calibration) to a folder that an avatar is trained on.

    videos/NAME.mp4 or images/NAME/*.jpg      NAME as the calibration calls the camera; frame by frame the same moments
    *.qca.txt, *.yml, sparse/, ...            see `datasets.cameras`

Pictures are made smaller and straightened, masks come by the rule of `hull.py`, the body is fitted by `fit.py`, and
what is written has one cut-out for each camera, around the person in all frames, scaled to the size that is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64, UInt8
from PIL import Image
from scipy import ndimage
from torch.nn import functional

from percepta.datasets import cameras as calibrations
from percepta.datasets import keypoints, thuman4
from percepta.errors import InputError, MissingFileError
from percepta.files import PICTURE_SUFFIXES
from percepta.geometry import pose as poses
from percepta.geometry.body import Body, Motion, make_body
from percepta.geometry.camera import Intrinsics
from percepta.geometry.lens import straight_maps
from percepta.geometry.meshes import render_colours
from percepta.media import image, video
from percepta.metrics.masks import iou
from percepta.systems.avatar.fit import Fitted, Observed, Told, fit
from percepta.systems.avatar.hull import (
    Hull,
    Rule,
    View,
    backgrounds,
    carve,
    covered,
    evidence,
    middle_of,
    silhouette,
)

Segmenter = Callable[[UInt8[np.ndarray, "h w 3"]], Float[np.ndarray, "h w"]]
"""A picture to the probability of each pixel to belong to a person, 0..1."""
_MOST_BYTES = 6e9  # of pictures that are held in memory


@dataclass(frozen=True)
class Footage:
    """Pictures of all cameras, straight and small enough to hold.

    Attributes:
        names: of the cameras.
        pictures: of each camera.
        views: of each camera, for these pictures.
        fps: frames a second.
        frames: numbers of the frames in the videos, counted from 0.
        cameras: as they were calibrated.
        notes: what had to be assumed, in words.
    """

    names: tuple[str, ...]
    pictures: tuple[UInt8[np.ndarray, "t h w 3"], ...]
    views: tuple[View, ...]
    fps: float | int
    frames: tuple[int, ...]
    cameras: tuple[calibrations.FixedCamera, ...]
    notes: tuple[str, ...] = ()


def read_footage(
    root: Path,
    calibration: Path | None = None,
    *,
    stride: int = 1,
    frames: int | None = None,
    start: int = 0,
    height: int = 640,
    fps: float | int = 30.0,
    metres_per_unit: float | int | None = None,
    up: calibrations.Up | None = None,
    told: Told | None = None,
) -> Footage:
    """The pictures of a capture.

    Args:
        root: folder with videos/ or images/, or with the videos themselves.
        calibration: file or folder; None: what is found in `root`.
        stride: every n-th frame is taken.
        frames: at most so many are; None: all.
        start: number of the first one.
        height: of the pictures, in pixels; smaller ones stay as they are.
        fps: of folders of pictures; videos say theirs.
        metres_per_unit, up: of the calibration, see `datasets.cameras.read`.
        told: is called as it goes on.

    Raises:
        InputError: cameras and videos have other names or sizes, or there are no frames.
        MissingFileError: no calibration, or no pictures.
    """
    if stride < 1 or start < 0 or (frames is not None and frames < 1) or height < 32:
        raise InputError("stride and frames are at least 1, the start at least 0, the height at least 32 pixels")
    files = _files(root)
    where = calibration or calibrations.find(root)
    if where is None:
        raise MissingFileError(f"{root}: no calibration there; give --calibration: {calibrations.FILES}")
    infos = {name: _info(path, fps) for name, path in files.items()}
    found = calibrations.read(
        where, sizes={name: info[:2] for name, info in infos.items()}, metres_per_unit=metres_per_unit, up=up
    )
    missing = [camera.name for camera in found if camera.name not in files]
    if missing:
        raise InputError(
            f"{root}: no video or folder of pictures for the calibrated {', '.join(missing)}; there are "
            f"{', '.join(files)}. Name them as the calibration does"
        )
    notes, pictures, views = [], [], []
    for number, camera in enumerate(found):
        width, full, _, _ = infos[camera.name]
        given, note = _fitted(camera, width, full)
        notes += [note] if note else []
        small = given.resized(max(round(width * min(height / full, 1)), 1), min(height, full))
        wanted = islice(_pictures(files[camera.name]), start, None, stride)
        rows = []
        for picture in islice(wanted, frames):
            rows.append(_straightened(picture, small, camera))
            if len(rows) * len(found) * rows[0].nbytes > _MOST_BYTES:
                raise InputError(f"{root}: the pictures take more than 6 GB of memory; take fewer (--frames, --stride)")
        if not rows:
            raise InputError(f"{files[camera.name]}: no frame from number {start} on")
        pictures.append(np.stack(rows))
        views.append((small, camera.world_from_camera))
        if told is not None:
            told("reading", number + 1, len(found))
    least = min(map(len, pictures))
    if any(len(rows) > least for rows in pictures):
        notes.append(f"the shortest video has {least} of these frames; what the others have more is left out")
    rate = infos[found[0].name][2] / stride
    numbers = tuple(start + stride * i for i in range(least))
    return Footage(
        tuple(camera.name for camera in found),
        tuple(rows[:least] for rows in pictures),
        tuple(views),
        rate,
        numbers,
        found,
        tuple(notes),
    )


def _files(root: Path) -> dict[str, Path]:
    """{name of a camera: its video, or its folder of pictures}."""
    if not root.is_dir():
        raise MissingFileError(f"{root}: no such folder; a capture has videos/ or images/, and a calibration")
    for folder in (root / "videos", root):
        found = {x.stem: x for x in sorted(folder.glob("*")) if x.suffix.lower() in image.VIDEO_SUFFIXES}
        if found:
            return found
    found = {x.name: x for x in sorted((root / "images").glob("*")) if x.is_dir()}
    if not found:
        raise MissingFileError(f"{root}: no videos, in videos/ or beside the calibration, and no folders in images/")
    return found


def _info(path: Path, fps: float | int) -> tuple[int, int, float, int]:
    """Width, height, frames a second and number of frames (0: not known)."""
    if path.is_dir():
        files = _numbered(path)
        height, width = image.size(files[0], upright=False)
        return width, height, float(fps), len(files)
    about = video.info(path)
    return about.width_px, about.height_px, about.fps or fps, about.frames


def _numbered(folder: Path) -> list[Path]:
    files = sorted(x for x in folder.iterdir() if x.suffix.lower() in PICTURE_SUFFIXES)
    if not files:
        raise MissingFileError(f"{folder}: no pictures in this folder")
    return files


def _pictures(path: Path) -> Iterator[np.ndarray]:
    if path.is_dir():
        for file in _numbered(path):
            yield np.asarray(image.load(file).convert("RGB"))
    else:
        for sample in video.every_frame(path):
            yield sample.frame


def _fitted(camera: calibrations.FixedCamera, width: int, height: int) -> tuple[Intrinsics, str]:
    """Intrinsics of pictures whose size may differ from the calibrated one, and what was assumed."""
    given = camera.intrinsics
    if (given.width, given.height) == (width, height):
        return given, ""
    said = f"{camera.name} was calibrated at {given.width}×{given.height}, its pictures are {width}×{height}"
    if abs(width / given.width - height / given.height) < 0.002:
        return given.resized(width, height), f"{said}: taken as scaled"
    if 0 <= given.width - width <= 0.02 * given.width and 0 <= given.height - height <= 0.02 * given.height:
        return given.cropped(0, 0, width, height), f"{said}: taken as cut at the right and lower border"
    raise InputError(f"{said}: neither scaled nor cut by 2 % at most; calibrate at the size of the pictures")


def _straightened(
    picture: UInt8[np.ndarray, "h w 3"], small: Intrinsics, camera: calibrations.FixedCamera
) -> UInt8[np.ndarray, "h2 w2 3"]:
    """A picture made smaller, without distortion."""
    if picture.shape[:2] != (small.height, small.width):
        picture = np.asarray(Image.fromarray(picture).resize((small.width, small.height), Image.Resampling.BOX))
    if not camera.lens.bends:
        return picture
    u, v = straight_maps(small, camera.lens, small)
    grid = np.stack([2 * u / max(small.width - 1, 1) - 1, 2 * v / max(small.height - 1, 1) - 1], -1)
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float()
    out = functional.grid_sample(pixels, torch.from_numpy(grid)[None], padding_mode="zeros", align_corners=True)
    return out[0].permute(1, 2, 0).round().clamp(0, 255).byte().numpy()


@dataclass(frozen=True)
class Masks:
    """Masks of the person.

    Attributes:
        masks: of each frame and view.
        hulls: of each frame: middles of the cubes inside all its masks, metres.
        agreement: of each view, mean IoU of its masks with what the hull covers.
        segmented: of each view, mean IoU of its masks with what the segmenter alone says.
    """

    masks: tuple[tuple[Bool[np.ndarray, "_ _"], ...], ...]
    hulls: tuple[Float64[np.ndarray, "_ 3"], ...]
    agreement: tuple[float, ...]
    segmented: tuple[float, ...]


def masks_of(footage: Footage, segment: Segmenter, rule: Rule | None = None, told: Told | None = None) -> Masks:
    """Masks by the rule of `hull.py`.

    Args:
        footage: the pictures.
        segment: says where people are.
        rule: None: the usual one.
        told: is called as it goes on.

    Raises:
        InputError: in no frame do the views agree on a person.
    """
    rule = rule or Rule()
    count, views = len(footage.frames), footage.views
    said: list[np.ndarray] = []
    for place, pictures in enumerate(footage.pictures):
        rows = []
        for frame, picture in enumerate(pictures):
            rows.append(segment(picture).astype(np.float16))
            if told is not None:
                told("masks of each view", place * count + frame + 1, count * len(views))
        said.append(np.stack(rows))
    empty = [backgrounds(p, q, rule) for p, q in zip(footage.pictures, said, strict=True)]
    middle, strict = middle_of(views), replace(rule, blur=0.0, fine_m=1.5 * rule.fine_m)
    masks: list[tuple[np.ndarray, ...]] = []
    hulls: list[np.ndarray] = []
    shared, alone = np.zeros((count, len(views))), np.zeros((count, len(views)))
    for frame in range(count):
        seen = [evidence(p[frame], q[frame], b, rule) for p, q, b in zip(footage.pictures, said, empty, strict=True)]
        hull = carve(seen, views, middle, rule)
        row = tuple(silhouette(hull, x, view, rule) for x, view in zip(seen, views, strict=True))
        signed = [np.where(mask, 5, -5).astype(np.float32) for mask in row]
        hulls.append(carve(signed, views, middle, strict).points)
        inner = Hull(hulls[-1], strict.fine_m)
        shared[frame] = [iou(covered(inner, view), mask) for view, mask in zip(views, row, strict=True)]
        alone[frame] = [iou(q[frame] > 0.5, mask) for q, mask in zip(said, row, strict=True)]
        masks.append(row)
        if told is not None:
            told("what all views share", frame + 1, count)
    if not any(len(x) for x in hulls):
        raise InputError(
            "the views agree on nobody in any frame: does the sentence name the person, does the calibration fit?"
        )
    return Masks(tuple(masks), tuple(hulls), tuple(shared.mean(0).tolist()), tuple(alone.mean(0).tolist()))


def points_of(footage: Footage, root: Path) -> tuple[Float64[np.ndarray, "t 25 3"], Float64[np.ndarray, "t 25"]]:
    """Triangulated keypoints of the person on whom the views agree, in the world, and how sure each is.

    Args:
        footage: the cameras; keypoints are pixels of the original videos, whose frames are counted from 0.
        root: see `datasets.keypoints`.

    Raises:
        InputError, MissingFileError: a camera has no keypoints, or they are broken.
    """
    found = keypoints.read_cameras(root, footage.names)
    place = np.full((len(footage.frames), len(keypoints.POINTS), 3), np.nan)
    sure = np.zeros(place.shape[:2])
    full = [(camera.intrinsics, camera.world_from_camera) for camera in footage.cameras]
    for row, frame in enumerate(footage.frames):
        people = {}
        for view, camera in enumerate(footage.cameras):
            people[view] = [_straight_points(person, camera) for person in found[camera.name].get(frame, [])]
        points = keypoints.same_person(people, full)
        place[row], sure[row] = points.place, points.sure
    return place, sure


def _straight_points(person: np.ndarray, camera: calibrations.FixedCamera) -> np.ndarray:
    """Keypoints without the lens's distortion."""
    if not camera.lens.bends:
        return person
    k = camera.intrinsics
    ray = camera.lens.straighten((person[:, :2] - (k.cx, k.cy)) / (k.fx, k.fy))
    return np.concatenate([ray[:, :2] / ray[:, 2:] * (k.fx, k.fy) + (k.cx, k.cy), person[:, 2:]], 1)


def outline(body: Body, vertices: Float[np.ndarray, "v 3"], view: View) -> Bool[np.ndarray, "h w"]:
    """What a camera sees of the body: its silhouette.

    Args:
        body: for its triangles.
        vertices: of the body in one frame, metres.
        view: the camera.
    """
    colour = np.ones((len(vertices), 3))
    return render_colours(vertices, body.faces, colour, view[0], view[1])[1] >= 0.5


def near_body(
    masks: Masks, body: Body, motion: Motion, views: Sequence[View], reach_m: float | int
) -> tuple[tuple[Bool[np.ndarray, "_ _"], ...], ...]:
    """The masks without what lies farther from the body's outline than clothes reach.

    Args:
        masks: of each frame and view.
        body: that was fitted.
        motion: row i belongs to row i of the masks.
        views: the cameras.
        reach_m: how far clothes reach, metres, measured at the distance of the pelvis.
    """
    out = []
    for row, vertices, root in zip(masks.masks, body.posed(motion), motion.root, strict=True):
        kept = []
        for mask, view in zip(row, views, strict=True):
            depth = max(float((root - view[1][:3, 3]) @ view[1][:3, 2]), 0.1)
            seen = outline(body, vertices, view)
            away = np.asarray(ndimage.distance_transform_edt(~seen)) if seen.any() else np.zeros(seen.shape)
            kept.append(mask & (away <= reach_m * view[0].fx / depth))
        out.append(tuple(kept))
    return tuple(out)


def pixels(masks: Masks) -> Int64[np.ndarray, " v"]:
    """How many pixels the masks of each view have, all frames together."""
    return np.array([[mask.sum() for mask in row] for row in masks.masks], np.int64).sum(0)


def overlap(
    body: Body, motion: Motion, masks: Sequence[Sequence[np.ndarray]], views: Sequence[View]
) -> Float64[np.ndarray, " v"]:
    """Mean IoU of the body's silhouettes with the masks, of each view.

    Args:
        body: that moves.
        motion: row i belongs to row i of the masks.
        masks: of each frame and view.
        views: the cameras.
    """
    out = np.zeros((len(masks), len(views)))
    for frame, vertices in enumerate(body.posed(motion)):
        out[frame] = [iou(outline(body, vertices, v), m) for v, m in zip(views, masks[frame], strict=True)]
    return out.mean(0)


def standing(body: Body, motion: Motion, hulls: Sequence[Float64[np.ndarray, "_ 3"]]) -> Motion:
    """The baseline: the rest pose, looking as in the first frame, in the middle of each frame's hull.

    Args:
        body: with the fitted measures.
        motion: the fitted one, for the direction.
        hulls: of each frame.
    """
    rest = body.rest(len(hulls))
    forward = motion.rotation[0, 0, :, 0]
    turn = poses.from_vector(np.array([0, 0, np.arctan2(forward[1], forward[0])]))
    high = body.joints[0, 2] - float(body.shape.height_m) / 2  # of the pelvis above the middle of a standing body
    middle = [
        (x.min(0) + x.max(0)) / 2 if len(x) else motion.root[i] - np.array([0, 0, high]) for i, x in enumerate(hulls)
    ]
    return Motion(np.stack(middle) + np.array([0, 0, high]), turn @ rest.rotation, motion.fps, "rest")


def cut_out(
    masks: Sequence[Bool[np.ndarray, "h w"]], size: tuple[int, int], border: float | int = 0.06
) -> tuple[int, int, int, int]:
    """Left, top, width and height, in pixels, of a rectangle of the size's proportions around all masks of a view.

    Args:
        masks: of all frames.
        size: width and height that it will be scaled to.
        border: around the masks, as a share of their height. The rectangle may reach beyond the picture.

    Raises:
        InputError: all masks are empty.
    """
    every = np.any(masks, axis=0)
    if not every.any():
        raise InputError("a view has empty masks in all frames: the person is not in its pictures")
    rows, columns = np.flatnonzero(every.any(1)), np.flatnonzero(every.any(0))
    high = (rows[-1] + 1 - rows[0]) * (1 + 2 * border)
    wide = (columns[-1] + 1 - columns[0]) + 2 * border * (rows[-1] + 1 - rows[0])
    high = max(high, wide * size[1] / size[0])
    width, height = int(np.ceil(high * size[0] / size[1])), int(np.ceil(high))
    left = round((columns[0] + columns[-1] + 1 - width) / 2)
    top = round((rows[0] + rows[-1] + 1 - height) / 2)
    return left, top, width, height


def save(out: Path, footage: Footage, masks: Masks, fitted: Fitted, size: tuple[int, int]) -> None:
    """Writes the folder in the layout of THUman4.0; frames in which a mask is empty are left out there.

    Args:
        out: a folder, made where it is not there.
        footage: the pictures.
        masks: of the same frames.
        fitted: measures, poses and cameras.
        size: width and height of the pictures, in pixels.
    """
    cameras: dict[str, tuple[Intrinsics, Float64[np.ndarray, "4 4"]]] = {}
    boxes = {}
    for place, (name, (camera, pose)) in enumerate(zip(footage.names, fitted.views, strict=True)):
        left, top, width, height = boxes[name] = cut_out([row[place] for row in masks.masks], size)
        cameras[name] = (camera.cropped(left, top, width, height).resized(*size), pose)

    def pictures() -> Iterator[tuple[str, int, Any, Any]]:
        for place, name in enumerate(footage.names):
            left, top, width, height = boxes[name]
            for frame in range(len(footage.frames)):
                mask = masks.masks[frame][place]
                if mask.any():
                    both = (footage.pictures[place][frame], (255 * mask).astype(np.uint8))
                    small = [
                        np.asarray(
                            Image.fromarray(x)
                            .crop((left, top, left + width, top + height))
                            .resize(size, Image.Resampling.BOX)
                        )
                        for x in both
                    ]
                    yield name, frame, small[0], small[1]

    thuman4.write(out, cameras, pictures(), fitted.motion, fitted.shape)


@dataclass(frozen=True)
class Prepared:
    """What was made.

    Attributes:
        fitted: measures, poses and cameras.
        masks: of all frames.
        overlap: mean IoU of the fitted body's silhouettes with the masks before `reach_m`, of each view.
        rest: the same of the rest pose in the middle of the hull.
        away: mask pixels farther from the body than `reach_m`, of each view, all frames together; 0 without it.
        of_masks: as a share of the mask pixels that the view had.
    """

    fitted: Fitted
    masks: Masks
    overlap: Float64[np.ndarray, " v"]
    rest: Float64[np.ndarray, " v"]
    away: Int64[np.ndarray, " v"]
    of_masks: Float64[np.ndarray, " v"]


def prepare(
    footage: Footage,
    out: Path,
    segment: Segmenter,
    *,
    size: tuple[int, int] = (128, 160),
    points: Path | None = None,
    facing_deg: float | int | None = None,
    steps: int = 200,
    reach_m: float | int | None = None,
    rule: Rule | None = None,
    told: Told | None = None,
) -> Prepared:
    """All of it: masks, poses, and the folder.

    Args:
        footage: the pictures.
        out: the folder.
        segment: says where people are.
        size: width and height of the pictures that are written, in pixels.
        points: 2-D keypoints, see `datasets.keypoints`; None: the body is fitted to masks alone.
        facing_deg: where the person looks in the first frame, degrees from x towards y; None: it is found.
        steps: of the fit, see there.
        reach_m: how far clothes reach from the fitted body, see `near_body`; None: masks stay as they are.
        rule: of the masks; None: the usual one.
        told: is called as it goes on.
    """
    known = None if points is None else points_of(footage, points)
    masks = masks_of(footage, segment, rule, told)
    seen = Observed(footage.fps, hulls=masks.hulls, masks=masks.masks, views=footage.views)
    if known is not None:
        seen = replace(seen, points=known[0], sure=known[1], names=keypoints.POINTS)
    fitted = fit(seen, facing_deg=facing_deg, steps=steps, told=told)
    body = make_body(fitted.shape)
    ours = overlap(body, fitted.motion, masks.masks, fitted.views)
    rest = overlap(body, standing(body, fitted.motion, masks.hulls), masks.masks, fitted.views)
    before = pixels(masks)
    if reach_m is not None:
        masks = replace(masks, masks=near_body(masks, body, fitted.motion, fitted.views, reach_m))
    away = before - pixels(masks)
    save(out, footage, masks, fitted, size)
    return Prepared(fitted, masks, ours, rest, away, away / np.maximum(before, 1))
