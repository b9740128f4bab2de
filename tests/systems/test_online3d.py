"""Data, clustering, ids over time and the session of online 3-D segmentation."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from percepta.datasets import nyu40
from percepta.datasets.posed import RgbdFrame
from percepta.geometry import ply
from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics
from percepta.nn.sparse import SparseTensor
from percepta.report import Curves, Numbers, Page
from percepta.systems.online3d import PRESETS, check, data, live, losses, result, task, whole_scan
from percepta.systems.online3d.fusion import associate, averaged, cluster
from percepta.systems.online3d.model import OnlineNet, Prediction
from percepta.systems.online3d.online import Online, VoxelMap
from percepta.systems.online3d.page import session_blocks
from percepta.systems.online3d.predict import Online3d
from percepta.systems.online3d.result import Result
from percepta.systems.online3d.voxels import voxelise
from percepta.systems.online3d.world import synthetic
from percepta.worlds import rooms

SEEDS = st.integers(0, 2**31 - 1)
TINY = PRESETS["tiny"]
CAMERA = Intrinsics.field_of_view(48, 36, 58.0)


@pytest.fixture(scope="module")
def model() -> OnlineNet:
    torch.manual_seed(1)
    return task.build(TINY).eval()


@pytest.fixture(scope="module")
def frames() -> list[RgbdFrame]:
    world = rooms.room(4)
    rng = np.random.default_rng(0)
    out = []
    for i, pose in enumerate(rooms.walk(world, 0, frames=8, fps=3)):
        view = rooms.measure(world, rooms.render(world, pose, CAMERA), rng)
        out.append(RgbdFrame(view.colour, view.depth_m, pose, CAMERA, str(i)))
    return out


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_voxels_are_means_and_majorities(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 80))
    xyz, rgb = rng.normal(0, 0.15, (n, 3)), rng.integers(0, 256, (n, 3))
    label, own = rng.integers(-1, 20, n), rng.integers(0, 4, n)
    voxels = voxelise(xyz, rgb, label, own, 0.1)
    assert len(np.unique(voxels.coords, axis=0)) == len(voxels.coords)
    assert (voxels.coords[voxels.of] == np.floor(xyz / 0.1)).all()
    for i in range(len(voxels.coords)):
        mine = np.flatnonzero(voxels.of == i)
        assert voxels.rgb[i] == pytest.approx(rgb[mine].mean(0), abs=1e-3)
        votes = sorted((-sum((own[mine] == own[j]) & (label[mine] == label[j])), own[j], label[j]) for j in mine)
        assert (voxels.instance[i], voxels.label[i]) == votes[0][1:]


def system(model: OnlineNet) -> Online3d:
    """What `load` gives, around a network that was not loaded."""
    return Online3d(model.config, model, "", Mock(), Mock())


def flooded(cells: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Components by walking from voxel to voxel."""
    out = np.zeros(len(cells), int)
    for start in range(len(cells)):
        if out[start] or label[start] not in nyu40.THINGS:
            continue
        queue = deque([start])
        out[start] = start + 1
        while queue:
            i = queue.popleft()
            near = (np.abs(cells - cells[i]).max(1) <= 1) & (label == label[i]) & (out == 0)
            out[near] = start + 1
            queue.extend(np.flatnonzero(near))
    return out


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.sampled_from([1, 3]))
def test_clusters_are_what_a_walk_from_cell_to_cell_reaches(seed: int, min_points: int) -> None:
    rng = np.random.default_rng(seed)
    xyz = rng.uniform(0, 8, (60, 3)) * [1, 1, 0.3]
    offset, label = rng.normal(0, 0.3, (60, 3)), rng.choice([0, 4, 5, 6], 60)
    found = cluster(xyz, offset, label, 1.0, min_points)
    slow = flooded(np.floor((xyz + offset) / 1.0), label)
    sizes = np.bincount(slow)
    slow = np.where(sizes[slow] >= min_points, slow, 0)
    pairs = set(zip(found.tolist(), slow.tolist(), strict=True))
    assert len(pairs) == len(set(found.tolist())) == len(set(slow.tolist()))
    assert ((found == 0) == (slow == 0)).all()
    first = [int(np.flatnonzero(found == i)[0]) for i in range(1, found.max(initial=0) + 1)]
    assert all(a < b for a, b in pairwise(first))


