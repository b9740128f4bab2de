"""Many key frames into one scene: planes associated, merged, and outlined as polygons with class, area and pose.

A plane of a new frame belongs to the plane of the scene that it fits best: the normals agree, where the two overlap
each one's points lie on the other, and both are of one class or fit all the better. How far apart they may be grows
with the distance they were seen from, as the error of depth does; two planes of one frame are two. Points are thinned
to cells, so that what is seen often does not weigh more, and the plane is fitted anew to all of them. When the scene
is asked for, planes that have grown to fit each other become one. The area is that of the cells.
"""

from __future__ import annotations

import itertools
import json
import struct
from collections.abc import Iterable, Sequence
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
FIT, UNITE = 1.5, 1.2  # misfits up to which a detection joins a plane, and two planes of the scene each other


@dataclass(frozen=True)
class Surface:
    """One plane of a scene.

    Attributes:
        label: class, by name. normal, offset: n·x + d = 0 in the world, n to the side that was seen.
        world_from_plane: its pose: origin in the middle, z along the normal.
        polygons: outlines, in the world; the first of each is outside, further parts are polygons of their own.
        area_m2: what was seen of it, holes left out. score: mean of its detections. seen: in how many frames.
        cells: which cells of CELL_M are part of it; corner: of the first cell, in the plane's coordinates.
    """

    label: str
    normal: Float64[np.ndarray, " 3"]
    offset: float
    world_from_plane: Float64[np.ndarray, "4 4"]
    polygons: tuple[Float64[np.ndarray, "_ 3"], ...]
    area_m2: float
    score: float
    seen: int
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
class _Growing:
    normal: np.ndarray
    offset: float
    points: np.ndarray
    votes: np.ndarray
    scores: list[float]
    away_m: list[float]  # from how far each of its detections was seen
    frames: frozenset[int]

    @cached_property
    def tree(self) -> KDTree:
        return KDTree(self.points)

    def joined(self, other: _Growing) -> _Growing:
        """Both as one, facing the way this one does."""
        points = _thin(np.concatenate([self.points, other.points]), CELL_M)
        normal, offset = fit_plane(points)
        if normal @ self.normal < 0:
            normal, offset = -normal, -offset
        return _Growing(
            normal, offset, points, self.votes + other.votes, self.scores + other.scores, self.away_m + other.away_m,
            self.frames | other.frames,
        )  # fmt: skip


@dataclass
class Fusion:
    """Takes key frames one by one; `scene()` gives what there is so far.

    Args:
        angle_deg: how far normals may differ between two that are one plane.
        apart_m, apart_share: how far apart they may be: metres, or that share of the distance they were seen from,
            whichever is more.
        overlap: the share of the smaller one that has to be near the other.
    """

    angle_deg: float = 25.0
    apart_m: float = 0.10
    apart_share: float = 0.15
    overlap: float = 0.3
    grown: list[_Growing] = field(default_factory=list)
    frames: int = 0

    def add(
        self, points: Sequence[np.ndarray], eye: np.ndarray, labels: Sequence[int], scores: Sequence[float]
    ) -> list[int]:
        """Adds the planes of a frame.

        Args:
            points: of each plane, `n 3` in the world. eye: where the camera is.
            labels: places in PLANEMVS_NAMES.

        Returns:
            the number of each plane in the scene; −1 for one with too few points to be a plane.
        """
        detected = list(zip(points, labels, scores, strict=True))
        out = [-1] * len(detected)
        free = list(range(len(self.grown)))  # what this frame has not told of yet
        for i in np.argsort([-score for _, _, score in detected], kind="stable"):
            cloud, label, score = detected[i]
            seen = _seen(cloud, eye, label, float(score), self.frames)
            if seen is None:
                continue
            fits = {number: self._misfit(seen, self.grown[number]) for number in free}
            number = min(fits, key=lambda k: fits[k], default=-1)
            if number >= 0 and fits[number] <= FIT:
                self.grown[number] = self.grown[number].joined(seen)
                free.remove(number)
            else:
                number = len(self.grown)
                self.grown.append(seen)
            out[i] = number
        self.frames += 1
        return out

    def _misfit(self, a: _Growing, b: _Growing) -> float:
        """How badly two are one plane, the same both ways: distance, in what is allowed, plus the share without
        overlap, plus 1 for another class; infinite for what is out of the question."""
        if a.normal @ b.normal < np.cos(np.radians(self.angle_deg)):
            return np.inf
        away_m = min(float(np.mean(a.away_m)), float(np.mean(b.away_m)))
        allowed = max(self.apart_m, self.apart_share * away_m)
        near_a = np.isfinite(b.tree.query(a.points, distance_upper_bound=1.5 * allowed)[0])
        if not near_a.any():
            return np.inf
        near_b = np.isfinite(a.tree.query(b.points, distance_upper_bound=1.5 * allowed)[0])
        overlap = max(near_a.mean(), near_b.mean())
        off = [float(np.abs(p @ n + d).mean()) for p, n, d in (
            (a.points[near_a], b.normal, b.offset), (b.points[near_b], a.normal, a.offset))]  # fmt: skip
        if overlap < self.overlap or max(off) > allowed:
            return np.inf
        return sum(off) / 2 / allowed + 1 - overlap + float(a.votes.argmax() != b.votes.argmax())

    def _united(self) -> list[_Growing]:
        """The planes of the scene, those that have come to fit each other as one: best pairs first."""
        planes = dict(enumerate(self.grown))

        def close(pairs: Iterable[tuple[int, int]]) -> dict[tuple[int, int], float]:
            return {(i, j): misfit for i, j in pairs if (misfit := self._misfit(planes[i], planes[j])) <= UNITE}

        misfits = close(itertools.combinations(planes, 2))
        while misfits:
            i, j = min(misfits, key=lambda pair: misfits[pair])
            first, second = planes.pop(i), planes.pop(j)
            planes[i] = first.joined(second) if len(first.points) >= len(second.points) else second.joined(first)
            misfits = {pair: value for pair, value in misfits.items() if not {i, j} & set(pair)}
            misfits |= close((min(i, k), max(i, k)) for k in planes if k != i)
        return list(planes.values())

    def scene(self, least_m2: float = 0.05, least_seen: int = 1) -> Scene:
        """The surfaces that are large enough and seen in enough frames, the largest first."""
        found = [_surface(plane) for plane in self._united() if len(plane.frames) >= least_seen]
        kept = [s for s in found if s.area_m2 >= least_m2]
        return Scene(tuple(sorted(kept, key=lambda s: -s.area_m2)))


