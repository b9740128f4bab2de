"""The rasteriser of textured triangles and the surface of a grid, against rays that are cast one by one and by hand."""

from __future__ import annotations

import numpy as np
import pytest

from percepta.geometry.camera import Intrinsics
from percepta.geometry.meshes import (
    LEVELS,
    Atlas,
    Light,
    Mesh,
    Picture,
    _levels,
    joined,
    render,
    render_colours,
    surface,
)

CAMERA = Intrinsics(40.0, 42.0, 19.0, 15.0, 40, 32)
BRIGHT = Light((0.0, 0.0, 1.0), ambient=1.0)


def plate(tilt: float = 0.0, two_sided: bool = False, turned: bool = False) -> tuple[np.ndarray, Mesh]:
    """A square of 2 m before the camera at (0, 0, 0), which looks along z; its middle is 2 m away, and it is seen from
    the front unless it is turned."""
    corners = np.array([[-1.0, -1, 2 - tilt], [1, -1, 2 + tilt], [1, 1, 2 + tilt], [-1, 1, 2 - tilt]])
    faces = np.array([[0, 2, 1], [0, 3, 2]])
    uv = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    faces = faces[:, ::-1].copy() if turned else faces
    return corners, Mesh(faces, uv, np.zeros(2, int), np.array([3, 3]), np.full(2, two_sided))


def checks(size: int = 8) -> Atlas:
    return Atlas.of([np.random.default_rng(4).integers(0, 256, (size, size, 3), np.uint8)])


def test_levels_of_textures_by_hand() -> None:
    """6 × 10 halves to 3 × 5 and 1 × 2, where it stays; 2 × 6 halves once."""
    first, second = np.zeros((6, 10, 3), np.uint8), np.full((2, 6, 3), 51, np.uint8)
    first[2:4, 8:10] = 255  # becomes a single texel of the second level
    first[1, 1] = 255
    atlas = Atlas.of([first, second])
    assert LEVELS == 5
    assert atlas.size[0].tolist() == [[6, 10], [3, 5], [1, 2], [1, 2], [1, 2]]
    assert atlas.size[1].tolist() == [[2, 6]] + [[1, 3]] * 4
    assert atlas.start[0].tolist() == [0, 60, 75, 77, 79] and atlas.start[1].tolist() == [81, 93, 96, 99, 102]
    assert len(atlas.texels) == 105 and np.allclose(atlas.texels[81:], 0.2)
    level = atlas.texels[60:75].reshape(3, 5, 3)
    assert level[1, 4, 0] == 1 and level[0, 0, 0] == 0.25 and level[:, :, 0].sum() == 1.25
    assert np.allclose(atlas.texels[75:77, 0], [0.25 / 4, 0]), "the last row and column are left out"


def test_two_meshes_as_one() -> None:
    (_, one), (_, two) = plate(), plate(two_sided=True)
    both = joined([one, two, one])
    assert both.faces.tolist() == [*one.faces.tolist(), *(two.faces + 4).tolist(), *(one.faces + 8).tolist()]
    assert both.two_sided.tolist() == [False] * 2 + [True] * 2 + [False] * 2
    assert len(both.uv) == 12 and both.label.tolist() == [3] * 6 and both.texture.tolist() == [0] * 6


def test_the_usual_lamp_stands_before_and_above() -> None:
    lamp = Light()
    toward = np.array(lamp.direction) / np.linalg.norm(lamp.direction)
    assert (toward > 0).all() and toward.argmax() == 2 and 0.3 < lamp.ambient < 0.8
    assert np.allclose(lamp.on(np.array([toward, -toward])), (1, lamp.ambient))


def test_a_picture_before_a_background() -> None:
    one = np.ones((1, 2, 3), np.float32)
    seen = Picture(0.3 * one, np.array([[0.25, 1.0]], np.float32), np.ones((1, 2), np.uint8), one[..., 0])
    assert np.allclose(seen.over(0.8 * one), [[[0.3 + 0.75 * 0.8] * 3, [0.3] * 3]])


