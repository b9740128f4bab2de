"""Recordings of moving agents: what the readers return, and the traps of the public sets."""

from __future__ import annotations

import csv
import gzip
import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from percepta.datasets import argoverse1, argoverse2, eth_ucy, interaction, layouts, scenarionet, tracks_csv, traffic
from percepta.datasets import tracks as tr
from percepta.datasets.tracks import KINDS, Tracks
from percepta.errors import InputError, MissingFileError

CAR, PERSON = KINDS.index("vehicle"), KINDS.index("pedestrian")


def scenario(source: str, length: int, dataset: str = "nuscenes", gap: float = 0.1) -> dict[str, Any]:
    """A car that drives along x and a person, who is first seen at step 3."""
    x = np.arange(length) * 1.0
    seen = [int(i >= 3) for i in range(length)]
    return {
        "source": source, "dataset": dataset, "length": length,
        "timestamps_s": [round(i * gap, 3) for i in range(length)], "ego": "car", "targets": ["car"],
        "tracks": {
            "car": {
                "type": "VEHICLE", "position": [[v, 0.0] for v in x], "heading": [0.1] * length,
                "velocity": [[99.0, 99.0]] * length, "valid": [1] * length, "size": [4.5, 1.8],
            },
            "person": {
                "type": "PEDESTRIAN", "position": [[0.0, 5.0]] * length, "heading": [1.0] * length,
                "velocity": [[0.0, 0.0]] * length, "valid": seen, "size": [],
            },
            "cone": {
                "type": "TRAFFIC_CONE", "position": [[1.0, 1.0]] * length, "heading": [0.0] * length,
                "velocity": [[0.0, 0.0]] * length, "valid": [1] * length, "size": [],
            },
        },
        "map": {
            "a": {"type": "LANE_SURFACE_STREET", "polyline": [[0, 0], [50, 0]]},
            "b": {"type": "ROAD_EDGE_BOUNDARY", "polyline": [[0, -3], [50, -3]]},
            "c": {"type": "CROSSWALK", "polyline": [[9, -3], [9, 3], [12, 3], [12, -3]]},
        },
    }  # fmt: skip


def write_gz(path: Path, content: dict[str, Any]) -> None:
    with gzip.open(path, "wt") as file:
        json.dump(content, file)


# ------------------------------------------------------------------------------------------------------- recordings


def toy(n: int = 3, t: int = 12, **more: Any) -> Tracks:
    rng = np.random.default_rng(n * 100 + t)
    position = rng.normal(size=(n, t, 2)).cumsum(1)
    heading, size = np.full((n, t), np.nan), np.full((n, 2), np.nan)
    return Tracks("toy", "toy", 0.1, tuple(map(str, range(n))), np.zeros(n, np.int64), position, heading, size, **more)


def test_a_moment_has_who_is_visible_now_whatever_comes() -> None:
    recording = toy()
    recording.position[0, 6:] = np.nan  # leaves after step 5
    recording.position[1, 5] = np.nan  # hidden just now
    moment = recording.moment(5, 4, 3)
    assert moment.ids == ("0", "2")
    assert moment.past.shape == (2, 4, 2) and moment.truth.shape == (2, 3, 2)
    np.testing.assert_array_equal(moment.past, recording.position[[0, 2], 2:6])
    assert moment.complete.tolist() == [False, True]
    blind = replace(recording, position=np.where(np.arange(12)[:, None] > 5, np.nan, recording.position))
    np.testing.assert_array_equal(blind.moment(5, 4, 3).past, moment.past)
    early = recording.moment(1, 4)
    assert np.isnan(early.past[:, :2]).all() and np.isfinite(early.past[:, 2:]).all()
    with pytest.raises(InputError, match="step 12"):
        recording.moment(12, 4)


def test_velocity_is_of_the_past() -> None:
    recording = toy()
    before = tr.velocity(recording.position, 0.1)
    recording.position[:, 7:] = np.nan
    np.testing.assert_array_equal(tr.velocity(recording.position, 0.1)[:, :7], before[:, :7])
    assert np.isnan(before[:, 0]).all()


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 5), st.sampled_from([1, 2, 5]))
def test_last_steps_are_keyframes_inside(observed: int, future: int, stride: int, every: int) -> None:
    recording = toy(1, 30, keyframe_steps=every)
    steps = recording.last_steps(observed, future, stride)
    gap = next(g for g in range(stride, 99) if g % every == 0)
    brute = [s for s in range(30) if s % gap == 0 and observed - 1 <= s < 30 - future]
    assert steps == brute
    assert toy(1, 30, last=9).last_steps(10, 20) == [9]
    assert toy(1, 30, last=9).last_steps(11, 20) == []


def test_rows_become_a_grid() -> None:
    ids, position, heading = tr.from_rows(
        ["b", "a", "b"], np.array([2, 0, 1]), np.array([[1.0, 2], [3, 4], [5, 6]]), np.array([0.1, 0.2, 0.3])
    )
    assert ids == ("b", "a") and position.shape == (2, 3, 2)
    assert position[0, 2].tolist() == [1, 2] and position[1, 0].tolist() == [3, 4] and heading[0, 1] == 0.3
    assert np.isnan(position[0, 0]).all()
    with pytest.raises(InputError, match="agent b has two positions at step 2"):
        tr.from_rows(["b", "a", "b"], np.array([2, 0, 2]), np.zeros((3, 2)))


