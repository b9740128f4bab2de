"""How the rooms of `rooms.py` are made: a shell, furniture that goes together, small things, light.

A room is a rectangle of 2.5 to 7 m, often with a corner walled off. Things stand on the floor or on each other or hang
on walls; no two objects run into each other. Metres; z up; the floor is z = 0. Everything follows from the seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float64, Int32, Int64, UInt8

from percepta.datasets import nyu40
from percepta.errors import InputError
from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics
from percepta.worlds import raster as renderer
from percepta.worlds.raster import Atlas, Faces, Lamp, Light
from percepta.worlds.rooms import furniture as make
from percepta.worlds.rooms.furniture import Maker, Number, Piece, Place, Top, pick
from percepta.worlds.rooms.textures import Material, Palette, colour

Rng = np.random.Generator

# The class of everything that a maker may call its piece; a name that is a NYU-40 class itself stands for that.
CLASSES: dict[str, int] = {name: number for number, name in enumerate(nyu40.NAMES)} | {
    "kitchen cabinet": 3, "armchair": 5, "office chair": 5, "coffee table": 7, "side table": 7, "ottoman": 39,
    "tv stand": 39, "garbage bin": 39, "radiator": 39, "monitor": 40, "keyboard": 40, "laptop": 40,
    "computer tower": 40,
    "printer": 40, "microwave": 40, "package": 40, "cup": 40, "bottle": 40, "plant": 40, "backpack": 40, "suitcase": 40,
    "clock": 40, "light switch": 40, "column": 38,
}  # fmt: skip


@dataclass(frozen=True)
class Thing:
    """One object of a room.

    Attributes:
        name: what it is; label: its NYU-40 class; instance: its number, 1 and up.
        low, high: its box along the world's axes.
        on: instance that it stands on or hangs on (the floor's for what stands on the floor).
    """

    name: str
    label: int
    instance: int
    low: Float64[np.ndarray, " 3"]
    high: Float64[np.ndarray, " 3"]
    on: int


@dataclass(frozen=True)
class Planes:
    """All planes of a room by plane number: faces of one object that lie in one plane count as one.

    Attributes:
        normal, offset: n·x + d = 0, n to the side that can be seen.
        label, instance: NYU-40 class and object. planemvs: PlaneMVS's class (0: other).
        area_m2: visible or not.
    """

    normal: Float64[np.ndarray, "n 3"]
    offset: Float64[np.ndarray, " n"]
    label: UInt8[np.ndarray, " n"]
    instance: Int32[np.ndarray, " n"]
    planemvs: Int64[np.ndarray, " n"]
    area_m2: Float64[np.ndarray, " n"]
    polygons: tuple[tuple[Float64[np.ndarray, "_ 3"], ...], ...]  # the faces of each


@dataclass(frozen=True)
class Boxes:
    """Upright boxes that things fill: middle x y, half sizes, the direction of the first side, lowest and highest z."""

    middle: Float64[np.ndarray, "n 2"]
    half: Float64[np.ndarray, "n 2"]
    side: Float64[np.ndarray, "n 2"]
    z: Float64[np.ndarray, "n 2"]
    instance: Int64[np.ndarray, " n"]


@dataclass(frozen=True)
class Room:
    """A room that can be drawn.

    Attributes:
        kind: "bedroom", "kitchen", ... size: x, y, z in metres; one corner of the floor is the origin.
        gain: exposure and white balance of its pictures.
    """

    seed: int
    kind: str
    size: tuple[float, float, float]
    things: tuple[Thing, ...]
    planes: Planes
    faces: Faces
    atlas: Atlas
    light: Light
    gain: Float64[np.ndarray, " 3"]
    boxes: Boxes


# --- making a room ----------------------------------------------------------------------------------------------------


def room(seed: int, kind: str | None = None) -> Room:
    """A room that depends on the seed only.

    Args:
        kind: one of KINDS; None draws one.

    Raises:
        InputError: an unknown kind.
    """
    rng = np.random.default_rng([seed, 11])
    if kind is None:
        names = list(KINDS)
        kind = names[int(rng.choice(len(names), p=[KINDS[name].weight for name in names]))]
    if kind not in KINDS:
        raise InputError(f"no kind of room {kind!r}; there are {', '.join(KINDS)}")
    plan = KINDS[kind]
    size = np.array([rng.uniform(*plan.side), rng.uniform(*plan.side), rng.uniform(2.35, 3.0)])
    build = _Builder(rng, Palette(rng), size)
    build.shell(plan.tiled)
    plan.furnish(build)
    build.crowd(_CROWDS.get(kind, _CROWDS["living"]), rng.uniform(0.28, 0.55))
    build.clutter()
    return build.finish(seed, kind)


@dataclass(frozen=True)
class _Wall:
    """A stretch of wall: where it starts (its left end seen from inside), its direction and its length."""

    start: Float64[np.ndarray, " 2"]
    along: Float64[np.ndarray, " 2"]
    length: float
    instance: int

    @property
    def inward(self) -> Float64[np.ndarray, " 2"]:
        return np.array([self.along[1], -self.along[0]])

    @property
    def yaw(self) -> float:
        return float(np.arctan2(self.along[1], self.along[0]))


@dataclass(frozen=True)
class _Placed:
    """A piece in its place: x, y, z, yaw of its frame."""

    piece: Piece
    at: tuple[float, float, float, float]
    instance: int

    def point(self, x: Number, y: Number) -> tuple[float, float]:
        """World x y of a point of its frame."""
        c, s = np.cos(self.at[3]), np.sin(self.at[3])
        return float(self.at[0] + c * x - s * y), float(self.at[1] + s * x + c * y)


def _inside(outer: Sequence[Number], inner: Place) -> tuple[float, float, float, float]:
    """The place of a part in the world."""
    c, s = np.cos(outer[3]), np.sin(outer[3])
    x, y, z, yaw = inner
    return outer[0] + c * x - s * y, outer[1] + s * x + c * y, outer[2] + z, outer[3] + yaw


@dataclass
class _Builder:
    """A room while it is being furnished."""

    rng: Rng
    look: Palette
    size: Float64[np.ndarray, " 3"]
    walls: list[_Wall] = field(default_factory=list)
    placed: list[_Placed] = field(default_factory=list)
    lamps: list[Lamp] = field(default_factory=list)
    # polygons with what is known of each: corners, material, instance, the direction of "down" on horizontal faces
    polygons: list[tuple[np.ndarray, Material, int, np.ndarray]] = field(default_factory=list)
    things: list[Thing] = field(default_factory=list)
    # rows: middle x y, half x y, cos, sin, z0, z1, instance; ghosts (instance 0) only keep a place free
    taken: np.ndarray = field(default_factory=lambda: np.zeros((0, 9)))

    # - the shell

    def shell(self, tiled: bool) -> None:
        """Floor, ceiling, walls; sometimes a corner walled off, a partition, a column; a skirting board."""
        rng, look = self.rng, self.look
        w, d, h = self.size
        floors = [("tiles", "tile", 1.2), ("checker", "tile", 1.2)] if tiled else [
            ("planks", "wood", 1.0), ("planks", "wood", 1.3), ("carpet", "carpet", 0.8), ("lines", "white", 1.0),
            ("tiles", "stone", 1.6), ("carpet", "carpet", 1.5), ("granite", "stone", 1.2),
        ]  # fmt: skip
        kind, family, metres = floors[rng.integers(len(floors))]
        tone = colour(rng, family)
        tone += (255 - tone) * rng.uniform(0, 0.4)  # floors are lighter than furniture
        floor = look.material(kind, tone, metres, gloss=float(rng.choice([0.0, 0.1, 0.25])))
        ceiling = look.material("tiles" if rng.random() < 0.2 else "plaster", "white", 1.8)
        self._flat(
            "floor", np.array([[0, 0, 0], [w, 0, 0], [w, d, 0], [0, d, 0]], float), floor, np.array([0, 0, -0.1])
        )
        self._flat(
            "ceiling", np.array([[0, 0, h], [0, d, h], [w, d, h], [w, 0, h]], float), ceiling, np.array([0, 0, 0.1])
        )
        self.paints = [self._paint(tiled)]
        if rng.random() < 0.35:
            self.paints.append(self._paint(tiled))
        skirting = look.material("plain", "white" if rng.random() < 0.6 else "wood")
        corners = np.array([[0, d], [w, d], [w, 0], [0, 0]], float)
        board = rng.uniform(0.06, 0.12) if rng.random() < 0.7 else 0.0
        for i in range(4):
            self._wall(corners[i], corners[(i + 1) % 4], skirting, board)
        if min(w, d) > 3.0 and rng.random() < 0.4:
            self._block(skirting, board)

    def _paint(self, tiled: bool) -> Material:
        rng = self.rng
        kinds = ("plaster", "plaster", "plaster", "plain", "plain", "wallpaper", "stripes", "brick", "planks")
        kind = ("tiles", "plaster")[rng.integers(2)] if tiled else kinds[rng.integers(len(kinds))]
        family = {"tiles": "tile", "planks": "wood"}.get(kind, "wall" if rng.random() < 0.85 else "bold")
        metres = {"tiles": rng.uniform(0.6, 1.2), "brick": 0.9, "wallpaper": rng.uniform(0.4, 0.8)}.get(kind, 1.6)
        return self.look.material(kind, family, metres)

    def _flat(self, name: str, corners: np.ndarray, material: Material, thick: np.ndarray) -> int:
        """A part of the shell; its box lies behind it."""
        instance = len(self.things) + 1
        self.polygons.append((corners, material, instance, np.array([0.0, -1.0, 0.0])))
        both = np.concatenate([corners, corners + thick])
        self.things.append(Thing(name, CLASSES[name], instance, both.min(0), both.max(0), 0))
        return instance

    def _wall(self, start: np.ndarray, end: np.ndarray, skirting: Material, board: float) -> None:
        """A wall seen from its inner side, from left to right."""
        h = self.size[2]
        length = float(np.linalg.norm(end - start))
        along = (end - start) / length
        a, b = np.append(start, 0), np.append(end, 0)
        up = np.array([0, 0, h])
        corners = np.stack([a, b, b + up, a + up])
        wall = _Wall(start, along, length, len(self.things) + 1)
        outward = -np.append(wall.inward, 0)
        self._flat("wall", corners, self.paints[self.rng.integers(len(self.paints))], 0.1 * outward)
        self.walls.append(wall)
        if board:
            self._board(wall, skirting, board)

    def _board(self, wall: _Wall, material: Material, height: float) -> None:
        piece = Piece("wall")
        piece.box((0, wall.length), (-0.01, 0), (0, height), material)
        frame = poses.compose(_turn(wall.yaw), np.append(wall.start, 0))
        for polygon in piece.polygons:
            self.polygons.append((poses.transform(frame, polygon), material, wall.instance, np.array([0.0, -1.0, 0.0])))

    def _block(self, skirting: Material, board: float) -> None:
        """Walls off a corner, or puts a short wall into the room."""
        rng = self.rng
        w, d, h = self.size
        if rng.random() < 0.6:
            bw, bd = rng.uniform(0.2, 0.42) * w, rng.uniform(0.2, 0.42) * d
            x0 = rng.choice([0.0, w - bw])
            y0 = rng.choice([0.0, d - bd])
        elif rng.random() < 0.6:
            bw, bd = 0.12, rng.uniform(0.3, 0.45) * d
            x0, y0 = rng.uniform(0.35, 0.65) * w, rng.choice([0.0, d - bd])
        else:
            bw, bd = rng.uniform(0.2, 0.5, 2)
            x0, y0 = rng.uniform(0.2, 0.8) * (w - bw), rng.choice([0.0, d - bd])
        corners = np.array([[x0, y0], [x0 + bw, y0], [x0 + bw, y0 + bd], [x0, y0 + bd]])
        first = len(self.things) + 1
        for i in range(4):
            start, end = corners[i], corners[(i + 1) % 4]
            middle = (start + end) / 2
            if 0.01 < middle[0] < w - 0.01 and 0.01 < middle[1] < d - 0.01:
                self._wall(start, end, skirting, board)
        self._take(np.array([[x0 + bw / 2, y0 + bd / 2, bw / 2, bd / 2, 1, 0, 0, h, first]]))

    # - placing

    def _rows(self, piece: Piece, at: Sequence[Number], instance: int) -> np.ndarray:
        """Rows as in `taken` of a piece at a place, its parts included."""
        boxes = np.array(piece.boxes)
        c, s = np.cos(at[3]), np.sin(at[3])
        x, y = boxes[:, :2].mean(1), boxes[:, 2:4].mean(1)
        rows = np.zeros((len(boxes), 9))
        rows[:, 0], rows[:, 1] = at[0] + c * x - s * y, at[1] + s * x + c * y
        rows[:, 2], rows[:, 3] = np.diff(boxes[:, :2])[:, 0] / 2, np.diff(boxes[:, 2:4])[:, 0] / 2
        rows[:, 4], rows[:, 5], rows[:, 8] = c, s, instance
        rows[:, 6:8] = boxes[:, 4:] + at[2]
        inner = [self._rows(part, _inside(at, place), instance) for part, place in piece.parts]
        return np.concatenate([rows, *inner])

    def _take(self, rows: np.ndarray) -> None:
        self.taken = np.concatenate([self.taken, rows])

    def fits(self, piece: Piece, at: Sequence[Number], gap: float = 0.0) -> bool:
        """Whether a piece can be put there: inside the room, and nothing within `gap` of it."""
        rows = self._rows(piece, at, 0)
        reach = np.abs(rows[:, 2:3] * rows[:, 4:6]) + np.abs(rows[:, 3:4] * rows[:, [5, 4]])
        low, high = (rows[:, :2] - reach).min(0), (rows[:, :2] + reach).max(0)
        if (low < -1e-6).any() or (high > self.size[:2] + 1e-6).any():
            return False
        if rows[:, 7].max() > self.size[2] + 1e-6 or rows[:, 6].min() < -1e-6:
            return False
        return not _collide(rows, self.taken, gap)

    def put(self, piece: Piece, at: Sequence[Number], on: int = 1) -> _Placed:
        """Puts a piece and its parts there without asking."""
        instance = len(self.things) + 1
        frame = poses.compose(_turn(at[3]), np.array(at[:3]))
        down = frame[:3, :3] @ (0.0, -1.0, 0.0)
        moved = [poses.transform(frame, polygon) for polygon in piece.polygons]
        self.polygons += [(p, m, instance, down) for p, m in zip(moved, piece.materials, strict=True)]
        every = np.concatenate(moved)
        self.things.append(Thing(piece.name, CLASSES[piece.name], instance, every.min(0), every.max(0), on))
        own = Piece(piece.name, boxes=piece.boxes)
        self._take(self._rows(own, at, instance))
        out = _Placed(piece, (float(at[0]), float(at[1]), float(at[2]), float(at[3])), instance)
        self.placed.append(out)
        for part, place in piece.parts:
            self.put(part, _inside(at, place), instance)
        return out

    def against(self, piece: Piece, tries: int = 25, gap: float = 0.01, jitter: float = 0.0) -> _Placed | None:
        """Puts a piece with its back to a wall, often into a corner; None where there is no room."""
        rng = self.rng
        low, high = piece.bounds()
        share = np.array([wall.length for wall in self.walls])
        for _ in range(tries):
            wall = self.walls[int(rng.choice(len(self.walls), p=share / share.sum()))]
            half = (high[0] - low[0]) / 2 + 0.01
            if wall.length < 2 * half:
                continue
            s = rng.uniform(half, wall.length - half)
            if rng.random() < 0.3:
                s = half + 0.01 if rng.random() < 0.5 else wall.length - half - 0.01
            yaw = wall.yaw + (rng.normal(0, jitter) if jitter else 0.0)
            away = rng.uniform(0.015, 0.05) + high[1] + 2 * abs(jitter) * half
            x, y = wall.start + wall.along * (s - (high[0] + low[0]) / 2) + wall.inward * away
            if self.fits(piece, (x, y, 0.0, yaw), gap):
                return self.put(piece, (x, y, 0.0, yaw))
        return None

    def hang(self, piece: Piece, heights: tuple[float, float] = (0.0, 0.0), tries: int = 20) -> _Placed | None:
        """Hangs a piece on a wall, its z = 0 at one of these heights."""
        rng = self.rng
        low, high = piece.bounds()
        share = np.array([wall.length for wall in self.walls])
        for _ in range(tries):
            wall = self.walls[int(rng.choice(len(self.walls), p=share / share.sum()))]
            if wall.length < high[0] - low[0] + 0.1:
                continue
            s = rng.uniform(0.05 - low[0], wall.length - 0.05 - high[0])
            at = self._on_wall(wall, s, rng.uniform(*heights))
            if self.fits(piece, at, 0.02):
                return self.put(piece, at, wall.instance)
        return None

    @staticmethod
    def _on_wall(wall: _Wall, s: float, z: float) -> tuple[float, float, float, float]:
        x, y = wall.start + wall.along * s + wall.inward * 0.0105  # before the skirting board
        return float(x), float(y), z, wall.yaw

    def beside(
        self, other: _Placed, piece: Piece, x: Number, y: Number, yaw: Number = 0.0, gap: float = 0.0
    ) -> _Placed | None:
        """Puts a piece at a point of another piece's frame, on the floor."""
        at = (*other.point(x, y), 0.0, other.at[3] + yaw)
        return self.put(piece, at) if self.fits(piece, at, gap) else None

    def middle(self, piece: Piece, tries: int = 20, gap: float = 0.15) -> _Placed | None:
        """Puts a piece somewhere on the floor."""
        rng = self.rng
        for _ in range(tries):
            x, y = rng.uniform(0.4, self.size[:2] - 0.4)
            yaw = rng.integers(4) * np.pi / 2 + (rng.normal(0, 0.15) if rng.random() < 0.5 else 0)
            if self.fits(piece, (x, y, 0.0, yaw), gap):
                return self.put(piece, (x, y, 0.0, yaw))
        return None

    def keep_free(self, other: _Placed, depth: float, low: float, high: float) -> None:
        """Nothing may be put before a door or a window."""
        a, b = other.piece.bounds()
        ghost = Piece("ghost", boxes=[(a[0], b[0], a[1] - depth, a[1] - 0.005, low, high)])
        self._take(self._rows(ghost, other.at, 0))

    def stand(self, other: _Placed, top: Top, piece: Piece, jitter: float = 0.3, tries: int = 6) -> _Placed | None:
        """Puts a piece on a top of another one."""
        rng = self.rng
        low, high = piece.bounds()
        if high[2] > top.room_m or other.at[2] + top.z + high[2] > self.size[2] - 0.02:
            return None
        for _ in range(tries):
            turn = rng.normal(0, jitter)
            reach = np.abs(np.stack([low[:2], high[:2]])).max(0)
            c, s = abs(np.cos(turn)), abs(np.sin(turn))
            half = np.array([c * reach[0] + s * reach[1], s * reach[0] + c * reach[1]])
            x_range, y_range = (top.x0 + half[0], top.x1 - half[0]), (top.y0 + half[1], top.y1 - half[1])
            if x_range[0] > x_range[1] or y_range[0] > y_range[1]:
                continue
            x, y = other.point(rng.uniform(*x_range), rng.uniform(*y_range))
            at = (x, y, other.at[2] + top.z + 5e-4, other.at[3] + turn)
            if self.fits(piece, at, 0.004):
                return self.put(piece, at, other.instance)
        return None

    # - what goes together

    def openings(self, windows: int, doors: int = 1) -> None:
        """Doors and windows first: furniture has to leave them free. Curtains hang beside windows, or before them."""
        rng = self.rng
        for _ in range(doors):
            if placed := self.hang(make.door(rng, self.look), tries=60):
                self.keep_free(placed, 0.75, 0.0, 2.0)
        for _ in range(windows):
            if placed := self.hang(make.window(rng, self.look), tries=60):
                self._sunlight(placed)
                self._curtains(placed)
                self.keep_free(placed, 0.12, 1.0, 2.0)
        if rng.random() < 0.25:
            self.hang(make.blinds(rng, self.look))

    def _curtains(self, window: _Placed) -> None:
        rng = self.rng
        low, high = window.piece.bounds()
        if rng.random() > 0.65:
            return
        family = colour(rng, "curtain")
        top = min(self.size[2] - 0.1, high[2] + rng.uniform(0.08, 0.25))
        foot = 0.05 if rng.random() < 0.6 else max(0.05, low[2] - 0.25)
        width = rng.uniform(0.3, 0.75)
        for side in (-1, 1):
            cloth = make.curtain(rng, self.look, width, top - foot)
            cloth.materials = [Material(m.texture, _triple(family), m.metres) for m in cloth.materials]
            at = (*window.point(side * (high[0] + width / 2 - rng.uniform(0.0, 0.1)), -0.12), foot, window.at[3])
            if self.fits(cloth, at):
                self.put(cloth, at, (window.piece.name == "window" and window.instance) or 0)

    def _sunlight(self, window: _Placed) -> None:
        low, high = window.piece.bounds()
        inward = _turn(window.at[3]) @ (0.0, -1.0, 0.0)
        tone = np.array([0.92, 0.97, 1.05]) * self.rng.uniform(0.4, 3.0) * (high[0] - low[0])
        for x, z in ((0.6 * low[0], 0.3), (0.6 * high[0], 0.7)):
            place = np.array([*window.point(x, -0.25), low[2] + z * (high[2] - low[2])])
            self.lamps.append(Lamp(place, inward + np.array([0, 0, -0.2]), tone, shines=bool(x > 0)))

    def work_place(self) -> None:
        """A desk with what belongs to it: a chair, a screen, a computer, a bin."""
        rng, look = self.rng, self.look
        desk = self.against(make.desk(rng, look))
        if desk is None:
            return
        top = desk.piece.tops[0]
        if rng.random() < 0.8:
            for _ in range(int(rng.integers(1, 3))):
                back = Top(top.x0, top.x1, (top.y0 + top.y1) / 2 - 0.06, top.y1, top.z, top.room_m)
                self.stand(desk, back, make.monitor(rng, look), 0.15)
            self.stand(desk, Top(top.x0, top.x1, top.y0, top.y0 + 0.2, top.z), make.keyboard(rng, look), 0.05)
        else:
            self.stand(desk, top, make.laptop(rng, look), 0.2)
        seat = make.office_chair(rng, look) if rng.random() < 0.7 else make.chair(rng, look)
        for away in (0.25, 0.45, 0.65):
            x, turn = rng.uniform(-0.15, 0.15), np.pi + rng.normal(0, 0.5)
            if self.beside(desk, seat, x, top.y0 - away, turn):
                break
        low, high = desk.piece.bounds()
        if rng.random() < 0.5:
            self.beside(desk, make.trash_can(rng, look), high[0] + 0.25, 0)
        if rng.random() < 0.5:
            self.beside(desk, make.computer(rng, look), low[0] - 0.16, 0)

    def dining(self) -> None:
        """A table with chairs around it."""
        rng, look = self.rng, self.look
        table = self.middle(make.dining_table(rng, look), gap=0.35) or self.against(make.dining_table(rng, look))
        if table is None:
            return
        w, d, _ = table.piece.size()
        model = rng.integers(2**31)
        places = [(x, side * (d / 2 + rng.uniform(0.02, 0.3)), (np.pi if side < 0 else 0.0))
                  for side in (-1, 1) for x in ((-w / 4, w / 4) if w > 1.2 else (0.0,))]  # fmt: skip
        places += [(side * (w / 2 + rng.uniform(0.05, 0.3)), 0.0, -side * np.pi / 2) for side in (-1, 1)]
        for x, y, turn in places:
            if rng.random() < 0.85:
                seat = make.chair(np.random.default_rng(model), look)
                self.beside(table, seat, x + rng.normal(0, 0.04), y, turn + rng.normal(0, 0.15))

    def rest(self) -> None:
        """A sofa with a table before it, an armchair, a television opposite or on a stand."""
        rng, look = self.rng, self.look
        sofa = self.against(make.sofa(rng, look))
        if sofa is not None and rng.random() < 0.8:
            self.beside(sofa, make.coffee_table(rng, look), rng.normal(0, 0.1), -rng.uniform(0.95, 1.25), 0, 0.05)
        if sofa is not None and rng.random() < 0.5:
            self.beside(sofa, make.side_table(rng, look), sofa.piece.size()[0] / 2 + 0.36, 0.1)
        for _ in range(int(rng.integers(0, 3))):
            self.against(make.armchair(rng, look), jitter=0.1)
        if rng.random() < 0.7:
            self.screen()
        if rng.random() < 0.5:
            self.against(make.floor_lamp(rng, look))

    def screen(self) -> None:
        rng, look = self.rng, self.look
        if rng.random() < 0.4:
            self.hang(make.wall_television(rng, look), (1.3, 1.7))
        elif stand := self.against(make.tv_stand(rng, look)):
            self.stand(stand, stand.piece.tops[0], make.television(rng, look), 0.03)

    def sleep(self) -> None:
        """A bed, night stands with lamps, a dresser, a wardrobe."""
        rng, look = self.rng, self.look
        bed = self.against(make.bed(rng, look), tries=60)
        if bed is not None:
            w, d, _ = bed.piece.size()
            model = rng.integers(2**31)
            for side in (-1, 1):
                stand = make.night_stand(np.random.default_rng(model), look)
                x, y = w / 2 + stand.size()[0] / 2 + 0.03, d / 2 - stand.size()[1] / 2 - 0.03
                if rng.random() < 0.85 and (by := self.beside(bed, stand, side * x, y)):
                    self.stand(by, by.piece.tops[0], make.lamp(rng, look), 0.1)
        for maker, share in ((make.dresser, 0.6), (make.wardrobe, 0.8), (make.armchair, 0.3)):
            if rng.random() < share:
                self.against(maker(rng, look))

    def kitchen(self) -> None:
        """A row of cabinets below a counter, cabinets above it, a refrigerator at its end; sometimes an island."""
        rng, look = self.rng, self.look
        cook = self.against(make.counter(rng, look), tries=60) or self.against(make.counter(rng, look, 1.2), tries=60)
        if cook is not None:
            w = cook.piece.size()[0]
            for side in rng.permutation([-1, 1]):
                cold = make.refrigerator(rng, look)
                cw, cd, _ = cold.size()
                if self.beside(cook, cold, side * (w / 2 + cw / 2 + 0.02), 0.31 - cd / 2 - 0.02):
                    break
            above = make.wall_cabinet(rng, look, w * rng.uniform(0.7, 1.0))
            at = (*cook.point(0, 0.315), rng.uniform(1.7, 1.85), cook.at[3])
            if self.fits(above, at):
                self.put(above, at, 0)
        else:
            self.against(make.refrigerator(rng, look))
        if rng.random() < 0.35:
            self.middle(make.counter(rng, look, rng.uniform(1.2, 1.8)), gap=0.5)

    def bath(self) -> None:
        """A toilet, a basin with a mirror, a tub with its curtain, towels."""
        rng, look = self.rng, self.look
        if rng.random() < 0.8:
            self.against(make.bathtub(rng, look), tries=50)
        self.against(make.toilet(rng, look), tries=50, gap=0.05)
        if wash := self.against(make.wash_stand(rng, look), tries=50):
            at = (*wash.point(0, wash.piece.bounds()[1][1]), rng.uniform(1.45, 1.6), wash.at[3])
            glass = make.mirror(rng, look)
            if self.fits(glass, at):
                self.put(glass, at, 0)
        for _ in range(int(rng.integers(1, 4))):
            self.hang(make.towel(rng, look), (1.0, 1.4))

    def some(self, makers: list[tuple[Maker, Number]], least: int, most: int, jitter: float = 0.0) -> None:
        """Several pieces along the walls."""
        for _ in range(int(self.rng.integers(least, most + 1))):
            self.against(pick(self.rng, makers)(self.rng, self.look), jitter=jitter)

    # - finishing

    def crowd(self, options: list[tuple[Callable[[_Builder], object], Number]], share: float) -> None:
        """Adds furniture until this share of the floor is covered, or until little more fits in."""
        weights = np.array([weight for _, weight in options])
        for _ in range(24):
            standing = self.taken[(self.taken[:, 8] > 0) & (self.taken[:, 6] < 1.0)]
            # The largest box of each object stands for its footprint.
            area = np.zeros(len(self.things) + 1)
            np.maximum.at(area, standing[:, 8].astype(np.int64), 4 * standing[:, 2] * standing[:, 3])
            if area.sum() > share * self.size[0] * self.size[1]:
                break
            options[int(self.rng.choice(len(options), p=weights / weights.sum()))][0](self)

    def clutter(self) -> None:
        """Small things on everything, things on walls, on the floor and on the ceiling."""
        rng, look = self.rng, self.look
        mess = rng.uniform(0.4, 1.8)
        for placed in list(self.placed):
            for top in placed.piece.tops:
                self._cover(placed, top, mess)
        for maker, heights, share in _ON_WALLS:
            for _ in range(rng.poisson(share * sum(w.length for w in self.walls) / 14)):
                self.hang(maker(rng, look), heights, tries=6)
        for _ in range(rng.poisson(4 * mess)):
            piece = pick(rng, _ON_FLOORS)(rng, look)
            self.against(piece, tries=6, jitter=0.2) if rng.random() < 0.75 else self.middle(piece, 6, 0.1)
        if rng.random() < 0.4:
            self._carpet()
        self._lighting()

    def _cover(self, placed: _Placed, top: Top, mess: float) -> None:
        rng = self.rng
        area = (top.x1 - top.x0) * (top.y1 - top.y0)
        items = _ON_TOPS.get(placed.piece.name, _ON_TOPS["cabinet"])
        for _ in range(min(8, rng.poisson(mess * 4.5 * area**0.7))):
            piece = pick(rng, items)(rng, self.look)
            self.stand(placed, top, piece, 0.25)

    def _carpet(self) -> None:
        """A rug may lie below furniture, so that only its edges are asked about."""
        rug = make.carpet(self.rng, self.look)
        w, d, _ = rug.size()
        free = self.size[:2] - (w, d) - 0.1
        if (free <= 0).any():
            return
        x, y = self.rng.uniform((w / 2 + 0.05, d / 2 + 0.05), self.size[:2] - (w / 2 + 0.05, d / 2 + 0.05))
        if self.fits(rug, (x, y, 0.0, 0.0)):
            self.put(rug, (x, y, 0.0, 0.0))

    def _lighting(self) -> None:
        """Ceiling lamps with their light, and weak lamps in place of what walls throw back."""
        rng = self.rng
        w, d, h = self.size
        tone = np.array([1.0, rng.uniform(0.9, 1.0), rng.uniform(0.78, 1.0)])
        count = 1 if w * d < 14 else int(rng.integers(1, 4))
        power = rng.uniform(0.5, 2.2) * (w * d) ** 0.5 / count
        for i in range(count):
            x, y = w * (i + 0.5 + rng.uniform(-0.2, 0.2)) / count, d * rng.uniform(0.35, 0.65)
            piece = make.ceiling_lamp(rng, self.look)
            if rng.random() < 0.7 and self.fits(piece, (x, y, h, 0.0)):
                self.put(piece, (x, y, h, 0.0), 2)
            for k in range(4):
                turn = k * np.pi / 2 + 0.3
                place = np.array([x + 0.28 * np.cos(turn), y + 0.28 * np.sin(turn), h - 0.2])
                self.lamps.append(Lamp(place, np.array([0.0, 0.0, -1.0]), tone * power / 4, shines=k == 0))
        for x in (0.2, 0.8):
            for y in (0.15, 0.5, 0.85):
                place = np.array([w * x, d * y, h - 0.12])
                self.lamps.append(Lamp(place, np.array([0.0, 0.0, -1.0]), tone * rng.uniform(0.04, 0.25)))
        self.ambient = tone * rng.uniform(0.05, 0.25)

    def finish(self, seed: int, kind: str) -> Room:
        faces, planes = _faces(self)
        lamps = [Lamp(x.position, x.direction / np.linalg.norm(x.direction), x.power, x.shines) for x in self.lamps]
        light = renderer.bake(faces, lamps, self.ambient)
        solid = self.taken[self.taken[:, 8] > 0]
        boxes = Boxes(solid[:, :2], solid[:, 2:4], solid[:, 4:6], solid[:, 6:8], solid[:, 8].astype(np.int64))
        size = (float(self.size[0]), float(self.size[1]), float(self.size[2]))
        balance = np.array([self.rng.uniform(0.97, 1.12), 1.0, self.rng.uniform(0.84, 1.06)])
        draft = Room(seed, kind, size, tuple(self.things), planes, faces, self.look.atlas(), light, balance, boxes)
        return _exposed(draft, self.rng.uniform(0.4, 0.56), self.rng)


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])


