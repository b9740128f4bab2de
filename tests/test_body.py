"""The articulated body: motions, joints, skinning and the mesh, by laws and by hand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from percepta.errors import InputError
from percepta.geometry import body as bodies
from percepta.geometry.body import (
    JOINTS,
    PARENTS,
    Body,
    J,
    Motion,
    Shape,
    heading,
    make_body,
    random_shape,
    rest_joints,
    skin,
    vertex_normals,
)

# Rings of each tube of the mesh and its part, in the order of the vertices: torso, head, neck, then of each side an arm
# (one ring above the shoulder, six of the upper arm, seven of the forearm, whose end counts) and a hand, then of each
# side a leg (one above the hip, seven, eight) and a foot.
TUBES = [(0, 12), (1, 10), (1, 4), (2, 14), (2, 6), (3, 14), (3, 6), (4, 16), (4, 8), (5, 16), (5, 8)]
COLUMNS = 14


def tube(body: Body, number: int) -> slice:
    """Vertices of the rings of a tube, without the two that close its ends."""
    start = sum(rings * (COLUMNS + 1) + 2 for _, rings in TUBES[:number])
    return slice(start, start + TUBES[number][1] * (COLUMNS + 1))


def centres(body: Body, number: int) -> np.ndarray:
    """Middle of each ring: the mean of its vertices, the doubled one of the seam counted once."""
    return body.vertices[tube(body, number)].reshape(-1, COLUMNS + 1, 3)[:, :-1].mean(1)


def some_motion(seed: int = 0, frames: int = 4, fps: float = 5.0, loops: bool = True) -> Motion:
    rng = np.random.default_rng(seed)
    turns = Rotation.from_quat(rng.normal(size=(frames * len(JOINTS), 4))).as_matrix()
    turns = turns.reshape(frames, len(JOINTS), 3, 3)
    return Motion(rng.normal(size=(frames, 3)), turns, fps, "any", loops)


# --- motions ----------------------------------------------------------------------------------------------------------


def test_a_motion_s_length_and_parts() -> None:
    motion = some_motion(frames=5, fps=4.0)
    assert len(motion) == 5 and motion.seconds == 1.0  # four steps of a quarter of a second
    part = motion.part(1, 4)
    assert (part.root == motion.root[1:4]).all() and (part.rotation == motion.rotation[1:4]).all()
    assert motion.loops and not part.loops and part.fps == 4.0 and part.name == "any"
    plain = Motion(motion.root, motion.rotation, 4.0)
    assert not plain.loops and plain.name == ""


def test_a_motion_of_other_shapes_is_refused() -> None:
    turns = np.zeros((2, len(JOINTS), 3, 3))
    with pytest.raises(InputError, match="roots"):
        Motion(np.zeros((2, 3)), turns[:, 1:], 30.0)
    for root in (np.zeros((3, 3)), np.zeros((2, 2))):
        with pytest.raises((InputError, TypeError)):  # the second where shapes are checked
            Motion(root, turns, 30.0)


def test_local_rotations_put_together_along_the_bones_are_those_of_the_world() -> None:
    motion = some_motion()
    local = motion.local
    for joint in range(len(JOINTS)):
        chain = [joint]
        while PARENTS[chain[0]] >= 0:
            chain.insert(0, PARENTS[chain[0]])
        whole = np.eye(3)
        for one in chain:
            whole = whole @ local[2, one]
        np.testing.assert_allclose(whole, motion.rotation[2, joint], atol=1e-12)


def test_poses_between_two_are_on_the_way() -> None:
    """Half a second between two poses; a joint turns by 90 degrees about z and the body moves by 2 m."""
    turns = np.tile(np.eye(3), (2, len(JOINTS), 1, 1))
    turns[1, J["chest"]] = Rotation.from_euler("z", 90, degrees=True).as_matrix()
    motion = Motion(np.array([[0.0, 0, 1], [2, 0, 1]]), turns, 2.0, loops=True)
    there = motion.at(np.array([-3.0, 0.125, 0.375, 9.0]))
    np.testing.assert_allclose(there.root[:, 0], (0, 0.5, 1.5, 2))
    angles = Rotation.from_matrix(there.rotation[:, J["chest"]]).as_euler("xyz", degrees=True)[:, 2]
    np.testing.assert_allclose(angles, (0, 22.5, 67.5, 90), atol=1e-9)
    np.testing.assert_allclose(there.rotation[:, J["head"]], np.tile(np.eye(3), (4, 1, 1)))
    assert not there.loops and there.fps == pytest.approx(1 / 3.125)
    for times in ([0.3], [0.3, 0.3], [0.3, 0.1]):
        assert motion.at(np.array(times)).fps == 2.0, "no time passes between the first two"
    one = motion.part(1, 2).at(np.array([0.0, 5.0, 7.0]))
    assert len(one) == 3 and (one.root == motion.root[1]).all() and (one.rotation == motion.rotation[1]).all()


@pytest.mark.parametrize(
    ("frames", "fps", "wanted", "count"),
    [(11, 10.0, 30.0, 31), (4, 30.0, 10.0, 2), (6, 10.0, 3.0, 2), (8, 7.0, 49.0, 50)],
)
def test_resampling_keeps_the_time(frames: int, fps: float, wanted: float, count: int) -> None:
    """As many steps of 1 / wanted as fit between the first and the last pose, and one pose more."""
    motion = some_motion(frames=frames, fps=fps)
    other = motion.resampled(wanted)
    assert len(other) == count and other.fps == wanted and other.loops
    assert not some_motion(loops=False).resampled(wanted).loops
    for number in range(count):
        np.testing.assert_allclose(other.root[number], motion.at(np.array([number / wanted])).root[0])


@given(st.floats(-3, 3), st.floats(-2, 2), st.floats(-2, 2))
@settings(max_examples=15, deadline=None)
def test_a_moved_motion_turns_about_its_first_pelvis(yaw: float, x: float, y: float) -> None:
    motion = some_motion()
    moved = motion.moved(yaw, (x, y))
    turn = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    for t in range(len(motion)):
        away = motion.root[t] - motion.root[0]
        np.testing.assert_allclose(moved.root[t], motion.root[0] + (x, y, 0) + turn @ away, atol=1e-12)
        np.testing.assert_allclose(moved.rotation[t, 5], turn @ motion.rotation[t, 5], atol=1e-12)
    np.testing.assert_allclose(motion.moved(yaw).root[0], motion.root[0], atol=1e-12)
    rest = make_body().rest(2)
    turned = Motion(rest.root, np.stack([rest.rotation[0], rest.moved(yaw).rotation[1]]), 30.0)
    assert heading(turned, 0) == 0 and heading(turned, 1) == pytest.approx(yaw)


# --- joints and skinning ----------------------------------------------------------------------------------------------


def test_people_are_of_all_sizes_between_the_bounds() -> None:
    rng = np.random.default_rng(0)
    found = [random_shape(rng) for _ in range(400)]
    bounds = {"height_m": (1.55, 1.95), "girth": (0.85, 1.25), "legs": (0.95, 1.05), "arms": (0.95, 1.05),
              "shoulders": (0.9, 1.12)}  # fmt: skip
    for name, (low, high) in bounds.items():
        values = np.array([getattr(one, name) for one in found])
        assert low <= values.min() < low + 0.03 * (high - low), name
        assert high - 0.03 * (high - low) < values.max() <= high, name
    assert Shape() == Shape(1.75, 1.0, 1.0, 1.0, 1.0), "the average"


def test_joints_of_the_average_body() -> None:
    """1.75 m: hips at 0.91, so 0.84 above them; the spine's joints at 5, 15, 30, 56 and 66 cm of these 84."""
    where = rest_joints(Shape())
    for name, z in {"pelvis": 0.96, "spine": 1.06, "chest": 1.21, "neck": 1.47, "head": 1.57}.items():
        np.testing.assert_allclose(where[J[name]], (0, 0, z), atol=1e-12)
    down = np.sqrt(0.5)  # the arms hang 45 degrees off
    expected = {
        "clavicle": (0, 0.03, 1.41), "upper_arm": (0, 0.175, 1.41),
        "forearm": (0, 0.175 + 0.285 * down, 1.41 - 0.285 * down),
        "hand": (0, 0.175 + 0.535 * down, 1.41 - 0.535 * down),
        "thigh": (0, 0.092, 0.91), "shin": (0, 0.092, 0.495), "foot": (0, 0.092, 0.085),
    }  # fmt: skip
    for name, (x, y, z) in expected.items():
        np.testing.assert_allclose(where[J[f"left_{name}"]], (x, y, z), atol=1e-12)
        np.testing.assert_allclose(where[J[f"right_{name}"]], (x, -y, z), atol=1e-12)


