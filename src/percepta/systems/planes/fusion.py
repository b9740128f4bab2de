"""Many key frames fused into one scene: planes matched, merged, and outlined as polygons with class, area and pose.

A plane of a new frame belongs to the plane of the scene that it fits best: the normals agree, where the two overlap
each one's points lie on the other, and both are of one class or fit all the better. How far apart they may be grows
with the distance they were seen from, as the error of depth does; two planes of one frame are never merged. Points are
averaged in cells, so that what is seen often does not weigh more, and the plane is fitted anew to all of them. When the
scene is asked for, planes that have come to fit each other are merged. The area is that of the cells.
"""

from __future__ import annotations

import itertools
import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64, Int64
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from scipy.spatial import KDTree

from percepta.datasets.nyu40 import PLANEMVS_NAMES
from percepta.errors import InputError
from percepta.files import write_atomically
from percepta.geometry import ply
from percepta.geometry.camera import fit_plane
from percepta.media import draw
from percepta.media.draw import write_picture

CELL_M = 0.05
UPRIGHT = 0.5  # |cosine| of normal and up below which a plane is drawn as a wall
NAMED_M2 = 0.2  # smaller ones are drawn without their name
MAX_MISFIT, MERGE_MISFIT = 1.5, 1.2  # up to which a detection joins a plane, and two planes of a scene merge


@dataclass(frozen=True)
class Surface:
    """One plane of a scene.

    Attributes:
        label: name of its class.
        normal: n of n·x + d = 0 in the world, unit length, to the side that was seen.
        offset: d, metres.
        world_from_plane: its pose: origin in the centre, z along the normal.
        polygons: outlines of its connected parts, in the world, metres.
        area_m2: area of what was seen of it, without holes.
        score: mean score of its detections.
        frames: in how many key frames it was seen.
        cells: which cells of CELL_M are part of it.
        corner: of the first cell, in the plane's coordinates, metres.
    """

    label: str
    normal: Float64[np.ndarray, " 3"]
    offset: float
    world_from_plane: Float64[np.ndarray, "4 4"]
    polygons: tuple[Float64[np.ndarray, "_ 3"], ...]
    area_m2: float
    score: float
    frames: int
    cells: Bool[np.ndarray, "nx ny"]
    corner: tuple[float, float]

    def triangles(self) -> tuple[Float64[np.ndarray, "n 3"], Int64[np.ndarray, "m 3"]]:
        """Corners and triangles that cover the cells: a rectangle for each run of cells."""
        padded = np.pad(self.cells, ((0, 0), (1, 1))).astype(np.int8)
        edge = np.diff(padded, axis=1)
        rows, starts = np.nonzero(edge == 1)
        _, ends = np.nonzero(edge == -1)
        flat = np.zeros((len(rows), 4, 2))
        flat[:, :, 0] = np.stack([rows, rows + 1, rows + 1, rows], 1)
        flat[:, :, 1] = np.stack([starts, starts, ends, ends], 1)
        places = self._world(flat.reshape(-1, 2) * CELL_M + self.corner)
        first = 4 * np.arange(len(rows))[:, None]
        return places, np.concatenate([first + np.array([0, 1, 2]), first + np.array([0, 2, 3])], 1).reshape(-1, 3)

    def _world(self, flat: np.ndarray) -> np.ndarray:
        return flat @ self.world_from_plane[:3, :2].T + self.world_from_plane[:3, 3]


@dataclass
class _Part:
    normal: np.ndarray
    offset: float
    points: np.ndarray
    votes: np.ndarray
    scores: list[float]
    distance_m: list[float]  # of the camera, for each of its detections
    frames: frozenset[int]

    @cached_property
    def tree(self) -> KDTree:
        return KDTree(self.points)

    def joined(self, other: _Part) -> _Part:
        """Both as one, facing the way this one does."""
        points = _cell_means(np.concatenate([self.points, other.points]), CELL_M)
        normal, offset = fit_plane(points)
        if normal @ self.normal < 0:
            normal, offset = -normal, -offset
        return _Part(
            normal, offset, points, self.votes + other.votes, self.scores + other.scores,
            self.distance_m + other.distance_m, self.frames | other.frames,
        )  # fmt: skip


