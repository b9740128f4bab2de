"""`percepta predict online3d` and `percepta data online3d check`, as a user types them."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import percepta
from percepta import checkpoint
from percepta.__main__ import main
from percepta.contract import weights_hash
from percepta.datasets import nyu40
from percepta.datasets.recordings import open_recording
from percepta.errors import InputError
from percepta.geometry import ply
from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics
from percepta.media import video
from percepta.systems.online3d import PRESETS, check, task, world
from percepta.worlds import rooms

CAMERA = Intrinsics.field_of_view(80, 60, 58.0)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A walk through a synthetic room as a plain posed folder."""
    root = tmp_path_factory.mktemp("walk")
    for name in ("color", "depth", "pose"):
        (root / name).mkdir()
    np.savetxt(root / "intrinsics.txt", CAMERA.matrix)
    world = rooms.room(4)
    for i, pose in enumerate(rooms.walk(world, 0, frames=16, fps=2)):
        view = rooms.render(world, pose, CAMERA)
        Image.fromarray(view.colour).save(root / "color" / f"{i}.png")
        Image.fromarray((view.depth_m * 1000).astype(np.uint16)).save(root / "depth" / f"{i}.png")
        np.savetxt(root / "pose" / f"{i}.txt", pose)
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    checkpoint.save(path, task.build(PRESETS["tiny"]), system="online3d", preset="tiny", config=PRESETS["tiny"])
    return path


class Viser:
    """Stands for viser: remembers what it is told, and refuses what its own functions do not take."""

    def __init__(self) -> None:
        self.clouds: list[tuple[str, np.ndarray, np.ndarray, float]] = []
        self.stopped = 0
        self.ViserServer = self.server
        self.scene = SimpleNamespace(set_up_direction=lambda up: None, add_point_cloud=self._cloud)
        self.text = SimpleNamespace(content="")
        self.gui = SimpleNamespace(add_html=lambda content: self.text)

    def server(self, host: str = "0.0.0.0", port: int = 8080, label: str | None = None, verbose: bool = True) -> Any:
        self.host = host
        return self

    def _cloud(self, name: str, points: np.ndarray, colors: np.ndarray, point_size: float = 0.1) -> None:
        assert points.shape == colors.shape and colors.dtype == np.uint8
        self.clouds.append((name, points, colors, point_size))

    def stop(self) -> None:
        self.stopped += 1


