"""Furniture with the proportions of real furniture, made of flat faces: what `rooms.py` puts into rooms.

A piece has its own frame: x to its right hand side (seen from the front), y from its front (−) to its back (+), z up,
the origin in the middle of its footprint on the floor; of what hangs on walls the back is at y = 0.
Sizes are in metres. Every maker takes the random generator and the room's palette.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from jaxtyping import Float64

from percepta.worlds.rooms.textures import Material, Palette

Rng = np.random.Generator
Polygon = Float64[np.ndarray, "k 3"]
Number: TypeAlias = float | int
Pair: TypeAlias = tuple[Number, Number]
Place: TypeAlias = tuple[Number, Number, Number, Number]  # x, y, z, yaw
Bounds: TypeAlias = tuple[Number, Number, Number, Number, Number, Number]  # x0 x1 y0 y1 z0 z1


@dataclass(frozen=True)
class Top:
    """A place for smaller things: a rectangle x0 x1 y0 y1 at height z, with `room_m` of free height above it."""

    x0: Number
    x1: Number
    y0: Number
    y1: Number
    z: Number
    room_m: float = 0.6


@dataclass
class Piece:
    """One object.

    Attributes:
        name: what it is; `rooms.CLASSES` gives its class.
        polygons, materials: its faces, counter-clockwise seen from outside.
        boxes: x0 x1 y0 y1 z0 z1 of each solid: what other things must not enter.
        tops: where things may stand.
        parts: further objects that belong to it, each with its place (x, y, z, yaw) in this frame.
    """

    name: str
    polygons: list[Polygon] = field(default_factory=list)
    materials: list[Material] = field(default_factory=list)
    boxes: list[Bounds] = field(default_factory=list)
    tops: list[Top] = field(default_factory=list)
    parts: list[tuple[Piece, Place]] = field(default_factory=list)

    def loft(self, low: Polygon, high: Polygon, side: Material, top: Material | None = None) -> None:
        """A solid between two polygons, both counter-clockwise seen from above, whose sides are flat.

        Args:
            low: corners of the lower polygon, metres.
            high: corners of the upper one, as many.
            side: material of the sides.
            top: material of the upper polygon; None: as the sides.
        """
        count = len(low)
        for i in range(count):
            j = (i + 1) % count
            self._face(np.stack([low[i], low[j], high[j], high[i]]), side)
        self._face(high, top or side)
        self._face(low[::-1], side)
        both = np.concatenate([low, high])
        (x0, y0, z0), (x1, y1, z1) = both.min(0), both.max(0)
        self.boxes.append((x0, x1, y0, y1, z0, z1))

    def _face(self, corners: Polygon, material: Material) -> None:
        spokes = corners[1:] - corners[0]
        if np.linalg.norm(np.cross(spokes[:-1], spokes[1:]).sum(0)) > 2e-6:
            self.polygons.append(corners)
            self.materials.append(material)

    def box(
        self,
        x: Pair,
        y: Pair,
        z: Pair,
        side: Material,
        top: Material | None = None,
        front: Material | None = None,
        lean: Pair = (0.0, 0.0),
        taper: Pair = (0.0, 0.0),
    ) -> None:
        """A cuboid; `lean` moves its top by (dx, dy), `taper` draws each edge of the top in by (dx, dy).

        Args:
            x: (left, right), metres.
            y: (front, back), metres.
            z: (below, above), metres.
            side: material of the sides.
            top: material of the upper face; None: as the sides.
            front: material of the front; None: as the sides.
            lean: shift of the top, metres.
            taper: by how much each edge of the top is drawn in, metres.
        """
        (x0, x1), (y0, y1), (z0, z1) = x, y, z
        low = np.array([[x0, y0, z0], [x1, y0, z0], [x1, y1, z0], [x0, y1, z0]])
        inward = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * taper
        high = low + np.concatenate([inward + np.asarray(lean), np.full((4, 1), z1 - z0)], 1)
        self.loft(low, high, side, top)
        if front is not None:
            # The side at −y is the first face of a loft; faces too small to see may be missing.
            place = next(i for i in range(len(self.polygons) - 6, len(self.polygons)) if _is_front(self.polygons[i]))
            self.materials[place] = front

    def round(
        self,
        x: Number,
        y: Number,
        z: Pair,
        radius: Pair,
        side: Material,
        top: Material | None = None,
        *,
        corners: int = 12,
        widen: float = 1.0,
        lean: Pair = (0.0, 0.0),
    ) -> None:
        """An upright cylinder with radius (below, above); `widen` stretches it along y.

        Args:
            x: of the axis, metres.
            y: of the axis, metres.
            z: (below, above), metres.
            radius: (below, above), metres.
            side: material of the sides.
            top: material of the upper face; None: as the sides.
            corners: of the polygon that stands for the circle.
            widen: factor along y.
            lean: shift of the top, metres.
        """
        turn = (np.arange(corners) + 0.5) * 2 * np.pi / corners
        circle = np.stack([np.cos(turn), widen * np.sin(turn)], -1)
        low = np.concatenate([circle * radius[0] + (x, y), np.full((corners, 1), z[0])], 1)
        above = circle * radius[1] + (x + lean[0], y + lean[1])
        self.loft(low, np.concatenate([above, np.full((corners, 1), z[1])], 1), side, top)

    def cushion(self, x: Pair, y: Pair, z: Pair, cloth: Material, lean: float = 0.0) -> None:
        """Something soft: a box whose upper and lower edges are drawn in.

        Args:
            x: (left, right), metres.
            y: (front, back), metres.
            z: (below, above), metres.
            cloth: material.
            lean: shift of the top, metres.
        """
        (x0, x1), (y0, y1), (z0, z1) = x, y, z
        edge = 0.3 * min(z1 - z0, x1 - x0, y1 - y0)
        middle = z0 + (z1 - z0) * 0.5
        half = (0.0, lean / 2)
        low = (x0 + edge, x1 - edge), (y0 + edge, y1 - edge)
        self.box(*low, (z0, middle), cloth, lean=half, taper=(-edge, -edge))
        self.box((x0, x1), (y0 + half[1], y1 + half[1]), (middle, z1), cloth, lean=half, taper=(edge, edge))

    def card(self, corners: Polygon, front: Material, back: Material | None = None) -> None:
        """A sheet without thickness, seen from both sides.

        Args:
            corners: four, in order, metres.
            front: material of the front.
            back: material of the back; None: as the front.
        """
        self._face(corners, front)
        self._face(corners[::-1], back or front)
        (x0, y0, z0), (x1, y1, z1) = corners.min(0), corners.max(0)
        self.boxes.append((x0, x1, y0, y1, z0, z1))

    def legs(self, x: float, y: float, height: float, thick: float, material: Material) -> None:
        """Four legs below a rectangle of half sizes x and y.

        Args:
            x: half the length between them, metres.
            y: half the width between them, metres.
            height: metres.
            thick: thickness, metres.
            material: of the legs.
        """
        for a in (-1, 1):
            for b in (-1, 1):
                middle = a * (x - thick / 2), b * (y - thick / 2)
                self.box(
                    (middle[0] - thick / 2, middle[0] + thick / 2),
                    (middle[1] - thick / 2, middle[1] + thick / 2),
                    (0, height),
                    material,
                )

    def size(self) -> tuple[float, float, float]:
        """Width, depth and height of what it fills, its parts aside."""
        low, high = self.bounds()
        return float(high[0] - low[0]), float(high[1] - low[1]), float(high[2] - low[2])

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest x y z of its solids."""
        boxes = np.array(self.boxes)
        return boxes[:, ::2].min(0), boxes[:, 1::2].max(0)