@dataclass
class Fusion:
    """Takes key frames one by one; `scene()` gives what there is so far.

    Attributes:
        max_angle_deg: largest angle between the normals of two detections of one plane.
        max_distance_m: how far apart they may be.
        max_distance_share: the same as a share of the distance they were seen from; the larger of the two counts.
        min_overlap: the share of the smaller one that has to be near the other.
        parts: the planes so far.
        frames: number of key frames so far.
    """

    max_angle_deg: float = 25.0
    max_distance_m: float = 0.10
    max_distance_share: float = 0.15
    min_overlap: float = 0.3
    parts: list[_Part] = field(default_factory=list)
    frames: int = 0

    def add(
        self, points: Sequence[np.ndarray], eye: np.ndarray, labels: Sequence[int], scores: Sequence[float]
    ) -> list[int]:
        """Adds the planes of a frame.

        Args:
            points: of each plane, `n 3` in the world, metres.
            eye: where the camera is, in the world.
            labels: of each plane, place in PLANEMVS_NAMES.
            scores: of each plane, 0..1.

        Returns:
            the number of each plane in the scene; −1 for one with too few points to be a plane.
        """
        detected = list(zip(points, labels, scores, strict=True))
        out = [-1] * len(detected)
        free = list(range(len(self.parts)))  # no plane of this frame has joined them yet
        for i in np.argsort([-score for _, _, score in detected], kind="stable"):
            cloud, label, score = detected[i]
            seen = _part(cloud, eye, label, float(score), self.frames)
            if seen is None:
                continue
            fits = {number: self._misfit(seen, self.parts[number]) for number in free}
            number = min(fits, key=lambda k: fits[k], default=-1)
            if number >= 0 and fits[number] <= MAX_MISFIT:
                self.parts[number] = self.parts[number].joined(seen)
                free.remove(number)
            else:
                number = len(self.parts)
                self.parts.append(seen)
            out[i] = number
        self.frames += 1
        return out

    def _misfit(self, a: _Part, b: _Part) -> float:
        """How badly two fit as one plane, symmetric: distance as a share of what is allowed, plus the share without
        overlap, plus 1 where the classes differ; infinite where they cannot be one plane."""
        if a.normal @ b.normal < np.cos(np.radians(self.max_angle_deg)):
            return np.inf
        distance_m = min(float(np.mean(a.distance_m)), float(np.mean(b.distance_m)))
        allowed = max(self.max_distance_m, self.max_distance_share * distance_m)
        near_a = np.isfinite(b.tree.query(a.points, distance_upper_bound=1.5 * allowed)[0])
        if not near_a.any():
            return np.inf
        near_b = np.isfinite(a.tree.query(b.points, distance_upper_bound=1.5 * allowed)[0])
        overlap = max(near_a.mean(), near_b.mean())
        off = [float(np.abs(p @ n + d).mean()) for p, n, d in (
            (a.points[near_a], b.normal, b.offset), (b.points[near_b], a.normal, a.offset))]  # fmt: skip
        if overlap < self.min_overlap or max(off) > allowed:
            return np.inf
        return sum(off) / 2 / allowed + 1 - overlap + float(a.votes.argmax() != b.votes.argmax())

    def _merged(self) -> list[_Part]:
        """The planes of the scene, merged where they have come to fit each other: best pairs first."""
        planes = dict(enumerate(self.parts))

        def close(pairs: Iterable[tuple[int, int]]) -> dict[tuple[int, int], float]:
            return {(i, j): misfit for i, j in pairs if (misfit := self._misfit(planes[i], planes[j])) <= MERGE_MISFIT}

        misfits = close(itertools.combinations(planes, 2))
        while misfits:
            i, j = min(misfits, key=lambda pair: misfits[pair])
            first, second = planes.pop(i), planes.pop(j)
            planes[i] = first.joined(second) if len(first.points) >= len(second.points) else second.joined(first)
            misfits = {pair: value for pair, value in misfits.items() if not {i, j} & set(pair)}
            misfits |= close((min(i, k), max(i, k)) for k in planes if k != i)
        return list(planes.values())

    def scene(self, min_area_m2: float = 0.05, min_frames: int = 1) -> FusedScene:
        """The surfaces of at least this area that were seen in at least so many key frames, the largest first."""
        found = [_surface(plane) for plane in self._merged() if len(plane.frames) >= min_frames]
        kept = [s for s in found if s.area_m2 >= min_area_m2]
        return FusedScene(tuple(sorted(kept, key=lambda s: -s.area_m2)))


