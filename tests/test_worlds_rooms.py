"""Synthetic rooms: exact planes, photo-consistency, no collisions, free walks, scans and statistics."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from percepta.datasets import nyu40
from percepta.geometry import camera as cameras
from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics
from percepta.worlds import raster as renderer
from percepta.worlds import rooms
from percepta.worlds.rooms import furniture, interiors, textures

SMALL = Intrinsics.field_of_view(96, 72, 58.0)
SEEDS = (1, 2, 3, 4)


@cache
def world(seed: int) -> rooms.Room:
    return rooms.room(seed)


@cache
def views(seed: int) -> tuple[rooms.View, ...]:
    path = rooms.walk(world(seed), 0, frames=6, fps=0.5)
    return tuple(rooms.render(world(seed), pose, SMALL) for pose in path)


def test_everything_follows_from_the_seed() -> None:
    first, again, other = rooms.room(5), rooms.room(5), rooms.room(6)
    assert np.array_equal(first.faces.corners, again.faces.corners)
    assert np.array_equal(first.atlas.texels, again.atlas.texels)
    assert np.array_equal(rooms.walk(first, 2, frames=9), rooms.walk(again, 2, frames=9))
    assert not np.array_equal(rooms.walk(first, 2, frames=9), rooms.walk(first, 3, frames=9))
    pose = rooms.walk(first, 2, frames=1)[0]
    assert np.array_equal(rooms.render(first, pose, SMALL).colour, rooms.render(again, pose, SMALL).colour)
    assert first.faces.corners.shape != other.faces.corners.shape


@pytest.mark.parametrize("seed", SEEDS)
def test_faces_are_flat_convex_and_inside_the_room(seed: int) -> None:
    faces = world(seed).faces
    away = np.einsum("nkc,nc->nk", faces.corners, faces.normal) + faces.offset[:, None]
    assert np.abs(away).max() < 1e-6
    assert (faces.corners.min((0, 1)) > -1e-6).all() and (
        faces.corners.max((0, 1)) < np.array(world(seed).size) + 1e-6
    ).all()
    for corners, sides, normal in zip(faces.corners, faces.sides, faces.normal, strict=True):
        ring = corners[:sides]
        edges = np.roll(ring, -1, 0) - ring
        assert (np.cross(edges, np.roll(edges, -1, 0)) @ normal > -1e-9).all()
    assert np.allclose(np.einsum("nac,nc->na", faces.axes, faces.normal), 0, atol=1e-9)
    assert np.allclose(np.einsum("nac,nbc->nab", faces.axes, faces.axes), np.eye(2), atol=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_rendered_depth_lies_in_the_planes(seed: int) -> None:
    planes = world(seed).planes
    for view in views(seed):
        cloud, seen = cameras.points(view.depth_m.astype(np.float64), SMALL, view.world_from_camera)
        assert seen.all()  # a room is closed
        plane = view.plane[seen]
        away = np.abs(np.einsum("nc,nc->n", cloud, planes.normal[plane]) + planes.offset[plane])
        assert away.max() < 1e-5  # depth is float32


@pytest.mark.parametrize("seed", SEEDS)
def test_plane_instance_and_label_agree(seed: int) -> None:
    room = world(seed)
    things = {thing.instance: thing for thing in room.things}
    assert sorted(things) == list(range(1, len(things) + 1))
    for view in views(seed):
        assert np.array_equal(room.planes.instance[view.plane], view.instance)
        assert np.array_equal(room.planes.label[view.plane], view.label)
        assert all(things[i].label == label for i, label in set(zip(view.instance.flat, view.label.flat, strict=True)))
        cloud, _ = cameras.points(view.depth_m, SMALL, view.world_from_camera)
        for i in np.unique(view.instance):
            mine = cloud[view.instance.reshape(-1) == i]
            if things[i].label not in (1, 2, 22):
                assert (mine > things[i].low - 1e-3).all() and (mine < things[i].high + 1e-3).all()


def test_two_views_agree_under_each_planes_homography() -> None:
    """Where both views see one plane, the homography carries colours over: a law that training of planes stands on."""
    errors, wrong = [], []
    for seed in SEEDS:
        path = rooms.walk(world(seed), 1, frames=40, fps=30)
        camera = Intrinsics.field_of_view(160, 120, 58.0)
        ends = [rooms.render(world(seed), path[i], camera, smooth=2) for i in (0, 30)]
        reference, source = ends
        move = poses.inverse(source.world_from_camera) @ reference.world_from_camera
        here = poses.inverse(reference.world_from_camera)
        planes = world(seed).planes
        for plane in np.unique(reference.plane):
            v, u = np.nonzero(reference.plane == plane)
            if len(u) < 400:
                continue
            normal, offset = cameras.plane_in(here, planes.normal[plane], planes.offset[plane])
            short = cameras.short_plane(normal, np.asarray(offset))
            homography = cameras.plane_homography(short, camera.matrix, camera.matrix, move)
            pixels = np.stack([u, v], -1).astype(np.float64)
            there = np.round(cameras.warp(homography, pixels))
            inside = (there >= 1).all(1) & (there < (camera.width - 1, camera.height - 1)).all(1)
            x, y = there[inside].astype(int).T
            same = source.plane[y, x] == plane
            if same.sum() < 100:
                continue
            a = reference.colour[v[inside][same], u[inside][same]].astype(float)
            b = source.colour[y[same], x[same]].astype(float)
            errors.append(np.abs(a - b).mean())
            wrong.append(np.abs(a - np.roll(b, len(b) // 2, 0)).mean())
    assert len(errors) > 8 and np.mean(errors) < 6 and np.mean(errors) < 0.5 * np.mean(wrong)


@pytest.mark.parametrize("seed", SEEDS)
def test_objects_do_not_run_into_each_other(seed: int) -> None:
    """The oracle samples points in every box and asks all boxes of other objects, 8 mm smaller."""
    boxes = world(seed).boxes
    rng = np.random.default_rng(0)
    on = {thing.instance: thing.on for thing in world(seed).things}
    for i in range(len(boxes.z)):
        share = rng.uniform(-1, 1, (40, 2)) * boxes.half[i]
        side = boxes.side[i]
        place = boxes.middle[i] + share[:, :1] * side + share[:, 1:] * (-side[1], side[0])
        z = rng.uniform(boxes.z[i, 0], boxes.z[i, 1], 40)
        apart = place[:, None] - boxes.middle
        along = np.abs(np.einsum("nbc,bc->nb", apart, boxes.side)) < boxes.half[:, 0] - 0.008
        across = np.abs(-apart[..., 0] * boxes.side[:, 1] + apart[..., 1] * boxes.side[:, 0]) < boxes.half[:, 1] - 0.008
        height = (z[:, None] > boxes.z[:, 0] + 0.008) & (z[:, None] < boxes.z[:, 1] - 0.008)
        for j in np.flatnonzero((along & across & height).any(0)):
            a, b = int(boxes.instance[i]), int(boxes.instance[j])
            # a part (a cushion, a basin) may sink into what it belongs to
            assert a == b or on[a] == b or on[b] == a, (a, b)


@pytest.mark.parametrize("seed", SEEDS)
def test_things_stand_on_something(seed: int) -> None:
    things = {thing.instance: thing for thing in world(seed).things}
    for thing in things.values():
        if thing.on == 1:
            assert thing.low[2] == pytest.approx(0, abs=0.07)
        elif thing.on and things[thing.on].label not in (1, 22, 3, 34, 9, 36):
            assert thing.low[2] < things[thing.on].high[2] + 0.05


@pytest.mark.parametrize("seed", SEEDS)
def test_walks_stay_in_free_space_at_the_speed_of_a_hand(seed: int) -> None:
    path = rooms.walk(world(seed), 0, frames=240, fps=30)
    assert all(poses.problem(pose) == "" for pose in path[::10])
    eye = path[:, :3, 3]
    assert (eye > 0).all() and (eye < world(seed).size).all() and ((eye[:, 2] > 0.95) & (eye[:, 2] < 1.95)).all()
    boxes = world(seed).boxes
    apart = eye[:, None, :2] - boxes.middle
    inside = np.abs(np.einsum("nbc,bc->nb", apart, boxes.side)) < boxes.half[:, 0]
    inside &= np.abs(-apart[..., 0] * boxes.side[:, 1] + apart[..., 1] * boxes.side[:, 0]) < boxes.half[:, 1]
    inside &= (eye[:, None, 2] > boxes.z[:, 0]) & (eye[:, None, 2] < boxes.z[:, 1])
    assert not inside.any()
    step = np.linalg.norm(np.diff(eye, axis=0), axis=1)
    turn = np.degrees(poses.angle(np.swapaxes(path[:-1, :3, :3], 1, 2) @ path[1:, :3, :3]))
    # the red kitchen of 7-Scenes: 7 mm and 1.2 degrees a frame
    assert 0.001 < np.median(step) < 0.02 and np.max(step) < 0.06
    assert np.median(turn) < 2.5 and np.max(turn) < 6


def test_walks_have_pairs_for_plane_stereo() -> None:
    path = rooms.walk(world(1), 0, frames=120, fps=30)
    pairs = rooms.pairs(path)
    assert len(pairs) > 20
    distance = np.linalg.norm(path[pairs[:, 0], :3, 3] - path[pairs[:, 1], :3, 3], axis=1)
    assert (distance >= 0.05).all() and (distance <= 0.15).all() and (np.diff(pairs) <= 20).all()
    assert rooms.pairs(path[:1]).shape == (0, 2)


@given(st.integers(1, 400), st.floats(0.02, 0.5), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_fuse_equals_the_obvious_loop(count: int, voxel_m: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    xyz = rng.normal(size=(count, 3))
    rgb = rng.integers(0, 256, (count, 3), dtype=np.uint8)
    instance = rng.integers(0, 4, count, dtype=np.int32)
    label = (instance * 3 + 1).astype(np.uint8)
    got = rooms.fuse(xyz, rgb, label, instance, voxel_m)
    groups: dict[tuple[int, ...], list[int]] = {}
    for i, cell in enumerate(np.floor(xyz / voxel_m).astype(int)):
        groups.setdefault(tuple(cell), []).append(i)
    assert len(got.xyz) == len(groups)
    for row, (_, members) in enumerate(sorted(groups.items())):
        assert np.allclose(got.xyz[row], xyz[members].mean(0), atol=1e-5)
        assert np.abs(got.rgb[row] - rgb[members].mean(0)).max() <= 0.51
        votes = np.bincount(instance[members])
        assert got.instance[row] == votes.argmax() and got.label[row] == votes.argmax() * 3 + 1


def test_a_scan_is_what_was_seen() -> None:
    room = world(2)
    path = rooms.walk(room, 0, frames=12, fps=1.0)
    scan = rooms.scan(room, path, 0.05)
    # one point a voxel; a floor at z = 0 must not be split in two by rounding
    assert len(np.unique(np.floor(scan.xyz / 0.05 + 0.37), axis=0)) > 0.99 * len(scan.xyz)
    floor = scan.xyz[scan.label == 2]
    assert len(np.unique(np.floor(floor[:, :2] / 0.05 + 0.37), axis=0)) > 0.99 * len(floor)
    seen = {int(i) for pose in path for i in np.unique(rooms.render(room, pose, rooms.SCAN_CAMERA).instance)}
    assert set(scan.instance.tolist()) <= seen
    # everything lies on a surface: the nearest plane of its object passes through it, up to a voxel
    planes = room.planes
    for i in range(0, len(scan.xyz), 97):
        own = planes.instance == scan.instance[i]
        away = np.abs(planes.normal[own] @ scan.xyz[i] + planes.offset[own])
        assert away.min() < 0.05


def test_sensor_noise_grows_with_depth_and_leaves_holes() -> None:
    room = world(1)
    rng = np.random.default_rng(0)
    errors: list[tuple[float, float]] = []
    for view in views(1):
        noisy = rooms.measure(room, view, rng)
        hit = noisy.depth_m > 0
        assert 0.3 < hit.mean() < 0.995
        error = np.abs(noisy.depth_m - view.depth_m)[hit]
        errors += list(zip(view.depth_m[hit].tolist(), error.tolist(), strict=True))
        assert np.array_equal(noisy.label, view.label)
        assert noisy.depth_m[hit].max() < 5.5
    z, error = np.array(errors).T
    assert error[z > np.quantile(z, 0.8)].mean() > 1.5 * error[z < np.quantile(z, 0.2)].mean()
    exact = rooms.measure(room, views(1)[0], rng, rooms.Sensor(0.0, 0.0, 99.0, 0.0, 0.0, 90.0, False, 0.0))
    assert np.allclose(exact.depth_m, views(1)[0].depth_m) and np.array_equal(exact.colour, views(1)[0].colour)


def test_motion_blur_smoothing_and_exposure_change_colours_only() -> None:
    room, path = world(3), rooms.walk(world(3), 0, frames=2, fps=3)
    sharp = rooms.render(room, path[0], SMALL)
    for other in (
        rooms.render(room, path[0], SMALL, exposed_at=[path[0], path[1]]),
        rooms.render(room, path[0], SMALL, smooth=3),
        rooms.render(room, path[0], SMALL, exposure=0.5),
    ):
        assert np.array_equal(other.depth_m, sharp.depth_m) and np.array_equal(other.plane, sharp.plane)
        assert not np.array_equal(other.colour, sharp.colour)
    dark = rooms.render(room, path[0], SMALL, exposure=0.25).colour.astype(float)
    clear = sharp.colour < 250
    # a quarter of the light is half of the picture's value
    assert np.abs(dark - sharp.colour / 2)[clear].max() < 1.5
    with pytest.raises(ValueError, match="mirrors"):
        rooms.render(room, path[0] @ np.diag([1.0, 1, -1, 1]), SMALL)


def test_an_unknown_kind_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="bedroom, living"):
        rooms.room(0, "cave")


@pytest.mark.parametrize("kind", list(interiors.KINDS))
def test_every_kind_holds_what_it_is_named_for(kind: str) -> None:
    expected = {
        "bedroom": {4}, "living": {6, 5}, "office": {14}, "kitchen": {12, 24}, "bathroom": {33, 34}, "studio": {4, 12},
        "meeting": {7, 5}, "store": {15, 10, 29},
    }[kind]  # fmt: skip
    found = {thing.label for seed in (50, 51, 52) for thing in rooms.room(seed, kind).things}
    assert expected <= found and {1, 2, 22, 8} <= found


def test_class_shares_are_like_those_of_scanned_rooms() -> None:
    """Within wide bounds around ScanNet's; all of the benchmark's classes occur."""
    total = np.zeros(len(nyu40.NAMES))
    present: set[int] = set()
    for seed in range(60, 68):
        room = rooms.room(seed)
        present |= {thing.label for thing in room.things}
        for pose in rooms.walk(room, 0, frames=8, fps=0.4):
            total += np.bincount(rooms.render(room, pose, SMALL).label.reshape(-1), minlength=len(total))
    share = total / total.sum()
    assert share[0] == 0 and 0.15 < share[1] < 0.55 and 0.08 < share[2] < 0.35
    assert share[[1, 2, 22]].sum() < 0.75
    present |= {t.label for kind in ("bathroom", "kitchen") for s in (70, 71, 72) for t in rooms.room(s, kind).things}
    missing = set(nyu40.SCANNET20) - present
    assert missing <= {38}  # "otherstructure" is nothing in particular


def test_every_maker_makes_solid_outward_pieces() -> None:
    rng = np.random.default_rng(4)
    look = textures.Palette(rng)
    own = {name: f for name, f in vars(furniture).items() if getattr(f, "__module__", "") == furniture.__name__}
    makers = [f for name, f in own.items() if not name.startswith("_") and name not in ("Piece", "Top", "pick")]
    assert len(makers) > 50
    for maker in makers:
        for _ in range(3):
            piece = maker(rng, look)
            assert piece.name in interiors.CLASSES, maker.__name__
            assert len(piece.polygons) == len(piece.materials) > 0
            assert (np.array(piece.boxes)[:, 1::2] >= np.array(piece.boxes)[:, ::2] - 1e-9).all()
            # faces of closed solids cancel: the sum of area vectors vanishes (sheets have two sides)
            total = np.zeros(3)
            for polygon in piece.polygons:
                spokes = polygon[1:] - polygon[0]
                total += np.cross(spokes[:-1], spokes[1:]).sum(0) / 2
            assert np.abs(total).max() < 1e-4, maker.__name__


@pytest.mark.parametrize("kind", list(textures.PAINTERS))
def test_textures_have_their_size_and_depend_on_the_seed(kind: str) -> None:
    first, again = (textures.PAINTERS[kind](np.random.default_rng(3)) for _ in range(2))
    assert first.shape == (renderer.TEXTURE, renderer.TEXTURE, 3) and np.array_equal(first, again)
    assert np.isfinite(first).all() and first.min() > -0.5 and first.max() < 2


def test_labels_map_to_the_smaller_sets() -> None:
    assert nyu40.scannet20(np.array([1, 2, 39, 40, 0])).tolist() == [0, 1, 19, -1, -1]
    assert nyu40.planemvs_of(5) == nyu40.PLANEMVS_NAMES.index("chair")
    assert nyu40.planemvs_of(39, "garbage bin") == nyu40.PLANEMVS_NAMES.index("garbage bin")
    assert nyu40.planemvs_of(40, "cup") == 0
    assert len(nyu40.SCANNET20) == 20 and len(nyu40.NAMES) == 41