def _turn(yaw: float) -> Float64[np.ndarray, "3 3"]:
    return poses.from_vector(np.array([0.0, 0.0, yaw]))


def _collide(rows: np.ndarray, taken: np.ndarray, gap: float) -> bool:
    """Whether any upright box of `rows` comes within `gap` (negative: overlaps by more than that) of one of `taken`."""
    slack = gap - 1e-3 if gap == 0 else gap
    low, high = rows[:, 6].min() + 1e-4, rows[:, 7].max() - 1e-4
    near = (taken[:, 6] < high) & (taken[:, 7] > low)
    middle = (rows[:, :2].min(0) + rows[:, :2].max(0)) / 2
    reach = np.linalg.norm(rows[:, :2] - middle, axis=1) + np.hypot(rows[:, 2], rows[:, 3])
    near &= np.linalg.norm(taken[:, :2] - middle, axis=1) < reach.max() + np.hypot(taken[:, 2], taken[:, 3]) + gap
    if not near.any():
        return False
    a, b = rows[:, None], taken[None, near]
    clear = (a[..., 6] > b[..., 7] - 1e-4) | (a[..., 7] < b[..., 6] + 1e-4)
    apart = b[..., :2] - a[..., :2]
    # Separating axes of two rectangles: the sides of either.
    c = a[..., 4] * b[..., 4] + a[..., 5] * b[..., 5]
    s = a[..., 4] * b[..., 5] - a[..., 5] * b[..., 4]
    for one, other in ((a, b), (b, a)):
        along = np.abs(apart[..., 0] * one[..., 4] + apart[..., 1] * one[..., 5])
        across = np.abs(-apart[..., 0] * one[..., 5] + apart[..., 1] * one[..., 4])
        clear |= along > one[..., 2] + other[..., 2] * np.abs(c) + other[..., 3] * np.abs(s) + slack
        clear |= across > one[..., 3] + other[..., 2] * np.abs(s) + other[..., 3] * np.abs(c) + slack
    return not bool(clear.all())