def _part(points: np.ndarray, eye: np.ndarray, label: int, score: float, frame: int) -> _Part | None:
    """A detection as a plane; None where its points make no plane."""
    cloud = _cell_means(np.asarray(points, np.float64), CELL_M)
    try:
        normal, offset = fit_plane(cloud)
    except ValueError:
        return None
    if normal @ eye + offset < 0:
        normal, offset = -normal, -offset
    votes = np.zeros(len(PLANEMVS_NAMES))
    votes[max(label, 0)] = score * len(cloud)
    distance_m = float(np.linalg.norm(cloud - eye, axis=1).mean())
    return _Part(normal, offset, cloud, votes, [score], [distance_m], frozenset([frame]))


def _cell_means(points: np.ndarray, cell_m: float) -> np.ndarray:
    """The mean of the points of each cell."""
    if not len(points):
        return points
    _, owner = np.unique(np.floor(points / cell_m).astype(np.int64), axis=0, return_inverse=True)
    owner = owner.reshape(-1)
    count = np.bincount(owner)
    return np.stack([np.bincount(owner, points[:, i]) / count for i in range(3)], -1)


def _surface(plane: _Part) -> Surface:
    helper = np.eye(3)[2] if abs(plane.normal[2]) < 0.9 else np.eye(3)[0]
    x = np.cross(helper, plane.normal)
    x /= np.linalg.norm(x)
    y = np.cross(plane.normal, x)
    middle = plane.points.mean(0)
    middle = middle - plane.normal * (plane.normal @ middle + plane.offset)
    pose = np.eye(4)
    pose[:3, 0], pose[:3, 1], pose[:3, 2], pose[:3, 3] = x, y, plane.normal, middle
    flat = (plane.points - middle) @ np.stack([x, y], 1)
    low = flat.min(0)
    place = np.floor((flat - low) / CELL_M).astype(int)
    cells = np.zeros(place.max(0) + 1, bool)
    cells[place[:, 0], place[:, 1]] = True
    # Thinning by cubes leaves single cells empty that lie between points.
    cells = ndimage.binary_closing(np.pad(cells, 2))[2:-2, 2:-2] | cells
    corner = (float(low[0]), float(low[1]))
    outlines = [(line * CELL_M + low) @ np.stack([x, y]) + middle for line in outlines_of(cells)]
    label = PLANEMVS_NAMES[int(plane.votes.argmax())]
    area = float(cells.sum() * CELL_M**2)
    score = float(np.mean(plane.scores))
    return Surface(
        label, plane.normal, float(plane.offset), pose, tuple(outlines), area, score, len(plane.frames), cells, corner
    )


def outlines_of(cells: Bool[np.ndarray, "nx ny"]) -> list[Float64[np.ndarray, "_ 2"]]:
    """Outer outlines of the connected parts (4 neighbours), counter-clockwise; straight runs are one edge."""
    parts: np.ndarray
    parts, count = ndimage.label(cells)  # pyright: ignore[reportGeneralTypeIssues]
    return [_outline(np.asarray(ndimage.binary_fill_holes(parts == i))) for i in range(1, count + 1)]


def _outline(part: np.ndarray) -> np.ndarray:
    """Walks along the border with the part on the left, from its lowest corner."""
    filled = np.pad(part, 1)
    i, j = np.argwhere(part)[0]
    start = at = (int(i), int(j))
    heading = (1, 0)
    corners = []
    while True:
        # Cells ahead on the left and on the right of the edge that goes on in this direction.
        left, right = _ahead(filled, at, heading)
        if not left:  # parts that meet in a corner only are two
            turned = (-heading[1], heading[0])
        else:
            turned = (heading[1], -heading[0]) if right else heading
        if turned != heading:
            corners.append(at)
            heading = turned
        at = (at[0] + heading[0], at[1] + heading[1])
        if at == start and len(corners) > 2:
            break
    return np.array([start, *[c for c in corners if c != start]], np.float64)