def _seen(points: np.ndarray, eye: np.ndarray, label: int, score: float, frame: int) -> _Growing | None:
    """A detection as a plane that may grow; None where its points make no plane."""
    cloud = _thin(np.asarray(points, np.float64), CELL_M)
    try:
        normal, offset = fit_plane(cloud)
    except ValueError:
        return None
    if normal @ eye + offset < 0:
        normal, offset = -normal, -offset
    votes = np.zeros(len(PLANEMVS_NAMES))
    votes[max(label, 0)] = score * len(cloud)
    away_m = float(np.linalg.norm(cloud - eye, axis=1).mean())
    return _Growing(normal, offset, cloud, votes, [score], [away_m], frozenset([frame]))


def _thin(points: np.ndarray, cell_m: float) -> np.ndarray:
    """The mean of the points of each cell."""
    if not len(points):
        return points
    _, owner = np.unique(np.floor(points / cell_m).astype(np.int64), axis=0, return_inverse=True)
    owner = owner.reshape(-1)
    count = np.bincount(owner)
    return np.stack([np.bincount(owner, points[:, i]) / count for i in range(3)], -1)


def _surface(plane: _Growing) -> Surface:
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
class Scene:
    """The planes of a scene, the largest first; can be drawn and saved."""

    surfaces: tuple[Surface, ...]

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
                write_atomically(path, json.dumps(self.table(), indent=1) + "\n")
            case ".png":
                write_picture(path, self.draw())
            case ending:
                raise InputError(f"{path}: a scene is saved as .ply, .glb, .json or .png, not {ending!r}")

    def table(self) -> dict[str, object]:
        """Plain numbers for JSON, metres."""
        rows = [
            {
                "id": number, "class": s.label, "area_m2": round(s.area_m2, 4), "score": round(s.score, 4),
                "seen": s.seen, "normal": s.normal.round(6).tolist(), "offset_m": round(s.offset, 6),
                "world_from_plane": s.world_from_plane.round(6).tolist(),
                "polygons_m": [polygon.round(4).tolist() for polygon in s.polygons],
            }
            for number, s in enumerate(self.surfaces)
        ]  # fmt: skip
        return {"unit": "m", "planes": rows}

    def draw(self, side: int = 640, up: Sequence[float] = (0.0, 0.0, 1.0)) -> Image.Image:
        """The floor plan: seen from above, lower surfaces first, names and areas of the largest.

        Args:
            up: the world's direction upwards.
        """
        canvas = Image.new("RGB", (side, side), (250, 250, 250))
        pen, font = ImageDraw.Draw(canvas, "RGBA"), ImageFont.load_default(12)
        if not self.surfaces:
            pen.text((side / 2, side / 2), "no plane found", (34, 36, 42), font, anchor="mm")
            return canvas
        z = np.asarray(up, np.float64) / np.linalg.norm(up)
        x = np.cross([0.0, 1, 0] if abs(z[1]) < 0.9 else [0.0, 0, 1], z)
        x /= np.linalg.norm(x)
        axes = np.stack([x, -np.cross(z, x)], 1)  # the picture's y goes down
        flat = [[polygon @ axes for polygon in s.polygons] for s in self.surfaces]
        everything = np.concatenate([p for polygons in flat for p in polygons])
        low, high = everything.min(0), everything.max(0)
        scale = (side - 60) / max(float((high - low).max()), 0.1)
        shift = side / 2 - scale * (low + high) / 2
        height = [float(s.world_from_plane[:3, 3] @ z) for s in self.surfaces]
        tones = self.colours()
        for i in np.argsort(height, kind="stable"):
            for polygon in flat[i]:
                line = [(float(a), float(b)) for a, b in polygon * scale + shift]
                if abs(self.surfaces[i].normal @ z) < 0.5:  # a wall: seen from above a stroke
                    pen.line([*line, line[0]], (*tones[i], 255), 4)
                else:
                    pen.polygon(line, (*tones[i], 90), (*tones[i], 255))
        for s in self.surfaces[:8]:
            a, b = s.world_from_plane[:3, 3] @ axes * scale + shift
            pen.text((a, b), f"{s.label} {s.area_m2:.1f} m2", (34, 36, 42), font, anchor="mm")
        pen.line((20, side - 18, 20 + scale, side - 18), (34, 36, 42), 2)
        pen.text((24, side - 32), "1 m", (34, 36, 42), font)
        return canvas


def glb(places: np.ndarray, triangles: np.ndarray, colours: np.ndarray) -> bytes:
    """A coloured triangle mesh as binary glTF 2.0 (y up there: world z becomes y).

    Args:
        places: corners `n 3`, metres, z up. triangles: `m 3`. colours: `n 3`, 0..255.
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