def test_longer_legs_take_their_length_from_the_trunk() -> None:
    plain, long = rest_joints(Shape(1.9)), rest_joints(Shape(1.9, legs=1.1))
    hip, longer = plain[J["left_thigh"], 2], long[J["left_thigh"], 2]
    assert longer == pytest.approx(1.1 * hip)
    assert long[J["left_shin"], 2] == pytest.approx(1.1 * plain[J["left_shin"], 2])
    for name in ("pelvis", "spine", "chest", "neck", "head", "left_clavicle", "right_upper_arm"):
        share = (plain[J[name], 2] - hip) / (1.9 - hip)
        assert (long[J[name], 2] - longer) / (1.9 - longer) == pytest.approx(share), name


def test_shoulders_and_arms_have_their_measures() -> None:
    """17.5 cm from the middle to the shoulder of the average body, 28.5 and 25 cm from there to elbow and wrist."""
    where = rest_joints(Shape(2.0, arms=0.9, shoulders=1.2))
    s = 2.0 / 1.75
    assert where[J["left_upper_arm"], 1] == pytest.approx(0.175 * s * 1.2)
    assert where[J["right_clavicle"], 1] == pytest.approx(-0.03 * s * 1.2)
    upper = np.linalg.norm(where[J["right_forearm"]] - where[J["right_upper_arm"]])
    lower = np.linalg.norm(where[J["right_hand"]] - where[J["right_forearm"]])
    assert upper == pytest.approx(0.285 * s * 0.9) and lower == pytest.approx(0.25 * s * 0.9)