def _ahead(filled: np.ndarray, at: tuple[int, int], heading: tuple[int, int]) -> tuple[bool, bool]:
    """Whether the cells ahead of a corner, left and right, are part of it (`filled` has a border of 1)."""
    x, y = at[0] + 0.5 * heading[0], at[1] + 0.5 * heading[1]
    out = []
    for side in ((-heading[1], heading[0]), (heading[1], -heading[0])):
        out.append(bool(filled[int(np.floor(x + 0.5 * side[0])) + 1, int(np.floor(y + 0.5 * side[1])) + 1]))
    return out[0], out[1]


@dataclass(frozen=True)
class FusedScene:
    """The planes of a scene; can be drawn and saved.

    Attributes:
        surfaces: the planes, the largest first.
        weights: hash of the weights that found them.
        up: the world's direction upwards; `upwards` finds it.
        metric: whether the poses were in metres; False: every length is in their own unit.
    """

    surfaces: tuple[Surface, ...]
    weights: str = ""
    up: tuple[float, float, float] = (0.0, 0.0, 1.0)
    metric: bool = True

    @property
    def text(self) -> str:
        """How many surfaces, and their area where the poses say in what."""
        area = sum(surface.area_m2 for surface in self.surfaces)
        many = f"{len(self.surfaces)} surface{'' if len(self.surfaces) == 1 else 's'}"
        return f"{many}, {area:.1f} m²" if self.metric else f"{many} (the poses have no metric scale: no areas)"

    def colours(self) -> list[tuple[int, int, int]]:
        """One colour a surface."""
        few = draw.colours(min(48, max(1, len(self.surfaces))))
        return [few[i % len(few)] for i in range(len(self.surfaces))]

    def mesh(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Corners `n 3`, triangles `m 3` and colours `n 3`, 0..255."""
        places, faces, tones, count = [np.zeros((0, 3))], [np.zeros((0, 3), np.int64)], [np.zeros((0, 3), np.uint8)], 0
        for surface, colour in zip(self.surfaces, self.colours(), strict=True):
            corners, triangles = surface.triangles()
            places.append(corners)
            faces.append(triangles + count)
            tones.append(np.tile(np.array(colour, np.uint8), (len(corners), 1)))
            count += len(corners)
        return np.concatenate(places), np.concatenate(faces), np.concatenate(tones)

    def save(self, path: Path | str) -> None:
        """By the ending of the name: .ply and .glb (coloured mesh), .json (polygons), .png (floor plan).

        Raises:
            InputError: another ending.
        """
        path = Path(path)
        match path.suffix.lower():
            case ".ply":
                places, faces, tones = self.mesh()
                columns = dict(zip("xyz", places.T.astype(np.float32), strict=True))
                ply.write(path, {**columns, **dict(zip(("red", "green", "blue"), tones.T, strict=True))}, faces)
            case ".glb":
                write_atomically(path, glb(*self.mesh()))
            case ".json":
                write_atomically(path, json.dumps(self.to_dict(), indent=1) + "\n")
            case ".png":
                write_picture(path, self.draw())
            case ending:
                raise InputError(f"{path}: a scene is saved as .ply, .glb, .json or .png, not {ending!r}")

    def to_dict(self) -> dict[str, object]:
        """Plain numbers for JSON; "unit" is "m", or "of the poses" where nobody knows their scale."""
        rows = [
            {
                "id": number, "class": s.label, "area_m2": round(s.area_m2, 4), "score": round(s.score, 4),
                "frames": s.frames, "normal": s.normal.round(6).tolist(), "offset_m": round(s.offset, 6),
                "world_from_plane": s.world_from_plane.round(6).tolist(),
                "polygons_m": [polygon.round(4).tolist() for polygon in s.polygons],
            }
            for number, s in enumerate(self.surfaces)
        ]  # fmt: skip
        return {"unit": "m" if self.metric else "of the poses", "planes": rows, "weights": self.weights}

    def draw(self, side: int = 640, up: Sequence[float] | None = None) -> Image.Image:
        """The floor plan: seen from above without ceilings; walls are strokes, what lies flat is tinted by its class.

        Args:
            side: of the picture, pixels.
            up: the world's direction upwards; None: `self.up`.
        """
        canvas = Image.new("RGB", (side, side), (250, 250, 250))
        pen, font, ink = ImageDraw.Draw(canvas, "RGBA"), ImageFont.load_default(13), (34, 36, 42)
        z = np.asarray(self.up if up is None else up, np.float64)
        z = z / np.linalg.norm(z)
        shown = [s for s in self.surfaces if s.label != "ceiling"]
        if not shown:
            pen.text((side / 2, side / 2), "no plane found", ink, font, anchor="mm")
            return canvas
        x = np.cross([0.0, 1, 0] if abs(z[1]) < 0.9 else [0.0, 0, 1], z)
        x /= np.linalg.norm(x)
        axes = np.stack([x, -np.cross(z, x)], 1)  # the picture's y goes down
        flat = [[polygon @ axes for polygon in s.polygons] for s in shown]
        everything = np.concatenate([p for polygons in flat for p in polygons])
        low, high = everything.min(0), everything.max(0)
        scale = (side - 110) / max(float((high - low).max()), 0.1)
        shift = side / 2 - 25 - scale * (low + high) / 2
        tones = {str(name): tone for name, tone in zip(PLANEMVS_NAMES, draw.colours(len(PLANEMVS_NAMES)), strict=True)}
        steep = [abs(float(s.normal @ z)) < UPRIGHT for s in shown]
        # what lies flat from the lowest to the highest, then walls and other upright things
        order = sorted(range(len(shown)), key=lambda i: (steep[i], float(shown[i].world_from_plane[:3, 3] @ z)))
        middles = {}
        for i in order:
            tone, drawn = tones[shown[i].label], [polygon * scale + shift for polygon in flat[i]]
            middles[i] = np.concatenate(drawn).mean(0)
            for polygon in drawn:
                line = [(float(a), float(b)) for a, b in polygon]
                if steep[i]:
                    ends = _ends(polygon)
                    pen.line(ends, ink, 7)
                    pen.line(ends, tone, 3)
                else:
                    pen.polygon(line, (*tone, 120), (*ink, 110))
        taken: list[tuple[float, float, float, float]] = []
        for i in sorted(order, key=lambda i: -shown[i].area_m2):
            if shown[i].area_m2 < NAMED_M2:
                continue
            text, (a, b) = shown[i].label, middles[i]
            text = f"{text} {shown[i].area_m2:.1f} m2" if self.metric else text
            box = pen.textbbox((float(a), float(b)), text, font, anchor="mm", stroke_width=2)
            if not any(box[0] < t[2] and t[0] < box[2] and box[1] < t[3] and t[1] < box[3] for t in taken):
                pen.text(
                    (float(a), float(b)), text, ink, font, anchor="mm", stroke_width=2, stroke_fill=(250, 250, 250)
                )
                taken.append(box)
        pen.line((20, side - 44, 20 + scale, side - 44), ink, 2)
        pen.text((24, side - 62), "1 m" if self.metric else "1 unit", ink, font)
        self._legend(pen, tones, side)
        return canvas

    def _legend(self, pen: ImageDraw.ImageDraw, tones: Mapping[str, tuple[int, int, int]], side: int) -> None:
        """The colours of the classes that are there, in one row at the bottom."""
        font, at = ImageFont.load_default(12), 20.0
        for name in dict.fromkeys(s.label for s in self.surfaces if s.label != "ceiling"):
            if at + 30 + font.getlength(name) > side:
                return
            pen.rectangle((at, side - 26, at + 12, side - 14), tones[name])
            pen.text((at + 17, side - 20), name, (34, 36, 42), font, anchor="lm")
            at += 30 + font.getlength(name)


def _ends(polygon: Float64[np.ndarray, "n 2"]) -> list[tuple[float, float]]:
    """The stroke that an upright plane is from above: its extent along its longer axis."""
    middle = polygon.mean(0)
    axis = np.linalg.svd(polygon - middle, full_matrices=False)[2][0]
    along = (polygon - middle) @ axis
    return [(float(a), float(b)) for a, b in (middle + axis * along.min(), middle + axis * along.max())]


def upwards(surfaces: Sequence[Surface], about: Float64[np.ndarray, " 3"]) -> tuple[float, float, float]:
    """The direction upwards that most of the planes agree with: floors and tables lie, walls stand.

    Args:
        surfaces: planes of the scene.
        about: what is up by the cameras; the answer is within 40 degrees of it, and it is the answer where no plane
            that lies flat is there.
    """
    about = about / np.linalg.norm(about)
    lying = [s.normal * np.sign(s.normal @ about) for s in surfaces if abs(s.normal @ about) > np.cos(np.radians(40))]
    near = np.radians(8)

    def agreed(up: np.ndarray) -> float:
        angle = np.array([np.arccos(np.clip(abs(s.normal @ up), 0, 1)) for s in surfaces])
        return float(sum(s.area_m2 for s, a in zip(surfaces, angle, strict=True) if a < near or a > np.pi / 2 - near))

    best = max(lying, key=agreed, default=about)
    parallel = [n for n in lying if n @ best > np.cos(near)]
    mean = np.sum(parallel, 0) if parallel else about
    x, y, z = mean / np.linalg.norm(mean)
    return float(x), float(y), float(z)


def glb(places: np.ndarray, triangles: np.ndarray, colours: np.ndarray) -> bytes:
    """A coloured triangle mesh as binary glTF 2.0 (y up there: world z becomes y).

    Args:
        places: corners `n 3`, metres, z up.
        triangles: `m 3`, numbers of corners.
        colours: of corners, `n 3`, 0..255.
    """
    asset = {"asset": {"version": "2.0", "generator": "percepta"}, "scene": 0}
    if not len(places):
        return _chunks({**asset, "scenes": [{"nodes": []}]}, b"")
    turned = np.ascontiguousarray(places[:, [0, 2, 1]] * (1, 1, -1), np.float32)
    tone = np.concatenate([colours, np.full((len(colours), 1), 255)], 1).astype(np.uint8)
    parts = [turned.tobytes(), np.ascontiguousarray(tone).tobytes(), triangles.astype(np.uint32).tobytes()]
    starts = np.cumsum([0, *map(len, parts)]).tolist()
    accessors = [
        {"bufferView": 0, "componentType": 5126, "count": len(turned), "type": "VEC3",
         "min": turned.min(0).tolist(), "max": turned.max(0).tolist()},
        {"bufferView": 1, "componentType": 5121, "normalized": True, "count": len(tone), "type": "VEC4"},
        {"bufferView": 2, "componentType": 5125, "count": int(triangles.size), "type": "SCALAR"},
    ]  # fmt: skip
    document = {
        **asset,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0, "COLOR_0": 1}, "indices": 2, "material": 0}]}],
        "materials": [{"doubleSided": True, "pbrMetallicRoughness": {"metallicFactor": 0, "roughnessFactor": 1}}],
        "accessors": accessors,
        "bufferViews": [
            {"buffer": 0, "byteOffset": start, "byteLength": len(part), "target": target}
            for start, part, target in zip(starts, parts, (34962, 34962, 34963), strict=False)
        ],
        "buffers": [{"byteLength": starts[-1]}],
    }
    return _chunks(document, b"".join(parts))


def _chunks(document: dict[str, object], data: bytes) -> bytes:
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    data += b"\0" * (-len(data) % 4)
    body = struct.pack("<II", len(text), 0x4E4F534A) + text
    body += struct.pack("<II", len(data), 0x004E4942) + data if data else b""
    return struct.pack("<III", 0x46546C67, 2, 12 + len(body)) + body
