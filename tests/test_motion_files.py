"""Files of motion capture alone: bvh, deepmimic, and the calibration of Qualisys; against scipy and by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from percepta.datasets import bvh, deepmimic, qualisys
from percepta.datasets.mocap import Mocap, place_joints
from percepta.errors import InputError

# The columns of deepmimic as its authors publish them: (name, first column); four numbers w x y z each, or one angle.
BALLS = {
    "root": 4, "chest": 8, "neck": 12, "right_hip": 16, "right_ankle": 21, "right_shoulder": 25, "left_hip": 30,
    "left_ankle": 35, "left_shoulder": 39,
}  # fmt: skip
HINGES = {"right_knee": 20, "right_elbow": 29, "left_knee": 34, "left_elbow": 43}
CHAIN = {
    "root": None, "chest": "root", "neck": "chest", "right_hip": "root", "right_knee": "right_hip",
    "right_ankle": "right_knee", "right_shoulder": "chest", "right_elbow": "right_shoulder", "left_hip": "root",
    "left_knee": "left_hip", "left_ankle": "left_knee", "left_shoulder": "chest", "left_elbow": "left_shoulder",
}  # fmt: skip


def frames(count: int = 3, seed: int | None = None) -> np.ndarray:
    """Frames of deepmimic of 1/20 s each; upright, or with random rotations."""
    table = np.zeros((count, 44))
    table[:, 0] = 0.05
    table[:, 1:4] = (0.5, 0.9, -0.2)
    rng = np.random.default_rng(seed)
    for column in BALLS.values():
        table[:, column] = 1.0
        if seed is not None:
            table[:, column : column + 4] = rng.normal(size=(count, 4))
    for column in HINGES.values():
        table[:, column] = 0.0 if seed is None else rng.uniform(-2, 2, count)
    return table


def deepmimic_of(table: np.ndarray, **more: object) -> Mocap:
    return deepmimic.parse(json.dumps({"Frames": table.tolist(), **more}), "humanoid3d_wave")


def test_deepmimic_turns_each_joint_by_its_own_columns() -> None:
    table = frames(seed=1)
    found = deepmimic_of(table)
    assert set(found.joints) == set(CHAIN) and len(found) == 3
    for t in range(3):
        world: dict[str, Rotation] = {}
        for name, parent in CHAIN.items():
            if name in BALLS:
                w, x, y, z = table[t, BALLS[name] : BALLS[name] + 4]
                own = Rotation.from_quat([x, y, z, w])
            else:
                own = Rotation.from_rotvec([0, 0, table[t, HINGES[name]]])
            world[name] = own if parent is None else world[parent] * own
            place = found.joints.index(name)
            np.testing.assert_allclose(found.rotation[t, place], world[name].as_matrix(), atol=1e-9)
            assert found.parents[place] == (-1 if parent is None else found.joints.index(parent))


def test_deepmimic_stands_as_its_authors_describe_it() -> None:
    """y up, x forward, z to the right: thighs of .42, shanks of .41 m, upper arms of .275; arms hang, sides mirror."""
    found = deepmimic_of(frames())
    at = dict(zip(found.joints, found.position[0] - (0.5, 0.9, -0.2), strict=True))
    assert np.allclose(at["root"], 0) and np.allclose(at["chest"], (0, 0.236, 0))
    assert np.allclose(at["neck"], (0, 0.46, 0))
    assert np.allclose(at["right_hip"], (0, 0, 0.085)) and np.allclose(at["right_knee"], (0, -0.42, 0.085))
    assert np.allclose(at["right_ankle"], (0, -0.83, 0.085))
    assert np.allclose(at["right_shoulder"], (-0.024, 0.4795, 0.183), atol=2e-3)
    assert np.allclose(at["right_shoulder"] - at["right_elbow"], (0, 0.275, 0), atol=6e-3)
    for name in ("hip", "knee", "ankle", "shoulder", "elbow"):
        assert np.allclose(at[f"left_{name}"], at[f"right_{name}"] * (1, 1, -1)), name


def test_deepmimic_s_times_and_loops() -> None:
    table = frames(4)
    table[-1, 0] = 0.0  # the last frame of a clip lasts no time
    table[1, 0] = 0.3
    assert deepmimic_of(table).fps == pytest.approx(20), "the median of all but the last"
    assert deepmimic_of(table[:1]).fps == pytest.approx(20) and deepmimic_of(table).kind == "deepmimic"
    assert deepmimic_of(table, Loop="wrap").loops and not deepmimic_of(table, Loop="none").loops
    assert not deepmimic_of(table).loops and deepmimic_of(table).action == "wave"
    for wrong in (table[:, :43], np.where(np.eye(4, 44) > 0, np.nan, table), table[:0], table * 0):
        with pytest.raises(InputError, match="humanoid3d_wave"):
            deepmimic_of(wrong)
    for text in ("no", "[]", '{"Loop": "wrap"}', '{"Frames": [["a"]]}'):
        with pytest.raises(InputError, match="Frames"):
            deepmimic.parse(text, "humanoid3d_wave")


def test_actions_are_taken_from_names() -> None:
    def named(name: str) -> str:
        eye = np.eye(3)[None, None]
        return Mocap(name, "bvh", 30, ("a",), (-1,), eye, np.zeros((1, 1, 3))).action

    assert named("dataset-1_walk-left_normal_001") == "walk-left" and named("humanoid3d_run") == "run"
    assert named("dataset-1_walk") == "dataset-1_walk"


def test_forward_kinematics_by_hand() -> None:
    """A quarter turn about z of the root carries the child's offset along x to y."""
    turn = Rotation.from_euler("z", 90, degrees=True).as_matrix()
    local = np.stack([turn, turn])[None]
    offset = np.array([[[1.0, 2, 3], [5, 0, 0]]])
    rotation, position = place_joints((-1, 0), local, offset)
    assert np.allclose(position[0], [(1, 2, 3), (1, 7, 3)]) and np.allclose(rotation[0, 1], turn @ turn)
    _, both = place_joints((-1, -1), local, offset)
    assert np.allclose(both, offset), "two roots"