def test_ids_stay_when_things_grow_merge_and_split() -> None:
    old = np.array([0, 7, 7, 7, 9, 9, 0, 0], np.int32)
    grown = associate(old, np.array([0, 2, 2, 2, 1, 1, 1, 3], np.int32), 10)
    assert grown.instance.tolist() == [0, 7, 7, 7, 9, 9, 9, 10] and grown.born == (10,) and grown.next_id == 11
    one = associate(old, np.array([0, 1, 1, 1, 1, 1, 0, 0], np.int32), 10)
    assert one.instance.tolist() == [0, 7, 7, 7, 7, 7, 0, 0] and one.merged == ((9, 7),)
    two = associate(old, np.array([0, 1, 1, 2, 3, 3, 0, 0], np.int32), 10)
    assert two.instance.tolist() == [0, 7, 7, 10, 9, 9, 0, 0] and two.split == ((7, 10),)


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_ids_are_one_to_one_and_never_used_twice(seed: int) -> None:
    rng = np.random.default_rng(seed)
    old, new = rng.integers(0, 5, 40).astype(np.int32), rng.integers(0, 6, 40)
    new = np.unique(new, return_inverse=True)[1].reshape(-1).astype(np.int32)  # numbered without gaps
    match = associate(old, new, 5)
    pairs = set(zip(new.tolist(), match.instance.tolist(), strict=True))
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
    assert ((match.instance == 0) == (new == 0)).all() and match.next_id == 5 + len(match.born) + len(match.split)
    assert (associate(new, new, 9).instance == new).all()


def test_what_is_said_last_counts_more_than_what_faded() -> None:
    mean, weight = np.zeros((1, 1), np.float32), np.zeros(1, np.float32)
    for value in (1.0, 0.0, 0.0):
        mean, weight = averaged(mean, weight, np.array([[value]], np.float32), 1.0)
    assert mean[0, 0] == pytest.approx(0.25) and weight[0] == 1
    last, _ = averaged(mean, weight, np.array([[9.0]], np.float32), 0.0)
    assert last[0, 0] == 9


def test_losses_have_their_least_value_at_the_truth() -> None:
    target = torch.randn(9, 3)
    thing = torch.arange(9) < 6
    distance, direction = losses.offsets(target, target, thing)
    assert float(distance) == 0 and float(direction) == pytest.approx(0, abs=1e-5)
    assert float(losses.offsets(-target, target, thing)[1]) == pytest.approx(2, abs=1e-4)
    memory: dict[str, torch.Tensor] = {}
    label = torch.tensor([0, 0, 0, 0, 0, 0, 0, 0, 1, -1])
    weight = losses.class_weights(label, 3, 0.5, memory)
    assert float(weight[1] / weight[0]) == pytest.approx(8**0.5, rel=0.02)
    assert torch.equal(losses.class_weights(label, 3, 0.0, memory), torch.ones(3))
    nothing = losses.semantic(torch.randn(2, 3), torch.tensor([-1, -1]), weight)
    assert float(nothing) == 0


def test_the_map_holds_means(model: OnlineNet, frames: list[RgbdFrame]) -> None:
    online = Online(model)
    points = [online._points(frame) for frame in frames]
    grid = VoxelMap(0.1)
    for xyz, rgb in points:
        grid.add(xyz, rgb)
    everything = np.concatenate([p for p, _ in points]), np.concatenate([c for _, c in points])
    nothing = np.zeros(len(everything[0]), int)
    voxels = voxelise(*everything, nothing, nothing, 0.1)
    order = np.lexsort(grid.coords.T[::-1])
    assert (grid.coords[order] == voxels.coords).all()
    assert grid.rgb()[order] == pytest.approx(voxels.rgb, abs=1e-3)


