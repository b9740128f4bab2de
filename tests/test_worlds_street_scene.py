"""The rendered street: labels and depth are exact, weather follows its laws, the same seed gives the same picture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from percepta.datasets.street_pictures import CAMVID
from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics
from percepta.worlds.raster import cast
from percepta.worlds.street import weather
from percepta.worlds.street.scene import CLASSES, CONDITIONS, ROAD, SKY, _seat, rendered, scene, view

few = settings(max_examples=10, deadline=None)


def test_classes_are_those_of_camvid() -> None:
    assert CAMVID.classes == CLASSES


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_view_follows_from_its_seed(condition: str) -> None:
    one, two = (view(31, condition, 32, 48) for _ in range(2))
    assert np.array_equal(one.picture, two.picture) and np.array_equal(one.labels, two.labels)
    assert one.picture.dtype == np.float32 and one.picture.min() >= 0 and one.picture.max() <= 1
    assert ((one.depth_m == 0) == (one.labels == SKY)).all()
    assert not np.array_equal(one.picture, view(32, condition, 32, 48).picture)


def test_labels_and_depth_are_those_of_the_rays() -> None:
    place, camera = scene(4), Intrinsics.field_of_view(48, 32, 66.0)
    eye, ahead = _seat(place, np.random.default_rng(0))
    pose = poses.look_at(eye, ahead)
    _, labels, depth = rendered(place, camera, pose, np.random.default_rng(0), "", np.array([0.2, 0.3, 1.0]))
    pixels = np.stack([np.arange(3, 48, 9), np.arange(2, 32, 6)], -1)
    index, found = cast(place.faces, camera, pose, pixels)
    for (u, v), face, away in zip(pixels, index, found, strict=True):
        assert labels[v, u] == (SKY if face < 0 else place.faces.label[face] - 1)
        assert depth[v, u] == pytest.approx(away, rel=1e-6, abs=1e-9)


def test_night_is_dark_and_the_road_is_below() -> None:
    day, night = (
        np.mean([view(seed, c, 32, 48).picture.mean() for seed in range(40, 90, 10)]) for c in ("day", "night")
    )
    assert night < 0.5 * day
    labels = np.concatenate([view(seed, "day", 32, 48).labels for seed in range(40, 90, 10)], 1)
    assert (labels[-4:] == ROAD).mean() > 0.4 and (labels[:4] == ROAD).sum() == 0


@few
@given(st.floats(5, 500), st.floats(0.3, 1), st.integers(0, 1000))
def test_fog_hides_what_is_far(visibility: float, air: float, seed: int) -> None:
    """Koschmieder: at the visibility's distance 2 of 100 of the contrast is left."""
    pixels = np.random.default_rng(seed).random((4, 5, 3)).astype(np.float32)
    far = weather.fog(pixels, np.full((4, 5), visibility), visibility, air)
    assert np.allclose(far - air, 0.02 * (pixels - air), atol=2e-4)
    assert np.allclose(weather.fog(pixels, np.zeros((4, 5)), visibility, air), pixels)


def test_the_guessed_depth_of_ground_is_that_of_a_plane() -> None:
    ground, sky = np.zeros((100, 4), bool), np.zeros((100, 4), bool)
    ground[60:], sky[:20] = True, True
    depth = weather.guessed_depth(ground, sky)
    assert (depth[:20] == weather.FAR_M).all()
    for row in (70, 99):
        plane = weather.FOCAL * 100 * weather.CAMERA_M / (row - 42)
        assert depth[row, 0] == pytest.approx(max(plane, weather.NEAREST_M))
    assert (depth[20:60] == depth[60]).all()  # what stands there is as far as its foot


@few
@given(st.integers(0, 1000))
def test_painted_weather_keeps_the_range(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.random((24, 32, 3)).astype(np.float32)
    ground = np.zeros((24, 32), bool)
    ground[14:] = True
    for painted in (
        weather.rain(pixels, rng, 0.7), weather.snow(pixels, rng, ground, 0.8), weather.wet(pixels, ground, 0.4),
        weather.night(pixels, rng, 0.1, ~ground, lamps=2),
    ):  # fmt: skip
        assert painted.shape == pixels.shape and painted.dtype == np.float32
        assert painted.min() >= 0 and painted.max() <= 1
    assert np.array_equal(weather.wet(pixels, ground, 0.4)[:14], pixels[:14])
    assert weather.night(pixels, rng, 0.05).mean() < pixels.mean()