def _is_front(polygon: Polygon) -> bool:
    area = np.cross(polygon[1] - polygon[0], polygon[2] - polygon[0])
    return bool(-area[1] > 0.7 * np.linalg.norm(area))


Maker = Callable[[Rng, Palette], Piece]


def _either(rng: Rng, *options: str) -> str:
    return options[rng.integers(len(options))]


def _board(rng: Rng, look: Palette) -> Material:
    """What cheap and good furniture is made of."""
    if rng.random() < 0.7:
        return look.material("wood", "wood", rng.uniform(0.5, 1.0), gloss=0.05)
    return look.material("plain", _either(rng, "white", "dark", "stone"), 1.0, gloss=0.05)


def _cloth(rng: Rng, look: Palette, family: str = "fabric") -> Material:
    kind = _either(rng, "weave", "weave", "leather", "plain", "plaid", "blobs")
    neutral = kind in ("plaid", "blobs")
    return look.material(kind, "white" if neutral and rng.random() < 0.5 else family, rng.uniform(0.25, 0.7))


# --- to sit and lie on ------------------------------------------------------------------------------------------------


def bed(rng: Rng, look: Palette) -> Piece:
    out, w, d = Piece("bed"), rng.uniform(0.9, 1.9) / 2, rng.uniform(1.95, 2.15) / 2
    frame, sheet = _board(rng, look), look.material("folds", "white", 0.8)
    cover = look.material(_either(rng, "folds", "plaid", "blobs", "weave", "stripes"), "bedding", rng.uniform(0.5, 1.2))
    low, high = rng.uniform(0.22, 0.32), rng.uniform(0.45, 0.62)
    out.box((-w, w), (-d, d), (0.06, low), frame)
    out.box((-w + 0.02, w - 0.02), (-d + 0.02, d - 0.05), (low, high), sheet, taper=(0.02, 0.02))
    share = rng.uniform(0.45, 0.75)
    drop = rng.uniform(0.1, high - 0.1)
    out.box(
        (-w - 0.02, w + 0.02), (-d - 0.02, -d + 2 * d * share), (high - drop, high + 0.04), cover, taper=(0.03, 0.02)
    )
    if rng.random() < 0.8:
        out.box((-w, w), (d - 0.05, d), (0, rng.uniform(0.8, 1.2)), frame)
    count = 1 if w < 0.65 else 2
    for i in range(count):
        cushion = pillow(rng, look, 0.62)
        out.parts.append((cushion, ((2 * i + 1 - count) * w / count, d - 0.33, high + 0.001, rng.normal(0, 0.1))))
    out.tops.append(Top(-w + 0.1, w - 0.1, -d + 0.1, d * 0.3, high + 0.04, 0.8))
    return out


def pillow(rng: Rng, look: Palette, width: float = 0.45) -> Piece:
    """A pillow.

    Args:
        rng: where the draws come from.
        look: materials of the room.
        width: metres.
    """
    out, w, d = Piece("pillow"), width / 2, rng.uniform(0.16, 0.22)
    cloth = _cloth(rng, look, _either(rng, "bedding", "white", "bold"))
    out.cushion((-w, w), (-d, d), (0, rng.uniform(0.1, 0.16)), cloth)
    return out


def sofa(rng: Rng, look: Palette) -> Piece:
    seats = int(rng.integers(2, 4))
    return _sofa(rng, look, "sofa", seats, rng.uniform(0.6, 0.72))


def armchair(rng: Rng, look: Palette) -> Piece:
    return _sofa(rng, look, "armchair", 1, rng.uniform(0.55, 0.68))


def _sofa(rng: Rng, look: Palette, name: str, seats: int, seat_w: float) -> Piece:
    out, cloth = Piece(name), _cloth(rng, look)
    cushions = cloth if rng.random() < 0.7 else _cloth(rng, look)
    arm, d = rng.uniform(0.1, 0.22), rng.uniform(0.42, 0.48)
    inner = seats * seat_w / 2
    seat, back = rng.uniform(0.4, 0.46), rng.uniform(0.75, 0.92)
    foot = rng.uniform(0.04, 0.12)
    out.box((-inner, inner), (-d, d - 0.12), (foot, seat - 0.14), cloth)
    out.box((-inner - arm, inner + arm), (d - 0.24, d - 0.06), (foot, back), cloth, lean=(0, 0.06))
    for side in (-1, 1):
        x = sorted((side * inner, side * (inner + arm)))
        out.box((x[0], x[1]), (-d, d - 0.22), (foot, rng.uniform(0.54, 0.66)), cloth, taper=(0.02, 0.02))
    out.legs(inner, d - 0.15, foot, 0.05, look.material("plain", "dark"))
    for i in range(seats):
        x0 = -inner + i * seat_w
        out.cushion((x0 + 0.005, x0 + seat_w - 0.005), (-d - 0.02, d - 0.24), (seat - 0.14, seat + 0.02), cushions)
        out.cushion(
            (x0 + 0.01, x0 + seat_w - 0.01), (d - 0.42, d - 0.26), (seat + 0.02, back + 0.02), cushions, lean=0.08
        )
        if rng.random() < 0.35:
            place = (x0 + seat_w / 2, -0.1 - 0.02, seat + 0.021, rng.normal(0, 0.4))
            out.parts.append((pillow(rng, look, min(0.42, seat_w - 0.12)), place))
    return out