def test_folds_deal_every_group_whatever_the_order() -> None:
    names = [(group, f"{group}{i}") for group in "abc" for i in range(5)]
    placed = dict(zip(names, tr.folds(names), strict=True))
    for group in "abc":
        assert sorted(fold for (own, _), fold in placed.items() if own == group) == [0, 0, 1, 1, 2]
    back = names[::-1]
    assert dict(zip(back, tr.folds(back), strict=True)) == placed


@given(st.integers(2, 9))
def test_resampled_lines_keep_ends_and_equal_gaps(count: int) -> None:
    line = np.array([[0.0, 0, 0], [1, 0, 1], [1, 5, 2]])
    found = tr.resample(line, count)
    np.testing.assert_allclose(found[[0, -1]], line[[0, -1]])
    along = np.linspace(0, 6, count)
    np.testing.assert_allclose(found[:, 0], np.minimum(along, 1))
    np.testing.assert_allclose(found[:, 1], np.maximum(along - 1, 0))


def test_the_far_map_is_dropped() -> None:
    lanes = tuple(tr.Lane(str(i), np.array([[i * 100.0, 0, 0], [i * 100.0 + 10, 0, 0]])) for i in range(9))
    street = tr.StreetMap(lanes, areas=(np.array([[900.0, 0], [901, 0], [901, 1]]),))
    near = street.near(np.array([[205.0, 0], [np.nan, np.nan]]), 60.0)
    assert [lane.id for lane in near.lanes] == ["2"] and near.areas == () and near.points == 2
    assert street.near(np.full((2, 2), np.nan), 60.0).points == 0


# ------------------------------------------------------------------------------------------------------- scenarionet


def test_of_scenes_that_are_there_twice_the_longest_is_read(tmp_path: Path) -> None:
    write_gz(tmp_path / "a.json.gz", scenario("sd_v1_scene-0103.pkl", 40))
    write_gz(tmp_path / "b.json.gz", scenario("sd_val_scene-0103_x_y.pkl", 30))
    write_gz(tmp_path / "c.json.gz", scenario("sd_val_scene-0061.pkl", 30))
    (tmp_path / "d.json").write_text(json.dumps(scenario("sd_training.tfrecord-0", 30, "waymo")))
    (tmp_path / "other.json").write_text("{}")
    found = scenarionet.read(tmp_path)
    assert found.names == ("scene-0061", "scene-0103", "sd_training.tfrecord-0")
    assert found.groups == ("nuscenes", "nuscenes", "waymo")
    assert [one.steps for one in found] == [30, 40, 30]
    assert [one.keyframe_steps for one in found] == [5, 5, 1]
    assert found[1].last_steps(3, 5, 2)[:3] == [5, 10, 15], "only keyframes"
    assert pickle.loads(pickle.dumps(found)).names == found.names


def test_no_velocity_is_taken_from_nuscenes(tmp_path: Path) -> None:
    write_gz(tmp_path / "a.json.gz", scenario("scene-0103", 40))
    one = scenarionet.read_file(tmp_path / "a.json.gz")
    assert one.velocity is None and one.ids == ("car", "person")
    np.testing.assert_allclose(tr.velocity(one.position, one.dt_s)[0, 1:], np.tile([10.0, 0.0], (39, 1)))
    assert one.dt_s == pytest.approx(0.1) and one.focal == ("car",)
    assert np.isnan(one.position[1, :3]).all() and np.isnan(one.heading[1]).all(), "people who stand have no heading"
    assert len(one.map.lanes) == len(one.map.edges) == len(one.map.crossings) == 1
    assert one.map.lanes[0].centre.tolist() == [[0, 0, 0], [50, 0, 0]]


def test_damaged_scenarios_are_said(tmp_path: Path) -> None:
    good = scenario("scene-0001", 20)
    for name, change in {
        "uneven": {"timestamps_s": [*np.arange(19) * 0.1, 9.0]},
        "short": {"length": 25},
        "no-tracks": {"tracks": None},
    }.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(good | change))
        with pytest.raises(InputError, match=name):
            scenarionet.read_file(tmp_path / f"{name}.json")
    (tmp_path / "cut.json").write_text(json.dumps(good)[:200])
    with pytest.raises(InputError, match="not JSON"):
        scenarionet.read_file(tmp_path / "cut.json")


# ----------------------------------------------------------------------------------------------------------- eth, ucy


def eth_folder(root: Path) -> Path:
    rows = "\n".join(f"{10 * t}\t{k}\t{t * 0.4:.2f}\t{k}" for t in range(22) for k in (1.0, 2.0))
    names = {
        "eth": "biwi_eth", "hotel": "biwi_hotel", "univ": "students001", "zara1": "crowds_zara01",
        "zara2": "crowds_zara02",
    }  # fmt: skip
    for scene in names:
        for part in eth_ucy.PARTS:
            (root / scene / part).mkdir(parents=True)
        (root / scene / "test" / f"{names[scene]}.txt").write_text(rows)
        for other in names.values():
            if other != names[scene]:
                (root / scene / "train" / f"{other}_train.txt").write_text(rows)
                (root / scene / "val" / f"{other}_val.txt").write_text(rows)
    (root / "univ" / "test" / "students003.txt").write_text(rows)
    return root