@pytest.mark.parametrize("tilt", [0.0, 0.7])
def test_texture_and_depth_of_a_plate_are_where_rays_meet_it(tilt: float) -> None:
    corners, mesh = plate(tilt)
    atlas = checks()
    seen = render(corners, mesh, atlas, CAMERA, np.eye(4), light=BRIGHT, samples=1)
    hits = 0
    for v in range(CAMERA.height):
        for u in range(CAMERA.width):
            ray = np.array([(u - 19) / 40, (v - 15) / 42, 1])
            z = 2 / (1 - tilt * ray[0])  # the plate is z = 2 + tilt · x
            x, y = z * ray[0], z * ray[1]
            if max(abs(x), abs(y)) > 1.001:
                assert seen.label[v, u] == seen.depth_m[v, u] == seen.mask[v, u] == 0 and not seen.colour[v, u].any()
            elif max(abs(x), abs(y)) < 0.999:
                hits += 1
                assert seen.label[v, u] == 3 and seen.mask[v, u] == 1
                assert seen.depth_m[v, u] == pytest.approx(z, rel=1e-5)
                at = np.array([[(x + 1) / 2, (y + 1) / 2]])
                wanted = atlas.look_up(np.zeros(1, int), np.zeros(1, int), at)[0]
                assert np.allclose(seen.colour[v, u], wanted, atol=1e-4)
    assert hits > 400


def test_several_rays_a_pixel_are_the_mean_of_a_finer_picture() -> None:
    corners, mesh = plate(0.4)
    pose = np.eye(4)
    pose[:3, 3] = (0.1, -0.05, 0.2)
    pose[:2, :2] = [[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]]
    for samples in (2, 3):
        fine = CAMERA.resized(CAMERA.width * samples, CAMERA.height * samples)
        one = render(corners, mesh, checks(), CAMERA, pose, samples=samples)
        many = render(corners, mesh, checks(), fine, pose, samples=1)
        blocks = (CAMERA.height, samples, CAMERA.width, samples)
        assert np.allclose(one.colour, many.colour.reshape(*blocks, 3).mean((1, 3)), atol=1e-6)
        assert np.allclose(one.mask, many.mask.reshape(blocks).mean((1, 3))) and np.mean(one.mask % 1 > 0) > 0
        middle = samples // 2
        assert (one.label == many.label.reshape(blocks)[:, middle, :, middle]).all()
        assert (one.depth_m == many.depth_m.reshape(blocks)[:, middle, :, middle]).all()
        shades = np.random.default_rng(0).uniform(size=(4, 3))
        soft, cover = render_colours(corners, mesh.faces, shades, CAMERA, pose, samples=samples)
        hard, whole = render_colours(corners, mesh.faces, shades, fine, pose)
        assert np.allclose(soft, hard.reshape(*blocks, 3).mean((1, 3)), atol=1e-6)
        assert np.allclose(cover, whole.reshape(blocks).mean((1, 3)))
    usual = render(corners, mesh, checks(), CAMERA, pose)
    assert (usual.colour == render(corners, mesh, checks(), CAMERA, pose, samples=2).colour).all()


def test_only_two_sided_triangles_are_seen_from_behind_and_lit_as_from_the_front() -> None:
    lamp = Light((0.0, 0.0, -1.0), ambient=0.2)  # behind the camera
    front = render(*plate(), checks(), CAMERA, np.eye(4), light=lamp, samples=1)
    assert front.mask.sum() > 400
    corners, mesh = plate(turned=True)
    assert not render(corners, mesh, checks(), CAMERA, np.eye(4), light=lamp).mask.any()
    assert not render_colours(corners, mesh.faces, np.ones((4, 3)), CAMERA, np.eye(4))[1].any()
    behind = render(*plate(two_sided=True, turned=True), checks(), CAMERA, np.eye(4), light=lamp, samples=1)
    assert np.allclose(behind.colour, front.colour, atol=1e-5) and (behind.mask == front.mask).all()
    facing = render(*plate(two_sided=True), checks(), CAMERA, np.eye(4), light=lamp, samples=1)
    assert np.allclose(facing.colour, front.colour, atol=1e-5)
    dark = render(*plate(), checks(), CAMERA, np.eye(4), light=Light((0.0, 0.0, 1.0), ambient=0.2), samples=1)
    assert np.allclose(dark.colour, 0.2 * front.colour, atol=1e-5), "the lamp is behind it"


def test_the_whole_picture_is_filled_and_nothing_that_is_too_near() -> None:
    corners, mesh = plate()
    wide = render(corners * (9, 9, 1), mesh, checks(), CAMERA, np.eye(4), samples=1)
    assert (wide.mask == 1).all() and (wide.label == 3).all()
    for depth, seen in ((0.06, True), (0.04, False), (-1.0, False)):
        near = corners * (0.05, 0.05, 0) + (0, 0, depth)
        assert bool(render(near, mesh, checks(), CAMERA, np.eye(4)).mask.any()) == seen
        assert bool(render_colours(near, mesh.faces, np.ones((4, 3)), CAMERA, np.eye(4))[1].any()) == seen
    partly = corners.copy()
    partly[0, 2] = 0.04  # both triangles have this corner
    assert not render(partly, mesh, checks(), CAMERA, np.eye(4)).mask.any()
    flat = corners[[0, 1, 1, 0]] * (1, 0, 1)  # two triangles without an area, along a row of pixels
    with np.errstate(divide="raise"):
        assert not render(flat, mesh, checks(), CAMERA, np.eye(4), samples=1).mask.any()