def chair(rng: Rng, look: Palette) -> Piece:
    """A chair for a dining table: four legs, a seat, a back of slats or of one board."""
    out, w, d = Piece("chair"), rng.uniform(0.2, 0.24), rng.uniform(0.2, 0.24)
    frame, seat = _board(rng, look), rng.uniform(0.43, 0.48)
    cloth = frame if rng.random() < 0.5 else _cloth(rng, look)
    thick, back = rng.uniform(0.025, 0.05), rng.uniform(0.8, 1.02)
    out.legs(w, d, seat - 0.04, thick, frame)
    out.box((-w, w), (-d, d), (seat - 0.04, seat), frame, top=cloth)
    lean = rng.uniform(0.02, 0.09)
    for side in (-1, 1):
        x = sorted((side * w, side * (w - thick)))
        out.box((x[0], x[1]), (d - thick, d), (seat, back), frame, lean=(0, lean))
    if rng.random() < 0.5:
        low = seat + rng.uniform(0.02, 0.25)
        shift = lean * (low - seat) / (back - seat)
        out.box(
            (-w + thick, w - thick), (d - thick + shift, d + shift - 0.01), (low, back), cloth, lean=(0, lean - shift)
        )
    else:
        count = int(rng.integers(2, 5))
        for i in range(count):
            low = seat + (back - seat) * (i + 0.5) / count
            shift = lean * (low - seat) / (back - seat)
            y = (d - thick + shift + 0.003, d + shift - 0.003)
            out.box((-w + thick, w - thick), y, (low, low + 0.3 * (back - seat) / count), frame)
    return out


def office_chair(rng: Rng, look: Palette) -> Piece:
    out, w = Piece("office chair"), rng.uniform(0.22, 0.27)
    cloth, metal = look.material("weave", _either(rng, "dark", "fabric"), 0.3), look.material("metal", "dark", 1.0)
    seat = rng.uniform(0.44, 0.54)
    for i in range(5):
        turn = 2 * np.pi * i / 5 + 0.3
        across = np.array([-np.sin(turn), np.cos(turn)]) * 0.022
        along = np.array([np.cos(turn), np.sin(turn)])
        flat = np.stack([0.03 * along - across, 0.3 * along - across, 0.3 * along + across, 0.03 * along + across])
        low = np.concatenate([flat, np.full((4, 1), 0.05)], 1)
        out.loft(low, low + np.array([0, 0, 0.035]), metal)
        out.round(0.28 * along[0], 0.28 * along[1], (0, 0.05), (0.025, 0.025), metal, corners=6)
    out.round(0, 0, (0.08, seat - 0.08), (0.03, 0.03), metal, corners=8)
    out.cushion((-w, w), (-w, w), (seat - 0.08, seat), cloth)
    back = seat + rng.uniform(0.45, 0.65)
    out.cushion((-w + 0.03, w - 0.03), (w - 0.05, w + 0.03), (seat + 0.1, back), cloth, lean=0.1)
    out.box((-0.03, 0.03), (w + 0.02, w + 0.045), (seat - 0.05, seat + 0.35), metal, lean=(0, 0.07))
    if rng.random() < 0.7:
        for side in (-1, 1):
            x = sorted((side * (w + 0.005), side * (w + 0.055)))
            out.box((x[0], x[1]), (-0.13, 0.15), (seat + 0.18, seat + 0.21), metal)
            out.box((x[0], x[1]), (0.0, 0.04), (seat - 0.05, seat + 0.18), metal)
    return out


def stool(rng: Rng, look: Palette) -> Piece:
    out, height, r = Piece("ottoman"), rng.uniform(0.38, 0.5), rng.uniform(0.18, 0.3)
    if rng.random() < 0.5:
        out.cushion((-r, r), (-r, r), (0.03, height), _cloth(rng, look))
    else:
        out.legs(r * 0.8, r * 0.8, height - 0.05, 0.03, _board(rng, look))
        out.round(0, 0, (height - 0.05, height), (r, r), _cloth(rng, look))
    return out


# --- tables -----------------------------------------------------------------------------------------------------------


def _table(rng: Rng, look: Palette, name: str, w: float, d: float, height: float) -> Piece:
    out, board = Piece(name), _board(rng, look)
    thick = rng.uniform(0.02, 0.05)
    legs = board if rng.random() < 0.6 else look.material("metal", _either(rng, "metal", "dark"), 1.0, gloss=0.2)
    out.box((-w, w), (-d, d), (height - thick, height), board)
    if rng.random() < 0.75:
        out.legs(w - 0.04, d - 0.04, height - thick, rng.uniform(0.04, 0.09), legs)
        if rng.random() < 0.5:
            out.box((-w + 0.1, w - 0.1), (-d + 0.07, -d + 0.09), (height - thick - 0.09, height - thick), legs)
            out.box((-w + 0.1, w - 0.1), (d - 0.09, d - 0.07), (height - thick - 0.09, height - thick), legs)
    else:
        for side in (-1, 1):
            x = sorted((side * (w - 0.05), side * (w - 0.09)))
            out.box((x[0], x[1]), (-d + 0.05, d - 0.05), (0, height - thick), legs)
    out.tops.append(Top(-w + 0.03, w - 0.03, -d + 0.03, d - 0.03, height, 0.9))
    return out


def dining_table(rng: Rng, look: Palette) -> Piece:
    if rng.random() < 0.3:
        return _round_table(rng, look, "table", rng.uniform(0.45, 0.65), rng.uniform(0.71, 0.77))
    return _table(rng, look, "table", rng.uniform(0.55, 0.95), rng.uniform(0.38, 0.5), rng.uniform(0.71, 0.77))


def coffee_table(rng: Rng, look: Palette) -> Piece:
    if rng.random() < 0.3:
        return _round_table(rng, look, "coffee table", rng.uniform(0.3, 0.5), rng.uniform(0.36, 0.5))
    return _table(rng, look, "coffee table", rng.uniform(0.4, 0.65), rng.uniform(0.25, 0.4), rng.uniform(0.36, 0.5))


def side_table(rng: Rng, look: Palette) -> Piece:
    return _table(rng, look, "side table", rng.uniform(0.2, 0.3), rng.uniform(0.2, 0.3), rng.uniform(0.45, 0.65))