def test_steps_of_eth_are_longer(tmp_path: Path) -> None:
    found = eth_ucy.read(eth_folder(tmp_path))
    assert found.names == ("biwi_eth", "biwi_hotel", "students001", "students003", "crowds_zara01", "crowds_zara02")
    assert [round(one.dt_s, 3) for one in found] == [0.667, 0.4, 0.4, 0.4, 0.4, 0.4]
    one = found[0]
    assert one.position.shape == (2, 22, 2) and np.isnan(one.heading).all()
    train = eth_ucy.read_part(tmp_path, "zara1", "train")
    assert [t.dt_s for t in train if "biwi_eth" in t.name] == [eth_ucy.ETH_DT_S]
    assert not any("zara01" in t.name for t in train)
    assert [t.name for t in eth_ucy.read_part(tmp_path, "univ", "test")] == ["students001", "students003"], "not joined"
    with pytest.raises(InputError, match="scenes are"):
        eth_ucy.read_part(tmp_path, "zara9", "train")
    with pytest.raises(InputError, match="line 2: expected frame"):
        eth_ucy.parse("0 1 2 3\n0 1 x 3", "a.txt")
    with pytest.raises(InputError, match="two positions"):
        eth_ucy.parse("0 1 2 3\n0 1 5 3", "a.txt")


# -------------------------------------------------------------------------------------------------------- interaction


def osm(width: float = 4.0, shift: float = 0.0) -> str:
    """A lane along x, 100 m long, as Lanelet2 has it: degrees about 0."""
    degrees = 180 / np.pi / 6378137.0
    corners = [(0, width / 2), (100, width / 2), (0, -width / 2), (100, -width / 2)]
    nodes = "".join(
        f"<node id='{i}' lat='{(y + shift) / 110574.0}' lon='{x * degrees}'/>" for i, (x, y) in enumerate(corners)
    )
    ways = (
        "<way id='10'><nd ref='0'/><nd ref='1'/><tag k='type' v='curbstone'/></way>"
        "<way id='11'><nd ref='3'/><nd ref='2'/><tag k='type' v='line_thin'/><tag k='subtype' v='dashed'/></way>"
    )
    lane = (
        "<relation id='20'><member type='way' ref='10' role='left'/><member type='way' ref='11' role='right'/>"
        "<tag k='type' v='lanelet'/><tag k='subtype' v='road'/></relation>"
    )
    return f"<?xml version='1.0'?><osm>{nodes}{ways}{lane}</osm>"


def test_utm_about_zero() -> None:
    assert interaction.utm_about_zero(0.0, 0.0) == (0, 0)
    # the easting of (0°, 0°) in zone 31 is 166,021.443 m; 1° of latitude on the meridian 0.9996 · 110,574.4 m
    assert interaction._mercator(0.0, 0.0)[0] + 500_000 == pytest.approx(166_021.443, abs=1e-3)
    assert interaction._mercator(1.0, 3.0)[1] == pytest.approx(0.9996 * 110_574.4, abs=0.1)
    x, y = interaction.utm_about_zero(0.009, 0.0095)
    assert (x, y) == pytest.approx((0.0095 * 111_319.5, 0.009 * 110_574.4), rel=1.5e-3)


@given(st.floats(-60, 60))
def test_mercator_is_true_along_its_meridian(latitude: float) -> None:
    """North of the equator by 0.9996 of the meridian's length: ∫ a (1 − e²) / (1 − e² sin² φ)^1.5 dφ (WGS 84)."""
    a, f = 6378137.0, 1 / 298.257223563
    e2 = f * (2 - f)
    middle = np.radians(latitude) * (np.arange(4000) + 0.5) / 4000
    arc = (a * (1 - e2) / (1 - e2 * np.sin(middle) ** 2) ** 1.5).sum() * np.radians(latitude) / 4000
    x, y = interaction._mercator(latitude, 3.0)
    assert x == pytest.approx(0, abs=1e-6) and y == pytest.approx(0.9996 * arc, abs=1e-3)
    assert interaction._mercator(latitude, 9.0, 9.0)[1] == pytest.approx(y), "about whichever meridian"


