"""Planes from posed pictures: geometry against explicit references, the network, fusion, and what bad input gets."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.transform import Rotation
from torch.nn import functional

import percepta
from percepta.config import from_json, to_json
from percepta.contract import Evaluation, Step
from percepta.datasets.nyu40 import PLANEMVS_NAMES
from percepta.datasets.posed_folder import NO_UNIT
from percepta.geometry import ply
from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics, plane_depth, project, rays
from percepta.media.source import answers
from percepta.report import Gallery
from percepta.systems.planes import PRESETS, data, head, kept, sweep, world
from percepta.systems.planes.evaluate import evaluate, plane_depths
from percepta.systems.planes.fusion import CELL_M, FusedScene, Fusion, outlines_of, upwards
from percepta.systems.planes.head import HeadOutput, detect
from percepta.systems.planes.losses import combined, loss, pixel_planes
from percepta.systems.planes.model import LOSSES, Context, PlaneNet, Polish, Regulariser, ResNet50, run
from percepta.systems.planes.predict import Planes, View, decode
from percepta.systems.planes.pseudo import planes_of_depth
from percepta.systems.planes.world import Box
from percepta.worlds import rooms

TINY = PRESETS["tiny"]
CAMERA = Intrinsics(80.0, 84.0, 46.0, 33.0, 96, 64)
READ = {"depth_levels": 24, "polish_steps": 1, "context_channels": 16}  # as the preset that ships compares
OTHER = Intrinsics(75.0, 77.0, 50.0, 30.0, 96, 64)


def tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values)).double()


def move(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A random plane in front of the camera, and a source_from_reference."""
    rng = np.random.default_rng(seed)
    normal = -poses.facing(rng.uniform(-0.8, 0.8), rng.uniform(-0.8, 0.8))[:, 2][[1, 2, 0]]
    plane = normal / (-normal[2] * rng.uniform(0.8, 4))
    return plane, poses.compose(poses.from_vector(rng.normal(0, 0.1, 3)), rng.normal(0, 0.15, 3))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 99_999))
def test_a_homography_is_back_project_transform_project(seed: int) -> None:
    plane, source_from_reference = move(seed)
    way = sweep.carrier(
        tensor(CAMERA.matrix)[None], tensor(OTHER.matrix)[None], tensor(source_from_reference)[None], 64, 96
    )
    at = sweep.places(way, tensor(plane)[None])[0, 0].numpy()
    depth = plane_depth(plane, CAMERA)
    seen = np.isfinite(depth) & (depth < 100)
    there = poses.transform(source_from_reference, rays(CAMERA)[seen] * depth[seen, None])
    expected, z = project(there, OTHER)
    ahead = z > 0.05
    assert ahead.any()
    np.testing.assert_allclose(at[seen][ahead], expected[ahead], rtol=1e-6, atol=1e-6)


def test_sampling_in_one_grid_is_one_call_a_hypothesis() -> None:
    torch.manual_seed(0)
    features, at = torch.randn(2, 3, 9, 11), torch.rand(2, 5, 4, 6, 2) * torch.tensor([14.0, 12]) - 2
    got = sweep.sample(features, at)
    for k in range(5):
        grid = at[:, k] * torch.tensor([2 / 10, 2 / 8]) - 1
        one = functional.grid_sample(features, grid, "bilinear", "zeros", align_corners=True)
        torch.testing.assert_close(got[:, :, k], one)