def test_a_scan_in_pieces_ends_as_the_whole_network_says(model: OnlineNet, frames: list[RgbdFrame]) -> None:
    online = Online(model, mode="exact", max_weight=0.0)
    for frame in frames:
        assert online.step(frame).taken
    streamed = online.result()
    again = system(model).predict(streamed)
    assert (streamed.label == again.label).mean() > 0.99  # colours are rounded to bytes on the way
    assert streamed.score == pytest.approx(again.score, abs=2e-2)


def test_bad_frames_change_nothing(model: OnlineNet, frames: list[RgbdFrame]) -> None:
    online = Online(model)
    online.step(frames[0])
    before = online.result()
    empty = replace(frames[1], depth_m=np.full_like(frames[1].depth_m, np.nan))
    away = frames[1].world_from_camera.copy()
    away[:3, 3] += 3
    jumped = replace(frames[1], world_from_camera=away)
    reasons = [online.step(frame).reason for frame in (frames[0], empty, jumped)]
    assert reasons[0] == "the same frame again" and reasons[1] == "no reading" and "jumps by" in reasons[2]
    with pytest.raises(ValueError, match="pose of frame 1"):
        online.step(replace(frames[1], world_from_camera=2 * np.eye(4)))
    with pytest.raises(ValueError, match="registered"):
        online.step(changed(frames[1], colour=frames[1].colour[:4]))
    assert (online.result().xyz == before.xyz).all() and (online.result().score == before.score).all()
    assert online.step(replace(jumped, name="again", depth_m=jumped.depth_m + 0.001)).taken  # it stays there


def changed(frame: RgbdFrame, **parts: Any) -> Any:
    """Something like a frame, with other parts: a dataclass would check them."""
    return SimpleNamespace(**{**vars(frame), **parts})


def same(a: Online, b: Online) -> bool:
    one, two = vars(a.result()), vars(b.result())
    return all(np.array_equal(value, two[key]) for key, value in one.items())


FAR = np.pad(np.full((3, 1), 3e4), ((0, 1), (3, 0)))
BAD_FRAMES = {
    "depth_m is in metres as floats, got uint16": lambda f: {"depth_m": (1000 * f.depth_m).astype(np.uint16)},
    "the pictures are 48×36 but the intrinsics are for 24×18": lambda f: {"intrinsics": CAMERA.resized(24, 18)},
    "from the origin; a map of 10 cm voxels reaches 13106 m": lambda f: {
        "world_from_camera": f.world_from_camera + FAR
    },
}


@pytest.mark.parametrize("message", BAD_FRAMES)
def test_a_frame_that_does_not_fit_is_refused_and_changes_nothing(
    model: OnlineNet, frames: list[RgbdFrame], message: str
) -> None:
    """At the start of a session too, where no frame before it could tell that its camera jumps."""
    online, other = Online(model, up="camera"), Online(model, up="camera")
    bad = changed(frames[0], **BAD_FRAMES[message](frames[0]))
    with pytest.raises(ValueError, match=message):
        online.step(bad)
    for frame in frames[1:4]:
        assert online.step(frame).taken and other.step(frame).taken
    with pytest.raises(ValueError, match=message):
        Online(model).step(bad)
    assert same(online, other)