@given(st.floats(-60, 60), st.floats(-3, 9))
def test_mercator_keeps_angles(latitude: float, longitude: float) -> None:
    """With isometric latitude ψ, dψ = (1 − e²) / ((1 − e² sin² φ) cos φ) dφ: ∂x/∂λ = ∂y/∂ψ and ∂x/∂ψ = −∂y/∂λ. With the
    meridian's length this leaves one map only."""
    f = 1 / 298.257223563
    e2, phi, h = f * (2 - f), np.radians(latitude), 2e-3
    north, south = (np.array(interaction._mercator(latitude + d, longitude)) for d in (h, -h))
    east, west = (np.array(interaction._mercator(latitude, longitude + d)) for d in (h, -h))
    by_psi = (north - south) * (1 - e2 * np.sin(phi) ** 2) * np.cos(phi) / (1 - e2)
    by_lambda = east - west
    size = np.linalg.norm(by_lambda)
    assert abs(by_lambda[0] - by_psi[1]) < 5e-9 * size and abs(by_lambda[1] + by_psi[0]) < 5e-9 * size
    assert interaction._mercator(latitude, 3 + 2.0)[0] == pytest.approx(-interaction._mercator(latitude, 3 - 2.0)[0])


def lanelets(extra: str = "") -> str:
    """Two lanes of 50 m behind one another along x, their boundaries 4 m apart, and a crosswalk at their joint."""
    degrees, up = 180 / np.pi / 6378137.0, 1 / 110574.0
    places = {f"{x}{side}": (x, y) for x in (0, 50, 100) for side, y in (("L", 2), ("R", -2))}
    nodes = "".join(f"<node id='{k}' lat='{y * up}' lon='{x * degrees}'/>" for k, (x, y) in places.items())

    def way(name: str, ends: str, tags: dict[str, str]) -> str:
        inside = "".join(f"<nd ref='{end}'/>" for end in ends.split())
        return f"<way id='{name}'>{inside}{''.join(f'<tag k={k!r} v={v!r}/>' for k, v in tags.items())}</way>"

    ways = way("l1", "0L 50L", {"type": "curbstone", "subtype": "high"}) + way("l2", "50L 100L", {"type": "wall"})
    ways += way("r1", "50R 0R", {"type": "guard_rail"}) + way("r2", "50R 100R", {"type": "line_thin"})
    ways += way("c1", "50L 50R", {"type": "road_border"}) + way("c2", "100L 100R", {"type": "zebra_marking"})

    def relation(name: str, left: str, right: str, subtype: str, kind: str = "lanelet") -> str:
        members = f"<member type='way' ref='{left}' role='left'/><member type='way' ref='{right}' role='right'/>"
        tags = f"<tag k='type' v='{kind}'/><tag k='subtype' v='{subtype}'/>"
        return f"<relation id='{name}'>{members}{tags}</relation>"

    relations = relation("first", "l1", "r1", "road") + relation("second", "l2", "r2", "road")
    relations += relation("cross", "c1", "c2", "crosswalk") + relation("sign", "l1", "r1", "x", "regulatory_element")
    return f"<osm>{nodes}{ways}{relations}{extra}</osm>"


def test_lanelets_follow_each_other_and_hard_lines_are_edges(tmp_path: Path) -> None:
    (tmp_path / "a.osm").write_text(lanelets())
    street = interaction.read_lanelets(tmp_path / "a.osm")
    first, second = street.lanes
    assert (first.id, first.before, first.after) == ("first", (), ("second",))
    assert (second.id, second.before, second.after) == ("second", ("first",), ())
    assert (first.left_mark, first.right_mark, second.left_mark) == ("high", "NONE", "NONE") and first.kind == "vehicle"
    assert len(first.centre) == 12 and first.centre[:, 2].tolist() == [0.0] * 12
    np.testing.assert_allclose(first.centre[:, 0], np.linspace(0, 50, 12), rtol=3e-3, atol=0.01)
    np.testing.assert_allclose(first.centre[:, 1], 0, atol=0.05)
    for lane, start in ((first, 0), (second, 50)):
        assert lane.left is not None and lane.right is not None
        for side, y in ((lane.left, 2), (lane.right, -2)):
            np.testing.assert_allclose(side, [(start, y, 0), (start + 50, y, 0)], rtol=3e-3, atol=0.05)
    (cross,) = street.crossings
    assert cross.id == "cross" and cross.edge1[:, 0] == pytest.approx([50, 50], rel=3e-3)
    assert len(street.edges) == 4 and all(edge.shape == (2, 2) for edge in street.edges), "not the thin line, nor zebra"
    assert [area.shape for area in street.areas] == [(4, 2)] * 2 and street.source == "a.osm"
    corners = street.areas[0]
    size = 0.5 * abs(sum(np.cross(np.append(p, 0), np.append(q, 0))[2] for p, q in zip(corners, np.roll(corners, -1, 0),
                                                                                       strict=True)))  # fmt: skip
    assert size == pytest.approx(200, rel=0.01), "the outline of 50 × 4 m does not cross itself"
    for text in (
        lanelets("<relation id='x'><tag k='type' v='lanelet'/></relation>"),
        "<osm><node id='1' lat='x' lon='1'/></osm>",
    ):
        (tmp_path / "a.osm").write_text(text)
        with pytest.raises(InputError, match="not a Lanelet2 map"):
            interaction.read_lanelets(tmp_path / "a.osm")