@pytest.mark.parametrize("groups", [None, 2])
@pytest.mark.parametrize("pooled", [1, 2])
def test_pieces_make_the_whole_volume(groups: int | None, pooled: int) -> None:
    torch.manual_seed(0)
    planes = sweep.hypotheses((2, 3, 4), ((-1.0, 1.0), (-1.0, 1.0), (-2.0, 0.5)))
    own, other = torch.randn(1, 4, 8, 12), torch.randn(1, 4, 8, 12)
    small = sweep.scaled(torch.from_numpy(CAMERA.matrix).float()[None], 1 / 8)
    way = sweep.carrier(small, small, torch.from_numpy(move(1)[1]).float()[None], 8, 12)
    whole = next(sweep.costs(own, [other], [way], planes, 24, groups, pooled=pooled))
    parts = list(sweep.costs(own, [other], [way], planes, 5, groups, pooled=pooled))
    assert len(parts) == 5
    torch.testing.assert_close(torch.cat(parts, 2), whole)
    network = Regulariser(whole.shape[1], 4, direct=groups is not None)
    with torch.no_grad():
        torch.testing.assert_close(network.stream(iter(parts)), network(whole), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("groups", [None, 2])
def test_the_volume_of_a_training_has_the_gradients_of_one_that_is_kept(
    groups: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    planes = sweep.hypotheses((2, 3, 4), ((-1.0, 1.0), (-1.0, 1.0), (-2.0, 0.5)))
    own, first, second = (torch.randn(1, 4, 8, 12, requires_grad=True) for _ in range(3))
    small = sweep.scaled(torch.from_numpy(CAMERA.matrix).float()[None], 1 / 8)
    ways = [sweep.carrier(small, small, torch.from_numpy(move(k)[1]).float()[None], 8, 12) for k in (1, 2)]
    made = torch.cat(list(sweep.costs(own, [first, second], ways, planes, 5, groups, pooled=2)), 2)
    monkeypatch.setattr(sweep, "checkpoint", lambda function, *args, use_reentrant: function(*args))
    kept = next(sweep.costs(own, [first, second], ways, planes, 24, groups, pooled=2))
    torch.testing.assert_close(made, kept)
    pull = torch.randn_like(kept)
    expected = torch.autograd.grad((kept * pull).sum(), [own, first, second])
    for got, wanted in zip(torch.autograd.grad((made * pull).sum(), [own, first, second]), expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


def smooth(seed: int, channels: int, h: int, w: int) -> torch.Tensor:
    """Features without detail finer than a few places, where linear interpolation along a sight line is good."""
    torch.manual_seed(seed)
    coarse = torch.randn(1, channels, h // 4 + 2, w // 4 + 2)
    return functional.normalize(functional.interpolate(coarse, (h, w), mode="bicubic", align_corners=True), dim=1)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 99_999))
def test_hypotheses_read_off_levels_are_those_of_the_sweep(seed: int) -> None:
    """Between levels, and over 2 × 2 places at the middle one's depth, instead of each place carried by the plane."""
    own, other = smooth(seed, 4, 16, 24), smooth(seed + 1, 4, 16, 24)
    quarter = sweep.scaled(torch.from_numpy(CAMERA.matrix).float()[None], 1 / 4)
    way = sweep.carrier(quarter, quarter, torch.from_numpy(move(seed)[1]).float()[None], 16, 24)
    volume = next(sweep.costs(own, [other], [way], sweep.facing(120, own), 120, 2))
    sight = sweep.rays(sweep.scaled(torch.from_numpy(CAMERA.matrix).float()[None], 1 / 8), 8, 12)
    planes = sweep.hypotheses((3, 3, 4), ((-0.6, 0.6), (-0.6, 0.6), (-2.0, 0.3)))
    swept = next(sweep.costs(own, [other], [way], planes, 99, 2, pooled=2))
    read = sweep.hypothesis_costs(volume, planes, sight)
    inverse = -torch.einsum("nc,bchw->bnhw", planes, sight)
    ahead, behind = inverse > 0.15, inverse <= 0  # in a strip around infinity a part of 2 × 2 places lies behind
    apart = (read - swept).abs().mean(1)
    assert float(apart[ahead].mean()) < 0.1 * float(swept.abs().mean())
    assert bool((read.mean(1)[behind] == sweep.BEHIND).all()) and bool(behind.any())


def test_a_level_reads_as_itself_and_between_two_lies_their_mean() -> None:
    volume = torch.randn(2, 3, 7, 4, 5)
    inverse = -sweep.facing(7, volume)[:, 2]
    assert float(inverse[-1]) == pytest.approx(1 / sweep.CLOSEST_M)
    at = inverse[None, :, None, None].expand(2, 7, 4, 5)
    torch.testing.assert_close(sweep.read(volume, at), volume)
    between = sweep.read(volume, (at[:, 1:] + at[:, :-1]) / 2)
    torch.testing.assert_close(between, (volume[:, :, 1:] + volume[:, :, :-1]) / 2)
    beyond = sweep.read(volume, torch.tensor([-1.0, 99.0])[None, :, None, None].expand(2, 2, 4, 5))
    torch.testing.assert_close(beyond, volume[:, :, [0, -1]])


def test_polishing_starts_as_nothing_and_asks_around_the_plane() -> None:
    torch.manual_seed(0)
    polish = Polish(groups=2, channels=3)
    plane, sight = torch.randn(1, 3, 4, 5), torch.randn(1, 3, 4, 5)
    volume, features = torch.randn(1, 2, 32, 4, 5), torch.randn(1, 3, 4, 5)
    assert torch.equal(polish(plane, volume, features, sight), plane)
    torch.nn.init.normal_(polish.body[2].weight)  # type: ignore[arg-type]
    before = polish(plane, volume, features, sight)
    assert not torch.equal(before, plane) and not torch.equal(polish(plane, -volume, features, sight), before)


def test_parallax_is_how_far_places_move_with_depth() -> None:
    reference, source, pose = (tensor(m)[None] for m in (CAMERA.matrix, OTHER.matrix, move(5)[1]))
    way = sweep.carrier(reference, source, pose, 64, 96)
    far, near = (sweep.places(way, tensor(np.array([[0, 0, -w]])))[0, 0] for w in (0.0, 0.5))
    torch.testing.assert_close(sweep.parallax(way)[0, 0], 2 * (near - far).norm(dim=-1))


def test_context_starts_as_nothing_and_takes_any_size() -> None:
    torch.manual_seed(0)
    context = Context(channels=4, hypotheses=6, width=8)
    for h, w in ((4, 6), (5, 7), (8, 12)):
        plane, sure, score, s8, moved = (torch.randn(2, c, h, w) for c in (3, 1, 6, 4, 1))
        corrected, features = context(plane, sure, score, s8, moved)
        assert torch.equal(corrected, plane) and features.shape == (2, 8, h, w)
        # Softmax knows no constant in all scores, and neither does what reads them.
        torch.testing.assert_close(context(plane, sure, score + 3, s8, moved)[1], features, rtol=1e-4, atol=1e-5)


def test_only_sources_that_see_a_hypothesis_count() -> None:
    planes = torch.tensor([[0.0, 0.0, -0.5]])
    own = torch.ones(1, 2, 8, 12)
    small = sweep.scaled(torch.from_numpy(CAMERA.matrix).float()[None], 1 / 8)
    still, away = torch.eye(4)[None], torch.eye(4)[None].clone()
    away[0, 0, 3] = 50.0
    ways = [sweep.carrier(small, small, m, 8, 12) for m in (still, away)]
    seen = next(sweep.costs(own, [own, own], ways, planes, 1, 1, visible_only=True))
    mean = next(sweep.costs(own, [own, own], ways, planes, 1, 1, visible_only=False))
    torch.testing.assert_close(seen, torch.ones_like(seen), atol=1e-3, rtol=0)
    torch.testing.assert_close(mean, seen / 2)


def test_soft_argmin_finds_the_plane_of_a_textured_pair() -> None:
    """Colours themselves are the features: the right hypothesis among 75 matches best, and its mean is the plane."""
    planes = sweep.hypotheses((5, 5, 3), ((-0.6, 0.6), (-0.6, 0.6), (-1.0, -0.4)))
    chosen = 5 * 3 * 1 + 3 * 3 + 1
    plane = planes[chosen].double().numpy()
    source_from_reference = poses.compose(poses.from_vector(np.array([0.01, -0.02, 0.01])), np.array([0.3, 0.25, 0.05]))
    rng = np.random.default_rng(0)
    waves = rng.normal(0, 9, (24, 2))
    phase = rng.uniform(0, 6, (24, 3))

    def colours(points: np.ndarray) -> np.ndarray:  # a texture in space, looked up on the plane
        return np.sin((points[..., :2] @ waves.T)[..., None] + phase).mean(-2)

    reference = colours(rays(CAMERA) * plane_depth(plane, CAMERA)[..., None])
    back = poses.inverse(source_from_reference)
    normal, length = plane / np.linalg.norm(plane), 1 / np.linalg.norm(plane)
    turned = source_from_reference[:3, :3] @ normal
    there = turned / (length - turned @ source_from_reference[:3, 3])
    source = colours(poses.transform(back, rays(CAMERA) * plane_depth(there, CAMERA)[..., None]))
    k = torch.from_numpy(CAMERA.matrix).float()[None]
    way = sweep.carrier(k, k, torch.from_numpy(source_from_reference).float()[None], 64, 96)
    own, other = (torch.from_numpy(np.moveaxis(x, -1, 0)).float()[None] for x in (reference, source))
    warped, inside = sweep.warp(other, way, planes)
    apart = ((warped - own[:, :, None]) ** 2).mean(1) + 10 * (1 - inside[:, 0])
    score = -functional.avg_pool2d(apart, 21, 1, 10) * 4000
    mean, sure = sweep.soft_argmin(score, planes)
    middle = (slice(None), slice(16, 48), slice(24, 60))
    error = (mean[0] - planes[chosen][:, None, None]).abs()[middle]
    assert float(error.median()) < 0.02 and float(sure[0][middle].median()) > 0.5


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 9999))
def test_convex_upsampling_keeps_constants_and_planes(seed: int) -> None:
    """One plane has one p everywhere: what keeps constants keeps its depth, at the border too."""
    torch.manual_seed(seed)
    plane = torch.randn(3)
    values = plane[None, :, None, None].expand(1, 3, 4, 6)
    fine = sweep.convex_upsample(values, 5 * torch.randn(1, 9 * 64, 4, 6))
    assert fine.shape == (1, 3, 32, 48)
    torch.testing.assert_close(fine, plane[None, :, None, None].expand_as(fine))
    bounded = sweep.convex_upsample(torch.rand(1, 1, 4, 6), torch.randn(1, 9 * 64, 4, 6))
    assert float(bounded.min()) >= 0 and float(bounded.max()) <= 1