def test_a_taller_body_is_the_same_body_larger() -> None:
    one, other = make_body(), make_body(Shape(2 * 1.75))
    np.testing.assert_allclose(other.joints, 2 * one.joints)
    np.testing.assert_allclose(other.vertices, 2 * one.vertices, atol=1e-12)
    np.testing.assert_allclose(other.weights, one.weights, atol=1e-6)
    np.testing.assert_allclose(other.uv, one.uv, atol=1e-12)
    for small, large in zip(one.capsules, other.capsules, strict=True):
        assert small[0] == large[0]
        for a, b in zip(small[1:], large[1:], strict=True):
            np.testing.assert_allclose(b, 2 * np.asarray(a), atol=1e-12)


def test_positions_and_transforms_are_those_of_matrices_along_the_bones() -> None:
    body, motion = make_body(), some_motion()
    where, carried = body.positions(motion), body.transforms(motion)
    for joint, parent in enumerate(PARENTS):
        for t in range(len(motion)):
            turn = motion.rotation[t]
            place = motion.root[t]
            if parent >= 0:
                place = where[t, parent] + turn[parent] @ (body.joints[joint] - body.joints[parent])
            np.testing.assert_allclose(where[t, joint], place, atol=1e-12)
            matrix = np.eye(4)
            matrix[:3, :3], matrix[:3, 3] = turn[joint], place - turn[joint] @ body.joints[joint]
            np.testing.assert_allclose(carried[t, joint], matrix, atol=1e-12)
    rest = body.rest(3)
    assert len(rest) == 3 and len(body.rest()) == 1 and rest.fps == 30 and rest.name == "rest"
    np.testing.assert_allclose(body.positions(rest)[2], body.joints, atol=1e-12)