def test_a_grid_of_small_triangles_has_no_gaps() -> None:
    n = 12
    x, y = np.meshgrid(np.linspace(-2, 2, n), np.linspace(-2, 2, n))
    rng = np.random.default_rng(1)
    vertices = np.stack([x.ravel(), y.ravel(), 2 + rng.uniform(-0.1, 0.1, n * n)], -1)
    at = np.arange(n * n).reshape(n, n)
    a, b, c, d = at[:-1, :-1].ravel(), at[:-1, 1:].ravel(), at[1:, :-1].ravel(), at[1:, 1:].ravel()
    faces = np.concatenate([np.stack([a, d, b], -1), np.stack([a, c, d], -1)])
    assert (render_colours(vertices, faces, np.ones((n * n, 3)), CAMERA, np.eye(4))[1] == 1).all()


def test_mip_levels_fit_the_texels_of_a_pixel() -> None:
    """A texture of 64 × 64 on a triangle of side s takes (64 / s)² texels a pixel: level log2(64 / s), 0.2 early."""
    mesh = Mesh(np.array([[0, 1, 2]]), np.array([[0.0, 0], [1, 0], [0, 1]]), np.zeros(1, int), np.ones(1, int),
                np.ones(1, bool))  # fmt: skip
    atlas = Atlas.of([np.zeros((64, 64, 3), np.uint8)])
    wanted = {
        640.0: 0,
        64 / 2**0.75: 0,
        64 / 2**0.85: 1,
        64 / 2**1.75: 1,
        64 / 2**1.85: 2,
        16.0: 2,
        8.0: 3,
        4.0: 4,
        0.01: 4,
    }
    for side, level in wanted.items():
        screen = np.array([[5.0, 5], [5 + side, 5], [5, 5 + side]])
        assert _levels(screen, mesh, atlas).tolist() == [level], side
        assert _levels(screen[[0, 2, 1]], mesh, atlas).tolist() == [level], "seen from behind alike"


# --- surfaces of a grid


@pytest.mark.parametrize("slope", [(1.0, 0.4, -0.3), (-0.2, 0.7, 1.1), (0.3, -1.0, 0.2)])
def test_the_surface_of_a_linear_field_is_the_plane_itself(slope: tuple[float, float, float]) -> None:
    size, origin, voxel = (6, 5, 7), np.array([1.0, -2, 0.5]), 0.25
    grid = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), -1)
    values = (origin + voxel * grid) @ slope
    level = float(values.mean()) + 0.013
    vertices, faces = surface(values, level, origin, voxel)
    np.testing.assert_allclose(vertices @ slope, level, atol=1e-12)
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    normal = np.cross(b - a, c - a)
    assert (normal @ slope < 0).all(), "they face the lower side"
    # The area of the plane inside the box, counted along its steepest axis: columns of the box that the plane crosses.
    axis = int(np.abs(slope).argmax())
    others = [i for i in range(3) if i != axis]
    fine = [origin[i] + voxel * (size[i] - 1) * (np.arange(400) + 0.5) / 400 for i in others]
    p, q = np.meshgrid(*fine, indexing="ij")
    height = (level - p * slope[others[0]] - q * slope[others[1]]) / slope[axis]
    inside = (height > origin[axis]) & (height < origin[axis] + voxel * (size[axis] - 1))
    shadow = inside.mean() * voxel**2 * (size[others[0]] - 1) * (size[others[1]] - 1)
    area = np.linalg.norm(normal, axis=1).sum() / 2
    assert area * abs(slope[axis]) / np.linalg.norm(slope) == pytest.approx(shadow, rel=0.01)


