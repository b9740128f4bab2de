"""A small renderer for worlds made of flat convex faces: depth exact to rounding, labels, textures, soft light.

How it works, and why it is fast without a compiler:

1. Spans. A face seen from the camera is a cone of rays; a ray r lies in it when (vᵢ₊₁ × vᵢ)·r ≥ 0 for all edges, vᵢ
   being the corners in camera coordinates (homogeneous edge functions, Olano & Greer 1997). These are linear in the
   pixel, so that each row of each face is one interval of pixels, and nothing needs clipping behind the camera.
2. Depth. The inverse depth of a plane is linear in the pixel too. All pixels of all intervals are laid in one row and
   the largest inverse depth of each pixel wins, in one call.
3. Colour is looked up once for each pixel, for the face that won: a texture (bilinear, in the mip level that fits the
   pixel's footprint) times light that was computed once for the room (`bake`), plus a highlight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64, Int32, Int64, UInt8, UInt32

from percepta.errors import InputError
from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics

_SIDE_BITS = 8  # textures are 256 × 256
TEXTURE = 1 << _SIDE_BITS
_LEVELS = _SIDE_BITS + 1
_FACE_BITS = 16
_STEPS = 2.0**36  # of inverse depth
_NEAREST = 2.0 ** (63 - _FACE_BITS) - 1  # steps: with the face's number no more fit into 63 bits; half a millimetre


@dataclass(frozen=True)
class Faces:
    """n flat convex polygons with up to k corners.

    Attributes:
        corners: counter-clockwise seen from the front; the last corner is repeated up to k. Only the front is visible.
        sides: number of corners, 3..k.
        normal, offset: unit n towards the front, and d, of n·x + d = 0.
        label: class of each face, 1..255. instance: object, 1 and up. plane: plane, 0 and up.
        axes: two unit vectors of the texture (to the right and down, seen from the front), orthogonal to the normal.
        origin: the corner of the smallest rectangle along the axes; extent: its size in metres.
        texture: number in the atlas. repeat, shift: texture coordinate = metres from the origin · repeat + shift.
        tint: multiplies the texture; 0..255 as in a picture, 255 leaves it as it is.
        gloss: strength of highlights. glow: light that the face sends out, in units of white paper fully lit.
    """

    corners: Float64[np.ndarray, "n k 3"]
    sides: Int64[np.ndarray, " n"]
    normal: Float64[np.ndarray, "n 3"]
    offset: Float64[np.ndarray, " n"]
    label: UInt8[np.ndarray, " n"]
    instance: Int32[np.ndarray, " n"]
    plane: Int32[np.ndarray, " n"]
    axes: Float64[np.ndarray, "n 2 3"]
    origin: Float64[np.ndarray, "n 3"]
    extent: Float64[np.ndarray, "n 2"]
    texture: Int64[np.ndarray, " n"]
    repeat: Float64[np.ndarray, "n 2"]
    shift: Float64[np.ndarray, "n 2"]
    tint: Float64[np.ndarray, "n 3"]
    gloss: Float64[np.ndarray, " n"]
    glow: Float64[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.corners)

    def area(self) -> Float64[np.ndarray, " n"]:
        """Area of each face in m²."""
        return np.linalg.norm(_area_vectors(self.corners), axis=-1)


def _area_vectors(corners: np.ndarray) -> np.ndarray:
    """Normals times area (Newell); repeated corners add nothing."""
    spokes = corners - corners[:, :1]
    return np.cross(spokes[:, 1:-1], spokes[:, 2:]).sum(1) / 2


def planes_of(corners: Float64[np.ndarray, "n k 3"]) -> tuple[Float64[np.ndarray, "n 3"], Float64[np.ndarray, " n"]]:
    """(n, d) of each polygon."""
    normal = _area_vectors(corners)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    return normal, -np.einsum("nc,nc->n", normal, corners[:, 0])


# --- which face, how far ----------------------------------------------------------------------------------------------


def rasterise(
    faces: Faces, camera: Intrinsics, world_from_camera: Float[np.ndarray, "4 4"]
) -> tuple[Int32[np.ndarray, "h w"], Float64[np.ndarray, "h w"]]:
    """The number of the nearest face in front of each pixel's centre (−1: none), and the depth there in metres (0).

    Args:
        faces: what there is.
        camera: intrinsics.
        world_from_camera: the camera's pose, metres.
    """
    visible = _visible(faces, camera, world_from_camera)
    rows, base, slope, face = _spans(faces, visible, camera, world_from_camera)
    pixel, inverse, face = _fragments(rows, base, slope, face, camera.width)
    key = np.minimum(inverse * _STEPS, _NEAREST).astype(np.int64)
    key <<= _FACE_BITS
    key |= face
    best = np.zeros(camera.height * camera.width, np.int64)
    np.maximum.at(best, pixel, key)
    hit = best > 0
    index = np.where(hit, best & ((1 << _FACE_BITS) - 1), -1).astype(np.int32).reshape(camera.height, camera.width)
    return index, _depth(faces, index, camera, world_from_camera)


def _visible(faces: Faces, camera: Intrinsics, world_from_camera: np.ndarray) -> Int64[np.ndarray, " m"]:
    """Numbers of the faces that show their front and touch the view's pyramid."""
    if len(faces) >= 1 << _FACE_BITS:
        raise InputError(f"at most {(1 << _FACE_BITS) - 1} faces can be drawn, not {len(faces)}")
    front = np.flatnonzero(faces.normal @ world_from_camera[:3, 3] + faces.offset > 1e-9)
    x, y, z = np.moveaxis(_in_camera(faces.corners[front], world_from_camera), -1, 0)
    left, right = -(camera.cx + 0.5) / camera.fx, (camera.width - 0.5 - camera.cx) / camera.fx
    top, bottom = -(camera.cy + 0.5) / camera.fy, (camera.height - 0.5 - camera.cy) / camera.fy
    outside = (z <= 0).all(1)
    for beyond in (x < left * z, x > right * z, y < top * z, y > bottom * z):
        outside |= beyond.all(1)
    return front[~outside]


