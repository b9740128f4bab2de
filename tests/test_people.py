"""People: skinning, recordings on our body, cloth, the rasteriser, films and drives, held to laws and slow oracles."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from percepta.datasets import bvh, deepmimic, motions
from percepta.errors import InputError
from percepta.geometry.body import JOINTS, J, Motion, make_body, skin
from percepta.worlds.people import motions as made
from percepta.worlds.people.cabin import ACTIVITIES, VIEWS, make_drive
from percepta.worlds.people.cloth import simulate, skirt
from percepta.worlds.people.film import random_stage, shoot
from percepta.worlds.people.person import dressed, ring
from percepta.worlds.people.rig import DEEPMIMIC, read_rig, retarget

BVH = """HIERARCHY
ROOT Hips
{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT Knee
  {
    OFFSET 0 -40 0
    CHANNELS 3 Zrotation Xrotation Yrotation
    End Site
    {
      OFFSET 0 -40 0
    }
  }
}
MOTION
Frames: 2
Frame Time: 0.05
1 90 2 0 0 0 0 0 0
1 90 2 90 0 0 0 90 0
"""


def standing(frames: int = 2) -> dict[str, object]:
    row = [0.1, 0, 0.9, 0, *[1, 0, 0, 0] * 4, 0, *[1, 0, 0, 0] * 2, 0, *[1, 0, 0, 0], 0, *[1, 0, 0, 0] * 2, 0]
    assert len(row) == deepmimic.COLUMNS
    return {"Loop": "wrap", "Frames": [row] * frames}


def test_skinning_equals_its_definition() -> None:
    body = make_body()
    motion = made.made("sway", 0.2)
    transforms = body.transforms(motion)
    points, weights = body.vertices[::97], body.weights[::97].astype(float)
    slow = np.zeros((len(motion), len(points), 3))
    for t in range(len(motion)):
        for v in range(len(points)):
            for j in range(len(JOINTS)):
                slow[t, v] += weights[v, j] * (transforms[t, j, :3, :3] @ points[v] + transforms[t, j, :3, 3])
    assert np.allclose(skin(points, body.weights[::97], transforms), slow, atol=1e-6)


def test_weights_add_up_and_bones_keep_their_length() -> None:
    body = make_body()
    assert np.allclose(body.weights.sum(1), 1, atol=1e-6)
    where = body.positions(made.made("squat", 1.0))
    thigh = np.linalg.norm(where[:, J["left_shin"]] - where[:, J["left_thigh"]], axis=-1)
    assert np.allclose(thigh, np.linalg.norm(body.joints[J["left_shin"]] - body.joints[J["left_thigh"]]))


def test_poses_at_other_times_lie_between_their_neighbours() -> None:
    motion = made.made("squat", 1.0)
    between = motion.at(np.array([-1.0, 0.0, 1.5 / motion.fps, 99.0]))
    assert np.allclose(between.root[[0, 1, 3]], motion.root[[0, 0, -1]])
    assert np.allclose(between.root[2], (motion.root[1] + motion.root[2]) / 2)
    first, half, last = motion.rotation[1], between.rotation[2], motion.rotation[2]
    assert np.allclose(half.swapaxes(1, 2) @ last, first.swapaxes(1, 2) @ half, atol=1e-6), "half of the turn"
    assert motion.at(np.array([0.2, 0.25, 0.5])).fps == pytest.approx(20)
    for times in ([0.2], [0.2, 0.2]):
        assert motion.at(np.array(times)).fps == motion.fps
    assert motion.at(np.arange(len(motion)) / motion.fps).fps == pytest.approx(motion.fps)


def test_bvh_is_read_as_its_channels_say() -> None:
    mocap = bvh.parse(BVH, "clip")
    assert mocap.fps == pytest.approx(20) and mocap.joints == ("Hips", "Knee")
    assert np.allclose(mocap.position[0, 1], (1, 50, 2))
    assert np.allclose(mocap.position[1, 1], (41, 90, 2))  # the hips turned by 90 degrees about z
    wanted = Rotation.from_euler("Z", 90, degrees=True) * Rotation.from_euler("X", 90, degrees=True)
    assert np.allclose(mocap.rotation[1, 1], wanted.as_matrix())


@pytest.mark.parametrize(
    "old, new", [("Frames: 2", "Frames: 3"), ("MOTION", ""), ("90 0 0 0 90", "x 0 0 0 90"), ("}\nMOTION", "MOTION")]
)
def test_broken_bvh_is_named(old: str, new: str) -> None:
    with pytest.raises(InputError, match="clip"):
        bvh.parse(BVH.replace(old, new), "clip")


def test_deepmimic_stands_upright_with_arms_down(tmp_path: Path) -> None:
    path = tmp_path / "humanoid3d_stand.txt"
    path.write_text(json.dumps(standing()))
    mocap = motions.read(path)
    assert mocap.action == "stand" and mocap.loops and mocap.fps == pytest.approx(10)
    body = make_body()
    where = body.positions(retarget(mocap, body))[0]
    assert where[J["head"], 2] > where[J["pelvis"], 2] > where[J["left_shin"], 2] > where[J["left_foot"], 2] > 0
    assert where[J["left_thigh"], 1] > 0 > where[J["right_thigh"], 1]
    arm = where[J["left_hand"]] - where[J["left_upper_arm"]]
    assert np.allclose(arm / np.linalg.norm(arm), (0, 0, -1), atol=1e-6)
    table = standing()
    table["Frames"] = [row[:-1] for row in table["Frames"]]  # pyright: ignore
    path.write_text(json.dumps(table))
    with pytest.raises(InputError, match="44"):
        motions.read(path)


def test_a_rig_file_gives_the_same_motion(tmp_path: Path) -> None:
    rig = {
        "forward": "+x", "left": "-z", "up": "+y", "metres": 1, "pelvis_height": DEEPMIMIC.pelvis_height,
        "joints": {ours: [theirs, list(a), list(b)] for ours, (theirs, a, b) in DEEPMIMIC.joints.items()},
    }  # fmt: skip
    path = tmp_path / "rig.json"
    path.write_text(json.dumps(rig))
    mocap = deepmimic.parse(json.dumps(standing()), "humanoid3d_stand")
    assert np.allclose(retarget(mocap, rig=read_rig(path)).rotation, retarget(mocap).rotation)
    rig["joints"]["tail"] = ["root", "+x", "+y"]
    path.write_text(json.dumps(rig))
    with pytest.raises(InputError, match="tail"):
        read_rig(path)


def test_recordings_walk_forward_on_their_feet(shared_data: Path) -> None:
    body = make_body()
    clips = {clip.name: clip for clip in motions.clips(shared_data / "motion")}
    assert len(clips) == 44 and all(made.action_of(clip) for clip in clips.values())
    for name in ("humanoid3d_walk", "dataset-1_walk_normal_001", "dataset-2_run_normal_001"):
        motion = retarget(clips[name], body)
        forward = motion.rotation[:, 0, :, 0].mean(0)
        travel = motion.root[-1] - motion.root[0]
        assert travel[:2] @ forward[:2] > 0.8 * np.linalg.norm(travel[:2]), name
        feet = body.posed(motion)[..., 2].min(1)
        assert abs(np.quantile(feet, 0.02)) < 1e-6 and np.median(feet) < 0.15, name
        where = body.positions(motion)
        assert (where[:, J["head"], 2] - where[:, J["pelvis"], 2] > 0.5).all(), name


def test_joined_and_looped_motions_do_not_jump() -> None:
    walk, turn = made.made("walk", 1.0, seed=1), made.made("turn", 1.0, seed=2)
    both = made.joined([walk, turn, walk])
    assert np.linalg.norm(np.diff(both.root, axis=0), axis=1).max() < 0.12
    step = np.swapaxes(both.rotation[:-1], -1, -2) @ both.rotation[1:]
    assert np.degrees(Rotation.from_matrix(step.reshape(-1, 3, 3)).magnitude()).max() < 40
    for part, seconds in ((walk, 2.5), (walk, 0.4), (walk.part(0, 4), 1.0), (replace(walk, loops=True), 5.0)):
        assert made.looped(part, seconds).seconds == pytest.approx(seconds)
    with pytest.raises(InputError):
        made.joined([walk, walk.resampled(10)])


def test_cloth_is_repeatable_hangs_together_and_stays_outside() -> None:
    body = make_body()
    garment = skirt(body, columns=24)
    motion = made.made("walk", 0.4)
    first, second = simulate(garment, body, motion), simulate(garment, body, motion)
    assert np.array_equal(first, second) and np.isfinite(first).all()
    at = np.arange(garment.rows * garment.columns).reshape(garment.rows, -1)
    a, b = at[:, :-1].ravel(), at[:, 1:].ravel()
    rest = np.linalg.norm(garment.vertices[a] - garment.vertices[b], axis=-1)
    now = np.linalg.norm(first[-1, a] - first[-1, b], axis=-1)
    assert np.quantile(now / rest, 0.95) < 1.15
    held = garment.fixed * garment.columns
    carried = skin(garment.vertices[:held], garment.weights[:held], body.transforms(motion))
    assert np.allclose(first[:, :held], carried, atol=1e-9)
    for joint, start, end, r0, r1 in body.capsules:
        if joint in garment.collides:
            matrix = body.transforms(motion)[-1, joint]
            p, q = (matrix[:3, :3] @ x + matrix[:3, 3] for x in (start, end))
            t = np.clip((first[-1, held:] - p) @ (q - p) / ((q - p) @ (q - p)), 0, 1)
            distance = np.linalg.norm(first[-1, held:] - p - t[:, None] * (q - p), axis=-1)
            assert (distance > r0 + (r1 - r0) * t - 0.02).all()


def test_masks_agree_with_colours_and_cameras_see_the_whole_person() -> None:
    person = dressed("skirt")
    vertices = person.moved(made.made("turn", 0.1))[0]
    for view in ring(3, 64, 80):
        seen = person.seen(vertices, view.camera, view.world_from_camera)
        assert ((seen.mask > 0) == (seen.colour.sum(-1) > 0)).all()
        assert seen.mask[[0, -1]].max() == 0 and seen.mask[:, [0, -1]].max() == 0 and seen.mask.sum() > 300


def test_films_follow_from_their_seed() -> None:
    person, stage = dressed(), random_stage(3)
    motion = made.made("walk", 0.3)
    first, second = (shoot(motion, person, stage, seed=5, width=48, height=36) for _ in range(2))
    assert np.array_equal(first.pixels, second.pixels) and first.mask.max() == 255
    other = shoot(motion, person, stage, seed=6, width=48, height=36)
    assert not np.array_equal(first.pixels, other.pixels)


def test_a_drive_has_each_activity_once_and_its_things_where_they_belong() -> None:
    drive = make_drive(4, fps=5, pace=0.3)
    assert sorted(span.activity for span in drive.spans) == list(range(1, len(ACTIVITIES)))
    assert all(a.end_s <= b.start_s for a, b in zip(drive.spans, drive.spans[1:], strict=False))
    head = drive.person.body.positions(drive.motion)[:, J["head"]]
    for number in range(len(drive)):
        name = ACTIVITIES[drive.label(number)]
        if drive.prop[number]:
            assert name.split()[0] in ("drinking", "phone", "eating", "text")
        if name.startswith("phone") and drive.prop[number]:
            now, span = number / drive.fps, next(s for s in drive.spans if s.activity == drive.label(number))
            if span.start_s + 0.8 < now < span.end_s - 0.8:
                assert np.linalg.norm(drive.held[number, :3, 3] - head[number]) < 0.4
    pictures = [drive.frame(view, 3, 48, 36) for view in VIEWS]
    assert np.array_equal(pictures[0], make_drive(4, fps=5, pace=0.3).frame(VIEWS[0], 3, 48, 36))
    assert all(picture.std() > 10 for picture in pictures)
    with pytest.raises(InputError, match="Rear_view"):
        drive.frame("top", 0)


def test_wrong_motions_are_refused() -> None:
    with pytest.raises(InputError, match="19"):
        Motion(np.zeros((2, 3)), np.zeros((2, 4, 3, 3)), 30.0)
    with pytest.raises(InputError, match="made-up"):
        made.made("fly", 1.0)