TREE = """HIERARCHY
ROOT Hips
{{
  OFFSET 1 2 3
  CHANNELS 6 Xposition Yposition Zposition {order}
  JOINT Arm
  {{
    OFFSET 4 0 0
    CHANNELS 3 {order}
    End Site
    {{
      OFFSET 9 9 9
    }}
  }}
  JOINT Leg
  {{
    OFFSET 0 -5 0
    CHANNELS 1 Yrotation
  }}
}}
MOTION
Frames: 1
Frame Time: 0.04
"""


@pytest.mark.parametrize("order", ["XYZ", "ZXY", "YXZ", "ZYX"])
def test_bvh_turns_in_the_order_of_its_channels(order: str) -> None:
    """Intrinsic rotations, the first channel outermost; scipy writes these orders in capitals."""
    head = TREE.format(order=" ".join(f"{axis}rotation" for axis in order))
    found = bvh.parse(head + "7 8 9 10 -20 30 40 50 -60 70\n", "clip")
    assert found.joints == ("Hips", "Arm", "Leg") and found.parents == (-1, 0, 0) and found.fps == pytest.approx(25)
    hips = Rotation.from_euler(order, [10, -20, 30], degrees=True).as_matrix()
    arm = Rotation.from_euler(order, [40, 50, -60], degrees=True).as_matrix()
    leg = Rotation.from_euler("Y", 70, degrees=True).as_matrix()
    np.testing.assert_allclose(found.rotation[0], [hips, hips @ arm, hips @ leg], atol=1e-12)
    np.testing.assert_allclose(found.position[0, 0], (7, 8, 9))  # channels of a position replace the offset
    np.testing.assert_allclose(found.position[0, 1], (7, 8, 9) + hips @ (4, 0, 0))
    np.testing.assert_allclose(found.position[0, 2], (7, 8, 9) + hips @ (0, -5, 0))
    assert not found.loops and found.kind == "bvh"