@pytest.mark.parametrize("degrees", range(0, 360, 45))
def test_boundaries_of_a_lane_in_any_direction(degrees: int) -> None:
    """Travel along an angle, the left boundary 4 m to its left; ways that are stored otherwise come out alike."""
    angle = np.radians(degrees)
    along, aside = np.array([np.cos(angle), np.sin(angle), 0]), np.array([-np.sin(angle), np.cos(angle), 0])
    left, right = (np.stack([i * 10 * along + side * 2 * aside for i in range(3)]) for side in (1, -1))
    for one, other in ((left, right), (left[::-1], right), (left, right[::-1]), (left[::-1], right[::-1])):
        found = interaction._same_direction(one, other)
        np.testing.assert_allclose(found[0], left, atol=1e-12)
        np.testing.assert_allclose(found[1], right, atol=1e-12)


def test_rows_of_interaction_by_hand(tmp_path: Path) -> None:
    """Frames count from 1; agents are of all kinds; files may be packed, and stand alone without a place's name."""
    head = "track_id,frame_id,timestamp_ms,agent_type,x,y,vx,vy,psi_rad,length,width"
    kinds = {
        "a": "car",
        "b": "truck",
        "c": "bus",
        "d": "motorcycle",
        "e": "bicycle",
        "f": "pedestrian/bicycle",
        "g": "cow",
    }
    rows = [
        f"{agent},{3 + i},300,{kind},{i},{-i},0,0,{i / 10},4.5,1.9" for i, (agent, kind) in enumerate(kinds.items())
    ]
    rows.append("a,5,500,car,9,9,0,0,,,")
    with gzip.open(tmp_path / "vehicle_tracks_007.csv.gz", "wt") as file:
        file.write("\n".join([head, *rows]))
    assert interaction.is_one(tmp_path) and interaction.is_one(tmp_path / "vehicle_tracks_007.csv.gz")
    found = interaction.read(tmp_path)
    assert found.names == (f"{tmp_path.name}_007",)
    one = found[0]
    wanted = ["vehicle", "vehicle", "bus", "motorcyclist", "cyclist", "pedestrian", "unknown"]
    assert [KINDS[kind] for kind in one.kinds] == wanted and one.ids == tuple("abcdefg")
    assert one.dt_s == 0.1 and one.position.shape[1] == 9, "steps up to frame 9"
    for i in range(7):
        assert one.position[i, 2 + i].tolist() == [i, -i] and one.heading[i, 2 + i] == i / 10
        assert one.size_m[i].tolist() == [4.5, 1.9]
    assert one.position[0, 4].tolist() == [9, 9] and np.isnan(one.heading[0, 4]) and np.isnan(one.position[0, 3]).all()
    assert one.map.lanes == () and one.map.source == ""
    bare = tmp_path / "bare_vehicle_tracks_000.csv"
    for text, says in ((head, "no rows"), (f"{head}\na,one,0,car,1,1,0,0,0,1,1", "line 2"), ("a,b\n1,2", "track_id")):
        bare.write_text(text)
        with pytest.raises(InputError, match=says):
            interaction.read_files([bare], "bare")
    (tmp_path / "none").mkdir()
    assert not interaction.is_one(tmp_path / "none") and not interaction.is_one(tmp_path / "gone")
    with pytest.raises(InputError, match="no file"):
        interaction.read(tmp_path / "none")


def test_the_map_on_which_vehicles_drive_is_taken(tmp_path: Path) -> None:
    (tmp_path / "A.osm").write_text(osm(shift=300))
    (tmp_path / "B.osm").write_text(osm(width=9, shift=2))
    (tmp_path / "C.osm").write_text(osm())
    columns = "track_id,frame_id,timestamp_ms,agent_type,x,y,vx,vy,psi_rad,length,width"
    rows = [f"1,{i + 1},{100 * i},car,{i * 0.5},0.1,77,77,0.0,4.5,1.8" for i in range(80)]
    (tmp_path / "X_vehicle_tracks_000.csv").write_text("\n".join([columns, *rows]))
    people = [f"P1,{i + 41},{100 * i},pedestrian/bicycle,5,{i * 0.1},1,1" for i in range(10)]
    head = "track_id,frame_id,timestamp_ms,agent_type,x,y,vx,vy"
    (tmp_path / "X_pedestrian_tracks_000.csv").write_text("\n".join([head, *people]))
    found = interaction.read(tmp_path)
    assert found.names == ("X_000",)
    one = found[0]
    assert "C.osm" in one.map.source and interaction.PROJECTION in one.map.source, "nearer centre lines than B"
    assert sorted(one.ids) == ["1", "P1"] and one.position.shape == (2, 80, 2)
    walker = one.ids.index("P1")
    assert one.kinds[walker] == PERSON and np.isnan(one.heading[walker]).all()
    assert np.isfinite(one.position[walker]).all(1).sum() == 10
    (lane,) = one.map.lanes
    assert lane.centre[0, :2] == pytest.approx([0, 0], abs=0.01) and lane.centre[-1, 0] == pytest.approx(100, abs=0.2)
    assert lane.left is not None and lane.left[0, 1] > 0 and lane.right_mark == "dashed"
    (tmp_path / "X.osm").write_text(osm(shift=900))
    assert "X.osm" in interaction.read(tmp_path)[0].map.source, "the recording's own name counts more"
    (tmp_path / "X.osm").write_text("<osm>")
    with pytest.raises(InputError, match="not a Lanelet2 map"):
        interaction.read_lanelets(tmp_path / "X.osm")