def _faces(build: _Builder) -> tuple[Faces, Planes]:
    """All polygons as arrays, and the planes they lie in."""
    sides = np.array([len(corners) for corners, *_ in build.polygons])
    most = int(sides.max())
    corners = np.stack([np.concatenate([p, np.repeat(p[-1:], most - len(p), 0)]) for p, *_ in build.polygons])
    materials = [material for _, material, _, _ in build.polygons]
    instance = np.array([number for _, _, number, _ in build.polygons])
    label = np.array([build.things[i - 1].label for i in instance])
    normal, offset = renderer.planes_of(corners)
    # The texture's "down": downwards on walls, towards the front of the object on what lies flat.
    down = np.where(np.abs(normal[:, 2:]) < 0.9, np.array([0.0, 0.0, -1.0]), np.stack([d for *_, d in build.polygons]))
    down = down - np.einsum("nc,nc->n", down, normal)[:, None] * normal
    down /= np.linalg.norm(down, axis=1, keepdims=True)
    axes = np.stack([np.cross(down, -normal), down], 1)
    metres = np.einsum("nac,nkc->nka", axes, corners)
    extent = metres.max(1) - metres.min(1)
    turned = np.array([m.grain for m in materials]) & (extent[:, 1] > extent[:, 0])
    axes[turned] = np.stack([axes[turned, 1], -axes[turned, 0]], 1)
    metres = np.einsum("nac,nkc->nka", axes, corners)
    low, extent = metres.min(1), np.maximum(metres.max(1) - metres.min(1), 1e-4)
    origin = corners[:, 0] + np.einsum("na,nac->nc", low - metres[:, 0], axes)
    size = np.array([m.metres for m in materials])
    fitted = size == 0
    repeat = np.where(fitted[:, None], 1 / extent, 1 / np.where(fitted, 1, size)[:, None])
    grained = np.array([m.grain for m in materials]) & ~fitted
    # Wood of two boards differs; tiles and patterns of two walls meet at the corner.
    shift = np.where(grained[:, None], np.random.default_rng(len(corners)).uniform(size=(len(corners), 2)), 0)
    plane = _merge(normal, offset, instance)
    faces = Faces(
        corners, sides, normal, offset, label.astype(np.uint8), instance.astype(np.int32), plane.astype(np.int32), axes,
        origin, extent, np.array([m.texture for m in materials]), repeat, shift, np.array([m.tint for m in materials]),
        np.array([m.gloss for m in materials]), np.array([m.glow for m in materials]),
    )  # fmt: skip
    return faces, _planes(faces, build.things)


