"""The answer: a labelled cloud, with its pictures, its PLY file and its list of instances."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int32, UInt8
from PIL import Image, ImageDraw, ImageFont

from percepta.datasets import nyu40
from percepta.files import write_atomically
from percepta.geometry import ply
from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics
from percepta.media import draw
from percepta.media.draw import Shown, write_picture

_EMPTY = 246


def label_colours() -> UInt8[np.ndarray, "41 3"]:
    """A colour for each NYU-40 class; unlabelled is grey."""
    return np.array([(150, 150, 150), *draw.colours(40)], np.uint8)


def instance_colours(instance: Int32[np.ndarray, " n"]) -> UInt8[np.ndarray, "n 3"]:
    """Colours that follow from the ids alone, so that an instance keeps its own; none is light grey."""
    hue = np.asarray(instance, np.uint32) * np.uint32(2654435761)
    out = np.stack([(hue >> shift & 0xFF) * 0.7 + 40 for shift in (8, 16, 24)], -1)
    return np.where(np.asarray(instance)[:, None] > 0, out, 205).astype(np.uint8)


def picture(
    xyz: Float[np.ndarray, "n 3"],
    colour: UInt8[np.ndarray, "n 3"],
    camera: Intrinsics,
    world_from_camera: Float[np.ndarray, "4 4"],
    size_m: float,
) -> UInt8[np.ndarray, "h w 3"]:
    """Points as upright squares, the nearest one in front, on a nearly white ground.

    Args:
        xyz: places, metres.
        colour: of the points.
        camera: of the picture.
        world_from_camera: its pose.
        size_m: side of a square.
    """
    local = poses.transform(poses.inverse(world_from_camera), np.asarray(xyz, np.float64))
    z = local[:, 2]
    front = np.flatnonzero(z > 0.1)
    u = camera.fx * local[front, 0] / z[front] + camera.cx
    v = camera.fy * local[front, 1] / z[front] + camera.cy
    half = np.clip(np.ceil(0.5 * size_m * camera.fx / z[front] - 0.5), 0, 6).astype(np.int64)
    out = np.full((camera.height * camera.width, 3), _EMPTY, np.uint8)
    nearest = np.full(len(out), np.inf)
    reach = int(half.max(initial=0))
    columns, rows = np.rint(u), np.rint(v)
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            x, y = columns + dx, rows + dy
            here = (half >= max(abs(dx), abs(dy))) & (x >= 0) & (x < camera.width) & (y >= 0) & (y < camera.height)
            at = (y[here] * camera.width + x[here]).astype(np.int64)
            which = front[here]
            order = np.argsort(-z[which], kind="stable")  # of points in one pixel the last write, the nearest, stays
            at, which = at[order], which[order]
            seen = z[which] < nearest[at]
            at, which = at[seen], which[seen]
            out[at], nearest[at] = colour[which], z[which]
    return out.reshape(camera.height, camera.width, 3)


def from_above(
    xyz: Float[np.ndarray, "n 3"], colour: UInt8[np.ndarray, "n 3"], side_px: int = 480, cut: float = 0.97
) -> UInt8[np.ndarray, "h w 3"]:
    """The cloud from above.

    Args:
        xyz: places, metres, z up.
        colour: of the points.
        side_px: of the picture.
        cut: share of the points that is drawn: the highest ones, such as a ceiling, would hide the others.
    """
    xyz = np.asarray(xyz, np.float64)
    low, high = np.quantile(xyz, [0.002, 0.998], axis=0)
    away = 60.0  # nearly parallel
    kept = xyz[:, 2] <= np.quantile(xyz[:, 2], cut)
    middle = (low + high) / 2
    eye = np.array([middle[0], middle[1], high[2] + away])
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = np.diag([1.0, -1.0, -1.0]), eye
    focal = 0.94 * side_px * away / max(float((high - low)[:2].max()), 0.1)
    camera = Intrinsics(focal, focal, (side_px - 1) / 2, (side_px - 1) / 2, side_px, side_px)
    return picture(xyz[kept], colour[kept], camera, pose, spacing(xyz))


def slanted(
    xyz: Float[np.ndarray, "n 3"],
    colour: UInt8[np.ndarray, "n 3"],
    size_px: tuple[int, int] = (640, 480),
    yaw_deg: float = 35.0,
    cut: float = 0.97,
) -> UInt8[np.ndarray, "h w 3"]:
    """The cloud in perspective, from outside and above; an empty one is an empty picture.

    Args:
        xyz: places, metres, z up.
        colour: of the points.
        size_px: width and height of the picture.
        yaw_deg: from which side it is seen.
        cut: as for `from_above`.
    """
    if not len(xyz):
        return np.full((size_px[1], size_px[0], 3), _EMPTY, np.uint8)
    xyz = np.asarray(xyz, np.float64)
    kept = xyz[:, 2] <= np.quantile(xyz[:, 2], cut)
    low, high = np.quantile(xyz, [0.002, 0.998], axis=0)
    middle, reach = (low + high) / 2, max(float(np.linalg.norm(high - low)), 0.2)
    yaw, pitch = np.radians(yaw_deg), np.radians(48)
    away = np.array([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), np.sin(pitch)])
    camera = Intrinsics.field_of_view(*size_px, 48.0)
    pose = poses.look_at(middle + 1.15 * reach * away, middle)
    return picture(xyz[kept], colour[kept], camera, pose, spacing(xyz))


def spacing(xyz: Float[np.ndarray, "n 3"]) -> float:
    """About how far points of a surface lie apart, metres, estimated from a part of them."""
    few = xyz[:: max(1, len(xyz) // 20_000)]
    cells = len(np.unique(np.floor(few / 0.1).astype(np.int64), axis=0))
    return float(np.clip(1.5 * 0.1 / np.sqrt(max(len(xyz) / max(cells, 1), 1)), 0.01, 0.2))


@dataclass(frozen=True, repr=False)
class Result(Shown):
    """A labelled cloud.

    Attributes:
        xyz: places, metres.
        rgb: colours, 0..255.
        label: NYU-40 class, 0 unknown.
        instance: stable id, 1 and up, 0 none.
        score: probability of the label.
        weights: hash of the network's weights.
    """

    xyz: Float32[np.ndarray, "n 3"]
    rgb: UInt8[np.ndarray, "n 3"]
    label: UInt8[np.ndarray, " n"]
    instance: Int32[np.ndarray, " n"]
    score: Float32[np.ndarray, " n"]
    weights: str = ""

    @property
    def text(self) -> str:
        """What was found, in words: how many points, and how many instances of which classes."""
        names = Counter(row["label"] for row in self.instances())
        things = ", ".join(f"{count} {name}" for name, count in names.most_common()) or "no instances"
        return f"{len(self.xyz):,} points; {things}"

    def draw(self, side_px: int = 420) -> Image.Image:
        """From above: colours, classes with their names, instances."""
        if not len(self.xyz):
            return Image.new("RGB", (3 * side_px, side_px), (_EMPTY,) * 3)
        tones = (self.rgb, label_colours()[self.label], instance_colours(self.instance))
        panes = [from_above(self.xyz, tone, side_px) for tone in tones]
        canvas = Image.new("RGB", (3 * side_px, side_px + 40), (_EMPTY,) * 3)
        canvas.paste(Image.fromarray(np.concatenate(panes, 1)))
        self._legend(ImageDraw.Draw(canvas), side_px)
        return canvas

    def legend(self) -> list[tuple[str, tuple[int, int, int]]]:
        """(name, red, green and blue 0..255) of the classes that are there, the most frequent first."""
        count, tones = np.bincount(self.label, minlength=41), label_colours()
        there = [int(label) for label in np.argsort(-count, kind="stable") if count[label]]
        return [(nyu40.NAMES[label], (int(r), int(g), int(b))) for label in there for r, g, b in [tones[label]]]

    def _legend(self, pen: ImageDraw.ImageDraw, top: int) -> None:
        font, x = ImageFont.load_default(13), 10.0
        for name, tone in self.legend():
            if x + 40 + font.getlength(name) > 3 * top:
                break
            pen.rectangle((x, top + 12, x + 14, top + 26), tone)
            pen.text((x + 20, top + 19), name, (34, 36, 42), font, anchor="lm")
            x += 36 + font.getlength(name)

    def save(self, path: Path | str) -> Path:
        """A .ply (places, colours of the classes, `label`, `instance`), or a picture with the .ply beside it; and
        `to_dict` as a JSON file of the same name. Returns where the .ply is."""
        path = Path(path)
        if path.suffix.lower() != ".ply":
            write_picture(path, self.draw())
        columns = {name: self.xyz[:, i] for i, name in enumerate("xyz")}
        tone = label_colours()[self.label]
        columns |= {name: tone[:, i] for i, name in enumerate(("red", "green", "blue"))}
        ply.write(path.with_suffix(".ply"), {**columns, "label": self.label, "instance": self.instance})
        write_atomically(path.with_suffix(".json"), json.dumps(self.to_dict(), indent=1) + "\n")
        return path.with_suffix(".ply")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: number of points, the instances, hash of the weights."""
        return {"points": len(self.xyz), "instances": self.instances(), "weights": self.weights}

    def instances(self) -> list[dict[str, Any]]:
        """Id, class, points, middle and box (metres) of each instance."""
        out = []
        for own in np.unique(self.instance[self.instance > 0]):
            mine = self.instance == own
            xyz = self.xyz[mine].astype(np.float64)
            label = int(np.bincount(self.label[mine]).argmax())
            box = [[round(float(v), 3) for v in row] for row in (xyz.mean(0), xyz.min(0), xyz.max(0))]
            row = {"id": int(own), "label": nyu40.NAMES[label], "points": int(mine.sum())}
            out.append(row | dict(zip(("middle_m", "low_m", "high_m"), box, strict=True)))
        return out