def test_skin_is_the_weighted_mean_of_what_each_joint_does() -> None:
    rng = np.random.default_rng(1)
    points, weights, matrices = rng.normal(size=(5, 3)), rng.dirichlet(np.ones(4), 5), rng.normal(size=(2, 4, 4, 4))
    found = skin(points, weights, matrices)
    for t in range(2):
        for v in range(5):
            each = [matrices[t, j, :3, :3] @ points[v] + matrices[t, j, :3, 3] for j in range(4)]
            np.testing.assert_allclose(found[t, v], sum(w * p for w, p in zip(weights[v], each, strict=True)))


def test_normals_are_the_mean_of_the_faces_by_area() -> None:
    rng = np.random.default_rng(2)
    vertices, faces = rng.normal(size=(2, 7, 3)), np.array([[0, 1, 2], [2, 1, 3], [0, 4, 5], [5, 1, 0]])
    found = vertex_normals(vertices, faces)
    for t in range(2):
        for v in range(6):
            total = np.zeros(3)
            for a, b, c in faces:
                if v in (a, b, c):
                    total += np.cross(vertices[t, b] - vertices[t, a], vertices[t, c] - vertices[t, a])
            np.testing.assert_allclose(found[t, v], total / np.linalg.norm(total), atol=1e-12)
    assert (found[:, 6] == 0).all(), "a vertex of no face has none"


# --- the mesh ---------------------------------------------------------------------------------------------------------


def test_grids_and_passages_by_hand() -> None:
    assert bodies.grid_faces(2, 3).tolist() == [[0, 3, 4], [1, 4, 5], [0, 4, 1], [1, 5, 2]]
    assert bodies._blend(-0.1, 3, 4) == {3: 1.0} == bodies._blend(0, 3, 4)
    assert bodies._blend(1, 3, 4) == {4: 1.0} == bodies._blend(1.5, 3, 4)
    assert bodies._blend(0.25, 3, 4) == {3: 0.84375, 4: 0.15625}  # t²(3 − 2t) = 1/16 · 5/2
    assert bodies._blend(0.5, 3, 4) == {3: 0.5, 4: 0.5}


@pytest.mark.parametrize(("detail", "rings"), [(1, 114), (2, 216)])
def test_the_mesh_has_its_rings(detail: int, rings: int) -> None:
    """With detail 2: 24 + 20 + 4 rings of torso, head, neck, and on each side 1 + 12 + 13, 12, 1 + 14 + 15 and 16."""
    body = make_body(detail=detail)
    columns = COLUMNS * detail
    assert sum(count for _, count in TUBES) == 114 and len(TUBES) == 11
    assert len(body.vertices) == len(body.uv) == len(body.weights) == rings * (columns + 1) + 2 * 11
    assert len(body.faces) == rings * 2 * columns  # between two rings, and as many at both ends together


def test_every_part_is_closed_and_faces_outwards() -> None:
    body = make_body()
    volume = 0.0
    for number, (part, _) in enumerate(TUBES):
        span = tube(body, number)
        own = body.faces[((body.faces >= span.start) & (body.faces < span.stop + 2)).all(1)]
        assert (body.part[own] == part).all()
        _, same = np.unique(body.vertices.round(9), axis=0, return_inverse=True)
        merged = same.reshape(-1)[own]
        edges = [(a, b) for face in merged.tolist() for a, b in zip(face, [*face[1:], face[0]], strict=True)]
        assert len(set(edges)) == len(edges) and {(b, a) for a, b in edges} == set(edges), "each edge once each way"
        a, b, c = (body.vertices[own[:, i]] for i in range(3))
        size = float((a * np.cross(b, c)).sum() / 6)
        assert size > 0
        volume += size
    assert 0.055 < volume < 0.09  # somebody of 1.75 m weighs about 70 kg, a little less than as much water
    assert np.einsum("vi,vi->v", body.normals, body.normals) == pytest.approx(np.ones(len(body.vertices)))


