"""A small rasteriser for textured triangle meshes: which triangle is in front of each pixel, how far, what colour.

All pixels of all triangles' bounding boxes are laid in one row, tested by the three edge functions at once, and the
largest inverse depth of each pixel wins; so the time goes with the covered area and there is no loop over triangles.
Pictures are drawn several times as large and averaged (`samples`), which gives soft edges and soft masks. A texture
is looked up in the mip level that fits its triangle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int64, UInt8

from percepta.geometry.body import vertex_normals
from percepta.geometry.camera import Intrinsics

_STEPS = 2.0**30  # of inverse depth; the triangle's number takes the lower bits
_BITS = 20
_NEAR_M = 0.05
LEVELS = 5


@dataclass(frozen=True)
class Mesh:
    """Triangles with textures.

    Attributes:
        faces: places of the vertices, `f 3`.
        uv: texture coordinates of the vertices, 0..1 from the upper left corner, `v 2`.
        texture: of each triangle: place in an `Atlas`, `f`.
        label: of each triangle, 1 and up, `f`.
        two_sided: whether a triangle is seen from behind too, `f`.
    """

    faces: Int64[np.ndarray, "f 3"]
    uv: Float[np.ndarray, "v 2"]
    texture: Int64[np.ndarray, " f"]
    label: Int64[np.ndarray, " f"]
    two_sided: np.ndarray


def joined(meshes: Sequence[Mesh]) -> Mesh:
    """Several meshes as one; their vertices follow one another."""
    start = np.cumsum([0, *(len(mesh.uv) for mesh in meshes)])
    return Mesh(
        np.concatenate([mesh.faces + first for mesh, first in zip(meshes, start, strict=False)]),
        np.concatenate([mesh.uv for mesh in meshes]),
        np.concatenate([mesh.texture for mesh in meshes]),
        np.concatenate([mesh.label for mesh in meshes]),
        np.concatenate([mesh.two_sided for mesh in meshes]),
    )


@dataclass(frozen=True)
class Atlas:
    """Textures of any size with their mip levels in one row of texels.

    Attributes:
        texels: RGB 0..1, all levels of all textures, `n 3`.
        start: first texel of each texture's levels, `k levels`.
        size: rows and columns of each level, `k levels 2`.
    """

    texels: Float32[np.ndarray, "n 3"]
    start: Int64[np.ndarray, "k l"]
    size: Int64[np.ndarray, "k l 2"]

    @classmethod
    def of(cls, pictures: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> Atlas:
        """From pictures; each level halves the one before."""
        texels: list[np.ndarray] = []
        start, size = np.zeros((len(pictures), LEVELS), np.int64), np.zeros((len(pictures), LEVELS, 2), np.int64)
        place = 0
        for row, picture in enumerate(pictures):
            level = picture.astype(np.float32) / 255
            for step in range(LEVELS):
                start[row, step], size[row, step] = place, level.shape[:2]
                texels.append(level.reshape(-1, 3))
                place += level.shape[0] * level.shape[1]
                if min(level.shape[:2]) > 1:
                    h, w = level.shape[0] // 2, level.shape[1] // 2
                    level = level[: 2 * h, : 2 * w].reshape(h, 2, w, 2, 3).mean((1, 3))
        return cls(np.concatenate(texels), start, size)

    def look_up(self, texture: np.ndarray, level: np.ndarray, uv: np.ndarray) -> Float32[np.ndarray, "n 3"]:
        """Bilinear colours; beyond its edges a texture repeats across and stops downwards.

        Args:
            texture: place of each texture.
            level: of detail; 0 the finest.
            uv: texture coordinates.
        """
        rows, columns = self.size[texture, level].T
        first = self.start[texture, level]
        x, y = uv[:, 0] * columns - 0.5, uv[:, 1] * rows - 0.5
        x0, y0 = np.floor(x), np.floor(y)
        fx, fy = (x - x0).astype(np.float32)[:, None], (y - y0).astype(np.float32)[:, None]
        left, top = x0.astype(np.int64) % columns, np.clip(y0.astype(np.int64), 0, rows - 1)
        right, bottom = (left + 1) % columns, np.minimum(np.maximum(y0.astype(np.int64) + 1, 0), rows - 1)
        upper, lower = first + top * columns, first + bottom * columns
        above = self.texels[upper + left] * (1 - fx) + self.texels[upper + right] * fx
        below = self.texels[lower + left] * (1 - fx) + self.texels[lower + right] * fx
        return above * (1 - fy) + below * fy


@dataclass(frozen=True)
class Light:
    """A far lamp and light from everywhere; both together light white paper fully.

    Attributes:
        direction: from the scene to the lamp.
        ambient: share of the light that comes from everywhere, 0..1.
    """

    direction: tuple[float, float, float] = (0.45, 0.35, 0.82)
    ambient: float | int = 0.55

    def on(self, normal: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
        """How much light a surface gets, 0..1: half-way round its edge (wrapped diffuse)."""
        direction = np.array(self.direction) / np.linalg.norm(self.direction)
        return self.ambient + (1 - self.ambient) * np.clip(0.5 + 0.5 * normal @ direction, 0, 1) ** 1.5


@dataclass(frozen=True)
class Picture:
    """What a camera sees of a mesh.

    Attributes:
        colour: RGB 0..1, black where there is nothing, weighted by `mask`.
        mask: how much of each pixel is covered, 0..1.
        label: of the nearest triangle at the pixel's middle; 0 where there is none.
        depth_m: along the optical axis at the pixel's middle; 0 where there is nothing.
    """

    colour: Float32[np.ndarray, "h w 3"]
    mask: Float32[np.ndarray, "h w"]
    label: UInt8[np.ndarray, "h w"]
    depth_m: Float32[np.ndarray, "h w"]

    def over(self, background: Float[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w 3"]:
        """The picture before a background, RGB 0..1."""
        return (self.colour + (1 - self.mask[..., None]) * background).astype(np.float32)


def render(
    vertices: Float[np.ndarray, "v 3"],
    mesh: Mesh,
    atlas: Atlas,
    camera: Intrinsics,
    world_from_camera: Float[np.ndarray, "4 4"],
    *,
    light: Light | None = None,
    samples: int = 2,
) -> Picture:
    """A picture of a mesh.

    Args:
        vertices: in the world, metres.
        mesh: its triangles.
        atlas: their textures.
        camera: intrinsics.
        world_from_camera: the camera's pose.
        light: None: the usual lamp.
        samples: rays across and down each pixel.
    """
    fine = camera.resized(camera.width * samples, camera.height * samples)
    local = (vertices - world_from_camera[:3, 3]) @ world_from_camera[:3, :3]
    depth = local[:, 2]
    safe = np.maximum(depth, _NEAR_M)
    screen = np.stack([local[:, 0] / safe * fine.fx + fine.cx, local[:, 1] / safe * fine.fy + fine.cy], -1)
    best, weights = _nearest(screen, depth, mesh, fine)
    hit = np.flatnonzero(best >= 0)
    face = best[hit]
    corners = mesh.faces[face]
    share = weights[hit]
    uv = np.einsum("nk,nkc->nc", share, mesh.uv[corners])
    level = _levels(screen, mesh, atlas)[face]
    colour = atlas.look_up(mesh.texture[face], level, uv)
    normal = np.einsum("nk,nkc->nc", share, vertex_normals(vertices[None], mesh.faces)[0][corners])
    towards = world_from_camera[:3, 3] - np.einsum("nk,nkc->nc", share, vertices[corners])
    away = (normal * towards).sum(-1) < 0
    normal[away & mesh.two_sided[face]] *= -1
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9)
    colour *= (light or Light()).on(normal).astype(np.float32)[:, None]
    z = (share * safe[corners]).sum(-1)
    h, w, s = camera.height, camera.width, samples
    canvas, covered = np.zeros((h * s * w * s, 3), np.float32), np.zeros(h * s * w * s, np.float32)
    canvas[hit], covered[hit] = colour, 1
    label, distance = np.zeros(h * s * w * s, np.uint8), np.zeros(h * s * w * s, np.float32)
    label[hit], distance[hit] = mesh.label[face], z
    middle = (slice(s // 2, None, s), slice(s // 2, None, s))
    return Picture(
        canvas.reshape(h, s, w, s, 3).mean((1, 3)),
        covered.reshape(h, s, w, s).mean((1, 3)),
        label.reshape(h * s, w * s)[middle],
        distance.reshape(h * s, w * s)[middle],
    )


def render_colours(
    vertices: Float[np.ndarray, "v 3"],
    faces: Int64[np.ndarray, "f 3"],
    colours: Float[np.ndarray, "v 3"],
    camera: Intrinsics,
    world_from_camera: Float[np.ndarray, "4 4"],
    *,
    samples: int = 1,
) -> tuple[Float32[np.ndarray, "h w 3"], Float32[np.ndarray, "h w"]]:
    """Colour on black and coverage (0..1) of a mesh whose vertices shine in their colours; no lamp.

    Args:
        vertices: in the world, metres.
        faces: triangles, counter-clockwise seen from outside.
        colours: of the vertices, RGB 0..1.
        camera: intrinsics.
        world_from_camera: the camera's pose.
        samples: rays across and down each pixel.
    """
    h, w, s = camera.height, camera.width, samples
    fine = camera.resized(w * s, h * s)
    local = (vertices - world_from_camera[:3, 3]) @ world_from_camera[:3, :3]
    depth = np.maximum(local[:, 2], _NEAR_M)
    screen = np.stack([local[:, 0] / depth * fine.fx + fine.cx, local[:, 1] / depth * fine.fy + fine.cy], -1)
    count = len(faces)
    plain = Mesh(faces, np.zeros((1, 2)), np.zeros(count, int), np.ones(count, int), np.zeros(count, bool))
    best, weights = _nearest(screen, local[:, 2], plain, fine)
    hit = np.flatnonzero(best >= 0)
    canvas, covered = np.zeros((h * s * w * s, 3), np.float32), np.zeros(h * s * w * s, np.float32)
    canvas[hit] = np.einsum("nk,nkc->nc", weights[hit], colours[faces[best[hit]]])
    covered[hit] = 1
    return canvas.reshape(h, s, w, s, 3).mean((1, 3)), covered.reshape(h, s, w, s).mean((1, 3))


_TETRAHEDRA = np.array([[0, 5, 1, 6], [0, 1, 2, 6], [0, 2, 3, 6], [0, 3, 7, 6], [0, 7, 4, 6], [0, 4, 5, 6]])
_CORNERS = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]])


def surface(
    values: Float[np.ndarray, "x y z"], level: float | int, origin: Float[np.ndarray, " 3"], voxel_m: float | int
) -> tuple[Float[np.ndarray, "v 3"], Int64[np.ndarray, "f 3"]]:
    """The surface between values above and below a level, by marching tetrahedra; triangles face the lower side.

    Args:
        values: on a grid.
        level: where the surface lies.
        origin: place of values[0, 0, 0], metres.
        voxel_m: distance of neighbouring values, metres.
    """
    size = np.array(values.shape)
    above = values > level
    cells = np.zeros(size - 1, int)
    for dx, dy, dz in _CORNERS:
        cells += above[dx : dx + size[0] - 1, dy : dy + size[1] - 1, dz : dz + size[2] - 1]
    cell = np.argwhere((cells > 0) & (cells < 8))
    corner = cell[:, None] + _CORNERS
    places = np.asarray(np.ravel_multi_index(tuple(np.moveaxis(corner, -1, 0)), tuple(size)))
    number = places[:, _TETRAHEDRA].reshape(-1, 4)
    flat = values.reshape(-1)
    inside = flat[number] > level
    number = np.take_along_axis(number, np.argsort(~inside, axis=-1, kind="stable"), -1)
    count = inside.sum(-1)
    edges = []
    for wanted, triangles in (
        (1, [((0, 1), (0, 2), (0, 3))]),
        (3, [((3, 0), (3, 1), (3, 2))]),
        (2, [((0, 2), (0, 3), (1, 3)), ((0, 2), (1, 3), (1, 2))]),
    ):
        some = number[count == wanted]
        edges += [np.stack([some[:, pair] for pair in triangle], 1) for triangle in triangles]
    ends = np.sort(np.concatenate(edges), -1)  # triangles, corners, two grid points
    key, place = np.unique(ends[..., 0].astype(np.int64) * values.size + ends[..., 1], return_inverse=True)
    first, second = key // values.size, key % values.size
    share = (level - flat[first]) / (flat[second] - flat[first])
    a, b = (np.stack([*np.unravel_index(np.asarray(x), tuple(size))], -1).astype(float) for x in (first, second))
    vertices = origin + voxel_m * (a + (b - a) * share[:, None])
    faces = place.reshape(-1, 3)
    slope = np.stack([*np.gradient(values)], -1).reshape(-1, 3)
    towards = -(slope[first] + slope[second])[faces].sum(1)
    p, q, r = (vertices[faces[:, i]] for i in range(3))
    normal = np.cross(q - p, r - p)
    wrong = (normal * towards).sum(-1) < 0
    faces[wrong] = faces[wrong][:, [0, 2, 1]]
    flat_ones = (faces[:, 0] == faces[:, 1]) | (faces[:, 1] == faces[:, 2]) | (faces[:, 0] == faces[:, 2])
    return vertices, faces[~flat_ones]


def _nearest(
    screen: np.ndarray, depth: np.ndarray, mesh: Mesh, camera: Intrinsics
) -> tuple[Int64[np.ndarray, " p"], Float[np.ndarray, "p 3"]]:
    """The nearest triangle of each pixel (-1: none) and its perspective-correct weights there."""
    width, height = camera.width, camera.height
    a, b, c = (screen[mesh.faces[:, i]] for i in range(3))
    area = _cross(b - a, c - a)
    z = depth[mesh.faces]
    # y points down in a picture: triangles that run counter-clockwise in the world run clockwise in it
    seen = ((area < -1e-9) | (mesh.two_sided & (area > 1e-9))) & (z > _NEAR_M).all(1)
    low = np.ceil(np.minimum(np.minimum(a, b), c) - 1e-6).clip(0)
    high = np.floor(np.maximum(np.maximum(a, b), c) + 1e-6)
    high = np.minimum(high, (width - 1, height - 1))
    span = (high - low + 1).clip(0)
    chosen = np.flatnonzero(seen & (span[:, 0] > 0) & (span[:, 1] > 0))
    size = span[chosen].astype(np.int64)
    count = size[:, 0] * size[:, 1]
    face = np.repeat(chosen, count)
    number = np.arange(len(face)) - np.repeat(np.cumsum(count) - count, count)
    columns = np.repeat(size[:, 0], count)
    x = low[face, 0] + number % columns
    y = low[face, 1] + number // columns
    pixel = np.stack([x, y], -1)
    pa, pb, pc = a[face], b[face], c[face]
    inverse = 1 / area[face]
    wa, wb = _cross(pc - pb, pixel - pb) * inverse, _cross(pa - pc, pixel - pc) * inverse
    wc = 1 - wa - wb
    inside = np.flatnonzero((wa >= -1e-9) & (wb >= -1e-9) & (wc >= -1e-9))
    face, x, y = face[inside], x[inside].astype(np.int64), y[inside].astype(np.int64)
    screen_share = np.stack([wa[inside], wb[inside], wc[inside]], -1)
    share = screen_share / z[face]
    closeness = share.sum(-1)
    place = y * width + x
    key = (np.minimum(closeness, 100.0) * _STEPS).astype(np.int64) << _BITS | face
    best = np.full(width * height, -1, np.int64)
    np.maximum.at(best, place, key)
    won = best[place] == key
    out, weights = np.full(width * height, -1, np.int64), np.zeros((width * height, 3))
    out[place[won]] = face[won]
    weights[place[won]] = share[won] / closeness[won, None]
    return out, weights


def _levels(screen: np.ndarray, mesh: Mesh, atlas: Atlas) -> Int64[np.ndarray, " f"]:
    """The mip level of each triangle: texels for each pixel, by area."""
    a, b, c = (screen[mesh.faces[:, i]] for i in range(3))
    u, v, w = (mesh.uv[mesh.faces[:, i]] for i in range(3))
    texels = np.abs(_cross(v - u, w - u)) * atlas.size[mesh.texture, 0].prod(-1)
    ratio = texels / np.maximum(np.abs(_cross(b - a, c - a)), 1e-9)
    return np.clip(np.floor(0.5 * np.log2(np.maximum(ratio, 1.0)) + 0.2), 0, LEVELS - 1).astype(np.int64)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