def _merge(normal: np.ndarray, offset: np.ndarray, instance: np.ndarray) -> np.ndarray:
    """Plane numbers: faces of one object whose planes agree to rounding share one."""
    out = np.full(len(normal), -1)
    count = 0
    for number in np.unique(instance):
        members = np.flatnonzero(instance == number)
        kept: list[int] = []
        for i in members.tolist():
            same = [j for j in kept if normal[i] @ normal[j] > 1 - 1e-12 and abs(offset[i] - offset[j]) < 1e-6]
            if same:
                out[i] = out[same[0]]
            else:
                kept.append(i)
                out[i] = count
                count += 1
    return out


def _planes(faces: Faces, things: Sequence[Thing]) -> Planes:
    count = int(faces.plane.max()) + 1
    _, first = np.unique(faces.plane, return_index=True)
    area = np.bincount(faces.plane, faces.area(), count)
    owners = [things[i - 1] for i in faces.instance[first]]
    members: list[list[np.ndarray]] = [[] for _ in range(count)]
    for corners, sides, plane in zip(faces.corners, faces.sides, faces.plane, strict=True):
        members[plane].append(corners[:sides])
    return Planes(
        faces.normal[first],
        faces.offset[first],
        faces.label[first],
        faces.instance[first],
        np.array([nyu40.planemvs_of(thing.label, thing.name) for thing in owners]),
        area,
        tuple(tuple(polygons) for polygons in members),
    )