def test_the_mesh_has_no_jumps_and_the_size_of_a_person() -> None:
    """Lengths in metres, such as tables of body measures give them for adults."""
    body = make_body()
    a, b, c = (body.vertices[body.faces[:, i]] for i in range(3))
    assert max(np.linalg.norm(a - b, axis=1).max(), np.linalg.norm(b - c, axis=1).max()) < 0.14
    torso, head, neck, arm, hand, leg, foot = (body.vertices[tube(body, i)] for i in (0, 1, 2, 3, 4, 7, 8))
    for name, part, axis, low, high in (
        ("hips and shoulders", torso, 1, 0.30, 0.38), ("chest and seat", torso, 0, 0.20, 0.27),
        ("breadth of the head", head, 1, 0.14, 0.17), ("depth of the head", head, 0, 0.18, 0.21),
        ("height of the head", head, 2, 0.20, 0.24), ("breadth of the neck", neck, 1, 0.10, 0.13),
        ("thickness of the arm", arm, 0, 0.09, 0.12), ("breadth of the hand", hand, 0, 0.075, 0.095),
        ("thickness of the thigh", leg, 0, 0.16, 0.20), ("length of the foot", foot, 0, 0.24, 0.28),
        ("breadth of the foot", foot, 1, 0.08, 0.10), ("height of the instep", foot, 2, 0.07, 0.11),
    ):  # fmt: skip
        assert low < np.ptp(part[:, axis]) < high, name
    along = (hand - body.joints[J["left_hand"]]) @ (0, np.sqrt(0.5), -np.sqrt(0.5))
    assert 0.16 < np.ptp(along) < 0.20 and -0.02 < along.min() < 0.01, "the hand goes on from the wrist"
    assert head[:, 2].max() == pytest.approx(1.75, abs=0.01)
    assert abs(neck[:, 2].max() - body.joints[J["head"], 2]) < 0.03 and neck[:, 2].min() < body.joints[J["neck"], 2]
    hip, neck_z = body.joints[J["left_thigh"], 2], body.joints[J["neck"], 2]
    assert torso[:, 2].max() == pytest.approx(neck_z) and torso[:, 2].min() == pytest.approx(
        hip - 0.16 * (neck_z - hip)
    )
    toes, heel = foot[:, 0].max(), foot[:, 0].min()
    assert toes > 2 * -heel > 0.1, "feet point forward"
    assert np.allclose(foot.reshape(-1, COLUMNS + 1, 3)[:, 0, 2], 0, atol=1e-9), "the whole sole is on the floor"


def test_rings_of_limbs_go_along_the_bones_and_share_the_joints() -> None:
    """At a joint the ring belongs to both bones in equal parts; in the middle half of a bone to that one alone."""
    body = make_body()
    for number, names in (
        (3, ["left_clavicle", "left_upper_arm", "left_forearm", "left_hand"]),
        (9, ["pelvis", "right_thigh", "right_shin", "right_foot"]),
    ):
        middle = centres(body, number)
        weights = body.weights[tube(body, number)].reshape(-1, COLUMNS + 1, len(JOINTS))[:, 0]
        assert weights[0, J[names[0]]] == 1, "the first ring lies beyond the joint"
        for before, here in pairwise(names):
            apart = np.linalg.norm(middle - body.joints[J[here]], axis=1)
            ring = int(apart.argmin())
            assert apart[ring] < 1e-9
            assert weights[ring, J[before]] == pytest.approx(0.5) and weights[ring, J[here]] == pytest.approx(0.5)
        for here, after in pairwise(names[1:]):
            start, end = body.joints[J[here]], body.joints[J[after]]
            t = (middle - start) @ (end - start) / np.sum((end - start) ** 2)
            inner = (t > 0.25) & (t < 0.75)
            assert inner.sum() >= 3 and (weights[inner, J[here]] == 1).all()
            rising = weights[(t > -1e-9) & (t < 0.5), J[here]]
            falling = weights[(t > 0.5) & (t < 1 + 1e-9), J[here]]
            assert (np.diff(rising) >= 0).all() and (np.diff(falling) <= 0).all()
            steps = np.diff(t[(t > -1e-9) & (t < 1 + 1e-9)])
            assert np.allclose(steps, steps[0]), "equal steps along a bone"