def _round_table(rng: Rng, look: Palette, name: str, radius: float, height: float) -> Piece:
    out, board = Piece(name), _board(rng, look)
    out.round(0, 0, (height - 0.03, height), (radius, radius), board, corners=16)
    out.round(0, 0, (0.03, height - 0.03), (0.04, 0.04), board, corners=8)
    out.round(0, 0, (0, 0.03), (radius * 0.55, radius * 0.5), board, corners=12)
    inner = radius * 0.65
    out.tops.append(Top(-inner, inner, -inner, inner, height, 0.9))
    return out


def desk(rng: Rng, look: Palette) -> Piece:
    out = Piece("desk")
    w, d, height = rng.uniform(0.55, 0.85), rng.uniform(0.3, 0.4), rng.uniform(0.71, 0.77)
    board, front = _board(rng, look), None
    thick = 0.03
    out.box((-w, w), (-d, d), (height - thick, height), board)
    drawers = rng.integers(3)
    sides = ((-1, drawers in (1, 2)), (1, drawers == 2))
    for side, closed in sides:
        inner = 0.42 if closed else 0.04
        x = sorted((side * w, side * (w - inner)))
        if closed:
            front = look.material("fronts", np.array(board.tint))
        out.box((x[0], x[1]), (-d + 0.03, d - 0.01), (0, height - thick), board, front=front if closed else None)
    out.box((-w + 0.43, w - 0.43), (d - 0.06, d - 0.03), (0.3, height - thick), board)
    out.tops.append(Top(-w + 0.03, w - 0.03, -d + 0.03, d - 0.02, height, 1.0))
    return out


# --- to keep things in ------------------------------------------------------------------------------------------------


def _case(rng: Rng, look: Palette, name: str, w: float, d: float, height: float, family: str = "") -> Piece:
    """A closed body with a painted front."""
    out = Piece(name)
    body = look.material("plain", family, 1.0, gloss=0.08) if family else _board(rng, look)
    front = look.material("fronts", np.array(body.tint), gloss=0.05)
    foot = rng.choice([0.0, 0.06, 0.1])
    if foot:
        out.box((-w + 0.02, w - 0.02), (-d + 0.05, d), (0, foot), look.material("plain", "dark"))
    out.box((-w, w), (-d, d), (foot, height), body, front=front)
    out.tops.append(Top(-w + 0.02, w - 0.02, -d + 0.02, d - 0.02, height, 0.7))
    return out


def wardrobe(rng: Rng, look: Palette) -> Piece:
    return _case(rng, look, "cabinet", rng.uniform(0.4, 0.95), rng.uniform(0.25, 0.32), rng.uniform(1.7, 2.3))


def cabinet(rng: Rng, look: Palette) -> Piece:
    return _case(rng, look, "cabinet", rng.uniform(0.35, 0.8), rng.uniform(0.2, 0.3), rng.uniform(0.7, 1.3))


def file_cabinet(rng: Rng, look: Palette) -> Piece:
    family = _either(rng, "metal", "card", "dark", "white")
    return _case(rng, look, "cabinet", rng.uniform(0.2, 0.25), rng.uniform(0.25, 0.32), rng.uniform(0.6, 1.35), family)


def dresser(rng: Rng, look: Palette) -> Piece:
    return _case(rng, look, "dresser", rng.uniform(0.4, 0.75), rng.uniform(0.22, 0.28), rng.uniform(0.75, 1.2))


def night_stand(rng: Rng, look: Palette) -> Piece:
    return _case(rng, look, "night stand", rng.uniform(0.2, 0.28), rng.uniform(0.18, 0.24), rng.uniform(0.45, 0.65))


def tv_stand(rng: Rng, look: Palette) -> Piece:
    return _case(rng, look, "tv stand", rng.uniform(0.5, 0.9), rng.uniform(0.2, 0.26), rng.uniform(0.4, 0.6))


def refrigerator(rng: Rng, look: Palette) -> Piece:
    out = Piece("refrigerator")
    w, d, height = rng.uniform(0.28, 0.42), rng.uniform(0.3, 0.37), rng.choice([0.85, 1.5, 1.7, 1.8])
    body = look.material("metal" if rng.random() < 0.3 else "plain", "appliance", 1.0, gloss=0.25)
    split = height * rng.uniform(0.3, 0.7)
    out.box((-w, w), (-d + 0.06, d), (0.03, height), body)
    for low, high in ((0.06, split - 0.006), (split + 0.006, height)):
        out.box((-w, w), (-d, -d + 0.055), (low, high), body)
        out.box((-w + 0.03, -w + 0.055), (-d - 0.04, -d), (low + 0.1, min(high - 0.05, low + 0.5)), body)
    out.tops.append(Top(-w + 0.05, w - 0.05, -d + 0.1, d - 0.05, height, 0.4))
    return out


def _rack(
    rng: Rng, look: Palette, name: str, w: float, d: float, height: float, board: Material, closed: bool
) -> Piece:
    """Boards between two sides; books stand on them if it is a bookshelf."""
    out, thick = Piece(name), 0.025
    levels = max(2, round(height / rng.uniform(0.3, 0.42)))
    for side in (-1, 1):
        x = sorted((side * w, side * (w - thick)))
        if closed:
            out.box((x[0], x[1]), (-d, d), (0, height), board)
        else:
            for y in (-d, d - thick):
                out.box((x[0], x[1]), (y, y + thick), (0, height), board)
    if closed and rng.random() < 0.8:
        out.box((-w + thick, w - thick), (d - 0.01, d), (0, height), board)
    gap = (height - 0.06) / levels
    for i in range(levels + 1):
        z = 0.04 + i * gap
        out.box((-w + thick, w - thick), (-d, d - 0.011), (z - 0.02, z), board)
        room = gap - 0.03 if i < levels else 0.5
        out.tops.append(Top(-w + 0.03, w - 0.03, -d + 0.02, d - 0.03, z, room))
    return out