@pytest.mark.parametrize("mode", ["paper", "exact", "full"])
@pytest.mark.parametrize("where", ["before the network", "after it"])
def test_an_interrupted_step_is_set_right_by_the_next(
    model: OnlineNet, frames: list[RgbdFrame], monkeypatch: pytest.MonkeyPatch, mode: Any, where: str
) -> None:
    online = Online(model, mode=mode)
    online.step(frames[0])
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        owner, name = (online.stream, "step") if where == "before the network" else (online, "_fuse")
        patch.setattr(owner, name, Mock(side_effect=KeyboardInterrupt))
        online.step(frames[1])
    for frame in frames[2:5]:
        assert online.step(frame).taken
    whole = Online(model, mode=mode, growth=0.0)
    for frame in frames[:5]:
        whole.step(frame)
    a, b = online.result(), whole.result()
    assert np.array_equal(a.xyz, b.xyz) and np.array_equal(a.rgb, b.rgb)
    if mode != "paper":  # which has an anchor more
        assert a.score == pytest.approx(b.score, abs=1e-4)
        assert (a.label == b.label).mean() > 0.999


def test_some_readings_that_are_no_numbers_are_left_out(model: OnlineNet, frames: list[RgbdFrame]) -> None:
    depth = frames[0].depth_m.copy()
    depth[:9], depth[9], depth[10] = np.nan, np.inf, -1
    zero = depth.copy()
    zero[:11] = 0
    one, two = Online(model), Online(model)
    one.step(replace(frames[0], depth_m=depth))
    two.step(replace(frames[0], depth_m=zero))
    assert (one.result().xyz == two.result().xyz).all() and (one.result().score == two.result().score).all()


def test_stopped_and_resumed_it_goes_on_bit_by_bit(model: OnlineNet, frames: list[RgbdFrame], tmp_path: Path) -> None:
    straight = Online(model, cluster_every=2)
    for frame in frames[:4]:
        straight.step(frame)
    straight.save(tmp_path / "scan")
    resumed = Online.load(tmp_path / "scan", model)
    assert resumed.step(frames[3]).reason == "the same frame again"
    straight.step(frames[3])
    for frame in frames[4:]:
        a, b = straight.step(frame), resumed.step(frame)
        assert (a.seen, a.new, a.active, a.changes) == (b.seen, b.new, b.active, b.changes)
    for key, value in vars(straight.result()).items():
        assert np.array_equal(value, getattr(resumed.result(), key)), key
    (tmp_path / "other").write_bytes(b"no")
    with pytest.raises(ValueError, match="no saved session"):
        Online.load(tmp_path / "other", model)


def test_up_of_the_first_camera(model: OnlineNet, frames: list[RgbdFrame]) -> None:
    turn = np.eye(4)
    turn[:3, :3] = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])  # -y up
    turned = replace(frames[0], world_from_camera=turn @ frames[0].world_from_camera)
    given, plain = Online(model, up=(0.0, -1.0, 0.0)), Online(model)
    given.step(turned)
    plain.step(frames[0])
    apart = given.result().xyz[:, 2].mean() - plain.result().xyz[:, 2].mean()
    assert abs(apart) < 0.02
    with pytest.raises(ValueError, match="up is"):
        Online(model, up="north")


def test_a_result_says_what_is_where(tmp_path: Path) -> None:
    scan = synthetic(3, 0.05, 6, 64)
    labelled = Result(scan.xyz, scan.rgb, scan.label, scan.instance, np.ones(len(scan.xyz), np.float32), "abc")
    labelled.save(tmp_path / "a.png")
    cloud = ply.read(tmp_path / "a.ply")
    assert (cloud.vertices["label"] == scan.label).all() and (cloud.vertices["instance"] == scan.instance).all()
    rows = labelled.instances()
    written = json.loads((tmp_path / "a.json").read_text())
    assert written == {"points": len(scan.xyz), "instances": rows, "weights": "abc"} == labelled.to_dict()
    assert {row["id"] for row in rows} == set(np.unique(scan.instance).tolist()) - {0}
    assert sum(row["points"] for row in rows) == (scan.instance > 0).sum()


