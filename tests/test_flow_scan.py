"""The flow `scan`: what it hands to the systems, and how two floor plans are compared."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import percepta
from percepta.errors import InputError
from percepta.flows import scan as flow
from percepta.geometry import pose as poses
from percepta.systems.planes.fusion import FusedScene, Surface
from percepta.systems.planes.predict import Planes
from percepta.systems.slam.world import RoundTrip

FRAMES = 14


def surface(world_from_plane: np.ndarray, side_m: float = 2.0) -> Surface:
    """A square."""
    normal = world_from_plane[:3, 2]
    corners = side_m / 2 * np.array([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    outline = poses.transform(world_from_plane, corners)
    offset = -float(normal @ world_from_plane[:3, 3])
    cells = np.ones((4, 4), bool)
    return Surface("wall", normal, offset, world_from_plane, (outline,), side_m**2, 0.9, 3, cells, (-1.0, -1.0))


def scene(count: int, seed: int) -> FusedScene:
    """Squares that lie metres apart, each turned otherwise."""
    rng = np.random.default_rng(seed)
    turns = poses.from_vector(rng.uniform(-1, 1, (count, 3)))
    places = np.stack([4.0 * np.arange(count), rng.uniform(-1, 1, count), rng.uniform(0, 2, count)], 1)
    return FusedScene(tuple(surface(pose) for pose in poses.compose(turns, places)))


def moved(given: FusedScene, change: np.ndarray) -> FusedScene:
    return FusedScene(tuple(surface(change @ one.world_from_plane) for one in given.surfaces))


@given(st.integers(1, 6), st.integers(0, 99))
def test_a_plan_does_not_differ_from_itself(count: int, seed: int) -> None:
    told = flow.differences(scene(count, seed), scene(count, seed))
    assert told["share of their area with a partner"] == 1
    assert told["median turn of partners, degrees"] == pytest.approx(0, abs=0.01)
    assert told["median distance of partners, m"] == 0
    assert told["surfaces"] == told["surfaces by true poses"] == count


@given(st.integers(0, 99), st.floats(0.02, 0.2), st.floats(1, 10))
def test_differences_are_those_that_were_made(seed: int, shift_m: float, turn_deg: float) -> None:
    """One surface that is moved along its normal, or turned about its middle."""
    one = scene(1, seed)
    normal = one.surfaces[0].normal
    told = flow.differences(moved(one, poses.compose(np.eye(3), shift_m * normal)), one)
    assert told["median distance of partners, m"] == pytest.approx(shift_m, abs=6e-4)
    at = one.surfaces[0].world_from_plane
    turned = FusedScene(
        (surface(at @ poses.compose(poses.from_vector(np.array([np.radians(turn_deg), 0, 0])), np.zeros(3))),)
    )
    assert flow.differences(turned, one)["median turn of partners, degrees"] == pytest.approx(turn_deg, abs=0.01)


def test_a_surface_without_a_partner_counts_against() -> None:
    whole = scene(4, 0)
    told = flow.differences(FusedScene(whole.surfaces[:3]), whole)
    assert told["share of their area with a partner"] == 0.75
    none = flow.differences(FusedScene(()), whole)
    assert none["share of their area with a partner"] == 0 and np.isnan(none["median turn of partners, degrees"])


class Recorder(Planes):
    """Stands in the place of `planes`, and keeps what its sessions are given."""

    sessions: list[list[Any]]

    def __init__(self) -> None:  # without a network
        object.__setattr__(self, "sessions", [])

    def session(self, **_: Any) -> Any:
        self.sessions.append([])
        return _Session(self.sessions[-1])


@dataclass
class _Session:
    views: list[Any]

    def step(self, view: Any) -> None:
        self.views.append(view)

    def scene(self) -> FusedScene:
        return scene(2, 1)


@pytest.fixture(scope="module")
def slam() -> Any:
    pytest.importorskip("cv2")
    return percepta.load("slam", preset="tiny", device="cpu")


def test_planes_get_the_poses_of_slam_and_the_true_ones_in_one_world(slam: Any, tmp_path: Path) -> None:
    planes, capture = Recorder(), RoundTrip(0, "depth", FRAMES, 240, 0.1).capture()
    found = flow.scan(capture, slam=slam, planes=planes)
    ours, true = (np.stack([view.world_from_camera for view in views]) for views in planes.sessions)
    assert len(ours) == len(true) == FRAMES and found.metric and found.room is None
    np.testing.assert_allclose(ours[:, :3, 3], true[:, :3, 3], atol=0.02)
    assert np.degrees(poses.angle(np.swapaxes(ours[:, :3, :3], 1, 2) @ true[:, :3, :3])).max() < 1
    # z points up, as in the world that was rendered.
    assert capture.truth is not None
    up = ours[:, 2, :3] - np.asarray(capture.truth.world_from_camera)[:, 2, :3]
    assert np.abs(up).max() < 0.2
    assert found.ate_m < 0.02
    page = found.save(tmp_path).read_text()
    assert "true poses" in page and {"scan.glb", "plan.png", "report.html"} <= {p.name for p in tmp_path.iterdir()}
    assert found.to_dict()["against true poses"]["share of their area with a partner"] == 1


def test_one_camera_is_scaled_and_not_compared(slam: Any) -> None:
    planes, capture = Recorder(), RoundTrip(0, "mono", 40, 240, 0.25).capture()
    found = flow.scan(capture, slam=slam, planes=planes)
    assert not found.metric and found.true_scene is None and len(planes.sessions) == 1
    assert not found.scene.metric and "m²" not in "".join(block.html() for block in found.blocks())
    assert any("does not know lengths" in getattr(block, "text", "") for block in found.blocks())


def test_a_scan_of_nothing_says_so(slam: Any) -> None:
    capture = RoundTrip(0, "depth", FRAMES, 240, 0.1).capture()
    dark = [replace(shot, frame=np.zeros_like(shot.frame), depth_m=None) for shot in capture]
    with pytest.raises(InputError, match="frames were tracked, no scan"):
        flow.scan(replace(capture, frames=dark), slam=slam, planes=Recorder())