def _exposed(draft: Room, target: float, rng: Rng) -> Room:
    """The room with a gain at which its pictures are of middle brightness."""
    camera = Intrinsics.field_of_view(48, 36, 70.0)
    w, d, _ = draft.size
    eye = np.array([w / 2, d / 2, 1.5])
    gain = draft.gain
    views = [poses.compose(poses.facing(turn, -0.25), eye) for turn in rng.uniform(0, 1) + np.arange(4) * np.pi / 2]
    seen = [(view, *renderer.rasterise(draft.faces, camera, view)) for view in views]
    for _ in range(3):
        shots = [renderer.shade(draft.faces, draft.atlas, draft.light, camera, v, i, z, gain) for v, i, z in seen]
        gain = gain * (target / max(0.02, float(np.mean(shots)) / 255)) ** 2
    return replace(draft, gain=gain)


# --- what goes where --------------------------------------------------------------------------------------------------

_ON_TOPS: dict[str, list[tuple[Maker, Number]]] = {
    "desk": [(make.books, 2), (make.papers, 3), (make.cup, 2), (make.lamp, 1), (make.package, 1), (make.printer, 0.7),
             (make.laptop, 0.7), (make.bottle, 0.7), (make.box, 0.5), (make.plant, 0.5)],
    "table": [(make.cup, 2), (make.bottle, 1), (make.books, 1.5), (make.papers, 2), (make.plant, 0.7), (make.laptop, 1),
              (make.package, 1), (make.bag, 0.5), (make.box, 0.5)],
    "counter": [(make.microwave, 1.5), (make.bottle, 2), (make.cup, 1.5), (make.package, 3), (make.box, 0.5),
                (make.plant, 0.4), (make.books, 0.7), (make.papers, 0.5)],
    "shelves": [(make.box, 2), (make.books, 2), (make.package, 2), (make.plant, 0.6), (make.clothes, 1),
                (make.bottle, 1)],
    "bookshelf": [(make.books, 2), (make.package, 1.5), (make.box, 1), (make.plant, 0.7)],
    "cabinet": [(make.lamp, 0.8), (make.books, 1), (make.plant, 1), (make.box, 1.2), (make.package, 1),
                (make.clothes, 0.5),
                (make.bottle, 0.5), (make.bag, 0.5), (make.printer, 0.4), (make.papers, 0.5)],
    "bed": [(make.clothes, 1.5), (make.bag, 1), (make.books, 0.5), (make.pillow, 1.0), (make.laptop, 0.3)],
    "box": [(make.box, 1), (make.papers, 1), (make.books, 1)],
    "tv stand": [(make.package, 1), (make.books, 1)],
}  # fmt: skip
for _name in ("coffee table", "side table"):
    _ON_TOPS[_name] = _ON_TOPS["table"]