def test_the_nearest_point_is_in_front() -> None:
    xyz = np.array([[0, 0, 2.0], [0, 0, 1.0], [0, 0, 3.0], [0, 0, -1.0]])
    tone = np.eye(4, 3, dtype=np.uint8) * 255
    seen = result.picture(xyz, tone, CAMERA, np.eye(4), 0.01)
    assert (seen[round(CAMERA.cy), round(CAMERA.cx)] == tone[1]).all()


def test_held_out_scans_are_not_trained_on(tmp_path: Path) -> None:
    for name in ("a", "b"):
        scan = synthetic(3, 0.05, 6, 64)
        columns = {"xyz": scan.xyz, "rgb": scan.rgb, "nyu40": scan.label, "instance": scan.instance}
        np.savez(tmp_path / f"{name}.npz", allow_pickle=False, **columns)
    config = replace(TINY, held_out=("b",), real_share=1.0)
    assert [s.name for s in task.data(config, "train", tmp_path).scans] == ["a"]
    assert [s.name for s in task.data(config, "val", tmp_path).scans] == ["b"]
    assert len(task.data(config, "all", tmp_path)) == 2
    with pytest.raises(ValueError, match="held_out: no scan c"):
        task.data(replace(config, held_out=("c",)), "val", tmp_path)
    report = check.check(tmp_path)
    assert report.ok and report.counts["scans"] == 2
    (tmp_path / "a.npz").write_bytes(b"")
    assert not check.check(tmp_path).ok


def test_classes_are_scannets() -> None:
    assert len(nyu40.THINGS) == 18 and nyu40.SCANNET20_NAMES[nyu40.THINGS[0]] == "cabinet"
    with pytest.raises(ValueError, match="classes has to be 20"):
        task.build(replace(TINY, classes=5))


def test_the_live_view_starts() -> None:
    pytest.importorskip("viser", reason="viser (percepta[viz]) is not installed")
    scan = synthetic(3, 0.05, 6, 64)
    view = live.Live(port=0)
    view.show(Result(scan.xyz, scan.rgb, scan.label, scan.instance, np.ones(len(scan.xyz), np.float32)))
    view.close()


class Nearest(OnlineNet):
    """Says of each voxel that it is a chair, the centre of which is where the voxel is."""

    def forward(self, x: SparseTensor) -> Prediction:
        logits = torch.zeros(len(x.features), 20)
        logits[:, nyu40.SCANNET20_NAMES.index("chair")] = x.features[:, 0]
        return Prediction(logits, torch.zeros(len(logits), 3), None)