def bookshelf(rng: Rng, look: Palette) -> Piece:
    w, d, height = rng.uniform(0.3, 0.6), rng.uniform(0.13, 0.18), rng.uniform(0.9, 2.2)
    out = _rack(rng, look, "bookshelf", w, d, height, _board(rng, look), True)
    # Rows of books are part of a bookshelf in ScanNet's labels.
    kept = []
    for top in out.tops:
        if rng.random() < 0.8 and top.room_m < 0.45:
            at, end = top.x0, top.x1 - 0.05
            while at < end:
                width = min(rng.uniform(0.12, 0.4), top.x1 - at)
                tall, deep = top.room_m * rng.uniform(0.6, 0.92), rng.uniform(0.6, 0.95) * (top.y1 - top.y0)
                spines = look.material("spines")
                y = (top.y1 - deep, top.y1)
                out.box((at, at + width), y, (top.z, top.z + tall), look.material("plain", "any"), front=spines)
                at += width + rng.choice([0.004, 0.08])
        else:
            kept.append(top)
    out.tops = kept
    return out


def rack(rng: Rng, look: Palette) -> Piece:
    metal = look.material("metal", _either(rng, "metal", "dark", "white"), 1.0, gloss=0.1)
    board = metal if rng.random() < 0.5 else _board(rng, look)
    w, d, height = rng.uniform(0.35, 0.7), rng.uniform(0.16, 0.25), rng.uniform(0.8, 2.1)
    return _rack(rng, look, "shelves", w, d, height, board, False)


def counter(rng: Rng, look: Palette, width: float = 0.0) -> Piece:
    """A counter on kitchen cabinets, with a basin in it.

    Args:
        rng: where the draws come from.
        look: materials of the room.
        width: metres; 0: drawn.
    """
    out = Piece("counter")
    w, d, height = (width or rng.uniform(1.2, 2.8)) / 2, 0.31, rng.uniform(0.86, 0.94)
    stone = look.material(
        _either(rng, "granite", "marble", "plain", "wood"), _either(rng, "stone", "dark", "wood"), 0.8
    )
    body = Piece("kitchen cabinet")
    paint = _board(rng, look)
    front = look.material("fronts", _either(rng, "bold", "white") if rng.random() < 0.4 else np.array(paint.tint))
    number = max(1, round(2 * w / rng.uniform(0.7, 1.2)))
    body.box((-w, w), (-d + 0.07, d), (0, 0.09), look.material("plain", "dark"))
    for i in range(number):
        x = (-w + 2 * w * i / number, -w + 2 * w * (i + 1) / number)
        body.box(x, (-d + 0.03, d), (0.09, height - 0.04), paint, front=front)
    out.parts.append((body, (0.0, 0.0, 0.0, 0.0)))
    # The slab leaves a hole for the basin: four boxes around it.
    at, half, deep = rng.uniform(-w + 0.4, w - 0.4), rng.uniform(0.2, 0.3), 0.19
    z = (height - 0.04, height)
    out.box((-w, at - half), (-d, d), z, stone)
    out.box((at + half, w), (-d, d), z, stone)
    out.box((at - half, at + half), (-d, -deep), z, stone)
    out.box((at - half, at + half), (deep, d), z, stone)
    if rng.random() < 0.6:
        out.box((-w, w), (d - 0.012, d), (height, height + rng.uniform(0.05, 0.12)), stone)
    steel = look.material("metal", _either(rng, "metal", "white"), 1.0, gloss=0.4)
    out.parts.append((_basin(steel, half - 0.002, deep - 0.002, 0.035), (at, 0.0, height - 0.035, 0.0)))
    out.tops.append(Top(-w + 0.03, at - half - 0.03, -d + 0.03, d - 0.04, height, 0.45))
    out.tops.append(Top(at + half + 0.03, w - 0.03, -d + 0.03, d - 0.04, height, 0.45))
    return out


def _basin(metal: Material, w: float, d: float, depth: float) -> Piece:
    """A flat basin with a rim and a tap; its bottom is `depth` below the rim's foot."""
    out = Piece("sink")
    out.box((-w, w), (-d, d), (0, 0.008), metal)
    rim = 0.02
    for x, y in (((-w, w), (-d, -d + rim)), ((-w, w), (d - rim, d)), ((-w, -w + rim), (-d + rim, d - rim)),
                 ((w - rim, w), (-d + rim, d - rim))):  # fmt: skip
        out.box(x, y, (0.008, depth + 0.006), metal)
    out.round(0, d - 0.035, (0.008, depth + 0.2), (0.013, 0.013), metal, corners=6)
    out.box((-0.012, 0.012), (d - 0.2, d - 0.035), (depth + 0.18, depth + 0.2), metal)
    return out


# --- bathroom ---------------------------------------------------------------------------------------------------------


def toilet(rng: Rng, look: Palette) -> Piece:
    out, white = Piece("toilet"), look.material("plain", "white", 1.0, gloss=0.4)
    w, seat = rng.uniform(0.17, 0.2), rng.uniform(0.38, 0.44)
    out.round(0, -0.08, (0, seat - 0.04), (0.12, w), white, corners=12, widen=1.3)
    out.round(0, -0.08, (seat - 0.04, seat), (w + 0.01, w + 0.005), white, corners=12, widen=1.3)
    lid = rng.random()
    if lid < 0.5:
        out.round(0, -0.08, (seat, seat + 0.02), (w, w - 0.01), white, corners=12, widen=1.25)
    else:
        out.box((-w, w), (0.14, 0.165), (seat, seat + 0.36), white, lean=(0, 0.02), taper=(0.02, 0))
    out.box((-w - 0.02, w + 0.02), (0.19, 0.36), (seat - 0.05, seat + rng.uniform(0.32, 0.42)), white)
    out.box((-0.1, 0.1), (0.1, 0.34), (0, seat - 0.05), white)
    return out


def bathtub(rng: Rng, look: Palette) -> Piece:
    out, white = Piece("bathtub"), look.material("plain", "white", 1.0, gloss=0.4)
    w, d, height, rim = rng.uniform(0.72, 0.88), rng.uniform(0.34, 0.4), rng.uniform(0.45, 0.58), 0.07
    out.box((-w, w), (-d, -d + rim), (0, height), white)
    out.box((-w, w), (d - rim, d), (0, height), white)
    out.box((-w, -w + rim), (-d + rim, d - rim), (0, height), white)
    out.box((w - rim, w), (-d + rim, d - rim), (0, height), white)
    out.box((-w + rim, w - rim), (-d + rim, d - rim), (0, 0.12), white)
    if rng.random() < 0.6:
        cloth = look.material("folds" if rng.random() < 0.6 else "blobs", _either(rng, "white", "bedding"), 0.6)
        drape = _pleats(rng, "shower curtain", w * rng.uniform(0.5, 1.9), 1.75 - 0.15, cloth)
        out.parts.append((drape, (rng.choice([-0.4, 0.4]) * 0.1, -d - 0.06, 0.18, 0.0)))
    return out