_ON_FLOORS: list[tuple[Maker, Number]] = [
    (make.box, 2.5), (make.bag, 2), (make.trash_can, 2.5), (make.plant, 1), (make.suitcase, 0.8), (make.stool, 1.2),
    (make.clothes, 0.7), (make.floor_lamp, 0.7), (make.computer, 0.5), (make.chair, 1.2), (make.books, 0.4),
]  # fmt: skip
# What hangs, at which height, and how many on 14 m of wall.
_ON_WALLS: list[tuple[Maker, tuple[float, float], float]] = [
    (make.wall_picture, (1.3, 1.7), 2.2), (make.mirror, (1.3, 1.6), 0.25), (make.wall_shelf, (1.4, 1.7), 0.35),
    (make.coat, (1.2, 1.5), 0.4), (make.clock, (1.7, 2.0), 0.25), (make.switch, (1.1, 1.3), 1.0),
    (make.heater, (0.0, 0.0), 0.4),
]  # fmt: skip


def _bedroom(b: _Builder) -> None:
    b.openings(int(b.rng.integers(1, 3)))
    b.sleep()
    if b.rng.random() < 0.5:
        b.work_place()
    if b.rng.random() < 0.3:
        b.screen()
    b.some([(make.bookshelf, 1), (make.cabinet, 1), (make.rack, 0.5)], 0, 2)