def test_a_lane_whose_ways_run_against_it(tmp_path: Path) -> None:
    text = osm()
    for old, new in (("10' role='left'", "11' role='left'"), ("11' role='right'", "10' role='right'")):
        text = text.replace(old, new)
    (tmp_path / "turned.osm").write_text(text)
    (lane,) = interaction.read_lanelets(tmp_path / "turned.osm").lanes
    assert lane.centre[0, 0] > lane.centre[-1, 0], "with the kerb on its right it runs the other way"
    assert lane.left is not None and lane.left[0, 1] < 0


# ---------------------------------------------------------------------------------------------------------- argoverse


def parquet(folder: Path, name: str = "s1", steps: int = 110) -> Path:
    pyarrow = pytest.importorskip("pyarrow", reason="the extra percepta[data]")
    from pyarrow import parquet as files

    rows: dict[str, list[Any]] = {}
    for agent, (kind, category) in {"7": ("vehicle", 3), "AV": ("vehicle", 1), "9": ("pedestrian", 2)}.items():
        for t in range(steps):
            row = {
                "observed": t < 50, "track_id": agent, "object_type": kind, "object_category": category, "timestep": t,
                "position_x": t * 0.5 + 10, "position_y": float(int(agent) if agent != "AV" else 0), "heading": 0.0,
                "velocity_x": 5.0, "velocity_y": 0.0, "scenario_id": name, "focal_track_id": "7", "city": "austin",
            }  # fmt: skip
            for key, value in row.items():
                rows.setdefault(key, []).append(value)
    folder.mkdir(parents=True, exist_ok=True)
    files.write_table(pyarrow.table(rows), folder / f"scenario_{name}.parquet")

    def line(y: float) -> list[dict[str, float]]:
        return [{"x": 0.0, "y": y, "z": 1.0}, {"x": 90.0, "y": y, "z": 1.0}]

    lane = {
        "id": 5, "is_intersection": False, "lane_type": "BIKE", "left_lane_boundary": line(2.0),
        "right_lane_boundary": line(-2.0), "left_lane_mark_type": "SOLID_WHITE", "right_lane_mark_type": "NONE",
        "predecessors": [], "successors": [8], "left_neighbor_id": None, "right_neighbor_id": 6,
    }  # fmt: skip
    content = {
        "lane_segments": {"5": lane},
        "drivable_areas": {"1": {"id": 1, "area_boundary": [*line(3.0), *line(-3.0)[::-1]]}},
        "pedestrian_crossings": {"2": {"id": 2, "edge1": line(1.0), "edge2": line(2.0)}},
    }
    (folder / f"log_map_archive_{name}.json").write_text(json.dumps(content))
    return folder / f"scenario_{name}.parquet"


def test_scenarios_of_argoverse_2(tmp_path: Path) -> None:
    path = parquet(tmp_path / "val" / "s1")
    parquet(tmp_path / "val" / "s2", "s2")
    assert argoverse2.read(tmp_path / "val").names == argoverse2.read(tmp_path).names == ("s1", "s2")
    one = argoverse2.read(path)[0]
    assert one.ids == ("7", "AV", "9") and one.last == 49 and one.focal == ("7",) and one.steps == 110
    assert one.category is not None and one.category.tolist() == [3, 1, 2]
    assert one.last_steps(50, 60) == [49] and one.last_steps(20, 60, 7) == [49]
    (lane,) = one.map.lanes
    assert lane.kind == "bike" and lane.after == ("8",) and lane.right_of == "6" and lane.left_of is None
    np.testing.assert_allclose(lane.centre[[0, -1]], [[0, 0, 1], [90, 0, 1]], err_msg="made from the boundaries")
    assert len(one.map.areas) == 1 and len(one.map.crossings) == 1


def test_submissions_come_back(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="the extra percepta[data]")
    rng = np.random.default_rng(0)
    made = {
        f"s{i}": {
            str(agent): argoverse2.Prediction(rng.normal(size=(8, 60, 2)), rng.dirichlet(np.ones(8)))
            for agent in range(3)
        }
        for i in range(2)
    }
    back = argoverse2.read_submission(argoverse2.write_submission(tmp_path / "x.parquet", made))
    assert back.keys() == made.keys()
    for scenario_, agents in made.items():
        for agent, one in agents.items():
            again = back[scenario_][agent]
            best = np.argsort(-one.probability)[:6]
            np.testing.assert_allclose(again.position, one.position[best])
            np.testing.assert_allclose(again.probability, one.probability[best] / one.probability[best].sum())
    short = {"s": {"1": argoverse2.Prediction(np.zeros((6, 30, 2)), np.full(6, 1 / 6))}}
    with pytest.raises(InputError, match="60 finite steps"):
        argoverse2.write_submission(tmp_path / "y.parquet", short)
    with pytest.raises(InputError, match="1 to 6 modes"):
        argoverse2.write_submission(tmp_path / "y.parquet", made, modes=7)
    assert not (tmp_path / "y.parquet").exists()
    with pytest.raises(MissingFileError):
        argoverse2.read_submission(tmp_path / "z.parquet")