def wash_stand(rng: Rng, look: Palette) -> Piece:
    """A cabinet with a basin."""
    out = Piece("cabinet")
    w, d, height = rng.uniform(0.28, 0.6), rng.uniform(0.22, 0.28), rng.uniform(0.74, 0.85)
    body = _board(rng, look)
    out.box((-w, w), (-d, d), (0, height), body, front=look.material("fronts", np.array(body.tint)))
    white = look.material("plain", "white", 1.0, gloss=0.4)
    out.parts.append((_basin(white, w, d, 0.08), (0, 0, height + 0.001, 0)))
    return out


# --- small things -----------------------------------------------------------------------------------------------------


def monitor(rng: Rng, look: Palette) -> Piece:
    out, w, tall = Piece("monitor"), rng.uniform(0.2, 0.3), rng.uniform(0.26, 0.36)
    _screen(rng, look, out, w, tall, rng.uniform(0.06, 0.12))
    return out


def television(rng: Rng, look: Palette) -> Piece:
    out, w = Piece("television"), rng.uniform(0.35, 0.62)
    _screen(rng, look, out, w, w * 1.15, 0.06)
    return out


def _screen(rng: Rng, look: Palette, out: Piece, w: float, tall: float, foot: float) -> None:
    shell = look.material("plain", "dark", 1.0, gloss=0.1)
    face = look.material("screen", gloss=0.3, glow=float(rng.choice([0.0, 0.3])))
    out.box((-0.45 * w, 0.45 * w), (-0.09, 0.09), (0, 0.015), shell)
    out.box((-0.04, 0.04), (0.01, 0.035), (0.015, foot + 0.1), shell)
    out.box((-w, w), (-0.03, 0.01), (foot, foot + tall), shell, front=face)


def keyboard(rng: Rng, look: Palette) -> Piece:
    out, keys = Piece("keyboard"), look.material("keys", _either(rng, "dark", "white"))
    out.box((-0.22, 0.22), (-0.07, 0.07), (0, 0.02), look.material("plain", "dark"), top=keys)
    return out


def laptop(rng: Rng, look: Palette) -> Piece:
    out, shell = Piece("laptop"), look.material("metal", _either(rng, "metal", "dark"), 1.0)
    out.box((-0.17, 0.17), (-0.12, 0.1), (0, 0.02), shell, top=look.material("keys", "dark"))
    out.box((-0.17, 0.17), (0.08, 0.095), (0.02, 0.23), shell, front=look.material("screen", glow=0.2), lean=(0, 0.05))
    return out


def computer(rng: Rng, look: Palette) -> Piece:
    out = Piece("computer tower")
    out.box((-0.1, 0.1), (-0.22, 0.22), (0, rng.uniform(0.36, 0.46)), look.material("metal", "dark", 1.0))
    return out


def printer(rng: Rng, look: Palette) -> Piece:
    out, paint = Piece("printer"), look.material("plain", _either(rng, "white", "dark"))
    w, d, tall = rng.uniform(0.2, 0.26), rng.uniform(0.17, 0.22), rng.uniform(0.16, 0.3)
    out.box((-w, w), (-d, d), (0, tall), paint, taper=(0.01, 0.03))
    return out


def microwave(rng: Rng, look: Palette) -> Piece:
    out = Piece("microwave")
    shell, front = look.material("metal", "appliance", 1.0, gloss=0.2), look.material("screen", gloss=0.3)
    out.box((-0.24, 0.24), (-0.17, 0.17), (0, 0.28), shell, front=front)
    return out


def box(rng: Rng, look: Palette) -> Piece:
    out, (w, d) = Piece("box"), rng.uniform(0.1, 0.28, 2)
    tall, side = rng.uniform(0.1, 0.4), look.material("card", "card")
    out.box((-w, w), (-d, d), (0, tall), side)
    out.tops.append(Top(-w, w, -d, d, tall, 0.4))
    return out


def package(rng: Rng, look: Palette) -> Piece:
    """A small printed box, as food and tools come in."""
    out, (w, d) = Piece("package"), rng.uniform(0.03, 0.12, 2)
    out.box((-w, w), (-d, d), (0, rng.uniform(0.06, 0.3)), look.material("cover"))
    return out


def books(rng: Rng, look: Palette) -> Piece:
    out, z = Piece("books"), 0.0
    for _ in range(int(rng.integers(1, 6))):
        w, d, thick = rng.uniform(0.09, 0.13), rng.uniform(0.07, 0.1), rng.uniform(0.012, 0.04)
        x, y = rng.normal(0, 0.01, 2)
        pages, cover = look.material("plain", "wall"), look.material("cover")
        out.box((x - w, x + w), (y - d, y + d), (z, z + thick), pages, top=cover)
        z += thick
    return out


def papers(rng: Rng, look: Palette) -> Piece:
    out = Piece("paper")
    out.box((-0.105, 0.105), (-0.148, 0.148), (0, rng.uniform(0.003, 0.015)), look.material("plain", "white"),
            top=look.material("paper"))  # fmt: skip
    return out


def cup(rng: Rng, look: Palette) -> Piece:
    out, r = Piece("cup"), rng.uniform(0.03, 0.045)
    out.round(0, 0, (0, rng.uniform(0.08, 0.11)), (r * 0.8, r), look.material("plain", _either(rng, "any", "white")),
              look.material("plain", "dark"), corners=8)  # fmt: skip
    return out


def bottle(rng: Rng, look: Palette) -> Piece:
    out, r, tall = Piece("bottle"), rng.uniform(0.03, 0.05), rng.uniform(0.15, 0.24)
    paint = look.material("plain", "any", 1.0, gloss=0.3)
    out.round(0, 0, (0, tall), (r, r), paint, corners=8)
    out.round(0, 0, (tall, tall + 0.08), (r * 0.6, r * 0.3), paint, corners=8)
    return out