def test_a_stouter_body_has_thicker_limbs_on_the_same_bones() -> None:
    thin, thick = make_body(), make_body(Shape(girth=1.5))
    assert (thin.joints == thick.joints).all()
    for number, (_, rings) in enumerate(TUBES):
        a, b = (one.vertices[tube(one, number)].reshape(rings, COLUMNS + 1, 3) for one in (thin, thick))
        first = 1 if rings in (14, 16) else 0  # the ring beyond the joint is one of its own
        grown = (b - centres(thick, number)[:, None])[first:]
        factor = {12: 1.5, 10: 1.0, 4: 0.6 + 0.4 * 1.5, 14: 1.5, 16: 1.5}.get(rings, 1.0)  # hands, feet and head stay
        np.testing.assert_allclose(grown, factor * (a - centres(thin, number)[:, None])[first:], atol=1e-9)
        np.testing.assert_allclose(centres(thick, number), centres(thin, number), atol=1e-9)
    for small, large in zip(thin.capsules, thick.capsules, strict=True):
        end = JOINTS[small[0]].split("_")[-1] in ("hand", "foot")
        for i in (3, 4):
            wide = end and not (i == 3 and JOINTS[small[0]].endswith("hand"))
            assert large[i] == pytest.approx(small[i] * (1 if wide or end else 1.5))


def test_broad_shoulders_widen_the_trunk_upwards() -> None:
    plain, broad = make_body(), make_body(Shape(shoulders=1.2))
    hip, neck = plain.joints[J["left_thigh"], 2], plain.joints[J["neck"], 2]
    for ring, other in zip(*(x.vertices[tube(x, 0)].reshape(-1, COLUMNS + 1, 3) for x in (plain, broad)), strict=True):
        share = np.clip((ring[0, 2] - hip) / (neck - hip), 0, 1)
        np.testing.assert_allclose(other, ring * (1, 1 + 0.2 * share, 1), atol=1e-9)


