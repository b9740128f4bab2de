"""The synthetic street: the laws of its traffic."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from percepta.datasets.tracks import KINDS, velocity
from percepta.metrics.forecast import off_road
from percepta.worlds.street.layout import LANE_M, direction, street
from percepta.worlds.street.traffic import traffic

SEEDS = st.integers(0, 300)
few = settings(max_examples=12, deadline=None)


@few
@given(SEEDS)
def test_it_follows_from_its_seed(seed: int) -> None:
    a, b = traffic(seed, seconds=3.0), traffic(seed, seconds=3.0)
    np.testing.assert_array_equal(a.position, b.position)
    assert a.ids == b.ids and len(a.map.lanes) == len(b.map.lanes)


@few
@given(SEEDS)
def test_connectors_go_on_where_lanes_end(seed: int) -> None:
    ground = street(seed)
    for name, following in ground.ways.items():
        for other in following:
            a, b = ground.lanes[name], ground.lanes[other]
            np.testing.assert_allclose(a[-1], b[0], atol=1e-6)
            assert direction(a)[-1] @ direction(b)[0] > 0.97, f"{name} turns sharply into {other}"
    assert all(len(street(seed, most_ways=1).ways[name]) == 1 for name in ground.ways if name.startswith("in"))
    lanes = {lane.id: lane for lane in ground.map.lanes}
    for lane in lanes.values():
        assert all(lane.id in lanes[after].before for after in lane.after)
        assert lane.left is not None and lane.right is not None
        np.testing.assert_allclose(np.linalg.norm(lane.left - lane.right, axis=1), LANE_M, atol=0.05)


@few
@given(SEEDS)
def test_cars_keep_to_their_lanes_and_to_physics(seed: int) -> None:
    tracks = traffic(seed, seconds=8.0)
    cars = tracks.kinds == KINDS.index("vehicle")
    place = tracks.position[cars]
    seen = place[np.isfinite(place).all(-1)]
    assert not off_road(seen, tracks.map.areas).any()
    speed = np.linalg.norm(velocity(place, tracks.dt_s), axis=-1)
    assert np.nanmax(speed, initial=0.0) < 14.5
    change = np.abs(np.diff(speed, axis=1)) / tracks.dt_s
    assert np.nanmax(change, initial=0.0) < 8.0, "m/s²: corners of the line count a little as well"
    heading = tracks.heading[cars][:, 1:]
    way = np.diff(place, axis=1)
    moving = np.nan_to_num(np.linalg.norm(way, axis=-1)) > 0.3
    off = np.angle(np.exp(1j * (heading - np.arctan2(way[..., 1], way[..., 0]))))[moving]
    assert np.abs(off).max(initial=0.0) < 0.2, "cars look where they go"


def test_cars_give_way() -> None:
    """Over many streets: cars keep apart, and some of the minor roads wait at their stop lines."""
    apart, waited = [], 0
    for seed in range(20):
        tracks = traffic(seed, seconds=8.0, people=0)
        place = tracks.position
        gap = np.linalg.norm(place[:, None] - place, axis=-1)
        gap[np.arange(len(place)), np.arange(len(place))] = np.inf
        apart.append(np.nanmin(gap))
        speed = np.linalg.norm(velocity(place, tracks.dt_s), axis=-1)
        waited += int(((speed < 0.2) & (np.linalg.norm(place, axis=-1) < 25)).any(1).sum())
    assert np.median(apart) > 2.5 and np.mean(np.array(apart) < 1.5) <= 0.15
    assert waited >= 10


def test_cars_stop_for_people() -> None:
    """With people on the crossings more cars stand than without."""

    def standing(people: int) -> float:
        shares = []
        for seed in range(12):
            tracks = traffic(seed, seconds=8.0, people=people)
            cars = tracks.position[tracks.kinds == KINDS.index("vehicle")]
            speed = np.linalg.norm(velocity(cars, tracks.dt_s), axis=-1)
            shares.append(float((np.nan_to_num(speed, nan=9.0) < 0.2).mean()))
        return float(np.mean(shares))

    assert standing(6) > standing(0) + 0.02


def test_a_street_reads_as_any_recording() -> None:
    tracks = traffic(3)
    assert tracks.dt_s == pytest.approx(0.1) and tracks.group == "street"
    assert np.isnan(tracks.heading[tracks.kinds == KINDS.index("pedestrian")]).all()
    assert tracks.map.points > 100 and "synthetic" in tracks.map.source