def test_boxes_of_a_log_are_turned_into_the_city(tmp_path: Path) -> None:
    """The car drives along y and turns around; a parked box keeps its place in the city."""
    pyarrow = pytest.importorskip("pyarrow", reason="the extra percepta[data]")
    from pyarrow import feather

    steps, rows, poses = 30, [], []
    parked = np.array([3.0, 40.0])
    for t in range(steps):
        angle, place = 0.1 * t, np.array([0.0, 2.0 * t])
        half = angle / 2
        poses.append({"timestamp_ns": 10**8 * t, "qw": np.cos(half), "qx": 0.0, "qy": 0.0, "qz": np.sin(half),
                      "tx_m": place[0], "ty_m": place[1], "tz_m": 0.0})  # fmt: skip
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        seen = turn @ (parked - place)
        for name, (x, y), yaw in (("p", seen, -angle), ("me", (0.0, 0.0), 0.0)):
            rows.append({"timestamp_ns": 10**8 * t, "track_uuid": name, "length_m": 4.0, "width_m": 2.0,
                         "category": "REGULAR_VEHICLE" if name == "p" else "EGO_VEHICLE", "qw": np.cos(yaw / 2),
                         "qx": 0.0, "qy": 0.0, "qz": np.sin(yaw / 2), "tx_m": x, "ty_m": y, "tz_m": 0.0})  # fmt: skip
        rows.append({**rows[-1], "track_uuid": "cone", "category": "CONSTRUCTION_CONE"})

    def table(content: list[dict[str, Any]]) -> Any:
        return pyarrow.table({key: [row[key] for row in content] for key in content[0]})

    feather.write_feather(table(rows), tmp_path / "annotations.feather")
    feather.write_feather(table(poses), tmp_path / "city_SE3_egovehicle.feather")
    one = argoverse2.read_log(tmp_path)
    assert one.ids == ("p", "me") and one.steps == steps
    np.testing.assert_allclose(one.position[0], np.tile(parked, (steps, 1)), atol=1e-9)
    np.testing.assert_allclose(np.sin(one.heading[0]), 0, atol=1e-9)
    np.testing.assert_allclose(one.position[1, :, 1], 2.0 * np.arange(steps), atol=1e-9)
    feather.write_feather(table(poses[:5]), tmp_path / "city_SE3_egovehicle.feather")
    with pytest.raises(InputError, match="no pose within"):
        argoverse2.read_log(tmp_path)


def test_scenarios_of_argoverse_1(tmp_path: Path) -> None:
    rows = [("TIMESTAMP", "TRACK_ID", "OBJECT_TYPE", "X", "Y", "CITY_NAME")]
    rows += [(str(315966000 + 0.1 * t), name, name, str(t), "2", "PIT") for t in range(50) for name in ("AGENT", "AV")]
    with (tmp_path / "1.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    one = argoverse1.read(tmp_path)[0]
    assert one.position.shape == (2, 50, 2) and one.last == 19 and one.focal == ("AGENT",)
    assert np.isfinite(one.position).all()
    assert [one.NAME for one in traffic.found(tmp_path)] == ["Argoverse 1"]


# ------------------------------------------------------------------------------------------------------------ own CSV


def test_ones_own_tracks(tmp_path: Path) -> None:
    path = tmp_path / "yard.csv"
    rows = "0.0,a,1,2,pedestrian\n0.5,a,1.5,2,pedestrian\n1.0,a,2,2,\n0.5,b,9,9,\n1.0,b,9,8,\n"
    path.write_text(f"time,id,x,y,type\n{rows}")
    one = tracks_csv.read(path)[0]
    assert one.ids == ("a", "b") and one.dt_s == 0.5 and one.kinds.tolist() == [PERSON, CAR]
    assert one.position.shape == (2, 3, 2) and np.isnan(one.position[1, 0]).all()
    lanes = {"type": "FeatureCollection", "features": [
        {"type": "Feature", "geometry": {"type": "LineString", "coordinates": [[0, 0], [5, 0, 7]]}},
        {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [5, 0], [5, 5]]]}},
        {"type": "Feature", "geometry": {"type": "Point", "coordinates": [0, 0]}},
    ]}  # fmt: skip
    (tmp_path / "yard.geojson").write_text(json.dumps(lanes))
    street = tracks_csv.read(path)[0].map
    assert len(street.lanes) == 1 and street.lanes[0].centre.tolist() == [[0, 0, 0], [5, 0, 0]]
    assert len(street.areas) == 1
    assert [found.set.NAME for found in layouts.find(tmp_path, Tracks)] == [tracks_csv.NAME]