def test_the_surface_of_a_ball_is_closed_and_faces_outwards() -> None:
    grid = np.stack(np.meshgrid(*[np.arange(13)] * 3, indexing="ij"), -1) * 0.1 - 0.61
    vertices, faces = surface(0.45 - np.linalg.norm(grid, axis=-1), 0.0, np.full(3, -0.61), 0.1)
    assert np.abs(np.linalg.norm(vertices, axis=1) - 0.45).max() < 0.02
    edges = [(a, b) for face in faces.tolist() for a, b in zip(face, [*face[1:], face[0]], strict=True)]
    assert len(set(edges)) == len(edges) and {(b, a) for a, b in edges} == set(edges)
    assert len(vertices) - len(edges) / 2 + len(faces) == 2, "Euler: no holes"
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    volume = (a * np.cross(b, c)).sum() / 6
    assert volume == pytest.approx(4 / 3 * np.pi * 0.45**3, rel=0.06)


def test_a_value_at_the_level_is_below() -> None:
    """One value above among zeros: a corner whose tetrahedra meet the level at their other ends."""
    values = np.zeros((3, 3, 3))
    values[1, 1, 1] = 1.0
    vertices, faces = surface(values, 0.0, np.zeros(3), 1.0)
    assert len(faces) and np.allclose(vertices, vertices.round()), "the surface runs through the neighbours"
    assert all(len(set(face)) == 3 for face in faces.tolist())
    vertices, _ = surface(values, 0.75, np.zeros(3), 1.0)
    ways = np.linalg.norm(vertices - 1, axis=1)
    assert sorted({round(float(way), 6) for way in ways}) == [0.25, 0.353553, 0.433013], "a quarter of the way out"


def test_textures_are_read_bilinearly_from_their_level() -> None:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (*size, 3), np.uint8) for size in ((6, 10), (8, 4))]
    atlas = Atlas.of(pictures)
    uv = rng.uniform((-1.2, -0.3), (2.2, 1.3), (200, 2))
    texture, level = rng.integers(0, 2, 200), rng.integers(0, 2, 200)
    found = atlas.look_up(texture, level, uv)
    for i in range(len(uv)):
        picture = pictures[texture[i]] / 255
        if level[i]:
            picture = (picture[::2, ::2] + picture[1::2, ::2] + picture[::2, 1::2] + picture[1::2, 1::2]) / 4
        h, w = picture.shape[:2]
        x, y = uv[i, 0] * w - 0.5, uv[i, 1] * h - 0.5
        near = [(r, c) for r in range(int(np.floor(y)), int(np.floor(y)) + 2) for c in (np.floor(x), np.floor(x) + 1)]
        shares = [(1 - abs(y - r)) * (1 - abs(x - c)) for r, c in near]
        wanted = sum(s * picture[min(max(r, 0), h - 1), int(c) % w] for s, (r, c) in zip(shares, near, strict=True))
        assert np.allclose(found[i], wanted, atol=1e-5)


def test_light_falls_off_round_the_edge() -> None:
    lamp = Light((0.0, 0.0, 2.0), ambient=0.4)
    found = lamp.on(np.array([[0.0, 0, 1], [0, 0, -1], [1, 0, 0]]))
    assert np.allclose(found, (1, 0.4, 0.4 + 0.6 * 0.5**1.5))


def test_the_rasteriser_equals_casting_rays() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(-1, 1, (12, 3)) + np.array([0, 0, 3])
    faces = np.arange(12).reshape(4, 3)
    mesh = Mesh(faces, np.tile([[0.5, 0.5]], (12, 1)), np.arange(4), np.arange(1, 5), np.ones(4, bool))
    atlas = Atlas.of([np.full((8, 8, 3), 60 * i, np.uint8) for i in range(4)])
    camera = Intrinsics(40.0, 40.0, 19.5, 14.5, 40, 30)
    seen = render(corners, mesh, atlas, camera, np.eye(4), samples=1)
    shades = rng.uniform(0, 1, (12, 3))
    colour, covered = render_colours(corners, faces, shades, camera, np.eye(4))
    for v in range(30):
        for u in range(40):
            ray = np.array([(u - 19.5) / 40, (v - 14.5) / 40, 1])
            best, label, shade = np.inf, 0, np.zeros(3)
            for number, face in enumerate(faces):
                a, b, c = corners[face]
                try:
                    s = np.linalg.solve(np.stack([ray, a - b, a - c], -1), a)
                except np.linalg.LinAlgError:
                    continue
                if s[0] > 0 and s[1] >= 0 and s[2] >= 0 and s[1] + s[2] <= 1 and s[0] < best:
                    best, label, shade = s[0], number + 1, np.array([1 - s[1] - s[2], s[1], s[2]]) @ shades[face]
            assert seen.label[v, u] == label and covered[v, u] == (label > 0)
            assert np.allclose(colour[v, u], shade, atol=1e-4)
            assert label == 0 or seen.depth_m[v, u] == pytest.approx(best, rel=1e-4)
