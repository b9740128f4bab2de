"""From videos, calibrations, keypoints and SMPL-X poses to a capture of our body: laws, and oracles that are known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from percepta.__main__ import main
from percepta.datasets import cameras, keypoints, smplx, thuman4
from percepta.errors import InputError, MissingFileError
from percepta.geometry import pose as poses
from percepta.geometry.body import J, Motion, Shape, heading, make_body
from percepta.geometry.camera import Intrinsics, project
from percepta.geometry.lens import Lens
from percepta.geometry.triangulate import triangulate
from percepta.media import video
from percepta.metrics.masks import iou
from percepta.systems.avatar import fit as fitting
from percepta.systems.avatar import hull as hulls
from percepta.systems.avatar import prepare
from percepta.systems.avatar.world import Rendered, subject
from percepta.worlds.people.motions import from_angles, made
from percepta.worlds.people.person import ring
from percepta.worlds.people.rig import retarget

Views = list[tuple[Intrinsics, np.ndarray]]


def views(count: int = 4, width: int = 96, height: int = 120) -> Views:
    return [(v.camera, v.world_from_camera) for v in ring(count, width, height)]


def seen_by(points: np.ndarray, around: Views) -> np.ndarray:
    """Pixels of points in each view."""
    return np.stack([project(poses.transform(poses.inverse(pose), points), camera)[0] for camera, pose in around])


# --------------------------------------------------------------------------------------------- triangulation


@given(st.integers(0, 10_000), st.integers(3, 6))
@settings(max_examples=25, deadline=None)
def test_points_come_back_though_one_view_is_wrong(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    around = views(count, 640, 800)
    points = rng.uniform((-0.5, -0.5, 0.2), (0.5, 0.5, 1.7), (6, 3))
    pixels = seen_by(points, around)
    wrong = int(rng.integers(count))
    pixels[wrong] += rng.uniform(80, 200, (6, 2)) * rng.choice([-1, 1], (6, 2))
    found = triangulate(pixels, np.full(pixels.shape[:2], 0.9), around)
    # with three views the wrong one may happen to lie on the right line; with more it is always found out
    good = np.linalg.norm(found.place - points, axis=-1) < 1e-6
    assert good.all() if count > 3 else good.mean() > 0.6
    assert not found.used[wrong, good].any() and found.error_px[good].max(initial=0) < 1e-6


def test_points_that_fewer_than_two_views_see_are_not_known() -> None:
    around = views(3)
    pixels = seen_by(np.array([[0.0, 0, 1], [0.1, 0, 1]]), around)
    confidence = np.array([[0.9, 0.9], [0.9, 0.0], [0.1, 0.1]])
    found = triangulate(pixels, confidence, around)
    assert np.allclose(found.place[0], (0, 0, 1)) and np.isnan(found.place[1]).all()
    assert found.sure[0] == pytest.approx(0.9) and found.sure[1] == 0 and np.isnan(found.error_px[1])
    with pytest.raises(InputError, match="two views"):
        triangulate(pixels[:1], confidence[:1], around[:1])


def test_masks_end_where_clothes_reach() -> None:
    body = make_body(Shape())
    motion, around = body.rest(2), tuple(views(3))
    own = [[prepare.outline(body, vertices, view) for view in around] for vertices in body.posed(motion)]
    near, far = np.array([0.0, 0.35, 1.4]), np.array([0.0, 0.65, 0.3])  # beside the neck, and beside the shins
    pixels = np.round(seen_by(np.stack([near, far]), [(c, p) for c, p in around])).astype(int)
    masks = [[m.copy() for m in row] for row in own]
    for row in masks:
        for mask, at in zip(row, pixels, strict=True):
            for column, line in at:
                mask[line - 1 : line + 2, column - 1 : column + 2] = True
    both = prepare.Masks(tuple(map(tuple, masks)), (np.zeros((0, 3)),) * 2, (), ())
    kept = prepare.near_body(both, body, motion, around, 0.3)
    for row, drawn, mine in zip(kept, masks, own, strict=True):
        for mask, before, outline, (camera, pose) in zip(row, drawn, mine, around, strict=True):
            depth = (motion.root[0] - pose[:3, 3]) @ pose[:3, 2]
            for pixel in np.argwhere(before):
                away_m = np.linalg.norm(np.argwhere(outline) - pixel, axis=1).min() * depth / camera.fx
                assert mask[tuple(pixel)] == (away_m <= 0.3)
    away = prepare.pixels(both) - prepare.pixels(replace(both, masks=kept))
    assert away.tolist() == [sum(int((o[i] & ~k[i]).sum()) for o, k in zip(masks, kept, strict=True)) for i in range(3)]
    lost = [(before & ~mask).sum() for before, mask in zip(masks[0], kept[0], strict=True)]
    left = [(mask & ~outline).sum() for mask, outline in zip(kept[0], own[0], strict=True)]
    assert max(lost) >= 9 and max(left) >= 9  # one was cut off, the other stays
    alone = prepare.near_body(both, body, motion, around, 0)
    assert all((m == o).all() for row, mine in zip(alone, own, strict=True) for m, o in zip(row, mine, strict=True))


# --------------------------------------------------------------------------------------------- keypoints


def landmarks(motion: Motion, shape: Shape) -> np.ndarray:
    """Where the body's landmarks are, by the body's own arithmetic: `t 25 3`."""
    body = make_body(shape)
    place = body.positions(motion)
    out = []
    for name in keypoints.POINTS:
        joint, away = fitting._landmark(name, shape)
        out.append(place[:, joint] + motion.rotation[:, joint] @ away.double().numpy())
    return np.stack(out, 1)


def written_keypoints(root: Path, pixels: np.ndarray, form: str) -> None:
    """Files of one form; a second person, far from the first, stands in every view."""
    for view, rows in enumerate(pixels):  # t 25 2
        people = [np.concatenate([row, np.full((25, 1), 0.8)], 1) for row in rows]
        other = np.concatenate([np.random.default_rng(view).uniform(0, 100, (25, 2)), np.full((25, 1), 0.9)], 1)
        if form == "openpose":
            folder = root / f"cam{view:02d}"
            folder.mkdir(parents=True)
            for frame, person in enumerate(people):
                table = {"people": [{"pose_keypoints_2d": x.ravel().tolist()} for x in (other, person)]}
                (folder / f"video_{frame:012d}_keypoints.json").write_text(json.dumps(table))
        else:
            order = [keypoints.POINTS.index(name) for name in keypoints.COCO]
            table = [
                {"image_id": frame, "category_id": 1, "keypoints": x[order].ravel().tolist(), "score": 1.0}
                for frame, person in enumerate(people)
                for x in (other, person)
            ]
            root.mkdir(exist_ok=True)
            (root / f"cam{view:02d}.json").write_text(json.dumps(table))


@pytest.mark.parametrize("form", ["openpose", "coco"])
def test_a_motion_comes_back_from_its_keypoints(tmp_path: Path, form: str) -> None:
    shape = Shape(1.82, 1.0, 1.03, 0.97, 1.05)
    motion = made("walk", 0.3, 10, body=make_body(shape)).moved(2.0)
    truth = landmarks(motion, shape)
    around = views(4, 640, 800)
    pixels = np.stack([seen_by(row, around) for row in truth], 1)
    pixels += np.random.default_rng(0).normal(0, 1.0, pixels.shape)
    written_keypoints(tmp_path / "k", pixels, form)
    found = keypoints.read_cameras(tmp_path / "k", [f"cam{i:02d}" for i in range(4)])
    rows = [
        keypoints.same_person({view: found[f"cam{view:02d}"][frame] for view in range(4)}, around)
        for frame in range(len(motion))
    ]
    known = np.isfinite(rows[0].place).all(-1)
    assert known.sum() == (25 if form == "openpose" else 17)
    assert np.abs(rows[0].place[known] - truth[0, known]).max() < 0.03
    if form == "coco":
        return  # the same points: one fit is enough
    observed = fitting.Observed(
        motion.fps, np.stack([x.place for x in rows]), np.stack([x.sure for x in rows]), keypoints.POINTS
    )
    fitted = fitting.fit(observed, steps=100)
    ours, theirs = make_body(fitted.shape).positions(fitted.motion), make_body(shape).positions(motion)
    limbs = [J[f"{side}_{name}"] for side in ("left", "right") for name in ("forearm", "hand", "shin", "foot", "thigh")]
    apart = np.linalg.norm(ours - theirs, axis=-1)[:, limbs]
    assert apart.mean() < 0.03 and apart.max() < 0.08
    assert abs(np.angle(np.exp(1j * (heading(fitted.motion, 0) - heading(motion, 0))))) < 0.2


def test_broken_keypoints_are_named(tmp_path: Path) -> None:
    wrong: dict[str, Any] = {
        "a": [{"image_id": 1, "keypoints": [1, 2, 3]}],
        "b": [{"image_id": "x", "keypoints": [0.0] * 51}],
        "c": {"images": []},
        "d": [{"keypoints": [0.0] * 51}],
        "e": "text",
    }
    for name, table in wrong.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(table))
        with pytest.raises(InputError, match=f"{name}.json"):
            keypoints.read(tmp_path / f"{name}.json")
    with pytest.raises(MissingFileError, match="cam07"):
        keypoints.read_cameras(tmp_path, ["cam07"])
    labelled = {
        "images": [{"id": 9, "file_name": "f_0004.jpg"}],
        "annotations": [{"image_id": 9, "keypoints": [1.0, 2.0, 2] * 17}],
    }
    (tmp_path / "f.json").write_text(json.dumps(labelled))
    found = keypoints.read(tmp_path / "f.json")
    assert (
        list(found) == [4] and found[4][0][0].tolist() == [1.0, 2.0, 1.0] and found[4][0][1, 2] == 0
    )  # COCO has no neck


# --------------------------------------------------------------------------------------------- SMPL-X


def smplx_file(path: Path, vectors: np.ndarray, **more: Any) -> Path:
    np.savez(path, poses=vectors.reshape(len(vectors), -1), **more)
    return path


def test_the_t_pose_of_smplx_stands_as_our_body_with_its_arms_out(tmp_path: Path) -> None:
    vectors = np.zeros((2, 55, 3))
    for up, first in (("y", np.zeros(3)), ("z", np.array([np.pi / 2, 0, 0]))):
        vectors[:, 0] = first  # AMASS turns the T-pose upright into its world
        mocap = smplx.read(smplx_file(tmp_path / "t.npz", vectors, trans=np.zeros((2, 3)), mocap_frame_rate=60.0))
        assert mocap.kind == ("smplx" if up == "z" else "smplx-y-up") and mocap.fps == 60
        body = make_body()
        motion = retarget(mocap, body)
        place = body.positions(motion)[0]
        left = place[J["left_hand"]] - place[J["left_upper_arm"]]
        across = place[J["left_upper_arm"]] - place[J["right_upper_arm"]]
        assert np.allclose(np.cross(left, across), 0, atol=1e-6) and left @ across > 0  # outwards, level
        assert np.allclose(motion.rotation[0, J["left_shin"]], motion.rotation[0, 0], atol=1e-6)
        assert motion.rotation[0, 0, 2, 2] == pytest.approx(1)
        # it looks along the axis that its file turns z to: with y up to z, which is our x; else to -y
        assert np.allclose(motion.rotation[0, 0, :, 0], (1, 0, 0) if up == "y" else (0, -1, 0), atol=1e-6)


def test_a_turn_of_a_joint_of_smplx_is_the_same_turn_of_ours(tmp_path: Path) -> None:
    vectors = np.zeros((1, 22, 3))
    vectors[0, smplx.JOINTS.index("left_knee")] = (np.pi / 3, 0, 0)  # about x to the left: the shin swings back
    vectors[0, smplx.JOINTS.index("right_elbow")] = (0, np.pi / 2, 0)
    body = make_body()
    motion = retarget(smplx.read(smplx_file(tmp_path / "k.npz", vectors)), body)
    ours = from_angles({"left_shin": np.array([[0.0, 60, 0]])}, body.joints[:1], 30)
    assert np.allclose(motion.local[0, J["left_shin"]], ours.local[0, J["left_shin"]], atol=1e-6)
    place = body.positions(motion)[0]
    forearm = place[J["right_hand"]] - place[J["right_forearm"]]
    assert forearm[0] / np.linalg.norm(forearm) == pytest.approx(1, abs=1e-6)  # to the front
    assert place[J["left_foot"], 0] < place[J["right_foot"], 0] - 0.2


def test_poses_of_smplx_are_motions_of_the_commands(tmp_path: Path) -> None:
    from percepta.systems.avatar import PRESETS
    from percepta.systems.avatar.commands import read_motion

    vectors = np.zeros((21, 52, 3))
    vectors[:, 0, 0] = np.pi / 2
    path = smplx_file(tmp_path / "amass.npz", vectors, trans=np.zeros((21, 3)), mocap_framerate=60.0)
    motion = read_motion(path, PRESETS["tiny"], None)
    assert (
        motion.fps == 30 and len(motion) == 11 and make_body().posed(motion)[..., 2].min() == pytest.approx(0, abs=1e-6)
    )


def test_smplx_of_thuman_reads_and_wrong_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "smpl_params.npz"
    np.savez(path, global_orient=np.zeros((3, 3)), body_pose=np.zeros((3, 63)), transl=np.arange(9.0).reshape(3, 3))
    mocap = smplx.read(path)
    assert smplx.is_one(path) and len(mocap) == 3 and np.allclose(mocap.position[:, 0], np.arange(9).reshape(3, 3))
    for name, table in {
        "degrees": {"poses": np.full((2, 66), 90.0)},
        "short": {"poses": np.zeros((2, 30))},
        "other": {"root": np.zeros(3)},
        "places": {"poses": np.zeros((2, 66)), "trans": np.zeros((5, 3))},
    }.items():
        np.savez(tmp_path / f"{name}.npz", **table)
        with pytest.raises(InputError, match=f"{name}.npz"):
            smplx.read(tmp_path / f"{name}.npz")


# --------------------------------------------------------------------------------------------- calibrations


def as_opencv(
    path: Path, camera: Intrinsics, pose: np.ndarray, distortion: list[float], *, vector: bool = False
) -> None:
    """As cv2.FileStorage writes it."""
    back = poses.inverse(pose)
    turn = Rotation.from_matrix(back[:3, :3]).as_rotvec()[:, None] if vector else back[:3, :3]
    entries = {"K": camera.matrix, "dist": np.array([distortion]), "R": turn, "T": back[:3, 3:]}
    size = {"image_width": camera.width, "image_height": camera.height}
    if path.suffix == ".json":
        rows: dict[str, Any] = {
            key: {"type_id": "opencv-matrix", "rows": len(x), "cols": x.shape[1], "dt": "d", "data": x.ravel().tolist()}
            for key, x in entries.items()
        }
        path.write_text(json.dumps(rows | size))
        return
    lines = ["%YAML:1.0", "---", *(f"{key}: {value}" for key, value in size.items())]
    for key, x in entries.items():
        numbers = [f"{value:.17g}" for value in x.ravel()]
        half = max(len(numbers) // 2, 1)
        data = ", ".join(numbers[:half]) + ",\n       " + ", ".join(numbers[half:])
        lines += [
            f"{key}: !!opencv-matrix",
            f"   rows: {len(x)}",
            f"   cols: {x.shape[1]}",
            "   dt: d",
            f"   data: [ {data} ]",
        ]
    path.write_text("\n".join(lines) + "\n")


def as_colmap(root: Path, around: Views, scale: float, world: np.ndarray) -> None:
    """A COLMAP model in another unit and another world; its pictures are one grey pixel wide."""
    from PIL import Image

    (root / "images").mkdir(parents=True)
    cameras_, images = [], []
    for i, (c, pose) in enumerate(around):
        turned = world @ pose
        turned[:3, 3] /= scale
        back = poses.inverse(turned)
        x, y, z, w = poses.to_quaternion(back[:3, :3])
        cameras_.append(f"{i + 1} PINHOLE {c.width} {c.height} {c.fx} {c.fy} {c.cx + 0.5} {c.cy + 0.5}")
        images.append(f"{i + 1} {w} {x} {y} {z} {back[0, 3]} {back[1, 3]} {back[2, 3]} {i + 1} cam{i:02d}.png\n")
        Image.new("RGB", (c.width, c.height)).save(root / "images" / f"cam{i:02d}.png")
    (root / "cameras.txt").write_text("\n".join(cameras_) + "\n")
    (root / "images.txt").write_text("\n".join(images) + "\n")


def same_cameras(found: Any, around: Views) -> None:
    assert [c.name for c in found] == [f"cam{i:02d}" for i in range(len(around))]
    for camera, (intrinsics, pose) in zip(found, around, strict=True):
        numbers = [(k.fx, k.fy, k.cx, k.cy, k.width, k.height) for k in (camera.intrinsics, intrinsics)]
        assert np.allclose(*numbers, atol=1e-6) and np.allclose(camera.world_from_camera, pose, atol=1e-6)


def test_every_kind_of_calibration_gives_the_same_cameras(tmp_path: Path) -> None:
    around = views(4)
    for kind in (".yml", ".json"):
        folder = tmp_path / kind
        folder.mkdir()
        for i, (camera, pose) in enumerate(around):
            as_opencv(folder / f"cam{i:02d}{kind}", camera, pose, [0.1, -0.02, 1e-3, 2e-3, 0.0], vector=i % 2 == 1)
        found = cameras.read(folder)
        same_cameras(found, around)
        assert found[0].lens == Lens("radtan", (0.1, -0.02, 1e-3, 2e-3, 0.0))
    turn = np.eye(4)
    turn[:3, :3] = [[1, 0, 0], [0, 0, -1], [0, 1, 0]]  # our z becomes y's opposite: y points down
    as_colmap(tmp_path / "colmap", around, 2.5, turn)
    assert (turn[:3, :3] @ (0, 0, 1)).tolist() == [0, -1, 0]
    same_cameras(cameras.read(tmp_path / "colmap", metres_per_unit=2.5, up="-y"), around)
    guessed = cameras.read(tmp_path / "colmap", metres_per_unit=2.5, up="cameras")
    assert all(np.allclose(a.world_from_camera, b, atol=0.05) for a, (_, b) in zip(guessed, around, strict=True))
    some: tuple[dict[str, Any], ...] = ({}, {"metres_per_unit": 1.0}, {"up": "y"})
    for more in some:
        with pytest.raises(InputError, match="neither unit nor vertical: give"):
            cameras.read(tmp_path / "colmap", **more)


@pytest.mark.parametrize("ending", [".yml", ".json"])
def test_what_opencv_writes_is_read(tmp_path: Path, ending: str) -> None:
    cv2: Any = pytest.importorskip("cv2")
    around = views(2)
    for i, (camera, pose) in enumerate(around):
        back = poses.inverse(pose)
        file = cv2.FileStorage(str(tmp_path / f"cam{i:02d}{ending}"), cv2.FILE_STORAGE_WRITE)
        file.write("image_width", camera.width)
        file.write("image_height", camera.height)
        file.write("camera_matrix", camera.matrix)
        file.write("distortion_coefficients", np.array([[-0.1, 0.01, 0.0, 0.0, 0.0]]))
        file.write("rvec", cv2.Rodrigues(back[:3, :3])[0])
        file.write("tvec", back[:3, 3:])
        file.release()
    found = cameras.read(tmp_path)
    same_cameras(found, around)
    assert found[0].lens.values[:2] == (-0.1, 0.01)


def test_wrong_calibrations_are_named(tmp_path: Path) -> None:
    (camera, pose), *_ = views(2)
    folder = tmp_path / "cv"
    folder.mkdir()
    as_opencv(folder / "a.json", camera, pose, [0.0] * 5)
    with pytest.raises(InputError, match="at least two"):
        cameras.read(folder)
    table = json.loads((folder / "a.json").read_text())
    for change, word in (
        ({"K": None}, "K"), ({"T": [1.0]}, "T"), ({"R": np.zeros((3, 3)).tolist()}, "R and T"),
        ({"dist": [0.0] * 5 + [1.0, 2.0, 3.0]}, "distortions"),
        ({"image_width": None, "image_height": None}, "image_width"),
    ):  # fmt: skip
        rows = {key: value for key, value in (table | change).items() if value is not None}
        (folder / "b.json").write_text(json.dumps(rows))
        with pytest.raises(InputError, match=f"b.json.*{word}"):
            cameras.read(folder)
    (tmp_path / "x.txt").write_text("no calibration")
    with pytest.raises(InputError, match="no calibration"):
        cameras.read(tmp_path / "x.txt")
    with pytest.raises(MissingFileError):
        cameras.read(tmp_path / "nothing")


# --------------------------------------------------------------------------------------------- masks and fit


@pytest.fixture(scope="module")
def rendered() -> Rendered:
    body = make_body()
    motion = made("walk", 0.2, body=body).moved(0.7)
    return Rendered(subject("tight"), motion, (96, 120), 4)


def test_all_views_together_leave_out_whom_only_one_sees(rendered: Rendered) -> None:
    rule = hulls.Rule(fine_m=0.04, blur=0.0)
    around = [(c.intrinsics, c.world_from_camera) for c in rendered.cameras]
    masks = [rendered.read(i, 3)[1] > 127 for i in range(4)]
    signed = [np.where(mask, 4.0, -4.0).astype(np.float32) for mask in masks]
    stranger = np.zeros_like(masks[0])
    stranger[30:90, 3:15] = True
    signed[0][stranger] = 4.0
    middle = hulls.middle_of(around)
    hull = hulls.carve(signed, around, middle, rule)
    for mask, seen, view in zip(masks, signed, around, strict=True):
        assert iou(hulls.silhouette(hull, seen, view, rule), mask) > 0.9
    assert not (hulls.silhouette(hull, signed[0], around[0], rule) & stranger).any()
    # every vertex of the body lies in the hull: it is never smaller than the person
    body = rendered.person.body.posed(rendered.motion.part(3, 4))[0]
    apart = np.linalg.norm(body[::20, None] - hull.points[None], axis=-1).min(1)
    assert np.quantile(apart, 0.95) < 0.05
    # a view that speaks strongly against a place outweighs all others
    signed[1][:] = -4.0
    assert not len(hulls.carve(signed, around, middle, rule).points)


def test_points_lie_in_the_pixel_whose_centre_is_nearest_and_outside_from_half_a_pixel_on() -> None:
    camera, pose = views(1)[0]
    u, v = np.meshgrid(np.arange(-1.45, camera.width + 1, 0.9), np.arange(-1.45, camera.height + 1, 0.9))
    ray = np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones_like(u)], -1).reshape(-1, 3)
    column, row, inside = hulls.seen_pixels(poses.transform(pose, 2.5 * ray), (camera, pose))
    u, v = u.ravel(), v.ravel()
    there = (u > -0.5) & (u < camera.width - 0.5) & (v > -0.5) & (v < camera.height - 0.5)
    assert np.array_equal(inside, there) and not column[~there].any() and not row[~there].any()
    assert np.abs(column - u)[there].max() < 0.5 and np.abs(row - v)[there].max() < 0.5
    assert not hulls.seen_pixels(poses.transform(pose, -2.5 * ray), (camera, pose))[2].any(), "behind the camera"


def test_the_background_is_what_is_seen_when_nobody_is_there() -> None:
    rng = np.random.default_rng(0)
    empty = rng.integers(0, 200, (40, 50, 3)).astype(np.uint8)
    pictures, said = np.repeat(empty[None], 8, 0), np.zeros((8, 40, 50))
    for frame in range(8):
        pictures[frame, 10:30, 5 * frame : 5 * frame + 8] = 255
        said[frame, 10:30, 5 * frame : 5 * frame + 8] = 0.9
    pictures[:, 35:, 40:], said[:, 35:, 40:] = 90, 0.8  # somebody who never moves
    rule = hulls.Rule()
    found = hulls.backgrounds(pictures, said, rule)
    known = np.isfinite(found[..., 0])
    assert np.array_equal(found[known], empty[known]) and not known[36:, 41:].any() and known[:30, :48].all()
    seen = hulls.evidence(pictures[4], np.zeros((40, 50)), found, rule)
    assert (seen[12:28, 22:26] > 0).all() and (seen[:8] < 0).all()


def test_the_fitted_body_covers_its_masks_better_than_the_rest_pose(rendered: Rendered) -> None:
    rule = hulls.Rule(fine_m=0.05, blur=0.0)
    around = [(c.intrinsics, c.world_from_camera) for c in rendered.cameras]
    frames = [0, 2, 4]
    masks = [tuple(rendered.read(i, f)[1] > 127 for i in range(4)) for f in frames]
    middle = hulls.middle_of(around)
    clouds = [
        hulls.carve([np.where(m, 4.0, -4.0).astype(np.float32) for m in row], around, middle, rule).points
        for row in masks
    ]
    facing = np.degrees(heading(rendered.motion, 0))
    seen = fitting.Observed(15.0, hulls=clouds, masks=masks, views=around)
    fitted = fitting.fit(seen, facing_deg=facing, steps=30)
    body = make_body(fitted.shape)
    ours = prepare.overlap(body, fitted.motion, masks, fitted.views)
    rest = prepare.overlap(body, prepare.standing(body, fitted.motion, clouds), masks, around)
    assert ours.mean() > 0.82 and ours.mean() > rest.mean() + 0.1
    truth = rendered.person.body.positions(
        replace(rendered.motion, root=rendered.motion.root[frames], rotation=rendered.motion.rotation[frames])
    )
    assert np.linalg.norm(body.positions(fitted.motion) - truth, axis=-1).mean() < 0.07


def test_a_cut_out_holds_all_masks_in_the_proportions_asked_for() -> None:
    masks = np.zeros((2, 60, 80), bool)
    masks[0, 10:50, 20:30], masks[1, 12:40, 40:60] = True, True
    left, top, width, height = prepare.cut_out(list(masks), (64, 80))
    assert left <= 20 and left + width >= 60 and top <= 10 and top + height >= 50
    assert abs(width / height - 0.8) < 0.03
    with pytest.raises(InputError, match="empty"):
        prepare.cut_out(list(masks[:, :5]), (64, 80))


def test_a_picture_through_a_lens_is_straightened_to_where_the_pinhole_sees_it() -> None:
    (small, pose), *_ = views(2)
    camera = cameras.FixedCamera("a", small, Lens("radtan", (-0.2, 0.05, 0.0, 0.0)), pose)
    bent = np.zeros((small.height, small.width, 3), np.uint8)
    point = np.array([0.2, 0.25, 1.0])
    u, v = camera.lens.bend(point[None])[0] * (small.fx, small.fy) + (small.cx, small.cy)
    bent[round(v) - 1 : round(v) + 2, round(u) - 1 : round(u) + 2] = 255
    straight = prepare._straightened(bent, small, camera)[..., 0].astype(float)
    rows, columns = np.indices(straight.shape)
    middle = np.array([(columns * straight).sum(), (rows * straight).sum()]) / straight.sum()
    assert np.abs(middle - (point[:2] * (small.fx, small.fy) + (small.cx, small.cy))).max() < 0.8


# --------------------------------------------------------------------------------------------- the command


def test_videos_become_a_capture_that_passes_its_check(
    tmp_path: Path, rendered: Rendered, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command from files to files, with a stand-in for `refer` that finds what is not grey."""
    import percepta

    class Stand:
        model = torch.nn.Identity()

        def predict(self, picture: np.ndarray, sentence: str) -> Any:
            away = np.abs(picture.astype(float) - 128).max(-1)
            return type("Result", (), {"probability": np.clip(away / 60, 0, 1)})()

    root, out = tmp_path / "c", tmp_path / "out"
    (root / "videos").mkdir(parents=True)
    (root / "calibration").mkdir()
    for i, camera in enumerate(rendered.cameras):
        frames = []
        for frame in range(0, 6, 2):
            picture, mask = rendered.read(i, frame)
            frames.append(np.where(mask[..., None] > 127, picture, 128).astype(np.uint8))
        video.write(root / "videos" / f"cam{i:02d}.mp4", frames, 15)
        as_opencv(root / "calibration" / f"cam{i:02d}.yml", camera.intrinsics, camera.world_from_camera, [0.0] * 5)
    monkeypatch.setattr(percepta, "load", lambda *given, **options: Stand())
    facing = f"{np.degrees(heading(rendered.motion, 0)):.0f}"
    words = [
        "avatar",
        "prepare",
        str(root),
        "--out",
        str(out),
        "--facing-deg",
        facing,
        "--size",
        "48",
        "60",
        "--steps",
        "30",
        "--reach-m",
        "0.02",
    ]
    assert main(words) == 0, capsys.readouterr().err
    printed = capsys.readouterr().out.replace("\n", " ")
    capture = thuman4.read(out)
    assert len(capture.cameras) == 4 and capture.frames == (0, 1, 2) and len(capture.motion) == 3
    assert capture.cameras[0].intrinsics.width == 48 and capture.motion.fps == pytest.approx(15)
    report = json.loads((out / "prepare.json").read_text())
    assert all(row["body_iou"] > 0.7 for row in report["cameras"].values())
    for row in report["cameras"].values():
        took, share = row["beyond_reach_px"], row["beyond_reach_share"]
        assert took > 0 and 0 < share < 0.3
        assert f"--reach-m took {took} of its pixels away ({share:.1%})" in printed
    assert main(["data", "avatar", "check", str(out)]) == 0, capsys.readouterr().out
    for wrong in (
        words,
        [*words[:3], "--out", str(tmp_path / "n"), "--calibration", str(tmp_path / "no")],
        ["avatar", "prepare", str(tmp_path / "no"), "--out", str(tmp_path / "n")],
    ):
        capsys.readouterr()
        assert main(wrong) == 2 and "error:" in capsys.readouterr().err


def test_check_names_the_camera_whose_masks_are_missing(
    tmp_path: Path, rendered: Rendered, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "c"
    rendered.save(root)
    for mask in (root / "masks" / "cam02").glob("*"):
        mask.unlink()
    with pytest.raises(InputError, match=r"masks/cam02 \(7 pictures\): there are none"):
        thuman4.read(root)
    assert main(["data", "avatar", "check", str(root)]) == 2 and "cam02" in capsys.readouterr().err


def test_rotation_vectors_turn_as_scipy_says() -> None:
    vectors = np.random.default_rng(0).normal(0, 1, (20, 3))
    vectors[0] = 0
    ours = fitting._rotation(torch.from_numpy(vectors)).numpy()
    assert np.allclose(ours, Rotation.from_rotvec(vectors).as_matrix(), atol=1e-6)