@pytest.mark.parametrize(
    ("fps", "digits"), [(60, 2), (60, 3), (30, 2), (30, 3), (29.97, 2), (25, 2), (15, 2), (15, 3), (12.5, 2), (10, 1)]
)
def test_rounded_times_of_a_camera_keep_its_rate_and_the_speed(fps: float, digits: int, tmp_path: Path) -> None:
    """A car at 8 m/s for 20 s, seen by a camera; a tenth of its frames is missing."""
    rng = np.random.default_rng(0)
    kept = [t for t in range(int(20 * fps)) if t in (0, 1) or rng.random() < 0.9]
    rows = "".join(f"{t / fps:.{digits}f},a,{8 * t / fps:.4f},0\n" for t in kept)
    (tmp_path / "tracks.csv").write_text("\ufefftime,id,x,y\n" + rows, encoding="utf-8")
    tracks = tracks_csv.read_file(tmp_path / "tracks.csv")
    assert tracks_csv.is_one(tmp_path) and tracks.dt_s == pytest.approx(1 / fps, rel=0.01)
    x = tracks.position[0, :, 0]
    places = np.flatnonzero(np.isfinite(x))
    assert len(places) == len(kept)
    speed = (x[places[-1]] - x[places[0]]) / ((places[-1] - places[0]) * tracks.dt_s)
    assert speed == pytest.approx(8, rel=0.01)


def test_tables_are_known_by_their_first_line(tmp_path: Path) -> None:
    own, theirs = "Time, ID ,x,y\n0,a,1,2\n1,a,2,2\n", "TIMESTAMP,TRACK_ID,OBJECT_TYPE,X,Y,CITY_NAME\n"
    others = {
        "tone.csv": b"\xff\xfe\x00",
        "empty.csv": b"",
        "own.txt": own.encode(),
        "lower.csv": theirs.lower().encode(),
    }
    for name, content in {"2.csv": own.encode(), "10.csv": own.encode(), "a.csv": theirs.encode(), **others}.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder.csv").mkdir()
    assert tracks_csv.read(tmp_path).names == ("2", "10") and argoverse1.read(tmp_path).names == ("a",)
    for reader, name in ((tracks_csv, "2.csv"), (argoverse1, "a.csv")):
        assert reader.is_one(tmp_path / name) and len(reader.read(tmp_path / name)) == 1
        for other in (*others, "folder.csv", "nothing.csv"):
            assert not reader.is_one(tmp_path / other)
            with pytest.raises(InputError, match=r"no \*\.csv with"):
                reader.read(tmp_path / other)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time,id,x\n0,a,1\n", "line 1: no column y; it has time, id, x"),
        ("time,id,x,y\n0,a,1,2\n1,a,nan,2\n", "line 3"),
        ("time,id,x,y\n0,a,1,2\n0.1,a,1\n", "line 3"),
        ("time,id,x,y,type\n0,a,1,2,ufo\n", "'ufo' is none of"),
        ("time,id,x,y\n0,a,1,2\n0,a,5,2\n1,a,1,2\n", "agent a has two positions"),
        ("time,id,x,y\n0,a,1,2\n", "no agent has two rows"),
        ("time,id,x,y\n", "no rows"),
    ],
)
def test_bad_tables_are_said(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        tracks_csv.read_file(tmp_path / "t.csv")


def test_a_missing_column_is_named_with_those_that_there_are(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("TIMESTAMP,TRACK_ID,OBJECT_TYPE,X\n0,a,AGENT,1\n")
    with pytest.raises(InputError, match="line 1: no column Y; it has TIMESTAMP, TRACK_ID, OBJECT_TYPE, X"):
        argoverse1.read_file(path)
    path.write_text("track_id,agent_type,x,y\n1,car,0,0\n")
    with pytest.raises(InputError, match="line 1: no column frame_id; it has track_id, agent_type, x, y"):
        interaction.read_files([path], "t")


def test_a_folder_may_hold_several_sets(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("time,id,x,y\n0,a,1,2\n1,a,1,2\n")
    write_gz(tmp_path / "a.json.gz", scenario("scene-0103", 40))
    found = traffic.read(tmp_path)
    assert (found.names, found.groups) == (("scene-0103", "t"), ("nuscenes", "csv"))
    assert [one.name for one in found] == ["scene-0103", "t"]
    with pytest.raises(InputError, match="Looked for"):
        traffic.found(tmp_path / "nothing")
    with pytest.raises(MissingFileError):
        traffic.read(tmp_path / "nothing")


# ---------------------------------------------------------------------------------------------------------- real data


def test_the_real_recordings(shared_data: Path) -> None:
    root = shared_data / "forecast"
    if not root.is_dir():
        pytest.skip(f"{root} is not there")
    pytest.importorskip("pyarrow", reason="the extra percepta[data]")
    found = traffic.read(root)
    count = {group: found.groups.count(group) for group in dict.fromkeys(found.groups)}
    assert count == {"argoverse2": 5, "nuscenes": 10, "waymo": 3, "interaction": 1, "eth_ucy": 6}
    names = [name for name, group in zip(found.names, found.groups, strict=True) if group == "nuscenes"]
    assert len(set(names)) == 10 and {"scene-0103", "scene-0916"} <= set(names), "each scene once"
    square = interaction.read(root)[0]
    assert square.map.source.startswith(("I_5", "I_6")) and "99.9%" in square.map.source
    eth, *others = eth_ucy.read(root)
    assert eth.dt_s > 0.6 and all(one.dt_s == 0.4 for one in others)