@pytest.mark.parametrize("views", [1, 2, 4])
def test_views_are_averaged_where_the_points_are(views: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Centres come back from the turned grids to within a voxel, and logits are means over the grids."""
    rng, size = np.random.default_rng(0), TINY.voxel_m
    xyz, rgb = rng.uniform(-2, 2, (3000, 3)), rng.integers(0, 256, (3000, 3))
    seen: list[np.ndarray] = []
    monkeypatch.setattr(
        whole_scan, "cluster", lambda *given: seen.append(given[1]) or np.zeros(len(given[1]), np.int32)
    )
    net = Nearest(TINY)
    said = whole_scan.label_scan(net, xyz, rgb, views)
    assert np.abs(seen[0]).max() < (1e-6 if views == 1 else 2 * size)
    nothing, logit = np.zeros(len(xyz), np.int64), np.zeros(len(xyz))
    for degrees, shift in whole_scan.GRIDS[:views] if views > 1 else ((0.0, 0.0),):
        turn = poses.from_vector(np.array([0, 0, np.radians(degrees)]))
        voxels = voxelise(xyz @ turn.T + shift * size, rgb, nothing, nothing, size)
        logit += voxels.features[voxels.of, 0] / views
    chair = np.exp(logit) / (np.exp(logit) + 19)
    assert said.score == pytest.approx(np.maximum(chair, 1 / (np.exp(logit) + 19)), abs=1e-5)


def test_a_point_is_in_an_instance_only_if_it_is_of_its_class(model: OnlineNet) -> None:
    scan = synthetic(3, 0.05, 6, 64)
    said = whole_scan.label_scan(model, scan.xyz, scan.rgb, 4)
    mine = said.instance > 0
    assert mine.any() and (said.instance_label[said.instance[mine] - 1] == said.label[mine]).all()
    for number in range(1, len(said.instance_label) + 1):
        own = said.instance == number
        assert said.instance_score[number - 1] == pytest.approx(said.score[own].mean() if own.any() else 0)
    with pytest.raises(ValueError, match="views is 1 to 4"):
        replace(TINY, views=5)
    with pytest.raises(ValueError, match="views is 1 to 4"):
        whole_scan.label_scan(task.build(TINY), np.zeros((3, 3)), np.zeros((3, 3), np.uint8), 0)


def test_a_page_shows_what_frames_cost(model: OnlineNet, frames: list[RgbdFrame]) -> None:
    online = Online(model, cluster_every=2)
    for frame in (*frames[:3], frames[2]):
        online.step(frame)
    blocks = session_blocks(online)
    numbers = next(block.numbers for block in blocks if isinstance(block, Numbers))
    assert numbers["frames"] == 4 and numbers["left out"] == 1 and numbers["voxels"] == online.map.count
    parts, shares = (block.series for block in blocks if isinstance(block, Curves))
    assert [x for x, _ in parts["network"]] == [1, 2, 3] and shares["new"][0] == (1, 100)
    assert "milliseconds a frame" in Page("scan").add(*blocks).html()
    assert "<svg" in Page("nothing").add(*session_blocks(Online(model))).html()


def test_the_map_takes_millions_of_voxels() -> None:
    """A cube of 1.2 million, in pieces that overlap by half: each voxel once, with the mean of its colours."""
    grid, side = VoxelMap(0.02), 106
    cell = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), -1).reshape(-1, 3) - side // 2
    half = len(cell) // 2
    for number, part in enumerate((slice(0, half), slice(half // 2, None), slice(0, half))):
        rows = grid.add((cell[part] + 0.5) * 0.02, np.full((len(cell[part]), 3), 50 * number))
        assert len(rows) == len(cell[part]) and (np.diff(rows) > 0).all()
    assert grid.count == side**3 > 1_000_000
    assert len(np.unique(grid.coords, axis=0)) == grid.count and np.array_equal(
        np.sort(cell, 0), np.sort(grid.coords, 0)
    )
    place = np.empty(side**3, np.int64)
    place[np.ravel_multi_index(tuple((grid.coords + side // 2).T), (side,) * 3)] = np.arange(grid.count)
    tone = grid.rgb(place)[:, 0]
    assert (tone[: half // 2] == 50).all() and (tone[half // 2 : half] == 50).all() and (tone[half:] == 50).all()
    assert (grid.sums[place, 0][half // 2 : half] == 3).all() and (grid.sums[place, 0][half:] == 1).all()


# --- augmentation -----------------------------------------------------------------------------------------------------


def test_elastic_distortion_is_smooth_and_of_the_size_asked_for() -> None:
    rng = np.random.default_rng(0)
    xyz = rng.uniform(0, 4, (20_000, 3))
    moved = data.elastic(np.random.default_rng(1), xyz, 0.8, 0.08) - xyz
    assert 0.04 < moved.std() < 0.08 and np.abs(moved.mean(0)).max() < 0.06
    beside = data.elastic(np.random.default_rng(1), np.concatenate((xyz, xyz[:1] + 0.001)), 0.8, 0.08)
    assert np.abs(beside[-1] - beside[0] - 0.001).max() < 0.001  # neighbours stay neighbours
    assert (data.elastic(np.random.default_rng(1), xyz, 0.8, 0.08) - xyz == moved).all()


def test_turning_keeps_shapes_but_for_the_distortion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "elastic", lambda rng, xyz, grain_m, size_m: xyz)
    xyz = np.random.default_rng(0).normal(size=(40, 3))
    mirrored, tilts = set(), []
    for seed in range(40):
        out = data.turned(np.random.default_rng(seed), xyz, 0.0)
        motion = np.linalg.lstsq(xyz - xyz.mean(0), out - out.mean(0), rcond=None)[0].T
        scale = np.cbrt(abs(np.linalg.det(motion)))
        assert 0.9 <= scale <= 1.1
        assert motion @ motion.T == pytest.approx(scale**2 * np.eye(3), abs=1e-9)
        mirrored.add(np.linalg.det(motion) < 0)
        tilts.append(np.degrees(np.arccos(np.clip(motion[2, 2] / scale, -1, 1))))
    assert mirrored == {True, False} and max(tilts) < 15  # up stays up
    free = [data.turned(np.random.default_rng(s), xyz, 1.0) for s in range(10)]
    ups = [np.linalg.lstsq(xyz - xyz.mean(0), o - o.mean(0), rcond=None)[0][2, 2] for o in free]
    assert min(ups) < 0.5


@settings(max_examples=20, deadline=None)
@given(SEEDS, st.sampled_from([50, 1000]))
def test_a_piece_is_an_upright_box_of_so_many_points(seed: int, max_points: int) -> None:
    xyz = np.random.default_rng(seed).uniform(0, 6, (400, 3)).astype(np.float32)
    kept = data.crop(np.random.default_rng(seed), xyz, 4.0, max_points)
    assert 0 < len(kept) <= max_points and (np.diff(kept) > 0).all()
    assert (np.ptp(xyz[kept][:, :2], axis=0) <= 4).all()
    again = data.crop(np.random.default_rng(seed), xyz, 4.0, max_points)
    assert (again == kept).all()


def test_colours_stay_colours() -> None:
    rgb = np.random.default_rng(0).integers(60, 190, (500, 3)).astype(np.uint8)
    grey, apart = 0, []
    for seed in range(60):
        out = data.recoloured(np.random.default_rng(seed), rgb)
        assert out.min() >= 0 and out.max() <= 255
        grey += bool((out == out[:, :1]).all())
        apart.append(np.abs(out - rgb).mean())
    assert 1 <= grey <= 15 and min(apart) > 0.5 and np.median(apart) < 60


def test_a_mixed_sample_is_two_scenes_whose_things_stay_apart() -> None:
    plain = replace(TINY, augment=False, crop_m=0.0, point_dropout=0.0, rooms=3)
    one, two = (data.Training(replace(plain, mix_share=share)) for share in (0.0, 1.0))
    rng = np.random.default_rng([plain.train.seed, 41, 0, 1])
    rng.random()
    partner = int(rng.integers(3))
    a, b, both = one[0, 1], one[0, partner], two[0, 1]
    cells = [{tuple(c) for c in sample["coords"].tolist()} for sample in (a, b, both)]
    assert cells[2] == cells[0] | cells[1]
    of = [dict(zip(map(tuple, s["coords"].tolist()), s["instance"].tolist(), strict=True)) for s in (a, b, both)]
    only_a, only_b = cells[0] - cells[1], cells[1] - cells[0]
    shift = max(of[0].values())
    assert all(of[2][c] == of[0][c] for c in only_a)
    if partner != 1:
        assert only_b and all(of[2][c] == (of[1][c] + shift if of[1][c] else 0) for c in only_b)


def test_a_film_of_the_map(tmp_path: Path) -> None:
    from percepta.media import video

    scan = synthetic(3, 0.05, 6, 64)
    shots = [result.slanted(scan.xyz, scan.rgb, (64, 48), yaw) for yaw in (0.0, 20.0, 40.0)]
    path = live.film(tmp_path / "a.mp4", shots, 5.0)
    assert video.info(path).duration_s == pytest.approx(0.6, abs=0.05)