def plant(rng: Rng, look: Palette) -> Piece:
    out, r = Piece("plant"), rng.uniform(0.06, 0.16)
    pot, leaf = 1.6 * r, look.material("leather", "leaf", 0.3)
    out.round(0, 0, (0, pot), (r * 0.7, r), look.material("plain", _either(rng, "wood", "white", "any")),
              look.material("carpet", "dark", 0.3), corners=10)  # fmt: skip
    for _ in range(int(rng.integers(10, 22))):
        turn, rise, length = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 1.5), rng.uniform(1.5, 4) * r
        along = np.array([np.cos(turn) * np.cos(rise), np.sin(turn) * np.cos(rise), np.sin(rise)])
        across = np.array([-np.sin(turn), np.cos(turn), 0]) * length * 0.16
        foot = np.array([0, 0, pot]) + rng.uniform(0, 1) * np.array([0, 0, r])
        middle, end = foot + along * length * 0.5, foot + along * length
        out.card(np.stack([foot, middle - across, end, middle + across]), leaf)
    return out


def lamp(rng: Rng, look: Palette) -> Piece:
    """A lamp for a table."""
    return _lamp(rng, look, rng.uniform(0.2, 0.35), rng.uniform(0.09, 0.17))


def floor_lamp(rng: Rng, look: Palette) -> Piece:
    return _lamp(rng, look, rng.uniform(1.2, 1.5), rng.uniform(0.15, 0.22))


def _lamp(rng: Rng, look: Palette, pole: float, r: float) -> Piece:
    out, metal = Piece("lamp"), look.material("metal", _either(rng, "metal", "dark"), 1.0, gloss=0.3)
    out.round(0, 0, (0, 0.025), (r * 0.8, r * 0.75), metal, corners=10)
    out.round(0, 0, (0.025, pole), (0.013, 0.013), metal, corners=6)
    shade = look.material("weave", _either(rng, "white", "wall"), 0.3, glow=float(rng.choice([0.0, 0.0, 0.9])))
    out.round(0, 0, (pole, pole + 1.4 * r), (r, r * rng.uniform(0.55, 0.9)), shade, corners=12)
    return out


def trash_can(rng: Rng, look: Palette) -> Piece:
    out, r, tall = Piece("garbage bin"), rng.uniform(0.11, 0.2), rng.uniform(0.28, 0.65)
    paint = look.material(_either(rng, "plain", "metal"), _either(rng, "dark", "metal", "white", "bold"), 1.0)
    inside = look.material("plain", _either(rng, "dark", "white"))
    if rng.random() < 0.5:
        out.round(0, 0, (0, tall), (r * 0.85, r), paint, inside, corners=10)
    else:
        out.box((-r, r), (-r * 0.7, r * 0.7), (0, tall), paint, top=inside, taper=(-0.02, -0.015))
    return out


def bag(rng: Rng, look: Palette) -> Piece:
    out, w, d = Piece(_either(rng, "bag", "backpack")), rng.uniform(0.14, 0.24), rng.uniform(0.07, 0.13)
    tall = rng.uniform(0.25, 0.48)
    cloth = look.material(_either(rng, "weave", "cover", "leather"), _either(rng, "dark", "any", "fabric"), 0.4)
    out.box((-w, w), (-d, d), (0, tall * 0.6), cloth, taper=(-0.02, -0.01), lean=(0, 0.01))
    out.box((-w - 0.02, w + 0.02), (-d, d + 0.02), (tall * 0.6, tall), cloth, taper=(0.05, 0.05), lean=(0, 0.02))
    return out


def clothes(rng: Rng, look: Palette) -> Piece:
    out = Piece("clothes")
    for _ in range(int(rng.integers(1, 4))):
        cloth = look.material(_either(rng, "folds", "plaid", "weave"), "any", 0.4)
        x, y = rng.normal(0, 0.06, 2)
        w, d = rng.uniform(0.1, 0.2, 2)
        lean = rng.normal(0, 0.03, 2)
        z = rng.uniform(0, 0.02)
        out.box((x - w, x + w), (y - d, y + d), (z, z + rng.uniform(0.04, 0.12)), cloth, lean=(lean[0], lean[1]),
                taper=(w * 0.3, d * 0.3))  # fmt: skip
    return out


def suitcase(rng: Rng, look: Palette) -> Piece:
    out, paint = Piece("suitcase"), look.material("leather", _either(rng, "dark", "any"), 0.5, gloss=0.1)
    out.box((-0.22, 0.22), (-0.13, 0.13), (0.04, rng.uniform(0.5, 0.7)), paint)
    return out


def heater(rng: Rng, look: Palette) -> Piece:
    out, w, paint = Piece("radiator"), rng.uniform(0.3, 0.7), look.material("blinds", "white", gloss=0.1)
    front = look.material("stripes", "white", 0.4)
    out.box((-w, w), (-0.05, 0.05), (0.12, rng.uniform(0.55, 0.75)), paint, front=front)
    return out


# --- on walls: the back at y = 0, the middle of it at z = 0 unless it is said -----------------------------------------


def _panel(name: str, w: float, tall: float, thick: float, rim: Material, front: Material, low: float) -> Piece:
    out = Piece(name)
    out.box((-w, w), (-thick, 0), (low, low + tall), rim, front=front)
    return out


def door(rng: Rng, look: Palette) -> Piece:
    """A closed door in its frame, from the floor up."""
    w, tall = rng.uniform(0.38, 0.5), rng.uniform(1.95, 2.12)
    family = _either(rng, "wood", "wood", "white", "wall")
    leaf, frame = look.material("panels", family), look.material("plain", family)
    out = _panel("door", w, tall, 0.02, frame, leaf, 0.0)
    edge = look.material("plain", _either(rng, "white", family))
    for x in ((-w - 0.07, -w), (w, w + 0.07)):
        out.box(x, (-0.035, 0), (0, tall + 0.07), edge)
    out.box((-w, w), (-0.035, 0), (tall, tall + 0.07), edge)
    return out


def window(rng: Rng, look: Palette) -> Piece:
    w, tall = rng.uniform(0.4, 1.1), rng.uniform(0.8, 1.5)
    view = look.material("window", glow=float(rng.uniform(0.3, 2.2)), gloss=0.2)
    frame, low = look.material("plain", "white"), rng.uniform(0.7, 1.0)
    out = _panel("window", w, tall, 0.03, frame, view, low)
    out.box((-w - 0.05, w + 0.05), (-rng.uniform(0.06, 0.15), 0), (low - 0.04, low), frame)
    return out


def curtain(rng: Rng, look: Palette, width: float = 0.0, tall: float = 0.0) -> Piece:
    """A curtain in folds.

    Args:
        rng: where the draws come from.
        look: materials of the room.
        width: metres; 0: drawn.
        tall: metres; 0: drawn.
    """
    cloth = look.material(_either(rng, "folds", "folds", "stripes", "blobs", "weave"), "curtain", rng.uniform(0.4, 0.9))
    return _pleats(rng, "curtain", width or rng.uniform(0.4, 1.2), tall or rng.uniform(1.6, 2.2), cloth)