def test_a_recording_becomes_a_page_a_film_and_a_live_view(
    recording: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    viser = Viser()
    monkeypatch.setitem(sys.modules, "viser", viser)  # type: ignore[arg-type]
    words = [
        "predict",
        "online3d",
        str(recording),
        "--weights",
        str(weights),
        "--device",
        "cpu",
        "--out",
        str(tmp_path),
    ]
    assert main([*words, "--size", "80", "60", "--film", "--live", "--mode", "exact"]) == 0
    assert "16 frames (0 left out)" in capsys.readouterr().out
    page = (tmp_path / "room.html").read_text()
    assert "milliseconds a frame, by part" in page and "voxels of a frame, % of the map" in page
    found = video.info(tmp_path / "room.mp4")
    assert found.duration_s == pytest.approx(0.6, abs=0.05)  # every third frame, at 10 a second
    shots = video.frames(tmp_path / "room.mp4", [0.0, 0.5])
    assert not np.array_equal(np.asarray(shots[0]), np.asarray(shots[1]))
    assert len(viser.clouds) == 16 and viser.stopped == 1 and {name for name, *_ in viser.clouds} == {"map"}
    assert viser.host == "127.0.0.1"  # nobody else may look
    shown = set(ply.read(tmp_path / "room.ply").vertices["label"].tolist())
    named = re.findall(r"rgb\(\d+, \d+, \d+\)\">&#9632;</span> ([^<]+)<", viser.text.content)
    assert named and set(named) == {nyu40.NAMES[label] for label in shown}, "the legend names what the last cloud shows"
    sizes = [len(points) for _, points, *_ in viser.clouds]
    assert sizes == sorted(sizes) and sizes[-1] > sizes[0] > 0


def test_the_live_view_closes_when_something_goes_wrong(
    recording: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    viser = Viser()
    monkeypatch.setitem(sys.modules, "viser", viser)  # type: ignore[arg-type]
    monkeypatch.setattr(viser.scene, "add_point_cloud", lambda *a, **k: (_ for _ in ()).throw(InputError("no browser")))
    words = [
        "predict",
        "online3d",
        str(recording),
        "--weights",
        str(weights),
        "--device",
        "cpu",
        "--out",
        str(tmp_path),
    ]
    assert main([*words, "--live"]) == 2
    assert "no browser" in capsys.readouterr().err and viser.stopped == 1 and not list(tmp_path.iterdir())
    monkeypatch.setitem(sys.modules, "viser", None)
    assert main([*words, "--live"]) == 2
    assert "percepta[viz]" in capsys.readouterr().err


FLIP = np.diag([1.0, -1.0, -1.0, 1.0])


def scaled(pose: np.ndarray, by: float) -> np.ndarray:
    return poses.compose(pose[:3, :3], by * pose[:3, 3])


@pytest.mark.parametrize(
    "spoil, message",
    [
        (poses.inverse, "read as camera_from_world (invert them)"),
        (lambda pose: pose @ FLIP, "read of cameras that look along -z"),
        (lambda pose: poses.inverse(pose @ FLIP), "camera_from_world of cameras that look along -z"),
        (lambda pose: scaled(pose, 0.2), "depth is multiplied by about 0.2"),
        (lambda pose: scaled(pose, 1 / 0.3048), "depth is multiplied by about 3.2"),
    ],
    ids=["inverse", "OpenGL", "inverse OpenGL", "depth too large", "feet"],
)
def test_check_says_how_poses_were_meant(recording: Path, tmp_path: Path, spoil: Any, message: str) -> None:
    """Rigid motions all of them, and wrong: frames that see one place do not agree on how far away it is."""
    assert check.check(recording).ok
    for name in ("color", "depth", "intrinsics.txt"):
        (tmp_path / name).symlink_to(recording / name)
    (tmp_path / "pose").mkdir()
    for path in (recording / "pose").iterdir():
        np.savetxt(tmp_path / "pose" / path.name, spoil(np.loadtxt(path)))
    found = check.check(tmp_path)
    assert not found.ok and message in found.problems[0].message


def test_predict_says_what_it_takes(recording: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    system = percepta.load(weights, system="online3d", device="cpu")
    with pytest.raises(InputError, match="open_recording"):
        system.predict(recording)
    film = weights.parent / "film.mp4"
    film.write_bytes(b"film")
    assert main(["predict", "online3d", str(film)]) == 2  # says what to do in the shell, no function of Python
    told = capsys.readouterr().err
    assert "folder of a recording" in told and "percepta data online3d check" in told and "open_recording" not in told
    with pytest.raises(TypeError, match=r"got int|Actual value: 3"):
        system.predict(3)  # type: ignore[call-overload]
    with pytest.raises(FileNotFoundError, match="no such file"):
        system.predict(recording / "none.ply")
    result = system.predict(open_recording(recording), stride=4, size=(80, 60), mode="exact")
    assert len(result.xyz) > 0 and result.weights == weights_hash(system.model) != ""
    assert main(["predict", "online3d", str(recording / "color"), "--weights", str(weights)]) == 2
    said = capsys.readouterr().err
    assert "no layout of data that is known" in said and "7-Scenes" in said and "SceneNN" in said


def test_a_folder_with_one_scan_and_one_with_several(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = world.synthetic(3, 0.05, 6, 64)
    columns = {"xyz": scan.xyz, "rgb": scan.rgb, "nyu40": scan.label, "instance": scan.instance}
    (tmp_path / "in").mkdir()
    np.savez(tmp_path / "in" / "a.npz", allow_pickle=False, **columns)
    words = ["--weights", str(weights), "--device", "cpu", "--out", str(tmp_path / "out")]
    assert main(["predict", "online3d", str(tmp_path / "in"), *words]) == 0
    assert "points at once" in capsys.readouterr().out
    system = percepta.load(weights, system="online3d", device="cpu")
    one, other = system.predict(scan), system.predict(tmp_path / "in" / "a.npz")
    assert (one.label == other.label).all() and (one.score == other.score).all()
    np.savez(tmp_path / "in" / "b.npz", allow_pickle=False, **columns)
    assert main(["predict", "online3d", str(tmp_path / "in"), *words]) == 2
    assert "2 scans; name one of them" in capsys.readouterr().err


def test_check_takes_a_folder_of_recordings(recording: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).symlink_to(recording)
    found = check.check(tmp_path)
    assert found.ok and found.counts == {"recordings": 2, "frames": 32} and found.layout == "recording with depth"
    with pytest.raises(InputError, match="2 recordings; name one of them: one, two"):
        open_recording(tmp_path)
    with pytest.raises(FileNotFoundError, match="Looked for"):
        check.check(recording / "color")


def test_check_counts_as_it_goes(recording: Path) -> None:
    calls: list[tuple[int, int]] = []
    check.check(recording, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(10, 16), (16, 16)]