def test_textures_go_round_from_behind_and_downwards() -> None:
    """u = ½ is the front and ¾ the left side of the trunk; v is the share of the way down."""
    body = make_body()
    for number, (part, rings) in enumerate(TUBES):
        uv = body.uv[tube(body, number)].reshape(rings, COLUMNS + 1, 2)
        assert np.allclose(uv[:, :, 0], np.arange(COLUMNS + 1) / COLUMNS)
        way = np.linalg.norm(np.diff(centres(body, number), axis=0), axis=1).cumsum()
        top = 0.85 if number == 2 else 0.0  # the neck lies below hair and face
        np.testing.assert_allclose(uv[:, 3, 1], [top, *(top + (1 - top) * way / way[-1])], atol=1e-9)
        last = tube(body, number).stop
        np.testing.assert_allclose(body.uv[last : last + 2], [[0.5, top], [0.5, 1]])
        assert (body.part[tube(body, number)] == part).all()
        np.testing.assert_allclose(body.vertices[last], centres(body, number)[0], atol=1e-9)
        np.testing.assert_allclose(body.vertices[last + 1], centres(body, number)[-1], atol=1e-9)
        np.testing.assert_allclose(body.weights[last + 1], body.weights[last - 1])
        np.testing.assert_allclose(body.weights[last], body.weights[tube(body, number).start])
    for ring in body.vertices[tube(body, 0)].reshape(-1, COLUMNS + 1, 3):
        assert ring[:, 0].argmax() == COLUMNS // 2 and np.allclose(ring[0], ring[-1])
        assert (ring[8:14, 1] > 0).all() and (ring[1:7, 1] < 0).all()
    for number in (1, 2, 3, 4, 5, 6, 7, 9):  # of all but the feet u = ½ lies in front
        front = body.vertices[tube(body, number)].reshape(-1, COLUMNS + 1, 3)[:, COLUMNS // 2]
        assert (front[:, 0] > centres(body, number)[:, 0]).all(), number
    heights = centres(body, 0)[:, 2]
    assert (np.diff(heights) < 0).all()


def test_the_trunk_bends_between_its_joints() -> None:
    """Halfway between two joints a ring belongs to both alike; near a joint to that one alone. The chest keeps
    the ribs: it passes into the neck only above three fifths of the way."""
    body = make_body(detail=12)
    torso = body.vertices[body.part == 0][: 144 * (14 * 12 + 1)].reshape(144, -1, 3)[:, 0, 2]
    weights = body.weights[body.part == 0][: 144 * (14 * 12 + 1)].reshape(144, -1, len(JOINTS))[:, 0]
    for low, high, first, half, last in ((0, 1, 0.25, 0.5, 0.75), (1, 2, 0.25, 0.5, 0.75), (2, 3, 0.6, 0.85, 2.0)):
        way = (torso - body.joints[low, 2]) / (body.joints[high, 2] - body.joints[low, 2])
        inside = (way > 0) & (way < 1)
        share = weights[inside, high]
        assert (share[way[inside] < first - 1e-6] == 0).all() and (share[way[inside] > first + 0.05] > 0).all()
        assert (share[way[inside] > last] == 1).all() and (share[way[inside] < last - 0.05] < 1).all()
        assert np.interp(half, way[inside][::-1], share[::-1]) == pytest.approx(0.5, abs=0.02)
        assert np.allclose(weights[inside][:, [low, high]].sum(1), 1)
    assert (weights[torso < body.joints[0, 2], 0] == 1).all()


def test_the_neck_goes_with_the_head_above_and_with_the_neck_below() -> None:
    body = make_body()
    weights = body.weights[tube(body, 2)].reshape(4, -1, len(JOINTS))[:, 0]
    assert weights[0, J["head"]] == 1 == weights[-1, J["neck"]]
    assert (np.diff(weights[:, J["head"]]) < 0).all() and np.allclose(weights[:, [J["head"], J["neck"]]].sum(1), 1)
    head = body.weights[tube(body, 1)]
    assert (head[:, J["head"]] == 1).all() and (body.weights[tube(body, 8)][:, J["left_foot"]] == 1).all()
    assert (body.weights[tube(body, 6)][:, J["right_hand"]] == 1).all()


@given(st.floats(-3, 3), st.floats(-2, 2), st.floats(1.5, 2.0))
@settings(max_examples=15, deadline=None)
def test_a_rigid_move_of_the_pose_moves_the_mesh_rigidly(yaw: float, shift: float, height: float) -> None:
    body = make_body(Shape(height))
    rest = body.rest()
    assert np.allclose(body.posed(rest)[0], body.vertices, atol=1e-6)
    assert abs(body.vertices[:, 2].min()) < 0.02 and abs(body.vertices[:, 2].max() - height) < 0.02
    moved = rest.moved(yaw, (shift, 0))
    turn = Rotation.from_euler("z", yaw).as_matrix()
    assert np.allclose(body.posed(moved)[0], body.vertices @ turn.T + (shift, 0, 0), atol=1e-6)


@given(st.floats(1.4, 2.1), st.floats(0.9, 1.1), st.floats(0.9, 1.1), st.floats(0.8, 1.2))
@settings(max_examples=15, deadline=None)
def test_joints_at_rest_are_a_standing_person_s(height: float, legs: float, arms: float, shoulders: float) -> None:
    where = rest_joints(Shape(height, legs=legs, arms=arms, shoulders=shoulders))
    x, y, z = where.T
    assert (x == 0).all()
    for name in ("clavicle", "upper_arm", "forearm", "hand", "thigh", "shin", "foot"):
        assert np.allclose(where[J[f"left_{name}"]], where[J[f"right_{name}"]] * (1, -1, 1)), "left mirrors right"
    for line in (
        "pelvis spine chest neck head",
        "left_foot left_shin left_thigh pelvis",
        "left_hand left_forearm neck",
    ):
        assert (np.diff([z[J[name]] for name in line.split()]) > 0.02).all(), line
    assert z[J["left_foot"]] > 0 and z[J["head"]] < height
    assert z[J["left_clavicle"]] == z[J["left_upper_arm"]] and 0 < y[J["left_clavicle"]] < y[J["left_upper_arm"]]
    assert z[J["chest"]] < z[J["left_clavicle"]] < z[J["neck"]]
    upper, lower = (
        where[J["left_forearm"]] - where[J["left_upper_arm"]],
        where[J["left_hand"]] - where[J["left_forearm"]],
    )
    assert np.allclose(np.cross(upper, lower), 0) and np.allclose(upper[2] / lower[2], 0.285 / 0.25)
    reach = np.linalg.norm(where[J["left_hand"]] - where[J["left_upper_arm"]])
    assert reach == pytest.approx(0.535 * arms * height / 1.75)


def test_the_torso_follows_its_joints_from_below_upwards() -> None:
    body = make_body(detail=2)
    torso = body.part == 0
    height, weights = body.vertices[torso, 2], body.weights[torso]
    bones = weights @ np.arange(len(JOINTS))  # pelvis 0, spine 1, chest 2, neck 3
    order = np.argsort(height)
    assert (np.diff(bones[order]) > -1e-6).all() and bones.min() == 0 and 2 < bones.max() <= 3
    assert np.allclose(weights[:, :4].sum(1), 1) and (np.count_nonzero(weights, axis=1) <= 2).all()


def test_the_mesh_is_the_same_on_both_sides() -> None:
    body = make_body(Shape(1.6, girth=1.1, legs=1.05))
    for left, right in ((0, 0), (1, 1), (2, 3), (4, 5)):
        one, other = body.vertices[body.part == left], body.vertices[body.part == right]
        apart = np.linalg.norm(one[:, None] * (1, -1, 1) - other[None], axis=-1)
        assert apart.min(0).max() < 1e-6 and apart.min(1).max() < 1e-6, (left, right)


@pytest.mark.parametrize("shape", [Shape(), Shape(1.5, girth=1.2), Shape(2.0, girth=0.85, legs=1.1, shoulders=1.2)])
def test_capsules_hold_the_mesh_and_little_more(shape: Shape) -> None:
    body = make_body(shape, detail=2)
    mesh = body.vertices[body.part != 1]  # the head has none
    beyond = np.full(len(mesh), np.inf)
    for _, start, end, first, last in body.capsules:
        t = np.clip((mesh - start) @ (end - start) / np.sum((end - start) ** 2), 0, 1)
        apart = np.linalg.norm(mesh - start - t[:, None] * (end - start), axis=1)
        beyond = np.minimum(beyond, apart - first - t * (last - first))
        for share in (0.1, 0.5, 0.9):
            radius = first + share * (last - first)
            nearest = np.linalg.norm(mesh - start - share * (end - start), axis=1).min()
            assert radius > 0 and 0.1 * radius < nearest < 1.15 * radius
    assert beyond.min() > -0.1 and beyond.max() < 0.05 and np.mean(beyond < 0.02) > 0.95