ROW = "7 8 9 10 -20 30 40 50 -60 70\n"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Frame Time: 0.04", "Frame Time: 0"), ("Frame Time: 0.04", "Frame Time: -1"),
        ("Frame Time: 0.04", "Frame Time: inf"), ("Frame Time: 0.04", "0.04"), ("Frames: 1", "Frames: 2"),
        ("70\n", "\n"), ("70\n", "nan\n"), ("70\n", "70 80\n"), ("CHANNELS 1 Yrotation", "CHANNELS 1 Wrotation"),
        ("CHANNELS 1 Yrotation", "CHANNELS 1 Yscale"), ("ROOT Hips\n{\n", ""), ("OFFSET 4 0 0", "OFFSET four 0 0"),
        ("MOTION", "}\nMOTION"), ("    CHANNELS 1 Yrotation\n  }", "    CHANNELS 1 Yrotation\n"),
    ],
)  # fmt: skip
def test_bvh_that_is_broken_is_named(old: str, new: str) -> None:
    text = TREE.format(order="Zrotation Xrotation Yrotation") + ROW
    assert old in text and len(bvh.parse(text, "clip")) == 1
    with pytest.raises(InputError, match=r"^clip: "):
        bvh.parse(text.replace(old, new), "clip")


def test_bvh_without_offsets_or_rows() -> None:
    found = bvh.parse("HIERARCHY ROOT a { CHANNELS 1 Xposition } MOTION\nFrames: 2\nFrame Time: .5\n1\n\n2\n", "clip")
    assert found.position[:, 0].tolist() == [[1, 0, 0], [2, 0, 0]] and found.fps == 2
    with pytest.raises(InputError, match="brackets"):
        bvh.parse("HIERARCHY MOTION\nFrames: 1\nFrame Time: .5\n1\n", "clip")


QCA = """<calibration><cameras><camera serial="{serial}">
<fov_video left="8" top="4" right="647" bottom="483"/>
<intrinsic focalLengthU="64000" focalLengthV="65280" centerPointU="20992" centerPointV="15616"
 radialDistortion1="-0.1" radialDistortion2="0.2" tangentalDistortion1="0.003" tangentalDistortion2="-0.004"/>
<transform x="1000" y="-2000" z="1500" r11="1" r12="0" r13="0" r21="0" r22="0" r23="1" r31="0" r32="-1" r33="0"/>
</camera></cameras></calibration>"""


def test_qualisys_by_hand(tmp_path: Path) -> None:
    """Right is x of the world, up is its z and backwards is −y: so the camera looks along y. 64000 / 64 px is 1000; the
    centre is 20992 / 64 − 8 = 320 and 15616 / 64 − 4 = 240 px from the sight's corner, which is 640 × 480 large."""
    path = tmp_path / "a.qca.txt"
    path.write_text(QCA.format(serial="77"))
    (camera,) = qualisys.read(path)
    inner = camera.intrinsics
    assert (inner.fx, inner.fy, inner.cx, inner.cy, inner.width, inner.height) == (1000, 1020, 320, 240, 640, 480)
    assert camera.name == "77" and camera.distortion == (-0.1, 0.2, 0.003, -0.004)
    np.testing.assert_allclose(camera.world_from_camera[:3, 3], (1, -2, 1.5))
    right, down, forward = camera.world_from_camera[:3, :3].T
    assert right.tolist() == [1, 0, 0] and down.tolist() == [0, 0, -1] and forward.tolist() == [0, 1, 0]
    good = QCA.format(serial="77")
    for wrong, says in (
        (good.replace('x="1000"', ""), "no calibration"),
        ("no XML", "no calibration"),
        ("<calibration/>", "no cameras"),
        (good.replace('r11="1"', 'r11="2"'), "camera 77"),
    ):
        path.write_text(wrong)
        with pytest.raises(InputError, match=says):
            qualisys.read(path)
    with pytest.raises(InputError, match="no calibration"):
        qualisys.read(tmp_path / "gone.qca.txt")
