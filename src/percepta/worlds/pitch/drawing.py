"""Draws a moment of a broadcast: ground and stands by one look-up a pixel, people and ball as polygons.

At 224 × 128 pixels players of the main camera are 8 to 16 pixels high, as on television. Camera axes: x to the right,
y down, z ahead; the ground is z = 0 of the pitch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFilter

from percepta.worlds.pitch.broadcast import WIPE_S, Half, Shot
from percepta.worlds.pitch.match import HALF_X, HALF_Y, Match

HEIGHT_PX, WIDTH_PX = 128, 224
PX_M = 6  # of the ground's texture
MARGIN_X, MARGIN_Y = 61.0, 41.0  # where the stands begin
BOARD_M = 1.1  # height of the boards in front of them
EXPOSURE_S = 0.02
Colour = tuple[int, int, int]
Real = float | int
Point = tuple[Real, Real, Real]  # metres


@dataclass(frozen=True)
class Look:
    """What the pictures of a game have in common: colours, light, camera, noise; follows from a seed."""

    seed: int
    shirts: tuple[Colour, Colour]
    shorts: tuple[Colour, Colour]
    keepers: tuple[Colour, Colour]
    referee: Colour
    accent: Colour
    bar: bool
    height_m: Real
    distance_m: Real
    angle: Real
    ground: UInt8[np.ndarray, "gh gw 3"]
    stands: UInt8[np.ndarray, "sh sw 3"]
    boards: UInt8[np.ndarray, "k 3"]
    noise: Float[np.ndarray, "nh nw 1"]
    light: Real


SHIRTS: tuple[Colour, ...] = (
    (200, 30, 40), (30, 60, 170), (240, 240, 240), (30, 30, 35), (240, 210, 40), (120, 190, 235), (240, 130, 30),
    (110, 30, 120), (130, 20, 40), (20, 120, 90),
)  # fmt: skip
SKIN: tuple[Colour, ...] = ((224, 172, 140), (190, 130, 95), (120, 80, 55))


@lru_cache(maxsize=4)
def look(seed: int) -> Look:
    """How a game looks."""
    rng = np.random.default_rng([seed, 99])
    shirts = [SHIRTS[i] for i in rng.permutation(len(SHIRTS))[:2]]
    while sum(abs(a - b) for a, b in zip(*shirts, strict=True)) < 180:
        shirts = [SHIRTS[i] for i in rng.permutation(len(SHIRTS))[:2]]
    shorts = [c if rng.random() < 0.5 else ((250, 250, 250) if sum(c) < 400 else (30, 30, 60)) for c in shirts]
    crowd = rng.integers(40, 200, (96, 512, 3))
    crowd[rng.random((96, 512)) < 0.35] = shirts[0]
    crowd = (crowd * rng.uniform(0.35, 0.6)).astype(np.uint8)
    boards = rng.integers(20, 255, (24, 3)).astype(np.uint8)
    noise = rng.normal(0, rng.uniform(2, 6), (HEIGHT_PX + 64, WIDTH_PX + 64, 1)).astype(np.float32)
    return Look(seed, (shirts[0], shirts[1]), (shorts[0], shorts[1]), ((60, 210, 90), (230, 120, 200)),
                (20, 20, 20) if sum(shirts[0]) > 150 and sum(shirts[1]) > 150 else (250, 240, 60),
                tuple(int(v) for v in rng.integers(60, 255, 3)), bool(rng.random() < 0.5),  # type: ignore[arg-type]
                float(rng.uniform(14, 22)), float(rng.uniform(62, 76)), float(rng.uniform(22, 28)), _ground(rng),
                crowd, boards, noise, float(rng.uniform(0.75, 1.1)))  # fmt: skip


def _ground(rng: np.random.Generator) -> np.ndarray:
    """Grass with stripes and lines: rows from y = -MARGIN_Y on, columns from x = -MARGIN_X on."""
    h, w = int(2 * MARGIN_Y * PX_M), int(2 * MARGIN_X * PX_M)
    base = np.array([rng.uniform(40, 75), rng.uniform(105, 140), rng.uniform(35, 65)])
    x = (np.arange(w) / PX_M - MARGIN_X)[None, :]
    y = (np.arange(h) / PX_M - MARGIN_Y)[:, None]
    stripes = 1 + rng.uniform(0.03, 0.09) * np.sign(np.sin(x * np.pi / rng.uniform(5, 8)))
    if rng.random() < 0.4:
        stripes = stripes * (1 + 0.04 * np.sign(np.sin(y * np.pi / 6)))
    field = base * (stripes * np.ones((h, 1)))[..., None] + rng.normal(0, 4, (h, w, 1))
    field[(np.abs(x) > HALF_X + 3.5) | (np.abs(y) > HALF_Y + 3) & np.ones((h, w), bool)] *= 0.85
    picture = Image.fromarray(field.clip(0, 255).astype(np.uint8))
    draw, white = ImageDraw.Draw(picture), (225, 232, 225)

    def box(x0: Real, y0: Real, x1: Real, y1: Real) -> None:
        draw.rectangle([_at(x0, y0), _at(x1, y1)], outline=white, width=2)

    def ring(cx: Real, cy: Real, r: Real, start: Real = 0, end: Real = 360) -> None:
        draw.arc([_at(cx - r, cy - r), _at(cx + r, cy + r)], start, end, fill=white, width=2)

    box(-HALF_X, -HALF_Y, HALF_X, HALF_Y)
    draw.line([_at(0, -HALF_Y), _at(0, HALF_Y)], fill=white, width=2)
    ring(0, 0, 9.15)
    for side in (-1, 1):
        for depth, width in ((16.5, 20.16), (5.5, 9.16)):
            xs = sorted((side * HALF_X, side * (HALF_X - depth)))
            box(xs[0], -width, xs[1], width)
        ring(side * (HALF_X - 11), 0, 9.15, *((127, 233) if side > 0 else (-53, 53)))
        for spot in (_at(side * (HALF_X - 11), 0),):
            draw.ellipse([spot[0] - 2, spot[1] - 2, spot[0] + 2, spot[1] + 2], fill=white)
    return np.asarray(picture)


def _at(x: Real, y: Real) -> tuple[float | int, float | int]:
    return (x + MARGIN_X) * PX_M, (y + MARGIN_Y) * PX_M


@dataclass(frozen=True)
class Camera:
    """Where a camera is (m) and looks, and the angle that its picture is wide (degrees)."""

    place: Point
    target: Point
    angle: Real

    def axes(self) -> Float[np.ndarray, "3 3"]:
        """Rows: right, down, ahead, in the world."""
        ahead = np.subtract(self.target, self.place)
        ahead = ahead / np.linalg.norm(ahead)
        right = np.cross(ahead, (0, 0, 1.0))
        right /= np.linalg.norm(right)
        return np.stack([right, np.cross(ahead, right), ahead]).astype(np.float32)


def camera_of(half: Half, shot: Shot, game_s: Real, style: Look) -> Camera:
    """The camera of a shot.

    Args:
        half: the broadcast.
        shot: which is on the air.
        game_s: time of the game.
        style: how the game looks.
    """
    match = half.match
    recent = [match.at(max(0.0, game_s - s))[1] for s in (0.0, 0.6, 1.2)]
    ball = np.mean(recent, 0)
    players, _, referee = match.at(game_s)
    if shot.kind == "replay":
        return _replay_camera(shot, ball, match)
    if shot.kind == "main":
        zoom = float(style.angle * (1.15 - 0.45 * min(abs(ball[0]) / HALF_X, 1.0)))
        place = (0.25 * float(ball[0]), -style.distance_m, style.height_m)
        return Camera(place, (float(np.clip(ball[0], -46, 46)), float(np.clip(0.75 * ball[1], -22, 24)), 0.0), zoom)
    if shot.kind in ("board", "flag"):
        x, y = shot.x, shot.y
        if shot.kind == "flag" and y < 0:
            return Camera((x + 7, y + 8, 2.2), (x, y, 1.3), 24)
        return Camera((x + 3, y + (10 if y < 0 else -10), 2.0), (x, y, 1.2), 24)
    if shot.kind == "crowd":
        return Camera((0, -30, 3), (10 + shot.subject, 60, 9), 22)
    if shot.kind == "card":
        return Camera(
            (float(referee[0]) - 4, float(referee[1]) - 10, 1.9), (float(referee[0]), float(referee[1]), 1.45), 20
        )
    x, y = (referee if shot.subject < 0 else players[shot.subject]).tolist()
    return Camera((x + 3.0, y - 10, 1.8), (x, y, 1.25), 17)


def _replay_camera(shot: Shot, ball: np.ndarray, match: Match) -> Camera:
    x, y, z = map(float, ball)
    end = 1.0 if (shot.action.x if shot.action else x) > 0 else -1.0
    if shot.camera == 0:  # low, on the side of the main camera
        return Camera((x - 8 * end, -42, 3.0), (x, y, 0.8), 22)
    if shot.camera == 1:  # behind the goal
        return Camera((end * 66, 10, 6.0), (x, y, 0.8), 20)
    if shot.camera == 2:  # on the other side
        return Camera((x + 10 * end, 45, 5.0), (x, y, 0.8), 22)
    return Camera((x * 0.6, -58, 13), (x, y, 0.5 + 0.3 * z), 15)  # beside the main camera, near


@lru_cache(maxsize=4)
def _rays(height: int, width: int, angle: Real) -> np.ndarray:
    focal = width / 2 / np.tan(np.radians(angle) / 2)
    x = (np.arange(width) - (width - 1) / 2) / focal
    y = (np.arange(height) - (height - 1) / 2) / focal
    return np.stack([*np.broadcast_arrays(x[None], y[:, None]), np.ones((height, width))], 2).astype(np.float32)


def draw(
    half: Half, time_s: Real, height: int = HEIGHT_PX, width: int = WIDTH_PX, *, plain: bool = False
) -> UInt8[np.ndarray, "h w 3"]:
    """The picture on the air at a time.

    Args:
        half: the broadcast.
        time_s: from its start.
        height: in pixels.
        width: in pixels.
        plain: without blur and noise.
    """
    shot, style = half.shot(time_s), look(half.seed)
    game_s = shot.game_s(time_s)
    camera = camera_of(half, shot, game_s, style)
    picture = Image.fromarray(_background(camera, style, height, width))
    painter = _Painter(picture, camera, style)
    _people(painter, half.match, shot, game_s)
    pixels = np.asarray(picture)
    if not plain:
        earlier = camera_of(half, shot, game_s - EXPOSURE_S, style)
        pixels = _blurred(pixels, camera, earlier, width)
        rng = np.random.default_rng([half.seed, int(1000 * time_s)])
        dy, dx = rng.integers(0, 64, 2)
        if height <= HEIGHT_PX and width <= WIDTH_PX:
            pixels = pixels + style.noise[dy : dy + height, dx : dx + width]
        pixels = np.clip(pixels * style.light, 0, 255).astype(np.uint8)
    picture = Image.fromarray(pixels)
    if style.bar or shot.kind != "replay":
        _score(ImageDraw.Draw(picture), style, width)
    _wipe(picture, shot, time_s, style)
    return np.asarray(picture)


def _background(camera: Camera, style: Look, height: int, width: int) -> np.ndarray:
    rays = _rays(height, width, round(camera.angle * 4) / 4) @ camera.axes()
    px, py, pz = camera.place
    down = np.minimum(rays[..., 2], -1e-4)
    far = -pz / down
    x, y = px + far * rays[..., 0], py + far * rays[..., 1]
    inside = (rays[..., 2] < -1e-4) & (np.abs(x) < MARGIN_X - 0.2) & (np.abs(y) < MARGIN_Y - 0.2)
    out = np.empty((height, width, 3), np.uint8)
    column = ((x[inside] + MARGIN_X) * PX_M).astype(np.int32)
    row = ((y[inside] + MARGIN_Y) * PX_M).astype(np.int32)
    out[inside] = style.ground[row, column]
    other = ~inside
    if other.any():
        d = rays[other]
        # where the ray meets the wall in which the stands begin
        with np.errstate(divide="ignore", invalid="ignore"):
            to_x = np.where(d[:, 0] > 0, MARGIN_X - px, -MARGIN_X - px) / d[:, 0]
            to_y = np.where(d[:, 1] > 0, MARGIN_Y - py, -MARGIN_Y - py) / d[:, 1]
        if abs(py) > MARGIN_Y:  # from the stand itself: the wall before the camera is not there
            to_y = ((MARGIN_Y if py < 0 else -MARGIN_Y) - py) / np.where(np.abs(d[:, 1]) < 1e-5, 1e-5, d[:, 1])
        if abs(px) > MARGIN_X:
            to_x = ((MARGIN_X if px < 0 else -MARGIN_X) - px) / np.where(np.abs(d[:, 0]) < 1e-5, 1e-5, d[:, 0])
        to_x, to_y = np.where(to_x > 0, to_x, 1e6), np.where(to_y > 0, to_y, 1e6)
        near = np.minimum(to_x, to_y)
        z = pz + near * d[:, 2]
        along = np.where(to_x < to_y, py + near * d[:, 1], px + near * d[:, 0])
        crowd = style.stands[np.clip(95 - z * 3, 0, 95).astype(np.int32), (along * 3).astype(np.int32) % 512]
        board = style.boards[(along / 9).astype(np.int32) % len(style.boards)]
        out[other] = np.where(((z < BOARD_M) & (z > -0.5))[:, None], board, crowd)
    return out


class _Painter:
    """Projects and draws, in the order in which it is asked to."""

    def __init__(self, picture: Image.Image, camera: Camera, style: Look) -> None:
        self.draw, self.style = ImageDraw.Draw(picture), style
        self.axes, self.place = camera.axes(), np.array(camera.place, np.float32)
        self.width, self.height = picture.size
        self.focal = self.width / 2 / np.tan(np.radians(round(camera.angle * 4) / 4) / 2)

    def project(self, points: np.ndarray) -> np.ndarray:
        """(n 3) metres to (n 3): column, row, pixels a metre; 0 pixels behind the camera."""
        seen = (np.asarray(points, np.float32) - self.place) @ self.axes.T
        scale = np.where(seen[:, 2] > 0.5, self.focal / np.maximum(seen[:, 2], 0.5), 0.0)
        return np.stack(
            [seen[:, 0] * scale + (self.width - 1) / 2, seen[:, 1] * scale + (self.height - 1) / 2, scale], 1
        )

    def polyline(self, points: list[Point], colour: Colour, width_m: Real) -> None:
        """Lines from point to point, unless one of them is behind the camera.

        Args:
            points: in metres.
            colour: of the lines.
            width_m: of the lines.
        """
        p = self.project(np.array(points))
        if (p[:, 2] > 0).all():
            self.draw.line([(a, b) for a, b, _ in p.tolist()], fill=colour, width=max(1, round(width_m * p[0, 2])))

    def person(
        self,
        x: Real,
        y: Real,
        scale: Real,
        shirt: Colour,
        shorts: Colour,
        number: int,
        phase: Real,
        lies: bool,
    ) -> None:
        """Somebody 1.8 m high whose feet are at a pixel.

        Args:
            x: column.
            y: row.
            scale: pixels a metre.
            shirt: colour.
            shorts: colour.
            number: who.
            phase: of the legs, radians.
            lies: on the ground.
        """
        d, s = self.draw, scale
        skin = SKIN[number % 3]
        d.ellipse([x - 0.45 * s, y - 0.1 * s, x + 0.5 * s, y + 0.12 * s], fill=(25, 60, 25))
        if lies:
            d.rectangle([x - 0.9 * s, y - 0.32 * s, x - 0.2 * s, y], fill=shorts)
            d.rectangle([x - 0.2 * s, y - 0.38 * s, x + 0.5 * s, y], fill=shirt)
            d.ellipse([x + 0.5 * s, y - 0.35 * s, x + 0.8 * s, y - 0.05 * s], fill=skin)
            return
        swing = 0.22 * s * np.sin(phase)
        leg = max(1, round(0.16 * s))
        for sign in (-1, 1):
            d.line([x + 0.07 * s * sign, y - 0.85 * s, x + sign * (0.1 * s + swing), y], fill=skin, width=leg)
            if s > 12:
                d.line([x + sign * (0.09 * s + 0.6 * swing), y - 0.4 * s, x + sign * (0.1 * s + swing), y],
                       fill=shorts, width=leg)  # fmt: skip
        d.rectangle([x - 0.19 * s, y - 0.98 * s, x + 0.19 * s, y - 0.68 * s], fill=shorts)
        d.polygon([x - 0.27 * s, y - 1.5 * s, x + 0.27 * s, y - 1.5 * s, x + 0.2 * s, y - 0.9 * s, x - 0.2 * s,
                   y - 0.9 * s], fill=shirt)  # fmt: skip
        arm = max(1, round(0.11 * s))
        for sign in (-1, 1):
            d.line([x + sign * 0.26 * s, y - 1.45 * s, x + sign * (0.36 * s + 0.5 * abs(swing)), y - 0.95 * s],
                   fill=shirt if s < 25 else skin, width=arm)  # fmt: skip
        d.ellipse([x - 0.13 * s, y - 1.8 * s, x + 0.13 * s, y - 1.5 * s], fill=skin)
        if s > 12:
            d.pieslice([x - 0.14 * s, y - 1.84 * s, x + 0.14 * s, y - 1.52 * s], 180, 360, fill=(50, 35, 25))


def _people(painter: _Painter, match: Match, shot: Shot, game_s: Real) -> None:
    style = painter.style
    players, ball, referee = match.at(game_s)
    before = match.at(game_s - 0.25)[0]
    now = match.now(game_s)
    fallen = {span.player for span in now if span.kind == "fallen"}
    rows: list[tuple[np.ndarray, Colour, Colour, int, float, bool]] = []
    speed = np.linalg.norm(players - before, axis=1) / 0.25
    for i in range(22):
        team = i // 11
        shirt = style.keepers[team] if i % 11 == 0 else style.shirts[team]
        phase = float(game_s * min(12.0, 2 + 1.5 * speed[i]) + i) if speed[i] > 0.4 else 0.3
        rows.append((np.array([*players[i], 0.0]), shirt, style.shorts[team], i, phase, i in fallen))
    rows.append((np.array([*referee, 0.0]), style.referee, (15, 15, 15), 22, 0.3, False))
    lines = {-1: -HALF_Y - 1.2, 1: HALF_Y + 1.2}
    flag = next((span for span in now if span.kind == "flag"), None)
    for side, y in lines.items():
        x = float(np.sort(players[:, 0] * side)[1] * side)  # the last defender but one
        if flag and np.sign(flag.y) == side:
            x, y = flag.x, flag.y
        rows.append((np.array([x, y, 0.0]), style.referee, (15, 15, 15), 23, 0.3, False))
    board = next((span for span in now if span.kind == "board"), None)
    if board:
        team = board.player // 11
        rows.append((np.array([board.x, board.y, 0.0]), (20, 20, 20), (15, 15, 15), 24, 0.3, False))
        rows += [(np.array([board.x + s, board.y + 0.6, 0.0]), style.shirts[team], style.shorts[team], 25, 0.3, False)
                 for s in (-1.3, 1.4)]  # fmt: skip
    elif shot.kind in ("close", "crowd", "main", "replay"):
        rows += [(np.array([x, BENCH_Y, 0.0]), (25, 25, 40), (20, 20, 30), 26, 0.3, False) for x in (-12.0, 12.0)]
    _goals(painter)
    feet = painter.project(np.stack([row[0] for row in rows]))
    shade = painter.project(np.array([[*ball[:2], 0.0], ball]))
    ball_depth = shade[1, 2]
    drawn = False
    for i in np.argsort(feet[:, 2]):
        x, y, s = feet[i].tolist()
        if not drawn and s > ball_depth:
            _ball(painter, shade)
            drawn = True
        if s <= 0 or not (-s < x < painter.width + s and -s < y < painter.height + 2.2 * s):
            continue
        _, shirt, shorts, number, phase, lies = rows[i]
        painter.person(x, y, s, shirt, shorts, number, phase, lies)
        if number == 22:
            for span in now:
                if span.kind in ("yellow", "red"):
                    _held(painter, x, y, s, (250, 220, 20) if span.kind == "yellow" else (225, 20, 25))
        if flag and number == 23 and np.sign(flag.y) == np.sign(rows[i][0][1]):
            painter.draw.line(
                [x + 0.25 * s, y - 1.4 * s, x + 0.4 * s, y - 2.5 * s], fill=style.referee, width=max(1, round(0.1 * s))
            )
            painter.draw.rectangle([x + 0.4 * s, y - 2.6 * s, x + 1.0 * s, y - 2.1 * s], fill=(250, 120, 20))
        if board and number == 24:
            painter.draw.rectangle([x - 0.6 * s, y - 2.7 * s, x + 0.6 * s, y - 1.95 * s], fill=(10, 10, 10))
            painter.draw.rectangle([x - 0.5 * s, y - 2.6 * s, x - 0.05 * s, y - 2.05 * s], fill=(230, 40, 40))
            painter.draw.rectangle([x + 0.05 * s, y - 2.6 * s, x + 0.5 * s, y - 2.05 * s], fill=(50, 230, 70))
    if not drawn:
        _ball(painter, shade)


BENCH_Y = -37.5


def _held(painter: _Painter, x: Real, y: Real, s: Real, colour: Colour) -> None:
    """A raised arm with a card."""
    arm = max(1, round(0.12 * s))
    painter.draw.line([x + 0.25 * s, y - 1.4 * s, x + 0.35 * s, y - 2.15 * s], fill=SKIN[1], width=arm)
    painter.draw.rectangle([x + 0.25 * s, y - 2.4 * s, x + 0.47 * s, y - 2.1 * s], fill=colour)


def _ball(painter: _Painter, shade: np.ndarray) -> None:
    (sx, sy, _), (x, y, s) = shade.tolist()
    if s <= 0:
        return
    r = max(0.8, 0.15 * s)
    painter.draw.ellipse([sx - r, sy - 0.4 * r, sx + r, sy + 0.4 * r], fill=(25, 55, 25))
    painter.draw.ellipse([x - r, y - r, x + r, y + r], fill=(255, 255, 255))


def _goals(painter: _Painter) -> None:
    for side in (-1, 1):
        x, back = side * HALF_X, side * (HALF_X + 2)
        for y in np.linspace(-3.66, 3.66, 7).tolist():
            painter.polyline([(x, y, 2.44), (back, y, 0.0)], (170, 170, 170), 0.03)
        painter.polyline([(x, -3.66, 0), (x, -3.66, 2.44), (x, 3.66, 2.44), (x, 3.66, 0)], (245, 245, 245), 0.14)
        for y in (-HALF_Y, HALF_Y):
            painter.polyline([(x, y, 0), (x, y, 1.5)], (230, 60, 40), 0.08)


def _blurred(pixels: np.ndarray, camera: Camera, earlier: Camera, width: int) -> np.ndarray:
    """Blur along the rows by how far the picture moves while the shutter is open."""
    now, then = camera.axes()[2], earlier.axes()[2]
    shift = float(np.linalg.norm(now - then)) * width / (2 * np.tan(np.radians(camera.angle) / 2))
    steps = min(6, round(shift))
    if steps < 1:
        return pixels
    total = np.zeros(pixels.shape, np.float32)
    for i in range(steps + 1):
        total += np.roll(pixels, i - steps // 2, 1)
    return total / (steps + 1)


def _score(draw_: ImageDraw.ImageDraw, style: Look, width: int) -> None:
    u = width / 224
    draw_.rectangle([6 * u, 5 * u, 62 * u, 13 * u], fill=(15, 15, 25))
    draw_.rectangle([7 * u, 6 * u, 13 * u, 12 * u], fill=style.shirts[0])
    draw_.rectangle([55 * u, 6 * u, 61 * u, 12 * u], fill=style.shirts[1])


def _wipe(picture: Image.Image, shot: Shot, time_s: Real, style: Look) -> None:
    """The band that sweeps over the picture where replays begin and end."""
    if shot.kind != "replay":
        return
    phase = None
    if shot.first and time_s < shot.start_s + WIPE_S:
        phase = (time_s - shot.start_s) / WIPE_S
    elif shot.last and time_s >= shot.end_s - WIPE_S:
        phase = (time_s - shot.end_s + WIPE_S) / WIPE_S
    if phase is None:
        return
    w, h = picture.size
    middle, band = (1.8 * phase - 0.4) * w, 0.33 * w
    draw_ = ImageDraw.Draw(picture)
    slope = 0.25 * w * (1 if style.seed % 2 else -1)
    top, low = (middle - band + slope, middle + band + slope), (middle - band - slope, middle + band - slope)
    draw_.polygon([top[0], 0, top[1], 0, low[1], h, low[0], h], fill=style.accent)
    r = 0.28 * h
    draw_.ellipse([middle - r, h / 2 - r, middle + r, h / 2 + r], fill=tuple(255 - c for c in style.accent))


def soft(pixels: np.ndarray, radius: Real) -> np.ndarray:
    """A picture with Gaussian blur, as a bad lens or a bad stream gives it."""
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))