def test_depth_of_a_plane_and_back() -> None:
    plane, _ = move(5)
    sight = sweep.rays(tensor(CAMERA.matrix)[None], 64, 96)
    depth = sweep.depth_of(tensor(plane)[None, :, None, None].expand(1, 3, 64, 96), sight, 0.1, 10.0)[0].numpy()
    expected = np.clip(plane_depth(plane, CAMERA), 0.1, 10)
    np.testing.assert_allclose(depth, expected, rtol=1e-6)
    np.testing.assert_allclose(plane_depths(plane[None], CAMERA.matrix, 64, 96)[0].clip(0.1), expected, rtol=1e-6)


def test_resnet50_is_table_1_of_he_et_al() -> None:
    """The oracle reads weights by place and writes the table out: kernel, stride, padding, statistics, sums."""
    torch.manual_seed(0)
    net = ResNet50()
    convolutions = [m for m in net.modules() if isinstance(m, torch.nn.Conv2d)]
    norms = [m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert sum(v.numel() for v in net.parameters()) == 25_557_032 - 1000 * 2049, "published, less the linear layer"
    assert len(convolutions) == len(norms) == 53
    for norm in norms:
        for value in (norm.running_mean, norm.weight, norm.bias):
            torch.nn.init.normal_(value, std=0.3)
        torch.nn.init.uniform_(norm.running_var, 0.5, 2.0)
    layers = iter(zip(convolutions, norms, strict=True))

    def layer(x: torch.Tensor, size: int, stride: int = 1) -> torch.Tensor:
        convolution, norm = next(layers)
        assert convolution.weight.shape[2:] == (size, size)
        y = functional.conv2d(functional.pad(x, [size // 2] * 4), convolution.weight, stride=stride)
        mean, var, scale, shift = (
            v[:, None, None] for v in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
        )
        return (y - mean) / (var + 1e-5).sqrt() * scale + shift

    image = torch.rand(2, 3, 65, 43)
    net.train()  # which changes nothing
    with torch.no_grad():
        maps = net(image)
        x = layer((image - 0.449) / 0.226, 7, 2).relu()
        windows = functional.pad(x, [1] * 4).unfold(2, 3, 2).unfold(3, 3, 2)  # what is padded with 0 is never above
        x = windows.amax((-1, -2))
        for (count, channels, first), found in zip(
            ((3, 256, 1), (4, 512, 2), (6, 1024, 2), (3, 2048, 2)), maps, strict=True
        ):
            for i in range(count):
                stride = first if i == 0 else 1
                y = layer(layer(layer(x, 1).relu(), 3, stride).relu(), 1)
                x = (y + (layer(x, 1, stride) if i == 0 else x)).relu()
            assert found.shape[1] == channels
            torch.testing.assert_close(found, x, rtol=1e-4, atol=1e-4)
        assert [tuple(m.shape[2:]) for m in maps] == [(17, 11), (9, 6), (5, 3), (3, 2)]


def test_hypotheses_are_the_published_grid() -> None:
    config = PRESETS["paper"]
    planes = sweep.hypotheses(config.hypothesis_counts, config.hypothesis_ranges)
    assert planes.shape == (512, 3) and len(torch.unique(planes, dim=0)) == 512
    assert planes.amin(0).tolist() == [-2, -2, -2] and planes.amax(0).tolist() == [2, 2, 0.5]
    fronto = sweep.hypotheses(config.hypothesis_counts, config.hypothesis_ranges, fronto=True)
    assert fronto.shape == (512, 3) and not fronto[:, :2].any() and float(fronto[:, 2].max()) < 0


# --- the synthetic world ----------------------------------------------------------------------------------------------


def test_boxes_show_the_same_points_to_both_cameras() -> None:
    pair = data.source(TINY, "train", None)[3]
    planes, known = pixel_planes(torch.from_numpy(pair.segments).long()[None], torch.from_numpy(pair.planes)[None])
    assert bool(known.all())
    sight = sweep.rays(torch.from_numpy(pair.camera.matrix)[None], 64, 96)
    depth = sweep.depth_of(planes, sight, 0.05, 50.0)[0].numpy()
    np.testing.assert_allclose(depth, pair.depth_m, rtol=1e-4)
    points = poses.transform(pair.source_from_reference[0], rays(pair.camera) * pair.depth_m[..., None])
    at, z = project(points, pair.camera)
    inside = (z > 0) & (at >= 0).all(-1) & (at <= (95, 63)).all(-1)
    u, v = np.rint(at[inside]).astype(int).T
    gap = np.abs(pair.sources[0][v, u].astype(int) - pair.image[inside].astype(int)).mean()
    mixed = np.abs(pair.sources[0][v[::-1], u[::-1]].astype(int) - pair.image[inside].astype(int)).mean()
    assert inside.mean() > 0.3 and gap < 0.6 * mixed


def test_a_mirrored_pair_is_a_pair() -> None:
    pair = data.source(TINY, "train", None)[1]
    twin = data.mirrored(pair)
    both = [(pair, slice(None)), (twin, slice(None, None, -1))]
    ends = []
    for p, order in both:
        there = poses.transform(p.source_from_reference[0], rays(p.camera) * p.depth_m[..., None])
        ends.append(project(there, p.camera)[0][:, order])
        inverse = -(rays(p.camera) * p.planes[p.segments]).sum(-1)
        np.testing.assert_allclose(1 / inverse, p.depth_m, rtol=1e-4)
    np.testing.assert_allclose(95 - ends[1][..., 0], ends[0][..., 0], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(ends[1][..., 1], ends[0][..., 1], rtol=1e-4, atol=1e-3)


def test_noisy_poses_stay_rigid_and_turn_by_about_what_was_asked() -> None:
    pair, rng = data.source(TINY, "train", None)[1], np.random.default_rng(0)
    assert np.array_equal(data.with_pose_noise(pair, 0.0, rng).source_from_reference, pair.source_from_reference)
    turns = []
    for _ in range(400):
        move, true = data.with_pose_noise(pair, 0.5, rng).source_from_reference[0], pair.source_from_reference[0]
        np.testing.assert_allclose(move[:3, :3] @ move[:3, :3].T, np.eye(3), atol=1e-12)
        assert np.array_equal(move[:, 3], true[:, 3])
        turns.append(np.degrees(poses.angle(move[:3, :3] @ true[:3, :3].T)))
    assert 0.65 < np.mean(turns) < 0.95  # an exponential of mean 0.5 times the length of a normal vector, sqrt(8 / π)
    train, plain = (
        data.Samples(replace(TINY, pose_noise_deg=0.5), data.source(TINY, "train", None), t) for t in (True, False)
    )
    first, second = (np.asarray(s[(0, 1)]["source_from_reference"]) for s in (train, plain))
    assert np.abs(np.abs(first) - np.abs(second)).max() > 1e-4  # absolute: it may be mirrored, too


def test_a_blurred_picture_of_a_room_is_not_a_shifted_one() -> None:
    """Its pose and depth are those of the middle of the exposure, not of its beginning."""
    source = world.Rooms(replace(PRESETS["small"], rooms=1, pairs_per_room=1), "train")
    room, camera = rooms.room(0), Intrinsics(180.0, 180.0, 79.5, 59.5, 160, 120)
    path = rooms.walk(room, 0, frames=60, fps=15)
    found = []
    for i in range(5, 55, 3):
        sharp, ahead = (rooms.render(room, path[k], camera).colour.mean(-1) for k in (i, i + 1))
        blurred = source._picture(room, path, i, camera, Blurring(i)).colour.mean(-1)
        # By least squares: brightness, contrast, and how far along the way from this picture to the next.
        smooth = [ndimage.gaussian_filter(x, 3.0) for x in (sharp, ahead, blurred)]
        columns = np.stack([smooth[0], np.ones_like(sharp), smooth[1] - smooth[0]], -1).reshape(-1, 3)
        found.append(np.linalg.lstsq(columns, smooth[2].ravel(), rcond=None)[0][2])
    assert abs(np.median(found)) < 0.06  # from its beginning on it would be an eighth or more


class Blurring(np.random.Generator):
    """Always opens the shutter for a while, and for long."""

    def __init__(self, seed: int) -> None:
        super().__init__(np.random.PCG64(seed))

    def random(self, *args: object, **more: object) -> float:  # type: ignore[override]
        return 0.0

    def uniform(self, low: float = 0.0, high: float = 1.0, *args: object) -> float:  # type: ignore[override]
        return high if (low, high) == (0.1, 0.5) else (low + high) / 2


def test_kept_pairs_are_the_same_pairs(tmp_path: Path) -> None:
    source = world.Boxes(replace(TINY, rooms=20), "train")
    kept.write(source, tmp_path / "a", part=(0, 2))
    kept.write(source, tmp_path / "b", part=(1, 2))
    train, val, every = (data.source(TINY, split, tmp_path) for split in ("train", "val", "all"))
    assert (len(train), len(val), len(every)) == (18, 2, 20)
    seen = [{data.source(TINY, s, tmp_path)[i].group for i in range(n)} for s, n in (("train", 18), ("val", 2))]
    assert not seen[0] & seen[1]
    samples = data.Samples(TINY, every, False)
    before, after = data.Samples(TINY, source, False)[(0, 2)], samples[(0, 1)]  # the second row of part 0
    assert np.array_equal(before["image"], after["image"]) and np.array_equal(before["segments"], after["segments"])
    np.testing.assert_allclose(before["planes"], after["planes"], rtol=1e-6)
    np.testing.assert_allclose(before["depth"], after["depth"], atol=6e-4)


def test_a_centre_lies_on_its_plane() -> None:
    coarse = np.zeros((7, 9), int)
    coarse[1:6, 1:8] = 1
    coarse[2:5, 2:7] = 2  # 1 is a frame around 2: its centre of gravity lies on 2
    centres, heat = data.targets(coarse, np.array([True, True, True, False]))
    assert all(coarse[tuple(centres[k])] == k for k in range(3)) and centres[3].tolist() == [-1, -1]
    assert [heat[tuple(centres[k])] for k in range(3)] == [1, 1, 1] and (heat == 1).sum() == 3


def test_ransac_finds_the_sides_of_a_box() -> None:
    box, camera = Box(7), Intrinsics(140.0, 140.0, 79.5, 59.5, 160, 120)
    shot = box.render(camera, box.cameras(np.random.default_rng(4), (0.1, 0.2))[0])
    rng = np.random.default_rng(0)
    noisy = shot.depth_m + rng.normal(0, 0.002, shot.depth_m.shape).astype(np.float32)
    noisy[50:54, 30:60] = 0
    found = planes_of_depth(noisy, camera)
    for side in np.unique(shot.side):
        own = shot.side == side
        if own.mean() < 0.08:
            continue
        number = np.bincount(found.index[own] + 1).argmax() - 1
        part = found.index == number
        assert number >= 0 and (part & own).sum() / (part | own).sum() > 0.8
        assert found.normal[number] @ shot.normal[side] > np.cos(np.radians(1.5))
        assert found.offset[number] == pytest.approx(shot.offset[side], abs=0.02)
    nothing = planes_of_depth(np.zeros((40, 40), np.float32), Intrinsics(40.0, 40.0, 20.0, 20.0, 40, 40))
    assert len(nothing.offset) == 0 and (nothing.index == -1).all()


def test_blocks_of_a_sequence_do_not_touch() -> None:
    parts = {split: data.blocks(300, split)[0] for split in ("train", "val", "test")}
    assert parts["train"] == range(150) and parts["val"] == range(170, 210) and parts["test"] == range(230, 300)
    with pytest.raises(ValueError, match="splits"):
        data.blocks(300, "dev")


# --- the network ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def batch() -> dict:
    samples = data.Samples(TINY, data.source(TINY, "train", None), False)
    return samples.collate([samples[(0, i)] for i in range(3)])


def test_ten_losses_add_up_with_their_uncertainties(batch: dict) -> None:
    torch.manual_seed(0)
    model = PlaneNet(TINY)
    assert len(LOSSES) == 10 and model.uncertainty.tolist() == [-1] * 10
    with torch.no_grad():
        out = loss(model, batch, Step(0, 0, torch.Generator().manual_seed(0)))
    expected = sum(np.e * float(out[name]) - 1 for name in LOSSES)
    assert float(out["loss"]) == pytest.approx(expected, rel=1e-5)
    # The best s of a constant loss L is ln L: then exp(-s) L is 1.
    parts = {name: torch.tensor(2.0) for name in LOSSES}
    best = float(combined(parts, torch.full((10,), float(np.log(2)))))
    assert best == pytest.approx(10 * (1 + np.log(2)), rel=1e-5)
    assert best < float(combined(parts, torch.full((10,), 0.8))) and best < float(
        combined(parts, torch.full((10,), 0.6))
    )


@pytest.mark.parametrize("change", [{}, READ])
def test_a_batch_without_planes_still_trains(batch: dict, change: dict) -> None:
    model = PlaneNet(replace(TINY, **change))
    empty = {**batch, "segments": torch.full_like(batch["segments"], -1), "instance": batch["instance"] & False,
             "heat": batch["heat"] * 0}  # fmt: skip
    out = loss(model, empty, Step(0, 0, torch.Generator().manual_seed(0)))
    out["loss"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_streaming_changes_no_answer(batch: dict) -> None:
    torch.manual_seed(0)
    for settings_ in ({}, {"cost": "concat"}, {"context_channels": 16}, {"sweep": "fronto"}, {"match_stride": 8}, READ):
        model = PlaneNet(replace(TINY, chunk_size=7, **settings_)).eval()
        whole = run(model, batch)
        with torch.no_grad():
            pieces = run(model, batch)
        torch.testing.assert_close(pieces.refined, whole.refined.detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("change", [{}, READ])
def test_more_sources_are_taken(batch: dict, change: dict) -> None:
    model = PlaneNet(replace(TINY, **change)).eval()
    twice = {**batch, **{k: batch[k].repeat(1, 2, *[1] * (batch[k].ndim - 2))
                         for k in ("sources", "source_matrices", "source_from_reference")}}  # fmt: skip
    with torch.no_grad():
        torch.testing.assert_close(run(model, twice).refined, run(model, batch).refined, rtol=1e-4, atol=1e-4)


def test_one_peak_is_one_plane() -> None:
    heat = torch.full((1, 1, 4, 6), -9.0)
    heat[0, 0, 1, 2] = heat[0, 0, 1, 3] = 5.0  # two equal peaks side by side: the same mask, one plane
    kernels = torch.zeros(1, PlaneNet(TINY).head.kernels.out_channels, 4, 6)
    kernels[:, -1] = 4.0
    output = HeadOutput(heat, torch.zeros(1, 12, 4, 6), torch.full((1, 1, 4, 6), 3.0), kernels,
                  torch.zeros(1, 8, 8, 12), torch.zeros(1, 3, 8, 12))  # fmt: skip
    limits = {"max_planes": 8, "score_threshold": 0.3, "min_area": 0.01}
    one = detect(output, 0, **limits)
    assert len(one.score) == 1 and bool((one.mask > 0.9).all())
    assert len(detect(output._replace(heat=heat - 20), 0, **limits).score) == 0


def test_masks_are_read_by_each_centre_s_own_network() -> None:
    """Pixel by pixel, as the top of head.py describes it."""
    torch.manual_seed(0)
    tall, wide, h, w = 3, 5, 6, 10
    output = HeadOutput(*(torch.zeros(2, 1, tall, wide) for _ in range(3)), torch.randn(2, head.PARAMETERS, tall, wide),
                        torch.randn(2, head.BASIS, h, w), 2 * torch.randn(2, 3, h, w))  # fmt: skip
    owner, row, column = (torch.tensor(places) for places in ([1, 0, 1], [2, 0, 1], [4, 1, 3]))
    found = head.masks(output, owner, row, column)
    for i, (b, r, c) in enumerate(zip(owner.tolist(), row.tolist(), column.tolist(), strict=True)):
        weights = output.kernels[b, :, r, c]
        first, rest = weights[: head.INPUTS * head.HIDDEN].view(head.HIDDEN, -1), weights[head.INPUTS * head.HIDDEN :]
        here = output.plane[b, :, 2 * r + 1, 2 * c + 1]  # the middle of a coarse pixel is between four fine ones
        for y in range(h):
            for x in range(w):
                down, right = (y + 0.5) / h - (r + 0.5) / tall, (x + 0.5) / w - (c + 0.5) / wide
                away = torch.tensor([2 * down, 2 * right])
                apart = (output.plane[b, :, y, x] - here).clamp(-2, 2)
                hidden = first @ torch.cat([output.basis[b, :, y, x], away, apart]) + rest[: head.HIDDEN]
                wanted = rest[head.HIDDEN : 2 * head.HIDDEN] @ hidden.relu() + rest[-1]
                torch.testing.assert_close(found[i, y, x], wanted, rtol=1e-4, atol=1e-4)


def test_instance_planes_replace_pixel_planes_where_they_are(batch: dict) -> None:
    torch.manual_seed(0)
    model = PlaneNet(TINY).eval()
    with torch.no_grad():
        model.head.heat.bias.fill_(2.0)  # type: ignore[union-attr]
        output = run(model, batch)
        found = decode(model, output, batch["matrix"], 0, score_threshold=0.01, max_planes=8)
    assert len(found.label) > 0
    outside = found.index < 0
    np.testing.assert_array_equal(found.depth_m[outside], found.pixel_depth_m[outside])
    depths = plane_depths(found.plane, batch["matrix"][0].double().numpy(), 64, 96)
    for i in range(len(found.label)):
        own = (found.index == i) & (found.depth_m != found.pixel_depth_m)
        np.testing.assert_allclose(found.depth_m[own], depths[i][own], rtol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth_levels": 1}, "depth_levels is 0 or from 2 on"),
        ({"depth_levels": 8, "cost": "concat"}, "depth_levels are for cost"),
        ({"depth_levels": 8, "match_stride": 8}, "depth_levels are for cost"),
        ({"depth_levels": 0, "polish_steps": 1}, "give depth_levels as well"),
        ({"context_channels": -1}, "from 0 on"),
        ({"match_stride": 16}, "match_stride.* 4.* 8"),
    ],
)
def test_settings_that_do_not_fit_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_json(type(TINY), to_json(TINY) | change)


def test_an_evaluation_shows_no_more_examples_than_asked_for(batch: dict) -> None:
    torch.manual_seed(0)
    model = PlaneNet(TINY).eval()
    with torch.no_grad():
        plain, shown = evaluate(model, [batch] * 3), evaluate(model, [batch] * 3, examples=4)
    assert plain.blocks == () and plain.metrics == shown.metrics and plain.metrics["AbsRel"].n == 9
    (gallery,) = (block for block in shown.blocks if isinstance(block, Gallery))
    assert len(gallery.pictures) == 4 and "<img" in gallery.html()


# --- predicting -------------------------------------------------------------------------------------------------------


def not_evaluated(*_: object, **__: object) -> Evaluation:
    raise NotImplementedError


def system(model: PlaneNet) -> Planes:
    return Planes(model.config, model.eval(), "", not_evaluated, answers)


def views(seed: int = 3, count: int = 2) -> list[View]:
    box, camera = Box(seed), Intrinsics(90.0, 90.0, 49.5, 39.5, 100, 80)
    first, second = box.cameras(np.random.default_rng(0), (0.1, 0.2))
    path = poses.interpolate(first, second, np.linspace(0, count - 1, count))
    return [View(box.render(camera, pose).colour, camera, pose) for pose in path]


def broken(kind: str) -> list[View]:
    first, second = views()
    pose = second.world_from_camera.copy()
    match kind:
        case "baseline":
            pose[:3, 3] = first.world_from_camera[:3, 3]
        case "overlap":
            pose[:3, :3] = pose[:3, :3] @ poses.from_vector(np.array([0, np.pi, 0]))
        case "rotation":
            pose[:3, :3] *= 1.3
        case "nan":
            pose[0, 0] = np.nan
        case "intrinsics":
            return [first, replace(second, intrinsics=second.intrinsics.resized(200, 160))]
        case "sizes":
            small = replace(
                second, picture=np.asarray(second.picture)[:40], intrinsics=second.intrinsics.cropped(0, 0, 100, 40)
            )
            return [first, small]
        case "alone":
            return [first]
    return [first, replace(second, world_from_camera=pose)]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("baseline", "source 1 was taken 0.0 mm from the reference"),
        ("overlap", "does not overlap"),
        ("rotation", "the pose of source 1: the rotation is scaled by 1.3"),
        ("nan", "not finite"),
        ("intrinsics", "source 1 is 100×80 pixels but its intrinsics are for 200×160"),
        ("sizes", "one size, got the reference 100×80, source 1 100×40"),
        ("alone", "at least one source"),
    ],
)
def test_bad_input_is_named(kind: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        system(PlaneNet(TINY)).predict(*broken(kind))


def test_no_plane_found_is_said(tmp_path: Path) -> None:
    result = system(PlaneNet(TINY)).predict(*views(), score_threshold=0.99)
    assert len(result.label) == 0 and result.text.startswith("no plane found")
    assert (result.depth_m == result.pixel_depth_m).all() and result.parallax_px > 1
    result.save(tmp_path / "r.png")
    assert "no plane found" in json.loads((tmp_path / "r.json").read_text())["message"]
    assert np.load(tmp_path / "r.npz")["depth_m"].shape == (64, 96)
    assert Fusion().scene().draw().size == (640, 640)


def test_a_session_makes_a_scene() -> None:
    model = PlaneNet(TINY).eval()
    with torch.no_grad():
        model.head.heat.bias.fill_(3.0)  # type: ignore[union-attr]
    session = system(model).session(baseline_m=(0.05, 0.3), score_threshold=0.01, max_planes=8)
    walk = views(count=3)
    assert session.step(walk[0]) is None and session.step(walk[0]) is None
    assert session.step(walk[1]) is not None and session.step(walk[2]) is not None and session.frames == 2
    with pytest.raises(ValueError, match="the pose"):
        session.step(replace(walk[2], world_from_camera=np.eye(4) * 2))


def test_a_result_says_which_weights_gave_it() -> None:
    planes = percepta.load("planes", device="cpu")
    session = planes.session()
    walk = views(count=3)
    results = [result for view in walk if (result := session.step(view))]
    assert results and results[0].weights == planes.model.weights_hash != ""
    assert results[0].to_dict()["weights"] == session.scene().to_dict()["weights"] == results[0].weights


# --- scenes -----------------------------------------------------------------------------------------------------------


def rectangle(x: tuple[float, float], y: tuple[float, float], z: float, noise: float = 0.004) -> np.ndarray:
    rng = np.random.default_rng(0)
    flat = rng.uniform((x[0], y[0]), (x[1], y[1]), (6000, 2))
    return np.concatenate([flat, z + rng.normal(0, noise, (6000, 1))], 1)


def test_overlapping_planes_become_one() -> None:
    fusion, eye = Fusion(), np.array([0.5, 0.5, 1.5])
    assert fusion.add([rectangle((0, 2), (0, 1), 0.0)], eye, [3], [0.9]) == [0]
    table = rectangle((0.2, 1.0), (0.2, 0.8), 0.75)
    far = rectangle((6, 7), (0, 1), 0.0)  # the same plane, but elsewhere: another surface
    assert fusion.add([rectangle((1, 3), (0, 1), 0.01), table, far], eye, [3, 6, 3], [0.8, 0.7, 0.6]) == [0, 1, 2]
    scene = fusion.scene()
    assert [s.label for s in scene.surfaces] == ["floor", "floor", "table"]
    floor = scene.surfaces[0]
    assert (
        floor.area_m2 == pytest.approx(3.0, rel=0.06)
        and floor.frames == 2
        and scene.surfaces[2].area_m2 == pytest.approx(0.48, rel=0.12)
    )
    assert floor.normal == pytest.approx([0, 0, 1], abs=0.01)  # towards the eye
    assert np.abs(floor.world_from_plane[:3, :3].T @ floor.world_from_plane[:3, :3] - np.eye(3)).max() < 1e-9
    assert np.linalg.det(floor.world_from_plane[:3, :3]) == pytest.approx(1)
    outline = np.concatenate(floor.polygons)
    assert outline.min(0)[:2] == pytest.approx([0, 0], abs=0.08) and outline.max(0)[:2] == pytest.approx(
        [3, 1], abs=0.08
    )
    assert np.abs(outline @ floor.normal + floor.offset).max() < 1e-9


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99_999))
def test_a_wall_seen_with_errors_of_a_tenth_is_one_wall(seed: int) -> None:
    """Depth errs in proportion to the distance; a scene of one wall and one table has two surfaces all the same."""
    rng = np.random.default_rng(seed)
    fusion = Fusion()
    for _ in range(6):
        eye = np.array([rng.uniform(0.5, 2.5), rng.uniform(2.5, 4), 1.3])
        wall = rectangle((0, 3), (0, 2), 0.0)[:, [0, 2, 1]]  # y = 0
        table = rectangle((1, 2), (0.6, 1.4), 0.75)
        clouds = [eye + (cloud - eye) * rng.normal(1, 0.03) for cloud in (wall, table)]
        order = rng.permutation(2)
        fusion.add([clouds[i] for i in order], eye, [(1, 6)[i] for i in order], [0.9, 0.8])
    scene = fusion.scene()
    assert sorted((s.label, s.frames) for s in scene.surfaces) == [("table", 6), ("wall", 6)]
    assert abs(scene.surfaces[0].normal @ [0, 1, 0]) > np.cos(np.radians(10))


def test_two_parts_of_a_plane_become_one_once_something_joins_them() -> None:
    fusion, eye = Fusion(), np.array([1.5, 0.5, 1.5])
    ends = [rectangle((0, 1), (0, 1), 0.0), rectangle((2, 3), (0, 1), 0.01)]
    assert fusion.add(ends, eye, [3, 3], [0.9, 0.8]) == [0, 1] and len(fusion.scene().surfaces) == 2
    assert fusion.add([rectangle((0, 3), (0, 1), 0.0)], eye, [3], [0.7]) in ([0], [1])
    one = fusion.scene()
    assert [(s.label, s.frames) for s in one.surfaces] == [("floor", 2)]
    assert one.surfaces[0].area_m2 == pytest.approx(3.0, rel=0.06)
    # Asking for the scene changes nothing: numbers that were given out stay.
    assert len(fusion.parts) == 2 and fusion.scene().to_dict() == one.to_dict()
    assert not fusion.scene(min_frames=3).surfaces


def test_every_plane_of_a_frame_has_a_label_and_a_score() -> None:
    fusion = Fusion()
    with pytest.raises(ValueError, match="zip"):
        fusion.add([rectangle((0, 1), (0, 1), 0.0)], np.array([0, 0, 1.0]), [3, 1], [0.9])
    assert not fusion.parts and fusion.frames == 0


def test_both_sides_of_a_board_are_two() -> None:
    fusion, board = Fusion(), rectangle((0, 1), (0, 1), 0.0)
    fusion.add([board], np.array([0.5, 0.5, 1.5]), [0], [0.9])
    fusion.add([board], np.array([0.5, 0.5, -1.5]), [0], [0.9])
    assert sorted(round(s.normal[2]) for s in fusion.scene().surfaces) == [-1, 1]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 99_999))
def test_outlines_enclose_their_cells(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cells = rng.random((6, 7)) < 0.5
    from scipy import ndimage

    parts: np.ndarray
    parts, count = ndimage.label(cells)  # pyright: ignore[reportGeneralTypeIssues]
    lines = outlines_of(cells)
    assert len(lines) == count
    for i, line in enumerate(lines, 1):
        x, y = line.T
        area = 0.5 * (x @ np.roll(y, -1) - y @ np.roll(x, -1))  # positive: counter-clockwise
        assert area == pytest.approx(np.asarray(ndimage.binary_fill_holes(parts == i)).sum())


def test_saved_scenes_read_back(tmp_path: Path) -> None:
    fusion = Fusion()
    fusion.add([rectangle((0, 1), (0, 1), 0.0)], np.array([0, 0, 1.0]), [3], [0.9])
    scene = fusion.scene()
    for ending in ("ply", "glb", "json", "png"):
        scene.save(tmp_path / f"scene.{ending}")
    places, triangles, _ = scene.mesh()
    a, b, c = (places[triangles[:, i]] for i in range(3))
    covered = np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2
    assert covered == pytest.approx(scene.surfaces[0].area_m2) and scene.surfaces[
        0
    ].cells.sum() * CELL_M**2 == pytest.approx(covered)
    mesh = ply.read(tmp_path / "scene.ply")
    assert len(mesh.triangles) == len(triangles) and np.allclose(mesh.columns("x", "y", "z"), places, atol=1e-6)
    row = json.loads((tmp_path / "scene.json").read_text())["planes"][0]
    assert row["class"] == "floor" and row["area_m2"] == pytest.approx(covered, abs=1e-3)
    raw = (tmp_path / "scene.glb").read_bytes()
    magic, version, size, length, kind = struct.unpack_from("<4sIIII", raw)
    document = json.loads(raw[20 : 20 + length])
    assert (magic, version, size, kind) == (b"glTF", 2, len(raw), 0x4E4F534A)
    assert document["accessors"][2]["count"] == triangles.size
    start = 20 + length + 8
    corners = np.frombuffer(raw, "<f4", 3 * len(places), start).reshape(-1, 3)
    assert np.allclose(corners[:, [0, 2, 1]] * (1, -1, 1), places, atol=1e-6)
    with pytest.raises(ValueError, match=r"\.ply, \.glb, \.json or \.png"):
        scene.save(tmp_path / "scene.obj")


def test_without_a_metric_scale_no_square_metres_are_said(tmp_path: Path) -> None:
    scene = FusedScene(())
    assert scene.text == "0 surfaces, 0.0 m²" and scene.to_dict()["unit"] == "m"
    scene = replace(scene, metric=False)
    assert "m²" not in scene.text and "no metric scale" in scene.text and scene.to_dict()["unit"] == "of the poses"
    for kind in ("color", "pose"):
        (tmp_path / kind).mkdir()
    np.savetxt(tmp_path / "intrinsics.txt", np.diag([50.0, 50, 1]))
    assert data.poses_are_metric(tmp_path)
    (tmp_path / NO_UNIT).write_text("one camera")
    assert not data.poses_are_metric(tmp_path)


def test_glb_opens_in_trimesh(tmp_path: Path) -> None:
    trimesh = pytest.importorskip("trimesh", reason="the extra percepta[viz] is not installed")
    fusion = Fusion()
    fusion.add([rectangle((0, 1), (0, 1), 0.0)], np.array([0, 0, 1.0]), [3], [0.9])
    fusion.scene().save(tmp_path / "scene.glb")
    assert trimesh.load(tmp_path / "scene.glb", force="mesh").area == pytest.approx(fusion.scene().surfaces[0].area_m2)


# --- real data --------------------------------------------------------------------------------------------------------


def test_the_red_kitchen_gives_pairs(shared_data: Path) -> None:
    root = shared_data / "7scenes-redkitchen"
    if not root.is_dir():
        pytest.skip(f"{root} is not there")
    config = PRESETS["small"]
    source = data.source(config, "test", root)
    assert len(source) > 20
    pair = source[5]
    gap = np.linalg.norm(poses.inverse(pair.source_from_reference[0])[:3, 3])
    assert config.baseline_m[0] <= gap <= config.baseline_m[1] and pair.image.shape == (240, 320, 3)
    assert len(pair.labels) >= 2 and (pair.segments >= 0).mean() > 0.25
    inverse = -(rays(pair.camera) * pair.planes[pair.segments]).sum(-1)
    good = (pair.segments >= 0) & (pair.depth_m > 0)
    assert np.abs(1 / inverse[good] - pair.depth_m[good]).mean() < 0.03


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_the_plan_finds_what_is_up_in_any_world(seed: int) -> None:
    """A floor, three walls and a table, turned anyhow; the cameras lean by up to 30 degrees on the mean."""
    rng = np.random.default_rng(seed)
    turn = Rotation.random(rng=rng).as_matrix()
    grid = np.stack(np.meshgrid(np.arange(0, 2, 0.04), np.arange(0, 2, 0.04)), -1).reshape(-1, 2)
    zero = np.zeros((len(grid), 1))
    floor, table = np.hstack([grid, zero]), np.hstack([grid / 2, zero + 0.8])
    walls = [np.hstack([zero + x, grid]) for x in (0, 2)] + [np.insert(grid, 1, 0.0, axis=1)]
    names = [PLANEMVS_NAMES.index(name) for name in ("floor", "table", "wall", "wall", "wall")]
    fusion = Fusion()
    fusion.add([part @ turn.T for part in (floor, table, *walls)], turn @ [1, 1, 1.6], names, [0.9] * 5)
    lean = Rotation.from_rotvec(rng.normal(size=3))
    lean = Rotation.from_rotvec(lean.as_rotvec() / np.linalg.norm(lean.as_rotvec()) * np.radians(rng.uniform(0, 30)))
    up = np.array(upwards(fusion.scene().surfaces, turn @ lean.apply([0, 0, 1])))
    assert np.degrees(np.arccos(np.clip(up @ turn[:, 2], -1, 1))) < 1
    assert np.allclose(np.array(upwards((), turn[:, 2])), turn[:, 2])  # nothing lies flat: as the cameras say