def _living(b: _Builder) -> None:
    b.openings(int(b.rng.integers(1, 4)))
    b.rest()
    if b.rng.random() < 0.5:
        b.dining()
    b.some([(make.bookshelf, 2), (make.cabinet, 2), (make.rack, 1), (make.wardrobe, 0.7)], 1, 3)


def _office(b: _Builder) -> None:
    b.openings(int(b.rng.integers(0, 3)))
    for _ in range(int(b.rng.integers(1, 5))):
        b.work_place()
    if b.rng.random() < 0.5:
        b.hang(make.whiteboard(b.rng, b.look), (1.4, 1.6))
    if b.rng.random() < 0.3:
        b.dining()
    b.some([(make.bookshelf, 2), (make.file_cabinet, 3), (make.rack, 1), (make.cabinet, 1)], 1, 4)


def _kitchen(b: _Builder) -> None:
    b.openings(int(b.rng.integers(0, 3)))
    b.kitchen()
    if b.rng.random() < 0.7:
        b.dining()
    b.some([(make.cabinet, 1), (make.rack, 1)], 0, 2)
    b.hang(make.towel(b.rng, b.look), (1.0, 1.4))


def _bathroom(b: _Builder) -> None:
    b.openings(int(b.rng.integers(0, 2)))
    b.bath()
    b.some([(make.cabinet, 1), (make.rack, 1)], 0, 1)