def _in_camera(points: np.ndarray, world_from_camera: np.ndarray) -> np.ndarray:
    return (points - world_from_camera[:3, 3]) @ world_from_camera[:3, :3]


def _inverse_depth(faces: Faces, chosen: np.ndarray, camera: Intrinsics, pose: np.ndarray) -> np.ndarray:
    """`m 3`: inverse depth = a·u + b·v + c of the planes of the chosen faces."""
    distance = faces.normal[chosen] @ pose[:3, 3] + faces.offset[chosen]
    short = -(faces.normal[chosen] @ pose[:3, :3]) / distance[:, None]
    return short @ camera.inverse


def _spans(
    faces: Faces, chosen: np.ndarray, camera: Intrinsics, pose: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """For every row of every chosen face: (row, first, last) pixel, inverse depth at column 0, its slope, face."""
    corners, sides = _in_camera(faces.corners[chosen], pose), faces.sides[chosen]
    first, last = _row_range(corners, camera)
    count = np.maximum(last - first + 1, 0)
    face = np.repeat(np.arange(len(chosen)), count)
    row = np.arange(len(face)) - np.repeat(np.cumsum(count) - count - first, count)
    # Edge functions A·u + B·v + C ≥ 0. Where two faces share an edge they have the same numbers with the other sign,
    # so that no pixel falls between them.
    following = np.roll(corners, -1, 1)
    following[np.arange(len(chosen)), sides - 1] = corners[:, 0]
    edges = np.cross(following, corners) @ camera.inverse
    low = np.zeros(len(face))
    high = np.full(len(face), camera.width - 1.0)
    for side in range(corners.shape[1]):
        at = slice(None) if side < 3 else np.flatnonzero((sides > side)[face])
        a, b, c = edges[face[at], side].T
        rest = b * row[at] + c
        with np.errstate(divide="ignore", invalid="ignore"):
            limit = -rest / a
        low[at] = np.where(a > 0, np.maximum(low[at], limit), low[at])
        upper = np.where(a < 0, limit, np.where((a == 0) & (rest < 0), -1.0, camera.width))
        high[at] = np.minimum(high[at], upper)
    keep = np.flatnonzero(np.ceil(low) <= np.floor(high))
    face, row = face[keep], row[keep]
    linear = _inverse_depth(faces, chosen, camera, pose)
    base = linear[face, 1] * row + linear[face, 2]
    extent = np.stack([row, np.ceil(low[keep]).astype(np.int64), np.floor(high[keep]).astype(np.int64)], -1)
    return extent, base, linear[face, 0], chosen[face]


def _row_range(corners: np.ndarray, camera: Intrinsics) -> tuple[np.ndarray, np.ndarray]:
    """First and last row that each polygon may touch; all rows where it reaches behind the camera."""
    z = corners[..., 2]
    ahead = (z > 1e-6).all(1)
    v = corners[..., 1] / np.where(z > 1e-6, z, 1) * camera.fy + camera.cy
    limit = camera.height - 1
    first = np.where(ahead, np.clip(np.ceil(v.min(1) - 1e-6), 0, limit + 1), 0)
    last = np.where(ahead, np.clip(np.floor(v.max(1) + 1e-6), -1, limit), limit)
    return first.astype(np.int64), last.astype(np.int64)


def _fragments(
    extent: np.ndarray, base: np.ndarray, slope: np.ndarray, face: np.ndarray, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every pixel of every span: (pixel number, inverse depth, face)."""
    row, low, high = extent.T
    count = high - low + 1
    total = int(count.sum())
    column = np.arange(total) - np.repeat(np.cumsum(count) - count - low, count)
    inverse = np.repeat(slope, count) * column
    inverse += np.repeat(base, count)
    column += np.repeat(row * width, count)
    return column, inverse, np.repeat(face, count)


def _depth(faces: Faces, index: np.ndarray, camera: Intrinsics, pose: np.ndarray) -> Float64[np.ndarray, "h w"]:
    used, place = _used(faces, index)
    linear = np.zeros((len(used), 3))
    linear[used >= 0] = _inverse_depth(faces, used[used >= 0], camera, pose)
    a, b, c = np.take(linear, place, 0).T.reshape(3, *index.shape)
    inverse = a * np.arange(camera.width) + b * np.arange(camera.height)[:, None] + c
    return np.where(index >= 0, 1 / np.where(inverse > 0, inverse, 1), 0)


def _used(faces: Faces, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The numbers that occur in a picture of face numbers, in order, and the place of each pixel's among them."""
    flat = index.reshape(-1)
    used = np.flatnonzero(np.bincount(flat + 1, minlength=len(faces) + 1))
    place = np.zeros(len(faces) + 1, np.int64)
    place[used] = np.arange(len(used))
    return used - 1, place[flat + 1]


def cast(
    faces: Faces, camera: Intrinsics, world_from_camera: Float[np.ndarray, "4 4"], pixels: Int64[np.ndarray, "m 2"]
) -> tuple[Int32[np.ndarray, " m"], Float64[np.ndarray, " m"]]:
    """What `rasterise` finds, for some pixels (u, v), by trying every ray against every face: slow and obvious.

    Args:
        faces: what there is.
        camera: intrinsics.
        world_from_camera: the camera's pose, metres.
        pixels: (u, v) of each.
    """
    local = np.concatenate([pixels, np.ones((len(pixels), 1))], 1) @ camera.inverse.T
    direction, eye = local @ world_from_camera[:3, :3].T, world_from_camera[:3, 3]
    best, depth = np.full(len(pixels), -1, np.int32), np.full(len(pixels), np.inf)
    for number in range(len(faces)):
        normal, corners = faces.normal[number], faces.corners[number, : faces.sides[number]]
        if normal @ eye + faces.offset[number] <= 1e-9:
            continue
        with np.errstate(divide="ignore", invalid="ignore"):
            z = -(normal @ eye + faces.offset[number]) / (direction @ normal)
            where = eye + direction * z[:, None]
            inside = z > 0
            for first, second in zip(corners, np.roll(corners, -1, 0), strict=True):
                inside &= np.cross(second - first, where - first) @ normal >= 0
        nearer = inside & (z < depth)
        best[nearer], depth[nearer] = number, z[nearer]
    return best, np.where(best >= 0, depth, 0)


# --- textures ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Atlas:
    """Square textures that repeat, each with its mip levels.

    Attributes:
        texels: all levels of all textures, RGB and a zero byte in one number.
        count: number of textures.
    """

    texels: UInt32[np.ndarray, " m"]
    count: int

    @classmethod
    def of(cls, textures: Sequence[UInt8[np.ndarray, "256 256 3"]]) -> Atlas:
        """From pictures; each level halves the one before by averaging four pixels."""
        level = np.zeros((len(textures), TEXTURE, TEXTURE, 4), np.uint8)
        for i, texture in enumerate(textures):
            level[i, ..., :3] = texture
        levels = [level]
        for _ in range(_LEVELS - 1):
            wide = level.astype(np.uint16)
            level = (
                (wide[:, ::2, ::2] + wide[:, 1::2, ::2] + wide[:, ::2, 1::2] + wide[:, 1::2, 1::2] + 2) >> 2
            ).astype(np.uint8)
            levels.append(level)
        return cls(np.concatenate([x.reshape(-1) for x in levels]).view(np.uint32), len(textures))

    def look_up(
        self,
        texture: Int64[np.ndarray, " n"],
        u: Float[np.ndarray, " n"],
        v: Float[np.ndarray, " n"],
        level: Int64[np.ndarray, " n"],
    ) -> Float32[np.ndarray, "n 3"]:
        """Bilinear values 0..255 at texture coordinates (1 = one repeat; texel centres at (i + ½)/size).

        Args:
            texture: number of each texture.
            u: across, 1 = one repeat.
            v: down, 1 = one repeat.
            level: of detail: 0 the finest.
        """
        bits = _SIDE_BITS - level
        size = (1 << bits).astype(np.float32)
        # levels lie one after the other: 4 + ... texels of all textures before this one
        start = ((TEXTURE * TEXTURE * 4 - (1 << (2 * bits + 2))) // 3) * self.count + (texture << (2 * bits))
        x, y = u.astype(np.float32) * size - 0.5, v.astype(np.float32) * size - 0.5
        x0, y0 = np.floor(x), np.floor(y)
        fx, fy = (x - x0)[:, None], (y - y0)[:, None]
        mask = (1 << bits) - 1
        left, top = x0.astype(np.int64), y0.astype(np.int64)
        right, bottom = (left + 1) & mask, start + (((top + 1) & mask) << bits)
        left, top = left & mask, start + ((top & mask) << bits)
        a, b = self._texels(top + left), self._texels(top + right)
        c, d = self._texels(bottom + left), self._texels(bottom + right)
        a += (b - a) * fx
        c += (d - c) * fx
        a += (c - a) * fy
        return a

    def _texels(self, place: np.ndarray) -> Float32[np.ndarray, "n 3"]:
        return self.texels[place].view(np.uint8).reshape(-1, 4)[:, :3].astype(np.float32)


# --- light ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Lamp:
    """A point that sends light into the half space that it looks at.

    Attributes:
        position: in the world, metres. direction: unit vector.
        power: light per colour that white paper gets at 1 m; lamps that only stand for light from walls are weak.
        shines: whether polished things mirror it.
    """

    position: Float64[np.ndarray, " 3"]
    direction: Float64[np.ndarray, " 3"]
    power: Float64[np.ndarray, " 3"]
    shines: bool = False


@dataclass(frozen=True)
class Light:
    """Light on every face, on a grid over its rectangle, linear.

    Attributes:
        values: all grids, row by row. start: where a face's grid begins. size: its (columns, rows), at least 2 each.
        lamps: those that shine.
    """

    values: Float32[np.ndarray, "m 3"]
    start: Int64[np.ndarray, " n"]
    size: Int64[np.ndarray, "n 2"]
    lamps: tuple[Lamp, ...]


def bake(
    faces: Faces, lamps: Sequence[Lamp], ambient: Float[np.ndarray, " 3"], *, grid_m: float = 0.15, shadow: int = 160
) -> Light:
    """Light from lamps with shadows, and light from everywhere, on grids of `grid_m` over all faces.

    Shadows come from a depth picture of 126° that each lamp takes along its direction; what lies outside of it is lit.
    Many weak lamps together give soft shadows.

    Args:
        faces: what is lit.
        lamps: where light comes from.
        ambient: RGB of the light from everywhere, linear.
        grid_m: distance of the points where light is computed, metres.
        shadow: side of a lamp's depth picture, in pixels.
    """
    size = np.clip(np.ceil(faces.extent / grid_m).astype(np.int64) + 1, 2, 64)
    count = size.prod(1)
    start = np.cumsum(count) - count
    face = np.repeat(np.arange(len(faces)), count)
    place = np.arange(len(face)) - start[face]
    share = np.stack([place % size[face, 0], place // size[face, 0]], -1) / (size[face] - 1)
    # Not quite to the rim: there the faces of one solid meet and would shade each other.
    metres = faces.extent[face] * (0.02 + 0.96 * share)
    where = faces.origin[face] + np.einsum("mac,ma->mc", faces.axes[face], metres) + 0.025 * faces.normal[face]
    normal = faces.normal[face]
    # More comes from above than from below, even without a lamp.
    values = (0.75 + 0.25 * normal[:, 2:]) * ambient
    camera = Intrinsics.field_of_view(shadow, shadow, 126.0)
    for lamp in lamps:
        away = lamp.position - where
        distance = np.linalg.norm(away, axis=-1)
        away /= distance[:, None]
        cosine = np.maximum(np.einsum("mc,mc->m", away, normal), 0) * np.maximum(-(away @ lamp.direction), 0)
        strength = cosine * _lit(faces, lamp, camera, where) / (distance**2 + 0.25)
        values = values + strength[:, None] * lamp.power
    return Light(values.astype(np.float32), start, size, tuple(lamp for lamp in lamps if lamp.shines))


def _lit(faces: Faces, lamp: Lamp, camera: Intrinsics, where: np.ndarray) -> np.ndarray:
    """1 where the lamp sees a point, 0 where something is between."""
    up = (1.0, 0.0, 0.0) if abs(lamp.direction[2]) > 0.9 else (0.0, 0.0, 1.0)
    view = poses.look_at(lamp.position, lamp.position + lamp.direction, up)
    _, depth = rasterise(faces, camera, view)
    x, y, z = _in_camera(where, view).T
    ahead = z > 0.05
    safe = np.where(ahead, z, 1)
    u = np.round(x / safe * camera.fx + camera.cx)
    v = np.round(y / safe * camera.fy + camera.cy)
    inside = ahead & (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
    seen = depth[np.where(inside, v, 0).astype(np.int64), np.where(inside, u, 0).astype(np.int64)]
    return np.where(inside & (seen > 0), z < seen * 1.02 + 0.03, True)


# --- colour -----------------------------------------------------------------------------------------------------------


def shade(
    faces: Faces,
    atlas: Atlas,
    light: Light,
    camera: Intrinsics,
    world_from_camera: Float[np.ndarray, "4 4"],
    index: Int32[np.ndarray, "h w"],
    depth_m: Float64[np.ndarray, "h w"],
    gain: Float[np.ndarray, " 3"],
) -> UInt8[np.ndarray, "h w 3"]:
    """The picture that belongs to what `rasterise` found; black where there is no face.

    Args:
        faces: what there is.
        atlas: the textures.
        light: what `bake` gave.
        camera: intrinsics.
        world_from_camera: the camera's pose, metres.
        index: face of each pixel, −1 none.
        depth_m: of each pixel.
        gain: exposure and white balance, multiplies linear light.
    """
    used, place = _used(faces, index)
    table = _surface_table(faces, light, used, camera, world_from_camera)
    # Columns of the table are taken one by one: contiguous rows of numbers are faster than tuples.
    column = [np.take(values, place) for values in table]
    z = depth_m.reshape(-1).astype(np.float32)
    du = np.tile(np.arange(camera.width, dtype=np.float32), camera.height)
    dv = np.repeat(np.arange(camera.height, dtype=np.float32), camera.width)
    p = (column[0] * du + column[1] * dv + column[2]) * z + column[3]
    q = (column[4] * du + column[5] * dv + column[6]) * z + column[7]
    # A pixel covers about z/f metres, more where the face is seen at a slant: inverse depth gives the cosine.
    footprint = z * np.sqrt(np.minimum(z * column[8], 8.0)) * column[9]
    level = np.clip(np.floor(np.log2(np.maximum(footprint, 1e-6)) + 0.5), 0, _LEVELS - 1).astype(np.int64)
    faces_of = np.where(used < 0, 0, used)
    texture = np.take(faces.texture[faces_of], place)
    albedo = atlas.look_up(texture, p * column[10] + column[11], q * column[12] + column[13], level)
    albedo *= np.take((faces.tint[faces_of] / 255**2).astype(np.float32), place, 0)
    albedo *= albedo  # from picture values to linear light; the square is close to the usual curve
    lit = _light_at(light, faces_of, place, p * column[14], q * column[15])
    lit += np.take(faces.glow[faces_of].astype(np.float32), place)[:, None]
    lit *= albedo
    _add_highlights(lit, faces, light, faces_of[place], camera, world_from_camera, z)
    lit *= np.asarray(gain, np.float32)
    picture = np.sqrt(np.minimum(lit, 1)) * 255 + 0.5
    picture[index.reshape(-1) < 0] = 0
    return picture.astype(np.uint8).reshape(camera.height, camera.width, 3)


def _surface_table(
    faces: Faces, light: Light, used: np.ndarray, camera: Intrinsics, pose: np.ndarray
) -> list[np.ndarray]:
    """What the colour of a pixel needs to know of its face; metres along the axes = (a·u + b·v + c)·z + d."""
    at = np.where(used < 0, 0, used)
    eye = pose[:3, 3]
    axes = faces.axes[at] @ pose[:3, :3] @ camera.inverse  # n 2 3
    rest = np.einsum("nac,nc->na", faces.axes[at], eye - faces.origin[at])
    distance = np.maximum(faces.normal[at] @ eye + faces.offset[at], 1e-3)
    texels = TEXTURE * np.sqrt(faces.repeat[at].prod(1)) / camera.fx
    grid = (light.size[at] - 1) / np.maximum(faces.extent[at], 1e-6)
    columns = [axes[:, 0, 0], axes[:, 0, 1], axes[:, 0, 2], rest[:, 0]]
    columns += [axes[:, 1, 0], axes[:, 1, 1], axes[:, 1, 2], rest[:, 1], 1 / distance, texels]
    columns += [faces.repeat[at, 0], faces.shift[at, 0], faces.repeat[at, 1], faces.shift[at, 1]]
    return [c.astype(np.float32) for c in [*columns, grid[:, 0], grid[:, 1]]]


def _light_at(light: Light, used: np.ndarray, place: np.ndarray, s: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Bilinear light at grid coordinates of the face `used[place]`."""
    columns, rows = np.take(light.size[used, 0], place), np.take(light.size[used, 1], place)
    s0 = np.clip(s.astype(np.int64), 0, columns - 2)
    t0 = np.clip(t.astype(np.int64), 0, rows - 2)
    fs, ft = np.clip(s - s0, 0, 1)[:, None].astype(np.float32), np.clip(t - t0, 0, 1)[:, None].astype(np.float32)
    base = np.take(light.start[used], place) + t0 * columns + s0
    upper, lower = np.take(light.values, base, 0), np.take(light.values, base + columns, 0)
    upper += (np.take(light.values, base + 1, 0) - upper) * fs
    lower += (np.take(light.values, base + columns + 1, 0) - lower) * fs
    upper += (lower - upper) * ft
    return upper


def _add_highlights(
    lit: np.ndarray,
    faces: Faces,
    light: Light,
    face: np.ndarray,
    camera: Intrinsics,
    pose: np.ndarray,
    z: np.ndarray,
) -> None:
    """Adds the lamps' mirror images on polished faces (Blinn's half vector)."""
    shiny = np.flatnonzero(faces.gloss[face] > 0)
    if not len(shiny) or not light.lamps:
        return
    local = np.ones((len(shiny), 3), np.float32)
    local[:, 0] = (shiny % camera.width - camera.cx) / camera.fx
    local[:, 1] = (shiny // camera.width - camera.cy) / camera.fy
    view = local @ pose[:3, :3].T.astype(np.float32)
    where = view * z[shiny, None] + pose[:3, 3].astype(np.float32)
    view /= -np.sqrt(np.einsum("nc,nc->n", view, view))[:, None]
    normal, gloss = faces.normal[face[shiny]].astype(np.float32), faces.gloss[face[shiny]].astype(np.float32)
    added = np.zeros((len(shiny), 3), np.float32)
    for lamp in light.lamps:
        half = lamp.position.astype(np.float32) - where
        half /= np.sqrt(np.einsum("nc,nc->n", half, half))[:, None]
        half += view
        cosine = np.einsum("nc,nc->n", half, normal) / np.sqrt(np.einsum("nc,nc->n", half, half) + 1e-6)
        sharp = np.maximum(cosine, 0)
        for _ in range(4):
            sharp *= sharp
        # the 48th power: the 16th times the 32nd
        sharp *= sharp * sharp
        added += (gloss * sharp)[:, None] * (lamp.power / lamp.power.max()).astype(np.float32)
    lit[shiny] += added