def _pleats(rng: Rng, name: str, width: float, tall: float, cloth: Material) -> Piece:
    """A hanging cloth in folds, its lower edge at z = 0.02; width is its whole width."""
    out, depth = Piece(name), rng.uniform(0.025, 0.05)
    count = max(3, round(width / rng.uniform(0.07, 0.12)))
    x = np.linspace(-width / 2, width / 2, count + 1)
    y = -0.06 + np.where(np.arange(count + 1) % 2 == 0, depth, -depth) * rng.uniform(0.6, 1.0, count + 1)
    for i in range(count):
        low = np.array([[x[i], y[i], 0.02], [x[i + 1], y[i + 1], 0.02]])
        out.card(np.concatenate([low, low[::-1] + np.array([0, 0, tall])]), cloth)
    return out


def blinds(rng: Rng, look: Palette) -> Piece:
    w, tall = rng.uniform(0.4, 0.9), rng.uniform(0.7, 1.3)
    return _panel(
        "blinds", w, tall, 0.04, look.material("plain", "white"), look.material("blinds", "white", glow=0.15), 0.9
    )


def wall_picture(rng: Rng, look: Palette) -> Piece:
    w, tall = rng.uniform(0.12, 0.5), rng.uniform(0.2, 0.9)
    return _panel(
        "picture", w, tall, 0.02, look.material("plain", "dark"), look.material("picture", gloss=0.1), -tall / 2
    )


def mirror(rng: Rng, look: Palette) -> Piece:
    w, tall = rng.uniform(0.2, 0.5), rng.uniform(0.5, 1.2)
    front = look.material("leather", "wall", 2.0, gloss=0.5)
    return _panel("mirror", w, tall, 0.02, look.material("plain", "wood"), front, -tall / 2)


def whiteboard(rng: Rng, look: Palette) -> Piece:
    w, tall = rng.uniform(0.5, 1.2), rng.uniform(0.8, 1.2)
    return _panel(
        "whiteboard", w, tall, 0.02, look.material("metal", "metal"), look.material("board", gloss=0.2), -tall / 2
    )


def wall_cabinet(rng: Rng, look: Palette, width: float = 0.0) -> Piece:
    """A cabinet that hangs on a wall.

    Args:
        rng: where the draws come from.
        look: materials of the room.
        width: metres; 0: drawn.
    """
    w, tall = (width or rng.uniform(0.6, 2.0)) / 2, rng.uniform(0.5, 0.75)
    body = _board(rng, look)
    out = Piece("kitchen cabinet")
    front = look.material("fronts", np.array(body.tint))
    number = max(1, round(2 * w / rng.uniform(0.6, 1.0)))
    for i in range(number):
        x = (-w + 2 * w * i / number, -w + 2 * w * (i + 1) / number)
        out.box(x, (-0.33, 0), (-tall / 2, tall / 2), body, front=front)
    return out


def wall_shelf(rng: Rng, look: Palette) -> Piece:
    out, w, board = Piece("shelves"), rng.uniform(0.3, 0.7), _board(rng, look)
    for i in range(int(rng.integers(1, 4))):
        z = -0.35 + 0.33 * i
        out.box((-w, w), (-0.22, 0), (z - 0.025, z), board)
        out.tops.append(Top(-w + 0.02, w - 0.02, -0.21, -0.02, z, 0.27))
    return out


def towel(rng: Rng, look: Palette) -> Piece:
    out, w, cloth = Piece("towel"), rng.uniform(0.15, 0.3), look.material("carpet", _either(rng, "bedding", "any"), 0.4)
    out.box((-w, w), (-0.06, -0.01), (-0.35, 0.3), cloth, taper=(0, 0.015))
    return out


def coat(rng: Rng, look: Palette) -> Piece:
    out, cloth = Piece("clothes"), look.material("folds", _either(rng, "fabric", "any", "dark"), 0.5)
    out.box((-0.25, 0.25), (-0.14, -0.01), (-0.5, 0.3), cloth, taper=(0.14, 0.04), lean=(0, 0.03))
    return out


def clock(rng: Rng, look: Palette) -> Piece:
    out, r = Piece("clock"), rng.uniform(0.1, 0.17)
    turn = np.arange(12) * np.pi / 6
    back = np.stack([r * np.cos(turn), np.zeros(12), r * np.sin(turn)], -1)
    out.loft(back, back + np.array([0, -0.03, 0]), look.material("plain", "dark"), look.material("plain", "white"))
    return out


def switch(rng: Rng, look: Palette) -> Piece:
    white = look.material("plain", "white")
    return _panel("light switch", 0.04, 0.12, 0.015, white, white, -0.06)


def wall_television(rng: Rng, look: Palette) -> Piece:
    w = rng.uniform(0.4, 0.62)
    shell, face = look.material("plain", "dark"), look.material("screen", gloss=0.3, glow=float(rng.choice([0.0, 0.4])))
    return _panel("television", w, w * 1.15, 0.07, shell, face, -w * 0.55)


# --- on ceilings and floors -------------------------------------------------------------------------------------------


def ceiling_lamp(rng: Rng, look: Palette) -> Piece:
    """Hangs from z = 0 downwards."""
    out, light = Piece("lamp"), look.material("plain", "white", 1.0, glow=2.0)
    if rng.random() < 0.5:
        out.round(0, 0, (-0.12, -0.001), (rng.uniform(0.12, 0.2), 0.22), light)
    else:
        w, d = rng.uniform(0.25, 0.6), rng.uniform(0.1, 0.3)
        out.box((-w, w), (-d, d), (-0.06, -0.001), light)
    return out


def carpet(rng: Rng, look: Palette) -> Piece:
    out = Piece("floor mat")
    w, d = rng.uniform(0.3, 1.2), rng.uniform(0.25, 0.8)
    cloth = look.material(_either(rng, "rug", "rug", "carpet", "stripes", "plaid"), "carpet", 0.5)
    out.box((-w, w), (-d, d), (0, 0.012), cloth)
    return out


def pick(rng: Rng, makers: list[tuple[Maker, Number]]) -> Maker:
    """One of several makers by weight."""
    weights = np.array([weight for _, weight in makers])
    return makers[int(rng.choice(len(makers), p=weights / weights.sum()))][0]