def _studio(b: _Builder) -> None:
    b.openings(int(b.rng.integers(1, 4)), 2)
    b.kitchen()
    b.sleep()
    b.rest()
    if b.rng.random() < 0.7:
        b.work_place()
    if b.rng.random() < 0.5:
        b.bath()
    if b.rng.random() < 0.5:
        b.dining()
    b.some([(make.bookshelf, 1), (make.cabinet, 2), (make.rack, 1)], 1, 3)


def _meeting(b: _Builder) -> None:
    b.openings(int(b.rng.integers(0, 3)))
    b.hang(make.whiteboard(b.rng, b.look), (1.4, 1.6))
    for _ in range(int(b.rng.integers(1, 3))):
        b.dining()
    if b.rng.random() < 0.6:
        b.screen()
    b.some([(make.chair, 3), (make.office_chair, 1), (make.cabinet, 1), (make.bookshelf, 1)], 1, 5)


def _store(b: _Builder) -> None:
    b.openings(int(b.rng.integers(0, 2)))
    b.some([(make.rack, 3), (make.wardrobe, 1), (make.file_cabinet, 1), (make.bookshelf, 1.5)], 2, 5)
    b.some([(make.box, 3), (make.suitcase, 1), (make.chair, 1), (make.trash_can, 1)], 3, 8, 0.2)


def _one(*makers: tuple[Maker, Number], jitter: float = 0.0) -> Callable[[_Builder], object]:
    return lambda b: b.against(pick(b.rng, list(makers))(b.rng, b.look), 14, jitter=jitter)


_CASES = _one((make.cabinet, 2.0), (make.wardrobe, 2.0), (make.bookshelf, 1.5), (make.rack, 0.7), (make.dresser, 0.7))
_SEATS = _one((make.chair, 3.0), (make.office_chair, 1.0), (make.armchair, 1.0), jitter=0.25)
_SOFAS = _one((make.sofa, 2.0), (make.armchair, 1.0))
_TABLES = _one((make.coffee_table, 1.0), (make.dining_table, 1.5), (make.side_table, 1.0))
# What more furniture each kind of room gets.
_CROWDS: dict[str, list[tuple[Callable[[_Builder], object], Number]]] = {
    "living": [
        (_Builder.dining, 2),
        (_CASES, 3.5),
        (_SEATS, 2),
        (_SOFAS, 2.5),
        (_TABLES, 1.5),
        (_Builder.work_place, 1),
    ],
    "bedroom": [
        (_Builder.sleep, 2),
        (_CASES, 4),
        (_SEATS, 1.5),
        (_Builder.work_place, 1.5),
        (_TABLES, 0.5),
        (_SOFAS, 0.5),
    ],
    "office": [(_Builder.work_place, 4), (_CASES, 2.5), (_SEATS, 2.5), (_Builder.dining, 1.5), (_TABLES, 0.7)],
    "kitchen": [(_Builder.dining, 3), (_CASES, 2.5), (_SEATS, 2), (_Builder.kitchen, 3), (_TABLES, 0.5)],
    "bathroom": [
        (_CASES, 1.5),
        (_one((make.wash_stand, 1.0), (make.toilet, 0.3)), 0.7),
        (_one((make.stool, 1.0)), 0.5),
    ],
    "meeting": [(_Builder.dining, 4), (_SEATS, 4), (_CASES, 1), (_Builder.work_place, 0.5)],
    "store": [(_CASES, 3), (_SEATS, 1.5), (_TABLES, 1), (_one((make.box, 1.0), jitter=0.2), 1)],
}


@dataclass(frozen=True)
class _Kind:
    furnish: Callable[[_Builder], None]
    weight: float
    side: tuple[float, float]
    tiled: bool = False


KINDS: dict[str, _Kind] = {
    "bedroom": _Kind(_bedroom, 0.16, (2.8, 5.0)),
    "living": _Kind(_living, 0.15, (3.0, 6.0)),
    "office": _Kind(_office, 0.14, (2.6, 5.8)),
    "kitchen": _Kind(_kitchen, 0.15, (2.6, 5.0)),
    "bathroom": _Kind(_bathroom, 0.13, (2.5, 3.6), True),
    "studio": _Kind(_studio, 0.16, (4.3, 7.0)),
    "meeting": _Kind(_meeting, 0.07, (3.2, 6.5)),
    "store": _Kind(_store, 0.04, (2.5, 4.5)),
}
